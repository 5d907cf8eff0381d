package gate_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"passerelle/netctl"
	"passerelle/netctl/gate"
	"passerelle/netctl/netlab"
)

// busyLab is a lab with every kind of limit and 250 sessions. Its gate is not wrapped: the benchmark itself runs inside
// the box's namespace.
func busyLab(b *testing.B) (l *lab, g *gate.Gate, p netctl.Plan) {
	b.Helper()
	l = newLab(b, netlab.Options{Residents: 1})
	l.config.Limits.Data, l.config.Limits.Download, l.config.Limits.Upload = 500e6, 8e6, 4e6
	l.config.Donations[0].Download, l.config.Donations[0].Upload = 40e6, 20e6
	p = l.sharing(0)
	must(b, l.Box.Do(func() (err error) {
		if g, err = gate.New(b.Context(), time.Now); err != nil {
			return err
		}
		_, err = g.Apply(b.Context(), p)
		return err
	}))
	for k := range 250 {
		must(b, l.Box.Do(func() error { return g.Admit(numbered(l, k)) }))
	}
	must(b, l.Box.Do(func() error { _, err := g.Apply(b.Context(), p); return err }))
	return l, g, p
}

// numbered returns a session for a resident who is not there.
func numbered(l *lab, k int) netctl.Session {
	s := l.session(0)
	b := s.Addr.As4()
	b[2], b[3] = 2, byte(k+1)
	s.Addr = netip.AddrFrom4(b)
	s.MAC[5] = byte(k + 100)
	return s
}

// inside runs the loop inside the box's namespace, and reports besides the time by the clock the time that the thread
// had a processor: on a busy machine that is what the code costs.
func inside(b *testing.B, l *lab, f func() error) {
	b.Helper()
	b.ReportAllocs()
	must(b, l.Box.Do(func() error {
		var before, after unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_THREAD, &before); err != nil {
			return err
		}
		for b.Loop() {
			if err := f(); err != nil {
				return err
			}
		}
		if err := unix.Getrusage(unix.RUSAGE_THREAD, &after); err != nil {
			return err
		}
		spent := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
		b.ReportMetric(float64(spent)/float64(b.N), "cpu-ns/op")
		return nil
	}))
}

// unchanged is a round that must change nothing.
func unchanged(ctx context.Context, g *gate.Gate, p netctl.Plan) error {
	changes, err := g.Apply(ctx, p)
	if err == nil && len(changes) != 0 {
		err = fmt.Errorf("an unchanged plan changed %q", changes)
	}
	return err
}

// BenchmarkApplyUnchanged is a round in which nothing happened, with 250 sessions.
func BenchmarkApplyUnchanged(b *testing.B) {
	l, g, p := busyLab(b)
	inside(b, l, func() error { return unchanged(b.Context(), g, p) })
}

// BenchmarkApplyDisturbed is a round after queues were changed, which has all of them looked at.
func BenchmarkApplyDisturbed(b *testing.B) {
	l, g, p := busyLab(b)
	inside(b, l, func() error {
		g.Disturbed()
		return unchanged(b.Context(), g, p)
	})
}

// BenchmarkRead samples the counters of 250 sessions.
func BenchmarkRead(b *testing.B) {
	l, g, _ := busyLab(b)
	inside(b, l, func() error {
		s, err := g.Read()
		if err == nil && len(s.Sessions) != 250 {
			err = fmt.Errorf("%d sessions", len(s.Sessions))
		}
		return err
	})
}

// BenchmarkAdmit admits one more resident and ends the session again.
func BenchmarkAdmit(b *testing.B) {
	l, g, _ := busyLab(b)
	s := l.session(0)
	inside(b, l, func() error { return errors.Join(g.Admit(s), g.End(s.Addr)) })
}
