package plan

import (
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"passerelle/appliance/supervise"
	"passerelle/netctl"
)

// ChildHostapd is the name of the access point's child.
const ChildHostapd = "hostapd"

// HostapdControl is the folder, below the run directory, of hostapd's control sockets: one for each of the access
// point's interfaces, with its name.
const HostapdControl = "hostapd"

// inactivityLimit is how long a station may be silent before it is polled. A radio serves few stations, about eight to
// thirty: those that left must free their places soon. A phone that only sleeps answers, and stays associated.
const inactivityLimit = 2 * time.Minute

// HostapdChild returns the access point's program. Its file, which is in run, holds the password. The file names the
// interface index, because hostapd must restart for a new one: it doesn't recover from an unplugged interface.
//
// Whether the line is metered, and the channel where the radio shares it with a lender's network, are set at run time
// through the control socket: the file has them for the next start only, and its name stands for everything else in it.
func HostapdChild(a netctl.AccessPoint, metered bool, run string) supervise.Child {
	text := func(a netctl.AccessPoint, metered bool) string {
		return strings.Join(hostapd(a, metered, filepath.Join(run, HostapdControl)), "\n") + "\n"
	}
	fixed := a
	if a.WithSTA {
		fixed.Channel = 0
	}
	name := fmt.Sprintf("hostapd-%08x.conf", crc32.ChecksumIEEE([]byte(text(fixed, false))))
	file := supervise.File{Path: filepath.Join(run, name), Text: text(a, metered), OnNextStart: true}
	return supervise.Child{
		Name: ChildHostapd, Argv: []string{"hostapd", file.Path}, Capabilities: radioCapabilities, Files: []supervise.File{file},
	}
}

// radioCapabilities are what hostapd and wpa_supplicant need: to set radios up, and to exchange frames of the handshake.
var radioCapabilities = []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW}

// HostapdSockets returns the paths of hostapd's control sockets, one for each of the access point's BSSs.
func HostapdSockets(a netctl.AccessPoint, run string) (paths []string) {
	for _, name := range a.Interfaces() {
		paths = append(paths, filepath.Join(run, HostapdControl, name))
	}
	return paths
}

// NetworkCost returns the beacon element for the line's cost, in hexadecimal digits: Microsoft's vendor element, with
// the level Fixed ("usage counts toward a fixed allotment of data") or Unrestricted ([MS-NCT] 2.2.1, with an example in
// 4). Windows reads it since version 8. NetworkManager reads another byte as the level, and Android ignores the
// element: both use DHCP. Apple's systems leave the choice to their users.
//
// 802.11u has the network type "chargeable public network" (access_network_type of hostapd.conf). It is not used: a
// resident pays nothing here, and Android, which treats such a network as metered (ClientModeImpl.java), learns that by
// DHCP.
func NetworkCost(metered bool) string {
	level := 0x01
	if metered {
		level = 0x02
	}
	return fmt.Sprintf("dd080050f211%02x000000", level)
}

