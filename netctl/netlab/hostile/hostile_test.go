package hostile_test

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/hostile"
	"passerelle/netctl/netlab/labtest"
)

var (
	network  = netip.MustParsePrefix("10.80.0.1/24")
	victim   = network.Addr() // the other host's address
	madeUp   = netip.MustParseAddr("10.80.0.77")
	attacker = net.HardwareAddr{2, 0xbd, 0, 0, 0, 1}
)

// TestRead checks that parsed frames equal those that were built, and that truncated frames are rejected.
func TestRead(t *testing.T) {
	to := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	link := hostile.Link{To: to, From: attacker}
	from, dest := netip.AddrPortFrom(madeUp, 4000), netip.AddrPortFrom(victim, 53)
	for name, c := range map[string]struct {
		frame []byte
		read  func([]byte) bool
	}{
		"ARP": {hostile.ARP{Link: link, Reply: true, Sender: victim, Target: madeUp, TargetMAC: to}.Frame(), func(f []byte) bool {
			a, ok := hostile.ReadARP(f)
			return ok && a.Reply && a.Sender == victim && a.Target == madeUp && bytes.Equal(a.SenderMAC, attacker) && bytes.Equal(a.To, to)
		}},
		"IPv4": {hostile.IPv4{Link: link, Source: madeUp, Destination: victim, Protocol: 47, Options: []byte{7, 4, 4, 0}, Payload: []byte("gre")}.Frame(), func(f []byte) bool {
			p, ok := hostile.ReadIPv4(f)
			return ok && p.Source == madeUp && p.Destination == victim && p.Protocol == 47 && len(p.Options) == 4 && string(p.Payload) == "gre"
		}},
		"UDP": {hostile.UDP{Link: link, Source: from, Destination: dest, Payload: []byte("hello")}.Frame(), func(f []byte) bool {
			d, ok := hostile.ReadUDP(f)
			return ok && d.Source == from && d.Destination == dest && string(d.Payload) == "hello"
		}},
		"TCP": {hostile.TCP{Link: link, Source: from, Destination: dest, Flags: hostile.SYN, Sequence: 7, Payload: []byte("x")}.Frame(), func(f []byte) bool {
			s, ok := hostile.ReadTCP(f)
			return ok && s.Source == from && s.Destination == dest && s.Flags == hostile.SYN && s.Sequence == 7 && string(s.Payload) == "x"
		}},
		"ICMP": {hostile.ICMP{Link: link, Source: madeUp, Destination: victim, Type: 8, Rest: 7, Payload: []byte("x")}.Frame(), func(f []byte) bool {
			m, ok := hostile.ReadICMP(f)
			return ok && m.Source == madeUp && m.Destination == victim && m.Type == 8 && m.Rest == 7 && string(m.Payload) == "x"
		}},
	} {
		if !c.read(c.frame) {
			t.Errorf("%s is read otherwise than it was written: %x", name, c.frame)
		}
		for n := range c.frame {
			if c.read(c.frame[:n]) {
				t.Errorf("%s is read from its first %d of %d bytes", name, n, len(c.frame))
			}
		}
	}
}

// lab returns two hosts on a cable: the kernel of one answers at the address victim, the other has a raw socket.
func lab(t *testing.T) (*netlab.Host, *hostile.RawSocket) {
	t.Helper()
	labtest.Root(t)
	w := labtest.World(t, "hostile")
	a := must(w.AddHost("victim"))(t)
	b := must(w.AddHost("attacker"))(t)
	must(w.Connect(netlab.End{Host: a, Interface: "eth0"}, netlab.End{Host: b, Interface: "eth0"}))(t)
	check(t, a.AddAddress("eth0", network))
	return a, open(t, b, "eth0")
}

func open(t *testing.T, h *netlab.Host, name string) *hostile.RawSocket {
	t.Helper()
	socket := must(hostile.Open(h, name))(t)
	t.Cleanup(func() { socket.Close() })
	return socket
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		check(t, err)
		return v
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// until waits until ok returns true.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// receive waits for a frame.
func receive(t *testing.T, socket *hostile.RawSocket, wanted func([]byte) bool) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return must(socket.Receive(ctx, wanted))(t)
}

