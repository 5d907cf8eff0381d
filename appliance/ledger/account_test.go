package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"passerelle/netctl"
)

// desk is an Account with the small world around it that it needs.
type desk struct {
	t       *testing.T
	policy  Policy
	reading Reading
	account *Account
	disk    *Record
	writes  int
}

func newDesk(t *testing.T, policy Policy) *desk {
	policy.Chain, policy.ReserveChain = "PAS-CAP-1", "PAS-CAP-2"
	if policy.Period == "" {
		policy.Period, policy.Resets = "month", 1
	}
	d := &desk{t: t, policy: policy, account: Open(nil, nil), reading: Reading{
		Now: time.Date(2026, 11, 10, 12, 0, 0, 0, time.UTC), Trusted: true, Boot: "first",
		Counter: Counter{Name: "eth0", Index: 3, Bytes: 1e6},
	}}
	d.round()
	return d
}

// round is one round of the loop.
func (d *desk) round() Balance {
	d.t.Helper()
	d.account.Observe(d.policy, d.reading)
	if w, due := d.account.Due(d.policy, true); due {
		r, err := Decode(w.Record.Append(nil))
		if err != nil {
			d.t.Fatal(err)
		}
		d.disk = &r
		d.writes++
		d.account.ConfirmWrite(w)
		for _, g := range w.Grants {
			d.reading.Tranches = slices.DeleteFunc(d.reading.Tranches, func(s netctl.TrancheUsage) bool {
				return s.Chain == g.Chain && s.Used == s.Bytes
			})
			d.reading.Tranches = append(d.reading.Tranches, netctl.TrancheUsage{Tranche: g})
			d.account.ConfirmGrant(d.policy, g)
		}
	}
	return d.account.Balance(d.policy)
}

// use lets residents use bytes of the tranches. The line carries the same number.
func (d *desk) use(bytes uint64) {
	d.reading.Counter.Bytes += bytes
	for i := range d.reading.Tranches {
		k := &d.reading.Tranches[i]
		n := min(bytes, k.Bytes-k.Used)
		k.Used += n
		bytes -= n
	}
}

func (d *desk) restart() { d.account = Open(d.disk, nil) }

func (d *desk) powerCut() {
	d.restart()
	d.reading.Boot += "'"
	d.reading.Tranches, d.reading.Counter.Bytes = nil, 0
}

func (d *desk) wantUsed(want uint64, when string) {
	d.t.Helper()
	if got := d.round().Used; got != want {
		d.t.Errorf("%s, %d bytes are used, want %d", when, got, want)
	}
}

// TestUsed: which bytes count as used if any of the counters is lost.
func TestUsed(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Policy{Cap: 2e9, Rate: 25e6})
	d.wantUsed(0, "before anything passed")
	d.use(1e6)
	d.wantUsed(1e6, "when the line carried it")
	d.restart()
	d.use(1e6)
	d.wantUsed(2e6, "after kill -9")
	d.reading.Counter.Name = "lent0"
	d.use(1e6)
	d.wantUsed(3e6, "when the interface got another name")
	d.reading.Counter = Counter{Name: "lent0", Index: 9, Bytes: 5000}
	d.wantUsed(3e6+replugBytes+5000, "when it was plugged in again")
	d.reading.Counter.Bytes = 100
	d.wantUsed(3e6+2*replugBytes+5100, "when its counter went back")
	d.use(1e6)
	d.reading.Counter = Counter{Name: "lent0", Index: 10}
	d.wantUsed(4e6+1e6/32+1+3*replugBytes+5100, "when it was unplugged before anybody looked")
	d.reading.Counter = Counter{Name: "eth7", Index: 11, Bytes: 7e9}
	d.wantUsed(4e6+1e6/32+1+4*replugBytes+5100, "when another line took its place")
	promised := d.disk.Committed
	d.powerCut()
	d.wantUsed(promised, "after a power cut")
}

