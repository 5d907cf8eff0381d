package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"passerelle/appliance/state"
	"passerelle/captive/web"
	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/hostile"
)

// slice is the tranche of the caps in these tests, the smallest one.
const slice = 1 << 20

// underWay is the most that crosses the uplink after sharing has stopped: packets in flight, and the box's probes.
const underWay = 300e3

// bigByAddress is bigPage for residents without DNS.
var bigByAddress = "http://" + netlab.WebAddr.String() + "/big"

// hungry downloads for the resident until the test ends, and starts again when a download breaks or stalls.
func (b *box) hungry(r *netlab.Resident) {
	var eating sync.WaitGroup
	ctx := b.t.Context()
	eating.Go(func() {
		for ctx.Err() == nil {
			eat(ctx, r)
		}
	})
	b.t.Cleanup(eating.Wait)
}

// eat downloads until the download breaks or stalls.
func eat(ctx context.Context, r *netlab.Resident) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	hangs := time.AfterFunc(brief, cancel)
	d, err := r.StartDownload(ctx, bigByAddress)
	hangs.Stop()
	if err != nil { // nothing is shared at the moment
		time.Sleep(netlab.Tick / 2)
		return
	}
	for came := int64(-1); d.Total() > came; {
		came = d.Total()
		select {
		case <-d.Done():
		case <-time.After(brief):
		}
	}
	d.Stop() // its error is irrelevant
}

// reload applies other settings.
func (b *box) reload(s settings) {
	b.t.Helper()
	const taken = "configuration applied"
	said := strings.Count(b.Log(), taken)
	b.configure(s)
	b.signal(syscall.SIGHUP)
	wait(b.t, "the other configuration", func() error {
		if strings.Count(b.Log(), taken) <= said {
			return errors.New("the log does not say so")
		}
		return nil
	})
}

// granted returns the tranches' rules in the kernel.
func (b *box) granted() (rules []string) {
	b.t.Helper()
	for line := range strings.Lines(b.run("iptables-save", "-t", "filter")) {
		if strings.Contains(line, "pas:tranche:") {
			rules = append(rules, line)
		}
	}
	return rules
}

// carries waits until the line has carried this many bytes, and returns the status at that time.
func (b *box) carries(bytes uint64) state.Status {
	b.t.Helper()
	return b.waitStatus(fmt.Sprintf("%d bytes", bytes), func(s state.Status) error {
		if s.Donations[0].Used < bytes {
			return fmt.Errorf("%s: %s; %+v", s.State, s.Why, s.Donations[0])
		}
		return nil
	})
}

// waitSpent waits until the cap is spent and the kernel has no rule left that passes packets. An account may count as spent for a moment
// while more is revoked than was used.
func (b *box) waitSpent() state.Status {
	b.t.Helper()
	return b.waitStatus("the end of the cap", func(s state.Status) error {
		if s.State != state.Exhausted || s.Donations[0].Granted >= 64<<10 {
			return fmt.Errorf("%s: %s; %+v", s.State, s.Why, s.Donations[0])
		}
		return nil
	})
}

// within fails the test unless the line has carried at most the cap. It logs the figures.
func (b *box) within(limit uint64, when string) (counted uint64) {
	b.t.Helper()
	counted = b.counted(b.scene.Lenders[0])
	s, err := b.Status(b.t.Context())
	b.must(err)
	d := s.Donations[0]
	b.t.Logf("%s: %d of %d bytes crossed the line, %d count as used, %d are over, the margin is %d",
		when, counted, limit, d.Used, d.Overage, d.Margin)
	if counted > limit {
		b.t.Errorf("%s: %d bytes crossed the line of a cap of %d", when, counted, limit)
	}
	return counted
}

// TestPromiseOutlivesKills: with repeated kills while residents download, also during a start, no more than the cap crosses the uplink,
// and less than a tranche of the donation is lost.
func TestPromiseOutlivesKills(t *testing.T) {
	t.Parallel()
	const limit, kills = 60e6, 50
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	b := newBox(t, settings{cap: "60MB", data: "0", down: "14mbit"}, netlab.Options{Residents: 3})
	for _, r := range b.scene.Residents[:2] {
		b.newcomer(r)
		b.hungry(r)
	}
	b.tunnels(b.scene.Residents[2])
	last := uint64(0)
	for range kills {
		time.Sleep(time.Duration(random.Int64N(int64(400 * time.Millisecond))))
		b.kill()
		last = b.counted(b.scene.Lenders[0])
		b.start()
		if random.IntN(3) == 0 {
			b.waitStatus("a daemon that has begun", func(s state.Status) error {
				if s.State == state.Starting {
					return errors.New(s.Why)
				}
				return nil
			})
		}
	}
	t.Logf("at the last of %d kills %d bytes had crossed the line", kills, last)
	s := b.waitSpent()
	counted := b.within(limit, "after 50 kills")
	if lost := limit - int64(counted) - int64(s.Donations[0].Margin); lost > slice {
		t.Errorf("%d bytes of the gift are lost, a tranche is %d", lost, slice)
	} else {
		t.Logf("lost: %d bytes beside the margin", lost)
	}
}

