package main

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/hours"
	"passerelle/appliance/state"
	"passerelle/netctl"
	"passerelle/netctl/netlab"
	"passerelle/netctl/uplink"
)

// cable returns a wired interface without a carrier.
func cable(name string) uplink.Interface {
	return uplink.Interface{Status: uplink.Status{Interface: name, Kind: "network cable", Present: true}, Wired: true}
}

// leads adds to an interface an address, and the rest of an internet connection.
func leads(l uplink.Interface, address string) uplink.Interface {
	l.Address = netip.MustParsePrefix(address)
	l.Networks = []netip.Prefix{l.Address.Masked()}
	l.Up, l.Carrier, l.Routed, l.Works = true, true, true, true
	return l
}

// wireless returns a radio's interface.
func wireless(name string) uplink.Interface {
	return uplink.Interface{Status: uplink.Status{Interface: name, Kind: "Wi-Fi", Present: true}}
}

func phone(name string) uplink.Interface {
	return uplink.Interface{Status: uplink.Status{Interface: name, Kind: "phone on USB (Android)", Present: true}, Phone: true}
}

// seen returns a machine with these interfaces. Each of kind Wi-Fi has its own radio; the radios in station can only join networks.
func seen(station string, lines ...uplink.Interface) machine {
	m := machine{Lines: lines}
	for _, l := range lines {
		if l.Kind != "Wi-Fi" {
			continue
		}
		r := netctl.Radio{
			Index: len(m.Radios), AccessPoint: !strings.Contains(station, l.Interface), STA: true,
			Bands: []netctl.Band{{Name: netctl.Band24}, {Name: netctl.Band5}},
		}
		m.Radios = append(m.Radios, r)
		m.Interfaces = append(m.Interfaces, netctl.RadioInterface{Name: l.Interface, Radio: r.Index, Kind: netctl.RadioStation})
	}
	return m
}

func TestFit(t *testing.T) {
	t.Parallel()
	const home = "192.168.1.7/24"
	port := cable("eth1")
	port.Port = true
	only5 := seen("", leads(cable("eth0"), home), wireless("wlan0"))
	only5.Radios[0].Bands = only5.Radios[0].Bands[1:]
	for _, test := range []struct {
		name              string
		machine           machine
		hotspot, donation string // as "wlan0 hostapd 2.4GHz 10.80.0.1/22", and "eth0 200GB"
		says              string
	}{
		{"nothing", machine{}, "wlan0 hostapd 2.4GHz 10.80.0.1/22", "eth0 200GB", "which does not exist"},
		{"a Raspberry Pi", seen("", leads(cable("eth0"), home), wireless("wlan0")),
			"wlan0 hostapd 2.4GHz 10.80.0.1/22", "eth0 200GB", "this machine's internet connection"},
		{"with other names", seen("", leads(cable("enp1s0"), home), wireless("wlp2s0")),
			"wlp2s0 hostapd 2.4GHz 10.80.0.1/22", "enp1s0 200GB", ""},
		{"its line is not plugged in", seen("", cable("eth0"), wireless("wlan0")),
			"wlan0 hostapd 2.4GHz 10.80.0.1/22", "eth0 200GB", "plug its cable in"},
		{"it has the internet by its only radio", seen("", leads(wireless("wlan0"), home), cable("eth0")),
			"wlan0 hostapd 2.4GHz 10.80.0.1/22", "eth0 200GB", "wlan0 is in a network, which it leaves"},
		{"and no socket", seen("", leads(wireless("wlan0"), home)),
			"wlan0 hostapd 2.4GHz 10.80.0.1/22", "eth0 200GB", "no uplink was found"},
		{"by one of two radios", seen("", leads(wireless("wlan0"), home), wireless("wlan1")),
			"wlan1 hostapd 2.4GHz 10.80.0.1/22", "wlan0 200GB", "wlan0 (Wi-Fi)"},
		{"by a radio that is no access point", seen("wlan0", leads(wireless("wlan0"), home)),
			"wlan1 hostapd 2.4GHz 10.80.0.1/22", "wlan0 200GB", "a Wi-Fi network by wlan1, which does not exist"},
		{"a radio for 5 GHz", only5, "wlan0 hostapd 5GHz 10.80.0.1/22", "eth0 200GB", "on 5GHz"},
		{"a phone", seen("", leads(phone("usb0"), "192.168.42.3/24"), cable("eth0"), wireless("wlan0")),
			"wlan0 hostapd 2.4GHz 10.80.0.1/22", "usb 2GB", "ask whose phone"},
		{"no radio, and a second socket", seen("", leads(cable("eth0"), home), cable("eth1")),
			"eth1 none 2.4GHz 10.80.0.1/22", "eth0 200GB", "the network at eth1"},
		{"that is a bridge's", seen("", leads(cable("eth0"), home), port),
			"wlan0 hostapd 2.4GHz 10.80.0.1/22", "eth0 200GB", "plug in an adapter"},
		{"that is on somebody's network", seen("", leads(cable("eth0"), home), func() uplink.Interface {
			l := leads(cable("eth1"), "172.20.0.9/16")
			l.Routed, l.Works = false, false
			return l
		}()), "wlan0 hostapd 2.4GHz 10.80.0.1/22", "eth0 200GB", ""},
		{"two sockets, nothing plugged in", seen("", cable("eth0"), cable("eth1")),
			"eth1 none 2.4GHz 10.80.0.1/22", "eth0 200GB", ""},
		{"only the second is plugged in", seen("", cable("eth0"), func() uplink.Interface {
			l := cable("eth1")
			l.Carrier = true
			return l
		}()), "eth0 none 2.4GHz 10.80.0.1/22", "eth1 200GB", ""},
		{"its line has the hotspot's network", seen("", leads(cable("eth0"), "10.80.1.9/24"), wireless("wlan0")),
			"wlan0 hostapd 2.4GHz 172.28.0.1/22", "eth0 200GB", "already in 10.80.0.0/22"},
	} {
		c, chosen := fit(test.machine)
		h, d := c.Hotspot, c.Donations[0]
		hotspot := strings.Join([]string{h.Interface, h.Radio, h.Band, h.Address.String()}, " ")
		donation := d.Interface + " " + d.Cap.String()
		if hotspot != test.hotspot || donation != test.donation {
			t.Errorf("%s: hotspot %s, donation %s; want %s, %s", test.name, hotspot, donation, test.hotspot, test.donation)
		}
		if all := strings.Join(chosen, "\n"); !strings.Contains(all, test.says) {
			t.Errorf("%s: %q is not said in:\n%s", test.name, test.says, all)
		}
	}
}

