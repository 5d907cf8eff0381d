package daemon

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"passerelle/appliance/config"
	"passerelle/netctl/uplink"
)

// TestUsable: technicians reach the box's private addresses on lines, and no others.
func TestUsable(t *testing.T) {
	t.Parallel()
	c := config.Factory()
	for _, test := range []struct {
		name, address string
		want          bool
	}{
		{"eth0", "192.168.1.2/24", true},
		{"eth0", "10.0.2.15/24", true},
		{"usb0", "172.20.10.3/28", true},
		{"eth0", "169.254.7.7/16", true},
		{"eth0", "80.67.169.12/24", false},
		{"ppp0", "100.64.3.4/32", false}, // other customers of the provider
		{"wlan0", "192.168.1.2/24", false},
		{"eth0", "10.80.0.1/22", false},
		{"eth0", "", false},
	} {
		var p netip.Prefix
		if test.address != "" {
			p = netip.MustParsePrefix(test.address)
		}
		if got := usable(lineAddress{3, test.name, p}, c); got != test.want {
			t.Errorf("%s on %s: %v", test.address, test.name, got)
		}
	}
}

// fakeListener accepts the connections that it is given.
type fakeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newFakeListener() *fakeListener {
	return &fakeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *fakeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *fakeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *fakeListener) Addr() net.Addr { return &net.TCPAddr{} }

// fromConn is a connection from an address.
type fromConn struct {
	net.Conn
	from   netip.Addr
	closed bool
}

func (c *fromConn) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.from, 40000))
}
func (c *fromConn) Close() error { c.closed = true; return nil }

// TestNeighbors: only clients of the line's own network get through.
func TestNeighbors(t *testing.T) {
	t.Parallel()
	l := newFakeListener()
	n := neighbors{l, netip.MustParsePrefix("192.168.1.0/24")}
	var all []*fromConn
	for _, from := range []string{"203.0.113.7", "10.80.0.23", "192.168.2.1", "::ffff:192.168.1.9"} {
		all = append(all, &fromConn{from: netip.MustParseAddr(from)})
	}
	go func() {
		for _, c := range all {
			l.conns <- c
		}
	}()
	c, err := n.Accept()
	if err != nil || c.(*fromConn).from.Unmap() != netip.MustParseAddr("192.168.1.9") {
		t.Errorf("%v is let in; %v", c, err)
	}
	for _, o := range all {
		if o.closed != (o != c) {
			t.Errorf("%s: closed %v", o.from, o.closed)
		}
	}
	l.Close()
	if _, err := n.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed listener: %v", err)
	}
}

// fakeLines are lines whose addresses the test changes.
type fakeLines struct {
	mu        sync.Mutex
	addresses map[string]string // by interface
	err       error
}

func (l *fakeLines) Read(names []string) (all []uplink.Status, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, name := range names {
		s := uplink.Status{Interface: name, Index: i + 2}
		if a := l.addresses[name]; a != "" {
			s.Present, s.Address = true, netip.MustParsePrefix(a)
		}
		all = append(all, s)
	}
	return all, l.err
}

func (l *fakeLines) Interfaces() (all []uplink.Interface, err error) {
	list, err := l.Read([]string{"eth0", "eth1", "wlan0"})
	for _, s := range list {
		all = append(all, uplink.Interface{Status: s})
	}
	return all, err
}

// TestWiredSide: the pages follow the lines' addresses.
func TestWiredSide(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lines := &fakeLines{}
		var mu sync.Mutex
		open := map[string]*fakeListener{}
		broken := true
		var log strings.Builder
		w := &wiredSide{
			Daemon: &Daemon{log: slog.New(slog.NewTextHandler(&log, nil))}, lines: lines, changed: make(chan struct{}, 1),
			conf: config.Factory,
			listen: func(_ context.Context, a lineAddress) (net.Listener, error) {
				mu.Lock()
				defer mu.Unlock()
				if a.name == "eth1" && broken {
					return nil, errors.New("in use")
				}
				l := newFakeListener()
				open[a.address.String()] = l
				return l, nil
			},
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- w.serve(ctx, &http.Server{ErrorLog: slog.NewLogLogger(slog.NewTextHandler(io.Discard, nil), 0)}, func(l net.Listener) net.Listener { return l })
		}()
		has := func(want ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			var pages, got []string
			for a, l := range open {
				select {
				case <-l.closed:
				default:
					got = append(got, a)
				}
			}
			for _, a := range want {
				pages = append(pages, "https://"+netip.MustParsePrefix(a).Addr().String()+"/admin/")
			}
			slices.Sort(got)
			if !slices.Equal(got, want) || !slices.Equal(*w.pages.Load(), pages) && len(pages) > 0 {
				t.Errorf("served on %q, told as %q, want %q", got, *w.pages.Load(), want)
			}
		}
		change := func(addresses map[string]string, err error) {
			lines.mu.Lock()
			lines.addresses, lines.err = addresses, err
			lines.mu.Unlock()
			w.wake()
		}
		has()
		change(map[string]string{"eth0": "192.168.1.2/24", "wlan0": "10.80.0.1/22"}, nil)
		has("192.168.1.2/24")
		change(map[string]string{"eth0": "192.168.7.2/24"}, nil)
		has("192.168.7.2/24")
		change(map[string]string{}, errors.New("netlink"))
		has("192.168.7.2/24")
		change(map[string]string{"eth0": "192.168.7.2/24", "eth1": "192.168.8.2/24"}, nil)
		has("192.168.7.2/24")
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := strings.Count(log.String(), "in use"); n != 1 {
			t.Errorf("a failure is logged %d times:\n%s", n, &log)
		}
		mu.Lock()
		broken = false
		mu.Unlock()
		time.Sleep(lineEvery)
		has("192.168.7.2/24", "192.168.8.2/24")
		mu.Lock()
		gone := open["192.168.7.2/24"]
		mu.Unlock()
		gone.Close() // as when its interface disappears
		time.Sleep(2 * lineEvery)
		has("192.168.7.2/24", "192.168.8.2/24")
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if w.pages.Load() != nil {
			t.Error("pages are told that are not served")
		}
	})
}