// hostapd returns the lines of hostapd.conf, for version 2.10: first the radio's, then those of its BSSs. All else is
// hostapd's default, such as a beacon every 102.4 ms and the low basic rates that old phones need.
func hostapd(a netctl.AccessPoint, metered bool, control string) []string {
	lines := []string{
		fmt.Sprintf("# %s has interface index %d.", a.Interface, a.Index),
		"interface=" + a.Interface,
		"driver=nl80211",
		// Without it a radio uses only what is allowed worldwide; 11d announces it to the phones.
		"country_code=" + a.Country,
		"ieee80211d=1",
	}
	if a.Band == netctl.Band5 {
		lines = append(lines,
			"hw_mode=a",
			"ieee80211h=1") // announces channel switches, which radar may require
	} else {
		lines = append(lines, "hw_mode=g")
	}
	lines = append(lines,
		fmt.Sprintf("channel=%d", a.Channel),
		"wmm_enabled=1") // required by 802.11n and later
	lines = append(lines, phyOptions(a)...)
	lines = append(lines, network(a, metered, control, a.SSID)...)
	switch {
	case a.Password != "" && a.Radio.SAE:
		lines = append(lines,
			"wpa=2",
			"wpa_key_mgmt=WPA-PSK SAE", // WPA2 for old phones, WPA3 for new ones
			"rsn_pairwise=CCMP",
			"wpa_passphrase="+a.Password,
			"ieee80211w=1", // an old phone can't protect management frames, and one with WPA3 must
			"sae_require_mfp=1",
			"sae_pwe=2") // hunting-and-pecking and hash-to-element: the first phones with WPA3 lack the latter
	case a.Password != "":
		// Without protected management frames: with them brcmfmac was seen to fail to start the BSS.
		lines = append(lines,
			"wpa=2",
			"wpa_key_mgmt=WPA-PSK",
			"rsn_pairwise=CCMP",
			"wpa_passphrase="+a.Password)
	case a.Transition():
		lines = append(lines,
			"owe_transition_ifname="+a.OWEInterface,
			"bss="+a.OWEInterface,
			"bssid="+oweBSSID(a.Address).String())
		lines = append(lines, network(a, metered, control, oweSSID(a.SSID))...)
		lines = append(lines,
			"ignore_broadcast_ssid=1", // phones find it through the open BSS
			"wpa=2",
			"wpa_key_mgmt=OWE",
			"rsn_pairwise=CCMP",
			"ieee80211w=2", // required by RFC 8110
			"owe_transition_ifname="+a.Interface)
	}
	return lines
}

// network returns the settings that both BSSs share.
func network(a netctl.AccessPoint, metered bool, control, ssid string) []string {
	lines := []string{
		// Only warnings: events of a station, with its address, are private.
		"logger_syslog=0",
		"logger_stdout=-1",
		"logger_stdout_level=4",
		"ctrl_interface=" + control,
		"ssid2=" + hex.EncodeToString([]byte(ssid)), // any bytes
		"vendor_elements=" + NetworkCost(metered),
	}
	if a.Bridge != "" {
		lines = append(lines, "bridge="+a.Bridge)
	}
	if utf8.ValidString(ssid) {
		lines = append(lines, "utf8_ssid=1") // without it some phones garble accented letters
	}
	if a.MaxStations > 0 {
		lines = append(lines, fmt.Sprintf("max_num_sta=%d", a.MaxStations)) // for each BSS: the radio limits both together
	}
	return append(lines,
		"auth_algs=1", // not WEP's
		// Client isolation: residents don't reach each other, neither through the box nor by a direct link (TDLS).
		"ap_isolate=1",
		"tdls_prohibit=1",
		fmt.Sprintf("ap_max_inactivity=%d", inactivityLimit/time.Second),
		// A phone with a weak signal, or a sleeping one, is not disassociated for lost frames: it would only come back.
		// A station that left is found by its inactivity.
		"disassoc_low_ack=0")
}

// oweSSID returns the SSID of the OWE transition BSS, which must differ from the open one's. It is hidden.
func oweSSID(ssid string) string {
	const end = "-owe"
	return ssid[:min(len(ssid), 32-len(end))] + end
}

// oweBSSID returns the BSSID of the OWE transition BSS. It is set here because hostapd would increment the radio's own
// address, which works only for an even one. It's locally administered (IEEE 802-2014, 8.4), and differs from the radio's even
// if that is locally administered too.
func oweBSSID(m netctl.MAC) netctl.MAC {
	m[0] = (m[0] | 0x02) ^ 0x04
	return m
}

// phyOptions returns the radio's 802.11n and 802.11ac options, as far as they are useful. On 2.4 GHz a network uses 20
// MHz: there's no room for more beside others, and many phones don't support more. On 5 GHz it uses what is allowed, up
// to 80 MHz; but 20 where the radio shares its channel with a lender's network, which may be no wider.
func phyOptions(a netctl.AccessPoint) []string {
	band, _ := a.Radio.Band(a.Band)
	if !band.HT {
		return nil
	}
	side := ""
	if a.Band == netctl.Band5 && !a.WithSTA {
		side = ht40Side(band, a.Channel)
	}
	lines := []string{"ieee80211n=1", "ht_capab=" + htCapabilities(band.HTCaps, side)}
	if a.Band != netctl.Band5 || !band.VHT {
		return lines
	}
	lines = append(lines, "ieee80211ac=1")
	first, wide := segment80(band, a.Channel)
	if side == "" || !wide {
		return append(lines, "vht_oper_chwidth=0", "vht_capab="+vhtCapabilities(band.VHTCaps, false))
	}
	return append(lines,
		"vht_oper_chwidth=1",
		fmt.Sprintf("vht_oper_centr_freq_seg0_idx=%d", first+6), // four channels, each four numbers wide
		"vht_capab="+vhtCapabilities(band.VHTCaps, true))
}

