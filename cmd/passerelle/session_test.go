package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
)

func TestResidentGoesOnlineAndBack(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{})
	r := b.scene.Residents[0]
	if l := b.join(r); l.Router.String() != "10.80.0.1" {
		t.Fatalf("the lease's router is %s", l.Router)
	}
	b.scene.Internet.Names.Set("connectivitycheck.gstatic.com", netlab.WebAddr)

	// The phone's probe is redirected to the sign-in page until the press; then it reaches the internet.
	reply, err := r.Get(t.Context(), probe)
	b.must(err)
	if reply.Status != http.StatusFound || reply.Header.Get("Location") != portal+"/" {
		t.Fatalf("a probe before admission: %d to %q, want a redirect to the first page", reply.Status, reply.Header.Get("Location"))
	}
	b.blocked(r)
	b.admit(r)
	reply, err = r.Get(t.Context(), probe)
	b.must(err)
	if reply.Status != http.StatusNotFound { // the internet's own server has no such page
		t.Errorf("a probe after admission: %d, want the internet's own answer", reply.Status)
	}

	conn := b.talk(r)
	d := b.download(r)
	b.press(r, "/session/end")
	b.reset(conn)
	b.broken(d)
	if err := b.reaches(r); err == nil {
		t.Error("the internet answers after the end")
	}
	b.blocked(r)
	if reply, err = r.Get(t.Context(), probe); err != nil || reply.Status != http.StatusFound {
		t.Errorf("a probe after the end: %d, %v, want a redirect", reply.Status, err)
	}
	b.sessions(0)
	if classes := b.run("tc", "class", "show", "dev", "wlan0"); strings.Count(classes, "leaf") != 1 {
		t.Errorf("not only the class of essential services is left:\n%s", classes)
	}
}

// TestDataOfTheDay: a resident whose daily data is used up is told so. A new press gives only what is left, also after a crash or a restart
// of the daemon. Some time after a final stop, the usage is forgotten.
func TestDataOfTheDay(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{data: "4MB", down: "20mbit"}, netlab.Options{Residents: 2})
	r, other := b.scene.Residents[0], b.scene.Residents[1]
	b.newcomer(r)
	b.newcomer(other)
	d := b.startDownload(r, bigPage+"?bytes=1000000")
	<-d.Done()
	if d.Total() != 1000000 {
		t.Fatalf("%d bytes came of 1 MB: %v", d.Total(), d.Stop())
	}
	b.press(r, "/session/end")
	b.admit(r)
	left := int64(*b.sessionOf(r).BytesLeft)
	if left > 3e6 || left < 2e6 {
		t.Errorf("after 1 of 4 MB, %d bytes are left", left)
	}
	// Received bytes are counted at the device's interface: its program receives nothing after a lost packet.
	came := -b.received(r)
	d = b.download(r)
	b.stopped(d)
	if came += b.received(r); came > left*21/20 || came < left/2 {
		t.Errorf("%d bytes came of the %d that were left, %d of them to the program", came, left, d.Total())
	}
	b.blocked(r)
	b.waitStatus("the end of the session", func(s state.Status) error {
		if s.Residents.Sessions != 1 {
			return fmt.Errorf("%d sessions run", s.Residents.Sessions)
		}
		return nil
	})
	if reply := b.press(r, "/session"); reply.Status != http.StatusForbidden || !strings.Contains(reply.Body, "4") {
		t.Errorf("the button is answered with %d:\n%s", reply.Status, reply.Body)
	}
	s, err := b.Status(t.Context())
	b.must(err)
	if s.Residents.Refused != (state.Refused{}) {
		t.Errorf("that one device was refused is said: %+v", s.Residents.Refused)
	}
	b.blocked(r)
	b.online(other)

	for _, end := range []func(){b.stop, b.kill} {
		end()
		b.restart()
		if reply := b.press(r, "/session"); reply.Status != http.StatusForbidden {
			t.Errorf("when another daemon has started, the button is answered with %d", reply.Status)
		}
		b.blocked(r)
		b.online(other)
	}

	b.stop()
	if kept, err := os.ReadFile(filepath.Join(b.State, "counts", "refusals.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("that one device was refused is on the disk: %s, %v", kept, err)
	}
	b.aside(func(f *asideFile) { f.At -= 6 * time.Minute })
	b.restart()
	b.admit(r)
}

