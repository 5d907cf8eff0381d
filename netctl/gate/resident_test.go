package gate_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	vnl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"passerelle/appliance/decide"
	"passerelle/appliance/plan"
	"passerelle/appliance/state"
	"passerelle/netctl"
	"passerelle/netctl/netlab"
	"passerelle/netctl/nlmsg"
)

func TestWhoMayPass(t *testing.T) {
	t.Parallel()
	l := newLab(t, netlab.Options{Residents: 2})
	l.share(t)
	l.authorize(t, 0)
	authorized, other := l.Residents[0], l.Residents[1]

	for _, c := range []struct {
		host *netlab.Host
		url  string
		body string
	}{
		{authorized.Host, "http://192.0.2.80/", netlab.InternetPage},
		{authorized.Host, "http://10.80.0.1/", boxPage},
		{other.Host, "http://192.0.2.80/", boxPage}, // every page is the box's
		{other.Host, "http://10.80.0.1/", boxPage},
	} {
		if body, err := get(t, c.host, c.url, soon); err != nil || body != c.body {
			t.Errorf("%s from %s: %q, %v, want %q", c.host.Name(), c.url, body, err, c.body)
		}
	}

	// A device with the address of an authorized resident, then one with its hardware address.
	m := newMailbox(t, l.Internet.Host, netlab.WebAddr)
	arrive := func(who, text string, want bool) {
		t.Helper()
		m.post(t, other.Host, text)
		m.post(t, authorized.Host, "honest") // it arrives after everything that was sent before
		var came []string
		for !slices.Contains(came, "honest") {
			select {
			case s := <-m.came:
				came = append(came, s)
			case <-time.After(soon):
				t.Fatal("the authorized resident's datagram did not arrive")
			}
		}
		if slices.Contains(came, text) != want {
			t.Errorf("%s: passed is %v, want %v", who, !want, want)
		}
	}
	move := func(mac net.HardwareAddr, addr netip.Addr) {
		t.Helper()
		must(t, other.RemoveAddresses("wlan0"))
		must(t, other.Host.SetMAC("wlan0", mac))
		must(t, other.SetUp("wlan0", true))
		must(t, other.AddAddress("wlan0", netip.PrefixFrom(addr, boxAddress.Bits())))
		ok(other.Run(t.Context(), "ip", "route", "add", "default", "via", boxAddress.Addr().String(), "dev", "wlan0", "onlink"))(t)
	}
	arrive("itself", "nobody", false)
	move(other.MAC, address(0))
	arrive("with another's address", "spoofed IP", false)
	move(authorized.MAC, address(1))
	arrive("with another's hardware address", "spoofed MAC", false)
	move(other.MAC, netip.MustParseAddr("192.168.1.77"))
	arrive("with an address of the lender's network", "spoofed network", false)
	move(other.MAC, address(1))
	l.authorize(t, 1)
	arrive("authorized", "authorized", true)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	l := newLab(t, netlab.Options{Residents: 2})
	l.share(t)
	l.authorize(t, 0)
	authorized, other := l.Residents[0].Host, l.Residents[1].Host
	for _, port := range []int{25, 443, 853, 7000} {
		must(t, l.Internet.ServeHTTP(fmt.Sprintf("192.0.2.80:%d", port), nil))
	}
	must(t, l.Box.ServeHTTP(":8022", nil)) // not for residents
	for _, c := range []struct {
		from    *netlab.Host
		network string
		to      string
		want    error
	}{
		{other, "tcp", "192.0.2.80:443", unix.ECONNREFUSED},
		{other, "tcp", "192.0.2.80:853", unix.ECONNREFUSED},
		{other, "tcp", "192.0.2.80:7000", unix.ECONNREFUSED},
		{other, "tcp", "10.80.0.1:8022", unix.ECONNREFUSED},
		{other, "tcp", "192.168.1.2:8022", unix.ECONNREFUSED}, // the box, at its other address
		{other, "tcp", "192.168.1.10:7000", unix.ECONNREFUSED},
		{authorized, "tcp", "192.0.2.80:443", nil},
		{authorized, "tcp", "192.0.2.80:7000", nil},
		{authorized, "tcp", "192.0.2.80:25", unix.ECONNREFUSED},
		{authorized, "tcp", "10.80.0.1:8022", unix.ECONNREFUSED},
		{authorized, "tcp", "192.168.1.2:8022", unix.ECONNREFUSED},
		{authorized, "tcp", "192.0.2.80:9999", unix.ECONNREFUSED}, // from the server itself: its errors pass
	} {
		if err := dial(t, c.from, c.network, c.to, soon); !errors.Is(err, c.want) {
			t.Errorf("%s to %s: %v, want %v", c.from.Name(), c.to, err, c.want)
		}
	}
	// A rejected datagram makes the socket's next call fail.
	c := ok(other.Dial(t.Context(), "udp", "192.0.2.80:7"))(t)
	defer c.Close()
	ok(c.Write([]byte("hello")))(t)
	c.SetReadDeadline(time.Now().Add(soon))
	if _, err := c.Read(make([]byte, 10)); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a datagram of the captive resident: %v, want %v", err, unix.ECONNREFUSED)
	}
	if trips := ok(authorized.Echo(t.Context(), netlab.WebAddr, 3, time.Millisecond))(t); len(trips) != 3 {
		t.Errorf("of 3 datagrams of the authorized resident came back %v", trips)
	}
}

