package plan

import (
	"fmt"
	"math"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"passerelle/appliance/config"
	"passerelle/appliance/supervise"
	"passerelle/netctl"
)

// Names of the children.
const (
	ChildDNS     = "dnsmasq"         // DHCP, and truthful DNS for admitted residents
	ChildGuests  = "dnsmasq-guests"  // DNS for the others
	ChildCaptive = "dnsmasq-captive" // every name resolves to the box
)

// DNSUser is the user that dnsmasq runs as. Debian's dnsmasq-base creates it.
const DNSUser = "dnsmasq"

// CanaryName is a name that each of the box's name servers answers from its own configuration once it has read all of
// its files: dnsmasq starts without a file that it cannot open.
const CanaryName = "files.passerelle.internal"

// Leases returns the path of the lease file, below run.
func Leases(run string) string { return filepath.Join(run, "leases") }

// Resolver is an upstream name server and the uplink to reach it through.
type Resolver struct {
	Addr      netip.Addr
	Interface string
}

// Host is an entry of dnsmasq's hosts list.
type Host struct {
	MAC     netctl.MAC // zero: nobody gets Addr
	Addr    netip.Addr // in use by the device, and leased to no other; invalid: none
	Settled bool       // it gets the configured lease time
}

// Environment has the values, besides the configuration, that the children depend on.
type Environment struct {
	HotspotIndex int        // interface index of the hotspot
	UplinkIndex  int        // interface index of the uplink that DNS last used
	Resolvers    []Resolver // in order of preference
	Metered      bool       // DHCP announces that the line is metered
	Essential    bool       // guests resolve only essential services' names
	Hosts        []Host
	AccessPoint  *netctl.AccessPoint // for hostapd; nil: none
	Radios       []string            // the present interfaces that join lenders' networks
}

// Children returns the programs that must run. Their files are in run, a folder in memory: leases are residents'
// addresses, and some files hold passphrases. dnsmasq does not read the machine's own configuration.
//
// The configuration of the dnsmasq with DHCP names the index of the hotspot's interface, because dnsmasq must restart
// for a new one: it binds its socket to the device, not to the name. The sockets to upstream resolvers behave the same,
// and dnsmasq keeps them when it rereads its servers (dnsmasq 2.90 reuses a server's list entry together with its
// socket).
//
// dnsmasq never runs as root: it starts as its user, with the capabilities that it needs. That user owns its files, but not their
// folder.
func Children(c *config.Config, e Environment, run string) []supervise.Child {
	children := dnsmasqs(c, e, run)
	if e.AccessPoint != nil {
		children = append(children, HostapdChild(*e.AccessPoint, e.Metered, run))
	}
	for _, d := range c.Donations {
		if d.WiFi != nil && slices.Contains(e.Radios, d.Interface) {
			children = append(children, SupplicantChild(d, c.Hotspot.Country, run))
		}
	}
	return children
}

