package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"passerelle/appliance/fleet/protocol"
	"passerelle/appliance/fleet/rollout"
)

// Phase is the state of a roll-out.
type Phase string

// Phases.
const (
	Going     Phase = "going"
	Halted    Phase = "halted"    // until a person resumes or abandons it
	Abandoned Phase = "abandoned" // for ever: the signers withdraw the release
)

// Rollout is the roll-out of a release: how far it may go. The zero Rollout is none.
type Rollout struct {
	Version  string       `json:"version"` // as boxes report it
	Release  rollout.Hash `json:"release"`
	Permille int          `json:"permille"`
	Phase    Phase        `json:"phase"`
	Why      string       `json:"why,omitempty"`      // why a hub halted it, a word of package stages; "" if a person did
	Began    time.Time    `json:"began"`              // when the stage with this permille began
	Accepted int          `json:"accepted,omitempty"` // how many boxes did badly when a person last raised or resumed it
	By       string       `json:"by"`                 // who changed it last
	Number   int64        `json:"number"`             // of the signed stage
	Until    time.Time    `json:"until"`              // when the signed stage ends
	Text     []byte       `json:"text"`               // the signed stage
}

// keyRollout is the key of the roll-out. There is only one at a time.
const keyRollout = "rollout"

// Rollout returns the roll-out; ok is false if there never was one.
func (r *Registry) Rollout(ctx context.Context) (x Rollout, ok bool, err error) {
	x, revision, err := get[Rollout](ctx, r, keyRollout)
	return x, revision != 0, err
}

// ChangeRollout lets edit change the roll-out, signs the new stage, and publishes it. If edit returns an error, nothing changes. edit may be
// called several times.
func (r *Registry) ChangeRollout(ctx context.Context, author, did string, edit func(*Rollout) error) error {
	x, _, err := get[Rollout](ctx, r, keyRollout)
	if err != nil {
		return err
	}
	if err := edit(&x); err != nil {
		return err
	}
	if err := r.audit(ctx, author, did, x.Version, fmt.Sprintf("%d of %d, %s %s", x.Permille, rollout.All, x.Phase, x.Why)); err != nil {
		return err
	}
	if x, err = change(ctx, r, keyRollout, func(x *Rollout) (bool, error) {
		if err := edit(x); err != nil {
			return false, err
		}
		now := r.now().UTC().Truncate(time.Second)
		// The number is at least the Unix time, so that it is above all that boxes have seen even if the hubs lost their store.
		x.By, x.Number, x.Until = author, max(now.Unix(), x.Number+1), now.Add(rollout.Longest)
		var err error
		x.Text, err = r.keys.Stage(rollout.Stage{Release: x.Release, Permille: x.Permille, Halted: x.Phase != Going, Number: x.Number, Until: x.Until})
		return true, err
	}); err != nil {
		return err
	}
	return r.PublishRollout(ctx, x)
}

// PublishRollout publishes the signed stage of a roll-out and wakes the boxes, unless that stage is published already.
func (r *Registry) PublishRollout(ctx context.Context, x Rollout) error {
	s, err := stream(ctx, r.boxes, protocol.StreamPack)
	if err != nil {
		return fmt.Errorf("publish the stage: %w", err)
	}
	m, err := newest(ctx, s, protocol.SubjectPack(rollout.File, 0))
	if err == nil && bytes.Equal(m.Data, x.Text) {
		return nil
	}
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return fmt.Errorf("publish the stage: %w", err)
	}
	w, err := r.PutFile(ctx, rollout.File, x.Text)
	if err != nil {
		return err
	}
	return r.WakeAll(w)
}
