package main

import (
	"context"
	"crypto/sha256"
	"flag"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"passerelle/appliance/fleet"
)

var load = flag.Int("load", 0, "how many boxes TestLoad has; 0 for no such test")

// TestLoad measures the CPU time of three hubs for a report, a visit, and a gigabyte of signed files. It needs an otherwise idle machine:
// make bench-hub.
func TestLoad(t *testing.T) {
	if *load == 0 {
		t.Skip("measures: run it with -args -load 100")
	}
	w := newWorld(t, 3)
	for i := range w.dirs {
		w.process(i)
	}
	d := w.desk(0)
	eventually(t, "the hubs have chosen who writes", func() bool { return d.AddAssociation(t.Context(), "ana", "lilas", "") == nil })
	pace := fleet.Pace{Ask: time.Second, Retry: time.Second, Most: time.Second, Spread: time.Second, Visit: time.Second}
	boxes := make([]*box, *load)
	for i := range boxes {
		boxes[i] = w.box(pace)
		boxes[i].locked(func() { boxes[i].eager = true })
		code, err := d.MakeSticker(t.Context(), "ana", "lilas", w.clock.now().AddDate(0, 0, 1))
		if err != nil {
			t.Fatal(err)
		}
		if err := boxes[i].Enrol(code); err != nil {
			t.Fatal(err)
		}
	}
	confirmAll(t, d, boxes)
	all := func(what string, ok func(*box) bool) {
		t.Helper()
		eventually(t, what, func() bool { return !slices.ContainsFunc(boxes, func(b *box) bool { return !ok(b) }) })
	}
	all("all had a round", func(b *box) bool { return b.Status().Connected && !b.Status().Round.IsZero() })
	w.inStep(d)
	// spent is the CPU time of the hubs while do runs, less what they use when idle.
	from, cpu := time.Now(), w.cpu()
	time.Sleep(10 * time.Second) // the idle time that is measured
	idle := float64(w.cpu()-cpu) / float64(time.Since(from))
	t.Logf("idle: %.2f %% of a core", 100*idle)
	spent := func(do func()) time.Duration {
		from, cpu := time.Now(), w.cpu()
		do()
		return w.cpu() - cpu - time.Duration(idle*float64(time.Since(from)))
	}
	each := func(sum time.Duration, n int) float64 { return float64(sum) / float64(time.Millisecond) / float64(n) }

	const days = 5
	sum := spent(func() {
		for i := range days {
			name := "day.010" + string(rune('1'+i))
			for _, b := range boxes {
				b.report(name, `{"form":1,"day":"2027-01-01","state":"sharing","sessions":17,"donations":[{"n":1,"kind":"cable","day":1234567890}]}`)
				b.Look()
			}
			all("all reports are shown", func(b *box) bool { return b.pending() == 0 })
		}
	})
	t.Logf("a report that is stored and read back: %.2f ms", each(sum, days*len(boxes)))

	dials := func() (n int) {
		for _, b := range boxes {
			b.locked(func() { n += b.dials })
		}
		return n
	}
	for _, b := range boxes {
		b.SetLine(fleet.Line{Name: "phone", Mode: fleet.Visits})
	}
	all("all pay visits", func(b *box) bool { return b.Status().Mode == fleet.Visits && !b.Status().Connected })
	before := dials()
	sum = spent(func() { time.Sleep(10 * time.Second) }) // boxes visit once a second
	visits := dials() - before
	t.Logf("%d visits: %.2f ms each", visits, each(sum, visits))
	if visits < len(boxes) {
		t.Errorf("%d boxes pay %d visits", len(boxes), visits)
	}

	pack := make([]byte, 20_000_000)
	rand.NewChaCha8([32]byte{}).Read(pack)
	want := sha256.Sum256(pack)
	if _, err := d.PutFile(t.Context(), "targets/pack", pack); err != nil {
		t.Fatal(err)
	}
	w.inStep(d)
	const readers = 50
	var read, wrong atomic.Int64
	some := boxes[:min(readers, len(boxes))]
	for _, b := range boxes {
		b.SetLine(fleet.Line{})
	}
	all("all have left", func(b *box) bool { return !b.Status().Connected })
	for _, b := range some {
		b.locked(func() {
			b.fetch = func(ctx context.Context, s fleet.Source) {
				text, err := s.Read(ctx, "targets/pack", int64(len(pack)))
				if err != nil {
					return
				}
				if sha256.Sum256(text) != want {
					wrong.Add(1)
				}
				read.Add(1)
				b.locked(func() { b.fetch = nil })
			}
		})
	}
	sum = spent(func() {
		for _, b := range some {
			b.SetLine(fleet.Line{Name: "fibre", Mode: fleet.Connected})
		}
		eventually(t, "all have the pack", func() bool { return read.Load() == int64(len(some)) })
	})
	gigabytes := float64(len(pack)) * float64(len(some)) / 1e9
	t.Logf("%.1f GB of signed files: %.2f s each", gigabytes, sum.Seconds()/gigabytes)
	if n := wrong.Load(); n != 0 {
		t.Errorf("%d boxes read something else", n)
	}
}