// tunnels joins a captive resident who transfers as much as possible through DNS, over UDP and TCP, until the test ends.
func (b *box) tunnels(r *netlab.Resident) {
	b.t.Helper()
	b.join(r)
	text := make([]string, 200)
	for i := range text {
		text[i] = strings.Repeat("x", 250)
	}
	b.scene.Internet.Names.Handle("huge.example", func(dnsmessage.Question) []dnsmessage.ResourceBody {
		return []dnsmessage.ResourceBody{&dnsmessage.TXTResource{TXT: text}}
	})
	server := netip.AddrPortFrom(netip.MustParsePrefix(boxPrefix).Addr(), 53)
	ctx, cancel := context.WithCancel(b.t.Context())
	var running sync.WaitGroup
	running.Go(func() { hostile.TunnelTCP(ctx, r.Host, server, "huge.example") })
	running.Go(func() {
		if err := hostile.FloodDNS(ctx, r.Host, server, 100, dnsmessage.TypeTXT, "huge.example"); err != nil {
			b.t.Error(err)
		}
	})
	b.t.Cleanup(func() { cancel(); running.Wait() })
}

// pour sends datagrams from the internet to the resident, at a rate in bit/s, whether or not they arrive, until the returned function is
// called. heard counts the bytes of the received packets, without link headers.
func (b *box) pour(r *netlab.Resident, rate int) (heard *atomic.Int64, stop func()) {
	b.t.Helper()
	const size, headers, step = 1200, 28, 5 * time.Millisecond
	to := netip.AddrPortFrom(netlab.WebAddr, 9000)
	source, err := b.scene.Internet.ListenPacket("udp", to.String())
	b.must(err)
	sink, err := r.Dial(b.t.Context(), "udp", to.String())
	b.must(err)
	heard = new(atomic.Int64)
	var running sync.WaitGroup
	done := make(chan struct{})
	running.Go(func() {
		buf := make([]byte, 2*size)
		for {
			n, err := sink.Read(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if n > 0 {
				heard.Add(int64(n + headers))
			}
		}
	})
	_, err = sink.Write([]byte("go"))
	b.must(err)
	b.must(source.SetReadDeadline(time.Now().Add(patience)))
	_, from, err := source.ReadFrom(make([]byte, size))
	b.must(err)
	running.Go(func() {
		tick := time.NewTicker(step)
		defer tick.Stop()
		for datagram := make([]byte, size); ; {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			for range rate / 8 / (size + headers) / int(time.Second/step) {
				source.WriteTo(datagram, from) // this sender ignores a refusal
			}
		}
	})
	stop = sync.OnceFunc(func() {
		close(done)
		sink.Close()
		running.Wait()
		source.Close()
	})
	b.t.Cleanup(stop)
	return heard, stop
}

// TestSenderThatDoesNotStop: traffic that keeps arriving on the uplink after the cut is not forwarded, but counted and reported. The next
// time, the margin is larger.
func TestSenderThatDoesNotStop(t *testing.T) {
	t.Parallel()
	const limit, next = 12e6, 30e6
	given := settings{cap: "12MB", data: "0", down: "35mbit"}
	b := newBox(t, given, netlab.Options{})
	r, line := b.scene.Residents[0], b.scene.Lenders[0]
	b.newcomer(r)
	started, err := b.Status(b.t.Context())
	b.must(err)
	forwarded := func() int64 {
		_, tx, err := b.scene.Box.Counters("wlan0")
		b.must(err)
		return int64(tx)
	}
	pages := forwarded() // the box's own pages

	heard, stop := b.pour(r, 24e6)
	b.waitSpent()
	atCut := heard.Load()
	over := b.waitStatus("what comes all the same", func(s state.Status) error {
		if s.Donations[0].Overage < 2e6 {
			return fmt.Errorf("%+v", s.Donations[0])
		}
		return nil
	}).Donations[0]
	if out := b.mustDo("status"); !strings.Contains(out, "were used beyond the cap") {
		t.Errorf("status does not say how much was over:\n%s", out)
	}
	if now := heard.Load(); now > limit || now-atCut > limit/100 {
		t.Errorf("%d bytes were forwarded of a cap of %d, %d of them after the cut", now, int(limit), now-atCut)
	}
	if all := forwarded() - pages; all > limit {
		t.Errorf("%d bytes went to the resident", all)
	}
	if over.Margin <= started.Donations[0].Margin {
		t.Errorf("the margin was %d and is %d", started.Donations[0].Margin, over.Margin)
	}
	stop()
	var counted uint64
	booked := b.waitStatus("all to be booked", func(s state.Status) error {
		counted = b.counted(line)
		if d := s.Donations[0]; d.Used < counted-counted/1000 || d.Used > counted+counted/20 || d.Overage != d.Used-d.Cap {
			return fmt.Errorf("%d bytes crossed the line, %+v", counted, d)
		}
		return nil
	}).Donations[0]
	t.Logf("%d bytes crossed the line of a cap of %d, %d were forwarded, %d booked, %d over; the margin was %d, is %d",
		counted, int(limit), heard.Load(), booked.Used, booked.Overage, started.Donations[0].Margin, booked.Margin)

	b.kill()
	b.start()
	again := b.waitSpent().Donations[0]
	if again.Margin < booked.Margin || again.Used < booked.Used {
		t.Errorf("after a crash %+v, before it %+v", again, booked)
	}
	given.cap = "30MB"
	b.reload(given)
	if s := b.waitState(state.Sharing); s.Donations[0].Margin <= booked.Margin {
		t.Errorf("with a larger cap the margin is %d", s.Donations[0].Margin)
	}
	free := int64(next) - int64(counted)
	heard, stop = b.pour(r, 24e6)
	last := b.waitSpent().Donations[0]
	stop()
	now := heard.Load()
	t.Logf("of the %d bytes that a larger cap left %d were forwarded; %+v", free, now, last)
	if now > free || now < free/2 {
		t.Errorf("%d bytes were forwarded, of %d that were left", now, free)
	}
}

// TestPromiseReplugged: the interface's counter restarts at zero each time it is plugged in, with or without a daemon, and the cap still
// holds.
func TestPromiseReplugged(t *testing.T) {
	t.Parallel()
	const limit, times = 40e6, 6
	b := newBox(t, settings{cap: "40MB", data: "0", down: "20mbit"}, netlab.Options{})
	r, l := b.scene.Residents[0], b.scene.Lenders[0]
	b.newcomer(r)
	b.hungry(r)
	for n := range uint64(times) {
		b.carries(b.counted(l) + 2e6)
		dead := n%2 == 0
		if dead {
			b.kill()
		}
		b.must(l.Unplug())
		b.must(l.Plug())
		if dead {
			b.start()
		}
		b.waitStatus("the line, or its end", func(s state.Status) error {
			if s.State != state.Sharing && s.State != state.Exhausted {
				return fmt.Errorf("%s: %s", s.State, s.Why)
			}
			return nil
		})
	}
	s := b.waitSpent()
	counted := b.within(limit, "plugged in again six times")
	// Each time, the amounts reserved besides the tranches count as used: for packets in flight, and for what rules miss.
	if lost := limit - int64(counted) - int64(s.Donations[0].Margin); lost > slice+times*2e6 {
		t.Errorf("%d bytes of the gift are lost", lost)
	} else {
		t.Logf("lost: %d bytes beside the margin", lost)
	}
}

// TestCapChanges: after a change of the cap within the period, all that was used still counts.
func TestCapChanges(t *testing.T) {
	t.Parallel()
	given := settings{cap: "40MB", data: "0", down: "20mbit"}
	b := newBox(t, given, netlab.Options{})
	r := b.scene.Residents[0]
	b.newcomer(r)
	b.hungry(r)
	become := func(size string) {
		t.Helper()
		given.cap = size
		b.reload(given)
	}
	// above returns a cap that leaves this much after what has crossed the line, as a text in kB and in bytes.
	above := func(more uint64) (size string, bytes uint64) {
		t.Helper()
		kB := (b.counted(b.scene.Lenders[0]) + more) / 1000
		return fmt.Sprintf("%dkB", kB), kB * 1000
	}
	overspent := func() {
		t.Helper()
		before := b.counted(b.scene.Lenders[0])
		s := b.waitSpent()
		b.blocked(r)
		if d := s.Donations[0]; d.Overage == 0 || d.Left != 0 {
			t.Errorf("%+v", d)
		}
		wait(t, "the kernel to hold nothing", func() error {
			if rules := b.granted(); len(rules) > 0 {
				return fmt.Errorf("%q", rules)
			}
			return nil
		})
		if after := b.counted(b.scene.Lenders[0]); after > before+underWay {
			t.Errorf("%d bytes crossed the line of a spent cap", after-before)
		}
	}

	b.carries(10e6)
	become("8MB")
	overspent()
	size, bytes := above(10e6)
	become(size)
	b.waitState(state.Sharing)
	b.waitSpent()
	b.within(bytes, "raised by 10 MB")

	become("0")
	b.waitState(state.Sharing)
	b.carries(30e6)
	become("25MB")
	overspent()
	become("0")
	b.waitState(state.Sharing)
	b.carries(b.counted(b.scene.Lenders[0]) + 3e6)
	size, bytes = above(15e6)
	become(size)
	b.waitState(state.Sharing)
	s := b.waitSpent()
	counted := b.within(bytes, "with no cap, and then with one")
	if lost := int64(bytes) - int64(counted) - int64(s.Donations[0].Margin); lost > slice {
		t.Errorf("%d bytes of the gift are lost", lost)
	}
}

// unwritable fails the test unless the daemon shares nothing and reports that it cannot write, with this reason, while its pages are
// available.
func (b *box) unwritable(r *netlab.Resident, why string) {
	b.t.Helper()
	b.waitStatus("the reason "+why, func(s state.Status) error {
		said := strings.Contains(s.Why, "cannot be written") && strings.Contains(s.Why, why)
		if s.State != state.Offline || !said {
			return fmt.Errorf("%s: %s", s.State, s.Why)
		}
		return nil
	})
	if out := b.mustDo("status"); !strings.HasPrefix(out, "offline: ") || !strings.Contains(out, why) {
		b.t.Errorf("status does not say %q:\n%s", why, out)
	}
	b.blocked(r)
	b.shows(r, "offline.title")
}

// TestStateFull: if there is no space to create the accounts, no capped donation is shared, but the pages are available. With space again,
// the box shares without intervention.
func TestStateFull(t *testing.T) {
	t.Parallel()
	const limit = 25e6
	given := settings{cap: "30MB", data: "0", down: "30mbit"}
	b := newScene(t, given, netlab.Options{})
	r := b.scene.Residents[0]
	b.run("mkdir", "-p", b.State)
	b.run("mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", b.State)
	fill := func() { b.run("sh", "-c", "cat /dev/zero > "+b.State+"/ballast; true") }
	empty := func() { b.run("rm", b.State+"/ballast") }
	const full = "no space left on device"

	fill()
	b.start()
	b.join(r)
	b.unwritable(r, full)
	if rules := b.granted(); len(rules) > 0 {
		t.Errorf("granted all the same: %q", rules)
	}
	given.cap = "25MB"
	b.reload(given)
	empty()
	if s := b.waitState(state.Sharing); s.Donations[0].Cap != limit {
		t.Errorf("the cap is %d, as before the disk was full", s.Donations[0].Cap)
	}
	b.mustDo("clock", "--confirm")
	b.admit(r)
	b.hungry(r)
	b.carries(4e6)

	// The existing file needs no more space: sharing continues on a disk that others fill.
	fill()
	b.carries(12e6)
	b.kill()
	b.restart()
	s := b.waitSpent()
	counted := b.within(limit, "with a full disk")
	if lost := limit - int64(counted) - int64(s.Donations[0].Margin); lost > slice {
		t.Errorf("%d bytes of the gift are lost", lost)
	}
}

// TestStateReadOnly: the kernel makes the file system read-only, as it does for a failing card.
func TestStateReadOnly(t *testing.T) {
	t.Parallel()
	const limit = 30e6
	b := newScene(t, settings{cap: "30MB", data: "0", down: "30mbit"}, netlab.Options{})
	r := b.scene.Residents[0]
	b.run("mkdir", "-p", b.State)
	card := b.scene.Box.Path("/card")
	b.must(os.WriteFile(card, nil, 0o600))
	b.must(os.Truncate(card, 8<<20))
	b.run("mkfs.ext4", "-q", card)
	b.run("mount", "-o", "loop,errors=remount-ro", card, b.State)
	b.start()
	b.waitState(state.Sharing)
	b.mustDo("clock", "--confirm")
	b.newcomer(r)
	b.hungry(r)
	b.carries(4e6)
	b.run("mount", "-o", "remount,abort", b.State)
	b.unwritable(r, "") // "read-only file system" or "input/output error"
	b.within(limit, "with a card that failed")
	b.kill()
	b.start()
	b.unwritable(r, "read-only file system")
	b.within(limit, "with a card that failed, and a crash")
}

// TestLedgerDamaged: an unreadable file is kept, its caps count as spent, and that is reported.
func TestLedgerDamaged(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{cap: "60MB", data: "0", down: "20mbit"}, netlab.Options{})
	r := b.scene.Residents[0]
	b.newcomer(r)
	b.hungry(r)
	b.carries(2e6)
	b.kill()
	file := filepath.Join(b.State, "ledger.db")
	rubbish := bytes.Repeat([]byte("rubbish "), 4096)
	b.must(os.WriteFile(file, rubbish, 0o600))
	b.start()
	for range 2 {
		s := b.waitSpent()
		if !s.Donations[0].Lost || s.Donations[0].Left != 0 {
			t.Errorf("%+v", s.Donations[0])
		}
		if out := b.mustDo("status"); !strings.Contains(out, "the account was lost") || !strings.Contains(out, ".damaged-") {
			t.Errorf("status does not say what happened:\n%s", out)
		}
		b.blocked(r)
		if rules := b.granted(); len(rules) > 0 {
			t.Errorf("the kernel still holds %q", rules)
		}
		b.kill()
		b.start()
	}
	aside, err := filepath.Glob(file + ".damaged-*")
	b.must(err)
	if len(aside) != 1 {
		t.Fatalf("set aside are %q", aside)
	}
	if text, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(text, rubbish) {
		t.Errorf("what is set aside is not what was there: %v", err)
	}
	if !strings.Contains(b.Log(), aside[0]) || !strings.Contains(b.Log(), "level=ERROR") {
		t.Errorf("the log does not name %s", aside[0])
	}
}

