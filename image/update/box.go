package update

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"passerelle/appliance/fleet/rollout"
	"passerelle/appliance/fleet/trust"
	"passerelle/image/slot"
	"passerelle/image/update/plan"
)

// Box is this machine as updates see it. All of it needs root, for the card.
type Box struct {
	Card  slot.Card
	State string // folder of the box's state: it has the trust, the record, and what is kept of a release on its way
	Root  []byte // the root of trust that this system was built with
	Clock trust.Clock
	Sums  Sums // of the running slot, which nobody changes while it runs; nil: it is read again each time
}

// Folders in the state.
const (
	trustFolder = "trust"
	keptFolder  = "update"
)

// ErrNewest says that the newest release is running.
var ErrNewest = errors.New("the newest release is running")

// ErrBusy says that another program works on the card.
var ErrBusy = errors.New("another update is under way")

// claim opens the running slot, and keeps every other program that updates from the card until that file is closed, also by the
// program's end. There is no file of its own for it: the server of updates and a technician's command run in different worlds of
// folders, and both have the card.
func (b *Box) claim() (*os.File, error) {
	running, err := b.Card.Open(b.Card.Running, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(running.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrBusy
	}
	if err != nil {
		running.Close()
		return nil, fmt.Errorf("claim the card: %w", err)
	}
	return running, nil
}

// Tries is how often a slot is booted until it must have proved itself: once may be a phone that is unplugged, or a power cut.
const Tries = 3

// Offer is the newest release of a source, and what it means for this box. It has the card open until Close.
type Offer struct {
	Newest  Release
	Current Release // what the running slot has; its version is "" if no release of the source has that root
	To      slot.Name
	Asked   bool // somebody asks for it: how it goes out does not count when it is started either

	box      *Box
	from     trust.Source
	state    slot.State
	running  *os.File
	into     *os.File
	manifest plan.Manifest
	record   Record
	install  *Installation
	plan     plan.Plan
}

// Look takes the newest metadata of a source and reads the running slot. expired passes over the expiry of the metadata. The
// error is a [*trust.Refusal] if the source may not be believed, and wraps ErrBusy while another program updates the card. An offer
// may be of the release that is running.
func (b *Box) Look(ctx context.Context, from trust.Source, expired bool) (_ *Offer, err error) {
	running, err := b.claim()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			running.Close()
		}
	}()
	t, err := b.Trust(expired)
	if err != nil {
		return nil, err
	}
	if err := t.Refresh(ctx, from); err != nil {
		return nil, err
	}
	offered, err := Offered(t, slot.Board)
	if err != nil {
		return nil, err
	}
	if len(offered) == 0 {
		return nil, fmt.Errorf("it has no release for this board (%s)", slot.Board)
	}
	o := &Offer{Newest: offered[0], To: b.Card.Running.Other(), box: b, from: from, running: running}
	if o.state, _, err = b.Card.Read(); err != nil {
		return nil, err
	}
	if o.record, err = ReadRecord(b.State); err != nil {
		return nil, err
	}
	news := o.record.know(offered)
	news = o.record.Runs(b.Card.Running) || news
	if news = o.state.Failed == o.To && o.record.Failed(o.To) || news; news {
		if err := o.record.Write(b.State); err != nil {
			return nil, err
		}
	}
	if o.Current, _, err = Identify(ctx, o.running, offered, b.Sums); err != nil {
		return nil, err
	}
	return o, nil
}

// Trust opens what this box has verified so far. If expired is true it passes over the expiry of signatures.
func (b *Box) Trust(expired bool) (*trust.Trust, error) {
	return trust.Open(trust.Options{Dir: filepath.Join(b.State, trustFolder), Root: b.Root, Expired: expired, Clock: b.Clock})
}

// Close closes the card.
func (o *Offer) Close() {
	for _, f := range []*os.File{o.running, o.into} {
		if f != nil {
			f.Close()
		}
	}
}

// Running tells whether the offer is of the release that is running.
func (o *Offer) Running() bool { return o.Current.Version != "" && o.Current.Epoch == o.Newest.Epoch }

