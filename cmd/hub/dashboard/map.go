package dashboard

import (
	_ "embed"
	"html/template"
	"math"
	"strconv"
	"strings"

	"passerelle/cmd/hub/survey"
)

// departementsText has a line for each département: its number, its name, the centre (x and y) of its largest part, and its outline as an
// SVG path, in a drawing of 1000 by 1120 units. Overseas ones are at the bottom, each at a scale of its own.
//
// Outlines: IGN, Admin Express COG, edition of 2018; names and numbers: INSEE. Licence Ouverte / Open Licence of Etalab, from
// github.com/gregoiredavid/france-geojson at 5d34ee6d. They were projected (equirectangular, at 46.5° N), and simplified to two units
// (Douglas and Peucker) border by border, so that neighbours still meet. Small islands are left out.
//
//go:embed departements.tsv
var departementsText string

// departement is a French département, with its place on the map.
type departement struct {
	Number, Name string
	X, Y         float64
	Path         string
}

var departements, byNumber = parseDepartements(departementsText)

func parseDepartements(text string) (all []departement, of map[string]departement) {
	of = map[string]departement{}
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		d := departement{Number: f[0], Name: f[1], Path: f[4]}
		d.X, _ = strconv.ParseFloat(f[2], 64) // the tests check the file
		d.Y, _ = strconv.ParseFloat(f[3], 64)
		all, of[d.Number] = append(all, d), d
	}
	return all, of
}

// outlines is the map without boxes, which is always the same.
var outlines = func() template.HTML {
	var b strings.Builder
	for _, d := range departements {
		b.WriteString(`<path d="` + d.Path + `"/>`)
	}
	return template.HTML(b.String())
}()

// dot is a box on the map.
type dot struct {
	Kind string // well, needs or waits
	X, Y string
}

// apart is the distance between the dots of one département, in units of the map. golden is the golden angle, by which each is turned from
// the one before, so that they fill a disc evenly (Vogel, 1979).
const apart = 7.0

var golden = math.Pi * (3 - math.Sqrt(5))

// dots places boxes around the centres of their départements. Boxes without a known département are not on the map.
func dots(boxes []survey.Box, kind func(survey.Box) string) (all []dot) {
	had := map[string]int{}
	for _, b := range boxes {
		d, ok := byNumber[b.Department]
		k := kind(b)
		if !ok || k == "" {
			continue
		}
		n := float64(had[b.Department])
		had[b.Department]++
		r := apart * math.Sqrt(n)
		at := func(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }
		all = append(all, dot{k, at(d.X + r*math.Cos(n*golden)), at(d.Y + r*math.Sin(n*golden))})
	}
	return all
}
