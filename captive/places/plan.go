package places

import (
	"html/template"
	"math"
	"strconv"
	"strings"

	"passerelle/captive/places/directory"
	"passerelle/captive/web"
)

// The plan's measures, in the units of its view box, which is a square around the centre.
const (
	planSize   = 320.0
	planRadius = 138.0 // of the outermost ring
	badge      = 13.0  // radius of a place's number
	rings      = 3
)

// spot is a numbered place on the plan.
type spot struct {
	number int
	at     directory.Point
}

// plan returns a drawing of the places around the centre, north up, with rings of distance and each place's number. It is "" if there
// are no places. The list next to it has the same information.
func plan(w *web.Words, centre directory.Point, spots []spot) template.HTML {
	if len(spots) == 0 {
		return ""
	}
	farthest := 0.0
	for _, s := range spots {
		distance, _ := from(centre, s.at)
		farthest = max(farthest, distance)
	}
	step := ringStep(farthest)
	var b strings.Builder
	num := func(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) }
	b.WriteString(`<svg class="plan" viewBox="0 0 320 320" role="img" aria-label="` +
		template.HTMLEscapeString(w.T("places.plan-name")) + `">`)
	const middle = planSize / 2
	for i := rings; i > 0; i-- {
		r := planRadius * float64(i) / rings
		b.WriteString(`<circle class="ring" cx="160" cy="160" r="` + num(r) + `"/>`)
	}
	b.WriteString(`<path class="axis" d="M160 22V12M155 17l5-6 5 6"/>`)
	write(&b, "north", middle+14, 19, w.T("places.north"))
	for i := 1; i <= rings; i++ {
		write(&b, "far", middle, middle+planRadius*float64(i)/rings+4.5, shortDistance(w, step*float64(i)))
	}
	// A badge that would cover another is drawn beside it, with a line to the place's position.
	var badges strings.Builder
	taken := []position{{middle, middle}}
	for _, s := range spots {
		distance, bearing := from(centre, s.at)
		r := planRadius * distance / (step * rings)
		exact := position{middle + r*math.Sin(bearing), middle - r*math.Cos(bearing)}
		at := free(exact, taken)
		taken = append(taken, at)
		if at != exact {
			b.WriteString(`<path class="to" d="M` + num(exact.x) + ` ` + num(exact.y) + `L` + num(at.x) + ` ` + num(at.y) + `"/>` +
				`<circle class="dot" cx="` + num(exact.x) + `" cy="` + num(exact.y) + `" r="2.5"/>`)
		}
		badges.WriteString(`<circle class="badge" cx="` + num(at.x) + `" cy="` + num(at.y) + `" r="` + num(badge) + `"/>`)
		write(&badges, "number", at.x, at.y+5, strconv.Itoa(s.number))
	}
	b.WriteString(`<g class="home"><circle cx="160" cy="160" r="15"/><path d="M152 160.5l8-7 8 7M154.5 159v8.5h11V159"/></g>`)
	b.WriteString(badges.String())
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// write writes a text element at a position.
func write(b *strings.Builder, class string, x, y float64, text string) {
	b.WriteString(`<text class="` + class + `" x="` + strconv.FormatFloat(x, 'f', 1, 64) + `" y="` +
		strconv.FormatFloat(y, 'f', 1, 64) + `">` + template.HTMLEscapeString(text) + `</text>`)
}

// position is a point of the drawing.
type position struct{ x, y float64 }

// free returns the first position on a spiral around the wanted one where a badge covers no other and lies within the drawing, or the
// wanted position if there is none.
func free(wanted position, taken []position) position {
	const turn = math.Pi * (3 - 2.2360679775) // the golden angle spreads the trials evenly
	for i := range 400 {
		r := 2 * math.Sqrt(float64(i)) * 2
		at := position{wanted.x + r*math.Cos(float64(i)*turn), wanted.y + r*math.Sin(float64(i)*turn)}
		if at.x < badge || at.y < badge || at.x > planSize-badge || at.y > planSize-badge {
			continue
		}
		clear := true
		for _, t := range taken {
			clear = clear && math.Hypot(at.x-t.x, at.y-t.y) >= 2*badge+1
		}
		if clear {
			return at
		}
	}
	return wanted
}

// ringStep returns the distance between rings in metres: a round number for which the outermost ring reaches the farthest place.
func ringStep(farthest float64) float64 {
	for scale := 100.0; ; scale *= 10 {
		for _, n := range []float64{1, 2, 3, 5} {
			if n*scale*rings >= farthest || scale > 1e7 {
				return n * scale
			}
		}
	}
}

// from returns the distance in metres and the bearing in radians, clockwise from north, of b as seen from a. It treats the earth as a
// plane, which is accurate enough for near places; package directory computes great-circle distances.
func from(a, b directory.Point) (distance, bearing float64) {
	const degree = 111_195 // metres
	x := (b.Lon - a.Lon) * math.Cos((a.Lat+b.Lat)/2*math.Pi/180) * degree
	y := (b.Lat - a.Lat) * degree
	return math.Hypot(x, y), math.Atan2(x, y)
}

// compassPoints are the keys of eight directions, clockwise from north.
var compassPoints = [8]string{"n", "ne", "e", "se", "s", "sw", "w", "nw"}

// direction returns the words for the direction of a bearing in radians.
func direction(w *web.Words, bearing float64) string {
	eighth := int(math.Round(bearing/(math.Pi/4))+8) % 8
	return w.T("direction." + compassPoints[eighth])
}

// shortDistance formats a ring's distance: "500 m", "2 km".
func shortDistance(w *web.Words, metres float64) string {
	if metres < 1000 {
		return strconv.Itoa(int(metres)) + "\u00a0" + w.T("places.metres")
	}
	return strings.TrimSuffix(strconv.FormatFloat(metres/1000, 'f', 1, 64), ".0") + "\u00a0" + w.T("places.kilometres")
}
