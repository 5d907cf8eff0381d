package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/hostile"
)

var deviceAttacks = []attack{
	{
		name: "arp", what: "a device claims an admitted one's address by ARP, once a second for 10 s",
		limit: "goodput ≥ 0.90 of before, no frame of it at the other",
		setup: setup{residents: 2, joined: 2, admitted: 1}, run: forgeARP,
	},
	{
		name: "takeover", what: "the same device takes the address and ends the session",
		limit: "the session goes on",
		setup: setup{residents: 2, joined: 2, admitted: 1}, run: takeOver,
	},
	{
		name: "arpall", what: "a device asks who has addresses that are not the box's: its own, a free one, 8.8.8.8, 169.254.7.7, the lender's",
		limit: "no answer, and one for the box's own",
		setup: setup{residents: 1}, run: askARP,
	},
	{
		name: "byhand", what: "a device has a static address that the DHCP server would give to a newcomer",
		limit: "the page within 5 s, then 20 of 20 answers while the newcomer joins",
		setup: setup{residents: 2}, run: setByHand,
	},
	{
		name: "discover", what: "a device sends 400 DHCPDISCOVER a second",
		limit: "10 of 10 newcomers have a lease within 2 s",
		setup: setup{residents: 11}, run: floodDiscover,
	},
	{
		name: "starve", what: "a device requests leases for 1,021 fake devices, from its own address",
		limit: "a newcomer elsewhere has a lease within 5 s",
		setup: setup{residents: 2, joined: 1}, run: starve,
	},
}

// spoofedARP claims a device's address for another hardware address: in frames to the box, and by broadcast.
func spoofedARP(address netip.Addr, mac net.HardwareAddr) [][]byte {
	answer := hostile.ARP{
		Link: hostile.Link{To: boxMAC, From: mac}, Reply: true,
		Sender: address, TargetMAC: boxMAC, Target: hotspot.Addr(),
	}
	announcement := hostile.ARP{Link: hostile.Link{From: mac}, Sender: address, Target: address}
	return [][]byte{answer.Frame(), announcement.Frame()}
}

func forgeARP(ctx context.Context, s *testbed) (o outcome, err error) {
	victim, attacker := s.Residents[0], s.Residents[1]
	address := victim.Lease().Address.Addr()
	w, err := s.rawSocket(ctx, attacker)
	if err != nil {
		return o, err
	}
	defer w.Close()
	transfer, err := netlab.Bulk{From: victim.Host, To: s.Internet.Host, Addr: netlab.WebAddr, Reverse: true}.Start(ctx)
	if err != nil {
		return o, err
	}
	defer transfer.Stop()
	rate := func(d time.Duration) (float64, error) {
		start, bytes := time.Now(), transfer.Total()
		err := sleep(ctx, d)
		return float64(transfer.Total()-bytes) * 8 / time.Since(start).Seconds(), err
	}
	if err := sleep(ctx, time.Second); err != nil { // until it reaches its rate
		return o, err
	}
	before, err := rate(4 * time.Second)
	if err != nil {
		return o, err
	}
	theirs := w.Count(func(f []byte) bool {
		p, ok := hostile.ReadIPv4(f)
		return ok && p.Destination == address
	})
	stop := background(ctx, func(ctx context.Context) error {
		for {
			if err := w.Send(spoofedARP(address, attacker.MAC)...); err != nil {
				return err
			}
			if err := sleep(ctx, time.Second); err != nil {
				return err
			}
		}
	})
	during, err := rate(10 * time.Second)
	if err != nil {
		return o, err
	}
	if err := stop(); err != nil {
		return o, err
	}
	frames, _, err := theirs.Stop()
	return outcome{
		result: fmt.Sprintf("%.2f of %.2f Mbit/s, %d frames at the other", during/1e6, before/1e6, frames),
		ok:     during >= 0.9*before && frames == 0,
	}, err
}

