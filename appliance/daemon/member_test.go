package daemon

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"passerelle/appliance"
	"passerelle/appliance/config"
	"passerelle/appliance/fetch"
	"passerelle/appliance/fleet"
	"passerelle/appliance/fleet/command"
	"passerelle/appliance/fleet/handouts"
	"passerelle/appliance/fleet/layer"
	"passerelle/appliance/fleet/protocol"
	"passerelle/appliance/fleet/report"
	"passerelle/appliance/fleet/repository"
	"passerelle/appliance/fleet/rollout"
	"passerelle/appliance/state"
	"passerelle/cmd/hub/authority"
	"passerelle/cmd/hub/node"
	"passerelle/cmd/hub/registrar"
	"passerelle/cmd/hub/registry"
	"passerelle/image/update"
	"passerelle/image/update/plan"
)

// hubName is the address of the box's hub; its dialer connects to the loopback instead.
const hubName = "192.0.2.1"

// testHub is a hub in this process.
type testHub struct {
	*testing.T
	keys   authority.Keys
	ca     authority.Pair
	server authority.Pair
	store  string
	listen string // HOST:PORT, once it has run
	desk   *registry.Registry
	kill   func()
}

func newTestHub(t *testing.T) *testHub {
	h := &testHub{T: t, store: t.TempDir(), listen: "127.0.0.1:0"}
	var err error
	h.keys, _, err = authority.New(rand.Reader)
	h.must(err)
	h.ca, err = authority.NewCA(time.Now())
	h.must(err)
	h.server, err = h.ca.Host(hubName, time.Now())
	h.must(err)
	h.start()
	return h
}

func (h *testHub) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

// start starts the hub, at the address that it had before.
func (h *testHub) start() {
	h.Helper()
	log := slog.New(slog.DiscardHandler)
	n, err := node.Start(node.Options{
		Name: "hub-1", Listen: h.listen, Store: h.store, Disk: 4 << 30, TLS: h.server, Roots: h.ca.Certificate, Keys: h.keys, Log: log,
	})
	h.must(err)
	h.listen = n.Addr()
	o := registry.Options{Keys: h.keys, Now: time.Now}
	o.Hub, err = n.Connect(authority.Hub)
	h.must(err)
	o.Fleet, err = n.Connect(authority.Fleet)
	h.must(err)
	h.must(registry.Create(h.Context(), o, 1))
	h.desk, err = registry.Open(h.Context(), o)
	h.must(err)
	ctx, cancel := context.WithCancel(h.Context())
	var tasks sync.WaitGroup
	desk := h.desk
	tasks.Go(func() { registrar.Serve(ctx, o.Hub, desk, time.Now, log) })
	tasks.Go(func() { desk.WatchMembers(ctx, n.SetMembers) })
	h.kill = sync.OnceFunc(func() {
		cancel()
		tasks.Wait()
		o.Hub.Close()
		o.Fleet.Close()
		n.Stop()
	})
	h.Cleanup(func() { h.kill() })
}

// bundle returns the boxes' part of the hub's keys.
func (h *testHub) bundle() []byte {
	h.Helper()
	b, err := h.keys.Bundle(h.ca.Certificate, rand.Reader)
	h.must(err)
	text, err := json.Marshal(b)
	h.must(err)
	return text
}

// signer stands for the people who sign the fleet's files.
type signer struct {
	*testing.T
	repository.Repository
	root, release, hub []repository.Key
}

func newSigner(t *testing.T) *signer {
	s := &signer{T: t, Repository: repository.Repository{Dir: t.TempDir()}}
	keys := repository.Keys{}
	for range 3 {
		for _, r := range []struct {
			private *[]repository.Key
			public  *[]repository.PublicKey
		}{{&s.root, &keys.Root}, {&s.release, &keys.Release}, {&s.hub, &keys.Hub}} {
			key, err := repository.NewKey()
			s.must(err)
			*r.private, *r.public = append(*r.private, key), append(*r.public, key.PublicKey)
		}
	}
	s.must(s.StageRoot(keys, time.Now()))
	s.sign(repository.Root, s.root[:2])
	return s
}

func (s *signer) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *signer) sign(role string, keys []repository.Key) {
	s.Helper()
	for _, key := range keys {
		s.must(s.Repository.Sign(role, key))
	}
	_, err := s.Publish()
	s.must(err)
}

// publish makes two people sign a fragment, and the hub deliver it.
func (s *signer) publish(h *testHub, path, text string) {
	s.Helper()
	file, err := s.Add(path, []byte(text))
	s.must(err)
	s.change(func(t *metadata.TargetsType) { t.Targets[path] = file })
	s.deliver(h)
}

