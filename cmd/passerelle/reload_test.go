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

	"passerelle/appliance"
	"passerelle/appliance/decide"
	"passerelle/netctl/netlab"
)

// hammered sends the daemon SIGHUP all the time, until f returns.
func (b *box) hammered(f func()) {
	b.t.Helper()
	ctx, stop := context.WithCancel(b.t.Context())
	sent := make(chan int, 1)
	go func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		n := 0
		for b.proc.Signal(syscall.SIGHUP) == nil {
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
		b.t.Fatalf("SIGHUP ended the daemon: %v", b.proc.Wait())
	}
	b.t.Logf("SIGHUP was sent %d times", n)
}

// TestHangups: a SIGHUP at any moment ends no daemon, and what it asks for is done; SIGTERM during a restart ends it well.
// Its paths are relative to where it is started.
func TestHangups(t *testing.T) {
	t.Parallel()
	b := newScene(t, settings{}, netlab.Options{})
	b.dir = filepath.Dir(b.config)
	relative := func(path string) string {
		path, err := filepath.Rel(b.dir, path)
		b.must(err)
		return path
	}
	b.proc = b.launch("--config", relative(b.config), "--state", relative(b.state), "--socket", relative(b.socket()))
	wait(t, "the daemon to begin", func() error { // the process alone, before main, is still ended
		_, err := os.Stat(b.path("lock"))
		return err
	})
	at := func(address string) {
		t.Helper()
		b.waitStatus("the network "+address, func(s appliance.Status) error {
			if s.State != decide.Sharing || s.Hotspot.Address != address {
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
	restarts := strings.Count(b.said(), "restarting")
	b.signal(syscall.SIGHUP)
	wait(t, "another restart", func() error {
		if strings.Count(b.said(), "restarting") <= restarts {
			return fmt.Errorf("it has restarted %d times", restarts)
		}
		return nil
	})
	b.stop()
}
