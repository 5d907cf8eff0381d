package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sync/errgroup"

	"passerelle/cmd/internal/box"
	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/hostile"
)

// DNS limits on a line for devices that are not admitted.
const (
	nameBurst = 40e3     // bytes of one device, at first
	nameRate  = 16e3 / 8 // bytes a second after that
)

const (
	tunnelTime    = 10 * time.Second
	capAttackTime = 20 * time.Second // duration of the attack on a cap
)

func tunnelLimit() float64 { return nameBurst + nameRate*tunnelTime.Seconds() }

// admittedLimit is the DNS limit of an admitted device: 256 kbit/s, after the burst of twelve connections.
func admittedLimit() float64 { return 12*64e3 + 66e3 + 32e3*tunnelTime.Seconds() }

var nameAttacks = []attack{
	{
		name: "tcptunnel", what: "a device that is not admitted tunnels 10 s through names over TCP",
		limit: fmt.Sprintf("≤ %.0f kB on the line beside the box's own", tunnelLimit()/1e3),
		setup: setup{residents: 1, joined: 1}, run: tunnelTCP,
	},
	{
		name: "udptunnel", what: "the same over UDP, from its own address and 100 fake ones",
		limit: fmt.Sprintf("≤ %.0f kB on the line beside the box's own", tunnelLimit()/1e3),
		setup: setup{residents: 1, joined: 1}, run: tunnelUDP,
	},
	{
		name: "pausetunnel", what: "an admitted device tunnels 10 s over TCP and UDP while the box is paused",
		limit: fmt.Sprintf("≤ %.0f kB on the line beside the box's own", tunnelLimit()/1e3),
		setup: setup{residents: 1, joined: 1, admitted: 1}, run: tunnelInPause,
	},
	{
		name: "tcpadmitted", what: "an admitted device tunnels through four connections for names",
		limit: fmt.Sprintf("≤ %.0f kB on the line beside the box's own", admittedLimit()/1e3),
		setup: setup{residents: 1, joined: 1, admitted: 1}, run: tunnelAdmitted,
	},
	{
		name: "udpadmitted", what: "an admitted device asks 1,000 long names a second",
		limit: fmt.Sprintf("≤ %.0f kB on the line beside the box's own", admittedLimit()/1e3),
		setup: setup{residents: 1, joined: 1, admitted: 1}, run: func(ctx context.Context, s *testbed) (o outcome, err error) {
			within, cancel := context.WithTimeout(ctx, tunnelTime)
			defer cancel()
			if err := hostile.FloodDNS(within, s.Residents[0].Host, nameServer, 1000, dnsmessage.TypeTXT, "long.example"); err != nil {
				return o, err
			}
			return s.tunnelOutcome(0, admittedLimit())
		},
	},
	{
		name: "promise", what: "three devices that are not admitted tunnel 20 s, also below an essential service; cap 60 MB, reserve 10 MB",
		limit: "line ≤ cap, ≥ 90 % of the reserve left",
		setup: setup{residents: 3, joined: 3, how: box.Setup{
			Donation: "download = \"20mbit\"\nupload = \"20mbit\"\ncap = \"60MB\"\nreserve = \"10MB\"",
			More:     "[essential]\nnames = [\"service.example\"]\n",
		}}, run: spendCap,
	},
	{
		name: "signin", what: "40 devices that are not admitted ask 10 names a second each",
		limit: "a sign-in window for 5 of 5 newcomers within 3 s",
		setup: setup{residents: 6}, run: useUpNames,
	},
	{
		name: "phones", what: "50 phones come at once (nobody attacks)",
		limit: "a sign-in window for 50 of 50 within 3 s",
		setup: setup{residents: 50}, run: func(ctx context.Context, s *testbed) (outcome, error) {
			return s.newcomers(ctx, s.Residents, awaitSignIn).within(3 * time.Second), nil
		},
	},
	{
		name: "floodnames", what: "a device that is not admitted asks 5,000 names a second",
		limit: "20 of 20 names of another within 1 s",
		setup: setup{residents: 2, joined: 2, admitted: 1}, run: floodOne,
	},
	{
		name: "silent", what: "an admitted device asks 100 names a second of a zone that never answers",
		limit: "20 of 20 names of another within 1 s",
		setup: setup{residents: 2, joined: 2, admitted: 2}, run: askSilence,
	},
	{
		name: "silent30", what: "30 addresses of a device that is not admitted do so",
		limit: "20 of 20 names of another within 1 s",
		setup: setup{residents: 2, joined: 1, admitted: 1}, run: askSilenceUnadmitted,
	},
	{
		name: "idletcp", what: "a device holds 38 idle connections to port 53",
		limit: "10 of 10 names of another over TCP within 1 s",
		setup: setup{residents: 2, joined: 2, admitted: 1}, run: holdTCP,
	},
}

