package gate

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	vnl "github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"passerelle/netctl"
	"passerelle/netctl/nlmsg"
)

// applyHotspot sets the hotspot's interface up and adds its address. It isolates the ports of a bridge, so that residents do not reach
// each other.
func (g *Gate) applyHotspot(i netctl.Interface) (link vnl.Link, changes []string, err error) {
	if i.MAC != (netctl.MAC{}) {
		if changes, err = g.makeBridge(i); err != nil {
			return nil, nil, err
		}
	}
	link, err = g.links.LinkByName(i.Name)
	if err != nil {
		return nil, changes, fmt.Errorf("hotspot interface %s: %w", i.Name, err)
	}
	if link.Attrs().Flags&net.FlagUp == 0 {
		if err := g.links.LinkSetUp(link); err != nil {
			return nil, changes, fmt.Errorf("set %s up: %w", i.Name, err)
		}
		changes = append(changes, "ip link set "+i.Name+" up")
	}
	addrs, err := nlmsg.RetryInterruptedDump(func() ([]vnl.Addr, error) { return g.links.AddrList(link, unix.AF_INET) })
	if err != nil {
		return nil, changes, fmt.Errorf("list addresses of %s: %w", i.Name, err)
	}
	want := ipNet(i.Address)
	if !slices.ContainsFunc(addrs, func(a vnl.Addr) bool { return a.IPNet.String() == want.String() }) {
		if err := g.links.AddrReplace(link, &vnl.Addr{IPNet: want}); err != nil {
			return nil, changes, fmt.Errorf("add address %s to %s: %w", i.Address, i.Name, err)
		}
		g.saved.record(savedAddress+i.Name, i.Address.String())
		changes = append(changes, fmt.Sprintf("ip address add %s dev %s", i.Address, i.Name))
	}
	g.ports = []bridgePort{{i.Name, link.Attrs().Index}}
	if link.Type() == "bridge" {
		more, err := g.isolatePorts(link)
		return link, append(changes, more...), err
	}
	return link, changes, nil
}

// makeBridge creates the bridge if it does not exist. It sets the hardware address, since the bridge would otherwise take that of one
// of its ports. That address changes as ports come and go, and residents' devices would keep sending to the old one.
func (g *Gate) makeBridge(i netctl.Interface) (changes []string, err error) {
	_, err = g.links.LinkByName(i.Name)
	if !errors.As(err, &vnl.LinkNotFoundError{}) {
		return nil, nil // another error shows when it is used
	}
	attrs := vnl.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = i.Name, i.MAC[:]
	// A hotspot has no multicast traffic whose flooding would matter.
	snooping := false
	if err := g.links.LinkAdd(&vnl.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}); err != nil {
		return nil, fmt.Errorf("make bridge %s: %w", i.Name, err)
	}
	return []string{fmt.Sprintf("ip link add %s address %s type bridge", i.Name, i.MAC)}, nil
}

// removeBridge deletes our bridge.
func (g *Gate) removeBridge() error {
	link, err := g.links.LinkByName(netctl.Bridge)
	if errors.As(err, &vnl.LinkNotFoundError{}) {
		return nil
	}
	if err == nil {
		err = g.links.LinkDel(link)
	}
	if err != nil {
		return fmt.Errorf("remove bridge %s: %w", netctl.Bridge, err)
	}
	return nil
}

// isolatePorts reads the bridge's ports in one dump, and isolates those that are not isolated yet.
func (g *Gate) isolatePorts(bridge vnl.Link) (changes []string, err error) {
	header := make([]byte, unix.SizeofIfInfomsg) // struct ifinfomsg (include/uapi/linux/rtnetlink.h)
	header[0] = unix.AF_BRIDGE
	ports, err := g.route.get(unix.RTM_GETLINK, unix.NLM_F_DUMP, header)
	if err != nil {
		return nil, fmt.Errorf("list ports of %s: %w", bridge.Attrs().Name, err)
	}
	g.ports = nil
	for _, b := range ports {
		p, ok := readBridgePort(b)
		if !ok || p.master != bridge.Attrs().Index {
			continue
		}
		g.ports = append(g.ports, p.bridgePort)
		if p.isolated {
			continue
		}
		link := &vnl.GenericLink{LinkAttrs: vnl.LinkAttrs{Name: p.name, Index: p.link}}
		if err := g.links.LinkSetIsolated(link, true); err != nil {
			return changes, fmt.Errorf("isolate bridge port %s: %w", p.name, err)
		}
		g.saved.record(savedPort+p.name, "off")
		changes = append(changes, "bridge link set dev "+p.name+" isolated on")
	}
	return changes, nil
}

// portState is a port of a bridge as the kernel describes it.
type portState struct {
	bridgePort
	master   int // the bridge's interface index
	isolated bool
}

