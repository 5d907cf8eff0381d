package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
)

// shout broadcasts this many bytes from the lender's server, a little at a time, and returns how many they were without link headers.
func (b *box) shout(l *netlab.Lender, bytes int) (sent uint64) {
	b.t.Helper()
	const size, headers, at, step = 1400, 28, 20, 5 * time.Millisecond
	all := netip.MustParseAddr("192.168.1.255")
	conn, err := l.NAS.Dial(b.t.Context(), "udp", netip.AddrPortFrom(all, 9).String())
	b.must(err)
	defer conn.Close()
	tick := time.NewTicker(step)
	defer tick.Stop()
	for int(sent) < bytes {
		for range at {
			_, err := conn.Write(make([]byte, size-headers))
			b.must(err)
			sent += size
		}
		<-tick.C
	}
	return sent
}

// TestBroadcastsAreNotTheGift: the lender's own network broadcasts more than the cap, also while the daemon is dead and while another one
// starts. Nobody is billed for that, and the whole cap remains for billed traffic.
func TestBroadcastsAreNotTheGift(t *testing.T) {
	t.Parallel()
	const limit = 20e6
	given := settings{cap: "20MB", data: "0", down: "20mbit"}
	b := newBox(t, given, netlab.Options{})
	r, l := b.scene.Residents[0], b.scene.Lenders[0]
	b.newcomer(r)

	carried := func() uint64 {
		rx, tx, err := b.scene.Box.Counters(l.Interface)
		b.must(err)
		return rx + tx
	}
	started := carried()
	sent := b.shout(l, 12e6)
	b.kill()
	sent += b.shout(l, 6e6) // the kernel counts
	b.restart()
	sent += b.shout(l, 6e6)
	all := carried()
	s := b.waitStatus("all to be counted", func(s state.Status) error {
		if d := s.Donations[0]; s.State != state.Sharing || d.Used+d.Broadcasts < all-started {
			return fmt.Errorf("%s: %s; of %d bytes: %+v", s.State, s.Why, all-started, d)
		}
		return nil
	})
	billed := b.counted(l)
	d := s.Donations[0]
	t.Logf("%d bytes of broadcasts, %d of them told apart; %d crossed the lender's line, %d count as used", sent, d.Broadcasts, billed, d.Used)
	// Two parts of the broadcasts count as used: their link headers, and those that arrived while the next daemon wrote its rules.
	if most := billed + sent/20 + underWay; d.Used > most || d.Used < billed {
		t.Errorf("%d bytes count as used, %d at most should", d.Used, most)
	}
	if out := b.mustDo("status"); !strings.Contains(out, "of broadcasts from the lender's network are not counted") {
		t.Errorf("status does not tell:\n%s", out)
	}

	b.hungry(r)
	s = b.waitSpent()
	counted := b.within(limit, "after broadcasts of more than the cap")
	if lost := limit - int64(counted) - int64(s.Donations[0].Margin); lost > slice+int64(d.Used-min(d.Used, billed)) {
		t.Errorf("%d bytes of the gift are lost", lost)
	}

	// A donation may be configured to count broadcasts.
	before := s.Donations[0]
	given.cap, given.more = "200MB", "broadcast = true"
	b.reload(given)
	b.waitState(state.Sharing)
	sent = b.shout(l, 5e6)
	b.waitStatus("broadcasts to count", func(s state.Status) error {
		// Those that arrive while rules are written are not recognized.
		if d := s.Donations[0]; !d.BroadcastsCount || d.Broadcasts < before.Broadcasts+sent*9/10 || d.Used < before.Used+sent {
			return errors.New("not yet")
		}
		return nil
	})
}
