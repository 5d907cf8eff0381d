package appliance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
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

// extends is how long before its end a session can be made longer.
const extends = 10 * time.Minute

// Extends tells whether Admit makes the session longer: in its last ten minutes, or the second half of one of less than
// twice that.
func (s Session) Extends() bool { return s.Left <= min(extends, s.Length/2) }

// Admit starts a session for the resident, or returns the running one. One that is about to end is made as long again as a
// new one, and nothing that goes on in it is broken. Packets pass when it returns.
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
		if !s.Extends() || b.decision.State != decide.Sharing || !b.read() {
			return s, nil
		}
		if s, ok = b.sessions[addr]; ok { // it has not just ended
			return b.extend(s)
		}
	}
	if b.decision.State != decide.Sharing || !b.tookUp {
		return Session{}, ErrNotSharing
	}
	// One device has one session: its last address's ends. So does that of whom the address was given to before.
	for other, s := range maps.Clone(b.sessions) {
		if s.MAC != mac && other != addr {
			continue
		}
		b.read()
		if s.MAC != mac || other != addr {
			if err := b.end(other); err != nil {
				return Session{}, err
			}
		}
	}
	used, came := b.usage[mac]
	if !came && b.use(mac, 0) {
		b.remember() // the kernel has room for no more either
	}
	here := b.running()
	here[mac] = true
	data := rest(b.sharing(here), used)
	if data == 0 {
		return Session{}, ErrDataSpent
	}
	length := b.Config.Limits.Session
	s := Session{
		Session: netctl.Session{Addr: addr, MAC: mac, Left: length, Data: data, Used: used},
		Ends:    b.Now().Add(length), Length: length,
	}
	if err := b.Gate.Admit(s.Session); err != nil {
		return Session{}, err
	}
	b.set(s)
	b.Wake() // more may be spent from now on
	return s, nil
}

