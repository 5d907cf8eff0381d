package admin

import (
	"math"
	"strconv"
	"strings"

	"passerelle/appliance/state"
	"passerelle/captive/web"
)

// Size of a drawing in its own units. The page stretches it to its width.
const (
	curveWidth  = 1000
	curveHeight = 100
)

// maxLayers is how many donations have a layer of their own in a drawing. The others share one layer.
const maxLayers = 4

// layer is the part of a drawing that shows one donation, or all others together.
type layer struct {
	Name   string // "" for the others
	Class  string
	Values []uint64 // one per span
	Sum    uint64
}

// span is a part of the time that a drawing shows. from and to are fractions of its width, from 0 to 1. A value is multiplied by
// factor to get its height, so that a part of an hour is drawn at the rate of a whole hour. A span with factor 0 is not drawn.
type span struct{ from, to, factor float64 }

// drawing is a stacked area chart: the top edge is the sum of all layers.
type drawing struct {
	Areas []shape // topmost layer first: each area is painted over the one before it
}

// shape is the area of a layer, with the curve that is its upper edge.
type shape struct{ Class, Area, Curve string }

// layersOf groups values by donation. The first maxLayers names get a layer of their own, all others share one. Layers without
// any bytes are left out; the colours of the other layers do not change.
func layersOf(names []string, spans int, value func(i int) map[string]uint64) (layers []layer) {
	shown := names[:min(len(names), maxLayers)]
	for i, name := range shown {
		layers = append(layers, layer{Name: name, Class: "c" + strconv.Itoa(i), Values: make([]uint64, spans)})
	}
	others := layer{Class: "c" + strconv.Itoa(maxLayers), Values: make([]uint64, spans)}
	for i := range spans {
		rest := uint64(0)
		for name, bytes := range value(i) {
			rest += bytes
			for l := range shown {
				if shown[l] == name {
					layers[l].Values[i] += bytes
					layers[l].Sum += bytes
					rest -= bytes
				}
			}
		}
		others.Values[i] = rest
		others.Sum += rest
	}
	var used []layer
	for _, l := range append(layers, others) {
		if l.Sum > 0 {
			used = append(used, l)
		}
	}
	return used
}

// draw draws layers over spans. All layers share one scale, whose maximum is the highest sum.
func draw(spans []span, layers []layer) drawing {
	sums := make([][]float64, len(layers)) // sums of a layer and all layers below it
	highest := 0.0
	for l := range layers {
		sums[l] = make([]float64, len(spans))
		for i, s := range spans {
			sums[l][i] = float64(layers[l].Values[i]) * s.factor
			if l > 0 {
				sums[l][i] += sums[l-1][i]
			}
			highest = max(highest, sums[l][i])
		}
	}
	var d drawing
	for l := len(layers) - 1; l >= 0; l-- {
		points := pointsOf(spans, sums[l], highest)
		if len(points) == 0 {
			continue
		}
		d.Areas = append(d.Areas, areaOf(points, layers[l].Class))
	}
	return d
}

// areaOf returns the area below a curve through points, which are ordered from left to right.
func areaOf(points []point, class string) shape {
	curve := curveThrough(points)
	first, last := points[0], points[len(points)-1]
	return shape{
		Class: class, Curve: curve,
		Area: curve + "L" + coordinates(point{last.x, curveHeight}) + "L" + coordinates(point{first.x, curveHeight}) + "Z",
	}
}

type point struct{ x, y float64 }

// pointsOf puts a point with the span's value at the middle of each span. The first and the last value are extended to the edges
// of their spans.
func pointsOf(spans []span, values []float64, highest float64) (points []point) {
	var first, last span
	for i, s := range spans {
		if s.factor == 0 {
			continue
		}
		y := float64(curveHeight)
		if highest > 0 {
			y -= curveHeight * values[i] / highest
		}
		if len(points) == 0 {
			first = s
			points = append(points, point{first.from * curveWidth, y})
		}
		points, last = append(points, point{(s.from + s.to) / 2 * curveWidth, y}), s
	}
	if len(points) > 0 {
		points = append(points, point{last.to * curveWidth, points[len(points)-1].y})
	}
	return points
}

