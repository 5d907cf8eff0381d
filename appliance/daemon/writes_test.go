package daemon

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"passerelle/appliance/config"
	"passerelle/appliance/fleet"
	"passerelle/appliance/fleet/report"
	"passerelle/appliance/fleet/repository"
	"passerelle/appliance/fleet/trust"
	"passerelle/appliance/private"
	"passerelle/captive/places/directory"
	"passerelle/captive/places/needs"
	"passerelle/captive/records"
	"passerelle/captive/tutorials/lessons"
	"passerelle/captive/voice/agenda"
	"passerelle/captive/web"
	"passerelle/image/slot"
	"passerelle/image/update"
	"passerelle/image/update/plan"
	"passerelle/netctl/netlab/labtest"
)

// writer writes one of the box's files into a folder, with a word as its content. read returns the word, and an error if the file is
// incomplete. The ledger, backups and sticks have tests of their own, which go further.
type writer struct {
	write func(dir, word string) error
	read  func(dir string) (word string, err error)
}

// The words that writers write.
const (
	oldWord = "Glycine"
	newWord = "Capucine"
)

// wordIn returns which of the words a file has.
func wordIn(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	for _, word := range []string{oldWord, newWord} {
		if bytes.Contains(text, []byte(word)) {
			return word, nil
		}
	}
	return "", fmt.Errorf("%s has neither word: %.80q", path, text)
}

// source makes a file to import, beside the folder and outside of what is watched.
func source(dir, name, text string) (path string, err error) {
	path = filepath.Join(filepath.Dir(dir), "sources", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, []byte(text), 0o600)
}

func inFile(name string) func(dir string) (string, error) {
	return func(dir string) (string, error) { return wordIn(filepath.Join(dir, name)) }
}

func noon() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) }