// readBridgePort parses a link message of family AF_BRIDGE (br_fill_ifinfo in net/bridge/br_netlink.c). It reports false for a message
// that does not tell whether the port is isolated: a network card with a switch of its own describes itself as well.
func readBridgePort(b []byte) (p portState, ok bool) {
	if len(b) < unix.SizeofIfInfomsg {
		return p, false
	}
	p.link = int(native32Of(b[4:]))
	for kind, value := range nlmsg.Attributes(b[unix.SizeofIfInfomsg:]) {
		switch kind {
		case unix.IFLA_IFNAME:
			p.name = textOf(value)
		case unix.IFLA_MASTER:
			p.master = int(native32Of(value))
		case unix.IFLA_PROTINFO:
			for kind, value := range nlmsg.Attributes(value) {
				if kind == nl.IFLA_BRPORT_ISOLATED && len(value) > 0 {
					p.isolated, ok = value[0] != 0, true
				}
			}
		}
	}
	return p, ok
}

// applyRules reconciles the routing policy rules. Ours are those that look up one of our tables.
func (g *Gate) applyRules(want []netctl.Rule) (changes []string, err error) {
	have, err := nlmsg.RetryInterruptedDump(func() ([]vnl.Rule, error) { return g.links.RuleList(unix.AF_INET) })
	if err != nil {
		return nil, fmt.Errorf("list routing rules: %w", err)
	}
	missing := slices.Clone(want)
	var stale []vnl.Rule
	for _, r := range have {
		if !ourTable(r.Table) {
			continue
		}
		n := slices.IndexFunc(missing, func(w netctl.Rule) bool { return sameRule(w, r) })
		if n < 0 {
			stale = append(stale, r)
			continue
		}
		missing = slices.Delete(missing, n, n+1)
	}
	// The rules for captive devices are added before those that let packets through.
	slices.SortFunc(missing, func(a, b netctl.Rule) int { return b.Priority - a.Priority })
	for _, w := range missing {
		r := vnl.NewRule()
		r.Family, r.Priority, r.IifName, r.Table = unix.AF_INET, w.Priority, w.In, w.Table
		if w.Mask != 0 {
			r.Mark, r.Mask = w.Mark, &w.Mask
		}
		if err := g.links.RuleAdd(r); err != nil {
			return changes, fmt.Errorf("%s: %w", w, err)
		}
		changes = append(changes, w.String())
	}
	for _, r := range stale {
		if err := g.links.RuleDel(&r); err != nil && !errors.Is(err, unix.ENOENT) {
			return changes, fmt.Errorf("delete routing rule of table %d: %w", r.Table, err)
		}
		changes = append(changes, fmt.Sprintf("ip rule del pref %d", r.Priority))
	}
	return changes, nil
}

// ourTable tells whether a routing table is one of ours.
func ourTable(t int) bool {
	return t == netctl.TableReject || t == netctl.TableAuthorized || t == netctl.TableCaptive
}

func sameRule(w netctl.Rule, r vnl.Rule) bool {
	var mask uint32
	if r.Mask != nil {
		mask = *r.Mask
	}
	return r.Priority == w.Priority && r.IifName == w.In && r.Table == w.Table && r.Mark == w.Mark && mask == w.Mask &&
		r.Src == nil && r.Dst == nil && r.OifName == "" && !r.Invert
}

