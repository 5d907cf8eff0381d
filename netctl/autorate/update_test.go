package autorate_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"passerelle/netctl/autorate"
)

const ms = time.Millisecond

// tick returns an input with one probe's answer after the given round trip.
func tick(now time.Duration, mbit float64, backlog uint64, trip time.Duration) autorate.Input {
	in := autorate.Input{Now: now, Down: autorate.Traffic{Bytes: uint64(mbit * 1e6 / 8 * autorate.Tick.Seconds()), Backlog: backlog}}
	if trip > 0 {
		in.Samples = []autorate.Sample{{Sent: now - max(trip, autorate.Tick), Trip: trip}}
	}
	return in
}

// loaded returns the state of a line that carried all of its rate for a number of ticks without a queue, the last output, and the
// time.
func loaded(lent float64, ticks int) (s autorate.State, o autorate.Output, now time.Duration) {
	s = autorate.New(autorate.Limits{Down: lent})
	now = time.Hour
	s, o = autorate.Update(s, autorate.Input{Now: now})
	for range ticks {
		now += autorate.Tick
		s, o = autorate.Update(s, tick(now, o.Down/1e6, 50_000, 40*ms))
	}
	return s, o, now
}

func TestStart(t *testing.T) {
	_, o := autorate.Update(autorate.New(autorate.Limits{Down: 20e6, Up: 4e6}), autorate.Input{})
	if o.Down != 5e6 || o.Up != 1e6 || o.Probe {
		t.Errorf("it starts with %+v, want a quarter and no probe", o)
	}
	_, o = autorate.Update(autorate.New(autorate.Limits{Down: 20e6}), autorate.Input{})
	if o.Up != 0 {
		t.Errorf("an upload that is not lent has the rate %v", o.Up)
	}
	for _, bad := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		if _, o := autorate.Update(autorate.New(autorate.Limits{Down: bad}), autorate.Input{}); o.Down != 0 {
			t.Errorf("of %v it makes %v", bad, o.Down)
		}
	}
}

// TestRises: without a queue the rate rises to the donated rate, and then one probe a second is enough.
func TestRises(t *testing.T) {
	s, o, now := loaded(20e6, 100)
	if o.Down != 20e6 || o.HeldDown != autorate.HeldLimit {
		t.Errorf("after 20 s: %v, held by %v", o.Down, o.HeldDown)
	}
	probes := 0
	for range 50 {
		now += autorate.Tick
		if s, o = autorate.Update(s, tick(now, 20, 50_000, 40*ms)); o.Probe {
			probes++
		}
	}
	if probes < 9 || probes > 11 {
		t.Errorf("%d probes in 10 s", probes)
	}
	// It does not rise without a backlog: nobody needs more.
	s, o, now = loaded(20e6, 3)
	before := o.Down
	for range 20 {
		now += autorate.Tick
		s, o = autorate.Update(s, tick(now, before/1e6, 0, 40*ms))
	}
	if o.Down != before || o.HeldDown != autorate.HeldNothing {
		t.Errorf("without a backlog it went from %v to %v, held by %v", before, o.Down, o.HeldDown)
	}
}

// TestStaysWithin: whatever the input, rates stay within their bounds and probes within their budget. An update at the same time
// changes nothing but the time.
func TestStaysWithin(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		lent := math.Exp(r.Float64()*20 + 1)
		limits := autorate.Limits{Down: lent, Up: lent * r.Float64()}
		s := autorate.New(limits)
		now := time.Duration(r.IntN(1e9)) * ms
		began := now
		probes := 0
		for i := range 400 {
			in := odd(r, now, lent)
			next, o := autorate.Update(s, in)
			if again, _ := autorate.Update(next, autorate.Input{Now: in.Now, Down: in.Down, Samples: in.Samples}); again != next {
				t.Fatalf("seed %d, update %d: an update at the same time changes\n%+v to\n%+v", seed, i, next, again)
			}
			check(t, fmt.Sprintf("seed %d, update %d", seed, i), limits, o)
			if o.Probe {
				probes++
			}
			s = next
			switch {
			case r.IntN(50) == 0:
				now += time.Duration(r.Int64N(int64(3 * time.Hour)))
			default:
				now += time.Duration(1+r.IntN(400)) * ms
			}
		}
		if most := 11 + 3.6*(now-began).Seconds(); float64(probes) > most {
			t.Errorf("seed %d: %d probes in %v", seed, probes, now-began)
		}
	}
}

