package daemon

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"passerelle/appliance"
	"passerelle/appliance/config"
	"passerelle/appliance/control"
	"passerelle/appliance/fleet/layer"
	"passerelle/appliance/state"
)

// mergingBox is a box that only merges layers.
type mergingBox struct {
	t    *testing.T
	file *config.Config
	used layer.Result
}

func newMergingBox(t *testing.T, l appliance.Layers) *mergingBox {
	c, err := config.Parse("", append([]byte("fleet = { hubs = [\"un.flotte.fr\"] }\n"), named("A")...))
	if err != nil {
		t.Fatal(err)
	}
	b := &mergingBox{t: t, file: c}
	b.SetLayers(t.Context(), l)
	return b
}

func (b *mergingBox) SetLayers(_ context.Context, l appliance.Layers) error {
	b.used = layer.Merge(b.file, l.All, l.Accepted)
	return nil
}

func (b *mergingBox) Status() state.Status {
	s := state.Layers{}
	for _, p := range b.used.Proposed {
		s.Proposed = append(s.Proposed, state.Proposal(p))
	}
	return state.Status{Layers: &s}
}

// sets checks which keys the layers set.
func (b *mergingBox) sets(want ...string) {
	b.t.Helper()
	var keys []string
	for _, s := range b.used.Set {
		keys = append(keys, s.Key)
	}
	if !slices.Equal(keys, want) {
		b.t.Errorf("set: %q, want %q", keys, want)
	}
}

// TestLayersKept: the layers survive a restart without the fleet. A refused fragment leaves the one before; an empty one removes it.
func TestLayersKept(t *testing.T) {
	t.Parallel()
	dir, ctx := t.TempDir(), t.Context()
	l := newLayers(dir)
	b := newMergingBox(t, l.load())
	take := func(level layer.Level, name, text string) error {
		t.Helper()
		return l.take(ctx, b, level, name, []byte(text))
	}
	for _, err := range []error{
		take(layer.All, "", "[limits]\nsession = \"1h\"\n[essential]\nadd = [\"a.fr\", \"b.fr\"]"),
		take(layer.Association, "lilas", "[limits]\nsession = \"30m\"\ndata = \"100MB\""),
		l.acceptService(ctx, b, "a.fr"), l.acceptService(ctx, b, "a.fr"), l.acceptService(ctx, b, "b.fr"), l.withdrawService(ctx, b, "b.fr"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	b.sets("limits.session", "limits.data", "essential.add")
	for i, err := range []error{
		take(layer.Association, "lilas", "[limits]\nsession = \"30m\"\nspeed = \"1mbit\""),
		take(layer.Association, "lilas", "[limits\n"),
		take(layer.Association, "../lilas", "[limits]"), take(layer.Association, "", "[limits]"), take("world", "", "[limits]"),
		take(layer.All, "", "#"+strings.Repeat("x", config.MaxFragment)),
		l.acceptService(ctx, b, "caf.fr"), l.acceptService(ctx, b, "c.fr"), l.withdrawService(ctx, b, "b.fr"),
	} {
		if !errors.Is(err, control.ErrRefused) {
			t.Errorf("%d: %v", i, err)
		}
	}
	b.sets("limits.session", "limits.data", "essential.add")
	s := b.Status()
	l.addTo(&s)
	if u := s.Layers.Unread; len(u) != 2 || u[0].By != "association lilas" || !strings.Contains(u[0].Error, "layers/association/lilas/fragment.toml:2: not valid TOML") || u[1].By != "the fleet" {
		t.Errorf("unread: %+v", u)
	}
	// The next daemon, without a hub.
	l = newLayers(dir)
	b = newMergingBox(t, l.load())
	b.sets("limits.session", "limits.data", "essential.add")
	if c := b.used.Config; c.Limits.Data != 100e6 || !c.Essential.Opens("a.fr") || c.Essential.Opens("b.fr") {
		t.Errorf("%+v", c)
	}
	// Another association's takes the place of the one before.
	if err := take(layer.Association, "roses", "[limits]\nafter = \"0\""); err != nil {
		t.Fatal(err)
	}
	b.sets("limits.session", "limits.after", "essential.add")
	for _, level := range layer.Levels {
		if err := take(level, "", ""); err != nil {
			t.Fatal(err)
		}
	}
	b.sets()
	// An accepted service is not open automatically when it is proposed again.
	if err := take(layer.All, "", "[essential]\nadd = [\"a.fr\"]"); err != nil {
		t.Fatal(err)
	}
	b.sets()
}

// TestLayersUnread: a damaged file, or a word that only a newer release knows, has no effect, and the status says so.
func TestLayersUnread(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{
		`{"version":1,"content":{"layers":[{"level":"all","text":"[limits]\nsession = \"1h\""},{"level":"region","name":"idf","text":"[limits]\nnewer = 1"}]}}`: "limits.newer: unknown key",
		`{"version":2,"content":{}}`: "newer release",
		`{`:                          "damaged",
	} {
		dir := t.TempDir()
		l := newLayers(dir)
		if err := os.Mkdir(filepath.Join(dir, fleetFolder), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(l.file.Path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		b := newMergingBox(t, l.load())
		s := b.Status()
		if l.addTo(&s); len(s.Layers.Unread) != 1 || !strings.Contains(s.Layers.Unread[0].Error, want) {
			t.Errorf("%s: %+v", content, s.Layers.Unread)
		}
		if set := strings.Contains(content, "1h"); set != (len(b.used.Set) == 1) {
			t.Errorf("%s: %+v", content, b.used.Set)
		}
	}
}
