// Package stick keeps backups on USB sticks. It owns how a stick is found, mounted and marked, and the names of the files on it. It
// writes a file so that a power cut, or pulling out the stick, leaves the earlier files intact. It also owns the requests that the
// daemon sends for this, because the daemon may not mount anything (see [Server]). It must not know what is in a backup.
//
// A stick is a partition of a USB drive, or a whole drive without partitions, with a FAT or exFAT file system. Its folder
// "passerelle" contains
//
//	stick.json                  the mark: which box's backups it keeps
//	000007-2026-12-01.backup    the backups; their numbers increase, even while the date is not known
//	writing.tmp                 the file that is being written
//
// Everything else on the stick stays as it is. The stick is mounted only during a request, so that it may be pulled out at any other
// time. If it is pulled out while a backup is written, only that backup is lost.
package stick

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// Limits. A stick may be damaged or malicious.
const (
	Keep       = 10          // backups on a stick
	MaxFile    = 300_000_000 // bytes of a backup
	maxSticks  = 8           // partitions that are read
	maxEntries = 1000        // entries of the folder that are read
	maxMark    = 4 << 10     // bytes of the mark
	maxText    = 100         // characters of a name in the mark
	lastNumber = 999_999
)

// Names on a stick.
const (
	folder   = "passerelle"
	markName = "stick.json"
	tempName = "writing.tmp"
)

// Code is why a stick cannot be used.
type Code string

// The codes.
const (
	Absent     Code = "absent"      // it is not plugged in, or was pulled out
	Busy       Code = "busy"        // another request is using a stick, or the device is in use
	Damaged    Code = "damaged"     // it does not keep what is written, or cannot be read
	Failed     Code = "failed"      // another error
	FileSystem Code = "file-system" // it has neither FAT nor exFAT
	Foreign    Code = "foreign"     // it is not marked for this box
	Full       Code = "full"        // it is full even if only its last backup is left
	ReadOnly   Code = "read-only"
	Slow       Code = "slow"  // the request timed out
	again      Code = "again" // old backups were removed: the backup may fit now
)

// Error is why a stick cannot be used.
type Error struct {
	Code Code   `json:"code"`
	Text string `json:"text"`
}

func (e *Error) Error() string { return e.Text }

// Mark says whose backups a stick keeps.
type Mark struct {
	Box    string `json:"box"`    // an identifier that the box generated
	Centre string `json:"centre"` // the box's name, from its configuration
}

// Stick is a stick that is plugged in.
type Stick struct {
	Device  string `json:"device"`          // such as "sda1"
	Mark    Mark   `json:"mark"`            // zero if it has no mark
	Size    uint64 `json:"size"`            // bytes
	Free    uint64 `json:"free"`            // bytes
	Backups []File `json:"backups"`         // the newest first
	Wrong   *Error `json:"wrong,omitempty"` // why it cannot be read
}

// File is a backup on a stick.
type File struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

// fileName matches the names of backups: a number, and the date according to the box's clock.
var fileName = regexp.MustCompile(`^([0-9]{6})-([0-9]{4}-[0-9]{2}-[0-9]{2})\.backup$`)

// Date returns the date in the name of a backup. ok is false if the name has no valid date.
func (f File) Date() (t time.Time, ok bool) {
	found := fileName.FindStringSubmatch(f.Name)
	if found == nil {
		return t, false
	}
	t, err := time.Parse(time.DateOnly, found[2])
	return t, err == nil
}

func (f File) number() int {
	n, _ := strconv.Atoi(f.Name[:6]) // fileName matches it
	return n
}

// codeOf returns why a request failed.
func codeOf(err error) Code {
	var known *Error
	switch {
	case errors.As(err, &known):
		return known.Code
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EFBIG), errors.Is(err, unix.EDQUOT):
		return Full
	case errors.Is(err, unix.EROFS), errors.Is(err, unix.EACCES):
		return ReadOnly
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENOMEDIUM):
		return Absent
	case errors.Is(err, unix.EIO), errors.Is(err, unix.EUCLEAN):
		return Damaged
	case errors.Is(err, unix.EBUSY):
		return Busy
	case errors.Is(err, os.ErrDeadlineExceeded):
		return Slow
	}
	return Failed
}

// asError returns an error of a request, nil for none.
func asError(err error) *Error {
	if err == nil {
		return nil
	}
	return &Error{codeOf(err), err.Error()}
}

