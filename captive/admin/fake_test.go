package admin

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/state"
	"passerelle/captive/admin/journal"
	"passerelle/captive/admin/login"
	"passerelle/captive/lend"
	"passerelle/captive/web/webtest"
)

// paris is the zone of the fictional centre.
var paris = time.FixedZone("CET", 3600)

// noon is the current time of the tests: Saturday 21 November 2026, 15:10.
var noon = time.Date(2026, 11, 21, 15, 10, 0, 0, paris)

// token is the token of the fibre's link in most tests.
const token = "k3vqzj5xw7oadcl2ygt4me6rnb"

// fakeBox is an appliance with donations, and the store of their links.
type fakeBox struct {
	mu      sync.Mutex
	status  state.Status // with one donation
	tokens  map[[sha256.Size]byte]string
	presses []string               // who pressed what
	err     error                  // the error of SetDonationPaused and Set
	lent    map[string][]state.Day // by donation, in addition to those of status
	kept    error                  // the error of Close after it has closed the donation
	card    *state.Card
	offers  string // residents' languages

	logins  *login.Keeper
	access  config.Access
	journal journalEntries
	machine fakeMachine
	answers string // folder for the answers of the first start
	content Content
	nearby  fakeNearby
	disk    Disk // zero if unknown
	updates fakeUpdates
	fleet   fakeFleet
	backups fakeBackups
	configuration
}

// fakeMachine has fixed lines and radios.
type fakeMachine struct {
	lines  []Line
	radios []Radio
	err    error
}

func (m *fakeMachine) FindLines(context.Context) ([]Line, error) { return slices.Clone(m.lines), m.err }

func (m *fakeMachine) FindRadios() ([]Radio, error) { return m.radios, m.err }

// fakeNearby has fixed phones, and networks that are found only with listen.
type fakeNearby struct {
	mu       sync.Mutex
	phones   []lend.Plugged
	networks []lend.Heard
	listened int
	err      error
}

func (n *fakeNearby) Phones() ([]lend.Plugged, error) { return slices.Clone(n.phones), n.err }

func (n *fakeNearby) Networks(_ context.Context, named func(string) bool, listen bool) (all []lend.Heard, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if listen {
		n.listened++
	}
	for _, h := range n.networks {
		if named(h.Name) {
			all = append(all, h)
		}
	}
	return all, n.err
}

// configuration is a configuration in memory. Tests set its fields before they send requests.
type configuration struct {
	edit     sync.Mutex
	text     []byte    // nil for no file
	full     error     // the error of Apply
	until    time.Time // when an unconfirmed change is undone
	versions map[config.Revision][]byte
	changes  []config.Version // what replaced each version, oldest first
}

func (c *configuration) Read() ([]byte, config.Revision, error) {
	c.edit.Lock()
	defer c.edit.Unlock()
	return c.text, c.revision(), nil
}

func (c *configuration) revision() config.Revision {
	if c.text == nil {
		return ""
	}
	return config.RevisionOf(c.text)
}

func (c *configuration) Apply(_ context.Context, text []byte, r config.Revision, from config.Side) (config.Result, error) {
	c.edit.Lock()
	defer c.edit.Unlock()
	_, err := config.Parse("passerelle.toml", text)
	var problems config.Problems
	switch {
	case c.full != nil:
		return config.Result{}, c.full
	case r != c.revision():
		return config.Result{Outcome: config.Conflict, Why: config.ErrChanged.Error(), Revision: c.revision()}, nil
	case errors.As(err, &problems):
		return config.Result{Outcome: config.Refused, Problems: problems, Why: problems[0].String(), Revision: r}, nil
	}
	before, err := config.Parse("passerelle.toml", c.text)
	if err == nil {
		after, _ := config.Parse("passerelle.toml", text) // it was parsed before
		c.changes = append(c.changes, config.Version{
			Revision: r, Replaced: noon, By: config.RoleTechnician, Side: from,
			Changes: config.Differences(before, after),
		})
	}
	c.versions[r], c.text = c.text, text
	return config.Result{Outcome: config.Applied, Revision: config.RevisionOf(text)}, nil
}

// Effect does what the daemon's Effect does, as far as the tests need it.
func (c *configuration) Effect(before, after *config.Config) Effect {
	switch {
	case before.Hotspot != after.Hotspot:
		return CutsOff
	case before.Admin != after.Admin:
		return ShutsOut
	case before.Hardware != after.Hardware:
		return Restarts
	}
	return Undisturbed
}

func (c *configuration) Confirm() error {
	c.edit.Lock()
	defer c.edit.Unlock()
	if c.until.IsZero() {
		return fs.ErrNotExist
	}
	c.until = time.Time{}
	return nil
}

func (c *configuration) Until() (time.Time, bool) {
	c.edit.Lock()
	defer c.edit.Unlock()
	return c.until, !c.until.IsZero()
}

func (c *configuration) Versions() ([]config.Version, error) {
	c.edit.Lock()
	defer c.edit.Unlock()
	all := slices.Clone(c.changes)
	slices.Reverse(all)
	return all, nil
}

func (c *configuration) Version(r config.Revision) ([]byte, error) {
	c.edit.Lock()
	defer c.edit.Unlock()
	text, ok := c.versions[r]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return text, nil
}

func (b *fakeBox) Pause(_ context.Context, by string) error {
	return b.press(by+" pauses sharing", func(s *state.Status) { s.State, s.PausedBy = state.Paused, by })
}

