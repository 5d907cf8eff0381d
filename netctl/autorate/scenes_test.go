package autorate_test

import (
	"fmt"
	"testing"

	"passerelle/netctl/autorate"
	"passerelle/netctl/autorate/sim"
)

// watched is the law with a record of its outputs.
type watched struct {
	sim.Law
	outputs []autorate.Output
}

func (w *watched) Tick(s sim.Seen) sim.Rates {
	r := w.Law.Tick(s)
	w.outputs = append(w.outputs, w.Last)
	return r
}

// between returns the fraction of the ticks between two times, in ms, for which a condition holds.
func (w *watched) between(from, to int, is func(autorate.Output) bool) float64 {
	n := 0
	for _, o := range w.outputs[from/sim.TickMs : to/sim.TickMs] {
		if is(o) {
			n++
		}
	}
	return float64(n) / float64((to-from)/sim.TickMs)
}

// play simulates a scene with the law.
func play(t *testing.T, s sim.Setup, l autorate.Limits) (sim.Report, *watched) {
	t.Helper()
	s.Seed = max(s.Seed, 1)
	w := &watched{Law: sim.Law{Limits: l}}
	r := sim.Run(s, w)
	t.Logf("down %.2f / %.0f / %.3f, up %.2f / %.0f / %.3f, call %.0f, %.0f B/s, lender %.1f Mbit/s", r.Down.Used, r.Down.P95,
		r.Down.Jain, r.Up.Used, r.Up.P95, r.Up.Jain, r.Down.Call, r.ProbeBytes, r.Lender/1e6)
	draw(t, t.Name(), sim.Curve{Name: "download", Series: r.Series}, sim.Curve{Name: "upload", Series: r.Series, Up: true})
	return r, w
}

func want(t *testing.T, r sim.Result, used, p95, jain float64) {
	t.Helper()
	if r.Used < used || r.P95 > p95 || r.Jain < jain {
		t.Errorf("used %.3f, p95 %.0f ms, Jain %.3f; want at least %.2f, at most %.0f ms, at least %.2f",
			r.Used, r.P95, r.Jain, used, p95, jain)
	}
}

// TestPassive: without probes, residents' connections and the counters control the rate.
func TestPassive(t *testing.T) {
	t.Parallel()
	for seed := uint64(1); seed <= 4; seed++ {
		for name, s := range map[string]sim.Setup{"budget spent": {NoProbes: true}, "ICMP dropped": {Silent: true}} {
			t.Run(fmt.Sprint(name, " ", seed), func(t *testing.T) {
				t.Parallel()
				s.Seed, s.Down = seed, sim.Steady(20, 2*minute)
				r, w := play(t, s, autorate.Limits{Down: 20e6})
				want(t, r.Down, .80, 150, .90)
				if p := w.between(minute, 2*minute, func(o autorate.Output) bool { return o.Passive }); p < 1 {
					t.Errorf("it was passive in %.2f of the time", p)
				}
				// It sends probes to a silent target only to detect its return.
				if r.ProbeBytes > 20 || s.NoProbes && r.ProbeBytes > 0 {
					t.Errorf("probes cost %.0f B/s", r.ProbeBytes)
				}
			})
		}
	}
	t.Run("line of more", func(t *testing.T) {
		t.Parallel()
		r, _ := play(t, sim.Setup{NoProbes: true, Down: sim.Steady(22, 2*minute)}, autorate.Limits{Down: 20e6})
		want(t, r.Down, .80, 20, .95)
	})
	t.Run("turns", func(t *testing.T) {
		t.Parallel()
		r, _ := play(t, sim.Setup{NoProbes: true, Down: sim.Steps(10_000, 2*minute, 20, 10)}, autorate.Limits{Down: 20e6})
		want(t, r.Down, .50, 250, .90)
	})
}

