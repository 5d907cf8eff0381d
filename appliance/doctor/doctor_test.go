package doctor

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"passerelle/appliance/state"
	"passerelle/netctl"
	"passerelle/netctl/dhcp"
	"passerelle/netctl/names"
	"passerelle/netctl/uplink"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// world is a box in which all is well, until a test changes it. Its answers take no time.
type world struct {
	status  state.Status
	links   map[string]uplink.Status
	linkErr error
	hotspot uplink.Status
	claim   netctl.Claim
	answer  names.Answer // the answer of the uplink's name servers
	silent  bool         // the uplink's name servers do not answer
	blocked bool         // no connection is established
	seen    uplink.Seen
	own     map[string]names.Answer // answers of the box's own name servers, by child process
	portal  Portal
	down    error // why the pages do not answer
	taken   int
	offer   dhcp.Offer
	offered error // why there is no offer
	disk    func() Disk
	names   []string
	faults  []error
	offset  time.Duration // how far the clock may be off; 0 for no time server

	mu   sync.Mutex
	sent []string
}

var (
	boxPrefix = netip.MustParsePrefix("10.80.0.1/22")
	zone      = uplink.Zone{Name: "9-9-9-9.sslip.io", In: netip.MustParsePrefix("9.9.9.9/32")}
	pageAddrs = []netip.Addr{netip.MustParseAddr("192.0.2.80"), netip.MustParseAddr("198.51.100.80")}
	noon      = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
)

func newWorld() *world {
	right := names.Answer{Addr: zone.In.Addr()}
	w := &world{
		status: state.Status{
			State: state.Sharing, Clock: state.Clock{Now: noon, Trusted: true, By: "a technician"},
			Hotspot: state.Hotspot{Interface: "wlan0", WiFi: &state.WiFi{On: true, Band: "2.4GHz", Channel: 6, Stations: 3, MaxStations: 7}},
			Donations: []state.Donation{{
				Name: "Fibre", Interface: "eth0", Chosen: true, Open: true, Works: true, Cap: 200e9, Left: 150e9, Used: 50e9,
				Servers: []string{"192.168.1.1", "192.168.1.2"},
			}},
		},
		links: map[string]uplink.Status{"eth0": {
			Interface: "eth0", Kind: "network cable", Present: true, Up: true, Carrier: true, Routed: true,
			Address: netip.MustParsePrefix("192.168.1.34/24"), Gateway: netip.MustParseAddr("192.168.1.1"),
			Networks: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")},
		}},
		hotspot: uplink.Status{Interface: "pas-hotspot", Present: true, Up: true, Carrier: true, Networks: []netip.Prefix{boxPrefix.Masked()}},
		claim:   netctl.Claim{MACs: []netctl.MAC{{2, 0, 0, 0, 0, 1}}},
		answer:  right, seen: uplink.SeenPage,
		own: map[string]names.Answer{
			"dnsmasq": right, "dnsmasq-guests": right, "dnsmasq-captive": {Addr: boxPrefix.Addr()},
		},
		portal: Portal{Status: 302, Location: "http://10.80.0.1/", First: "http://10.80.0.1/"},
		offer:  dhcp.Offer{Address: netip.MustParseAddr("10.80.0.77"), Router: boxPrefix.Addr()},
		taken:  12, names: []string{"LED ACT"}, offset: 3 * time.Millisecond,
	}
	w.disk = func() Disk { return Disk{Free: 20e9, Total: 29e9, Took: 12 * time.Millisecond} }
	return w
}

// change changes the uplink and its donation.
func (w *world) change(f func(*uplink.Status, *state.Donation)) {
	l := w.links["eth0"]
	f(&l, &w.status.Donations[0])
	w.links["eth0"] = l
}

func (w *world) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = append(w.sent, what)
}

