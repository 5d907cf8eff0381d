package uplink

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"passerelle/netctl"
)

// Residents' connections as evidence, from the kernel's tracking of them. What an exchange is stands in health.go. Signs that
// traffic comes to nothing are:
//
//   - strong: packets that are sent again and not answered; names that are asked for, and no connection comes of it;
//   - weak: connections that ended, or were reset, with less than an exchange; and much that flowed and stands still.
//
// None counts while several far addresses send. All of this is in memory, of addresses a hash with a key that no other
// process has.
const (
	trafficPeriod = 2 * time.Second  // between looks at least
	trafficShare  = 50               // a look may take one of so many parts of the time
	windowLength  = 60 * time.Second // within which the exchanges must be that prove a line
	exchange      = 4 << 10          // bytes each way
	several       = 3                // far addresses
	lively        = 1 << 10          // bytes in a look that show that an address sends
	flowing       = 64 << 10         // bytes in a look that would be missed
	vainNames     = 3                // questions of which no connection comes
	vainLooks     = 2                // looks for which that lasts
)

// cause is what traffic gives to ask a line.
type cause int

const (
	noCause cause = iota
	weak
	strong
)

// Flow is a tracked connection.
type Flow struct {
	ID    uint64 // stands for its addresses and ports
	Far   uint64 // stands for the far address
	Port  uint16 // of the far side
	Names bool   // the box's own name server asks the line's
	TCP   bool
	Ended bool // TCP: closed or reset

	Up, Down               uint64 // bytes
	UpPackets, DownPackets uint64
}

// tracked is a flow as it was in the last look.
type tracked struct {
	Flow
	baseUp, baseDown uint64 // when the window began
	stuck            int    // looks in which it sent and got nothing
	fresh            bool   // it is in the current list
}

// tracker draws conclusions from what flows.
type tracker struct {
	flows   map[uint64]*tracked
	began   time.Time       // of the window
	far     map[uint64]bool // addresses with an exchange in it
	asked   int             // names since a connection was last answered
	vain    int             // looks since there were too many of them
	flowed  bool            // much, in the last look but those that are still
	still   int             // looks in which nothing did
	started bool

	sent uint64 // packets that the line had sent by the last look
	open bool   // the last look left a question that time alone answers
}

// unchanged tells whether a look would see nothing new, when the line has sent so many packets: the kernel goes through its
// whole table of connections for one, which is most of what an idle box does.
func (t *tracker) unchanged(sent uint64) bool { return t.started && !t.open && sent == t.sent }

// look takes the flows as they are now. It returns whether they prove the line, and what cause to ask they give.
func (t *tracker) look(now time.Time, flows []Flow) (proof bool, why cause) {
	if t.flows == nil || now.Sub(t.began) > windowLength {
		t.window(now)
	}
	for _, f := range t.flows {
		f.fresh = false
	}
	raise := func(c cause) { why = max(why, c) }
	var down uint64
	sends := map[uint64]bool{}
	asked, named, mute, waits := 0, false, false, false // questions for names
	lost, answered, tcp := false, false, false
	for _, f := range flows {
		was := t.flows[f.ID]
		known := was != nil
		if !known {
			was = &tracked{}
			if !t.started { // it may be old
				was.Flow, was.baseUp, was.baseDown = f, f.Up, f.Down
			}
			t.flows[f.ID] = was
		}
		sent, got := f.UpPackets > was.UpPackets, f.DownPackets > was.DownPackets
		if f.Names {
			if !known && t.started {
				asked++
			}
			waits = waits || f.DownPackets == 0
			mute = mute || known && f.DownPackets == 0
			named = named || f.DownPackets > 0 && was.DownPackets == 0
		} else {
			grew := f.Down - min(f.Down, was.Down)
			down += grew
			if grew >= lively {
				sends[f.Far] = true
			}
			if f.DownPackets > 0 && was.DownPackets == 0 {
				answered, tcp = true, tcp || f.TCP
			}
			if f.Port != 80 && f.Up-min(f.Up, was.baseUp) > exchange && f.Down-min(f.Down, was.baseDown) > exchange {
				t.far[f.Far] = true
			}
			switch {
			case got:
				was.stuck = 0
			case sent && f.TCP && !f.Ended:
				was.stuck++
			}
			if f.TCP && sent && f.DownPackets == 0 && f.UpPackets >= 2 || sent && was.stuck >= vainLooks {
				lost = true
			}
			if f.Ended && !was.Ended && t.started && min(f.Up, f.Down) < exchange {
				raise(weak)
			}
		}
		stuck := was.stuck
		*was = tracked{Flow: f, baseUp: was.baseUp, baseDown: was.baseDown, stuck: stuck, fresh: true}
	}
	for id, f := range t.flows {
		if !f.fresh {
			delete(t.flows, id)
		}
	}
	t.started = true

	// What only shows in all of them together.
	if lost && !tcp {
		raise(strong)
	}
	if down >= flowing {
		t.flowed, t.still = true, 0
	} else if t.flowed && down == 0 {
		if t.still++; t.still >= vainLooks {
			t.flowed, t.still = false, 0
			raise(weak)
		}
	}
	if len(sends) >= several {
		why = noCause
	}
	if answered {
		t.asked, t.vain = 0, 0
	}
	if t.asked += asked; t.asked >= vainNames {
		if t.vain++; t.vain > vainLooks {
			t.asked, t.vain = 0, 0
			raise(strong)
		}
	}
	if mute && !named {
		raise(strong)
	}
	t.open = lost || waits || t.flowed || t.asked >= vainNames
	if proof = len(t.far) >= several; proof {
		t.window(now)
	}
	return proof, why
}

