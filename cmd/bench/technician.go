package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"passerelle/cmd/internal/box"
	"passerelle/netctl/netlab"
)

// managed lists the technicians' pages that a working technician opens in turn.
var managed = []string{
	"/admin/", "/admin/settings", "/admin/settings/donations", "/admin/settings/text", "/admin/journal", "/admin/poster",
	"/admin/poster/a4.pdf",
}

// hurry is the time between two pages of a technician. A real one takes longer.
const hurry = time.Second

// turnsEach is the number of turns in a round with a technician, and of those without.
const turnsEach = 4

// technician compares residents' pages while a technician works on the box with the same pages while nobody does.
func technician(ctx context.Context, b *bench) (rows []row, err error) {
	d, err := b.startDaemon(ctx, netlab.Options{Residents: phones + 1, Direct: true}, box.Setup{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	works, err := signIn(ctx, d, d.Residents[phones])
	if err != nil {
		return nil, err
	}
	for _, ask := range []struct{ name, request string }{{"first page", getFirstPage}, {"a lesson", getLesson}} {
		l := load{address: portalAddress, request: ask.request + requestHeaders, status: "HTTP/1.1 200", keep: true}
		run := func(ctx context.Context) (requestRate, error) {
			return l.run(ctx, d.Residents[:phones], orQuick(b, time.Second, 100*time.Millisecond))
		}
		opened := 0
		beside := func(ctx context.Context) (rate requestRate, err error) {
			working, stop := context.WithCancel(ctx)
			worked := make(chan error, 1)
			go func() {
				n, err := works(working)
				opened += n
				worked <- err
			}()
			rate, err = run(ctx)
			stop()
			return rate, errors.Join(err, <-worked)
		}
		// Turns are short, since the difference is small and other load is not steady.
		var without, with []float64
		for round := range b.rounds {
			sums := [2]float64{}
			for turn := range 2 * turnsEach {
				which := (turn + turn/2) % 2 // A B B A
				measure := run
				if which == 1 {
					measure = beside
				}
				rate, err := measure(ctx)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", ask.name, err)
				}
				sums[which] += float64(rate) / turnsEach
			}
			without, with = append(without, sums[0]), append(with, sums[1])
			b.logf("  %s, round %d of %d: nobody works %v, a technician works %v", ask.name, round+1, b.rounds, requestRate(sums[0]), requestRate(sums[1]))
		}
		r := ratio(with, without)
		rows = append(rows, row{
			what:     fmt.Sprintf("%s, %d connections, a technician opens %d pages, one each %v", ask.name, phones*connsEach, opened, hurry),
			target:   "≥ 0.95 of without",
			measured: requestRate(median(with)).String(),
			beside:   fmt.Sprintf("nobody works: %v", requestRate(median(without))),
			ratio:    r.String(),
			met:      verdictOf(r.median >= 0.95),
		})
	}
	return rows, nil
}

// signIn sets the technicians' password from a resident's device. works opens pages until ctx ends, and returns how many.
func signIn(ctx context.Context, d *daemon, r *netlab.Resident) (works func(context.Context) (int, error), err error) {
	const site = "https://10.80.0.1"
	code, err := d.SetupCode(ctx)
	if err != nil {
		return nil, err
	}
	client := r.HTTPClient()
	if client.Jar, err = cookiejar.New(nil); err != nil {
		return nil, err
	}
	client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // the box's certificate is self-signed
	send := func(ctx context.Context, method, path, form string, want int) error {
		q, err := http.NewRequestWithContext(ctx, method, site+path, strings.NewReader(form))
		if err != nil {
			return err
		}
		if form != "" {
			q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		reply, err := client.Do(q)
		if err != nil {
			return err
		}
		defer reply.Body.Close()
		if _, err := io.Copy(io.Discard, reply.Body); err != nil {
			return err
		}
		if reply.StatusCode != want {
			return fmt.Errorf("%s is answered with %d, want %d", path, reply.StatusCode, want)
		}
		return nil
	}
	form := url.Values{"code": {code}, "password": {"a benchmark's passphrase"}}.Encode()
	if err := send(ctx, http.MethodPost, "/admin/login", form, http.StatusSeeOther); err != nil {
		return nil, fmt.Errorf("sign a technician in: %w", err)
	}
	next := 0
	return func(ctx context.Context) (opened int, err error) {
		for {
			if err := send(ctx, http.MethodGet, managed[next%len(managed)], "", http.StatusOK); err != nil {
				if ctx.Err() != nil {
					return opened, nil
				}
				return opened, fmt.Errorf("a technician's page: %w", err)
			}
			next++
			opened++
			if sleep(ctx, hurry) != nil {
				return opened, nil
			}
		}
	}, nil
}