// TestFitIsAlwaysRight: on any machine, init writes a valid configuration, the same each time, and check finds only the misfits that init
// reported.
func TestFitIsAlwaysRight(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(11, 5))
	makers := []func(string) uplink.Interface{cable, wireless, phone, func(name string) uplink.Interface {
		return uplink.Interface{Status: uplink.Status{Interface: name, Present: true}}
	}}
	complete := 0
	for range 5000 {
		var lines []uplink.Interface
		var station string
		names := []string{"eth0", "eth1", "wlan0", "wlan1", "usb0", "br0"}
		rnd.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		for _, name := range names[:rnd.IntN(len(names))] {
			l := makers[rnd.IntN(len(makers))](name)
			if rnd.IntN(2) == 0 {
				l = leads(l, []string{"192.168.1.7/24", "10.80.0.9/16", "172.28.1.4/24"}[rnd.IntN(3)])
				l.Routed = rnd.IntN(3) > 0
				l.Works = l.Routed
			}
			l.Port = rnd.IntN(5) == 0
			lines = append(lines, l)
			if rnd.IntN(3) == 0 {
				station += name + " "
			}
		}
		slices.SortStableFunc(lines, func(a, b uplink.Interface) int {
			return map[bool]int{true: 0, false: 1}[a.Routed] - map[bool]int{true: 0, false: 1}[b.Routed]
		})
		m := seen(station, lines...)
		c, chosen := fit(m)
		text := string(config.Format(c))
		if _, err := config.Parse("init.toml", []byte(text)); err != nil {
			t.Fatalf("%+v:\n%v", m, err)
		}
		again, _ := fit(m)
		if string(config.Format(again)) != text {
			t.Fatalf("%+v: init does not write the same again", m)
		}
		said := strings.Join(chosen, "\n")
		for _, misfit := range misfits(m, c) {
			switch {
			case strings.HasPrefix(misfit, "hotspot.interface: this machine has no interface") && strings.Contains(said, "which does not exist"):
			case strings.Contains(misfit, "interface: this machine has no interface") && strings.Contains(said, "no uplink was found"):
			case strings.HasPrefix(misfit, "hotspot.interface: ") && strings.Contains(said, "which it leaves when the box runs"):
			default:
				t.Fatalf("%+v\nwritten:\n%s\nsaid:\n%s\nand check finds %s", m, text, said, misfit)
			}
		}
		if len(misfits(m, c)) == 0 {
			complete++
		}
	}
	if complete < 500 {
		t.Errorf("only %d of the machines had all that a box needs: the test proves little", complete)
	}
}

