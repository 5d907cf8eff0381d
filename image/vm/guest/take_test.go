package guest

import (
	"errors"
	"testing"

	"github.com/vishvananda/netlink"

	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/labtest"
)

// TestTakeLink: an interface moves to a host under its new name, and an interface that is lost on the way is an error.
func TestTakeLink(t *testing.T) {
	labtest.Root(t)
	w := labtest.World(t, "take")
	host := func(name string) *netlab.Host {
		h, err := w.AddHost(name)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	machine, phone := host("machine"), host("phone")
	for _, name := range []string{"one", "two"} {
		if _, err := w.Connect(netlab.End{Host: machine, Interface: name}, netlab.End{Host: host("far" + name), Interface: "eth0"}); err != nil {
			t.Fatal(err)
		}
	}
	take := func(name string) error {
		return machine.Do(func() error {
			link, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			return takeLink(phone, link, "usb")
		})
	}
	if err := take("one"); err != nil {
		t.Fatal(err)
	}
	if _, err := phone.Netlink().LinkByName("usb"); err != nil {
		t.Error(err)
	}
	phone.Netlink().Close() // it now looks in the caller's namespace, which the interface has left
	if err := take("two"); !errors.As(err, new(netlink.LinkNotFoundError)) {
		t.Errorf("an interface that is lost: %v", err)
	}
}
