// Package radios brings the box's radios to the configured state: regulatory domain, named interfaces, a quiet channel.
// It runs in a goroutine of its own, because a scan takes seconds and the loop must not block: the loop passes the
// desired configuration (Set) and reads the current state (State). It starts no program: the loop starts hostapd as
// State says. It must not know which devices are connected, only how many.
//
// # Which channel
//
// A configured channel is used as it is. Otherwise the radio scans before the access point starts, and again after a
// day, but only when no station is connected: the network is down for some seconds meanwhile. A radio that is also a
// client of a lender's network can usually be on one channel only (STA+AP, single channel): then the access point
// follows that network's channel, by a channel switch announcement that residents' phones follow.
package radios

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
	"passerelle/appliance/plan"
	"passerelle/netctl"
	"passerelle/netctl/wpa"
)

const (
	pollInterval     = 5 * time.Second       // between two reads of the radios
	staleAfter       = time.Minute           // capabilities are read again after this time; a radio that does not answer for this long has failed
	regdomainTimeout = 5 * time.Second       // for a regulatory domain to be applied
	regdomainPoll    = 50 * time.Millisecond // between two checks whether it is applied
	scanTimeout      = 15 * time.Second      // all channels of two bands, 0.1 s each for DFS channels
	rescanAfter      = 24 * time.Hour        // a channel is kept at least this long
	retryDelay       = 10 * time.Second      // between two attempts at something that failed
	startTimeout     = 15 * time.Second      // for an access point to start; after this the radio is switched on again
)

// oweInterface is the interface of an open network's OWE transition BSS (see netctl.AccessPoint).
const oweInterface = "pas-twin"

// Driver is what a Manager needs of radio.Reader.
type Driver interface {
	Radios() ([]netctl.Radio, error)
	Interfaces() ([]netctl.RadioInterface, error)
	Stations([]netctl.RadioInterface) (int, error)
	Country() (string, error)
	SetCountry(alpha2 string) error
	SetUp(netctl.RadioInterface) error
	Add(r netctl.Radio, name string, kind netctl.RadioKind) error
	Remove(netctl.RadioInterface) error
	Scan(context.Context, netctl.RadioInterface) ([]netctl.ScanResult, []netctl.Survey, error)
}

// Options are a Manager's dependencies.
type Options struct {
	Log *slog.Logger
	// Open returns the machine's radios, or an error while there are none.
	Open func() (Driver, error)
	// SwitchChannel moves the access point of an interface to another channel, with an announcement (CSA).
	SwitchChannel func(ctx context.Context, device string, to wpa.Channel) error
	// Stations returns how many stations the radio of an interface can serve, if that is known for the board and not
	// reported by the radio; 0 if unknown.
	Stations func(device string) int
	// Wake is called, from any goroutine, when the State has changed.
	Wake func()
}

// Config is the desired configuration of the radios.
type Config struct {
	Hotspot config.Hotspot
	Uplinks []Uplink
	InUse   bool // a device is connected: the access point stays on its channel
}

// Uplink is an interface that is a client of a lender's network.
type Uplink struct {
	Interface string
	MHz       int // frequency of that network, 0: not known
}

// State is the current state of the radios.
type State struct {
	// AccessPoint is the access point that hostapd must run now, nil for none. Then Why gives the reason, and Failed says that
	// only a technician can change that.
	AccessPoint *netctl.AccessPoint
	Why         string
	Failed      bool
	Missing     bool // it Failed because there is no such radio

	Beaconing     bool // the access point sends beacons
	MHz           int  // its frequency
	Stations      int  // associated devices
	MaxStations   int  // how many it can serve; 0 if unknown
	Full          bool // it rejected an association, and as many stations are still there
	SharedChannel bool // its radio is also a client of a lender's network
}

// Manager manages the radios. Make one with New; its methods are safe for concurrent use.
type Manager struct {
	opt      Options
	wakeup   chan struct{}
	rejected atomic.Bool // an association was rejected

	mu     sync.Mutex
	config Config
	state  State

	// The fields below belong to Run.
	driver         Driver
	lastSeen       time.Time         // when the driver last answered
	capabilities   []netctl.Radio    // as last read
	capabilitiesAt time.Time         // when
	regdomain      string            // the one that was applied, or requested without success
	channel        int               // the chosen one; 0 for none yet
	channelAt      time.Time         // when it was chosen
	switchAt       time.Time         // when the access point was told to switch to a channel that it is not on yet; zero if it was not
	created        []string          // interfaces
	learnedMax     int               // stations at the last rejected association; 0 if none was rejected
	silentSince    time.Time         // since when the wanted access point sends no beacons; zero if it sends them
	logged         map[string]string // the last logged errors, by action
}

