package admin

import (
	"fmt"
	"go/ast"
	"go/parser"
	syntax "go/token"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"passerelle/appliance/state"
	"passerelle/captive/admin/refusals"
	"passerelle/captive/web"
	"passerelle/captive/web/webtest"
)

// phone is a second donation: a phone with a prepaid card.
var phone = state.Donation{
	Name: "Téléphone d’Awa", Interface: "usb", Ifname: "usb0", Kind: "phone on USB (Android)", Open: true, Works: true,
	Cap: 10_000_000_000, Left: 7_300_000_000, Used: 2_500_000_000, Period: "once",
	Days: []state.Day{
		{Date: state.DateOf(noon.AddDate(0, 0, -3)), Bytes: 1_400_000_000},
		{Date: state.DateOf(noon), Bytes: 1_100_000_000},
	},
}

// aDay returns a Day with samples of b's last 20 hours.
func aDay(b *fakeBox) *Day {
	now := noon.Add(-20 * time.Hour)
	d, s := NewDay(now), b.Status()
	s.Donations = append([]state.Donation{}, s.Donations...)
	for ; !now.After(noon); now = now.Add(10 * time.Minute) {
		busy := max(min(now.Hour()-8, 20-now.Hour()), 0)
		if busy > 3 && now.Minute() == 30 && len(s.Donations) > 1 {
			s.Residents.Refused.Data += 5 * uint64(busy-3)
			s.Residents.Refused.Busy += 5 * uint64(now.Hour()%2)
		}
		s.Residents.Sessions = busy * 3
		s.Donations[0].Used += uint64(busy) * 19_000_000
		if len(s.Donations) > 1 && now.Hour() > 12 && now.Hour() < 20 {
			s.Donations[1].Used += 41_000_000
			if r := s.Donations[1].Rate; r != nil {
				breathed := *r
				breathed.Down += uint64(now.Hour()*700_000 - now.Minute()*40_000)
				s.Donations[1].Rate = &breathed
			}
		}
		d.Add(now, s)
	}
	return d
}

// spoil gives b and its server everything that needs attention.
func spoil(b *fakeBox, s *Server) {
	b.change(func(box *state.Status, d *state.Donation) {
		box.Donations = append(box.Donations, phone)
		box.Donations[1].Left, box.Donations[1].Used = 300_000_000, 9_500_000_000
		d.Left, d.Kind, d.Ifname, d.Slow = 20_500_000_000, "network cable", "eth0", true
		wait := 38.0
		box.Donations[1].Autorate = true
		box.Donations[1].Rate = &state.Rate{Down: 3_400_000, Up: 640_000, DownHeld: "line", UpHeld: "nothing", Delay: &wait, Unprobed: true}
		box.Clock.Trusted = true
		box.Hotspot.WiFi = &state.WiFi{Stations: 32, MaxStations: 32, AtCapacity: true}
		box.Problems = []state.Problem{
			state.NewProblem(state.PowerWeak), state.NewProblem(state.DiskFails, "error", "write accounts: read-only file system"),
		}
	})
	s.Day = aDay(b)
	s.Refusals = func() (days []refusals.Day) {
		for i := 8; i >= 0; i-- {
			at := state.DateOf(noon.AddDate(0, 0, -3*i))
			days = append(days, refusals.Day{Date: at, Refused: state.Refused{Data: 5 * uint64(17*i%11+2), NotSharing: 5 * uint64(i%3), Busy: 5 * uint64(i%2)}})
		}
		return days
	}
	s.Disk = func() Disk { return Disk{Free: 230_000_000, Total: 29_000_000_000} }
	s.Lists = func() []List { return []List{{"France numérique", noon.AddDate(0, -9, 0)}, {"Le quartier", noon}} }
}

