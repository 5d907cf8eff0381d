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

// savedState is settings that are not ours, by name, with their values before the gate changed them. It is stored in the
// kernel, as comments in a chain without a jump to it, so that the next gate after a crash can restore them when it closes.
type savedState map[string]string

// The chain of saved state.
const (
	tableSaved = "mangle"
	chainSaved = netctl.Prefix + "SAVED"
)

// The kinds of settings. The object's name follows the prefix.
const (
	savedSysctl  = "sysctl "  // path: value
	savedAddress = "address " // interface: the address that was added
	savedPort    = "port "    // bridge port: "off", since it was not isolated
)

// record saves a setting's value before the gate's first change.
func (m savedState) record(name, was string) {
	if _, ok := m[name]; !ok {
		m[name] = was
	}
}

// addTo returns the tables with the chain of saved state.
func (m savedState) addTo(tables []netctl.Table) []netctl.Table {
	c := netctl.Chain{Name: chainSaved}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		c.Rules = append(c.Rules, fmt.Sprintf("-m comment --comment %q", commentPrefix+savedComment+name+"="+m[name]))
	}
	tables = slices.Clone(tables)
	for i, t := range tables {
		if t.Name == tableSaved && !t.IPv6 {
			tables[i].Chains = append(slices.Clip(t.Chains), c)
		}
	}
	return tables
}

// loadSavedState reads the state that a crashed gate saved. An earlier release may have used another chain.
func (g *Gate) loadSavedState() error {
	rules, err := g.rules(unix.AF_INET, tableSaved)
	if err != nil {
		return err
	}
	for _, f := range rules {
		if text, ok := strings.CutPrefix(f.comment, savedComment); ok {
			name, was, _ := strings.Cut(text, "=")
			g.saved.record(name, was)
		}
	}
	return nil
}

// restoreHotspot undoes the gate's changes to the hotspot's interface and ports.
func (g *Gate) restoreHotspot() error {
	var errs []error
	for name, was := range g.saved {
		if device, ok := strings.CutPrefix(name, savedAddress); ok {
			errs = append(errs, g.removeAddress(device, was))
		}
		if port, ok := strings.CutPrefix(name, savedPort); ok {
			errs = append(errs, g.joinPort(port))
		}
	}
	clear(g.saved)
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

// dropHotspotFlows drops residents' tracked connections if the machine forwarded before and continues to: their masquerading
// would outlive the rule.
func (g *Gate) dropHotspotFlows() error {
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
