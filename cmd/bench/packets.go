package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"passerelle/cmd/internal/box"
	"passerelle/netctl/netlab"
)

// cpuPerPacket is the cost of a full-size packet from one end to the other: CPU time of the sending thread, in which the kernel does
// everything up to the receiver's socket. It is the minimum of many short runs, since other load on the machine can only add to it.
type cpuPerPacket time.Duration

func (p cpuPerPacket) String() string { return fmt.Sprintf("%d ns a packet", int64(p)) }

// datagram is the payload of a packet of 1500 bytes.
const datagram = 1472

// packets sends datagrams through a box, and returns the cost of one.
func (r runner) packets(ctx context.Context, b *bench, reverse bool) (p cpuPerPacket, err error) {
	far, err := r.internet.ListenPacket("udp4", netip.AddrPortFrom(netlab.WebAddr, 0).String())
	if err != nil {
		return 0, err
	}
	defer far.Close()
	near, err := r.resident.Dial(ctx, "udp4", far.LocalAddr().String())
	if err != nil {
		return 0, err
	}
	defer near.Close()
	// Both ways once, so that the flow is established.
	hello := make([]byte, datagram)
	deadline := time.Now().Add(2 * time.Second)
	err = errors.Join(far.SetDeadline(deadline), near.SetDeadline(deadline))
	if err != nil {
		return 0, err
	}
	if _, err := near.Write(hello); err != nil {
		return 0, err
	}
	_, from, err := far.ReadFrom(hello)
	if err != nil {
		return 0, err
	}
	if _, err := far.WriteTo(hello, from); err != nil {
		return 0, err
	}
	if _, err := near.Read(hello); err != nil {
		return 0, err
	}
	send := func() error { _, err := near.Write(hello); return err }
	if reverse {
		send = func() error { _, err := far.WriteTo(hello, from); return err }
	}
	err = errors.Join(far.SetDeadline(time.Time{}), near.SetDeadline(time.Time{}),
		far.(*net.UDPConn).SetReadBuffer(1), near.(*net.UDPConn).SetReadBuffer(1))
	if err != nil {
		return 0, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const slices, each = 40, 1000
	for range slices {
		before, err := threadTime()
		if err != nil {
			return 0, err
		}
		for range each {
			if err := send(); err != nil {
				return 0, err
			}
		}
		after, err := threadTime()
		if err := errors.Join(err, ctx.Err()); err != nil {
			return 0, err
		}
		if cost := cpuPerPacket((after - before) / each); p == 0 || cost < p {
			p = cost
		}
	}
	return p, nil
}

// threadTime returns the CPU time of this thread.
func threadTime() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0, fmt.Errorf("read the CPU time of a thread: %w", err)
	}
	return time.Duration(t.Nano()), nil
}

// packetsBeside compares the cost of a packet, without limits and with every limit.
func packetsBeside(ctx context.Context, b *bench) (rows []compared, err error) {
	for _, c := range []struct {
		name string
		how  box.Setup
	}{{"no limit", unlimited}, {"every limit set, above the line's speed", everyHigh}} {
		more, err := b.packetsPair(ctx, c.name, c.how)
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

func (b *bench) packetsPair(ctx context.Context, limits string, how box.Setup) (rows []compared, err error) {
	p, err := b.startPair(ctx, netlab.Options{Residents: 1, Direct: true, NoOffload: true}, how, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	for _, reverse := range []bool{true, false} {
		what := fmt.Sprintf("CPU of a packet %s, %s", direction(reverse), limits)
		results, err := interleave(ctx, b, what, contestants(p, func(ctx context.Context, d *daemon) (cpuPerPacket, error) {
			return runner{resident: d.Residents[0], internet: d.Internet}.packets(ctx, b, reverse)
		}))
		if err != nil {
			return nil, err
		}
		rows = append(rows, rowsOf(what, results,
			figure[cpuPerPacket]{"", "ns", func(p cpuPerPacket) float64 { return float64(p) }, cost})...)
	}
	return rows, nil
}
