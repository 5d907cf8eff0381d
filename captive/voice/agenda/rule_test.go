package agenda

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/teambition/rrule-go"
)

// naive returns a rule's times before the horizon. It tries day by day, as the RFC describes rules.
func naive(r *rule, horizon time.Time) (all []time.Time) {
	o := r.option
	midnight := r.start.Truncate(24 * time.Hour)
	weekStart := func(t time.Time) time.Time {
		return t.AddDate(0, 0, -((int(t.Weekday())+6)%7-o.Wkst.Day()+7)%7)
	}
	period := func(t time.Time) int {
		switch o.Freq {
		case rrule.YEARLY:
			return t.Year()
		case rrule.MONTHLY:
			return t.Year()*12 + int(t.Month())
		case rrule.WEEKLY:
			return daysBetween(weekStart(midnight), weekStart(t)) / 7
		}
		return daysBetween(midnight, t)
	}
	first := period(midnight)
	matches := func(t time.Time) bool {
		year, month, day := t.Date()
		monthLength := time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
		yearLength := time.Date(year, 12, 31, 0, 0, 0, 0, time.UTC).YearDay()
		either := func(list []int, a, b int) bool {
			return len(list) == 0 || slices.Contains(list, a) || slices.Contains(list, b)
		}
		if !either(o.Bymonth, int(month), 0) || !either(o.Bymonthday, day, day-monthLength-1) ||
			!either(o.Byyearday, t.YearDay(), t.YearDay()-yearLength-1) {
			return false
		}
		if len(o.Byweekno) > 0 { // by the week's fourth day; only positive week numbers are tested
			if fourth := weekStart(t).AddDate(0, 0, 3); !slices.Contains(o.Byweekno, (fourth.YearDay()-1)/7+1) {
				return false
			}
		}
		return len(o.Byweekday) == 0 || slices.ContainsFunc(o.Byweekday, func(d rrule.Weekday) bool {
			if d.Day() != (int(t.Weekday())+6)%7 {
				return false
			}
			at, length := day, monthLength
			if o.Freq == rrule.YEARLY && len(o.Bymonth) == 0 {
				at, length = t.YearDay(), yearLength
			}
			return d.N() == 0 || d.N() == (at-1)/7+1 || d.N() == -((length-at)/7+1)
		})
	}
	var set []time.Time // of the current period
	flush := func() {
		chosen := set
		if len(o.Bysetpos) > 0 {
			chosen = nil
			for i, t := range set {
				if slices.Contains(o.Bysetpos, i+1) || slices.Contains(o.Bysetpos, i-len(set)) {
					chosen = append(chosen, t)
				}
			}
		}
		for _, t := range chosen {
			if !t.Before(r.start) && t.Before(horizon) {
				all = append(all, t)
			}
		}
		set = nil
	}
	now := first
	for t := midnight.AddDate(-1, 0, 0); t.Before(horizon.AddDate(1, 0, 0)); t = t.AddDate(0, 0, 1) {
		if p := period(t); p != now {
			flush()
			now = p
		}
		if now < first || (now-first)%o.Interval != 0 || !matches(t) {
			continue
		}
		for _, hour := range slices.Sorted(slices.Values(o.Byhour)) {
			for _, minute := range slices.Sorted(slices.Values(o.Byminute)) {
				set = append(set, t.Add(time.Duration(hour)*time.Hour+time.Duration(minute)*time.Minute))
			}
		}
	}
	flush()
	return all
}

