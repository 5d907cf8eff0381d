package labtest

import (
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Nobody is the number of the user nobody, and of its group.
const Nobody = 65534

// AsNobody runs f as the user nobody, and fails the test if it returns an error. Only f's own goroutine is nobody's, on
// a thread that ends with it: what it has opened, the test has. The caller has called Root.
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

// becomeNobody changes the calling thread, where the functions of syscall would change all.
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
