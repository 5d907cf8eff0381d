package main

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"passerelle/appliance/plan"
	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/labtest"
)

// serviceManager receives what daemons report to systemd.
type serviceManager struct {
	mu     sync.Mutex
	heard  []string // except states and watchdog pings
	status string
	alive  int // the number of watchdog pings
}

// listenAsSystemd makes all daemons that are started from now on report to a new serviceManager.
func listenAsSystemd(t *testing.T, watchdog time.Duration) *serviceManager {
	t.Helper()
	address := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", address)
	t.Setenv("WATCHDOG_USEC", strconv.FormatInt(watchdog.Microseconds(), 10))
	s := &serviceManager{}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buffer := make([]byte, 4096)
		for {
			n, err := socket.Read(buffer)
			if err != nil {
				return
			}
			s.hear(string(buffer[:n]))
		}
	}()
	t.Cleanup(func() {
		socket.Close()
		<-ended
	})
	return s
}

func (s *serviceManager) hear(message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range strings.SplitSeq(message, "\n") {
		status, ok := strings.CutPrefix(line, "STATUS=")
		switch {
		case ok:
			s.status = status
		case line == "WATCHDOG=1":
			s.alive++
		default:
			s.heard = append(s.heard, line)
		}
	}
}

// hears waits until it has received these messages, and the state. Then it forgets them.
func (s *serviceManager) hears(t *testing.T, state state.State, want ...string) {
	t.Helper()
	wait(t, fmt.Sprintf("systemd to hear %q and that the box is %s", want, state), func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !slices.Equal(s.heard, want) || !strings.HasPrefix(s.status, string(state)+": ") {
			return fmt.Errorf("heard %q, and %q", s.heard, s.status)
		}
		s.heard, s.status = nil, ""
		return nil
	})
}

// lives waits for two more watchdog pings.
func (s *serviceManager) lives(t *testing.T) {
	t.Helper()
	before := s.count()
	wait(t, "the watchdog to hear", func() error {
		if n := s.count() - before; n < 2 {
			return fmt.Errorf("it heard %d times", n)
		}
		return nil
	})
}

func (s *serviceManager) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.alive
}

// TestSystemdHears checks what a daemon reports that starts, whose pages stop answering, that restarts, and that ends.
func TestSystemdHears(t *testing.T) {
	labtest.Root(t, tools...)
	s := listenAsSystemd(t, time.Second)
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:9") // closed: the box requests its own pages without a proxy
	b := newBox(t, settings{}, netlab.Options{})
	s.hears(t, state.Sharing, "READY=1")
	s.lives(t)

	// Packets to its pages are dropped: the daemon's loop runs, but no resident sees a page.
	lose := func(do string) {
		port := strconv.Itoa(plan.PortPortal)
		b.run("iptables", "-w", "-t", "mangle", do, "OUTPUT", "-o", "lo", "-p", "tcp", "--dport", port, "-j", "DROP")
	}
	lose("-I")
	const ill = "the box is not healthy"
	wait(t, "a box that is not healthy", func() error {
		if !strings.Contains(b.Log(), ill) {
			return errors.New("it has not said so")
		}
		return nil
	})
	alive, since := s.count(), b.waitState(state.Sharing).Clock.Now
	b.waitStatus("a loop that goes round all the same", func(s state.Status) error {
		if d := s.Clock.Now.Sub(since); d < 5*time.Second { // a healthy box pings twice a second
			return fmt.Errorf("it has for %v", d)
		}
		return nil
	})
	if n := s.count() - alive; n > 0 {
		t.Errorf("the watchdog heard %d times that the box is healthy", n)
	}
	lose("-D")
	s.lives(t)

	b.configure(settings{more: "[hw]\nled = \"none\""})
	b.signal(syscall.SIGHUP)
	s.hears(t, state.Sharing, "RELOADING=1", "READY=1")
	s.lives(t)
	b.stop()
	wait(t, "systemd to hear the end", func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !slices.Equal(s.heard, []string{"STOPPING=1"}) {
			return fmt.Errorf("heard %q", s.heard)
		}
		return nil
	})
}
