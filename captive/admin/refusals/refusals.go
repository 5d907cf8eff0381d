// Package refusals keeps how many requests for the internet were refused on each of the last days. It owns their file, which
// has sums in fives, see [state.InFives], and nothing of a single device.
//
// The file is written when a day is over and when the daemon ends, if there is something new: after a power cut the sums of
// the day that was running are lost. An older release has no such file and leaves it alone; a newer form is not overwritten
// by this release, but set aside.
package refusals

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"passerelle/appliance/state"
	"passerelle/captive/records"
)

// KeepDays is how many days are kept.
const KeepDays = 31

// Day has the sums of a day.
type Day struct {
	Date state.Date `json:"date"`
	state.Refused
}

// Days are the sums of the last days. Make one with Open; its methods are safe for concurrent use.
type Days struct {
	file records.File[[]Day]

	mu      sync.Mutex
	days    []Day // the oldest first
	last    state.Refused
	unsaved bool
}

// Open reads the sums in a folder. Next to an error it returns Days that begin with none.
func Open(dir string) (*Days, error) {
	d := &Days{file: records.File[[]Day]{Path: filepath.Join(dir, "refusals.json"), Version: 1}}
	var err error
	d.days, err = d.file.Read()
	for i := range d.days { // an older release counted one by one
		d.days[i].Refused = d.days[i].InFives()
	}
	return d, err
}

// Add counts what was refused since the last call, by a counter that begins at zero with the daemon, on the day of a trusted
// time. It returns whether a day with something unsaved is over.
func (d *Days) Add(now time.Time, trusted bool, sums state.Refused) (over bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	more := sums.Since(d.last)
	d.last = sums
	if !trusted {
		return false
	}
	today := state.DateOf(now)
	over = d.unsaved && len(d.days) > 0 && d.days[len(d.days)-1].Date != today
	if more.Sum() == 0 {
		return over
	}
	i, known := slices.BinarySearchFunc(d.days, today, func(x Day, at state.Date) int { return x.Date.Compare(at.Time) })
	if !known {
		d.days = slices.Insert(d.days, i, Day{Date: today})
	}
	d.days[i].Refused = d.days[i].Plus(more)
	d.days = slices.Delete(d.days, 0, max(0, len(d.days)-KeepDays))
	d.unsaved = true
	return over
}

// Days returns the days with refusals, the oldest first.
func (d *Days) Days() []Day {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.days)
}

// Save writes the sums, if there is something new.
func (d *Days) Save() error {
	d.mu.Lock()
	days, unsaved := slices.Clone(d.days), d.unsaved
	d.unsaved = false
	d.mu.Unlock()
	if !unsaved {
		return nil
	}
	_, err := d.file.Update(func(all *[]Day) error {
		*all = days
		return nil
	})
	if err != nil {
		d.mu.Lock()
		d.unsaved = true
		d.mu.Unlock()
	}
	return err
}

// Watch counts until ctx ends, and saves. The errors of the disk go to failed: the sums stay in memory.
func (d *Days) Watch(ctx context.Context, now func() time.Time, status func() state.Status, failed func(error)) error {
	save := func() {
		if err := d.Save(); err != nil {
			failed(err)
		}
	}
	ticks := time.NewTicker(time.Minute)
	defer ticks.Stop()
	for {
		s := status()
		if d.Add(now(), s.Clock.Trusted, s.Residents.Refused) {
			save()
		}
		select {
		case <-ctx.Done():
			s := status()
			d.Add(now(), s.Clock.Trusted, s.Residents.Refused)
			save()
			return nil
		case <-ticks.C:
		}
	}
}
