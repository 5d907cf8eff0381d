package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/hostile"
)

var trackingAttacks = []attack{
	{
		name: "madeup", what: "a device asks 20,000 names a second from fake addresses, 5 s",
		limit: "no tracked connection of theirs",
		setup: setup{residents: 1}, run: trackMadeUp,
	},
	{
		name: "track", what: "a device that is not admitted begins 5,000 connections a second of every kind, 5 s",
		limit: "≤ 1/16 of the table, ≤ 1,200 tracked connections",
		setup: setup{residents: 1, joined: 1}, run: func(ctx context.Context, s *testbed) (outcome, error) { return trackOne(ctx, s, 16) },
	},
	{
		name: "trackin", what: "an admitted device does so",
		limit: "≤ 1/8 of the table, ≤ 1,200 tracked connections",
		setup: setup{residents: 1, joined: 1, admitted: 1}, run: func(ctx context.Context, s *testbed) (outcome, error) { return trackOne(ctx, s, 8) },
	},
}

// tracked counts the box's conntrack entries whose first packet came from one of the addresses.
func (s *testbed) tracked(from func(netip.Addr) bool) (n int, err error) {
	all, err := s.Box.Netlink().ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
	if err != nil {
		return 0, fmt.Errorf("list tracked connections: %w", err)
	}
	for _, c := range all {
		if addr, ok := netip.AddrFromSlice(c.Forward.SrcIP); ok && from(addr.Unmap()) {
			n++
		}
	}
	return n, nil
}

// table returns the size of the box's conntrack table.
func (s *testbed) table() (n int, err error) {
	err = s.Box.Do(func() error {
		text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_max")
		if err == nil {
			n, err = strconv.Atoi(strings.TrimSpace(string(text)))
		}
		return err
	})
	return n, err
}

const floodDuration = 5 * time.Second

func trackMadeUp(ctx context.Context, s *testbed) (o outcome, err error) {
	w, err := s.rawSocket(ctx, s.Residents[0])
	if err != nil {
		return o, err
	}
	defer w.Close()
	within, cancel := context.WithTimeout(ctx, floodDuration)
	defer cancel()
	sent, err := w.Flood(within, 20000, func(k int) []byte {
		mac, addr := fakeDevice(k)
		return question(mac, addr, k, dnsmessage.TypeA, "many.example")
	})
	if err != nil {
		return o, err
	}
	n, err := s.tracked(func(a netip.Addr) bool { return hotspot.Contains(a) && a != hotspot.Addr() })
	return outcome{result: fmt.Sprintf("%d, of %d packets", n, sent), ok: n == 0}, err
}

func trackOne(ctx context.Context, s *testbed, part int) (o outcome, err error) {
	r := s.Residents[0]
	from := r.Lease().Address.Addr()
	w, err := s.rawSocket(ctx, r)
	if err != nil {
		return o, err
	}
	defer w.Close()
	link := hostile.Link{To: boxMAC, From: r.MAC}
	within, cancel := context.WithTimeout(ctx, floodDuration)
	defer cancel()
	sent, err := w.Flood(within, 5000, func(k int) []byte {
		source := netip.AddrPortFrom(from, uint16(1024+k%60000))
		to := netip.AddrFrom4([4]byte{192, 0, 2, byte(k)})
		if k%5 == 0 {
			to = hotspot.Addr()
		}
		switch k % 4 {
		case 0:
			return hostile.TCP{Link: link, Source: source, Destination: netip.AddrPortFrom(to, 443), Flags: hostile.SYN}.Frame()
		case 1:
			return hostile.TCP{Link: link, Source: source, Destination: netip.AddrPortFrom(to, 80), Flags: hostile.SYN}.Frame()
		case 2:
			return hostile.UDP{Link: link, Source: source, Destination: netip.AddrPortFrom(to, 53), Payload: hostile.Query(uint16(k), "www.example", dnsmessage.TypeA)}.Frame()
		default:
			return hostile.UDP{Link: link, Source: source, Destination: netip.AddrPortFrom(to, uint16(k%60000)), Payload: []byte("hello")}.Frame()
		}
	})
	if err != nil {
		return o, err
	}
	table, err := s.table()
	if err != nil {
		return o, err
	}
	n, err := s.tracked(func(a netip.Addr) bool { return a == from })
	return outcome{
		result: fmt.Sprintf("%d of a table of %d, of %d packets", n, table, sent),
		ok:     n <= min(table/part, 1200),
	}, err
}

