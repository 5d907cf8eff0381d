// Package air keeps the box's radios as the configuration wants them: under the rules of the country, with the
// interfaces that are named, on a quiet channel. It works in a goroutine of its own, since to listen around takes seconds
// and the loop must not wait: the loop says what it wants (Set) and reads how it stands (State). It starts no program:
// what hostapd is to make, the loop takes from the State. It must not know who is there, only how many.
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
	"reflect"
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
	period    = 5 * time.Second       // between looks at the radios
	forget    = time.Minute           // what they can do is asked again after it; and then no answer at all is a failure
	patience  = 5 * time.Second       // for the rules of a country to be taken up
	glance    = 50 * time.Millisecond // between looks whether they are
	listening = 15 * time.Second      // for a scan: all channels of two bands, those with radar for a tenth of a second each
	settled   = 24 * time.Hour        // a channel is kept for so long at least
	again     = 10 * time.Second      // between attempts at something that failed
	beginning = 15 * time.Second      // that an access point may take to begin; then it is looked what keeps it
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
	Remove(netctl.RadioInterface) error
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
	Full     bool // it turned one away, and as many are there still
	Follows  bool // it shares its radio with a lender's network
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
	radios  Radios
	seen    time.Time         // when they last answered
	can     []netctl.Radio    // as asked last
	asked   time.Time         // then
	country string            // whose rules they follow, or were asked to in vain
	chosen  int               // the channel, 0: none yet
	at      time.Time         // when it was
	tried   time.Time         // when the access point was told to move to where it is not yet; zero: it was not
	made    []string          // interfaces
	learned int               // stations that there were when one was turned away, 0: none was
	silent  time.Time         // since when an access point is wanted that does not send, zero: it does
	said    map[string]string // the complaints that were logged last, by what went wrong
}

// New returns a keeper that wants nothing yet.
func New(opt Options) *Keeper {
	if opt.Wake == nil {
		opt.Wake = func() {}
	}
	if opt.Stations == nil {
		opt.Stations = func(string) int { return 0 }
	}
	return &Keeper{opt: opt, poke: make(chan struct{}, 1), said: map[string]string{}}
}

// String names the task in the daemon's log.
func (k *Keeper) String() string { return "radios" }

// Set says what is wanted from now on. It never waits.
func (k *Keeper) Set(w Wanted) {
	k.mu.Lock()
	changed := !reflect.DeepEqual(w, k.wanted)
	k.wanted = w
	k.mu.Unlock()
	if changed {
		k.Wake()
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
	k.Wake()
}

// Wake has it look at the radios again soon. It never waits.
func (k *Keeper) Wake() {
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
			k.drop(Wanted{})
			return nil
		}
		k.mu.Lock()
		k.state = now
		k.mu.Unlock()
		if !reflect.DeepEqual(now, before) {
			k.opt.Wake()
		}
		select {
		case <-ctx.Done():
			k.drop(Wanted{})
			return nil
		case <-tick.C:
		case <-k.poke:
		}
	}
}

// complain logs the error of an action, once until it succeeds or fails in another way.
func (k *Keeper) complain(action string, err error) {
	if err == nil {
		delete(k.said, action)
		return
	}
	if text := err.Error(); text != k.said[action] {
		k.said[action] = text
		k.opt.Log.Warn("the radios are not as they should be", "error", err)
	}
}

// round looks at the radios, does what is missing, and returns how they are.
func (k *Keeper) round(ctx context.Context, w Wanted, before State) State {
	k.drop(w)
	serves := w.Hotspot.Radio == "hostapd"
	if !serves && len(w.Joins) == 0 {
		return State{}
	}
	interfaces, err := k.look(ctx, w.Hotspot.Country)
	k.complain("look", err)
	if err != nil {
		k.radios, k.country = nil, "" // their driver may have been loaded anew
		if !serves {
			return State{}
		}
		if before.AccessPoint != nil && time.Since(k.seen) < forget {
			return before // nothing is known: what runs, runs on
		}
		return State{Why: err.Error(), Failed: true}
	}
	k.seen = time.Now()
	interfaces, err = k.complete(w, interfaces)
	k.complain("complete", err)
	if !serves {
		return State{}
	}
	i := find(interfaces, w.Hotspot.Interface)
	if i == nil {
		return failed("there is no radio %s: plug its adapter in, or write another interface", w.Hotspot.Interface)
	}
	return k.serve(ctx, w, before, *i, interfaces)
}

func failed(format string, a ...any) State {
	return State{Why: fmt.Sprintf(format, a...), Failed: true}
}

func find(list []netctl.RadioInterface, name string) *netctl.RadioInterface {
	n := slices.IndexFunc(list, func(i netctl.RadioInterface) bool { return i.Name == name })
	if n < 0 {
		return nil
	}
	return &list[n]
}

