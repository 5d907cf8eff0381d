package daemon

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"passerelle/appliance/config"
)

// oneLine is the configuration of a box with one line.
const oneLine = `
[box]
name = "Centre social des Lilas"
languages = ["fr", "en"]
[hotspot]
interface = "wlan0"
radio = "none"
address = "10.80.0.1/22"
[limits]
session = "2h"
download = "8mbit"
upload = "4mbit"
data = "500MB"
[[donation]]
name = "Fibre du centre"
interface = "eth0"
download = "40mbit"
upload = "20mbit"
cap = "200GB"
reserve = "0"
`

// secondLine is a line with a lender's password.
const secondLine = `
[[donation]]
name = "Wi-Fi de la mairie"
interface = "wlan1"
cap = "5GB"
wifi = { ssid = "Mairie", passphrase = "une phrase \"secrete\"" }
`

// testDaemon returns a daemon that does not run, with its files in a temporary folder.
func testDaemon(t *testing.T) *Daemon {
	dir := t.TempDir()
	d := &Daemon{
		paths: paths{config: filepath.Join(dir, "passerelle.toml"), state: filepath.Join(dir, "state"), socket: filepath.Join(dir, "run", "sock")},
		log:   slog.New(slog.DiscardHandler),
	}
	for _, folder := range []string{d.state, d.runDir()} {
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func mustWrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestAccept: an accepted configuration is stored with its passwords, readable by its owner only, and written once. The last one
// of another release is kept too.
func TestAccept(t *testing.T) {
	t.Parallel()
	d := testDaemon(t)
	last := filepath.Join(d.state, acceptedFolder, acceptedLast)
	before := filepath.Join(d.state, acceptedFolder, acceptedBefore)
	parse := func(text string) *config.Config {
		text = strings.Replace(text, "[limits]", "country = \"FR\"\n[limits]", 1)
		c, err := config.Parse("passerelle.toml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	accept := func(c *config.Config) fs.FileInfo {
		t.Helper()
		if err := d.accept(c); err != nil {
			t.Fatal(err)
		}
		kept, err := config.File{Path: last}.Load()
		if err != nil || string(config.Format(kept)) != string(config.Format(c)) {
			t.Errorf("stored is not what was accepted: %v\n%s", err, cmp.Diff(string(config.Format(c)), string(config.Format(kept))))
		}
		info, err := os.Stat(last)
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("others can read it: %v, %v", info.Mode(), err)
		}
		return info
	}
	c := parse(oneLine + secondLine)
	first := accept(c)
	if again := accept(c); !os.SameFile(first, again) || !again.ModTime().Equal(first.ModTime()) {
		t.Error("it was written again, although nothing changed")
	}
	accept(parse(oneLine))
	if _, err := os.Stat(before); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("two of this release are kept: %v", err)
	}
	if err := os.WriteFile(last, []byte("# Another release's.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	accept(c)
	accept(parse(oneLine))
	if text, err := os.ReadFile(before); err != nil || string(text) != "# Another release's.\n" {
		t.Errorf("of the other release %q is kept: %v", text, err)
	}
}

// TestLoadConfig: which configuration a daemon starts with.
func TestLoadConfig(t *testing.T) {
	t.Parallel()
	text := func(name string) string {
		return strings.Replace(oneLine, "Centre social des Lilas", name, 1)
	}
	const newer = "\nnew_key = 1\n"
	for name, test := range map[string]struct {
		file, last, before string // "": there is none
		setup              bool

		wrong      bool
		uses       string // by the centre's name
		configured bool
		says       string
	}{
		"all is well":                  {text("A"), text("B"), text("C"), false, false, "A", true, ""},
		"an unknown key":               {text("A") + newer, text("B"), text("C"), false, false, "B", true, ":22: donation.new_key: unknown key; "},
		"several problems":             {text("A") + newer + "b = 1", text("B"), "", false, false, "B", true, "(and 1 more problem: passerelle check); the box uses the one accepted on "},
		"no TOML":                      {"[box", text("B"), "", false, false, "B", true, "is refused"},
		"of the next release, as well": {text("A") + newer, text("B") + newer, text("C"), false, false, "C", true, "accepted on 3 Nov 2026 11:00"},
		"no file":                      {"", text("B"), text("C"), false, false, "B", true, "is missing; the box uses the one accepted on "},
		"no file, and wanted":          {"", text("B"), "", true, false, "Passerelle", false, ""},
		"all with unknown keys":        {text("A") + newer, text("B") + newer, "", true, false, "A", false, "donation.new_key: unknown key; known keys: "},
		"unknown keys and no TOML":     {"[box", "[box", text("C") + newer, true, false, "C", false, "not valid TOML"},
		"nothing readable":             {"[box", "[box", "", true, true, "", false, ""},
		"an unknown key at first":      {text("A") + newer, "", "", true, true, "", false, ""},
		"no file at first":             {"", "", "", false, true, "", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := testDaemon(t)
			folder := filepath.Join(d.state, acceptedFolder)
			if err := os.Mkdir(folder, 0o700); err != nil {
				t.Fatal(err)
			}
			when := time.Date(2026, 11, 3, 10, 0, 0, 0, time.UTC)
			for path, text := range map[string]string{
				d.paths.config: test.file, filepath.Join(folder, acceptedLast): test.last, filepath.Join(folder, acceptedBefore): test.before,
			} {
				if text != "" {
					mustWrite(t, path, text)
					if err := os.Chtimes(path, when, when); err != nil {
						t.Fatal(err)
					}
				}
			}
			err := d.loadConfig(test.setup)
			if errors.As(err, &InputError{}) != test.wrong {
				t.Fatalf("loaded with %v", err)
			}
			if test.wrong {
				return
			}
			if d.config.Box.Name != test.uses || d.configured != test.configured {
				t.Errorf("it uses that of %q, configured %t", d.config.Box.Name, d.configured)
			}
			says := ""
			if d.refused != nil {
				says = d.refused.Error()
			}
			if (says == "") != (test.says == "") || !strings.Contains(says, test.says) || strings.Contains(says, "\n") {
				t.Errorf("it says %q, not %q", says, test.says)
			}
			if !d.configured && len(d.config.Donations) > 0 {
				t.Errorf("shared are %+v", d.config.Donations)
			}
		})
	}
}
