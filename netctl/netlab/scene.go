package netlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
)

const (
	// HotspotInterface is the box's interface towards residents. It comes up without an address.
	HotspotInterface = "wlan0"

	apBridge     = "air"
	maxUplinks   = 8
	maxResidents = 250
)

// Options are the size and properties of a scene.
type Options struct {
	Name      string // of the world (see New); "": "scene"
	Residents int
	Uplinks   int   // lenders, each behind an interface eth0, eth1, … of the box; 0: one
	Shape     Shape // of each lender's line; zero: as fast as the machine
	Direct    bool  // the internet itself is each lender's router: no line, no second NAT, no NAS
	NoOffload bool  // no segmentation offload at the box's and the residents' interfaces
	IPv6      bool  // leave IPv6 on
	Ports     bool  // the box's interface towards residents is a bridge, with a port for each resident
}

// Scene is the standard world:
//
//	internet ── link ── lender0 ── eth0 ┐
//	         ── link ── lender1 ── eth1 ┤ box ── wlan0 ── ap ── residents
//	                       └─ nas0      ┘
//
// On the box only the uplinks are configured. Forwarding, the hotspot's address and everything else are left to the software
// under test.
type Scene struct {
	*World
	Internet  *Internet
	Lenders   []*Lender
	Box       *Host
	Hotspot   *Cable // from the box to the access point; nil with Options.Ports
	Residents []*Resident

	air       *Host
	bridge    string // of the access point, with the residents as ports
	noOffload bool
}

// Lender is someone who lends a connection: a router that masquerades and forwards DNS, its network with the lender's NAS, and
// the line. Lender k has the network 192.168.(k+1).0/24: router .1, box .2, NAS .10.
type Lender struct {
	Router, NAS   *Host  // NAS is nil with Options.Direct
	Interface     string // the box's interface to the lender
	Box           netip.Prefix
	Gateway       netip.Addr   // the router; it also forwards DNS to the internet's name server
	NASAddr       netip.Addr   // the NAS serves LenderPage on port 80; no resident may reach it
	LAN           *Cable       // from the box to the router
	WAN           *Cable       // from the router to its line, or to the internet if there is none; nil with Options.Direct
	SlowLink      *SlowLink    // nil if Options.Shape is zero
	InternetIface string       // the internet's interface to this lender: the bytes it sends are those that the line delivers
	Line          netip.Prefix // the addresses of both ends of the line; zero with Options.Direct

	box    *Host
	metric int
}

// Standard creates a scene. The context bounds the creation only; the scene lives until Close.
func Standard(ctx context.Context, o Options) (*Scene, error) {
	if o.Name == "" {
		o.Name = "scene"
	}
	if o.Uplinks < 0 || o.Uplinks > maxUplinks {
		return nil, fmt.Errorf("make scene: %d uplinks, at most %d are possible", o.Uplinks, maxUplinks)
	}
	w, err := New(ctx, o.Name)
	if err != nil {
		return nil, err
	}
	w.ipv6 = o.IPv6
	s := &Scene{World: w, noOffload: o.NoOffload}
	if err := s.build(ctx, o); err != nil {
		return nil, errors.Join(fmt.Errorf("make scene %q: %w", o.Name, err), s.Close())
	}
	return s, nil
}

func (s *Scene) build(ctx context.Context, o Options) (err error) {
	if s.Internet, err = s.AddInternet(); err != nil {
		return err
	}
	if s.Box, err = s.AddHost("box"); err != nil {
		return err
	}
	if err := s.buildHotspot(o.Ports); err != nil {
		return err
	}
	var resolvers []netip.Addr
	for k := range max(o.Uplinks, 1) {
		lender, err := s.addLender(ctx, k, o)
		if err != nil {
			return fmt.Errorf("add lender %d: %w", k, err)
		}
		s.Lenders = append(s.Lenders, lender)
		resolvers = append(resolvers, lender.Gateway)
	}
	if err := s.Box.SetResolvers(resolvers...); err != nil {
		return err
	}
	for range o.Residents {
		if _, err := s.AddResident(); err != nil {
			return err
		}
	}
	return nil
}

