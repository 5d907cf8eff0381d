// Package fleet is the box's side of a fleet: it asks for a membership, fetches what the federation asks of the box, and
// delivers what the box reports. It owns the box's key and membership on disk, connections to hubs, and when these are made.
// It must not know what files, commands and reports mean, nor anything else of the box: that is passed to it.
//
// # Level-triggered
//
// A round is all that the client does with a hub: read the box's region and the last command, and make the hub show what the box
// reports. After it the box may read signed files. Every round does all of it again. A wake from the hub only starts a round
// sooner, and a lost one is made good by the next round. The hub's acknowledgement of a report is not believed for long: a report
// is done when a later round has read it back. Until then each round sends it again.
//
// # Connected or visits
//
// Connected, the client keeps one connection, asks every 8 minutes whether the hub is there (on a lent line each question
// costs 254 bytes), and is woken within seconds. On visits it connects four times a day, does one round, and leaves: 33 kB a
// day instead of 56. A connection that dies without a word, twice in a row before any of its pings was answered, is behind a
// device that forgets idle connections sooner: then the client pays visits for a day. It does so too after six connections in
// a row that did not last, on whatever lines.
//
// It has no JetStream consumer and no watcher: these cost 5 MB a day when nothing happens.
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
	// Away: not one byte.
	Away Mode = iota
	// Visits: a round now and then.
	Visits
	// Connected: a connection is kept, unless the line does not hold it.
	Connected
)

func (m Mode) String() string { return [...]string{"away", "visits", "connected"}[m] }

// Line is the line over which the client may talk now.
type Line struct {
	Name   string // a donation's, or anything that changes when the line does
	Mode   Mode
	Period int64 // of its budget, any number: a connection that began in another one ends, since it is counted there
}

// Group is where a box belongs in its fleet, as the hub says. It says only which signed files are asked for.
type Group struct {
	Association string
	Region      string // "" for none
}

// Report is something that the hub should show.
type Report struct {
	Name string // as package protocol names it
	Body []byte // at most protocol.MaxReport
}

// Source delivers the files of the fleet's signed repository, through the hub. It is a trust.Source.
type Source interface {
	Read(ctx context.Context, name string, limit int64) ([]byte, error)
}

// Box is the box as the client sees it. All but Fetch are called by Run's goroutine, one after the other, and should not
// block for long.
type Box struct {
	// Command is told the last command once it is known, and when it changes; after a restart, the same again. What it
	// reports before it returns is delivered in the same round.
	Command func([]byte)
	// Reports returns what the hub should show, and is not known to show yet.
	Reports func() []Report
	// Shown is told that the hub shows a report, with this body.
	Shown func(Report)
	// Fetch may be nil. It may read signed files while ctx holds: it is called after each round, in a goroutine of its own, at
	// most once at a time. A visit lasts until it returns.
	Fetch func(ctx context.Context, s Source, of Group)
}

// Pace is how often things happen. Zero fields mean those of DefaultPace.
type Pace struct {
	Ping    time.Duration // between questions whether the hub is there
	Visit   time.Duration // between visits, less up to a tenth
	Round   time.Duration // between rounds of a connection, less up to a tenth
	Ask     time.Duration // between questions for a membership
	Retry   time.Duration // the least before anything that failed is tried again
	Most    time.Duration // by which that grows at most
	Spread  time.Duration // chance before a round that wakes more than one box
	Day     time.Duration // how long a line that holds no connection is only visited
	Timeout time.Duration // for an answer, and for one hub to connect
}

// DefaultPace is for boxes. Eight minutes: a French mobile network was seen to forget connections that were idle for 4.5, and
// pings that often would cost more than visits; on fibre a device at home that forgets within eight is not known.
var DefaultPace = Pace{
	Ping: 8 * time.Minute, Visit: 6 * time.Hour, Round: 6 * time.Hour, Ask: 15 * time.Second,
	Retry: 5 * time.Second, Most: 15 * time.Minute, Spread: 5 * time.Second, Day: 24 * time.Hour, Timeout: 20 * time.Second,
}

// Options of a client.
type Options struct {
	Dir    string   // for key and membership; made if it does not exist
	Hubs   []string // HOST:PORT
	Bundle protocol.Bundle
	Box    Box
	// Dial connects over the line that the box may use now.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	Now  func() time.Time // for the hubs' certificates
	// Random returns a number in [0, 1).
	Random func() float64
	Log    *slog.Logger
	Pace   Pace
}

