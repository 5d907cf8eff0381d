package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"passerelle/appliance/fleet/protocol"
	"passerelle/cmd/hub/authority"
)

// Hears is a follower of the fleet. It is called with the current state first, then with each change, one call at a time.
type Hears interface {
	Members(authority.Members)
	Box(Box)
	// Report is called with a box's report: its name, as in [protocol.Reports], its body, and when the hubs received it.
	Report(association, box, name string, body []byte, at time.Time)
	// Whole is called once the whole current state has been reported.
	Whole()
}

// Follow calls h with what there is and what changes, until ctx ends. It costs one consumer and one watcher for each hub, not for each
// box, and no traffic on a box's line.
func (r *Registry) Follow(ctx context.Context, h Hears) error {
	fail := func(err error) error {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("follow the fleet: %w", err)
	}
	// inner ends when this returns, so that the consumer's callback does not block on a channel that nobody reads any more.
	inner, stop := context.WithCancel(ctx)
	defer stop()
	records, err := r.values.WatchFiltered(ctx, []string{keyMembers, ofBoxes + ">"}, jetstream.IgnoreDeletes())
	if err != nil {
		return fail(err)
	}
	defer records.Stop()
	// All records come before the reports, so that each box's association is known.
	for told := false; !told; {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-records.Updates():
			if !ok {
				return fail(errors.New("the records ended"))
			}
			if told = e == nil; told {
				continue
			}
			if err := tellRecord(h, e.Key(), e.Value()); err != nil {
				return fail(err)
			}
		}
	}
	reports, err := r.boxes.OrderedConsumer(ctx, protocol.StreamUp, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy})
	if err != nil {
		return fail(err)
	}
	up, err := stream(ctx, r.boxes, protocol.StreamUp)
	if err != nil {
		return fail(err)
	}
	whole := up.CachedInfo().State.Msgs == 0
	if whole {
		h.Whole()
	}
	said := make(chan jetstream.Msg)
	// An ordered consumer resumes where it was after this hub or the stream's leader was away.
	reading, err := reports.Consume(func(m jetstream.Msg) {
		select {
		case said <- m:
		case <-inner.Done():
		}
	})
	if err != nil {
		return fail(err)
	}
	defer reading.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-records.Updates():
			if !ok {
				return fail(errors.New("the records ended"))
			}
			if err := tellRecord(h, e.Key(), e.Value()); err != nil {
				return fail(err)
			}
		case m := <-said:
			about, err := m.Metadata()
			if err != nil {
				return fail(err)
			}
			if part := strings.SplitN(m.Subject(), ".", 4); len(part) == 4 {
				h.Report(part[1], part[2], part[3], m.Data(), heardAt(m, about.Timestamp))
			}
			if !whole && about.NumPending == 0 {
				whole = true
				h.Whole()
			}
		}
	}
}

func tellRecord(h Hears, key string, text []byte) error {
	if key == keyMembers {
		var m authority.Members
		if err := json.Unmarshal(text, &m); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		h.Members(m)
		return nil
	}
	b := Box{Name: strings.TrimPrefix(key, ofBoxes)}
	if err := json.Unmarshal(text, &b); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	h.Box(b)
	return nil
}
