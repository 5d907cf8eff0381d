// Package alerts alerts people to five kinds of event: a box that has been silent for longer than is usual for it, a fault, a cap that was
// spent early, an update that a box went back from (also when so many did that no further box should get it, or that its roll-out was
// halted), and a hub that is away, or whose certificate ends soon. It owns what is sent, when, and how often. It must not know how the hubs
// remember what was sent, nor where events come from.
//
// An event is sent once, by one hub, however long it lasts. If it ends, and comes back a day or more after it was sent, it is sent again. All
// events that are new at a time go into one message, so that a federation-wide power cut is one message. A message names boxes and their
// centres, and nothing about residents: a hub knows nothing about them.
package alerts

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"passerelle/cmd/hub/registry"
	"passerelle/cmd/hub/survey"
)

// Event is something that somebody should know.
type Event struct {
	Key  string // identifies the event, and stays the same as long as it lasts
	Text string // one line
}

// kinds are the needs of a box that are events.
var kinds = []survey.Kind{survey.Silent, survey.Fault, survey.Spent, survey.Fell}

// Of returns the events of boxes, of versions that should be withdrawn, and of hubs that are away.
func Of(boxes []survey.Box, away []string, now time.Time) (events []Event) {
	for _, hub := range away {
		events = append(events, Event{"hub " + hub, "The hub " + hub + " is away."})
	}
	for _, r := range survey.Releases(boxes, now) {
		if r.Halt() {
			events = append(events, Event{"halt " + string(r.Version),
				fmt.Sprintf("Withdraw version %s: %d of %d boxes that tried it went back.", r.Version, r.Fell, r.Tried())})
		}
	}
	current := survey.Current(boxes, now)
	for _, b := range boxes {
		for _, n := range b.Needs(current, now) {
			if !slices.Contains(kinds, n.Kind) {
				continue
			}
			key := []string{string(n.Kind), b.Name, string(n.Code), strconv.Itoa(n.Donation), string(n.Version)}
			events = append(events, Event{strings.Join(key, " "), text(b, n)})
		}
	}
	return events
}

// OfRollout returns the event of a roll-out that a hub has halted, and that waits for a person. It returns nil in any other case.
func OfRollout(r registry.Rollout) []Event {
	if r.Phase != registry.Halted || r.Why == "" {
		return nil
	}
	return []Event{{"rollout " + r.Version, "The roll-out of version " + r.Version + " is halted (" + r.Why + "): resume or abandon it."}}
}

// Two events announce the end of a certificate, this long before it.
const (
	early = 180 * 24 * time.Hour
	late  = 30 * 24 * time.Hour
)

// OfCertificates returns the events of hubs whose certificates end within half a year, after which boxes refuse these hubs.
func OfCertificates(hubs []registry.Hub, at time.Time) (events []Event) {
	for _, h := range hubs {
		for _, before := range []time.Duration{early, late} {
			if h.Until.Sub(at) < before {
				events = append(events, Event{fmt.Sprintf("certificate %s %s %s", h.Name, h.Until.UTC(), before),
					fmt.Sprintf("The certificate of the hub %s ends on %s: make another one (the guide's \"A certificate ends\").", h.Name, h.Until.UTC().Format(time.DateOnly))})
			}
		}
	}
	return events
}

func text(b survey.Box, n survey.Need) string {
	who := fmt.Sprintf("%s: the box %s", b.Association, b.Name)
	if b.Centre != "" {
		who += " (" + b.Centre + ")"
	}
	switch n.Kind {
	case survey.Silent:
		return who + " was not seen since " + n.Since.UTC().Format("2006-01-02 15:04") + "."
	case survey.Fault:
		return who + " has a fault, " + string(n.Code) + ", since " + n.Since.Format(time.DateOnly) + "."
	case survey.Spent:
		return fmt.Sprintf("%s spent the cap of its donation %d in %d days.", who, n.Donation, n.Days)
	}
	return fmt.Sprintf("%s fell back from version %s.", who, n.Version)
}

