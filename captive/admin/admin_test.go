package admin

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"passerelle/appliance/state"
	"passerelle/captive/web/webtest"
)

const page = "/lender/" + token

// TestPages compares each page in each language with its golden file, testdata/CASE.txtar.
func TestPages(t *testing.T) {
	t.Parallel()
	monday := time.Date(2026, 11, 23, 8, 30, 0, 0, paris)
	for _, test := range []struct {
		name, line string
		set        func(*state.Status, *state.Donation)
	}{
		{name: "shared"},
		{name: "paused", set: func(_ *state.Status, d *state.Donation) { d.PausedBy = itsLender }},
		{name: "paused-until", set: func(_ *state.Status, d *state.Donation) {
			d.PausedBy, d.PausedUntil = itsLender, time.Date(2026, 11, 22, 0, 0, 0, 0, paris)
		}},
		{name: "paused-untimed", set: func(s *state.Status, d *state.Donation) {
			d.PausedBy, d.PausedDay, s.Clock.Trusted = itsLender, true, false
		}},
		{name: "paused-by-centre", set: func(_ *state.Status, d *state.Donation) { d.PausedBy = aTechnician }},
		{name: "warned", set: func(_ *state.Status, d *state.Donation) {
			d.Used, d.Stated, d.Lowered, d.Left, d.Daily = 83_700_000_000, 4_000_000_000, 96_000_000_000, 12_000_000_000, 1_200_000_000
		}},
		{name: "lowered", line: "GET " + page + "?done=period", set: func(_ *state.Status, d *state.Donation) {
			d.Lowered, d.Left = 50_000_000_000, 62_640_000_000
		}},
		{name: "held", set: func(s *state.Status, d *state.Donation) { s.State, d.Chosen = state.Paused, false }},
		{name: "ready", set: func(_ *state.Status, d *state.Donation) { d.Chosen = false }},
		{name: "closed", set: func(s *state.Status, d *state.Donation) { d.Open, d.Chosen, d.Opens = false, false, monday }},
		{name: "closed-unknown", set: func(_ *state.Status, d *state.Donation) { d.Open, d.Chosen = false, false }},
		{name: "spent", set: func(s *state.Status, d *state.Donation) {
			d.Spent = true
			d.Left, d.Granted, d.Daily, d.Used = 0, 0, 0, 197_000_000_000
		}},
		{name: "uncounted", set: func(s *state.Status, d *state.Donation) {
			d.Spent, d.Lost = true, true
			d.Left, d.Granted, d.Daily, d.Reserve, d.Used, d.Days = 0, 0, 0, 0, 0, nil
		}},
		{name: "spent-once", set: func(s *state.Status, d *state.Donation) {
			d.Spent, d.Period, d.PeriodStart, d.Resets = true, "once", time.Time{}, time.Time{}
			d.Left, d.Granted, d.Daily = 0, 0, 0
		}},
		{name: "spent-untimed", set: func(s *state.Status, d *state.Donation) {
			d.Spent, s.Clock.Trusted, d.PeriodStart, d.Resets = true, false, time.Time{}, time.Time{}
			d.Left, d.Granted, d.Daily, d.Used = 0, 0, 0, 197_000_000_000
		}},
		{name: "untimed", set: func(s *state.Status, d *state.Donation) { // earlier days are known, the usage since is not
			s.Clock.Trusted, d.Daily = false, 0
			d.PeriodStart, d.Resets, d.Days = time.Time{}, time.Time{}, d.Days[:5]
		}},
		{name: "undated", set: func(s *state.Status, d *state.Donation) {
			d.Cap, d.Left, d.Reserve, d.Granted, d.Used = 20_000_000_000, 19_968_000_000, 0, 268_000_000, 3_000_000
			s.Clock.Trusted, d.Daily, d.PeriodStart, d.Resets, d.Days = false, 0, time.Time{}, time.Time{}, nil
		}},
		{name: "small", set: func(s *state.Status, d *state.Donation) {
			d.Cap, d.Left, d.Reserve, d.Granted, d.Used = 20_000_000_000, 19_948_125_000, 0, 78_125_000, 6_100_000
			d.Days = []state.Day{{Date: state.DateOf(noon), Bytes: 6_100_000}}
		}},
		{name: "unused-since", set: func(s *state.Status, d *state.Donation) {
			d.Used, d.Days = 0, []state.Day{{Date: state.DateOf(d.PeriodStart.AddDate(0, 0, -1)), Bytes: 5_000_000_000}}
		}},
		{name: "broken", set: func(s *state.Status, d *state.Donation) {
			d.Works, d.Chosen, d.Why = false, false, "eth0 has a link but no default route"
		}},
		{name: "no-cap", set: func(s *state.Status, d *state.Donation) { d.Cap, d.Left, d.Reserve, d.Granted, d.Daily = 0, 0, 0, 0, 0 }},
		{name: "lender-first", set: func(s *state.Status, d *state.Donation) { d.Autorate = true }},
		{name: "lender-uses-it", set: func(s *state.Status, d *state.Donation) {
			d.Autorate, d.Rate = true, &state.Rate{Down: 2_000_000, Up: 500_000, DownHeld: heldLender, UpHeld: "nothing"}
		}},
		{name: "broadcast-apart", set: func(s *state.Status, d *state.Donation) { d.Broadcasts = 12_300_000_000 }},
		{name: "broadcast-counts", set: func(s *state.Status, d *state.Donation) { d.Broadcasts, d.BroadcastsCount = 300, true }},
		{name: "unused", set: func(s *state.Status, d *state.Donation) { d.Used, d.Days = 0, nil }},
		{name: "week", set: func(s *state.Status, d *state.Donation) {
			d.Period, d.PeriodStart = "week", time.Date(2026, 11, 16, 0, 0, 0, 0, paris)
			d.Resets = d.PeriodStart.AddDate(0, 0, 7)
		}},
		{name: "day", set: func(s *state.Status, d *state.Donation) {
			d.Period, d.PeriodStart = "day", time.Date(2026, 11, 21, 0, 0, 0, 0, paris)
			d.Resets = d.PeriodStart.AddDate(0, 0, 1)
		}},
		{name: "lost", line: "GET /lender/k3vqzj5xw7oadcl2ygt4me6rnc"},
		{name: "stop", line: "GET " + page + "/stop"},
		{name: "refused", line: "POST " + page + "/pause"},
		{name: "missing", line: "GET /lender/"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newFakeBox()
			if test.set != nil {
				b.change(test.set)
			}
			s, line := newServer(b, io.Discard), test.line
			if line == "" {
				line = "GET " + page
			}
			got := &txtar.Archive{Comment: []byte(line + "\n")}
			for _, lang := range []string{"fr", "en"} {
				res := ask(t, s, line, "Accept-Language: "+lang, "Origin: https://www.example.org")
				got.Files = append(got.Files, txtar.File{Name: lang, Data: webtest.Gist(res.StatusCode, body(t, res))})
			}
			webtest.Golden(t, test.name, got)
		})
	}
}

