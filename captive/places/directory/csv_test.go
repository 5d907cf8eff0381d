package directory

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// readAll reads all records of a text with a number of columns.
func readAll(t testing.TB, text string, comma byte, columns int) (all []record, err error) {
	t.Helper()
	lines, err := newLineReader(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	r := &csvReader{lines: *lines, comma: comma, columns: columns}
	for {
		rec, err := r.next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, rec)
	}
}

func TestCSV(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"plain":             {"a,b,c\n", `1 ["a" "b" "c"]`},
		"quoted":            {`"a","b,c","d"` + "\n", `1 ["a" "b,c" "d"]`},
		"empty cells":       {",,\n\"\",,\"\"\n", `1 ["" "" ""] 2 ["" "" ""]`},
		"escaped":           {`"say ""hi""","b","c"` + "\n", `1 ["say \"hi\"" "b" "c"]`},
		"not escaped":       {`"Association "Le Fil"","b","c"` + "\n", `1 ["Association \"Le Fil\"" "b" "c"]*`},
		"in the middle":     {`"a "b" c","d","e"` + "\n", `1 ["a \"b\" c" "d" "e"]*`},
		"at the beginning":  {`""Le Fil" asso","d","e"` + "\n", `1 ["\"Le Fil\" asso" "d" "e"]*`},
		"bare":              {`5" écran,b,c` + "\n", `1 ["5\" écran" "b" "c"]`},
		"reads on":          {`"a "b","c` + "\n" + `"d","e","f"` + "\n", `1 ! 2 ["d" "e" "f"]`},
		"line break":        {"\"a\nb\",c,d\n", `1 ["a\nb" "c" "d"]`},
		"two breaks":        {"a,\"b\n\nc\",\"d\ne\"\nf,g,h\n", `1 ["a" "b\n\nc" "d\ne"] 5 ["f" "g" "h"]`},
		"break, no escape":  {"\"a \"b\" c\nd\",e,f\n", `1 ["a \"b\" c\nd" "e" "f"]*`},
		"quote never ends":  {"a,\"b,c\nd,e,f\n", `1 ! 2 ["d" "e" "f"]`},
		"too few":           {"a,b\nc,d\ne,f,g\n", `1 ! 2 ! 3 ["e" "f" "g"]`},
		"too many":          {"a,b,c,d\ne,f,g\n", `1 ! 2 ["e" "f" "g"]`},
		"separators beyond": {"a,b,c,,,\n", `1 ["a" "b" "c"]`},
		"blank lines":       {"\n\na,b,c\n \n\r\nd,e,f\n", `3 ["a" "b" "c"] 6 ["d" "e" "f"]`},
		"crlf":              {"a,b,c\r\n\"d\r\ne\",f,g\r\n", `1 ["a" "b" "c"] 2 ["d\ne" "f" "g"]`},
		"cr":                {"a,b,c\rd,e,f\r", `1 ["a" "b" "c"] 2 ["d" "e" "f"]`},
		"cr in a cell":      {"a,b,c\n\"d\re\",f,g\n", `1 ["a" "b" "c"] 2 ["d\re" "f" "g"]`},
		"bom":               {"\ufeff\"a\",b,c\n", `1 ["a" "b" "c"]`},
		"utf-16":            {"\xff\xfea\x00,\x00\xe9\x00,\x00c\x00\n\x00", `1 ["a" "é" "c"]`},
		"utf-16 be":         {"\xfe\xff\x00a\x00,\x00\xe9\x00,\x00c\x00\n", `1 ["a" "é" "c"]`},
		"windows-1252":      {"\xe9t\xe9,\x80,b\n", `1 ["été" "€" "b"]*`},
		"whole, no end":     {"a,b,c", `1 ["a" "b" "c"]`},
		"cut":               {"a,b,c\nd,e", `1 ["a" "b" "c"] cut`},
		"cut in a cell":     {"a,b,c\nd,\"e", `1 ["a" "b" "c"] cut`},
		"long":              {"a,b," + strings.Repeat("x", maxRecord) + "\nd,e,f\n", `1 ! 2 ["d" "e" "f"]`},
	} {
		all, err := readAll(t, c.text, ',', 3)
		var got []string
		for _, r := range all {
			switch {
			case r.problem != "":
				got = append(got, fmt.Sprintf("%d !", r.line))
			case r.repairs != nil:
				got = append(got, fmt.Sprintf("%d %q*", r.line, r.cells))
			default:
				got = append(got, fmt.Sprintf("%d %q", r.line, r.cells))
			}
		}
		if errors.Is(err, errCut) {
			got = append(got, "cut")
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %s, want %s", name, s, c.want)
		}
	}
}

