package ledger

import (
	"time"

	"passerelle/appliance/hours"
)

// Standing is how a donation's account stands, for those who decide and for pages. Sizes are bytes.
type Standing struct {
	Used    uint64 // what counts of what the line carried in this period, both directions
	Granted uint64 // what the kernel may spend by itself
	Left    uint64 // of the cap, for everybody; 0 without a cap
	Reserve uint64 // of the reserve, for essential services
	Over    uint64 // what the line carried beyond the cap
	Own     uint64 // what the box itself may still ask; 0: it must be silent on this line
	Margin  uint64 // what forwarding keeps free of the cap

	Broadcasts uint64 // that came from the line's own network in this period

	Spent    bool // nothing is left for residents
	AllSpent bool // nor for essential services
	Excess   bool // the kernel holds more than is left: the donation's chains must be emptied. It is Spent until then
	Lost     bool // the account was lost, so all of the cap counts as used

	Start, Resets time.Time // of the period; zero if it never ends or time was never trusted
	Today         Day       // sums
	Ration        uint64    // what today may use in all, for the gift to last its period; 0: not known
}

// Standing returns how the account stands.
func (b *Book) Standing(t Terms) Standing {
	s := Standing{
		Used:    b.used(),
		Granted: b.held(general) + b.held(reserve),
		Lost:    b.r.Lost,
		Today:   b.r.Today,

		Broadcasts: b.r.Broadcasts,
	}
	if b.r.End != 0 {
		s.Start, s.Resets = time.Unix(b.r.Start, 0), time.Unix(b.r.End, 0)
	}
	if t.Cap == 0 {
		return s
	}
	s.Excess = b.excess(t)
	s.Margin = t.own() + t.flight(b.extra)
	s.Over = sub(s.Used, t.limit())
	s.Own = sub(t.limit(), b.spent()+t.flight(b.extra))
	s.Reserve = min(sub(t.reserve(), b.r.Reserve), sub(t.limit(), b.spent()+s.Margin))
	s.Spent = s.Excess || b.held(general) < packetBytes && b.room(t) == 0
	s.AllSpent = s.Spent && (s.Excess || b.held(reserve) < packetBytes && b.roomReserve(t) == 0)
	if !s.Spent {
		s.Left = sub(t.limit(), s.Used+s.Reserve+s.Margin)
	}
	if days := daysLeft(b.now, s.Resets, b.r.Today.Date); days > 0 {
		s.Ration = Ration(s.Left, s.Today.Bytes, days)
	}
	return s
}

// daysLeft returns how many days the period still has, today included; 0 if that is not known. After a clock was set back,
// today is still the day that had begun.
func daysLeft(now, resets time.Time, today int32) int {
	if now.IsZero() || !resets.After(now) {
		return 0
	}
	midnight := PeriodStart(now, "day", 0)
	if dateOf(midnight) < today {
		midnight = hours.DayStart(int(today/10000), time.Month(today/100%100), int(today%100), now.Location())
	}
	// Half a day more, because of days of 23 and 25 hours.
	return max(1, int((resets.Sub(midnight)+12*time.Hour)/(24*time.Hour)))
}
