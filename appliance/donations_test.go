package appliance

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/ledger"
	"passerelle/appliance/state"
	"passerelle/netctl"
)

// setCap gives the donation another cap; residents' data has no limit.
func (h *testBox) setCap(size string) {
	h.Helper()
	text := strings.Replace(confText, `cap = "0"`, fmt.Sprintf("cap = %q", size), 1)
	if _, err := h.box.Reconfigure(h.Context(), h.config(strings.Replace(text, "500MB", "0", 1))); err != nil {
		h.Fatal(err)
	}
}

// inLoop runs f in the loop's goroutine.
func (h *testBox) inLoop(f func()) {
	h.Helper()
	if err := h.box.do(h.Context(), func(context.Context) { f() }); err != nil {
		h.Fatal(err)
	}
}

// download passes bytes to a resident in small pieces until the gate blocks, and counts them on the line.
func (h *testBox) download(bytes uint64) (passed uint64) {
	for range bytes / 1e6 {
		n := h.kernel.Pass(anna, 1e6)
		h.inLoop(func() { h.uplinks.status.RxBytes += n })
		passed += n
		h.settle()
	}
	return passed
}

// record returns the donation's stored record.
func (h *testBox) record() (r ledger.Record) {
	h.inLoop(func() { r = h.store.records["Fibre du centre"] })
	return r
}

func (h *testBox) donation() state.Donation { return h.box.Status().Donations[0] }

// TestDiskFull: a tranche that cannot be stored is not granted, and no more than what was stored is spent. With space again, the
// box shares.
func TestDiskFull(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.inLoop(func() { h.store.full = errors.New("no space left") })
		h.setCap("50MB")
		h.state(state.Offline)
		if s := h.box.Status(); !strings.Contains(s.Why, "no space left") || s.Donations[0].Granted != 0 {
			h.Errorf("%s; %+v", s.Why, s.Donations[0])
		}
		h.inLoop(func() { h.store.full = nil })
		time.Sleep(writeRetry)
		h.state(state.Sharing)
		h.admit(anna)
		if n := h.download(10e6); n != 10e6 {
			h.Errorf("%d of 10 MB passed", n)
		}
		h.inLoop(func() { h.store.full = errors.New("no space left") })
		held := h.donation().Granted
		if n := h.download(40e6); n > held {
			h.Errorf("with a full disk %d bytes passed, the kernel held %d", n, held)
		}
		h.state(state.Offline)
		h.inLoop(func() { h.store.full = nil })
		time.Sleep(writeRetry)
		h.state(state.Sharing)
		r := h.record()
		if d := h.donation(); d.Granted == 0 || r.Committed < d.Used+d.Granted {
			h.Errorf("%+v, stored %+v", d, r)
		}
	})
}

// TestCapComesAndGoes: bytes charged under an earlier policy are not counted again when it comes back.
func TestCapComesAndGoes(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.setCap("50MB")
		h.admit(anna)
		used := h.download(10e6)
		for _, size := range []string{"0", "60MB", "0", "50MB"} {
			h.setCap(size)
			h.settle()
			used += h.download(2e6)
			if d := h.donation(); d.Used != used || d.Spent {
				h.Errorf("with a cap of %s %d bytes are used: %+v", size, used, d)
			}
		}
	})
}

// TestBroadcasts: broadcasts of the lender's own network are not charged, also after a crash or a stop, unless the donation says so.
func TestBroadcasts(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		const text = `cap = "50MB"`
		capped := strings.Replace(confText, `cap = "0"`, text, 1)
		if _, err := h.box.Reconfigure(h.Context(), h.config(capped)); err != nil {
			h.Fatal(err)
		}
		h.settle()
		var used, apart uint64
		// shout adds broadcasts on the line, plus a fiftieth of that for link headers.
		shout := func(bytes uint64, counts bool) {
			h.inLoop(func() {
				h.kernel.Broadcast("eth0", bytes, true)
				h.uplinks.status.RxBytes += bytes + bytes/50
			})
			if used, apart = used+bytes/50, apart+bytes; counts {
				used += bytes
			}
		}
		want := func(when string) {
			h.Helper()
			h.state(state.Sharing)
			if d := h.donation(); d.Used != used || d.Broadcasts != apart {
				h.Errorf("%s, %d bytes are used, want %d; of broadcasts there are %d, want %d", when, d.Used, used, d.Broadcasts, apart)
			}
		}
		shout(80e6, false)
		want("after more than the cap")
		h.inLoop(func() { h.kernel.Broadcast("eth0", 1e6, false); h.uplinks.status.RxBytes += 1e6 })
		used += 1e6
		want("after frames to the box alone")

		h.inLoop(func() { h.gate.dead = true })
		h.stop()
		h.kernel.Broadcast("eth0", 80e6, true)
		h.uplinks.status.RxBytes += 80e6
		apart += 80e6
		h.start(capped, Handover{})
		want("after a crash")
		h.stop()
		h.uplinks.status.RxBytes += 1e6 // of unknown kind
		used += 1e6
		h.start(capped, Handover{})
		want("after a stop")
		shout(80e6, false)
		want("after that")

		given := strings.Replace(capped, text, text+"\nbroadcast = true", 1)
		if _, err := h.box.Reconfigure(h.Context(), h.config(given)); err != nil {
			h.Fatal(err)
		}
		want("when broadcasts count from now on")
		shout(5e6, true)
		want("after those that count")
		if r := h.record(); r.Committed < used {
			h.Errorf("%d bytes are stored as used, %d are used", r.Committed, used)
		}
	})
}

// reads counts how often the loop reads the kernel.
type reads struct {
	netctl.Gate
	n int
}