// zones adds names on the internet: many names, large answers, and a zone that never answers.
func zones(n *netlab.Names) {
	n.Set("*.many.example", netlab.WebAddr)
	n.Set("connectivity.example", netlab.WebAddr)
	long := func(count int) func(dnsmessage.Question) []dnsmessage.ResourceBody {
		text := make([]string, count)
		for i := range text {
			text[i] = strings.Repeat("x", 250)
		}
		return func(dnsmessage.Question) []dnsmessage.ResourceBody {
			return []dnsmessage.ResourceBody{&dnsmessage.TXTResource{TXT: text}}
		}
	}
	n.Handle("long.example", long(1))   // fits a datagram of 512 bytes
	n.Handle("huge.example", long(230)) // 58 kB
	n.Handle("huge.service.example", long(230))
	n.Handle("silent.example", func(dnsmessage.Question) []dnsmessage.ResourceBody { return nil })
}

// nameServer is the box's name server.
var nameServer = netip.AddrPortFrom(hotspot.Addr(), 53)

// question is a frame with a DNS query to the box.
func question(mac net.HardwareAddr, from netip.Addr, k int, kind dnsmessage.Type, zone string) []byte {
	return hostile.UDP{
		Link:        hostile.Link{To: boxMAC, From: mac},
		Source:      netip.AddrPortFrom(from, uint16(1024+k%60000)),
		Destination: nameServer,
		Payload:     hostile.Query(uint16(k), fmt.Sprintf("f%d.%s", k, zone), kind),
	}.Frame()
}

// tunnelOutcome returns the outcome of a tunnel.
func (s *testbed) tunnelOutcome(tunnelled int, limit float64) (outcome, error) {
	crossed, err := s.lineBytes()
	return outcome{
		result: fmt.Sprintf("%.1f kB on the line, of them %.1f kB through the tunnel", float64(crossed)/1e3, float64(tunnelled)/1e3),
		ok:     float64(crossed) <= limit+selfTraffic,
	}, err
}

func tunnelTCP(ctx context.Context, s *testbed) (outcome, error) {
	within, cancel := context.WithTimeout(ctx, tunnelTime)
	defer cancel()
	return s.tunnelOutcome(hostile.TunnelTCP(within, s.Residents[0].Host, nameServer, "huge.example"), tunnelLimit())
}

