package netlab_test

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/labtest"
)

var boxAddress = netip.MustParsePrefix("10.80.0.1/24")

// plainBox makes the scene's box a minimal router: it forwards, masquerades, and gives leases.
func plainBox(t *testing.T, s *netlab.Scene) *netlab.Proc {
	t.Helper()
	must(t, s.Box.AddAddress(netlab.HotspotInterface, boxAddress))
	must(t, s.Box.Sysctl("net/ipv4/ip_forward", "1"))
	ok(s.Box.Run(t.Context(), "iptables", "-t", "nat", "-A", "POSTROUTING", "-o", "eth0", "-j", "MASQUERADE"))(t)
	dnsmasq := ok(s.Box.Start("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=",
		"--log-facility=-", "--no-ping", "--dhcp-authoritative", "--bind-dynamic", "--interface="+netlab.HotspotInterface,
		"--dhcp-range=10.80.0.50,10.80.0.150,255.255.255.0,30m", "--dhcp-option=114,https://portal.test/api",
		"--dhcp-leasefile="+filepath.Join(s.Dir(), "leases")))(t)
	eventually(t, "dnsmasq to be ready", func() bool { return strings.Contains(dnsmasq.Output(), "DHCP, IP range") })
	return dnsmasq
}

func scene(t *testing.T, o netlab.Options) *netlab.Scene {
	t.Helper()
	labtest.Root(t, "iptables", "busybox", "dnsmasq")
	return labtest.Scene(t, o)
}

func TestResidents(t *testing.T) {
	t.Parallel()
	s := scene(t, netlab.Options{Residents: 2})
	dnsmasq := plainBox(t, s)
	for _, r := range s.Residents {
		lease, err := r.Join(t.Context())
		if err != nil {
			t.Fatalf("%v\n%s", err, dnsmasq.Output())
		}
		want := netlab.Lease{
			Address: lease.Address, // the server's choice
			Router:  boxAddress.Addr(),
			DNS:     []netip.Addr{boxAddress.Addr()},
			Server:  boxAddress.Addr(),
			Time:    30 * time.Minute,
			Portal:  "https://portal.test/api",
		}
		if !boxAddress.Masked().Contains(lease.Address.Addr()) || lease.Address.Bits() != 24 {
			t.Errorf("%s got the address %s", r.Name(), lease.Address)
		}
		if lease.Address != want.Address || lease.Router != want.Router || !slices.Equal(lease.DNS, want.DNS) ||
			lease.Server != want.Server || lease.Time != want.Time || lease.Portal != want.Portal {
			t.Errorf("%s got %+v, want %+v", r.Name(), lease, want)
		}
	}
	first, second := s.Residents[0], s.Residents[1]

	t.Run("names", func(t *testing.T) {
		for _, c := range []struct {
			name  string
			kind  dnsmessage.Type
			code  dnsmessage.RCode
			addrs []netip.Addr
		}{
			{"www.example", dnsmessage.TypeA, dnsmessage.RCodeSuccess, []netip.Addr{netlab.WebAddr}},
			{"NEWS.example.", dnsmessage.TypeA, dnsmessage.RCodeSuccess, []netip.Addr{netlab.NewsAddr}},
			{"www.example", dnsmessage.TypeAAAA, dnsmessage.RCodeSuccess, nil},
			{"nobody.test", dnsmessage.TypeA, dnsmessage.RCodeNameError, nil},
		} {
			got := ok(first.Query(t.Context(), first.Lease().DNS[0], c.name, c.kind))(t)
			if got.RCode != c.code || !slices.Equal(got.Addrs, c.addrs) {
				t.Errorf("%s %v: %v %v, want %v %v", c.name, c.kind, got.RCode, got.Addrs, c.code, c.addrs)
			}
		}
		if s.Internet.Names.Queries("nobody.test") == 0 {
			t.Error("the internet's name server was not asked")
		}
	})
	t.Run("web", func(t *testing.T) {
		for _, host := range []string{"www.example", "news.example", "service.example", netlab.WebAddr.String()} {
			page := ok(first.Get(t.Context(), "http://"+host+"/"))(t)
			if page.Status != 200 || page.Body != netlab.InternetPage {
				t.Errorf("%s: %d %q", host, page.Status, page.Body)
			}
		}
		page := ok(first.Post(t.Context(), "http://www.example/upload", strings.NewReader("hello")))(t)
		if page.Body != "5\n" {
			t.Errorf("upload of 5 bytes: %d %q", page.Status, page.Body)
		}
		transfer := ok(first.StartDownload(t.Context(), "http://www.example/big?bytes=3000000"))(t)
		<-transfer.Done()
		must(t, transfer.Stop())
		if got := transfer.Total(); got != 3_000_000 {
			t.Errorf("downloaded %d of 3000000 bytes", got)
		}
		if trips := ok(first.Echo(t.Context(), netlab.WebAddr, 5, time.Millisecond))(t); len(trips) != 5 {
			t.Errorf("5 datagrams echoed as %v", trips)
		}
	})
	t.Run("the lender's own server", func(t *testing.T) {
		lender := s.Lenders[0]
		page := ok(s.Box.Get(t.Context(), "http://"+lender.NASAddr.String()+"/"))(t)
		if page.Body != netlab.LenderPage {
			t.Errorf("from the box: %d %q", page.Status, page.Body)
		}
	})
	t.Run("apart", func(t *testing.T) {
		// Both are on the same network, but the access point lets residents reach only the box.
		ctx, cancel := contextFor(t, 300*time.Millisecond)
		defer cancel()
		ok(second.Listen("tcp", ":80"))(t)
		conn, err := first.Dial(ctx, "tcp", netip.AddrPortFrom(second.Lease().Address.Addr(), 80).String())
		if err == nil {
			conn.Close()
			t.Error("one resident reached the other")
		}
	})
	t.Run("exposed", func(t *testing.T) {
		addr := ok(first.Expose("127.0.0.1:0", "www.example:80"))(t)
		if body := fetchHere(t, "http://"+addr.String()+"/"); body != netlab.InternetPage {
			t.Errorf("through the exposed port came %q", body)
		}
	})
	t.Run("another device", func(t *testing.T) {
		before := second.Lease().Address
		mac := slices.Clone(second.MAC)
		mac[1] = 0xbb
		must(t, second.SetMAC(mac))
		if lease := second.Lease(); lease.Address.IsValid() {
			t.Errorf("still has the lease %+v", lease)
		}
		lease := ok(second.Join(t.Context()))(t)
		if lease.Address == before {
			t.Errorf("another MAC got the same address %s", before)
		}
		leases := string(ok(os.ReadFile(filepath.Join(s.Dir(), "leases")))(t))
		if !strings.Contains(leases, mac.String()) {
			t.Errorf("the server has not seen %s:\n%s", mac, leases)
		}
	})
	t.Run("no server", func(t *testing.T) {
		must(t, second.Leave())
		must(t, dnsmasq.Stop())
		ctx, cancel := contextFor(t, 200*time.Millisecond)
		defer cancel()
		if lease, err := second.Join(ctx); err == nil {
			t.Errorf("joined without a server: %+v", lease)
		}
	})
}