// TestUnseen: if the counter is lost while the daemon was down, all committed bytes count except what the kernel holds.
func TestUnseen(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Policy{Cap: 2e9, Rate: 25e6})
	d.use(1e6)
	d.restart()
	line := d.reading.Counter
	d.reading.Counter.Index = 0
	writes := d.writes
	d.round()
	if _, due := d.account.Final(d.policy); due || d.writes != writes {
		t.Error("a line that was not observed got fewer committed bytes")
	}
	d.reading.Counter = line
	d.wantUsed(1e6, "when it came back as it was")
	d.disk.Base = 0
	d.restart()
	d.reading.Counter = Counter{Name: "eth0", Index: 4, Bytes: 100}
	s := d.round()
	if least := uint64(1e6 + 100); s.Used < least || s.Used > least+2e6 {
		t.Errorf("%d bytes are used of at least %d", s.Used, least)
	}
}

// TestSpentRules: a tranche that the gate removed because the next one pays was used up. It counts if the line's counter is lost at
// the same moment.
func TestSpentRules(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Policy{Cap: 2e9, Rate: 25e6})
	d.use(5e6)
	d.round()
	first, second := d.reading.Tranches[0], d.reading.Tranches[1]
	d.use(first.Bytes - first.Used + 1000)
	d.reading.Tranches = []netctl.TrancheUsage{{Tranche: second.Tranche, Used: 1000}}
	d.reading.Counter.Index, d.reading.Counter.Bytes = 9, 0
	if s := d.round(); s.Used < first.Bytes+1000 {
		t.Errorf("of %d bytes %d count as used", first.Bytes+1000, s.Used)
	}
}

// TestReserveAfterPowerCut: what was committed of the reserve counts as used, too.
func TestReserveAfterPowerCut(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Policy{Cap: 200e6, Reserve: 100e6, Rate: 25e6})
	s := d.round()
	for ; !s.Spent || s.Granted == 0; s = d.round() {
		d.use(s.Granted)
	}
	d.powerCut()
	if again := d.round(); again.Reserve+s.Granted > s.Reserve {
		t.Errorf("with %d bytes granted of a reserve of %d, %d are left", s.Granted, s.Reserve, again.Reserve)
	}
}

// TestAllIsSpent: the general part is spent, then the reserve. What remains of the cap is the margin and less than a tranche.
func TestAllIsSpent(t *testing.T) {
	t.Parallel()
	for _, policy := range []Policy{
		{Cap: 200e9, Rate: 25e6}, {Cap: 2e9, Reserve: 200e6, Rate: 25e6}, {Cap: 20e6, Rate: 60e6}, {Cap: 3e6}, {Cap: 300e3},
		{Cap: 20e6, Reserve: 20e6}, {Cap: 2e9, Reserve: math.MaxUint64}, {Cap: 2e9, Rate: math.MaxUint64}, {Cap: 2e9, Rate: 1},
	} {
		d := newDesk(t, policy)
		atSpent := uint64(math.MaxUint64)
		for s := d.round(); !s.AllSpent; s = d.round() {
			if s.Spent && atSpent == math.MaxUint64 {
				atSpent = s.Used
			}
			if atSpent != math.MaxUint64 && !s.Spent {
				t.Errorf("%+v: not spent any more", policy)
			}
			d.use(s.Granted)
		}
		s := d.account.Balance(d.policy)
		keep := s.Margin + d.policy.inFlight(0) + trancheFor(policy.Cap) + 2*packetBytes
		if s.Used > policy.Cap || s.Used+keep < policy.Cap {
			t.Errorf("%+v: spent at %d, keeping %d", policy, s.Used, keep)
		}
		if reserve := min(policy.Reserve, policy.Cap); reserve > 0 && atSpent > policy.Cap-reserve {
			t.Errorf("%+v: residents had %d", policy, atSpent)
		}
		if most := int(policy.Cap/trancheFor(policy.Cap)) + 40; d.writes > most {
			t.Errorf("%+v: %d writes", policy, d.writes)
		}
	}
}

