package registrar

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"passerelle/appliance/fleet/protocol"
)

// slow is a registry that answers a number of questions as if it had not heard of a decision yet.
type slow struct {
	mu      sync.Mutex
	stale   int // how many answers ignore the decision
	asked   int
	decided bool
	first   chan struct{} // closed by the first question
	watch   chan func(box string, waits bool)
}

func (r *slow) Ask(context.Context, protocol.Ask) (protocol.Answer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asked++; r.asked == 1 {
		close(r.first)
	}
	if r.decided && r.stale > 0 {
		r.stale--
	} else if r.decided {
		return protocol.Answer{State: protocol.Member}, nil
	}
	return protocol.Answer{State: protocol.Waiting}, nil
}

func (r *slow) WatchBoxes(ctx context.Context, changed func(box string, waits bool)) error {
	r.watch <- changed
	<-ctx.Done()
	return nil
}

// serve runs a registrar with a NATS server of its own, and returns a box's connection and a function that announces a decision.
func serve(t *testing.T, r *slow) (box *nats.Conn, changed func(box string, waits bool)) {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	connect := func() *nats.Conn {
		c, err := nats.Connect("", nats.InProcessServer(s))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	hub, box := connect(), connect()
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error)
	r.first, r.watch = make(chan struct{}), make(chan func(string, bool))
	go func() { served <- Serve(ctx, hub, r, time.Now, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		box.Close()
		hub.Close()
		s.Shutdown()
		s.WaitForShutdown()
	})
	changed = <-r.watch
	if err := hub.Flush(); err != nil { // the registrar subscribes before the watch reports anything
		t.Fatal(err)
	}
	return box, changed
}

const key = "UCZVJLYZ6QJ3FNEZRQVYRJZQYDNQ3NVJ3YRDCVJVSEZUKZSGZSNYYZZA"

// TestDecisionIsNotMissed: a box whose question is kept hears of the decision, and is not told at the end of the hold time that it still
// waits. That is so even if the watch reports the decision before the registry knows of it, or before the question comes.
func TestDecisionIsNotMissed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		before bool // the decision comes before the question
		stale  int
	}{
		{"known at once", false, 0}, {"kept", false, 2}, {"before the question", true, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := &slow{stale: c.stale}
			box, changed := serve(t, r)
			decide := func() {
				r.mu.Lock()
				r.decided = true
				r.mu.Unlock()
				changed(protocol.BoxName(key), false)
			}
			if c.before {
				decide()
			}
			question, err := json.Marshal(protocol.Ask{Key: key, Hold: int(protocol.MaxHold.Milliseconds())})
			if err != nil {
				t.Fatal(err)
			}
			answered := make(chan protocol.Answer, 1)
			go func() {
				var a protocol.Answer
				m, err := box.Request(protocol.SubjectAsk, question, protocol.MaxHold+10*time.Second)
				if err == nil {
					err = json.Unmarshal(m.Data, &a)
				}
				if err != nil {
					t.Error(err)
				}
				answered <- a
			}()
			if !c.before {
				select {
				case <-r.first:
				case <-time.After(protocol.MaxHold):
					t.Fatal("the registry was not asked")
				}
				decide()
			}
			if a := <-answered; a.State != protocol.Member {
				t.Errorf("the answer is %+v", a)
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			if want := c.stale + 2; r.asked > want {
				t.Errorf("the registry was asked %d times, and %d answers were old", r.asked, c.stale)
			}
		})
	}
}

// TestWaits: the change that makes a box wait, which its own question causes, releases no question and causes no further request to the
// registry.
func TestWaits(t *testing.T) {
	t.Parallel()
	r := &slow{}
	box, changed := serve(t, r)
	question, err := json.Marshal(protocol.Ask{Key: key, Hold: 300})
	if err != nil {
		t.Fatal(err)
	}
	changed(protocol.BoxName(key), true)
	m, err := box.Request(protocol.SubjectAsk, question, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var a protocol.Answer
	if err := json.Unmarshal(m.Data, &a); err != nil || a.State != protocol.Waiting || r.asked != 1 {
		t.Errorf("the answer is %+v, %v, after %d questions", a, err, r.asked)
	}
}
