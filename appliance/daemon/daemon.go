// Package daemon wires a running box: it opens kernel, disk, radios, board, pages and sockets, passes them to the loop, and
// stops all of them when one ends. It owns the files that a daemon leaves for the next one, restarts within the process, and the
// factory reset. It does not decide what is shared, and prints nothing except its log. It is the only part of appliance that may
// import the pages.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"passerelle/appliance"
	"passerelle/appliance/bindings"
	"passerelle/appliance/clock"
	"passerelle/appliance/config"
	"passerelle/appliance/control"
	"passerelle/appliance/doctor"
	"passerelle/appliance/fetch"
	"passerelle/appliance/fleet/report"
	"passerelle/appliance/health"
	"passerelle/appliance/logbook"
	"passerelle/appliance/plan"
	"passerelle/appliance/state"
	"passerelle/appliance/supervise"
	"passerelle/captive"
	"passerelle/captive/admin"
	"passerelle/captive/admin/journal"
	"passerelle/captive/admin/login"
	"passerelle/captive/admin/months"
	"passerelle/captive/admin/refusals"
	"passerelle/captive/lend"
	"passerelle/captive/places"
	"passerelle/captive/tutorials"
	"passerelle/captive/voice"
	"passerelle/captive/web"
	"passerelle/hw"
	"passerelle/netctl/arp"
	"passerelle/netctl/gate"
	"passerelle/netctl/names"
	"passerelle/netctl/radio"
	"passerelle/netctl/uplink"
)

// paths are the files that the daemon uses. They are absolute: its children have working directories of their own.
type paths struct {
	config, state, socket string
}

// absolute makes the command line's paths absolute.
func (p *paths) absolute() error {
	for _, path := range []*string{&p.config, &p.state, &p.socket} {
		full, err := filepath.Abs(*path)
		if err != nil {
			return fmt.Errorf("find %s: %w", *path, err)
		}
		*path = full
	}
	return nil
}

// runDir is the run directory, in memory: the socket's folder.
func (p paths) runDir() string { return filepath.Dir(p.socket) }

// Options configure a daemon.
type Options struct {
	Config, State, Socket string    // configuration, state folder, control socket; the socket's folder is in memory
	Setup                 bool      // a missing configuration is not an error: the box waits for one in State setup
	Release               string    // the program's version
	Built                 time.Time // when its source was committed; zero if that is not known
	Root                  string    // file with the root of trust that the system was built with
	Machine               fs.FS     // a root with /proc, /sys and /run; nil for this machine's
	Log                   *slog.Logger
	Book                  *logbook.Book  // of what Log writes
	Hangups               chan os.Signal // SIGHUP, also one from before the daemon started
}

// InputError is an error in what the user gave the daemon: the configuration, or a folder.
type InputError struct{ error }

func (e InputError) Unwrap() error { return e.error }

// Daemon wires and runs a box.
type Daemon struct {
	paths
	release     string
	built       time.Time
	trustRoot   string // file
	config      *config.Config
	configured  bool     // by a technician
	refused     *refusal // of the technician's configuration, nil if it is in use
	log         *slog.Logger
	notifier    health.Notifier
	box         *appliance.Box
	portal      *captive.Server
	slots       *web.Slots // for the requests of all pages
	shares      []web.Share
	offers      *lend.Room // of loans that wait for the desk; outlives a restart within the process
	fetcher     *fetch.Fetcher
	machine     *machine
	hangups     chan os.Signal
	updater     *configUpdater
	pending     *pending
	layers      *layers
	stages      *stages
	commands    *commands
	diagnoses   *diagnoses
	reports     *reporter
	member      *member
	logins      *login.Keeper
	journal     *journal.Journal
	certificate *web.Certificate
	pages       atomic.Pointer[[]string] // the technicians' on the wired side
	day         *admin.Day               // outlives a restart within the process
	refusals    *refusals.Days
	months      *months.Months
	root        fs.FS // the machine's files
	card        cardSlots
	backups     *Backups
	sticks      *sticks
	releases    *releases
	end         func(exitReason) // ends this run
	book        *logbook.Book
	doctor      *doctor.Doctor
	lights      lightsPointer
}

