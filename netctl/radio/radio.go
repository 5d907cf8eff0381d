// Package radio reads the box's radios over nl80211: capabilities, interfaces, the number of associated stations, scan results.
// It also adds and removes interfaces. No address of a station or of a nearby BSS leaves the function that parses it. The
// package must not know what the box's network is for.
//
// mdlayher/wifi v0.10.0 lists radios, interfaces, stations and surveys, and reads and sets the country. Stations are only
// counted: the library's byte counters are of type int, which overflows on 32-bit Arm, and must not be used for billing. This
// package sends its own messages for what the library lacks:
//
//   - the bands of a radio (GET_WIPHY): the library does not parse the HT40 and 80 MHz flags, and parses only a part of the HT
//     and VHT capabilities, while hostapd needs all of them;
//   - a scan (TRIGGER_SCAN): the library can't scan while the interface is an access point, nor flush earlier results, nor stop
//     when a context is cancelled;
//   - scan results (GET_SCAN): the library converts an SSID to text, parses neither the privacy bit nor the element of the first
//     WPA, and panics if a driver reports the signal without a unit (BSS_SIGNAL_UNSPEC, one byte that it decodes as four);
//   - adding and removing an interface (NEW_INTERFACE, DEL_INTERFACE).
package radio

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"github.com/mdlayher/wifi"
	vnl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"passerelle/netctl"
)

// ErrNone says that the machine has no radio.
var ErrNone = errors.New("no radio: the kernel has no Wi-Fi (nl80211); plug in a Wi-Fi adapter, or load its driver")

// library is the part of *wifi.Client in use. Tests replace it.
type library interface {
	PHYs() ([]*wifi.PHY, error)
	Interfaces() ([]*wifi.Interface, error)
	StationInfo(*wifi.Interface) ([]*wifi.StationInfo, error)
	SurveyInfo(*wifi.Interface) ([]*wifi.SurveyInfo, error)
	GetRegulatoryDomain() (*wifi.RegulatoryDomain, error)
	SetRegulatoryRegion(region string, hint wifi.RegulatoryHint) error
	Close() error
}

// Reader reads the radios of the calling thread's network namespace. It keeps no socket open; its methods are safe for
// concurrent use.
type Reader struct {
	family  genetlink.Family
	library func() (library, error)
	dial    func() (*genetlink.Conn, error)
	listen  func(group uint32) (listener, error)

	scan sync.Mutex // one scan at a time
}

// Open returns a Reader. It fails with ErrNone if the kernel has no Wi-Fi. The driver of an adapter may load it later.
func Open() (*Reader, error) {
	return open(
		func() (library, error) { return wifi.New() },
		func() (*genetlink.Conn, error) { return genetlink.Dial(nil) },
		listen)
}

func open(
	library func() (library, error), dial func() (*genetlink.Conn, error), listen func(uint32) (listener, error),
) (*Reader, error) {
	c, err := dial()
	if err != nil {
		return nil, fmt.Errorf("open generic netlink: %w", err)
	}
	defer c.Close()
	family, err := c.GetFamily(unix.NL80211_GENL_NAME)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, fmt.Errorf("find nl80211: %w", err)
	}
	return &Reader{family: family, library: library, dial: dial, listen: listen}, nil
}

// from makes one call of the library, on a new socket (see ask).
func from[T any](r *Reader, question func(library) (T, error)) (answer T, err error) {
	c, err := r.library()
	if err != nil {
		return answer, fmt.Errorf("open nl80211: %w", err)
	}
	defer c.Close()
	return question(c)
}

// ask sends one command and returns the answers. A command without an answer needs the flag Acknowledge. Each command has its
// own socket, so that the rest of an abandoned answer is never read as the start of another.
func (r *Reader) ask(
	command uint8, flags netlink.HeaderFlags, fill func(*netlink.AttributeEncoder),
) ([]genetlink.Message, error) {
	e := netlink.NewAttributeEncoder()
	if fill != nil {
		fill(e)
	}
	data, err := e.Encode()
	if err != nil {
		return nil, err
	}
	m := genetlink.Message{Header: genetlink.Header{Command: command, Version: r.family.Version}, Data: data}
	c, err := r.dial()
	if err != nil {
		return nil, fmt.Errorf("open generic netlink: %w", err)
	}
	defer c.Close()
	return c.Execute(m, r.family.ID, netlink.Request|flags)
}

// each decodes a message's attributes.
func each(b []byte, attribute func(*netlink.AttributeDecoder) error) error {
	d, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return err
	}
	for d.Next() {
		if err := attribute(d); err != nil {
			return err
		}
	}
	return d.Err()
}

// nested decodes the attributes inside the current one.
func nested(d *netlink.AttributeDecoder, attribute func(*netlink.AttributeDecoder) error) error {
	return each(d.Bytes(), attribute)
}

