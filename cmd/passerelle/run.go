package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"passerelle/appliance"
	"passerelle/appliance/admin"
	"passerelle/appliance/bindings"
	"passerelle/appliance/clock"
	"passerelle/appliance/config"
	"passerelle/appliance/supervise"
	"passerelle/captive"
	"passerelle/captive/tutorials"
	"passerelle/captive/web"
	"passerelle/hw"
	"passerelle/netctl/arp"
	"passerelle/netctl/gate"
	"passerelle/netctl/names"
	"passerelle/netctl/plan"
	"passerelle/netctl/uplink"
)

// paths are the files that the daemon uses. They are absolute: its children have working directories of their own.
type paths struct {
	config, state, socket string
}

// absolute makes the paths absolute that a command was given.
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

// runDir is the folder in memory: the socket's.
func (p paths) runDir() string { return filepath.Dir(p.socket) }

func run(ctx context.Context, c *cli, args []string) error {
	var p paths
	var verbose, setup bool
	if _, err := c.flags("run", args, 0, func(f *flag.FlagSet) {
		f.StringVar(&p.config, "config", defaultConfig, "the configuration `FILE`")
		f.StringVar(&p.state, "state", defaultState, "the `FOLDER` for what must survive a power cut")
		f.StringVar(&p.socket, "socket", defaultSocket, "the control socket; its folder must be in memory")
		f.BoolVar(&setup, "setup", false, "without a configuration wait for one in State setup, as a box does; else that is an error")
		f.BoolVar(&verbose, "verbose", false, "log what changes in the kernel")
	}); err != nil {
		return err
	}
	if err := p.absolute(); err != nil {
		return err
	}
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	bounded := newLog(c.err, level)
	defer bounded.Close()
	log := slog.New(bounded)
	unix.Umask(0o077)      // what is made here or by a child is for nobody else, but for what says so
	debug.SetGCPercent(40) // on a board of 512 MB memory is dearer than the time to clean it up
	d := &daemon{paths: p, log: log, manager: newManager(log), hangups: c.hangups, reloads: make(chan chan<- error)}
	// As many as there are cores: so the loop, which loses its place with each message to the kernel, has it again after a
	// request or two, and not after all that came in.
	d.slots = web.NewSlots(runtime.GOMAXPROCS(0))
	if err := d.begin(setup); err != nil {
		return err
	}
	if d.refused != nil {
		fmt.Fprintln(c.err, d.refused.cause) // each problem
		log.Error(d.refused.Error())
	}
	if d.configured {
		c.warnOfReaders(p.config, d.config)
		c.warnOfUser()
		c.warnOfMisfits(log, d.config)
	}
	defer d.forgetLater(log)
	return d.runAll(ctx)
}

// daemon wires the parts.
type daemon struct {
	paths
	config     *config.Config
	configured bool     // by a technician
	refused    *refusal // of what the technician wrote, nil if there was none
	log        *slog.Logger
	manager    manager
	box        *appliance.Box
	portal     *captive.Server
	slots      *web.Slots // for the requests of all pages
	lessons    atomic.Pointer[tutorials.Library]
	hangups    chan os.Signal    // SIGHUP, also one from before this daemon began
	reloads    chan chan<- error // see takeUp
}

