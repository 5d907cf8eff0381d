package radio

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"passerelle/netctl"
)

// ErrServing says that the radio can't listen around while it is an access point: only when nobody is there may it stop
// being one for a moment.
var ErrServing = errors.New("the radio can't listen around while it is an access point")

// listener receives what the kernel announces of itself.
type listener interface {
	Receive() ([]genetlink.Message, []netlink.Message, error)
	SetReadDeadline(time.Time) error
	Close() error
}

// listen joins one of the kernel's groups, on a socket of its own: answers and announcements don't mix.
func listen(group uint32) (listener, error) {
	c, err := genetlink.Dial(nil)
	if err != nil {
		return nil, fmt.Errorf("open generic netlink: %w", err)
	}
	if err := c.JoinGroup(group); err != nil {
		c.Close()
		return nil, fmt.Errorf("join nl80211's announcements of scans: %w", err)
	}
	return c, nil
}

// Scan listens around with the interface, which must be up, and returns the networks that were heard and how busy the
// channels were, where the radio measures it. It takes some seconds, at most until ctx ends. An access point's stations
// may lose packets meanwhile; where it can't be done with one at all, the error is ErrServing.
func (r *Reader) Scan(ctx context.Context, i netctl.RadioInterface) ([]netctl.Heard, []netctl.Busy, error) {
	r.scan.Lock()
	defer r.scan.Unlock()
	if err := r.trigger(ctx, i); err != nil {
		return nil, nil, fmt.Errorf("scan with %s: %w", i.Name, err)
	}
	on := func(e *netlink.AttributeEncoder) { e.Uint32(unix.NL80211_ATTR_IFINDEX, uint32(i.Index)) }
	messages, err := r.ask(unix.NL80211_CMD_GET_SCAN, netlink.Dump, on)
	if err != nil {
		return nil, nil, fmt.Errorf("read what %s heard: %w", i.Name, err)
	}
	var heard []netctl.Heard
	for _, m := range messages {
		if h, ok := readHeard(m.Data); ok {
			heard = append(heard, h)
		}
	}
	messages, err = r.ask(unix.NL80211_CMD_GET_SURVEY, netlink.Dump, on)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return heard, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read how busy %s found the channels: %w", i.Name, err)
	}
	var busy []netctl.Busy
	for _, m := range messages {
		b, ok, err := readBusy(m.Data)
		if err != nil {
			return nil, nil, fmt.Errorf("read how busy %s found the channels: %w", i.Name, err)
		}
		if ok {
			busy = append(busy, b)
		}
	}
	return heard, busy, nil
}

// trigger starts a scan and returns when it's over.
func (r *Reader) trigger(ctx context.Context, i netctl.RadioInterface) error {
	g := slices.IndexFunc(r.family.Groups, func(g genetlink.MulticastGroup) bool {
		return g.Name == unix.NL80211_MULTICAST_GROUP_SCAN
	})
	if g < 0 {
		return errors.New("the kernel doesn't announce the end of scans")
	}
	l, err := r.listen(r.family.Groups[g].ID) // before it starts, or its end could be missed
	if err != nil {
		return err
	}
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.SetReadDeadline(time.Unix(1, 0)) })()

	if _, err := r.ask(unix.NL80211_CMD_TRIGGER_SCAN, netlink.Acknowledge, func(e *netlink.AttributeEncoder) {
		e.Uint32(unix.NL80211_ATTR_IFINDEX, uint32(i.Index))
		f := uint32(unix.NL80211_SCAN_FLAG_FLUSH) // what was heard before is no news
		if i.Kind == netctl.RadioAccessPoint {
			f |= unix.NL80211_SCAN_FLAG_AP
		}
		e.Uint32(unix.NL80211_ATTR_SCAN_FLAGS, f)
		// Ask every network to show itself, on all channels where asking is allowed.
		e.Nested(unix.NL80211_ATTR_SCAN_SSIDS, func(e *netlink.AttributeEncoder) error {
			e.Bytes(1, nil)
			return nil
		})
	}); err != nil {
		if i.Kind == netctl.RadioAccessPoint && errors.Is(err, unix.EOPNOTSUPP) {
			return ErrServing
		}
		return err
	}
	for {
		messages, _, err := l.Receive()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("wait for its end: %w", err)
		}
		for _, m := range messages {
			index := 0
			if err := each(m.Data, func(d *netlink.AttributeDecoder) error {
				if d.Type() == unix.NL80211_ATTR_IFINDEX {
					index = int(d.Uint32())
				}
				return nil
			}); err != nil {
				return fmt.Errorf("wait for its end: %w", err)
			}
			switch {
			case index != i.Index:
			case m.Header.Command == unix.NL80211_CMD_NEW_SCAN_RESULTS:
				return nil
			case m.Header.Command == unix.NL80211_CMD_SCAN_ABORTED:
				return errors.New("the radio broke it off")
			}
		}
	}
}

// readHeard reads one network of a scan's results. What strangers sent can spoil their own entry only.
func readHeard(b []byte) (h netctl.Heard, ok bool) {
	var elements []byte
	private := false
	h.Signal = -100 // as good as not heard, where the radio doesn't tell
	err := each(b, func(d *netlink.AttributeDecoder) error {
		if d.Type() != unix.NL80211_ATTR_BSS {
			return nil
		}
		return nested(d, func(d *netlink.AttributeDecoder) error {
			switch d.Type() {
			case unix.NL80211_BSS_FREQUENCY:
				h.MHz = int(d.Uint32())
			case unix.NL80211_BSS_SIGNAL_MBM:
				h.Signal = int(d.Int32()) / 100
			case unix.NL80211_BSS_SIGNAL_UNSPEC: // 0 to 100, of nothing in particular
				h.Signal = int(d.Uint8())/2 - 100
			case unix.NL80211_BSS_CAPABILITY:
				private = d.Uint16()&capPrivacy != 0
			case unix.NL80211_BSS_INFORMATION_ELEMENTS:
				elements = d.Bytes()
			}
			return nil
		})
	})
	if err != nil || h.MHz == 0 {
		return netctl.Heard{}, false
	}
	h.SSID, h.Security = readElements(elements, private)
	return h, true
}

