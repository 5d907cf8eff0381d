package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"passerelle/cmd/internal/box"
	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/hostile"
)

// The hotspot as box.Setup configures it.
var (
	hotspot   = netip.MustParsePrefix("10.80.0.1/22")
	portal    = netip.AddrPortFrom(hotspot.Addr(), 80).String()
	boxMAC    = net.HardwareAddr{2, 0, 0, 1, 0, 0} // netlab's choices
	uplinkMAC = net.HardwareAddr{2, 0, 0, 2, 0, 1}
)

// setup is what an attack needs.
type setup struct {
	residents int // in total; the first ones join before the attack begins
	joined    int
	admitted  int // of them
	how       box.Setup
}

// testbed is a box with residents. Effects on others are measured on whole devices, with the kernel's own protocols.
type testbed struct {
	*box.Daemon
	watchdog *watchdog
	began    uint64 // bytes on the line at the start
}

// lent configures the line of most attacks.
const lent = "download = \"20mbit\"\nupload = \"20mbit\"\ncap = \"200GB\""

func newTestbed(ctx context.Context, program, dir string, w setup) (s *testbed, err error) {
	scene, err := netlab.Standard(ctx, netlab.Options{Name: "attack", Residents: w.residents})
	if err != nil {
		return nil, err
	}
	s = new(testbed)
	if s.watchdog, err = listen(filepath.Join(dir, "notify")); err != nil {
		return nil, errors.Join(err, scene.Close())
	}
	w.how.Donation = cmp.Or(w.how.Donation, lent)
	w.how.Env = s.watchdog.env()
	if s.Daemon, err = box.Start(ctx, program, scene, w.how); err != nil {
		return nil, errors.Join(err, s.watchdog.close())
	}
	err = errors.Join(
		s.ConfirmTime(ctx),
		s.Join(ctx, s.Residents[:w.joined]...),
		s.Admit(ctx, s.Residents[:w.admitted]...),
	)
	zones(s.Internet.Names)
	if err == nil {
		s.began, err = s.line()
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *testbed) close() error { return errors.Join(s.Daemon.Close(), s.watchdog.close()) }

// line returns the bytes on the first lender's line so far, in both directions.
func (s *testbed) line() (uint64, error) {
	rx, tx, err := s.Box.Counters(s.Lenders[0].Interface)
	return rx + tx, err
}

// lineBytes returns the bytes on the line since the attack began.
func (s *testbed) lineBytes() (uint64, error) {
	now, err := s.line()
	return now - s.began, err
}

// selfTraffic is the box's own traffic on the line during an attack, which is health checks.
const selfTraffic = 20e3

// rawSocket opens a raw socket on a resident's interface, and returns when frames reach the box. The resident need not have joined.
func (s *testbed) rawSocket(ctx context.Context, r *netlab.Resident) (*hostile.RawSocket, error) {
	if err := r.SetUp(netlab.HotspotInterface, true); err != nil {
		return nil, err
	}
	w, err := hostile.Open(r.Host, netlab.HotspotInterface)
	if err != nil {
		return nil, err
	}
	if err := s.reach(ctx, w, r); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// reach sends ARP requests for the box until it answers. The box answers in order, so by then it has processed all earlier frames.
func (s *testbed) reach(ctx context.Context, w *hostile.RawSocket, r *netlab.Resident) error {
	return s.Until(ctx, "the box to answer "+r.Name(), func() error {
		if err := w.Send(hostile.ARP{Link: hostile.Link{From: r.MAC}, Target: hotspot.Addr()}.Frame()); err != nil {
			return err
		}
		within, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		defer cancel()
		_, err := w.Receive(within, func(f []byte) bool {
			a, ok := hostile.ReadARP(f)
			return ok && a.Reply && a.Sender == hotspot.Addr()
		})
		return err
	})
}

// fakeDevice returns a device that does not exist, with an address of the hotspot's network.
func fakeDevice(k int) (net.HardwareAddr, netip.Addr) {
	return net.HardwareAddr{2, 0xbd, 0, byte(k >> 16), byte(k >> 8), byte(k)}, netip.AddrFrom4([4]byte{10, 80, 1 + byte(k/250%3), 1 + byte(k%250)})
}

// background runs an attack until the returned function is called. That function returns the attack's error.
func background(ctx context.Context, f func(context.Context) error) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	var running errgroup.Group
	running.Go(func() error {
		if err := f(ctx); ctx.Err() == nil {
			return err
		}
		return nil // it was stopped
	})
	return func() error {
		cancel()
		return running.Wait()
	}
}

// sleep waits for a duration or until the context ends.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// latencies are how long others waited. Failed attempts are missing.
type latencies struct {
	tried int
	took  []time.Duration
}

// add records one attempt.
func (w *latencies) add(took time.Duration, err error) {
	w.tried++
	if err == nil {
		w.took = append(w.took, took)
	}
}

// quantile returns the nearest-rank quantile of all attempts; a failed one counts as infinitely long.
func (w *latencies) quantile(q float64) time.Duration {
	rank := max(int(math.Ceil(q*float64(w.tried))), 1)
	if rank > len(w.took) {
		return math.MaxInt64
	}
	return slices.Sorted(slices.Values(w.took))[rank-1]
}

// within returns the outcome for the condition that all attempts succeeded in time.
func (w *latencies) within(limit time.Duration) outcome {
	o := outcome{result: fmt.Sprintf("%d of %d", w.count(limit), w.tried), ok: w.count(limit) == w.tried}
	if len(w.took) > 0 {
		o.result += ", the slowest after " + seconds(slices.Max(w.took))
	}
	return o
}

func (w *latencies) count(limit time.Duration) (n int) {
	for _, d := range w.took {
		if d <= limit {
			n++
		}
	}
	return n
}

// p95 returns the outcome for the condition that 95 % of the attempts succeeded in time.
func (w *latencies) p95(limit time.Duration) outcome {
	p := w.quantile(0.95)
	return outcome{result: fmt.Sprintf("median %s, p95 %s of %d attempts", seconds(w.quantile(0.5)), seconds(p), w.tried), ok: p <= limit}
}

func seconds(d time.Duration) string {
	if d == math.MaxInt64 {
		return "no answer"
	}
	return fmt.Sprintf("%.3f s", d.Seconds())
}

// newcomers lets residents join, several at a time, and returns how long each waited for its lease and for then.
func (s *testbed) newcomers(ctx context.Context, residents []*netlab.Resident, then func(context.Context, *netlab.Resident) error) *latencies {
	var mu sync.Mutex
	var all errgroup.Group
	w := new(latencies)
	for _, r := range residents {
		all.Go(func() error {
			start := time.Now()
			_, err := r.Join(ctx)
			if err == nil && then != nil {
				err = then(ctx, r)
			}
			mu.Lock()
			defer mu.Unlock()
			w.add(time.Since(start), err)
			return nil
		})
	}
	all.Wait()
	return w
}

// watchdog receives the daemon's messages to systemd.
type watchdog struct {
	socket *net.UnixConn
	path   string
	done   chan struct{}

	mu   sync.Mutex
	last time.Time
	gap  time.Duration
}

// heartbeat is how often the daemon must report: half of the watchdog timeout.
const heartbeat = 2 * time.Second

func listen(path string) (*watchdog, error) {
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	h := &watchdog{socket: socket, path: path, done: make(chan struct{})}
	go h.hear()
	return h, nil
}

func (h *watchdog) env() []string {
	return []string{"NOTIFY_SOCKET=" + h.path, fmt.Sprintf("WATCHDOG_USEC=%d", 2*heartbeat.Microseconds())}
}

func (h *watchdog) hear() {
	defer close(h.done)
	message := make([]byte, 1024)
	for {
		n, err := h.socket.Read(message)
		if err != nil {
			return
		}
		if strings.Contains(string(message[:n]), "WATCHDOG=1") {
			h.beat(time.Now())
		}
	}
}

func (h *watchdog) beat(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.last.IsZero() {
		h.gap = max(h.gap, now.Sub(h.last))
	}
	h.last = now
}

// longest returns the longest time without a report, up to now.
func (h *watchdog) longest() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last.IsZero() {
		return h.gap
	}
	return max(h.gap, time.Since(h.last))
}

func (h *watchdog) close() error {
	err := h.socket.Close()
	<-h.done
	return errors.Join(err, ignoreMissing(os.Remove(h.path)))
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// nas is the hardware address of malicious frames on the lender's network.
var nas = net.HardwareAddr{2, 0xbd, 1, 0, 0, 1}

// inLendersNetwork opens a raw socket on the NAS's interface.
func (s *testbed) inLendersNetwork() (*hostile.RawSocket, error) {
	return hostile.Open(s.Lenders[0].NAS, "eth0")
}

// essential is a box with one essential service.
var essential = box.Setup{More: "[essential]\nnames = [\"service.example\"]\n"}
