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

// switchBeacons is how many beacons announce a channel switch: a second's. A phone that sleeps wakes for some of them.
const switchBeacons = 10

// HostapdOptions are what a Hostapd needs from outside.
type HostapdOptions struct {
	Socket string // hostapd's control socket
	Dir    string // for sockets of its own, as Dial has it
	Log    *slog.Logger
	// On is called for each event of hostapd's, from Run's goroutine. It returns soon.
	On func(Event)
}

// Beacon is what hostapd's networks add to their beacons.
type Beacon struct {
	Sockets  []string // hostapd's control sockets, one for each network
	Elements string   // in hexadecimal digits, as hostapd.conf has them as vendor_elements
}

func (b Beacon) equal(o Beacon) bool {
	return b.Elements == o.Elements && slices.Equal(b.Sockets, o.Sockets)
}

// Hostapd is the control of an access point, whether it runs or not.
type Hostapd struct {
	opt  HostapdOptions
	poke chan struct{}

	mu     sync.Mutex
	beacon Beacon // as it is wanted
}

// NewHostapd returns the control of an access point that may not run yet.
func NewHostapd(opt HostapdOptions) *Hostapd {
	return &Hostapd{opt: opt, poke: make(chan struct{}, 1)}
}

// String names the task in the daemon's log.
func (h *Hostapd) String() string { return "access point's events" }

// SetBeacon says what beacons are to have from now on. It never waits: Run has each hostapd change those that it sends,
// without a station noticing more than that.
func (h *Hostapd) SetBeacon(b Beacon) {
	h.mu.Lock()
	changed := !h.beacon.equal(b)
	h.beacon = b
	h.mu.Unlock()
	if !changed {
		return
	}
	select {
	case h.poke <- struct{}{}:
	default:
	}
}

// Run passes events on, and tells what beacons are to have, until ctx ends, from and to one hostapd after the other.
func (h *Hostapd) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := h.listen(ctx)
		h.opt.Log.Debug("hostapd cannot be listened to", "error", err)
		pause(ctx, redial)
	}
	return nil
}

// listen passes the events of one hostapd on, and tells it what its beacons are to have.
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
	var told Beacon // what it began with was wanted when it was started, and may be out of date
	for {
		if err := h.tell(ctx, c, &told); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-c.Events():
			h.opt.On(e)
		case <-h.poke:
		case <-alive.C:
			if _, err := c.Request(ctx, "PING"); err != nil {
				return err
			}
		}
	}
}

// tell has a hostapd that sends change its beacons, unless they are as wanted. What it refuses is tried again at the next
// event or poll: it changes none while it moves to another channel.
func (h *Hostapd) tell(ctx context.Context, c *Conn, told *Beacon) error {
	h.mu.Lock()
	want := h.beacon
	h.mu.Unlock()
	if want.equal(*told) {
		return nil
	}
	status, err := c.Request(ctx, "STATUS")
	if err != nil && !errors.Is(err, ErrRefused) {
		return err
	}
	if parseLines(status)["state"] != enabled {
		return nil // to change its beacons now would begin its network before its time
	}
	for _, socket := range want.Sockets {
		if err := setBeacon(ctx, socket, h.opt.Dir, want.Elements); err != nil {
			h.opt.Log.Debug("hostapd does not change its beacons", "error", err)
			return nil
		}
	}
	*told = want
	return nil
}

// enabled is the state of a hostapd that sends (hostapd_state_text in hostapd.c).
const enabled = "ENABLED"

// setBeacon changes the beacons of one network (ieee802_11_set_beacon in hostapd's beacon.c).
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

// Channel is where an access point sends.
type Channel struct {
	MHz         int // the middle of its main 20 MHz
	Width       int // MHz: 20, 40 or 80
	HT, VHT, HE bool
}

// SwitchChannel has the access point announce another channel, and go there a second later: its phones come along, but
// for those that do not understand it, which look for it anew. The event APSwitched says that it is done.
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

// command writes CHAN_SWITCH as hostapd reads it (hostapd_parse_csa_settings in ctrl_iface_ap.c).
func (c Channel) command() string {
	s := fmt.Sprintf("CHAN_SWITCH %d %d bandwidth=%d", switchBeacons, c.MHz, c.Width)
	if c.Width > 20 {
		second, middle := c.wide()
		s += fmt.Sprintf(" sec_channel_offset=%d center_freq1=%d", second, middle)
	}
	for _, mode := range []struct {
		on   bool
		name string
	}{{c.HT, " ht"}, {c.VHT, " vht"}, {c.HE, " he"}} {
		if mode.on {
			s += mode.name
		}
	}
	return s
}

// wide returns on which side of the main 20 MHz the second ones are, 1 above and -1 below, and the middle of all, in
// MHz. In the 5 GHz band channels lie in pairs and pairs of pairs (IEEE 802.11-2020, annex E), in three rows of them.
func (c Channel) wide() (second, middle int) {
	place := 0 // in its row
	switch {
	case c.MHz >= 5745:
		place = (c.MHz - 5745) / 20
	case c.MHz >= 5500:
		place = (c.MHz - 5500) / 20
	case c.MHz >= 5180:
		place = (c.MHz - 5180) / 20
	case c.MHz > 2442: // in the 2.4 GHz band there is room on one side only
		place = 1
	}
	second = 1 - place%2*2
	if c.Width == 80 {
		return second, c.MHz - place%4*20 + 30
	}
	return second, c.MHz + second*10
}
