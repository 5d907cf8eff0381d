package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nkeys"

	"passerelle/appliance/fleet/protocol"
)

// hub is an in-memory hub, and the line to it.
type hub struct {
	mu     sync.Mutex
	stored map[string]message // by subject
	lose   bool               // acknowledges messages and loses them
	dials  []time.Time
	asked  int    // connections of boxes that only ask for a membership
	token  string // given to these boxes; "" refuses them
	refuse error
	// dies is how long a connection lasts, and how its error; zero means that it does not end.
	dies time.Duration
	how  error
	of   string // the association that comes with the token
	open []*fakeLink
	read int           // gets
	slow time.Duration // delay of each answer to a get or a publish
	late time.Duration // what a file's answer takes to arrive
}

type fakeLink struct {
	h      *hub
	wake   chan wake
	closed chan struct{}
	once   sync.Once
	why    error
}

func (h *hub) dial(ctx context.Context, as identity) (link, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if as.association == "" {
		h.asked++
		return &fakeLink{h: h, closed: make(chan struct{})}, nil
	}
	h.dials = append(h.dials, time.Now())
	if h.token != "" && as.token == h.token {
		h.refuse = nil
	}
	if h.refuse != nil {
		return nil, h.refuse
	}
	l := &fakeLink{h: h, wake: make(chan wake, 16), closed: make(chan struct{})}
	h.open = append(h.open, l)
	if h.dies > 0 {
		time.AfterFunc(h.dies, func() { l.end(h.how) })
	}
	return l, nil
}

func (l *fakeLink) end(why error) {
	l.once.Do(func() {
		l.why = why
		close(l.closed)
	})
}

func (l *fakeLink) request(context.Context, string, []byte) (message, error) {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	a := protocol.Answer{State: protocol.Refused}
	if l.h.token != "" {
		a = protocol.Answer{State: protocol.Member, Association: l.h.of, Token: l.h.token}
	}
	text, err := json.Marshal(a)
	return message{body: text}, err
}

func (l *fakeLink) get(_ context.Context, stream, subject string) (message, error) {
	time.Sleep(l.h.slow)
	l.h.mu.Lock()
	l.h.read++
	m, late := l.h.stored[subject], l.h.late
	l.h.mu.Unlock()
	if stream == protocol.StreamPack {
		time.Sleep(late)
	}
	return m, nil
}

func (l *fakeLink) publish(_ context.Context, subject string, body []byte) error {
	time.Sleep(l.h.slow)
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	if !l.h.lose {
		l.h.stored[subject] = message{body: body}
	}
	return nil
}

func (l *fakeLink) woken() <-chan wake    { return l.wake }
func (l *fakeLink) done() <-chan struct{} { return l.closed }
func (l *fakeLink) err() error            { return l.why }
func (l *fakeLink) close()                { l.end(net.ErrClosed) }

func (h *hub) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.dials)
}

// rounds returns how many rounds without reports the hub has seen.
func (h *hub) rounds() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.read / 2 // a round reads the region and a command
}

// first returns the first connection.
func (h *hub) first() *fakeLink {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.open[0]
}

// member returns a client that is a member, and its hub.
func member(t *testing.T, b Box) (*Client, *hub) {
	t.Helper()
	none := Box{Command: func([]byte) {}, Reports: func() []Report { return nil }, Shown: func(Report) {}}
	if b.Command == nil {
		b.Command = none.Command
	}
	if b.Reports == nil {
		b.Reports, b.Shown = none.Reports, none.Shown
	}
	dir := t.TempDir()
	me, err := store{dir}.begin(membership{}, "0123456789")
	if err != nil {
		t.Fatal(err)
	}
	me.Code, me.Association, me.Token = "", "lilas", "token"
	if err := (store{dir}).save(me); err != nil {
		t.Fatal(err)
	}
	c, err := New(Options{Dir: dir, Box: b, Now: time.Now, Random: func() float64 { return 0.5 }, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	h := &hub{stored: map[string]message{}}
	c.dial = h.dial
	return c, h
}

// run runs a client until the test ends.
func run(t *testing.T, c *Client) {
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
}

// after lets d pass in the bubble, and waits until everything settles.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// A line that drops idle connections is only visited, for a day. Another line is tried at once.
func TestSilentDeaths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, h := member(t, Box{})
		h.dies, h.how = 2*DefaultPace.Ping, errSilent
		run(t, c)
		c.SetLine(Line{Name: "phone", Mode: Connected})
		after(time.Hour)
		if s := c.Status(); s.Mode != Visits || h.count() != 2 {
			t.Fatalf("after an hour it is %s, and connected %d times", s.Mode, h.count())
		}
		after(22 * time.Hour)
		if n := h.count(); n < 2+3 || n > 2+5 {
			t.Errorf("%d connections on a day of visits", n-2)
		}
		c.SetLine(Line{Name: "fibre", Mode: Connected})
		h.mu.Lock()
		h.dies = 0
		h.mu.Unlock()
		after(time.Minute)
		if s := c.Status(); s.Mode != Connected || !s.Connected {
			t.Errorf("on another line it is %+v", s)
		}
	})
}

