package intake

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"passerelle/appliance/config"
	"passerelle/netctl/netlab/labtest"
)

const secret = "le mot de passe du voisin"

// valid is a configuration with a password, and with letters that are not ASCII.
const valid = `[box]
name = "Été à Sète"
[hotspot]
interface = "wlan0"
radio = "hostapd"
ssid = "Partage"
country = "FR"
address = "10.80.0.1/22"
[limits]
session = "2h"
download = "8mbit"
upload = "4mbit"
data = "500MB"
[[donation]]
name = "Téléphone"
interface = "wlan1"
download = "40mbit"
upload = "20mbit"
cap = "5GB"
wifi = { ssid = "Mairie", passphrase = "` + secret + `" }
`

// box is a box with its card. Folders stand for the partitions.
type box struct {
	Intake
	t         *testing.T
	file      string // of the configuration
	writable  bool
	remounts  int
	broken    error // the partition cannot be made writable
	log       strings.Builder
	put       int
	fromBoxes []string // configurations that were in place
}

func newBox(t *testing.T) *box {
	dir := t.TempDir()
	b := &box{t: t, file: filepath.Join(dir, "etc.toml")}
	b.Intake = Intake{
		FAT: filepath.Join(dir, "fat"), Note: filepath.Join(dir, "state", "dropped.json"),
		Writable: func() (func() error, error) {
			if b.broken != nil {
				return nil, b.broken
			}
			b.writable = true
			b.remounts++
			return func() error { b.writable = false; return nil }, nil
		},
		Put: func(text []byte) error {
			b.put++
			now, err := os.ReadFile(b.file)
			if err == nil && string(now) == string(text) {
				return nil
			}
			if err == nil {
				b.fromBoxes = append(b.fromBoxes, string(now))
			}
			return os.WriteFile(b.file, text, 0o600)
		},
		Misfits: func(*config.Config) []string { return nil },
		Log:     slog.New(slog.NewTextHandler(&b.log, nil)),
	}
	for _, folder := range []string{b.FAT, filepath.Dir(b.Note)} {
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func (b *box) drop(name, text string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.FAT, name), []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// card returns the names of the files on the partition, and all their text.
func (b *box) card() (names, text string) {
	b.t.Helper()
	entries, err := os.ReadDir(b.FAT)
	if err != nil {
		b.t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(b.FAT, e.Name()))
		if err != nil {
			b.t.Fatal(err)
		}
		all, text = append(all, e.Name()), text+string(content)
	}
	return strings.Join(all, " "), text
}

func (b *box) inPlace() string {
	text, err := os.ReadFile(b.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.t.Fatal(err)
	}
	return string(text)
}

// noteIsGone checks that nothing of a file that was taken is left in the state folder.
func (b *box) noteIsGone() {
	b.t.Helper()
	entries, err := os.ReadDir(filepath.Dir(b.Note))
	if err != nil || len(entries) > 0 {
		b.t.Errorf("the state folder has %v, %v", entries, err)
	}
}

func latin1(s string) string {
	var b []byte
	for _, r := range s {
		b = append(b, byte(r))
	}
	return string(b)
}

func utf16Of(s string) string {
	b := []byte("\xff\xfe")
	for _, u := range utf16.Encode([]rune(s)) {
		b = append(b, byte(u), byte(u>>8))
	}
	return string(b)
}

// TestTake checks that encodings and file names of various editors and file systems are understood, or refused with a reason. It
// also checks that the file is removed, and that no password is left.
func TestTake(t *testing.T) {
	t.Parallel()
	if strings.Count(valid, secret) != 1 || !strings.ContainsRune(valid, 'é') {
		t.Fatal("the example is another one")
	}
	wrong := strings.Replace(valid, "cap = \"5GB\"", "cap = \"5 potatoes\"", 1)
	for name, c := range map[string]struct {
		name, text string
		card       string   // the files afterwards
		says       []string // parts of their text
		ends       bool     // it is in place
	}{
		"as it should be": {"passerelle.toml", valid, "accepted.txt", []string{"Configuration acceptée.\r\n", "Configuration accepted.\r\n"}, true},
		"in capitals":     {"PASSERELLE.TOM", valid, "PASSERELLE.TOM", nil, false},
		"from an old FAT": {"PASSERELLE.TOML", valid, "accepted.txt", nil, true},
		"a hidden ending": {"Passerelle.toml.txt", valid, "accepted.txt", nil, true},
		"from Windows":    {"passerelle.toml", "\xef\xbb\xbf" + strings.ReplaceAll(valid, "\n", "\r\n"), "accepted.txt", nil, true},
		"Unicode":         {"passerelle.toml", utf16Of(valid), "accepted.txt", nil, true},
		"Latin-1":         {"passerelle.toml", latin1(valid), "passerelle-refused.toml refused.txt", []string{"Latin-1", "Téléphone", "********1"}, false},
		"a mistake":       {"passerelle.toml", wrong, "passerelle-refused.toml refused.txt", []string{"5 potatoes", "passerelle.toml:", "********1"}, false},
		"not TOML":        {"passerelle.toml", "[box\n" + valid, "passerelle-refused.toml refused.txt", []string{"passerelle.toml:2:", "********"}, false},
		"no password yet": {"passerelle.toml", strings.Replace(valid, secret, "********1", 1), "passerelle-refused.toml refused.txt", []string{"write the password"}, false},
		"empty":           {"passerelle.toml", "", "refused.txt", nil, false},
		"too large":       {"passerelle.toml", strings.Repeat("#", config.MaxFile+1), "refused.txt", []string{"it is no configuration"}, false},
		"a picture":       {"passerelle.toml", "\x89PNG\x00\x00" + secret, "refused.txt", []string{"no text"}, false},
		"something else":  {"passerelle.toml.bak", valid, "passerelle.toml.bak", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			b.drop(c.name, c.text)
			if err := b.Take(); err != nil {
				t.Fatal(err)
			}
			names, text := b.card()
			if names != c.card {
				t.Errorf("the card has %q, want %q", names, c.card)
			}
			for _, part := range c.says {
				if !strings.Contains(text, part) {
					t.Errorf("the card does not say %q:\n%s", part, text)
				}
			}
			if names != c.name && strings.Contains(text+b.log.String(), secret) {
				t.Errorf("the password is on the card, or in the log:\n%s%s", text, &b.log)
			}
			if got := b.inPlace(); got != map[bool]string{true: valid}[c.ends] {
				t.Errorf("in place is %q", got)
			}
			b.noteIsGone()
			if b.writable || b.remounts > 1 {
				t.Errorf("the partition was made writable %d times, and is so now: %t", b.remounts, b.writable)
			}
			before := b.remounts
			if err := b.Take(); err != nil || b.remounts != before {
				t.Errorf("without a file the partition is made writable, %v", err)
			}
		})
	}
}

