// Package updates decides when the box fetches a release, and when it restarts into one. It is pure: it must not know how files cross
// a line, nor how a slot is written.
//
// # Fetching
//
// By default a release is fetched while nobody has a session, so that no resident shares a line with it. If the configuration has
// hours for updates, it is fetched in these, also beside residents, at the rate of the box's other downloads. In both cases only over
// the uplink in use, while its cap is not used up, within the donation's budget. If somebody at the box asks for it, it is fetched at
// any hour.
//
// # Starting
//
// A restart ends all sessions. So it waits until nobody has one, and then for a time when nobody is about to come: the box is closed,
// or it is night, or the box was switched on a moment ago, since many boxes are unplugged every evening and have no night. In hours
// for updates it waits only for sessions.
package updates

import (
	"time"

	"passerelle/appliance/hours"
	"passerelle/appliance/state"
)

// Facts are what the decisions depend on.
type Facts struct {
	State    state.State
	Sessions int
	Now      time.Time // the time in the box's zone
	Trusted  bool      // the clock is right
	Up       time.Duration
	Hours    *hours.Schedule // for updates; nil if none are configured
	Pressed  bool            // somebody asked for it
}

// Wait is why something is not done now; "" if it may be.
type Wait string

// The reasons.
const (
	Residents Wait = "residents" // somebody has a session
	Hours     Wait = "hours"     // it is not in the hours for updates
	Clock     Wait = "clock"     // the time is not known
	Quiet     Wait = "quiet"     // neither closed, nor night, nor just switched on
)

// When a box may restart on its own.
const (
	nightBegins = 2 // o'clock
	nightEnds   = 5
	JustOn      = 10 * time.Minute // since boot
)

// Fetch returns why no release is fetched now, "" if it may be.
func Fetch(f Facts) Wait {
	switch {
	case f.Pressed:
		return ""
	case f.Hours == nil && f.Sessions > 0:
		return Residents
	case f.Hours == nil:
		return ""
	}
	return inHours(f)
}

// Start returns why the box does not restart into a release that is ready, "" if it may.
func Start(f Facts) Wait {
	switch {
	case f.Sessions > 0:
		return Residents
	case f.Hours != nil:
		return inHours(f)
	case f.State == state.Closed, f.Up < JustOn:
		return ""
	case !f.Trusted:
		return Quiet
	case f.Now.Hour() >= nightBegins && f.Now.Hour() < nightEnds:
		return ""
	}
	return Quiet
}

func inHours(f Facts) Wait {
	switch {
	case !f.Trusted:
		return Clock
	case !f.Hours.Open(f.Now):
		return Hours
	}
	return ""
}
