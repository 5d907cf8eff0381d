package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/hostile"
)

// resident is a resident's interface.
const resident = "wlan0"

var (
	hotspot    = netip.MustParsePrefix(boxPrefix)
	everywhere = netip.MustParsePrefix("0.0.0.0/0")
)

// rawSocket opens a raw socket on the resident's interface, after setting it up.
func (b *box) rawSocket(r *netlab.Resident) *hostile.RawSocket {
	b.t.Helper()
	b.must(r.SetUp(resident, true))
	w, err := hostile.Open(r.Host, resident)
	b.must(err)
	b.t.Cleanup(func() { w.Close() })
	return w
}

// byHand gives the resident a static address, like a user, or like a device that kept its lease over a power cut.
func (b *box) byHand(r *netlab.Resident, addr netip.Addr) {
	b.t.Helper()
	b.must(r.SetUp(resident, true))
	b.must(r.AddAddress(resident, netip.PrefixFrom(addr, hotspot.Bits())))
	b.must(r.AddRoute(everywhere, hotspot.Addr()))
	b.must(r.SetResolvers(hotspot.Addr()))
}

// welcomed waits until the box shows the resident its first page.
func (b *box) welcomed(r *netlab.Resident) {
	b.t.Helper()
	wait(b.t, r.Name()+"'s page", func() error {
		reply, err := b.get(r, portal+"/")
		if err == nil && reply.Status != http.StatusOK {
			err = fmt.Errorf("it was answered with %d", reply.Status)
		}
		return err
	})
}

// ask sends a DHCP message and returns the server's answer, or an error after a short timeout.
func (b *box) ask(w *hostile.RawSocket, m hostile.DHCP) (hostile.DHCP, error) {
	b.t.Helper()
	m.ID = rand.Uint32()
	b.must(w.Send(m.Frame()))
	ctx, cancel := context.WithTimeout(b.t.Context(), brief)
	defer cancel()
	frame, err := w.Receive(ctx, func(f []byte) bool {
		d, ok := hostile.ReadDHCP(f)
		return ok && d.ID == m.ID
	})
	answer, _ := hostile.ReadDHCP(frame)
	return answer, err
}

// leases requests an address for the device, preferably the wanted one, and returns the one that it got.
func (b *box) leases(w *hostile.RawSocket, mac net.HardwareAddr, wanted netip.Addr) (got netip.Addr) {
	b.t.Helper()
	wait(b.t, "a lease", func() error {
		link := hostile.Link{From: mac}
		offer, err := b.ask(w, hostile.DHCP{Link: link, Type: hostile.Discover, RequestedAddr: wanted})
		if err != nil {
			return err
		}
		ack, err := b.ask(w, hostile.DHCP{Link: link, Type: hostile.Request, RequestedAddr: offer.YourAddr, Server: offer.Server})
		if err == nil && ack.Type != hostile.Ack {
			err = fmt.Errorf("the server's word is of kind %d", ack.Type)
		}
		got = ack.YourAddr
		return err
	})
	return got
}

// givesBack releases the device's lease.
func (b *box) givesBack(w *hostile.RawSocket, mac net.HardwareAddr, addr netip.Addr) {
	b.t.Helper()
	release := hostile.DHCP{
		Link: hostile.Link{From: mac}, Source: addr, Type: hostile.Release, ClientAddr: addr, Server: hotspot.Addr(),
	}
	wait(b.t, "the end of a lease", func() error {
		b.must(w.Send(release.Frame()))
		ctx, cancel := context.WithTimeout(b.t.Context(), brief)
		defer cancel()
		for ctx.Err() == nil {
			leases, err := os.ReadFile(b.path("leases"))
			b.must(err)
			if !strings.Contains(string(leases), " "+addr.String()+" ") {
				return nil
			}
			time.Sleep(netlab.Tick)
		}
		return errors.New("it still runs")
	})
}

