package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"passerelle/cmd/internal/box"
	"passerelle/netctl/netlab"
)

const threeLines = `
[[donation]]
name = "Box de la mairie"
interface = "eth1"
cap = "20GB"
priority = 2
[[donation]]
name = "Téléphone d'Ana"
interface = "eth2"
cap = "2GB"
priority = 3
`

// failure is a way to make a line fail, and to restore it.
type failure struct {
	what       string
	limit      time.Duration // time until another line must have taken over
	typical    bool          // it stands for the others when two builds are compared
	fail, mend func(context.Context, *daemon, *netlab.Lender) error
}

var failures = []failure{
	{
		"its link is cut", 5 * time.Second, true,
		func(_ context.Context, _ *daemon, l *netlab.Lender) error { return l.LAN.Cut() },
		func(_ context.Context, _ *daemon, l *netlab.Lender) error { return l.LAN.Restore() },
	},
	{
		"its address is lost", 5 * time.Second, false,
		func(_ context.Context, d *daemon, l *netlab.Lender) error { return d.Box.RemoveAddresses(l.Interface) },
		func(_ context.Context, _ *daemon, l *netlab.Lender) error { return l.Configure() },
	},
	{
		"its default route is lost", 5 * time.Second, false,
		func(ctx context.Context, d *daemon, l *netlab.Lender) error {
			_, err := d.Box.Run(ctx, "ip", "route", "del", "default", "dev", l.Interface)
			return err
		},
		func(_ context.Context, _ *daemon, l *netlab.Lender) error { return l.Configure() },
	},
	{
		"it is unplugged", 5 * time.Second, false,
		func(_ context.Context, _ *daemon, l *netlab.Lender) error { return l.Unplug() },
		func(_ context.Context, _ *daemon, l *netlab.Lender) error { return l.Plug() },
	},
	{
		"its way out is dead beyond the lender's router", 30 * time.Second, true,
		func(_ context.Context, _ *daemon, l *netlab.Lender) error { return l.WAN.Cut() },
		func(_ context.Context, _ *daemon, l *netlab.Lender) error { return l.WAN.Restore() },
	},
}

// failover makes the line in use fail, one of three. It measures how long a resident who opens a connection every 50 ms gets no
// answer: from the last byte before to the first one after.
func failover(ctx context.Context, b *bench) (rows []row, err error) {
	d, err := b.startDaemon(ctx, netlab.Options{Residents: 1, Uplinks: 3}, box.Setup{More: threeLines})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := servePage(d.Internet.Host); err != nil {
		return nil, err
	}
	r := d.Residents[0]
	if err := r.Do(func() error { return askOnce(portalAddress, pressButton, "HTTP/1.1 303") }); err != nil {
		return nil, err
	}
	calls := startCalls(ctx, 50*time.Millisecond, r)
	defer calls.stop()

	var all []variant[time.Duration]
	for _, f := range failures {
		all = append(all, variant[time.Duration]{f.what, func(ctx context.Context) (time.Duration, error) {
			return d.outage(ctx, calls, f)
		}})
	}
	results, err := interleave(ctx, b, "no answer after", all)
	if err != nil {
		return nil, err
	}
	for i, f := range failures {
		gap := spreadOf(values(results[i], time.Duration.Seconds))
		rows = append(rows, row{
			what:     "no answer to new connections when a line is lost: " + f.what,
			target:   fmt.Sprintf("≤ %v", f.limit),
			measured: gap.String() + " s",
			met:      verdictOf(gap.high <= f.limit.Seconds()),
		})
	}
	return rows, nil
}

// outage makes the line in use fail, and returns the time without an answer. The line works again when it returns.
func (d *daemon) outage(ctx context.Context, c *connector, f failure) (time.Duration, error) {
	used, err := d.Chosen(ctx)
	if err != nil {
		return 0, err
	}
	l := d.Lenders[used]
	if err := c.await(ctx, time.Now()); err != nil {
		return 0, err
	}
	start := time.Now()
	if err := f.fail(ctx, d, l); err != nil {
		return 0, err
	}
	if err := d.Until(ctx, "another line to take over", func() error {
		now, err := d.Chosen(ctx)
		if err == nil && (now < 0 || now == used) {
			err = fmt.Errorf("line %d is used", now)
		}
		return err
	}); err != nil {
		return 0, err
	}
	if err := c.await(ctx, time.Now()); err != nil {
		return 0, err
	}
	gap := c.longest(start)
	if err := f.mend(ctx, d, l); err != nil {
		return 0, err
	}
	if err := d.Until(ctx, "the line to work again", func() error {
		s, err := d.Status(ctx)
		if err == nil && !s.Donations[used].Works {
			err = errors.New(s.Donations[used].Why)
		}
		return err
	}); err != nil {
		return 0, err
	}
	// The lender's bridge may detect the carrier a second later than the box (net/core/link_watch.c). A failover to that line must not
	// include that wait.
	return gap, sleep(ctx, 2*time.Second)
}

// connector opens residents' connections at an interval, in turn, and waits up to a second for each answer.
type connector struct {
	cancel context.CancelFunc
	all    sync.WaitGroup

	mu      sync.Mutex
	answers []time.Time // when their first bytes arrived
}

func startCalls(ctx context.Context, every time.Duration, residents ...*netlab.Resident) *connector {
	ctx, cancel := context.WithCancel(ctx)
	c := &connector{cancel: cancel}
	c.all.Go(func() {
		for k := 0; sleep(ctx, every) == nil; k++ {
			r := residents[k%len(residents)]
			c.all.Go(func() {
				if call(ctx, r) == nil {
					c.mu.Lock()
					defer c.mu.Unlock()
					c.answers = append(c.answers, time.Now())
				}
			})
		}
	})
	return c
}

// call fetches the first bytes of a page over a new connection. It then resets the connection, which would otherwise stay in the
// conntrack table for minutes.
func call(ctx context.Context, r *netlab.Resident) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := r.Dial(ctx, "tcp4", pageAddress.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	return ask(conn, getInternet, "HTTP/1.1 200")
}

func (c *connector) stop() {
	c.cancel()
	c.all.Wait()
}

// await waits for an answer after a given time.
func (c *connector) await(ctx context.Context, moment time.Time) error {
	for deadline := time.Now().Add(timeout); ; {
		c.mu.Lock()
		there := len(c.answers) > 0 && c.answers[len(c.answers)-1].After(moment)
		c.mu.Unlock()
		switch {
		case there:
			return nil
		case time.Now().After(deadline):
			return errors.New("the resident gets no answers")
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

// longest returns the longest time without an answer, starting from the last answer before since.
func (c *connector) longest(since time.Time) (gap time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	first, _ := slices.BinarySearchFunc(c.answers, since, time.Time.Compare)
	for i := max(first, 1); i < len(c.answers); i++ {
		gap = max(gap, c.answers[i].Sub(c.answers[i-1]))
	}
	return gap
}
