package hours

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// words maps what people write, in lower-case letters without accents, to the words of the syntax: all English words, and French ones
// if they have only one meaning. "" is a word without a meaning.
var words = map[string]string{
	"close": "off", "closed": "off",
	"ferme": "off", "fermee": "off", "fermes": "off", "fermees": "off", "fermeture": "off",
	"ouvert": "open", "ouverte": "open", "ouverts": "open", "ouvertes": "open", "ouverture": "open",
	"always": "24/7", "nonstop": "24/7", "anytime": "24/7", "always open": "24/7", "always closed": "off",
	"ferie": "ph", "feries": "ph", "jour ferie": "ph", "jours feries": "ph",
	"public holiday": "ph", "public holidays": "ph", "holiday": "ph", "holidays": "ph",
	"vacances scolaires": "sh", "school holiday": "sh", "school holidays": "sh", "schoolholiday": "sh", "schoolholidays": "sh",
	"paques": "easter", "days": "day", "jour": "day", "jours": "day",
	"daily": "daily", "everyday": "daily", "every day": "daily", "all days": "daily", "tous les jours": "daily",
	"weekend": "weekend", "weekends": "weekend", "week-end": "weekend", "week-ends": "weekend",
	"semaine": "week", "semaines": "week", "weeks": "week",
	"et": ",", "and": ",", "a": "-", "au": "-", "to": "-", "until": "-", "till": "-", "til": "-", "through": "-", "as": "-", "ate": "-", "до": "-",
	"de": "", "du": "", "le": "", "les": "", "er": "", "midi": "12:00",
}

// englishDays and frenchDays are the names of days that are always read, by time.Weekday. The first English one is the standard name.
var (
	englishDays = [7][]string{
		{"su", "sun", "sunday", "sundays"}, {"mo", "mon", "monday", "mondays"}, {"tu", "tue", "tues", "tuesday", "tuesdays"},
		{"we", "wed", "wednesday", "wednesdays"}, {"th", "thu", "thur", "thurs", "thursday", "thursdays"},
		{"fr", "fri", "friday", "fridays"}, {"sa", "sat", "saturday", "saturdays"},
	}
	frenchDays = [7][]string{
		{"dim", "dimanche", "dimanches"}, {"lun", "lundi", "lundis"}, {"mardi", "mardis"}, {"mer", "mercredi", "mercredis"},
		{"jeu", "jeudi", "jeudis"}, {"ven", "vend", "vendredi", "vendredis"}, {"sam", "samedi", "samedis"},
	}
)

// shortDays are French days in two letters. Some of them are days in other languages, so they are read only if no day has an English
// name. Sa is the same in both.
var shortDays = map[string]time.Weekday{"lu": 1, "ma": 2, "me": 3, "je": 4, "ve": 5, "di": 0}

// monthNames are the names of months.
var monthNames = [13][]string{
	{},
	{"jan", "january", "janvier", "janv"}, {"feb", "february", "fevrier", "fevr", "fev"}, {"mar", "march", "mars"},
	{"apr", "april", "avril", "avr"}, {"may", "mai"}, {"jun", "june", "juin"}, {"jul", "july", "juillet", "juil"},
	{"aug", "august", "aout"}, {"sep", "sept", "september", "septembre"}, {"oct", "october", "octobre"},
	{"nov", "november", "novembre"}, {"dec", "december", "decembre"},
}

// named maps every name of a day or a month to its standard name.
var named = func() map[string]string {
	all := map[string]string{}
	for day := range englishDays {
		for _, n := range slices.Concat(englishDays[day], frenchDays[day]) {
			all[n] = englishDays[day][0]
		}
	}
	for _, names := range monthNames[1:] {
		for _, n := range names {
			all[n] = names[0]
		}
	}
	return all
}()

// among tells whether a token is one of the names.
func (t token) among(names [][]string) bool {
	return t.kind == tokWord && slices.ContainsFunc(names, func(n []string) bool { return slices.Contains(n, t.word) })
}

// isEnglish and isFrench tell whether a token is a day in only that language.
func (t token) isEnglish() bool { return t.among(englishDays[:]) && t.word != "sa" }
func (t token) isFrench() bool  { return t.among(frenchDays[:]) || t.isShort() }

// isShort tells whether a token is a French day in two letters.
func (t token) isShort() bool {
	_, short := shortDays[t.word]
	return t.kind == tokWord && short
}

// weekday returns the weekday, or -1 if the token is not a weekday.
func (t token) weekday() time.Weekday {
	for day := time.Sunday; day <= time.Saturday; day++ {
		if t.isWord(englishDays[day][0]) {
			return day
		}
	}
	return -1
}

