package sim_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"

	"passerelle/netctl/autorate/sim"
)

func TestReadTrace(t *testing.T) {
	t.Parallel()
	trace, err := sim.ReadTrace(strings.NewReader("0\n0\n\n3\n 7 \n"), 5)
	if want := (sim.Trace{2, 0, 0, 1}); err != nil || !reflect.DeepEqual(trace, want) {
		t.Errorf("got %v, %v, want %v", trace, err, want)
	}
	for _, bad := range []string{"x\n", "-1\n", "5\n3\n", "1.5\n"} {
		if trace, err := sim.ReadTrace(strings.NewReader(bad), 100); err == nil {
			t.Errorf("%q is read as %v", bad, trace)
		}
	}
}

func TestTraces(t *testing.T) {
	t.Parallel()
	if got := sim.Steady(20, 10_000).Mean(); math.Abs(got-20e6) > 20e6/1000 {
		t.Errorf("a steady line has a mean of %v", got)
	}
	if got := sim.Steps(1000, 10_000, 20, 10).Mean(); math.Abs(got-15e6) > 15e6/1000 {
		t.Errorf("steps have a mean of %v", got)
	}
	if got, want := (sim.Trace{1, 2, 0, 3}).Times(1, 2), (sim.Trace{0, 1, 0, 2}); !reflect.DeepEqual(got, want) {
		t.Errorf("half of a trace is %v, want %v", got, want)
	}
	if got, want := (sim.Trace{1, 0, 3}).Times(3, 1), (sim.Trace{3, 0, 9}); !reflect.DeepEqual(got, want) {
		t.Errorf("three times a trace is %v, want %v", got, want)
	}
	f := sim.Fading{Mbit: 10, Slow: .3, SlowMs: 1000, Fast: .2, FastMs: 100, OutMs: 500, EveryMs: 5000, MaxMbit: 30}
	a, b, c := f.Trace(60_000, 1), f.Trace(60_000, 1), f.Trace(60_000, 2)
	if !reflect.DeepEqual(a, b) || reflect.DeepEqual(a, c) {
		t.Error("a trace does not depend on its seed alone")
	}
	longest, run := 0, 0
	for _, n := range a {
		run++
		if n > 0 {
			run = 0
		}
		longest = max(longest, run)
		if n > 4 {
			t.Fatalf("%d packets in a millisecond are more than 30 Mbit/s", n)
		}
	}
	if m := a.Mean(); m < 6e6 || m > 14e6 || longest < 200 {
		t.Errorf("mean %v, longest time without capacity %d ms", m, longest)
	}
}

// TestKnownAnswers: the simulator's results where the answer is known.
func TestKnownAnswers(t *testing.T) {
	t.Parallel()
	run := func(s sim.Setup, rate float64) sim.Report {
		s.Seed = 1
		return sim.Run(s, sim.Fixed{Down: rate, Up: rate})
	}
	down := sim.Steady(20, 40_000)
	for name, c := range map[string]struct {
		got         float64
		least, most float64
	}{
		// A box that passes half of the line's capacity fills half of the line, and shares it fairly.
		"half used": {run(sim.Setup{Down: down}, 10e6).Down.Used, .49, .505},
		"half wait": {run(sim.Setup{Down: down}, 10e6).Down.P95, 0, 5},
		"half fair": {run(sim.Setup{Down: down}, 10e6).Down.Jain, .98, 1},
		// A box that passes everything leaves the queue to the line: 1,000 packets are 600 ms at 20 Mbit/s.
		"all used":  {run(sim.Setup{Down: down}, 1e9).Down.Used, .99, 1.001},
		"all wait":  {run(sim.Setup{Down: down}, 1e9).Down.P99, 540, 601},
		"all fair":  {run(sim.Setup{Down: down}, 1e9).Down.Jain, .2, .6},
		"short":     {run(sim.Setup{Down: down, Buffer: 100}, 1e9).Down.P99, 50, 61},
		"up wait":   {run(sim.Setup{Up: down}, 1e9).Up.P99, 400, 601},
		"up half":   {run(sim.Setup{Up: down}, 10e6).Up.Used, .49, .505},
		"call":      {run(sim.Setup{Down: down, Call: true}, 10e6).Down.Call, 0, 15},
		"no load":   {run(sim.Setup{Down: down, Idle: []sim.Span{{From: 0, To: 40_000}}}, 10e6).Down.Mean, 0, 0},
		"lender":    {run(sim.Setup{Down: down, Idle: []sim.Span{{From: 0, To: 40_000}}, Lender: []sim.Span{{From: 0, To: 40_000}}}, 10e6).Lender, 19e6, 20.1e6},
		"no probes": {run(sim.Setup{Down: down}, 10e6).ProbeBytes, 0, 0},
		"dead line": {run(sim.Setup{Down: make(sim.Trace, 20_000)}, 10e6).Down.Used, 0, 0},
	} {
		if !(c.got >= c.least && c.got <= c.most) {
			t.Errorf("%s: got %v, want %v to %v", name, c.got, c.least, c.most)
		}
	}
}

