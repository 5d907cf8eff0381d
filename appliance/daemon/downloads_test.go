package daemon

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"passerelle/appliance/config"
	"passerelle/appliance/fetch"
	"passerelle/appliance/state"
)

// TestSituation: downloads use the line that residents use, with its name servers, its part of the cap and its lent rate.
func TestSituation(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 30, 10, 0, 0, 0, time.UTC)
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	c := &config.Config{Donations: []config.Donation{{Name: "Fibre", Download: 40e6}, {Name: "Mairie"}}}
	resolver := netip.MustParseAddr("192.168.1.1")
	fibre := state.Donation{
		Name: "Fibre", Ifname: "eth0", Servers: []string{"192.168.1.1"}, Cap: 2e9, OwnUse: 8e6, PeriodStart: start,
	}
	mairie := state.Donation{Name: "Mairie", Ifname: "usb0"}
	chosen := func(d state.Donation) state.Donation { d.Chosen = true; return d }
	unplugged := fibre
	unplugged.Ifname = ""
	for _, test := range []struct {
		what      string
		state     state.State
		donations []state.Donation
		want      *fetch.Line
	}{
		{"the first", state.Sharing, []state.Donation{chosen(fibre), mairie}, &fetch.Line{
			Donation: "Fibre", Interface: "eth0", Servers: []netip.Addr{resolver}, Allowance: 8e6, Period: start, Rate: 40e6,
		}},
		{"one without a cap", state.Sharing, []state.Donation{fibre, chosen(mairie)}, &fetch.Line{
			Donation: "Mairie", Interface: "usb0", Allowance: fetch.Unlimited,
		}},
		{"of another configuration", state.Sharing, []state.Donation{chosen(mairie)}, &fetch.Line{
			Donation: "Mairie", Interface: "usb0", Allowance: fetch.Unlimited,
		}},
		{"none", state.Sharing, []state.Donation{fibre, mairie}, nil},
		{"unplugged", state.Sharing, []state.Donation{chosen(unplugged), mairie}, nil},
		{"for names in a pause", state.Paused, []state.Donation{chosen(fibre), mairie}, nil},
		{"for essential services", state.Exhausted, []state.Donation{chosen(fibre), mairie}, nil},
	} {
		got := situation(state.Status{
			State: test.state, Why: "so", Clock: state.Clock{Now: now, Trusted: true}, Donations: test.donations,
		}, c)
		want := fetch.Situation{Now: now, Trusted: true, Line: test.want, Why: "nothing is shared now (" + string(test.state) + ": so)"}
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.what, diff)
		}
	}
}
