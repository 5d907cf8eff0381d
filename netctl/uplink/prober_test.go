package uplink

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	gateway = netip.MustParseAddr("192.168.1.1")
	second  = netip.MustParseAddr("192.0.2.53")
)

// lent is an uplink that works as far as the kernel knows.
func lent(name string, dns ...netip.Addr) Status {
	return Status{
		Interface: name, Index: 2, Present: true, Up: true, Carrier: true, Routed: true, Works: true,
		Address: netip.MustParsePrefix("192.168.1.7/24"), Gateway: gateway, DNS: dns,
	}
}

// line is a prober in a synctest bubble and the resolvers that it asks: every query is written down with its time.
type line struct {
	t     *testing.T
	p     *Prober
	begin time.Time

	mu       sync.Mutex
	events   []string
	verdicts map[netip.Addr]verdict // silent, which is what is not in it, takes until the try is over
	sight    sight
	wakes    int
}

// look writes down only what tells something, as most tests aren't about it.
func (l *line) look(_ context.Context, device string, resolver netip.Addr) (sight, traffic) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sight != unseen {
		l.events = append(l.events, fmt.Sprintf("%v %s web by %s", time.Since(l.begin), device, resolver))
	}
	return l.sight, traffic{}
}

func (l *line) show(s sight) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sight = s
}

func (l *line) ask(ctx context.Context, device string, resolver netip.Addr) reply {
	l.mu.Lock()
	l.events = append(l.events, fmt.Sprintf("%v %s %s", time.Since(l.begin), device, resolver))
	v := l.verdicts[resolver]
	l.mu.Unlock()
	if v == silent {
		<-ctx.Done()
		return reply{silent, traffic{45, 0}}
	}
	return reply{v, traffic{45, 100}}
}

func (l *line) answer(resolver netip.Addr, v verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.verdicts[resolver] = v
}

// expect compares the queries since the last call.
func (l *line) expect(want ...string) {
	l.t.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if diff := cmp.Diff(want, l.events); diff != "" {
		l.t.Errorf("queries (-want +got):\n%s", diff)
	}
	l.events = nil
}

func (l *line) forget() {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events, l.wakes = nil, 0
}

func (l *line) result(name, want string) {
	l.t.Helper()
	synctest.Wait()
	works, known, why := l.p.Result(name)
	got := fmt.Sprintf("works=%v known=%v %s", works, known, why)
	if got = strings.TrimSpace(got); got != want {
		l.t.Errorf("result %q, want %q", got, want)
	}
}

const (
	fine     = "works=true known=true"
	presumed = "works=true known=false"
	dead     = "works=false known=true eth0's gateway does not answer names"
)

// onLine runs f beside a running prober.
func onLine(t *testing.T, f func(t *testing.T, l *line)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &line{t: t, begin: time.Now(), verdicts: map[netip.Addr]verdict{}}
		l.p = NewProber(ProberOptions{
			Log:  slog.New(slog.DiscardHandler),
			Wake: func() { l.mu.Lock(); l.wakes++; l.mu.Unlock() },
		})
		l.p.ask, l.p.web = l.ask, l.look
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.p.Run(ctx) }()
		synctest.Wait()
		defer func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		}()
		f(t, l)
	})
}

func TestHealthyUplinkIsAskedSeldom(t *testing.T) {
	onLine(t, func(t *testing.T, l *line) {
		l.answer(gateway, answered)
		l.result("eth0", "works=false known=false")
		for range 3 {
			l.p.Set([]Status{lent("eth0", gateway)})
		}
		time.Sleep(40 * time.Second)
		l.expect("0s eth0 192.168.1.1", "15s eth0 192.168.1.1", "30s eth0 192.168.1.1")
		l.result("eth0", fine)
		if sent, received := l.p.Spent("eth0"); sent != 3*45 || received != 3*100 {
			t.Errorf("spent %d and %d bytes", sent, received)
		}
		if l.wakes != 1 {
			t.Errorf("%d wakes, want 1", l.wakes)
		}
	})
}

func TestDeadUplinkIsNoticedWithin30Seconds(t *testing.T) {
	onLine(t, func(t *testing.T, l *line) {
		l.answer(gateway, answered)
		l.p.Set([]Status{lent("eth0", gateway)})
		time.Sleep(time.Millisecond)
		l.answer(gateway, silent)
		l.forget()
		time.Sleep(22 * time.Second)
		l.result("eth0", fine) // three tries are not over
		time.Sleep(2 * time.Second)
		l.expect("15s eth0 192.168.1.1", "18s eth0 192.168.1.1", "21s eth0 192.168.1.1", "24s eth0 192.168.1.1")
		l.result("eth0", dead)

		// It comes back with the first answer.
		l.answer(gateway, answered)
		time.Sleep(3 * time.Second)
		l.result("eth0", fine)
		if l.wakes != 2 {
			t.Errorf("%d wakes, want one for each change", l.wakes)
		}
	})
}