// A connection ends with its budget period. What is known about the line stays.
func TestPeriodEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, h := member(t, Box{})
		run(t, c)
		for period := range int64(3) {
			for range 2 { // the same line changes nothing
				c.SetLine(Line{Name: "fibre", Mode: Connected, Period: period})
				after(time.Hour)
			}
			if s := c.Status(); !s.Connected || h.count() != int(period)+1 {
				t.Errorf("period %d: %d connections, %+v", period, h.count(), s)
			}
		}
		h.mu.Lock()
		h.dies, h.how = 2*DefaultPace.Ping, errSilent
		h.mu.Unlock()
		for period := range int64(3) {
			c.SetLine(Line{Name: "fibre", Mode: Connected, Period: 10 + period})
			after(time.Hour)
		}
		if s := c.Status(); s.Mode != Visits {
			t.Errorf("a line that forgets connections is %s in its next period", s.Mode)
		}
	})
}

// A day later a connection is tried again on the same line, and kept if it lasts.
func TestTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, h := member(t, Box{})
		h.dies, h.how = 2*DefaultPace.Ping, errSilent
		run(t, c)
		c.SetLine(Line{Name: "phone", Mode: Connected})
		after(time.Hour)
		h.mu.Lock()
		h.dies = 0
		h.mu.Unlock()
		after(2 * DefaultPace.Day)
		if s := c.Status(); s.Mode != Connected || !s.Connected {
			t.Errorf("two days later it is %+v", s)
		}
		n := h.count()
		after(DefaultPace.Day)
		if h.count() != n {
			t.Error("a connection that lasts is made again")
		}
	})
}

// A connection that answered a ping is not a silent death.
func TestLastingConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, h := member(t, Box{})
		h.dies, h.how = lasting(DefaultPace.Ping), errSilent
		run(t, c)
		c.SetLine(Line{Name: "phone", Mode: Connected})
		after(10 * time.Hour)
		if s := c.Status(); s.Mode != Connected {
			t.Errorf("connections of %s lead to %s", h.dies, s.Mode)
		}
	})
}

// Lines that come and go, and a hub that hangs up, cause no more connections than a dead hub does.
func TestFlapping(t *testing.T) {
	for name, flap := range map[string]func(*Client, *hub){
		"the line": func(c *Client, _ *hub) {
			for i := range 24 * 60 * 6 {
				c.SetLine(Line{Name: []string{"fibre", "phone"}[i%2], Mode: Connected})
				time.Sleep(10 * time.Second)
			}
		},
		"the hub hangs up": func(c *Client, h *hub) {
			h.mu.Lock()
			h.dies, h.how = time.Second, errors.New("bye")
			h.mu.Unlock()
			c.SetLine(Line{Name: "fibre", Mode: Connected})
			time.Sleep(24 * time.Hour)
		},
		"no hub": func(c *Client, h *hub) {
			h.mu.Lock()
			h.refuse = errors.New("no route")
			h.mu.Unlock()
			c.SetLine(Line{Name: "fibre", Mode: Connected})
			time.Sleep(24 * time.Hour)
		},
		"refused": func(c *Client, h *hub) {
			h.mu.Lock()
			h.refuse = errRefused
			h.mu.Unlock()
			c.SetLine(Line{Name: "fibre", Mode: Connected})
			time.Sleep(24 * time.Hour)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, h := member(t, Box{})
				run(t, c)
				flap(c, h)
				synctest.Wait()
				most := map[string]int{"the line": 12, "the hub hangs up": 12, "no hub": 250, "refused": 20}[name]
				h.mu.Lock()
				defer h.mu.Unlock()
				if n := len(h.dials) + h.asked; n < 4 || n > most {
					t.Errorf("%d connections in a day", n)
				}
				if (h.asked > 0) != (name == "refused") {
					t.Errorf("it asked %d times for another token", h.asked)
				}
				for i, at := range h.dials[1:] {
					if d := at.Sub(h.dials[i]); d < DefaultPace.Retry {
						t.Fatalf("connections %d and %d are %s apart", i, i+1, d)
					}
				}
			})
		})
	}
}

