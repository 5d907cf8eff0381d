package bindings_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/bindings"
	"passerelle/appliance/plan"
	"passerelle/netctl"
)

var network = netip.MustParsePrefix("10.80.0.1/22")

// addr returns the address with this number in the network.
func addr(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 80, byte(n >> 8), byte(n)}) }

// mac returns the hardware address of the device with this number.
func mac(n int) netctl.MAC { return netctl.MAC{2, 0, 0, 0, byte(n >> 8), byte(n)} }

func lease(a, m int) bindings.Lease {
	return bindings.Lease{Addr: addr(a), MAC: mac(m), Left: time.Minute}
}

func leaseFor(a, m, left int) bindings.Lease {
	return bindings.Lease{Addr: addr(a), MAC: mac(m), Left: time.Duration(left) * time.Second}
}

func session(a, m int) netctl.Session {
	return netctl.Session{Addr: addr(a), MAC: mac(m), Left: time.Hour}
}

func stranger(port, a, m int) netctl.UnknownSource {
	return netctl.UnknownSource{Port: port, Addr: addr(a), MAC: mac(m)}
}

func claim(a int, ms ...int) netctl.Claim {
	c := netctl.Claim{Addr: addr(a)}
	for _, m := range ms {
		c.MACs = append(c.MACs, mac(m))
	}
	return c
}

// text formats a result: addresses with their devices, where "!" marks settled devices and "+" second addresses; the hosts for
// dnsmasq; the addresses to probe.
func text(r bindings.Result) string {
	var words []string
	number := func(a netip.Addr) int { b := a.As4(); return int(b[2])<<8 | int(b[3]) }
	device := func(m netctl.MAC) int { return int(m[4])<<8 | int(m[5]) }
	for _, b := range r.Bindings {
		w := fmt.Sprintf("%d:%d", number(b.Addr), device(b.MAC))
		if b.Settled {
			w += "!"
		}
		if b.Secondary {
			w += "+"
		}
		words = append(words, w)
	}
	for _, h := range r.Hosts {
		w := fmt.Sprintf("host %d", device(h.MAC))
		if h.Addr.IsValid() {
			w += fmt.Sprintf("@%d", number(h.Addr))
		}
		if h.Settled {
			w += "!"
		}
		words = append(words, w)
	}
	for _, a := range r.Probe {
		words = append(words, fmt.Sprintf("ask %d", number(a)))
	}
	return strings.Join(words, " ")
}

