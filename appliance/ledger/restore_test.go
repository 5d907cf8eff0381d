package ledger

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// saving is a backup: the account, and the ledger that held it.
type saving struct {
	record Record
	ledger int
}

// restores is a world in which the box is backed up, restored and replaced by another one, and in which a restored backup is undone.
type restores struct {
	*world
	ledger  int // the present box's ledger
	made    int // number of ledgers so far
	savings []saving
	before  *saving // the state before the last restored backup, to undo it
	undos   bool    // the account before it was true
}

// TestRestores plays random histories of boxes that are backed up and restored, of old boxes that are replaced by new ones, and of
// technicians who state the truth about what was used meanwhile, or state nothing. In all of them the line never carries more than
// the cap in a period.
func TestRestores(t *testing.T) {
	t.Parallel()
	var next atomic.Uint64
	var failed atomic.Bool
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for n := next.Add(1); n <= uint64(*histories/4) && !failed.Load(); n = next.Add(1) {
				s := *seed + n - 1
				if playRestores(s, maxSteps, nil) == "" || failed.Swap(true) {
					continue
				}
				steps := 1
				for steps < maxSteps && playRestores(s, steps, nil) == "" {
					steps++
				}
				var story []string
				why := playRestores(s, steps, &story)
				t.Errorf("%s\nafter these steps (again with -args -seed %d -histories 4):\n%s", why, s, strings.Join(story, "\n"))
			}
		})
	}
	workers.Wait()
}

func playRestores(seed uint64, steps int, story *[]string) (why string) {
	r := rand.New(rand.NewPCG(seed, 0x6261636b7570))
	w := restores{world: newWorld(r, story)}
	if w.lies { // TestPromise covers periods that are not the true one
		w.lies, w.trusted, w.offset = false, false, 0
	}
	for n := min(steps, 10+r.IntN(maxSteps-10)); n > 0 && w.broken == ""; n-- {
		switch w.r.IntN(12) {
		case 0:
			w.backUp()
		case 1:
			w.restore()
		case 2:
			w.replace()
		case 3:
			w.undo()
		case 4, 5:
			w.stateUse()
		default:
			w.step()
		}
	}
	return w.broken
}

// stop ends the daemon like a restart within the process: the gate is closed, and the account is on disk.
func (w *restores) stop() {
	if w.account == nil {
		w.look(false)
	}
	w.kernel, w.open, w.openAll = nil, false, false
	w.look(false)
	if w.account == nil || w.full {
		return
	}
	w.kernel, w.open, w.openAll = nil, false, false
	reading := Reading{Now: w.clock(), Trusted: w.trusted, Boot: bootNames[w.boot], Counter: w.line}
	// The gate's count of broadcasts is lost with it: the last one read stands, and the next gate begins at 0.
	reading.Counter.BroadcastsBefore, reading.Counter.BroadcastsAfter = w.broadcasts, w.broadcasts
	w.broadcasts, w.steady = 0, false
	if !w.plugged {
		reading.Counter.Index = 0
	}
	w.account.Observe(w.policy, reading)
	if r, due := w.account.Final(w.policy); due {
		w.world.store(r)
	}
	w.account = nil
}

func (w *restores) backUp() {
	if w.disk == nil {
		return
	}
	w.tell("backup %d of ledger %d", len(w.savings), w.ledger)
	w.savings = append(w.savings, saving{w.disk.clone(), w.ledger})
}

// restore restores a backup onto the box, which keeps its ledger and what it has counted.
func (w *restores) restore() {
	if len(w.savings) == 0 {
		return
	}
	n := w.r.IntN(len(w.savings))
	s := w.savings[n]
	if w.stop(); w.account != nil || w.disk == nil {
		return
	}
	w.tell("restore backup %d of ledger %d", n, s.ledger)
	w.before, w.undos = &saving{w.disk.clone(), w.ledger}, true
	w.put(Restore(s.record, w.disk, s.ledger == w.ledger))
}

// replace puts another box at the line after the first one broke, with a backup of the first.
func (w *restores) replace() {
	if len(w.savings) == 0 || w.disk == nil || w.r.IntN(2) == 0 {
		return
	}
	n := w.r.IntN(len(w.savings))
	w.made++
	w.boot = min(w.boot, len(bootNames)-2)
	w.die(true)
	w.broadcasts, w.ledger, w.before = 0, w.made, nil
	w.tell("another box, with ledger %d and backup %d of ledger %d", w.ledger, n, w.savings[n].ledger)
	w.put(Restore(w.savings[n].record, nil, false))
}