// TestHome compares the page in each State, and in each language, with its golden file.
func TestHome(t *testing.T) {
	t.Parallel()
	monday := time.Date(2026, 11, 23, 8, 30, 0, 0, paris)
	stop := func(s state.State, why string) func(*state.Status, *state.Donation) {
		return func(box *state.Status, d *state.Donation) { box.State, box.Why, d.Chosen = s, why, false }
	}
	for _, test := range []struct {
		name  string
		state func(*state.Status, *state.Donation)
		more  func(*state.Status, *state.Donation)
	}{
		{name: "starting", state: stop(state.Starting, "the first plan has not been applied")},
		{name: "fault", state: stop(state.Fault, "nftables: operation not supported"), more: func(box *state.Status, _ *state.Donation) {
			box.Problems = []state.Problem{state.NewProblem(state.PlanRefused, "error", "nftables: operation not supported")}
		}},
		{name: "setup", state: stop(state.Setup, "no technician has configured this box yet"), more: func(box *state.Status, _ *state.Donation) {
			box.Donations = nil
		}},
		{name: "paused", state: stop(state.Paused, "paused by the button"), more: func(box *state.Status, _ *state.Donation) {
			box.PausedBy = "the button"
		}},
		{name: "paused-by-lenders", state: stop(state.Paused, `its lender paused "Fibre du centre"`), more: func(_ *state.Status, d *state.Donation) {
			d.PausedBy = itsLender
		}},
		{name: "closed", state: stop(state.Closed, "outside the opening hours of every donation"), more: func(box *state.Status, d *state.Donation) {
			d.Open, d.Opens, box.Opens = false, monday, monday
		}},
		{name: "exhausted", state: stop(state.Exhausted, `the cap of "Fibre du centre" is spent`), more: func(box *state.Status, d *state.Donation) {
			d.Spent, d.Left, d.Granted, d.Daily, d.Used, box.Resets = true, 0, 0, 0, 197_000_000_000, d.Resets
		}},
		{name: "offline", state: stop(state.Offline, "eth0 has a link but no default route"), more: func(_ *state.Status, d *state.Donation) {
			d.Works, d.Why = false, "eth0 has a link but no default route"
		}},
		{name: "sharing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			x := signedIn(t)
			x.box.change(func(box *state.Status, d *state.Donation) {
				box.Why = `"Fibre du centre" is available (in hours, under cap, online)`
				d.Interface, d.Ifname, d.Kind = "eth0", "eth0", "network cable"
				d.Days = d.Days[len(d.Days)-3:]
				for _, f := range []func(*state.Status, *state.Donation){test.state, test.more} {
					if f != nil {
						f(box, d)
					}
				}
			})
			got := new(txtar.Archive)
			for _, lang := range []string{"fr", "en"} {
				res := x.get("/admin/", "Accept-Language: "+lang)
				got.Files = append(got.Files, txtar.File{Name: lang, Data: webtest.Gist(res.Code, res.Body.String())})
			}
			webtest.Golden(t, "home-"+test.name, got)
		})
	}
}

// TestHomeAtMost: with everything at once the page shows all of it, in at most 60 kB.
func TestHomeAtMost(t *testing.T) {
	t.Parallel()
	x := signedIn(t)
	spoil(x.box, x.server)
	for lang, wants := range map[string][]string{
		"fr": {"est presque finie", "Personnes en ligne", "Téléphone d’Awa\u00a0: ", "France numérique", "Le Wi‑Fi est plein", "presque plein"},
		"en": {"is nearly used up", "People online", "Téléphone d’Awa: ", "France numérique", "The Wi‑Fi is full", "nearly full"},
	} {
		page := x.get("/admin/?lang=" + lang).Body.String()
		for _, want := range wants {
			if !strings.Contains(page, want) {
				t.Errorf("%s: no %q", lang, want)
			}
		}
		if len(page) > 60_000 {
			t.Errorf("%s: %d bytes", lang, len(page))
		}
		t.Logf("%s: %d bytes", lang, len(page))
	}
}

