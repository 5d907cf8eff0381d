package appliance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/decide"
	"passerelle/appliance/ledger"
	"passerelle/netctl"
)

// Session returns the resident's running session.
func (b *Box) Session(addr netip.Addr) (Session, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	s, ok := b.sessions[addr]
	if !ok {
		return s, false
	}
	s.Left = s.Ends.Sub(b.Now())
	return s, s.Left > 0
}

// View returns what residents' pages need to know.
func (b *Box) View() View {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.view
}

// Admit starts a session for the resident, or returns the running one. Packets pass when it returns.
func (b *Box) Admit(ctx context.Context, addr netip.Addr) (s Session, err error) {
	if doErr := b.do(ctx, func(context.Context) { s, err = b.admit(addr) }); doErr != nil {
		return s, doErr
	}
	return s, err
}

func (b *Box) admit(addr netip.Addr) (Session, error) {
	mac, err := b.Gate.Neighbor(addr)
	if err != nil {
		return Session{}, errors.Join(ErrUnknown, err)
	}
	if s, ok := b.Session(addr); ok && s.MAC == mac && s.Data > 0 {
		return s, nil
	}
	if b.decision.State != decide.Sharing {
		return Session{}, ErrNotSharing
	}
	// One device has one session: its last address's ends. So does that of whom the address was given to before.
	for other, s := range maps.Clone(b.sessions) {
		if (s.MAC == mac) != (other == addr) {
			b.read()
			if err := b.end(other); err != nil {
				return Session{}, err
			}
		}
	}
	data := b.dataLeft(mac)
	if data == 0 {
		return Session{}, ErrDataSpent
	}
	length := b.Config.Limits.Session
	s := Session{
		Session: netctl.Session{Addr: addr, MAC: mac, Left: length, Data: data},
		Ends:    b.Now().Add(length), Length: length,
	}
	if err := b.Gate.Admit(s.Session); err != nil {
		return Session{}, err
	}
	b.set(s)
	b.Wake() // more may be spent from now on
	return s, nil
}

// dataLeft returns the bytes that a device may still use today.
func (b *Box) dataLeft(mac netctl.MAC) uint64 {
	limit := uint64(b.Config.Limits.Data)
	if limit == 0 {
		return netctl.Unlimited
	}
	return limit - min(limit, b.usage[mac])
}

func (b *Box) set(s Session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sessions[s.Addr] = s
}

// End ends the resident's session. Ending none is no error.
func (b *Box) End(ctx context.Context, addr netip.Addr) (err error) {
	if doErr := b.do(ctx, func(context.Context) {
		b.read()
		err = b.end(addr)
	}); doErr != nil {
		return doErr
	}
	return err
}

// read takes over the kernel's counters, once there are any.
func (b *Box) read() {
	if !b.applied {
		return
	}
	s, err := b.Gate.Read()
	if err != nil {
		b.problem(err)
		return
	}
	b.sample = s
	b.count()
}

func (b *Box) end(addr netip.Addr) error {
	b.mu.Lock()
	delete(b.sessions, addr)
	b.mu.Unlock()
	return b.Gate.End(addr)
}

// count takes over what the kernel counted and ended. What runs in the kernel without being known here is from before
// a crash and taken up.
func (b *Box) count() {
	now := b.Now()
	running := make(map[netip.Addr]Session, len(b.sample.Sessions))
	var spent []netip.Addr
	for _, k := range b.sample.Sessions {
		s, ok := b.sessions[k.Addr]
		if !ok || s.MAC != k.MAC {
			s = b.adopt(k, now)
		}
		if k.Counted > s.counted {
			b.usage[k.MAC] += k.Counted - s.counted
		}
		s.counted = k.Counted
		s.Data = k.Data
		if k.Spent {
			spent = append(spent, k.Addr)
		}
		running[k.Addr] = s
	}
	// A session that the kernel does not show may have been flushed by somebody: the gate puts it back.
	for addr, s := range b.sessions {
		if _, ok := running[addr]; !ok && s.Ends.Sub(now) > 2*time.Second {
			running[addr] = s
		}
	}
	b.mu.Lock()
	b.sessions = running
	b.mu.Unlock()
	for _, addr := range spent {
		b.problem(b.end(addr))
	}
}