// TestOwnUse: the box's own downloads may use their part of a cap only while that much is free. So they never take what the kernel
// holds, what is set aside, or the reserve.
func TestOwnUse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		policy Policy
		want   uint64 // at first
	}{
		{Policy{Cap: 200e9, Rate: 25e6}, selfMax}, {Policy{Cap: 256e6, Rate: 25e6}, 2e6}, {Policy{Cap: 2e9, Reserve: 200e6}, selfMax},
		{Policy{Cap: 20e6, Reserve: 20e6}, 0}, {Policy{Cap: 1}, 0}, {Policy{}, 0},
	} {
		d := newDesk(t, c.policy)
		s := d.round()
		if s.OwnUse != c.want {
			t.Errorf("%+v: %d, want %d", c.policy, s.OwnUse, c.want)
		}
		for ; c.want != 0 && !s.Spent; s = d.round() {
			promised := s.Used + d.account.unspent(general) + sub(c.policy.Reserve, d.account.r.Reserve) + s.Margin
			if s.OwnUse > c.want || s.OwnUse != 0 && promised+s.OwnUse > c.policy.Cap {
				t.Fatalf("%+v: %d, although %d are promised: %+v", c.policy, s.OwnUse, promised, s)
			}
			d.use(s.Granted/2 + 1)
		}
		if s.OwnUse != 0 {
			t.Errorf("%+v: %d when it is spent", c.policy, s.OwnUse)
		}
	}
	lost := newDesk(t, Policy{Cap: 2e9})
	lost.account.r.Lost = true
	if s := lost.account.Balance(lost.policy); s.OwnUse != 0 {
		t.Errorf("of a lost account: %d", s.OwnUse)
	}
}

// TestAbsurdPolicies: the account is well-defined for any policy.
func TestAbsurdPolicies(t *testing.T) {
	t.Parallel()
	for _, policy := range []Policy{{Cap: 1}, {Cap: 1, Reserve: 1}, {Cap: 60e3, Rate: math.MaxUint64}} {
		if s := newDesk(t, policy).round(); !s.AllSpent || s.Granted != 0 {
			t.Errorf("%+v: %+v", policy, s)
		}
	}
	for _, policy := range []Policy{
		{Cap: math.MaxUint64}, {Cap: math.MaxUint64, Reserve: math.MaxUint64 / 2, Rate: math.MaxUint64},
	} {
		if s := newDesk(t, policy).round(); s.AllSpent || s.Granted < trancheMax || s.Granted > maxCap/2 {
			t.Errorf("%+v: %+v", policy, s)
		}
	}
}

// TestAhead: the kernel holds a second of a fast line, but not more than a quarter of a small donation.
func TestAhead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ cap, rate, least, most uint64 }{
		{200e9, 1e9, 125e6, 125e6 + trancheMax},
		{2e9, 100e6, 12.5e6, 12.5e6 + 2e9/trancheParts},
		{2e9, 0, 12.5e6, 12.5e6 + 2e9/trancheParts},
		{20e6, 100e6, 5e6, 5e6 + trancheMin},
	} {
		d := newDesk(t, Policy{Cap: c.cap, Rate: c.rate})
		for range 20 {
			s := d.round()
			if s.Granted < c.least || s.Granted > c.most {
				t.Errorf("of %d bytes at %d bit/s the kernel holds %d", c.cap, c.rate, s.Granted)
			}
			d.use(min(s.Granted-c.least, c.least/8) + 1)
		}
	}
}

func TestNoCap(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Policy{})
	if len(d.reading.Tranches) != 1 || d.reading.Tranches[0].Bytes != netctl.Unlimited {
		t.Fatalf("granted %+v", d.reading.Tranches)
	}
	d.use(5e9)
	s := d.round()
	if s.Used != 5e9 || s.Today.Bytes != 5e9 || s.Spent || s.Granted != 0 || len(d.reading.Tranches) != 1 {
		t.Errorf("%+v with %+v", s, d.reading.Tranches)
	}
	d.policy.Cap = 6e9 // from now on
	if s := d.round(); !s.Overcommitted || !s.Spent {
		t.Errorf("the kernel has no limit, but %+v", s)
	}
	d.reading.Tranches = nil
	if s := d.round(); s.Overcommitted || s.Spent || s.Used != 5e9 || s.Granted == 0 {
		t.Errorf("the tranche was taken out, and %+v", s)
	}
}

