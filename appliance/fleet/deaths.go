package fleet

import "time"

// deaths remembers how connections ended. From this it tells when a line cannot keep a connection open.
type deaths struct {
	line   string
	silent int       // silent deaths in a row on that line
	deaf   time.Time // when that line was seen to drop idle connections; zero if it was not
	short  int       // short connections in a row, on any line
	hasty  time.Time // when connections were seen to be short; zero if they were not
}

const (
	maxSilent = 2
	maxShort  = 6
)

// lasting is the age from which a connection counts as lasting: it has answered a ping. A connection whose pings are not answered ends
// after two intervals, since one ping may be outstanding.
func lasting(ping time.Duration) time.Duration { return 3 * ping }

// add records the end of a connection. silent means that it ended without an error from the other side.
func (d *deaths) add(line string, now time.Time, lasted, silent bool) {
	d.on(line)
	if lasted {
		d.silent, d.short = 0, 0
		return
	}
	if d.short++; d.short >= maxShort {
		d.short, d.hasty = 0, now
	}
	if !silent {
		d.silent = 0
	} else if d.silent++; d.silent >= maxSilent {
		d.silent, d.deaf = 0, now
	}
}

// on switches to another line, of which nothing is known yet. Short connections are still remembered, since lines may alternate.
func (d *deaths) on(line string) {
	if line != d.line {
		d.line, d.silent, d.deaf = line, 0, time.Time{}
	}
}

// trust tells whether a connection may be kept open on a line. If it may not, the line is tried again after a day.
func (d *deaths) trust(line string, now time.Time, day time.Duration) bool {
	d.on(line)
	over := func(since time.Time) bool { return since.IsZero() || now.Sub(since) >= day }
	return over(d.deaf) && over(d.hasty)
}
