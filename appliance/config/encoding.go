package config

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// notUTF8 returns the problem of a text that is not UTF-8, with its line. is is false if the text is UTF-8.
func notUTF8(text []byte) (p Problem, is bool) {
	switch {
	case bytes.HasPrefix(text, []byte{0xff, 0xfe}), bytes.HasPrefix(text, []byte{0xfe, 0xff}):
		return Problem{Line: 1, Msg: `the file is UTF-16, which Windows calls "Unicode"; save it as UTF-8`}, true
	case utf8.Valid(text):
		return Problem{}, false
	}
	at := 0
	for r, size := utf8.DecodeRune(text); r != utf8.RuneError || size != 1; r, size = utf8.DecodeRune(text[at:]) {
		at += size
	}
	return Problem{
		Line: bytes.Count(text[:at], []byte("\n")) + 1,
		Msg: fmt.Sprintf("the byte %02X is not UTF-8: an editor has saved the file as Latin-1 or Windows-1252 (ANSI); save it as UTF-8",
			text[at]),
	}, true
}

// assignment matches a line with "key = value".
var assignment = regexp.MustCompile(`^\s*([A-Za-z0-9_.-]+)[\s\x{a0}\x{202f}]*=[\s\x{a0}\x{202f}]*(.*?)\s*$`)

// adviceFor says what to write instead of a line that is not TOML. It returns "" if it has no advice. It does not show secrets.
func adviceFor(line string) string {
	switch m := assignment.FindStringSubmatch(line); {
	case m == nil || m[2] == "" || namesSecret(line):
	case strings.ContainsAny(m[2][:min(len(m[2]), 3)], "\u201c\u201d\u201e\u00ab"):
		return fmt.Sprintf("the quotation marks are not straight ones; write %s = %q", m[1],
			strings.Trim(m[2], "\u201c\u201d\u201e\u00ab\u00bb\u00a0\u202f "))
	case strings.ContainsAny(m[2][:1], "\"'[{"):
	default:
		value, _, _ := strings.Cut(m[2], "#")
		value = strings.TrimRight(value, " \t")
		if _, last, ok := strings.Cut(m[1], "."); ok {
			m[1] = last
		}
		units := map[bool][]unit{true: rateUnits, false: sizeUnits}[slices.Contains([]string{"download", "upload", "rate"}, m[1])]
		as := ""
		switch m[1] {
		case "download", "upload", "rate", "cap", "reserve", "data":
			as = asWritten(value, units)
		case "session", "lease":
			as = durationAsWritten(value)
		}
		if as == "" {
			as = value
		}
		return fmt.Sprintf("text needs quotes: write %s = %q", m[1], as)
	}
	if strings.ContainsAny(line, "\u00a0\u202f") {
		return "there is a no-break space (U+00A0) in the line; replace it with a plain one"
	}
	return ""
}
