package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"passerelle/netctl/netlab/labtest"
)

// world is a supervisor in a synctest bubble with fake processes. What happens to them is recorded with the time since the beginning,
// so that a case reads as one block.
type world struct {
	t     *testing.T
	s     *Supervisor
	begin time.Time

	mu     sync.Mutex
	events []string
	wakes  int
	ways
}

// ways are how processes behave.
type ways struct {
	deaf bool               // they ignore TERM
	life time.Duration      // they end after it; 0 for never
	fail error              // they can't even start
	say  func(func(string)) // what they write when they start
}

func (w *world) behave(ways ways) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ways = ways
}

func (w *world) behaviour() ways {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ways
}

// woken returns how often the caller was woken since the last call.
func (w *world) woken() int {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.wakes
	w.wakes = 0
	return n
}

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, fmt.Sprintf("%6v ", time.Since(w.begin).Round(time.Millisecond))+fmt.Sprintf(format, args...))
}

// expect compares the record since the last call.
func (w *world) expect(want string) {
	w.t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	var lines []string
	for line := range strings.Lines(strings.TrimSpace(want)) {
		if line = strings.TrimSpace(line); line != "" {
			at, what, _ := strings.Cut(line, " ")
			lines = append(lines, fmt.Sprintf("%6s ", at)+what)
		}
	}
	if diff := cmp.Diff(lines, w.events); diff != "" {
		w.t.Errorf("what happened (-want +got):\n%s", diff)
	}
	w.events = nil
}

func (w *world) set(children ...Child) {
	w.t.Helper()
	if err := w.s.Set(children); err != nil {
		w.t.Fatal(err)
	}
}

// pretended is a fake process.
type pretended struct {
	w      *world
	argv   string
	exited chan struct{}
	once   sync.Once
	how    string
}

func (p *pretended) PID() int                { return os.Getpid() }
func (p *pretended) Exited() <-chan struct{} { return p.exited }
func (p *pretended) How() string             { return p.how }
func (p *pretended) Signal(sig unix.Signal)  { p.w.note("%s gets %v", p.argv, sig) }
func (p *pretended) SignalGroup(sig unix.Signal) {
	p.w.note("%s and its group get %v", p.argv, sig)
	if sig != term || !p.w.behaviour().deaf {
		p.end("signal: " + sig.String())
	}
}

func (p *pretended) end(how string) {
	p.once.Do(func() {
		p.how = how
		close(p.exited)
	})
}

func (w *world) spawn(prog *program, line func(string)) (process, error) {
	p := &pretended{w: w, argv: strings.Join(prog.argv, " "), exited: make(chan struct{})}
	ways := w.behaviour()
	if ways.fail != nil {
		w.note("%s can't start", p.argv)
		return nil, ways.fail
	}
	w.note("%s starts", p.argv)
	if ways.say != nil {
		ways.say(line)
	}
	if ways.life != 0 {
		time.AfterFunc(ways.life, func() { p.end("exit status 3") })
	}
	return p, nil
}

// inWorld runs f beside a running supervisor, which it stops afterwards.
func inWorld(t *testing.T, f func(t *testing.T, w *world)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, begin: time.Now()}
		w.s = New(Options{
			Dir:    filepath.Join(t.TempDir(), "run"),
			Log:    slog.New(slog.DiscardHandler),
			Redact: WithoutAddresses,
			Wake:   func() { w.mu.Lock(); w.wakes++; w.mu.Unlock() },
		})
		w.s.spawn = w.spawn
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.s.Run(ctx) }()
		synctest.Wait()
		defer func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
			if left, _ := filepath.Glob(filepath.Join(w.s.opt.Dir, "*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		}()
		f(t, w)
	})
}

func TestUnchangedListDoesNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		path := filepath.Join(t.TempDir(), "deep", "er", "a.conf")
		list := func() []Child {
			return []Child{
				{Name: "a", Argv: []string{"a", "-x"}, Files: []File{{Path: path, Text: "1"}}},
				{Name: "b", Argv: []string{"b"}},
			}
		}
		w.set(list()[:1]...)
		time.Sleep(time.Minute)
		w.set(list()...)
		synctest.Wait()
		before, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if before.Mode() != 0o600 {
			t.Errorf("mode %v, want 0600", before.Mode())
		}
		for range 5 {
			w.set(list()...)
			time.Sleep(time.Minute)
		}
		after, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if !os.SameFile(before, after) || before.ModTime() != after.ModTime() {
			t.Error("an unchanged file was written again")
		}
		w.expect(`
			0s a -x starts
			1m0s b starts`)
		// Only starts wake the caller, or the caller would loop without end.
		if n := w.woken(); n != 2 {
			t.Errorf("%d wakes, want 2", n)
		}
	})
}

