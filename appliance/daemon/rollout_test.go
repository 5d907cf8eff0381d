package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"passerelle/appliance/fleet/repository"
	"passerelle/appliance/fleet/rollout"
	"passerelle/appliance/fleet/trust"
	"passerelle/appliance/health"
	"passerelle/cmd/hub/registry"
	hubstages "passerelle/cmd/hub/stages"
	"passerelle/cmd/hub/survey"
	"passerelle/image/proof"
	"passerelle/image/slot"
	"passerelle/image/update"
	"passerelle/image/update/agent"
	"passerelle/image/update/offer"
	"passerelle/image/update/pack"
	"passerelle/image/update/plan"
)

// slotBox is a box whose card is made of files: the parts of its daemon that talk to hubs and take releases, and the server that
// writes the card.
type slotBox struct {
	*memberWorld
	root     string // file with the root of trust
	card     slot.Card
	restarts atomic.Int32
}

// systemOf returns the parts of a system. The root begins with its version.
func systemOf(version string) (root, boot []byte) {
	random := rand.NewChaCha8([32]byte{9})
	root, boot = make([]byte, 100<<10), make([]byte, 30<<10)
	random.Read(root)
	random.Read(boot)
	copy(root, version+"\n")
	return root, boot
}

func newSlotBox(t *testing.T, hub *testHub, people *signer) *slotBox {
	t.Helper()
	dir := t.TempDir()
	b := &slotBox{
		memberWorld: stoppedMemberWorld(t, hub.listen), root: filepath.Join(people.Dir, "metadata", "1.root.json"),
		card: slot.Card{Running: slot.A, Device: filepath.Join(dir, "card")},
	}
	hub.must(os.WriteFile(b.card.Device, make([]byte, 4<<20), 0o600))
	root, boot := systemOf("1.0.0")
	for _, n := range []slot.Name{slot.A, slot.B} {
		f, err := os.Create(fmt.Sprintf("%s%d", b.card.Device, n.Partition()))
		hub.must(err)
		hub.must(f.Truncate(slot.SlotSize))
		if n == slot.A {
			_, err := f.WriteAt(root, 0)
			hub.must(err)
			_, err = f.WriteAt(boot, slot.BootAt)
			hub.must(err)
		}
		hub.must(f.Close())
	}
	b.release, b.machine = "v1.0.0", os.DirFS(dir)
	for _, folder := range []string{"proc", filepath.Dir(slot.NotePath[1:])} {
		hub.must(os.MkdirAll(filepath.Join(dir, folder), 0o755))
	}
	trustRoot, err := os.ReadFile(b.root)
	hub.must(err)
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	hub.must(err)
	b.asker = agent.Client{Socket: socket}
	server := &agent.Server{
		Box: func() (*update.Box, error) {
			return &update.Box{Card: b.card, State: filepath.Join(dir, "state"), Root: trustRoot, Clock: trust.Clock{Now: func() (time.Time, bool) { return time.Now(), true }}}, nil
		},
		Machine: os.DirFS(filepath.Join(dir, "proc")), Log: slog.New(slog.DiscardHandler),
		Restart: func() error { b.restarts.Add(1); return nil },
		Mount:   func(string, bool) (string, func() error, error) { return "", nil, fs.ErrNotExist },
	}
	hub.must(os.Mkdir(filepath.Join(dir, "state"), 0o700))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil { // it exits when it is idle, and its socket starts it again
			server.Serve(ctx, l)
			if os.Remove(socket); ctx.Err() == nil {
				if l, err = net.Listen("unix", socket); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
	b.box.status.Problems = nil
	b.boot(dir)
	b.box.setHubs(hubName)
	return b
}

// boot boots the slot that the boot script would choose, judges it, and starts the daemon's parts. It repeats this until a slot
// works.
func (b *slotBox) boot(dir string) {
	b.t.Helper()
	for tries := 0; ; tries++ {
		s, err := b.card.Update(slot.State.Boot)
		if err != nil || tries > slot.MaxTries {
			b.t.Fatalf("boot %d: %v", tries, err)
		}
		b.card.Running = s.Slot
		f, err := b.card.Open(s.Slot, os.O_RDONLY)
		if err != nil {
			b.t.Fatal(err)
		}
		head := make([]byte, 16)
		_, err = f.ReadAt(head, 0)
		version, _, _ := strings.Cut(string(head), "\n")
		err = errors.Join(err, f.Close(), os.WriteFile(filepath.Join(dir, "proc/cmdline"), []byte("passerelle.slot="+string(s.Slot)), 0o600))
		if err != nil {
			b.t.Fatal(err)
		}
		start := time.Now()
		if (proof.Prover{
			Card: b.card, Note: filepath.Join(dir, slot.NotePath), State: filepath.Join(dir, "state"), Log: slog.New(slog.DiscardHandler),
			Uptime: func() time.Duration { return time.Since(start) }, Ready: func(string) {},
			Pace: health.Pace{Settle: time.Nanosecond, Limit: 20 * time.Millisecond, Every: time.Millisecond},
			Works: func(context.Context) error {
				if version == "1.2.0" {
					return errors.New("it does not answer")
				}
				return nil
			},
		}).Run(b.t.Context()) == nil {
			b.release = "v" + version
			b.start(filepath.Dir(b.path), b.root)
			if _, err := b.releases.(*releases).ask(b.t.Context(), agent.Request{Do: agent.Slots}, nil); err != nil {
				b.t.Fatal(err)
			}
			b.reports.observe(time.Minute)
			return
		}
	}
}

// goOn restarts the box if a release is ready and the daemon would start it now. It tells whether it did.
func (b *slotBox) goOn() bool {
	b.t.Helper()
	r := b.releases.(*releases)
	if r.card.read(); !r.due() {
		return false
	}
	if _, err := r.ask(b.t.Context(), agent.Request{Do: agent.Other}, nil); err != nil {
		b.t.Fatal(err)
	}
	b.stop()
	b.boot(filepath.Dir(b.card.Device))
	return true
}

// heard returns the newest stage of the release that the box has received and verified.
func (b *slotBox) heard(staged update.Staged) *rollout.Stage {
	b.stages.wait(staged, b.member.name(), b.box.Status().Clock)
	b.stages.mu.Lock()
	defer b.stages.mu.Unlock()
	return b.stages.memory.Stage(staged.Rule.Key)
}

// TestRollout: releases are rolled out in stages, with the hub's own code and the box's: to the first boxes, to more, to all. A person
// halts and resumes a roll-out; the hub halts it when boxes go back; a person gives it up.
func TestRollout(t *testing.T) {
	t.Parallel()
	const boxCount = 20
	hub, people := newTestHub(t), newSigner(t)
	hub.must(hub.desk.AddAssociation(t.Context(), "ana", "lilas", ""))
	known := &survey.Fleet{Now: time.Now}
	following := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { following <- hub.desk.Follow(ctx, known) }()
	defer func() { cancel(); <-following }()

	boxes := make([]*slotBox, boxCount)
	names := make([]string, boxCount)
	for i := range boxes {
		b := newSlotBox(t, hub, people)
		code, err := hub.desk.MakeSticker(t.Context(), "ana", "lilas", time.Now().AddDate(0, 0, 1))
		hub.must(err)
		hub.must(b.join(hub.bundle(), code))
		b.eventually("the box waits", func() bool { return b.fleet().Stage == "waiting" })
		hub.must(hub.desk.Confirm(t.Context(), "ana", b.fleet().Box, b.fleet().Words))
		b.eventually("the box is connected", func() bool { return b.fleet().Connected })
		boxes[i], names[i] = b, b.fleet().Box
	}

	key, err := hub.keys.StageKey()
	hub.must(err)
	epoch := int64(0)
	var hash rollout.Hash
	var staged update.Staged
	// below returns the boxes whose place is below permille of 1000.
	below := func(permille int) (all []*slotBox) {
		for i, b := range boxes {
			if rollout.Place(names[i], hash) < permille {
				all = append(all, b)
			}
		}
		return all
	}
	// release publishes a release with one box in the first stage and three more in the next one.
	release := func(version string) {
		t.Helper()
		root, boot := systemOf(version)
		m, _, err := offer.Pack(people.Repository, plan.Manifest{
			Version: version, Board: slot.Board, Epoch: epoch + 1,
			Rollout: rollout.Rule{Day: time.Now().UTC().Format(time.DateOnly), Days: 14, Key: key},
		}, []pack.Part{
			{Part: plan.Part{Name: plan.RootPart}, From: bytes.NewReader(root)},
			{Part: plan.Part{Name: plan.BootPart, At: slot.BootAt}, From: bytes.NewReader(boot)},
		}, nil)
		hub.must(err)
		for {
			text, err := m.Format()
			hub.must(err)
			if hash = rollout.Hash(plan.Sum(text)); len(below(10)) == 1 && len(below(100)) == 4 {
				break
			}
			m.Epoch++
		}
		epoch, staged = m.Epoch, update.Staged{Manifest: plan.Hash(hash), Rule: m.Rollout}
		hub.must(offer.Stage(people.Repository, m, time.Now()))
		people.sign(repository.Targets, people.release[:2])
		people.must(people.Seal(people.hub[0], time.Now()))
		people.deliver(hub)
	}
	current := func() registry.Rollout {
		t.Helper()
		r, _, err := hub.desk.Rollout(t.Context())
		hub.must(err)
		return r
	}
	change := func(did string, edit func(*registry.Rollout) error) {
		t.Helper()
		hub.must(hub.desk.ChangeRollout(t.Context(), "ana", did, edit))
	}
	begin := func(version string) {
		t.Helper()
		change("begin", func(r *registry.Rollout) (err error) {
			*r, err = hubstages.Begin(*r, version, hash, time.Now())
			return err
		})
	}
	act := func(a hubstages.Action) {
		t.Helper()
		change(string(a), func(r *registry.Rollout) (err error) {
			*r, err = hubstages.Act(*r, a, r.Number, hubstages.Count(known.Boxes(), *r, time.Now()), time.Now())
			return err
		})
	}
	watch := func() {
		t.Helper()
		hub.must(hubstages.Watch(t.Context(), hubstages.Options{
			Registry: hub.desk, Boxes: known.Boxes, Now: time.Now, Log: slog.New(slog.DiscardHandler),
		}))
	}
	// settles waits until each box has taken what it may. Then the boxes of want run the version, and no others do.
	settles := func(when, version string, want []*slotBox) {
		t.Helper()
		boxes[0].eventually(when+": the boxes of the stage run it", func() bool {
			number := current().Number
			heard := true
			for _, b := range boxes {
				b.goOn()
				s := b.heard(staged)
				heard = heard && s != nil && s.Number == number
			}
			for _, b := range boxes {
				if slices.Contains(want, b) && b.release != "v"+version {
					return false
				}
			}
			return heard
		})
		for _, b := range boxes {
			if (b.release == "v"+version) != slices.Contains(want, b) {
				t.Errorf("%s: a box runs %s", when, b.release)
			}
		}
	}
	// counted waits until the hub has these counts.
	counted := func(when string, want hubstages.Counts) {
		t.Helper()
		boxes[0].eventually(when+fmt.Sprintf(": the hub counts %+v", want), func() bool {
			return hubstages.Count(known.Boxes(), current(), time.Now()) == want
		})
	}

	release("1.1.0")
	for _, b := range boxes { // without a stage no box takes it
		b.eventually("the box knows the release and waits", func() bool {
			u := b.releases.(*releases).describe(b.box.Status(), b.box.Config())
			return u.Newest == "1.1.0" && u.Fetches == string(rollout.Later)
		})
	}
	begin("1.1.0")
	settles("1 %", "1.1.0", below(10))
	counted("1 %", hubstages.Counts{Chosen: 1, Well: 1})
	if watch(); current().Phase != registry.Going {
		t.Fatalf("a release that works is %+v", current())
	}
	act(hubstages.Raise)
	act(hubstages.Halt) // before some have taken it, perhaps
	boxes[0].eventually("each box knows that it is halted", func() bool {
		for _, b := range boxes {
			if s := b.heard(staged); s == nil || !s.Halted {
				return false
			}
		}
		return true
	})
	for _, b := range boxes {
		if b.goOn() {
			t.Error("a box starts a release that is halted")
		}
	}
	act(hubstages.Resume)
	settles("10 %", "1.1.0", below(100))
	counted("10 %", hubstages.Counts{Chosen: 4, Well: 4})
	act(hubstages.Raise)
	settles("all", "1.1.0", boxes)
	counted("all", hubstages.Counts{Chosen: boxCount, Well: boxCount})
	if watch(); current().Phase != registry.Going {
		t.Fatalf("a release that works is %+v", current())
	}

	// A release that does not work: the first box goes back, and the hub halts the roll-out.
	release("1.2.0")
	begin("1.2.0")
	tried := func(b *slotBox) bool {
		u := b.releases.(*releases).describe(b.box.Status(), b.box.Config())
		return u.FellBack == "1.2.0" && u.Version == "1.1.0"
	}
	back := func(when string, want []*slotBox) {
		t.Helper()
		boxes[0].eventually(when+": the boxes of the stage have tried it", func() bool {
			for _, b := range boxes {
				b.goOn()
			}
			return !slices.ContainsFunc(want, func(b *slotBox) bool { return !tried(b) })
		})
		for _, b := range boxes {
			if b.release != "v1.1.0" || tried(b) != slices.Contains(want, b) {
				t.Errorf("%s: a box runs %s; it tried it: %t", when, b.release, tried(b))
			}
		}
		counted(when, hubstages.Counts{Chosen: len(want), Fell: len(want)})
		if watch(); current().Phase != registry.Halted || current().Why != string(hubstages.Fell) {
			t.Fatalf("%s: the roll-out is %+v", when, current())
		}
	}
	back("1 %", below(10))
	// A person resumes it nevertheless: more boxes go back, it is halted again, and given up.
	act(hubstages.Resume)
	if watch(); current().Phase != registry.Going {
		t.Fatalf("what a person knew of halts it: %+v", current())
	}
	act(hubstages.Raise)
	back("10 %", below(100))
	act(hubstages.Abandon)
	settles("given up", "1.1.0", boxes)
	if r := current(); r.Phase != registry.Abandoned || hubstages.May(r) != nil {
		t.Errorf("what was given up is %+v", r)
	}
	for _, b := range boxes {
		if tried(b) != slices.Contains(below(100), b) {
			t.Error("a box has tried what was given up")
		}
	}
}
