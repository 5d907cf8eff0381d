package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"passerelle/cmd/internal/box"
	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/hostile"
)

// namesBeside sends queries as an admitted device may, well below the box's limits.
func namesBeside(ctx context.Context, b *bench) (rows []compared, err error) {
	p, err := b.startPair(ctx, netlab.Options{Residents: 1}, box.Setup{}, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	for _, d := range p {
		d.Internet.Names.Set("*.many.example", netlab.WebAddr)
	}
	asked := 0
	for _, c := range []struct {
		what string
		name func() string
	}{
		{"a name in the box's cache", func() string { return "www.example" }},
		{"a name that is not cached", func() string { asked++; return fmt.Sprintf("n%d.many.example", asked) }},
	} {
		results, err := interleave(ctx, b, c.what, contestants(p, func(ctx context.Context, d *daemon) (latency, error) {
			return askNames(ctx, d.Residents[0], orQuick(b, 60, 20), c.name)
		}))
		if err != nil {
			return nil, err
		}
		rows = append(rows, rowsOf(c.what, results,
			figure[latency]{"median", "ms", func(p latency) float64 { return milliseconds(p.p50) }, lower})...)
	}
	return rows, nil
}

// askNames sends count queries to the box, one every 20 ms, after one that is not counted.
func askNames(ctx context.Context, r *netlab.Resident, count int, name func() string) (latency, error) {
	conn, err := r.Dial(ctx, "udp4", net.JoinHostPort(boxAddress.Addr().String(), "53"))
	if err != nil {
		return latency{}, err
	}
	defer conn.Close()
	var took []time.Duration
	answer := make([]byte, 4096)
	for k := range count + 1 {
		question := hostile.Query(uint16(k), name(), dnsmessage.TypeA)
		if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
			return latency{}, err
		}
		start := time.Now()
		if _, err := conn.Write(question); err != nil {
			return latency{}, err
		}
		n, err := conn.Read(answer)
		if err != nil {
			return latency{}, err
		}
		wait := time.Since(start)
		var reply dnsmessage.Message
		if err := reply.Unpack(answer[:n]); err != nil || reply.ID != uint16(k) || len(reply.Answers) != 1 {
			return latency{}, fmt.Errorf("the box's answer is %+v, %w", reply, err)
		}
		if k > 0 {
			took = append(took, wait)
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return latency{}, err
		}
	}
	return latency{quantile(took, 0.5), quantile(took, 0.99)}, nil
}
