package agenda

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Warning says what in a file was left out or repaired.
type Warning struct {
	Line int    // from 1; 0: the whole file
	What string // the problem; it names the event
}

func (w Warning) String() string {
	if w.Line == 0 {
		return w.What
	}
	return fmt.Sprintf("line %d: %s", w.Line, w.What)
}

// Errors of Read for files of which nothing is used.
var (
	ErrNoCalendar = errors.New("this is not a calendar: an iCalendar file (.ics) begins with BEGIN:VCALENDAR")
	ErrCut        = errors.New("the file is cut off: its last line is not END:VCALENDAR")
	ErrNoEvent    = errors.New("the calendar has no event that can be shown")
)

// reader reads one file.
type reader struct {
	lines    *lines
	zones    zones
	warnings []Warning
	drafts   []draft
	unknown  map[string]bool // unknown zones that were warned about
	dates    int             // RDATE and EXDATE of all events
	work     int             // what is left of the budget: see settle
	cancels  bool            // METHOD:CANCEL: the file cancels its events
}

// draft is a VEVENT whose dates are not interpreted yet, since their zone may be described after it.
type draft struct {
	line                     int
	event                    Event
	start, end, duration, id property
	rule                     property
	added, removed           []property
	problem                  string // why it cannot be shown
}

// Read reads a calendar's events. Of events with the same UID it keeps the last revision. The error is about the whole file; problems
// with single events are in the warnings, of which there are at most maxWarnings and one that counts the others.
func Read(r io.Reader) (events []*Event, warnings []Warning, err error) {
	f := &reader{work: maxWork, unknown: map[string]bool{}, zones: zones{described: map[string]*zone{}, found: map[string]*zone{}}}
	f.lines, err = newLines(r, f.warn)
	if err == nil {
		err = f.file()
	}
	if err == nil {
		events = f.events()
	}
	if len(f.warnings) > maxWarnings {
		more := len(f.warnings) - maxWarnings
		f.warnings = append(f.warnings[:maxWarnings], Warning{What: fmt.Sprintf("and %d more", more)})
	}
	if err == nil && len(events) == 0 {
		err = ErrNoEvent
	}
	return events, f.warnings, err
}

// warn adds a warning. Those beyond the bound are only counted.
func (f *reader) warn(line int, what string) {
	w := Warning{}
	if len(f.warnings) < maxWarnings {
		w = Warning{line, what}
	}
	f.warnings = append(f.warnings, w)
}

// file reads all components. A calendar within a calendar is read as a part of its parent, and several calendars in a row are read as
// one.
func (f *reader) file() error {
	var open []string
	closed := false
	for {
		p, err := f.lines.next()
		switch {
		case err == io.EOF && closed && len(open) == 0:
			return nil
		case err == io.EOF && !closed && len(open) == 0:
			return ErrNoCalendar
		case err == io.EOF:
			return ErrCut
		case err != nil:
			return err
		}
		component := strings.ToUpper(strings.TrimSpace(p.value))
		switch {
		case len(open) == 0 && (p.name != "BEGIN" || component != "VCALENDAR"):
			if !closed {
				return ErrNoCalendar
			}
		case p.name == "BEGIN" && component == "VEVENT":
			err = f.event(p.line)
		case p.name == "BEGIN" && component == "VTIMEZONE":
			err = f.zone()
		case p.name == "BEGIN":
			if len(open) == 50 {
				return errors.New("too many components within each other")
			}
			open = append(open, component)
		case p.name == "END":
			for at := len(open) - 1; at >= 0; at-- {
				if open[at] == component { // components within it may lack their END
					open = open[:at]
					closed = closed || len(open) == 0
					break
				}
			}
		case p.name == "METHOD" && component == "CANCEL":
			f.cancels = true
		}
		if err != nil {
			return err
		}
	}
}

// event reads a VEVENT to its end.
func (f *reader) event(line int) error {
	d := draft{line: line}
	var within []string // open components within the event, such as VALARM
	for {
		p, err := f.lines.next()
		if err == io.EOF {
			return ErrCut
		}
		if err != nil {
			return err
		}
		component := strings.ToUpper(strings.TrimSpace(p.value))
		switch {
		case p.name == "END" && len(within) > 0 && component == within[len(within)-1]:
			within = within[:len(within)-1]
		case p.name == "END" && component == "VEVENT":
			if len(f.drafts) == maxEvents {
				return fmt.Errorf("the file has more than %d events", maxEvents)
			}
			f.drafts = append(f.drafts, d)
			return nil
		case p.name == "END" && component == "VCALENDAR":
			return ErrCut
		case p.name == "BEGIN" && component == "VEVENT":
			f.warn(d.line, d.name()+" is left out: it has no END:VEVENT")
			d, within = draft{line: p.line}, nil
		case p.name == "BEGIN":
			if within = append(within, component); len(within) > 50 {
				return errors.New("too many components within each other")
			}
		case len(within) == 0:
			f.read(&d, p)
		}
	}
}