// writers are all writers of the box's files, except those that have tests of their own.
var writers = map[string]writer{
	"a file": {
		func(dir, word string) error {
			return private.WriteFile(filepath.Join(dir, "file"), []byte(word), 0o600)
		}, inFile("file"),
	},
	"a file and the one before": {
		func(dir, word string) error {
			return private.ReplaceFile(filepath.Join(dir, "file"), filepath.Join(dir, "before"), []byte(word), 0o600)
		}, inFile("file"),
	},
	"records": {
		func(dir, word string) error {
			_, err := records.File[string]{Path: filepath.Join(dir, "records.json"), Version: 1}.Update(func(s *string) error {
				*s = word
				return nil
			})
			return err
		},
		func(dir string) (string, error) {
			return records.File[string]{Path: filepath.Join(dir, "records.json"), Version: 1}.Read()
		},
	},
	"the configuration": {
		func(dir, word string) error {
			file := config.File{Path: filepath.Join(dir, "box.toml")}
			_, revision, err := file.Read()
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			_, err = file.Save([]byte(strings.Replace(oneLine, "Centre social des Lilas", word, 1)), revision)
			return err
		},
		func(dir string) (string, error) {
			c, err := config.File{Path: filepath.Join(dir, "box.toml")}.Load()
			if err != nil {
				return "", err
			}
			return c.Box.Name, nil
		},
	},
	"a version of the configuration": {
		func(dir, word string) error {
			return config.History{Dir: dir}.Add(config.Version{Revision: config.RevisionOf([]byte(word)), Replaced: noon()}, []byte(word))
		},
		func(dir string) (string, error) {
			all, err := config.History{Dir: dir}.Versions()
			if err != nil || len(all) == 0 {
				return "", fmt.Errorf("%d versions, %w", len(all), err)
			}
			text, err := config.History{Dir: dir}.Text(all[0].Revision)
			return string(text), err
		},
	},
	"an accepted configuration": {
		func(dir, word string) error {
			d := &Daemon{paths: paths{state: dir}, log: slog.New(slog.DiscardHandler)}
			d.release = word
			return d.accept(config.Factory())
		}, inFile(filepath.Join(acceptedFolder, acceptedLast)),
	},
	"a change that waits to be confirmed": {
		func(dir, word string) error { return newPending(dir).write(unconfirmed{Before: []byte(word)}) },
		func(dir string) (string, error) {
			u, err := newPending(dir).read()
			return string(u.Before), err
		},
	},
	"its end": {
		func(dir, word string) error {
			p := newPending(dir)
			if word == newWord {
				return p.end()
			}
			return p.write(unconfirmed{Before: []byte(word)})
		},
		func(dir string) (string, error) {
			u, err := newPending(dir).read()
			if errors.Is(err, fs.ErrNotExist) {
				return newWord, nil
			}
			return string(u.Before), err
		},
	},
	"a copy of the configuration": {
		func(dir, word string) error {
			path := filepath.Join(dir, "copy")
			if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
				return private.WriteFile(path, []byte(word), 0o600)
			}
			return rewriteFile(path, func([]byte) ([]byte, error) { return []byte(word), nil })
		}, inFile("copy"),
	},
	"the rules of needs": {
		func(dir, word string) error {
			text, err := os.ReadFile("../../captive/places/needs/rules.toml")
			if err != nil {
				return err
			}
			path, err := source(dir, needs.File, strings.Replace(string(text), "De quoi avez-vous besoin", word, 1))
			if err != nil {
				return err
			}
			_, err = needs.Install(dir, path, needs.Known{}, "")
			return err
		},
		func(dir string) (string, error) {
			path := filepath.Join(dir, needs.File)
			if _, err := needs.Read(path, needs.Known{}); err != nil {
				return "", err
			}
			return wordIn(path)
		},
	},
	"a calendar": {
		func(dir, word string) error {
			text := "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART:20261202T140000Z\r\nSUMMARY:" + word + "\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
			_, err := agenda.Store{Dir: dir}.Import(strings.NewReader(text), "lilas", "")
			return err
		},
		func(dir string) (string, error) {
			events, problems := agenda.Store{Dir: dir}.Events()
			if len(events) != 1 || len(problems) > 0 {
				return "", fmt.Errorf("%d events, %w", len(events), errors.Join(problems...))
			}
			return events[0].Title, nil
		},
	},
	"a list of places": {
		func(dir, word string) error {
			path, err := source(dir, "list.csv", "id,nom,commune,code_postal,adresse\nl-1,"+word+",Valfleury,12000,3 rue des Lilas\n")
			if err != nil {
				return err
			}
			_, err = directory.Importer{Dir: dir, Now: noon, Yes: true}.Import(context.Background(), path, "liste")
			return err
		},
		func(dir string) (string, error) {
			d, problems := directory.Open(dir)
			if len(problems) > 0 {
				return "", errors.Join(problems...)
			}
			if err := d.Close(); err != nil {
				return "", err
			}
			all, err := filepath.Glob(filepath.Join(dir, "liste.*"))
			if err != nil || len(all) == 0 {
				return "", fmt.Errorf("no list: %w", err)
			}
			slices.Sort(all)
			return wordIn(all[0])
		},
	},
	"a pack": {
		func(dir, word string) error {
			path, err := source(dir, "livret/index.html", "<!doctype html><html lang=fr><title>"+word+"</title><p>"+word+"</p></html>")
			if err != nil {
				return err
			}
			_, err = lessons.Importer{
				Dir: dir, MaxSize: 1 << 20, Now: noon, Progress: func(int64, int64) {},
			}.Import(context.Background(), filepath.Dir(path), "livret")
			return err
		}, inFile("livret/index.html"),
	},
	"the certificate": {
		func(dir, word string) error {
			c := web.Certificate{
				Path: filepath.Join(dir, "certificate.pem"), Now: noon, Log: slog.New(slog.DiscardHandler),
				Site: func() (string, netip.Addr) { return word + ".internal", netip.MustParseAddr("10.80.0.1") },
			}
			if _, err := c.Fingerprint(); err != nil {
				return err
			}
			// Without room the box goes on with a certificate that is only in memory.
			if kept, err := certificateWord(dir); err != nil || kept != word {
				return fmt.Errorf("the certificate of %q is there, %w", kept, err)
			}
			return nil
		}, certificateWord,
	},
	"the last day of the trust": {
		func(dir, word string) error {
			root, err := firstRoot()
			if err != nil {
				return err
			}
			_, err = trust.Open(trust.Options{Dir: dir, Root: root, Clock: trust.Clock{
				Built: noon(), Now: func() (time.Time, bool) { return wordDays[word], true },
			}})
			return err
		}, inTextOf("last", map[string]string{
			oldWord: wordDays[oldWord].Format(time.DateOnly), newWord: wordDays[newWord].Format(time.DateOnly),
		}),
	},
	"the membership of a fleet": {
		func(dir, word string) error {
			c, err := fleet.New(fleet.Options{Dir: dir})
			if err != nil {
				return err
			}
			return c.Enrol(wordCodes[word])
		}, inTextOf("membership.json", wordCodes),
	},
	"the end of a membership": {
		func(dir, word string) error {
			c, err := fleet.New(fleet.Options{Dir: dir})
			if err != nil {
				return err
			}
			if word == newWord {
				return c.Leave()
			}
			return c.Enrol(wordCodes[word])
		},
		func(dir string) (string, error) {
			c, err := fleet.New(fleet.Options{Dir: dir})
			if err != nil {
				return "", err
			}
			if c.Status().Stage == fleet.Alone {
				return newWord, nil
			}
			return oldWord, nil
		},
	},
	"a report": {
		func(dir, word string) error {
			return report.Days{Dir: dir}.Keep(report.Report{Form: report.Form, Day: "2026-12-01", State: report.Unknown, Sessions: wordCounts[word]})
		},
		func(dir string) (string, error) {
			text, err := report.Days{Dir: dir}.Text("2026-12-01")
			if err != nil {
				return "", err
			}
			r, err := report.Parse(text)
			for word, n := range wordCounts {
				if r.Sessions == n {
					return word, err
				}
			}
			return "", fmt.Errorf("it has %d sessions, %w", r.Sessions, err)
		},
	},
	"the record of updates": {
		func(dir, word string) error {
			var r update.Record
			r.Install(slot.A, plan.Manifest{Version: word}, update.Staged{})
			return r.Write(dir)
		},
		func(dir string) (string, error) {
			r, err := update.ReadRecord(dir)
			return r.Slots[slot.A].Version, err
		},
	},
	"what a system on trial says": {
		func(dir, word string) error { return update.Trial{Slot: slot.A, Why: word}.Write(dir) },
		func(dir string) (string, error) {
			t, err := update.ReadTrial(dir)
			return t.Why, err
		},
	},
}

