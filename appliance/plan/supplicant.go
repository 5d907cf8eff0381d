package plan

import (
	"crypto/pbkdf2"
	"crypto/sha1"
	"fmt"
	"path/filepath"
	"strings"

	"passerelle/appliance/config"
	"passerelle/appliance/supervise"
)

// ScanInterval is the scan interval in seconds while a lender's network is absent. A phone that starts tethering is
// visible for a minute and a half at least, so it is found within four scans; a radio that is also the access point is
// off its channel for a few seconds each time.
const ScanInterval = 20

// SupplicantSocket returns the path of an interface's wpa_supplicant control socket, below run.
func SupplicantSocket(device, run string) string { return filepath.Join(run, "wpa", device) }

// SupplicantChild returns the wpa_supplicant that joins the network of a donation. Its file is in run, a folder in
// memory: it holds the network's passphrase. country is the regulatory domain, "" to leave it unchanged.
//
// The box uses its permanent hardware address towards the lender's phone. With a random one it would be a new device each time: a
// phone accepts a limited number of devices, and its owner could not tell the box from a stranger's device. A stationary box
// with a sign on the door would gain no privacy from a random address.
func SupplicantChild(d config.Donation, country, run string) supervise.Child {
	lines := []string{"ctrl_interface=" + filepath.Dir(SupplicantSocket(d.Interface, run))}
	if country != "" {
		lines = append(lines, "country="+country)
	}
	lines = append(lines,
		"p2p_disabled=1",
		"mac_addr=0",
		"sae_pwe=2", // hunting-and-pecking and hash-to-element (IEEE 802.11-2020, 12.4.4): phones differ
		fmt.Sprintf("sched_scan_interval=%d", ScanInterval), // for radios that scan by themselves
	)
	network := func(more ...string) {
		lines = append(lines, "network={", fmt.Sprintf("ssid=%x", string(d.WiFi.SSID)))
		lines = append(lines, "scan_ssid=1") // a directed probe also finds a hidden network
		lines = append(append(lines, more...), "}")
	}
	if config.IsKey(d.WiFi.Passphrase) { // SAE needs a passphrase
		network("psk="+d.WiFi.Passphrase, "key_mgmt=WPA-PSK-SHA256 WPA-PSK", "ieee80211w=1")
	} else if d.WiFi.Passphrase == "" {
		network("key_mgmt=OWE", "owe_only=1", "ieee80211w=2", "priority=1") // encrypted, where supported
		network("key_mgmt=NONE")
	} else {
		network(append(passphrase(d.WiFi), "key_mgmt=SAE WPA-PSK-SHA256 WPA-PSK", "ieee80211w=1")...)
	}
	name := "wpa-" + childName.Replace(d.Interface)
	conf := filepath.Join(run, name+".conf")
	return supervise.Child{
		Name:         name,
		Argv:         []string{"wpa_supplicant", "-D", "nl80211", "-i", d.Interface, "-c", conf},
		Capabilities: radioCapabilities,
		Files:        []supervise.File{{Path: conf, Text: strings.Join(lines, "\n") + "\n"}},
	}
}

// childName escapes an interface's name, unambiguously, for the name of a child.
var childName = strings.NewReplacer("_", "__", ".", "_-")

// passphrase returns the settings for the passphrase. In quotation marks it is used as it is, for all kinds of network,
// with one exception: after the second quotation mark of a line wpa_supplicant 2.10 treats # as the start of a comment
// (wpa_config_get_line in config_file.c). In that case it gets the PSK derived from the passphrase (IEEE 802.11-2020, J.4.1),
// and the passphrase in hexadecimal for SAE, which needs the passphrase itself.
func passphrase(w *config.WiFi) []string {
	if _, behind, _ := strings.Cut(w.Passphrase, `"`); !strings.Contains(behind, "#") {
		return []string{`psk="` + w.Passphrase + `"`}
	}
	key, err := pbkdf2.Key(sha1.New, w.Passphrase, []byte(w.SSID), 4096, 32)
	if err != nil {
		panic("plan: " + err.Error()) // only a Go in FIPS 140 mode lacks SHA-1: this program is not built that way
	}
	return []string{fmt.Sprintf("psk=%x", key), fmt.Sprintf("sae_password=%x", w.Passphrase)}
}
