package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"passerelle/cmd/internal/box"
	"passerelle/netctl/netlab"
)

// Where residents' requests go.
var (
	portalAddress = boxAddress.Addr().String() + ":80"
	webAddress    = netlab.WebAddr.String() + ":80"
)

// What residents send.
var (
	pressButton = "POST /session HTTP/1.1\r\nHost: 10.80.0.1\r\nOrigin: http://10.80.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
	pressEnd    = strings.Replace(pressButton, "/session", "/session/end", 1)
	getInternet = "GET / HTTP/1.1\r\nHost: www.example\r\nConnection: close\r\n\r\n"
)

// latency is the distribution of response times.
type latency struct{ p50, p99 time.Duration }

func (p latency) String() string {
	return fmt.Sprintf("median %.2f ms, p99 %.2f ms", milliseconds(p.p50), milliseconds(p.p99))
}

// press measures the time from the button to the first byte of a page on the internet. The button is pressed over the connection that
// fetched its page; the internet needs a new connection. Clients and the internet share the box's processors, so they are minimal. The
// same is measured with residents who already have sessions, to separate the cost of the admission.
func press(ctx context.Context, b *bench) (rows []row, err error) {
	d, err := b.startDaemon(ctx, netlab.Options{Residents: 50, Direct: true}, box.Setup{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := servePage(d.Internet.Host); err != nil {
		return nil, err
	}
	press := func(turns []turn, before string) func(context.Context) (latency, error) {
		return func(ctx context.Context) (latency, error) { return d.press(ctx, turns, before) }
	}
	// Everybody presses twice: the box limits how often one resident may press.
	oneByOne := slices.Repeat(slices.Collect(slices.Chunk(d.Residents, 1)), 2)
	all := []variant[latency]{
		{"100 in a row", press(oneByOne, pressEnd)},
		{"50 at once", press([]turn{d.Residents}, pressEnd)},
		{"50 at once without admission", press([]turn{d.Residents}, pressButton)},
	}
	other, err := b.startPeer(ctx, standard(netlab.Options{Residents: 5, Direct: true}), 0)
	if err != nil {
		return nil, err
	}
	if other != nil {
		defer func() { err = errors.Join(err, other.Close()) }()
		if err := servePage(other.Internet.Host); err != nil {
			return nil, err
		}
		for _, c := range []struct {
			name  string
			turns []turn
		}{
			{", 10 in a row", slices.Repeat(slices.Collect(slices.Chunk(other.Residents, 1)), 2)},
			{", 5 at once", []turn{other.Residents}},
		} {
			all = append(all, variant[latency]{other.name + c.name, optional(func(ctx context.Context) (latency, error) {
				return pressInTurns(ctx, c.turns, other.prepareClient)
			})})
		}
	}
	// All first contacts at once: one after the other, they took more than a minute.
	if _, err := d.press(ctx, []turn{d.Residents}, pressEnd); err != nil {
		return nil, err
	}
	results, err := interleave(ctx, b, "press to first byte", all)
	if err != nil {
		return nil, err
	}
	took := make([]latency, len(all))
	for i, rounds := range results {
		if rounds == nil {
			continue
		}
		var p50, p99 []time.Duration
		for _, p := range rounds {
			p50, p99 = append(p50, p.p50), append(p99, p.p99)
		}
		took[i] = latency{quantile(p50, 0.5), quantile(p99, 0.5)}
	}
	for i, beside := range []string{"", fmt.Sprintf("the same without admission %v", took[2])} {
		rows = append(rows, row{
			what: "press to first forwarded byte, " + all[i].name, target: "median ≤ 10 ms, p99 ≤ 50 ms",
			measured: took[i].String(), beside: beside,
			met: verdictOf(took[i].p50 <= 10*time.Millisecond && took[i].p99 <= 50*time.Millisecond),
		})
	}
	median := func(p latency) float64 { return float64(p.p50) }
	for i, theirs := range results[3:] {
		if theirs == nil {
			continue
		}
		rows = append(rows, row{
			what: "press to first forwarded byte, " + all[3+i].name, measured: took[3+i].String(),
			beside: fmt.Sprintf("passerelle, %s: %v", all[i].name, took[i]),
			ratio:  fmt.Sprintf("median %.0f times", ratio(values(theirs, median), values(results[i], median)).median),
		})
	}
	return rows, nil
}

// pageAddress is the address of the page on the internet.
var pageAddress = netip.AddrPortFrom(netlab.WebAddr, 8080)

// servePage answers every connection with a page after the first bytes of a request, until the host's world is closed.
func servePage(internet *netlab.Host) error {
	l, err := internet.Listen("tcp4", pageAddress.String())
	if err != nil {
		return err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if _, err := conn.Read(make([]byte, 4096)); err == nil {
					io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nhi\n")
				}
			}()
		}
	}()
	return nil
}