func (w *world) Lines(names []string) (all []uplink.Status, err error) {
	for _, name := range names {
		l, ok := w.links[name]
		if !ok {
			l.Interface = name
		}
		all = append(all, l)
	}
	return all, w.linkErr
}
func (w *world) Hotspot() (uplink.Status, netip.Prefix, error) { return w.hotspot, boxPrefix, nil }
func (w *world) Gateway(context.Context, uplink.Status) (netctl.Claim, error) {
	w.note("arp")
	return w.claim, nil
}
func (w *world) Clock() (time.Duration, bool) { return w.offset, w.offset != 0 }

func (w *world) Ask(ctx context.Context, _ string, _ netip.Addr, name string) (names.Answer, bool, names.Traffic) {
	w.note("name")
	if w.silent {
		<-ctx.Done()
		return names.Answer{}, false, names.Traffic{Sent: 60}
	}
	for i, p := range uplink.Pages {
		if p.Host == name && w.answer.Addr.IsValid() {
			return names.Answer{Addr: pageAddrs[i]}, true, names.Traffic{Sent: 60, Received: 80}
		}
	}
	return w.answer, true, names.Traffic{Sent: 60, Received: 80}
}
func (w *world) Reach(ctx context.Context, _ string, to netip.AddrPort) (bool, names.Traffic) {
	w.note("tcp")
	if w.blocked || to.Addr() != pageAddrs[0] {
		<-ctx.Done()
		return false, names.Traffic{Sent: 180}
	}
	return true, names.Traffic{Sent: 200, Received: 200}
}
func (w *world) Load(context.Context, string, netip.Addr, uplink.Page) (uplink.Seen, bool, names.Traffic) {
	w.note("page")
	return w.seen, true, names.Traffic{Sent: 400, Received: 600}
}

// services is a world as Services. It is a type of its own, because Ask has another signature than Internet's.
type services struct{ *world }

func (s services) NameServers() NameServers {
	at := func(child string, port uint16) NameServer {
		return NameServer{child, netip.AddrPortFrom(boxPrefix.Addr(), port)}
	}
	return NameServers{at("dnsmasq", 53), at("dnsmasq-guests", 54), at("dnsmasq-captive", 55)}
}
func (s services) Ask(_ context.Context, n NameServer, _ string) (names.Answer, error) {
	a, ok := s.own[n.Child]
	if !ok {
		return a, errors.New("no answer")
	}
	return a, nil
}
func (s services) Portal(context.Context) (Portal, error) { return s.portal, s.down }
func (s services) Leases() (taken, size int, err error)   { return s.taken, 1021, nil }
func (s services) Offer(context.Context) (dhcp.Offer, error) {
	return s.offer, s.offered
}

func (w *world) Disk() Disk                                 { return w.disk() }
func (w *world) Lights() (names []string, problems []error) { return w.names, w.faults }

func (w *world) sources() Sources {
	return Sources{
		Kernel: w, Internet: w, Services: services{w}, Machine: w, Status: func() state.Status { return w.status },
		Zones: func() []uplink.Zone { return []uplink.Zone{zone, {Name: "github.io"}} }, Pages: uplink.Pages, Now: time.Now,
		SSIDs: func() []string { return []string{""} },
	}
}

