// Package agenda knows when things happen at the centre. It owns the reading and writing of calendars (iCalendar, RFC 5545),
// what their rules and time zones mean, the staff's own events, and the files of both. It does not depend on pages, their readers
// or the box.
//
// Calendars come from many programs, and few of them follow the RFC. A bad event is left out with a warning, and the other events are
// kept. Nothing in a file can take much memory or time: everything has a bound.
package agenda

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"
)

// Bounds on a file.
const (
	MaxFile   = 5_000_000 // bytes
	maxLine   = 64_000    // bytes of a line, unfolded
	maxEvents = 5_000
	maxDates  = 1_000  // RDATE and EXDATE of an event
	maxAll    = 20_000 // RDATE and EXDATE of all events of a file
	maxZones  = 100
	maxOnsets = 100       // parts of a described zone, and RDATE of a part
	maxWork   = 1_000_000 // the budget of a file: see settle

	maxWarnings = 100

	maxTitle = 200   // characters; longer titles are cut
	maxText  = 2_000 // characters

	maxLength = 366 // days of an event
	maxShift  = 31  // days by which THISANDFUTURE moves a series
)

// MaxShown is the largest number of occurrences that Occurrences returns.
const MaxShown = 500

// Event is something that happens once or repeatedly. It is immutable.
type Event struct {
	ID  string // for addresses: short, of letters and digits
	UID string // globally unique and stable: calendars recognise an event by it

	Title, Place, Text string // plain text; Text may have several lines
	Cancelled          bool

	sequence int       // revision
	stamp    time.Time // of the last change, zero if unknown
	start    moment
	length   length
	rule     *rule // nil if there is none
	added    []instance
	removed  []moment
	changes  []change
}

// length is how long something takes: days on the calendar, or an exact duration (RFC 5545, section 3.8.5.3).
type length struct {
	days  int
	exact time.Duration
}

// instance is a date of an event in addition to its rule (RDATE).
type instance struct {
	start  moment
	length length
}

// change replaces the occurrence that would begin at id (RECURRENCE-ID).
type change struct {
	id                 moment
	following          bool // it also replaces all later occurrences (RANGE=THISANDFUTURE)
	sequence           int
	stamp              time.Time
	start              moment
	length             length
	title, place, text string
	cancelled          bool
}

// Occurrence is an event at one time.
type Occurrence struct {
	Event              *Event
	Title, Place, Text string
	Start, End         time.Time // in the box's zone; equal if the end is unknown. A whole day ends at the next midnight.
	AllDay             bool
	Cancelled          bool
	Was                time.Time // the start that it was moved from; zero if it was not moved
	MovedTo            time.Time // for the old date of an occurrence that was moved: its new start; else zero
}

// idOf returns the ID of an imported event.
func idOf(uid string) string {
	sum := sha256.Sum256([]byte(uid))
	return hex.EncodeToString(sum[:5])
}

// Occurrences returns the occurrences that are at least partly in [from, to): the first MaxShown, sorted. The zone of from must be the
// box's, which events without a zone are in.
func Occurrences(events []*Event, from, to time.Time) (all []Occurrence) {
	for _, e := range events {
		e.occurrences(from, to, func(o Occurrence) { all = append(all, o) })
		if len(all) >= 4*MaxShown {
			all = first(all)
			to = all[len(all)-1].Start.Add(time.Second)
		}
	}
	return first(all)
}

// first sorts occurrences and keeps the first MaxShown.
func first(all []Occurrence) []Occurrence {
	slices.SortStableFunc(all, func(a, b Occurrence) int {
		wholeDays := func(o Occurrence) int { // they come before the others of their day
			if o.AllDay {
				return 0
			}
			return 1
		}
		day := func(o Occurrence) string { return o.Start.Format(dateLayout) }
		return cmp.Or(cmp.Compare(day(a), day(b)), wholeDays(a)-wholeDays(b), a.Start.Compare(b.Start), cmp.Compare(a.Title, b.Title))
	})
	return slices.Clip(all[:min(len(all), MaxShown)])
}

// Ended reports whether an event has no occurrence at t or later, as far as its rule, dates and changes tell. It may report false for
// some days after the last one.
func (e *Event) Ended(t time.Time) bool {
	last := e.start.at(t.Location())
	later := func(m moment) {
		if at := m.at(t.Location()); at.After(last) {
			last = at
		}
	}
	if e.rule != nil {
		end := e.rule.end(e.start, t.Location())
		if end.IsZero() {
			return false
		}
		later(moment{wall: end, zone: e.start.zone, date: e.start.date})
	}
	days := e.length.daysAtMost()
	for _, a := range e.added {
		later(a.start)
		days = max(days, a.length.daysAtMost())
	}
	for _, c := range e.changes {
		later(c.start)
		days = max(days, c.length.daysAtMost())
		if c.following {
			days = max(days, maxShift+c.length.daysAtMost())
		}
	}
	return last.AddDate(0, 0, days).Before(t)
}

