package main

import (
	"strings"
	"testing"
	"time"

	"passerelle/captive/tutorials/lessons"
)

// TestDescribeFacts: with sources, every page of every tutorial is listed. With stale, nothing is listed today, and everything in three
// years.
func TestDescribeFacts(t *testing.T) {
	t.Parallel()
	own := lessons.Own()
	now := own.Lessons()[0].Checked
	all := string(describeFacts(own, now, true, false))
	for _, l := range own.Lessons() {
		for _, want := range append(l.Sources, l.Slug+" ") {
			if !strings.Contains(all, want) {
				t.Errorf("%s is not listed: %s", l.Slug, want)
			}
		}
	}
	if got := string(describeFacts(own, now, false, true)); !strings.HasPrefix(got, "The facts of all lessons") {
		t.Errorf("today these are stale:\n%s", got)
	}
	later := string(describeFacts(own, now.AddDate(lessons.CheckFor+1, 0, 0), false, true))
	if n := strings.Count(later, "\n"); n != len(own.Lessons())+1 {
		t.Errorf("%d lines in three years, want a head and %d lessons:\n%s", n, len(own.Lessons()), later)
	}
	if day := now.Format(time.DateOnly); !strings.Contains(later, day) {
		t.Errorf("%s is not there:\n%s", day, later)
	}
}