// TestLendersAreClosed tries all paths from a resident to the networks around the box, and back.
func TestLendersAreClosed(t *testing.T) {
	t.Parallel()
	l := newLab(t, netlab.Options{Residents: 2, Uplinks: 2})
	l.share(t)
	l.authorize(t, 0)
	l.authorize(t, 1)
	resident, neighbour := l.Residents[0], l.Residents[1]
	must(t, neighbour.ServeHTTP(":80", nil))
	must(t, l.Lenders[0].Router.ServeHTTP(":80", nil))

	if _, err := get(t, l.Box, "http://192.168.1.10/", soon); err != nil {
		t.Fatalf("the box itself does not reach the lender's server: %v", err)
	}
	// The other resident is on the same network, but the access point isolates them. The route to it is through the box.
	must(t, resident.AddRoute(netip.PrefixFrom(address(1), 32), boxAddress.Addr()))
	for _, to := range []string{
		"192.168.1.10", "192.168.1.1", // the lender's server and router
		"192.168.2.10", "192.168.2.1", // of another lender, whose uplink is not in use
		"192.168.99.1", "10.1.2.3", "172.16.0.1", "169.254.169.254", "100.64.0.1", "198.18.0.1", // networks further away
		"224.0.0.251", "240.0.0.1",
		address(1).String(),
	} {
		if err := dial(t, resident.Host, "tcp", to+":80", never); err == nil {
			t.Errorf("a resident reached %s", to)
		}
	}

	// From the lender's network to residents, and to the next lender's.
	toResident := newMailbox(t, neighbour.Host, address(1))
	toLender := newMailbox(t, l.Lenders[1].NAS, netip.MustParseAddr("192.168.2.10"))
	nas, router := l.Lenders[0].NAS, l.Lenders[0].Router
	for _, h := range []*netlab.Host{nas, router} {
		must(t, h.AddRoute(boxAddress.Masked(), netip.MustParseAddr("192.168.1.2")))
		must(t, h.AddRoute(netip.MustParsePrefix("192.168.2.0/24"), netip.MustParseAddr("192.168.1.2")))
		toResident.post(t, h, "from "+h.Name())
		toLender.post(t, h, "from "+h.Name())
		if err := dial(t, h, "tcp", address(1).String()+":80", never); err == nil {
			t.Errorf("%s reached a resident", h.Name())
		}
	}
	if toResident.got("from "+nas.Name(), never) || toLender.got("from "+nas.Name(), never) {
		t.Error("the lender's server reached beyond the box")
	}
	// The same paths are open without the gate.
	must(t, l.gate.Close(t.Context()))
	must(t, l.Box.AddAddress("wlan0", boxAddress))
	must(t, l.Box.Sysctl("net/ipv4/ip_forward", "1"))
	toResident.post(t, nas, "later")
	toLender.post(t, nas, "later")
	if !toResident.got("later", soon) || !toLender.got("later", soon) {
		t.Error("a path is closed without the gate too: the test is wrong")
	}
}