// daysAtMost returns a number of days that contain the length, however the clock changes.
func (l length) daysAtMost() int { return l.days + int(l.exact/(24*time.Hour)) + 2 }

// after returns the instant that is the length after a moment.
func (l length) after(m moment, box *time.Location) time.Time {
	m.wall = m.wall.AddDate(0, 0, l.days)
	return m.at(box).Add(l.exact)
}

// occurrences yields the event's occurrences that are at least partly in [from, to), unsorted.
func (e *Event) occurrences(from, to time.Time, yield func(Occurrence)) {
	box := from.Location()
	show := func(o Occurrence) {
		if o.Start.Before(to) && (o.End.After(from) || !o.Start.Before(from)) {
			yield(o)
		}
	}
	// All times of the event that may matter, on the wall clock of its zone.
	far := e.length.daysAtMost()
	for _, c := range e.changes {
		if c.following {
			far = max(far, maxShift+c.length.daysAtMost())
		}
	}
	for _, a := range e.added {
		far = max(far, a.length.daysAtMost())
	}
	zone := e.start.in(box)
	early, late := zone.wall(from).AddDate(0, 0, -far), zone.wall(to).AddDate(0, 0, far)

	dates := map[time.Time]length{}
	add := func(wall time.Time, l length) {
		if !wall.Before(early) && wall.Before(late) {
			dates[wall] = l
		}
	}
	add(e.start.wall, e.length)
	if e.rule != nil {
		end := late
		if last := e.rule.end(e.start, box); !last.IsZero() && last.Before(late) {
			end = last.Add(time.Second)
		}
		for _, wall := range e.rule.between(early, end, MaxShown+maxDates) {
			add(wall, e.length)
		}
	}
	for _, a := range e.added {
		add(a.start.wallIn(e.start, box), a.length)
	}
	// without removes a date, and returns it. Some calendars name a date with a time by its day alone: then all dates of that day are
	// removed, and the last one is returned.
	without := func(m moment) moment {
		at := m.wallIn(e.start, box)
		if m.date && !e.start.date {
			for wall := range dates {
				if wall.Truncate(24 * time.Hour).Equal(m.wall) {
					at = wall
					delete(dates, wall)
				}
			}
		}
		delete(dates, at)
		return moment{at, e.start.zone, e.start.date}
	}
	for _, r := range e.removed {
		without(r)
	}

	var following []change
	for _, c := range e.changes {
		if c.following {
			following = append(following, c)
			continue
		}
		e.changed(c, without(c.id), box, show)
	}
	slices.SortStableFunc(following, func(a, b change) int {
		return a.id.wallIn(e.start, box).Compare(b.id.wallIn(e.start, box))
	})
	for wall, l := range dates {
		m := moment{wall, e.start.zone, e.start.date}
		n, exact := slices.BinarySearchFunc(following, wall, func(c change, wall time.Time) int {
			return c.id.wallIn(e.start, box).Compare(wall)
		})
		if exact {
			n++
		}
		if n > 0 {
			c := following[n-1]
			shift := c.start.wallIn(e.start, box).Sub(c.id.wallIn(e.start, box))
			c.start = moment{wall.Add(shift), e.start.zone, c.start.date}
			if shift != 0 && !exact { // only the first one is shown as moved
				m = c.start
			}
			e.changed(c, m, box, show)
			continue
		}
		show(Occurrence{
			Event: e, Title: e.Title, Place: e.Place, Text: e.Text, Cancelled: e.Cancelled, AllDay: e.start.date,
			Start: m.at(box).In(box), End: l.after(m, box).In(box),
		})
	}
}

// changed shows an occurrence that a change replaces. If it was moved to another day, it is shown on its old day, too.
func (e *Event) changed(c change, id moment, box *time.Location, show func(Occurrence)) {
	o := Occurrence{
		Event: e, Title: c.title, Place: c.place, Text: c.text, Cancelled: e.Cancelled || c.cancelled, AllDay: c.start.date,
		Start: c.start.at(box).In(box), End: c.length.after(c.start, box).In(box),
	}
	was := id.at(box).In(box)
	if o.Start.Equal(was) || o.Cancelled {
		if c.cancelled { // it is shown at its old time
			o.Start, o.AllDay = was, id.date
			o.End = e.length.after(id, box).In(box)
		}
		show(o)
		return
	}
	o.Was = was
	show(o)
	if was.Format(dateLayout) != o.Start.Format(dateLayout) {
		o.Start, o.End, o.AllDay, o.MovedTo, o.Was = was, e.length.after(id, box).In(box), id.date, o.Start, time.Time{}
		show(o)
	}
}
