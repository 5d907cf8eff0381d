package agenda

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"passerelle/captive/records"
)

// maxOwn bounds the staff's events.
const maxOwn = 500

// Own holds the staff's events, in the form of their file.
type Own struct {
	Next   int     `json:"next"` // number of the next event
	Events []Entry `json:"events"`
}

// Entry is one of the staff's events. Dates are written as 2026-12-02, times as 14:00, both in the box's zone.
type Entry struct {
	Number  int       `json:"number"`
	UID     string    `json:"uid"`
	Title   string    `json:"title"`
	Where   string    `json:"where,omitempty"`
	Text    string    `json:"text,omitempty"`
	On      string    `json:"on"`
	From    string    `json:"from,omitempty"`  // "": all day
	To      string    `json:"to,omitempty"`    // "": unknown
	Every   string    `json:"every,omitempty"` // "week", "2weeks", "month"; "": once
	Until   string    `json:"until,omitempty"` // last day; "": without an end
	Off     bool      `json:"off,omitempty"`   // the whole event is cancelled
	Days    []Day     `json:"days,omitempty"`  // occurrences that differ
	Edition int       `json:"edition,omitempty"`
	Changed time.Time `json:"changed"`
}

// Day is an occurrence that is cancelled or moved.
type Day struct {
	On     string `json:"on"`
	Off    bool   `json:"off,omitempty"`
	ToDate string `json:"to_date,omitempty"`
	From   string `json:"from,omitempty"`
	To     string `json:"to,omitempty"`
}

// ownFile is the file of the staff's events.
func ownFile(dir string) records.File[Own] {
	return records.File[Own]{Path: filepath.Join(dir, "agenda.json"), Version: 1}
}

const (
	dayLayout   = "2006-01-02"
	clockLayout = "15:04"
)

// ErrUnknown is the error for an event that does not exist.
var ErrUnknown = errors.New("there is no such event")

// Add adds an event, and returns it with its number, UID and time of change. The UID must be globally unique.
func (o *Own) Add(e Entry, uid string, now time.Time) (Entry, error) {
	if len(o.Events) >= maxOwn {
		return e, fmt.Errorf("there are already %d events: remove old ones", maxOwn)
	}
	if err := e.clean(); err != nil {
		return e, err
	}
	o.Next = max(o.Next, 1)
	e.Number, e.UID, e.Changed = o.Next, uid, now.UTC().Truncate(time.Second)
	event, err := e.Event()
	if err != nil {
		return e, err
	}
	if event.Ended(now) {
		return e, fmt.Errorf("%s is over: give the day as 2026-12-02", e.On)
	}
	o.Next++
	o.Events = append(o.Events, e)
	return e, nil
}

// Cancel cancels one occurrence of an event, or the whole event if the day is "". A cancelled event stays in the agenda, so that
// residents see that it does not take place.
func (o *Own) Cancel(number int, on string, now time.Time) (Entry, error) {
	return o.change(number, now, func(e *Entry) error {
		if on == "" {
			e.Off = true
			return nil
		}
		return e.set(Day{On: on, Off: true})
	})
}

// Restore undoes the cancellation of one occurrence, or of the whole event if the day is "".
func (o *Own) Restore(number int, on string, now time.Time) (Entry, error) {
	return o.change(number, now, func(e *Entry) error {
		if on == "" {
			e.Off = false
			return nil
		}
		at := slices.IndexFunc(e.Days, func(d Day) bool { return d.On == on && d.Off })
		if at < 0 {
			return fmt.Errorf("%s is not cancelled", on)
		}
		e.Days = slices.Delete(e.Days, at, at+1)
		return nil
	})
}

// Move moves the occurrence on the day to.On, which may be "" for an event that takes place once. Without new times the occurrence keeps
// its times.
func (o *Own) Move(number int, to Day, now time.Time) (Entry, error) {
	return o.change(number, now, func(e *Entry) error {
		if to.On == "" {
			if e.Every != "" {
				return errors.New("the event repeats: name the day that moves with --on")
			}
			to.On = e.On
		}
		if to.From == "" && to.To != "" {
			return errors.New("an end needs a beginning: give --from as well")
		}
		e.Off = false
		return e.set(to)
	})
}

