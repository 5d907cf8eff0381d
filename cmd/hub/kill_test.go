package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"passerelle/appliance/fleet"
	"passerelle/appliance/fleet/protocol"
	"passerelle/cmd/hub/registry"
)

var (
	kills   = flag.Int("kills", 10, "how often TestKills kills a hub that is alone; three hubs are killed a fifth as often")
	cluster = flag.Bool("cluster", false, "run TestCluster")
)

// TestKills: a hub is killed at random moments, many times, and in the end it shows all that boxes reported. A box forgets a report once it
// has read it back, so a report that is lost after that is missing at the end. With three hubs, one also loses its disk half-way.
func TestKills(t *testing.T) {
	t.Run("alone", func(t *testing.T) {
		t.Parallel()
		killed(t, 1, *kills)
	})
	t.Run("three", func(t *testing.T) {
		t.Parallel()
		killed(t, 3, *kills/5)
	})
}

func killed(t *testing.T, hubs, kills int) {
	w := newWorld(t, hubs)
	var kill []func()
	for i := range hubs {
		kill = append(kill, w.process(i))
	}
	d := w.desk(0)
	eventually(t, "the hubs have chosen who writes", func() bool { return d.AddAssociation(t.Context(), "ana", "lilas", "") == nil })
	boxes := []*box{w.box(quick), w.box(quick), w.box(quick)}
	for _, b := range boxes {
		b.enrol(d, "lilas")
	}
	random := rand.New(rand.NewPCG(1, 2))
	want := map[*box]map[string]string{}
	day := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range kills {
		for n, b := range boxes {
			if want[b] == nil {
				want[b] = map[string]string{}
			}
			for range 3 {
				name, body := protocol.Day(day.AddDate(0, 0, random.IntN(365)).Format(time.DateOnly)).Report(), fmt.Sprintf("box %d before kill %d, %d", n, i, random.Int())
				want[b][name] = body
				b.report(name, body)
			}
			b.Look()
		}
		// This picks the moment of the kill, from before the hub listens to after it has stored all.
		time.Sleep(time.Duration(random.IntN(1200)) * time.Millisecond)
		dies := random.IntN(hubs)
		wipe := hubs > 1 && i == kills/2
		if wipe {
			// The other two have all streams. A hub may lose its disk only then.
			w.inStep(w.desk((dies + 1) % hubs))
		}
		kill[dies]()
		if wipe {
			if err := os.RemoveAll(filepath.Join(w.dirs[dies], "store")); err != nil {
				t.Fatal(err)
			}
		}
		kill[dies] = w.process(dies)
		if wipe {
			d := w.desk(dies)
			w.inStep(d)
			known, err := d.Boxes(t.Context())
			if err != nil || len(known) != len(boxes) {
				t.Errorf("the hub that lost its disk knows %d boxes, %v", len(known), err)
			}
		}
	}
	d = w.desk(0)
	w.inStep(d)
	missing := 0
	for _, b := range boxes {
		b.delivered()
		for name, body := range want[b] {
			if got := w.show(d, b, name); got != body {
				missing++
				t.Errorf("%s is %q instead of %q", name, got, body)
			}
		}
	}
	t.Logf("%d hubs, %d kills: %d reports missing", hubs, kills, missing)
}

// TestCluster: of three hubs one is killed and comes back with an empty disk. After that any two of the hubs are enough.
//
// It runs only with -cluster: three of eleven runs failed before records were read from the leader. Nine of nine have passed since, each
// in 25 to 45 s on a busy machine.
func TestCluster(t *testing.T) {
	if !*cluster {
		t.Skip("takes long: run it with -args -cluster")
	}
	t.Parallel()
	w := newWorld(t, 3)
	kill := []func(){w.process(0), w.process(1), w.process(2)}
	d := w.desk(0)
	eventually(t, "the hubs have chosen who writes", func() bool { return d.AddAssociation(t.Context(), "ana", "lilas", "") == nil })
	boxes := []*box{w.box(quick), w.box(quick), w.box(quick)}
	for _, b := range boxes {
		b.enrol(d, "lilas")
	}
	want := map[string]string{}
	report := func(d *registry.Registry, name string, from []*box) {
		t.Helper()
		want[name] = name + " of the cluster"
		for _, b := range from {
			b.report(name, want[name])
		}
		for _, b := range from {
			b.delivered()
			for name, body := range want {
				shown := ""
				eventually(t, "the hub answers", func() bool {
					text, err := d.Report(t.Context(), "lilas", b.Status().Box, name)
					shown = string(text)
					return err == nil
				})
				if shown != body {
					t.Errorf("%s of a box is %q", name, shown)
				}
			}
		}
	}
	w.inStep(d)
	report(d, "day.0101", boxes)
	kill[1]()
	report(d, "day.0102", boxes)
	if err := os.RemoveAll(filepath.Join(w.dirs[1], "store")); err != nil {
		t.Fatal(err)
	}
	kill[1] = w.process(1)
	w.inStep(d)
	report(d, "day.0103", boxes)
	kill[0]()
	d = w.desk(1)
	report(d, "day.0104", boxes)
	eventually(t, "two hubs revoke a box", func() bool { return d.Revoke(t.Context(), "ana", boxes[0].Status().Box) == nil })
	eventually(t, "the box is cut off, whichever hub it was at", func() bool { return !boxes[0].Status().Connected && boxes[0].Status().Revoked })
	kill[0] = w.process(0) // with an old list of members
	w.inStep(d)
	report(d, "day.0105", boxes[1:])
	if boxes[0].Status().Connected {
		t.Error("a hub that was away lets a revoked box in")
	}
}

