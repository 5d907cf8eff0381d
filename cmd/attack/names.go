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

// What the unadmitted may make the box send and get on a line for names.
const (
	nameBurst = 40e3     // bytes of one device
	nameRate  = 16e3 / 8 // and bytes a second, after these
)

const (
	tunnelled = 10 * time.Second
	promised  = 20 * time.Second // of the attack on a cap
)

func tunnelLimit() float64 { return nameBurst + nameRate*tunnelled.Seconds() }

// admittedLimit is what an admitted device's names may take: 256 kbit/s, after what twelve connections bring at once.
func admittedLimit() float64 { return 12*64e3 + 66e3 + 32e3*tunnelled.Seconds() }

var nameAttacks = []attack{
	{
		name: "tcptunnel", what: "a device that is not admitted tunnels 10 s through names over TCP",
		limit: fmt.Sprintf("≤ %.0f kB on the line beside the box's own", tunnelLimit()/1e3),
		world: world{residents: 1, joined: 1}, play: tunnelTCP,
	},
	{
		name: "udptunnel", what: "the same over UDP, from its own address and 100 that it made up",
		limit: fmt.Sprintf("≤ %.0f kB on the line beside the box's own", tunnelLimit()/1e3),
		world: world{residents: 1, joined: 1}, play: tunnelUDP,
	},
	{
		name: "pausetunnel", what: "an admitted device tunnels 10 s over TCP and UDP while the box is paused",
		limit: fmt.Sprintf("≤ %.0f kB on the line beside the box's own", tunnelLimit()/1e3),
		world: world{residents: 1, joined: 1, admitted: 1}, play: tunnelInPause,
	},
	{
		name: "tcpadmitted", what: "an admitted device tunnels through four connections for names",
		limit: fmt.Sprintf("≤ %.0f kB on the line beside the box's own", admittedLimit()/1e3),
		world: world{residents: 1, joined: 1, admitted: 1}, play: tunnelAdmitted,
	},
	{
		name: "udpadmitted", what: "an admitted device asks 1,000 long names a second",
		limit: fmt.Sprintf("≤ %.0f kB on the line beside the box's own", admittedLimit()/1e3),
		world: world{residents: 1, joined: 1, admitted: 1}, play: func(ctx context.Context, s *stage) (o outcome, err error) {
			within, cancel := context.WithTimeout(ctx, tunnelled)
			defer cancel()
			if err := hostile.FloodNames(within, s.Residents[0].Host, nameServer, 1000, dnsmessage.TypeTXT, "long.example"); err != nil {
				return o, err
			}
			return s.onLine(0, admittedLimit())
		},
	},
	{
		name: "promise", what: "three devices that are not admitted tunnel 20 s, also below an essential service; cap 60 MB, reserve 10 MB",
		limit: "line ≤ cap, ≥ 90 % of the reserve left",
		world: world{residents: 3, joined: 3, how: box.Setup{
			Donation: "download = \"20mbit\"\nupload = \"20mbit\"\ncap = \"60MB\"\nreserve = \"10MB\"",
			More:     "[essential]\nnames = [\"service.example\"]\n",
		}}, play: spendCap,
	},
	{
		name: "signin", what: "40 devices that are not admitted ask 10 names a second each",
		limit: "a sign-in window for 5 of 5 newcomers within 3 s",
		world: world{residents: 6}, play: useUpNames,
	},
	{
		name: "phones", what: "50 phones come at once (nobody attacks)",
		limit: "a sign-in window for 50 of 50 within 3 s",
		world: world{residents: 50}, play: func(ctx context.Context, s *stage) (outcome, error) {
			return s.newcomers(ctx, s.Residents, window).within(3 * time.Second), nil
		},
	},
	{
		name: "floodnames", what: "a device that is not admitted asks 5,000 names a second",
		limit: "20 of 20 names of another within 1 s",
		world: world{residents: 2, joined: 2, admitted: 1}, play: floodOne,
	},
	{
		name: "silent", what: "an admitted device asks 100 names a second of a zone that never answers",
		limit: "20 of 20 names of another within 1 s",
		world: world{residents: 2, joined: 2, admitted: 2}, play: askSilence,
	},
	{
		name: "silent30", what: "30 addresses of a device that is not admitted do so",
		limit: "20 of 20 names of another within 1 s",
		world: world{residents: 2, joined: 1, admitted: 1}, play: askSilenceUnadmitted,
	},
	{
		name: "idletcp", what: "a device holds 38 connections to port 53 and says nothing",
		limit: "10 of 10 names of another over TCP within 1 s",
		world: world{residents: 2, joined: 2, admitted: 1}, play: holdTCP,
	},
}

