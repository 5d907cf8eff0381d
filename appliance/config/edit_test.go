package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// TestEdit makes the changes after which the golden files are named.
func TestEdit(t *testing.T) {
	t.Parallel()
	wifi := Table{{"ssid", "Chez Lucie"}, {"passphrase", `a "b" c\d`}}
	for name, changes := range map[string][]Change{
		"set":           {{[]string{"hotspot", "ssid"}, "Lilas"}, {[]string{"donation", "Fibre", "dns"}, []string{"9.9.9.9"}}},
		"set-missing":   {{[]string{"box", "language"}, "fr"}, {[]string{"donation", "Fibre", "priority"}, 2}, {[]string{"limits", "data"}, "1GB"}},
		"set-dotted":    {{[]string{"box", "language"}, "fr"}, {[]string{"hotspot", "channel"}, 6}},
		"set-inline":    {{[]string{"donation", "Fibre", "wifi", "passphrase"}, "quatre chats"}, {[]string{"donation", "Fibre", "broadcast"}, true}},
		"set-table":     {{[]string{"donation", "Lucie", "wifi"}, wifi}},
		"remove":        {{[]string{"box", "language"}, nil}, {[]string{"donation", "Fibre", "dns"}, nil}, {[]string{"limits"}, nil}, {[]string{"hw"}, nil}, {[]string{"donation", "Nobody", "cap"}, nil}},
		"remove-inline": {{[]string{"donation", "A"}, nil}, {[]string{"donation", "B", "wifi", "ssid"}, nil}},
		"remove-first":  {{[]string{"donation", "A"}, nil}},
		"add":           {{[]string{"donation", "Lucie"}, Table{{"interface", "wlan1"}, {"wifi", wifi}, {"cap", "2GB"}}}},
		"add-inline":    {{[]string{"donation", "Lucie"}, Table{{"interface", "wlan1"}, {"wifi", wifi}, {"cap", "2GB"}}}},
		"replace":       {{[]string{"donation", "Fibre"}, Table{{"name", "Fibre du centre"}, {"interface", "eth1"}, {"cap", "0"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join("testdata", "edit", name+".txtar")
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Edit(archive.Files[0].Data, changes)
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				archive.Files = append(archive.Files[:1], txtar.File{Name: "edited.toml", Data: got})
				writeArchive(t, path, archive)
			}
			if diff := cmp.Diff(string(archive.Files[1].Data), string(got)); diff != "" {
				t.Errorf("edited (-want +got):\n%s", diff)
			}
		})
	}
}

// TestEditRefuses: changes that Edit cannot make, and texts that are not TOML.
func TestEditRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text   string
		change Change
		want   string
	}{
		{"[box\n", Change{[]string{"box", "name"}, "A"}, "not valid TOML"},
		{"box = 1\n", Change{[]string{"box", "name"}, "A"}, ErrByHand.Error()},
		{"[box.name.x]\n", Change{[]string{"box", "name", "y"}, "A"}, ErrByHand.Error()},
		{"[[donation]]\nname = \"A\"\n[[donation]]\nname = \"A\"\n", Change{[]string{"donation", "A", "cap"}, "0"}, "several donations"},
		{"[donation]\n", Change{[]string{"donation", "A", "cap"}, "0"}, ErrByHand.Error()},
		{"", Change{nil, "A"}, "not the path of a key"},
		{"", Change{[]string{"donation"}, nil}, "not the path of a key"},
		{"", Change{[]string{"donation", "A"}, "B"}, "is a table"},
		{"", Change{[]string{"box", "name"}, 1.5}, "cannot be a float64"},
		{"", Change{[]string{"box", "name"}, "\xff"}, "not UTF-8"},
	} {
		if got, err := Edit([]byte(c.text), []Change{c.change}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %q, %v; want %q", c.text, got, err, c.want)
		}
	}
}

