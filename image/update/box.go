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

// Box is this machine as updates see it. All its methods need root, for the card.
type Box struct {
	Card  slot.Card
	State string // folder of the box's state: the trust, the record, and files kept during an update
	Root  []byte // the root of trust that this system was built with
	Clock trust.Clock
	Sums  Sums // of the running slot, which does not change while it runs; nil reads it again each time
}

// Folders in the box's state.
const (
	trustFolder = "trust"
	keptFolder  = "update"
)

// ErrNewest says that the newest release is running.
var ErrNewest = errors.New("the newest release is running")

// ErrBusy says that another program is updating the card.
var ErrBusy = errors.New("another update is under way")

// claim opens the running slot, and locks out every other program that updates the card until that file is closed or the program ends.
// It needs no lock file: the server of updates and a technician's command run in different mount namespaces, but both see the card.
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

// Tries is how often a slot is booted before it must have proved itself: one failed boot may be an unplugged phone or a power cut.
const Tries = 3

// Offer is the newest release of a source, and what it means for this box. It keeps the card open until Close.
type Offer struct {
	Newest  Release
	Current Release // the running release; its version is "" if no release of the source has that root
	To      slot.Name
	Asked   bool // somebody asked for the release: its roll-out does not delay its start either

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

// Look reads the newest metadata of a source, and the running slot. expired ignores the expiry of the metadata. The error is a
// [*trust.Refusal] if the source is not trusted, and wraps ErrBusy while another program updates the card. The offer may be the
// release that is running.
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

// Trust opens the metadata that this box has verified so far. expired ignores the expiry of metadata.
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

// Running tells whether the offered release is the one that is running.
func (o *Offer) Running() bool { return o.Current.Version != "" && o.Current.Epoch == o.Newest.Epoch }

// Plan fetches the files that describe the release, and compares the slots with them. The error is ErrNewest if the release is
// running, and wraps [plan.ErrNotFor] if it may not be installed here.
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

// Ran tells whether the release ran here before. Somebody then rolled the box back from it, so it is not installed again
// automatically.
func (o *Offer) Ran() bool {
	what := o.record.Slots[o.To]
	return what.Ran && what.ID == o.manifest.ID()
}

// Size returns how many bytes the release fills in the slot. Plan comes first.
func (o *Offer) Size() (bytes int64) {
	for _, p := range o.manifest.Parts {
		bytes += p.Size
	}
	return bytes
}

// There returns how many of these bytes are already in place. Plan comes first.
func (o *Offer) There() int64 {
	left := o.Size()
	for _, s := range o.plan.Steps {
		for _, c := range o.install.index[s.First : s.First+s.Count] {
			left -= int64(c.Size)
		}
	}
	return left
}

// Blocked returns why nothing may be written to the other slot now, nil if it may: the running slot must have proved itself.
func (o *Offer) Blocked() error {
	if running := o.box.Card.Running; o.state.Good != running {
		return fmt.Errorf("slot %s, which is running, has not proved itself yet", running)
	} else if o.state.Slot != running {
		return fmt.Errorf("slot %s is booted next", o.state.Slot)
	}
	return nil
}

// Install writes the release to the slot and reads it back. Plan comes first. progress is as for Installation.
func (o *Offer) Install(ctx context.Context, progress func(done, total int64)) error {
	if err := o.Blocked(); err != nil {
		return err
	}
	// A power cut between here and Choose must not bar a release that was never booted.
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

// Choose makes a slot the next one to boot. It first verifies what was installed there, perhaps days ago. The error wraps ErrBusy
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
	if err := b.whole(ctx, to, record.Slots[to]); err != nil { // the system from before the first installation has no record
		return err
	}
	_, err = b.Card.Update(func(s slot.State) slot.State { return s.Choose(to, Tries) })
	return err
}

// whole returns an error unless a slot still has what was installed in it.
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

// Slots is what is in the slots, identified by hash.
type Slots struct {
	Running    slot.Name `json:"running"`
	Version    string    `json:"version"`               // of the running slot; "" if the box knows no release with that root
	Other      string    `json:"other"`                 // likewise of the other slot
	Ready      bool      `json:"ready"`                 // the other slot has everything that was installed there, and never ran
	Staged     Staged    `json:"staged,omitzero"`       // how that release is rolled out, if it is ready
	Failed     string    `json:"failed,omitempty"`      // the version that the box rolled back from
	FailedBy   string    `json:"failed_by,omitempty"`   // the reason, if that system could report it
	FailedCode string    `json:"failed_code,omitempty"` // the kind of reason, as the judge of the trial named it; "" if it could not
}

// Staged is how a release is rolled out, as it was signed. The zero Staged means that all boxes take it at once.
type Staged struct {
	Manifest plan.Hash    `json:"manifest"` // its SHA-256, which stages refer to
	Rule     rollout.Rule `json:"rule"`
}

// Staged returns how the newest release is rolled out.
func (o *Offer) Staged() Staged { return o.Newest.Staged() }

// Slots identifies the releases in both slots. It reads both, which takes as long as the card needs.
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
	// A damaged other slot just has no version.
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

// version returns the version of the release whose root is in a slot, "" if the box does not know it.
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

// know remembers the releases that were offered, so that their roots can be identified without a source. It tells whether one is new.
func (r *Record) know(offered []Release) (news bool) {
	for _, o := range slices.Backward(offered[:min(len(offered), maxKnown)]) {
		if !slices.Contains(r.Known, o.Summary) {
			r.Known, news = append(r.Known, o.Summary), true
		}
	}
	r.Known = r.Known[max(0, len(r.Known)-maxKnown):]
	return news
}
