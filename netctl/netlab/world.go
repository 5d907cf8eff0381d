// Package netlab builds small test networks from network namespaces on the running kernel: hosts, cables between them, a slow
// link, an internet, lenders, a hotspot and residents with a real DHCP client. The tests, the benchmarks and `passerelle demo`
// run in it. It owns everything it creates, and removes it again. It must not know the box's software, and it does not import
// testing (labtest does).
//
// It needs root (CAP_SYS_ADMIN and CAP_NET_ADMIN). A host is a named network namespace, so `ip netns exec` works on it. It also
// has a mount namespace, which gives the host's programs their own /run, /sys and /etc/resolv.conf.
package netlab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// prefix begins the name of everything that outlives a crash: netlab-PID-NUMBER-WORLD[-HOST].
const prefix = "netlab-"

// worldNumber distinguishes the worlds of this process.
var worldNumber atomic.Uint64

// validName keeps names short and free of path separators and of the separator of composed names.
var validName = regexp.MustCompile(`^[a-z][a-z0-9]{0,15}$`)

// World is a set of hosts and their links. Its methods are safe for concurrent use.
type World struct {
	id  string // netlab-PID-NUMBER-NAME
	dir string // temporary files

	ipv6 bool // hosts added from now on have IPv6

	mu       sync.Mutex
	closed   bool
	hosts    map[string]*Host
	cleanups []func() error // run by Close, last first
}

// New creates an empty world, after it has removed the remains of crashed processes (Sweep). The name, a lower-case word, is for
// humans: it shows in `ip netns`. The context bounds the creation only; the world lives until Close.
func New(ctx context.Context, name string) (*World, error) {
	if !validName.MatchString(name) {
		return nil, fmt.Errorf("make world %q: a name is a lower-case word of at most 16 letters and digits", name)
	}
	if err := Sweep(ctx); err != nil {
		return nil, fmt.Errorf("make world %q: %w", name, err)
	}
	w := &World{
		id:    fmt.Sprintf("%s%d-%d-%s", prefix, os.Getpid(), worldNumber.Add(1), name),
		hosts: make(map[string]*Host),
	}
	dir, err := os.MkdirTemp("", w.id+"-")
	if err != nil {
		return nil, fmt.Errorf("make world %q: %w", name, err)
	}
	w.dir = dir
	w.cleanups = append(w.cleanups, func() error { return os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // for daemons that read their files after dropping root
		return nil, errors.Join(fmt.Errorf("make world %q: %w", name, err), w.Close())
	}
	return w, nil
}

// Dir returns a folder for temporary files. Close removes it.
func (w *World) Dir() string { return w.dir }

// memory is the folder of Linux for files in memory (shm_overview(7)).
const memory = "/dev/shm"

// MemoryDir makes a folder whose files are in memory, for files that would be on the disks of other machines. Close removes it.
func (w *World) MemoryDir() (string, error) {
	dir, err := os.MkdirTemp(memory, w.id+"-")
	if err != nil {
		return "", fmt.Errorf("make a folder in memory: %w", err)
	}
	return dir, w.addCleanup(func() error { return os.RemoveAll(dir) })
}

// Close stops every process in the world (TERM, then KILL) and removes every namespace, link and file, in reverse order
// of creation. The error names what could not be removed. Closing twice does nothing.
func (w *World) Close() error {
	w.mu.Lock()
	undo := w.cleanups
	hosts := w.hosts
	w.cleanups, w.hosts, w.closed = nil, nil, true
	w.mu.Unlock()

	var stopping sync.WaitGroup
	for _, h := range hosts {
		stopping.Go(h.stopProcs)
	}
	stopping.Wait()
	var errs []error
	for i := len(undo) - 1; i >= 0; i-- {
		errs = append(errs, undo[i]())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close world %s: %w", w.id, err)
	}
	return nil
}

// addCleanup registers f to run at Close, before the earlier ones. In a closed world it runs at once.
func (w *World) addCleanup(f func() error) error {
	w.mu.Lock()
	if !w.closed {
		w.cleanups = append(w.cleanups, f)
		w.mu.Unlock()
		return nil
	}
	w.mu.Unlock()
	return errors.Join(errClosed, f())
}

var errClosed = errors.New("the world is closed")

// Sweep removes the worlds of dead processes: processes that they left in their namespaces, the namespaces, and temporary files.
// If the PID in a world's name is in use again, a later Sweep removes the world, after that process has exited.
func Sweep(ctx context.Context) error {
	unlock, err := lockNamespaces()
	if err != nil {
		return fmt.Errorf("sweep old worlds: %w", err)
	}
	defer unlock()

	left, err := filepath.Glob(filepath.Join(namespaceDir, prefix+"*"))
	if err != nil {
		return fmt.Errorf("sweep old worlds: %w", err)
	}
	var paths []string
	for _, path := range left {
		if orphaned(path) {
			paths = append(paths, path)
		}
	}
	errs := []error{killProcessesIn(ctx, paths...)}
	for _, path := range paths {
		errs = append(errs, removeNamespace(path))
	}
	for _, shared := range []string{os.TempDir(), memory} {
		dirs, err := filepath.Glob(filepath.Join(shared, prefix+"*"))
		errs = append(errs, err)
		for _, dir := range dirs {
			// Everybody may write to this folder: remove only what root created.
			var st unix.Stat_t
			if unix.Lstat(dir, &st) == nil && st.Uid == 0 && st.Mode&unix.S_IFMT == unix.S_IFDIR && orphaned(dir) {
				errs = append(errs, os.RemoveAll(dir))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("sweep old worlds: %w", err)
	}
	return nil
}

// orphaned tells whether the path is named after a world whose process is dead.
func orphaned(path string) bool {
	rest, ok := strings.CutPrefix(filepath.Base(path), prefix)
	if !ok {
		return false
	}
	word, _, _ := strings.Cut(rest, "-")
	pid, err := strconv.Atoi(word)
	return err == nil && pid > 0 && errors.Is(unix.Kill(pid, 0), unix.ESRCH)
}

// ignoreMissing returns nil if the error says that something does not exist.
func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
