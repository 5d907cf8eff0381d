package wpa

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// switchBeacons is how many beacons announce a channel switch: one second. A sleeping phone wakes for some of them.
const switchBeacons = 10

// HostapdOptions are a Hostapd's dependencies.
type HostapdOptions struct {
	Socket string // hostapd's control socket
	Dir    string // for local sockets, as in Dial
	Log    *slog.Logger
	// On is called for each event, from Run's goroutine. It must return soon.
	On func(Event)
}

// Beacon is the vendor elements in the beacons of hostapd's BSSs.
type Beacon struct {
	Sockets  []string // hostapd's control sockets, one for each BSS
	Elements string   // in hexadecimal digits, as vendor_elements in hostapd.conf
}

func (b Beacon) equal(o Beacon) bool {
	return b.Elements == o.Elements && slices.Equal(b.Sockets, o.Sockets)
}

// Hostapd controls an access point. hostapd may start, stop and restart meanwhile.
type Hostapd struct {
	opt    HostapdOptions
	wakeup chan struct{}

	mu     sync.Mutex
	beacon Beacon // desired
}

// NewHostapd returns a Hostapd. The access point need not run yet.
func NewHostapd(opt HostapdOptions) *Hostapd {
	return &Hostapd{opt: opt, wakeup: make(chan struct{}, 1)}
}

// String names the task in the daemon's log.
func (h *Hostapd) String() string { return "access point's events" }

// SetBeacon sets the desired elements. It does not block: Run applies them to each hostapd without disturbing its stations.
func (h *Hostapd) SetBeacon(b Beacon) {
	h.mu.Lock()
	changed := !h.beacon.equal(b)
	h.beacon = b
	h.mu.Unlock()
	if !changed {
		return
	}
	select {
	case h.wakeup <- struct{}{}:
	default:
	}
}

// Run forwards events and applies the beacon until ctx ends. It reconnects when hostapd restarts.
func (h *Hostapd) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := h.listen(ctx)
		h.opt.Log.Debug("cannot attach to hostapd", "error", err)
		pause(ctx, redial)
	}
	return nil
}

// listen forwards the events of one hostapd and applies the beacon.
func (h *Hostapd) listen(ctx context.Context) error {
	c, err := Dial(h.opt.Socket, h.opt.Dir)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Attach(ctx); err != nil {
		return err
	}
	alive := time.NewTicker(pollPeriod)
	defer alive.Stop()
	var applied Beacon // zero: hostapd's configuration may be out of date
	for {
		if err := h.applyBeacon(ctx, c, &applied); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-c.Events():
			h.opt.On(e)
		case <-h.wakeup:
		case <-alive.C:
			if _, err := c.Request(ctx, "PING"); err != nil {
				return err
			}
		}
	}
}

// applyBeacon changes the beacons of an enabled hostapd, unless they are as desired. hostapd rejects a change during a channel
// switch; the change is retried at the next event or poll.
func (h *Hostapd) applyBeacon(ctx context.Context, c *Conn, applied *Beacon) error {
	h.mu.Lock()
	want := h.beacon
	h.mu.Unlock()
	if want.equal(*applied) {
		return nil
	}
	status, err := c.Request(ctx, "STATUS")
	if err != nil && !errors.Is(err, ErrRefused) {
		return err
	}
	if parseLines(status)["state"] != enabled {
		return nil // changing its beacons now would start its BSS too early
	}
	for _, socket := range want.Sockets {
		if err := setBeacon(ctx, socket, h.opt.Dir, want.Elements); err != nil {
			h.opt.Log.Debug("hostapd rejected a change of its beacons", "error", err)
			return nil
		}
	}
	*applied = want
	return nil
}

// enabled is the state of a hostapd that sends beacons (hostapd_state_text in hostapd.c).
const enabled = "ENABLED"

// setBeacon changes the beacons of one BSS (ieee802_11_set_beacon in hostapd's beacon.c).
func setBeacon(ctx context.Context, socket, dir, elements string) error {
	c, err := Dial(socket, dir)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, command := range []string{"SET vendor_elements " + elements, "UPDATE_BEACON"} {
		if _, err := c.Request(ctx, command); err != nil {
			return err
		}
	}
	return nil
}

// Channel is an access point's channel of 20 MHz.
type Channel struct {
	MHz     int // center frequency
	HT, VHT bool
}

// SwitchChannel makes the access point announce a channel switch (CSA) and switch a second later. Stations follow, except those
// without support for CSA, which scan for the network again. The event APSwitched reports the end.
func (h *Hostapd) SwitchChannel(ctx context.Context, to Channel) error {
	c, err := Dial(h.opt.Socket, h.opt.Dir)
	if err != nil {
		return fmt.Errorf("switch the access point to %d MHz: %w", to.MHz, err)
	}
	defer c.Close()
	if _, err := c.Request(ctx, to.command()); err != nil {
		return fmt.Errorf("switch the access point to %d MHz: %w", to.MHz, err)
	}
	return nil
}

// command returns CHAN_SWITCH in hostapd's syntax (hostapd_parse_csa_settings in ctrl_iface_ap.c).
func (c Channel) command() string {
	s := fmt.Sprintf("CHAN_SWITCH %d %d bandwidth=20", switchBeacons, c.MHz)
	if c.HT {
		s += " ht"
	}
	if c.VHT {
		s += " vht"
	}
	return s
}