// undo undoes the last restored backup.
func (w *restores) undo() {
	if w.before == nil {
		return
	}
	if w.stop(); w.account != nil || w.disk == nil {
		return
	}
	w.tell("undo")
	w.put(Undo(w.before.record, *w.disk))
	w.before = nil
}

// put writes the account that a restored backup results in.
func (w *restores) put(r Record) {
	w.steady = false
	unwritten := w.unwritten
	w.world.store(r)
	w.unwritten = unwritten
}

// stateUse states the true use, or more.
func (w *restores) stateUse() {
	if w.account == nil || !w.account.Balance(w.policy).Lost {
		return
	}
	used := w.carried + w.flight + w.own
	if w.r.IntN(3) == 0 {
		used += w.upTo(w.capOr() / 2)
	}
	w.tell("a technician states that %d were used", used)
	w.account.StateUse(used)
}

// TestRestore: what an account becomes when a backup is restored.
func TestRestore(t *testing.T) {
	t.Parallel()
	pol := Policy{Cap: 10e9, Period: "month", Resets: 1, Chain: "PAS-CAP-1"}
	november := time.Date(2026, 11, 10, 12, 0, 0, 0, time.UTC)
	december := time.Date(2026, 12, 3, 12, 0, 0, 0, time.UTC)
	start, end := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).Unix(), time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC).Unix()
	saved := Record{Start: start, End: end, Period: "month", Resets: 1, Base: 3e9, TrustedUsed: 3e9, Committed: 3.1e9, LastID: 7, Boot: "old"}
	later := saved
	later.Base, later.Committed, later.LastID = 5e9, 5e9, 12
	open := func(r Record, now time.Time, trusted bool) *Account {
		a := Open(&r, nil)
		a.Observe(pol, Reading{Now: now, Trusted: trusted, Boot: "new", Counter: Counter{Name: "eth0", Index: 2, Bytes: 1e9}})
		return a
	}
	says := func(a *Account) string {
		s := a.Balance(pol)
		return fmt.Sprintf("used %.1f GB, spent %t, lost %t, until %s", float64(s.Used)/1e9, s.Spent, s.Lost, s.Resets.UTC().Format("2 Jan"))
	}
	is := func(what string, a *Account, want string) {
		t.Helper()
		if got := says(a); got != want {
			t.Errorf("%s: %s; want %s", what, got, want)
		}
	}

	a := open(Restore(saved, nil, false), november, true)
	is("on a new box, in the same month", a, "used 3.1 GB, spent true, lost true, until 1 Dec")
	if !a.StateUse(4e9) || a.StateUse(9e9) {
		t.Error("a use can be stated once")
	}
	is("once stated", a, "used 4.0 GB, spent false, lost false, until 1 Dec")
	a = open(Restore(saved, nil, false), november, true)
	a.StateUse(1e9)
	is("stated below what is known", a, "used 3.1 GB, spent false, lost false, until 1 Dec")

	a = open(Restore(saved, nil, false), december, true)
	is("on a new box, in the month after", a, "used 0.1 GB, spent true, lost true, until 1 Jan")
	a.StateUse(2e9)
	is("once stated", a, "used 2.0 GB, spent false, lost false, until 1 Jan")

	a = open(Restore(saved, nil, false), november, false)
	is("before time is trusted", a, "used 3.1 GB, spent true, lost true, until 1 Dec")
	a.StateUse(4e9)
	a.Observe(pol, Reading{Now: december, Trusted: true, Boot: "new", Counter: Counter{Name: "eth0", Index: 2, Bytes: 1e9}})
	is("stated before time was trusted", a, "used 4.0 GB, spent false, lost false, until 1 Jan")

	present := later
	if got := Restore(saved, &present, true); fmt.Sprint(got) != fmt.Sprint(later) {
		t.Errorf("a ledger that has counted since the backup becomes %+v", got)
	}
	for what, r := range map[string]Record{
		"an older ledger by the same name": Restore(later, &saved, true),
		"another ledger":                   Restore(later, &saved, false),
		"another ledger with more use":     Restore(saved, &later, false),
	} {
		if !r.Lost || r.used() != 5e9 {
			t.Errorf("%s becomes %+v", what, r)
		}
	}
	restored := Restore(later, &saved, false)
	if r := Undo(saved, restored); r.Lost || r.used() != 5e9 {
		t.Errorf("undone: %+v", r)
	}
	lost := saved
	lost.Lost = true
	if r := Undo(lost, restored); !r.Lost {
		t.Errorf("undone to an account that was lost: %+v", r)
	}
}
