package gate_test

import (
	"errors"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	vnl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"passerelle/netctl"
	"passerelle/netctl/netlab"
)

// TestReceiverIsReset checks that a device in the middle of a download, which sends nothing on its own, gets a reset when its session
// or the sharing ends or the egress changes, and that the server gets one too. Other connections continue.
func TestReceiverIsReset(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, l *lab){
		"session": func(t *testing.T, l *lab) { must(t, l.gate.End(address(0))) },
		"sharing": func(t *testing.T, l *lab) { l.apply(t, l.paused()) },
		"line": func(t *testing.T, l *lab) {
			// The internet's hosts send no reset instead of the box.
			ok(l.Internet.Run(t.Context(), "iptables", "-A", "OUTPUT", "-p", "tcp", "--tcp-flags", "RST", "RST", "-j", "DROP"))(t)
			second := l.sharing(1)
			must(t, l.gate.Grant(t.Context(), netctl.Tranche{Chain: second.Cap, Bytes: netctl.Unlimited}))
			l.apply(t, second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, netlab.Options{Residents: 2, Uplinks: 2})
			l.config.Limits.Download = 100e6
			l.share(t)
			l.authorize(t, 0)
			l.authorize(t, 1)
			listening, other := l.connect(t, 0), l.connect(t, 1)
			if !listening.works() || !other.works() {
				t.Fatal("a connection through the gate does not work")
			}
			end(t, l)
			must(t, listening.client.SetReadDeadline(time.Now().Add(soon)))
			_, err := listening.client.Read(make([]byte, 1))
			if errors.Is(err, os.ErrDeadlineExceeded) || !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("the device got: %v, want a reset", err)
			}
			if err := reset(t, listening.server); !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, unix.EPIPE) {
				t.Errorf("the server got: %v, want a reset", err)
			}
			if name == "session" && !other.works() {
				t.Error("another's connection does not work any more")
			}
		})
	}
}

// TestAllReceiversAreReset changes the egress while many downloads run, so that some acknowledgements arrive while the routes change.
// Each device gets a reset.
func TestAllReceiversAreReset(t *testing.T) {
	t.Parallel()
	const downloads, changes = 20, 4 // with the resets, fewer new connections than a device may open at a time
	l := newLab(t, netlab.Options{Residents: 1, Uplinks: 2})
	l.config.Limits.Download = 100e6
	l.share(t)
	must(t, l.gate.Grant(t.Context(), netctl.Tranche{Chain: l.sharing(1).Cap, Bytes: netctl.Unlimited}))
	l.authorize(t, 0)
	for n := range changes {
		ends := make(chan error, downloads)
		var flows sync.WaitGroup
		for range downloads {
			c := l.connect(t, 0)
			flows.Add(1)
			go func() {
				for { // until the test ends
					if _, err := c.server.Write(make([]byte, 100)); err != nil {
						return
					}
					time.Sleep(time.Millisecond)
				}
			}()
			go func() {
				b := make([]byte, 1000)
				_, err := c.client.Read(b)
				flows.Done()
				for err == nil {
					_, err = c.client.Read(b)
				}
				ends <- err
			}()
		}
		flows.Wait()
		l.apply(t, l.sharing((n+1)%2))
		limit := time.After(soon)
		for k := range downloads {
			select {
			case err := <-ends:
				if !errors.Is(err, unix.ECONNRESET) {
					t.Errorf("a download ended with %v, want a reset", err)
				}
			case <-limit:
				t.Fatalf("after change %d, %d of %d downloads hang", n+1, downloads-k, downloads)
			}
		}
	}
}

// TestReceiversOfALineThatVanishes: the kernel itself drops the connections of an uplink whose interface or address disappears, before
// the gate applies anything. Devices that only receive get a reset, even if the line is soon the same as before.
func TestReceiversOfALineThatVanishes(t *testing.T) {
	t.Parallel()
	const downloads = 20 // with the resets, fewer new connections than a device may open at a time
	address := func(l *lab) error { return l.Box.RemoveAddresses(l.Lenders[0].Interface) }
	link := func(l *lab) error { return l.Lenders[0].Unplug() }
	for name, c := range map[string]struct {
		vanish func(*lab) error
		plan   func(t *testing.T, l *lab) netctl.Plan // applied after that
	}{
		"address, another line":  {address, func(_ *testing.T, l *lab) netctl.Plan { return l.sharing(1) }},
		"link, another line":     {link, func(_ *testing.T, l *lab) netctl.Plan { return l.sharing(1) }},
		"address, no other line": {address, func(_ *testing.T, l *lab) netctl.Plan { return l.paused() }},
		"link, no other line":    {link, func(_ *testing.T, l *lab) netctl.Plan { return l.paused() }},
		"address, it comes back": {address, func(t *testing.T, l *lab) netctl.Plan {
			must(t, l.Lenders[0].Configure())
			return l.sharing(0)
		}},
		"link, it comes back": {link, func(t *testing.T, l *lab) netctl.Plan {
			must(t, l.Lenders[0].Plug())
			return l.sharing(0)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, netlab.Options{Residents: 1, Uplinks: 2})
			l.config.Limits.Download = 100e6
			l.share(t)
			must(t, l.gate.Grant(t.Context(), netctl.Tranche{Chain: l.sharing(1).Cap, Bytes: netctl.Unlimited}))
			l.authorize(t, 0)
			ends := make(chan error, downloads)
			for range downloads {
				d := l.connect(t, 0)
				if !d.works() {
					t.Fatal("a connection through the gate does not work")
				}
				must(t, d.client.SetReadDeadline(time.Time{}))
				go func() {
					_, err := d.client.Read(make([]byte, 1))
					ends <- err
				}()
			}
			must(t, c.vanish(l))
			for deadline := time.Now().Add(soon); l.tracked(t) > 0; {
				if time.Now().After(deadline) {
					t.Fatalf("the kernel tracks %d connections after %s", l.tracked(t), name)
				}
			}
			l.apply(t, c.plan(t, l))
			limit := time.After(soon)
			for k := range downloads {
				select {
				case err := <-ends:
					if !errors.Is(err, unix.ECONNRESET) {
						t.Errorf("a download ended with %v, want a reset", err)
					}
				case <-limit:
					t.Fatalf("%d of %d downloads hang", downloads-k, downloads)
				}
			}
		})
	}
}

// tracked counts the TCP connections of residents that the kernel tracks.
func (l *lab) tracked(t *testing.T) (n int) {
	t.Helper()
	must(t, l.Box.Do(func() error {
		conntrack, err := vnl.NewHandle(unix.NETLINK_NETFILTER)
		if err != nil {
			return err
		}
		defer conntrack.Close()
		flows, err := conntrack.ConntrackTableList(vnl.ConntrackTable, unix.AF_INET)
		for _, f := range flows {
			from, _ := netip.AddrFromSlice(f.Forward.SrcIP)
			if f.Forward.Protocol == unix.IPPROTO_TCP && boxAddress.Masked().Contains(from) {
				n++
			}
		}
		return err
	}))
	return n
}