func TestLongDeadUplinkIsAskedSeldom(t *testing.T) {
	onLine(t, func(t *testing.T, l *line) {
		l.p.Set([]Status{lent("eth0", gateway)})
		time.Sleep(6 * time.Second)
		l.result("eth0", presumed)
		time.Sleep(2 * time.Second)
		l.result("eth0", dead)
		time.Sleep(2 * time.Minute)
		l.forget()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(l.events); n != 4 {
			t.Errorf("%d queries in a minute, want 4", n)
		}
		if l.wakes != 0 {
			t.Errorf("%d wakes without a change", l.wakes)
		}
	})
}

func TestKick(t *testing.T) {
	onLine(t, func(t *testing.T, l *line) {
		l.answer(gateway, answered)
		l.p.Set([]Status{lent("eth0", gateway)})
		time.Sleep(5 * time.Second)
		l.forget()
		l.answer(gateway, silent)
		l.p.Kick("eth0")
		l.p.Kick("nobody")
		time.Sleep(8 * time.Second)
		l.expect("5s eth0 192.168.1.1", "8s eth0 192.168.1.1", "11s eth0 192.168.1.1")
		l.result("eth0", dead)

		// However often it is kicked, it asks once a second at most.
		l.answer(gateway, answered)
		time.Sleep(10 * time.Second)
		l.forget()
		for range 100 {
			l.p.Kick("eth0")
			time.Sleep(20 * time.Millisecond)
		}
		synctest.Wait()
		if n := len(l.events); n < 2 || n > 3 {
			t.Errorf("%d queries in two seconds: %q", n, l.events)
		}
	})
}

func TestTrafficIsAsGoodAsAnAnswer(t *testing.T) {
	onLine(t, func(t *testing.T, l *line) {
		l.answer(gateway, answered)
		l.p.Set([]Status{lent("eth0", gateway)})
		l.expect("0s eth0 192.168.1.1")
		for range 60 {
			time.Sleep(time.Second)
			l.p.Alive("eth0")
		}
		l.expect()
		l.result("eth0", fine)
		time.Sleep(16 * time.Second)
		l.expect("1m15s eth0 192.168.1.1")

		// It ends every doubt.
		l.answer(gateway, silent)
		time.Sleep(30 * time.Second)
		l.result("eth0", dead)
		l.forget()
		l.p.Alive("eth0")
		l.p.Alive("nobody")
		l.result("eth0", fine)
		if l.wakes != 1 {
			t.Errorf("%d wakes, want 1", l.wakes)
		}
	})
}

func TestInDoubtAllResolversAreAsked(t *testing.T) {
	onLine(t, func(t *testing.T, l *line) {
		l.answer(second, answered)
		l.p.Set([]Status{lent("eth0", gateway, second)})
		synctest.Wait()
		if len(l.events) != 2 {
			t.Errorf("first queries %q, want one to each resolver", l.events)
		}
		l.forget()
		// The one that answered is asked alone, until it doesn't.
		time.Sleep(16 * time.Second)
		l.expect("15s eth0 192.0.2.53")
		l.answer(second, silent)
		time.Sleep(15 * time.Second)
		l.expect("30s eth0 192.0.2.53")
		l.answer(gateway, answered)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if len(l.events) != 2 {
			t.Errorf("queries in doubt %q, want one to each resolver", l.events)
		}
		l.result("eth0", fine)
		l.forget()
		time.Sleep(15 * time.Second)
		l.expect("48s eth0 192.168.1.1")

		l.answer(gateway, silent)
		time.Sleep(30 * time.Second)
		l.result("eth0", "works=false known=true eth0 has a link and a route, but no answer from 192.168.1.1, 192.0.2.53")
		l.answer(second, stranded)
		time.Sleep(6 * time.Second)
		l.result("eth0", "works=false known=true eth0's resolvers answer, but reach nothing beyond")
	})
}

