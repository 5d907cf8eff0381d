package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"passerelle/appliance/config"
	"passerelle/cmd/internal/box"
	"passerelle/netctl/netlab"
)

// disk is a small file system on its own block device, like a board's card. So writes are measured at the device: with the file
// system's metadata, and without the page cache.
type disk struct {
	dir    string
	device string // its path in /dev
}

// written is the device's write statistics (Documentation/block/stat.rst).
type written struct {
	requests uint64
	bytes    uint64
}

const (
	diskSize   = 64 << 20 // bytes
	sectorSize = 512      // bytes, of the device's statistics
)

// makeDisk creates an ext4 file system on a loop device.
func makeDisk(ctx context.Context, dir string) (d *disk, err error) {
	image := filepath.Join(dir, "image")
	d = &disk{dir: filepath.Join(dir, "state")}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.Create(image)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Truncate(diskSize), f.Close()); err != nil {
		return nil, err
	}
	// Without lazy initialisation, which ext4 would do during the measurement.
	now := "lazy_itable_init=0,lazy_journal_init=0"
	if out, err := exec.CommandContext(ctx, "mkfs.ext4", "-q", "-F", "-E", now, image).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make a file system: %w: %s", err, out)
	}
	out, err := exec.CommandContext(ctx, "losetup", "--find", "--show", image).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("make a block device of a file: %w: %s", err, out)
	}
	d.device = strings.TrimSpace(string(out))
	err = unix.Mount(d.device, d.dir, "ext4", unix.MS_NOATIME, "")
	if err != nil {
		err = fmt.Errorf("mount %s: %w", d.device, err)
	}
	// This detaches lazily: the device goes away when it is no longer mounted anywhere (losetup(8)).
	if out, detachErr := exec.Command("losetup", "--detach", d.device).CombinedOutput(); detachErr != nil {
		err = errors.Join(err, fmt.Errorf("give %s back: %w: %s", d.device, detachErr, out))
	}
	return d, err
}

// close unmounts the disk. It must run after the worlds that were created after the disk are closed, since their hosts see the mount
// too.
func (d *disk) close() error {
	if err := unix.Unmount(d.dir, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", d.dir, err)
	}
	return nil
}

// sync writes the file system's dirty pages to the device.
func (d *disk) sync() error {
	f, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", d.dir, err)
	}
	return nil
}

// written reads what has been written to the device so far.
func (d *disk) written() (w written, err error) {
	path := filepath.Join("/sys/block", filepath.Base(d.device), "stat")
	text, err := os.ReadFile(path)
	if err != nil {
		return w, err
	}
	fields := strings.Fields(string(text))
	if len(fields) < 7 {
		return w, fmt.Errorf("read %s: %q", path, text)
	}
	requests, err := strconv.ParseUint(fields[4], 10, 64)
	if err != nil {
		return w, fmt.Errorf("read %s: %w", path, err)
	}
	sectors, err := strconv.ParseUint(fields[6], 10, 64)
	if err != nil {
		return w, fmt.Errorf("read %s: %w", path, err)
	}
	return written{requests, sectors * sectorSize}, nil
}

// writeLoad is a daemon on its own disk, with a load that uses up its cap.
type writeLoad struct {
	name   string
	cap    config.Size
	idle   bool
	sums   string // as in the ledger's package comment
	disk   *disk
	daemon *daemon

	grants  int // grants between the first and the last that were seen
	took    time.Duration
	written written
}

// The line that the ledger's sums assume: 25 Mbit/s, of which residents use 20 down.
const (
	sharedDown = config.Rate(20e6)
	sharedUp   = config.Rate(5e6)
)

