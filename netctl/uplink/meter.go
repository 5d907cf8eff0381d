package uplink

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"passerelle/netctl/nlmsg"
)

// RoundTrip is the time from a packet sent on a line to its answer.
type RoundTrip struct {
	Sent  time.Time
	Trip  time.Duration
	Probe bool // it is a probe's; otherwise a resident's new connection's, to a server at an unknown distance
}

// Measured is what a Meter saw.
type Measured struct {
	RxBytes, TxBytes uint64      // of the interface, as in Status
	Trips            []RoundTrip // since the last call
	// Unanswered is the age of the oldest probe that was sent after the last answered probe; 0 if there is none.
	Unanswered time.Duration
}

// Meter measures a line in use: the bytes that cross it, and how long answers take. It sends only the probes that Probe
// requests. The round trips of residents' connections cost the lender nothing: the kernel reports when each masqueraded
// connection began and when its first answer came. A Meter keeps only the kernel's ID of a connection, in memory, for at most
// three seconds.
type Meter struct {
	r      *Reader
	device string
	index  int
	line   netip.Addr
	stop   context.CancelFunc
	done   sync.WaitGroup
	echo   *net.IPConn // nil without a target
	nonce  [8]byte     // identifies the answers to this meter's probes

	mu       sync.Mutex
	trips    []RoundTrip
	pending  map[uint32]began     // connections without an answer, by the kernel's ID (CTA_ID)
	emptied  uint                 // how many times all reports of connections had been read
	sent     map[uint16]time.Time // probes without an answer, by sequence number
	seq      uint16
	answered uint16 // sequence number of the last answered probe
}

// began is the start of a connection.
type began struct {
	at      time.Time
	emptied uint // the meter's count then
}

const (
	maxPending  = 4096
	pendingTime = 3 * time.Second // a longer round trip gives no further information
	maxTrips    = 1024            // between two calls of Measure

	echoSize     = 16  // bytes: header and nonce (RFC 792)
	icmpFilter   = 1   // ICMP_FILTER of SOL_RAW (include/uapi/linux/icmp.h)
	solRaw       = 255 // SOL_RAW
	probeGone    = 10 * time.Second
	flowMessages = 1 << 20 // bytes: size of the socket's buffer
)

// ProbeBytes is what a probe and its answer cost on the line, link headers included.
const ProbeBytes = 2 * (14 + 20 + echoSize)

// Meter returns a meter of the line. Its probes go to the target; without a valid target Probe fails. The caller closes it.
func (r *Reader) Meter(line Status, target netip.Addr) (*Meter, error) {
	m := &Meter{
		r: r, device: line.Interface, index: line.Index, line: line.Address.Addr(),
		pending: map[uint32]began{}, sent: map[uint16]time.Time{},
	}
	if _, err := rand.Read(m.nonce[:]); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	if target.IsValid() {
		var err error
		if m.echo, err = dialEcho(ctx, line.Interface, target); err != nil {
			stop()
			return nil, err
		}
		m.done.Go(m.receiveEchoes)
	}
	m.done.Go(func() { m.watchFlows(ctx) })
	return m, nil
}

// dialEcho opens a socket for ICMP echo through the device. It needs CAP_NET_RAW.
func dialEcho(ctx context.Context, device string, target netip.Addr) (*net.IPConn, error) {
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (failed error) {
		err := c.Control(func(fd uintptr) {
			const onlyReplies = -1 &^ 1 // type 0
			failed = errors.Join(unix.BindToDevice(int(fd), device), unix.SetsockoptInt(int(fd), solRaw, icmpFilter, onlyReplies))
		})
		return errors.Join(err, failed)
	}}
	conn, err := dialer.DialContext(ctx, "ip4:icmp", target.String())
	if err != nil {
		return nil, fmt.Errorf("open a socket for probes on %s: %w", device, err)
	}
	return conn.(*net.IPConn), nil
}

// Close stops the meter and closes its sockets.
func (m *Meter) Close() {
	m.stop()
	if m.echo != nil {
		m.echo.Close()
	}
	m.done.Wait()
}