// TestBridge has residents on a bridge of the box, as with several access points on cables.
func TestBridge(t *testing.T) {
	t.Parallel()
	l := newLab(t, netlab.Options{})
	must(t, l.Box.AddBridge("br0"))
	var residents []*netlab.Host
	var bound []netctl.Binding
	for k := range 2 {
		h := ok(l.AddHost(fmt.Sprintf("wired%d", k)))(t)
		ok(l.Connect(netlab.End{Host: h, Interface: "eth0"},
			netlab.End{Host: l.Box, Interface: fmt.Sprintf("port%d", k), Bridge: "br0"}))(t)
		must(t, h.AddAddress("eth0", netip.PrefixFrom(address(k), boxAddress.Bits())))
		residents = append(residents, h)
		bound = append(bound, bindingTo(t, h, "eth0", address(k)))
	}
	ok(l.gate.Bind(bound))(t)
	m := newMailbox(t, residents[1], address(1))
	m.post(t, residents[0], "before")
	if !m.got("before", soon) {
		t.Fatal("a bridge does not connect its ports: the test is wrong")
	}
	must(t, l.Box.AddBridge("br1"))
	ok(l.Connect(netlab.End{Host: residents[0], Interface: "eth1"}, netlab.End{Host: l.Box, Interface: "other", Bridge: "br1"}))(t)
	l.config.Hotspot.Interface = "br0"
	l.apply(t, l.paused())
	if p := ok(l.Box.Netlink().LinkGetProtinfo(ok(l.Box.Netlink().LinkByName("other"))(t)))(t); p.Isolated {
		t.Error("the port of another bridge is isolated")
	}
	if c := l.apply(t, l.paused()); len(c) != 0 {
		t.Errorf("applied again, it changed %q", c)
	}
	m.post(t, residents[0], "during")
	if m.got("during", never) {
		t.Error("one resident reached another over the bridge")
	}
	if err := dial(t, residents[0], "tcp", boxAddress.Addr().String()+":80", soon); err != nil {
		t.Errorf("a resident on the bridge does not reach the box: %v", err)
	}
	must(t, l.gate.Close(t.Context()))
	m.post(t, residents[0], "after")
	if !m.got("after", soon) {
		t.Error("the ports are still isolated after the gate was closed")
	}
}

// TestOwnBridge checks that the gate makes the hotspot's bridge, to which an access point is then added.
func TestOwnBridge(t *testing.T) {
	t.Parallel()
	l := newLab(t, netlab.Options{})
	l.config.Hotspot.Radio, l.config.Hotspot.SSID = "hostapd", "Partage de Co - Les Lilas"
	if c := l.apply(t, l.paused()); !slices.ContainsFunc(c, func(s string) bool { return strings.HasPrefix(s, "ip link add "+netctl.Bridge) }) {
		t.Errorf("no bridge was made: %q", c)
	}
	var residents []*netlab.Host
	var bound []netctl.Binding
	for k := range 2 {
		h := ok(l.AddHost(fmt.Sprintf("phone%d", k)))(t)
		ok(l.Connect(netlab.End{Host: h, Interface: "wlan0"},
			netlab.End{Host: l.Box, Interface: fmt.Sprintf("ap%d", k), Bridge: netctl.Bridge}))(t)
		must(t, h.AddAddress("wlan0", netip.PrefixFrom(address(k), boxAddress.Bits())))
		residents = append(residents, h)
		bound = append(bound, bindingTo(t, h, "wlan0", address(k)))
	}
	ok(l.gate.Bind(bound))(t)
	l.apply(t, l.paused())
	if c := l.apply(t, l.paused()); len(c) != 0 {
		t.Errorf("applied again, it changed %q", c)
	}
	m := newMailbox(t, residents[1], address(1))
	m.post(t, residents[0], "across")
	if m.got("across", never) {
		t.Error("one resident reached another over the bridge")
	}
	if err := dial(t, residents[0], "tcp", boxAddress.Addr().String()+":80", soon); err != nil {
		t.Errorf("a resident on the bridge does not reach the box: %v", err)
	}
	must(t, l.gate.Close(t.Context()))
	if _, err := l.Box.Netlink().LinkByName(netctl.Bridge); err == nil {
		t.Error("the bridge is still there after the gate was closed")
	}
}

