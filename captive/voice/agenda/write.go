package agenda

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// product names the writer in the files.
const product = "-//Passerelle//Agenda//FR"

// ForPhones writes events for residents' phones.
//
// An event that does not repeat is written in UTC, so a phone needs to know no zone. An event that repeats has its zone by its IANA
// name, since otherwise it would be an hour off after the clock changes. It also has a VTIMEZONE, since Outlook refuses a TZID without
// one. No time is left without a zone, since a phone would read it in its own.
type ForPhones struct {
	Box *time.Location // the zone of events without one
	Now time.Time      // the DTSTAMP of events without one
}

// Write writes a calendar for residents.
func (p ForPhones) Write(w io.Writer, events ...*Event) error { return write(w, events, p.Box, p.Now) }

// write writes a calendar (RFC 5545). If box is nil, all dates are written as they were read. now is the DTSTAMP of events without one.
func write(w io.Writer, events []*Event, box *time.Location, now time.Time) error {
	o := &writer{w: bufio.NewWriter(w), box: box, names: map[string]*zone{}}
	o.line("BEGIN:VCALENDAR")
	o.line("VERSION:2.0")
	o.line("PRODID:" + product)
	for _, e := range events {
		e = o.zoned(e)
		for _, m := range e.moments() {
			o.describe(m.zone, e.start.wall.Year())
		}
	}
	for _, e := range events {
		o.event(o.zoned(e), now)
	}
	o.line("END:VCALENDAR")
	return o.w.Flush() // bufio keeps the first error
}

type writer struct {
	w     *bufio.Writer
	box   *time.Location
	names map[string]*zone // the zones described so far, by TZID
	own   *zone            // the box's
}

// moments returns all dates of an event that may be written with a zone.
func (e *Event) moments() []moment {
	all := append([]moment{e.start}, e.removed...)
	for _, a := range e.added {
		all = append(all, a.start)
	}
	for _, c := range e.changes {
		all = append(all, c.id, c.start)
	}
	return all
}

// zoned returns the event with the zones that are to be written.
func (o *writer) zoned(e *Event) *Event {
	if o.box == nil {
		return e
	}
	if o.own == nil {
		o.own = &zone{name: o.box.String(), location: o.box}
	}
	repeats := e.rule != nil || len(e.added)+len(e.changes) > 0
	turn := func(m moment) moment {
		switch {
		case m.date:
			return m
		case !repeats:
			return moment{m.at(o.box).UTC(), utc, false}
		case m.zone == nil:
			m.zone = o.own
		}
		return m
	}
	turned := *e
	turned.start = turn(e.start)
	turned.added = make([]instance, len(e.added))
	for i, a := range e.added {
		turned.added[i] = instance{turn(a.start), a.length}
	}
	turned.removed = make([]moment, len(e.removed))
	for i, m := range e.removed {
		turned.removed[i] = turn(m)
	}
	turned.changes = make([]change, len(e.changes))
	for i, c := range e.changes {
		c.id, c.start = turn(c.id), turn(c.start)
		turned.changes[i] = c
	}
	if e.rule != nil && !e.start.date && e.rule.until != (moment{}) { // UNTIL must be in UTC if the start has a zone (section 3.3.10)
		r := *e.rule
		end := moment{wall: r.end(e.start, o.box), zone: turned.start.zone}
		r.until = moment{end.at(o.box).UTC(), utc, false}
		turned.rule = &r
	}
	return &turned
}

