package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"passerelle/appliance"
	"passerelle/netctl/netlab"
)

// TestWiFiLendIsTakenUp lends a network to a box that runs: it has the donation at once, and the file is root's.
func TestWiFiLendIsTakenUp(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{})
	old, err := os.ReadFile(b.config)
	b.must(err)
	french := []byte(strings.Replace(string(old), "[hotspot]", "[hotspot]\ncountry = \"FR\"", 1))
	b.must(os.WriteFile(b.config, french, 0o644))
	out := b.mustDo("wifi", "lend", "--config", b.config, "--interface", "wlan7", "--cap", "2GB",
		"Chez Lucie", "trois petits chats")
	if !strings.Contains(out, "The box has taken it up") || strings.Contains(out, "petits") {
		t.Errorf("lend says %q", out)
	}
	b.waitStatus("the network's donation", func(s appliance.Status) error {
		if len(s.Donations) != 2 || s.Donations[1].Name != "Chez Lucie" {
			return fmt.Errorf("the donations are %+v", s.Donations)
		}
		return nil
	})
	if info, err := os.Stat(b.config); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the configuration: %v, %v", info.Mode(), err)
	}
	if said := b.said() + b.mustDo("status", "--json"); strings.Contains(said, "petits") {
		t.Error("the daemon tells the password")
	}
	other := b.scene.Box.Path("/other.toml")
	b.must(os.WriteFile(other, french, 0o600))
	out, err = b.do("wifi", "lend", "--config", other, "--name", "Fibre du centre", "Chez Lucie", "")
	if err == nil || !strings.Contains(out, "reads another one, "+b.config) {
		t.Errorf("another configuration than the box's: %v, %s", err, out)
	}
}
