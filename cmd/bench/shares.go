package main

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"html/template"
	"math/rand/v2"
	"os"
	"path/filepath"

	"passerelle/appliance/ledger"
)

// simulated is a month whose residents want half as much again as the gift has.
var simulated = ledger.Month{Cap: 50e9, Days: 30, Residents: 20, Typical: 75e6, Spread: 1, Limit: 500e6}

// outcome is the result of a month.
type outcome struct {
	days      []ledger.MonthDay
	residents int
	short     int // residents who went short
	last      int // the last day, from 1, on which anybody got anything
	given     uint64
}

// shares simulates the same months with fair shares and with first come, first served.
func shares(_ context.Context, b *bench) ([]row, error) {
	const months = 200
	var fair, first []outcome
	for seed := range uint64(months) {
		fair = append(fair, simulate(seed, true))
		first = append(first, simulate(seed, false))
	}
	of := func(all []outcome, number func(outcome) float64) float64 { return median(values(all, number)) }
	say := func(all []outcome) string {
		return fmt.Sprintf("%.1f %% went short; the gift lasts to day %.0f; %.0f %% of it given",
			of(all, func(o outcome) float64 { return 100 * float64(o.short) / float64(o.residents) }),
			of(all, func(o outcome) float64 { return float64(o.last) }),
			of(all, func(o outcome) float64 { return 100 * float64(o.given) / float64(simulated.Cap) }))
	}
	r := row{
		what:     fmt.Sprintf("a month of residents who want half as much again as the gift has, median of %d", months),
		target:   "it lasts the month",
		measured: say(fair), beside: "first come, first served: " + say(first),
		met: verdictOf(of(fair, func(o outcome) float64 { return float64(o.last) }) == float64(simulated.Days)),
	}
	if b.plots != "" {
		path := filepath.Join(b.plots, "month.svg")
		if err := plotMonth(path, fair[0], first[0]); err != nil {
			return nil, err
		}
		b.logf("  %s shows the first of them", path)
	}
	return []row{r}, nil
}

// simulate simulates one month. The same seed gives the same residents.
func simulate(seed uint64, fair bool) (o outcome) {
	o.days = simulated.Simulate(rand.New(rand.NewPCG(seed, 1)), fair)
	for i, d := range o.days {
		o.residents += d.Residents
		o.short += d.Short
		o.given += d.Given
		if d.Given > 0 {
			o.last = i + 1
		}
	}
	return o
}

// The dimensions of the plot, in its own units.
const (
	plotLeft, plotTop      = 72, 104
	plotDay, plotBar       = 22, 14 // width of a day and of its bar
	plotHeight, plotApart  = 150, 96
	plotMost, plotGridStep = 300e6, 50e6 // bytes at the full height, and between grid lines
)

type (
	plot struct {
		Width, Height int
		Panels        []panel
	}
	panel struct {
		Title, Sum          string
		TitleY, LabelX      int
		Left, Right, Bottom int
		Lines               []gridLine
		Days                []bar
	}
	gridLine struct {
		Y     int
		Label string
	}
	bar struct {
		Day                   int
		Labelled              bool
		Residents, Short      int
		WantedEach, GivenEach string
		X, Width, Middle      int
		WantedY, WantedHeight int
		GivenY, GivenHeight   int
	}
)

//go:embed month.svg.tmpl
var monthTemplate string

// plotMonth draws the two outcomes one above the other, on the same scale.
func plotMonth(path string, fair, first outcome) error {
	p := plot{Width: plotLeft + len(fair.days)*plotDay + 24}
	for _, x := range []struct {
		title string
		outcome
	}{{"Fair shares", fair}, {"First come, first served", first}} {
		p.Panels = append(p.Panels, newPanel(x.title, plotTop+len(p.Panels)*(plotHeight+plotApart), x.outcome))
	}
	p.Height = p.Panels[len(p.Panels)-1].Bottom + 48
	t, err := template.New("month").Parse(monthTemplate)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := t.Execute(&text, p); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, text.Bytes(), 0o644)
}

func newPanel(title string, top int, o outcome) panel {
	bottom := top + plotHeight
	height := func(bytes uint64) int { return int(min(float64(bytes)/plotMost, 1) * plotHeight) }
	p := panel{
		Title: title, TitleY: top - 24, LabelX: plotLeft - 8,
		Left: plotLeft, Right: plotLeft + len(o.days)*plotDay, Bottom: bottom,
		Sum: fmt.Sprintf("%d of %d visits went short", o.short, o.residents),
	}
	for n := uint64(0); n <= plotMost; n += plotGridStep {
		p.Lines = append(p.Lines, gridLine{bottom - height(n), fmt.Sprintf("%d MB", n/1e6)})
	}
	for i, d := range o.days {
		each := uint64(max(d.Residents, 1))
		x := plotLeft + i*plotDay + (plotDay-plotBar)/2
		wanted, given := height(d.Wanted/each), height(d.Given/each)
		p.Days = append(p.Days, bar{
			X: x, Width: plotBar, Middle: x + plotBar/2,
			WantedY: bottom - wanted, WantedHeight: wanted, GivenY: bottom - given, GivenHeight: given,
			Day: i + 1, Labelled: i == 0 || (i+1)%5 == 0, Short: d.Short, Residents: d.Residents,
			WantedEach: fmt.Sprintf("%d MB", d.Wanted/each/1e6), GivenEach: fmt.Sprintf("%d MB", d.Given/each/1e6),
		})
	}
	return p
}