// event writes an event and its changes.
func (o *writer) event(e *Event, now time.Time) {
	o.begin(e, e.stamp, now, e.sequence, e.start, e.length, e.Title, e.Place, e.Text, e.Cancelled)
	if e.rule != nil {
		o.line("RRULE:" + e.rule.String())
	}
	for _, a := range e.added {
		if a.length == e.length {
			o.moment("RDATE", a.start)
		} else {
			o.line("RDATE;VALUE=PERIOD" + o.zoneOf(a.start) + ":" + a.start.String() + "/" + a.length.String())
		}
	}
	for _, m := range e.removed {
		o.moment("EXDATE", m)
	}
	o.line("END:VEVENT")
	for _, c := range e.changes {
		o.begin(e, c.stamp, now, c.sequence, c.start, c.length, c.title, c.place, c.text, c.cancelled)
		name := "RECURRENCE-ID"
		if c.following {
			name += ";RANGE=THISANDFUTURE"
		}
		o.moment(name, c.id)
		o.line("END:VEVENT")
	}
}

// begin writes what events and changes have in common.
func (o *writer) begin(e *Event, stamp, now time.Time, sequence int, start moment, l length, title, place, text string, cancelled bool) {
	if stamp.IsZero() {
		stamp = now
	}
	o.line("BEGIN:VEVENT")
	o.text("UID", e.UID)
	o.line("DTSTAMP:" + stamp.UTC().Format(timeLayout) + "Z")
	if sequence > 0 {
		o.line(fmt.Sprintf("SEQUENCE:%d", sequence))
	}
	o.moment("DTSTART", start)
	switch {
	case start.date && l.exact == 0: // more phones support DTEND than a DURATION in days
		o.moment("DTEND", moment{wall: start.wall.AddDate(0, 0, l.days), date: true})
	case start.date, l.days > 0:
		o.line("DURATION:" + l.String())
	case l.exact > 0:
		end := moment{start.in(o.boxOrUTC()).wall(start.at(o.boxOrUTC()).Add(l.exact)), start.zone, false}
		if end.at(o.boxOrUTC()).Sub(start.at(o.boxOrUTC())) == l.exact {
			o.moment("DTEND", end)
		} else { // the end is in the second of two equal hours in autumn
			o.line("DURATION:" + l.String())
		}
	}
	o.text("SUMMARY", title)
	o.text("LOCATION", place)
	o.text("DESCRIPTION", text)
	if cancelled {
		o.line("STATUS:CANCELLED")
	}
}

// boxOrUTC returns a zone in which a length can be added to a time without a zone.
func (o *writer) boxOrUTC() *time.Location {
	if o.box == nil {
		return time.UTC
	}
	return o.box
}

// String returns the length in the form that parseDuration reads.
func (l length) String() string {
	s := "P"
	if l.days > 0 {
		s += fmt.Sprintf("%dD", l.days)
	}
	if l.exact > 0 || l.days == 0 {
		s += fmt.Sprintf("T%dS", l.exact/time.Second)
	}
	return s
}

// moment writes a property with a date.
func (o *writer) moment(name string, m moment) {
	if m.date {
		name += ";VALUE=DATE"
	}
	o.line(name + o.zoneOf(m) + ":" + m.String())
}

// zoneOf returns the TZID parameter of a date, or "" if it has none.
func (o *writer) zoneOf(m moment) string {
	if m.date || m.zone == nil || m.zone == utc {
		return ""
	}
	name := o.nameOf(m.zone)
	if strings.ContainsAny(name, ",;:") {
		name = `"` + name + `"`
	}
	return ";TZID=" + name
}

// nameOf returns the TZID of a zone. Zones of two calendars may have the same name, so a number is added if necessary.
func (o *writer) nameOf(z *zone) string {
	name := strings.ReplaceAll(z.name, `"`, "")
	for n := 2; ; n++ {
		other := o.names[name]
		if other == nil || other == z || z.location != nil && other.location != nil && z.location.String() == other.location.String() {
			return name
		}
		name = fmt.Sprintf("%s %d", strings.ReplaceAll(z.name, `"`, ""), n)
	}
}