func tunnelAdmitted(ctx context.Context, s *testbed) (outcome, error) {
	within, cancel := context.WithTimeout(ctx, tunnelTime)
	defer cancel()
	var got atomic.Int64
	var all errgroup.Group
	for k := range 4 {
		all.Go(func() error {
			got.Add(int64(hostile.TunnelTCP(within, s.Residents[0].Host, nameServer, fmt.Sprintf("c%d.huge.example", k))))
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		return outcome{}, err
	}
	return s.tunnelOutcome(int(got.Load()), admittedLimit())
}

func tunnelInPause(ctx context.Context, s *testbed) (outcome, error) {
	if err := s.Pause(ctx); err != nil {
		return outcome{}, err
	}
	within, cancel := context.WithTimeout(ctx, tunnelTime)
	defer cancel()
	over := make(chan int)
	go func() { over <- hostile.TunnelTCP(within, s.Residents[0].Host, nameServer, "huge.example") }()
	err := hostile.FloodDNS(within, s.Residents[0].Host, nameServer, 100, dnsmessage.TypeTXT, "long.example")
	got := <-over
	if err != nil {
		return outcome{}, err
	}
	return s.tunnelOutcome(got, tunnelLimit())
}

func tunnelUDP(ctx context.Context, s *testbed) (o outcome, err error) {
	r := s.Residents[0]
	w, err := s.rawSocket(ctx, r)
	if err != nil {
		return o, err
	}
	defer w.Close()
	answering, err := s.rawSocket(ctx, r)
	if err != nil {
		return o, err
	}
	defer answering.Close()
	answers := w.Count(func(f []byte) bool {
		d, ok := hostile.ReadUDP(f)
		return ok && d.Source == nameServer
	})
	within, cancel := context.WithTimeout(ctx, tunnelTime)
	defer cancel()
	all, within := errgroup.WithContext(within)
	all.Go(func() error {
		return hostile.FloodDNS(within, r.Host, nameServer, 100, dnsmessage.TypeTXT, "long.example")
	})
	all.Go(func() error {
		_, err := w.Flood(within, 1000, func(k int) []byte {
			_, addr := fakeDevice(k % 100)
			return question(r.MAC, addr, k, dnsmessage.TypeTXT, "long.example")
		})
		return err
	})
	// A device answers ARP for its address.
	all.Go(func() error {
		return answering.AnswerARP(within, func(a netip.Addr) net.HardwareAddr {
			if hotspot.Contains(a) && a.As4()[2] != 0 {
				return r.MAC
			}
			return nil
		})
	})
	if err := all.Wait(); err != nil {
		return o, err
	}
	_, bytes, err := answers.Stop()
	if err != nil {
		return o, err
	}
	return s.tunnelOutcome(bytes, tunnelLimit())
}

func spendCap(ctx context.Context, s *testbed) (outcome, error) {
	s.Internet.Names.Set("service.example", netlab.ServiceAddr)
	within, cancel := context.WithTimeout(ctx, capAttackTime)
	defer cancel()
	var all errgroup.Group
	for k, r := range s.Residents {
		zone := "huge.service.example"
		if k == 0 {
			zone = "huge.example"
		}
		all.Go(func() error { hostile.TunnelTCP(within, r.Host, nameServer, zone); return nil })
		all.Go(func() error {
			return hostile.FloodDNS(within, r.Host, nameServer, 50, dnsmessage.TypeTXT, "long.example")
		})
	}
	if err := all.Wait(); err != nil {
		return outcome{}, err
	}
	crossed, err := s.lineBytes()
	if err != nil {
		return outcome{}, err
	}
	var reserve uint64
	if err := s.Until(ctx, "all bytes to be accounted for", func() error {
		now, err := s.Status(ctx)
		if err != nil {
			return err
		}
		reserve = now.Donations[0].Reserve
		if now.Donations[0].Used < crossed-crossed/20 {
			return fmt.Errorf("%d of %d bytes are accounted for", now.Donations[0].Used, crossed)
		}
		return nil
	}); err != nil {
		return outcome{}, err
	}
	return outcome{
		result: fmt.Sprintf("%.2f of 60 MB on the line, %.1f of 10 MB of the reserve left", float64(crossed)/1e6, float64(reserve)/1e6),
		ok:     crossed <= 60e6 && reserve >= 9e6,
	}, nil
}

// useUpNames lets forty devices, each with a lease, send as many queries as one device may.
func useUpNames(ctx context.Context, s *testbed) (outcome, error) {
	const devices, each = 40, 10
	w, err := s.rawSocket(ctx, s.Residents[0])
	if err != nil {
		return outcome{}, err
	}
	defer w.Close()
	owner := map[netip.Addr]net.HardwareAddr{}
	var addrs []netip.Addr
	for k := range devices {
		mac, _ := fakeDevice(k)
		lease, err := w.Lease(ctx, mac)
		if err != nil {
			return outcome{}, err
		}
		owner[lease.YourAddr] = mac
		addrs = append(addrs, lease.YourAddr)
	}
	answer := background(ctx, func(ctx context.Context) error {
		return w.AnswerARP(ctx, func(a netip.Addr) net.HardwareAddr { return owner[a] })
	})
	ask := background(ctx, func(ctx context.Context) error {
		_, err := w.Flood(ctx, devices*each, func(k int) []byte {
			addr := addrs[k%devices]
			return question(owner[addr], addr, k, dnsmessage.TypeA, "many.example")
		})
		return err
	})
	if err := sleep(ctx, 5*time.Second); err != nil { // until the pool is used up
		return outcome{}, err
	}
	came := s.newcomers(ctx, s.Residents[1:], awaitSignIn)
	return came.within(3 * time.Second), errors.Join(ask(), answer())
}

// awaitSignIn repeats a phone's connectivity check until it is redirected to the sign-in page.
func awaitSignIn(ctx context.Context, r *netlab.Resident) error {
	within, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for {
		reply, err := r.Get(within, "http://connectivity.example/generate_204")
		if err == nil && reply.Status == http.StatusFound && strings.HasPrefix(reply.Header.Get("Location"), box.Portal) {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("the phone was answered with %d", reply.Status)
		}
		if sleep(within, 100*time.Millisecond) != nil {
			return err
		}
	}
}

// resolveMany resolves names that are not cached, one after the other.
func resolveMany(ctx context.Context, r *netlab.Resident, network string, count int) (*latencies, error) {
	w := new(latencies)
	for k := range count {
		start := time.Now()
		err := resolveOnce(ctx, r, network, fmt.Sprintf("o%d-%d.many.example", k, start.UnixNano()))
		w.add(time.Since(start), err)
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return w, err
		}
	}
	return w, nil
}

func resolveOnce(ctx context.Context, r *netlab.Resident, network, name string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := r.Dial(ctx, network, nameServer.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	var answer []byte
	if network == "tcp4" {
		answer, err = hostile.QueryTCP(conn, name, dnsmessage.TypeA)
	} else {
		answer = make([]byte, 4096)
		if _, err = conn.Write(hostile.Query(1, name, dnsmessage.TypeA)); err == nil {
			var n int
			n, err = conn.Read(answer)
			answer = answer[:n]
		}
	}
	if err != nil {
		return err
	}
	var reply dnsmessage.Message
	if err := reply.Unpack(answer); err != nil {
		return err
	}
	if len(reply.Answers) == 0 {
		return fmt.Errorf("no address: %v", reply.RCode)
	}
	if a, ok := reply.Answers[0].Body.(*dnsmessage.AResource); !ok || netip.AddrFrom4(a.A) != netlab.WebAddr {
		return errors.New("another address")
	}
	return nil
}

// fillTime is how long it takes until the unanswered queries reach their limit.
const fillTime = 4 * time.Second

func floodOne(ctx context.Context, s *testbed) (outcome, error) {
	attacker := s.Residents[1]
	socket, err := s.rawSocket(ctx, attacker)
	if err != nil {
		return outcome{}, err
	}
	defer socket.Close()
	stop := background(ctx, func(ctx context.Context) error {
		_, err := socket.Flood(ctx, 5000, func(k int) []byte {
			return question(attacker.MAC, attacker.Lease().Address.Addr(), k, dnsmessage.TypeA, "many.example")
		})
		return err
	})
	if err := sleep(ctx, fillTime); err != nil {
		return outcome{}, err
	}
	w, err := resolveMany(ctx, s.Residents[0], "udp4", 20)
	return w.within(time.Second), errors.Join(err, stop())
}

func askSilence(ctx context.Context, s *testbed) (outcome, error) {
	stop := background(ctx, func(ctx context.Context) error {
		return hostile.FloodDNS(ctx, s.Residents[1].Host, nameServer, 100, dnsmessage.TypeA, "silent.example")
	})
	if err := sleep(ctx, fillTime); err != nil {
		return outcome{}, err
	}
	w, err := resolveMany(ctx, s.Residents[0], "udp4", 20)
	return w.within(time.Second), errors.Join(err, stop())
}

func askSilenceUnadmitted(ctx context.Context, s *testbed) (outcome, error) {
	socket, err := s.rawSocket(ctx, s.Residents[1])
	if err != nil {
		return outcome{}, err
	}
	defer socket.Close()
	stop := background(ctx, func(ctx context.Context) error {
		_, err := socket.Flood(ctx, 300, func(k int) []byte {
			_, addr := fakeDevice(k % 30)
			return question(s.Residents[1].MAC, addr, k, dnsmessage.TypeA, "silent.example")
		})
		return err
	})
	if err := sleep(ctx, fillTime); err != nil {
		return outcome{}, err
	}
	w, err := resolveMany(ctx, s.Residents[0], "udp4", 20)
	return w.within(time.Second), errors.Join(err, stop())
}

func holdTCP(ctx context.Context, s *testbed) (outcome, error) {
	for range 38 {
		within, cancel := context.WithTimeout(ctx, time.Second)
		conn, err := s.Residents[1].Dial(within, "tcp4", nameServer.String())
		cancel()
		if err == nil { // otherwise the limit is reached
			defer conn.Close()
		}
	}
	w, err := resolveMany(ctx, s.Residents[0], "tcp4", 10)
	return w.within(time.Second), err
}
