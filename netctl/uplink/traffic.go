package uplink

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"passerelle/netctl"
	"passerelle/netctl/nlmsg"
)

// Residents' connections as evidence, from connection tracking. health.go defines an exchange. Signs that traffic fails are:
//
//   - strong: retransmissions without an answer; DNS queries without an answer, or that no connection follows;
//   - weak: connections that ended, or were reset, with less than an exchange; a large transfer that stalls.
//
// While several remote addresses send, only the signs of DNS count. All of this stays in memory, with addresses as keyed hashes.
const (
	trafficPeriod      = 2 * time.Second  // minimum between samples
	trafficShare       = 50               // sampling takes at most about 1/50 of the time
	windowLength       = 60 * time.Second // the exchanges that prove a line must be within it
	exchange           = 4 << 10          // bytes each way
	several            = 3                // remote addresses
	lively             = 1 << 10          // bytes received in a sample: the remote address sends
	flowing            = 64 << 10         // bytes received in a sample: a large transfer
	maxUnansweredNames = 3                // queries that no connection follows
	maxStuckSamples    = 2                // samples without progress
)

// cause is a reason from traffic to probe a line.
type cause int

const (
	noCause cause = iota
	weak
	strong
)

// Flow is a tracked connection.
type Flow struct {
	ID    uint64 // hash of its addresses and ports
	Far   uint64 // hash of the remote address
	Port  uint16 // remote port
	Names bool   // a query from the box's own name server to one of the line's
	TCP   bool
	Ended bool // TCP: closed or reset

	Up, Down               uint64 // bytes
	UpPackets, DownPackets uint64
}

// tracked is a flow in the last sample.
type tracked struct {
	Flow
	baseUp, baseDown uint64 // at the window's start
	stuck            int    // samples in which it sent and received nothing
	current          bool   // it is in the current list
}

// tracker evaluates samples of flows.
type tracker struct {
	flows      map[uint64]*tracked
	began      time.Time       // of the window
	far        map[uint64]bool // remote addresses with an exchange in the window
	asked      int             // queries since a connection was last answered
	unanswered int             // samples with maxUnansweredNames of them or more
	flowed     bool            // there was a large transfer before the samples without data
	still      int             // samples without data since then
	started    bool

	sent uint64 // packets that the line had sent by the last sample
	open bool   // the last sample left something undecided: the next one is needed in any case
}

// unchanged tells whether a sample would show nothing new, given how many packets the line has sent. A sample walks the
// kernel's whole connection tracking table, which would otherwise be most of the work of an idle box.
func (t *tracker) unchanged(sent uint64) bool { return t.started && !t.open && sent == t.sent }

// sample evaluates the current flows. It returns whether they prove that the line works, and the cause to probe it.
func (t *tracker) sample(now time.Time, flows []Flow) (proof bool, why cause) {
	if t.flows == nil || now.Sub(t.began) > windowLength {
		t.window(now)
	}
	for _, f := range t.flows {
		f.current = false
	}
	raise := func(c cause) { why = max(why, c) }
	var down uint64
	sends := map[uint64]bool{}
	asked, named, mute, waits := 0, false, false, false // DNS queries
	lost, answered, tcp := false, false, false
	for _, f := range flows {
		was := t.flows[f.ID]
		known := was != nil
		if !known {
			was = &tracked{}
			if !t.started { // it may be older than the window
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
			if f.TCP && sent && f.DownPackets == 0 && f.UpPackets >= 2 || sent && was.stuck >= maxStuckSamples {
				lost = true
			}
			if f.Ended && !was.Ended && t.started && min(f.Up, f.Down) < exchange {
				raise(weak)
			}
		}
		stuck := was.stuck
		*was = tracked{Flow: f, baseUp: was.baseUp, baseDown: was.baseDown, stuck: stuck, current: true}
	}
	for id, f := range t.flows {
		if !f.current {
			delete(t.flows, id)
		}
	}
	t.started = true

	// Conditions over all flows.
	if lost && !tcp {
		raise(strong)
	}
	if down >= flowing {
		t.flowed, t.still = true, 0
	} else if t.flowed && down == 0 {
		if t.still++; t.still >= maxStuckSamples {
			t.flowed, t.still = false, 0
			raise(weak)
		}
	}
	if len(sends) >= several {
		why = noCause
	}
	if answered {
		t.asked, t.unanswered = 0, 0
	}
	if t.asked += asked; t.asked >= maxUnansweredNames {
		if t.unanswered++; t.unanswered > maxStuckSamples {
			t.asked, t.unanswered = 0, 0
			raise(strong)
		}
	}
	if mute && !named {
		raise(strong)
	}
	t.open = lost || waits || t.flowed || t.asked >= maxUnansweredNames
	if proof = len(t.far) >= several; proof {
		t.window(now)
	}
	return proof, why
}

// window starts a new window.
func (t *tracker) window(now time.Time) {
	if t.flows == nil {
		t.flows = map[uint64]*tracked{}
	}
	t.began, t.far = now, map[uint64]bool{}
	for _, f := range t.flows {
		f.baseUp, f.baseDown = f.Up, f.Down
	}
}

// watchTraffic samples the traffic of lines in use until ctx ends.
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
			addr, index, round := u.line.Address.Addr(), u.line.Index, u.generation
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
			if u.generation == round {
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
		if u.line.InUse && u.line.Works && u.line.Address.IsValid() {
			all = append(all, u)
		} else {
			u.tracks = tracker{}
		}
	}
	return all
}

