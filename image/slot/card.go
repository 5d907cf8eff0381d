package slot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// offsets are the offsets of the two copies on the card, in bytes: before the first partition.
var offsets = [2]int64{1 << 20, 2 << 20}

// ErrNone says that the machine has no slots.
var ErrNone = errors.New("this machine has no slots: it was not started from the card of Passerelle's image")

// Card is the card that the machine was started from.
type Card struct {
	Running Name   // the slot that was booted
	Device  string // the whole card, such as /dev/mmcblk0
}

// option is the kernel command line option with which the boot script passes the slot that it booted.
const option = "passerelle.slot="

// Running returns the slot that was booted, from a file system with /proc. The error is ErrNone if the machine has no slots.
func Running(root fs.FS) (Name, error) {
	text, err := fs.ReadFile(root, "proc/cmdline")
	if err != nil {
		return "", fmt.Errorf("find the slot: %w", err)
	}
	running := Name("")
	for word := range strings.FieldsSeq(string(text)) {
		if value, found := strings.CutPrefix(word, option); found {
			running = Name(value) // the last one counts, as in the kernel
		}
	}
	switch {
	case running == "":
		return "", ErrNone
	case !running.valid():
		return "", fmt.Errorf("find the slot: the kernel was started with %s%s", option, running)
	}
	return running, nil
}

// mountPoints are mount points of the card's partitions. The root's own device may be in memory (overlay).
var mountPoints = []string{"/", "/boot/firmware", "/data"}

// Find returns the card, from a file system with /proc and /sys. The error is ErrNone if the machine has no slots.
func Find(root fs.FS) (c Card, err error) {
	if c.Running, err = Running(root); err != nil {
		return c, err
	}
	mounts, err := fs.ReadFile(root, "proc/self/mountinfo")
	if err != nil {
		return c, fmt.Errorf("find the card: %w", err)
	}
	for _, point := range mountPoints {
		for line := range strings.Lines(string(mounts)) {
			words := strings.Fields(line) // proc_pid_mountinfo(5)
			if len(words) < 5 || words[4] != point {
				continue
			}
			// .../block/mmcblk0/mmcblk0p2, which has a file "partition" with the partition's number
			link, err := fs.ReadLink(root, "sys/dev/block/"+words[2])
			if err != nil {
				continue // not on a block device
			}
			if _, err := fs.Stat(root, path.Join("sys/dev/block", link, "partition")); err == nil {
				c.Device = "/dev/" + path.Base(path.Dir(link))
				return c, nil
			}
		}
	}
	return c, fmt.Errorf("find the card: none of %s is on a partition", strings.Join(mountPoints, ", "))
}

// partition returns the device of a slot.
func (c Card) partition(n Name) string {
	separator := ""
	if last := c.Device[len(c.Device)-1]; last >= '0' && last <= '9' {
		separator = "p"
	}
	return fmt.Sprintf("%s%s%d", c.Device, separator, n.Partition())
}

// Open opens the partition of a slot.
func (c Card) Open(n Name, flag int) (*os.File, error) {
	f, err := os.OpenFile(c.partition(n), flag, 0)
	if err != nil {
		return nil, fmt.Errorf("open slot %s: %w", n, err)
	}
	return f, nil
}

// headSize is how many bytes of a slot are read to see whether it has a file system: every file system has its header there.
const headSize = 64 << 10

// Empty tells whether a slot is empty, because nothing was ever installed in it.
func (c Card) Empty(n Name) (bool, error) {
	f, err := c.Open(n, os.O_RDONLY)
	if err != nil {
		return false, err
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, headSize))
	if err != nil {
		return false, fmt.Errorf("look into slot %s: %w", n, err)
	}
	return len(bytes.Trim(head, "\x00")) == 0, nil
}

// Read returns the state on the card, and how many of its two copies are valid. If none is, it returns the state that the boot
// script assumes then, and no error. An error means that the card cannot be read.
func (c Card) Read() (s State, copies int, err error) {
	f, err := os.Open(c.Device)
	if err != nil {
		return s, 0, fmt.Errorf("read the slot state: %w", err)
	}
	defer f.Close()
	read, err := readCopies(f)
	if err != nil {
		return s, 0, fmt.Errorf("read the slot state of %s: %w", c.Device, err)
	}
	s, _, copies = hold(read)
	return s, copies, nil
}

// Update changes the state on the card, and returns the new state once it is on the card. A state that does not change is not
// written. After an error the card has either the old state or the new one.
func (c Card) Update(change func(State) State) (State, error) {
	f, err := os.OpenFile(c.Device, os.O_RDWR|unix.O_SYNC, 0)
	if err != nil {
		return State{}, fmt.Errorf("write the slot state: %w", err)
	}
	s, err := State{}, unix.Flock(int(f.Fd()), unix.LOCK_EX)
	if err == nil {
		s, err = update(f, change)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return State{}, fmt.Errorf("write the slot state of %s: %w", c.Device, err)
	}
	return s, nil
}

// disk is a card, or a test's replacement.
type disk interface {
	io.ReaderAt
	io.WriterAt
}

func readCopies(d io.ReaderAt) (copies [2][]byte, err error) {
	for i := range copies {
		copies[i] = make([]byte, Size)
		if _, err := d.ReadAt(copies[i], offsets[i]); err != nil {
			return copies, err
		}
	}
	return copies, nil
}

// update writes the changed state over the copy that is not in effect, and reads it back.
func update(d disk, change func(State) State) (State, error) {
	copies, err := readCopies(d)
	if err != nil {
		return State{}, err
	}
	now, next, known := hold(copies)
	s := change(now)
	if s == now && known > 0 {
		return now, nil
	}
	s = s.written()
	text, err := Format(s)
	if err != nil {
		return State{}, err
	}
	if _, err := d.WriteAt(text, offsets[next]); err != nil {
		return State{}, err
	}
	back := make([]byte, Size)
	if _, err := d.ReadAt(back, offsets[next]); err != nil {
		return State{}, err
	}
	if !bytes.Equal(back, text) {
		return State{}, errors.New("the card does not keep what is written")
	}
	return s, nil
}
