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

// desk is a Book with the little that it needs around it.
type desk struct {
	t       *testing.T
	terms   Terms
	reading Reading
	book    *Book
	disk    *Record
	writes  int
}

func newDesk(t *testing.T, terms Terms) *desk {
	terms.Chain, terms.ReserveChain = "PAS-CAP-1", "PAS-CAP-2"
	if terms.Period == "" {
		terms.Period, terms.Resets = "month", 1
	}
	d := &desk{t: t, terms: terms, book: Open(nil, nil), reading: Reading{
		Now: time.Date(2026, 11, 10, 12, 0, 0, 0, time.UTC), Trusted: true, Boot: "first",
		Line: Line{Name: "eth0", Index: 3, Bytes: 1e6},
	}}
	d.round()
	return d
}

// round is a round of the loop.
func (d *desk) round() Standing {
	d.t.Helper()
	d.book.Observe(d.terms, d.reading)
	if w, due := d.book.Due(d.terms, true); due {
		r, err := Decode(w.Record.Append(nil))
		if err != nil {
			d.t.Fatal(err)
		}
		d.disk = &r
		d.writes++
		d.book.Wrote(w)
		for _, g := range w.Grants {
			d.reading.Tranches = slices.DeleteFunc(d.reading.Tranches, func(s netctl.Spent) bool {
				return s.Chain == g.Chain && s.Used == s.Bytes
			})
			d.reading.Tranches = append(d.reading.Tranches, netctl.Spent{Tranche: g})
			d.book.Granted(d.terms, g)
		}
	}
	return d.book.Standing(d.terms)
}

// use lets residents use bytes of the tranches; the line carries as much.
func (d *desk) use(bytes uint64) {
	d.reading.Line.Bytes += bytes
	for i := range d.reading.Tranches {
		k := &d.reading.Tranches[i]
		n := min(bytes, k.Bytes-k.Used)
		k.Used += n
		bytes -= n
	}
}

func (d *desk) restart() { d.book = Open(d.disk, nil) }

func (d *desk) powerCut() {
	d.restart()
	d.reading.Boot += "'"
	d.reading.Tranches, d.reading.Line.Bytes = nil, 0
}

func (d *desk) wantUsed(want uint64, when string) {
	d.t.Helper()
	if got := d.round().Used; got != want {
		d.t.Errorf("%s, %d bytes are used, want %d", when, got, want)
	}
}

// TestUsed: what counts as used, whatever happens to those who count.
func TestUsed(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Terms{Cap: 2e9, Rate: 25e6})
	d.wantUsed(0, "before anything passed")
	d.use(1e6)
	d.wantUsed(1e6, "when the line carried it")
	d.restart()
	d.use(1e6)
	d.wantUsed(2e6, "after kill -9")
	d.reading.Line.Name = "lent0"
	d.use(1e6)
	d.wantUsed(3e6, "when the interface got another name")
	d.reading.Line = Line{Name: "lent0", Index: 9, Bytes: 5000}
	d.wantUsed(3e6+replugBytes+5000, "when it was plugged in again")
	d.reading.Line.Bytes = 100
	d.wantUsed(3e6+2*replugBytes+5100, "when its counter went back")
	d.use(1e6)
	d.reading.Line = Line{Name: "lent0", Index: 10}
	d.wantUsed(4e6+1e6/32+1+3*replugBytes+5100, "when it was unplugged before anybody looked")
	d.reading.Line = Line{Name: "eth7", Index: 11, Bytes: 7e9}
	d.wantUsed(4e6+1e6/32+1+4*replugBytes+5100, "when another line took its place")
	promised := d.disk.Promised
	d.powerCut()
	d.wantUsed(promised, "after a power cut")
}

