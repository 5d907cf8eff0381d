package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"passerelle/appliance/clock"
	"passerelle/appliance/config"
	"passerelle/appliance/fetch"
	"passerelle/appliance/fleet/mirror"
	"passerelle/appliance/fleet/rollout"
	"passerelle/appliance/fleet/trust"
	"passerelle/appliance/fleet/updates"
	"passerelle/appliance/state"
	"passerelle/image/slot"
	"passerelle/image/update"
	"passerelle/image/update/agent"
)

// updateSocket is the socket of the server that writes the card (image/passerelle-update.socket), beside the run directory.
func (p paths) updateSocket() string { return p.runDir() + "-update.sock" }

const (
	releasesName  = "fleet"          // name of the download: its address is in that section
	releasesEvery = 24 * time.Hour   // between checks of the metadata, some 6 kB each
	updatesTick   = 5 * time.Second  // between checks whether a release can be started
	slotsAfter    = 30 * time.Second // from the start until the slots are read: the card is busy before. After a fallback they are read at once
	restartWait   = 5 * time.Minute  // before the restart is requested again
)

// updateAsker sends requests to the server that writes the card.
type updateAsker interface {
	Ask(ctx context.Context, q agent.Request, from trust.Source, progress func(agent.Progress)) (agent.Result, error)
}

// releasesBox is what releases need of appliance.Box.
type releasesBox interface {
	Status() state.Status
	Config() *config.Config
}

// releases are the box's updates. Methods are safe for concurrent use.
type releases struct {
	*Daemon
	box     releasesBox
	asker   updateAsker
	now     func() time.Time // in the box's zone
	up      func() time.Duration
	presses chan agent.Request
	keep    func(context.Context)            // writes the backups before the other system runs
	wait    func(update.Staged) rollout.Wait // why a release is not taken now, by its roll-out; "" if it may be

	mu      sync.Mutex
	pressed time.Duration // when somebody pressed to look for a release, since boot; 0 if no press counts
	busy    bool          // a request is in flight
	slots   *update.Slots // as last read, nil before that
	result  agent.Result  // of the last look or installation
	there   agent.Progress
	settled string        // the newest release of the hubs, by its manifest, if it needs no further request
	waits   bool          // the hubs' release waits for residents, hours or budget
	err     error         // of the last request
	never   bool          // the server has answered that this system takes no releases, which only another system changes
	asked   time.Duration // when the restart was requested, since boot; 0 for not yet
}

func (d *Daemon) newReleases() *releases {
	return &releases{
		Daemon: d, box: d.box, asker: agent.Client{Socket: d.updateSocket()}, up: clock.SinceBoot, presses: make(chan agent.Request, 1),
		now:  func() time.Time { return time.Now().In(d.box.Config().Box.Timezone) },
		keep: d.keepBackups,
		wait: func(of update.Staged) rollout.Wait { return d.stages.wait(of, d.member.name(), d.box.Status().Clock) },
	}
}

// keepBackups writes a backup on the box, and one to its sticks if it has any. Errors are only logged, since the box must be able
// to switch to the other system on a full disk, too.
func (d *Daemon) keepBackups(ctx context.Context) {
	if _, err := d.backups.Keep(); err != nil {
		d.log.Warn("the box as it is now is not kept", "error", err)
	}
	if d.sticks.Last() == nil {
		return
	}
	if err := d.sticks.Write(ctx); err != nil {
		d.log.Warn("no backup is written to the USB stick", "error", err)
	}
}

// facts returns what the decisions about updates depend on.
func (r *releases) facts(s state.Status, c *config.Config) updates.Facts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return updates.Facts{
		State: s.State, Sessions: s.Residents.Sessions, Now: r.now(), Trusted: s.Clock.Trusted, Up: r.up(),
		Hours: c.Fleet.Hours, Pressed: r.counts(),
	}
}

// situation returns the conditions for fetching a release.
func (r *releases) situation() fetch.Situation {
	s, c := r.box.Status(), r.box.Config()
	return r.may(situation(s, c), s, c)
}