// Values that stand for the words in files that cannot contain them.
var (
	wordDays  = map[string]time.Time{oldWord: noon().AddDate(0, 0, 1), newWord: noon().AddDate(0, 0, 2)}
	wordCodes = map[string]string{oldWord: "7K2QX0M4TW", newWord: "7K2QX0M4TX"}
	// Multiples of five, since a report counts in steps of five.
	wordCounts = map[string]report.Count{oldWord: 5, newWord: 10}
)

// inTextOf returns the word for which a file has its text.
func inTextOf(name string, texts map[string]string) func(dir string) (string, error) {
	return func(dir string) (string, error) {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return "", err
		}
		for word, its := range texts {
			if bytes.Contains(text, []byte(its)) {
				return word, nil
			}
		}
		return "", fmt.Errorf("%s has no word's text: %.80q", name, text)
	}
}

// certificateWord returns which word's name the certificate has.
func certificateWord(dir string) (string, error) {
	path := filepath.Join(dir, "certificate.pem")
	pair, err := tls.LoadX509KeyPair(path, path)
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(pair.Leaf.Subject.CommonName, ".internal"), nil
}

// firstRoot returns the root that a program would be built with.
var firstRoot = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "passerelle-root-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var keys []repository.Key
	var public []repository.PublicKey
	for range 7 {
		k, err := repository.NewKey()
		if err != nil {
			return nil, err
		}
		keys, public = append(keys, k), append(public, k.PublicKey)
	}
	r := repository.Repository{Dir: dir}
	err = r.StageRoot(repository.Keys{Root: public[:3], Release: public[3:6], Hub: public[6:]}, noon())
	for _, k := range keys[:repository.Threshold] {
		if err == nil {
			err = r.Sign(repository.Root, k)
		}
	}
	if err == nil {
		_, err = r.Publish()
	}
	if err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(dir, trust.MetadataFolder, "1.root.json"))
})