// TestUnseen: with the counter gone while nobody looked, all that was promised counts but what the kernel still holds.
func TestUnseen(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Terms{Cap: 2e9, Rate: 25e6})
	d.use(1e6)
	d.restart()
	line := d.reading.Line
	d.reading.Line.Index = 0
	writes := d.writes
	d.round()
	if _, due := d.book.Final(d.terms); due || d.writes != writes {
		t.Error("a line that nobody could look at got a smaller promise")
	}
	d.reading.Line = line
	d.wantUsed(1e6, "when it came back as it was")
	d.disk.Base = 0
	d.restart()
	d.reading.Line = Line{Name: "eth0", Index: 4, Bytes: 100}
	s := d.round()
	if least := uint64(1e6 + 100); s.Used < least || s.Used > least+2e6 {
		t.Errorf("%d bytes are used of at least %d", s.Used, least)
	}
}

// TestSpentRules: a tranche that the gate took out because the next one pays was used up, which counts if the line's
// counter is lost in the same moment.
func TestSpentRules(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Terms{Cap: 2e9, Rate: 25e6})
	d.use(5e6)
	d.round()
	first, second := d.reading.Tranches[0], d.reading.Tranches[1]
	d.use(first.Bytes - first.Used + 1000)
	d.reading.Tranches = []netctl.Spent{{Tranche: second.Tranche, Used: 1000}}
	d.reading.Line.Index, d.reading.Line.Bytes = 9, 0
	if s := d.round(); s.Used < first.Bytes+1000 {
		t.Errorf("of %d bytes %d count as used", first.Bytes+1000, s.Used)
	}
}

// TestReserveAfterPowerCut: what was promised of the reserve is gone, too.
func TestReserveAfterPowerCut(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Terms{Cap: 200e6, Reserve: 100e6, Rate: 25e6})
	s := d.round()
	for ; !s.Spent || s.Granted == 0; s = d.round() {
		d.use(s.Granted)
	}
	d.powerCut()
	if again := d.round(); again.Reserve+s.Granted > s.Reserve {
		t.Errorf("with %d bytes granted of a reserve of %d, %d are left", s.Granted, s.Reserve, again.Reserve)
	}
}

// TestAllIsSpent: the general part, then the reserve, and what is left of the cap is the margin and less than a
// tranche.
func TestAllIsSpent(t *testing.T) {
	t.Parallel()
	for _, terms := range []Terms{
		{Cap: 200e9, Rate: 25e6}, {Cap: 2e9, Reserve: 200e6, Rate: 25e6}, {Cap: 20e6, Rate: 60e6}, {Cap: 3e6}, {Cap: 300e3},
		{Cap: 20e6, Reserve: 20e6}, {Cap: 2e9, Reserve: math.MaxUint64}, {Cap: 2e9, Rate: math.MaxUint64}, {Cap: 2e9, Rate: 1},
	} {
		d := newDesk(t, terms)
		atSpent := uint64(math.MaxUint64)
		for s := d.round(); !s.AllSpent; s = d.round() {
			if s.Spent && atSpent == math.MaxUint64 {
				atSpent = s.Used
			}
			if atSpent != math.MaxUint64 && !s.Spent {
				t.Errorf("%+v: not spent any more", terms)
			}
			d.use(s.Granted)
		}
		s := d.book.Standing(d.terms)
		keep := s.Margin + d.terms.flight(0) + tranche256(terms.Cap) + 2*packetBytes
		if s.Used > terms.Cap || s.Used+keep < terms.Cap {
			t.Errorf("%+v: spent at %d, keeping %d", terms, s.Used, keep)
		}
		if reserve := min(terms.Reserve, terms.Cap); reserve > 0 && atSpent > terms.Cap-reserve {
			t.Errorf("%+v: residents had %d", terms, atSpent)
		}
		if most := int(terms.Cap/tranche256(terms.Cap)) + 40; d.writes > most {
			t.Errorf("%+v: %d writes", terms, d.writes)
		}
	}
}