// Remove removes an event.
func (o *Own) Remove(number int) error {
	before := len(o.Events)
	o.Events = slices.DeleteFunc(o.Events, func(e Entry) bool { return e.Number == number })
	if len(o.Events) == before {
		return ErrUnknown
	}
	return nil
}

func (o *Own) change(number int, now time.Time, f func(*Entry) error) (Entry, error) {
	at := slices.IndexFunc(o.Events, func(e Entry) bool { return e.Number == number })
	if at < 0 {
		return Entry{}, ErrUnknown
	}
	e := o.Events[at]
	e.Days = slices.Clone(e.Days)
	if err := f(&e); err != nil {
		return e, err
	}
	e.Edition++
	e.Changed = now.UTC().Truncate(time.Second)
	if _, err := e.Event(); err != nil {
		return e, err
	}
	o.Events[at] = e
	return e, nil
}

// set replaces the Day of one occurrence.
func (e *Entry) set(d Day) (err error) {
	if d.On, err = parseDay(d.On); err != nil {
		return err
	}
	if d.ToDate, err = optional(d.ToDate, parseDay); err != nil {
		return err
	}
	if d.From, err = optional(d.From, parseClock); err != nil {
		return err
	}
	if d.To, err = optional(d.To, parseClock); err != nil {
		return err
	}
	plain := *e
	plain.Days, plain.Off = nil, false
	event, err := plain.Event()
	if err != nil {
		return err
	}
	if !event.on(d.On) {
		return fmt.Errorf("event %d does not take place on %s", e.Number, d.On)
	}
	e.Days = slices.DeleteFunc(e.Days, func(other Day) bool { return other.On == d.On })
	e.Days = append(e.Days, d)
	slices.SortFunc(e.Days, func(a, b Day) int { return strings.Compare(a.On, b.On) })
	return nil
}

// on says whether one of the staff's events begins on a day.
func (e *Event) on(day string) bool {
	from, err := time.Parse(dayLayout, day)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(Occurrences([]*Event{e}, from, from.AddDate(0, 0, 1)), func(o Occurrence) bool {
		return o.Start.Format(dayLayout) == day
	})
}

// clean checks what was typed and converts it to the file's form.
func (e *Entry) clean() (err error) {
	e.Title, e.Where, e.Text = cut(oneLine(plain(e.Title)), maxTitle), cut(oneLine(plain(e.Where)), maxTitle), cut(plain(e.Text), maxText)
	if e.Title == "" {
		return errors.New("an event needs a title: --title \"Café numérique\"")
	}
	if e.On, err = parseDay(e.On); err != nil {
		return err
	}
	if e.From, err = optional(e.From, parseClock); err != nil {
		return err
	}
	if e.To, err = optional(e.To, parseClock); err != nil {
		return err
	}
	if e.Until, err = optional(e.Until, parseDay); err != nil {
		return err
	}
	switch {
	case e.From == "" && e.To != "":
		return errors.New("an end needs a beginning: give --from as well")
	case e.Until != "" && e.Every == "":
		return errors.New("--until is for an event that repeats: give --every week, 2weeks or month as well")
	case e.Until != "" && e.Until < e.On:
		return fmt.Errorf("the last day, %s, is before the first one, %s", e.Until, e.On)
	}
	return nil
}

// plain removes control characters except line ends, characters that change the direction of text, and invalid UTF-8.
func plain(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' || unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "")))
}

// oneLine joins words with single spaces.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func optional(s string, parse func(string) (string, error)) (string, error) {
	if s == "" {
		return "", nil
	}
	return parse(s)
}

// parseDay parses a day as 2026-12-02 or 02/12/2026.
func parseDay(s string) (string, error) {
	for _, layout := range []string{dayLayout, "2/1/2006"} {
		if t, err := time.Parse(layout, strings.TrimSpace(s)); err == nil {
			return t.Format(dayLayout), nil
		}
	}
	return "", fmt.Errorf("%.40q is not a day: write it as 2026-12-02", s)
}

var clock = regexp.MustCompile(`^(\d{1,2})(?:[:hH](\d{2})?)?$`)

