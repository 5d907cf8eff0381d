package netlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
)

// Host is a machine of the world. Its methods are safe for concurrent use.
type Host struct {
	world *World
	name  string
	ns    *namespace
	dir   string // its folder among the world's temporary files

	mu        sync.Mutex
	closed    bool
	procs     map[*Proc]bool
	resolvers []netip.Addr
}

// AddHost adds a machine with only a loopback interface. Unless the world has IPv6, it is off on all its interfaces, including
// those added later.
func (w *World) AddHost(name string) (*Host, error) {
	if !validName.MatchString(name) {
		return nil, fmt.Errorf("add host %q: a name is a lower-case word of at most 16 letters and digits", name)
	}
	h := &Host{world: w, name: name, dir: filepath.Join(w.dir, name), procs: make(map[*Proc]bool)}
	w.mu.Lock()
	taken := w.hosts[name] != nil
	closed := w.closed
	if !taken && !closed {
		w.hosts[name] = h
	}
	w.mu.Unlock()
	if closed {
		return nil, fmt.Errorf("add host %q: %w", name, errClosed)
	}
	if taken {
		return nil, fmt.Errorf("add host %q: the world has one already", name)
	}
	if err := h.build(); err != nil {
		return nil, fmt.Errorf("add host %q: %w", name, err)
	}
	return h, nil
}

// build creates the host's namespaces and brings its loopback up.
func (h *Host) build() error {
	if err := os.MkdirAll(h.Path("/run"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(h.resolvConf(), nil, 0o644); err != nil {
		return err
	}
	ns, err := makeNamespace(h.world.id+"-"+h.name, mounts{run: h.Path("/run"), resolvConf: h.resolvConf()})
	if err != nil {
		return err
	}
	h.ns = ns
	if err := h.world.addCleanup(h.close); err != nil {
		return err
	}
	if !h.world.ipv6 {
		for _, conf := range []string{"all", "default"} {
			// A kernel without IPv6 has nothing to turn off.
			if err := ignoreMissing(h.Sysctl("net/ipv6/conf/"+conf+"/disable_ipv6", "1")); err != nil {
				return err
			}
		}
	}
	return h.SetUp("lo", true)
}

// close kills the remaining processes in the host's namespace, including those that others started there, and removes the
// namespace.
func (h *Host) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	return errors.Join(killProcessesIn(ctx, h.ns.path), h.ns.close())
}

// stopProcs stops every process that was started through the host, and prevents further ones.
func (h *Host) stopProcs() {
	h.mu.Lock()
	h.closed = true
	procs := make([]*Proc, 0, len(h.procs))
	for p := range h.procs {
		procs = append(procs, p)
	}
	h.mu.Unlock()
	var stopping sync.WaitGroup
	for _, p := range procs {
		stopping.Go(func() { p.Stop() }) // close kills any process that is left
	}
	stopping.Wait()
}

// addProc starts the process in the host's namespaces.
func (h *Host) addProc(p *Proc) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errClosed
	}
	if err := h.ns.doWithMounts(p.cmd.Start); err != nil {
		return err
	}
	h.procs[p] = true
	return nil
}

func (h *Host) removeProc(p *Proc) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.procs, p)
}

// Name returns the host's name in its world.
func (h *Host) Name() string { return h.name }

// Namespace returns the name of the host's namespace for `ip netns exec`.
func (h *Host) Namespace() string { return filepath.Base(h.ns.path) }

// NamespacePath returns the file on which the host's network namespace is mounted, for setns and nsenter.
func (h *Host) NamespacePath() string { return h.ns.path }

// Path returns the path, outside the namespace, of a file that the host's programs see at path below /run.
func (h *Host) Path(path string) string { return filepath.Join(h.dir, path) }

func (h *Host) resolvConf() string { return filepath.Join(h.dir, "resolv.conf") }

// Netlink returns a handle in the host's namespace. The world's Close closes it; the caller must not.
func (h *Host) Netlink() *netlink.Handle { return h.ns.link }

// Do runs f in the host's network namespace, on a thread that runs nothing else meanwhile. A thread that cannot return to its
// namespace is discarded. Sockets that f opens stay in the namespace, and may be used from any goroutine. Goroutines that f
// starts are not in the namespace. Neither is code that opens its sockets later or in its own goroutines (http.Client,
// net.Resolver): use HTTPClient, Dial and LookupHost. f sees the machine's files, not the host's. It does not run on the
// caller's goroutine: it must return its error, not call t.FailNow.
func (h *Host) Do(f func() error) error { return h.ns.do(f) }

// Sysctl writes a kernel parameter of the namespace, given as a path below /proc/sys, e.g. "net/ipv4/ip_forward".
func (h *Host) Sysctl(key, value string) error {
	return h.Do(func() error { return os.WriteFile("/proc/sys/"+key, []byte(value), 0) })
}

