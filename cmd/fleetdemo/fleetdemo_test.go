package main

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/fleet/report"
	"passerelle/netctl/netlab/labtest"
)

// TestStory: the whole story with a few boxes. Its limits are for many boxes on an otherwise idle machine, so the test ignores them.
func TestStory(t *testing.T) {
	labtest.Root(t, "iptables", "dnsmasq", "busybox", "go")
	var out strings.Builder
	if err := run(t.Context(), []string{"--boxes", "6"}, &out, io.Discard); err != nil && !errors.Is(err, errMissed) {
		t.Errorf("%v\n%s", err, &out)
	}
	for _, want := range []string{"12  All hubs come back", "| reports lost of 10, ", "| the whole story |"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, &out)
		}
	}
}

// TestStoryEndsWithTheFirstFailure: the output has what was checked and what failed, and an interrupt is reported as one.
func TestStoryEndsWithTheFirstFailure(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	said := func(err error, seen ...string) func(context.Context) ([]string, error) {
		return func(context.Context) ([]string, error) { return seen, err }
	}
	err := story{
		{"One", said(nil, "fine", "very fine")},
		{"Two", said(errors.New("the other half is missing\nfor a reason"), "half of it")},
		{"Three", said(errors.New("must not be played"))},
	}.play(t.Context(), &out)
	if err == nil || err.Error() != "step 2 failed: Two" {
		t.Errorf("the story ended with %v", err)
	}
	const want = " 1  One\n  ✓ fine\n  ✓ very fine\n    0.00 s\n\n 2  Two\n  ✓ half of it\n  ✗ the other half is missing\n    for a reason\n"
	if out.String() != want {
		t.Errorf("the story was told as\n%s\nwant\n%s", &out, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = story{{"One", func(context.Context) ([]string, error) { cancel(); return nil, nil }}}.play(ctx, io.Discard)
	if err == nil || err.Error() != "interrupted at step 1: One" {
		t.Errorf("an interrupted story ended with %v", err)
	}
}

// TestFigures: a figure above its limit is marked in the table, and is an error.
func TestFigures(t *testing.T) {
	t.Parallel()
	d := &demo{}
	if got := d.figure("to enrol", 7.125, 30, "s"); got != "to enrol: 7.125 s (limit 30)" {
		t.Errorf("%q", got)
	}
	if err := d.figures.missed(); err != nil {
		t.Error(err)
	}
	d.figure("lost", 1, 0, "")
	if err := d.figures.missed(); !errors.Is(err, errMissed) || !strings.Contains(err.Error(), "lost: 1") || strings.Contains(err.Error(), "enrol") {
		t.Error(err)
	}
	if table := d.figures.table(); !strings.Contains(table, "| to enrol | 7.125 s | ≤ 30 s | yes |\n| lost | 1  | ≤ 0  | **no** |\n") {
		t.Error(table)
	}
}

// TestDay: the simulated boxes' reports are valid, so that the hubs' pages count them.
func TestDay(t *testing.T) {
	t.Parallel()
	name, body := day(2)
	r, err := report.Parse([]byte(body))
	if err != nil || r.Day.Report() != name || r.Sessions != 17 || len(r.Donations) != 1 {
		t.Errorf("%s: %+v, %v", name, r, err)
	}
}

// TestGrowthPlot: the drawing is well-formed, and the table has a row for each size.
func TestGrowthPlot(t *testing.T) {
	t.Parallel()
	all := []size{{boxes: 130, enrol: time.Second, memory: 40e6}, {boxes: 1300, enrol: 9 * time.Second, memory: 80e6, idle: .02}}
	d := xml.NewDecoder(strings.NewReader(growthPlot(all)))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if rows := strings.Count(growthTable(all), "\n"); rows != 6 {
		t.Errorf("%d lines:\n%s", rows, growthTable(all))
	}
}
