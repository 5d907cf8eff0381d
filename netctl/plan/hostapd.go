package plan

import (
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"passerelle/netctl"
)

// ChildHostapd is the name of the access point's program.
const ChildHostapd = "hostapd"

// HostapdControl is the folder, below the run directory, where hostapd listens to whoever controls it: at a socket for
// each of the access point's interfaces, named as that is.
const HostapdControl = "hostapd"

// idle is how long a station may be silent before it's asked whether it's still there. A radio serves few, eight to
// thirty or so: who went home shall leave the place to others soon. A phone that only sleeps answers, and stays.
const idle = 2 * time.Minute

// HostapdChild returns the program that makes the box an access point. Its file, which lies in run, holds the password.
// The file names the interface's number, since hostapd has to be started again for another one: it doesn't find its way
// back to what was unplugged.
//
// Whether the line is metered, and where the radio follows a lender's network also the channel, hostapd is told while it
// runs: in the file that is for the next start only, and the file's name stands for all else in it.
func HostapdChild(a netctl.AccessPoint, metered bool, run string) netctl.Child {
	text := func(a netctl.AccessPoint, metered bool) string {
		return strings.Join(hostapd(a, metered, filepath.Join(run, HostapdControl)), "\n") + "\n"
	}
	fixed := a
	if a.Joined {
		fixed.Channel = 0
	}
	name := fmt.Sprintf("hostapd-%08x.conf", crc32.ChecksumIEEE([]byte(text(fixed, false))))
	file := netctl.File{Path: filepath.Join(run, name), Text: text(a, metered), Later: true}
	return netctl.Child{Name: ChildHostapd, Argv: []string{"hostapd", file.Path}, Files: []netctl.File{file}}
}

// HostapdSockets returns where hostapd listens for each of the access point's networks.
func HostapdSockets(a netctl.AccessPoint, run string) (paths []string) {
	for _, name := range a.Interfaces() {
		paths = append(paths, filepath.Join(run, HostapdControl, name))
	}
	return paths
}

// NetworkCost returns what beacons say of the line's cost, in hexadecimal digits: Microsoft's element for it, of the level
// Fixed ("usage counts toward a fixed allotment of data") or Unrestricted ([MS-NCT] 2.2.1, with an example in 4). Windows
// reads it from 8 on. NetworkManager takes another byte for the level, and Android reads no such element: both go by DHCP.
// Apple's systems leave the choice to their users.
//
// 802.11u has "chargeable public network" among its types of networks (access_network_type of hostapd.conf). It is not said: a
// resident pays nothing here, and Android, which takes such a network for metered (ClientModeImpl.java), hears so by DHCP.
func NetworkCost(metered bool) string {
	level := 0x01
	if metered {
		level = 0x02
	}
	return fmt.Sprintf("dd080050f211%02x000000", level)
}

