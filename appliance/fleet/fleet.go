// Package fleet is the box's side of a fleet. It asks for a membership, fetches what the federation wants the box to do, and delivers
// the box's reports. It owns the box's key and membership on disk, the connections to the hubs, and their timing. It must not know
// what files, commands and reports mean, nor anything else about the box: its caller passes that in.
//
// # Level-triggered
//
// A round is all that the client does with a hub: it reads the box's region and the last command, and makes the hub show the box's
// reports. After a round the box may read signed files. Every round does all of it again. A wake from the hub only starts a round
// sooner, and the next round makes up for a lost wake. A hub's acknowledgement of a report is not enough: a report is done only when a
// later round has read it back. Until then each round sends it again.
//
// # Connected or visits
//
// Connected, the client keeps one connection open, pings the hub every 8 minutes (on a donation each ping costs 254 bytes), and is
// woken within seconds. In visits mode it connects four times a day, does one round, and disconnects: 33 kB a day instead of 56. If a
// connection dies silently twice in a row before any of its pings was answered, a device on the path drops idle connections sooner
// than that: the client then uses visits for a day. It does the same after six short connections in a row, on whatever lines.
//
// The client has no JetStream consumer and no watcher: these cost 5 MB a day when nothing happens.
package fleet

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"passerelle/appliance/fleet/protocol"
)

// Mode is how the client may use a line.
type Mode int

const (
	// Away: no traffic at all.
	Away Mode = iota
	// Visits: a round from time to time.
	Visits
	// Connected: a connection is kept open, unless the line drops it.
	Connected
)

func (m Mode) String() string { return [...]string{"away", "visits", "connected"}[m] }

// Line is the uplink over which the client may talk now.
type Line struct {
	Name   string // of a donation, or anything that changes when the uplink does
	Mode   Mode
	Period int64 // of its budget, any number: a connection ends with the period in which it began, since it is accounted to it
}

// Group is where a box belongs in its fleet, as the hub says. It decides only which signed files are requested.
type Group struct {
	Association string
	Region      string // "" for none
}

// Report is something that the hub is to show.
type Report struct {
	Name string // as package protocol names it
	Body []byte // at most protocol.MaxReport
}

// Source delivers the files of the fleet's signed repository, through the hub. It is a trust.Source.
type Source interface {
	Read(ctx context.Context, name string, limit int64) ([]byte, error)
}

// Box is the box as the client sees it. Run's goroutine calls all of it but Fetch, one call at a time. These calls should not block
// for long.
type Box struct {
	// Command receives the last command: when it is first known, when it changes, and again after a restart. What the box reports
	// before Command returns is delivered in the same round.
	Command func([]byte)
	// Reports returns the reports that the hub is not known to show yet.
	Reports func() []Report
	// Shown is called when the hub shows a report with this body.
	Shown func(Report)
	// Fetch may be nil. It may read signed files until ctx ends. It is called after each round, in a goroutine of its own, and never
	// twice at a time. A visit lasts until it returns.
	Fetch func(ctx context.Context, s Source, of Group)
}

// Pace holds the client's intervals. Zero fields take the values of DefaultPace.
type Pace struct {
	Ping    time.Duration // between pings
	Visit   time.Duration // between visits, less up to a tenth (jitter)
	Round   time.Duration // between rounds of a connection, less up to a tenth (jitter)
	Ask     time.Duration // between requests for a membership
	Retry   time.Duration // the shortest wait before a retry
	Most    time.Duration // the most that the backoff adds to it
	Spread  time.Duration // the most jitter before a round after a wake of many boxes
	Day     time.Duration // how long a line that drops connections is only visited
	Timeout time.Duration // for an answer, and for connecting to one hub
}

// DefaultPace is for boxes. The ping interval is eight minutes: a French mobile network was seen to drop connections that were idle
// for 4.5 minutes, and pings that often would cost more than visits. On fibre, no home router is known that drops them within eight.
var DefaultPace = Pace{
	Ping: 8 * time.Minute, Visit: 6 * time.Hour, Round: 6 * time.Hour, Ask: 15 * time.Second,
	Retry: 5 * time.Second, Most: 15 * time.Minute, Spread: 5 * time.Second, Day: 24 * time.Hour, Timeout: 20 * time.Second,
}