// adopt takes up a session that was found in the kernel. How it began is not known; what it used today follows from what
// it may still use.
func (b *Box) adopt(k netctl.Session, now time.Time) Session {
	if limit := uint64(b.Config.Limits.Data); limit != 0 && k.Data <= limit {
		b.usage[k.MAC] = max(b.usage[k.MAC], limit-k.Data)
	}
	return Session{
		Session: k, Ends: now.Add(k.Left), Length: max(b.Config.Limits.Session, k.Left), counted: k.Counted,
	}
}

// resume takes up the sessions that the last daemon set aside.
func (b *Box) resume() {
	now := b.Now()
	n := 0
	for _, k := range b.Aside {
		if _, ok := b.sessions[k.Addr]; ok || k.Left <= 0 || k.Spent {
			continue
		}
		if err := b.Gate.Admit(k); err != nil {
			b.problem(err)
			continue
		}
		k.Counted = 0
		b.set(b.adopt(k, now))
		n++
	}
	b.Aside = nil
	if n > 0 {
		b.Log.Info("sessions taken up", "count", n)
	}
}

// newDay gives everybody the day's data anew, also to those whose session runs.
func (b *Box) newDay(today time.Time) {
	first := b.day.IsZero()
	b.day = today
	if first {
		return
	}
	b.read()
	b.usage = map[netctl.MAC]uint64{}
	b.regrant()
}

// regrant gives running sessions the data that is due to them now. Their time goes on.
func (b *Box) regrant() {
	for addr, s := range maps.Clone(b.sessions) {
		s.Data = b.dataLeft(s.MAC)
		if s.Data == 0 {
			b.problem(b.end(addr))
			continue
		}
		s.Left = s.Ends.Sub(b.Now())
		if s.Left <= 0 {
			continue
		}
		s.counted = 0
		if err := b.Gate.Admit(s.Session); err != nil {
			b.problem(err)
			continue
		}
		b.set(s)
	}
}

// ErrRestart says that a configuration cannot be taken up while the daemon runs.
var ErrRestart = errors.New("hotspot.interface, hotspot.address or box.hostname changed: restart passerelle to take it up")

// Reconfigure takes up another configuration. Sessions go on, with the new limits.
func (b *Box) Reconfigure(ctx context.Context, c *config.Config) (err error) {
	doErr := b.do(ctx, func(loop context.Context) {
		old := b.Config
		if old.Hotspot.Address != c.Hotspot.Address || old.Hotspot.Interface != c.Hotspot.Interface || old.Box.Hostname != c.Box.Hostname {
			err = ErrRestart
			return
		}
		b.Config = c
		if old.Limits.Data != c.Limits.Data {
			b.read()
			b.regrant()
		}
		b.round(loop)
	})
	return errors.Join(doErr, err)
}

// Pause stops sharing until Resume; by says who, for status. Sessions keep their time.
func (b *Box) Pause(ctx context.Context, by string) error { return b.setPaused(ctx, by) }

// Resume ends a pause.
func (b *Box) Resume(ctx context.Context) error { return b.setPaused(ctx, "") }

// setPaused returns once the kernel follows, or why it does not yet.
func (b *Box) setPaused(ctx context.Context, by string) (err error) {
	doErr := b.do(ctx, func(loop context.Context) {
		b.pausedBy = by
		b.round(loop)
		if b.unmet != nil {
			err = fmt.Errorf("it is noted, but the kernel does not follow yet (passerelle status says when it does): %w", b.unmet)
		}
	})
	return errors.Join(doErr, err)
}

// keep hands on what shall outlive a crash, when it changed.
func (b *Box) keep() {
	k := Kept{PausedBy: b.pausedBy, Accounts: map[string]ledger.Account{}}
	changed := k.PausedBy != b.kept.PausedBy
	for name, a := range b.accounts {
		k.Accounts[name] = *a
		// What crossed since then follows from the line's counter.
		was, ok := b.kept.Accounts[name]
		changed = changed || !ok || was.Granted != a.Granted || !was.Period.Equal(a.Period) || was.Index != a.Index
	}
	if !changed {
		return
	}
	if err := b.Keep(k); err != nil {
		b.problem(err)
		return
	}
	b.kept = k
}
