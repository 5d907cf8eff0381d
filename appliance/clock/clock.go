// Package clock tells whether the machine's time of day can be trusted. A board has no clock battery: it starts at some time in the
// past, and is correct only once the clock is set. Until then no cap's period resets, opening hours are not enforced and no day ends.
// The package owns how trust is gained and lost. It must not know what time is used for, and never sets the clock.
//
// Trust is gained when
//
//   - the kernel's clock is disciplined, as chrony, systemd-timesyncd and ntpd report to it (adjtimex(2): STA_UNSYNC is clear), or
//   - a technician confirms the time (Confirm). What a resident's device says never counts.
//
// Trust is lost when the time of day steps against the time since boot by more than [Step] while the clock is not disciplined: somebody
// set it. It is not lost when the network fails: a crystal drifts by seconds a day. It never survives a reboot, because a board that
// was unplugged does not know for how long.
package clock

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Step is how far an undisciplined clock may deviate from the time since boot before it counts as set.
const Step = 5 * time.Minute

// Source is where times are read.
type Source struct {
	Now         func() time.Time     // the time of day
	SinceBoot   func() time.Duration // including suspend
	Disciplined func() bool          // the kernel's clock is synchronised to a time server
}

// Trust is what is known about the time of day, to be saved for the daemon's next start in the same boot. The zero value means no
// trust.
type Trust struct {
	By     string        `json:"by,omitempty"` // how it was gained: ByServer, or who confirmed it; "" for no trust
	Offset time.Duration `json:"offset"`       // between the time of day (since 1970) and the time since boot
}

// ByServer is Trust.By if a time server was reached.
const ByServer = "a time server"

// Clock tells the time of day and whether it is trusted. Its methods are safe for concurrent use.
type Clock struct {
	source Source

	mu    sync.Mutex
	trust Trust
}

// New returns a clock that starts with the trust of an earlier one in this boot.
func New(s Source, saved Trust) *Clock { return &Clock{source: s, trust: saved} }

// System returns the machine's clock.
func System() Source { return Source{Now: time.Now, SinceBoot: SinceBoot, Disciplined: disciplined} }

// Now returns the time of day, and the trust in it.
func (c *Clock) Now() (now time.Time, t Trust) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, offset := c.sample()
	switch {
	case c.source.Disciplined():
		c.trust = Trust{By: ByServer, Offset: offset}
	case c.trust.By != "" && (offset-c.trust.Offset).Abs() > Step:
		c.trust = Trust{}
	}
	return now, c.trust
}

// Confirm marks the time of day as correct; by says who confirmed it.
func (c *Clock) Confirm(by string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, offset := c.sample()
	c.trust = Trust{By: by, Offset: offset}
}

func (c *Clock) sample() (now time.Time, offset time.Duration) {
	now = c.source.Now()
	return now, time.Duration(now.UnixNano()) - c.source.SinceBoot()
}

// SinceBoot returns the time since the machine booted, which setting the clock does not change (clock_gettime(2), CLOCK_BOOTTIME).
func SinceBoot() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// disciplined asks the kernel (include/uapi/linux/timex.h). An error, as in some containers, means no.
func disciplined() bool {
	_, ok := MaxError()
	return ok
}

// MaxError returns how far the kernel's clock may be off, according to what disciplines it (adjtimex(2): maxerror). ok is false while
// nothing does.
func MaxError() (d time.Duration, ok bool) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil || state == timeError || t.Status&unix.STA_UNSYNC != 0 {
		return 0, false
	}
	return time.Duration(t.Maxerror) * time.Microsecond, true
}

// timeError is TIME_ERROR.
const timeError = 5