// TestByHand: a device with a static address gets the page, and the internet when it presses the button.
func TestByHand(t *testing.T) {
	t.Parallel()
	for name, ports := range map[string]bool{"interface": false, "bridge": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, settings{}, netlab.Options{Residents: 1, Ports: ports})
			r := b.scene.Residents[0]
			b.byHand(r, netip.MustParseAddr("10.80.1.77"))
			b.welcomed(r)
			b.admit(r)
			// Its address is still known when a new daemon runs, which does not know any devices yet.
			b.kill()
			b.restart()
			b.online(r)
			b.welcomed(r)
		})
	}
}

// TestManyByHand: fifty devices that kept their addresses over a power cut of the box all get the page, even if they share a port.
func TestManyByHand(t *testing.T) {
	t.Parallel()
	const devices = 50
	b := newBox(t, settings{}, netlab.Options{Residents: devices})
	var all sync.WaitGroup
	for k, r := range b.scene.Residents {
		b.byHand(r, netip.AddrFrom4([4]byte{10, 80, 2, byte(k + 1)}))
	}
	missing := make(chan string, devices)
	for _, r := range b.scene.Residents {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			for ctx.Err() == nil {
				if reply, err := b.get(r, portal+"/"); err == nil && reply.Status == http.StatusOK {
					return
				}
			}
			missing <- r.Name()
		})
	}
	all.Wait()
	close(missing)
	for name := range missing {
		t.Errorf("%s has no page", name)
	}
}

// TestSameAddress: an address that is in use without a lease is leased to no other device, whether its holder is online or not, and
// however the daemon ended.
func TestSameAddress(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{Residents: 2, Ports: true})
	holder, other := b.scene.Residents[0], b.scene.Residents[1]
	w := b.rawSocket(other)
	// The address that dnsmasq assigned to the other device, which has left.
	addr := b.leases(w, other.MAC, netip.Addr{})
	b.givesBack(w, other.MAC, addr)
	b.byHand(holder, addr)
	b.welcomed(holder)

	kept := func(when string) {
		t.Helper()
		for _, wanted := range []netip.Addr{{}, addr} {
			for k := range 3 {
				mac := bytes.Clone(other.MAC)
				mac[1] = byte(k)
				got := b.leases(w, mac, wanted)
				if got == addr {
					t.Fatalf("%s, the address is leased to another", when)
				}
				b.givesBack(w, mac, got)
			}
		}
	}
	wait(t, "another address for another device", func() error { // dnsmasq learns of the holder soon after the holder got its page
		got := b.leases(w, other.MAC, addr)
		b.givesBack(w, other.MAC, got)
		if got == addr {
			b.welcomed(holder)
			return errors.New("it got the holder's")
		}
		return nil
	})
	kept("with its holder at the first page")
	b.admit(holder)
	d := b.download(holder)
	kept("with its holder online")
	b.kill()
	b.restart()
	kept("after a crash")
	b.flows(d)
	b.stop()
	b.restart()
	kept("after a restart")
	b.online(holder)
	b.press(holder, "/session/end")
	b.welcomed(holder)
	kept("after the end of its holder's session")
	b.welcomed(holder)
}

// TestLongLease: the first lease is short. A device whose user has pressed the button stays, so its next lease is long.
func TestLongLease(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{Residents: 1})
	r := b.scene.Residents[0]
	first := b.newcomer(r)
	if first.Time != 2*time.Minute {
		t.Errorf("the first lease is for %v", first.Time)
	}
	wait(t, "a long lease", func() error {
		if l := b.join(r); l.Time != 30*time.Minute || l.Address != first.Address {
			return fmt.Errorf("the lease of %s is for %v", l.Address, l.Time)
		}
		return nil
	})
	b.online(r)
}