// New returns a manager with an empty configuration.
func New(opt Options) *Manager {
	if opt.Wake == nil {
		opt.Wake = func() {}
	}
	if opt.Stations == nil {
		opt.Stations = func(string) int { return 0 }
	}
	return &Manager{opt: opt, wakeup: make(chan struct{}, 1), logged: map[string]string{}}
}

// String names the task in the daemon's log.
func (k *Manager) String() string { return "radios" }

// Set sets the desired configuration. It never blocks.
func (k *Manager) Set(w Config) {
	k.mu.Lock()
	changed := !reflect.DeepEqual(w, k.config)
	k.config = w
	k.mu.Unlock()
	if changed {
		k.Wake()
	}
}

// State returns the current state of the radios.
func (k *Manager) State() State {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state
}

// AssociationRejected reports that a station was rejected because the maximum number is associated (max_num_sta).
func (k *Manager) AssociationRejected() {
	k.rejected.Store(true)
	k.Wake()
}

// Wake triggers a reconciliation. It never blocks.
func (k *Manager) Wake() {
	select {
	case k.wakeup <- struct{}{}:
	default:
	}
}

// Run manages the radios until ctx ends.
func (k *Manager) Run(ctx context.Context) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		k.mu.Lock()
		w, before := k.config, k.state
		k.mu.Unlock()
		now := k.reconcile(ctx, w, before)
		if ctx.Err() != nil {
			k.removeUnwanted(Config{})
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
			k.removeUnwanted(Config{})
			return nil
		case <-tick.C:
		case <-k.wakeup:
		}
	}
}

// logError logs the error of an action once, until the action succeeds or fails with another error.
func (k *Manager) logError(action string, err error) {
	if err == nil {
		delete(k.logged, action)
		return
	}
	if text := err.Error(); text != k.logged[action] {
		k.logged[action] = text
		k.opt.Log.Warn("radios not in the desired state", "error", err)
	}
}

// reconcile reads the radios, applies what is missing, and returns their state.
func (k *Manager) reconcile(ctx context.Context, w Config, before State) State {
	k.removeUnwanted(w)
	serves := w.Hotspot.Radio == "hostapd"
	if !serves && len(w.Uplinks) == 0 {
		return State{}
	}
	interfaces, err := k.refresh(ctx, w.Hotspot.Country)
	k.logError("look", err)
	if err != nil {
		missing := k.driver == nil
		k.driver, k.regdomain = nil, "" // their driver may have been reloaded
		if !serves {
			return State{}
		}
		if before.AccessPoint != nil && time.Since(k.lastSeen) < staleAfter {
			return before // nothing is known: keep what runs
		}
		return State{Why: err.Error(), Failed: true, Missing: missing}
	}
	k.lastSeen = time.Now()
	interfaces, err = k.createMissing(w, interfaces)
	k.logError("complete", err)
	if !serves {
		return State{}
	}
	i := find(interfaces, w.Hotspot.Interface)
	if i == nil {
		s := failed("there is no radio %s: plug its adapter in, or write another interface", w.Hotspot.Interface)
		s.Missing = true
		return s
	}
	return k.accessPoint(ctx, w, before, *i, interfaces)
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

// refresh applies the regulatory domain and returns the radios' interfaces. It reads the capabilities now and then.
func (k *Manager) refresh(ctx context.Context, country string) (interfaces []netctl.RadioInterface, err error) {
	if k.driver == nil {
		d, err := k.opt.Open()
		if err != nil {
			return nil, err
		}
		k.driver = d
	}
	if err := k.applyRegdomain(ctx, country); err != nil {
		return nil, err
	}
	if interfaces, err = k.driver.Interfaces(); err != nil {
		return nil, err
	}
	known := !slices.ContainsFunc(interfaces, func(i netctl.RadioInterface) bool { return k.radio(i) == nil })
	if !known || time.Since(k.capabilitiesAt) > staleAfter {
		if k.capabilities, err = k.driver.Radios(); err != nil {
			return nil, err
		}
		k.capabilitiesAt = time.Now()
	}
	return interfaces, nil
}

// applyRegdomain sets the regulatory domain and waits until it is applied. Self-managed radios never apply it.
func (k *Manager) applyRegdomain(ctx context.Context, country string) error {
	if k.regdomain == country {
		return nil
	}
	if err := k.driver.SetCountry(country); err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(ctx, regdomainTimeout)
	defer stop()
	for ctx.Err() == nil {
		have, err := k.driver.Country()
		if err != nil {
			return err
		}
		if have == country {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(regdomainPoll):
		}
	}
	k.regdomain, k.capabilitiesAt = country, time.Time{} // the allowed channels and powers have changed
	return nil
}

// radio returns the radio of an interface.
func (k *Manager) radio(i netctl.RadioInterface) *netctl.Radio {
	n := slices.IndexFunc(k.capabilities, func(r netctl.Radio) bool { return r.Index == i.Radio })
	if n < 0 {
		return nil
	}
	return &k.capabilities[n]
}

// wantedInterface is an interface that the configuration needs.
type wantedInterface struct {
	name string
	kind netctl.RadioKind
}

func (w Config) interfaces() (list []wantedInterface) {
	if w.Hotspot.Radio == "hostapd" {
		list = append(list, wantedInterface{w.Hotspot.Interface, netctl.RadioAccessPoint})
	}
	for _, j := range w.Uplinks {
		list = append(list, wantedInterface{j.Interface, netctl.RadioStation})
	}
	return list
}

// removeUnwanted removes the interfaces that the manager created and that are no longer wanted.
func (k *Manager) removeUnwanted(w Config) {
	wanted := w.interfaces()
	k.created = slices.DeleteFunc(k.created, func(name string) bool {
		if slices.ContainsFunc(wanted, func(w wantedInterface) bool { return w.name == name }) || k.driver == nil {
			return false
		}
		have, err := k.driver.Interfaces()
		if i := find(have, name); err == nil && i != nil {
			err = k.driver.Remove(*i)
		}
		k.logError("drop", err)
		return err == nil
	})
}

// createMissing creates the wanted interfaces that are missing, each on the radio of a wanted one of the other kind, if
// that radio supports both. It returns the interfaces that exist then.
func (k *Manager) createMissing(w Config, have []netctl.RadioInterface) ([]netctl.RadioInterface, error) {
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
			if r := k.radio(*i); r != nil && r.BSSWithSTA > 0 {
				err := k.driver.Add(*r, missing.name, missing.kind)
				if errs = append(errs, err); err == nil {
					k.created, made = append(k.created, missing.name), true
				}
				break
			}
		}
	}
	if made {
		now, err := k.driver.Interfaces()
		if err == nil {
			have = now
		}
		errs = append(errs, err)
	}
	return have, errors.Join(errs...)
}