// bindingTo binds an address to a host's interface.
func bindingTo(t testing.TB, h *netlab.Host, device string, addr netip.Addr) netctl.Binding {
	t.Helper()
	link := ok(h.Netlink().LinkByName(device))(t)
	return netctl.Binding{Addr: addr, MAC: netctl.MAC(link.Attrs().HardwareAddr), Left: time.Hour}
}

func TestEnd(t *testing.T) {
	t.Parallel()
	l := newLab(t, netlab.Options{Residents: 3})
	l.config.Limits.Download = 100e6
	l.share(t)
	for k := range 3 {
		l.authorize(t, k)
	}
	ends := map[string]net.Conn{}
	other := l.connect(t, 1)
	for name, end := range map[string]func(conn) net.Conn{
		"resident": func(c conn) net.Conn { return c.client },
		"server":   func(c conn) net.Conn { return c.server },
	} {
		c := l.connect(t, 0)
		if !c.works() {
			t.Fatal("a connection through the gate does not work")
		}
		ends[name] = end(c)
	}
	must(t, l.gate.End(address(0)))
	for name, end := range ends {
		if err := reset(t, end); !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, unix.EPIPE) {
			t.Errorf("session ended, the %s's connection: %v, want a reset", name, err)
		}
	}
	if !other.works() {
		t.Error("another's connection does not work any more")
	}

	// By the kernel alone: from here on the gate is not called.
	s := l.session(2)
	s.Left = time.Second
	must(t, l.gate.Authorize(s))
	c := l.connect(t, 2)
	deadline := time.Now().Add(10 * time.Second)
	for c.works() {
		if time.Now().After(deadline) {
			t.Fatal("a session of one second has not ended")
		}
	}
	if err := reset(t, c.client); !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, unix.EPIPE) {
		t.Errorf("session ended by the kernel, its connection: %v, want a reset", err)
	}
	if body, err := get(t, l.Residents[2].Host, "http://192.0.2.80/", soon); err != nil || body != boxPage {
		t.Errorf("after its end the resident gets %q, %v", body, err)
	}
	// The next Apply sees that the session has ended, and frees its class.
	class := func() bool { return strings.Contains(l.sh(t, "tc class show dev wlan0"), "7a5:103 ") }
	if !class() {
		t.Fatal("the resident had no class: the test is wrong")
	}
	for deadline := time.Now().Add(soon); class(); {
		if time.Now().After(deadline) {
			t.Fatal("the class of a session that the kernel ended is still there")
		}
		l.apply(t, l.sharing(0))
	}
}