// Interfaces returns the radios' interfaces, in the kernel's order.
func (r *Reader) Interfaces() ([]netctl.RadioInterface, error) {
	all, err := from(r, library.Interfaces)
	if err != nil {
		return nil, fmt.Errorf("list the radios' interfaces: %w", err)
	}
	var list []netctl.RadioInterface
	for _, w := range all {
		if w.Index == 0 {
			continue // not a network interface, such as a P2P device
		}
		i := netctl.RadioInterface{Name: w.Name, Index: w.Index, Radio: w.PHY, Kind: netctl.RadioOther, MHz: w.Frequency}
		copy(i.Address[:], w.HardwareAddr)
		switch w.Type {
		case wifi.InterfaceTypeAP:
			i.Kind = netctl.RadioAccessPoint
		case wifi.InterfaceTypeStation:
			i.Kind = netctl.RadioStation
		}
		list = append(list, i)
	}
	return list, nil
}

// Stations returns the number of stations on all the interfaces.
func (r *Reader) Stations(interfaces []netctl.RadioInterface) (int, error) {
	return from(r, func(l library) (n int, err error) {
		for _, i := range interfaces {
			stations, err := l.StationInfo(&wifi.Interface{Index: i.Index})
			if err != nil {
				return 0, fmt.Errorf("count the stations of %s: %w", i.Name, err)
			}
			n += len(stations)
		}
		return n, nil
	})
}

// Driver returns the name of an interface's driver and the version of its firmware, as `ethtool -i` prints them. Each is "" if
// the driver does not report it. Driver needs no privilege.
func Driver(name string) (driver, firmware string) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", ""
	}
	defer unix.Close(socket)
	info, err := unix.IoctlGetEthtoolDrvinfo(socket, name)
	if err != nil {
		return "", ""
	}
	return unix.ByteSliceToString(info.Driver[:]), unix.ByteSliceToString(info.Fw_version[:])
}

// Country returns the regulatory domain: an ISO 3166-1 alpha-2 code, or one of the kernel's own codes: "00" for the world
// domain, "99" for a domain built by the driver, "98" for the intersection of several.
func (r *Reader) Country() (string, error) {
	domain, err := from(r, library.GetRegulatoryDomain)
	if err != nil {
		return "", fmt.Errorf("read the radios' country: %w", err)
	}
	if domain.Region == "" {
		return "", errors.New("read the radios' country: the kernel returned none")
	}
	return domain.Region, nil
}

// SetCountry requests a regulatory domain by ISO 3166-1 alpha-2 code. It is applied a moment later, as Country shows; not all
// radios support it.
func (r *Reader) SetCountry(alpha2 string) error {
	if _, err := from(r, func(l library) (none struct{}, err error) {
		return none, l.SetRegulatoryRegion(alpha2, wifi.RegulatoryHintUser)
	}); err != nil {
		return fmt.Errorf("set the radios' country to %s: %w", alpha2, err)
	}
	return nil
}

// SetUp sets an interface up, which a scan requires. It fails if rfkill blocks the radio.
func (r *Reader) SetUp(i netctl.RadioInterface) error {
	link := &vnl.GenericLink{LinkAttrs: vnl.LinkAttrs{Index: i.Index, Name: i.Name}}
	err := vnl.LinkSetUp(link)
	if errors.Is(err, unix.ERFKILL) {
		return fmt.Errorf("set %s up: the radio is switched off, rfkill unblock wifi switches it on: %w", i.Name, err)
	}
	if err != nil {
		return fmt.Errorf("set %s up: %w", i.Name, err)
	}
	return nil
}

// Add adds an interface, which is down, to a radio. The error is fs.ErrExist if the name is in use.
func (r *Reader) Add(radio netctl.Radio, name string, kind netctl.RadioKind) error {
	types := map[netctl.RadioKind]uint32{
		netctl.RadioAccessPoint: unix.NL80211_IFTYPE_AP,
		netctl.RadioStation:     unix.NL80211_IFTYPE_STATION,
	}
	t, ok := types[kind]
	if !ok {
		return fmt.Errorf("add the interface %s to %s: kind %q is not supported", name, radio.Name, kind)
	}
	_, err := r.ask(unix.NL80211_CMD_NEW_INTERFACE, 0, func(e *netlink.AttributeEncoder) {
		e.Uint32(unix.NL80211_ATTR_WIPHY, uint32(radio.Index))
		e.String(unix.NL80211_ATTR_IFNAME, name)
		e.Uint32(unix.NL80211_ATTR_IFTYPE, t)
	})
	if errors.Is(err, unix.ENFILE) { // from dev_alloc_name (net/core/dev.c) if the name is in use
		err = fs.ErrExist
	}
	if err != nil {
		return fmt.Errorf("add the interface %s to %s: %w", name, radio.Name, err)
	}
	return nil
}

// Remove removes an interface from its radio. It is not an error if the interface is absent.
func (r *Reader) Remove(i netctl.RadioInterface) error {
	_, err := r.ask(unix.NL80211_CMD_DEL_INTERFACE, netlink.Acknowledge, func(e *netlink.AttributeEncoder) {
		e.Uint32(unix.NL80211_ATTR_IFINDEX, uint32(i.Index))
	})
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove the interface %s: %w", i.Name, err)
	}
	return nil
}