// describe writes a zone's VTIMEZONE, once. For an IANA zone it describes the two changes of that year as if they repeated every year;
// programs that know the zone's name do not read it.
func (o *writer) describe(z *zone, year int) {
	if z == nil || z == utc {
		return
	}
	name := o.nameOf(z)
	if o.names[name] != nil {
		return
	}
	o.names[name] = z
	changes := z.changes
	if z.location != nil {
		changes = yearly(z.location, year)
	}
	o.line("BEGIN:VTIMEZONE")
	o.text("TZID", name)
	for _, c := range changes {
		kind := "STANDARD"
		if c.daylight {
			kind = "DAYLIGHT"
		}
		o.line("BEGIN:" + kind)
		o.line("DTSTART:" + c.start.Format(timeLayout))
		o.line("TZOFFSETFROM:" + offsetText(c.before))
		o.line("TZOFFSETTO:" + offsetText(c.after))
		if c.rule != nil {
			o.line("RRULE:" + c.rule.String())
		}
		for _, wall := range c.added {
			o.line("RDATE:" + wall.Format(timeLayout))
		}
		o.line("END:" + kind)
	}
	o.line("END:VTIMEZONE")
}

// lawSince is the year in which descriptions of IANA zones begin. Nobody adds earlier events to a phone.
const lawSince = 2000

// yearly returns a location's changes in a year as rules that repeat them every year, on the month's n-th or last such weekday.
func yearly(l *time.Location, year int) (all []observance) {
	t := time.Date(year, 1, 1, 0, 0, 0, 0, l)
	for {
		_, before := t.Zone()
		_, end := t.ZoneBounds()
		if end.IsZero() || end.Year() > year || len(all) == 2 {
			break
		}
		_, after := end.Zone()
		o := observance{
			daylight: end.IsDST(), before: time.Duration(before) * time.Second, after: time.Duration(after) * time.Second,
		}
		o.start = end.UTC().Add(o.before)
		week := (o.start.Day()-1)/7 + 1
		if o.start.AddDate(0, 0, 7).Month() != o.start.Month() {
			week = -1
		}
		text := fmt.Sprintf("FREQ=YEARLY;BYMONTH=%d;BYDAY=%d%s", o.start.Month(), week, strings.ToUpper(o.start.Weekday().String()[:2]))
		begin := time.Date(lawSince, 1, 1, o.start.Hour(), o.start.Minute(), 0, 0, time.UTC)
		if r, err := parseRule(text, moment{wall: begin}); err == nil {
			o.rule, o.start = r, r.between(begin, begin.AddDate(1, 0, 0), 1)[0]
		}
		all = append(all, o)
		t = end
	}
	if len(all) < 2 { // no summer time
		_, offset := t.Zone()
		o := time.Duration(offset) * time.Second
		all = []observance{{before: o, after: o, start: time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)}}
	}
	return all
}

// offsetText returns an offset in the form that parseOffset reads.
func offsetText(d time.Duration) string {
	sign := "+"
	if d < 0 {
		sign, d = "-", -d
	}
	s := fmt.Sprintf("%s%02d%02d", sign, d/time.Hour, d/time.Minute%60)
	if seconds := d / time.Second % 60; seconds > 0 {
		s += fmt.Sprintf("%02d", seconds)
	}
	return s
}

var escape = strings.NewReplacer(`\`, `\\`, ";", `\;`, ",", `\,`, "\n", `\n`)

// text writes a property of type TEXT, unless it is empty.
func (o *writer) text(name, value string) {
	if value != "" {
		o.line(name + ":" + escape.Replace(value))
	}
}

// foldAt is the greatest number of bytes of a line without its end (RFC 5545, section 3.1).
const foldAt = 75

// line writes a content line. It is folded between characters, since old phones show a broken character otherwise.
func (o *writer) line(s string) {
	s = strings.ToValidUTF8(s, "\ufffd")
	for room := foldAt; len(s) > room; room = foldAt - 1 {
		at := room
		for at > 0 && !utf8.RuneStart(s[at]) {
			at--
		}
		o.w.WriteString(s[:at] + "\r\n ")
		s = s[at:]
	}
	o.w.WriteString(s + "\r\n")
}
