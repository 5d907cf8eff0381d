package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"passerelle/appliance/clock"
	"passerelle/appliance/private"
	"passerelle/netctl/plan"
)

const (
	// asideFor is how long after a stop there is still what the next daemon goes on from: sessions and leases.
	asideFor = 5 * time.Minute
	// lockPatience is how long a daemon waits for the lock, which forget holds for a moment.
	lockPatience = time.Second
	// runMode lets dnsmasq through to its own folder, and nobody see what else there is.
	runMode = 0o711
)

func (p paths) lockPath() string  { return filepath.Join(p.runDir(), "lock") }
func (p paths) keptPath() string  { return filepath.Join(p.runDir(), "kept.json") }
func (p paths) asidePath() string { return filepath.Join(p.runDir(), "sessions.json") }

// takeMemory makes sure that one daemon at a time drives the box, and that what is in its folder in memory is its own
// and of this boot of the machine.
func (d *daemon) takeMemory(ctx context.Context) (unlock func(), err error) {
	if err := private.Folder(d.runDir(), runMode); err != nil {
		err = fmt.Errorf("make the folder in memory: %w", err)
		if errors.Is(err, private.ErrUnsafe) {
			return nil, wrong{err} // that doesn't mend itself
		}
		return nil, err
	}
	f, err := d.lock(ctx)
	if err != nil {
		return nil, err
	}
	if err := d.clear(f); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

func (d *daemon) lock(ctx context.Context) (*os.File, error) {
	for deadline := time.Now().Add(lockPatience); ; {
		f, err := private.Lock(d.lockPath())
		switch {
		case err == nil:
			return f, nil
		case !errors.Is(err, private.ErrLocked):
			return nil, fmt.Errorf("take the lock: %w", err)
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case time.Now().After(deadline):
			return nil, fmt.Errorf("another passerelle runs already (it holds %s): stop that one first, or see passerelle status", d.lockPath())
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// clear hides the folder's names from others, as it may have been made by hand, and forgets what another boot left. The
// lock's file names the boot.
func (d *daemon) clear(lock *os.File) error {
	if info, err := os.Stat(d.runDir()); err != nil || info.Mode().Perm() != runMode {
		if err = errors.Join(err, os.Chmod(d.runDir(), runMode)); err != nil {
			return fmt.Errorf("hide the folder in memory: %w", err)
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
		d.log.Warn("the next start will not go on from this daemon's leases", "error", err)
	}
	return nil
}

func writeAt(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

// left returns for how much longer what was set aside holds, if it does for so long in all: zero or less for what is
// older, of another boot, or of a time to come.
func (a asideFile) left(whole time.Duration) time.Duration {
	elapsed := clock.SinceBoot() - a.At
	if a.Boot != bootID() || elapsed < 0 {
		return 0
	}
	return whole - elapsed
}

// readAside reads what was set aside. The error is fs.ErrNotExist if nothing is: no daemon has run, one runs, or it
// crashed.
func (p paths) readAside() (a asideFile, err error) {
	if _, err := os.Lstat(p.asidePath()); err != nil {
		return a, err
	}
	return a, readJSON(p.asidePath(), &a)
}

// forgetResidents removes what tells who was there. What was set aside goes last: as long as it is there, somebody sees
// to it.
func (p paths) forgetResidents() error {
	for _, path := range []string{plan.Leases(p.runDir()), p.asidePath()} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget residents: %w", err)
		}
	}
	return nil
}

// forgetLater has another process forget residents in five minutes, if no daemon has gone on from them by then. It
// outlives this one. It begins with the end of a daemon that had time to say so: one that was killed leaves a dnsmasq
// that goes on with the leases, and sessions that go on in the kernel; and a second process that waited beside each
// daemon for such an end would cost a small board memory all the time.
//
// Where a service manager made the folder, it removes it when the service stops, and ends what the service started
// (RUNTIME_DIRECTORY in systemd.exec(5)).
func (p paths) forgetLater(log *slog.Logger) {
	if _, err := os.Lstat(p.asidePath()); err != nil {
		return
	}
	if slices.Contains(filepath.SplitList(os.Getenv("RUNTIME_DIRECTORY")), p.runDir()) {
		return
	}
	cmd := exec.Command("/proc/self/exe", "forget", "--socket", p.socket)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		log.Warn("residents' leases stay in memory until the next start", "error", errors.Join(err, p.forgetResidents()))
	}
}

// forget is the process that forgetLater starts. It ends when a daemon has taken up what was set aside, or its folder is
// removed.
func forget(ctx context.Context, c *cli, args []string) error {
	var p paths
	var after time.Duration
	if _, err := c.flags("forget", args, 0, func(f *flag.FlagSet) {
		f.StringVar(&p.socket, "socket", defaultSocket, "the daemon's control socket")
		f.DurationVar(&after, "after", asideFor, "how long after the daemon's end")
	}); err != nil {
		return err
	}
	for ctx.Err() == nil {
		changed, err := watch(p.asidePath())
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		left, err := p.forgetOld(after)
		if err != nil || left <= 0 {
			changed.Close()
			return err
		}
		stop := context.AfterFunc(ctx, func() { changed.Close() })
		changed.SetReadDeadline(time.Now().Add(left))
		changed.Read(make([]byte, unix.SizeofInotifyEvent)) // whatever it says, all is seen to again
		stop()
		changed.Close()
	}
	return nil
}

// forgetOld forgets residents if what was set aside is old, and returns how long it is until then, 0 for done.
func (p paths) forgetOld(after time.Duration) (left time.Duration, err error) {
	a, err := p.readAside()
	if left := a.left(after); err == nil && left > 0 {
		return left, nil
	}
	f, err := private.Lock(p.lockPath())
	if errors.Is(err, private.ErrLocked) { // by a daemon that starts and will take it away
		return time.Second, nil
	}
	if err != nil {
		return 0, fmt.Errorf("forget residents: %w", err)
	}
	defer f.Close()
	a, err = p.readAside() // another daemon may have come and gone
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if left := a.left(after); err == nil && left > 0 {
		return left, nil
	}
	return 0, p.forgetResidents()
}

// watch opens a file from which something can be read once the file at path has been written or removed.
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
