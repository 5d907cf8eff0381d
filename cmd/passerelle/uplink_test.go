package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"passerelle/appliance/config"
	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
	"passerelle/netctl/uplink"
)

// probe is Android's connectivity check.
const probe = "http://connectivitycheck.gstatic.com/generate_204"

// TestUplinkGoes: the box says why it is offline, to technicians and residents, and shares again when the line is back.
func TestUplinkGoes(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{Residents: 2})
	r, late, l := b.scene.Residents[0], b.scene.Residents[1], b.scene.Lenders[0]
	b.newcomer(r)
	b.join(late)
	for _, c := range []struct {
		why       string
		told      bool // a client that only receives is reset, too; not if the address was removed: the kernel then forgets its connections
		lose, get func() error
	}{
		{"eth0 has no link", true, l.LAN.Cut, l.LAN.Restore},
		{"eth0 is switched off", false, func() error { return b.scene.Box.SetUp("eth0", false) }, func() error {
			if err := b.scene.Box.SetUp("eth0", true); err != nil {
				return err
			}
			return l.Configure()
		}},
		{"eth0 has a link but no address", false, func() error { return b.scene.Box.RemoveAddresses("eth0") }, l.Configure},
		{"eth0 has a link but no default route", true, func() error {
			_, err := b.scene.Box.Run(t.Context(), "ip", "route", "del", "default", "dev", "eth0")
			return err
		}, l.Configure},
		{"eth0 does not exist", false, l.Unplug, l.Plug}, // it then has another index
	} {
		conn, d := b.talk(r), b.download(r)
		b.must(c.lose())
		b.waitStatus("the reason "+c.why, func(s state.Status) error {
			if s.State != state.Offline || s.Why != c.why || s.Donations[0].Why != c.why || s.Donations[0].Works {
				return fmt.Errorf("%s: %s, the donation %+v", s.State, s.Why, s.Donations[0])
			}
			return nil
		})
		if out := b.mustDo("status"); !strings.HasPrefix(out, "offline: "+c.why+"\n") {
			t.Errorf("status does not begin with the reason:\n%s", out)
		}
		b.reset(conn)
		if c.told {
			b.broken(d)
		} else {
			b.stopped(d)
			d.Stop() // its error is irrelevant
		}
		b.shows(r, "offline.title")
		if reply := b.press(late, "/session"); reply.Status != http.StatusServiceUnavailable {
			t.Errorf("%s: the button is answered with %d", c.why, reply.Status)
		}

		b.must(c.get())
		b.waitState(state.Sharing)
		b.waitOnline(r)
		b.blocked(late)
		b.sessions(1)
		b.waitSound()
	}
	limited(t, b, r, 8e6)
}

// TestStayHere: if a resident dismissed the portal while there is no internet, the phone's probes succeed until there is internet.
func TestStayHere(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{Residents: 2})
	r, other := b.scene.Residents[0], b.scene.Residents[1]
	b.join(r)
	b.join(other)
	b.must(b.scene.Lenders[0].Unplug())
	b.waitState(state.Offline)
	answer := func(r *netlab.Resident, want int) {
		t.Helper()
		reply, err := r.Get(t.Context(), probe)
		if err != nil || reply.Status != want {
			t.Errorf("%s's probe is answered with %d, %v, want %d", r.Name(), reply.Status, err, want)
		}
	}
	answer(r, http.StatusFound)
	if reply := b.press(r, "/stay"); reply.Status != http.StatusSeeOther {
		t.Fatalf("the button is answered with %d", reply.Status)
	}
	answer(r, http.StatusNoContent)
	answer(other, http.StatusFound)
	b.must(b.scene.Lenders[0].Plug())
	b.scene.Internet.Names.Set("connectivitycheck.gstatic.com", netlab.WebAddr)
	b.waitState(state.Sharing)
	wait(t, "names, from a dnsmasq that was restarted for another interface", func() error {
		_, err := r.LookupHost(t.Context(), "connectivitycheck.gstatic.com")
		return err
	})
	answer(r, http.StatusFound)
}

// TestLineDead: a line with link, address and route but without internet is detected, and so is its recovery.
func TestLineDead(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{})
	r, l := b.scene.Residents[0], b.scene.Lenders[0]
	b.newcomer(r)
	// A new line is probed at once; one that has worked so far, only occasionally.
	b.must(l.Unplug())
	b.must(l.WAN.Cut())
	b.must(l.Plug())
	s := b.waitState(state.Offline)
	wait(t, "the reason", func() (err error) {
		if s, err = b.Status(b.t.Context()); err == nil && s.Why != "eth0's gateway does not answer names" {
			err = fmt.Errorf("%s: %s", s.State, s.Why)
		}
		return err
	})
	b.must(l.WAN.Restore())
	b.waitState(state.Sharing)
	b.waitOnline(r)
	b.sessions(1)
}