// filesIn returns the names of the files in a folder, below it too.
func filesIn(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			all = append(all, strings.TrimPrefix(path, dir))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (w writer) must(t *testing.T, dir, word string) {
	t.Helper()
	if err := w.write(dir, word); err != nil {
		t.Fatalf("%s: %v", word, err)
	}
	if got, err := w.read(dir); got != word || err != nil {
		t.Fatalf("%q is there, want %q: %v", got, word, err)
	}
}

// TestWritesOnAFullDisk: whatever room the disk has, either the old file stays complete and there is an error, or the new file is
// there. With room again, everything is as if the disk had never been full.
func TestWritesOnAFullDisk(t *testing.T) {
	labtest.Root(t)
	for name, w := range writers {
		if name == "a pack" {
			continue // this writer leaves 100 MB free: it refuses before it writes
		}
		t.Run(name, func(t *testing.T) {
			fine := t.TempDir()
			w.must(t, fine, oldWord)
			w.must(t, fine, newWord)
			want := filesIn(t, fine)
			written := 0
			for room := 0; written < 3; room++ {
				if room > 64 {
					t.Fatal("it is never written")
				}
				top := filepath.Join(t.TempDir(), "disk")
				if err := errors.Join(os.Mkdir(top, 0o700), unix.Mount("tmpfs", top, "tmpfs", 0, "size=512k,mode=700")); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := unix.Unmount(top, unix.MNT_DETACH); err != nil {
						t.Error(err)
					}
				})
				w.must(t, top, oldWord)
				filler := filepath.Join(top, "filler")
				fill(t, filler, room)
				err := w.write(top, newWord)
				got, readErr := w.read(top)
				if readErr != nil {
					t.Fatalf("with %d pages, %v: what is there is not whole: %v", room, err, readErr)
				}
				if err == nil && got != newWord || err != nil && got != oldWord {
					t.Errorf("with %d pages, %v: %q is there", room, err, got)
				}
				if err == nil {
					written++
				}
				if err := os.Remove(filler); err != nil {
					t.Fatal(err)
				}
				w.must(t, top, newWord)
				if got := filesIn(t, top); !slices.Equal(got, want) {
					t.Errorf("with %d pages, %v: there is %q, want %q", room, err, got, want)
				}
			}
		})
	}
}

// Variables of the environment for the child of TestPowerCuts.
const (
	childWriter = "PASSERELLE_TEST_WRITER"
	childFolder = "PASSERELLE_TEST_FOLDER"
)