// find requests the victim's hardware address by ARP.
func find(t *testing.T, socket *hostile.RawSocket, me hostile.ARP) net.HardwareAddr {
	t.Helper()
	me.From, me.Target = attacker, victim
	check(t, socket.Send(me.Frame()))
	answer, _ := hostile.ReadARP(receive(t, socket, func(f []byte) bool {
		a, ok := hostile.ReadARP(f)
		return ok && a.Reply && a.Sender == victim
	}))
	return answer.SenderMAC
}

// TestKernelAnswers checks that the kernel accepts these frames as real ones, checksums included.
func TestKernelAnswers(t *testing.T) {
	t.Parallel()
	host, socket := lab(t)
	names := netlab.NewNames()
	names.Set("www.example", netlab.WebAddr)
	check(t, host.ServePackets(netip.AddrPortFrom(victim, 53), names.Reply))
	must(host.Listen("tcp4", "10.80.0.1:80"))(t)

	mac := find(t, socket, hostile.ARP{})
	if again := find(t, socket, hostile.ARP{Sender: madeUp}); !bytes.Equal(again, mac) {
		t.Errorf("a probe was answered with %s, a question with %s", mac, again)
	}
	link := hostile.Link{To: mac, From: attacker}
	check(t, socket.Send(hostile.TCP{
		Link: link, Source: netip.AddrPortFrom(madeUp, 4000), Destination: netip.AddrPortFrom(victim, 80), Flags: hostile.SYN, Sequence: 41,
	}.Frame()))
	receive(t, socket, func(f []byte) bool {
		s, ok := hostile.ReadTCP(f)
		return ok && s.Destination.Addr() == madeUp && s.Flags == hostile.SYN|hostile.ACK && s.Ack == 42
	})
	check(t, socket.Send(hostile.ICMP{Link: link, Source: madeUp, Destination: victim, Type: 8, Rest: 7}.Frame()))
	receive(t, socket, func(f []byte) bool {
		m, ok := hostile.ReadICMP(f)
		return ok && m.Destination == madeUp && m.Type == 0 && m.Rest == 7
	})
	check(t, socket.Send(hostile.UDP{
		Link: link, Source: netip.AddrPortFrom(madeUp, 4001), Destination: netip.AddrPortFrom(victim, 53),
		Payload: hostile.Query(5, "www.example", dnsmessage.TypeA),
	}.Frame()))
	answer, _ := hostile.ReadUDP(receive(t, socket, func(f []byte) bool {
		d, ok := hostile.ReadUDP(f)
		return ok && d.Source.Port() == 53
	}))
	var reply dnsmessage.Message
	if err := reply.Unpack(answer.Payload); err != nil || reply.ID != 5 || len(reply.Answers) != 1 {
		t.Errorf("the answer is %+v, %v", reply, err)
	}
}

// TestAnswerARP checks that one raw socket can act as several devices.
func TestAnswerARP(t *testing.T) {
	t.Parallel()
	host, socket := lab(t)
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan error, 1)
	go func() {
		answered <- socket.AnswerARP(ctx, func(a netip.Addr) net.HardwareAddr {
			if a == victim {
				return nil
			}
			b := a.As4()
			return net.HardwareAddr{2, 0xbd, 0, 0, 1, b[3]}
		})
	}()
	conn := must(host.Dial(t.Context(), "udp", "10.80.0.99:9"))(t)
	defer conn.Close()
	until(t, "the kernel to learn who has the address", func() bool {
		must(conn.Write([]byte("who are you?")))(t)
		return strings.Contains(must(host.Run(t.Context(), "ip", "neigh", "show", "10.80.0.99"))(t), "02:bd:00:00:01:63")
	})
	cancel()
	check(t, <-answered)
}

