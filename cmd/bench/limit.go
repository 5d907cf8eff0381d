package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"passerelle/appliance/config"
	"passerelle/netctl/netlab"
)

// limited is a box whose residents have a limit, and the transfers that try it, all at once: each resident's own.
type limited struct {
	rate    config.Rate
	offload bool
	box     *gated
	trials  []trial
}

// trial is one resident's transfer.
type trial struct {
	reverse  bool
	streams  int
	transfer *netlab.Transfer
}

// limit measures goodput in windows of five seconds. All boxes run at the same time: together they move less than a
// tenth of what the machine can.
func limit(ctx context.Context, b *bench) (rows []row, err error) {
	var boxes []*limited
	defer func() {
		for _, l := range boxes {
			err = errors.Join(err, l.box.Close())
		}
	}()
	for _, rate := range []config.Rate{1e6, 5e6, 20e6} {
		for _, offload := range []bool{true, false} {
			g, err := gatedScene(ctx, standard(netlab.Options{Residents: 4, Direct: true, NoOffload: !offload}),
				config.Limits{Download: rate, Upload: rate}, config.Donation{Download: 10 * rate, Upload: 10 * rate})
			if err != nil {
				return nil, err
			}
			boxes = append(boxes, &limited{rate: rate, offload: offload, box: g})
			if err := g.admitAll(); err != nil {
				return nil, err
			}
		}
	}
	const skip, window = 2 * time.Second, 5 * time.Second
	length := short(b, 17*time.Second, skip+window+time.Second)
	b.say("  %d limits, %v at once", len(boxes), length)
	for _, l := range boxes {
		if err := l.start(ctx); err != nil {
			return nil, err
		}
	}
	if err := pause(ctx, length+netlab.Tick); err != nil {
		return nil, err
	}
	for _, l := range boxes {
		for _, reverse := range []bool{true, false} {
			r := row{what: fmt.Sprintf("limit of %d Mbit/s %s", l.rate/1e6, directionOf(reverse, l.offload)), target: "0.93 to 1.00 in every 5 s"}
			good := true
			for _, t := range l.trials {
				if t.reverse != reverse {
					continue
				}
				var windows []float64
				for from := skip; from+window <= length; from += netlab.Tick {
					windows = append(windows, t.transfer.Rate(from, from+window)/float64(l.rate))
				}
				low, high := slices.Min(windows), slices.Max(windows)
				good = good && low >= 0.93 && high <= 1
				if r.measured != "" {
					r.measured += "; "
				}
				r.measured += fmt.Sprintf("%.3f to %.3f (%s)", low, high, streams(t.streams))
			}
			r.met = judge(good)
			b.say("  %s: %s", r.what, r.measured)
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

// start has each resident try the limit in another way.
func (l *limited) start(ctx context.Context) error {
	for k, r := range l.box.Residents {
		t := trial{reverse: k%2 == 0, streams: 1}
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
