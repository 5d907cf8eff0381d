package agenda

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

// property is a content line: NAME;PARAMETER=VALUE:VALUE (RFC 5545, section 3.1). The zero value stands for a missing property.
type property struct {
	line   int    // its first line in the file
	name   string // in upper case
	params string // as written, with a leading semicolon, or ""
	value  string
}

// parseProperty splits a content line. ok is false if the line is not one.
func parseProperty(s string, line int) (p property, ok bool) {
	begin := strings.IndexAny(s, ";:")
	if begin <= 0 {
		return property{}, false
	}
	colon, quoted := -1, false
	for i := begin; i < len(s) && colon < 0; i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ':' && !quoted:
			colon = i
		}
	}
	if colon < 0 { // a quotation mark without its counterpart
		if colon = strings.IndexByte(s, ':'); colon < 0 {
			return property{}, false
		}
	}
	return property{line, strings.ToUpper(strings.TrimSpace(s[:begin])), s[begin:colon], s[colon+1:]}, true
}

// param returns the value of a parameter without its quotation marks, or "" if there is none.
func (p property) param(name string) string {
	quoted := false
	for _, part := range strings.FieldsFunc(p.params, func(r rune) bool {
		quoted = quoted != (r == '"')
		return r == ';' && !quoted
	}) {
		if key, value, _ := strings.Cut(part, "="); strings.EqualFold(strings.TrimSpace(key), name) {
			return strings.ReplaceAll(value, `"`, "")
		}
	}
	return ""
}

// text returns a value of type TEXT (RFC 5545, section 3.3.11) without escapes, control characters other than line ends and tabs, and
// characters that change the direction of text.
func (p property) text() string {
	var b strings.Builder
	escaped := false
	for _, r := range p.value {
		switch {
		case escaped && (r == 'n' || r == 'N'):
			b.WriteByte('\n')
		case !escaped && r == '\\':
			escaped = true
			continue
		case r == '\t' || !unicode.IsControl(r) && !unicode.Is(unicode.Bidi_Control, r):
			b.WriteRune(r)
		}
		escaped = false
	}
	return strings.TrimSpace(b.String())
}

// lines reads content lines. Files come with LF, CRLF and CR, with and without a byte order mark, and folded with spaces or tabs, even
// within a character of several bytes.
type lines struct {
	r      *bufio.Reader
	line   int // lines read so far
	warn   func(line int, what string)
	legacy bool // a line was not UTF-8
}

var (
	// ErrTooLarge is the error for a file of more than MaxFile bytes.
	ErrTooLarge = fmt.Errorf("the file is larger than %d MB", MaxFile/1_000_000)
	errUTF16    = errors.New("the file is in UTF-16: save it as UTF-8")
)

// newLines returns a reader of lines from r, of at most MaxFile bytes.
func newLines(r io.Reader, warn func(line int, what string)) (*lines, error) {
	l := &lines{r: bufio.NewReaderSize(&bounded{r, MaxFile}, 32<<10), warn: warn}
	start, err := l.r.Peek(3)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(start, []byte("\xff\xfe")), bytes.HasPrefix(start, []byte("\xfe\xff")):
		return nil, errUTF16
	case string(start) == "\ufeff":
		_, err = l.r.Discard(len(start))
		return l, err
	}
	return l, nil
}

// bounded fails with ErrTooLarge after left bytes.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (n int, err error) {
	n, err = b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, ErrTooLarge
	}
	return n, err
}

// next returns the next content line, and io.EOF after the last one. Lines that are too long, or not content lines, are left out with a
// warning.
func (l *lines) next() (property, error) {
	for {
		raw, first, whole, err := l.unfold()
		if err != nil {
			return property{}, err
		}
		if !whole {
			l.warn(first, fmt.Sprintf("a line longer than %d kB is left out", maxLine/1000))
			continue
		}
		if !utf8.Valid(raw) {
			if !l.legacy {
				l.warn(first, "the text is not UTF-8; it is read as Windows-1252")
				l.legacy = true
			}
			if raw, err = charmap.Windows1252.NewDecoder().Bytes(raw); err != nil {
				return property{}, err
			}
		}
		p, ok := parseProperty(string(raw), first)
		if !ok {
			l.warn(first, fmt.Sprintf("not a line of a calendar: %.40q", raw))
			continue
		}
		return p, nil
	}
}

// unfold returns the next logical line that is not empty, its first line's number, and whether it is whole or was cut.
func (l *lines) unfold() (raw []byte, first int, whole bool, err error) {
	whole = true
	add := func(b byte) {
		if len(raw) < maxLine {
			raw = append(raw, b)
		} else {
			whole = false
		}
	}
	for read := false; ; {
		b, err := l.r.ReadByte()
		if err == io.EOF && read {
			return raw, first, whole, nil
		}
		if err != nil {
			return nil, 0, false, err
		}
		if !read {
			first = l.line + 1
		}
		if b != '\n' && b != '\r' {
			read = true
			add(b)
			continue
		}
		l.line++
		next, _ := l.r.Peek(2) // the next ReadByte returns the error, if any
		if b == '\r' && bytes.HasPrefix(next, []byte("\n")) {
			l.r.Discard(1)
			next = next[1:]
		}
		switch {
		case !read: // an empty line
		case len(next) > 0 && (next[0] == ' ' || next[0] == '\t'):
			l.r.Discard(1)
		case len(next) == 0 || next[0] != '\r' && next[0] != '\n':
			return raw, first, whole, nil
		}
	}
}
