// Package refusals counts how many requests for the internet were refused on each of the last days. It owns their file, which has
// sums in fives (see [state.InFives]) and nothing about a single device.
//
// The file is written when a day is over and when the daemon ends, if there is something new. A power cut loses the sums of the
// current day. Older releases do not know the file and leave it alone. A file in a newer format is not overwritten, but set aside.
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

// Days holds the sums of the last days. Make one with Open; its methods are safe for concurrent use.
type Days struct {
	*records.List[Day]               // days with refusals, oldest first
	last               state.Refused // counter at the last Add; guarded by the list's lock
}

// Open reads the sums in a folder. With an error it also returns Days, which are empty.
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

// Add adds what was refused since the last call to the sums of the current day. sums is a counter that starts at zero with the
// daemon. Without a trusted time nothing is added. over says that a day with unsaved sums has ended.
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

// Watch counts until ctx ends, and saves the sums. It passes disk errors to failed; the sums then stay in memory.
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