// A box whose token is refused gets another one if the hubs' signing key was replaced, but no token of another association.
func TestRenewedToken(t *testing.T) {
	for of, want := range map[string]string{"lilas": "another", "roses": "token"} {
		synctest.Test(t, func(t *testing.T) {
			c, h := member(t, Box{})
			h.refuse, h.token, h.of = errRefused, "another", of
			run(t, c)
			c.SetLine(Line{Name: "fibre", Mode: Connected})
			after(time.Minute)
			me, err := c.store.load()
			if err != nil || me.Token != want || me.Association != "lilas" || c.Status().Connected != (want == "another") {
				t.Errorf("%s: it has the token %q of %s, %v, and is %+v", of, me.Token, me.Association, err, c.Status())
			}
		})
	}
}

// A report that the hub acknowledged and lost is sent again until the hub shows it.
func TestLostReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := Report{"day.0104", []byte("sums")}
		pending := []Report{r, {"day.0105", make([]byte, protocol.MaxReport+1)}, {"day.0106", nil}}
		var mu sync.Mutex
		left := func() int {
			mu.Lock()
			defer mu.Unlock()
			return len(pending)
		}
		c, h := member(t, Box{Reports: func() []Report {
			mu.Lock()
			defer mu.Unlock()
			return pending
		}, Shown: func(shown Report) {
			mu.Lock()
			defer mu.Unlock()
			if shown.Name != r.Name {
				t.Errorf("%s is shown", shown.Name)
			}
			pending = pending[1:]
		}})
		h.lose = true
		run(t, c)
		c.SetLine(Line{Name: "fibre", Mode: Visits})
		after(24 * time.Hour)
		if left() != 3 {
			t.Fatal("a lost report is done")
		}
		h.mu.Lock()
		h.lose = false
		h.mu.Unlock()
		after(DefaultPace.Visit)
		if left() != 3 {
			t.Fatal("a report is done before a later round")
		}
		after(DefaultPace.Visit)
		if left() != 2 {
			t.Error("a report that the hub shows is sent again")
		}
	})
}

// A wake of this box alone starts a round at once, and so does Look. A wake of many boxes starts one after some jitter.
func TestWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, h := member(t, Box{})
		run(t, c)
		c.SetLine(Line{Name: "fibre", Mode: Connected})
		after(time.Minute)
		if h.rounds() != 1 {
			t.Fatalf("%d rounds at first", h.rounds())
		}
		l := h.first()
		l.wake <- wake{}
		synctest.Wait()
		if h.rounds() != 2 {
			t.Errorf("%d rounds after a wake of its own", h.rounds())
		}
		l.wake <- wake{many: true}
		l.wake <- wake{many: true}
		synctest.Wait()
		if h.rounds() != 2 {
			t.Error("a wake of all is followed at once")
		}
		after(DefaultPace.Spread)
		if h.rounds() != 3 {
			t.Errorf("%d rounds after a wake of all", h.rounds())
		}
		for range 100 {
			c.Look()
			synctest.Wait()
		}
		if h.rounds() != 4 {
			t.Errorf("%d rounds at once after looks", h.rounds())
		}
		after(DefaultPace.Retry)
		if h.rounds() != 5 {
			t.Errorf("%d rounds after looks", h.rounds())
		}
		after(DefaultPace.Round)
		if h.rounds() != 6 {
			t.Errorf("%d rounds after the usual time", h.rounds())
		}
	})
}