// TestPassiveDip: without probes, the rate soon recovers after a line's capacity fell for ten seconds. The result is the mean of four
// runs, from the fall on.
func TestPassiveDip(t *testing.T) {
	t.Parallel()
	const fall, back, runs = 50_000, 60_000, 4
	for mbit, least := range map[float64]float64{10: .74, 5: .64, 2: .48} {
		t.Run(fmt.Sprint(mbit), func(t *testing.T) {
			t.Parallel()
			used := 0.0
			for seed := uint64(1); seed <= runs; seed++ {
				trace := sim.Varying(2*minute, func(t int) float64 {
					if t >= fall && t < back {
						return mbit
					}
					return 20
				})
				r, _ := play(t, sim.Setup{NoProbes: true, Down: trace, Seed: seed, Warm: fall}, autorate.Limits{Down: 20e6})
				used += r.Down.Used / runs
				// Only those 10 s may have a wait: the rest is at least 50 s of 70.
				if r.Down.P50 > 20 || r.Down.Jain < .95 {
					t.Errorf("run %d: half waits %.0f ms, Jain %.3f", seed, r.Down.P50, r.Down.Jain)
				}
			}
			if t.Logf("used %.2f", used); used < least {
				t.Errorf("used %.3f, want at least %.2f", used, least)
			}
		})
	}
}

// TestNearTarget: the probes' target is the lender's own modem, so their delay is always zero.
func TestNearTarget(t *testing.T) {
	t.Parallel()
	for _, mbit := range []float64{20, 10} {
		t.Run(fmt.Sprint(mbit), func(t *testing.T) {
			t.Parallel()
			r, w := play(t, sim.Setup{Near: true, Down: sim.Steady(mbit, 2*minute), Warm: 30_000}, autorate.Limits{Down: 20e6})
			want(t, r.Down, .80, 500, .90)
			if p := w.between(minute, 2*minute, func(o autorate.Output) bool { return o.Deaf }); p < 1 {
				t.Errorf("the target was believed in %.2f of the time", 1-p)
			}
		})
	}
	// A target that is just near, as on fibre, is not suspected.
	r, w := play(t, sim.Setup{Target: 3, Down: sim.Steady(20, minute)}, autorate.Limits{Down: 20e6})
	want(t, r.Down, .85, 60, .95)
	if p := w.between(0, minute, func(o autorate.Output) bool { return o.Deaf }); p > 0 {
		t.Errorf("a good target was not believed in %.2f of the time", p)
	}
}

// TestHandover: the path to the target becomes longer or shorter.
func TestHandover(t *testing.T) {
	t.Parallel()
	for _, ms := range []int{12, 50, 90, -30} {
		t.Run(fmt.Sprint(ms), func(t *testing.T) {
			t.Parallel()
			s := sim.Setup{Down: sim.Steady(20, 2*minute), Moves: []sim.Move{{At: 30_000, Add: ms}}, Target: 45}
			r, _ := play(t, s, autorate.Limits{Down: 20e6})
			want(t, r.Down, .85, 60, .90)
			s.Down, s.Up = nil, s.Down
			r, _ = play(t, s, autorate.Limits{Up: 20e6})
			want(t, r.Up, .80, 60, .90)
		})
	}
	t.Run("200", func(t *testing.T) {
		t.Parallel()
		r, w := play(t, sim.Setup{Down: sim.Steady(20, 2*minute), Moves: []sim.Move{{At: 30_000, Add: 200}}}, autorate.Limits{Down: 20e6})
		want(t, r.Down, .5, 60, .8)
		if p := w.between(80_000, 2*minute, func(o autorate.Output) bool { return o.Down > 14e6 }); p < .9 {
			t.Errorf("the rate was back in %.2f of the time", p)
		}
	})
}