// Of IEEE 802.11-2020: the bit of the capability field (9.4.1.4), and elements (9.4.2.1).
const (
	capPrivacy    = 1 << 4
	elementSSID   = 0
	elementRSN    = 48
	elementVendor = 221
)

// vendorWPA begins the element of the first WPA (OUI 00-50-F2, type 1).
var vendorWPA = []byte{0x00, 0x50, 0xf2, 0x01}

// readElements reads what a network says of itself, as far as it's well formed. Private tells that it encrypts.
func readElements(b []byte, private bool) (ssid string, s netctl.Security) {
	var rsn []byte
	wpa := false
	for len(b) >= 2 && len(b) >= 2+int(b[1]) {
		data := b[2 : 2+int(b[1])]
		switch b[0] {
		case elementSSID:
			// A hidden network sends none, or as many zeros as its name is long.
			if len(data) <= 32 && len(bytes.Trim(data, "\x00")) > 0 {
				ssid = string(data)
			}
		case elementRSN:
			rsn = data
		case elementVendor:
			wpa = wpa || bytes.HasPrefix(data, vendorWPA)
		}
		b = b[2+len(data):]
	}
	switch {
	case rsn != nil:
		return ssid, readRSN(rsn)
	case wpa || private:
		return ssid, netctl.SecurityOld
	}
	return ssid, netctl.SecurityOpen
}

// Authentication and key management suites, 00-0F-AC:n (IEEE 802.11-2020, table 9-151; OWE: RFC 8110, 4.1).
const (
	akm8021X       = 1
	akmPSK         = 2
	akm8021XSHA256 = 5
	akmPSKSHA256   = 6
	akmSAE         = 8
	akmSuiteB      = 11
	akmSuiteB192   = 12
	akmOWE         = 18
)

// cipherCCMP is the only pairwise cipher that the box speaks, 00-0F-AC:4.
const cipherCCMP = 4

// readRSN reads an RSN element (IEEE 802.11-2020, 9.4.2.24): version, group cipher, pairwise ciphers, key management.
// What's left out at its end has its default: CCMP and 802.1X.
func readRSN(b []byte) netctl.Security {
	if len(b) < 2 || binary.LittleEndian.Uint16(b) != 1 {
		return netctl.SecurityUnknown
	}
	b = b[2:]
	b = b[min(4, len(b)):]
	ciphers, b, ok := suites(b)
	if !ok {
		return netctl.SecurityUnknown
	}
	akms, _, ok := suites(b)
	if !ok {
		return netctl.SecurityUnknown
	}
	if len(ciphers) > 0 && !slices.Contains(ciphers, cipherCCMP) {
		return netctl.SecurityOld
	}
	psk := slices.Contains(akms, akmPSK) || slices.Contains(akms, akmPSKSHA256)
	sae := slices.Contains(akms, akmSAE)
	switch {
	case psk && sae:
		return netctl.SecurityWPA2SAE
	case psk:
		return netctl.SecurityWPA2
	case sae:
		return netctl.SecuritySAE
	case slices.Contains(akms, akmOWE):
		return netctl.SecurityOWE
	case len(akms) == 0 || slices.ContainsFunc(akms, func(a byte) bool {
		return a == akm8021X || a == akm8021XSHA256 || a == akmSuiteB || a == akmSuiteB192
	}):
		return netctl.SecurityEnterprise
	}
	return netctl.SecurityUnknown
}

// suites reads a counted list of suites and returns the numbers of those of IEEE 802.11, and what follows. A list that
// the element ends before is empty.
func suites(b []byte) (numbers []byte, rest []byte, ok bool) {
	if len(b) == 0 {
		return nil, nil, true
	}
	if len(b) < 2 {
		return nil, nil, false
	}
	n := int(binary.LittleEndian.Uint16(b))
	b = b[2:]
	if n > len(b)/4 {
		return nil, nil, false
	}
	for s := range slices.Chunk(b[:4*n], 4) {
		if s[0] == 0x00 && s[1] == 0x0f && s[2] == 0xac {
			numbers = append(numbers, s[3])
		}
	}
	return numbers, b[4*n:], true
}

// readBusy reads what was measured on one channel; ok tells that something was.
func readBusy(b []byte) (s netctl.Busy, ok bool, err error) {
	var there, busy uint64 // milliseconds
	err = each(b, func(d *netlink.AttributeDecoder) error {
		if d.Type() != unix.NL80211_ATTR_SURVEY_INFO {
			return nil
		}
		return nested(d, func(d *netlink.AttributeDecoder) error {
			switch d.Type() {
			case unix.NL80211_SURVEY_INFO_FREQUENCY:
				s.MHz = int(d.Uint32())
			case unix.NL80211_SURVEY_INFO_NOISE:
				s.Noise = int(d.Int8())
			case unix.NL80211_SURVEY_INFO_TIME:
				there = d.Uint64()
			case unix.NL80211_SURVEY_INFO_TIME_BUSY:
				busy = d.Uint64()
			}
			return nil
		})
	})
	if err != nil || there == 0 {
		return netctl.Busy{}, false, err
	}
	s.Share = min(1, float64(busy)/float64(there))
	return s, true, nil
}
