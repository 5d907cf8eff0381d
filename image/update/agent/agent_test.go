package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"passerelle/appliance/fleet/mirror"
	"passerelle/appliance/fleet/repository"
	"passerelle/appliance/fleet/rollout"
	"passerelle/appliance/fleet/trust"
	"passerelle/image/slot"
	"passerelle/image/update"
	"passerelle/image/update/agent"
	"passerelle/image/update/pack"
	"passerelle/image/update/plan"
)

const bootAt = slot.BootAt

// system returns the parts of a small system, always the same for the same number.
func system(n int) (root, boot []byte) {
	random := rand.NewChaCha8([32]byte{byte(n / 10)}) // numbers of another ten share nothing with these
	root, boot = make([]byte, 600<<10), make([]byte, 100<<10)
	random.Read(root)
	random.Read(boot)
	copy(root[n%10<<15:], strings.Repeat(string(rune('a'+n%10)), 500))
	boot[0] = byte(n)
	return root, boot
}

// world is a box with files for a card, running system 1, with its server and a repository.
type world struct {
	t         testing.TB
	card      slot.Card
	state     string
	repo      repository.Repository
	keys      struct{ root, release, hub []repository.Key }
	root      []byte
	client    agent.Client
	mount     func(string, bool) (string, func() error, error)
	machine   fstest.MapFS
	restarted atomic.Int32
	day       time.Time
	rule      rollout.Rule // of the releases
}

func newWorld(t testing.TB) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{
		t: t, card: slot.Card{Running: slot.A, Device: filepath.Join(dir, "card0")}, state: filepath.Join(dir, "state"),
		repo: repository.Repository{Dir: filepath.Join(dir, "repository")}, machine: fstest.MapFS{}, day: time.Now(),
	}
	must(t, os.Mkdir(w.state, 0o700))
	must(t, os.WriteFile(w.card.Device, make([]byte, 3<<20), 0o600))
	for _, n := range []slot.Name{slot.A, slot.B} {
		f, err := os.Create(w.card.Device + map[slot.Name]string{slot.A: "p2", slot.B: "p3"}[n])
		must(t, err)
		must(t, f.Truncate(slot.SlotSize))
		must(t, f.Close())
	}
	w.write(slot.A, 1)
	for _, keys := range []*[]repository.Key{&w.keys.root, &w.keys.release, &w.keys.hub} {
		for range 3 {
			key, err := repository.NewKey()
			must(t, err)
			*keys = append(*keys, key)
		}
	}
	public := func(keys []repository.Key) (all []repository.PublicKey) {
		for _, k := range keys {
			all = append(all, k.PublicKey)
		}
		return all
	}
	must(t, w.repo.StageRoot(repository.Keys{Root: public(w.keys.root), Release: public(w.keys.release), Hub: public(w.keys.hub)}, w.day))
	w.sign(repository.Root, w.keys.root)
	var err error
	w.root, err = os.ReadFile(filepath.Join(w.repo.Dir, "metadata/1.root.json"))
	must(t, err)
	w.serve()
	return w
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) write(n slot.Name, number int) {
	w.t.Helper()
	root, boot := system(number)
	f, err := w.card.Open(n, os.O_RDWR)
	must(w.t, err)
	defer f.Close()
	_, err = f.WriteAt(root, 0)
	must(w.t, err)
	_, err = f.WriteAt(boot, bootAt)
	must(w.t, err)
}

func (w *world) sign(role string, keys []repository.Key) {
	w.t.Helper()
	for _, k := range keys[:2] {
		must(w.t, w.repo.Sign(role, k))
	}
	_, err := w.repo.Publish()
	must(w.t, err)
}

