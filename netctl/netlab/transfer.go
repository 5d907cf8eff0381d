package netlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Tick is the resolution at which a transfer's bytes are counted.
const Tick = 100 * time.Millisecond

// chunk is the size of a source's writes and a sink's reads, in bytes.
const chunk = 256 << 10

// Transfer is a running data transfer, counted at the receiver without headers (goodput). It is safe for concurrent
// use.
type Transfer struct {
	start  time.Time
	cancel context.CancelFunc
	done   chan struct{}
	sinks  []net.Conn // the receiving ends of a Bulk's TCP streams

	mu    sync.Mutex
	ticks []int64 // bytes received in each Tick since start
	errs  []error
}

func newTransfer(cancel context.CancelFunc) *Transfer {
	return &Transfer{start: time.Now(), cancel: cancel, done: make(chan struct{})}
}

// add counts bytes that were just received.
func (t *Transfer) add(n int) {
	tick := int(time.Since(t.start) / Tick)
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.ticks) <= tick {
		t.ticks = append(t.ticks, 0)
	}
	t.ticks[tick] += int64(n)
}

// fail records why a stream broke, unless the transfer was ended.
func (t *Transfer) fail(ctx context.Context, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.errs = append(t.errs, err)
}

// Bytes returns the bytes received between two times since the start, both rounded to Ticks.
func (t *Transfer) Bytes(from, to time.Duration) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	first := min(max(int(from/Tick), 0), len(t.ticks))
	last := min(max(int(to/Tick), first), len(t.ticks))
	var sum int64
	for _, n := range t.ticks[first:last] {
		sum += n
	}
	return sum
}

// Total returns the bytes received so far.
func (t *Transfer) Total() int64 { return t.Bytes(0, 1<<63-1) }

// Rate returns the goodput between two times since the start, in bit/s.
func (t *Transfer) Rate(from, to time.Duration) float64 {
	from, to = from.Truncate(Tick), to.Truncate(Tick)
	if to <= from {
		return 0
	}
	return float64(t.Bytes(from, to)) * 8 / (to - from).Seconds()
}

// Arrived counts what a Bulk's receiver has got of its TCP streams, according to the kernel. Both counts of a stream are read at
// the same moment, however busy the machine is, so their ratio needs no clock.
type Arrived struct {
	Bytes    uint64 // in order, without gaps (tcpi_bytes_received of tcp(7))
	Segments uint64 // all segments, including duplicates and those that wait for an earlier one (tcpi_segs_in)
}

// Arrived returns what has arrived of the streams until now. They must still be running.
func (t *Transfer) Arrived() (a Arrived, err error) {
	for _, c := range t.sinks {
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err != nil {
			return a, err
		}
		var info *unix.TCPInfo
		var failed error
		err = raw.Control(func(fd uintptr) { info, failed = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
		if err := errors.Join(err, failed); err != nil {
			return a, fmt.Errorf("ask what arrived on %s: %w", c.LocalAddr(), err)
		}
		a.Bytes += info.Bytes_received
		a.Segments += uint64(info.Segs_in)
	}
	return a, nil
}

// Elapsed returns the time since the start, in whole Ticks.
func (t *Transfer) Elapsed() time.Duration { return time.Since(t.start).Truncate(Tick) }

// Recent returns the goodput during the last d, in whole Ticks, in bit/s.
func (t *Transfer) Recent(d time.Duration) float64 {
	now := t.Elapsed()
	return t.Rate(max(now-d, 0), now)
}

// Done returns a channel that is closed when all streams have ended: everything was received, the last one broke, or Stop was
// called.
func (t *Transfer) Done() <-chan struct{} { return t.done }

// Stop ends the transfer and waits for its end. The error contains the causes of broken streams.
func (t *Transfer) Stop() error {
	t.cancel()
	<-t.done
	t.mu.Lock()
	defer t.mu.Unlock()
	return errors.Join(t.errs...)
}

// Run lets the transfer run for d, at most until its end or the context's, and stops it. The error contains the causes of broken
// streams.
func (t *Transfer) Run(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	case <-t.done:
	}
	return errors.Join(t.Stop(), ctx.Err())
}

// Bulk is TCP or UDP traffic between two hosts, like iperf's.
type Bulk struct {
	From, To *Host      // From connects to To
	Addr     netip.Addr // the address at which From reaches To
	Streams  int        // concurrent streams; 0: one
	Reverse  bool       // the data goes from To to From
	// Congestion is the sender's congestion control algorithm ("cubic", "bbr"), "" for the kernel's default. QUIC stands for UDP
	// instead of TCP, with NewReno in user space (RFC 9002).
	Congestion string
}

// QUIC is the Congestion of a Bulk that sends UDP as QUIC does.
const QUIC = "quic"

// Start connects all streams, on a free port, and sends until the transfer is stopped or the context ends.
func (b Bulk) Start(ctx context.Context) (*Transfer, error) {
	start := b.start
	if b.Congestion == QUIC {
		start = b.startDatagrams
	}
	t, err := start(ctx)
	if err != nil {
		return nil, fmt.Errorf("send bulk between %s and %s: %w", b.From.name, b.To.name, err)
	}
	return t, nil
}

func (b Bulk) start(ctx context.Context) (*Transfer, error) {
	listener, err := b.To.Listen("tcp", netip.AddrPortFrom(b.Addr, 0).String())
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	var conns []net.Conn
	closeAll := func() {
		for _, c := range conns {
			c.Close()
		}
	}
	type pair struct{ source, sink net.Conn }
	var pairs []pair
	for range max(b.Streams, 1) {
		dialled, err := b.From.Dial(ctx, "tcp", listener.Addr().String())
		if err != nil {
			closeAll()
			return nil, err
		}
		conns = append(conns, dialled)
		accepted, err := listener.Accept()
		if err != nil {
			closeAll()
			return nil, err
		}
		conns = append(conns, accepted)
		p := pair{dialled, accepted}
		if b.Reverse {
			p = pair{accepted, dialled}
		}
		if err := setCongestion(p.source, b.Congestion); err != nil {
			closeAll()
			return nil, err
		}
		pairs = append(pairs, p)
	}

	ctx, cancel := context.WithCancel(ctx)
	t := newTransfer(cancel)
	context.AfterFunc(ctx, closeAll)
	var running sync.WaitGroup
	for _, p := range pairs {
		t.sinks = append(t.sinks, p.sink)
		running.Go(func() { t.fail(ctx, source(p.source)) })
		running.Go(func() { t.fail(ctx, t.sink(p.sink)) })
	}
	return t, t.stopWithWorld(b.From.world, &running)
}

// setCongestion sets a connection's congestion control algorithm, unless the name is empty. The sysctl cannot be used: in a
// network namespace it accepts only the algorithms that the machine allows to everybody (tcp_set_default_congestion_control of
// net/ipv4/tcp_cong.c).
func setCongestion(c net.Conn, name string) error {
	if name == "" {
		return nil
	}
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, name)
	})
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("use %q as congestion control: %w", name, err)
	}
	return nil
}

