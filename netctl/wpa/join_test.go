package wpa

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// supplicant is a wpa_supplicant without a socket, on the test's clock.
type supplicant struct {
	mu     sync.Mutex
	runs   bool
	state  string
	mhz    int
	rssi   int
	air    []bss
	events chan Event
	asked  map[string]int // commands, by first word
	open   int            // connections
}

func newSupplicant() *supplicant {
	return &supplicant{runs: true, state: "SCANNING", events: make(chan Event, 10), asked: make(map[string]int)}
}

func (s *supplicant) dial(string) (asker, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.runs {
		return nil, errors.New("connection refused")
	}
	s.open++
	return s, nil
}

func (s *supplicant) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
	return nil
}

func (s *supplicant) Events() <-chan Event { return s.events }

func (s *supplicant) Request(_ context.Context, command string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	verb, rest, _ := strings.Cut(command, " ")
	s.asked[verb]++
	if !s.runs {
		return "", errors.New("connection refused")
	}
	switch verb {
	case "STATUS":
		return fmt.Sprintf("wpa_state=%s\nfreq=%d\nssid=Chez Lucie\n", s.state, s.mhz), nil
	case "SIGNAL_POLL":
		return fmt.Sprintf("RSSI=%d\nFREQUENCY=%d\n", s.rssi, s.mhz), nil
	case "BSS":
		var from int
		var mask uint32
		if _, err := fmt.Sscanf(rest, "RANGE=%d- MASK=0x%x", &from, &mask); err != nil || mask != 0x1285 {
			return "", fmt.Errorf("asked for %q", command)
		}
		var b strings.Builder
		for _, h := range s.air {
			if h.id >= from && b.Len() < 100 { // two at a time
				fmt.Fprintf(&b, "id=%d\nfreq=%d\nlevel=%d\nage=%d\nssid=%s\n", h.id, h.mhz, h.signal, h.age, escape(h.ssid))
			}
		}
		return b.String(), nil
	}
	return "OK\n", nil
}

// story runs one supplicant under a Joiner, and checks the Joiner's state.
type story struct {
	t     *testing.T
	s     *supplicant
	j     *Joiner
	wakes int
}

const chez = "Chez Lucie \xe9\""

func tell(t *testing.T, play func(*story)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := &story{t: t, s: newSupplicant()}
		st.j = NewJoiner(JoinerOptions{
			Log: slog.New(slog.DiscardHandler), Scan: 20 * time.Second, Wake: func() { st.wakes++ },
		})
		st.j.dial = st.s.dial
		st.j.Set([]Network{{Interface: "wlan1", SSID: chez}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- st.j.Run(ctx) }()
		synctest.Wait()
		play(st)
		cancel()
		if err := <-done; err != nil || st.s.open != 0 {
			t.Errorf("the joiner ends with %v and %d conversations", err, st.s.open)
		}
	})
}

// happens changes the supplicant and sends events.
func (st *story) happens(change func(*supplicant), kinds ...Event) {
	st.s.mu.Lock()
	if change != nil {
		change(st.s)
	}
	st.s.mu.Unlock()
	for _, e := range kinds {
		st.s.events <- e
	}
	synctest.Wait()
}

// scan ends a scan that found the network with that signal; 0 means that it was not found.
func (st *story) scan(signal int) {
	st.happens(func(s *supplicant) {
		s.air = []bss{
			{1, "Autre", 2412, -40, 1}, {2, "", 2412, -40, 1}, {4, chez, 2412, -30, 60}, {9, "Chez", 2412, -40, 0},
		}
		if signal != 0 {
			s.air = append(s.air, bss{11, chez, 5180, signal - 10, 1}, bss{12, chez, 2437, signal, 1})
		}
	}, Event{Kind: ScanResults})
}

func (st *story) is(want Cause, word string) Association {
	st.t.Helper()
	got := st.j.State("wlan1")
	if got.Cause != want || !strings.Contains(got.Why, word) || got.Associated != (want == NoCause) {
		st.t.Errorf("%+v; want %q and %q", got, want, word)
	}
	return got
}

func (st *story) joins() {
	st.happens(func(s *supplicant) { s.state, s.mhz, s.rssi = completed, 2437, -50 }, Event{Kind: Connected})
	if got := st.is(NoCause, ""); got.MHz != 2437 || got.Signal != -50 {
		st.t.Errorf("joined at %+v", got)
	}
}

func (st *story) leaves() {
	st.happens(func(s *supplicant) { s.state = "SCANNING" }, Event{Kind: Disconnected})
	st.is(Joining, "being joined")
}

func TestLostStrong(t *testing.T) {
	tell(t, func(st *story) {
		st.is(Joining, "looked for")
		st.scan(-50)
		if got := st.is(Joining, "being joined"); got.MHz != 2437 || got.Signal != -50 {
			t.Errorf("heard at %+v", got)
		}
		st.joins()
		st.leaves()
		st.scan(0)
		st.is(Joining, "being joined") // one scan may miss it
		st.scan(0)
		if got := st.is(LostStrong, "sleeps"); got.MHz != 2437 {
			t.Errorf("heard last at %+v", got)
		}
		st.scan(-60)
		st.joins()
		if st.s.asked["SCAN_INTERVAL"] != 1 {
			t.Errorf("asked: %v", st.s.asked)
		}
	})
}