// A hub may answer before it has received what another hub woke the box for. The box asks again, less and less often, and gives up in
// the end. A wake that announces nothing changes nothing.
func TestBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var commands []string
		c, h := member(t, Box{Command: func(text []byte) { commands = append(commands, string(text)) }})
		run(t, c)
		c.SetLine(Line{Name: "fibre", Mode: Connected})
		after(time.Minute)
		store := func(body string, sequence uint64) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.stored[protocol.SubjectCommand("lilas", c.Status().Box)] = message{body: []byte(body), sequence: sequence}
		}
		l := h.first()
		woken := func(sequence uint64) {
			l.wake <- wake{must: protocol.Wake{Stream: protocol.StreamCommand, Sequence: sequence}}
			synctest.Wait()
		}
		store("pause", 6)
		woken(7)
		if h.rounds() != 2 || c.Status().Behind != 1 {
			t.Fatalf("%d rounds, %d times behind", h.rounds(), c.Status().Behind)
		}
		store("resume", 7)
		after(2 * DefaultPace.Retry)
		if want := []string{"pause", "resume"}; h.rounds() != 3 || !slices.Equal(commands, want) {
			t.Fatalf("%d rounds, %q: the box did not ask again", h.rounds(), commands)
		}
		after(time.Hour)
		if h.rounds() != 3 || c.Status().Behind != 1 {
			t.Errorf("%d rounds once the hub has shown it, %d times behind", h.rounds(), c.Status().Behind)
		}
		// The box does not wait for ever for what was lost with a hub's disk.
		woken(1000)
		after(time.Hour)
		if h.rounds() != 3+1+maxBehind {
			t.Errorf("%d rounds for what no hub shows", h.rounds())
		}
		// A hub that lost its disk counts from the start again, and its next wake announces the new number.
		woken(1000)
		store("pause again", 1)
		woken(1)
		after(time.Minute)
		before := h.rounds()
		after(time.Hour)
		if commands[len(commands)-1] != "pause again" || h.rounds() != before {
			t.Errorf("%q, %d rounds after %d", commands, h.rounds(), before)
		}
	})
}

// unheeded is for a source whose messages nobody was woken for.
func unheeded() func(string, uint64) { return func(string, uint64) {} }

// The box also asks again for signed files that a hub has not received yet, once it has read those that are there. It does not wait
// for files that it then does not read.
func TestBehindWithFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const file = "metadata/timestamp.json"
		var read []string
		reads := true
		c, h := member(t, Box{Fetch: func(ctx context.Context, s Source, _ Group) {
			if sleep(ctx, time.Second) && reads {
				text, err := s.Read(ctx, file, 100)
				read = append(read, fmt.Sprint(string(text), err))
			}
		}})
		store := func(body string, sequence uint64) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.stored[protocol.SubjectPack(file, 0)] = message{body: []byte(body), chunks: "1", sequence: sequence}
		}
		store("old", 6)
		run(t, c)
		c.SetLine(Line{Name: "fibre", Mode: Connected})
		after(time.Minute)
		l := h.first()
		woken := func(sequence uint64) {
			l.wake <- wake{must: protocol.Wake{Stream: protocol.StreamPack, Sequence: sequence, File: file}}
			after(2 * time.Second)
		}
		woken(7)
		store("new", 7)
		after(time.Hour)
		if want := []string{"old<nil>", "old<nil>", "new<nil>"}; !slices.Equal(read, want) || c.Status().Behind != 1 {
			t.Fatalf("the box has read %q, %d times behind", read, c.Status().Behind)
		}
		woken(1000) // lost with a hub's disk
		after(time.Hour)
		if len(read) != 3+1+maxBehind {
			t.Errorf("read %d times what no hub shows", len(read))
		}
		// An answer from before a wake may be older: the wake has the box ask again, and once is enough.
		store("newer", 1000)
		before, begun := c.Status().Behind, len(read)
		h.mu.Lock()
		h.late = 3 * time.Second
		h.mu.Unlock()
		c.Look()
		after(2 * time.Second)
		store("newest", 1001)
		woken(1001)
		after(time.Hour)
		if got := read[begun:]; !slices.Equal(got, []string{"newer<nil>", "newest<nil>"}) || c.Status().Behind != before {
			t.Errorf("the box has read %q, and was %d times behind, before %d", got, c.Status().Behind, before)
		}
		reads = false // as when the budget is used up
		before = c.Status().Behind
		woken(1002)
		after(time.Hour)
		if c.Status().Behind != before {
			t.Error("the box asked again for what it does not read")
		}
		// A hub that announces files without end does not fill the memory.
		for i := range 10 * maxMust {
			l.wake <- wake{must: protocol.Wake{Stream: protocol.StreamPack, Sequence: 1, File: strconv.Itoa(i)}}
			synctest.Wait()
		}
		if n := len(c.must); n > maxMust {
			t.Errorf("the box remembers %d wakes", n)
		}
	})
}

