// Package sim simulates a donation's line, the queue beyond the box, the box's own queues and the residents' connections, in order to
// compare laws that set the box's rate. It advances in milliseconds and moves whole packets. It uses no kernel and no clock: the same
// setup gives the same result.
//
// It leaves out congestion controls other than Cubic, acknowledgements that queue in the other direction, the jitter of a radio beyond
// its trace, and selective drops by the network.
package sim

import (
	"math"
	"math/rand/v2"
	"slices"
)

// A Controller sets the rates of the box.
type Controller interface {
	// Tick is called at the start, with Ms 0, and then every 200 ms.
	Tick(Seen) Rates
	// Wants reports whether the controller sends a probe in this millisecond.
	Wants(now int) bool
}

// An Answerer is a controller that reacts to each answer as it arrives.
type Answerer interface {
	Answer(Sample) Rates
}

// TickMs is the time between two ticks in milliseconds.
const TickMs = 200

// Rates are the box's rates in bit/s.
type Rates struct{ Down, Up float64 }

// Seen is what a controller can see.
type Seen struct {
	Now        int // ms
	Ms         int // since the last tick
	Down, Up   Traffic
	Samples    []Sample // that arrived since the last tick
	Unanswered int      // age of the oldest probe without an answer, in ms
	NoProbes   bool     // the probe budget is used up
	// What no real controller knows, for an oracle: the mean capacity since the last tick, in bit/s, and the wait in the queue beyond
	// the box, in ms.
	Capacity, Wait Rates
}

// Traffic is what happened in one direction since the last tick.
type Traffic struct {
	Bytes   int // on the line
	Backlog int // bytes in the box's queue now
}

// A Sample is one round trip in milliseconds.
type Sample struct {
	Flow   bool // of a resident's new connection, to a server at an unknown distance; otherwise of a probe
	Sent   int
	Trip   float64
	Number int // of the probe
}

// A Span is a time in milliseconds.
type Span struct{ From, To int }

func within(spans []Span, now int) bool {
	for _, s := range spans {
		if now >= s.From && now < s.To {
			return true
		}
	}
	return false
}

// A Move adds to all round trips from a time on, as a handover does. Both are in milliseconds.
type Move struct{ At, Add int }

// A Setup is a simulated situation. Its zero fields have defaults.
type Setup struct {
	Down, Up   Trace // nil: the direction has neither a limit nor load
	Seed       uint64
	Warm       int       // ms before measurement; default 10 s
	Buffer     int       // capacity of the queue beyond the box, in packets, in each direction; default 1,000
	Flows      []int     // connections of each resident; default 16, 1, 1, 1, 1
	Handshakes float64   // new connections per second while there is load; default 1; negative for none
	Servers    []float64 // distance of those connections' servers, in ms; default 15, 30, 60, 100, 150
	Target     float64   // distance of the probe's target, in ms; default 40
	Near       bool      // the target is the lender's modem: probes do not cross the line
	Silent     bool      // probes get no answer
	NoProbes   bool      // the probe budget is used up
	Jitter     float64   // mean of the exponential noise of round trips, in ms; default 4
	Loss       float64   // fraction of the residents' packets that is lost outside of queues
	Moves      []Move
	Idle       []Span // without load by residents
	Lender     []Span // the lender downloads for himself, with 4 connections
	Call       bool   // the first resident has a call: 50 packets of 200 bytes a second
}

// A Result holds the figures of one direction after the warm-up.
type Result struct {
	Used          float64 // fraction of the capacity that residents got
	P50, P95, P99 float64 // wait in the queue beyond the box, in ms, without the wait for the line's next chance to send
	Jain          float64 // fairness between residents (Jain's index)
	Mean          float64 // residents' goodput in bit/s
	Call          float64 // 95th percentile of the wait of a call's packets in both queues, in ms
}

// A Report is the result of a run.
type Report struct {
	Down, Up   Result
	ProbeBytes float64 // bytes of probes per second, both ways, over the whole run
	Lender     float64 // what the lender got, in bit/s, while he downloaded
	Series     []Point // one point for each tick
}

// A Point is the state at a tick. Rates are in Mbit/s.
type Point struct {
	Second   float64
	Down, Up Direction
}

// A Direction is the state of one direction.
type Direction struct {
	Capacity, Rate, Used float64
	Delay                float64 // ms
}

// lender is the owner of flows that do not cross the box.
const lender = -1

// ProbeSize is the size of one probe for both ways, in bytes: ICMP echo with 8 bytes of data in IPv4.
const ProbeSize = 2 * (20 + 8 + 8)