// segment80 returns the segment's first channel, and whether a BSS may use all of it.
func segment80(band netctl.Band, channel int) (first int, allowed bool) {
	first = netctl.Segment80(channel)
	if first == 0 {
		return 0, false
	}
	for n := first; n <= first+12; n += 4 {
		if c, ok := band.Channel(n); !ok || !c.Allowed || !c.VHT80 {
			return first, false
		}
	}
	return first, true
}

// ht40Side returns on which side of the channel its secondary 40 MHz channel is, in 5 GHz; "" if HT40 is not allowed.
func ht40Side(band netctl.Band, channel int) string {
	const can40 = 1 << 1 // IEEE 802.11-2020, 9.4.2.55.2
	c, ok := band.Channel(channel)
	first := netctl.Segment80(channel)
	if !ok || first == 0 || band.HTCaps&can40 == 0 {
		return ""
	}
	side, may, other := "+", c.HT40Plus, channel+4
	if (channel-first)/4%2 == 1 {
		side, may, other = "-", c.HT40Minus, channel-4
	}
	if o, ok := band.Channel(other); !ok || !o.Allowed || !may {
		return ""
	}
	return side
}

// htCapabilities converts the HT Capability Information field (IEEE 802.11-2020, 9.4.2.55.2) to hostapd's ht_capab.
// Rarely supported and untested ones are left out: greenfield, delayed block ack, long A-MSDUs, L-SIG protection.
func htCapabilities(caps uint16, side string) string {
	w := capabilities{caps: uint32(caps)}
	w.add(side != "", "HT40"+side)
	w.bit(0, "LDPC")
	w.bit(5, "SHORT-GI-20")
	w.add(side != "" && caps&(1<<6) != 0, "SHORT-GI-40")
	w.bit(7, "TX-STBC")
	w.choice(8, 0x3, "RX-STBC1", "RX-STBC12", "RX-STBC123")
	return w.String()
}

// vhtCapabilities converts the VHT Capabilities Information field (9.4.2.157.2) to hostapd's vht_capab. Left out are 160 MHz,
// which needs DFS channels, and beamforming: a radio with one or two antennas gains little by it, and its soundings take airtime.
func vhtCapabilities(caps uint32, wide bool) string {
	w := capabilities{caps: caps}
	w.choice(0, 0x3, "MAX-MPDU-7991", "MAX-MPDU-11454")
	w.bit(4, "RXLDPC")
	w.add(wide && caps&(1<<5) != 0, "SHORT-GI-80")
	w.bit(7, "TX-STBC-2BY1")
	w.choice(8, 0x7, "RX-STBC-1", "RX-STBC-12", "RX-STBC-123", "RX-STBC-1234")
	w.add(true, fmt.Sprintf("MAX-A-MPDU-LEN-EXP%d", caps>>23&0x7))
	return w.String()
}

// capabilities collects the bits of a field as hostapd writes them.
type capabilities struct {
	caps uint32
	strings.Builder
}

func (w *capabilities) add(can bool, word string) {
	if can {
		w.WriteString("[" + word + "]")
	}
}

func (w *capabilities) bit(n int, word string) { w.add(w.caps&(1<<n) != 0, word) }

// choice adds the word for the number at bit n: the first for 1.
func (w *capabilities) choice(n int, mask uint32, list ...string) {
	if v := w.caps >> n & mask; v > 0 && int(v) <= len(list) {
		w.add(true, list[v-1])
	}
}
