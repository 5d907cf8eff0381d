package health

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"passerelle/appliance/state"
)

// TestTrial: what a box does minute by minute, and the resulting verdict.
func TestTrial(t *testing.T) {
	t.Parallel()
	ill := errors.New("ill")
	for name, c := range map[string]struct {
		works func(at time.Duration) error
		want  Verdict
		at    time.Duration
	}{
		"at once": {func(time.Duration) error { return nil }, Good, time.Minute + Settle},
		"never":   {func(time.Duration) error { return ill }, Expired, TrialLimit},
		"once more": {func(at time.Duration) error {
			if at == 2*time.Minute {
				return ill
			}
			return nil
		}, Good, 2*time.Minute + trialInterval + Settle},
		"on and off": {func(at time.Duration) error {
			if at%time.Minute == 0 {
				return ill
			}
			return nil
		}, Expired, TrialLimit},
		"late": {func(at time.Duration) error {
			if at < 9*time.Minute {
				return ill
			}
			return nil
		}, Good, 9*time.Minute + Settle},
		"late and not for long": {func(at time.Duration) error {
			if at < 9*time.Minute || at > 10*time.Minute {
				return ill
			}
			return nil
		}, Expired, 10*time.Minute + trialInterval},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now().Add(-time.Minute) // the kernel's start
				uptime := func() time.Duration { return time.Since(began) }
				var trial Trial
				got := trial.Run(t.Context(), uptime, func(context.Context) error { return c.works(uptime()) }, func(error) {})
				if got != c.want || uptime() != c.at {
					t.Errorf("verdict %v after %v, want %v after %v", got, uptime(), c.want, c.at)
				}
			})
		})
	}
}

// TestTrialSays: each reason is reported once, and an interrupted trial decides nothing.
func TestTrialSays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		began := time.Now()
		var said []string
		n := 0
		var trial Trial
		v := trial.Run(ctx, func() time.Duration { return time.Since(began) }, func(context.Context) error {
			if n++; n <= 3 {
				return errors.New("no daemon")
			}
			return nil
		}, func(failing error) { said = append(said, fmt.Sprint(failing)) })
		if diff := cmp.Diff([]string{"no daemon", "<nil>"}, said); v != Undecided || diff != "" {
			t.Errorf("%v, %s", v, diff)
		}
	})
}

// TestProves: faults of the software are distinguished from causes outside the box.
func TestProves(t *testing.T) {
	t.Parallel()
	line := func(change func(*state.Donation)) state.Donation {
		d := state.Donation{Name: "Fibre", Open: true, Up: true, Works: true, ProvedNames: state.Proof{At: time.Now()}}
		if change != nil {
			change(&d)
		}
		return d
	}
	silent := func(d *state.Donation) {
		d.ProvedNames, d.Works, d.Why = state.Proof{}, false, "its name servers do not answer"
	}
	for name, c := range map[string]struct {
		box   state.State
		lines []state.Donation
		code  state.Code
		want  string // in the error; "": it proves itself
	}{
		"sharing":               {state.Sharing, []state.Donation{line(nil)}, "", ""},
		"starting":              {state.Starting, []state.Donation{line(nil)}, "", "starting"},
		"fault":                 {state.Fault, []state.Donation{line(nil)}, "", "fault"},
		"setup":                 {state.Setup, nil, "", ""},
		"the ledger":            {state.Sharing, []state.Donation{line(nil)}, state.DiskFails, "no space"},
		"a warm board":          {state.Sharing, []state.Donation{line(nil)}, state.BoardWarm, ""},
		"of two lines one":      {state.Sharing, []state.Donation{line(silent), line(nil)}, "", ""},
		"names never resolved":  {state.Offline, []state.Donation{line(silent)}, "", "do not answer"},
		"resolved, then failed": {state.Offline, []state.Donation{line(func(d *state.Donation) { d.Works = false })}, "", ""},
		"unplugged":             {state.Offline, []state.Donation{line(func(d *state.Donation) { silent(d); d.Up = false })}, "", ""},
		"closed":                {state.Closed, []state.Donation{line(func(d *state.Donation) { silent(d); d.Open = false })}, "", ""},
		"its lender paused it":  {state.Paused, []state.Donation{line(func(d *state.Donation) { silent(d); d.PausedBy = "its lender" })}, "", ""},
		"all paused":            {state.Paused, []state.Donation{line(silent)}, "", ""},
		"spent":                 {state.Exhausted, []state.Donation{line(func(d *state.Donation) { silent(d); d.Spent = true })}, "", ""},
	} {
		s := state.Status{State: c.box, Donations: c.lines}
		if c.code != "" {
			s.Problems = []state.Problem{state.NewProblem(c.code, "error", "no space left")}
		}
		err := Proves(s)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