// extend gives a session the time of a new one, from now on, and the data that it has left as the kernel was just read.
func (b *Box) extend(s Session) (Session, error) {
	s.Left = s.Ends.Sub(b.Now())
	if s.Left >= b.Config.Limits.Session { // the limit is another since
		return s, nil
	}
	s.Length = b.Config.Limits.Session
	s.Left, s.Ends = s.Length, b.Now().Add(s.Length)
	if err := b.Gate.Admit(s.Session); err != nil {
		return Session{}, err
	}
	b.set(s)
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
		b.use(k.MAC, k.Used)
		s.Used, s.Data = k.Used, k.Data
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

// adopt takes up a session that another daemon began. How it began is not known.
func (b *Box) adopt(k netctl.Session, now time.Time) Session {
	return Session{Session: k, Ends: now.Add(k.Left), Length: max(b.Config.Limits.Session, k.Left)}
}

// use notes what a device used today. As many are remembered as the network has addresses: when there are more, those
// who used least are forgotten, which somebody who makes devices up cannot have happen to who used much, and never who has
// a session. It returns whether one was.
func (b *Box) use(mac netctl.MAC, bytes uint64) (forgot bool) {
	most := 1<<(32-b.Config.Hotspot.Address.Bits()) - 3 // without the network's address, its broadcast address and the box's
	if _, known := b.usage[mac]; !known && len(b.usage) >= most {
		running := b.running()
		var least netctl.MAC
		for m, n := range b.usage {
			if !running[m] && (!forgot || n < b.usage[least]) {
				least, forgot = m, true
			}
		}
		if forgot {
			delete(b.usage, least)
		}
	}
	b.usage[mac] = bytes
	return forgot
}

// running returns the devices that have a session.
func (b *Box) running() map[netctl.MAC]bool {
	all := make(map[netctl.MAC]bool, len(b.sessions))
	for _, s := range b.sessions {
		all[s.MAC] = true
	}
	return all
}

// remember has the kernel remember what devices used, for a daemon that comes after a crash.
func (b *Box) remember() {
	if b.tookUp {
		b.problem(b.Gate.Remember(b.usage, b.restOfDay()))
	}
}

// date returns a day of the calendar, as its midnight in UTC, so that days compare whatever the zone.
func date(year int, month time.Month, day int) time.Time {
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}

// today returns the day that the clock shows.
func (b *Box) today() time.Time { return date(ledger.PeriodStart(b.now, "day", 0).Date()) }

// dayEnds returns when the day's data is given again.
func (b *Box) dayEnds() time.Time {
	day := b.today()
	if b.day.After(day) {
		day = b.day
	}
	y, m, d := day.Date()
	return ledger.PeriodEnd(time.Date(y, m, d, 12, 0, 0, 0, b.now.Location()), "day", 0)
}

// restOfDay returns for how long what was used counts. While the clock is not trusted no day ends: the kernel is told of a
// later end before this one comes.
func (b *Box) restOfDay() time.Duration {
	const day = 24 * time.Hour
	rest := b.dayEnds().Sub(b.now)
	if rest > 2*day { // the clock was set far back, and is not trusted
		rest = day + rest%day
	}
	if b.trust.By == "" {
		rest += day
	}
	return rest
}

// Aside is what a daemon that was told to stop hands to the next one.
type Aside struct {
	Sessions []netctl.Session `json:"sessions"`
	Used     []Used           `json:"used"` // by those who have no session, too
	Day      time.Duration    `json:"day"`  // until the day is over on which that was used
}

// Used is what a device used in a day.
type Used struct {
	MAC   netctl.MAC `json:"mac"`
	Bytes uint64     `json:"bytes"`
}

// After returns what is left of it after so long.
func (a Aside) After(elapsed time.Duration) (left Aside) {
	if left.Day = a.Day - elapsed; left.Day > 0 {
		left.Used = a.Used
	}
	for _, s := range a.Sessions {
		if s.Left -= elapsed; s.Left > 0 && !s.Spent {
			left.Sessions = append(left.Sessions, s)
		}
	}
	return left
}

// takeUp takes up what the last daemon left in the kernel, if it crashed, and what it set aside, if it was told to stop.
// Until then nobody is admitted, and the kernel is told nothing: it knows better.
func (b *Box) takeUp() {
	if b.tookUp {
		return
	}
	remembered, err := b.Gate.Remembered()
	if err != nil {
		b.problem(err)
		return
	}
	b.tookUp = true
	over := !b.Kept.Day.IsZero() && b.day.After(b.Kept.Day) // the day in which that was used
	for mac, bytes := range remembered {
		b.use(mac, bytes)
	}
	now := b.Now()
	aside := b.Aside.After(now.Sub(b.started))
	b.Aside = Aside{}
	slices.SortFunc(aside.Used, func(x, y Used) int { return cmp.Compare(x.Bytes, y.Bytes) })
	for _, u := range aside.Used {
		b.use(u.MAC, max(b.usage[u.MAC], u.Bytes))
	}
	for _, k := range aside.Sessions {
		if _, ok := b.sessions[k.Addr]; ok {
			continue
		}
		k.Used = b.usage[k.MAC]
		if err := b.Gate.Admit(k); err != nil {
			b.problem(err)
			continue
		}
		b.use(k.MAC, k.Used)
		b.set(b.adopt(k, now))
	}
	if over {
		b.giveDay()
	}
	if n := len(b.sessions); n > 0 {
		b.Log.Info("sessions taken up", "count", n)
	}
	b.problem(b.TookUp())
}

// setAside returns what the next daemon is to take up.
func (b *Box) setAside() (Aside, error) {
	sessions, err := b.Gate.Sessions()
	used := maps.Clone(b.usage)
	if !b.tookUp { // what the daemons before left
		var remembered error
		used, remembered = b.Gate.Remembered()
		err = errors.Join(err, remembered)
	}
	before := b.Aside.After(b.Now().Sub(b.started))
	a := Aside{Sessions: sessions, Used: before.Used, Day: b.restOfDay()}
	for _, s := range sessions {
		used[s.MAC] = s.Used
	}
	for mac, bytes := range used {
		a.Used = append(a.Used, Used{mac, bytes})
	}
	for _, s := range before.Sessions {
		if !slices.ContainsFunc(sessions, func(x netctl.Session) bool { return x.Addr == s.Addr }) {
			a.Sessions = append(a.Sessions, s)
		}
	}
	return a, err
}

// turnDay begins a new day when the clock, which is trusted, shows one that is later than all before. A clock that is set
// back gives no day's data again: it stays in the day that it was in until that is over. Where it was further ahead, that
// is at the end of tomorrow: between two givings lies a day at least, and no more than two.
func (b *Box) turnDay() {
	today := b.today()
	if tomorrow := today.AddDate(0, 0, 1); b.day.After(tomorrow) {
		b.day = tomorrow
	}
	if !today.After(b.day) {
		return
	}
	first := b.day.IsZero()
	b.day = today
	if !first && b.tookUp { // else takeUp does
		b.giveDay()
	}
}

// giveDay gives everybody the day's data again, also to those whose session runs.
func (b *Box) giveDay() {
	b.read()
	clear(b.usage)
	for mac := range b.running() {
		b.usage[mac] = 0
	}
	b.remember()
}

// share gives running sessions what is due to them as the day goes: who came first leaves something for the last.
// Nobody's is changed by a little, since each change is a message to the kernel. In a pause nothing is shared.
func (b *Box) share() {
	d := b.chosen()
	if d == nil || b.decision.Internet == decide.NoInternet || !b.tookUp {
		return
	}
	today := b.sharing(b.running())
	d.book.Came(today.People())
	due := b.Config.Limits.Data != b.limit
	for _, s := range b.sessions {
		n := rest(today, b.usage[s.MAC])
		due = due || max(n, s.Data)-min(n, s.Data) > s.Data/8+minShare
	}
	if due {
		b.limit = b.Config.Limits.Data
		b.read() // a new counter forgets what was counted since
		b.regrant(today)
	}
}

// regrant gives running sessions the data that is due to them now. Their time goes on.
func (b *Box) regrant(today ledger.Sharing) {
	for addr, s := range maps.Clone(b.sessions) {
		s.Used = b.usage[s.MAC]
		s.Data = rest(today, s.Used)
		if s.Data == 0 {
			b.problem(b.end(addr))
			continue
		}
		s.Left = s.Ends.Sub(b.Now())
		if s.Left <= 0 {
			continue
		}
		if err := b.Gate.Admit(s.Session); err != nil {
			b.problem(err)
			continue
		}
		b.set(s)
	}
}

// ErrRestart says that a configuration cannot be taken up by a box that runs: another must begin in its place.
var ErrRestart = errors.New("the hotspot's interface, radio or address, the box's host name or its light and button changed")

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
			err = ErrRestart
			return
		}
		b.Config, b.Refused = c, nil
		b.configure()
		b.round(loop)
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
	k := Kept{PausedBy: b.pausedBy, Trust: b.trust, Day: b.day}
	if d := b.chosen(); d != nil {
		k.Donation = d.Name
	}
	same := b.kept
	if (k.Trust.Offset - same.Trust.Offset).Abs() < time.Second {
		same.Trust.Offset = k.Trust.Offset
	}
	if k == same {
		return
	}
	if err := b.Keep(k); err != nil {
		b.problem(err)
		return
	}
	b.kept = k
}