// TestRefused: the page says how many devices were refused, why, and when, even if nothing was shared.
func TestRefused(t *testing.T) {
	t.Parallel()
	x := signedIn(t)
	if page := x.get("/admin/").Body.String(); strings.Contains(page, "Demandes refusées") {
		t.Error("the page says that something was refused")
	}
	x.box.change(func(_ *state.Status, d *state.Donation) { d.Days = nil })
	x.server.Refusals = func() []refusals.Day {
		return []refusals.Day{{Date: state.DateOf(noon.AddDate(0, 0, -40)), Refused: state.Refused{Data: 99}},
			{Date: state.DateOf(noon.AddDate(0, 0, -1)), Refused: state.Refused{Data: 15, Busy: 5}}, {Date: state.DateOf(noon), Refused: state.Refused{NotSharing: 10}}}
	}
	d, s := NewDay(noon.Add(-3*time.Hour)), x.box.Status()
	for i := range 3 {
		s.Residents.Refused = state.Refused{NotSharing: uint64(25 * i)}
		d.Add(noon.Add(time.Duration(i-3)*time.Hour), s)
	}
	x.server.Day = d
	gist := string(webtest.Gist(200, x.get("/admin/?lang=en").Body.String()))
	for _, want := range []string{
		"No sharing at that time: 50", "Data of the day used: 15", "No sharing at that time: 10", "Too many requests at once: 5",
	} {
		if !strings.Contains(gist, want) {
			t.Errorf("no %q", want)
		}
	}
	if strings.Contains(gist, "99") || strings.Contains(gist, "114") {
		t.Error("days before the last 31 count")
	}
	day, month := usage{}, usage{}
	f := facts{now: noon, box: x.box.Status(), refusals: x.server.Refusals()}
	f.box.Clock.Trusted = true
	month = f.month(catalog.Language("en"))
	p := homePage{techFrame: techFrame{Frame: web.Frame{Words: catalog.Language("en")}}}
	f.hours, _ = d.last(noon)
	p.day(f, 3*time.Hour)
	day = p.Day
	column := func(u usage) (all []string) {
		for _, r := range u.Rows {
			all = append(all, r.Refused)
		}
		return all
	}
	if got := column(month); !slices.Equal(got, []string{"Refused: 10", "Refused: 20"}) || len(month.Refusals.Areas) != 1 {
		t.Errorf("the month has %q", got)
	}
	if got := column(day); !slices.Equal(got, []string{"Refused: 25", "Refused: 25", ""}) || len(day.Refusals.Areas) != 1 {
		t.Errorf("the day has %q", got)
	}
}

// TestHistoryInFives: the page shows past hours in fives, so five successive numbers of people look the same.
func TestHistoryInFives(t *testing.T) {
	t.Parallel()
	w := catalog.Language("en")
	day := func(people []int) string {
		d := NewDay(noon.Add(-time.Duration(len(people)) * time.Hour))
		for i, n := range people {
			d.Add(noon.Add(time.Duration(i-len(people))*time.Hour), state.Status{Residents: state.Residents{Sessions: n}})
		}
		p := homePage{techFrame: techFrame{Frame: web.Frame{Words: w}}}
		f := facts{now: noon}
		f.hours, _ = d.last(noon)
		p.day(f, time.Duration(len(people))*time.Hour)
		return fmt.Sprintf("%+v %+v %s", p.Day, p.People, p.MostAt)
	}
	random := rand.New(rand.NewPCG(1, 1))
	for range 50 {
		people, inFives := make([]int, 8), make([]int, 8)
		for i := range people {
			people[i] = random.IntN(20)
			inFives[i] = people[i] / 5 * 5
		}
		if diff := cmp.Diff(day(inFives), day(people)); diff != "" {
			t.Fatalf("%v people are told from %v:\n%s", people, inFives, diff)
		}
	}
	if few, more := day([]int{4, 4}), day([]int{4, 5}); few == more || !strings.Contains(few, "fewer than 5") {
		t.Errorf("of four people the page says %s", few)
	}
}

