package wpa

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	pollPeriod = 10 * time.Second // of polls in addition to events: the program may have died without an event
	redial     = 2 * time.Second  // pause after a failed connection
)

// Limits of the diagnosis.
const (
	strong         = -75 // dBm: a network this strong does not go out of range between two scans
	freshAge       = 5   // seconds: a result of the last scan is not older
	maxMissed      = 2   // scans in a row without the network until it is lost: one scan often misses a weak network
	maxFailedScans = 3   // failed scans in a row until the radio counts as busy
	maxAnswers     = 64  // answers per listing of scan results, 4 kB each
)

// Network is a lender's network that an interface associates with.
type Network struct {
	Interface string
	Socket    string // control socket of the interface's wpa_supplicant
	SSID      string // bytes
}

// Cause is why an interface is not associated.
type Cause string

// The causes.
const (
	NoCause    Cause = ""            // it is associated, or nothing is known yet
	NotRunning Cause = "not-running" // wpa_supplicant is not running
	RadioOff   Cause = "radio-off"
	RadioBusy  Cause = "radio-busy"
	Passphrase Cause = "passphrase" // wrong
	NotFound   Cause = "not-heard"  // not found since the first scan
	LostStrong Cause = "asleep"     // lost while strong
	LostWeak   Cause = "faded"      // lost while weak
	Refused    Cause = "refused"    // authentication or association rejected
	Joining    Cause = "joining"    // in progress, no error known
)

// Association is the state of the association with a network.
type Association struct {
	Associated bool
	MHz        int    // its last known frequency; 0: unknown
	Signal     int    // dBm, last known; 0: unknown
	Cause      Cause  // why it is not associated
	Why        string // the same as a sentence, "" when associated
}

// JoinerOptions are a Joiner's dependencies.
type JoinerOptions struct {
	Log  *slog.Logger
	Dir  string        // for local sockets, as in Dial
	Scan time.Duration // interval of wpa_supplicant's scans for a missing network: whole seconds, not 0
	// Wake is called, from any goroutine, when an Association changes, except for its Signal alone. Nil for none.
	Wake func()
}

// Joiner monitors the wpa_supplicants of lenders' networks and the state of each association. It does not start them, and sets
// only their scan interval.
type Joiner struct {
	opt  JoinerOptions
	dial func(socket string) (asker, error) // replaced by tests

	mu      sync.Mutex // guards what follows
	joins   map[string]*joining
	adopt   func(*joining) // starts a goroutine that monitors the network; nil until Run
	stopped bool
}

// asker is what a Joiner needs of a Conn.
type asker interface {
	Request(ctx context.Context, command string) (string, error)
	Events() <-chan Event
	Close() error
}

// joining is a network and its state. Joiner.mu guards its fields.
type joining struct {
	network Network
	gone    bool   // not in the list any more
	stop    func() // ends the connection for network
	known   knowledge
}

// NewJoiner returns a Joiner without networks.
func NewJoiner(opt JoinerOptions) *Joiner {
	if opt.Wake == nil {
		opt.Wake = func() {}
	}
	j := &Joiner{opt: opt, joins: make(map[string]*joining)}
	j.dial = func(socket string) (asker, error) {
		c, err := Dial(socket, opt.Dir)
		if err != nil {
			return nil, err // not a nil *Conn
		}
		return c, nil
	}
	return j
}

// String names the task in the daemon's log.
func (j *Joiner) String() string { return "lenders' networks" }

// Set sets the networks to monitor, one for each interface. Setting the same list again does nothing. A changed network starts
// without state.
func (j *Joiner) Set(list []Network) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.stopped {
		return
	}
	listed := make(map[string]bool, len(list))
	for _, n := range list {
		listed[n.Interface] = true
		w := j.joins[n.Interface]
		switch {
		case w == nil:
			w = &joining{network: n, stop: func() {}}
			j.joins[n.Interface] = w
			if j.adopt != nil {
				j.adopt(w)
			}
		case w.network != n:
			w.network, w.known = n, knowledge{}
			w.stop()
		}
	}
	for name, w := range j.joins {
		if !listed[name] {
			w.gone = true
			w.stop()
			delete(j.joins, name)
		}
	}
}