func TestLostWeak(t *testing.T) {
	tell(t, func(st *story) {
		st.joins()
		st.happens(func(s *supplicant) { s.rssi = -85 })
		time.Sleep(pollPeriod)
		synctest.Wait()
		if got := st.is(NoCause, ""); got.Signal != -85 {
			t.Errorf("joined at %+v", got)
		}
		st.leaves()
		st.scan(0)
		st.scan(0)
		st.is(LostWeak, "out of range")
	})
}

func TestNotFound(t *testing.T) {
	tell(t, func(st *story) {
		st.scan(0)
		st.is(NotFound, "not heard")
		st.scan(-80)
		st.is(Joining, "")
	})
}

func TestWrongPassphrase(t *testing.T) {
	for name, sign := range map[string]Event{
		"WPA2": {Kind: TempDisabled, WrongKey: true},
		"SAE":  {Kind: AuthReject, AuthType: authSAE, Status: statusChallenge},
	} {
		t.Run(name, func(t *testing.T) {
			tell(t, func(st *story) {
				st.scan(-50)
				st.happens(nil, sign, Event{Kind: TempDisabled})
				st.is(Passphrase, "passphrase")
				st.scan(0)
				st.scan(0)
				st.is(Passphrase, "passphrase")
				wakes := st.wakes
				time.Sleep(time.Minute)
				if st.wakes != wakes {
					t.Error("nothing new, and the loop is woken")
				}
				st.joins()
				st.leaves()
			})
		})
	}
}

func TestRefused(t *testing.T) {
	tell(t, func(st *story) {
		st.scan(-50)
		st.happens(nil, Event{Kind: TempDisabled})
		st.is(Refused, "joining it fails")
		st.happens(nil, Event{Kind: AssocReject, Status: statusFull})
		st.is(Refused, "as many devices")
		st.happens(nil, Event{Kind: AssocReject, Status: statusLater})
		st.is(Refused, "later")
		st.happens(nil, Event{Kind: AuthReject, Status: 1})
		st.is(Refused, "status code 1")
		st.scan(0)
		st.scan(0)
		st.is(LostStrong, "")
		st.scan(-50)
		st.is(Joining, "being joined")
	})
}

func TestRadioIsBusyOrOff(t *testing.T) {
	tell(t, func(st *story) {
		failed := Event{Kind: ScanFailed, Errno: -16}
		st.happens(nil, failed, failed)
		st.is(Joining, "")
		st.happens(nil, failed)
		st.is(RadioBusy, "too busy")
		st.happens(func(s *supplicant) { s.state = disabled }, Event{Kind: Disconnected})
		st.is(RadioOff, "rfkill")
		st.happens(func(s *supplicant) { s.state = "SCANNING" })
		time.Sleep(pollPeriod)
		st.scan(-50)
		st.is(Joining, "")
	})
}

func TestSupplicantRestarts(t *testing.T) {
	tell(t, func(st *story) {
		st.joins()
		st.happens(func(s *supplicant) { s.runs = false })
		time.Sleep(pollPeriod) // a killed program sends no event
		synctest.Wait()
		st.is(NotRunning, "does not run")
		st.happens(func(s *supplicant) { s.runs, s.state = true, "SCANNING" })
		time.Sleep(redial)
		synctest.Wait()
		st.is(Joining, "looked for")
		if st.s.asked["ATTACH"] != 2 {
			t.Errorf("asked: %v", st.s.asked)
		}
		st.joins()
	})
}

func TestAnotherNetwork(t *testing.T) {
	tell(t, func(st *story) {
		st.joins()
		wakes := st.wakes
		st.j.Set([]Network{{Interface: "wlan1", SSID: chez}})
		synctest.Wait()
		st.is(NoCause, "")
		if st.wakes != wakes || st.s.asked["ATTACH"] != 1 {
			t.Errorf("the same list changes something: %v", st.s.asked)
		}
		st.s.state = "SCANNING"
		st.j.Set([]Network{{Interface: "wlan1", SSID: "Chez Karim"}})
		synctest.Wait()
		st.is(Joining, "looked for")
		st.scan(-50)
		st.is(NotFound, "")
		st.j.Set(nil)
		synctest.Wait()
		if got := st.j.State("wlan1"); got != (Association{}) || st.s.open != 0 {
			t.Errorf("no network, and yet %+v, %d conversations", got, st.s.open)
		}
	})
}

// TestJoinerReconnects runs a Joiner with a real socket, before it exists and after it is removed.
func TestJoinerReconnects(t *testing.T) {
	t.Parallel()
	d := dir(t)
	n := Network{Interface: "wlan1", Socket: filepath.Join(d, "wlan1"), SSID: chez}
	woken := make(chan struct{}, 100)
	j := NewJoiner(JoinerOptions{
		Log: slog.New(slog.DiscardHandler), Dir: d, Scan: 20 * time.Second, Wake: func() { woken <- struct{}{} },
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- j.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	j.Set([]Network{n})
	await := func(want Cause) {
		t.Helper()
		until(t, string(want), func() bool { return j.State("wlan1").Cause == want && j.State("wlan1") != Association{} })
	}
	await(NotRunning)
	f := serve(t, n.Socket, map[string]string{"STATUS": "wpa_state=SCANNING\n"})
	await(Joining)
	f.tell(t, `<3>CTRL-EVENT-SSID-TEMP-DISABLED id=0 ssid="Chez Lucie" auth_failures=1 duration=10 reason=WRONG_KEY`)
	await(Passphrase)
	select {
	case <-woken:
	case <-time.After(limit):
		t.Error("the loop is not woken")
	}
	f.stop()
	j.Set(nil)
	until(t, "the conversation ends", func() bool { return j.State("wlan1") == Association{} })
}
