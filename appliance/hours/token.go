package hours

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// token is one word, number, time, sign or comment.
type token struct {
	kind  tokenKind
	pos   int    // byte offset in the text
	end   int    // byte offset of its end
	text  string // as written
	word  string // the standard form of a word or a sign
	value int    // of a number; of a time, in minutes
	line  bool   // it is the first token of a line
}

type tokenKind int

const (
	tokEnd tokenKind = iota
	tokWord
	tokNumber
	tokTime
	tokSign // - , ; : / [ ] + ( ) || 24/7
	tokComment
)

func (t token) is(sign string) bool     { return t.kind == tokSign && t.word == sign }
func (t token) isWord(word string) bool { return t.kind == tokWord && t.word == word }
func (t token) is4Digits() bool         { return t.kind == tokNumber && len(t.text) == 4 }
func (t token) isWeekday() bool         { return t.weekday() >= 0 }
func (t token) isMonth() bool           { return t.month() > 0 }

// folded is a text in lower-case ASCII letters, signs and digits, where possible, with the original position of each byte.
type folded struct {
	text string
	at   []int // position of each byte of text, and of its end
}

// Signs that are read as others: the hyphens and dashes that word processors insert, and those of other keyboards.
var signs = map[rune]rune{
	'‐': '-', '‑': '-', '‒': '-', '–': '-', '—': '-', '―': '-', '−': '-', '﹘': '-', '－': '-', 'ー': '-', '~': '-', '→': '-',
	'、': ',', '&': ',', '∶': ':', '“': '"', '”': '"', '„': '"', '«': '"', '»': '"', '⁄': '/', '’': '\'',
}

// fold folds a text: letters lose case and accents, signs become the plain ones, spaces of every width become one normal space, and
// characters without width are removed.
func fold(text string) folded {
	var f folded
	var b strings.Builder
	for i, char := range text {
		var as string
		switch {
		case char == '\u2028' || char == '\u2029' || char == '\u0085' || char == '\r' || char == '\n':
			as = "\n"
		case char == '\t' || char == '\v' || char == '\f':
			as = " "
		case unicode.Is(unicode.Cf, char): // zero width spaces and joiners, a byte order mark, soft hyphens
		case char == utf8.RuneError:
			as = "\ufffd"
		default:
			for _, c := range norm.NFKD.String(string(char)) {
				if plain, ok := signs[c]; ok {
					c = plain
				}
				if !unicode.Is(unicode.Mn, c) {
					as += string(unicode.ToLower(c))
				}
			}
		}
		for range len(as) {
			f.at = append(f.at, i)
		}
		b.WriteString(as)
	}
	f.text = b.String()
	f.at = append(f.at, len(text))
	return f
}

// Patterns at the beginning of a folded text. Go's regular expressions have no look-ahead: what may not follow is tested afterwards.
var (
	always   = regexp.MustCompile(`^24(?: ?h)? ?[/x] ?7(?: ?j(?:ours)?\b)?|^24 ?h? ?/ ?24(?: ?h)? ?,? ?7 ?j? ?/ ?7(?: ?j\b)?`)
	allDay   = regexp.MustCompile(`^24 ?h?(?:eures)? ?(?:/|sur) ?24(?: ?h\b)?|^24 hours\b`)
	everyDay = regexp.MustCompile(`^7 ?j?(?:ours)? ?(?:/|sur) ?7(?: ?j(?:ours)?\b)?|^7 days(?: a |/)week\b`)
	clock    = regexp.MustCompile(`^(\d{1,2})[:.](\d\d)`)
	oddClock = regexp.MustCompile(`^(\d+):(\d+)`)
	frClock  = regexp.MustCompile(`^(\d{1,2}) ?h(?:eures?)?\b|^(\d{1,2}) ?h ?(\d\d)\b`)
	spaced   = regexp.MustCompile(`^ (\d\d)\b`)
	hourMark = regexp.MustCompile(`^ ?h\b`)
	halfDay  = regexp.MustCompile(`^ ?([ap])\.?m\b\.?`)
	nextHour = regexp.MustCompile(`^ ?h`)
	number   = regexp.MustCompile(`^\d+`)
)

