package hours

import (
	"encoding/csv"
	"slices"
	"strings"
	"testing"
	"time"
)

// schoolLines returns the lines of school.csv.
func schoolLines(t *testing.T) [][]string {
	t.Helper()
	r := csv.NewReader(strings.NewReader(schoolText))
	r.Comment = '#'
	lines, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return lines[1:]
}

// TestSchoolFile: every line has an official source. Holidays begin on a Saturday (that of Ascension Day on the Friday after it), and
// those of a zone are in order and do not touch.
func TestSchoolFile(t *testing.T) {
	t.Parallel()
	known, err := readSchool(schoolText)
	if err != nil {
		t.Fatal(err)
	}
	if len(known) != len(SchoolZones) {
		t.Errorf("zones: %v", known)
	}
	for zone, list := range known {
		if !slices.Contains(SchoolZones, string(zone)) {
			t.Errorf("zone %q", zone)
		}
		for i, h := range list {
			if h.to < h.from || i > 0 && h.from <= list[i-1].to+1 {
				t.Errorf("zone %s: holidays %d", zone, i)
			}
		}
		if years := SchoolKnown(zone); years.Format(time.DateOnly) != "2028-05-28" {
			t.Errorf("zone %s is known until %v", zone, years)
		}
	}
	names := []string{"Toussaint", "Noël", "Hiver", "Printemps", "Ascension", "Été"}
	for _, l := range schoolLines(t) {
		first, err := time.Parse(time.DateOnly, l[3])
		if err != nil {
			t.Fatal(err)
		}
		begins := time.Saturday
		if l[1] == "Ascension" {
			begins = time.Friday
			if first.AddDate(0, 0, -1) != easter(first.Year()).AddDate(0, 0, 39) {
				t.Errorf("%v: not the day after Ascension Day", l)
			}
		}
		if first.Weekday() != begins || !slices.Contains(names, l[1]) ||
			!strings.HasPrefix(l[5], "https://www.legifrance.gouv.fr/jorf/id/JORFTEXT") {
			t.Errorf("%v", l)
		}
	}
	for _, text := range []string{
		"year,name,zones,first,last,source\na,b,A,2026-02-30,2026-03-01,c\n", "year,name,zones,first,last,source\na,b,A\n",
		"year,name,zones,first,last,source\na,b,A,2026-02-01,tomorrow,c\n",
	} {
		if _, err := readSchool(text); err == nil {
			t.Errorf("read: %q", text)
		}
	}
}

func TestSchoolZones(t *testing.T) {
	t.Parallel()
	paris := location(t, "Europe/Paris")
	for _, test := range []struct{ hours, at, zones string }{ // the zones in which it is open
		{"SH 10:00-12:00", "2027-02-06 10:00", "C"},
		{"SH 10:00-12:00", "2027-02-13 10:00", "AC"},
		{"SH 10:00-12:00", "2027-02-21 10:00", "ABC"},
		{"SH 10:00-12:00", "2027-02-22 10:00", "AB"},
		{"SH 10:00-12:00", "2026-10-17 10:00", "ABC"},
		{"SH 10:00-12:00", "2026-11-02 10:00", ""},
		{"SH 10:00-12:00", "2028-05-28 10:00", "ABC"},
		{"SH 10:00-12:00", "2028-07-20 10:00", ""}, // not known
		{"Mo-Fr 09:00-12:00; SH off", "2027-02-22 10:00", "C"},
		{"Mo-Fr 09:00-12:00; SH off", "2028-07-20 10:00", "ABC"},
		{"SH Mo-Fr 09:00-12:00", "2027-02-20 10:00", ""},
		{"SH -1 day 09:00-12:00", "2027-02-19 10:00", "ABC"}, // the 20th begins B's, and is one of A's and C's
		{"vacances scolaires 9h-12h", "2027-02-06 10:00", "C"},
	} {
		at, err := time.ParseInLocation(stamp, test.at, paris)
		if err != nil {
			t.Fatal(err)
		}
		s := mustParse(t, test.hours)
		got := ""
		for _, zone := range SchoolZones {
			if s.InZone(SchoolZone(zone)).Open(at) {
				got += zone
			}
		}
		if got != test.zones {
			t.Errorf("%q at %s: open in %q, want %q", test.hours, test.at, got, test.zones)
		}
		if weekly, _ := s.Weekly(); weekly || !s.School() {
			t.Errorf("%q: weekly %t, school %t", test.hours, weekly, s.School())
		}
	}
	s := mustParse(t, "SH 10:00-12:00")
	if s.Open(time.Date(2027, 2, 21, 10, 0, 0, 0, paris)) {
		t.Error("open without a zone")
	}
	plain := mustParse(t, "Mo 10:00-12:00")
	if plain.School() || plain.InZone("A") != plain || !SchoolKnown("D").IsZero() {
		t.Error("a zone changes hours without school holidays")
	}
	var none *Schedule
	if none.School() || none.InZone("A") != nil {
		t.Error("no schedule")
	}
}