// change makes two people sign a change, and a hub seal it.
func (s *signer) change(change func(*metadata.TargetsType)) {
	s.Helper()
	s.must(s.Change(time.Now(), func(t *metadata.TargetsType) error {
		if t.Targets == nil {
			t.Targets = map[string]*metadata.TargetFiles{}
		}
		change(t)
		return nil
	}))
	s.sign(repository.Targets, s.release[:2])
	s.must(s.Seal(s.hub[0], time.Now()))
}

// deliver copies everything that is published to a hub.
func (s *signer) deliver(h *testHub) {
	s.Helper()
	var last protocol.Wake
	for _, folder := range []string{"targets", "metadata"} {
		s.must(filepath.WalkDir(filepath.Join(s.Dir, folder), func(name string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			text, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			below, err := filepath.Rel(s.Dir, name)
			if err != nil {
				return err
			}
			last, err = h.desk.PutFile(s.Context(), filepath.ToSlash(below), text)
			return err
		}))
	}
	s.must(h.desk.WakeAll(last))
}

// secretTexts must not leave the box.
var secretTexts = []string{"Lampadaire", "Framboise", "Cachalot", "10.80.3.77", "02:ab:cd:ef:12:34", "Tournevis"}

// fleetBox is a fake of the parts of a box that a member needs.
type fleetBox struct {
	mu     sync.Mutex
	file   *config.Config
	used   layer.Result
	pause  string // who paused
	fleet  bool   // whether the fleet paused
	status state.Status
}

func (b *fleetBox) locked(do func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	do()
}

func (b *fleetBox) SetLayers(_ context.Context, l appliance.Layers) error {
	b.locked(func() { b.used = layer.Merge(b.file, l.All, l.Accepted) })
	return nil
}

func (b *fleetBox) Status() (s state.Status) {
	b.locked(func() {
		s = b.status
		s.PausedBy, s.Layers = b.pause, &state.Layers{}
		if s.Donations = append([]state.Donation(nil), s.Donations...); b.pause != "" {
			s.State, s.Donations[0].Chosen = state.Paused, false
		}
		s.Clock = state.Clock{Now: time.Now(), Trusted: true}
	})
	return s
}

func (b *fleetBox) Obey(_ context.Context, a command.Action, by string) (v command.Verdict, _ error) {
	b.locked(func() {
		if v = command.Weigh(a, command.Standing{Paused: b.pause != "", Fleet: b.fleet}); v == command.Done {
			b.pause, b.fleet = "", a == command.Pause
			if b.fleet {
				b.pause = by
			}
		}
	})
	return v, nil
}

func (b *fleetBox) Config() (c *config.Config) {
	b.locked(func() {
		if c = b.file; b.used.Config != nil {
			c = b.used.Config
		}
	})
	return c
}

func (b *fleetBox) Written() (c *config.Config) {
	b.locked(func() { c = b.file })
	return c
}

// setHubs writes [fleet] hubs into the configuration.
func (b *fleetBox) setHubs(hubs ...string) {
	b.locked(func() {
		next := *b.file
		next.Fleet.Hubs = hubs
		b.file, b.used = &next, layer.Result{}
	})
}

// wiretap is the only way off the box: it records what is dialled.
type wiretap struct {
	to    string // in place of hubName
	mu    sync.Mutex
	dials []string
}

func (w *wiretap) dial(ctx context.Context, network, device string, to netip.AddrPort) (net.Conn, error) {
	w.mu.Lock()
	w.dials = append(w.dials, fmt.Sprintf("%s %s %s", network, device, to))
	w.mu.Unlock()
	var d net.Dialer
	return d.DialContext(ctx, "tcp", w.to)
}

func (w *wiretap) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.dials)
}

func (w *wiretap) count() int { return len(w.all()) }

// memberWorld is a box with the parts for a fleet, wired as the daemon does.
type memberWorld struct {
	*member
	t    *testing.T
	box  *fleetBox
	wire *wiretap
	path string // the file of what is remembered about the line
	stop func()

	// For a box with two slots; nil and "" otherwise.
	machine fs.FS
	asker   updateAsker
	release string
}

