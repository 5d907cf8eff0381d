package captive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"passerelle/appliance/state"
	"passerelle/captive/web"
)

// slowBox takes some time to start or end a session, and serves one request at a time, as the box's loop does.
type slowBox struct {
	*fakeBox
	takes time.Duration
	loop  chan struct{} // held while a request is served
}

func newSlowBox(takes time.Duration) slowBox {
	return slowBox{newFakeBox(), takes, make(chan struct{}, 1)}
}

// turn waits for the loop.
func (b slowBox) turn(ctx context.Context) error {
	select {
	case b.loop <- struct{}{}:
		time.Sleep(b.takes)
		<-b.loop
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b slowBox) Authorize(ctx context.Context, addr netip.Addr) (state.Session, error) {
	if err := b.turn(ctx); err != nil {
		return state.Session{}, err
	}
	return b.fakeBox.Authorize(ctx, addr)
}

func (b slowBox) End(ctx context.Context, addr netip.Addr) error {
	if err := b.turn(ctx); err != nil {
		return err
	}
	return b.fakeBox.End(ctx, addr)
}

// crowd sends requests from many devices, and records the answers.
type crowd struct {
	server  *Server
	began   time.Time
	waiting sync.WaitGroup

	mu      sync.Mutex
	answers map[string][]answered // by device
}

type answered struct {
	status int
	after  time.Duration
	header http.Header
	body   string
}

func newCrowd(s *Server) *crowd {
	return &crowd{server: s, began: time.Now(), answers: map[string][]answered{}}
}

// ask sends a request, and does not wait for the answer.
func (c *crowd) ask(ctx context.Context, device, line string, headers ...string) {
	method, path, _ := strings.Cut(line, " ")
	r := httptest.NewRequest(method, "http://10.80.0.1"+path, nil).WithContext(ctx)
	r.RemoteAddr = device + ":40000"
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	sent := time.Now()
	c.waiting.Go(func() {
		w := httptest.NewRecorder()
		c.server.ServeHTTP(w, r)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.answers[device] = append(c.answers[device], answered{w.Code, time.Since(sent), w.Header(), w.Body.String()})
	})
	synctest.Wait()
}

// wait waits for all answers.
func (c *crowd) wait() map[string][]answered {
	c.waiting.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answers
}

func count(all []answered, status int) (n int) {
	for _, a := range all {
		if a.status == status {
			n++
		}
	}
	return n
}

func device(n int) string { return fmt.Sprintf("10.80.%d.%d", 1+n/200, 1+n%200) }

// Of a device that presses over thirty connections one request is served and one waits, so another device's is served soon. The
// device's other requests are refused at once, with a button that repeats the request.
func TestPressesOfOneDevice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(newServerAt(newSlowBox(100*time.Millisecond), quiet, time.Now))
		for range 30 {
			c.ask(t.Context(), device(0), "POST /session?lang=en")
		}
		c.ask(t.Context(), device(1), "POST /session")
		answers := c.wait()
		if a := answers[device(1)][0]; a.status != http.StatusSeeOther || a.after > 300*time.Millisecond {
			t.Errorf("another's press: status %d after %v", a.status, a.after)
		}
		greedy := answers[device(0)]
		if n := count(greedy, http.StatusSeeOther); n != 2 {
			t.Errorf("%d presses of one device were followed, want 2", n)
		}
		for _, a := range greedy {
			if a.status == http.StatusSeeOther {
				continue
			}
			if a.status != http.StatusServiceUnavailable || a.after > 0 || a.header.Get("Retry-After") != retryAfter {
				t.Errorf("a press too many: status %d after %v, %v", a.status, a.after, a.header)
			}
			if !strings.Contains(a.body, web.Language("en").T("busy.title")) || !strings.Contains(a.body, `<form method="post"><button`) {
				t.Fatalf("a press too many is answered by:\n%s", a.body)
			}
		}
	})
}

// The presses of all devices are bounded, too: a full box refuses at once.
func TestPressesOfAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(newServerAt(newSlowBox(50*time.Millisecond), quiet, time.Now)) // so that the last one waits for less than web.Turns allows
		for n := range 200 {
			c.ask(t.Context(), device(n), "POST /session")
		}
		followed := 0
		for who, all := range c.wait() {
			a := all[0]
			switch {
			case a.status == http.StatusSeeOther:
				followed++
			case a.status != http.StatusServiceUnavailable || a.after > 0:
				t.Errorf("%s: status %d after %v", who, a.status, a.after)
			}
		}
		if followed != waitingCalls+callsAtOnce {
			t.Errorf("%d presses were followed, want %d", followed, waitingCalls+callsAtOnce)
		}
	})
}