// Memory is what the hubs remember together. Its methods are safe for concurrent use.
type Memory interface {
	// Claim claims a key for this hub. before is the claim that it takes over, the zero value for none. It returns false if another hub
	// was faster.
	Claim(ctx context.Context, key string, before registry.Claim) (bool, error)
	// Sent notes that the message of a claimed key was sent.
	Sent(ctx context.Context, key string) error
	// Claimed returns all keys that are claimed.
	Claimed(ctx context.Context) (map[string]registry.Claim, error)
	// Release ends the claim of a key.
	Release(ctx context.Context, key string) error
}

// Channel is a way to send messages to people.
type Channel interface {
	// Send sends a message. It returns nil once the message was accepted.
	Send(ctx context.Context, subject string, lines []string) error
	String() string
}

// Options of Run and Tell.
type Options struct {
	Memory   Memory
	Channels []Channel
	Events   func(context.Context) ([]Event, error)
	Now      func() time.Time
	Log      *slog.Logger
}

const (
	every    = time.Minute
	patience = 30 * time.Second
	// calm is how long a hub waits after its start, since it does not know yet what there is.
	calm = 5 * time.Minute
	// again is how long the same event is not sent again: a box may report anything, and as often as it likes.
	again = 24 * time.Hour
	// lost is after how long a claim whose message was not sent is taken over: the hub that claimed it died. It is longer than a call of
	// Tell lasts, with room for hubs whose clocks differ. A hub that dies between sending and noting that has the message sent twice.
	lost = 5 * time.Minute
	// most bounds the events in a message, a line each.
	most = 100
)

// Run calls Tell every minute, until ctx ends. It logs errors.
func Run(ctx context.Context, o Options) {
	for wait := calm; ; wait = every {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if err := Tell(ctx, o); err != nil && ctx.Err() == nil {
			o.Log.Warn("alerts", "err", err)
		}
	}
}

// Tell sends the events that are new, and releases the claims of those that are over. If no channel accepts the message, the next call sends
// it, at any hub.
func Tell(ctx context.Context, o Options) error {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	events, err := o.Events(ctx)
	if err != nil {
		return err
	}
	claimed, err := o.Memory.Claimed(ctx)
	if err != nil {
		return err
	}
	lasts := map[string]bool{}
	var fresh []Event
	for _, e := range events {
		e.Key = hash(e.Key)
		lasts[e.Key] = true
		if c, ok := claimed[e.Key]; !ok || !c.Sent && o.Now().Sub(c.Since) >= lost {
			fresh = append(fresh, e)
		}
	}
	var failures []error
	for key, c := range claimed {
		if !lasts[key] && o.Now().Sub(c.Since) >= again {
			failures = append(failures, o.Memory.Release(ctx, key))
		}
	}
	var ours []string
	var lines []string
	for _, e := range fresh {
		ok, err := o.Memory.Claim(ctx, e.Key, claimed[e.Key])
		failures = append(failures, err)
		if ok {
			ours, lines = append(ours, e.Key), append(lines, e.Text)
		}
	}
	if len(lines) == 0 {
		return errors.Join(failures...)
	}
	subject := fmt.Sprintf("Passerelle: %d alerts", len(lines))
	if len(lines) == 1 {
		subject = "Passerelle: an alert"
	}
	if more := len(lines) - most; more > 0 {
		lines = append(lines[:most:most], fmt.Sprintf("And %d more: see the dashboard.", more))
	}
	taken := false
	for _, c := range o.Channels {
		if err := c.Send(ctx, subject, lines); err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", c, err))
			continue
		}
		taken = true
	}
	// ctx may have ended, so this does not use it.
	later, stop := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer stop()
	note := o.Memory.Sent
	if !taken {
		note = o.Memory.Release
	}
	for _, key := range ours {
		failures = append(failures, note(later, key))
	}
	return errors.Join(failures...)
}

// hash returns the form in which a key is claimed.
func hash(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:12])
}
