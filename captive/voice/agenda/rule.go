package agenda

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/teambition/rrule-go"
)

// rule is a recurrence rule (RFC 5545, section 3.3.10). It counts in wall clock times, so that a workshop at 14:00 is at 14:00 all year.
// The parts that by the RFC default to those of the first time are written out in option, so that a search need not begin there.
type rule struct {
	option rrule.ROption // without start, COUNT and UNTIL
	text   string        // as written, in upper case, without COUNT and UNTIL
	start  time.Time     // the first time
	count  int           // 0: not limited
	until  moment        // zero: not limited
	last   time.Time     // the last time; set by settle if there is a COUNT
}

// Bounds on a rule.
const (
	maxInterval = 1000
	maxCount    = 10_000
	maxTimes    = 24 // per day: BYHOUR, BYMINUTE and BYSECOND together
	maxList     = 400
)

var frequencies = map[string]rrule.Frequency{
	"YEARLY": rrule.YEARLY, "MONTHLY": rrule.MONTHLY, "WEEKLY": rrule.WEEKLY, "DAILY": rrule.DAILY,
}

var weekdays = map[string]rrule.Weekday{
	"MO": rrule.MO, "TU": rrule.TU, "WE": rrule.WE, "TH": rrule.TH, "FR": rrule.FR, "SA": rrule.SA, "SU": rrule.SU,
}

// parseRule parses the rule of an event that begins at start.
func parseRule(value string, start moment) (*rule, error) {
	r := &rule{start: start.wall, option: rrule.ROption{Freq: -1, Interval: 1}}
	var parts []string
	var by int // the number of parts that begin with BY, without BYSETPOS
	for part := range strings.SplitSeq(strings.ToUpper(strings.TrimSpace(value)), ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		var err error
		switch o := &r.option; key {
		case "":
			continue
		case "FREQ":
			f, known := frequencies[value]
			if !known {
				return nil, fmt.Errorf("FREQ=%.20s is not supported: an event repeats daily, weekly, monthly or yearly", value)
			}
			o.Freq = f
		case "INTERVAL":
			o.Interval, err = number(value, 1, maxInterval)
		case "COUNT":
			r.count, err = number(value, 1, maxCount)
		case "UNTIL":
			r.until, err = parseMoment(value, start.zone)
		case "WKST":
			day, known := weekdays[value]
			if !known {
				err = errors.New("not a weekday")
			}
			o.Wkst = day
		case "BYMONTH":
			o.Bymonth, err = numbers(value, 1, 12)
		case "BYMONTHDAY":
			o.Bymonthday, err = numbers(value, -31, 31)
		case "BYYEARDAY":
			o.Byyearday, err = numbers(value, -366, 366)
		case "BYWEEKNO":
			o.Byweekno, err = numbers(value, -53, 53)
		case "BYSETPOS":
			o.Bysetpos, err = numbers(value, -366, 366)
		case "BYHOUR":
			o.Byhour, err = numbers(value, 0, 23)
		case "BYMINUTE":
			o.Byminute, err = numbers(value, 0, 59)
		case "BYSECOND":
			o.Bysecond, err = numbers(value, 0, 59)
		case "BYDAY":
			o.Byweekday, err = days(value)
		default:
			err = errors.New("not supported")
		}
		if err != nil {
			return nil, fmt.Errorf("%.60s in a rule: %w", part, err)
		}
		if strings.HasPrefix(key, "BY") && key != "BYSETPOS" {
			by++
		}
		if key != "COUNT" && key != "UNTIL" {
			parts = append(parts, key+"="+value)
		}
	}
	r.text = strings.Join(parts, ";")
	if err := r.check(by); err != nil {
		return nil, err
	}
	r.complete(start.date)
	return r, nil
}

