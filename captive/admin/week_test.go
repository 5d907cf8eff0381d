package admin

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"reflect"
	"testing"

	"passerelle/appliance/hours"
)

// TestWeekOf: hours that a week's grid can express are parsed into it; others are not.
func TestWeekOf(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"Mo-Fr 08:30-19:00; Sa 09:00-12:00":            "Mo-Fr 08:30-19:00; Sa 09:00-12:00",
		"Mo-Fr 08:30-12:00,13:30-19:00; PH off":        "Mo-Fr 08:30-12:00,13:30-19:00; PH off",
		"Mo,We 08:30-12:00; Tu 09:00-10:00":            "Mo,We 08:30-12:00; Tu 09:00-10:00",
		"Mo-Su 22:00-06:00":                            "Mo-Su 22:00-06:00",
		"Mo-Th 18:00-02:00, Fr 18:00-03:00":            "Mo-Th 18:00-02:00, Fr 18:00-03:00",
		"Mo-Fr 00:00-24:00, Sa 09:00-00:00; PH off":    "Mo-Fr 00:00-24:00; Sa 09:00-24:00; PH off",
		"Mo-Fr 00:00-24:00":                            "Mo-Fr 00:00-24:00",
		"Mo-Fr 08:30-19:00; We off":                    "Mo,Tu,Th,Fr 08:30-19:00",
		"Mo-Fr 08:30-19:00; We 10:00-12:00":            "Mo,Tu,Th,Fr 08:30-19:00; We 10:00-12:00",
		"Mo-Th 18:00-02:00; Fr 18:00-03:00":            "", // Thursday's night ends at midnight
		"Mo-Fr 08:30-10:00,11:00-12:00,13:00-14:00":    "",
		"Mo-Fr 08:30-19:00; 2030 Jul 14 off":           "",
		"Mo-Fr 08:30-19:00; PH off; Sa 09:00-12:00":    "",
		"PH 10:00-12:00":                               "",
		"Mo-Fr 08:30-19:00, We 20:00-21:00":            "",
		"08:30-19:00":                                  "",
		"week 1-53/2 We 14:00-17:00":                   "",
		"":                                             "",
		"off":                                          "",
		"24/7":                                         "",
		"Mo-Fr 08:30-19:00 \"Sa 09:00-12:00; PH off\"": "",
	} {
		w, ok := weekOf(text)
		if schedule, err := hours.Parse(text); ok && err == nil {
			if again, err := hours.Parse(w.String()); err != nil || !reflect.DeepEqual(schedule.Week(aMonday), again.Week(aMonday)) {
				t.Errorf("%q is read as %q, which is open at other times", text, w)
			}
		}
		if ok != (want != "") || ok && w.String() != want {
			t.Errorf("%q is read as %q, %v; want %q", text, w, ok, want)
		}
	}
}

// TestWeekRoundTrip: any valid week is the same after it is written as hours and parsed, and after it is shown in a form and read.
func TestWeekRoundTrip(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	clock := func(from, to int) string { m := from + r.IntN(to-from); return fmt.Sprintf("%02d:%02d", m/60, m%60) }
	for range 500 {
		var w week
		for day := range w.days {
			switch r.IntN(5) {
			case 0:
				w.days[day] = []hoursSpan{{clock(0, 600), clock(601, 700)}, {clock(720, 800), clock(801, 1440)}}
			case 1:
				w.days[day] = []hoursSpan{{"09:00", "18:00"}}
			case 2:
				w.days[day] = []hoursSpan{{clock(0, 600), midnight}}
			case 3:
				w.days[day] = []hoursSpan{{clock(1200, 1440), endOfDay(clock(0, 500))}}
			}
		}
		if w.off = r.IntN(2) == 0; w.check() != nil {
			continue
		}
		if _, err := hours.Parse(w.String()); err != nil {
			t.Fatalf("%q: %v", w, err)
		}
		form := url.Values{}
		w.write(form, "x")
		if got, err := readWeek(form, "x"); err != nil || got.String() != w.String() {
			t.Errorf("%q is read from its form as %q: %v", w, got, err)
		}
		if got, ok := weekOf(w.String()); !ok || got.String() != w.String() {
			t.Errorf("%q is read as %q", w, got)
		}
	}
}
