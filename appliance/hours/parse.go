package hours

import (
	"fmt"
)

// maxText limits the text, in bytes. OpenStreetMap's own values have at most 255 characters.
const maxText = 2000

// firstYear and lastYear limit the years of a date.
const (
	firstYear = 2000
	lastYear  = 2199
)

// parser is a position in the tokens of a text.
type parser struct {
	tokens []token // the last one is always tokEnd
	next   int
}

// parse parses the whole text.
func parse(text string) ([]rule, error) {
	if len(text) > maxText {
		return nil, &Error{maxText, fmt.Sprintf("longer than %d bytes", maxText)}
	}
	tokens, err := scan(text)
	if err != nil {
		return nil, err
	}
	if tokens[0].kind == tokEnd {
		return []rule{{}}, nil
	}
	p := &parser{tokens: tokens}
	rules, err := p.rules()
	if err != nil {
		return nil, err
	}
	for i := range rules {
		if err := rejectSlip(text, rules, i); err != nil {
			return nil, err
		}
	}
	return rules, nil
}

// rejectSlip refuses what the specification reads in a way that nobody means. An open rule without hours next to a comma would be open
// day and night, but people mean the hours on the other side ("Mo-Fr, 09:00-17:00", "Sa 09:00-12:00, Su") or its "off" ("PH, Dec 24
// off"). Hours alone after a semicolon would replace everything before them, on every day ("Mo-Fr 09:00-12:00; 14:00-18:00").
func rejectSlip(text string, rules []rule, i int) error {
	r := &rules[i]
	said := text[r.pos:r.end]
	joined := r.added || i+1 < len(rules) && rules[i+1].added
	switch {
	case r.state != open:
	case joined && !r.hasHours():
		return &Error{r.pos, fmt.Sprintf(`%q has no hours of its own, and a comma joins it to another rule; write its hours behind it `+
			`without a comma, as in Mo-Fr 09:00-17:00, or "off", or 00:00-24:00 if it is open day and night`, said)}
	case i > 0 && !r.added && !r.selects() && len(r.times) > 0:
		return &Error{r.pos, fmt.Sprintf(`%q is for every day and would replace all that stands before it; write "," instead of ";" `+
			`between hours of the same days, or its own days before it, or put it first`, said)}
	}
	return nil
}

// rules reads the rules up to the end of the text.
func (p *parser) rules() (rules []rule, err error) {
	added := false
	for p.accept(";") { // empty rules say nothing
	}
	for {
		r, err := p.rule()
		if err != nil {
			return nil, err
		}
		r.added = added
		rules = append(rules, r)
		switch t := p.peek(); {
		case p.accept(";"):
			added = false
		case p.accept(","):
			added = true
			if p.peek().line { // a comma at the end of a line
				added = false
			}
		case t.kind == tokEnd:
		case t.line: // a new line is a new rule
			added = false
		default:
			return nil, p.misplaced(fmt.Sprintf(`%q cannot follow here; write "," between hours and ";" before another rule, `+
				"and in a rule years, dates, week, days, hours, open or off in this order", t.text))
		}
		for p.accept(";") {
			added = false
		}
		if p.peek().kind == tokEnd { // a trailing separator is common and harmless
			return rules, nil
		}
	}
}

