package radio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"github.com/mdlayher/wifi"
	"golang.org/x/sys/unix"

	"passerelle/netctl"
)

// Radios returns the radios' capabilities, by index, with channels under the current regulatory domain.
func (r *Reader) Radios() ([]netctl.Radio, error) {
	phys, err := from(r, library.PHYs)
	if err != nil {
		return nil, fmt.Errorf("list radios: %w", err)
	}
	messages, err := r.ask(unix.NL80211_CMD_GET_WIPHY, netlink.Dump, func(e *netlink.AttributeEncoder) {
		// Without this flag the kernel leaves out what doesn't fit into one message (Linux 3713b4e364ef).
		e.Flag(unix.NL80211_ATTR_SPLIT_WIPHY_DUMP, true)
	})
	if err != nil {
		return nil, fmt.Errorf("list the radios' bands: %w", err)
	}
	bands, err := readBands(messages)
	if err != nil {
		return nil, fmt.Errorf("list the radios' bands: %w", err)
	}
	list := make([]netctl.Radio, 0, len(phys))
	for _, p := range phys {
		list = append(list, radioOf(p, bands[p.Index]))
	}
	slices.SortFunc(list, func(a, b netctl.Radio) int { return a.Index - b.Index })
	return list, nil
}

// bandsOf holds a radio's bands by the kernel's band number.
type bandsOf map[uint16]*netctl.Band

// readBands merges the bands of a split dump, by radio.
func readBands(messages []genetlink.Message) (map[int]bandsOf, error) {
	all := map[int]bandsOf{}
	for _, m := range messages {
		var bands bandsOf
		if err := each(m.Data, func(d *netlink.AttributeDecoder) error {
			switch d.Type() {
			case unix.NL80211_ATTR_WIPHY:
				index := int(d.Uint32())
				if bands = all[index]; bands == nil {
					bands = bandsOf{}
					all[index] = bands
				}
			case unix.NL80211_ATTR_WIPHY_BANDS:
				if bands == nil {
					return errors.New("a band comes before its radio's index")
				}
				return nested(d, func(d *netlink.AttributeDecoder) error {
					b := bands[d.Type()]
					if b == nil {
						b = &netctl.Band{}
						bands[d.Type()] = b
					}
					return readBand(b, d)
				})
			}
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// readBand adds one message's attributes to a band.
func readBand(b *netctl.Band, d *netlink.AttributeDecoder) error {
	return nested(d, func(d *netlink.AttributeDecoder) error {
		switch d.Type() {
		case unix.NL80211_BAND_ATTR_HT_CAPA:
			b.HT, b.HTCaps = true, d.Uint16()
		case unix.NL80211_BAND_ATTR_VHT_CAPA:
			b.VHT, b.VHTCaps = true, d.Uint32()
		case unix.NL80211_BAND_ATTR_FREQS:
			return nested(d, func(d *netlink.AttributeDecoder) error {
				c, band := netctl.Channel{Allowed: true, HT40Plus: true, HT40Minus: true, VHT80: true}, ""
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
						c.HT40Plus = false
					case unix.NL80211_FREQUENCY_ATTR_NO_HT40_MINUS:
						c.HT40Minus = false
					case unix.NL80211_FREQUENCY_ATTR_NO_80MHZ:
						c.VHT80 = false
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

// radioOf converts a PHY. The library returns attributes that it does not parse as bytes.
func radioOf(p *wifi.PHY, bands bandsOf) netctl.Radio {
	r := netctl.Radio{
		Index:       p.Index,
		Name:        p.Name,
		AccessPoint: slices.Contains(p.SupportedIftypes, wifi.InterfaceTypeAP),
		STA:         slices.Contains(p.SupportedIftypes, wifi.InterfaceTypeStation),
		CanIsolate:  supports(p, unix.NL80211_CMD_SET_BSS),
		ScanWhileAP: number(p.Extra[unix.NL80211_ATTR_FEATURE_FLAGS])&unix.NL80211_FEATURE_AP_SCAN != 0,
		MaxStations: int(number(p.Extra[unix.NL80211_ATTR_MAX_AP_ASSOC_STA])),
	}
	for c := range slices.Chunk(p.Extra[unix.NL80211_ATTR_CIPHER_SUITES], 4) {
		r.MFP = r.MFP || number(c) == bipCMAC
	}
	// hostapd implements SAE and OWE, so the radio has to leave authentication to it. A radio with its own SME needs a hostapd
	// that passes the password to it. One is brcmfmac, whose firmware may support SAE (NL80211_EXT_FEATURE_SAE_OFFLOAD_AP).
	// hostapd 2.10 doesn't pass it, and phones were seen to fail there. WPA3 requires protected management frames.
	_, ownSME := p.Extra[unix.NL80211_ATTR_DEVICE_AP_SME]
	r.SAE = r.AccessPoint && r.MFP && !ownSME
	r.OWE = r.SAE
	if r.AccessPoint {
		r.BSS = 1 // even if the radio lists no combination
	}
	for _, c := range p.InterfaceCombinations {
		r.BSS = max(r.BSS, networks(c, 0))
		n := networks(c, 1)
		r.BSSWithSTA = max(r.BSSWithSTA, n)
		if n > 0 {
			r.Channels = max(r.Channels, c.NumChannels)
		}
	}
	for _, b := range bands {
		if len(b.Channels) > 0 {
			r.Bands = append(r.Bands, *b)
		}
	}
	slices.SortFunc(r.Bands, func(a, b netctl.Band) int { return a.Channels[0].MHz - b.Channels[0].MHz })
	return r
}

// supports tells whether the radio's driver supports a command. It returns false if the list of commands can't be parsed.
func supports(p *wifi.PHY, command uint32) (ok bool) {
	err := each(p.Extra[unix.NL80211_ATTR_SUPPORTED_COMMANDS], func(d *netlink.AttributeDecoder) error {
		ok = ok || d.Uint32() == command
		return nil
	})
	return ok && err == nil
}

// number decodes an attribute's value, 0 if there is none.
func number(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}

// networks returns how many access points the combination allows in addition to a number of stations.
func networks(c wifi.InterfaceCombination, stations int) int {
	var ap, station, either int
	for _, l := range c.CombinationLimits {
		isAP := slices.Contains(l.InterfaceTypes, wifi.InterfaceTypeAP)
		isStation := slices.Contains(l.InterfaceTypes, wifi.InterfaceTypeStation)
		switch {
		case isAP && isStation:
			either += l.Max
		case isAP:
			ap += l.Max
		case isStation:
			station += l.Max
		}
	}
	if either -= max(0, stations-station); either < 0 {
		return 0
	}
	return max(0, min(ap+either, c.Total-stations))
}
