// Package decide is the heart of the box: one pure function maps an Observation to a State and what that State allows. It owns the
// States' order of precedence and the reasons given for them. It reads no clock, no kernel and no file, so every case can be tested
// as a row of a table.
package decide

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"passerelle/appliance/state"
)

// Observation is the input of Decide: the box and its donations at one moment.
type Observation struct {
	Now        time.Time
	Applied    bool   // a plan has been applied since the daemon started
	Fault      string // why the last plan cannot be applied, "" if it can
	Configured bool   // a technician has configured the box
	NoWiFi     string // why a box that nobody has configured offers no Wi-Fi network for its set-up, "" if it does
	Refused    string // why the configuration is not used, "" if it is
	SetupAsked bool   // set-up was requested with the button
	Paused     bool
	PausedBy   string // who paused it, e.g. "the command line"
	Donations  []Donation
	Chosen     int // index of the donation in use, -1 for none
	LastChosen int // index of the donation that was last in use, -1 if none was in use since the daemon started
}

// Donation is the observed state of a donation.
type Donation struct {
	Name        string
	Priority    int       // 1 comes first; equal ones keep their order
	Open        bool      // within its opening hours, and its last day is not over
	Ended       bool      // its last day is over
	Undated     bool      // it has a last day, but the date is not known: it is not Open
	Opens       time.Time // the next opening, if it is not Open; zero if never
	Paused      bool      // its lender paused it: it is skipped
	Spent       bool      // its cap is used up, except the reserve for essential services
	Lost        bool      // it counts as Spent because its account was lost
	Reserve     bool      // some of the reserve for essential services is left
	Resets      time.Time // when its cap resets, if it is Spent; zero if never
	DailyBudget uint64    // bytes a day that its cap allows until it resets; Unlimited without a cap
	Works       bool      // its uplink reaches the internet
	Stable      bool      // it has worked for a while
	Slow        bool      // it works, but DNS is slow
	Why         string    // why its uplink does not work, e.g. "eth0 has a link but no default route"
	Metered     string    // why its line is metered, e.g. `"Fibre" has a cap of 200GB`; "" if it is not
}

// Unlimited is the DailyBudget of a donation without a cap.
const Unlimited = math.MaxUint64

// Internet is what residents' packets may reach.
type Internet string

// What packets may reach.
const (
	NoInternet    Internet = "none"
	EssentialOnly Internet = "essential services"
	AllInternet   Internet = "all"
)

// Decision is what the box is to do.
type Decision struct {
	State    state.State
	Why      string    // one English sentence without its full stop, for status and logs
	Internet Internet  // for admitted residents
	Names    bool      // DNS answers truthfully; otherwise every name resolves to the box, except those of essential services if they are reachable
	Donation int       // index in Observation.Donations of the one in use, -1 for none
	Opens    time.Time // State Closed: the next opening; zero if never
	Resets   time.Time // State Exhausted: the first reset of a spent cap; zero if never
	Metered  string    // why devices are told that the line is metered, as Donation.Metered; "" if they are not
}

// Decide returns what the box is to do. The State is the first row that applies:
//
//	starting   until the first plan has been applied
//	fault      the plan cannot be applied
//	setup      not configured, or requested with the button
//	paused     somebody paused the box, or lenders paused all open donations
//	closed     no donation is open
//	exhausted  every open donation's cap is spent; a working one with a reserve gives essential services
//	offline    no open, unspent donation's uplink works
//	sharing    otherwise
//
// A donation that its lender paused counts as absent in the rows after paused.
//
// A browser caches DNS answers for a minute: if every name resolved to the box during a pause, the browser would stay on the box's
// page after the pause. So while somebody paused the box, names are resolved through the line that would be in use without the
// pause.
//
// Among the donations that can share, those that are not slow come before slow ones, then the first priority, and among equals the
// one whose cap allows most a day. A chosen donation that works is kept until a better one has worked for a while. If only its cap
// is better, it must be better by a quarter: each change breaks connections.
//
// A box that nobody has configured needs no radio: State is also setup without one, since the box can be set up over the cable.
//
// A starting box already decides what it will be, so that the first plan is the correct one. State is then Starting, and the rest
// of the Decision is that of the next row that applies.
func Decide(o Observation) Decision {
	d := decide(o)
	if !o.Applied && o.Fault == "" {
		d.State = state.Starting
	}
	d.Metered = metered(o, d.Donation)
	return d
}

// metered returns why devices are told that the line of the chosen donation is metered, "" if they are not told so. While none is
// chosen, the last chosen one counts, so that no device starts its backups because the box pauses. Before any was chosen, one
// metered donation is enough.
func metered(o Observation, chosen int) string {
	if chosen < 0 {
		chosen = o.LastChosen
	}
	if chosen >= 0 {
		return o.Donations[chosen].Metered
	}
	for _, x := range o.Donations {
		if x.Metered != "" {
			return x.Metered
		}
	}
	return ""
}

