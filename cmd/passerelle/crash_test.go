package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/renameio/v2"

	"passerelle/appliance"
	"passerelle/appliance/state"
	"passerelle/netctl"
	"passerelle/netctl/netlab"
)

// sessions fails the test unless there are this many sessions.
func (b *box) sessions(want int) {
	b.t.Helper()
	s, err := b.Status(b.t.Context())
	b.must(err)
	if s.Residents.Sessions != want {
		b.t.Errorf("%d sessions run, want %d", s.Residents.Sessions, want)
	}
}

// TestKillKeepsSessions: without the daemon everything continues as before. The next daemon takes it over.
func TestKillKeepsSessions(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{Residents: 3})
	first, second, stranger := b.scene.Residents[0], b.scene.Residents[1], b.scene.Residents[2]
	b.newcomer(first)
	b.newcomer(second)
	b.join(stranger)
	d, c := b.download(first), b.talk(first)
	before := b.sessionOf(first)

	b.kill()
	b.flows(d)
	b.online(second)
	b.blocked(stranger)

	b.restart()
	b.flows(d)
	b.online(second)
	b.blocked(stranger)
	b.sessions(2)
	after := b.sessionOf(first)
	if !after.Online || after.SecondsLeft > before.SecondsLeft || after.SecondsLeft < before.SecondsLeft-60 {
		t.Errorf("the session's time: %d s before, %d s after", before.SecondsLeft, after.SecondsLeft)
	}
	if *after.BytesLeft >= *before.BytesLeft || *after.BytesGiven != *before.BytesGiven {
		t.Errorf("the session's data: %d of %d bytes before, %d of %d after",
			*before.BytesLeft, *before.BytesGiven, *after.BytesLeft, *after.BytesGiven)
	}
	b.press(first, "/session/end")
	b.reset(c)
	b.broken(d)
	b.blocked(first)
	b.online(second)
	b.waitSound()
}

// shorten makes the kernel end a resident's session in two seconds.
func (b *box) shorten(l netlab.Lease) {
	b.t.Helper()
	for _, set := range []string{netctl.SetClients, netctl.SetAccounting} {
		for line := range strings.Lines(b.run("ipset", "list", set)) {
			fields := strings.Fields(line)
			if len(fields) < 3 || !strings.HasPrefix(fields[0]+",", l.Address.Addr().String()+",") {
				continue
			}
			if fields[1] != "timeout" {
				b.t.Fatalf("the entry %q has no timeout", line)
			}
			fields[2] = "2"
			b.run(append([]string{"ipset", "-exist", "add", set}, fields...)...)
		}
	}
}

// TestKernelEndsSessions: the kernel ends sessions by time and data without a daemon, and the next daemon does not revive them.
func TestKernelEndsSessions(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{data: "2MB"}, netlab.Options{Residents: 2})
	late, greedy := b.scene.Residents[0], b.scene.Residents[1]
	lease := b.newcomer(late)
	b.newcomer(greedy)
	b.kill()

	got := -b.received(greedy)
	d := b.startDownload(greedy, bigPage)
	b.stopped(d)
	// Bytes that the shaper's queue drops are counted, too.
	if got += b.received(greedy); got < 1e6 || got > 2.1e6 {
		t.Errorf("%d bytes came of the 2 MB that were given", got)
	}
	b.blocked(greedy)

	b.online(late)
	b.shorten(lease)
	wait(t, "the end of the session", func() error {
		if b.reaches(late) == nil {
			return errors.New("the internet answers")
		}
		return nil
	})
	b.blocked(late)

	b.restart()
	b.blocked(late)
	b.blocked(greedy)
	b.sessions(0)
	b.admit(late)
	if reply := b.press(greedy, "/session"); reply.Status != 403 {
		t.Errorf("who used the day's data is answered with %d, want 403", reply.Status)
	}
	b.blocked(greedy)
}

// traces returns what the daemon may change on the box, as text.
func (b *box) traces() map[string]string {
	b.t.Helper()
	traces := map[string]string{}
	for _, command := range []string{
		"iptables-save", "ip6tables-save", "ipset list", "tc qdisc show", "tc class show dev wlan0", "tc class show dev eth0",
		"ip rule", "ip -4 route show table all", "ip -4 -oneline address",
		"grep -r . /proc/sys/net/ipv4/conf /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/ip_early_demux",
	} {
		var kept []string
		for line := range strings.Lines(b.run("sh", "-c", command)) {
			// A table that exists is listed with its built-in chains and their counters, which are no traces.
			if strings.HasSuffix(strings.Fields(command)[0], "-save") && strings.ContainsAny(line[:1], "#*:C") &&
				!strings.HasPrefix(line, ":PAS-") {
				continue
			}
			kept = append(kept, line)
		}
		traces[command] = strings.Join(kept, "")
	}
	traces["processes"] = b.processes()
	return traces
}