// serve starts the server, as systemd does.
func (w *world) serve() {
	w.client = agent.Client{Socket: filepath.Join(w.t.TempDir(), "sock")}
	l, err := net.Listen("unix", w.client.Socket)
	must(w.t, err)
	s := &agent.Server{
		Box: func() (*update.Box, error) {
			if w.root == nil {
				return nil, fs.ErrNotExist
			}
			return &update.Box{Card: w.card, State: w.state, Root: w.root, Clock: trust.Clock{Now: func() (time.Time, bool) { return w.day, true }}}, nil
		},
		Machine: w.machine, Log: slog.New(slog.DiscardHandler),
		Mount:   func(device string, writable bool) (string, func() error, error) { return w.mount(device, writable) },
		Restart: func() error { w.restarted.Add(1); return nil },
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Serve(ctx, l); err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(func() { cancel(); running.Wait() })
}

// release publishes a system as a release, signed on a day.
func (w *world) release(n int, on time.Time) {
	w.t.Helper()
	root, boot := system(n)
	m, err := pack.Release(plan.Manifest{Version: fmt.Sprintf("2026.%d", n), Board: slot.Board, Epoch: int64(n), Rollout: w.rule}, []pack.Part{
		{Part: plan.Part{Name: plan.RootPart}, From: bytes.NewReader(root)},
		{Part: plan.Part{Name: plan.BootPart, At: bootAt}, From: bytes.NewReader(boot)},
	}, nil, func(folder string, name plan.Hash, text []byte) error { return w.repo.WriteHashed(folder, name, text) })
	must(w.t, err)
	text, err := m.Format()
	must(w.t, err)
	summary, err := json.Marshal(m.Summary())
	must(w.t, err)
	must(w.t, w.repo.Change(on, func(t *metadata.TargetsType) error {
		file, err := w.repo.Add(plan.Name(m.Board, m.Epoch), text)
		if err == nil {
			custom := json.RawMessage(summary)
			file.Custom = &custom
			t.Targets[plan.Name(m.Board, m.Epoch)] = file
		}
		return err
	}))
	w.sign(repository.Targets, w.keys.release)
	must(w.t, w.repo.Seal(w.keys.hub[0], on))
}

// ask sends a request, with the repository as the source.
func (w *world) ask(q agent.Request) (agent.Result, error) {
	return w.client.Ask(w.t.Context(), q, mirror.Folder{FS: os.DirFS(w.repo.Dir)}, nil)
}

func (w *world) wantError(q agent.Request, code agent.Code) {
	w.t.Helper()
	_, err := w.ask(q)
	if e, ok := errors.AsType[*agent.Error](err); !ok || e.Code != code {
		w.t.Errorf("%+v is answered %v, want the code %q", q, err, code)
	}
}

// holds tells whether a slot has a system.
func (w *world) holds(n slot.Name, number int) bool {
	w.t.Helper()
	f, err := w.card.Open(n, os.O_RDONLY)
	must(w.t, err)
	defer f.Close()
	root, boot := system(number)
	for at, want := range map[int64][]byte{0: root, bootAt: boot} {
		got := make([]byte, len(want))
		_, err := f.ReadAt(got, at)
		must(w.t, err)
		if !bytes.Equal(got, want) {
			return false
		}
	}
	return true
}

// TestInstall: the client delivers, the server verifies and writes, and each slot's version is found by its hash.
func TestInstall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if r, err := w.ask(agent.Request{Do: agent.Slots}); err != nil || r.Slots != (update.Slots{Running: slot.A}) {
		t.Errorf("before any release the slots are %+v, %v", r.Slots, err)
	}
	w.release(1, w.day)
	r, err := w.ask(agent.Request{Do: agent.Install})
	if err != nil || !r.Running || r.Newest != "2026.1" || r.Slots.Version != "2026.1" {
		t.Errorf("the running release: %+v, %v", r, err)
	}
	w.release(2, w.day)
	r, err = w.ask(agent.Request{Do: agent.Look})
	if err != nil || r.Newest != "2026.2" || r.Running || r.Size != 0 || w.holds(slot.B, 2) {
		t.Errorf("a look: %+v, %v", r, err)
	}
	var told []agent.Progress
	r, err = w.client.Ask(t.Context(), agent.Request{Do: agent.Install}, mirror.Folder{FS: os.DirFS(w.repo.Dir)}, func(p agent.Progress) { told = append(told, p) })
	want := update.Slots{Running: slot.A, Version: "2026.1", Other: "2026.2", Ready: true}
	if err != nil || r.Slots != want || r.Size != 700<<10 || r.Fetch == 0 || r.Fetch > 350<<10 || !w.holds(slot.B, 2) || !w.holds(slot.A, 1) {
		t.Errorf("an installation: %+v, %v", r, err)
	}
	if last := told[len(told)-1]; last != (agent.Progress{Done: 700 << 10, Total: 700 << 10, Of: "2026.2"}) || told[0].Done != 0 {
		t.Errorf("the progress goes from %+v to %+v", told[0], last)
	}
	if entries, err := os.ReadDir(filepath.Join(w.state, "update")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%d files are kept: %v", len(entries), err)
	}

	// Choosing it verifies it first.
	f, err := w.card.Open(slot.B, os.O_RDWR)
	must(t, err)
	defer f.Close()
	flip := func() {
		b := make([]byte, 1)
		_, err := f.ReadAt(b, 300<<10)
		must(t, err)
		b[0] ^= 1
		_, err = f.WriteAt(b, 300<<10)
		must(t, err)
	}
	flip()
	w.wantError(agent.Request{Do: agent.Other}, agent.Failed)
	if r, err := w.ask(agent.Request{Do: agent.Slots}); err != nil || r.Slots.Ready {
		t.Errorf("with one bit flipped the slots are %+v, %v", r.Slots, err)
	}
	flip()
	if _, err := w.ask(agent.Request{Do: agent.Other}); err != nil || w.restarted.Load() != 1 {
		t.Errorf("the box was restarted %d times: %v", w.restarted.Load(), err)
	}
	if s, _, err := w.card.Read(); err != nil || s.Slot != slot.B || s.Tries != update.Tries {
		t.Errorf("the card has %+v, %v", s, err)
	}
	w.wantError(agent.Request{Do: agent.Install}, agent.Blocked)

	// Its trial fails: the box reports the reason, and does not install it again.
	must(t, update.Trial{Slot: slot.B, Why: "the portal does not answer"}.Write(w.state))
	_, err = w.card.Update(func(s slot.State) slot.State {
		for !s.Proven() {
			s = s.Boot()
		}
		return s
	})
	must(t, err)
	r, err = w.ask(agent.Request{Do: agent.Slots})
	if want := (update.Slots{Running: slot.A, Version: "2026.1", Other: "2026.2", Failed: "2026.2", FailedBy: "the portal does not answer"}); err != nil || r.Slots != want {
		t.Errorf("after the way back the slots are %+v, %v", r.Slots, err)
	}
	w.wantError(agent.Request{Do: agent.Install, Again: true}, agent.Unfit)
}