// Devices returns the names of the partitions of USB drives that may be sticks, from a file system with /sys and /proc. It leaves
// out drives that the machine itself uses, such as the one with its root.
func Devices(machine fs.FS) (names []string) {
	entries, err := fs.ReadDir(machine, "sys/class/block")
	if err != nil {
		return nil
	}
	type block struct{ name, disk, number string }
	var all []block
	split := map[string]bool{} // disks with partitions
	for _, e := range entries {
		to, err := fs.ReadLink(machine, path.Join("sys/class/block", e.Name()))
		if err != nil || !strings.Contains(to, "/usb") {
			continue
		}
		b := block{name: e.Name(), disk: e.Name()}
		if _, err := fs.Stat(machine, path.Join("sys/class/block", e.Name(), "partition")); err == nil {
			b.disk = path.Base(path.Dir(to))
			split[b.disk] = true
		}
		if size, err := fs.ReadFile(machine, path.Join("sys/class/block", e.Name(), "size")); err != nil || strings.TrimSpace(string(size)) == "0" {
			continue // a card reader without a card
		}
		number, err := fs.ReadFile(machine, path.Join("sys/class/block", e.Name(), "dev"))
		if err != nil {
			continue
		}
		b.number = strings.TrimSpace(string(number))
		all = append(all, b)
	}
	used := usedNumbers(machine)
	ours := map[string]bool{}
	for _, b := range all {
		ours[b.disk] = ours[b.disk] || used[b.number]
	}
	for _, b := range all {
		if !ours[b.disk] && (b.name != b.disk || !split[b.disk]) && len(names) < maxSticks {
			names = append(names, b.name)
		}
	}
	return names
}

// usedNumbers returns the numbers of the mounted devices (proc_pid_mountinfo(5)), except those mounted where desktops mount sticks.
func usedNumbers(machine fs.FS) map[string]bool {
	used := map[string]bool{}
	text, _ := fs.ReadFile(machine, "proc/self/mountinfo")
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		at := f[4]
		below := func(dir string) bool { return at == dir || strings.HasPrefix(at, dir+"/") }
		if !below("/media") && !below("/run/media") && !below("/mnt") {
			used[f[2]] = true
		}
	}
	return used
}

// drive is a mounted stick.
type drive struct{ *os.Root }

// read returns what is on the stick.
func (d drive) read(s *Stick) error {
	var room unix.Statfs_t
	if err := unix.Statfs(d.Name(), &room); err == nil && room.Bsize > 0 {
		s.Size, s.Free = room.Blocks*uint64(room.Bsize), room.Bavail*uint64(room.Bsize)
	}
	var err error
	if s.Mark, err = d.mark(); err != nil {
		return err
	}
	s.Backups, err = d.backups()
	slices.Reverse(s.Backups)
	return err
}

// open opens a regular file for reading. It does not block on other kinds of files, such as FIFOs.
func (d drive) open(name string) (*os.File, error) {
	f, err := d.OpenFile(path.Join(folder, name), os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, cmp.Or(err, error(&Error{Failed, name + " is no file"}))
	}
	return f, nil
}

// mark returns the mark, zero if there is none or it is damaged.
func (d drive) mark() (m Mark, err error) {
	f, err := d.open(markName)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxMark))
	if err != nil {
		return m, err
	}
	if json.Unmarshal(text, &m) != nil {
		return Mark{}, nil
	}
	m.Box, m.Centre = plain(m.Box), plain(m.Centre)
	return m, nil
}

// plain returns the text without unprintable characters, cut to maxText characters.
func plain(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, text)
	if all := []rune(text); len(all) > maxText {
		text = string(all[:maxText])
	}
	return text
}

