package main

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// TestAttacks: each attack has its own name, says what it does and what it may cost, and can be run alone.
func TestAttacks(t *testing.T) {
	for _, a := range attacks {
		if a.what == "" || a.limit == "" || a.run == nil {
			t.Errorf("%q lacks something", a.name)
		}
		if w := a.setup; w.admitted > w.joined || w.joined > w.residents {
			t.Errorf("%s: %d of %d residents join, %d are admitted", a.name, w.joined, w.residents, w.admitted)
		}
		if chosen, err := choose(a.name); err != nil || len(chosen) != 1 {
			t.Errorf("--only %s chooses %d, %v", a.name, len(chosen), err)
		}
	}
	if all, err := choose(""); err != nil || len(all) != len(attacks) {
		t.Errorf("without --only %d of %d are chosen, %v", len(all), len(attacks), err)
	}
	if chosen, err := choose("arp,search"); err != nil || len(chosen) != 2 {
		t.Errorf("two of them: %d, %v", len(chosen), err)
	}
	if _, err := choose("arp,nothing"); err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("a name that is none: %v", err)
	}
}

// TestWaits: a failed attempt counts as late, and does not affect the others.
func TestWaits(t *testing.T) {
	const limit = time.Second
	for _, c := range []struct {
		name        string
		came        []time.Duration // -1: it failed
		within, p95 bool
	}{
		{"all", []time.Duration{1, limit}, true, true},
		{"one too late", []time.Duration{1, limit + 1}, false, false},
		{"one that did not come", []time.Duration{1, -1}, false, false},
		{"none", []time.Duration{-1}, false, false},
		{"one of twenty did not come", append(make([]time.Duration, 19), -1), false, true},
		{"two of twenty did not come", append(make([]time.Duration, 18), -1, -1), false, false},
	} {
		w := new(latencies)
		for _, d := range c.came {
			if d < 0 {
				w.add(0, errors.ErrUnsupported)
			} else {
				w.add(d, nil)
			}
		}
		if o := w.within(limit); o.ok != c.within {
			t.Errorf("%s: within is %+v", c.name, o)
		}
		if o := w.p95(limit); o.ok != c.p95 {
			t.Errorf("%s: p95 is %+v", c.name, o)
		}
	}
}

// TestSilence: a silence that has not ended counts.
func TestSilence(t *testing.T) {
	h := new(watchdog)
	if h.longest() != 0 {
		t.Error("a daemon that has not begun is silent")
	}
	now := time.Now()
	h.beat(now.Add(-time.Hour))
	h.beat(now.Add(-time.Minute))
	if got := h.longest(); got != 59*time.Minute {
		t.Errorf("the longest silence is %v", got)
	}
	h = new(watchdog)
	h.beat(now.Add(-time.Hour))
	if got := h.longest(); got < time.Hour {
		t.Errorf("the longest silence is %v", got)
	}
}