// TestTable plays observations, each a given time after the one before, and compares the results.
func TestTable(t *testing.T) {
	t.Parallel()
	type step struct {
		after time.Duration
		o     bindings.Observation
		want  string
	}
	type seen = bindings.Observation
	leases := func(l ...bindings.Lease) []bindings.Lease { return l }
	sessions := func(s ...netctl.Session) []netctl.Session { return s }
	strangers := func(s ...netctl.UnknownSource) []netctl.UnknownSource { return s }
	answers := func(c ...netctl.Claim) []netctl.Claim { return c }
	both := leases(lease(5, 1), lease(6, 2))

	for name, steps := range map[string][]step{
		"a lease that is renewed": {
			{0, seen{Leases: leases(leaseFor(5, 1, 120))}, "5:1"},
			{29 * time.Second, seen{Leases: leases(leaseFor(5, 1, 120))}, "5:1"},
			// It stays: its next lease is long.
			{time.Second, seen{Leases: leases(leaseFor(5, 1, 119))}, "5:1! host 1!"},
		},
		"a lease that nobody renews": {
			{0, seen{Leases: leases(leaseFor(5, 1, 120))}, "5:1"},
			{time.Minute, seen{Leases: leases(leaseFor(5, 1, 61))}, "5:1"}, // the clock is not exact
			{59 * time.Second, seen{Leases: leases(leaseFor(5, 1, 1))}, "5:1"},
			{time.Second, seen{}, ""},
		},
		"a long lease, after a restart": {
			{0, seen{Leases: leases(leaseFor(5, 1, 900))}, "5:1"},
			{30 * time.Second, seen{Leases: leases(leaseFor(5, 1, 870))}, "5:1! host 1!"},
		},
		"who presses stays": {
			{0, seen{Leases: leases(lease(5, 1)), Sessions: sessions(session(5, 1))}, "5:1! host 1!"},
		},
		"a session outlives its lease, and nobody gets its address": {
			{0, seen{Leases: leases(lease(5, 1)), Sessions: sessions(session(5, 1))}, "5:1! host 1!"},
			{2 * time.Minute, seen{Sessions: sessions(session(5, 1))}, "5:1! host 1@5!"},
		},
		"who stays after a session keeps its address": {
			{0, seen{Sessions: sessions(session(5, 1))}, "5:1! host 1@5!"},
			{time.Hour, seen{Sessions: sessions(session(5, 1))}, "5:1! host 1@5!"},
			{time.Second, seen{}, "5:1! host 1@5!"},
			{5 * time.Minute, seen{}, "5:1! host 1@5! ask 5"},
			{time.Second, seen{Answers: answers(claim(5, 1))}, "5:1! host 1@5!"},
			{10 * time.Minute, seen{}, ""},
		},
		"a session ends while its lease runs": {
			{0, seen{Leases: leases(lease(5, 1)), Sessions: sessions(session(5, 1))}, "5:1! host 1!"},
			{time.Second, seen{Leases: leases(lease(5, 1))}, "5:1! host 1!"},
			{3 * time.Second, seen{}, ""},
		},
		"the file of leases is being written": {
			{0, seen{Leases: both}, "5:1 6:2"},
			{2 * time.Second, seen{}, "5:1 6:2"},
			{2 * time.Second, seen{Leases: both}, "5:1 6:2"},
			{time.Second, seen{Leases: leases(lease(6, 2))}, "5:1 6:2"},
			{time.Second, seen{Leases: both}, "5:1 6:2"},
		},
		"a lease that was given back": {
			{0, seen{Leases: both}, "5:1 6:2"},
			{2 * time.Second, seen{Leases: leases(lease(6, 2))}, "5:1 6:2"},
			{2 * time.Second, seen{Leases: leases(lease(6, 2))}, "6:2"},
		},
		"the next holder of a lease has it at once": {
			{0, seen{Leases: leases(lease(5, 1))}, "5:1"},
			{time.Second, seen{Leases: leases(lease(5, 2))}, "5:2"},
		},
		"another lease of the same device": {
			{0, seen{Leases: leases(lease(5, 1))}, "5:1"},
			{time.Second, seen{Leases: leases(lease(7, 1))}, "7:1"},
		},
		"an address set by hand": {
			{0, seen{UnknownSources: strangers(stranger(1, 5, 1))}, "ask 5"},
			{time.Second, seen{UnknownSources: strangers(stranger(1, 5, 1))}, ""}, // it was probed just now
			{time.Second, seen{Answers: answers(claim(5, 1))}, "5:1 host 1@5"},
			{time.Minute, seen{}, "5:1! host 1@5!"},
			// It is probed again well before its time is up, and not too often.
			{5 * time.Minute, seen{}, "5:1! host 1@5! ask 5"},
			{10 * time.Second, seen{}, "5:1! host 1@5!"},
			{20 * time.Second, seen{Answers: answers(claim(5))}, "5:1! host 1@5! ask 5"},
			{time.Second, seen{Answers: answers(claim(5, 1))}, "5:1! host 1@5!"},
			{9*time.Minute + 59*time.Second, seen{}, "5:1! host 1@5! ask 5"},
			{time.Second, seen{}, ""},
		},
		"nobody has it": {
			{0, seen{UnknownSources: strangers(stranger(1, 5, 1))}, "ask 5"},
			{time.Second, seen{Answers: answers(claim(5))}, ""},
		},
		"another one has it": {
			{0, seen{UnknownSources: strangers(stranger(1, 5, 1))}, "ask 5"},
			{time.Second, seen{Answers: answers(claim(5, 2))}, "5:2 host 2@5"},
		},
		"two say that they have it": {
			{0, seen{UnknownSources: strangers(stranger(1, 5, 1))}, "ask 5"},
			{time.Second, seen{Answers: answers(claim(5, 1, 2))}, ""},
		},
		"who was there first and still is, stays": {
			{0, seen{Answers: answers(claim(5, 1))}, "5:1 host 1@5"},
			{9 * time.Minute, seen{Answers: answers(claim(5, 1, 2))}, "5:1! host 1@5!"},
			{9 * time.Minute, seen{Answers: answers(claim(5, 2, 1))}, "5:1! host 1@5!"},
			{time.Minute, seen{Answers: answers(claim(5, 2))}, "5:1! host 1@5!"},
		},
		"another one who has it after the first has gone": {
			{0, seen{Answers: answers(claim(5, 1))}, "5:1 host 1@5"},
			{10 * time.Minute, seen{Answers: answers(claim(5, 2))}, "5:2 host 2@5"},
		},
		"who claims what others have is believed no more": {
			{0, seen{Answers: answers(claim(5, 1, 9), claim(6, 2, 9), claim(7, 3, 9), claim(8, 4, 9))}, ""},
			{time.Second, seen{Answers: answers(claim(5, 1, 9), claim(9, 9))}, "5:1 host 1@5"},
			{10 * time.Minute, seen{Answers: answers(claim(9, 9))}, "9:9 host 9@9"},
		},
		"one quarrel, however long, is one": {
			{0, seen{Answers: answers(claim(5, 1, 9))}, ""},
			{time.Second, seen{Answers: answers(claim(5, 1, 9))}, ""},
			{time.Second, seen{Answers: answers(claim(5, 1, 9))}, ""},
			{time.Second, seen{Answers: answers(claim(5, 1, 9))}, ""},
			{time.Second, seen{Answers: answers(claim(5, 1, 9))}, ""},
			{time.Second, seen{Answers: answers(claim(5, 1))}, "5:1 host 1@5"},
		},
		"a leased address is not another's": {
			{0, seen{Leases: leases(lease(5, 1)), Answers: answers(claim(5, 2))}, "5:1"},
			{time.Second, seen{Leases: leases(lease(5, 1)), Answers: answers(claim(5, 1, 2))}, "5:1"},
			{time.Second, seen{Leases: leases(lease(5, 1)), UnknownSources: strangers(stranger(1, 5, 2))}, "5:1"},
		},
		"a known address that was leased to another all the same": {
			{0, seen{Answers: answers(claim(5, 1))}, "5:1 host 1@5"},
			{time.Second, seen{Leases: leases(lease(5, 2))}, "5:2"},
			{time.Second, seen{Leases: leases(lease(5, 2)), UnknownSources: strangers(stranger(1, 5, 1))}, "5:2"},
		},
		"two addresses of a device and no more": {
			{0, seen{Answers: answers(claim(5, 1), claim(6, 1), claim(7, 1))}, "5:1 6:1+ host 1@5 host 1@6"},
			{time.Second, seen{UnknownSources: strangers(stranger(1, 8, 1))}, "5:1 6:1+ host 1@5 host 1@6"},
			{time.Second, seen{Answers: answers(claim(8, 1))}, "5:1 6:1+ host 1@5 host 1@6"},
		},
		"a lease comes before an address set by hand, a session before both": {
			{0, seen{Leases: leases(lease(7, 1)), Answers: answers(claim(5, 1))}, "5:1+ 7:1 host 0@5"},
			{time.Second, seen{Leases: leases(lease(7, 1)), Sessions: sessions(session(5, 1))}, "5:1! 7:1!+ host 1! host 0@5"},
		},
		"addresses that are nobody's": {
			{0, seen{
				UnknownSources: strangers(stranger(1, 0, 1), stranger(1, 1, 1), stranger(1, 1023, 1), stranger(1, 1024, 1)),
				Answers:        answers(claim(0, 1), claim(1, 2), claim(1023, 3), claim(1024, 4)),
				Leases:         leases(lease(0, 5), lease(1, 6), lease(1023, 7), lease(1024, 8)),
			}, ""},
		},
		"devices that are none": {
			{0, seen{Answers: []netctl.Claim{
				{Addr: addr(5), MACs: []netctl.MAC{{255, 255, 255, 255, 255, 255}}},
				{Addr: addr(6), MACs: []netctl.MAC{{}}},
				{Addr: addr(7), MACs: []netctl.MAC{{1, 0, 94, 0, 0, 1}, mac(3)}},
			}}, "7:3 host 3@7"},
		},
		"each port has its turn": {
			{0, seen{UnknownSources: append(many(1, 100, 100), stranger(2, 5, 5), stranger(3, 6, 6))},
				"ask 100 ask 5 ask 6" + asks(101, 37)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := bindings.New(network)
			now := time.Now()
			for i, s := range steps {
				now = now.Add(s.after)
				s.o.Now = now
				if got := text(b.Update(s.o)); got != s.want {
					t.Errorf("step %d: %q, want %q", i, got, s.want)
				}
			}
		})
	}
}