// TestStopLeavesNothing: a stopped daemon closes the box and leaves the machine as it found it.
func TestStopLeavesNothing(t *testing.T) {
	t.Parallel()
	b := newScene(t, settings{}, netlab.Options{Residents: 1, IPv6: true})
	r := b.scene.Residents[0]
	before := b.traces()
	clean := func(what string) {
		t.Helper()
		for command, text := range b.traces() {
			if text != before[command] {
				t.Errorf("%s: %s was\n%s\nand is\n%s", what, command, before[command], text)
			}
		}
	}
	b.start()
	b.waitState(state.Sharing)
	b.newcomer(r)
	b.stop()
	// The process that waits to remove the saved sessions exits when they are gone.
	b.must(os.Remove(b.path("sessions.json")))
	b.waitProcesses(before["processes"])
	clean("after TERM")
	b.blocked(r)

	b.restart()
	b.waitSound()
	b.kill()
	b.restart()
	b.stop()
	b.must(os.RemoveAll(b.path("")))
	b.waitProcesses(before["processes"])
	clean("after KILL, a start and TERM")
}

// asideFile holds the sessions that a stopping daemon saves for the next one.
type asideFile struct {
	Boot string        `json:"boot"`
	At   time.Duration `json:"at"` // since boot
	appliance.Handover
}

func (b *box) readAside() (a asideFile) {
	b.t.Helper()
	text, err := os.ReadFile(b.path("sessions.json"))
	b.must(err)
	b.must(json.Unmarshal(text, &a))
	return a
}

// writeAside replaces the file atomically, as a daemon does.
func (b *box) writeAside(a asideFile) {
	b.t.Helper()
	text, err := json.Marshal(a)
	b.must(err)
	b.must(renameio.WriteFile(b.path("sessions.json"), text, 0o600, renameio.WithTempDir(b.path(""))))
}

// aside changes the saved sessions of a stopped daemon, for the next one.
func (b *box) aside(change func(*asideFile)) {
	b.t.Helper()
	b.endForgetter()
	path := b.path("sessions.json")
	info, err := os.Stat(path)
	b.must(err)
	if info.Mode().Perm() != 0o600 {
		b.t.Errorf("%s has mode %v", path, info.Mode())
	}
	f := b.readAside()
	change(&f)
	text, err := json.Marshal(f)
	b.must(err)
	b.must(os.WriteFile(path, text, 0o600))
}