// meter is a proxy in front of a hub that counts bytes and segments.
type meter struct {
	mu              sync.Mutex
	bytes, segments int
	cut             int // after this many bytes one connection is cut, once; 0 for never
}

// count counts a segment, and tells whether the connection goes on.
func (m *meter) count(n int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bytes += n
	m.segments++
	if m.cut == 0 || m.bytes < m.cut {
		return true
	}
	m.cut = 0
	return false
}

func (m *meter) listen(t *testing.T, to string) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		work.Wait()
	})
	half := func(to, from net.Conn) {
		defer to.Close()
		buffer := make([]byte, 1448)
		for {
			n, err := from.Read(buffer)
			if n > 0 {
				if !m.count(n) {
					from.Close()
					return
				}
				if _, err := to.Write(buffer[:n]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
	work.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			work.Go(func() { half(far, near) })
			work.Go(func() { half(near, far) })
		}
	})
	return l.Addr().String()
}

// sum returns the bytes that have crossed the line, as an interface counts them: each segment, and each segment's acknowledgement, has
// 66 bytes of Ethernet, IP and TCP headers.
func (m *meter) sum() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bytes + m.segments*2*66
}

// handshakes is what opening and closing a TCP connection adds to that, in bytes: seven segments.
const handshakes = 7 * 66

// TestIdle: what a day costs the lender in bytes. A box that stays connected connects once, makes four rounds, sends a day's report, and
// pings. A box on visits makes four visits with a day's report.
func TestIdle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.inside(0)
	d := w.desk(0)
	w.association(d, "lilas", "nord")
	direct := w.hubs[0]
	var m meter
	b := w.box(quick)
	b.enrol(d, "lilas")
	b.SetLine(fleet.Line{})
	eventually(t, "the box is away", func() bool { return !b.Status().Connected })
	b.stop()
	w.hubs = []string{m.listen(t, direct)}
	b.start(fleet.Pace{Spread: time.Millisecond, Retry: 10 * time.Millisecond})
	quietSum := func() int { // after the line has been quiet for a moment
		last := -1
		for now := m.sum(); now != last; now = m.sum() {
			last = now
			time.Sleep(100 * time.Millisecond)
		}
		return last
	}
	round := func(do func()) int {
		before, at := m.sum(), b.Status().Round
		do()
		eventually(t, "a round is done", func() bool { return b.Status().Round != at })
		return quietSum() - before
	}
	b.report("day.0104", string(make([]byte, 500)))
	connect := handshakes + round(func() { b.SetLine(fleet.Line{Name: "fibre", Mode: fleet.Connected}) })
	again := round(b.Look) // reads the report back

	member := b.membership()
	c := w.connect(b.Status().Box, member.Token, member.Seed)
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	before := quietSum()
	const pings = 20
	for range pings {
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	ping := (quietSum() - before) / pings

	connected := connect + 4*again + int(24*time.Hour/fleet.DefaultPace.Ping)*ping
	visits := 4 * connect
	t.Logf("connecting with a round and a report %d bytes, a round %d, a ping %d; a day connected %d, a day of visits %d", connect, again, ping, connected, visits)
	if connected > 100_000 {
		t.Errorf("a connected day takes %d bytes", connected)
	}
	if visits > 50_000 {
		t.Errorf("a day of visits takes %d bytes", visits)
	}
}
