package ledger

import (
	"time"

	"passerelle/appliance/hours"
)

// Balance is the state of a donation's account, for decisions and pages. Sizes are in bytes.
type Balance struct {
	Used          uint64 // bytes counted on the line in this period, both directions
	Stated        uint64 // bytes beyond Used that the lender's provider counted: they count as used
	Lowered       uint64 // bytes that the lender took off the cap for this period
	Granted       uint64 // unspent bytes of the kernel's tranches
	Left          uint64 // of the cap, for all residents; 0 without a cap
	Reserve       uint64 // of the reserve, for essential services
	Overrun       uint64 // bytes beyond the cap that the line carried
	SelfAllowance uint64 // what the box itself may still send and receive; 0: it must be silent on this line
	OwnUse        uint64 // how much of a period's cap the box's own downloads may use, while that much is free; 0 without a cap
	Margin        uint64 // kept free of the cap when forwarding

	Broadcasts uint64 // bytes broadcast by the line's own network in this period

	Spent         bool // nothing is left for residents
	AllSpent      bool // nothing is left for essential services either
	Overcommitted bool // the kernel holds more than is left: its tranches must be revoked; Spent is true until then
	Lost          bool // the account was lost, so the whole cap counts as used

	Start, Resets time.Time // of the period; zero if it never ends or time was never trusted
	Today         Day       // sums of today
	DailyBudget   uint64    // bytes that today may use in all, so that the cap lasts its period; 0: not known
}

// Balance returns the account's state under a policy.
func (a *Account) Balance(pol Policy) Balance {
	s := Balance{
		Used:    sub(a.used(), a.r.Stated+a.r.Lowered),
		Stated:  a.r.Stated,
		Lowered: a.r.Lowered,
		Granted: a.unspent(general) + a.unspent(reserve),
		Lost:    a.r.Lost,
		Today:   a.r.Today,

		Broadcasts: a.r.Broadcasts,
	}
	if a.r.End != 0 {
		s.Start, s.Resets = time.Unix(a.r.Start, 0), time.Unix(a.r.End, 0)
	}
	if pol.Cap == 0 {
		return s
	}
	s.Overcommitted = a.overcommitted(pol)
	s.Margin = pol.selfAllowance() + pol.inFlight(a.extraMargin)
	s.Overrun = sub(a.used(), pol.limit())
	s.SelfAllowance = sub(pol.limit(), a.usedAtMost()+pol.inFlight(a.extraMargin))
	s.Reserve = min(sub(pol.reserve(), a.r.Reserve), sub(pol.limit(), a.usedAtMost()+s.Margin))
	s.Spent = s.Overcommitted || a.unspent(general) < packetBytes && a.nextTranche(pol) == 0
	s.AllSpent = s.Spent && (s.Overcommitted || a.unspent(reserve) < packetBytes && a.nextReserveTranche(pol) == 0)
	if !s.Spent {
		s.OwnUse = min(pol.selfAllowance(), a.free(pol))
		s.Left = sub(pol.limit(), a.used()+s.Reserve+s.Margin)
	}
	if days := daysLeft(a.now, s.Resets, a.r.Today.Date); days > 0 {
		s.DailyBudget = DailyBudget(s.Left, s.Today.Bytes, days)
	}
	return s
}

// daysLeft returns how many days the period still has, including today; 0 if that is not known. If the clock was set back, today
// remains the day that had begun.
func daysLeft(now, resets time.Time, today Date) int {
	if now.IsZero() || !resets.After(now) {
		return 0
	}
	midnight := PeriodStart(now, "day", 0)
	if dateOf(midnight) < today {
		y, m, d := today.Time().Date()
		midnight = hours.DayStart(y, m, d, now.Location())
	}
	// Half a day is added because some days have 23 or 25 hours.
	return max(1, int((resets.Sub(midnight)+12*time.Hour)/(24*time.Hour)))
}