// Stage is how far the box has come in its fleet.
type Stage string

const (
	// Alone has no membership and no code.
	Alone Stage = "alone"
	// Asking has a code that no hub has answered yet.
	Asking Stage = "asking"
	// Waiting is for a person who compares the words.
	Waiting Stage = "waiting"
	// Member is a box of the fleet.
	Member Stage = "member"
)

// Status is how the client is.
type Status struct {
	Stage       Stage
	Box         string                     // its name; "" before it has a key
	Association string                     // of a member
	Region      string                     // likewise, once a round has asked; "" for none
	Words       [protocol.WordCount]string // while Asking or Waiting
	Refusal     protocol.Enrolment         // why the last code was not taken: Unknown, Used or Refused; "" if it was
	Mode        Mode                       // what the client does now; Visits also where a line does not hold a connection
	Connected   bool
	Round       time.Time // the last whole one; zero if there was none
	Err         string    // why the last try failed; "" if it did not
	Revoked     bool      // the hub does not let this box in any more
	Behind      int       // rounds in which a hub had not heard yet of what it woke the box for
}

// Client is the box's side. Its methods may be called from several goroutines.
type Client struct {
	o     Options
	store store
	dial  func(ctx context.Context, as identity) (link, error)

	// pressed is held while the membership is changed, on disk and in memory.
	pressed sync.Mutex

	mu      sync.Mutex
	changed context.CancelFunc // ends what Run does, since something else is wanted
	line    Line
	me      membership
	status  Status
	look    chan struct{}
	hurry   chan struct{}
	must    map[string]uint64 // by subject, the number of the message that the last wake was for, until a hub shows it
	stale   bool              // a hub has shown an older message of such a subject

	// Below is Run's only.
	command   [sha256.Size]byte
	commanded bool
	fetching  chan struct{} // closed when Box.Fetch returned; nil if it never ran
	again     bool          // it is called once more when it returns
	checked   bool          // its end was noticed
	part      *part         // Box.Fetch's, through its source
	failures  int           // connections in a row, with the current one
	notBefore time.Time     // when a hub may be connected to again
	nextVisit time.Time
	asked     int        // without an answer that ends it
	renewed   time.Time  // when another token was asked for
	behind    int        // rounds in a row in which a hub did not show what it woke the box for
	current   membership // whose state the above is
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

// set makes a membership the current one. The caller holds no lock.
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

// Status returns how the client is.
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

// SetLine says over which line the client may talk from now on. It may be called as often as the caller likes: the same line changes
// nothing, and lines that come and go make no more connections than a bad one does.
func (c *Client) SetLine(l Line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l != c.line {
		c.line = l
		c.changed()
	}
}

// Look says that the box has something new to report. On visits it waits for the next one.
func (c *Client) Look() {
	select {
	case c.look <- struct{}{}:
	default:
	}
}

// Hurry says that the box has something to report that somebody waits for: a client that pays visits pays the next one now.
func (c *Client) Hurry() {
	c.Look()
	select {
	case c.hurry <- struct{}{}:
	default:
	}
}

// ErrMember says that a box that wants to enrol is a member.
var ErrMember = errors.New("the box is a member of a fleet already")

// Enrol asks for a membership with a sticker's code, as somebody typed it, until there is one or the code is refused: also after a
// restart. Status has the words to compare at once.
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

// Leave forgets membership, code and key.
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

// Run talks to hubs until ctx ends. A hub that is away, or that lies, ends nothing.
func (c *Client) Run(ctx context.Context) {
	for ctx.Err() == nil {
		c.step(ctx)
	}
	c.waitForFetch()
}

// step does one thing until it is done, has failed, or something else is wanted.
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

// patient is how often in a row a box may be refused before it tries as seldom as on visits: a hub that lost its disk lets boxes
// in again once it has heard from the others.
const patient = 8

// renewals is how often a box whose token is refused asks for another one at most, in the time of a visit.
const renewals = 12

// know begins with nothing if it is another membership.
func (c *Client) know(me membership) {
	if me != c.current {
		c.current = me
		c.commanded, c.failures, c.asked = false, 0, 0
		c.notBefore, c.nextVisit = time.Time{}, time.Time{}
	}
}

// untilVisit waits until the next visit is due, or somebody is in a hurry. It returns false if ctx ended before.
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

// stay keeps a connection until it dies or ctx ends.
func (c *Client) stay(ctx context.Context, l link, line string) {
	c.forget()
	born := time.Now()
	next := born
	var floor time.Time // before which no round follows the last, however often somebody asks for one
	var rounds recent
	failed := 0 // rounds in a row
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

// burst is how many rounds may follow each other at once: somebody waits for what a press on the dashboard does, and for what the box says
// of it. In the long run there is one in Pace.Retry at most.
const burst = 4

// recent are the beginnings of the last rounds of a connection, the oldest first.
type recent [burst]time.Time

func (r *recent) add(at time.Time) {
	copy(r[:], r[1:])
	r[burst-1] = at
}

// floor is when the next round may begin after one that ended now. What that one has sent needs a moment until each hub shows it.
func (r *recent) floor(now time.Time, retry time.Duration) time.Time {
	return later(now.Add(retry/5), r[0].Add(burst*retry))
}

// maxBehind is how often a box asks again for what it was woken for: within some five minutes each hub has heard of it, or will not.
const maxBehind = 6

// maxMust is of how many subjects a box remembers what it was woken for.
const maxMust = 8

// expect notes what a wake is for.
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
	c.must[subject], c.behind = w.Sequence, 0
}

// saw compares the number of a message that a hub has shown with what the box was woken for.
func (c *Client) saw(subject string, sequence uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch must, ok := c.must[subject]; {
	case ok && sequence < must:
		c.stale = true
	case ok:
		delete(c.must, subject)
	}
}

// forget ends all that the box was woken for.
func (c *Client) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.must, c.stale, c.behind = map[string]uint64{}, false, 0
}

