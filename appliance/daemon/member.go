package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"passerelle/appliance"
	"passerelle/appliance/config"
	"passerelle/appliance/control"
	"passerelle/appliance/fetch"
	"passerelle/appliance/fleet"
	"passerelle/appliance/fleet/handouts"
	"passerelle/appliance/fleet/layer"
	"passerelle/appliance/fleet/protocol"
	"passerelle/appliance/fleet/rollout"
	"passerelle/appliance/fleet/trust"
	"passerelle/appliance/private"
	"passerelle/appliance/state"
)

// Files of the box's fleet, in fleetFolder. The daemon has a trust store of its own: the server that writes the card keeps the
// other one, which the daemon's user cannot read.
const (
	bundleFile  = "bundle.json"
	memberTrust = "trust"
)

// memberTick is how often the box checks whether its configuration has hubs, and which line may be used to talk to them.
const memberTick = time.Second

// fleetPurse is the purse of everything that the fleet uses of a line: releases, handouts and the connection to hubs.
const fleetPurse = "fleet"

// member is the box in its fleet: it runs the client while the configuration has hubs, and carries out what the hubs ask for.
// Without hubs, or with neither a code nor a membership, it sends nothing.
type member struct {
	folder   string // of the fleet, in the state folder
	box      memberBox
	layers   *layers
	stages   *stages
	commands *commands
	reports  *reporter
	found    *diagnoses
	handouts *handouts.Handouts
	releases hubReleases
	obstacle func(fetch.Situation) string
	dial     func(ctx context.Context, s fetch.Situation, address string) (net.Conn, error)
	root     string    // file with the root of trust
	built    time.Time // when the program was built
	pace     fleet.Pace
	log      *slog.Logger

	mu      sync.Mutex // guards the client; held while it starts and ends
	ctx     context.Context
	client  *fleet.Client                // nil if there is none
	talks   atomic.Pointer[fleet.Client] // client again, for its callbacks: end waits for them while it holds mu
	options string                       // hubs and bundle that the client was made with
	stop    func()                       // ends the client
	err     error                        // why there is no client

	said  sync.Mutex // guards what follows
	files error      // why no signed files are taken
	shown string     // the outcome of the last command that the hub shows
}

// hubReleases are the releases that hubs carry.
type hubReleases interface {
	// fromHubs installs the newest one. t has just been refreshed.
	fromHubs(ctx context.Context, t *trust.Trust, from trust.Source) error
	// resumes returns true, once, when a release that waited may be fetched.
	resumes() bool
}

// memberBox is what a member needs of appliance.Box.
type memberBox interface {
	layerUser
	obeyer
	Config() *config.Config
}

var _ memberBox = (*appliance.Box)(nil)

func (d *Daemon) newMember(box memberBox) *member {
	return &member{
		folder: filepath.Join(d.state, fleetFolder), box: box, layers: d.layers, stages: d.stages, commands: d.commands, reports: d.reports,
		found: d.diagnoses, releases: d.releases,
		handouts: HandoutsOf(d.state, d.newShelves(box), handouts.Options{May: d.releases.mayFetch, Log: d.log}),
		obstacle: d.fetcher.Obstacle, dial: d.fetcher.Dial, root: d.trustRoot, built: d.built, log: d.log,
	}
}

// run follows the configuration and the line until ctx ends.
func (m *member) run(ctx context.Context) error {
	m.mu.Lock()
	m.ctx = ctx
	m.mu.Unlock()
	tick := time.NewTicker(memberTick)
	defer tick.Stop()
	for {
		m.follow()
		select {
		case <-ctx.Done():
			m.mu.Lock()
			m.end()
			m.ctx = nil
			m.mu.Unlock()
			return nil
		case <-tick.C:
		}
	}
}

// follow starts or ends the client according to the configuration, tells it the line, and makes it resume what waited.
func (m *member) follow() {
	m.setLine()
	// mu is not held here: look locks it.
	files, release := m.handouts.Ready(), m.releases.resumes()
	if files || release {
		m.look()
	}
}

func (m *member) setLine() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.configure(); err != nil {
		if m.err == nil || m.err.Error() != err.Error() {
			m.log.Warn("the fleet", "error", err)
		}
		m.err = err
		return
	}
	if m.err = nil; m.client != nil {
		m.client.SetLine(m.line())
	}
}

