package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"passerelle/appliance/config"
	"passerelle/netctl/netlab"
)

// transfer is the rate and the cost of a transfer.
type transfer struct {
	rate float64 // bit/s of goodput
	cpu  float64 // seconds of all cores, per gigabyte
}

func (t transfer) String() string {
	return fmt.Sprintf("%.2f Gbit/s, %.2f s of CPU a GB", t.rate/1e9, t.cpu)
}

func rateOf(t transfer) float64 { return t.rate }
func cpuOf(t transfer) float64  { return t.cpu }

// runner is a forwarding box with the resident whose traffic is measured.
type runner struct {
	name     string
	resident *netlab.Resident
	internet *netlab.Internet
	streams  int // parallel streams; 0 means one
	close    func() error
	ours     bool // a gate, with a target
	optional bool // see optional
}

const (
	manySessions = 1000
	fast         = config.Rate(40e9) // bit/s: above the line's rate
)

// throughput compares plain forwarding, the gate, hand-made gates and openNDS. The residents are behind an access point that bridges
// them.
func throughput(ctx context.Context, b *bench) ([]row, error) {
	return throughputs(ctx, b, func(offload bool) sceneFunc {
		return standard(netlab.Options{Residents: 1, Direct: true, NoOffload: !offload})
	})
}

// bareThroughput is throughput without an access point, so that the whole cost of the box shows. It has the same targets, which were
// set for residents behind a bridge.
func bareThroughput(ctx context.Context, b *bench) ([]row, error) { return throughputs(ctx, b, wired) }

