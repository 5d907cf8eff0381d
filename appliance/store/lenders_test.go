package store

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"passerelle/appliance/ledger"
)

// TestLinksAndPauses: both are still known after the file is closed and opened again.
func TestLinksAndPauses(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.db")
	s, _, err := Open(path, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	paused, untilTomorrow := ledger.Pause{By: "its lender"}, ledger.Pause{By: "its lender", Until: now.AddDate(0, 0, 1)}
	first, second, other := [32]byte{1}, [32]byte{2}, [32]byte{3}
	for _, step := range []error{
		s.Set("Fibre", first), s.Set("4G d'Ana", other), s.Set("Fibre", second),
		s.SetPaused("Fibre", paused), s.SetPaused("4G d'Ana", paused), s.SetPaused("4G d'Ana", ledger.Pause{}),
		s.SetPaused("Mairie", untilTomorrow), s.SetPaused("nobody's", ledger.Pause{}), s.Close(),
	} {
		if step != nil {
			t.Fatal(step)
		}
	}
	s = openChecked(t, path)
	for hash, want := range map[[32]byte]string{first: "", second: "Fibre", other: "4G d'Ana", {}: ""} {
		if name, ok := s.Donation(hash); name != want || ok != (want != "") {
			t.Errorf("the link %x… leads to %q, %t; want %q", hash[:2], name, ok, want)
		}
	}
	all, err := s.Paused()
	if diff := cmp.Diff(map[string]ledger.Pause{"Fibre": paused, "Mairie": untilTomorrow}, all); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}
