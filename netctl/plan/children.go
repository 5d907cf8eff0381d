package plan

import (
	"fmt"
	"math"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"passerelle/appliance/config"
	"passerelle/netctl"
)

// Names of the children.
const (
	ChildDNS     = "dnsmasq"         // addresses, and truthful names for admitted residents
	ChildGuests  = "dnsmasq-guests"  // names for the others
	ChildCaptive = "dnsmasq-captive" // every name is the box
)

// DNSUser is the user that dnsmasq becomes, which Debian's dnsmasq-base makes.
const DNSUser = "dnsmasq"

// FileName is a name that each of the box's name servers knows without asking anybody, but only once it has read all of its
// files: dnsmasq goes on without one that it cannot open.
const FileName = "files.passerelle.internal"

// Leases returns the file, below run, of who has which address until when.
func Leases(run string) string { return filepath.Join(run, "leases") }

// Resolver is a name server to ask and the uplink to ask it through.
type Resolver struct {
	Addr      netip.Addr
	Interface string
}

// Host is what dnsmasq is told of a device on the hotspot.
type Host struct {
	MAC     netctl.MAC // zero: nobody is to get Addr
	Addr    netip.Addr // that it uses, and nobody else may get; invalid: none
	Settled bool       // its lease is as long as the configuration says
}

// Outside is what the programs depend on besides the configuration.
type Outside struct {
	Hotspot     int        // the kernel's number of the hotspot's interface
	Asked       int        // that of the uplink that names were last asked through
	Resolvers   []Resolver // in the order in which they are to be asked
	Metered     bool       // devices are told that the line is metered
	Essential   bool       // guests are told the truth of essential services' names only
	Hosts       []Host
	AccessPoint *netctl.AccessPoint // that hostapd shall make; nil: none
	Radios      []string            // the interfaces that are there, of those that join lenders' networks
}

// Children returns the programs that shall run. Their files lie in run, a folder in memory: leases are residents'
// addresses, and there are passphrases in some. dnsmasq is told nothing by the machine's own configuration files.
//
// The file of the dnsmasq that gives addresses names the number of the hotspot's interface, since it has to be started
// again for another one: it binds its socket to the device, not to the name. So do all with their sockets towards
// resolvers, which they keep when they read of others (dnsmasq 2.90 takes over a server's place in its list together with
// its socket).
//
// Only what dnsmasq reads again, on SIGHUP, lies in a folder of its user's. The rest it opens while it still is root, and
// a file of a folder that is its user's could by then be another: a configuration that runs a program, a link that has
// the leases written over any file of the machine.
func Children(c *config.Config, o Outside, run string) []netctl.Child {
	children := dnsmasqs(c, o, run)
	if o.AccessPoint != nil {
		children = append(children, HostapdChild(*o.AccessPoint, o.Metered, run))
	}
	for _, d := range c.Donations {
		if d.WiFi != nil && slices.Contains(o.Radios, d.Interface) {
			children = append(children, SupplicantChild(d, c.Hotspot.Country, run))
		}
	}
	return children
}

