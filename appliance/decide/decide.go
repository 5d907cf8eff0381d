package decide

import (
	"cmp"
	"fmt"
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
	SetupAsked bool   // the button asked for set-up
	Paused     bool
	PausedBy   string // who paused it, e.g. "the command line"
	Donations  []Donation
}

// Donation is one donation as observed.
type Donation struct {
	Name     string
	Priority int       // 1 is asked first; equals keep their order
	Open     bool      // within its opening hours
	Opens    time.Time // when it opens next, if it is not Open; zero if never
	Paused   bool      // its lender paused it: it is passed over
	Spent    bool      // its cap is used up
	Refills  time.Time // when its cap begins anew, if it is Spent; zero if never
	Works    bool      // its uplink leads to the internet
	Why      string    // why its uplink does not work, e.g. "eth0 has a link but no default route"
}

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
	Names    bool      // names resolve truly; else every name leads to the box
	Donation int       // index of the chosen donation in Observation.Donations, -1 for none
	Opens    time.Time // State Closed: the next opening; zero if never
	Refills  time.Time // State Exhausted: when the first spent cap begins anew; zero if never
}

// Decide returns what the box shall do. The first row that applies is the State:
//
//	starting   until the first plan has been applied
//	fault      the plan cannot be applied
//	setup      not configured, or the button asked for it
//	paused     somebody paused it, or their lenders all donations that are open
//	closed     no donation is open
//	exhausted  every open donation's cap is spent
//	offline    no open, unspent donation's uplink works
//	sharing    else
//
// A donation that its lender paused counts as none in the rows below.
//
// A box that is starting decides all the same what it will be, so that the first plan is the right one: State is then
// Starting, the rest of the Decision that of the row which comes next.
func Decide(o Observation) Decision {
	d := decide(o)
	if !o.Applied && o.Fault == "" {
		d.State = Starting
	}
	return d
}

func decide(o Observation) Decision {
	held := func(s State, why string) Decision {
		return Decision{State: s, Why: why, Internet: NoInternet, Donation: -1}
	}
	switch {
	case o.Fault != "":
		return held(Fault, o.Fault)
	case !o.Configured:
		return held(Setup, "no technician has configured this box yet")
	case o.SetupAsked:
		return held(Setup, "the button asked for set-up")
	case o.Paused:
		return held(Paused, "paused by "+cmp.Or(o.PausedBy, "somebody"))
	}

	order := make([]int, len(o.Donations))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(o.Donations[a].Priority, o.Donations[b].Priority)
	})
	open := slices.DeleteFunc(slices.Clone(order), func(i int) bool { return !o.Donations[i].Open })
	if len(open) == 0 {
		d := held(Closed, "outside the opening hours of every donation")
		d.Opens = first(o.Donations, func(x Donation) time.Time { return x.Opens })
		return d
	}
	lent := slices.DeleteFunc(slices.Clone(open), func(i int) bool { return o.Donations[i].Paused })
	if len(lent) == 0 {
		who := "its lender"
		if len(open) > 1 {
			who = "their lenders"
		}
		return held(Paused, who+" paused "+names(o.Donations, open))
	}
	funded := slices.DeleteFunc(slices.Clone(lent), func(i int) bool { return o.Donations[i].Spent })
	if len(funded) == 0 {
		var spent []Donation
		for _, i := range lent {
			spent = append(spent, o.Donations[i])
		}
		d := held(Exhausted, "the cap of "+names(o.Donations, lent)+" is spent")
		d.Refills = first(spent, func(x Donation) time.Time { return x.Refills })
		return d
	}
	var whys []string
	for _, i := range funded {
		if x := o.Donations[i]; x.Works {
			return Decision{
				State:    Sharing,
				Why:      fmt.Sprintf("%q is open, has data left and works", x.Name),
				Internet: AllInternet,
				Names:    true,
				Donation: i,
			}
		}
		whys = append(whys, o.Donations[i].Why)
	}
	return held(Offline, strings.Join(whys, "; "))
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
