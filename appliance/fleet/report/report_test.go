package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"passerelle/appliance/fleet/protocol"
	"passerelle/appliance/state"
)

var day = time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)

// shown returns the status of a box with two donations.
func shown() state.Status {
	return state.Status{
		State: state.Sharing, Centre: "Centre social des Lilas", System: state.System{Kernel: "6.1.21-v8+"},
		Residents: state.Residents{Sessions: 12, Slow: 3},
		Donations: []state.Donation{
			{
				Name: "Fibre de Samira", Interface: "eth0", Open: true, Up: true, Works: true, Chosen: true, Cap: 200e9, Used: 7e9, Left: 190e9,
				Days: []state.Day{{Date: state.Date{Time: day.AddDate(0, 0, -1)}, Bytes: 1}, {Date: state.Date{Time: day}, Bytes: 3e9}},
			},
			{Name: "Téléphone", Interface: "usb", Open: true, PausedBy: "Samira"},
		},
		Problems: []state.Problem{
			state.NewProblem(state.PowerWeak), state.NewProblem(state.NetworkOverlap, "donation", "Fibre de Samira", "error", "192.168.1.0/24"),
			state.NewProblem(state.NetworkOverlap, "donation", "Téléphone", "error", "192.168.1.0/24"),
		},
	}
}