func (b *fakeBox) PauseUntilTomorrow(_ context.Context, by string) error {
	return b.press(by+" pauses sharing until tomorrow", func(s *state.Status) {
		s.State, s.PausedBy, s.PauseEnds, s.PausedUntil = state.Paused, by, true, s.Tomorrow
	})
}

func (b *fakeBox) Resume(context.Context) error {
	return b.press("sharing resumes", func(s *state.Status) {
		s.State, s.PausedBy, s.PauseEnds, s.PausedUntil = state.Sharing, "", false, time.Time{}
	})
}

func (b *fakeBox) ConfirmTime(_ context.Context, by string) error {
	return b.press(by+" confirms the time", func(s *state.Status) { s.Clock.Trusted = true })
}

func (b *fakeBox) press(what string, f func(*state.Status)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return b.err
	}
	b.presses = append(b.presses, what)
	f(&b.status)
	return nil
}

// journalEntries is a journal in memory.
type journalEntries struct {
	mu  sync.Mutex
	all []journal.Entry // oldest first
}

func (j *journalEntries) Note(e journal.Entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e.At = noon
	j.all = append(j.all, e)
}

func (j *journalEntries) Entries() ([]journal.Entry, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := slices.Clone(j.all)
	slices.Reverse(all)
	return all, nil
}

// newFakeBox returns a box with one donation, in the middle of its month.
func newFakeBox() *fakeBox {
	b := &fakeBox{offers: "fr en", tokens: map[[sha256.Size]byte]string{hash(token): "Fibre du centre"}}
	d := state.Donation{
		Name: "Fibre du centre", Chosen: true, Open: true, Works: true,
		Cap: 200_000_000_000, Left: 112_640_000_000, Reserve: 2_000_000_000, Granted: 240_000_000, Used: 83_700_000_000,
		Daily: 11_200_000_000, Period: "month",
		PeriodStart: time.Date(2026, 11, 1, 0, 0, 0, 0, paris), Resets: time.Date(2026, 12, 1, 0, 0, 0, 0, paris),
		Tomorrow: time.Date(2026, 11, 22, 8, 30, 0, 0, paris),
	}
	for i, tenths := range []uint64{0, 41, 38, 52, 47, 66, 12, 0, 49, 55, 0, 61, 93, 22, 0, 58, 64, 39, 72, 57, 11} {
		d.Days = append(d.Days, state.Day{Date: state.DateOf(d.PeriodStart.AddDate(0, 0, i)), Bytes: tenths * 100_000_000})
	}
	b.status = state.Status{State: state.Sharing, Clock: state.Clock{Trusted: true}, Donations: []state.Donation{d}}
	b.configuration = configuration{text: config.Example(), versions: make(map[config.Revision][]byte)}
	return b
}

// change changes the donation, and the status that contains it.
func (b *fakeBox) change(f func(*state.Status, *state.Donation)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.status.Donations = slices.Clone(b.status.Donations)
	f(&b.status, &b.status.Donations[0])
}

func (b *fakeBox) Status() state.Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.status
}

func (b *fakeBox) SetDonationPaused(_ context.Context, name, by string, paused bool) error {
	b.mu.Lock()
	if b.err != nil {
		defer b.mu.Unlock()
		return b.err
	}
	what, who := " resumes ", ""
	if paused {
		what, who = " pauses ", by
	}
	b.presses = append(b.presses, by+what+name)
	b.mu.Unlock()
	b.change(func(_ *state.Status, d *state.Donation) { d.PausedBy = who })
	return nil
}

func (b *fakeBox) Set(donation string, hash [sha256.Size]byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return b.err
	}
	for h, name := range b.tokens {
		if name == donation {
			delete(b.tokens, h)
		}
	}
	b.tokens[hash] = donation
	return nil
}

func (b *fakeBox) Donation(hash [sha256.Size]byte) (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	name, ok := b.tokens[hash]
	return name, ok
}

func (b *fakeBox) Site() state.Site {
	b.mu.Lock()
	defer b.mu.Unlock()
	return state.Site{
		Centre: "Centre social des Lilas", Address: netip.MustParseAddr("10.80.0.1"), Hostname: "partage.internal",
		Language: "fr", Languages: b.offers, Location: paris, Card: b.card,
	}
}

// newServer returns a server for b at noon that logs to out.
func newServer(b *fakeBox, out io.Writer) *Server {
	return New(Parts{
		Box: b, Loans: b, Tokens: b, Logins: b.logins, Configuration: &b.configuration, Journal: &b.journal,
		Machine: &b.machine, Backups: &b.backups, Updates: &b.updates, Fleet: &b.fleet, SetupDir: b.answers, Content: b.content, Nearby: &b.nearby, Doctor: &fakeDoctor{}, Disk: func() Disk { return b.disk },
		Access:      func() config.Access { return b.access },
		Fingerprint: func() string { return "3A:0F 77:C1" }, Now: func() time.Time { return noon },
		Log: slog.New(slog.NewTextHandler(out, nil)),
	})
}

// ask sends one request to the box: see [webtest.Ask].
func ask(t testing.TB, s http.Handler, line string, headers ...string) *http.Response {
	t.Helper()
	return webtest.Ask(t, s, "https://partage.internal", "10.80.0.23:40000", line, headers...)
}

// body reads a response's body.
func body(t testing.TB, res *http.Response) string {
	t.Helper()
	return webtest.Body(t, res)
}
