package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"passerelle/appliance"
	"passerelle/netctl/netlab"
)

// threeLines are settings of a box with three donations, to be used in turn.
var threeLines = settings{more: `
[[donation]]
name = "Box de la mairie"
interface = "eth1"
cap = "20GB"
priority = 2
[[donation]]
name = "Téléphone d'Ana"
interface = "eth2"
cap = "2GB"
priority = 3
`}

// failover is a box with three lines and a resident who is using them.
type failover struct {
	*box
	resident *netlab.Resident
}

func newFailover(t *testing.T) failover {
	t.Helper()
	b := newBox(t, threeLines, netlab.Options{Uplinks: 3, Residents: 1})
	f := failover{b, b.scene.Residents[0]}
	b.newcomer(f.resident)
	f.waitLine(0)
	return f
}

// waitLine waits until residents' packets go by this line and no other.
func (f failover) waitLine(want int) {
	f.t.Helper()
	f.waitStatus(fmt.Sprintf("line %d", want), func(s appliance.Status) error {
		for i, d := range s.Donations {
			if d.Chosen != (i == want) {
				return fmt.Errorf("%s: chosen is %t; %s: %s", d.Interface, d.Chosen, s.State, s.Why)
			}
		}
		return nil
	})
}

// waitWorks waits until a line works, or works no more.
func (f failover) waitWorks(line int, want bool) {
	f.t.Helper()
	f.waitStatus(fmt.Sprintf("line %d to work: %t", line, want), func(s appliance.Status) error {
		if d := s.Donations[line]; d.Works != want {
			return fmt.Errorf("%s works: %t (%s)", d.Interface, d.Works, d.Why)
		}
		return nil
	})
}

// lose fails the line that is in use, and returns when another one has taken over: residents keep their sessions, their
// new connections go by that line, and those that they had are reset, of those who send and of those who only receive.
func (f failover) lose(what string, to int, fail func() error) {
	f.t.Helper()
	conn, download := f.talk(f.resident), f.download(f.resident)
	next := f.scene.Lenders[to]
	before := f.counted(next)
	start := time.Now()
	f.must(fail())
	f.waitLine(to)
	chosen := time.Since(start)
	wait(f.t, "a new connection", f.connects)
	f.t.Logf("%s: the next line is chosen after %v, and the first new connection answered after %v",
		what, chosen.Round(time.Millisecond), time.Since(start).Round(time.Millisecond))
	f.reset(conn)
	f.broken(download)
	f.waitOnline(f.resident) // dnsmasq is started anew for another line
	const bytes = 200e3
	again, err := f.resident.StartDownload(f.t.Context(), fmt.Sprintf("%s?bytes=%d", bigPage, int(bytes)))
	f.must(err)
	<-again.Done()
	if carried := f.counted(next) - before; again.Total() != bytes || carried < bytes {
		f.t.Errorf("%s: of %d bytes, %d came, and the next line carried %d", what, int(bytes), again.Total(), carried)
	}
	f.sessions(1)
}

// connects returns nil if the internet takes the resident's connection soon.
func (f failover) connects() error {
	ctx, cancel := context.WithTimeout(f.t.Context(), brief)
	defer cancel()
	conn, err := f.resident.Dial(ctx, "tcp", netip.AddrPortFrom(netlab.WebAddr, 7000).String())
	if err != nil {
		return err
	}
	return conn.Close()
}

// TestLinesFailInTurn: whatever a line loses, the next one takes over, and the first is taken again when it has worked
// for a while.
func TestLinesFailInTurn(t *testing.T) {
	t.Parallel()
	f := newFailover(t)
	l := f.scene.Lenders
	f.lose("a link is cut", 1, l[0].LAN.Cut)
	f.lose("an address is lost", 2, func() error { return f.scene.Box.RemoveAddresses("eth1") })
	f.must(l[1].Configure())
	f.waitWorks(1, true)
	f.lose("a default route is lost", 1, func() error {
		_, err := f.scene.Box.Run(t.Context(), "ip", "route", "del", "default", "dev", "eth2")
		return err
	})
	f.must(l[2].Configure())
	f.waitWorks(2, true)
	f.lose("a line is unplugged", 2, l[1].Unplug)
	f.must(l[1].Plug())
	f.waitWorks(1, true)
	f.lose("another is, the one before is plugged in with another number", 1, l[2].Unplug)
	f.must(l[2].Plug())
	f.waitWorks(2, true)

	// The first line comes for a moment, and then for good.
	f.must(l[0].LAN.Mend())
	f.waitWorks(0, true)
	f.must(l[0].LAN.Cut())
	f.waitWorks(0, false)
	f.waitLine(1)
	d := f.download(f.resident)
	start := time.Now()
	f.must(l[0].LAN.Mend())
	f.waitLine(0)
	back := time.Since(start)
	t.Logf("a line that works again is taken after %v", back.Round(time.Millisecond))
	if back < 30*time.Second { // what appliance waits for
		t.Errorf("the first line is taken again %v after it came", back)
	}
	f.broken(d)
	f.waitOnline(f.resident)
	f.sessions(1)
	f.waitSound()
}

// TestDeadWayOut: a line that keeps link, address and route but leads nowhere any more is left, although its lender's
// router says nothing; and is known to work soon after it does. Meanwhile a line that nobody uses carries a few
// questions, which are counted.
func TestDeadWayOut(t *testing.T) {
	t.Parallel()
	f := newFailover(t)
	dead, idle := f.scene.Lenders[0].WAN, f.scene.Lenders[2]
	before, err := f.status()
	f.must(err)
	start, carried := time.Now(), f.counted(idle)

	f.lose("the way out is dead", 1, dead.Cut)
	s, err := f.status()
	f.must(err)
	if why := s.Donations[0].Why; !strings.HasPrefix(why, "eth0 has a link and a route, but no answer from ") {
		t.Errorf("the first line is left because %q", why)
	}
	f.must(dead.Mend())
	f.waitWorks(0, true)
	f.waitLine(1) // for a while
	f.waitSound()

	carried = f.counted(idle) - carried
	t.Logf("the line that nobody used carried %d bytes in %v", carried, time.Since(start).Round(time.Second))
	if carried == 0 || carried > 5e3 {
		t.Errorf("the line that nobody used carried %d bytes, want some and few", carried)
	}
	f.waitStatus("the account of the line that nobody used", func(s appliance.Status) error {
		if used := s.Donations[2].Used - before.Donations[2].Used; used < carried {
			return fmt.Errorf("%d bytes are booked, it carried %d", used, carried)
		}
		return nil
	})
}
