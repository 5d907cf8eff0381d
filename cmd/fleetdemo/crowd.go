package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"passerelle/appliance/fleet"
	"passerelle/appliance/fleet/protocol"
	"passerelle/appliance/fleet/rollout"
	"passerelle/netctl/netlab"
)

// pace is that of the simulated boxes: people would not wait for the usual one.
var pace = fleet.Pace{Ask: time.Second, Retry: time.Second, Most: 2 * time.Second, Spread: time.Second}

// away is the longest that a simulated box waits before it connects again.
var away = pace.Retry + pace.Most

func paceText() string {
	return fmt.Sprintf("up to %s of chance before a round that wakes many, up to %s before a connection that failed is tried again", pace.Spread, away)
}

// crowd are boxes of the client's code whose daemons do nothing, in this process.
type crowd struct {
	hubs    *hubs
	boxes   []*simulated
	bytes   atomic.Int64 // to and from the hubs: TLS records, without TCP and IP
	offered atomic.Pointer[released]
	night   atomic.Bool // boxes that have a release start it
	stop    context.CancelFunc
	runs    sync.WaitGroup
}

// simulated is one of them.
type simulated struct {
	*fleet.Client

	crowd *crowd

	mu      sync.Mutex
	wants   map[string]string // reports that the hub should show
	version string            // that it runs
	stage   rollout.Memory    // of the release that is offered
}

// newCrowd starts so many boxes, that are in no fleet yet. Each would have a card of its own: their folders are in the world's memory, so
// that they do not keep the hubs' disk busy.
func newCrowd(h *hubs, n int, w *netlab.World) (*crowd, error) {
	dir, err := w.MemoryDir()
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &crowd{hubs: h, stop: stop}
	c.night.Store(true)
	for i := range n {
		b := &simulated{crowd: c, wants: map[string]string{}, version: firstVersion}
		client, err := fleet.New(fleet.Options{
			Dir: filepath.Join(dir, strconv.Itoa(i)), Hubs: h.Addresses(), Bundle: h.Bundle, Pace: pace, Now: time.Now, Random: rand.Float64,
			Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Dial: c.dial,
			Box: fleet.Box{Command: func([]byte) {}, Reports: b.reports, Shown: b.shown, Fetch: b.fetch},
		})
		if err != nil {
			c.close()
			return nil, err
		}
		b.Client = client
		c.boxes = append(c.boxes, b)
		c.runs.Go(func() { client.Run(ctx) })
		client.SetLine(fleet.Line{Name: "fibre", Mode: fleet.Connected})
	}
	return c, nil
}

// offer has people sign a release for the boxes. Each believes that at once: to verify it is a real box's part of the story.
func (c *crowd) offer(r released) { c.offered.Store(&r) }

// waitForNight has boxes keep a release in their other slot, until fallNight.
func (c *crowd) waitForNight() { c.night.Store(false) }

// fallNight has the boxes start what they have, if they still may.
func (c *crowd) fallNight() {
	c.night.Store(true)
	for _, b := range c.boxes {
		b.start()
	}
}

// fetch hears how far the release may go, and starts it if it is this box's turn, by the rules of a real box.
func (b *simulated) fetch(ctx context.Context, from fleet.Source, _ fleet.Group) {
	r := b.crowd.offered.Load()
	if r == nil {
		return
	}
	text, err := from.Read(ctx, rollout.File, rollout.Limit)
	if err != nil { // there is none yet
		return
	}
	b.mu.Lock()
	b.stage, _ = b.stage.Hear(text, r.rule.Key) // one that is refused changes nothing
	b.mu.Unlock()
	b.start()
}

// start starts the release that is offered, if it is this box's turn and night.
func (b *simulated) start() {
	r := b.crowd.offered.Load()
	b.mu.Lock()
	defer b.mu.Unlock()
	wait := rollout.Decide(rollout.Facts{
		Rule: r.rule, Release: r.hash, Box: b.Status().Box, Stage: b.stage.Stage(r.rule.Key), Now: time.Now(), Trusted: true,
	})
	if wait != "" || b.version == r.version || !b.crowd.night.Load() {
		return
	}
	b.version = r.version
	name, body := dayOf(time.Now(), r.version)
	b.wants[name] = body
	b.Look()
}

// runs tells whether the box runs a version.
func (b *simulated) runs(version string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.version == version
}

// heard tells whether the box knows a stage with that number.
func (b *simulated) heard(number int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.stage.Stage(b.crowd.offered.Load().rule.Key)
	return s != nil && s.Number >= number
}

func (c *crowd) close() {
	c.stop()
	c.runs.Wait()
}

func (c *crowd) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := c.hubs.Dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return counted{conn, &c.bytes}, nil
}

// counted counts a connection's bytes in both directions.
type counted struct {
	net.Conn
	bytes *atomic.Int64
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.bytes.Add(int64(n))
	return n, err
}

func (c counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.bytes.Add(int64(n))
	return n, err
}

