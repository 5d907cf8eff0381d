package appliance

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/ledger"
	"passerelle/appliance/state"
	"passerelle/netctl"
)

// Site returns what pages need to know.
func (b *Box) Site() state.Site {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.site
}

// Config returns the configuration in use: the technician's, with the changes of the box's fleet.
func (b *Box) Config() *config.Config {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.used
}

// Written returns the configuration in use as the technician wrote it.
func (b *Box) Written() *config.Config {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.written
}

// Session returns the resident's running session.
func (b *Box) Session(addr netip.Addr) (state.Session, bool) {
	s, ok := b.residents.session(addr)
	return b.sessionView(s), ok
}

// sessionView returns a session as its resident sees it.
func (b *Box) sessionView(s session) state.Session {
	return state.Session{
		Left: s.Left, Length: s.Length, Extends: s.Extendable(),
		Limited: s.Data < netctl.Unlimited, DataLeft: s.Data, DataGiven: b.Site().Data,
		Slow: s.Slow() && b.Config().Limits.After != 0,
	}
}

// Authorize starts a session for the resident, or returns the running one. It extends one that is about to end to the length of
// a new one, without breaking its connections. Packets pass when it returns.
func (b *Box) Authorize(ctx context.Context, addr netip.Addr) (state.Session, error) {
	var s session
	var err error
	if doErr := b.do(ctx, func(context.Context) { s, err = b.authorize(addr) }); doErr != nil {
		return state.Session{}, doErr
	}
	return b.sessionView(s), err
}

func (b *Box) authorize(addr netip.Addr) (session, error) {
	mac, err := b.parts.Gate.Neighbor(addr)
	if err != nil {
		return session{}, errors.Join(state.ErrUnknown, err)
	}
	r, sharing := b.residents, b.decision.State == state.Sharing
	if s, ok := r.session(addr); ok && s.MAC == mac && (s.Data > 0 || r.slow && r.limits.After != 0) {
		if !s.Extendable() || !sharing || !b.readSample() {
			return s, nil
		}
		if s, ok = r.sessions[addr]; ok { // the counters have not just ended it
			return r.extend(s)
		}
	}
	if !sharing || !r.ready() {
		return session{}, state.ErrNotSharing
	}
	if r.conflicts(addr, mac) {
		b.readSample()
	}
	s, err := r.authorize(addr, mac, b.lines.sharing(b.config.Limits.Data))
	if err == nil {
		b.Wake() // tranches may run out faster now
	}
	return s, err
}

// End ends the resident's session, if it belongs to the device that has the address now. It is not an error if there is no
// session.
func (b *Box) End(ctx context.Context, addr netip.Addr) (err error) {
	if doErr := b.do(ctx, func(context.Context) {
		if s, ok := b.residents.sessions[addr]; ok {
			mac, neighborErr := b.parts.Gate.Neighbor(addr)
			if neighborErr != nil || mac != s.MAC {
				err = errors.Join(state.ErrUnknown, neighborErr)
				return
			}
		}
		b.readSample()
		err = b.residents.end(addr)
	}); doErr != nil {
		return doErr
	}
	return err
}

// NeedsRestart tells whether the box restarts itself for a change of its configuration.
func NeedsRestart(before, after *config.Config) bool { return identity(before) != identity(after) }

// identity returns the settings that need a restart: the box's addresses and its hardware.
func identity(c *config.Config) any {
	type what struct {
		hotspot, radio, hostname string
		address                  netip.Prefix
		hardware                 config.Hardware
	}
	return what{c.Hotspot.Interface, c.Hotspot.Radio, c.Box.Hostname, c.Hotspot.Address, c.Hardware}
}

// Reconfigure applies another configuration, if that needs no restart. Sessions continue, with the new limits. The error says
// why it is not applied, or, with config.Applied, why the kernel has not followed yet. With config.Restart nothing changed,
// and the caller must start another Box. The outcome is "" if ctx has ended or the box has stopped.
func (b *Box) Reconfigure(ctx context.Context, c *config.Config) (outcome config.Outcome, err error) {
	doErr := b.do(ctx, func(loop context.Context) {
		if !b.parts.Configured || NeedsRestart(b.file, c) {
			outcome = config.Restart
			return
		}
		b.file, b.refused = c, nil
		b.merge(b.layers.said)
		b.configure()
		b.reconcile(loop)
		outcome, err = config.Applied, b.notApplied()
	})
	return outcome, errors.Join(doErr, err)
}

// ToggleSetup opens the setup window for length, or closes it. While it is open the State is setup. A restart closes it too.
func (b *Box) ToggleSetup(ctx context.Context, length time.Duration) error {
	return b.change(ctx, func() {
		if b.inSetup() {
			length = 0
		}
		b.setupEnd = b.parts.Now().Add(length)
	})
}

func (b *Box) inSetup() bool { return b.parts.Now().Before(b.setupEnd) }

// change runs f in the loop and reconciles. The error says why the kernel has not followed yet.
func (b *Box) change(ctx context.Context, f func()) (err error) {
	doErr := b.do(ctx, func(loop context.Context) {
		f()
		b.reconcile(loop)
		err = b.notApplied()
	})
	return errors.Join(doErr, err)
}

// notApplied returns an error if the last plan is not applied.
func (b *Box) notApplied() error {
	if b.applyErr == nil {
		return nil
	}
	return fmt.Errorf("accepted, but not applied to the kernel yet (see passerelle status): %w", b.applyErr)
}

// SetDonationPaused pauses a donation until it is resumed, or resumes it; by says who did. While paused, the donation is skipped.
// A pause survives a power cut.
func (b *Box) SetDonationPaused(ctx context.Context, name, by string, paused bool) (err error) {
	doErr := b.do(ctx, func(loop context.Context) {
		n := b.lines.find(name)
		if n < 0 {
			err = fmt.Errorf("%w: %q", state.ErrNoDonation, name)
			return
		}
		pause := ledger.Pause{By: by}
		if !paused {
			pause = ledger.Pause{}
		}
		if err = b.lines.pause(b.lines.all[n], pause); err == nil || paused {
			b.reconcile(loop)
		}
	})
	return errors.Join(doErr, err)
}

// ConfirmTime marks the machine's time of day as trusted; by says who confirmed it.
func (b *Box) ConfirmTime(ctx context.Context, by string) error {
	return b.do(ctx, func(loop context.Context) {
		b.parts.Clock.Confirm(by)
		b.reconcile(loop)
	})
}
