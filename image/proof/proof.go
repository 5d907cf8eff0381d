// Package proof judges a system on trial from outside its daemon, and marks its slot good on the card once it has proved itself. It
// owns the order of these steps and the files that they write: the note for programs without access to the card, and the reason
// why the system does not work. It must not know how a slot is booted, nor what restarts a box whose system does not prove itself.
package proof

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"passerelle/appliance/control"
	"passerelle/appliance/health"
	"passerelle/appliance/plan"
	"passerelle/appliance/state"
	"passerelle/image/slot"
	"passerelle/image/update"
)

// Prover judges the system in the running slot. All its fields but Pace are required.
type Prover struct {
	Card  slot.Card
	Note  string // the file that tells other programs the state of the slots
	State string // folder of the daemon's state, for the reason why a system did not prove itself
	// Works returns why the box does not work, nil if it works.
	Works  func(context.Context) error
	Uptime func() time.Duration // since the start of the kernel
	Pace   health.Pace
	Ready  func(about string) // called once the note is written
	Log    *slog.Logger
}

// Run waits until the running slot has proved itself, and then marks it good on the card. It returns an error only if the slot does
// not prove itself in time: then the box must restart. It returns nil at once if no slot is on trial or the card cannot be read, and
// when ctx ends.
func (p Prover) Run(ctx context.Context) error {
	s, _, err := p.Card.Read()
	if err != nil {
		p.Log.Error("no slot is on trial", "error", err)
		p.Ready("no slot is on trial")
		return nil
	}
	running := p.Card.Running
	p.tell(s)
	switch {
	case s.Good == running:
		p.Ready("slot " + string(running) + " has proved itself")
		return nil
	case s.Slot != running:
		p.Ready("slot " + string(s.Slot) + " is booted next")
		return nil
	}
	p.Ready("slot " + string(running) + " is on trial")
	trial := health.Trial{Pace: p.Pace}
	p.tried("it was cut off before it could say more", state.TrialSilent)
	last := error(nil)
	switch trial.Run(ctx, p.Uptime, p.Works, func(failing error) {
		if last = failing; failing != nil {
			p.Log.Info("the box does not work yet", "slot", running, "why", failing)
		} else {
			p.Log.Info("the box works", "slot", running, "good in", trial.Settles())
		}
	}) {
	case health.Expired:
		if last == nil {
			last = &health.Unproven{Reason: state.TrialLate, Err: errors.New("it worked too late")}
		}
		p.tried(last.Error(), health.ReasonOf(last))
		return fmt.Errorf("slot %s has not proved itself within %v: the box restarts; %d more tries are left: %w", running, trial.Limit(), s.Tries, last)
	case health.Good:
		p.tried("", "")
		return p.markGood(ctx)
	}
	return nil
}

func (p Prover) tell(s slot.State) {
	if err := slot.NoteOf(p.Card.Running, s).Write(p.Note); err != nil {
		p.Log.Error("the daemon goes on as on trial", "error", err)
	}
}

func (p Prover) tried(why string, code state.TrialReason) {
	if err := (update.Trial{Slot: p.Card.Running, Why: why, Code: string(code)}).Write(p.State); err != nil {
		p.Log.Error("why this slot does not prove itself will not be known", "error", err)
	}
}

// markAgain is the time between attempts to write the card.
const markAgain = 10 * time.Second

// markGood marks the running slot good. It retries until the card can be written, because a box that works is not restarted for that.
func (p Prover) markGood(ctx context.Context) error {
	for {
		s, err := p.Card.Update(func(s slot.State) slot.State { return s.MarkGood(p.Card.Running) })
		if err == nil {
			p.Log.Info("the slot has proved itself", "slot", p.Card.Running)
			p.tell(s)
			return nil
		}
		p.Log.Error("the slot works, but that cannot be written", "slot", p.Card.Running, "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(markAgain):
		}
	}
}

// BoxWorks returns why the box does not work, nil if it works. It judges from outside the daemon: by the daemon's status, and by a
// request to its pages at the hotspot's address, which pages makes.
func BoxWorks(ctx context.Context, box control.Client, pages func(netip.AddrPort) error) error {
	s, err := box.Status(ctx)
	if err != nil {
		return err
	}
	if err := health.Proves(s); err != nil {
		return err
	}
	hotspot, err := netip.ParsePrefix(s.Hotspot.Address)
	if err != nil {
		return fmt.Errorf("the hotspot's address: %w", err)
	}
	if err := pages(netip.AddrPortFrom(hotspot.Addr(), plan.PortPortal)); err != nil {
		return &health.Unproven{Reason: state.TrialPages, Err: err}
	}
	return nil
}
