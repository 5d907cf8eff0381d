package appliance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/decide"
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
	if _, came := b.usage[mac]; !came {
		b.usage[mac] = 0
		if d := b.chosen(); d != nil {
			d.book.Visit()
		}
	}
	today := b.sharing()
	if _, running := b.sessions[addr]; !running {
		today.Here, today.Had = today.Here+1, today.Had+b.usage[mac]
	}
	data := rest(today, b.usage[mac])
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

func (b *Box) set(s Session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sessions[s.Addr] = s
}

// End ends the resident's session, if it is that of the device that has the address now. That there is none is fine.
func (b *Box) End(ctx context.Context, addr netip.Addr) (err error) {
	if doErr := b.do(ctx, func(context.Context) {
		if s, ok := b.sessions[addr]; ok {
			mac, neighborErr := b.Gate.Neighbor(addr)
			if neighborErr != nil || mac != s.MAC {
				err = errors.Join(ErrUnknown, neighborErr)
				return
			}
		}
		b.read()
		err = b.end(addr)
	}); doErr != nil {
		return doErr
	}
	return err
}

// read takes over the kernel's counters, once there are any. It returns whether it did.
func (b *Box) read() bool {
	if !b.applied {
		return false
	}
	s, err := b.Gate.Read()
	if err != nil {
		b.problem(err)
		return false
	}
	b.sample = s
	b.count()
	return true
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

// share shrinks or widens what running sessions may still use, as the day goes: who came first leaves something for the
// last. Nobody's is changed by a little, since each change is a message to the kernel.
func (b *Box) share() {
	now := b.Now()
	if d := b.chosen(); d == nil || d.Cap == 0 || b.Config.Limits.Data == 0 || now.Sub(b.shared) < reshare {
		return
	}
	b.shared = now
	today := b.sharing()
	for _, s := range b.sessions {
		due := rest(today, b.usage[s.MAC])
		if off := max(due, s.Data) - min(due, s.Data); off > s.Data/8+minShare {
			b.regrant()
			return
		}
	}
}

// regrant gives running sessions the data that is due to them now. Their time goes on.
func (b *Box) regrant() {
	today := b.sharing()
	for addr, s := range maps.Clone(b.sessions) {
		s.Data = rest(today, b.usage[s.MAC])
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

// ErrAnew says that a configuration cannot be taken up by a box that runs: another must begin in its place.
var ErrAnew = errors.New("the hotspot's interface, radio or address, the box's host name or its light and button changed")

// identity is what a box cannot change while it runs: its addresses on the network, and what is wired to it.
func identity(c *config.Config) any {
	type what struct {
		hotspot, radio, hostname string
		address                  netip.Prefix
		hardware                 config.Hardware
	}
	return what{c.Hotspot.Interface, c.Hotspot.Radio, c.Box.Hostname, c.Hotspot.Address, c.Hardware}
}

// Reconfigure takes up another configuration. Sessions go on, with the new limits.
func (b *Box) Reconfigure(ctx context.Context, c *config.Config) (err error) {
	doErr := b.do(ctx, func(loop context.Context) {
		old := b.Config
		if !b.Configured || identity(old) != identity(c) {
			err = ErrAnew
			return
		}
		b.Config = c
		b.configure()
		b.decision.Donation = -1 // the list is another
		b.round(loop)
		if old.Limits.Data != c.Limits.Data {
			b.regrant() // by what is shared now
		}
	})
	return errors.Join(doErr, err)
}

// Pause stops sharing until Resume; by says who, for status. Sessions keep their time.
func (b *Box) Pause(ctx context.Context, by string) error {
	return b.change(ctx, func() { b.pausedBy = by })
}

// Resume ends a pause.
func (b *Box) Resume(ctx context.Context) error {
	return b.change(ctx, func() { b.pausedBy = "" })
}

// TogglePause ends a pause, whoever made it, or pauses: for a button that has no other way to say which.
func (b *Box) TogglePause(ctx context.Context, by string) error {
	return b.change(ctx, func() {
		if b.pausedBy != "" {
			by = ""
		}
		b.pausedBy = by
	})
}

// ToggleSetup opens the technicians' window for so long, or closes it. While it is open the State is setup. It ends with
// the daemon too.
func (b *Box) ToggleSetup(ctx context.Context, length time.Duration) error {
	return b.change(ctx, func() {
		if b.setupAsked() {
			length = 0
		}
		b.setupEnd = b.Now().Add(length)
	})
}

func (b *Box) setupAsked() bool { return b.Now().Before(b.setupEnd) }

// change returns once the kernel follows what f changed, or why it does not yet.
func (b *Box) change(ctx context.Context, f func()) (err error) {
	doErr := b.do(ctx, func(loop context.Context) {
		f()
		b.round(loop)
		if b.unmet != nil {
			err = fmt.Errorf("it is noted, but the kernel does not follow yet (passerelle status says when it does): %w", b.unmet)
		}
	})
	return errors.Join(doErr, err)
}

// SetDonationPaused has a donation passed over until it is resumed; by says who paused it. It outlives a power cut. Of a
// name that is no donation's it returns false.
func (b *Box) SetDonationPaused(ctx context.Context, name, by string, paused bool) (known bool, err error) {
	doErr := b.do(ctx, func(loop context.Context) {
		n := slices.IndexFunc(b.donations, func(d *donation) bool { return d.Name == name })
		if known = n >= 0; !known {
			return
		}
		if !paused {
			by = ""
		}
		if err = b.Accounts.SetPaused(name, by); err != nil && !paused {
			return // what cannot be written must not share more than before
		}
		b.donations[n].pausedBy, b.Paused[name] = by, by
		b.round(loop)
	})
	return known, errors.Join(doErr, err)
}

// ConfirmTime takes the machine's time of day as right; by says on whose word.
func (b *Box) ConfirmTime(ctx context.Context, by string) error {
	return b.do(ctx, func(loop context.Context) {
		b.Clock.Confirm(by)
		b.round(loop)
	})
}

// keep hands on what shall outlive a crash, when it changed.
func (b *Box) keep() {
	k := Kept{PausedBy: b.pausedBy, Trust: b.trust}
	if k.PausedBy == b.kept.PausedBy && k.Trust.By == b.kept.Trust.By && (k.Trust.Offset-b.kept.Trust.Offset).Abs() < time.Second {
		return
	}
	if err := b.Keep(k); err != nil {
		b.problem(err)
		return
	}
	b.kept = k
}
