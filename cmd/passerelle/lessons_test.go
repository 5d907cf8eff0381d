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

// TestLessonsLeadToEssentialServices: every site that our own lessons name is open to everybody. Where one is not, a reader
// without a session would stand before a closed door.
func TestLessonsLeadToEssentialServices(t *testing.T) {
	t.Parallel()
	host := regexp.MustCompile(`\b(?:[a-z0-9-]+\.)+(?:fr|org|net|com|eu|info)\b`)
	sources := regexp.MustCompile(`(?m)^sources = \[[^\]]*\]`) // pages that authors read, not readers
	notSites := []string{"gouv.fr"}                            // the ending of the State's names
	open := config.Essential{Names: []string{config.France}}.All()
	hosts := 0
	err := fs.WalkDir(os.DirFS("../../captive/tutorials/lessons"), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || path.Ext(name) != ".md" || !strings.HasPrefix(name, "own/") && !strings.HasPrefix(name, "helpers/") {
			return err
		}
		b, err := os.ReadFile("../../captive/tutorials/lessons/" + name)
		for _, h := range host.FindAllString(sources.ReplaceAllString(string(b), ""), -1) {
			hosts++
			if !slices.Contains(notSites, h) && !slices.ContainsFunc(open, func(s string) bool { return h == s || strings.HasSuffix(h, "."+s) }) {
				t.Errorf("%s: %s is no essential service", name, h)
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
