package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
)

// threeLines are settings of a box with three donations, in order of priority.
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

// failover is a box with three lines and a resident who uses them.
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

// waitLine waits until residents' packets are routed through this line only.
func (f failover) waitLine(want int) {
	f.t.Helper()
	f.waitStatus(fmt.Sprintf("line %d", want), func(s state.Status) error {
		for i, d := range s.Donations {
			if d.Chosen != (i == want) {
				return fmt.Errorf("%s: chosen is %t; %s: %s", d.Interface, d.Chosen, s.State, s.Why)
			}
		}
		return nil
	})
}

// waitWorks waits until a line works, or does not work.
func (f failover) waitWorks(line int, want bool) {
	f.t.Helper()
	f.waitStatus(fmt.Sprintf("line %d to work: %t", line, want), func(s state.Status) error {
		if d := s.Donations[line]; d.Works != want {
			return fmt.Errorf("%s works: %t (%s)", d.Interface, d.Works, d.Why)
		}
		return nil
	})
}

// lose breaks the line in use, and returns after the failover. Residents keep their sessions, and their new connections use the new line.
// Existing connections are reset, both those that send and those that only receive.
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
	const bytes = 200e3
	again := f.startDownload(f.resident, fmt.Sprintf("%s?bytes=%d", bigPage, int(bytes)))
	<-again.Done()
	if carried := f.counted(next) - before; again.Total() != bytes || carried < bytes {
		f.t.Errorf("%s: of %d bytes, %d came, and the next line carried %d", what, int(bytes), again.Total(), carried)
	}
	f.sessions(1)
}

// connects returns nil if the internet accepts the resident's connection soon.
func (f failover) connects() error {
	ctx, cancel := context.WithTimeout(f.t.Context(), brief)
	defer cancel()
	conn, err := f.resident.Dial(ctx, "tcp", netip.AddrPortFrom(netlab.WebAddr, 7000).String())
	if err != nil {
		return err
	}
	return conn.Close()
}

// TestLinesFailInTurn: whatever fails on a line, the next one takes over. The first one is used again when it has worked for a while.
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

	// The first line works for a moment, and later permanently.
	f.must(l[0].LAN.Restore())
	f.waitWorks(0, true)
	f.must(l[0].LAN.Cut())
	f.waitWorks(0, false)
	f.waitLine(1)
	d := f.download(f.resident)
	start := time.Now()
	f.must(l[0].LAN.Restore())
	f.waitLine(0)
	back := time.Since(start)
	t.Logf("a line that works again is taken after %v", back.Round(time.Millisecond))
	if back < 30*time.Second { // the hold time in appliance
		t.Errorf("the first line is taken again %v after it came", back)
	}
	f.broken(d)
	f.waitOnline(f.resident)
	f.sessions(1)
	f.waitSound()
}

// TestDeadWayOut: a line that keeps its link, address and route but has no internet is left, although its lender's router reports nothing.
// Soon after it works again, that is known. Meanwhile an unused line carries a few probes, which are counted.
func TestDeadWayOut(t *testing.T) {
	t.Parallel()
	f := newFailover(t)
	dead, idle := f.scene.Lenders[0].WAN, f.scene.Lenders[2]
	before, err := f.Status(t.Context())
	f.must(err)
	start, carried := time.Now(), f.counted(idle)

	f.lose("the way out is dead", 1, dead.Cut)
	s, err := f.Status(t.Context())
	f.must(err)
	if why := s.Donations[0].Why; !strings.HasPrefix(why, "eth0 has a link and a route, but no answer from ") {
		t.Errorf("the first line is left because %q", why)
	}
	f.must(dead.Restore())
	f.waitWorks(0, true)
	f.waitLine(1) // for a while
	f.waitSound()

	first := carried
	// A probe comes every two minutes, later if another line has just queried the same zone.
	waitFor(t, 4*patience, "a packet on the line that nobody uses", func() error {
		if carried = f.counted(idle) - first; carried == 0 {
			return fmt.Errorf("it carried nothing")
		}
		return nil
	})
	t.Logf("the line that nobody used carried %d bytes in %v", carried, time.Since(start).Round(time.Second))
	if carried > 5e3 {
		t.Errorf("the line that nobody used carried %d bytes, want few", carried)
	}
	f.waitStatus("the account of the line that nobody used", func(s state.Status) error {
		if used := s.Donations[2].Used - before.Donations[2].Used; used < carried {
			return fmt.Errorf("%d bytes are booked, it carried %d", used, carried)
		}
		return nil
	})
}
