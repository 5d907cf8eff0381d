package appliance

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/ledger"
	"passerelle/appliance/plan"
	"passerelle/appliance/state"
	"passerelle/netctl"
)

// writeRetry is the delay before another write after the disk failed or the kernel refused a tranche.
const writeRetry = 5 * time.Second

// Store stores the donations' accounts.
type Store interface {
	// Put writes records by donation, and returns once they survive a power cut.
	Put(records map[string]ledger.Record) error
	// SetPaused stores a donation's pause, the zero one for none.
	SetPaused(donation string, p ledger.Pause) error
}

// policyOf returns the ledger's policy of a donation.
func policyOf(c config.Donation) ledger.Policy {
	t := ledger.Policy{
		Cap: uint64(c.Cap), Reserve: uint64(c.Reserve), Period: c.Period, Resets: c.Resets, Chain: plan.Chain(c),
		Broadcast: c.Broadcast,
	}
	if c.Reserve != 0 {
		t.ReserveChain = plan.ReserveChain(c)
	}
	if c.Download != 0 && c.Upload != 0 {
		t.Rate = uint64(c.Download + c.Upload)
	}
	return t
}

// readBroadcasts reads the lines' broadcast counters, and returns whether it succeeded.
func (l *lines) readBroadcasts(to *map[string]uint64) bool {
	all, err := l.gate.Broadcasts()
	if err != nil {
		l.problem(state.KernelFails, err)
		return false
	}
	*to = all
	return true
}

// reading returns the ledger's reading of a donation.
func (l *lines) reading(d *donation, tranches []netctl.TrancheUsage) ledger.Reading {
	r := ledger.Reading{
		Now: l.clock, Trusted: l.trusted, Boot: l.boot, Counter: ledger.Counter{Name: d.Interface}, Tranches: tranches,
	}
	if u := d.uplink; u.Present {
		r.Counter.Index, r.Counter.Bytes = u.Index, u.RxBytes+u.TxBytes
		r.Counter.BroadcastsBefore, r.Counter.BroadcastsAfter = l.broadcastsBefore[u.Interface], l.broadcastsAfter[u.Interface]
	}
	return r
}

// observe updates the accounts from the counters of the kernel and the lines. Both must have been read, the kernel first: a
// byte between the two reads may be counted twice, but none is missed.
func (l *lines) observe(tranches []netctl.TrancheUsage) {
	for _, d := range l.all {
		d.observe(l.reading(d, tranches))
	}
}

func (d *donation) observe(r ledger.Reading) {
	d.account.Observe(d.policy, r)
	d.balance, d.observed = d.account.Balance(d.policy), true
}

// commitGrants stores the accounts that are due, and then grants their new tranches; held are the tranches in the kernel. If
// the write fails, nothing is granted: sharing stops rather than overrun a cap. A donation without a cap is granted anyway.
func (l *lines) commitGrants(ctx context.Context, held []netctl.TrancheUsage) {
	now := l.now()
	records := map[string]ledger.Record{}
	writes := map[*donation]ledger.Write{}
	for _, d := range l.all {
		if !d.observed || (d.writeErr != nil || d.grantErr != nil) && now.Sub(d.lastWrite) < writeRetry {
			l.problem(state.TrancheRefused, d.grantErr, "donation", d.Name)
			continue
		}
		l.revokeStale(ctx, d, held)
		if d.balance.Overcommitted {
			l.revoke(ctx, d)
			continue
		}
		w, due := d.account.Due(d.policy, d == l.chosen)
		if d.writeErr != nil { // retry the write
			w = ledger.Write{}
			w.Record, due = d.account.Final(d.policy)
		}
		if due {
			records[d.Name], writes[d] = w.Record, w
		}
	}
	if len(writes) == 0 {
		return
	}
	err := l.store.Put(records)
	l.problem(state.DiskFails, err)
	for d, w := range writes {
		d.lastWrite = now
		if err != nil && d.Cap != 0 {
			d.writeErr = err
			l.wake()
			continue
		}
		d.writeErr, d.grantErr = nil, nil
		d.account.ConfirmWrite(w)
		for _, t := range w.Grants {
			if err := l.gate.Grant(ctx, t); err != nil {
				d.grantErr = err
				l.problem(state.TrancheRefused, err, "donation", d.Name)
				continue
			}
			d.account.ConfirmGrant(d.policy, t)
		}
		d.balance = d.account.Balance(d.policy)
	}
}

