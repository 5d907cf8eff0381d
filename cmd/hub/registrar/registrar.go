// Package registrar answers boxes that ask for a membership. It owns how many questions are answered at
// once, and which answers wait. It must not know how memberships are stored: package registry does.
//
// If boxes that wait for a person's decision asked again and again, 1,300 of them would keep the hubs too busy to store the decisions. So
// a hub keeps such a question, as in long polling, until somebody decides on the box. A kept question costs nothing meanwhile.
package registrar

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"passerelle/appliance/fleet/protocol"
	"passerelle/cmd/hub/attempts"
)

// Registry answers an Ask, and says when another answer may be due.
type Registry interface {
	Ask(context.Context, protocol.Ask) (protocol.Answer, error)
	// WatchBoxes calls changed with the name of each box whose record changes, and whether the box waits for a decision after the change,
	// until ctx ends. It may report a change before Ask knows of it.
	WatchBoxes(ctx context.Context, changed func(box string, waits bool)) error
}

const (
	atOnce   = 16               // questions that are answered at once
	waiting  = 4096             // questions that may wait for a turn; a box whose question is dropped asks again
	patience = 20 * time.Second // timeout of one request to the registry
	// perBox is how many questions of one box are kept: it asks one at a time, but may have lost its connection and asked again.
	perBox = 4
	again  = time.Second // delay before a failed watch is started again
	// lag is the delay before the registry is asked again, if it does not know yet of a decision that the watch has reported.
	lag = 100 * time.Millisecond
	// remembered is for how long, at least, a decision is remembered here, since the registry may hear of it later.
	remembered = 30 * time.Second
	// infoHeader holds the client's address, since ENROL's import of the service is shared (NATS server: accounts.go, ClientInfoHdr).
	infoHeader = "Nats-Request-Info"
)

// registrar is the state of one Serve.
type registrar struct {
	Registry
	limit *attempts.Limit
	log   *slog.Logger
	turns chan struct{} // a semaphore: one element for each question that is being answered

	mu   sync.Mutex
	kept map[string]map[chan struct{}]bool // kept questions by box; a decision closes their channels
	// The boxes that were decided on since the time since, and in the period before it.
	decided, before map[string]bool
	since           time.Time // when decided began
}

// Serve answers the questions that come over the connection, which must be the hub's in account HUB, until ctx ends. The hubs share a queue
// group, so each question goes to one of them.
func Serve(ctx context.Context, c *nats.Conn, r Registry, now func() time.Time, log *slog.Logger) error {
	s := &registrar{Registry: r, limit: &attempts.Limit{Now: now}, log: log, turns: make(chan struct{}, atOnce), kept: map[string]map[chan struct{}]bool{}}
	questions := make(chan *nats.Msg, waiting)
	subscription, err := c.ChanQueueSubscribe(protocol.SubjectAsk, "registrar", questions)
	if err != nil {
		return fmt.Errorf("serve enrolments: %w", err)
	}
	var work sync.WaitGroup
	work.Go(func() { s.watch(ctx) })
	for more := true; more; {
		select {
		case <-ctx.Done():
			more = false
		case m := <-questions:
			if more = s.turn(ctx); more {
				work.Go(func() { s.answer(ctx, m) })
			}
		}
	}
	work.Wait()
	if err := subscription.Unsubscribe(); err != nil && !c.IsClosed() {
		return fmt.Errorf("serve enrolments: %w", err)
	}
	return nil
}

// turn waits until there is a turn to answer something. It returns false if ctx ends first.
func (s *registrar) turn(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case s.turns <- struct{}{}:
		return true
	}
}

// watch releases a box's kept questions when somebody decides on the box. While the watch is down, they end by their own timeout.
func (s *registrar) watch(ctx context.Context) {
	for {
		err := s.WatchBoxes(ctx, func(box string, waits bool) {
			if !waits {
				s.decide(box, time.Now())
			}
		})
		if ctx.Err() != nil {
			return
		}
		s.log.Warn("enrolments: watching again", "err", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(again):
		}
	}
}

// decide releases a box's kept questions, and remembers that the box was decided on.
func (s *registrar) decide(box string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.kept[box] {
		close(c)
	}
	delete(s.kept, box)
	if s.decided == nil || now.Sub(s.since) > remembered {
		s.decided, s.before, s.since = map[string]bool{}, s.decided, now
	}
	s.decided[box] = true
}

// late returns a channel that fires when the registry should be asked again, for a box that was decided on and still waits as far as the
// registry knows. It returns nil if the box was not decided on lately.
func (s *registrar) late(box string) <-chan time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.decided[box] && !s.before[box] {
		return nil
	}
	return time.After(lag)
}

// keep returns a channel that is closed when somebody decides on a box, and a function that forgets it. The channel is nil if the box has
// perBox kept questions already.
func (s *registrar) keep(box string) (decision chan struct{}, forget func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.kept[box]) >= perBox {
		return nil, func() {}
	}
	decision = make(chan struct{})
	if s.kept[box] == nil {
		s.kept[box] = map[chan struct{}]bool{}
	}
	s.kept[box][decision] = true
	return decision, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if delete(s.kept[box], decision); len(s.kept[box]) == 0 {
			delete(s.kept, box)
		}
	}
}

// answer answers one question. Its caller has taken a turn, which answer gives back, also while the question is kept.
func (s *registrar) answer(ctx context.Context, m *nats.Msg) {
	held := true
	leave := func() {
		if held {
			held = false
			<-s.turns
		}
	}
	defer leave()
	var from struct {
		Host string `json:"host"`
	}
	// Without a header that can be read, the question counts for the address "".
	if err := json.Unmarshal([]byte(m.Header.Get(infoHeader)), &from); err != nil {
		s.log.Warn("an enrolment from nowhere", "err", err)
	}
	if !s.limit.Allowed(from.Host) {
		s.respond(m, protocol.Answer{State: protocol.Busy})
		return
	}
	var ask protocol.Ask
	if err := json.Unmarshal(m.Data, &ask); err != nil {
		s.limit.Wrong(from.Host)
		s.respond(m, protocol.Answer{State: protocol.Unknown})
		return
	}
	end := time.After(min(time.Duration(ask.Hold)*time.Millisecond, protocol.MaxHold))
	var a protocol.Answer
	for over := ask.Hold <= 0; ; {
		// The question is kept before the registry is asked, so that no decision is missed in between.
		box := protocol.BoxName(ask.Key)
		decision, forget := s.keep(box)
		var ok bool
		if a, ok = s.ask(ctx, ask); !ok {
			forget()
			return // the box asks again
		}
		if over || a.State != protocol.Waiting || decision == nil {
			forget()
			break
		}
		leave()
		select {
		case <-ctx.Done():
			forget()
			return
		case <-end:
			over = true
		case <-decision:
		case <-s.late(box):
		}
		forget()
		if over {
			break
		}
		if held = s.turn(ctx); !held {
			return
		}
	}
	if a.State == protocol.Unknown {
		s.limit.Wrong(from.Host)
	}
	s.respond(m, a)
}

// ask asks the registry. ok is false if it returned an error, which is logged.
func (s *registrar) ask(ctx context.Context, ask protocol.Ask) (a protocol.Answer, ok bool) {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	a, err := s.Ask(ctx, ask)
	if err != nil {
		s.log.Warn("an enrolment could not be answered", "err", err)
	}
	return a, err == nil
}

func (s *registrar) respond(m *nats.Msg, a protocol.Answer) {
	text, err := json.Marshal(a)
	if err == nil {
		err = m.Respond(text)
	}
	if err != nil {
		s.log.Warn("an enrolment could not be answered", "err", err)
	}
}
