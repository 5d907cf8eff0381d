package daemon

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"passerelle/appliance/config"
	"passerelle/appliance/fetch"
	"passerelle/appliance/fleet/mirror"
	"passerelle/appliance/fleet/repository"
	"passerelle/appliance/fleet/rollout"
	"passerelle/appliance/fleet/trust"
	"passerelle/appliance/state"
	"passerelle/cmd/hub/authority"
	"passerelle/image/slot"
	"passerelle/image/update"
	"passerelle/image/update/agent"
	"passerelle/image/update/offer"
	"passerelle/image/update/pack"
	"passerelle/image/update/plan"
)

// fakeAsker answers requests to write the card.
type fakeAsker struct {
	asked []agent.Request
	do    func(progress func(agent.Progress)) (agent.Result, error)
}

func (f *fakeAsker) Ask(_ context.Context, q agent.Request, _ trust.Source, progress func(agent.Progress)) (agent.Result, error) {
	f.asked = append(f.asked, q)
	return f.do(progress)
}

var afternoon = time.Date(2026, 12, 1, 15, 0, 0, 0, time.UTC)

func testReleases() (*releases, *fakeAsker) {
	asker := new(fakeAsker)
	d := &Daemon{log: slog.New(slog.DiscardHandler), card: cardSlots{some: true, note: slot.Note{Running: slot.A, Slot: slot.A, Good: slot.A}}}
	return &releases{
		Daemon: d, asker: asker, presses: make(chan agent.Request, 1),
		now: func() time.Time { return afternoon }, up: func() time.Duration { return time.Hour },
		keep: func(context.Context) {}, wait: func(update.Staged) rollout.Wait { return "" },
	}, asker
}

// quiet is a box that shares a line while nobody is online.
func quiet() (state.Status, *config.Config) {
	return state.Status{
			State: state.Sharing, Clock: state.Clock{Now: afternoon, Trusted: true},
			Donations: []state.Donation{{Name: "Fibre", Chosen: true, Ifname: "eth1", Cap: 200e9, Left: 50e9, OwnUse: 8e6}},
		}, &config.Config{
			Fleet:     config.Fleet{Mirror: "https://releases.example.org/", Updates: true, Budget: 100e6},
			Donations: []config.Donation{{Name: "Fibre", Cap: 200e9, Fleet: true}},
		}
}

// TestReleasesLine: releases use the line in use within their own budget, and never the part of a cap that is left to residents.
func TestReleasesLine(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		change func(*state.Status, *config.Config)
		budget uint64
		why    string
	}{
		"a quiet afternoon": {func(*state.Status, *config.Config) {}, 100e6 - 3.1e6, ""},
		"a small cap":       {func(s *state.Status, c *config.Config) { s.Donations[0].Cap, c.Donations[0].Cap = 1e9, 1e9 }, 50e6 - 3.1e6, ""},
		"no cap": {func(s *state.Status, c *config.Config) {
			s.Donations[0].Cap, s.Donations[0].Left, c.Donations[0].Cap = 0, 0, 0
		}, 100e6 - 3.1e6, ""},
		"almost spent":         {func(s *state.Status, _ *config.Config) { s.Donations[0].Left = 1e6 }, 0, "almost spent"},
		"not lent for it":      {func(_ *state.Status, c *config.Config) { c.Donations[0].Fleet = false }, 0, "not lent for the fleet"},
		"residents":            {func(s *state.Status, _ *config.Config) { s.Residents.Sessions = 2 }, 0, "residents"},
		"exhausted":            {func(s *state.Status, _ *config.Config) { s.State = state.Exhausted }, 0, "nothing is shared"},
		"paused":               {func(s *state.Status, _ *config.Config) { s.State = state.Paused }, 0, "nothing is shared"},
		"another config":       {func(_ *state.Status, c *config.Config) { c.Donations = nil }, 0, "just changed"},
		"no line that is used": {func(s *state.Status, _ *config.Config) { s.Donations[0].Chosen = false }, 0, ""},
	} {
		r, _ := testReleases()
		s, c := quiet()
		x.change(&s, c)
		got := r.may(situation(s, c), s, c)
		if got.Line != nil && (got.Line.Allowance != x.budget || got.Line.Purse != fleetPurse) || (got.Line == nil) != (x.budget == 0) {
			t.Errorf("%s: the line is %+v, want a budget of %d", name, got.Line, x.budget)
		}
		if got.Line == nil && !strings.Contains(got.Why, x.why) {
			t.Errorf("%s: it waits because %q, want %q", name, got.Why, x.why)
		}
	}
	r, _ := testReleases()
	r.setPressed(r.up())
	s, c := quiet()
	s.Residents.Sessions = 2
	if got := r.may(situation(s, c), s, c); got.Line == nil {
		t.Errorf("after a press it waits: %s", got.Why)
	}
}