// TestCounter checks that each frame is counted once, and that the host's own frames are not counted.
func TestCounter(t *testing.T) {
	t.Parallel()
	labtest.Root(t)
	w := labtest.World(t, "counter")
	a := must(w.AddHost("near"))(t)
	b := must(w.AddHost("far"))(t)
	must(w.Connect(netlab.End{Host: a, Interface: "eth0"}, netlab.End{Host: b, Interface: "eth0"}))(t)
	near, far := open(t, a, "eth0"), open(t, b, "eth0")
	ours := func(f []byte) bool {
		p, ok := hostile.ReadUDP(f)
		return ok && p.Source.Addr() == madeUp
	}
	here, there := near.Count(ours), far.Count(ours)
	frame := hostile.UDP{
		Link: hostile.Link{From: attacker}, Source: netip.AddrPortFrom(madeUp, 1), Destination: netip.AddrPortFrom(victim, 2), Payload: make([]byte, 58),
	}.Frame()
	ctx, cancel := context.WithCancel(t.Context())
	const count = 500
	sent := must(near.Flood(ctx, 20000, func(n int) []byte {
		if n == count-1 {
			cancel()
		}
		return frame
	}))(t)
	if sent < count {
		t.Errorf("%d frames were sent, want %d at least", sent, count)
	}
	until(t, "all that were sent", func() bool { n, _ := there.Count(); return n >= sent })
	if frames, size, err := there.Stop(); err != nil || frames != sent || size != sent*100 {
		t.Errorf("%d frames of %d bytes in all came, %v; want %d of 100 each", frames, size, err, sent)
	}
	if frames, _, err := here.Stop(); err != nil || frames != 0 {
		t.Errorf("%d frames came back to who sent them, %v", frames, err)
	}
}

// TestLease checks that a real server gives leases to made-up devices, even if the frame's sender is not the message's device.
func TestLease(t *testing.T) {
	t.Parallel()
	labtest.Root(t, "dnsmasq")
	w := labtest.World(t, "lease")
	a := must(w.AddHost("server"))(t)
	b := must(w.AddHost("attacker"))(t)
	must(w.Connect(netlab.End{Host: a, Interface: "eth0"}, netlab.End{Host: b, Interface: "eth0"}))(t)
	check(t, a.AddAddress("eth0", network))
	server := must(a.Start("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--log-facility=-", "--no-ping",
		"--dhcp-authoritative", "--bind-dynamic", "--interface=eth0", "--port=0", "--leasefile-ro",
		"--dhcp-range=10.80.0.50,10.80.0.150,255.255.255.0,30m"))(t)
	until(t, "the server to be ready", func() bool { return strings.Contains(server.Output(), "DHCP, IP range") })
	socket := open(t, b, "eth0")
	seen := map[netip.Addr]bool{}
	for k := range byte(3) {
		lease := must(socket.Lease(t.Context(), net.HardwareAddr{2, 0xbd, 0, 0, 2, k}))(t)
		if !network.Masked().Contains(lease.YourAddr) || lease.Server != victim || seen[lease.YourAddr] {
			t.Errorf("lease %d is of %s by %s", k, lease.YourAddr, lease.Server)
		}
		seen[lease.YourAddr] = true
	}
	other := net.HardwareAddr{2, 0xbd, 0, 0, 3, 1}
	check(t, socket.Send(hostile.DHCP{Link: hostile.Link{From: attacker}, Hardware: other, Type: hostile.Discover, ID: 9, Source: madeUp}.Frame()))
	receive(t, socket, func(f []byte) bool {
		d, ok := hostile.ReadDHCP(f)
		return ok && d.Type == hostile.Offer && d.ID == 9 && bytes.Equal(d.Hardware, other) && !seen[d.YourAddr]
	})
}

// TestOdd checks that every packet has a unique kind and contains the mark.
func TestOdd(t *testing.T) {
	mark := []byte("this is odd")
	seen := map[string]bool{}
	for _, p := range hostile.OddPackets(hostile.Link{From: attacker}, madeUp, victim, mark) {
		if seen[p.Kind] || len(p.Frame) < 34 || !bytes.Contains(p.Frame, mark) {
			t.Errorf("%q: %x", p.Kind, p.Frame)
		}
		seen[p.Kind] = true
	}
	if len(seen) < 50 {
		t.Errorf("there are %d kinds", len(seen))
	}
}
