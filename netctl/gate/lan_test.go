package gate_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"passerelle/netctl"
	"passerelle/netctl/netlab"
)

// neighbor is a host in a lender's own network that sends arbitrary frames and receives all frames.
type neighbor struct {
	wire *os.File
	own  net.HardwareAddr
	addr netip.Addr
	box  net.HardwareAddr
}

var everybody = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func newNeighbor(t testing.TB, l *lab, lender int) neighbor {
	t.Helper()
	host := l.Lenders[lender].NAS
	link := ok(host.Netlink().LinkByName("eth0"))(t)
	box := ok(l.Box.Netlink().LinkByName(l.Lenders[lender].Interface))(t)
	var fd int
	must(t, host.Do(func() (err error) {
		const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // in network byte order
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK, all); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: link.Attrs().Index})
	}))
	n := neighbor{os.NewFile(uintptr(fd), "wire"), link.Attrs().HardwareAddr, l.Lenders[lender].NASAddr, box.Attrs().HardwareAddr}
	t.Cleanup(func() { n.wire.Close() })
	return n
}

// send sends an IPv4 packet to a hardware address.
func (n neighbor) send(t testing.TB, to net.HardwareAddr, p packet) {
	t.Helper()
	frame := append(append(append([]byte{}, to...), n.own...), 0x08, 0x00)
	if _, err := n.wire.Write(append(frame, p.bytes()...)); err != nil {
		t.Fatal(err)
	}
}

// packet is an IPv4 packet.
type packet struct {
	from, to netip.Addr
	protocol byte
	ttl      byte
	payload  []byte
}

func (p packet) bytes() []byte {
	b := make([]byte, 20, 20+len(p.payload))
	b[0], b[8], b[9] = 0x45, p.ttl, p.protocol
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(p.payload)))
	copy(b[12:], p.from.AsSlice())
	copy(b[16:], p.to.AsSlice())
	binary.BigEndian.PutUint16(b[10:], checksum(b))
	return append(b, p.payload...)
}