// TestKeepsBefore: backups are written before the other system runs, and for nothing else.
func TestKeepsBefore(t *testing.T) {
	t.Parallel()
	for _, do := range []agent.Do{agent.Slots, agent.Look, agent.Install, agent.Other} {
		r, asker := testReleases()
		var order []string
		r.keep = func(context.Context) { order = append(order, "keep") }
		asker.do = func(func(agent.Progress)) (agent.Result, error) {
			order = append(order, "ask")
			return agent.Result{}, nil
		}
		if _, err := r.ask(t.Context(), agent.Request{Do: do}, nil); err != nil {
			t.Fatal(err)
		}
		want := []string{"ask"}
		if do == agent.Other {
			want = []string{"keep", "ask"}
		}
		if !slices.Equal(order, want) {
			t.Errorf("%s: %q, want %q", do, order, want)
		}
	}
}

// TestOthersFirst: a release that other boxes take first is seen but not installed, and not started if it is already in the slot. A
// press does not wait for them.
func TestOthersFirst(t *testing.T) {
	t.Parallel()
	r, asker := testReleases()
	staged := update.Staged{Manifest: plan.Hash{1}, Rule: rollout.Rule{Day: "2026-12-01", Days: 14}}
	slots := update.Slots{Running: slot.A, Version: "2026.1"}
	asker.do = func(func(agent.Progress)) (agent.Result, error) {
		return agent.Result{Newest: "2026.2", Staged: staged, Slots: slots}, nil
	}
	wait := rollout.Later
	r.wait = func(of update.Staged) rollout.Wait {
		if of == staged {
			return wait
		}
		return ""
	}
	look, install := agent.Request{Do: agent.Look}, agent.Request{Do: agent.Install, Only: staged}
	bring := func(pressed bool, want ...agent.Request) {
		t.Helper()
		asker.asked = nil
		if _, err := r.bring(t.Context(), pressed, nil); err != nil || !slices.Equal(asker.asked, want) {
			t.Errorf("pressed %t: it asked %+v, want %+v, %v", pressed, asker.asked, want, err)
		}
	}
	s, c := quiet()
	bring(false, look)
	if u := r.describe(s, c); u.Fetches != "later" || u.Newest != "2026.2" || u.Ready {
		t.Errorf("others first: %+v", u)
	}
	wait = rollout.Halted
	bring(false, look)
	if u := r.describe(s, c); u.Fetches != "halted" {
		t.Errorf("halted: %+v", u)
	}
	bring(true, agent.Request{Do: agent.Install, Again: true})
	wait = ""
	bring(false, look, install)

	// A release that is halted when it is ready is not started, even while the box is closed.
	slots.Other, slots.Ready, slots.Staged, s.State, wait = "2026.2", true, staged, state.Closed, rollout.Halted
	r.ask(t.Context(), agent.Request{Do: agent.Slots}, nil)
	if u := r.describe(s, c); !u.Ready || u.Starts != "halted" {
		t.Errorf("ready and halted: %+v", u)
	}
	slots.Staged = update.Staged{} // somebody installed it
	r.ask(t.Context(), agent.Request{Do: agent.Slots}, nil)
	if u := r.describe(s, c); u.Starts != "" {
		t.Errorf("ready, and asked for: %+v", u)
	}
}

