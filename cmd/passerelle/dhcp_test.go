package main

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"

	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/hostile"
)

// leased returns the number of leases.
func (b *box) leased() int {
	b.t.Helper()
	text, err := os.ReadFile(b.path("leases"))
	b.must(err)
	return bytes.Count(text, []byte("\n"))
}

// TestDiscoverFlood: however often a device requests a lease, new devices get theirs at the first attempt, on the same port and on others.
func TestDiscoverFlood(t *testing.T) {
	t.Parallel()
	const newcomers = 10
	for name, ports := range map[string]bool{"interface": false, "bridge": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, settings{}, netlab.Options{Residents: 1 + newcomers, Ports: ports})
			attacker := b.scene.Residents[0]
			w := b.rawSocket(attacker)
			for round, rate := range []int{30, 100, 400} {
				discover := func(int) []byte {
					return hostile.DHCP{Link: hostile.Link{From: attacker.MAC}, ID: rand.Uint32(), Type: hostile.Discover}.Frame()
				}
				for n := range rate {
					b.must(w.Send(discover(n)))
				}
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error)
				go func() {
					_, err := w.Flood(ctx, rate, discover)
					ended <- err
				}()
				var all sync.WaitGroup
				for k, r := range b.scene.Residents[1:] {
					all.Go(func() {
						if err := r.SetMAC(madeUp(byte(round), k)); err != nil {
							t.Error(err)
						} else if _, err := r.Join(t.Context()); err != nil {
							t.Errorf("at %d a second: %v", rate, err)
						}
					})
				}
				all.Wait()
				cancel()
				b.must(<-ended)
			}
			b.waitSound()
		})
	}
}

// TestMadeUpHardware: a device has one MAC address and one lease, whatever its messages contain.
func TestMadeUpHardware(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{Residents: 2, Ports: true})
	attacker := b.scene.Residents[0]
	good := b.rawSocket(b.scene.Residents[1])
	own := b.join(attacker).Address.Addr()
	w := b.rawSocket(attacker)
	before := b.leased()
	devices := 0
	for name, message := range map[string]func(l hostile.Link, n int) hostile.DHCP{
		"of others": func(l hostile.Link, n int) hostile.DHCP {
			return hostile.DHCP{Link: l, Hardware: madeUp(1, n)}
		},
		"of others, from its address": func(l hostile.Link, n int) hostile.DHCP {
			l.From = attacker.MAC
			return hostile.DHCP{Link: l, Source: own, Hardware: madeUp(1, n)}
		},
		"of others, to the box alone": func(l hostile.Link, n int) hostile.DHCP {
			return hostile.DHCP{Link: l, Source: own, Destination: hotspot.Addr(), ClientAddr: own, Hardware: madeUp(1, n)}
		},
		"longer ones": func(l hostile.Link, n int) hostile.DHCP {
			return hostile.DHCP{Link: l, Hardware: append(bytes.Clone(l.From), byte(n>>8), byte(n))}
		},
		"none": func(l hostile.Link, n int) hostile.DHCP {
			return hostile.DHCP{Link: l, Hardware: net.HardwareAddr{}, Identifier: []byte{0, byte(n >> 8), byte(n)}}
		},
		"of others, as a relay": func(l hostile.Link, n int) hostile.DHCP {
			return hostile.DHCP{Link: l, Source: own, Hardware: madeUp(1, n), Relay: own}
		},
		"its own, as a relay": func(l hostile.Link, n int) hostile.DHCP {
			return hostile.DHCP{Link: l, Source: own, Relay: own, Identifier: []byte{0, byte(n >> 8), byte(n)}}
		},
	} {
		for _, kind := range []byte{hostile.Discover, hostile.Request} {
			for _, cut := range []bool{false, true} {
				// Each time a different device, so that its own rate limit is not what is tested.
				link := hostile.Link{From: madeUp(2, devices)}
				devices++
				answers := w.Count(func(f []byte) bool { // except answers to valid devices, which all can receive
					d, ok := hostile.ReadDHCP(f)
					return ok && !bytes.HasPrefix(d.Hardware, madeUp(3, 0)[:3])
				})
				for n := range 8 {
					m := message(link, n)
					m.ID, m.Type = uint32(n), kind
					if kind == hostile.Request {
						m.RequestedAddr = netip.AddrFrom4([4]byte{10, 80, 3, byte(n)})
					}
					if cut {
						b.must(w.Send(fragments(m.Frame())...))
					} else {
						b.must(w.Send(m.Frame()))
					}
				}
				wait(t, "an answer to a device of good faith", func() error { // by then dnsmasq has read everything before
					_, err := b.ask(good, hostile.DHCP{Link: hostile.Link{From: madeUp(3, devices%4)}, Type: hostile.Discover})
					return err
				})
				if frames, _, err := answers.Stop(); err != nil || frames > 0 {
					t.Errorf("hardware addresses %s, kind %d, cut %v: %d answers, %v", name, kind, cut, frames, err)
				}
			}
		}
	}
	if now := b.leased(); now != before {
		t.Errorf("there were %d leases and are %d", before, now)
	}
	b.waitSound()
}

// TestOtherNetwork: a device with a lease from another network gets a NAK at once, whatever that network is.
func TestOtherNetwork(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{Residents: 1, Ports: true})
	r := b.scene.Residents[0]
	w := b.rawSocket(r)
	for _, text := range []string{"192.168.7.50", "192.168.1.50", "192.168.1.2", "192.168.1.1", "10.0.0.9", "172.20.10.3", "100.64.1.1", "169.254.3.4", "81.2.3.4"} {
		addr := netip.MustParseAddr(text)
		link := hostile.Link{From: r.MAC}
		for name, m := range map[string]hostile.DHCP{
			"renews with anybody":        {Link: link, Source: addr, Type: hostile.Request, ClientAddr: addr},
			"renews, without an address": {Link: link, Type: hostile.Request, ClientAddr: addr},
			"comes back":                 {Link: link, Type: hostile.Request, RequestedAddr: addr},
		} {
			wait(t, "an answer", func() error {
				answer, err := b.ask(w, m)
				if err == nil && answer.Type != hostile.Nak {
					t.Errorf("from %s, a device that %s is answered with kind %d", addr, name, answer.Type)
				}
				return err
			})
		}
	}
	// No state is kept for any sender.
	before := b.tracked()
	const devices = 60
	for n := range devices {
		addr := netip.AddrFrom4([4]byte{172, 16, byte(n), 9})
		b.must(w.Send(hostile.DHCP{
			Link: hostile.Link{From: madeUp(0, n)}, Source: addr, Type: hostile.Request, ClientAddr: addr,
		}.Frame()))
	}
	b.leases(w, r.MAC, netip.Addr{})
	if now := b.tracked(); now > before+devices/2 { // the box has connections of its own
		t.Errorf("%d connections were tracked and %d are", before, now)
	}
}
