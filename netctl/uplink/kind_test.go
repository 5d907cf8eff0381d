package uplink

import (
	"net/netip"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/vishvananda/netlink"
)

func TestKindOf(t *testing.T) {
	t.Parallel()
	ether := netlink.LinkAttrs{EncapType: "ether"}
	for name, c := range map[string]struct {
		link   netlink.Link
		driver string
		wifi   bool
		want   string
	}{
		"Android":          {&netlink.Device{LinkAttrs: ether}, "rndis_host", false, "phone on USB (Android)"},
		"iPhone":           {&netlink.Device{LinkAttrs: ether}, "ipheth", false, "iPhone on USB"},
		"NCM":              {&netlink.Device{LinkAttrs: ether}, "cdc_ncm", false, usbKinds["cdc_ncm"].words},
		"a modem":          {&netlink.Device{LinkAttrs: netlink.LinkAttrs{EncapType: "none"}}, "qmi_wwan", false, "mobile modem on USB (QMI)"},
		"an adapter":       {&netlink.Device{LinkAttrs: ether}, "r8152", false, "network cable"},
		"the Pi's Wi-Fi":   {&netlink.Device{LinkAttrs: ether}, "brcmfmac", true, "Wi-Fi"},
		"the Pi's socket":  {&netlink.Device{LinkAttrs: ether}, "bcmgenet", false, "network cable"},
		"no driver's name": {&netlink.Device{LinkAttrs: ether}, "", false, "network cable"},
		"the loopback":     {&netlink.Device{LinkAttrs: netlink.LinkAttrs{EncapType: "loopback"}}, "", false, ""},
		"a bridge":         {&netlink.Bridge{LinkAttrs: ether}, "bridge", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := kindOf(c.link, c.driver, func(int) bool { return c.wifi }).words; got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestWhichPhone(t *testing.T) {
	t.Parallel()
	const off = 0
	works := func(index int) ([]netlink.Addr, []netlink.Route) {
		return []netlink.Addr{address(index, "192.168.1.7/24")}, []netlink.Route{defaultVia(index, "192.168.1.1", 0)}
	}
	both := map[string]uint32{"usb0": upAndLinked, "usb1": upAndLinked}
	for name, c := range map[string]struct {
		flags map[string]uint32 // of the existing interfaces
		works int               // the index of the interface that has an address and a route
		named []string
		want  string
	}{
		"none":                               {map[string]uint32{"eth0": upAndLinked}, 2, nil, USB},
		"the one there is":                   {map[string]uint32{"eth0": upAndLinked, "usb0": off}, 2, nil, "usb0"},
		"the one that works":                 {both, 4, nil, "usb1"},
		"the first of two":                   {both, 0, nil, "usb0"},
		"a sure one before an adapter":       {map[string]uint32{"enx1": off, "usb1": off}, 0, nil, "usb1"},
		"an adapter that works before it":    {map[string]uint32{"enx1": upAndLinked, "usb1": off}, 1, nil, "enx1"},
		"a modem alone":                      {map[string]uint32{"wwan0": off}, 0, nil, "wwan0"},
		"a phone before a modem":             {map[string]uint32{"enx1": off, "wwan0": off}, 0, nil, "enx1"},
		"a modem that is connected":          {map[string]uint32{"usb0": upAndLinked, "wwan0": upAndLinked}, 5, nil, "wwan0"},
		"not one that a donation names":      {map[string]uint32{"usb0": upAndLinked, "usb1": off}, 3, []string{"usb0"}, "usb1"},
		"none but one that a donation names": {map[string]uint32{"usb0": upAndLinked}, 3, []string{"usb0"}, USB},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			indices := map[string]int{"enx1": 1, "eth0": 2, "usb0": 3, "usb1": 4, "wwan0": 5}
			drivers := map[string]string{"enx1": "cdc_ether", "eth0": "bcmgenet", "usb0": "rndis_host", "usb1": "ipheth", "wwan0": "qmi_wwan"}
			var s snapshot
			kinds := map[identity]kind{}
			for name, flags := range c.flags {
				link := device(indices[name], name, flags)
				s.links = append(s.links, link)
				kinds[identity{indices[name], name}] = kindOf(link, drivers[name], func(int) bool { return false })
			}
			s.addrs, s.routes = works(c.works)
			got := s.phone(kinds, append(c.named, USB))
			if got.Interface != c.want || got.Present != (c.want != USB) {
				t.Errorf("got %+v, want %s", got, c.want)
			}
			if c.want == USB && got.Why != "no phone is plugged in by USB" {
				t.Errorf("why: %q", got.Why)
			}
		})
	}
}

// A phone that is unplugged and plugged in again has another name and index, but is the same line.
func TestPhonePluggedInAgain(t *testing.T) {
	l := layLine(t)
	var mu sync.Mutex
	drivers := map[string]string{"eth0": "rndis_host", "rndis0": "rndis_host"}
	asked := map[string]int{}
	l.r.driver = func(name string) string {
		mu.Lock()
		defer mu.Unlock()
		asked[name]++
		return drivers[name]
	}
	phone := func(names ...string) Status {
		t.Helper()
		list, err := l.r.Read(append(names, USB))
		l.must(err)
		return list[len(list)-1]
	}
	first := phone()
	if !first.Works || first.Interface != "eth0" || first.Kind != "phone on USB (Android)" || len(first.DNS) != 1 {
		t.Errorf("plugged in: %+v", first)
	}
	if named := phone("eth0"); named.Present {
		t.Errorf("a line that has a donation of its own is taken: %+v", named)
	}
	l.must(l.cable.Unplug())
	if st := phone(); st.Present || st.Works || st.Interface != USB || st.Why != "no phone is plugged in by USB" {
		t.Errorf("pulled out: %+v", st)
	}
	l.must(l.cable.Plug())
	l.must(l.box.SetUp("eth0", false))
	l.must(l.box.Netlink().LinkSetName(l.link(), "rndis0"))
	l.must(l.box.SetUp("rndis0", true))
	l.must(l.router.AddAddress("lan", netip.MustParsePrefix("192.168.1.1/24")))
	l.must(l.box.AddAddress("rndis0", netip.MustParsePrefix("192.168.1.7/24")))
	l.must(l.box.AddRoute(netip.MustParsePrefix("0.0.0.0/0"), gateway))
	var again Status
	eventually(t, "the phone's return", func() bool {
		again = phone()
		return again.Works
	})
	if again.Interface != "rndis0" || again.Index == first.Index || again.Kind != first.Kind {
		t.Errorf("plugged in again: %+v, was %+v", again, first)
	}
	mu.Lock()
	defer mu.Unlock()
	for name, n := range map[string]int{"eth0": 1, "rndis0": 1} {
		if asked[name] != n {
			t.Errorf("%s's driver was asked for %d times, want %d", name, asked[name], n)
		}
	}
}

// The interfaces are virtual: a test cannot rely on a real device.
func TestAskDriver(t *testing.T) {
	l := layLine(t)
	if got := l.r.askDriver("eth0"); got != "veth" {
		t.Errorf("driver %q of a veth", got)
	}
	if got := l.r.askDriver("nowhere"); got != "" {
		t.Errorf("driver %q of nothing", got)
	}
	index := l.link().Attrs().Index
	l.must(l.box.Do(func() error {
		if isWiFi(index) {
			t.Error("a veth is taken for Wi-Fi")
		}
		return nil
	}))
	if got := l.read().Kind; got != "" {
		t.Errorf("a veth is a %q", got)
	}
}

// TestModemNote checks that Why of a modem without a connection is the text of its service's file below the machine's root.
func TestModemNote(t *testing.T) {
	t.Parallel()
	r := Reader{root: fstest.MapFS{ModemNotes + "/wwan0": &fstest.MapFile{Data: []byte("the SIM asks for its PIN")}}}
	for name, want := range map[string]string{"wwan0": "the SIM asks for its PIN", "wwan1": ""} {
		if got := r.noted(name); got != want {
			t.Errorf("of %s it is %q, want %q", name, got, want)
		}
	}
}