// reports is what the box wants the hub to show. A report is done when a later round has read it back, so there must be one.
func (b *simulated) reports() (all []fleet.Report) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, body := range b.wants {
		all = append(all, fleet.Report{Name: name, Body: []byte(body)})
	}
	if len(all) > 0 {
		b.Look()
	}
	return all
}

func (b *simulated) shown(r fleet.Report) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.wants[r.Name] == string(r.Body) {
		delete(b.wants, r.Name)
	}
}

func (b *simulated) delivered() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.wants) == 0
}

// report has every box report the same.
func (c *crowd) report(name, body string) {
	for _, b := range c.boxes {
		b.mu.Lock()
		b.wants[name] = body
		b.mu.Unlock()
		b.Look()
	}
}

// association is where a box belongs: they take turns.
func association(i int) string { return []string{"lilas", "roses"}[i%2] }

// count returns how many boxes are so.
func (c *crowd) count(ok func(*simulated) bool) (n int) {
	for _, b := range c.boxes {
		if ok(b) {
			n++
		}
	}
	return n
}

// all waits until each box was so once, and returns how long that took.
func (c *crowd) all(ctx context.Context, what string, ok func(*simulated) bool) (time.Duration, error) {
	next := 0
	return until(ctx, what, func() error {
		for next < len(c.boxes) && ok(c.boxes[next]) {
			next++
		}
		if next < len(c.boxes) {
			return fmt.Errorf("%d of %d boxes are so now; the first that is not: %+v", c.count(ok), len(c.boxes), c.boxes[next].Status())
		}
		return nil
	})
}

func connected(b *simulated) bool { return b.Status().Connected }

func inRegion(region string) func(*simulated) bool {
	return func(b *simulated) bool { return b.Status().Region == region }
}

// stickers makes a code for each box, as people do before boxes are sent out.
func (c *crowd) stickers(ctx context.Context) ([]string, error) {
	codes := make([]string, len(c.boxes))
	people, ctx := errgroup.WithContext(ctx)
	people.SetLimit(64)
	for i := range codes {
		people.Go(func() (err error) {
			codes[i], err = c.hubs.Desk.MakeSticker(ctx, "Ana", association(i), time.Now().AddDate(0, 0, 1))
			return err
		})
	}
	return codes, people.Wait()
}

// atOnce is how many boxes are being enrolled at a time, each by somebody.
const atOnce = 100

// enrol has every box ask with its code, and people confirm each by its four words. It returns how long all took until the last one
// was a member, connected, and had a round.
func (c *crowd) enrol(ctx context.Context, codes []string) (time.Duration, error) {
	start := time.Now()
	people, ctx := errgroup.WithContext(ctx)
	people.SetLimit(atOnce)
	const glance = 50 * time.Millisecond // people look less often, and looks take from the same processor as the hubs
	for i, b := range c.boxes {
		people.Go(func() error {
			if err := b.Enrol(codes[i]); err != nil {
				return err
			}
			is := func(what string, ok func(fleet.Status) bool) error {
				_, err := untilEvery(ctx, glance, what, func() error {
					if s := b.Status(); !ok(s) {
						return notYet(s)
					}
					return nil
				})
				return err
			}
			if err := is("a box waits for its person", func(s fleet.Status) bool { return s.Stage == fleet.Waiting }); err != nil {
				return err
			}
			words := b.Status().Words
			if err := c.hubs.Desk.Confirm(ctx, "Ana", b.Status().Box, words[:]); err != nil {
				return err
			}
			return is("a box is a member, and had a round", func(s fleet.Status) bool {
				return s.Stage == fleet.Member && s.Connected && !s.Round.IsZero()
			})
		})
	}
	err := people.Wait()
	return time.Since(start), err
}

// notYet says how a box is that is not as it is waited for. Few of many are ever read.
type notYet fleet.Status

func (s notYet) Error() string { return fmt.Sprintf("%+v", fleet.Status(s)) }

// move puts both associations into another region, and returns how long it took until every box of them knew.
func (c *crowd) move(ctx context.Context, region string) (time.Duration, error) {
	start := time.Now()
	if err := errors.Join(c.hubs.association(ctx, "lilas", region), c.hubs.association(ctx, "roses", region)); err != nil {
		return 0, err
	}
	_, err := c.all(ctx, "every box knows its region", inRegion(region))
	return time.Since(start), err
}

// day is a day's report, of the days from 1.
func day(n int) (name, body string) {
	return dayOf(time.Date(2027, 1, n, 0, 0, 0, 0, time.UTC), firstVersion)
}

// dayOf is the report of a day on which the box runs a version.
func dayOf(at time.Time, version string) (name, body string) {
	d := protocol.Day(at.Format(time.DateOnly))
	return d.Report(), fmt.Sprintf(`{"form":1,"day":%q,"release":%q,"state":"sharing","sessions":17,"slow":"<5","refused":"<5",`+
		`"donations":[{"n":1,"kind":"cable","day":1234567890,"used":12345678901,"cap":200000000000,"left":187654321099,"state":"used"}],"faults":[]}`, d, version)
}
