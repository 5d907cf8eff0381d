package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"passerelle/netctl/netlab"
)

const (
	attackers  = 32 // attacking devices
	each       = 30 // connections of each
	bystanders = 4  // the last residents, whose requests are measured
	floodTime  = 6 * time.Second
)

var pageAttacks = []attack{
	{
		name: "search", what: fmt.Sprintf("%d devices search for 12 unknown words over %d connections", attackers, attackers*each),
		limit: "others' page p95 ≤ 1 s; the daemon's longest time without a watchdog report ≤ 10 s",
		setup: setup{residents: attackers + bystanders, joined: attackers + bystanders}, run: searchFlood,
	},
	{
		name: "press30", what: fmt.Sprintf("a device presses and ends over %d connections", each),
		limit: "others' press p95 ≤ 0.3 s",
		setup: setup{residents: 1 + bystanders, joined: 1 + bystanders}, run: pressFlood,
	},
	{
		name: "press", what: fmt.Sprintf("%d devices press and end over %d connections", attackers, attackers*each),
		limit: "others' press p95 ≤ 0.3 s",
		setup: setup{residents: attackers + bystanders, joined: attackers + bystanders}, run: pressFlood,
	},
	{
		name: "reset", what: fmt.Sprintf("a device presses and ends, and resets its connection before the answer, %d at a time, 6 s", each),
		limit: "≤ 10 kB of log",
		setup: setup{residents: 1, joined: 1}, run: pressAndReset,
	},
}

// What residents send, over persistent connections.
const (
	host      = " HTTP/1.1\r\nHost: 10.80.0.1\r\nOrigin: http://10.80.0.1\r\n"
	pressing  = "POST /session" + host + "Content-Length: 0\r\n\r\n"
	ending    = "POST /session/end" + host + "Content-Length: 0\r\n\r\n"
	firstPage = "GET /" + host + "Connection: close\r\n\r\n"
	endOnce   = "POST /session/end" + host + "Content-Length: 0\r\nConnection: close\r\n\r\n"
	pressOnce = "POST /session" + host + "Content-Length: 0\r\nConnection: close\r\n\r\n"
)

// unknown returns a search for words that are in no tutorial, different ones for each k.
func unknown(k int) string {
	var words []string
	for w := range 12 {
		words = append(words, fmt.Sprintf("zq%dxw%dkv", k, w))
	}
	return "GET /tutorials?q=" + url.QueryEscape(strings.Join(words, " ")) + host + "\r\n"
}

// flood sends requests from the devices over this many connections each, until it is stopped. It reconnects when a connection is refused
// or ends.
func flood(ctx context.Context, residents []*netlab.Resident, connections int, request func(n int) string) (stop func() error) {
	return background(ctx, func(ctx context.Context) error {
		var all errgroup.Group
		for i, r := range residents {
			for c := range connections {
				all.Go(func() error {
					for n := (i*connections + c) << 16; ctx.Err() == nil; {
						n += converse(ctx, r, n, request)
						sleep(ctx, 50*time.Millisecond)
					}
					return nil
				})
			}
		}
		return all.Wait()
	})
}

