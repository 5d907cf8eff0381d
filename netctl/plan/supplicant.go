package plan

import (
	"crypto/pbkdf2"
	"crypto/sha1"
	"fmt"
	"path/filepath"
	"strings"

	"passerelle/appliance/config"
	"passerelle/netctl"
)

// ScanInterval is how often a lender's network is looked for while it is not there, in seconds. A phone that has just
// been switched to sharing shows itself for a minute and a half at least, and finds the box four times in it; a radio
// that also makes the residents' network leaves them for a few seconds each time.
const ScanInterval = 20

// SupplicantSocket returns where the wpa_supplicant of an interface listens for commands, below run.
func SupplicantSocket(device, run string) string { return filepath.Join(run, "wpa", device) }

// SupplicantChild returns the wpa_supplicant that joins the network of a donation. Its file lies in run, a folder in
// memory: it holds the network's passphrase. Country is that of the radio rules, "" to leave them as they are.
//
// The box shows its lasting hardware address to the lender's phone: one that changes would be a new device for it each
// time, of which it takes only so many, and that its owner could not tell from a stranger's. A box that stands still,
// with a sign on the door, would hide nothing by it.
func SupplicantChild(d config.Donation, country, run string) netctl.Child {
	lines := []string{"ctrl_interface=" + filepath.Dir(SupplicantSocket(d.Interface, run))}
	if country != "" {
		lines = append(lines, "country="+country)
	}
	lines = append(lines,
		"p2p_disabled=1",
		"mac_addr=0",
		"sae_pwe=2", // both ways to make a key of the passphrase (IEEE 802.11-2020, 12.4.4): phones differ
		fmt.Sprintf("sched_scan_interval=%d", ScanInterval), // of radios that look by themselves
	)
	network := func(more ...string) {
		lines = append(lines, "network={", fmt.Sprintf("ssid=%x", string(d.WiFi.SSID)))
		lines = append(lines, "scan_ssid=1") // asked for by its name, it answers even when it is hidden
		lines = append(append(lines, more...), "}")
	}
	if d.WiFi.Passphrase == "" {
		network("key_mgmt=OWE", "owe_only=1", "ieee80211w=2", "priority=1") // encrypted all the same, where it can
		network("key_mgmt=NONE")
	} else {
		network(append(secret(d.WiFi), "key_mgmt=SAE WPA-PSK-SHA256 WPA-PSK", "ieee80211w=1")...)
	}
	name := "wpa-" + withoutDots.Replace(d.Interface)
	conf := filepath.Join(run, name+".conf")
	return netctl.Child{
		Name:  name,
		Argv:  []string{"wpa_supplicant", "-D", "nl80211", "-i", d.Interface, "-c", conf},
		Files: []netctl.File{{Path: conf, Text: strings.Join(lines, "\n") + "\n"}},
	}
}

// withoutDots makes of an interface's name, unmistakably, what the name of a child may have in it.
var withoutDots = strings.NewReplacer("_", "__", ".", "_-")

// secret returns the lines that tell the passphrase. In quotation marks it goes as it is, and serves for all kinds of
// network; but for one thing: behind the second mark of a line wpa_supplicant 2.10 takes # for the begin of a comment
// (wpa_config_get_line in config_file.c). Then it gets the key that is made of the passphrase (IEEE 802.11-2020,
// J.4.1), and for SAE, which needs more than the key, the passphrase in hexadecimal.
func secret(w *config.WiFi) []string {
	if _, behind, _ := strings.Cut(w.Passphrase, `"`); !strings.Contains(behind, "#") {
		return []string{`psk="` + w.Passphrase + `"`}
	}
	key, err := pbkdf2.Key(sha1.New, w.Passphrase, []byte(w.SSID), 4096, 32)
	if err != nil {
		panic("plan: " + err.Error()) // a Go that is bound to FIPS 140 has no SHA-1: not this program
	}
	return []string{fmt.Sprintf("psk=%x", key), fmt.Sprintf("sae_password=%x", w.Passphrase)}
}
