package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	fleetcommand "passerelle/appliance/fleet/command"
	"passerelle/appliance/fleet/protocol"
	"passerelle/appliance/state"
	"passerelle/cmd/internal/box"
	"passerelle/cmd/internal/cluster"
	"passerelle/netctl/netlab"
)

// Times of the fleet's rows.
const (
	fleetTurn = 10 * time.Second // of transfers: a box that lost its hub tries again after 5 to 10 s
	wakeEvery = time.Second      // while the hub runs
	// A flapping hub is killed this long after its start, and restarted at once.
	flapLeast, flapMost = time.Second, 2 * time.Second
)

// fleetStreams is the number of streams at which the cores are the bottleneck.
const fleetStreams = 4

// association is the association of the member.
const association = "lilas"

// member is a box in a fleet with one hub. Only in this benchmark do hub and box share a machine, and the start of a hub alone uses
// 0.17 s of its CPU. So a hub flaps in every turn: the box's own, or that of another fleet, which the box does not know. Only what the
// box does differs.
type member struct {
	*daemon
	name       string // in its fleet
	own, other *cluster.Cluster
	wakes      int
}

// fleet compares residents' throughput while the box's hub is up, while it is down, and while it is killed and started repeatedly.
func fleet(ctx context.Context, b *bench) (rows []row, err error) {
	d, err := b.startDaemon(ctx, netlab.Options{Residents: 1, Direct: true, NoOffload: true}, box.Setup{
		Limits: unlimited.Limits, Donation: everyHigh.Donation, More: cluster.Section(cluster.Site(0)),
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	m := &member{daemon: d}
	if err := m.enrol(ctx); err != nil {
		return nil, fmt.Errorf("enrol the box: %w", err)
	}
	defer m.own.Close()
	const reverse, offload = true, false
	what := "throughput " + kindOf(reverse, offload) + ", of a box in a fleet"
	var all []variant[transfer]
	for _, t := range []hubTurn{m.off(), m.on(), m.flapping()} {
		all = append(all, variant[transfer]{t.name, func(ctx context.Context) (transfer, error) { return m.play(ctx, b, t, reverse) }})
	}
	there := *b // forwards and backwards: other load changes within a round
	there.rounds *= 2
	results, err := interleave(ctx, &there, what, all)
	if err != nil {
		return nil, err
	}
	for i, turns := range results {
		results[i] = nil
		for pair := range slices.Chunk(turns, 2) {
			results[i] = append(results[i], mean(pair))
		}
	}
	return []row{
		besideOff(fmt.Sprintf("%s, hub on, %d wakes", what, m.wakes), results[1], results[0]),
		besideOff(fmt.Sprintf("%s, hub flapping, killed and started each %v to %v", what, flapLeast, flapMost), results[2], results[0]),
	}, nil
}

// besideOff returns a row that compares turns with those without a hub.
func besideOff(what string, turns, off []transfer) row {
	gigabits := func(all []transfer) spread {
		return spreadOf(values(all, func(t transfer) float64 { return t.rate / 1e9 }))
	}
	with, without, r := gigabits(turns), gigabits(off), ratio(values(turns, rateOf), values(off, rateOf))
	return row{
		what: what, target: "≥ 0.95 of hub off, ranges overlap",
		measured: significant(with, "Gbit/s"), beside: "hub off: " + significant(without, "Gbit/s"), ratio: r.String(),
		met: verdictOf(r.median >= 0.95 && with.overlaps(without)),
	}
}

// enrol creates the fleets, and makes the box a member of one. No hub runs when it returns.
func (m *member) enrol(ctx context.Context) (err error) {
	program := filepath.Join(m.Dir(), "hub")
	if err := box.Build(ctx, "hub", program); err != nil {
		return err
	}
	for i, c := range []**cluster.Cluster{&m.own, &m.other} {
		if *c, err = cluster.New(ctx, m.Internet, program, filepath.Join(m.Dir(), fmt.Sprintf("fleet-%d", i+1)), cluster.Site(i)); err != nil {
			return err
		}
	}
	if err := m.trustClock(ctx); err != nil {
		return err
	}
	if err := m.own.Start(0); err != nil {
		return err
	}
	if err := m.Until(ctx, "the association to be in the fleet", func() error {
		_, err := m.own.Run(ctx, 0, "association add", association)
		return err
	}); err != nil {
		return err
	}
	name, words, err := m.own.Join(ctx, m.Daemon, association)
	if err != nil {
		return err
	}
	m.name = name
	if err := m.Until(ctx, "the hub to confirm the box", func() error {
		_, err := m.own.Run(ctx, 0, "box confirm", append([]string{name}, words...)...)
		return err
	}); err != nil {
		return err
	}
	if err := m.is(ctx, "a connected member", isConnected); err != nil {
		return err
	}
	return m.own.Kill(0)
}

// trustClock confirms that the box's clock is right, as somebody does at a box that cannot reach a time server. Without that, the box
// reports no day.
func (m *member) trustClock(ctx context.Context) error {
	_, err := m.Do(ctx, "clock", "--confirm")
	return err
}

func isConnected(f state.Fleet) bool { return f.Connected && !f.Contact.IsZero() }

// is waits until ok accepts the box's state in its fleet.
func (m *member) is(ctx context.Context, what string, ok func(state.Fleet) bool) error {
	return m.Until(ctx, "the box to be "+what, func() error {
		s, err := m.Status(ctx)
		if err != nil {
			return err
		}
		if s.Fleet == nil || !ok(*s.Fleet) {
			return fmt.Errorf("it is %s, in its fleet %+v", s.State, s.Fleet)
		}
		return nil
	})
}

// misses waits until the box has failed to reach its hub, or has lost it.
func (m *member) misses(ctx context.Context) error {
	return m.is(ctx, "without its hub", func(f state.Fleet) bool { return !f.Connected && f.Error != "" })
}

// restart restarts the daemon, with a resident online. The daemon forgets how its connections ended, so it tries as often as it ever
// does, and it reports its day again.
func (m *member) restart(ctx context.Context) error {
	if err := m.Restart(ctx); err != nil {
		return err
	}
	if err := m.trustClock(ctx); err != nil {
		return err
	}
	return m.Admit(ctx, m.Residents...)
}

// hubTurn is what happens before, during and after transfers. No hub runs after it.
type hubTurn struct {
	name          string
	before, after func(context.Context) error
	during        func(context.Context) error // runs until ctx ends, which is not an error
}

// off is a turn in which the box cannot reach its hub.
func (m *member) off() hubTurn {
	return hubTurn{
		name: "hub off",
		before: func(ctx context.Context) error {
			if err := m.restart(ctx); err != nil {
				return err
			}
			return m.misses(ctx)
		},
		during: func(ctx context.Context) error { return flap(ctx, m.other) },
		after:  m.misses,
	}
}

// on is a turn in which the hub wakes the box repeatedly, and the box reports its day.
func (m *member) on() hubTurn {
	var report string // name of the day's report
	var before []byte
	return hubTurn{
		name: "hub on",
		before: func(ctx context.Context) error {
			if err := m.connect(ctx); err != nil {
				return err
			}
			s, err := m.Status(ctx)
			if err != nil {
				return err
			}
			report = protocol.Day(s.Clock.Now.Format(time.DateOnly)).Report()
			before, err = m.own.Desk.Report(ctx, association, m.name, report)
			return err
		},
		during: func(ctx context.Context) error {
			var both errgroup.Group
			both.Go(func() error { return m.wake(ctx) })
			both.Go(func() error { return flap(ctx, m.other) })
			return both.Wait()
		},
		after: func(ctx context.Context) error {
			if err := m.Until(ctx, "the hub to show the day", func() error {
				now, err := m.own.Desk.Report(ctx, association, m.name, report)
				if err == nil && (len(now) == 0 || bytes.Equal(now, before)) {
					err = errors.New("it shows what it did before")
				}
				return err
			}); err != nil {
				return err
			}
			m.own.Close()
			return errors.Join(m.is(ctx, "still connected", isConnected), m.own.Kill(0))
		},
	}
}

// flapping is a turn in which the box's hub is killed and started repeatedly.
func (m *member) flapping() hubTurn {
	return hubTurn{
		name: "hub flapping",
		before: func(ctx context.Context) error {
			err := m.connect(ctx)
			m.own.Close()
			return err
		},
		during: func(ctx context.Context) error { return errors.Join(m.own.Kill(0), flap(ctx, m.own)) },
		after:  m.misses,
	}
}

// connect starts the hub and restarts the daemon. It returns once the box is connected.
func (m *member) connect(ctx context.Context) error {
	if err := m.own.Start(0); err != nil {
		return err
	}
	if err := m.Until(ctx, "the hub", func() error { return m.own.Open(ctx) }); err != nil {
		return err
	}
	if err := m.restart(ctx); err != nil {
		return err
	}
	return m.is(ctx, "connected", isConnected)
}

// wake wakes the box repeatedly until ctx ends.
func (m *member) wake(ctx context.Context) error {
	for sleep(ctx, wakeEvery) == nil {
		now := time.Now()
		text, err := json.Marshal(fleetcommand.Command{
			ID: fmt.Sprintf("wake-%d", now.UnixNano()), Action: fleetcommand.Resume, Expires: now.Add(time.Minute), By: "Ana",
		})
		if err != nil {
			return err
		}
		if err := m.own.Desk.PutCommand(context.WithoutCancel(ctx), "Ana", association, m.name, text); err != nil {
			return err
		}
		m.wakes++
	}
	return nil
}

// flap starts a fleet's hub and kills it repeatedly until ctx ends. The hub does not run afterwards.
func flap(ctx context.Context, c *cluster.Cluster) error {
	for ctx.Err() == nil {
		if err := c.Start(0); err != nil {
			return err
		}
		sleep(ctx, flapLeast+rand.N(flapMost-flapLeast))
		if err := c.Kill(0); err != nil {
			return err
		}
	}
	return nil
}

// play plays a turn, and returns the mean of its transfers, which run one after the other.
func (m *member) play(ctx context.Context, b *bench, t hubTurn, reverse bool) (transfer, error) {
	if err := t.before(ctx); err != nil {
		return transfer{}, err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- t.during(running) }()
	r := runner{resident: m.Residents[0], internet: m.Internet, streams: fleetStreams}
	var all []transfer
	var err error
	for end := time.Now().Add(orQuick(b, fleetTurn, 3*time.Second)); err == nil && time.Now().Before(end); {
		var one transfer
		one, err = r.transfer(ctx, b, reverse)
		all = append(all, one)
	}
	stop()
	if err = errors.Join(err, <-ended); err != nil {
		return transfer{}, err
	}
	return mean(all), t.after(ctx)
}

// mean returns the mean of each figure of the transfers.
func mean(all []transfer) (m transfer) {
	for _, t := range all {
		m.rate, m.cpu = m.rate+t.rate/float64(len(all)), m.cpu+t.cpu/float64(len(all))
	}
	return m
}