// turn is the residents who press at the same moment.
type turn = []*netlab.Resident

// press lets residents go online in turns, and returns the times from each press to the first byte. The request before decides whether
// they already have a session.
func (d *daemon) press(ctx context.Context, turns []turn, before string) (latency, error) {
	return pressInTurns(ctx, turns, func(r *netlab.Resident) (p client, err error) {
		err = r.Do(func() (err error) { p, err = prepare(before); return err })
		return p, err
	})
}

// pressInTurns is press for clients that prepare returns. prepare may return an incomplete client with an error; it is closed too.
func pressInTurns(ctx context.Context, turns []turn, prepare func(*netlab.Resident) (client, error)) (latency, error) {
	var took []time.Duration
	for _, residents := range turns {
		var ready sync.WaitGroup
		var all errgroup.Group
		start := make(chan time.Time)
		now := make([]time.Duration, len(residents))
		ready.Add(len(residents))
		for i, r := range residents {
			all.Go(func() error {
				p, err := prepare(r)
				defer p.close()
				ready.Done()
				pressed := <-start
				if err == nil {
					now[i], err = p.goOnline(pressed)
				}
				return err
			})
		}
		ready.Wait()
		pressed := time.Now()
		for range residents {
			start <- pressed
		}
		if err := errors.Join(all.Wait(), ctx.Err()); err != nil {
			return latency{}, err
		}
		took = append(took, now...)
	}
	return latency{quantile(took, 0.5), quantile(took, 0.99)}, nil
}

// client is a resident before the press: with the first page open, and a socket for the internet. Both belong to the resident's
// namespace, so that no thread has to enter the namespace any more.
type client struct {
	button net.Conn
	press  string       // the request
	status string       // prefix of the answer
	page   *net.TCPConn // not connected yet
}

// prepare creates a client of the resident in whose namespace the thread is.
func prepare(before string) (p client, err error) {
	p.press, p.status = pressButton, "HTTP/1.1 303"
	if err := askOnce(portalAddress, before, p.status); err != nil {
		return p, err
	}
	if p.page, err = newSocket(); err != nil {
		return p, err
	}
	if p.button, err = connect(portalAddress); err != nil {
		return p, err
	}
	if _, err = io.WriteString(p.button, getFirstPage+"\r\n"); err == nil {
		var page *http.Response
		if page, err = http.ReadResponse(bufio.NewReader(p.button), nil); err == nil {
			_, err = io.Copy(io.Discard, page.Body)
		}
	}
	if err != nil {
		return p, fmt.Errorf("fetch the first page: %w", err)
	}
	return p, nil
}

func (p client) close() {
	if p.button != nil {
		p.button.Close()
	}
	if p.page != nil {
		p.page.Close()
	}
}

// goOnline presses the button and fetches a page from the internet. It returns the time from pressed to the page's first byte.
func (p client) goOnline(pressed time.Time) (took time.Duration, err error) {
	if err := ask(p.button, p.press, p.status); err != nil {
		return 0, err
	}
	if err := connectSocket(p.page, pageAddress); err != nil {
		return 0, err
	}
	if err := ask(p.page, getInternet, "HTTP/1.1 200"); err != nil {
		return 0, err
	}
	return time.Since(pressed), nil
}

// newSocket opens a TCP socket in the thread's namespace.
func newSocket() (*net.TCPConn, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("open a socket: %w", err)
	}
	return conn.(*net.TCPConn), nil
}

// connectSocket connects a socket.
func connectSocket(conn *net.TCPConn, to netip.AddrPort) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	address := &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	var state error
	// While the connect is in progress, the call is repeated once the socket is writable (connect(2)).
	err = raw.Write(func(fd uintptr) bool {
		state = unix.Connect(int(fd), address)
		return state != unix.EINPROGRESS && state != unix.EALREADY
	})
	if err == nil && state != unix.EISCONN {
		err = state
	}
	if err != nil {
		return fmt.Errorf("connect to %s: %w", to, err)
	}
	return conn.SetDeadline(time.Now().Add(timeout))
}

// timeout bounds every answer.
const timeout = 10 * time.Second

// connect connects from the thread's namespace.
func connect(address string) (net.Conn, error) {
	conn, err := net.DialTimeout("tcp4", address, timeout)
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(timeout))
}

// askOnce sends a request over its own connection.
func askOnce(address, request, status string) error {
	conn, err := connect(address)
	if err != nil {
		return err
	}
	defer conn.Close()
	return ask(conn, request, status)
}

// ask sends a request, and returns once the status line has arrived.
func ask(conn net.Conn, request, status string) error {
	if _, err := io.WriteString(conn, request); err != nil {
		return err
	}
	got := make([]byte, len(status))
	if _, err := io.ReadFull(conn, got); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if string(got) != status {
		return fmt.Errorf("the answer is %q, want %q", got, status)
	}
	return nil
}
