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

// pace is the pace of the simulated boxes. It is faster than the usual one, for which the story would take too long.
var pace = fleet.Pace{Ask: time.Second, Retry: time.Second, Most: 2 * time.Second, Spread: time.Second}

// away is the longest delay before a simulated box connects again.
var away = pace.Retry + pace.Most

func paceText() string {
	return fmt.Sprintf("up to %s of chance before a round that wakes many, up to %s before a connection that failed is tried again", pace.Spread, away)
}

// crowd has the simulated boxes: they run the real client in this process, without the rest of a daemon.
type crowd struct {
	hubs    *hubs
	boxes   []*simulated
	bytes   atomic.Int64 // to and from the hubs: TLS records, without TCP and IP
	offered atomic.Pointer[released]
	night   atomic.Bool // whether boxes that have a release may start it
	stop    context.CancelFunc
	runs    sync.WaitGroup
}

// simulated is a simulated box.
type simulated struct {
	*fleet.Client

	crowd *crowd

	mu      sync.Mutex
	wants   map[string]string // reports that the box has not read back from a hub yet
	version string            // the version that it runs
	stage   rollout.Memory    // what it knows of stages
}

// newCrowd starts n boxes, which are in no fleet yet. Their folders are in memory: real boxes have a card each, and these should not load the
// disk of the hubs.
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

// offer makes a release known to the boxes. They trust it without verification, which only the real boxes of the story do.
func (c *crowd) offer(r released) { c.offered.Store(&r) }

// waitForNight has boxes keep a release in their other slot until fallNight is called.
func (c *crowd) waitForNight() { c.night.Store(false) }

// fallNight has the boxes start the release that they have, if they still may.
func (c *crowd) fallNight() {
	c.night.Store(true)
	for _, b := range c.boxes {
		b.start()
	}
}

// fetch reads how far the release may go, and starts it if it is this box's turn, by the rules of a real box.
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
	b.stage, _ = b.stage.Hear(text, r.rule.Key) // a stage that is refused changes nothing
	b.mu.Unlock()
	b.start()
}

// start starts the release that is offered, if it is this box's turn and if it is night.
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

// heard tells whether the box knows a stage with that number or a higher one.
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

// reports returns the box's pending reports. A report is done only when a later round has read it back, so it asks for another round.
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

// report has every box send the same report.
func (c *crowd) report(name, body string) {
	for _, b := range c.boxes {
		b.mu.Lock()
		b.wants[name] = body
		b.mu.Unlock()
		b.Look()
	}
}

// association returns the association of box i. The boxes alternate between the two.
func association(i int) string { return []string{"lilas", "roses"}[i%2] }

// count returns for how many boxes ok is true.
func (c *crowd) count(ok func(*simulated) bool) (n int) {
	for _, b := range c.boxes {
		if ok(b) {
			n++
		}
	}
	return n
}

// all waits until ok has been true for each box, though not for all at the same time. It returns how long that took.
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

// stickers makes a sticker's code for each box, as people do before boxes are sent out.
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

// atOnce is how many boxes are being enrolled at a time, each by a person of its own.
const atOnce = 100

// enrol has every box ask with its code, and confirms each by its four words, as people do. It returns how long it took until the last box
// was a member, was connected, and had had a round.
func (c *crowd) enrol(ctx context.Context, codes []string) (time.Duration, error) {
	start := time.Now()
	people, ctx := errgroup.WithContext(ctx)
	people.SetLimit(atOnce)
	const glance = 50 * time.Millisecond // not shorter, since checks use the hubs' cores; people look less often anyway
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

// notYet is the error of a box that is not yet in the state that is waited for. It is formatted only when it is read, which is rare.
type notYet fleet.Status

func (s notYet) Error() string { return fmt.Sprintf("%+v", fleet.Status(s)) }

// move puts both associations into another region, and returns how long it took until every box knew its region.
func (c *crowd) move(ctx context.Context, region string) (time.Duration, error) {
	start := time.Now()
	if err := errors.Join(c.hubs.association(ctx, "lilas", region), c.hubs.association(ctx, "roses", region)); err != nil {
		return 0, err
	}
	_, err := c.all(ctx, "every box knows its region", inRegion(region))
	return time.Since(start), err
}

// day returns the name and the body of the report of day n, from 1.
func day(n int) (name, body string) {
	return dayOf(time.Date(2027, 1, n, 0, 0, 0, 0, time.UTC), firstVersion)
}

// dayOf returns the name and the body of the report of a day on which the box runs a version.
func dayOf(at time.Time, version string) (name, body string) {
	d := protocol.Day(at.Format(time.DateOnly))
	return d.Report(), fmt.Sprintf(`{"form":1,"day":%q,"release":%q,"state":"sharing","sessions":17,"slow":"<5","refused":"<5",`+
		`"donations":[{"n":1,"kind":"cable","day":1234567890,"used":12345678901,"cap":200000000000,"left":187654321099,"state":"used"}],"faults":[]}`, d, version)
}