// New returns a daemon that has loaded its configuration. Run starts it.
func New(o Options) (*Daemon, error) {
	// A board of 512 MB is short of memory rather than of CPU time. Set before the lessons are parsed, whose garbage would
	// leave the heap twice as large.
	debug.SetGCPercent(40)
	d := &Daemon{
		paths: paths{config: o.Config, state: o.State, socket: o.Socket}, release: o.Release, built: o.Built, trustRoot: o.Root,
		log: o.Log, notifier: health.NewNotifier(o.Log), hangups: o.Hangups, day: admin.NewDay(time.Now()),
		root: o.Machine, book: o.Book,
	}
	if d.book == nil {
		d.book = logbook.New()
	}
	if d.root == nil {
		d.root = os.DirFS("/")
	}
	d.card = cardSlots{root: d.root, log: o.Log}
	d.card.read()
	if err := d.absolute(); err != nil {
		return nil, err
	}
	if err := d.openBackups(); err != nil {
		return nil, err
	}
	d.offers = &lend.Room{}
	d.shares = Shares(d.state, o.Log, func() *config.Config { return d.box.Config() }, d.offers)
	d.pending = newPending(d.state)
	d.layers = newLayers(d.state)
	d.stages = newStages(d.state, d.log)
	d.journal = journal.New(filepath.Join(d.state, accessFolder), time.Now, o.Log)
	d.pending.undoAtStart(d.file(), o.Log)
	d.finishForgetting()
	// One slot per core: the loop yields with each message to the kernel. With the slots it is scheduled again after one or two
	// requests instead of all pending ones.
	d.slots = web.NewSlots(runtime.GOMAXPROCS(0))
	if err := d.loadConfig(o.Setup); err != nil {
		return nil, err
	}
	if d.refused != nil {
		d.log.Error(d.refused.Error())
	}
	return d, nil
}

// Config returns the configuration to start with, and whether a technician wrote it.
func (d *Daemon) Config() (c *config.Config, configured bool) { return d.config, d.configured }

// Refused returns why the technician's configuration is not used, nil if it is.
func (d *Daemon) Refused() error {
	if d.refused == nil {
		return nil
	}
	return d.refused.cause
}

// Run runs the box until ctx ends or a failure. It may restart within the process.
func (d *Daemon) Run(ctx context.Context) error {
	unix.Umask(0o077) // files of the daemon and its children are private by default
	defer d.scheduleForget(d.log)
	return d.runAll(ctx)
}