// parseClock parses a time as 14:00, 14h, 14h30 or 14.
func parseClock(s string) (string, error) {
	if m := clock.FindStringSubmatch(strings.ReplaceAll(s, " ", "")); m != nil {
		hour, _ := strconv.Atoi(m[1])
		minute, _ := strconv.Atoi("0" + m[2])
		if hour < 24 && minute < 60 {
			return fmt.Sprintf("%02d:%02d", hour, minute), nil
		}
	}
	return "", fmt.Errorf("%.40q is not a time: write it as 14:00", s)
}

var everyWeeks = regexp.MustCompile(`^([1-9]\d?)?weeks?$`)

// Event returns the entry as an event.
func (e Entry) Event() (*Event, error) {
	v := &Event{
		ID: strconv.Itoa(e.Number), UID: e.UID, Title: e.Title, Place: e.Where, Text: e.Text, Cancelled: e.Off,
		sequence: e.Edition, stamp: e.Changed,
	}
	var err error
	if v.start, v.length, err = timesOf(e.On, e.From, e.To); err != nil {
		return nil, err
	}
	var rule string
	switch weeks := everyWeeks.FindStringSubmatch(e.Every); {
	case e.Every == "":
	case e.Every == "month": // on the same weekday of the month, such as the second Tuesday; the fifth one stands for the last
		week := (v.start.wall.Day()-1)/7 + 1
		if week == 5 {
			week = -1
		}
		rule = fmt.Sprintf("FREQ=MONTHLY;BYDAY=%d%s", week, strings.ToUpper(v.start.wall.Weekday().String()[:2]))
	case weeks != nil && weeks[1] != "":
		rule = "FREQ=WEEKLY;INTERVAL=" + weeks[1]
	case weeks != nil:
		rule = "FREQ=WEEKLY"
	default:
		return nil, fmt.Errorf("%.40q is not how often: write week, 2weeks or month", e.Every)
	}
	if rule != "" {
		if until, err := time.Parse(dayLayout, e.Until); err == nil {
			rule += ";UNTIL=" + until.Format(dateLayout)
		}
		if v.rule, err = parseRule(rule, v.start); err != nil {
			return nil, err
		}
	}
	for _, d := range e.Days {
		c := change{title: e.Title, place: e.Where, text: e.Text, cancelled: d.Off, sequence: e.Edition, stamp: e.Changed}
		if c.id, c.length, err = timesOf(d.On, e.From, e.To); err != nil {
			return nil, err
		}
		from, to := e.From, e.To
		if d.From != "" {
			from, to = d.From, d.To
			if to == "" && c.length.exact > 0 { // as long as before
				begin, err := time.Parse(clockLayout, from)
				if err != nil {
					return nil, err
				}
				if end := begin.Add(c.length.exact); end.Day() == begin.Day() {
					to = end.Format(clockLayout)
				}
			}
		}
		day := d.ToDate
		if day == "" {
			day = d.On
		}
		if c.start, c.length, err = timesOf(day, from, to); err != nil {
			return nil, err
		}
		v.changes = append(v.changes, c)
	}
	return v, nil
}

// timesOf returns when something begins and how long it takes.
func timesOf(on, from, to string) (start moment, l length, err error) {
	day, err := time.Parse(dayLayout, on)
	if err != nil {
		return start, l, err
	}
	if from == "" {
		return moment{wall: day, date: true}, length{days: 1}, nil
	}
	begin, err := time.Parse(dayLayout+clockLayout, on+from)
	if err != nil {
		return start, l, err
	}
	if to != "" {
		end, err := time.Parse(dayLayout+clockLayout, on+to)
		if err != nil {
			return start, l, err
		}
		if !end.After(begin) {
			return start, l, fmt.Errorf("the end, %s, is not after the beginning, %s", to, from)
		}
		l.exact = end.Sub(begin)
	}
	return moment{wall: begin}, l, nil
}

// events returns all events, and an error for each entry that cannot be interpreted. Only a file that somebody edited has such entries.
func (o Own) events() (all []*Event, problems []error) {
	for _, e := range o.Events {
		v, err := e.Event()
		if err != nil {
			problems = append(problems, fmt.Errorf("event %d, %.60q: %w", e.Number, e.Title, err))
			continue
		}
		all = append(all, v)
	}
	return all, problems
}
