// Package air keeps the box's radios as the configuration wants them: under the rules of the country, with the interfaces
// that are named, on a quiet channel. It works in a goroutine of its own, since to listen around takes seconds and the
// loop must not wait: the loop says what it wants (Set) and reads how it stands (State). It starts no program: what
// hostapd is to make, the loop takes from the State.
//
// # Which channel
//
// A channel that the configuration names is taken. Else the radio listens around before the access point begins, and
// again after a day, but only when nobody is there: the network is away for some seconds meanwhile. A radio that joins
// a lender's network as well can be on one channel only, mostly: then the access point follows that network, with an
// announcement by which the residents' phones come along.
package air

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"passerelle/appliance/config"
	"passerelle/netctl"
	"passerelle/netctl/plan"
	"passerelle/netctl/wpa"
)

const (
	period    = 5 * time.Second  // between looks at the radios
	forget    = time.Minute      // what they can do is asked again after it
	patience  = 5 * time.Second  // for the rules of a country to be taken up
	listening = 15 * time.Second // for a scan: all channels of two bands, those with radar for a tenth of a second each
	settled   = 24 * time.Hour   // a channel is kept for so long at least
	again     = 10 * time.Second // between attempts at something that failed
)

// twin is the interface of an open network's encrypted twin (see netctl.AccessPoint).
const twin = "pas-twin"

// Radios is what a Keeper needs of radio.Reader.
type Radios interface {
	Radios() ([]netctl.Radio, error)
	Interfaces() ([]netctl.RadioInterface, error)
	Stations([]netctl.RadioInterface) (int, error)
	Country() (string, error)
	SetCountry(alpha2 string) error
	SetUp(netctl.RadioInterface) error
	Add(r netctl.Radio, name string, kind netctl.RadioKind) error
	Scan(context.Context, netctl.RadioInterface) ([]netctl.Heard, []netctl.Busy, error)
}

// Options are what a Keeper needs from outside.
type Options struct {
	Log *slog.Logger
	// Open returns the machine's radios, an error as long as there are none.
	Open func() (Radios, error)
	// Switch has the access point of an interface move to a channel, with an announcement.
	Switch func(ctx context.Context, device string, to wpa.Channel) error
	// Stations says how many devices the radio of an interface serves, as far as that is known of the board and not told
	// by the radio itself; 0: not known.
	Stations func(device string) int
	// Wake is called, from any goroutine, whenever the State has changed.
	Wake func()
}

// Wanted is what the radios are for.
type Wanted struct {
	Hotspot config.Hotspot
	Joins   []Join
	Busy    bool // somebody is here: the access point stays where it is
}

// Join is an interface that joins a lender's network.
type Join struct {
	Interface string
	MHz       int // where that network is, 0: not known
}

// State is how the radios are.
type State struct {
	// AccessPoint is what hostapd is to make now, nil for nothing: then Why says why not, and Failed that nothing changes
	// that but a technician.
	AccessPoint *netctl.AccessPoint
	Why         string
	Failed      bool

	On       bool // the access point sends
	MHz      int  // where
	Stations int  // devices that have joined it
	Most     int  // that it serves, 0: not known
	Full     bool // it has turned one away since that was last less than Most
	Follows  bool // it shares its radio with a lender's network
}

func (s State) equal(o State) bool {
	a, b := s.AccessPoint, o.AccessPoint
	s.AccessPoint, o.AccessPoint = nil, nil
	if s != o || (a == nil) != (b == nil) {
		return false
	}
	return a == nil || fmt.Sprint(*a) == fmt.Sprint(*b)
}

// Keeper keeps the radios. Make one with New; its methods are safe for concurrent use.
type Keeper struct {
	opt  Options
	poke chan struct{}
	full atomic.Bool // a device was turned away

	mu     sync.Mutex
	wanted Wanted
	state  State

	// The rest is Run's alone.
	radios   Radios
	can      []netctl.Radio // as asked last
	asked    time.Time      // then
	country  string         // that the kernel was last asked for
	since    time.Time      // then
	chosen   int            // the channel, 0: none yet
	at       time.Time      // when it was
	restless bool           // another is to be chosen
	tried    time.Time      // when the access point was last told to move
	learned  int            // stations at which a device was turned away
	said     string         // the complaint that was logged last
}