// name names the event in warnings.
func (d *draft) name() string {
	switch {
	case d.event.Title != "":
		return fmt.Sprintf("event %.60q", d.event.Title)
	case d.event.UID != "":
		return fmt.Sprintf("event %.60q", d.event.UID)
	}
	return "an event"
}

// read reads a property of an event. If a property with one value occurs twice, the first one counts.
func (f *reader) read(d *draft, p property) {
	once := func(to *property) {
		if to.name == "" {
			*to = p
		}
	}
	text := func(to *string, most int) {
		if *to != "" {
			return
		}
		*to = cut(p.text(), most)
	}
	list := func(to *[]property) {
		n := strings.Count(p.value, ",") + 1
		if len(d.added)+len(d.removed)+n > maxDates || f.dates+n > maxAll {
			d.problem = "has too many dates"
			return
		}
		f.dates += n
		for value := range strings.SplitSeq(p.value, ",") {
			item := p
			item.value = value
			*to = append(*to, item)
		}
	}
	switch e := &d.event; p.name {
	case "UID":
		text(&e.UID, 1000)
	case "SUMMARY":
		text(&e.Title, maxTitle)
		e.Title = oneLine(e.Title)
	case "LOCATION":
		text(&e.Place, maxTitle)
		e.Place = oneLine(e.Place)
	case "DESCRIPTION":
		text(&e.Text, maxText)
	case "STATUS":
		e.Cancelled = strings.EqualFold(strings.TrimSpace(p.value), "CANCELLED")
	case "SEQUENCE":
		e.sequence, _ = number(p.value, 0, 1<<30) // 0, the first revision, if it is not a number
	case "DTSTAMP":
		if m, err := parseMoment(p.value, utc); err == nil {
			if e.stamp = m.at(time.UTC); e.stamp.Equal(unknownTime) {
				e.stamp = time.Time{}
			}
		}
	case "DTSTART":
		once(&d.start)
	case "DTEND":
		once(&d.end)
	case "DURATION":
		once(&d.duration)
	case "RECURRENCE-ID":
		once(&d.id)
	case "RRULE":
		if d.rule.name != "" {
			d.problem = "has two rules"
		}
		once(&d.rule)
	case "EXRULE":
		d.problem = "has an EXRULE, which is not supported"
	case "RDATE":
		list(&d.added)
	case "EXDATE":
		list(&d.removed)
	}
}

// cut cuts a text to at most that many characters.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	if r := []rune(s); len(r) > most {
		return strings.TrimSpace(string(r[:most-1])) + "…"
	}
	return s
}

// zone reads a VTIMEZONE to its end. An invalid one is left out with a warning.
func (f *reader) zone() error {
	z := &zone{onsets: map[int][]onset{}}
	var o observance
	var start, rule property
	var added []property
	var problem error
	line, offsets := f.lines.line, 0
	for {
		p, err := f.lines.next()
		if err == io.EOF {
			return ErrCut
		}
		if err != nil {
			return err
		}
		component := strings.ToUpper(strings.TrimSpace(p.value))
		switch p.name {
		case "BEGIN":
			o, start, rule, added, offsets = observance{daylight: component == "DAYLIGHT"}, property{}, property{}, nil, 0
		case "TZID":
			z.name = p.text()
		case "TZOFFSETFROM":
			o.before, err = parseOffset(p.value)
			offsets++
		case "TZOFFSETTO":
			o.after, err = parseOffset(p.value)
			offsets++
		case "DTSTART":
			start = p
		case "RRULE":
			rule = p
		case "RDATE":
			for value := range strings.SplitSeq(p.value, ",") {
				if len(added) < maxOnsets {
					added = append(added, property{value: value})
				}
			}
		case "END":
			if component == "VCALENDAR" {
				return ErrCut
			}
			if component == "VTIMEZONE" {
				switch {
				case problem != nil:
					f.warn(line, fmt.Sprintf("time zone %.60q is left out: %v", z.name, problem))
				case len(z.changes) == 0 || z.name == "" || len(f.zones.described) == maxZones:
					f.warn(line, fmt.Sprintf("time zone %.60q is left out", z.name))
				default:
					f.zones.described[z.name] = z
				}
				return nil
			}
			if offsets < 2 || len(z.changes) == maxOnsets {
				err = errors.New("it lacks an offset")
			} else if err = o.complete(start, rule, added, &f.work); err == nil {
				z.changes = append(z.changes, o)
			}
		}
		problem = cmp.Or(problem, err)
	}
}