func dnsmasqs(c *config.Config, o Outside, run string) []netctl.Child {
	first, last := pool(c.Hotspot.Address)
	network := c.Hotspot.Address.Masked()
	box := c.Hotspot.Address.Addr()
	owned := func(name string) string { return filepath.Join(run, "dnsmasq", name) }
	servers, guestServers, hosts := owned("servers.conf"), owned("servers-guests.conf"), owned("hosts")

	common := []string{
		fmt.Sprintf("# Names are asked through interface number %d.", o.Asked),
		"user=" + DNSUser,
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
		fmt.Sprintf("max-tcp-connections=%d", mostTCP),
	}
	services := c.Essential.All()
	if len(services) > 0 {
		ttl := fmt.Sprint(int(essentialTTL.Seconds()))
		common = append(common, "max-ttl="+ttl, "max-cache-ttl="+ttl)
	}
	asking := []string{
		"edns-packet-max=512", // names.go counts on it
	}
	// A name of the internet that leads to an address that is nobody's there leads a browser somewhere else than its page says
	// (DNS rebinding). dnsmasq's stop-dns-rebind means that, but counts the documentation's networks among them, which are
	// open here, and not all that are closed. Addresses of IPv6 pass: a name that is signed would be taken for forged without
	// them (dnsmasq's filter-AAAA leaves out the proof that there are none), and who has no IPv6 does not use them (RFC 6724,
	// section 5, rule 1). The box forwards none, so what counts are those that lead elsewhere than through it.
	for _, n := range special {
		mapped := netip.PrefixFrom(netip.AddrFrom16(n.Addr().As16()), 96+n.Bits()) // RFC 4291, section 2.5.5.2
		asking = append(asking, "bogus-nxdomain="+n.String(), "bogus-nxdomain="+mapped.String())
	}
	for _, n := range special6 {
		asking = append(asking, "bogus-nxdomain="+n.String())
	}
	for _, name := range services { // one a line: dnsmasq reads 1024 bytes of it
		asking = append(asking, "ipset=/"+name+"/"+netctl.SetEssential)
	}
	believing := []string{
		"domain-needed",
		"bogus-priv",
		"local=/" + c.Box.Hostname + "/",
	}
	everyName := []string{
		"address=/#/" + box.String(),
		"local=/#/", // else other kinds of question would be refused instead of answered with nothing
		"local-ttl=0",
		"cache-size=0",
	}
	truthful := slices.Concat([]string{
		fmt.Sprintf("# %s is interface number %d.", Hotspot(c), o.Hotspot),
		fmt.Sprintf("port=%d", PortDNS),
		"servers-file=" + servers,
		"cache-size=1000",
		fmt.Sprintf("dns-forward-max=%d", mostTruthful),
		fmt.Sprintf("dhcp-range=%s,%s,%s,%d", first, last, netmask(network), int(FirstLease(c.Hotspot.Lease).Seconds())),
		"dhcp-hostsfile=" + hosts,
		fmt.Sprintf("dhcp-lease-max=%d", offset(network, last)-offset(network, first)+1),
		"dhcp-authoritative",
		"dhcp-leasefile=" + Leases(run),
		"dhcp-ignore-names", // a device's name is its owner's
		"dhcp-ignore-clid",  // a device is its hardware address, and has one lease
		"dhcp-option=option:router," + box.String(),
		"dhcp-option=option:dns-server," + box.String(),
		"no-ping",
		"quiet-dhcp",
	}, common, believing, asking)
	if c.Box.PortalURL != "" {
		truthful = append(truthful, "dhcp-option=114,"+c.Box.PortalURL) // RFC 8910
	}
	if o.Metered {
		// What a phone that shares its line tells its guests, as vendor-specific information (RFC 2132, 8.4). Android reads it
		// (hasMeteredHint in DhcpResults.java), ChromeOS (tethering.cc of shill) and NetworkManager (nm-dhcp-nettools.c), which
		// does not ask for it. Another line restarts dnsmasq in any case: nothing would be gained by a file that it reads again.
		truthful = append(truthful, "dhcp-option-force=43,ANDROID_METERED")
	}
	guest := slices.Concat([]string{
		fmt.Sprintf("port=%d", PortGuest),
		"no-dhcp-interface=" + Hotspot(c),
		"servers-file=" + guestServers,
		fmt.Sprintf("dns-forward-max=%d", mostGuest),
	}, common, asking)
	if o.Essential {
		guest = append(guest, everyName...)
	} else {
		guest = append(guest, believing...)
	}
	captive := slices.Concat([]string{
		fmt.Sprintf("port=%d", PortCaptive),
		"no-dhcp-interface=" + Hotspot(c),
	}, common, everyName)

	var list, guestList, hostList strings.Builder
	read := "server=/" + FileName + "/\n" // who has read this knows that there is no such name
	list.WriteString(read)
	guestList.WriteString(read)
	for _, r := range o.Resolvers[:min(len(o.Resolvers), MostServers)] {
		line := fmt.Sprintf("server=%s@%s\n", r.Addr, r.Interface)
		list.WriteString(line)
		if !o.Essential {
			guestList.WriteString(line)
			continue
		}
		for _, name := range services {
			fmt.Fprintf(&guestList, "server=/%s/%s@%s\n", name, r.Addr, r.Interface)
		}
	}
	for _, h := range o.Hosts {
		if h.MAC != (netctl.MAC{}) {
			hostList.WriteString(h.MAC.String())
		} else {
			hostList.WriteString("id:taken") // no device's, since identifiers are ignored
		}
		if h.Addr.IsValid() {
			hostList.WriteString("," + h.Addr.String())
		}
		if h.Settled {
			fmt.Fprintf(&hostList, ",%d", int(c.Hotspot.Lease.Seconds()))
		}
		hostList.WriteString("\n")
	}
	child := func(name string, lines []string, more ...netctl.File) netctl.Child {
		conf := filepath.Join(run, name+".conf")
		return netctl.Child{
			Name:  name,
			Argv:  []string{"dnsmasq", "--conf-file=" + conf},
			Files: append([]netctl.File{{Path: conf, Text: strings.Join(lines, "\n") + "\n"}}, more...),
		}
	}
	return []netctl.Child{
		child(ChildDNS, truthful,
			netctl.File{Path: servers, Text: list.String(), Owner: DNSUser, Reload: true},
			netctl.File{Path: hosts, Text: hostList.String(), Owner: DNSUser, Reload: true},
			netctl.File{Path: Leases(run), Keep: true}),
		child(ChildGuests, guest,
			netctl.File{Path: guestServers, Text: guestList.String(), Owner: DNSUser, Reload: true}),
		child(ChildCaptive, captive),
	}
}

// pool returns the first and last address for residents: the longer side of the box's own address.
func pool(box netip.Prefix) (first, last netip.Addr) {
	network := box.Masked()
	hosts := uint32(1) << (32 - network.Bits())
	end := min(hosts-2, netctl.MinorFirst-1) // below the broadcast address and the classes that are nobody's
	own := offset(network, box.Addr())
	if own > end || own-1 > end-own {
		return at(network, 1), at(network, min(own-1, end))
	}
	return at(network, own+1), at(network, end)
}

// Resident tells whether an address of the network may be a resident's: the last of a network as large as can be have the
// numbers of classes that are nobody's.
func Resident(network netip.Prefix, a netip.Addr) bool {
	return network.Contains(a) && offset(network.Masked(), a) < netctl.MinorFirst
}

// offset returns an address's place in its network.
func offset(network netip.Prefix, a netip.Addr) uint32 {
	return number(a) - number(network.Addr())
}

func at(network netip.Prefix, offset uint32) netip.Addr {
	n := number(network.Addr()) + offset
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

func number(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func netmask(n netip.Prefix) string {
	m := uint32(math.MaxUint32) << (32 - n.Bits())
	return fmt.Sprintf("%d.%d.%d.%d", m>>24, m>>16&255, m>>8&255, m&255)
}
