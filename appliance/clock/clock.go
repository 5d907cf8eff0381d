// Package clock tells whether the machine's time of day can be trusted. A board has no clock battery: it starts at some
// past moment and is right only once somebody set it. Until then no cap's period begins anew, no opening hour closes and no
// day ends. The package owns how trust is won and lost; it must not know what time is used for, and never sets the clock.
//
// Trust is won when
//
//   - the kernel says that its clock is disciplined, which chrony, systemd-timesyncd and ntpd tell it (adjtimex(2):
//     STA_UNSYNC is clear), or
//   - a technician confirms the time (Confirm). What a resident's device says never counts.
//
// It is lost when the time of day steps against the time since boot by more than [Step] while the clock is not disciplined:
// somebody else set it. It is not lost when the network goes: a crystal drifts by seconds a day. It never reaches beyond
// this boot, since a board that was unplugged does not know for how long.
package clock

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Step is how far an undisciplined clock may drift from the time since boot before it counts as set by somebody.
const Step = 5 * time.Minute

// Source is where times come from.
type Source struct {
	Now         func() time.Time     // the time of day
	SinceBoot   func() time.Duration // sleep included
	Disciplined func() bool          // the kernel's clock follows a time server
}

// Trust is what is known of the time of day, to be kept for the daemon's next start in the same boot. Its zero value
// is no trust.
type Trust struct {
	By     string        `json:"by,omitempty"` // how it was won: ByServer, or who confirmed it; "" for not
	Offset time.Duration `json:"offset"`       // of the time of day to the time since boot, since 1970
}

// ByServer says that a time server was reached.
const ByServer = "a time server"

// Clock judges the time of day. Its methods are safe for concurrent use.
type Clock struct {
	source Source

	mu    sync.Mutex
	trust Trust
}

// New returns a clock that goes on from what an earlier one of this boot trusted.
func New(s Source, kept Trust) *Clock { return &Clock{source: s, trust: kept} }

// System is the machine's own source.
func System() Source { return Source{Now: time.Now, SinceBoot: SinceBoot, Disciplined: disciplined} }

// Look returns the time of day, and the trust in it.
func (c *Clock) Look() (now time.Time, t Trust) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, offset := c.read()
	switch {
	case c.source.Disciplined():
		c.trust = Trust{By: ByServer, Offset: offset}
	case c.trust.By != "" && (offset-c.trust.Offset).Abs() > Step:
		c.trust = Trust{}
	}
	return now, c.trust
}

// Confirm takes the time of day as right; by says on whose word.
func (c *Clock) Confirm(by string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, offset := c.read()
	c.trust = Trust{By: by, Offset: offset}
}

func (c *Clock) read() (now time.Time, offset time.Duration) {
	now = c.source.Now()
	return now, time.Duration(now.UnixNano()) - c.source.SinceBoot()
}

// SinceBoot is the time since the machine booted, which no wrong clock moves (clock_gettime(2), CLOCK_BOOTTIME).
func SinceBoot() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// disciplined asks the kernel (include/uapi/linux/timex.h). A refusal, as some containers give, is no.
func disciplined() bool {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return err == nil && state != timeError && t.Status&unix.STA_UNSYNC == 0
}

// timeError is TIME_ERROR.
const timeError = 5
