package stages

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"passerelle/appliance/fleet/report"
	"passerelle/appliance/fleet/rollout"
	"passerelle/cmd/hub/registry"
	"passerelle/cmd/hub/survey"
)

var (
	now     = time.Date(2027, 3, 29, 9, 0, 0, 0, time.UTC)
	release = rollout.Hash{7}
)

// TestNext: when a roll-out is halted, and why.
func TestNext(t *testing.T) {
	t.Parallel()
	going := registry.Rollout{Version: "1.3.0", Release: release, Permille: 10, Phase: registry.Going}
	for name, x := range map[string]struct {
		phase    registry.Phase
		accepted int
		counts   Counts
		why      Why
	}{
		"nobody yet":             {registry.Going, 0, Counts{Chosen: 13}, ""},
		"all well":               {registry.Going, 0, Counts{Chosen: 13, Well: 13}, ""},
		"one of few fell":        {registry.Going, 0, Counts{Chosen: 13, Well: 12, Fell: 1}, Fell},
		"one of few is lost":     {registry.Going, 0, Counts{Chosen: 13, Lost: 1}, Lost},
		"one of few is ill":      {registry.Going, 0, Counts{Chosen: 13, Well: 4, Ill: 1}, Ill},
		"one of fifty":           {registry.Going, 0, Counts{Chosen: 130, Well: 49, Lost: 1}, ""},
		"one of 49":              {registry.Going, 0, Counts{Chosen: 130, Well: 48, Lost: 1}, Lost},
		"several":                {registry.Going, 0, Counts{Chosen: 130, Well: 100, Fell: 1, Ill: 3, Lost: 2}, Ill},
		"as many of each":        {registry.Going, 0, Counts{Chosen: 130, Well: 1, Fell: 1, Ill: 1, Lost: 1}, Fell},
		"those that are known":   {registry.Going, 2, Counts{Chosen: 13, Well: 10, Fell: 2}, ""},
		"one more":               {registry.Going, 2, Counts{Chosen: 13, Well: 10, Fell: 3}, Fell},
		"halted already":         {registry.Halted, 0, Counts{Chosen: 13, Fell: 13}, ""},
		"abandoned":              {registry.Abandoned, 0, Counts{Chosen: 13, Fell: 13}, ""},
		"there never was one":    {"", 0, Counts{}, ""},
		"well again, but halted": {registry.Halted, 0, Counts{Chosen: 13, Well: 13}, ""},
	} {
		r := going
		r.Phase, r.Accepted = x.phase, x.accepted
		want := r
		if x.why != "" {
			want.Phase, want.Why = registry.Halted, string(x.why)
		}
		if got, why := Next(r, x.counts); why != x.why || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %+v, %q, want %+v, %q", name, got, why, want, x.why)
		}
	}
}

// TestNever: whatever the counts are and whatever people do, a hub alone never raises or resumes a roll-out, a stage never shrinks, and an
// abandoned roll-out stays abandoned.
func TestNever(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		r, err := Begin(registry.Rollout{}, "1.3.0", release, now)
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			before := r
			c := Counts{Well: random.IntN(100), Ill: random.IntN(3), Fell: random.IntN(3), Lost: random.IntN(3)}
			c.Chosen = c.Tried() + random.IntN(10)
			if random.IntN(2) == 0 {
				var why Why
				if r, why = Next(r, c); r.Permille != before.Permille || (why == "") != (r.Phase == before.Phase) || r.Phase == registry.Going && before.Phase != registry.Going {
					t.Fatalf("%+v with %+v becomes %+v, %q", before, c, r, why)
				}
				continue
			}
			a := []Action{Raise, Halt, Resume, Abandon, "explode"}[random.IntN(5)]
			r, err = Act(r, a, before.Number, c, now)
			if (err == nil) != slices.Contains(May(before), a) || err != nil && fmt.Sprint(r) != fmt.Sprint(before) {
				t.Fatalf("%s of %+v is %+v, %v", a, before, r, err)
			}
			if r.Permille < before.Permille || !slices.Contains(Steps, r.Permille) || before.Phase == registry.Abandoned && r.Phase != before.Phase {
				t.Fatalf("%s of %+v is %+v", a, before, r)
			}
			if _, why := Next(r, c); (a == Resume || a == Raise) && err == nil && why != "" {
				t.Fatalf("%s of %+v is halted at once: %q", a, before, why)
			}
		}
	}
	if _, err := Act(registry.Rollout{Phase: registry.Going, Permille: 10, Number: 5}, Raise, 4, Counts{}, now); !errors.Is(err, ErrNot) {
		t.Errorf("somebody who saw another stage raises it: %v", err)
	}
}

// fleet returns a fleet of boxes that are all in a stage of permille, each with reports of the 20 days until yesterday.
func fleet(t *testing.T, boxes, permille int) (f *survey.Fleet, names []string) {
	t.Helper()
	f = &survey.Fleet{Now: func() time.Time { return now }}
	for i := 0; len(names) < boxes; i++ {
		if name := fmt.Sprintf("box%07d", i); rollout.Place(name, release) < permille {
			names = append(names, name)
			f.Box(registry.Box{Name: name, Association: "lilas", Stage: registry.Member, Confirmed: now.AddDate(0, -1, 0)})
			days(t, f, name, 20, 1, "1.2.0", "")
		}
	}
	return f, names
}

