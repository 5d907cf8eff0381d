package ledger

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"passerelle/netctl"
)

var (
	histories = flag.Int("histories", 100_000, "random histories that the promise is tested with")
	seed      = flag.Uint64("seed", 1, "of the first history")
)

const maxSteps = 100 // of a history

// TestPromise plays random histories of a box, its kernel, its disk and a line. In all of them, the line never carries more than the
// cap in a period. Where the power stays on and residents want it, all of the cap is given except the margin and one tranche.
//
// The model allows its world what the ledger allows for. Beside what is paid from tranches, the line carries at most: onWire's
// share for headers, what is in flight after a cut, and the box's own traffic.
func TestPromise(t *testing.T) {
	t.Parallel()
	var next atomic.Uint64
	var failed atomic.Bool
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for n := next.Add(1); n <= uint64(*histories) && !failed.Load(); n = next.Add(1) {
				s := *seed + n - 1
				if play(s, maxSteps, nil) == "" || failed.Swap(true) {
					continue
				}
				// The shortest beginning of the history that fails, or all of it and what is given after it.
				steps := 1
				for steps < maxSteps && play(s, steps, nil) == "" {
					steps++
				}
				var story []string
				why := play(s, steps, &story)
				t.Errorf("%s\nafter these steps (again with -args -seed %d -histories 1):\n%s",
					why, s, strings.Join(story, "\n"))
			}
		})
	}
	workers.Wait()
}

// play plays a history of at most this many steps, and returns what broke the promise.
func play(seed uint64, steps int, story *[]string) (why string) {
	r := rand.New(rand.NewPCG(seed, 0x7061737365))
	w := newWorld(r, story)
	for n := min(steps, 10+r.IntN(maxSteps-10)); n > 0 && w.broken == ""; n-- {
		w.step()
	}
	if w.broken == "" && steps == maxSteps {
		w.drain()
	}
	return w.broken
}

// world is everything around a donation's account.
type world struct {
	r      *rand.Rand
	story  *[]string
	broken string

	policy  Policy
	now     time.Time     // the true time
	offset  time.Duration // of the box's clock
	trusted bool
	lies    bool // the box's clock is trusted though it is wrong
	encoded bool // records go through their encoding

	boot    int
	line    Counter
	plugged bool

	broadcasts uint64 // of the line's own network, since they are counted

	kernel  []netctl.TrancheUsage
	open    bool // the kernel lets residents through
	openAll bool // it lets essential services through
	silent  bool // the box itself must not send
	disk    *Record
	full    bool
	account *Account // nil: the daemon is dead

	carried   uint64 // by the line in the true period
	limit     uint64 // that carried must not exceed
	ends      time.Time
	unsure    uint64 // carried since a daemon last saw a trusted clock
	unwritten uint64 // carried since the last write
	unpaid    uint64 // bytes that the line may still carry before the next round without a tranche that pays for them
	flight    uint64 // likewise, in flight after the cut
	landing   int    // rounds until that has arrived
	own       uint64 // likewise, the box's own traffic
	before    uint64 // carried in an earlier period, but the account may count it in this one
	headers   uint64 // of broadcasts, and broadcasts that nobody recognized: what the account may also count
	steady    bool   // nothing happened that costs a part of the donation
}

var (
	modelStart = time.Date(2026, 10, 20, 8, 0, 0, 0, time.UTC)
	bootNames  = func() (names []string) {
		for i := range 100 {
			names = append(names, fmt.Sprint("boot", i))
		}
		return names
	}()
)

func newWorld(r *rand.Rand, story *[]string) *world {
	w := &world{
		r: r, story: story, now: modelStart.Add(time.Duration(r.IntN(2000)) * time.Hour),
		trusted: r.IntN(3) > 0, lies: r.IntN(8) == 0, encoded: r.IntN(16) == 0,
		line: Counter{Name: "eth0", Index: 2, Bytes: uint64(r.IntN(1e9))}, plugged: true,
	}
	w.steady = w.trusted
	w.policy = Policy{Chain: "PAS-CAP-1", ReserveChain: "PAS-CAP-2", Rate: []uint64{1e6, 25e6, 300e6, 0, 1e15}[r.IntN(5)]}
	w.period()
	w.policy.Cap = w.someCap()
	w.policy.Reserve = w.someReserve()
	w.limit = w.capOr()
	w.ends = PeriodEnd(w.now, w.policy.Period, w.policy.Resets)
	w.tell("%+v on %s", w.policy, w.now)
	w.account = Open(nil, nil)
	w.look(false)
	return w
}

func (w *world) tell(format string, a ...any) {
	if w.story != nil {
		*w.story = append(*w.story, fmt.Sprintf(format, a...))
	}
}

