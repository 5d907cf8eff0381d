package appliance

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"passerelle/appliance/config"
	"passerelle/netctl"
	"passerelle/netctl/autorate"
	"passerelle/netctl/uplink"
)

// modem is a line with a long queue beyond the box, whose residents want more than its capacity. It is the pacer's gate and meter.
type modem struct {
	capacity float64 // bit/s
	deaf     bool    // it answers no probe
	now      time.Time
	rates    map[string]uint64
	received float64 // bytes
	queue    float64 // bytes beyond the box
	trips    []uplink.RoundTrip
	asked    time.Time // the oldest probe without an answer
	probes   int
	flows    int
	open     int
	err      error
}

const modemPath = 30 * time.Millisecond // round trip without a queue

func (m *modem) SetRate(device string, rate uint64) error { m.rates[device] = rate; return m.err }

func (m *modem) ShaperLoad(device string) (l netctl.ShaperLoad, _ error) {
	if device == "wlan0" {
		l.Backlog, l.Sent = 100_000, uint64(m.received)
	}
	return l, nil
}

func (m *modem) Measure() (uplink.Measured, error) {
	seen := uplink.Measured{RxBytes: uint64(m.received), Trips: m.trips}
	m.trips = nil
	if !m.asked.IsZero() {
		seen.Unanswered = m.now.Sub(m.asked)
	}
	return seen, m.err
}

func (m *modem) Probe() error {
	m.probes++
	if m.deaf {
		if m.asked.IsZero() {
			m.asked = m.now
		}
		return nil
	}
	m.trips = append(m.trips, uplink.RoundTrip{Sent: m.now, Trip: m.trip(), Probe: true})
	return nil
}

func (m *modem) Close() { m.open-- }

// pass lets time pass.
func (m *modem) pass(d time.Duration) {
	in := float64(m.rates["wlan0"]) / 8 * d.Seconds()
	out := min(m.queue+in, m.capacity/8*d.Seconds())
	m.queue, m.received = min(m.queue+in-out, 1.5e6), m.received+out
	m.now = m.now.Add(d)
	if m.flows++; m.flows%3 == 0 { // a resident opens a page somewhere
		m.trips = append(m.trips, uplink.RoundTrip{Sent: m.now, Trip: m.trip() + time.Duration(m.flows%5)*5*time.Millisecond})
	}
}

// trip returns the current round-trip time.
func (m *modem) trip() time.Duration {
	return modemPath + time.Duration(m.queue*8/m.capacity*float64(time.Second))
}

// paced returns a pacer on a modem, for a donation.
func paced(m *modem, d config.Donation) (*pacer, *donation) {
	m.now, m.rates = time.Unix(1e9, 0), map[string]uint64{"wlan0": 20e6}
	p := &pacer{gate: m, now: func() time.Time { return m.now }}
	p.open = func(uplink.Status, netip.Addr) (LineMeter, error) { m.open++; return m, nil }
	return p, &donation{Donation: d, uplink: uplink.Status{
		Interface: "eth0", Index: 7, Present: true, DNS: []netip.Addr{netip.MustParseAddr("192.168.1.1")},
	}}
}

// run lets the pacer work for a duration. It returns the fraction of the capacity that was used, and the longest queue, both in the
// last half of it.
func run(p *pacer, m *modem, d time.Duration) (used float64, queued time.Duration) {
	half, before := d/2/autorate.Tick, 0.
	for i := range d / autorate.Tick {
		if i == half {
			before = m.received
		}
		m.pass(autorate.Tick)
		p.tick()
		if i >= half {
			queued = max(queued, time.Duration(m.queue*8/m.capacity*float64(time.Second)))
		}
	}
	return (m.received - before) * 8 / m.capacity / (d / 2).Seconds(), queued
}