// buildHotspot creates the network that residents join.
func (s *Scene) buildHotspot(ports bool) (err error) {
	if ports {
		s.air, s.bridge = s.Box, HotspotInterface
		return s.air.AddBridge(s.bridge)
	}
	if s.air, err = s.AddHost("air"); err != nil {
		return err
	}
	s.bridge = apBridge
	if err := s.air.AddBridge(s.bridge); err != nil {
		return err
	}
	s.Hotspot, err = s.connect(
		End{Host: s.Box, Interface: HotspotInterface, MAC: net.HardwareAddr{2, 0, 0, 1, 0, 0}},
		End{Host: s.air, Interface: "box", Bridge: s.bridge},
	)
	return err
}

// connect adds a cable with the scene's offload setting.
func (s *Scene) connect(a, b End) (*Cable, error) {
	c, err := s.Connect(a, b)
	if err == nil && s.noOffload {
		err = c.SetOffload(false)
	}
	return c, err
}

func (s *Scene) addLender(ctx context.Context, k int, o Options) (*Lender, error) {
	network := netip.AddrFrom4([4]byte{192, 168, byte(k + 1), 0}).As4()
	at := func(host byte) netip.Addr {
		network[3] = host
		return netip.AddrFrom4(network)
	}
	l := &Lender{
		Interface:     fmt.Sprintf("eth%d", k),
		Box:           netip.PrefixFrom(at(2), 24),
		Gateway:       at(1),
		NASAddr:       at(10),
		InternetIface: fmt.Sprintf("lender%d", k),
		box:           s.Box,
		metric:        100 + k,
	}
	if o.Direct {
		return l, errors.Join(s.buildDirect(l), l.Configure())
	}
	var err error
	if l.Router, err = s.AddHost(fmt.Sprintf("lender%d", k)); err != nil {
		return nil, err
	}
	if l.NAS, err = s.AddHost(fmt.Sprintf("nas%d", k)); err != nil {
		return nil, err
	}
	if err := s.buildLAN(l); err != nil {
		return nil, err
	}
	if err := s.buildWAN(ctx, l, k, o.Shape); err != nil {
		return nil, err
	}
	return l, l.Configure()
}

// buildDirect makes the internet the lender's router.
func (s *Scene) buildDirect(l *Lender) (err error) {
	l.Router = s.Internet.Host
	l.LAN, err = s.connect(s.uplinkEnd(l), End{Host: l.Router, Interface: l.InternetIface})
	if err != nil {
		return err
	}
	if err := l.Router.AddAddress(l.InternetIface, netip.PrefixFrom(l.Gateway, 24)); err != nil {
		return err
	}
	return l.Router.serveDNS(l.Gateway, s.Internet.Names)
}

// uplinkEnd returns the box's end of the lender's cable.
func (s *Scene) uplinkEnd(l *Lender) End {
	third := l.Gateway.As4()[2]
	return End{Host: s.Box, Interface: l.Interface, MAC: net.HardwareAddr{2, 0, 0, 2, 0, third}}
}

const (
	lenderLAN = "lan" // the router's bridge
	lenderWAN = "wan"
)

// buildLAN creates the lender's network, with the box and the NAS in it.
func (s *Scene) buildLAN(l *Lender) (err error) {
	if err := l.Router.AddBridge(lenderLAN); err != nil {
		return err
	}
	l.LAN, err = s.connect(s.uplinkEnd(l), End{Host: l.Router, Interface: "box", Bridge: lenderLAN})
	if err != nil {
		return err
	}
	_, err = s.connect(End{Host: l.NAS, Interface: "eth0"}, End{Host: l.Router, Interface: "nas", Bridge: lenderLAN})
	if err != nil {
		return err
	}
	return errors.Join(
		l.Router.AddAddress(lenderLAN, netip.PrefixFrom(l.Gateway, 24)),
		l.NAS.AddAddress("eth0", netip.PrefixFrom(l.NASAddr, 24)),
		l.NAS.AddRoute(defaultNet, l.Gateway),
		l.NAS.ServeHTTP(":80", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, LenderPage)
		})),
	)
}