// hostapd returns the lines of hostapd.conf, for version 2.10: first what holds for the radio, then for its networks.
// What isn't here is as hostapd has it, such as a beacon every 102.4 ms and the slow rates that old phones begin with.
func hostapd(a netctl.AccessPoint, metered bool, control string) []string {
	lines := []string{
		fmt.Sprintf("# %s is interface number %d.", a.Interface, a.Index),
		"interface=" + a.Interface,
		"driver=nl80211",
		// Without it a radio keeps to what is allowed anywhere on earth; with 11d it tells the phones.
		"country_code=" + a.Country,
		"ieee80211d=1",
	}
	if a.Band == netctl.Band5 {
		lines = append(lines,
			"hw_mode=a",
			"ieee80211h=1") // so that phones are told of a change of channel, which radar may ask for
	} else {
		lines = append(lines, "hw_mode=g")
	}
	lines = append(lines,
		fmt.Sprintf("channel=%d", a.Channel),
		"wmm_enabled=1") // 802.11n and what followed ask for it
	lines = append(lines, speeds(a)...)
	lines = append(lines, network(a, metered, control, a.SSID)...)
	switch {
	case a.Password != "" && a.Radio.SAE:
		lines = append(lines,
			"wpa=2",
			"wpa_key_mgmt=WPA-PSK SAE", // an old phone joins by WPA2, a new one by WPA3
			"rsn_pairwise=CCMP",
			"wpa_passphrase="+a.Password,
			"ieee80211w=1", // an old phone can't protect management frames, and one with WPA3 must
			"sae_require_mfp=1",
			"sae_pwe=2") // both ways from the password to a key: the first phones with WPA3 lack the newer one
	case a.Password != "":
		// Protected management frames are left out: seen to keep brcmfmac from beginning the network.
		lines = append(lines,
			"wpa=2",
			"wpa_key_mgmt=WPA-PSK",
			"rsn_pairwise=CCMP",
			"wpa_passphrase="+a.Password)
	case a.Transition():
		lines = append(lines,
			"owe_transition_ifname="+a.Second,
			"bss="+a.Second,
			"bssid="+twinAddress(a.Address).String())
		lines = append(lines, network(a, metered, control, twinSSID(a.SSID))...)
		lines = append(lines,
			"ignore_broadcast_ssid=1", // phones find it through the open one
			"wpa=2",
			"wpa_key_mgmt=OWE",
			"rsn_pairwise=CCMP",
			"ieee80211w=2", // RFC 8110 has no stations without it
			"owe_transition_ifname="+a.Interface)
	}
	return lines
}

// network returns what both networks have in common.
func network(a netctl.AccessPoint, metered bool, control, ssid string) []string {
	lines := []string{
		// Only warnings: what goes on with each station, by its address, is nobody's business.
		"logger_syslog=0",
		"logger_stdout=-1",
		"logger_stdout_level=4",
		"ctrl_interface=" + control,
		"ssid2=" + hex.EncodeToString([]byte(ssid)), // bytes, of any kind
		"vendor_elements=" + NetworkCost(metered),
	}
	if a.Bridge != "" {
		lines = append(lines, "bridge="+a.Bridge)
	}
	if utf8.ValidString(ssid) {
		lines = append(lines, "utf8_ssid=1") // else some phones garble accents
	}
	if a.Stations > 0 {
		lines = append(lines, fmt.Sprintf("max_num_sta=%d", a.Stations)) // of each: the radio bounds both together
	}
	return append(lines,
		"auth_algs=1", // not WEP's
		// Residents don't reach each other: neither through the box nor by the direct link that it would arrange for them.
		"ap_isolate=1",
		"tdls_prohibit=1",
		fmt.Sprintf("ap_max_inactivity=%d", idle/time.Second),
		// A phone in the far corner, or one that sleeps, is not thrown out for what gets lost: it would only come back.
		// Who has left is found by being silent.
		"disassoc_low_ack=0")
}

// twinSSID names the encrypted twin, which must have another name than the open network. Nobody sees it.
func twinSSID(ssid string) string {
	const end = "-owe"
	return ssid[:min(len(ssid), 32-len(end))] + end
}

// twinAddress is the twin's: given here, since hostapd would count up from the radio's own, which only works for one
// that ends in an even number. It's locally administered (IEEE 802-2014, 8.4), and differs even where the radio's is
// so too.
func twinAddress(m netctl.MAC) netctl.MAC {
	m[0] = (m[0] | 0x02) ^ 0x04
	return m
}

// speeds returns what the radio can do of 802.11n and 802.11ac, so far as it's worth it. On 2.4 GHz a network uses
// 20 MHz: there's no room for more beside others, and many phones couldn't. On 5 GHz it takes what is allowed, up to
// 80 MHz; but 20 where the radio follows a lender's network, which may be no wider.
func speeds(a netctl.AccessPoint) []string {
	band, _ := a.Radio.Band(a.Band)
	if !band.HT {
		return nil
	}
	side := ""
	if a.Band == netctl.Band5 && !a.Joined {
		side = pair(band, a.Channel)
	}
	lines := []string{"ieee80211n=1", "ht_capab=" + htWords(band.HTCaps, side)}
	if a.Band != netctl.Band5 || !band.VHT {
		return lines
	}
	lines = append(lines, "ieee80211ac=1")
	first, wide := block80(band, a.Channel)
	if side == "" || !wide {
		return append(lines, "vht_oper_chwidth=0", "vht_capab="+vhtWords(band.VHTCaps, false))
	}
	return append(lines,
		"vht_oper_chwidth=1",
		fmt.Sprintf("vht_oper_centr_freq_seg0_idx=%d", first+6), // four channels, each four numbers wide
		"vht_capab="+vhtWords(band.VHTCaps, true))
}