// accessPoint returns the desired access point and its state.
func (k *Manager) accessPoint(
	ctx context.Context, w Config, before State, i netctl.RadioInterface, interfaces []netctl.RadioInterface,
) State {
	h := w.Hotspot
	r := k.radio(i)
	if r == nil {
		return State{Why: "the radio has just appeared"}
	}
	if !r.AccessPoint {
		return failed("the radio of %s cannot be an access point: another Wi-Fi adapter can", i.Name)
	}
	most := cmp.Or(r.MaxStations, k.opt.Stations(i.Name))
	a := netctl.AccessPoint{
		Interface: i.Name, Index: i.Index, Address: i.Address, Bridge: netctl.Bridge, OWEInterface: oweInterface, Radio: *r,
		SSID: h.SSID, Password: h.Password, Country: h.Country, Band: h.Band, MaxStations: most,
	}
	on := i.Kind == netctl.RadioAccessPoint && i.MHz != 0
	followed := shareChannel(w, &a, i, interfaces)
	if !followed {
		band, ok := r.Band(h.Band)
		if !ok {
			return failed("the radio of %s does not have the band %s", i.Name, h.Band)
		}
		switch {
		case h.Channel != 0 && !allowed(band, h.Channel):
			return failed("channel %d is not allowed here: write another one, or 0", h.Channel)
		case h.Channel != 0:
			a.Channel = h.Channel
		case !slices.ContainsFunc(band.Channels, func(c netctl.Channel) bool { return c.Allowed }):
			return failed("the rules of %s allow no network on %s with this radio: write the other band", h.Country, h.Band)
		case !k.chooseChannel(ctx, w.InUse, on, i, band):
			return State{Why: "the radio scans for the quietest channel"} // it scans once the access point has ended
		default:
			a.Channel = k.channel
		}
	}
	s := State{AccessPoint: &a, Beaconing: on, MaxStations: most, SharedChannel: a.WithSTA}
	if !on {
		k.switchAt = time.Time{}
		return k.awaitStart(s, i)
	}
	k.silentSince = time.Time{}
	s.MHz = i.MHz
	if followed && !k.switchChannel(ctx, a, i) {
		return State{Why: "the access point restarts on the channel of the lender's network"}
	}
	k.countStations(&s, before, interfaces)
	return s
}

// awaitStart waits for an access point to start. If its radio was switched off meanwhile, hostapd reports nothing and
// waits, on some radios for ever. So awaitStart has it stopped, and started again once the radio can be switched on.
func (k *Manager) awaitStart(s State, i netctl.RadioInterface) State {
	now := time.Now()
	if k.silentSince.IsZero() {
		k.silentSince = now
	}
	if now.Sub(k.silentSince) < startTimeout {
		return s
	}
	if err := k.driver.SetUp(i); err != nil {
		return failed("%v", err)
	}
	k.silentSince = now
	return s
}

