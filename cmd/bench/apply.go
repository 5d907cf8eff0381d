package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"passerelle/appliance/config"
	"passerelle/netctl/netlab"
)

// looks is how long it takes to look at an unchanged box, in milliseconds.
type looks struct{ P50, P99, CPU float64 }

func (l looks) String() string {
	return fmt.Sprintf("median %.2f ms, p99 %.2f ms (%.2f ms of CPU)", l.P50, l.P99, l.CPU)
}

const applySessions = 250

// apply has an unchanged plan applied to an unchanged kernel, with every limit set. A process of its own does it, which
// is in the box's namespace as a whole, like the daemon: threads that enter one for a while cost time.
func apply(ctx context.Context, b *bench) (rows []row, err error) {
	s, err := netlab.Standard(ctx, netlab.Options{Direct: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	all := []contestant[looks]{
		{"unchanged", func(ctx context.Context) (looks, error) { return startApplier(ctx, s, false) }},
		{"unchanged, queues looked at as well", func(ctx context.Context) (looks, error) { return startApplier(ctx, s, true) }},
	}
	results, err := contest(ctx, b, "apply", all)
	if err != nil {
		return nil, err
	}
	for i, c := range all {
		l := looks{
			median(column(results[i], func(l looks) float64 { return l.P50 })),
			median(column(results[i], func(l looks) float64 { return l.P99 })),
			median(column(results[i], func(l looks) float64 { return l.CPU })),
		}
		r := row{what: fmt.Sprintf("apply of a plan, %d sessions, %s", applySessions, c.name), measured: l.String() + ", no program run"}
		if i == 0 {
			r.target, r.met = "no exec, ≤ 2 ms", judge(l.P50 <= 2)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// applierVariable makes this program the process that applies; its value says whether queues are looked at.
const applierVariable = "PASSERELLE_BENCH_APPLIER"

func startApplier(ctx context.Context, s *netlab.Scene, queues bool) (l looks, err error) {
	self, err := os.Executable()
	if err != nil {
		return l, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), applierVariable+"="+strconv.FormatBool(queues))
	p, err := s.Box.StartCmd(cmd)
	if err != nil {
		return l, err
	}
	select {
	case <-p.Exited():
	case <-ctx.Done():
		return l, errors.Join(ctx.Err(), p.Stop())
	}
	if err := errors.Join(p.Wait(), json.Unmarshal([]byte(p.Output()), &l)); err != nil {
		return l, fmt.Errorf("%w: %s", err, p.Output())
	}
	return l, nil
}

// serveApplier applies and writes how long it took.
func serveApplier(queues string, out io.Writer) (err error) {
	ctx := context.Background()
	g, p, err := openGate(ctx,
		config.Limits{Download: 4e6, Upload: 1e6, Data: 500e6}, config.Donation{Download: 200e6, Upload: 50e6, Cap: 200e9})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close(ctx)) }()
	if err := admitStrangers(g, applySessions); err != nil {
		return err
	}
	if _, err := g.Apply(ctx, p); err != nil {
		return err
	}
	// Meanwhile no program can be found: an Apply that runs one fails.
	path := os.Getenv("PATH")
	if err := os.Setenv("PATH", "/nowhere"); err != nil {
		return err
	}
	defer os.Setenv("PATH", path)

	const times = 300
	var took []float64
	computed := processorTime()
	for range times {
		if queues == "true" {
			g.Disturbed()
		}
		start := time.Now()
		changes, err := g.Apply(ctx, p)
		if err != nil {
			return err
		}
		took = append(took, milliseconds(time.Since(start)))
		if len(changes) > 0 {
			return fmt.Errorf("an unchanged plan changed %q", changes)
		}
	}
	return json.NewEncoder(out).Encode(looks{
		P50: quantile(took, 0.5), P99: quantile(took, 0.99), CPU: milliseconds(processorTime()-computed) / times,
	})
}

// processorTime returns how long this process has computed.
func processorTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
