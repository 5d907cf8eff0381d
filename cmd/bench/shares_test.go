package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// TestPlotMonth: the drawing is well-formed, within its frame, and has each day of both months with what was wanted and given.
func TestPlotMonth(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "plots", "month.svg")
	if err := plotMonth(path, simulate(1, true), simulate(1, false)); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := xml.NewDecoder(f)
	bars := 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		e, ok := token.(xml.StartElement)
		if !ok || e.Name.Local != "rect" {
			continue
		}
		at := map[string]int{}
		for _, a := range e.Attr {
			if n, err := strconv.Atoi(a.Value); err == nil {
				at[a.Name.Local] = n
			}
		}
		if at["y"] == 0 {
			continue // of the frame or the legend
		}
		bars++
		if at["y"] < plotTop || at["height"] < 0 || at["height"] > plotHeight || at["x"] < plotLeft {
			t.Errorf("a bar is at %v", at)
		}
	}
	if want := 2 * 2 * simulated.Days; bars != want {
		t.Errorf("%d bars are drawn, want %d", bars, want)
	}
}

// TestSimulate: both policies get the same residents.
func TestSimulate(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		fair, first := simulate(seed, true), simulate(seed, false)
		if fair.residents != first.residents || len(fair.days) != simulated.Days {
			t.Fatalf("%d residents in %d days, and %d", fair.residents, len(fair.days), first.residents)
		}
		if fair.given > simulated.Cap || first.given > simulated.Cap {
			t.Errorf("%d and %d bytes are given of %d", fair.given, first.given, simulated.Cap)
		}
		if fair.last != simulated.Days || first.last >= fair.last {
			t.Errorf("the gift lasts to day %d, and to day %d", fair.last, first.last)
		}
	}
}
