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
// A line works when a resident's next page would come. That takes three things, each of which fails by itself:
//
//  1. link, address and a way to everywhere, as the kernel has them (Status);
//  2. names: the servers that residents' names go to answer;
//  3. pages: a TCP connection gets through, and what answers is the web, not a page of somebody on the way.
//
// Names are asked for as residents ask: type A, of the box's own name server where residents use the line, else of the line's
// servers. Any cache on the way may answer what was asked before, and a cache that validates may prove that a name does not
// exist (RFC 8198). So each question is for a fresh label in a zone that answers every label and is not signed (Zone). An
// address of the zone's is life. Everything else is doubt: no answer, REFUSED, SERVFAIL, NXDOMAIN, no address, another
// address. One zone's operator may be in trouble, or a filter may not like the zone, so that doubt is settled by a page.
//
// A page is one of a few that say the same to everybody (Page). As it should be, it proves the line; another in its place is
// somebody's on the way: a sign-in, or that the data is used up. Where no page comes at all, a connection to an address of
// a zone still shows that TCP gets through.
//
// The law: a page as it should be is life. Another page is none. Names and a TCP connection together are life, so that a
// filter of these pages closes no line. Whatever else is doubt, and doubt that lasted for five seconds is the line's end.
// From then on only names and page together are life again.
//
// Residents' traffic proves pages, not names: connections that are open go on when no name is answered. And it proves
// them only as exchanges with several far addresses, of more than 4 kB each way, not on port 80, since anybody in the way
// can answer there (traffic.go). Traffic that comes to nothing is cause to ask: names within five seconds, the page once in
// twenty.
//
// Slow is not dead. An answer counts while anybody would wait for it, which is ten seconds; where answers are known to come
// late, they are waited for longer before there is doubt. A line whose names take more than two seconds is slow.
//
// # What that costs
//
// A question and its answer take some 200 bytes; two name servers double what the box's own name server asks. A page with its
// host's name takes some 1600.
//
//	                               names        pages         a day
//	nobody is online               each 2 min   each 20 min   0.26 MB
//	residents are, no exchanges    each minute  each 20 min   0.75 MB, and 0.24 MB for causes
//	names fail                     3 s to 3 min               0.25 MB
//	pages fail                     3 s to 12 min              0.25 MB
//
// Causes are paid from a purse of 64 kB, which fills by 2 bytes a second. All of it counts on the cap, as everything on the
// line does, and the ledger keeps an allowance for it when residents' part is spent.
const (
	idleNames = 2 * time.Minute // between questions while all is well
	busyNames = time.Minute     // likewise, where residents are
	pages     = 20 * time.Minute
	zoneRest  = time.Minute      // between questions for names of a zone while all is well
	zoneAside = 10 * time.Minute // that a zone is left out after it alone failed

	causeNames = 5 * time.Second // between questions with a cause
	causePages = 20 * time.Second

	doubtPause  = 2 * time.Second  // between tries in doubt
	deadPause   = 3 * time.Second  // between tries of a line that does not work, at first
	namesPause  = 3 * time.Minute  // and at last, where names fail
	pagesPause  = 12 * time.Minute // where pages do
	pagesAmong  = 5                // of so many tries where names fail, one looks for a page all the same
	slowPause   = 5 * time.Second  // after a first slow answer, and where the box's own name server gives no names
	muteBefore  = 5                // such tries in a row, before it has failed
	kickGap     = time.Second      // between tries, however often the prober is kicked
	pauseGrowth = 4                // a line that has been dead for so long is asked after a fourth of that

	soon     = 2 * time.Second  // an answer that takes longer is slow
	patience = 5 * time.Second  // doubt that lasted longer is the end
	mostSoon = 8 * time.Second  // that is waited for a first answer where answers are known to be slow
	wait     = 10 * time.Second // nobody waits longer for a name (TIMEOUT in dnsmasq's config.h)

	purseMost = 64 << 10 // bytes
	purseFill = 2        // bytes a second
)

// Zone is a DNS zone that answers every label below it with an address, and is not signed: so no cache knows the answer
// to a fresh label, nor can prove it.
type Zone struct {
	Name string       // below which labels are put, e.g. "9-9-9-9.sslip.io"
	In   netip.Prefix // where its addresses lie
}

// Candidate is an uplink to be probed.
type Candidate struct {
	Status
	// Busy says that residents' names and packets go by it now: the box's own name server is asked, and traffic is evidence.
	Busy bool
}

