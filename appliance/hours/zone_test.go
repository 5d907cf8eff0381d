package hours

import (
	"archive/zip"
	"encoding/binary"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// frenchZones are the zones of France. In midnightZones the clock changes at midnight or across it.
var (
	frenchZones = []string{
		"Europe/Paris", "America/Guadeloupe", "America/Martinique", "America/Cayenne", "America/Marigot",
		"America/St_Barthelemy", "America/Miquelon", "Indian/Reunion", "Indian/Mayotte", "Indian/Kerguelen",
		"Pacific/Noumea", "Pacific/Wallis", "Pacific/Tahiti", "Pacific/Marquesas", "Pacific/Gambier",
		"Antarctica/DumontDUrville",
	}
	midnightZones = []string{
		"America/Havana", "America/Nuuk", "America/Santiago", "America/Scoresbysund", "Africa/Cairo", "Asia/Beirut",
		"Atlantic/Azores",
	}
)

// zoneSources are where a box may read its zones: Go's embedded zones, which the image relies on, and the system's.
func zoneSources(t *testing.T) map[string]func(t *testing.T, name string) *time.Location {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	embedded, err := zip.OpenReader(filepath.Join(strings.TrimSpace(string(root)), "lib", "time", "zoneinfo.zip"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = embedded.Close() })
	load := func(t *testing.T, name string, data []byte, err error) *time.Location {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		zone, err := time.LoadLocationFromTZData(name, data)
		if err != nil {
			t.Fatal(err)
		}
		return zone
	}
	return map[string]func(*testing.T, string) *time.Location{
		"embedded": func(t *testing.T, name string) *time.Location {
			t.Helper()
			f, err := embedded.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(f)
			return load(t, name, data, err)
		},
		"system": func(t *testing.T, name string) *time.Location {
			t.Helper()
			data, err := os.ReadFile(filepath.Join("/usr/share/zoneinfo", name))
			return load(t, name, data, err)
		},
	}
}

// ruleZone returns a zone that is defined only by its rule (RFC 8536, section 3.3).
func ruleZone(t *testing.T, rule string) *time.Location {
	t.Helper()
	block := func() []byte {
		b := append([]byte("TZif2"), make([]byte, 15)...)
		for _, count := range []uint32{0, 0, 0, 0, 1, 4} { // one type of local time, four bytes of names
			b = binary.BigEndian.AppendUint32(b, count)
		}
		return append(b, 0, 0, 0, 0, 0, 0, 'L', 'M', 'T', 0)
	}
	data := append(append(block(), block()...), "\n"+rule+"\n"...)
	zone, err := time.LoadLocationFromTZData(rule, data)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

// changesOf returns when the zone's clock changes from 2024 to 2040, found hour by hour.
func changesOf(zone *time.Location) (list []time.Time) {
	at := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC).In(zone)
	for _, was := at.Zone(); at.Year() < 2041; at = at.Add(time.Hour) {
		if _, is := at.Zone(); is != was {
			list, was = append(list, at), is
		}
	}
	return list
}

// window is an interval that is tested hour by hour.
type window struct{ from, to time.Time }

func (w window) hours() iter.Seq[time.Time] {
	return func(yield func(time.Time) bool) {
		for at := w.from; at.Before(w.to) && yield(at); {
			at = at.Add(time.Hour)
		}
	}
}

// whatMatters returns the days around the ends of the years 2024 to 2040, and around the zone's changes.
func whatMatters(zone *time.Location) (list []window) {
	around := func(at time.Time, days int) {
		list = append(list, window{at.AddDate(0, 0, -days), at.AddDate(0, 0, days)})
	}
	for year := 2024; year <= 2041; year++ {
		around(time.Date(year, 1, 1, 0, 0, 0, 0, zone), 2)
	}
	for _, at := range changesOf(zone) {
		around(at, 1)
	}
	return list
}

// forEachZone runs the test for every zone of each source, and for zones defined by rules of every kind.
func forEachZone(t *testing.T, test func(t *testing.T, zone *time.Location)) {
	for source, load := range zoneSources(t) {
		for _, name := range slices.Concat(frenchZones, midnightZones) {
			t.Run(source+" "+name, func(t *testing.T) { test(t, load(t, name)) })
		}
	}
	for _, rule := range []string{
		"CET-1CEST,M3.5.0,M10.5.0/3",
		"<-03>3<-02>,M3.2.0,M11.1.0",
		"<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", // south of the equator, by half an hour
		"IST-1GMT0,M10.5.0,M3.5.0/1",           // its standard time is the summer time
		"<-02>2<-01>,M3.5.0/-1,M10.5.0/0",
		"EET-2EEST,M3.5.0/0,M10.5.0/0",
		"<+00>0<+02>-2,M3.5.0/1,M10.5.0/3", // by two hours
		"AAA5BBB,J60,J300",
		"AAA-14BBB,59,300/24",
		"AAA12",
	} {
		t.Run("rule "+rule, func(t *testing.T) { test(t, ruleZone(t, rule)) })
	}
}

// TestClockRunsEvenly: what steadyUntil returns is ahead, and there, and not earlier, either the day ends or the clock changes.
func TestClockRunsEvenly(t *testing.T) {
	t.Parallel()
	forEachZone(t, func(t *testing.T, zone *time.Location) {
		for _, w := range whatMatters(zone) {
			for at := range w.hours() {
				to := steadyUntil(at)
				_, was := at.Zone()
				_, still := to.Add(-time.Second).Zone()
				_, is := to.Zone()
				switch {
				case !to.After(at) || to.Sub(at) > day24:
					t.Fatalf("from %v the clock runs evenly until %v", at, to)
				case still != was:
					t.Fatalf("from %v to %v the clock is changed", at, to)
				case is == was && sinceMidnight(to) != 0:
					t.Fatalf("from %v on, nothing happens at %v", at, to)
				}
			}
		}
	})
}

// TestNextInEveryZone compares Next, at every relevant hour, with a walk in steps of a quarter of an hour. It also lets Next search as
// far as it may, in a bounded number of steps.
func TestNextInEveryZone(t *testing.T) {
	t.Parallel()
	const step = 15 * time.Minute
	var schedules []*Schedule
	for _, text := range []string{
		"Mo-Fr 08:30-19:00; Sa 09:00-12:00", "Mo-Su 22:00-02:30; PH off", "00:00-00:30,02:15-02:45,23:15-24:00",
	} {
		schedules = append(schedules, mustParse(t, text))
	}
	forEachZone(t, func(t *testing.T, zone *time.Location) {
		for _, w := range whatMatters(zone) {
			steps := 0
			for at := w.from; at.Before(w.from.Add(horizon)); at = steadyUntil(at) {
				if steps++; steps > 410 {
					t.Fatalf("from %v on, %d steps lead to %v", w.from, steps, at)
				}
			}
			for _, s := range schedules {
				var changes []time.Time
				was := s.Open(w.from)
				for at := w.from; !at.After(w.to); at = at.Add(step) {
					if is := s.Open(at); is != was {
						changes, was = append(changes, at), is
					}
				}
				for at := range w.hours() {
					for len(changes) > 0 && !changes[0].After(at) {
						changes = changes[1:]
					}
					got, opens, ok := s.Next(at)
					switch {
					case len(changes) == 0 && ok && !got.After(w.to):
						t.Fatalf("%q: after %v comes %v, where nothing changes", s, at, got)
					case len(changes) > 0 && (!ok || !got.Equal(changes[0]) || opens == s.Open(at)):
						t.Fatalf("%q: after %v comes %v (%v, %v), not %v", s, at, got, opens, ok, changes[0])
					}
				}
			}
		}
	})
}

// TestNextAtTheEndOfALeapYear: on the last day of a leap year, in a zone that is defined only by its rule, time's own bounds are wrong.
func TestNextAtTheEndOfALeapYear(t *testing.T) {
	t.Parallel()
	for source, load := range zoneSources(t) {
		paris := load(t, "Europe/Paris")
		for _, test := range []struct{ hours, from, want string }{
			{"Mo-Fr 08:30-19:00; Sa 09:00-12:00", "2028-12-30 12:00", "2029-01-01 08:30"},
			{"Mo-Fr 08:30-19:00; Sa 09:00-12:00", "2028-12-31 23:59", "2029-01-01 08:30"},
			{"Mo-Fr 08:30-19:00; Sa 09:00-12:00", "2032-12-31 19:00", "2033-01-01 09:00"},
			{"2027 Nov 26", "2027-11-27 00:00", ""},
			{"off", "2028-12-31 12:00", ""},
		} {
			from, err := time.ParseInLocation(stamp, test.from, paris)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if at, _, ok := mustParse(t, test.hours).Next(from); ok {
				got = at.Format(stamp)
			}
			if got != test.want {
				t.Errorf("%s: %q after %s: %q, want %q", source, test.hours, test.from, got, test.want)
			}
		}
	}
}

// TestDayStart: from the start of a date on, the clock shows that date or a later one, and just before it an earlier one.
func TestDayStart(t *testing.T) {
	t.Parallel()
	date := func(at time.Time) int {
		year, month, day := at.Date()
		return year*10000 + int(month)*100 + day
	}
	check := func(t *testing.T, at time.Time) {
		t.Helper()
		start := DayStart(at.Year(), at.Month(), at.Day(), at.Location())
		if date(start) < date(at) || date(start.Add(-time.Second)) >= date(at) {
			t.Fatalf("the day of %v begins at %v", at, start)
		}
		for later := start; later.Sub(start) < 3*time.Hour; later = later.Add(time.Minute) {
			if date(later) < date(at) {
				t.Fatalf("the day of %v begins at %v and is not there at %v", at, start, later)
			}
		}
	}
	forEachZone(t, func(t *testing.T, zone *time.Location) {
		for _, change := range changesOf(zone) {
			for days := -1; days <= 1; days++ {
				check(t, change.AddDate(0, 0, days))
			}
		}
		check(t, time.Date(2029, 1, 1, 12, 0, 0, 0, zone))
	})
	for _, test := range []struct{ zone, date, want string }{
		{"America/Havana", "2027-03-14", "2027-03-14 01:00 CDT"},
		{"America/Havana", "2027-11-07", "2027-11-07 00:00 CDT"}, // it occurs twice
		{"Asia/Beirut", "2027-03-28", "2027-03-28 01:00 EEST"},
		{"America/St_Johns", "2005-10-30", "2005-10-30 00:00 NST"}, // a minute of it occurred before an hour of the 29th
		{"Pacific/Apia", "2011-12-30", "2011-12-31 00:00 +14"},     // the date was skipped
		{"Pacific/Apia", "2011-12-31", "2011-12-31 00:00 +14"},
	} {
		at, err := time.Parse(time.DateOnly, test.date)
		if err != nil {
			t.Fatal(err)
		}
		got := DayStart(at.Year(), at.Month(), at.Day(), location(t, test.zone))
		if text := got.Format(stamp + " MST"); text != test.want {
			t.Errorf("%s in %s begins at %s, want %s", test.date, test.zone, text, test.want)
		}
	}
}
