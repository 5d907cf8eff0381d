package uplink

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/labtest"
)

// These tests ask the real kernel, in a world of two machines: the box, and a lender's router at the end of a cable. They
// run with -root.

const patience = 20 * time.Second

// lenderLine is the box's side of a cable to a router that may answer names.
type lenderLine struct {
	t      *testing.T
	box    *netlab.Host
	router *netlab.Host
	cable  *netlab.Cable
	r      *Reader
}

func layLine(t *testing.T) *lenderLine {
	t.Helper()
	labtest.Root(t)
	t.Parallel()
	w := labtest.World(t, "uplink")
	l := &lenderLine{t: t}
	var err error
	if l.box, err = w.AddHost("box"); err != nil {
		t.Fatal(err)
	}
	if l.router, err = w.AddHost("router"); err != nil {
		t.Fatal(err)
	}
	l.cable, err = w.Connect(
		netlab.End{Host: l.box, Interface: "eth0"}, netlab.End{Host: l.router, Interface: "lan"})
	if err != nil {
		t.Fatal(err)
	}
	ns, err := netns.GetFromPath(l.box.NamespacePath())
	if err != nil {
		t.Fatal(err)
	}
	l.r, err = OpenAt(ns, fstest.MapFS{"etc/resolv.conf": {Data: []byte("nameserver 192.168.1.1\n")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.r.Close()
		ns.Close()
	})
	l.configure()
	return l
}

// configure does what a DHCP client does, at both ends.
func (l *lenderLine) configure() {
	l.t.Helper()
	l.must(l.router.AddAddress("lan", netip.MustParsePrefix("192.168.1.1/24")))
	l.must(l.box.AddAddress("eth0", netip.MustParsePrefix("192.168.1.7/24")))
	l.must(l.box.AddRoute(netip.MustParsePrefix("0.0.0.0/0"), gateway))
}

func (l *lenderLine) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *lenderLine) read() Status {
	l.t.Helper()
	list, err := l.r.Read([]string{"eth0"})
	l.must(err)
	return list[0]
}

// why waits until Why is the one given.
func (l *lenderLine) why(want string) Status {
	l.t.Helper()
	var st Status
	eventually(l.t, "why: "+want, func() bool {
		st = l.read()
		return st.Why == want && st.Works == (want == "")
	})
	return st
}

func (l *lenderLine) link() netlink.Link {
	l.t.Helper()
	link, err := l.box.Netlink().LinkByName("eth0")
	l.must(err)
	return link
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain for %s", patience, what)
		}
	}
}

func TestReadFollowsTheKernel(t *testing.T) {
	l := layLine(t)
	first := l.why("")
	want := Status{
		Interface: "eth0", Index: first.Index, Present: true, Up: true, Carrier: true, MTU: 1500, Routed: true, Works: true,
		Address: netip.MustParsePrefix("192.168.1.7/24"), Gateway: gateway,
		Networks: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")}, DNS: []netip.Addr{gateway},
		RxBytes: first.RxBytes, TxBytes: first.TxBytes,
	}
	if diff := cmp.Diff(want, first, compareAddrs); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	l.must(l.cable.Cut())
	l.why("eth0 has no link")
	l.must(l.cable.Mend())
	l.why("")

	l.must(l.box.SetUp("eth0", false)) // takes the routes along
	l.why("eth0 is switched off")
	l.must(l.box.SetUp("eth0", true))
	l.why("eth0 has a link but no default route")
	l.configure()
	l.why("")

	addr := &netlink.Addr{IPNet: network("192.168.1.7/24")}
	l.must(l.box.Netlink().AddrDel(l.link(), addr))
	l.why("eth0 has a link but no address")

	l.must(l.cable.Unplug())
	l.why("eth0 does not exist")
	l.must(l.cable.Plug())
	l.configure()
	again := l.why("")
	if again.Index == first.Index || again.Index == 0 {
		t.Errorf("index %d after %d", again.Index, first.Index)
	}
}

func TestOnlyTheMainTableCounts(t *testing.T) {
	l := layLine(t)
	h := l.box.Netlink()
	anywhere := network("0.0.0.0/0")
	l.must(h.RouteDel(&netlink.Route{Dst: anywhere, Gw: gateway.AsSlice()}))
	l.must(h.RouteAdd(&netlink.Route{Dst: anywhere, Gw: gateway.AsSlice(), Table: 100}))
	l.why("eth0 has a link but no default route")
	l.must(h.RouteAdd(&netlink.Route{Dst: anywhere, LinkIndex: l.link().Attrs().Index, Scope: netlink.SCOPE_LINK}))
	if st := l.why(""); st.Gateway.IsValid() {
		t.Errorf("gateway %v of a route that has none", st.Gateway)
	}
}