// check refuses rules that the RFC forbids and the library misreads, and rules with more than maxTimes times a day.
func (r *rule) check(by int) error {
	o := &r.option
	numbered := slices.ContainsFunc(o.Byweekday, func(d rrule.Weekday) bool { return d.N() != 0 })
	switch {
	case o.Freq < 0:
		return errors.New("a rule without FREQ")
	case r.count > 0 && r.until != moment{}:
		return errors.New("a rule with both COUNT and UNTIL")
	case len(o.Bysetpos) > 0 && by == 0:
		return errors.New("a rule with only BYSETPOS")
	case len(o.Byweekno) > 0 && o.Freq != rrule.YEARLY:
		return errors.New("a rule with BYWEEKNO that is not yearly")
	case len(o.Byyearday) > 0 && o.Freq != rrule.YEARLY:
		return errors.New("a rule with BYYEARDAY that is not yearly")
	case len(o.Bymonthday) > 0 && o.Freq == rrule.WEEKLY:
		return errors.New("a weekly rule with BYMONTHDAY")
	case numbered && (o.Freq > rrule.MONTHLY || len(o.Byweekno) > 0):
		return errors.New("a rule with numbered weekdays that is neither monthly nor yearly")
	case max(1, len(o.Byhour))*max(1, len(o.Byminute))*max(1, len(o.Bysecond)) > maxTimes:
		return fmt.Errorf("a rule with more than %d times a day", maxTimes)
	}
	most := 53
	if o.Freq == rrule.MONTHLY || len(o.Bymonth) > 0 {
		most = 5
	}
	for _, d := range o.Byweekday {
		if d.N() > most || d.N() < -most {
			return fmt.Errorf("a rule with weekday number %d", d.N())
		}
	}
	if numbered { // the library would take MO,1TU for a Monday that is a first Tuesday
		var all []rrule.Weekday
		for _, d := range o.Byweekday {
			if d.N() != 0 {
				all = append(all, d)
				continue
			}
			for n := range most {
				all = append(all, d.Nth(n+1))
			}
		}
		o.Byweekday = all
	}
	return nil
}

// complete sets the parts that by the RFC default to those of the first time.
func (r *rule) complete(date bool) {
	o := &r.option
	days := len(o.Bymonthday) + len(o.Byyearday) + len(o.Byweekday)
	weekday := weekdays[strings.ToUpper(r.start.Weekday().String()[:2])]
	switch {
	case days > 0:
	case o.Freq == rrule.YEARLY && len(o.Byweekno) > 0, o.Freq == rrule.WEEKLY:
		o.Byweekday = []rrule.Weekday{weekday}
	case o.Freq == rrule.YEARLY:
		o.Bymonthday = []int{r.start.Day()}
		if len(o.Bymonth) == 0 {
			o.Bymonth = []int{int(r.start.Month())}
		}
	case o.Freq == rrule.MONTHLY:
		o.Bymonthday = []int{r.start.Day()}
	}
	hour, minute, second := r.start.Clock()
	if date || len(o.Byhour) == 0 {
		o.Byhour = []int{hour}
	}
	if date || len(o.Byminute) == 0 {
		o.Byminute = []int{minute}
	}
	if date || len(o.Bysecond) == 0 {
		o.Bysecond = []int{second}
	}
}

// cycle is the number of years after which the calendar repeats, including weekdays. The library searches for the next time until the
// year 9999. For a rule that never matches, such as one for 30 February, from shifts the search by whole cycles towards that year, so
// that it ends after at most 800 years instead of 8,000.
const cycle = 400

// from returns an iterator of the rule's times from t on. The event's first time is among them only if it matches the rule. The search
// begins shortly before t, however long ago the first time was.
func (r *rule) from(t time.Time) (next func() (time.Time, bool), err error) {
	if t.Before(r.start) {
		t = r.start
	}
	o := r.option
	year, month, day := r.start.Date()
	periods := func(n int) int { return max(0, n-1) / o.Interval * o.Interval } // one period earlier, since the first one may be incomplete
	switch o.Freq {
	case rrule.YEARLY:
		year, month, day = year+periods(t.Year()-year), 1, 1
	case rrule.MONTHLY:
		month += time.Month(periods((t.Year()-year)*12 + int(t.Month()-month)))
		day = 1
	case rrule.WEEKLY: // from the week's first day
		day -= (int(r.start.Weekday()+6)%7 - o.Wkst.Day() + 7) % 7
		day += 7 * periods(daysBetween(r.start, t)/7)
	case rrule.DAILY:
		day += periods(daysBetween(r.start, t))
	}
	begin := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	shift := (9999 - begin.Year() - cycle) / cycle * cycle
	o.Dtstart = begin.AddDate(shift, 0, 0)
	library, err := rrule.NewRRule(o)
	if err != nil {
		return nil, err
	}
	following := library.Iterator()
	var before time.Time
	return func() (time.Time, bool) {
		for {
			found, ok := following()
			if !ok {
				return time.Time{}, false
			}
			if found = found.AddDate(-shift, 0, 0); found.Before(t) || !found.After(before) {
				continue // too early, or the same hour twice in BYHOUR
			}
			before = found
			return found, true
		}
	}, nil
}