// search finds a line that does not work. Its result contains all texts that must not leave the box.
func (w *memberWorld) search(context.Context) (state.Diagnosis, error) {
	f := state.Finding{
		Step: state.StepGateway, Of: secretTexts[1], Verdict: state.Bad, Code: "gateway-silent",
		Saw: strings.Join(secretTexts, " "), Do: secretTexts[0], Args: map[string]string{"gateway": secretTexts[3], "why": secretTexts[5]},
	}
	return state.Diagnosis{Began: time.Now(), Took: 900, Verdict: state.Bad, Cause: f.Code, Steps: []state.Finding{f}}, nil
}

func newMemberWorld(t *testing.T, hub, root string) *memberWorld {
	w := stoppedMemberWorld(t, hub)
	w.start(filepath.Dir(w.path), root)
	return w
}

func stoppedMemberWorld(t *testing.T, hub string) *memberWorld {
	dir := t.TempDir()
	c, err := config.Parse("", named(secretTexts[0]))
	if err != nil {
		t.Fatal(err)
	}
	c.Donations[0].Name, c.Box.Name = secretTexts[1], secretTexts[2]
	w := &memberWorld{t: t, wire: &wiretap{to: hub}, path: filepath.Join(dir, downloadsFile), box: &fleetBox{file: c, status: state.Status{
		State: state.Sharing, Centre: secretTexts[2], Residents: state.Residents{Started: 7},
		Hotspot: state.Hotspot{WiFi: &state.WiFi{SSID: secretTexts[0]}},
		Donations: []state.Donation{{
			Name: secretTexts[1], Interface: "eth1", Ifname: "eth1", Chosen: true, Open: true, Works: true, Up: true,
			Servers: []string{secretTexts[3]}, PeriodStart: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), Why: secretTexts[4],
		}},
		Problems: []state.Problem{{Code: state.Codes[0], Args: map[string]string{"error": secretTexts[5]}}},
	}}}
	return w
}

// start starts the parts that the daemon starts for a fleet.
func (w *memberWorld) start(dir, root string) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	d := &Daemon{paths: paths{state: dir}, log: log, trustRoot: root, layers: newLayers(dir), stages: newStages(dir, log), reports: newReporter(dir, cmp.Or(w.release, "v0.9.0"))}
	if w.machine != nil {
		d.card.root, d.card.log = w.machine, log
		d.card.read()
	}
	d.fetcher = fetch.New(fetch.Options{
		Log: log, Path: w.path, Dial: w.wire.dial, Jobs: func() []fetch.Job { return nil },
		Situation: func() fetch.Situation { return situation(w.box.Status(), w.box.Config()) },
	})
	d.diagnoses = newDiagnoses(dir, w.search, w.box.Status, log)
	d.commands = newCommands(dir, w.box, d.diagnoses.ask)
	d.reports.member = func() bool { return w.box.Written().Fleet.Member() }
	d.releases = &releases{
		Daemon: d, box: w.box, asker: w.asker, now: time.Now, up: func() time.Duration { return time.Minute }, keep: func(context.Context) {},
		wait: func(of update.Staged) rollout.Wait { return d.stages.wait(of, w.member.name(), w.box.Status().Clock) },
	}
	d.reports.failed = func(err error) { w.t.Error(err) }
	d.reports.status = func() state.Status {
		s := w.box.Status()
		s.Updates = d.releases.describe(s, w.box.Config())
		return s
	}
	w.member = d.newMember(w.box)
	d.reports.news = w.member.look
	w.handouts = HandoutsOf(dir, ContentOf(dir, func(string) error { return nil }, time.Now), handouts.Options{Log: log, May: d.releases.mayFetch})
	w.pace = fleet.Pace{Ping: time.Hour, Visit: 200 * time.Millisecond, Round: time.Hour, Ask: 10 * time.Millisecond,
		Retry: 20 * time.Millisecond, Most: 100 * time.Millisecond, Spread: time.Millisecond, Timeout: 20 * time.Second}
	d.diagnoses.news = w.member.hurry
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var tasks sync.WaitGroup
		tasks.Go(func() { d.diagnoses.run(ctx) })
		w.member.run(ctx)
		tasks.Wait()
	}()
	w.stop = sync.OnceFunc(func() {
		cancel()
		<-ended
	})
	w.t.Cleanup(w.stop)
	w.eventually("the box's part of a fleet runs", func() bool {
		w.member.mu.Lock()
		defer w.member.mu.Unlock()
		return w.member.ctx != nil
	})
}

func (w *memberWorld) fleet() state.Fleet {
	w.t.Helper()
	var s state.Status
	w.addTo(&s)
	if s.Fleet == nil {
		w.t.Fatal("the box is in no fleet")
	}
	return *s.Fleet
}