// TestLater: a change that is only for the next start does not touch the running process, and is there at the next start.
func TestLater(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		path := filepath.Join(t.TempDir(), "conf")
		child := func(argv, conf string) Child {
			return Child{Name: "ap", Argv: strings.Fields(argv), Files: []File{{Path: path, Text: conf, OnNextStart: true}}}
		}
		w.set(child("ap -a", "channel=1"))
		w.expect(`0s ap -a starts`)
		w.set(child("ap -a", "channel=6"))
		w.expect(``)
		if text, err := os.ReadFile(path); err != nil || string(text) != "channel=6" {
			t.Errorf("the file says %q, %v", text, err)
		}
		w.set(child("ap -b", "channel=6"))
		w.expect(`
			0s ap -a and its group get terminated
			0s ap -b starts`)
	})
}

// TestKeep: a file that a child writes exists before the child starts, is readable by no other user, and its content is left alone.
func TestKeep(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		dir := t.TempDir()
		path := filepath.Join(dir, "leases")
		child := Child{Name: "dns", Argv: []string{"dns"}, Files: []File{{Path: path, Keep: true}}}
		is := func(want string) {
			t.Helper()
			w.set(child)
			text, err := os.ReadFile(path)
			if err != nil || string(text) != want {
				t.Errorf("it says %q, want %q: %v", text, want, err)
			}
			if info, err := os.Lstat(path); err != nil || info.Mode() != 0o600 {
				t.Errorf("it has mode %v: %v", info.Mode(), err)
			}
		}
		is("")
		w.expect(`0s dns starts`)
		if err := errors.Join(os.WriteFile(path, []byte("who"), 0o600), os.Chmod(path, 0o644)); err != nil {
			t.Fatal(err)
		}
		is("who")
		w.expect(``)
		other := filepath.Join(dir, "other")
		if err := errors.Join(os.Rename(path, other), os.Symlink(other, path)); err != nil {
			t.Fatal(err)
		}
		is("")
		w.expect(``)
		w.set()
		w.expect(`0s dns and its group get terminated`)
		wantFiles(t, dir, "leases", "other")
	})
}