func TestMisfits(t *testing.T) {
	t.Parallel()
	parse := func(hotspot, donations string) *config.Config {
		c, err := config.Parse("box.toml", []byte("[box]\nname = \"Lilas\"\n[hotspot]\nssid = \"Partage\"\ncountry = \"FR\"\n"+hotspot+
			strings.ReplaceAll(donations, "DONATION", "\n[[donation]]\ncap = \"0\"\n")))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	const fibre = "DONATION name = \"Fibre\"\n interface = \"eth0\"\n"
	pi := seen("", leads(cable("eth0"), "192.168.1.7/24"), wireless("wlan0"))
	served := seen("", leads(cable("eth0"), "192.168.1.7/24"), wireless("wlan0")) // by another program
	served.Interfaces[0].Kind = netctl.RadioAccessPoint
	both := seen("", leads(cable("eth0"), "192.168.1.7/24"), wireless("wlan0"))
	both.Radios[0].BSSWithSTA = 1
	const joins = "DONATION name = \"Lucie\"\n interface = \"lend0\"\n wifi = { ssid = \"Lucie\" }\n"
	for _, test := range []struct {
		name               string
		machine            machine
		hotspot, donations string
		want               []string
	}{
		{"all is there", pi, `interface = "wlan0"
radio = "hostapd"`, fibre, nil},
		{"no network is there", pi, `interface = "wlan0"
radio = "none"`, fibre, []string{`hotspot.radio: "none" means that wlan0 is a network already, but it is a Wi-Fi radio without one; use "hostapd"`}},
		{"another program makes it", served, `interface = "wlan0"
radio = "none"`, fibre, nil},
		{"and no network can be", seen("wlan0", leads(cable("eth0"), "192.168.1.7/24"), wireless("wlan0")), `interface = "wlan0"
radio = "none"`, fibre, []string{"use another interface"}},
		{"no access point", seen("wlan0", leads(cable("eth0"), "192.168.1.7/24"), wireless("wlan0")), `interface = "wlan0"
radio = "hostapd"`, fibre, []string{"hotspot.interface: the radio of wlan0 does not support access point mode"}},
		{"no radio", pi, `interface = "eth0"
radio = "hostapd"`, strings.ReplaceAll(fibre, "eth0", "eth1"), []string{
			`hotspot.radio: "hostapd" needs a Wi-Fi radio, but eth0 has none`,
			`donation "Fibre": interface: this machine has no interface eth1; it has eth0, wlan0`,
		}},
		{"the line is the hotspot", seen("", leads(cable("eth0"), "192.168.1.7/24"), cable("eth1")), `interface = "eth0"
radio = "none"`, strings.ReplaceAll(fibre, "eth0", "eth1"), []string{"hotspot.interface: eth0 leads to the internet:"}},
		{"nothing", machine{}, `interface = "br0"
radio = "none"`, fibre, []string{
			"hotspot.interface: this machine has no interface br0; it has none", "interface: this machine has no interface eth0",
		}},
		{"no such band", func() machine {
			m := seen("", leads(cable("eth0"), "192.168.1.7/24"), wireless("wlan0"))
			m.Radios[0].Bands = m.Radios[0].Bands[:1]
			return m
		}(), `interface = "wlan0"
radio = "hostapd"
band = "5GHz"`, fibre, []string{"hotspot.band: the radio of wlan0 does not have the band 5GHz"}},
		{"one network over the other", pi, `interface = "wlan0"
radio = "hostapd"
address = "192.168.0.1/16"`, fibre, []string{"hotspot.address: 192.168.0.1/16 is already in a network of eth0"}},
		{"a phone that is away", pi, `interface = "wlan0"
radio = "hostapd"`, strings.ReplaceAll(fibre, "eth0", "usb"), nil},
		{"an interface that the box makes", both, `interface = "wlan0"
radio = "hostapd"`, joins, nil},
		{"one that it cannot make", pi, `interface = "wlan0"
radio = "hostapd"`, joins, []string{`donation "Lucie": interface: this machine has no interface lend0, and the hotspot's radio cannot create it`}},
		{"the hotspot's, on the radio that joins", both, `interface = "ap0"
radio = "hostapd"`, strings.ReplaceAll(joins, "lend0", "wlan0"), nil},
		{"a cable that joins", pi, `interface = "wlan0"
radio = "hostapd"`, strings.ReplaceAll(joins, "lend0", "eth0"), []string{`donation "Lucie": wifi: eth0 has no radio`}},
	} {
		got := misfits(test.machine, parse(test.hotspot, test.donations))
		same := len(got) == len(test.want)
		for i := range got {
			same = same && strings.Contains(got[i], test.want[i])
		}
		if !same {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestDescribeHours(t *testing.T) {
	t.Parallel()
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 21, 10, 30, 0, 0, paris) // a Saturday
	for text, want := range map[string]string{
		"": `"Fibre" is lent day and night
`,
		"Mo-Fr 08:30-12:00,13:30-19:00; Sa 09:00-12:00; Aug off; Dec 25 off": `"Fibre" is lent (Europe/Paris):
  Mo  08:30-12:00, 13:30-19:00
  Tu  08:30-12:00, 13:30-19:00
  We  08:30-12:00, 13:30-19:00
  Th  08:30-12:00, 13:30-19:00
  Fr  08:30-12:00, 13:30-19:00
  Sa  09:00-12:00
  Su  closed
  Fri 25 Dec 2026: closed
  Mon 2 Aug 2027 to Tue 31 Aug 2027: closed
  open now until Sat 21 Nov 2026 12:00
`,
		"PH off; Su": `"Fibre" is lent (Europe/Paris):
  Mo  closed
  Tu  closed
  We  closed
  Th  closed
  Fr  closed
  Sa  closed
  Su  day and night
  closed now until Sun 22 Nov 2026 00:00
  is this intended? "PH off" does not hold on some of its days, because "Su" comes after it; write what is special last
  is this intended? "Su" has no hours, and so is open day and night; if it is not, write them, or "off"
`,
		"2026 Jul off, 2026 Jan 10:00-11:00": `"Fibre" is lent (Europe/Paris):
  Mo  closed
  Tu  closed
  We  closed
  Th  closed
  Fr  closed
  Sa  closed
  Su  closed
  closed now and for the year to come
`,
		"week 1-53/2 Sa 10:00-11:00": `"Fibre" is lent (Europe/Paris):
  Mo  closed
  Tu  closed
  We  closed
  Th  closed
  Fr  closed
  Sa  10:00-11:00
  Su  closed
  Sat 28 Nov 2026: closed
  Sat 12 Dec 2026: closed
  Sat 26 Dec 2026: closed
  Sat 16 Jan 2027: closed
  Sat 30 Jan 2027: closed
  Sat 13 Feb 2027: closed
  Sat 27 Feb 2027: closed
  Sat 13 Mar 2027: closed
  Sat 27 Mar 2027: closed
  Sat 10 Apr 2027: closed
  Sat 24 Apr 2027: closed
  Sat 8 May 2027: closed
  and on 14 more days or weeks of the year to come
  open now until Sat 21 Nov 2026 11:00
`,
	} {
		schedule, err := hours.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		got := string(describeHours(config.Donation{Name: "Fibre", Hours: schedule}, now))
		if got != want {
			t.Errorf("%q:\ngot\n%s\nwant\n%s", text, got, want)
		}
	}
}

// TestInitAndCheckSeeTheMachine: in a real namespace with a wired hotspot, init writes a configuration that fits, and check accepts it,
// both before the box runs with it and while it does.
func TestInitAndCheckSeeTheMachine(t *testing.T) {
	t.Parallel()
	b := newScene(t, settings{}, netlab.Options{})
	say := func(args ...string) string {
		t.Helper()
		p, err := b.scene.Box.StartCmd(program(args...))
		b.must(err)
		b.must(p.Wait())
		return p.Output()
	}
	b.must(os.Remove(b.Config))
	out := say("init", b.Config)
	for _, want := range []string{
		"donation: eth0, this machine's internet connection", "hotspot: the network at wlan0, since no radio supports access point mode",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("init does not say %q:\n%s", want, out)
		}
	}
	fine := func() {
		t.Helper()
		if out := say("check", "--config", b.Config); !strings.HasSuffix(out, b.Config+": OK\n") {
			t.Errorf("check says:\n%s", out)
		}
	}
	fine()
	text, err := os.ReadFile(b.Config)
	b.must(err)
	b.must(os.WriteFile(b.Config, regexp.MustCompile(`(?m)^hours = .*`).ReplaceAll(text, []byte(`hours = ""`)), 0o600)) // open whenever the test runs
	b.start()
	b.waitState(state.Sharing)
	fine()
}
