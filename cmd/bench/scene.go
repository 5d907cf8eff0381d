package main

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/decide"
	"passerelle/appliance/plan"
	"passerelle/appliance/state"
	"passerelle/cmd/internal/box"
	"passerelle/netctl"
	"passerelle/netctl/gate"
	"passerelle/netctl/netlab"
)

var (
	boxAddress = netip.MustParsePrefix("10.80.0.1/22")
	lender     = netip.MustParsePrefix("192.168.1.1/24") // the first lender's router, in the lender's network
	lenderBox  = netip.MustParsePrefix("192.168.1.2/24") // the box, in the same network
	everywhere = netip.MustParsePrefix("0.0.0.0/0")
)

// maxResidents is the number of residents' addresses in a /22.
const maxResidents = 1021

// addressOf returns the address of resident number k, from 0.
func addressOf(k int) netip.Addr {
	a := boxAddress.Addr().As4()
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(a[:])+1+uint32(k))
	return netip.AddrFrom4(a)
}

// setStaticAddress configures a resident without DHCP.
func setStaticAddress(r *netlab.Resident, addr netip.Addr) error {
	return errors.Join(
		r.SetUp(netlab.HotspotInterface, true),
		r.AddAddress(netlab.HotspotInterface, netip.PrefixFrom(addr, boxAddress.Bits())),
		r.AddRoute(everywhere, boxAddress.Addr()),
	)
}

// sceneFunc creates a scene whose residents have the first addresses. Its box is not configured yet.
type sceneFunc func(context.Context) (*netlab.Scene, error)

// standard creates netlab's standard scene.
func standard(o netlab.Options) sceneFunc {
	return func(ctx context.Context) (*netlab.Scene, error) {
		s, err := netlab.Standard(ctx, o)
		if err != nil {
			return nil, err
		}
		for k, r := range s.Residents {
			err = errors.Join(err, setStaticAddress(r, addressOf(k)))
		}
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		return s, nil
	}
}

// wired creates the shortest scene: internet, box and one resident, directly connected. So the box's cost is not hidden behind that of
// other hosts.
func wired(offload bool) sceneFunc {
	return func(ctx context.Context) (*netlab.Scene, error) {
		w, err := netlab.New(ctx, "wired")
		if err != nil {
			return nil, err
		}
		s := &netlab.Scene{World: w, Lenders: []*netlab.Lender{{Gateway: lender.Addr(), Box: lenderBox, Interface: "eth0"}}}
		if err := wire(s, offload); err != nil {
			return nil, errors.Join(err, s.Close())
		}
		return s, nil
	}
}

func wire(s *netlab.Scene, offload bool) (err error) {
	if s.Internet, err = s.AddInternet(); err != nil {
		return err
	}
	if s.Box, err = s.AddHost("box"); err != nil {
		return err
	}
	resident, err := s.AddHost("resident")
	if err != nil {
		return err
	}
	r := &netlab.Resident{Host: resident, MAC: strangersMAC(maxResidents)}
	s.Residents = []*netlab.Resident{r}
	for _, ends := range [][2]netlab.End{
		{{Host: s.Internet.Host, Interface: "box"}, {Host: s.Box, Interface: "eth0"}},
		{{Host: resident, Interface: netlab.HotspotInterface, MAC: r.MAC}, {Host: s.Box, Interface: netlab.HotspotInterface}},
	} {
		cable, err := s.Connect(ends[0], ends[1])
		if err != nil {
			return err
		}
		if err := cable.SetOffload(offload); err != nil {
			return err
		}
	}
	return errors.Join(
		s.Internet.AddAddress("box", lender),
		s.Box.AddAddress("eth0", lenderBox),
		s.Box.AddRoute(everywhere, lender.Addr()),
		setStaticAddress(r, addressOf(0)),
	)
}