// TestAnswers checks that the answer belongs to the last file, and contains remarks.
func TestAnswers(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	for _, step := range []struct{ text, card string }{
		{"rubbish", "passerelle-refused.toml refused.txt"}, {valid, "accepted.txt"}, {valid, "accepted.txt"},
		{"\x00", "refused.txt"}, {"rubbish", "passerelle-refused.toml refused.txt"},
	} {
		b.drop("passerelle.toml", step.text)
		if err := b.Take(); err != nil {
			t.Fatal(err)
		}
		if names, _ := b.card(); names != step.card {
			t.Errorf("after %.20q the card has %q, want %q", step.text, names, step.card)
		}
	}
	if len(b.fromBoxes) != 0 {
		t.Errorf("the same file twice was a change")
	}
	b.Misfits = func(*config.Config) []string { return []string{"no interface wlan1", "no radio"} }
	b.drop("passerelle.toml", valid)
	if err := b.Take(); err != nil {
		t.Fatal(err)
	}
	if _, text := b.card(); !strings.Contains(text, "\r\n  no interface wlan1\r\n  no radio\r\n") {
		t.Errorf("the remarks are not in %s", text)
	}
}

var errCut = errors.New("the power was cut")

// TestPowerCut checks that a power cut after any step, and then another one, does not change the result.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	earlier := strings.Replace(valid, "5GB", "6GB", 1)
	for _, text := range []string{valid, strings.Replace(valid, "5GB", "5 potatoes", 1)} {
		want := newBox(t)
		var steps []string
		want.step = func(done string) error { steps = append(steps, done); return nil }
		if err := os.WriteFile(want.file, []byte(earlier), 0o600); err != nil {
			t.Fatal(err)
		}
		want.drop("passerelle.toml", text)
		if err := want.Take(); err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(steps, "remove") || len(steps) < 5 {
			t.Fatalf("steps %q", steps)
		}
		for first := range steps {
			for second := range steps {
				b := newBox(t)
				if err := os.WriteFile(b.file, []byte(earlier), 0o600); err != nil {
					t.Fatal(err)
				}
				b.drop("passerelle.toml", text)
				for _, cut := range []int{first, second, -1} {
					n := 0
					b.step = func(string) error {
						if n++; n-1 == cut {
							return errCut
						}
						return nil
					}
					if err := b.Take(); err != nil && !errors.Is(err, errCut) {
						t.Fatal(err)
					}
				}
				wantNames, wantText := want.card()
				if names, all := b.card(); names != wantNames || all != wantText || b.inPlace() != want.inPlace() ||
					!cmp.Equal(b.fromBoxes, want.fromBoxes) {
					t.Errorf("cuts after %s and %s: the card has %q, want %q; %d versions", steps[first], steps[second], names, wantNames, len(b.fromBoxes))
				}
				b.noteIsGone()
			}
		}
	}
}