// Options of a client.
type Options struct {
	Dir    string   // for the key and the membership; created if it does not exist
	Hubs   []string // HOST:PORT
	Bundle protocol.Bundle
	Box    Box
	// Dial connects over the uplink that the box may use now.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	Now  func() time.Time // for checking the hubs' certificates, and for Status.Round
	// Random returns a number in [0, 1).
	Random func() float64
	Log    *slog.Logger
	Pace   Pace
}

// Stage is how far the box has come in its fleet.
type Stage string

const (
	// Alone means no membership and no code.
	Alone Stage = "alone"
	// Asking means a code that no hub has answered yet.
	Asking Stage = "asking"
	// Waiting means that somebody has yet to compare the words.
	Waiting Stage = "waiting"
	// Member means that the box belongs to the fleet.
	Member Stage = "member"
)

// Status is the state of the client.
type Status struct {
	Stage       Stage
	Box         string                     // its name; "" before it has a key
	Association string                     // of a member
	Region      string                     // likewise, once a round has asked; "" for none
	Words       [protocol.WordCount]string // while Asking or Waiting
	Refusal     protocol.Enrolment         // why the last code was refused: Unknown, Used or Refused; "" if it was not
	Mode        Mode                       // what the client does now; also Visits where a line drops connections
	Connected   bool
	Round       time.Time // the last complete one; zero if there was none
	Err         string    // why the last attempt failed; "" if it did not
	Revoked     bool      // the hub does not accept this box any more
	Behind      int       // rounds in which a hub did not have yet what it woke the box for
}

// Client is the box's side. Its methods are safe for concurrent use.
type Client struct {
	o     Options
	store store
	dial  func(ctx context.Context, as identity) (link, error)

	// pressed is held while the membership is changed, on disk and in memory.
	pressed sync.Mutex

	mu      sync.Mutex
	changed context.CancelFunc // ends the current step of Run, since something has changed
	line    Line
	me      membership
	status  Status
	look    chan struct{}
	hurry   chan struct{}
	must    map[string]announced // by subject: what the last wake announced, until a hub shows it
	wakes   uint64               // number of wakes that announced something
	stale   bool                 // a hub has shown an older message of such a subject

	// The fields below belong to Run's goroutine.
	command   [sha256.Size]byte
	commanded bool
	fetching  chan struct{} // closed when Box.Fetch returns; nil if it never ran
	again     bool          // Fetch runs once more when it returns
	checked   bool          // Run has noticed that Fetch returned
	part      *part         // of the file that Box.Fetch was reading
	failures  int           // failed connections in a row, including the current one
	notBefore time.Time     // the earliest time of the next connection
	nextVisit time.Time
	asked     int        // requests in a row without a final answer
	renewed   time.Time  // when another token was last asked for
	behind    int        // rounds in a row in which a hub did not show what it woke the box for
	current   membership // the membership that the fields above belong to
	deaths    deaths
}

// New opens the box's membership.
func New(o Options) (*Client, error) {
	o.Pace = o.Pace.withDefaults()
	c := &Client{o: o, store: store{o.Dir}, look: make(chan struct{}, 1), hurry: make(chan struct{}, 1), changed: func() {}}
	c.dial = c.connect
	me, err := c.store.load()
	if err != nil {
		return nil, fmt.Errorf("open the fleet's membership: %w", err)
	}
	c.set(me)
	return c, nil
}

func (p Pace) withDefaults() Pace {
	for _, f := range []struct{ value, usual *time.Duration }{
		{&p.Ping, &DefaultPace.Ping}, {&p.Visit, &DefaultPace.Visit}, {&p.Round, &DefaultPace.Round}, {&p.Ask, &DefaultPace.Ask},
		{&p.Retry, &DefaultPace.Retry}, {&p.Most, &DefaultPace.Most}, {&p.Spread, &DefaultPace.Spread}, {&p.Day, &DefaultPace.Day},
		{&p.Timeout, &DefaultPace.Timeout},
	} {
		if *f.value == 0 {
			*f.value = *f.usual
		}
	}
	return p
}

