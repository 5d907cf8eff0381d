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

// fleetFolder has what the box's fleet said, in the state folder: a box without a hub goes on with it, also after a restart. It is
// no part of the configuration, and of no backup.
const fleetFolder = "fleet"

// keptLayer is a fragment as its level signed it. Whoever wrote it here had verified it.
type keptLayer struct {
	Level layer.Level `json:"level"`
	Name  string      `json:"name,omitempty"` // of the region or association
	Text  string      `json:"text"`
}

// keptLayers are the layers of the box's fleet, at most one of each level, and what a technician has accepted.
type keptLayers struct {
	Layers   []keptLayer `json:"layers"`
	Accepted []string    `json:"accepted"` // essential services
}

// layers keeps the layers on the disk, and passes them to the box.
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

// load returns the layers on the disk. One that cannot be read has no effect, and the status says so: a release may have words
// that the one before does not know.
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

// note notes why a level's fragment is not used; nil: it is.
func (l *layers) note(level layer.Level, name string, err error) {
	by := layer.Whose(level, name)
	l.unread = slices.DeleteFunc(l.unread, func(u state.Unread) bool { return u.By == by })
	if err != nil {
		l.unread = append(l.unread, state.Unread{By: by, Error: err.Error()})
	}
}

// take keeps a level's fragment and has the box use it. The empty text is none. A fragment that is refused changes nothing: the
// one before stays. The error is then the caller's.
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

// kept returns what is kept of a level, with its name; no text if nothing is.
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

// change changes what is kept, and then what the box uses.
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
	// What nobody proposes any more is forgotten: if it is proposed again, somebody must accept it again.
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
		with := *s.Layers // the box's own is not changed
		with.Unread = slices.Clone(l.unread)
		s.Layers = &with
	}
}

// SignedLayer returns the text of a level's fragment that is signed in a repository, nil if none is. t must be fresh. have is not
// fetched again.
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
