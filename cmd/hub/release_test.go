package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"passerelle/appliance/fleet"
	"passerelle/appliance/fleet/mirror"
	"passerelle/appliance/fleet/protocol"
	"passerelle/appliance/fleet/repository"
	"passerelle/appliance/fleet/trust"
	"passerelle/image/slot"
	"passerelle/image/update"
	"passerelle/image/update/agent"
	"passerelle/image/update/offer"
	"passerelle/image/update/pack"
	"passerelle/image/update/plan"
)

var release = flag.Int("release", 0, "how many MB a system of TestRelease has; 0 for no such test")

// TestRelease measures what a release of an image's size costs the hubs, the line and the box. Its content does not compress, so its files
// have three times the bytes of an image's. A box downloads a first release whole, boots it, and then downloads the next one, which differs
// from it as much as releases a month apart do. Each time its connection is cut in the middle.
func TestRelease(t *testing.T) {
	if *release == 0 {
		t.Skip("measures: run it with -args -release 190")
	}
	w := newWorld(t, 3)
	for i := range w.dirs {
		w.process(i)
	}
	d := w.desk(0)
	eventually(t, "the hubs have chosen who writes", func() bool { return d.AddAssociation(t.Context(), "ana", "lilas", "") == nil })
	b := w.box(quick)
	b.enrol(d, "lilas")
	b.stop()
	w.inStep(d)

	people := newPeople(t)
	first := system{noise(1, *release*850_000), noise(2, *release*150_000)}
	month := first.month()
	people.release("2026.11", first, nil)
	card := newCard(t, people.Dir)
	w.put(people.Dir, "the first release")
	w.take(b, card, "the first release, whole", first)
	card.reboot(t)
	people.release("2026.12", month, []pack.Old{{Root: first.root}})
	w.put(people.Dir, "the release of a month later")
	w.take(b, card, "the release of a month later", month)
}

// system is the content of a slot.
type system struct{ root, boot []byte }

func (s system) size() int { return len(s.root) + len(s.boot) }

func noise(seed byte, size int) []byte {
	text := make([]byte, size)
	rand.NewChaCha8([32]byte{seed}).Read(text)
	return text
}

// month returns a system whose root differs in 64 places, 1 % of it in all, and has a new piece of the same size.
func (s system) month() system {
	root := bytes.Clone(s.root)
	const places = 64
	piece := len(root) / 100 / places
	for i := range places {
		copy(root[i*len(root)/places:], noise(byte(100+i), piece))
	}
	at := len(root) / 3
	root = append(append(root[:at:at], noise(3, len(root)/100)...), root[at:]...)
	return system{root, s.boot}
}

// people are the signers, with their keys and their repository.
type people struct {
	*testing.T
	repository.Repository
	signers, hub []repository.Key
	epoch        int64
}

func (p *people) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

func newPeople(t *testing.T) *people {
	p := &people{T: t, Repository: repository.Repository{Dir: t.TempDir()}}
	var root []repository.Key
	var keys repository.Keys
	for range 3 {
		for _, r := range []struct {
			private *[]repository.Key
			public  *[]repository.PublicKey
		}{{&root, &keys.Root}, {&p.signers, &keys.Release}, {&p.hub, &keys.Hub}} {
			key, err := repository.NewKey()
			p.must(err)
			*r.private, *r.public = append(*r.private, key), append(*r.public, key.PublicKey)
		}
	}
	p.must(p.StageRoot(keys, time.Now()))
	p.sign(repository.Root, root)
	return p
}

func (p *people) sign(role string, keys []repository.Key) {
	p.Helper()
	for _, k := range keys[:2] {
		p.must(p.Sign(role, k))
	}
	_, err := p.Publish()
	p.must(err)
}

func (p *people) release(version string, s system, olds []pack.Old) {
	p.Helper()
	p.epoch++
	began := time.Now()
	m, stored, err := offer.Pack(p.Repository, plan.Manifest{Version: version, Board: slot.Board, Epoch: p.epoch}, []pack.Part{
		{Part: plan.Part{Name: plan.RootPart}, From: bytes.NewReader(s.root)},
		{Part: plan.Part{Name: plan.BootPart, At: slot.BootAt}, From: bytes.NewReader(s.boot)},
	}, olds)
	p.must(err)
	p.must(offer.Stage(p.Repository, m, time.Now()))
	p.sign(repository.Targets, p.signers)
	p.must(p.Seal(p.hub[0], time.Now()))
	p.Logf("%s: %s of files, packed and signed in %s", version, megabytes(stored), time.Since(began).Round(time.Second/10))
}

