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

// When a wpa_supplicant is asked, besides at each of its events.
const (
	pollPeriod = 10 * time.Second // how it stands; it may have died without a word
	redial     = 2 * time.Second  // after it could not be reached
)

// What is told from what.
const (
	strong     = -75 // dBm: a network that was heard so well does not fade between two scans
	freshAge   = 5   // seconds: heard in the scan that has just ended
	goneAfter  = 2   // scans in a row that did not hear it: one often misses a weak one
	busyAfter  = 3   // scans in a row that could not be made
	maxAnswers = 64  // to one listing of the networks in range, 4 kB each
)

// Network is a lender's network that an interface shall join.
type Network struct {
	Interface string
	Socket    string // of the interface's wpa_supplicant
	SSID      string // bytes
}

// Cause is why a network is not joined.
type Cause string

// The causes.
const (
	NoCause    Cause = ""            // it is joined, or nothing is known yet
	NotRunning Cause = "not-running" // wpa_supplicant is not there
	RadioOff   Cause = "radio-off"
	RadioBusy  Cause = "radio-busy"
	Passphrase Cause = "passphrase" // it is wrong
	NotHeard   Cause = "not-heard"  // since it is looked for
	Asleep     Cause = "asleep"     // it was strong, and went
	Faded      Cause = "faded"      // it was weak, and went
	Refused    Cause = "refused"    // it is heard and lets nobody in, or not the box
	Joining    Cause = "joining"    // nothing is known to be wrong
)

// Join is how it stands with a network.
type Join struct {
	Joined bool
	MHz    int    // where it is, or was heard last; 0: nowhere yet
	Signal int    // dBm, of the same; 0: nowhere yet
	Cause  Cause  // why it is not joined
	Why    string // the same as a sentence, "" when joined
}

// JoinerOptions are what a Joiner needs from outside.
type JoinerOptions struct {
	Log  *slog.Logger
	Dir  string        // for sockets of its own, as Dial has it
	Scan time.Duration // how often wpa_supplicant shall look for a network that is not there: whole seconds, not 0
	// Wake is called, from any goroutine, whenever a Join has changed, but for its Signal alone. Nil for none.
	Wake func()
}

// Joiner watches the wpa_supplicants that join lenders' networks, and knows how it stands with each. It starts none and
// tells them nothing but how often to look.
type Joiner struct {
	opt  JoinerOptions
	dial func(socket string) (asker, error) // replaced by tests

	mu      sync.Mutex // guards what follows
	joins   map[string]*joining
	adopt   func(*joining) // starts a goroutine that follows the network; nil until Run
	stopped bool
}

// asker is what a Joiner needs of a Conn.
type asker interface {
	Request(ctx context.Context, command string) (string, error)
	Events() <-chan Event
	Close() error
}

// joining is a network and what is known of it. Its fields are guarded by Joiner.mu.
type joining struct {
	network Network
	gone    bool   // no longer in the list
	stop    func() // ends the conversation about network
	known   knowledge
}

// NewJoiner returns a joiner that has nothing to watch yet.
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

// Set makes list all the networks that are watched, one an interface. An unchanged list does nothing; of a network that
// has changed nothing is known.
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

// State says how it stands with the network of an interface; of one that is not in the list nothing is known.
func (j *Joiner) State(device string) Join {
	j.mu.Lock()
	defer j.mu.Unlock()
	if w := j.joins[device]; w != nil {
		return w.known.join()
	}
	return Join{}
}

// Run watches until ctx ends. It may be called once.
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
	j.stopped = true // no network is adopted from here on
	j.mu.Unlock()
	return g.Wait()
}

// follow watches the network of one interface, through one wpa_supplicant after the other.
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
			j.opt.Log.Debug("wpa_supplicant cannot be asked", "interface", n.Interface, "error", err)
			j.learn(w, n, func(k *knowledge) { *k = knowledge{asked: true} })
			pause(one, redial)
		}
		stop()
	}
}

// converse asks one wpa_supplicant and listens to it until that fails or ctx ends.
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
		if err := j.look(ctx, c, w, n, last); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case last = <-c.Events():
			if last.Kind == Terminating {
				return errors.New("it ends")
			}
		case <-poll.C:
			last = Event{}
		}
	}
}

// look asks how it stands, after an event or without one.
func (j *Joiner) look(ctx context.Context, c asker, w *joining, n Network, last Event) error {
	reply, err := c.Request(ctx, "STATUS")
	if err != nil {
		return err
	}
	status := parseLines(reply)
	state, mhz, signal := status["wpa_state"], number(status["freq"]), 0
	var found *heard
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
			k.joined(mhz, signal)
		} else if last.Kind == ScanResults {
			k.scanned(found)
		}
	})
	return nil
}