// TestUser: the files of a child with a user of its own are that user's, also if that user changes them.
func TestUser(t *testing.T) {
	labtest.Root(t)
	inWorld(t, func(t *testing.T, w *world) {
		top := t.TempDir()
		if err := errors.Join(os.Chmod(filepath.Dir(top), 0o755), os.Chmod(top, 0o711)); err != nil {
			t.Fatal(err)
		}
		servers, conf, leases := filepath.Join(top, "servers"), filepath.Join(top, "conf"), filepath.Join(top, "leases")
		child := Child{Name: "dns", Argv: []string{"dns"}, User: "nobody", Files: []File{
			{Path: servers, Text: "1", Reload: true},
			{Path: conf, Text: "1"},
			{Path: leases, Keep: true},
		}}
		is := func(path string, mode os.FileMode, owner uint32) {
			t.Helper()
			info, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			st := info.Sys().(*syscall.Stat_t)
			if info.Mode() != mode || st.Uid != owner || st.Gid != 0 {
				t.Errorf("%s has mode %v and is %d:%d's, want %v and %d:0", path, info.Mode(), st.Uid, st.Gid, mode, owner)
			}
		}
		sound := func(want string) {
			t.Helper()
			time.Sleep(reloadGrace)
			w.set(child)
			time.Sleep(time.Second)
			w.expect(want)
			is(top, os.ModeDir|0o711, 0)
			for _, path := range []string{servers, conf, leases} {
				is(path, 0o640, labtest.Nobody)
			}
			if text, err := os.ReadFile(servers); err != nil || string(text) != "1" {
				t.Errorf("it says %q: %v", text, err)
			}
		}
		sound(`1s dns starts`)
		sound(``)
		theirs := func(change func() error) error {
			labtest.AsNobody(t, change)
			return nil
		}
		for n, change := range []func() error{
			func() error { return theirs(func() error { return os.WriteFile(servers, []byte("2"), 0o600) }) },
			func() error { return theirs(func() error { return os.Chmod(servers, 0o644) }) },
			// Somebody with root could do this.
			func() error { return os.Remove(servers) },
			func() error { return errors.Join(os.Remove(servers), os.Symlink(conf, servers)) },
			func() error { return errors.Join(os.Remove(servers), unix.Mkfifo(servers, 0o600)) },
			func() error { return os.Chown(servers, 0, 0) },
		} {
			if err := change(); err != nil {
				t.Fatal(err)
			}
			sound(fmt.Sprintf(`%ds dns gets hangup`, 5+2*n))
		}
		// The files in the folder stay: the user cannot replace them.
		labtest.AsNobody(t, func() error {
			if os.Remove(servers) == nil || os.Symlink(conf, filepath.Join(top, "new")) == nil {
				t.Error("the child's user writes in the folder")
			}
			return os.WriteFile(leases, []byte("one"), 0o600)
		})
		sound(``)
		if text, err := os.ReadFile(leases); err != nil || string(text) != "one" {
			t.Errorf("the kept file says %q: %v", text, err)
		}
		if err := errors.Join(os.Chown(leases, 0, 0), os.Chmod(leases, 0o600)); err != nil {
			t.Fatal(err)
		}
		sound(``)

		child.User = "no-such-user"
		if err := w.s.Set([]Child{child}); err == nil || !strings.Contains(err.Error(), "unknown user no-such-user: ") {
			t.Errorf("without the user: %v", err)
		}
		w.expect(``)
	})
}

func TestChanges(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		dir := t.TempDir()
		child := func(argv, conf, servers string) Child {
			return Child{Name: "dns", Argv: strings.Fields(argv), Files: []File{
				{Path: filepath.Join(dir, "conf"), Text: conf},
				{Path: filepath.Join(dir, "servers"), Text: servers, Reload: true},
			}}
		}
		w.set(child("dns -a", "1", "1"))
		w.expect(`0s dns -a starts`)

		// Too young for SIGHUP: it gets one, once, when it is old enough.
		w.set(child("dns -a", "1", "2"))
		w.set(child("dns -a", "1", "3"))
		time.Sleep(3 * time.Second)
		w.expect(`1s dns -a gets hangup`)

		w.set(child("dns -a", "1", "4"))
		w.expect(`3s dns -a gets hangup`)

		w.set(child("dns -a", "2", "4"))
		w.expect(`
			3s dns -a and its group get terminated
			3s dns -a starts`)

		w.set(child("dns -b", "2", "4"))
		w.expect(`
			3s dns -a and its group get terminated
			3s dns -b starts`)

		// A file that somebody else changed is restored, and the child is told.
		time.Sleep(2 * time.Second)
		if err := os.WriteFile(filepath.Join(dir, "servers"), []byte("nonsense"), 0o600); err != nil {
			t.Fatal(err)
		}
		w.set(child("dns -b", "2", "4"))
		w.expect(`5s dns -b gets hangup`)
		if err := os.Chmod(filepath.Join(dir, "conf"), 0o666); err != nil {
			t.Fatal(err)
		}
		w.set(child("dns -b", "2", "4"))
		w.expect(`
			5s dns -b and its group get terminated
			5s dns -b starts`)
		w.set(child("dns -b", "2", "4"))
		w.expect(``) // its mode is right

		// A file that the list no longer names is removed.
		fewer := child("dns -b", "2", "4")
		fewer.Files = fewer.Files[:1]
		w.set(fewer)
		w.expect(`
			5s dns -b and its group get terminated
			5s dns -b starts`)
		wantFiles(t, dir, "conf")

		w.set()
		w.expect(`5s dns -b and its group get terminated`)
		wantFiles(t, dir)
		if st := w.s.Status(); len(st) > 0 {
			t.Errorf("a removed child is still there: %+v", st)
		}
	})
}

