package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"passerelle/appliance/config"
	"passerelle/netctl/netlab"
)

const (
	competitors = 8                 // residents with bulk transfers; another one only pings
	greedy      = 16                // streams of one of them; each of the others has one
	lent        = config.Rate(20e6) // bit/s of the donation
)

// contended is a slow line with a long queue, and the box in front of it.
type contended struct {
	name    string
	target  bool // its row has a target
	streams int  // of the first resident
	scene   *netlab.Scene
	close   func() error
}

// fairnessResult is what residents got from a full line.
type fairnessResult struct {
	jain, cold       float64       // Jain's index; cold counts from the first byte
	total            float64       // bit/s of goodput
	idle50, idle99   time.Duration // round trip through the idle line
	added50, added99 time.Duration // what the full line added
	lost             int           // echoes
}

func (s fairnessResult) String() string {
	return fmt.Sprintf("Jain %.4f (from cold %.4f) of %.2f Mbit/s, ping p50 %.2f %+.2f ms, p99 %.2f %+.2f ms, %d lost", s.jain, s.cold, s.total/1e6,
		milliseconds(s.idle50), milliseconds(s.added50), milliseconds(s.idle99), milliseconds(s.added99), s.lost)
}

const (
	slowLine    = 10e6 // bit/s: an emulated machine can fill it without being saturated itself
	slowStreams = 8    // each gets as much of it as in fairness
)

// bystander fills a slow line from one resident while another one pings. The boxes take turns. It is for machines that are slow
// compared with their lines, such as emulated ones, where fairness would measure the machine.
func bystander(ctx context.Context, b *bench) (rows []row, err error) {
	scene := contendedLine(1, slowLine)
	g, err := gatedScene(ctx, scene, config.Limits{}, config.Donation{Download: slowLine * 8 / 10, Upload: slowLine * 8 / 10})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	if err := g.admit(ctx, 0); err != nil {
		return nil, err
	}
	plain, err := plainScene(ctx, scene)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, plain.Close()) }()
	box := contended{name: "8 lent of 10 Mbit/s, " + g.gate.Queue(), target: true, streams: slowStreams, scene: g.Scene}
	beside := contended{name: "plain forwarding, 10 Mbit/s", streams: slowStreams, scene: plain}
	for _, reverse := range []bool{true, false} {
		results, err := interleave(ctx, b, "bystander "+direction(reverse), []variant[fairnessResult]{
			{box.name, func(ctx context.Context) (fairnessResult, error) { return box.run(ctx, echoes(b), reverse) }},
			{beside.name, func(ctx context.Context) (fairnessResult, error) { return beside.run(ctx, echoes(b), reverse) }},
		})
		if err != nil {
			return nil, err
		}
		what := fmt.Sprintf("a ping while a neighbour's %d streams fill the line, %s, %s", slowStreams, direction(reverse), box.name)
		rows = append(rows, box.pingRow(what, results[0], results[1]))
	}
	return rows, nil
}

// fairness fills lines from eight residents, in one direction after the other. The boxes run at the same time, since their lines are
// slow compared with the machine.
func fairness(ctx context.Context, b *bench) (rows []row, err error) {
	boxes, err := contendedBoxes(ctx)
	defer func() {
		for _, c := range boxes {
			err = errors.Join(err, c.close())
		}
	}()
	if err != nil {
		return nil, err
	}
	for _, reverse := range []bool{true, false} {
		var all []variant[fairnessResult]
		for _, c := range boxes {
			all = append(all, variant[fairnessResult]{c.name, func(ctx context.Context) (fairnessResult, error) {
				return c.run(ctx, echoes(b), reverse)
			}})
		}
		results, err := inParallel(ctx, b, direction(reverse), all)
		if err != nil {
			return nil, err
		}
		plain := results[len(results)-1]
		for i, c := range boxes {
			rows = append(rows, c.rows(direction(reverse), results[i], plain)...)
		}
	}
	more, err := breathe(ctx, b)
	return append(rows, more...), err
}

func direction(reverse bool) string {
	if reverse {
		return "down"
	}
	return "up"
}

// contendedOptions returns the options of a scene with this many bulk residents, and one that only pings.
func contendedOptions(wanting int, line uint64) netlab.Options {
	return netlab.Options{
		Residents: wanting + 1, NoOffload: true,
		Shape: netlab.Shape{Down: line, Up: line, Queue: 100 * time.Millisecond},
	}
}

func contendedLine(wanting int, line uint64) sceneFunc {
	return standard(contendedOptions(wanting, line))
}

// contendedBoxes creates the boxes, the plain one last. On error it also returns those that it has created.
func contendedBoxes(ctx context.Context) (all []contended, err error) {
	for _, line := range []uint64{25e6, 22e6, 20e6} {
		g, err := gatedScene(ctx, contendedLine(competitors, line), config.Limits{}, config.Donation{Download: lent, Upload: lent})
		if err != nil {
			return all, err
		}
		all = append(all, contended{fmt.Sprintf("20 lent of %d Mbit/s", line/1e6), line == 25e6, greedy, g.Scene, g.Close})
		if err := g.admit(ctx, 0); err != nil {
			return all, err
		}
	}
	plain, err := plainScene(ctx, contendedLine(competitors, 25e6))
	if err != nil {
		return all, err
	}
	return append(all, contended{"plain forwarding, 25 Mbit/s", false, greedy, plain, plain.Close}), nil
}

