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

// Claim claims an alert for this hub. It returns false if a hub has claimed it already. It implements alerts.Memory, as Claimed and Release do.
func (r *Registry) Claim(ctx context.Context, key string) (bool, error) {
	_, err := r.values.Create(ctx, ofTold+key, nil)
	if errors.Is(err, jetstream.ErrKeyExists) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("claim an alert: %w", err)
	}
	return true, nil
}

// Claimed returns the alerts that are claimed, and when each was.
func (r *Registry) Claimed(ctx context.Context) (map[string]time.Time, error) {
	keys, err := r.values.ListKeysFiltered(ctx, ofTold+">")
	if err != nil {
		return nil, fmt.Errorf("list the alerts: %w", err)
	}
	defer keys.Stop()
	all := map[string]time.Time{}
	for key := range keys.Keys() {
		e, err := r.values.Get(ctx, key)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			continue // another hub released it meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("list the alerts: %w", err)
		}
		all[strings.TrimPrefix(key, ofTold)] = e.Created()
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