// TestAbsurdTerms: all are well-defined.
func TestAbsurdTerms(t *testing.T) {
	t.Parallel()
	for _, terms := range []Terms{{Cap: 1}, {Cap: 1, Reserve: 1}, {Cap: 60e3, Rate: math.MaxUint64}} {
		if s := newDesk(t, terms).round(); !s.AllSpent || s.Granted != 0 {
			t.Errorf("%+v: %+v", terms, s)
		}
	}
	for _, terms := range []Terms{
		{Cap: math.MaxUint64}, {Cap: math.MaxUint64, Reserve: math.MaxUint64 / 2, Rate: math.MaxUint64},
	} {
		if s := newDesk(t, terms).round(); s.AllSpent || s.Granted < trancheTop || s.Granted > maxCap/2 {
			t.Errorf("%+v: %+v", terms, s)
		}
	}
}

// TestAhead: the kernel holds a second of a fast line, but not more than a quarter of a small gift.
func TestAhead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ cap, rate, least, most uint64 }{
		{200e9, 1e9, 125e6, 125e6 + trancheTop},
		{2e9, 100e6, 12.5e6, 12.5e6 + 2e9/trancheParts},
		{2e9, 0, 12.5e6, 12.5e6 + 2e9/trancheParts},
		{20e6, 100e6, 5e6, 5e6 + trancheFloor},
	} {
		d := newDesk(t, Terms{Cap: c.cap, Rate: c.rate})
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
	d := newDesk(t, Terms{})
	if len(d.reading.Tranches) != 1 || d.reading.Tranches[0].Bytes != netctl.Unlimited {
		t.Fatalf("granted %+v", d.reading.Tranches)
	}
	d.use(5e9)
	s := d.round()
	if s.Used != 5e9 || s.Today.Bytes != 5e9 || s.Spent || s.Granted != 0 || len(d.reading.Tranches) != 1 {
		t.Errorf("%+v with %+v", s, d.reading.Tranches)
	}
	d.terms.Cap = 6e9 // from now on
	if s := d.round(); !s.Excess || !s.Spent {
		t.Errorf("the kernel has no limit, but %+v", s)
	}
	d.reading.Tranches = nil
	if s := d.round(); s.Excess || s.Spent || s.Used != 5e9 || s.Granted == 0 {
		t.Errorf("the tranche was taken out, and %+v", s)
	}
}

// TestPeriodTurns: when trusted time says so, and only forward.
func TestPeriodTurns(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Terms{Cap: 2e9, Rate: 25e6})
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
	d.terms.Period = "week"
	d.round()
	at(2027, 6, 2, true)
	d.wantUsed(1e6, "under other terms, before that")
	if d.disk.Start != time.Date(2036, 5, 1, 0, 0, 0, 0, time.UTC).Unix() {
		t.Errorf("on disk the period began %s", time.Unix(d.disk.Start, 0))
	}
	at(2036, 6, 1, true)
	d.wantUsed(0, "when it is over")
}

// TestPowerCutBeforeTimeIsSure: what was carried before a box without a clock knows that it is December counts there.
func TestPowerCutBeforeTimeIsSure(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Terms{Cap: 2e9, Rate: 25e6})
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

// TestTermsChange: in mid-period, nothing that was used is forgiven.
func TestTermsChange(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Terms{Cap: 2e9, Rate: 25e6})
	for range 100 {
		d.use(5e6)
		d.round()
	}
	d.terms.Period = "week"
	if s := d.round(); s.Used != 500e6 || s.Resets.Day() != 16 {
		t.Errorf("by the week %+v", s)
	}
	d.terms.Cap = 500e6
	if s := d.round(); !s.Excess || !s.AllSpent || s.Left != 0 {
		t.Errorf("with the cap lowered %+v", s)
	}
	d.reading.Tranches = nil
	d.use(1e6)
	if s := d.round(); !s.AllSpent || s.Over != 1e6 || s.Own != 0 {
		t.Errorf("beyond the cap %+v", s)
	}
	d.terms.Cap = 1e9
	if s := d.round(); s.Spent || s.Over != 0 || s.Left == 0 {
		t.Errorf("with the cap raised %+v", s)
	}
	d.reading.Now = time.Date(2026, 11, 16, 0, 0, 0, 0, time.UTC)
	if s := d.round(); s.Used != 0 || s.Resets.Day() != 23 {
		t.Errorf("the week after %+v", s)
	}
	if s := Open(nil, nil).Standing(d.terms); s.Used != 0 {
		t.Errorf("under another name %+v", s)
	}
}

