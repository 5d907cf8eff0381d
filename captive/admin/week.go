package admin

import (
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"passerelle/appliance/hours"
)

// week is a grid of opening hours: up to two spans a day. It can express less than OpenStreetMap's syntax.
type week struct {
	days [7][]hoursSpan // from Monday on
	off  bool           // closed on public holidays
}

// hoursSpan is a part of a day. from and to are written as "08:30". The span ends on the next day if to is not after from.
type hoursSpan struct{ from, to string }

const (
	spansADay = 2
	midnight  = "24:00" // the end of a day
)

// weekdays are the days in OpenStreetMap's syntax.
var weekdays = []string{"Mo", "Tu", "We", "Th", "Fr", "Sa", "Su"}

// String writes the week in OpenStreetMap's syntax: "Mo-Fr 08:30-12:00,13:30-19:00; Sa 09:00-12:00; PH off".
func (w week) String() string {
	var rules []string
	separator := "; "
	for i, spans := range w.days {
		same := func(other []hoursSpan) bool { return slices.Equal(other, spans) }
		if len(spans) == 0 || slices.IndexFunc(w.days[:], same) < i {
			continue
		}
		var days, times []string
		for j := i; j < 7; j++ {
			if !same(w.days[j]) {
				continue
			}
			last := j
			for last < 6 && same(w.days[last+1]) {
				last++
			}
			switch {
			case last == j:
				days = append(days, weekdays[j])
			case last == j+1:
				days = append(days, weekdays[j], weekdays[last])
			default:
				days = append(days, weekdays[j]+"-"+weekdays[last])
			}
			j = last
		}
		for _, s := range spans {
			times = append(times, s.from+"-"+s.to)
			if s.to <= s.from {
				separator = ", " // a rule after a semicolon would end the night of the day before at midnight
			}
		}
		rules = append(rules, strings.Join(days, ",")+" "+strings.Join(times, ","))
	}
	text := strings.Join(rules, separator)
	if w.off {
		text += "; PH off"
	}
	return text
}

// ruleOfWeek matches a rule that a week can express.
var ruleOfWeek = regexp.MustCompile(`^([A-Z][a-z](?:[-,][A-Z][a-z])*) (off|\d\d:\d\d-\d\d:\d\d(?:,\d\d:\d\d-\d\d:\d\d)*)$`)

// weekOf parses opening hours into a week. ok is false if a week cannot express all that they say.
func weekOf(text string) (w week, ok bool) {
	if _, err := hours.Parse(text); err != nil {
		return w, false
	}
	night := false
	rules := strings.Split(strings.ReplaceAll(text, ", ", "; +"), "; ")
	for i, rule := range rules {
		rule, added := strings.CutPrefix(rule, "+")
		if w.off = rule == "PH off"; w.off && i == len(rules)-1 {
			break
		}
		m := ruleOfWeek.FindStringSubmatch(rule)
		if m == nil {
			return week{}, false
		}
		var spans []hoursSpan
		for times := range strings.SplitSeq(m[2], ",") {
			if from, to, isSpan := strings.Cut(times, "-"); isSpan {
				spans = append(spans, hoursSpan{from, endOfDay(to)})
				night = night || endOfDay(to) <= from
			}
		}
		for days := range strings.SplitSeq(m[1], ",") {
			first, last, isRange := strings.Cut(days, "-")
			if !isRange {
				last = first
			}
			from, to := slices.Index(weekdays, first), slices.Index(weekdays, last)
			if from < 0 || to < from {
				return week{}, false
			}
			for day := from; day <= to; day++ {
				if added && len(w.days[day]) > 0 {
					return week{}, false // the day has the hours of both rules
				}
				w.days[day] = spans
			}
		}
	}
	// Whether a night continues after midnight depends on the rule of the next day: see String.
	if w.check() != nil || night && w.String() != text {
		return week{}, false
	}
	return w, true
}

// endOfDay returns the end of a span, with midnight as "24:00" instead of "00:00".
func endOfDay(to string) string {
	if to == "00:00" {
		return midnight
	}
	return to
}

// errWeek says that the hours of a week do not make sense.
var errWeek = errors.New("hours that are missing, or in a wrong order")

// check returns errWeek if a day has too many spans, times that are missing or in the wrong order, or if no day is open.
func (w week) check() error {
	open := false
	for _, spans := range w.days {
		if len(spans) > spansADay {
			return errWeek
		}
		open = open || len(spans) > 0
		for i, s := range spans {
			if !isClock(s.from) || !isClock(s.to) || s.from == s.to || s.from == midnight ||
				i > 0 && (s.from <= spans[i-1].to || spans[i-1].to <= spans[i-1].from) {
				return errWeek
			}
		}
	}
	if !open {
		return errWeek
	}
	return nil
}

// isClock reports whether s is a time of day, from "00:00" to "24:00".
func isClock(s string) bool {
	hour, minute, ok := strings.Cut(s, ":")
	h, err := strconv.ParseUint(hour, 10, 8)
	m, err2 := strconv.ParseUint(minute, 10, 8)
	return ok && len(s) == len(midnight) && len(hour) == 2 && errors.Join(err, err2) == nil && (h < 24 && m < 60 || s == midnight)
}

// timeName returns the name of a time's field in a form, which follows the name of the week.
func timeName(day, span int, end string) string {
	return ".day" + strconv.Itoa(day) + "." + end + strconv.Itoa(span)
}

const offName = ".off"

// write writes the week into a form. A form's time fields have no 24:00, so the end of a day is 00:00.
func (w week) write(form url.Values, name string) {
	for day, spans := range w.days {
		for i, s := range spans {
			form.Set(name+timeName(day, i, "from"), s.from)
			form.Set(name+timeName(day, i, "to"), strings.Replace(s.to, midnight, "00:00", 1))
		}
	}
	if w.off {
		form.Set(name+offName, "on")
	}
}

// readWeek reads a week from a form. The error is errWeek.
func readWeek(form url.Values, name string) (w week, err error) {
	w.off = form.Get(name+offName) != ""
	for day := range w.days {
		for i := range spansADay {
			from, to := form.Get(name+timeName(day, i, "from")), form.Get(name+timeName(day, i, "to"))
			if from == "" && to == "" {
				continue
			}
			w.days[day] = append(w.days[day], hoursSpan{from, endOfDay(to)})
		}
	}
	return w, w.check()
}
