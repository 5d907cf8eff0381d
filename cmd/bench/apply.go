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

// applyTimes holds the times of applying an unchanged plan, in milliseconds.
type applyTimes struct{ P50, P99, CPU float64 }

func (l applyTimes) String() string {
	return fmt.Sprintf("median %.2f ms, p99 %.2f ms (%.2f ms of CPU)", l.P50, l.P99, l.CPU)
}

const applySessions = 250

// apply applies an unchanged plan to an unchanged kernel, with every limit set. It does so in a process of its own that is wholly in
// the box's namespace, like the daemon: threads that enter a namespace temporarily cost time.
func apply(ctx context.Context, b *bench) (rows []row, err error) {
	s, err := netlab.Standard(ctx, netlab.Options{Direct: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	all := []variant[applyTimes]{
		{"unchanged", func(ctx context.Context) (applyTimes, error) { return startApplier(ctx, s, false) }},
		{"unchanged, queues read as well", func(ctx context.Context) (applyTimes, error) { return startApplier(ctx, s, true) }},
	}
	results, err := interleave(ctx, b, "apply", all)
	if err != nil {
		return nil, err
	}
	for i, c := range all {
		l := applyTimes{
			median(values(results[i], func(l applyTimes) float64 { return l.P50 })),
			median(values(results[i], func(l applyTimes) float64 { return l.P99 })),
			median(values(results[i], func(l applyTimes) float64 { return l.CPU })),
		}
		r := row{what: fmt.Sprintf("apply of a plan, %d sessions, %s", applySessions, c.name), measured: l.String() + ", no program run"}
		if i == 0 {
			r.target, r.met = "no exec, ≤ 2 ms", verdictOf(l.P50 <= 2)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// applierVariable makes this program the applying process. Its value says whether queues are read.
const applierVariable = "PASSERELLE_BENCH_APPLIER"

func startApplier(ctx context.Context, s *netlab.Scene, queues bool) (l applyTimes, err error) {
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

// serveApplier applies the plan and writes the times.
func serveApplier(queues string, out io.Writer) (err error) {
	ctx := context.Background()
	g, p, err := openGate(ctx,
		config.Limits{Download: 4e6, Upload: 1e6, Data: 500e6}, config.Donation{Download: 200e6, Upload: 50e6, Cap: 200e9})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close(ctx)) }()
	if err := admitFakes(g, applySessions); err != nil {
		return err
	}
	if _, err := g.Apply(ctx, p); err != nil {
		return err
	}
	// No program can be found from here on: an Apply that runs one fails.
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
			g.MarkDirty()
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
	return json.NewEncoder(out).Encode(applyTimes{
		P50: quantile(took, 0.5), P99: quantile(took, 0.99), CPU: milliseconds(processorTime()-computed) / times,
	})
}

// processorTime returns the CPU time of this process.
func processorTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
