package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"passerelle/appliance/fleet/mirror"
	"passerelle/appliance/fleet/repository"
	"passerelle/appliance/fleet/rollout"
	"passerelle/appliance/fleet/trust"
	"passerelle/appliance/state"
	"passerelle/cmd/hub/registry"
	"passerelle/cmd/hub/stages"
	"passerelle/image/slot"
	"passerelle/image/update/agent"
	"passerelle/image/update/offer"
	"passerelle/image/update/pack"
	"passerelle/image/update/plan"
)

// Versions of the story: what boxes run at first, one that works, one that does not, and one that is forged.
const (
	firstVersion  = "1.0.0"
	goodVersion   = "1.1.0"
	badVersion    = "1.2.0"
	forgedVersion = "6.6.6"
)

// noise returns bytes that do not compress, the same for the same seed.
func noise(seed byte, size int) []byte {
	text := make([]byte, size)
	rand.NewChaCha8([32]byte{seed}).Read(text)
	return text
}

// script returns a program that runs another program.
func script(program string) string { return fmt.Sprintf("#!/bin/sh\nexec %s \"$@\"\n", program) }

// broken is a program that never works.
const broken = "#!/bin/sh\nexit 1\n"

// programOf returns the program of a version.
func (d *demo) programOf(version string) string {
	switch version {
	case firstVersion:
		return script(d.daemons[0])
	case goodVersion:
		return script(d.daemons[1])
	}
	return broken
}

// released is a release that people have signed.
type released struct {
	version string
	epoch   int64
	hash    rollout.Hash // of its manifest
	id      plan.Hash    // of what it puts into a slot
	rule    rollout.Rule
	size    int // of its system, in bytes
}

// first is the size of the first stage, in permille of the boxes.
var first = stages.Steps[0]

// release publishes a release that two people signed, and seals the repository with a hub's key. It chooses an epoch with which firstBox is in
// the first stage. In a real fleet, that is left to chance.
func (d *demo) release(version, firstBox string) (r released, err error) {
	s, old := newSystem(d.programOf(version)), newSystem(d.programOf(firstVersion))
	key, err := d.hubs.Keys.StageKey()
	if err != nil {
		return r, err
	}
	now := time.Now()
	m := plan.Manifest{Version: version, Board: slot.Board, Epoch: d.epoch + 1, Rollout: rollout.Rule{Day: now.UTC().Format(time.DateOnly), Days: 14, Key: key}}
	m, _, err = offer.Pack(d.signed.Repository, m, []pack.Part{
		{Part: plan.Part{Name: plan.RootPart}, From: bytes.NewReader(s.root)},
		{Part: plan.Part{Name: plan.BootPart, At: slot.BootAt}, From: bytes.NewReader(s.boot)},
	}, []pack.Old{{Root: old.root}})
	if err != nil {
		return r, err
	}
	for ; ; m.Epoch++ {
		text, err := m.Format()
		if err != nil {
			return r, err
		}
		if r.hash = rollout.Hash(plan.Sum(text)); rollout.Place(firstBox, r.hash) < first {
			break
		}
	}
	if err := offer.Stage(d.signed.Repository, m, now); err != nil {
		return r, err
	}
	if err := d.signed.publish(repository.Targets, d.signed.release[:2]...); err != nil {
		return r, err
	}
	d.epoch = m.Epoch
	r.version, r.epoch, r.id, r.rule, r.size = version, m.Epoch, m.ID(), m.Rollout, len(s.root)+len(s.boot)
	// The version of a seal is the time in seconds, and the seals of forgeries are some seconds ahead. This one must be newer.
	return r, d.signed.Seal(d.signed.hub[0], now.Add(time.Duration(d.forged+1)*time.Second))
}

// begin publishes a release at the hubs, and begins its roll-out.
func (d *demo) begin(ctx context.Context, r released) error {
	d.crowd.offer(r)
	if _, err := d.hubs.Run(ctx, 0, "repository put", d.signed.Dir); err != nil {
		return err
	}
	_, err := d.hubs.Run(ctx, 0, "rollout begin", r.version, r.hash.String())
	return err
}

var rolloutNumber = regexp.MustCompile(`name="number" value="(\d+)"`)

