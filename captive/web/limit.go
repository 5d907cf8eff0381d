package web

import (
	"net"
	"net/netip"
	"slices"
	"sync"
)

// Bounds of Limit. A browser opens six connections to a site, and a phone's apps try a dozen more. 1024 connections cost the box at
// most some 15 MB.
const (
	connsPerClient = 32
	connsInAll     = 1024
)

// Limit returns l with a bound on the connections of each client address and of all together, so that no resident keeps the others
// from the pages. A connection over its client's bound is reset at once. When all connections are in use, the client with the most
// connections loses its oldest one; if the new connection's client would then have the most, the new connection is reset instead.
// Requests are served in slots.
func Limit(l net.Listener, slots *Slots) net.Listener {
	return limit(l, slots, connsPerClient, connsInAll)
}

func limit(l net.Listener, slots *Slots, perClient, inAll int) *limiter {
	return &limiter{
		Listener: l, slots: slots, perClient: perClient, inAll: inAll, clients: make(map[netip.Addr][]*limited),
	}
}

type limiter struct {
	net.Listener
	slots            *Slots
	perClient, inAll int

	mu      sync.Mutex
	clients map[netip.Addr][]*limited // each client's connections, the oldest first
	open    int                       // the number of all connections
	serial  uint64                    // of the newest connection
}

// limited is a connection that counts towards the bounds.
type limited struct {
	net.Conn
	from   *limiter
	work   *Work
	client netip.Addr
	serial uint64 // rises with each connection
}

// Accept returns the next connection within the bounds.
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

// enter counts a new connection. It returns the connection if it may stay, and the connection that must be reset, if any: an older
// one, or the new one itself.
func (l *limiter) enter(conn net.Conn) (in *limited, out net.Conn) {
	var client netip.Addr // all addresses that are not IP count as one client
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

// heaviest returns the oldest connection of the client with the most connections; of several such clients, the oldest of all of theirs.
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

// remove stops counting c. It is idempotent.
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

// Work returns the connection's part in Slots: see worker.
func (c *limited) Work() *Work { return c.work }

// reset closes a connection with RST: nothing of it lingers in the kernel, and the peer notices at once.
func reset(c net.Conn) {
	if tcp, ok := c.(interface{ SetLinger(sec int) error }); ok {
		tcp.SetLinger(0) // fails only on a closed connection
	}
	c.Close()
}
