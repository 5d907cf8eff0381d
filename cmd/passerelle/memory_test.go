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
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"passerelle/appliance"
	"passerelle/appliance/decide"
	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/labtest"
	"passerelle/netctl/plan"
)

// closedToOthers fails the test if another user can open, hold, exchange or connect to anything in the box's folders, and
// returns how much he tried.
func (b *box) closedToOthers(when string) (tried int) {
	b.t.Helper()
	dns, err := user.Lookup(plan.DNSUser)
	b.must(err)
	for _, top := range []string{b.path(""), b.state} {
		b.must(filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) { // a file that was being written has its name by now
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
				want = fs.ModeDir | runMode
			case e.IsDir():
				want = fs.ModeDir | 0o700
			case e.Type() == fs.ModeSocket:
				want |= fs.ModeSocket
			}
			if path == b.path("dnsmasq") || filepath.Dir(path) == b.path("dnsmasq") {
				owner = dns.Uid
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

// TestAmongOthers: another user of the machine, who was there before the daemon, can neither keep it from starting nor
// see or change what it keeps, while it runs, when it has crashed, and after its end.
func TestAmongOthers(t *testing.T) {
	t.Parallel()
	b := newScene(t, settings{}, netlab.Options{})
	// As an older version left it, with what can be held held by nobody.
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

	for what, dir := range map[string]string{"the folder in memory": b.path(""), "the state folder": b.state} {
		b.endForgetter()
		b.must(os.RemoveAll(dir))
		b.must(os.Mkdir(dir, 0o755))
		b.must(os.Chown(dir, labtest.Nobody, labtest.Nobody))
		b.start()
		var exit *exec.ExitError
		if err := b.proc.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitWrong {
			t.Errorf("%s is another user's: the daemon ended with %v, want exit status %d", what, err, exitWrong)
		}
		if want := dir + ": it is not safe from other users: it belongs to nobody"; !strings.Contains(b.said(), want) {
			t.Errorf("the daemon does not say %q", want)
		}
		b.must(os.RemoveAll(dir))
	}
}

// TestForget: what a daemon that was told to stop leaves for the next is gone when none has come.
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
		a, err := paths{socket: b.socket()}.readAside()
		b.must(err)
		f(&a)
		b.must(writeJSON(b.path("sessions.json"), a))
	}
	// forgets runs what a daemon leaves behind until it ends.
	forgets := func(words ...string) *netlab.Proc {
		t.Helper()
		p, err := b.scene.Box.StartCmd(program(append([]string{"forget", "--socket", b.socket()}, words...)...))
		b.must(err)
		return p
	}
	if b.forgetter() != 0 {
		t.Error("a running daemon has somebody wait for its end")
	}

	// Nobody comes.
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
	b.held(r)
	b.newcomer(r)

	// Another daemon comes, who waited goes.
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

	// While a daemon runs nothing is removed.
	b.must(writeJSON(b.path("sessions.json"), asideFile{}))
	p := forgets()
	b.waitSound()
	b.must(os.Remove(b.path("sessions.json")))
	b.must(p.Wait())
	there(true, "leases")
	b.must(forgets().Wait()) // nor is there anything to wait for
	there(true, "leases")

	// It waits for as long as it is told, and not beyond a boot.
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

	// Where the folder is removed there is nothing to wait for.
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

// TestNoUser: without dnsmasq's user the box says what is missing, and goes on when it is there.
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
	b.waitStatus("what is missing", func(s appliance.Status) error {
		if all := fmt.Sprint(s.Problems); !strings.Contains(all, "unknown user "+plan.DNSUser) {
			return errors.New(all)
		}
		return nil
	})
	if want := "adduser --system --no-create-home " + plan.DNSUser; !strings.Contains(b.said(), want) {
		t.Errorf("the daemon does not say %q", want)
	}
	b.run("umount", "/etc/passwd")
	b.waitState(decide.Sharing)
	b.waitSound()
	b.newcomer(b.scene.Residents[0])
}