// odd returns a random input.
func odd(r *rand.Rand, now time.Duration, lent float64) (in autorate.Input) {
	in = autorate.Input{Now: now, NoProbes: r.IntN(20) == 0}
	traffic := func() (t autorate.Traffic) {
		t.Bytes = uint64(r.Float64() * 2 * lent / 8 * .2)
		if r.IntN(100) == 0 {
			t.Bytes = r.Uint64()
		}
		if r.IntN(2) == 0 {
			t.Backlog = r.Uint64N(1e6)
		}
		return t
	}
	in.Down, in.Up = traffic(), traffic()
	for range r.IntN(4) {
		s := autorate.Sample{Source: autorate.Source(r.IntN(3)), Trip: time.Duration(r.ExpFloat64() * 1e8)}
		s.Sent = now - s.Trip
		if r.IntN(50) == 0 {
			s.Trip = time.Duration(r.Int64()) - 1<<62
		}
		if r.IntN(50) == 0 {
			s.Sent = time.Duration(r.Int64()) - 1<<62
		}
		in.Samples = append(in.Samples, s)
	}
	if r.IntN(3) == 0 {
		in.Unanswered = time.Duration(r.ExpFloat64() * 3e8)
	}
	return in
}

func check(t *testing.T, at string, l autorate.Limits, o autorate.Output) {
	t.Helper()
	within := func(rate, lent float64) bool { return rate >= .05*lent*(1-1e-12) && rate <= lent } // false for NaN
	if !within(o.Down, l.Down) || !within(o.Up, l.Up) {
		t.Fatalf("%s: rates %v and %v are not within %v and %v", at, o.Down, o.Up, l.Down, l.Up)
	}
	if o.Delay < 0 || o.Delay > 24*time.Hour || !o.Known && o.Delay != 0 {
		t.Fatalf("%s: a delay of %v", at, o.Delay)
	}
	if o.HeldDown > autorate.HeldLender || o.HeldUp > autorate.HeldLender {
		t.Fatalf("%s: held by %d and %d", at, o.HeldDown, o.HeldUp)
	}
}

// TestMonotone: from the same state, a longer delay never gives a higher rate, and more bytes in a queue never give a lower one.
func TestMonotone(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 2))
		s, o, now := loaded(20e6, 5+r.IntN(20))
		trip := func() time.Duration { return 40*ms + time.Duration(r.ExpFloat64()*30)*ms }
		for range r.IntN(12) {
			now += autorate.Tick
			s, o = autorate.Update(s, tick(now, o.Down/1e6*(.5+r.Float64()), uint64(r.IntN(2)*50_000), trip()))
		}
		now += autorate.Tick
		mbit, backlog := o.Down/1e6*(.5+r.Float64()), uint64(r.IntN(2)*50_000)
		short, long := trip(), trip()
		if short > long {
			short, long = long, short
		}
		_, a := autorate.Update(s, tick(now, mbit, backlog, short))
		_, b := autorate.Update(s, tick(now, mbit, backlog, long))
		if b.Down > a.Down {
			t.Fatalf("seed %d: %v gives %v, but %v gives %v", seed, short, a.Down, long, b.Down)
		}
		if a.Known && b.Known && b.Delay < a.Delay {
			t.Fatalf("seed %d: %v is a delay of %v, but %v of %v", seed, short, a.Delay, long, b.Delay)
		}
		_, a = autorate.Update(s, tick(now, mbit, backlog, 120*ms))
		_, b = autorate.Update(s, tick(now, 1.3*mbit, backlog, 120*ms))
		if b.Down < a.Down {
			t.Fatalf("seed %d: with a queue, %.1f Mbit/s give %v, but %.1f give %v", seed, mbit, a.Down, 1.3*mbit, b.Down)
		}
	}
}

// TestNothingHappens: without traffic and samples nothing changes for hours, and no probe is wanted, except just after the load: it
// may have ended because the line stopped carrying.
func TestNothingHappens(t *testing.T) {
	t.Parallel()
	s, o, now := loaded(20e6, 8)
	rate := o.Down
	for i := range 3 * 3600 * 5 {
		now += autorate.Tick
		if s, o = autorate.Update(s, autorate.Input{Now: now}); o.Down != rate || o.Probe && i > 10 || o.HeldDown != autorate.HeldNothing {
			t.Fatalf("at %v: %+v, want the rate %v", now, o, rate)
		}
	}
}