// run runs the daemon once.
func (d *Daemon) run(ctx context.Context) (end exitReason, err error) {
	unlock, err := d.claimRunDir(ctx)
	if err != nil {
		return end, err
	}
	defer unlock()
	if d.untouched() {
		d.config = d.factory()
	}
	handover := d.loadHandover()

	// ctx must not kill the gate's child processes: that would look like a fault.
	g, err := gate.New(context.WithoutCancel(ctx), time.Now)
	if err != nil {
		return end, err
	}
	reader, err := uplink.Open(d.root)
	if err != nil {
		return end, err
	}
	defer reader.Close()

	wake := func() { d.box.Wake() }
	children := supervise.New(supervise.Options{
		Dir: filepath.Join(d.runDir(), "pids"), Log: d.log, Redact: supervise.WithoutAddresses, Wake: wake,
	})
	prober := uplink.NewProber(uplink.ProberOptions{
		Log: d.log, Wake: wake, Flows: reader.Flows, Sent: reader.Sent,
		Own:       netip.AddrPortFrom(d.config.Hotspot.Address.Addr(), plan.PortDNS),
		OwnFailed: func(why string) { children.Fail(plan.ChildDNS, why) },
	})
	ledger, err := d.openAccounts()
	if err != nil {
		return end, err
	}
	defer ledger.Close()
	d.backups.use(ledger)
	d.sticks = d.newSticks()
	d.openLogins()
	saved := d.loadState()
	board := d.board()
	stations := func(device string) int {
		driver, _ := radio.Driver(device)
		return board.Stations(driver)
	}
	wireless := d.newRadios(stations, wake)
	asker := arp.New(plan.Hotspot(d.config), d.config.Hotspot.Address.Addr(), d.log, wake)
	d.box = appliance.New(appliance.Parts{
		Config: d.config, Layers: d.layers.load(), Configured: d.configured, Gate: g, Uplinks: reader, Prober: prober, Children: children,
		Joiner: wireless.joiner, Radios: wireless.manager, Beacons: wireless.hostapd,
		Board: boardStatus(board, hw.NewSensors(d.root, time.Now), func() []state.Problem {
			return append(diskProblems(d.root, d.state), d.sticks.problems()...)
		}),
		Leases: d.leases, Asker: asker, Memory: memory(), DNSUser: dnsUser,
		Meter: func(line uplink.Status, target netip.Addr) (appliance.LineMeter, error) {
			return reader.Meter(line, target)
		},
		Store: ledger, Accounts: ledger.accounts, Paused: ledger.paused, Lost: ledger.quarantined,
		Clock: clock.New(clock.System(), saved.Trust), Boot: bootID(),
		RunDir: d.runDir(), Now: time.Now, Log: d.log,
		SaveState: d.saveState, SavedState: saved, SavePause: d.savePause, Pause: d.loadPause(), Handover: handover, Restored: d.removeHandover,
		Accept: d.accept, Refused: d.refused.whileUsing(d.config),
	})

	d.certificate = d.newCertificate()
	if f := d.fingerprint(); f != "" {
		d.log.Info("the box's certificate", "sha256", f)
	}

	if d.refusals, err = refusals.Open(filepath.Join(d.state, countsFolder)); err != nil {
		d.log.Warn("the sums of refusals", "error", err)
	}
	if d.months, err = months.Open(filepath.Join(d.state, countsFolder)); err != nil {
		d.log.Warn("the sums of months", "error", err)
	}
	d.portal = captive.New(d.box, d.log, time.Now, d.shares...)
	if err := d.portal.Refresh(""); err != nil {
		return end, errors.Join(err, ledger.Close())
	}

	d.releases = d.newReleases()
	d.fetcher = d.newFetcher()
	d.doctor = d.newDoctor(reader)
	d.diagnoses = newDiagnoses(d.state, d.doctor.Search, d.box.Status, d.log)
	d.commands = newCommands(d.state, d.box, d.diagnoses.ask)
	d.reports = newReporter(d.state, d.release)
	d.reports.member = func() bool { return d.box.Written().Fleet.Member() }
	d.reports.status = func() state.Status {
		s := d.status()
		s.System, s.Updates = readSystem(os.DirFS("/")), d.releases.describe(s, d.box.Config())
		return s
	}
	d.reports.shows = func() []report.Language { return offered(d.box.Config()) }
	d.reports.failed = func(err error) { d.log.Warn("a day for the fleet is not kept", "error", err) }
	d.member = d.newMember(d.box)
	d.reports.news, d.diagnoses.news = d.member.look, d.member.hurry
	d.book.Keep(keepsName(d.config))
	d.machine = newMachine(reader, d.config, stations, d.log)
	if d.configured {
		if err := os.RemoveAll(d.setupDir()); err != nil {
			d.log.Error("remove the answers of the first start", "error", err)
		}
	}

	dog, err := health.NewWatchdog(d.log, d.notifier, d.config.Hardware.Watchdog)
	if err != nil {
		return end, errors.Join(err, ledger.Close())
	}

	// The socket is open before a page or systemd learns that the box is healthy, so that `status` works from then on.
	socket, err := control.Listen(ctx, d.socket)
	if err != nil {
		return end, errors.Join(err, ledger.Close())
	}
	defer socket.Close()

	// If one task ends, all end. The loop ends last, so that pages and DNS are gone when the gate closes.
	tasksCtx, endTasks := context.WithCancel(ctx)
	defer endTasks()
	var first sync.Once
	d.end = func(e exitReason) {
		first.Do(func() { end = e })
		endTasks()
	}
	d.updater = &configUpdater{
		file: d.file(), history: config.History{Dir: filepath.Join(d.state, versionsFolder)}, pending: d.pending,
		applied: d.appliedText(), box: d.box, note: d.journal.Note, now: time.Now, log: d.log, hangups: d.hangups,
		restart: func(c *config.Config, why string) { d.end(exitReason{action: restarts, why: why, config: c}) },
	}
	loopCtx, stopLoop := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLoop()
	loop, loopDone := errgroup.Group{}, make(chan struct{})
	loop.Go(func() error {
		defer close(loopDone)
		handover, err := d.box.Run(loopCtx)
		return errors.Join(err, d.writeHandover(handover))
	})
	tasks, taskCtx := errgroup.WithContext(tasksCtx)
	wired := &wiredSide{Daemon: d, lines: reader, conf: d.box.Config, changed: make(chan struct{}, 1), listen: listenOnLine}
	tasks.Go(func() error {
		return reader.Watch(taskCtx, func(what uplink.Change) {
			if what&uplink.Shaping != 0 {
				g.MarkDirty()
			}
			if what&uplink.Links != 0 {
				wired.wake()
			}
			d.box.Wake()
		}, g.PortID())
	})
	tasks.Go(func() error { return prober.Run(taskCtx) })
	tasks.Go(func() error { return d.machine.prober.Run(taskCtx) })
	tasks.Go(func() error { return asker.Run(taskCtx) })
	tasks.Go(func() error { return children.Run(taskCtx) })
	keeper := &names.Monitor{Name: plan.CanaryName, Fail: children.Fail}
	for _, s := range plan.NameServers {
		keeper.Servers = append(keeper.Servers, names.Server{
			Child: s.Child, Addr: netip.AddrPortFrom(d.config.Hotspot.Address.Addr(), s.Port),
		})
	}
	tasks.Go(func() error { return keeper.Run(taskCtx) })
	tasks.Go(func() error { return d.fetcher.Run(taskCtx) })
	tasks.Go(func() error { return d.doctor.Run(taskCtx) })
	tasks.Go(func() error { return d.reports.run(taskCtx) })
	tasks.Go(func() error { return d.diagnoses.run(taskCtx) })
	tasks.Go(func() error { return d.member.run(taskCtx) })
	tasks.Go(func() error { return d.sticks.run(taskCtx) })
	tasks.Go(func() error { return d.releases.run(taskCtx) })
	tasks.Go(func() error { return d.servePages(taskCtx) })
	tasks.Go(func() error { return d.serveSecure(taskCtx, ledger, wired) })
	tasks.Go(func() error { return d.day.Watch(taskCtx, time.Now, d.status) })
	tasks.Go(func() error {
		now := func() time.Time { return time.Now().In(d.box.Config().Box.Timezone) }
		return d.refusals.Watch(taskCtx, now, d.status, func(err error) { d.log.Warn("write the sums of refusals", "error", err) })
	})
	tasks.Go(func() error {
		return d.months.Watch(taskCtx, d.monthSample, func(err error) { d.log.Warn("write the sums of months", "error", err) })
	})
	for _, share := range d.shares {
		if share.Run != nil {
			tasks.Go(func() error { return share.Run(taskCtx) })
		}
	}
	tasks.Go(func() error {
		return serve(taskCtx, control.NewServer(controlled{d.box, d, ledger}, d.log), socket)
	})
	if _, broken := ledger.accountStore.(failedStore); broken {
		tasks.Go(func() error { return d.retryStore(taskCtx) })
	}
	tasks.Go(func() error { return d.card.watch(taskCtx, func() { d.migrate(ledger) }) })
	wireless.start(taskCtx, tasks)
	if d.untouched() {
		tasks.Go(func() error { return d.followRadio(taskCtx) })
	}
	tasks.Go(func() error { return d.servePanel(taskCtx, board) })
	tasks.Go(func() error { return d.updater.followHangups(taskCtx, d.hangups) })
	tasks.Go(func() error { return d.forgetEnded(taskCtx) })
	tasks.Go(func() error { return d.pending.watch(taskCtx, d.updater, d.onAir) })
	tasks.Go(func() error { return d.notifySystemd(taskCtx) })
	tasks.Go(func() error { return dog.Run(taskCtx, d.healthy) })
	tasks.Go(func() error { return boundMemory(taskCtx) })
	err = tasks.Wait()
	stopLoop()
	<-loopDone
	d.updater.close()
	return end, errors.Join(err, loop.Wait())
}

