// Package registrar answers boxes that ask for a membership. It owns how many questions are answered at
// once. It must not know how memberships are stored: package registry does.
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

// Registry answers an Ask.
type Registry interface {
	Ask(context.Context, protocol.Ask) (protocol.Answer, error)
}

const (
	atOnce   = 16
	waiting  = 1024 // questions that wait for that; a box asks again
	patience = 10 * time.Second
	// infoHeader has who asked, since ENROL's import of the service is shared (NATS server: accounts.go, ClientInfoHdr).
	infoHeader = "Nats-Request-Info"
)

// Serve answers what comes over the connection (as the hub in HUB), until ctx ends. Each question goes to one of the hubs.
func Serve(ctx context.Context, c *nats.Conn, r Registry, now func() time.Time, log *slog.Logger) error {
	limit := &attempts.Limit{Now: now}
	questions := make(chan *nats.Msg, waiting)
	s, err := c.ChanQueueSubscribe(protocol.SubjectAsk, "registrar", questions)
	if err != nil {
		return fmt.Errorf("serve enrolments: %w", err)
	}
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case m := <-questions:
					answer(ctx, m, r, limit, log)
				}
			}
		})
	}
	workers.Wait()
	if err := s.Unsubscribe(); err != nil && !c.IsClosed() {
		return fmt.Errorf("serve enrolments: %w", err)
	}
	return nil
}

func answer(ctx context.Context, m *nats.Msg, r Registry, l *attempts.Limit, log *slog.Logger) {
	var from struct {
		Host string `json:"host"`
	}
	// Without a header that can be read, the question counts for the address "".
	if err := json.Unmarshal([]byte(m.Header.Get(infoHeader)), &from); err != nil {
		log.Warn("an enrolment from nowhere", "err", err)
	}
	a := protocol.Answer{State: protocol.Busy}
	if l.Allowed(from.Host) {
		var ask protocol.Ask
		if err := json.Unmarshal(m.Data, &ask); err != nil {
			a.State = protocol.Unknown
		} else {
			ctx, stop := context.WithTimeout(ctx, patience)
			defer stop()
			if a, err = r.Ask(ctx, ask); err != nil {
				log.Warn("an enrolment could not be answered", "err", err)
				return // the box asks again
			}
		}
		if a.State == protocol.Unknown {
			l.Wrong(from.Host)
		}
	}
	text, err := json.Marshal(a)
	if err == nil {
		err = m.Respond(text)
	}
	if err != nil {
		log.Warn("an enrolment could not be answered", "err", err)
	}
}