func (w *memberWorld) eventually(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			var s state.Status
			w.addTo(&s)
			w.t.Fatalf("not in time: %s; the fleet is %+v", what, s.Fleet)
		}
	}
}

// TestMember: a box joins its fleet, is limited, paused and resumed, and sends its daily reports, through a hub that goes away and
// comes back.
func TestMember(t *testing.T) {
	t.Parallel()
	hub, people := newTestHub(t), newSigner(t)
	w := newMemberWorld(t, hub.listen, filepath.Join(people.Dir, "metadata", "1.root.json"))
	hub.must(hub.desk.AddAssociation(t.Context(), "ana", "lilas", "nord"))
	code, err := hub.desk.MakeSticker(t.Context(), "ana", "lilas", time.Now().AddDate(0, 0, 1))
	hub.must(err)

	// Without [fleet] hubs it takes no code, and sends nothing.
	if err := w.join(hub.bundle(), code); err == nil {
		t.Error("a box without hubs asks for a membership")
	}
	w.reports.observe(time.Hour)
	w.follow()
	if n := w.wire.count(); n != 0 {
		t.Fatalf("a box without hubs has dialled %d times", n)
	}
	// With hubs, but without a code, it has nothing to request.
	w.box.setHubs(hubName)
	w.follow()
	if f := w.fleet(); w.wire.count() != 0 || f.Stage != "alone" || f.Waits != "" {
		t.Fatalf("%d dials, %+v", w.wire.count(), f)
	}
	if err := w.join([]byte("{}"), code); err == nil {
		t.Error("a bundle without a certificate is taken")
	}
	hub.must(w.join(hub.bundle(), strings.ToLower(code)))
	w.eventually("the box waits", func() bool { return w.fleet().Stage == "waiting" })
	f := w.fleet()
	hub.must(hub.desk.Confirm(t.Context(), "ana", f.Box, f.Words))
	w.eventually("the box is connected", func() bool {
		f := w.fleet()
		return f.Connected && f.Association == "lilas" && f.Region == "nord" && !f.Contact.IsZero()
	})
	if err := w.join(nil, code); !errors.Is(err, fleet.ErrMember) {
		t.Errorf("a member joins again: %v", err)
	}
	for _, dial := range w.wire.all() {
		if dial != "tcp4 eth1 "+hubName+":443" {
			t.Errorf("it dialled %s", dial)
		}
	}

	// A layer sets a limit; another region's layer is not taken.
	people.publish(hub, layer.Path(layer.All, ""), "[limits]\nsession = \"45m\"\n")
	w.eventually("the session is shorter", func() bool { return w.box.Config().Limits.Session == 45*time.Minute })
	people.publish(hub, layer.Path(layer.Region, "sud"), "[limits]\nsession = \"5m\"\n")
	people.publish(hub, layer.Path(layer.Region, "nord"), "[limits]\nsession = \"30m\"\n")
	w.eventually("the region's session is shorter still", func() bool { return w.box.Config().Limits.Session == 30*time.Minute })

	// The stage of a release is received, and is valid under the key that the release names, also when the hub is gone.
	key, err := hub.keys.StageKey()
	hub.must(err)
	staged := update.Staged{Manifest: plan.Hash{1}, Rule: rollout.Rule{Day: time.Now().UTC().Format(time.DateOnly), Days: 14, Key: key}}
	waits := func() rollout.Wait { return w.stages.wait(staged, w.member.name(), w.box.Status().Clock) }
	if got := waits(); got != rollout.Later {
		t.Errorf("before any stage: %q", got)
	}
	hub.must(hub.desk.ChangeRollout(t.Context(), "ana", "begin roll-out", func(r *registry.Rollout) error {
		*r = registry.Rollout{Version: "1.3.0", Release: rollout.Hash{1}, Permille: rollout.All, Phase: registry.Going}
		return nil
	}))
	w.eventually("the box may take the release", func() bool { return waits() == "" })
	hub.must(hub.desk.ChangeRollout(t.Context(), "ana", "halt roll-out", func(r *registry.Rollout) error {
		r.Phase = registry.Halted
		return nil
	}))
	w.eventually("the release is halted", func() bool { return waits() == rollout.Halted })

	// The fleet pauses, and ends its own pause, although the box shares nothing meanwhile. People at the box take precedence.
	send := func(a command.Action) (id string) {
		t.Helper()
		id = fmt.Sprintf("%s-%d", a, time.Now().UnixNano())
		text, err := json.Marshal(command.Command{ID: id, Action: a, Expires: time.Now().Add(time.Hour), By: "Ana"})
		hub.must(err)
		hub.must(hub.desk.PutCommand(t.Context(), "ana", "lilas", f.Box, text))
		return id
	}
	became := func(id string, want command.Verdict) {
		t.Helper()
		w.eventually(fmt.Sprintf("the hub shows that %s is %s", id, want), func() bool {
			text, err := hub.desk.Report(t.Context(), "lilas", f.Box, protocol.Done)
			if err != nil || text == nil {
				return false
			}
			o, err := command.ParseOutcome(text)
			hub.must(err)
			return o.ID == id && o.Verdict == want
		})
	}
	became(send(command.Pause), command.Done)
	if w.box.Status().State != state.Paused {
		t.Error("the fleet's pause is none")
	}
	became(send(command.Resume), command.Done)
	if w.box.Status().State != state.Sharing {
		t.Error("the fleet's resume is none")
	}
	w.box.locked(func() { w.box.pause = "the desk" })
	became(send(command.Resume), command.Yields)
	w.box.locked(func() { w.box.pause = "" })

	w.mu.Lock()
	if n := w.client.Status().Behind; n != 0 { // the only hub knows what it woke the box for
		t.Errorf("the hub was behind its own wakes %d times", n)
	}
	w.mu.Unlock()

	// A diagnosis is sent as codes, with numbers in place of the loans' names.
	became(send(command.Diagnose), command.Done)
	w.eventually("the hub shows what was found", func() bool {
		text, err := hub.desk.Report(t.Context(), "lilas", f.Box, protocol.Diagnosis)
		if err != nil || text == nil {
			return false
		}
		d, err := report.ParseDiagnosis(text)
		hub.must(err)
		for _, secret := range secretTexts {
			if strings.Contains(string(text), secret) {
				t.Errorf("%q is in %s", secret, text)
			}
		}
		return d.Verdict == "fault" && slices.Equal(d.Steps, []report.Step{{Step: "gateway", Donation: 1, Verdict: "fault", Code: "gateway-silent"}})
	})
	w.eventually("the box knows that it is shown", func() bool { w.look(); return len(w.found.pending()) == 0 })

	// The hub shows the day. Then it goes away, and the box keeps what it has: nothing changes here.
	w.reports.observe(reportLook) // what began before it joined is of no day
	w.box.locked(func() { w.box.status.Residents.Started += 7 })
	today := report.Day(time.Now().Format(time.DateOnly))
	shows := func(r *registry.Registry) string {
		text, err := r.Report(t.Context(), "lilas", f.Box, today.Report())
		if err != nil {
			return ""
		}
		return string(text)
	}
	w.reports.observe(time.Hour)
	w.look()
	w.eventually("the hub shows the day", func() bool { return strings.Contains(shows(hub.desk), `"sessions":7`) })
	w.eventually("the box knows", func() bool { w.look(); return w.fleet().Unshown == 0 })
	for _, text := range secretTexts {
		if strings.Contains(shows(hub.desk), text) {
			t.Errorf("the report has %q", text)
		}
	}
	hub.kill()
	w.eventually("the box has noticed", func() bool { return !w.fleet().Connected && w.fleet().Error != "" })
	if w.box.Config().Limits.Session != 30*time.Minute || w.box.Status().State != state.Sharing {
		t.Error("without a hub the box is another one")
	}
	if got := waits(); got != rollout.Halted {
		t.Errorf("without a hub the release is not halted: %q", got)
	}
	w.box.locked(func() { w.box.status.Residents.Started += 13 })
	w.reports.observe(time.Hour)
	if n := w.fleet().Unshown; n != 1 {
		t.Errorf("%d days wait for the hub", n)
	}
	hub.start()
	w.eventually("the hub shows the rest of the day", func() bool {
		w.look()
		return strings.Contains(shows(hub.desk), `"sessions":20`) && w.fleet().Unshown == 0
	})

	// What it used is booked to the fleet's purse, and once [fleet] hubs is empty it sends nothing more.
	w.box.setHubs()
	w.follow()
	dials := w.wire.count()
	w.look()
	w.follow()
	if n := w.wire.count(); n != dials {
		t.Errorf("%d dials after the box has left its fleet", n-dials)
	}
	text, err := os.ReadFile(w.path)
	hub.must(err)
	var booked struct {
		Lines map[string]struct{ Bytes uint64 }
	}
	hub.must(json.Unmarshal(text, &booked))
	if n := booked.Lines["fleet\n"+secretTexts[1]].Bytes; n < 20_000 || n > 1_000_000 {
		t.Errorf("%d bytes are booked: %s", n, text)
	}
}