// act presses a button on the roll-out's page, as Ana.
func (d *demo) act(ctx context.Context, a stages.Action) error {
	page, err := d.page(ctx, 0, http.MethodGet, "/releases/rollout", nil)
	if err != nil {
		return err
	}
	number := rolloutNumber.FindStringSubmatch(page)
	if number == nil {
		return errors.New("the page of the roll-out has no number")
	}
	_, err = d.page(ctx, 0, http.MethodPost, "/releases/rollout", url.Values{"number": {number[1]}, "do": {string(a)}})
	return err
}

// takeRelease waits until the box of roses, which is in the first stage, runs the release that works.
func (d *demo) takeRelease(ctx context.Context, begun time.Time) ([]string, error) {
	r := d.good
	s, err := d.roses.status(ctx, "the box runs the release, which has proved itself", func(s state.Status) bool {
		return s.Slots != nil && s.Slots.Running == string(slot.B) && d.roses.machine.proven(slot.B) && s.State == state.Sharing
	})
	if err != nil {
		return nil, fmt.Errorf("%w\nupdates: %+v, booted %s", err, s.Updates, d.roses.machine.booted())
	}
	return []string{fmt.Sprintf("release %s, signed by two of three, %d kB in the slot: the box of roses, one of the first, has fetched it, read it back, started it and proved it after %s (slots %s)",
		r.version, r.size/1000, seconds(time.Since(begun)), d.roses.machine.booted())}, nil
}

// raise has people let the release go to more boxes, and then to all.
func (d *demo) raise(ctx context.Context) (seen []string, err error) {
	r := d.good
	if err := d.tells(ctx, d.roses, "Version: ", r.version); err != nil {
		return nil, err
	}
	at := func(permille int) int {
		return d.crowd.count(func(b *simulated) bool { return rollout.Place(b.Status().Box, r.hash) < permille })
	}
	for i, permille := range stages.Steps {
		if i > 0 {
			if err := d.act(ctx, stages.Raise); err != nil {
				return seen, err
			}
		}
		step := time.Now()
		if _, err := until(ctx, "the boxes of the stage have told that they run it", func() error {
			runs := d.crowd.count(func(b *simulated) bool { return b.runs(r.version) && b.delivered() })
			if runs != at(permille) {
				return fmt.Errorf("%d boxes do, and %d have their turn", runs, at(permille))
			}
			return nil
		}); err != nil {
			return seen, err
		}
		seen = append(seen, fmt.Sprintf("stage of %d in 1000: %d simulated boxes run it and have told so after %s, and no other", permille, at(permille), seconds(time.Since(step))))
	}
	return seen, nil
}

// tells waits until a box's page at the hub has some texts.
func (d *demo) tells(ctx context.Context, b *realBox, what ...string) error {
	_, err := until(ctx, "its page at the hub says "+strings.Join(what, ""), func() error {
		page, err := d.page(ctx, 0, http.MethodGet, "/box/"+b.name, nil)
		for _, text := range what {
			if err == nil && !strings.Contains(page, text) {
				err = fmt.Errorf("it does not say %q", text)
			}
		}
		return err
	})
	return err
}

// takeBadRelease begins the roll-out of a release that does not work. Later steps check what becomes of it.
func (d *demo) takeBadRelease(ctx context.Context) (_ []string, err error) {
	d.crowd.waitForNight()
	if d.bad, err = d.release(badVersion, d.roses.name); err != nil {
		return nil, err
	}
	if err := d.begin(ctx, d.bad); err != nil {
		return nil, err
	}
	return []string{fmt.Sprintf("release %s, signed too: the box of roses is to take it; the simulated boxes whose turn it is have it, and wait for the night", badVersion)}, nil
}

// startBadRelease waits until the box of roses has the release and starts it. After that, the box needs no hub for some time.
func (d *demo) startBadRelease(ctx context.Context) ([]string, error) {
	took, err := until(ctx, "the box starts the bad release", func() error {
		if all := d.roses.machine.booted(); !strings.HasPrefix(all, "a b a") {
			return fmt.Errorf("the machine has booted the slots %s", all)
		}
		return nil
	})
	return []string{fmt.Sprintf("the box of roses has it in slot a, and starts it after another %s", seconds(took))}, err
}

