package lessons

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"passerelle/appliance/private"
	"passerelle/netctl/netlab/labtest"
)

const (
	lessonText = "+++\ntitle = \"Semer\"\nlevel = 1\n+++\n## Semez.\n"
	pngText    = "\x89PNG\r\n\x1a\n and so on"
)

var imported = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

func importer(dir string) Importer {
	return Importer{Dir: dir, MaxSize: 1 << 20, Now: func() time.Time { return imported }, Progress: func(int64, int64) {}}
}

// item is a file of a test's zip.
type item struct {
	name, text string
	header     func(*zip.FileHeader)
}

func writeZip(t testing.TB, items ...item) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, i := range items {
		h := &zip.FileHeader{Name: i.name, Method: zip.Deflate}
		if i.header != nil {
			i.header(h)
		}
		w, err := z.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, i.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return writeFile(t, b.Bytes())
}

func writeFile(t testing.TB, b []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "Mon Jardin été.zip")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func mode(m fs.FileMode) func(*zip.FileHeader) { return func(h *zip.FileHeader) { h.SetMode(m) } }

// tree lists the files in a folder, with their first bytes.
func tree(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || name == lockFile {
			return err
		}
		text, err := os.ReadFile(filepath.Join(dir, name))
		fmt.Fprintf(&b, "%s %.20q\n", name, text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestImport(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "tutorials")
	ctx := context.Background()
	i := importer(dir)
	var last, all int64
	i.Progress = func(done, of int64) { last, all = done, of }
	from := writeZip(t, item{name: "Jardin/semer/fr.md", text: lessonText + "![Une graine.](1.png)\n"}, item{name: "Jardin/semer/1.png", text: pngText},
		item{name: "Jardin/semer/", header: mode(fs.ModeDir | 0o755)}, item{name: "Jardin/pack.toml", text: `title = "Au jardin"`},
		item{name: "__MACOSX/Jardin/._semer", text: "x"}, item{name: "Jardin/.DS_Store", text: "x"})
	got, err := i.Import(ctx, from, "")
	if err != nil {
		t.Fatal(err)
	}
	size := int64(len(lessonText) + len("![Une graine.](1.png)\n") + len(pngText) + len(`title = "Au jardin"`))
	want := Pack{Name: "mon-jardin-ete", Title: "Au jardin", Kind: "lessons", Size: size, Lessons: 1, Imported: imported}
	if got != want {
		t.Errorf("imported %+v, want %+v", got, want)
	}
	if last != all || all != size {
		t.Errorf("progress ends at %d of %d, want %d", last, all, size)
	}
	l, problems := Load(dir)
	if len(problems) > 0 || !slices.Equal(l.Packs(), []Pack{want}) {
		t.Fatalf("loaded %+v %v, want %+v", l.Packs(), problems, want)
	}
	lesson, ok := l.Lesson("mon-jardin-ete-semer", "en")
	if !ok || lesson.Pack != "mon-jardin-ete" || lesson.Path != "mon-jardin-ete" || lesson.Weight != int64(len(pngText)) {
		t.Fatalf("lesson %+v", lesson)
	}
	if hits := l.Search("fr", "semer", 1); len(hits) != 1 || hits[0].Lesson != lesson {
		t.Errorf("found %v", hits)
	}
	media := lesson.Steps[0].Drawing.Media
	if media == nil || media.Path != "/tutorials/media/mon-jardin-ete/semer/1.png" {
		t.Fatalf("media %+v", media)
	}
	f, mediaType, err := l.Open("mon-jardin-ete", "semer/1.png")
	if err != nil || mediaType != "image/png" {
		t.Fatal(mediaType, err)
	}
	b, err := io.ReadAll(f)
	if err != nil || string(b) != pngText || f.Close() != nil {
		t.Errorf("read %q, %v", b, err)
	}
	for _, name := range []string{"semer/2.png", "semer", ".pack.json", "../mon-jardin-ete/semer/1.png", "/etc/passwd", "semer/../semer/1.png", ""} {
		if f, _, err := l.Open("mon-jardin-ete", name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: opened %v, %v", name, f, err)
		}
	}
	if _, _, err := l.Open("no-pack", "semer/1.png"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a pack that is not there: %v", err)
	}

	// Static pages from a folder replace the pack.
	stick := t.TempDir()
	for name, text := range map[string]string{"index.html": "<!doctype html><title>Le\n jardin &amp; moi</title>", "a/b.css": "b{}", "a/Photo.JPG": "\xff\xd8\xff"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(stick, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(stick, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if kind, files, size, err := Inspect(stick); kind != "pages" || files != 3 || size != 56 || err != nil {
		t.Errorf("a look says %s, %d files, %d bytes, %v", kind, files, size, err)
	}
	if got, err = importer(dir).Import(ctx, stick, "mon-jardin-ete"); err != nil || got.Kind != "pages" || got.Title != "Le jardin & moi" {
		t.Fatalf("imported %+v, %v", got, err)
	}
	there := tree(t, dir)
	for _, want := range []string{".pack.json", "a/Photo.JPG", "a/b.css", "index.html"} {
		if !strings.Contains(there, "mon-jardin-ete/"+want+" ") || strings.Count(there, "\n") != 4 {
			t.Errorf("there is\n%s\nwant %s and three more", there, want)
		}
	}

	if err := Remove(dir, "mon-jardin-ete", ""); err != nil {
		t.Fatal(err)
	}
	if err := Remove(dir, "mon-jardin-ete", ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed twice: %v", err)
	}
	if l, problems := Load(dir); len(l.Packs()) != 0 || len(problems) != 0 || len(l.Paths()) != len(Own().Paths()) {
		t.Errorf("after it was removed there is %v, %v", l.Packs(), problems)
	}
	if got := tree(t, dir); got != "" {
		t.Errorf("what is left: %s", got)
	}
}

// TestImportRefuses: an import of a broken pack over a valid one is refused, and the valid one stays.
func TestImportRefuses(t *testing.T) {
	t.Parallel()
	lesson := item{name: "semer/fr.md", text: lessonText}
	raw := func(change func([]byte) []byte, items ...item) func(testing.TB) string {
		return func(t testing.TB) string {
			b, err := os.ReadFile(writeZip(t, items...))
			if err != nil {
				t.Fatal(err)
			}
			return writeFile(t, change(b))
		}
	}
	packed := func(items ...item) func(testing.TB) string {
		return func(t testing.TB) string { return writeZip(t, items...) }
	}
	named := func(name string) func(testing.TB) string { return packed(lesson, item{name: name, text: pngText}) }
	// lie writes another size into the central directory and the header of a stored file (APPNOTE.TXT, 4.3.7 and 4.3.12).
	lie := func(size uint32) func(b []byte) []byte {
		return func(b []byte) []byte {
			at := bytes.Index(b, []byte("PK\x01\x02"))
			binary.LittleEndian.PutUint32(b[at+24:], size)
			return b
		}
	}
	many := func(n int) func(testing.TB) string {
		return func(t testing.TB) string {
			items := make([]item, n)
			for i := range items {
				items[i] = item{name: fmt.Sprintf("%d.png", i), header: func(h *zip.FileHeader) { h.Method = zip.Store }}
			}
			return writeZip(t, items...)
		}
	}
	dir := filepath.Join(t.TempDir(), "tutorials")
	if _, err := importer(dir).Import(context.Background(), writeZip(t, lesson), "jardin"); err != nil {
		t.Fatal(err)
	}
	before := tree(t, dir)
	for name, c := range map[string]struct {
		make func(testing.TB) string
		want string
	}{
		"nothing there":  {func(t testing.TB) string { return filepath.Join(t.TempDir(), "none.zip") }, "no such file"},
		"empty":          {func(t testing.TB) string { return writeFile(t, nil) }, "not a complete zip; was it copied completely?"},
		"no zip":         {func(t testing.TB) string { return writeFile(t, []byte(lessonText)) }, "not a complete zip"},
		"half":           {raw(func(b []byte) []byte { return b[:len(b)/2] }, lesson, item{name: "1.png", text: pngText}), "not a complete zip"},
		"empty zip":      {packed(), "it is empty"},
		"device":         {func(testing.TB) string { return "/dev/null" }, "neither a zip nor a folder"},
		"damaged":        {raw(func(b []byte) []byte { b[60] ^= 0xff; return b }, lesson), `"semer/fr.md": `},
		"dots":           {named("../semer/1.png"), "is outside the pack"},
		"dots within":    {named("semer/../../1.png"), "is outside the pack"},
		"absolute":       {named("/etc/1.png"), "is outside the pack"},
		"drive":          {named("C:/1.png"), "some systems do not allow"},
		"nul":            {named("1\x00.png"), "some systems do not allow"},
		"line end":       {named("1\n.png"), "some systems do not allow"},
		"reserved":       {named("semer/con.png"), "is reserved"},
		"point":          {named("semer./1.png"), "begins or ends with a space or dot"},
		"empty element":  {named("semer//1.png"), "is outside the pack, or empty"},
		"deep":           {named(strings.Repeat("a/", 9) + "1.png"), "too deep"},
		"long":           {named(strings.Repeat("a", 101) + ".png"), "too long"},
		"twice":          {packed(lesson, lesson), "conflict on some systems"},
		"capitals":       {packed(lesson, item{name: "semer/FR.md"}), "conflict on some systems"},
		"folders":        {packed(lesson, item{name: "Semer/1.png", text: pngText}), "conflict on some systems"},
		"file or folder": {packed(lesson, item{name: "a.png", text: pngText}, item{name: "a.png/1.png", text: pngText}), "conflict on some systems"},
		"link":           {packed(lesson, item{name: "1.png", text: "/etc/passwd", header: mode(fs.ModeSymlink | 0o777)}), "is a link or a device"},
		"pipe":           {packed(lesson, item{name: "1.png", header: mode(fs.ModeNamedPipe | 0o600)}), "is a link or a device"},
		"encrypted":      {raw(func(b []byte) []byte { b[bytes.Index(b, []byte("PK\x01\x02"))+8] |= 1; return b }, lesson), "is encrypted"},
		"method": {raw(func(b []byte) []byte { b[bytes.Index(b, []byte("PK\x01\x02"))+10] = 99; return b }, lesson),
			"is compressed by AES encryption, which the box does not read: make the zip again"},
		"bzip2 that is none": {raw(func(b []byte) []byte { b[bytes.Index(b, []byte("PK\x01\x02"))+10] = 12; return b }, lesson), `"semer/fr.md": `},
		"deflate64": {raw(func(b []byte) []byte { b[bytes.Index(b, []byte("PK\x01\x02"))+10] = 9; return b }, lesson),
			"is compressed by Deflate64"},
		"7z":             {func(t testing.TB) string { return writeFile(t, []byte("7z\xbc\xaf\x27\x1c\x00\x04 and more")) }, "it is a 7z archive, which the box does not read: unpack it"},
		"rar":            {func(t testing.TB) string { return writeFile(t, []byte("Rar!\x1a\x07\x01\x00 and more")) }, "it is a RAR archive"},
		"tar":            {func(t testing.TB) string { return writeFile(t, append(make([]byte, 257), "ustar\x0000"...)) }, "it is a tar archive"},
		"gzip":           {func(t testing.TB) string { return writeFile(t, []byte("\x1f\x8b\x08 and more")) }, "it is a gzip archive"},
		"document":       {packed(item{name: "[Content_Types].xml", text: "<Types/>"}, item{name: "word/document.xml", text: "<w/>"}), "it is a document"},
		"all at once":    {packed(lesson, item{name: "C:/1.png", text: pngText}, item{name: "semer/con.png", text: pngText}), "some systems do not allow\nthe name"},
		"all contents":   {packed(lesson, item{name: "semer/1.png", text: "x"}, item{name: "semer/2.png", text: "x"}), ".png\n\"semer/2.png\": its content"},
		"two indexes":    {packed(item{name: "a/index.html", text: "x"}, item{name: "b/index.html", text: "x"}), "there are index.html in a, b: import one"},
		"nothing of use": {packed(item{name: "a.exe", text: "x"}, item{name: "b.dll", text: "x"}), "neither lessons nor pages"},
		"too large":      {packed(lesson, item{name: "1.png", text: pngText + strings.Repeat("a", 1<<20)}), "1.0 MB are more than the 1.0 MB"},
		"says less":      {raw(lie(20), item{name: "1.png", text: pngText + strings.Repeat("a", 5000)}, lesson), `"1.png": `},
		"says more":      {raw(lie(900_000), item{name: "1.png", text: pngText}, lesson), `"1.png": `},
		"says 4 GB":      {raw(lie(1<<32-2), item{name: "1.png", text: pngText}, lesson), "more than the 1.0 MB"},
		"many":           {many(20_001), "more than 20000 files"},
		"very many":      {many(100_000), "more than 20000 files"},
		"no png":         {packed(lesson, item{name: "semer/1.png", text: "<script>"}), `"semer/1.png": its content does not match its extension .png`},
		"no text":        {packed(item{name: "semer/fr.md", text: "\x00"}), "does not match its extension .md"},
		"no mp4":         {packed(lesson, item{name: "semer/1.mp4", text: "MZ"}), "does not match its extension .mp4"},
		"lesson":         {packed(item{name: "semer/fr.md", text: "Semez."}), "jardin/semer/fr.md:1: the first line must be +++"},
		"no lesson":      {packed(item{name: "semer/1.png", text: pngText}), "there is no lesson in it"},
		"misplaced":      {packed(lesson, item{name: "semer/plus/fr.md", text: lessonText}), "a lesson is a folder"},
		"folder name":    {packed(lesson, item{name: "Ma leçon/fr.md", text: lessonText}), "a lesson is a folder"},
		"language":       {packed(lesson, item{name: "arroser/lisezmoi.md", text: lessonText}), "a lesson's file is named by its language"},
		"paths":          {packed(lesson, item{name: "paths.toml", text: "[[path]]\nslug = \"a\"\nlessons = [\"b\"]\n"}), "jardin/paths.toml:1: path \"a\": "},
		"pack.toml":      {packed(lesson, item{name: "pack.toml", text: "titre = \"a\"\n"}), "pack.toml:1: there is no key \"titre\""},
		"links in a folder": {func(t testing.TB) string {
			dir := t.TempDir()
			if err := errors.Join(os.MkdirAll(dir+"/semer", 0o700), os.WriteFile(dir+"/semer/fr.md", []byte(lessonText), 0o600),
				os.Symlink("/etc/passwd", dir+"/semer/1.png")); err != nil {
				t.Fatal(err)
			}
			return dir
		}, "is a link or a device"},
	} {
		t.Run(name, func(t *testing.T) {
			if p, err := importer(dir).Import(context.Background(), c.make(t), "jardin"); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("imported %+v, %v, want %s", p, err, c.want)
			}
			if after := tree(t, dir); after != before {
				t.Errorf("there is\n%s\nwant\n%s", after, before)
			}
		})
	}
}

func TestImportNeedsRoom(t *testing.T) {
	t.Parallel()
	stick := t.TempDir()
	film, err := os.Create(filepath.Join(stick, "film.mp4"))
	if err != nil {
		t.Fatal(err)
	}
	defer film.Close()
	if err := film.Truncate(8e12); err != nil { // a sparse file
		t.Fatal(err)
	}
	i := importer(t.TempDir())
	i.MaxSize = 9e12
	if _, err := i.Import(context.Background(), stick, "film"); err == nil || !strings.Contains(err.Error(), " MB are needed") {
		t.Errorf("imported more than a disk has: %v", err)
	}
}

func TestImportedNames(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "tutorials")
	from := writeZip(t, item{name: "caf/fr.md", text: lessonText})
	for name, want := range map[string]string{
		"compte": "there is a lesson or path \"compte-caf\" already", // the slug of a built-in lesson
		"wifi":   "there is a lesson or path \"wifi\" already",
		"media":  "cannot be a pack's name", "Jardin": "cannot be a pack's name", "../x": "cannot be a pack's name",
		"a--b": "cannot be a pack's name", strings.Repeat("a", 41): "cannot be a pack's name",
	} {
		if p, err := importer(dir).Import(context.Background(), from, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: imported %+v, %v, want %s", name, p, err, want)
		}
	}
	for from, want := range map[string]string{
		"/media/stick/PUBLIC": "public", "Pack n° 3 (été).ZIP": "pack-n-3-ete", "кот.zip": "",
	} {
		if got := packName(from); got != want {
			t.Errorf("%q is called %q, want %q", from, got, want)
		}
	}
}

func TestBrokenPacksAreLeftOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := importer(dir).Import(context.Background(), writeZip(t, item{name: "semer/fr.md", text: lessonText}), "a"); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"b/.pack.json": "{", "c/semer/fr.md": lessonText, "d/.pack.json": `{"kind":"lessons"}`,
		"e/.pack.json": `{"kind":"games","more":[1]}`} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700), os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	l, problems := Load(dir)
	if len(l.Packs()) != 1 || l.Packs()[0].Name != "a" {
		t.Errorf("packs %+v", l.Packs())
	}
	got := errors.Join(problems...).Error()
	for _, want := range []string{"pack b is left out: read .pack.json", "pack c is left out: it was not imported", "pack d is left out: d: there is no lesson",
		`pack e is left out: unknown kind "games"`} {
		if !strings.Contains(got, want) {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}

func TestImportStops(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	i := importer(dir)
	i.Progress = func(int64, int64) { cancel() }
	from := writeZip(t, item{name: "semer/fr.md", text: lessonText}, item{name: "1.png", text: pngText})
	if _, err := i.Import(ctx, from, "jardin"); !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
	if got := tree(t, dir); got != "" {
		t.Errorf("there is %s", got)
	}
	i.Progress = func(int64, int64) {
		if _, err := importer(dir).Import(context.Background(), from, "other"); err == nil || !strings.Contains(err.Error(), "another import is running") {
			t.Errorf("a second import at the same time: %v", err)
		}
	}
	if _, err := i.Import(context.Background(), from, "jardin"); err != nil {
		t.Error(err)
	}
}

// TestImportAmongOthers: another user can neither prevent an import, nor change what is imported.
func TestImportAmongOthers(t *testing.T) {
	t.Parallel()
	labtest.Root(t)
	top := t.TempDir()
	if err := errors.Join(os.Chmod(filepath.Dir(top), 0o755), os.Chmod(top, 0o755)); err != nil {
		t.Fatal(err)
	}
	// The folder of an older installation.
	dir := filepath.Join(top, "tutorials")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, lockFile), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, lockFile)} {
		labtest.AsNobody(t, func() error {
			f, err := os.Open(path)
			if err == nil {
				t.Cleanup(func() { f.Close() })
				err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
			}
			return err
		})
	}
	from := writeZip(t, item{name: "semer/fr.md", text: lessonText})
	if _, err := importer(dir).Import(context.Background(), from, "jardin"); err != nil {
		t.Errorf("while nobody holds what could be held: %v", err)
	}
	if err := Remove(dir, "jardin", ""); err != nil {
		t.Error(err)
	}

	open := filepath.Join(top, "open")
	if err := errors.Join(os.Mkdir(open, 0o755), os.Chmod(open, 0o777|os.ModeSticky)); err != nil {
		t.Fatal(err)
	}
	theirs := filepath.Join(open, "tutorials")
	labtest.AsNobody(t, func() error { return os.Mkdir(theirs, 0o755) })
	if _, err := importer(theirs).Import(context.Background(), from, "jardin"); !errors.Is(err, private.ErrUnsafe) {
		t.Errorf("into a folder of nobody's: %v", err)
	}
}