// TestCSVLikeEncoding: this reader reads what encoding/csv wrote.
func TestCSVLikeEncoding(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(13, 14))
	pieces := []string{"a", "é", `"`, `""`, ",", "\n", "\r\n", " ", "|", "x,y", "\t"}
	for range 3000 {
		columns := 2 + rnd.IntN(4)
		var want [][]string
		for range 1 + rnd.IntN(4) {
			row := make([]string, columns)
			for i := range row {
				for range rnd.IntN(5) {
					row[i] += pieces[rnd.IntN(len(pieces))]
				}
			}
			row[0] = "1" + row[0] // so that no record is blank
			want = append(want, row)
		}
		var text strings.Builder
		w := csv.NewWriter(&text)
		if err := w.WriteAll(want); err != nil {
			t.Fatal(err)
		}
		strict := csv.NewReader(strings.NewReader(text.String()))
		want, err := strict.ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		all, err := readAll(t, text.String(), ',', columns)
		if err != nil {
			t.Fatal(err)
		}
		var got [][]string
		for _, r := range all {
			got = append(got, r.cells)
		}
		if !slices.EqualFunc(got, want, slices.Equal) {
			t.Fatalf("%q is read as\n%q, want\n%q", text.String(), got, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{
		"a,b,c\n", "\"a\nb\",\"c \"d\"\",e\n\"", "\xff\xfea\x00,\x00", "\xe9,\"\"\"\n", "\"\"\",\"\"\n\n\r\r\n,,", "\x00,\"\r\",\r",
	} {
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, text string, columns int) {
		columns = 1 + columns&7
		all, err := readAll(t, text, ',', columns)
		if err != nil && !errors.Is(err, errCut) && !errors.Is(err, errSheet) {
			t.Fatal(err)
		}
		last := 0
		var whole [][]string
		for _, r := range all {
			if r.line <= last {
				t.Fatalf("line %d after line %d", r.line, last)
			}
			last = r.line
			if r.problem != "" {
				continue
			}
			if len(r.cells) != columns {
				t.Fatalf("line %d has %d cells, want %d", r.line, len(r.cells), columns)
			}
			whole = append(whole, r.cells)
		}
		if last > 1+strings.Count(text, "\n")+strings.Count(text, "\r")+strings.Count(text, "\x00") {
			t.Fatalf("line %d of %q", last, text)
		}
		if columns == 1 {
			return // a line inside a cell is a record, too
		}
		// What was read is read again from properly escaped CSV.
		var out strings.Builder
		w := csv.NewWriter(&out)
		if err := w.WriteAll(whole); err != nil {
			t.Fatal(err)
		}
		strict, err := csv.NewReader(strings.NewReader(out.String())).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		again, err := readAll(t, out.String(), ',', columns)
		if err != nil || strings.HasPrefix(out.String(), "\ufeff") {
			return // a byte order mark, or a cell like one
		}
		var cells [][]string
		for _, r := range again {
			cells = append(cells, r.cells)
		}
		blank := func(row []string) bool { return strings.TrimSpace(strings.Join(row, ",")) == "" }
		strict, cells = slices.DeleteFunc(strict, blank), slices.DeleteFunc(cells, blank)
		if len(out.String()) < maxRecord && !strings.Contains(out.String(), "\r") && !slices.EqualFunc(cells, strict, slices.Equal) {
			t.Fatalf("%q is read as\n%q, then\n%q", out.String(), strict, cells)
		}
	})
}