// TestRemarks: languages that nobody has reviewed are only a remark on a page on which all is well.
func TestRemarks(t *testing.T) {
	t.Parallel()
	x := signedIn(t)
	x.box.offers = "fr en es"
	page := x.get("/admin/").Body.String()
	if !strings.Contains(page, "Tout va bien") || !strings.Contains(page, "dans ces langues\u00a0: Español.") {
		t.Errorf("the page:\n%s", page)
	}
}

// TestPauseDonation: a technician pauses one donation. Pausing one that no longer exists is not an error.
func TestPauseDonation(t *testing.T) {
	t.Parallel()
	x := signedIn(t)
	press := func(name, do string) int {
		return x.post("/admin/donation", url.Values{"name": {name}, "do": {do}}).Code
	}
	for _, do := range []string{"pause", "resume"} {
		if got := press("Fibre du centre", do); got != http.StatusSeeOther {
			t.Errorf("%s is answered %d", do, got)
		}
	}
	if got := strings.Join(x.box.presses, ", "); got != "a technician pauses Fibre du centre, a technician resumes Fibre du centre" {
		t.Errorf("the box was told %q", got)
	}
	x.box.change(func(_ *state.Status, d *state.Donation) { d.PausedBy = itsLender })
	if got := press("Fibre du centre", "resume"); got != http.StatusSeeOther || len(x.box.presses) != 2 {
		t.Errorf("a lender's pause: %d, the box was told %q", got, x.box.presses)
	}
	if page := x.get("/admin/").Body.String(); strings.Contains(page, `value="resume"`) {
		t.Error("the page offers to end a lender's pause")
	}
	x.box.err = state.ErrNoDonation
	if got := press("gone", "pause"); got != http.StatusSeeOther {
		t.Errorf("one that is gone is answered %d", got)
	}
	x.box.err = io.ErrUnexpectedEOF
	if got := press("Fibre du centre", "pause"); got != http.StatusInternalServerError {
		t.Errorf("a failure is answered %d", got)
	}
}

