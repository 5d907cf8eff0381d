package hours

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// maxText bounds the text, in bytes. OpenStreetMap's own values end at 255.
const maxText = 2000

// firstYear and lastYear bound the years that a date may name.
const (
	firstYear = 2000
	lastYear  = 2099
)

// parser walks over the tokens of one text.
type parser struct {
	tokens []token // the last one is always tokEnd
	next   int
}

// parse reads the whole text.
func parse(text string) ([]rule, error) {
	if len(text) > maxText {
		return nil, &Error{maxText, fmt.Sprintf("longer than %d bytes", maxText)}
	}
	if strings.TrimSpace(text) == "" {
		return []rule{{}}, nil
	}
	tokens, err := scan(text)
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: tokens}
	rules, err := p.rules()
	if err != nil {
		return nil, err
	}
	for i := range rules {
		if err := refuseSlip(text, rules, i); err != nil {
			return nil, err
		}
	}
	return rules, nil
}

// refuseSlip refuses what the specification reads in a way that nobody means: an open rule without hours beside a comma
// would be open day and night, where people mean the hours on the other side ("Mo-Fr, 09:00-17:00", "Sa 09:00-12:00, Su") or
// its "off" ("PH, Dec 24 off"); and hours alone after a semicolon would replace all that stands before them, on every day
// ("Mo-Fr 09:00-12:00; 14:00-18:00").
func refuseSlip(text string, rules []rule, i int) error {
	r := &rules[i]
	said := text[r.pos:r.end]
	joined := r.added || i+1 < len(rules) && rules[i+1].added
	switch {
	case r.off:
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
			if p.peek().kind == tokEnd { // a last semicolon is common and harmless
				return rules, nil
			}
		case p.accept(","):
			added = true
		case t.kind == tokEnd:
			return rules, nil
		default:
			return nil, p.misplaced(fmt.Sprintf(`%q cannot follow here; write "," between hours and ";" before another rule, `+
				"and in a rule years, dates, week, days, hours, open or off in this order", t.text))
		}
	}
}

// rule reads one rule, up to the separator after it.
func (p *parser) rule() (rule, error) {
	r := rule{pos: p.peek().pos}
	start := p.next
	var comment *token
	if t := p.peek(); t.kind == tokComment && p.at(1).is(":") {
		comment = &t
		p.next += 2
		start = p.next
	}
	if p.peek().is("24/7") {
		r.always = true
		p.next++
	} else {
		for _, selector := range []func(*rule) error{p.dates, p.weeks, p.weekdays, p.times} {
			if err := selector(&r); err != nil {
				return r, err
			}
		}
	}
	said := true // whether it is open
	switch t := p.peek(); {
	case p.acceptWord("off"), p.acceptWord("closed"):
		r.off = true
	case p.acceptWord("open"):
	case t.isWord("unknown"):
		return r, p.wrong(t, `"unknown" is neither open nor closed; leave the rule out`)
	case p.next == start && t.kind == tokComment:
		return r, p.wrong(t, "a comment alone gives no hours")
	case p.next == start:
		return r, p.unexpected("a day, a date or hours")
	default:
		said = r.hasHours()
	}
	if t := p.peek(); t.kind == tokComment {
		comment = &t
		p.next++
	}
	if !said && comment != nil {
		return r, p.wrong(*comment, fmt.Sprintf(`%s is no hours: with nothing but a comment the day would be open from 00:00 to 24:00; `+
			`write hours before it, or "off" if it is open for few only`, comment.text))
	}
	last := p.tokens[p.next-1]
	r.end = last.pos + len(last.text)
	return r, nil
}

// dates reads years, months and dates, and the colon that may stand after them.
func (p *parser) dates(r *rule) error {
	start := p.next
	if p.peek().kind == tokNumber && p.peek().is4Digits() && !p.at(1).isMonth() {
		if err := p.years(r); err != nil {
			return err
		}
	}
	year := 0 // a year holds for the rest of the list
	for p.peek().isMonth() || p.peek().kind == tokNumber && p.at(1).isMonth() {
		dates, err := p.dateRange(&year)
		if err != nil {
			return err
		}
		r.dates = append(r.dates, dates)
		for p.peek().is(",") && p.at(1).kind == tokNumber && !p.at(2).isMonth() { // Dec 25,26
			p.next++
			dates, err := p.dayRange(dates.to / 100 * 100)
			if err != nil {
				return err
			}
			r.dates = append(r.dates, dates)
		}
		if !p.peek().is(",") || !p.at(1).isMonth() && !(p.at(1).kind == tokNumber && p.at(2).isMonth()) {
			break
		}
		p.next++
	}
	if p.next > start {
		p.accept(":")
	}
	return nil
}