// A press on the dashboard takes effect at once, and the box's report of it follows at once. With endless presses there is one round
// in Pace.Retry.
func TestBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, h := member(t, Box{})
		run(t, c)
		c.SetLine(Line{Name: "fibre", Mode: Connected})
		after(time.Minute)
		first, begun := h.rounds(), time.Now()
		var at []time.Duration // start of each round
		for time.Since(begun) < time.Minute {
			c.Look()
			after(100 * time.Millisecond)
			for len(at) < h.rounds()-first {
				at = append(at, time.Since(begun))
			}
		}
		if len(at) < burst || at[burst-1] > burst*DefaultPace.Retry/5+time.Second {
			t.Fatalf("rounds at %v", at)
		}
		for i := range at {
			if i >= burst && at[i]-at[i-burst] < burst*DefaultPace.Retry-100*time.Millisecond {
				t.Errorf("rounds %d to %d within %s", i-burst, i, at[i]-at[i-burst])
			}
		}
		if want := burst + int(time.Minute/DefaultPace.Retry); len(at) > want || len(at) < want-burst {
			t.Errorf("%d rounds in a minute", len(at))
		}
	})
}

// In visits mode Look waits for the next visit. Hurry does not, and causes one visit only.
func TestHurry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, h := member(t, Box{})
		run(t, c)
		c.SetLine(Line{Name: "phone", Mode: Visits})
		after(time.Minute)
		c.Look()
		after(time.Hour)
		if h.count() != 1 {
			t.Fatalf("%d visits", h.count())
		}
		c.Hurry()
		c.Hurry()
		after(time.Minute)
		if h.count() != 2 {
			t.Errorf("%d visits after a hurry", h.count())
		}
		after(4 * time.Hour)
		if h.count() != 2 {
			t.Errorf("%d visits: a hurry was paid twice", h.count())
		}
		after(2 * time.Hour)
		if h.count() != 3 {
			t.Errorf("%d visits: the usual one is missing", h.count())
		}
	})
}

// On a slow line a round does not wait for one answer after the other: one day's report takes the time of three answers, and so do
// those of eight days.
func TestRoundOnSlowLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reports []Report
		for i := range atOnce {
			day := protocol.Day(time.Date(2027, 1, 1+i, 0, 0, 0, 0, time.UTC).Format(time.DateOnly))
			reports = append(reports, Report{Name: day.Report(), Body: []byte("{}")})
		}
		shown := 0
		c, h := member(t, Box{Reports: func() []Report { return reports }, Shown: func(Report) { shown++ }})
		h.slow = time.Second
		run(t, c)
		c.SetLine(Line{Name: "phone", Mode: Connected})
		after(3 * time.Second)
		if s := c.Status(); s.Round.IsZero() || shown != 0 {
			t.Errorf("after three answers' time: %+v, %d reports are shown", s, shown)
		}
		c.Look()
		after(DefaultPace.Retry + 2*time.Second)
		if shown != len(reports) {
			t.Errorf("%d of %d reports are shown after another round", shown, len(reports))
		}
	})
}