// TestJumps: a clock that jumps, or a box that sleeps, is no evidence of anything, and the law works on afterwards.
func TestJumps(t *testing.T) {
	t.Parallel()
	for _, jump := range []time.Duration{-time.Hour, -time.Second, time.Second * 3, time.Hour, 1000 * time.Hour} {
		s, o, now := loaded(20e6, 100)
		now += jump
		s, o = autorate.Update(s, tick(now, 20, 50_000, 40*ms))
		if o.Down < 5e6 {
			t.Errorf("a jump of %v gives %v", jump, o.Down)
		}
		probes := 0
		for range 60 {
			now += autorate.Tick
			if s, o = autorate.Update(s, tick(now, o.Down/1e6, 50_000, 40*ms)); o.Probe {
				probes++
			}
		}
		if o.Down < 19e6 || probes < 8 {
			t.Errorf("12 s after a jump of %v the rate is %v, with %d probes", jump, o.Down, probes)
		}
		for range 3 {
			now += autorate.Tick
			s, o = autorate.Update(s, tick(now, 10, 50_000, 140*ms))
		}
		if o.Down > 10e6 {
			t.Errorf("after a jump of %v a queue gives %v", jump, o.Down)
		}
	}
}

// TestTwoLines: each line has its own state, and a line that was idle for a while starts from what was learnt.
func TestTwoLines(t *testing.T) {
	t.Parallel()
	fast, slow := autorate.New(autorate.Limits{Down: 20e6}), autorate.New(autorate.Limits{Down: 20e6})
	carry := func(s autorate.State, now *time.Duration, capacity float64) (autorate.State, autorate.Output) {
		o := autorate.Output{Down: 5e6}
		queue := 0.0 // ms
		for range 100 {
			*now += autorate.Tick
			queue = max(0, queue+200*(o.Down/capacity-1))
			s, o = autorate.Update(s, tick(*now, min(o.Down, capacity)/1e6, 50_000, 40*ms+time.Duration(queue*float64(ms))))
		}
		return s, o
	}
	now := time.Hour
	for range 5 {
		var o autorate.Output
		if fast, o = carry(fast, &now, 25e6); o.Down < 19e6 {
			t.Errorf("at %v the fast line has %v", now, o.Down)
		}
		if slow, o = carry(slow, &now, 8e6); o.Down < 6e6 || o.Down > 9e6 {
			t.Errorf("at %v the slow line has %v", now, o.Down)
		}
	}
	fast, o := autorate.Update(fast, autorate.Input{Now: now + time.Hour})
	if o.Down < 5e6 {
		t.Errorf("after an hour the fast line begins at %v", o.Down)
	}
	slow, o = autorate.Update(slow, autorate.Input{Now: now + time.Hour})
	if o.Down < 4e6 || o.Down > 8e6 {
		t.Errorf("after an hour the slow line begins at %v", o.Down)
	}
	// Other limits apply at once.
	for _, s := range []autorate.State{fast, slow} {
		s = s.SetLimits(autorate.Limits{Down: 3e6, Up: 1e6})
		if _, o := autorate.Update(s, autorate.Input{Now: now + time.Hour}); o.Down != 3e6 || o.Up != .25e6 {
			t.Errorf("with other limits: %v and %v", o.Down, o.Up)
		}
		s = s.SetLimits(autorate.Limits{})
		if _, o := autorate.Update(s, autorate.Input{Now: now + time.Hour}); o.Down != 0 || o.Up != 0 {
			t.Errorf("without limits: %v and %v", o.Down, o.Up)
		}
	}
}

// TestLostProbe: a lost probe on a line that works has no lasting effect.
func TestLostProbe(t *testing.T) {
	t.Parallel()
	s, o, now := loaded(20e6, 100)
	for range 2 {
		now += autorate.Tick
		in := tick(now, o.Down/1e6, 50_000, 0)
		in.Unanswered = 300 * ms
		s, o = autorate.Update(s, in)
	}
	if o.Down >= 20e6 {
		t.Errorf("a late probe gives %v", o.Down)
	}
	now += autorate.Tick
	in := tick(now, o.Down/1e6, 50_000, 40*ms)
	in.Unanswered = 700 * ms // older than the one that was answered
	if _, o = autorate.Update(s, in); o.Down != 20e6 {
		t.Errorf("after the next one is answered the rate is %v", o.Down)
	}
}

// TestSizes: an update does not allocate.
func TestSizes(t *testing.T) {
	s, o, now := loaded(20e6, 20)
	in := tick(now, o.Down/1e6, 50_000, 90*ms)
	if n := testing.AllocsPerRun(1000, func() {
		in.Now += autorate.Tick
		s, o = autorate.Update(s, in)
	}); n > 0 {
		t.Errorf("an update allocates %v times", n)
	}
}

func BenchmarkUpdate(b *testing.B) {
	s, o, now := loaded(20e6, 20)
	trips := [2]time.Duration{40 * ms, 95 * ms}
	in := tick(now, o.Down/1e6, 50_000, 90*ms)
	in.Up = autorate.Traffic{Bytes: 10_000, Backlog: 4000}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		in.Now += autorate.Tick
		in.Samples[0] = autorate.Sample{Sent: in.Now - 100*ms, Trip: trips[i/8%2]}
		s, o = autorate.Update(s, in)
	}
}