// between returns the rule's times in [from, to), at most that many.
func (r *rule) between(from, to time.Time, most int) (all []time.Time) {
	if !to.After(r.start) {
		return nil
	}
	next, err := r.from(from)
	if err != nil {
		return nil // cannot happen: settle refused such a rule
	}
	for len(all) < most {
		t, ok := next()
		if !ok || !t.Before(to) {
			break
		}
		all = append(all, t)
	}
	return all
}

// settle finds the last time of a rule with a COUNT, and refuses a rule that never matches. Both take time, so all rules of a file share
// a budget: each time costs 1, each day between times a quarter.
func (r *rule) settle(budget *int) error {
	next, err := r.from(r.start)
	if err != nil {
		return err
	}
	now, ok := next()
	if !ok {
		*budget -= 2 * cycle * 366 / 4
		return errors.New("a rule that never comes true")
	}
	*budget -= daysBetween(r.start, now) / 4
	if r.count == 0 {
		return nil
	}
	r.last = r.start
	counted := 1 // the first time counts, whether or not it matches the rule (RFC 5545, section 3.8.2.4)
	for ; ok && counted < r.count; now, ok = next() {
		if now.Equal(r.start) {
			continue
		}
		if *budget -= 1 + daysBetween(r.last, now)/4; *budget < 0 {
			return errors.New("the file has too many rules to count")
		}
		r.last = now
		counted++
	}
	return nil
}

// end returns the rule's last possible time on the wall clock, or zero if it has no end.
func (r *rule) end(start moment, box *time.Location) time.Time {
	switch u := r.until; {
	case u == moment{}:
		return r.last
	case start.date && !u.date:
		y, m, d := u.wallIn(moment{}, box).Date()
		return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	case u.date && !start.date: // some programs write a day and mean all of it
		return u.wall.Add(24*time.Hour - time.Second)
	default:
		return u.wallIn(start, box)
	}
}

// String returns the rule in the form that parseRule reads.
func (r *rule) String() string {
	switch {
	case r.count > 0:
		return r.text + ";COUNT=" + strconv.Itoa(r.count)
	case r.until != moment{}:
		return r.text + ";UNTIL=" + r.until.String()
	}
	return r.text
}

// daysBetween counts the days from a to b.
func daysBetween(a, b time.Time) int { return int(b.Unix()/86400 - a.Unix()/86400) }

// number parses a number in a range.
func number(s string, least, most int) (int, error) {
	n, err := strconv.Atoi(strings.TrimPrefix(strings.TrimSpace(s), "+"))
	if err != nil {
		return 0, errors.New("not a number")
	}
	if n < least || n > most {
		return 0, fmt.Errorf("not between %d and %d", least, most)
	}
	return n, nil
}

// numbers parses a list of numbers in a range. If the range has negative numbers, 0 is refused.
func numbers(s string, least, most int) (all []int, err error) {
	for item := range strings.SplitSeq(s, ",") {
		n, err := number(item, least, most)
		if err != nil {
			return nil, err
		}
		if least < 0 && n == 0 {
			return nil, errors.New("0 is not allowed")
		}
		if len(all) == maxList {
			return nil, errors.New("the list is too long")
		}
		if !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	return all, nil
}

// days parses a list of weekdays, each with or without a number: MO,2TU,-1FR.
func days(s string) (all []rrule.Weekday, err error) {
	for item := range strings.SplitSeq(s, ",") {
		item = strings.TrimSpace(item)
		at := max(0, len(item)-2)
		day, known := weekdays[item[at:]]
		if !known {
			return nil, fmt.Errorf("%.20q is not a weekday", item)
		}
		if at > 0 {
			n, err := number(item[:at], -53, 53)
			if err != nil || n == 0 {
				return nil, fmt.Errorf("%.20q is not a weekday", item)
			}
			day = day.Nth(n)
		}
		if len(all) == maxList {
			return nil, errors.New("the list is too long")
		}
		all = append(all, day)
	}
	return all, nil
}
