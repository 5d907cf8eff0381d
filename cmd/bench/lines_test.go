package main

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"passerelle/netctl/autorate/sim"
)

// TestPlotLine: the drawing is well-formed, has both runs, and describes in words what it shows.
func TestPlotLine(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "plots", "line.svg")
	point := func(second, rate, delay float64) sim.Point {
		return sim.Point{Second: second, Down: sim.Direction{Capacity: 20, Rate: rate, Used: 18, Delay: delay}}
	}
	ours := sim.Report{Series: []sim.Point{point(0, 19, 5), point(.2, 19, 15)}}
	fixed := sim.Report{Series: []sim.Point{point(0, 20, 400), point(.2, 20, 600)}}
	if err := plotLine(path, "a line & more", ours, fixed); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var drawing struct {
		Role  string `xml:"role,attr"`
		Title string `xml:"title"`
		Desc  string `xml:"desc"`
		Lines []struct {
			Points string `xml:"points,attr"`
		} `xml:"polyline"`
	}
	if err := xml.Unmarshal(b, &drawing); err != nil {
		t.Fatal(err)
	}
	if drawing.Role != "img" || drawing.Title != "a line & more" || len(drawing.Lines) != 8 {
		t.Errorf("role %q, title %q, %d curves", drawing.Role, drawing.Title, len(drawing.Lines))
	}
	for _, want := range []string{
		"rates that follow the line: residents got 18.0 of 20.0 Mbit/s at a rate of 19.0, and waited 10 ms beyond the box",
		"the fixed rate: residents got 18.0 of 20.0 Mbit/s at a rate of 20.0, and waited 500 ms beyond the box",
	} {
		if !strings.Contains(drawing.Desc, want) {
			t.Errorf("the text is %q, without %q", drawing.Desc, want)
		}
	}
}