// goBack checks that the box that tried the bad release goes back, that the hubs halt the roll-out without a person, and that no other box
// starts the release.
func (d *demo) goBack(ctx context.Context) (seen []string, err error) {
	b := d.roses
	s, err := d.lilas.status(ctx, "the box with a resident waits", func(s state.Status) bool { return s.Updates != nil && s.Updates.Fetches != "" })
	if err == nil && s.Slots.Running != string(slot.A) {
		err = fmt.Errorf("it runs slot %s", s.Slots.Running)
	}
	if err != nil {
		return nil, err
	}
	seen = append(seen, "the box of lilas has a resident online, and has taken neither release")
	if _, err := b.status(ctx, "the box went back", func(s state.Status) bool {
		return s.State == state.Sharing && s.Slots != nil && s.Slots.Running == string(slot.B) && s.Updates != nil && s.Updates.FellBack == badVersion
	}); err != nil {
		return nil, fmt.Errorf("%w\nbooted %s", err, b.machine.booted())
	}
	if all := b.machine.booted(); all != "a b a a a b" {
		return nil, fmt.Errorf("the machine has booted the slots %s", all)
	}
	said, err := b.Do(ctx, "status")
	if err != nil {
		return nil, err
	}
	sentence := ""
	for line := range strings.Lines(said) {
		if strings.Contains(line, "the box went back from release "+badVersion+": ") {
			sentence = strings.TrimSpace(line)
		}
	}
	if sentence == "" {
		return nil, fmt.Errorf("its status does not say that it went back: %s", said)
	}
	seen = append(seen, "booted three times, never healthy: it is back in slot b, and says: "+sentence)
	if err := d.tells(ctx, b, "The box went back from version "+badVersion+".", "It did not start."); err != nil {
		return seen, err
	}
	var r registry.Rollout
	if _, err := until(ctx, "the roll-out is halted", func() (err error) {
		if r, _, err = d.hubs.Desk.Rollout(ctx); err == nil && r.Phase != registry.Halted {
			err = fmt.Errorf("it is %s", r.Phase)
		}
		return err
	}); err != nil {
		return seen, err
	}
	if r.Version != badVersion || r.Permille != first || r.Why != string(stages.Fell) || r.By == "Ana" {
		return seen, fmt.Errorf("the roll-out is %+v", r)
	}
	seen = append(seen, "its page at the hub says what it went back from and why; the hubs have halted the roll-out by themselves, at its first stage")
	if _, err := d.crowd.all(ctx, "every box knows that it is halted", func(b *simulated) bool { return b.heard(r.Number) }); err != nil {
		return seen, err
	}
	d.crowd.fallNight()
	if n := d.crowd.count(func(b *simulated) bool { return b.runs(badVersion) }); n > 0 {
		return seen, fmt.Errorf("%d other boxes run it", n)
	}
	seen = append(seen, fmt.Sprintf("none of the %d others runs it, also not the %d that have had it in their other slot", len(d.crowd.boxes),
		d.crowd.count(func(b *simulated) bool { return rollout.Place(b.Status().Box, d.bad.hash) < first })))
	if _, err := until(ctx, "the release is barred", func() error {
		barred, err := b.machine.bars(d.bad.id)
		if err == nil && !barred {
			err = errors.New("it is not")
		}
		return err
	}); err != nil {
		return seen, err
	}
	_, err = b.machine.asker().Ask(ctx, agent.Request{Do: agent.Install, Again: true}, mirror.Folder{FS: os.DirFS(d.signed.Dir)}, nil)
	if e, ok := errors.AsType[*agent.Error](err); !ok || e.Code != agent.Unfit {
		return seen, fmt.Errorf("a press for what is barred is answered %v", err)
	}
	return append(seen, "it is barred there: a press does not bring it again either"), nil
}

