package uplink

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"passerelle/netctl/names"
)

// # When a line works
//
// A line works when a resident's next page would load. That needs three things, each of which can fail alone:
//
//  1. link, address and default route, as the kernel has them (Status);
//  2. DNS: the name servers that residents' queries go to answer;
//  3. the web: a TCP connection is established, and the web answers, not a captive portal on the way.
//
// DNS is probed as residents use it: type A, to the box's own name server if residents use the line, otherwise to the line's
// servers. A cache on the path may answer repeated queries, and a validating cache may prove that a name does not exist
// (RFC 8198). So each query is for a new label in a zone that answers every label and is not signed (Zone). An address in the
// zone's prefix is a success. Everything else makes the line doubtful: no answer, REFUSED, SERVFAIL, NXDOMAIN, no address,
// another address. One zone's operator may have an outage, or a filter may block the zone, so a connectivity check decides.
//
// A connectivity check requests a well-known page (Page). The right page proves that the line works. Another page comes from
// something on the path: a captive portal, or a notice that the data is used up. If no page answers, a connection to an address
// of a zone still shows that TCP works.
//
// The rules: the right page means that the line works; a wrong page means that it does not. DNS and a TCP connection together
// mean that it works, so that a filter of these pages does not disable a line. Everything else makes it doubtful, and after
// five seconds of doubt it does not work. From then on only DNS together with a page or a connection shows that it works
// again.
//
// Residents' traffic proves the web, not DNS: open connections continue without DNS. It is a proof only if there are exchanges
// of more than 4 kB each way with several remote addresses, and not on port 80, where a portal can answer (traffic.go).
// Traffic that fails triggers probes: DNS at most every five seconds, a page at most every twenty.
//
// A slow line still works. An answer counts within ten seconds, since no client waits longer. If answers are known to be late,
// the probe waits longer before the line is doubtful. A line is slow if DNS takes more than two seconds twice in a row.
//
// # Cost
//
// A query and its answer take about 200 bytes; two name servers double what the box's own name server sends. A page with the
// query for its host takes about 1600 bytes.
//
//	                                DNS            pages          per day
//	no resident online              every 2 min    every 20 min   0.26 MB
//	residents online, no exchanges  every minute   every 20 min   0.75 MB, and 0.24 MB for triggered probes
//	DNS fails                       3 s to 3 min                  0.25 MB
//	pages fail                      3 s to 12 min                 0.25 MB
//
// Triggered probes have a budget of 64 kB, refilled at 2 bytes a second (a token bucket). All of it counts against the cap, as
// everything on the line does. The ledger keeps an allowance for it when the residents' part is used up.
const (
	idleNames     = 2 * time.Minute  // between queries while the line works
	busyNames     = time.Minute      // the same, while residents use the line
	pages         = 20 * time.Minute // between pages while the line works
	zoneInterval  = time.Minute      // between queries to a zone while the line works
	zoneSuspended = 10 * time.Minute // how long a zone is not queried after it alone failed

	causeNames = 5 * time.Second  // between triggered probes of DNS
	causePages = 20 * time.Second // between triggered probes of pages

	doubtPause  = 2 * time.Second  // between probes while the line is doubtful
	deadPause   = 3 * time.Second  // between probes of a line that does not work: initially
	namesPause  = 3 * time.Minute  // the maximum if DNS fails
	pagesPause  = 12 * time.Minute // the maximum if pages fail
	pagesAmong  = 5                // one probe in five requests a page although DNS fails
	slowPause   = 5 * time.Second  // after a first slow answer, and while the box's own name server does not answer
	maxSilent   = 5                // probes in a row without an answer of the box's own name server, until it counts as failed
	probeGap    = time.Second      // between any two probes, also with ProbeNow
	pauseGrowth = 4                // the pause is a quarter of the time for which the line has not worked

	slowAfter    = 2 * time.Second  // an answer that takes longer is slow
	doubtLimit   = 5 * time.Second  // a line that was doubtful for so long does not work
	maxSlowAfter = 8 * time.Second  // the longest wait for a first answer if answers are known to be slow
	nameTimeout  = 10 * time.Second // no client waits longer (TIMEOUT in dnsmasq's config.h)

	budgetMax  = 64 << 10 // bytes
	budgetRate = 2        // bytes a second
)

// Zone is a DNS zone that answers every label with an address and is not signed: no cache has the answer for a new label, or
// can derive it.
type Zone struct {
	Name string       // e.g. "9-9-9-9.sslip.io"
	In   netip.Prefix // contains the addresses of all its names
}

// Candidate is an uplink to be probed.
type Candidate struct {
	Status
	// InUse says that residents' DNS and packets use it now: the box's own name server is queried, and traffic is evidence.
	InUse bool
}