// TestPacer: the rates follow a line whose capacity falls below what is lent, and recover with it.
func TestPacer(t *testing.T) {
	t.Parallel()
	m := &modem{capacity: 8e6}
	p, d := paced(m, config.Donation{Name: "Karim", Interface: config.USB, Download: 20e6, Upload: 5e6, Autorate: true})
	p.follow(d, "wlan0")
	if m.rates["wlan0"] >= 20e6 || m.rates["eth0"] >= 5e6 {
		t.Errorf("an unknown line begins at %v", m.rates)
	}
	if used, queued := run(p, m, time.Minute); used < .8 || queued > 100*time.Millisecond {
		t.Errorf("%.2f of 8 Mbit/s are used, up to %v wait", used, queued)
	}
	if s := p.status(d); s == nil || s.Down < 6e6 || s.Down > 9e6 || s.Delay == nil || s.DownHeld != "line" || s.Unprobed {
		t.Errorf("the status is %+v", s)
	}
	if seconds := 60.; m.probes == 0 || float64(m.probes)/seconds > 4 {
		t.Errorf("%d probes in a minute", m.probes)
	}
	m.capacity = 30e6
	run(p, m, time.Minute)
	if got := m.rates["wlan0"]; got < 19e6 || got > 20e6 {
		t.Errorf("on a line of 30 Mbit/s the rate is %d", got)
	}

	// Nobody is online: nothing is measured, and the line's state stays.
	p.follow(nil, "wlan0")
	if m.open != 0 || p.ticks() != nil || p.status(d) != nil {
		t.Errorf("while nobody is online there are %d meters, and status %+v", m.open, p.status(d))
	}
	p.follow(d, "wlan0")
	if got := m.rates["wlan0"]; got < 15e6 {
		t.Errorf("a line that carried 20 Mbit/s a moment ago begins at %d", got)
	}
	// Another line starts with a state of its own.
	other := *d
	other.uplink.Index = 8
	p.follow(&other, "wlan0")
	if got := m.rates["wlan0"]; m.open != 1 || got > 10e6 {
		t.Errorf("another line begins at %d with %d meters", got, m.open)
	}
	// Two lines used alternately: neither is measured from the start each time.
	m.capacity = 8e6
	run(p, m, time.Minute)
	for range 3 {
		m.capacity, m.queue = 30e6, 0
		p.follow(d, "wlan0")
		if got := m.rates["wlan0"]; got < 14e6 {
			t.Errorf("the line that carried 20 Mbit/s comes back at %d", got)
		}
		run(p, m, 2*time.Minute)
		m.capacity, m.queue = 8e6, 0
		p.follow(&other, "wlan0")
		if got := m.rates["wlan0"]; got < 5e6 || got > 9e6 {
			t.Errorf("the line that carried 8 Mbit/s comes back at %d", got)
		}
		run(p, m, 2*time.Minute)
	}
	for i := range 100 {
		other.uplink.Index = 100 + i
		p.follow(&other, "wlan0")
	}
	if n := len(p.others); n > maxLines {
		t.Errorf("%d lines are remembered", n)
	}
	m.err = errors.New("no such device")
	p.tick()
	if p.err == nil || p.status(&other) != nil {
		t.Error("a line that is gone has a status")
	}
	p.stop()
}

// TestPacerWithoutProbes: the queue of a line that answers no probe, or whose cap is spent, still does not fill up.
func TestPacerWithoutProbes(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]config.Donation{
		"deaf":  {Name: "Karim", Download: 20e6, Upload: 5e6, Autorate: true},
		"spent": {Name: "Karim", Download: 20e6, Upload: 5e6, Autorate: true, Cap: 1e9},
	} {
		m := &modem{capacity: 8e6, deaf: name == "deaf"}
		p, d := paced(m, d)
		p.follow(d, "wlan0")
		run(p, m, time.Minute)
		if got := m.rates["wlan0"]; got < 3e6 || got > 11e6 {
			t.Errorf("%s: the rate is %d on a line of 8 Mbit/s", name, got)
		}
		if s := p.status(d); s == nil || !s.Unprobed {
			t.Errorf("%s: the status is %+v", name, s)
		}
		if name == "spent" && m.probes != 0 {
			t.Errorf("%d probes for a cap of which nothing is left", m.probes)
		}
		p.stop()
	}
}

// TestPassed: bytes that arrived, and neither were sent to residents nor wait to be sent, are lost.
func TestPassed(t *testing.T) {
	t.Parallel()
	var p passed
	for i, c := range []struct {
		arrived, sent, backlog, lost uint64
	}{
		{5000, 1000, 4000, 0},    // nothing is known yet
		{5000, 4000, 4000, 2000}, // 3000 left
		{5000, 9000, 4000, 0},    // all
		{5000, 9000, 9000, 0},    // all waits
		{5000, 17000, 0, 5000},   // of 14,000, 8000 were sent: no more is lost than arrived
		{0, 18000, 0, 0},         // a page of the box
		{1000, 0, 0, 0},          // another class
		{1000, 100, 0, 900},
	} {
		if got := p.lost(c.arrived, netctl.ShaperLoad{Sent: c.sent, Backlog: c.backlog}); got != c.lost {
			t.Errorf("reading %d: %d bytes are lost, want %d", i, got, c.lost)
		}
	}
}

// TestProbeBudget: probes stay within a megabyte an hour and a thousandth of the daily budget, also over several days.
func TestProbeBudget(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	for _, c := range []struct {
		name        string
		cap, daily  uint64
		most, least float64 // bytes in three days
	}{
		{"no cap", 0, 0, 73e6, 60e6},
		{"100 MB a day", 1e9, 100e6, 400e3 + 100, 390e3},
		{"nothing known", 1e9, 0, 0, 0},
	} {
		var b probeBudget
		d := &donation{Donation: config.Donation{Cap: config.Size(c.cap)}}
		d.balance.DailyBudget = c.daily
		spent := 0.
		for i := range 3 * 24 * 3600 * 4 {
			at := now.Add(time.Duration(i) * 250 * time.Millisecond)
			if i%8 == 0 {
				b.configure(d, at)
			}
			if b.affords(at) {
				b.spend(at)
				spent += uplink.ProbeBytes
			}
		}
		if spent > c.most || spent < c.least {
			t.Errorf("%s: %.0f bytes of probes in three days, want %.0f to %.0f", c.name, spent, c.least, c.most)
		}
	}
}