// backups returns the backups, the oldest first.
func (d drive) backups() (all []File, err error) {
	dir, err := d.Open(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return []File{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(maxEntries)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	all = []File{}
	for _, e := range entries {
		if !e.Type().IsRegular() || !fileName.MatchString(e.Name()) {
			continue
		}
		if info, err := e.Info(); err == nil && info.Size() > 0 && info.Size() <= MaxFile {
			all = append(all, File{e.Name(), info.Size()})
		}
	}
	slices.SortFunc(all, func(a, b File) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// setMark writes the stick's mark. Existing backups stay.
func (d drive) setMark(m Mark) error {
	if err := d.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return d.put(markName, strings.NewReader(string(text)+"\n"), maxMark)
}

// put writes a temporary file, reads it back from the stick to verify it, and renames it.
func (d drive) put(name string, from io.Reader, most int64) (err error) {
	temp := path.Join(folder, tempName)
	if err := d.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := d.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		f.Close()
		if err != nil {
			d.Remove(temp) // if this fails, the next call of put removes it
		}
	}()
	written := newSum()
	n, err := io.Copy(io.MultiWriter(f, written), io.LimitReader(from, most+1))
	switch {
	case err != nil:
		return err
	case n > most:
		return &Error{Failed, fmt.Sprintf("it has more than %d bytes", most)}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	// A stick that claims to be larger than it is loses data without an error.
	kept := newSum()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return err
	}
	if _, err := io.Copy(kept, io.NewSectionReader(f, 0, n)); err != nil {
		return err
	}
	if string(written.Sum(nil)) != string(kept.Sum(nil)) {
		return &Error{Damaged, "the stick does not keep what is written to it"}
	}
	return errors.Join(d.Rename(temp, path.Join(folder, name)), d.sync())
}

// sync flushes everything that was written to the stick.
func (d drive) sync() error {
	dir, err := d.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return &fs.PathError{Op: "sync", Path: d.Name(), Err: err}
	}
	return nil
}

// write writes a backup of the box, and returns the backup's name. The stick must be marked for the box. If the stick was full and
// older backups were removed, the error's code is again.
func (d drive) write(box, date string, from io.Reader) (string, error) {
	m, err := d.mark()
	if err != nil {
		return "", err
	}
	if box == "" || m.Box != box {
		return "", &Error{Foreign, "the stick is not marked for this box"}
	}
	all, err := d.backups()
	if err != nil {
		return "", err
	}
	number := 1
	if len(all) > 0 {
		number = all[len(all)-1].number() + 1
	}
	name := fmt.Sprintf("%06d-%s.backup", number, date)
	if number > lastNumber || !fileName.MatchString(name) {
		return "", &Error{Failed, fmt.Sprintf("%q is no name of a backup", name)}
	}
	if err := d.put(name, from, MaxFile); err != nil {
		if codeOf(err) == Full && len(all) > 1 {
			return "", cmp.Or(d.remove(all[:len(all)-1]), error(&Error{again, err.Error()}))
		}
		return "", err
	}
	// The new backup is on the stick. If an old one cannot be removed, that does no harm.
	return name, d.remove(all[:max(0, len(all)+1-Keep)])
}

// remove removes backups.
func (d drive) remove(all []File) error {
	for _, f := range all {
		if err := d.Remove(path.Join(folder, f.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if len(all) == 0 {
		return nil
	}
	return d.sync()
}

// Mounter mounts a device by its name, and returns the folder where it is mounted until unmount is called.
type Mounter func(device string, writable bool) (at string, unmount func() error, err error)

// types are the file systems of sticks, in the order in which they are tried.
var types = []string{"vfat", "exfat"}

// MountIn returns a Mounter that mounts devices in a folder, which must have no other use. It needs CAP_SYS_ADMIN.
func MountIn(dir string) Mounter {
	return func(device string, writable bool) (string, func() error, error) {
		at := filepath.Join(dir, "stick")
		if err := os.Mkdir(at, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", nil, err
		}
		err := mount(filepath.Join("/dev", device), at, writable, types)
		return at, func() error { return unmount(at) }, err
	}
}

func mount(device, at string, writable bool, types []string) (err error) {
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME)
	if !writable {
		flags |= unix.MS_RDONLY
	}
	for _, kind := range types {
		options := ""
		if kind == "vfat" || kind == "exfat" {
			options = "umask=0077,errors=remount-ro"
		}
		err = unix.Mount(device, at, kind, flags, options)
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENODEV) { // EINVAL: another file system; ENODEV: not in the kernel
			break
		}
	}
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENODEV):
		return &Error{FileSystem, "it has neither a FAT nor an exFAT file system"}
	case errors.Is(err, fs.ErrNotExist):
		return &Error{Absent, "it was pulled out"}
	case err != nil:
		return fmt.Errorf("mount %s: %w", device, err)
	}
	return nil
}

// unmount unmounts what is mounted at a folder, even while it is still in use.
func unmount(at string) error {
	err := unix.Unmount(at, 0)
	if errors.Is(err, unix.EBUSY) {
		err = unix.Unmount(at, unix.MNT_DETACH)
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w", at, err)
	}
	return nil
}