// A chosen language is kept in every link, including those to the residents' pages.
func TestChoiceIsOnEveryLink(t *testing.T) {
	t.Parallel()
	s := newServer(newFakeBox(), io.Discard)
	if got := ask(t, s, "GET /?lang=en").Header.Get("Location"); got != "http://10.80.0.1/?lang=en" {
		t.Errorf("residents are led to %q", got)
	}
	for _, line := range []string{"GET " + page, "GET /lender/k3vqzj5xw7oadcl2ygt4me6rnc", "POST " + page + "/pause", "GET /lender/"} {
		text := body(t, ask(t, s, line+"?lang=en", "Origin: https://www.example.org"))
		links := regexp.MustCompile(`<(?:a|form) [^>]*(?:href|action)="/[^>]*>`).FindAllString(text, -1)
		for _, link := range links {
			if !strings.Contains(link, "lang=") {
				t.Errorf("%s: %s", line, link)
			}
		}
		if len(links) < 2 {
			t.Errorf("%s: only the links %q", line, links)
		}
	}
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	s := newServer(b, io.Discard)
	for _, step := range []struct{ press, chosen, says string }{
		{"pause", "", "Reprendre le prêt"},
		{"pause", "?lang=en", "Resume the loan"}, // pressed in two windows
		{"resume", "", "Mettre en pause"},
	} {
		res := ask(t, s, "POST "+page+"/"+step.press+step.chosen, "Sec-Fetch-Site: same-origin")
		if to := res.Header.Get("Location"); res.StatusCode != http.StatusSeeOther || to != page+step.chosen {
			t.Fatalf("%s: status %d to %q", step.press, res.StatusCode, to)
		}
		if got := body(t, ask(t, s, "GET "+page+step.chosen)); !strings.Contains(got, step.says) {
			t.Errorf("after %s no %q in:\n%s", step.press, step.says, got)
		}
	}
	want := []string{"its lender pauses Fibre du centre", "its lender pauses Fibre du centre", "its lender resumes Fibre du centre"}
	if !slices.Equal(b.presses, want) {
		t.Errorf("the box was told %q", b.presses)
	}
}