// flash measures at the block device what the daemon writes.
func flash(ctx context.Context, b *bench) (rows []row, err error) {
	all := []*writeLoad{
		{name: "idle", cap: 200e9, idle: true, sums: "nothing"},
		{name: "20 Mbit/s of a cap of 2 GB", cap: 2e9, sums: "1,150 writes, 14 MB; 3.1 MB for the cap"},
		{name: "20 Mbit/s of a cap of 200 GB", cap: 200e9, sums: "34 writes, 0.4 MB; 9.2 MB for the cap"},
	}
	if out, err := exec.CommandContext(ctx, "losetup", "--find").CombinedOutput(); err != nil {
		why := fmt.Sprintf("not measured, there is no loop device: %v: %s", err, bytes.TrimSpace(out))
		return []row{{what: "written to flash", measured: why}}, nil
	}
	if b.quick {
		all = all[:2] // a tranche of 200 GB lasts 107 s
	}
	dir, err := os.MkdirTemp("", "passerelle-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for i, s := range all {
		if s.disk, err = makeDisk(ctx, filepath.Join(dir, strconv.Itoa(i))); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.disk.close()) }()
	}
	for _, s := range all {
		// No limits for residents: only the line and the cap limit the one who downloads.
		s.daemon, err = b.startDaemon(ctx, netlab.Options{Residents: 1, Direct: true, NoOffload: true}, box.Setup{
			Limits:   "download = \"0\"\nupload = \"0\"\ndata = \"0\"",
			Donation: fmt.Sprintf("download = %q\nupload = %q\ncap = %q", sharedDown, sharedUp, s.cap),
			State:    s.disk.dir,
		})
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.daemon.Close()) }()
	}
	var together errgroup.Group
	for _, s := range all {
		together.Go(func() error {
			if err := s.run(ctx, b); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			return nil
		})
	}
	if err := together.Wait(); err != nil {
		return nil, err
	}
	for _, s := range all {
		rows = append(rows, s.row())
	}
	return rows, nil
}

// run runs the load and measures.
func (s *writeLoad) run(ctx context.Context, b *bench) error {
	r := s.daemon.Residents[0]
	if err := r.Do(func() error { return askOnce(portalAddress, pressButton, "HTTP/1.1 303") }); err != nil {
		return err
	}
	if s.idle {
		// The file system may still have to write what belongs to the start: that is not the idle daemon's.
		if err := s.disk.sync(); err != nil {
			return err
		}
		start := time.Now()
		before, err := s.disk.written()
		if err != nil {
			return err
		}
		if err := sleep(ctx, orQuick(b, time.Minute, 20*time.Second)); err != nil {
			return err
		}
		return s.since(start, before)
	}
	transfer, err := netlab.Bulk{From: r.Host, To: s.daemon.Internet.Host, Addr: netlab.WebAddr, Reverse: true}.Start(ctx)
	if err != nil {
		return err
	}
	return errors.Join(s.follow(ctx, b, transfer), transfer.Stop())
}

// follow measures from one grant to another, at least one tranche and for a minimum time, so that it measures whole tranches.
func (s *writeLoad) follow(ctx context.Context, b *bench, t *netlab.Transfer) error {
	least := orQuick(b, time.Minute, 20*time.Second)
	var start time.Time
	var before written
	var held uint64
	for first := true; ; first = false {
		now, err := s.daemon.Status(ctx)
		if err != nil {
			return err
		}
		granted := now.Donations[0].Granted
		switch {
		case first || granted <= held:
		case start.IsZero():
			start = time.Now()
			if before, err = s.disk.written(); err != nil {
				return err
			}
		default:
			s.grants++
			if time.Since(start) >= least {
				return s.since(start, before)
			}
		}
		held = granted
		select {
		case <-t.Done():
			return errors.New("nothing is spent any more")
		default:
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

func (s *writeLoad) since(start time.Time, before written) error {
	after, err := s.disk.written()
	s.took = time.Since(start)
	s.written = written{after.requests - before.requests, after.bytes - before.bytes}
	return err
}

// row extrapolates the figures to an hour.
func (s *writeLoad) row() row {
	seen := fmt.Sprintf("%d requests, %d kB in %.0f s", s.written.requests, s.written.bytes>>10, s.took.Seconds())
	r := row{what: "written to flash, " + s.name, measured: seen, beside: "the ledger's sums, an hour: " + s.sums}
	if s.idle {
		r.target, r.met = "nothing", verdictOf(s.written == written{})
		return r
	}
	hour := time.Hour.Seconds() / s.took.Seconds()
	// An hour at that rate, and the number of hours that the cap lasts.
	hours := float64(s.cap) * 8 / float64(sharedDown) / time.Hour.Seconds()
	mb := float64(s.written.bytes) * hour / 1e6
	r.measured = fmt.Sprintf("an hour: %.0f tranches, %.1f MB in %.0f requests; the whole cap: %.1f MB "+
		"(extrapolated from %d tranches, %s)",
		float64(s.grants)*hour, mb, float64(s.written.requests)*hour, mb*hours, s.grants, seen)
	return r
}