// killMe is an environment variable. It makes this program import a pack and kill itself on the way.
const killMe = "TUTORIALS_TEST_IMPORT"

func TestMain(m *testing.M) {
	if args := strings.Split(os.Getenv(killMe), "|"); len(args) == 3 {
		i := importer(args[0])
		i.Progress = func(done, _ int64) {
			if fmt.Sprint(done) == args[2] {
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		}
		if _, err := i.Import(context.Background(), args[1], "jardin"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestKilledImport(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	old := writeZip(t, item{name: "semer/fr.md", text: lessonText})
	if _, err := importer(dir).Import(context.Background(), old, "jardin"); err != nil {
		t.Fatal(err)
	}
	before := tree(t, filepath.Join(dir, "jardin"))
	text := strings.ReplaceAll(lessonText, "Semer", "Arroser")
	from := writeZip(t, item{name: "arroser/fr.md", text: text}, item{name: "1.png", text: pngText}, item{name: "2.png", text: pngText})
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%s|%d", killMe, dir, from, len(text)+len(pngText)))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("it was not killed: %v, %s", err, out)
	}
	left, err := filepath.Glob(filepath.Join(dir, stagePattern))
	if err != nil || len(left) != 1 {
		t.Fatalf("the import was killed too early or too late: it left %q, %v", left, err)
	}
	if after := tree(t, filepath.Join(dir, "jardin")); after != before {
		t.Errorf("there is\n%s\nwant\n%s", after, before)
	}
	if l, problems := Load(dir); len(problems) > 0 || len(l.Packs()) != 1 {
		t.Errorf("loaded %v, %v", l.Packs(), problems)
	}
	if _, err := importer(dir).Import(context.Background(), from, "jardin"); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 || entries[0].Name() != lockFile {
		t.Errorf("beside the pack and the lock there is %v, %v", entries, err)
	}
	if l, _ := Load(dir); len(l.Packs()) != 1 || l.lessons["jardin-arroser"] == nil || l.lessons["jardin-semer"] != nil {
		t.Errorf("loaded %v", l.Packs())
	}
}

func FuzzImport(f *testing.F) {
	for _, items := range [][]item{{{name: "semer/fr.md", text: lessonText}}, {{name: "a/index.html", text: "<title>a"}, {name: "a/1.png", text: pngText}}} {
		b, err := os.ReadFile(writeZip(f, items...))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := filepath.Join(t.TempDir(), "tutorials")
		p, err := importer(dir).Import(context.Background(), writeFile(t, b), "jardin")
		l, problems := Load(dir)
		if len(problems) > 0 {
			t.Fatalf("imported %v, %v, but %v", p, err, problems)
		}
		if err != nil && len(l.Packs()) > 0 || err == nil && !slices.Equal(l.Packs(), []Pack{p}) {
			t.Fatalf("imported %v, %v, but there is %v", p, err, l.Packs())
		}
	})
}

// TestCheck: a check reports what an import would do and changes nothing, and somebody else's import in between is noticed.
func TestCheck(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "tutorials")
	page := func(text string) string { return "<!doctype html><title>Jardin</title>" + text }
	first := writeZip(t, item{name: "index.html", text: page("1")}, item{name: "a.html", text: page("a")}, item{name: "b.html", text: page("b")})
	second := writeZip(t, item{name: "index.html", text: page("2")}, item{name: "a.html", text: page("a")}, item{name: "c.html", text: page("c")})
	p, c, err := importer(dir).Check(t.Context(), first, "jardin")
	if err != nil || p.Title != "Jardin" || c != (Changes{New: 3, Edition: "none"}) {
		t.Errorf("the first one: %+v, %+v, %v", p, c, err)
	}
	i := importer(dir)
	i.Edition = c.Edition
	if _, err := i.Import(t.Context(), first, "jardin"); err != nil {
		t.Fatal(err)
	}
	if _, err := i.Import(t.Context(), second, "jardin"); !errors.Is(err, private.ErrReplaced) {
		t.Errorf("somebody else's import is answered %v", err)
	}
	_, c, err = importer(dir).Check(t.Context(), second, "jardin")
	if want := (Changes{New: 1, Gone: 1, Changed: 1, Replaces: true, Edition: c.Edition}); err != nil || c != want {
		t.Errorf("another one: %+v, %v", c, err)
	}
	if now, err := Edition(dir, "jardin"); err != nil || now != c.Edition {
		t.Errorf("its edition is %q, %v; the check said %q", now, err, c.Edition)
	}
	if err := Remove(dir, "jardin", "another"); !errors.Is(err, private.ErrReplaced) {
		t.Errorf("removing another edition is answered %v", err)
	}
	i.Edition = c.Edition
	if _, err := i.Import(t.Context(), second, "jardin"); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, stagePattern)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// extraName returns the extra field of a zip with a name in UTF-8.
func extraName(name, utf8Name string) []byte {
	field := binary.LittleEndian.AppendUint32([]byte{1}, crc32.ChecksumIEEE([]byte(name)))
	field = append(field, utf8Name...)
	b := binary.LittleEndian.AppendUint16(nil, unicodePath)
	return append(binary.LittleEndian.AppendUint16(b, uint16(len(field))), field...)
}

// legacy sets that a name has no mark that it is UTF-8.
func legacy(h *zip.FileHeader) { h.NonUTF8 = true }

// TestImportAsExported imports what programs export, with files that no page needs, and checks which are left out.
func TestImportAsExported(t *testing.T) {
	t.Parallel()
	page := func(name string) item { return item{name: name, text: "<!doctype html><title>Guide</title>"} }
	plain := func(name string) item { return item{name: name, text: "x"} }
	for name, c := range map[string]struct {
		items   []item
		kind    string
		has     []string
		leftOut []string
	}{
		"Sphinx": {
			items: []item{page("html/index.html"), plain("html/objects.inv"), plain("html/.buildinfo"), plain("html/_static/a.js.map"),
				plain("html/_static/a.js"), plain("html/_sources/index.rst"), plain("html/_static/LICENSE")},
			kind: "pages", has: []string{"index.html", "_static/a.js"},
			leftOut: []string{"_sources/index.rst", "_static/LICENSE", "_static/a.js.map", "objects.inv"},
		},
		"a repository": {
			items: []item{page("site-main/docs/index.html"), plain("site-main/docs/a.css"), plain("site-main/README.md"), plain("site-main/Makefile")},
			kind:  "pages", has: []string{"index.html", "a.css"}, leftOut: []string{"Makefile", "README.md"},
		},
		"lessons in a repository": {
			items: []item{{name: "cours-main/semer/fr.md", text: lessonText}, plain("cours-main/README.md"), plain("cours-main/LICENSE"), plain("cours-main/semer/notes.docx")},
			kind:  "lessons", has: []string{"semer/fr.md"}, leftOut: []string{"LICENSE", "README.md", "semer/notes.docx"},
		},
		"two folders deep":      {items: []item{page("a/b/index.html"), plain("a/b/c.css")}, kind: "pages", has: []string{"index.html", "c.css"}},
		"Index.html":            {items: []item{page("Index.html"), page("Sub/INDEX.HTM")}, kind: "pages", has: []string{"index.html", "Sub/index.html", "Sub/INDEX.HTM"}},
		"backslashes":           {items: []item{page(`site\index.html`), plain(`site\css\a.css`), {name: `site\css\`}}, kind: "pages", has: []string{"index.html", "css/a.css"}},
		"NFD names":             {items: []item{page("index.html"), plain("e\u0301te\u0301.css")}, kind: "pages", has: []string{"\u00e9t\u00e9.css", "e\u0301te\u0301.css"}},
		"CP850":                 {items: []item{page("index.html"), {name: "\x82t\x82 \x85 No\x89l.css", text: "x", header: legacy}}, kind: "pages", has: []string{"été à Noël.css"}},
		"Windows-1252":          {items: []item{page("index.html"), {name: "\xe9t\xe9 \xe0 No\xebl.css", text: "x", header: legacy}}, kind: "pages", has: []string{"été à Noël.css"}},
		"the Unicode field":     {items: []item{page("index.html"), {name: "\x82t\x82.css", text: "x", header: func(h *zip.FileHeader) { h.NonUTF8 = true; h.Extra = extraName(h.Name, "hiver.css") }}}, kind: "pages", has: []string{"hiver.css"}},
		"a stale Unicode field": {items: []item{page("index.html"), {name: "\x82t\x82.css", text: "x", header: func(h *zip.FileHeader) { h.NonUTF8 = true; h.Extra = extraName("other", "hiver.css") }}}, kind: "pages", has: []string{"été.css"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "tutorials")
			i := importer(dir)
			var left []string
			i.LeftOut = func(names []string) { left = names }
			p, err := i.Import(t.Context(), writeZip(t, c.items...), "pack")
			if err != nil || p.Kind != c.kind {
				t.Fatalf("imported %+v, %v", p, err)
			}
			slices.Sort(left)
			if !slices.Equal(left, c.leftOut) {
				t.Errorf("left out %q, want %q", left, c.leftOut)
			}
			l, problems := Load(dir)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			for _, name := range c.has {
				f, _, err := l.Open("pack", name)
				if err != nil {
					t.Error(err)
					continue
				}
				f.Close()
			}
		})
	}
}

// TestImportedTexts: texts in other encodings are converted to UTF-8 in a pack.
func TestImportedTexts(t *testing.T) {
	t.Parallel()
	const word = "<html><head><meta http-equiv=Content-Type content=\"text/html; charset=windows-1252\"></head>L\x92\xe9t\xe9 \x80"
	for name, c := range map[string]struct{ file, text, want string }{
		"Word":          {"a.html", word, "L’été €"},
		"says nothing":  {"a.html", "<p>\xe9t\xe9", "été"},
		"says koi8-r":   {"a.html", "<meta charset=koi8-r>\xeb\xcf\xd4", "Кот"},
		"UTF-8":         {"a.html", "<p>été", "été"},
		"lies":          {"a.html", "<meta charset=iso-8859-1>été", "été"},
		"UTF-16":        {"a.txt", "\xff\xfe\xe9\x00t\x00", "ét"},
		"captions":      {"a.vtt", "WEBVTT\n\n00:00.000 --> 00:01.000\n\xe9t\xe9\n", "été"},
		"a style sheet": {"a.css", "p::before{content:'\xe9'}", "é"},
		"a drawing":     {"a.svg", "<svg><text>\xe9</text></svg>", "é"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "tutorials")
			from := writeZip(t, item{name: "index.html", text: "<title>x</title>"}, item{name: c.file, text: c.text})
			if _, err := importer(dir).Import(t.Context(), from, "pack"); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(filepath.Join(dir, "pack", c.file))
			if err != nil || !strings.Contains(string(b), c.want) {
				t.Errorf("%q, %v, want %q in it", b, err, c.want)
			}
		})
	}
	dir := filepath.Join(t.TempDir(), "tutorials")
	latin := strings.Replace(lessonText, "Semer", "Semer l'\xe9t\xe9", 1) + "![Une graine.](e%CC%81t%C3%A9.png)\n"
	from := writeZip(t, item{name: "semer/fr.md", text: latin}, item{name: "semer/éte\u0301.png", text: pngText})
	if _, err := importer(dir).Import(t.Context(), from, "pack"); err != nil {
		t.Fatal(err)
	}
	l, _ := Load(dir)
	if lesson, ok := l.Lesson("pack-semer", "fr"); !ok || lesson.Title != "Semer l'été" {
		t.Errorf("lesson %+v", lesson)
	}
}

func TestFolderPages(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "tutorials")
	from := writeZip(t, item{name: "index.html", text: "x"}, item{name: "guide/index.html", text: "x"}, item{name: "css/a.css", text: "x"})
	if _, err := importer(dir).Import(t.Context(), from, "pack"); err != nil {
		t.Fatal(err)
	}
	l, _ := Load(dir)
	for name, want := range map[string]bool{"guide": true, "guide/": false, "css": false, "": false, "index.html": false, "none": false, "../pack": false} {
		if l.IsFolder("pack", name) != want {
			t.Errorf("%q is a folder with a page: %t", name, !want)
		}
	}
}
