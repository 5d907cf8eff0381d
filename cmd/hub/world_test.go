package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"passerelle/appliance/fleet"
	"passerelle/appliance/fleet/protocol"
	"passerelle/cmd/hub/registry"
	"passerelle/cmd/internal/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"passerelle-hub": main, "box-daemon": boxDaemon, "box-card": boxCard})
}

// waitFor is how long a test waits for something that must happen.
const waitFor = 2 * time.Minute

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(waitFor); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not after %s: %s", waitFor, what)
		}
	}
}

// testClock is the hubs' clock.
type testClock struct {
	mu    sync.Mutex
	later time.Duration
}

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.later)
}

func (c *testClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.later += d
}

// world is a fleet on the loopback interface.
type world struct {
	*testing.T
	dirs   []string // the hubs' folders
	hubs   []string // HOST:PORT
	bundle protocol.Bundle
	clock  testClock
	pids   map[int]int // process ids by hub, of those that run as programs
}

// newWorld makes a fleet of hubs with the command that volunteers use, on free ports.
func newWorld(t *testing.T, hubs int) *world {
	t.Helper()
	w := &world{T: t}
	dir := filepath.Join(t.TempDir(), "fleet")
	args := []string{"init", dir}
	for range hubs {
		args = append(args, "127.0.0.1")
	}
	var out bytes.Buffer
	if code := (&tool{out: &out, err: &out, now: time.Now}).main(args); code != 0 {
		t.Fatalf("init: %d, %s", code, &out)
	}
	text, err := os.ReadFile(filepath.Join(dir, fileBundle))
	if err != nil {
		t.Fatal(err)
	}
	if w.bundle, err = protocol.ParseBundle(text); err != nil {
		t.Fatal(err)
	}
	free := freePorts(t, 2*hubs)
	for i := range hubs {
		d := filepath.Join(dir, "hub-"+string(rune('1'+i)))
		w.dirs = append(w.dirs, d)
		f, err := openFolder(d)
		if err != nil {
			t.Fatal(err)
		}
		c := f.config
		c.Store, c.Listen, c.Pages, c.Backups = "store", free[i], "", ""
		if hubs > 1 {
			c.Cluster, c.Hubs = free[hubs+i], free[hubs:]
		}
		if err := os.WriteFile(filepath.Join(d, fileConfig), []byte(c.text()), 0o600); err != nil {
			t.Fatal(err)
		}
		w.hubs = append(w.hubs, free[i])
	}
	return w
}

func freePorts(t *testing.T, n int) (addresses []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addresses = append(addresses, l.Addr().String())
	}
	return addresses
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// inside starts hub i in this process. The function that it returns stops it.
func (w *world) inside(i int) (stop func()) {
	w.Helper()
	f, err := openFolder(w.dirs[i])
	if err != nil {
		w.Fatal(err)
	}
	h, err := startHub(f, w.clock.now, quiet())
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.Context())
	served := make(chan error, 1)
	go func() { served <- h.serve(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			w.Error(err)
		}
	})
	w.Cleanup(stop)
	return stop
}

// process starts hub i as a program. The function that it returns kills it with SIGKILL.
func (w *world) process(i int) (kill func()) {
	w.Helper()
	c := exec.Command("passerelle-hub", "run", "--dir", w.dirs[i])
	var log bytes.Buffer
	c.Stdout, c.Stderr = &log, &log
	if err := c.Start(); err != nil {
		w.Fatal(err)
	}
	if w.pids == nil {
		w.pids = map[int]int{}
	}
	w.pids[i] = c.Process.Pid
	kill = sync.OnceFunc(func() {
		c.Process.Kill()
		c.Wait()
		if w.Failed() {
			w.Logf("hub %d:\n%s", i+1, &log)
		}
	})
	w.Cleanup(kill)
	return kill
}