// TestPeriodTurns: a period ends when trusted time says so, and time only moves it forward.
func TestPeriodTurns(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Policy{Cap: 2e9, Rate: 25e6})
	at := func(year, month, day int, trusted bool) {
		d.reading.Now = time.Date(year, time.Month(month), day, 12, 0, 0, 0, time.UTC)
		d.reading.Trusted = trusted
	}
	d.use(3e6)
	d.wantUsed(3e6, "in November")
	at(2026, 12, 1, false)
	d.wantUsed(3e6, "when nobody trusts that it is December")
	d.use(1e6)
	d.wantUsed(4e6, "in the time that is not sure")
	at(2026, 12, 1, true)
	d.wantUsed(1e6, "in December, of which the unsure time may be")
	at(2026, 11, 30, true)
	d.use(1e6)
	d.wantUsed(2e6, "when the clock went back")
	at(2036, 5, 5, true)
	d.wantUsed(0, "in ten years")
	d.use(1e6)
	at(2026, 12, 2, true)
	d.wantUsed(1e6, "when it was not ten years later")
	at(2027, 1, 2, true)
	d.wantUsed(1e6, "in January, before the period that was once begun is over")
	d.policy.Period = "week"
	d.round()
	at(2027, 6, 2, true)
	d.wantUsed(1e6, "under other policy, before that")
	if d.disk.Start != time.Date(2036, 5, 1, 0, 0, 0, 0, time.UTC).Unix() {
		t.Errorf("on disk the period began %s", time.Unix(d.disk.Start, 0))
	}
	at(2036, 6, 1, true)
	d.wantUsed(0, "when it is over")
}

// TestPowerCutBeforeTimeIsSure: bytes carried before a box without a clock knows that it is December count in December.
func TestPowerCutBeforeTimeIsSure(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Policy{Cap: 2e9, Rate: 25e6})
	d.use(3e6)
	d.round()
	d.powerCut()
	d.reading.Now, d.reading.Trusted = time.Unix(0, 0).UTC(), false
	d.round()
	d.use(5e6)
	used := d.round().Used
	d.reading.Now, d.reading.Trusted = time.Date(2026, 12, 3, 0, 0, 0, 0, time.UTC), true
	if s := d.round(); s.Used < 5e6 || s.Used > used || s.Resets.Month() != time.January {
		t.Errorf("of %d bytes, 5 MB of them since the power came back, December has %+v", used, s)
	}
}

// TestPolicyChange: after a change in mid-period, all that was used still counts.
func TestPolicyChange(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Policy{Cap: 2e9, Rate: 25e6})
	for range 100 {
		d.use(5e6)
		d.round()
	}
	d.policy.Period = "week"
	if s := d.round(); s.Used != 500e6 || s.Resets.Day() != 16 {
		t.Errorf("by the week %+v", s)
	}
	d.policy.Cap = 500e6
	if s := d.round(); !s.Overcommitted || !s.AllSpent || s.Left != 0 {
		t.Errorf("with the cap lowered %+v", s)
	}
	d.reading.Tranches = nil
	d.use(1e6)
	if s := d.round(); !s.AllSpent || s.Overrun != 1e6 || s.SelfAllowance != 0 {
		t.Errorf("beyond the cap %+v", s)
	}
	d.policy.Cap = 1e9
	if s := d.round(); s.Spent || s.Overrun != 0 || s.Left == 0 {
		t.Errorf("with the cap raised %+v", s)
	}
	d.reading.Now = time.Date(2026, 11, 16, 0, 0, 0, 0, time.UTC)
	if s := d.round(); s.Used != 0 || s.Resets.Day() != 23 {
		t.Errorf("the week after %+v", s)
	}
	if s := Open(nil, nil).Balance(d.policy); s.Used != 0 {
		t.Errorf("under another name %+v", s)
	}
}