// TestData checks that the kernel alone ends sessions whose data is used up.
func TestData(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]netlab.Options{"offload": {Residents: 2}, "frames": {Residents: 2, NoOffload: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, o)
			l.config.Limits.Data = 500e6
			l.share(t)
			s := l.session(0)
			s.Data = 500_000
			must(t, l.gate.Authorize(s))
			if n := l.flood(t, 0, 1000); n != 499 {
				t.Errorf("up: of 500 kB %d kB passed, want all but the last packet", n)
			}
			s = l.session(1)
			s.Data = 5_000_000
			must(t, l.gate.Authorize(s))
			crossed := func() uint64 {
				rx, tx, err := l.Box.Counters(netlab.HotspotInterface)
				must(t, err)
				return rx + tx
			}
			before := crossed()
			transfer := ok(l.Residents[1].StartDownload(t.Context(), "http://192.0.2.80/big?bytes=20000000"))(t)
			err := transfer.Run(t.Context(), 30*time.Second)
			if !errors.Is(err, unix.ECONNRESET) && !strings.Contains(fmt.Sprint(err), "unexpected EOF") {
				t.Errorf("the download ended with %v, want a reset", err)
			}
			// Headers, acknowledgements and retransmissions count, as on the interface.
			if n, all := transfer.Total(), crossed()-before; n > 5_000_000 || all < 4_850_000 {
				t.Errorf("down: of 5 MB %d bytes arrived, %d passed", n, all)
			}
			all := ok(l.gate.Sessions())(t)
			if len(all) != 2 || !all[0].Spent || !all[1].Spent {
				t.Errorf("the sessions are %+v", all)
			}
		})
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	l := newLab(t, netlab.Options{Residents: 2})
	l.share(t)
	l.authorize(t, 0)
	l.authorize(t, 1)
	const bound = 512
	open := func(k int) (n int, last error) {
		for range bound + 20 {
			c, err := l.Residents[k].Dial(t.Context(), "tcp", "192.0.2.80:80")
			if err != nil {
				last = err
				continue
			}
			n++
			t.Cleanup(func() { c.Close() })
		}
		return n, last
	}
	if n, err := open(0); n != bound || !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a resident opened %d connections, then came %v; want %d and a refusal", n, err, bound)
	}
	if err := dial(t, l.Residents[1].Host, "tcp", "192.0.2.80:80", soon); err != nil {
		t.Errorf("another resident: %v", err)
	}
	answers := 0
	for answers <= bound {
		c := ok(l.Residents[1].Dial(t.Context(), "udp", "192.0.2.80:7"))(t)
		t.Cleanup(func() { c.Close() })
		ok(c.Write([]byte("hello")))(t)
		c.SetReadDeadline(time.Now().Add(soon))
		if _, err := c.Read(make([]byte, 10)); errors.Is(err, unix.ECONNREFUSED) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		answers++
	}
	if answers != bound {
		t.Errorf("%d datagram conversations were answered, want %d", answers, bound)
	}
}

