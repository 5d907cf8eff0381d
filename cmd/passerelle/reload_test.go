package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
)

// hammered keeps sending SIGHUP to the daemon until f returns.
func (b *box) hammered(f func()) {
	b.t.Helper()
	ctx, stop := context.WithCancel(b.t.Context())
	sent := make(chan int, 1)
	go func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		n := 0
		for b.Proc.Signal(syscall.SIGHUP) == nil {
			n++
			select {
			case <-ctx.Done():
				sent <- n
				return
			case <-tick.C:
			}
		}
		sent <- -1
	}()
	f()
	stop()
	n := <-sent
	if n < 0 {
		b.t.Fatalf("SIGHUP ended the daemon: %v", b.Proc.Wait())
	}
	b.t.Logf("SIGHUP was sent %d times", n)
}

// TestHangups: a SIGHUP at any moment ends no daemon, and the reload happens. SIGTERM during a restart ends it cleanly. Paths are relative
// to the daemon's first working directory.
func TestHangups(t *testing.T) {
	t.Parallel()
	b := newScene(t, settings{}, netlab.Options{})
	b.dir = filepath.Dir(b.Config)
	relative := func(path string) string {
		path, err := filepath.Rel(b.dir, path)
		b.must(err)
		return path
	}
	b.Proc = b.launch("--config", relative(b.Config), "--state", relative(b.State), "--socket", relative(b.Socket))
	wait(t, "the daemon to begin", func() error { // before main, SIGHUP still ends the process
		_, err := os.Stat(b.path("lock"))
		return err
	})
	at := func(address string) {
		t.Helper()
		b.waitStatus("the network "+address, func(s state.Status) error {
			if s.State != state.Sharing || s.Hotspot.Address != address {
				return fmt.Errorf("%s at %s: %s", s.State, s.Hotspot.Address, s.Why)
			}
			return nil
		})
	}
	b.hammered(func() {
		at(boxPrefix)
		for _, address := range []string{"10.81.0.1/22", boxPrefix, "10.81.0.1/22"} {
			b.configure(settings{address: address})
			at(address)
		}
	})
	b.waitSound()

	b.configure(settings{})
	restarts := strings.Count(b.Log(), "restarting")
	b.signal(syscall.SIGHUP)
	wait(t, "another restart", func() error {
		if strings.Count(b.Log(), "restarting") <= restarts {
			return fmt.Errorf("it has restarted %d times", restarts)
		}
		return nil
	})
	b.stop()
}
