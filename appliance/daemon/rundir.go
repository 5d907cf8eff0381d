package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"passerelle/appliance"
	"passerelle/appliance/clock"
	"passerelle/appliance/plan"
	"passerelle/appliance/private"
)

const (
	// HandoverTTL is how long after a stop the next daemon can restore sessions and leases.
	HandoverTTL = 5 * time.Minute
	// lockTimeout is how long a daemon waits for the lock, which forget holds for a moment.
	lockTimeout = time.Second
	// runMode lets dnsmasq reach its own folder, but lets nobody list the run directory.
	runMode = 0o711
)

func (p paths) lockPath() string         { return filepath.Join(p.runDir(), "lock") }
func (p paths) runtimeStatePath() string { return filepath.Join(p.runDir(), "kept.json") }
func (p paths) handoverPath() string     { return filepath.Join(p.runDir(), "sessions.json") }

// claimRunDir locks the run directory, so that only one daemon runs, and removes files of an earlier boot from it.
func (d *Daemon) claimRunDir(ctx context.Context) (unlock func(), err error) {
	if err := private.Folder(d.runDir(), runMode); err != nil {
		err = fmt.Errorf("create run directory: %w", err)
		if errors.Is(err, private.ErrUnsafe) {
			return nil, InputError{err} // permanent
		}
		return nil, err
	}
	f, err := d.lock(ctx)
	if err != nil {
		return nil, err
	}
	if err := d.clearStale(f); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

func (d *Daemon) lock(ctx context.Context) (*os.File, error) {
	for deadline := time.Now().Add(lockTimeout); ; {
		f, err := private.Lock(d.lockPath())
		switch {
		case err == nil:
			return f, nil
		case !errors.Is(err, private.ErrLocked):
			return nil, fmt.Errorf("take the lock: %w", err)
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case time.Now().After(deadline):
			return nil, fmt.Errorf("another passerelle is already running (it holds %s): stop it first, or see passerelle status", d.lockPath())
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// clearStale sets the run directory's mode, since it may have been created by hand, and forgets residents of another boot. The
// lock file holds the boot's ID.
func (d *Daemon) clearStale(lock *os.File) error {
	if info, err := os.Stat(d.runDir()); err != nil || info.Mode().Perm() != runMode {
		if err = errors.Join(err, os.Chmod(d.runDir(), runMode)); err != nil {
			return fmt.Errorf("set mode of run directory: %w", err)
		}
	}
	boot, err := io.ReadAll(lock)
	if err != nil {
		return fmt.Errorf("read the lock: %w", err)
	}
	if string(boot) == bootID() {
		return nil
	}
	if err := d.forgetResidents(); err != nil {
		return err
	}
	if err := errors.Join(lock.Truncate(0), writeAt(lock, bootID())); err != nil {
		d.log.Warn("the next start will not restore this daemon's leases", "error", err)
	}
	return nil
}

func writeAt(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

// remaining returns how much longer a handover is valid, given its lifetime: zero or less if it has expired, or is of another
// boot or of the future.
func (a handoverFile) remaining(ttl time.Duration) time.Duration {
	elapsed := clock.SinceBoot() - a.At
	if a.Boot != bootID() || elapsed < 0 {
		return 0
	}
	return ttl - elapsed
}

// readHandover reads the handover. The error is fs.ErrNotExist if there is none: no daemon has run, one runs, or it crashed.
func (p paths) readHandover() (a handoverFile, err error) {
	if _, err := os.Lstat(p.handoverPath()); err != nil {
		return a, err
	}
	return a, readJSON(p.handoverPath(), &a)
}

// forgetResidents removes the files about residents. The handover goes last: while it exists, a process waits to remove it.
func (p paths) forgetResidents() error {
	for _, path := range []string{plan.Leases(p.runDir()), p.handoverPath()} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget residents: %w", err)
		}
	}
	return nil
}

// scheduleForget starts a process that outlives this one and removes the files about residents after HandoverTTL, unless a daemon
// has restored them by then. It is called only at an orderly stop: a killed daemon leaves dnsmasq running with its leases, and
// sessions in the kernel, and a process that waits for that would cost a small board memory all the time.
//
// A service manager that made the folder removes it when the service stops, and kills the service's processes
// (RUNTIME_DIRECTORY in systemd.exec(5)).
func (p paths) scheduleForget(log *slog.Logger) {
	if _, err := os.Lstat(p.handoverPath()); err != nil {
		return
	}
	if slices.Contains(filepath.SplitList(os.Getenv("RUNTIME_DIRECTORY")), p.runDir()) {
		return
	}
	cmd := exec.Command("/proc/self/exe", "forget", "--socket", p.socket)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		log.Warn("residents' leases cannot be removed after a delay", "error", errors.Join(err, p.forgetResidents()))
	}
}

// ForgetAfter removes the files about residents when the duration has passed since the daemon's end. It returns early when a daemon
// has restored the handover, or the run directory is removed. socket is the daemon's.
func ForgetAfter(ctx context.Context, socket string, after time.Duration) error {
	p := paths{socket: socket}
	for ctx.Err() == nil {
		changed, err := watch(p.handoverPath())
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		left, err := p.forgetExpired(after)
		if err != nil || left <= 0 {
			changed.Close()
			return err
		}
		stop := context.AfterFunc(ctx, func() { changed.Close() })
		changed.SetReadDeadline(time.Now().Add(left))
		changed.Read(make([]byte, unix.SizeofInotifyEvent)) // any event: check again
		stop()
		changed.Close()
	}
	return nil
}

// forgetExpired forgets residents if the handover has expired, and returns the time until it does, 0 for done.
func (p paths) forgetExpired(after time.Duration) (left time.Duration, err error) {
	a, err := p.readHandover()
	if left := a.remaining(after); err == nil && left > 0 {
		return left, nil
	}
	f, err := private.Lock(p.lockPath())
	if errors.Is(err, private.ErrLocked) { // a daemon has the lock: it starts, and will remove the handover
		return time.Second, nil
	}
	if err != nil {
		return 0, fmt.Errorf("forget residents: %w", err)
	}
	defer f.Close()
	a, err = p.readHandover() // another daemon may have run meanwhile
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if left := a.remaining(after); err == nil && left > 0 {
		return left, nil
	}
	return 0, p.forgetResidents()
}

// watch returns an inotify file that becomes readable once the file at path has been written or removed.
func watch(path string) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_CLOSE_WRITE|unix.IN_ATTRIB|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF); err != nil {
		f.Close()
		return nil, fmt.Errorf("watch %s: %w", path, err)
	}
	return f, nil
}

