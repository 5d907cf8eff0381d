package hours

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// SchoolZone is one of the three zones of school holidays of mainland France: "A", "B" or "C". "" means none: no day is known to be a
// school holiday.
type SchoolZone string

// SchoolZones are all zones.
var SchoolZones = []string{"A", "B", "C"}

//go:embed school.csv
var schoolText string

// holidays are the days of a school holiday, both inclusive, as day numbers.
type holidays struct{ from, to int }

// schoolHolidays returns the known holidays by zone, in order.
var schoolHolidays = sync.OnceValue(func() map[SchoolZone][]holidays {
	known, err := readSchool(schoolText)
	if err != nil {
		panic(err) // a test reads the file, so it is valid
	}
	return known
})

// readSchool reads school.csv.
func readSchool(text string) (map[SchoolZone][]holidays, error) {
	r := csv.NewReader(strings.NewReader(text))
	r.Comment = '#'
	r.FieldsPerRecord = 6
	lines, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read school holidays: %w", err)
	}
	known := map[SchoolZone][]holidays{}
	for _, l := range lines[1:] {
		first, err := time.Parse(time.DateOnly, l[3])
		if err != nil {
			return nil, fmt.Errorf("read school holidays: %w", err)
		}
		last, err := time.Parse(time.DateOnly, l[4])
		if err != nil {
			return nil, fmt.Errorf("read school holidays: %w", err)
		}
		for _, zone := range l[2] {
			zone := SchoolZone(zone)
			known[zone] = append(known[zone], holidays{dayNumber(first), dayNumber(last)})
		}
	}
	return known, nil
}

// schoolHoliday tells whether a day is known to be one of the zone's school holidays.
func schoolHoliday(zone SchoolZone, day int) bool {
	return slices.ContainsFunc(schoolHolidays()[zone], func(h holidays) bool { return h.from <= day && day <= h.to })
}

// SchoolKnown returns the last day of the last known school holidays of a zone, as its midnight in UTC. After it no day counts as a
// school holiday. It is the zero time for a zone that does not exist.
func SchoolKnown(zone SchoolZone) time.Time {
	known := schoolHolidays()[zone]
	if len(known) == 0 {
		return time.Time{}
	}
	return time.Unix(int64(known[len(known)-1].to)*24*3600, 0).UTC()
}

// School tells whether any rule is about school holidays (SH).
func (s *Schedule) School() bool {
	return s != nil && slices.ContainsFunc(s.rules, func(r rule) bool {
		return slices.ContainsFunc(r.holidays, func(h holidaySelector) bool { return h.school })
	})
}

// InZone returns the schedule with the school holidays of a zone. Without a zone, no day is a school holiday (SH).
func (s *Schedule) InZone(zone SchoolZone) *Schedule {
	if !s.School() {
		return s
	}
	in := *s
	in.zone = zone
	return &in
}