// checksum is the internet checksum (RFC 1071).
func checksum(parts ...[]byte) uint16 {
	var sum uint32
	for _, b := range parts {
		for i := 0; i+1 < len(b); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func datagram(from, to netip.Addr, port uint16, size int) packet {
	b := make([]byte, size-20)
	binary.BigEndian.PutUint16(b[0:], 4000)
	binary.BigEndian.PutUint16(b[2:], port)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
	return packet{from, to, unix.IPPROTO_UDP, 64, b} // without a checksum: RFC 768 allows that
}

// segment is a TCP segment without data (RFC 9293).
func segment(from, to netip.Addr, port uint16, flags byte) packet {
	b := make([]byte, 20)
	binary.BigEndian.PutUint16(b[0:], 4000+uint16(flags))
	binary.BigEndian.PutUint16(b[2:], port)
	b[12], b[13] = 5<<4, flags
	pseudo := append(append([]byte{}, from.AsSlice()...), to.AsSlice()...)
	binary.BigEndian.PutUint16(b[16:], checksum(pseudo, []byte{0, unix.IPPROTO_TCP, 0, 20}, b))
	return packet{from, to, unix.IPPROTO_TCP, 64, b}
}

// icmp is an ICMP query (RFC 792).
func icmp(from, to netip.Addr, kind byte) packet {
	b := make([]byte, 20)
	b[0] = kind
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return packet{from, to, unix.IPPROTO_ICMP, 64, b}
}

// TestBroadcastsOfTheLender sends frames of every kind into the lender's own network. Broadcasts and multicasts from a source in that
// network are counted as broadcasts; the uplink's own counter counts all frames, with link headers.
func TestBroadcastsOfTheLender(t *testing.T) {
	t.Parallel()
	l := newLab(t, netlab.Options{Uplinks: 2})
	l.config.Donations[0].Cap = 1e9
	p := l.sharing(0)
	l.apply(t, p)
	must(t, l.gate.Grant(t.Context(), netctl.Tranche{Chain: p.Cap, ID: 1, Bytes: 1e9}))
	n, other := newNeighbor(t, l, 0), newNeighbor(t, l, 1)
	line := l.Lenders[0].Interface
	box := l.Lenders[0].Box.Addr()
	sink := ok(l.Box.ListenPacket("udp", "0.0.0.0:9"))(t) // so that nothing is answered
	defer sink.Close()
	all, mdns := netip.MustParseAddr("192.168.1.255"), netip.MustParseAddr("224.0.0.251")
	several := net.HardwareAddr{1, 0, 0x5e, 0, 0, 0xfb}
	nobody := net.HardwareAddr{2, 0xee, 0, 0, 0, 1}
	outside := netip.MustParseAddr("198.51.100.7")

	counted := func() uint64 { return ok(l.gate.Broadcasts())(t)[line] }
	used := func() uint64 { return ok(l.gate.ReadCounters())(t).Tranches[0].Used }
	// settle waits until everything that was sent has been counted: a broadcast of this size comes last.
	const last = 60
	settle := func(least uint64) (now uint64) {
		t.Helper()
		n.send(t, everybody, datagram(n.addr, all, 9, last))
		for deadline := time.Now().Add(soon); ; {
			if now = counted(); now >= least+last {
				return now
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d bytes of broadcasts are counted, want %d", now, least+last)
			}
		}
	}
	// The hosts' own IGMP reports (RFC 3376) are less than one of these frames.
	const frames, size = 10, 500
	about := func(got, want uint64) bool { return got >= want && got < want+size }
	for _, c := range []struct {
		name      string
		send      func()
		broadcast bool // it counts as one
		charged   bool // to a tranche
	}{
		{name: "to all", broadcast: true, send: func() { n.send(t, everybody, datagram(n.addr, all, 9, size)) }},
		{name: "to all, everywhere", broadcast: true, send: func() { n.send(t, everybody, datagram(n.addr, netip.MustParseAddr("255.255.255.255"), 9, size)) }},
		{name: "to several", broadcast: true, send: func() { n.send(t, several, datagram(n.addr, mdns, 5353, size)) }},
		{name: "to the box, in a frame to all", broadcast: true, send: func() { n.send(t, everybody, datagram(n.addr, box, 9, size)) }},
		{name: "to a resident, in a frame to all", broadcast: true, send: func() { n.send(t, everybody, datagram(n.addr, address(0), 9, size)) }},
		{name: "to elsewhere, in a frame to all", broadcast: true, send: func() { n.send(t, everybody, datagram(n.addr, netlab.WebAddr, 9, size)) }},
		{name: "to the box", charged: true, send: func() { n.send(t, n.box, datagram(n.addr, box, 9, size)) }},
		{name: "to all, in a frame to the box", charged: true, send: func() { n.send(t, n.box, datagram(n.addr, all, 9, size)) }},
		{name: "to several, in a frame to the box", send: func() { n.send(t, n.box, datagram(n.addr, mdns, 5353, size)) }},
		{name: "to nobody that the network knows", send: func() { n.send(t, nobody, datagram(n.addr, n.addr.Next(), 9, size)) }},
		{name: "from who has no address", charged: true, send: func() {
			n.send(t, everybody, datagram(netip.IPv4Unspecified(), netip.MustParseAddr("255.255.255.255"), 67, size))
		}},
		{name: "from another network", charged: true, send: func() { n.send(t, everybody, datagram(outside, all, 9, size)) }},
		{name: "from another lender's", charged: true, send: func() { n.send(t, everybody, datagram(other.addr, all, 9, size)) }},
		{name: "from the link alone", charged: true, send: func() { n.send(t, everybody, datagram(netip.MustParseAddr("169.254.3.4"), all, 9, size)) }},
		{name: "from the box's own address", send: func() { n.send(t, everybody, datagram(box, all, 9, size)) }},
		{name: "on another line", send: func() { other.send(t, everybody, datagram(n.addr, all, 9, size)) }},
	} {
		before, paid := settle(counted()), used()
		rx, _, err := l.Box.Counters(line)
		must(t, err)
		for range frames {
			c.send()
		}
		least := before
		if c.broadcast {
			least += frames * size
		}
		if now := settle(least); !about(now, least+last) {
			t.Errorf("%s: %d bytes of broadcasts are counted, want %d", c.name, now-before-last, least-before)
		}
		want := uint64(0)
		if c.charged {
			want = frames * size
		}
		if now := used(); now != paid+want {
			t.Errorf("%s: %d bytes were charged to a tranche, want %d", c.name, now-paid, want)
		}
		now, _, err := l.Box.Counters(line)
		must(t, err)
		if carried := uint64(frames*(size+14) + last + 14); !about(now-rx, carried) && c.name != "on another line" {
			t.Errorf("%s: the uplink carried %d bytes, want %d", c.name, now-rx, carried)
		}
	}

	// The box's own broadcasts loop back without crossing the uplink.
	before := settle(counted())
	own := ok(l.Box.Dial(t.Context(), "udp", netip.AddrPortFrom(all, 9).String()))(t)
	defer own.Close()
	for range frames {
		ok(own.Write(make([]byte, size)))(t)
	}
	if now := settle(before); !about(now, before+last) {
		t.Errorf("the box's own broadcasts are counted as %d bytes", now-before-last)
	}

	// If broadcasts count against the cap, they are charged to a tranche.
	l.config.Donations[0].Broadcast = true
	l.apply(t, l.sharing(0))
	before, paid := settle(counted()), used()
	n.send(t, everybody, datagram(n.addr, all, 9, size))
	if now := settle(before + size); !about(now, before+size+last) || used() != paid+size+last {
		t.Errorf("of %d broadcast bytes, %d are counted and %d charged", size+last, now-before, used()-paid)
	}
}

// TestBroadcastsOfIPv6 checks that IPv6 multicasts are counted too, although the box does not use IPv6.
func TestBroadcastsOfIPv6(t *testing.T) {
	t.Parallel()
	l := newLab(t, netlab.Options{IPv6: true})
	l.apply(t, l.sharing(0))
	n := newNeighbor(t, l, 0)
	const frames, size = 20, 1000 // the hosts' own multicasts are much less
	send := func(from string) (counted uint64) {
		t.Helper()
		before := ok(l.gate.Broadcasts())(t)["eth0"]
		rx, _, err := l.Box.Counters("eth0")
		must(t, err)
		for range frames {
			b := make([]byte, size)
			b[0], b[6], b[7] = 0x60, 59, 255 // no next header
			binary.BigEndian.PutUint16(b[4:], size-40)
			copy(b[8:], netip.MustParseAddr(from).AsSlice())
			copy(b[24:], netip.MustParseAddr("ff02::1").AsSlice())
			frame := append(append(net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, n.own...), 0x86, 0xdd)
			ok(n.wire.Write(append(frame, b...)))(t)
		}
		for deadline := time.Now().Add(soon); ; {
			now, _, err := l.Box.Counters("eth0")
			must(t, err)
			counted = ok(l.gate.Broadcasts())(t)["eth0"] - before
			if now >= rx+frames*size && (counted >= frames*size || !netip.MustParseAddr(from).IsLinkLocalUnicast()) {
				return counted
			}
			if time.Now().After(deadline) {
				t.Fatalf("from %s: %d bytes are counted, the uplink carried %d", from, counted, now-rx)
			}
		}
	}
	if n := send("fe80::1234"); n > frames*size*3/2 {
		t.Errorf("%d bytes are counted of %d", n, frames*size)
	}
	if n := send("2001:db8::7"); n > frames*size/2 {
		t.Errorf("from a source outside the network, %d bytes are counted", n)
	}
}

// TestReplyLimit checks that the box sends at most ten replies a second to hosts in the lender's network, and that its own
// connections continue.
func TestReplyLimit(t *testing.T) {
	t.Parallel()
	l := newLab(t, netlab.Options{})
	p := l.sharing(0)
	l.apply(t, p)
	must(t, l.gate.Grant(t.Context(), netctl.Tranche{Chain: p.Cap, ID: 1, Bytes: netctl.Unlimited}))
	n := newNeighbor(t, l, 0)
	box := l.Lenders[0].Box.Addr()

	// Replies go to the sender's hardware address. ARP and the box's own queries do not count.
	var answers atomic.Int64
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		frame := make([]byte, 2048)
		for {
			size, err := n.wire.Read(frame)
			if err != nil {
				return
			}
			if f := frame[:size]; size >= 34 && net.HardwareAddr(f[6:12]).String() == n.box.String() && f[12] == 8 && f[13] == 0 {
				if reset := f[23] == unix.IPPROTO_TCP && size >= 48 && f[47]&4 != 0; reset || f[23] == unix.IPPROTO_ICMP || f[23] == unix.IPPROTO_IGMP {
					answers.Add(1)
				}
			}
		}
	}()
	const fin, syn, ack = 1, 2, 16
	start := time.Now()
	const each, bound, first = 100, 5, 5 // of appliance/plan
	for _, question := range []func(k int) packet{
		func(int) packet { return icmp(n.addr, box, 8) },                           // echo
		func(int) packet { return icmp(n.addr, box, 13) },                          // a timestamp request
		func(k int) packet { return segment(n.addr, box, uint16(k), syn) },         // a connection
		func(k int) packet { return segment(n.addr, box, uint16(k), syn|ack) },     // an answer without a request
		func(k int) packet { return segment(n.addr, box, uint16(k), ack) },         // the middle of a connection
		func(k int) packet { return segment(n.addr, box, uint16(k), fin|ack) },     // the end of a connection
		func(k int) packet { return datagram(n.addr, box, uint16(k), 60) },         // to a closed port
		func(int) packet { return packet{n.addr, box, 200, 64, make([]byte, 20)} }, // an unknown protocol
		func(int) packet { // an IGMP query (RFC 2236)
			return packet{n.addr, netip.MustParseAddr("224.0.0.1"), unix.IPPROTO_IGMP, 1, []byte{0x11, 1, 0xee, 0xfe, 0, 0, 0, 0}}
		},
	} {
		for k := range each {
			n.send(t, []net.HardwareAddr{n.box, everybody}[k%2], question(2000+k))
		}
	}
	// The limit is for the lender's network: it does not delay the box's own connections.
	body, err := get(t, l.Box, "http://"+netlab.WebAddr.String()+"/", soon)
	if err != nil || body != netlab.InternetPage {
		t.Errorf("during the flood, the box gets %q, %v", body, err)
	}
	// It does reply, and after a later reply all earlier ones have arrived.
	was := answers.Load()
	tick := time.NewTicker(netlab.Tick / 10)
	defer tick.Stop()
	for deadline := time.Now().Add(soon); answers.Load() == was; <-tick.C {
		n.send(t, n.box, icmp(n.addr, box, 8))
		if time.Now().After(deadline) {
			t.Fatal("the box does not reply any more")
		}
	}
	got, elapsed := answers.Load(), time.Since(start)
	if most := int64(first + bound*elapsed.Seconds() + 1); got > most {
		t.Errorf("%d replies to 9 times %d packets in %v, want %d at most", got, each, elapsed, most)
	}
	n.wire.Close()
	<-heard
}
