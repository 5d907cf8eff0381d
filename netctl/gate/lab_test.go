package gate_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/decide"
	"passerelle/appliance/plan"
	"passerelle/appliance/state"
	"passerelle/netctl"
	"passerelle/netctl/gate"
	"passerelle/netctl/gate/gatetest"
	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/labtest"
)

var boxAddress = netip.MustParsePrefix("10.80.0.1/22")

const (
	boxPage = "This is the box.\n"
)

// lab is the standard scene with a gate on its box, and residents with static addresses.
type lab struct {
	*netlab.Scene
	gate   netctl.Gate
	config config.Config
}

func newLab(t testing.TB, o netlab.Options) *lab {
	t.Helper()
	labtest.Root(t, "iptables", "iptables-restore", "ip6tables-restore")
	l := &lab{Scene: ok(netlab.Standard(t.Context(), o))(t)}
	labtest.Close(t, l.World)
	l.config = config.Config{
		Hotspot: config.Hotspot{Interface: netlab.HotspotInterface, Address: boxAddress},
	}
	for _, lender := range l.Lenders {
		l.config.Donations = append(l.config.Donations, config.Donation{Name: lender.Interface, Interface: lender.Interface})
	}
	for k, r := range l.Residents {
		must(t, r.SetUp("wlan0", true))
		must(t, r.AddAddress("wlan0", netip.PrefixFrom(address(k), boxAddress.Bits())))
		must(t, r.AddRoute(netip.MustParsePrefix("0.0.0.0/0"), boxAddress.Addr()))
	}
	must(t, l.Box.ServeHTTP(":80", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(boxPage)) })))
	l.gate = l.newGate(t)
	return l
}

// newGate creates another gate on the same kernel, as a daemon does after a crash, and binds residents' addresses.
func (l *lab) newGate(t testing.TB) netctl.Gate {
	t.Helper()
	g := ok(gatetest.Inside(l.Box, func() (netctl.Gate, error) { return gate.New(t.Context(), time.Now) }))(t)
	ok(g.Bind(l.bindings()))(t)
	return g
}

// bindings returns those of all residents.
func (l *lab) bindings() (all []netctl.Binding) {
	for k, r := range l.Residents {
		all = append(all, netctl.Binding{Addr: address(k), MAC: netctl.MAC(r.MAC), Left: time.Hour})
	}
	return all
}

// address returns the k-th resident's address.
func address(k int) netip.Addr { return gatetest.ResidentAddr(k) }

// sharing compiles the plan that shares the k-th lender's connection.
func (l *lab) sharing(k int) netctl.Plan {
	return l.using(decide.Decision{State: state.Sharing, Internet: decide.AllInternet, Names: true, Donation: k})
}

// named compiles the plan of a pause in which DNS uses the k-th lender's connection.
func (l *lab) named(k int) netctl.Plan {
	return l.using(decide.Decision{State: state.Paused, Internet: decide.NoInternet, Names: true, Donation: k})
}

// using compiles the plan for a decision.
func (l *lab) using(d decide.Decision) netctl.Plan {
	lender := l.Lenders[d.Donation]
	return plan.Compile(plan.Input{
		NamesUser: "65533",
		Config:    &l.config,
		Decision:  d,
		Gateway:   lender.Gateway,
		Networks:  []netip.Prefix{lender.Box.Masked()},
		LANs:      l.lans(),
	})
}

// lans returns the lenders' own networks.
func (l *lab) lans() (all []plan.LAN) {
	for _, lender := range l.Lenders {
		all = append(all, plan.LAN{Interface: lender.Interface, Networks: []netip.Prefix{lender.Box.Masked()}})
	}
	return all
}

// paused compiles the plan that shares nothing.
func (l *lab) paused() netctl.Plan {
	return plan.Compile(plan.Input{
		NamesUser: "65533",
		Config:    &l.config,
		Decision:  decide.Decision{State: state.Paused, Internet: decide.NoInternet, Donation: -1},
		LANs:      l.lans(),
	})
}

// apply applies the plan and returns the changes.
func (l *lab) apply(t testing.TB, p netctl.Plan) []string {
	t.Helper()
	return ok(l.gate.Apply(t.Context(), p))(t)
}

// share applies the plan for the first lender's connection and grants a tranche without a limit.
func (l *lab) share(t testing.TB) {
	t.Helper()
	p := l.sharing(0)
	l.apply(t, p)
	must(t, l.gate.Grant(t.Context(), netctl.Tranche{Chain: p.Cap, Bytes: netctl.Unlimited}))
}

// session returns a session for the k-th resident.
func (l *lab) session(k int) netctl.Session {
	return netctl.Session{Addr: address(k), MAC: netctl.MAC(l.Residents[k].MAC), Left: time.Hour, Data: netctl.Unlimited}
}

