package decide

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"passerelle/appliance/state"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var (
	now   = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	later = now.Add(4 * time.Hour)
	month = now.AddDate(0, 0, 8)
)

func fine() Observation {
	return Observation{Now: now, Applied: true, Configured: true, Chosen: -1, LastChosen: -1, Donations: []Donation{
		{Name: "Fibre", Priority: 1, Open: true, DailyBudget: 5e9, Works: true, Stable: true},
		{Name: "Phone", Priority: 2, Open: true, DailyBudget: 1e9, Works: true, Stable: true},
	}}
}

// TestStates tests every row of the table, and every pair of neighbours: the upper one wins.
func TestStates(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		change func(*Observation)
	}{
		{"all fine", func(o *Observation) {}},
		{"not applied yet", func(o *Observation) { o.Applied = false }},
		{"not applied yet and paused", func(o *Observation) { o.Applied, o.Paused = false, true }},
		{"fault before anything was applied", func(o *Observation) { o.Applied, o.Fault = false, "wlan0 does not exist" }},
		{"fault and not configured", func(o *Observation) { o.Fault, o.Configured = "wlan0 does not exist", false }},
		{"not configured and without a radio", func(o *Observation) { o.Configured, o.NoWiFi = false, "no radio was found" }},
		{"not configured and paused", func(o *Observation) { o.Configured, o.Paused = false, true }},
		{"set-up was requested with the button", func(o *Observation) { o.SetupAsked = true }},
		{"paused and closed", func(o *Observation) {
			o.Paused, o.PausedBy = true, "the button"
			o.Donations[0].Open, o.Donations[1].Open = false, false
		}},
		{"paused by nobody known", func(o *Observation) { o.Paused = true }},
		{"paused, and the first is down", func(o *Observation) { o.Paused, o.Donations[0].Works = true, false }},
		{"paused, and the chosen one stays while it is not much worse", func(o *Observation) {
			o.Paused, o.Chosen, o.Donations[0].Priority, o.Donations[1].DailyBudget = true, 1, 2, 4e9
		}},
		{"paused, one is paused by its lender, the other closed", func(o *Observation) {
			o.Paused, o.Donations[0].Paused, o.Donations[1].Open = true, true, false
		}},
		{"paused and spent, the second keeps something", func(o *Observation) {
			o.Paused, o.Donations[0].Spent = true, true
			o.Donations[1].Spent, o.Donations[1].Reserve = true, true
		}},
		{"paused, and set-up asked for", func(o *Observation) { o.Paused, o.SetupAsked = true, true }},
		{"closed and spent", func(o *Observation) {
			o.Donations[0] = Donation{Name: "Fibre", Opens: month, Spent: true}
			o.Donations[1] = Donation{Name: "Phone", Opens: later}
		}},
		{"closed for ever", func(o *Observation) { o.Donations = nil }},
		{"spent and offline", func(o *Observation) {
			o.Donations[0] = Donation{Name: "Fibre", Open: true, Spent: true, Resets: month, Why: "eth0 has no link"}
			o.Donations[1] = Donation{Name: "Phone", Open: true, Spent: true}
		}},
		{"the configuration is refused", func(o *Observation) { o.Configured, o.Refused = false, "its line 7 is wrong" }},
		{"the configuration is refused, and another used", func(o *Observation) { o.Refused = "its line 7 is wrong" }},
		{"lost and spent", func(o *Observation) {
			o.Donations[0] = Donation{Name: "Fibre", Open: true, Spent: true, Lost: true, Resets: month}
			o.Donations[1] = Donation{Name: "Phone", Open: true, Spent: true}
		}},
		{"one spent, the other closed", func(o *Observation) {
			o.Donations[0] = Donation{Name: "Fibre", Open: true, Spent: true, Resets: month, Works: true}
			o.Donations[1] = Donation{Name: "Phone", Opens: later, Works: true}
		}},
		{"offline", func(o *Observation) {
			o.Donations[0].Works, o.Donations[0].Why = false, "eth0 has a link but no default route"
			o.Donations[1].Works, o.Donations[1].Why = false, "usb0 does not exist"
		}},
		{"the first is down", func(o *Observation) { o.Donations[0].Works = false }},
		{"the first is spent", func(o *Observation) { o.Donations[0].Spent = true }},
		{"the first is closed", func(o *Observation) { o.Donations[0].Open = false }},
		{"the first is paused by its lender", func(o *Observation) { o.Donations[0].Paused = true }},
		{"both are paused by their lenders", func(o *Observation) { o.Donations[0].Paused, o.Donations[1].Paused = true, true }},
		{"one is paused by its lender, the other closed", func(o *Observation) {
			o.Donations[0].Paused = true
			o.Donations[1] = Donation{Name: "Phone", Opens: later, Works: true}
		}},
		{"one is paused by its lender, the other spent", func(o *Observation) {
			o.Donations[0].Paused, o.Donations[0].Resets = true, later
			o.Donations[1].Spent, o.Donations[1].Resets = true, month
		}},
		{"paused by its lender and closed", func(o *Observation) {
			o.Donations = []Donation{{Name: "Fibre", Opens: later, Paused: true}}
		}},
		{"the second comes first", func(o *Observation) { o.Donations[1].Priority = 0 }},
		{"of equals, the one whose cap allows most a day", func(o *Observation) {
			o.Donations[0].Priority, o.Donations[1].DailyBudget = 2, Unlimited
		}},
		{"equals in all keep their order", func(o *Observation) { o.Donations[0].Priority, o.Donations[0].DailyBudget = 2, 1e9 }},
		{"of equals, the chosen one stays while it is not much worse", func(o *Observation) {
			o.Chosen, o.Donations[0].Priority, o.Donations[1].DailyBudget = 1, 2, 4e9
		}},
		{"of equals, the chosen one has become much worse", func(o *Observation) {
			o.Chosen, o.Donations[0].Priority, o.Donations[1].DailyBudget = 1, 2, 3.9e9
		}},
		{"the first is slow", func(o *Observation) { o.Chosen, o.Donations[0].Slow = 0, true }},
		{"the first is slow, and the second works only since a moment", func(o *Observation) {
			o.Chosen, o.Donations[0].Slow, o.Donations[1].Stable = 0, true, false
		}},
		{"the only one that works is slow", func(o *Observation) {
			o.Chosen, o.Donations[0].Slow, o.Donations[1].Works = 0, true, false
		}},
		{"both are slow", func(o *Observation) { o.Donations[0].Slow, o.Donations[1].Slow = true, true }},
		{"the first works again, for a moment", func(o *Observation) { o.Chosen, o.Donations[0].Stable = 1, false }},
		{"the first works again, for a while", func(o *Observation) { o.Chosen = 1 }},
		{"the first works again, and the chosen one is gone", func(o *Observation) {
			o.Chosen, o.Donations[0].Stable, o.Donations[1].Works = 1, false, false
		}},
		{"all spent, the second keeps something", func(o *Observation) {
			o.Donations[0].Spent, o.Donations[0].Resets = true, month
			o.Donations[1].Spent, o.Donations[1].Reserve = true, true
		}},
		{"all spent, what keeps something is down", func(o *Observation) {
			o.Donations[0].Spent, o.Donations[1].Spent = true, true
			o.Donations[1].Reserve, o.Donations[1].Works = true, false
		}},
	}
	var b strings.Builder
	for _, c := range cases {
		o := fine()
		c.change(&o)
		d := Decide(o)
		fmt.Fprintf(&b, "%s:\n\t%s: %s\n\tinternet %s, names %t, donation %d", c.name, d.State, d.Why, d.Internet, d.Names, d.Donation)
		if !d.Opens.IsZero() {
			fmt.Fprintf(&b, ", opens %s", d.Opens.Format(time.RFC3339))
		}
		if !d.Resets.IsZero() {
			fmt.Fprintf(&b, ", resets %s", d.Resets.Format(time.RFC3339))
		}
		b.WriteString("\n")
	}
	golden := filepath.Join("testdata", "states.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("decisions changed (-want +got):\n%s", d)
	}
}

