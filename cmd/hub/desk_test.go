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
)

// TestCommands: what the people of a fleet type, on one hub, from an association to a box that is revoked.
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

	typed(exitUsage, `passerelle-hub runs a hub`)
	typed(0, `sticker make`, "help")
	typed(0, `cut a box off`, "box", "revoke", "-h")
	typed(exitUsage, `no command "box lost"`, "box", "lost")
	typed(exitUsage, `0 words instead of 1`, at("association add")...)
	typed(exitUsage, `no such file`, "status", "--dir", t.TempDir())
	typed(exitUsage, `a name has`, at("association add", "Les Lilas")...)
	typed(exitFailed, `there is no association "lilas"`, at("sticker make", "lilas")...)

	typed(0, `^$`, at("association add", "--region", "nord", "lilas")...)
	code := strings.TrimSpace(typed(0, `^[0-9A-Z]{5}-[0-9A-Z]{5}\n$`, at("sticker make", "lilas")...))
	typed(0, `^(\S{11}\n){3}$`, at("sticker make", "--count", "3", "--days", "7", "lilas")...)
	typed(exitUsage, `at least 1`, at("sticker make", "--count", "0", "lilas")...)
	typed(exitFailed, `no box`, at("box confirm", "aaaaaaaaaa", "a", "b", "c", "d")...)

	b := w.box(quick)
	if err := b.Enrol(code); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the box waits", func() bool { return b.Status().Stage == fleet.Waiting })
	name, words := b.Status().Box, b.Status().Words
	typed(0, name+`\s+lilas\s+waiting\s+-\s+`+strings.Join(words[:], " "), at("box list")...)
	typed(exitFailed, `somebody else's`, at("box confirm", name, words[3], "x", "y", "z")...)
	typed(0, `^$`, at("box confirm", name, strings.ToUpper(words[0]), words[1], words[2], words[3])...)
	eventually(t, "the box is a member", func() bool { return b.Status().Stage == fleet.Member })
	b.report(protocol.Done, "fine")
	b.delivered()
	typed(0, `lilas\s+nord\s+1\s+1\s+0\s+0\n`, at("status")...)
	typed(0, `UP\s+1\s+\d+\s+hub-1\s+1 of 1`, at("status")...)

	typed(0, `^$`, at("box place", name, "59", "Centre", "des", "Lilas")...)
	typed(exitFailed, `no département`, at("box place", name, "99")...)

	first := strings.TrimSpace(typed(0, `^[0-9A-Z]{5}-[0-9A-Z]{5}\n$`, at("person add", "--association", "lilas", "Ana")...))
	second := strings.TrimSpace(typed(0, `^[0-9A-Z]{5}-[0-9A-Z]{5}\n$`, at("person add", "Ana")...))
	typed(exitFailed, `no association`, at("person add", "--association", "roses", "Bo")...)
	typed(0, `Ana\s+all\s+20`, at("person list")...)
	if _, ok, err := d.Person(t.Context(), first); ok || err != nil {
		t.Errorf("a code that was replaced is somebody's: %v", err)
	}
	if p, ok, err := d.Person(t.Context(), strings.ToLower(second)); !ok || err != nil || p.Name != "Ana" || p.Association != "" {
		t.Errorf("the code is that of %+v, %v, %v", p, ok, err)
	}
	typed(0, `^$`, at("person remove", "Ana")...)
	typed(exitFailed, `nobody`, at("person remove", "Ana")...)
	if _, ok, err := d.Person(t.Context(), second); ok || err != nil {
		t.Errorf("the code of somebody who was removed works: %v", err)
	}

	typed(exitFailed, `more than 1024 bytes`, at("command send", name, file(strings.Repeat("x", protocol.MaxCommand+1)))...)
	typed(exitUsage, `no member`, at("command send", "aaaaaaaaaa", file("pause"))...)
	typed(0, `^$`, at("command send", name, file("pause"))...)
	typed(0, `^$`, at("box revoke", name)...)
	eventually(t, "the box is cut off", func() bool { return b.Status().Revoked })
	typed(0, name+`\s+lilas\s+revoked`, at("box list")...)
	typed(exitUsage, `no member`, at("command send", name, file("pause"))...)
	typed(0, `(?s)ana\s+add association\s+lilas\s+nord.*ana\s+confirm box\s+`+name+`.*ana\s+send command\s+`+name+`\s+pause.*ana\s+revoke box\s+`+name, at("audit")...)
}

// TestRepository: a box reads the signed files of a repository through the hub, those that are staged excepted.
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
	var out bytes.Buffer
	if code := (&tool{out: &out, err: &out, now: w.clock.now}).main([]string{"repository", "put", "--dir", w.dirs[0], "--as", "ana", repository}); code != 0 {
		t.Fatalf("%d, %s", code, &out)
	}
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
}