// years reads "2026" or "2026-2028".
func (p *parser) years(r *rule) error {
	from, err := p.number(firstYear, lastYear, "a year")
	if err != nil {
		return err
	}
	r.years = span{from, from}
	if !p.accept("-") {
		return nil
	}
	t := p.peek()
	if r.years.to, err = p.number(firstYear, lastYear, "a year"); err != nil {
		return err
	}
	if r.years.to < from {
		return p.wrong(t, fmt.Sprintf("%d is before %d", r.years.to, from))
	}
	return nil
}

// dateRange reads "Jul", "Jul-Aug", "Jul 01", "Jul 01-14", "Jul 01-Aug 31", each month with or without a year before it.
// year is the last one given, 0 for none; dateRange keeps it up to date.
func (p *parser) dateRange(year *int) (dateRange, error) {
	from, wholeMonth, err := p.date(year)
	if err != nil {
		return dateRange{}, err
	}
	if !p.peek().is("-") {
		if wholeMonth {
			return dateRange{from + 1, from + lastDay(from)}, nil
		}
		return dateRange{from, from}, nil
	}
	if !wholeMonth && p.at(1).kind == tokNumber && !p.at(2).isMonth() {
		p.next-- // back on the first day
		return p.dayRange(from / 100 * 100)
	}
	p.next++
	end := p.peek()
	to, toWholeMonth, err := p.date(year)
	switch {
	case err != nil:
		return dateRange{}, err
	case wholeMonth != toWholeMonth:
		return dateRange{}, p.wrong(end, "only one end of the range has a day; write both, as in Jul 01-Aug 31")
	case from < 10000 && to >= 10000:
		return dateRange{}, p.wrong(end, "a year stands at the end of the range and none at its beginning")
	case from >= 10000 && to < from && end.kind == tokNumber:
		return dateRange{}, p.wrong(end, "the range ends before it begins")
	case from >= 10000 && to < from: // 2026 Dec 24-Jan 02
		to += 10000
		*year++
	}
	if wholeMonth {
		from, to = from+1, to+lastDay(to)
	}
	return dateRange{from, to}, nil
}

// date reads a month, perhaps with a year before it and a day after it. Without a day the last two digits are 00.
func (p *parser) date(year *int) (date int, wholeMonth bool, err error) {
	if p.peek().kind == tokNumber {
		if *year, err = p.number(firstYear, lastYear, "a year"); err != nil {
			return 0, false, err
		}
	}
	if !p.peek().isMonth() {
		return 0, false, p.unexpected("a month (Jan, Feb, …)")
	}
	month := int(p.peek().month())
	p.next++
	date = *year*10000 + month*100
	if p.peek().kind != tokNumber || p.peek().is4Digits() {
		return date, true, nil
	}
	day, err := p.number(1, lastDay(date), "a day of "+time.Month(month).String())
	return date + day, false, err
}

// dayRange reads "24" or "24-31" within the month that date names.
func (p *parser) dayRange(month int) (dateRange, error) {
	name := "a day of " + time.Month(month/100%100).String()
	from, err := p.number(1, lastDay(month), name)
	if err != nil {
		return dateRange{}, err
	}
	to := from
	if p.peek().is("-") && p.at(1).kind == tokNumber {
		p.next++
		t := p.peek()
		if to, err = p.number(1, lastDay(month), name); err != nil {
			return dateRange{}, err
		}
		if to < from {
			return dateRange{}, p.wrong(t, fmt.Sprintf("%d is before %d", to, from))
		}
	}
	return dateRange{month + from, month + to}, nil
}

