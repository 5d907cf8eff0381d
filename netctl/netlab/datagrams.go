package netlab

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// This file sends UDP as QUIC does, without QUIC's handshake and encryption. Packets have numbers, the receiver acknowledges
// every second packet, losses are detected by number, and the sender's congestion control is NewReno with pacing (RFC 9002).

const (
	datagram = 1200 // bytes of UDP payload, which every path of QUIC must carry (RFC 9000, section 14)
	ackDelay = 25 * time.Millisecond
	ackEvery = 2  // packets (RFC 9000, section 13.2.2)
	ackOf    = 16 // numbers in an acknowledgement, the newest first, so that a lost acknowledgement hides none

	firstWindow   = 10 * datagram // RFC 9002, section 7.2
	leastWindow   = 2 * datagram
	lossThreshold = 3                      // numbers (RFC 9002, section 6.1.1)
	firstTrip     = 333 * time.Millisecond // RFC 9002, section 6.2.2
	paceFactor    = 1.25                   // RFC 9002, section 7.7
	persistent    = 3                      // timeouts in a row after which the window is set to its minimum
)

// inFlight is a packet that was sent. In a slice of them, the numbers are consecutive.
type inFlight struct {
	number uint64
	at     time.Time
	acked  bool
}

// reno is the congestion control of one sender. It has no clock and no socket.
type reno struct {
	window, threshold float64 // bytes
	flight            []inFlight
	waiting           int // packets of flight without an acknowledgement
	next, largest     uint64
	recovered         time.Time // the loss of a packet sent before it does not reduce the window again
	trip, varies      time.Duration
	measured          bool      // trip was measured
	timeouts          int       // in a row
	heard             time.Time // the last acknowledgement, or timeout
	paced             time.Time // when the next packet is due
}

func newReno(now time.Time) *reno {
	return &reno{window: firstWindow, threshold: math.Inf(1), next: 1, trip: firstTrip, varies: firstTrip / 2, heard: now, paced: now}
}

// send returns the number of a packet to send now. ok is false if none may be sent.
func (r *reno) send(now time.Time) (number uint64, ok bool) {
	if float64(r.waiting+1)*datagram > r.window || now.Before(r.paced) {
		return 0, false
	}
	gap := time.Duration(datagram / (paceFactor * r.window) * float64(r.trip))
	if late := now.Add(-firstWindow / datagram * gap); r.paced.Before(late) { // bursts are limited to the first window
		r.paced = late
	}
	r.paced = r.paced.Add(gap)
	return r.sent(now), true
}

// sent records a packet as sent now and returns its number.
func (r *reno) sent(now time.Time) uint64 {
	n := r.next
	r.next++
	r.waiting++
	r.flight = append(r.flight, inFlight{number: n, at: now})
	return n
}

// until returns when the sender has something to do, unless an acknowledgement comes before.
func (r *reno) until() time.Time {
	deadline := r.lateAt()
	if float64(r.waiting+1)*datagram <= r.window && r.paced.Before(deadline) {
		return r.paced
	}
	return deadline
}

// lateAt returns when the timeout expires. The timeout doubles each time it expires (RFC 9002, section 6.2.1).
func (r *reno) lateAt() time.Time {
	return r.heard.Add((r.trip + max(4*r.varies, time.Millisecond) + ackDelay) << min(r.timeouts, 6))
}

// timeout returns the number of a packet to send. ok is false if the timeout has not expired.
func (r *reno) timeout(now time.Time) (number uint64, ok bool) {
	if now.Before(r.lateAt()) {
		return 0, false
	}
	r.timeouts++
	r.heard = now
	if r.timeouts >= persistent { // the packets in flight count as lost
		r.window, r.recovered = leastWindow, now
		r.flight, r.waiting = r.flight[:0], 0
	}
	return r.sent(now), true
}

// acknowledged handles an acknowledgement of these numbers.
func (r *reno) acknowledged(now time.Time, numbers []uint64) {
	r.heard = now
	for _, n := range numbers {
		i := len(r.flight) - int(r.next-n)
		if i < 0 || i >= len(r.flight) || r.flight[i].acked {
			continue
		}
		p := &r.flight[i]
		p.acked = true
		r.waiting--
		r.timeouts = 0
		if n > r.largest {
			r.largest = n
			r.measure(now.Sub(p.at))
		}
		switch {
		case p.at.Before(r.recovered):
		case r.window < r.threshold:
			r.window += datagram
		default:
			r.window += datagram * datagram / r.window
		}
	}
	done := 0
	for _, p := range r.flight {
		if !p.acked && p.number+lossThreshold > r.largest {
			break
		}
		done++
		if p.acked {
			continue
		}
		r.waiting--
		if !p.at.Before(r.recovered) {
			r.window = max(leastWindow, r.window/2)
			r.threshold, r.recovered = r.window, now
		}
	}
	r.flight = append(r.flight[:0], r.flight[done:]...)
}