func megabytes[N int | int64](n N) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// measured calls do, and logs the time, the hubs' CPU time, and the peak memory of the largest hub.
func (w *world) measured(what string, do func() string) {
	w.Helper()
	for _, pid := range w.pids {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil { // proc(5): resets VmHWM
			w.Fatal(err)
		}
	}
	began, cpu := time.Now(), w.cpu()
	said := do()
	took, cpu := time.Since(began), w.cpu()-cpu
	most := 0
	for _, pid := range w.pids {
		most = max(most, peak(w.T, strconv.Itoa(pid)))
	}
	w.Logf("%s: %s, %.1f s of the hubs' processors, at most %s in a hub%s", what, took.Round(time.Second/10), cpu.Seconds(), megabytes(most), said)
}

// peak returns a process's peak resident memory (VmHWM), in bytes.
func peak(t testing.TB, pid string) int {
	t.Helper()
	n, err := peakOf(pid)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func peakOf(pid string) (int, error) {
	text, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	kilobytes, err := strconv.Atoi(number)
	return kilobytes << 10, err
}

// put publishes a repository with the command that volunteers use.
func (w *world) put(dir, what string) {
	w.Helper()
	w.measured("repository put of "+what, func() string {
		if out, err := exec.Command("passerelle-hub", "repository", "put", "--dir", w.dirs[0], "--as", "ana", dir).CombinedOutput(); err != nil {
			w.Fatalf("repository put: %v, %s", err, out)
		}
		return ""
	})
	w.inStep(w.desk(0))
}

// card is a box's card, made of files.
type card struct {
	slot.Card
	Repository, State, Socket string
}

// box returns the box of this card as package update sees it, with its state in a folder.
func (c *card) box(state string) (*update.Box, error) {
	root, err := os.ReadFile(filepath.Join(c.Repository, trust.MetadataFolder, "1.root.json"))
	return &update.Box{Card: c.Card, State: state, Root: root, Clock: trust.Clock{Now: func() (time.Time, bool) { return time.Now(), true }}}, err
}

// fetches returns how many bytes of files the plan for the newest release fetches.
func (c *card) fetches(t *testing.T) int64 {
	t.Helper()
	b, err := c.box(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	o, err := b.Look(t.Context(), mirror.Folder{FS: os.DirFS(c.Repository)}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	p, err := o.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p.Bytes
}

func newCard(t *testing.T, repository string) *card {
	t.Helper()
	dir := t.TempDir()
	c := &card{
		Card:       slot.Card{Running: slot.A, Device: filepath.Join(dir, "card")},
		Repository: repository, State: filepath.Join(dir, "state"), Socket: filepath.Join(dir, "s"),
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(c.State, 0o700))
	must(os.WriteFile(c.Device, make([]byte, 4<<20), 0o600))
	for _, n := range []slot.Name{slot.A, slot.B} {
		f, err := os.Create(fmt.Sprintf("%s%d", c.Device, n.Partition()))
		must(err)
		must(f.Truncate(slot.SlotSize))
		must(f.Close())
	}
	return c
}

// reboot makes the other slot the running one, marked good.
func (c *card) reboot(t *testing.T) {
	t.Helper()
	c.Running = c.Running.Other()
	if _, err := c.Update(func(s slot.State) slot.State { return slot.State{Serial: s.Serial, Slot: c.Running, Good: c.Running} }); err != nil {
		t.Fatal(err)
	}
}

// taking is boxDaemon's argument, as JSON.
type taking struct {
	Dir, Socket string
	Hubs        []string
	Bundle      protocol.Bundle
}

// taken is boxDaemon's output, as JSON.
type taken struct {
	Bytes, Again int64 // of the files that were read, and of those that were read more than once
	Peak         int   // of its resident memory, in bytes
}

// twoHandshakes is what two connections take besides their requests, in bytes.
const twoHandshakes = 32 << 10

// take has a box download and install the release that the hubs have, with its connection cut in the middle. As on a real board, the box is
// two programs: one talks to the hubs, and one writes the card.
func (w *world) take(b *box, c *card, what string, want system) {
	w.Helper()
	fetches := c.fetches(w.T)
	w.measured(what, func() string {
		told, err := json.Marshal(c)
		if err != nil {
			w.Fatal(err)
		}
		server := exec.Command("box-card", string(told))
		server.Env = append(os.Environ(), "GOMEMLIMIT=24MiB") // as in image/passerelle-update.service
		server.Stderr = os.Stderr
		if err := server.Start(); err != nil {
			w.Fatal(err)
		}
		defer func() { server.Process.Kill(); server.Wait() }()
		eventually(w.T, "the server of the card listens", func() bool { _, err := os.Stat(c.Socket); return err == nil })
		defer os.Remove(c.Socket)

		m := &meter{cut: int(fetches / 2)}
		line := taking{Dir: b.dir, Socket: c.Socket, Bundle: w.bundle}
		for _, h := range w.hubs {
			line.Hubs = append(line.Hubs, m.listen(w.T, h))
		}
		if told, err = json.Marshal(line); err != nil {
			w.Fatal(err)
		}
		daemon := exec.Command("box-daemon", string(told))
		daemon.Stderr = os.Stderr
		out, err := daemon.StdoutPipe()
		if err == nil {
			err = daemon.Start()
		}
		if err != nil {
			w.Fatal(err)
		}
		var r taken
		if err := json.NewDecoder(out).Decode(&r); err != nil {
			w.Fatal(err)
		}
		if err := daemon.Wait(); err != nil {
			w.Fatal(err)
		}
		for _, p := range []struct {
			at   int64
			text []byte
		}{{0, want.root}, {slot.BootAt, want.boot}} {
			if !bytes.Equal(c.read(w.T, p.at, len(p.text)), p.text) {
				w.Errorf("%s: the slot does not have it at %d", what, p.at)
			}
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		// The bytes that crossed the line and are in no file: what was lost at the cut, at most one chunk, and the overhead of TLS, NATS and
		// two handshakes.
		more := int64(m.bytes) - r.Bytes
		if most := r.Bytes/50 + protocol.ChunkSize + twoHandshakes; m.cut != 0 || r.Again > 0 || more > most {
			w.Errorf("%s: after a cut (%d) %d bytes of whole files were read once more; %d bytes more than those files crossed the line, of at most %d",
				what, m.cut, r.Again, more, most)
		}
		return fmt.Sprintf("; %s over the line (%.3f of the system), %s of files were read, and a cut cost and all around them took %s; the box's daemon had %s, the server of its card %s",
			megabytes(m.bytes), float64(m.bytes)/float64(want.size()), megabytes(r.Bytes), megabytes(more), megabytes(r.Peak), megabytes(peak(w.T, strconv.Itoa(server.Process.Pid))))
	})
}

func (c *card) read(t *testing.T, at int64, size int) []byte {
	t.Helper()
	f, err := c.Open(c.Running.Other(), os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text := make([]byte, size)
	if _, err := f.ReadAt(text, at); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return text
}

// readings counts the bytes that are read from a source.
type readings struct {
	from trust.Source
	read map[string]bool
	into *taken
}

func (r *readings) Read(ctx context.Context, name string, limit int64) ([]byte, error) {
	text, err := r.from.Read(ctx, name, limit)
	if err != nil {
		return nil, err
	}
	size := int64(len(text))
	r.into.Bytes += size
	if in := path.Dir(path.Dir(name)); in != path.Join(trust.TargetsFolder, plan.ChunkFolder) && in != path.Join(trust.TargetsFolder, plan.FileFolder) {
		return text, nil // metadata or a manifest
	}
	if r.read[name] {
		r.into.Again += size
	}
	r.read[name] = true
	return text, nil
}

// boxDaemon is a program that does what a box's daemon does with a release from hubs.
func boxDaemon() {
	debug.SetGCPercent(40) // as in the daemon
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "box-daemon:", err)
			os.Exit(1)
		}
	}
	var told taking
	fail(json.Unmarshal([]byte(os.Args[1]), &told))
	var t taken
	from := &readings{read: map[string]bool{}, into: &t}
	asker, failures, done := agent.Client{Socket: told.Socket}, 0, make(chan struct{})
	finish := sync.OnceFunc(func() { close(done) })
	var dialer net.Dialer
	pace := quick
	pace.Timeout = 30 * time.Second
	client, err := fleet.New(fleet.Options{
		Dir: told.Dir, Hubs: told.Hubs, Bundle: told.Bundle, Pace: pace, Now: time.Now, Log: quiet(), Random: rand.Float64, Dial: dialer.DialContext,
		Box: fleet.Box{
			Command: func([]byte) {}, Reports: func() []fleet.Report { return nil }, Shown: func(fleet.Report) {},
			Fetch: func(ctx context.Context, s fleet.Source, _ fleet.Group) {
				from.from = s
				_, err := asker.Ask(ctx, agent.Request{Do: agent.Install}, from, nil)
				if err == nil {
					finish()
				} else if failures++; failures > 1 { // the first failure is the cut
					fail(err)
				}
			},
		},
	})
	fail(err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); client.Run(ctx) }()
	client.SetLine(fleet.Line{Name: "fibre", Mode: fleet.Connected})
	<-done
	cancel()
	<-ended
	t.Peak, err = peakOf("self")
	fail(err)
	fail(json.NewEncoder(os.Stdout).Encode(t))
}

// boxCard is a program that does what the server does that writes a box's card.
func boxCard() {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "box-card:", err)
			os.Exit(1)
		}
	}
	var c card
	fail(json.Unmarshal([]byte(os.Args[1]), &c))
	l, err := net.Listen("unix", c.Socket)
	fail(err)
	s := &agent.Server{
		Box:     func() (*update.Box, error) { return c.box(c.State) },
		Machine: os.DirFS(c.State), Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Mount:   func(string, bool) (string, func() error, error) { return "", nil, fs.ErrNotExist },
		Restart: func() error { return nil },
	}
	fail(s.Serve(context.Background(), l))
}