// revoke removes a donation's tranches from the kernel if they exceed what is left of its cap.
func (l *lines) revoke(ctx context.Context, d *donation) {
	for _, chain := range []string{d.policy.Chain, d.policy.ReserveChain} {
		if chain != "" {
			l.problem(state.KernelFails, l.gate.Revoke(ctx, chain))
		}
	}
	l.wake() // the rest is granted again
}

// revokeStale removes the tranches that a donation had under an earlier policy: the chain depends on whether there is a cap,
// and a removed reserve has none. If that policy came back, stale tranches would be used and counted again.
func (l *lines) revokeStale(ctx context.Context, d *donation, held []netctl.TrancheUsage) {
	capped, uncapped := d.Donation, d.Donation
	capped.Cap, uncapped.Cap = 1, 0
	for _, chain := range []string{plan.Chain(capped), plan.Chain(uncapped), plan.ReserveChain(d.Donation)} {
		own := func(s netctl.TrancheUsage) bool { return s.Chain == chain }
		if chain != d.policy.Chain && chain != d.policy.ReserveChain && slices.ContainsFunc(held, own) {
			l.problem(state.KernelFails, l.gate.Revoke(ctx, chain))
		}
	}
}

// close stores the accounts after the gate was removed from the kernel, so that unspent tranches are not lost.
func (l *lines) close() error {
	l.broadcastsBefore = l.broadcastsAfter // the kernel's counters are gone: later broadcasts count as used
	if !l.read() {
		return errors.New("close accounts: read lines failed")
	}
	records := map[string]ledger.Record{}
	for _, d := range l.all {
		if !d.observed {
			continue
		}
		d.observe(l.reading(d, nil))
		if r, due := d.account.Final(d.policy); due {
			records[d.Name] = r
		}
	}
	if len(records) == 0 {
		return nil
	}
	return l.store.Put(records)
}

// drainTime returns how long half of the donation's granted bytes last at the highest rate of that many residents. The next
// pass is due by then, so that no connection breaks for want of a tranche.
func (d *donation) drainTime(residents int, c *config.Config) time.Duration {
	least := minPeriod
	if d.balance.Left <= d.balance.Granted {
		least = period / 4 // there is no more to grant, only a switch to another donation
	}
	bound := func(line, each config.Rate) float64 {
		rate := math.Inf(1)
		if line != 0 {
			rate = float64(line)
		}
		if each != 0 {
			rate = min(rate, float64(each)*float64(residents)+float64(c.Essential.Rate))
		}
		return rate
	}
	rate := bound(d.Download, c.Limits.Download) + bound(d.Upload, c.Limits.Upload)
	return max(least, time.Duration(float64(d.balance.Granted)/2*8/rate*float64(time.Second)))
}

// sharing returns what there is to share today, with the limit of each resident. Without a cap, or before the daily budget is
// known, only the limit counts.
func (l *lines) sharing(limit config.Size) ledger.Sharing {
	s := ledger.Sharing{Left: math.MaxUint64, Limit: uint64(limit)}
	if d := l.chosen; d != nil && d.Cap != 0 && d.balance.DailyBudget != 0 {
		s.DailyBudget = d.balance.DailyBudget
		s.Left = min(ledger.LeftToday(s.DailyBudget, d.balance.Today.Bytes), d.balance.Left)
		s.Expected, s.DayFraction = ledger.Expected(d.account.Days()), l.dayLeft(d)
	}
	return s
}

// dayLeft returns which fraction of today's opening hours is still to come.
func (l *lines) dayLeft(d *donation) float64 {
	const step = 15 * time.Minute
	if left := d.dayLeft.until.Sub(l.clock); left > 0 && left <= step/3 { // otherwise the clock was set back
		return d.dayLeft.part
	}
	var all, left int
	for t := ledger.PeriodStart(l.clock, "day", 0); t.Before(ledger.PeriodEnd(l.clock, "day", 0)); t = t.Add(step) {
		if d.Hours.Open(t) {
			all++
			if t.After(l.clock) {
				left++
			}
		}
	}
	d.dayLeft.until, d.dayLeft.part = l.clock.Add(step/3), float64(left)/float64(max(all, 1))
	return d.dayLeft.part
}