// search runs a search in the world, inside a synctest bubble.
func (w *world) search(t *testing.T) state.Diagnosis {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	d := New(w.sources())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	found, err := d.Search(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	return found
}

// scenes are worlds in which something is wrong, with the cause that must be found.
var scenes = []struct {
	name  string
	cause state.Code
	spoil func(*world)
}{
	{"healthy", "", func(*world) {}},
	{"cable pulled", "link-unplugged", func(w *world) {
		w.status.State = state.Offline
		w.change(func(l *uplink.Status, d *state.Donation) {
			l.Carrier, l.Address, l.Routed = false, netip.Prefix{}, false
			d.Chosen, d.Works = false, false
		})
	}},
	{"adapter gone", "interface-missing", func(w *world) { delete(w.links, "eth0") }},
	{"no phone", "interface-no-phone", func(w *world) {
		w.change(func(_ *uplink.Status, d *state.Donation) { d.Interface = uplink.USB })
	}},
	{"switched off", "link-off", func(w *world) { w.change(func(l *uplink.Status, _ *state.Donation) { l.Up, l.Carrier = false, false }) }},
	{"no address", "address-none", func(w *world) { w.change(func(l *uplink.Status, _ *state.Donation) { l.Address = netip.Prefix{} }) }},
	{"networks overlap", "address-overlap", func(w *world) {
		w.change(func(l *uplink.Status, _ *state.Donation) {
			l.Networks = []netip.Prefix{netip.MustParsePrefix("10.80.1.0/24")}
		})
	}},
	{"no route", "gateway-no-route", func(w *world) { w.change(func(l *uplink.Status, _ *state.Donation) { l.Routed = false }) }},
	{"gateway silent", "gateway-silent", func(w *world) { w.claim.MACs = nil }},
	{"two gateways", "gateway-several", func(w *world) { w.claim.MACs = append(w.claim.MACs, netctl.MAC{2, 0, 0, 0, 0, 2}) }},
	{"no servers", "resolver-none", func(w *world) { w.change(func(_ *uplink.Status, d *state.Donation) { d.Servers = nil }) }},
	{"servers silent", "resolver-silent", func(w *world) { w.silent = true }},
	{"names refused", "names-refused", func(w *world) { w.answer = names.Answer{Code: dnsmessage.RCodeRefused} }},
	{"names from nowhere", "names-servfail", func(w *world) { w.answer = names.Answer{Code: dnsmessage.RCodeServerFailure} }},
	{"no names", "names-missing", func(w *world) { w.answer = names.Answer{Code: dnsmessage.RCodeNameError} }},
	{"wrong names", "names-wrong", func(w *world) { w.answer = names.Answer{Addr: netip.MustParseAddr("192.168.1.1")} }},
	{"connections blocked", "tcp-blocked", func(w *world) { w.blocked = true }},
	{"sign-in page", "page-portal", func(w *world) { w.seen = uplink.SeenPortal }},
	{"pages filtered", "page-silent", func(w *world) { w.seen = uplink.SeenNothing }},
	{"hotspot gone", "hotspot-missing", func(w *world) { w.hotspot = uplink.Status{Interface: "pas-hotspot"} }},
	{"radio off", "radio-off", func(w *world) {
		w.status.Hotspot.WiFi = &state.WiFi{Why: "wlan0 does not exist"}
	}},
	{"radio full", "radio-full", func(w *world) { w.status.Hotspot.WiFi.AtCapacity = true }},
	{"own names silent", "answers-silent", func(w *world) { delete(w.own, "dnsmasq-guests") }},
	{"own names wrong", "answers-wrong", func(w *world) { w.own["dnsmasq-captive"] = names.Answer{Code: dnsmessage.RCodeRefused} }},
	{"pages down", "portal-silent", func(w *world) { w.down = errors.New("connection refused") }},
	{"portal wrong", "portal-wrong", func(w *world) { w.portal.Status, w.portal.Location = 204, "" }},
	{"API wrong", "portal-api", func(w *world) { w.portal.API = errors.New("the answer is 404 Not Found") }},
	{"pool full", "dhcp-full", func(w *world) { w.taken, w.offered = 1021, dhcp.ErrSilent }},
	{"an address just freed", "dhcp-few", func(w *world) { w.taken = 1021 }},
	{"pool nearly full", "dhcp-few", func(w *world) { w.taken = 1000 }},
	{"no DHCP", "dhcp-closed", func(w *world) { w.offered = dhcp.ErrClosed }},
	{"DHCP silent", "dhcp-silent", func(w *world) { w.offered = dhcp.ErrSilent }},
	{"DHCP of another network", "dhcp-wrong", func(w *world) { w.offer.Address = netip.MustParseAddr("192.168.1.7") }},
	{"DHCP not asked", "dhcp-unasked", func(w *world) { w.offered = errors.New("find wlan0: no such network interface") }},
	{"disk full", "disk-full", func(w *world) {
		w.disk = func() Disk { return Disk{Total: 29e9, Full: true, Write: errors.New("full")} }
	}},
	{"disk read-only", "disk-read-only", func(w *world) { w.disk = func() Disk { return Disk{ReadOnly: true} } }},
	{"disk hangs", "disk-slow", func(w *world) { w.disk = func() Disk { time.Sleep(time.Minute); return Disk{} } }},
	{"clock untrusted", "clock-untrusted", func(w *world) { w.status.Clock.Trusted, w.offset = false, 0 }},
	{"cap spent", "cap-spent", func(w *world) {
		w.status.State = state.Exhausted
		w.change(func(_ *uplink.Status, d *state.Donation) { d.Spent, d.Chosen, d.Left = true, false, 0 })
	}},
	{"light broken", "lights-fail", func(w *world) { w.faults = []error{errors.New("light ACT: no such LED")} }},
	{"paused", "box-paused", func(w *world) {
		w.status.State, w.status.PausedBy = state.Paused, "a technician"
		w.change(func(_ *uplink.Status, d *state.Donation) { d.Chosen = false })
	}},
	{"second line dead", "link-unplugged", func(w *world) {
		w.status.Donations = append(w.status.Donations, state.Donation{Name: "Mairie", Interface: "eth1", Open: true})
		w.links["eth1"] = uplink.Status{Interface: "eth1", Present: true, Up: true}
	}},
}

// TestScenes: for each fault the search names its step, skips the later steps of its chain, and still checks what does not depend on
// it. The texts are those of the golden file. A search takes less than 30 s, even if nothing answers.
func TestScenes(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	for _, c := range scenes {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			c.spoil(w)
			d := w.search(t)
			time.Sleep(2 * time.Minute) // until the test of a disk that hangs has ended
			if d.Cause != c.cause {
				t.Errorf("%s: the cause is %q, want %q", c.name, d.Cause, c.cause)
			}
			if d.Took > 30_000 {
				t.Errorf("%s: it took %d ms", c.name, d.Took)
			}
			stopped := map[string]bool{} // donations whose chain has a fault
			for _, f := range d.Steps {
				if f.Verdict == "" || f.Saw == "" || strings.Contains(f.Saw+f.Do, "{") {
					t.Errorf("%s: the step %s says %q, %q", c.name, f.Step, f.Saw, f.Do)
				}
				if slices.Contains(lineSteps, f.Step) {
					if stopped[f.Of] && f.Code != "not-after" {
						t.Errorf("%s: after a fault the step %s is checked: %s", c.name, f.Step, f.Saw)
					}
					stopped[f.Of] = stopped[f.Of] || texts[f.Code].verdict == state.Bad
				} else if f.Code == "not-in-time" || f.Code == "not-after" && f.Step != state.StepAnswers && f.Step != state.StepPortal && f.Step != state.StepDHCP {
					t.Errorf("%s: the step %s is not checked", c.name, f.Step)
				}
			}
			fmt.Fprintf(&out, "-- %s --\n%s\n", c.name, Text(d))
		})
	}
	golden := filepath.Join("testdata", "scenes.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), out.String()); diff != "" {
		t.Errorf("(-golden +got)\n%s", diff)
	}
}