// isBehind tells whether a hub has shown something older than what it woke the box for since the last call, so that the box asks again
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

// ended is the end of a connection. Only one that lasted makes good what failed before.
func (c *Client) ended(line string, born time.Time, silent bool) {
	now := time.Now()
	lasted := now.Sub(born) >= lasting(c.o.Pace.Ping)
	if lasted {
		c.failures = 0
	}
	c.deaths.add(line, now, lasted, silent)
}

// begin counts a connection as a failure until it is known to be none: also one that ends since the line does.
func (c *Client) begin() {
	c.notBefore = time.Now().Add(c.backoff(c.failures))
	c.failures++
}

// failed says why a connection failed, and waits from now on.
func (c *Client) failed(err error) {
	c.o.Log.Info("fleet", "err", err)
	c.edit(func(s *Status) { s.Err = err.Error() })
	c.notBefore = time.Now().Add(c.backoff(max(c.failures-1, 0)))
}

// backoff is how long to wait after so many failures in a row: chance spreads boxes that failed together.
func (c *Client) backoff(failures int) time.Duration {
	most := c.o.Pace.Most
	if failures < 16 {
		most = min(most, c.o.Pace.Retry<<failures)
	}
	return c.o.Pace.Retry + c.some(most)
}

// some is a time from 0 to most.
func (c *Client) some(most time.Duration) time.Duration {
	return time.Duration(c.o.Random() * float64(most))
}

// less is a time, less up to a tenth of it.
func (c *Client) less(d time.Duration) time.Duration { return d - c.some(d/10) }

// sleep returns false if ctx ended before.
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

// atOnce is how many answers a round waits for at a time: on a slow line each takes most of a second.
const atOnce = 8

// round does all that there is to do with a hub.
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

// report asks the hub for each report first: what a round before has sent, or the box before its restart, may be there. Only what
// this round did not send counts as shown.
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
	m, err := l.get(ctx, stream, subject)
	if err != nil {
		return nil, err
	}
	c.saw(subject, m.sequence)
	if len(m.body) > limit {
		return nil, fmt.Errorf("it has %d bytes, and at most %d are allowed", len(m.body), limit)
	}
	return m.body, nil
}

// fetch calls Box.Fetch. If it is still at work it is called again afterwards: what is new may have come too late for it.
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
		c.o.Box.Fetch(ctx, source{l, c.saw, &c.part}, of)
		if c.part == before && !over(l) {
			c.part = nil // nobody wants that file any more
		}
	}()
}

func (c *Client) waitForFetch() {
	if c.fetching != nil {
		<-c.fetching
	}
}
