package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vishvananda/netlink"

	"passerelle/appliance/config"
	"passerelle/netctl/netlab"
)

// limited is a box with a limit for each resident. Every resident has one transfer, all at the same time.
type limited struct {
	rate    config.Rate
	offload bool
	box     *gated
	trials  []*trial
}

// trial is one resident's transfer.
type trial struct {
	resident int
	reverse  bool
	streams  int
	transfer *netlab.Transfer
	passed   []reading // bytes that passed the queue, over time
}

// reading is the value of a counter at a time.
type reading struct {
	at    time.Time
	bytes uint64
}

// fewFrames is the limit in bit/s below which single lost frames show in five seconds.
const fewFrames = 2e6

// limit measures goodput in windows of five seconds, and beside it what the queue passed, with headers and retransmissions. The former
// is what a resident gets of the limit, the latter what the box enforces. All boxes run at the same time, since together they move
// less than a tenth of what the machine can.
func limit(ctx context.Context, b *bench) (rows []row, err error) {
	var boxes []*limited
	defer func() {
		for _, l := range boxes {
			err = errors.Join(err, l.box.Close())
		}
	}()
	for _, rate := range []config.Rate{500e3, 1e6, 5e6, 20e6} {
		for _, offload := range []bool{true, false} {
			g, err := gatedScene(ctx, standard(netlab.Options{Residents: 4, Direct: true, NoOffload: !offload}),
				config.Limits{Download: rate, Upload: rate}, config.Donation{Download: 10 * rate, Upload: 10 * rate})
			if err != nil {
				return nil, err
			}
			boxes = append(boxes, &limited{rate: rate, offload: offload, box: g})
			if err := g.admit(ctx, 0); err != nil {
				return nil, err
			}
		}
	}
	const skip, window = 2 * time.Second, 5 * time.Second
	length := orQuick(b, 17*time.Second, skip+window+time.Second)
	b.logf("  %d limits, %v at once", len(boxes), length)
	for _, l := range boxes {
		if err := l.start(ctx); err != nil {
			return nil, err
		}
	}
	for end := time.Now().Add(length); time.Now().Before(end); {
		for _, l := range boxes {
			if err := l.read(); err != nil {
				return nil, err
			}
		}
		if err := sleep(ctx, netlab.Tick); err != nil {
			return nil, err
		}
	}
	for _, l := range boxes {
		for _, reverse := range []bool{true, false} {
			r := row{
				what:   fmt.Sprintf("limit of %g Mbit/s %s", float64(l.rate)/1e6, directionOf(reverse, l.offload)),
				target: "0.93 to 1.00 in every 5 s",
			}
			least, near := 0.93, false
			if l.rate < fewFrames {
				r.target, least, near = "0.90 to 1.00 in every 5 s; on the wire 0.97 to 1.03 in every second", 0.9, true
			}
			good := true
			for _, t := range l.trials {
				if t.reverse != reverse {
					continue
				}
				low, high := t.goodput(skip, window, length)
				passedLow, passedHigh := t.wire(skip, time.Second)
				limit := float64(l.rate)
				good = good && low/limit >= least && high/limit <= 1
				good = good && (!near || passedLow/limit >= 0.97 && passedHigh/limit <= 1.03)
				if r.measured != "" {
					r.measured, r.beside = r.measured+"; ", r.beside+"; "
				}
				r.measured += fmt.Sprintf("%.3f to %.3f (%s)", low/limit, high/limit, streams(t.streams))
				r.beside += fmt.Sprintf("%.3f to %.3f", passedLow/limit, passedHigh/limit)
			}
			r.met = verdictOf(good)
			b.logf("  %s: %s; on the wire %s", r.what, r.measured, r.beside)
			r.beside = "on the wire, every second, " + r.beside
			rows = append(rows, r)
		}
	}
	for _, l := range boxes {
		for _, t := range l.trials {
			err = errors.Join(err, t.transfer.Stop())
		}
	}
	return rows, err
}

// goodput returns the lowest and the highest goodput of all windows, in bit/s.
func (t *trial) goodput(skip, window, length time.Duration) (low, high float64) {
	var all []float64
	for from := skip; from+window <= length; from += netlab.Tick {
		all = append(all, t.transfer.Rate(from, from+window))
	}
	return slices.Min(all), slices.Max(all)
}

// wire returns the lowest and the highest rate that the queue passed in all windows, in bit/s.
func (t *trial) wire(skip, window time.Duration) (low, high float64) {
	var all []float64
	first := t.passed[0].at.Add(skip)
	for i, from := range t.passed {
		if from.at.Before(first) {
			continue
		}
		for _, to := range t.passed[i:] {
			if d := to.at.Sub(from.at); d >= window {
				all = append(all, float64(to.bytes-from.bytes)*8/d.Seconds())
				break
			}
		}
	}
	return slices.Min(all), slices.Max(all)
}

// read records what the queues have passed.
func (l *limited) read() error {
	for device, reverse := range map[string]bool{netlab.HotspotInterface: true, "eth0": false} {
		link, err := l.box.Box.Netlink().LinkByName(device)
		if err != nil {
			return err
		}
		classes, err := l.box.Box.Netlink().ClassList(link, 0)
		if err != nil {
			return fmt.Errorf("list classes of %s: %w", device, err)
		}
		now := time.Now()
		for _, c := range classes {
			_, minor := netlink.MajorMinor(c.Attrs().Handle)
			for _, t := range l.trials {
				// A class's number is its resident's position in the network.
				if t.reverse == reverse && int(minor) == t.resident+2 {
					t.passed = append(t.passed, reading{now, c.Attrs().Statistics.Basic.Bytes})
				}
			}
		}
	}
	return nil
}

// start makes each resident load the limit in a different way.
func (l *limited) start(ctx context.Context) error {
	for k, r := range l.box.Residents {
		t := &trial{resident: k, reverse: k%2 == 0, streams: 1}
		if k/2 == 1 {
			t.streams = 8
		}
		var err error
		t.transfer, err = netlab.Bulk{
			From: r.Host, To: l.box.Internet.Host, Addr: netlab.WebAddr, Streams: t.streams, Reverse: t.reverse,
		}.Start(ctx)
		if err != nil {
			return err
		}
		l.trials = append(l.trials, t)
	}
	return nil
}

func directionOf(reverse, offload bool) string {
	text := "up"
	if reverse {
		text = "down"
	}
	if offload {
		return text + ", offload on"
	}
	return text + ", offload off"
}

func streams(n int) string {
	if n == 1 {
		return "1 stream"
	}
	return fmt.Sprintf("%d streams", n)
}
