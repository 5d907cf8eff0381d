package plan

import (
	"fmt"

	"passerelle/netctl"
)

// # DNS
//
// Three name servers run on the box (children.go). The first answers admitted residents truthfully. The guests' one
// answers everybody else: truthfully while a line may be used, also while the box is paused, and only for essential
// services' names where nothing else is reachable. The captive one resolves every name to the box, without an upstream.
//
// The cost of a query on the line is limited before it is answered, because an answer that has arrived has been billed.
// So queries are counted, not bytes, and each counts as the largest possible query and answer (queryBytes): no answer
// is larger than 512 bytes, because the name servers advertise that size (edns-packet-max). A larger one is retried
// over TCP, which only admitted residents get; a name server handles one query of a connection at a time, and its
// answers to the resident are rate-limited in bytes, which blocks it.
//
// The ports are below 1024, so that only root can bind them first. They are adjacent, so that one comparison separates
// most packets from queries (frames.go).
//
// A device's limit is kept by hardware address, on ingress (frames.go). A device above its own limit, or above the
// limit of all guests, is answered by the captive name server, so that a sign-in page opens in any case.
//
// Each name server has a conntrack zone of its own: the server is assigned for every packet, also for those of a device
// that always uses the same source port, whose NAT entry would otherwise persist as long as it sends queries.
const (
	PortDNS     = 53 // truthful DNS, for admitted residents
	PortGuest   = 54 // DNS for the others
	PortCaptive = 55 // every name resolves to the box
)

// NameServers are the box's name servers: their children and ports.
var NameServers = []struct {
	Child string
	Port  uint16
}{{ChildDNS, PortDNS}, {ChildGuests, PortGuest}, {ChildCaptive, PortCaptive}}

// Limits of DNS on a line.
const (
	// queryBytes is the most that a query and its answer take on a line: 14 + 20 + 8 bytes of headers each, 12 + 255 +
	// 4 + 11 of query with EDNS, 512 of answer.
	queryBytes = 2*42 + 282 + 512

	guestNames    = 2000  // bytes a second, of a device that is not admitted: 16 kbit/s
	guestBurst    = 40000 // bytes
	allGuestNames = 8000  // bytes a second, of all that are not admitted: 64 kbit/s
	allGuestBurst = 300000
	admittedNames = 32000 // bytes a second, of an admitted device: 256 kbit/s
	admittedBurst = 150   // queries: pages with many names, opened together

	// Over TCP, an answer of 64 kB crosses the line before the resident's rate limit can slow it down. So the rate of
	// new connections is limited, and their answers may take half of an admitted device's DNS budget; the other half is
	// for queries without an answer.
	tcpNames      = admittedNames / 2 // bytes a second
	tcpNamesBurst = 66000             // bytes: no packet is larger
	tcpConnRate   = 12                // connections a minute
	tcpConnBurst  = 12

	// MaxServers is how many of a line's name servers are used. Each further one makes a query cost more: a name server of the box
	// that does not know which one answers queries all of them.
	MaxServers = 2

	// maxDNSConns is how many connections to a name server a device may hold. Each takes a process of the name server.
	maxDNSConns = 4
)

// Limits of a name server's outstanding queries, given how long it waits for an answer.
const (
	forwardTimeout = 10 // seconds (TIMEOUT in dnsmasq's config.h)

	maxForwardTruthful = 4096 // of admitted residents: at least eight devices whose queries all stay unanswered
	maxForwardGuest    = allGuestBurst/queryBytes + forwardTimeout*allGuestNames/queryBytes + 1
	maxTCPConns        = 100 // connections to a name server: processes of some 500 kB each
)

// dnsServer is a name server with the mark and conntrack zone of the queries that it gets.
type dnsServer struct {
	port uint16
	mark uint32
	zone int
	to   string // the chain that assigns a query to it
}

var (
	truthful = dnsServer{PortDNS, netctl.MarkDNSOpen, 1, "PAS-DNS-OPEN"}
	guests   = dnsServer{PortGuest, netctl.MarkDNSLimited, 2, "PAS-DNS-LIMITED"}
	captive  = dnsServer{PortCaptive, netctl.MarkDNSCaptive, 3, "PAS-DNS-CAPTIVE"}

	dnsServers = []dnsServer{truthful, guests, captive}
)

// The transports of DNS.
var nameProtocols = []string{"udp", "tcp"}

// queryCost is how many bytes a query may take on a line, given the number of name servers that it may be sent to.
func (c compiler) queryCost() int { return queryBytes * max(1, min(c.NameServers, MaxServers)) }

// truthfulNames tells whether admitted residents get truthful answers.
func (c compiler) truthfulNames() bool { return c.Decision.Names && c.internet }

