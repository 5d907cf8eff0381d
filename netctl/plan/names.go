package plan

import (
	"fmt"

	"passerelle/netctl"
)

// # Who answers for names
//
// Three name servers run on the box (children.go). The one for admitted residents answers truthfully. The guests' one
// answers everybody else: truthfully while a line may be used, also on a box that is paused, and of essential services' names
// only where no more than those are reached. The captive one asks nobody: every name is the box.
//
// What a question costs on the line is bounded before it is answered, since an answer that has arrived has been billed. So
// questions are counted, not bytes, and each counts as the largest that a question and its answer can be (questionBytes): no
// answer is larger than 512 bytes, because that is what the name servers say they take (edns-packet-max). A larger one is
// asked for by TCP, which only admitted residents get; a name server handles one question of a connection at a time, and
// what it sends the resident is bounded in bytes, which it waits for.
//
// Their ports are below 1024: no program of the machine's but root's can take one of them first. They are next to each other,
// so that one look tells most packets from questions (frames.go).
//
// A device's bound is kept by hardware address, where frames come in (frames.go). A device that is beyond it, or beyond
// what all guests share, is answered by the captive name server, so that a sign-in page opens in any case.
//
// Each name server has a conntrack zone of its own: who answers is decided for every packet, also for those of a device that
// asks from the same port each time, whose translation would otherwise go on for as long as it asks.
const (
	PortDNS     = 53 // truthful names, for admitted residents
	PortGuest   = 54 // names for the others
	PortCaptive = 55 // every name is the box
)

// NameServers are the box's own, by their children, with their ports.
var NameServers = []struct {
	Child string
	Port  uint16
}{{ChildDNS, PortDNS}, {ChildGuests, PortGuest}, {ChildCaptive, PortCaptive}}

// What names may use of a line.
const (
	// questionBytes is the most that a question and its answer take on a line: 14 + 20 + 8 bytes of headers each, 12 + 255 +
	// 4 + 11 of question with EDNS, 512 of answer.
	questionBytes = 2*42 + 282 + 512

	guestNames    = 2000  // bytes a second, of a device that is not admitted: 16 kbit/s
	guestBurst    = 40000 // bytes
	allGuestNames = 8000  // bytes a second, of all that are not admitted: 64 kbit/s
	allGuestBurst = 300000
	admittedNames = 32000 // bytes a second, of an admitted device: 256 kbit/s
	admittedBurst = 150   // questions: pages with many names, opened together

	// Over TCP, an answer of 64 kB crosses the line before the first of it can be held back. So few connections may be begun,
	// and what they bring is half of what an admitted device's names may take, the other half being for what was asked in vain.
	tcpNames      = admittedNames / 2 // bytes a second
	tcpNamesBurst = 66000             // bytes: no packet is larger
	tcpBegun      = 12                // connections a minute
	tcpBegunBurst = 12

	// MostServers is how many of a line's name servers are used. Each more makes a question dearer: a name server that is not
	// sure asks all.
	MostServers = 2

	// nameConnections is how many connections to a name server a device may hold. Each takes a process of the name server.
	nameConnections = 4
)

// Outstanding questions of a name server, for as long as it waits for their answers.
const (
	waitForAnswer = 10 // seconds (TIMEOUT in dnsmasq's config.h)

	mostTruthful = 4096 // of admitted residents: of at least eight devices that only ask what nobody answers
	mostGuest    = allGuestBurst/questionBytes + waitForAnswer*allGuestNames/questionBytes + 1
	mostTCP      = 100 // connections to a name server: processes of some 500 kB each
)

// answerer is a name server with the mark and zone of the questions that it answers.
type answerer struct {
	port uint16
	mark uint32
	zone int
	to   string // the chain that gives a question to it
}

var (
	truthful = answerer{PortDNS, netctl.MarkTruthful, 1, "PAS-TRUTHFUL"}
	guests   = answerer{PortGuest, netctl.MarkGuest, 2, "PAS-GUESTS"}
	captive  = answerer{PortCaptive, netctl.MarkCaptive, 3, "PAS-CAPTIVE"}

	answerers = []answerer{truthful, guests, captive}
)

// The protocols that names are asked over.
var nameProtocols = []string{"udp", "tcp"}

// question is how many bytes of a line a question may take, by the number of name servers that it may be sent to.
func (c compiler) question() int { return questionBytes * max(1, min(c.NameServers, MostServers)) }

// truthfulNames tells whether admitted residents are answered truthfully.
func (c compiler) truthfulNames() bool { return c.Decision.Names && c.all }

