package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"passerelle/appliance"
	"passerelle/appliance/decide"
	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/labtest"
	"passerelle/netctl/plan"
)

// served serves pages and returns where.
func served(t *testing.T, pages http.HandlerFunc) netip.AddrPort {
	t.Helper()
	s := httptest.NewServer(pages)
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String())
}

func TestHealthy(t *testing.T) {
	t.Parallel()
	well := served(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			t.Errorf("asked for %s", r.URL)
		}
	})
	ill := served(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	mute, err := net.Listen("tcp4", "127.0.0.1:0") // the kernel accepts, nobody answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mute.Close() })
	hung := netip.MustParseAddrPort(mute.Addr().String())
	const idle = pageLimit + time.Second
	for _, c := range []struct {
		what           string
		looked, served time.Duration
		state          decide.State
		pages          netip.AddrPort
		want           string // in the error; "": none
	}{
		{"all is well", time.Second, idle, decide.Sharing, well, ""},
		{"closed", time.Second, idle, decide.Closed, well, ""},
		{"a round that took its time", roundLimit, idle, decide.Sharing, well, ""},
		{"a loop that stands", roundLimit + time.Second, 0, decide.Sharing, well, "has not gone round for 21s"},
		{"a loop that stands at a fault", roundLimit + time.Second, idle, decide.Fault, well, "has not gone round"},
		{"a loop that never went", roundLimit + time.Second, idle, decide.Starting, well, "has not gone round"},
		{"no pages yet", time.Second, idle, decide.Starting, ill, ""},
		{"no pages at a fault", time.Second, idle, decide.Fault, ill, ""},
		{"pages that refuse", time.Second, idle, decide.Sharing, ill, "503"},
		{"pages that hang", time.Second, idle, decide.Sharing, hung, "deadline exceeded"},
		{"pages that hang while it is closed", time.Second, idle, decide.Closed, hung, "deadline exceeded"},
		{"pages that residents queue for, and have", time.Second, pageLimit / 2, decide.Sharing, hung, ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			err := healthy(c.looked, c.served, c.state, c.pages)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// serviceManager is who hears, as systemd would, what daemons tell.
type serviceManager struct {
	mu     sync.Mutex
	heard  []string // but for states and what the watchdog hears
	status string
	alive  int // how often the watchdog heard
}

// listenAsSystemd has all daemons that are started from now on tell it how they are.
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

// hears waits until it has heard that, and that the box is in the state; then it forgets what it heard.
func (s *serviceManager) hears(t *testing.T, state decide.State, want ...string) {
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

// lives waits until the watchdog has heard twice more.
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

// TestSystemdHears has systemd hear a daemon that starts, whose pages cease to answer, that begins anew, and ends.
func TestSystemdHears(t *testing.T) {
	labtest.Root(t, tools...)
	s := listenAsSystemd(t, time.Second)
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:9") // where nobody listens: the box asks its own pages by no proxy
	b := newBox(t, settings{}, netlab.Options{})
	s.hears(t, decide.Sharing, "READY=1")
	s.lives(t)

	// Packets to its pages are lost: the daemon runs and its loop goes round, but no resident sees a page.
	lose := func(do string) {
		port := strconv.Itoa(plan.PortPortal)
		b.run("iptables", "-w", "-t", "mangle", do, "OUTPUT", "-o", "lo", "-p", "tcp", "--dport", port, "-j", "DROP")
	}
	lose("-I")
	const ill = "the box is not healthy"
	wait(t, "a box that is not healthy", func() error {
		if !strings.Contains(b.said(), ill) {
			return errors.New("it has not said so")
		}
		return nil
	})
	alive, since := s.count(), b.waitState(decide.Sharing).Clock.Now
	b.waitStatus("a loop that goes round all the same", func(s appliance.Status) error {
		if d := s.Clock.Now.Sub(since); d < 5*time.Second { // a healthy box would say so twice a second
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
	s.hears(t, decide.Sharing, "RELOADING=1", "READY=1")
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
