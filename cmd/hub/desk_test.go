package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"passerelle/appliance/fleet"
	"passerelle/appliance/fleet/protocol"
	"passerelle/appliance/fleet/rollout"
	"passerelle/appliance/fleet/trust"
	"passerelle/cmd/hub/registry"
	"passerelle/cmd/hub/stages"
	"passerelle/cmd/internal/cli"
	"passerelle/image/update/pack"
	"passerelle/image/update/plan"
)

// TestCommands: the commands that the people of a fleet type at one hub, from adding an association to revoking a box.
func TestCommands(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.inside(0)
	d := w.desk(0)
	typed := func(want int, pattern string, words ...string) string {
		t.Helper()
		var out bytes.Buffer
		tl := &tool{out: &out, err: &out, now: w.clock.now}
		if code := tl.main(words); code != want || !regexp.MustCompile(pattern).Match(out.Bytes()) {
			t.Errorf("%q: exit %d, want %d and %q:\n%s", words, code, want, pattern, &out)
		}
		return out.String()
	}
	at := func(command string, words ...string) []string { // with the hub's folder, and an author
		return append(append(strings.Fields(command), "--dir", w.dirs[0], "--as", "ana"), words...)
	}
	file := func(body string) string {
		name := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(name, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}

	typed(cli.Misuse, `passerelle-hub runs a hub`)
	typed(0, `sticker make`, "help")
	typed(0, `cut a box off`, "box", "revoke", "-h")
	typed(cli.Misuse, `no command "box lost"`, "box", "lost")
	typed(cli.Misuse, `0 words instead of 1`, at("association add")...)
	typed(cli.Misuse, `no such file`, "status", "--dir", t.TempDir())
	typed(cli.Misuse, `a name has`, at("association add", "Les Lilas")...)
	typed(cli.Failed, `there is no association "lilas"`, at("sticker make", "lilas")...)

	typed(0, `^$`, at("association add", "--region", "nord", "lilas")...)
	code := strings.TrimSpace(typed(0, `^[0-9A-Z]{5}-[0-9A-Z]{5}\n$`, at("sticker make", "lilas")...))
	typed(0, `^(\S{11}\n){3}$`, at("sticker make", "--count", "3", "--days", "7", "lilas")...)
	typed(cli.Misuse, `at least 1`, at("sticker make", "--count", "0", "lilas")...)
	typed(cli.Failed, `no box`, at("box confirm", "aaaaaaaaaa", "a", "b", "c", "d")...)

	b := w.box(quick)
	if err := b.Enrol(code); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the box waits", func() bool { return b.Status().Stage == fleet.Waiting })
	name, words := b.Status().Box, b.Status().Words
	typed(0, name+`\s+lilas\s+waiting\s+-\s+`+strings.Join(words[:], " "), at("box list")...)
	typed(cli.Failed, `somebody else's`, at("box confirm", name, words[3], "x", "y", "z")...)
	typed(0, `^$`, at("box confirm", name, strings.ToUpper(words[0]), words[1], words[2], words[3])...)
	eventually(t, "the box is a member", func() bool { return b.Status().Stage == fleet.Member })
	b.report(protocol.Done, "fine")
	b.delivered()
	typed(0, `lilas\s+nord\s+1\s+1\s+0\s+0\n`, at("status")...)
	typed(0, `UP\s+1\s+\d+\s+hub-1\s+1 of 1`, at("status")...)

	typed(0, `^$`, at("box place", name, "59", "Centre", "des", "Lilas")...)
	typed(cli.Failed, `no département`, at("box place", name, "99")...)

	first := strings.TrimSpace(typed(0, `^[0-9A-Z]{5}-[0-9A-Z]{5}\n$`, at("person add", "--association", "lilas", "Ana")...))
	second := strings.TrimSpace(typed(0, `^[0-9A-Z]{5}-[0-9A-Z]{5}\n$`, at("person add", "Ana")...))
	typed(cli.Failed, `no association`, at("person add", "--association", "roses", "Bo")...)
	typed(0, `Ana\s+all\s+20`, at("person list")...)
	if _, ok, err := d.Person(t.Context(), first); ok || err != nil {
		t.Errorf("a code that was replaced is somebody's: %v", err)
	}
	if p, ok, err := d.Person(t.Context(), strings.ToLower(second)); !ok || err != nil || p.Name != "Ana" || p.Association != "" {
		t.Errorf("the code is that of %+v, %v, %v", p, ok, err)
	}
	typed(0, `^$`, at("person remove", "Ana")...)
	typed(cli.Failed, `nobody`, at("person remove", "Ana")...)
	if _, ok, err := d.Person(t.Context(), second); ok || err != nil {
		t.Errorf("the code of somebody who was removed works: %v", err)
	}

	typed(cli.Failed, `more than 1024 bytes`, at("command send", name, file(strings.Repeat("x", protocol.MaxCommand+1)))...)
	typed(cli.Misuse, `no member`, at("command send", "aaaaaaaaaa", file("pause"))...)
	typed(0, `^$`, at("command send", name, file("pause"))...)
	typed(0, `^$`, at("box revoke", name)...)
	eventually(t, "the box is cut off", func() bool { return b.Status().Revoked })
	typed(0, name+`\s+lilas\s+revoked`, at("box list")...)
	typed(cli.Misuse, `no member`, at("command send", name, file("pause"))...)
	typed(0, `(?s)ana\s+add association\s+lilas\s+nord.*ana\s+confirm box\s+`+name+`.*ana\s+send command\s+`+name+`\s+pause.*ana\s+revoke box\s+`+name, at("audit")...)
}

// TestRollout: a roll-out is begun from the command line, and a box reads each stage through the hub, signed by the key that "rollout key"
// shows. Each change is in the audit, and survives a restart of the hub.
func TestRollout(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	stop := w.inside(0)
	d := w.desk(0)
	w.association(d, "lilas", "")
	typed := func(want int, pattern string, words ...string) string {
		t.Helper()
		var out bytes.Buffer
		tl := &tool{out: &out, err: &out, now: w.clock.now}
		if code := tl.main(words); code != want || !regexp.MustCompile(pattern).Match(out.Bytes()) {
			t.Errorf("%q: exit %d, want %d and %q:\n%s", words, code, want, pattern, &out)
		}
		return out.String()
	}
	at := []string{"--dir", w.dirs[0], "--as", "ana"}
	release := rollout.Hash{7}
	begin := func(version, sum string) []string {
		return append(append([]string{"rollout", "begin"}, at...), version, sum)
	}
	key := strings.TrimSpace(typed(0, `^\S{43}\n$`, "rollout", "key", "--dir", w.dirs[0]))
	typed(0, `MANIFEST\n$`, "rollout", "show", "--dir", w.dirs[0])
	typed(cli.Misuse, `no SHA-256`, begin("1.3.0", "x")...)
	typed(cli.Failed, `no version`, begin("new", release.String())...)
	typed(0, `^$`, begin("1.3.0", release.String())...)
	typed(cli.Failed, `goes on`, begin("1.4.0", release.String())...)
	typed(0, `1\.3\.0\s+10\s+going\s+20.*ana\s+07`, "rollout", "show", "--dir", w.dirs[0])

	b := w.box(quick)
	var heard []byte
	b.locked(func() {
		b.fetch = func(ctx context.Context, s fleet.Source) {
			text, err := s.Read(ctx, rollout.File, rollout.Limit)
			if err != nil {
				return // the connection ended
			}
			b.locked(func() { heard = text })
		}
	})
	var last int64
	stage := func(permille int, halted bool) {
		t.Helper()
		var got rollout.Stage
		eventually(t, "the box has the stage", func() (ok bool) {
			b.locked(func() {
				s, err := rollout.Open(heard, key)
				got, ok = s, err == nil && s.Permille == permille && s.Halted == halted
			})
			return ok
		})
		if got.Release != release || got.Number <= last {
			t.Errorf("it is %+v, after number %d", got, last)
		}
		last = got.Number
	}
	b.enrol(d, "lilas")
	stage(10, false)
	act := func(a stages.Action) {
		t.Helper()
		if err := d.ChangeRollout(t.Context(), "ana", string(a)+" roll-out", func(r *registry.Rollout) (err error) {
			*r, err = stages.Act(*r, a, r.Number, stages.Counts{}, w.clock.now())
			return err
		}); err != nil {
			t.Error(err)
		}
	}
	act(stages.Raise)
	stage(100, false)
	act(stages.Halt)
	stage(100, true)
	typed(0, `(?s)ana\s+begin roll-out\s+1\.3\.0\s+10 of 1000.*raise roll-out.*halt roll-out\s+1\.3\.0\s+100 of 1000, halted`, append([]string{"audit"}, "--dir", w.dirs[0])...)

	stop()
	w.inside(0)
	if r, ok, err := w.desk(0).Rollout(t.Context()); err != nil || !ok || r.Phase != registry.Halted || r.Number != last {
		t.Errorf("after the hub was away it is %+v, %t, %v", r, ok, err)
	}
}

// TestRepository: a box reads the signed files of a repository through the hub, but not the staged ones.
func TestRepository(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.inside(0)
	d := w.desk(0)
	w.association(d, "lilas", "")
	pack := bytes.Repeat([]byte("passerelle"), 20_000) // four chunks
	repository := t.TempDir()
	for name, body := range map[string][]byte{"metadata/root.json": []byte("root"), "targets/packs/lilas/a.zip": pack, "targets/empty": nil, "staged/root.json": []byte("x")} {
		file := filepath.Join(repository, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put := func() { w.typed(0, "", "repository", "put", "--dir", w.dirs[0], "--as", "ana", repository) }
	put()
	b := w.box(quick)
	done := make(chan struct{})
	b.locked(func() {
		b.fetch = func(ctx context.Context, s fleet.Source) {
			b.locked(func() { b.fetch = nil })
			defer close(done)
			if text, err := s.Read(ctx, "metadata/root.json", 100); err != nil || string(text) != "root" {
				t.Errorf("root.json is %q, %v", text, err)
			}
			if text, err := s.Read(ctx, "targets/packs/lilas/a.zip", int64(len(pack))); err != nil || sha256.Sum256(text) != sha256.Sum256(pack) {
				t.Errorf("the pack has %d bytes, %v", len(text), err)
			}
			if text, err := s.Read(ctx, "targets/empty", 0); err != nil || len(text) != 0 {
				t.Errorf("the empty file is %q, %v", text, err)
			}
			if _, err := s.Read(ctx, "targets/packs/lilas/a.zip", int64(len(pack)-1)); err == nil {
				t.Error("a file that is longer than its signed size is read")
			}
			if _, err := s.Read(ctx, "staged/root.json", 100); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a staged file: %v", err)
			}
		}
	})
	b.enrol(d, "lilas")
	<-done

	// Publish again: targets that the hub has are not written again, and a damaged one is replaced.
	m := b.membership()
	c := w.connect(b.Status().Box, m.Token, m.Seed)
	has := func(name string, chunk int) (body string, sequence string) {
		t.Helper()
		m, err := c.Request(protocol.DirectGet(protocol.StreamPack, protocol.SubjectPack(name, chunk)), nil, waitFor)
		if err != nil {
			t.Fatal(err)
		}
		return string(m.Data), m.Header.Get(protocol.HeaderSequence)
	}
	_, empty := has("targets/empty", 0)
	_, root := has("metadata/root.json", 0)
	if _, err := d.PutFile(t.Context(), "targets/packs/lilas/a.zip", bytes.ToUpper(pack)); err != nil {
		t.Fatal(err)
	}
	put()
	if _, now := has("targets/empty", 0); now != empty {
		t.Error("a target that the hub has is written again")
	}
	if _, now := has("metadata/root.json", 0); now == root {
		t.Error("metadata is not written again")
	}
	for i := range 4 {
		if body, _ := has("targets/packs/lilas/a.zip", i); body != string(pack[i*protocol.ChunkSize:min(len(pack), (i+1)*protocol.ChunkSize)]) {
			t.Errorf("chunk %d is still another one", i)
		}
	}
}

// TestPublished: the files of a release come first, in the order in which a box reads them, then other targets, then metadata.
func TestPublished(t *testing.T) {
	t.Parallel()
	p := newPeople(t)
	first := system{noise(1, 700_000), noise(2, 100_000)}
	p.release("1.0.0", first, nil)
	p.release("1.1.0", first.month(), []pack.Old{{Root: first.root}})
	if err := p.WriteHashed("more", sha256.Sum256([]byte("more")), []byte("more")); err != nil {
		t.Fatal(err)
	}
	names, err := published(p.Dir)
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]int{}
	for i, name := range names {
		if _, twice := at[name]; twice {
			t.Errorf("%s comes twice", name)
		}
		at[name] = i
	}
	count := 0
	for _, sub := range []string{trust.TargetsFolder, trust.MetadataFolder} {
		if err := filepath.WalkDir(filepath.Join(p.Dir, sub), func(file string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				count++
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if len(names) != count {
		t.Errorf("%d names of %d files", len(names), count)
	}
	last := -1
	for _, part := range [][]byte{first.root, first.boot} {
		if err := plan.Cut(bytes.NewReader(part), func(c plan.Chunk, _ int64, _ []byte) error {
			if now := at[trust.Hashed(plan.ChunkFolder, c.SHA256)]; now > last {
				last = now
			} else {
				t.Errorf("a chunk comes at %d, after that at %d", now, last)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range names {
		if metadata := strings.HasPrefix(name, trust.MetadataFolder+"/"); metadata != (i >= at["metadata/1.root.json"]) {
			t.Errorf("%s comes at %d", name, i)
		}
	}
}