// Health is what is known about the state of a line.
type Health struct {
	Known bool // a probe has finished; until then, a line with link, address and default route counts as working
	Works bool
	Slow  bool   // DNS is slow
	Why   string // why it does not work

	// The latest proof of each kind, zero for none. Proofs stay when the line stops working.
	Names, Page, Traffic Proof
}

// Proof is evidence that a line works.
type Proof struct {
	At   time.Time
	What string // e.g. "a name of sslip.io, from 192.168.1.1, in 12ms"
}

// Last returns the latest proof, zero for none.
func (h Health) Last() Proof {
	return slices.MaxFunc([]Proof{h.Names, h.Page, h.Traffic}, func(a, b Proof) int { return a.At.Compare(b.At) })
}

// verdict is the result of a DNS query, from worst to best.
type verdict int

const (
	noAnswer     verdict = iota // no answer, or the query could not be sent
	refused                     // REFUSED, or another code
	servfail                    // SERVFAIL: the server reaches no other server
	nxdomain                    // NXDOMAIN
	noAddress                   // no address
	wrongAddress                // an address outside the zone's prefix
	good
)

// says describes a server with that verdict.
var says = map[verdict]string{
	noAnswer:     "does not answer",
	refused:      "refuses every name",
	servfail:     "answers, but reaches nothing beyond (SERVFAIL)",
	nxdomain:     "says that no name exists",
	noAddress:    "has an address of no name",
	wrongAddress: "answers names with other addresses than theirs",
}

// outcome is the result of a probe.
type outcome struct {
	began, ended time.Time
	names        verdict                // the best
	took         time.Duration          // how long the first good answer took
	proof        string                 // describes the first good answer
	by           netip.Addr             // the line's server that sent it
	byServer     map[netip.Addr]verdict // the best of each of the line's servers that was queried
	ownServer    verdict                // the best of the box's own name server
	checked      bool                   // a page was requested
	check        checkResult
	tcp          bool   // a connection was established
	page         string // the host of the right page
	used         names.Traffic
	zones        map[string]verdict // the best verdict of each zone that was queried
}

// alive tells whether the outcome proves that the line works. A line that did not work needs a page or a connection as proof.
func (o outcome) alive(works bool) bool {
	switch {
	case o.check == open:
		return true
	case o.check == portal:
		return false
	case o.checked:
		return o.tcp
	}
	return o.names == good && works
}

// probed is an uplink and its state. Prober.mu guards its fields, except wakeup.
type probed struct {
	line       Candidate
	generation int           // increases with each change of the uplink: results of an earlier generation don't count
	gone       bool          // not in the list any more
	wakeup     chan struct{} // signals a change

	health    Health
	doubt     time.Time            // since when the line is doubtful; zero: it is not
	dead      time.Time            // since when it does not work; zero: it works, or its state is not known
	paged     bool                 // DNS works, pages fail
	tries     int                  // probes since it stopped working
	suspended map[string]time.Time // until when zones are not queried, by name

	filtered  bool          // pages load, but no zone answers: a filter blocks the zones
	preferred netip.Addr    // the server that answered last
	took      time.Duration // how long the line's last good answer took
	slow      int           // good answers in a row that were slow
	tried     time.Time     // when the last probe ended
	checkedAt time.Time     // when a page was last requested, or traffic last proved the web
	silent    int           // probes in a row in which the box's own name server alone did not answer
	probeNow  bool          // ProbeNow was called, or the path changed
	cause     cause         // why traffic asks for a probe
	budget    budget
	tracks    tracker
}

// budget is the token bucket for triggered probes.
type budget struct {
	bytes float64
	at    time.Time
}

// left returns how many bytes are in it.
func (p *budget) left(now time.Time) float64 {
	if p.at.IsZero() {
		p.bytes = budgetMax
	} else {
		p.bytes = min(budgetMax, p.bytes+budgetRate*now.Sub(p.at).Seconds())
	}
	p.at = now
	return p.bytes
}

// reset deletes everything known about the previous path.
func (u *probed) reset() {
	u.generation++
	u.health = Health{}
	u.doubt, u.dead, u.checkedAt = time.Time{}, time.Time{}, time.Time{}
	u.paged, u.took, u.slow, u.silent, u.cause, u.tracks = false, 0, 0, 0, noCause, tracker{}
	u.tries, u.suspended, u.filtered = 0, map[string]time.Time{}, false
	u.probeNow = true
}