// set makes a membership the current one. The caller must not hold c.mu.
func (c *Client) set(me membership) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.me = me
	s := &c.status
	s.Box, s.Association, s.Region, s.Words, s.Revoked = me.name(), me.Association, "", [protocol.WordCount]string{}, false
	switch {
	case me.Token != "":
		s.Stage = Member
	case me.Code != "":
		s.Stage = Asking
		s.Words = protocol.Words(protocol.Ask{Code: me.Code, Key: me.public})
	default:
		s.Stage = Alone
	}
	c.changed()
}

// Status returns the state of the client.
func (c *Client) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

func (c *Client) edit(change func(*Status)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.status)
}

// SetLine says which uplink the client may use from now on. It may be called as often as the caller likes: the same line changes
// nothing, and lines that come and go cause no more connections than a bad line does.
func (c *Client) SetLine(l Line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l != c.line {
		c.line = l
		c.changed()
	}
}

// Look says that the box has something new to report. In visits mode the report waits for the next visit.
func (c *Client) Look() {
	select {
	case c.look <- struct{}{}:
	default:
	}
}

// Hurry says that somebody waits for something that the box has to report: in visits mode the next visit happens now.
func (c *Client) Hurry() {
	c.Look()
	select {
	case c.hurry <- struct{}{}:
	default:
	}
}

// ErrMember says that a box that is a member already wants to enrol.
var ErrMember = errors.New("the box is a member of a fleet already")

// Enrol asks for a membership with the code of a sticker, as somebody typed it. It goes on in the background until the box is a member
// or the code is refused, even after a restart. Status has the words to compare at once.
func (c *Client) Enrol(typed string) error {
	code, err := protocol.ParseCode(typed)
	if err != nil {
		return err
	}
	c.pressed.Lock()
	defer c.pressed.Unlock()
	c.mu.Lock()
	me := c.me
	c.mu.Unlock()
	if me.Token != "" {
		return ErrMember
	}
	if me, err = c.store.begin(me, code); err != nil {
		return fmt.Errorf("enrol: %w", err)
	}
	c.edit(func(s *Status) { s.Refusal = "" })
	c.set(me)
	return nil
}

// Leave forgets the membership, the code and the key.
func (c *Client) Leave() error {
	c.pressed.Lock()
	defer c.pressed.Unlock()
	if err := c.store.clear(); err != nil {
		return fmt.Errorf("leave the fleet: %w", err)
	}
	c.edit(func(s *Status) { s.Refusal = "" })
	c.set(membership{})
	return nil
}

// Run talks to hubs until ctx ends. A hub that is down, or that lies, does not end it.
func (c *Client) Run(ctx context.Context) {
	for ctx.Err() == nil {
		c.step(ctx)
	}
	c.waitForFetch()
}

// step does one thing until it is done, it fails, or something has changed.
func (c *Client) step(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	c.mu.Lock()
	line, me := c.line, c.me
	c.changed = stop
	mode := line.Mode
	if mode == Connected && !c.deaths.trust(line.Name, time.Now(), c.o.Pace.Day) {
		mode = Visits
	}
	c.status.Mode = mode
	c.mu.Unlock()

	if mode == Away || me.Token == "" && me.Code == "" {
		<-ctx.Done()
		return
	}
	c.know(me)
	if me.Token == "" {
		if sleep(ctx, time.Until(c.notBefore)) {
			c.ask(ctx, me)
		}
		return
	}
	if mode == Visits && !c.untilVisit(ctx) || !sleep(ctx, time.Until(c.notBefore)) {
		return
	}
	drain(c.look)
	drain(c.hurry)
	c.begin()
	l, err := c.dial(ctx, me.member())
	if ctx.Err() != nil {
		if err == nil {
			l.close()
		}
		return
	}
	if err != nil {
		c.failed(fmt.Errorf("connect: %w", err))
		refused := errors.Is(err, errRefused)
		c.edit(func(s *Status) { s.Revoked = refused })
		if refused && c.failures > patient {
			c.notBefore = time.Now().Add(c.less(c.o.Pace.Visit))
		}
		if refused && time.Since(c.renewed) >= c.o.Pace.Visit/renewals {
			c.renewed = time.Now()
			c.renew(ctx, me)
		}
		return
	}
	c.edit(func(s *Status) { s.Connected, s.Revoked = true, false })
	defer c.edit(func(s *Status) { s.Connected = false })
	defer l.close()
	if mode == Visits {
		c.visit(ctx, l)
		return
	}
	c.stay(ctx, l, line.Name)
}