// TestLost: an account that was lost counts as spent until its period is over.
func TestLost(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Terms{Cap: 2e9, Rate: 25e6})
	lost := LostRecord()
	d.disk = &lost
	d.restart()
	if s := d.round(); !s.Excess || !s.AllSpent {
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

// TestMarginGrows: senders that pour in more than was kept for them teach the account to keep more, also after a
// restart.
func TestMarginGrows(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Terms{Cap: 100e6, Rate: 25e6})
	for s := d.round(); !s.Spent; s = d.round() {
		d.use(s.Granted)
	}
	before := d.book.Standing(d.terms).Margin
	d.use(3e6) // no tranche pays for that
	s := d.round()
	if s.Margin <= before || s.Over == 0 {
		t.Fatalf("a margin of %d became %+v", before, s)
	}
	d.use(1e9)
	s = d.round()
	if most := before + 100e6/maxExtra; s.Margin != most {
		t.Errorf("the margin grew to %d, not %d", s.Margin, most)
	}
	d.reading.Now = d.reading.Now.AddDate(0, 1, 0)
	d.round()
	d.restart()
	if again := d.round(); again.Margin != s.Margin {
		t.Errorf("a month and a restart later it is %d", again.Margin)
	}
}

// TestStopLosesNothing: after a stop that was asked for, and the power gone, only the small slack counts as used.
func TestStopLosesNothing(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Terms{Cap: 2e9, Rate: 25e6})
	d.use(1e6)
	d.reading.Tranches = nil // the gate is closed
	d.book.Observe(d.terms, d.reading)
	r, due := d.book.Final(d.terms)
	if !due {
		t.Fatal("nothing to write")
	}
	d.disk = &r
	d.powerCut()
	if s := d.round(); s.Used < 1e6 || s.Used > 1e6+d.terms.slack() {
		t.Errorf("%+v", s)
	}
}

// TestDays: sums by day, moved on by trusted time only, with a write a day at most.
func TestDays(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Terms{Cap: 2e9, Rate: 25e6})
	d.book.Came(1.6)
	d.book.Came(0.2) // who forgot some
	d.use(1e6)
	d.round()
	d.reading.Now, d.reading.Trusted = d.reading.Now.AddDate(0, 0, 1), false
	d.use(1e6)
	d.round()
	writes := d.writes
	d.reading.Trusted = true
	for n := range 3 {
		d.book.Came(float64(n))
		d.round()
	}
	if d.writes != writes+1 {
		t.Errorf("a new day cost %d writes", d.writes-writes)
	}
	want := []Day{{20261110, 2e6, 2}}
	if diff := cmp.Diff(want, d.book.Days()); diff != "" {
		t.Error(diff)
	}
	if today := d.book.Standing(d.terms).Today; today != (Day{20261111, 0, 2}) {
		t.Errorf("today is %+v", today)
	}
	if diff := cmp.Diff(want, Open(d.disk, nil).Days()); diff != "" {
		t.Error(diff)
	}
	// A clock that is set back over midnight gives no other part of the gift: today is still the day that had begun.
	d.use(1e6)
	before := d.round()
	d.reading.Now = d.reading.Now.Add(-13 * time.Hour)
	if s := d.round(); s.Today != before.Today || s.Ration != before.Ration || s.Ration == 0 {
		t.Errorf("set back over midnight, a day of %d bytes is one of %d, %+v", before.Ration, s.Ration, s.Today)
	}
	d.reading.Now = d.reading.Now.Add(13 * time.Hour)
	for range KeepDays + 50 {
		d.reading.Now = d.reading.Now.AddDate(0, 0, 1)
		d.round()
	}
	yesterday := dateOf(d.reading.Now.AddDate(0, 0, -1))
	if days := d.book.Days(); len(days) != KeepDays || days[KeepDays-1].Date != yesterday {
		t.Errorf("%d days, the last %+v", len(days), days[len(days)-1])
	}
}