// TestRanBefore: a release that somebody rolled back from is not installed automatically, but on request.
func TestRanBefore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.release(1, w.day)
	w.release(2, w.day)
	_, err := w.ask(agent.Request{Do: agent.Install})
	must(t, err)
	_, err = w.ask(agent.Request{Do: agent.Other})
	must(t, err)
	_, err = w.card.Update(func(s slot.State) slot.State { return s.MarkGood(slot.B) })
	must(t, err)
	w.card.Running = slot.B
	if r, err := w.ask(agent.Request{Do: agent.Slots}); err != nil || r.Slots != (update.Slots{Running: slot.B, Version: "2026.2", Other: "2026.1"}) {
		t.Errorf("the slots are %+v, %v", r.Slots, err)
	}
	_, err = w.ask(agent.Request{Do: agent.Other}) // the first system has no record
	must(t, err)
	_, err = w.card.Update(func(s slot.State) slot.State { return s.Boot().MarkGood(slot.A) })
	must(t, err)
	w.card.Running = slot.A
	if r, err := w.ask(agent.Request{Do: agent.Slots}); err != nil || r.Slots.Ready || r.Slots.Other != "2026.2" {
		t.Errorf("the slots are %+v, %v", r.Slots, err)
	}
	w.wantError(agent.Request{Do: agent.Install}, agent.Ran)
	if r, err := w.ask(agent.Request{Do: agent.Install, Again: true}); err != nil || r.Slots.Other != "2026.2" {
		t.Errorf("asked for, it is answered %+v, %v", r, err)
	}
}

