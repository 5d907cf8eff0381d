package board

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// token is a run of digits or of letters in a folded text.
type token struct {
	text       string
	start, end int
}

func (t token) isNumber() bool { return t.text[0] >= '0' && t.text[0] <= '9' }

// group is a number, in digits or words, within a row of numbers.
type group struct {
	digits     string
	before     string // the text between it and the previous group
	start, end int
}

// maxGap is the greatest number of characters between two groups of a telephone number.
const maxGap = 4

// phone returns the first telephone number.
func (f folded) phone() (part string, ok bool) {
	for _, row := range f.rows() {
		for _, groups := range withoutDates(row) {
			if first, ok := phoneIn(f.text, groups); ok {
				return f.part(groups[first].start, groups[len(groups)-1].end), true
			}
		}
	}
	return "", false
}

// phoneIn returns the first group that a telephone number begins with. Numbers begin with zero or plus. Without these they are
// recognised by their grouping or their length.
func phoneIn(text string, groups []group) (first int, ok bool) {
	rest := ""
	for i := len(groups) - 1; i >= 0; i-- {
		g := groups[i]
		rest = g.digits + rest
		plus := strings.HasSuffix(strings.TrimRight(text[:g.start], " ("), "+")
		switch n := len(rest); {
		case len(g.digits) >= 8,
			plus && n >= 7,
			rest[0] == '0' && n >= 9,
			strings.HasPrefix(rest, "33") && n >= 11 && n <= 12,
			n == 9 && strings.ContainsRune("679", rune(rest[0])) && (lengths(groups[i:], 3, 3, 3) || lengths(groups[i:], 1, 2, 2, 2, 2)):
			first, ok = i, true
		}
	}
	return first, ok
}

// lengths says whether groups have these numbers of digits.
func lengths(groups []group, digits ...int) bool {
	return slices.EqualFunc(groups, digits, func(g group, n int) bool { return len(g.digits) == n })
}

// withoutDates splits a row of numbers at dates, years and times of day.
func withoutDates(row []group) (parts [][]group) {
	start := 0
	for i := 0; i < len(row); {
		n := calendar(row[i:])
		if i > 0 && row[i].before == ":" {
			n = 0
		}
		if n == 0 {
			i++
			continue
		}
		if i > start {
			parts = append(parts, row[start:i])
		}
		i += n
		start = i
	}
	if start < len(row) {
		parts = append(parts, row[start:])
	}
	return parts
}

// calendar returns how many groups at the start of a row are a date, two years or a time of day; 0 for none.
func calendar(row []group) int {
	short := func(i, most int) bool {
		n, err := strconv.Atoi(row[i].digits)
		return err == nil && len(row[i].digits) <= 2 && n <= most
	}
	year := func(i int) bool {
		return len(row[i].digits) == 4 && (strings.HasPrefix(row[i].digits, "19") || strings.HasPrefix(row[i].digits, "20"))
	}
	switch n := len(row); {
	case n >= 3 && short(0, 31) && short(1, 12) && year(2), n >= 3 && year(0) && short(1, 12) && short(2, 31):
		return 3
	case n >= 2 && year(0) && year(1):
		return 2
	case n >= 2 && row[1].before == ":" && short(0, 24) && short(1, 59) && (n == 2 || row[2].before != ":"):
		return 2
	}
	return 0
}

// rows returns the rows of numbers that no other words interrupt.
func (f folded) rows() (rows [][]group) {
	var row []group
	end := func() {
		if row != nil {
			rows, row = append(rows, row), nil
		}
	}
	tokens := tokenize(f.text)
	for i := 0; i < len(tokens); {
		digits, n := number(tokens[i:])
		if n == 0 {
			end()
			i++
			continue
		}
		g := group{digits: digits, start: tokens[i].start, end: tokens[i+n-1].end}
		if row != nil {
			g.before = f.text[row[len(row)-1].end:g.start]
			if utf8.RuneCountInString(g.before) > maxGap {
				end()
			}
		}
		if g.digits != "" {
			row = append(row, g)
		}
		i += n
	}
	end()
	return rows
}

// tokenize splits a text into runs of digits and of letters.
func tokenize(text string) (tokens []token) {
	kind := func(r rune) int {
		switch {
		case r >= '0' && r <= '9':
			return 1
		case unicode.IsLetter(r):
			return 2
		}
		return 0
	}
	start, last := 0, 0
	for i, r := range text + " " {
		k := kind(r)
		if k == last {
			continue
		}
		if last != 0 {
			tokens = append(tokens, token{text[start:i], start, i})
		}
		start, last = i, k
	}
	return tokens
}

// number returns the digits of the number that tokens begin with, and how many tokens it takes; n is 0 if they begin with another word.
func number(tokens []token) (digits string, n int) {
	first := tokens[0]
	if first.isNumber() {
		return first.text, 1
	}
	near := func(i int) bool {
		return i < len(tokens) && tokens[i].start-tokens[i-1].end <= 1
	}
	if first.text == "o" && (near(1) && tokens[1].isNumber() && tokens[1].start == first.end) {
		return "0", 1
	}
	value, ok := numerals[first.text]
	switch {
	case !ok:
		if _, part := fragments[first.text]; part {
			return "", 1
		}
		return "", 0
	case value >= 20 && value < 80, value == 4 && near(1) && strings.HasPrefix(tokens[1].text, "vingt"), value == 10:
	default:
		return strconv.Itoa(value), 1
	}
	// French tens: vingt et un, soixante-dix-huit, quatre-vingt-douze, dix-sept.
	n = 1
	if value == 4 {
		value, n = 80, 2
	}
	if value != 10 && near(n) && tokens[n].text == "et" && near(n+1) {
		n++
	}
	more := func(least, most int) bool {
		if !near(n) {
			return false
		}
		next, ok := numerals[tokens[n].text]
		if !ok || next < least || next > most {
			return false
		}
		value += next
		n++
		return true
	}
	switch {
	case value == 10:
		more(7, 9)
	case value == 60 || value == 80:
		if near(n) && tokens[n].text == "dix" {
			more(10, 10)
			more(7, 9)
		} else {
			more(1, 16)
		}
	default:
		more(1, 9)
	}
	if tokens[n-1].text == "et" {
		n--
	}
	return strconv.Itoa(value), n
}

// numerals are the words for numbers: the French ones, and those of the other languages from zero to nine.
var numerals = func() map[string]int {
	all := map[string]int{"vingt": 20, "vingts": 20, "une": 1, "trente": 30, "quarante": 40, "cinquante": 50, "soixante": 60}
	for _, list := range []string{
		"zero un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize",
		"zero one two three four five six seven eight nine",
		"cero uno dos tres cuatro cinco seis siete ocho nueve",
		"zero um dois tres quatro cinco seis sete oito nove",
		"нуль один два три чотири ять шість сім вісім ять",
		"صفر واحد اثنان ثلاثة اربعة خمسة ستة سبعة ثمانية تسعة",
	} {
		for value, word := range strings.Fields(list) {
			all[fold(word).text] = value
		}
	}
	return all
}()

// fragments are the first parts of words for numbers that an apostrophe divides: п’ять, дев’ять.
var fragments = map[string]struct{}{"п": {}, "дев": {}}
