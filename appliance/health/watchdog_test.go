package health

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestNotifierIsHeard uses a real socket, as systemd creates it: with a path, or in the abstract namespace.
func TestNotifierIsHeard(t *testing.T) {
	for _, address := range []string{
		filepath.Join(t.TempDir(), "notify"), "@passerelle-test-" + strconv.Itoa(os.Getpid()),
	} {
		socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		t.Setenv("NOTIFY_SOCKET", address)
		n := NewNotifier(slog.New(slog.DiscardHandler))
		n.Ready("sharing\nWATCHDOG=trigger")
		n.Reloading()
		n.Status("closed, opens at 8:30")
		n.Alive()
		n.Stopping()
		var got []string
		buffer := make([]byte, 512)
		for range 5 {
			if err := socket.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			size, err := socket.Read(buffer)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(buffer[:size]))
		}
		if diff := cmp.Diff([]string{
			"READY=1\nSTATUS=sharing WATCHDOG=trigger", "RELOADING=1", "STATUS=closed, opens at 8:30", "WATCHDOG=1", "STOPPING=1",
		}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", address, diff)
		}
	}
}

func TestNobodyToTellIsNoError(t *testing.T) {
	var log strings.Builder
	n := NewNotifier(slog.New(slog.NewTextHandler(&log, nil)))
	t.Setenv("NOTIFY_SOCKET", "")
	n.Ready("sharing")
	if log.Len() > 0 {
		t.Errorf("without systemd: %s", &log)
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	n.Alive()
	if !strings.Contains(log.String(), "WATCHDOG=1") {
		t.Errorf("the log doesn't say what could not be told: %q", &log)
	}
}

func TestHowOftenSystemdWantsToHear(t *testing.T) {
	for _, c := range []struct {
		usec, pid string
		want      time.Duration
		fails     bool
	}{
		{"", "", 0, false},
		{"30000000", "", 30 * time.Second, false},
		{"30000000", strconv.Itoa(os.Getpid()), 30 * time.Second, false},
		{"30000000", "1", 0, false}, // meant for another process
		{"soon", "", 0, true},
	} {
		t.Setenv("WATCHDOG_USEC", c.usec)
		t.Setenv("WATCHDOG_PID", c.pid)
		w, err := NewWatchdog(nil, Notifier{}, "")
		if (err != nil) != c.fails || err == nil && w.systemdTimeout != c.want {
			t.Errorf("%+v: %+v, %v", c, w, err)
		}
	}
}

// kennel is a box with one or two watchdogs, and records what they receive and when.
type kennel struct {
	began time.Time

	mu    sync.Mutex
	heard []string
	ill   error

	patient  time.Duration // the hardware's timeout; negative: it cannot be set
	loose    bool          // it cannot be stopped
	missing  error
	log      strings.Builder
	watchdog *Watchdog
}

func newKennel(systemd, board time.Duration) *kennel {
	k := &kennel{began: time.Now(), patient: board}
	log := slog.New(slog.NewTextHandler(&k.log, nil))
	k.watchdog = &Watchdog{
		log: log, systemdTimeout: systemd,
		notifier: Notifier{log, func(state string) error { k.note("systemd " + state); return nil }},
		open: func(device string) (boardWatchdog, error) {
			k.note("open " + device)
			return k, k.missing
		},
	}
	if board != 0 {
		k.watchdog.device = "/dev/watchdog0"
	}
	return k
}

func (k *kennel) healthy() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ill
}

func (k *kennel) become(ill error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ill = ill
}

func (k *kennel) note(what string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.heard = append(k.heard, fmt.Sprintf("%v %s", time.Since(k.began), what))
}

func (k *kennel) Write(b []byte) (int, error) {
	k.note(fmt.Sprintf("board %q", b))
	return len(b), nil
}

func (k *kennel) Close() error {
	k.note("close")
	return nil
}

func (k *kennel) setTimeout(wanted time.Duration) (time.Duration, error) {
	if k.patient < 0 {
		return 0, errors.New("inappropriate ioctl")
	}
	return min(wanted, k.patient), nil
}

func (k *kennel) stoppable() bool { return !k.loose }