func TestCountersAndNetworks(t *testing.T) {
	l := layLine(t)
	before := l.read()
	conn, err := l.box.Dial(t.Context(), "udp", "192.168.1.1:9")
	l.must(err)
	defer conn.Close()
	_, err = conn.Write(make([]byte, 1000))
	l.must(err)
	eventually(t, "the counter", func() bool { return l.read().TxBytes >= before.TxBytes+1000 })

	l.must(l.box.AddAddress("lo", netip.MustParsePrefix("198.51.100.1/32")))
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: "hot", TxQLen: -1})
	veth.PeerName = "hotpeer"
	l.must(l.box.Netlink().LinkAdd(veth))
	l.must(l.box.AddAddress("hot", netip.MustParsePrefix("10.80.0.1/22")))
	for except, want := range map[string][]netip.Prefix{
		"hot":  {netip.MustParsePrefix("192.168.1.0/24")},
		"eth0": {netip.MustParsePrefix("10.80.0.0/22")},
		"":     {netip.MustParsePrefix("10.80.0.0/22"), netip.MustParsePrefix("192.168.1.0/24")},
	} {
		got, err := l.r.Networks(except)
		l.must(err)
		if diff := cmp.Diff(want, got, compareAddrs); diff != "" {
			t.Errorf("except %q (-want +got):\n%s", except, diff)
		}
	}
}

// changes collects what Watch tells.
type changes struct {
	mu    sync.Mutex
	seen  Change
	calls int
	hold  chan struct{} // while it is open, the watcher is held up
}

func (c *changes) wake(change Change) {
	c.mu.Lock()
	c.seen |= change
	c.calls++
	hold := c.hold
	c.mu.Unlock()
	if hold != nil {
		<-hold
	}
}

// take returns what was told since the last call.
func (c *changes) take() Change {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := c.seen
	c.seen = 0
	return seen
}

func (l *lenderLine) watch(own ...uint32) *changes {
	l.t.Helper()
	c := &changes{}
	ctx, cancel := context.WithCancel(l.t.Context())
	done := make(chan error, 1)
	go func() { done <- l.r.Watch(ctx, c.wake, own...) }()
	l.t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				l.t.Errorf("Watch: %v", err)
			}
		case <-time.After(patience):
			l.t.Error("Watch doesn't end")
		}
	})
	var all Change
	eventually(l.t, "the first wake", func() bool {
		all |= c.take()
		return all == Everything
	})
	return c
}

func TestWatchTellsWhatChanged(t *testing.T) {
	labtest.Root(t, "iptables")
	l := layLine(t)
	c := l.watch()
	h := l.box.Netlink()
	eth0 := l.link()
	rule := netlink.NewRule()
	rule.Priority, rule.Table, rule.IifName = 1000, 100, "eth0"
	qdisc := netlink.NewHtb(netlink.QdiscAttrs{
		LinkIndex: eth0.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT,
	})
	for _, step := range []struct {
		name string
		do   func() error
		want Change
	}{
		{"address", func() error { return l.box.AddAddress("eth0", netip.MustParsePrefix("192.168.2.7/24")) }, Links},
		{"link", l.cable.Cut, Links},
		{"mend", l.cable.Mend, Links},
		{"route", func() error { return l.box.AddRoute(netip.MustParsePrefix("10.9.0.0/16"), gateway) }, Routes},
		{"rule", func() error { return h.RuleAdd(rule) }, Rules},
		{"qdisc", func() error { return h.QdiscAdd(qdisc) }, Shaping},
		{"class", func() error {
			return h.ClassAdd(netlink.NewHtbClass(netlink.ClassAttrs{
				LinkIndex: eth0.Attrs().Index, Parent: netlink.MakeHandle(1, 0), Handle: netlink.MakeHandle(1, 5),
			}, netlink.HtbClassAttrs{Rate: 1_000_000}))
		}, Shaping},
		{"firewall", func() error {
			return l.box.Do(func() error {
				return exec.Command("iptables", "-w", "-A", "FORWARD", "-j", "DROP").Run()
			})
		}, Firewall},
		{"flush", func() error {
			return l.box.Do(func() error { return exec.Command("iptables", "-w", "-F").Run() })
		}, Firewall},
	} {
		l.must(step.do())
		var seen Change
		eventually(t, step.name, func() bool {
			seen |= c.take()
			return seen&step.want == step.want
		})
	}
}

