package main

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"passerelle/appliance/config"
)

// TestLessonsLeadToEssentialServices: every site that our own tutorials name is open to all residents, or its line says that it needs the
// internet. Otherwise a reader without a session could not reach it.
func TestLessonsLeadToEssentialServices(t *testing.T) {
	t.Parallel()
	host := regexp.MustCompile(`\b(?:[a-z0-9-]+\.)+(?:fr|org|net|com|eu|info)\b`)
	sources := regexp.MustCompile(`(?m)^sources = \[[^\]]*\]`) // pages for authors, not for readers
	notSites := []string{"gouv.fr"}                            // the suffix of the French state's host names, and no site
	marks := map[string]string{"fr.md": "(il faut Internet)", "en.md": "(needs the internet)", "es.md": "(necesita Internet)",
		"pt.md": "(precisa de Internet)", "ar.md": "(يحتاج إلى الإنترنت)", "uk.md": "(потрібен інтернет)"}
	open := config.Essential{Names: []string{config.France}}.All()
	hosts := 0
	err := fs.WalkDir(os.DirFS("../../captive/tutorials/lessons"), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || path.Ext(name) != ".md" || !strings.HasPrefix(name, "own/") && !strings.HasPrefix(name, "helpers/") {
			return err
		}
		b, err := os.ReadFile("../../captive/tutorials/lessons/" + name)
		for line := range strings.Lines(sources.ReplaceAllString(string(b), "")) {
			mark, ok := marks[path.Base(name)]
			if !ok {
				t.Fatalf("%s: say here how that language says that a site needs the internet", name)
			}
			marked := strings.Contains(line, mark)
			for _, h := range host.FindAllString(line, -1) {
				hosts++
				essential := slices.ContainsFunc(open, func(s string) bool { return h == s || strings.HasSuffix(h, "."+s) })
				if !slices.Contains(notSites, h) && essential == marked {
					t.Errorf("%s: %s is an essential service: %t; the line says that it needs the internet: %t", name, h, essential, marked)
				}
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if hosts < 30 {
		t.Errorf("only %d sites were found in the lessons", hosts)
	}
}
