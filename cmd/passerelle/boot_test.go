package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"passerelle/appliance/config"
)

// TestLeaveHotspot: systemd-networkd ignores the hotspot's interface in the configuration, or the usual radio if there is no readable one.
func TestLeaveHotspot(t *testing.T) {
	t.Parallel()
	file, dir := filepath.Join(t.TempDir(), "box.toml"), filepath.Join(t.TempDir(), "network")
	for _, c := range []struct{ from, to, want string }{
		{`interface = "wlan0"`, `interface = "eth1"`, "eth1"},
		{`interface = "wlan0"`, `interface = "br0"`, "br0"},
		{"[hotspot]", "[nonsense]", "wlan0"},
	} {
		text, err := os.ReadFile("../../testdata/box.toml")
		if err == nil {
			err = os.WriteFile(file, []byte(strings.Replace(string(text), c.from, c.to, 1)), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		box := &cli{out: new(bytes.Buffer), err: new(bytes.Buffer)}
		if err := leaveHotspot(t.Context(), box, []string{"--config", file, "--networkd", dir}); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, networkdFile))
		if want := "[Match]\nName=" + c.want + " pas-*\n\n[Link]\nUnmanaged=yes\n"; err != nil || !strings.HasSuffix(string(got), want) {
			t.Errorf("%s: %v: %s", c.to, err, got)
		}
	}
}

// TestModemSettings: a donation that names the modem's interface comes before one of any USB line, wherever it is in the file.
func TestModemSettings(t *testing.T) {
	t.Parallel()
	phone := config.Donation{Interface: config.USB, APN: "phone", PIN: "1111"}
	stick := config.Donation{Interface: "wwan0", APN: "stick", PIN: "2222"}
	for _, c := range []struct {
		donations []config.Donation
		want      string
	}{
		{[]config.Donation{phone, stick}, "stick 2222"},
		{[]config.Donation{stick, phone}, "stick 2222"},
		{[]config.Donation{phone}, "phone 1111"},
		{[]config.Donation{phone, {Interface: "wwan0"}}, " "},
		{[]config.Donation{{Interface: "wwan1", APN: "other"}}, " "},
	} {
		s := modemSettings(&config.Config{Donations: c.donations}, "wwan0")
		if got := s.APN + " " + s.PIN; got != c.want {
			t.Errorf("%+v: %q, want %q", c.donations, got, c.want)
		}
	}
}
