package main

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"passerelle/appliance/config"
)

var updateDocs = flag.Bool("update-docs", false, "write the table of keys in REFERENCE.md")

const top = "../.."

// documents are the documents for people, below the top folder.
var documents = []string{"README.md", "cmd/passerelle/GUIDE.md", "cmd/passerelle/REFERENCE.md", "cmd/hub/GUIDE.md"}

func readDocument(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(top, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var (
	docLink    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	docHeading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notInID    = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors returns the ids of a document's headings, as GitHub generates them.
func anchors(text string) (ids []string) {
	for _, m := range docHeading.FindAllStringSubmatch(text, -1) {
		ids = append(ids, strings.ReplaceAll(strings.ToLower(notInID.ReplaceAllString(m[1], "")), " ", "-"))
	}
	return ids
}

// TestDocumentLinks: every target of a link in the documents exists, with the heading that it names.
func TestDocumentLinks(t *testing.T) {
	t.Parallel()
	found := 0
	for _, name := range documents {
		text := readDocument(t, name)
		for _, m := range docLink.FindAllStringSubmatch(text, -1) {
			if strings.HasPrefix(m[1], "http") {
				continue
			}
			found++
			file, heading, _ := strings.Cut(m[1], "#")
			to := filepath.Join(filepath.Dir(name), file)
			if file == "" {
				to = name
			}
			if _, err := os.Stat(filepath.Join(top, to)); err != nil {
				t.Errorf("%s links to %s: %v", name, m[1], err)
			} else if heading != "" && !slices.Contains(anchors(readDocument(t, to)), heading) {
				t.Errorf("%s links to %s: there is no such heading", name, m[1])
			}
		}
	}
	if found < 20 {
		t.Errorf("%d links: they are written otherwise", found)
	}
}

// TestDocumentedCommands: the reference has every command of the help, and the documents name no others. The make targets that they name
// exist.
func TestDocumentedCommands(t *testing.T) {
	t.Parallel()
	reference := readDocument(t, "cmd/passerelle/REFERENCE.md") + readDocument(t, "cmd/passerelle/GUIDE.md")
	known := []string{"help"}
	for _, c := range commands {
		known = append(known, c.name)
		if c.about != "" && !regexp.MustCompile("`(passerelle )?"+c.name+"\\b").MatchString(reference) {
			t.Errorf("no document has the command %s", c.name)
		}
	}
	makefile := readDocument(t, "Makefile")
	for _, name := range documents {
		text := readDocument(t, name)
		for _, m := range regexp.MustCompile("(?m)(?:^    |`)passerelle ([a-z]+)").FindAllStringSubmatch(text, -1) {
			if !slices.Contains(known, m[1]) {
				t.Errorf("%s has the command %q, which does not exist", name, m[1])
			}
		}
		for _, m := range regexp.MustCompile("(?m)(?:^    |`)make ([a-z-]+)").FindAllStringSubmatch(text, -1) {
			if !regexp.MustCompile(`(?m)^` + m[1] + `:`).MatchString(makefile) {
				t.Errorf("%s has make %s, which does not exist", name, m[1])
			}
		}
	}
}

// keyTable lists the keys of the example configuration with its values and its comments, as Markdown.
func keyTable(example string) string {
	var b strings.Builder
	var said []string
	for line := range strings.Lines(example) {
		line = strings.TrimSpace(line)
		key, value, isKey := strings.Cut(line, " = ")
		switch {
		case strings.HasPrefix(line, "#"):
			said = append(said, strings.TrimSpace(strings.TrimPrefix(line, "#")))
			continue
		case strings.HasPrefix(line, "["):
			b.WriteString("\n**`" + line + "`** " + strings.Join(said, " ") + "\n\n| key | example | |\n|---|---|---|\n")
		case isKey:
			b.WriteString("| `" + key + "` | `" + strings.ReplaceAll(value, "|", `\|`) + "` | " + strings.ReplaceAll(strings.Join(said, " "), "|", `\|`) + " |\n")
		case line == "" && b.Len() == 0:
			b.WriteString(strings.Join(said, " ") + "\n")
		}
		said = nil
	}
	return b.String()
}

// TestReferenceKeys: the reference has the keys of the example that passerelle init writes. With -update-docs it writes them.
func TestReferenceKeys(t *testing.T) {
	t.Parallel()
	const begin, end = "<!-- keys -->\n", "<!-- end of keys -->"
	name := "cmd/passerelle/REFERENCE.md"
	text := readDocument(t, name)
	before, rest, ok := strings.Cut(text, begin)
	got, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("the place of the keys is gone")
	}
	want := "\n`passerelle init` writes them all. " + keyTable(string(config.Example())) + "\n"
	if *updateDocs {
		if err := os.WriteFile(filepath.Join(top, name), []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		got = want
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got; -update-docs writes it):\n%s", name, diff)
	}
	if strings.Count(want, "\n| `") < 50 {
		t.Errorf("%d keys: the example has another form", strings.Count(want, "\n| `"))
	}
}

// TestTopFolder: the top folder contains only what belongs there, and what git ignores.
func TestTopFolder(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(top)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.Contains(strings.Fields(".ci .git .gitignore LICENSE Makefile README.md appliance bin captive cmd go.mod go.sum hw image netctl testdata screenshots"), e.Name()) {
			t.Errorf("%s is in the top folder", e.Name())
		}
	}
}
