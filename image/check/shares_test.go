package check_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"passerelle/image/check"
	"passerelle/netctl/netlab"
)

// aroundLimit is the timeout for requests to a machine over its cables. The machine is slow, and slower on a busy computer.
const aroundLimit = 20 * time.Minute

// around is what the machine is plugged into: an internet, two lenders, and residents. The second lender's connection is not in the
// configuration. The lenders' routers run DHCP servers.
type around struct {
	*netlab.Scene
	cables []string // to eth0 (a lender), eth1 (residents), eth2 (the other lender)
}

// newAround creates the surroundings of a machine, which takes the place of the scene's own box.
func newAround(t *testing.T, residents int) around {
	t.Helper()
	s, err := netlab.Standard(t.Context(), netlab.Options{Name: "image", Residents: residents, Uplinks: 2})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	a := around{Scene: s}
	run := func(h *netlab.Host, argv ...string) {
		t.Helper()
		_, err := h.Run(t.Context(), argv...)
		must(t, err)
	}
	for i, name := range []string{s.Lenders[0].Interface, netlab.HotspotInterface, s.Lenders[1].Interface} {
		cable, bridge := fmt.Sprintf("cable%d", i), fmt.Sprintf("bridge%d", i)
		must(t, s.Box.RemoveAddresses(name))
		must(t, s.Box.AddBridge(bridge))
		run(s.Box, "ip", "tuntap", "add", cable, "mode", "tap")
		for _, port := range []string{name, cable} {
			run(s.Box, "ip", "link", "set", port, "master", bridge, "up")
		}
		a.cables = append(a.cables, cable)
	}
	for _, l := range s.Lenders {
		network := l.Box.Masked().Addr().As4()
		from, to := network, network
		from[3], to[3] = 100, 199
		_, err := l.Router.Start("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=lan",
			"--dhcp-authoritative", "--dhcp-leasefile="+filepath.Join(s.Dir(), l.Interface+".leases"),
			fmt.Sprintf("--dhcp-range=%s,%s,1h", netip.AddrFrom4(from), netip.AddrFrom4(to)),
			"--dhcp-option=option:dns-server,"+l.Gateway.String())
		must(t, err)
	}
	return a
}

