package directory

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/private"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write the golden files")

// TestImport imports the files of testdata, and compares the report and all places.
func TestImport(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			d, report := imported(t, string(a.Files[0].Data))
			got := describe(t, d, report)
			if *update {
				a.Files = append(a.Files[:1], txtar.File{Name: "want", Data: []byte(got)})
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(a.Files[1].Data), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// describe returns a report and the places of the only list as text, in the order of the file.
func describe(t *testing.T, d *Directory, r Report) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%d places, %d listed, %d located, newest %s\n", r.Places, r.Listed, r.Located, r.Updated.Format(time.DateOnly))
	for _, w := range r.Warnings {
		fmt.Fprintf(&b, "%d %s: %s (%d more)\n", w.Line, w.Column, w.Text, w.More)
	}
	for i := range d.lists[0].rows {
		if !d.lists[0].rows[i].kept() {
			continue
		}
		p, err := d.lists[0].place(i)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s\n", text)
		if p.Schedule != nil {
			fmt.Fprintf(&b, "  schedule %q, note %q, weekend unknown %t\n", p.Schedule, p.Note, p.WeekendUnknown)
		}
	}
	return b.String()
}

// TestImportRefuses: a file that is refused changes nothing.
func TestImportRefuses(t *testing.T) {
	t.Parallel()
	const head = "id,nom,commune,code_postal,adresse\n"
	good := head + "1,A,B,12000,C\n2,D,B,12000,C\n3,E,B,12000,C\n4,F,B,12000,C\n5,G,B,12000,C\n"
	dir := t.TempDir()
	if _, err := importer(dir).Read(t.Context(), strings.NewReader(good), -1, "essai.csv", ""); err != nil {
		t.Fatal(err)
	}
	before := tree(t, dir)
	for name, c := range map[string]struct{ text, want string }{
		"another format": {"lat,lon,label\n1,2,x\n", `it is not in the format of the standard "lieux de médiation numérique": its first line has no id, no nom, no commune, no code_postal, no adresse`},
		"a column less":  {"id,nom,commune,adresse\n1,A,B,C\n", "its first line has no code_postal"},
		"a column twice": {"id,nom,commune,code_postal,adresse,NOM\n1,A,B,12000,C,D\n", "the column NOM is there twice, as number 2 and 6"},
		"half a file":    {good + "6,H,B", "the file is cut off in its last line"},
		"half a cell":    {good + `6,H,B,12000,"C`, "the file is cut off in its last line"},
		"fewer places":   {head + "1,A,B,12000,C\n2,D,B,12000,C\n3,E,B,12000,C\n", "essai.csv has 3 places, the list essai has 5: far fewer places than before"},
		"empty":          {"", "it is empty"},
		"only a header":  {head, "0 places and 0 lines"},
		"a sheet":        {"PK\x03\x04xxxxxxxxxxxx", "it is a spreadsheet or an archive"},
		"a picture":      {"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "it is not in the format"},
		"no text":        {"\x7fELF\x02\x01\x01\x00\x00\n", "it is not a text file"},
		"a page":         {"<!doctype html>\n<p>404\n", "it is not in the format"},
		"garbage":        {head + "1,A,B,12000,C\n" + strings.Repeat("x\n", 10), "1 places and 10 lines that cannot be read"},
	} {
		_, err := importer(dir).Read(t.Context(), strings.NewReader(c.text), int64(len(c.text)), "essai.csv", "")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if after := tree(t, dir); after != before {
			t.Errorf("%s: it changed %s to %s", name, before, after)
		}
	}
	few := importer(dir)
	few.Yes = true
	if r, err := few.Import(t.Context(), write(t, head+"1,A,B,12000,C\n"), ""); err != nil || r.Places != 1 || r.Replaced != 5 {
		t.Errorf("with Yes: %+v, %v", r, err)
	}
	for _, name := range []string{"", "Ma liste", "-a", strings.Repeat("a", 41), "../x"} {
		if _, err := few.Read(t.Context(), strings.NewReader(good), -1, "!.csv", name); err == nil || !strings.Contains(err.Error(), "cannot be a list's name") {
			t.Errorf("name %q: %v", name, err)
		}
	}
	if _, err := few.Import(t.Context(), t.TempDir(), ""); err == nil {
		t.Error("a folder is imported")
	}
}

// tree lists a folder's files with their sizes, without the lock.
func tree(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		if e.Name() == lockFile {
			continue
		}
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%s %v %d", e.Name(), info.Mode(), info.Size()))
	}
	return strings.Join(all, ", ")
}

// endless is an endless stream of rows.
type endless struct{ rest []byte }

func (e *endless) Read(b []byte) (n int, err error) {
	if len(e.rest) == 0 {
		e.rest = bytes.Repeat([]byte("x"), 60_000)
		e.rest[len(e.rest)-1] = '\n'
	}
	n = copy(b, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

func TestImportBounds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	head := strings.NewReader("id,nom,commune,code_postal,adresse\n")
	if _, err := importer(dir).Read(t.Context(), io.MultiReader(head, &endless{}), -1, "essai.csv", ""); !errors.Is(err, errTooBig) {
		t.Errorf("a file without end: %v", err)
	}
	// A sparse file of 300 MB.
	path := filepath.Join(t.TempDir(), "essai.csv")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 300_000_000)); err != nil {
		t.Fatal(err)
	}
	if _, err := importer(dir).Import(t.Context(), path, ""); !errors.Is(err, errTooBig) {
		t.Errorf("300 MB: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := importer(dir).Import(ctx, write(t, made(10)), ""); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
	if got := tree(t, dir); got != "" {
		t.Errorf("left behind: %s", got)
	}
	if unlock, err := private.ClaimForImport(dir, lockFile, stagePattern); err != nil {
		t.Error(err)
	} else {
		if _, err := importer(dir).Import(t.Context(), write(t, made(10)), ""); err == nil || !strings.Contains(err.Error(), "another import is running") {
			t.Errorf("two at once: %v", err)
		}
		unlock()
	}
}

// TestImportEncodings: the places are the same, however the file is encoded and its lines end.
func TestImportEncodings(t *testing.T) {
	t.Parallel()
	text := "id;nom;commune;code_postal;adresse\n1;Médiathèque;Évry;91000;3 allée de l’Été\n2;B;C;91000;D\n"
	utf16 := func(s string) string {
		b := []byte{0xff, 0xfe}
		for _, r := range s {
			b = append(b, byte(r), byte(r>>8))
		}
		return string(b)
	}
	latin := strings.NewReplacer("é", "\xe9", "è", "\xe8", "É", "\xc9", "’", "\x92")
	for name, file := range map[string]string{
		"utf-8": text, "bom": "\ufeff" + text, "latin": latin.Replace(text), "utf-16": utf16(text),
		"crlf": strings.ReplaceAll(text, "\n", "\r\n"), "cr": strings.ReplaceAll(text, "\n", "\r"),
		"tabs": strings.ReplaceAll(text, ";", "\t"), "nul": strings.Replace(text, "Médi", "M\x00édi", 1),
		"capitals": strings.Replace(text, "code_postal", "\"Code postal\"", 1),
	} {
		d, r := imported(t, file)
		hits, total, err := d.Find(Query{Postcode: "91000", Words: "mediatheque"}, 0, 5)
		if err != nil || total != 1 || hits[0].Name != "Médiathèque" || hits[0].Town != "Évry" || hits[0].Address != "3 allée de l’Été" {
			t.Errorf("%s: %v, %v", name, hits, err)
		}
		warned := slices.ContainsFunc(r.Warnings, func(w Warning) bool { return strings.Contains(w.Text, "1252") || strings.Contains(w.Text, "zero") })
		if want := name == "latin" || name == "nul"; warned != want {
			t.Errorf("%s: warned %t: %v", name, warned, r.Warnings)
		}
	}
}

// TestImportHostile: a text that is not a valid address never becomes one, whatever the field.
func TestImportHostile(t *testing.T) {
	t.Parallel()
	columns := strings.Split(strings.ReplaceAll(header, `"`, ""), ",")
	for _, evil := range []string{
		"javascript:alert(1)", " JaVaScRiPt:alert(1)", "java\tscript:alert(1)", "data:text/html,<script>", "<script>alert(1)</script>",
		`"><img src=x onerror=alert(1)>`, "//evil", "https://user:pass@exemple.fr/", "http://127.0.0.1/", "https:javascript:alert(1)",
		"=HYPERLINK(\"http://exemple.fr\")", "+1+cmd|' /C calc'!A0", "\u202egro.elpmexe", "vbscript:x", "file:///etc/passwd", "http://[::1]/", "https://x",
	} {
		var text strings.Builder
		text.WriteString(header + "\n")
		for i := range columns {
			cells := make([]string, len(columns))
			for j, name := range columns {
				switch name {
				case "id":
					cells[j] = fmt.Sprint(i)
				case "nom", "adresse", "commune":
					cells[j] = "A"
				}
			}
			if columns[i] != "id" {
				cells[i] = evil
			}
			text.WriteString(`"` + strings.Join(cells, `","`) + "\"\n")
		}
		d, _ := imported(t, text.String())
		hits, _, err := d.Find(Query{}, 0, 100)
		if err != nil || len(hits) < len(columns)-1 {
			t.Fatalf("%q: %d places, %v", evil, len(hits), err)
		}
		for _, h := range hits {
			for _, link := range append(append(h.Sites, h.Booking, h.AccessSheet), h.Emails...) {
				if link != "" {
					t.Errorf("%q became the link %q", evil, link)
				}
			}
			for _, p := range h.Phones {
				if strings.Trim(p.Dial, "+0123456789") != "" {
					t.Errorf("%q became the number %q", evil, p.Dial)
				}
			}
			if h.Schedule != nil {
				t.Errorf("%q became hours", evil)
			}
			if strings.ContainsRune(fmt.Sprint(h), '\u202e') {
				t.Errorf("%q turns text round", evil)
			}
		}
	}
}

func TestUndo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name string) string {
		return "id,nom,commune,code_postal,adresse\n1," + name + ",B,12000,C\n"
	}
	has := func(want string) {
		t.Helper()
		d, problems := Open(dir)
		defer d.Close()
		got := ""
		if p, err := d.Place(hashID("1")); err == nil {
			got = p.Name
		} else if !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if got != want || len(problems) > 0 {
			t.Errorf("the place is %q, want %q; %v", got, want, problems)
		}
	}
	put := func(name string) {
		t.Helper()
		if _, err := importer(dir).Import(t.Context(), write(t, file(name)), "liste"); err != nil {
			t.Fatal(err)
		}
		has(name)
	}
	undo := func(want string) {
		t.Helper()
		if err := Undo(dir, "liste", ""); err != nil {
			t.Fatal(err)
		}
		has(want)
	}
	if err := Undo(dir, "liste", ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("undo of nothing: %v", err)
	}
	put("un")
	if err := Undo(dir, "liste", ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("undo of the first import: %v", err)
	}
	has("un")
	put("deux")
	undo("un")
	undo("deux")
	put("trois")
	undo("deux")
	if err := Remove(dir, "liste", ""); err != nil {
		t.Fatal(err)
	}
	has("")
	if err := Remove(dir, "liste", ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed twice: %v", err)
	}
	undo("deux")
}