// asksForGuests tells whether the guests' name server asks anybody.
func (c compiler) asksForGuests() bool { return c.Decision.Names || c.onlyEssential() }

// raw decides, before connections are tracked, who answers a question, and drops leases asked for in another's name. What
// frames found to be neither is left out; where frames are not held against anything, nothing is.
func (c compiler) raw() netctl.Table {
	const toServer, fromServer, untracked = "-p udp -m udp --dport 67 ", "-p udp -m udp --sport 67 ", "-j CT --notrack"
	first := netctl.Chain{Name: "PAS-RAW", Rules: []string{
		toServer + askedForOthers + " -j DROP",
		// Any source may ask for a lease; none is remembered for that.
		"-d 255.255.255.255/32 " + toServer + untracked,
		fmt.Sprintf("-d %s %s", c.box, toServer) + untracked,
	}}
	for _, p := range nameProtocols {
		first.Rules = append(first.Rules, fmt.Sprintf("-p %s -m %s --dport 53 -j PAS-NAMES", p, p))
	}
	names := netctl.Chain{Name: "PAS-NAMES"}
	if c.truthfulNames() {
		names.Rules = append(names.Rules, "-m set --match-set "+netctl.SetWho+" src,src -g "+truthful.to)
	}
	if c.asksForGuests() {
		perMinute := 60 * allGuestNames / c.question()
		names.Rules = append(names.Rules,
			"-p tcp -g "+captive.to,
			marked(netctl.MarkCaptive, netctl.MarkResolverMask)+" -g "+captive.to,
			fmt.Sprintf("-m limit --limit %d/min --limit-burst %d -g %s", perMinute, allGuestBurst/c.question(), guests.to))
	}
	names.Rules = append(names.Rules, "-g "+captive.to)
	t := netctl.Table{
		Name: "raw",
		Jumps: []netctl.Jump{
			{From: "PREROUTING", Match: "-i " + c.hotspot + " " + notPlain, To: first.Name},
			{From: "OUTPUT", Match: "-o " + c.hotspot, To: "PAS-ANSWERS"},
		},
	}
	answers := netctl.Chain{Name: "PAS-ANSWERS", Rules: []string{fromServer + untracked}}
	for _, a := range answerers {
		zone := fmt.Sprintf("-j CT --zone %d", a.zone)
		t.Chains = append(t.Chains, netctl.Chain{Name: a.to, Rules: []string{
			fmt.Sprintf("-j MARK --set-xmark %#x/%#x", a.mark, netctl.MarkResolverMask), zone,
		}})
		for _, p := range nameProtocols {
			answers.Rules = append(answers.Rules, fmt.Sprintf("-p %s -m %s --sport %d %s", p, p, a.port, zone))
		}
	}
	t.Chains = append(t.Chains, names, first, answers)
	return t
}

// toAnswerers are the rules of nat that lead a question to the name server that raw chose.
func (c compiler) toAnswerers() (rules []string) {
	for _, p := range nameProtocols {
		for _, a := range answerers {
			rules = append(rules, fmt.Sprintf("-p %s -m %s --dport 53 %s -j DNAT --to-destination %s:%d",
				p, p, marked(a.mark, netctl.MarkResolverMask), c.box, a.port))
		}
	}
	return rules
}

// onLine gives what the name servers exchange with the line's a mark, so that it is paid for and has a class. They are known
// by their user, and their connections from then on by their mark. It is done in filter: a packet that is marked in mangle's
// OUTPUT is routed again, by the machine's own table, although its socket chose the line (IP_UNICAST_IF counts for nothing in
// ip_route_me_harder in net/ipv4/netfilter.c).
func (c compiler) onLine() (ask, told netctl.Chain) {
	minor := netctl.MinorNames
	if c.onlyEssential() {
		minor = netctl.MinorEssential
	}
	mark := fmt.Sprintf("%#x/%#x", netctl.MarkNames, netctl.MarkMask)
	ask = netctl.Chain{Name: "PAS-ASK", Rules: []string{
		"-j MARK --set-xmark " + mark,
		"-j CONNMARK --set-xmark " + mark,
		fmt.Sprintf("-j CLASSIFY --set-class %04x:%04x", netctl.HTBMajor, minor),
	}}
	told = netctl.Chain{Name: "PAS-TOLD", Rules: []string{"-m connmark --mark " + mark + " -j MARK --set-xmark " + mark}}
	return ask, told
}

// ofNames matches what the box's name servers send.
func (c compiler) ofNames() string { return " -m owner --uid-owner " + c.NamesUser }