// TestCapIsAPromise: what crosses the uplink is at most the cap, as counted at its far end. Residents see why there is no internet.
func TestCapIsAPromise(t *testing.T) {
	t.Parallel()
	const limit = 20e6
	b := newBox(t, settings{cap: "20MB", data: "0", down: "30mbit"}, netlab.Options{Shape: netlab.Shape{Down: 60e6, Up: 30e6, Queue: 50e6}})
	r, line := b.scene.Residents[0], b.scene.Lenders[0]
	b.newcomer(r)
	conn := b.talk(r)
	s := b.spend(r, func(s state.Status) bool { return s.State == state.Exhausted })
	b.reset(conn)
	if used := b.counted(line); used > limit || used < 0.9*limit {
		t.Errorf("%d bytes crossed the line of a cap of %d", used, int(limit))
	}
	if got := b.received(r); got < 0.85*limit {
		t.Errorf("%d bytes came, of a cap of %d", got, int(limit))
	}
	if s.Resets.IsZero() || s.Donations[0].Resets.IsZero() {
		t.Error("status does not say when the cap begins again")
	}
	b.blocked(r)
	b.shows(r, "exhausted.title")

	b.kill()
	b.start()
	b.waitState(state.Exhausted)
	b.blocked(r)
	b.stop()
	b.start()
	b.waitState(state.Exhausted)
	b.blocked(r)
	if used := b.counted(line); used > limit {
		t.Errorf("%d bytes crossed the line of a cap of %d in the end", used, int(limit))
	}
}

// spend downloads until the status is as wanted, and starts again when a download breaks.
func (b *box) spend(r *netlab.Resident, wanted func(state.Status) bool) (s state.Status) {
	b.t.Helper()
	d := b.download(r)
	s = b.waitStatus("the end of what was given", func(s state.Status) error {
		if wanted(s) {
			return nil
		}
		select {
		case <-d.Done():
			if again, err := r.StartDownload(b.t.Context(), bigPage); err == nil {
				d = again
			}
		default:
		}
		return fmt.Errorf("%s: %s; %d bytes came", s.State, s.Why, b.received(r))
	})
	d.Stop() // it broke, or continues on another line
	return s
}

// TestCapIsGrantedInTime: the kernel never waits for the next tranche while some of the cap is left.
func TestCapIsGrantedInTime(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{cap: "60MB", data: "0", down: "20mbit"}, netlab.Options{})
	r := b.scene.Residents[0]
	b.newcomer(r)
	conn, d := b.talk(r), b.download(r)
	wait(t, "20 MB", func() error {
		select {
		case <-d.Done():
			t.Fatalf("the download broke after %d bytes: %v", d.Total(), d.Stop())
		default:
		}
		if d.Total() < 20e6 {
			return fmt.Errorf("%d bytes", d.Total())
		}
		return nil
	})
	if _, err := conn.Write([]byte("X: y\r\n")); err != nil {
		t.Errorf("another connection broke: %v", err)
	}
}

// TestPause: a pause stops traffic at once, names who paused, survives a crash, and ends no session. Names resolve as before, so that no
// device caches the box's address. Outside the opening hours, no probe uses the line.
func TestPause(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{Residents: 2})
	r, late := b.scene.Residents[0], b.scene.Residents[1]
	b.newcomer(r)
	b.join(late)
	conn, d := b.talk(r), b.download(r)
	if out := b.mustDo("pause"); !strings.Contains(out, "passerelle resume") {
		t.Errorf("pause does not say how to go on: %q", out)
	}
	b.blocked(r) // as soon as the command returns
	b.reset(conn)
	b.broken(d)
	paused := func() {
		t.Helper()
		s := b.waitState(state.Paused)
		if s.Why != "paused by the command line" || s.Residents.Sessions != 1 {
			t.Errorf("%s, with %d sessions", s.Why, s.Residents.Sessions)
		}
		b.blocked(r)
		wait(t, "what is not encrypted to lead to the page", func() error {
			reply, err := b.get(r, somePage)
			if err == nil && reply.Header.Get("Location") != portal+"/" {
				err = fmt.Errorf("%d", reply.Status)
			}
			return err
		})
		for _, x := range []*netlab.Resident{r, late} {
			b.leads(x, netlab.NewsAddr)
		}
		b.refused(r, netlab.NewsAddr)
		b.shows(r, "paused.title")
		if reply := b.press(late, "/session"); reply.Status != http.StatusServiceUnavailable {
			t.Errorf("the button is answered with %d", reply.Status)
		}
	}
	paused()
	b.mustDo("pause") // a second time changes nothing
	paused()
	b.kill()
	b.start()
	paused()
	b.stop()
	b.start()
	paused()
	remembered, err := r.LookupHost(t.Context(), "news.example")
	b.must(err)
	b.mustDo("resume")
	if reply, err := b.get(r, "http://"+remembered[0].String()+"/"); err != nil || reply.Body != netlab.InternetPage {
		t.Errorf("who asked for a name in the pause got %d %q, %v after it", reply.Status, reply.Header.Get("Location"), err)
	}
	b.online(r)
	b.sessions(1)
	b.blocked(late)
	b.admit(late)
	b.mustDo("resume")
	b.online(r)

	b.configure(settings{more: `hours = "Jan 01 00:00-00:01"`})
	b.signal(syscall.SIGHUP)
	b.waitState(state.Closed)
	box := netip.MustParsePrefix(boxPrefix).Addr()
	if b.leads(r, box) {
		t.Error("the box asks for a name outside the line's hours")
	}
	b.mustDo("pause")
	if b.leads(r, box) {
		t.Error("the box asks for a name outside the line's hours, in a pause")
	}
}