// New returns a keeper that wants nothing yet.
func New(opt Options) *Keeper {
	if opt.Wake == nil {
		opt.Wake = func() {}
	}
	if opt.Stations == nil {
		opt.Stations = func(string) int { return 0 }
	}
	return &Keeper{opt: opt, poke: make(chan struct{}, 1)}
}

// String names the task in the daemon's log.
func (k *Keeper) String() string { return "radios" }

// Set says what is wanted from now on. It never waits.
func (k *Keeper) Set(w Wanted) {
	k.mu.Lock()
	changed := fmt.Sprint(w) != fmt.Sprint(k.wanted)
	k.wanted = w
	k.mu.Unlock()
	if changed {
		k.wake()
	}
}

// State returns how the radios are.
func (k *Keeper) State() State {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state
}

// TurnedAway tells that a device was sent away since there are as many as may be.
func (k *Keeper) TurnedAway() {
	k.full.Store(true)
	k.wake()
}

func (k *Keeper) wake() {
	select {
	case k.poke <- struct{}{}:
	default:
	}
}

// Run keeps the radios until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		k.mu.Lock()
		w, before := k.wanted, k.state
		k.mu.Unlock()
		now := k.round(ctx, w, before)
		if ctx.Err() != nil {
			return nil
		}
		k.mu.Lock()
		k.state = now
		k.mu.Unlock()
		if !now.equal(before) {
			k.opt.Wake()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-k.poke:
		}
	}
}

// complain logs what is wrong, once.
func (k *Keeper) complain(err error) {
	said := ""
	if err != nil {
		said = err.Error()
	}
	if said != "" && said != k.said {
		k.opt.Log.Warn("the radios are not as they should be", "error", err)
	}
	k.said = said
}

// round looks at the radios, does what is missing, and returns how they are.
func (k *Keeper) round(ctx context.Context, w Wanted, before State) State {
	serves := w.Hotspot.Radio == "hostapd"
	if !serves && len(w.Joins) == 0 {
		return State{}
	}
	interfaces, err := k.look(w)
	if err == nil {
		interfaces, err = k.complete(w, interfaces)
	}
	k.complain(err)
	if !serves {
		return State{}
	}
	if err != nil && len(interfaces) == 0 {
		return State{Why: err.Error(), Failed: true}
	}
	i := find(interfaces, w.Hotspot.Interface)
	if i == nil {
		return State{Why: fmt.Sprintf("there is no radio %s (passerelle hw shows which there are)", w.Hotspot.Interface), Failed: true}
	}
	return k.serve(ctx, w, before, *i, interfaces)
}

func find(list []netctl.RadioInterface, name string) *netctl.RadioInterface {
	n := slices.IndexFunc(list, func(i netctl.RadioInterface) bool { return i.Name == name })
	if n < 0 {
		return nil
	}
	return &list[n]
}

// look asks what radios there are, and has them follow the country's rules.
func (k *Keeper) look(w Wanted) ([]netctl.RadioInterface, error) {
	if k.radios == nil {
		r, err := k.opt.Open()
		if err != nil {
			return nil, err
		}
		k.radios = r
	}
	now := time.Now()
	if k.country != w.Hotspot.Country {
		if err := k.radios.SetCountry(w.Hotspot.Country); err != nil {
			return nil, err
		}
		k.country, k.since, k.asked = w.Hotspot.Country, now, time.Time{}
	}
	interfaces, err := k.radios.Interfaces()
	if err != nil {
		return nil, err
	}
	known := !slices.ContainsFunc(interfaces, func(i netctl.RadioInterface) bool { return k.radio(i) == nil })
	if !known || now.Sub(k.asked) > forget {
		if k.can, err = k.radios.Radios(); err != nil {
			return nil, err
		}
		k.asked = now
	}
	return interfaces, nil
}