// TestSessionsSetAside: a daemon that starts within five minutes restores the sessions of a stopped one.
func TestSessionsSetAside(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{})
	r := b.scene.Residents[0]
	b.newcomer(r)
	gone := func() {
		t.Helper()
		if _, err := os.Stat(b.path("sessions.json")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the sessions' file is still there after the start: %v", err)
		}
	}
	leased := func(what string, want bool) {
		t.Helper()
		text, err := os.ReadFile(b.path("leases"))
		b.must(err)
		if strings.Contains(string(text), r.MAC.String()) != want {
			t.Errorf("leases %s are restored: %v, want %v", what, !want, want)
		}
	}
	before := b.sessionOf(r)

	b.stop()
	b.aside(func(f *asideFile) { f.At -= 4 * time.Minute })
	b.restart()
	b.waitStatus("the session to be restored", func(s state.Status) error {
		if s.Residents.Sessions != 1 {
			return fmt.Errorf("%d sessions run", s.Residents.Sessions)
		}
		return nil
	})
	gone()
	leased("four minutes old", true)
	b.online(r)
	after := b.sessionOf(r)
	if passed := before.SecondsLeft - after.SecondsLeft; passed < 240 || passed > 240+30 {
		t.Errorf("the session's time: %d s before, %d s after 4 min", before.SecondsLeft, after.SecondsLeft)
	}
	if *after.BytesLeft > *before.BytesLeft || *after.BytesGiven != *before.BytesGiven {
		t.Errorf("the session's data: %d of %d bytes before, %d of %d after",
			*before.BytesLeft, *before.BytesGiven, *after.BytesLeft, *after.BytesGiven)
	}

	// Shortly before its end, a press makes the session as long as a new one. Its connections continue beyond the old end, also
	// without a daemon, and are counted as before.
	b.stop()
	b.aside(func(f *asideFile) { f.Sessions[0].Left = 10 * time.Second })
	b.restart()
	b.online(r)
	conn, d := b.talk(r), b.download(r)
	before = b.sessionOf(r)
	end := time.Now().Add(time.Duration(before.SecondsLeft+1) * time.Second)
	if !before.CanExtend {
		t.Errorf("with %d s left, a press would not make the session longer", before.SecondsLeft)
	}
	b.press(r, "/session")
	after = b.sessionOf(r)
	if after.SecondsLeft < 7190 || after.CanExtend || *after.BytesLeft > *before.BytesLeft {
		t.Errorf("after a press there are %d s and %d bytes left, of %d", after.SecondsLeft, *after.BytesLeft, *before.BytesLeft)
	}
	b.frozen(func() {
		wait(t, "the old end", func() error {
			if left := time.Until(end); left > -time.Second {
				return fmt.Errorf("it comes in %v", left)
			}
			return nil
		})
		b.flows(d)
	})
	b.sessions(1)
	if _, err := conn.Write([]byte("X: y\r\n")); err != nil {
		t.Errorf("a connection broke: %v", err)
	}
	if last := b.sessionOf(r); *last.BytesLeft > *after.BytesLeft-1e6 {
		t.Errorf("%d bytes are left, of %d before some seconds of a download", *last.BytesLeft, *after.BytesLeft)
	}
	d.Stop()

	for what, is := range map[string]struct {
		leased bool
		change func(*asideFile)
	}{
		"six minutes old":      {false, func(f *asideFile) { f.At -= 6 * time.Minute }},
		"of another boot":      {false, func(f *asideFile) { f.Boot = "00000000-0000-0000-0000-000000000000" }},
		"of a time to come":    {false, func(f *asideFile) { f.At += time.Hour }},
		"with ended sessions":  {true, func(f *asideFile) { f.Sessions[0].Left = time.Second; f.At -= time.Minute }},
		"of another network":   {true, func(f *asideFile) { f.Sessions[0].Addr = netlab.WebAddr }},
		"with the box in them": {true, func(f *asideFile) { f.Sessions[0].Addr = netip.MustParsePrefix(boxPrefix).Addr() }},
	} {
		b.join(r)
		b.stop()
		b.aside(is.change)
		b.restart()
		gone()
		leased(what, is.leased)
		b.sessions(0)
		if b.reaches(r) == nil {
			t.Errorf("sessions %s are restored", what)
		}
		b.admit(r)
	}

	b.join(r)
	b.stop()
	b.endForgetter()
	b.must(os.WriteFile(b.path("sessions.json"), []byte(`{"at":"of a newer form","sessions":{}}`), 0o600))
	b.must(os.WriteFile(b.path("kept.json"), []byte(`{"kept":"of a newer form"}`), 0o600))
	b.restart()
	gone()
	leased("of an unknown age", false)
	b.sessions(0)

	// After a crash nothing is saved. The leases are in use, unless they are from another boot.
	b.join(r)
	b.kill()
	b.restart()
	leased("after a crash", true)
	b.kill()
	b.must(os.WriteFile(b.path("lock"), []byte("00000000-0000-0000-0000-000000000000"), 0o600))
	b.restart()
	leased("of another boot, after a crash", false)
}

