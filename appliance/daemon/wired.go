package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"passerelle/appliance/config"
	"passerelle/appliance/plan"
	"passerelle/netctl/uplink"
)

// lineEvery is how often the lines' addresses are read again, besides when the kernel reports a change.
const lineEvery = 10 * time.Second

// lineAddress is the box's address on a line's own network.
type lineAddress struct {
	index   int // of the interface; another interface of the same name has another index
	name    string
	address netip.Prefix
}

// lineReader is what wiredSide needs of uplink.Reader.
type lineReader interface {
	Read(names []string) ([]uplink.Status, error)
	Interfaces() ([]uplink.Interface, error)
}

// wiredSide serves the technicians' pages on the lines' own networks.
type wiredSide struct {
	*Daemon
	lines   lineReader
	conf    func() *config.Config
	changed chan struct{} // has an element if links may have changed since the last receive
	listen  func(context.Context, lineAddress) (net.Listener, error)
}

// wake makes serve read the addresses again.
func (w *wiredSide) wake() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// opened is a listener that is served.
type opened struct {
	net.Listener
	ended chan struct{} // closed when it is no longer served
}

// serve serves the lines' addresses as they come and go, until ctx ends. protect wraps each listener.
func (w *wiredSide) serve(ctx context.Context, s *http.Server, protect func(net.Listener) net.Listener) error {
	open, failed := map[lineAddress]opened{}, map[lineAddress]bool{}
	var serving errgroup.Group
	defer func() {
		for _, l := range open {
			l.Close()
		}
		serving.Wait()
		w.pages.Store(nil)
	}()
	again := time.NewTicker(lineEvery)
	defer again.Stop()
	for {
		wanted, err := w.addresses()
		if err != nil {
			w.log.Warn("technicians' pages do not follow the connections' addresses", "error", err)
			wanted = slices.Collect(maps.Keys(open))
		}
		for a, l := range open {
			select {
			case <-l.ended:
				delete(open, a)
			default:
				if !slices.Contains(wanted, a) {
					l.Close()
					delete(open, a)
				}
			}
		}
		maps.DeleteFunc(failed, func(a lineAddress, _ bool) bool { return !slices.Contains(wanted, a) })
		for _, a := range wanted {
			if _, ok := open[a]; ok {
				continue
			}
			l, err := w.listen(ctx, a)
			if err != nil {
				if !failed[a] {
					w.log.Warn("no technicians' pages on a connection", "interface", a.name, "error", err)
				}
				failed[a] = true
				continue
			}
			o := opened{l, make(chan struct{})}
			open[a] = o
			delete(failed, a)
			serving.Go(func() error {
				defer close(o.ended)
				err := s.Serve(protect(l))
				if !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
					w.log.Warn("technicians' pages on a connection ended", "interface", a.name, "error", err)
				}
				return nil
			})
		}
		w.tell(open)
		select {
		case <-ctx.Done():
			return nil
		case <-w.changed:
		case <-again.C:
		}
	}
}

// tell adds the addresses to the status.
func (w *wiredSide) tell(open map[lineAddress]opened) {
	pages := []string{}
	for a := range open {
		pages = append(pages, "https://"+a.address.Addr().String()+"/admin/")
	}
	slices.Sort(pages)
	w.pages.Store(&pages)
}

// addresses returns the box's private address on each donation's line. A box without donations is being set up, and returns those
// of all its interfaces, since the technician may be on any of them. A public address gets no page: strangers reach it.
func (w *wiredSide) addresses() (all []lineAddress, err error) {
	c := w.conf()
	var lines []uplink.Status
	if len(c.Donations) > 0 {
		names := make([]string, len(c.Donations))
		for i, d := range c.Donations {
			names[i] = d.Interface
		}
		lines, err = w.lines.Read(names)
	} else {
		var found []uplink.Interface
		found, err = w.lines.Interfaces()
		for _, i := range found {
			lines = append(lines, i.Status)
		}
	}
	for _, l := range lines {
		a := lineAddress{l.Index, l.Interface, l.Address}
		if l.Present && usable(a, c) && !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all, err
}

// usable tells whether technicians may reach an address from its line's own network.
func usable(a lineAddress, c *config.Config) bool {
	addr := a.address.Addr()
	return addr.Is4() && (addr.IsPrivate() || addr.IsLinkLocalUnicast()) && addr != c.Hotspot.Address.Addr() && a.name != c.Hotspot.Interface
}

// listenOnLine listens on a line's address, for packets that arrive at its interface. So packets of the hotspot never reach it,
// whatever the rules, and answers leave by the same line if two lines have the same network.
func listenOnLine(ctx context.Context, a lineAddress) (net.Listener, error) {
	bound := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		ctlErr := c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), a.name) })
		return errors.Join(ctlErr, err)
	}}
	l, err := bound.Listen(ctx, "tcp4", netip.AddrPortFrom(a.address.Addr(), plan.PortSecure).String())
	if err != nil {
		return nil, fmt.Errorf("serve technicians' pages: %w", err)
	}
	return neighbors{l, a.address.Masked()}, nil
}

// neighbors is a listener for the clients of one network. Connections from elsewhere, which a router forwards, are refused.
type neighbors struct {
	net.Listener
	network netip.Prefix
}

func (n neighbors) Accept() (net.Conn, error) {
	for {
		c, err := n.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if from, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil && n.network.Contains(from.Addr().Unmap()) {
			return c, nil
		}
		if tcp, ok := c.(*net.TCPConn); ok {
			tcp.SetLinger(0) // reset it, as a closed port does
		}
		c.Close()
	}
}