// ruled tells whether the radios follow the country's rules, or can be expected to do so no more: some know their own
// only.
func (k *Keeper) ruled() bool {
	if time.Since(k.since) > patience {
		return true
	}
	have, err := k.radios.Country()
	if err != nil || have != k.country {
		return false
	}
	k.since = k.since.Add(-patience) // once is enough
	k.asked = time.Time{}            // what is allowed has changed
	return true
}

// radio returns the radio of an interface.
func (k *Keeper) radio(i netctl.RadioInterface) *netctl.Radio {
	n := slices.IndexFunc(k.can, func(r netctl.Radio) bool { return r.Index == i.Radio })
	if n < 0 {
		return nil
	}
	return &k.can[n]
}

// complete makes the wanted interfaces that are missing, on a radio of another one that can do both.
func (k *Keeper) complete(w Wanted, have []netctl.RadioInterface) ([]netctl.RadioInterface, error) {
	kinds := map[string]netctl.RadioKind{}
	for _, j := range w.Joins {
		kinds[j.Interface] = netctl.RadioStation
	}
	if w.Hotspot.Radio == "hostapd" {
		kinds[w.Hotspot.Interface] = netctl.RadioAccessPoint
	}
	made := false
	var errs []error
	for name, kind := range kinds {
		if find(have, name) != nil {
			continue
		}
		for _, other := range have {
			r := k.radio(other)
			if kinds[other.Name] == "" || kinds[other.Name] == kind || r == nil || r.NetworksJoined == 0 {
				continue
			}
			err := k.radios.Add(*r, name, kind)
			errs = append(errs, err)
			made = made || err == nil
			break
		}
	}
	if !made {
		return have, errors.Join(errs...)
	}
	now, err := k.radios.Interfaces()
	if err != nil {
		return have, errors.Join(append(errs, err)...)
	}
	return now, errors.Join(errs...)
}

// serve says what the access point shall be, and how it is.
func (k *Keeper) serve(
	ctx context.Context, w Wanted, before State, i netctl.RadioInterface, interfaces []netctl.RadioInterface,
) State {
	h := w.Hotspot
	failed := func(format string, a ...any) State { return State{Why: fmt.Sprintf(format, a...), Failed: true} }
	r := k.radio(i)
	if r == nil {
		return State{Why: "the radio has just come"}
	}
	if !r.AccessPoint {
		return failed("the radio of %s cannot be an access point: another Wi-Fi adapter can", i.Name)
	}
	s := State{
		On: i.Kind == netctl.RadioAccessPoint && i.MHz != 0, MHz: i.MHz,
		Most: cmp.Or(r.Stations, k.opt.Stations(i.Name), k.learned),
	}
	if !s.On && !k.ruled() {
		return State{Why: "the radio takes up the rules of " + h.Country}
	}
	if r = k.radio(i); r == nil {
		return State{Why: "the radio has just come"}
	}
	a := netctl.AccessPoint{
		Interface: i.Name, Index: i.Index, Address: i.Address, Bridge: netctl.Bridge, Second: twin, Radio: *r,
		SSID: h.SSID, Password: h.Password, Country: h.Country, Band: h.Band, Stations: cmp.Or(r.Stations, k.opt.Stations(i.Name)),
	}
	followed := k.follow(w, &a, i, interfaces)
	if !followed {
		band, ok := r.Band(h.Band)
		if !ok {
			return failed("the radio of %s does not have the band %s", i.Name, h.Band)
		}
		c, ok := band.Channel(h.Channel)
		switch {
		case h.Channel != 0 && (!ok || !c.Allowed):
			return failed("a network may not be begun on channel %d here: write another one, or 0", h.Channel)
		case h.Channel != 0:
			a.Channel = h.Channel
		default:
			if waits := k.choose(ctx, w, s, i, band); waits != "" {
				return State{Why: waits}
			}
			if k.chosen == 0 {
				return failed("the rules of %s allow no network on %s with this radio: write the other band", h.Country, h.Band)
			}
			a.Channel = k.chosen
		}
	}
	s.AccessPoint, s.Follows = &a, a.Joined
	if !s.On {
		s.MHz = 0
		return s
	}
	if followed {
		k.move(ctx, a, i)
	}
	k.count(&s, before, a, interfaces)
	return s
}

