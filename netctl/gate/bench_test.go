package gate_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	vnl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"passerelle/netctl"
	"passerelle/netctl/gate"
	"passerelle/netctl/netlab"
)

// busyLab returns a lab with every kind of limit and that many sessions. Its gate is not wrapped, since the benchmark itself runs in
// the box's namespace.
func busyLab(b *testing.B, sessions int) (l *lab, g *gate.Gate, p netctl.Plan) {
	b.Helper()
	l = newLab(b, netlab.Options{Residents: 1})
	l.config.Limits.Data, l.config.Limits.Download, l.config.Limits.Upload = 500e6, 8e6, 4e6
	l.config.Donations[0].Download, l.config.Donations[0].Upload = 40e6, 20e6
	p = l.adaptive()
	must(b, l.Box.Do(func() (err error) {
		if g, err = gate.New(b.Context(), time.Now); err != nil {
			return err
		}
		_, err = g.Apply(b.Context(), p)
		return err
	}))
	for k := range sessions {
		must(b, l.Box.Do(func() error { return g.Authorize(numbered(l, k)) }))
	}
	must(b, l.Box.Do(func() error { _, err := g.Apply(b.Context(), p); return err }))
	return l, g, p
}

// numbered returns a session of a resident without a device. The first 508 do not have an address of the lab's own.
func numbered(l *lab, k int) netctl.Session {
	s := l.session(0)
	b := s.Addr.As4()
	at := 512 + 1 + k
	if k >= 508 {
		at = 2 + k - 508
	}
	b[2], b[3] = byte(at>>8), byte(at)
	s.Addr = netip.AddrFrom4(b)
	s.MAC[4], s.MAC[5] = byte((k+100)>>8), byte(k+100)
	return s
}

// inside runs the loop in the box's namespace. Besides wall-clock time it reports the thread's CPU time, which is the cost of the code
// on a busy machine.
func inside(b *testing.B, l *lab, f func() error) {
	b.Helper()
	b.ReportAllocs()
	must(b, l.Box.Do(func() error {
		var before, after unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_THREAD, &before); err != nil {
			return err
		}
		for b.Loop() {
			if err := f(); err != nil {
				return err
			}
		}
		if err := unix.Getrusage(unix.RUSAGE_THREAD, &after); err != nil {
			return err
		}
		spent := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
		b.ReportMetric(float64(spent)/float64(b.N), "cpu-ns/op")
		return nil
	}))
}

// unchanged runs an Apply that must change nothing.
func unchanged(ctx context.Context, g *gate.Gate, p netctl.Plan) error {
	changes, err := g.Apply(ctx, p)
	if err == nil && len(changes) != 0 {
		err = fmt.Errorf("an unchanged plan changed %q", changes)
	}
	return err
}

// BenchmarkApplyUnchanged is an Apply of an unchanged plan, with 250 sessions.
func BenchmarkApplyUnchanged(b *testing.B) {
	l, g, p := busyLab(b, 250)
	inside(b, l, func() error { return unchanged(b.Context(), g, p) })
}

// BenchmarkApplyDirty is an Apply that reads all queues and classes.
func BenchmarkApplyDirty(b *testing.B) {
	l, g, p := busyLab(b, 250)
	inside(b, l, func() error {
		g.MarkDirty()
		return unchanged(b.Context(), g, p)
	})
}

// BenchmarkTick is what the pacer does with the gate every 200 ms, with 1000 sessions: it reads both queues and sets both rates.
func BenchmarkTick(b *testing.B) {
	l, g, p := busyLab(b, 1000)
	rate := uint64(5e6)
	inside(b, l, func() (err error) {
		rate = 5e6 + (rate+100e3)%10e6
		for _, s := range p.Shapers {
			_, e := g.ShaperLoad(s.Device)
			err = errors.Join(err, e, g.SetRate(s.Device, rate))
		}
		return err
	})
}