// zones are names on the internet: many, large ones, and a zone that never answers.
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
	n.Answer("long.example", long(1))   // fits a datagram of 512 bytes
	n.Answer("huge.example", long(230)) // 58 kB
	n.Answer("huge.service.example", long(230))
	n.Answer("silent.example", func(dnsmessage.Question) []dnsmessage.ResourceBody { return nil })
}

// nameServer is the box's.
var nameServer = netip.AddrPortFrom(hotspot.Addr(), 53)

// question is a frame that asks the box for a name.
func question(mac net.HardwareAddr, from netip.Addr, k int, kind dnsmessage.Type, zone string) []byte {
	return hostile.UDP{
		Link:        hostile.Link{To: boxMAC, From: mac},
		Source:      netip.AddrPortFrom(from, uint16(1024+k%60000)),
		Destination: nameServer,
		Payload:     hostile.Question(uint16(k), fmt.Sprintf("f%d.%s", k, zone), kind),
	}.Frame()
}

// onLine is the outcome of a tunnel.
func (s *stage) onLine(tunnelled int, limit float64) (outcome, error) {
	crossed, err := s.crossed()
	return outcome{
		kept: fmt.Sprintf("%.1f kB on the line, of them %.1f kB through the tunnel", float64(crossed)/1e3, float64(tunnelled)/1e3),
		ok:   float64(crossed) <= limit+ownUse,
	}, err
}

func tunnelTCP(ctx context.Context, s *stage) (outcome, error) {
	within, cancel := context.WithTimeout(ctx, tunnelled)
	defer cancel()
	return s.onLine(hostile.TunnelTCP(within, s.Residents[0].Host, nameServer, "huge.example"), tunnelLimit())
}

func tunnelAdmitted(ctx context.Context, s *stage) (outcome, error) {
	within, cancel := context.WithTimeout(ctx, tunnelled)
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
	return s.onLine(int(got.Load()), admittedLimit())
}

func tunnelInPause(ctx context.Context, s *stage) (outcome, error) {
	if err := s.Do(ctx, "pause"); err != nil {
		return outcome{}, err
	}
	within, cancel := context.WithTimeout(ctx, tunnelled)
	defer cancel()
	over := make(chan int)
	go func() { over <- hostile.TunnelTCP(within, s.Residents[0].Host, nameServer, "huge.example") }()
	err := hostile.FloodNames(within, s.Residents[0].Host, nameServer, 100, dnsmessage.TypeTXT, "long.example")
	got := <-over
	if err != nil {
		return outcome{}, err
	}
	return s.onLine(got, tunnelLimit())
}

func tunnelUDP(ctx context.Context, s *stage) (o outcome, err error) {
	r := s.Residents[0]
	w, err := s.wire(ctx, r)
	if err != nil {
		return o, err
	}
	defer w.Close()
	answering, err := s.wire(ctx, r)
	if err != nil {
		return o, err
	}
	defer answering.Close()
	answers := w.Tally(func(f []byte) bool {
		d, ok := hostile.ReadUDP(f)
		return ok && d.Source == nameServer
	})
	within, cancel := context.WithTimeout(ctx, tunnelled)
	defer cancel()
	all, within := errgroup.WithContext(within)
	all.Go(func() error {
		return hostile.FloodNames(within, r.Host, nameServer, 100, dnsmessage.TypeTXT, "long.example")
	})
	all.Go(func() error {
		_, err := w.Flood(within, 1000, func(k int) []byte {
			_, addr := madeUp(k % 100)
			return question(r.MAC, addr, k, dnsmessage.TypeTXT, "long.example")
		})
		return err
	})
	// Who has an address answers for it.
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
	return s.onLine(bytes, tunnelLimit())
}

func spendCap(ctx context.Context, s *stage) (outcome, error) {
	s.Internet.Names.Set("service.example", netlab.ServiceAddr)
	within, cancel := context.WithTimeout(ctx, promised)
	defer cancel()
	var all errgroup.Group
	for k, r := range s.Residents {
		zone := "huge.service.example"
		if k == 0 {
			zone = "huge.example"
		}
		all.Go(func() error { hostile.TunnelTCP(within, r.Host, nameServer, zone); return nil })
		all.Go(func() error {
			return hostile.FloodNames(within, r.Host, nameServer, 50, dnsmessage.TypeTXT, "long.example")
		})
	}
	if err := all.Wait(); err != nil {
		return outcome{}, err
	}
	crossed, err := s.crossed()
	if err != nil {
		return outcome{}, err
	}
	var reserve uint64
	if err := s.Until(ctx, "all to be booked", func() error {
		now, err := s.Status(ctx)
		if err != nil {
			return err
		}
		reserve = now.Donations[0].Reserve
		if now.Donations[0].Used < crossed-crossed/20 {
			return fmt.Errorf("%d of %d bytes are booked", now.Donations[0].Used, crossed)
		}
		return nil
	}); err != nil {
		return outcome{}, err
	}
	return outcome{
		kept: fmt.Sprintf("%.2f of 60 MB on the line, %.1f of 10 MB of the reserve left", float64(crossed)/1e6, float64(reserve)/1e6),
		ok:   crossed <= 60e6 && reserve >= 9e6,
	}, nil
}