func (l *lab) authorize(t testing.TB, k int) {
	t.Helper()
	must(t, l.gate.Authorize(l.session(k)))
}

// get fetches a page and returns its body or the error.
func get(t testing.TB, h *netlab.Host, url string, limit time.Duration) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	page, err := h.Get(ctx, url)
	return page.Body, err
}

func ok[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const (
	soon  = 3 * time.Second        // for what must happen
	never = 300 * time.Millisecond // for what must not: a round trip takes less than 1 ms here
)

// dial connects from a host, closes the connection and returns the error.
func dial(t testing.TB, h *netlab.Host, network, address string, limit time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	conn, err := h.Dial(ctx, network, address)
	if err == nil {
		conn.Close()
	}
	return err
}

// conn is a TCP connection between a resident and the internet.
type conn struct{ client, server net.Conn }

// connect opens a connection from the k-th resident.
func (l *lab) connect(t testing.TB, k int) conn {
	t.Helper()
	listener := ok(l.Internet.Listen("tcp", netip.AddrPortFrom(netlab.WebAddr, 0).String()))(t)
	defer listener.Close()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	var c conn
	c.client = ok(l.Residents[k].Dial(ctx, "tcp", listener.Addr().String()))(t)
	t.Cleanup(func() { c.client.Close() })
	c.server = ok(listener.Accept())(t)
	t.Cleanup(func() { c.server.Close() })
	return c
}

// passes sends a word from one end of a connection, and tells whether it arrives at the other end.
func passes(from, to net.Conn, limit time.Duration) bool {
	if _, err := from.Write([]byte("word")); err != nil {
		return false
	}
	to.SetReadDeadline(time.Now().Add(limit))
	_, err := io.ReadFull(to, make([]byte, 4))
	return err == nil
}

// works tells whether a connection works in both directions.
func (c conn) works() bool {
	return passes(c.client, c.server, soon) && passes(c.server, c.client, soon)
}

// reset writes to an end of a connection until that returns an error, such as a reset.
func reset(t testing.TB, end net.Conn) error {
	t.Helper()
	deadline := time.Now().Add(soon)
	for time.Now().Before(deadline) {
		if _, err := end.Write([]byte("word")); err != nil {
			return err
		}
		end.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if _, err := end.Read(make([]byte, 100)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
	return errors.New("nothing happened")
}

// mailbox is a UDP server on a host that records the datagrams.
type mailbox struct {
	address netip.AddrPort
	came    chan string
}

func newMailbox(t testing.TB, h *netlab.Host, addr netip.Addr) mailbox {
	t.Helper()
	socket := ok(h.ListenPacket("udp", netip.AddrPortFrom(addr, 0).String()))(t)
	m := mailbox{address: socket.LocalAddr().(*net.UDPAddr).AddrPort(), came: make(chan string, 10_000)}
	go func() {
		buf := make([]byte, 2000)
		for {
			n, _, err := socket.ReadFrom(buf)
			if err != nil {
				return
			}
			m.came <- string(buf[:n])
		}
	}()
	return m
}

// post sends one datagram to the mailbox.
func (m mailbox) post(t testing.TB, from *netlab.Host, text string) {
	t.Helper()
	c := ok(from.Dial(t.Context(), "udp", m.address.String()))(t)
	defer c.Close()
	c.Write([]byte(text)) // the mailbox shows whether it arrives
}

// got tells whether a datagram with that text arrives.
func (m mailbox) got(text string, limit time.Duration) bool {
	timeout := time.After(limit)
	for {
		select {
		case s := <-m.came:
			if s == text {
				return true
			}
		case <-timeout:
			return false
		}
	}
}

// flood sends packets of 1000 bytes from a resident to the internet, each after the previous one has arrived, until one does not
// arrive, and returns how many arrived. Then it sends some more, none of which may arrive.
func (l *lab) flood(t testing.TB, k int, packets int) (arrived int) {
	t.Helper()
	m := newMailbox(t, l.Internet.Host, netlab.WebAddr)
	c := ok(l.Residents[k].Dial(t.Context(), "udp", m.address.String()))(t)
	defer c.Close()
	text := strings.Repeat("x", 1000-28) // and the headers of IP and UDP
	for range packets {
		c.Write([]byte(text)) // an ICMP error for an earlier one does not matter
		if !m.got(text, time.Second) {
			break
		}
		arrived++
	}
	if arrived < packets {
		for range 20 {
			c.Write([]byte(text))
		}
		if m.got(text, never) {
			t.Errorf("after %d packets one was refused, but a later one passed", arrived)
		}
	}
	return arrived
}

// sh runs a shell script on the box.
func (l *lab) sh(t testing.TB, script string) string {
	t.Helper()
	return ok(l.Box.Run(t.Context(), "sh", "-ec", script))(t)
}