// stopWithWorld stops the transfer at the end of the world. The transfer ends when everything in running has.
func (t *Transfer) stopWithWorld(w *World, running *sync.WaitGroup) error {
	go func() {
		defer close(t.done)
		running.Wait()
		t.cancel()
	}()
	return w.addCleanup(func() error { t.Stop(); return nil })
}

// source writes until the connection breaks.
func source(c net.Conn) error {
	buf := make([]byte, chunk)
	for {
		if _, err := c.Write(buf); err != nil {
			return err
		}
	}
}

// sink counts received bytes until the connection ends. The kernel discards the bytes without copying them (MSG_TRUNC, tcp(7)):
// on a small machine the ends must not take more CPU time than the software that is measured between them.
func (t *Transfer) sink(c net.Conn) error {
	defer c.Close()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	buf := make([]byte, chunk)
	for {
		var n int
		var failed error
		err := raw.Read(func(fd uintptr) bool {
			n, _, failed = unix.Recvfrom(int(fd), buf, unix.MSG_TRUNC)
			return failed != unix.EAGAIN
		})
		switch {
		case err != nil:
			return err
		case failed == unix.EINTR:
			continue
		case failed != nil:
			return fmt.Errorf("receive on %s: %w", c.LocalAddr(), failed)
		case n == 0:
			return nil
		}
		t.add(n)
	}
}

// StartDownload fetches a URL over a new connection and counts the bytes of the body, until the body ends, the transfer is
// stopped or the context ends.
func (h *Host) StartDownload(ctx context.Context, url string) (*Transfer, error) {
	ctx, cancel := context.WithCancel(ctx)
	response, err := h.request(ctx, http.MethodGet, url, nil, acceptAny)
	if err != nil {
		cancel()
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		cancel()
		response.Body.Close()
		return nil, fmt.Errorf("download %s on %s: %s", url, h.name, response.Status)
	}
	t := newTransfer(cancel)
	var running sync.WaitGroup
	running.Go(func() {
		defer response.Body.Close()
		// A small buffer: net/http fills it before it returns, and only returned bytes are counted.
		_, err := io.CopyBuffer(counter{t}, response.Body, make([]byte, 4<<10))
		t.fail(ctx, err)
	})
	return t, t.stopWithWorld(h.world, &running)
}

// counter counts the bytes written to it as received.
type counter struct{ t *Transfer }

func (c counter) Write(b []byte) (int, error) { c.t.add(len(b)); return len(b), nil }

// Response is a whole HTTP response.
type Response struct {
	Status int
	Header http.Header
	Body   string
}

// bodyLimit is the maximum that Get reads of a page, in bytes.
const bodyLimit = 1 << 20

// Get fetches a page over a new connection, as a browser does, and follows no redirect.
func (h *Host) Get(ctx context.Context, url string) (Response, error) {
	return h.fetch(ctx, http.MethodGet, url, nil)
}

// Post is like Get, but sends a body, of the type application/x-www-form-urlencoded.
func (h *Host) Post(ctx context.Context, url string, body io.Reader) (Response, error) {
	return h.fetch(ctx, http.MethodPost, url, body)
}

func (h *Host) fetch(ctx context.Context, method, url string, body io.Reader) (Response, error) {
	response, err := h.request(ctx, method, url, body, acceptPage)
	if err != nil {
		return Response{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, bodyLimit))
	if err != nil {
		return Response{}, fmt.Errorf("%s %s on %s: read body: %w", method, url, h.name, err)
	}
	return Response{Status: response.StatusCode, Header: response.Header, Body: string(text)}, nil
}

// Accept headers of browsers for a page, and of programs.
const (
	acceptPage = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	acceptAny  = "*/*"
)

// request sends one request over a connection that is closed with the response's body.
func (h *Host) request(ctx context.Context, method, url string, body io.Reader, accept string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	request.Header.Set("Accept", accept)
	request.Close = true
	response, err := h.newClient(&http.Transport{}).Do(request)
	if err != nil {
		return nil, fmt.Errorf("on %s: %w", h.name, err)
	}
	return response, nil
}