// patient is how many times in a row a box may be refused before it tries as rarely as in visits mode. A hub that lost its disk
// accepts boxes again once it has caught up with the other hubs.
const patient = 8

// renewals limits how often a box whose token is refused asks for another one: once in a twelfth of the visit interval.
const renewals = 12

// know resets the state if the membership is another one.
func (c *Client) know(me membership) {
	if me != c.current {
		c.current = me
		c.commanded, c.failures, c.asked = false, 0, 0
		c.notBefore, c.nextVisit = time.Time{}, time.Time{}
	}
}

// untilVisit waits until the next visit is due or Hurry is called. It returns false if ctx ended first.
func (c *Client) untilVisit(ctx context.Context) bool {
	due := time.NewTimer(time.Until(c.nextVisit))
	defer due.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-due.C:
	case <-c.hurry:
	}
	return true
}

func drain(c <-chan struct{}) {
	select {
	case <-c:
	default:
	}
}

func (c *Client) visit(ctx context.Context, l link) {
	if err := c.round(ctx, l); err != nil {
		if ctx.Err() == nil {
			c.failed(err)
		}
		return
	}
	for c.fetch(ctx, l); ; c.fetch(ctx, l) {
		select {
		case <-c.fetching:
		case <-l.done():
		case <-ctx.Done():
		}
		if !c.again || ctx.Err() != nil || over(l) {
			break
		}
	}
	c.failures = 0
}

// over tells whether a connection has ended.
func over(l link) bool {
	select {
	case <-l.done():
		return true
	default:
		return false
	}
}

// stay keeps a connection open until it dies or ctx ends.
func (c *Client) stay(ctx context.Context, l link, line string) {
	c.forget()
	born := time.Now()
	next := born
	var floor time.Time // the earliest time of the next round, however often somebody asks for one
	var rounds recent
	failed := 0 // failed rounds in a row
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var fetched <-chan struct{}
		if c.again || !c.checked {
			fetched = c.fetching
		}
		select {
		case <-fetched:
			c.checked = true
			if c.again {
				c.fetch(ctx, l)
			} else if failed == 0 && c.isBehind() {
				if at := time.Now().Add(c.backoff(c.behind - 1)); at.Before(next) {
					next = at
					timer.Reset(time.Until(next))
				}
			}
		case <-ctx.Done(): // a line that comes and goes is no better than a hub that hangs up
			c.ended(line, born, false)
			return
		case <-l.done():
			c.ended(line, born, errors.Is(l.err(), errSilent))
			c.failed(fmt.Errorf("the connection ended: %w", l.err()))
			return
		case w := <-l.woken():
			c.expect(w.must)
			at := time.Now()
			if w.many {
				at = at.Add(c.some(c.o.Pace.Spread))
			}
			if at = later(at, floor); at.Before(next) {
				next = at
				timer.Reset(time.Until(next))
			}
		case <-c.look:
			if at := later(time.Now(), floor); failed == 0 && at.Before(next) {
				next = at
				timer.Reset(time.Until(next))
			}
		case <-timer.C:
			rounds.add(time.Now())
			if err := c.round(ctx, l); err == nil {
				failed = 0
				next = time.Now().Add(c.less(c.o.Pace.Round))
				if c.isBehind() {
					next = time.Now().Add(c.backoff(c.behind - 1))
				}
				c.fetch(ctx, l)
			} else if ctx.Err() == nil {
				c.o.Log.Info("fleet", "err", err)
				c.edit(func(s *Status) { s.Err = err.Error() })
				next = time.Now().Add(c.backoff(failed))
				failed++
			}
			floor = rounds.floor(time.Now(), c.o.Pace.Retry)
			timer.Reset(time.Until(next))
		}
	}
}

