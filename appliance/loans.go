package appliance

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"passerelle/appliance/ledger"
	"passerelle/appliance/state"
)

// PauseDonationUntilTomorrow pauses a donation until the next day's opening, as PauseUntilTomorrow does for all; by says who paused
// it. The pause survives a power cut.
func (b *Box) PauseDonationUntilTomorrow(ctx context.Context, name, by string) error {
	return b.onDonation(ctx, name, func(d *donation) error {
		return b.lines.pauseUntilTomorrow(d, by)
	})
}

// CountAtLeast records the bytes that a donation's provider says were used in this period. The bytes that the box did not count
// itself count as used until the period ends. The figure is on disk when CountAtLeast returns without an error; after an error it is
// valid until a power cut.
func (b *Box) CountAtLeast(ctx context.Context, name string, bytes uint64) error {
	return b.withhold(ctx, name, func(d *donation) { d.account.CountAtLeast(d.policy, bytes, b.lines.trusted) })
}

// LowerThisPeriod lowers a donation's cap to that many bytes until the period ends. Disk and errors are as for CountAtLeast.
func (b *Box) LowerThisPeriod(ctx context.Context, name string, bytes uint64) error {
	return b.withhold(ctx, name, func(d *donation) { d.account.LowerTo(d.policy, bytes, b.lines.trusted) })
}

// withhold calls f to lower what is left of a donation, and stores the result.
func (b *Box) withhold(ctx context.Context, name string, f func(*donation)) error {
	return b.onDonation(ctx, name, func(d *donation) error {
		f(d)
		d.balance = d.account.Balance(d.policy)
		err := b.lines.store.Put(map[string]ledger.Record{d.Name: d.account.Record()})
		if err != nil && d.Cap != 0 { // the next write includes it
			d.writeErr, d.lastWrite = err, b.parts.Now()
		}
		return err
	})
}

// onDonation runs f in the loop, on a donation of the configuration, and then reconciles, even if f failed: its changes stay.
func (b *Box) onDonation(ctx context.Context, name string, f func(*donation) error) (err error) {
	doErr := b.do(ctx, func(loop context.Context) {
		n := b.lines.find(name)
		if n < 0 {
			err = fmt.Errorf("%w: %q", state.ErrNoDonation, name)
			return
		}
		err = f(b.lines.all[n])
		b.reconcile(loop)
	})
	return errors.Join(doErr, err)
}

// Lent returns what a donation's line has carried on each day that is still known, the oldest first. It also works for a donation
// that is no longer configured. ok is false if there never was a donation of that name.
func (b *Box) Lent(ctx context.Context, name string) (days []state.Day, ok bool) {
	_ = b.do(ctx, func(context.Context) { // after an error ok is false, and the page leaves the days out
		var account *ledger.Account
		if account, ok = b.lines.accounts[name]; ok {
			days = daysOf(account)
		}
	})
	return days, ok
}

// daysOf returns the sums of an account's days, including today's.
func daysOf(a *ledger.Account) []state.Day {
	days := []state.Day{}
	for _, day := range slices.Concat(a.Days(), []ledger.Day{a.Balance(ledger.Policy{}).Today}) {
		if day.Date != 0 {
			days = append(days, state.Day{Date: state.Date{Time: day.Date.Time()}, Bytes: day.Bytes})
		}
	}
	return days
}
