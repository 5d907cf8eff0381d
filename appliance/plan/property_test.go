package plan

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"passerelle/netctl"
)

// documentation are the blocks that are assigned to nobody (RFC 5737): the tests' internet.
var documentation = []netip.Prefix{
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"),
}

func randomPrefix(r *rand.Rand, minBits, maxBits int) netip.Prefix {
	n := r.Uint32()
	a := netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
	return netip.PrefixFrom(a, minBits+r.IntN(maxBits-minBits+1))
}

func within(n netip.Prefix, all []netip.Prefix) bool {
	for _, p := range all {
		if p.Bits() <= n.Bits() && p.Contains(n.Addr()) {
			return true
		}
	}
	return false
}

func TestClosed(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var connected []netip.Prefix
		for range r.IntN(6) {
			if p := randomPrefix(r, 8, 32); !overlapsAny(p, documentation) {
				connected = append(connected, p)
			}
		}
		connected = append(connected, netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("0.0.0.0/0")) // neither blocks anything
		got := unreachable(connected)
		for i, n := range got {
			if n != n.Masked() {
				t.Fatalf("%v: %s is no network", connected, n)
			}
			if overlapsAny(n, documentation) {
				t.Fatalf("%v: %s closes a documentation block", connected, n)
			}
			for _, m := range got[i+1:] {
				if n.Overlaps(m) {
					t.Fatalf("%v: %s and %s overlap", connected, n, m)
				}
			}
			if !within(n, netctl.SpecialPurpose) && !within(n, maskAll(connected)) {
				t.Fatalf("%v: nothing asks to close %s", connected, n)
			}
		}
		for _, n := range append(connected[:len(connected)-2], netctl.SpecialPurpose...) {
			if !within(n, got) {
				t.Fatalf("%v: %s is open, closed are %v", connected, n, got)
			}
		}
	}
}

func maskAll(all []netip.Prefix) (masked []netip.Prefix) {
	for _, p := range all {
		if p.Bits() > 0 {
			masked = append(masked, p.Masked())
		}
	}
	return masked
}

func overlapsAny(n netip.Prefix, all []netip.Prefix) bool {
	for _, p := range all {
		if n.Overlaps(p) {
			return true
		}
	}
	return false
}

func TestPool(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	for range 20000 {
		box := randomPrefix(r, 16, 29)
		network := box.Masked()
		size := uint32(1) << (32 - box.Bits())
		if r.IntN(4) == 0 {
			box = netip.PrefixFrom(netctl.AddrAt(network, size-1-r.Uint32N(5)), box.Bits()) // at the end, where the classes end
		}
		own := netctl.AddrOffset(network, box.Addr())
		if own == 0 || own == size-1 {
			continue // not a host's address: config refuses it
		}
		first, last := pool(box)
		f, l := netctl.AddrOffset(network, first), netctl.AddrOffset(network, last)
		switch {
		case !network.Contains(first) || !network.Contains(last) || f > l:
			t.Fatalf("%s: from %s to %s", box, first, last)
		case f == 0 || l == size-1:
			t.Fatalf("%s: from %s to %s has the network's or the broadcast address", box, first, last)
		case f <= own && own <= l:
			t.Fatalf("%s: from %s to %s has the box's own", box, first, last)
		case l >= netctl.MinorOwn:
			t.Fatalf("%s: from %s to %s has the class of the box's own packets", box, first, last)
		case l-f+1 < (size-4)/2:
			t.Fatalf("%s: from %s to %s is less than half", box, first, last)
		}
	}
}