// many returns that many strangers on a port.
func many(port, first, count int) (all []netctl.UnknownSource) {
	for n := range count {
		all = append(all, stranger(port, first+n, first+n))
	}
	return all
}

func asks(first, count int) string {
	var b strings.Builder
	for n := range count {
		fmt.Fprintf(&b, " ask %d", first+n)
	}
	return b.String()
}

// TestLargest: the last addresses of the largest network have no class, and are not for residents.
func TestLargest(t *testing.T) {
	t.Parallel()
	b := bindings.New(netip.MustParsePrefix("10.80.0.1/16"))
	r := b.Update(bindings.Observation{Now: time.Now(), Answers: []netctl.Claim{
		claim(netctl.MinorFirst-1, 1), claim(netctl.MinorFirst, 2), claim(0xfffe, 3), claim(0xffff, 4),
	}})
	if got, want := text(r), fmt.Sprintf("%d:1 host 1@%d", netctl.MinorFirst-1, netctl.MinorFirst-1); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestKnownOfPort: however many devices claim addresses, the number of those bound by probes is limited on each port.
func TestKnownOfPort(t *testing.T) {
	t.Parallel()
	b := bindings.New(network)
	now := time.Now()
	number := 100
	learn := func(port, count int) (known int) {
		for range count {
			now = now.Add(time.Second)
			r := b.Update(bindings.Observation{Now: now, UnknownSources: many(port, number, 4)})
			o := bindings.Observation{Now: now.Add(time.Second / 2)}
			for _, a := range r.Probe {
				n := int(a.As4()[2])<<8 | int(a.As4()[3])
				o.Answers = append(o.Answers, claim(n, n))
			}
			number += 4
			known = len(b.Update(o).Bindings)
		}
		return known
	}
	if got := learn(1, 30); got != 64 {
		t.Errorf("%d devices of a port are known, want 64", got)
	}
	if got := learn(2, 2); got != 64+8 {
		t.Errorf("%d devices are known with those of another port, want 72", got)
	}
}

// TestProperties plays random observations: honest devices, devices that claim everything, and a DHCP server that leases addresses
// that it should not. It checks invariants on each result.
func TestProperties(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 0))
		b := bindings.New(network)
		start := time.Now()
		now := start
		asked := 0
		type at struct {
			mac  netctl.MAC
			last time.Time
		}
		leased := map[netip.Addr]at{}
		for step := range 400 {
			now = now.Add(time.Duration(random.IntN(4000)) * time.Millisecond)
			if random.IntN(100) == 0 {
				now = now.Add(10 * time.Minute)
			}
			o := bindings.Observation{Now: now}
			used := map[netip.Addr]bool{}
			for range random.IntN(12) {
				l := lease(random.IntN(20), random.IntN(12))
				if !used[l.Addr] {
					used[l.Addr] = true
					o.Leases = append(o.Leases, l)
				}
			}
			used = map[netip.Addr]bool{}
			for range random.IntN(4) {
				s := session(2+random.IntN(18), random.IntN(12))
				if !used[s.Addr] {
					used[s.Addr] = true
					o.Sessions = append(o.Sessions, s)
				}
			}
			for range random.IntN(60) {
				o.UnknownSources = append(o.UnknownSources, stranger(random.IntN(3), random.IntN(1100), random.IntN(20)))
			}
			for range random.IntN(20) {
				c := claim(random.IntN(30))
				for range random.IntN(3) {
					c.MACs = append(c.MACs, mac(random.IntN(20)))
				}
				o.Answers = append(o.Answers, c)
			}
			r := b.Update(o)

			fail := func(format string, a ...any) {
				t.Helper()
				t.Fatalf("seed %d, step %d: %s\n%s", seed, step, fmt.Sprintf(format, a...), text(r))
			}
			for _, l := range o.Leases {
				leased[l.Addr] = at{l.MAC, now}
			}
			asked += len(r.Probe)
			if most := 40 + 5*now.Sub(start).Seconds(); float64(asked) > most {
				fail("%d questions, at most %.0f may be asked", asked, most)
			}
			holds := map[netip.Addr]netctl.MAC{}
			own := map[netctl.MAC]int{} // addresses that a device has only by its answers
			for _, x := range r.Bindings {
				if _, twice := holds[x.Addr]; twice {
					fail("%s has two devices", x.Addr)
				}
				holds[x.Addr] = x.MAC
				if x.Left <= 0 {
					fail("%s has %v left", x.Addr, x.Left)
				}
				given := leased[x.Addr].mac == x.MAC
				session := slices.ContainsFunc(o.Sessions, func(s netctl.Session) bool { return s.Addr == x.Addr && s.MAC == x.MAC })
				if !given && !session {
					if own[x.MAC]++; own[x.MAC] > 2 {
						fail("%s has more than two addresses by its answers", x.MAC)
					}
				}
				// An address that dnsmasq has not leased to its device, it must not lease to another.
				kept := slices.ContainsFunc(r.Hosts, func(h plan.Host) bool { return h.Addr == x.Addr && (h.MAC == x.MAC || h.MAC == netctl.MAC{}) })
				if !kept && (!given || now.Sub(leased[x.Addr].last) >= 3*time.Second) {
					fail("%s may be leased to another", x.Addr)
				}
			}
			for _, l := range o.Leases {
				if b := network.Masked(); b.Contains(l.Addr) && l.Addr != addr(0) && l.Addr != addr(1) && holds[l.Addr] != l.MAC {
					fail("%s is leased to %s and bound to %s", l.Addr, l.MAC, holds[l.Addr])
				}
			}
			seen := map[netip.Addr]bool{}
			for _, h := range r.Hosts {
				if h.Addr.IsValid() && (seen[h.Addr] || h.MAC != netctl.MAC{} && holds[h.Addr] != h.MAC) {
					fail("dnsmasq gets %s as %s's", h.Addr, h.MAC)
				}
				seen[h.Addr] = true
			}
			for _, a := range r.Probe {
				if !network.Masked().Contains(a) || a == network.Addr() {
					fail("%s is asked for", a)
				}
			}
		}
	}
}