// TestLedgerNewer: a ledger in a format that only a newer version reads is renamed, and not changed. Capped donations are not shared, those
// without a cap are, the pages are available, and the reason is reported. The newer version continues from the old ledger. A ledger in
// the next format is read at once.
func TestLedgerNewer(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{more: `
[[donation]]
name = "Fibre de la mairie"
interface = "eth1"
cap = "0"
priority = 2
`}, netlab.Options{Uplinks: 2})
	r := b.scene.Residents[0]
	b.newcomer(r)
	file := filepath.Join(b.State, "ledger.db")
	// version changes a file's version, and returns it.
	version := func(file string, from, to byte) []byte {
		t.Helper()
		text, err := os.ReadFile(file)
		b.must(err)
		changed := bytes.ReplaceAll(text, append([]byte("version"), from), append([]byte("version"), to))
		if bytes.Equal(text, changed) {
			t.Fatalf("%s is not of version %d", file, from)
		}
		b.must(os.WriteFile(file, changed, 0o600))
		return changed
	}
	b.stop()
	version(file, 1, 2)
	if s := b.restart(); !s.Donations[0].Chosen || len(s.Problems) > 0 {
		t.Errorf("with accounts of the next version: %+v", s)
	}
	b.stop()

	newer := version(file, 2, 3)
	for range 2 {
		s := b.restart()
		if d := s.Donations; !d[0].Lost || !d[0].Spent || d[0].Left != 0 || d[1].Lost || !d[1].Chosen {
			t.Errorf("shared are %+v", d)
		}
		if out := b.mustDo("status"); !strings.Contains(out, "counts as spent: the account was lost") ||
			!strings.Contains(out, "problem: the record of what was used of the donations was written by a newer version") {
			t.Errorf("status does not say why:\n%s", out)
		}
		b.waitOnline(r)
		b.stop()
	}
	b.restart()
	link, _ := b.lenderLink()
	_, page, _ := b.secure(r, b.request(http.MethodGet, "https://10.80.0.1"+link))
	if want := web.Language("fr").T("lender.uncounted.title"); !strings.Contains(page, want) {
		t.Errorf("the lender's page does not say %q:\n%s", want, page)
	}
	aside, err := filepath.Glob(file + "?*")
	b.must(err)
	if len(aside) != 1 || !strings.HasPrefix(aside[0], file+".newer-") {
		t.Fatalf("beside it there are %q", aside)
	}
	if now, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(now, newer) {
		t.Errorf("the file was touched: %v", err)
	}
	b.stop()
	version(aside[0], 3, 2)
	if s := b.restart(); s.Donations[0].Lost || !s.Donations[0].Chosen || len(s.Problems) > 0 {
		t.Errorf("with the accounts that can be read again: %+v", s)
	}
}
