package main

import (
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"passerelle/appliance/lab"
	"passerelle/appliance/state"
	"passerelle/image"
	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/labtest"
)

var service = flag.Bool("service", false, "run every daemon as its service does: as a user of its own, with the unit's capabilities")

// serviceUser is the ID of the service's user, and of its group, in this test.
const serviceUser = 64321

const unitFile = "../../image/passerelle.service"

// asService makes every daemon of the box run as its service does.
func (b *box) asService() {
	b.t.Helper()
	capabilities, err := image.Capabilities()
	b.must(err)
	// Not every user may enter the folder of the test's own program.
	own, err := os.ReadFile("/proc/self/exe")
	b.must(err)
	b.exe = b.scene.Box.Path("/passerelle")
	b.must(os.WriteFile(b.exe, own, 0o755))
	b.must(b.AsService(lab.Service{User: serviceUser, Capabilities: capabilities}))
}

// TestService: the daemon works as the service's user with the unit's capabilities, on the files of a daemon that ran as root, and root's
// commands work on it.
func TestService(t *testing.T) {
	t.Parallel()
	b := newScene(t, settings{data: "5MB"}, netlab.Options{})
	r := b.scene.Residents[0]
	b.start()
	b.waitState(state.Sharing)
	b.mustDo("clock", "--confirm")
	b.newcomer(r)
	b.sessions(1)
	b.stop()

	b.asService()
	b.restart()
	b.sessions(1)
	b.online(r)
	status, err := os.ReadFile("/proc/" + strconv.Itoa(b.Proc.Pid()) + "/status")
	b.must(err)
	var mask uint64
	capabilities, err := image.Capabilities()
	b.must(err)
	for _, n := range capabilities {
		mask |= 1 << n
	}
	for _, want := range []string{
		"Uid:" + strings.Repeat("\t"+strconv.Itoa(serviceUser), 4), "CapEff:\t" + hex16(mask),
	} {
		if !strings.Contains(string(status), want) {
			t.Errorf("the daemon is not %q:\n%s", want, status)
		}
	}
	for file, want := range b.childCapabilities() {
		pid, err := os.ReadFile(b.path("pids/" + file + ".pid"))
		b.must(err)
		first, _, _ := strings.Cut(string(pid), "\n")
		status, err := os.ReadFile("/proc/" + first + "/status")
		b.must(err)
		if !strings.Contains(string(status), "CapEff:\t"+hex16(want)) {
			t.Errorf("%s has other capabilities than %s:\n%s", file, hex16(want), status)
		}
	}

	// Root leaves a configuration that only root can read, as an editor does.
	b.must(os.Remove(b.Config))
	b.configure(settings{data: "6MB"})
	b.mustDo("reload")
	b.signal(syscall.SIGHUP)
	b.waitSound()
	b.mustDo("agenda", "add", "--title", "Café", "--on", "2030-12-02", "--from", "14:00", "--to", "16:00",
		"--state", b.State, "--config", b.Config)

	// A crash leaves dnsmasq, which the next daemon stops.
	b.kill()
	b.restart()
	b.sessions(1)
	b.online(r)
	b.stop()
	b.endForgetter()
	b.waitProcesses("")
	b.must(filepath.WalkDir(b.State, func(path string, e fs.DirEntry, err error) error {
		b.must(err)
		info, err := e.Info()
		b.must(err)
		if st := info.Sys().(*syscall.Stat_t); st.Uid != serviceUser {
			t.Errorf("%s is %d's, want %d's", path, st.Uid, serviceUser)
		}
		return nil
	}))
}

// childCapabilities returns the capabilities of the children of a box without a radio, by the names of their pid files.
func (b *box) childCapabilities() map[string]uint64 {
	bind, admin := uint64(1)<<unix.CAP_NET_BIND_SERVICE, uint64(1)<<unix.CAP_NET_ADMIN
	return map[string]uint64{"dnsmasq": bind | admin, "dnsmasq-guests": bind | admin, "dnsmasq-captive": bind}
}

// hex16 formats a set of capabilities as the kernel does.
func hex16(n uint64) string {
	s := strconv.FormatUint(n, 16)
	return strings.Repeat("0", 16-len(s)) + s
}

// mostExposed is the highest exposure level that the unit may have, from 0 to 10 (systemd-analyze(1)). The unit explains each line that
// adds to it.
const mostExposed = 3.1

// TestUnitIsClosed: no change opens the unit by mistake.
func TestUnitIsClosed(t *testing.T) {
	t.Parallel()
	labtest.Root(t, "systemd-analyze")
	out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", unitFile).CombinedOutput()
	text := string(out)
	found := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`).FindStringSubmatch(text)
	if err != nil || found == nil {
		t.Fatalf("%v: %s", err, text)
	}
	is, err := strconv.ParseFloat(found[1], 64)
	if err != nil || is > mostExposed {
		open := slices.DeleteFunc(strings.Split(text, "\n"), func(line string) bool { return !strings.Contains(line, "✗") })
		t.Errorf("the unit is open by %v, want at most %v; %v:\n%s", is, mostExposed, err, strings.Join(open, "\n"))
	}
}

// TestManual: the manual page in the package has every command.
func TestManual(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../image/deb/passerelle.8")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range commands {
		if c.about != "" && !regexp.MustCompile(`(?m)^\.BR? .*\b`+c.name+`\b`).Match(page) {
			t.Errorf("the manual page does not have passerelle %s", c.name)
		}
	}
}