// converse sends requests over one connection until it ends, and returns the number of requests.
func converse(ctx context.Context, r *netlab.Resident, first int, request func(n int) string) (n int) {
	within, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := r.Dial(within, "tcp4", portal)
	if err != nil {
		return 1
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	answers := bufio.NewReaderSize(conn, 4<<10)
	for ; ; n++ {
		if _, err := io.WriteString(conn, request(first+n)); err != nil {
			return n + 1
		}
		reply, err := http.ReadResponse(answers, nil)
		if err != nil {
			return n + 1
		}
		_, err = io.Copy(io.Discard, reply.Body)
		reply.Body.Close()
		if err != nil || reply.Close {
			return n + 1
		}
	}
}

// once sends a request over a new connection and returns when the whole answer has been received.
func once(ctx context.Context, r *netlab.Resident, request string, status int) error {
	within, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := r.Dial(within, "tcp4", portal)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := within.Deadline()
	conn.SetDeadline(deadline)
	if _, err := io.WriteString(conn, request); err != nil {
		return err
	}
	reply, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	if _, err := io.Copy(io.Discard, reply.Body); err != nil {
		return err
	}
	if reply.StatusCode != status {
		return fmt.Errorf("status %d", reply.StatusCode)
	}
	return nil
}

// measureDuringFlood floods from all residents except the last ones, and meanwhile measures requests of these, each repeatedly. What they
// do after each request is not measured.
func (s *testbed) measureDuringFlood(ctx context.Context, request func(n int) string, ask func(*netlab.Resident) error, after func(*netlab.Resident)) (*latencies, error) {
	first := len(s.Residents) - bystanders
	stop := flood(ctx, s.Residents[:first], each, request)
	if err := sleep(ctx, 2*time.Second); err != nil {
		return nil, errors.Join(err, stop())
	}
	w := new(latencies)
	var mu sync.Mutex
	var all errgroup.Group
	for _, r := range s.Residents[first:] {
		all.Go(func() error {
			for end := time.Now().Add(floodTime); time.Now().Before(end); {
				start := time.Now()
				err := ask(r)
				took := time.Since(start)
				mu.Lock()
				w.add(took, err)
				mu.Unlock()
				after(r)
				if err := sleep(ctx, 100*time.Millisecond); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return w, errors.Join(all.Wait(), stop())
}

func searchFlood(ctx context.Context, s *testbed) (outcome, error) {
	w, err := s.measureDuringFlood(ctx, unknown,
		func(r *netlab.Resident) error { return once(ctx, r, firstPage, http.StatusOK) }, func(*netlab.Resident) {})
	if err != nil {
		return outcome{}, err
	}
	o := w.p95(time.Second)
	silence := s.watchdog.longest()
	o.result += fmt.Sprintf("; the daemon did not report for %s", seconds(silence))
	o.ok = o.ok && silence <= 10*time.Second
	return o, nil
}

func pressFlood(ctx context.Context, s *testbed) (outcome, error) {
	w, err := s.measureDuringFlood(ctx, func(n int) string {
		if n%2 == 0 {
			return pressing
		}
		return ending
	},
		func(r *netlab.Resident) error { return once(ctx, r, pressOnce, http.StatusSeeOther) },
		func(r *netlab.Resident) { once(ctx, r, endOnce, http.StatusSeeOther) })
	if err != nil {
		return outcome{}, err
	}
	return w.p95(300 * time.Millisecond), nil
}

func pressAndReset(ctx context.Context, s *testbed) (outcome, error) {
	r := s.Residents[0]
	before := len(s.Log())
	within, cancel := context.WithTimeout(ctx, floodTime)
	defer cancel()
	var all errgroup.Group
	for range each {
		all.Go(func() error {
			// This runs on its own thread in the namespace, so that a connection does not need to switch threads.
			return r.Do(func() error {
				dialer := net.Dialer{Timeout: time.Second}
				for k := 0; within.Err() == nil; k++ {
					conn, err := dialer.Dial("tcp4", portal)
					if err != nil { // the box accepts no more connections
						sleep(within, 10*time.Millisecond)
						continue
					}
					if k%2 == 0 {
						io.WriteString(conn, pressing)
					} else {
						io.WriteString(conn, ending)
					}
					time.Sleep(time.Duration(k%20) * 100 * time.Microsecond) // at various moments of the press
					conn.(*net.TCPConn).SetLinger(0)
					conn.Close()
				}
				return nil
			})
		})
	}
	if err := all.Wait(); err != nil {
		return outcome{}, err
	}
	if err := once(ctx, r, firstPage, http.StatusOK); err != nil { // everything before has been processed
		return outcome{}, err
	}
	grown := len(s.Log()) - before
	return outcome{result: fmt.Sprintf("%.1f kB of log", float64(grown)/1e3), ok: grown <= 10e3}, nil
}