// Health is what is known of whether a line works.
type Health struct {
	Known bool // it has been found out; until then, a line with link, address and way works
	Works bool
	Slow  bool   // names take long
	Why   string // it does not work

	// The last proofs of each kind, zero for none. That a line does not work takes none of them away.
	Names, Page, Traffic Proof
}

// Proof is something that showed that a line works.
type Proof struct {
	At   time.Time
	What string // e.g. "a name of sslip.io, from 192.168.1.1, in 12ms"
}

// Last returns the latest proof, zero for none.
func (h Health) Last() Proof {
	return slices.MaxFunc([]Proof{h.Names, h.Page, h.Traffic}, func(a, b Proof) int { return a.At.Compare(b.At) })
}

// verdict is what a question for a name came to, better ones last.
type verdict int

const (
	silent   verdict = iota // no answer, or no way to ask
	refused                 // REFUSED, or a code that says as little
	stranded                // SERVFAIL: the server reaches nobody itself
	absent                  // NXDOMAIN
	empty                   // no address
	odd                     // an address, but none of the zone's
	good
)

// says is what a server does that answers so.
var says = map[verdict]string{
	silent:   "does not answer",
	refused:  "refuses every name",
	stranded: "answers, but reaches nothing beyond (SERVFAIL)",
	absent:   "says that no name exists",
	empty:    "has an address of no name",
	odd:      "answers names with other addresses than theirs",
}

// outcome is what a try came to.
type outcome struct {
	began, ended time.Time
	names        verdict                // the best
	took         time.Duration          // that it took, if it is good
	proof        string                 // likewise
	by           netip.Addr             // whose it is, if it is the line's server
	said         map[netip.Addr]verdict // the best of each of the line's servers that was asked
	own          verdict                // of the box's own name server
	looked       bool                   // for a page
	sight        sight
	tcp          bool   // a connection got through
	page         string // the host that showed the web
	used         names.Traffic
	zones        map[string]verdict // the best answer of each zone that was asked
}

// life tells whether the outcome proves that the line works. A line that is known not to must show a page or a connection.
func (o outcome) life(works bool) bool {
	switch {
	case o.sight == open:
		return true
	case o.sight == portal:
		return false
	case o.looked:
		return o.tcp
	}
	return o.names == good && works
}

// probed is an uplink and what is known of it. Its fields are guarded by Prober.mu, except poke.
type probed struct {
	line  Candidate
	round int           // another one for each change of the uplink: results of an earlier one don't count
	gone  bool          // no longer in the list
	poke  chan struct{} // something here has changed

	health Health
	doubt  time.Time            // since when there has been doubt; zero: there is none
	dead   time.Time            // since when it has not worked; zero: it works, or is not known
	paged  bool                 // names are answered: what fails are pages
	tries  int                  // since it died
	aside  map[string]time.Time // until when zones are left out, by their names

	filtered bool          // pages come, but no zone's names: a filter does not like the zones
	likes    netip.Addr    // the server that answered last
	took     time.Duration // that its last good answer took
	slow     int           // good answers in a row that were slow
	tried    time.Time     // when the last try ended
	looked   time.Time     // when a page was last asked for, or traffic proved as much
	mute     int           // tries in a row in which the box's own name server alone gave no names
	kicked   bool
	cause    cause // traffic comes to nothing
	purse    purse
	tracks   tracker
}

// purse is what may be spent on causes.
type purse struct {
	bytes float64
	at    time.Time
}

// left returns how many bytes are in it.
func (p *purse) left(now time.Time) float64 {
	if p.at.IsZero() {
		p.bytes = purseMost
	} else {
		p.bytes = min(purseMost, p.bytes+purseFill*now.Sub(p.at).Seconds())
	}
	p.at = now
	return p.bytes
}

// reset forgets everything about the way that queries went.
func (u *probed) reset() {
	u.round++
	u.health = Health{}
	u.doubt, u.dead, u.looked = time.Time{}, time.Time{}, time.Time{}
	u.paged, u.took, u.slow, u.mute, u.cause, u.tracks = false, 0, 0, 0, noCause, tracker{}
	u.tries, u.aside, u.filtered = 0, map[string]time.Time{}, false
	u.kicked = true
}

