package admin

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"passerelle/appliance/state"
)

const (
	dayLength = 24 * time.Hour
	sampling  = 10 * time.Second // interval between samples

	maxHours = 48 // limits the memory of a Day if the clock is set repeatedly
	maxNames = 32 // donations counted by name in an hour; further ones are counted under ""
)

// Day counts what the box did in the last 24 hours, in memory only: bytes by donation, the most sessions at once, how often each
// uplink stopped working, the rates of each uplink, and how many devices were refused. Sessions are counted in fives, and nothing
// is known of a single resident. Make one with NewDay; its methods are safe for concurrent use.
type Day struct {
	began time.Time // has a monotonic reading, by which the Day's age is measured

	mu     sync.Mutex
	counts counts
}

// NewDay returns an empty day that begins now.
func NewDay(now time.Time) *Day { return &Day{began: now} }

// Watch samples the box until ctx ends.
func (d *Day) Watch(ctx context.Context, now func() time.Time, status func() state.Status) error {
	ticks := time.NewTicker(sampling)
	defer ticks.Stop()
	for {
		d.Add(now(), status())
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
	}
}

// Add counts what changed since the last sample.
func (d *Day) Add(now time.Time, s state.Status) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts.add(now, now.Sub(d.began), s)
}

// last returns the counts of the last 24 hours, oldest first, and the Day's age.
func (d *Day) last(now time.Time) (hours []hour, age time.Duration) {
	age = now.Sub(d.began)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, h := range d.counts.hours {
		if h.from >= age-dayLength {
			h.bytes, h.stops, h.paces = maps.Clone(h.bytes), maps.Clone(h.stops), maps.Clone(h.paces)
			hours = append(hours, h)
		}
	}
	return hours, age
}

// hour holds the counts of one hour of the clock, or of a part of it if the daemon started in it or the clock was set.
type hour struct {
	from, to time.Duration     // the Day's age at the beginning and at the end
	bytes    map[string]uint64 // by donation; "" for further ones
	stops    map[string]int    // by donation: how often its uplink stopped working
	sessions int               // the most at once, in fives
	refused  state.Refused
	paces    map[string]pace // by donation: its uplink's rates while the box measured them; nil for none
}

// counts is the part of a Day without lock and clock. Hours are placed by the Day's age, not by the clock, so that no hour is lost
// or counted twice when somebody sets the clock.
type counts struct {
	hours []hour          // oldest first
	clock time.Time       // the time of the last sample
	lines map[string]line // the donations at the last sample

	refused state.Refused // the counter at the last sample
}

// line is the state of a donation at a sample.
type line struct {
	used         uint64
	asked, works bool // whether the box may use it, and whether its uplink works
}

// add counts what changed since the last sample. age never decreases. What a donation used before its first sample is not
// counted, since that may have been on another day. A renamed donation counts as a new one.
func (c *counts) add(now time.Time, age time.Duration, s state.Status) {
	if n := len(c.hours); n == 0 || !now.Truncate(time.Hour).Equal(c.clock.Truncate(time.Hour)) {
		if n > 0 {
			c.hours[n-1].to = age
		}
		c.hours = append(c.hours, hour{from: age, to: age, bytes: map[string]uint64{}, stops: map[string]int{}})
	}
	c.hours = slices.DeleteFunc(c.hours, func(h hour) bool { return h.to <= age-dayLength })
	c.hours = slices.Delete(c.hours, 0, max(len(c.hours)-maxHours, 0))
	h := &c.hours[len(c.hours)-1]
	h.to, h.sessions = age, max(h.sessions, int(state.InFives(uint64(s.Residents.Sessions))))
	h.refused = h.refused.Plus(s.Residents.Refused.Since(c.refused))
	c.refused = s.Residents.Refused
	lines := make(map[string]line, len(s.Donations))
	for _, d := range s.Donations {
		h.measure(d)
		x := line{used: d.Used, asked: d.Open && d.PausedBy == "", works: d.Works}
		lines[d.Name] = x
		before, known := c.lines[d.Name]
		if !known {
			continue
		}
		name := d.Name
		if _, counted := h.bytes[name]; !counted && len(h.bytes) >= maxNames {
			name = ""
		}
		if x.used < before.used { // a new period
			before.used = 0
		}
		if x.used > before.used {
			h.bytes[name] += x.used - before.used
		}
		if before.asked && x.asked && before.works && !x.works && len(h.stops) < maxNames {
			h.stops[name]++
		}
	}
	c.clock, c.lines = now, lines
}