// BenchmarkSetRate sets the rate of one device, with 1000 sessions.
func BenchmarkSetRate(b *testing.B) {
	l, g, p := busyLab(b, 1000)
	rate := uint64(5e6)
	inside(b, l, func() error {
		rate = 5e6 + (rate+100e3)%10e6
		return g.SetRate(p.Shapers[0].Device, rate)
	})
}

// BenchmarkRead reads the counters of 250 sessions.
func BenchmarkRead(b *testing.B) {
	l, g, _ := busyLab(b, 250)
	inside(b, l, func() error {
		s, err := g.ReadCounters()
		if err == nil && len(s.Sessions) != 250 {
			err = fmt.Errorf("%d sessions", len(s.Sessions))
		}
		return err
	})
}

// BenchmarkAuthorize authorizes one more resident and ends the session again.
func BenchmarkAuthorize(b *testing.B) {
	l, g, _ := busyLab(b, 250)
	s := l.session(0)
	inside(b, l, func() error { return errors.Join(g.Authorize(s), g.End(s.Addr)) })
}

// track adds n tracked connections of a resident to the internet to the kernel's table.
func track(conntrack *vnl.Handle, from netip.Addr, n int) error {
	far := net.IPv4(198, 51, 100, 7)
	for k := range n {
		there := vnl.IPTuple{
			SrcIP: from.AsSlice(), DstIP: far.To4(), SrcPort: uint16(20000 + k), DstPort: 443, Protocol: unix.IPPROTO_TCP,
		}
		back := vnl.IPTuple{
			SrcIP: there.DstIP, DstIP: there.SrcIP, SrcPort: there.DstPort, DstPort: there.SrcPort, Protocol: there.Protocol,
		}
		const established = 3 // enum tcp_conntrack
		if err := conntrack.ConntrackCreate(vnl.ConntrackTable, unix.AF_INET, &vnl.ConntrackFlow{
			FamilyType: unix.AF_INET, Forward: there, Reverse: back, TimeOut: 600, ProtoInfo: &vnl.ProtoInfoTCP{State: established},
		}); err != nil {
			return fmt.Errorf("track connection %d of %s: %w", k, from, err)
		}
	}
	return nil
}

// BenchmarkDropAmongThousands drops the 20 connections of one resident, out of 5000 that 250 residents have: by ending the session,
// and for comparison with the library's filter.
func BenchmarkDropAmongThousands(b *testing.B) {
	const each = 20
	l, g, _ := busyLab(b, 250)
	s := l.session(0)
	for name, drop := range map[string]func(*vnl.Handle) error{
		"gate": func(*vnl.Handle) error { return g.End(s.Addr) },
		"library": func(conntrack *vnl.Handle) error {
			n, err := conntrack.ConntrackDeleteFilters(vnl.ConntrackTable, unix.AF_INET, source(s.Addr))
			if err == nil && n != each {
				err = fmt.Errorf("%d connections dropped", n)
			}
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			must(b, l.Box.Do(func() error {
				conntrack, err := vnl.NewHandle(unix.NETLINK_NETFILTER)
				if err != nil {
					return err
				}
				defer conntrack.Close()
				if err := conntrack.ConntrackTableFlush(vnl.ConntrackTable); err != nil {
					return err
				}
				for k := range 250 {
					if err := track(conntrack, numbered(l, k).Addr, each); err != nil {
						return err
					}
				}
				for b.Loop() {
					b.StopTimer()
					if err := errors.Join(g.Authorize(s), track(conntrack, s.Addr, each)); err != nil {
						return err
					}
					b.StartTimer()
					if err := drop(conntrack); err != nil {
						return err
					}
				}
				return nil
			}))
		})
	}
}

// source matches the connections that an address opened.
type source netip.Addr

func (s source) MatchConntrackFlow(f *vnl.ConntrackFlow) bool {
	from, _ := netip.AddrFromSlice(f.Forward.SrcIP)
	return from == netip.Addr(s)
}
