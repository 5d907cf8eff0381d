package poster

import (
	"math"
	"os"
	"strings"
	"testing"

	"passerelle/captive/web"
)

// TestPictograms: every pictogram can be drawn, stays on its grid, and each of its lines begins with a move.
func TestPictograms(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir("../web/pictograms")
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) < 50 {
		t.Fatalf("%d pictograms: they are elsewhere", len(entries))
	}
	for _, e := range entries {
		lines, err := parseDrawing(string(web.Pictogram(strings.TrimSuffix(e.Name(), ".svg"))))
		if err != nil || len(lines) == 0 {
			t.Errorf("%s: %d lines, %v", e.Name(), len(lines), err)
		}
		for _, l := range lines {
			if len(l.steps) < 2 || l.steps[0].kind != 'M' {
				t.Errorf("%s: a line does not begin: %v", e.Name(), l)
			}
			for _, s := range l.steps {
				for _, p := range s.to {
					if p.x < 0 || p.x > 24 || p.y < 0 || p.y > 24 {
						t.Errorf("%s: %v is outside its grid", e.Name(), p)
					}
				}
			}
		}
	}
}

func TestParsePath(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ path, same string }{
		{"m1 1 2 0v3h-2z", "M1 1L3 1L3 4L1 4Z"},
		{"M1,1 2-1.5.5.5", "M1 1L2 -1.5L.5 .5"},
		{"M0 0c1 0 2 1 2 2s1 2 2 2", "M0 0C1 0 2 1 2 2C2 3 3 4 4 4"},
		{"M0 0S1 1 3 0", "M0 0C0 0 1 1 3 0"},
		{"M0 0Q3 3 6 0T12 0", "M0 0C2 2 4 2 6 0C8 -2 10 -2 12 0"},
		{"M0 0q3 3 6 0t6 0", "M0 0C2 2 4 2 6 0C8 -2 10 -2 12 0"},
		{"M1e1 2L3 4", "M10 2L3 4"},
		{"M1 1A0 3 0 0 1 4 4", "M1 1C1 1 4 4 4 4"},
	} {
		got, err := parsePath(c.path)
		want, wantErr := parsePath(c.same)
		if err != nil || wantErr != nil || !near(got, want) {
			t.Errorf("%s: %v, %v; want %v, %v", c.path, got, err, want, wantErr)
		}
	}
	for _, wrong := range []string{"1 2", "M1", "M1 1X", "M1 1C1 1 2 2", "M1 1Z2 2", "M1 1A2 2 0 0 1 3", "M. 1", "M1 e"} {
		if got, err := parsePath(wrong); err == nil {
			t.Errorf("%s is read as %v", wrong, got)
		}
	}
	for _, wrong := range []string{`<ellipse rx="3"/>`, `<path d="M1 1L2 2" fill="red"/>`, `<path d="M1 1" transform="rotate(3)"/>`, `<circle r="x"/>`, `<path`} {
		if got, err := parseDrawing(wrong); err == nil {
			t.Errorf("%s is read as %v", wrong, got)
		}
	}
}

// TestArc: points of arcs are on their circle, arcs go the right way round, and radii that are too small are scaled up.
func TestArc(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		path   string
		centre point
		radius float64
		length float64 // in full turns
	}{
		{"M3 12a9 9 0 0 1 18 0", point{12, 12}, 9, .5},
		{"M3 12a9 9 0 01 9-9", point{12, 12}, 9, .25},
		{"M3 12a9 9 0 1 0 9-9", point{12, 12}, 9, .75},
		{"M12 3A9 9 0 1 1 3 12", point{12, 12}, 9, .75},
		{"M0 0a1 1 0 0 0 10 0", point{5, 0}, 5, .5},
	} {
		steps, err := parsePath(c.path)
		if err != nil {
			t.Fatal(err)
		}
		at, length := steps[0].to[0], 0.
		for _, s := range steps[1:] {
			for i := range 32 {
				a, b := bezier(at, s.to, float64(i)/32), bezier(at, s.to, float64(i+1)/32)
				length += math.Hypot(b.x-a.x, b.y-a.y)
				if d := math.Hypot(a.x-c.centre.x, a.y-c.centre.y); math.Abs(d-c.radius) > c.radius/2000 {
					t.Errorf("%s: %v is %v from the centre", c.path, a, d)
				}
			}
			at = s.to[2]
		}
		if turns := length / (2 * math.Pi * c.radius); math.Abs(turns-c.length) > .005 {
			t.Errorf("%s: %v turns, want %v", c.path, turns, c.length)
		}
	}
}

// bezier returns the point of a cubic curve at a parameter from 0 to 1.
func bezier(from point, to []point, at float64) point {
	a, b, c, d := math.Pow(1-at, 3), 3*at*(1-at)*(1-at), 3*at*at*(1-at), at*at*at
	return point{a*from.x + b*to[0].x + c*to[1].x + d*to[2].x, a*from.y + b*to[0].y + c*to[1].y + d*to[2].y}
}

func near(a, b []step) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].kind != b[i].kind || len(a[i].to) != len(b[i].to) {
			return false
		}
		for j, p := range a[i].to {
			if q := b[i].to[j]; math.Hypot(p.x-q.x, p.y-q.y) > 1e-9 {
				return false
			}
		}
	}
	return true
}

// FuzzPath: parsing any path terminates, and gives no NaN.
func FuzzPath(f *testing.F) {
	f.Add("M12 3.5l2.6 5.4 5.9.8-4.3 4.1a9 9 0 1 0-3.6 7.2S3 4 5 6z")
	f.Add("m0 0q1 1 2 2t3 3h1v1c1 1 2 2 3 3")
	f.Add("M0 0A1e20 1e20 0 0 0 1 1A1e20 1e20 0 1 1 2 2A1e-200 1e200 9 1 0 3 3") // an angle that rounds to 0
	f.Fuzz(func(t *testing.T, path string) {
		steps, err := parsePath(path)
		for _, s := range steps {
			for _, p := range s.to {
				if err == nil && (math.IsNaN(p.x) || math.IsNaN(p.y)) {
					t.Errorf("%q: %v", path, s)
				}
			}
		}
	})
}