// TestReload: SIGHUP and the command change limits without ending sessions. An invalid configuration is refused, and the command says why.
// A change of the hotspot itself restarts the daemon.
func TestReload(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{Uplinks: 2})
	r := b.scene.Residents[0]
	b.newcomer(r)
	conn, d := b.talk(r), b.download(r)
	b.atRate(d, 8e6)
	reload := func(what, says string) {
		t.Helper()
		said := strings.Count(b.Log(), says)
		b.signal(syscall.SIGHUP)
		wait(t, what, func() error {
			if strings.Count(b.Log(), says) <= said {
				return fmt.Errorf("the log does not say %q", says)
			}
			return nil
		})
	}
	const taken, refused = "configuration applied", "keeping current configuration"

	b.configure(settings{down: "3mbit", up: "1mbit"})
	reload("another limit", taken)
	b.atRate(d, 3e6)
	b.configure(settings{down: "12mbit", data: "900MB"})
	reload("yet another", taken)
	b.atRate(d, 12e6)
	if given := *b.sessionOf(r).BytesGiven; given < 800e6 || given > 900e6 {
		t.Errorf("%d bytes are given of 900 MB", given)
	}

	// A donation that a starting box would choose is added at the end, moved to the front and removed: existing connections stay on
	// their line.
	const mairie = "\n[[donation]]\nname = \"Mairie\"\ninterface = \"eth1\"\ncap = \"210GB\"\n"
	text := settings{down: "12mbit", data: "900MB"}.String()
	top, fibre, _ := strings.Cut(text, "[[donation]]")
	for _, order := range []string{text + mairie, top + mairie + "[[donation]]" + fibre, text} {
		b.must(os.WriteFile(b.Config, []byte(order), 0o644))
		b.mustDo("reload")
		b.waitSound()
		b.flows(d)
	}
	b.atRate(d, 12e6)

	b.must(os.WriteFile(b.Config, []byte("[box]\nname = 7\nlanguage = \"tlh\"\n"), 0o644))
	reload("a wrong configuration", refused)
	out, err := b.Do(b.t.Context(), "reload")
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != exitUsage {
		t.Errorf("a wrong configuration is answered with %v", err)
	}
	for _, problem := range []string{b.Config + ":2: box.name: ", b.Config + ":3: box.language: "} {
		if !strings.Contains(b.Log(), problem) || !strings.Contains(out, problem) {
			t.Errorf("%q is not in the log, or not in the answer %q", problem, out)
		}
	}
	b.must(os.Remove(b.Config))
	if out, err := b.Do(b.t.Context(), "reload"); err == nil || !strings.Contains(out, b.Config+": file does not exist") {
		t.Errorf("no configuration is answered with %v, %q", err, out)
	}
	b.atRate(d, 12e6)

	b.configure(settings{down: "0", up: "0", data: "0"})
	b.mustDo("reload")
	if s, err := b.Status(b.t.Context()); err != nil || s.Residents.Data != 0 {
		t.Errorf("after the answer a day's data is %d: %v", s.Residents.Data, err)
	}
	b.flows(d)
	if left := b.sessionOf(r).BytesLeft; left != nil {
		t.Errorf("%d bytes are left without a limit", *left)
	}
	b.configure(settings{down: "6mbit"})
	reload("limits again", taken)
	b.atRate(d, 6e6)
	if _, err := conn.Write([]byte("X: y\r\n")); err != nil {
		t.Errorf("a connection broke: %v", err)
	}
	b.sessions(1)
	b.waitSound()

	b.configure(settings{address: "10.81.0.1/22"})
	b.mustDo("reload")
	b.waitStatus("the other network", func(s state.Status) error {
		if s.State != state.Sharing || s.Hotspot.Address != "10.81.0.1/22" || s.Residents.Sessions != 0 {
			return fmt.Errorf("%s at %s with %d sessions", s.State, s.Hotspot.Address, s.Residents.Sessions)
		}
		return nil
	})
}

