package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"passerelle/appliance/config"
)

// TestLanguagesAreTaken: the configuration accepts every language of the pages. (check.txtar tests that it accepts no others.)
func TestLanguagesAreTaken(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../captive/web/words/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatalf("words files: %q, %v", files, err)
	}
	usual := []byte(`languages = ["fr", "en"]`)
	if !bytes.Contains(config.Example(), usual) {
		t.Fatalf("the example does not say %s", usual)
	}
	for _, file := range files {
		code := strings.TrimSuffix(filepath.Base(file), ".toml")
		text := bytes.Replace(config.Example(), usual, []byte(`languages = ["fr", "`+code+`"]`), 1)
		if code == "fr" {
			text = config.Example()
		}
		if _, err := config.Parse("passerelle.toml", text); err != nil {
			t.Errorf("%s: %v", code, err)
		}
	}
}
