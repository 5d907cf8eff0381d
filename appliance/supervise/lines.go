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
	keptLines = 64
	lineLimit = 1024 // bytes
)

// ring keeps the last lines.
type ring struct {
	lines []string // at most keptLines; full, it starts at next
	next  int
}

func (r *ring) add(line string) {
	if len(r.lines) < keptLines {
		r.lines = append(r.lines, line)
		return
	}
	r.lines[r.next] = line
	r.next = (r.next + 1) % keptLines
}

func (r *ring) list() []string {
	return append(append([]string(nil), r.lines[r.next:]...), r.lines[:r.next]...)
}

// readLines calls line for each line of r, without control characters. Lines that are too long, and a last one without
// an end, are left out: a piece of an address doesn't look like one, and no scrubber would know it.
func readLines(r io.Reader, line func(string)) {
	b := bufio.NewReaderSize(r, lineLimit)
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

// complaint matches what programs write when something is wrong. Many go on to say other things before they end.
var complaint = regexp.MustCompile(`(?i)\b(cannot|can't|could not|couldn't|unable|fail(ed|ure)?|errors?|fatal|denied|junk|bad|illegal|invalid|` +
	`no such|not found|unknown|unrecognized|in use|missing|out of memory)\b`)

func complains(line string) bool { return complaint.MatchString(line) }

// addressLike matches whatever could be a device's address: IPv4 in dots (in-addr.arpa names too), IPv6, and a MAC with
// colons, dashes, dots or nothing between its bytes. Times of day match as well; that costs a line, not a secret.
var addressLike = regexp.MustCompile(`(?i)` + strings.Join([]string{
	`\d+\.\d+\.\d+\.\d+`,
	`[0-9a-f]*:[0-9a-f]*:[0-9a-f]*`,
	`[0-9a-f]{2}(-[0-9a-f]{2}){5}`,
	`[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4}`,
	`[0-9a-f]{12}`,
}, "|"))

// WithoutAddresses is a strict Scrub: it drops the whole of a line in which anything looks like a device's address, as
// what stands beside it (a host name, a name looked up) tells as much.
func WithoutAddresses(line string) string {
	if addressLike.MatchString(line) {
		return ""
	}
	return line
}
