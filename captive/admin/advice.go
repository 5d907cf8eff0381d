package admin

import (
	"slices"
	"strings"
	"time"

	"passerelle/appliance/state"
	"passerelle/captive/web"
)

// advice describes the box's state for staff: why residents have no internet, what staff can do, and sentences to read out to
// residents.
type advice struct {
	Pictogram string // of the State
	Good      bool   // residents have internet
	Lines     []string
	Do        []string // none if there is nothing to do
	Say       []string // sentences to read out
	Also      []string // problems that a technician should hear of
}

// adviceOf composes the advice for a box.
func adviceOf(w *web.Words, box state.Status, now time.Time) advice {
	key, at := causeOf(box, now)
	var pairs []string
	if !at.IsZero() {
		pairs = []string{"when", w.When(at.In(now.Location()), now)}
	}
	a := advice{
		Pictogram: statePictograms[box.State], Good: box.State == state.Sharing,
		Lines: w.Lines("staff.state."+key, pairs...),
		Do:    optional(w.Message("staff.do." + key)), Say: optional(w.Message("staff.say."+key, pairs...)),
	}
	if box.State == state.Paused && box.PausedBy != "" {
		a.Lines = append(a.Lines, w.T("staff.by."+pausedBy(box.PausedBy)))
	}
	for _, p := range box.Problems {
		if text := w.T("staff.problem." + problemKind(p)); !slices.Contains(a.Also, text) {
			a.Also = append(a.Also, text)
		}
	}
	if slices.ContainsFunc(box.Donations, weak) {
		a.Also = append(a.Also, w.T("staff.weak"))
	}
	return a
}

// weak reports whether an uplink in use is so slow now that people notice, and staff might be able to help.
func weak(d state.Donation) bool {
	return d.Chosen && d.Rate != nil && d.Rate.DownHeld == heldLine && d.Rate.Down < weakLine
}

// weakLine is the rate in bit/s below which an uplink counts as weak. It is half of what a video needs, so people notice.
const weakLine = 1_000_000

// causeOf returns the message key for what keeps residents from the internet, or for the State. at is when that ends without
// anybody's doing; zero if that is unknown.
func causeOf(box state.Status, now time.Time) (key string, at time.Time) {
	switch box.State {
	case state.Paused:
		switch {
		case box.PausedBy == "":
			return "paused-by-lenders", at
		case box.PauseEnds && !box.PausedUntil.IsZero():
			return "paused-until", box.PausedUntil
		case box.PauseEnds:
			return "paused-a-day", at
		}
	case state.Closed:
		if box.Opens.After(now) {
			return "closed-until", box.Opens
		}
	case state.Exhausted:
		if box.Clock.Trusted && box.Resets.After(now) {
			return "exhausted-until", box.Resets
		}
	case state.Setup:
		if !box.Setup.IsZero() {
			return "setup-asked", at
		}
	}
	return string(box.State), at
}

// optional returns the lines of a message, or nothing if there is no such message.
func optional(message string, err error) []string {
	if err != nil {
		return nil
	}
	return strings.Split(message, "\n")
}

// pausedBy names who paused sharing. The result is a key below staff.by.
func pausedBy(by string) string {
	switch by {
	case "staff":
		return "staff"
	case aTechnician:
		return "technician"
	case "the button":
		return "button"
	}
	if strings.HasPrefix(by, state.FleetPrefix) {
		return "fleet"
	}
	return "command"
}

// problemKind says what a problem means to staff: something they can fix by hand, or something to tell a technician.
func problemKind(p state.Problem) string {
	switch p.Code {
	case state.PowerWeak, state.PowerWasWeak:
		return "power"
	case state.BoardHot, state.BoardWarm:
		return "heat"
	case state.DiskErrors, state.DiskReadOnly, state.DiskFails:
		return "card"
	}
	return "technician"
}

// pausable reports whether a pause would change something. A pause without an end can be replaced by a pause until tomorrow.
func pausable(box state.Status) bool {
	switch box.State {
	case state.Sharing, state.Exhausted, state.Offline:
		return true
	case state.Paused:
		return box.PausedBy != "" && !box.PauseEnds
	}
	return false
}

// situation is a problem that one resident has while the others have internet, and a sentence to say to that resident.
type situation struct{ Title, Say string }

// situationsOf returns the usual situations while the box shares, and none otherwise.
func situationsOf(w *web.Words, box state.Status, site state.Site) (all []situation) {
	if box.State != state.Sharing {
		return nil
	}
	add := func(name string, pairs ...string) {
		all = append(all, situation{w.T("staff.one." + name), w.T("staff.one-say."+name, pairs...)})
	}
	if wifi := box.Hotspot.WiFi; wifi != nil {
		if wifi.AtCapacity {
			add("full")
		}
		add("wifi", "name", wifi.SSID)
	}
	add("page", "address", site.Hostname)
	add("ended", "time", w.Duration(site.SessionLength))
	if site.Data > 0 {
		add("data", "size", w.Size(site.Data))
	}
	add("slow")
	return all
}
