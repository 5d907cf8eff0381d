package plan_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"passerelle/appliance/plan"
	"passerelle/netctl"
)

// testRadios are radios of different abilities: a Raspberry Pi's own, a good one on USB, and one older than 802.11n.
var testRadios = map[string]netctl.Radio{
	"onboard": {
		AccessPoint: true, STA: true, BSS: 1, BSSWithSTA: 1, MFP: true,
		Bands: []netctl.Band{testBand(netctl.Band24, 0x1062, 0), testBand(netctl.Band5, 0x1062, 0x00001020)},
	},
	"usb": {
		AccessPoint: true, STA: true, BSS: 4, BSSWithSTA: 1, MFP: true, SAE: true, OWE: true, CanIsolate: true,
		Bands: []netctl.Band{testBand(netctl.Band24, 0x11ef, 0), testBand(netctl.Band5, 0x11ef, 0x339071b2)},
	},
	"old": {AccessPoint: true, BSS: 1, Bands: []netctl.Band{testBand(netctl.Band24, 0, 0)}},
}

// testBand returns the band as the French regulatory domain allows it.
func testBand(name string, ht uint16, vht uint32) netctl.Band {
	b := netctl.Band{Name: name, HT: ht != 0, HTCaps: ht, VHT: vht != 0, VHTCaps: vht}
	add := func(n, mhz, power int, allowed bool) {
		b.Channels = append(b.Channels, netctl.Channel{
			Number: n, MHz: mhz, Allowed: allowed, Power: power, HT40Plus: true, HT40Minus: true, VHT80: true,
		})
	}
	if name == netctl.Band24 {
		for n := 1; n <= 13; n++ {
			add(n, 2407+5*n, 20, true)
		}
		add(14, 2484, 20, false)
		return b
	}
	for n := 36; n <= 165; n += 4 {
		switch {
		case n <= 48:
			add(n, 5000+5*n, 23, true)
		case n <= 64, n >= 100 && n <= 144: // radar
			add(n, 5000+5*n, 20, false)
		case n >= 148:
			add(n+1, 5000+5*(n+1), 14, true)
		}
	}
	return b
}

// parseAccessPoint reads lines of a word and its value.
func parseAccessPoint(t *testing.T, text string) (a netctl.AccessPoint, metered bool) {
	t.Helper()
	a = netctl.AccessPoint{
		Interface: "wlan0", Index: 3, Address: netctl.MAC{0x02, 0, 0, 0, 0, 0x01},
		SSID: "Partage de Co - Les Lilas", Country: "FR", Band: netctl.Band24, Channel: 6,
	}
	for line := range strings.Lines(text) {
		word, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		var err error
		switch word {
		case "radio":
			a.Radio = testRadios[value]
		case "ssid":
			a.SSID, err = strconv.Unquote(value)
		case "password":
			a.Password = value
		case "band":
			a.Band = value
		case "channel":
			a.Channel, err = strconv.Atoi(value)
		case "stations":
			a.MaxStations, err = strconv.Atoi(value)
		case "bridge":
			a.Bridge = value
		case "second":
			a.OWEInterface = value
		case "address":
			var m net.HardwareAddr
			m, err = net.ParseMAC(value)
			copy(a.Address[:], m)
		case "joined":
			a.WithSTA = true
		case "metered":
			metered = true
		default:
			err = fmt.Errorf("unknown word %q", word)
		}
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	return a, metered
}

// TestHostapd compares hostapd's configuration with the golden files, and parses it with hostapd, if installed.
func TestHostapd(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/hostapd/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("golden files: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil || len(archive.Files) == 0 {
				t.Fatalf("%v, %d sections", err, len(archive.Files))
			}
			a, metered := parseAccessPoint(t, string(archive.Files[0].Data))
			child := plan.HostapdChild(a, metered, "/run/passerelle")
			got := fmt.Sprintf("# %s\n%s", strings.Join(child.Argv, " "), child.Files[0].Text)
			if *update {
				archive.Files = append(archive.Files[:1], txtar.File{Name: "hostapd.conf", Data: []byte(got)})
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if len(archive.Files) < 2 {
				t.Error("the file has no hostapd.conf: `go test -update` makes it")
			} else if d := cmp.Diff(strings.Split(string(archive.Files[1].Data), "\n"), strings.Split(got, "\n")); d != "" {
				t.Errorf("hostapd.conf (-want +got; `go test -update` takes it over):\n%s", d)
			}
			other := plan.HostapdChild(a, !metered, "/run/passerelle")
			if d := cmp.Diff(child.Argv, other.Argv); d != "" || other.Files[0].Text == child.Files[0].Text {
				t.Errorf("whether the line is metered restarts hostapd, or is not in its file:\n%s", d)
			}
			another := a
			another.Password += "a new password"
			if cmp.Equal(child.Argv, plan.HostapdChild(another, metered, "/run/passerelle").Argv) {
				t.Error("another password does not restart hostapd")
			}
			readByHostapd(t, a, metered)
		})
	}
}

// readByHostapd parses the configuration with hostapd. Without a driver that fails, but not at a line.
func readByHostapd(t *testing.T, a netctl.AccessPoint, metered bool) {
	t.Helper()
	program, err := exec.LookPath("hostapd")
	if err != nil {
		t.Log("hostapd is not installed: only the text was compared")
		return
	}
	run := t.TempDir()
	a.Interface = "pas-none0" // never one of the machine's
	if a.Transition() {
		a.OWEInterface, a.Bridge = "pas-none1", "pas-none2"
	}
	child := plan.HostapdChild(a, metered, run)
	conf := child.Files[0].Path
	if err := os.WriteFile(conf, []byte(child.Files[0].Text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), program, conf).CombinedOutput()
	if err == nil {
		t.Fatalf("hostapd needs no interface?\n%s", out)
	}
	if strings.Contains(string(out), "Line ") || strings.Contains(string(out), "configuration file") {
		t.Errorf("hostapd refuses its configuration:\n%s", out)
	}
}
