package fleet

import "time"

// deaths remembers how connections ended, to know when none can be kept.
type deaths struct {
	line   string
	silent int       // in a row, on that line
	deaf   time.Time // when that line was seen to forget idle connections; zero if it was not
	short  int       // in a row, on any line
	hasty  time.Time // when connections were seen not to last; zero if they were not
}

const (
	maxSilent = 2
	maxShort  = 6
)

// lasting is from when on a connection has lasted: it has answered a ping. One whose pings are not answered ends after two
// intervals, since one ping may be outstanding.
func lasting(ping time.Duration) time.Duration { return 3 * ping }

// add is a connection's end. silent means that nobody said so.
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

// on knows nothing yet of another line. Connections that did not last are remembered: lines may take turns.
func (d *deaths) on(line string) {
	if line != d.line {
		d.line, d.silent, d.deaf = line, 0, time.Time{}
	}
}

// trust says whether a connection may be kept on a line. Once one could not, that is tried again after a day.
func (d *deaths) trust(line string, now time.Time, day time.Duration) bool {
	d.on(line)
	over := func(since time.Time) bool { return since.IsZero() || now.Sub(since) >= day }
	return over(d.deaf) && over(d.hasty)
}