// randomRule returns a rule that the RFC allows.
func randomRule(r *rand.Rand) string {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	maybe := func(part string) string {
		if r.IntN(3) == 0 {
			return part
		}
		return ""
	}
	weekdays := "MO,TU,WE,TH,FR,SA,SU"
	day := func() string { return pick(strings.Split(weekdays, ",")...) }
	freq := pick("YEARLY", "MONTHLY", "WEEKLY", "DAILY")
	rule := "FREQ=" + freq + maybe(fmt.Sprintf(";INTERVAL=%d", 1+r.IntN(4))) + ";WKST=" + day() +
		maybe(fmt.Sprintf(";BYMONTH=%d,%d", 1+r.IntN(12), 1+r.IntN(12))) + maybe(fmt.Sprintf(";BYHOUR=%d,%d", r.IntN(24), r.IntN(24)))
	switch freq {
	case "YEARLY":
		switch r.IntN(4) {
		case 0:
			rule += fmt.Sprintf(";BYWEEKNO=%d,%d", 2+r.IntN(49), 2+r.IntN(49)) + maybe(";BYDAY="+day()+","+day())
			rule = strings.ReplaceAll(rule, "BYMONTH=", "X-")
			rule = strings.Join(slices.DeleteFunc(strings.Split(rule, ";"), func(s string) bool { return strings.HasPrefix(s, "X-") }), ";")
		case 1:
			rule += fmt.Sprintf(";BYYEARDAY=%d,%d,%d", 1+r.IntN(366), 1+r.IntN(366), -1-r.IntN(366))
		default:
			rule += maybe(fmt.Sprintf(";BYMONTHDAY=%d,%d", 1+r.IntN(31), -1-r.IntN(31))) +
				maybe(fmt.Sprintf(";BYDAY=%d%s,%d%s", 1+r.IntN(5), day(), -1-r.IntN(5), day()))
		}
	case "MONTHLY":
		rule += maybe(fmt.Sprintf(";BYMONTHDAY=%d,%d", 1+r.IntN(31), -1-r.IntN(31))) +
			maybe(fmt.Sprintf(";BYDAY=%d%s,%s", 1+r.IntN(5), day(), day()))
	case "WEEKLY":
		rule += maybe(";BYDAY=" + day() + "," + day() + "," + day())
	case "DAILY":
		rule += maybe(fmt.Sprintf(";BYMONTHDAY=%d,%d", 1+r.IntN(31), -1-r.IntN(31))) + maybe(";BYDAY="+day()+","+day())
	}
	if strings.Contains(rule, ";BY") {
		rule += maybe(fmt.Sprintf(";BYSETPOS=%d,%d", 1+r.IntN(3), -1-r.IntN(3)))
	}
	return rule
}

// TestRules compares random rules with a naive enumeration, from their first time and from later times.
func TestRules(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(13, 4))
	never := 0
	for range 1000 {
		start := time.Date(2015+r.IntN(10), time.Month(1+r.IntN(12)), 1+r.IntN(31), r.IntN(24), 30*r.IntN(2), 0, 0, time.UTC)
		text := randomRule(r)
		rule, err := parseRule(text, moment{wall: start})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		horizon := start.AddDate(6, 0, 0)
		want := naive(rule, horizon)
		budget := maxWork
		if err := rule.settle(&budget); err != nil {
			if never++; len(want) > 0 {
				t.Fatalf("%s from %s: %v; want %v", text, start, err, want)
			}
			continue
		}
		later := start.AddDate(0, 0, r.IntN(5*365))
		for _, from := range []time.Time{start.AddDate(-3, 0, 0), start, later} {
			got := rule.between(from, horizon, len(want)+1)
			want := want[sort(want, from):]
			if !slices.Equal(got, want) {
				t.Fatalf("%s of %s from %s:\ngot  %v\nwant %v", text, start, from, short(got), short(want))
			}
		}
		if len(want) == 0 {
			continue
		}
		// The first time counts, whether or not it matches the rule.
		if rule.count = 1 + r.IntN(20); !want[0].Equal(start) {
			want = append([]time.Time{start}, want...)
		}
		if err := rule.settle(&budget); err != nil {
			t.Fatal(err)
		}
		if rule.count <= len(want) && !rule.last.Equal(want[rule.count-1]) {
			t.Fatalf("%s of %s: the last of %d is %s, want %s", text, start, rule.count, rule.last, want[rule.count-1])
		}
	}
	if never > 100 {
		t.Errorf("%d rules never come true: they test little", never)
	}
}

// sort returns the index of the first time that is not before t.
func sort(all []time.Time, t time.Time) int {
	at, _ := slices.BinarySearchFunc(all, t, time.Time.Compare)
	return at
}

func short(all []time.Time) []time.Time { return all[:min(len(all), 6)] }

