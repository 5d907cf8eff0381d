package labtest

import (
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Nobody is the ID of the user nobody, and of its group.
const Nobody = 65534

// AsNobody runs f as the user nobody, and fails the test if it returns an error. Only f's own goroutine changes its
// user, on a thread that ends with it. The caller has called Root.
func AsNobody(t testing.TB, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		done <- becomeNobody(f)
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// becomeNobody changes the calling thread; the functions of syscall would change all threads.
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
