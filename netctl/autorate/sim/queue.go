package sim

import (
	"math"
	"slices"
)

// packet is a packet in a queue.
type packet struct {
	flow *flow // nil: see kind
	kind kind
	size int
	sent int // ms; when it left its sender
	in   int // ms; when it entered its current queue
	id   int // of a probe
}

type kind uint8

const (
	data      kind = iota
	probe          // the box's own
	handshake      // a resident's new flow
	observer       // for the measurement, of size zero
	call           // a packet of a call
)

// fifo is an unlimited queue. The zero value is empty.
type fifo struct {
	packets []packet
	head    int
}

func (q *fifo) len() int { return len(q.packets) - q.head }

func (q *fifo) push(p packet) { q.packets = append(q.packets, p) }

func (q *fifo) first() *packet { return &q.packets[q.head] }

func (q *fifo) pop() packet {
	p := q.packets[q.head]
	q.head++
	if q.head > 1024 && q.head*2 > len(q.packets) {
		n := copy(q.packets, q.packets[q.head:])
		q.packets, q.head = q.packets[:n], 0
	}
	return p
}

// codel is CoDel (RFC 8289) with its defaults: a target of 5 ms and an interval of 100 ms.
type codel struct {
	queue    fifo
	above    int // when the wait rose above the target, plus the interval; 0 if it is not above
	dropping bool
	next     float64
	count    int
	previous int
	deficit  int // for fq_codel's rounds
}

const (
	codelTarget   = 5
	codelInterval = 100
	leafPackets   = 1000 // capacity of a flow's queue
)

func (c *codel) late(now int, p packet) bool {
	if now-p.in < codelTarget || c.queue.len() <= 1 {
		c.above = 0
		return false
	}
	if c.above == 0 {
		c.above = now + codelInterval
		return false
	}
	return now >= c.above
}

// take removes the next packet to send, and drops the packets that CoDel drops.
func (c *codel) take(now int, drop func(packet)) (packet, bool) {
	if c.queue.len() == 0 {
		c.dropping = false
		return packet{}, false
	}
	p := c.queue.pop()
	late := c.late(now, p)
	switch {
	case c.dropping && !late:
		c.dropping = false
	case c.dropping:
		for float64(now) >= c.next && c.dropping {
			drop(p)
			c.count++
			if c.queue.len() == 0 {
				c.dropping = false
				return packet{}, false
			}
			p = c.queue.pop()
			if !c.late(now, p) {
				c.dropping = false
			} else {
				c.next += codelInterval / math.Sqrt(float64(c.count))
			}
		}
	case late:
		drop(p)
		if c.queue.len() == 0 {
			return packet{}, false
		}
		p = c.queue.pop()
		c.dropping = true
		if d := c.count - c.previous; d > 1 && float64(now)-c.next < 16*codelInterval {
			c.count = d
		} else {
			c.count = 1
		}
		c.next = float64(now) + codelInterval/math.Sqrt(float64(c.count))
		c.previous = c.count
	}
	return p, true
}

// shaper is the box's HTB class of a line: residents share its rate round-robin, and fq_codel serves each resident's flows.
type shaper struct {
	rate    float64 // bit/s
	tokens  float64 // bytes
	backlog int     // bytes
	turn    int
	credit  []int     // of each resident
	active  [][]*flow // the flows of each resident that have packets
}

const round = 2 * 1514 // the quantum of a resident

func (s *shaper) push(now int, p packet) bool {
	f := p.flow
	if f.leaf.queue.len() >= leafPackets {
		return false
	}
	p.in = now
	if !f.on {
		f.on = true
		f.leaf.deficit = MTU
		// fq_codel serves a new flow before the others.
		s.active[f.resident] = slices.Insert(s.active[f.resident], 0, f)
	}
	f.leaf.queue.push(p)
	s.backlog += p.size
	return true
}

// run sends what the rate allows in a millisecond.
func (s *shaper) run(now int, send, drop func(packet)) {
	perMs := s.rate / 8000
	// HTB's burst: 10 ms at the rate, and at least two packets.
	s.tokens = min(s.tokens+perMs, max(10*perMs, 2*MTU+perMs))
	dropped := func(p packet) {
		s.backlog -= p.size
		drop(p)
	}
	for empty := 0; s.tokens > 0 && s.backlog > 0 && empty <= len(s.active); {
		r := s.turn % len(s.active)
		if len(s.active[r]) == 0 {
			s.credit[r] = 0
			s.turn++
			empty++
			continue
		}
		if s.credit[r] <= 0 {
			s.credit[r] += round
			s.turn++
			continue
		}
		f := s.active[r][0]
		p, ok := f.leaf.take(now, dropped)
		if ok {
			s.backlog -= p.size
			s.credit[r] -= p.size
			s.tokens -= float64(p.size)
			f.leaf.deficit -= p.size
			empty = 0
			send(p)
		}
		switch {
		case f.leaf.queue.len() == 0:
			f.on = false
			s.active[r] = slices.Delete(s.active[r], 0, 1)
		case f.leaf.deficit <= 0:
			f.leaf.deficit += MTU
			s.active[r] = append(slices.Delete(s.active[r], 0, 1), f)
		}
	}
}
