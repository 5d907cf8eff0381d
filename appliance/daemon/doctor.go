package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"passerelle/appliance/clock"
	"passerelle/appliance/config"
	"passerelle/appliance/doctor"
	"passerelle/appliance/plan"
	"passerelle/appliance/state"
	"passerelle/appliance/support"
	"passerelle/hw"
	"passerelle/netctl"
	"passerelle/netctl/arp"
	"passerelle/netctl/dhcp"
	"passerelle/netctl/names"
	"passerelle/netctl/uplink"
)

// newDoctor returns the doctor of the running box.
func (d *Daemon) newDoctor(reader *uplink.Reader) *doctor.Doctor {
	w := examined{d, reader}
	return doctor.New(doctor.Sources{
		Kernel: w, Internet: uplink.Once{}, Services: w, Machine: w, Status: d.fullStatus, Zones: w.zones, Pages: uplink.Pages, Now: time.Now,
		SSIDs: func() (all []string) {
			for _, x := range d.box.Config().Donations {
				ssid := ""
				if x.WiFi != nil {
					ssid = string(x.WiFi.SSID)
				}
				all = append(all, ssid)
			}
			return all
		},
	})
}

// examined is the running box as its doctor sees it.
type examined struct {
	*Daemon
	reader *uplink.Reader
}

var _ interface {
	doctor.Kernel
	doctor.Services
	doctor.Machine
} = examined{}

func (w examined) zones() (all []uplink.Zone) {
	for _, z := range w.box.Config().Health.Zones {
		all = append(all, uplink.Zone{Name: z.Name, In: z.Network})
	}
	return all
}

func (w examined) Lines(names []string) ([]uplink.Status, error) { return w.reader.Read(names) }

func (w examined) Hotspot() (link uplink.Status, box netip.Prefix, err error) {
	c := w.box.Config()
	all, err := w.reader.Read([]string{plan.Hotspot(c)})
	if err != nil {
		return link, c.Hotspot.Address, err
	}
	return all[0], c.Hotspot.Address, nil
}

func (examined) Gateway(ctx context.Context, line uplink.Status) (netctl.Claim, error) {
	all, err := arp.Ask(ctx, line.Interface, line.Address.Addr(), []netip.Addr{line.Gateway})
	if err != nil {
		return netctl.Claim{}, err
	}
	return all[0], nil
}

func (examined) Clock() (time.Duration, bool) { return clock.MaxError() }

func (w examined) NameServers() doctor.NameServers {
	at := func(child string, port uint16) doctor.NameServer {
		return doctor.NameServer{Child: child, At: netip.AddrPortFrom(w.config.Hotspot.Address.Addr(), port)}
	}
	return doctor.NameServers{
		Online: at(plan.ChildDNS, plan.PortDNS), Guests: at(plan.ChildGuests, plan.PortGuest), Captive: at(plan.ChildCaptive, plan.PortCaptive),
	}
}

func (examined) Ask(ctx context.Context, s doctor.NameServer, name string) (names.Answer, error) {
	return names.AskOwn(ctx, s.At, name)
}

// testHost and testPath are the page that Android requests to test for the internet (NetworkMonitor.java).
const (
	testHost = "connectivitycheck.gstatic.com"
	testPath = "/generate_204"
)

// Portal makes the requests of a phone that joins. The box is not a resident, so it gets the answers of one without a session.
func (w examined) Portal(ctx context.Context) (p doctor.Portal, err error) {
	box := netip.AddrPortFrom(w.config.Hotspot.Address.Addr(), plan.PortPortal)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, "tcp4", box.String())
	}}
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	get := func(host, path string) (*http.Response, []byte, error) {
		q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+path, nil)
		if err != nil {
			return nil, nil, err
		}
		q.Header.Set("User-Agent", "passerelle")
		r, err := client.Do(q)
		if err != nil {
			return nil, nil, err
		}
		defer r.Body.Close()
		body, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
		return r, body, err
	}
	r, _, err := get(testHost, testPath)
	if err != nil {
		return p, fmt.Errorf("request a phone's test of the box: %w", err)
	}
	p.Status, p.Location, p.First = r.StatusCode, r.Header.Get("Location"), "http://"+box.Addr().String()+"/"
	p.API = func() error {
		r, body, err := get(box.Addr().String(), "/captive-portal/api")
		if err != nil {
			return err
		}
		kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		var answer struct {
			Captive *bool `json:"captive"`
		}
		switch {
		case r.StatusCode != http.StatusOK:
			return fmt.Errorf("the answer is %s", r.Status)
		case err != nil || kind != "application/captive+json": // RFC 8908, section 4
			return fmt.Errorf("its type is %q", r.Header.Get("Content-Type"))
		case json.Unmarshal(body, &answer) != nil || answer.Captive == nil || !*answer.Captive:
			return errors.New("it does not say captive")
		}
		return nil
	}()
	return p, nil
}

// Leases returns how many addresses are leased, and how many there are.
func (w examined) Leases() (taken, size int, err error) {
	all, err := w.leases()
	return len(all), plan.PoolSize(w.box.Config().Hotspot.Address), err
}