// TestStages: a forged stage, or one older than the newest that was seen, changes nothing, also after a restart. A stage of another
// release does not count.
func TestStages(t *testing.T) {
	t.Parallel()
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	keys, _, err := authority.New(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	thieves, _, err := authority.New(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := keys.StageKey()
	if err != nil {
		t.Fatal(err)
	}
	staged := update.Staged{Manifest: plan.Hash{1}, Rule: rollout.Rule{Day: "2026-12-01", Days: 14, Key: public}}
	clock := state.Clock{Now: afternoon, Trusted: true}
	s := newStages(dir, log)
	hear := func(k authority.Keys, stage rollout.Stage) rollout.Wait {
		t.Helper()
		stage.Until = afternoon.AddDate(0, 0, 20)
		text, err := k.Stage(stage)
		if err != nil {
			t.Fatal(err)
		}
		s.hear(text)
		return s.wait(staged, "aaaaaaaaaa", clock)
	}
	mine := rollout.Hash(staged.Manifest)
	if got := s.wait(staged, "aaaaaaaaaa", clock); got != rollout.Later {
		t.Errorf("without a stage: %q", got)
	}
	if got := hear(thieves, rollout.Stage{Release: mine, Permille: rollout.All, Number: 9}); got != rollout.Later {
		t.Errorf("forged: %q", got)
	}
	if got := hear(keys, rollout.Stage{Release: rollout.Hash{2}, Permille: rollout.All, Number: 2}); got != rollout.Later {
		t.Errorf("another release's: %q", got)
	}
	if got := hear(keys, rollout.Stage{Release: mine, Permille: rollout.All, Number: 3}); got != "" {
		t.Errorf("its turn: %q", got)
	}
	if got := hear(keys, rollout.Stage{Release: mine, Permille: rollout.All, Halted: true, Number: 4}); got != rollout.Halted {
		t.Errorf("halted: %q", got)
	}
	s = newStages(dir, log)
	if got := hear(keys, rollout.Stage{Release: mine, Permille: rollout.All, Number: 3}); got != rollout.Halted {
		t.Errorf("the stage before is played again: %q", got)
	}
	if got := s.wait(update.Staged{}, "", state.Clock{}); got != "" {
		t.Errorf("a release without a rule waits: %q", got)
	}
	clock.Now = afternoon.AddDate(0, 0, 21) // no hub has sent anything since
	if got := s.wait(staged, "aaaaaaaaaa", clock); got != "" {
		t.Errorf("after the days of the rule: %q", got)
	}
}

// TestWithoutRoot: a system that takes no releases is asked once, not repeatedly.
func TestWithoutRoot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, asker := testReleases()
		asker.do = func(func(agent.Progress)) (agent.Result, error) {
			return agent.Result{}, &agent.Error{Code: agent.NoRoot, Text: "this system was built without a root of trust"}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := r.run(ctx); err != nil {
			t.Fatal(err)
		}
		if want := []agent.Request{{Do: agent.Slots}}; !slices.Equal(asker.asked, want) {
			t.Errorf("it was asked %+v, want %+v", asker.asked, want)
		}
	})
}

// TestWithoutRootAfterPress: a system that takes no releases is not asked again because somebody pressed something that was interrupted.
func TestWithoutRootAfterPress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, asker := testReleases()
		r.box = &fixedBox{fleet: config.Fleet{Mirror: "https://releases.example.org/", Updates: true}}
		noRoot := &agent.Error{Code: agent.NoRoot, Text: "this system was built without a root of trust"}
		asker.do = func(func(agent.Progress)) (agent.Result, error) { return agent.Result{}, noRoot }
		if _, err := r.ask(t.Context(), agent.Request{Do: agent.Slots}, nil); err != noRoot {
			t.Fatal(err)
		}
		asker.do = func(func(agent.Progress)) (agent.Result, error) { return agent.Result{}, trust.Waiting("residents") }
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		asker.asked = nil
		if err := r.Other(); err != nil {
			t.Fatal(err)
		}
		if err := r.run(ctx); err != nil {
			t.Fatal(err)
		}
		if want := []agent.Request{{Do: agent.Other}}; !slices.Equal(asker.asked, want) {
			t.Errorf("after a press it was asked %d times, want once", len(asker.asked))
		}
		if _, ok := r.job(); ok {
			t.Error("a mirror is asked although the system takes no releases")
		}
		r.setPressed(r.up())
		if _, ok := r.job(); !ok {
			t.Error("somebody who presses gets no answer")
		}
	})
}

// fixedBox is a quiet box with that configuration of its fleet, and that many residents.
type fixedBox struct {
	fleet    config.Fleet
	sessions int
}

func (b *fixedBox) Status() state.Status {
	s, _ := quiet()
	s.Residents.Sessions, s.Donations[0].Servers = b.sessions, []string{"9.9.9.9"}
	return s
}

func (b *fixedBox) Config() *config.Config {
	_, c := quiet()
	c.Fleet = b.fleet
	return c
}