// TestSilence: if nothing answers at all, the search still ends in time.
func TestSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.seen, w.disk = uplink.SeenNothing, func() Disk { time.Sleep(time.Minute); return Disk{} }
		w.status.Donations[0].Servers = []string{"192.168.1.1", "192.168.1.2", "192.168.1.3", "192.168.1.4"}
		for i := range 5 {
			d := w.status.Donations[0]
			d.Name, d.Interface, d.Chosen = fmt.Sprint("line ", i), "eth0", false
			w.status.Donations = append(w.status.Donations, d)
		}
		w.status.Donations[0].Chosen = false
		w.silent = true
		if d := w.search(t); d.Took > 30_000 || d.Running {
			t.Errorf("it took %d ms, running %t", d.Took, d.Running)
		}
		time.Sleep(2 * time.Minute)
	})
}

// TestNothingBeyond: on a paused or closed uplink nothing is sent beyond the gateway. On one whose cap is spent only names are asked
// for.
func TestNothingBeyond(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(*state.Donation)
		sent  []string
	}{
		"paused": {func(d *state.Donation) { d.PausedBy, d.Chosen = "the lender", false }, []string{"arp"}},
		"closed": {func(d *state.Donation) { d.Open, d.Chosen = false, false }, []string{"arp"}},
		"spent":  {func(d *state.Donation) { d.Spent, d.Chosen = true, false }, []string{"arp", "name", "name"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			c.spoil(&w.status.Donations[0])
			w.status.State = state.Offline
			w.search(t)
			if diff := cmp.Diff(c.sent, w.sent); diff != "" {
				t.Errorf("%s: (-want +sent)\n%s", name, diff)
			}
		})
	}
}

