package hostile

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"
)

// DHCP message types (RFC 2132, 9.6).
const (
	Discover = 1 + iota
	Offer
	Request
	Decline
	Ack
	Nak
	Release
	Inform
)

// DHCP is a DHCP message (RFC 2131). A client's message without ClientAddr requests a broadcast answer.
type DHCP struct {
	Link
	Source, Destination   netip.Addr // of the packet; invalid: 0.0.0.0 and broadcast
	ID                    uint32     // xid
	Type                  byte
	Hardware              net.HardwareAddr // chaddr; nil: the frame's
	ClientAddr, YourAddr  netip.Addr       // ciaddr, yiaddr
	Relay                 netip.Addr       // giaddr
	RequestedAddr, Server netip.Addr       // options 50 and 54; invalid: left out
	Identifier            []byte           // option 61; nil: left out
}

const (
	dhcpServer, dhcpClient = 67, 68 // ports
	dhcpOptions            = 240    // offset of the options, after the cookie
)

var (
	dhcpCookie = []byte{99, 130, 83, 99}
	allHosts   = netip.AddrFrom4([4]byte{255, 255, 255, 255})
)

// Frame returns the frame of a client's message.
func (d DHCP) Frame() []byte {
	chaddr := d.Hardware
	if chaddr == nil {
		chaddr = d.From
	}
	to := d.Destination
	if !to.IsValid() {
		to = allHosts
	}
	m := make([]byte, dhcpOptions, 300)
	m[0], m[1], m[2] = 1, 1, byte(len(chaddr)) // BOOTREQUEST, Ethernet
	binary.BigEndian.PutUint32(m[4:], d.ID)
	if !d.ClientAddr.IsValid() {
		m[10] = 0x80
	}
	copy(m[12:], bytes4(d.ClientAddr))
	copy(m[16:], bytes4(d.YourAddr))
	copy(m[24:], bytes4(d.Relay))
	copy(m[28:44], chaddr)
	copy(m[236:], dhcpCookie)
	m = append(m, 53, 1, d.Type)
	if d.RequestedAddr.IsValid() {
		m = append(append(m, 50, 4), bytes4(d.RequestedAddr)...)
	}
	if d.Server.IsValid() {
		m = append(append(m, 54, 4), bytes4(d.Server)...)
	}
	if d.Identifier != nil {
		m = append(append(m, 61, byte(len(d.Identifier))), d.Identifier...)
	}
	m = append(m, 255)
	source := d.Source
	if !source.IsValid() {
		source = netip.IPv4Unspecified()
	}
	return UDP{
		Link:        d.Link,
		Source:      netip.AddrPortFrom(source, dhcpClient),
		Destination: netip.AddrPortFrom(to, dhcpServer),
		Payload:     m,
	}.Frame()
}

// ReadDHCP parses a frame. ok is false if it is not a DHCP server's answer to a client.
func ReadDHCP(frame []byte) (d DHCP, ok bool) {
	u, ok := ReadUDP(frame)
	m := u.Payload
	if !ok || u.Source.Port() != dhcpServer || len(m) < dhcpOptions || m[0] != 2 || m[2] > 16 || !bytes.Equal(m[236:240], dhcpCookie) {
		return d, false
	}
	d = DHCP{
		Link: u.Link, Source: u.Source.Addr(), Destination: u.Destination.Addr(),
		ID: binary.BigEndian.Uint32(m[4:]), Hardware: hardware(m[28 : 28+m[2]]),
		ClientAddr: addr4(m[12:16]), YourAddr: addr4(m[16:20]), Relay: addr4(m[24:28]),
	}
	for options := m[dhcpOptions:]; len(options) > 1 && options[0] != 255; {
		if options[0] == 0 { // padding
			options = options[1:]
			continue
		}
		length := int(options[1])
		if len(options) < 2+length {
			return d, false
		}
		switch value := options[2 : 2+length]; {
		case options[0] == 53 && length == 1:
			d.Type = value[0]
		case options[0] == 54 && length == 4:
			d.Server = addr4(value)
		}
		options = options[2+length:]
	}
	return d, d.Type != 0
}

// Retries of a lease request, and the timeout of each.
const (
	leaseTries   = 4
	leaseTimeout = time.Second
)

var errNoLease = errors.New("no server answered")

// Lease gets a lease for a device as the device's DHCP client would. It returns the DHCPACK, whose YourAddr is the address.
func (s *RawSocket) Lease(ctx context.Context, mac net.HardwareAddr) (DHCP, error) {
	var last error
	for range leaseTries {
		id := rand.Uint32()
		offer, err := s.exchange(ctx, DHCP{Link: Link{From: mac}, ID: id, Type: Discover}, Offer)
		if err == nil {
			var ack DHCP
			ack, err = s.exchange(ctx, DHCP{Link: Link{From: mac}, ID: id, Type: Request, RequestedAddr: offer.YourAddr, Server: offer.Server}, Ack)
			if err == nil {
				return ack, nil
			}
		}
		last = err
		if ctx.Err() != nil {
			break
		}
	}
	return DHCP{}, fmt.Errorf("get a lease at %s: %w", s.name, last)
}

// exchange sends a message and waits for an answer of the wanted type. A DHCPNAK is an error.
func (s *RawSocket) exchange(ctx context.Context, m DHCP, want byte) (DHCP, error) {
	if err := s.Send(m.Frame()); err != nil {
		return DHCP{}, err
	}
	brief, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	frame, err := s.Receive(brief, func(frame []byte) bool {
		d, ok := ReadDHCP(frame)
		return ok && d.ID == m.ID && bytes.Equal(d.Hardware, m.From) && (d.Type == want || d.Type == Nak)
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = errNoLease
	}
	if err != nil {
		return DHCP{}, err
	}
	answer, _ := ReadDHCP(frame)
	if answer.Type == Nak {
		return DHCP{}, errors.New("DHCPNAK")
	}
	return answer, nil
}