// run runs the watchdog for a while.
func (k *kennel) run(t *testing.T, f func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- k.watchdog.Run(ctx, k.healthy) }()
	synctest.Wait()
	f()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func (k *kennel) expect(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	if diff := cmp.Diff(want, k.heard); diff != "" {
		t.Errorf("heard (-want +got):\n%s", diff)
	}
	k.heard = nil
}

func TestWatchdogsHearOnlyWhileHealthy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKennel(32*time.Second, time.Hour)
		k.run(t, func() {
			time.Sleep(5 * time.Second)
			k.expect(t, "0s open /dev/watchdog0", "0s systemd WATCHDOG=1", `0s board "\x00"`,
				"4s systemd WATCHDOG=1", `4s board "\x00"`)
			k.become(errors.New("the loop stands still"))
			time.Sleep(time.Minute)
			k.expect(t)
			if n := strings.Count(k.log.String(), "the loop stands still"); n != 1 {
				t.Errorf("said %d times why, want once", n)
			}
			k.become(nil)
			time.Sleep(4 * time.Second)
			k.expect(t, "1m8s systemd WATCHDOG=1", `1m8s board "\x00"`)
		})
		k.expect(t, `1m9s board "V"`, "1m9s close")
	})
}

func TestEachWatchdogAlone(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		systemd, board time.Duration
		loose          bool
		missing        error
		want           []string
		said           string
	}{
		"none":    {want: nil},
		"systemd": {systemd: 32 * time.Second, want: []string{"0s systemd WATCHDOG=1", "4s systemd WATCHDOG=1"}},
		"an old Pi": {
			board: 16 * time.Second, loose: true,
			want: []string{
				"0s open /dev/watchdog0", `0s board "\x00"`, `2s board "\x00"`, `4s board "\x00"`,
				`5s board "V"`, "5s close",
			},
			said: "cannot be stopped",
		},
		"a device that is none": {
			board: -time.Second, want: []string{"0s open /dev/watchdog0", `0s board "V"`, "0s close"}, said: "inappropriate",
		},
		"a device that is not there": {
			systemd: 16 * time.Second, board: time.Minute, missing: os.ErrNotExist,
			want: []string{"0s open /dev/watchdog0", "0s systemd WATCHDOG=1", "2s systemd WATCHDOG=1", "4s systemd WATCHDOG=1"},
			said: "file does not exist",
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				k := newKennel(c.systemd, c.board)
				k.loose, k.missing = c.loose, c.missing
				k.run(t, func() { time.Sleep(5 * time.Second) })
				k.expect(t, c.want...)
				if log := k.log.String(); !strings.Contains(log, c.said) {
					t.Errorf("log %q, want %q in it", log, c.said)
				}
			})
		})
	}
}

// TestOpenWatchdog: a file that is not a watchdog, and no file at all.
func TestOpenWatchdog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "watchdog0")
	if _, err := openWatchdog(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := openWatchdog(path)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if got, err := w.setTimeout(time.Minute); err == nil {
		t.Errorf("a file waits %v", got)
	}
	if !w.stoppable() {
		t.Error("a watchdog that nothing is known of cannot be stopped")
	}
}

// TestServiceRestartsBeforeTheBoard: the service restarts the daemon, and the new one feeds the board's watchdog before its timeout.
func TestServiceRestartsBeforeTheBoard(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../image/passerelle.service")
	if err != nil {
		t.Fatal(err)
	}
	var all time.Duration
	for _, key := range []string{"WatchdogSec", "RestartSec"} {
		_, rest, found := strings.Cut(string(text), "\n"+key+"=")
		value, _, _ := strings.Cut(rest, "\n")
		d, err := time.ParseDuration(value)
		if !found || err != nil {
			t.Fatalf("%s=%s: %v", key, value, err)
		}
		all += d
	}
	const start = 20 * time.Second // until the daemon has opened the device
	if all+start > hardwareTimeout {
		t.Errorf("the daemon is back after %v, but the board waits %v", all+start, hardwareTimeout)
	}
	if !strings.Contains(string(text), "\nWatchdogSignal=SIGKILL\n") {
		t.Error("a daemon that hangs may take its time to end, and writes residents' addresses into the journal")
	}
}