// SetResolvers sets the host's resolvers: for its /etc/resolv.conf, LookupHost, Dial and HTTPClient.
func (h *Host) SetResolvers(servers ...netip.Addr) error {
	var text strings.Builder
	for _, server := range servers {
		fmt.Fprintf(&text, "nameserver %s\n", server)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.resolvers = servers
	return os.WriteFile(h.resolvConf(), []byte(text.String()), 0o644) // written in place, because it is bind-mounted
}

// AddAddress adds an address with its prefix length to an interface.
func (h *Host) AddAddress(name string, address netip.Prefix) error {
	link, err := h.link(name)
	if err != nil {
		return err
	}
	if err := h.ns.link.AddrReplace(link, &netlink.Addr{IPNet: ipNet(address)}); err != nil {
		return fmt.Errorf("add address %s to %s on %s: %w", address, name, h.name, err)
	}
	return nil
}

// AddRoute adds a route to a network via a gateway, or replaces the existing route.
func (h *Host) AddRoute(network netip.Prefix, via netip.Addr) error {
	route := &netlink.Route{Dst: ipNet(network.Masked()), Gw: via.AsSlice()}
	if err := h.ns.link.RouteReplace(route); err != nil {
		return fmt.Errorf("add route to %s via %s on %s: %w", network, via, h.name, err)
	}
	return nil
}

// SetUp brings an interface up or down.
func (h *Host) SetUp(name string, up bool) error {
	link, err := h.link(name)
	if err != nil {
		return err
	}
	set, verb := h.ns.link.LinkSetDown, "bring down"
	if up {
		set, verb = h.ns.link.LinkSetUp, "bring up"
	}
	if err := set(link); err != nil {
		return fmt.Errorf("%s %s on %s: %w", verb, name, h.name, err)
	}
	return nil
}

// Counters reads how many bytes an interface has received and sent, link headers included.
func (h *Host) Counters(name string) (rx, tx uint64, err error) {
	link, err := h.link(name)
	if err != nil {
		return 0, 0, err
	}
	stats := link.Attrs().Statistics
	if stats == nil {
		return 0, 0, fmt.Errorf("the kernel sends no statistics of %s on %s", name, h.name)
	}
	return stats.RxBytes, stats.TxBytes, nil
}

func (h *Host) link(name string) (netlink.Link, error) {
	link, err := h.ns.link.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find interface %s on %s: %w", name, h.name, err)
	}
	return link, nil
}

// Listen listens on an IP address and port of the host ("tcp"). Close closes the listener.
func (h *Host) Listen(network, address string) (l net.Listener, err error) {
	err = h.Do(func() error {
		l, err = net.Listen(network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", h.name, err)
	}
	return l, h.closeWithWorld(l)
}

// ListenPacket opens a datagram socket on an IP address and port of the host ("udp"). Close closes it.
func (h *Host) ListenPacket(network, address string) (c net.PacketConn, err error) {
	err = h.Do(func() error {
		c, err = net.ListenPacket(network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", h.name, err)
	}
	return c, h.closeWithWorld(c)
}

// closeWithWorld closes c with the world. c may be closed before.
func (h *Host) closeWithWorld(c io.Closer) error {
	return h.world.addCleanup(func() error {
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
}

// Dial connects from the host. It resolves a name in the address with the host's own resolvers.
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	addrs, err := h.LookupHost(ctx, name)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, addr := range addrs {
		var conn net.Conn
		err := h.Do(func() (err error) {
			var dialer net.Dialer // a literal address is dialled on the calling thread
			conn, err = dialer.DialContext(ctx, network, net.JoinHostPort(addr.String(), port))
			return err
		})
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// HTTPClient returns a client that connects from the host, uses its resolvers, and follows no redirect. It keeps
// connections alive until the world is closed; its Transport (an *http.Transport) may be changed before use.
func (h *Host) HTTPClient() *http.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 1000, ResponseHeaderTimeout: 30 * time.Second}
	h.world.addCleanup(func() error { transport.CloseIdleConnections(); return nil })
	return h.newClient(transport)
}

func (h *Host) newClient(transport *http.Transport) *http.Client {
	transport.DialContext = h.Dial
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Expose lets programs in the caller's network namespace, such as a browser, connect to an address as if they ran on the host.
// It listens on a loopback address, e.g. "127.0.0.1:0", and relays each connection until the world is closed.
func (h *Host) Expose(listen, target string) (net.Addr, error) {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("expose %s of %s: %w", target, h.name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var relays sync.WaitGroup
	relays.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			relays.Go(func() { h.relay(ctx, near, target) })
		}
	})
	return listener.Addr(), h.world.addCleanup(func() error {
		err := listener.Close()
		cancel()
		relays.Wait()
		return err
	})
}

// relay copies in both directions between a connection and a new one from the host, until both or the context end.
func (h *Host) relay(ctx context.Context, near net.Conn, target string) {
	defer near.Close()
	far, err := h.Dial(ctx, "tcp", target)
	if err != nil {
		return // the near side sees its connection closed
	}
	defer far.Close()
	defer context.AfterFunc(ctx, func() { near.Close(); far.Close() })()
	var ways sync.WaitGroup
	oneWay := func(to, from net.Conn) {
		io.Copy(to, from)
		to.(*net.TCPConn).CloseWrite()
	}
	ways.Go(func() { oneWay(far, near) })
	ways.Go(func() { oneWay(near, far) })
	ways.Wait()
}

// defaultNet is the destination of a default route.
var defaultNet = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
