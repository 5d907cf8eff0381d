package intake

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Remount makes the partition that is mounted at a folder writable, until restore is called. It does nothing if the folder is not a
// mount point, or is writable already. It needs CAP_SYS_ADMIN.
func Remount(folder string) (restore func() error, err error) {
	nothing := func() error { return nil }
	mounted, err := isMountPoint(folder)
	if err != nil || !mounted {
		return nothing, err
	}
	var s unix.Statfs_t
	if err := unix.Statfs(folder, &s); err != nil {
		return nothing, err
	}
	if s.Flags&unix.ST_RDONLY == 0 {
		return nothing, nil
	}
	flags := uintptr(unix.MS_REMOUNT)
	for _, f := range []struct{ st, ms uintptr }{ // statfs(2), mount(2)
		{unix.ST_NOSUID, unix.MS_NOSUID}, {unix.ST_NODEV, unix.MS_NODEV}, {unix.ST_NOEXEC, unix.MS_NOEXEC},
		{unix.ST_NOATIME, unix.MS_NOATIME}, {unix.ST_NODIRATIME, unix.MS_NODIRATIME}, {unix.ST_RELATIME, unix.MS_RELATIME},
	} {
		if uintptr(s.Flags)&f.st != 0 {
			flags |= f.ms
		}
	}
	if err := unix.Mount("", folder, "", flags, ""); err != nil {
		return nothing, fmt.Errorf("make %s writable: %w", folder, err)
	}
	return func() error {
		if err := unix.Mount("", folder, "", flags|unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("make %s read-only again: %w", folder, err)
		}
		return nil
	}, nil
}

func isMountPoint(folder string) (bool, error) {
	here, err := os.Stat(folder)
	above, aboveErr := os.Stat(filepath.Dir(filepath.Clean(folder)))
	if err := errors.Join(err, aboveErr); err != nil {
		return false, err
	}
	return here.Sys().(*syscall.Stat_t).Dev != above.Sys().(*syscall.Stat_t).Dev, nil
}