// window begins another window.
func (t *tracker) window(now time.Time) {
	if t.flows == nil {
		t.flows = map[uint64]*tracked{}
	}
	t.began, t.far = now, map[uint64]bool{}
	for _, f := range t.flows {
		f.baseUp, f.baseDown = f.Up, f.Down
	}
}

// watchTraffic looks at the traffic of lines that are in use until ctx ends.
func (p *Prober) watchTraffic(ctx context.Context) {
	pause := trafficPeriod
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		began := time.Now()
		for _, u := range p.busy() {
			p.mu.Lock()
			addr, index, round := u.line.Address.Addr(), u.line.Index, u.round
			p.mu.Unlock()
			sent, err := p.opt.Sent(index)
			if err == nil && p.unchanged(u, sent) {
				continue
			}
			flows, err := p.opt.Flows(addr)
			if err != nil {
				p.opt.Log.Debug("residents' traffic cannot be read", "error", err)
				continue
			}
			p.mu.Lock()
			if u.round == round {
				u.tracks.sent = sent
				u.traffic(time.Now(), flows)
			}
			p.mu.Unlock()
		}
		pause = max(trafficPeriod, trafficShare*time.Since(began))
	}
}

func (p *Prober) unchanged(u *probed, sent uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return u.tracks.unchanged(sent)
}

// busy returns the lines whose traffic is evidence.
func (p *Prober) busy() (all []*probed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, u := range p.uplinks {
		if u.line.Busy && u.line.Works && u.line.Address.IsValid() {
			all = append(all, u)
		} else {
			u.tracks = tracker{}
		}
	}
	return all
}

// traffic draws the conclusion from what flows.
func (u *probed) traffic(now time.Time, flows []Flow) {
	proof, why := u.tracks.look(now, flows)
	if proof {
		u.health.Traffic = Proof{now, fmt.Sprintf("exchanges with %d far addresses", several)}
		u.looked = now
	}
	if why > u.cause {
		u.cause = why
		u.wake()
	}
}

// Messages and attributes of connection tracking (include/uapi/linux/netfilter/nfnetlink_conntrack.h).
const (
	ctGet = 1

	ctaTupleOrig     = 1
	ctaTupleReply    = 2
	ctaProtoInfo     = 4
	ctaMark          = 8
	ctaCountersOrig  = 9
	ctaCountersReply = 10

	ctaTupleIP    = 1
	ctaTupleProto = 2
	ctaIPv4Src    = 1
	ctaIPv4Dst    = 2
	ctaProtoNum   = 1
	ctaProtoSrc   = 2
	ctaProtoDst   = 3

	ctaCountersPackets = 1
	ctaCountersBytes   = 2

	ctaProtoInfoTCP      = 1
	ctaProtoInfoTCPState = 1

	tcpLastAck  = 6 // enum tcp_conntrack: from here on it is closed
	tcpTimeWait = 7
	tcpClose    = 8
)

var seed = maphash.MakeSeed()