// TestFindings: what needs attention is found, in order, and nothing else.
func TestFindings(t *testing.T) {
	t.Parallel()
	flaps := func(name string, n int) []hour {
		return []hour{{stops: map[string]int{name: n - 1}}, {stops: map[string]int{name: 1}}}
	}
	const fibre = "Fibre du centre"
	for _, c := range []struct {
		what string
		set  func(*facts, *state.Donation)
		want string // the codes with their severity, and the page that helps
	}{
		{"all is well", func(*facts, *state.Donation) {}, ""},
		{"a problem", func(f *facts, _ *state.Donation) {
			f.box.Problems = []state.Problem{state.NewProblem(state.ConfigRefused, "error", "line 3")}
		}, "config-refused warning /admin/settings/text"},
		{"a problem of another release", func(f *facts, _ *state.Donation) {
			f.box.Problems = []state.Problem{state.NewProblem("new", "error", "words")}
		}, "error warning"},
		{"errors come first, remarks last", func(f *facts, d *state.Donation) {
			d.Slow, f.unknowns = true, []string{"Español"}
			f.box.Problems = []state.Problem{state.NewProblem(state.PowerWeak), state.NewProblem(state.DiskFails, "error", "full")}
		}, "disk-fails error; power-weak warning; line-slow warning /admin/settings/donation/1; not-reviewed remark /admin/settings/languages"},
		{"no clock", func(f *facts, _ *state.Donation) { f.box.Clock.Trusted = false }, "clock-unknown warning"},
		{"9.9 % left", func(_ *facts, d *state.Donation) { d.Left = 19_800_000_000 }, "cap-low warning /admin/settings/donation/1"},
		{"10 % left", func(_ *facts, d *state.Donation) { d.Left, d.Days = d.Cap/10, nil }, ""},
		{"a spent cap says so itself", func(_ *facts, d *state.Donation) { d.Left, d.Spent = 0, true }, ""},
		{"a lost account too", func(_ *facts, d *state.Donation) { d.Left, d.Lost = 0, true }, ""},
		{"a day that is too much", func(_ *facts, d *state.Donation) { d.Days[20].Bytes = 15_000_000_000 }, "cap-pace warning /admin/settings/donation/1"},
		{"a yesterday that was", func(_ *facts, d *state.Donation) { d.Days[19].Bytes = 15_000_000_000 }, "cap-pace warning /admin/settings/donation/1"},
		{"a day that is not", func(_ *facts, d *state.Donation) { d.Days[20].Bytes = 11_000_000_000 }, ""},
		{"the last day", func(f *facts, d *state.Donation) {
			d.Days[20].Bytes, d.Resets = 90_000_000_000, noon.AddDate(0, 0, 1)
			d.Resets = d.Resets.Truncate(24 * time.Hour).Add(-time.Hour)
		}, ""},
		{"without a clock no pace", func(f *facts, d *state.Donation) {
			d.Days[20].Bytes, f.box.Clock.Trusted = 90_000_000_000, false
		}, "clock-unknown warning"},
		{"one line is down", func(_ *facts, d *state.Donation) { d.Works, d.Why = false, "no carrier" }, "line-down warning"},
		{"no line works", func(f *facts, d *state.Donation) { d.Works, f.box.State = false, state.Offline }, ""},
		{"a line that is closed", func(_ *facts, d *state.Donation) { d.Works, d.Open, d.Left = false, false, 5 }, ""},
		{"a line that is paused", func(_ *facts, d *state.Donation) { d.Works, d.PausedBy = false, itsLender }, ""},
		{"four stops", func(f *facts, _ *state.Donation) { f.hours = flaps(fibre, 4) }, "line-flaps warning"},
		{"three stops", func(f *facts, _ *state.Donation) { f.hours = flaps(fibre, 3) }, ""},
		{"four of another line", func(f *facts, _ *state.Donation) { f.hours = flaps("before its new name", 4) }, ""},
		{"a full radio", func(f *facts, _ *state.Donation) {
			f.box.Hotspot.WiFi = &state.WiFi{Stations: 8, AtCapacity: true}
		}, "radio-full warning /admin/settings/hotspot"},
		{"a radio with room", func(f *facts, _ *state.Donation) { f.box.Hotspot.WiFi = &state.WiFi{Stations: 8} }, ""},
		{"a full disk", func(f *facts, _ *state.Donation) { f.disk = Disk{Free: 30_000_000, Total: 500_000_000} }, "disk-full warning"},
		{"a small one with room", func(f *facts, _ *state.Donation) { f.disk = Disk{Free: 60_000_000, Total: 500_000_000} }, ""},
		{"a large one", func(f *facts, _ *state.Donation) { f.disk = Disk{Free: 2_000_000_000, Total: 64_000_000_000} }, ""},
		{"a worn card", func(f *facts, _ *state.Donation) {
			f.box.Problems = []state.Problem{state.NewProblem(state.DiskErrors, "count", "3"), state.NewProblem(state.DiskReadOnly)}
		}, "disk-read-only error; disk-errors warning"},
		{"a slot that is good", func(f *facts, _ *state.Donation) { f.box.Slots = &state.Slots{Running: "b", Good: "b", Next: "b"} }, ""},
		{"a slot on trial", func(f *facts, _ *state.Donation) {
			f.box.Slots = &state.Slots{Running: "b", Good: "a", Next: "b", Tries: 2, Failed: "b"}
		}, "slot-trial remark"},
		{"a slot that failed", func(f *facts, _ *state.Donation) {
			f.box.Slots = &state.Slots{Running: "a", Good: "a", Next: "a", Failed: "b"}
		}, "slot-failed warning"},
		{"an old list", func(f *facts, _ *state.Donation) {
			f.lists = []List{{"old", noon.AddDate(0, -6, -1)}, {"new", noon.AddDate(0, -6, 1)}, {Name: "of no date"}}
		}, "places-old warning /admin/places"},
	} {
		f := facts{now: noon, box: newFakeBox().status}
		c.set(&f, &f.box.Donations[0])
		for _, lang := range []string{"fr", "en"} {
			var got []string
			for _, x := range f.findings(catalog.Language(lang)) {
				got = append(got, strings.TrimSpace(x.Code+" "+string(x.Severity)+" "+x.To))
				if text := strings.Join(x.Lines, " "); strings.Contains(text, "{") && x.Code != "error" || strings.Contains(text, "attention.") {
					t.Errorf("%s: it says %q", c.what, text)
				}
			}
			if text := strings.Join(got, "; "); text != c.want {
				t.Errorf("%s: %q, want %q", c.what, text, c.want)
			}
		}
	}
}