// rule reads one rule, up to the separator after it. Its parts may be in any order, except that dates and days may not follow closing
// hours: there the separator before the next rule was forgotten.
func (p *parser) rule() (rule, error) {
	r := rule{pos: p.peek().pos}
	start := p.next
	var comment *token
	var late *token // a date or a day after hours
	said, has := false, map[string]bool{}
	part := func(name string, begins bool, read func(*rule) error) (bool, error) {
		t := p.peek()
		if !begins || has[name] || r.always && name != "date" && name != "day" || t.line && (said || r.hasHours()) {
			return false, nil
		}
		if has["times"] && name != "times" && late == nil {
			late = &t
		}
		has[name] = true
		if err := read(&r); err != nil {
			return false, err
		}
		p.accept(":")
		return true, nil
	}
	for {
		t := p.peek()
		switch {
		case t.kind == tokComment && !(t.line && (said || r.hasHours())):
			comment = &t
			p.next++
			p.accept(":")
			continue
		case t.is("24/7") && !r.hasHours():
			r.always = true
			p.next++
			p.accept(":")
			continue
		case !said && t.isState() && (!t.line || p.next == start):
			r.state = map[string]ruleState{"off": off, "open": open, "unknown": unknown}[t.word]
			said = true
			p.next++
			p.accept(":")
			continue
		}
		var read bool
		var err error
		for _, try := range []struct {
			name   string
			begins bool
			read   func(*rule) error
		}{
			{"year", p.atYears(), p.years},
			{"date", !p.atYears() && p.atDate(), p.dates},
			{"week", t.isWord("week"), p.weeks},
			{"day", t.isWeekday() || t.isWord("ph") || t.isWord("sh"), p.weekdays},
			{"times", t.kind == tokTime || p.atBareHours(), p.times},
		} {
			if read, err = part(try.name, try.begins, try.read); read || err != nil {
				break
			}
		}
		if err != nil {
			return r, err
		}
		if !read {
			break
		}
	}
	t := p.peek()
	switch {
	case p.next == start:
		return r, p.unexpected("a day, a date or hours")
	case p.next == start+1 && comment != nil && t.kind == tokEnd || comment != nil && !said && !r.hasHours() && !r.selects():
		return r, p.wrong(*comment, "a comment alone gives no hours")
	case late != nil && said && r.state != open:
		p.next--
		return r, p.wrong(*late, fmt.Sprintf(`%q cannot follow here; write ";" before another rule`, late.text))
	case comment != nil && said && r.state == open && r.hasHours() && p.tokens[p.next-1].isState():
		return r, p.wrong(*comment, fmt.Sprintf("write %s behind %q", comment.text, p.tokens[p.next-1].text))
	case !said && r.hasHours() && comment != nil:
		return r, p.wrong(*comment, fmt.Sprintf(`%s: is it open then? Write open before the comment if it is, or off`, comment.text))
	case !said && comment != nil:
		return r, p.wrong(*comment, fmt.Sprintf(`%s is no hours: with nothing but a comment the day would be open from 00:00 to 24:00; `+
			`write hours before it, or "off" if it is open for few only`, comment.text))
	}
	r.end = p.tokens[p.next-1].end
	return r, nil
}

// isState tells whether a token is "open", "off" or "unknown".
func (t token) isState() bool { return t.isWord("off") || t.isWord("open") || t.isWord("unknown") }

// atDate tells whether a date begins here: a month, a day before a month, or Easter, perhaps after a year.
func (p *parser) atDate() bool {
	t := p.peek()
	return t.isMonth() || t.isWord("easter") || t.kind == tokNumber && p.at(1).isMonth() || t.is4Digits() && p.at(1).isWord("easter")
}

// atYears tells whether years without a date begin here.
func (p *parser) atYears() bool {
	return p.peek().is4Digits() && !p.at(1).isMonth() && !p.at(1).isWord("easter")
}

// atBareHours tells whether hours without minutes begin here, as in 9-12.
func (p *parser) atBareHours() bool {
	bare := func(t token) bool { return t.kind == tokNumber && len(t.text) <= 2 }
	return bare(p.peek()) && p.at(1).is("-") && (bare(p.at(2)) || p.at(2).kind == tokTime)
}

// dates reads months and dates.
func (p *parser) dates(r *rule) error {
	year := 0 // the last one given
	for {
		dates, err := p.dateRange(&year)
		if err != nil {
			return err
		}
		r.dates = append(r.dates, dates)
		for p.peek().is(",") && p.at(1).kind == tokNumber && !p.at(1).is4Digits() && !p.at(2).isMonth() && dates.to.day > 0 { // Dec 25,26
			p.next++
			of := dates.to
			if dates, err = p.dayRange(of); err != nil {
				return err
			}
			r.dates = append(r.dates, dates)
		}
		if !p.peek().is(",") {
			return nil
		}
		p.next++
		if !p.atDate() {
			p.next--
			return nil
		}
		if t := p.peek(); year != 0 && !t.is4Digits() {
			return p.wrong(t, fmt.Sprintf("%q: every year, or in %d? Write the year before it, or a rule of its own", t.text, year))
		}
	}
}