// Measure returns what was seen since the last call.
func (m *Meter) Measure() (Measured, error) {
	link, err := m.r.h.LinkByIndex(m.index)
	if err != nil {
		return Measured{}, fmt.Errorf("read the counters of %s: %w", m.device, err)
	}
	var seen Measured
	if s := link.Attrs().Statistics; s != nil {
		seen.RxBytes, seen.TxBytes = s.RxBytes, s.TxBytes
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	seen.Trips, m.trips = m.trips, nil
	maps.DeleteFunc(m.pending, func(_ uint32, b began) bool { return now.Sub(b.at) > pendingTime })
	maps.DeleteFunc(m.sent, func(_ uint16, at time.Time) bool { return now.Sub(at) > probeGone })
	for seq, at := range m.sent {
		if int16(seq-m.answered) > 0 {
			seen.Unanswered = max(seen.Unanswered, now.Sub(at))
		}
	}
	return seen, nil
}

// Probe sends one echo request (RFC 792).
func (m *Meter) Probe() error {
	if m.echo == nil {
		return errors.New("there is nothing to probe")
	}
	m.mu.Lock()
	m.seq++
	seq := m.seq
	m.sent[seq] = time.Now()
	m.mu.Unlock()
	packet := make([]byte, echoSize)
	packet[0] = 8 // echo request
	binary.BigEndian.PutUint16(packet[6:], seq)
	copy(packet[8:], m.nonce[:])
	binary.BigEndian.PutUint16(packet[2:], checksum(packet))
	if _, err := m.echo.Write(packet); err != nil {
		m.mu.Lock()
		delete(m.sent, seq) // it did not leave
		m.mu.Unlock()
		return fmt.Errorf("send a probe on %s: %w", m.device, err)
	}
	return nil
}

// checksum returns the internet checksum of data of an even length (RFC 1071).
func checksum(data []byte) uint16 {
	var sum uint32
	for i := 0; i < len(data); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(data[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// receiveEchoes reads answers until the socket is closed.
func (m *Meter) receiveEchoes() {
	buffer := make([]byte, 256)
	for {
		n, _, err := m.echo.ReadFromIP(buffer) // without the IP header
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // such as "no route to host"
			time.Sleep(retry)
			continue
		}
		m.answer(buffer[:n], time.Now())
	}
}

// answer records an echo reply.
func (m *Meter) answer(packet []byte, now time.Time) {
	if len(packet) < echoSize || packet[0] != 0 || [8]byte(packet[8:echoSize]) != m.nonce {
		return
	}
	seq := binary.BigEndian.Uint16(packet[6:])
	m.mu.Lock()
	defer m.mu.Unlock()
	at, asked := m.sent[seq]
	if !asked {
		return
	}
	delete(m.sent, seq)
	if int16(seq-m.answered) > 0 {
		m.answered = seq
	}
	m.add(RoundTrip{Sent: at, Trip: now.Sub(at), Probe: true})
}

func (m *Meter) add(t RoundTrip) {
	if len(m.trips) < maxTrips {
		m.trips = append(m.trips, t)
	}
}

// watchFlows times connections until ctx ends. If the kernel reports none, only probes give round trips.
func (m *Meter) watchFlows(ctx context.Context) {
	for ctx.Err() == nil {
		socket, err := nl.SubscribeAt(m.r.ns, netns.None(), unix.NETLINK_NETFILTER,
			unix.NFNLGRP_CONNTRACK_NEW, unix.NFNLGRP_CONNTRACK_UPDATE)
		if err == nil {
			_ = unix.SetsockoptInt(socket.GetFd(), unix.SOL_SOCKET, unix.SO_RCVBUF, flowMessages) // a larger buffer loses fewer
			err = m.followFlows(ctx, socket)
		}
		if errors.Is(err, unix.ENOBUFS) {
			m.mu.Lock()
			clear(m.pending) // the first answers may be among the lost messages
			m.mu.Unlock()
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(retry):
		}
	}
}

// followFlows reads messages until an error or the end of ctx, and closes the socket.
func (m *Meter) followFlows(ctx context.Context, socket *nl.NetlinkSocket) error {
	closing := context.AfterFunc(ctx, socket.Close)
	defer func() {
		if closing() {
			socket.Close()
		}
	}()
	for {
		messages, from, err := socket.Receive()
		if err != nil {
			return err
		}
		now := time.Now()
		for _, message := range messages {
			if from.Pid == 0 && message.Header.Type == unix.NFNL_SUBSYS_CTNETLINK<<8|nl.IPCTNL_MSG_CT_NEW {
				m.flow(message.Data, now)
			}
		}
		if !waiting(socket.GetFd()) {
			m.mu.Lock()
			m.emptied++
			m.mu.Unlock()
		}
	}
}

// waiting reports that a socket has something to read.
func waiting(fd int) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return err == nil && n > 0
}

// seenReply is IPS_SEEN_REPLY (include/uapi/linux/netfilter/nf_conntrack_common.h).
const seenReply = 1 << 1

// flow handles a report that a connection began or changed. The reports carry no time, so a trip is known only if the meter waited for
// the answer. On a busy box both reports may have been there already: the trip would look like no time at all, and be the shortest for
// ever.
func (m *Meter) flow(body []byte, now time.Time) {
	const header = 4 // struct nfgenmsg
	if len(body) < header || body[0] != unix.AF_INET {
		return
	}
	var id, status uint32
	var orig, reply []byte
	for kind, value := range nlmsg.Attributes(body[header:]) {
		switch {
		case kind == nl.CTA_TUPLE_ORIG:
			orig = value
		case kind == nl.CTA_TUPLE_REPLY:
			reply = value
		case kind == nl.CTA_ID && len(value) == 4:
			id = binary.BigEndian.Uint32(value)
		case kind == nl.CTA_STATUS && len(value) == 4:
			status = binary.BigEndian.Uint32(value)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	first, known := m.pending[id]
	switch {
	case status&seenReply != 0:
		delete(m.pending, id)
		if known && first.emptied != m.emptied {
			m.add(RoundTrip{Sent: first.at, Trip: now.Sub(first.at)})
		}
	case !known && len(m.pending) < maxPending:
		// A masqueraded connection's answers go to the line's address, which is not its own source.
		if nlmsg.ReadTuple(reply).Dst.Addr() == m.line && nlmsg.ReadTuple(orig).Src.Addr() != m.line {
			m.pending[id] = began{now, m.emptied}
		}
	}
}
