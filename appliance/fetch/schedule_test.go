package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestNext(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 30, 9, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		what     string
		tried    time.Time
		failures int
		ready    time.Time
		part     float64
		want     time.Time
	}{
		{"never", time.Time{}, 0, now, 0, now},
		{"never, at the latest", time.Time{}, 0, now, 1, now.Add(soon)},
		{"a week ago", now.Add(-Week), 0, now.Add(-time.Hour), 0, now},
		{"a week ago, at the latest", now.Add(-Week), 0, now.Add(-time.Hour), 1, now.Add(spread)},
		{"long ago, and just switched on", now.Add(-3 * Week), 0, now, 0.5, now.Add(spread / 2)},
		{"yesterday", now.Add(-24 * time.Hour), 0, now, 0, now.Add(6 * 24 * time.Hour)},
		{"once in vain", now, 1, now, 0, now.Add(time.Hour)},
		{"five times in vain", now, 5, now, 0, now.Add(16 * time.Hour)},
		{"nine times in vain", now, 9, now, 0, now.Add(Week)},
		{"a thousand times in vain", now, 1000, now, 0, now.Add(Week)},
	} {
		r := record{Tried: test.tried, Failures: test.failures}
		if got := r.at(Week, test.ready, test.part); !got.Equal(test.want) {
			t.Errorf("%s: %v, want %v", test.what, got, test.want)
		}
	}
}

func TestObstacle(t *testing.T) {
	t.Parallel()
	line := Line{Donation: "Fibre", Interface: "eth1", Servers: []netip.Addr{resolver}, Allowance: 1e6}
	none := line
	none.Servers = nil
	for _, test := range []struct {
		s    Situation
		left uint64
		want string
	}{
		{Situation{Trusted: true, Line: &line}, 1e6, ""},
		{Situation{Trusted: true, Line: &line}, least, ""},
		{Situation{Trusted: true, Line: &line}, least - 1, `what downloads may use of the cap of "Fibre" is used up`},
		{Situation{Line: &line}, 1e6, "the clock is not trusted"},
		{Situation{Trusted: true, Line: &none}, 1e6, `"Fibre" has no name servers`},
		{Situation{Why: "nothing is shared now"}, 0, "nothing is shared now"},
	} {
		if got := test.s.obstacle(test.left); got != test.want {
			t.Errorf("%+v: %q, want %q", test.s, got, test.want)
		}
	}
}

// asked counts the requests for a file, by time.
type asked struct {
	status int // of the answer; 0: 200

	mu sync.Mutex
	at []time.Time
}

func (a *asked) ServeHTTP(rw http.ResponseWriter, _ *http.Request) {
	a.mu.Lock()
	a.at = append(a.at, time.Now())
	a.mu.Unlock()
	rw.WriteHeader(cmp.Or(a.status, http.StatusOK))
	io.WriteString(rw, file)
}

func (a *asked) all() []time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.at)
}

// TestWeekly: a file is requested soon after it is configured, and then once a week, even if the box is switched off every evening.
func TestWeekly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, a := newWorld(t, address), &asked{}
		w.mux.Handle("/", a)
		const days = 50
		for day := range days {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Hour)
			w.fetcher().Run(ctx)
			cancel()
			if day == 0 && len(a.all()) != 1 {
				t.Fatalf("on the first day it was asked for %d times", len(a.all()))
			}
			time.Sleep(14 * time.Hour)
		}
		if n := len(a.all()); n < days/8 || n > days/7+1 {
			t.Errorf("in %d days it was asked for %d times", days, n)
		}
		at := a.all()
		for i := 1; i < len(at); i++ {
			if wait := at[i].Sub(at[i-1]); wait < Week || wait > Week+25*time.Hour {
				t.Errorf("it was asked for again after %v", wait)
			}
		}
	})
}

// TestOtherObstacle: a job with a situation of its own that is obstructed delays no other job.
func TestOtherObstacle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, a := newWorld(t, address), &asked{}
		w.mux.Handle("/", a)
		w.jobs = append(w.jobs, Job{Name: "releases", URL: address, Every: 24 * time.Hour,
			Situation: func() Situation { return Situation{Now: time.Now(), Trusted: true, Why: "residents"} },
			Run:       func(context.Context, *http.Client) (string, error) { return "", errors.New("it ran") },
		})
		ctx, cancel := context.WithTimeout(t.Context(), 8*24*time.Hour)
		defer cancel()
		f := w.fetcher()
		f.Run(ctx)
		if n := len(a.all()); n != 2 {
			t.Errorf("in eight days the weekly file was requested %d times, want 2", n)
		}
		for _, d := range f.Status() {
			if d.Name == "releases" && (d.Waits == "" || !d.Tried.IsZero()) {
				t.Errorf("the other job: %+v", d)
			}
		}
	})
}