// scan splits the text into tokens. The last one is tokEnd.
func scan(text string) ([]token, error) {
	f := fold(text)
	var tokens []token
	line := false
	add := func(t token, i, j int) {
		t.pos, t.end, t.line = f.at[i], f.at[j], line
		for t.end < len(text) && !utf8.RuneStart(text[t.end]) {
			t.end++
		}
		t.text = text[t.pos:t.end]
		tokens, line = append(tokens, t), false
	}
	for i := 0; i < len(f.text); {
		rest := f.text[i:]
		char, size := utf8.DecodeRuneInString(rest)
		afterDash := len(tokens) > 0 && tokens[len(tokens)-1].is("-")
		afterDigit := i > 0 && isDigit(f.text[i-1])
		switch {
		case char == '\n':
			line = len(tokens) > 0
			i++
		case unicode.IsSpace(char):
			i += size
		case char == '"':
			length := strings.IndexByte(rest[1:], '"')
			if length < 0 {
				return nil, &Error{f.at[i], "the comment has no closing quote"}
			}
			add(token{kind: tokComment}, i, i+length+2)
			i += length + 2
		case !afterDash && !afterDigit && always.MatchString(rest):
			n := len(always.FindString(rest))
			add(token{kind: tokSign, word: "24/7"}, i, i+n)
			i += n
		case !afterDash && !afterDigit && allDay.MatchString(rest):
			n := len(allDay.FindString(rest))
			add(token{kind: tokTime}, i, i+n)
			add(token{kind: tokSign, word: "-"}, i, i+n)
			add(token{kind: tokTime, value: minutesADay}, i, i+n)
			i += n
		case !afterDash && !afterDigit && everyDay.MatchString(rest):
			n := len(everyDay.FindString(rest))
			add(token{kind: tokWord, word: "daily"}, i, i+n)
			i += n
		case strings.HasPrefix(rest, "||"):
			add(token{kind: tokSign, word: "||"}, i, i+2)
			i += 2
		case strings.ContainsRune("-,;:/[]+()", char):
			add(token{kind: tokSign, word: rest[:1]}, i, i+1)
			i++
		case char == '.' && len(tokens) > 0 && (tokens[len(tokens)-1].kind == tokWord || tokens[len(tokens)-1].kind == tokNumber) &&
			tokens[len(tokens)-1].end == f.at[i]: // lun. 9h, Dec 24.-25.
			i++
		case isDigit(rest[0]):
			t, n, err := scanNumber(rest)
			if err != "" {
				return nil, &Error{f.at[i], err}
			}
			add(t, i, i+n)
			i += n
		case unicode.IsLetter(char):
			n := strings.IndexFunc(rest, func(c rune) bool { return !unicode.IsLetter(c) })
			if n < 0 {
				n = len(rest)
			}
			add(token{kind: tokWord, word: rest[:n]}, i, i+n)
			i += n
		default:
			original, _ := utf8.DecodeRuneInString(text[f.at[i]:])
			return nil, &Error{f.at[i], fmt.Sprintf("%q has no meaning here", original)}
		}
	}
	tokens = append(tokens, token{kind: tokEnd, pos: len(text), end: len(text)})
	return name(tokens)
}

// scanNumber reads a number, or a time of day up to 48:00, such as 8:30, 8.30, 8h30, 8h or 8 am.
func scanNumber(rest string) (t token, n int, problem string) {
	odd := func(n int) string {
		return fmt.Sprintf("%.8s is not a time (00:00 to 24:00, up to 48:00 for the next day)", rest[:n])
	}
	hour, minute := "", "0"
	digitsEnd := func(n int) bool { return n == len(rest) || !isDigit(rest[n]) }
	if m := clock.FindStringSubmatch(rest); m != nil && digitsEnd(len(m[0])) {
		hour, minute, n = m[1], m[2], len(m[0])
		n += len(hourMark.FindString(rest[n:]))
	} else if m := frClock.FindStringSubmatch(rest); m != nil && m[1] != "" {
		hour, n = m[1], len(m[0])
		if m := spaced.FindStringSubmatch(rest[n:]); m != nil && !nextHour.MatchString(rest[n+len(m[0]):]) &&
			strings.HasSuffix(rest[:n], " h") { // 8 h 30
			minute, n = m[1], n+len(m[0])
		}
	} else if m != nil {
		hour, minute, n = m[2], m[3], len(m[0])
	} else if m := oddClock.FindString(rest); m != "" {
		return t, 0, odd(len(m))
	}
	if digits := len(number.FindString(rest)); n == 0 && digits > 4 {
		return t, 0, fmt.Sprintf("%s… is too long a number", rest[:5])
	} else if n == 0 {
		t.kind, n = tokNumber, digits
		t.value, _ = strconv.Atoi(rest[:digits]) // at most four digits
		if m := halfDay.FindString(rest[n:]); m == "" || digits > 2 {
			return t, n, ""
		}
		hour = rest[:digits]
	}
	t.kind = tokTime
	t.value, _ = strconv.Atoi(hour) // at most two digits, and so have the minutes
	minutes, _ := strconv.Atoi(minute)
	if m := halfDay.FindStringSubmatch(rest[n:]); m != nil {
		n += len(m[0])
		if t.value < 1 || t.value > 12 {
			return t, 0, odd(n)
		}
		t.value %= 12
		if m[1] == "p" {
			t.value += 12
		}
	}
	if minutes > 59 || t.value*60+minutes > 2*minutesADay {
		return t, 0, odd(n)
	}
	t.value = t.value*60 + minutes
	return t, n, ""
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
