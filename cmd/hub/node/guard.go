package node

import (
	"context"
	"maps"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"

	"passerelle/appliance/fleet/protocol"
	"passerelle/cmd/hub/authority"
)

// Each connection has a token bucket of messages and one of bytes. A stored message takes a hub some milliseconds of disk time, so one box
// that sends all the time would make all others wait. The most that a well-behaved box sends is 60 days of 16 kB each, after it was away, and
// requests for 480 chunks a second, on a line of which its share is 250 Mbit/s.
const (
	glance      = 2 * time.Second
	burst       = 3000    // messages at once
	burstBytes  = 4 << 20 // bytes at once
	steady      = 500     // messages a second in the long run
	steadyBytes = 100_000 // bytes a second in the long run
	// banned is how long a box that floods stays out. It is not for ever, since the cause may be a fault in its program.
	banned = 10 * time.Minute
	// buffered is how many messages may wait to be stored. It bounds the backlog that a flood leaves after it is cut off.
	buffered      = 2000
	bufferedBytes = 32 << 20
)

// sent is how much a connection has sent, and how much of that is above its steady rate.
type sent struct {
	messages, bytes int64 // at the last glance
	over, overBytes int64
}

// add updates a connection's totals, and returns whether it floods. since is the time since the last glance.
func (s *sent) add(messages, bytes int64, since time.Duration) bool {
	s.over = max(0, s.over+messages-s.messages-int64(steady*since.Seconds()))
	s.overBytes = max(0, s.overBytes+bytes-s.bytes-int64(steadyBytes*since.Seconds()))
	s.messages, s.bytes = messages, bytes
	return s.over > burst || s.overBytes > burstBytes
}

// Guard cuts off boxes that flood, until ctx ends. Each stays out for banned.
func (n *Node) Guard(ctx context.Context) {
	all := map[uint64]*sent{} // by connection
	whole := &sent{}          // of all connections together, with the limits of one
	ticker := time.NewTicker(glance)
	defer ticker.Stop()
	for last, tick := time.Now(), time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Now()
		if err := n.readmit(now); err != nil {
			n.log.Warn("boxes whose ban is over stay out", "err", err)
		}
		messages, bytes, err := n.received()
		if err == nil {
			*whole = sent{messages: whole.messages, bytes: whole.bytes} // the excess of earlier glances does not add up here
			whole.add(messages, bytes, now.Sub(tick))
			if tick = now; whole.over == 0 && whole.overBytes == 0 {
				continue // nobody can be flooding, and to look at thousands of connections costs a hub more than all its other work
			}
			err = n.glance(all, now, now.Sub(last))
			last = now
		}
		if err != nil {
			n.log.Warn("who floods is not known", "err", err)
		}
	}
}

// received returns how much all boxes together have sent to this hub.
func (n *Node) received() (messages, bytes int64, err error) {
	sums, err := n.server.AccountStatz(&server.AccountStatzOptions{Accounts: []string{n.keys.Accounts[authority.Fleet]}})
	if err != nil {
		return 0, 0, err
	}
	for _, a := range sums.Accounts { // empty if no box is connected
		messages, bytes = a.Received.Msgs, a.Received.Bytes
	}
	return messages, bytes, nil
}

func (n *Node) glance(all map[uint64]*sent, now time.Time, since time.Duration) error {
	connections, err := n.server.Connz(&server.ConnzOptions{Username: true, Account: n.keys.Accounts[authority.Fleet], Limit: 1 << 20})
	if err != nil {
		return err
	}
	seen := map[uint64]bool{}
	change := false
	for _, c := range connections.Conns {
		seen[c.Cid] = true
		s := all[c.Cid]
		if s == nil {
			s = &sent{}
			all[c.Cid] = s
		}
		if !s.add(c.InMsgs, c.InBytes, since) {
			continue
		}
		claims, err := jwt.DecodeUserClaims(c.JWT)
		if err != nil || !claims.HasEmptyPermissions() {
			continue // the hub itself or one of its commands; a box's token has no permissions of its own, only its association's
		}
		n.log.Warn("a box floods, and is cut off", "box", protocol.BoxName(claims.Subject), "for", banned)
		n.mu.Lock()
		n.out[claims.Subject] = now.Add(banned)
		n.mu.Unlock()
		change = true
	}
	maps.DeleteFunc(all, func(id uint64, _ *sent) bool { return !seen[id] })
	if !change {
		return nil
	}
	return n.apply()
}

// readmit lets boxes connect again whose ban is over.
func (n *Node) readmit(now time.Time) error {
	n.mu.Lock()
	before := len(n.out)
	maps.DeleteFunc(n.out, func(_ string, until time.Time) bool { return !now.Before(until) })
	after := len(n.out)
	n.mu.Unlock()
	if after == before {
		return nil
	}
	return n.apply()
}

// apply tells the server which boxes may connect: the members, without those that are banned for a while.
func (n *Node) apply() error {
	n.changing.Lock()
	defer n.changing.Unlock()
	n.mu.Lock()
	m := n.members
	m.Revoked = maps.Clone(m.Revoked)
	if m.Revoked == nil {
		m.Revoked = map[string]time.Time{}
	}
	for key := range n.out {
		m.Revoked[key] = time.Time{}
	}
	n.mu.Unlock()
	return n.setMembers(m)
}
