package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"passerelle/netctl/autorate"
	"passerelle/netctl/autorate/sim"
)

// simulatedLine is a line on which 20 Mbit/s are lent, for the simulator of the law.
type simulatedLine struct {
	name  string
	trace sim.Trace
	// What the law must reach: the part of the capacity that residents get, the 95th percentile of the wait beyond the box in ms, and
	// Jain's index between residents.
	used, p95, jain float64
}

// simulatedLines returns a line that carries more than is lent, one that carries as much, and one that carries half of it every other
// time.
func simulatedLines() []simulatedLine {
	const minute = 60_000 // ms
	return []simulatedLine{
		{"a line of 22 Mbit/s, lent 20", sim.Steady(22, minute), .89, 10, .98},
		{"a line of 20 Mbit/s, lent 20", sim.Steady(20, minute), .88, 50, .95},
		{"a line of 20 and 10 Mbit/s by turns, lent 20", sim.Steps(10_000, 2*minute, 20, 10), .75, 80, .95},
	}
}

// lines simulates lines with rates that follow them, compared with the fixed rate that is lent.
func lines(_ context.Context, b *bench) (rows []row, err error) {
	const lent = 20e6
	for _, l := range simulatedLines() {
		s := sim.Setup{Down: l.trace, Seed: 1}
		ours := sim.Run(s, &sim.Law{Limits: autorate.Limits{Down: lent}})
		fixed := sim.Run(s, sim.Fixed{Down: lent})
		rows = append(rows, row{
			what:     l.name + ", simulated: used, wait beyond the box (95 %), Jain's index",
			target:   fmt.Sprintf("≥ %.2f, ≤ %.0f ms, ≥ %.2f", l.used, l.p95, l.jain),
			measured: lineFigures(ours), beside: "the fixed rate: " + lineFigures(fixed),
			met: verdictOf(ours.Down.Used >= l.used && ours.Down.P95 <= l.p95 && ours.Down.Jain >= l.jain),
		})
		if b.plots == "" {
			continue
		}
		path := filepath.Join(b.plots, strings.NewReplacer(" ", "-", "/", "-", ",", "").Replace(l.name)+".svg")
		if err := plotLine(path, l.name, ours, fixed); err != nil {
			return nil, err
		}
		b.logf("  %s shows it", path)
	}
	return rows, nil
}

func lineFigures(r sim.Report) string {
	return fmt.Sprintf("%.2f, %.0f ms, %.3f", r.Down.Used, r.Down.P95, r.Down.Jain)
}

// plotLine draws a line with rates that follow it, above the same line with the fixed rate.
func plotLine(path, name string, ours, fixed sim.Report) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("draw a line: %w", err)
	}
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("draw a line: %w", err)
	}
	err = sim.Plot(f, name,
		sim.Curve{Name: "rates that follow the line", Series: ours.Series}, sim.Curve{Name: "the fixed rate", Series: fixed.Series})
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("draw a line: %w", err)
	}
	return nil
}
