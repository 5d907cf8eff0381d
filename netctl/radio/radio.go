// Package radio asks the kernel about the box's radios over nl80211: what they can do, which interfaces they have, how
// many stations are there, what is heard in the air; and gives a radio an interface more. It must not know who is on
// them: a station's address doesn't leave the function that met it, and neither does that of a network nearby. Nor does
// it know what the box's network is for.
//
// It speaks generic netlink itself: mdlayher/wifi v0.10.0 turns an SSID into text, doesn't tell how wide a channel may
// be used, can't scan with an access point's interface and takes no connection from a test.
package radio

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	vnl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"passerelle/netctl"
)

// ErrNone says that the machine has no radio at all.
var ErrNone = errors.New("no radio: the kernel has no Wi-Fi (nl80211); plug in a Wi-Fi adapter, or load its driver")

// Reader asks about the radios of the calling thread's network namespace. It holds nothing open; its methods are safe
// for concurrent use.
type Reader struct {
	family genetlink.Family
	dial   func() (*genetlink.Conn, error)
	listen func(group uint32) (listener, error)

	scan sync.Mutex // one scan at a time
}

// Open returns a Reader. It fails with ErrNone where the kernel has no Wi-Fi, which may come later, with an adapter's
// driver.
func Open() (*Reader, error) {
	return open(func() (*genetlink.Conn, error) { return genetlink.Dial(nil) }, listen)
}

func open(dial func() (*genetlink.Conn, error), listen func(uint32) (listener, error)) (*Reader, error) {
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
	return &Reader{family: family, dial: dial, listen: listen}, nil
}

// ask sends one command and returns the answers; one that has none is sent with the flag Acknowledge. Each question has
// a socket of its own, so that the end of an answer that was given up is never taken for the beginning of another.
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

// nested decodes the attributes inside the one that d stands at.
func nested(d *netlink.AttributeDecoder, attribute func(*netlink.AttributeDecoder) error) error {
	return each(d.Bytes(), attribute)
}

// Interfaces returns the radios' interfaces, in the kernel's order.
func (r *Reader) Interfaces() ([]netctl.RadioInterface, error) {
	messages, err := r.ask(unix.NL80211_CMD_GET_INTERFACE, netlink.Dump, nil)
	if err != nil {
		return nil, fmt.Errorf("list the radios' interfaces: %w", err)
	}
	var list []netctl.RadioInterface
	for _, m := range messages {
		i := netctl.RadioInterface{Kind: netctl.RadioOther}
		if err := each(m.Data, func(d *netlink.AttributeDecoder) error {
			switch d.Type() {
			case unix.NL80211_ATTR_IFINDEX:
				i.Index = int(d.Uint32())
			case unix.NL80211_ATTR_IFNAME:
				i.Name = d.String()
			case unix.NL80211_ATTR_WIPHY:
				i.Radio = int(d.Uint32())
			case unix.NL80211_ATTR_WIPHY_FREQ:
				i.MHz = int(d.Uint32())
			case unix.NL80211_ATTR_MAC:
				copy(i.Address[:], d.Bytes())
			case unix.NL80211_ATTR_IFTYPE:
				switch d.Uint32() {
				case unix.NL80211_IFTYPE_AP:
					i.Kind = netctl.RadioAccessPoint
				case unix.NL80211_IFTYPE_STATION:
					i.Kind = netctl.RadioStation
				}
			}
			return nil
		}); err != nil {
			return nil, fmt.Errorf("list the radios' interfaces: %w", err)
		}
		if i.Index != 0 { // else it's no network interface, such as a P2P device
			list = append(list, i)
		}
	}
	return list, nil
}

// Stations returns how many stations the interfaces have together.
func (r *Reader) Stations(interfaces []netctl.RadioInterface) (int, error) {
	n := 0
	for _, i := range interfaces {
		messages, err := r.ask(unix.NL80211_CMD_GET_STATION, netlink.Dump, func(e *netlink.AttributeEncoder) {
			e.Uint32(unix.NL80211_ATTR_IFINDEX, uint32(i.Index))
		})
		if err != nil {
			return 0, fmt.Errorf("count the stations of %s: %w", i.Name, err)
		}
		n += len(messages)
	}
	return n, nil
}

// Country returns whose rules the radios follow: an ISO 3166-1 alpha-2 code, or one of the kernel's own: "00" for those
// that hold anywhere, "99" for those of the radio's maker, "98" for those that several codes have in common.
func (r *Reader) Country() (string, error) {
	messages, err := r.ask(unix.NL80211_CMD_GET_REG, 0, nil)
	if err != nil {
		return "", fmt.Errorf("ask for the radios' country: %w", err)
	}
	country := ""
	for _, m := range messages {
		if err := each(m.Data, func(d *netlink.AttributeDecoder) error {
			if d.Type() == unix.NL80211_ATTR_REG_ALPHA2 {
				country = d.String()
			}
			return nil
		}); err != nil {
			return "", fmt.Errorf("ask for the radios' country: %w", err)
		}
	}
	if country == "" {
		return "", errors.New("ask for the radios' country: the kernel told none")
	}
	return country, nil
}

// SetCountry has the radios follow a country's rules, given as its ISO 3166-1 alpha-2 code. They do a moment later, as
// Country tells; not all radios can.
func (r *Reader) SetCountry(alpha2 string) error {
	if _, err := r.ask(unix.NL80211_CMD_REQ_SET_REG, netlink.Acknowledge, func(e *netlink.AttributeEncoder) {
		e.String(unix.NL80211_ATTR_REG_ALPHA2, alpha2)
	}); err != nil {
		return fmt.Errorf("have the radios follow the rules of %s: %w", alpha2, err)
	}
	return nil
}

// SetUp switches an interface on, without which it hears nothing. It can't where the whole radio is switched off.
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

// Add gives a radio one more interface, which is down and nobody's yet. The error is fs.ErrExist if the name is taken.
func (r *Reader) Add(radio netctl.Radio, name string, kind netctl.RadioKind) error {
	types := map[netctl.RadioKind]uint32{
		netctl.RadioAccessPoint: unix.NL80211_IFTYPE_AP,
		netctl.RadioStation:     unix.NL80211_IFTYPE_STATION,
	}
	t, ok := types[kind]
	if !ok {
		return fmt.Errorf("add the interface %s to %s: an interface of kind %q can't be asked for", name, radio.Name, kind)
	}
	_, err := r.ask(unix.NL80211_CMD_NEW_INTERFACE, 0, func(e *netlink.AttributeEncoder) {
		e.Uint32(unix.NL80211_ATTR_WIPHY, uint32(radio.Index))
		e.String(unix.NL80211_ATTR_IFNAME, name)
		e.Uint32(unix.NL80211_ATTR_IFTYPE, t)
	})
	if errors.Is(err, unix.ENFILE) { // what dev_alloc_name (net/core/dev.c) says of a name that's taken
		err = fs.ErrExist
	}
	if err != nil {
		return fmt.Errorf("add the interface %s to %s: %w", name, radio.Name, err)
	}
	return nil
}

// Remove takes an interface away from its radio. That it's gone already is no error.
func (r *Reader) Remove(i netctl.RadioInterface) error {
	_, err := r.ask(unix.NL80211_CMD_DEL_INTERFACE, netlink.Acknowledge, func(e *netlink.AttributeEncoder) {
		e.Uint32(unix.NL80211_ATTR_IFINDEX, uint32(i.Index))
	})
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove the interface %s: %w", i.Name, err)
	}
	return nil
}