// Shares returns the residents' shares, in the order of their links on the first page. Each has its content in a folder of the
// state folder. conf returns the configuration: whether the board of mutual aid is open, the box's zone, and the network name of
// phones that lend. offers are the loans that wait for the desk.
func Shares(state string, log *slog.Logger, conf func() *config.Config, offers *lend.Room) []web.Share {
	return []web.Share{
		tutorials.New(Content(state, "tutorials"), log).Share(),
		places.New(Content(state, "places"), log).Share(),
		voice.New(voice.Options{
			Dir: Content(state, "voice"), Log: log, Services: publicServices(),
			Now:   func() time.Time { return time.Now().In(conf().Box.Timezone) },
			Board: func() bool { return conf().Board.Enabled },
		}).Share(),
		lend.New(lend.Options{
			Room: offers, Now: time.Now, Name: func() string { return conf().Lend.Name.String() },
		}).Share(),
	}
}

// publicServices are the services that residents may rate, whether or not they are open without a session here.
func publicServices() (all []state.Service) {
	for _, s := range (config.Essential{Names: []string{config.France}}).Services() {
		all = append(all, state.Service(s))
	}
	return all
}

// Content returns a share's folder in a state folder.
func Content(state, share string) string { return filepath.Join(state, share) }

// file returns the configuration's file.
func (d *Daemon) file() config.File { return config.File{Path: d.paths.config} }