// judge updates the health from an outcome. It returns whether the health changed.
func (u *probed) judge(o outcome) (changed bool) {
	before := u.health
	u.tried = o.ended
	if o.names == good {
		u.took = o.took
		u.health.Names = Proof{o.ended, o.proof}
		if o.took <= slowAfter {
			u.slow = 0
		} else {
			u.slow++
		}
		u.health.Slow = u.slow >= 2
	}
	if o.checked {
		u.checkedAt = o.began
	}
	if o.check == open {
		u.health.Page = Proof{o.ended, "the page of " + o.page}
	} else if o.checked && o.tcp && o.check != portal {
		u.health.Page = Proof{o.ended, "a connection"}
	}
	switch {
	case o.alive(u.dead.IsZero()):
		u.health.Known, u.health.Works, u.health.Why = true, true, ""
		u.doubt, u.dead, u.tries = time.Time{}, time.Time{}, 0
		u.filtered = o.names != good
		for zone, v := range o.zones { // the outage is the zone's, not the line's
			if v != good && (v != noAnswer || o.names == good) {
				u.suspended[zone] = o.ended.Add(zoneSuspended)
			}
		}
	case o.check == portal:
		u.markDead(o, "the network behind "+u.line.Interface+" asks for a sign-in first")
	default:
		if u.doubt.IsZero() {
			u.doubt = o.began
		}
		if !u.dead.IsZero() || o.ended.Sub(u.doubt) >= doubtLimit {
			u.markDead(o, u.failure(o))
		}
	}
	return before.Known != u.health.Known || before.Works != u.health.Works || before.Why != u.health.Why ||
		before.Slow != u.health.Slow
}

func (u *probed) markDead(o outcome, why string) {
	u.health.Known, u.health.Works, u.health.Why = true, false, why
	u.paged = o.names >= wrongAddress || o.tcp
	if u.tries++; u.dead.IsZero() {
		u.dead = o.began
	}
}

// failure says why an uplink with a default route does not work, and which server fails.
func (u *probed) failure(o outcome) string {
	name := u.line.Interface
	if o.names >= wrongAddress {
		return name + " answers names, but no connection gets through"
	}
	servers := u.line.DNS
	mute := !slices.ContainsFunc(servers, func(s netip.Addr) bool { return o.byServer[s] != noAnswer })
	if mute && len(servers) == 1 && servers[0] == u.line.Gateway {
		return name + "'s gateway does not answer names"
	}
	words := make([]string, len(servers))
	for i, s := range servers {
		if words[i] = s.String(); !mute {
			words[i] += " " + says[o.byServer[s]]
		}
	}
	if mute {
		return fmt.Sprintf("%s has a link and a route, but no answer from %s", name, strings.Join(words, ", "))
	}
	return fmt.Sprintf("%s gives no names: %s", name, strings.Join(words, ", "))
}

// slowAfter is how long to wait for a first answer before the line is doubtful.
func (u *probed) slowAfter() time.Duration { return min(max(slowAfter, 2*u.took), maxSlowAfter) }

// due returns how long to wait for the next probe (negative: until the state changes) and whether the uplink is still in the
// list.
func (u *probed) due(now time.Time, zonesRest time.Time) (pause time.Duration, wanted bool) {
	after := func(d time.Duration) time.Duration { return max(0, u.tried.Add(d).Sub(now)) }
	switch {
	case u.gone:
		return 0, false
	case !u.line.Works || len(u.line.DNS) == 0:
		return -1, true
	case u.probeNow:
		return after(probeGap), true
	case !u.dead.IsZero():
		most := namesPause
		if u.paged || u.health.Page.At.After(u.dead) {
			most = pagesPause
		}
		return after(min(max(deadPause, now.Sub(u.dead)/pauseGrowth), most)), true
	case !u.doubt.IsZero():
		return after(doubtPause), true
	case u.slow == 1, u.silent > 0:
		return after(slowPause), true
	}
	next := u.tried.Add(idleNames)
	if u.line.InUse {
		next = u.tried.Add(busyNames)
	}
	if u.filtered {
		next = u.tried.Add(pages)
	}
	if u.pageDue().Before(next) {
		next = u.pageDue()
	}
	if zonesRest.After(next) {
		next = zonesRest
	}
	pause = max(0, next.Sub(now))
	if u.affords(now) {
		pause = min(pause, after(causeNames))
	}
	return pause, true
}

// pageDue returns when to request a page at the latest.
func (u *probed) pageDue() time.Time {
	if u.checkedAt.IsZero() {
		return time.Time{}
	}
	return u.checkedAt.Add(pages)
}

// affords tells whether there is a cause that the budget allows. Weak causes leave half of the budget to strong ones.
func (u *probed) affords(now time.Time) bool {
	return u.cause == strong && u.budget.left(now) > 0 || u.cause == weak && u.budget.left(now) > budgetMax/2
}

func (u *probed) wake() {
	select {
	case u.wakeup <- struct{}{}:
	default:
	}
}

// samePath tells whether queries take the same path as before.
func (st Status) samePath(other Status) bool {
	return st.Index == other.Index && st.Works == other.Works && st.Address == other.Address &&
		st.Gateway == other.Gateway && slices.Equal(st.DNS, other.DNS)
}