func dnsmasqs(c *config.Config, e Environment, run string) []supervise.Child {
	first, last := pool(c.Hotspot.Address)
	network := c.Hotspot.Address.Masked()
	box := c.Hotspot.Address.Addr()
	file := func(name string) string { return filepath.Join(run, name) }
	servers, guestServers, hosts := file("servers.conf"), file("servers-guests.conf"), file("hosts")

	common := []string{
		fmt.Sprintf("# Queries leave through interface index %d.", e.UplinkIndex),
		"keep-in-foreground",
		"log-facility=-",
		"pid-file=",
		"no-hosts",
		"no-resolv",
		"interface=" + Hotspot(c),
		"except-interface=lo",
		"bind-dynamic", // the hotspot's interface may vanish and come back
		"host-record=" + c.Box.Hostname + "," + box.String(),
		"localise-queries",
		fmt.Sprintf("max-tcp-connections=%d", maxTCPConns),
	}
	services := c.Essential.All()
	if len(services) > 0 {
		ttl := fmt.Sprint(int(essentialTTL.Seconds()))
		common = append(common, "max-ttl="+ttl, "max-cache-ttl="+ttl)
	}
	asking := []string{
		"edns-packet-max=512", // names.go relies on it
	}
	// An internet name that resolves to a private address would lead a browser to another site than its page says (DNS
	// rebinding). dnsmasq's stop-dns-rebind is meant for that, but includes the documentation networks, which are open
	// here, and omits some closed ones. AAAA records pass: without them a signed name would be considered bogus
	// (dnsmasq's filter-AAAA omits the proof of absence), and a host without IPv6 does not use them (RFC 6724, section
	// 5, rule 1). The box forwards no IPv6, so only those that lead elsewhere than through it count.
	for _, n := range netctl.SpecialPurpose {
		mapped := netip.PrefixFrom(netip.AddrFrom16(n.Addr().As16()), 96+n.Bits()) // RFC 4291, section 2.5.5.2
		asking = append(asking, "bogus-nxdomain="+n.String(), "bogus-nxdomain="+mapped.String())
	}
	for _, n := range bogons6 {
		asking = append(asking, "bogus-nxdomain="+n.String())
	}
	for _, name := range services { // one a line: dnsmasq reads 1024 bytes of it
		asking = append(asking, "ipset=/"+name+"/"+netctl.SetGarden)
	}
	believing := []string{
		"domain-needed",
		"bogus-priv",
		"local=/" + c.Box.Hostname + "/",
	}
	everyName := []string{
		"address=/#/" + box.String(),
		"local=/#/", // without it queries of other types would be REFUSED instead of answered with no data
		"local-ttl=0",
		"cache-size=0",
	}
	truthful := slices.Concat([]string{
		fmt.Sprintf("# %s has interface index %d.", Hotspot(c), e.HotspotIndex),
		fmt.Sprintf("port=%d", PortDNS),
		"servers-file=" + servers,
		"cache-size=1000",
		fmt.Sprintf("dns-forward-max=%d", maxForwardTruthful),
		fmt.Sprintf("dhcp-range=%s,%s,%s,%d", first, last, netmask(network), int(FirstLease(c.Hotspot.Lease).Seconds())),
		"dhcp-hostsfile=" + hosts,
		fmt.Sprintf("dhcp-lease-max=%d", PoolSize(c.Hotspot.Address)),
		"dhcp-authoritative",
		"dhcp-leasefile=" + Leases(run),
		"dhcp-ignore-names", // host names are private
		"dhcp-ignore-clid",  // a device is identified by its hardware address, and has one lease
		"dhcp-option=option:router," + box.String(),
		"dhcp-option=option:dns-server," + box.String(),
		"no-ping",
		"quiet-dhcp",
	}, common, believing, asking)
	if c.Box.PortalURL != "" {
		truthful = append(truthful, "dhcp-option=114,"+c.Box.PortalURL) // RFC 8910
	}
	if e.Metered {
		// The hint that a phone with tethering gives to its clients, as vendor-specific information (RFC 2132, 8.4).
		// Android reads it (hasMeteredHint in DhcpResults.java), ChromeOS (tethering.cc of shill) and NetworkManager
		// (nm-dhcp-nettools.c), which does not request it. A change of line restarts dnsmasq in any case: a file that
		// it rereads would gain nothing.
		truthful = append(truthful, "dhcp-option-force=43,ANDROID_METERED")
	}
	guest := slices.Concat([]string{
		fmt.Sprintf("port=%d", PortGuest),
		"no-dhcp-interface=" + Hotspot(c),
		"servers-file=" + guestServers,
		fmt.Sprintf("dns-forward-max=%d", maxForwardGuest),
	}, common, asking)
	if e.Essential {
		guest = append(guest, everyName...)
	} else {
		guest = append(guest, believing...)
	}
	captive := slices.Concat([]string{
		fmt.Sprintf("port=%d", PortCaptive),
		"no-dhcp-interface=" + Hotspot(c),
	}, common, everyName)

	var list, guestList, hostList strings.Builder
	read := "server=/" + CanaryName + "/\n" // answered locally, once the file was read
	list.WriteString(read)
	guestList.WriteString(read)
	for _, r := range e.Resolvers[:min(len(e.Resolvers), MaxServers)] {
		line := fmt.Sprintf("server=%s@%s\n", r.Addr, r.Interface)
		list.WriteString(line)
		if !e.Essential {
			guestList.WriteString(line)
			continue
		}
		for _, name := range services {
			fmt.Fprintf(&guestList, "server=/%s/%s@%s\n", name, r.Addr, r.Interface)
		}
	}
	for _, h := range e.Hosts {
		if h.MAC != (netctl.MAC{}) {
			hostList.WriteString(h.MAC.String())
		} else {
			hostList.WriteString("id:taken") // matches no device, because identifiers are ignored
		}
		if h.Addr.IsValid() {
			hostList.WriteString("," + h.Addr.String())
		}
		if h.Settled {
			fmt.Fprintf(&hostList, ",%d", int(c.Hotspot.Lease.Seconds()))
		}
		hostList.WriteString("\n")
	}
	child := func(name string, may []uintptr, lines []string, more ...supervise.File) supervise.Child {
		conf := file(name + ".conf")
		return supervise.Child{
			Name:         name,
			Argv:         []string{"dnsmasq", "--conf-file=" + conf},
			User:         DNSUser,
			Capabilities: may,
			Files:        append([]supervise.File{{Path: conf, Text: strings.Join(lines, "\n") + "\n"}}, more...),
		}
	}
	bind := []uintptr{unix.CAP_NET_BIND_SERVICE} // ports below 1024
	// The DHCP server sets the device's address in the ARP table, and resolvers add addresses to a set in the kernel.
	admin := append(bind, unix.CAP_NET_ADMIN)
	return []supervise.Child{
		child(ChildDNS, admin, truthful,
			supervise.File{Path: servers, Text: list.String(), Reload: true},
			supervise.File{Path: hosts, Text: hostList.String(), Reload: true},
			supervise.File{Path: Leases(run), Keep: true}),
		child(ChildGuests, admin, guest,
			supervise.File{Path: guestServers, Text: guestList.String(), Reload: true}),
		child(ChildCaptive, bind, captive),
	}
}

