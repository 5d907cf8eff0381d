package netlab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// namespaceDir is where iproute2 keeps named network namespaces.
const namespaceDir = "/run/netns"

// namespace is a named network namespace and the mount namespace that goes with it.
type namespace struct {
	path   string   // the named file that the network namespace is mounted on
	net    *os.File // the network namespace
	mounts *os.File // the mount namespace, which has no name: it exists as long as this file is open or a process is in it
	link   *netlink.Handle
}

// mounts are paths that a host's programs see instead of the machine's.
type mounts struct {
	run        string // the folder that is mounted on /run
	resolvConf string // the file that is mounted on /etc/resolv.conf
}

// makeNamespace creates a namespace with a new name.
func makeNamespace(name string, p mounts) (ns *namespace, err error) {
	unlock, err := lockNamespaces()
	if err != nil {
		return nil, err
	}
	defer unlock()
	ns = &namespace{path: filepath.Join(namespaceDir, name)}
	if err := onNewThread(func() error { return ns.build(p) }); err != nil {
		return nil, errors.Join(err, ns.close())
	}
	return ns, nil
}

// build runs on a thread that is discarded afterwards.
func (ns *namespace) build(p mounts) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("unshare network: %w", err)
	}
	mountPoint, err := os.OpenFile(ns.path, os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	mountPoint.Close()
	if err := mount(currentNetwork, ns.path, "", unix.MS_BIND); err != nil {
		return err
	}
	if ns.net, err = os.Open(ns.path); err != nil {
		return err
	}
	if ns.link, err = netlink.NewHandle(unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER); err != nil {
		return fmt.Errorf("open netlink in %s: %w", ns.path, err)
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare mounts: %w", err)
	}
	if err := p.mount(); err != nil {
		return err
	}
	ns.mounts, err = os.Open("/proc/thread-self/ns/mnt")
	return err
}

// mount mounts the private paths in the calling thread's mount namespace.
func (p mounts) mount() error {
	// Unmounts outside must propagate in here, or the names of other namespaces would persist. Nothing may propagate out.
	if err := mount("", "/", "", unix.MS_SLAVE|unix.MS_REC); err != nil {
		return err
	}
	// /sys shows the network namespace of the thread that mounted it.
	if err := mount("netlab", "/sys", "sysfs", 0); err != nil {
		return err
	}
	// With systemd-resolved, resolv.conf is a symbolic link into /run. The private /run is still empty.
	resolvConf, err := filepath.EvalSymlinks("/etc/resolv.conf")
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	if inRun, ok := strings.CutPrefix(resolvConf, "/run/"); ok {
		if err := os.MkdirAll(filepath.Join(p.run, filepath.Dir(inRun)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(p.run, inRun), nil, 0o644); err != nil {
			return err
		}
	}
	if err := mount(p.run, "/run", "", unix.MS_BIND); err != nil {
		return err
	}
	if resolvConf == "" {
		return nil // without the file there is nothing to mount on
	}
	return mount(p.resolvConf, resolvConf, "", unix.MS_BIND)
}

func mount(source, target, kind string, flags uintptr) error {
	if err := unix.Mount(source, target, kind, flags, ""); err != nil {
		return fmt.Errorf("mount %q on %s: %w", source, target, err)
	}
	return nil
}

// close removes the name and closes the files. The kernel removes the namespace when the last socket in it is closed.
func (ns *namespace) close() error {
	if ns.link != nil {
		// A closed Handle forgets its sockets and then acts on the network of the calling thread, which is the machine's own.
		// So close a copy: calls of the original then fail forever.
		handle := *ns.link
		handle.Close()
	}
	for _, f := range []*os.File{ns.net, ns.mounts} {
		if f != nil {
			f.Close()
		}
	}
	return removeNamespace(ns.path)
}

// removeNamespace removes a namespace's name. It is not an error if the name does not exist.
func removeNamespace(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) { // EINVAL: not mounted
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	return ignoreMissing(os.Remove(path))
}

// enter moves the calling thread to a namespace. The file may be closed concurrently, by a world that ends during a dial: then
// the descriptor may belong to another file, whose namespace must not be entered.
func enter(f *os.File, kind int) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	controlErr := raw.Control(func(fd uintptr) { err = unix.Setns(int(fd), kind) })
	return errors.Join(controlErr, err)
}