func (d *daemon) run(ctx context.Context) error {
	unlock, err := d.takeMemory(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	aside := d.aside()

	g, err := gate.New(context.WithoutCancel(ctx), time.Now) // a program that it asks is not killed: that would look like a fault
	if err != nil {
		return err
	}
	reader, err := uplink.Open(os.DirFS("/"))
	if err != nil {
		return err
	}
	defer reader.Close()

	wake := func() { d.box.Wake() }
	children := supervise.New(supervise.Options{
		Dir: filepath.Join(d.runDir(), "pids"), Log: d.log, Scrub: supervise.WithoutAddresses, Wake: wake,
	})
	prober := uplink.NewProber(uplink.ProberOptions{
		Log: d.log, Wake: wake, Flows: reader.Flows, Sent: reader.Sent,
		Own:       netip.AddrPortFrom(d.config.Hotspot.Address.Addr(), plan.PortDNS),
		OwnFailed: func(why string) { children.Fail(plan.ChildDNS, why) },
	})
	ledger, err := d.openAccounts()
	if err != nil {
		return err
	}
	defer ledger.Close()
	d.readLessons()
	kept := d.kept()
	board := d.board()
	radios := d.newRadios(board, wake)
	asker := arp.New(plan.Hotspot(d.config), d.config.Hotspot.Address.Addr(), d.log, wake)
	d.box = appliance.New(appliance.Parts{
		Config: d.config, Configured: d.configured, Gate: g, Uplinks: reader, Prober: prober, Children: children,
		Joiner: radios.joiner, Air: radios.keeper, Beacons: radios.hostapd,
		Board:  boardStatus(board, hw.NewSensors(os.DirFS("/"), time.Now)),
		Leases: d.leases, Asker: asker, Memory: memory(), NamesUser: namesUser,
		Accounts: ledger, Books: ledger.books, Paused: ledger.paused, Lost: ledger.aside,
		Clock: clock.New(clock.System(), kept.Trust), Boot: bootID(),
		RunDir: d.runDir(), Now: time.Now, Log: d.log,
		Keep: d.keep, Kept: kept, Aside: aside, TookUp: d.removeAside,
		Accept: d.accept, Refused: d.refused.whileUsing(d.config),
	})

	d.portal = captive.New(pages{d.box, d.lessons.Load}, d.log, time.Now)

	dog, err := newWatchdog(d.log, d.manager, d.config.Hardware.Watchdog)
	if err != nil {
		return errors.Join(err, ledger.Close())
	}

	// It is open before the box says by a page, or to systemd, that it is healthy: who is told so may ask for its status.
	control, err := d.openControl(ctx)
	if err != nil {
		return errors.Join(err, ledger.Close())
	}
	defer control.Close()

	// Whatever ends, ends all; the loop is told last, so that pages and names are gone when the gate closes.
	outer, stop := context.WithCancel(ctx)
	defer stop()
	loopCtx, stopLoop := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLoop()
	loop, loopDone := errgroup.Group{}, make(chan struct{})
	loop.Go(func() error {
		defer close(loopDone)
		aside, err := d.box.Run(loopCtx)
		return errors.Join(err, d.setAside(aside))
	})
	tasks, taskCtx := errgroup.WithContext(outer)
	tasks.Go(func() error {
		return reader.Watch(taskCtx, func(what uplink.Change) {
			if what&uplink.Shaping != 0 {
				g.Disturbed()
			}
			d.box.Wake()
		}, g.Port())
	})
	tasks.Go(func() error { return prober.Run(taskCtx) })
	tasks.Go(func() error { return asker.Run(taskCtx) })
	tasks.Go(func() error { return children.Run(taskCtx) })
	keeper := &names.Keeper{Name: plan.FileName, Fail: children.Fail}
	for _, s := range plan.NameServers {
		keeper.Servers = append(keeper.Servers, names.Server{
			Child: s.Child, Addr: netip.AddrPortFrom(d.config.Hotspot.Address.Addr(), s.Port),
		})
	}
	tasks.Go(func() error { return keeper.Run(taskCtx) })
	tasks.Go(func() error { return d.servePages(taskCtx) })
	tasks.Go(func() error { return d.serveSecure(taskCtx, ledger) })
	tasks.Go(func() error { return d.serveControl(taskCtx, control, ledger) })
	if _, broken := ledger.accounts.(noAccounts); broken {
		tasks.Go(func() error { return d.awaitDisk(taskCtx) })
	}
	radios.start(taskCtx, tasks)
	tasks.Go(func() error { return d.servePanel(taskCtx, board) })
	tasks.Go(func() error { return d.awaitReloads(taskCtx) })
	tasks.Go(func() error { return d.tellManager(taskCtx) })
	tasks.Go(func() error { return dog.Run(taskCtx, d.healthy) })
	err = tasks.Wait()
	stopLoop()
	<-loopDone
	return errors.Join(err, loop.Wait())
}

// leases reads what dnsmasq has leased. Before it starts there is no file.
func (d *daemon) leases() ([]bindings.Lease, error) {
	text, err := os.ReadFile(plan.Leases(d.runDir()))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read leases: %w", err)
	}
	return bindings.ParseLeases(string(text), time.Now(), d.box.View().Config.Hotspot.Lease), nil
}

// namesUser returns the number of the user that dnsmasq becomes, "" while there is none.
func namesUser() string {
	u, err := user.Lookup(plan.DNSUser)
	if err != nil {
		return ""
	}
	return u.Uid
}

