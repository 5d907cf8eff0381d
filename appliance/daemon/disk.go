package daemon

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"passerelle/appliance/state"
)

// diskProblems returns the problems that the kernel reports for a folder's file system: it met errors, which ext4 counts until the
// file system is checked (Documentation/ABI/testing/sysfs-fs-ext4), or it is read-only, which ext4 makes it after an error. If
// these cannot be read, or the file system is not ext4, there is no problem.
func diskProblems(root fs.FS, folder string) (all []state.Problem) {
	var s unix.Statfs_t
	if err := unix.Statfs(folder, &s); err == nil && s.Flags&unix.ST_RDONLY != 0 {
		all = append(all, state.NewProblem(state.DiskReadOnly))
	}
	info, err := os.Stat(folder)
	if err != nil {
		return all
	}
	dev := uint64(info.Sys().(*syscall.Stat_t).Dev)
	if n := ext4Errors(root, unix.Major(dev), unix.Minor(dev)); n > 0 {
		all = append(all, state.NewProblem(state.DiskErrors, "count", strconv.FormatUint(n, 10)))
	}
	return all
}

// ext4Errors returns how many errors ext4 met on a block device.
func ext4Errors(root fs.FS, major, minor uint32) uint64 {
	link, err := fs.ReadLink(root, fmt.Sprintf("sys/dev/block/%d:%d", major, minor))
	if err != nil {
		return 0
	}
	text, err := fs.ReadFile(root, "sys/fs/ext4/"+path.Base(link)+"/errors_count")
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