// years reads "2026", "2026+", "2026-2028", or "2026-2032/2" and "2026/2" with a step, and lists of them.
func (p *parser) years(r *rule) error {
	for {
		from, err := p.number(firstYear, lastYear, "a year")
		if err != nil {
			return err
		}
		years := yearRange{from, from, 1}
		switch {
		case p.accept("+"):
			years.to = lastYear
		case p.accept("-"):
			t := p.peek()
			if years.to, err = p.number(firstYear, lastYear, "a year"); err != nil {
				return err
			}
			if years.to < from {
				return p.wrong(t, fmt.Sprintf("%d is before %d", years.to, from))
			}
		case p.peek().is("/"):
			years.to = lastYear
		}
		if p.accept("/") {
			if years.step, err = p.number(1, 100, "a number of years"); err != nil {
				return err
			}
		}
		r.years = append(r.years, years)
		if !p.peek().is(",") {
			return nil
		}
		p.next++
		if !p.atYears() {
			p.next--
			return nil
		}
	}
}

// dateRange reads "Jul", "Jul-Aug", "Jul 01", "Jul 01-14", "Jul 01-Aug 31", "easter -2 days-easter +1 day", "Mar Su[-1]-Oct Su[-1]",
// each date with or without a year before it, and a range of days perhaps with a step after it. year is the last year given, 0 for
// none; dateRange keeps it up to date.
func (p *parser) dateRange(year *int) (d dateRange, err error) {
	whole := func(p datePoint) bool { return !p.easter && p.day == 0 && p.nth == 0 }
	from, err := p.date(year, false)
	if err != nil {
		return d, err
	}
	d = dateRange{from: from, to: from, step: 1}
	end := p.peek()
	if end.is("-") {
		if from.day > 0 && from.offset == 0 && p.at(1).kind == tokNumber && !p.at(1).is4Digits() && !p.at(2).isMonth() {
			p.next-- // back to the first day
			if !p.peek().isMonth() {
				return p.dayRange(from)
			}
			p.next++ // the day before its month: 24 Dec-26
			return d, p.unexpected("a date, as in Dec 24-26")
		}
		p.next++
		end = p.peek()
		if d.to, err = p.date(year, !whole(from)); err != nil {
			return d, err
		}
		switch {
		case whole(from) != whole(d.to):
			return d, p.wrong(end, "only one end of the range has a day; write both, as in Jul 01-Aug 31")
		case from.year == 0 && d.to.year != 0:
			return d, p.wrong(end, "a year stands at the end of the range and none at its beginning")
		}
	}
	months := whole(d.from)
	if months {
		d.from.day, d.to.day = 1, lastDay(d.to)
	}
	if from.year != 0 && d.to != from {
		first, _ := d.from.in(d.from.year)
		last, _ := d.to.in(d.to.year)
		switch {
		case last >= first:
		case d.to.year == from.year: // 2026 Dec 24-Jan 02
			d.to.year++
			*year++
			if months {
				d.to.day = lastDay(d.to)
			}
		default:
			return d, p.wrong(end, "the range ends before it begins")
		}
	}
	switch {
	case d.from.leaves() || d.to.leaves():
		return d, p.wrong(end, "the days to add lead to another year; write the date")
	case d.to.easter && d.from != d.to:
		return d, p.wrong(end, "a range until Easter: programs disagree whether its last day counts; write the dates")
	}
	return d, p.step(&d)
}

// step reads the step that may follow a range of days: "/7".
func (p *parser) step(d *dateRange) (err error) {
	t := p.peek()
	if !p.accept("/") {
		return nil
	}
	from, _ := d.from.in(firstYear)
	to, _ := d.to.in(firstYear)
	if d.step, err = p.number(1, 366, "a number of days"); err == nil && d.from.year == 0 && from > to {
		return p.wrong(t, "a step needs a range that ends in the same year")
	}
	return err
}