// TestManyBoxes: boxes that are switched on together do not send requests together.
func TestManyBoxes(t *testing.T) {
	t.Parallel()
	const boxes = 1000
	ready := time.Date(2026, 11, 30, 9, 0, 0, 0, time.UTC)
	r := record{Tried: ready.Add(-Week)}
	bySecond := map[time.Time]int{}
	for range boxes {
		bySecond[r.at(Week, ready, rand.Float64()).Truncate(time.Second)]++
	}
	for at, n := range bySecond {
		if n > 12 {
			t.Errorf("%d of %d ask at %v", n, boxes, at)
		}
	}
}

// TestFailures: after a failure the delay grows up to the week. With another address it starts again.
func TestFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, address)
		a := &asked{status: http.StatusServiceUnavailable}
		w.mux.Handle("/", a)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		f := w.fetcher()
		running.Go(func() { f.Run(ctx) })
		time.Sleep(4 * Week)
		at := a.all()
		var waits []string
		for i := 1; i < len(at); i++ {
			want := min(Week, firstRetry<<(i-1))
			if wait := at[i].Sub(at[i-1]); wait < want || wait > want+spread+2*tick {
				t.Errorf("the wait after %d failures is %v", i, wait)
			}
			waits = append(waits, fmt.Sprint(at[i].Sub(at[i-1]).Round(time.Hour)))
		}
		if len(at) < 10 {
			t.Errorf("it waited %v", waits)
		}
		w.setURL("https://www.example.com/other")
		time.Sleep(time.Minute)
		if len(a.all()) != len(at)+1 {
			t.Error("another address was not asked for")
		}
		cancel()
		running.Wait()
	})
}

// TestPowerCuts: an attempt is recorded before it is made, with what it may use of the cap. So after power cuts no request is sent too
// early, and nothing is used twice.
func TestPowerCuts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, address)
		w.set(func(s *Situation) { s.Line.Allowance = 1e6 })
		requests := 0
		var memories [][]byte
		w.mux.HandleFunc("/", func(rw http.ResponseWriter, r *http.Request) {
			requests++
			copyOf := func() {
				text, err := os.ReadFile(w.path)
				if err != nil {
					t.Error(err)
				}
				memories = append(memories, text)
			}
			copyOf() // before the answer
			rw.Header().Set("Content-Length", "200000")
			io.WriteString(rw, file)
			rw.(http.Flusher).Flush()
			time.Sleep(time.Second)
			copyOf() // in the middle of the answer
			io.WriteString(rw, strings.Repeat("\n", 200_000-len(file)))
		})
		if d := w.fetch(); d.Error != "" || len(memories) != 2 {
			t.Fatalf("%+v", d)
		}
		time.Sleep(pressEvery)
		for i, booked := range []uint64{least, 200_000} {
			if err := os.WriteFile(w.path, memories[i], 0o600); err != nil {
				t.Fatal(err)
			}
			requests = 0
			f := w.fetcher()
			if used := f.memory.usage(*w.situation.Line); used < booked || used > booked+50_000 {
				t.Errorf("%d bytes are booked, want %d", used, booked)
			}
			if d := f.Status()[0]; d.Error != "the box was stopped during the download" {
				t.Errorf("%+v", d)
			}
			ctx, cancel := context.WithTimeout(t.Context(), (firstRetry-pressEvery)/2-time.Minute) // for each of the two
			f.Run(ctx)
			cancel()
			if requests != 0 {
				t.Error("it was asked for again at once")
			}
		}
	})
}

// TestAllowance: the downloads of a period use no more of a cap than they may, and none is requested when it is used up. The next period
// has the full amount again. Each line has its own.
func TestAllowance(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, address)
		period := time.Now()
		w.set(func(s *Situation) { s.Line.Allowance, s.Line.Period = 600_000, period })
		w.mux.HandleFunc("/", func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Length", "200000")
			io.WriteString(rw, strings.Repeat("x", 200_000))
		})
		for _, want := range []string{"", "", "larger than what downloads may use"} {
			if d := w.fetch(); (d.Error == "") != (want == "") || !strings.Contains(d.Error, want) {
				t.Errorf("%+v, want %q", d, want)
			}
			time.Sleep(pressEvery)
		}
		f := w.fetcher()
		w.set(func(s *Situation) { s.Line.Allowance = 450_000 }) // less is free
		if err := f.Start("places"); err == nil || err.Error() != `what downloads may use of the cap of "Fibre" is used up` {
			t.Errorf("at the end: %v", err)
		}
		w.set(func(s *Situation) { s.Line.Donation = "Mairie" })
		if d := w.fetch(); d.Error != "" {
			t.Errorf("another line: %+v", d)
		}
		time.Sleep(pressEvery)
		w.set(func(s *Situation) { s.Line.Donation, s.Line.Period = "Fibre", period.AddDate(0, 1, 0) })
		if d := w.fetch(); d.Error != "" {
			t.Errorf("the next period: %+v", d)
		}
	})
}

