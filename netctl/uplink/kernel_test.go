package uplink

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"passerelle/netctl/names"
	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/labtest"
)

// These tests use the real kernel and two machines: the box and a lender's router, connected by a cable. They run with -root.

// atMost bounds every wait.
const atMost = 20 * time.Second

// lenderLine is the box's side of a cable to a router that may answer DNS.
type lenderLine struct {
	t      *testing.T
	box    *netlab.Host
	router *netlab.Host
	cable  *netlab.Cable
	world  *netlab.World
	r      *Reader
}

func layLine(t *testing.T) *lenderLine {
	t.Helper()
	labtest.Root(t)
	t.Parallel()
	w := labtest.World(t, "uplink")
	l := &lenderLine{t: t, world: w}
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
	l.r, err = openAt(ns, fstest.MapFS{"etc/resolv.conf": {Data: []byte("nameserver 192.168.1.1\n")}})
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

// configure adds addresses and routes at both ends, as a DHCP client does.
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

// why waits until Why is want.
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
	for deadline := time.Now().Add(atMost); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", atMost, what)
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
	l.must(l.cable.Restore())
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

// changes collects the reports of Watch.
type changes struct {
	mu    sync.Mutex
	seen  Change
	calls int
	hold  chan struct{} // while it is open, the watcher blocks
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

// take returns the reports since the last call.
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
		case <-time.After(atMost):
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

func TestWatchReportsChanges(t *testing.T) {
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
		{"mend", l.cable.Restore, Links},
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

// Changes through the watcher's own ports are not reported; those of other programs are.
func TestWatchIgnoresOwnPorts(t *testing.T) {
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

// A flood that overflows the socket is reported as everything of its subscription, and the watch continues.
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
	// The watcher blocks at the first message; the rest must overflow the socket (212,992 bytes by default).
	for i := range 3000 {
		via := netip.AddrFrom4([4]byte{192, 168, 1, byte(1 + i%2)}) // an unchanged route would not be notified
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

// street makes the router the internet: its name server has the zones and the pages' hosts, and it serves the pages.
func (l *lenderLine) street() (known *netlab.Names, pages *router) {
	l.t.Helper()
	known = netlab.NewNames()
	for _, z := range testZones {
		known.Set("*."+z.Name, z.In.Addr())
	}
	for _, page := range testPages {
		known.Set(page.Host, webAddr)
	}
	pages = &router{}
	l.must(l.router.AddAddress("lo", netip.PrefixFrom(webAddr, 32)))
	l.must(l.router.ServePackets(netip.AddrPortFrom(gateway, 53), func(question []byte) []byte {
		if pages.code.Load() < 0 {
			return nil
		}
		reply := known.Reply(question)
		if code := pages.code.Load(); code > 0 && reply != nil {
			var m dnsmessage.Message
			if m.Unpack(reply) != nil {
				return nil
			}
			m.Answers, m.RCode = nil, dnsmessage.RCode(code)
			reply, _ = m.Pack()
		}
		return reply
	}))
	l.must(l.router.ServeHTTP(webAddr.String()+":80", pages))
	l.must(l.router.ServeHTTP(gateway.String()+":80", http.RedirectHandler("http://login.example/", http.StatusFound)))
	return known, pages
}

// router is the behaviour of a lender's router.
type router struct {
	code  atomic.Int32 // RCODE of the answer to every query; 0: the normal answer; negative: no answer
	asked atomic.Int32 // requests for pages
}

func (r *router) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.asked.Add(1)
	for _, page := range testPages {
		if q.Host == page.Host && q.URL.Path == page.Path {
			fmt.Fprintln(w, page.Text)
			return
		}
	}
	http.NotFound(w, q)
}

func (l *lenderLine) probe() *Prober {
	l.t.Helper()
	p := NewProber(ProberOptions{
		Log:   slog.New(slog.DiscardHandler),
		Pages: testPages,
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

// health waits for a health of the line.
func (l *lenderLine) health(p *Prober, want string) Health {
	l.t.Helper()
	eventually(l.t, want, func() bool {
		p.ProbeNow("eth0") // the limit of one probe a second still holds
		return said(p.Health("eth0")) == want
	})
	return p.Health("eth0")
}

func (l *lenderLine) line() Candidate { return Candidate{Status: l.read()} }

func TestProberOnARealLine(t *testing.T) {
	l := layLine(t)
	_, beyond := l.street()
	p := l.probe()
	p.Set([]Candidate{l.line()}, testZones)
	h := l.health(p, "works")
	if !strings.HasPrefix(h.Names.What, "a name of one.example, from 192.168.1.1, in ") || h.Page.What != "the page of page-a.example" {
		t.Errorf("the line is proved by %q and %q", h.Names.What, h.Page.What)
	}
	for code, want := range map[int32]string{
		-1: "eth0's gateway does not answer names",
		5:  "eth0 gives no names: 192.168.1.1 refuses every name",
	} {
		beyond.code.Store(code)
		l.health(p, want)
		beyond.code.Store(0)
		l.health(p, "works")
	}
}

// A captive portal: it answers every name with its own address, and every page with its own.
func TestPortalOnARealLine(t *testing.T) {
	l := layLine(t)
	known, beyond := l.street()
	resolve := func(to netip.Addr) {
		for _, page := range testPages {
			known.Set(page.Host, to)
		}
	}
	resolve(gateway)
	p := l.probe()
	p.Set([]Candidate{l.line()}, testZones)
	l.health(p, "the network behind eth0 asks for a sign-in first")
	if n := known.Queries(testPages[1].Host); n == 0 {
		t.Error("one page was enough to call a line shut")
	}
	beforeTx, beforeRx := p.ProbeTraffic("eth0")
	resolve(webAddr)
	l.health(p, "works")
	if beyond.asked.Load() == 0 {
		t.Error("the page was not asked for")
	}
	// The count equals the bytes on the cable, apart from link headers and the close of connections.
	tx, rx := p.ProbeTraffic("eth0")
	if sent, received := tx-beforeTx, rx-beforeRx; sent < 400 || sent > 4000 || received < 400 || received > 4000 {
		t.Errorf("some questions and a page took %d bytes out and %d back", sent, received)
	}
	st := l.read()
	if tx > st.TxBytes || rx > st.RxBytes {
		t.Errorf("counted are %d and %d bytes, but only %d and %d crossed the cable", tx, rx, st.TxBytes, st.RxBytes)
	}
}

// A query leaves by its own uplink even if another default route has a better metric. If its own default route is gone, it
// does not leave at all.
func TestQueriesStayOnTheirUplink(t *testing.T) {
	l := layLine(t)
	known, _ := l.street()
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
	// The server is one beyond the gateway, so that the default route decides.
	l.must(l.router.AddAddress("lo", netip.PrefixFrom(second, 32)))
	l.must(l.router.ServePackets(netip.AddrPortFrom(second, 53), known.Reply))
	p := l.probe()
	ctx, cancel := context.WithTimeout(t.Context(), atMost)
	defer cancel()
	name := names.Label() + "." + testZones[0].Name
	if got := p.query(ctx, "eth0", second, name); testZones[0].judge(got) != good {
		t.Errorf("through eth0: %+v", got)
	}
	before := l.read()
	if got := p.query(ctx, "nowhere", second, name); got != (reply{}) {
		t.Errorf("through an interface that doesn't exist: %+v", got)
	}
	if after := l.read(); after.TxBytes != before.TxBytes {
		t.Error("a question for another interface left by eth0")
	}
}

// TestInterfaces checks the list of interfaces for a technician, the machine's default route first.
func TestInterfaces(t *testing.T) {
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
	lines := func() (names []string, all map[string]Interface) {
		list, err := l.r.Interfaces()
		l.must(err)
		all = map[string]Interface{}
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

// TestFlows checks that flows of residents and the box's name servers are listed by uplink, with their bytes.
func TestFlows(t *testing.T) {
	labtest.Root(t, "iptables", "iptables-restore")
	l := layLine(t)
	w := l.world
	resident, err := w.AddHost("resident")
	l.must(err)
	_, err = w.Connect(netlab.End{Host: resident, Interface: "eth0"}, netlab.End{Host: l.box, Interface: "hot"})
	l.must(err)
	l.must(l.box.AddAddress("hot", netip.MustParsePrefix("10.80.0.1/22")))
	l.must(resident.AddAddress("eth0", netip.MustParsePrefix("10.80.0.9/22")))
	l.must(resident.AddRoute(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("10.80.0.1")))
	l.must(l.box.Sysctl("net/ipv4/ip_forward", "1"))
	l.must(l.box.Sysctl("net/netfilter/nf_conntrack_acct", "1"))
	l.must(l.box.Do(func() error {
		for _, rule := range []string{
			"-t nat -A POSTROUTING -o eth0 -j MASQUERADE",
			"-A OUTPUT -o eth0 -p udp --dport 53 -j CONNMARK --set-xmark 0x50000000/0xf0000000",
		} {
			if out, err := exec.Command("iptables", append([]string{"-w"}, strings.Fields(rule)...)...).CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
		}
		return nil
	}))
	l.street()
	line := netip.MustParseAddr("192.168.1.7")

	conn, err := l.box.Dial(t.Context(), "udp", "192.168.1.1:53")
	l.must(err)
	defer conn.Close()
	_, _, err = names.Ask(t.Context(), conn, "www.example")
	l.must(err)
	other, err := l.box.Dial(t.Context(), "tcp", webAddr.String()+":80") // the box's own connection is not a resident's
	l.must(err)
	defer other.Close()
	client := resident.HTTPClient()
	reply, err := client.Get("http://" + webAddr.String() + "/")
	l.must(err)
	_, err = io.Copy(io.Discard, reply.Body) // otherwise the connection would be closed
	l.must(err)
	reply.Body.Close()

	flows, err := l.r.Flows(line)
	l.must(err)
	if len(flows) != 2 {
		t.Fatalf("flows: %+v", flows)
	}
	if flows[0].Names {
		flows[0], flows[1] = flows[1], flows[0]
	}
	web, asked := flows[0], flows[1]
	if !web.TCP || web.Port != 80 || web.Names || web.Ended || web.Up < 100 || web.Down < 100 || web.UpPackets < 3 || web.DownPackets < 2 {
		t.Errorf("a page: %+v", web)
	}
	if asked.TCP || asked.Port != 53 || !asked.Names || asked.UpPackets != 1 || asked.DownPackets != 1 || asked.Up < 40 || asked.Far == web.Far {
		t.Errorf("a question: %+v", asked)
	}
	if none, err := l.r.Flows(netip.MustParseAddr("192.168.9.9")); err != nil || len(none) != 0 {
		t.Errorf("of another line: %+v, %v", none, err)
	}
	client.CloseIdleConnections()
}
