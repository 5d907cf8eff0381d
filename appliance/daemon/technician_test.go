package daemon

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"passerelle/captive/places/directory"
)

// TestListsOfPlaces: a technician's page knows a list as soon as it is imported, and when it was made as far as that is known.
func TestListsOfPlaces(t *testing.T) {
	t.Parallel()
	imported := time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)
	dir := filepath.Join(t.TempDir(), "places")
	l := newLists(dir)
	if all := l.get(); len(all) != 0 {
		t.Errorf("without a folder: %v", all)
	}
	csv := filepath.Join(t.TempDir(), "list.csv")
	importer := directory.Importer{Dir: dir, Now: func() time.Time { return imported }}
	for i, c := range []struct {
		name, text string
		want       time.Time
	}{
		{"a", "id,nom,commune,code_postal,adresse,date_maj\n1,Accueil,Valfleury,12000,1 rue A,2026-02-03\n", time.Date(2026, 2, 3, 0, 0, 0, 0, time.UTC)},
		{"b", "id,nom,commune,code_postal,adresse\n2,Permanence,Valfleury,12000,2 rue A\n", imported},
	} {
		if err := os.WriteFile(csv, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := importer.Import(t.Context(), csv, c.name); err != nil {
			t.Fatal(err)
		}
		all := l.get()
		if len(all) != i+1 || all[i].Name != c.name || day(all[i].Updated) != day(c.want) {
			t.Errorf("after %s: %v, want it of %v", c.name, all, c.want)
		}
	}
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// TestDisk: the disk of a folder has a size, and one that is missing is unknown.
func TestDisk(t *testing.T) {
	t.Parallel()
	d := &Daemon{paths: paths{state: t.TempDir()}}
	if disk := d.disk(); disk.Total == 0 || disk.Free > disk.Total {
		t.Errorf("%+v", disk)
	}
	d.state += "/missing"
	if disk := d.disk(); disk.Total != 0 {
		t.Errorf("a missing folder has %+v", disk)
	}
}