// What a lying hub sends is bounded: regions, commands and files.
func TestTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, h := member(t, Box{Command: func(body []byte) { t.Errorf("the box is told a command of %d bytes", len(body)) }})
		command := protocol.SubjectCommand("lilas", c.Status().Box)
		h.stored[command] = message{body: make([]byte, protocol.MaxCommand+1)}
		run(t, c)
		c.SetLine(Line{Name: "fibre", Mode: Connected})
		for what, wrong := range map[string]string{
			"a command that is too long": "bytes", "a region that is too long": "bytes", "a region with a wildcard": "a name has",
		} {
			h.mu.Lock()
			switch what {
			case "a region that is too long":
				h.stored[protocol.SubjectRegion("lilas")] = message{body: make([]byte, protocol.MaxName+1)}
			case "a region with a wildcard":
				h.stored[protocol.SubjectRegion("lilas")] = message{body: []byte("nord.>")}
			default:
				delete(h.stored, protocol.SubjectRegion("lilas"))
			}
			h.mu.Unlock()
			after(time.Hour)
			if s := c.Status(); !strings.Contains(s.Err, wrong) || !s.Round.IsZero() || s.Region != "" {
				t.Errorf("%s: %+v", what, s)
			}
		}
		c.SetLine(Line{})
	})
	h := &hub{stored: map[string]message{}}
	l, err := h.dial(t.Context(), identity{})
	if err != nil {
		t.Fatal(err)
	}
	read := func(file string, chunks string, bodies ...int) (int, error) {
		clear(h.stored)
		for i, n := range bodies {
			h.stored[protocol.SubjectPack(file, i)] = message{body: make([]byte, n), chunks: chunks}
		}
		text, err := source{l, unheeded, new(*part)}.Read(t.Context(), file, 2*protocol.ChunkSize)
		return len(text), err
	}
	for name, c := range map[string]struct {
		chunks string
		bodies []int
		want   int
		err    error
	}{
		"one chunk":       {"1", []int{7}, 7, nil},
		"two chunks":      {"2", []int{protocol.ChunkSize, 7}, protocol.ChunkSize + 7, nil},
		"nothing in it":   {"1", []int{0}, 0, nil},
		"not there":       {"", nil, 0, fs.ErrNotExist},
		"a chunk missing": {"3", []int{7, 7}, 0, fs.ErrNotExist},
		"longer":          {"3", []int{protocol.ChunkSize, protocol.ChunkSize, 1}, 0, errTooLong},
		"no end of it":    {"1000000000", []int{0, 0, 0, 0, 0}, 0, errTooLong},
		"nonsense":        {"x", []int{7}, 0, strconv.ErrSyntax},
	} {
		if n, err := read(name, c.chunks, c.bodies...); n != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
	}
}

// Fetch runs beside the rounds, never twice at a time, and once more after a round that found it running. A visit waits for it, and it
// ends with the connection.
func TestFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most, ended atomic.Int32
		c, h := member(t, Box{Fetch: func(ctx context.Context, _ Source, of Group) {
			if of != (Group{"lilas", "nord"}) {
				t.Errorf("it belongs to %+v", of)
			}
			most.Store(max(most.Load(), running.Add(1)))
			select {
			case <-ctx.Done():
			case <-time.After(time.Hour):
				ended.Add(1)
			}
			running.Add(-1)
		}})
		h.stored[protocol.SubjectRegion("lilas")] = message{body: []byte("nord")}
		run(t, c)
		c.SetLine(Line{Name: "fibre", Mode: Visits})
		after(30 * time.Minute)
		if !c.Status().Connected {
			t.Error("a visit ends before what it fetches")
		}
		after(time.Hour)
		if c.Status().Connected || ended.Load() != 1 {
			t.Errorf("after %d fetches the visit is over: %v", ended.Load(), !c.Status().Connected)
		}
		c.SetLine(Line{Name: "fibre", Mode: Connected})
		after(time.Minute)
		c.Look()
		after(time.Minute)
		h.mu.Lock()
		l := h.open[len(h.open)-1]
		h.mu.Unlock()
		if running.Load() != 1 || most.Load() != 1 {
			t.Errorf("%d at a time", most.Load())
		}
		after(time.Hour)
		if ended.Load() != 2 || running.Load() != 1 || most.Load() != 1 {
			t.Errorf("after a round during a fetch: %d fetches are over, %d running", ended.Load(), running.Load())
		}
		after(time.Hour)
		if ended.Load() != 3 || running.Load() != 0 {
			t.Errorf("without another round: %d fetches are over, %d running", ended.Load(), running.Load())
		}
		c.Look()
		after(time.Minute)
		l.end(errSilent)
		synctest.Wait()
		if running.Load() != 0 {
			t.Error("it goes on without a connection")
		}
	})
}

