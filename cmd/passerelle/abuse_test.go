package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"passerelle/netctl/netlab"
)

// TestSpoofed: an authorized resident's IP or MAC address alone gives no access.
func TestSpoofed(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{Residents: 2})
	honest, thief := b.scene.Residents[0], b.scene.Residents[1]
	lease := b.newcomer(honest)
	own := b.join(thief).Address
	b.blocked(thief)
	b.must(honest.SetUp("wlan0", false)) // otherwise they would conflict over the address
	pose := func(mac net.HardwareAddr, address netip.Prefix) {
		t.Helper()
		b.must(thief.SetMAC(mac))
		b.must(thief.SetUp("wlan0", true))
		b.must(thief.AddAddress("wlan0", address))
		b.must(thief.AddRoute(netip.MustParsePrefix("0.0.0.0/0"), lease.Router))
		b.unheard(thief)
	}
	mine := thief.MAC
	pose(mine, lease.Address)
	pose(honest.MAC, own)
	b.must(thief.Leave())
	b.newcomer(honest)
	b.sessions(1)
}

// unheard checks that no packet of a device reaches the box, for longer than the box takes to learn an address.
func (b *box) unheard(r *netlab.Resident) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 3*brief)
	defer cancel()
	for ctx.Err() == nil {
		if _, err := b.get(r, portal+"/"); err == nil {
			b.t.Fatal("a device was answered that speaks from an address that is not its own")
		}
	}
}

// dhcp returns a DHCP message (RFC 2131), to be answered by broadcast unless the client has an address.
func dhcp(kind byte, xid uint32, mac []byte, client, wanted, server netip.Addr) []byte {
	m := make([]byte, 240, 300)
	m[0], m[1], m[2] = 1, 1, 6 // BOOTREQUEST, Ethernet
	binary.BigEndian.PutUint32(m[4:], xid)
	if client.IsValid() {
		copy(m[12:], client.AsSlice())
	} else {
		m[10] = 0x80
	}
	copy(m[28:], mac)
	copy(m[236:], []byte{99, 130, 83, 99})
	m = append(m, 53, 1, kind)
	if wanted.IsValid() {
		m = append(append(m, 50, 4), wanted.AsSlice()...)
	}
	if server.IsValid() {
		m = append(append(m, 54, 4), server.AsSlice()...)
	}
	return append(m, 255)
}

const (
	dhcpDiscover = 1
	dhcpOffer    = 2
	dhcpRequest  = 3
	dhcpAck      = 5
)

// dhcpKind returns the type of a DHCP server's message, 0 if it is not one.
func dhcpKind(m []byte) byte {
	if len(m) < 243 || m[0] != 2 || m[240] != 53 {
		return 0
	}
	return m[242]
}

// broadcastFrame returns a broadcast frame with a message of a client without an address.
func broadcastFrame(mac, m []byte) []byte {
	f := make([]byte, 42, 42+len(m))
	copy(f, []byte{255, 255, 255, 255, 255, 255})
	copy(f[6:], mac)
	binary.BigEndian.PutUint16(f[12:], unix.ETH_P_IP)
	ip := f[14:34]
	ip[0], ip[8], ip[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(ip[2:], uint16(28+len(m)))
	copy(ip[16:], []byte{255, 255, 255, 255})
	var sum uint32
	for i := 0; i < len(ip); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum+sum>>16))
	udp := f[34:42]
	binary.BigEndian.PutUint16(udp[0:], 68)
	binary.BigEndian.PutUint16(udp[2:], 67)
	binary.BigEndian.PutUint16(udp[4:], uint16(8+len(m)))
	return append(f, m...)
}