// pipe is one direction.
type pipe struct {
	up     bool
	trace  Trace
	next   []int // for each ms, the next chance to send
	line   fifo
	buffer int
	rest   int // bytes left of a chance to send
	box    shaper
	flows  []*flow
	call   *flow // a flow without a connection

	// Bytes since the last tick: as the box counts them on the line, those that reached their end, and those that the line could
	// carry.
	bytes                     int
	tickCarried, tickCapacity float64
	tickDelay                 float64 // ms

	byResident        []float64 // bytes after the warm-up, as are the next ones
	carried, capacity float64
	delays, calls     []float64 // ms
}

type eventKind uint8

const (
	acked eventKind = iota
	lost
	arrives // a packet reaches the downlink
	answers // a packet is back at the box
)

type event struct {
	kind   eventKind
	flow   *flow
	packet packet
	sent   int
}

const horizon = 4096 // ms; the size of the ring of events

type world struct {
	Setup
	random *rand.Rand
	down   pipe
	up     pipe
	events [horizon][]event
	now    int
	shift  int // added to round trips
	asked  []packet
	number int
	seen   []Sample
	own    float64 // bytes that the lender got
	ownMs  int
	live   Answerer
}

// Run simulates a setup.
func Run(s Setup, c Controller) Report {
	if s.Warm == 0 {
		s.Warm = 10_000
	}
	if s.Buffer == 0 {
		s.Buffer = 1000
	}
	if s.Flows == nil {
		s.Flows = []int{16, 1, 1, 1, 1}
	}
	if s.Handshakes == 0 {
		s.Handshakes = 1
	}
	if s.Servers == nil {
		s.Servers = []float64{15, 30, 60, 100, 150}
	}
	if s.Target == 0 {
		s.Target = 40
	}
	if s.Jitter == 0 {
		s.Jitter = 4
	}
	w := &world{Setup: s, random: rand.New(rand.NewPCG(s.Seed, 1))}
	w.live, _ = c.(Answerer)
	length := max(len(s.Down), len(s.Up))
	first := c.Tick(Seen{NoProbes: s.NoProbes})
	w.down.start(s, false, s.Down, length, first.Down)
	w.up.start(s, true, s.Up, length, first.Up)
	rep := Report{}
	var last, probes int
	for w.now = 1; w.now < length; w.now++ {
		w.step()
		if c.Wants(w.now) && !s.NoProbes {
			w.number++
			probes++
			p := packet{kind: probe, size: ProbeSize/2 + 14, sent: w.now, id: w.number}
			w.asked = append(w.asked, p)
			w.leave(p)
		}
		w.send()
		for _, p := range [2]*pipe{&w.down, &w.up} {
			if p.trace != nil {
				p.run(w)
			}
		}
		if w.now-last < TickMs {
			continue
		}
		ms := w.now - last
		seen := Seen{Now: w.now, Ms: ms, Samples: w.seen, NoProbes: s.NoProbes}
		seen.Down, seen.Up = w.down.look(), w.up.look()
		if len(w.asked) > 0 {
			seen.Unanswered = w.now - w.asked[0].sent
		}
		point := Point{float64(w.now) / 1000, w.down.point(ms), w.up.point(ms)}
		rep.Series = append(rep.Series, point)
		seen.Capacity = Rates{point.Down.Capacity * 1e6, point.Up.Capacity * 1e6}
		seen.Wait = Rates{w.down.wait(point.Down.Capacity), w.up.wait(point.Up.Capacity)}
		r := c.Tick(seen)
		w.down.box.rate, w.up.box.rate = r.Down, r.Up
		w.seen = w.seen[:0]
		last = w.now
	}
	rep.Down, rep.Up = w.down.result(length-s.Warm), w.up.result(length-s.Warm)
	rep.ProbeBytes = float64(probes*ProbeSize) / float64(max(length, 1)) * 1000
	if w.ownMs > 0 {
		rep.Lender = w.own * 8000 / float64(w.ownMs)
	}
	return rep
}

func (p *pipe) start(s Setup, up bool, trace Trace, length int, rate float64) {
	if trace == nil {
		return
	}
	p.up, p.buffer, p.box.rate = up, s.Buffer, rate
	p.trace = make(Trace, length)
	copy(p.trace, trace)
	p.next = make([]int, length+1)
	next := length
	for i := length - 1; i >= 0; i-- {
		if p.trace[i] > 0 {
			next = i
		}
		p.next[i] = next
	}
	p.box.credit = make([]int, len(s.Flows))
	p.box.active = make([][]*flow, len(s.Flows))
	p.byResident = make([]float64, len(s.Flows))
	for r, n := range s.Flows {
		for range n {
			rtt := 50
			if r > 0 {
				rtt = 40 + 10*r
			}
			p.flows = append(p.flows, newFlow(r, len(p.flows), rtt))
		}
	}
	p.call = newFlow(0, len(p.flows), 40)
	if !up && len(s.Lender) > 0 {
		for range 4 {
			p.flows = append(p.flows, newFlow(lender, len(p.flows), 40))
		}
	}
}

