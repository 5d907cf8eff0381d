package decide

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Observation is everything that Decide looks at: the box and its donations at one moment.
type Observation struct {
	Now        time.Time
	Applied    bool   // a plan has been applied since the daemon started
	Fault      string // why the last plan cannot be applied, "" if it can
	Configured bool   // a technician has configured the box
	Refused    string // why what a technician configured is not used, "" if it is
	SetupAsked bool   // the button asked for set-up
	Paused     bool
	PausedBy   string // who paused it, e.g. "the command line"
	Donations  []Donation
	Chosen     int // index of the donation that is used now, -1 for none
	Last       int // index of the donation that was used last, -1 if none was since the daemon started
}

// Donation is one donation as observed.
type Donation struct {
	Name     string
	Priority int       // 1 is asked first; equals keep their order
	Open     bool      // within its opening hours
	Opens    time.Time // when it opens next, if it is not Open; zero if never
	Paused   bool      // its lender paused it: it is passed over
	Spent    bool      // its cap is used up, but for what is kept for essential services
	Lost     bool      // it counts as Spent, because its account was lost
	Reserve  bool      // some of what is kept for essential services is left
	Refills  time.Time // when its cap begins anew, if it is Spent; zero if never
	Daily    uint64    // bytes a day that its cap allows until it begins anew; Unlimited without one
	Works    bool      // its uplink leads to the internet
	Steady   bool      // it has worked for a while
	Slow     bool      // it works, but names take long
	Why      string    // why its uplink does not work, e.g. "eth0 has a link but no default route"
	Metered  string    // why its line is metered, e.g. `"Fibre" has a cap of 200GB`; "" if it is not
}

// Unlimited is the Daily of a donation without a cap.
const Unlimited = math.MaxUint64

// Internet is how far residents' packets may go.
type Internet string

// How far packets may go.
const (
	NoInternet    Internet = "none"
	EssentialOnly Internet = "essential services"
	AllInternet   Internet = "all"
)

// Decision is what the box shall do.
type Decision struct {
	State    State
	Why      string    // one English sentence without its full stop, for status and logs
	Internet Internet  // for admitted residents
	Names    bool      // names resolve truly; else every name leads to the box, but those of essential services if they are reached
	Donation int       // index in Observation.Donations of the one whose line that goes by, -1 for none
	Opens    time.Time // State Closed: the next opening; zero if never
	Refills  time.Time // State Exhausted: when the first spent cap begins anew; zero if never
	Metered  string    // why devices are told that the line is metered, as Donation.Metered; "" if they are not
}

// Decide returns what the box shall do. The first row that applies is the State:
//
//	starting   until the first plan has been applied
//	fault      the plan cannot be applied
//	setup      not configured, or the button asked for it
//	paused     somebody paused it, or their lenders all donations that are open
//	closed     no donation is open
//	exhausted  every open donation's cap is spent; one that works and kept something leads to essential services
//	offline    no open, unspent donation's uplink works
//	sharing    else
//
// A donation that its lender paused counts as none in the rows below.
//
// A browser keeps what it was told of a name for a minute: told in a pause that every name is the box, it would stay on the
// box's page after the pause. So where somebody paused the box, names go by the line that would be used.
//
// Of the donations that share, one that is not slow is chosen before those that are, then the one with the first priority,
// among equals the one whose cap allows most a day. What is chosen and works stays so until the better one has worked for a while, and is better by a quarter if it
// is only its cap: each change breaks connections.
//
// A box that is starting decides all the same what it will be, so that the first plan is the right one: State is then
// Starting, the rest of the Decision that of the row which comes next.
func Decide(o Observation) Decision {
	d := decide(o)
	if !o.Applied && o.Fault == "" {
		d.State = Starting
	}
	d.Metered = metered(o, d.Donation)
	return d
}