// TestPowerCuts: each writer syncs its file to the disk before the file replaces another one, never changes a file in place, and syncs
// the folder before it returns. So a power cut at any moment leaves the old or the new file, complete, and what was acknowledged
// stays. The test follows the writer's system calls.
func TestPowerCuts(t *testing.T) {
	if name := os.Getenv(childWriter); name != "" {
		writers[name].must(t, os.Getenv(childFolder), newWord)
		return
	}
	labtest.Root(t, "strace")
	for _, name := range slices.Sorted(maps.Keys(writers)) {
		t.Run(name, func(t *testing.T) {
			dir, log := filepath.Join(t.TempDir(), "disk"), filepath.Join(t.TempDir(), "calls")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			w := writers[name]
			w.must(t, dir, oldWord)
			d := newDiskModel(dir, filesIn(t, dir))
			child := exec.CommandContext(t.Context(), "strace", "-f", "-y", "-s", "0", "-e", "signal=none", "-e", "trace="+
				"open,openat,write,pwrite64,ftruncate,fallocate,rename,renameat,renameat2,link,linkat,unlink,unlinkat,fsync,fdatasync,syncfs,sync",
				"-o", log, os.Args[0], "-test.run=^TestPowerCuts$")
			child.Env = append(os.Environ(), childWriter+"="+name, childFolder+"="+dir)
			if out, err := child.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			calls, err := os.Open(log)
			if err != nil {
				t.Fatal(err)
			}
			defer calls.Close()
			d.follow(t, calls)
			for _, fault := range d.end() {
				t.Error(fault)
			}
			if d.entries == 0 {
				t.Error("no call is seen by which it could have written")
			}
		})
	}
}

// diskModel tracks which parts of a folder are on the disk, from the system calls of a process.
type diskModel struct {
	dir     string
	was     map[string]bool   // files that were there before
	dirty   map[string]bool   // files whose content may not be on the disk
	folders map[string]string // folders whose entries may not be on the disk, and why
	entries int               // how often an entry changed
	faults  []string
}

func newDiskModel(dir string, files []string) *diskModel {
	d := &diskModel{dir: dir, was: map[string]bool{}, dirty: map[string]bool{}, folders: map[string]string{}}
	for _, name := range files {
		d.was[dir+name] = true
	}
	return d
}

func (d *diskModel) fault(format string, args ...any) {
	d.faults = append(d.faults, fmt.Sprintf(format, args...))
}

// Forms of strace's lines: a call that another thread's interrupts has two.
var (
	unfinishedCall = regexp.MustCompile(`^(\d+) +(\w+\(.*) <unfinished \.\.\.>$`)
	resumedCall    = regexp.MustCompile(`^(\d+) +<\.\.\. \w+ resumed>(.*)$`)
	wholeCall      = regexp.MustCompile(`^\d+ +(\w+)\((.*)\) += (-?\d+)`)
	quotedPath     = regexp.MustCompile(`(?:AT_FDCWD<[^>]*>|\d+<([^>]*)>|), ?"([^"]*)"|^"([^"]*)"`)
	fdPath         = regexp.MustCompile(`^\d+<([^>]*)>`)
)