// TestLost: a lost account counts as spent until its period is over.
func TestLost(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Policy{Cap: 2e9, Rate: 25e6})
	lost := LostRecord()
	d.disk = &lost
	d.restart()
	if s := d.round(); !s.Overcommitted || !s.AllSpent {
		t.Errorf("with a tranche still in the kernel %+v", s)
	}
	d.reading.Tranches = nil
	d.reading.Trusted = false
	for _, trusted := range []bool{false, true, true} {
		d.reading.Trusted = trusted
		if s := d.round(); !s.AllSpent || !s.Lost || len(d.reading.Tranches) != 0 {
			t.Errorf("%+v", s)
		}
		d.restart()
	}
	d.reading.Now = d.reading.Now.AddDate(0, 1, 0)
	if s := d.round(); s.Spent || s.Lost || s.Granted == 0 || d.reading.Tranches[0].ID != 2 {
		t.Errorf("a month later %+v", s)
	}
}

// TestMarginGrows: senders that transmit more than was kept for them make the account keep more, also after a restart.
func TestMarginGrows(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Policy{Cap: 100e6, Rate: 25e6})
	for s := d.round(); !s.Spent; s = d.round() {
		d.use(s.Granted)
	}
	before := d.account.Balance(d.policy).Margin
	d.use(3e6) // no tranche pays for that
	s := d.round()
	if s.Margin <= before || s.Overrun == 0 {
		t.Fatalf("a margin of %d became %+v", before, s)
	}
	d.use(1e9)
	s = d.round()
	if most := before + 100e6/extraPart; s.Margin != most {
		t.Errorf("the margin grew to %d, not %d", s.Margin, most)
	}
	d.reading.Now = d.reading.Now.AddDate(0, 1, 0)
	d.round()
	d.restart()
	if again := d.round(); again.Margin != s.Margin {
		t.Errorf("a month and a restart later it is %d", again.Margin)
	}
}

// TestStopLosesNothing: after an orderly stop followed by a power cut, only the small slack counts as used.
func TestStopLosesNothing(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Policy{Cap: 2e9, Rate: 25e6})
	d.use(1e6)
	d.reading.Tranches = nil // the gate is closed
	d.account.Observe(d.policy, d.reading)
	r, due := d.account.Final(d.policy)
	if !due {
		t.Fatal("nothing to write")
	}
	d.disk = &r
	d.powerCut()
	if s := d.round(); s.Used < 1e6 || s.Used > 1e6+d.policy.slack() {
		t.Errorf("%+v", s)
	}
}

// TestDays: sums by day. Only trusted time begins a new day, with at most one write a day.
func TestDays(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Policy{Cap: 2e9, Rate: 25e6})
	d.account.SetResidents(1.6)
	d.account.SetResidents(0.2) // a caller that restarted
	d.use(1e6)
	d.round()
	d.reading.Now, d.reading.Trusted = d.reading.Now.AddDate(0, 0, 1), false
	d.use(1e6)
	d.round()
	writes := d.writes
	d.reading.Trusted = true
	for n := range 3 {
		d.account.SetResidents(float64(n))
		d.round()
	}
	if d.writes != writes+1 {
		t.Errorf("a new day cost %d writes", d.writes-writes)
	}
	want := []Day{{20261110, 2e6, 2}}
	if diff := cmp.Diff(want, d.account.Days()); diff != "" {
		t.Error(diff)
	}
	if today := d.account.Balance(d.policy).Today; today != (Day{20261111, 0, 2}) {
		t.Errorf("today is %+v", today)
	}
	if diff := cmp.Diff(want, Open(d.disk, nil).Days()); diff != "" {
		t.Error(diff)
	}
	// A clock set back over midnight gives no second share of the donation: today is still the day that had begun.
	d.use(1e6)
	before := d.round()
	d.reading.Now = d.reading.Now.Add(-13 * time.Hour)
	if s := d.round(); s.Today != before.Today || s.DailyBudget != before.DailyBudget || s.DailyBudget == 0 {
		t.Errorf("set back over midnight, a day of %d bytes is one of %d, %+v", before.DailyBudget, s.DailyBudget, s.Today)
	}
	d.reading.Now = d.reading.Now.Add(13 * time.Hour)
	for range KeepDays + 50 {
		d.reading.Now = d.reading.Now.AddDate(0, 0, 1)
		d.round()
	}
	yesterday := dateOf(d.reading.Now.AddDate(0, 0, -1))
	if days := d.account.Days(); len(days) != KeepDays || days[KeepDays-1].Date != yesterday {
		t.Errorf("%d days, the last %+v", len(days), days[len(days)-1])
	}
}