// TestRecordBytes: any record comes back from its bytes, and bytes that were damaged don't.
func TestRecordBytes(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(9, 9))
	for range 2000 {
		n := func() uint64 { return r.Uint64() >> r.IntN(64) }
		want := Record{
			Start: int64(n()), End: -int64(n() >> 1), Period: "week", Resets: r.IntN(32), Lost: r.IntN(2) == 0,
			Base: n(), Link: n(), Paid: n(), Sure: n(), Promised: n(), Reserve: n(), ReservePromised: n(), Extra: n(),
			Broadcasts: n(), LastID: n(),
			Boot: "4fa7bd0b", Line: Line{Name: "eth0", Index: r.IntN(1e6), Bytes: n(), BroadcastsAfter: n()},
			Today: Day{int32(n() >> 33), n(), r.Uint32()}, Last: Day{int32(n() >> 33), n(), r.Uint32()},
		}
		for range r.IntN(4) {
			used := n()
			want.tranches = append(want.tranches, granted{part(r.IntN(2)), n(), max(used, n()), used})
		}
		b := want.Append(nil)
		got, err := Decode(b)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(Record{}, granted{})); diff != "" || err != nil {
			t.Fatal(diff, err)
		}
		b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		if _, err := Decode(b); !errors.Is(err, ErrDamaged) {
			t.Fatalf("with a bit turned: %v", err)
		}
	}
}

// TestRecordBefore reads a record of a version that did not count broadcasts.
func TestRecordBefore(t *testing.T) {
	t.Parallel()
	want := Record{Base: 5, Boot: "first", Line: Line{Name: "eth0", Index: 3, Bytes: 7}, tranches: []granted{{general, 1, 2, 1}}}
	b := want.Append(nil)
	b = b[:len(b)-4-2] // the checksum, and a byte for each of the two counts
	b[0] = 1
	got, err := Decode(resum(append(b, 0, 0, 0, 0)))
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Record{}, granted{})); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

// TestRecordAfter reads a record of the next version, which has more at its end, and none of the one after it.
func TestRecordAfter(t *testing.T) {
	t.Parallel()
	want := Record{Base: 5, Boot: "first", Line: Line{Name: "eth0", Index: 3, Bytes: 7}, tranches: []granted{{general, 1, 2, 1}}}
	day := Day{Date: 20261122, Bytes: 9, Residents: 2}
	later := func(b []byte, version byte) []byte {
		b[0] = version
		return resum(append(b[:len(b)-4], "more and its sum"...))
	}
	for version, wantErr := range map[byte]error{recordWrites: ErrDamaged, recordWrites + 1: nil, recordWrites + 2: ErrNewer} {
		got, err := Decode(later(want.Append(nil), version))
		if !errors.Is(err, wantErr) || err == nil && !cmp.Equal(want, got, cmp.AllowUnexported(Record{}, granted{})) {
			t.Errorf("version %d: %+v, %v", version, got, err)
		}
		gotDay, err := DecodeDay(day.Date, later(day.Append(nil), version))
		if !errors.Is(err, wantErr) || err == nil && gotDay != day {
			t.Errorf("a day of version %d: %+v, %v", version, gotDay, err)
		}
	}
}

