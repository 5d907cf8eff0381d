package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"passerelle/appliance/plan"
	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/labtest"
)

// closedToOthers fails the test if another user can open, lock, replace or connect to anything in the box's folders. It returns the number
// of attempts.
func (b *box) closedToOthers(when string) (tried int) {
	b.t.Helper()
	dns, err := user.Lookup(plan.DNSUser)
	b.must(err)
	dnsmasqs := []string{"leases", "hosts", "servers.conf", "servers-guests.conf",
		plan.ChildDNS + ".conf", plan.ChildGuests + ".conf", plan.ChildCaptive + ".conf"}
	for _, top := range []string{b.path(""), b.State} {
		b.must(filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) { // renamed meanwhile
				return nil
			}
			if err != nil {
				return err
			}
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			tried++
			want, owner := fs.FileMode(0o600), "0"
			switch {
			case path == b.path(""):
				want = fs.ModeDir | 0o711
			case e.IsDir():
				want = fs.ModeDir | 0o700
			case e.Type() == fs.ModeSocket:
				want |= fs.ModeSocket
			}
			if slices.Contains(dnsmasqs, filepath.Base(path)) {
				want, owner = 0o640, dns.Uid
			}
			if is := fmt.Sprint(info.Sys().(*syscall.Stat_t).Uid); info.Mode() != want || is != owner {
				b.t.Errorf("%s %s has mode %v and is user %s's, want %v and %s", when, path, info.Mode(), is, want, owner)
			}
			labtest.AsNobody(b.t, func() error {
				for what, try := range map[string]func() error{
					"opened":       func() error { return closed(os.Open(path)) },
					"written":      func() error { return closed(os.OpenFile(path, os.O_WRONLY, 0)) },
					"renamed":      func() error { return os.Rename(path, path+"-theirs") },
					"removed":      func() error { return unix.Unlink(path) },
					"added to":     func() error { return os.Mkdir(filepath.Join(path, "theirs"), 0o700) },
					"linked to":    func() error { return os.Link(path, filepath.Join(b.scene.Dir(), "theirs")) },
					"connected to": func() error { c, err := net.Dial("unix", path); return errors.Join(err, hangUp(c)) },
				} {
					if err := try(); err == nil {
						b.t.Errorf("%s nobody has %s %s", when, what, path)
					}
				}
				return nil
			})
			return nil
		}))
	}
	return tried
}

func closed(f *os.File, err error) error {
	if err == nil {
		err = f.Close()
	}
	return err
}

func hangUp(c net.Conn) error {
	if c == nil {
		return nil
	}
	return c.Close()
}

// TestAmongOthers: another user of the machine, who was active before the daemon, can neither keep it from starting nor see or change its
// files, while it runs, after a crash, and after its end.
func TestAmongOthers(t *testing.T) {
	t.Parallel()
	b := newScene(t, settings{}, netlab.Options{})
	// The folder is as an older version left it, with everything that can be locked locked by user nobody.
	b.must(os.Mkdir(b.path(""), 0o755))
	b.must(os.WriteFile(b.path("lock"), nil, 0o644))
	for _, path := range []string{b.path(""), b.path("lock")} {
		labtest.AsNobody(t, func() error {
			f, err := os.Open(path)
			if err == nil {
				t.Cleanup(func() { f.Close() })
				err = unix.Flock(int(f.Fd()), unix.LOCK_SH)
			}
			return err
		})
	}
	b.restart()
	b.newcomer(b.scene.Residents[0])
	if tried := b.closedToOthers("while the daemon runs"); tried < 14 {
		t.Errorf("only %d files were tried", tried)
	}
	dns, err := user.Lookup(plan.DNSUser)
	b.must(err)
	for _, child := range []string{plan.ChildDNS, plan.ChildCaptive} {
		pid, err := os.ReadFile(b.path("pids/" + child + ".pid"))
		b.must(err)
		first, _, _ := strings.Cut(string(pid), "\n")
		status, err := os.ReadFile("/proc/" + first + "/status")
		b.must(err)
		if want := strings.Repeat("\t"+dns.Uid, 4); !strings.Contains(string(status), "Uid:"+want) {
			t.Errorf("%s is not user %s:\n%s", child, plan.DNSUser, status)
		}
	}
	b.kill()
	b.closedToOthers("after a crash")
	b.restart()
	b.sessions(1)
	b.stop()
	b.closedToOthers("after the end")

	for what, dir := range map[string]string{"the folder in memory": b.path(""), "the state folder": b.State} {
		b.endForgetter()
		b.must(os.RemoveAll(dir))
		b.must(os.Mkdir(dir, 0o755))
		b.must(os.Chown(dir, labtest.Nobody, labtest.Nobody))
		b.start()
		var exit *exec.ExitError
		if err := b.Proc.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitUsage {
			t.Errorf("%s is another user's: the daemon ended with %v, want exit status %d", what, err, exitUsage)
		}
		if want := dir + ": it is not safe from other users: it belongs to nobody"; !strings.Contains(b.Log(), want) {
			t.Errorf("the daemon does not say %q", want)
		}
		b.must(os.RemoveAll(dir))
	}
}