// complete reads an observance's dates.
func (o *observance) complete(start, rule property, added []property, work *int) error {
	m, err := parseMoment(start.value, nil)
	if err != nil {
		return err
	}
	o.start = m.wall
	for _, p := range added {
		m, err := parseMoment(p.value, nil)
		if err != nil {
			return err
		}
		o.added = append(o.added, m.wall)
	}
	if rule.name == "" {
		return nil
	}
	if o.rule, err = parseRule(rule.value, m); err != nil {
		return err
	}
	if err := o.rule.settle(work); err != nil {
		return err
	}
	if u := o.rule.until; u != (moment{}) {
		o.rule.last = u.wall
		if u.zone == utc {
			o.rule.last = u.wall.Add(o.before)
		}
	}
	return nil
}

// events interprets the drafts.
func (f *reader) events() (all []*Event) {
	byUID := map[string]*Event{}
	changes := map[string][]change{}
	alone := map[string]*Event{} // by UID, the first change, in case the file does not have its event
	for i := range f.drafts {
		d := &f.drafts[i]
		if f.cancels {
			d.event.Cancelled = true
		}
		e, err := f.understand(d)
		if err != nil {
			f.warn(d.line, fmt.Sprintf("%s is left out: %v", d.name(), err))
			continue
		}
		if d.id.name != "" {
			c, err := f.change(d, e)
			if err != nil {
				f.warn(d.line, fmt.Sprintf("%s is left out: %v", d.name(), err))
				continue
			}
			changes[e.UID] = append(changes[e.UID], c)
			if alone[e.UID] == nil {
				alone[e.UID] = e
			}
			continue
		}
		if other := byUID[e.UID]; other == nil {
			all = append(all, e)
			byUID[e.UID] = e
		} else if !newer(other.sequence, other.stamp, e.sequence, e.stamp) {
			*other = *e
		}
	}
	for _, uid := range sortedKeys(changes) {
		e := byUID[uid]
		if e == nil { // the file is a part of a calendar: only the changed occurrences are known
			e = alone[uid]
			if e.start = changes[uid][0].id; e.start.date {
				e.length = length{days: 1}
			}
			all = append(all, e)
		}
		e.changes = latest(changes[uid])
	}
	return all
}

// newer says whether the first revision is later than the second.
func newer(sequence int, stamp time.Time, than int, thanStamp time.Time) bool {
	return cmp.Or(cmp.Compare(sequence, than), stamp.Compare(thanStamp)) > 0
}

// latest returns the last revision of each change, sorted.
func latest(all []change) []change {
	type key struct {
		id        string
		zone      *zone
		following bool
	}
	last := map[key]int{}
	var kept []change
	for _, c := range all {
		k := key{c.id.String(), c.id.zone, c.following}
		if at, known := last[k]; !known {
			last[k] = len(kept)
			kept = append(kept, c)
		} else if !newer(kept[at].sequence, kept[at].stamp, c.sequence, c.stamp) {
			kept[at] = c
		}
	}
	slices.SortStableFunc(kept, func(a, b change) int {
		return cmp.Or(a.id.wall.Compare(b.id.wall), cmp.Compare(fmt.Sprint(a.following), fmt.Sprint(b.following)))
	})
	return kept
}

