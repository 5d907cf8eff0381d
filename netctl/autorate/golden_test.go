package autorate_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"passerelle/netctl/autorate"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden: the law's reaction to scripted inputs, tick by tick. The line does not react to the rate.
func TestGolden(t *testing.T) {
	t.Parallel()
	const lent = 10e6
	probe := func(now, trip time.Duration) autorate.Sample {
		return autorate.Sample{Sent: now - max(trip, autorate.Tick), Trip: trip}
	}
	flow := func(now, trip time.Duration) autorate.Sample {
		return autorate.Sample{Source: autorate.Flow, Sent: now - trip, Trip: trip}
	}
	for name, script := range map[string]func(i int, in *autorate.Input, rate float64){
		// The capacity falls to 4 Mbit/s at 2 s, and the queue is gone at 3 s.
		"fall": func(i int, in *autorate.Input, rate float64) {
			trip := 30 * ms
			mbit := rate / 1e6
			if i >= 10 && i < 15 {
				mbit, trip = 4, time.Duration(60+(i-10)*30)*ms
			}
			*in = tick(in.Now, mbit, 40_000, trip)
		},
		// The line stands still for 400 ms, and then carries what was waiting.
		"blip": func(i int, in *autorate.Input, rate float64) {
			*in = tick(in.Now, rate/1e6, 40_000, 30*ms)
			switch i {
			case 10, 11:
				*in = autorate.Input{Now: in.Now, Unanswered: time.Duration(i-9) * 190 * ms}
			case 12:
				*in = tick(in.Now, 2.5*rate/1e6, 40_000, 420*ms)
			}
		},
		// The path to the target is 40 ms longer from 2 s on.
		"handover": func(i int, in *autorate.Input, rate float64) {
			trip := 30 * ms
			if i >= 10 {
				trip = 70 * ms
			}
			*in = tick(in.Now, rate/1e6, 40_000, trip)
		},
		// No probes. A flow starts each second, every third one to a near server. From 5 s on the line carries 6 Mbit/s.
		"passive": func(i int, in *autorate.Input, rate float64) {
			mbit, backlog, wait := rate/1e6, uint64(40_000), time.Duration(0)
			if i >= 25 && mbit > 6 {
				mbit, backlog, wait = 6, 0, 100*ms
			}
			*in = tick(in.Now, mbit, backlog, 0)
			in.NoProbes = true
			if i%5 == 4 {
				in.Samples = []autorate.Sample{flow(in.Now, wait+[]time.Duration{20 * ms, 80 * ms, 130 * ms}[i/5%3])}
			}
		},
		// Upload: a queue of 300 ms grows within 400 ms.
		"upload": func(i int, in *autorate.Input, rate float64) {
			trip := 30 * ms
			if i >= 10 && i < 14 {
				trip = time.Duration(30+[]int{150, 300, 200, 100}[i-10]) * ms
			}
			in.Up = autorate.Traffic{Bytes: uint64(rate / 8 / 5), Backlog: 40_000}
			in.Samples = []autorate.Sample{probe(in.Now, trip)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := autorate.New(autorate.Limits{Down: lent, Up: lent})
			now := time.Minute
			s, o := autorate.Update(s, autorate.Input{Now: now})
			var out bytes.Buffer
			fmt.Fprintf(&out, "%6s %9s %9s %8s %7s  %9s %9s %6s %6s\n", "second", "down kB", "up kB", "trip ms", "late ms", "down kb/s", "up kb/s", "delay", "held")
			for i := range 50 {
				now += autorate.Tick
				in := autorate.Input{Now: now}
				rate := o.Down
				if name == "upload" {
					rate = o.Up
				}
				script(i, &in, rate)
				s, o = autorate.Update(s, in)
				trip, held, delay := "-", o.HeldDown, "-"
				for _, x := range in.Samples {
					trip = fmt.Sprint(x.Trip.Milliseconds())
				}
				if name == "upload" {
					held = o.HeldUp
				}
				if o.Known {
					delay = fmt.Sprint(o.Delay.Milliseconds())
				}
				asks := ""
				if o.Probe {
					asks = "probe"
				}
				fmt.Fprintf(&out, "%6.1f %9.1f %9.1f %8s %7d  %9.0f %9.0f %6s %6s %s\n", (now - time.Minute).Seconds(), float64(in.Down.Bytes)/1000,
					float64(in.Up.Bytes)/1000, trip, in.Unanswered.Milliseconds(), o.Down/1000, o.Up/1000, delay, held, asks)
			}
			path := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			golden, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(out.Bytes(), golden) {
				t.Errorf("%s is not what the law does now:\n%s", path, out.Bytes())
			}
		})
	}
}
