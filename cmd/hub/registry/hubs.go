package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Keys of what the hubs know of themselves.
const (
	keySigning = "signing"
	ofHubs     = "hub."
)

// signing is which secret the hubs have.
type signing struct {
	Key string `json:"key"` // public, of authority.Keys.Signing
}

// NoteKeys writes into the audit that the hubs' secret was replaced, once. The hub that leads calls it when it starts: a secret
// is replaced where no hub is.
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

// PutHub says how long this hub's certificate holds.
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

// Hubs returns the hubs that ever served, by name.
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