func decide(o Observation) Decision {
	without := func(s state.State, why string) Decision {
		return Decision{State: s, Why: why, Internet: NoInternet, Donation: -1}
	}
	order := make([]int, len(o.Donations))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(o.Donations[a].Priority, o.Donations[b].Priority)
	})
	filter := func(from []int, keep func(Donation) bool) []int {
		return slices.DeleteFunc(slices.Clone(from), func(i int) bool { return !keep(o.Donations[i]) })
	}
	open := filter(order, func(x Donation) bool { return x.Open })
	active := filter(open, func(x Donation) bool { return !x.Paused })
	unspent := filter(active, func(x Donation) bool { return !x.Spent })
	chosen := best(o, filter(unspent, func(x Donation) bool { return x.Works }))
	switch {
	case o.Fault != "":
		return without(state.Fault, o.Fault)
	case !o.Configured:
		why := cmp.Or(o.Refused, "no technician has configured this box yet")
		if o.NoWiFi != "" {
			why = o.NoWiFi + ": set the box up over the cable"
		}
		return without(state.Setup, why)
	case o.SetupAsked:
		return without(state.Setup, "set-up was requested with the button")
	case o.Paused:
		d := without(state.Paused, "paused by "+cmp.Or(o.PausedBy, "somebody"))
		d.Names, d.Donation = chosen >= 0, chosen
		return d
	case len(open) == 0:
		d := without(state.Closed, whyClosed(o.Donations))
		d.Opens = first(o.Donations, func(x Donation) time.Time { return x.Opens })
		return d
	case len(active) == 0:
		who := "its lender"
		if len(open) > 1 {
			who = "their lenders"
		}
		return without(state.Paused, who+" paused "+names(o.Donations, open))
	case len(unspent) == 0:
		var spent []Donation
		for _, i := range active {
			spent = append(spent, o.Donations[i])
		}
		d := without(state.Exhausted, whySpent(o.Donations, active))
		d.Resets = first(spent, func(x Donation) time.Time { return x.Resets })
		if withReserve := filter(active, func(x Donation) bool { return x.Reserve && x.Works }); len(withReserve) > 0 {
			d.Internet, d.Donation = EssentialOnly, withReserve[0]
			d.Why += fmt.Sprintf(", %q keeps essential services open", o.Donations[withReserve[0]].Name)
		}
		return d
	case chosen < 0:
		var whys []string
		for _, i := range unspent {
			whys = append(whys, o.Donations[i].Why)
		}
		return without(state.Offline, strings.Join(whys, "; "))
	}
	return Decision{
		State:    state.Sharing,
		Why:      fmt.Sprintf("%q is available (in hours, under cap, online)", o.Donations[chosen].Name),
		Internet: AllInternet,
		Names:    true,
		Donation: chosen,
	}
}

// best returns which of the donations at these indices to use, -1 if there is none.
func best(o Observation, from []int) int {
	if len(from) == 0 {
		return -1
	}
	stays := slices.Contains(from, o.Chosen)
	if stays {
		from = slices.DeleteFunc(from, func(i int) bool { return i != o.Chosen && !o.Donations[i].Stable })
	}
	slow := func(x Donation) int {
		if x.Slow {
			return 1
		}
		return 0
	}
	i := slices.MinFunc(from, func(a, b int) int {
		x, y := o.Donations[a], o.Donations[b]
		return cmp.Or(cmp.Compare(slow(x), slow(y)), cmp.Compare(x.Priority, y.Priority), cmp.Compare(y.DailyBudget, x.DailyBudget))
	})
	if !stays {
		return i
	}
	x, chosen := o.Donations[i], o.Donations[o.Chosen]
	if x.Slow == chosen.Slow && x.Priority == chosen.Priority && x.DailyBudget/5*4 <= chosen.DailyBudget {
		return o.Chosen
	}
	return i
}

// whyClosed returns why no donation is open.
func whyClosed(donations []Donation) string {
	if i := slices.IndexFunc(donations, func(x Donation) bool { return x.Undated }); i >= 0 {
		return fmt.Sprintf("%q has a last day, and the time of day is not trusted", donations[i].Name)
	}
	if len(donations) > 0 && !slices.ContainsFunc(donations, func(x Donation) bool { return !x.Ended }) {
		return "the last day of every donation is over"
	}
	return "outside the opening hours of every donation"
}

// whySpent returns why the donations at these indices have nothing left.
func whySpent(donations []Donation, indices []int) string {
	var spent, lost []int
	for _, i := range indices {
		if donations[i].Lost {
			lost = append(lost, i)
		} else {
			spent = append(spent, i)
		}
	}
	var whys []string
	if len(spent) > 0 {
		whys = append(whys, "the cap of "+names(donations, spent)+" is spent")
	}
	if len(lost) > 0 {
		whys = append(whys, "the cap of "+names(donations, lost)+" counts as spent, since the account was lost")
	}
	return strings.Join(whys, ", ")
}

// names lists the names of the donations at these indices.
func names(donations []Donation, indices []int) string {
	var all []string
	for _, i := range indices {
		all = append(all, strconv.Quote(donations[i].Name))
	}
	return strings.Join(all, ", ")
}

// first returns the earliest time that is not zero.
func first(donations []Donation, at func(Donation) time.Time) (t time.Time) {
	for _, d := range donations {
		if u := at(d); !u.IsZero() && (t.IsZero() || u.Before(t)) {
			t = u
		}
	}
	return t
}
