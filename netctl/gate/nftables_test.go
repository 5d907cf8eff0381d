package gate_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"passerelle/netctl"
	"passerelle/netctl/netlab"
)

// reaches returns nil if the box answers the k-th resident.
func (l *lab) reaches(t testing.TB, k int) error {
	t.Helper()
	_, err := get(t, l.Residents[k].Host, "http://10.80.0.1/", never)
	return err
}

// waitFor waits for a condition.
func waitFor(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(netlab.Tick) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// TestBindingEnds checks that a binding expires in the kernel.
func TestBindingEnds(t *testing.T) {
	t.Parallel()
	l := newLab(t, netlab.Options{Residents: 2})
	l.share(t)
	bindings := l.bindings()
	bindings[0].Left = 3 * time.Second
	ok(l.gate.Bind(bindings[:1]))(t)
	waitFor(t, "an answer", func() bool { return l.reaches(t, 0) == nil })
	waitFor(t, "the end of a binding", func() bool { return l.reaches(t, 0) != nil })
	if l.reaches(t, 1) == nil {
		t.Error("the box answers an address without a binding")
	}
}

// TestBindingOfAnother checks that the kernel's own binding is removed when the address is bound to another device, or when two
// consecutive calls do not list it. The neighbour entry then has the bound device.
func TestBindingOfAnother(t *testing.T) {
	t.Parallel()
	l := newLab(t, netlab.Options{Residents: 2})
	l.share(t)
	waitFor(t, "an answer", func() bool { return l.reaches(t, 0) == nil })
	if mac := ok(l.gate.Neighbor(address(0)))(t); mac != netctl.MAC(l.Residents[0].MAC) {
		t.Fatalf("the neighbour is %v", mac)
	}
	other := netctl.MAC(l.Residents[1].MAC)
	moved := l.bindings()
	moved[0].MAC = other
	ok(l.gate.Bind(moved))(t)
	if mac := ok(l.gate.Neighbor(address(0)))(t); mac != other {
		t.Errorf("the neighbour is %v, want %v", mac, other)
	}
	if l.reaches(t, 0) == nil {
		t.Error("the box answers the device that had the address before")
	}

	// As the kernel does when dnsmasq acknowledges a lease.
	l.sh(t, "nft add element netdev passerelle bindings '{ 0x020000000001 . 0x0a500101 timeout 100s, 0x02aa00000001 . 0x0a500202 timeout 100s }'")
	bound := func() string {
		return l.sh(t, "nft list set netdev passerelle bindings | grep -o -e '0x20000000001 . 0xa500101 ' -e '0x2aa00000001 . 0xa500202 ' || true")
	}
	if got := bound(); got == "" {
		t.Fatal("nothing was bound: the test is wrong")
	}
	ok(l.gate.Bind(moved))(t)
	if got, want := bound(), "0x2aa00000001 . 0xa500202 \n"; got != want {
		t.Errorf("after the first call, %q is bound, want %q", got, want)
	}
	ok(l.gate.UnknownSources())(t)
	ok(l.gate.Bind(moved))(t)
	if got := bound(); got != "" {
		t.Errorf("after the second call, %q is bound", got)
	}
	stranger := netctl.UnknownSource{Addr: netip.MustParseAddr("10.80.2.2"), MAC: netctl.MAC{2, 0xaa, 0, 0, 0, 1}}
	if all := ok(l.gate.UnknownSources())(t); !slices.Contains(all, stranger) {
		t.Errorf("the unknown sources are %v, want %v", all, stranger)
	}
}