// metered says why devices are told that the line is metered, "" if they are not: what holds for the chosen donation. While
// none is chosen, it stays as it was for the last one, so that no device begins its backups because the box pauses. Before
// the first, one that is metered among those that may come is enough.
func metered(o Observation, chosen int) string {
	if chosen < 0 {
		chosen = o.Last
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
	held := func(s State, why string) Decision {
		return Decision{State: s, Why: why, Internet: NoInternet, Donation: -1}
	}
	order := make([]int, len(o.Donations))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(o.Donations[a].Priority, o.Donations[b].Priority)
	})
	those := func(from []int, are func(Donation) bool) []int {
		return slices.DeleteFunc(slices.Clone(from), func(i int) bool { return !are(o.Donations[i]) })
	}
	open := those(order, func(x Donation) bool { return x.Open })
	lent := those(open, func(x Donation) bool { return !x.Paused })
	funded := those(lent, func(x Donation) bool { return !x.Spent })
	chosen := best(o, those(funded, func(x Donation) bool { return x.Works }))
	switch {
	case o.Fault != "":
		return held(Fault, o.Fault)
	case !o.Configured:
		return held(Setup, cmp.Or(o.Refused, "no technician has configured this box yet"))
	case o.SetupAsked:
		return held(Setup, "the button asked for set-up")
	case o.Paused:
		d := held(Paused, "paused by "+cmp.Or(o.PausedBy, "somebody"))
		d.Names, d.Donation = chosen >= 0, chosen
		return d
	case len(open) == 0:
		d := held(Closed, "outside the opening hours of every donation")
		d.Opens = first(o.Donations, func(x Donation) time.Time { return x.Opens })
		return d
	case len(lent) == 0:
		who := "its lender"
		if len(open) > 1 {
			who = "their lenders"
		}
		return held(Paused, who+" paused "+names(o.Donations, open))
	case len(funded) == 0:
		var spent []Donation
		for _, i := range lent {
			spent = append(spent, o.Donations[i])
		}
		d := held(Exhausted, spentOf(o.Donations, lent))
		d.Refills = first(spent, func(x Donation) time.Time { return x.Refills })
		if kept := those(lent, func(x Donation) bool { return x.Reserve && x.Works }); len(kept) > 0 {
			d.Internet, d.Donation = EssentialOnly, kept[0]
			d.Why += fmt.Sprintf(", %q keeps essential services open", o.Donations[kept[0]].Name)
		}
		return d
	case chosen < 0:
		var whys []string
		for _, i := range funded {
			whys = append(whys, o.Donations[i].Why)
		}
		return held(Offline, strings.Join(whys, "; "))
	}
	return Decision{
		State:    Sharing,
		Why:      fmt.Sprintf("%q is open, has data left and works", o.Donations[chosen].Name),
		Internet: AllInternet,
		Names:    true,
		Donation: chosen,
	}
}

// best returns which of the donations of these indices is used, -1 if there is none.
func best(o Observation, from []int) int {
	if len(from) == 0 {
		return -1
	}
	stays := slices.Contains(from, o.Chosen)
	if stays {
		from = slices.DeleteFunc(from, func(i int) bool { return i != o.Chosen && !o.Donations[i].Steady })
	}
	slow := func(x Donation) int {
		if x.Slow {
			return 1
		}
		return 0
	}
	i := slices.MinFunc(from, func(a, b int) int {
		x, y := o.Donations[a], o.Donations[b]
		return cmp.Or(cmp.Compare(slow(x), slow(y)), cmp.Compare(x.Priority, y.Priority), cmp.Compare(y.Daily, x.Daily))
	})
	if !stays {
		return i
	}
	x, chosen := o.Donations[i], o.Donations[o.Chosen]
	if x.Slow == chosen.Slow && x.Priority == chosen.Priority && x.Daily/5*4 <= chosen.Daily {
		return o.Chosen
	}
	return i
}

// spentOf says why nothing is left of the donations of these indices.
func spentOf(donations []Donation, indices []int) string {
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

// names lists the names of the donations of these indices.
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