func TestCrashLoopSlowsDown(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.behave(ways{life: time.Nanosecond})
		w.set(Child{Name: "ap", Argv: []string{"ap"}})
		time.Sleep(2 * time.Minute)
		w.expect(`
			0s ap starts
			100ms ap starts
			300ms ap starts
			700ms ap starts
			1.5s ap starts
			3.1s ap starts
			6.3s ap starts
			12.7s ap starts
			25.5s ap starts
			51.1s ap starts
			1m21.1s ap starts
			1m51.1s ap starts`)
		st := w.s.Status()[0]
		if st.Failures != 12 || st.Starts != 12 || st.LastExit != "exit status 3" || st.PID != 0 || !st.Since.IsZero() {
			t.Errorf("status %+v", st)
		}

		// With an unchanged list it continues to wait; a change starts it at once.
		w.set(Child{Name: "ap", Argv: []string{"ap"}})
		w.expect(``)
		w.behave(ways{})
		w.woken()
		w.set(Child{Name: "ap", Argv: []string{"ap", "-better"}})
		w.expect(`2m0s ap -better starts`)
		time.Sleep(resetAfter)
		synctest.Wait()
		if st := w.s.Status()[0]; st.Failures != 0 || st.PID == 0 {
			t.Errorf("after having run for %v: %+v", resetAfter, st)
		}
		if n := w.woken(); n != 2 {
			t.Errorf("%d wakes, want one for the start and one for the end of doubt", n)
		}
	})
}

func TestBackoffResetsAfterAStableRun(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.behave(ways{life: resetAfter})
		w.set(Child{Name: "ap", Argv: []string{"ap"}})
		time.Sleep(31 * time.Second)
		w.expect(`
			0s ap starts
			10.1s ap starts
			20.2s ap starts
			30.3s ap starts`)
	})
}

func TestProgramThatCannotStart(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.behave(ways{fail: errors.New("no such program")})
		w.set(Child{Name: "ap", Argv: []string{"ap"}})
		time.Sleep(250 * time.Millisecond)
		w.expect(`
			0s ap can't start
			100ms ap can't start`)
		st := w.s.Status()[0]
		if st.LastExit != "start ap: no such program" || st.Failures != 2 || st.Starts != 0 {
			t.Errorf("status %+v", st)
		}
		w.behave(ways{})
		time.Sleep(time.Second)
		w.expect(`300ms ap starts`)
	})
}

// TestFail: a child that does not do its work is stopped, which counts as an unexpected exit. The line that it wrote before that is
// kept, also when another run has written more.
func TestFail(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.behave(ways{say: func(line func(string)) {
			line("started")
			line("cannot read names")
			line("going on all the same")
		}})
		child := Child{Name: "a", Argv: []string{"a"}}
		w.s.Fail("a", "is not there yet")
		w.set(child)
		synctest.Wait()
		w.s.Fail("a", "knows no name")
		w.s.Fail("a", "knows no name")
		time.Sleep(time.Second)
		w.expect(`
			0s a starts
			0s a and its group get terminated
			100ms a starts`)
		want := ChildStatus{Failures: 1, Starts: 2, LastExit: "ended because it knows no name", LastLine: "cannot read names"}
		got := w.s.Status()[0]
		if got.Failures != want.Failures || got.Starts != want.Starts || got.LastExit != want.LastExit || got.LastLine != want.LastLine {
			t.Errorf("status %+v, want %+v", got, want)
		}
		w.s.Fail("a", "knows no name")
		time.Sleep(time.Second)
		w.expect(`
			1s a and its group get terminated
			1.2s a starts`)
		if got := w.s.Status()[0]; got.Failures != 2 {
			t.Errorf("after the second time: %+v", got)
		}
		time.Sleep(resetAfter)
		if got := w.s.Status()[0]; got.Failures != 0 || got.PID == 0 {
			t.Errorf("after having run for %v: %+v", resetAfter, got)
		}
	})
}

func TestTermThenKill(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.behave(ways{deaf: true})
		path := filepath.Join(t.TempDir(), "conf")
		child := Child{Name: "a", Argv: []string{"a"}, Files: []File{{Path: path}}}
		w.set(child)
		w.expect(`0s a starts`)
		w.set()
		w.expect(`0s a and its group get terminated`)
		if st := w.s.Status(); len(st) != 1 {
			t.Errorf("a child that is being stopped isn't in %+v", st)
		}
		// A child that is wanted again before it has ended is restarted, and keeps its files.
		time.Sleep(2 * time.Second)
		w.set(child)
		time.Sleep(10 * time.Second)
		w.expect(`
			5s a and its group get killed
			5s a starts`)
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	})
}