// What is done through a port of the watcher's own is not told; what others do then is.
func TestWatchLeavesOutItsOwn(t *testing.T) {
	l := layLine(t)
	var socket *nl.NetlinkSocket
	l.must(l.box.Do(func() (err error) {
		socket, err = nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_ROUTE)
		return err
	}))
	defer socket.Close()
	port, err := socket.GetPid()
	l.must(err)
	put := func(sockets map[int]*nl.SocketHandle, link netlink.Link) error {
		q := nl.NewNetlinkRequest(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK)
		q.Sockets = sockets
		q.AddData(&nl.TcMsg{Ifindex: int32(link.Attrs().Index), Parent: netlink.HANDLE_ROOT})
		q.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("pfifo")))
		_, err := q.Execute(unix.NETLINK_ROUTE, 0)
		return err
	}
	own, eth0 := map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: socket}}, l.link()
	c := l.watch(1, port, 2)
	l.must(put(own, eth0))
	rule := netlink.NewRule()
	rule.Priority, rule.Table = 1000, 100
	l.must(l.box.Netlink().RuleAdd(rule))
	var seen Change
	eventually(t, "another's change", func() bool {
		seen |= c.take()
		return seen&Rules != 0
	})
	if seen&Shaping != 0 {
		t.Errorf("told is %v, which includes a change of the watcher's own", seen)
	}
	l.must(l.box.Do(func() error { return put(nil, eth0) }))
	eventually(t, "the same by another", func() bool { return c.take()&Shaping != 0 })
}

// A flood that the socket has no room for is told as everything of its kind, and afterwards the watch goes on.
func TestWatchSurvivesLostMessages(t *testing.T) {
	l := layLine(t)
	c := l.watch()
	hold := make(chan struct{})
	c.mu.Lock()
	c.hold = hold
	before := c.calls
	c.mu.Unlock()
	release := sync.OnceFunc(func() { close(hold) })
	defer release()
	// The watcher takes the first message and is held up; the rest must overflow the socket (212,992 bytes by default).
	for i := range 3000 {
		via := netip.AddrFrom4([4]byte{192, 168, 1, byte(1 + i%2)}) // the kernel doesn't tell of a route put in its own place
		l.must(l.box.AddRoute(netip.MustParsePrefix("10.9.0.0/16"), via))
	}
	eventually(t, "the first message", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.calls > before
	})
	c.mu.Lock()
	c.hold = nil
	c.mu.Unlock()
	release()
	var seen Change
	eventually(t, "a wake for what was lost", func() bool {
		seen |= c.take()
		return seen&(Links|Routes|Rules|Shaping) == Links|Routes|Rules|Shaping
	})
	rule := netlink.NewRule()
	rule.Priority, rule.Table = 1000, 100
	seen = 0
	l.must(l.box.Netlink().RuleAdd(rule))
	eventually(t, "the next change", func() bool {
		seen |= c.take()
		return seen&Rules != 0
	})
}

// serveNames has the router answer every query as the caller says.
func (l *lenderLine) serveNames(code uint16) (stop func()) {
	l.t.Helper()
	conn, err := l.router.ListenPacket("udp", "192.168.1.1:53")
	l.must(err)
	served := make(chan struct{})
	go func() {
		defer close(served)
		for buffer := make([]byte, 512); ; {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			conn.WriteTo(respond(buffer[:n], code), from)
		}
	}()
	stop = sync.OnceFunc(func() {
		conn.Close()
		<-served
	})
	l.t.Cleanup(stop)
	return stop
}

func (l *lenderLine) probe(pages ...Page) *Prober {
	l.t.Helper()
	p := NewProber(ProberOptions{
		Log:   slog.New(slog.DiscardHandler),
		Pages: append([]Page{}, pages...),
		Dial: func(ctx context.Context, network, name string, to netip.AddrPort) (conn net.Conn, err error) {
			err = l.box.Do(func() error {
				conn, err = DialDevice(ctx, network, name, to)
				return err
			})
			return conn, err
		},
	})
	ctx, cancel := context.WithCancel(l.t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	l.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Errorf("Run: %v", err)
		}
	})
	return p
}

func TestProberOnARealLine(t *testing.T) {
	l := layLine(t)
	stop := l.serveNames(0)
	p := l.probe()
	await := func(want string) {
		t.Helper()
		eventually(t, want, func() bool {
			p.Kick("eth0") // the limit of one try a second holds all the same
			works, known, why := p.Result("eth0")
			return known && works == (want == "") && why == want
		})
	}
	p.Set([]Status{l.read()})
	await("")
	if sent, received := p.Spent("eth0"); sent == 0 || sent%45 != 0 || received == 0 || received > sent {
		t.Errorf("spent %d and %d bytes on queries of 45 with echoes for answers", sent, received)
	}

	// The gateway is there, but nobody answers names.
	stop()
	await("eth0's gateway does not answer names")
	stop = l.serveNames(0)
	await("")

	// It answers, but says itself that it reaches nobody.
	stop()
	l.serveNames(dnsServFail)
	await("eth0's resolvers answer, but reach nothing beyond")
}