func takeOver(ctx context.Context, s *testbed) (o outcome, err error) {
	victim, attacker := s.Residents[0], s.Residents[1]
	lease := victim.Lease()
	w, err := s.rawSocket(ctx, attacker)
	if err != nil {
		return o, err
	}
	defer w.Close()
	// From now on, the attacker's kernel answers for the address, too.
	if err := attacker.AddAddress(netlab.HotspotInterface, lease.Address); err != nil {
		return o, err
	}
	const end = "POST /session/end HTTP/1.1\r\nHost: 10.80.0.1\r\nOrigin: http://10.80.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
	answered := 0
	for range 5 {
		if err := w.Send(spoofedARP(lease.Address.Addr(), attacker.MAC)...); err != nil {
			return o, err
		}
		err := attacker.Do(func() error {
			dialer := net.Dialer{Timeout: time.Second, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(lease.Address.Addr(), 0))}
			conn, err := dialer.DialContext(ctx, "tcp4", portal)
			if err != nil {
				return err
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(time.Second))
			if _, err := conn.Write([]byte(end)); err != nil {
				return err
			}
			_, err = conn.Read(make([]byte, 1024))
			return err
		})
		if err == nil {
			answered++
		}
		if ctx.Err() != nil {
			return o, ctx.Err()
		}
	}
	now, err := s.Status(ctx)
	return outcome{
		result: fmt.Sprintf("%d of 1 session; %d of 5 requests were answered", now.Residents.Sessions, answered),
		ok:     now.Residents.Sessions == 1,
	}, err
}

func askARP(ctx context.Context, s *testbed) (o outcome, err error) {
	r := s.Residents[0]
	w, err := s.rawSocket(ctx, r)
	if err != nil {
		return o, err
	}
	defer w.Close()
	mine := netip.MustParseAddr("10.80.2.77")
	others := []netip.Addr{
		mine, netip.MustParseAddr("10.80.3.99"), netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("169.254.7.7"), s.Lenders[0].Gateway,
	}
	wrong := 0                                      // answers
	for _, sender := range []netip.Addr{{}, mine} { // an ARP probe, and a request
		for _, target := range others {
			if err := w.Send(hostile.ARP{Link: hostile.Link{From: r.MAC}, Sender: sender, Target: target}.Frame()); err != nil {
				return o, err
			}
		}
	}
	// The box answers in order: after its answer for its own address, no other answer can follow.
	if err := w.Send(hostile.ARP{Link: hostile.Link{From: r.MAC}, Target: hotspot.Addr()}.Frame()); err != nil {
		return o, err
	}
	within, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err = w.Receive(within, func(f []byte) bool {
		a, ok := hostile.ReadARP(f)
		if !ok || !a.Reply || !bytes.Equal(a.SenderMAC, boxMAC) {
			return false
		}
		if a.Sender != hotspot.Addr() {
			wrong++
		}
		return a.Sender == hotspot.Addr()
	})
	o = outcome{result: fmt.Sprintf("%d answers to %d such questions", wrong, 2*len(others)), ok: wrong == 0}
	if err != nil && ctx.Err() == nil {
		return outcome{result: o.result + ", none for its own"}, nil
	}
	return o, err
}

func setByHand(ctx context.Context, s *testbed) (o outcome, err error) {
	first, second := s.Residents[0], s.Residents[1]
	w, err := s.rawSocket(ctx, second)
	if err != nil {
		return o, err
	}
	// What the server would send to the newcomer.
	const id = 77
	if err := w.Send(hostile.DHCP{Link: hostile.Link{From: second.MAC}, ID: id, Type: hostile.Discover}.Frame()); err != nil {
		return o, err
	}
	within, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	frame, err := w.Receive(within, func(f []byte) bool {
		d, ok := hostile.ReadDHCP(f)
		return ok && d.ID == id && d.Type == hostile.Offer
	})
	if err := errors.Join(err, w.Close()); err != nil {
		return o, err
	}
	offer, _ := hostile.ReadDHCP(frame)
	if err := errors.Join(
		first.SetUp(netlab.HotspotInterface, true),
		first.AddAddress(netlab.HotspotInterface, netip.PrefixFrom(offer.YourAddr, hotspot.Bits())),
		first.AddRoute(netip.PrefixFrom(netip.IPv4Unspecified(), 0), hotspot.Addr()),
	); err != nil {
		return o, err
	}
	start := time.Now()
	if err := s.Until(ctx, "the device with a static address to be admitted", func() error {
		within, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		return s.Admit(within, first)
	}); err != nil {
		return o, err
	}
	admitted := time.Since(start)
	joined := background(ctx, func(ctx context.Context) error {
		if _, err := second.Join(ctx); err != nil {
			return err
		}
		return s.Admit(ctx, second)
	})
	echoes, err := first.Echo(ctx, netlab.WebAddr, 20, 250*time.Millisecond)
	if err != nil {
		return o, err
	}
	joinErr := joined()
	what := "another address"
	switch {
	case joinErr != nil:
		what = "none"
	case second.Lease().Address.Addr() == offer.YourAddr:
		what = "the same"
	}
	return outcome{
		result: fmt.Sprintf("admitted after %s, %d of 20 answers; the newcomer got %s", seconds(admitted), len(echoes), what),
		ok:     admitted <= 5*time.Second && len(echoes) == 20 && what == "another address",
	}, nil
}

