package appliance

import (
	"context"

	"passerelle/appliance/fleet/layer"
	"passerelle/appliance/state"
)

// Layers are what the box's fleet says about its configuration, and what a technician has accepted of it.
type Layers struct {
	All      []layer.Layer
	Accepted []string // essential services that were proposed
}

// layered is the result of merging layers with the technician's configuration.
type layered struct {
	said   Layers
	status *state.Layers // nil without a fleet
	notice *map[string]string
}

// SetLayers has the box use other layers. The error says why the kernel has not followed yet.
func (b *Box) SetLayers(ctx context.Context, l Layers) error {
	return b.change(ctx, func() {
		b.merge(l)
		b.configure()
	})
}

// merge computes the configuration in use, and ends what only a fleet wanted where the box is in none. One that no technician wrote has no layers.
func (b *Box) merge(l Layers) {
	b.config, b.layers = b.file, layered{said: l}
	if b.pause.Fleet && !b.file.Fleet.Member() {
		b.pause = Pause{} // nobody else could end it from afar
	}
	if !b.parts.Configured || !b.file.Fleet.Member() {
		return
	}
	r := layer.Merge(b.file, l.All, l.Accepted)
	s := &state.Layers{Set: []state.LayerKey{}, Refused: []state.LayerKey{}, Proposed: []state.Proposal{}}
	for _, x := range r.Set {
		s.Set = append(s.Set, state.LayerKey{Key: x.Key, Value: x.Value, By: x.By})
	}
	for _, x := range r.Refused {
		s.Refused = append(s.Refused, state.LayerKey{Key: x.Key, Value: x.Value, By: x.By, Why: x.Why})
	}
	for _, x := range r.Proposed {
		s.Proposed = append(s.Proposed, state.Proposal(x))
	}
	b.layers.status = s
	if len(r.Set) > 0 { // else the configuration stays the same, by its pointer
		b.config = r.Config
	}
	if len(r.Portal) > 0 {
		b.layers.notice = &r.Portal
	}
}