// look has the radios follow a country's rules, and returns their interfaces. What they can do, it asks now and then.
func (k *Keeper) look(ctx context.Context, country string) (interfaces []netctl.RadioInterface, err error) {
	if k.radios == nil {
		if k.radios, err = k.opt.Open(); err != nil {
			return nil, err
		}
	}
	if err := k.rule(ctx, country); err != nil {
		return nil, err
	}
	if interfaces, err = k.radios.Interfaces(); err != nil {
		return nil, err
	}
	known := !slices.ContainsFunc(interfaces, func(i netctl.RadioInterface) bool { return k.radio(i) == nil })
	if !known || time.Since(k.asked) > forget {
		if k.can, err = k.radios.Radios(); err != nil {
			return nil, err
		}
		k.asked = time.Now()
	}
	return interfaces, nil
}

// rule has the radios follow a country's rules, and waits until they do. Some never will: they know their own only.
func (k *Keeper) rule(ctx context.Context, country string) error {
	if k.country == country {
		return nil
	}
	if err := k.radios.SetCountry(country); err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	for ctx.Err() == nil {
		have, err := k.radios.Country()
		if err != nil {
			return err
		}
		if have == country {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(glance):
		}
	}
	k.country, k.asked = country, time.Time{} // what is allowed has changed
	return nil
}

// radio returns the radio of an interface.
func (k *Keeper) radio(i netctl.RadioInterface) *netctl.Radio {
	n := slices.IndexFunc(k.can, func(r netctl.Radio) bool { return r.Index == i.Radio })
	if n < 0 {
		return nil
	}
	return &k.can[n]
}

// want is a wanted interface.
type want struct {
	name string
	kind netctl.RadioKind
}

func (w Wanted) interfaces() (list []want) {
	if w.Hotspot.Radio == "hostapd" {
		list = append(list, want{w.Hotspot.Interface, netctl.RadioAccessPoint})
	}
	for _, j := range w.Joins {
		list = append(list, want{j.Interface, netctl.RadioStation})
	}
	return list
}

// drop takes the interfaces away that it made and that are wanted no more.
func (k *Keeper) drop(w Wanted) {
	wanted := w.interfaces()
	k.made = slices.DeleteFunc(k.made, func(name string) bool {
		if slices.ContainsFunc(wanted, func(w want) bool { return w.name == name }) || k.radios == nil {
			return false
		}
		have, err := k.radios.Interfaces()
		if i := find(have, name); err == nil && i != nil {
			err = k.radios.Remove(*i)
		}
		k.complain("drop", err)
		return err == nil
	})
}

// complete makes the wanted interfaces that are missing, each on the radio of a wanted one of the other kind, if that
// radio can do both. It returns the interfaces that there are then.
func (k *Keeper) complete(w Wanted, have []netctl.RadioInterface) ([]netctl.RadioInterface, error) {
	wants := w.interfaces()
	made := false
	var errs []error
	for _, missing := range wants {
		if find(have, missing.name) != nil {
			continue
		}
		for _, other := range wants {
			i := find(have, other.name)
			if i == nil || other.kind == missing.kind {
				continue
			}
			if r := k.radio(*i); r != nil && r.NetworksJoined > 0 {
				err := k.radios.Add(*r, missing.name, missing.kind)
				if errs = append(errs, err); err == nil {
					k.made, made = append(k.made, missing.name), true
				}
				break
			}
		}
	}
	if made {
		now, err := k.radios.Interfaces()
		if err == nil {
			have = now
		}
		errs = append(errs, err)
	}
	return have, errors.Join(errs...)
}

// serve says what the access point shall be, and how it is.
func (k *Keeper) serve(
	ctx context.Context, w Wanted, before State, i netctl.RadioInterface, interfaces []netctl.RadioInterface,
) State {
	h := w.Hotspot
	r := k.radio(i)
	if r == nil {
		return State{Why: "the radio has just come"}
	}
	if !r.AccessPoint {
		return failed("the radio of %s cannot be an access point: another Wi-Fi adapter can", i.Name)
	}
	most := cmp.Or(r.Stations, k.opt.Stations(i.Name))
	a := netctl.AccessPoint{
		Interface: i.Name, Index: i.Index, Address: i.Address, Bridge: netctl.Bridge, Second: twin, Radio: *r,
		SSID: h.SSID, Password: h.Password, Country: h.Country, Band: h.Band, Stations: most,
	}
	on := i.Kind == netctl.RadioAccessPoint && i.MHz != 0
	followed := follow(w, &a, i, interfaces)
	if !followed {
		band, ok := r.Band(h.Band)
		if !ok {
			return failed("the radio of %s does not have the band %s", i.Name, h.Band)
		}
		switch {
		case h.Channel != 0 && !allowed(band, h.Channel):
			return failed("a network may not be begun on channel %d here: write another one, or 0", h.Channel)
		case h.Channel != 0:
			a.Channel = h.Channel
		case !slices.ContainsFunc(band.Channels, func(c netctl.Channel) bool { return c.Allowed }):
			return failed("the rules of %s allow no network on %s with this radio: write the other band", h.Country, h.Band)
		case !k.choose(ctx, w.Busy, on, i, band):
			return State{Why: "the radio listens which channel is the quietest"} // once the access point has ended
		default:
			a.Channel = k.chosen
		}
	}
	s := State{AccessPoint: &a, On: on, Most: most, Follows: a.Joined}
	if !on {
		k.tried = time.Time{}
		return k.await(s, i)
	}
	k.silent = time.Time{}
	s.MHz = i.MHz
	if followed && !k.move(ctx, a, i) {
		return State{Why: "the access point begins anew where the lender's network is now"}
	}
	k.count(&s, before, interfaces)
	return s
}

