package handouts

import (
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"passerelle/appliance/fleet/content"
	"passerelle/appliance/private"
)

// The state of a file follows from what is known about it and from what is on the box.
func TestBecomes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what   string
		known  Record
		sha256 string
		now    string
		want   string
	}{
		{"a new one", Record{}, "a", NoEdition, ""},
		{"one that somebody here imported before", Record{}, "a", "x", Own},
		{"the same one", Record{SHA256: "a", Edition: "x"}, "a", "x", Here},
		{"its next version", Record{SHA256: "a", Edition: "x"}, "b", "x", ""},
		{"one that somebody here changed", Record{SHA256: "a", Edition: "x"}, "a", "y", Own},
		{"its next version, when somebody here changed it", Record{SHA256: "a", Edition: "x"}, "b", "y", Own},
		{"one that somebody here removed", Record{SHA256: "a", Edition: "x"}, "a", NoEdition, Removed},
		{"its next version, when somebody here removed it", Record{SHA256: "a", Edition: "x"}, "b", NoEdition, ""},
	} {
		if got := c.known.becomes(c.sha256, c.now); got != c.want {
			t.Errorf("%s: %q instead of %q", c.what, got, c.want)
		}
	}
}

// After a power cut an import counts as done if the edition has changed.
func TestEnded(t *testing.T) {
	t.Parallel()
	before := Record{Kind: content.Packs, Name: "velo", SHA256: "a", Edition: "x"}
	begun := before.begins("b", "x")
	if got := begun.ended("x"); got != before {
		t.Errorf("nothing was imported: %+v", got)
	}
	if got := begun.ended("y"); got.SHA256 != "b" || got.Edition != "y" || got.Begun+got.Replaces != "" {
		t.Errorf("it was imported: %+v", got)
	}
	if got := before.ended("z"); got != before {
		t.Errorf("nothing had begun: %+v", got)
	}
}

// The fleet removes only its own files.
func TestRemovable(t *testing.T) {
	t.Parallel()
	for now, want := range map[string]bool{"x": true, "y": false, NoEdition: false} {
		if got := (Record{SHA256: "a", Edition: "x"}).removable(now); got != want {
			t.Errorf("%s: %v", now, got)
		}
	}
	if (Record{}).removable("x") {
		t.Error("what the fleet never imported is removed")
	}
}

// Records keep one record for each kind and name, and none without content.
func TestWith(t *testing.T) {
	t.Parallel()
	pack, list := Record{Kind: content.Packs, Name: "a", SHA256: "1"}, Record{Kind: content.Places, Name: "a", Begun: "2"}
	all := list.with(pack.with(nil))
	if !slices.Equal(all, []Record{pack, list}) || find(all, content.Places, "a") != list {
		t.Errorf("%+v", all)
	}
	pack.SHA256 = "3"
	if all = pack.with(all); !slices.Equal(all, []Record{list, pack}) {
		t.Errorf("%+v", all)
	}
	if all = (Record{Kind: content.Packs, Name: "a"}).with(all); !slices.Equal(all, []Record{list}) {
		t.Errorf("%+v", all)
	}
	if got := find(all, content.Packs, "a"); got != (Record{Kind: content.Packs, Name: "a"}) {
		t.Errorf("%+v", got)
	}
}

// While another process takes files nothing is changed. The caller chooses how long to wait for it.
func TestBusy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "coming")
		h := New(Options{Dir: dir, Records: nothing{}, Log: slog.New(slog.DiscardHandler), Patience: time.Minute})
		if err := h.Take(t.Context(), nil, nil); err != nil {
			t.Fatal(err)
		}
		held, err := private.Lock(dir + ".lock")
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := h.Take(t.Context(), nil, nil); !errors.Is(err, ErrBusy) || time.Since(began) != time.Minute {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		h.o.Patience = 0
		time.AfterFunc(time.Hour, func() { held.Close() })
		if err := h.Take(t.Context(), nil, nil); err != nil {
			t.Error(err)
		}
	})
}

// nothing is an empty Records.
type nothing struct{}

func (nothing) Read() ([]Record, error)                        { return nil, nil }
func (nothing) Update(func(*[]Record) error) ([]Record, error) { return nil, nil }