// throughputs creates all boxes side by side, each in its own world, and loads them in turn.
func throughputs(ctx context.Context, b *bench, scene func(offload bool) sceneFunc) ([]row, error) {
	var rows []row
	for _, offload := range []bool{true, false} {
		runners, err := b.throughputRunners(ctx, scene(offload))
		if err == nil {
			for _, reverse := range []bool{true, false} {
				more, contestErr := throughputContest(ctx, b, runners, offload, reverse)
				rows = append(rows, more...)
				if err = contestErr; err != nil {
					break
				}
			}
		}
		for _, r := range runners {
			err = errors.Join(err, r.close())
		}
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// throughputRunners creates the variants. On error it also returns those that it has created.
func (b *bench) throughputRunners(ctx context.Context, scene sceneFunc) (all []runner, err error) {
	plain, err := plainScene(ctx, scene)
	if err != nil {
		return nil, err
	}
	all = append(all, runner{name: "plain forwarding and NAT", resident: plain.Residents[0], internet: plain.Internet, close: plain.Close})
	for _, c := range []struct {
		name     string
		sessions int
		limits   config.Limits
		donation config.Donation
	}{
		{name: "gate, 1 session", sessions: 1},
		{name: "gate, 250 sessions", sessions: 250},
		{name: "gate, 1,000 sessions", sessions: manySessions},
		{
			name: "gate, 1,000 sessions, every limit set, above the line's speed", sessions: manySessions,
			limits:   config.Limits{Download: fast, Upload: fast, Data: 100e12},
			donation: config.Donation{Download: fast, Upload: fast, Cap: 100e12},
		},
	} {
		g, err := gatedScene(ctx, scene, c.limits, c.donation)
		if err != nil {
			return all, err
		}
		all = append(all, runner{name: c.name, resident: g.Residents[0], internet: g.Internet, close: g.Close, ours: true})
		last := addressOf(c.sessions - 1)
		err = errors.Join(
			g.admit(ctx, c.sessions-1),
			g.Residents[0].RemoveAddresses(netlab.HotspotInterface),
			setStaticAddress(g.Residents[0], last),
		)
		if err != nil {
			return all, err
		}
	}
	for _, h := range baselines {
		s, err := h.scene(ctx, scene)
		if err != nil {
			return all, err
		}
		all = append(all, runner{name: h.name, resident: s.Residents[0], internet: s.Internet, close: s.Close})
	}
	peers, err := b.peerRunners(ctx, scene)
	return append(all, peers...), err
}

func throughputContest(ctx context.Context, b *bench, runners []runner, offload, reverse bool) ([]row, error) {
	var all []variant[transfer]
	for _, r := range runners {
		measure := func(ctx context.Context) (transfer, error) { return r.transfer(ctx, b, reverse) }
		if r.optional {
			measure = optional(measure)
		}
		all = append(all, variant[transfer]{r.name, measure})
	}
	what := kindOf(reverse, offload)
	// Turns are short and many, since other load on the machine changes by the second.
	many := *b
	many.rounds *= 3
	results, err := interleave(ctx, &many, what, all)
	if err != nil {
		return nil, err
	}
	plain, one := results[0], results[1]
	want, cost := 0.85, 1.15
	if offload {
		want = 0.95
	}
	var rows []row
	for i, r := range results[1:] {
		if r == nil {
			continue
		}
		rate, cpu := ratio(values(r, rateOf), values(plain, rateOf)), ratio(values(r, cpuOf), values(plain, cpuOf))
		line := row{
			what:     fmt.Sprintf("throughput %s, %s", what, all[i+1].name),
			measured: transfer{median(values(r, rateOf)), median(values(r, cpuOf))}.String(),
			beside:   transfer{median(values(plain, rateOf)), median(values(plain, cpuOf))}.String(),
			ratio:    fmt.Sprintf("%s; CPU %s", rate, cpu),
		}
		if runners[i+1].ours {
			line.target = fmt.Sprintf("≥ %.2f of plain, CPU ≤ %.2f", want, cost)
			line.met = verdictOf(rate.median >= want && cpu.median <= cost)
		}
		rows = append(rows, line)
	}
	flat := ratio(values(results[3], rateOf), values(one, rateOf))
	return append(rows, row{
		what: "throughput " + what + ", 1,000 sessions beside 1", target: "≥ 0.95",
		measured: transfer{median(values(results[3], rateOf)), median(values(results[3], cpuOf))}.String(),
		beside:   transfer{median(values(one, rateOf)), median(values(one, cpuOf))}.String(),
		ratio:    flat.String(), met: verdictOf(flat.median >= 0.95),
	}), nil
}

// kindOf names a kind of transfer.
func kindOf(reverse, offload bool) string {
	if offload {
		return direction(reverse) + ", offload on"
	}
	return direction(reverse) + ", offload off"
}

// transfer sends for a while, and counts bytes and CPU time once the connection has reached its rate.
func (r runner) transfer(ctx context.Context, b *bench, reverse bool) (transfer, error) {
	t, err := netlab.Bulk{From: r.resident.Host, To: r.internet.Host, Addr: netlab.WebAddr, Streams: r.streams, Reverse: reverse}.Start(ctx)
	if err != nil {
		return transfer{}, err
	}
	defer t.Stop()
	if err := sleep(ctx, 200*time.Millisecond); err != nil {
		return transfer{}, err
	}
	start, bytes := time.Now(), t.Total()
	busy, err := busyTime()
	if err != nil {
		return transfer{}, err
	}
	if err := sleep(ctx, orQuick(b, 700*time.Millisecond, 300*time.Millisecond)); err != nil {
		return transfer{}, err
	}
	elapsed, moved := time.Since(start), float64(t.Total()-bytes)
	after, err := busyTime()
	if err != nil {
		return transfer{}, err
	}
	if moved == 0 {
		return transfer{}, errors.New("nothing came through")
	}
	return transfer{rate: moved * 8 / elapsed.Seconds(), cpu: (after - busy).Seconds() / (moved / 1e9)}, t.Stop()
}

// busyTime returns the CPU time of all cores since boot (proc_stat(5)).
func busyTime() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	fields := strings.Fields(string(line))
	if len(fields) < 8 {
		return 0, fmt.Errorf("read CPU times: %q", line)
	}
	var ticks uint64
	for _, n := range []int{1, 2, 3, 6, 7} { // user, nice, system, irq, softirq
		v, err := strconv.ParseUint(fields[n], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read CPU times: %w", err)
		}
		ticks += v
	}
	return time.Duration(ticks) * userTick, nil
}

// userTick is the unit of CPU times in /proc (USER_HZ is 100 on all machines that Go supports).
const userTick = 10 * time.Millisecond