// TestMetered: devices are told whether the line in use is metered. While no line is in use, they are told the same as before.
func TestMetered(t *testing.T) {
	t.Parallel()
	const phone = `"Phone" has a cap of 2GB`
	for _, c := range []struct {
		name   string
		change func(*Observation)
		want   string
	}{
		{"the fibre is in use", func(o *Observation) {}, ""},
		{"the phone is in use", func(o *Observation) { o.Donations[0].Open = false }, phone},
		{"the phone's reserve is in use", func(o *Observation) {
			o.LastChosen, o.Donations[0].Spent = 0, true
			o.Donations[1].Spent, o.Donations[1].Reserve = true, true
		}, phone},
		{"paused, names go by the fibre", func(o *Observation) { o.Paused, o.LastChosen = true, 1 }, ""},
		{"paused by the lenders, the fibre was in use", func(o *Observation) {
			o.LastChosen, o.Donations[0].Paused, o.Donations[1].Paused = 0, true, true
		}, ""},
		{"paused by the lenders, the phone was in use", func(o *Observation) {
			o.LastChosen, o.Donations[0].Paused, o.Donations[1].Paused = 1, true, true
		}, phone},
		{"a fault, the phone was in use", func(o *Observation) { o.Fault, o.LastChosen = "no radio", 1 }, phone},
		{"the fibre is in use after the phone", func(o *Observation) { o.LastChosen = 1 }, ""},
		{"nothing was in use yet", func(o *Observation) { o.Donations[0].Works, o.Donations[1].Works = false, false }, phone},
		{"nothing was in use yet, and nothing is metered", func(o *Observation) {
			o.Paused, o.Donations[1].Metered = true, ""
		}, ""},
		{"before the first plan", func(o *Observation) { o.Applied = false }, ""},
		{"nothing is lent", func(o *Observation) { o.Donations = nil }, ""},
	} {
		o := fine()
		o.Donations[1].Metered = phone
		c.change(&o)
		if got := Decide(o).Metered; got != c.want {
			t.Errorf("%s: devices are told %q, want %q", c.name, got, c.want)
		}
	}
}

