package needs

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write the golden files")

// TestOwnTable compares the rules in this package with a table for people to read, which groups combinations with the same
// destinations.
func TestOwnTable(t *testing.T) {
	t.Parallel()
	const file = "testdata/own.txtar"
	archive := &txtar.Archive{Comment: []byte("Where each combination of answers leads, by the rules in rules.toml.\n" +
		"To write it: go test ./captive/places/needs -run TestOwnTable -update\n\n")}
	g := Own()
	for _, rule := range g.Rules {
		var table strings.Builder
		for a := range g.All() {
			if g.Rule(a) == rule {
				fmt.Fprintln(&table, a.Path())
			}
		}
		for _, d := range rule.To {
			fmt.Fprintf(&table, "  → %s\n", d)
		}
		name := ""
		for _, q := range g.Questions {
			if choices := rule.When[q.Key]; choices != nil {
				name = strings.TrimSpace(name + " " + q.Key + "=" + strings.Join(choices, ","))
			}
		}
		archive.Files = append(archive.Files, txtar.File{Name: name, Data: []byte(table.String())})
	}
	got := txtar.Format(archive)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
}

// The social centres' practice holds for every combination of answers.
func TestOwnRules(t *testing.T) {
	t.Parallel()
	g := Own()
	first := func(a Answers) string { return a[0].Choice.Key }
	count := 0
	for a := range g.All() {
		count++
		back, next, whole := g.Read(a.Path())
		if back.Path() != a.Path() || next != nil || !whole {
			t.Errorf("%s is read as %s, then %v", a.Path(), back.Path(), next)
		}
		to := g.Rule(a).To
		has := func(d Destination) bool { return slices.Contains(to, d) }
		end := to[len(to)-1]
		if text, _ := g.HowWithout(end).In("fr"); end.Kind != Without || text == "" {
			t.Errorf("%s: it does not end with how to do it without the internet", a.Path())
		}
		switch first(a) {
		case "info":
			if !a.Danger() || to[0].Kind != Number || len(a) != 2 {
				t.Errorf("%s: %v", a.Path(), to)
			}
			if strings.ContainsFunc(a[1].Choice.Key, func(r rune) bool { return r > 'e' }) {
				t.Errorf("%s: the address tells what happened", a.Path())
			}
			if i := slices.IndexFunc(to, func(d Destination) bool { return d.IsPlace() || d.Kind == Lesson }); i >= 0 && i < 2 {
				t.Errorf("%s: %s comes before the numbers", a.Path(), to[i])
			}
		case "papers", "letter", "work":
			if !a.Official() || has(Destination{Person, Volunteers}) {
				t.Errorf("%s: %v", a.Path(), to)
			}
			if first(a) != "work" && (!has(Destination{Person, SocialWorker}) || !has(Destination{Person, PublicWriter}) ||
				!has(Destination{Programme, "france-services"}) || !has(Destination{Typology, "PIMMS"})) {
				t.Errorf("%s: a professional is missing in %v", a.Path(), to)
			}
		case "learn", "repair":
			if !has(Destination{Person, Volunteers}) {
				t.Errorf("%s: no volunteers in %v", a.Path(), to)
			}
		case "device":
			if to[0] != (Destination{Typology, "RESSOURCERIE"}) {
				t.Errorf("%s: %v", a.Path(), to)
			}
		case "lost":
			if to[0] != (Destination{Lesson, "telephone-perdu"}) {
				t.Errorf("%s: %v", a.Path(), to)
			}
		case "money":
			if to[0] != (Destination{Lesson, "tarifs-sociaux"}) {
				t.Errorf("%s: %v", a.Path(), to)
			}
		}
		if first(a) != "info" && a.Danger() {
			t.Errorf("%s is discreet", a.Path())
		}
	}
	if count != 65 {
		t.Errorf("there are %d combinations", count)
	}
	if n := g.Length(g.Questions[0]); n != 3 {
		t.Errorf("up to %d questions are asked", n)
	}
}

// Every text of the rules in this package is in all six languages.
func TestOwnLanguages(t *testing.T) {
	t.Parallel()
	want := []string{"ar", "en", "es", "fr", "pt", "uk"}
	for _, text := range Own().texts() {
		var have []string
		for _, code := range want {
			if text[code] != "" {
				have = append(have, code)
			}
		}
		if text != nil && !slices.Equal(have, want) {
			t.Errorf("%q is in %s", text["fr"], have)
		}
	}
}