// Offer asks for an address as a phone that joins would.
func (w examined) Offer(ctx context.Context) (dhcp.Offer, error) {
	c := w.box.Config()
	return dhcp.Discover(ctx, plan.Hotspot(c), c.Hotspot.Address.Addr())
}

// testFile is the file that tests the disk, in the state folder.
const testFile = "doctor.tmp"

// Disk tests the disk: it writes a file in the state folder.
func (w examined) Disk() (d doctor.Disk) {
	for _, p := range diskProblems(w.root, w.state) {
		if p.Code == state.DiskReadOnly {
			d.ReadOnly = true
		} else if n, err := strconv.ParseUint(p.Args["count"], 10, 64); err == nil {
			d.Errors = n
		}
	}
	began := time.Now()
	path := filepath.Join(w.state, testFile)
	d.Write = writeTest(path)
	d.Took = time.Since(began)
	free := w.disk()
	d.Free, d.Total = free.Free, free.Total
	d.Full = errors.Is(d.Write, syscall.ENOSPC) || errors.Is(d.Write, syscall.EDQUOT)
	return d
}

// writeTest writes a small file, syncs it to the disk, and removes it.
func writeTest(path string) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(path)) }()
	_, err = f.Write(bytes.Repeat([]byte("passerelle "), 1<<10))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// lightsSeen are the light and button in use.
type lightsSeen struct {
	names    []string
	problems []error
}

// seeLights records which light and button are in use.
func (d *Daemon) seeLights(found *hw.Devices) {
	s := lightsSeen{problems: found.Errors}
	for _, l := range found.Lights {
		s.names = append(s.names, l.Name)
	}
	if found.Contact != nil {
		s.names = append(s.names, "button "+found.Contact.Name)
	}
	d.lights.Store(&s)
}

// Lights returns the light and the button in use.
func (w examined) Lights() (names []string, problems []error) {
	if s := w.lights.Load(); s != nil {
		return s.names, s.problems
	}
	return nil, nil
}

// keepsName returns a function that tells which host names may stay in the log that people read: the box's own, and public ones
// that the box itself resolves.
func keepsName(c *config.Config) func(name string) bool {
	keep := []string{c.Box.Hostname, testHost, plan.CanaryName}
	for _, z := range c.Health.Zones {
		keep = append(keep, z.Name)
	}
	for _, p := range uplink.Pages {
		keep = append(keep, p.Host)
	}
	return func(name string) bool { return slices.Contains(keep, name) }
}

// Search starts a search for what is wrong, unless one is running.
func (d *Daemon) Search() { d.doctor.Start() }

// Diagnosis returns the running search, or else the last one.
func (d *Daemon) Diagnosis() (state.Diagnosis, bool) { return d.doctor.Diagnosis() }

// RecentLog returns the log of the last hour.
func (d *Daemon) RecentLog() []state.LogEntry { return d.book.Entries(time.Now()) }

// Support returns a zip for those who help.
func (d *Daemon) Support(ctx context.Context) ([]byte, error) {
	c := d.box.Config()
	content := support.Content{
		Made: time.Now(), Config: c, Status: d.fullStatus(), Log: d.RecentLog(), Plan: d.box.PlanText(),
		Versions: d.versions(ctx), Board: d.boardFacts(), Keep: keepsName(c),
	}
	if found, ok := d.Diagnosis(); ok {
		content.Diagnosis, content.Text = &found, doctor.Text(found)
	}
	return support.Zip(content)
}

// versions returns those of the programs that the box runs.
func (d *Daemon) versions(ctx context.Context) map[string]string {
	all := map[string]string{"passerelle": d.release, "go": runtime.Version(), "architecture": runtime.GOARCH}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		all["kernel"] = unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Machine[:])
	}
	if text, err := fs.ReadFile(d.root, "etc/os-release"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
				all["system"] = strings.Trim(name, `"`)
			}
		}
	}
	for program, words := range map[string][]string{
		"dnsmasq": {"--version"}, "hostapd": {"-v"}, "wpa_supplicant": {"-v"}, "iptables": {"--version"}, "nft": {"--version"},
	} {
		all[program] = firstLine(ctx, program, words...)
	}
	return all
}

// firstLine returns the first line that a program prints, or a text that says that the program is missing.
func firstLine(ctx context.Context, program string, words ...string) string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, words...).CombinedOutput()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if line == "" && err != nil {
		return "not there"
	}
	return line
}

// boardFacts returns what is known about the board.
func (d *Daemon) boardFacts() map[string]string {
	b := d.board()
	all := map[string]string{
		"board": b.Name, "model": b.Model, "memory": strconv.FormatUint(memory()>>20, 10) + " MiB",
		"processors": strconv.Itoa(runtime.NumCPU()), "up": clock.SinceBoot().Round(time.Second).String(),
		"health": hw.NewSensors(d.root, time.Now).Read().String(),
	}
	if disk := d.disk(); disk.Total > 0 {
		all["disk"] = fmt.Sprintf("%d of %d MB free", disk.Free/1e6, disk.Total/1e6)
	}
	if s := d.lights.Load(); s != nil {
		all["lights"] = strings.Join(s.names, ", ")
	}
	return all
}

// lightsPointer holds lightsSeen for others to read.
type lightsPointer = atomic.Pointer[lightsSeen]