// TestNothingPassesWithoutReason tests any observation. Internet is given only through a donation that is open, not paused, works and
// has data left, on a box that has no fault, is configured and is not paused. On a paused box only names go through such a donation.
// Essential services are reached only when no donation has more to give, through one that has some of its reserve. Every decision
// says why. A better donation waits only until it is stable, and only while the chosen one works.
func TestNothingPassesWithoutReason(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	coin := func() bool { return r.IntN(3) > 0 }
	seen, paused := map[Internet]int{}, 0
	for range 100_000 {
		o := Observation{Now: now, Applied: coin(), Configured: coin(), SetupAsked: !coin(), Paused: !coin(), Chosen: r.IntN(5) - 1}
		if !coin() {
			o.Fault = "broken"
		}
		for range r.IntN(4) {
			o.Donations = append(o.Donations, Donation{
				Name: "x", Priority: r.IntN(3), Open: coin(), Paused: !coin(), Spent: !coin(), Reserve: coin(),
				DailyBudget: r.Uint64N(100), Works: coin(), Slow: !coin(), Stable: coin(), Why: "down",
			})
		}
		o.LastChosen = r.IntN(len(o.Donations)+1) - 1
		d := Decide(o)
		if d.Why == "" {
			t.Fatalf("%+v: %s without a reason", o, d.State)
		}
		seen[d.Internet]++
		if d.Donation < 0 {
			if d.Internet != NoInternet || d.Names {
				t.Fatalf("%+v: a way out without a donation: %+v", o, d)
			}
			continue
		}
		x := o.Donations[d.Donation]
		if !x.Open || x.Paused || !x.Works || o.Fault != "" || !o.Configured || o.SetupAsked || o.Paused && d.Internet != NoInternet {
			t.Fatalf("%+v: %s through %+v", o, d.Internet, x)
		}
		funded := func(y Donation) bool { return y.Open && !y.Paused && !y.Spent }
		want := state.Sharing
		switch d.Internet {
		case NoInternet:
			paused++
			want = state.Paused
			if !o.Paused || !funded(x) || !d.Names {
				t.Fatalf("%+v: names through %+v", o, x)
			}
		case EssentialOnly:
			want = state.Exhausted
			if !x.Reserve || d.Names || slices.ContainsFunc(o.Donations, funded) {
				t.Fatalf("%+v: essential services through %+v", o, x)
			}
		case AllInternet:
			if !funded(x) || !d.Names {
				t.Fatalf("%+v: internet through %+v", o, x)
			}
		}
		stays := o.Chosen >= 0 && o.Chosen < len(o.Donations) && funded(o.Donations[o.Chosen]) && o.Donations[o.Chosen].Works
		for _, y := range o.Donations {
			better := y.Slow == x.Slow && y.Priority < x.Priority || x.Slow && !y.Slow
			if funded(y) && y.Works && better && (!stays || y.Stable) {
				t.Fatalf("%+v: %+v comes before %+v", o, y, x)
			}
		}
		if !o.Applied {
			want = state.Starting
		}
		if d.State != want {
			t.Fatalf("%+v: %s", o, d.State)
		}
	}
	if seen[AllInternet] < 1000 || seen[EssentialOnly] < 100 || paused < 1000 {
		t.Fatalf("seen %v, and names alone %d times: the test looks away", seen, paused)
	}
}
