package wpa

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// limit bounds every wait.
const limit = 20 * time.Second

// fake is a program with a control socket.
type fake struct {
	path string
	conn *net.UnixConn

	mu       sync.Mutex
	answers  map[string]string // by command; the default is "OK\n", "" means no answer
	asked    []string
	listener *net.UnixAddr // the sender of ATTACH
}

// dir makes a folder with a short path, which sockets need.
func dir(t *testing.T) string {
	t.Helper()
	d, err := os.MkdirTemp("", "wpa")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		left, err := filepath.Glob(filepath.Join(d, "*.sock"))
		if err != nil || len(left) > 0 {
			t.Errorf("sockets are left: %v, %v", left, err)
		}
		os.RemoveAll(d)
	})
	return d
}

func serve(t *testing.T, path string, answers map[string]string) *fake {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{path: path, conn: conn, answers: answers}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.serve()
	}()
	t.Cleanup(func() { f.stop(); <-done })
	return f
}

func (f *fake) serve() {
	buffer := make([]byte, 4096)
	for {
		n, from, err := f.conn.ReadFromUnix(buffer)
		if err != nil {
			return
		}
		command := string(buffer[:n])
		f.mu.Lock()
		f.asked = append(f.asked, command)
		answer, ok := f.answers[command]
		if !ok {
			answer = "OK\n"
		}
		if command == "ATTACH" {
			f.listener = from
		}
		f.mu.Unlock()
		if answer != "" {
			_, _ = f.conn.WriteToUnix([]byte(answer), from)
		}
	}
}

// stop ends the program and removes its socket.
func (f *fake) stop() {
	f.conn.Close()
	os.Remove(f.path)
}

// tell sends an event to the attached client.
func (f *fake) tell(t *testing.T, message string) {
	t.Helper()
	var to *net.UnixAddr
	until(t, "somebody listens", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		to = f.listener
		return to != nil
	})
	if _, err := f.conn.WriteToUnix([]byte(message), to); err != nil {
		t.Fatal(err)
	}
}

// answer changes the answer to a command.
func (f *fake) answer(command, with string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[command] = with
}

func (f *fake) commands() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.asked...)
}