// TestRecordBytes: any record is decoded to the same record, and damaged bytes are refused.
func TestRecordBytes(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(9, 9))
	for range 2000 {
		n := func() uint64 { return r.Uint64() >> r.IntN(64) }
		want := Record{
			Start: int64(n()), End: -int64(n() >> 1), Period: "week", Resets: r.IntN(32), Lost: r.IntN(2) == 0,
			Base: n(), Counted: n(), Charged: n(), TrustedUsed: n(), Committed: n(), Reserve: n(), ReserveCommitted: n(), ExtraMargin: n(),
			Broadcasts: n(), Stated: n(), Lowered: n(), LastID: n(),
			Boot: "4fa7bd0b", Counter: Counter{Name: "eth0", Index: r.IntN(1e6), Bytes: n(), BroadcastsAfter: n()},
			Today: Day{Date(n() >> 33), n(), r.Uint32()}, LastDay: Day{Date(n() >> 33), n(), r.Uint32()},
		}
		for range r.IntN(4) {
			used := n()
			want.tranches = append(want.tranches, tranche{part(r.IntN(2)), n(), max(used, n()), used})
		}
		b := want.Append(nil)
		got, err := Decode(b)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(Record{}, tranche{})); diff != "" || err != nil {
			t.Fatal(diff, err)
		}
		b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		if _, err := Decode(b); !errors.Is(err, ErrDamaged) {
			t.Fatalf("with a bit turned: %v", err)
		}
	}
}

// TestRecordBefore: a record of the version that did not count broadcasts is read.
func TestRecordBefore(t *testing.T) {
	t.Parallel()
	want := Record{Base: 5, Boot: "first", Counter: Counter{Name: "eth0", Index: 3, Bytes: 7}, tranches: []tranche{{general, 1, 2, 1}}}
	b := want.Append(nil)
	b = b[:len(b)-4-4] // the checksum, and a byte for each of the four counts
	b[0] = 1
	got, err := Decode(resum(append(b, 0, 0, 0, 0)))
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Record{}, tranche{})); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

// TestRecordAfter: a record of the next version, which has more at its end, is read. One of the version after that is not.
func TestRecordAfter(t *testing.T) {
	t.Parallel()
	want := Record{Base: 5, Boot: "first", Counter: Counter{Name: "eth0", Index: 3, Bytes: 7}, tranches: []tranche{{general, 1, 2, 1}}}
	day := Day{Date: 20261122, Bytes: 9, Residents: 2}
	later := func(b []byte, version byte) []byte {
		b[0] = version
		return resum(append(b[:len(b)-4], "more and its sum"...))
	}
	for version, wantErr := range map[byte]error{recordWrites: ErrDamaged, recordWrites + 1: nil, recordWrites + 2: ErrNewer} {
		got, err := Decode(later(want.Append(nil), version))
		if !errors.Is(err, wantErr) || err == nil && !cmp.Equal(want, got, cmp.AllowUnexported(Record{}, tranche{})) {
			t.Errorf("version %d: %+v, %v", version, got, err)
		}
		gotDay, err := DecodeDay(day.Date, later(day.Append(nil), version))
		if !errors.Is(err, wantErr) || err == nil && gotDay != day {
			t.Errorf("a day of version %d: %+v, %v", version, gotDay, err)
		}
	}
}