// ways are how releases come to a box that takes none on its own.
var ways = map[string]config.Fleet{
	"a mirror": {Mirror: "https://releases.example.org/", Budget: 100e6},
	"hubs":     {Hubs: []string{"hub.example.org"}, Budget: 100e6},
}

// offeredTrust returns a box's trust, refreshed from a repository that offers a release.
func offeredTrust(t *testing.T) *trust.Trust {
	t.Helper()
	people := newSigner(t)
	root, boot := systemOf("2026.2")
	m, _, err := offer.Pack(people.Repository, plan.Manifest{Version: "2026.2", Board: slot.Board, Epoch: 1}, []pack.Part{
		{Part: plan.Part{Name: plan.RootPart}, From: bytes.NewReader(root)},
		{Part: plan.Part{Name: plan.BootPart, At: slot.BootAt}, From: bytes.NewReader(boot)},
	}, nil)
	people.must(err)
	people.must(offer.Stage(people.Repository, m, time.Now()))
	people.sign(repository.Targets, people.release[:2])
	people.must(people.Seal(people.hub[0], time.Now()))
	_, err = people.Publish()
	people.must(err)
	text, err := os.ReadFile(filepath.Join(people.Dir, "metadata", "1.root.json"))
	people.must(err)
	known, err := trust.Open(trust.Options{Dir: t.TempDir(), Root: text, Clock: trust.Clock{Now: func() (time.Time, bool) { return time.Now(), true }}})
	people.must(err)
	people.must(known.Refresh(t.Context(), mirror.Folder{FS: os.DirFS(people.Dir)}))
	return known
}

// TestPressLasts: a press counts until the release lies in the other slot, is refused, or two hours are over. A fetch that waits or
// fails meanwhile goes on beside residents, and without regard to the stage of the roll-out.
func TestPressLasts(t *testing.T) {
	t.Parallel()
	known := offeredTrust(t)
	for way, c := range ways {
		for name, x := range map[string]struct {
			err  error
			ends bool
		}{
			"in the other slot":          {nil, true},
			"for another board":          {&agent.Error{Code: agent.Unfit}, true},
			"unsigned":                   {&agent.Error{Code: agent.Code(trust.Unsigned)}, true},
			"no root of trust":           {&agent.Error{Code: agent.NoRoot}, true},
			"waits":                      {trust.Waiting("nothing is shared now"), false},
			"another update":             {&agent.Error{Code: agent.Busy}, false},
			"the slot is not yet proven": {&agent.Error{Code: agent.Blocked}, false},
			"the line is cut":            {io.ErrUnexpectedEOF, false},
		} {
			t.Run(way+", "+name, func(t *testing.T) {
				t.Parallel()
				r, asker := testReleases()
				up := time.Hour
				r.box, r.up = &fixedBox{fleet: c, sessions: 3}, func() time.Duration { return up }
				r.wait = func(update.Staged) rollout.Wait { return rollout.Later }
				bring := func() {
					if c.Mirror == "" {
						if err := r.fromHubs(t.Context(), known, nil); err != nil {
							t.Fatal(err)
						}
					} else if j, ok := r.job(); ok {
						j.Run(t.Context(), nil)
					}
				}
				asker.do = func(func(agent.Progress)) (agent.Result, error) { return agent.Result{Newest: "2026.2"}, x.err }
				r.setPressed(up)
				bring()
				asked := []agent.Request{{Do: agent.Install, Again: true}}
				if !slices.Equal(asker.asked, asked) {
					t.Fatalf("it asked %+v", asker.asked)
				}
				if free := r.situation().Line != nil; free == x.ends {
					t.Errorf("it may go on beside residents: %t", free)
				}
				bring()
				if !x.ends {
					asked = append(asked, asked[0])
				}
				up += pressLasts
				bring()
				if !slices.Equal(asker.asked, asked) {
					t.Errorf("then it asked %+v, want %+v", asker.asked, asked)
				}
				if r.situation().Line != nil {
					t.Error("after two hours it goes on beside residents")
				}
			})
		}
	}
}

