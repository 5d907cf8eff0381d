package netctl

import (
	"net/netip"
	"testing"
)

func TestAddr(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		network, addr, last string
		offset              uint32
	}{
		{"10.80.0.1/22", "10.80.0.0", "10.80.3.255", 0},
		{"10.80.1.7/22", "10.80.2.1", "10.80.3.255", 513},
		{"10.80.1.7/16", "10.80.255.255", "10.80.255.255", 65535},
		{"192.0.2.9/32", "192.0.2.9", "192.0.2.9", 0},
		{"0.0.0.0/0", "255.255.255.254", "255.255.255.255", 1<<32 - 2},
	} {
		network, addr := netip.MustParsePrefix(c.network), netip.MustParseAddr(c.addr)
		if got := AddrOffset(network, addr); got != c.offset {
			t.Errorf("%s is at %d of %s, want %d", addr, got, network, c.offset)
		}
		if got := AddrAt(network, c.offset); got != addr {
			t.Errorf("%s is at %d of %s, want %s", got, c.offset, network, addr)
		}
		if got := LastAddr(network); got.String() != c.last {
			t.Errorf("the last address of %s is %s, want %s", network, got, c.last)
		}
	}
}
