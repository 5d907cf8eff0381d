package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"passerelle/appliance"
	"passerelle/appliance/config"
	"passerelle/appliance/decide"
	"passerelle/netctl/netlab"
)

// secondLine is a line with a lender's password.
const secondLine = `
[[donation]]
name = "Wi-Fi de la mairie"
interface = "wlan1"
cap = "5GB"
wifi = { ssid = "Mairie", passphrase = "une phrase \"secrete\"" }
`

// inFolders returns a daemon that does not run, whose files are in a folder of the test's.
func inFolders(t *testing.T) *daemon {
	dir := t.TempDir()
	d := &daemon{
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

// TestAccept: what was accepted is kept for root alone, with its passwords, and written once; of another release, too.
func TestAccept(t *testing.T) {
	t.Parallel()
	d := inFolders(t)
	last := filepath.Join(d.state, acceptedFolder, acceptedLast)
	before := filepath.Join(d.state, acceptedFolder, acceptedBefore)
	parse := func(s settings) *config.Config {
		text := strings.Replace(s.String(), "[limits]", "country = \"FR\"\n[limits]", 1)
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
		kept, err := config.Load(last)
		if err != nil || string(config.Format(kept)) != string(config.Format(c)) {
			t.Errorf("what is kept is not what was accepted: %v\n%s", err, cmp.Diff(string(config.Format(c)), string(config.Format(kept))))
		}
		info, err := os.Stat(last)
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("it is for others to read, too: %v, %v", info.Mode(), err)
		}
		return info
	}
	c := parse(settings{more: secondLine})
	first := accept(c)
	if again := accept(c); !os.SameFile(first, again) || !again.ModTime().Equal(first.ModTime()) {
		t.Error("it was written again, although nothing changed")
	}
	accept(parse(settings{}))
	if _, err := os.Stat(before); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("two of this release are kept: %v", err)
	}
	if err := os.WriteFile(last, []byte("# Another release's.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	accept(c)
	accept(parse(settings{}))
	if text, err := os.ReadFile(before); err != nil || string(text) != "# Another release's.\n" {
		t.Errorf("of the other release %q is kept: %v", text, err)
	}
}

// TestBegin: which configuration a daemon begins with.
func TestBegin(t *testing.T) {
	t.Parallel()
	text := func(name string) string {
		return strings.Replace(settings{}.String(), "Centre social des Lilas", name, 1)
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
		"none that is known":           {text("A") + newer, text("B") + newer, "", true, false, "A", false, "donation.new_key: unknown key; known here: "},
		"none that is known, no TOML":  {"[box", "[box", text("C") + newer, true, false, "C", false, "not valid TOML"},
		"nothing that can be read":     {"[box", "[box", "", true, true, "", false, ""},
		"an unknown key at first":      {text("A") + newer, "", "", true, true, "", false, ""},
		"no file at first":             {"", "", "", false, true, "", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := inFolders(t)
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
			err := d.begin(test.setup)
			if errors.As(err, &wrong{}) != test.wrong {
				t.Fatalf("begun with %v", err)
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

// TestConfigurationRefused: a box whose configuration is refused works with the one that it accepted last, and says so,
// until the configuration is mended. Where it knows none, people find the pages, and why nothing is shared.
func TestConfigurationRefused(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{})
	r := b.scene.Residents[0]
	b.newcomer(r)
	b.stop()
	newer := settings{}.String() + "\nnew_key = 1\n"
	mustWrite(t, b.config, strings.Replace(newer, "des Lilas", "des Roses", 1))

	const why = `:22: donation.new_key: unknown key; `
	refused := func(s appliance.Status) {
		t.Helper()
		if s.Centre != "Centre social des Lilas" || len(s.Problems) != 1 || !strings.Contains(s.Problems[0], b.config+why) {
			t.Errorf("%q: %q", s.Centre, s.Problems)
		}
		if out := b.mustDo("status"); !strings.Contains(out, "problem: the configuration "+b.config+" is refused: ") {
			t.Errorf("status does not say why:\n%s", out)
		}
		reply, err := r.Get(t.Context(), portal+"/healthz")
		if err != nil || reply.Status != http.StatusOK {
			t.Errorf("/healthz: %d, %v", reply.Status, err)
		}
	}
	refused(b.restart())
	b.waitOnline(r)
	b.signal(syscall.SIGHUP)
	wait(t, "the refusal of the same again", func() error {
		if !strings.Contains(b.said(), "the configuration is not taken up") {
			return errors.New("the log does not say so")
		}
		return nil
	})
	s, err := b.status()
	b.must(err)
	refused(s)
	if out, err := program("check", "--config", b.config).CombinedOutput(); !strings.Contains(string(out), why) || err == nil {
		t.Errorf("check says %s, %v", out, err)
	}
	b.reload(settings{data: "400MB"})
	if s, err := b.status(); err != nil || len(s.Problems) > 0 || s.Residents.Data != 400e6 {
		t.Errorf("mended, it is %+v, %v", s, err)
	}
	b.stop()

	mustWrite(t, b.config, newer)
	mustWrite(t, filepath.Join(b.state, acceptedFolder, acceptedLast), newer)
	b.start()
	s = b.waitState(decide.Setup)
	refused(s)
	if !strings.Contains(s.Why, "nothing is shared") {
		t.Errorf("why: %s", s.Why)
	}
	b.join(r)
	b.shows(r, "setup.title")
	b.held(r)
	b.configure(settings{})
	b.signal(syscall.SIGHUP)
	if s := b.waitState(decide.Sharing); len(s.Problems) > 0 {
		t.Errorf("configured, its problems are %q", s.Problems)
	}
}
