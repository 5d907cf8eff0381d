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
	"github.com/mdlayher/wifi"
	"golang.org/x/sys/unix"

	"passerelle/netctl"
)

// ErrScanWhileAP says that the radio can't scan while it is an access point.
var ErrScanWhileAP = errors.New("the radio can't scan while it is an access point")

// listener receives multicast messages of the kernel.
type listener interface {
	Receive() ([]genetlink.Message, []netlink.Message, error)
	SetReadDeadline(time.Time) error
	Close() error
}

// listen joins a multicast group on a separate socket, so that answers and notifications don't mix.
func listen(group uint32) (listener, error) {
	c, err := genetlink.Dial(nil)
	if err != nil {
		return nil, fmt.Errorf("open generic netlink: %w", err)
	}
	if err := c.JoinGroup(group); err != nil {
		c.Close()
		return nil, fmt.Errorf("subscribe to nl80211's scan notifications: %w", err)
	}
	return c, nil
}

// Scan scans with the interface, which must be up. It returns the BSSs in range and, if the radio supports it, a survey of the
// channels. It takes some seconds, at most until ctx ends. Meanwhile an access point's stations may lose packets. If the radio
// can't scan as an access point, the error is ErrScanWhileAP.
func (r *Reader) Scan(ctx context.Context, i netctl.RadioInterface) ([]netctl.ScanResult, []netctl.Survey, error) {
	r.scan.Lock()
	defer r.scan.Unlock()
	if err := r.trigger(ctx, i); err != nil {
		return nil, nil, fmt.Errorf("scan with %s: %w", i.Name, err)
	}
	heard, err := r.Heard(i)
	if err != nil {
		return nil, nil, err
	}
	surveys, err := from(r, func(l library) ([]*wifi.SurveyInfo, error) { return l.SurveyInfo(&wifi.Interface{Index: i.Index}) })
	if errors.Is(err, unix.EOPNOTSUPP) {
		return heard, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read the survey of %s: %w", i.Name, err)
	}
	var busy []netctl.Survey
	for _, s := range surveys {
		if s.ChannelTime > 0 { // 0: nothing was measured
			busy = append(busy, netctl.Survey{
				MHz: s.Frequency, Noise: s.Noise, Busy: min(1, float64(s.ChannelTimeBusy)/float64(s.ChannelTime)),
			})
		}
	}
	return heard, busy, nil
}

// Heard returns the BSSs that the interface's radio has heard in its last scans, for whatever program. The kernel keeps each for
// half a minute (IEEE80211_SCAN_RESULT_EXPIRE). Heard transmits nothing.
func (r *Reader) Heard(i netctl.RadioInterface) ([]netctl.ScanResult, error) {
	messages, err := r.ask(unix.NL80211_CMD_GET_SCAN, netlink.Dump, func(e *netlink.AttributeEncoder) {
		e.Uint32(unix.NL80211_ATTR_IFINDEX, uint32(i.Index))
	})
	if err != nil {
		return nil, fmt.Errorf("read the scan results of %s: %w", i.Name, err)
	}
	var heard []netctl.ScanResult
	for _, m := range messages {
		if h, ok := readScanResult(m.Data); ok {
			heard = append(heard, h)
		}
	}
	return heard, nil
}

// trigger starts a scan and returns at its end.
func (r *Reader) trigger(ctx context.Context, i netctl.RadioInterface) error {
	g := slices.IndexFunc(r.family.Groups, func(g genetlink.MulticastGroup) bool {
		return g.Name == unix.NL80211_MULTICAST_GROUP_SCAN
	})
	if g < 0 {
		return errors.New("the kernel has no notification of a scan's end")
	}
	l, err := r.listen(r.family.Groups[g].ID) // before the scan, so that its end is not missed
	if err != nil {
		return err
	}
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.SetReadDeadline(time.Unix(1, 0)) })()

	if _, err := r.ask(unix.NL80211_CMD_TRIGGER_SCAN, netlink.Acknowledge, func(e *netlink.AttributeEncoder) {
		e.Uint32(unix.NL80211_ATTR_IFINDEX, uint32(i.Index))
		f := uint32(unix.NL80211_SCAN_FLAG_FLUSH) // without earlier results
		if i.Kind == netctl.RadioAccessPoint {
			f |= unix.NL80211_SCAN_FLAG_AP
		}
		e.Uint32(unix.NL80211_ATTR_SCAN_FLAGS, f)
		// Active scan with a wildcard SSID, on all channels where that is allowed.
		e.Nested(unix.NL80211_ATTR_SCAN_SSIDS, func(e *netlink.AttributeEncoder) error {
			e.Bytes(1, nil)
			return nil
		})
	}); err != nil {
		if i.Kind == netctl.RadioAccessPoint && errors.Is(err, unix.EOPNOTSUPP) {
			return ErrScanWhileAP
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
				return errors.New("the radio aborted it")
			}
		}
	}
}

// readScanResult parses one BSS. Untrusted data can affect its own entry only.
func readScanResult(b []byte) (h netctl.ScanResult, ok bool) {
	var elements []byte
	private := false
	h.Signal = -100 // the minimum, if the radio does not report it
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
			case unix.NL80211_BSS_SIGNAL_UNSPEC: // 0 to 100, without a unit
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
		return netctl.ScanResult{}, false
	}
	h.SSID, h.Security = readElements(elements, private)
	return h, true
}

// IEEE 802.11-2020: a bit of the capability field (9.4.1.4), and elements (9.4.2.1).
const (
	capPrivacy    = 1 << 4
	elementSSID   = 0
	elementRSN    = 48
	elementVendor = 221
)

// vendorWPA is the start of the element of the first WPA (OUI 00-50-F2, type 1).
var vendorWPA = []byte{0x00, 0x50, 0xf2, 0x01}

// readElements parses a BSS's elements up to the first malformed one. Private is its privacy bit.
func readElements(b []byte, private bool) (ssid string, s netctl.Security) {
	var rsn []byte
	wpa := false
	for len(b) >= 2 && len(b) >= 2+int(b[1]) {
		data := b[2 : 2+int(b[1])]
		switch b[0] {
		case elementSSID:
			// A hidden BSS sends an empty SSID, or zeros of its length.
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

// cipherCCMP is the only pairwise cipher that the box supports, 00-0F-AC:4.
const cipherCCMP = 4

// readRSN reads an RSN element (IEEE 802.11-2020, 9.4.2.24): version, group cipher, pairwise ciphers, key management.
// Fields omitted at its end have their defaults: CCMP and 802.1X.
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

// suites parses a counted list of suites and returns the numbers of those of IEEE 802.11, and the rest. A list after the
// element's end is empty.
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