func TestChangedUplinkIsAskedAnew(t *testing.T) {
	onLine(t, func(t *testing.T, l *line) {
		st := lent("eth0", gateway)
		l.p.Set([]Status{st})
		time.Sleep(10 * time.Second)
		l.result("eth0", dead)
		l.forget()

		// Unplugged and plugged in again: another index.
		down := Status{Interface: "eth0", Why: "eth0 does not exist"}
		l.p.Set([]Status{down})
		l.result("eth0", "works=false known=true eth0 does not exist")
		time.Sleep(time.Minute)
		l.expect()
		st.Index = 9
		l.answer(gateway, answered)
		l.p.Set([]Status{st})
		l.expect("1m10s eth0 192.168.1.1")
		l.result("eth0", fine)

		// Counters change all the time; that is no change of the way.
		st.RxBytes = 1000
		l.p.Set([]Status{st})
		l.expect()

		// Without a resolver there is nobody to ask.
		st.DNS = nil
		l.p.Set([]Status{st})
		time.Sleep(time.Minute)
		l.expect()
		l.result("eth0", presumed)

		// Off the list, it is forgotten, but not what was spent on it.
		sent, _ := l.p.Spent("eth0")
		l.p.Set(nil)
		l.result("eth0", "works=false known=false")
		if again, _ := l.p.Spent("eth0"); again != sent || sent == 0 {
			t.Errorf("spent %d, then %d bytes", sent, again)
		}
	})
}

// An answer that comes in after the uplink has changed says nothing about the new one.
func TestLateResultDoesNotCount(t *testing.T) {
	onLine(t, func(t *testing.T, l *line) {
		st := lent("eth0", gateway)
		l.p.Set([]Status{st})
		time.Sleep(7 * time.Second) // the third try is on its way
		st.Index = 9
		l.p.Set([]Status{st})
		time.Sleep(1500 * time.Millisecond)
		l.result("eth0", presumed)
	})
}

// pipeTo has a prober's queries answered by a server on the loopback.
func pipeTo(t *testing.T, answer func(query []byte) [][]byte) *Prober {
	t.Helper()
	server, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	go func() {
		defer close(served)
		for buffer := make([]byte, 512); ; {
			n, from, err := server.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			for _, reply := range answer(buffer[:n]) {
				server.WriteToUDPAddrPort(reply, from)
			}
		}
	}()
	return NewProber(ProberOptions{
		Log: slog.New(slog.DiscardHandler),
		Dial: func(ctx context.Context, _, _ string, to netip.AddrPort) (net.Conn, error) {
			if to != netip.AddrPortFrom(gateway, 53) {
				return nil, fmt.Errorf("dialled %v", to)
			}
			return (&net.Dialer{}).DialContext(ctx, "udp4", server.LocalAddr().String())
		},
	})
}

// respond makes an answer with the given code out of a query.
func respond(query []byte, code uint16) []byte {
	reply := append([]byte(nil), query...)
	binary.BigEndian.PutUint16(reply[2:], dnsResponse|dnsRecurse|code)
	return reply
}

func TestQuery(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer func(query []byte) [][]byte
		want   verdict
		bytes  uint64
	}{
		"an answer": {func(q []byte) [][]byte { return [][]byte{respond(q, 0)} }, answered, 45},
		"refused":   {func(q []byte) [][]byte { return [][]byte{respond(q, 5)} }, answered, 45},
		"SERVFAIL":  {func(q []byte) [][]byte { return [][]byte{respond(q, dnsServFail)} }, stranded, 45},
		"after others that aren't it": {func(q []byte) [][]byte {
			other := respond(q, 0)
			other[0]++
			return [][]byte{{}, {1, 2, 3}, q, other, respond(q, 0)}
		}, answered, 28 + 31 + 3*45},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := pipeTo(t, c.answer)
			got := p.query(t.Context(), "eth0", gateway)
			if want := (reply{c.want, traffic{45, c.bytes}}); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestQueryEndsWithItsContext(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 1)
	p := pipeTo(t, func([]byte) [][]byte {
		asked <- struct{}{}
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if got := p.query(ctx, "eth0", gateway); got != (reply{silent, traffic{45, 0}}) {
		t.Errorf("got %+v", got)
	}
	p.opt.Dial = func(context.Context, string, string, netip.AddrPort) (net.Conn, error) {
		return nil, errors.New("no such device")
	}
	if got := p.query(t.Context(), "eth0", gateway); got != (reply{}) {
		t.Errorf("without a socket: %+v", got)
	}
}

func FuzzParseReply(f *testing.F) {
	question, id := rootQuery()
	f.Add(question, id)
	f.Add(respond(question, dnsServFail), id)
	f.Fuzz(func(t *testing.T, data []byte, id uint16) {
		got := parseReply(data, id)
		isReply := len(data) >= dnsHeader && binary.BigEndian.Uint16(data) == id && data[2]&0x80 != 0
		if (got != silent) != isReply {
			t.Errorf("verdict %v of %x for %x", got, data, id)
		}
	})
}
