package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

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

// presses is how long it took residents to get online.
type presses struct{ p50, p99 time.Duration }

func (p presses) String() string {
	return fmt.Sprintf("median %.2f ms, p99 %.2f ms", milliseconds(p.p50), milliseconds(p.p99))
}

// press measures from the button to the first byte of a page on the internet. The button is pressed on a page that has
// been fetched, over its connection; the internet needs a new one.
func press(ctx context.Context, b *bench) (rows []row, err error) {
	d, err := b.startDaemon(ctx, netlab.Options{Residents: 50, Direct: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	all := []contestant[presses]{
		{"100 in a row", func(ctx context.Context) (presses, error) { return d.press(ctx, d.Residents[:1], 100) }},
		{"50 at once", func(ctx context.Context) (presses, error) { return d.press(ctx, d.Residents, 1) }},
	}
	results, err := contest(ctx, b, "press to first byte", all)
	if err != nil {
		return nil, err
	}
	for i, openNDS := range []struct {
		ms   float64 // median from grant to first byte
		note string
	}{{440, ""}, {2200, " (5 at once)"}} {
		p50 := median(column(results[i], func(p presses) float64 { return milliseconds(p.p50) }))
		p99 := median(column(results[i], func(p presses) float64 { return milliseconds(p.p99) }))
		rows = append(rows, row{
			what: "press to first forwarded byte, " + all[i].name, target: "median ≤ 10 ms, p99 ≤ 50 ms",
			measured: fmt.Sprintf("median %.2f ms, p99 %.2f ms", p50, p99),
			beside:   fmt.Sprintf("openNDS %.0f ms%s", openNDS.ms, openNDS.note),
			ratio:    fmt.Sprintf("%.0f times faster", openNDS.ms/p50), met: judge(p50 <= 10 && p99 <= 50),
		})
	}
	return rows, nil
}

// press has the residents go online at the same moment, so many times each, and returns how long it took from then on
// until each had the first byte.
func (d *daemon) press(ctx context.Context, residents []*netlab.Resident, times int) (presses, error) {
	var took []time.Duration
	for range times {
		var ready sync.WaitGroup
		var all errgroup.Group
		start := make(chan time.Time)
		now := make([]time.Duration, len(residents))
		ready.Add(len(residents))
		for i, r := range residents {
			all.Go(func() error {
				return r.Do(func() (err error) {
					now[i], err = goOnline(ready.Done, start)
					return err
				})
			})
		}
		ready.Wait()
		pressed := time.Now()
		for range residents {
			start <- pressed
		}
		if err := errors.Join(all.Wait(), ctx.Err()); err != nil {
			return presses{}, err
		}
		took = append(took, now...)
	}
	return presses{quantile(took, 0.5), quantile(took, 0.99)}, nil
}

// goOnline fetches the first page without a session, tells that it is ready, and at the start presses the button and
// fetches a page from the internet. It returns the time from the start to that page's first byte.
func goOnline(ready func(), start <-chan time.Time) (took time.Duration, err error) {
	button, err := prepare()
	ready()
	pressed := <-start
	if err != nil {
		return 0, err
	}
	defer button.Close()
	if err := ask(button, pressButton, "HTTP/1.1 303"); err != nil {
		return 0, err
	}
	if err := askOnce(webAddress, getInternet, "HTTP/1.1 200"); err != nil {
		return 0, err
	}
	return time.Since(pressed), nil
}

// prepare ends the session of the resident in whose namespace the thread is, and fetches the first page.
func prepare() (net.Conn, error) {
	if err := askOnce(portalAddress, pressEnd, "HTTP/1.1 303"); err != nil {
		return nil, err
	}
	conn, err := connect(portalAddress)
	if err != nil {
		return nil, err
	}
	if _, err = io.WriteString(conn, getFirstPage+"\r\n"); err == nil {
		var page *http.Response
		if page, err = http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
			_, err = io.Copy(io.Discard, page.Body)
		}
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("fetch the first page: %w", err)
	}
	return conn, nil
}

// patience bounds every answer.
const patience = 10 * time.Second

// connect connects from the namespace that the thread is in.
func connect(address string) (net.Conn, error) {
	conn, err := net.DialTimeout("tcp4", address, patience)
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(patience))
}

// askOnce sends a request over a connection of its own.
func askOnce(address, request, status string) error {
	conn, err := connect(address)
	if err != nil {
		return err
	}
	defer conn.Close()
	return ask(conn, request, status)
}

// ask sends a request and returns when the first bytes of the answer are there.
func ask(conn net.Conn, request, status string) error {
	if _, err := io.WriteString(conn, request); err != nil {
		return err
	}
	got := make([]byte, len(status))
	if _, err := io.ReadFull(conn, got); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if string(got) != status {
		return fmt.Errorf("%s answers %q, want %q", conn.RemoteAddr(), got, status)
	}
	return nil
}
