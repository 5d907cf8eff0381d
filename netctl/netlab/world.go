// Package netlab builds small worlds of network namespaces on the running kernel: hosts, cables between them, a slow line,
// an internet, lenders, a hotspot's air and residents with a real DHCP client. The tests, the bench and `passerelle demo`
// live in it. It owns what it makes and takes all of it away again; it must not know the box's software, and it imports
// no testing (labtest does).
//
// It needs root (CAP_SYS_ADMIN and CAP_NET_ADMIN). A host is a named network namespace, so `ip netns exec` can look in,
// with a mount namespace beside it that gives the host's programs their own /run, /sys and /etc/resolv.conf.
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

// worldNumber tells apart the worlds of this process.
var worldNumber atomic.Uint64

// validName keeps names short and free of what would be read as a path or as a part of a composed name.
var validName = regexp.MustCompile(`^[a-z][a-z0-9]{0,15}$`)

// World is a set of hosts and what connects them. Its methods are safe for concurrent use.
type World struct {
	id  string // netlab-PID-NUMBER-NAME
	dir string // temporary files

	ipv6 bool // hosts that are added have IPv6

	mu     sync.Mutex
	closed bool
	hosts  map[string]*Host
	undo   []func() error // Close runs these from the last to the first
}

// New makes an empty world, after it has swept what crashed predecessors left. The name (a lower-case word) is for
// humans: it shows in `ip netns`. The context bounds the making only; the world lives until Close.
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
	w.undo = append(w.undo, func() error { return os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // for daemons that read their files after they dropped root
		return nil, errors.Join(fmt.Errorf("make world %q: %w", name, err), w.Close())
	}
	return w, nil
}

// Dir is a folder for temporary files, removed by Close.
func (w *World) Dir() string { return w.dir }

// Close ends every process in the world (TERM, then KILL) and removes every namespace, link and file, in the reverse
// order of their making. The error names what could not be removed. Closing twice does nothing.
func (w *World) Close() error {
	w.mu.Lock()
	undo := w.undo
	hosts := w.hosts
	w.undo, w.hosts, w.closed = nil, nil, true
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

// onClose has f run by Close, before whatever was registered earlier. In a closed world it runs at once.
func (w *World) onClose(f func() error) error {
	w.mu.Lock()
	if !w.closed {
		w.undo = append(w.undo, f)
		w.mu.Unlock()
		return nil
	}
	w.mu.Unlock()
	return errors.Join(errClosed, f())
}

var errClosed = errors.New("the world is closed")

// Sweep removes the worlds of processes that are no longer alive: their processes, namespaces and temporary files. A
// process that was given the same id by the kernel delays that until it has ended.
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
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	errs = append(errs, err)
	for _, dir := range dirs {
		// The folder for temporary files is everybody's: take away only what root made.
		var st unix.Stat_t
		if unix.Lstat(dir, &st) == nil && st.Uid == 0 && st.Mode&unix.S_IFMT == unix.S_IFDIR && orphaned(dir) {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("sweep old worlds: %w", err)
	}
	return nil
}

// orphaned tells whether the path's name is a world's and the process that made it is gone.
func orphaned(path string) bool {
	rest, ok := strings.CutPrefix(filepath.Base(path), prefix)
	if !ok {
		return false
	}
	word, _, _ := strings.Cut(rest, "-")
	pid, err := strconv.Atoi(word)
	return err == nil && pid > 0 && errors.Is(unix.Kill(pid, 0), unix.ESRCH)
}

// ignoreMissing is for removing what may be gone already.
func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