// After a power cut the card has either the old membership or the new one, and a damaged file is reported.
func TestStore(t *testing.T) {
	t.Parallel()
	s := store{t.TempDir()}
	if m, err := s.load(); err != nil || m != (membership{}) {
		t.Fatalf("an empty folder: %+v, %v", m, err)
	}
	m, err := s.begin(membership{}, "0123456789")
	if err != nil {
		t.Fatal(err)
	}
	if loaded, err := s.load(); err != nil || loaded != m {
		t.Errorf("%+v is loaded as %+v, %v", m, loaded, err)
	}
	again, err := s.begin(m, "9876543210")
	if err != nil || again.Seed != m.Seed || again.name() != m.name() {
		t.Errorf("another code makes another key: %v", err)
	}
	pair, err := nkeys.FromSeed([]byte(m.Seed))
	if err != nil {
		t.Fatal(err)
	}
	if p, err := pair.PublicKey(); err != nil || protocol.BoxName(p) != m.name() {
		t.Errorf("the box's name is not of its key: %v", err)
	}
	if err := s.save(membership{Seed: "x"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.load(); err == nil {
		t.Error("a damaged file is loaded")
	}
	if err := s.clear(); err != nil {
		t.Fatal(err)
	}
	if err := s.clear(); err != nil {
		t.Errorf("clearing twice: %v", err)
	}
}

func ExampleMode() {
	fmt.Println(Away, Visits, Connected)
	// Output: away visits connected
}

// The part of a file that was read before a connection ended is not read again, unless the file has changed since.
func TestPart(t *testing.T) {
	const file, never = "targets/file", -1
	h := &hub{stored: map[string]message{}}
	l, err := h.dial(t.Context(), identity{})
	if err != nil {
		t.Fatal(err)
	}
	store := func(letter string, chunks int) {
		clear(h.stored)
		for i := range chunks {
			h.stored[protocol.SubjectPack(file, i)] = message{body: []byte(strings.Repeat(letter, protocol.ChunkSize)), chunks: strconv.Itoa(chunks)}
		}
	}
	var kept *part
	// read reads until the connection ends after cut chunks.
	read := func(name string, cut int) (string, int, error) {
		before := h.read
		text, err := source{&cutLink{l, cut}, unheeded, &kept}.Read(t.Context(), name, 10*protocol.ChunkSize)
		return string(text), h.read - before, err
	}
	whole := func(letter string, chunks int) string { return strings.Repeat(letter, chunks*protocol.ChunkSize) }

	store("a", 5)
	if _, n, err := read(file, 3); n != 3 || !errors.Is(err, net.ErrClosed) {
		t.Fatalf("%d chunks, %v", n, err)
	}
	if _, n, err := read(file, 1); n != 1 || !errors.Is(err, net.ErrClosed) {
		t.Fatalf("%d chunks, %v", n, err)
	}
	if text, n, err := read(file, never); text != whole("a", 5) || n != 1 || err != nil {
		t.Errorf("%d bytes, %d chunks, %v", len(text), n, err)
	}
	if text, n, err := read(file, never); text != whole("a", 5) || n != 5 || err != nil {
		t.Errorf("once more: %d bytes, %d chunks, %v", len(text), n, err)
	}
	read(file, 3)
	if _, _, err := read("targets/other", never); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if text, n, err := read(file, never); text != whole("a", 5) || n != 2 || err != nil {
		t.Errorf("after another file: %d bytes, %d chunks, %v", len(text), n, err)
	}
	read(file, 3)
	store("b", 4)
	if _, _, err := read(file, never); !errors.Is(err, errChanged) {
		t.Errorf("of two editions: %v", err)
	}
	if text, n, err := read(file, never); text != whole("b", 4) || n != 4 || err != nil {
		t.Errorf("the other edition: %d bytes, %d chunks, %v", len(text), n, err)
	}
}

// cutLink is a link that ends after left answers; never if left is negative.
type cutLink struct {
	link
	left int
}

func (l *cutLink) get(ctx context.Context, stream, subject string) (message, error) {
	if l.left == 0 {
		return message{}, net.ErrClosed
	}
	l.left--
	return l.link.get(ctx, stream, subject)
}