// allowed tells whether a BSS may be started on a channel of the band.
func allowed(band netctl.Band, number int) bool {
	c, ok := band.Channel(number)
	return ok && c.Allowed
}

// shareChannel sets the access point's channel to that of a lender's network on the same radio, where the radio
// requires it. It returns whether that decides the channel.
func shareChannel(w Config, a *netctl.AccessPoint, i netctl.RadioInterface, interfaces []netctl.RadioInterface) bool {
	for _, j := range w.Uplinks {
		other := find(interfaces, j.Interface)
		if other == nil || other.Radio != i.Radio {
			continue
		}
		a.WithSTA = true
		number, name := netctl.ChannelNumber(j.MHz)
		band, _ := a.Radio.Band(name)
		if allowed(band, number) && a.Radio.Channels <= 1 {
			a.Band, a.Channel = name, number
			return true
		}
	}
	return false
}

// chooseChannel makes sure that a channel is chosen. It returns false if the access point must stop first: few radios
// can scan while they are an access point.
func (k *Manager) chooseChannel(ctx context.Context, busy, on bool, i netctl.RadioInterface, band netctl.Band) bool {
	if !allowed(band, k.channel) {
		k.channel = 0 // none yet, or one of another band or country
	}
	if number, name := netctl.ChannelNumber(i.MHz); k.channel == 0 && on && name == band.Name && allowed(band, number) {
		k.channel, k.channelAt = number, time.Now() // it was started under another configuration
	}
	switch {
	case k.channel != 0 && (busy || time.Since(k.channelAt) <= rescanAfter):
		return true
	case on:
		return false
	}
	k.channel, k.channelAt = k.scanForChannel(ctx, i, band), time.Now()
	return true
}

// scanForChannel chooses a channel from a scan. If the scan fails, any channel is better than none.
func (k *Manager) scanForChannel(ctx context.Context, i netctl.RadioInterface, band netctl.Band) int {
	limited, stop := context.WithTimeout(ctx, scanTimeout)
	defer stop()
	var networks []netctl.ScanResult
	var surveys []netctl.Survey
	err := k.driver.SetUp(i)
	if err == nil {
		networks, surveys, err = k.driver.Scan(limited, i)
	}
	number := plan.ChooseChannel(band, networks, surveys, k.channel)
	if ctx.Err() == nil {
		k.logError("listen", err)
		k.opt.Log.Info("channel chosen", "interface", i.Name, "channel", number, "networks", len(networks))
	}
	return number
}

// switchChannel moves a running access point to the channel of the lender's network, which can be joined only after that. It
// returns false if the access point must restart for the move, because hostapd refused to switch or nothing happened.
func (k *Manager) switchChannel(ctx context.Context, a netctl.AccessPoint, i netctl.RadioInterface) bool {
	number, band := netctl.ChannelNumber(i.MHz)
	switch {
	case number == a.Channel || band != a.Band: // a change of the band needs a restart
		k.switchAt = time.Time{}
		return true
	case !k.switchAt.IsZero():
		return time.Since(k.switchAt) < retryDelay
	}
	to, _ := a.Radio.Band(a.Band)
	c, _ := to.Channel(a.Channel)
	err := k.opt.SwitchChannel(ctx, a.Interface, wpa.Channel{
		MHz: c.MHz, HT: to.HT, VHT: to.VHT && a.Band == netctl.Band5,
	})
	k.logError("move", err)
	k.switchAt = time.Now()
	if err != nil {
		k.switchAt = k.switchAt.Add(-retryDelay)
		return false
	}
	k.opt.Log.Info("the access point follows a lender's network", "interface", a.Interface, "channel", a.Channel)
	return true
}

// countStations counts the associated stations.
func (k *Manager) countStations(s *State, before State, interfaces []netctl.RadioInterface) {
	var own []netctl.RadioInterface
	for _, name := range s.AccessPoint.Interfaces() {
		if i := find(interfaces, name); i != nil {
			own = append(own, *i)
		}
	}
	n, err := k.driver.Stations(own)
	k.logError("count", err)
	if err != nil {
		n = before.Stations
	}
	refused := k.rejected.Swap(false)
	s.Stations, s.Full = n, refused || before.Full && n == k.learnedMax
	if refused || k.learnedMax != 0 && n > k.learnedMax {
		k.learnedMax = n
	}
	s.MaxStations = cmp.Or(s.MaxStations, k.learnedMax)
}