// desk returns the registry of hub i, once that hub serves.
func (w *world) desk(i int) *registry.Registry {
	w.Helper()
	f, err := openFolder(w.dirs[i])
	if err != nil {
		w.Fatal(err)
	}
	var r *registry.Registry
	eventually(w.T, "the hub serves", func() bool {
		d, closeIt, err := f.desk(w.Context(), w.clock.now)
		if err != nil {
			return false
		}
		w.Cleanup(closeIt)
		r = d
		return true
	})
	return r
}

// box is a box's client, without the rest of its daemon.
type box struct {
	*fleet.Client
	w    *world
	dir  string
	stop func()

	mu      sync.Mutex
	dials   int
	command string
	reports map[string]string // that the box still has to read back from the hub
	shown   map[string]string
	fetch   func(context.Context, fleet.Source) // nil for nothing
	rounds  int                                 // how many more rounds may report; negative for all
	random  float64
	eager   bool // it begins another round at once, which reads its reports back
}

var quick = fleet.Pace{Ping: time.Hour, Visit: 200 * time.Millisecond, Round: time.Hour, Ask: 10 * time.Millisecond,
	Retry: 20 * time.Millisecond, Most: 100 * time.Millisecond, Spread: time.Millisecond, Timeout: 5 * time.Second}

func (w *world) box(pace fleet.Pace) *box {
	w.Helper()
	b := &box{w: w, dir: w.TempDir(), reports: map[string]string{}, shown: map[string]string{}, rounds: -1}
	b.start(pace)
	b.SetLine(fleet.Line{Name: "fibre", Mode: fleet.Connected})
	return b
}

// start starts the box's client, from its folder.
func (b *box) start(pace fleet.Pace) {
	b.w.Helper()
	var d net.Dialer
	c, err := fleet.New(fleet.Options{
		Dir: b.dir, Hubs: b.w.hubs, Bundle: b.w.bundle, Pace: pace, Now: b.w.clock.now, Log: quiet(),
		Random: func() float64 { // the same few numbers in a cycle
			b.mu.Lock()
			defer b.mu.Unlock()
			b.random += 0.3
			if b.random >= 1 {
				b.random -= 1
			}
			return b.random
		},
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			b.mu.Lock()
			b.dials++
			b.mu.Unlock()
			return d.DialContext(ctx, network, address)
		},
		Box: fleet.Box{
			Command: func(body []byte) { b.locked(func() { b.command = string(body) }) },
			Reports: func() (all []fleet.Report) {
				eager := false
				defer func() {
					if eager && len(all) > 0 {
						b.Look()
					}
				}()
				b.locked(func() {
					eager = b.eager
					if b.rounds == 0 {
						return
					}
					if len(b.reports) > 0 {
						b.rounds--
					}
					for name, body := range b.reports {
						all = append(all, fleet.Report{Name: name, Body: []byte(body)})
					}
				})
				return all
			},
			Fetch: func(ctx context.Context, s fleet.Source, _ fleet.Group) {
				var fetch func(context.Context, fleet.Source)
				b.locked(func() { fetch = b.fetch })
				if fetch != nil {
					fetch(ctx, s)
				}
			},
			Shown: func(r fleet.Report) {
				b.locked(func() {
					b.shown[r.Name] = string(r.Body)
					if b.reports[r.Name] == string(r.Body) {
						delete(b.reports, r.Name)
					}
				})
			},
		},
	})
	if err != nil {
		b.w.Fatal(err)
	}
	b.Client = c
	ctx, cancel := context.WithCancel(b.w.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.Run(ctx)
	}()
	b.stop = sync.OnceFunc(func() {
		cancel()
		<-ended
	})
	b.w.Cleanup(b.stop)
}

func (b *box) locked(do func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	do()
}

// report has the box report something, in each round until it has read it back.
func (b *box) report(name, body string) { b.locked(func() { b.reports[name] = body }) }

// reportOnce has the box report something in one round only, until delivered is called.
func (b *box) reportOnce(name, body string) {
	b.locked(func() { b.rounds, b.reports[name] = 1, body })
	b.Look()
}

func (b *box) pending() (n int) {
	b.locked(func() { n = len(b.reports) })
	return n
}