// versionsFolder, in the state folder, has the last versions of the configuration.
const versionsFolder = "versions"

// countsFolder, in the state folder, has the sums of the pages' counters.
const countsFolder = "counts"

// pauseFolder, in the state folder, has a pause that ends on the next day.
const pauseFolder = "pause"

// setupDir returns the folder of the answers given at the first start, until there is a configuration. They may include a
// lender's password.
func (d *Daemon) setupDir() string { return filepath.Join(d.state, "setup") }

// appliedText returns the text of the configuration in use, nil if that is not the file's.
func (d *Daemon) appliedText() []byte {
	text, _, err := d.file().Read()
	if err != nil || d.refused != nil || !d.configured {
		return nil
	}
	return text
}

// onAir waits until residents can reach the box: the plan is applied, and the hotspot's radio is on.
func (d *Daemon) onAir(ctx context.Context) error {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		s := d.box.Status()
		wifi := s.Hotspot.WiFi
		if s.State != state.Starting && s.State != state.Fault &&
			(wifi == nil || wifi.On && wifi.SSID == d.box.Config().Hotspot.SSID) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-look.C:
		}
	}
}

// status returns the box's status, with the counts of its pages.
func (d *Daemon) status() state.Status {
	s := d.box.Status()
	s.Residents.Refused = d.portal.Refused()
	return s
}

// healthy returns an error unless the box works.
func (d *Daemon) healthy() error {
	pages := netip.AddrPortFrom(d.config.Hotspot.Address.Addr(), plan.PortPortal)
	return health.Check(time.Since(d.box.LastReconcile()), d.portal.Served(), d.box.Site().State, pages)
}

// notifySystemd notifies systemd that the box is ready, once its first plan has been applied or has failed, and of each new
// State.
func (d *Daemon) notifySystemd(ctx context.Context) error {
	sent := state.Starting
	for {
		now, err := d.box.NextState(ctx, sent)
		if err != nil {
			return nil
		}
		send := d.notifier.Status
		if sent == state.Starting {
			send = d.notifier.Ready
		}
		send(string(now) + ": " + d.box.Status().Why)
		sent = now
	}
}

// leases reads dnsmasq's leases. A missing file is not an error: dnsmasq may not have started.
func (d *Daemon) leases() ([]bindings.Lease, error) {
	text, err := os.ReadFile(plan.Leases(d.runDir()))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read leases: %w", err)
	}
	return bindings.ParseLeases(string(text), time.Now(), d.box.Config().Hotspot.Lease), nil
}

// dnsUser returns the user ID that dnsmasq runs as, "" if there is no such user.
func dnsUser() string {
	u, err := user.Lookup(plan.DNSUser)
	if err != nil {
		return ""
	}
	return u.Uid
}

// memory returns the machine's memory in bytes, 0 if unknown.
func memory() uint64 {
	var i unix.Sysinfo_t
	if err := unix.Sysinfo(&i); err != nil {
		return 0
	}
	return uint64(i.Totalram) * uint64(i.Unit)
}