// buildWAN connects the lender's router to the internet, with NAT and DNS forwarding.
func (s *Scene) buildWAN(ctx context.Context, l *Lender, k int, shape Shape) (err error) {
	near := End{Host: l.Router, Interface: lenderWAN}
	far := End{Host: s.Internet.Host, Interface: l.InternetIface}
	if shape == (Shape{}) {
		l.WAN, err = s.connect(near, far)
	} else {
		if l.SlowLink, err = s.AddSlowLink(fmt.Sprintf("line%d", k), near, far, shape); err == nil {
			l.WAN = l.SlowLink.Near
		}
	}
	if err != nil {
		return err
	}
	// A /30 of the documentation block for each line.
	provider := netip.AddrFrom4([4]byte{203, 0, 113, byte(4*k + 1)})
	l.Line = netip.PrefixFrom(provider, 30).Masked()
	if err := errors.Join(
		s.Internet.AddAddress(l.InternetIface, netip.PrefixFrom(provider, 30)),
		l.Router.AddAddress(lenderWAN, netip.PrefixFrom(provider.Next(), 30)),
		l.Router.AddRoute(defaultNet, provider),
		l.Router.Sysctl("net/ipv4/ip_forward", "1"),
	); err != nil {
		return err
	}
	rules := strings.NewReplacer("GATEWAY", l.Gateway.String(), "DNS", DNSAddr.String()).Replace(`*nat
-A PREROUTING -d GATEWAY -p udp --dport 53 -j DNAT --to-destination DNS
-A PREROUTING -d GATEWAY -p tcp --dport 53 -j DNAT --to-destination DNS
-A POSTROUTING -o wan -j MASQUERADE
COMMIT
`)
	_, err = l.Router.run(ctx, rules, "iptables-restore")
	return err
}

// Configure gives the box its address and default route on this uplink, as a DHCP client would.
func (l *Lender) Configure() error {
	if err := l.box.AddAddress(l.Interface, l.Box); err != nil {
		return err
	}
	link, err := l.box.link(l.Interface)
	if err != nil {
		return err
	}
	err = l.box.ns.link.RouteReplace(&netlink.Route{
		LinkIndex: link.Attrs().Index,
		Dst:       ipNet(defaultNet),
		Gw:        l.Gateway.AsSlice(),
		Priority:  l.metric,
	})
	if err != nil {
		return fmt.Errorf("add default route by %s on %s: %w", l.Interface, l.box.name, err)
	}
	return nil
}

// AnswerDNS makes the lender's router answer DNS queries itself instead of forwarding them. answer is called for each query in
// a new goroutine; if it returns nil, the query gets no answer. AnswerDNS may be called once.
func (l *Lender) AnswerDNS(ctx context.Context, answer func(question []byte) []byte) error {
	if _, err := l.Router.Run(ctx, "iptables", "-w", "-t", "nat", "-F", "PREROUTING"); err != nil {
		return err
	}
	conn, err := l.Router.ListenPacket("udp4", netip.AddrPortFrom(l.Gateway, 53).String())
	if err != nil {
		return err
	}
	return l.Router.serve(conn, func() {
		var answering sync.WaitGroup
		defer answering.Wait()
		buf := make([]byte, 64<<10)
		for {
			n, from, err := conn.ReadFrom(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue // an ICMP error of an earlier answer
			}
			question := slices.Clone(buf[:n])
			answering.Go(func() {
				if b := answer(question); b != nil {
					conn.WriteTo(b, from) // an error is ignored: any datagram may be lost
				}
			})
		}
	})
}

// Join makes another interface of the router a port of the lender's network.
func (l *Lender) Join(name string) error {
	return End{Host: l.Router, Interface: name, Bridge: lenderLAN}.attach()
}

// Unplug unplugs the uplink from the box: its interface disappears.
func (l *Lender) Unplug() error { return l.LAN.Unplug() }

// Plug plugs the uplink in again, as an interface with another index, and configures it.
func (l *Lender) Plug() error {
	if err := l.LAN.Plug(); err != nil {
		return err
	}
	return l.Configure()
}

// AddResident adds a resident, who has not joined the hotspot yet. Residents cannot reach each other there, as with client
// isolation on an access point.
func (s *Scene) AddResident() (*Resident, error) {
	k := len(s.Residents) + 1
	if k > maxResidents {
		return nil, fmt.Errorf("add resident: %d is the most there can be", maxResidents)
	}
	host, err := s.AddHost(fmt.Sprintf("resident%d", k))
	if err != nil {
		return nil, err
	}
	r := &Resident{Host: host, MAC: net.HardwareAddr{2, 0, 0, 0, 0, byte(k)}}
	r.Radio, err = s.connect(
		End{Host: host, Interface: residentInterface, MAC: r.MAC},
		End{Host: s.air, Interface: fmt.Sprintf("resident%d", k), Bridge: s.bridge, Isolated: true},
	)
	if err != nil {
		return nil, err
	}
	if err := host.SetUp(residentInterface, false); err != nil {
		return nil, err
	}
	s.Residents = append(s.Residents, r)
	return r, nil
}