// echoes returns the number of pings while the line is full.
func echoes(b *bench) int { return orQuick(b, 1000, 200) }

// run fills the line once, while count pings are sent.
func (c contended) run(ctx context.Context, count int, reverse bool) (s fairnessResult, err error) {
	last := len(c.scene.Residents) - 1
	bystander := c.scene.Residents[last]
	const every = 10 * time.Millisecond
	if err := sleep(ctx, 500*time.Millisecond); err != nil { // for what the last round left in the queues
		return s, err
	}
	idle, err := bystander.Echo(ctx, netlab.WebAddr, 100, every)
	if err != nil {
		return s, err
	}
	var transfers []*netlab.Transfer
	defer func() {
		for _, t := range transfers {
			err = errors.Join(err, t.Stop())
		}
	}()
	for k, r := range c.scene.Residents[:last] {
		bulk := netlab.Bulk{From: r.Host, To: c.scene.Internet.Host, Addr: netlab.WebAddr, Streams: 1, Reverse: reverse}
		if k == 0 {
			bulk.Streams = c.streams
		}
		t, err := bulk.Start(ctx)
		if err != nil {
			return s, err
		}
		transfers = append(transfers, t)
	}
	if err := sleep(ctx, 3*time.Second); err != nil { // for so long, sixteen slow starts fill the line's own queue
		return s, err
	}
	start, before := time.Now(), totals(transfers)
	full, err := bystander.Echo(ctx, netlab.WebAddr, count, every)
	if err != nil {
		return s, err
	}
	elapsed, after := time.Since(start), totals(transfers)
	var shares []float64
	for k := range after {
		shares = append(shares, (after[k]-before[k])*8/elapsed.Seconds())
	}
	if len(idle) == 0 || len(full) == 0 {
		return s, errors.New("no echo came back")
	}
	s.jain, s.total = jain(shares)
	s.cold, _ = jain(after)
	s.idle50, s.idle99 = quantile(idle, 0.5), quantile(idle, 0.99)
	s.added50, s.added99 = quantile(full, 0.5)-s.idle50, quantile(full, 0.99)-s.idle99
	s.lost = count - len(full)
	return s, nil
}

func totals(transfers []*netlab.Transfer) []float64 {
	var all []float64
	for _, t := range transfers {
		all = append(all, float64(t.Total()))
	}
	return all
}

// jain returns Jain's index of the shares (1 if all are equal, 1/n if one has everything) and their sum.
func jain(shares []float64) (index, sum float64) {
	var squares float64
	for _, v := range shares {
		sum += v
		squares += v * v
	}
	if squares == 0 {
		return 0, 0
	}
	return sum * sum / (float64(len(shares)) * squares), sum
}

func (c contended) rows(direction string, results, plain []fairnessResult) []row {
	index := func(s fairnessResult) float64 { return s.jain }
	j, jPlain := spreadIn(results, index), spreadIn(plain, index)
	fair := row{
		what: fmt.Sprintf("eight residents, one with 16 streams, %s, %s", direction, c.name),
		measured: fmt.Sprintf("Jain %.4f (%.4f to %.4f), from cold %.4f, %.1f Mbit/s together", j.median, j.low, j.high,
			spreadIn(results, func(s fairnessResult) float64 { return s.cold }).median,
			spreadIn(results, func(s fairnessResult) float64 { return s.total / 1e6 }).median),
		beside: fmt.Sprintf("plain forwarding %.2f", jPlain.median),
	}
	if c.target {
		fair.target, fair.met = "Jain ≥ 0.99", verdictOf(j.median >= 0.99)
	}
	return []row{fair, c.pingRow(fmt.Sprintf("another's ping meanwhile, %s, %s", direction, c.name), results, plain)}
}

// pingRow returns the row on the ping of the resident who only pings, while the line is full.
func (c contended) pingRow(what string, results, plain []fairnessResult) row {
	added50 := func(s fairnessResult) float64 { return milliseconds(s.added50) }
	added99 := func(s fairnessResult) float64 { return milliseconds(s.added99) }
	lost := func(s fairnessResult) float64 { return float64(s.lost) }
	p50, p99 := spreadIn(results, added50), spreadIn(results, added99)
	ping := row{
		what: what,
		measured: fmt.Sprintf("p50 %+.2f ms (%+.2f to %+.2f), p99 %+.2f ms (%+.2f to %+.2f), %.0f lost",
			p50.median, p50.low, p50.high, p99.median, p99.low, p99.high, spreadIn(results, lost).median),
		beside: fmt.Sprintf("plain forwarding p50 %+.1f ms, p99 %+.1f ms, %.0f lost", spreadIn(plain, added50).median,
			spreadIn(plain, added99).median, spreadIn(plain, lost).median),
	}
	if c.target {
		ping.target, ping.met = "p50 ≤ +5 ms, p99 ≤ +30 ms", verdictOf(p50.median <= 5 && p99.median <= 30)
	}
	return ping
}

// spreadIn returns the spread of one number of the results.
func spreadIn(results []fairnessResult, number func(fairnessResult) float64) spread {
	return spreadOf(values(results, number))
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
