package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"passerelle/cmd/internal/box"
	"passerelle/netctl/netlab"
)

// breathing is a line that carries no more than is lent, or hardly more, with the queue of a cheap modem, and the daemon in front of
// it. One resident has many streams, four have one each, and the last one only makes a call.
type breathing struct {
	*daemon
	name       string
	line       uint64           // bit/s
	congestion string           // of all senders
	most       time.Duration    // the most that the line may add to the 95th percentile of a call
	away       *netlab.Distance // of the internet; nil without delays
	delays     []time.Duration  // from the internet, one after the other; none means no delay
}

const (
	neighbours  = 4
	modemBuffer = 600 * time.Millisecond // 1.5 MB of 20 Mbit/s
	callEvery   = 20 * time.Millisecond  // 50 packets a second
	looksFor    = 10 * time.Second       // time that a cold line has to find its rate
)

// breathingLine starts the daemon in front of a line, of which lent bit/s are lent.
func (b *bench) breathingLine(ctx context.Context, l breathing, lent uint64, autorate bool) (breathing, error) {
	var err error
	l.daemon, err = b.startDaemon(ctx, netlab.Options{
		Residents: 1 + neighbours + 1, NoOffload: true, Shape: netlab.Shape{Down: l.line, Up: l.line, Queue: modemBuffer},
	}, box.Setup{
		Limits: "\ndownload = \"0\"\nupload = \"0\"\ndata = \"0\"",
		Donation: fmt.Sprintf("\ndownload = \"%dbit\"\nupload = \"%[1]dbit\"\ncap = \"0\"\nautorate = %t\ndns = [%q]",
			lent, autorate, netlab.DNSAddr),
	})
	if err != nil {
		return l, err
	}
	if err := l.Admit(ctx, l.Residents...); err != nil {
		return l, errors.Join(err, l.Close())
	}
	return l, nil
}

// breathingResult is what residents got from such a line.
type breathingResult struct {
	jain, used, total float64       // Jain's index; the fraction of the line that was used; bit/s of goodput
	call, own         time.Duration // added to the 95th percentile of another resident's call, and of a call beside the streams
	shares            []float64     // bit/s
}

func (s breathingResult) String() string {
	text := fmt.Sprintf("Jain %.4f, %.3f of the line used, a call's p95 %+.1f ms, beside the streams %+.1f ms; Mbit/s:",
		s.jain, s.used, milliseconds(s.call), milliseconds(s.own))
	for _, v := range s.shares {
		text += fmt.Sprintf(" %.2f", v/1e6)
	}
	return text
}

// run fills the line from cold, and measures during count packets of the calls.
func (l breathing) run(ctx context.Context, count int, reverse bool) (s breathingResult, err error) {
	if len(l.delays) > 0 {
		l.away.Set(l.delays[0])
	}
	if err := sleep(ctx, time.Second); err != nil { // for what the last round left in the queues
		return s, err
	}
	first, last := l.Residents[0], l.Residents[len(l.Residents)-1]
	idle, err := last.Echo(ctx, netlab.WebAddr, 50, callEvery)
	if err != nil {
		return s, err
	}
	var transfers []*netlab.Transfer
	defer func() {
		for _, t := range transfers {
			err = errors.Join(err, t.Stop())
		}
	}()
	for k, r := range l.Residents[:1+neighbours] {
		bulk := netlab.Bulk{
			From: r.Host, To: l.Internet.Host, Addr: netlab.WebAddr, Streams: 1, Reverse: reverse, Congestion: l.congestion,
		}
		if k == 0 {
			bulk.Streams = greedy
		}
		t, err := bulk.Start(ctx)
		if err != nil {
			return s, err
		}
		transfers = append(transfers, t)
	}
	if err := sleep(ctx, looksFor); err != nil {
		return s, err
	}
	start, before := time.Now(), totals(transfers)
	crossed, err := l.crossed(reverse)
	if err != nil {
		return s, err
	}
	var own []time.Duration
	ownDone := make(chan error, 1)
	go func() {
		var err error
		own, err = first.Echo(ctx, netlab.WebAddr, count, callEvery)
		ownDone <- err
	}()
	var call []time.Duration
	base := quantile(idle, 0.5)
	parts := max(1, len(l.delays))
	for i := range parts {
		if i > 0 {
			l.away.Set(l.delays[i])
			base += l.delays[i] - l.delays[i-1]
		}
		part, err := last.Echo(ctx, netlab.WebAddr, count/parts, callEvery)
		if err != nil {
			return s, err
		}
		for _, trip := range part {
			call = append(call, trip-base)
		}
	}
	elapsed, after := time.Since(start), totals(transfers)
	end, err := l.crossed(reverse)
	if err := errors.Join(err, <-ownDone); err != nil {
		return s, err
	}
	if len(call) == 0 || len(own) == 0 {
		return s, errors.New("no packet of a call came back")
	}
	for k := range after {
		s.shares = append(s.shares, (after[k]-before[k])*8/elapsed.Seconds())
	}
	s.jain, s.total = jain(s.shares)
	s.used = float64(end-crossed) * 8 / elapsed.Seconds() / float64(l.line)
	s.call, s.own = quantile(call, 0.95), quantile(own, 0.95)-base
	return s, nil
}

// crossed returns the bytes that have crossed the line in a direction.
func (l breathing) crossed(reverse bool) (uint64, error) {
	rx, tx, err := l.Lenders[0].Router.Counters("wan")
	if reverse {
		return rx, err
	}
	return tx, err
}

