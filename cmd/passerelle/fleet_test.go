package main

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"passerelle/appliance/daemon"
	"passerelle/appliance/fleet/content"
	"passerelle/appliance/fleet/layer"
	"passerelle/appliance/fleet/repository"
	"passerelle/appliance/state"
	"passerelle/captive/places/directory"
	"passerelle/captive/tutorials/lessons"
	"passerelle/netctl/netlab/labtest"
)

func (a asked) Status() state.Status { return *a.status }
func (a asked) TakeLayer(_ context.Context, level, name string, text []byte) error {
	a.taken[level+" "+name] = string(text)
	return nil
}

// signedFolder is a repository with the keys of its signers.
type signedFolder struct {
	*testing.T
	repository.Repository
	now  time.Time
	keys map[string][]repository.Key // by role
	root string                      // file of the first root
}

func newSignedFolder(t *testing.T) *signedFolder {
	s := &signedFolder{t, repository.Repository{Dir: t.TempDir()}, time.Now(), map[string][]repository.Key{}, ""}
	public := map[string][]repository.PublicKey{}
	for _, role := range []string{repository.Root, repository.Targets, "hub"} {
		for range 3 {
			key, err := repository.NewKey()
			s.must(err)
			s.keys[role], public[role] = append(s.keys[role], key), append(public[role], key.PublicKey)
		}
	}
	s.must(s.StageRoot(repository.Keys{Root: public[repository.Root], Release: public[repository.Targets], Hub: public["hub"]}, s.now))
	s.publish(repository.Root, 2)
	s.root = filepath.Join(s.Dir, "metadata", "1.root.json")
	return s
}

func (s *signedFolder) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// publish makes people sign what is staged for a role.
func (s *signedFolder) publish(role string, people int) {
	s.Helper()
	for _, key := range s.keys[role][:people] {
		s.must(s.Repository.Sign(role, key))
	}
	_, err := s.Publish()
	s.must(err)
}

// delegate gives a role the right to sign what is in a folder.
func (s *signedFolder) delegate(role, folder string) {
	s.Helper()
	key, err := repository.NewKey()
	s.must(err)
	s.keys[role] = []repository.Key{key}
	s.must(s.Delegate(role, &key.PublicKey, []string{folder}, s.now))
	s.publish(repository.Targets, 2)
}

// add makes a role sign a file with this text.
func (s *signedFolder) add(role, path, text string) {
	s.Helper()
	file, err := s.Add(path, []byte(text))
	s.must(err)
	s.change(role, path, file)
}

// hand makes a role hand out a file; nil withdraws it.
func (s *signedFolder) hand(role, level string, kind content.Kind, name string, file []byte) {
	s.Helper()
	if file == nil {
		s.change(role, path.Join(content.Folder(level, kind), name), nil)
		return
	}
	at, target, _, err := content.Stage(s, content.Folder(level, kind), name, bytes.NewReader(file))
	s.must(err)
	s.change(role, at, target)
}

// change makes a role sign another target; nil removes it.
func (s *signedFolder) change(role, path string, file *metadata.TargetFiles) {
	s.Helper()
	change := func(t *metadata.TargetsType) error {
		if t.Targets == nil {
			t.Targets = map[string]*metadata.TargetFiles{}
		}
		if t.Targets[path] = file; file == nil {
			delete(t.Targets, path)
		}
		return nil
	}
	if role == repository.Targets {
		s.must(s.Change(s.now, change))
		s.publish(role, 2)
		return
	}
	s.must(s.ChangeOf(role, s.now, change))
	s.publish(role, 1)
}

