package gate

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	vnl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/labtest"
)

// TestDroppedInUse ends connections in many ways. The socket must accept the reports of those that the kernel drops while they are in
// use, and no others, which would fill its buffer.
func TestDroppedInUse(t *testing.T) {
	t.Parallel()
	labtest.Root(t, "iptables")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s, err := netlab.Standard(t.Context(), netlab.Options{})
	must(err)
	labtest.Close(t, s.World)
	_, err = s.Box.Run(t.Context(), "iptables", "-t", "nat", "-A", "POSTROUTING", "-j", "MASQUERADE")
	must(err)
	var c *nlConn
	var conntrack *vnl.Handle
	must(s.Box.Do(func() (err error) {
		if c, err = dialDestroyed(); err == nil {
			conntrack, err = vnl.NewHandle(unix.NETLINK_NETFILTER)
		}
		return err
	}))
	defer c.close()
	defer conntrack.Close()
	dial := func(network string) net.Conn {
		t.Helper()
		conn, err := s.Box.Dial(t.Context(), network, netip.AddrPortFrom(netlab.WebAddr, 80).String())
		must(err)
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	// track adds a connection that is established.
	track := func(timeout time.Duration) {
		t.Helper()
		there := vnl.IPTuple{
			SrcIP: net.IP{10, 80, 0, 9}, DstIP: net.IP{198, 51, 100, 7}, SrcPort: 20000, DstPort: 443, Protocol: unix.IPPROTO_TCP,
		}
		back := vnl.IPTuple{
			SrcIP: there.DstIP, DstIP: there.SrcIP, SrcPort: there.DstPort, DstPort: there.SrcPort, Protocol: there.Protocol,
		}
		must(conntrack.ConntrackCreate(vnl.ConntrackTable, unix.AF_INET, &vnl.ConntrackFlow{
			FamilyType: unix.AF_INET, Forward: there, Reverse: back, TimeOut: uint32(timeout.Seconds()),
			ProtoInfo: &vnl.ProtoInfoTCP{State: tcpEstablished},
		}))
	}
	waitTracked := func(want int) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); ; {
			all, err := conntrack.ConntrackTableList(vnl.ConntrackTable, unix.AF_INET)
			must(err)
			if len(all) == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("the kernel tracks %d connections, want %d: %v", len(all), want, all)
			}
		}
	}

	track(time.Hour)
	must(conntrack.ConntrackTableFlush(vnl.ConntrackTable)) // as another program does
	waitTracked(0)
	track(time.Second)
	waitTracked(0) // it has timed out

	var want []netip.AddrPort
	for range 3 {
		want = append(want, dial("tcp").LocalAddr().(*net.TCPAddr).AddrPort())
	}
	must(dial("tcp").Close())
	aborted := dial("tcp").(*net.TCPConn)
	must(errors.Join(aborted.SetLinger(0), aborted.Close()))
	_, err = dial("udp").Write([]byte("hello"))
	must(err)
	waitTracked(6)
	must(s.Box.RemoveAddresses(s.Lenders[0].Interface))
	waitTracked(0)

	g := &Gate{destroyed: c}
	reports, err := g.readDestroyed()
	must(err)
	var got []netip.AddrPort
	for _, f := range g.readFlows(residents{s.Lenders[0].Box.Addr(): {}}, reports) {
		got = append(got, f.Src)
	}
	slices.SortFunc(got, netip.AddrPort.Compare)
	slices.SortFunc(want, netip.AddrPort.Compare)
	if !slices.Equal(got, want) || len(reports) != len(want) {
		t.Errorf("of %d reports, %v are of connections; want %v", len(reports), got, want)
	}
}
