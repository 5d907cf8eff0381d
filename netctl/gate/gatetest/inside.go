package gatetest

import (
	"context"
	"net/netip"
	"time"

	"passerelle/netctl"
	"passerelle/netctl/netlab"
)

// Inside returns a gate whose every call runs in the host's network namespace. A gate's sockets stay in the namespace where they were
// opened, but /proc/sys and the programs that it runs follow the calling thread.
func Inside(h *netlab.Host, make func() (netctl.Gate, error)) (netctl.Gate, error) {
	g := inside{host: h}
	err := h.Do(func() (err error) {
		g.Gate, err = make()
		return err
	})
	return g, err
}

type inside struct {
	netctl.Gate
	host *netlab.Host
}

func (g inside) Apply(ctx context.Context, p netctl.Plan) (changes []string, err error) {
	err = g.host.Do(func() error { changes, err = g.Gate.Apply(ctx, p); return err })
	return changes, err
}

func (g inside) Authorize(s netctl.Session) error {
	return g.host.Do(func() error { return g.Gate.Authorize(s) })
}

func (g inside) End(addr netip.Addr) error {
	return g.host.Do(func() error { return g.Gate.End(addr) })
}

func (g inside) Sessions() (all []netctl.Session, err error) {
	err = g.host.Do(func() error { all, err = g.Gate.Sessions(); return err })
	return all, err
}

func (g inside) SaveUsage(used map[netctl.MAC]uint64, left time.Duration) error {
	return g.host.Do(func() error { return g.Gate.SaveUsage(used, left) })
}

func (g inside) SavedUsage() (used map[netctl.MAC]uint64, err error) {
	err = g.host.Do(func() error { used, err = g.Gate.SavedUsage(); return err })
	return used, err
}

func (g inside) Grant(ctx context.Context, t netctl.Tranche) error {
	return g.host.Do(func() error { return g.Gate.Grant(ctx, t) })
}

func (g inside) Revoke(ctx context.Context, chain string) error {
	return g.host.Do(func() error { return g.Gate.Revoke(ctx, chain) })
}

func (g inside) ReadCounters() (s netctl.Counters, err error) {
	err = g.host.Do(func() error { s, err = g.Gate.ReadCounters(); return err })
	return s, err
}

func (g inside) Broadcasts() (all map[string]uint64, err error) {
	err = g.host.Do(func() error { all, err = g.Gate.Broadcasts(); return err })
	return all, err
}

func (g inside) Neighbor(addr netip.Addr) (mac netctl.MAC, err error) {
	err = g.host.Do(func() error { mac, err = g.Gate.Neighbor(addr); return err })
	return mac, err
}

func (g inside) Close(ctx context.Context) error {
	return g.host.Do(func() error { return g.Gate.Close(ctx) })
}

func (g inside) Bind(all []netctl.Binding) (changed int, err error) {
	err = g.host.Do(func() error { changed, err = g.Gate.Bind(all); return err })
	return changed, err
}

func (g inside) UnknownSources() (all []netctl.UnknownSource, err error) {
	err = g.host.Do(func() error { all, err = g.Gate.UnknownSources(); return err })
	return all, err
}