// plainScene creates a scene whose box only forwards and masquerades.
func plainScene(ctx context.Context, scene sceneFunc) (*netlab.Scene, error) {
	s, err := scene(ctx)
	if err != nil {
		return nil, err
	}
	_, masqueradeErr := s.Box.Run(ctx, "iptables", "-t", "nat", "-A", "POSTROUTING", "-o", "eth0", "-j", "MASQUERADE")
	err = errors.Join(
		s.Box.AddAddress(netlab.HotspotInterface, boxAddress),
		s.Box.Sysctl("net/ipv4/ip_forward", "1"),
		masqueradeErr,
	)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// gated is a scene with the gate on its box. This process drives the gate instead of the daemon: packets meet the same rules.
type gated struct {
	*netlab.Scene
	gate *gate.Gate
	plan netctl.Plan
}

// gatedScene creates a gated scene that shares the first lender's line with these limits.
func gatedScene(ctx context.Context, scene sceneFunc, l config.Limits, d config.Donation) (*gated, error) {
	s, err := scene(ctx)
	if err != nil {
		return nil, err
	}
	g := &gated{Scene: s}
	err = s.Box.Do(func() (err error) { g.gate, g.plan, err = openGate(ctx, l, d); return err })
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return g, nil
}

// openGate opens the gate in the current network namespace, that of a scene's box, and shares the first lender's line.
func openGate(ctx context.Context, l config.Limits, d config.Donation) (*gate.Gate, netctl.Plan, error) {
	d.Name, d.Interface = "bench", "eth0"
	p := plan.Compile(plan.Input{
		Config: &config.Config{
			Hotspot:   config.Hotspot{Interface: netlab.HotspotInterface, Address: boxAddress},
			Limits:    l,
			Donations: []config.Donation{d},
		},
		Decision: decide.Decision{State: state.Sharing, Internet: decide.AllInternet, Names: true},
		Gateway:  lender.Addr(),
		Networks: []netip.Prefix{lender.Masked()},
		LANs:     []plan.LAN{{Interface: d.Interface, Networks: []netip.Prefix{lender.Masked()}}},
	})
	tranche := netctl.Tranche{Chain: p.Cap, ID: 1, Bytes: netctl.Unlimited}
	if d.Cap != 0 {
		tranche.Bytes = uint64(d.Cap)
	}
	g, err := gate.New(ctx, time.Now)
	if err != nil {
		return nil, p, err
	}
	if _, err = g.Apply(ctx, p); err == nil {
		err = g.Grant(ctx, tranche)
	}
	if err != nil {
		return nil, p, errors.Join(err, g.Close(context.WithoutCancel(ctx)))
	}
	return g, p, nil
}

// Close closes the gate and the scene.
func (g *gated) Close() error {
	err := g.Box.Do(func() error { return g.gate.Close(context.Background()) })
	return errors.Join(err, g.Scene.Close())
}

// admitFakes admits count devices that do not exist, with the first addresses.
func admitFakes(g *gate.Gate, count int) error {
	for k := range count {
		if err := g.Authorize(session(addressOf(k), netctl.MAC(strangersMAC(k)))); err != nil {
			return err
		}
	}
	return nil
}

// admit admits that many strangers, and the scene's residents with the addresses after theirs. Then it applies the plan, like the next
// round of the daemon: until then newcomers have less than their share of the line.
func (g *gated) admit(ctx context.Context, strangers int) error {
	return g.Box.Do(func() error {
		if err := admitFakes(g.gate, strangers); err != nil {
			return err
		}
		for k, r := range g.Residents {
			if err := g.gate.Authorize(session(addressOf(strangers+k), netctl.MAC(r.MAC))); err != nil {
				return err
			}
		}
		_, err := g.gate.Apply(ctx, g.plan)
		return err
	})
}

func session(addr netip.Addr, mac netctl.MAC) netctl.Session {
	return netctl.Session{Addr: addr, MAC: mac, Left: 12 * time.Hour, Data: netctl.Unlimited}
}

// strangersMAC returns a locally administered address that no host in a scene has.
func strangersMAC(k int) net.HardwareAddr {
	return net.HardwareAddr{2, 0x5e, byte(k >> 24), byte(k >> 16), byte(k >> 8), byte(k)}
}

// daemon is the daemon of a box that is measured.
type daemon struct{ *box.Daemon }

// startDaemon creates a scene and starts the daemon in it.
func (b *bench) startDaemon(ctx context.Context, o netlab.Options, how box.Setup) (*daemon, error) {
	s, err := standard(o)(ctx)
	if err != nil {
		return nil, err
	}
	d, err := box.Start(ctx, b.binary, s, how)
	if err != nil {
		return nil, err
	}
	return &daemon{d}, nil
}