// TestStaged: the roll-out of a release is reported as it was signed, also when the release is ready, unless somebody asked for it.
// Only the release that Look returned is installed. A hub's key alone cannot change any of it.
func TestStaged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.release(1, w.day)
	w.rule = rollout.Rule{Day: "2026-12-01", Days: 14}
	w.release(2, w.day)
	first, err := w.ask(agent.Request{Do: agent.Look})
	if err != nil || first.Newest != "2026.2" || first.Staged.Rule != w.rule || first.Staged.Manifest == (plan.Hash{}) || first.Slots.Ready {
		t.Fatalf("a look: %+v, %v", first, err)
	}
	must(t, w.repo.Change(w.day, func(t *metadata.TargetsType) error {
		custom := json.RawMessage(strings.Replace(string(*t.Targets[plan.Name(slot.Board, 2)].Custom), `"days":14`, `"days":1`, 1))
		t.Targets[plan.Name(slot.Board, 2)].Custom = &custom
		return nil
	}))
	if err := w.repo.Sign(repository.Targets, w.keys.hub[0]); err == nil {
		t.Error("a hub's key signs how a release goes out")
	}
	must(t, os.RemoveAll(filepath.Join(w.repo.Dir, "staged")))

	w.release(3, w.day)
	w.wantError(agent.Request{Do: agent.Install, Only: first.Staged}, agent.Failed)
	w.wantError(agent.Request{Do: agent.Install}, agent.Failed) // a look found one that goes out to all
	if w.holds(slot.B, 3) {
		t.Error("a release is installed that nobody decided on")
	}
	second, err := w.ask(agent.Request{Do: agent.Look})
	must(t, err)
	for _, asked := range []bool{false, true} {
		q := agent.Request{Do: agent.Install, Only: second.Staged}
		want := second.Staged
		if asked {
			q, want = agent.Request{Do: agent.Install, Again: true}, update.Staged{}
		}
		_, err := w.ask(q)
		must(t, err)
		w.serve() // the box was unplugged
		if r, err := w.ask(agent.Request{Do: agent.Slots}); err != nil || !r.Slots.Ready || r.Slots.Other != "2026.3" || r.Slots.Staged != want {
			t.Errorf("asked for, %t: %+v, %v, want %+v", asked, r.Slots, err, want)
		}
	}
}

// counting is a source that fails after left files, and counts how often it delivered each file.
type counting struct {
	trust.Source
	left  int
	bytes map[string]int // by file: how often it was delivered
	files []string
}

var errSpent = errors.New("the cap is spent")

func (c *counting) Read(ctx context.Context, name string, limit int64) ([]byte, error) {
	if c.left == 0 {
		return nil, errSpent
	}
	c.left--
	text, err := c.Source.Read(ctx, name, limit)
	if err == nil && strings.HasPrefix(name, trust.TargetsFolder) {
		c.bytes[name]++
		c.files = append(c.files, name)
	}
	return text, err
}

// TestFiveDays: each day's cap ends in the middle of a download. Of the files that describe the release and of its chunks, none is
// fetched twice.
func TestFiveDays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.release(1, w.day)
	w.release(11, w.day)
	from := &counting{Source: mirror.Folder{FS: os.DirFS(w.repo.Dir)}, bytes: map[string]int{}}
	days, last := 0, agent.Progress{}
	for ; ; days++ {
		if days == 20 {
			t.Fatal("it has no end")
		}
		from.left = 7
		first := agent.Progress{}
		r, err := w.client.Ask(t.Context(), agent.Request{Do: agent.Install}, from, func(p agent.Progress) {
			if first == (agent.Progress{}) {
				first = p
			}
			last = p
		})
		if err == nil {
			if r.Slots.Other != "2026.11" || !r.Slots.Ready || !w.holds(slot.B, 11) {
				t.Errorf("at the end: %+v", r)
			}
			break
		}
		if !errors.Is(err, errSpent) {
			t.Fatal(err)
		}
		if s, _, err := w.card.Read(); err != nil || s.Slot != slot.A {
			t.Fatalf("the card has %+v, %v", s, err)
		}
		w.serve() // the box was unplugged
	}
	if days < 2 {
		t.Errorf("it took %d cuts only", days)
	}
	again := 0
	for name, n := range from.bytes {
		if strings.Contains(name, plan.Folder(slot.Board)) {
			continue // the manifest is small, and shows that nothing has changed
		}
		again += n - 1
	}
	if again != 0 {
		t.Errorf("%d files were fetched twice in %d cuts: %q", again, days, from.files)
	}
	if last.Done != last.Total {
		t.Errorf("the last progress is %+v", last)
	}
}