// date reads a month or Easter, perhaps after a year, then a day or a weekday of the month, and an offset in days. The day may be
// missing. A weekday is read if what follows makes it a date, or if nth is set.
func (p *parser) date(year *int, nth bool) (d datePoint, err error) {
	if p.peek().is4Digits() {
		if *year, err = p.number(firstYear, lastYear, "a year"); err != nil {
			return d, err
		}
	}
	d.year = *year
	switch {
	case p.peek().isWord("easter"):
		d.easter = true
		p.next++
	case p.peek().kind == tokNumber && p.at(1).isMonth(): // as people write it in French: 24 décembre
		d.month = p.at(1).month()
		if d.day, err = p.number(1, lastDay(d), "a day of "+d.month.String()); err != nil {
			return d, err
		}
		p.next++
		return d, nil
	case p.peek().isMonth():
		d.month = p.peek().month()
		p.next++
		switch t := p.peek(); {
		case t.kind == tokNumber && !t.is4Digits() && !(p.atBareHours() && p.hoursBehind()):
			if d.day, err = p.number(1, lastDay(d), "a day of "+d.month.String()); err != nil {
				return d, err
			}
		case t.isWeekday() && p.at(1).is("[") && (nth || p.dateBehind()):
			p.next += 2
			sign := 1
			if p.accept("-") {
				sign = -1
			}
			if d.nth, err = p.number(1, 5, "which of the month's days"); err != nil {
				return d, err
			}
			d.on, d.nth = t.weekday(), d.nth*sign
			p.next++ // the bracket that dateBehind saw
		default:
			return d, nil
		}
	default:
		return d, p.unexpected("a month (Jan, Feb, …)")
	}
	d.offset, err = p.offset()
	return d, err
}

// hoursBehind tells whether the two numbers at hand are hours, because no hours follow in the rule: Nov-Feb 00-24.
func (p *parser) hoursBehind() bool {
	from, to := p.peek(), p.at(2)
	return from.value == 0 || to.value == 24 && from.value > to.value
}

// dateBehind tells whether the weekday in brackets at hand is a date: a range or an offset follows.
func (p *parser) dateBehind() bool {
	i := 2
	if p.at(i).is("-") {
		i++
	}
	if p.at(i).kind != tokNumber || !p.at(i+1).is("]") {
		return false
	}
	return p.at(i+2).is("-") || p.at(i+2).is("+")
}

// offset reads the offset that may follow a date or a day: "+1 day", "-2 days".
func (p *parser) offset() (days int, err error) {
	if !p.peek().is("+") && !p.peek().is("-") || p.at(1).kind != tokNumber || !p.at(2).isWord("day") {
		return 0, nil
	}
	sign := 1
	if p.peek().is("-") {
		sign = -1
	}
	p.next++
	days, err = p.number(0, 366, "a number of days")
	p.next++
	return sign * days, err
}

// dayRange reads "24" or "24-31" within the month of a date, perhaps with a step.
func (p *parser) dayRange(of datePoint) (dateRange, error) {
	name := "a day of " + of.month.String()
	from, err := p.number(1, lastDay(of), name)
	if err != nil {
		return dateRange{}, err
	}
	to := from
	if p.peek().is("-") && p.at(1).kind == tokNumber && !p.at(2).isWord("day") {
		p.next++
		t := p.peek()
		if to, err = p.number(1, lastDay(of), name); err != nil {
			return dateRange{}, err
		}
		if to < from {
			return dateRange{}, p.wrong(t, fmt.Sprintf("%d is before %d", to, from))
		}
	}
	d := dateRange{datePoint{year: of.year, month: of.month, day: from}, datePoint{year: of.year, month: of.month, day: to}, 1}
	return d, p.step(&d)
}

// lastDay returns the last day of a date's month; 29 for a February without a year.
func lastDay(d datePoint) int {
	year := d.year
	if year == 0 {
		year = firstYear // a leap year
	}
	return daysIn(year, d.month)
}