// Devices that pressed less often lately are served first: newcomers do not queue behind devices that press again and again.
func TestNewcomersPressFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const takes = 100 * time.Millisecond
		c := newCrowd(newServerAt(newSlowBox(takes), quiet, time.Now))
		for range 5 {
			for n := range 32 {
				c.ask(t.Context(), device(n), "POST /session")
			}
		}
		c.ask(t.Context(), device(100), "POST /session")
		if a := c.wait()[device(100)][0]; a.status != http.StatusSeeOther || a.after > (callsAtOnce+1)*takes {
			t.Errorf("a newcomer's press: status %d after %v", a.status, a.after)
		}
	})
}

// The rate of a device's presses is limited, including those that end a session. Other devices' presses do not count, nor do
// presses that end a session when there is none.
func TestPressesOften(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newSlowBox(0)
		c := newCrowd(newServerAt(b, quiet, time.Now))
		press := func(line string, want int) {
			t.Helper()
			before := len(c.answers[device(0)])
			c.ask(t.Context(), device(0), line)
			if a := c.wait()[device(0)][before]; a.status != want {
				t.Errorf("%s: status %d, want %d", line, a.status, want)
			}
		}
		for range pressBurst {
			press("POST /session/end", http.StatusSeeOther)
		}
		for range pressBurst / 2 {
			press("POST /session", http.StatusSeeOther)
			press("POST /session/end", http.StatusSeeOther)
		}
		admits := b.admits
		press("POST /session", http.StatusServiceUnavailable)
		if b.admits != admits {
			t.Error("the box was asked")
		}
		c.ask(t.Context(), device(1), "POST /session")
		if a := c.wait()[device(1)][0]; a.status != http.StatusSeeOther {
			t.Errorf("another's: status %d", a.status)
		}
		time.Sleep(pressEvery)
		press("POST /session", http.StatusSeeOther)
		press("POST /session/end", http.StatusServiceUnavailable)
		if _, online := b.Session(netip.MustParseAddr(device(0))); !online {
			t.Error("the session was ended")
		}
	})
}

// A program gets the busy answer as JSON.
func TestBusyAsJSON(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	b.admit = state.ErrStopped
	res := ask(t, newServer(b), "POST /session", "Accept: application/json")
	var st Status
	if err := json.Unmarshal([]byte(body(t, res)), &st); err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusServiceUnavailable || !st.Busy || res.Header.Get("Retry-After") != retryAfter {
		t.Errorf("status %d, %+v, %v", res.StatusCode, st, res.Header)
	}
}

// A client that goes away is not logged; an error of the box is.
func TestWhoGoesAwayIsNotLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		b := newSlowBox(time.Second)
		s := newServerAt(b, slog.New(slog.NewTextHandler(&log, nil)), time.Now)
		c := newCrowd(s)
		ctx, leave := context.WithCancel(t.Context())
		for n := range 30 {
			b.fakeBox.sessions[netip.MustParseAddr(device(n))] = state.Session{}
			c.ask(ctx, device(n), "POST /session")
			c.ask(ctx, device(100+n), "POST /session/end")
			c.ask(ctx, device(n), "GET /tutorials?q=x")
		}
		leave()
		c.wait()
		if log.Len() > 0 {
			t.Errorf("the log says %s", &log)
		}
		b.admit = errors.New("add an entry: no space")
		c.ask(t.Context(), device(0), "POST /session")
		c.wait()
		if !strings.Contains(log.String(), "no space") {
			t.Errorf("the log says %q", &log)
		}
	})
}

// Only a page served to residents proves that pages are served.
func TestServed(t *testing.T) {
	t.Parallel()
	now := noon
	b := newFakeBox()
	s := newServerAt(b, quiet, func() time.Time { return now })
	for _, test := range []struct {
		line   string
		proves bool
	}{
		{"GET /", true}, {"GET /tutorials/wifi", true}, {"GET /tutorials?q=wifi", true}, {"GET /session", true},
		{"GET /nope", false}, {"GET http://example.org/", false}, {"GET /healthz", false}, {"GET /captive-portal/api", false},
	} {
		now = now.Add(time.Minute)
		io.Copy(io.Discard, ask(t, s, test.line).Body)
		if since := s.Served(); (since == 0) != test.proves {
			t.Errorf("%s: pages were served %v ago", test.line, since)
		}
	}
}