// curveThrough returns the SVG path of a smooth curve through points from left to right. It is a monotone cubic interpolation,
// which does not overshoot the points, so that the curve never goes below the axis (F. N. Fritsch and R. E. Carlson, "Monotone
// Piecewise Cubic Interpolation", 1980).
func curveThrough(points []point) string {
	slope := func(i int) float64 {
		return (points[i+1].y - points[i].y) / max(points[i+1].x-points[i].x, 1e-9)
	}
	tangent := func(i int) float64 {
		if i == 0 || i == len(points)-1 {
			return 0
		}
		before, after := slope(i-1), slope(i)
		if before*after <= 0 {
			return 0
		}
		return 2 * before * after / (before + after) // harmonic mean: at most twice the smaller of the two slopes
	}
	var path strings.Builder
	path.WriteString("M" + coordinates(points[0]))
	for i := range len(points) - 1 {
		a, b := points[i], points[i+1]
		third := (b.x - a.x) / 3
		path.WriteString("C" + coordinates(point{a.x + third, a.y + third*tangent(i)}) + " " +
			coordinates(point{b.x - third, b.y - third*tangent(i+1)}) + " " + coordinates(b))
	}
	return path.String()
}

// coordinates formats a point with one decimal, which is as much as a screen can show.
func coordinates(p point) string {
	tenth := func(f float64) string { return strconv.FormatFloat(math.Round(f*10)/10, 'f', -1, 64) }
	return tenth(p.x) + "," + tenth(p.y)
}

// usageRow is a row of the table beside a drawing.
type usageRow struct {
	When   string
	Sum    string
	By     []string // what each donation carried, if there is more than one
	People string   // the most sessions at once; "" if unknown

	Refused string // how many devices were refused; "" for none
}

// usage is a drawing of data, with its table and its text.
type usage struct {
	drawing
	Legend       []legend // set if there are two layers or more
	Most         string   // the highest value, and when it was; "" if there is no data
	Begins, Ends string   // labels below the drawing
	Rows         []usageRow

	Refusals drawing  // over the same spans; it has no areas if nothing was refused
	Refused  []string // the count for each reason that occurred
}

// refuse draws how many devices were refused in each span, and fills in the counts of the table and the sums by reason.
func (u *usage) refuse(w *web.Words, spans []span, refused []state.Refused) {
	var sums state.Refused
	l := layer{Class: "people"}
	for _, r := range refused {
		sums = sums.Plus(r)
		l.Values = append(l.Values, r.Sum())
	}
	if sums.Sum() == 0 {
		return
	}
	for i := range u.Rows {
		if n := l.Values[i]; n > 0 {
			u.Rows[i].Refused = w.T("home.refused", "number", strconv.FormatUint(n, 10))
		}
	}
	u.Refusals = draw(spans, []layer{l})
	say := func(count uint64, text func(number string) string) {
		if count > 0 {
			u.Refused = append(u.Refused, text(strconv.FormatUint(count, 10)))
		}
	}
	say(sums.Data, func(n string) string { return w.T("home.refused-data", "number", n) })
	say(sums.NotSharing, func(n string) string { return w.T("home.refused-closed", "number", n) })
	say(sums.Busy, func(n string) string { return w.T("home.refused-busy", "number", n) })
}

// legend explains an area of a drawing.
type legend struct{ Class, Text string }

// newUsage draws layers, and fills in the table and the legend. i is the span with the highest sum, and most is that sum.
func newUsage(w *web.Words, spans []span, layers []layer, when func(i int) string) (u usage, i int, most uint64) {
	u.drawing = draw(spans, layers)
	name := func(l layer) string {
		if l.Name == "" {
			return w.T("home.others")
		}
		return l.Name
	}
	text := func(l layer, bytes uint64) string { return w.T("home.of-one", "name", name(l), "size", w.Size(bytes)) }
	for s := range spans {
		row, sum := usageRow{When: when(s)}, uint64(0)
		for _, l := range layers {
			sum += l.Values[s]
		}
		for _, l := range layers {
			switch bytes := l.Values[s]; {
			case len(layers) < 2 || bytes == 0:
			case bytes == sum:
				row.By = append(row.By, name(l))
			default:
				row.By = append(row.By, text(l, bytes))
			}
		}
		row.Sum = w.Size(sum)
		if sum > most {
			most, i = sum, s
		}
		u.Rows = append(u.Rows, row)
	}
	if len(layers) > 1 {
		for _, l := range layers {
			u.Legend = append(u.Legend, legend{l.Class, text(l, l.Sum)})
		}
	}
	return u, i, most
}
