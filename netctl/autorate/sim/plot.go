package sim

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strings"
)

// A Curve is a run to draw.
type Curve struct {
	Name   string
	Series []Point
	Up     bool // the uplink
}

// The sizes of a plot in pixels.
const (
	plotWidth  = 1200
	plotLeft   = 70
	plotRight  = 20
	rateHeight = 190
	waitHeight = 90
	plotGap    = 34
	plotTop    = 64
)

// Plot draws runs one below the other as SVG: capacity, rate and what residents got in Mbit/s, and below these the wait in the queue
// beyond the box on a logarithmic scale from 1 ms to 10 s. The SVG's description states the means in words.
func Plot(out io.Writer, title string, curves ...Curve) error {
	w := bufio.NewWriter(out)
	text := func(x, y float64, anchor, class, s string) {
		fmt.Fprintf(w, `<text x="%.1f" y="%.1f" text-anchor="%s" class="%s">`, x, y, anchor, class)
		_ = xml.EscapeText(w, []byte(s)) // the writer keeps its error
		fmt.Fprint(w, "</text>\n")
	}
	end, most := 1.0, 1.0
	for _, c := range curves {
		for _, p := range c.Series {
			end = max(end, p.Second)
			most = max(most, c.of(p).Capacity, c.of(p).Used)
		}
	}
	height := plotTop + len(curves)*(rateHeight+waitHeight+2*plotGap)
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="12" role="img" aria-labelledby="t d">
<title id="t">%s</title>
<desc id="d">%s</desc>
<style>.h{font-size:18px;font-weight:600}.n{font-size:14px;font-weight:600}.a{fill:#555}.g{stroke:#ddd;stroke-width:1}
.c{fill:#cfd8dc;stroke:none}.u{fill:none;stroke:#2e7d32;stroke-width:1.3}.r{fill:none;stroke:#c62828;stroke-width:1.3}.d{fill:none;stroke:#283593;stroke-width:1.2}</style>
<rect width="100%%" height="100%%" fill="#fff"/>
`, plotWidth, height, plotWidth, height, escaped(title), escaped(describe(curves)))
	text(plotLeft, 26, "start", "h", title)
	for i, k := range []struct{ class, name string }{{"c", "capacity"}, {"u", "what residents got"}, {"r", "rate"}, {"d", "wait beyond the box"}} {
		x := float64(plotLeft + 170*i)
		fmt.Fprintf(w, `<line x1="%.0f" x2="%.0f" y1="44" y2="44" class="%s"%s/>`+"\n", x, x+24, k.class, map[string]string{"c": ` style="stroke:#cfd8dc;stroke-width:10"`}[k.class])
		text(x+30, 48, "start", "a", k.name)
	}
	x := func(second float64) float64 { return plotLeft + (plotWidth-plotLeft-plotRight)*second/end }
	scale := step(most)
	most = math.Ceil(most/scale) * scale
	top := float64(plotTop)
	for _, c := range curves {
		rate := func(v float64) float64 { return top + plotGap + rateHeight*(1-min(v, most)/most) }
		wait := func(ms float64) float64 {
			return top + 2*plotGap + rateHeight + waitHeight*(1-min(4, math.Log10(max(1, ms)))/4)
		}
		text(plotLeft, top+plotGap-8, "start", "n", c.Name)
		for v := 0.0; v <= most+scale/2; v += scale {
			fmt.Fprintf(w, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" class="g"/>`+"\n", plotLeft, plotWidth-plotRight, rate(v), rate(v))
			text(plotLeft-6, rate(v)+4, "end", "a", fmt.Sprintf("%g", v))
		}
		text(plotLeft-6, rate(most)-10, "end", "a", "Mbit/s")
		for _, v := range []float64{1, 10, 100, 1000, 10000} {
			fmt.Fprintf(w, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" class="g"/>`+"\n", plotLeft, plotWidth-plotRight, wait(v), wait(v))
			text(plotLeft-6, wait(v)+4, "end", "a", fmt.Sprintf("%g", v))
		}
		text(plotLeft-6, wait(10000)-10, "end", "a", "ms")
		for s, every := 0.0, step(end); s <= end; s += every {
			text(x(s), wait(1)+18, "middle", "a", fmt.Sprintf("%g s", s))
		}
		line := func(class string, y func(Direction) float64, closed bool) {
			var b strings.Builder
			for i, p := range c.Series {
				if i == 0 && closed {
					fmt.Fprintf(&b, "%.1f,%.1f ", x(p.Second), rate(0))
				}
				fmt.Fprintf(&b, "%.1f,%.1f ", x(p.Second), y(c.of(p)))
				if i == len(c.Series)-1 && closed {
					fmt.Fprintf(&b, "%.1f,%.1f ", x(p.Second), rate(0))
				}
			}
			fmt.Fprintf(w, `<polyline class="%s" points="%s"/>`+"\n", class, strings.TrimSpace(b.String()))
		}
		line("c", func(d Direction) float64 { return rate(d.Capacity) }, true)
		line("u", func(d Direction) float64 { return rate(d.Used) }, false)
		line("r", func(d Direction) float64 { return rate(d.Rate) }, false)
		line("d", func(d Direction) float64 { return wait(d.Delay) }, false)
		top += rateHeight + waitHeight + 2*plotGap
	}
	fmt.Fprintln(w, "</svg>")
	return w.Flush()
}

func escaped(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder never fails
	return b.String()
}

// describe states in words what the curves show on average.
func describe(curves []Curve) string {
	var all []string
	for _, c := range curves {
		var sum Direction
		for _, p := range c.Series {
			d := c.of(p)
			sum = Direction{sum.Capacity + d.Capacity, sum.Rate + d.Rate, sum.Used + d.Used, sum.Delay + d.Delay}
		}
		n := float64(max(len(c.Series), 1))
		all = append(all, fmt.Sprintf("%s: residents got %.1f of %.1f Mbit/s at a rate of %.1f, and waited %.0f ms beyond the box.",
			c.Name, sum.Used/n, sum.Capacity/n, sum.Rate/n, sum.Delay/n))
	}
	return strings.Join(all, " ")
}

func (c Curve) of(p Point) Direction {
	if c.Up {
		return p.Up
	}
	return p.Down
}

// step returns a round interval that divides a scale into four to ten parts.
func step(most float64) float64 {
	s := math.Pow(10, math.Floor(math.Log10(most/4)))
	for _, f := range []float64{1, 2, 5} {
		if most/(s*f) <= 10 {
			return s * f
		}
	}
	return s * 10
}
