package directory

import (
	"regexp"
	"strings"
)

var (
	// numbersApart matches what separates the numbers in a cell.
	numbersApart = regexp.MustCompile(`(?i)\s*[|;,/]\s*|\s+(?:ou|et|puis)\s+|[\r\n]+`)
	// phoneStart matches a number up to the words after it ("(accueil)", "poste 12").
	phoneStart = regexp.MustCompile(`^[^0-9+]*(\+?[0-9][0-9 .()\-\x{a0}\x{202f}]*)`)
	// standardPhone matches a number as the standard writes it.
	standardPhone = regexp.MustCompile(`^\+[0-9]+$`)
	// usualPhone matches a number as people write it.
	usualPhone = regexp.MustCompile(`^0 ?[1-9]([ .-]?[0-9]){8}$`)
	// twoNumbers matches the digits of two national numbers that only spaces separated.
	twoNumbers = regexp.MustCompile(`^(0[1-9][0-9]{8})(0[1-9][0-9]{8})$`)
)

// overseas are the country codes of the overseas territories, with the beginnings of their national numbers: 0590, and 0690 for mobile
// telephones.
var overseas = map[string][]string{
	"+262": {"0262", "0263", "0269", "0639", "0692", "0693"},
	"+590": {"0590", "0690", "0691"},
	"+594": {"0594", "0694"},
	"+596": {"0596", "0696", "0697"},
}

// phones reads telephone numbers.
func (c *converter) phones(cell string) (all []Phone) {
	add := func(p Phone) {
		for _, have := range all {
			if have == p {
				return
			}
		}
		if len(all) < maxItems {
			all = append(all, p)
		}
	}
	for _, part := range numbersApart.Split(strings.TrimSpace(cell), -1) {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		digits := ""
		if m := phoneStart.FindStringSubmatch(part); m != nil {
			digits = dialled(m[1])
		}
		numbers := []string{digits}
		if m := twoNumbers.FindStringSubmatch(digits); m != nil {
			numbers = m[1:]
		}
		for _, n := range numbers {
			p, ok := phone(n)
			if !ok {
				p = Phone{Shown: c.text(colPhones, part, 60)}
				c.note(colPhones, "phone", "%s is not a telephone number: it is shown as it is", quoted(part))
			} else if !standardPhone.MatchString(part) && !usualPhone.MatchString(part) {
				c.note(colPhones, "form", "%s is read as %s", quoted(part), p.Shown)
			}
			add(p)
		}
	}
	if len(all) > 1 {
		c.note(colPhones, "several", "%s has %d numbers", quoted(cell), len(all))
	}
	return all
}

// dialled returns a number's digits, with + for the international prefix.
func dialled(s string) string {
	s = strings.ReplaceAll(s, "(0)", "")
	digits := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, s)
	if strings.HasPrefix(s, "+") {
		return "+" + digits
	}
	if rest, ok := strings.CutPrefix(digits, "00"); ok {
		return "+" + rest
	}
	return digits
}

// phone returns a telephone number from its digits: a short number, a French number of 10 digits, or a number with a country code. ok
// is false for anything else.
func phone(n string) (Phone, bool) {
	switch {
	case len(n) == 4 && (n[0] == '1' || n[0] == '3'): // short numbers: 3230, 3960
		return Phone{n[:2] + " " + n[2:], n}, true
	case len(n) == 2 && n[0] == '1', len(n) == 3 && n[0] == '1', len(n) == 6 && strings.HasPrefix(n, "11"):
		return Phone{n, n}, true
	case len(n) == 9 && n[0] != '0': // a spreadsheet removed the zero
		return phone("0" + n)
	case len(n) == 11 && strings.HasPrefix(n, "33"):
		return phone("+" + n)
	case len(n) == 10 && strings.HasPrefix(n, "08"): // not reachable from abroad
		return Phone{"0 " + n[1:4] + " " + n[4:7] + " " + n[7:], n}, true
	case len(n) == 10 && n[0] == '0' && n[1] != '0':
		dial := "+33" + n[1:]
		for code, beginnings := range overseas {
			for _, b := range beginnings {
				if strings.HasPrefix(n, b) {
					dial = code + n[1:]
				}
			}
		}
		return Phone{pairs(n), dial}, true
	case strings.HasPrefix(n, "+33"):
		rest := strings.TrimPrefix(n[3:], "0")
		if len(rest) == 4 {
			return phone(rest)
		}
		if len(rest) != 9 {
			return Phone{}, false
		}
		return phone("0" + rest)
	case strings.HasPrefix(n, "+") && len(n) >= 9 && len(n) <= 16:
		if _, ok := overseas[n[:4]]; ok {
			if rest := strings.TrimPrefix(n[4:], "0"); len(rest) == 9 {
				return Phone{pairs("0" + rest), n[:4] + rest}, true
			}
			return Phone{}, false
		}
		if n[1] == '0' {
			return Phone{}, false
		}
		return Phone{n[:4] + " " + pairs(n[4:]), n}, true
	}
	return Phone{}, false
}

// pairs returns digits with a space after every second one.
func pairs(digits string) string {
	var b strings.Builder
	for i := range len(digits) {
		if i > 0 && i%2 == 0 {
			b.WriteByte(' ')
		}
		b.WriteByte(digits[i])
	}
	return b.String()
}