func sortedKeys(m map[string][]change) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// understand interprets the dates of a draft.
func (f *reader) understand(d *draft) (*Event, error) {
	e := d.event
	if d.problem != "" {
		return nil, errors.New("it " + d.problem)
	}
	if d.start.name == "" {
		d.start = d.id // a cancelled occurrence may have nothing else
	}
	if d.start.name == "" {
		return nil, errors.New("it has no DTSTART")
	}
	var err error
	if e.start, err = f.moment(d, d.start); err != nil {
		return nil, err
	}
	if e.start.wall.Year() < 1900 || e.start.wall.Year() > 2399 {
		return nil, fmt.Errorf("it is in the year %d", e.start.wall.Year())
	}
	if e.length, err = f.length(d, e.start); err != nil {
		f.warn(d.line, fmt.Sprintf("%s: its end is not known: %v", d.name(), err))
	}
	if d.rule.name != "" {
		if e.rule, err = parseRule(d.rule.value, e.start); err == nil {
			err = e.rule.settle(&f.work)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, p := range d.added {
		a, err := f.instance(d, p, e.length)
		if err != nil {
			f.warn(p.line, fmt.Sprintf("%s: a date is left out: %v", d.name(), err))
			continue
		}
		e.added = append(e.added, a)
	}
	for _, p := range d.removed {
		m, err := f.moment(d, p)
		if err != nil {
			return nil, fmt.Errorf("EXDATE: %w", err) // otherwise it would be shown on a day on which it does not take place
		}
		e.removed = append(e.removed, m)
	}
	if e.UID == "" {
		e.UID = fmt.Sprintf("%s-%s", e.start, idOf(e.Title+"\n"+e.Place))
	}
	e.ID = idOf(e.UID)
	return &e, nil
}

// moment reads a property's date. For an unknown zone the box's is used, with a warning.
func (f *reader) moment(d *draft, p property) (moment, error) {
	id := p.param("TZID")
	z := f.zones.find(id)
	if id != "" && z == nil && !f.unknown[id] {
		f.unknown[id] = true
		f.warn(p.line, fmt.Sprintf("%s: the time zone %.60q is unknown; its times are read as the box's", d.name(), id))
	}
	return parseMoment(p.value, z)
}

// length reads how long an event takes.
func (f *reader) length(d *draft, start moment) (l length, err error) {
	usual := length{}
	if start.date {
		usual.days = 1
	}
	switch {
	case d.end.name != "":
		end, err := f.moment(d, d.end)
		if err != nil {
			return usual, err
		}
		if start.date || end.date {
			l.days = daysBetween(start.wall, end.wall)
			if !start.date {
				l = length{exact: end.wall.Sub(start.wall)}
			}
		} else {
			l.exact = end.at(time.UTC).Sub(start.at(time.UTC))
		}
	case d.duration.name != "":
		if l, err = parseDuration(d.duration.value); err != nil {
			return usual, err
		}
	default:
		return usual, nil
	}
	switch {
	case start.date && l == length{}: // some programs write the same day as the end
		return usual, nil
	case l.days < 0 || l.exact < 0:
		return usual, errors.New("it is before the start")
	case l.daysAtMost() > maxLength:
		return usual, fmt.Errorf("it is more than %d days long", maxLength)
	case start.date && l.exact > 0:
		return usual, errors.New("a whole day ends at a time")
	}
	return l, nil
}

// instance reads an RDATE: a date, or a period with an end or a duration.
func (f *reader) instance(d *draft, p property, usual length) (instance, error) {
	start, end, period := strings.Cut(p.value, "/")
	p.value = start
	m, err := f.moment(d, p)
	if err != nil || !period {
		return instance{m, usual}, err
	}
	of := draft{event: d.event, end: p}
	of.end.value = end
	if strings.HasPrefix(strings.TrimSpace(end), "P") {
		of.end, of.duration = property{}, of.end
	}
	l, err := f.length(&of, m)
	return instance{m, l}, err
}

// parseDuration parses a DURATION such as P1W, P1DT2H30M or PT90M (RFC 5545, section 3.3.6).
func parseDuration(s string) (l length, err error) {
	wrong := fmt.Errorf("%.40q is not a duration", s)
	rest, ok := strings.CutPrefix(strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(s)), "+"), "P")
	if !ok || rest == "" {
		return length{}, wrong
	}
	clock := false
	for rest != "" {
		if !clock && rest[0] == 'T' {
			clock, rest = true, rest[1:]
			continue
		}
		at := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if at <= 0 {
			return length{}, wrong
		}
		n, err := number(rest[:at], 0, 1_000_000)
		if err != nil {
			return length{}, wrong
		}
		switch unit := rest[at]; {
		case unit == 'W' && !clock:
			l.days += 7 * n
		case unit == 'D' && !clock:
			l.days += n
		case unit == 'H' && clock:
			l.exact += time.Duration(n) * time.Hour
		case unit == 'M' && clock:
			l.exact += time.Duration(n) * time.Minute
		case unit == 'S' && clock:
			l.exact += time.Duration(n) * time.Second
		default:
			return length{}, wrong
		}
		rest = rest[at+1:]
	}
	return l, nil
}

// change returns the change of an occurrence that a draft with a RECURRENCE-ID stands for.
func (f *reader) change(d *draft, e *Event) (change, error) {
	if e.rule != nil || len(e.added) > 0 {
		return change{}, errors.New("it has a RECURRENCE-ID, and repeats")
	}
	id, err := f.moment(d, d.id)
	if err != nil {
		return change{}, fmt.Errorf("RECURRENCE-ID: %w", err)
	}
	c := change{
		id: id, sequence: e.sequence, stamp: e.stamp, start: e.start, length: e.length,
		title: e.Title, place: e.Place, text: e.Text, cancelled: e.Cancelled,
	}
	switch of := strings.ToUpper(d.id.param("RANGE")); of {
	case "":
	case "THISANDFUTURE":
		c.following = true
		if shift := c.start.at(time.UTC).Sub(id.at(time.UTC)); shift > maxShift*24*time.Hour || shift < -maxShift*24*time.Hour {
			return change{}, fmt.Errorf("it moves all that follow by more than %d days", maxShift)
		}
	default:
		return change{}, fmt.Errorf("RANGE=%.20s is not supported", of)
	}
	return c, nil
}