// TestUpload: what is sent to the line is not what the line carries.
func TestUpload(t *testing.T) {
	t.Parallel()
	t.Run("steady", func(t *testing.T) {
		t.Parallel()
		r, _ := play(t, sim.Setup{Up: sim.Steady(5, minute)}, autorate.Limits{Up: 6e6})
		want(t, r.Up, .85, 50, .95)
	})
	t.Run("turns", func(t *testing.T) {
		t.Parallel()
		r, _ := play(t, sim.Setup{Up: sim.Steps(10_000, 2*minute, 20, 10)}, autorate.Limits{Up: 20e6})
		want(t, r.Up, .70, 150, .95)
	})
	t.Run("both", func(t *testing.T) {
		t.Parallel()
		r, _ := play(t, sim.Setup{Down: sim.Steady(20, minute), Up: sim.Steady(5, minute)}, autorate.Limits{Down: 20e6, Up: 5e6})
		want(t, r.Down, .85, 60, .95)
		want(t, r.Up, .80, 20, .95)
	})
	t.Run("both, turns", func(t *testing.T) {
		t.Parallel()
		s := sim.Setup{Down: sim.Steps(10_000, 2*minute, 20, 10), Up: sim.Steady(5, 2*minute)}
		r, _ := play(t, s, autorate.Limits{Down: 20e6, Up: 5e6})
		want(t, r.Down, .65, 120, .95)
		want(t, r.Up, .70, 20, .95)
	})
}

// TestLender: a lender who downloads on his own line gets all of it but the floor, and the law knows the reason.
func TestLender(t *testing.T) {
	t.Parallel()
	isLender := func(o autorate.Output) bool { return o.HeldDown == autorate.HeldLender }
	s := sim.Setup{Down: sim.Steady(20, 2*minute), Lender: []sim.Span{{From: 30_000, To: 60_000}}}
	r, w := play(t, s, autorate.Limits{Down: 20e6})
	if r.Lender < .8*20e6 {
		t.Errorf("the lender got %.1f of 20 Mbit/s", r.Lender/1e6)
	}
	if p := w.between(35_000, 60_000, isLender); p < .7 {
		t.Errorf("while he downloads, he is the reason in %.2f of the time", p)
	}
	if p := w.between(70_000, 2*minute, isLender); p > .02 {
		t.Errorf("afterwards he is the reason in %.2f of the time", p)
	}
	if p := w.between(75_000, 2*minute, func(o autorate.Output) bool { return o.Down > 15e6 }); p < .9 {
		t.Errorf("afterwards the rate is back in %.2f of the time", p)
	}
	// A line that just becomes slow is not blamed on the lender.
	_, w = play(t, sim.Setup{Down: sim.Steps(10_000, minute, 20, 5)}, autorate.Limits{Down: 20e6})
	if p := w.between(0, minute, isLender); p > .1 {
		t.Errorf("of a slow line he is the reason in %.2f of the time", p)
	}
	// Without load by residents, the lender's load changes nothing.
	s.Idle = []sim.Span{{From: 0, To: 2 * minute}}
	r, w = play(t, s, autorate.Limits{Down: 20e6})
	if p := w.between(0, 2*minute, func(o autorate.Output) bool { return o.Down == w.outputs[0].Down }); p < 1 || r.ProbeBytes > 0 {
		t.Errorf("without load the rate stays in %.2f of the time, and probes cost %.0f B/s", p, r.ProbeBytes)
	}
}

// TestCall: a call beside the 16 downloads of the same resident.
func TestCall(t *testing.T) {
	t.Parallel()
	r, _ := play(t, sim.Setup{Down: sim.Steady(22, minute), Call: true}, autorate.Limits{Down: 20e6})
	if r.Down.Call > 20 {
		t.Errorf("p95 of %.0f ms added", r.Down.Call)
	}
	fixed := sim.Run(sim.Setup{Down: sim.Steady(20, minute), Call: true, Seed: 1}, sim.Fixed{Down: 20e6})
	if r, _ = play(t, sim.Setup{Down: sim.Steady(20, minute), Call: true}, autorate.Limits{Down: 20e6}); r.Down.Call > 30 || fixed.Down.Call < 300 {
		t.Errorf("p95 of %.0f ms added on a line that is lent whole, %.0f without the law", r.Down.Call, fixed.Down.Call)
	}
}

