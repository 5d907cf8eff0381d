package decide

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	now   = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	later = now.Add(4 * time.Hour)
	month = now.AddDate(0, 0, 8)
)

func fine() Observation {
	return Observation{Now: now, Applied: true, Configured: true, Donations: []Donation{
		{Name: "Fibre", Priority: 1, Open: true, Works: true},
		{Name: "Phone", Priority: 2, Open: true, Works: true},
	}}
}

// TestStates holds every row of the table, and every pair of neighbours: the upper one wins.
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
		{"not configured and paused", func(o *Observation) { o.Configured, o.Paused = false, true }},
		{"the button asked for set-up", func(o *Observation) { o.SetupAsked = true }},
		{"paused and closed", func(o *Observation) {
			o.Paused, o.PausedBy = true, "the button"
			o.Donations[0].Open, o.Donations[1].Open = false, false
		}},
		{"paused by nobody known", func(o *Observation) { o.Paused = true }},
		{"closed and spent", func(o *Observation) {
			o.Donations[0] = Donation{Name: "Fibre", Opens: month, Spent: true}
			o.Donations[1] = Donation{Name: "Phone", Opens: later}
		}},
		{"closed for ever", func(o *Observation) { o.Donations = nil }},
		{"spent and offline", func(o *Observation) {
			o.Donations[0] = Donation{Name: "Fibre", Open: true, Spent: true, Refills: month, Why: "eth0 has no link"}
			o.Donations[1] = Donation{Name: "Phone", Open: true, Spent: true}
		}},
		{"one spent, the other closed", func(o *Observation) {
			o.Donations[0] = Donation{Name: "Fibre", Open: true, Spent: true, Refills: month, Works: true}
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
			o.Donations[0].Paused, o.Donations[0].Refills = true, later
			o.Donations[1].Spent, o.Donations[1].Refills = true, month
		}},
		{"paused by its lender and closed", func(o *Observation) {
			o.Donations = []Donation{{Name: "Fibre", Opens: later, Paused: true}}
		}},
		{"the second comes first", func(o *Observation) { o.Donations[1].Priority = 0 }},
		{"equals keep their order", func(o *Observation) { o.Donations[0].Priority = 2 }},
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
		if !d.Refills.IsZero() {
			fmt.Fprintf(&b, ", refills %s", d.Refills.Format(time.RFC3339))
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

// TestNothingPassesWithoutReason holds for any observation: internet is given only with a donation that is open, not paused,
// has data left and works, on a box that is whole, configured and not paused; and every decision says why.
func TestNothingPassesWithoutReason(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	coin := func() bool { return r.IntN(3) > 0 }
	sharing := 0
	for range 100_000 {
		o := Observation{Now: now, Applied: coin(), Configured: coin(), SetupAsked: !coin(), Paused: !coin()}
		if !coin() {
			o.Fault = "broken"
		}
		for range r.IntN(4) {
			o.Donations = append(o.Donations, Donation{
				Name: "x", Priority: r.IntN(3), Open: coin(), Paused: !coin(), Spent: !coin(), Works: coin(), Why: "down",
			})
		}
		d := Decide(o)
		if d.Why == "" {
			t.Fatalf("%+v: %s without a reason", o, d.State)
		}
		if d.Internet == NoInternet {
			if d.Donation != -1 || d.Names {
				t.Fatalf("%+v: a way out without internet: %+v", o, d)
			}
			continue
		}
		sharing++
		x := o.Donations[d.Donation]
		if !x.Open || x.Paused || x.Spent || !x.Works || o.Fault != "" || !o.Configured || o.SetupAsked || o.Paused {
			t.Fatalf("%+v: internet through %+v", o, x)
		}
		for _, y := range o.Donations {
			if y.Open && !y.Paused && !y.Spent && y.Works && y.Priority < x.Priority {
				t.Fatalf("%+v: %+v comes before %+v", o, y, x)
			}
		}
		if (d.State == Sharing) != o.Applied {
			t.Fatalf("%+v: %s", o, d.State)
		}
	}
	if sharing < 1000 {
		t.Fatalf("only %d of the observations shared: the test looks away", sharing)
	}
}