func (r *reads) ReadCounters() (netctl.Counters, error) {
	r.n++
	return r.Gate.ReadCounters()
}

// countReads returns how often the loop reads the kernel in ten periods.
func (h *testBox) countReads() int {
	r := &reads{Gate: h.kernel.Gate()}
	h.inLoop(func() { r.Gate, h.gate.Gate = h.gate.Gate, r })
	time.Sleep(10 * period)
	h.inLoop(func() { h.gate.Gate = r.Gate })
	return r.n
}

// TestSpentBoxRests: with a cap below what was used, or a lost account, the box only stores each new day.
func TestSpentBoxRests(t *testing.T) {
	withBox(t, 23, func(h *testBox) {
		h.setCap("50MB")
		h.admit(anna)
		h.download(20e6)
		h.setCap("10MB")
		h.state(state.Exhausted)
		if n := h.countReads(); n > 20 {
			h.Errorf("with a cap below what was used there are %d reads in 10 periods", n)
		}
		date := h.record().Today.Date
		time.Sleep(time.Hour)
		h.settle()
		if now := h.record().Today.Date; now != date+1 {
			h.Errorf("the stored day was %d and is %d after midnight", date, now)
		}

		h.stop()
		h.store.records["Fibre du centre"] = ledger.LostRecord()
		h.start(strings.Replace(confText, `cap = "0"`, `cap = "50MB"`, 1), Handover{})
		h.state(state.Exhausted)
		if s := h.box.Status(); !h.hasProblem(state.AccountsLost, errUnread) || !strings.Contains(s.Why, "the account was lost") {
			h.Errorf("status does not say why the account was lost: %s, %q", s.Why, s.Problems)
		}
		if n := h.countReads(); n > 20 {
			h.Errorf("with a lost account there are %d reads in 10 periods", n)
		}
		if r := h.record(); !r.Lost || r.Period == "" {
			h.Errorf("the record does not say when its period ends: %+v", r)
		}
	})
}

// TestSharesOfADay: under a cap that is small for its month, the first resident leaves as much for the next one. A resident who comes
// after the daily budget is used still gets something.
func TestSharesOfADay(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		small := strings.Replace(confText, `cap = "0"`, `cap = "3GB"`, 1)
		if _, err := h.box.Reconfigure(h.Context(), h.config(small)); err != nil {
			h.Fatal(err)
		}
		h.state(state.Sharing)
		carry := func(bytes uint64) {
			h.inLoop(func() { h.uplinks.status.RxBytes += bytes })
			h.settle()
		}
		first := h.admit(anna)
		daily := h.box.Status().Donations[0].Daily
		if daily < 90e6 || daily > 100e6 || first.Data > daily/5 || first.Data < daily/20 {
			h.Errorf("of %d bytes for the day the first resident gets %d", daily, first.Data)
		}
		carry(h.kernel.Pass(anna, 500e6))
		if second := h.admit(bilo); second.Data < first.Data*4/5 { // residents come in whole numbers
			h.Errorf("the second resident gets %d bytes, the first had %d", second.Data, first.Data)
		}
		// The line carries the rest of the daily budget, and more.
		carry(daily)
		third := netip.MustParseAddr("10.80.0.11")
		h.kernel.SetNeighbor(third, netctl.MAC{2, 0, 0, 0, 0, 11})
		if s := h.admit(third); s.Data == 0 || s.Data > daily/32 {
			h.Errorf("when the daily budget is used, another resident gets %d bytes of %d", s.Data, daily)
		}
	})
}

// TestKernelRefusesTranche: each attempt is a write to flash, so there are few; and sharing recovers.
func TestKernelRefusesTranche(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.inLoop(func() { h.gate.full = errors.New("iptables-restore: exit status 4") })
		h.setCap("3GB")
		h.admit(anna)
		var before, after int
		h.inLoop(func() { before = h.store.writes })
		time.Sleep(time.Minute)
		h.inLoop(func() { after = h.store.writes })
		if after-before < 3 || after-before > int(time.Minute/writeRetry)+1 {
			h.Errorf("in a minute it wrote %d times", after-before)
		}
		if s := h.box.Status(); len(s.Problems) == 0 || s.Problems[0].Code != state.TrancheRefused || s.Problems[0].Args["donation"] != "Fibre du centre" || !strings.Contains(s.Problems[0].String(), "exit status 4") {
			h.Errorf("problems: %q", s.Problems)
		}
		h.inLoop(func() { h.gate.full = nil })
		time.Sleep(writeRetry)
		h.settle()
		if h.kernel.Pass(anna, 1000) == 0 {
			h.Error("no packet passes when the kernel accepts tranches again")
		}
	})
}

// TestPauseOutlivesTheConfiguration: a donation that is removed from the configuration and added again is still paused.
func TestPauseOutlivesTheConfiguration(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		if err := h.box.SetDonationPaused(h.Context(), "Fibre du centre", "its lender", true); err != nil {
			h.Fatal(err)
		}
		if err := h.box.SetDonationPaused(h.Context(), "Mairie", "its lender", true); !errors.Is(err, state.ErrNoDonation) {
			h.Errorf("an unknown donation: %v", err)
		}
		other := h.config(strings.Replace(confText, "Fibre du centre", "Mairie", 1))
		for _, c := range []*config.Config{other, h.config(confText)} {
			if _, err := h.box.Reconfigure(h.Context(), c); err != nil {
				h.Fatal(err)
			}
		}
		if d := h.donation(); d.PausedBy != "its lender" {
			h.Errorf("it is paused by %q", d.PausedBy)
		}
	})
}