// Flows lists the connections that went out through the line with that address and were masqueraded, and those of the
// box's own name servers.
func (r *Reader) Flows(line netip.Addr) (flows []Flow, err error) {
	q := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|ctGet, unix.NLM_F_DUMP)
	q.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: r.netfilter}
	q.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_INET})
	bodies, err := dump(func() ([][]byte, error) { return q.Execute(unix.NETLINK_NETFILTER, 0) })
	if err != nil {
		return nil, fmt.Errorf("list connections: %w", err)
	}
	for _, body := range bodies {
		if f, ok := readFlow(body, line); ok {
			flows = append(flows, f)
		}
	}
	return flows, nil
}

// Sent counts the packets that an interface has sent.
func (r *Reader) Sent(index int) (uint64, error) {
	link, err := r.h.LinkByIndex(index)
	if err != nil {
		return 0, fmt.Errorf("interface %d: %w", index, err)
	}
	return link.Attrs().Statistics.TxPackets, nil
}

// readFlow reads a tracked connection, if it is one of the line's.
func readFlow(body []byte, line netip.Addr) (f Flow, ok bool) {
	const header = 4 // struct nfgenmsg
	if len(body) < header {
		return f, false
	}
	var orig, reply tuple
	var mark uint32
	for kind, value := range attributes(body[header:]) {
		switch kind {
		case ctaTupleOrig:
			orig = readTuple(value)
		case ctaTupleReply:
			reply = readTuple(value)
		case ctaMark:
			if len(value) == 4 {
				mark = binary.BigEndian.Uint32(value)
			}
		case ctaCountersOrig:
			f.Up, f.UpPackets = readCounters(value)
		case ctaCountersReply:
			f.Down, f.DownPackets = readCounters(value)
		case ctaProtoInfo:
			for kind, value := range attributes(value) {
				if kind != ctaProtoInfoTCP {
					continue
				}
				for kind, value := range attributes(value) {
					if kind == ctaProtoInfoTCPState && len(value) == 1 {
						f.Ended = value[0] >= tcpLastAck && value[0] <= tcpClose
					}
				}
			}
		}
	}
	f.TCP, f.Port = orig.proto == unix.IPPROTO_TCP, orig.dst.Port()
	f.ID, f.Far = maphash.Comparable(seed, orig), maphash.Comparable(seed, orig.dst.Addr())
	f.Names = mark&netctl.MarkMask == netctl.MarkNames && orig.src.Addr() == line
	// What is masqueraded is answered to the line's address, and was not sent by it.
	masqueraded := reply.dst.Addr() == line && orig.src.Addr() != line && (f.TCP || orig.proto == unix.IPPROTO_UDP)
	return f, f.Names || masqueraded
}

// tuple is one direction of a connection.
type tuple struct {
	proto    uint8
	src, dst netip.AddrPort
}

func readTuple(data []byte) (t tuple) {
	var src, dst netip.Addr
	var from, to uint16
	for part, value := range attributes(data) {
		for kind, b := range attributes(value) {
			switch {
			case part == ctaTupleIP && kind == ctaIPv4Src:
				src, _ = netip.AddrFromSlice(b)
			case part == ctaTupleIP && kind == ctaIPv4Dst:
				dst, _ = netip.AddrFromSlice(b)
			case part == ctaTupleProto && kind == ctaProtoNum && len(b) == 1:
				t.proto = b[0]
			case part == ctaTupleProto && kind == ctaProtoSrc && len(b) == 2:
				from = binary.BigEndian.Uint16(b)
			case part == ctaTupleProto && kind == ctaProtoDst && len(b) == 2:
				to = binary.BigEndian.Uint16(b)
			}
		}
	}
	t.src, t.dst = netip.AddrPortFrom(src, from), netip.AddrPortFrom(dst, to)
	return t
}

func readCounters(data []byte) (bytes, packets uint64) {
	for kind, b := range attributes(data) {
		if len(b) != 8 {
			continue
		}
		switch kind {
		case ctaCountersBytes:
			bytes = binary.BigEndian.Uint64(b)
		case ctaCountersPackets:
			packets = binary.BigEndian.Uint64(b)
		}
	}
	return bytes, packets
}

// attributes yields the netlink attributes in b by their kinds, up to the first that is cut short.
func attributes(b []byte) func(yield func(kind uint16, value []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofNlAttr {
			size := int(binary.NativeEndian.Uint16(b))
			if size < unix.SizeofNlAttr || size > len(b) {
				return
			}
			kind := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(kind, b[unix.SizeofNlAttr:size]) {
				return
			}
			b = b[min((size+3)&^3, len(b)):]
		}
	}
}
