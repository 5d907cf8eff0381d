package main

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sync/errgroup"
)

// TestRaces: people at three hubs change the same record at the same time. No change is lost, and nobody has to repeat one.
func TestRaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	for i := range w.dirs {
		w.inside(i)
	}
	d := w.desk(0)
	eventually(t, "the hubs have a leader", func() bool { return d.AddAssociation(t.Context(), "ana", "lilas", "") == nil })
	w.inStep(d)
	const each = 4
	var g errgroup.Group
	for i := range w.dirs {
		desk := w.desk(i)
		for n := range each {
			g.Go(func() error {
				name := fmt.Sprintf("centre-%d-%d", i, n)
				if err := desk.AddAssociation(t.Context(), "ana", name, ""); err != nil {
					return errors.Join(errors.New(name), err)
				}
				return nil
			})
		}
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	members, _, err := d.Members(t.Context())
	if want := 1 + len(w.dirs)*each; err != nil || len(members.Associations) != want {
		t.Errorf("%d associations, want %d: %v", len(members.Associations), want, err)
	}
}