// The daemon's files in the run directory. They are valid for one boot of the machine.
type (
	runtimeStateFile struct {
		Boot  string                 `json:"boot"`
		State appliance.RuntimeState `json:"kept"`
	}
	handoverFile struct {
		Boot string        `json:"boot"`
		At   time.Duration `json:"at"` // since boot
		appliance.Handover
	}
)

func (d *Daemon) saveState(k appliance.RuntimeState) error {
	return writeJSON(d.runtimeStatePath(), runtimeStateFile{Boot: bootID(), State: k})
}

func (d *Daemon) loadState() appliance.RuntimeState {
	var f runtimeStateFile
	if err := readJSON(d.runtimeStatePath(), &f); err != nil {
		d.log.Warn("saved state cannot be read: starting without it", "error", err)
		return appliance.RuntimeState{}
	}
	if f.Boot != bootID() {
		return appliance.RuntimeState{}
	}
	return f.State
}

// writeHandover writes the handover for a daemon that starts soon. Like the leases it holds residents' addresses, so it is
// only in memory, for this boot and for HandoverTTL. An empty one still dates the leases.
func (d *Daemon) writeHandover(a appliance.Handover) error {
	err := writeJSON(d.handoverPath(), handoverFile{Boot: bootID(), At: clock.SinceBoot(), Handover: a})
	if err != nil {
		err = errors.Join(err, d.forgetResidents()) // without the handover the leases' age would be unknown
	}
	return err
}

// loadHandover returns the handover, and forgets residents if it has expired.
func (d *Daemon) loadHandover() (a appliance.Handover) {
	f, err := d.readHandover()
	if errors.Is(err, fs.ErrNotExist) {
		return a
	}
	if left := f.remaining(HandoverTTL); err == nil && left > 0 {
		return f.After(HandoverTTL - left)
	}
	if err = errors.Join(err, d.forgetResidents()); err != nil {
		d.log.Warn("sessions of the last daemon cannot be restored", "error", err)
	}
	return a
}

// removeHandover removes the handover, once it has been restored.
func (d *Daemon) removeHandover() error {
	if err := os.Remove(d.handoverPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove handover: %w", err)
	}
	return nil
}

func writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	// The temporary file is in the same folder, not in /tmp: a killed daemon's is removed with the others.
	if err := renameio.WriteFile(path, b, 0o600, renameio.WithTempDir(filepath.Dir(path))); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// readJSON leaves v unchanged if there is no such file.
func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// bootID identifies this boot of the machine (Documentation/admin-guide/sysctl/kernel.rst).
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}
