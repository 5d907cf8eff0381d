package daemon

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"passerelle/appliance"
	"passerelle/appliance/config"
	"passerelle/appliance/control"
	"passerelle/appliance/fleet/layer"
	"passerelle/appliance/fleet/trust"
	"passerelle/appliance/state"
	"passerelle/captive/records"
)

// fleetFolder, in the state folder, has what the box's fleet said: a box without a hub goes on with it, also after a restart. It
// is not part of the configuration or of any backup.
const fleetFolder = "fleet"

// keptLayer is a fragment as its level signed it. It was verified before it was stored.
type keptLayer struct {
	Level layer.Level `json:"level"`
	Name  string      `json:"name,omitempty"` // of the region or association
	Text  string      `json:"text"`
}

// keptLayers are the layers of the box's fleet, at most one of each level, and the services that a technician has accepted.
type keptLayers struct {
	Layers   []keptLayer `json:"layers"`
	Accepted []string    `json:"accepted"` // essential services
}

// layers stores the layers on the disk, and passes them to the box.
type layers struct {
	file records.File[keptLayers]

	mu     sync.Mutex // held during a change
	unread []state.Unread
}

func newLayers(folder string) *layers {
	return &layers{file: records.File[keptLayers]{Path: filepath.Join(folder, fleetFolder, "layers.json"), Version: 1}}
}

// layerUser is what layers need of appliance.Box.
type layerUser interface {
	SetLayers(context.Context, appliance.Layers) error
	Status() state.Status
}

// load returns the layers on the disk. A layer that cannot be read has no effect, and the status says so: it may have words of a
// newer release, which this one does not know.
func (l *layers) load() appliance.Layers {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept, err := l.file.Read()
	if err != nil {
		l.unread = []state.Unread{{By: "everything", Error: err.Error()}}
		return appliance.Layers{}
	}
	l.unread = nil
	return l.parse(kept)
}

// parse parses the layers that can be read, and notes the others.
func (l *layers) parse(kept keptLayers) appliance.Layers {
	parsed := appliance.Layers{Accepted: kept.Accepted}
	for _, k := range kept.Layers {
		f, err := config.ParseFragment(layer.Path(k.Level, k.Name), []byte(k.Text))
		if err != nil {
			l.note(k.Level, k.Name, err)
			continue
		}
		parsed.All = append(parsed.All, layer.Layer{Level: k.Level, Name: k.Name, Fragment: f})
	}
	return parsed
}

// note records why a level's fragment is not used; nil if it is used.
func (l *layers) note(level layer.Level, name string, err error) {
	by := layer.Whose(level, name)
	l.unread = slices.DeleteFunc(l.unread, func(u state.Unread) bool { return u.By == by })
	if err != nil {
		l.unread = append(l.unread, state.Unread{By: by, Error: err.Error()})
	}
}

// take stores a level's fragment and makes the box use it. An empty text removes the level's fragment. A refused fragment changes
// nothing: the one before stays, and the error is the caller's (control.ErrRefused).
func (l *layers) take(ctx context.Context, box layerUser, level layer.Level, name string, text []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Contains(layer.Levels, level) {
		return control.Refuse(fmt.Errorf("%q is no level of a fleet", level))
	}
	if level == layer.All {
		name = ""
	} else if err := trust.CheckRole(name); err != nil && len(text) > 0 {
		return control.Refuse(err)
	}
	_, err := config.ParseFragment(layer.Path(level, name), text)
	l.note(level, name, err)
	if err != nil {
		return control.Refuse(err)
	}
	return l.change(ctx, box, func(kept *keptLayers) error {
		kept.Layers = slices.DeleteFunc(kept.Layers, func(k keptLayer) bool { return k.Level == level })
		if len(text) > 0 {
			kept.Layers = append(kept.Layers, keptLayer{level, name, string(text)})
		}
		return nil
	})
}

// kept returns the stored fragment of a level, with the level's name; no text if there is none.
func (l *layers) kept(level layer.Level) (name string, text []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all, err := l.file.Read()
	if err != nil {
		return "", nil
	}
	for _, k := range all.Layers {
		if k.Level == level {
			return k.Name, []byte(k.Text)
		}
	}
	return "", nil
}

// change changes the stored layers, and then passes them to the box.
func (l *layers) change(ctx context.Context, box layerUser, f func(*keptLayers) error) error {
	kept, err := l.file.Update(f)
	if err != nil {
		return err
	}
	if err := box.SetLayers(ctx, l.parse(kept)); err != nil {
		return err
	}
	s := box.Status().Layers
	if s == nil {
		return nil
	}
	// A service that no layer proposes any more is forgotten: if it is proposed again, somebody must accept it again.
	_, err = l.file.Update(func(kept *keptLayers) error {
		kept.Accepted = slices.DeleteFunc(kept.Accepted, func(a string) bool { return !proposes(s, a) })
		return nil
	})
	return err
}

// proposes tells whether a layer proposes a service.
func proposes(s *state.Layers, name string) bool {
	return slices.ContainsFunc(s.Proposed, func(p state.Proposal) bool { return p.Service == name })
}

// acceptService opens a service that a layer proposes.
func (l *layers) acceptService(ctx context.Context, box layerUser, name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := box.Status().Layers
	if s == nil || !proposes(s, name) {
		return control.Refuse(fmt.Errorf("nobody proposes %q; passerelle fleet layers shows what is proposed", name))
	}
	return l.change(ctx, box, func(kept *keptLayers) error {
		if !slices.Contains(kept.Accepted, name) {
			kept.Accepted = append(kept.Accepted, name)
		}
		return nil
	})
}

// withdrawService closes a service that was accepted.
func (l *layers) withdrawService(ctx context.Context, box layerUser, name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.change(ctx, box, func(kept *keptLayers) error {
		i := slices.Index(kept.Accepted, name)
		if i < 0 {
			return control.Refuse(fmt.Errorf("%q is not accepted", name))
		}
		kept.Accepted = slices.Delete(kept.Accepted, i, i+1)
		return nil
	})
}

// addTo adds to a status which fragments cannot be read.
func (l *layers) addTo(s *state.Status) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.Layers != nil && len(l.unread) > 0 {
		with := *s.Layers // a copy: the box's own must not change
		with.Unread = slices.Clone(l.unread)
		s.Layers = &with
	}
}

// SignedLayer returns the text of a level's fragment that is signed in a repository, nil if there is none. t must have been
// refreshed. have is the fragment that the box has: if it is the signed one, it is not fetched again.
func SignedLayer(ctx context.Context, t *trust.Trust, from trust.Source, level layer.Level, name string, have []byte) ([]byte, error) {
	target, err := t.Find(ctx, from, layer.Path(level, name))
	if refusal, ok := errors.AsType[*trust.Refusal](err); ok && refusal.Reason == trust.Missing {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if sha256.Sum256(have) == target.SHA256 {
		return have, nil
	}
	return trust.Fetch(ctx, from, target, config.MaxFragment)
}