// TestSecondPress: a press that is refused leaves an earlier one as it was.
func TestSecondPress(t *testing.T) {
	t.Parallel()
	for way, c := range ways {
		r, _ := testReleases()
		up, box := time.Hour, &fixedBox{fleet: c, sessions: 3}
		r.box, r.up, r.member = box, func() time.Duration { return up }, &member{}
		r.fetcher = fetch.New(fetch.Options{
			Log: r.log, Path: filepath.Join(t.TempDir(), downloadsFile), Situation: r.situation,
			Jobs: func() []fetch.Job {
				if j, ok := r.job(); ok {
					return []fetch.Job{j}
				}
				return nil
			},
		})
		if err := r.Look(); err != nil {
			t.Fatalf("%s: %v", way, err)
		}
		up += time.Minute
		box.fleet.Budget = 1 // a mirror's download is running already
		if err := r.Look(); err == nil {
			t.Errorf("%s: a second press is accepted", way)
		}
		box.fleet = c
		if line := r.situation(); line.Line == nil {
			t.Errorf("%s: then the first one no longer counts: %s", way, line.Why)
		}
		if up += pressLasts - time.Minute; r.situation().Line != nil {
			t.Errorf("%s: the refused press counts", way)
		}
	}
}

// TestReleasesStatus: the status from the first reading of the slots to a waiting release, and to a fallback.
func TestReleasesStatus(t *testing.T) {
	t.Parallel()
	r, asker := testReleases()
	s, c := quiet()
	want := state.Updates{From: "releases.example.org", Auto: true}
	check := func(when string) {
		t.Helper()
		if diff := cmp.Diff(&want, r.describe(s, c)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	check("at first")

	asker.do = func(func(agent.Progress)) (agent.Result, error) {
		return agent.Result{Slots: update.Slots{Running: slot.A}}, nil
	}
	r.ask(t.Context(), agent.Request{Do: agent.Slots}, nil)
	want.Read = true
	check("with the slots read")
	asker.do = func(func(agent.Progress)) (agent.Result, error) {
		return agent.Result{Newest: "2026.1", Running: true, Slots: update.Slots{Running: slot.A, Version: "2026.1"}}, nil
	}
	r.ask(t.Context(), agent.Request{Do: agent.Install}, nil)
	want.Version, want.Newest, want.Current = "2026.1", "2026.1", true
	check("with a first look")
	want.Current = false

	cut := errors.New("residents came")
	asker.do = func(progress func(agent.Progress)) (agent.Result, error) {
		progress(agent.Progress{Done: 150e6, Total: 190e6, Of: "2026.2"})
		want.Busy, want.Newest, want.Done, want.Size = true, "2026.2", 150e6, 190e6
		check("meanwhile")
		if err := r.press(agent.Request{Do: agent.Other}); err == nil {
			t.Error("another request is accepted meanwhile")
		}
		return agent.Result{}, cut
	}
	ctx, stop := context.WithCancelCause(t.Context())
	stop(cut)
	r.ask(ctx, agent.Request{Do: agent.Install}, nil)
	want.Busy = false
	check("cut off") // the transfer resumes

	asker.do = func(func(agent.Progress)) (agent.Result, error) {
		return agent.Result{}, &agent.Error{Code: agent.Code(trust.Unsigned), Text: "targets.json is refused"}
	}
	r.ask(t.Context(), agent.Request{Do: agent.Install}, nil)
	want.Code, want.Error = "unsigned", "targets.json is refused"
	check("refused")

	asker.do = func(func(agent.Progress)) (agent.Result, error) {
		return agent.Result{Newest: "2026.2", Size: 190e6, Slots: update.Slots{Running: slot.A, Version: "2026.1", Other: "2026.2", Ready: true}}, nil
	}
	r.ask(t.Context(), agent.Request{Do: agent.Install}, nil)
	want.Code, want.Error, want.Done, want.Size, want.Other, want.Ready, want.Starts = "", "", 0, 0, "2026.2", true, "quiet"
	check("ready")
	s.State = state.Closed
	want.Starts, want.Fetches = "", "nothing is shared now (closed: )"
	check("closed")

	r.card.note.Failed = slot.B
	asker.do = func(func(agent.Progress)) (agent.Result, error) {
		return agent.Result{Slots: update.Slots{Running: slot.A, Version: "2026.1", Other: "2026.2", Failed: "2026.2", FailedBy: "the portal does not answer", FailedCode: "pages"}}, nil
	}
	r.ask(t.Context(), agent.Request{Do: agent.Slots}, nil)
	want.Ready, want.FellBack, want.FellBackWhy, want.FellBackCode = false, "2026.2", "the portal does not answer", state.TrialPages
	check("after the way back")

	r.card.some = false
	if got := r.describe(s, c); got != nil {
		t.Errorf("on a machine without slots it is %+v", got)
	}
}