// judge draws the conclusion from a try. It returns whether what others see has changed.
func (u *probed) judge(o outcome) (changed bool) {
	before := u.health
	u.tried = o.ended
	if o.names == good {
		u.took = o.took
		u.health.Names = Proof{o.ended, o.proof}
		if o.took <= soon {
			u.slow = 0
		} else {
			u.slow++
		}
		u.health.Slow = u.slow >= 2
	}
	if o.looked {
		u.looked = o.began
	}
	if o.sight == open {
		u.health.Page = Proof{o.ended, "the page of " + o.page}
	} else if o.looked && o.tcp && o.sight != portal {
		u.health.Page = Proof{o.ended, "a connection"}
	}
	switch {
	case o.life(u.dead.IsZero()):
		u.health.Known, u.health.Works, u.health.Why = true, true, ""
		u.doubt, u.dead, u.tries = time.Time{}, time.Time{}, 0
		u.filtered = o.names != good
		for zone, v := range o.zones { // its operator's trouble is not the line's
			if v != good && (v != silent || o.names == good) {
				u.aside[zone] = o.ended.Add(zoneAside)
			}
		}
	case o.sight == portal:
		u.die(o, "the network behind "+u.line.Interface+" asks for a sign-in first")
	default:
		if u.doubt.IsZero() {
			u.doubt = o.began
		}
		if !u.dead.IsZero() || o.ended.Sub(u.doubt) >= patience {
			u.die(o, u.complaint(o))
		}
	}
	return before.Known != u.health.Known || before.Works != u.health.Works || before.Why != u.health.Why ||
		before.Slow != u.health.Slow
}

func (u *probed) die(o outcome, why string) {
	u.health.Known, u.health.Works, u.health.Why = true, false, why
	u.paged = o.names >= odd || o.tcp
	if u.tries++; u.dead.IsZero() {
		u.dead = o.began
	}
}

// complaint says why an uplink with link and way doesn't work, and which server it is.
func (u *probed) complaint(o outcome) string {
	name := u.line.Interface
	if o.names >= odd {
		return name + " answers names, but no connection gets through"
	}
	servers := u.line.DNS
	mute := !slices.ContainsFunc(servers, func(s netip.Addr) bool { return o.said[s] != silent })
	if mute && len(servers) == 1 && servers[0] == u.line.Gateway {
		return name + "'s gateway does not answer names"
	}
	words := make([]string, len(servers))
	for i, s := range servers {
		if words[i] = s.String(); !mute {
			words[i] += " " + says[o.said[s]]
		}
	}
	if mute {
		return fmt.Sprintf("%s has a link and a route, but no answer from %s", name, strings.Join(words, ", "))
	}
	return fmt.Sprintf("%s gives no names: %s", name, strings.Join(words, ", "))
}

// soon is how long a first answer is waited for before there is doubt.
func (u *probed) soon() time.Duration { return min(max(soon, 2*u.took), mostSoon) }

// due returns how long to wait for the next try, less than nothing if for ever, and whether the uplink is still wanted.
func (u *probed) due(now time.Time, zonesRest time.Time) (pause time.Duration, wanted bool) {
	after := func(d time.Duration) time.Duration { return max(0, u.tried.Add(d).Sub(now)) }
	switch {
	case u.gone:
		return 0, false
	case !u.line.Works || len(u.line.DNS) == 0:
		return -1, true
	case u.kicked:
		return after(kickGap), true
	case !u.dead.IsZero():
		most := namesPause
		if u.paged || u.health.Page.At.After(u.dead) {
			most = pagesPause
		}
		return after(min(max(deadPause, now.Sub(u.dead)/pauseGrowth), most)), true
	case !u.doubt.IsZero():
		return after(doubtPause), true
	case u.slow == 1, u.mute > 0:
		return after(slowPause), true
	}
	next := u.tried.Add(idleNames)
	if u.line.Busy {
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

// pageDue returns when a page is to be asked for next, whatever happens.
func (u *probed) pageDue() time.Time {
	if u.looked.IsZero() {
		return time.Time{}
	}
	return u.looked.Add(pages)
}

// affords tells whether there is a cause to ask that the purse has enough for. Weak ones leave half of it to strong ones.
func (u *probed) affords(now time.Time) bool {
	return u.cause == strong && u.purse.left(now) > 0 || u.cause == weak && u.purse.left(now) > purseMost/2
}

func (u *probed) wake() {
	select {
	case u.poke <- struct{}{}:
	default:
	}
}

// samePath says whether queries go the same way as before.
func (st Status) samePath(other Status) bool {
	return st.Index == other.Index && st.Works == other.Works && st.Address == other.Address &&
		st.Gateway == other.Gateway && slices.Equal(st.DNS, other.DNS)
}