// await gives an access point the time to begin. Where its radio was switched off meanwhile, hostapd says nothing, and
// waits; on some radios in vain. So it ends, and is started again once the radio can be switched on.
func (k *Keeper) await(s State, i netctl.RadioInterface) State {
	now := time.Now()
	if k.silent.IsZero() {
		k.silent = now
	}
	if now.Sub(k.silent) < beginning {
		return s
	}
	if err := k.radios.SetUp(i); err != nil {
		return failed("%v", err)
	}
	k.silent = now
	return s
}

// allowed tells whether a network may be begun on a channel of the band.
func allowed(band netctl.Band, number int) bool {
	c, ok := band.Channel(number)
	return ok && c.Allowed
}

// follow has the access point go by a lender's network that its radio joins as well, where it must. It returns whether
// the channel is decided by that.
func follow(w Wanted, a *netctl.AccessPoint, i netctl.RadioInterface, interfaces []netctl.RadioInterface) bool {
	for _, j := range w.Joins {
		other := find(interfaces, j.Interface)
		if other == nil || other.Radio != i.Radio {
			continue
		}
		a.Joined = true
		number, name := netctl.ChannelNumber(j.MHz)
		band, _ := a.Radio.Band(name)
		if allowed(band, number) && a.Radio.Channels <= 1 {
			a.Band, a.Channel = name, number
			return true
		}
	}
	return false
}

// choose sees to it that a channel is chosen. It returns false if the access point has to end first: few radios listen
// around while they are one.
func (k *Keeper) choose(ctx context.Context, busy, on bool, i netctl.RadioInterface, band netctl.Band) bool {
	if !allowed(band, k.chosen) {
		k.chosen = 0 // none yet, or of another band or country
	}
	if number, name := netctl.ChannelNumber(i.MHz); k.chosen == 0 && on && name == band.Name && allowed(band, number) {
		k.chosen, k.at = number, time.Now() // it was begun under another configuration
	}
	switch {
	case k.chosen != 0 && (busy || time.Since(k.at) <= settled):
		return true
	case on:
		return false
	}
	k.chosen, k.at = k.listen(ctx, i, band), time.Now()
	return true
}

// listen chooses a channel by what is on the air. Where that cannot be found out, any is better than none.
func (k *Keeper) listen(ctx context.Context, i netctl.RadioInterface, band netctl.Band) int {
	limited, stop := context.WithTimeout(ctx, listening)
	defer stop()
	var heard []netctl.Heard
	var busy []netctl.Busy
	err := k.radios.SetUp(i)
	if err == nil {
		heard, busy, err = k.radios.Scan(limited, i)
	}
	number := plan.ChooseChannel(band, heard, busy, k.chosen)
	if ctx.Err() == nil {
		k.complain("listen", err)
		k.opt.Log.Info("channel chosen", "interface", i.Name, "channel", number, "networks", len(heard))
	}
	return number
}

// move has an access point that sends follow the lender's network to another channel: until it is there, that network
// cannot be joined. It returns false where the access point has to begin anew for it, since hostapd refused to move, or
// nothing came of it.
func (k *Keeper) move(ctx context.Context, a netctl.AccessPoint, i netctl.RadioInterface) bool {
	number, band := netctl.ChannelNumber(i.MHz)
	switch {
	case number == a.Channel || band != a.Band: // to another band it goes by being started again
		k.tried = time.Time{}
		return true
	case !k.tried.IsZero():
		return time.Since(k.tried) < again
	}
	to, _ := a.Radio.Band(a.Band)
	c, _ := to.Channel(a.Channel)
	err := k.opt.Switch(ctx, a.Interface, wpa.Channel{
		MHz: c.MHz, Width: 20, HT: to.HT, VHT: to.VHT && a.Band == netctl.Band5,
	})
	k.complain("move", err)
	k.tried = time.Now()
	if err != nil {
		k.tried = k.tried.Add(-again)
		return false
	}
	k.opt.Log.Info("the access point follows a lender's network", "interface", a.Interface, "channel", a.Channel)
	return true
}

// count counts who has joined.
func (k *Keeper) count(s *State, before State, interfaces []netctl.RadioInterface) {
	var own []netctl.RadioInterface
	for _, name := range s.AccessPoint.Interfaces() {
		if i := find(interfaces, name); i != nil {
			own = append(own, *i)
		}
	}
	n, err := k.radios.Stations(own)
	k.complain("count", err)
	if err != nil {
		n = before.Stations
	}
	refused := k.full.Swap(false)
	s.Stations, s.Full = n, refused || before.Full && n == k.learned
	if refused || k.learned != 0 && n > k.learned {
		k.learned = n
	}
	s.Most = cmp.Or(s.Most, k.learned)
}
