package radio

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"passerelle/netctl"
)

// Radios returns what each radio can do, by its number. Channels are as the country's rules have them now.
func (r *Reader) Radios() ([]netctl.Radio, error) {
	messages, err := r.ask(unix.NL80211_CMD_GET_WIPHY, netlink.Dump, func(e *netlink.AttributeEncoder) {
		// Without it the kernel leaves out what doesn't fit into one message (Linux 3713b4e364ef).
		e.Flag(unix.NL80211_ATTR_SPLIT_WIPHY_DUMP, true)
	})
	if err != nil {
		return nil, fmt.Errorf("list radios: %w", err)
	}
	list, err := radios(messages)
	if err != nil {
		return nil, fmt.Errorf("list radios: %w", err)
	}
	return list, nil
}

// wiphy is a radio in the kernel's words.
type wiphy struct {
	index    uint32
	name     string
	types    []uint16 // NL80211_IFTYPE_*
	bands    map[uint16]*netctl.Band
	combos   []combination
	commands []uint32
	ciphers  []byte // 4 bytes each
	features uint32
	ownSME   bool // it lets stations in by itself
	stations uint32
}

// combination is a way to use several interfaces at once.
type combination struct {
	limits   []limit
	total    uint32
	channels uint32
}

// limit is how many interfaces a combination has room for that are of any of these types.
type limit struct {
	most  uint32
	types []uint16
}

// radios puts together what the kernel says of each radio in many messages.
func radios(messages []genetlink.Message) ([]netctl.Radio, error) {
	all := map[uint32]*wiphy{}
	for _, m := range messages {
		var w *wiphy
		if err := each(m.Data, func(d *netlink.AttributeDecoder) error {
			if d.Type() == unix.NL80211_ATTR_WIPHY {
				index := d.Uint32()
				if w = all[index]; w == nil {
					w = &wiphy{index: index, bands: map[uint16]*netctl.Band{}}
					all[index] = w
				}
				return nil
			}
			if w == nil {
				return fmt.Errorf("attribute %d comes before its radio's number", d.Type())
			}
			return w.read(d)
		}); err != nil {
			return nil, err
		}
	}
	list := make([]netctl.Radio, 0, len(all))
	for _, w := range all {
		list = append(list, w.radio())
	}
	slices.SortFunc(list, func(a, b netctl.Radio) int { return a.Index - b.Index })
	return list, nil
}

// read takes in one attribute.
func (w *wiphy) read(d *netlink.AttributeDecoder) error {
	switch d.Type() {
	case unix.NL80211_ATTR_WIPHY_NAME:
		w.name = d.String()
	case unix.NL80211_ATTR_SUPPORTED_IFTYPES:
		var err error
		w.types, err = flags(d)
		return err
	case unix.NL80211_ATTR_SUPPORTED_COMMANDS:
		return nested(d, func(d *netlink.AttributeDecoder) error {
			w.commands = append(w.commands, d.Uint32())
			return nil
		})
	case unix.NL80211_ATTR_CIPHER_SUITES:
		w.ciphers = d.Bytes()
	case unix.NL80211_ATTR_FEATURE_FLAGS:
		w.features = d.Uint32()
	case unix.NL80211_ATTR_DEVICE_AP_SME:
		w.ownSME = true
	case unix.NL80211_ATTR_MAX_AP_ASSOC_STA:
		w.stations = d.Uint32()
	case unix.NL80211_ATTR_INTERFACE_COMBINATIONS:
		return nested(d, func(d *netlink.AttributeDecoder) error {
			c, err := readCombination(d)
			w.combos = append(w.combos, c)
			return err
		})
	case unix.NL80211_ATTR_WIPHY_BANDS:
		return nested(d, func(d *netlink.AttributeDecoder) error {
			b := w.bands[d.Type()]
			if b == nil {
				b = &netctl.Band{}
				w.bands[d.Type()] = b
			}
			return readBand(b, d)
		})
	}
	return nil
}

// flags returns which flags are set inside the attribute.
func flags(d *netlink.AttributeDecoder) (set []uint16, err error) {
	err = nested(d, func(d *netlink.AttributeDecoder) error {
		set = append(set, d.Type())
		return nil
	})
	return set, err
}

func readCombination(d *netlink.AttributeDecoder) (c combination, err error) {
	err = nested(d, func(d *netlink.AttributeDecoder) error {
		switch d.Type() {
		case unix.NL80211_IFACE_COMB_MAXNUM:
			c.total = d.Uint32()
		case unix.NL80211_IFACE_COMB_NUM_CHANNELS:
			c.channels = d.Uint32()
		case unix.NL80211_IFACE_COMB_LIMITS:
			return nested(d, func(d *netlink.AttributeDecoder) error {
				var l limit
				err := nested(d, func(d *netlink.AttributeDecoder) (err error) {
					switch d.Type() {
					case unix.NL80211_IFACE_LIMIT_MAX:
						l.most = d.Uint32()
					case unix.NL80211_IFACE_LIMIT_TYPES:
						l.types, err = flags(d)
					}
					return err
				})
				c.limits = append(c.limits, l)
				return err
			})
		}
		return nil
	})
	return c, err
}