// weeks reads "week 1-53/2,10".
func (p *parser) weeks(r *rule) error {
	p.next++
	for {
		from, err := p.number(1, 53, "a week")
		if err != nil {
			return err
		}
		weeks := weekRange{from, from, 1}
		if p.accept("-") {
			t := p.peek()
			if weeks.to, err = p.number(1, 53, "a week"); err != nil {
				return err
			}
			if weeks.to < from {
				return p.wrong(t, fmt.Sprintf("week %d is before week %d; write %d-53,1-%d", weeks.to, from, from, weeks.to))
			}
			if p.accept("/") {
				if weeks.step, err = p.number(1, 53, "a number of weeks"); err != nil {
					return err
				}
			}
		}
		r.weeks = append(r.weeks, weeks)
		again := p.at(1).isWord("week") && p.at(2).kind == tokNumber
		if !p.peek().is(",") || p.at(1).kind != tokNumber && !again {
			return nil
		}
		p.next++
		if again {
			p.next++
		}
	}
}

// weekdays reads "Mo-Fr,PH", "PH", "PH Mo-Fr", "SH", "Sa[1,-1]", "Sa[-1] +1 day", "PH -1 day".
func (p *parser) weekdays(r *rule) error {
	for {
		switch t := p.peek(); {
		case t.isWord("ph"), t.isWord("sh"):
			p.next++
			h := holidaySelector{school: t.word == "sh"}
			var err error
			if h.offset, err = p.offset(); err != nil {
				return err
			}
			days := r.someDay()
			r.holidays = append(r.holidays, h)
			behind := p.peek()
			if behind.is(":") && p.at(1).isWeekday() {
				behind = p.at(1)
			}
			switch {
			case behind.isWeekday() && days:
				return p.unexpected(`"," between a list of days and a public holiday that falls on a day`)
			case behind.isWeekday():
				p.accept(":")
				r.both = true
				continue
			}
		case t.isWeekday():
			if err := p.weekdayRange(r); err != nil {
				return err
			}
			if h := p.peek(); !r.both && len(r.holidays) == 0 && (h.isWord("ph") || h.isWord("sh")) && p.at(1).isOffset(p.at(2), p.at(3)) {
				r.both = true // Mo-We PH -1 day
				continue
			}
		default:
			return p.unexpected("a day (Mo Tu We Th Fr Sa Su)")
		}
		t := p.at(1)
		if !p.peek().is(",") || !t.isWeekday() && (r.both || !t.isWord("ph") && !t.isWord("sh")) {
			return nil
		}
		p.next++
	}
}

// isOffset tells whether three tokens are an offset in days.
func (t token) isOffset(n, day token) bool {
	return (t.is("+") || t.is("-")) && n.kind == tokNumber && day.isWord("day")
}

// weekdayRange reads "Mo", "Mo-Fr", "Fr-Mo", "Sa[1]" or "Sa[-1] +1 day".
func (p *parser) weekdayRange(r *rule) error {
	from := p.peek().weekday()
	p.next++
	if p.accept("[") {
		var set nthSet
		if err := p.nth(&set); err != nil {
			return err
		}
		offset, err := p.offset()
		if offset == 0 {
			r.weekdays[from] |= set
		} else {
			r.moved = append(r.moved, movedDay{from, set, offset})
		}
		return err
	}
	to := from
	if p.accept("-") {
		if !p.peek().isWeekday() {
			return p.unexpected("a day (Mo Tu We Th Fr Sa Su)")
		}
		to = p.peek().weekday()
		p.next++
	}
	for day := from; ; day = (day + 1) % 7 {
		r.weekdays[day] |= 1
		if day == to {
			return nil
		}
	}
}

// nth reads the content of "Sa[1,3]", "Sa[1-2]" or "Sa[-1]", from after the bracket on.
func (p *parser) nth(set *nthSet) error {
	for {
		sign := 1
		if p.accept("-") {
			sign = -1
		}
		from, err := p.number(1, 5, "which of the month's days")
		if err != nil {
			return err
		}
		to := from
		if sign > 0 && p.accept("-") {
			if to, err = p.number(from, 5, "which of the month's days"); err != nil {
				return err
			}
		}
		for n := from; n <= to; n++ {
			*set |= nthBit(sign * n)
		}
		if p.accept("]") {
			return nil
		}
		if !p.accept(",") {
			return p.unexpected(`"," or "]"`)
		}
	}
}