// applyRoutes reconciles our routing tables.
func (g *Gate) applyRoutes(want []netctl.Route) (changes []string, err error) {
	have, err := nlmsg.RetryInterruptedDump(func() ([]vnl.Route, error) {
		return g.links.RouteListFiltered(unix.AF_INET, &vnl.Route{Table: unix.RT_TABLE_UNSPEC}, vnl.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	index := map[string]int{} // of devices; 0 if the device does not exist
	for _, w := range want {
		if _, known := index[w.Device]; known || w.Device == "" {
			continue
		}
		link, err := g.links.LinkByName(w.Device)
		if err != nil && !errors.As(err, &vnl.LinkNotFoundError{}) {
			return nil, fmt.Errorf("%s: %w", w, err)
		}
		index[w.Device] = 0
		if err == nil {
			index[w.Device] = link.Attrs().Index
		}
	}
	missing := slices.Clone(want)
	var stale []vnl.Route
	for _, r := range have {
		if !ourTable(r.Table) {
			continue
		}
		n := slices.IndexFunc(missing, func(w netctl.Route) bool { return r.LinkIndex == index[w.Device] && sameRoute(w, r) })
		if n < 0 {
			stale = append(stale, r)
			continue
		}
		missing = slices.Delete(missing, n, n+1)
	}
	// The captive routes are added first, and networks are closed before the default route is added.
	slices.SortStableFunc(missing, func(a, b netctl.Route) int {
		return cmp.Or(cmp.Compare(b.Table, a.Table), cmp.Compare(b.To.Bits(), a.To.Bits()))
	})
	for _, w := range missing {
		if index[w.Device] == 0 && w.Device != "" {
			return changes, fmt.Errorf("%s: there is no interface %s", w, w.Device)
		}
		if err := g.links.RouteReplace(kernelRoute(w, index[w.Device])); err != nil {
			return changes, fmt.Errorf("%s: %w", w, err)
		}
		changes = append(changes, w.String())
	}
	for _, r := range stale {
		err := g.links.RouteDel(&r)
		if errors.Is(err, unix.ESRCH) {
			continue // replaced by one of ours
		}
		if err != nil {
			return changes, fmt.Errorf("delete a route of table %d: %w", r.Table, err)
		}
		changes = append(changes, fmt.Sprintf("ip route del %s table %d", r.Dst, r.Table))
	}
	return changes, nil
}

var routeTypes = map[string]int{"unicast": unix.RTN_UNICAST, "local": unix.RTN_LOCAL, "prohibit": unix.RTN_PROHIBIT}

func kernelRoute(w netctl.Route, link int) *vnl.Route {
	r := &vnl.Route{
		Family: unix.AF_INET, Table: w.Table, Dst: ipNet(w.To), Type: routeTypes[w.Kind], Protocol: netctl.Protocol,
		LinkIndex: link, Scope: unix.RT_SCOPE_LINK,
	}
	switch {
	case w.Kind == "local":
		r.Scope = unix.RT_SCOPE_HOST
	case w.Kind == "prohibit":
		r.Scope = unix.RT_SCOPE_UNIVERSE
	case w.Gateway.IsValid():
		// This table closes the lender's network, where the gateway is, so the gateway has to be declared on-link.
		r.Gw, r.Flags, r.Scope = w.Gateway.AsSlice(), int(vnl.FLAG_ONLINK), unix.RT_SCOPE_UNIVERSE
	}
	return r
}

// sameRoute tells whether the kernel's route equals the wanted one, apart from its device.
func sameRoute(w netctl.Route, r vnl.Route) bool {
	to := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if r.Dst != nil {
		a, _ := netip.AddrFromSlice(r.Dst.IP.To4())
		bits, _ := r.Dst.Mask.Size()
		to = netip.PrefixFrom(a, bits)
	}
	gateway, _ := netip.AddrFromSlice(r.Gw.To4())
	return r.Table == w.Table && to == w.To && gateway == w.Gateway && r.Type == routeTypes[w.Kind] &&
		r.Protocol == netctl.Protocol && len(r.MultiPath) == 0
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// readSysctls returns the kernel parameters that have to change. These are the ones that differ from the plan, whose values it saves,
// and the ones that are no longer in the plan, whose saved values it restores and deletes.
func (g *Gate) readSysctls(want []netctl.Sysctl) (change []netctl.Sysctl, err error) {
	wanted := map[string]bool{}
	for _, s := range want {
		wanted[s.Path] = true
		was, err := readParameter(s.Path)
		if s.AtLeast && (errors.Is(err, os.ErrNotExist) || !writable(s.Path)) {
			continue // it is not namespaced
		}
		if err != nil {
			return nil, err
		}
		if was != s.Value && !(s.AtLeast && atLeast(was, s.Value)) {
			g.saved.record(savedSysctl+s.Path, was)
			change = append(change, s)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(g.saved)) {
		if path, ok := strings.CutPrefix(name, savedSysctl); ok && !wanted[path] {
			change = append(change, netctl.Sysctl{Path: path, Value: g.saved[name]})
			delete(g.saved, name)
		}
	}
	return change, nil
}

// writable checks with the effective user and capabilities: CAP_NET_ADMIN opens the network's parameters.
func writable(path string) bool {
	return unix.Faccessat(unix.AT_FDCWD, "/proc/sys/"+path, unix.W_OK, unix.AT_EACCESS) == nil
}

// atLeast compares two numbers. A value that is not a number counts as large enough.
func atLeast(is, least string) bool {
	a, errA := strconv.ParseUint(is, 10, 64)
	b, errB := strconv.ParseUint(least, 10, 64)
	return errA != nil || errB != nil || a >= b
}

func readNumber(path string) (uint64, error) {
	text, err := readParameter(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(text, 10, 64)
}

// readParameter reads a kernel parameter with fewer system calls than os.ReadFile: every Apply reads them all.
func readParameter(path string) (string, error) {
	var b [64]byte
	n := 0
	fd, err := unix.Open("/proc/sys/"+path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		n, err = unix.Read(fd, b[:])
		unix.Close(fd)
	}
	if err != nil {
		return "", fmt.Errorf("read kernel parameter %s: %w", path, err)
	}
	return strings.TrimSpace(string(b[:n])), nil
}

func (g *Gate) writeSysctls(change []netctl.Sysctl) (changes []string, err error) {
	for _, s := range change {
		err := os.WriteFile("/proc/sys/"+s.Path, []byte(s.Value), 0)
		if errors.Is(err, os.ErrNotExist) {
			continue // its interface has disappeared since it was read
		}
		if err != nil {
			return changes, fmt.Errorf("set kernel parameter: %w", err)
		}
		changes = append(changes, "sysctl "+s.Path+"="+s.Value)
	}
	return changes, nil
}
