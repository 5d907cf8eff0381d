package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
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

// press measures from the button to the first byte of a page on the internet, each over a connection of its own.
func press(ctx context.Context, b *bench) (rows []row, err error) {
	d, err := b.startDaemon(ctx, netlab.Options{Residents: 50, Direct: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	results, err := contest(ctx, b, "press to first byte", []contestant[presses]{
		{"100 in a row", d.inARow},
		{"50 at once", d.atOnce},
	})
	if err != nil {
		return nil, err
	}
	for i, what := range []string{"100 in a row", "50 at once"} {
		p50 := median(column(results[i], func(p presses) float64 { return milliseconds(p.p50) }))
		p99 := median(column(results[i], func(p presses) float64 { return milliseconds(p.p99) }))
		openNDS := 440.0 // ms, measured
		if i == 1 {
			openNDS = 2200 // 5 at once
		}
		rows = append(rows, row{
			what: "press to first forwarded byte, " + what, target: "median ≤ 10 ms, p99 ≤ 50 ms",
			measured: fmt.Sprintf("median %.2f ms, p99 %.2f ms", p50, p99),
			beside:   fmt.Sprintf("openNDS %.0f ms%s", openNDS, []string{"", " (5 at once)"}[i]),
			ratio:    fmt.Sprintf("%.0f times faster", openNDS/p50), met: judge(p50 <= 10 && p99 <= 50),
		})
	}
	return rows, nil
}

// inARow has one resident go online and end it again and again.
func (d *daemon) inARow(ctx context.Context) (presses, error) {
	r := d.Residents[0].Host
	var took []time.Duration
	for range 100 {
		if err := ask(ctx, r, portalAddress, pressEnd, "HTTP/1.1 303"); err != nil {
			return presses{}, err
		}
		t, err := goOnline(ctx, r, time.Now())
		if err != nil {
			return presses{}, err
		}
		took = append(took, t)
	}
	return presses{quantile(took, 0.5), quantile(took, 0.99)}, nil
}

// atOnce has all residents press at the same moment.
func (d *daemon) atOnce(ctx context.Context) (presses, error) {
	for _, r := range d.Residents {
		if err := ask(ctx, r.Host, portalAddress, pressEnd, "HTTP/1.1 303"); err != nil {
			return presses{}, err
		}
	}
	took := make([]time.Duration, len(d.Residents))
	var all errgroup.Group
	start := time.Now()
	for i, r := range d.Residents {
		all.Go(func() (err error) { took[i], err = goOnline(ctx, r.Host, start); return err })
	}
	if err := all.Wait(); err != nil {
		return presses{}, err
	}
	return presses{quantile(took, 0.5), quantile(took, 0.99)}, nil
}

// goOnline presses the button and fetches a page from the internet, and returns the time from start to its first byte.
func goOnline(ctx context.Context, h *netlab.Host, start time.Time) (time.Duration, error) {
	if err := ask(ctx, h, portalAddress, pressButton, "HTTP/1.1 303"); err != nil {
		return 0, err
	}
	if err := ask(ctx, h, webAddress, getInternet, "HTTP/1.1 200"); err != nil {
		return 0, err
	}
	return time.Since(start), nil
}

// ask sends a request over a connection of its own and returns when the first bytes of the answer are there.
func ask(ctx context.Context, h *netlab.Host, address, request, status string) error {
	conn, err := h.Dial(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		return err
	}
	got := make([]byte, len(status))
	if _, err := io.ReadFull(conn, got); err != nil {
		return fmt.Errorf("read the answer of %s: %w", address, err)
	}
	if string(got) != status {
		return fmt.Errorf("%s answers %q, want %q", address, got, status)
	}
	return nil
}
