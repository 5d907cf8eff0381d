package places

import (
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"passerelle/captive/places/directory"
	"passerelle/captive/web"
)

// lilas is the position of the fictional centre.
var lilas = directory.Point{Lat: 48.88, Lon: 2.4165}

// catalog has the words of the share.
var catalog = web.NewCatalog(New("", nil).Share())

func TestPlan(t *testing.T) {
	t.Parallel()
	w := catalog.Language("fr")
	if got := plan(w, lilas, nil); got != "" {
		t.Errorf("without places there is %q", got)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var spots []spot
		spread := math.Pow(10, -4+4*random.Float64()) // from ten metres to a hundred kilometres
		for i := range 1 + random.IntN(perPage) {
			spots = append(spots, spot{i + 1, directory.Point{
				Lat: lilas.Lat + spread*random.NormFloat64(), Lon: lilas.Lon + spread*random.NormFloat64()}})
		}
		svg := string(plan(w, lilas, spots))
		badges := readBadges(t, svg)
		if len(badges) != len(spots) {
			t.Fatalf("%d places and %d badges:\n%s", len(spots), len(badges), svg)
		}
		for i, a := range badges {
			if math.Min(a.x, a.y) < badge-.1 || math.Max(a.x, a.y) > planSize-badge+.1 {
				t.Errorf("badge %d is outside:\n%s", i+1, svg)
			}
			for _, b := range badges[:i] {
				if math.Hypot(a.x-b.x, a.y-b.y) < 2*badge {
					t.Errorf("badge %d covers another:\n%s", i+1, svg)
				}
			}
		}
	}
	// Places at the same spot, such as the offices of one building, and the centre itself.
	same := []spot{{1, lilas}, {2, lilas}, {3, lilas}}
	if got := readBadges(t, string(plan(w, lilas, same))); len(got) != 3 {
		t.Errorf("places at the centre have %d badges", len(got))
	}
}

// readBadges returns the positions of the badges. It fails the test unless the drawing is well-formed and has a name.
func readBadges(t *testing.T, svg string) (all []position) {
	t.Helper()
	if !strings.Contains(svg, `role="img" aria-label="Plan`) || strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
		t.Errorf("the plan has no name, or no numbers:\n%s", svg)
	}
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		token, err := d.Token()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
		start, ok := token.(xml.StartElement)
		if !ok || start.Name.Local != "circle" {
			continue
		}
		attr := map[string]string{}
		for _, a := range start.Attr {
			attr[a.Name.Local] = a.Value
		}
		if attr["class"] != "badge" {
			continue
		}
		var p position
		if _, err := fmt.Sscan(attr["cx"]+" "+attr["cy"], &p.x, &p.y); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// The rings are at round distances, and the outermost reaches the farthest place without much space to spare.
func TestRings(t *testing.T) {
	t.Parallel()
	for metres := 1.0; metres < 2e7; metres *= 1.07 {
		step := ringStep(metres)
		if step*rings < metres || metres > 300 && step*rings > 2.01*metres {
			t.Errorf("%v metres: rings of %v", metres, step)
		}
	}
	for metres, want := range map[float64]string{100: "100\u00a0m", 1000: "1\u00a0km", 1500: "1.5\u00a0km", 30000: "30\u00a0km"} {
		if got := shortDistance(catalog.Language("fr"), metres); got != want {
			t.Errorf("%v metres: %q", metres, got)
		}
	}
}

func TestDirection(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		lat, lon float64
		want     string
	}{
		{1, 0, "le nord"}, {1, 1.5, "le nord-est"}, {0, 1, "l’est"}, {-1, 1.5, "le sud-est"}, {-1, 0, "le sud"},
		{-1, -1.5, "le sud-ouest"}, {0, -1, "l’ouest"}, {1, -1.5, "le nord-ouest"}, {1, -.1, "le nord"},
	} {
		_, bearing := from(lilas, directory.Point{Lat: lilas.Lat + test.lat/100, Lon: lilas.Lon + test.lon/100})
		if got := direction(catalog.Language("fr"), bearing); got != test.want {
			t.Errorf("%v, %v: %s, want %s", test.lat, test.lon, got, test.want)
		}
	}
	if metres, _ := from(lilas, directory.Point{Lat: lilas.Lat + .01, Lon: lilas.Lon}); math.Abs(metres-1112) > 1 {
		t.Errorf("a hundredth of a degree is %v metres", metres)
	}
}