// TestFleetTake: what people signed reaches the daemon. What is not signed, or signed by another association, does not.
func TestFleetTake(t *testing.T) {
	t.Parallel()
	w := newSignedFolder(t)
	w.delegate("lilas", layer.Folder(layer.Association, "lilas"))
	w.add(repository.Targets, layer.Path(layer.All, ""), "[limits]\nsession = \"1h\"\n")
	w.add("lilas", layer.Path(layer.Association, "lilas"), "[limits]\ndata = \"100MB\"\n")
	w.must(w.Seal(w.keys["hub"][0], w.now))
	taken := map[string]string{}
	socket := asked{status: &state.Status{Layers: &state.Layers{}}, taken: taken}.answers(t)
	take := func(args ...string) (int, string) {
		t.Helper()
		var out, errs strings.Builder
		code := runMain(t.Context(), append([]string{"fleet", "take", "--from", w.Dir, "--root", w.root, "--state", t.TempDir(), "--socket", socket}, args...), &out, &errs)
		return code, out.String() + errs.String()
	}
	if code, said := take("--association", "lilas", "--region", "idf"); code != exitOK ||
		!strings.Contains(said, "Taken: what association lilas says.") || !strings.Contains(said, "region idf has signed nothing here") {
		t.Fatalf("exit status %d: %s", code, said)
	}
	want := map[string]string{"all ": "[limits]\nsession = \"1h\"\n", "region idf": "", "association lilas": "[limits]\ndata = \"100MB\"\n"}
	for level, text := range want {
		if got, ok := taken[level]; !ok || got != text {
			t.Errorf("%s: %q, want %q", level, got, text)
		}
	}
	clear(taken)
	// One letter of a signed file is changed: nothing is taken.
	found, err := filepath.Glob(filepath.Join(w.Dir, "targets", "layers", "association", "lilas", "*.fragment.toml"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%q, %v", found, err)
	}
	if err := os.WriteFile(found[0], []byte("[limits]\ndata = \"900MB\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, said := take("--association", "lilas"); code == exitOK || len(taken) != 0 || !strings.Contains(said, "is refused (damaged)") {
		t.Errorf("exit status %d, taken %q: %s", code, taken, said)
	}
	// An association can only sign for itself.
	w.add("lilas", layer.Path(layer.Association, "roses"), "[limits]\ndata = \"1MB\"\n")
	w.add("lilas", layer.Path(layer.Region, "idf"), "[limits]\ndata = \"1MB\"\n")
	w.must(w.Seal(w.keys["hub"][0], w.now))
	if code, said := take("--association", "roses", "--region", "idf"); code != exitOK || taken["association roses"] != "" || taken["region idf"] != "" {
		t.Errorf("exit status %d, taken %q: %s", code, taken, said)
	}
}

// TestFleetTakeFiles: packs and lists of places are taken from a stick by the same code as from a hub, and belong to the owner of the
// state folder.
func TestFleetTakeFiles(t *testing.T) {
	t.Parallel()
	w := newSignedFolder(t)
	const of = "lilas"
	level := layer.Folder(layer.Association, of)
	w.delegate(of, level)
	var zipped bytes.Buffer
	z := zip.NewWriter(&zipped)
	page, err := z.Create("index.html")
	w.must(err)
	_, err = page.Write([]byte("<title>Un</title>"))
	w.must(errors.Join(err, z.Close()))
	w.hand(of, level, content.Packs, "velo", zipped.Bytes())
	w.hand(repository.Targets, layer.Folder(layer.All, ""), content.Places, "nord", []byte("id,nom,commune,code_postal,adresse,date_maj\n1,Un lieu,Grenoble,38000,1 rue Basse,2026-10-01\n"))
	w.must(w.Seal(w.keys["hub"][0], w.now))

	var read []string
	socket := asked{
		status: &state.Status{Layers: &state.Layers{}}, taken: map[string]string{}, refresh: func(share string) { read = append(read, share) },
	}.answers(t)
	dir := t.TempDir()
	take := func() (int, string) {
		t.Helper()
		var out, errs strings.Builder
		code := runMain(t.Context(), []string{"fleet", "take", "--from", w.Dir, "--association", of, "--root", w.root, "--state", dir, "--socket", socket}, &out, &errs)
		return code, out.String() + errs.String()
	}
	has := func(packs, lists int) {
		t.Helper()
		all, problems := lessons.Packs(daemon.Content(dir, "tutorials"))
		d, more := directory.Open(daemon.Content(dir, "places"))
		defer d.Close()
		if len(all) != packs || len(d.Lists()) != lists || len(problems)+len(more) > 0 {
			t.Errorf("%d packs, %d lists, %v %v", len(all), len(d.Lists()), problems, more)
		}
	}
	for range 2 { // taking the same files again changes nothing
		code, said := take()
		if code != exitOK || !strings.Contains(said, "packs velo of association lilas is here") || !strings.Contains(said, "places nord of the fleet is here") {
			t.Fatalf("exit status %d: %s", code, said)
		}
		has(1, 1)
	}
	if !slices.Equal(read, []string{"tutorials", "places"}) {
		t.Errorf("read again: %v", read)
	}
	// With a changed letter in a chunk, that file is not taken, and the previous one stays.
	w.hand(of, level, content.Packs, "velo", append(zipped.Bytes(), 0))
	w.hand(repository.Targets, layer.Folder(layer.All, ""), content.Places, "nord", nil)
	w.must(w.Seal(w.keys["hub"][0], w.now))
	chunks, err := filepath.Glob(filepath.Join(w.Dir, "targets", level, "packs", "??", "*"))
	w.must(err)
	for _, name := range chunks {
		w.must(os.WriteFile(name, []byte("x"), 0o600))
	}
	if code, said := take(); code != exitFailed || !strings.Contains(said, "packs velo of association lilas is not taken: ") || !strings.Contains(said, "is refused (damaged)") {
		t.Errorf("exit status %d: %s", code, said)
	}
	has(1, 0)
}

// TestFleetTakeOwner: what root takes from a stick that only root can read belongs to the owner of the state folder.
func TestFleetTakeOwner(t *testing.T) {
	t.Parallel()
	labtest.Root(t)
	w := newSignedFolder(t)
	w.hand(repository.Targets, layer.Folder(layer.All, ""), content.Places, "nord", []byte("id,nom,commune,code_postal,adresse,date_maj\n1,Un lieu,Grenoble,38000,1 rue Basse,2026-10-01\n"))
	w.must(w.Seal(w.keys["hub"][0], w.now))
	socket := asked{status: &state.Status{Layers: &state.Layers{}}, taken: map[string]string{}, refresh: func(string) {}}.answers(t)
	dir := filepath.Join(t.TempDir(), "state")
	w.must(errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, labtest.Nobody, labtest.Nobody), os.Chown(socket, labtest.Nobody, labtest.Nobody)))
	out, err := program("fleet", "take", "--from", w.Dir, "--root", w.root, "--state", dir, "--socket", socket).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "places nord of the fleet is here") {
		t.Fatalf("%v: %s", err, out)
	}
	tried := 0
	for _, folder := range []string{"fleet", "places"} {
		w.must(filepath.WalkDir(filepath.Join(dir, folder), func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			tried++
			owner, err := ownerOf(path)
			if err == nil && owner.Uid != labtest.Nobody {
				t.Errorf("%s is %d's", path, owner.Uid)
			}
			return err
		}))
	}
	if tried < 6 {
		t.Errorf("there are only %d files", tried)
	}
}