// traffic updates the health from a sample.
func (u *probed) traffic(now time.Time, flows []Flow) {
	proof, why := u.tracks.sample(now, flows)
	if proof {
		u.health.Traffic = Proof{now, fmt.Sprintf("exchanges with %d remote addresses", several)}
		u.checkedAt = now
	}
	if why > u.cause {
		u.cause = why
		u.wake()
	}
}

// The first and last state of a TCP connection that is over: LAST_ACK to CLOSE (enum tcp_conntrack of
// include/uapi/linux/netfilter/nf_conntrack_tcp.h).
const (
	tcpLastAck = 6
	tcpClose   = 8
)

var seed = maphash.MakeSeed()

// Flows lists the masqueraded connections through the line with that address, and those of the box's own name servers.
func (r *Reader) Flows(line netip.Addr) (flows []Flow, err error) {
	q := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP)
	q.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: r.netfilter}
	q.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_INET})
	bodies, err := nlmsg.RetryInterruptedDump(func() ([][]byte, error) { return q.Execute(unix.NETLINK_NETFILTER, 0) })
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

// Sent returns the number of packets that an interface has sent.
func (r *Reader) Sent(index int) (uint64, error) {
	link, err := r.h.LinkByIndex(index)
	if err != nil {
		return 0, fmt.Errorf("interface %d: %w", index, err)
	}
	return sentPackets(link.Attrs())
}

// sentPackets returns an error without statistics: a count of 0 would look like an idle interface.
func sentPackets(link *netlink.LinkAttrs) (uint64, error) {
	if link.Statistics == nil {
		return 0, fmt.Errorf("the kernel sends no statistics of %s", link.Name)
	}
	return link.Statistics.TxPackets, nil
}

// readFlow parses a tracked connection. It returns false if the connection does not use the line.
func readFlow(body []byte, line netip.Addr) (f Flow, ok bool) {
	const header = 4 // struct nfgenmsg
	if len(body) < header {
		return f, false
	}
	var orig, reply nlmsg.Tuple
	var mark uint32
	for kind, value := range nlmsg.Attributes(body[header:]) {
		switch kind {
		case nl.CTA_TUPLE_ORIG:
			orig = nlmsg.ReadTuple(value)
		case nl.CTA_TUPLE_REPLY:
			reply = nlmsg.ReadTuple(value)
		case nl.CTA_MARK:
			if len(value) == 4 {
				mark = binary.BigEndian.Uint32(value)
			}
		case nl.CTA_COUNTERS_ORIG:
			f.Up, f.UpPackets = readCounters(value)
		case nl.CTA_COUNTERS_REPLY:
			f.Down, f.DownPackets = readCounters(value)
		case nl.CTA_PROTOINFO:
			for kind, value := range nlmsg.Attributes(value) {
				if kind != nl.CTA_PROTOINFO_TCP {
					continue
				}
				for kind, value := range nlmsg.Attributes(value) {
					if kind == nl.CTA_PROTOINFO_TCP_STATE && len(value) == 1 {
						f.Ended = value[0] >= tcpLastAck && value[0] <= tcpClose
					}
				}
			}
		}
	}
	f.TCP, f.Port = orig.Proto == unix.IPPROTO_TCP, orig.Dst.Port()
	f.ID, f.Far = maphash.Comparable(seed, orig), maphash.Comparable(seed, orig.Dst.Addr())
	f.Names = mark&netctl.MarkMask == netctl.MarkUpstreamDNS && orig.Src.Addr() == line
	// A masqueraded connection's replies go to the line's address, which is not its original source.
	masqueraded := reply.Dst.Addr() == line && orig.Src.Addr() != line && (f.TCP || orig.Proto == unix.IPPROTO_UDP)
	return f, f.Names || masqueraded
}

func readCounters(data []byte) (bytes, packets uint64) {
	for kind, b := range nlmsg.Attributes(data) {
		if len(b) != 8 {
			continue
		}
		switch kind {
		case nl.CTA_COUNTERS_BYTES:
			bytes = binary.BigEndian.Uint64(b)
		case nl.CTA_COUNTERS_PACKETS:
			packets = binary.BigEndian.Uint64(b)
		}
	}
	return bytes, packets
}