var packetAttacks = []attack{
	{
		name: "odd", what: "a device that is not admitted sends odd packets to the internet, of about 60 kinds, with 9 kinds of sources",
		limit: "no frame at the lender's router",
		setup: setup{residents: 2, joined: 2, admitted: 1}, run: sendOdd,
	},
	{
		name: "invalid", what: "a device sends 50 INVALID packets to an essential service",
		limit: "no frame with an inner address at the lender's router",
		setup: setup{residents: 1, joined: 1, how: essential}, run: sendInvalid,
	},
	{
		name: "echo", what: "somebody on the lender's network sends the box 200 echo requests a second, 4 s",
		limit: "≤ 10 answers a second, after a burst of 10",
		setup: setup{}, run: echoFromLender,
	},
	{
		name: "broadcast", what: "somebody on the lender's network sends 1.7 MB of broadcasts",
		limit: "≤ 100 kB of it charged to the cap",
		setup: setup{}, run: broadcastOnLine,
	},
}

// uplinkSocket opens a raw socket on the lender's router towards the box.
func (s *testbed) uplinkSocket() (*hostile.RawSocket, error) {
	return hostile.Open(s.Lenders[0].Router, "box")
}

func sendOdd(ctx context.Context, s *testbed) (o outcome, err error) {
	admitted, attacker := s.Residents[0], s.Residents[1]
	w, err := s.rawSocket(ctx, attacker)
	if err != nil {
		return o, err
	}
	defer w.Close()
	out, err := s.uplinkSocket()
	if err != nil {
		return o, err
	}
	defer out.Close()
	mark := []byte("odd, and marked as such")
	seen := out.Count(func(f []byte) bool { return strings.Contains(string(f), string(mark)) })
	own, theirs := attacker.Lease().Address.Addr(), admitted.Lease().Address.Addr()
	_, nobody := fakeDevice(1)
	sent := 0
	for _, source := range []struct {
		mac  net.HardwareAddr
		addr netip.Addr
	}{
		{attacker.MAC, own}, {attacker.MAC, theirs}, {admitted.MAC, own}, {attacker.MAC, nobody}, {attacker.MAC, hotspot.Addr()},
		{attacker.MAC, netip.MustParseAddr("198.51.100.7")}, {attacker.MAC, s.Lenders[0].Box.Addr()}, {attacker.MAC, netip.IPv4Unspecified()},
		{attacker.MAC, netip.MustParseAddr("127.0.0.1")},
	} {
		for _, p := range hostile.OddPackets(hostile.Link{To: boxMAC, From: source.mac}, source.addr, netlab.WebAddr, mark) {
			if err := w.Send(p.Frame); err != nil {
				return o, err
			}
			sent++
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return o, err
		}
	}
	if err := s.settle(ctx, w, attacker); err != nil {
		return o, err
	}
	frames, _, err := seen.Stop()
	return outcome{result: fmt.Sprintf("%d frames of %d", frames, sent), ok: frames == 0}, err
}

// settle waits until the box and the lender's router have processed the resident's earlier frames.
func (s *testbed) settle(ctx context.Context, w *hostile.RawSocket, r *netlab.Resident) error {
	return errors.Join(s.reach(ctx, w, r), sleep(ctx, 300*time.Millisecond))
}

