package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// newTestFile writes the example to a file, and returns its text and revision.
func newTestFile(t *testing.T) (f File, text []byte, r Revision) {
	t.Helper()
	f = File{filepath.Join(t.TempDir(), "passerelle.toml")}
	if err := os.WriteFile(f.Path, Example(), 0o640); err != nil {
		t.Fatal(err)
	}
	text, r, err := f.Read()
	if err != nil {
		t.Fatal(err)
	}
	return f, text, r
}

func named(text []byte, name string) []byte {
	return bytes.Replace(text, []byte("Centre social des Lilas"), []byte(name), 1)
}

// TestSecondWriter: of two changes to the same text, one is written, and the other one gets ErrChanged.
func TestSecondWriter(t *testing.T) {
	t.Parallel()
	f, text, r := newTestFile(t)
	if c, err := f.Save(named(text, "Premier"), r); err != nil || c.Box.Name != "Premier" {
		t.Fatalf("%+v, %v", c, err)
	}
	if _, err := f.Save(named(text, "Second"), r); !errors.Is(err, ErrChanged) {
		t.Errorf("the second writer gets %v", err)
	}
	now, again, err := f.Read()
	if err != nil || !bytes.Equal(now, named(text, "Premier")) || again == r {
		t.Errorf("the file is %s, revision %s, %v", now, again, err)
	}
}

