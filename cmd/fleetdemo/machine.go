package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"passerelle/appliance/fleet/trust"
	"passerelle/appliance/health"
	"passerelle/cmd/internal/box"
	"passerelle/image/proof"
	"passerelle/image/slot"
	"passerelle/image/stick"
	"passerelle/image/update"
	"passerelle/image/update/agent"
	"passerelle/image/update/plan"
	"passerelle/netctl/netlab"
)

// trialPace is the pace of a system's trial here. The usual ten minutes would be too long for the story.
var trialPace = health.Pace{Settle: time.Second, Limit: 5 * time.Second, Every: 200 * time.Millisecond}

// machine is the board of a box: a card, made of files, and the program of the slot that is booted. It does what U-Boot, the kernel's command
// line and systemd do on the image: it counts the tries of a slot, starts the daemon and the prover that judges it, and restarts both.
type machine struct {
	scene   *netlab.Scene
	how     box.Setup
	folder  string
	trust   []byte // the root of trust
	daemon  *box.Daemon
	log     *slog.Logger
	restart chan struct{} // receives when a restart is requested

	mu    sync.Mutex
	card  slot.Card
	boots []slot.Name // the slots that were booted, in order

	stop  context.CancelFunc
	tasks sync.WaitGroup
}

// newMachine returns a machine that is switched off, with a system in slot a that is marked good.
func newMachine(ctx context.Context, scene *netlab.Scene, trustFile string, how box.Setup, s system) (*machine, error) {
	m := &machine{scene: scene, how: how, folder: filepath.Join(scene.Dir(), "machine"), log: slog.New(slog.DiscardHandler), restart: make(chan struct{}, 1)}
	m.card = slot.Card{Running: slot.A, Device: filepath.Join(m.folder, "card")}
	err := os.Mkdir(m.folder, 0o755)
	if err == nil {
		m.trust, err = os.ReadFile(trustFile)
	}
	for name, size := range map[string]int64{m.card.Device: 4 << 20, m.slotFile(slot.A): slot.SlotSize, m.slotFile(slot.B): slot.SlotSize} {
		if err == nil {
			err = os.WriteFile(name, nil, 0o600)
		}
		if err == nil {
			err = os.Truncate(name, size)
		}
	}
	if err == nil {
		err = s.install(m.slotFile(slot.A))
	}
	if err == nil {
		_, err = m.card.Update(func(s slot.State) slot.State { return s })
	}
	if err == nil {
		err = m.commandLine()
	}
	if err == nil {
		_, err = scene.Box.Run(ctx, "mount", "--bind", m.path("cmdline"), "/proc/cmdline")
	}
	if err != nil {
		return nil, fmt.Errorf("make a card: %w", err)
	}
	return m, nil
}

func (m *machine) path(name string) string { return filepath.Join(m.folder, name) }

func (m *machine) slotFile(n slot.Name) string {
	return fmt.Sprintf("%s%d", m.card.Device, n.Partition())
}

// commandLine writes the kernel's command line, as the boot script sets it. The file is bind-mounted, so it must be written in place.
func (m *machine) commandLine() error {
	return os.WriteFile(m.path("cmdline"), []byte("quiet passerelle.slot="+string(m.card.Running)+"\n"), 0o644)
}

// program returns the path of the booted slot's program.
func (m *machine) program() string { return m.path("passerelle") }

// boot chooses a slot as the boot script does, and installs its program as the box's.
func (m *machine) boot() error {
	s, err := m.card.Update(slot.State.Boot)
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.card.Running = s.Slot
	m.boots = append(m.boots, s.Slot)
	m.mu.Unlock()
	if err := m.commandLine(); err != nil {
		return err
	}
	text, err := programIn(m.slotFile(s.Slot))
	if err != nil {
		return err
	}
	next := m.program() + ".next" // a running program's file cannot be written
	if err := os.WriteFile(next, text, 0o755); err != nil {
		return err
	}
	return os.Rename(next, m.program())
}

// switchOn starts the machine, and returns once its box shares.
func (m *machine) switchOn(ctx context.Context) error {
	if err := m.boot(); err != nil {
		return err
	}
	running, stop := context.WithCancel(context.Background())
	m.stop = stop
	if err := m.serveCard(running); err != nil {
		return err
	}
	_, err := m.prove(running) // the note of the slots must exist before the daemon starts
	if err != nil {
		return err
	}
	if m.daemon, err = box.Start(ctx, m.program(), m.scene, m.how); err != nil {
		return err
	}
	m.tasks.Go(func() {
		for {
			select {
			case <-running.Done():
				return
			case <-m.restart:
			}
			if err := m.reboot(running); err != nil {
				m.log.Error("restart", "error", err)
			}
		}
	})
	return nil
}