// A query leaves by its own uplink even where another one's default route is better, and by none if its own has gone.
func TestQueriesStayOnTheirUplink(t *testing.T) {
	l := layLine(t)
	l.serveNames(0)
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: "eth1", TxQLen: -1})
	veth.PeerName = "eth1peer"
	l.must(l.box.Netlink().LinkAdd(veth))
	l.must(l.box.SetUp("eth1", true))
	l.must(l.box.SetUp("eth1peer", true))
	l.must(l.box.AddAddress("eth1", netip.MustParsePrefix("192.168.2.7/24")))
	h := l.box.Netlink()
	anywhere := network("0.0.0.0/0")
	l.must(h.RouteReplace(&netlink.Route{Dst: anywhere, Gw: net.IPv4(192, 168, 2, 1), Priority: 0}))
	l.must(h.RouteAdd(&netlink.Route{Dst: anywhere, Gw: gateway.AsSlice(), Priority: 500}))
	// The resolver is one beyond the gateway, so that the default route decides.
	l.must(l.router.AddAddress("lo", netip.PrefixFrom(second, 32)))
	conn, err := l.router.ListenPacket("udp", second.String()+":53")
	l.must(err)
	served := make(chan struct{})
	go func() {
		defer close(served)
		buffer := make([]byte, 512)
		if n, from, err := conn.ReadFrom(buffer); err == nil {
			conn.WriteTo(respond(buffer[:n], 0), from)
		}
	}()
	defer func() {
		conn.Close()
		<-served
	}()
	p := l.probe()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if got := p.query(ctx, "eth0", second); got.verdict != answered {
		t.Errorf("through eth0: %+v", got)
	}
	before, err := h.LinkByName("eth0")
	l.must(err)
	if got := p.query(ctx, "nowhere", second); got != (reply{}) {
		t.Errorf("through an interface that doesn't exist: %+v", got)
	}
	if after := l.link(); after.Attrs().Statistics.TxPackets != before.Attrs().Statistics.TxPackets {
		t.Error("a query for another interface left by eth0")
	}
}

// TestLines: what somebody who sets the box up is shown, the machine's own way out first.
func TestLines(t *testing.T) {
	l := layLine(t)
	h := l.box.Netlink()
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0", TxQLen: -1}}
	l.must(h.LinkAdd(bridge))
	for _, name := range []string{"hot", "port"} {
		veth := netlink.NewVeth(netlink.LinkAttrs{Name: name, TxQLen: -1})
		veth.PeerName = name + "peer"
		l.must(h.LinkAdd(veth))
	}
	port, err := h.LinkByName("port")
	l.must(err)
	l.must(h.LinkSetMaster(port, bridge))
	l.must(l.box.AddAddress("hot", netip.MustParsePrefix("192.168.8.2/24")))
	l.must(l.box.SetUp("hot", true))
	l.must(l.box.SetUp("hotpeer", true))
	lines := func() (names []string, all map[string]Line) {
		list, err := l.r.Lines()
		l.must(err)
		all = map[string]Line{}
		for _, line := range list {
			names, all[line.Interface] = append(names, line.Interface), line
		}
		return names, all
	}
	names, all := lines()
	if names[0] != "eth0" || len(names) != 6 {
		t.Errorf("the interfaces are %q", names)
	}
	if x := all["eth0"]; !x.Works || !x.Wired || x.Port || x.Phone || len(x.DNS) != 1 {
		t.Errorf("eth0 is %+v", x)
	}
	if x := all["port"]; !x.Port || x.Works {
		t.Errorf("port is %+v", x)
	}
	if x := all["br0"]; x.Wired || x.Port {
		t.Errorf("br0 is %+v", x)
	}
	l.must(h.RouteDel(&netlink.Route{Dst: network("0.0.0.0/0"), Gw: gateway.AsSlice()}))
	l.must(h.RouteAdd(&netlink.Route{Dst: network("0.0.0.0/0"), Gw: gateway.AsSlice(), Priority: 600}))
	l.must(h.RouteAdd(&netlink.Route{Dst: network("0.0.0.0/0"), Gw: netip.MustParseAddr("192.168.8.1").AsSlice(), Priority: 100}))
	if names, _ = lines(); names[0] != "hot" || names[1] != "eth0" {
		t.Errorf("with a better way out by hot, the interfaces are %q", names)
	}
}