// TestStarvation: forged devices get few leases on their port, so clients on other ports still get one, and existing leases can be
// renewed.
func TestStarvation(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{Residents: 3, Ports: true})
	r, attacker, late := b.scene.Residents[0], b.scene.Residents[1], b.scene.Residents[2]
	b.newcomer(r)
	d := b.download(r)
	b.must(attacker.SetUp("wlan0", true))
	link, err := attacker.Netlink().LinkByName("wlan0")
	b.must(err)
	var fd int
	b.must(attacker.Do(func() (err error) {
		const all = unix.ETH_P_IP<<8&0xff00 | unix.ETH_P_IP>>8 // in network byte order
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK, all); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: link.Attrs().Index})
	}))
	wire := os.NewFile(uintptr(fd), "wire")
	defer wire.Close()

	const devices, most = 3000, 64 // of appliance/plan
	var answers, leases atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		frame := make([]byte, 2048)
		for {
			n, err := wire.Read(frame)
			if err != nil {
				return
			}
			if n < 42 || binary.BigEndian.Uint16(frame[34:]) != 67 {
				continue
			}
			m := frame[42:n]
			switch dhcpKind(m) {
			case dhcpOffer:
				answers.Add(1)
				mac, offered := m[28:34], netip.AddrFrom4([4]byte(m[16:20]))
				request := dhcp(dhcpRequest, binary.BigEndian.Uint32(m[4:]), mac, netip.Addr{}, offered, r.Lease().Server)
				wire.Write(broadcastFrame(mac, request)) // losing one does not matter
			case dhcpAck:
				answers.Add(1)
				leases.Add(1)
			}
		}
	}()
	sent := 0
	discover := func() {
		mac := []byte{2, 0xaa, 0, byte(sent >> 16), byte(sent >> 8), byte(sent)}
		_, err := wire.Write(broadcastFrame(mac, dhcp(dhcpDiscover, uint32(sent), mac, netip.Addr{}, netip.Addr{}, netip.Addr{})))
		b.must(err)
		sent++
	}
	for range devices {
		discover()
	}
	b.renew(r)
	wait(t, "all the leases that the attacker gets", func() error {
		for range 20 {
			discover()
		}
		if leases.Load() < most {
			return fmt.Errorf("%d of them", leases.Load())
		}
		return nil
	})
	for range devices {
		discover()
	}
	b.newcomer(late)
	b.renew(r)
	b.flows(d)
	wire.Close()
	<-done
	if got := leases.Load(); got > most+most/2 { // a device that already has its lease repeats a lost request
		t.Errorf("%d made-up devices got %d addresses, want %d", sent, got, most)
	}
	b.waitSound()
}

// renew renews the resident's lease as a client does, from its address.
func (b *box) renew(r *netlab.Resident) {
	b.t.Helper()
	l := r.Lease()
	c, err := r.ListenPacket("udp4", netip.AddrPortFrom(l.Address.Addr(), 68).String())
	b.must(err)
	defer c.Close()
	server := net.UDPAddrFromAddrPort(netip.AddrPortFrom(l.Server, 67))
	wait(b.t, "the lease's renewal", func() error {
		if _, err := c.WriteTo(dhcp(dhcpRequest, 7, r.MAC, l.Address.Addr(), netip.Addr{}, netip.Addr{}), server); err != nil {
			return err
		}
		c.SetReadDeadline(time.Now().Add(brief))
		m := make([]byte, 1500)
		n, _, err := c.ReadFrom(m)
		if err == nil && dhcpKind(m[:n]) != dhcpAck {
			err = fmt.Errorf("the server answered with kind %d", dhcpKind(m[:n]))
		}
		return err
	})
}

// TestHalfOpen: a resident with many incomplete requests does not prevent another one from getting the page.
func TestHalfOpen(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{Residents: 2})
	hog, other := b.scene.Residents[0], b.scene.Residents[1]
	b.join(hog)
	b.join(other)
	var held []net.Conn
	for range 500 {
		conn, err := hog.Dial(t.Context(), "tcp", "10.80.0.1:80")
		if err != nil {
			continue // refused: this device has too many
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: 10.80.0.1\r\nX-"); err == nil {
			held = append(held, conn)
		}
		if len(held)%25 == 0 {
			b.shows(other, "first.title")
		}
	}
	if len(held) == 0 {
		t.Error("not one request could be begun")
	}
	open := 0
	for _, conn := range held {
		conn.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, err := conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			open++
		}
	}
	if open > 64 {
		t.Errorf("one resident holds %d connections", open)
	}
	b.admit(other)
	for _, conn := range held {
		conn.Close()
	}
	wait(t, "the page for who let go", func() error {
		_, err := b.get(hog, portal+"/")
		return err
	})
}

// say sends bytes to the box's port 80 and returns the answer's status, location and body; status 0 is a reset.
func (b *box) say(r *netlab.Resident, text string) (status int, location, body string) {
	b.t.Helper()
	conn, err := r.Dial(b.t.Context(), "tcp", "10.80.0.1:80")
	b.must(err)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	io.WriteString(conn, text) // the answer, or a reset, may arrive before everything is sent
	reply, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			b.t.Errorf("no answer to %.40q", text)
		}
		return 0, "", ""
	}
	defer reply.Body.Close()
	page, err := io.ReadAll(reply.Body)
	b.must(err)
	return reply.StatusCode, reply.Header.Get("Location"), string(page)
}