// Plan fetches what describes the release, and compares the slots with it. The error is ErrNewest if the release is running,
// and wraps [plan.ErrNotFor] if it may not be installed here.
func (o *Offer) Plan(ctx context.Context) (plan.Plan, error) {
	if o.Running() {
		return plan.Plan{}, ErrNewest
	}
	m, err := o.Newest.Manifest(ctx, o.from)
	if err != nil {
		return plan.Plan{}, err
	}
	into, err := o.box.Card.Open(o.To, os.O_RDWR)
	if err != nil {
		return plan.Plan{}, err
	}
	o.manifest, o.into = m, into
	size, err := Device{File: into}.Size()
	if err != nil {
		return plan.Plan{}, err
	}
	if err := m.Fits(plan.Running{Board: slot.Board, Epoch: o.Current.Epoch, SlotSize: size, Barred: o.record.Barred}); err != nil {
		return plan.Plan{}, fmt.Errorf("release %s: %w", m.Version, err)
	}
	o.install = &Installation{
		Manifest: m, From: o.from, Running: o.running, Into: Device{File: into}, Keep: filepath.Join(o.box.State, keptFolder),
	}
	if err := o.install.Load(ctx); err != nil {
		return plan.Plan{}, err
	}
	o.plan, err = o.install.Plan(ctx)
	return o.plan, err
}

// Ran tells whether the release ran here before: somebody had the box go back from it, so it does not come by itself again.
func (o *Offer) Ran() bool {
	what := o.record.Slots[o.To]
	return what.Ran && what.ID == o.manifest.ID()
}

// Size is how many bytes the release fills in the slot, after Plan.
func (o *Offer) Size() (bytes int64) {
	for _, p := range o.manifest.Parts {
		bytes += p.Size
	}
	return bytes
}

// There is how many of these bytes are in their place, after Plan.
func (o *Offer) There() int64 {
	left := o.Size()
	for _, s := range o.plan.Steps {
		for _, c := range o.install.index[s.First : s.First+s.Count] {
			left -= int64(c.Size)
		}
	}
	return left
}

// Blocked returns why nothing may be written into the other slot now, nil if it may: what runs must have proved itself.
func (o *Offer) Blocked() error {
	if running := o.box.Card.Running; o.state.Good != running {
		return fmt.Errorf("slot %s, which is running, has not proved itself yet", running)
	} else if o.state.Slot != running {
		return fmt.Errorf("slot %s is booted next", o.state.Slot)
	}
	return nil
}

// Install brings the release into the slot, after Plan, and reads it back. progress is as for Installation.
func (o *Offer) Install(ctx context.Context, progress func(done, total int64)) error {
	if err := o.Blocked(); err != nil {
		return err
	}
	// A power cut between here and the choice of the slot must not bar a release that was never booted.
	if _, err := o.box.Card.Update(func(s slot.State) slot.State { return s.Replace(o.To) }); err != nil {
		return err
	}
	o.install.Progress = progress
	if err := o.install.Install(ctx, o.plan); err != nil {
		return err
	}
	staged := o.Staged()
	if o.Asked {
		staged = Staged{}
	}
	o.record.Install(o.To, o.manifest, staged)
	if err := o.record.Write(o.box.State); err != nil {
		return err
	}
	return o.install.Forget()
}

// Choose has a slot booted next. What was installed in it is read again: it may have lain there for days. The error wraps ErrBusy
// while another program updates the card.
func (b *Box) Choose(ctx context.Context, to slot.Name) error {
	running, err := b.claim()
	if err != nil {
		return err
	}
	defer running.Close()
	s, _, err := b.Card.Read()
	if err != nil {
		return err
	}
	record, err := ReadRecord(b.State)
	if err != nil {
		return err
	}
	switch empty, err := b.Card.Empty(to); {
	case err != nil:
		return err
	case empty:
		return fmt.Errorf("slot %s is empty: nothing was installed in it", to)
	case to != s.Good && b.Card.Running != s.Good:
		return fmt.Errorf("slot %s, which is running, has not proved itself yet", b.Card.Running)
	}
	if err := b.whole(ctx, to, record.Slots[to]); err != nil { // what was there before the first installation has no record
		return err
	}
	_, err = b.Card.Update(func(s slot.State) slot.State { return s.Choose(to, Tries) })
	return err
}

