// Package months keeps what the box did in each of the last months, for the sheets that the centre prints: how long each
// donation was shared, how many sessions began, how many lessons were opened. It owns their file, which has sums of a month
// and nothing of a single device. What the lines carried is in the ledger, not here.
//
// The file is written once an hour, when a month is over and when the daemon ends, if there is something new: a power cut loses
// the sums of an hour. An older release has no such file and leaves it alone; a newer form is not overwritten by this release,
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

// Bounds of what is kept.
const (
	KeepMonths = 36
	keepLoans  = 100 // of a month
)

const (
	sampling  = time.Minute
	saving    = time.Hour
	mostAtOne = 2 * sampling // of time between two samples: a sleeping machine shares nothing
)

// Loan is what a donation did in a month.
type Loan struct {
	Seconds  uint64 `json:"seconds"`  // in which residents could use it
	Sessions uint64 `json:"sessions"` // that began while they used it
}

// Month has the sums of a month.
type Month struct {
	Month   string          `json:"month"` // YYYY-MM
	Loans   map[string]Loan `json:"loans,omitempty"`
	Lessons uint64          `json:"lessons,omitempty"` // how often one was opened
}

// Sample is what is counted at a moment. Counters begin at zero with the daemon.
type Sample struct {
	Now      time.Time // in the box's zone
	Trusted  bool
	Shared   string // the donation that residents can use; "" for none
	Sessions uint64 // that began
	Lessons  uint64 // that were opened
}

// Months are the sums of the last months. Make one with Open; its methods are safe for concurrent use.
type Months struct {
	*records.List[Month]        // the oldest first
	last                 Sample // changed with the list
}

// Open reads the sums in a folder. Next to an error it returns Months that begin with none.
func Open(dir string) (*Months, error) {
	list, err := records.OpenList(records.File[[]Month]{Path: filepath.Join(dir, "months.json"), Version: 1})
	return &Months{List: list}, err
}

// Add counts what happened since the last sample, in the month of a trusted time. It returns whether a month with something
// unsaved is over.
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
			loan.Sessions = 0 // they began and ended between two samples: nobody knows on which line
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
			x.Loans = maps.Clone(x.Loans) // readers may have the one before
			if x.Loans == nil {
				x.Loans = map[string]Loan{}
			}
			x.Loans[s.Shared] = Loan{sums.Seconds + loan.Seconds, sums.Sessions + loan.Sessions}
		}
		return slices.Delete(all, 0, max(0, len(all)-KeepMonths)), true
	})
	return over
}

// since returns what a counter counted after an earlier value. If it went back, the daemon has started again, with zero.
func since(now, before uint64) uint64 {
	if now < before {
		return now
	}
	return now - before
}

// Watch counts until ctx ends, and saves. The errors of the disk go to failed: the sums stay in memory.
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

// SampleOf returns the sample of a Status. lessons is how many were opened.
func SampleOf(s state.Status, now time.Time, lessons uint64) Sample {
	x := Sample{Now: now, Trusted: s.Clock.Trusted, Sessions: s.Residents.Started, Lessons: lessons}
	for _, d := range s.Donations {
		if d.Chosen && s.State == state.Sharing {
			x.Shared = d.Name
		}
	}
	return x
}