// TestNextUplink: another line takes over, and later the first one is used again. No session ends.
func TestNextUplink(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{more: `
[[donation]]
name = "Téléphone d'Ana"
interface = "eth1"
download = "30mbit"
upload = "10mbit"
cap = "2GB"
priority = 2
`}, netlab.Options{Uplinks: 2})
	r := b.scene.Residents[0]
	b.newcomer(r)
	chosen := func(want int) {
		t.Helper()
		b.waitStatus("the other line", func(s state.Status) error {
			for i, d := range s.Donations {
				if d.Chosen != (i == want) {
					return fmt.Errorf("%s: chosen is %t", d.Interface, d.Chosen)
				}
			}
			return nil
		})
		b.waitOnline(r)
		b.sessions(1)
		b.waitSound()
		limited(t, b, r, 8e6)
		if queues := b.run("tc", "qdisc", "show"); strings.Count(queues, "htb 7a5: ") != 2 {
			t.Errorf("with one hotspot and one line in use, the queues are\n%s", queues)
		}
	}
	chosen(0)
	before := b.counted(b.scene.Lenders[1])
	conn, d := b.talk(r), b.download(r)
	b.must(b.scene.Lenders[0].LAN.Cut())
	chosen(1)
	b.reset(conn)
	b.broken(d)
	if after := b.counted(b.scene.Lenders[1]); after-before < 500e3 {
		t.Errorf("%d bytes went by the other line", after-before)
	}
	b.must(b.scene.Lenders[0].LAN.Restore())
	chosen(0)
	b.must(b.scene.Lenders[1].Unplug())
	chosen(0)
}

// TestStartsBeforeItsInterfaces: the box reports missing interfaces, and works once they exist.
func TestStartsBeforeItsInterfaces(t *testing.T) {
	t.Parallel()
	b := newScene(t, settings{}, netlab.Options{})
	r, l := b.scene.Residents[0], b.scene.Lenders[0]
	b.must(b.scene.Hotspot.Unplug())
	b.must(l.Unplug())
	b.start()
	if s := b.waitState(state.Fault); !strings.Contains(s.Why, "wlan0") {
		t.Errorf("the fault does not name what is missing: %s", s.Why)
	}
	b.must(b.scene.Hotspot.Plug())
	if s := b.waitState(state.Offline); s.Why != "eth0 does not exist" {
		t.Errorf("offline: %s", s.Why)
	}
	b.join(r)
	b.shows(r, "offline.title")
	b.blocked(r)
	b.must(l.Plug())
	b.waitState(state.Sharing)
	b.admit(r)
	b.waitSound()
}

// TestSpentLine: when a donation's cap is spent, the next donation takes over, and the first one's line stays silent.
func TestSpentLine(t *testing.T) {
	t.Parallel()
	const limit = 8e6
	b := newBox(t, settings{cap: "8MB", data: "0", down: "20mbit", more: `
[[donation]]
name = "Téléphone d'Ana"
interface = "eth1"
cap = "2GB"
priority = 2
`}, netlab.Options{Uplinks: 2})
	r, first := b.scene.Residents[0], b.scene.Lenders[0]
	b.newcomer(r)
	b.spend(r, func(s state.Status) bool { return s.Donations[1].Chosen })
	b.online(r)
	limited(t, b, r, 20e6)
	b.sessions(1)
	if used := b.counted(first); used > limit || used < 0.9*limit {
		t.Errorf("%d bytes crossed the line of a cap of %d", used, int(limit))
	}
	if out := b.mustDo("status"); !strings.Contains(out, "spent") {
		t.Errorf("status does not say that the first is spent:\n%s", out)
	}
}

// counted returns the bytes on a lender's line, as counted at its far end.
func (b *box) counted(l *netlab.Lender) uint64 {
	b.t.Helper()
	rx, tx, err := b.scene.Internet.Counters(l.InternetIface)
	b.must(err)
	return rx + tx
}

// received returns the bytes received on a resident's interface, including link headers.
func (b *box) received(r *netlab.Resident) int64 {
	b.t.Helper()
	rx, _, err := r.Counters("wlan0")
	b.must(err)
	return int64(rx)
}

// TestLabHasWhatHealthAsksFor: the lab's internet has the zones and pages of the health checks, as the real one does. Without them every
// lab would be offline.
func TestLabHasWhatHealthAsksFor(t *testing.T) {
	t.Parallel()
	for _, z := range config.Factory().Health.Zones {
		if addr, ok := netlab.WildcardZones[z.Name]; !ok || !z.Network.Contains(addr) {
			t.Errorf("names of %s lead to %v in the lab, want an address in %v", z.Name, addr, z.Network)
		}
	}
	for _, page := range uplink.Pages {
		path, _, _ := strings.Cut(page.Path, "?")
		if known := netlab.ConnectivityChecks[page.Host]; known.Path != path || strings.TrimSpace(known.Text) != page.Text {
			t.Errorf("the page of %s is %+v in the lab, want %+v", page.Host, known, page)
		}
	}
}

// TestUSBIsOneWord: the configuration and package uplink use the same word "usb", though neither imports the other.
func TestUSBIsOneWord(t *testing.T) {
	t.Parallel()
	if config.USB != uplink.USB {
		t.Errorf("%q in the configuration is %q to the reader of lines", config.USB, uplink.USB)
	}
}