func TestUplinks(t *testing.T) {
	t.Parallel()
	s := scene(t, netlab.Options{Uplinks: 2})
	reachWithin := func(limit time.Duration) error {
		ctx, cancel := contextFor(t, limit)
		defer cancel()
		_, err := s.Box.Get(ctx, "http://"+netlab.WebAddr.String()+"/")
		return err
	}
	reach := func() error { return reachWithin(10 * time.Second) } // ARP retries once a second, TCP after longer pauses
	sent := func(k int) uint64 {
		_, tx, err := s.Internet.Counters(s.Lenders[k].InternetIface)
		must(t, err)
		return tx
	}
	must(t, reach())
	if sent(0) == 0 {
		t.Error("the internet sent nothing to the first lender")
	}

	must(t, s.Lenders[0].WAN.Cut())
	if reachWithin(300*time.Millisecond) == nil {
		t.Error("the internet was reached over a line that is cut")
	}
	must(t, s.Lenders[0].WAN.Restore())
	must(t, reach())

	before := sent(1)
	must(t, s.Lenders[0].Unplug())
	must(t, reach())
	if sent(1) == before {
		t.Error("without the first uplink nothing came by the second")
	}
	must(t, s.Lenders[0].Plug())
	before = sent(1)
	must(t, reach())
	if sent(1) != before {
		t.Error("with the first uplink back, the second was used")
	}
}

