package guest

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// Security is how a network authenticates stations.
type Security string

// The kinds of security. Transition is WPA2 and WPA3 together, for old phones.
const (
	Open       Security = "open"
	WPA2       Security = "wpa2"
	SAE        Security = "sae"
	Transition Security = "transition"
	OWE        Security = "owe"
)

// Network is a Wi-Fi network.
type Network struct {
	SSID       string
	Security   Security
	Passphrase string // of WPA2, SAE and Transition
	Channel    int    // 1 to 13, or a channel of the 5 GHz band; for stations, 0 means any channel
}

// frequency returns a channel's center frequency in MHz (IEEE 802.11-2020, 17.3.8.4.2 and 18.4.2).
func frequency(channel int) int {
	if channel <= 13 {
		return 2407 + 5*channel
	}
	return 5000 + 5*channel
}

// hostapd returns hostapd's configuration for the network.
func (n Network) hostapd() string {
	band := "g"
	if n.Channel > 14 {
		band = "a"
	}
	lines := []string{
		"interface=" + radioName,
		"driver=nl80211",
		"ctrl_interface=" + controlDir,
		"ssid2=" + hex.EncodeToString([]byte(n.SSID)),
		"country_code=FR",
		"hw_mode=" + band,
		fmt.Sprintf("channel=%d", n.Channel),
		"ieee80211n=1",
		"wmm_enabled=1",
	}
	if n.Security != Open {
		lines = append(lines, "wpa=2", "rsn_pairwise=CCMP")
	}
	switch n.Security {
	case WPA2:
		lines = append(lines, "wpa_key_mgmt=WPA-PSK", "wpa_passphrase="+n.Passphrase)
	case SAE:
		lines = append(lines, "wpa_key_mgmt=SAE", "ieee80211w=2", "sae_pwe=2", "sae_password="+n.Passphrase)
	case Transition:
		lines = append(lines, "wpa_key_mgmt=WPA-PSK SAE", "ieee80211w=1", "wpa_passphrase="+n.Passphrase)
	case OWE:
		lines = append(lines, "wpa_key_mgmt=OWE", "ieee80211w=2")
	}
	return strings.Join(lines, "\n") + "\n"
}

// supplicant returns wpa_supplicant's settings of the network, as names and values.
func (n Network) supplicant() [][2]string {
	quoted := `"` + n.Passphrase + `"`
	settings := [][2]string{{"ssid", hex.EncodeToString([]byte(n.SSID))}}
	if n.Channel != 0 {
		settings = append(settings, [2]string{"scan_freq", fmt.Sprint(frequency(n.Channel))})
	}
	switch n.Security {
	case Open:
		return append(settings, [2]string{"key_mgmt", "NONE"})
	case WPA2:
		return append(settings, [2]string{"key_mgmt", "WPA-PSK"}, [2]string{"psk", quoted})
	case SAE:
		return append(settings, [2]string{"key_mgmt", "SAE"}, [2]string{"sae_password", quoted}, [2]string{"ieee80211w", "2"})
	case Transition:
		return append(settings, [2]string{"key_mgmt", "SAE WPA-PSK"}, [2]string{"psk", quoted}, [2]string{"ieee80211w", "1"})
	}
	return append(settings, [2]string{"key_mgmt", "OWE"}, [2]string{"ieee80211w", "2"})
}