// lastDay returns the last day of a date's month; 29 for a February without a year.
func lastDay(date int) int {
	year := date / 10000
	if year == 0 {
		year = firstYear // a leap year
	}
	return time.Date(year, time.Month(date/100%100)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// weeks reads "week 1-53/2,10", and the colon that may stand after it.
func (p *parser) weeks(r *rule) error {
	if !p.acceptWord("week") {
		return nil
	}
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
		if !p.peek().is(",") || p.at(1).kind != tokNumber {
			break
		}
		p.next++
	}
	p.accept(":")
	return nil
}

// weekdays reads "Mo-Fr,PH", "PH", "PH Mo-Fr", "Sa[1,-1]", and the colon that may stand after them.
func (p *parser) weekdays(r *rule) error {
	for {
		switch {
		case p.acceptWord("PH"):
			r.holiday = true
			if p.peek().isWeekday() {
				if r.weekdays != [7]nthSet{} {
					return p.unexpected(`"," between a list of days and a public holiday that falls on a day`)
				}
				r.both = true
				continue
			}
		case p.peek().isWeekday():
			if err := p.weekdayRange(r); err != nil {
				return err
			}
		default:
			return nil
		}
		t := p.at(1)
		if !p.peek().is(",") || !t.isWeekday() && (r.both || !t.isWord("PH")) {
			break
		}
		p.next++
	}
	p.accept(":")
	return nil
}

// weekdayRange reads "Mo", "Mo-Fr", "Fr-Mo" or "Sa[1]".
func (p *parser) weekdayRange(r *rule) error {
	from := p.peek().weekday()
	p.next++
	if p.accept("[") {
		return p.nth(&r.weekdays[from])
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

// nth reads what stands in "Sa[1,3]", "Sa[1-2]" or "Sa[-1]", from after the bracket.
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

// times reads "08:30-12:00,13:30-19:00".
func (p *parser) times(r *rule) error {
	for p.peek().kind == tokTime {
		start := p.peek()
		from, to := start.value, 0
		p.next++
		if from >= minutesADay {
			return p.wrong(start, "hours begin before 24:00; write them on the next day")
		}
		if p.peek().is("+") {
			return p.unexpected(`"-" and a closing time (an open end has no certain answer)`)
		}
		if !p.accept("-") {
			return p.unexpected(`"-" and a closing time`)
		}
		end := p.peek()
		if end.kind != tokTime {
			return p.unexpected("a closing time, as in 08:30-12:00")
		}
		to = end.value
		p.next++
		if to <= from {
			to += minutesADay // over midnight; 10:00-10:00 is a whole turn of the clock
		}
		r.times = append(r.times, span{from, to})
		if !p.peek().is(",") || p.at(1).kind != tokTime {
			return nil
		}
		p.next++
	}
	return nil
}

// number reads a number within bounds; what names it in the error.
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

// at returns the token i places on; beyond the end, the end.
func (p *parser) at(i int) token { return p.tokens[min(p.next+i, len(p.tokens)-1)] }

func (p *parser) accept(sign string) bool {
	if !p.peek().is(sign) {
		return false
	}
	p.next++
	return true
}

func (p *parser) acceptWord(word string) bool {
	if !p.peek().isWord(word) {
		return false
	}
	p.next++
	return true
}

func (p *parser) wrong(t token, msg string) error { return &Error{t.pos, msg} }

// unexpected complains about the token at hand.
func (p *parser) unexpected(want string) error {
	if t := p.peek(); t.kind == tokEnd {
		return p.wrong(t, "the text ends where "+want+" should come")
	}
	return p.misplaced(fmt.Sprintf("%q stands where %s should come", p.peek().text, want))
}

// misplaced complains about the token at hand with msg, or with what is better to know about it.
func (p *parser) misplaced(msg string) error {
	t := p.peek()
	switch {
	case t.kind == tokWord && t.hint() != "":
		return p.wrong(t, fmt.Sprintf("%q: %s", t.text, t.hint()))
	case t.is("||"):
		return p.wrong(t, `"||" (a fallback) is not supported; say the hours with ";"`)
	}
	return p.wrong(t, msg)
}

// token is one word, number, time, sign or comment.
type token struct {
	kind  tokenKind
	pos   int // byte offset in the text
	text  string
	value int // of a number; of a time, in minutes
}

type tokenKind int

const (
	tokEnd tokenKind = iota
	tokWord
	tokNumber
	tokTime
	tokSign // - , ; : / [ ] + || 24/7
	tokComment
)

func (t token) is(sign string) bool     { return t.kind == tokSign && t.text == sign }
func (t token) isWord(word string) bool { return t.kind == tokWord && strings.EqualFold(t.text, word) }
func (t token) is4Digits() bool         { return len(t.text) == 4 }
func (t token) isWeekday() bool         { return t.weekday() >= 0 }
func (t token) isMonth() bool           { return t.month() > 0 }

// weekday returns -1 for what is none. Places write "Sun" beside "Su".
func (t token) weekday() time.Weekday {
	for day := time.Sunday; day <= time.Saturday; day++ {
		if t.isWord(day.String()[:2]) || t.isWord(day.String()[:3]) {
			return day
		}
	}
	return -1
}

// month returns 0 for what is none.
func (t token) month() time.Month {
	for month := time.January; month <= time.December; month++ {
		if t.isWord(month.String()[:3]) {
			return month
		}
	}
	return 0
}

// hint says what to write instead of a word that is never right, "" for one that is right elsewhere.
func (t token) hint() string {
	switch strings.ToLower(t.text) {
	case "sunrise", "sunset", "dawn", "dusk":
		return "the sun's hours are not known here; write a time"
	case "sh":
		return "school holidays are not known here; write their dates, as in Jul 05-Aug 31"
	case "easter":
		return "write PH for the public holidays, or the date"
	case "lu", "ma", "me", "je", "ve", "di", "lun", "mar", "mer", "jeu", "ven", "sam", "dim":
		return "days are written in English: Mo Tu We Th Fr Sa Su"
	case "off", "closed", "open", "week", "ph":
		return ""
	}
	if t.isMonth() || t.isWeekday() {
		return ""
	}
	return "unknown word; days are Mo Tu We Th Fr Sa Su PH, months Jan to Dec"
}

// scan cuts the text into tokens.
func scan(text string) ([]token, error) {
	var tokens []token
	for i := 0; i < len(text); {
		rest := text[i:]
		char, size := utf8.DecodeRuneInString(rest)
		t := token{pos: i}
		switch {
		case char == ' ' || char == '\t' || char == '\n' || char == '\r' || char == '\u00a0' || char == '\u202f':
			i += size
			continue
		case char == '"' || char == '＂': // exporters write the wide one for the other
			length := strings.IndexAny(rest[size:], "\"＂")
			if length < 0 {
				return nil, &Error{i, "the comment has no closing quote"}
			}
			_, closing := utf8.DecodeRuneInString(rest[size+length:])
			t.kind, t.text = tokComment, rest[:size+length+closing]
			i += len(t.text)
			tokens = append(tokens, t)
			continue
		case strings.HasPrefix(rest, "24/7"):
			t.kind, t.text = tokSign, "24/7"
		case strings.HasPrefix(rest, "||"):
			t.kind, t.text = tokSign, "||"
		case strings.ContainsRune("-,;:/[]+", char):
			t.kind, t.text = tokSign, rest[:size]
		case char == '–' || char == '—': // word processors make them of a hyphen
			tokens = append(tokens, token{kind: tokSign, pos: i, text: "-"})
			i += size
			continue
		case isDigit(rest[0]):
			if err := t.scanNumber(rest); err != nil {
				return nil, err
			}
		case isLetter(rest[0]):
			t.kind, t.text = tokWord, rest[:prefixLen(rest, isLetter)]
		default:
			return nil, &Error{i, fmt.Sprintf("%q has no meaning here", char)}
		}
		i += len(t.text)
		tokens = append(tokens, t)
	}
	return append(tokens, token{kind: tokEnd, pos: len(text)}), nil
}

// scanNumber reads a number, or a time of the day up to 48:00.
func (t *token) scanNumber(rest string) error {
	digits := prefixLen(rest, isDigit)
	if digits > 4 {
		return &Error{t.pos, fmt.Sprintf("%s… is too long a number", rest[:5])}
	}
	t.kind, t.text = tokNumber, rest[:digits]
	t.value, _ = strconv.Atoi(t.text) // at most four digits
	after := rest[digits:]
	if len(after) >= 1 && (after[0] == 'h' || after[0] == 'H') {
		return &Error{t.pos, fmt.Sprintf("write a time as 08:30, not %sh", t.text)}
	}
	if len(after) < 2 || after[0] != ':' || !isDigit(after[1]) {
		return nil
	}
	minuteDigits := prefixLen(after[1:], isDigit)
	t.kind, t.text = tokTime, rest[:digits+1+minuteDigits]
	minutes, _ := strconv.Atoi(after[1 : 1+min(minuteDigits, 3)])
	if digits > 2 || minuteDigits != 2 || minutes > 59 || t.value*60+minutes > 2*minutesADay {
		return &Error{t.pos, fmt.Sprintf("%.8s is not a time (00:00 to 24:00, up to 48:00 for the next day)", t.text)}
	}
	t.value = t.value*60 + minutes
	return nil
}

func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

// prefixLen returns how many bytes at the beginning of s satisfy is.
func prefixLen(s string, is func(byte) bool) int {
	for i := range len(s) {
		if !is(s[i]) {
			return i
		}
	}
	return len(s)
}