func TestDirect(t *testing.T) {
	t.Parallel()
	s := scene(t, netlab.Options{Direct: true, NoOffload: true, IPv6: true})
	if off := ok(s.Box.Run(t.Context(), "cat", "/proc/sys/net/ipv6/conf/eth0/disable_ipv6"))(t); off != "0\n" {
		t.Errorf("IPv6 was asked for, and disable_ipv6 is %q", off)
	}
	if page := ok(s.Box.Get(t.Context(), "http://www.example/"))(t); page.Body != netlab.InternetPage {
		t.Errorf("the internet answered %d %q", page.Status, page.Body)
	}
	bulk := netlab.Bulk{From: s.Box, To: s.Internet.Host, Addr: netlab.WebAddr, Streams: 2, Reverse: true}
	transfer := ok(bulk.Start(t.Context()))(t)
	eventually(t, "10 MB", func() bool { return transfer.Total() > 10e6 })
	must(t, transfer.Stop())
	link := ok(s.Box.Netlink().LinkByName("eth0"))(t)
	if mean := link.Attrs().Statistics.RxBytes / link.Attrs().Statistics.RxPackets; mean > 1514 {
		t.Errorf("without offload the box received packets of %d bytes", mean)
	}
}

// TestDistance moves the internet away and back, while TCP connections carry data.
func TestDistance(t *testing.T) {
	t.Parallel()
	s := scene(t, netlab.Options{})
	const away = 80 * time.Millisecond
	d := ok(s.Internet.AddDistance("away", s.Lenders[0].Line))(t)
	trip := func() time.Duration { // the shortest of some
		t.Helper()
		trips := ok(s.Box.Echo(t.Context(), netlab.WebAddr, 20, 5*time.Millisecond))(t)
		if len(trips) == 0 {
			t.Fatal("no datagram came back")
		}
		return slices.Min(trips)
	}
	d.Set(away)
	if least := trip(); least < away {
		t.Errorf("a round trip took %v, %v away", least, away)
	}
	bulk := netlab.Bulk{From: s.Box, To: s.Internet.Host, Addr: netlab.WebAddr, Streams: 2, Reverse: true}
	transfer := ok(bulk.Start(t.Context()))(t)
	eventually(t, "1 MB", func() bool { return transfer.Total() > 1e6 })
	d.Set(0)
	eventually(t, "a short round trip", func() bool { return trip() < away })
	before := transfer.Total()
	eventually(t, "1 MB more", func() bool { return transfer.Total() > before+1e6 })
	must(t, transfer.Stop())
}

// TestSlowLink sends through a slow link. Its rate is an upper bound under any load. A busy machine may stay below it, so as the
// lower bound the test only requires that a second's worth arrives at all.
func TestSlowLink(t *testing.T) {
	t.Parallel()
	s := scene(t, netlab.Options{Shape: netlab.Shape{Down: 20e6, Up: 5e6, Queue: 100 * time.Millisecond}})
	bulk := netlab.Bulk{From: s.Box, To: s.Internet.Host, Addr: netlab.WebAddr, Streams: 2}
	through := func(name string, rate uint64, start func(context.Context) (*netlab.Transfer, error)) {
		t.Helper()
		begun := time.Now()
		transfer := ok(start(t.Context()))(t)
		eventually(t, name+": a second's data", func() bool { return uint64(transfer.Total()) >= rate/8 })
		total, took := transfer.Total(), time.Since(begun)
		must(t, transfer.Stop())
		t.Logf("%s: %.3f of %.0f Mbit/s", name, float64(total)*8/1e6/took.Seconds(), float64(rate)/1e6)
		if bound := float64(rate) / 8 * took.Seconds(); float64(total) > bound {
			t.Errorf("%s: %d bytes in %v, more than the line's %.0f", name, total, took, bound)
		}
	}
	through("up", 5e6, bulk.Start)
	bulk.Reverse = true
	through("down", 20e6, bulk.Start)
	bulk.Congestion = netlab.QUIC
	through("down, datagrams", 20e6, bulk.Start)
	bulk.Reverse = false
	through("up, datagrams", 5e6, bulk.Start)
	must(t, s.Lenders[0].SlowLink.SetShape(netlab.Shape{Down: 2e6, Up: 1e6, Queue: 50 * time.Millisecond}))
	through("down, slower", 2e6, func(ctx context.Context) (*netlab.Transfer, error) {
		return s.Box.StartDownload(ctx, "http://www.example/big")
	})
}
