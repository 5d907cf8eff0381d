package gate_test

import (
	"testing"
	"time"

	"passerelle/netctl"
	"passerelle/netctl/netlab"
)

// TestQuota uses up tranches with real packets: in order, without a gap, to the end and no further, even if plans are applied and
// tables flushed in between.
func TestQuota(t *testing.T) {
	t.Parallel()
	l := newLab(t, netlab.Options{Residents: 1, Uplinks: 2})
	l.config.Donations[0].Cap = 1e9
	p := l.sharing(0)
	l.apply(t, p)
	l.authorize(t, 0)
	grant := func(id, bytes uint64) {
		t.Helper()
		must(t, l.gate.Grant(t.Context(), netctl.Tranche{Chain: p.Cap, ID: id, Bytes: bytes}))
	}
	used := func() (all []uint64) {
		for _, s := range ok(l.gate.ReadCounters())(t).Tranches {
			all = append(all, s.Used)
		}
		return all
	}
	expect := func(when string, packets, want int) {
		t.Helper()
		if n := l.flood(t, 0, packets); n != want {
			t.Errorf("%s, %d packets of 1000 bytes passed, want %d; of the tranches was used %d", when, n, want, used())
		}
	}
	expect("without a tranche", 10, 0)
	for id := range uint64(3) {
		grant(id+1, 100_500) // the last 500 bytes of each are too few for a packet, which is charged to the next tranche
	}
	expect("of three tranches", 250, 250)
	l.apply(t, p)
	l.apply(t, l.paused())
	expect("paused", 10, 0)
	l.apply(t, l.sharing(1))
	l.apply(t, p)
	l.sh(t, "iptables -t mangle -F; iptables -t nat -F; iptables -F PAS-REJECT; iptables -A PAS-CHARGED -j DROP")
	l.apply(t, p)
	expect("after other plans and repairs", 20, 20)
	if u := used(); len(u) != 3 || u[0] != 100_000 || u[1] != 100_000 || u[2] != 70_000 {
		t.Errorf("of the tranches was used %d", u)
	}
	// Another program flushes the chain itself: the tranches are restored with what was left when they were last read.
	for range 2 {
		l.sh(t, "iptables -F")
		l.apply(t, p)
	}
	if u := used(); len(u) != 3 || u[0] != 100_000 || u[1] != 100_000 || u[2] != 70_000 {
		t.Errorf("after a flush, of the tranches was used %d", u)
	}
	// The same with the next gate, which knows only the kernel's state.
	l.gate = l.newGate(t)
	l.apply(t, p)
	l.sh(t, "nft delete table ip filter")
	l.apply(t, p)
	// Each of the three was restored with what it had left, and 500 bytes are too few for a packet.
	expect("after flushes", 100, 30)
	for _, q := range []netctl.Plan{l.paused(), p, l.sharing(1), p} {
		l.apply(t, q)
	}
	expect("spent, with other plans in between", 10, 0)
	grant(3, 100_500)
	expect("with a tranche that is spent granted again", 10, 0)
	grant(4, 5_000)
	expect("with five kB more", 10, 5)
}

// TestQuotaOfTheBox checks that the box's own traffic is charged, and still passes when nothing is left.
func TestQuotaOfTheBox(t *testing.T) {
	t.Parallel()
	l := newLab(t, netlab.Options{Residents: 1})
	l.config.Donations[0].Cap = 1e9
	p := l.sharing(0)
	l.apply(t, p)
	l.authorize(t, 0)
	must(t, l.gate.Grant(t.Context(), netctl.Tranche{Chain: p.Cap, ID: 1, Bytes: 2_000_000}))
	for range 2 {
		transfer := ok(l.Box.StartDownload(t.Context(), "http://192.0.2.80/big?bytes=1500000"))(t)
		must(t, transfer.Run(t.Context(), soon))
		if n := transfer.Total(); n != 1_500_000 {
			t.Errorf("the box itself got %d bytes of 1500000", n)
		}
	}
	tranche := ok(l.gate.ReadCounters())(t).Tranches[0]
	if tranche.Used < 2_000_000-64<<10 {
		t.Errorf("of 2 MB, %d bytes are said to be used", tranche.Used)
	}
	if err := dial(t, l.Residents[0].Host, "tcp", "192.0.2.80:80", soon); err == nil {
		t.Error("a resident passes though the box used up what there was")
	}
	// An administrator's rules may still drop it: charging a packet does not accept it yet.
	must(t, l.gate.Grant(t.Context(), netctl.Tranche{Chain: p.Cap, ID: 2, Bytes: netctl.Unlimited}))
	l.sh(t, "iptables -A OUTPUT -o eth0 -p tcp -j REJECT")
	if err := dial(t, l.Box, "tcp", "192.0.2.80:80", soon); err == nil {
		t.Error("the box passes by the rules of its administrator")
	}
	if err := dial(t, l.Residents[0].Host, "tcp", "192.0.2.80:80", soon); err != nil {
		t.Errorf("a resident: %v", err)
	}
}

// TestQuotaCutsStreams downloads through tranches with packets as large as offload makes them.
func TestQuotaCutsStreams(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]netlab.Options{"offload": {Residents: 1}, "frames": {Residents: 1, NoOffload: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, o)
			l.config.Donations[0].Cap = 1e9
			p := l.sharing(0)
			l.apply(t, p)
			l.authorize(t, 0)
			const tranches, each, packet = 3, 4_000_000, 64 << 10
			for id := range tranches {
				must(t, l.gate.Grant(t.Context(), netctl.Tranche{Chain: p.Cap, ID: uint64(id + 1), Bytes: each}))
			}
			transfer := ok(l.Residents[0].StartDownload(t.Context(), "http://192.0.2.80/big?bytes=100000000"))(t)
			if err := transfer.Run(t.Context(), 30*time.Second); err == nil {
				t.Error("the download was not cut")
			}
			// More is charged than downloaded: headers and acknowledgements count.
			if n := transfer.Total(); n > tranches*each || n < tranches*each*9/10 {
				t.Errorf("of %d bytes granted, %d passed", tranches*each, n)
			}
			for _, s := range ok(l.gate.ReadCounters())(t).Tranches {
				if s.Used > s.Bytes || s.Used < s.Bytes-packet {
					t.Errorf("%+v: want all used but less than a packet", s)
				}
			}
		})
	}
}