// readBand adds to a band what one message says of it.
func readBand(b *netctl.Band, d *netlink.AttributeDecoder) error {
	return nested(d, func(d *netlink.AttributeDecoder) error {
		switch d.Type() {
		case unix.NL80211_BAND_ATTR_HT_CAPA:
			b.HT, b.HTCaps = true, d.Uint16()
		case unix.NL80211_BAND_ATTR_VHT_CAPA:
			b.VHT, b.VHTCaps = true, d.Uint32()
		case unix.NL80211_BAND_ATTR_FREQS:
			return nested(d, func(d *netlink.AttributeDecoder) error {
				c, band := netctl.Channel{Allowed: true, Above: true, Below: true, Wide80: true}, ""
				if err := nested(d, func(d *netlink.AttributeDecoder) error {
					switch d.Type() {
					case unix.NL80211_FREQUENCY_ATTR_FREQ:
						c.MHz = int(d.Uint32())
					case unix.NL80211_FREQUENCY_ATTR_DISABLED,
						unix.NL80211_FREQUENCY_ATTR_NO_IR,
						unix.NL80211_FREQUENCY_ATTR_RADAR:
						c.Allowed = false
					case unix.NL80211_FREQUENCY_ATTR_MAX_TX_POWER:
						c.Power = int(d.Uint32()) / 100 // mBm
					case unix.NL80211_FREQUENCY_ATTR_NO_HT40_PLUS:
						c.Above = false
					case unix.NL80211_FREQUENCY_ATTR_NO_HT40_MINUS:
						c.Below = false
					case unix.NL80211_FREQUENCY_ATTR_NO_80MHZ:
						c.Wide80 = false
					}
					return nil
				}); err != nil {
					return err
				}
				if c.Number, band = netctl.ChannelNumber(c.MHz); c.Number != 0 {
					b.Name, b.Channels = band, append(b.Channels, c)
				}
				return nil
			})
		}
		return nil
	})
}

// bipCMAC is the cipher suite BIP-CMAC-128, 00-0F-AC:6, as the kernel holds it (include/linux/ieee80211.h).
const bipCMAC = 0x000fac06

// radio says in the box's words what the radio can do.
func (w *wiphy) radio() netctl.Radio {
	r := netctl.Radio{
		Index:          int(w.index),
		Name:           w.name,
		AccessPoint:    slices.Contains(w.types, unix.NL80211_IFTYPE_AP),
		Joins:          slices.Contains(w.types, unix.NL80211_IFTYPE_STATION),
		Isolates:       slices.Contains(w.commands, unix.NL80211_CMD_SET_BSS),
		ListensServing: w.features&unix.NL80211_FEATURE_AP_SCAN != 0,
		Stations:       int(w.stations),
	}
	for c := w.ciphers; len(c) >= 4; c = c[4:] {
		r.MFP = r.MFP || binary.NativeEndian.Uint32(c) == bipCMAC
	}
	// SAE and OWE are hostapd's own work, so the radio has to leave the letting in to it. One that does it itself (as
	// brcmfmac does, whose firmware may know SAE: NL80211_EXT_FEATURE_SAE_OFFLOAD_AP) would need a hostapd that hands it
	// the password; 2.10 doesn't, and phones were seen to fail there. WPA3 asks for protected management frames.
	r.SAE = r.AccessPoint && r.MFP && !w.ownSME
	r.OWE = r.SAE
	if r.AccessPoint {
		r.Networks = 1 // what needs no combination
	}
	for _, c := range w.combos {
		r.Networks = max(r.Networks, c.networks(0))
		n := c.networks(1)
		r.NetworksJoined = max(r.NetworksJoined, n)
		if n > 0 {
			r.Channels = max(r.Channels, int(c.channels))
		}
	}
	for _, b := range w.bands {
		if len(b.Channels) > 0 {
			r.Bands = append(r.Bands, *b)
		}
	}
	slices.SortFunc(r.Bands, func(a, b netctl.Band) int { return a.Channels[0].MHz - b.Channels[0].MHz })
	return r
}

// networks returns how many access points the combination has room for beside so many stations.
func (c combination) networks(stations int) int {
	var ap, station, either int
	for _, l := range c.limits {
		isAP := slices.Contains(l.types, unix.NL80211_IFTYPE_AP)
		isStation := slices.Contains(l.types, unix.NL80211_IFTYPE_STATION)
		switch {
		case isAP && isStation:
			either += int(l.most)
		case isAP:
			ap += int(l.most)
		case isStation:
			station += int(l.most)
		}
	}
	if either -= max(0, stations-station); either < 0 {
		return 0
	}
	return max(0, min(ap+either, int(c.total)-stations))
}