// TestSaveOfTheSame: saving the same text validates it, but writes nothing, so that it works on a read-only disk.
func TestSaveOfTheSame(t *testing.T) {
	t.Parallel()
	f, text, r := newTestFile(t)
	before, err := os.Stat(f.Path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Save(text, r); err != nil {
		t.Error(err)
	}
	if _, err := f.Save(text, RevisionOf([]byte("older"))); !errors.Is(err, ErrChanged) {
		t.Errorf("with another revision: %v", err)
	}
	if after, err := os.Stat(f.Path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was written: %v", err)
	}
}

// TestSaveCreates: without a file the revision is "", and only one of several writers creates the file. Others can read the file only if
// it has no lender's password.
func TestSaveCreates(t *testing.T) {
	t.Parallel()
	f := File{filepath.Join(t.TempDir(), "passerelle.toml")}
	if _, err := f.Save(Example(), RevisionOf(Example())); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("with a revision: %v", err)
	}
	if _, err := f.Save([]byte("[box]"), ""); err == nil {
		t.Error("a text that is not valid is written")
	}
	var created, refused atomic.Int32
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			switch _, err := f.Save(Example(), ""); {
			case err == nil:
				created.Add(1)
			case errors.Is(err, ErrChanged):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	group.Wait()
	if created.Load() != 1 || refused.Load() != 7 {
		t.Errorf("%d writers created it, %d were refused", created.Load(), refused.Load())
	}
	if text, _, err := f.Read(); err != nil || !bytes.Equal(text, Example()) {
		t.Errorf("the file is %s, %v", text, err)
	}
	if entries, err := os.ReadDir(filepath.Dir(f.Path)); err != nil || len(entries) != 1 {
		t.Errorf("the folder has %v, %v", entries, err)
	}
	secret := File{filepath.Join(t.TempDir(), "passerelle.toml")}
	text := bytes.Replace(Example(), []byte("wifi = {}"), []byte(`wifi = { ssid = "Lucie", passphrase = "trois petits chats" }`), 1)
	if _, err := secret.Save(text, ""); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[File]os.FileMode{f: 0o644, secret: 0o600} {
		if info, err := os.Stat(file.Path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", file.Path, info.Mode(), err)
		}
	}
}

// TestManyWriters: if each writer repeats its change until it is written, no change is lost.
func TestManyWriters(t *testing.T) {
	t.Parallel()
	f, _, _ := newTestFile(t)
	const writers, each = 4, 5
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for written := 0; written < each; {
				text, r, err := f.Read()
				if err == nil {
					_, err = f.Save(append(text, "# one\n"...), r)
				}
				switch {
				case err == nil:
					written++
				case !errors.Is(err, ErrChanged):
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	text, _, err := f.Read()
	if n := bytes.Count(text, []byte("# one\n")); err != nil || n != writers*each {
		t.Errorf("of %d comments, %d are in the file; %v", writers*each, n, err)
	}
	left, err := os.ReadDir(filepath.Dir(f.Path))
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestSaveRefuses: an invalid text leaves the file unchanged.
func TestSaveRefuses(t *testing.T) {
	t.Parallel()
	f, text, r := newTestFile(t)
	_, err := f.Save(named(text, " "), r)
	var problems Problems
	if !errors.As(err, &problems) || problems[0].Key != "box.name" || problems[0].Line == 0 {
		t.Errorf("refused with %v", err)
	}
	if now, _, err := f.Read(); err != nil || !bytes.Equal(now, text) {
		t.Errorf("the file is %s, %v", now, err)
	}
}

// TestSaveKeeps: a symbolic link, the mode and the owner are kept.
func TestSaveKeeps(t *testing.T) {
	t.Parallel()
	f, text, r := newTestFile(t)
	link := File{filepath.Join(t.TempDir(), "link.toml")}
	if err := os.Symlink(f.Path, link.Path); err != nil {
		t.Fatal(err)
	}
	uid := os.Geteuid()
	if uid == 0 {
		uid = 1234
		if err := os.Chown(f.Path, uid, 4321); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := link.Save(named(text, "Lilas"), r); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link.Path); err != nil || info.Mode().Type() != os.ModeSymlink {
		t.Errorf("the link is %v, %v", info, err)
	}
	info, err := os.Stat(f.Path)
	if err != nil || info.Mode() != 0o640 || int(info.Sys().(*syscall.Stat_t).Uid) != uid {
		t.Errorf("the file is %v of %v, %v", info.Mode(), info.Sys(), err)
	}
	now, r, err := f.Read()
	if err != nil || !bytes.Equal(now, named(text, "Lilas")) {
		t.Errorf("the file is %s, %v", now, err)
	}
	lent := bytes.Replace(now, []byte("wifi = {}"), []byte(`wifi = { ssid = "Chez Lucie", passphrase = "trois chats" }`), 1)
	if _, err := link.Save(lent, r); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(f.Path); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file with a lender's password is %v, %v", info.Mode(), err)
	}
}

// TestLockedFile: a change while another one is being made gets ErrChanged.
func TestLockedFile(t *testing.T) {
	t.Parallel()
	f, text, r := newTestFile(t)
	other, err := os.Open(f.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := unix.Flock(int(other.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Save(named(text, "Lilas"), r); !errors.Is(err, ErrChanged) {
		t.Errorf("Save = %v", err)
	}
}

// TestPasswordsAreHidden: no problem of a text shows a password.
func TestPasswordsAreHidden(t *testing.T) {
	t.Parallel()
	const secret = "Tr0is-petits"
	for _, value := range []string{
		secret, `"` + secret, `"` + secret + `\q"`, `'` + secret + `'`, `"` + secret + `"`, `"` + secret + `é"`, `["` + secret + `"]`, "1." + secret,
		`{ x = "` + secret + `" }`, `"""` + "\n" + secret + `é"""`, `"` + secret + `"` + "\n" + `password = "` + secret + `"`, `"` + secret + `" x`,
		`"short" # password = "` + secret + `"`, `"` + strings.Repeat(secret, 6) + `"`,
	} {
		for _, around := range []string{"password = %", "pasword = %", "wifi = { ssid = 'x', passphrase = % }", "wifi.passphrase = %", "\"password\" = %"} {
			for _, head := range []string{"", minimal} {
				text := []byte(head + strings.Replace(around, "%", value, 1) + "\n[after]\nkey = 1\n")
				_, err := Parse("box.toml", text)
				if err == nil || strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "petits") {
					t.Errorf("the problem of\n%s\nis %v", text, err)
				}
			}
		}
	}
}