// blocks are the first channels of the blocks of 80 MHz (IEEE 802.11-2020, table E-4, operating class 128).
var blocks = []int{36, 52, 100, 116, 132, 149}

// block returns the first channel of the block of 80 MHz that the channel of 5 GHz is in, 0 for none.
func block(channel int) int {
	for _, first := range blocks {
		if channel >= first && channel <= first+12 {
			return first
		}
	}
	return 0
}

// block80 returns the block's first channel, and whether a network may be begun on all of it.
func block80(band netctl.Band, channel int) (first int, allowed bool) {
	first = block(channel)
	if first == 0 {
		return 0, false
	}
	for n := first; n <= first+12; n += 4 {
		if c, ok := band.Channel(n); !ok || !c.Allowed || !c.Wide80 {
			return first, false
		}
	}
	return first, true
}

// pair returns on which side the channel of 5 GHz has the one that it makes 40 MHz with, "" if it may not.
func pair(band netctl.Band, channel int) string {
	const can40 = 1 << 1 // IEEE 802.11-2020, 9.4.2.55.2
	c, ok := band.Channel(channel)
	first := block(channel)
	if !ok || first == 0 || band.HTCaps&can40 == 0 {
		return ""
	}
	side, may, other := "+", c.Above, channel+4
	if (channel-first)/4%2 == 1 {
		side, may, other = "-", c.Below, channel-4
	}
	if o, ok := band.Channel(other); !ok || !o.Allowed || !may {
		return ""
	}
	return side
}

// htWords turns the HT Capability Information field (IEEE 802.11-2020, 9.4.2.55.2) into hostapd's words. Left out is
// what few phones have and nobody tests: greenfield, delayed block ack, long A-MSDUs, L-SIG protection.
func htWords(caps uint16, side string) string {
	w := words{caps: uint32(caps)}
	w.add(side != "", "HT40"+side)
	w.bit(0, "LDPC")
	w.bit(5, "SHORT-GI-20")
	w.add(side != "" && caps&(1<<6) != 0, "SHORT-GI-40")
	w.bit(7, "TX-STBC")
	w.choice(8, 0x3, "RX-STBC1", "RX-STBC12", "RX-STBC123")
	return w.String()
}

// vhtWords does so for the VHT Capabilities Information field (9.4.2.157.2). Left out are 160 MHz, which only radar
// channels have, and beamforming: a radio with one antenna or two gains little by it, and its soundings take time.
func vhtWords(caps uint32, wide bool) string {
	w := words{caps: caps}
	w.choice(0, 0x3, "MAX-MPDU-7991", "MAX-MPDU-11454")
	w.bit(4, "RXLDPC")
	w.add(wide && caps&(1<<5) != 0, "SHORT-GI-80")
	w.bit(7, "TX-STBC-2BY1")
	w.choice(8, 0x7, "RX-STBC-1", "RX-STBC-12", "RX-STBC-123", "RX-STBC-1234")
	w.add(true, fmt.Sprintf("MAX-A-MPDU-LEN-EXP%d", caps>>23&0x7))
	return w.String()
}

// words are abilities that a field has, as hostapd writes them.
type words struct {
	caps uint32
	strings.Builder
}

func (w *words) add(can bool, word string) {
	if can {
		w.WriteString("[" + word + "]")
	}
}

func (w *words) bit(n int, word string) { w.add(w.caps&(1<<n) != 0, word) }

// choice adds the word for the number at bit n: the first for 1.
func (w *words) choice(n int, mask uint32, list ...string) {
	if v := w.caps >> n & mask; v > 0 && int(v) <= len(list) {
		w.add(true, list[v-1])
	}
}