// seeds returns the texts of the golden files and the example.
func seeds(t testing.TB) (texts [][]byte) {
	for _, pattern := range []string{"testdata/*.txtar", "testdata/edit/*.txtar"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, file := range files {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, archive.Files[0].Data)
		}
	}
	texts = append(texts, Example(), []byte(minimal))
	for _, text := range texts { // the same with CR LF and a byte order mark, as some editors write it
		texts = append(texts, append([]byte(byteOrderMark), bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))...))
	}
	return texts
}

// randomChange returns a change of something that exists, or could exist.
func randomChange(rnd *rand.Rand, text []byte) Change {
	pick := func(from ...string) string { return from[rnd.IntN(len(from))] }
	var values map[string]any
	if _, err := toml.Decode(string(text), &values); err != nil {
		return Change{[]string{"box", "name"}, "A"}
	}
	path := []string{pick("box", "hotspot", "limits", "hw", "strange key")}
	if list := tables(values["donation"]); rnd.IntN(2) == 0 {
		name := "Neue ☺"
		if len(list) > 0 && rnd.IntN(4) > 0 {
			name, _ = keysOf(list[rnd.IntN(len(list))])["name"].(string)
		}
		path = []string{"donation", name}
		if rnd.IntN(3) == 0 {
			path = append(path, "wifi")
		}
	}
	if rnd.IntN(5) > 0 {
		path = append(path, pick("name", "language", "languages", "ssid", "cap", "dns", "resets", "session", "passphrase", "wifi", "a.b"))
	}
	kind := rnd.IntN(8)
	switch isDonation := path[0] == "donation"; {
	case isDonation && len(path) == 3 && path[2] == "name":
		return Change{path, fmt.Sprint("renamed ", rnd.Uint64())}
	case isDonation && len(path) == 2 && kind > 2:
		kind = 6
	}
	switch kind {
	case 0, 1, 2:
		return Change{path, nil}
	case 3:
		return Change{path, rnd.IntN(100) - 50}
	case 4:
		return Change{path, rnd.IntN(2) == 0}
	case 5:
		return Change{path, []string{"fr", pick("a", `"`, "# no comment")}}
	case 6:
		return Change{path, Table{{pick("ssid", "cap", "x y"), pick("a", "]")}, {"interface", "eth7"}}}
	}
	return Change{path, pick("A", `"\`, "é\n☺", "# not one")}
}

// checkEdit makes an edit, checks it against Edit's documentation, and returns the edited text.
func checkEdit(t *testing.T, text []byte, c Change) []byte {
	t.Helper()
	edited, err := Edit(text, []Change{c})
	var problems Problems
	switch {
	case errors.As(err, &problems) || errors.Is(err, ErrByHand):
		return text
	case err != nil:
		t.Fatalf("%q = %v: %v of\n%s", c.Path, c.Value, err, text)
	}
	before, after := decoded(t, text), decoded(t, edited)
	path := c.Path // the path after the change
	if c.Value == nil {
		if got := lookUp(after, c.Path); prune(got) != nil {
			t.Fatalf("%q is still %v in\n%s", c.Path, got, edited)
		}
	} else {
		written, err := render(c.Value)
		if err != nil {
			t.Fatal(err)
		}
		value := decoded(t, []byte("value = "+written))["value"]
		if path[0] == "donation" && len(path) == 2 {
			keysOf(value)["name"] = path[1]
		} else if path[0] == "donation" && path[2] == "name" {
			path = []string{"donation", value.(string), "name"}
		}
		if got := lookUp(after, path); !reflect.DeepEqual(prune(got), prune(value)) {
			t.Fatalf("%q is %v, want %v, in\n%s", c.Path, got, value, edited)
		}
	}
	// The rest is unchanged.
	if diff := cmp.Diff(prune(without(before, c.Path)), prune(without(after, path))); diff != "" {
		t.Fatalf("%q = %v changed more (-before +after):\n%s\nin\n%s", c.Path, c.Value, diff, edited)
	}
	if was, is := commentsOf(text), commentsOf(edited); !slices.Equal(was, is) {
		t.Fatalf("%q = %v: the comments were %q and are %q in\n%s", c.Path, c.Value, was, is, edited)
	}
	if again, err := Edit(edited, []Change{{path, c.Value}}); err == nil && c.Value != nil && !bytes.Equal(again, edited) {
		t.Fatalf("%q = %v changes twice:\n%s", c.Path, c.Value, cmp.Diff(string(edited), string(again)))
	}
	return edited
}

func decoded(t *testing.T, text []byte) (values map[string]any) {
	t.Helper()
	if _, err := toml.Decode(string(text), &values); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return values
}

// lookUp returns the value at a change's path.
func lookUp(value any, path []string) any {
	for i, key := range path {
		value = keysOf(value)[key]
		if i == 0 && key == "donation" && len(path) > 1 {
			for _, d := range tables(value) {
				if keysOf(d)["name"] == path[1] {
					return lookUp(d, path[2:])
				}
			}
			return nil
		}
	}
	return value
}

// without returns values without the value at a change's path. If the path is in a donation, that donation's name is removed, too.
func without(values map[string]any, path []string) any {
	if path[0] != "donation" {
		return removed(values, path)
	}
	var list []any
	found := false
	for _, d := range tables(values["donation"]) {
		if !found && keysOf(d)["name"] == path[1] {
			found = true
			if len(path) > 2 {
				d = removed(keysOf(d), path[2:])
			} else {
				d = nil
			}
			d = removed(keysOf(d), []string{"name"})
		}
		list = append(list, d)
	}
	return []any{removed(values, path[:1]), list}
}

func removed(values map[string]any, path []string) map[string]any {
	out := map[string]any{}
	for key, value := range values {
		switch {
		case key != path[0]:
			out[key] = value
		case len(path) > 1:
			out[key] = removed(keysOf(value), path[1:])
		}
	}
	return out
}

// commentsOf returns the comments of a text, sorted.
func commentsOf(text []byte) (list []string) {
	tree := parseTree(text)
	for _, c := range tree.comments {
		list = append(list, string(text[c.start:c.end]))
	}
	slices.Sort(list)
	return list
}

// TestEdits makes many changes, one after the other, in the texts of the golden files.
func TestEdits(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(7, 3))
	made := 0
	for _, seed := range seeds(t) {
		for range 5 {
			text := seed
			for range 6 {
				edited := checkEdit(t, text, randomChange(rnd, text))
				if !bytes.Equal(edited, text) {
					made++
				}
				text = edited
			}
		}
	}
	if made < 500 {
		t.Errorf("only %d changes were made", made)
	}
}

// FuzzEdit makes random changes in arbitrary texts.
func FuzzEdit(f *testing.F) {
	for i, text := range seeds(f) {
		f.Add(text, uint64(i))
	}
	f.Fuzz(func(t *testing.T, text []byte, seed uint64) {
		if _, _, err := decode("fuzz.toml", text); err != nil {
			return
		}
		rnd := rand.New(rand.NewPCG(seed, 1))
		for range 3 {
			text = checkEdit(t, text, randomChange(rnd, text))
		}
	})
}

// FuzzTree compares the tree with the decoded text. Every key must have a line.
func FuzzTree(f *testing.F) {
	for _, text := range seeds(f) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		values, r, err := decode("fuzz.toml", text)
		if err != nil {
			return
		}
		var visit func(path string, value any)
		visit = func(path string, value any) {
			if len(path) > maxPath {
				return
			}
			for key, inner := range keysOf(value) {
				visit(pathOf(path, key), inner)
			}
			for i, inner := range tables(value) {
				visit(elementOf(path, i), inner)
			}
			implicit := func(other string) bool { return within(other, path) }
			if _, ok := r.lines[path]; !ok && path != "" && !slices.ContainsFunc(slices.Collect(maps.Keys(r.lines)), implicit) {
				t.Fatalf("%s has no line in\n%s", path, text)
			}
		}
		visit("", values)
	})
}