func (w *world) someCap() uint64 {
	return []uint64{0, 100e3, 3e6, 20e6, 500e6, 2e9, 2e9, 200e9}[w.r.IntN(8)]
}

func (w *world) someReserve() uint64 {
	return []uint64{0, w.policy.Cap / 10, w.policy.Cap / 2, w.policy.Cap, 2e9}[w.r.IntN(5)]
}

func (w *world) period() {
	w.policy.Period, w.policy.Resets = []string{"day", "week", "month", "once"}[w.r.IntN(4)], 0
	if w.policy.Period == "week" || w.policy.Period == "month" {
		w.policy.Resets = 1 + w.r.IntN(7)
	}
}

func (w *world) capOr() uint64 {
	if w.policy.Cap == 0 {
		return math.MaxUint64
	}
	return w.policy.Cap
}

// leastLimit returns what the line may carry from now on: the cap, unless more was carried before or is in flight.
func (w *world) leastLimit() uint64 { return max(w.capOr(), w.carried+w.flight+w.own) }

// upTo returns a random number of bytes up to max, and often max itself.
func (w *world) upTo(max uint64) uint64 {
	if max == 0 || w.r.IntN(4) == 0 {
		return max
	}
	return w.r.Uint64N(max + 1)
}

// carry lets the line carry bytes.
func (w *world) carry(bytes uint64) {
	w.line.Bytes += bytes
	w.carried += bytes
	w.unsure += bytes
	w.unwritten += bytes
	if w.carried > w.limit && w.broken == "" {
		w.broken = fmt.Sprintf("the line carried %d bytes of %d", w.carried, w.limit)
	}
}

// want is traffic of residents, or of essential services: as much as the tranches pay for, and then what is in flight.
func (w *world) want(bytes uint64, essential bool) {
	if !w.plugged {
		return
	}
	for _, chain := range []string{w.policy.Chain, w.policy.ReserveChain} {
		if essential && !w.openAll || !essential && (!w.open || chain == w.policy.ReserveChain) {
			continue
		}
		for i := range w.kernel {
			k := &w.kernel[i]
			if k.Chain != chain {
				continue
			}
			n := min(bytes, k.Bytes-k.Used)
			k.Used += n
			bytes -= n
			if n > 0 && k.Used == k.Bytes && bytes > 0 && w.landing <= 0 {
				w.flight, w.landing = w.policy.inFlight(0)-w.dead(), 2
			}
			w.carry(n + w.upTo(n/32))
		}
	}
	n := w.upTo(min(bytes, w.flight, w.unpaid))
	w.flight -= n
	w.unpaid -= n
	w.carry(n)
}

// dead returns how much traffic of its own the machine has while the daemon is dead. What is kept for that and for bytes in flight
// covers both together.
func (w *world) dead() uint64 { return min(selfPerReading, w.policy.inFlight(0)/2) }

// shout lets the line carry broadcasts of its own network. No promise covers them; their link headers count.
func (w *world) shout(bytes uint64) {
	if !w.plugged {
		return
	}
	headers := bytes / 64
	w.line.Bytes += bytes + headers
	w.broadcasts += bytes
	w.headers += headers
}

// shoutUnseen is shout while counters are read one after the other, so it is unknown which of them has counted the broadcasts.
func (w *world) shoutUnseen() {
	bytes := w.upTo(1e5)
	w.shout(bytes)
	w.headers += bytes
}

// ask is the box's own traffic.
func (w *world) ask() {
	if !w.plugged || w.silent {
		return
	}
	n := w.upTo(min(w.own, w.unpaid))
	w.own -= n
	w.unpaid -= n
	w.carry(n)
}

func (w *world) held() (bytes uint64) {
	for _, k := range w.kernel {
		if k.Bytes < netctl.Unlimited {
			bytes += k.Bytes - k.Used
		}
	}
	return bytes
}

func (w *world) clock() time.Time { return w.now.Add(w.offset) }