// prove starts the prover, which judges a system on trial, as its systemd unit does: if the system does not prove itself, the machine restarts.
// prove returns once the note of the slots is written. The function that it returns stops the prover.
func (m *machine) prove(ctx context.Context) (end func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	ready, ended, booted := make(chan struct{}), make(chan struct{}), time.Now()
	state := m.scene.Box.Path("/state")
	if err := os.MkdirAll(state, 0o700); err != nil {
		cancel()
		return nil, err
	}
	p := proof.Prover{
		Card: m.running(), Note: m.scene.Box.Path(slot.NotePath), State: state, Pace: trialPace, Log: m.log,
		Uptime: func() time.Duration { return time.Since(booted) }, Ready: func(string) { close(ready) },
		Works: func(ctx context.Context) error { return proof.BoxWorks(ctx, m.daemon.Client, m.pages) },
	}
	go func() {
		defer close(ended)
		if p.Run(ctx) != nil {
			m.askRestart()
		}
	}()
	select {
	case <-ready:
	case <-ended:
	}
	return func() { cancel(); <-ended }, nil
}

// pages checks, from the box, that the box's own page answers.
func (m *machine) pages(at netip.AddrPort) error {
	r, err := m.scene.Box.HTTPClient().Get("http://" + at.String() + "/healthz")
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return errors.New(r.Status)
	}
	return nil
}

func (m *machine) running() slot.Card {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.card
}

// booted returns the slots that were booted so far.
func (m *machine) booted() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []string
	for _, n := range m.boots {
		all = append(all, string(n))
	}
	return strings.Join(all, " ")
}

func (m *machine) askRestart() {
	select {
	case m.restart <- struct{}{}:
	default:
	}
}

// reboot restarts the machine once: it stops the daemon, boots the slot that is next, and starts its prover and its daemon.
func (m *machine) reboot(ctx context.Context) error {
	if err := m.daemon.Proc.Stop(); err != nil {
		m.log.Warn("the daemon", "error", err)
	}
	if err := m.boot(); err != nil {
		return err
	}
	end, err := m.prove(ctx)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, end)
	return m.daemon.Start(m.how.Args...)
}

// serveCard runs the server that writes the card, separate from the daemon. As with the socket's systemd unit, the server ends when it is
// idle, and is started again.
func (m *machine) serveCard(ctx context.Context) error {
	address := m.scene.Box.Path("/run/passerelle-update.sock")
	l, err := net.Listen("unix", address)
	if err != nil {
		return err
	}
	s := &agent.Server{
		Box: func() (*update.Box, error) {
			return &update.Box{
				Card: m.running(), State: m.scene.Box.Path("/state"), Root: m.trust,
				Clock: trust.Clock{Now: func() (time.Time, bool) { return time.Now(), true }},
			}, nil
		},
		Machine: os.DirFS(m.folder), // without a USB stick
		Mount:   stick.MountIn(m.folder), Log: m.log, Restart: func() error { m.askRestart(); return nil },
	}
	m.tasks.Go(func() {
		for {
			if err := s.Serve(ctx, l); err != nil {
				m.log.Error("the server of the card", "error", err)
			}
			if ctx.Err() != nil {
				return
			}
			os.Remove(address)
			if l, err = net.Listen("unix", address); err != nil {
				m.log.Error("the server of the card", "error", err)
				return
			}
		}
	})
	return nil
}

// asker returns a client of the server of the card, like the daemon's.
func (m *machine) asker() agent.Client {
	return agent.Client{Socket: m.scene.Box.Path("/run/passerelle-update.sock")}
}

// proven tells whether a slot is marked good and is the one to boot next.
func (m *machine) proven(n slot.Name) bool {
	s, _, err := m.card.Read()
	return err == nil && s.Good == n && s.Slot == n
}

// bars tells whether the box has barred a release, by the id of what it puts into a slot.
func (m *machine) bars(id plan.Hash) (bool, error) {
	r, err := update.ReadRecord(m.scene.Box.Path("/state"))
	return slices.Contains(r.Barred, id), err
}

// untouched returns a text that changes when a slot is written: its file's time and size, and the card's state.
func (m *machine) untouched(n slot.Name) (string, error) {
	info, err := os.Stat(m.slotFile(n))
	if err != nil {
		return "", err
	}
	s, _, err := m.card.Read()
	return fmt.Sprintf("%s %d %+v", info.ModTime(), info.Size(), s), err
}

func (m *machine) close() {
	if m.stop != nil {
		m.stop()
		m.tasks.Wait()
	}
}

// system is the content of a slot: a root with the box's program, and a boot container.
type system struct{ root, boot []byte }

// programAt is the program's offset in a root, in bytes, and programSize is its largest size. The rest of that space is zero.
const (
	programAt   = 64 << 10
	programSize = 4 << 10
)

// newSystem returns a system with a program. It depends only on the program. The rest of it is about as large as what changes in a month.
func newSystem(script string) system {
	s := system{noise(1, 400<<10), noise(2, 80<<10)}
	program := s.root[programAt : programAt+programSize]
	clear(program)
	copy(program, script)
	return s
}

// install writes the system into a slot's file, as on a new card.
func (s system) install(file string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(s.root, 0)
	if err == nil {
		_, err = f.WriteAt(s.boot, slot.BootAt)
	}
	return errors.Join(err, f.Close())
}

// programIn returns the program of the system in a slot's file.
func programIn(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text := make([]byte, programSize)
	if _, err := f.ReadAt(text, programAt); err != nil {
		return nil, err
	}
	program, _, found := strings.Cut(string(text), "\x00")
	if !found || program == "" {
		return nil, fmt.Errorf("%s: %w", file, fs.ErrNotExist)
	}
	return []byte(program), nil
}
