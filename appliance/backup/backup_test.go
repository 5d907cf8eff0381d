package backup

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const passphrase = "cheval correct pile agrafe"

var made = time.Date(2026, 11, 30, 3, 0, 0, 0, time.UTC)

func some() (Manifest, []File) {
	return Manifest{
			Release: "1.2", Made: made, Trusted: true, Centre: "Les Lilas", LeftOut: []string{`hotspot "Lilas" password`},
			Packs: []Pack{{Name: "vikidia", Size: 3e9}},
		}, []File{
			Text("config.toml", []byte("[box]\nname = \"Les Lilas\"\n")), Text("places/national.list", bytes.Repeat([]byte("place "), 5000)),
			Text("empty", nil),
		}
}

func written(t testing.TB, passphrase string) []byte {
	t.Helper()
	if passphrase == "" {
		return sealedBy(t, nil)
	}
	return sealedBy(t, Passphrase(passphrase))
}

func sealedBy(t testing.TB, seal Seal) []byte {
	t.Helper()
	m, files := some()
	var b bytes.Buffer
	if err := Write(&b, m, files, seal); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// content returns the files below a folder.
func content(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		all[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestRoundTrip: what is written is read again, sealed or not. A sealed backup has nothing in plain text.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, p := range []string{"", passphrase} {
		b, dir := written(t, p), t.TempDir()
		m, err := Unpack(bytes.NewReader(b), p, dir)
		if err != nil {
			t.Fatalf("with %q: %v", p, err)
		}
		want, files := some()
		want.Version, want.Files = Version, m.Files
		if diff := cmp.Diff(want, m); diff != "" {
			t.Errorf("manifest (-want +got):\n%s", diff)
		}
		got := content(t, dir)
		for _, f := range files {
			text := make([]byte, f.Size)
			f.Content.ReadAt(text, 0)
			if got[f.Name] != string(text) {
				t.Errorf("%s has %d bytes", f.Name, len(got[f.Name]))
			}
		}
		if len(got) != len(files) || Sealed(b) != (p != "") {
			t.Errorf("%d files, sealed %t", len(got), Sealed(b))
		}
	}
}

// TestPassphrase: opening a sealed backup without the correct passphrase says so.
func TestPassphrase(t *testing.T) {
	t.Parallel()
	b := written(t, passphrase)
	for p, want := range map[string]error{"": ErrPassphrase, "another passphrase": ErrWrong, strings.Repeat("x", 1000): ErrWrong} {
		if _, err := Unpack(bytes.NewReader(b), p, t.TempDir()); !errors.Is(err, want) {
			t.Errorf("%.20q: %v", p, err)
		}
	}
	m, files := some()
	if err := Write(&bytes.Buffer{}, m, files, Passphrase("short")); !errors.As(err, &WeakError{}) {
		t.Errorf("a short one: %v", err)
	}
}

// TestDamage: a backup that is cut off anywhere, or has one byte changed, is refused, with the place.
func TestDamage(t *testing.T) {
	t.Parallel()
	b, dir := written(t, ""), t.TempDir()
	if _, err := Unpack(bytes.NewReader(b), "", dir); err != nil {
		t.Fatal(err)
	}
	whole := content(t, dir)
	for n := range len(b) {
		if _, err := Unpack(bytes.NewReader(b[:n]), "", t.TempDir()); !errors.Is(err, ErrCut) && (n >= 2 || !errors.Is(err, ErrNotBackup)) {
			t.Errorf("the first %d of %d bytes: %v", n, len(b), err)
		}
	}
	for n := range len(b) {
		if n >= 3 && n < 10 {
			continue // gzip's flags, time, and the system that it was made on
		}
		wrong := bytes.Clone(b)
		wrong[n] ^= 0x20
		dir := t.TempDir()
		if _, err := Unpack(bytes.NewReader(wrong), "", dir); err == nil && !cmp.Equal(whole, content(t, dir)) { // the same content may be encoded differently
			t.Errorf("byte %d of %d is another one, and nobody notices", n, len(b))
		}
	}
	sealed := written(t, passphrase)
	for _, n := range []int{10, 60, 200, len(sealed) - 100, len(sealed) - 1} {
		if _, err := Unpack(bytes.NewReader(sealed[:n]), passphrase, t.TempDir()); err == nil {
			t.Errorf("the first %d bytes of a sealed one", n)
		}
		wrong := bytes.Clone(sealed)
		wrong[n] ^= 1
		if _, err := Unpack(bytes.NewReader(wrong), passphrase, t.TempDir()); err == nil {
			t.Errorf("byte %d of a sealed one is another one, and nobody notices", n)
		}
	}
	for _, p := range []string{"", passphrase} {
		if _, err := Unpack(bytes.NewReader(append(written(t, p), 0)), p, t.TempDir()); err == nil {
			t.Errorf("sealed %t, with a byte after its end", p != "")
		}
	}
	for _, text := range []string{"", "x", "<!doctype html>", strings.Repeat("\x00", 4096)} {
		if _, err := Unpack(strings.NewReader(text), "", t.TempDir()); !errors.Is(err, ErrNotBackup) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

// pack returns a backup made by hand.
func pack(t testing.TB, manifest any, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	w := tar.NewWriter(zip)
	text, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	put := func(h tar.Header, text []byte) {
		h.Size = int64(len(text))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(text); err != nil {
			t.Fatal(err)
		}
	}
	put(tar.Header{Name: manifestName, Typeflag: tar.TypeReg}, text)
	for _, h := range entries {
		if h.Typeflag == tar.TypeReg {
			put(h, []byte("x"))
		} else {
			put(h, nil)
		}
	}
	if err := errors.Join(w.Close(), zip.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestTricks: no backup writes outside its folder, creates a link, or has another file than its manifest says.
func TestTricks(t *testing.T) {
	t.Parallel()
	sum := func(text string) string { s := sha256.Sum256([]byte(text)); return hex.EncodeToString(s[:]) }
	entry := func(name string) Entry { return Entry{name, 1, sum("x")} }
	file := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg} }
	bad := func(files ...Entry) Manifest { return Manifest{Version: 1, Files: files} }
	for what, b := range map[string][]byte{
		"a path out of the folder":    pack(t, bad(entry("../x")), file("../x")),
		"one in the middle":           pack(t, bad(entry("a/../../x")), file("a/../../x")),
		"an absolute path":            pack(t, bad(entry("/etc/x")), file("/etc/x")),
		"a hidden file":               pack(t, bad(entry("a/.x")), file("a/.x")),
		"a deep path":                 pack(t, bad(entry("a/b/c/d")), file("a/b/c/d")),
		"a file twice":                pack(t, bad(entry("a"), entry("a")), file("a"), file("a")),
		"a file that is a folder":     pack(t, bad(entry("a"), entry("a/b")), file("a"), file("a/b")),
		"the manifest again":          pack(t, bad(entry(manifestName)), file(manifestName)),
		"a link":                      pack(t, bad(Entry{"a", 0, sum("")}), tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}),
		"a device":                    pack(t, bad(Entry{"a", 0, sum("")}), tar.Header{Name: "a", Typeflag: tar.TypeChar}),
		"another name":                pack(t, bad(entry("a")), file("b")),
		"another size":                pack(t, bad(Entry{"a", 2, sum("xx")}), file("a")),
		"another content":             pack(t, bad(Entry{"a", 1, sum("y")}), file("a")),
		"one more":                    pack(t, bad(), file("a")),
		"one less":                    pack(t, bad(entry("a"))),
		"a size that is not there":    pack(t, bad(Entry{"a", 1 << 40, sum("x")}), file("a")),
		"sizes whose sum overflows":   pack(t, bad(Entry{"a", MaxSize, sum("x")}, Entry{"b", MaxSize, sum("x")})),
		"a size below zero":           pack(t, bad(Entry{"a", -1, sum("x")}), file("a")),
		"no manifest, but something":  pack(t, "hello"),
		"a manifest without version":  pack(t, Manifest{}),
		"a manifest of a new version": pack(t, Manifest{Version: 2}),
		"many files": pack(t, func() (m Manifest) {
			m.Version = 1
			for n := range maxFiles + 1 {
				m.Files = append(m.Files, entry(fmt.Sprint("f", n)))
			}
			return m
		}()),
	} {
		dir := t.TempDir()
		inner := filepath.Join(dir, "inner")
		if err := os.Mkdir(inner, 0o700); err != nil {
			t.Fatal(err)
		}
		_, err := Unpack(bytes.NewReader(b), "", inner)
		if err == nil {
			t.Errorf("%s is unpacked", what)
		}
		if what == "a manifest of a new version" && !errors.Is(err, ErrNewer) {
			t.Errorf("%s: %v", what, err)
		}
		for name := range content(t, dir) {
			if !strings.HasPrefix(name, "inner/") {
				t.Errorf("%s: it has written %s", what, name)
			}
		}
	}
}

// tarOf writes a backup's tar, before it is compressed.
func tarOf(w io.Writer, m Manifest, files []File) error {
	var b bytes.Buffer
	if err := Write(&b, m, files, nil); err != nil {
		return err
	}
	zip, err := gzip.NewReader(&b)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, zip)
	return err
}

func FuzzUnpack(f *testing.F) {
	f.Add(written(f, ""), true)
	m, files := some()
	var inner bytes.Buffer
	if err := tarOf(&inner, m, files); err != nil {
		f.Fatal(err)
	}
	f.Add(inner.Bytes(), false)
	f.Add([]byte{0x1f, 0x8b}, true)
	f.Fuzz(func(t *testing.T, b []byte, zipped bool) {
		if !zipped { // so that its content changes, too
			var z bytes.Buffer
			w := gzip.NewWriter(&z)
			if _, err := w.Write(b); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			b = z.Bytes()
		}
		dir := t.TempDir()
		inner := filepath.Join(dir, "inner")
		if err := os.Mkdir(inner, 0o700); err != nil {
			t.Fatal(err)
		}
		m, err := Unpack(bytes.NewReader(b), "", inner)
		all := content(t, dir)
		for name := range all {
			if !strings.HasPrefix(name, "inner/") {
				t.Errorf("it has written %s", name)
			}
		}
		if err == nil && len(all) != len(m.Files) {
			t.Errorf("%d files of %d", len(all), len(m.Files))
		}
	})
}