// times reads "08:30-12:00,13:30-19:00", and 9-12 without minutes.
func (p *parser) times(r *rule) error {
	for {
		start, bare := p.peek(), p.atBareHours() && p.at(2).kind == tokNumber
		from := start.value
		if start.kind == tokNumber {
			from *= 60
		}
		p.next++
		switch {
		case from >= minutesADay:
			return p.wrong(start, "hours begin before 24:00; write them on the next day")
		case p.peek().is("+"):
			return p.unexpected(`"-" and a closing time (an open end has no certain answer)`)
		case !p.accept("-"):
			return p.unexpected(`"-" and a closing time`)
		}
		end := p.peek()
		to := end.value
		switch {
		case end.kind == tokTime:
		case end.kind == tokNumber && len(end.text) <= 2 && end.value <= 48:
			to *= 60
		default:
			return p.unexpected("a closing time, as in 08:30-12:00")
		}
		p.next++
		switch {
		case bare && p.peek().isMonth():
			return p.wrong(start, fmt.Sprintf("%s-%s: hours, or days of a month? Write hours as 09:00-12:00, and days behind the month", start.text, end.text))
		case end.kind == tokNumber && (to == from || to < from && from <= 12*60):
			return p.wrong(start, fmt.Sprintf("%s-%s: until the evening, or over midnight? Write the hours of 24, as in 08:00-20:00",
				start.text, end.text))
		case to <= from:
			to += minutesADay // over midnight; 10:00-10:00 is a whole turn of the clock
		}
		r.times = append(r.times, span{from, to})
		if p.accept("+") {
			r.openEnd = true
		}
		list := p.peek().is(",") || p.peek().is("/") && p.at(2).is("-")
		if t := p.peek(); t.kind == tokTime && p.at(1).is("-") { // 9h-12h 14h-18h
			continue
		}
		switch {
		case p.peek().is("/") && !list:
			return p.wrong(p.peek(), "moments in steps are no hours; write from when to when it is open")
		case !list || p.at(1).kind != tokTime && !(p.at(1).kind == tokNumber && p.at(2).is("-") && len(p.at(1).text) <= 2):
			return nil
		}
		p.next++
	}
}

// number reads a number within bounds; what is its name in the error.
func (p *parser) number(least, most int, what string) (int, error) {
	t := p.peek()
	if t.kind != tokNumber {
		return 0, p.unexpected(fmt.Sprintf("%s (%d to %d)", what, least, most))
	}
	if t.value < least || t.value > most {
		return 0, p.wrong(t, fmt.Sprintf("%s is not %s (%d to %d)", t.text, what, least, most))
	}
	p.next++
	return t.value, nil
}

func (p *parser) peek() token { return p.at(0) }

// at returns the token i places ahead, or the end.
func (p *parser) at(i int) token { return p.tokens[min(p.next+i, len(p.tokens)-1)] }

func (p *parser) accept(sign string) bool {
	if !p.peek().is(sign) {
		return false
	}
	p.next++
	return true
}

func (p *parser) wrong(t token, msg string) error { return &Error{t.pos, msg} }

// unexpected returns an error about the token at hand.
func (p *parser) unexpected(want string) error {
	if t := p.peek(); t.kind == tokEnd {
		return p.wrong(t, "the text ends where "+want+" should come")
	}
	return p.misplaced(fmt.Sprintf("%q stands where %s should come", p.peek().text, want))
}

// misplaced returns an error about the token at hand, with msg or with more helpful advice about it.
func (p *parser) misplaced(msg string) error {
	t := p.peek()
	switch {
	case t.kind == tokWord && t.hint() != "":
		return p.wrong(t, fmt.Sprintf("%q: %s", t.text, t.hint()))
	case t.is("||"):
		return p.wrong(t, `"||" (a fallback) is not supported; say the hours with ";"`)
	case t.is("(") && p.at(1).hint() != "":
		return p.wrong(t, p.at(1).hint())
	}
	return p.wrong(t, msg)
}