// TestBroadcasts: what the line's own network sends to all on it is told apart and does not count, unless the terms say so.
func TestBroadcasts(t *testing.T) {
	t.Parallel()
	for _, counts := range []bool{false, true} {
		d := newDesk(t, Terms{Cap: 2e9, Rate: 25e6, Broadcast: counts})
		var counted, apart uint64
		// carry lets the line carry bytes, so many of which are known to be broadcasts.
		carry := func(bytes, broadcasts uint64) {
			d.reading.Line.Bytes += bytes
			d.reading.Line.BroadcastsBefore += broadcasts
			d.reading.Line.BroadcastsAfter = d.reading.Line.BroadcastsBefore
			if counted, apart = counted+bytes-broadcasts, apart+broadcasts; counts {
				counted += broadcasts
			}
		}
		want := func(when string) {
			t.Helper()
			d.wantUsed(counted, when)
			if s := d.round(); s.Broadcasts != apart || s.Today.Bytes != counted {
				t.Errorf("%s, %d bytes of broadcasts are told, want %d; today used %d, want %d", when, s.Broadcasts, apart, s.Today.Bytes, counted)
			}
		}
		carry(6e6, 1e6-14_000)
		want("after broadcasts, whose link headers are not known as such")
		d.restart()
		carry(6e6, 1e6)
		want("when the daemon was dead meanwhile")
		d.reading.Line.BroadcastsBefore = 0
		carry(6e6, 0)
		want("when the count of broadcasts was lost")
		carry(3e6, 2e6)
		want("when it went on from nothing")
		d.reading.Line.BroadcastsAfter += 1e6
		want("when more came right after the line was read")
		d.reading.Line.BroadcastsBefore = d.reading.Line.BroadcastsAfter
		d.reading.Line.Bytes += 1e6
		counted += 1e6
		want("when the line is read again: they may have been in its count before")
		d.reading.Line.Index++
		d.reading.Line.Bytes = 3e6
		counted += replugBytes + 3e6
		want("when the line was plugged in again")
		carry(3e6, 2e6)
		want("after that")
		d.terms.Broadcast = !counts
		want("under the other terms")
		d.terms.Broadcast = counts
		want("and back")
		carry(3e6, 2e6)
		want("and more")
		d.reading.Now = d.reading.Now.AddDate(0, 1, 0)
		if s := d.round(); s.Used != 0 || s.Broadcasts != 0 {
			t.Errorf("a new period begins with %d bytes used and %d of broadcasts", s.Used, s.Broadcasts)
		}
	}
}

// TestBroadcastsNeverHide: whatever becomes of the counters, each byte that is no broadcast counts.
func TestBroadcastsNeverHide(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(7, 3))
	for range 5000 {
		d := newDesk(t, Terms{Cap: 200e9})
		d.book = Open(nil, nil)
		line, now := &d.reading.Line, d.reading.Line // what the book is shown, and what there is
		seen, others := uint64(r.IntN(1e6)), uint64(0)
		carry := func() {
			bytes := uint64(r.IntN(1e6))
			if now.Bytes += bytes; r.IntN(2) == 0 {
				seen += bytes
			} else {
				others += bytes
			}
		}
		// look shows the book one count after the other, while frames come, and returns the others until the line was read.
		look := func() (until uint64) {
			line.BroadcastsBefore = seen
			carry()
			line.Index, line.Bytes, until = now.Index, now.Bytes, others
			carry()
			line.BroadcastsAfter = seen
			d.round()
			return until
		}
		others -= look() // the first time that the book sees the line
		for range 30 {
			switch r.IntN(6) {
			case 0:
				d.restart()
			case 1:
				seen = 0
			case 2:
				d.terms.Broadcast = r.IntN(2) == 0
			case 3:
				now.Index, now.Bytes, others = now.Index+1, 0, d.book.used() // the rest went with its counter
			default:
				carry()
			}
			if least := look(); d.book.used() < least || d.book.used() > 1e12 {
				t.Fatalf("%d bytes count, %d were no broadcasts", d.book.used(), least)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Record{Period: "month", tranches: []granted{{general, 1, 2, 1}}}.Append(nil))
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
		if err != nil || !cmp.Equal(r, again, cmp.AllowUnexported(Record{}, granted{})) {
			t.Errorf("%+v came back as %+v: %v", r, again, err)
		}
	})
}

// resum gives bytes a right checksum, so that what is behind it is looked at.
func resum(b []byte) []byte {
	body := b[:max(0, len(b)-4)]
	return binary.LittleEndian.AppendUint32(bytes.Clone(body), crc32.ChecksumIEEE(body))
}