// TestCake: the law of cake-autorate does what its documentation says.
func TestCake(t *testing.T) {
	t.Parallel()
	setup := sim.Setup{Down: sim.Steady(20, 60_000), Seed: 1}
	r := sim.Run(setup, &sim.Cake{Min: 3e6, Base: 10e6, Max: 20e6})
	if r.Down.Used < .85 || r.Down.P95 > 150 {
		t.Errorf("under load: used %.2f, p95 %.0f ms", r.Down.Used, r.Down.P95)
	}
	// 20 probes a second, each of 72 bytes both ways.
	if math.Abs(r.ProbeBytes-1440) > 10 {
		t.Errorf("%.0f bytes of probes a second", r.ProbeBytes)
	}
	setup.Idle = []sim.Span{{From: 20_000, To: 60_000}}
	r = sim.Run(setup, &sim.Cake{Min: 3e6, Base: 10e6, Max: 20e6})
	last := r.Series[len(r.Series)-1].Down.Rate
	if last > 16 || last < 9.9 {
		t.Errorf("without load for 40 s the rate is %.1f Mbit/s, and not on its way to its base", last)
	}
}

// TestRunIsPure: the same setup gives the same result.
func TestRunIsPure(t *testing.T) {
	t.Parallel()
	s := sim.Setup{Down: sim.Steps(3000, 20_000, 10, 5), Up: sim.Steady(4, 20_000), Seed: 7, Loss: .001}
	var reports []sim.Report
	for range 2 {
		reports = append(reports, sim.Run(s, &sim.Cake{Min: 1e6, Base: 4e6, Max: 10e6}))
	}
	if !reflect.DeepEqual(reports[0], reports[1]) {
		t.Error("two runs differ")
	}
}

func TestPlot(t *testing.T) {
	t.Parallel()
	r := sim.Run(sim.Setup{Down: sim.Steady(5, 20_000), Seed: 1}, sim.Fixed{Down: 4e6})
	for name, curves := range map[string][]sim.Curve{
		"none": nil, "empty": {{Name: "nothing"}}, "two": {{Name: "a < b & \"c\"", Series: r.Series}, {Name: "up", Series: r.Series, Up: true}},
	} {
		var out bytes.Buffer
		if err := sim.Plot(&out, "A title of <b>", curves...); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out.String(), "NaN") || strings.Contains(out.String(), "Inf") {
			t.Errorf("%s: the plot has a value that is no number", name)
		}
		lines := 0
		for d := xml.NewDecoder(&out); ; {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if e, ok := token.(xml.StartElement); ok && e.Name.Local == "polyline" {
				lines++
			}
		}
		if lines != 4*len(curves) {
			t.Errorf("%s: %d curves", name, lines)
		}
	}
	if err := sim.Plot(broken{}, "a title", sim.Curve{Name: "a", Series: r.Series}); err == nil {
		t.Error("an error of the writer is lost")
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, fmt.Errorf("the disk is full") }

func BenchmarkRun(b *testing.B) {
	s := sim.Setup{Down: sim.Steady(20, 10_000), Seed: 1}
	for b.Loop() {
		sim.Run(s, sim.Fixed{Down: 18e6})
	}
}
