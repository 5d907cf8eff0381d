package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"passerelle/appliance/config"
	"passerelle/appliance/control"
	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
)

// TestWiFiLendIsApplied lends a network to a running box, which has the donation at once. Only root can read the file.
func TestWiFiLendIsApplied(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{})
	old, err := os.ReadFile(b.Config)
	b.must(err)
	french := []byte(strings.Replace(string(old), "[hotspot]", "[hotspot]\ncountry = \"FR\"", 1))
	b.must(os.WriteFile(b.Config, french, 0o644))
	out := b.mustDo("wifi", "lend", "--config", b.Config, "--interface", "wlan7", "--cap", "2GB",
		"Chez Lucie", "trois petits chats")
	if !strings.Contains(out, "Configuration applied") || strings.Contains(out, "petits") {
		t.Errorf("lend says %q", out)
	}
	b.waitStatus("the network's donation", func(s state.Status) error {
		if len(s.Donations) != 2 || s.Donations[1].Name != "Chez Lucie" {
			return fmt.Errorf("the donations are %+v", s.Donations)
		}
		return nil
	})
	if info, err := os.Stat(b.Config); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the configuration: %v, %v", info.Mode(), err)
	}
	if said := b.Log() + b.mustDo("status", "--json"); strings.Contains(said, "petits") {
		t.Error("the daemon tells the password")
	}
	other := b.scene.Box.Path("/other.toml")
	b.must(os.WriteFile(other, french, 0o600))
	out, err = b.Do(b.t.Context(), "wifi", "lend", "--config", other, "--name", "Fibre du centre", "Chez Lucie", "")
	if err == nil || !strings.Contains(out, "uses another configuration, "+b.Config) {
		t.Errorf("another configuration than the box's: %v, %s", err, out)
	}
}

// TestDoorOfARunningBox: of two concurrent changes, the second is refused. A read-only disk or an invalid text changes nothing. No password
// is shown.
func TestDoorOfARunningBox(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{})
	box, file := control.Client{Socket: b.Socket}, config.File{Path: b.Config}
	text, first, err := file.Read()
	b.must(err)
	text = []byte(strings.Replace(string(text), "[hotspot]", "[hotspot]\ncountry = \"FR\"", 1))
	apply := func(text []byte, from config.Revision, want config.Outcome) config.Result {
		t.Helper()
		r, err := box.Apply(t.Context(), b.Config, text, from)
		if _, now, readErr := file.Read(); err != nil || readErr != nil || r.Outcome != want || r.Revision != now {
			t.Errorf("told %+v, %v; want %s of revision %s, %v", r, err, want, now, readErr)
		}
		return r
	}
	apply(append(text, "# first\n"...), first, config.Applied)
	second := apply(append(text, "# second\n"...), first, config.Conflict)
	if now, _, err := file.Read(); err != nil || !strings.HasSuffix(string(now), "# first\n") {
		t.Errorf("what the first wrote is lost: %v\n%s", err, now)
	}
	apply(append(text, "# second\n"...), second.Revision, config.Applied)
	secret := "\n[[donation]]\nname = \"Lucie\"\ninterface = \"trois petits chats\"\ncap = \"2GB\"\nwifi = { ssid = \"Lucie\", passphrase = \"trois petits chats\" }\n"
	wrong := apply(append(text, secret...), config.RevisionOf(append(text, "# second\n"...)), config.Refused)
	if len(wrong.Problems) != 1 || !strings.Contains(wrong.Why, "donation.interface: ") {
		t.Errorf("refused with %+v", wrong)
	}

	folder := filepath.Dir(b.Config)
	b.run("mount", "--bind", folder, folder)
	b.run("mount", "-o", "remount,bind,ro", folder)
	out, err := b.Do(t.Context(), "wifi", "lend", "--config", b.Config, "--interface", "wlan7", "--cap", "2GB", "Chez Lucie", "trois petits chats")
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != exitFailed || !strings.Contains(out, "make the disk writable") {
		t.Errorf("of a disk that cannot be written it says %v, %s", err, out)
	}
	b.mustDo("reload") // the file need not be written
	b.run("umount", folder)
	if out := b.mustDo("wifi", "lend", "--config", b.Config, "--interface", "wlan7", "--cap", "2GB", "Chez Lucie", "trois petits chats"); !strings.Contains(out, "Configuration applied") {
		t.Errorf("lend says %s", out)
	}
	if said := b.Log() + out + fmt.Sprint(wrong); strings.Contains(said, "petits") || !strings.Contains(said, `by="the command line"`) {
		t.Error("the password is told, or who changed the configuration is not")
	}
	b.waitSound()
}