// days has a box report on each day, from from days ago to to days ago.
func days(t *testing.T, f *survey.Fleet, box string, from, to int, version report.Version, fault report.Word) {
	t.Helper()
	for ago := from; ago >= to; ago-- {
		at := now.AddDate(0, 0, -ago)
		r := report.Report{Form: report.Form, Day: report.Day(at.Format(time.DateOnly)), Release: version, State: "sharing", Donations: []report.Donation{}, Faults: []report.Fault{}}
		if fault != "" {
			r.Faults = append(r.Faults, report.Fault{Code: fault, Error: true})
		}
		text, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		f.Report("lilas", box, r.Day.Report(), text, at)
	}
}

// TestCount: each box of the stage counts once, and a fault or a silence from before the stage does not count.
func TestCount(t *testing.T) {
	t.Parallel()
	f, names := fleet(t, 8, 100)
	f.Box(registry.Box{Name: "others", Association: "lilas", Stage: registry.Waiting})
	r := registry.Rollout{Version: "1.3.0", Release: release, Permille: 100, Phase: registry.Going, Began: now.AddDate(0, 0, -6)}
	check := func(when string, want Counts) {
		t.Helper()
		if got := Count(f.Boxes(), r, now); got != want {
			t.Errorf("%s: %+v, want %+v", when, got, want)
		}
	}
	check("at first", Counts{Chosen: 8})
	days(t, f, names[0], 5, 0, "1.3.0", "")
	days(t, f, names[1], 5, 0, "1.3.0", "kernel-fails")
	days(t, f, names[2], 5, 3, "1.3.0", "")
	days(t, f, names[2], 2, 0, "1.2.0", "")
	days(t, f, names[3], 10, 0, "1.3.0", "kernel-fails") // the fault is older than the stage
	check("after some days", Counts{Chosen: 8, Well: 2, Ill: 1, Fell: 1})
	now := now.AddDate(0, 0, 2) // they report daily, and one more day is allowed
	got := Count(f.Boxes(), r, now)
	if want := (Counts{Chosen: 8, Well: 2, Ill: 1, Fell: 1, Lost: 4}); got != want {
		t.Errorf("four say nothing any more: %+v, want %+v", got, want)
	}
	if next, why := Next(r, got); why != Lost || next.Phase != registry.Halted {
		t.Errorf("it goes on: %+v, %q", next, why)
	}
	r.Began = now.AddDate(0, 0, 1) // they were silent before the stage began
	if got := Count(f.Boxes(), r, now); got.Lost != 0 {
		t.Errorf("boxes that were silent before the stage are lost in it: %+v", got)
	} else if got.Waiting() != 4 {
		t.Errorf("boxes that were silent before the stage are told of in it: %+v", got)
	}
	r.Permille = 0
	if got := Count(f.Boxes(), r, now); got != (Counts{}) {
		t.Errorf("nobody is in the stage: %+v", got)
	}
}

// keeper keeps a roll-out.
type keeper struct {
	kept      registry.Rollout
	did       []string
	published int
}

func (k *keeper) Rollout(context.Context) (registry.Rollout, bool, error) {
	return k.kept, k.kept.Phase != "", nil
}

func (k *keeper) ChangeRollout(_ context.Context, author, did string, edit func(*registry.Rollout) error) error {
	if err := edit(&k.kept); err != nil {
		return err
	}
	k.did = append(k.did, author+": "+did)
	k.kept.Number++
	k.kept.Until = now.Add(rollout.Longest)
	return nil
}

func (k *keeper) PublishRollout(context.Context, registry.Rollout) error {
	k.published++
	return nil
}

// TestWatch: a hub halts a roll-out once, renews a stage whose time is half over, even if it is halted, and otherwise only publishes.
func TestWatch(t *testing.T) {
	t.Parallel()
	f, names := fleet(t, 3, 100)
	k := &keeper{}
	look := func(when string, did ...string) {
		t.Helper()
		k.did = nil
		if err := Watch(t.Context(), Options{Registry: k, Boxes: f.Boxes, Now: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler)}); err != nil || !slices.Equal(k.did, did) {
			t.Errorf("%s: %q, %v, want %q", when, k.did, err, did)
		}
	}
	look("without one")
	k.kept = registry.Rollout{Version: "1.3.0", Release: release, Permille: 100, Phase: registry.Going, Began: now.AddDate(0, 0, -3), Number: 1, Until: now.Add(rollout.Longest)}
	look("at first")
	if k.published != 1 {
		t.Errorf("it was published %d times", k.published)
	}
	k.kept.Until = now.AddDate(0, 0, 14)
	look("half of its time is over", "the hubs: renew roll-out")
	days(t, f, names[0], 2, 1, "1.3.0", "")
	days(t, f, names[0], 0, 0, "1.2.0", "")
	look("one fell", "the hubs: halt roll-out")
	if k.kept.Phase != registry.Halted || k.kept.Why != string(Fell) {
		t.Errorf("it is %+v", k.kept)
	}
	look("halted")
	k.kept.Until = now
	look("halted, its time over", "the hubs: renew roll-out")
}