// measure records a round trip (RFC 9002, section 5.3).
func (r *reno) measure(trip time.Duration) {
	if !r.measured {
		r.trip, r.varies, r.measured = trip, trip/2, true
		return
	}
	r.varies += ((r.trip - trip).Abs() - r.varies) / 4
	r.trip += (trip - r.trip) / 8
}

// sendDatagrams sends until the context ends or the connection breaks.
func sendDatagrams(ctx context.Context, c net.Conn) error {
	r := newReno(time.Now())
	packet, answer := make([]byte, datagram), make([]byte, 8*ackOf)
	write := func(number uint64) error {
		binary.BigEndian.PutUint64(packet, number)
		_, err := c.Write(packet)
		return err
	}
	for ctx.Err() == nil {
		for {
			n, ok := r.send(time.Now())
			if !ok {
				n, ok = r.timeout(time.Now())
			}
			if !ok {
				break
			}
			if err := write(n); err != nil {
				return err
			}
		}
		if err := c.SetReadDeadline(r.until()); err != nil {
			return err
		}
		n, err := c.Read(answer)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			continue
		case err != nil:
			return err
		}
		var numbers []uint64
		for b := answer[:n]; len(b) >= 8; b = b[8:] {
			numbers = append(numbers, binary.BigEndian.Uint64(b))
		}
		r.acknowledged(time.Now(), numbers)
	}
	return nil
}

// takeDatagrams acknowledges packets and counts their bytes until the connection ends.
func (t *Transfer) takeDatagrams(c net.Conn) error {
	packet := make([]byte, datagram)
	var got []uint64 // received numbers, the newest first
	fresh := 0       // how many of them are not acknowledged yet
	for {
		var deadline time.Time
		if fresh > 0 {
			deadline = time.Now().Add(ackDelay)
		}
		if err := c.SetReadDeadline(deadline); err != nil {
			return err
		}
		n, err := c.Read(packet)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
		case err != nil:
			return err
		case n == datagram:
			t.add(n)
			fresh++
			got = append([]uint64{binary.BigEndian.Uint64(packet)}, got[:min(len(got), ackOf-1)]...)
		}
		if fresh < ackEvery && err == nil {
			continue
		}
		fresh = 0
		answer := make([]byte, 0, 8*ackOf)
		for _, number := range got {
			answer = binary.BigEndian.AppendUint64(answer, number)
		}
		if _, err := c.Write(answer); err != nil {
			return err
		}
	}
}

// datagramPair connects a UDP socket of one host with a UDP socket of another. The second learns the peer's address from the
// first packet, because there may be NAT between them.
func datagramPair(ctx context.Context, from, to *Host, addr netip.Addr) (dialled, accepted net.Conn, err error) {
	listener, err := to.ListenPacket("udp4", netip.AddrPortFrom(addr, 0).String())
	if err != nil {
		return nil, nil, err
	}
	dialled, err = from.Dial(ctx, "udp4", listener.LocalAddr().String())
	if err != nil {
		listener.Close()
		return nil, nil, err
	}
	const patience = 5 * time.Second
	_, err = dialled.Write([]byte("hello"))
	err = errors.Join(err, listener.SetReadDeadline(time.Now().Add(patience)))
	var peer net.Addr
	if err == nil {
		_, peer, err = listener.ReadFrom(make([]byte, datagram))
	}
	if err != nil {
		return nil, nil, errors.Join(err, dialled.Close(), listener.Close())
	}
	return dialled, &toPeer{PacketConn: listener, peer: peer}, nil
}

// toPeer is a UDP socket that talks to one peer.
type toPeer struct {
	net.PacketConn
	peer net.Addr
}

func (c *toPeer) Read(b []byte) (int, error) { n, _, err := c.ReadFrom(b); return n, err }

func (c *toPeer) Write(b []byte) (int, error) { return c.WriteTo(b, c.peer) }

func (c *toPeer) RemoteAddr() net.Addr { return c.peer }

// startDatagrams is like start, for datagrams.
func (b Bulk) startDatagrams(ctx context.Context) (*Transfer, error) {
	var conns []net.Conn
	closeAll := func() {
		for _, c := range conns {
			c.Close()
		}
	}
	for range max(b.Streams, 1) {
		dialled, accepted, err := datagramPair(ctx, b.From, b.To, b.Addr)
		if err != nil {
			closeAll()
			return nil, err
		}
		conns = append(conns, dialled, accepted)
	}
	ctx, cancel := context.WithCancel(ctx)
	t := newTransfer(cancel)
	context.AfterFunc(ctx, closeAll)
	var running sync.WaitGroup
	for i := 0; i < len(conns); i += 2 {
		source, sink := conns[i], conns[i+1]
		if b.Reverse {
			source, sink = sink, source
		}
		running.Go(func() { t.fail(ctx, sendDatagrams(ctx, source)) })
		running.Go(func() { t.fail(ctx, t.takeDatagrams(sink)) })
	}
	return t, t.stopWithWorld(b.From.world, &running)
}
