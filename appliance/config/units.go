package config

import (
	"errors"
	"fmt"
	"math/bits"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// unit is a unit's suffix and its factor.
type unit struct {
	word   string
	factor uint64
}

// The largest unit comes first, so that String finds the shortest form.
var (
	rateUnits = []unit{{"gbit", 1e9}, {"mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}}
	sizeUnits = []unit{{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1}}
)

// ParseRate parses a rate: "4mbit", "1.5mbit", "0". Units are bit, kbit, mbit and gbit, decimal.
func ParseRate(s string) (Rate, error) {
	n, err := parseQuantity("rate", s, rateUnits, `"64kbit", "4mbit" or "1gbit"`)
	return Rate(n), err
}

// ParseSize parses a size: "500MB", "1.5GB", "0". Units are B, kB, MB, GB and TB, decimal.
func ParseSize(s string) (Size, error) {
	n, err := parseQuantity("size", s, sizeUnits, `"500MB" or "200GB"`)
	return Size(n), err
}

// String returns the rate as ParseRate parses it: "4mbit", "1500kbit", "0".
func (r Rate) String() string { return formatQuantity(uint64(r), rateUnits) }

// String returns the size as ParseSize parses it: "500MB", "1500MB", "0".
func (s Size) String() string { return formatQuantity(uint64(s), sizeUnits) }

func formatQuantity(n uint64, units []unit) string {
	if n == 0 {
		return "0"
	}
	for _, u := range units {
		if n%u.factor == 0 {
			return strconv.FormatUint(n/u.factor, 10) + u.word
		}
	}
	panic("config: the last unit must be 1")
}

// parseQuantity parses a decimal number that is directly followed by one of the units. A fraction is allowed if the result is whole.
func parseQuantity(what, s string, units []unit, examples string) (uint64, error) {
	if s == "0" {
		return 0, nil
	}
	if as := asWritten(s, units); as != "" && as != s {
		return 0, fmt.Errorf("invalid %s %q; use %q", what, s, as)
	}
	end := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if end < 0 {
		return 0, fmt.Errorf("%q has no unit; write it as %s", s, examples)
	}
	number, word := s[:end], s[end:]
	var factor uint64
	for _, u := range units {
		if word == u.word {
			factor = u.factor
		}
	}
	whole, fraction, hasPoint := strings.Cut(number, ".")
	if factor == 0 || whole == "" || hasPoint && fraction == "" {
		return 0, fmt.Errorf("invalid %s %q; write it as %s", what, s, examples)
	}
	n, err := parseDecimal(whole, fraction, factor)
	if err != nil {
		return 0, fmt.Errorf("%q %w", s, err)
	}
	return n, nil
}

// What people write for units and for no limit, without spaces and in lower case.
var (
	otherUnits = map[string]string{
		"o": "B", "octet": "B", "octets": "B", "b": "B", "byte": "B", "bytes": "B",
		"ko": "kB", "kb": "kB", "kilo": "kB", "kilooctets": "kB", "mo": "MB", "mb": "MB", "mega": "MB", "megas": "MB", "megaoctets": "MB",
		"go": "GB", "gb": "GB", "giga": "GB", "gigas": "GB", "gigaoctets": "GB", "to": "TB", "tb": "TB", "teraoctets": "TB",
	}
	otherRates = map[string]string{
		"bit/s": "bit", "bits/s": "bit", "bps": "bit", "b/s": "bit",
		"k": "kbit", "kbit/s": "kbit", "kbits/s": "kbit", "kbits": "kbit", "kbps": "kbit", "kb/s": "kbit", "kbit": "kbit",
		"m": "mbit", "mbit/s": "mbit", "mbits/s": "mbit", "mbits": "mbit", "mbps": "mbit", "mb/s": "mbit", "mega": "mbit", "megas": "mbit", "mbit": "mbit",
		"g": "gbit", "gbit/s": "gbit", "gbits/s": "gbit", "gbits": "gbit", "gbps": "gbit", "gb/s": "gbit", "giga": "gbit", "gbit": "gbit",
	}
	byteRates = map[string]string{"ko/s": "kbit", "mo/s": "mbit", "go/s": "gbit", "kB/s": "kbit", "KB/s": "kbit", "MB/s": "mbit", "GB/s": "gbit"}
	noLimit   = []string{"illimite", "illimitee", "unlimited", "infini", "aucun", "aucune", "none", "non", "no", "sanslimite", "nolimit", "-"}
)

// plain returns a text without white space, zero-width characters and accents.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, norm.NFKD.String(s))
}

// asWritten returns the correct form of an amount that people write in another way. It returns "" if the meaning is not certain.
func asWritten(s string, units []unit) string {
	text := plain(s)
	if slices.Contains(noLimit, strings.ToLower(text)) {
		return "0"
	}
	end := strings.IndexFunc(text, func(r rune) bool { return (r < '0' || r > '9') && r != '.' && r != ',' })
	if end <= 0 || strings.Count(text[:end], ",")+strings.Count(text[:end], ".") > 1 {
		return ""
	}
	number, word := strings.Replace(text[:end], ",", ".", 1), text[end:]
	others := otherUnits
	if units[len(units)-1].word == "bit" {
		others = otherRates
	}
	unit, known := others[strings.ToLower(word)]
	if bits, ok := byteRates[word]; ok || byteRates[strings.ToLower(word)] != "" {
		if unit = bits; !ok {
			unit = byteRates[strings.ToLower(word)]
		}
		n, err := strconv.ParseFloat(number, 64)
		if err != nil || others["go"] != "" {
			return ""
		}
		number, known = strconv.FormatFloat(n*8, 'f', -1, 64), true
	}
	if !known {
		return ""
	}
	whole, fraction, point := strings.Cut(number, ".")
	if whole == "" || point && fraction == "" {
		return ""
	}
	return number + unit
}

// These errors complete a sentence that begins with the number.
var (
	errTooLarge = errors.New("is too large")
	errNotWhole = errors.New("is not a whole number of the smallest unit")
	errNoNumber = errors.New("is not a number")
)

// parseDecimal returns whole.fraction times factor, which is a power of ten.
func parseDecimal(whole, fraction string, factor uint64) (uint64, error) {
	n, err := strconv.ParseUint(whole, 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		return 0, errTooLarge
	}
	if err != nil {
		return 0, errNoNumber
	}
	high, total := bits.Mul64(n, factor)
	if high != 0 {
		return 0, errTooLarge
	}
	for _, digit := range strings.TrimRight(fraction, "0") {
		if digit == '.' {
			return 0, errNoNumber
		}
		if factor%10 != 0 {
			return 0, errNotWhole
		}
		factor /= 10
		var carry uint64
		if total, carry = bits.Add64(total, uint64(digit-'0')*factor, 0); carry != 0 {
			return 0, errTooLarge
		}
	}
	return total, nil
}

// parseDuration returns a parser for durations of whole seconds within bounds.
func parseDuration(least, most time.Duration) func(string) (time.Duration, error) {
	return func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		switch {
		case err != nil && durationAsWritten(s) != "":
			return 0, fmt.Errorf("%q is not a duration; use %q", s, durationAsWritten(s))
		case err != nil:
			return 0, fmt.Errorf(`%q is not a duration; write it as "30m", "2h" or "1h30m"`, s)
		case d < least || d > most:
			return 0, fmt.Errorf("%q is out of range; write %q to %q", s, formatDuration(least), formatDuration(most))
		case d%time.Second != 0:
			return 0, fmt.Errorf("%q is not a whole number of seconds", s)
		}
		return d, nil
	}
}

// French and English units of durations. Longer words come first.
var (
	durationUnits = strings.NewReplacer(
		"heures", "h", "heure", "h", "hours", "h", "hour", "h", "hrs", "h", "hr", "h", "minutes", "m", "minute", "m", "mins", "m", "min", "m",
		"mn", "m", "secondes", "s", "seconde", "s", "seconds", "s", "second", "s", "sec", "s", "et", "", "and", "", ",", ".",
	)
	hoursOnly = regexp.MustCompile(`^(\d+)h(\d\d)$`)
	wholeDays = regexp.MustCompile(`^(\d{1,3})(?:jours?|j|days?|d)$`)
)

// durationAsWritten returns the correct form of a duration that people write in another way. It returns "" if the meaning is not certain.
func durationAsWritten(s string) string {
	text := strings.ToLower(plain(s))
	if m := wholeDays.FindStringSubmatch(text); m != nil {
		days, _ := strconv.Atoi(m[1]) // at most three digits
		return formatDuration(time.Duration(days) * 24 * time.Hour)
	}
	text = hoursOnly.ReplaceAllString(durationUnits.Replace(text), "${1}h${2}m")
	d, err := time.ParseDuration(text)
	if err != nil || d%time.Second != 0 {
		return ""
	}
	return formatDuration(d)
}

// formatDuration formats a duration of whole seconds like time.Duration's String, but without zero parts: "2h", "1h30m".
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