// within calls ask until it succeeds.
func within(t *testing.T, what string, limit time.Duration, ask func(context.Context) error) {
	t.Helper()
	until := time.Now().Add(limit)
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		err := ask(ctx)
		cancel()
		switch {
		case err == nil:
			return
		case time.Now().After(until):
			t.Fatalf("waited in vain for %s: %v", what, err)
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// boxOn returns the machine's address on one of its interfaces, once it has one.
func boxOn(t *testing.T, m *check.Machine, name string) (address netip.Addr) {
	t.Helper()
	within(t, "an address on "+name, aroundLimit, func(context.Context) error {
		text := shell(t, m, "cat /run/systemd/netif/leases/$(cat /sys/class/net/"+name+"/ifindex)")
		found := regexp.MustCompile(`(?m)^ADDRESS=(\S+)$`).FindStringSubmatch(text)
		if found == nil {
			return errors.New("there is no lease")
		}
		var err error
		address, err = netip.ParseAddr(found[1])
		return err
	})
	return address
}

// startSharing starts the machine with a configuration dropped on the card, and waits until it shares the first lender's line.
func startSharing(t *testing.T, c check.Card, a around) *check.Machine {
	t.Helper()
	text, err := os.ReadFile("../../testdata/box.toml")
	must(t, err)
	file := filepath.Join(t.TempDir(), "box.toml")
	must(t, os.WriteFile(file, []byte(strings.Replace(string(text), `interface = "wlan0"`, `interface = "eth1"`, 1)), 0o644))
	drop(t, c, file, "passerelle.toml")
	m := start(t, c, check.Fast{Slot: "a", Namespace: a.Box.Namespace(), Cables: a.cables})
	wait(t, m, `(?m)^[a-z]+: .*\r?\n  since`, bootLimit)
	within(t, "the box to share", aroundLimit, func(context.Context) error {
		if got := shell(t, m, "passerelle status | head -1"); !strings.HasPrefix(got, "sharing: ") {
			return errors.New(got)
		}
		return nil
	})
	return m
}

// TestResident checks that a box whose configuration was put on the card shares a line with a resident: first the page, then, after
// a press of the button, the internet. Nothing else of the box is open to the resident, to the lender, or on its other cables. The
// memory of the smallest board is enough.
func TestResident(t *testing.T) {
	c := newCard(t)
	a := newAround(t, 1)
	m := startSharing(t, c, a)
	r := a.Residents[0]
	box := netip.MustParseAddr("10.80.0.1")
	within(t, "a lease", aroundLimit, func(ctx context.Context) error {
		_, err := r.Join(ctx)
		return err
	})
	page := func(want int, body, url string) {
		t.Helper()
		within(t, url, aroundLimit, func(ctx context.Context) error {
			got, err := r.Get(ctx, url)
			if err == nil && (got.Status != want || !strings.Contains(got.Body, body)) {
				err = fmt.Errorf("%d %s", got.Status, got.Body)
			}
			return err
		})
	}
	page(302, "", "http://www.example/")
	page(200, "Centre social des Lilas", "http://partage.internal/")
	within(t, "the button", aroundLimit, func(ctx context.Context) error {
		got, err := r.Post(ctx, "http://partage.internal/session", strings.NewReader(""))
		if err == nil && got.Status != 303 {
			err = fmt.Errorf("%d %s", got.Status, got.Body)
		}
		return err
	})
	page(200, netlab.InternetPage, "http://www.example/")

	// The box must not use a router that answers on the hotspot as a line.
	if got := shell(t, m, "networkctl --no-legend list eth1 | cat"); !strings.HasSuffix(strings.TrimSpace(got), "unmanaged") {
		t.Errorf("systemd-networkd says of the hotspot: %s", got)
	}

	used := memory(t, m)
	t.Logf("with the daemon sharing, %d MB of memory are in use", used)
	if used > 150 {
		t.Errorf("the box uses %d MB, want at most 150", used)
	}

	// Log all listening sockets, whatever the gate lets through.
	t.Logf("what listens:\n%s", shell(t, m, "for f in tcp tcp6 udp udp6; do echo $f; cat /proc/net/$f; done"))
	for _, side := range []struct {
		name string
		from *netlab.Host
		to   netip.Addr
		want []int
	}{
		{"a resident's side", r.Host, box, []int{53, 80, 443}},
		{"the lender's network", a.Lenders[0].NAS, boxOn(t, m, "eth0"), []int{443}},
		{"the network of a cable that nobody lends", a.Lenders[1].NAS, boxOn(t, m, "eth2"), nil},
	} {
		if got := openPorts(t, side.from, side.to, side.want); !slices.Equal(got, side.want) {
			t.Errorf("from %s TCP ports %v are open, want %v", side.name, got, side.want)
		}
	}
}

// memory returns how much of the machine's memory is in use and not available for anything else, in MB (10^6 bytes).
func memory(t *testing.T, m *check.Machine) int {
	t.Helper()
	text := shell(t, m, "cat /proc/meminfo")
	value := func(key string) int {
		found := regexp.MustCompile(key + `: +(\d+) kB`).FindStringSubmatch(text)
		if found == nil {
			t.Fatalf("there is no %s:\n%s", key, text)
		}
		n, err := strconv.Atoi(found[1])
		must(t, err)
		return n
	}
	return (value("MemTotal") - value("MemAvailable")) * 1024 / 1e6
}

// openPorts tries all TCP ports of an address from a host, and returns those that accept a connection. The machine may be slow to
// answer, so the ports that are known to be open are tried again until they answer or it is clear that they do not.
func openPorts(t *testing.T, from *netlab.Host, to netip.Addr, known []int) (open []int) {
	t.Helper()
	try := func(port int, patience time.Duration) bool {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		conn, err := from.Dial(ctx, "tcp4", net.JoinHostPort(to.String(), strconv.Itoa(port)))
		if err == nil {
			conn.Close()
		}
		return err == nil
	}
	var mu sync.Mutex
	var scanning sync.WaitGroup
	ports := make(chan int)
	for range 4096 { // most ports do not answer
		scanning.Go(func() {
			for port := range ports {
				if try(port, 4*time.Second) {
					mu.Lock()
					open = append(open, port)
					mu.Unlock()
				}
			}
		})
	}
	for port := 1; port < 1<<16; port++ {
		ports <- port
	}
	close(ports)
	scanning.Wait()
	for _, port := range known {
		for range 10 {
			if slices.Contains(open, port) {
				break
			}
			if try(port, 10*time.Second) {
				open = append(open, port)
			}
		}
	}
	slices.Sort(open)
	return open
}

// TestSetup checks that a technician can set a new box up with its pages, in a browser on the lender's network, until it shares by
// its radio. The steps are those of TestWalk in image/vm/outside.
func TestSetup(t *testing.T) {
	c := newCard(t)
	a := newAround(t, 1)
	walk := filepath.Join(a.Dir(), "outside.test")
	out, err := exec.Command("go", "test", "-c", "-o", walk, "../vm/outside").CombinedOutput()
	if err != nil {
		t.Fatalf("build the walk: %v: %s", err, out)
	}
	share := filepath.Join(a.Dir(), "share")
	must(t, os.MkdirAll(filepath.Join(share, "walk"), 0o755))
	m := start(t, c, check.Fast{Slot: "a", Namespace: a.Box.Namespace(), Cables: a.cables[:1]})
	setup(t, m)
	boxOn(t, m, "eth0")
	var screen string
	within(t, "the address of the page", aroundLimit, func(context.Context) error {
		if screen = shell(t, m, "passerelle status"); !strings.Contains(screen, "https://192.168.") {
			return errors.New(screen)
		}
		return nil
	})
	code := func(want string) {
		t.Helper()
		within(t, want+" setup codes on the card", aroundLimit, func(context.Context) error {
			if got := shell(t, m, "ls /boot/firmware | grep -c code.txt"); got != want {
				return errors.New(got)
			}
			return nil
		})
	}
	code("1")
	must(t, os.WriteFile(filepath.Join(share, "walk/screen"), []byte(screen), 0o644))
	browser := exec.CommandContext(t.Context(), "ip", "netns", "exec", a.Lenders[0].NAS.Namespace(), walk, "-share", share, "-test.v", "-test.run", "^TestWalk$")
	browser.Dir = "../vm/outside"
	out, err = browser.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatalf("the technician did not come to the end: %v", err)
	}
	if got := shell(t, m, "passerelle status"); !strings.HasPrefix(got, "sharing: ") || !strings.Contains(got, "; firmware: ") {
		t.Errorf("the box says:\n%s", got)
	}
	code("0") // the code was used
	if got := shell(t, m, "passerelle slot status"); !strings.Contains(got, "slot a is running, and has proved itself") {
		t.Errorf("slot status says:\n%s", got)
	}
	t.Logf("with its radio and the pages used, %d MB of memory are in use", memory(t, m))
}
