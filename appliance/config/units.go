package config

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// unit is a word behind a number, and what it multiplies by.
type unit struct {
	word   string
	factor uint64
}

// The largest comes first, so that String finds the shortest writing.
var (
	rateUnits = []unit{{"gbit", 1e9}, {"mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}}
	sizeUnits = []unit{{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1}}
)

// ParseRate reads a rate as the file writes it: "4mbit", "1.5mbit", "0". Units are bit, kbit, mbit and gbit, decimal.
func ParseRate(s string) (Rate, error) {
	n, err := parseQuantity(s, rateUnits, `"64kbit", "4mbit" or "1gbit"`)
	return Rate(n), err
}

// ParseSize reads a size as the file writes it: "500MB", "1.5GB", "0". Units are B, kB, MB, GB and TB, decimal.
func ParseSize(s string) (Size, error) {
	n, err := parseQuantity(s, sizeUnits, `"500MB" or "200GB"`)
	return Size(n), err
}

// String writes the rate so that ParseRate reads the same: "4mbit", "1500kbit", "0".
func (r Rate) String() string { return formatQuantity(uint64(r), rateUnits) }

// String writes the size so that ParseSize reads the same: "500MB", "1500MB", "0".
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

// parseQuantity reads a decimal number, with a fraction if it comes out whole, and one of the units directly behind it.
func parseQuantity(s string, units []unit, examples string) (uint64, error) {
	if s == "0" {
		return 0, nil
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
		} else if strings.EqualFold(strings.TrimSpace(word), u.word) && number != "" && factor == 0 {
			return 0, fmt.Errorf("%q is not read; write %q", s, number+u.word)
		}
	}
	whole, fraction, hasPoint := strings.Cut(number, ".")
	if factor == 0 || whole == "" || hasPoint && fraction == "" {
		return 0, fmt.Errorf("%q is not understood; write it as %s", s, examples)
	}
	n, err := parseDecimal(whole, fraction, factor)
	if err != nil {
		return 0, fmt.Errorf("%q %w", s, err)
	}
	return n, nil
}

// errTooLarge and errNotWhole end a sentence that begins with the number.
var (
	errTooLarge = errors.New("is too large")
	errNotWhole = errors.New("is not a whole number of the smallest unit")
	errNoNumber = errors.New("is not a number")
)

// parseDecimal returns whole.fraction times factor, a power of ten.
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

// parseDuration reads a duration of whole seconds within bounds.
func parseDuration(least, most time.Duration) func(string) (time.Duration, error) {
	return func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		switch {
		case err != nil:
			return 0, fmt.Errorf(`%q is not a duration; write it as "30m", "2h" or "1h30m"`, s)
		case d < least || d > most:
			return 0, fmt.Errorf("%q is out of bounds; write %q to %q", s, formatDuration(least), formatDuration(most))
		case d%time.Second != 0:
			return 0, fmt.Errorf("%q is not a whole number of seconds", s)
		}
		return d, nil
	}
}

// formatDuration writes whole seconds without the empty parts that time.Duration's String has: "2h", "1h30m".
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