// delivered waits until the box has read all its reports back, in as many rounds as that takes.
func (b *box) delivered() {
	b.w.Helper()
	b.locked(func() { b.rounds = -1 })
	eventually(b.w.T, "the reports are shown", func() bool {
		b.Look()
		return b.pending() == 0
	})
}

// enrol makes a box a member, with a sticker and a confirmation.
func (b *box) enrol(d *registry.Registry, association string) {
	b.w.Helper()
	code, err := d.MakeSticker(b.w.Context(), "ana", association, b.w.clock.now().AddDate(0, 0, 1))
	if err != nil {
		b.w.Fatal(err)
	}
	if err := b.Enrol(code); err != nil {
		b.w.Fatal(err)
	}
	eventually(b.w.T, "the box waits for its person", func() bool { return b.Status().Stage == fleet.Waiting })
	words := b.Status().Words
	if err := d.Confirm(b.w.Context(), "ana", b.Status().Box, words[:]); err != nil {
		b.w.Fatal(err)
	}
	eventually(b.w.T, "the box is a member", func() bool { return b.Status().Stage == fleet.Member })
}

// membership reads the seed and the token from the box's folder, as a thief of its card could.
func (b *box) membership() (m struct{ Seed, Token string }) {
	b.w.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, "membership.json"))
	if err != nil {
		b.w.Fatal(err)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		b.w.Fatal(err)
	}
	return m
}

func (w *world) association(d *registry.Registry, name, region string) {
	w.Helper()
	if err := d.AddAssociation(w.Context(), "ana", name, region); err != nil {
		w.Fatal(err)
	}
}

// show returns what the hub shows of a box's reports.
func (w *world) show(d *registry.Registry, b *box, name string) string {
	w.Helper()
	text, err := d.Report(w.Context(), b.Status().Association, b.Status().Box, name)
	if err != nil {
		w.Fatal(err)
	}
	return string(text)
}

// typed runs a command, and fails the test unless its exit code is want and its output matches pattern.
func (w *world) typed(want int, pattern string, words ...string) {
	w.Helper()
	var out bytes.Buffer
	if code := (&tool{out: &out, err: &out, now: w.clock.now}).main(words); code != want || !regexp.MustCompile(pattern).Match(out.Bytes()) {
		w.Errorf("%q: exit %d, want %d and %q:\n%s", words, code, want, pattern, &out)
	}
}

// offline returns the folder that stays offline.
func (w *world) offline() string { return filepath.Join(filepath.Dir(w.dirs[0]), dirOffline) }

// TestInit: a fleet's folder is private, no hub's folder has an offline seed, and an existing folder is not overwritten.
func TestInit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	fleetDir := filepath.Dir(w.dirs[0])
	seeds, err := os.ReadFile(filepath.Join(fleetDir, dirOffline, fileSeeds))
	if err != nil {
		t.Fatal(err)
	}
	offline := map[string]string{}
	if err := json.Unmarshal(seeds, &offline); err != nil || len(offline) != 5 {
		t.Fatalf("%d seeds, %v", len(offline), err)
	}
	if err := filepath.Walk(fleetDir, func(name string, i os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		if i.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s can be read by others: %s", name, i.Mode())
		}
		if i.IsDir() || strings.HasPrefix(name, filepath.Join(fleetDir, dirOffline)) {
			return nil
		}
		text, err := os.ReadFile(name)
		for what := range maps.Keys(offline) {
			if bytes.Contains(text, []byte(offline[what])) {
				t.Errorf("%s has the seed of %s, which is for no hub", name, what)
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	tl := &tool{out: &out, err: &out, now: time.Now}
	if code := tl.main([]string{"init", fleetDir, "a.example.org"}); code != cli.Failed || !regexp.MustCompile(`exists`).Match(out.Bytes()) {
		t.Errorf("a fleet is made over another: %d, %s", code, &out)
	}
	if code := tl.main([]string{"init", filepath.Join(fleetDir, "x"), "a.example.org", "b.example.org"}); code != cli.Misuse {
		t.Errorf("a fleet of two hubs: %d, %s", code, &out)
	}
}