// TestBroadcasts: broadcasts of the line's own network are counted separately and not billed, unless the policy says so.
func TestBroadcasts(t *testing.T) {
	t.Parallel()
	for _, counts := range []bool{false, true} {
		d := newDesk(t, Policy{Cap: 2e9, Rate: 25e6, Broadcast: counts})
		var counted, apart uint64
		// carry lets the line carry bytes, a number of which are known to be broadcasts.
		carry := func(bytes, broadcasts uint64) {
			d.reading.Counter.Bytes += bytes
			d.reading.Counter.BroadcastsBefore += broadcasts
			d.reading.Counter.BroadcastsAfter = d.reading.Counter.BroadcastsBefore
			if counted, apart = counted+bytes-broadcasts, apart+broadcasts; counts {
				counted += broadcasts
			}
		}
		want := func(when string) {
			t.Helper()
			d.wantUsed(counted, when)
			if s := d.round(); s.Broadcasts != apart || s.Today.Bytes != counted {
				t.Errorf("%s, %d bytes of broadcasts are reported, want %d; today used %d, want %d", when, s.Broadcasts, apart, s.Today.Bytes, counted)
			}
		}
		carry(6e6, 1e6-14_000)
		want("after broadcasts, whose link headers are not known as such")
		d.restart()
		carry(6e6, 1e6)
		want("when the daemon was dead meanwhile")
		d.reading.Counter.BroadcastsBefore = 0
		carry(6e6, 0)
		want("when the count of broadcasts was lost")
		carry(3e6, 2e6)
		want("when it went on from nothing")
		d.reading.Counter.BroadcastsAfter += 1e6
		want("when more came right after the line was read")
		d.reading.Counter.BroadcastsBefore = d.reading.Counter.BroadcastsAfter
		d.reading.Counter.Bytes += 1e6
		counted += 1e6
		want("when the line is read again: they may have been in its count before")
		d.reading.Counter.Index++
		d.reading.Counter.Bytes = 3e6
		counted += replugBytes + 3e6
		want("when the line was plugged in again")
		carry(3e6, 2e6)
		want("after that")
		d.policy.Broadcast = !counts
		want("under the other policy")
		d.policy.Broadcast = counts
		want("and back")
		carry(3e6, 2e6)
		want("and more")
		d.reading.Now = d.reading.Now.AddDate(0, 1, 0)
		if s := d.round(); s.Used != 0 || s.Broadcasts != 0 {
			t.Errorf("a new period begins with %d bytes used and %d of broadcasts", s.Used, s.Broadcasts)
		}
	}
}

// TestBroadcastsNeverHide: after any loss of counters, each byte that is not a broadcast counts.
func TestBroadcastsNeverHide(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(7, 3))
	for range 5000 {
		d := newDesk(t, Policy{Cap: 200e9})
		d.account = Open(nil, nil)
		line, now := &d.reading.Counter, d.reading.Counter // what the account is shown, and what there is
		seen, others := uint64(r.IntN(1e6)), uint64(0)
		carry := func() {
			bytes := uint64(r.IntN(1e6))
			if now.Bytes += bytes; r.IntN(2) == 0 {
				seen += bytes
			} else {
				others += bytes
			}
		}
		// look reads one counter after the other while frames arrive. It returns the other bytes until the line was read.
		look := func() (until uint64) {
			line.BroadcastsBefore = seen
			carry()
			line.Index, line.Bytes, until = now.Index, now.Bytes, others
			carry()
			line.BroadcastsAfter = seen
			d.round()
			return until
		}
		others -= look() // the first time that the account sees the line
		for range 30 {
			switch r.IntN(6) {
			case 0:
				d.restart()
			case 1:
				seen = 0
			case 2:
				d.policy.Broadcast = r.IntN(2) == 0
			case 3:
				now.Index, now.Bytes, others = now.Index+1, 0, d.account.used() // the rest went with its counter
			default:
				carry()
			}
			if least := look(); d.account.used() < least || d.account.used() > 1e12 {
				t.Fatalf("%d bytes count, %d were no broadcasts", d.account.used(), least)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Record{Period: "month", tranches: []tranche{{general, 1, 2, 1}}}.Append(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Decode(resum(b))
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewer) {
				t.Error(err)
			}
			return
		}
		again, err := Decode(r.Append(nil))
		if err != nil || !cmp.Equal(r, again, cmp.AllowUnexported(Record{}, tranche{})) {
			t.Errorf("%+v came back as %+v: %v", r, again, err)
		}
	})
}

// resum gives bytes a correct checksum, so that the decoder reads them.
func resum(b []byte) []byte {
	body := b[:max(0, len(b)-4)]
	return binary.LittleEndian.AppendUint32(bytes.Clone(body), crc32.ChecksumIEEE(body))
}