// TestPlateau: on a line of one capacity the rate stays below it most of the time. It finds out soon that the line carries more.
func TestPlateau(t *testing.T) {
	t.Parallel()
	for seed := uint64(1); seed <= 4; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			_, w := play(t, sim.Setup{Down: sim.Steps(minute, 2*minute, 20, 40), Seed: seed}, autorate.Limits{Down: 40e6})
			if p := w.between(minute/3, minute, func(o autorate.Output) bool { return o.Delay > 20*ms }); p > .15 {
				t.Errorf("there is a queue in %.2f of the time", p)
			}
			if p := w.between(minute/3, minute, func(o autorate.Output) bool { return o.Down > 17e6 }); p < .85 {
				t.Errorf("the rate is below 17 Mbit/s in %.2f of the time", 1-p)
			}
			if p := w.between(minute+15_000, 2*minute, func(o autorate.Output) bool { return o.Down > 32e6 }); p < .85 {
				t.Errorf("after the step the rate is below 32 Mbit/s in %.2f of the time", 1-p)
			}
		})
	}
}

// TestOddLines: loss without delay, noise, and probes that get lost.
func TestOddLines(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sim.Setup
		used, p95, jain float64
	}{
		"loss":         {sim.Setup{Loss: .01}, .85, 60, 0},        // loss takes more from one flow than from 16
		"policer":      {sim.Setup{Buffer: 20}, .90, 20, 0},       // there is no queue to detect
		"jitter":       {sim.Setup{Jitter: 8}, .80, 60, .95},      //
		"strong noise": {sim.Setup{Jitter: 15}, .60, 60, .95},     //
		"short buffer": {sim.Setup{Buffer: 60}, .85, 60, .80},     // 36 ms
		"no flows":     {sim.Setup{Handshakes: -1}, .85, 60, .95}, // no flow starts
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := c.Setup
			s.Down = sim.Steady(20, minute)
			r, _ := play(t, s, autorate.Limits{Down: 20e6})
			want(t, r.Down, c.used, c.p95, c.jain)
		})
	}
}

// TestOutage: a line is soon used again after an outage, and a probe that waited does not count for ever.
func TestOutage(t *testing.T) {
	t.Parallel()
	trace := sim.Varying(minute, func(t int) float64 {
		if t >= 20_000 && t < 25_000 {
			return 0
		}
		return 20
	})
	_, w := play(t, sim.Setup{Down: trace}, autorate.Limits{Down: 20e6})
	if p := w.between(32_000, minute, func(o autorate.Output) bool { return o.Down > 14e6 }); p < .9 {
		t.Errorf("the rate is back in %.2f of the time", p)
	}
	if p := w.between(20_000, minute, func(o autorate.Output) bool { return o.Passive }); p > 0 {
		t.Errorf("the target was given up in %.2f of the time", p)
	}
}

// TestDeepFall: a line that carries much less than the rate has so little load that the load says nothing.
func TestDeepFall(t *testing.T) {
	t.Parallel()
	for seed := uint64(1); seed <= 3; seed++ {
		for _, mbit := range []float64{5, 3} {
			r, _ := play(t, sim.Setup{Seed: seed, Down: sim.Steps(10_000, minute, 20, mbit)}, autorate.Limits{Down: 20e6})
			want(t, r.Down, .25, 600, .85)
		}
	}
}

// TestIdle: hours without load cost nothing, and the next load starts from what was learnt before.
func TestIdle(t *testing.T) {
	t.Parallel()
	const pause = 5 * minute
	s := sim.Setup{Down: sim.Steady(10, pause+2*minute), Idle: []sim.Span{{From: minute, To: minute + pause}}}
	r, w := play(t, s, autorate.Limits{Down: 20e6})
	if p := w.between(minute+10_000, minute+pause, func(o autorate.Output) bool { return o.Probe }); p > 0 {
		t.Errorf("it wants probes in %.3f of the idle time", p)
	}
	if p := w.between(minute+pause+2_000, 2*minute+pause-1_000, func(o autorate.Output) bool { return o.Down > 7e6 && o.Down < 13e6 }); p < .9 {
		t.Errorf("the rate is right in %.2f of the time after it", p)
	}
	want(t, r.Down, .80, 80, .90)
}
