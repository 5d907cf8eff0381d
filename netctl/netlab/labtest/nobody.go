package labtest

import (
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Nobody is the ID of the user nobody, and of its group.
const Nobody = 65534

// AsNobody runs f as the user nobody, and fails the test if f returns an error. f runs in a new goroutine, and only its thread
// changes the user; the thread ends with the goroutine. The caller has called Root.
func AsNobody(t testing.TB, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked, so the thread ends with the goroutine
		done <- becomeNobody(f)
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// becomeNobody changes the user of the calling thread and runs f. The functions of package syscall would change all threads.
func becomeNobody(f func() error) error {
	for _, call := range [][4]uintptr{
		{unix.SYS_SETGROUPS, 0, 0, 0},
		{unix.SYS_SETRESGID, Nobody, Nobody, Nobody},
		{unix.SYS_SETRESUID, Nobody, Nobody, Nobody},
	} {
		if _, _, errno := syscall.RawSyscall(call[0], call[1], call[2], call[3]); errno != 0 {
			return errno
		}
	}
	return f()
}