// TestOverwritten checks that a PC that looks for removed files cannot recover a dropped file's content, even after a power cut.
func TestOverwritten(t *testing.T) {
	t.Parallel()
	for _, cut := range []string{"", "rename", "overwrite"} {
		b := newBox(t)
		b.drop("passerelle.toml", valid)
		dropped, err := os.Open(filepath.Join(b.FAT, "passerelle.toml"))
		if err != nil {
			t.Fatal(err)
		}
		defer dropped.Close()
		happened := false
		b.step = func(done string) error {
			if done != cut || happened {
				return nil
			}
			happened = true
			return errCut
		}
		for range 2 {
			if err := b.Take(); err != nil && !errors.Is(err, errCut) {
				t.Fatal(err)
			}
		}
		content, err := io.ReadAll(dropped)
		if happened != (cut != "") || err != nil || len(content) != len(valid) || strings.Trim(string(content), "\x00") != "" {
			t.Errorf("a cut after %q: the removed file has %q, %v", cut, content, err)
		}
	}
}

// TestCardThatCannotBeWritten checks that the configuration is taken only once, so that it does not overwrite later changes, and
// that the file is removed as soon as possible. A file that cannot be read changes nothing.
func TestCardThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.drop("passerelle.toml", valid)
	b.broken = unix.EROFS
	for range 3 {
		if err := b.Take(); !errors.Is(err, unix.EROFS) {
			t.Fatal(err)
		}
		if b.put != 1 {
			t.Fatalf("it was put in place %d times", b.put)
		}
		if err := os.WriteFile(b.file, []byte("# changed on the pages\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.drop("passerelle.toml", strings.Replace(valid, "5GB", "7GB", 1)) // as at a PC
	if err := b.Take(); !errors.Is(err, unix.EROFS) || !strings.Contains(b.inPlace(), "7GB") {
		t.Fatalf("another file is not taken: %v", err)
	}
	b.broken = nil
	if err := b.Take(); err != nil {
		t.Fatal(err)
	}
	if names, _ := b.card(); names != "accepted.txt" || b.put != 2 {
		t.Errorf("the card has %q", names)
	}
	b.noteIsGone()

	if err := os.RemoveAll(b.FAT); err != nil {
		t.Fatal(err)
	}
	if err := b.Take(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no partition: %v", err)
	}
	full := newBox(t)
	full.drop("passerelle.toml", valid)
	full.Put = func([]byte) error { return unix.ENOSPC }
	if err := full.Take(); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a state folder without room: %v", err)
	}
	if names, _ := full.card(); names != "passerelle.toml" {
		t.Errorf("a file that could not be taken is gone: the card has %q", names)
	}
}

// TestSetCode checks that the file exists exactly as long as the code is unused, and that the partition is written only for a change.
func TestSetCode(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	for _, step := range []struct {
		code, card string
		remounts   int
	}{{"", "", 0}, {"7K2M-0XYZ", "code.txt", 1}, {"7K2M-0XYZ", "code.txt", 1}, {"AAAA-BBBB", "code.txt", 2}, {"", "", 3}, {"", "", 3}} {
		if err := b.SetCode(step.code, "https://partage.internal/admin/"); err != nil {
			t.Fatal(err)
		}
		names, text := b.card()
		if names != step.card || b.remounts != step.remounts || !strings.Contains(text, step.code) {
			t.Errorf("%+v: %q after %d changes", step, names, b.remounts)
		}
	}
}

// TestRemount checks that a partition that is mounted read-only becomes writable until restore, and keeps its other options. A
// folder that is not a mount point stays as it is.
func TestRemount(t *testing.T) {
	labtest.Root(t)
	dir := t.TempDir()
	restore, err := Remount(dir)
	if err := errors.Join(err, restore()); err != nil {
		t.Fatal(err)
	}
	if _, err := Remount(filepath.Join(dir, "nowhere")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_RDONLY|unix.MS_NOEXEC|unix.MS_NODEV|unix.MS_NOSUID, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	flags := func() string {
		var s unix.Statfs_t
		if err := unix.Statfs(dir, &s); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%b", s.Flags)
	}
	before := flags()
	restore, err = Remount(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err != nil {
		t.Error(err)
	}
	if err := restore(); err != nil {
		t.Fatal(err)
	}
	if after := flags(); after != before {
		t.Errorf("the flags were %s, and are %s", before, after)
	}
	if err := os.WriteFile(filepath.Join(dir, "y"), nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("afterwards it is still writable: %v", err)
	}
}

// FuzzDecode checks that any file is either decoded to text that TOML may be, or refused with a reason.
func FuzzDecode(f *testing.F) {
	for _, text := range []string{"", valid, "\xff\xfeb", "\xef\xbb\xbfa\r\nb\r", latin1("é"), "\xfe\xff\xd8\x00"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		text, wrong := decode(raw)
		if wrong == "" && (invalid(text) >= 0 || strings.ContainsAny(string(text), "\r\x00")) {
			t.Errorf("%q becomes %q", raw, text)
		}
		if text != nil && invalid(text) >= 0 {
			t.Errorf("%q becomes %q", raw, text)
		}
	})
}
