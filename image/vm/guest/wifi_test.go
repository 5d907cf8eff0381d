package guest_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"passerelle/appliance/plan"
	"passerelle/appliance/state"
	"passerelle/image/vm/guest"
	"passerelle/netctl"
	"passerelle/netctl/netlab"
	"passerelle/testdata"
)

// The hotspot's network. Tests that run at the same time as TestHotspot have other networks.
const (
	ssid   = "Partage à ouvrir"
	portal = "http://10.80.0.1"
)

// radioScene creates a scene whose box has radios with these names in place of the wired hotspot.
func radioScene(t *testing.T, name string, radios ...string) *netlab.Scene {
	t.Helper()
	ctx := patience(t, time.Minute)
	scene, err := netlab.Standard(ctx, netlab.Options{Name: name})
	must(t, err)
	closeWorld(t, scene.World)
	must(t, scene.Hotspot.Unplug())
	for _, r := range radios {
		must(t, guest.TakeRadio(ctx, scene.Box, r))
	}
	return scene
}

// newPhone adds a phone that is off.
func newPhone(t *testing.T, s *netlab.Scene) *guest.Phone {
	t.Helper()
	p, err := guest.AddPhone(patience(t, time.Minute), s.Internet, s.World)
	must(t, err)
	t.Cleanup(func() {
		if err := p.Off(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// serving returns a configuration with which the box provides a network of that name, with more lines in the hotspot's section and at
// the end.
func serving(ssid, hotspot, more string) string {
	return strings.NewReplacer(
		`radio = "none"`, fmt.Sprintf("radio = \"hostapd\"\nssid = %q\ncountry = \"FR\"\n%s", ssid, hotspot),
		`cap = "0"`, "download = \"40mbit\"\nupload = \"20mbit\"\ncap = \"0\"",
	).Replace(testdata.Box) + more
}

// waitAir waits until the box's network is as wanted, and returns it.
func waitAir(t *testing.T, b *guest.Box, what string, wanted func(state.WiFi) bool) state.WiFi {
	t.Helper()
	s, err := b.WaitFor(patience(t, time.Minute), what, func(s state.Status) bool {
		return s.Hotspot.WiFi != nil && wanted(*s.Hotspot.WiFi)
	})
	if err != nil {
		t.Fatalf("%v; its network: %+v", err, s.Hotspot.WiFi)
	}
	return *s.Hotspot.WiFi
}

// waitOn waits until the box's network is on the air, and returns it.
func waitOn(t *testing.T, b *guest.Box) state.WiFi {
	t.Helper()
	return waitAir(t, b, "its network is on the air", func(w state.WiFi) bool { return w.On })
}

// joins makes a station join the hotspot.
func joins(t *testing.T, s *guest.Station, n guest.Network) netlab.Lease {
	t.Helper()
	l, err := s.Join(patience(t, time.Minute), n)
	must(t, err)
	return l
}

// held fails the test unless the box answers the station in place of the internet, with a redirect to its first page.
func held(t *testing.T, s *guest.Station) {
	t.Helper()
	ctx := patience(t, 30*time.Second)
	reply, err := s.Get(ctx, "http://www.example/")
	must(t, err)
	if reply.Status != http.StatusFound {
		t.Fatalf("%s got %d, not the way to the first page: %s", s.Name(), reply.Status, reply.Body)
	}
	page, err := s.Get(ctx, reply.Header.Get("Location"))
	must(t, err)
	if page.Status != http.StatusOK || !strings.Contains(page.Body, "Centre social des Lilas") {
		t.Errorf("the first page is %d: %s", page.Status, page.Body)
	}
}

// press presses the button that leads to the internet.
func press(t *testing.T, s *guest.Station) {
	t.Helper()
	reply, err := s.Post(patience(t, 30*time.Second), portal+"/session", strings.NewReader(""))
	must(t, err)
	if reply.Status != http.StatusSeeOther {
		t.Fatalf("the button was answered with %d: %s", reply.Status, reply.Body)
	}
}

// online waits until a station reaches the internet.
func online(t *testing.T, s *guest.Station) {
	t.Helper()
	ctx := patience(t, 30*time.Second)
	for {
		one, stop := context.WithTimeout(ctx, 5*time.Second)
		reply, err := s.Get(one, "http://www.example/")
		stop()
		if err == nil && reply.Body == netlab.InternetPage {
			return
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("the internet does not answer %s: %d %v", s.Name(), reply.Status, err)
		}
	}
}

// admitted makes a station join the hotspot and begin a session.
func admitted(t *testing.T, s *guest.Station, n guest.Network) netlab.Lease {
	t.Helper()
	l := joins(t, s, n)
	held(t, s)
	press(t, s)
	online(t, s)
	return l
}

// straight tells whether one station gets an echo reply from another without resolving the other's hardware address.
func straight(t *testing.T, from, to *guest.Station) bool {
	t.Helper()
	return reaches(t, from, to, "ip", "neighbour", "replace", address(to), "lladdr", to.MAC.String(), "dev", "wlan0")
}

// around tells the same for the path through the box.
func around(t *testing.T, from, to *guest.Station) bool {
	t.Helper()
	return reaches(t, from, to, "ip", "route", "replace", address(to), "via", from.Lease().Router.String(), "dev", "wlan0")
}

func address(s *guest.Station) string { return s.Lease().Address.Addr().String() }

func reaches(t *testing.T, from, to *guest.Station, way ...string) bool {
	t.Helper()
	ctx := patience(t, 30*time.Second)
	_, err := from.Run(ctx, way...)
	must(t, err)
	return from.Ping(ctx, address(to), time.Second) == nil
}

// apart fails the test if one of two stations reaches the other, or does not reach the box.
func apart(t *testing.T, a, b *guest.Station) {
	t.Helper()
	for _, s := range []*guest.Station{a, b} {
		must(t, s.Ping(patience(t, 30*time.Second), s.Lease().Router.String(), 5*time.Second))
	}
	if straight(t, a, b) || straight(t, b, a) || around(t, a, b) {
		t.Errorf("%s and %s reach each other", a.Name(), b.Name())
	}
}

// alsoAt gives a station an additional address. undo removes it.
func alsoAt(t *testing.T, s *guest.Station, address string) (undo func()) {
	t.Helper()
	must(t, s.AddAddress("wlan0", netip.MustParsePrefix(address+"/22")))
	return func() {
		if _, err := s.Run(t.Context(), "ip", "address", "del", address+"/22", "dev", "wlan0"); err != nil {
			t.Error(err)
		}
	}
}

// getsFrom tells whether a station gets the box's first page from one of its addresses.
func getsFrom(ctx context.Context, s *guest.Station, address string) bool {
	_, err := s.Run(ctx, "curl", "--silent", "--fail", "--max-time", "2", "--interface", address, portal+"/")
	return err == nil
}

// says makes a station send a datagram to the box's name server, from one of its addresses and a port.
func says(t *testing.T, s *guest.Station, address string, port int) {
	t.Helper()
	must(t, s.Do(func() error {
		c, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.ParseIP(address), Port: port}, &net.UDPAddr{IP: net.IPv4(10, 80, 0, 1), Port: 53})
		if err != nil {
			return err
		}
		_, err = c.Write(make([]byte, 12))
		return errors.Join(err, c.Close())
	}))
}

// forges fails the test if the box accepts anything from a station that claims another's address: in ARP, both unsolicited and as a
// reply, or in a packet.
func forges(t *testing.T, b *guest.Box, thief, victim *guest.Station) {
	t.Helper()
	ctx := patience(t, time.Minute)
	own, stolen := address(thief), address(victim)
	defer alsoAt(t, thief, stolen)()
	for _, how := range []string{"-U", "-A"} {
		_, err := thief.Run(ctx, "busybox", "arping", how, "-c", "2", "-I", "wlan0", "-s", stolen, stolen)
		must(t, err)
	}
	// A later datagram from its own address shows that the earlier ones have arrived.
	const forged, honest = 40053, 40054
	says(t, thief, stolen, forged)
	says(t, thief, own, honest)
	tracks := func(port int) bool {
		t.Helper()
		out, err := b.Run(ctx, "conntrack", "-L", "-p", "udp", "--orig-port-src", strconv.Itoa(port))
		must(t, err)
		return strings.Contains(out, "dport=53 ")
	}
	for !tracks(honest) {
		must(t, ctx.Err())
	}
	if tracks(forged) {
		t.Errorf("what %s said from the address of %s was heard", thief.Name(), victim.Name())
	}
	if getsFrom(ctx, thief, stolen) {
		t.Errorf("%s got a page at the address of %s", thief.Name(), victim.Name())
	}
	known, err := b.Run(ctx, "ip", "neighbour", "show", stolen, "dev", netctl.Bridge)
	must(t, err)
	if !strings.Contains(known, victim.MAC.String()) {
		t.Errorf("to the box the device at the address of %s is %q", victim.Name(), known)
	}
}

// TestHotspot tests the network that the box provides.
func TestHotspot(t *testing.T) {
	needMachine(t)
	t.Parallel()
	scene := radioScene(t, "hotspot", "wlan0")
	neighbour := newPhone(t, scene)
	voisins := guest.Network{SSID: "voisins", Security: guest.Open, Channel: 1}
	must(t, neighbour.On(patience(t, 30*time.Second), voisins))
	first, second := newStation(t, scene.World, 1), newStation(t, scene.World, 2)
	t.Run("elsewhere stations reach each other", func(t *testing.T) {
		joins(t, first, voisins)
		joins(t, second, voisins)
		if !straight(t, first, second) {
			t.Error("these two do not: nothing is proven by that on the box's network")
		}
	})
	box := startConfigured(t, scene, serving(ssid, "", ""))
	var open, owe guest.Network
	var before netlab.Lease

	t.Run("begins on a quiet channel", func(t *testing.T) {
		w := waitOn(t, box)
		if w.Channel < 5 || w.MHz != 2407+5*w.Channel || !w.ClientIsolation || !strings.Contains(w.Security, "OWE") {
			t.Errorf("beside a network on channel 1 it is %+v", w)
		}
		must(t, neighbour.Off())
		open = guest.Network{SSID: ssid, Security: guest.Open, Channel: w.Channel}
		owe = guest.Network{SSID: ssid, Security: guest.OWE, Channel: w.Channel}
	})
	if t.Failed() {
		return
	}
	t.Run("residents join, press and use the line", func(t *testing.T) {
		before = admitted(t, first, open)
		admitted(t, second, open)
		waitAir(t, box, "it has two stations", func(w state.WiFi) bool { return w.Stations == 2 })
		apart(t, first, second)
	})
	t.Run("beacons say whether the line is metered", func(t *testing.T) {
		says := func(level string) {
			t.Helper()
			ctx := patience(t, 30*time.Second)
			want := "dd080050f211" + level + "000000"
			for _, device := range []string{"wlan0", "pas-twin"} {
				link, err := scene.Box.Netlink().LinkByName(device)
				must(t, err)
				for said := ""; !strings.Contains(said, want); {
					if said, err = second.Elements(ctx, open.Channel, link.Attrs().HardwareAddr); ctx.Err() != nil {
						t.Fatalf("%s does not say %s, but %q, %v", device, want, said, err)
					}
				}
			}
		}
		pid, err := box.Child(plan.ChildHostapd)
		must(t, err)
		connected := connectedFor(t, first)
		says("01")
		must(t, box.Configure(strings.Replace(serving(ssid, "", ""), `cap = "0"`, `cap = "2GB"`, 1)))
		must(t, box.Reload())
		says("02")
		must(t, box.Configure(serving(ssid, "", "")))
		must(t, box.Reload())
		says("01")
		if now, err := box.Child(plan.ChildHostapd); err != nil || now != pid {
			t.Errorf("hostapd was process %d and is %d, %v", pid, now, err)
		}
		if now := connectedFor(t, first); now < connected {
			t.Errorf("a station that was connected for %d s is connected for %d s now", connected, now)
		}
		online(t, first)
	})
	t.Run("who forges another's address gets nothing", func(t *testing.T) {
		forges(t, box, second, first)
		online(t, first)
		online(t, second)
	})
	t.Run("an address that was set by hand is its device's", func(t *testing.T) {
		ctx := patience(t, time.Minute)
		must(t, second.SetMAC(stationMAC(8)))
		must(t, second.Associate(ctx, open))
		const byHand = "10.80.2.99"
		defer alsoAt(t, second, byHand)()
		for !getsFrom(ctx, second, byHand) {
			must(t, ctx.Err())
		}
	})
	t.Run("under a new MAC a device is a new one", func(t *testing.T) {
		must(t, first.SetMAC(stationMAC(9)))
		if l := joins(t, first, open); l.Address == before.Address {
			t.Errorf("another device got the same address, %s", l.Address)
		}
		held(t, first)
		must(t, first.SetMAC(stationMAC(1)))
		if l := joins(t, first, open); l.Address != before.Address {
			t.Errorf("it came back and got %s, not %s", l.Address, before.Address)
		}
		online(t, first)
		must(t, second.SetMAC(stationMAC(2)))
		joins(t, second, open)
		online(t, second)
	})
	t.Run("a killed hostapd costs nobody the session", func(t *testing.T) {
		pid, err := box.Child(plan.ChildHostapd)
		must(t, err)
		must(t, syscall.Kill(pid, syscall.SIGKILL))
		ctx := patience(t, time.Minute)
		for _, s := range []*guest.Station{first, second} {
			must(t, s.Lost(ctx))
			must(t, s.Back(ctx))
			online(t, s)
		}
	})
	t.Run("an encrypted twin leads to the same hotspot", func(t *testing.T) {
		joins(t, second, owe)
		online(t, second)
		waitAir(t, box, "it has two stations", func(w state.WiFi) bool { return w.Stations == 2 })
		apart(t, first, second)
	})
	t.Run("a radio that is switched off is a fault", func(t *testing.T) {
		ctx := patience(t, time.Minute)
		must(t, guest.BlockRadio(ctx, scene.Box, "wlan0", true))
		if s := waitState(t, box, state.Fault); !strings.Contains(s.Why, "rfkill") {
			t.Errorf("it says %q", s.Why)
		}
		must(t, guest.BlockRadio(ctx, scene.Box, "wlan0", false))
		waitState(t, box, state.Sharing)
		waitOn(t, box)
		must(t, first.Back(ctx))
		online(t, first)
	})
	t.Run("a radio that is pulled out is a fault", func(t *testing.T) {
		ctx := patience(t, time.Minute)
		drawer, err := scene.AddHost("drawer")
		must(t, err)
		must(t, guest.GiveRadio(ctx, scene.Box, drawer, "wlan0"))
		if s := waitState(t, box, state.Fault); !strings.Contains(s.Why, "wlan0") {
			t.Errorf("it says %q", s.Why)
		}
		must(t, guest.GiveRadio(ctx, drawer, scene.Box, "wlan0"))
		waitState(t, box, state.Sharing)
		open.Channel = waitOn(t, box).Channel
		joins(t, first, open)
		online(t, first)
	})
	t.Run("no address is disclosed", func(t *testing.T) {
		status, err := box.StatusText(patience(t, 30*time.Second))
		must(t, err)
		log := box.Log()
		if !strings.Contains(log, "level=DEBUG") {
			t.Error("the log is not a verbose one")
		}
		nobodyIsTold(t, box, map[string]string{"status": status, "the log": log}, first, second)
	})
	t.Run("with a password, at 5 GHz", func(t *testing.T) {
		ctx := patience(t, time.Minute)
		must(t, box.Configure(serving(ssid, "password = \"trois mots doux\"\nband = \"5GHz\"\nchannel = 40", "")))
		must(t, box.Reload())
		waitAir(t, box, "its network has a password", func(w state.WiFi) bool {
			return w.On && strings.Contains(w.Security, "WPA3") && w.MHz == 5200
		})
		wpa2 := guest.Network{SSID: ssid, Security: guest.WPA2, Passphrase: "trois mots doux", Channel: 40}
		sae := wpa2
		sae.Security = guest.SAE
		wrong := wpa2
		wrong.Passphrase = "quatre mots doux"
		if err := first.Associate(ctx, wrong); !errors.Is(err, guest.ErrWrongKey) {
			t.Errorf("joined with the wrong password: %v", err)
		}
		joins(t, first, wpa2)
		online(t, first)
		joins(t, second, sae)
		online(t, second)
	})
}

// connectedFor returns how many seconds a station has been connected.
func connectedFor(t *testing.T, s *guest.Station) int {
	t.Helper()
	out, err := s.Run(patience(t, 30*time.Second), "iw", "dev", "wlan0", "station", "dump")
	must(t, err)
	_, rest, _ := strings.Cut(out, "connected time:")
	rest, _, _ = strings.Cut(rest, " seconds")
	n, err := strconv.Atoi(strings.TrimSpace(rest))
	must(t, err)
	return n
}

// nobodyIsTold fails the test if a text or one of the box's files contains a station's address. Two of dnsmasq's files, which are in
// memory, may contain one: its leases, and the file of hosts that it is given.
func nobodyIsTold(t *testing.T, b *guest.Box, texts map[string]string, stations ...*guest.Station) {
	t.Helper()
	var addresses []string
	for _, s := range stations {
		mac := s.MAC.String()
		addresses = append(addresses, s.Lease().Address.Addr().String(), mac, strings.ReplaceAll(mac, ":", ""))
	}
	known := []string{"leases", "hosts"}
	looked := 0
	must(t, filepath.WalkDir(b.Path("/"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || slices.Contains(known, e.Name()) {
			return err
		}
		text, err := os.ReadFile(path)
		texts[path] = string(text)
		looked++
		return err
	}))
	if looked < 4 {
		t.Errorf("only %d files were checked", looked)
	}
	for where, text := range texts {
		for _, a := range addresses {
			if strings.Contains(strings.ToLower(where+text), a) {
				t.Errorf("%s tells %s", where, a)
			}
		}
	}
}
