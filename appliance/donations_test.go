package appliance

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/decide"
	"passerelle/appliance/ledger"
	"passerelle/netctl"
)

// recap gives the donation another cap; residents' data has no limit.
func (h *home) recap(size string) {
	h.Helper()
	text := strings.Replace(confText, `cap = "0"`, fmt.Sprintf("cap = %q", size), 1)
	if err := h.box.Reconfigure(h.Context(), h.config(strings.Replace(text, "500MB", "0", 1))); err != nil {
		h.Fatal(err)
	}
}

// inLoop runs f while the loop stands still.
func (h *home) inLoop(f func()) {
	h.Helper()
	if err := h.box.do(h.Context(), func(context.Context) { f() }); err != nil {
		h.Fatal(err)
	}
}

// use has a resident use bytes in small pieces, as far as they pass, and the line carry them.
func (h *home) use(bytes uint64) (passed uint64) {
	for range bytes / 1e6 {
		n := h.kernel.Pass(anna, 1e6)
		h.inLoop(func() { h.lines.status.RxBytes += n })
		passed += n
		h.settle()
	}
	return passed
}

// onPaper returns the donation's record.
func (h *home) onPaper() (r ledger.Record) {
	h.inLoop(func() { r = h.paper.records["Fibre du centre"] })
	return r
}

func (h *home) donation() DonationStatus { return h.box.Status().Donations[0] }

// TestDiskFull: what cannot be written down is not given, and no more than what was written down is spent; with room
// again the box shares.
func TestDiskFull(t *testing.T) {
	inHome(t, 10, func(h *home) {
		h.inLoop(func() { h.paper.full = errors.New("no space left") })
		h.recap("50MB")
		h.state(decide.Offline)
		if s := h.box.Status(); !strings.Contains(s.Why, "no space left") || s.Donations[0].Granted != 0 {
			h.Errorf("%s; %+v", s.Why, s.Donations[0])
		}
		h.inLoop(func() { h.paper.full = nil })
		time.Sleep(rewrite)
		h.state(decide.Sharing)
		h.admit(anna)
		if n := h.use(10e6); n != 10e6 {
			h.Errorf("%d of 10 MB passed", n)
		}
		h.inLoop(func() { h.paper.full = errors.New("no space left") })
		held := h.donation().Granted
		if n := h.use(40e6); n > held {
			h.Errorf("with a full disk %d bytes passed, the kernel held %d", n, held)
		}
		h.state(decide.Offline)
		h.inLoop(func() { h.paper.full = nil })
		time.Sleep(rewrite)
		h.state(decide.Sharing)
		r := h.onPaper()
		if d := h.donation(); d.Granted == 0 || r.Promised < d.Used+d.Granted {
			h.Errorf("%+v, and on paper %+v", d, r)
		}
	})
}

// TestCapComesAndGoes: what was paid under earlier terms is not booked again when they come back.
func TestCapComesAndGoes(t *testing.T) {
	inHome(t, 10, func(h *home) {
		h.recap("50MB")
		h.admit(anna)
		used := h.use(10e6)
		for _, size := range []string{"0", "60MB", "0", "50MB"} {
			h.recap(size)
			h.settle()
			used += h.use(2e6)
			if d := h.donation(); d.Used != used || d.Spent {
				h.Errorf("with a cap of %s %d bytes are used: %+v", size, used, d)
			}
		}
	})
}

// TestBroadcasts: those of the lender's own network spend nothing, whatever becomes of the daemon, unless the donation says
// that they count.
func TestBroadcasts(t *testing.T) {
	inHome(t, 10, func(h *home) {
		const text = `cap = "50MB"`
		capped := strings.Replace(confText, `cap = "0"`, text, 1)
		if err := h.box.Reconfigure(h.Context(), h.config(capped)); err != nil {
			h.Fatal(err)
		}
		h.settle()
		var used, apart uint64
		// shout lets the line carry broadcasts, with link headers of a 50th of that.
		shout := func(bytes uint64, counts bool) {
			h.inLoop(func() {
				h.kernel.Shout("eth0", bytes, true)
				h.lines.status.RxBytes += bytes + bytes/50
			})
			if used, apart = used+bytes/50, apart+bytes; counts {
				used += bytes
			}
		}
		want := func(when string) {
			h.Helper()
			h.state(decide.Sharing)
			if d := h.donation(); d.Used != used || d.Broadcasts != apart {
				h.Errorf("%s, %d bytes are used, want %d; of broadcasts there are %d, want %d", when, d.Used, used, d.Broadcasts, apart)
			}
		}
		shout(80e6, false)
		want("after more than the cap")
		h.inLoop(func() { h.kernel.Shout("eth0", 1e6, false); h.lines.status.RxBytes += 1e6 })
		used += 1e6
		want("after frames to the box alone")

		h.inLoop(func() { h.gate.dead = true })
		h.stop()
		h.kernel.Shout("eth0", 80e6, true)
		h.lines.status.RxBytes += 80e6
		apart += 80e6
		h.start(capped, Aside{})
		want("after a crash")
		h.stop()
		h.lines.status.RxBytes += 1e6 // nobody knows what they are
		used += 1e6
		h.start(capped, Aside{})
		want("after a stop")
		shout(80e6, false)
		want("after that")

		given := strings.Replace(capped, text, text+"\nbroadcast = true", 1)
		if err := h.box.Reconfigure(h.Context(), h.config(given)); err != nil {
			h.Fatal(err)
		}
		want("when broadcasts count from now on")
		shout(5e6, true)
		want("after those that count")
		if r := h.onPaper(); r.Promised < used {
			h.Errorf("%d bytes are promised, %d are used", r.Promised, used)
		}
	})
}