// TestNoFleet: a box that is in no fleet takes nothing, and has nothing to show.
func TestNoFleet(t *testing.T) {
	t.Parallel()
	taken := map[string]string{}
	socket := asked{status: &state.Status{}, taken: taken}.answers(t)
	for _, args := range [][]string{{"take", "--from", t.TempDir()}, {"layers"}} {
		var out, errs strings.Builder
		if code := runMain(t.Context(), append(append([]string{"fleet"}, args...), "--socket", socket), &out, &errs); code != exitFailed || !strings.Contains(errs.String(), "[fleet] hubs is empty") {
			t.Errorf("%q: exit status %d: %s", args, code, &errs)
		}
	}
	if len(taken) != 0 {
		t.Errorf("taken: %q", taken)
	}
}

// TestDescribeLayers: status says which layer set what, what has no effect and why, and how to open a proposed service.
func TestDescribeLayers(t *testing.T) {
	t.Parallel()
	socket := asked{status: &state.Status{Layers: &state.Layers{
		Set:      []state.LayerKey{{Key: "limits.session", Value: `"1h"`, By: "the fleet"}},
		Refused:  []state.LayerKey{{Key: "limits.data", Value: `"0"`, By: "region idf", Why: "a fragment only lowers"}},
		Proposed: []state.Proposal{{Service: "a.fr", By: "the fleet"}, {Service: "b.fr", By: "the fleet", Accepted: true}},
		Unread:   []state.Unread{{By: "association lilas", Error: "line 1"}},
	}, Commands: []state.FleetCommand{
		{At: time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC), Action: "pause", By: "Samira", Verdict: "yields"},
		{At: time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC), Action: "diagnose", By: "Samira", Verdict: "done"},
	}}}.answers(t)
	var out, errs strings.Builder
	if code := runMain(t.Context(), []string{"fleet", "layers", "--socket", socket}, &out, &errs); code != exitOK {
		t.Fatalf("exit status %d: %s", code, &errs)
	}
	want := `set by the fleet:
  limits.session  "1h"  the fleet
without effect:
  limits.data  "0"  region idf: a fragment only lowers
essential services that it proposes:
  a.fr  the fleet  to open it: passerelle fleet accept a.fr
  b.fr  the fleet  accepted
refused as a whole, of association lilas: line 1
asked for by the fleet:
  Tue 1 Dec 10:00  pause     Samira  nothing was done: somebody here decided otherwise
  Tue 1 Dec 09:00  diagnose  Samira  done
`
	if out.String() != want {
		t.Errorf("%s", &out)
	}
}
