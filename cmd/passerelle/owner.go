package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// changedState is the flag for the state folder of a command that changes it. If root runs such a command, the process switches to the
// folder's owner: the daemon could not change what root creates there, and an import reads what others wrote.
type changedState string

func (s *changedState) String() string         { return string(*s) }
func (s *changedState) Set(value string) error { *s = changedState(value); return nil }

// changedStateFlag declares the flag.
func changedStateFlag(f *flag.FlagSet, state *string) {
	*state = defaultState
	f.Var((*changedState)(state), "state", "the daemon's state `DIR`")
}

// becomeOwner must be called after a command's flags have been parsed.
func becomeOwner(f *flag.FlagSet) error {
	declared := f.Lookup("state")
	if declared == nil {
		return nil
	}
	state, changes := declared.Value.(*changedState)
	if !changes {
		return nil
	}
	return becomeOwnerOf(string(*state))
}

// becomeOwnerOf permanently switches a root process to the owner of a state folder.
func becomeOwnerOf(state string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	owner, err := ownerOf(state)
	if errors.Is(err, fs.ErrNotExist) || err == nil && owner.Uid == 0 {
		return nil // when the service starts, it gives the folder to its user
	}
	if err == nil {
		err = become(int(owner.Uid), int(owner.Gid))
	}
	if err != nil {
		return fmt.Errorf("become the owner of %s: %w", state, err)
	}
	return nil
}

// become permanently switches this process to that user. It may still read everything, so that it finds the file to import, and has no
// other capability.
func become(uid, gid int) error {
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1, 0); errno != 0 {
		return fmt.Errorf("keep a capability: %w", errno)
	}
	for _, step := range []func() error{
		func() error { return syscall.Setgroups(nil) },
		func() error { return syscall.Setgid(gid) },
		func() error { return syscall.Setuid(uid) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	const read = 1 << unix.CAP_DAC_READ_SEARCH
	sets := [2]unix.CapUserData{{Effective: read, Permitted: read}} // capset(2): version 3 has 64 bits
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET,
		uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&sets[0])), 0); errno != 0 {
		return fmt.Errorf("drop capabilities: %w", errno)
	}
	return nil
}

// ownerOf returns the owner of a file or folder.
func ownerOf(path string) (*syscall.Stat_t, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	return info.Sys().(*syscall.Stat_t), nil
}

// giveToFolder gives a file that root has created to the owner of its folder.
func giveToFolder(file *os.File) error {
	if os.Geteuid() != 0 {
		return nil
	}
	owner, err := ownerOf(filepath.Dir(file.Name()))
	if err != nil {
		return err
	}
	return file.Chown(int(owner.Uid), int(owner.Gid))
}