// State returns the association of an interface, the zero value for one that is not in the list.
func (j *Joiner) State(device string) Association {
	j.mu.Lock()
	defer j.mu.Unlock()
	if w := j.joins[device]; w != nil {
		return w.known.association()
	}
	return Association{}
}

// Run monitors until ctx ends. It may be called once.
func (j *Joiner) Run(ctx context.Context) error {
	var g errgroup.Group
	j.mu.Lock()
	j.adopt = func(w *joining) {
		g.Go(func() error {
			j.follow(ctx, w)
			return nil
		})
	}
	for _, w := range j.joins {
		j.adopt(w)
	}
	j.mu.Unlock()
	<-ctx.Done()
	j.mu.Lock()
	j.stopped = true // from here on no network is added
	j.mu.Unlock()
	return g.Wait()
}

// follow monitors the network of one interface. It reconnects when wpa_supplicant restarts.
func (j *Joiner) follow(ctx context.Context, w *joining) {
	for {
		one, stop := context.WithCancel(ctx)
		j.mu.Lock()
		n, gone := w.network, w.gone
		w.stop = stop
		j.mu.Unlock()
		if gone || ctx.Err() != nil {
			stop()
			return
		}
		err := j.converse(one, w, n)
		if one.Err() == nil {
			j.opt.Log.Debug("cannot query wpa_supplicant", "interface", n.Interface, "error", err)
			j.learn(w, n, func(k *knowledge) { *k = knowledge{asked: true} })
			pause(one, redial)
		}
		stop()
	}
}

// converse polls one wpa_supplicant and receives its events until an error or the end of ctx.
func (j *Joiner) converse(ctx context.Context, w *joining, n Network) error {
	c, err := j.dial(n.Socket)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, command := range []string{"ATTACH", fmt.Sprintf("SCAN_INTERVAL %d", int(j.opt.Scan.Seconds()))} {
		if _, err := c.Request(ctx, command); err != nil {
			return err
		}
	}
	poll := time.NewTicker(pollPeriod)
	defer poll.Stop()
	for last := (Event{}); ; {
		if err := j.poll(ctx, c, w, n, last); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case last = <-c.Events():
			if last.Kind == Terminating {
				return errors.New("wpa_supplicant is terminating")
			}
		case <-poll.C:
			last = Event{}
		}
	}
}

// poll queries the state. last is the event that caused the poll, zero for none.
func (j *Joiner) poll(ctx context.Context, c asker, w *joining, n Network, last Event) error {
	reply, err := c.Request(ctx, "STATUS")
	if err != nil {
		return err
	}
	status := parseLines(reply)
	state, mhz, signal := status["wpa_state"], number(status["freq"]), 0
	var found *bss
	if state == completed {
		reply, err := c.Request(ctx, "SIGNAL_POLL")
		if err != nil && !errors.Is(err, ErrRefused) {
			return err
		}
		signal = number(parseLines(reply)["RSSI"])
	} else if last.Kind == ScanResults {
		if found, err = find(ctx, c, n.SSID); err != nil {
			return err
		}
	}
	j.learn(w, n, func(k *knowledge) {
		k.asked, k.running, k.state = true, true, state
		k.event(last)
		if state == completed {
			k.associated(mhz, signal)
		} else if last.Kind == ScanResults {
			k.scanned(found)
		}
	})
	return nil
}

// find returns the last scan's strongest BSS with that SSID, nil for none.
func find(ctx context.Context, c asker, ssid string) (best *bss, err error) {
	from := 0
	for range maxAnswers {
		reply, err := c.Request(ctx, fmt.Sprintf("BSS RANGE=%d- MASK=%#x", from, bssMask))
		if err != nil {
			return nil, err
		}
		list := parseBSS(reply)
		for _, h := range list {
			from = max(from, h.id+1)
			if h.ssid == ssid && h.age <= freshAge && (best == nil || h.signal > best.signal) {
				best = &h
			}
		}
		if len(list) == 0 {
			break
		}
	}
	return best, nil
}