// reads counts how often the loop looks.
type reads struct {
	netctl.Gate
	n int
}

func (r *reads) Read() (netctl.Sample, error) {
	r.n++
	return r.Gate.Read()
}

// looks returns how often the loop looks in ten periods.
func (h *home) looks() int {
	r := &reads{Gate: h.kernel.Gate()}
	h.inLoop(func() { r.Gate, h.gate.Gate = h.gate.Gate, r })
	time.Sleep(10 * period)
	h.inLoop(func() { h.gate.Gate = r.Gate })
	return r.n
}

// TestSpentBoxRests: with a cap below what was used, or an account that was lost, the box has nothing to do but to write
// the day down.
func TestSpentBoxRests(t *testing.T) {
	inHome(t, 23, func(h *home) {
		h.recap("50MB")
		h.admit(anna)
		h.use(20e6)
		h.recap("10MB")
		h.state(decide.Exhausted)
		if n := h.looks(); n > 20 {
			h.Errorf("with a cap below what was used there are %d looks in 10 periods", n)
		}
		date := h.onPaper().Today.Date
		time.Sleep(time.Hour)
		h.settle()
		if now := h.onPaper().Today.Date; now != date+1 {
			h.Errorf("the day on paper was %d and is %d after midnight", date, now)
		}

		h.stop()
		h.paper.records["Fibre du centre"] = ledger.LostRecord()
		h.start(strings.Replace(confText, `cap = "0"`, `cap = "50MB"`, 1), Aside{})
		h.state(decide.Exhausted)
		if s := h.box.Status(); !slices.Contains(s.Problems, errUnread.Error()) || !strings.Contains(s.Why, "the account was lost") {
			h.Errorf("why the account was lost is not said: %s, %q", s.Why, s.Problems)
		}
		if n := h.looks(); n > 20 {
			h.Errorf("with an account that was lost there are %d looks in 10 periods", n)
		}
		if r := h.onPaper(); !r.Lost || r.Period == "" {
			h.Errorf("on paper is not when its period ends: %+v", r)
		}
	})
}

// TestSharesOfADay: of a gift that is small for its month, who comes first leaves as much for the next, and who comes when
// the day's part is used still finds something.
func TestSharesOfADay(t *testing.T) {
	inHome(t, 10, func(h *home) {
		small := strings.Replace(confText, `cap = "0"`, `cap = "3GB"`, 1)
		if err := h.box.Reconfigure(h.Context(), h.config(small)); err != nil {
			h.Fatal(err)
		}
		h.state(decide.Sharing)
		carry := func(bytes uint64) {
			h.inLoop(func() { h.lines.status.RxBytes += bytes })
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
		// The line carries the rest of the day's part, and more.
		carry(daily)
		third := netip.MustParseAddr("10.80.0.11")
		h.kernel.SetNeighbor(third, netctl.MAC{2, 0, 0, 0, 0, 11})
		if s := h.admit(third); s.Data == 0 || s.Data > daily/32 {
			h.Errorf("when the day's part is used, another resident gets %d bytes of %d", s.Data, daily)
		}
	})
}

// TestKernelTakesNoTranche: each attempt is a write to flash, so there are few; and it heals.
func TestKernelTakesNoTranche(t *testing.T) {
	inHome(t, 10, func(h *home) {
		h.inLoop(func() { h.gate.full = errors.New("iptables-restore: exit status 4") })
		h.recap("3GB")
		h.admit(anna)
		var before, after int
		h.inLoop(func() { before = h.paper.writes })
		time.Sleep(time.Minute)
		h.inLoop(func() { after = h.paper.writes })
		if after-before < 3 || after-before > int(time.Minute/rewrite)+1 {
			h.Errorf("in a minute it wrote %d times", after-before)
		}
		if s := h.box.Status(); len(s.Problems) == 0 || !strings.Contains(s.Problems[0], "exit status 4") {
			h.Errorf("status says of it: %q", s.Problems)
		}
		h.inLoop(func() { h.gate.full = nil })
		time.Sleep(rewrite)
		h.settle()
		if h.kernel.Pass(anna, 1000) == 0 {
			h.Error("no packet passes when the kernel takes tranches again")
		}
	})
}

// TestPauseOutlivesTheConfiguration: a donation that is taken out of the configuration and put in again is still paused.
func TestPauseOutlivesTheConfiguration(t *testing.T) {
	inHome(t, 10, func(h *home) {
		if known, err := h.box.SetDonationPaused(h.Context(), "Fibre du centre", "its lender", true); !known || err != nil {
			h.Fatal(known, err)
		}
		other := h.config(strings.Replace(confText, "Fibre du centre", "Mairie", 1))
		for _, c := range []*config.Config{other, h.config(confText)} {
			if err := h.box.Reconfigure(h.Context(), c); err != nil {
				h.Fatal(err)
			}
		}
		if d := h.donation(); d.PausedBy != "its lender" {
			h.Errorf("it is paused by %q", d.PausedBy)
		}
	})
}