// TestNames checks which name server gets a resident's queries, for every destination, even if they all come from one source port: the
// server is chosen by packet, not by connection.
func TestNames(t *testing.T) {
	t.Parallel()
	l := newLab(t, netlab.Options{Residents: 2})
	l.apply(t, l.paused())
	for port, answer := range map[uint16]string{
		plan.PortDNS: "the truth", plan.PortGuest: "a guest's truth", plan.PortCaptive: "the box",
	} {
		must(t, l.Box.ServePackets(netip.AddrPortFrom(boxAddress.Addr(), port), func([]byte) []byte { return []byte(answer) }))
	}
	type asker struct {
		k      int
		server string
	}
	fixed := map[asker]net.Conn{}
	ask := func(c net.Conn) string {
		t.Helper()
		ok(c.Write([]byte("who?")))(t)
		c.SetReadDeadline(time.Now().Add(soon))
		answer := make([]byte, 100)
		return string(answer[:ok(c.Read(answer))(t)])
	}
	for _, c := range []struct {
		plan netctl.Plan
		want [2]string // by resident; the first one is authorized
	}{
		{l.sharing(0), [2]string{"the truth", "a guest's truth"}},
		{l.named(0), [2]string{"a guest's truth", "a guest's truth"}},
		{l.paused(), [2]string{"the box", "the box"}},
		{l.sharing(0), [2]string{"the truth", "a guest's truth"}},
	} {
		l.apply(t, c.plan)
		l.authorize(t, 0)
		for k := range 2 {
			for _, server := range []string{"10.80.0.1:53", "192.0.2.53:53", "8.8.8.8:53"} {
				a := asker{k, server}
				if fixed[a] == nil {
					fixed[a] = ok(l.Residents[k].Dial(t.Context(), "udp", server))(t)
					t.Cleanup(func() { fixed[a].Close() })
				}
				once := ok(l.Residents[k].Dial(t.Context(), "udp", server))(t)
				for how, conn := range map[string]net.Conn{"from a port of its own": once, "from the same port": fixed[a]} {
					if got := ask(conn); got != c.want[k] {
						t.Errorf("resident %d asked %s %s and got %q, want %q", k, server, how, got, c.want[k])
					}
				}
				once.Close()
			}
		}
	}
	must(t, l.gate.End(address(0)))
	if got := ask(fixed[asker{0, "8.8.8.8:53"}]); got != "a guest's truth" {
		t.Errorf("after its session ended, the resident got %q", got)
	}
	for _, port := range []uint16{plan.PortGuest, plan.PortCaptive} {
		c := ok(l.Residents[0].Dial(t.Context(), "udp", netip.AddrPortFrom(boxAddress.Addr(), port).String()))(t)
		c.Write([]byte("who?"))
		c.SetReadDeadline(time.Now().Add(never))
		if n, err := c.Read(make([]byte, 100)); err == nil {
			t.Errorf("port %d answered %d bytes outside the limits of port 53", port, n)
		}
		c.Close()
	}
}

// TestGuestsNames exceeds the query limit of one captive device, then that of all. The captive name server answers every query above a
// limit.
func TestGuestsNames(t *testing.T) {
	t.Parallel()
	l := newLab(t, netlab.Options{Residents: 12})
	l.apply(t, l.sharing(0))
	l.authorize(t, 11)
	for port, answer := range map[uint16]string{
		plan.PortDNS: "the truth", plan.PortGuest: "a guest's truth", plan.PortCaptive: "the box",
	} {
		must(t, l.Box.ServePackets(netip.AddrPortFrom(boxAddress.Addr(), port), func([]byte) []byte { return []byte(answer) }))
	}
	// ask sends n queries and returns how many each server answered.
	ask := func(k, n int) map[string]int {
		t.Helper()
		count := map[string]int{}
		c := ok(l.Residents[k].Dial(t.Context(), "udp", "10.80.0.1:53"))(t)
		defer c.Close()
		for range n {
			ok(c.Write([]byte("who?")))(t)
			c.SetReadDeadline(time.Now().Add(soon))
			answer := make([]byte, 100)
			count[string(answer[:ok(c.Read(answer))(t)])]++
		}
		return count
	}
	const burst = 45 // queries, and then one every half second
	got := ask(0, 3*burst)
	if n := got["a guest's truth"]; n < burst || n > 2*burst || n+got["the box"] != 3*burst {
		t.Errorf("one device over its limit was answered by %v", got)
	}
	if got := ask(1, 1); got["a guest's truth"] != 1 {
		t.Errorf("another was answered by %v", got)
	}
	all := 0
	for k := 1; k < 10; k++ {
		all += ask(k, burst)["a guest's truth"]
	}
	if got := ask(10, 5); got["the box"] == 0 {
		t.Errorf("after %d answers to all guests, the next is answered by %v", all, got)
	}
	if got := ask(11, 2*burst); got["the truth"] != 2*burst {
		t.Errorf("an authorized device was answered by %v", got)
	}
}