// month returns the month, or 0 if the token is not a month.
func (t token) month() time.Month {
	for month := time.January; month <= time.December; month++ {
		if t.isWord(monthNames[month][0]) {
			return month
		}
	}
	return 0
}

// name replaces words by their standard names, joins those that are one word, and removes those without a meaning.
func name(all []token) ([]token, error) {
	for i, t := range all {
		if t.kind != tokWord || t.word != "mar" {
			continue
		}
		if isDay(all, i) {
			return nil, &Error{t.pos, fmt.Sprintf("%q: mardi (Tu) or March (Mar)? Write Tu for the day; for the month write its days, "+
				"as in Mar 01-31", t.text)}
		}
	}
	english := slices.ContainsFunc(all, token.isEnglish)
	var out []token
	for i := 0; i < len(all); i++ {
		t := all[i]
		if t.kind != tokWord {
			out = append(out, t)
			continue
		}
		for n := 3; n >= 2; n-- { // several words that mean one
			if i+n >= len(all) {
				continue
			}
			var parts []string
			for _, part := range all[i : i+n] {
				if part.kind == tokWord {
					parts = append(parts, part.word)
				}
			}
			if _, one := words[strings.Join(parts, " ")]; one && len(parts) == n {
				t.word, t.end, i = strings.Join(parts, " "), all[i+n-1].end, i+n-1
				break
			}
		}
		if t.word == "week" && i+2 < len(all) && all[i+1].is("-") && strings.HasPrefix(all[i+2].word, "end") { // week-end
			t.word, t.end, i = "weekend", all[i+2].end, i+2
		}
		if usual, ok := words[t.word]; ok {
			switch usual {
			case "":
				continue
			case ",", "-", "24/7":
				t.kind = tokSign
			case "12:00":
				t.kind, t.value = tokTime, 12*60
			}
			t.word = usual
		} else if usual, ok := named[t.word]; ok {
			t.word = usual
		} else if day, ok := shortDays[t.word]; ok {
			if english {
				return nil, &Error{t.pos, fmt.Sprintf("%q: the names of days are French and English; write Mo Tu We Th Fr Sa Su", t.text)}
			}
			t.word = englishDays[day][0]
		}
		switch t.word {
		case "daily", "weekend": // as days
			t.word = englishDays[map[string]time.Weekday{"daily": 1, "weekend": 6}[t.word]][0]
			to := t
			to.word, to.line = englishDays[0][0], false
			out = append(out, t, token{kind: tokSign, word: "-", pos: t.pos, end: t.end, text: t.text}, to)
		default:
			out = append(out, t)
		}
	}
	return out, nil
}

// isDay tells whether the "mar" at i may mean mardi: next to days, in a text with French names of days, or before hours alone.
func isDay(all []token, i int) bool {
	at := func(n int) token {
		if n < 0 || n >= len(all) {
			return token{}
		}
		return all[n]
	}
	day := func(t token) bool { return t.among(englishDays[:]) || t.isFrench() }
	month := func(t token) bool { return t.among(monthNames[:]) }
	joins := func(t token) bool { return t.is("-") || t.is(",") || t.isWord("au") || t.isWord("a") || t.isWord("et") }
	before, after := at(i-1), at(i+1)
	switch {
	case slices.ContainsFunc(all, token.isFrench):
		return true
	case joins(after) && day(at(i+2)), joins(before) && day(at(i-2)):
		return true
	case month(at(i-2)) && joins(before), before.kind == tokNumber, joins(before) && at(i-2).kind == tokNumber,
		joins(after) && month(at(i+2)), joins(after) && at(i+2).kind == tokNumber && month(at(i+3)), day(after),
		after.word == "ph", after.word == "sh",
		after.is(":") && day(at(i+2)):
		return false
	case after.kind != tokNumber:
		return true
	}
	// "Mar 9-12" alone may be hours. If hours follow, or if it is written as 09-12, it is days of March.
	to, next := at(i+3), at(i+4)
	hours := at(i+2).is("-") && to.kind == tokNumber && to.value <= 24 && !strings.HasPrefix(after.text, "0")
	return hours && (next.kind == tokEnd || next.kind == tokSign)
}

// hint returns what to write instead of a word that is never valid, "" for a word that is valid elsewhere.
func (t token) hint() string {
	switch t.word {
	case "sunrise", "sunset", "dawn", "dusk":
		return "the sun's hours are not known here; write a time"
	case "sauf", "except", "hors":
		return `write what is left out as a rule of its own, as in "Mo-Fr 09:00-12:00; PH off"`
	case "off", "open", "unknown", "week", "ph", "sh", "easter", "day":
		return ""
	}
	if t.isMonth() || t.isWeekday() {
		return ""
	}
	return "unknown word; days are Mo Tu We Th Fr Sa Su PH SH, months Jan to Dec, and a closed day is off"
}
