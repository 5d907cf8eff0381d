package netlab_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/labtest"
)

// crashVariable, an environment variable, makes the test binary the process that TestSweep kills.
const crashVariable = "NETLAB_CRASH"

func TestMain(m *testing.M) {
	if os.Getenv(crashVariable) != "" {
		if err := untilKilled(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// untilKilled makes a world with a process in it, prints the world's part of names and the process's ID, and waits.
func untilKilled() error {
	w, err := netlab.New(context.Background(), "crash")
	if err != nil {
		return err
	}
	h, err := w.AddHost("a")
	if err != nil {
		return err
	}
	p, err := h.Start("sleep", "infinity")
	if err != nil {
		return err
	}
	fmt.Println(strings.TrimSuffix(h.Namespace(), "-a"), p.Pid())
	return p.Wait()
}

func TestCable(t *testing.T) {
	t.Parallel()
	labtest.Root(t)
	_, a, b, cable := pair(t)
	listener := ok(b.Listen("tcp", "192.0.2.2:0"))(t)
	dial := func() error {
		conn, err := a.Dial(t.Context(), "tcp", listener.Addr().String())
		if err == nil {
			conn.Close()
		}
		return err
	}
	must(t, dial())

	index := func() int { return ok(a.Netlink().LinkByName("eth0"))(t).Attrs().Index }
	first := index()
	must(t, cable.Cut())
	if flags := ok(a.Netlink().LinkByName("eth0"))(t).Attrs().RawFlags; flags&unix.IFF_UP == 0 || flags&unix.IFF_RUNNING != 0 {
		t.Errorf("a cut cable's near end has flags %#x, want up and not running", flags)
	}
	must(t, cable.Restore())
	must(t, dial())

	must(t, cable.SetMTU(1400))
	must(t, cable.Unplug())
	if _, err := a.Netlink().LinkByName("eth0"); err == nil {
		t.Error("the interface is there after Unplug")
	}
	must(t, cable.Plug())
	if again := index(); again == first {
		t.Errorf("the interface came back under its old index %d", again)
	}
	if mtu := ok(a.Netlink().LinkByName("eth0"))(t).Attrs().MTU; mtu != 1400 {
		t.Errorf("the interface came back with MTU %d, want 1400", mtu)
	}
}

func TestHostsPrograms(t *testing.T) {
	t.Parallel()
	labtest.Root(t)
	_, a, _, _ := pair(t)
	must(t, a.SetResolvers(netip.MustParseAddr("192.0.2.53")))
	must(t, os.WriteFile(a.Path("/run/note"), []byte("hello"), 0o644))
	dir := ok(os.Getwd())(t)
	for command, want := range map[string]string{
		"cat /etc/resolv.conf": "nameserver 192.0.2.53\n",
		"cat /run/note":        "hello",
		"ls /sys/class/net":    "eth0\nlo\n",
		"pwd":                  dir + "\n",
		"cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6": "1\n",
	} {
		if got := ok(a.Run(t.Context(), "sh", "-c", command))(t); got != want {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}

	var exit *exec.ExitError
	_, err := a.Run(t.Context(), "sh", "-c", "echo broken pipe dream; exit 3")
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(err.Error(), "broken pipe dream") {
		t.Errorf("a failing command: error %v, want exit status 3 with the output", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Run(ctx, "sleep", "infinity"); !errors.Is(err, context.Canceled) {
		t.Errorf("a command with a cancelled context: error %v, want %v", err, context.Canceled)
	}
}

func TestProc(t *testing.T) {
	t.Parallel()
	labtest.Root(t)
	_, a, _, _ := pair(t)

	stopped := ok(a.Start("sh", "-c", "echo started; exec sleep infinity"))(t)
	must(t, stopped.Stop())
	if err := stopped.Wait(); err == nil {
		t.Error("a process stopped by a signal ended well")
	}
	must(t, stopped.Stop())

	// A shell with a child: Stop ends the whole process group.
	killed := ok(a.Start("sh", "-c", "sleep infinity & echo $!; wait"))(t)
	eventually(t, "the child's id", func() bool { return strings.HasSuffix(killed.Output(), "\n") })
	must(t, killed.Kill())
	<-killed.Exited()
	eventually(t, "the end of the child", func() bool { return !running(strings.TrimSpace(killed.Output())) })

	done := ok(a.Start("sh", "-c", "seq 100000; echo the end"))(t)
	must(t, done.Wait())
	if out := done.Output(); !strings.HasSuffix(out, "\n100000\nthe end\n") || len(out) > 64<<10 {
		t.Errorf("of a long output %d bytes were kept, ending in %q", len(out), out[max(0, len(out)-20):])
	}
}

func TestDo(t *testing.T) {
	t.Parallel()
	labtest.Root(t)
	_, a, _, _ := pair(t)
	inside := func() (names string, err error) {
		links, err := net.Interfaces()
		for _, l := range links {
			names += l.Name + " "
		}
		return names, err
	}
	before := ok(inside())(t)
	var names string
	must(t, a.Do(func() (err error) { names, err = inside(); return err }))
	if names != "lo eth0 " {
		t.Errorf("Do saw the interfaces %q", names)
	}
	if after := ok(inside())(t); after != before {
		t.Errorf("after Do the interfaces are %q, before it %q", after, before)
	}
	cause := errors.New("cause")
	if err := a.Do(func() error { return cause }); err != cause {
		t.Errorf("Do returned %v, want its function's error", err)
	}
}

// TestCloseLeavesNothing closes a busy world.
func TestCloseLeavesNothing(t *testing.T) {
	t.Parallel()
	labtest.Root(t, "iptables", "busybox")
	s := ok(netlab.Standard(t.Context(), netlab.Options{
		Name: "messy", Residents: 2, Uplinks: 2, Shape: netlab.Shape{Down: 20e6, Up: 5e6, Queue: 100e6},
	}))(t)
	defer s.Close()
	dir := s.Dir()
	id := strings.TrimSuffix(s.Box.Namespace(), "-box")
	stubborn := ok(s.Box.Start("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"))(t)
	daemon := ok(s.Box.Run(t.Context(), "sh", "-c", "setsid sleep infinity >/dev/null 2>&1 & echo $!"))(t)
	client := s.Box.HTTPClient()
	response := ok(client.Get("http://" + netlab.WebAddr.String() + "/slow?after=0s"))(t)
	response.Body.Close()
	download := ok(s.Box.StartDownload(t.Context(), "http://www.example/big"))(t)
	if left := leftovers(t, id); len(left) < 10 {
		t.Errorf("a running world shows as %q only", left)
	}

	must(t, s.Close())
	<-download.Done()
	if left := leftovers(t, id); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the world's folder: %v, want none", err)
	}
	for _, pid := range []string{fmt.Sprint(stubborn.Pid()), strings.TrimSpace(daemon)} {
		if running(pid) {
			t.Errorf("process %s still runs", pid)
		}
	}
	must(t, s.Close())
	if _, err := s.AddHost("late"); err == nil {
		t.Error("a closed world took a host")
	}
	if _, err := s.Box.Start("true"); err == nil {
		t.Error("a closed world started a process")
	}
	if _, err := s.Box.Netlink().LinkByName("lo"); err == nil {
		t.Error("a closed world's netlink handle acts on the machine's own network")
	}
	if err := s.Box.Do(func() error { return nil }); err == nil {
		t.Error("a closed world let a function in")
	}
}

// TestSweep lets a process make a world, kills it, and checks that Sweep removes the world.
func TestSweep(t *testing.T) {
	t.Parallel()
	labtest.Root(t)
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), crashVariable+"=1")
	child.Stderr = os.Stderr
	out := ok(child.StdoutPipe())(t)
	must(t, child.Start())
	defer child.Wait()
	defer child.Process.Kill()
	lines := bufio.NewScanner(out)
	lines.Scan()
	id, pid, _ := strings.Cut(lines.Text(), " ")
	if left := leftovers(t, id); len(left) < 3 { // namespace, folder, process
		t.Fatalf("the world to be crashed, %q, shows as %q", lines.Text(), left)
	}
	must(t, netlab.Sweep(t.Context()))
	if left := leftovers(t, id); len(left) < 3 {
		t.Errorf("a living process's world was swept: it shows as %q", left)
	}

	must(t, child.Process.Kill())
	child.Wait()
	must(t, netlab.Sweep(t.Context()))
	if left := leftovers(t, id); len(left) > 0 {
		t.Errorf("not swept: %q", left)
	}
	if running(pid) {
		t.Errorf("process %s still runs", pid)
	}
}

// leftovers lists what a world has left on the machine: namespaces, folders and processes in its namespaces.
func leftovers(t *testing.T, id string) []string {
	t.Helper()
	found := ok(filepath.Glob("/run/netns/" + id + "*"))(t)
	namespaces := slices.Clone(found)
	found = append(found, ok(filepath.Glob(filepath.Join(os.TempDir(), id)+"*"))(t)...)
	found = append(found, ok(filepath.Glob("/etc/netns/"+id+"*"))(t)...)
	for _, ns := range namespaces {
		want := ok(os.Stat(ns))(t)
		for _, proc := range ok(filepath.Glob("/proc/[0-9]*"))(t) {
			if got, err := os.Stat(proc + "/ns/net"); err == nil && os.SameFile(got, want) {
				found = append(found, proc)
			}
		}
	}
	return found
}

// running tells whether a process runs. A process that is gone, and a zombie, have no namespaces.
func running(pid string) bool {
	_, err := os.Stat("/proc/" + pid + "/ns/net")
	return err == nil
}

// eventually waits for a condition, for as long as a busy machine may need.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// pair is a world of two hosts, 192.0.2.1 and 192.0.2.2, with a cable between their interfaces eth0.
func pair(t *testing.T) (w *netlab.World, a, b *netlab.Host, cable *netlab.Cable) {
	t.Helper()
	w = labtest.World(t, "pair")
	a, b = ok(w.AddHost("a"))(t), ok(w.AddHost("b"))(t)
	cable = ok(w.Connect(netlab.End{Host: a, Interface: "eth0"}, netlab.End{Host: b, Interface: "eth0"}))(t)
	must(t, a.AddAddress("eth0", netip.MustParsePrefix("192.0.2.1/24")))
	must(t, b.AddAddress("eth0", netip.MustParsePrefix("192.0.2.2/24")))
	return w, a, b, cable
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ok returns a value, or fails the test: ok(f())(t).
func ok[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		must(t, err)
		return v
	}
}

func contextFor(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

// fetchHere fetches a page from the network namespace that the test runs in.
func fetchHere(t *testing.T, url string) string {
	t.Helper()
	response := ok(http.Get(url))(t)
	defer response.Body.Close()
	return string(ok(io.ReadAll(response.Body))(t))
}