// find returns the strongest of the networks of a name that the last scan heard, nil for none.
func find(ctx context.Context, c asker, ssid string) (best *heard, err error) {
	from := 0
	for range maxAnswers {
		reply, err := c.Request(ctx, fmt.Sprintf("BSS RANGE=%d- MASK=%#x", from, bssMask))
		if err != nil {
			return nil, err
		}
		list := parseHeard(reply)
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

// learn changes what is known of a network, unless the interface shall join another one by now.
func (j *Joiner) learn(w *joining, n Network, change func(*knowledge)) {
	j.mu.Lock()
	before := w.known.join()
	if !w.gone && w.network == n {
		change(&w.known)
	}
	now := w.known.join()
	j.mu.Unlock()
	if before.Joined == now.Joined && before.MHz == now.MHz && before.Why == now.Why {
		return
	}
	if before.Joined != now.Joined || before.Cause != now.Cause {
		j.opt.Log.Info("lender's network", "interface", n.Interface, "joined", now.Joined, "why", now.Why)
	}
	j.opt.Wake()
}

// States of wpa_supplicant (wpa_supplicant_state_txt in wpa_supplicant.c).
const (
	completed = "COMPLETED"
	disabled  = "INTERFACE_DISABLED"
)

// knowledge is what is known of a network. The zero value knows nothing.
type knowledge struct {
	asked    bool // or tried to
	running  bool
	state    string
	ever     bool // heard or joined
	mhz      int  // where
	signal   int
	missed   int // scans in a row that did not hear it
	unmade   int // scans in a row that could not be made
	wrongKey bool
	failed   bool // an attempt to join it has failed since it was joined last
	status   int  // the status code of that, 0 if there was none
}

// Of status codes (IEEE 802.11-2020, table 9-50).
const (
	statusChallenge = 15 // with SAE: the other side has another passphrase
	statusFull      = 17
	statusLater     = 30
	authSAE         = 3
)

// event takes in what an event says by itself.
func (k *knowledge) event(e Event) {
	switch e.Kind {
	case TempDisabled:
		k.failed = true
		k.wrongKey = k.wrongKey || e.WrongKey
	case AuthReject, AssocReject:
		k.failed, k.status = true, e.Status
		k.wrongKey = k.wrongKey || e.AuthType == authSAE && e.Status == statusChallenge
	case ScanFailed:
		k.unmade++
	}
}

// joined takes in that the network is joined.
func (k *knowledge) joined(mhz, signal int) {
	*k = knowledge{asked: true, running: true, state: k.state, ever: true, mhz: mhz, signal: k.signal}
	if signal != 0 {
		k.signal = signal
	}
}

// scanned takes in what a scan has found, nil for not this network.
func (k *knowledge) scanned(h *heard) {
	k.unmade = 0
	if h == nil {
		k.missed++
		return
	}
	if k.missed >= goneAfter {
		k.failed, k.status = false, 0 // it was away: who knows what was wrong
	}
	k.missed, k.ever, k.mhz, k.signal = 0, true, h.mhz, h.signal
}

// join draws the conclusion.
func (k *knowledge) join() Join {
	n := Join{Joined: k.state == completed, MHz: k.mhz, Signal: k.signal}
	if !n.Joined && k.asked {
		n.Cause, n.Why = k.cause()
	}
	return n
}

// cause says why a network is not joined, the first that holds.
func (k *knowledge) cause() (Cause, string) {
	switch {
	case !k.running:
		return NotRunning, "wpa_supplicant, which joins the network, does not run"
	case k.state == disabled:
		return RadioOff, "the radio is switched off: rfkill unblock wifi switches it on"
	case k.wrongKey:
		return Passphrase, "the network takes another passphrase: ask its lender, then passerelle wifi lend"
	case k.unmade >= busyAfter:
		return RadioBusy, "the radio does not get to look for the network: it is too busy, or its driver fails"
	case !k.ever && k.missed > 0:
		return NotHeard, "the network is not heard: the phone is out of range, or does not share its connection"
	case k.missed >= goneAfter && k.signal >= strong:
		return Asleep, "the network was strong and is gone: the phone sleeps, or shares its connection no more"
	case k.missed >= goneAfter:
		return Faded, "the network grew weak and is gone: the phone is out of range"
	case k.failed:
		return Refused, refusal(k.status)
	}
	if !k.ever {
		return Joining, "the network is looked for"
	}
	return Joining, "the network is being joined"
}

// refusal says what a status code means for people.
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

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