// look is a round of the daemon's loop. A dead daemon is started first. If deadly, it may die at any moment.
func (w *world) look(deadly bool) {
	if w.account == nil {
		w.account = Open(w.disk, nil)
	}
	dies := -1
	if deadly && w.r.IntN(4) == 0 {
		dies = w.r.IntN(5)
	}
	reading := Reading{Now: w.clock(), Trusted: w.trusted, Boot: bootNames[w.boot], Tranches: slices.Clone(w.kernel)}
	broadcasts := w.broadcasts
	if deadly && w.r.IntN(4) == 0 {
		w.want(w.upTo(1e6), false) // between the two readings
		w.shoutUnseen()
	}
	reading.Counter = w.line
	reading.Counter.BroadcastsBefore = broadcasts
	if deadly && w.r.IntN(4) == 0 {
		w.shoutUnseen()
	}
	reading.Counter.BroadcastsAfter = w.broadcasts
	if !w.plugged {
		reading.Counter.Index = 0
	}
	start := w.account.r.Start
	w.account.Observe(w.policy, reading)
	// This starts at the last reading, not at the last write: it is what a line loses when it is unplugged.
	w.own = replugBytes
	if w.policy.Cap != 0 {
		w.own = min(w.own, w.policy.inFlight(0))
	}
	if w.trusted {
		if w.account.r.Start < start {
			w.broken = "a period went back"
		}
		if w.account.r.Start > start && w.account.r.Base != 0 {
			w.before = max(w.before, w.unsure, w.unwritten)
		}
		if w.lies && w.account.r.Start > start && start != 0 {
			w.carried = w.unsure
			w.limit = w.leastLimit()
		}
		w.unsure = 0
	}
	s := w.account.Balance(w.policy)
	w.open, w.openAll, w.silent = !s.Spent, !s.AllSpent, w.policy.Cap != 0 && s.SelfAllowance == 0
	w.tell("look: used %d of %d, held %d of %d, spent %t %t, excess %t",
		s.Used, w.carried, s.Granted, w.held(), s.Spent, s.AllSpent, s.Overcommitted)
	if s.Overcommitted && w.r.IntN(2) == 0 {
		w.kernel = nil
	}
	if dies == 0 {
		w.die(w.r.IntN(2) == 0)
		return
	}
	write, due := w.account.Due(w.policy, true)
	if due {
		if w.full {
			w.tell("the disk is full")
			return
		}
		if dies == 1 {
			w.die(w.r.IntN(2) == 0)
			return
		}
		w.store(write.Record)
		if dies == 2 {
			w.die(w.r.IntN(2) == 0)
			return
		}
		w.account.ConfirmWrite(write)
		for _, g := range write.Grants {
			if dies == 3 {
				w.die(w.r.IntN(2) == 0)
				return
			}
			w.grant(g)
			if dies == 4 {
				w.die(w.r.IntN(2) == 0)
				return
			}
			w.account.ConfirmGrant(w.policy, g)
		}
	}
	if w.landing--; w.landing <= 0 {
		w.flight = 0
	}
	w.unpaid = w.policy.inFlight(0)
	if w.policy.Cap == 0 {
		w.unpaid = selfPerReading
	}
}

func (w *world) store(r Record) {
	if w.encoded {
		d, err := Decode(r.Append(nil))
		if err != nil {
			w.broken = err.Error()
		}
		r = d
	}
	w.disk, w.unwritten = &r, 0
	w.tell("write: promised %d", r.Committed)
}

func (w *world) grant(g netctl.Tranche) {
	w.kernel = slices.DeleteFunc(w.kernel, func(s netctl.TrancheUsage) bool { return s.Chain == g.Chain && s.Used == s.Bytes })
	w.kernel = append(w.kernel, netctl.TrancheUsage{Tranche: g})
	w.tell("grant: %+v", g)
}

// die ends the daemon alone, or cuts the power.
func (w *world) die(power bool) {
	w.account = nil
	if !power {
		w.tell("kill -9")
		w.own = max(w.own, w.dead())
		return
	}
	w.tell("power cut")
	w.boot++
	w.kernel, w.open, w.openAll = nil, false, false
	w.line.Index, w.line.Bytes, w.plugged = 2+w.r.IntN(3), 0, true
	w.unpaid, w.own, w.flight = 0, 0, 0
	w.trusted, w.steady = false, false
	w.offset = -time.Duration(w.r.IntN(3000)) * time.Hour
	if w.disk == nil {
		w.broken = "nothing is on disk"
	}
}

func (w *world) step() {
	r := w.r
	switch r.IntN(23) {
	case 0, 1, 2, 3:
		n := w.upTo(2*w.held() + 1000)
		w.tell("residents want %d", n)
		w.want(n, false)
	case 4, 5:
		n := w.upTo(w.held() + 1000)
		w.tell("essential services want %d", n)
		w.want(n, true)
	case 6:
		w.tell("the box asks")
		w.ask()
	case 7, 8, 9, 10, 11:
		w.look(true)
	case 12:
		w.advance(time.Duration(r.IntN(3600)) * time.Second)
	case 13:
		w.advance(time.Duration(r.IntN(20*24)) * time.Hour)
	case 14:
		if w.account != nil {
			w.die(false)
		}
	case 15:
		if r.IntN(3) == 0 {
			w.die(true)
		}
	case 16:
		w.tick()
	case 17:
		w.replug()
	case 18:
		w.configure()
	case 19:
		w.full = !w.full && r.IntN(3) == 0
	case 20:
		n := w.upTo(2 * w.capOr() % 1e12)
		w.tell("broadcasts of %d", n)
		w.shout(n)
	case 21:
		w.steady = false // those that were not read yet count
		w.tell("the count of broadcasts is lost")
		w.broadcasts = 0
	case 22:
		w.withhold()
	}
}

