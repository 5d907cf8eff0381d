package gate

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	vnl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"passerelle/netctl"
)

// memory is what things of others were before the gate changed them, by name. It lies in the kernel as comments in a chain
// that nothing leads to, so that a gate which takes over from one that crashed can put things back when it closes.
type memory map[string]string

// chainMemory is that chain.
const (
	tableMemory = "mangle"
	chainMemory = netctl.Prefix + "BEFORE"
)

// What is remembered. A name goes on with what it is about.
const (
	memorySysctl  = "sysctl "  // path: value
	memoryAddress = "address " // interface: the address that it did not have
	memoryPort    = "port "    // bridge port: "off", it was not isolated
)

// note remembers what a thing was before the gate first changed it.
func (m memory) note(name, was string) {
	if _, ok := m[name]; !ok {
		m[name] = was
	}
}

// addTo returns the tables with the memory's chain in them.
func (m memory) addTo(tables []netctl.Table) []netctl.Table {
	c := netctl.Chain{Name: chainMemory}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		c.Rules = append(c.Rules, fmt.Sprintf("-m comment --comment %q", commentPrefix+memoryComment+name+"="+m[name]))
	}
	tables = slices.Clone(tables)
	for i, t := range tables {
		if t.Name == tableMemory && !t.IPv6 {
			tables[i].Chains = append(slices.Clip(t.Chains), c)
		}
	}
	return tables
}

// recall reads what a gate that crashed remembered.
func (g *Gate) recall() error {
	rules, err := g.rules(unix.AF_INET, tableMemory)
	if err != nil {
		return err
	}
	for _, f := range rules {
		if text, ok := strings.CutPrefix(f.comment, memoryComment); ok && f.chain == chainMemory {
			name, was, _ := strings.Cut(text, "=")
			g.memory.note(name, was)
		}
	}
	return nil
}

// restoreHotspot takes from the hotspot's interface and ports what was added to them.
func (g *Gate) restoreHotspot() error {
	var errs []error
	for name, was := range g.memory {
		if device, ok := strings.CutPrefix(name, memoryAddress); ok {
			errs = append(errs, g.removeAddress(device, was))
		}
		if port, ok := strings.CutPrefix(name, memoryPort); ok {
			errs = append(errs, g.joinPort(port))
		}
	}
	clear(g.memory)
	return errors.Join(errs...)
}

func (g *Gate) removeAddress(device, address string) error {
	p, err := netip.ParsePrefix(address)
	if err != nil {
		return fmt.Errorf("remove the address that was added to %s: %w", device, err)
	}
	link, err := g.links.LinkByName(device)
	if errors.As(err, &vnl.LinkNotFoundError{}) {
		return nil
	}
	if err == nil {
		err = g.links.AddrDel(link, &vnl.Addr{IPNet: ipNet(p)})
	}
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("remove address %s from %s: %w", address, device, err)
	}
	return nil
}

func (g *Gate) joinPort(port string) error {
	link, err := g.links.LinkByName(port)
	if errors.As(err, &vnl.LinkNotFoundError{}) || err == nil && link.Attrs().MasterIndex == 0 {
		return nil
	}
	if err == nil {
		err = g.links.LinkSetIsolated(link, false)
	}
	if err != nil {
		return fmt.Errorf("end the isolation of bridge port %s: %w", port, err)
	}
	return nil
}

// forgetConnections drops the residents' tracked connections if the machine goes on forwarding as it did before us: the
// translation of their addresses would outlive the rule that asked for it.
func (g *Gate) forgetConnections() error {
	forwards, err := readParameter("net/ipv4/ip_forward")
	if err != nil {
		return err
	}
	if forwards == "0" || !g.plan.Hotspot.Address.IsValid() {
		return nil
	}
	var filter vnl.ConntrackFilter
	if err := filter.AddIPNet(vnl.ConntrackOrigSrcIP, ipNet(g.plan.Hotspot.Address.Masked())); err != nil {
		return fmt.Errorf("drop tracked connections: %w", err)
	}
	if _, err := g.links.ConntrackDeleteFilters(vnl.ConntrackTable, unix.AF_INET, &filter); err != nil {
		return fmt.Errorf("drop tracked connections: %w", err)
	}
	return nil
}