// Requests that do not come from the page, or have no valid link, change nothing.
func TestPressesThatAreNot(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		line    string
		headers []string
		status  int
	}{
		{"POST " + page + "/pause", []string{"Sec-Fetch-Site: cross-site"}, 403},
		{"POST " + page + "/pause", []string{"Origin: null"}, 403},
		{"POST " + page + "/pause", []string{"Origin: http://partage.internal.example.org"}, 403},
		{"POST https://www.example.org" + page + "/pause", nil, 421},
		{"POST https://partage.internal:8443" + page + "/pause", nil, 421},
		{"POST /lender/" + strings.Repeat("a", 26) + "/pause", nil, 404},
		{"POST /lender//pause", nil, 307}, // redirected to the path without the empty part, which does not exist
		{"GET " + page + "/pause", nil, 404},
		{"PUT " + page + "/pause", nil, 404},
		{"POST " + page, nil, 404},
		{"POST " + page + "/pause/", nil, 404},
	} {
		b := newFakeBox()
		if res := ask(t, newServer(b, io.Discard), test.line, test.headers...); res.StatusCode != test.status {
			t.Errorf("%s %q: status %d, want %d", test.line, test.headers, res.StatusCode, test.status)
		}
		if len(b.presses) > 0 {
			t.Errorf("%s %q: %q", test.line, test.headers, b.presses)
		}
	}
}

func TestHostNames(t *testing.T) {
	t.Parallel()
	s := newServer(newFakeBox(), io.Discard)
	for host, status := range map[string]int{
		"10.80.0.1": 200, "10.80.0.1:443": 200, "partage.internal": 200, "PARTAGE.internal.": 200, "partage.internal:443": 200,
		"10.80.0.2": 421, "10.80.0.1:80": 421, "partage.internal.example.org": 421, "localhost": 421, "[::1]": 421,
	} {
		if res := ask(t, s, "GET https://"+host+page); res.StatusCode != status {
			t.Errorf("Host %q: status %d, want %d", host, res.StatusCode, status)
		}
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	s := newServer(newFakeBox(), io.Discard)
	for _, line := range []string{"GET " + page, "GET /lender/x", "POST /lender/x/pause", "GET /nope"} {
		res := ask(t, s, line)
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
			"Content-Type": "text/html; charset=utf-8",
		} {
			if got := res.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", line, name, got, want)
			}
		}
		if csp := res.Header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'; ") {
			t.Errorf("%s: Content-Security-Policy %q", line, csp)
		}
	}
	res := ask(t, s, "GET /")
	if to := res.Header.Get("Location"); res.StatusCode != http.StatusFound || to != "http://10.80.0.1/" {
		t.Errorf("/ leads to %q with status %d", to, res.StatusCode)
	}
}