func (w *world) at(ms int, e event) {
	ms = min(max(ms, 1), horizon-1)
	slot := (w.now + ms) % horizon
	w.events[slot] = append(w.events[slot], e)
}

// leave sends one of the box's own packets to the network.
func (w *world) leave(p packet) {
	switch {
	case w.Near && p.kind == probe:
		w.at(1, event{kind: answers, packet: p})
	case w.up.trace != nil:
		p.in = w.now
		w.up.line.push(p)
	default:
		w.cross(p)
	}
}

// cross moves a packet from the uplink to the downlink. Distance and noise are added at the end.
func (w *world) cross(p packet) {
	if p.kind == observer || p.kind == call {
		return
	}
	p.in = w.now
	if w.down.trace != nil {
		w.down.line.push(p)
		return
	}
	w.back(p)
}

// back returns a packet to the box after the downlink.
func (w *world) back(p packet) {
	distance := w.Target
	if p.kind == handshake {
		distance = w.Servers[w.random.IntN(len(w.Servers))]
	}
	distance += float64(w.shift) + w.random.ExpFloat64()*w.Jitter
	w.at(int(math.Round(distance)), event{kind: answers, packet: p})
}

// step handles this millisecond's events beyond the lines.
func (w *world) step() {
	w.shift = 0
	for _, m := range w.Moves {
		if w.now >= m.At {
			w.shift += m.Add
		}
	}
	slot := &w.events[w.now%horizon]
	for i := 0; i < len(*slot); i++ {
		switch e := (*slot)[i]; e.kind {
		case acked:
			e.flow.acked(w.now, e.sent)
		case lost:
			e.flow.lost(w.now, e.sent)
		case answers:
			w.answer(e.packet)
		}
	}
	*slot = (*slot)[:0]
}

func (w *world) answer(p packet) {
	s := Sample{Flow: p.kind == handshake, Sent: p.sent, Trip: float64(w.now - p.sent), Number: p.id}
	if !s.Flow {
		if w.Silent {
			return
		}
		i := slices.IndexFunc(w.asked, func(a packet) bool { return a.id == p.id })
		if i < 0 {
			return // the prober no longer waits for it
		}
		w.asked = slices.Delete(w.asked, i, i+1)
	}
	w.seen = append(w.seen, s)
	if w.live != nil {
		r := w.live.Answer(s)
		w.down.box.rate, w.up.box.rate = r.Down, r.Up
	}
}

// giveUp is the age at which a prober stops waiting for an answer, in ms.
const giveUp = 10_000

// send lets the senders send.
func (w *world) send() {
	for len(w.asked) > 0 && w.now-w.asked[0].sent > giveUp {
		w.asked = slices.Delete(w.asked, 0, 1)
	}
	load := !within(w.Idle, w.now)
	own := within(w.Lender, w.now)
	if own {
		w.ownMs++
	}
	for _, p := range [2]*pipe{&w.down, &w.up} {
		if p.trace == nil {
			continue
		}
		for _, f := range p.flows {
			f.timeout(w.now)
			if f.resident == lender && !own || f.resident != lender && !load {
				continue
			}
			for burst := 0; float64(f.inflight) < f.window && burst < 20; burst++ {
				if f.inflight == 0 {
					f.lastAck = w.now
				}
				f.inflight++
				q := packet{flow: f, size: MTU, sent: w.now, in: w.now}
				switch {
				case w.Loss > 0 && w.random.Float64() < w.Loss:
					w.drop(q)
				case p.up && !p.box.push(w.now, q):
					w.drop(q)
				case !p.up:
					p.enter(w, q)
				}
			}
		}
		if load && w.now%20 == 0 && w.now > w.Warm {
			p.line.push(packet{kind: observer, sent: w.now, in: w.now})
			if w.Call && !p.up {
				p.line.push(packet{flow: p.call, kind: call, size: 200, sent: w.now, in: w.now})
			}
		}
	}
	// A resident opens a new connection.
	if load && w.Handshakes > 0 && w.random.Float64() < w.Handshakes/1000 {
		w.leave(packet{kind: handshake, size: 60, sent: w.now})
	}
}