// useUpNames has forty devices, each with a lease, ask as much as one may.
func useUpNames(ctx context.Context, s *stage) (outcome, error) {
	const devices, each = 40, 10
	w, err := s.wire(ctx, s.Residents[0])
	if err != nil {
		return outcome{}, err
	}
	defer w.Close()
	owner := map[netip.Addr]net.HardwareAddr{}
	var addrs []netip.Addr
	for k := range devices {
		mac, _ := madeUp(k)
		lease, err := w.Lease(ctx, mac)
		if err != nil {
			return outcome{}, err
		}
		owner[lease.Yours] = mac
		addrs = append(addrs, lease.Yours)
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
	if err := pause(ctx, 5*time.Second); err != nil { // the pool is used up
		return outcome{}, err
	}
	came := s.newcomers(ctx, s.Residents[1:], window)
	return came.within(3 * time.Second), errors.Join(ask(), answer())
}

// window does what a phone does to find out whether there is a page to sign in at, until there is.
func window(ctx context.Context, r *netlab.Resident) error {
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
		if pause(within, 100*time.Millisecond) != nil {
			return err
		}
	}
}

// names asks for names that the box has to ask for, one after the other, each once.
func names(ctx context.Context, r *netlab.Resident, network string, count int) (*waits, error) {
	w := new(waits)
	for k := range count {
		start := time.Now()
		err := oneName(ctx, r, network, fmt.Sprintf("o%d-%d.many.example", k, start.UnixNano()))
		w.add(time.Since(start), err)
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return w, err
		}
	}
	return w, nil
}

func oneName(ctx context.Context, r *netlab.Resident, network, name string) error {
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
		answer, err = hostile.AskTCP(conn, name, dnsmessage.TypeA)
	} else {
		answer = make([]byte, 4096)
		if _, err = conn.Write(hostile.Question(1, name, dnsmessage.TypeA)); err == nil {
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

// fills is how long the questions that never end need to fill what there is for them.
const fills = 4 * time.Second

func floodOne(ctx context.Context, s *stage) (outcome, error) {
	attacker := s.Residents[1]
	wire, err := s.wire(ctx, attacker)
	if err != nil {
		return outcome{}, err
	}
	defer wire.Close()
	stop := background(ctx, func(ctx context.Context) error {
		_, err := wire.Flood(ctx, 5000, func(k int) []byte {
			return question(attacker.MAC, attacker.Lease().Address.Addr(), k, dnsmessage.TypeA, "many.example")
		})
		return err
	})
	if err := pause(ctx, fills); err != nil {
		return outcome{}, err
	}
	w, err := names(ctx, s.Residents[0], "udp4", 20)
	return w.within(time.Second), errors.Join(err, stop())
}

func askSilence(ctx context.Context, s *stage) (outcome, error) {
	stop := background(ctx, func(ctx context.Context) error {
		return hostile.FloodNames(ctx, s.Residents[1].Host, nameServer, 100, dnsmessage.TypeA, "silent.example")
	})
	if err := pause(ctx, fills); err != nil {
		return outcome{}, err
	}
	w, err := names(ctx, s.Residents[0], "udp4", 20)
	return w.within(time.Second), errors.Join(err, stop())
}

func askSilenceUnadmitted(ctx context.Context, s *stage) (outcome, error) {
	wire, err := s.wire(ctx, s.Residents[1])
	if err != nil {
		return outcome{}, err
	}
	defer wire.Close()
	stop := background(ctx, func(ctx context.Context) error {
		_, err := wire.Flood(ctx, 300, func(k int) []byte {
			_, addr := madeUp(k % 30)
			return question(s.Residents[1].MAC, addr, k, dnsmessage.TypeA, "silent.example")
		})
		return err
	})
	if err := pause(ctx, fills); err != nil {
		return outcome{}, err
	}
	w, err := names(ctx, s.Residents[0], "udp4", 20)
	return w.within(time.Second), errors.Join(err, stop())
}

func holdTCP(ctx context.Context, s *stage) (outcome, error) {
	for range 38 {
		within, cancel := context.WithTimeout(ctx, time.Second)
		conn, err := s.Residents[1].Dial(within, "tcp4", nameServer.String())
		cancel()
		if err == nil { // else it has enough
			defer conn.Close()
		}
	}
	w, err := names(ctx, s.Residents[0], "tcp4", 10)
	return w.within(time.Second), err
}