// may limits the situation of all downloads to that of releases.
func (r *releases) may(out fetch.Situation, s state.Status, c *config.Config) fetch.Situation {
	if out.Line == nil {
		return out
	}
	if wait := updates.Fetch(r.facts(s, c)); wait != "" {
		out.Line, out.Why = nil, string(wait)
		return out
	}
	out, d := budgeted(out, s, c)
	if out.Line != nil {
		out.Line.Allowance -= talk(c, d)
	}
	return out
}

// job returns the download of releases; ok is false if there is none.
func (r *releases) job() (j fetch.Job, ok bool) {
	c := r.box.Config().Fleet
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.card.has() || c.Mirror == "" || (!c.Updates || r.never) && !r.counts() {
		return j, false
	}
	return fetch.Job{
		Name: releasesName, URL: c.Mirror, Every: releasesEvery, Situation: r.situation,
		Run: func(ctx context.Context, client *http.Client) (string, error) { return r.fetch(ctx, c.Mirror, client) },
	}, true
}

// fetch asks a mirror for a release, and installs a newer one.
func (r *releases) fetch(ctx context.Context, address string, client *http.Client) (string, error) {
	site, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	r.mu.Lock()
	pressed := r.counts()
	r.mu.Unlock()
	return r.bring(ctx, pressed, mirror.Site{Client: client, URL: site})
}

// bring installs the release that a source offers. pressed tells whether somebody pressed for it: then the stages of the roll-out do
// not matter. The press counts on until the release is there, or is refused.
func (r *releases) bring(ctx context.Context, pressed bool, from trust.Source) (string, error) {
	install := agent.Request{Do: agent.Install, Again: pressed}
	if !pressed {
		offer, err := r.ask(ctx, agent.Request{Do: agent.Look}, from)
		switch {
		case err != nil:
			return "", err
		case offer.Running:
			return newestRuns(offer), nil
		}
		if wait := r.wait(offer.Staged); wait != "" {
			return fmt.Sprintf("release %s is not taken yet: %s", offer.Newest, wait), nil
		}
		install.Only = offer.Staged
	}
	result, err := r.ask(ctx, install, from)
	if pressed && (err == nil || refused(err)) {
		r.setPressed(0)
	}
	switch {
	case err != nil:
		return "", err
	case result.Running:
		return newestRuns(result), nil
	}
	return fmt.Sprintf("release %s lies in the other slot", result.Newest), nil
}

// mayFetch returns why no release or other file of the fleet may be fetched now, "" if it may.
func (r *releases) mayFetch() string { return r.fetcher.Obstacle(r.situation()) }

// releasesFrom returns the host that releases come from: the mirror, otherwise the first hub; "" for none.
func releasesFrom(c config.Fleet) string {
	if c.Mirror != "" || !c.Member() {
		return fetch.Host(c.Mirror)
	}
	host, _, err := net.SplitHostPort(c.Addresses()[0])
	if err != nil {
		return ""
	}
	return host
}

// gated is a source that can be read only while a release may be fetched.
type gated struct {
	trust.Source
	may func() string
}

// Read implements trust.Source.
func (g gated) Read(ctx context.Context, name string, limit int64) ([]byte, error) {
	if why := g.may(); why != "" {
		return nil, trust.Waiting(why)
	}
	return g.Source.Read(ctx, name, limit)
}

// fromHubs installs the newest release that hubs have, unless a mirror is configured. t must have just been refreshed: it says
// without a request whether there is a release. Hubs deliver the files, and are trusted no more than a mirror.
func (r *releases) fromHubs(ctx context.Context, t *trust.Trust, from trust.Source) error {
	c := r.box.Config().Fleet
	r.mu.Lock()
	pressed, never := r.counts(), r.never
	r.mu.Unlock()
	if !r.card.has() || never || c.Mirror != "" || !c.Updates && !pressed {
		return nil
	}
	offered, err := update.Offered(t, slot.Board)
	if err != nil || len(offered) == 0 {
		return err
	}
	newest := offered[0]
	r.mu.Lock()
	settled, known := r.settled == newest.ID().String(), r.result.Newest == newest.Version
	r.mu.Unlock()
	if !pressed && (settled || known && r.wait(newest.Staged()) != "") {
		return nil
	}
	result, err := r.bring(ctx, pressed, gated{from, r.mayFetch})
	r.mu.Lock()
	defer r.mu.Unlock()
	switch code := codeOf(err); {
	case ctx.Err() != nil:
		return nil
	case trust.IsWaiting(err), code == agent.Busy:
		r.waits = true
		return nil
	case code == agent.Unfit, code == agent.Ran, err == nil && r.wait(newest.Staged()) == "":
		r.settled = newest.ID().String()
	}
	r.log.Info("the release of the hubs", "result", result, "error", err)
	return nil // status has the error
}

