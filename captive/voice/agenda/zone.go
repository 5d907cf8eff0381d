package agenda

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Wall clock times are stored as times in UTC. Rules count in them, and a zone converts them to instants.

// moment is a date, or a date with a time, as a calendar has it.
type moment struct {
	wall time.Time // the wall clock time, stored as UTC
	zone *zone     // nil: the box's
	date bool      // it has no time
}

// at returns the moment's instant. box is the zone for moments without one.
func (m moment) at(box *time.Location) time.Time { return m.in(box).instant(m.wall) }

// in returns the moment's zone, which is box for a date or a moment without a zone.
func (m moment) in(box *time.Location) *zone {
	if m.zone == nil || m.date {
		return &zone{location: box}
	}
	return m.zone
}

// wallIn returns the wall clock time of a moment in another moment's zone. For a date that is its midnight.
func (m moment) wallIn(other moment, box *time.Location) time.Time {
	if m.date || other.date && m.zone == nil || m.zone == other.zone {
		return m.wall
	}
	return other.in(box).wall(m.at(box))
}

// zone is a time zone: an IANA zone, or one that a calendar describes.
type zone struct {
	name     string // for TZID
	location *time.Location
	changes  []observance // at least one if there is no location

	mu     sync.Mutex
	onsets map[int][]onset // a cache, by year
}

var utc = &zone{name: "UTC", location: time.UTC}

// instant returns the instant of a wall clock time. For a time that occurs twice it is the first one, and a time that is skipped is
// interpreted with the offset before the change (RFC 5545, section 3.3.5). No zone changes twice within two days.
func (z *zone) instant(wall time.Time) time.Time {
	before, after := z.offset(wall.Add(-36*time.Hour)), z.offset(wall.Add(36*time.Hour))
	first, second := wall.Add(-before), wall.Add(-after)
	if z.offset(first) != before && z.offset(second) == after {
		return second
	}
	return first
}

// wall returns the wall clock time of an instant.
func (z *zone) wall(t time.Time) time.Time { return t.UTC().Add(z.offset(t)) }

// offset returns the offset from UTC at an instant.
func (z *zone) offset(t time.Time) time.Duration {
	if z.location != nil {
		_, seconds := t.In(z.location).Zone()
		return time.Duration(seconds) * time.Second
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	year := t.UTC().Year()
	all, known := z.onsets[year]
	if !known {
		all = z.around(year)
		z.onsets[year] = all
	}
	now := all[0].before
	for _, o := range all {
		if o.at.After(t) {
			break
		}
		now = o.after
	}
	return now
}

// observance is a STANDARD or DAYLIGHT part of a VTIMEZONE: when it begins, and the offsets before and after.
type observance struct {
	daylight      bool
	before, after time.Duration
	start         time.Time // wall clock
	rule          *rule     // nil if it does not repeat
	added         []time.Time
}

// onset is an instant at which the offset changes.
type onset struct {
	at            time.Time
	before, after time.Duration
}

// around returns the onsets that matter for a year, sorted. There is at least one.
func (z *zone) around(year int) (all []onset) {
	for _, o := range z.changes {
		walls := append([]time.Time{o.start}, o.added...)
		if o.rule != nil {
			to := time.Date(year+1, 1, 2, 0, 0, 0, 0, time.UTC)
			if !o.rule.last.IsZero() && o.rule.last.Before(to) {
				to = o.rule.last.Add(time.Second)
			}
			walls = append(walls, o.rule.between(to.AddDate(-3, 0, 0), to, maxOnsets)...)
		}
		for _, wall := range walls {
			all = append(all, onset{wall.Add(-o.before), o.before, o.after})
		}
	}
	slices.SortStableFunc(all, func(a, b onset) int { return a.at.Compare(b.at) })
	return all
}

// zones holds the time zones of a calendar by their TZID, including those that it describes.
type zones struct {
	described map[string]*zone
	found     map[string]*zone
}

// find returns the zone of a TZID: an IANA zone by its own or its Windows name, or else one that the calendar describes; nil if it is
// unknown.
func (z *zones) find(id string) *zone {
	found, known := z.found[id]
	if !known {
		found = locate(id)
		if found == nil {
			found = z.described[id]
		}
		z.found[id] = found
	}
	return found
}

// locate returns the zone of an IANA or Windows name, or nil. Some programs add a prefix, as in
// "/mozilla.org/20050126_1/Europe/Paris".
func locate(id string) *zone {
	id = strings.TrimSpace(id)
	if strings.EqualFold(id, "UTC") || strings.EqualFold(id, "Etc/UTC") {
		return utc
	}
	if name, ok := windowsZones[id]; ok {
		id = name
	}
	names := []string{id}
	if parts := strings.Split(id, "/"); strings.HasPrefix(id, "/") && len(parts) > 2 {
		names = append(names, strings.Join(parts[len(parts)-2:], "/"))
	}
	for _, name := range names {
		if name == "" || name == "Local" || len(name) > 64 {
			continue
		}
		if l, err := time.LoadLocation(name); err == nil {
			return &zone{name: name, location: l}
		}
	}
	return nil
}

// parseOffset parses a UTC-OFFSET, such as +0100 or -033000 (RFC 5545, section 3.3.14).
func parseOffset(s string) (time.Duration, error) {
	sign, digits := time.Duration(1), strings.TrimSpace(s)
	switch {
	case strings.HasPrefix(digits, "-"):
		sign, digits = -1, digits[1:]
	case strings.HasPrefix(digits, "+"):
		digits = digits[1:]
	}
	layout := "1504"
	if len(digits) == len("150405") {
		layout = "150405"
	}
	t, err := time.Parse(layout, digits)
	if err != nil {
		return 0, fmt.Errorf("%.40q is not an offset such as +0100", s)
	}
	hours, minutes, seconds := t.Clock()
	return sign * time.Duration(hours*3600+minutes*60+seconds) * time.Second, nil
}

const (
	dateLayout = "20060102"
	timeLayout = "20060102T150405"
)

// parseMoment parses a DATE or a DATE-TIME (RFC 5545, sections 3.3.4 and 3.3.5).
func parseMoment(s string, z *zone) (moment, error) {
	s = strings.ToUpper(strings.TrimSpace(s))
	var m moment
	var err error
	clock, inUTC := strings.CutSuffix(s, "Z")
	switch {
	case len(s) == len(dateLayout):
		m.date = true
		m.wall, err = time.Parse(dateLayout, s)
	case len(clock) == len("20060102T1504"): // some programs leave out the seconds
		m.wall, err = time.Parse("20060102T1504", clock)
	default:
		if strings.HasSuffix(clock, "60") { // a leap second, which package time does not know
			clock = clock[:len(clock)-2] + "59"
		}
		m.wall, err = time.Parse(timeLayout, clock)
	}
	if err != nil {
		return moment{}, fmt.Errorf("%.40q is not a date", s)
	}
	if inUTC {
		m.zone = utc
	} else if !m.date {
		m.zone = z
	}
	return m, nil
}

// String returns the moment in the form that parseMoment reads.
func (m moment) String() string {
	switch {
	case m.date:
		return m.wall.Format(dateLayout)
	case m.zone == utc:
		return m.wall.Format(timeLayout) + "Z"
	default:
		return m.wall.Format(timeLayout)
	}
}
