package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"passerelle/netctl/netlab"
)

// size is what a number of boxes costs the hubs.
type size struct {
	boxes        int
	enrol        time.Duration // until all were members
	enrolCPU     float64       // CPU time of all hubs for a box, in ms
	enrolBytes   int64         // for a box
	memory, peak int           // bytes of the largest hub, when idle and at the end
	idle         float64       // CPU use of all hubs, as a fraction of a core
	moved        time.Duration // until all knew their region, random delays included
	movedBytes   int64         // for a box
	report       time.Duration // until all had read their report back
	reportCPU    float64       // CPU time of all hubs for a report, in ms
	reportBytes  int64         // for a box
}

// growth measures fleets of these sizes, one after the other, and writes a table.
func growth(ctx context.Context, out, errs io.Writer, o options, sizes []int) error {
	var all []size
	for _, n := range sizes {
		fmt.Fprintf(errs, "%d boxes\n", n)
		s, err := measure(ctx, o, n)
		if err != nil {
			// The sizes that were measured before are still valid.
			fmt.Fprint(out, growthTable(all))
			return fmt.Errorf("measure %d boxes: %w", n, err)
		}
		all = append(all, s)
	}
	fmt.Fprint(out, growthTable(all))
	if o.plot == "" {
		return nil
	}
	return os.WriteFile(o.plot, []byte(growthPlot(all)), 0o644)
}

func measure(ctx context.Context, o options, n int) (s size, err error) {
	s.boxes = n
	w, err := netlab.New(ctx, "growth")
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	internet, err := w.AddInternet()
	if err != nil {
		return s, err
	}
	h, err := newHubs(ctx, internet, o.hub, filepath.Join(w.Dir(), "fleet"))
	if err != nil {
		return s, err
	}
	defer h.Close()
	if err := h.Start(0, 1, 2); err != nil {
		return s, err
	}
	if err := h.open(ctx); err != nil {
		return s, err
	}
	if err := errors.Join(h.association(ctx, "lilas", "nord"), h.association(ctx, "roses", "nord")); err != nil {
		return s, err
	}
	if _, err := h.inStep(ctx); err != nil {
		return s, err
	}
	c, err := newCrowd(h, n, w)
	if err != nil {
		return s, err
	}
	defer c.close()
	codes, err := c.stickers(ctx)
	if err != nil {
		return s, err
	}
	// spend returns the cost of do for a box: the hubs' CPU time in ms, and the bytes at the box.
	spend := func(do func() error) (cpu float64, bytes int64, err error) {
		before, err := h.processor()
		if err != nil {
			return 0, 0, err
		}
		from := c.bytes.Load()
		if err := do(); err != nil {
			return 0, 0, err
		}
		after, err := h.processor()
		return float64(after-before) / float64(time.Millisecond) / float64(n), (c.bytes.Load() - from) / int64(n), err
	}
	if s.enrolCPU, s.enrolBytes, err = spend(func() (err error) {
		s.enrol, err = c.enrol(ctx, codes)
		return err
	}); err != nil {
		return s, err
	}
	const rest = 10 * time.Second
	start := time.Now()
	cpu, _, err := spend(func() error { return sleep(ctx, rest) })
	if err != nil {
		return s, err
	}
	s.idle = cpu * float64(n) / float64(time.Since(start)/time.Millisecond)
	memory, err := h.largest()
	if err != nil {
		return s, err
	}
	s.memory = memory
	if _, s.movedBytes, err = spend(func() (err error) {
		s.moved, err = c.move(ctx, "sud")
		return err
	}); err != nil {
		return s, err
	}
	if s.reportCPU, s.reportBytes, err = spend(func() (err error) {
		c.report(day(1))
		s.report, err = c.all(ctx, "every box has read its report back", (*simulated).delivered)
		return err
	}); err != nil {
		return s, err
	}
	s.peak, err = h.largest()
	return s, err
}

// largest returns the resident memory of the largest hub, in bytes.
func (h *hubs) largest() (int, error) {
	_, memory, err := h.usage(0, 1, 2)
	if err != nil {
		return 0, err
	}
	return slices.Max(memory), nil
}

// growthTable returns the table of sizes, in Markdown.
func growthTable(all []size) string {
	var b strings.Builder
	b.WriteString("Bytes are those of TLS records at the boxes, without TCP and IP. The boxes share the cores with the hubs.\n\n" +
		"| boxes | to enrol all | hubs' CPU a box | bytes a box | largest hub, idle | after all | hubs idle, of a core | a change to all | bytes a box |" +
		" a report of each | hubs' CPU a report | bytes a box |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, s := range all {
		fmt.Fprintf(&b, "| %d | %s | %.2f ms | %d | %d MB | %d MB | %.2f %% | %s | %d | %s | %.2f ms | %d |\n", s.boxes, seconds(s.enrol), s.enrolCPU, s.enrolBytes,
			s.memory/1_000_000, s.peak/1_000_000, 100*s.idle, seconds(s.moved), s.movedBytes, seconds(s.report), s.reportCPU, s.reportBytes)
	}
	return b.String()
}

// growthPlot returns an SVG drawing of the measures over the number of boxes. Each has a strip of its own, whose axis begins at zero.
func growthPlot(all []size) string {
	strips := []struct {
		name string
		of   func(size) float64
	}{
		{"memory of the largest hub, idle, MB", func(s size) float64 { return float64(s.memory) / 1e6 }},
		{"hubs idle, % of a core", func(s size) float64 { return 100 * s.idle }},
		{"hubs' CPU to enrol a box, ms", func(s size) float64 { return s.enrolCPU }},
		{"hubs' CPU a report, ms", func(s size) float64 { return s.reportCPU }},
		{"to enrol all, s", func(s size) float64 { return s.enrol.Seconds() }},
	}
	const width, height, left, top = 560, 110, 40, 26
	most := float64(slices.MaxFunc(all, func(a, b size) int { return a.boxes - b.boxes }).boxes)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width+2*left, height*len(strips)+top)
	for i, strip := range strips {
		high := strip.of(slices.MaxFunc(all, func(a, b size) int {
			if strip.of(a) < strip.of(b) {
				return -1
			}
			return 1
		}))
		base := float64(height*(i+1) - top)
		fmt.Fprintf(&b, `<text x="%d" y="%d" fill="#222">%s</text><path d="M%d %.0fH%d" stroke="#999"/>`+"\n", left, height*i+14, strip.name, left, base, width+left)
		var line []string
		for _, s := range all {
			x, y := left+width*float64(s.boxes)/most, base-(height-2*top)*strip.of(s)/max(high, 1e-9)
			line = append(line, fmt.Sprintf("%.1f,%.1f", x, y))
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3" fill="#06c"/><text x="%.1f" y="%.1f" text-anchor="end">%.3g</text>`+
				`<text x="%.1f" y="%.0f" text-anchor="middle" fill="#666">%d</text>`+"\n", x, y, x-6, y-4, strip.of(s), x, base+14, s.boxes)
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="#06c"/>`+"\n", strings.Join(line, " "))
	}
	b.WriteString("</svg>\n")
	return b.String()
}