// resumes returns true, once, when a release that waits may be fetched.
func (r *releases) resumes() bool {
	r.mu.Lock()
	waits := r.waits
	r.mu.Unlock()
	if !waits || r.mayFetch() != "" {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waits = false
	return true
}

func newestRuns(r agent.Result) string {
	return fmt.Sprintf("release %s is running, the newest", r.Newest)
}

// ask carries out a request, and stores its result.
func (r *releases) ask(ctx context.Context, q agent.Request, from trust.Source) (agent.Result, error) {
	r.mu.Lock()
	if r.busy {
		r.mu.Unlock()
		return agent.Result{}, &agent.Error{Code: agent.Busy, Text: "another update is under way"}
	}
	r.busy = true
	if q.Do != agent.Slots {
		r.err = nil
	}
	r.mu.Unlock()
	if q.Do == agent.Other {
		r.keep(ctx)
	}
	result, err := r.asker.Ask(ctx, q, from, func(p agent.Progress) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.there, r.result.Newest, r.result.Running = p, p.Of, false
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy = false
	switch {
	case err != nil && (ctx.Err() != nil || trust.IsWaiting(err)): // interrupted, to be resumed later
	case err != nil:
		r.err, r.never = err, r.never || codeOf(err) == agent.NoRoot
		r.log.Warn("an update", "do", q.Do, "error", err)
	case q.Do == agent.Slots:
		r.slots = &result.Slots
	case q.Do == agent.Look, q.Do == agent.Install:
		r.result, r.there, r.slots = result, agent.Progress{}, &result.Slots // the look may have revealed the running version
		if q.Do == agent.Install && !result.Running {
			r.log.Info("a release lies in the other slot, and was read back", "version", result.Newest)
		}
	}
	return result, err
}

// codeOf returns the code of an answer of the server, "" for any other error.
func codeOf(err error) agent.Code {
	if e, ok := errors.AsType[*agent.Error](err); ok {
		return e.Code
	}
	return ""
}

// refused tells whether the server has refused a release, so that another try with the same one is of no use.
func refused(err error) bool {
	switch codeOf(err) {
	case "", agent.Busy, agent.Blocked, agent.Failed:
		return false
	}
	return true
}

// pressLasts is how long a press counts at most. Meanwhile a release may be fetched while residents are online.
const pressLasts = 2 * time.Hour

// counts tells whether a press counts now. mu is held.
func (r *releases) counts() bool { return r.pressed != 0 && r.up()-r.pressed < pressLasts }

func (r *releases) setPressed(at time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pressed = at
}

// withPress makes a press count while try starts to look for a release, and from then on if try succeeds. Otherwise an earlier press counts
// as it did before.
func (r *releases) withPress(try func() error) error {
	now := r.up()
	r.mu.Lock()
	before := r.pressed
	r.pressed = now
	r.mu.Unlock()
	err := try()
	if err == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pressed == now { // what was pressed for before has not ended in the meantime
		r.pressed = before
	}
	return err
}

// errNoMirror says that no server of releases is configured.
var errNoMirror = errors.New("no address of releases is configured: set [fleet] mirror, or use a USB stick")

// Look starts to look for a newer release now. The error says why it cannot.
func (r *releases) Look() error {
	c := r.box.Config().Fleet
	if c.Mirror == "" && !c.Member() {
		return errNoMirror
	}
	return r.withPress(func() error {
		if c.Mirror != "" {
			return r.fetcher.Start(releasesName)
		}
		if why := r.mayFetch(); why != "" {
			return errors.New(why)
		}
		r.member.look()
		return nil
	})
}

// press queues a request for run. The error is agent.Busy if another one is in flight or queued.
func (r *releases) press(q agent.Request) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.busy {
		return &agent.Error{Code: agent.Busy, Text: "another update is under way"}
	}
	select {
	case r.presses <- q:
		return nil
	default:
		return &agent.Error{Code: agent.Busy, Text: "another update is under way"}
	}
}

// FromStick installs the release of the USB stick that is plugged in. expired accepts expired signatures.
func (r *releases) FromStick(expired bool) error {
	return r.press(agent.Request{Do: agent.Install, Stick: true, Expired: expired, Again: true})
}

// Other restarts the box into the other slot.
func (r *releases) Other() error { return r.press(agent.Request{Do: agent.Other}) }

// run reads the slots, carries out presses, and starts releases, until ctx ends.
func (r *releases) run(ctx context.Context) error {
	if !r.card.has() {
		return nil
	}
	tick, start := time.NewTicker(updatesTick), time.Now()
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case q := <-r.presses:
			r.ask(ctx, q, nil) // status and log have the error
			continue
		case <-tick.C:
		}
		r.mu.Lock()
		unread, busy, fresh := r.slots == nil, r.busy, r.asked == 0 || r.up()-r.asked >= restartWait
		never := r.never
		r.mu.Unlock()
		switch {
		case busy, never:
		case unread && r.card.status().Failed == "" && time.Since(start) < slotsAfter:
		case unread:
			r.ask(ctx, agent.Request{Do: agent.Slots}, nil)
		case fresh && r.due():
			r.mu.Lock()
			r.asked = r.up()
			r.mu.Unlock()
			r.log.Info("the box restarts into the release in the other slot")
			r.ask(ctx, agent.Request{Do: agent.Other}, nil)
		}
	}
}

