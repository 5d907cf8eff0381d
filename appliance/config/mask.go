package config

import (
	"bytes"
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Masks has the secrets of texts that people see and change. In a masked text, a placeholder such as "********1" stands for each secret
// until the text is unmasked. The zero value has no secrets.
type Masks struct {
	secrets []masking
	taken   int // placeholders up to this number are in use, or appear in a text without standing for a secret
}

// masking is a secret.
type masking struct {
	number  int
	written string // as written in the text: with its quotes, if it has any
	plain   string // the secret itself; "" if it cannot be parsed
}

// placeholders matches placeholders: as quoted values, and anywhere else.
var placeholders = regexp.MustCompile(`"\*{8}[0-9]{1,6}"|\*{8}[0-9]{1,6}`)

// inComment matches a secret that was commented out.
var inComment = regexp.MustCompile(`(?i)(?:pass(?:word|phrase)|\bpin)[ \t]*=[ \t]*("(?:[^"\\\r\n]|\\.)*"|'[^'\r\n]*')`)

// Mask replaces each secret in a text by a placeholder, even where a comment or another value repeats it. The text does not need to be
// a valid configuration, or even TOML. The same secret has the same placeholder in all texts of m.
func (m *Masks) Mask(text []byte) []byte {
	for _, found := range placeholders.FindAll(text, -1) {
		if n, err := strconv.Atoi(strings.Trim(string(found), `"*`)); err == nil {
			m.taken = max(m.taken, n)
		}
	}
	var out []byte
	at := 0
	for _, s := range secretSpans(text) {
		out = append(out, text[at:s.start]...)
		out = append(out, '"')
		out = append(out, m.add(string(text[s.start:s.end])).placeholder()...)
		out = append(out, '"')
		at = s.end
	}
	out = append(out, text[at:]...)
	longestFirst := slices.SortedFunc(slices.Values(m.secrets), func(a, b masking) int { return cmp.Compare(len(b.plain), len(a.plain)) })
	for _, s := range longestFirst {
		if len(s.plain) >= 8 && !strings.Contains(example, s.plain) {
			out = bytes.ReplaceAll(out, []byte(s.plain), []byte(s.placeholder()))
		}
	}
	return out
}

// Unmask replaces the placeholders in a masked text by the secrets of m. If a value is a placeholder for no secret of m, the error is of
// type Problems.
func (m *Masks) Unmask(file string, text []byte) ([]byte, error) {
	var problems Problems
	var out []byte
	at := 0
	for _, found := range placeholders.FindAllIndex(text, -1) {
		quoted := text[found[0]] == '"'
		n, _ := strconv.Atoi(strings.Trim(string(text[found[0]:found[1]]), `"*`)) // it has at most six digits
		i := slices.IndexFunc(m.secrets, func(s masking) bool { return s.number == n })
		out = append(out, text[at:found[0]]...)
		at = found[1]
		switch {
		case i >= 0 && quoted:
			out = append(out, m.secrets[i].written...)
		case i >= 0:
			out = append(out, m.secrets[i].plain...)
		default:
			out = append(out, text[found[0]:found[1]]...)
			if quoted {
				problems = append(problems, Problem{
					File: file, Line: 1 + bytes.Count(text[:found[0]], []byte("\n")),
					Msg: fmt.Sprintf("%s stands for no password here; write the password", text[found[0]:found[1]]),
				})
			}
		}
	}
	if problems != nil {
		return nil, problems
	}
	return append(out, text[at:]...), nil
}

// add returns the masking of a secret, which is added if it is new. written is the secret as written in the text.
func (m *Masks) add(written string) masking {
	if i := slices.IndexFunc(m.secrets, func(s masking) bool { return s.written == written }); i >= 0 {
		return m.secrets[i]
	}
	m.taken++
	plain, _ := ParseValue(written).(string)
	s := masking{m.taken, written, plain}
	m.secrets = append(slices.Clip(m.secrets), s) // a copy of m may share the array
	return s
}

func (s masking) placeholder() string { return strings.Repeat("*", 8) + strconv.Itoa(s.number) }

// secretSpans returns the positions of all secrets in a text, in order. In a part that is not TOML, everything after the equals sign
// counts as a secret if the line contains the name of a secret key.
func secretSpans(text []byte) (spans []span) {
	add := func(s span) {
		within := func(other span) bool { return other.start <= s.start && s.end <= other.end }
		if s.start < s.end && !slices.ContainsFunc(spans, within) {
			spans = append(spans, s)
		}
	}
	t := parseTree(text)
	for _, p := range t.places {
		key := p.path[strings.LastIndexByte(p.path, '.')+1:]
		key, _, _ = strings.Cut(key, "[")
		if value := string(text[p.value:p.end]); p.value > 0 && isSecret(key) && value != `""` && value != `''` {
			add(span{p.value, p.end})
		}
	}
	for _, c := range t.comments {
		for _, found := range inComment.FindAllSubmatchIndex(text[c.start:c.end], -1) {
			if s := (span{c.start + found[2], c.start + found[3]}); !strings.Contains(example, string(text[s.start:s.end])) {
				add(s)
			}
		}
	}
	if t.failedAt >= 0 || t.tooDeep > 0 {
		for at := t.lineStart(min(t.pos, len(text))); at < len(text); at = t.lineEnd(at) {
			line := bytes.TrimRight(text[at:t.lineEnd(at)], "\r\n")
			words := strings.FieldsFunc(string(line), func(r rune) bool { return !unicode.IsLetter(r) })
			if equals := bytes.IndexByte(line, '='); equals >= 0 && slices.ContainsFunc(words, isSecret) {
				value := bytes.TrimLeft(line[equals+1:], " \t")
				add(span{at + len(line) - len(value), at + len(line)})
			}
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	return slices.CompactFunc(spans, func(next, before span) bool { return next.start < before.end })
}