func TestFileThatCannotBeWritten(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		// A file in place of a folder makes every write fail, also root's.
		dir := t.TempDir()
		blocker := filepath.Join(dir, "blocker")
		if err := os.WriteFile(blocker, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		good := File{Path: filepath.Join(dir, "good"), Text: "1"}
		bad := File{Path: filepath.Join(blocker, "bad"), Text: "1"}
		err := w.s.Set([]Child{
			{Name: "a", Argv: []string{"a"}, Files: []File{good, bad}},
			{Name: "b", Argv: []string{"b"}},
		})
		if err == nil || !strings.Contains(err.Error(), "child a: write "+bad.Path) || !errors.Is(err, unix.ENOTDIR) {
			t.Errorf("error %v, want one that names %s", err, bad.Path)
		}
		time.Sleep(time.Minute)
		w.expect(`0s b starts`)

		// Once the obstacle is gone, the same list works.
		if err := os.Remove(blocker); err != nil {
			t.Fatal(err)
		}
		w.set(Child{Name: "a", Argv: []string{"a"}, Files: []File{good, bad}}, Child{Name: "b", Argv: []string{"b"}})
		w.expect(`1m0s a starts`)

		// A running child is left alone while its new files can't be written, and follows when they can.
		if err := os.RemoveAll(blocker); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(blocker, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		good.Text = "2"
		list := []Child{{Name: "a", Argv: []string{"a", "2"}, Files: []File{good, bad}}}
		if err := w.s.Set(list); err == nil {
			t.Error("no failure reported")
		}
		time.Sleep(time.Minute)
		w.expect(`1m0s b and its group get terminated`)
		if err := os.Remove(blocker); err != nil {
			t.Fatal(err)
		}
		w.set(list...)
		w.expect(`
			2m0s a and its group get terminated
			2m0s a 2 starts`)
	})
}

func TestMalformedListIsRefusedWhole(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ok := Child{Name: "ok", Argv: []string{"ok"}}
		for name, bad := range map[string][]Child{
			"no name":          {{Argv: []string{"a"}}},
			"a path for name":  {{Name: "../a", Argv: []string{"a"}}},
			"no program":       {{Name: "a"}},
			"an empty program": {{Name: "a", Argv: []string{""}}},
			"twice":            {{Name: "a", Argv: []string{"a"}}, {Name: "a", Argv: []string{"a"}}},
			"a relative file":  {{Name: "a", Argv: []string{"a"}, Files: []File{{Path: "conf"}}}},
			"a shared file": {
				{Name: "a", Argv: []string{"a"}, Files: []File{{Path: "/conf"}}},
				{Name: "b", Argv: []string{"b"}, Files: []File{{Path: "/conf"}}},
			},
		} {
			if err := w.s.Set(append(bad, ok)); err == nil {
				t.Errorf("%s: no failure reported", name)
			}
		}
		w.expect(``)
	})
}

func TestSetBeforeAndAfterRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, begin: time.Now()}
		w.s = New(Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
		w.s.spawn = w.spawn
		w.set(Child{Name: "early", Argv: []string{"early"}})
		w.expect(``)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.s.Run(ctx) }()
		w.expect(`0s early starts`)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		w.expect(`0s early and its group get terminated`)
		if err := w.s.Set(nil); !errors.Is(err, ErrStopped) {
			t.Errorf("Set after Run: %v, want ErrStopped", err)
		}
	})
}

func TestStatusKeepsTheLastScrubbedLines(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.behave(ways{say: func(line func(string)) {
			for i := range 100 {
				line(fmt.Sprintf("line %d", i))
				line(fmt.Sprintf("DHCPACK(wlan0) 10.80.0.%d 02:00:00:00:00:01 phone-of-somebody", i))
			}
		}})
		w.set(Child{Name: "a", Argv: []string{"a"}})
		synctest.Wait()
		lines := w.s.Status()[0].Lines
		if len(lines) != maxLines || lines[0] != "line 36" || lines[maxLines-1] != "line 99" {
			t.Errorf("kept %q", lines)
		}
	})
}

// wantFiles compares the names of the files in dir, sorted.
func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}