func TestReport(t *testing.T) {
	text, err := Of("2026-12-01", "v0.4.2", shown(), Sums{Sessions: 31, Refused: 4}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"form":1,"day":"2026-12-01","release":"0.4.2","kernel":"6.1.21","state":"sharing","sessions":31,"slow":"<5","refused":"<5",` +
		`"donations":[{"n":1,"kind":"cable","day":3000000000,"used":7000000000,"cap":200000000000,"left":190000000000,"state":"used"},` +
		`{"n":2,"kind":"phone","day":0,"used":0,"cap":0,"left":0,"state":"paused"}],` +
		`"faults":[{"code":"network-overlap","error":true},{"code":"power-weak"}]}`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Error(diff)
	}
	r, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if r.Sessions != 31 || r.Slow != 0 || len(r.Donations) != 2 {
		t.Errorf("%+v", r)
	}
}

// TestFell: the release that the box rolled back from is reported as a version and a code, and languages are codes. Without these, a
// report is byte for byte that of an earlier release.
func TestFell(t *testing.T) {
	t.Parallel()
	s := shown()
	old, err := Of("2026-12-01", "v0.4.2", s, Sums{Sessions: 31}).Encode()
	if err != nil || bytes.Contains(old, []byte("fell")) || bytes.Contains(old, []byte("languages")) {
		t.Fatalf("%s, %v", old, err)
	}
	for name, x := range map[string]struct {
		updates state.Updates
		want    string
	}{
		"not at all":      {state.Updates{Version: "0.4.2"}, ``},
		"with a reason":   {state.Updates{FellBack: "0.5.0", FellBackWhy: "Samira", FellBackCode: state.TrialPages}, `"fell":{"version":"0.5.0","why":"pages"},`},
		"another reason":  {state.Updates{FellBack: "0.5.0", FellBackCode: "Samira"}, `"fell":{"version":"0.5.0","why":"other"},`},
		"unknown version": {state.Updates{FellBack: "?", FellBackWhy: "Samira"}, `"fell":{"why":"other"},`},
		"not a version":   {state.Updates{FellBack: "Samira", FellBackCode: state.TrialSilent}, `"fell":{"why":"silent"},`},
	} {
		s.Updates = &x.updates
		text, err := Of("2026-12-01", "v0.4.2", s, Sums{Sessions: 31, Languages: []Language{{"uk", false}, {"fr", true}, {"Samira", true}, {"fr", false}}}).Encode()
		if err != nil {
			t.Fatal(err)
		}
		want := strings.Replace(string(old), `"state"`, x.want+`"languages":[{"code":"fr","reviewed":true},{"code":"uk"}],"state"`, 1)
		if diff := cmp.Diff(want, string(text)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if _, err := Parse(text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// planted are texts that must never leave a box.
var planted = []string{
	"Samira", "Centre des Lilas", "02:00:5e:10:00:09", "10.80.0.9", "192.168.1.20", "fe80::9", "Livebox-7F3A", "trois petits chats",
	"partage.internal", "https://lieux.centre.fr/secret.csv", "eth0-of-samira",
}

// fill sets every text that can be reached from a value to all planted texts, gives every list two elements, and sets every number to
// a small one.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(strings.Join(planted, " "))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i))
		}
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key)
		fill(value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(day))
			return
		}
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(v.Field(i))
			}
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(3)
	case reflect.Uint64:
		v.SetUint(3)
	case reflect.Float64:
		v.SetFloat(3)
	default:
		panic("a status has a " + v.Kind().String())
	}
}

// Whatever texts a box's status contains, in all fields or in a single one, none of them is in its report.
func TestNothingLeaves(t *testing.T) {
	var s state.Status
	fill(reflect.ValueOf(&s).Elem())
	whole, err := json.Marshal(s)
	if err != nil || !bytes.Contains(whole, []byte("Samira")) {
		t.Fatalf("the status is not filled: %v", err)
	}
	text, err := Of("2026-12-01", strings.Join(planted, " "), s, Sums{3, 3, []Language{{Code: Word(strings.Join(planted, " "))}}}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Donations) != 2 || !bytes.Contains(text, []byte(`"n":2`)) {
		t.Fatalf("the report has no donations: %s", text)
	}
	absent(t, text)
	for _, one := range planted { // one that looks like a version or a word of its own
		s := shown()
		s.System.Kernel, s.State = one, state.State(one)
		s.Problems = []state.Problem{state.NewProblem(state.Code(one))}
		s.Donations[0].Kind, s.Donations[0].Interface = one, one
		s.Updates = &state.Updates{FellBack: one, FellBackWhy: one, FellBackCode: state.TrialReason(one)}
		text, err := Of("2026-12-01", one, s, Sums{Languages: []Language{{Code: Word(one)}}}).Encode()
		if err != nil {
			t.Fatal(err)
		}
		absent(t, text)
	}
	for _, one := range append(planted, "6.1.2-Samira", "6.1.21-v8+Samira", "v1.2.3-Samira", "10.80.0", "6.1.21.9", "v10.80.0.9") {
		if v := string(Kernel(one)) + string(Release(one)); v != "" && v != "6.1.2" && v != "6.1.21" && v != "10.80.0" {
			t.Errorf("%q is the version %q", one, v)
		}
	}
}

func absent(t *testing.T, text []byte) {
	t.Helper()
	for _, one := range planted {
		for _, part := range strings.Fields(one) {
			if bytes.Contains(bytes.ToLower(text), bytes.ToLower([]byte(part))) {
				t.Errorf("%q is in the report: %s", part, text)
			}
		}
	}
}

// A report can hold only numbers and words of closed sets: each new field needs a decision.
func TestKindsOfFields(t *testing.T) {
	allowed := map[reflect.Type]bool{
		reflect.TypeFor[int](): true, reflect.TypeFor[uint64](): true, reflect.TypeFor[bool](): true, reflect.TypeFor[Count](): true,
		reflect.TypeFor[Word](): true, reflect.TypeFor[Day](): true, reflect.TypeFor[Version](): true,
	}
	var fields int
	var check func(of reflect.Type, path string)
	check = func(of reflect.Type, path string) {
		for i := range of.NumField() {
			f := of.Field(i)
			inner := f.Type
			if inner.Kind() == reflect.Slice || inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			switch {
			case inner == reflect.TypeFor[Donation](), inner == reflect.TypeFor[Fault](), inner == reflect.TypeFor[Fell](), inner == reflect.TypeFor[Language]():
				check(inner, path+f.Name+".")
			case !allowed[f.Type]:
				t.Errorf("%s%s is a %s", path, f.Name, f.Type)
			default:
				fields++
			}
		}
	}
	check(reflect.TypeFor[Report](), "")
	if fields != 21 {
		t.Errorf("%d fields: does a new one tell anything of a resident or a lender?", fields)
	}
}

// The largest report fits, and a count of people below five is never reported.
func TestBounds(t *testing.T) {
	s := shown()
	for len(s.Donations) < 64 {
		d := s.Donations[0]
		d.Used, d.Cap, d.Left, d.Days[1].Bytes = 999e12, 1000e12, 999e12, 99e12
		s.Donations = append(s.Donations, d)
	}
	for _, code := range state.Codes {
		s.Problems = append(s.Problems, state.NewProblem(code))
	}
	if text, err := Of("2026-12-01", "v0.4.2", s, Sums{Sessions: 1e9, Refused: 1e9}).Encode(); err != nil {
		t.Error(err)
	} else if _, err := Parse(text); err != nil {
		t.Error(err)
	}
	for n := range uint64(8) {
		text, err := json.Marshal(Count(n))
		if want := fmt.Sprint(n); err != nil || n < Few && string(text) != `"\u003c5"` || n >= Few && string(text) != want {
			t.Errorf("%d: %s, %v", n, text, err)
		}
	}
}

// Parse refuses what no box writes.
func TestLies(t *testing.T) {
	text, err := Of("2026-12-01", "v0.4.2", shown(), Sums{Sessions: 31}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{
		`"form":1`:       `"form":2`,
		`2026-12-01`:     `2026-13-01`,
		`"cable"`:        `"Samira's"`,
		`"used","n"`:     `"x"`,
		`"sharing"`:      `"hello"`,
		`"sessions":31`:  `"sessions":3`,
		`"slow"`:         `"Slow"`,
		`"kernel"`:       `"ssid":"x","kernel"`,
		`"n":2`:          `"n":7`,
		`"power-weak"`:   `"power-strong"`,
		`"donations"`:    `"fell":{"why":"hello"},"donations"`,
		`"sessions"`:     `"languages":[{"code":"tlh"}],"sessions"`,
		`,"donations"`:   `,"languages":[{"code":"fr"},{"code":"fr"}],"donations"`,
		`"6.1.21"`:       `"6.1.21-samira"`,
		`{"form"`:        ` {"form"`,
		`"day":3000`:     `"day":-3000`,
		`"state":"used"`: `"state":"used","state":"used"`,
	} {
		lie := strings.Replace(string(text), from, to, 1)
		if _, err := Parse([]byte(lie)); lie != string(text) && err == nil {
			t.Errorf("%s: no error", to)
		}
	}
	if _, err := Parse(bytes.Repeat([]byte(" "), protocol.MaxReport+1)); err == nil {
		t.Error("a long one: no error")
	}
}

func FuzzReport(f *testing.F) {
	text, err := Of("2026-12-01", "v0.4.2", shown(), Sums{Sessions: 31}).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Parse(text)
		if err != nil {
			return
		}
		if again, err := r.Encode(); err != nil || !bytes.Equal(again, text) {
			t.Fatalf("%s, %v", again, err)
		}
	})
}
