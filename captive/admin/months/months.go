// Package months counts what the box did in each of the last months, for the sheets that the centre prints: how long each donation
// was shared, how many sessions began, and how many lessons were opened. It owns their file, which has monthly sums and nothing
// about a single device. How many bytes donations carried is in the ledger, not here.
//
// The file is written once an hour, when a month is over, and when the daemon ends, if there is something new. A power cut loses at
// most the counts of an hour. Older releases do not know the file and leave it alone. A file in a newer format is not overwritten,
// but set aside.
package months

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"passerelle/appliance/state"
	"passerelle/captive/records"
)

// Limits on what is kept.
const (
	KeepMonths = 36
	keepLoans  = 100 // donations in a month
)

const (
	sampling  = time.Minute
	saving    = time.Hour
	mostAtOne = 2 * sampling // time that counts between two samples: a machine that was suspended shared nothing meanwhile
)

// Loan has the sums of a donation for a month.
type Loan struct {
	Seconds  uint64 `json:"seconds"`  // how long residents could use it
	Sessions uint64 `json:"sessions"` // sessions that began while it was in use
}

// Month has the sums of a month.
type Month struct {
	Month   string          `json:"month"` // YYYY-MM
	Loans   map[string]Loan `json:"loans,omitempty"`
	Lessons uint64          `json:"lessons,omitempty"` // how often a lesson was opened
}

// Sample is the state of what is counted at one moment. Its counters start at zero with the daemon.
type Sample struct {
	Now      time.Time // in the box's zone
	Trusted  bool
	Shared   string // the donation that residents can use; "" for none
	Sessions uint64 // counter of sessions that began
	Lessons  uint64 // counter of lessons that were opened
}

// Months holds the sums of the last months. Make one with Open; its methods are safe for concurrent use.
type Months struct {
	*records.List[Month]        // oldest first
	last                 Sample // the last sample; guarded by the list's lock
}

// Open reads the sums in a folder. With an error it also returns Months, which are empty.
func Open(dir string) (*Months, error) {
	list, err := records.OpenList(records.File[[]Month]{Path: filepath.Join(dir, "months.json"), Version: 1})
	return &Months{List: list}, err
}

// Add adds what happened since the last sample to the sums of the current month. Without a trusted time nothing is added. over says
// that a month with unsaved sums has ended.
func (m *Months) Add(s Sample) (over bool) {
	m.Change(func(all []Month, unsaved bool) ([]Month, bool) {
		before := m.last
		m.last = s
		if !s.Trusted || before.Now.IsZero() {
			return all, false
		}
		name := s.Now.Format("2006-01")
		i, known := slices.BinarySearchFunc(all, name, func(x Month, name string) int { return strings.Compare(x.Month, name) })
		over = unsaved && !known
		var loan Loan
		if passed := s.Now.Sub(before.Now); s.Shared != "" && s.Shared == before.Shared && passed > 0 {
			loan.Seconds = uint64(min(passed, mostAtOne) / time.Second)
		}
		loan.Sessions = since(s.Sessions, before.Sessions)
		if s.Shared == "" {
			loan.Sessions = 0 // nothing is shared now, so it is unknown which donation they used
		}
		lessons := since(s.Lessons, before.Lessons)
		if loan == (Loan{}) && lessons == 0 {
			return all, false
		}
		if !known {
			all = slices.Insert(all, i, Month{Month: name})
		}
		x := &all[i]
		x.Lessons += lessons
		if sums, counted := x.Loans[s.Shared]; loan != (Loan{}) && (counted || len(x.Loans) < keepLoans) {
			x.Loans = maps.Clone(x.Loans) // readers may still hold the old map
			if x.Loans == nil {
				x.Loans = map[string]Loan{}
			}
			x.Loans[s.Shared] = Loan{sums.Seconds + loan.Seconds, sums.Sessions + loan.Sessions}
		}
		return slices.Delete(all, 0, max(0, len(all)-KeepMonths)), true
	})
	return over
}

// since returns how much a counter has increased since an earlier value. A counter that went down was reset to zero by a restart of
// the daemon.
func since(now, before uint64) uint64 {
	if now < before {
		return now
	}
	return now - before
}

// Watch counts until ctx ends, and saves the sums. It passes disk errors to failed; the sums then stay in memory.
func (m *Months) Watch(ctx context.Context, sample func() Sample, failed func(error)) error {
	save := func() {
		if err := m.Save(); err != nil {
			failed(err)
		}
	}
	ticks, saves := time.NewTicker(sampling), time.NewTicker(saving)
	defer ticks.Stop()
	defer saves.Stop()
	for {
		if m.Add(sample()) {
			save()
		}
		select {
		case <-ctx.Done():
			m.Add(sample())
			save()
			return nil
		case <-saves.C:
			save()
		case <-ticks.C:
		}
	}
}

// SampleOf returns the sample of a Status. lessons is the counter of lessons that were opened.
func SampleOf(s state.Status, now time.Time, lessons uint64) Sample {
	x := Sample{Now: now, Trusted: s.Clock.Trusted, Sessions: s.Residents.Started, Lessons: lessons}
	for _, d := range s.Donations {
		if d.Chosen && s.State == state.Sharing {
			x.Shared = d.Name
		}
	}
	return x
}