// do implements Host.Do.
func (ns *namespace) do(f func() error) error {
	result := make(chan error, 1)
	go func() {
		err := errGoexit
		defer func() { result <- err }()
		runtime.LockOSThread()
		home, failed := os.Open(currentNetwork)
		if failed != nil {
			runtime.UnlockOSThread()
			err = failed
			return
		}
		defer home.Close()
		if failed := enter(ns.net, unix.CLONE_NEWNET); failed != nil {
			runtime.UnlockOSThread()
			err = fmt.Errorf("enter %s: %w", ns.path, failed)
			return
		}
		defer func() {
			// A thread that cannot return must not run anything else: it ends with this goroutine, still locked.
			if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
				runtime.UnlockOSThread()
			}
		}()
		err = f()
	}()
	return <-result
}

// errGoexit is the error of do and onNewThread for a function that did not return.
var errGoexit = errors.New("the function left its goroutine instead of returning (t.FailNow?)")

// doWithMounts runs f in both namespaces. Processes that f starts are in both, too. It uses a thread that is discarded: a thread
// that has unshared its file-system state cannot share it again.
func (ns *namespace) doWithMounts(f func() error) error {
	return onNewThread(func() error {
		if err := enter(ns.net, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter %s: %w", ns.path, err)
		}
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare working directory: %w", err)
		}
		if err := enter(ns.mounts, unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("enter mounts of %s: %w", ns.path, err)
		}
		return f()
	})
}

// currentNetwork is the calling thread's network namespace. (/proc/self would be the main thread's.)
const currentNetwork = "/proc/thread-self/ns/net"

// onNewThread runs f on a thread that ends afterwards, so that f's changes to the thread do not remain.
func onNewThread(f func() error) error {
	result := make(chan error, 1)
	var run func()
	run = func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread does not end with its goroutine but parks forever, and /proc/PID/ns would show f's namespaces as
			// the process's. While the main thread is locked here, the next goroutine runs on another thread.
			defer runtime.UnlockOSThread()
			next := make(chan struct{})
			go func() { defer close(next); run() }()
			<-next
			return
		}
		err := errGoexit
		defer func() { result <- err }()
		err = f()
	}
	go run()
	return <-result
}

// lockNamespaces creates the folder of named namespaces as `ip netns add` does. It locks the folder against iproute2 and the
// worlds of other processes until unlock is called.
func lockNamespaces() (unlock func(), err error) {
	if err := os.MkdirAll(namespaceDir, 0o755); err != nil {
		return nil, err
	}
	dir, err := os.Open(namespaceDir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		dir.Close()
		return nil, fmt.Errorf("lock %s: %w", namespaceDir, err)
	}
	// The folder must be a shared mount, so that a name removed here is removed in every mount namespace.
	err = unix.Mount("", namespaceDir, "", unix.MS_SHARED|unix.MS_REC, "")
	if errors.Is(err, unix.EINVAL) { // not a mount yet
		if err = unix.Mount(namespaceDir, namespaceDir, "", unix.MS_BIND|unix.MS_REC, ""); err == nil {
			err = unix.Mount("", namespaceDir, "", unix.MS_SHARED|unix.MS_REC, "")
		}
	}
	if err != nil {
		dir.Close()
		return nil, fmt.Errorf("share mount %s: %w", namespaceDir, err)
	}
	return func() { dir.Close() }, nil
}

// killProcessesIn kills every process in the named namespaces, except this one, and waits until they are gone.
func killProcessesIn(ctx context.Context, paths ...string) error {
	if len(paths) == 0 {
		return nil
	}
	type inode struct{ dev, ino uint64 }
	inodeOf := func(path string) (inode, error) {
		var st unix.Stat_t
		err := unix.Stat(path, &st)
		return inode{uint64(st.Dev), st.Ino}, err
	}
	wanted := make(map[inode]bool)
	for _, path := range paths {
		if id, err := inodeOf(path); err == nil {
			wanted[id] = true
		}
	}
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range procs {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		network := fmt.Sprintf("/proc/%d/ns/net", pid)
		if id, err := inodeOf(network); err != nil || !wanted[id] {
			continue
		}
		errs = append(errs, killProcess(ctx, pid, func() bool {
			id, err := inodeOf(network)
			return err == nil && wanted[id]
		}))
	}
	return errors.Join(errs...)
}

// killProcess kills a process and waits until it is gone. It does nothing if the PID is another process's by now (stillTarget).
func killProcess(ctx context.Context, pid int, stillTarget func() bool) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	if !stillTarget() {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(ready, int((100 * time.Millisecond).Milliseconds()))
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for process %d: %w", pid, err)
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("wait for process %d to end: %w", pid, err)
		}
	}
}
