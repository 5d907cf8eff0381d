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

// The hotspot as box.Setup has it.
var (
	hotspot   = netip.MustParsePrefix("10.80.0.1/22")
	portal    = netip.AddrPortFrom(hotspot.Addr(), 80).String()
	boxMAC    = net.HardwareAddr{2, 0, 0, 1, 0, 0} // netlab's choices
	uplinkMAC = net.HardwareAddr{2, 0, 0, 2, 0, 1}
)

// world is what an attack needs.
type world struct {
	residents int // in all; the first ones join before the attack begins
	joined    int
	admitted  int // of them
	how       box.Setup
}

// stage is a box with people around it. What it measures of the others it measures at whole devices with the kernel's own
// protocols.
type stage struct {
	*box.Daemon
	heart *heart
	began uint64 // bytes on the line
}

// lent is the line of most attacks.
const lent = "download = \"20mbit\"\nupload = \"20mbit\"\ncap = \"200GB\""

func newStage(ctx context.Context, program, dir string, w world) (s *stage, err error) {
	scene, err := netlab.Standard(ctx, netlab.Options{Name: "attack", Residents: w.residents})
	if err != nil {
		return nil, err
	}
	s = new(stage)
	if s.heart, err = listen(filepath.Join(dir, "notify")); err != nil {
		return nil, errors.Join(err, scene.Close())
	}
	w.how.Donation = cmp.Or(w.how.Donation, lent)
	w.how.Env = s.heart.env()
	if s.Daemon, err = box.Start(ctx, program, scene, w.how); err != nil {
		return nil, errors.Join(err, s.heart.close())
	}
	err = errors.Join(
		s.Do(ctx, "clock", "--confirm"),
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

func (s *stage) close() error { return errors.Join(s.Daemon.Close(), s.heart.close()) }

// line returns the bytes on the first lender's line so far, both ways.
func (s *stage) line() (uint64, error) {
	rx, tx, err := s.Box.Counters(s.Lenders[0].Interface)
	return rx + tx, err
}

// crossed returns how many of them were since the attack began.
func (s *stage) crossed() (uint64, error) {
	now, err := s.line()
	return now - s.began, err
}

// ownUse is how much the box itself may send and get on the line during an attack: looks at whether it works.
const ownUse = 20e3

// wire opens a resident's interface for frames, and returns when frames reach the box; the resident need not have joined.
func (s *stage) wire(ctx context.Context, r *netlab.Resident) (*hostile.Wire, error) {
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

// reach asks for the box's hardware address until it answers. Since it answers in order, it has then handled what came
// before.
func (s *stage) reach(ctx context.Context, w *hostile.Wire, r *netlab.Resident) error {
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

// madeUp returns a device that nobody has, with an address of the hotspot's network.
func madeUp(k int) (net.HardwareAddr, netip.Addr) {
	return net.HardwareAddr{2, 0xbd, 0, byte(k >> 16), byte(k >> 8), byte(k)}, netip.AddrFrom4([4]byte{10, 80, 1 + byte(k/250%3), 1 + byte(k%250)})
}

// background runs something hostile until the returned function is called, which returns its error.
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

// pause waits, or until the context ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// waits are how long others waited. What did not come in time is missing.
type waits struct {
	tried int
	took  []time.Duration
}

// add notes one, if it came.
func (w *waits) add(took time.Duration, err error) {
	w.tried++
	if err == nil {
		w.took = append(w.took, took)
	}
}

// quantile returns the nearest-rank quantile of all that were tried; what did not come took for ever.
func (w *waits) quantile(q float64) time.Duration {
	rank := max(int(math.Ceil(q*float64(w.tried))), 1)
	if rank > len(w.took) {
		return math.MaxInt64
	}
	return slices.Sorted(slices.Values(w.took))[rank-1]
}

// within makes the outcome: all came, each in time.
func (w *waits) within(limit time.Duration) outcome {
	o := outcome{kept: fmt.Sprintf("%d of %d", w.count(limit), w.tried), ok: w.count(limit) == w.tried}
	if len(w.took) > 0 {
		o.kept += ", the slowest that came after " + said(slices.Max(w.took))
	}
	return o
}

func (w *waits) count(limit time.Duration) (n int) {
	for _, d := range w.took {
		if d <= limit {
			n++
		}
	}
	return n
}

// p95 makes the outcome: nearly all came in time.
func (w *waits) p95(limit time.Duration) outcome {
	p := w.quantile(0.95)
	return outcome{kept: fmt.Sprintf("median %s, p95 %s of %d that were tried", said(w.quantile(0.5)), said(p), w.tried), ok: p <= limit}
}

func said(d time.Duration) string {
	if d == math.MaxInt64 {
		return "no answer"
	}
	return fmt.Sprintf("%.3f s", d.Seconds())
}

// newcomers has residents join, several at once, and returns how long each waited for its lease and whatever it then wants.
func (s *stage) newcomers(ctx context.Context, residents []*netlab.Resident, then func(context.Context, *netlab.Resident) error) *waits {
	var mu sync.Mutex
	var all errgroup.Group
	w := new(waits)
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

// heart listens to what the daemon tells systemd.
type heart struct {
	socket *net.UnixConn
	path   string
	done   chan struct{}

	mu   sync.Mutex
	last time.Time
	gap  time.Duration
}

// beat is how often the daemon has to say that it works: half of what it is told.
const beat = 2 * time.Second

func listen(path string) (*heart, error) {
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	h := &heart{socket: socket, path: path, done: make(chan struct{})}
	go h.hear()
	return h, nil
}

func (h *heart) env() []string {
	return []string{"NOTIFY_SOCKET=" + h.path, fmt.Sprintf("WATCHDOG_USEC=%d", 2*beat.Microseconds())}
}

func (h *heart) hear() {
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

func (h *heart) beat(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.last.IsZero() {
		h.gap = max(h.gap, now.Sub(h.last))
	}
	h.last = now
}

// longest returns the longest silence so far, the one that goes on included.
func (h *heart) longest() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last.IsZero() {
		return h.gap
	}
	return max(h.gap, time.Since(h.last))
}

func (h *heart) close() error {
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

// nas is the hardware address that hostile frames on the lender's network come from.
var nas = net.HardwareAddr{2, 0xbd, 1, 0, 0, 1}

// inLendersNetwork opens the lender's own server's interface for frames.
func (s *stage) inLendersNetwork() (*hostile.Wire, error) {
	return hostile.Open(s.Lenders[0].NAS, "eth0")
}

// essential is a box with one essential service.
var essential = box.Setup{More: "[essential]\nnames = [\"service.example\"]\n"}