// pool returns the first and last address of the DHCP range: the longer side of the box's own address.
func pool(box netip.Prefix) (first, last netip.Addr) {
	network := box.Masked()
	hosts := uint32(1) << (32 - network.Bits())
	end := min(hosts-2, netctl.MinorFirst-1) // below the broadcast address and the class numbers that no resident has
	own := netctl.AddrOffset(network, box.Addr())
	if own > end || own-1 > end-own {
		return netctl.AddrAt(network, 1), netctl.AddrAt(network, min(own-1, end))
	}
	return netctl.AddrAt(network, own+1), netctl.AddrAt(network, end)
}

// PoolSize returns how many addresses the DHCP server has for residents, given the box's own with its network's length.
func PoolSize(box netip.Prefix) int {
	first, last := pool(box)
	network := box.Masked()
	return int(netctl.AddrOffset(network, last) - netctl.AddrOffset(network, first) + 1)
}

// Resident tells whether an address of the network may be a resident's: in the largest network, the last addresses would have
// class numbers that are reserved.
func Resident(network netip.Prefix, a netip.Addr) bool {
	return network.Contains(a) && netctl.AddrOffset(network, a) < netctl.MinorFirst
}

func netmask(n netip.Prefix) string {
	m := uint32(math.MaxUint32) << (32 - n.Bits())
	return fmt.Sprintf("%d.%d.%d.%d", m>>24, m>>16&255, m>>8&255, m&255)
}
