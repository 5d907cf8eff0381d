package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Keys of the records about the hubs themselves.
const (
	keySigning = "signing"
	ofHubs     = "hub."
)

// signing is the record of which secret the hubs have.
type signing struct {
	Key string `json:"key"` // the public key that authority.Keys.Signing returns
}

// NoteKeys writes into the audit, once, that the hubs' secret was replaced. The leader calls it when it starts, since a secret is replaced
// offline, where there is no audit.
func (r *Registry) NoteKeys(ctx context.Context) error {
	now, err := r.keys.Signing()
	if err != nil {
		return err
	}
	before, _, err := get[signing](ctx, r, keySigning)
	if err != nil || before.Key == now {
		return err
	}
	if r.keys.By != "" {
		if err := r.audit(ctx, r.keys.By, "replace keys", now, "made "+r.keys.Made.UTC().Format(time.DateOnly)); err != nil {
			return err
		}
	}
	_, err = change(ctx, r, keySigning, func(s *signing) (bool, error) {
		s.Key = now
		return true, nil
	})
	return err
}

// Hub is what is known of a hub.
type Hub struct {
	Name  string    `json:"-"`
	Until time.Time `json:"until"` // when its certificate ends
}

// PutHub records when a hub's certificate ends.
func (r *Registry) PutHub(ctx context.Context, name string, until time.Time) error {
	_, err := change(ctx, r, ofHubs+name, func(h *Hub) (bool, error) {
		if h.Until.Equal(until) {
			return false, nil
		}
		h.Until = until.UTC()
		return true, nil
	})
	return err
}

// Hubs returns all hubs that ever served, sorted by name.
func (r *Registry) Hubs(ctx context.Context) (hubs []Hub, err error) {
	err = r.all(ctx, ofHubs+">", func(key string, text []byte) error {
		h := Hub{Name: strings.TrimPrefix(key, ofHubs)}
		if err := json.Unmarshal(text, &h); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		hubs = append(hubs, h)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the hubs: %w", err)
	}
	slices.SortFunc(hubs, func(a, b Hub) int { return strings.Compare(a.Name, b.Name) })
	return hubs, nil
}