// TestNotConfigured: a box without a configuration waits in State setup, and applies one once it exists.
func TestNotConfigured(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{})
	b.stop()
	b.must(os.Remove(b.Config))
	b.Proc = b.launch("--setup")
	b.waitStatus("a new box without a radio", func(s state.Status) error {
		if s.State != state.Setup || s.Centre != "Passerelle" || !strings.Contains(s.Why, "over the cable") {
			return fmt.Errorf("%s: %q, since %q", s.State, s.Centre, s.Why)
		}
		return nil
	})
	b.configure(settings{})
	b.signal(syscall.SIGHUP)
	b.waitState(state.Sharing)
	b.newcomer(b.scene.Residents[0])
}

// TestStatusNames checks the names in status --json, which are stable.
func TestStatusNames(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{more: `
[[donation]]
name = "Mairie"
interface = "eth1"
cap = "1GB"
hours = "Jan 01 00:00-00:01"
dns = ["9.9.9.9"]
`}, netlab.Options{})
	b.waitSound()
	b.waitStatus("proofs", func(s state.Status) error {
		if d := s.Donations[0]; d.ProvedNames.What == "" || d.ProvedPage.What == "" {
			return errors.New("there are none yet")
		}
		return nil
	})
	var status any
	b.must(json.Unmarshal([]byte(b.mustDo("status", "--json")), &status))
	names := map[string]string{}
	name("", status, names)
	want := map[string]string{
		"state": "string", "why": "string", "since": "string", "centre": "string", "started": "string", "problems[]": "empty",
		"downloads[]": "empty", "admin.access": "string", "admin.pages[]": "string", "admin.fingerprint": "string",
		"hotspot.interface": "string", "hotspot.address": "string", "hotspot.queue": "string", "hotspot.tracked": "number",
		"hotspot.metered": "bool", "hotspot.metered_why": "string",
		"residents.sessions": "number", "residents.download": "number", "residents.upload": "number", "residents.data": "number",
		"residents.after": "number", "residents.slow": "number", "donations[].autorate": "bool", "donations[].tomorrow": "string",
		"residents.refused.data": "number", "residents.refused.not_sharing": "number", "residents.refused.busy": "number",
		"donations[].name": "string", "donations[].interface": "string", "donations[].ifname": "string", "donations[].chosen": "bool", "donations[].open": "bool",
		"donations[].opens": "string", "donations[].works": "bool", "donations[].up": "bool", "donations[].why": "string", "donations[].cap": "number",
		"donations[].used": "number", "donations[].granted": "number", "donations[].left": "number",
		"donations[].period": "string", "donations[].resets": "string", "donations[].period_start": "string",
		"donations[].essential": "bool", "donations[].spent": "bool", "donations[].lost": "bool",
		"donations[].slow": "bool", "donations[].servers[]": "string", "donations[].proved_names.at": "string",
		"donations[].proved_names.what": "string", "donations[].proved_page.at": "string", "donations[].proved_page.what": "string",
		"donations[].overage": "number", "donations[].reserve": "number", "donations[].margin": "number", "donations[].own_use": "number",
		"donations[].daily": "number", "donations[].broadcast": "number", "donations[].broadcast_counts": "bool", "donations[].days[].date": "string", "donations[].days[].bytes": "number",
		"donations[].stated": "number", "donations[].lowered": "number", "tomorrow": "string", "residents.started": "number", "system.kernel": "string",
		"clock.now": "string", "clock.trusted": "bool", "clock.by": "string",
		"children[].name": "string", "children[].running": "bool", "children[].restarts": "number",
	}
	for n := range names { // the test machine's problems, if any
		if strings.HasPrefix(n, "board.") {
			delete(names, n)
		}
	}
	for n, kind := range want {
		if names[n] != kind {
			t.Errorf("status --json has %s as %q, want %q", n, names[n], kind)
		}
	}
	for n := range names {
		if want[n] == "" {
			t.Errorf("status --json has %s, which this test does not know", n)
		}
	}
	if info, err := os.Stat(b.Socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the control socket is not root's alone: %v, %v", info.Mode(), err)
	}
	if _, err := program("status", "--socket", b.path("nobody")).Output(); err == nil {
		t.Error("status of a box that does not run ends well")
	} else if exit, ok := errors.AsType[interface {
		error
		ExitCode() int
	}](err); !ok || exit.ExitCode() != exitFailed {
		t.Errorf("status of a box that does not run: %v, want exit status %d", err, exitFailed)
	}
}

// name records the names in a JSON value below a path, each with its type.
func name(path string, value any, names map[string]string) {
	switch v := value.(type) {
	case map[string]any:
		for key, inner := range v {
			name(strings.TrimPrefix(path+"."+key, "."), inner, names)
		}
	case []any:
		if len(v) == 0 {
			names[path+"[]"] = "empty"
		}
		for _, inner := range v {
			name(path+"[]", inner, names)
		}
	case string:
		names[path] = "string"
	case float64:
		names[path] = "number"
	case bool:
		names[path] = "bool"
	default:
		names[path] = fmt.Sprintf("%T", v)
	}
}
