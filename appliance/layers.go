package appliance

import (
	"context"

	"passerelle/appliance/fleet/layer"
	"passerelle/appliance/state"
)

// Layers are the settings of the box's fleet, and the proposed services that a technician has accepted.
type Layers struct {
	All      []layer.Layer
	Accepted []string // proposed essential services that a technician has accepted
}

// layered is the result of merging layers with the technician's configuration.
type layered struct {
	said   Layers
	status *state.Layers // nil without a fleet
	notice *map[string]string
}

// SetLayers makes the box use other layers. The error says why the kernel has not followed yet.
func (b *Box) SetLayers(ctx context.Context, l Layers) error {
	return b.change(ctx, func() {
		b.merge(l)
		b.configure()
	})
}

// merge computes the configuration in use from the technician's and the layers. A configuration that no technician wrote has no
// layers. On a box that is in no fleet, merge ends a pause of the fleet.
func (b *Box) merge(l Layers) {
	b.config, b.layers = b.file, layered{said: l}
	if b.pause.Fleet && !b.file.Fleet.Member() {
		b.pause = Pause{} // the fleet can no longer end it
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
	if len(r.Set) > 0 { // otherwise the pointer stays the same: nothing changed
		b.config = r.Config
	}
	if len(r.Portal) > 0 {
		b.layers.notice = &r.Portal
	}
}