// enter puts a packet into the queue beyond the box.
func (p *pipe) enter(w *world, q packet) {
	if p.line.len() >= p.buffer {
		w.drop(q)
		return
	}
	q.in = w.now
	p.line.push(q)
}

// drop tells the sender about a loss after a round trip.
func (w *world) drop(q packet) {
	w.at(q.flow.rtt+w.shift, event{kind: lost, flow: q.flow, sent: q.sent})
}

// run moves the packets of a millisecond through the line and the box.
func (p *pipe) run(w *world) {
	if p.up {
		p.shape(w, func(q packet) {
			p.bytes += q.size
			p.enter(w, q)
		})
	}
	chances := int(p.trace[w.now]) * MTU
	p.tickCapacity += float64(chances)
	if w.now > w.Warm && !within(w.Idle, w.now) {
		p.capacity += float64(chances)
	}
	credit := p.rest + chances
	for p.line.len() > 0 {
		q := p.line.first()
		if credit <= 0 || q.size > credit {
			break
		}
		credit -= q.size
		p.arrive(w, p.line.pop())
	}
	// An unused chance to send is lost. The rest of a partly used one is for the next packet.
	p.rest = 0
	if p.line.len() > 0 {
		p.rest = min(credit, MTU-1)
	}
	if !p.up {
		p.shape(w, func(q packet) {
			if q.kind == call {
				p.calls = append(p.calls, float64(max(0, w.now-p.next[q.sent])))
				return
			}
			p.count(w, q)
			w.at(q.flow.rtt+w.shift, event{kind: acked, flow: q.flow, sent: q.sent})
		})
	}
}

func (p *pipe) shape(w *world, send func(packet)) {
	p.box.run(w.now, send, func(q packet) { w.drop(q) })
}

// count records a packet that reached its end.
func (p *pipe) count(w *world, q packet) {
	p.tickCarried += float64(q.size)
	if w.now > w.Warm {
		p.byResident[q.flow.resident] += float64(q.size)
		p.carried += float64(q.size)
	}
}

// arrive handles a packet that crossed the line.
func (p *pipe) arrive(w *world, q packet) {
	switch {
	case q.kind == observer:
		d := float64(max(0, w.now-p.next[q.in]))
		p.delays = append(p.delays, d)
		p.tickDelay = max(p.tickDelay, d)
	case q.kind == call:
		p.bytes += q.size
		p.box.push(w.now, q)
	case q.kind != data && p.up:
		w.cross(q)
	case q.kind != data:
		w.back(q)
	case q.flow.resident == lender:
		w.own += float64(q.size)
		w.at(q.flow.rtt+w.shift, event{kind: acked, flow: q.flow, sent: q.sent})
	case p.up:
		p.count(w, q)
		w.at(q.flow.rtt+w.shift, event{kind: acked, flow: q.flow, sent: q.sent})
	default:
		p.bytes += q.size
		if !p.box.push(w.now, q) {
			w.drop(q)
		}
	}
}

// look returns what the box saw since the last call.
func (p *pipe) look() Traffic {
	t := Traffic{p.bytes, p.box.backlog}
	p.bytes = 0
	return t
}

// point returns the true figures since the last call.
func (p *pipe) point(ms int) Direction {
	mbit := func(bytes float64) float64 { return bytes * 8 / 1000 / float64(ms) }
	d := Direction{mbit(p.tickCapacity), p.box.rate / 1e6, mbit(p.tickCarried), p.tickDelay}
	p.tickCapacity, p.tickCarried, p.tickDelay = 0, 0, 0
	return d
}

// wait returns how long the queue beyond the box lasts at a capacity in Mbit/s, in ms.
func (p *pipe) wait(mbit float64) float64 {
	if mbit == 0 {
		return 0
	}
	return float64(p.line.len()) * MTU * 8 / 1000 / mbit
}

func (p *pipe) result(ms int) Result {
	if p.trace == nil {
		return Result{}
	}
	sum, squares := 0.0, 0.0
	for _, b := range p.byResident {
		sum += b
		squares += b * b
	}
	r := Result{Mean: p.carried * 8000 / float64(ms), Call: Quantile(p.calls, .95)}
	r.P50, r.P95, r.P99 = Quantile(p.delays, .5), Quantile(p.delays, .95), Quantile(p.delays, .99)
	if p.capacity > 0 {
		r.Used = p.carried / p.capacity
	}
	if squares > 0 {
		r.Jain = sum * sum / squares / float64(len(p.byResident))
	}
	return r
}

// Quantile returns the value below which the given part (0 to 1) of the values lies. It sorts the values. Without values it returns 0.
func Quantile(v []float64, part float64) float64 {
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	return v[int(part*float64(len(v)-1))]
}