// TestForget: the saved sessions of a stopped daemon are deleted if no other daemon starts.
func TestForget(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{})
	r := b.scene.Residents[0]
	b.newcomer(r)
	there := func(want bool, names ...string) {
		t.Helper()
		for _, name := range names {
			if _, err := os.Lstat(b.path(name)); (err == nil) != want {
				t.Errorf("%s is there: %v, want %v", name, !want, want)
			}
		}
	}
	change := func(f func(*asideFile)) {
		t.Helper()
		a := b.readAside()
		f(&a)
		b.writeAside(a)
	}
	// forgets runs the process that a daemon leaves behind until that process ends.
	forgets := func(words ...string) *netlab.Proc {
		t.Helper()
		p, err := b.scene.Box.StartCmd(program(append([]string{"forget", "--socket", b.Socket}, words...)...))
		b.must(err)
		return p
	}
	if b.forgetter() != 0 {
		t.Error("a running daemon has somebody wait for its end")
	}

	// No daemon starts.
	b.stop()
	if b.forgetter() == 0 {
		t.Fatal("nobody waits")
	}
	there(true, "leases", "sessions.json")
	change(func(f *asideFile) { f.At -= 6 * time.Minute })
	b.waitProcesses("")
	there(false, "leases", "sessions.json")
	b.restart()
	b.sessions(0)
	b.blocked(r)
	b.newcomer(r)

	// Another daemon starts, and the waiting process exits.
	b.stop()
	pid := b.forgetter()
	b.restart()
	b.sessions(1)
	wait(t, "the end of who waited", func() error {
		if b.forgetter() == pid {
			return errors.New("it is still there")
		}
		return nil
	})

	// While a daemon runs nothing is deleted.
	b.writeAside(asideFile{})
	p := forgets()
	b.waitSound()
	b.must(os.Remove(b.path("sessions.json")))
	b.must(p.Wait())
	there(true, "leases")
	b.must(forgets().Wait()) // nor is there anything to wait for
	there(true, "leases")

	// It waits for the given time, but not across a reboot.
	for _, is := range []struct {
		after  string
		change func(*asideFile)
	}{
		{"200ms", func(*asideFile) {}},
		{"1h", func(f *asideFile) { f.At -= 2 * time.Hour }},
		{"1h", func(f *asideFile) { f.At += time.Hour }},
		{"1h", func(f *asideFile) { f.Boot = "00000000-0000-0000-0000-000000000000" }},
	} {
		b.stop()
		b.endForgetter()
		change(is.change)
		b.must(forgets("--after", is.after).Wait())
		there(false, "leases", "sessions.json")
		b.restart()
	}

	// If the folder is removed, there is nothing to wait for.
	b.stop()
	b.must(os.RemoveAll(b.path("")))
	b.waitProcesses("")

	// A service manager removes the folder.
	b.env = []string{"RUNTIME_DIRECTORY=" + b.path("")}
	b.restart()
	b.stop()
	if b.forgetter() != 0 {
		t.Error("somebody waits beside the service manager")
	}
}

// TestNoUser: if dnsmasq's user does not exist, the box reports it, and works once the user exists.
func TestNoUser(t *testing.T) {
	t.Parallel()
	b := newScene(t, settings{}, netlab.Options{})
	users, err := os.ReadFile("/etc/passwd")
	b.must(err)
	var others strings.Builder
	for line := range strings.Lines(string(users)) {
		if !strings.HasPrefix(line, plan.DNSUser+":") {
			others.WriteString(line)
		}
	}
	passwd := b.scene.Box.Path("/passwd")
	b.must(os.WriteFile(passwd, []byte(others.String()), 0o644))
	b.run("mount", "--bind", passwd, "/etc/passwd")
	b.start()
	b.waitStatus("what is missing", func(s state.Status) error {
		if all := fmt.Sprint(s.Problems); !strings.Contains(all, "unknown user "+plan.DNSUser) {
			return errors.New(all)
		}
		return nil
	})
	if want := "adduser --system --no-create-home " + plan.DNSUser; !strings.Contains(b.Log(), want) {
		t.Errorf("the daemon does not say %q", want)
	}
	b.run("umount", "/etc/passwd")
	b.waitState(state.Sharing)
	b.waitSound()
	b.newcomer(b.scene.Residents[0])
}
