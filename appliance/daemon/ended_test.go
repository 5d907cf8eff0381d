package daemon

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"passerelle/appliance/config"
	"passerelle/netctl"
	"passerelle/netctl/uplink"
)

// secretFiles returns the files below a folder that have a password.
func secretFiles(t *testing.T, folder, secret string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), secret) {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestEndedLoanIsForgotten: the network of a loan that is over is in no file, and its password is not in the log. The donation
// stays, for its lender's page. The next call removes what a power cut left.
func TestEndedLoanIsForgotten(t *testing.T) {
	t.Parallel()
	const secret = "trois petits chats"
	o := newTestUpdater(t)
	state := filepath.Dir(o.history.Dir)
	accepted := filepath.Join(state, acceptedFolder)
	for _, name := range []string{"B", "C", "A"} {
		_, revision, _ := o.file.Read()
		if r, err := o.Apply(t.Context(), named(name), revision, config.RoleTechnician); err != nil || r.Outcome != config.Applied {
			t.Fatal(r, err)
		}
	}
	if err := os.Mkdir(accepted, 0o700); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, filepath.Join(accepted, acceptedLast), "# head\n\n"+string(named("A")))
	mustWrite(t, filepath.Join(accepted, acceptedBefore), "not TOML "+secret)
	if files := secretFiles(t, filepath.Dir(o.file.Path), secret); len(files) < 1 {
		t.Fatal("no file has the password")
	}
	forget := func() {
		t.Helper()
		if err := o.forgetNetworks(t.Context(), []string{"Chez Lucie"}, accepted); err != nil {
			t.Fatal(err)
		}
		for _, folder := range []string{state, filepath.Dir(o.file.Path)} {
			if files := secretFiles(t, folder, secret); len(files) > 0 {
				t.Errorf("%q have the password", files)
			}
		}
	}
	forget()
	text, _, err := o.file.Read()
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse("", text)
	if err != nil || len(c.Donations) != 2 || c.Donations[1].Name != "Chez Lucie" || c.Donations[1].WiFi != nil {
		t.Errorf("the configuration is\n%s\n%v", text, err)
	}
	if versions, err := o.history.Versions(); err != nil || len(versions) < 3 {
		t.Errorf("%d versions, %v", len(versions), err)
	}
	mustWrite(t, filepath.Join(accepted, acceptedLast), string(named("A"))) // as after a power cut
	forget()
	if strings.Contains(o.log.String(), "petits") {
		t.Error("the log has the password")
	}
}

// TestForgettingWaits: while a change waits to be confirmed, nothing is removed, since that would confirm it.
func TestForgettingWaits(t *testing.T) {
	t.Parallel()
	o := newTestUpdater(t)
	if _, err := o.pending.begin(named("B"), config.RevisionOf(named("A"))); err != nil {
		t.Fatal(err)
	}
	if err := o.forgetNetworks(t.Context(), []string{"Chez Lucie"}, t.TempDir()); !errors.Is(err, errPending) {
		t.Errorf("it is answered %v", err)
	}
	if _, err := o.pending.read(); err != nil {
		t.Errorf("the change waits no more: %v", err)
	}
	o.check(config.Result{}, "A")
}

// air is a set of fake radios, and the networks that they hear.
type air struct {
	interfaces []netctl.RadioInterface
	scanned    []string
	heard      map[string][]netctl.ScanResult
}

func (a *air) Interfaces() ([]netctl.RadioInterface, error) { return a.interfaces, nil }
func (a *air) Heard(i netctl.RadioInterface) ([]netctl.ScanResult, error) {
	return a.heard[i.Name], nil
}
func (a *air) Scan(_ context.Context, i netctl.RadioInterface) ([]netctl.ScanResult, []netctl.Survey, error) {
	a.scanned = append(a.scanned, i.Name)
	return a.heard[i.Name], nil, nil
}

// TestNearby: a radio that residents or a lender's network use does not scan. Each network is listed once, the strongest first.
func TestNearby(t *testing.T) {
	t.Parallel()
	a := &air{
		interfaces: []netctl.RadioInterface{
			{Index: 1, Radio: 0, Name: "wlan0", Kind: netctl.RadioAccessPoint, MHz: 2412}, {Index: 2, Radio: 0, Name: "lend0", Kind: netctl.RadioStation},
			{Index: 3, Radio: 1, Name: "wlan1", Kind: netctl.RadioStation, MHz: 2437}, {Index: 4, Radio: 2, Name: "wlan2", Kind: netctl.RadioStation},
		},
		heard: map[string][]netctl.ScanResult{
			"wlan0": {{SSID: "Partage", Signal: -80}, {SSID: "Freebox", Signal: -20}},
			"wlan2": {{SSID: "Partage", Signal: -50}, {SSID: "Partage 2", Signal: -70}, {SSID: "Partage\n", Signal: -90}},
		},
	}
	n := nearby{
		func() ([]uplink.Interface, error) {
			return []uplink.Interface{{Status: uplink.Status{Interface: "usb0", Works: true}, Phone: true}, {Status: uplink.Status{Interface: "eth0"}, Wired: true}}, nil
		},
		func() (hearer, error) { return a, nil },
		func() *config.Config { return &config.Config{Hotspot: config.Hotspot{Interface: "wlan0"}} },
	}
	named := func(ssid string) bool { return strings.HasPrefix(ssid, "Partage") }
	for _, listen := range []bool{false, true} {
		got, err := n.Networks(t.Context(), named, listen)
		if err != nil || len(got) != 3 || got[0].Name != "Partage" || !got[0].Strong || got[1].Strong || got[2].Name != `Partage\x0A` {
			t.Errorf("%+v, %v", got, err)
		}
		if listen != (strings.Join(a.scanned, " ") == "wlan2") {
			t.Errorf("listening %v, %q listened", listen, a.scanned)
		}
	}
	if phones, err := n.Phones(); err != nil || len(phones) != 1 || !phones[0].Works || phones[0].Interface != "usb0" {
		t.Errorf("%+v, %v", phones, err)
	}
}