// TestOneAtATime: callers who ask while a search runs get its result, and the next search is a new one.
func TestOneAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.silent = true
		ctx, cancel := context.WithCancel(t.Context())
		d := New(w.sources())
		go d.Run(ctx)
		if _, ok := d.Diagnosis(); ok {
			t.Error("there is a result before the first search")
		}
		results := make(chan state.Diagnosis, 3)
		for range 3 {
			go func() {
				found, err := d.Search(ctx)
				if err != nil {
					t.Error(err)
				}
				results <- found
			}()
		}
		synctest.Wait()
		if found, ok := d.Diagnosis(); !ok || !found.Running || found.Steps[0].Verdict != state.OK || found.Verdict != "" {
			t.Errorf("while it runs: %+v", found)
		}
		first := <-results
		for range 2 {
			if diff := cmp.Diff(first, <-results); diff != "" {
				t.Errorf("another caller got another result:\n%s", diff)
			}
		}
		time.Sleep(time.Second)
		if again, err := d.Search(ctx); err != nil || again.Began.Equal(first.Began) {
			t.Errorf("the next search is the same one: %v", err)
		}
		cancel()
		if _, err := d.Search(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("after the end: %v", err)
		}
		synctest.Wait()
	})
}

// TestTexts: every fault and warning says what to do, and no other code does.
func TestTexts(t *testing.T) {
	t.Parallel()
	placeholder := regexp.MustCompile(`\{[a-z_]+\}`)
	for code, x := range texts {
		if (x.verdict == state.Bad || x.verdict == state.Warn) != (x.do != "") {
			t.Errorf("%s, a %s, says %q is to be done", code, x.verdict, x.do)
		}
		if rest := placeholder.ReplaceAllString(x.saw+x.do, ""); strings.ContainsAny(rest, "{}") {
			t.Errorf("%s: %q", code, rest)
		}
	}
	for _, step := range []state.Step{state.StepBox, state.StepDaemon, state.StepTCP, state.StepDHCP, state.StepCap} {
		if Title(step) == "" {
			t.Errorf("%s has no name", step)
		}
	}
}

// TestCodes: the codes and steps in package state, for other packages, are those that have a text here.
func TestCodes(t *testing.T) {
	t.Parallel()
	if all := slices.Sorted(maps.Keys(texts)); !slices.Equal(all, state.FindingCodes) {
		t.Errorf("texts has %q, state.FindingCodes %q", all, state.FindingCodes)
	}
	for step := range titles {
		if !slices.Contains(state.Steps, step) {
			t.Errorf("state.Steps has no %s", step)
		}
	}
}