// learn updates the state of a network, unless the interface has a different network by now.
func (j *Joiner) learn(w *joining, n Network, change func(*knowledge)) {
	j.mu.Lock()
	before := w.known.association()
	if !w.gone && w.network == n {
		change(&w.known)
	}
	now := w.known.association()
	j.mu.Unlock()
	if before.Associated == now.Associated && before.MHz == now.MHz && before.Why == now.Why {
		return
	}
	if before.Associated != now.Associated || before.Cause != now.Cause {
		j.opt.Log.Info("lender's network", "interface", n.Interface, "associated", now.Associated, "why", now.Why)
	}
	j.opt.Wake()
}

// States of wpa_supplicant (wpa_supplicant_state_txt in wpa_supplicant.c).
const (
	completed = "COMPLETED"
	disabled  = "INTERFACE_DISABLED"
)

// knowledge is the state of a network. In the zero value nothing is known.
type knowledge struct {
	asked       bool // a query was tried
	running     bool
	state       string
	ever        bool // it was found or associated at least once
	mhz         int
	signal      int
	missed      int // scans in a row that did not find it
	failedScans int // failed scans in a row
	wrongKey    bool
	failed      bool // an attempt has failed since the last association
	status      int  // its status code, 0 if there was none
}

// Status codes (IEEE 802.11-2020, table 9-50) and the authentication algorithm of SAE (9.4.1.1).
const (
	statusChallenge = 15 // with SAE: wrong passphrase
	statusFull      = 17
	statusLater     = 30
	authSAE         = 3
)

// event records an event.
func (k *knowledge) event(e Event) {
	switch e.Kind {
	case TempDisabled:
		k.failed = true
		k.wrongKey = k.wrongKey || e.WrongKey
	case AuthReject, AssocReject:
		k.failed, k.status = true, e.Status
		k.wrongKey = k.wrongKey || e.AuthType == authSAE && e.Status == statusChallenge
	case ScanFailed:
		k.failedScans++
	}
}

// associated records that the interface is associated.
func (k *knowledge) associated(mhz, signal int) {
	*k = knowledge{asked: true, running: true, state: k.state, ever: true, mhz: mhz, signal: k.signal}
	if signal != 0 {
		k.signal = signal
	}
}

// scanned records the result of a scan, nil if it did not find the network.
func (k *knowledge) scanned(h *bss) {
	k.failedScans = 0
	if h == nil {
		k.missed++
		return
	}
	if k.missed >= maxMissed {
		k.failed, k.status = false, 0 // the earlier failure may not apply any more
	}
	k.missed, k.ever, k.mhz, k.signal = 0, true, h.mhz, h.signal
}

// association returns the state as an Association.
func (k *knowledge) association() Association {
	n := Association{Associated: k.state == completed, MHz: k.mhz, Signal: k.signal}
	if !n.Associated && k.asked {
		n.Cause, n.Why = k.cause()
	}
	return n
}

// cause returns the first cause that applies for why the interface is not associated.
func (k *knowledge) cause() (Cause, string) {
	switch {
	case !k.running:
		return NotRunning, "wpa_supplicant, which joins the network, does not run"
	case k.state == disabled:
		return RadioOff, "the radio is switched off: rfkill unblock wifi switches it on"
	case k.wrongKey:
		return Passphrase, "the network takes another passphrase: ask its lender, then passerelle wifi lend"
	case k.failedScans >= maxFailedScans:
		return RadioBusy, "the radio does not get to look for the network: it is too busy, or its driver fails"
	case !k.ever && k.missed > 0:
		return NotFound, "the network is not heard: the phone is out of range, or does not share its connection"
	case k.missed >= maxMissed && k.signal >= strong:
		return LostStrong, "the network was strong and is gone: the phone sleeps, or shares its connection no more"
	case k.missed >= maxMissed:
		return LostWeak, "the network grew weak and is gone: the phone is out of range"
	case k.failed:
		return Refused, refusal(k.status)
	}
	if !k.ever {
		return Joining, "the network is looked for"
	}
	return Joining, "the network is being joined"
}

// refusal describes a status code.
func refusal(status int) string {
	switch status {
	case 0:
		return "the network is heard, but joining it fails"
	case statusFull:
		return "the network has as many devices as it takes: its lender may send one away, or allow more"
	case statusLater:
		return "the network asks to come again later"
	}
	return fmt.Sprintf("the network does not let the box in (status code %d): has its lender blocked it?", status)
}

// pause waits for d, at most until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