// burst is how many rounds may follow each other without delay: somebody waits for the effect of a press on the dashboard, and for the
// box's report of it. In the long run the limit is one round in Pace.Retry.
const burst = 4

// recent holds the start times of the last rounds of a connection, oldest first.
type recent [burst]time.Time

func (r *recent) add(at time.Time) {
	copy(r[:], r[1:])
	r[burst-1] = at
}

// floor returns when the next round may begin after one that ended now. What that round sent takes a moment to reach every hub.
func (r *recent) floor(now time.Time, retry time.Duration) time.Time {
	return later(now.Add(retry/5), r[0].Add(burst*retry))
}

// maxBehind is how many times a box asks again for what it was woken for: within about five minutes each hub has received it, or never
// will.
const maxBehind = 6

// maxMust is for how many subjects a box remembers what it was woken for.
const maxMust = 8

// announced is what a wake announced.
type announced struct {
	sequence uint64
	wake     uint64 // number of the wake
}

// expect notes what a wake announces.
func (c *Client) expect(w protocol.Wake) {
	subject := w.Subject(c.current.Association, c.current.name())
	if subject == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.must) >= maxMust {
		clear(c.must)
	}
	c.wakes++
	c.must[subject], c.behind = announced{w.Sequence, c.wakes}, 0
}

// asking is called before a hub is asked for a message, and its result with the message that the hub has shown: it compares the
// message's sequence with the one that the box was woken for. If the box was woken after it asked, an older message is no surprise, and
// the wake has the box ask again in any case.
func (c *Client) asking() (saw func(subject string, sequence uint64)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wakes := c.wakes
	return func(subject string, sequence uint64) {
		c.mu.Lock()
		defer c.mu.Unlock()
		switch must, ok := c.must[subject]; {
		case ok && sequence < must.sequence:
			c.stale = c.stale || must.wake <= wakes
		case ok:
			delete(c.must, subject)
		}
	}
}

// forget drops everything that the box was woken for.
func (c *Client) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.must, c.stale, c.behind = map[string]announced{}, false, 0
}