// TestFewAddresses: of all addresses that a device claims, the box answers it at only two.
func TestFewAddresses(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{Residents: 1})
	r := b.scene.Residents[0]
	const addresses = 6
	var all []netip.Addr
	for n := range byte(addresses) {
		all = append(all, netip.AddrFrom4([4]byte{10, 80, 1, 100 + n}))
		b.byHand(r, all[n])
	}
	// served returns the addresses from which the device reaches the box.
	served := func() (from []netip.Addr) {
		for _, addr := range all {
			err := r.Do(func() error {
				d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)), Timeout: brief / 4}
				c, err := d.DialContext(t.Context(), "tcp", netip.AddrPortFrom(hotspot.Addr(), 80).String())
				if err == nil {
					c.Close()
				}
				return err
			})
			if err == nil {
				from = append(from, addr)
			}
		}
		return from
	}
	wait(t, "two addresses", func() error {
		if from := served(); len(from) != 2 {
			return fmt.Errorf("it is answered at %v", from)
		}
		return nil
	})
	for range 3 {
		if from := served(); len(from) != 2 {
			t.Errorf("the device is answered at %v", from)
		}
	}
}

// takes moves an address to another device after its last holder releases it, once the box has unbound it.
func (b *box) takes(from, to *hostile.RawSocket, last, next net.HardwareAddr, addr netip.Addr) {
	b.t.Helper()
	wait(b.t, "an address that was another's", func() error {
		b.givesBack(from, last, addr)
		got := b.leases(to, next, addr)
		if got != addr {
			b.givesBack(to, next, got)
			return fmt.Errorf("the other device got %s", got)
		}
		return nil
	})
}

// TestNextHolder: the new holder of another device's address is reachable at it, whether it is new on the network, known with another
// address, or arrives while no daemon runs.
func TestNextHolder(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{Residents: 2, Ports: true})
	first, second := b.scene.Residents[0], b.scene.Residents[1]
	addr := b.newcomer(first).Address.Addr()
	b.press(first, "/session/end")
	b.welcomed(first) // the box has its MAC address
	ofFirst, ofSecond := b.rawSocket(first), b.rawSocket(second)

	// This device knows the box's MAC address, and sends no ARP request.
	own := b.leases(ofSecond, second.MAC, netip.Addr{})
	b.byHand(second, own)
	b.welcomed(second)
	b.givesBack(ofSecond, second.MAC, own)
	b.takes(ofFirst, ofSecond, first.MAC, second.MAC, addr)
	b.must(second.RemoveAddresses(resident))
	b.byHand(second, addr)
	b.welcomed(second)
	b.admit(second)
	b.press(second, "/session/end")
	b.unheard(first)

	b.takes(ofSecond, ofFirst, second.MAC, first.MAC, addr)
	b.welcomed(first)
	b.must(second.SetUp(resident, false))
	b.must(second.RemoveAddresses(resident))
	ofSecond = b.rawSocket(second)
	b.givesBack(ofFirst, first.MAC, addr)
	b.frozen(func() {
		if got := b.leases(ofSecond, second.MAC, addr); got != addr {
			t.Fatalf("without a daemon, the next holder got %s", got)
		}
		b.byHand(second, addr)
		ctx, cancel := context.WithTimeout(t.Context(), brief)
		defer cancel()
		conn, err := second.Dial(ctx, "tcp", "10.80.0.1:80")
		if err != nil {
			t.Fatalf("without a daemon, the next holder does not reach the box: %v", err)
		}
		conn.Close()
	})
}

// TestBindingsEnd: the kernel's bindings of addresses to devices expire without a daemon, too.
func TestBindingsEnd(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{Residents: 3})
	leased, online, byHand := b.scene.Residents[0], b.scene.Residents[1], b.scene.Residents[2]
	b.join(leased)
	b.newcomer(online)
	b.byHand(byHand, netip.MustParseAddr("10.80.1.77"))
	b.welcomed(byHand)
	b.kill()
	held := b.run("nft", "list", "set", "netdev", "passerelle", "bindings")
	_, elements, _ := strings.Cut(held, "elements = {")
	elements, _, _ = strings.Cut(elements, "}")
	count := 0
	for e := range strings.SplitSeq(elements, ",") {
		count++
		if !strings.Contains(e, "expires") {
			t.Errorf("an entry has no end: %s", e)
		}
	}
	if count != 3 {
		t.Errorf("%d addresses are bound, want 3:\n%s", count, held)
	}
	if fixed := b.run("ip", "neigh", "show", "nud", "permanent"); fixed != "" {
		t.Errorf("the neighbour table has entries without an end:\n%s", fixed)
	}
}