func sendInvalid(ctx context.Context, s *testbed) (o outcome, err error) {
	r := s.Residents[0]
	s.Internet.Names.Set("service.example", netlab.ServiceAddr)
	if _, err := r.LookupHost(ctx, "service.example"); err != nil {
		return o, err
	}
	w, err := s.rawSocket(ctx, r)
	if err != nil {
		return o, err
	}
	defer w.Close()
	out, err := s.uplinkSocket()
	if err != nil {
		return o, err
	}
	defer out.Close()
	inner := out.Count(func(f []byte) bool {
		p, ok := hostile.ReadIPv4(f)
		return ok && hotspot.Contains(p.Source)
	})
	flags := []byte{hostile.RST, hostile.SYN | hostile.FIN, 0, hostile.FIN | hostile.PSH | hostile.URG, hostile.RST | hostile.ACK}
	for k := range 50 {
		if err := w.Send(hostile.TCP{
			Link:   hostile.Link{To: boxMAC, From: r.MAC},
			Source: netip.AddrPortFrom(r.Lease().Address.Addr(), uint16(5000+k)), Destination: netip.AddrPortFrom(netlab.ServiceAddr, 443),
			Flags: flags[k%len(flags)], Sequence: uint32(k), Ack: uint32(k), Payload: []byte("hello"),
		}.Frame()); err != nil {
			return o, err
		}
	}
	if err := s.settle(ctx, w, r); err != nil {
		return o, err
	}
	frames, _, err := inner.Stop()
	return outcome{result: fmt.Sprintf("%d frames", frames), ok: frames == 0}, err
}

func echoFromLender(ctx context.Context, s *testbed) (o outcome, err error) {
	const long = 4 * time.Second
	w, err := s.inLendersNetwork()
	if err != nil {
		return o, err
	}
	defer w.Close()
	l := s.Lenders[0]
	answers := w.Count(func(f []byte) bool {
		m, ok := hostile.ReadICMP(f)
		return ok && m.Source == l.Box.Addr() && m.Type == 0
	})
	within, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	sent, err := w.Flood(within, 200, func(k int) []byte {
		return hostile.ICMP{Link: hostile.Link{To: uplinkMAC, From: nas}, Source: l.NASAddr, Destination: l.Box.Addr(), Type: 8, Rest: uint32(k)}.Frame()
	})
	if err != nil {
		return o, err
	}
	n, _, err := answers.Stop()
	return outcome{
		result: fmt.Sprintf("%.0f a second, of %d requests", float64(n)/long.Seconds(), sent),
		ok:     n <= 10+10*int(long.Seconds()),
	}, err
}

func broadcastOnLine(ctx context.Context, s *testbed) (o outcome, err error) {
	w, err := s.inLendersNetwork()
	if err != nil {
		return o, err
	}
	defer w.Close()
	l := s.Lenders[0]
	used := func() (uint64, error) {
		now, err := s.Status(ctx)
		if err != nil {
			return 0, err
		}
		return now.Donations[0].Used, nil
	}
	before, err := used()
	if err != nil {
		return o, err
	}
	within, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	sent := 0
	if _, err := w.Flood(within, 300, func(k int) []byte {
		f := hostile.UDP{
			Link:   hostile.Link{From: nas},
			Source: netip.AddrPortFrom(l.NASAddr, 137), Destination: netip.AddrPortFrom(netip.MustParseAddr("192.168.1.255"), 137), Payload: make([]byte, 1400),
		}.Frame()
		sent += len(f)
		return f
	}); err != nil {
		return o, err
	}
	if err := sleep(ctx, 2*time.Second); err != nil { // until it is accounted for
		return o, err
	}
	after, err := used()
	return outcome{
		result: fmt.Sprintf("%.1f kB used, %.1f kB sent", float64(after-before)/1e3, float64(sent)/1e3),
		ok:     after-before <= 100e3,
	}, err
}