// isBehind tells whether, since the last call, a hub has shown something older than what it woke the box for. The box then asks again
// soon.
func (c *Client) isBehind() bool {
	c.mu.Lock()
	stale := c.stale
	c.stale = false
	if stale {
		c.status.Behind++
		c.behind++
	}
	c.mu.Unlock()
	if stale && c.behind > maxBehind {
		c.o.Log.Info("fleet: the hub does not show what it woke the box for")
		c.forget()
		return false
	}
	return stale
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// ended records the end of a connection. Only a connection that lasted resets the failures before it.
func (c *Client) ended(line string, born time.Time, silent bool) {
	now := time.Now()
	lasted := now.Sub(born) >= lasting(c.o.Pace.Ping)
	if lasted {
		c.failures = 0
	}
	c.deaths.add(line, now, lasted, silent)
}

// begin counts a connection as failed until it is known to have succeeded: so does one that ends because the line changed.
func (c *Client) begin() {
	c.notBefore = time.Now().Add(c.backoff(c.failures))
	c.failures++
}

// failed records why a connection failed, and starts the backoff now.
func (c *Client) failed(err error) {
	c.o.Log.Info("fleet", "err", err)
	c.edit(func(s *Status) { s.Err = err.Error() })
	c.notBefore = time.Now().Add(c.backoff(max(c.failures-1, 0)))
}

// backoff returns how long to wait after that number of failures in a row. Jitter spreads boxes that failed at the same time.
func (c *Client) backoff(failures int) time.Duration {
	most := c.o.Pace.Most
	if failures < 16 {
		most = min(most, c.o.Pace.Retry<<failures)
	}
	return c.o.Pace.Retry + c.some(most)
}

// some returns a random time from 0 to most.
func (c *Client) some(most time.Duration) time.Duration {
	return time.Duration(c.o.Random() * float64(most))
}

// less returns d less up to a tenth of it, as jitter.
func (c *Client) less(d time.Duration) time.Duration { return d - c.some(d/10) }

// sleep returns false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// atOnce is how many requests of a round are in flight at a time: on a slow line each answer takes most of a second.
const atOnce = 8

// round does everything that there is to do with a hub.
func (c *Client) round(ctx context.Context, l link) error {
	me := c.current
	var region, body []byte
	var noRegion, noCommand error
	var asking sync.WaitGroup
	asking.Go(func() {
		region, noRegion = c.get(ctx, l, protocol.StreamRegion, protocol.SubjectRegion(me.Association), protocol.MaxName)
		if noRegion == nil && len(region) > 0 {
			noRegion = protocol.CheckName(string(region))
		}
	})
	asking.Go(func() {
		body, noCommand = c.get(ctx, l, protocol.StreamCommand, protocol.SubjectCommand(me.Association, me.name()), protocol.MaxCommand)
	})
	asking.Wait()
	switch {
	case noRegion != nil:
		return fmt.Errorf("ask for the region: %w", noRegion)
	case noCommand != nil:
		return fmt.Errorf("fetch the command: %w", noCommand)
	}
	if sum := sha256.Sum256(body); len(body) > 0 && (!c.commanded || c.command != sum) {
		c.o.Box.Command(body)
		c.command, c.commanded = sum, true
	}
	if err := c.report(ctx, l, me, c.o.Box.Reports()); err != nil {
		return err
	}
	c.edit(func(s *Status) { s.Region, s.Round, s.Err = string(region), c.o.Now(), "" })
	c.nextVisit = time.Now().Add(c.less(c.o.Pace.Visit))
	return nil
}

// report asks the hub for each report first, which an earlier round, or the box before its restart, may have sent. Only what this
// round did not send counts as shown.
func (c *Client) report(ctx context.Context, l link, me membership, reports []Report) error {
	shown := make([]bool, len(reports))
	g, asking := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i, r := range reports {
		if len(r.Body) > protocol.MaxReport || len(r.Body) == 0 {
			c.o.Log.Error("fleet: a report is empty or too long, and is not sent", "report", r.Name, "bytes", len(r.Body))
			continue
		}
		g.Go(func() error {
			subject := protocol.SubjectUp(me.Association, me.name(), r.Name)
			there, err := c.get(asking, l, protocol.StreamUp, subject, protocol.MaxReport)
			if err != nil {
				return fmt.Errorf("ask for the report %s: %w", r.Name, err)
			}
			if shown[i] = bytes.Equal(there, r.Body); shown[i] {
				return nil
			}
			if err := l.publish(asking, subject, r.Body); err != nil {
				return fmt.Errorf("send the report %s: %w", r.Name, err)
			}
			return nil
		})
	}
	err := g.Wait()
	for i, r := range reports {
		if shown[i] {
			c.o.Box.Shown(r)
		}
	}
	return err
}

// get returns the newest message of a subject. It may be called by several goroutines of a round.
func (c *Client) get(ctx context.Context, l link, stream, subject string, limit int) ([]byte, error) {
	saw := c.asking()
	m, err := l.get(ctx, stream, subject)
	if err != nil {
		return nil, err
	}
	saw(subject, m.sequence)
	if len(m.body) > limit {
		return nil, fmt.Errorf("it has %d bytes, and at most %d are allowed", len(m.body), limit)
	}
	return m.body, nil
}

// fetch calls Box.Fetch. If Fetch is still running it is called once more afterwards, since it may have missed what is new.
func (c *Client) fetch(ctx context.Context, l link) {
	if c.fetching != nil {
		select {
		case <-c.fetching:
		default:
			c.again = true
			return
		}
	}
	c.again, c.checked = false, false
	done := make(chan struct{})
	c.fetching = done
	of := Group{c.current.Association, c.Status().Region}
	if c.o.Box.Fetch == nil {
		close(done)
		return
	}
	go func() {
		defer close(done)
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		go func() {
			select {
			case <-l.done():
				stop()
			case <-ctx.Done():
			}
		}()
		before := c.part
		c.o.Box.Fetch(ctx, source{l, c.asking, &c.part}, of)
		if c.part == before && !over(l) {
			c.part = nil // Fetch does not want that file any more
		}
	}()
}

func (c *Client) waitForFetch() {
	if c.fetching != nil {
		<-c.fetching
	}
}