// ipv6Paths returns the IPv6 paths between the box, a resident and a lender's server. Each function tells whether a datagram arrives
// within the limit.
func (l *lab) ipv6Paths(t *testing.T) map[string]func(limit time.Duration) bool {
	// Every host on a link has a link-local address.
	hears := func(limit time.Duration, from *netlab.Host, out string, to *netlab.Host, in string) bool {
		t.Helper()
		// By index: the standard library caches interface names for all namespaces together.
		zone := ok(from.Netlink().LinkByName(out))(t).Attrs().Index
		link := ok(to.Netlink().LinkByName(in))(t)
		addrs := ok(nlmsg.RetryInterruptedDump(func() ([]vnl.Addr, error) { return to.Netlink().AddrList(link, unix.AF_INET6) }))(t)
		if len(addrs) == 0 {
			t.Fatalf("%s has no IPv6 address on %s", to.Name(), in)
		}
		socket := ok(to.ListenPacket("udp6", "[::]:0"))(t)
		defer socket.Close()
		_, port, _ := net.SplitHostPort(socket.LocalAddr().String())
		deadline := time.Now().Add(limit)
		for time.Now().Before(deadline) {
			// An address cannot be used during duplicate address detection.
			from.Do(func() error {
				c, err := net.Dial("udp6", fmt.Sprintf("[%s%%%d]:%s", addrs[0].IP, zone, port))
				if err != nil {
					return err
				}
				c.Write([]byte("hello"))
				return c.Close()
			})
			socket.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			if _, _, err := socket.ReadFrom(make([]byte, 100)); err == nil {
				return true
			}
		}
		return false
	}
	resident, nas := l.Residents[0].Host, l.Lenders[0].NAS
	return map[string]func(limit time.Duration) bool{
		"resident to box": func(d time.Duration) bool { return hears(d, resident, "wlan0", l.Box, "wlan0") },
		"box to resident": func(d time.Duration) bool { return hears(d, l.Box, "wlan0", resident, "wlan0") },
		"lender to box":   func(d time.Duration) bool { return hears(d, nas, "eth0", l.Box, "eth0") },
		"box to lender":   func(d time.Duration) bool { return hears(d, l.Box, "eth0", nas, "eth0") },
	}
}

func TestIPv6IsClosed(t *testing.T) {
	t.Parallel()
	l := newLab(t, netlab.Options{Residents: 1, IPv6: true})
	ways := l.ipv6Paths(t)
	for name, way := range ways {
		if !way(10 * time.Second) {
			t.Errorf("%s: closed before there was a gate", name)
		}
	}
	l.share(t)
	l.authorize(t, 0)
	for name, way := range ways {
		if way(never) {
			t.Errorf("%s: IPv6 passes", name)
		}
	}
	must(t, l.gate.Close(t.Context()))
	for name, way := range ways {
		if !way(soon) {
			t.Errorf("%s: still closed after the gate", name)
		}
	}
}

// TestMSSClamping checks that both ends agree on segments that fit if an uplink has a smaller MTU than the hotspot.
func TestMSSClamping(t *testing.T) {
	t.Parallel()
	const mtu = 1400
	l := newLab(t, netlab.Options{Residents: 1})
	must(t, l.Lenders[0].LAN.SetMTU(mtu))
	p := plan.Compile(plan.Input{
		Config:   &l.config,
		Decision: decide.Decision{State: state.Sharing, Internet: decide.AllInternet, Names: true},
		Gateway:  l.Lenders[0].Gateway,
		ClampMSS: true,
	})
	l.apply(t, p)
	must(t, l.gate.Grant(t.Context(), netctl.Tranche{Chain: p.Cap, Bytes: netctl.Unlimited}))
	l.authorize(t, 0)
	c := l.connect(t, 0)
	for end, conn := range map[string]net.Conn{"the resident's": c.client, "the internet's": c.server} {
		raw := ok(conn.(*net.TCPConn).SyscallConn())(t)
		var segment int
		var err error
		must(t, raw.Control(func(fd uintptr) { segment, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG) }))
		if err != nil || segment+40 > mtu { // the headers of IP and TCP
			t.Errorf("%s end sends %d bytes at once, %v, on an uplink with MTU %d", end, segment, err, mtu)
		}
	}
	if !c.works() {
		t.Error("the connection does not work")
	}
}
