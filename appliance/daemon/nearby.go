package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"passerelle/appliance/config"
	"passerelle/captive/lend"
	"passerelle/netctl"
	"passerelle/netctl/radio"
	"passerelle/netctl/uplink"
)

// listenFor bounds how long a radio scans for the desk. A scan of all channels takes some four seconds.
const listenFor = 12 * time.Second

// nearSignal is the signal strength from which a phone counts as close, in dBm.
const nearSignal = -60

// nearby finds what can be lent: phones on cables, and Wi-Fi networks in range. It sends nothing on lines of people who have lent
// nothing, and never scans with a radio that residents use.
type nearby struct {
	interfaces func() ([]uplink.Interface, error)
	open       func() (hearer, error)
	config     func() *config.Config
}

// hearer is what nearby needs of radio.Reader.
type hearer interface {
	Interfaces() ([]netctl.RadioInterface, error)
	Heard(netctl.RadioInterface) ([]netctl.ScanResult, error)
	Scan(context.Context, netctl.RadioInterface) ([]netctl.ScanResult, []netctl.Survey, error)
}

func openHearer() (hearer, error) {
	r, err := radio.Open()
	if err != nil {
		return nil, err // not a nil *Reader
	}
	return r, nil
}

// Phones implements admin.Nearby.
func (n nearby) Phones() (phones []lend.Plugged, err error) {
	all, err := n.interfaces()
	if err != nil {
		return nil, fmt.Errorf("read the machine's interfaces: %w", err)
	}
	for _, i := range all {
		if i.Phone {
			phones = append(phones, lend.Plugged{Interface: i.Interface, Works: i.Works})
		}
	}
	return phones, nil
}

// Networks implements admin.Nearby.
func (n nearby) Networks(ctx context.Context, named func(ssid string) bool, listen bool) ([]lend.Heard, error) {
	r, err := n.open()
	if errors.Is(err, radio.ErrNone) {
		return nil, nil
	}
	var interfaces []netctl.RadioInterface
	if err == nil {
		interfaces, err = r.Interfaces()
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, listenFor)
	defer cancel()
	signals := map[string]int{}
	var errs []error
	for _, i := range interfaces {
		var heard []netctl.ScanResult
		if listen && n.idle(i, interfaces) {
			heard, _, err = r.Scan(ctx, i)
		} else {
			heard, err = r.Heard(i)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, h := range heard {
			if before, known := signals[h.SSID]; named(h.SSID) && (!known || h.Signal > before) {
				signals[h.SSID] = h.Signal
			}
		}
	}
	all := []lend.Heard{}
	byStrength := func(a, b string) int { return cmp.Or(cmp.Compare(signals[b], signals[a]), strings.Compare(a, b)) }
	for _, ssid := range slices.SortedFunc(maps.Keys(signals), byStrength) {
		all = append(all, lend.Heard{Name: config.SSID(ssid).String(), Strong: signals[ssid] >= nearSignal})
	}
	return all, errors.Join(errs...)
}

// idle tells whether an interface may scan without a disturbance: no interface of its radio is the hotspot's, or has joined a
// lender's network.
func (n nearby) idle(i netctl.RadioInterface, all []netctl.RadioInterface) bool {
	hotspot := n.config().Hotspot.Interface
	return i.Kind == netctl.RadioStation && !slices.ContainsFunc(all, func(other netctl.RadioInterface) bool {
		return other.Radio == i.Radio && (other.Name == hotspot || other.Kind == netctl.RadioAccessPoint || other.MHz != 0)
	})
}