// withhold is a statement of the lender: what the provider counted, or a lower cap for this period.
func (w *world) withhold() {
	if w.account == nil || w.full || w.policy.Cap == 0 || w.r.IntN(4) > 0 {
		return
	}
	w.steady = false
	bytes := w.upTo(w.policy.Cap + w.policy.Cap/4)
	if w.r.IntN(2) == 0 {
		w.tell("the provider counted %d", bytes)
		w.account.CountAtLeast(w.policy, bytes, w.trusted)
	} else {
		w.tell("the cap of this period is %d", bytes)
		w.account.LowerTo(w.policy, bytes, w.trusted)
	}
	w.store(w.account.Record())
	w.look(true)
}

// advance lets time pass. In a new period the line may carry the cap again.
func (w *world) advance(d time.Duration) {
	w.now = w.now.Add(d)
	w.tell("%s later", d)
	if !w.lies && !w.ends.IsZero() && !w.now.Before(w.ends) {
		w.ends = PeriodEnd(w.now, w.policy.Period, w.policy.Resets)
		w.carried, w.limit = 0, w.capOr()
		w.tell("a new period, until %s", w.ends)
	}
}

// tick changes the box's clock, or makes it trusted.
func (w *world) tick() {
	switch {
	case w.lies:
		w.trusted = w.r.IntN(2) == 0
		w.offset = time.Duration(w.r.IntN(10000)-5000) * time.Hour
	case w.trusted:
		w.trusted, w.steady = false, false
		w.offset = time.Duration(w.r.IntN(10000)-5000) * time.Hour
	default:
		w.trusted, w.offset = true, 0
	}
	w.tell("the clock says %s, trusted: %t", w.clock(), w.trusted)
}

func (w *world) replug() {
	w.steady = false
	switch {
	case w.plugged && w.r.IntN(2) == 0:
		w.tell("unplugged")
		w.plugged = false
	case w.plugged && w.account != nil && w.r.IntN(3) == 0:
		w.tell("renamed")
		w.line.Name += "x"
		w.look(false)
	default:
		w.tell("replugged")
		w.plugged = true
		w.line.Index, w.line.Bytes = w.line.Index+1, 0
	}
}

// configure gives the donation another policy.
func (w *world) configure() {
	if w.r.IntN(3) > 0 {
		return
	}
	w.steady = false
	if w.account == nil {
		w.look(false)
	}
	was := w.policy.Cap
	switch w.r.IntN(4) {
	case 0:
		w.policy.Reserve = w.someReserve()
	case 1:
		w.policy.Rate = []uint64{1e6, 25e6, 0}[w.r.IntN(3)]
	case 2:
		if w.trusted && !w.lies {
			w.period()
			w.ends = PeriodEnd(w.now, w.policy.Period, w.policy.Resets)
		}
	case 3:
		w.policy.Cap = w.someCap()
	}
	w.tell("%+v", w.policy)
	if was == 0 && w.policy.Cap != 0 {
		w.carried = min(w.carried, w.account.used()) // without a cap nothing was committed
	}
	w.unpaid = min(w.unpaid, w.policy.inFlight(0))
	w.limit = w.leastLimit()
	w.look(false)
}

// drain spends what is left, while nothing else happens.
func (w *world) drain() {
	if !w.steady || w.lies || w.policy.Cap == 0 {
		return
	}
	w.full, w.trusted = false, true
	var s Balance
	for n := 0; ; n++ {
		w.look(false)
		s = w.account.Balance(w.policy)
		if s.AllSpent && !s.Overcommitted || w.broken != "" { // what is taken out is granted again
			break
		}
		if n > 10_000 {
			w.broken = "the donation is never spent"
			return
		}
		w.want(w.held(), s.Spent)
	}
	given := w.carried + w.before + w.headers
	tranche := max(trancheFor(w.policy.limit()), trancheFor(w.policy.reserve()))
	least := sub(w.policy.limit(), s.Margin+w.policy.inFlight(0)+tranche+2*packetBytes)
	if given < least && w.broken == "" {
		w.broken = fmt.Sprintf("of a cap of %d only %d were given, less than %d: %+v", w.policy.Cap, given, least, s)
	}
}
