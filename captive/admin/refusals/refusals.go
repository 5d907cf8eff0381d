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
	*records.List[Day]               // those with refusals, the oldest first
	last               state.Refused // changed with the list
}

// Open reads the sums in a folder. Next to an error it returns Days that begin with none.
func Open(dir string) (*Days, error) {
	list, err := records.OpenList(records.File[[]Day]{Path: filepath.Join(dir, "refusals.json"), Version: 1})
	list.Change(func(all []Day, _ bool) ([]Day, bool) {
		for i := range all { // an older release counted one by one
			all[i].Refused = all[i].InFives()
		}
		return all, false
	})
	return &Days{List: list}, err
}

// Add counts what was refused since the last call, by a counter that begins at zero with the daemon, on the day of a trusted
// time. It returns whether a day with something unsaved is over.
func (d *Days) Add(now time.Time, trusted bool, sums state.Refused) (over bool) {
	d.Change(func(all []Day, unsaved bool) ([]Day, bool) {
		more := sums.Since(d.last)
		d.last = sums
		if !trusted {
			return all, false
		}
		today := state.DateOf(now)
		over = unsaved && len(all) > 0 && all[len(all)-1].Date != today
		if more.Sum() == 0 {
			return all, false
		}
		i, known := slices.BinarySearchFunc(all, today, func(x Day, at state.Date) int { return x.Date.Compare(at.Time) })
		if !known {
			all = slices.Insert(all, i, Day{Date: today})
		}
		all[i].Refused = all[i].Plus(more)
		return slices.Delete(all, 0, max(0, len(all)-KeepDays)), true
	})
	return over
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