// due tells whether the box restarts into a release now.
func (r *releases) due() bool {
	u := r.describe(r.box.Status(), r.box.Config())
	return u != nil && u.Auto && u.Ready && u.Starts == "" && !u.Busy && r.card.proven()
}

// Status returns the updates for technicians' pages, nil on a machine without slots.
func (r *releases) Status() *state.Updates { return r.fullStatus().Updates }

// describe returns the updates of a box with that status, nil on a machine without slots.
func (r *releases) describe(s state.Status, c *config.Config) *state.Updates {
	if !r.card.has() {
		return nil
	}
	facts := r.facts(s, c)
	facts.Pressed = false
	may := r.may(situation(s, c), s, c)
	failed := r.card.status().Failed
	r.mu.Lock()
	defer r.mu.Unlock()
	u := &state.Updates{
		Read: r.slots != nil, Auto: c.Fleet.Updates, From: releasesFrom(c.Fleet), Newest: r.result.Newest,
		Current: r.result.Running, Busy: r.busy, Done: uint64(r.there.Done), Size: uint64(r.there.Total),
	}
	if u.From != "" && may.Line == nil {
		u.Fetches = may.Why
	}
	if failed != "" {
		u.FellBack = "?"
	}
	if r.slots != nil {
		u.Version, u.Other, u.Ready = r.slots.Version, r.slots.Other, r.slots.Ready
		if failed != "" && r.slots.Failed != "" {
			u.FellBack = r.slots.Failed
		}
		if u.FellBackWhy = r.slots.FailedBy; r.slots.Failed != "" {
			u.FellBackCode = cmp.Or(state.TrialReason(r.slots.FailedCode), state.TrialSilent)
		}
	}
	switch {
	case u.Ready:
		u.Starts = cmp.Or(string(r.wait(r.slots.Staged)), string(updates.Start(facts)))
	case u.Newest != "" && !u.Current && !u.Busy:
		if wait := r.wait(r.result.Staged); wait != "" && u.Auto {
			u.Fetches = string(wait)
		}
	}
	if r.err != nil {
		u.Error, u.Code = r.err.Error(), string(cmp.Or(codeOf(r.err), agent.Failed))
	}
	return u
}
