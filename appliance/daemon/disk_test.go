package daemon

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"passerelle/appliance/state"
	"passerelle/netctl/netlab/labtest"
)

// TestDiskErrors: errors are reported only for the disk that has the state folder.
func TestDiskErrors(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	info, err := os.Stat(folder)
	if err != nil {
		t.Fatal(err)
	}
	dev := uint64(info.Sys().(*syscall.Stat_t).Dev)
	link := fmt.Sprintf("sys/dev/block/%d:%d", unix.Major(dev), unix.Minor(dev))
	for text, want := range map[string][]state.Problem{
		"0\n": nil, "": nil, "many": nil, "3\n": {state.NewProblem(state.DiskErrors, "count", "3")},
	} {
		root := fstest.MapFS{
			link:                                 {Data: []byte("../../devices/block/mmcblk0/mmcblk0p4"), Mode: os.ModeSymlink | 0o777},
			"sys/fs/ext4/mmcblk0p4/errors_count": {Data: []byte(text)},
			"sys/fs/ext4/mmcblk0p3/errors_count": {Data: []byte("9\n")},
		}
		if diff := cmp.Diff(want, diskProblems(root, folder)); diff != "" {
			t.Errorf("errors_count %q:\n%s", text, diff)
		}
	}
	if all := diskProblems(fstest.MapFS{}, folder); all != nil {
		t.Errorf("a disk of which nothing is known has %v", all)
	}
	if all := diskProblems(fstest.MapFS{}, "/nowhere"); all != nil {
		t.Errorf("a folder that is not there has %v", all)
	}
}

// TestDiskTurnsReadOnly: on a real mount.
func TestDiskTurnsReadOnly(t *testing.T) {
	labtest.Root(t)
	folder := t.TempDir()
	if err := unix.Mount("tmpfs", folder, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(folder, 0); err != nil {
			t.Error(err)
		}
	})
	if all := diskProblems(os.DirFS("/"), folder); all != nil {
		t.Errorf("a disk that works has %v", all)
	}
	if err := unix.Mount("", folder, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if all := diskProblems(os.DirFS("/"), folder); !cmp.Equal(all, []state.Problem{state.NewProblem(state.DiskReadOnly)}) {
		t.Errorf("a disk that turned read-only has %v", all)
	}
}

// TestLightOfDisk: the light shows a failing disk as a fault, whatever the box still does.
func TestLightOfDisk(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		is   state.State
		code state.Code
		want state.State
	}{
		{state.Sharing, "", state.Sharing}, {state.Sharing, state.BoardWarm, state.Sharing}, {state.Starting, state.DiskErrors, state.Starting},
		{state.Sharing, state.DiskErrors, state.Fault}, {state.Closed, state.DiskReadOnly, state.Fault}, {state.Paused, state.DiskFails, state.Fault},
	} {
		s := state.Status{State: c.is}
		if c.code != "" {
			s.Problems = []state.Problem{state.NewProblem(c.code)}
		}
		if got := lightState(s); got != c.want {
			t.Errorf("%+v: the light shows %s", c, got)
		}
	}
}