// TestDamaged: a file that is truncated or changed anywhere is left out, and the error says what to do.
func TestDamaged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := importer(dir).Import(t.Context(), write(t, made(20)), "liste"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "liste"+listEnding)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	broken := func(b []byte, what string) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		d, problems := Open(dir)
		if len(d.Lists()) != 0 || len(problems) != 1 || !strings.Contains(problems[0].Error(), "import the list again") {
			t.Fatalf("%s: %v, %v", what, d.Lists(), problems)
		}
		d.Close()
	}
	for size := 0; size < len(whole); size += 1 + size/7 {
		broken(whole[:size], fmt.Sprintf("%d bytes of %d", size, len(whole)))
	}
	for i := 0; i < len(whole); i += 1 + i/9 {
		b := bytes.Clone(whole)
		b[i] ^= 4
		broken(b, fmt.Sprintf("byte %d", i))
	}
	for i := len(whole) - trailerSize; i < len(whole); i++ {
		b := bytes.Clone(whole)
		b[i] ^= 4
		broken(b, fmt.Sprintf("byte %d", i))
	}
	// A damaged list can be replaced.
	if _, err := importer(dir).Import(t.Context(), write(t, made(5)), "liste"); err != nil {
		t.Error(err)
	}
	opened(t, dir)
}