// TestOddRequests: any odd request, with any Host, leads to the first page or nowhere, and authorizes nobody without a press of the
// button.
func TestOddRequests(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{})
	r := b.scene.Residents[0]
	b.join(r)
	huge := strings.Repeat("x", 1<<20)
	for _, c := range []struct {
		what, request string
		status        int // 0: a reset is accepted
	}{
		{"by address", "GET / HTTP/1.1\r\nHost: 10.80.0.1\r\n\r\n", 200},
		{"by address and port", "GET / HTTP/1.1\r\nHost: 10.80.0.1:80\r\n\r\n", 200},
		{"by name", "GET / HTTP/1.1\r\nHost: partage.internal\r\n\r\n", 200},
		{"by name in capitals, absolute", "GET / HTTP/1.1\r\nHost: PARTAGE.internal.\r\n\r\n", 200},
		{"another's address", "GET / HTTP/1.1\r\nHost: 192.0.2.80\r\n\r\n", 511},
		{"the lender's address", "GET / HTTP/1.1\r\nHost: 192.168.1.1\r\n\r\n", 511},
		{"IPv6", "GET / HTTP/1.1\r\nHost: [2001:db8::80]\r\n\r\n", 511},
		{"broken IPv6", "GET / HTTP/1.1\r\nHost: [2001:db8::80\r\n\r\n", 511},
		{"another name", "GET / HTTP/1.1\r\nHost: www.example\r\n\r\n", 511},
		{"another name, as a browser asks", "GET / HTTP/1.1\r\nHost: www.example\r\nAccept: text/html\r\n\r\n", 302},
		{"a name that begins as ours", "GET / HTTP/1.1\r\nHost: partage.internal.example\r\n\r\n", 511},
		{"an empty name", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 511},
		{"no name", "GET / HTTP/1.0\r\n\r\n", 511},
		{"no name though it must be there", "GET / HTTP/1.1\r\n\r\n", 400},
		{"two names", "GET / HTTP/1.1\r\nHost: 10.80.0.1\r\nHost: www.example\r\n\r\n", 400},
		{"a proxy's request", "GET http://www.example/ HTTP/1.1\r\nHost: 10.80.0.1\r\n\r\n", 511},
		{"a tunnel", "CONNECT www.example:443 HTTP/1.1\r\nHost: www.example:443\r\n\r\n", 511},
		{"a tunnel to the box", "CONNECT 10.80.0.1:80 HTTP/1.1\r\nHost: 10.80.0.1:80\r\n\r\n", 404},
		{"a megabyte of header", "GET / HTTP/1.1\r\nHost: 10.80.0.1\r\nX: " + huge + "\r\n\r\n", 0},
		{"a megabyte of path", "GET /" + huge + " HTTP/1.1\r\nHost: 10.80.0.1\r\n\r\n", 0},
		{"a megabyte of form", fmt.Sprintf("POST /session HTTP/1.1\r\nHost: 10.80.0.1\r\nContent-Length: %d\r\n\r\n%s", len(huge), huge), 0},
		{"a press from another site", "POST /session HTTP/1.1\r\nHost: 10.80.0.1\r\nOrigin: http://www.example\r\nContent-Length: 0\r\n\r\n", 403},
		{"a press that says so", "POST /session HTTP/1.1\r\nHost: 10.80.0.1\r\nSec-Fetch-Site: cross-site\r\nContent-Length: 0\r\n\r\n", 403},
		{"a press in another's name", "POST /session HTTP/1.1\r\nHost: www.example\r\nContent-Length: 0\r\n\r\n", 511},
		{"a press without a name", "POST /session HTTP/1.0\r\nContent-Length: 0\r\n\r\n", 511},
		{"a press by GET", "GET /session HTTP/1.1\r\nHost: 10.80.0.1\r\n\r\n", 200},
		{"not HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400},
	} {
		status, location, body := b.say(r, c.request)
		switch {
		case c.status == 0 && (status == 0 || status == 431 || status == 413):
		case status != c.status:
			t.Errorf("%s: status %d, want %d:\n%.300s", c.what, status, c.status, body)
		case status == 302 && location != portal+"/":
			t.Errorf("%s: leads to %q", c.what, location)
		}
		if strings.Contains(body, netlab.InternetPage) || strings.Contains(body, netlab.LenderPage) {
			t.Errorf("%s: the answer is another's", c.what)
		}
	}
	b.sessions(0)
	b.blocked(r)
	status, _, _ := b.say(r, "POST /session HTTP/1.1\r\nHost: 10.80.0.1\r\nOrigin: http://10.80.0.1\r\nContent-Length: 0\r\n\r\n")
	if status != http.StatusSeeOther {
		t.Errorf("a press on our own page: status %d", status)
	}
	b.online(r)
}