// memory returns the bytes of memory that the machine has, 0 if it does not say.
func memory() uint64 {
	var i unix.Sysinfo_t
	if err := unix.Sysinfo(&i); err != nil {
		return 0
	}
	return uint64(i.Totalram) * uint64(i.Unit)
}

// serveSecure serves lenders.
func (d *daemon) serveSecure(ctx context.Context, tokens admin.Tokens) error {
	l, err := d.listen(ctx, plan.PortSecure)
	if err != nil {
		return fmt.Errorf("serve lenders' pages: %w", err)
	}
	c := &certificate{path: filepath.Join(d.state, certificateFile), site: d.names, now: time.Now, log: d.log}
	return c.serve(ctx, captive.Limit(l, d.slots), admin.New(admin.Parts{
		Site: d.site, Lenders: lenders{d.box}, Tokens: tokens, Now: time.Now, Log: d.log,
	}))
}

// servePages serves residents.
func (d *daemon) servePages(ctx context.Context) error {
	l, err := d.listen(ctx, plan.PortPortal)
	if err != nil {
		return fmt.Errorf("serve residents' pages: %w", err)
	}
	return serve(ctx, d.portal.HTTPServer(), captive.Limit(l, d.slots))
}

// listen listens on the box's address. The listener is bound before the hotspot has its address, and outlives its
// interface.
func (d *daemon) listen(ctx context.Context, port uint16) (net.Listener, error) {
	free := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		ctlErr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1) })
		return errors.Join(ctlErr, err)
	}}
	return free.Listen(ctx, "tcp4", netip.AddrPortFrom(d.config.Hotspot.Address.Addr(), port).String())
}

// serve serves until ctx ends, then gives running requests a moment.
func serve(ctx context.Context, s *http.Server, l net.Listener) error {
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if err := s.Shutdown(grace); err != nil {
			stopped <- s.Close()
			return
		}
		stopped <- nil
	})
	err := s.Serve(l)
	if stop() { // it ended by itself
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return <-stopped
}

// What the daemon keeps in memory's file system. It holds for one boot of the machine.
type (
	keptFile struct {
		Boot string         `json:"boot"`
		Kept appliance.Kept `json:"kept"`
	}
	asideFile struct {
		Boot string        `json:"boot"`
		At   time.Duration `json:"at"` // since boot
		appliance.Aside
	}
)

func (d *daemon) keep(k appliance.Kept) error {
	return writeJSON(d.keptPath(), keptFile{Boot: bootID(), Kept: k})
}

func (d *daemon) kept() appliance.Kept {
	var f keptFile
	if err := readJSON(d.keptPath(), &f); err != nil {
		d.log.Warn("what the last daemon kept cannot be read: this one begins anew", "error", err)
		return appliance.Kept{}
	}
	if f.Boot != bootID() {
		return appliance.Kept{}
	}
	return f.Kept
}

// setAside writes what is for a daemon that starts soon. It holds residents' addresses, as the leases do: it lies in memory,
// for this boot and for five minutes. Also with nothing in it, it says since when the leases are nobody's.
func (d *daemon) setAside(a appliance.Aside) error {
	err := writeJSON(d.asidePath(), asideFile{Boot: bootID(), At: clock.SinceBoot(), Aside: a})
	if err != nil {
		err = errors.Join(err, d.forgetResidents()) // nobody would know how old they are
	}
	return err
}

// aside returns what was set aside, and forgets what is too old, leases included.
func (d *daemon) aside() (a appliance.Aside) {
	f, err := d.readAside()
	if errors.Is(err, fs.ErrNotExist) {
		return a
	}
	if left := f.left(asideFor); err == nil && left > 0 {
		return f.After(asideFor - left)
	}
	if err = errors.Join(err, d.forgetResidents()); err != nil {
		d.log.Warn("what was set aside cannot be taken up", "error", err)
	}
	return a
}

// removeAside removes what was set aside, once it has been taken up.
func (d *daemon) removeAside() error {
	if err := os.Remove(d.asidePath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove what was set aside: %w", err)
	}
	return nil
}

func writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	// Beside it, not in /tmp: what a killed daemon did not finish goes with the rest.
	if err := renameio.WriteFile(path, b, 0o600, renameio.WithTempDir(filepath.Dir(path))); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// readJSON leaves v alone if there is no such file.
func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// bootID names this boot of the machine (Documentation/admin-guide/sysctl/kernel.rst).
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}