// TestEveryProblemHasWords: each problem has words in both languages, which use only arguments that problems of its code have.
func TestEveryProblemHasWords(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(syntax.NewFileSet(), "../../appliance/state/problem.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == 1 {
			if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "Code" {
				code, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				codes = append(codes, code)
			}
		}
		return true
	})
	if len(codes) < 15 {
		t.Fatalf("only the codes %q", codes)
	}
	for _, lang := range []string{"fr", "en"} {
		for _, code := range codes {
			text, err := catalog.Language(lang).Message("attention."+code, "celsius", "81", "child", "dnsmasq", "donation", "Fibre", "until", "2028-05-28")
			if err != nil || strings.Contains(text, "{") {
				t.Errorf("%s: %q, %v", code, text, err)
			}
		}
	}
}

// sample is a sample of a Day: the clock's time, the Day's age, and the state.
type sample struct {
	clock, age string // since 9:00, and since the Day began
	sessions   int
	used       map[string]uint64
	down       string // the donation whose uplink does not work
}

// TestCounts: what a Day counts while the clock is set and the donations change.
func TestCounts(t *testing.T) {
	t.Parallel()
	used := func(pairs ...any) map[string]uint64 {
		all := map[string]uint64{}
		for i := 0; i < len(pairs); i += 2 {
			all[pairs[i].(string)] = uint64(pairs[i+1].(int))
		}
		return all
	}
	for _, c := range []struct {
		what    string
		samples []sample
		want    []hour
	}{
		{"what was used before the first sample is unknown", []sample{
			{clock: "10m", age: "0", sessions: 2, used: used("A", 500)},
			{clock: "20m", age: "10m", sessions: 5, used: used("A", 530)},
			{clock: "30m", age: "20m", sessions: 1, used: used("A", 530)},
		}, []hour{{0, 20 * time.Minute, used("A", 30), nil, 5, state.Refused{}, nil}}},
		{"a new hour", []sample{
			{clock: "50m", age: "0", used: used("A", 0)},
			{clock: "61m", age: "11m", sessions: 9, used: used("A", 7)},
		}, []hour{{0, 11 * time.Minute, nil, nil, 0, state.Refused{}, nil}, {11 * time.Minute, 11 * time.Minute, used("A", 7), nil, 5, state.Refused{}, nil}}},
		{"a new period", []sample{
			{clock: "1m", age: "0", used: used("A", 900)},
			{clock: "2m", age: "1m", used: used("A", 40)},
		}, []hour{{0, time.Minute, used("A", 40), nil, 0, state.Refused{}, nil}}},
		{"a new name is another donation", []sample{
			{clock: "1m", age: "0", used: used("A", 900)},
			{clock: "2m", age: "1m", used: used("A", 910)},
			{clock: "3m", age: "2m", used: used("B", 0)},
			{clock: "4m", age: "3m", used: used("B", 4)},
		}, []hour{{0, 3 * time.Minute, used("A", 10, "B", 4), nil, 0, state.Refused{}, nil}}},
		{"a clock set back begins an hour, and loses none", []sample{
			{clock: "5h", age: "0", used: used("A", 0)},
			{clock: "5h10m", age: "10m", used: used("A", 1)},
			{clock: "2h", age: "11m", used: used("A", 3)},
			{clock: "2h10m", age: "21m", used: used("A", 6)},
		}, []hour{{0, 11 * time.Minute, used("A", 1), nil, 0, state.Refused{}, nil}, {11 * time.Minute, 21 * time.Minute, used("A", 5), nil, 0, state.Refused{}, nil}}},
		{"a clock set forward by a year does not end the day", []sample{
			{clock: "1m", age: "0", used: used("A", 0)},
			{clock: "8760h", age: "1m", used: used("A", 3)},
		}, []hour{{0, time.Minute, nil, nil, 0, state.Refused{}, nil}, {time.Minute, time.Minute, used("A", 3), nil, 0, state.Refused{}, nil}}},
		{"what is a day old is forgotten", []sample{
			{clock: "0", age: "0", used: used("A", 0)},
			{clock: "59m", age: "59m", used: used("A", 3)},
			{clock: "1h", age: "1h", used: used("A", 4)},
			{clock: "25h", age: "25h", used: used("A", 4)},
		}, []hour{{time.Hour, 25 * time.Hour, used("A", 1), nil, 0, state.Refused{}, nil}, {25 * time.Hour, 25 * time.Hour, nil, nil, 0, state.Refused{}, nil}}},
		{"a line that stops", []sample{
			{clock: "1m", age: "0", used: used("A", 0, "B", 0)},
			{clock: "2m", age: "1m", used: used("A", 0, "B", 0), down: "A"},
			{clock: "3m", age: "2m", used: used("A", 0, "B", 0), down: "A"},
			{clock: "4m", age: "3m", used: used("A", 0, "B", 0)},
			{clock: "5m", age: "4m", used: used("A", 0, "B", 0), down: "A"},
		}, []hour{{0, 4 * time.Minute, nil, map[string]int{"A": 2}, 0, state.Refused{}, nil}}},
	} {
		t.Run(c.what, func(t *testing.T) {
			var got counts
			for _, s := range c.samples {
				clock, age := since(t, s.clock), since(t, s.age)
				got.add(noon.Truncate(24*time.Hour).Add(clock), age, status(s))
			}
			for i := range c.want {
				if c.want[i].bytes == nil {
					c.want[i].bytes = map[string]uint64{}
				}
				if c.want[i].stops == nil {
					c.want[i].stops = map[string]int{}
				}
			}
			if !reflect.DeepEqual(got.hours, c.want) {
				t.Errorf("%+v, want %+v", got.hours, c.want)
			}
		})
	}
}

