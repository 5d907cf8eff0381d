package captive

import (
	"net"
	"net/netip"
	"slices"
	"sync"

	"passerelle/captive/web"
)

// Bounds of Limit. A browser opens six connections to a site and a phone's apps try a dozen more; 1024 of them cost the
// box some 15 MB at the worst.
const (
	connsPerClient = 32
	connsInAll     = 1024
)

// Limit returns l with a bound on the connections of each client address and of all together, so that no resident keeps
// the others from the page. Who is over its own bound is reset at once. When the box is full, whoever holds the most
// gives up its oldest connection, unless that would be the newcomer, who is then reset. What comes in is worked on in
// slots.
func Limit(l net.Listener, slots *web.Slots) net.Listener {
	return limit(l, slots, connsPerClient, connsInAll)
}

func limit(l net.Listener, slots *web.Slots, perClient, inAll int) *limiter {
	return &limiter{
		Listener: l, slots: slots, perClient: perClient, inAll: inAll, clients: make(map[netip.Addr][]*limited),
	}
}

type limiter struct {
	net.Listener
	slots            *web.Slots
	perClient, inAll int

	mu      sync.Mutex
	clients map[netip.Addr][]*limited // each client's connections, the oldest first
	open    int                       // all of them
	serial  uint64                    // of the newest
}

// limited is a connection that counts.
type limited struct {
	net.Conn
	from   *limiter
	work   *web.Work
	client netip.Addr
	serial uint64 // rises with each connection
}

// Accept returns the next connection that is within the bounds.
func (l *limiter) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c, out := l.enter(conn)
		if out != nil {
			reset(out)
		}
		if c != nil {
			return c, nil
		}
	}
}

// enter counts a new connection. It returns it if it may stay, and the connection that must go for it, if one must:
// that may be the new one itself.
func (l *limiter) enter(conn net.Conn) (in *limited, out net.Conn) {
	var client netip.Addr // an address that is no IP's counts as one client
	if from, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil {
		client = from.Addr().Unmap()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	held := len(l.clients[client])
	if held >= l.perClient {
		return nil, conn
	}
	if l.open >= l.inAll {
		victim := l.heaviest()
		if held+1 > len(l.clients[victim.client]) {
			return nil, conn
		}
		l.remove(victim)
		out = victim.Conn
	}
	l.serial++
	in = &limited{Conn: conn, from: l, work: l.slots.Work(client), client: client, serial: l.serial}
	l.clients[client] = append(l.clients[client], in)
	l.open++
	return in, out
}

// heaviest returns the oldest connection of the client that has the most; among several such, the oldest of all.
func (l *limiter) heaviest() *limited {
	var most *limited
	count := 0
	for _, conns := range l.clients {
		if len(conns) > count || len(conns) == count && conns[0].serial < most.serial {
			most, count = conns[0], len(conns)
		}
	}
	return most
}

// remove stops counting c, once.
func (l *limiter) remove(c *limited) {
	conns := l.clients[c.client]
	i := slices.Index(conns, c)
	if i < 0 {
		return
	}
	l.open--
	if len(conns) == 1 {
		delete(l.clients, c.client)
		return
	}
	l.clients[c.client] = slices.Delete(conns, i, i+1)
}

// Close closes the connection and makes room for another.
func (c *limited) Close() error {
	c.from.mu.Lock()
	c.from.remove(c)
	c.from.mu.Unlock()
	c.work.Yield()
	return c.Conn.Close()
}

func (c *limited) Read(b []byte) (int, error)  { return c.work.Read(c.Conn, b) }
func (c *limited) Write(b []byte) (int, error) { return c.work.Write(c.Conn, b) }

// Work is for package web.
func (c *limited) Work() *web.Work { return c.work }

// reset closes a connection with RST: nothing of it lingers in the kernel, and the other side learns it at once.
func reset(c net.Conn) {
	if tcp, ok := c.(interface{ SetLinger(sec int) error }); ok {
		tcp.SetLinger(0) // fails only on a connection that is gone
	}
	c.Close()
}