// TestCheck: a check reports what an import would do and changes nothing, and somebody else's import in between is noticed.
func TestCheck(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const head = "id,nom,commune,code_postal,adresse\n"
	first := head + "1,Accueil,Valfleury,12000,1 rue A\n2,Atelier,Valfleury,12000,2 rue A\n3,Bus,Valfleury,12000,3 rue A\n"
	second := head + "1,Accueil,Valfleury,12000,1 rue A\n2,Atelier,Valfleury,12000,20 rue A\n4,Café,Valfleury,12000,4 rue A\n"
	path := write(t, second)
	r, err := importer(dir).Check(t.Context(), write(t, first), "liste")
	if err != nil || r.Changes != (Changes{New: 3}) || r.Replaced != -1 || r.Edition != "none" {
		t.Errorf("the first one: %+v, %v", r, err)
	}
	if d, _ := Open(dir); len(d.Lists()) != 0 {
		t.Error("a check has made a list")
	}
	i := importer(dir)
	i.Edition = r.Edition
	if _, err := i.Import(t.Context(), write(t, first), "liste"); err != nil {
		t.Fatal(err)
	}
	if _, err := i.Import(t.Context(), path, "liste"); !errors.Is(err, private.ErrReplaced) {
		t.Errorf("somebody else's import is answered %v", err)
	}
	r, err = importer(dir).Check(t.Context(), path, "liste")
	if err != nil || r.Changes != (Changes{New: 1, Gone: 1, Changed: 1}) || r.Replaced != 3 || r.Fewer {
		t.Errorf("another one: %+v, %v", r, err)
	}
	if r, err := importer(dir).Check(t.Context(), write(t, head+"1,Accueil,Valfleury,12000,1 rue A\n"), "liste"); err != nil || !r.Fewer {
		t.Errorf("far fewer: %+v, %v", r, err)
	}
	if now, err := Edition(dir, "liste"); err != nil || now != r.Edition {
		t.Errorf("its edition is %q, %v; the check said %q", now, err, r.Edition)
	}
	if err := Remove(dir, "liste", "another"); !errors.Is(err, private.ErrReplaced) {
		t.Errorf("removing another edition is answered %v", err)
	}
	i.Edition = r.Edition
	if _, err := i.Import(t.Context(), path, "liste"); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, stagePattern)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestWarningsAreKept: a list has the warnings of its import.
func TestWarningsAreKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r, err := importer(dir).Import(t.Context(), write(t, "id,nom,commune,code_postal,adresse,latitude,longitude\n1,A,B,12000,C,0,0\n"), "liste")
	if err != nil || len(r.Warnings) == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	d, problems := Open(dir)
	defer d.Close()
	if len(problems) > 0 || len(d.Lists()) != 1 || !slices.Equal(d.Lists()[0].Warnings, r.Warnings) {
		t.Errorf("%+v, %v; the import said %+v", d.Lists(), problems, r.Warnings)
	}
}