// TestRefused: what is unsigned, changed, too old or unknown leaves the slot unchanged.
func TestRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.release(1, w.day)
	w.release(2, w.day)
	wrong := func(change func(name string, text []byte) []byte) trust.Source {
		return spoiled{mirror.Folder{FS: os.DirFS(w.repo.Dir)}, change}
	}
	// In the order in which they are read: what was verified once is kept, and not read again.
	for _, x := range [][2]string{{"timestamp", "metadata/timestamp"}, {"manifest", "targets/os/"}, {"index", "targets/files/"}, {"chunk", "targets/chunks/"}} {
		of, folder := x[0], x[1]
		_, err := w.client.Ask(t.Context(), agent.Request{Do: agent.Install}, wrong(func(name string, text []byte) []byte {
			if strings.HasPrefix(name, folder) {
				text = bytes.Clone(text)
				text[len(text)/2] ^= 1
			}
			return text
		}), nil)
		if err == nil {
			t.Errorf("a flipped bit in the %s is accepted", of)
		}
		if w.holds(slot.B, 2) {
			t.Fatalf("a flipped bit in the %s: the release is there", of)
		}
	}
	long := wrong(func(string, []byte) []byte { return make([]byte, 1<<20) })
	if _, err := w.client.Ask(t.Context(), agent.Request{Do: agent.Install}, long, nil); err == nil {
		t.Error("files that are too long are accepted")
	}
	if _, err := w.client.Ask(t.Context(), agent.Request{Do: agent.Install}, nil, nil); err == nil || w.holds(slot.B, 2) {
		t.Errorf("without a source: %v", err)
	}
	w.wantError(agent.Request{Do: "dance"}, agent.Failed)
	w.wantError(agent.Request{Do: agent.Install, Stick: true}, agent.NoStick)

	// Expired, even if the daemon claims that somebody stands at the box.
	w.day = w.day.AddDate(0, 0, 40)
	w.wantError(agent.Request{Do: agent.Install}, agent.Code(trust.Expired))
	w.wantError(agent.Request{Do: agent.Install, Expired: true}, agent.Failed)
	if w.holds(slot.B, 2) {
		t.Error("expired metadata from afar is installed")
	}
	w.root = nil
	w.wantError(agent.Request{Do: agent.Slots}, agent.NoRoot)
}

// spoiled is a source that changes its files.
type spoiled struct {
	trust.Source
	change func(name string, text []byte) []byte
}

func (s spoiled) Read(ctx context.Context, name string, limit int64) ([]byte, error) {
	text, err := s.Source.Read(ctx, name, limit)
	if err == nil {
		text = s.change(name, text)
	}
	return text, err
}