// breathe fills lines that carry no more than is lent. There are three kinds of senders: Cubic and QUIC yield to lost packets. BBR
// does not, so packets that the box drops have used up the line's capacity for nothing.
func breathe(ctx context.Context, b *bench) (rows []row, err error) {
	var all []breathing
	defer func() {
		for _, l := range all {
			err = errors.Join(err, l.Close())
		}
	}()
	for _, l := range []struct {
		breathing
		autorate bool
	}{
		{breathing{name: "20 lent of 20 Mbit/s, Cubic", line: 20e6, congestion: "cubic", most: 60 * time.Millisecond}, true},
		{breathing{name: "20 lent of 20 Mbit/s, BBR", line: 20e6, congestion: "bbr", most: 60 * time.Millisecond}, true},
		{breathing{name: "20 lent of 20 Mbit/s, QUIC", line: 20e6, congestion: netlab.QUIC, most: 60 * time.Millisecond}, true},
		{breathing{name: "20 lent of 22 Mbit/s, Cubic", line: 22e6, congestion: "cubic", most: 20 * time.Millisecond}, true},
		{breathing{name: "a fixed rate, BBR", line: 20e6, congestion: "bbr"}, false},
	} {
		started, err := b.breathingLine(ctx, l.breathing, uint64(lent), l.autorate)
		if err != nil {
			return nil, err
		}
		all = append(all, started)
	}
	few := *b
	few.rounds = min(few.rounds, 3) // these take long
	for _, reverse := range []bool{true, false} {
		var lines []variant[breathingResult]
		for _, l := range all {
			lines = append(lines, variant[breathingResult]{l.name, func(ctx context.Context) (breathingResult, error) {
				return l.run(ctx, orQuick(b, 1000, 500), reverse)
			}})
		}
		results, err := inParallel(ctx, &few, "a line that breathes, "+direction(reverse), lines)
		if err != nil {
			return nil, err
		}
		last := len(all) - 1
		for i, l := range all[:last] {
			r := l.row(results[i], direction(reverse))
			r.beside = all[last].name + ": " + measuredOf(results[last])
			rows = append(rows, r)
		}
	}
	return rows, nil
}

// far fills lines to an internet at a distance, which in one case grows, as when a phone changes cells. The boxes take turns. Beside each
// row there is a fixed rate of nine tenths of the line, as somebody would lend who knew the line.
func far(ctx context.Context, b *bench) (rows []row, err error) {
	const near, away, farLine = 20 * time.Millisecond, 80 * time.Millisecond, 20e6
	var boxes []breathing
	defer func() {
		for _, l := range boxes {
			err = errors.Join(err, l.Close())
		}
	}()
	for i, autorate := range []bool{true, false} {
		lent := uint64(farLine)
		if !autorate {
			lent = lent * 9 / 10
		}
		l, err := b.breathingLine(ctx, breathing{line: farLine}, lent, autorate)
		if err != nil {
			return nil, err
		}
		boxes = append(boxes, l)
		if boxes[i].away, err = l.Internet.AddDistance("away", l.Lenders[0].Line); err != nil {
			return nil, err
		}
	}
	var lines []variant[breathingResult]
	var all []breathing // each with the law, then at the fixed rate
	for _, congestion := range []string{"cubic", "bbr", netlab.QUIC} {
		for _, delays := range [][]time.Duration{{near}, {away}, {near, away}} {
			for i, rate := range []string{"20 lent", "a fixed 18"} {
				l := breathing{
					daemon: boxes[i].daemon, away: boxes[i].away, name: fmt.Sprintf("%s of 20 Mbit/s, %s, %v away", rate, congestion, delays),
					line: farLine, congestion: congestion, delays: delays, most: 60 * time.Millisecond,
				}
				all = append(all, l)
				lines = append(lines, variant[breathingResult]{l.name, func(ctx context.Context) (breathingResult, error) {
					return l.run(ctx, orQuick(b, 1000, 500), true)
				}})
			}
		}
	}
	results, err := interleave(ctx, b, "far", lines)
	if err != nil {
		return nil, err
	}
	status, err := boxes[0].Status(ctx)
	for i := 0; i < len(all); i += 2 {
		r := all[i].row(results[i], direction(true))
		r.what += ", " + status.Hotspot.Queue
		r.beside = "a fixed 18 Mbit/s: " + measuredOf(results[i+1])
		rows = append(rows, r)
	}
	return rows, err
}

// measuredOf returns what was measured as text.
func measuredOf(results []breathingResult) string {
	of := func(number func(breathingResult) float64) spread { return spreadOf(values(results, number)) }
	return fmt.Sprintf("Jain %s, %s used, call's p95 %+.0f ms (of the one with the streams %+.0f ms)",
		of(func(s breathingResult) float64 { return s.jain }), of(func(s breathingResult) float64 { return s.used }),
		of(func(s breathingResult) float64 { return milliseconds(s.call) }).median,
		of(func(s breathingResult) float64 { return milliseconds(s.own) }).median)
}

// row returns the results, and whether their medians meet the target.
func (l breathing) row(results []breathingResult, direction string) row {
	of := func(number func(breathingResult) float64) float64 { return median(values(results, number)) }
	return row{
		what:     fmt.Sprintf("five residents, one with %d streams, and another's call, %s, %s", greedy, direction, l.name),
		target:   fmt.Sprintf("Jain ≥ 0.95, p95 ≤ %+d ms, ≥ 0.85 used", l.most.Milliseconds()),
		measured: measuredOf(results),
		met: verdictOf(of(func(s breathingResult) float64 { return s.jain }) >= 0.95 &&
			of(func(s breathingResult) float64 { return s.used }) >= 0.85 &&
			of(func(s breathingResult) float64 { return s.call.Seconds() }) <= l.most.Seconds()),
	}
}