// TestPress: a request by a person downloads now, at most every ten minutes. If not, the error says why.
func TestPress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, a := newWorld(t, address), &asked{}
		w.mux.Handle("/", a)
		w.fetch()
		time.Sleep(4 * time.Minute)
		f := w.fetcher()
		if err := f.Start("places"); err == nil || err.Error() != "its server was asked a short time ago: try again in 6m0s" {
			t.Errorf("too soon: %v", err)
		}
		if err := f.Start("agenda"); err == nil || err.Error() != "no address to download from is configured: set [agenda] url" {
			t.Errorf("of no address: %v", err)
		}
		time.Sleep(6 * time.Minute)
		w.fetch()
		if len(a.all()) != 2 {
			t.Errorf("asked for %d times", len(a.all()))
		}
	})
}

// TestClockSetBack: an attempt that a wrong clock recorded in the future does not delay the next one for years.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, a := newWorld(t, address), &asked{}
		w.mux.Handle("/", a)
		m := load(w.path, w.fetcher().opt.Log)
		m.Jobs["places"] = record{URL: address, Tried: time.Now().AddDate(10, 0, 0), Done: time.Now()}
		if err := m.save(w.path); err != nil {
			t.Fatal(err)
		}
		for range 9 {
			ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
			w.fetcher().Run(ctx)
			cancel()
		}
		if len(a.all()) != 1 {
			t.Errorf("in nine days it was asked for %d times", len(a.all()))
		}
	})
}

// TestDamaged: without a readable file a Fetcher starts from nothing, and says so.
func TestDamaged(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "{", `{"jobs":3}`, "null"} {
		w := newWorld(t, address)
		if err := os.WriteFile(w.path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f := w.fetcher()
		if err := f.memory.save(w.path); err != nil || len(f.Status()) != 1 {
			t.Errorf("%q: %v", text, err)
		}
		if said := strings.Contains(w.log.String(), "earlier downloads are not known"); said != (text != "null") {
			t.Errorf("%q: logged %q", text, w.log.String())
		}
	}
}

// TestByItself: a job that fetches many files continues each day where the budget of the day before was spent, and not at all while
// residents use the line. It fetches no file twice, and never exceeds the budget: what was booked ahead and not used is returned.
func TestByItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const (
			files, size = 40, 64 << 10
			budget      = 800 << 10
		)
		w := newWorld(t, address)
		served := map[string]int{} // number of times that each file was sent completely
		var mu sync.Mutex
		w.mux.HandleFunc("/", func(rw http.ResponseWriter, r *http.Request) {
			if _, err := rw.Write(make([]byte, size)); err == nil {
				mu.Lock()
				served[r.URL.Path]++
				mu.Unlock()
			}
		})
		have := 0 // number of files in the slot, in order
		w.jobs = []Job{{Name: "fleet", URL: address, Every: 24 * time.Hour, Run: func(_ context.Context, client *http.Client) (string, error) {
			for have < files {
				reply, err := client.Get(fmt.Sprintf("https://example.com/%d", have))
				if err != nil {
					return "", err
				}
				n, err := io.Copy(io.Discard, reply.Body)
				if err = errors.Join(err, reply.Body.Close()); err != nil {
					return "", err
				}
				if n == size {
					have++
				}
			}
			return "all of it", nil
		}}}
		begins := time.Now()
		line := func(day int) {
			w.set(func(s *Situation) {
				s.Line = &Line{
					Donation: "Fibre", Interface: "eth1", Servers: []netip.Addr{resolver}, Purse: "fleet", Allowance: budget,
					Period: begins.Add(time.Duration(day) * 24 * time.Hour),
				}
			})
		}
		w.set(func(s *Situation) { s.Line, s.Why = nil, "residents" })
		day := func(f func(*Fetcher)) { // one day of a box that is unplugged in the evening
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Hour)
			fetcher := w.fetcher()
			f(fetcher)
			fetcher.Run(ctx)
			f(fetcher)
			cancel()
			time.Sleep(14 * time.Hour)
		}
		day(func(f *Fetcher) {
			if d := f.Status()[0]; have != 0 || d.Bytes != 0 {
				t.Errorf("beside residents %d files came: %+v", have, d)
			}
		})
		days := 0
		for ; have < files && days < 10; days++ {
			before := have
			line(days)
			day(func(*Fetcher) {})
			came := have - before
			if used := w.fetcher().memory.Lines["fleet\nFibre"]; used.Bytes > budget+2*size || came*size > budget || came < 8 && have < files {
				t.Errorf("on day %d %d files came, and %d bytes of %d are booked", days, came, used.Bytes, budget)
			}
		}
		if days != 4 {
			t.Errorf("%d files took %d days", have, days)
		}
		again := 0
		for _, n := range served {
			again += n - 1
		}
		if again > days {
			t.Errorf("%d files were sent twice in %d days", again, days)
		}
		if d := w.fetcher().Status()[0]; d.Result != "all of it" || d.Error != "" {
			t.Errorf("at the end the state is %+v", d)
		}
		if used := w.fetcher().memory.Lines["Fibre"]; used.Bytes != 0 {
			t.Errorf("lists and calendars have %d bytes less", used.Bytes)
		}
	})
}