// TestLost: bytes that reached no resident used up the line's capacity, so the rate falls below the rest. While many are lost the rate
// rises slowly, since it does not bound what arrives.
func TestLost(t *testing.T) {
	t.Parallel()
	run := func(lost float64) (cut, risen autorate.Output) {
		s, _, now := loaded(20e6, 100)
		line := func(trip time.Duration) (o autorate.Output) {
			now += autorate.Tick
			in := tick(now, 18, 50_000, trip)
			in.Down.Lost = uint64(lost * float64(in.Down.Bytes))
			s, o = autorate.Update(s, in)
			return o
		}
		for range 10 {
			line(40 * ms)
		}
		for range 4 {
			cut = line(70 * ms)
		}
		for range 10 {
			risen = line(40 * ms)
		}
		return cut, risen
	}
	none, noneRisen := run(0)
	third, thirdRisen := run(1. / 3)
	if third.Down > 0.9*none.Down {
		t.Errorf("with a third lost the rate falls to %.1f Mbit/s, with nothing to %.1f", third.Down/1e6, none.Down/1e6)
	}
	if a, b := thirdRisen.Down/third.Down, noneRisen.Down/none.Down; a > 1.3*b {
		t.Errorf("with a third lost the rate rises %.2f times, with nothing %.2f", a, b)
	}
	if thirdRisen.Down > 14e6 {
		t.Errorf("with 6 of 18 Mbit/s lost the rate is %.1f after two seconds", thirdRisen.Down/1e6)
	}
	// More than arrived: a counter that was read late can show that.
	if cut, _ := run(3); cut.Down < 1e6 || cut.Down > 20e6 {
		t.Errorf("with more lost than arrived the rate is %v", cut.Down)
	}
}

func FuzzUpdate(f *testing.F) {
	f.Add(uint64(20_000_000), []byte{1, 200, 50, 40, 0, 0, 1, 200, 255, 255, 9, 1})
	f.Add(uint64(1), []byte{0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, lent uint64, script []byte) {
		limits := autorate.Limits{Down: float64(lent), Up: float64(lent) / 3}
		s, now := autorate.New(limits), time.Hour
		for i := 0; len(script) >= 6; i++ {
			b := script[:6]
			script = script[6:]
			now += time.Duration(b[0]) * time.Duration(b[0]) * 10 * ms
			if b[5]&8 != 0 {
				now -= time.Duration(b[4]) * time.Second
			}
			trip := time.Duration(b[3]) * time.Duration(b[3]) * ms / 4
			in := autorate.Input{Now: now, NoProbes: b[5]&1 != 0, Unanswered: time.Duration(b[4]) * 20 * ms}
			in.Down = autorate.Traffic{Bytes: lent / 1000 * uint64(b[1]), Backlog: uint64(b[2]) * 1000}
			in.Up = autorate.Traffic{Bytes: lent / 3000 * uint64(b[2]), Backlog: uint64(b[1]) * 1000}
			in.Down.Lost = lent / 1000 * uint64(b[4])
			if b[5]&2 != 0 {
				in.Samples = append(in.Samples, autorate.Sample{Sent: now - trip, Trip: trip})
			}
			if b[5]&4 != 0 {
				in.Samples = append(in.Samples, autorate.Sample{Source: autorate.Flow, Sent: now - trip, Trip: trip})
			}
			var o autorate.Output
			s, o = autorate.Update(s, in)
			check(t, fmt.Sprint("update ", i), limits, o)
		}
	})
}

// TestShortestFlow: the round trip of one connection was measured too short, by a box that was late to read when it began. A target
// next door is recognised all the same: nothing else would show the queue beyond the box.
func TestShortestFlow(t *testing.T) {
	t.Parallel()
	s, o, now := autorate.New(autorate.Limits{Down: 40e6}), autorate.Output{}, time.Hour
	for k := range 200 {
		in := tick(now, 6, 0, ms/10)
		flow := autorate.Sample{Source: autorate.Flow, Sent: now - time.Second, Trip: 800 * ms}
		if k == 1 {
			flow.Sent, flow.Trip = now-ms, ms/50
		}
		in.Samples = append(in.Samples, flow)
		s, o = autorate.Update(s, in)
		now += autorate.Tick
	}
	if !o.Deaf || o.Down > 6e6 {
		t.Errorf("after 40 s the target is believed, and the rate of a line that carries 6 Mbit/s is %.1f: %+v", o.Down/1e6, o)
	}
}
