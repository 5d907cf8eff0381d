package appliance

import (
	"time"

	"passerelle/appliance/ledger"
)

// day is the calendar day in which residents' data is counted. Its clock may be wrong, untrusted, or set at any time.
type day struct {
	now     time.Time // the time of day, in the box's zone
	trusted bool
	current time.Time // as returned by date; zero until the clock is trusted
}

// date returns a calendar day as its midnight in UTC, so that days of different zones compare.
func date(year int, month time.Month, day int) time.Time {
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}

// today returns the day of the clock.
func (d *day) today() time.Time { return date(ledger.PeriodStart(d.now, "day", 0).Date()) }

// advance starts a new day when the clock is trusted and shows a later day than ever before. It returns whether another day
// ended. If the clock is set back, the current day stays until it is over by the new time, at most until the end of
// tomorrow: two resets of usage are at least one day and at most two days apart.
func (d *day) advance() bool {
	if !d.trusted {
		return false
	}
	today := d.today()
	if tomorrow := today.AddDate(0, 0, 1); d.current.After(tomorrow) {
		d.current = tomorrow
	}
	if !today.After(d.current) {
		return false
	}
	first := d.current.IsZero()
	d.current = today
	return !first
}

// ends returns when usage is reset next.
func (d *day) ends() time.Time {
	last := d.today()
	if d.current.After(last) {
		last = d.current
	}
	y, m, n := last.Date()
	return ledger.PeriodEnd(time.Date(y, m, n, 12, 0, 0, 0, d.now.Location()), "day", 0)
}

// remaining returns how long today's usage counts. While the clock is not trusted no day ends: the kernel gets a later end before
// the returned time is over.
func (d *day) remaining() time.Duration {
	const whole = 24 * time.Hour
	rest := d.ends().Sub(d.now)
	if rest > 2*whole { // the clock was set far back, and is not trusted
		rest = whole + rest%whole
	}
	if !d.trusted {
		rest += whole
	}
	return rest
}
