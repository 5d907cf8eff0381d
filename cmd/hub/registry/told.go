package registry

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// ofTold is the prefix of the keys of alerts that a hub has claimed.
const ofTold = "told."

// sending is the value of an alert that a hub has claimed and not sent yet. One that was sent has no value.
const sending = "sending"

// Claim is a hub's claim of an alert.
type Claim struct {
	Since    time.Time // when it was claimed, or sent
	Sent     bool
	revision uint64
}

// Claim claims an alert for this hub. before is the claim that it takes over, the zero value for none. It returns false if another hub was
// faster. It implements alerts.Memory, as Sent, Claimed and Release do.
func (r *Registry) Claim(ctx context.Context, key string, before Claim) (bool, error) {
	var err error
	if before.revision == 0 {
		_, err = r.values.Create(ctx, ofTold+key, []byte(sending))
	} else {
		_, err = r.values.Update(ctx, ofTold+key, []byte(sending), before.revision)
	}
	if wrongSequence(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("claim an alert: %w", err)
	}
	return true, nil
}

// Sent notes that a claimed alert was sent.
func (r *Registry) Sent(ctx context.Context, key string) error {
	if _, err := r.values.Put(ctx, ofTold+key, nil); err != nil {
		return fmt.Errorf("note that an alert was sent: %w", err)
	}
	return nil
}

// Claimed returns the alerts that are claimed.
func (r *Registry) Claimed(ctx context.Context) (map[string]Claim, error) {
	keys, err := r.values.ListKeysFiltered(ctx, ofTold+">")
	if err != nil {
		return nil, fmt.Errorf("list the alerts: %w", err)
	}
	defer keys.Stop()
	all := map[string]Claim{}
	for key := range keys.Keys() {
		e, err := r.values.Get(ctx, key)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			continue // another hub released it meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("list the alerts: %w", err)
		}
		all[strings.TrimPrefix(key, ofTold)] = Claim{Since: e.Created(), Sent: string(e.Value()) != sending, revision: e.Revision()}
	}
	return all, nil
}

// Release forgets that an alert was claimed.
func (r *Registry) Release(ctx context.Context, key string) error {
	if err := r.values.Purge(ctx, ofTold+key); err != nil {
		return fmt.Errorf("release an alert: %w", err)
	}
	return nil
}

// Away returns the names of the hubs that are offline. It sees only those that store the audit: all of three hubs, or three of five.
func (r *Registry) Away(ctx context.Context) (away []string, err error) {
	s, err := stream(ctx, r.own, streamAudit)
	if err != nil {
		return nil, fmt.Errorf("how the hubs are: %w", err)
	}
	if i := s.CachedInfo(); i.Cluster != nil {
		for _, p := range i.Cluster.Replicas {
			if p.Offline {
				away = append(away, p.Name)
			}
		}
	}
	return away, nil
}