// TestRefusedRules: rules that the RFC forbids, and rules that would take too much time, are refused.
func TestRefusedRules(t *testing.T) {
	t.Parallel()
	start := moment{wall: time.Date(2026, 12, 1, 14, 0, 0, 0, time.UTC)}
	for text, want := range map[string]string{
		"":                                      "without FREQ",
		"FREQ=SECONDLY":                         "FREQ=SECONDLY is not supported",
		"FREQ=MINUTELY":                         "FREQ=MINUTELY is not supported",
		"FREQ=HOURLY":                           "FREQ=HOURLY is not supported",
		"FREQ=NEVER":                            "FREQ=NEVER is not supported",
		"COUNT=3":                               "without FREQ",
		"FREQ=DAILY;COUNT=0":                    "not between",
		"FREQ=DAILY;COUNT=-1":                   "not between",
		"FREQ=DAILY;COUNT=99999999999999999999": "not a number",
		"FREQ=DAILY;INTERVAL=0":                 "not between",
		"FREQ=DAILY;INTERVAL=4611686018427387904":           "not between",
		"FREQ=DAILY;COUNT=2;UNTIL=20270101":                 "both COUNT and UNTIL",
		"FREQ=DAILY;UNTIL=soon":                             "not a date",
		"FREQ=DAILY;BYEASTER=0":                             "not supported",
		"FREQ=MONTHLY;BYSETPOS=1":                           "only BYSETPOS",
		"FREQ=MONTHLY;BYDAY=6MO":                            "weekday number 6",
		"FREQ=MONTHLY;BYDAY=-53MO":                          "weekday number -53",
		"FREQ=YEARLY;BYMONTH=1;BYDAY=-6MO":                  "weekday number -6",
		"FREQ=YEARLY;BYDAY=54MO":                            "not a weekday",
		"FREQ=YEARLY;BYDAY=0MO":                             "not a weekday",
		"FREQ=YEARLY;BYDAY=LUNDI":                           "not a weekday",
		"FREQ=WEEKLY;BYDAY=1MO":                             "numbered weekdays",
		"FREQ=WEEKLY;BYMONTHDAY=1":                          "BYMONTHDAY",
		"FREQ=MONTHLY;BYWEEKNO=1":                           "BYWEEKNO",
		"FREQ=DAILY;BYYEARDAY=1":                            "BYYEARDAY",
		"FREQ=MONTHLY;BYMONTHDAY=0":                         "0 is not allowed",
		"FREQ=DAILY;BYSECOND=1,2,3,4,5;BYMINUTE=1,2,3,4,5":  "more than 24 times a day",
		"FREQ=DAILY;WKST=LU":                                "not a weekday",
		"FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30":               "never comes true",
		"FREQ=DAILY;BYMONTH=4;BYMONTHDAY=31":                "never comes true",
		"FREQ=MONTHLY;BYMONTHDAY=20;BYDAY=1MO":              "never comes true",
		"FREQ=MONTHLY;INTERVAL=12;BYMONTH=2":                "never comes true",
		"FREQ=YEARLY;BYDAY=" + strings.Repeat("MO,", 500):   "too long",
		"FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;INTERVAL=1000": "never comes true",
	} {
		r, err := parseRule(text, start)
		if err == nil {
			budget := maxWork
			err = r.settle(&budget)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v, want %q", text, err, want)
		}
	}
}

// TestWorkIsBounded: expensive rules use up the budget of their file, not the box's processor time.
func TestWorkIsBounded(t *testing.T) {
	t.Parallel()
	start := moment{wall: time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)}
	budget, counted := maxWork, 0
	for range maxEvents {
		r, err := parseRule("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO;COUNT=10000", start)
		if err != nil {
			t.Fatal(err)
		}
		if r.settle(&budget) == nil {
			counted++
		}
	}
	if counted > 50 {
		t.Errorf("%d rules of 800 years each were counted", counted)
	}
}

func BenchmarkNever(b *testing.B) {
	start := moment{wall: time.Date(2026, 12, 1, 14, 0, 0, 0, time.UTC)}
	for b.Loop() {
		r, err := parseRule("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", start)
		if err != nil {
			b.Fatal(err)
		}
		budget := maxWork
		if r.settle(&budget) == nil {
			b.Fatal("it comes true")
		}
	}
}