// forge checks that the box of lilas refuses releases that thieves signed, or one person alone, although a hub's own key has sealed them.
func (d *demo) forge(ctx context.Context) (seen []string, err error) {
	b := d.lilas
	before, err := b.machine.untouched(slot.B)
	if err != nil {
		return nil, err
	}
	for _, x := range []struct {
		by   string
		hub  bool // whether a hub delivers it, too
		sign func(repository.Repository, int64) error
	}{
		{"one person of the release role", false, func(r repository.Repository, version int64) error {
			if err := r.Sign(repository.Targets, d.signed.release[0]); err != nil {
				return err
			}
			return os.Rename(stagedTargets(r), publishedTargets(r, version))
		}},
		{"two thieves with keys of their own", true, signedByThieves},
	} {
		evil, err := d.forgery(x.sign)
		if err != nil {
			return seen, err
		}
		said := ""
		if x.hub {
			if _, err := d.hubs.Run(ctx, 0, "repository put", evil.Dir); err != nil {
				return seen, err
			}
			s, err := b.status(ctx, "the box refuses it", func(s state.Status) bool { return strings.Contains(s.Fleet.Files, "targets.json") })
			if err != nil {
				return seen, err
			}
			said = " The daemon says: " + s.Fleet.Files
		}
		// The server of the card does not trust the daemon either.
		_, err = b.machine.asker().Ask(ctx, agent.Request{Do: agent.Install, Again: true}, mirror.Folder{FS: os.DirFS(evil.Dir)}, nil)
		if e, ok := errors.AsType[*agent.Error](err); !ok || e.Code != agent.Code(trust.Unsigned) {
			return seen, fmt.Errorf("the server of the card answers %v", err)
		}
		if after, err := b.machine.untouched(slot.B); err != nil || after != before {
			return seen, fmt.Errorf("the card was %s, and is %s, %v", before, after, err)
		}
		seen = append(seen, fmt.Sprintf("signed by %s, and sealed with a hub's key: refused, and nothing is written.%s", x.by, said))
	}
	return seen, nil
}

func stagedTargets(r repository.Repository) string {
	return filepath.Join(r.Dir, "staged", "targets.json")
}

func publishedTargets(r repository.Repository, version int64) string {
	return filepath.Join(r.Dir, trust.MetadataFolder, fmt.Sprintf("%d.targets.json", version))
}

// forgery returns a copy of the repository with a release that sign signs and publishes, sealed with a hub's key.
func (d *demo) forgery(sign func(r repository.Repository, version int64) error) (evil repository.Repository, err error) {
	d.forged++
	evil.Dir = filepath.Join(filepath.Dir(d.signed.Dir), fmt.Sprintf("forged-%d", d.forged))
	if err := os.CopyFS(evil.Dir, os.DirFS(d.signed.Dir)); err != nil {
		return evil, err
	}
	s := newSystem(broken)
	m, _, err := offer.Pack(evil, plan.Manifest{Version: forgedVersion, Board: slot.Board, Epoch: d.epoch + 1}, []pack.Part{
		{Part: plan.Part{Name: plan.RootPart}, From: bytes.NewReader(s.root)},
		{Part: plan.Part{Name: plan.BootPart, At: slot.BootAt}, From: bytes.NewReader(s.boot)},
	}, nil)
	if err == nil {
		err = offer.Stage(evil, m, time.Now())
	}
	if err != nil {
		return evil, err
	}
	staged, err := metadata.Targets().FromFile(stagedTargets(evil))
	if err == nil {
		err = sign(evil, staged.Signed.Version)
	}
	if err == nil {
		err = evil.Seal(d.signed.hub[0], time.Now().Add(time.Duration(d.forged)*time.Second)) // each is newer than the one before
	}
	return evil, err
}

// signedByThieves publishes what is staged, as version, with the signatures of keys that the thieves made.
func signedByThieves(r repository.Repository, version int64) error {
	theirs, err := newSignedFolder(path.Join(r.Dir, "thieves"))
	if err != nil {
		return err
	}
	for {
		text, err := os.ReadFile(stagedTargets(r))
		if err != nil {
			return err
		}
		wanted, err := metadata.Targets().FromBytes(text)
		if err != nil {
			return err
		}
		if err := theirs.Change(time.Now(), func(t *metadata.TargetsType) error {
			t.Targets, t.Delegations = wanted.Signed.Targets, wanted.Signed.Delegations
			return nil
		}); err != nil {
			return err
		}
		staged, err := metadata.Targets().FromFile(stagedTargets(theirs.Repository))
		if err != nil {
			return err
		}
		if err := theirs.publish(repository.Targets, theirs.release[:2]...); err != nil {
			return err
		}
		if staged.Signed.Version == version {
			break
		}
	}
	return os.Rename(publishedTargets(theirs.Repository, version), publishedTargets(r, version))
}
