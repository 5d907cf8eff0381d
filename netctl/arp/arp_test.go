package arp_test

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"passerelle/netctl"
	"passerelle/netctl/arp"
	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/hostile"
	"passerelle/netctl/netlab/labtest"
)

const hotspot = "wlan0"

var network = netip.MustParsePrefix("10.80.0.1/22")

// lab is a box with a bridge and an Asker on it.
type lab struct {
	t     *testing.T
	world *netlab.World
	box   *netlab.Host
	asker *arp.Asker
	woken chan struct{}
}

func newLab(t *testing.T) *lab {
	t.Helper()
	labtest.Root(t)
	l := &lab{t: t, world: labtest.World(t, "arp"), woken: make(chan struct{}, 1)}
	var err error
	l.box, err = l.world.AddHost("box")
	l.must(err)
	l.must(l.box.AddBridge(hotspot))
	l.must(l.box.AddAddress(hotspot, network))
	l.asker = arp.New(hotspot, network.Addr(), slog.New(slog.DiscardHandler), func() { l.woken <- struct{}{} })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- l.box.Do(func() error { return l.asker.Run(ctx) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l
}

func (l *lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// device adds a device with an address, or without one if the address is invalid.
func (l *lab) device(name string, mac netctl.MAC, addr netip.Addr) *netlab.Host {
	l.t.Helper()
	h, err := l.world.AddHost(name)
	l.must(err)
	_, err = l.world.Connect(
		netlab.End{Host: h, Interface: "eth0", MAC: net.HardwareAddr(mac[:])},
		netlab.End{Host: l.box, Interface: name, Bridge: hotspot, Isolated: true})
	l.must(err)
	if addr.IsValid() {
		l.must(h.AddAddress("eth0", netip.PrefixFrom(addr, network.Bits())))
	}
	return h
}

// ask requests the addresses and returns the replies.
func (l *lab) ask(addrs ...netip.Addr) []netctl.Claim {
	l.t.Helper()
	l.asker.Ask(addrs)
	select {
	case <-l.woken:
	case <-time.After(time.Minute):
		l.t.Fatal("nobody was told of the answers")
	}
	return l.asker.Answers()
}

// TestAsk requests addresses of real devices: one device, none, two with the same address, and a spoofing one.
func TestAsk(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	at := func(n byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 80, 1, n}) }
	mac := func(n byte) netctl.MAC { return netctl.MAC{2, 0, 0, 0, 0, n} }
	l.device("one", mac(1), at(1))
	l.device("two", mac(2), at(2))
	l.device("second", mac(3), at(2))
	liar, err := hostile.Open(l.device("liar", mac(4), netip.Addr{}), "eth0")
	l.must(err)
	defer liar.Close()
	ctx, cancel := context.WithCancel(t.Context())
	lied := make(chan error)
	go func() {
		for n := byte(10); ; n++ {
			frame, err := liar.Receive(ctx, func(f []byte) bool { q, ok := hostile.ReadARP(f); return ok && !q.Reply })
			if err != nil {
				lied <- nil
				return
			}
			q, _ := hostile.ReadARP(frame)
			me, other := mac(4), mac(n)
			link := hostile.Link{To: q.From, From: me[:]}
			liar.Send(
				// Spoofed: another sender, an address that was not requested, another target, a request.
				hostile.ARP{Link: link, Reply: true, SenderMAC: other[:], Sender: q.Target, TargetMAC: q.From, Target: q.Sender}.Frame(),
				hostile.ARP{Link: link, Reply: true, Sender: at(200), TargetMAC: q.From, Target: q.Sender}.Frame(),
				hostile.ARP{Link: link, Reply: true, Sender: q.Target, TargetMAC: q.From, Target: at(201)}.Frame(),
				hostile.ARP{Link: link, Sender: q.Target, Target: q.Sender}.Frame(),
			)
		}
	}()
	answers := l.ask(at(1), at(2), at(3))
	if len(answers) == 3 && len(answers[1].MACs) == 2 && answers[1].MACs[0] == mac(3) {
		answers[1].MACs[0], answers[1].MACs[1] = mac(2), mac(3) // the order is arbitrary
	}
	if want := []netctl.Claim{
		{Addr: at(1), MACs: []netctl.MAC{mac(1)}},
		{Addr: at(2), MACs: []netctl.MAC{mac(2), mac(3)}},
		{Addr: at(3)},
	}; !reflect.DeepEqual(answers, want) {
		t.Errorf("the answers are %v, want %v", answers, want)
	}
	cancel()
	l.must(<-lied)
	if again := l.asker.Answers(); again != nil {
		t.Errorf("answers are there twice: %v", again)
	}
}

// TestAskMany checks that the replies to a burst of requests are received, and that the claims recorded for one address are
// limited.
func TestAskMany(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	socket, err := hostile.Open(l.device("many", netctl.MAC{2, 0, 0, 0, 0, 1}, netip.Addr{}), "eth0")
	l.must(err)
	defer socket.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	claimed := netip.AddrFrom4([4]byte{10, 80, 2, 0})
	go func() {
		done <- socket.AnswerARP(ctx, func(a netip.Addr) net.HardwareAddr {
			if a != claimed {
				return net.HardwareAddr{2, 1, 0, 0, 0, a.As4()[3]}
			}
			for n := range byte(100) {
				mac := net.HardwareAddr{2, 2, 0, 0, 0, n}
				l := hostile.Link{To: hostile.Broadcast, From: mac}
				socket.Send(hostile.ARP{Link: l, Reply: true, Sender: claimed, Target: network.Addr()}.Frame())
			}
			return nil
		})
	}()
	var addrs []netip.Addr
	for n := range byte(40) {
		addrs = append(addrs, netip.AddrFrom4([4]byte{10, 80, 2, n}))
	}
	for n, a := range l.ask(addrs...) {
		want := []netctl.MAC{{2, 1, 0, 0, 0, byte(n)}}
		switch {
		case a.Addr != addrs[n]:
			t.Errorf("answer %d is about %v", n, a.Addr)
		case a.Addr == claimed && len(a.MACs) != 4:
			t.Errorf("%d devices are remembered for one address", len(a.MACs))
		case a.Addr != claimed && !reflect.DeepEqual(a.MACs, want):
			t.Errorf("%v is %v's, want %v", a.Addr, a.MACs, want)
		}
	}
	cancel()
	l.must(<-done)
}

// TestAskFails checks that a missing device, or one that is not Ethernet, gives no replies, and that later requests work.
func TestAskFails(t *testing.T) {
	t.Parallel()
	labtest.Root(t)
	world := labtest.World(t, "arp")
	box, err := world.AddHost("box")
	if err != nil {
		t.Fatal(err)
	}
	woken := make(chan struct{}, 1)
	asked := make(chan string, 10)
	log := slog.New(tell{slog.DiscardHandler, asked})
	asker := arp.New("lo", network.Addr(), log, func() { woken <- struct{}{} })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- box.Do(func() error { return asker.Run(ctx) }) }()
	for range 3 {
		asker.Ask([]netip.Addr{network.Addr().Next()})
		select {
		case <-asked:
		case <-woken:
			t.Error("there are answers")
		case <-time.After(time.Minute):
			t.Fatal("nothing was tried")
		}
	}
	asker.Ask(nil)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if a := asker.Answers(); a != nil {
		t.Errorf("the answers are %v", a)
	}
}

// tell is a log that signals each message.
type tell struct {
	slog.Handler
	to chan<- string
}

func (h tell) Enabled(context.Context, slog.Level) bool { return true }
func (h tell) Handle(_ context.Context, r slog.Record) error {
	h.to <- r.Message
	return nil
}
