package supervise

import (
	"bufio"
	"errors"
	"io"
	"regexp"
	"strings"
	"unicode"
)

const (
	maxLines      = 64
	maxLineLength = 1024 // bytes
)

// ring keeps the last lines.
type ring struct {
	lines []string // at most keptLines; full, it starts at next
	next  int
}

func (r *ring) add(line string) {
	if len(r.lines) < maxLines {
		r.lines = append(r.lines, line)
		return
	}
	r.lines[r.next] = line
	r.next = (r.next + 1) % maxLines
}

func (r *ring) list() []string {
	return append(append([]string(nil), r.lines[r.next:]...), r.lines[:r.next]...)
}

// readLines calls line for each line of r, without control characters. Lines that are too long, and an unterminated last line, are
// dropped: they may end within an address, and redaction does not recognise a part of one.
func readLines(r io.Reader, line func(string)) {
	b := bufio.NewReaderSize(r, maxLineLength)
	tooLong := false
	for {
		piece, err := b.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			tooLong = true
			continue
		case err != nil:
			return
		}
		if !tooLong {
			line(printable(piece))
		}
		tooLong = false
	}
}

func printable(line []byte) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, strings.TrimSpace(strings.ToValidUTF8(string(line), "")))
}

// errorPattern matches lines about an error. Many programs write further lines before they exit.
var errorPattern = regexp.MustCompile(`(?i)\b(cannot|can't|could not|couldn't|unable|fail(ed|ure)?|errors?|fatal|denied|junk|bad|illegal|invalid|` +
	`no such|not found|unknown|unrecognized|in use|missing|out of memory)\b`)

func looksLikeError(line string) bool { return errorPattern.MatchString(line) }

// addressLike matches anything that could be a device's address: IPv4 with dots (in-addr.arpa names too), IPv6, and a MAC with
// colons, dashes, dots or nothing between its bytes. Times of day match as well: that loses a line, but leaks nothing.
var addressLike = regexp.MustCompile(`(?i)` + strings.Join([]string{
	`\d+\.\d+\.\d+\.\d+`,
	`[0-9a-f]*:[0-9a-f]*:[0-9a-f]*`,
	`[0-9a-f]{2}(-[0-9a-f]{2}){5}`,
	`[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4}`,
	`[0-9a-f]{12}`,
}, "|"))

// WithoutAddresses is a strict Redact: it drops every line in which anything looks like a device's address, because the
// rest of such a line (a host name, a name that was resolved) reveals as much.
func WithoutAddresses(line string) string {
	if addressLike.MatchString(line) {
		return ""
	}
	return line
}