// guestsResolve tells whether the guests' name server has an upstream.
func (c compiler) guestsResolve() bool { return c.Decision.Names || c.onlyEssential() }

// raw assigns queries to name servers before conntrack, and drops spoofed DHCP. It skips packets that bindingFilter
// found to be neither; where no bindings are checked, it skips nothing.
func (c compiler) raw() netctl.Table {
	const toServer, fromServer, untracked = "-p udp -m udp --dport 67 ", "-p udp -m udp --sport 67 ", "-j CT --notrack"
	first := netctl.Chain{Name: "PAS-RAW", Rules: []string{
		toServer + spoofedDHCP + " -j DROP",
		// Any source may send DHCP; it is not tracked.
		"-d 255.255.255.255/32 " + toServer + untracked,
		fmt.Sprintf("-d %s %s", c.box, toServer) + untracked,
	}}
	for _, p := range nameProtocols {
		first.Rules = append(first.Rules, fmt.Sprintf("-p %s -m %s --dport 53 -j PAS-DNS", p, p))
	}
	names := netctl.Chain{Name: "PAS-DNS"}
	if c.truthfulNames() {
		names.Rules = append(names.Rules, "-m set --match-set "+netctl.SetClients+" src,src -g "+truthful.to)
	}
	if c.guestsResolve() {
		perMinute := 60 * allGuestNames / c.queryCost()
		names.Rules = append(names.Rules,
			"-p tcp -g "+captive.to,
			marked(netctl.MarkDNSCaptive, netctl.MarkDNSMask)+" -g "+captive.to,
			fmt.Sprintf("-m limit --limit %d/min --limit-burst %d -g %s", perMinute, allGuestBurst/c.queryCost(), guests.to))
	}
	names.Rules = append(names.Rules, "-g "+captive.to)
	t := netctl.Table{
		Name: "raw",
		Jumps: []netctl.Jump{
			{From: "PREROUTING", Match: "-i " + c.hotspot + " " + notPlain, To: first.Name},
			{From: "OUTPUT", Match: "-o " + c.hotspot, To: "PAS-DNS-REPLY"},
		},
	}
	answers := netctl.Chain{Name: "PAS-DNS-REPLY", Rules: []string{fromServer + untracked}}
	for _, a := range dnsServers {
		zone := fmt.Sprintf("-j CT --zone %d", a.zone)
		t.Chains = append(t.Chains, netctl.Chain{Name: a.to, Rules: []string{
			fmt.Sprintf("-j MARK --set-xmark %#x/%#x", a.mark, netctl.MarkDNSMask), zone,
		}})
		for _, p := range nameProtocols {
			answers.Rules = append(answers.Rules, fmt.Sprintf("-p %s -m %s --sport %d %s", p, p, a.port, zone))
		}
	}
	t.Chains = append(t.Chains, names, first, answers)
	return t
}

// dnsRedirects returns the nat rules that redirect a query to the name server that raw assigned.
func (c compiler) dnsRedirects() (rules []string) {
	for _, p := range nameProtocols {
		for _, a := range dnsServers {
			rules = append(rules, fmt.Sprintf("-p %s -m %s --dport 53 %s -j DNAT --to-destination %s:%d",
				p, p, marked(a.mark, netctl.MarkDNSMask), c.box, a.port))
		}
	}
	return rules
}

// markDNS marks the name servers' upstream traffic, so that it is charged and classified. Queries are matched by their
// user, and replies by the connection mark. It is done in filter: a packet marked in mangle's OUTPUT is rerouted by the
// machine's own table, although its socket chose the line (ip_route_me_harder in net/ipv4/netfilter.c ignores
// IP_UNICAST_IF).
func (c compiler) markDNS() (queries, replies netctl.Chain) {
	minor := netctl.MinorDNS
	if c.onlyEssential() {
		minor = netctl.MinorGarden
	}
	mark := fmt.Sprintf("%#x/%#x", netctl.MarkUpstreamDNS, netctl.MarkMask)
	queries = netctl.Chain{Name: "PAS-DNS-QUERY", Rules: []string{
		"-j MARK --set-xmark " + mark,
		"-j CONNMARK --set-xmark " + mark,
		fmt.Sprintf("-j CLASSIFY --set-class %04x:%04x", netctl.HTBMajor, minor),
	}}
	replies = netctl.Chain{Name: "PAS-DNS-RESTORE", Rules: []string{"-m connmark --mark " + mark + " -j MARK --set-xmark " + mark}}
	return queries, replies
}

// dnsOwner matches packets sent by the box's name servers.
func (c compiler) dnsOwner() string { return " -m owner --uid-owner " + c.NamesUser }