// follow has the access point go by a lender's network that its radio joins as well, where it must. It returns whether
// the channel is decided by that.
func (k *Keeper) follow(w Wanted, a *netctl.AccessPoint, i netctl.RadioInterface, interfaces []netctl.RadioInterface) bool {
	for _, j := range w.Joins {
		other := find(interfaces, j.Interface)
		if other == nil || other.Radio != i.Radio {
			continue
		}
		a.Joined = true
		number, name := netctl.ChannelNumber(j.MHz)
		band, _ := a.Radio.Band(name)
		if c, ok := band.Channel(number); ok && c.Allowed && a.Radio.Channels <= 1 {
			a.Band, a.Channel = name, number
			return true
		}
	}
	return false
}

// choose sees to it that a channel is chosen; else it returns what that waits for.
func (k *Keeper) choose(ctx context.Context, w Wanted, s State, i netctl.RadioInterface, band netctl.Band) (waits string) {
	const quiet = "the radio listens which channel is the quietest"
	now := time.Now()
	if c, ok := band.Channel(k.chosen); k.chosen != 0 && (!ok || !c.Allowed) {
		k.chosen = 0 // another band, or another country
	}
	switch {
	case s.On && k.chosen == 0 && !k.restless: // an access point that a daemon before this one began
		if number, name := netctl.ChannelNumber(i.MHz); name == band.Name {
			k.chosen, k.at = number, now
		}
	case s.On && !k.restless && !w.Busy && now.Sub(k.at) > settled:
		k.restless = true
	}
	switch {
	case k.chosen != 0 && !k.restless:
		return ""
	case s.On:
		return quiet // once the access point has ended
	}
	k.chosen = k.listen(ctx, i, band)
	k.restless, k.at = false, now
	return ""
}

// listen chooses a channel by what is on the air. Where that cannot be found out, any is better than none.
func (k *Keeper) listen(ctx context.Context, i netctl.RadioInterface, band netctl.Band) int {
	ctx, stop := context.WithTimeout(ctx, listening)
	defer stop()
	var heard []netctl.Heard
	var busy []netctl.Busy
	err := k.radios.SetUp(i)
	if err == nil {
		heard, busy, err = k.radios.Scan(ctx, i)
	}
	k.complain(err)
	number := plan.ChooseChannel(band, heard, busy, k.chosen)
	k.opt.Log.Info("channel chosen", "interface", i.Name, "channel", number, "networks", len(heard))
	return number
}

// move has an access point that sends follow the lender's network to another channel. Until it has, the network cannot
// be joined.
func (k *Keeper) move(ctx context.Context, a netctl.AccessPoint, i netctl.RadioInterface) {
	number, band := netctl.ChannelNumber(i.MHz)
	if number == a.Channel || band != a.Band || time.Since(k.tried) < again {
		return // to another band it goes by being started again
	}
	k.tried = time.Now()
	to, _ := a.Radio.Band(a.Band)
	c, _ := to.Channel(a.Channel)
	err := k.opt.Switch(ctx, a.Interface, wpa.Channel{MHz: c.MHz, Width: 20, HT: to.HT, VHT: to.VHT && a.Band == netctl.Band5})
	k.complain(err)
	if err == nil {
		k.opt.Log.Info("the access point follows a lender's network", "interface", a.Interface, "channel", a.Channel)
	}
}

// count counts who has joined.
func (k *Keeper) count(s *State, before State, a netctl.AccessPoint, interfaces []netctl.RadioInterface) {
	var own []netctl.RadioInterface
	for _, name := range a.Interfaces() {
		if i := find(interfaces, name); i != nil {
			own = append(own, *i)
		}
	}
	n, err := k.radios.Stations(own)
	if err != nil {
		k.complain(err)
		n = before.Stations
	}
	s.Stations = n
	if k.full.Swap(false) {
		k.learned, s.Full = n, true
		s.Most = cmp.Or(s.Most, n)
	}
	s.Full = s.Full || before.Full && n >= before.Stations
}