// configure starts, replaces or ends the client to match the configuration. mu is held.
func (m *member) configure() error {
	hubs := m.box.Config().Fleet.Addresses()
	if len(hubs) == 0 || m.ctx == nil {
		m.end()
		return nil
	}
	text, err := os.ReadFile(filepath.Join(m.folder, bundleFile))
	if errors.Is(err, fs.ErrNotExist) { // nobody has asked for a membership
		m.end()
		return nil
	}
	if err != nil {
		m.end()
		return err
	}
	options := strings.Join(hubs, " ") + "\n" + string(text)
	if m.client != nil && m.options == options {
		return nil
	}
	m.end()
	bundle, err := protocol.ParseBundle(text)
	if err != nil {
		return err
	}
	client, err := fleet.New(fleet.Options{
		Dir: m.folder, Hubs: hubs, Bundle: bundle, Now: m.now, Random: rand.Float64, Log: m.log, Pace: m.pace,
		Dial: func(ctx context.Context, _, address string) (net.Conn, error) {
			return m.dial(ctx, m.situation(), address)
		},
		Box: fleet.Box{Command: m.obey, Reports: m.report, Shown: m.isShown, Fetch: m.take},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(m.ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		client.Run(ctx)
	}()
	m.client, m.options = client, options
	m.talks.Store(client)
	m.stop = func() {
		cancel()
		<-ended
	}
	return nil
}

// end ends the client. mu is held.
func (m *member) end() {
	if m.client != nil {
		m.stop()
		m.client, m.options = nil, ""
		m.talks.Store(nil)
	}
}

// now returns the time of day in the box's zone, never earlier than this program was built. It is for the hubs' certificates and
// the time of the last contact. The time in Status would be that of the last reconciliation, some seconds ago.
func (m *member) now() time.Time {
	if now := time.Now(); now.After(m.built) {
		return now.In(m.box.Status().Clock.Now.Location())
	}
	return m.built
}

// situation returns the conditions for talking to the fleet: the line in use, or while sharing is paused the line that would be in
// use, since the fleet must be able to end its own pause.
func (m *member) situation() fetch.Situation {
	s, c := m.box.Status(), m.box.Config()
	out := situation(s, c)
	if s.State == state.Paused {
		best := 0
		for i, d := range s.Donations {
			usable := d.Open && d.Works && !d.Spent && d.PausedBy == "" && d.Ifname != "" && i < len(c.Donations)
			if usable && (out.Line == nil || c.Donations[i].Priority < best) {
				out.Line, best = lineFor(d, c, i), c.Donations[i].Priority
			}
		}
	}
	out, _ = budgeted(out, s, c)
	return out
}

// residentsPart is the part of a cap that the fleet leaves to residents, in bytes: this much may be in flight when the line is
// checked again.
const residentsPart = 2 << 20

// budgeted limits a situation to the fleet's budget of the line's donation, and returns that donation, nil without a line.
func budgeted(out fetch.Situation, s state.Status, c *config.Config) (fetch.Situation, *config.Donation) {
	if out.Line == nil {
		return out, nil
	}
	refuse := func(why string) (fetch.Situation, *config.Donation) {
		out.Line, out.Why = nil, why
		return out, nil
	}
	for i, d := range s.Donations {
		if d.Name != out.Line.Donation || i >= len(c.Donations) || c.Donations[i].Name != d.Name {
			continue
		}
		budget := c.FleetBudget(&c.Donations[i])
		switch {
		case budget == 0:
			return refuse(fmt.Sprintf("%q is not lent for the fleet", d.Name))
		case d.Cap != 0 && d.Left < residentsPart:
			return refuse(fmt.Sprintf("the cap of %q is almost spent", d.Name))
		}
		out.Line.Purse, out.Line.Allowance = fleetPurse, uint64(budget)
		return out, &c.Donations[i]
	}
	return refuse("the configuration has just changed")
}

// connectedDay is how much a permanent connection to a hub may use a day, in bytes (REFERENCE.md has the measurement).
const connectedDay = 100e3

// connectedCost returns how much a permanent connection uses of a donation in its period, in bytes.
func connectedCost(d *config.Donation) uint64 {
	switch d.Period {
	case "day":
		return connectedDay
	case "week":
		return 7 * connectedDay
	}
	return 31 * connectedDay
}

// talk returns the part of a donation's budget, in bytes, that is reserved for talking to hubs. Releases may not use it, so that the
// box can always be reached.
func talk(c *config.Config, d *config.Donation) uint64 {
	return min(connectedCost(d), uint64(c.FleetBudget(d))/4)
}

// line returns the line over which the client may talk now. Over a phone's line, or one with a small budget, it only makes visits.
func (m *member) line() fleet.Line {
	s := m.situation()
	if m.obstacle(s) != "" {
		return fleet.Line{}
	}
	l := fleet.Line{Name: s.Line.Donation + " " + s.Line.Interface, Mode: fleet.Visits, Period: s.Line.Period.Unix()}
	c := m.box.Config()
	i := slices.IndexFunc(c.Donations, func(d config.Donation) bool { return d.Name == s.Line.Donation })
	if i < 0 {
		return fleet.Line{}
	}
	if d := &c.Donations[i]; d.Interface != config.USB && d.WiFi == nil && talk(c, d) == connectedCost(d) {
		l.Mode = fleet.Connected
	}
	return l
}

// join requests the box's membership with a sticker's code. The bundle has the certificates by which a hub is recognised; if it is
// nil, join uses the one on the card, or else the one that was stored before.
func (m *member) join(bundle []byte, code string) error {
	if !m.box.Config().Fleet.Member() {
		return control.Refuse(errors.New("the box is in no fleet: write [fleet] hubs into its configuration first"))
	}
	if _, err := protocol.ParseCode(code); err != nil {
		return control.Refuse(err)
	}
	if bundle == nil {
		var err error
		if bundle, err = os.ReadFile(protocol.BundleFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.client != nil && m.client.Status().Stage == fleet.Member {
		return control.Refuse(fleet.ErrMember)
	}
	if bundle != nil {
		if _, err := protocol.ParseBundle(bundle); err != nil {
			return control.Refuse(err)
		}
		if err := private.Folder(m.folder, 0o700); err != nil {
			return err
		}
		if err := private.WriteFile(filepath.Join(m.folder, bundleFile), bundle, 0o600); err != nil {
			return err
		}
	}
	if err := m.configure(); err != nil {
		return err
	}
	if m.client == nil {
		return control.Refuse(errors.New("the box has no bundle of its fleet yet"))
	}
	if err := m.client.Enrol(code); err != nil {
		return err
	}
	m.client.SetLine(m.line())
	return nil
}

// leave removes membership, code and key. The fleet's layers stay until the configuration has no hubs.
func (m *member) leave() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.client == nil {
		return control.Refuse(errors.New("the box is no member of a fleet"))
	}
	if err := m.client.Leave(); err != nil {
		return err
	}
	m.reports.leave()
	return nil
}

// look makes the client report what is new.
func (m *member) look() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.client != nil {
		m.client.Look()
	}
}

// hurry makes the client report at once, since somebody waits for it.
func (m *member) hurry() {
	if client := m.talks.Load(); client != nil {
		client.Hurry()
	}
}

// obey carries out a command.
func (m *member) obey(text []byte) {
	v, err := m.commands.take(context.Background(), text) // completes even if the daemon ends meanwhile
	if err != nil {
		m.log.Warn("a command of the fleet", "verdict", v, "error", err)
	}
}

// report returns the reports that the hub should show and has not confirmed to show.
func (m *member) report() []fleet.Report {
	all := append(m.reports.pending(), m.found.pending()...)
	if last, ok := m.commands.last(); ok {
		text, err := json.Marshal(last.Outcome())
		m.said.Lock()
		defer m.said.Unlock()
		if err == nil && string(text) != m.shown {
			all = append(all, fleet.Report{Name: protocol.Done, Body: text})
		}
	}
	return all
}

// isShown records that the hub shows a report.
func (m *member) isShown(r fleet.Report) {
	switch r.Name {
	case protocol.Done:
		m.said.Lock()
		defer m.said.Unlock()
		m.shown = string(r.Body)
	case protocol.Diagnosis:
		m.found.shown(r)
	default:
		m.reports.shown(r)
	}
}

// take fetches what people signed for all boxes, the box's region and its association, and the stage of a release's roll-out.
func (m *member) take(ctx context.Context, from fleet.Source, of fleet.Group) {
	switch text, err := from.Read(ctx, rollout.File, rollout.Limit); {
	case err == nil:
		m.stages.hear(text)
	case !errors.Is(err, fs.ErrNotExist) && ctx.Err() == nil:
		m.log.Warn("the stage of a release", "error", err)
	}
	names := map[layer.Level]string{layer.Region: of.Region, layer.Association: of.Association}
	t, err := m.fresh(ctx, from)
	if err == nil {
		err = m.takeLayers(ctx, t, from, names)
	}
	m.says(ctx, err)
	if t == nil {
		return
	}
	files, failed := handouts.List(ctx, t, from, names)
	if failed == nil { // handouts may take hours
		failed = m.handouts.Take(ctx, from, files)
	}
	err = errors.Join(err, failed)
	m.says(ctx, errors.Join(err, m.releases.fromHubs(ctx, t, from)))
}

// says records why no signed files are taken. It ignores the end of the connection: a later one resumes.
func (m *member) says(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	if errors.Is(err, fs.ErrNotExist) { // the hubs have no repository
		err = nil
	}
	m.said.Lock()
	defer m.said.Unlock()
	if err != nil && (m.files == nil || m.files.Error() != err.Error()) {
		m.log.Warn("what the fleet has signed", "error", err)
	}
	m.files = err
}

// errNoRoot says that nothing signed can be verified.
var errNoRoot = errors.New("this system was built without a root of trust, so it takes nothing that is signed")

// fresh returns the box's trust, refreshed with the newest metadata that people signed. Without it, it returns nil and the error.
func (m *member) fresh(ctx context.Context, from fleet.Source) (*trust.Trust, error) {
	root, err := os.ReadFile(m.root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNoRoot
	}
	if err != nil {
		return nil, err
	}
	t, err := trust.Open(trust.Options{Dir: filepath.Join(m.folder, memberTrust), Root: root, Clock: trust.Clock{
		Built: m.built, Now: func() (time.Time, bool) { c := m.box.Status().Clock; return c.Now, c.Trusted },
	}})
	if err != nil {
		return nil, err
	}
	if err := t.Refresh(ctx, from); err != nil {
		return nil, err
	}
	return t, nil
}

func (m *member) takeLayers(ctx context.Context, t *trust.Trust, from fleet.Source, names map[layer.Level]string) (err error) {
	texts := make([][]byte, len(layer.Levels)) // all of them are verified before one is used
	for i, level := range layer.Levels {
		if level != layer.All && names[level] == "" {
			continue
		}
		_, have := m.layers.kept(level)
		if texts[i], err = SignedLayer(ctx, t, from, level, names[level], have); err != nil {
			return err
		}
	}
	for i, level := range layer.Levels {
		if name, have := m.layers.kept(level); string(have) == string(texts[i]) && (name == names[level] || len(have) == 0) {
			continue
		}
		if err := m.layers.take(ctx, m.box, level, names[level], texts[i]); err != nil {
			return err
		}
		m.log.Info("the fleet has said something else", "by", layer.Whose(level, names[level]))
	}
	return nil
}

// name returns the box's name in its fleet, "" if it is not a member.
func (m *member) name() string {
	if client := m.talks.Load(); client != nil {
		if s := client.Status(); s.Stage == fleet.Member {
			return s.Box
		}
	}
	return ""
}

// addTo adds the state of the fleet membership to a status.
func (m *member) addTo(s *state.Status) {
	if !m.box.Config().Fleet.Member() {
		return
	}
	f := &state.Fleet{Stage: string(fleet.Alone), Mode: fleet.Away.String(), Unshown: len(m.reports.pending()), Waits: m.obstacle(m.situation())}
	m.mu.Lock()
	client, err := m.client, m.err
	m.mu.Unlock()
	if client != nil {
		c := client.Status()
		f.Stage, f.Box, f.Association, f.Region = string(c.Stage), c.Box, c.Association, c.Region
		f.Refusal, f.Revoked, f.Mode, f.Connected, f.Contact, f.Error = string(c.Refusal), c.Revoked, c.Mode.String(), c.Connected, c.Round, c.Err
		if c.Stage == fleet.Asking || c.Stage == fleet.Waiting {
			f.Words = c.Words[:]
		}
	}
	if err != nil {
		f.Error = err.Error()
	}
	m.said.Lock()
	defer m.said.Unlock()
	if m.files != nil {
		f.Files = m.files.Error()
	}
	f.Handouts = m.handouts.Status()
	s.Fleet = f
}

// technicianFleet is the box's fleet for technicians' pages.
type technicianFleet struct{ d *Daemon }

func (f technicianFleet) Status() state.Status { return f.d.fullStatus() }

func (f technicianFleet) Join(code string) error { return f.d.member.join(nil, code) }

func (f technicianFleet) Leave() error { return f.d.member.leave() }

func (f technicianFleet) Accept(ctx context.Context, service string) error {
	return f.d.layers.acceptService(ctx, f.d.box, service)
}

func (f technicianFleet) Withdraw(ctx context.Context, service string) error {
	return f.d.layers.withdrawService(ctx, f.d.box, service)
}
