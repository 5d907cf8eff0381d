package dhcp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/labtest"
)

const device = "wlan0"

var box = netip.MustParsePrefix("10.80.0.1/24")

// patience bounds what takes long only on a busy machine.
const patience = 20 * time.Second

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lab is a box with a device that a resident's is connected to.
type lab struct {
	t      *testing.T
	box    *netlab.Host
	leases string
}

func newLab(t *testing.T) *lab {
	t.Helper()
	labtest.Root(t, "dnsmasq")
	w := labtest.World(t, "dhcp")
	host, err := w.AddHost("box")
	must(t, err)
	resident, err := w.AddHost("resident")
	must(t, err)
	_, err = w.Connect(netlab.End{Host: host, Interface: device}, netlab.End{Host: resident, Interface: "eth0"})
	must(t, err)
	must(t, host.AddAddress(device, box))
	return &lab{t, host, filepath.Join(w.Dir(), "leases")}
}

// serve starts a server that has one address, and returns it once it listens.
func (l *lab) serve() *netlab.Proc {
	l.t.Helper()
	p, err := l.box.Start("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--log-facility=-", "--port=0",
		"--no-ping", "--dhcp-authoritative", "--bind-dynamic", "--interface="+device, "--dhcp-range=10.80.0.9,10.80.0.9,255.255.255.0,30m",
		"--dhcp-leasefile="+l.leases)
	must(l.t, err)
	for deadline := time.Now().Add(patience); !strings.Contains(p.Output(), "sockets bound"); time.Sleep(netlab.Tick) {
		if time.Now().After(deadline) {
			l.t.Fatalf("the server does not start:\n%s", p.Output())
		}
	}
	return p
}

// discover asks for an address, for so long.
func (l *lab) discover(limit time.Duration) (o Offer, err error) {
	ctx, cancel := context.WithTimeout(l.t.Context(), limit)
	defer cancel()
	err = l.box.Do(func() error {
		o, err = Discover(ctx, device, box.Addr())
		return err
	})
	return o, err
}

// TestDiscover: a server offers its address, as often as it is asked; it has no lease then, and the kernel no neighbour.
func TestDiscover(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	if o, err := l.discover(patience); !errors.Is(err, ErrClosed) {
		t.Errorf("without a server: %+v, %v", o, err)
	}
	server := l.serve()
	want := Offer{netip.MustParseAddr("10.80.0.9"), box.Addr()}
	for range 3 {
		if o, err := l.discover(patience); err != nil || o != want {
			t.Errorf("%+v, %v\n%s", o, err, server.Output())
		}
	}
	if text, err := os.ReadFile(l.leases); err != nil || len(text) > 0 {
		t.Errorf("there is a lease: %q, %v", text, err)
	}
	all, err := l.box.Netlink().NeighList(0, netlink.FAMILY_V4)
	must(t, err)
	for _, n := range all {
		if n.IP.String() == want.Address.String() {
			t.Errorf("there is a neighbour: %v", n)
		}
	}
	must(t, server.Kill())
	<-server.Exited()
	if o, err := l.discover(patience); !errors.Is(err, ErrClosed) {
		t.Errorf("after the server died: %+v, %v", o, err)
	}
}

// TestSilent: a server whose only address is taken offers none, nor does one that hangs.
func TestSilent(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	taken := fmt.Sprintf("%d 02:00:00:00:00:01 10.80.0.9 * *\n", time.Now().Add(time.Hour).Unix())
	must(t, os.WriteFile(l.leases, []byte(taken), 0o666))
	server := l.serve()
	if o, err := l.discover(time.Second); !errors.Is(err, ErrSilent) || !strings.Contains(server.Output(), "no address available") {
		t.Errorf("%+v, %v\n%s", o, err, server.Output())
	}
	must(t, server.Signal(syscall.SIGSTOP))
	if o, err := l.discover(time.Second); !errors.Is(err, ErrSilent) {
		t.Errorf("of a server that hangs: %+v, %v", o, err)
	}
	must(t, server.Signal(syscall.SIGCONT))
}

// TestDiscoverNowhere: a device that is not there is an error of its own.
func TestDiscoverNowhere(t *testing.T) {
	t.Parallel()
	_, err := Discover(t.Context(), "nowhere0", netip.MustParseAddr("127.0.0.1"))
	if err == nil || errors.Is(err, ErrSilent) || errors.Is(err, ErrClosed) || !strings.Contains(err.Error(), "nowhere0") {
		t.Error(err)
	}
}

// offer returns an IPv4 packet with an offer, and its options.
func offer(id [4]byte, mac [6]byte, options ...byte) []byte {
	b := make([]byte, 20+8+fixedSize)
	b[0] = 4<<4 | 5
	d := b[28:]
	d[0] = opReply
	copy(d[4:], id[:])
	copy(d[16:], []byte{10, 80, 0, 9})
	copy(d[28:], mac[:])
	return append(binary.BigEndian.AppendUint32(b, cookie), options...)
}

func TestParse(t *testing.T) {
	t.Parallel()
	id, mac := [4]byte{1, 2, 3, 4}, [6]byte{2, 0, 0, 0, 0, 1}
	of := []byte{optionType, 1, typeOffer}
	for name, c := range map[string]struct {
		packet []byte
		want   Offer
		ok     bool
	}{
		"an offer":              {offer(id, mac, append(of, optionPad, optionRouter, 4, 10, 80, 0, 1, optionEnd)...), Offer{netip.AddrFrom4([4]byte{10, 80, 0, 9}), box.Addr()}, true},
		"without a router":      {offer(id, mac, append(of, optionEnd)...), Offer{Address: netip.AddrFrom4([4]byte{10, 80, 0, 9})}, true},
		"a refusal":             {offer(id, mac, optionType, 1, 6, optionEnd), Offer{}, false},
		"without a type":        {offer(id, mac, optionEnd), Offer{}, false},
		"of another exchange":   {offer([4]byte{}, mac, of...), Offer{}, false},
		"to another device":     {offer(id, [6]byte{}, of...), Offer{}, false},
		"a cut option":          {offer(id, mac, append(of, optionRouter, 4, 10)...), Offer{}, false},
		"an option of one byte": {offer(id, mac, append(of, optionRouter)...), Offer{}, false},
		"nothing":               {nil, Offer{}, false},
		"IPv6":                  {append([]byte{6 << 4}, make([]byte, 300)...), Offer{}, false},
	} {
		o, ok := parse(c.packet, id, mac)
		if ok != c.ok || ok && o != c.want {
			t.Errorf("%s: %+v, %t", name, o, ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	id, mac := [4]byte{1, 2, 3, 4}, [6]byte{2, 0, 0, 0, 0, 1}
	f.Add(offer(id, mac, optionType, 1, typeOffer, optionRouter, 4, 10, 80, 0, 1, optionEnd))
	f.Add(offer(id, mac, optionType, 1, typeOffer, optionRouter))
	f.Fuzz(func(t *testing.T, b []byte) {
		if o, ok := parse(b, id, mac); ok && !o.Address.IsValid() {
			t.Errorf("%+v", o)
		}
	})
}