// TestStick: the first stick with the folder of releases is the source, and is unmounted at the end. Somebody at the box may ignore
// the expiry of what is on it.
func TestStick(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.release(1, w.day)
	w.release(2, w.day)
	for _, device := range []string{"sda", "sdb"} {
		where := "pci/usb1/1-1/host0/block/" + device
		w.machine["sys/class/block/"+device] = &fstest.MapFile{Data: []byte("../../devices/" + where), Mode: fs.ModeSymlink}
		w.machine["sys/devices/"+where+"/size"] = &fstest.MapFile{Data: []byte("2048\n")}
		w.machine["sys/devices/"+where+"/dev"] = &fstest.MapFile{Data: []byte(device + "\n")}
	}
	other, ours := t.TempDir(), t.TempDir()
	must(t, os.Symlink(w.repo.Dir, filepath.Join(ours, "elsewhere")))
	must(t, os.CopyFS(filepath.Join(ours, agent.StickFolder), os.DirFS(w.repo.Dir)))
	mounted := 0
	w.mount = func(device string, writable bool) (string, func() error, error) {
		if writable {
			t.Error("a stick is mounted to be written")
		}
		mounted++
		return map[string]string{"sda": other, "sdb": ours}[device], func() error { mounted--; return nil }, nil
	}
	r, err := w.client.Ask(t.Context(), agent.Request{Do: agent.Install, Stick: true}, nil, nil)
	if err != nil || r.Slots.Other != "2026.2" || mounted != 0 {
		t.Errorf("from a stick: %+v, %v, and %d are mounted", r, err, mounted)
	}

	w.release(3, w.day)
	must(t, os.RemoveAll(filepath.Join(ours, agent.StickFolder)))
	must(t, os.CopyFS(filepath.Join(ours, agent.StickFolder), os.DirFS(w.repo.Dir)))
	w.day = w.day.AddDate(0, 0, 40)
	w.wantError(agent.Request{Do: agent.Install, Stick: true}, agent.Code(trust.Expired))
	r, err = w.client.Ask(t.Context(), agent.Request{Do: agent.Install, Stick: true, Expired: true}, nil, nil)
	if err != nil || r.Slots.Other != "2026.3" || mounted != 0 {
		t.Errorf("from a stick that has expired: %+v, %v, and %d are mounted", r, err, mounted)
	}
}

// TestOneAtATime: a second request is refused in the meantime. A request ends when its client disconnects, and the next one can start.
func TestOneAtATime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.release(1, w.day)
	w.release(2, w.day)
	ctx, cancel := context.WithCancel(t.Context())
	asked, done := make(chan bool), make(chan error, 1)
	var once sync.Once
	hangs := wait{mirror.Folder{FS: os.DirFS(w.repo.Dir)}, func(ctx context.Context) {
		once.Do(func() { close(asked) })
		<-ctx.Done()
	}}
	go func() {
		_, err := w.client.Ask(ctx, agent.Request{Do: agent.Install}, hangs, nil)
		done <- err
	}()
	<-asked
	w.wantError(agent.Request{Do: agent.Slots}, agent.Busy)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the client that went ended with %v", err)
	}
	if _, err := w.ask(agent.Request{Do: agent.Slots}); err != nil {
		t.Errorf("right after it the next one is answered %v", err)
	}
	if _, err := (agent.Client{Socket: filepath.Join(t.TempDir(), "none")}).Ask(t.Context(), agent.Request{Do: agent.Slots}, nil, nil); !errors.Is(err, agent.ErrNone) {
		t.Errorf("without a server it is %v", err)
	}
}

// TestCardIsClaimed: a command and the server leave the card alone while the other one uses it.
func TestCardIsClaimed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.release(1, w.day)
	w.release(2, w.day)
	box := &update.Box{Card: w.card, State: w.state, Root: w.root, Clock: trust.Clock{Now: func() (time.Time, bool) { return w.day, true }}}
	offer, err := box.Look(t.Context(), mirror.Folder{FS: os.DirFS(w.repo.Dir)}, false)
	must(t, err)
	w.serve() // the first server may have ended for lack of requests
	w.wantError(agent.Request{Do: agent.Install}, agent.Busy)
	w.wantError(agent.Request{Do: agent.Other}, agent.Busy)
	if err := box.Choose(t.Context(), slot.B); !errors.Is(err, update.ErrBusy) {
		t.Errorf("the other slot is chosen during an update: %v", err)
	}
	if w.holds(slot.B, 2) {
		t.Error("the card was written during another update")
	}
	offer.Close()
	if _, err := w.ask(agent.Request{Do: agent.Install}); err != nil || !w.holds(slot.B, 2) {
		t.Errorf("after it: %v", err)
	}
}

// wait is a source that calls until before each read.
type wait struct {
	trust.Source
	until func(context.Context)
}

func (s wait) Read(ctx context.Context, name string, limit int64) ([]byte, error) {
	s.until(ctx)
	return s.Source.Read(ctx, name, limit)
}
