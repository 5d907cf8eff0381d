// Package dhcp asks a DHCP server of this machine for an address, as a device on one of its interfaces would, and never takes it (RFC
// 2131, section 3.1). It owns the sockets, which are open only while it waits. It must not know why somebody asks.
//
// The request goes to the server's address, since a broadcast leaves the machine: the kernel passes it to the server as one that
// came in at the interface. The server broadcasts its offer there, which a packet socket sees go out.
package dhcp

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Errors of Discover.
var (
	ErrClosed = errors.New("nothing listens at the DHCP server's port")
	ErrSilent = errors.New("the DHCP server offers no address")
)

// Offer is what a server offers.
type Offer struct {
	Address netip.Addr
	Router  netip.Addr // the invalid address if it names none
}

// RFC 2131, section 2; RFC 2132.
const (
	serverPort = 67
	fixedSize  = 236
	cookie     = 0x63825363
	broadcast  = 0x8000 // the flag

	opRequest = 1
	opReply   = 2
	ethernet  = 1

	optionPad        = 0
	optionRouter     = 3
	optionType       = 53
	optionParameters = 55
	optionEnd        = 255

	typeDiscover = 1
	typeOffer    = 2
)

// pollTime is how long a wait for a packet lasts before the context is checked.
const pollTime = 100 * time.Millisecond

// Discover asks the server at one of this machine's addresses, on a device, and returns its offer. The error is ErrClosed if no
// server runs, and ErrSilent if none answers until ctx ends. The request is of a device that does not exist: its address is
// random and locally administered.
func Discover(ctx context.Context, device string, server netip.Addr) (o Offer, err error) {
	link, err := net.InterfaceByName(device)
	if err != nil {
		return o, fmt.Errorf("find %s: %w", device, err)
	}
	var id [4]byte
	var mac [6]byte
	rand.Read(id[:]) // it never fails
	rand.Read(mac[:])
	mac[0] = mac[0]&^1 | 2
	replies, err := listen(link.Index, binary.BigEndian.Uint32(id[:]))
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, unix.Close(replies)) }()
	requests, err := connect(server)
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, unix.Close(requests)) }()
	if _, err := unix.Write(requests, discover(id, mac)); err != nil && err != unix.EINTR {
		return o, fmt.Errorf("ask the DHCP server: %w", closed(err))
	}
	for ctx.Err() == nil {
		fds := []unix.PollFd{{Fd: int32(replies), Events: unix.POLLIN}, {Fd: int32(requests)}}
		if _, err := unix.Poll(fds, int(pollTime.Milliseconds())); err == unix.EINTR {
			continue
		} else if err != nil {
			return o, fmt.Errorf("wait for an offer: %w", err)
		}
		if fds[1].Revents&unix.POLLERR != 0 {
			errno, err := unix.GetsockoptInt(requests, unix.SOL_SOCKET, unix.SO_ERROR)
			if err == nil && errno != 0 {
				err = unix.Errno(errno)
			}
			if err != nil {
				return o, fmt.Errorf("ask the DHCP server: %w", closed(err))
			}
		}
		if fds[0].Revents&unix.POLLIN == 0 {
			continue
		}
		var b [1500]byte
		n, _, err := unix.Recvfrom(replies, b[:], unix.MSG_DONTWAIT)
		if err == unix.EAGAIN || err == unix.EINTR {
			continue
		}
		if err != nil {
			return o, fmt.Errorf("receive an offer: %w", err)
		}
		if o, ok := parse(b[:n], id, mac); ok {
			return o, nil
		}
	}
	return o, ErrSilent
}

// closed returns ErrClosed for the error by which the kernel says that nothing listens.
func closed(err error) error {
	if errors.Is(err, unix.ECONNREFUSED) {
		return ErrClosed
	}
	return err
}

// connect opens a socket to the server, from its own address.
func connect(server netip.Addr) (fd int, err error) {
	if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, fmt.Errorf("open a socket: %w", err)
	}
	err = unix.Bind(fd, &unix.SockaddrInet4{Addr: server.As4()})
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrInet4{Addr: server.As4(), Port: serverPort})
	}
	if err != nil {
		return -1, errors.Join(fmt.Errorf("connect to %s: %w", server, err), unix.Close(fd))
	}
	return fd, nil
}

// listen opens a packet socket for a DHCP server's packets of one exchange, whichever way they go.
func listen(device int, id uint32) (fd int, err error) {
	if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, fmt.Errorf("open a packet socket: %w", err)
	}
	filter := []unix.SockFilter{ // offsets from the IPv4 header
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 9},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 6, K: unix.IPPROTO_UDP},
		{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0},
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_IND, K: 0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 3, K: serverPort},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_IND, K: 8 + 4},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: id},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1500},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: (*unix.SockFilter)(unsafe.Pointer(&filter[0]))}
	if err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program); err == nil {
		// Only sockets for all protocols see what goes out.
		all := binary.NativeEndian.Uint16([]byte{unix.ETH_P_ALL >> 8, unix.ETH_P_ALL & 0xff})
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: device})
	}
	if err != nil {
		return -1, errors.Join(fmt.Errorf("listen for an offer: %w", err), unix.Close(fd))
	}
	return fd, nil
}

// discover returns a DHCPDISCOVER that is answered by a broadcast: for a unicast the server would enter the device that does not
// exist into the kernel's table of neighbours.
func discover(id [4]byte, mac [6]byte) []byte {
	b := make([]byte, fixedSize, 300) // no shorter than the BOOTP packets that some expect
	b[0], b[1], b[2] = opRequest, ethernet, byte(len(mac))
	copy(b[4:], id[:])
	binary.BigEndian.PutUint16(b[10:], broadcast)
	copy(b[28:], mac[:])
	b = binary.BigEndian.AppendUint32(b, cookie)
	b = append(b, optionType, 1, typeDiscover, optionParameters, 1, optionRouter, optionEnd)
	return b[:cap(b)]
}

// parse returns the offer in an IPv4 packet, if it is one for this exchange.
func parse(b []byte, id [4]byte, mac [6]byte) (o Offer, ok bool) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return o, false
	}
	header := int(b[0]&0xf)*4 + 8 // UDP's, too
	if len(b) < header+fixedSize+4 {
		return o, false
	}
	b = b[header:]
	if b[0] != opReply || [4]byte(b[4:]) != id || [6]byte(b[28:]) != mac || binary.BigEndian.Uint32(b[fixedSize:]) != cookie {
		return o, false
	}
	o.Address = netip.AddrFrom4([4]byte(b[16:]))
	for rest := b[fixedSize+4:]; len(rest) > 0 && rest[0] != optionEnd; {
		if rest[0] == optionPad {
			rest = rest[1:]
			continue
		}
		if len(rest) < 2 || len(rest) < 2+int(rest[1]) {
			return o, false
		}
		value := rest[2 : 2+int(rest[1])]
		switch {
		case rest[0] == optionType && len(value) == 1:
			ok = value[0] == typeOffer
		case rest[0] == optionRouter && len(value) >= 4:
			o.Router = netip.AddrFrom4([4]byte(value))
		}
		rest = rest[2+len(value):]
	}
	return o, ok
}