// follow reads strace's lines.
func (d *diskModel) follow(t *testing.T, calls io.Reader) {
	t.Helper()
	begun := map[string]string{}
	lines := bufio.NewScanner(calls)
	for lines.Scan() {
		line := lines.Text()
		if m := unfinishedCall.FindStringSubmatch(line); m != nil {
			begun[m[1]] = m[2]
			continue
		}
		if m := resumedCall.FindStringSubmatch(line); m != nil {
			line = m[1] + " " + begun[m[1]] + m[2]
		}
		if m := wholeCall.FindStringSubmatch(line); m != nil && !strings.HasPrefix(m[3], "-") {
			d.call(m[1], m[2])
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

// within tells whether a path is in the folder.
func (d *diskModel) within(path string) bool { return strings.HasPrefix(path, d.dir+"/") }

// call records a system call that succeeded.
func (d *diskModel) call(name, args string) {
	var paths []string
	for _, m := range quotedPath.FindAllStringSubmatch(args, -1) {
		path := m[2] + m[3]
		if m[1] != "" && !filepath.IsAbs(path) {
			path = filepath.Join(m[1], path)
		}
		paths = append(paths, path)
	}
	of := ""
	if m := fdPath.FindStringSubmatch(args); m != nil {
		of = m[1]
	}
	entry := func(path string) {
		if d.within(path) {
			d.entries++
			d.folders[filepath.Dir(path)] = name + " " + path
		}
	}
	switch name {
	case "open", "openat":
		if d.was[paths[0]] && strings.Contains(args, "O_TRUNC") {
			d.fault("%s is cut in place", paths[0])
		}
	case "write", "pwrite64", "ftruncate", "fallocate":
		if !d.within(of) {
			return
		}
		if d.was[of] {
			d.fault("%s is changed in place", of)
		}
		d.dirty[of] = true
	case "fsync", "fdatasync":
		delete(d.dirty, of)
		delete(d.folders, of)
	case "syncfs", "sync":
		clear(d.dirty)
		clear(d.folders)
	case "rename", "renameat", "renameat2":
		from, to := paths[0], paths[1]
		if !d.within(to) {
			return
		}
		for path := range d.dirty {
			if path == from || strings.HasPrefix(path, from+"/") {
				d.fault("%s takes the place of %s before it is on the disk", path, to)
			}
		}
		d.was[to] = d.was[from]
		delete(d.was, from)
		entry(to)
	case "link", "linkat":
		entry(paths[1])
	case "unlink", "unlinkat":
		if d.was[paths[0]] {
			entry(paths[0])
		}
	}
}

// end returns the faults that were found.
func (d *diskModel) end() []string {
	for _, why := range d.folders {
		d.fault("it returns before the folder is on the disk: %s", why)
	}
	return d.faults
}

// TestDiskModel: the model finds each fault that it is meant to find.
func TestDiskModel(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what, calls string
		want        string // part of the fault's text; "" for none
	}{
		{"as it should be", `1 openat(AT_FDCWD</x>, "/d/.a1", O_RDWR|O_CREAT|O_EXCL, 0600) = 7</d/.a1>
1 write(7</d/.a1>, ""..., 4) = 4
1 fsync(7</d/.a1>) = 0
1 renameat(AT_FDCWD</x>, "/d/.a1", AT_FDCWD</x>, "/d/a") = 0
1 fsync(8</d>) = 0`, ""},
		{"no sync of the file", `1 write(7</d/.a1>, ""..., 4) = 4
1 renameat(AT_FDCWD</x>, "/d/.a1", AT_FDCWD</x>, "/d/a") = 0
1 fsync(8</d>) = 0`, "before it is on the disk"},
		{"a sync that fails", `1 write(7</d/.a1>, ""..., 4) = 4
1 fsync(7</d/.a1>) = -1 EIO (Input/output error)
1 renameat(AT_FDCWD</x>, "/d/.a1", AT_FDCWD</x>, "/d/a") = 0
1 fsync(8</d>) = 0`, "before it is on the disk"},
		{"no sync of the folder", `1 renameat(AT_FDCWD</x>, "/d/.a1", AT_FDCWD</x>, "/d/a") = 0`, "returns before"},
		{"the folder's sync is first", `1 fsync(8</d> <unfinished ...>
2 renameat(AT_FDCWD</x>, "/d/.a1", AT_FDCWD</x>, "/d/a" <unfinished ...>
1 <... fsync resumed>) = 0
2 <... renameat resumed>) = 0`, "returns before"},
		{"in place", `1 openat(AT_FDCWD</x>, "/d/a", O_WRONLY) = 7</d/a>
1 pwrite64(7</d/a>, ""..., 4, 0) = 4
1 fsync(7</d/a>) = 0`, "changed in place"},
		{"cut", `1 openat(AT_FDCWD</x>, "/d/a", O_WRONLY|O_CREAT|O_TRUNC, 0600) = 7</d/a>`, "cut in place"},
		{"removed", `1 unlinkat(AT_FDCWD</x>, "/d/a", 0) = 0`, "returns before"},
		{"somewhere else", `1 write(7</e/a>, ""..., 4) = 4
1 renameat(AT_FDCWD</x>, "/e/.a1", AT_FDCWD</x>, "/e/a") = 0`, ""},
	} {
		d := newDiskModel("/d", []string{"/a"})
		d.follow(t, strings.NewReader(c.calls))
		got := strings.Join(d.end(), "\n")
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}