func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestConn(t *testing.T) {
	t.Parallel()
	d := dir(t)
	f := serve(t, filepath.Join(d, "wlan1"), map[string]string{
		"STATUS": "wpa_state=SCANNING\n", "BAD": "UNKNOWN COMMAND\n", "CHAN_SWITCH 1": "FAIL\n",
	})
	c, err := Dial(f.path, d)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := c.Attach(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.tell(t, "<3>AP-STA-CONNECTED 02:00:00:00:02:00")
	f.tell(t, "<3>AP-ENABLED ")
	if got, err := c.Request(t.Context(), "STATUS"); err != nil || got != "wpa_state=SCANNING\n" {
		t.Errorf("%q, %v", got, err)
	}
	select {
	case e := <-c.Events():
		if e.Kind != APEnabled {
			t.Errorf("told was %v", e)
		}
	case <-time.After(limit):
		t.Fatal("no event")
	}
	for _, command := range []string{"BAD", "CHAN_SWITCH 1"} {
		verb, _, _ := strings.Cut(command, " ")
		_, err := c.Request(t.Context(), command)
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), verb) {
			t.Errorf("%s: %v", command, err)
		}
	}
	// Events that are not received do not block an answer.
	for range 3 * eventBacklog {
		f.tell(t, "<3>CTRL-EVENT-SCAN-RESULTS ")
		if _, err := c.Request(t.Context(), "PING"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNoProgram(t *testing.T) {
	t.Parallel()
	d := dir(t)
	if _, err := Dial(filepath.Join(d, "none"), d); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a program that does not run: %v", err)
	}
	f := serve(t, filepath.Join(d, "wlan1"), map[string]string{"STATUS": ""})
	c, err := Dial(f.path, d)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Request(ctx, "STATUS"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a program that hangs: %v", err)
	}
	f.stop()
	if _, err := c.Request(t.Context(), "PING"); err == nil {
		t.Error("a program that is gone answers")
	}
}

// TestHostapdRestarts checks events across a restart of hostapd, and a channel switch.
func TestHostapdRestarts(t *testing.T) {
	t.Parallel()
	d := dir(t)
	events := make(chan Event, 10)
	h := NewHostapd(HostapdOptions{
		Socket: filepath.Join(d, "wlan0"), Dir: d, Log: slog.New(slog.DiscardHandler),
		On: func(e Event) { events <- e },
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- h.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	if err := h.SwitchChannel(t.Context(), Channel{MHz: 2437}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without hostapd: %v", err)
	}
	f := serve(t, filepath.Join(d, "wlan0"), nil)
	f.tell(t, "<3>AP-CSA-FINISHED freq=2437 dfs=0")
	select {
	case e := <-events:
		if want := (Event{Kind: APSwitched, MHz: 2437}); e != want {
			t.Errorf("told was %+v, want %+v", e, want)
		}
	case <-time.After(limit):
		t.Fatal("no event")
	}
	if err := h.SwitchChannel(t.Context(), Channel{MHz: 2437, HT: true}); err != nil {
		t.Error(err)
	}
	asked := f.commands()
	if got := asked[len(asked)-1]; got != "CHAN_SWITCH 10 2437 bandwidth=20 ht" {
		t.Errorf("asked for %q", got)
	}
	f.stop()
}

// TestBeacon checks that every BSS of an enabled hostapd gets the elements once, that a rejected change is tried again, and that
// the next hostapd gets them too.
func TestBeacon(t *testing.T) {
	t.Parallel()
	d := dir(t)
	starting := func() map[string]string { return map[string]string{"STATUS": "state=COUNTRY_UPDATE\nphy=phy0\n"} }
	open, twin := serve(t, filepath.Join(d, "wlan0"), starting()), serve(t, filepath.Join(d, "twin"), starting())
	told := func(f *fake) (all []string) {
		for _, c := range f.commands() {
			if elements, ok := strings.CutPrefix(c, "SET vendor_elements "); ok {
				all = append(all, elements)
			} else if c == "UPDATE_BEACON" && len(all) > 0 {
				all[len(all)-1] += " sent"
			}
		}
		return all
	}
	h := NewHostapd(HostapdOptions{
		Socket: open.path, Dir: d, Log: slog.New(slog.DiscardHandler), On: func(Event) {},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- h.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	want := Beacon{Sockets: []string{open.path, twin.path}, Elements: "dd01"}
	h.SetBeacon(want)
	until(t, "it is asked whether it sends", func() bool { return slices.Contains(open.commands(), "STATUS") })
	if got := told(open); got != nil {
		t.Errorf("before it is enabled it got %q", got)
	}
	open.answer("STATUS", "state=ENABLED\nphy=phy0\n")
	open.tell(t, "<3>AP-ENABLED ")
	until(t, "both networks have it", func() bool { return len(told(twin)) > 0 && strings.HasSuffix(told(twin)[0], "sent") })
	h.SetBeacon(want) // unchanged

	twin.answer("UPDATE_BEACON", "FAIL\n")
	want.Elements = "dd02"
	h.SetBeacon(want)
	until(t, "it rejects the command", func() bool { return len(told(twin)) == 2 && strings.HasSuffix(told(twin)[1], "sent") })
	twin.answer("UPDATE_BEACON", "OK\n")
	open.tell(t, "<3>AP-CSA-FINISHED freq=2437 dfs=0")
	until(t, "it gets the command again", func() bool { return len(told(twin)) == 3 && strings.HasSuffix(told(twin)[2], "sent") })
	if got := told(open); !slices.Equal(got, []string{"dd01 sent", "dd02 sent", "dd02 sent"}) {
		t.Errorf("the open BSS got %q", got)
	}

	open.stop()
	twin.stop()
	want.Elements = "dd03"
	h.SetBeacon(want)
	next := serve(t, filepath.Join(d, "twin"), starting())
	serve(t, filepath.Join(d, "wlan0"), map[string]string{"STATUS": "state=ENABLED\n"})
	until(t, "the next hostapd gets the command", func() bool { return slices.Equal(told(next), []string{"dd03 sent"}) })
}

func TestChannels(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]Channel{
		"CHAN_SWITCH 10 2412 bandwidth=20":        {MHz: 2412},
		"CHAN_SWITCH 10 2472 bandwidth=20 ht":     {MHz: 2472, HT: true},
		"CHAN_SWITCH 10 5180 bandwidth=20 ht vht": {MHz: 5180, HT: true, VHT: true},
	} {
		if got := c.command(); got != want {
			t.Errorf("%+v: %s, want %s", c, got, want)
		}
	}
}