// TestRestartKeepsShares: with a cap that leaves each resident less than the limit, the next daemon knows what each resident used in
// running sessions and in ended ones, however the last daemon ended.
func TestRestartKeepsShares(t *testing.T) {
	t.Parallel()
	// A daily cap that is below one resident's limit: on any date and at any hour, a share is less than the limit.
	b := newBox(t, settings{cap: "300MB", down: "20mbit", more: "period = \"day\"\n"}, netlab.Options{Residents: 2})
	r, gone := b.scene.Residents[0], b.scene.Residents[1]
	use := func(who *netlab.Resident) {
		t.Helper()
		d := b.startDownload(who, bigPage+"?bytes=8000000")
		<-d.Done()
		if d.Total() != 8e6 {
			t.Fatalf("%d bytes came of 8 MB: %v", d.Total(), d.Stop())
		}
	}
	// near checks a resident's data, which varies a little with the hour.
	near := func(what string, who *netlab.Resident, was uint64) {
		t.Helper()
		if left := *b.sessionOf(who).BytesLeft; max(left, was)-min(left, was) > was/8+2e6 {
			t.Errorf("%s, %d bytes are left, before %d", what, left, was)
		}
	}
	b.newcomer(r)
	b.newcomer(gone)
	if share := *b.sessionOf(r).BytesLeft; share > 300e6 {
		t.Fatalf("a share of %d bytes is not scarce", share)
	}
	use(gone)
	b.press(gone, "/session/end")
	// again returns the data of a resident who presses the button again and leaves.
	again := func() uint64 {
		b.admit(gone)
		left := *b.sessionOf(gone).BytesLeft
		b.press(gone, "/session/end")
		return left
	}
	for what, end := range map[string]func(){"after SIGTERM": b.stop, "after SIGKILL": b.kill} {
		use(r)
		c := b.talk(r)
		before, others := *b.sessionOf(r).BytesLeft, again()
		end()
		b.restart()
		b.waitStatus("the session to be restored", func(s state.Status) error {
			if s.Residents.Sessions != 1 {
				return fmt.Errorf("%d sessions run", s.Residents.Sessions)
			}
			return nil
		})
		near(what, r, before)
		b.online(r)
		if _, err := c.Write([]byte("X: y\r\n")); what == "after SIGKILL" && err != nil {
			t.Errorf("%s, a connection broke: %v", what, err)
		}
		b.press(r, "/session/end")
		b.admit(r)
		near(what+", and a press", r, before)
		if left := again(); left < others-others/20 || left > others+others/20 {
			t.Errorf("%s, another who had left and comes again has %d bytes, before %d", what, left, others)
		}
	}
}

// TestTwoDaemons: the second says why it exits, and the first continues.
func TestTwoDaemons(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{})
	r := b.scene.Residents[0]
	b.newcomer(r)
	d := b.download(r)
	second := b.launch()
	var exit *exec.ExitError
	if err := second.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitFailed {
		t.Errorf("the second daemon ended with %v, want exit status %d", err, exitFailed)
	}
	if want := "another passerelle is already running"; !strings.Contains(b.Log(), want) {
		t.Errorf("the second daemon does not say %q", want)
	}
	b.flows(d)
	b.waitSound()
	b.sessions(1)
	b.stop()
}

// TestDiskFull: a box whose runtime folder is full reports it and authorizes nobody that it cannot serve. With space again, it works. A
// box that cannot write there at all does not start.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	b := newScene(t, settings{}, netlab.Options{})
	r := b.scene.Residents[0]
	// In the box's own mount namespace: from outside, the folder is still accessible through the daemon's namespace.
	dir := b.path("")
	b.run("mkdir", "-p", dir)
	b.run("mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", dir)
	fill := []string{"sh", "-c", "cat /dev/zero > " + dir + "/ballast; true"}
	b.run(fill...)

	b.start()
	wait(t, "what is wrong", func() error {
		out, err := b.inside("status")
		if err == nil && !strings.Contains(out, "no space left on device") {
			err = errors.New(out)
		}
		return err
	})
	b.must(r.SetUp("wlan0", true))
	b.must(r.AddAddress("wlan0", netip.MustParsePrefix("10.80.0.77/22")))
	b.must(r.AddRoute(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("10.80.0.1")))
	b.blocked(r)
	b.run("rm", dir+"/ballast")
	wait(t, "a sound box", func() error {
		out, err := b.inside("status")
		if err == nil && (!strings.HasPrefix(out, "sharing: ") || strings.Contains(out, "problem") || strings.Contains(out, "not running")) {
			err = errors.New(out)
		}
		return err
	})
	b.newcomer(r)

	b.run(fill...)
	if out, err := b.inside("pause"); err != nil {
		t.Errorf("pausing on a full disk: %v: %s", err, out)
	}
	b.blocked(r)
	if out, err := b.inside("resume"); err != nil {
		t.Errorf("resuming on a full disk: %v: %s", err, out)
	}
	b.waitOnline(r)
	b.stop()
	b.blocked(r)

	b.run("mount", "-o", "remount,ro", dir)
	b.start()
	var exit *exec.ExitError
	if err := b.Proc.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitFailed {
		t.Errorf("the daemon ended with %v, want exit status %d", err, exitFailed)
	}
	if want := "read-only file system"; !strings.Contains(b.Log(), want) {
		t.Errorf("the daemon does not say %q", want)
	}
	b.blocked(r)
}

// inside runs one of passerelle's commands in the box's mount namespace.
func (b *box) inside(words ...string) (string, error) {
	cmd := program(append(words, "--socket", b.Socket)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	p, err := b.scene.Box.StartCmd(cmd)
	if err != nil {
		return "", err
	}
	err = p.Wait()
	return out.String(), err
}