// A new link replaces the previous one, only its hash is stored, and a link to a removed donation is not found.
func TestLinks(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	s := newServer(b, io.Discard)
	path, err := IssueLink(b, "Fibre du centre")
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^/lender/[a-z2-7]{26}$`).MatchString(path) { // 26 letters of 5 bits
		t.Errorf("the path is %q", path)
	}
	secret := strings.TrimPrefix(path, "/lender/")
	for h := range b.tokens {
		if h != sha256.Sum256([]byte(secret)) {
			t.Errorf("%x is kept, which is not the hash of the new token alone", h)
		}
	}
	for asked, status := range map[string]int{page: 404, path: 200, "/lender/" + strings.ToUpper(secret): 200, path + "a": 404} {
		if res := ask(t, s, "GET "+asked); res.StatusCode != status {
			t.Errorf("%s: status %d, want %d", asked, res.StatusCode, status)
		}
	}
	another, err := IssueLink(b, "Fibre du centre")
	if err != nil || another == path {
		t.Errorf("another link is %q, %v", another, err)
	}
	b.status.Donations = nil
	if res := ask(t, s, "GET "+another); res.StatusCode != 404 {
		t.Errorf("a donation that is gone: status %d", res.StatusCode)
	}
	b.err = errors.New("no space left on device")
	if _, err := IssueLink(b, "Fibre du centre"); !errors.Is(err, b.err) || !strings.Contains(err.Error(), "Fibre du centre") {
		t.Errorf("a full disk: %v", err)
	}
}

// Errors are shown on the page and logged; the log never has the token.
func TestPauseFails(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	b := newFakeBox()
	b.err = errors.New("no space left on device")
	res := ask(t, newServer(b, &log), "POST "+page+"/pause")
	if got := body(t, res); res.StatusCode != 500 || !strings.Contains(got, "Cela n’a pas marché") || !strings.Contains(got, `href="`+page+`"`) {
		t.Errorf("status %d:\n%s", res.StatusCode, got)
	}
	if got := log.String(); !strings.Contains(got, "no space left on device") || strings.Contains(got, token) {
		t.Errorf("the log has:\n%s", got)
	}
}

// Contradictory numbers, from a wrong clock or a new ledger, still make a page.
func TestOddDonations(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*state.Status, *state.Donation){
		"nothing known": func(s *state.Status, d *state.Donation) {
			*d = state.Donation{Name: d.Name, Open: true, Works: true, Period: "month"}
		},
		"the clock is behind": func(s *state.Status, d *state.Donation) {
			d.PeriodStart, d.Resets = d.PeriodStart.AddDate(1, 0, 0), d.Resets.AddDate(1, 0, 0)
		},
		"the clock is ahead": func(s *state.Status, d *state.Donation) {
			d.PeriodStart, d.Resets = d.PeriodStart.AddDate(-1, 0, 0), d.Resets.AddDate(-1, 0, 0)
		},
		"a period of an age": func(s *state.Status, d *state.Donation) { d.PeriodStart = time.Time{} },
		"ends before it began": func(s *state.Status, d *state.Donation) {
			d.PeriodStart, d.Resets = d.Resets, d.PeriodStart
		},
		"parts beyond the cap": func(s *state.Status, d *state.Donation) { d.Left, d.Used, d.Granted = 1<<64-1, 1<<64-1, 1<<64-1 },
		"a tiny cap":           func(s *state.Status, d *state.Donation) { d.Cap = 1 },
	} {
		b := newFakeBox()
		b.change(set)
		if res := ask(t, newServer(b, io.Discard), "GET "+page); res.StatusCode != 200 || !strings.HasSuffix(body(t, res), "</html>\n") {
			t.Errorf("%s: status %d", name, res.StatusCode)
		}
	}
}

// TestPartsAddUp: the parts as the page rounds them add up to the cap, except for the last digit of one at most.
func TestPartsAddUp(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(5, 8))
	units := map[string]float64{"megabytes": 1e6, "megabyte": 1e6, "gigabytes": 1e9, "gigabyte": 1e9}
	size := regexp.MustCompile(`<strong>([\d.,]+)\x{a0}(\w+)</strong></p></li>`)
	for range 300 {
		b := newFakeBox()
		var whole uint64
		b.change(func(s *state.Status, d *state.Donation) {
			d.Cap = []uint64{100e6, 2e9, 20e9, 50e9, 99e9, 200e9, 1e12}[rnd.IntN(7)]
			whole = d.Cap
			part := func(of uint64) uint64 { return rnd.Uint64N(of/uint64(1+rnd.IntN(1000)) + 1) }
			rest := d.Cap - d.Cap/256
			for _, p := range []*uint64{&d.Used, &d.Reserve, &d.Granted} {
				*p = part(rest)
				rest -= *p
			}
			d.Left = rest + d.Granted
		})
		html := body(t, ask(t, newServer(b, io.Discard), "GET "+page+"?lang=en"))
		var sum float64
		for _, m := range size.FindAllStringSubmatch(html, -1) {
			n, err := strconv.ParseFloat(strings.ReplaceAll(m[1], ",", ""), 64)
			if err != nil || units[m[2]] == 0 {
				t.Fatalf("a part is %q", m)
			}
			sum += n * units[m[2]]
		}
		digit := 1e9
		if whole < 100e9 {
			digit = 1e8
		}
		if missing := float64(whole) - sum; missing < -1 || missing >= digit {
			t.Errorf("of %d bytes, %.0f are missing:\n%s", whole, missing, strings.Join(size.FindAllString(html, -1), "\n"))
		}
	}
}

// TestButton: the button to pause is the page's primary one while there is something to pause; the button to resume always is.
func TestButton(t *testing.T) {
	t.Parallel()
	const minor = `<button class="second" type="submit" aria-describedby="note">`
	for name, test := range map[string]struct {
		set   func(*state.Status, *state.Donation)
		minor bool
	}{
		"shared":           {func(*state.Status, *state.Donation) {}, false},
		"without a cap":    {func(s *state.Status, d *state.Donation) { d.Cap, d.Left, d.Granted, d.Reserve = 0, 0, 0, 0 }, false},
		"the last tranche": {func(s *state.Status, d *state.Donation) { d.Left = d.Granted }, false},
		"spent":            {func(s *state.Status, d *state.Donation) { d.Spent, d.Left, d.Granted = true, 0, 0 }, true},
		"spent for ever": {func(s *state.Status, d *state.Donation) {
			d.Spent, d.Period, d.Left, d.Granted, d.Reserve = true, "once", 0, 0, 0
		}, true},
		"spent and closed": {func(s *state.Status, d *state.Donation) { d.Spent, d.Open, d.Left, d.Granted = true, false, 0, 0 }, true},
		"spent and paused": {func(s *state.Status, d *state.Donation) {
			d.Spent, d.PausedBy, d.Left, d.Granted = true, itsLender, 0, 0
		}, false},
	} {
		b := newFakeBox()
		b.change(test.set)
		if html := body(t, ask(t, newServer(b, io.Discard), "GET "+page)); strings.Contains(html, minor) != test.minor {
			t.Errorf("%s: the button is minor: %v, want %v", name, !test.minor, test.minor)
		}
	}
}

// The page weighs at most 14 kB on the wire, headers and 31 days included, and loads nothing.
func TestWeight(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	b.change(func(s *state.Status, d *state.Donation) {
		d.Days, d.Period, d.Resets = nil, "once", time.Time{}
		for i := range 31 {
			d.Days = append(d.Days, state.Day{Date: state.DateOf(noon.AddDate(0, 0, -i)), Bytes: 6_300_000_000})
		}
	})
	s := newServer(b, io.Discard)
	html := body(t, ask(t, s, "GET "+page))
	small := body(t, ask(t, s, "GET "+page, "Accept-Encoding: gzip"))
	const most, header = 14_000, 700
	if len(small)+header > most || len(html) < 2*len(small) {
		t.Errorf("%d bytes, compressed %d", len(html), len(small))
	}
	t.Logf("%d bytes, compressed %d", len(html), len(small))
	if found := regexp.MustCompile(`(?i)<(script|img|iframe|object|embed|video|audio|source)|\son\w+=|@import|url\(|src=|javascript:|style=`).
		FindString(html); found != "" {
		t.Errorf("the page has %q", found)
	}
	for _, m := range regexp.MustCompile(`(?:href|action)="([^"]*)"`).FindAllStringSubmatch(html, -1) {
		if !strings.HasPrefix(m[1], "/") && !strings.HasPrefix(m[1], "#") && !strings.HasPrefix(m[1], "data:image/svg") {
			t.Errorf("a link to %q", m[1])
		}
	}
}