func floodDiscover(ctx context.Context, s *testbed) (outcome, error) {
	attacker := s.Residents[0]
	w, err := s.rawSocket(ctx, attacker)
	if err != nil {
		return outcome{}, err
	}
	defer w.Close()
	stop := background(ctx, func(ctx context.Context) error {
		_, err := w.Flood(ctx, 400, func(k int) []byte {
			return hostile.DHCP{Link: hostile.Link{From: attacker.MAC}, ID: uint32(k), Type: hostile.Discover}.Frame()
		})
		return err
	})
	if err := sleep(ctx, 2*time.Second); err != nil { // until the burst is used up
		return outcome{}, err
	}
	came := s.newcomers(ctx, s.Residents[1:], nil)
	return came.within(2 * time.Second), stop()
}

// starve requests a lease for each fake device, and accepts what is offered.
func starve(ctx context.Context, s *testbed) (o outcome, err error) {
	attacker, newcomer := s.Residents[0], s.Residents[1]
	asking, err := s.rawSocket(ctx, attacker)
	if err != nil {
		return o, err
	}
	defer asking.Close()
	hearing, err := s.rawSocket(ctx, attacker)
	if err != nil {
		return o, err
	}
	defer hearing.Close()
	const devices = 1021
	message := func(k int, kind byte) hostile.DHCP {
		chaddr, _ := fakeDevice(k)
		return hostile.DHCP{
			Link: hostile.Link{From: attacker.MAC}, Source: attacker.Lease().Address.Addr(),
			Hardware: chaddr, ID: 1<<16 + uint32(k), Type: kind,
		}
	}
	leases := map[netip.Addr]bool{}
	take := background(ctx, func(ctx context.Context) error {
		for {
			frame, err := hearing.Receive(ctx, func(f []byte) bool {
				d, ok := hostile.ReadDHCP(f)
				return ok && d.ID>>16 == 1
			})
			if err != nil {
				return err
			}
			switch d, _ := hostile.ReadDHCP(frame); d.Type {
			case hostile.Offer:
				m := message(int(d.ID&0xffff), hostile.Request)
				m.RequestedAddr, m.Server = d.YourAddr, d.Server
				if err := hearing.Send(m.Frame()); err != nil {
					return err
				}
			case hostile.Ack:
				leases[d.YourAddr] = true
			}
		}
	})
	ask := background(ctx, func(ctx context.Context) error {
		_, err := asking.Flood(ctx, 200, func(k int) []byte { return message(k%devices, hostile.Discover).Frame() })
		return err
	})
	if err := sleep(ctx, 9*time.Second); err != nil {
		return o, err
	}
	start := time.Now()
	for err = errors.New("not asked"); err != nil && time.Since(start) < 8*time.Second; {
		_, err = newcomer.Join(ctx)
	}
	w := new(latencies)
	w.add(time.Since(start), err)
	o = w.within(5 * time.Second)
	err = errors.Join(ask(), take())
	o.result += fmt.Sprintf("; fake devices hold %d leases", len(leases))
	return o, err
}