func since(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func status(x sample) (s state.Status) {
	s.Residents.Sessions = x.sessions
	for name, used := range x.used {
		s.Donations = append(s.Donations, state.Donation{Name: name, Used: used, Open: true, Works: name != x.down})
	}
	return s
}

// TestCountsAreBounded: memory use is bounded, even if the clock is set all the time or names change all the time.
func TestCountsAreBounded(t *testing.T) {
	t.Parallel()
	var c counts
	total := uint64(0)
	for i := range 1000 {
		s := state.Status{Donations: []state.Donation{{Name: "A", Used: uint64(i)}}}
		c.add(noon.Add(time.Duration(i%2)*time.Hour), time.Duration(i)*time.Second, s)
	}
	if len(c.hours) > maxHours {
		t.Errorf("%d hours", len(c.hours))
	}
	c = counts{}
	for i := range 1000 {
		name := strconv.Itoa(i)
		for _, used := range []uint64{0, 1} {
			c.add(noon, time.Duration(i)*time.Second, state.Status{Donations: []state.Donation{{Name: name, Used: used}}})
		}
	}
	for _, bytes := range c.hours[0].bytes {
		total += bytes
	}
	if len(c.hours[0].bytes) > maxNames+1 || total != 1000 {
		t.Errorf("%d names have %d bytes", len(c.hours[0].bytes), total)
	}
}

// TestLayers: donations have layers in their order, and further or former ones share one layer. A donation keeps its colour when one
// before it is unused.
func TestLayers(t *testing.T) {
	t.Parallel()
	values := []map[string]uint64{{"B": 3, "gone": 1}, {"D": 2, "E": 5, "": 1}}
	got := layersOf([]string{"A", "B", "C", "D", "E"}, 2, func(i int) map[string]uint64 { return values[i] })
	want := []layer{
		{"B", "c1", []uint64{3, 0}, 3}, {"D", "c3", []uint64{0, 2}, 2}, {"", "c4", []uint64{1, 6}, 7},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestDraw compares drawings with paths that were computed by hand.
func TestDraw(t *testing.T) {
	t.Parallel()
	half := []span{{0, 0.5, 1}, {0.5, 1, 1}}
	for _, c := range []struct {
		what   string
		spans  []span
		layers []layer
		want   []shape
	}{
		{"nothing", nil, []layer{{Class: "c0"}}, nil},
		{"zeros", half[:1], []layer{{Class: "c0", Values: []uint64{0}}}, []shape{
			{"c0", "M0,100C83.3,100 166.7,100 250,100C333.3,100 416.7,100 500,100L500,100L0,100Z", "M0,100C83.3,100 166.7,100 250,100C333.3,100 416.7,100 500,100"},
		}},
		{"a part that is too short is left out", []span{{0, 0.5, 1}, {0.5, 0.501, 0}}, []layer{{Class: "c0", Values: []uint64{2, 9}}}, []shape{
			{"c0", "M0,0C83.3,0 166.7,0 250,0C333.3,0 416.7,0 500,0L500,100L0,100Z", "M0,0C83.3,0 166.7,0 250,0C333.3,0 416.7,0 500,0"},
		}},
		{"half an hour is drawn as an hour", []span{{0, 0.5, 1}, {0.5, 0.75, 2}}, []layer{{Class: "c0", Values: []uint64{4, 2}}}, []shape{{
			"c0", "M0,0C83.3,0 166.7,0 250,0C375,0 500,0 625,0C666.7,0 708.3,0 750,0L750,100L0,100Z",
			"M0,0C83.3,0 166.7,0 250,0C375,0 500,0 625,0C666.7,0 708.3,0 750,0",
		}}},
	} {
		if got := draw(c.spans, c.layers).Areas; !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.what, got, c.want)
		}
	}
}

// FuzzCurveStaysBetweenItsPoints: a curve never goes below the axis or above the highest value.
func FuzzCurveStaysBetweenItsPoints(f *testing.F) {
	f.Add([]byte{0, 0, 255, 1, 0, 90, 91, 3})
	f.Add([]byte{7})
	f.Fuzz(func(t *testing.T, heights []byte) {
		if len(heights) == 0 || len(heights) > 50 {
			return
		}
		var points []point
		for i, h := range heights {
			points = append(points, point{float64(i) * 20, float64(h) / 255 * curveHeight})
		}
		for i, bow := range strings.Split(curveThrough(points), "C")[1:] {
			low, high := min(points[i].y, points[i+1].y), max(points[i].y, points[i+1].y)
			for _, text := range strings.Fields(bow) {
				_, height, _ := strings.Cut(text, ",")
				if y, err := strconv.ParseFloat(height, 64); err != nil || y < low-0.06 || y > high+0.06 { // as they are rounded
					t.Errorf("%v: %q is not between %g and %g (%v)", heights, bow, low, high, err)
				}
			}
		}
	})
}
