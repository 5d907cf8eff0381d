package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"passerelle/cmd/internal/box"
	"passerelle/netctl/netlab"
)

// memory is a process's memory in bytes (proc_pid_smaps(5)).
type memory struct{ rss, pss, anonymous uint64 }

func (m memory) String() string {
	return fmt.Sprintf("%.1f MB resident (%.1f proportional, %.1f its own data)", megabytes(m.rss), megabytes(m.pss), megabytes(m.anonymous))
}

func megabytes(n uint64) float64 { return float64(n) / 1e6 }

// resources measures the daemon with many sessions: its memory, the growth of it, and its idle CPU time.
func resources(ctx context.Context, b *bench) ([]row, error) {
	resting, err := b.atRest(ctx)
	if err != nil {
		return nil, err
	}
	growth, err := b.growth(ctx)
	return append(resting, growth...), err
}

// atRest measures the daemon while residents have sessions and do nothing.
func (b *bench) atRest(ctx context.Context) (rows []row, err error) {
	const sessions = 60 // at most 64 newcomers at a time get addresses on a port, as on a radio
	d, err := b.startDaemon(ctx, netlab.Options{Residents: sessions, Direct: true}, box.Setup{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := errors.Join(d.Join(ctx, d.Residents...), d.Admit(ctx, d.Residents...)); err != nil {
		return nil, err
	}
	full, err := memoryOf(d.Proc.Pid())
	if err != nil {
		return nil, err
	}
	b.logf("  %d sessions: %v", sessions, full)
	idle, err := d.idle(ctx, b)
	if err != nil {
		return nil, err
	}
	return []row{
		{
			what: fmt.Sprintf("memory of the daemon, %d sessions", sessions), target: "≤ 30 MB of its own data", // the kernel can drop the rest, the program
			measured: full.String(), met: verdictOf(full.anonymous <= 30e6),
		},
		{
			what: fmt.Sprintf("idle CPU of the daemon, %d sessions", sessions), target: "≤ 0.5 % of a core",
			measured: fmt.Sprintf("%.2f %% (%.2f to %.2f)", idle.median, idle.low, idle.high), met: verdictOf(idle.median <= 0.5),
		},
	}, nil
}

// growth measures how the daemon's memory grows over sessions that come and go.
func (b *bench) growth(ctx context.Context) (rows []row, err error) {
	const hosts, steps = 25, 5
	// Each port binds 64 devices with static addresses, and each address is bound to its device for ten minutes: all steps together take each
	// address once.
	each := orQuick(b, maxResidents/(steps+1), 20)
	d, err := b.startDaemon(ctx, netlab.Options{Residents: hosts, Direct: true, Ports: true}, box.Setup{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	v := &churn{daemon: d}
	var after []memory
	for step := range steps + 1 { // the first sessions fill caches and pools
		if err := v.come(ctx, each); err != nil {
			return nil, err
		}
		m, err := memoryOf(d.Proc.Pid())
		if err != nil {
			return nil, err
		}
		after = append(after, m)
		b.logf("  %d sessions came and went: %v", (step+1)*each, m)
	}
	grown := float64(after[steps].anonymous) - float64(after[0].anonymous)
	return []row{{
		what:   fmt.Sprintf("its growth over %d sessions come and gone, each another device", steps*each),
		target: "≤ 2 MB, for devices that are bound for ten minutes", measured: fmt.Sprintf("%+.2f MB, to %v", grown/1e6, after[steps]),
		met: verdictOf(grown <= 2e6),
	}}, nil
}

// idle returns the idle CPU time in percent of a core.
func (d *daemon) idle(ctx context.Context, b *bench) (spread, error) {
	var all []float64
	for range max(5, b.rounds) {
		start := time.Now()
		before, err := processTime(d.Proc.Pid())
		if err != nil {
			return spread{}, err
		}
		if err := sleep(ctx, orQuick(b, 5*time.Second, time.Second)); err != nil {
			return spread{}, err
		}
		after, err := processTime(d.Proc.Pid())
		if err != nil {
			return spread{}, err
		}
		all = append(all, 100*float64(after-before)/float64(time.Since(start)))
		b.logf("  idle: %.2f %% of a core", all[len(all)-1])
	}
	return spreadOf(all), nil
}

// churn begins and ends sessions of many devices from a few hosts. Each device has its own address and MAC.
type churn struct {
	*daemon
	seen int // devices so far
}

// come makes count devices press the button and end their sessions.
func (v *churn) come(ctx context.Context, count int) error {
	var all errgroup.Group
	for i, r := range v.Residents {
		first := v.seen
		all.Go(func() error {
			for k := first + i; k < first+count; k += len(v.Residents) {
				if err := errors.Join(visit(r, addressOf(k), strangersMAC(k)), ctx.Err()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	v.seen += count
	return all.Wait()
}

// heardWithin is how long a device with a static address may take to get its first answer.
const heardWithin = 2 * time.Minute

// visit has a host press the button as the device with that address and MAC, and end its session. The box drops the frames
// of a device with a static address until it has probed it, and it sends five probes a second: meanwhile the device tries again.
func visit(r *netlab.Resident, addr netip.Addr, mac net.HardwareAddr) error {
	err := errors.Join(
		r.RemoveAddresses(netlab.HotspotInterface),
		r.Host.SetMAC(netlab.HotspotInterface, mac),
		setStaticAddress(r, addr),
	)
	if err != nil {
		return err
	}
	return r.Do(func() error {
		err := askOnce(portalAddress, pressButton, "HTTP/1.1 303")
		for end := time.Now().Add(heardWithin); unheard(err) && time.Now().Before(end); {
			err = askOnce(portalAddress, pressButton, "HTTP/1.1 303")
		}
		if err != nil {
			return err
		}
		return askOnce(portalAddress, pressEnd, "HTTP/1.1 303")
	})
}

// unheard tells whether a connection failed because nobody answered.
func unheard(err error) bool {
	late, ok := errors.AsType[net.Error](err)
	return errors.Is(err, unix.EHOSTUNREACH) || ok && late.Timeout()
}

func memoryOf(pid int) (m memory, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return m, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[2] != "kB" {
			continue
		}
		n, err := strconv.ParseUint(fields[1], 10, 64)
		if err != nil {
			return m, fmt.Errorf("read memory of process %d: %w", pid, err)
		}
		switch fields[0] {
		case "Rss:":
			m.rss = n << 10
		case "Pss:":
			m.pss = n << 10
		case "Anonymous:":
			m.anonymous = n << 10
		}
	}
	return m, nil
}

// processTime returns the CPU time of a process and its reaped children (proc_pid_stat(5)).
func processTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, after, _ := bytes.Cut(text, []byte(") ")) // the name may contain spaces
	fields := strings.Fields(string(after))
	if len(fields) < 15 {
		return 0, fmt.Errorf("read times of process %d: %q", pid, text)
	}
	var ticks uint64
	for _, n := range []int{11, 12, 13, 14} { // utime, stime, cutime, cstime
		v, err := strconv.ParseUint(fields[n], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read times of process %d: %w", pid, err)
		}
		ticks += v
	}
	return time.Duration(ticks) * userTick, nil
}

// cpuTime returns the CPU time of a process, in nanoseconds, without its children. The clock ID of another process is that of
// clock_getcpuclockid(3): its inverted PID with the kind of clock (CPUCLOCK_SCHED of linux/posix-timers.h).
func cpuTime(pid int) (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &t); err != nil {
		return 0, fmt.Errorf("read the CPU time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}