// whole returns an error unless a slot has what was installed in it.
func (b *Box) whole(ctx context.Context, n slot.Name, what Installed) error {
	f, err := b.Card.Open(n, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, p := range what.Parts {
		sum, err := HashPart(ctx, f, p)
		if err != nil {
			return err
		}
		if sum != p.SHA256 {
			return fmt.Errorf("slot %s: part %s is not what was installed", n, p.Name)
		}
	}
	return nil
}

// Slots is what lies in the slots, by their hashes.
type Slots struct {
	Running    slot.Name `json:"running"`
	Version    string    `json:"version"`               // of the running one; "" if the box knows no release with that root
	Other      string    `json:"other"`                 // of the other one, likewise
	Ready      bool      `json:"ready"`                 // the other one has all of what was installed there, and never ran
	Staged     Staged    `json:"staged,omitzero"`       // how that goes out, if it is ready
	Failed     string    `json:"failed,omitempty"`      // the version that the box went back from
	FailedBy   string    `json:"failed_by,omitempty"`   // why, if that system could say it
	FailedCode string    `json:"failed_code,omitempty"` // the kind of that, a word of who judged; "" likewise
}

// Staged is how a release goes out, as it was signed. The zero Staged is that of one that all boxes take at once.
type Staged struct {
	Manifest plan.Hash    `json:"manifest"` // its SHA-256, by which stages name the release
	Rule     rollout.Rule `json:"rule"`
}

// Staged returns how the newest release goes out.
func (o *Offer) Staged() Staged { return o.Newest.Staged() }

// Slots reads both slots. It takes as long as the card needs.
func (b *Box) Slots(ctx context.Context) (s Slots, err error) {
	record, err := ReadRecord(b.State)
	if err != nil {
		return s, err
	}
	card, _, err := b.Card.Read()
	if err != nil {
		return s, err
	}
	s.Running = b.Card.Running
	if record.Runs(s.Running) {
		if err := record.Write(b.State); err != nil {
			return s, err
		}
	}
	if s.Version, err = b.version(ctx, s.Running, record); err != nil {
		return s, err
	}
	other := s.Running.Other()
	// A damaged other slot is one without a version.
	if s.Other, err = b.version(ctx, other, record); err != nil && ctx.Err() != nil {
		return s, err
	}
	if what := record.Slots[other]; len(what.Parts) > 0 && !what.Ran && card.Failed != other {
		if s.Ready = b.whole(ctx, other, what) == nil; s.Ready {
			s.Staged = what.Staged
		}
	}
	if card.Failed == other {
		s.Failed = record.Slots[other].Version
		if t, err := ReadTrial(b.State); err == nil && t.Slot == other {
			s.FailedBy, s.FailedCode = t.Why, t.Code
		}
	}
	return s, ctx.Err()
}

// version returns the version of the release whose root lies in a slot, "" if it is none that the box knows.
func (b *Box) version(ctx context.Context, n slot.Name, r Record) (string, error) {
	f, err := b.Card.Open(n, os.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var known []Release
	for _, s := range r.Known {
		known = append(known, Release{Summary: s})
	}
	var seen Sums
	if n == b.Card.Running {
		seen = b.Sums
	}
	found, _, err := Identify(ctx, io.NewSectionReader(f, 0, 1<<62), known, seen)
	return found.Version, err
}

// know remembers the releases that were offered, so that their roots have a name without a source; it tells whether one is new.
func (r *Record) know(offered []Release) (news bool) {
	for _, o := range slices.Backward(offered[:min(len(offered), maxKnown)]) {
		if !slices.Contains(r.Known, o.Summary) {
			r.Known, news = append(r.Known, o.Summary), true
		}
	}
	r.Known = r.Known[max(0, len(r.Known)-maxKnown):]
	return news
}
