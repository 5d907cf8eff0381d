// Package netctl is the vocabulary between the packages that decide and those that drive the kernel: the Plan, which is the
// whole desired state, and the sessions and tranches, which are not part of it. It owns types and pure helpers. Its
// sub-packages apply plans (gate), watch uplinks (uplink) and drive radios (radio, wpa). It imports the standard library only.
//
// Glossary:
//
//   - plan: the desired state of the kernel without the sessions; applying it twice changes nothing.
//   - gate: the data plane, which applies plans and authorizes sessions.
//   - names: chains begin with "PAS-", sets with "pas-", the tables of nf_tables are named "passerelle".
//   - captive: a device of a resident without a session; it reaches the box and the walled garden only.
//   - authorized: a device of a resident with a session.
//   - binding: an address on the hotspot and the device that may use it (IP source guard).
//   - session: a resident's authorization, limited in time and data.
//   - tranche: a granted unit of a donation's cap (RFC 8506, Granted-Service-Unit), which the kernel spends on its own.
//   - charge: to count a packet's bytes against a tranche; a packet that cannot be charged is dropped.
//   - egress: the uplink that residents' packets leave by.
//   - walled garden: the essential services. Captive devices and devices without data left reach them too.
//   - usage: the bytes that a device has used today.
//   - slow lane: the low rate of a session whose data is used up; each resident has a separate class in it.
//   - shaper: an HTB tree on a device's egress, with a class for each resident.
//   - uplink: the network interface behind a donation.
package netctl

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Gate is the kernel as the box's loop sees it. One goroutine at a time may use it.
type Gate interface {
	// Apply makes the kernel match the plan and returns the changes as shell-like text, one entry per change. An unchanged
	// plan on an unchanged kernel changes nothing, runs no program and takes well under 2 ms.
	Apply(ctx context.Context, p Plan) (changes []string, err error)
	// Authorize authorizes a session, or changes the limits of a running one. The session's classes exist before its first
	// packet passes.
	Authorize(s Session) error
	// End ends a session. From then on the rules reset its connections. It is idempotent.
	End(addr netip.Addr) error
	// Sessions returns the sessions in the kernel's sets, sorted by address. After a crash the sets are the authority.
	Sessions() ([]Session, error)
	// SaveUsage stores today's usage of devices in the kernel, in bytes, and deletes that of all others. The day ends after
	// left. A running session continues to count from its device's usage. The kernel keeps the usage until Close, also when
	// the daemon is dead, for as many devices as the hotspot's network has addresses.
	SaveUsage(used map[MAC]uint64, left time.Duration) error
	// SavedUsage returns the usage stored in the kernel, plus the bytes of running sessions since then. After a crash it is
	// the authority. For a session that ended in the meantime, up to [UsageLag] of the last bytes may be missing.
	SavedUsage() (map[MAC]uint64, error)
	// Grant appends a tranche to its donation's quota chain. An existing tranche stays unchanged.
	Grant(ctx context.Context, t Tranche) error
	// Revoke removes all tranches from a chain: nothing more is charged to it. It is idempotent.
	Revoke(ctx context.Context, chain string) error
	// ReadCounters reads the kernel's counters.
	ReadCounters() (Counters, error)
	// Broadcasts returns the bytes of broadcasts that each uplink received from its own network, by interface. A count starts
	// at an arbitrary value, and decreases if the kernel's counter was lost. It is a separate call because the caller compares
	// it with the uplink's counter, and needs it from before and after that counter is read.
	Broadcasts() (map[string]uint64, error)
	// Neighbor returns the hardware address that the kernel last saw using the address, on the hotspot.
	Neighbor(addr netip.Addr) (MAC, error)
	// Bind sets which device may use which address. The devices of sessions are bound too. The kernel binds a device itself
	// when it gets a lease; such a binding ends when two calls in a row do not list it. A listed address belongs to no other
	// device. An address that was listed in the last call, and is not in this one, belongs to none. Bind returns how many
	// entries of the kernel it changed.
	Bind(all []Binding) (changed int, err error)
	// UnknownSources returns the devices that, since the last call, used an address that is not bound to them, or whose binding
	// ended. It is a sample: the kernel records only a few per port.
	UnknownSources() ([]UnknownSource, error)
	// SetRate sets the total of the shaper on the device, in bit/s, between its Floor and its Total. The rate holds until the
	// plan has another shaper for the device or the rate is set again. SetRate changes one class, and empties no queue. It does
	// nothing for a device without a shaper whose total can change.
	SetRate(device string, rate uint64) error
	// ShaperLoad returns what the shaper on the device holds and has sent, zero without one.
	ShaperLoad(device string) (ShaperLoad, error)
	// Queue returns the kind of the residents' queueing discipline, "" before there is one.
	Queue() string
	// Close removes all our objects from the kernel: the box forwards nothing afterwards.
	Close(ctx context.Context) error
}

// Plan is the desired state of the kernel without the sessions. Plans are compared by their text (String), which therefore
// contains everything that matters.
type Plan struct {
	Hotspot  Interface
	Sysctls  []Sysctl
	Sets     []Set
	Rules    []Rule
	Routes   []Route
	Tables   []Table
	NFTables []NFTable
	Shapers  []Shaper
	Cap      string // the quota chain that forwarded packets are charged to, "" when nothing is forwarded
	Reserve  string // the quota chain that the walled garden is charged to when Cap has nothing left; "" for none
	// Egress is the uplink that packets of authorized residents leave by, "" for none. When it changes, their connections are
	// dropped: they were masqueraded for the other uplink.
	Egress string

	// Class is the rate of each session. It changes without ending sessions.
	Class Class
}

// Interface is the hotspot's network interface.
type Interface struct {
	Name    string
	Address netip.Prefix // the box's address with the network's length
	MAC     MAC          // of our bridge, which is made if it does not exist; zero: the interface is not ours
}

// Sysctl is a kernel parameter, by its path below /proc/sys ("net/ipv4/ip_forward").
type Sysctl struct {
	Path  string
	Value string
	// AtLeast means that Value is the minimum of a number. The parameter is skipped where it cannot be written, as in a
	// network namespace other than the machine's first.
	AtLeast bool
}

// Names of our objects in the kernel. They are constants because a technician searches for them.
const (
	SetPrefix = "pas-" // of each of our sets

	SetClients    = "pas-clients"    // bitmap:ip,mac: the authorized devices
	SetAccounting = "pas-accounting" // bitmap:ip: counts bytes, holds the HTB class
	SetUsage      = "pas-usage"      // bitmap:ip,mac: today's usage, a device in each slot; no rule matches it

	SetSlow = "pas-slow" // bitmap:ip: holds the HTB class of a session's slow lane

	// SetGarden is a hash:ip with the addresses of the walled garden. dnsmasq adds them when it resolves its names.
	SetGarden = "pas-garden"

	// Bridge is the hotspot's interface if the box provides the Wi-Fi network itself. Its access points are the bridge's
	// ports, so that addresses, names and sessions outlive an unplugged radio and a dead hostapd.
	Bridge = "pas-hotspot"

	Prefix       = "PAS-"        // of each of our chains
	ChainCharged = "PAS-CHARGED" // the target of a tranche's rule

	// ChainBroadcasts counts broadcasts that come from an uplink's own network. The comment of each of its rules is
	// CommentBroadcasts and the uplink's interface.
	ChainBroadcasts   = "PAS-BROADCASTS"
	CommentBroadcasts = "pas:broadcasts:"

	// MarkAuthorized is on a packet to or from an authorized resident, MarkGarden on one to or from the walled garden, under
	// MarkMask, until the packet has been charged. Both contain the bit MarkUncharged: a packet that still has it when it
	// leaves is dropped.
	MarkAuthorized uint32 = 0x10000000
	MarkGarden     uint32 = 0x30000000
	MarkUncharged  uint32 = 0x10000000
	MarkMask       uint32 = 0xf0000000

	// MarkUpstreamDNS is on packets and connections between the box's name servers and an uplink's. They are charged as residents'
	// packets are.
	MarkUpstreamDNS uint32 = 0x50000000

	// These marks, under MarkDNSMask, choose the name server that answers a resident's query. A query over a device's
	// limit gets MarkDNSCaptive.
	MarkDNSCaptive uint32 = 0x04000000
	MarkDNSLimited uint32 = 0x08000000
	MarkDNSOpen    uint32 = 0x0c000000
	MarkDNSMask    uint32 = 0x0c000000

	// MarkBound is on a packet whose sender may use its source address, and on ARP that the kernel may accept. MarkPlain is
	// on a packet with MarkBound that is neither DNS nor DHCP: no rule decides about it before its connection is tracked.
	MarkBound uint32 = 0x02000000
	MarkPlain uint32 = 0x01000000

	// NFTableName is the name of our nf_tables tables. Gate.Bind fills the sets SetBindings and SetSettled in the table of
	// family netdev, and SetSecondary in the table of family ip.
	NFTableName  = "passerelle"
	SetBindings  = "bindings" // hardware address and address: which device may use which address
	SetSettled   = "settled"  // hardware address: a settled device, which does not count among its port's newcomers
	SetSecondary = "extra"    // address: a device's additional address

	// MarkLowTTL is on a captive device's packet with a low TTL, as traceroute sends it.
	MarkLowTTL uint32 = 0x80000000

	// TableAuthorized routes marked packets to the chosen uplink. TableCaptive routes captive devices' packets into the box itself.
	// In TableReject the kernel rejects packets.
	TableReject     = 8009
	TableAuthorized = 8010
	TableCaptive    = 8011

	// Protocol marks our routes (rtm_protocol, include/uapi/linux/rtnetlink.h: 128 to 255 are free to use).
	Protocol = 180

	// HTBMajor is the major number of our root qdiscs.
	HTBMajor = 0x7a5
	// MinorTotal is the inner class with an uplink's total rate. In a /16, the widest network allowed, it is the offset of
	// the broadcast address: never a resident's.
	MinorTotal = 0xffff
	// MinorOwn is the leaf of the box's own packets. In a /16 it is the offset of the last host, which is not in the address
	// pool.
	MinorOwn = 0xfffe
	// MinorGarden is the leaf of the walled garden. In a /16 it is not in the address pool either.
	MinorGarden = 0xfffd
	// MinorDNS is the leaf of residents' DNS queries. In a /16 it is not in the address pool either.
	MinorDNS = 0xfffc
	// MinorSlow is the inner class of all slow lanes. In a /16 it is not in the address pool either.
	MinorSlow = 0xfffb
	// MinorFirst is the lowest minor number that is not a resident's.
	MinorFirst = MinorSlow
	// MinorSlowLanes plus a resident's minor is the leaf of the resident's slow lane. So the widest network with slow lanes is
	// a /18.
	MinorSlowLanes = 0x8000

	// CountLimit is the limit of a session's byte counter. A session starts at CountLimit minus the bytes it may use, and may
	// pass packets while its counter is below CountLimit.
	CountLimit = uint64(1) << 50
)

// Set is one of our ipsets.
type Set struct {
	Name     string
	Type     string       // "bitmap:ip" or "bitmap:ip,mac", which hold sessions and usage; "hash:ip", which dnsmasq fills
	Network  netip.Prefix // of a bitmap
	Counters bool
	Timeout  time.Duration // default timeout of an entry; 0: none
}

// Rule is a routing policy rule for packets that come in by an interface.
type Rule struct {
	Priority int
	In       string
	Mark     uint32 // 0: any
	Mask     uint32
	Table    int
}

// Route is a route in one of our routing tables.
type Route struct {
	Table   int
	Kind    string // "unicast", "local": into the box itself, or "prohibit": the box answers with an ICMP error
	To      netip.Prefix
	Device  string     // "" for prohibit
	Gateway netip.Addr // unicast; invalid for a point-to-point uplink
}

// Table is our part of an iptables table.
type Table struct {
	IPv6   bool
	Name   string // "mangle", "nat", "filter"
	Chains []Chain
	Jumps  []Jump
	Keep   []string // append-only chains: created if missing, never flushed or compared
}

// Chain is one of our chains with its rules, each in the syntax that iptables-restore expects after "-A CHAIN ".
type Chain struct {
	Name  string
	Rules []string
}

// NFTable is an nf_tables table that is entirely ours, named NFTableName. It is for what iptables cannot do: rules about
// frames, and state by hardware address. The elements of a set survive a change of the table's rules, unless the set's own
// definition changes.
type NFTable struct {
	Family string // as in nft(8): "arp", "netdev", "ip"
	Sets   []NFSet
	Chains []NFChain
}

// NFSet is a set in the syntax of nft(8). With EachPort there is one for each of the hotspot's ports: PortName and PortNumber
// in Name and Spec stand for the port.
type NFSet struct {
	Name, Spec string
	EachPort   bool
}

// NFChain is a chain in the syntax of nft(8). EachPort is as in NFSet.
type NFChain struct {
	Name     string
	Hook     string // "" for a chain that other chains jump to
	Rules    []string
	EachPort bool
	Bridged  bool // it exists only if the hotspot is a bridge, in addition to the chains of the bridge's ports
}

// Placeholders for a port of the hotspot in an NFTable's text. The hotspot's ports are those of its bridge, or the interface
// itself if it is not a bridge.
const (
	PortName   = "$port" // its interface
	PortNumber = "$n"    // its interface index
)

// Jump is a rule at the head of a built-in chain that jumps to one of our chains.
type Jump struct {
	From  string // built-in chain
	Match string // e.g. "-i wlan0"; may be empty
	To    string
}

// Shaper is an HTB tree on a device's egress.
type Shaper struct {
	Device    string
	Direction Direction
	Total     uint64 // bit/s of all classes together; 0: no total
	Floor     uint64 // bit/s: the least that Gate.SetRate may set the total to; 0: the total is fixed
	Own       uint64 // bit/s of it for the box's own packets; 0: they are not shaped
	Garden    uint64 // bit/s of it for the whole walled garden; 0: it has no class
	DNS       uint64 // bit/s of it for residents' DNS queries; 0: they have no class
}

// ShaperLoad is what a shaper's queues hold, and what has left them.
type ShaperLoad struct {
	Backlog uint64 // bytes that wait in all queues
	Sent    uint64 // bytes below the total, since its class was made; 0 without a total
}

// Direction is seen from the resident.
type Direction string

// The directions.
const (
	Download Direction = "download"
	Upload   Direction = "upload"
)

// Class is the rate of each resident.
type Class struct {
	Download uint64 // bit/s, 0: no limit
	Upload   uint64
	Slow     uint64 // bit/s each way of a session whose data is used up; 0: it passes nothing more
}

// MAC is a hardware address (EUI-48).
type MAC [6]byte

func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// Binding binds an address on the hotspot to a device. Another device's packets and ARP from the address are dropped at
// ingress, as switches do with IP source guard and dynamic ARP inspection.
type Binding struct {
	Addr      netip.Addr
	MAC       MAC
	Left      time.Duration // until the kernel ends it
	Settled   bool          // the device is settled: its lease does not count as a newcomer's
	Secondary bool          // an additional address of the device: the walled garden is closed to it
}

// UnknownSource is a device that used an address that is not bound to it.
type UnknownSource struct {
	Port int // the hotspot's port, as an interface index; 0: not known
	Addr netip.Addr
	MAC  MAC
}

// Claim is the devices that answered an ARP request for an address: none, one, or several in conflict.
type Claim struct {
	Addr netip.Addr
	MACs []MAC
}

// Session is a resident's authorization.
type Session struct {
	Addr  netip.Addr
	MAC   MAC
	Left  time.Duration // until the kernel ends it
	Data  uint64        // bytes it may still use, both directions together; Unlimited for no limit
	Spent bool          // set by Sessions: its data is used up. With a Class.Slow the session continues at that rate
	// Used is the device's usage of today: until now for Authorize; Sessions adds the bytes counted since. Where nothing is
	// limited, only received bytes count. If the day ended while no daemon ran, it counts from the next start.
	Used uint64
}

// UsageLag is how many bytes the usage stored in the kernel may lag behind a running session's counter.
const UsageLag = 1 << 20

// Unlimited is the Data of a session without a limit.
const Unlimited = CountLimit

// Tranche is a granted unit of a donation's cap: the kernel may spend it (RFC 8506, Granted-Service-Unit).
type Tranche struct {
	Chain string // the donation's quota chain
	ID    uint64 // unique within the chain
	Bytes uint64
}

// Counters is the kernel's counters.
type Counters struct {
	Sessions     []Session
	Tranches     []TrancheUsage
	ConntrackMax uint64 // the limit of tracked connections (nf_conntrack_max); 0: not known
}

// TrancheUsage is a tranche in the kernel and how many bytes were charged to it.
type TrancheUsage struct {
	Tranche
	Used      uint64 // bytes
	Exhausted bool   // it refused a packet that was larger than what was left; from then on it refuses all packets
}

// ChainOf returns the name of a donation's quota chain. It depends on the donation's name only.
func ChainOf(donation string) string {
	// FNV-1a, 32 bits (RFC 9923): the hash needs to spread names, not to hide them.
	h := uint32(2166136261)
	for i := range len(donation) {
		h = (h ^ uint32(donation[i])) * 16777619
	}
	return fmt.Sprintf("%sCAP-%08x", Prefix, h)
}

// String returns the plan as shell-like text, one object a line.
func (p Plan) String() string {
	var b strings.Builder
	line := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	if p.Hotspot.MAC != (MAC{}) {
		line("ip link add %s address %s type bridge", p.Hotspot.Name, p.Hotspot.MAC)
	}
	line("ip link set %s up", p.Hotspot.Name)
	line("ip address add %s dev %s", p.Hotspot.Address, p.Hotspot.Name)
	for _, s := range p.Sysctls {
		line("%s", s)
	}
	for _, s := range p.Sets {
		line("%s", s)
	}
	for _, r := range p.Rules {
		line("%s", r)
	}
	for _, r := range p.Routes {
		line("%s", r)
	}
	for _, t := range p.Tables {
		b.WriteString(t.String())
	}
	for _, f := range p.NFTables {
		b.WriteString(f.String())
	}
	for _, s := range p.Shapers {
		total := rate(s.Total)
		if s.Floor != 0 {
			total = fmt.Sprintf("%s to %s", rate(s.Floor), total)
		}
		slow := ""
		if p.Class.Slow != 0 {
			slow = ", slow " + rate(p.Class.Slow)
		}
		line("shape %s of %s: total %s, own %s, essential %s, names %s, each %s%s", s.Direction, s.Device,
			total, rate(s.Own), rate(s.Garden), rate(s.DNS), rate(s.Each(p.Class)), slow)
	}
	if p.Egress != "" {
		line("sessions leave by %s", p.Egress)
	}
	if p.Cap != "" {
		line("pay from %s", p.Cap)
	}
	if p.Reserve != "" {
		line("pay for essential services from %s", p.Reserve)
	}
	return b.String()
}

func (s Sysctl) String() string {
	if s.AtLeast {
		return "sysctl " + s.Path + ">=" + s.Value
	}
	return "sysctl " + s.Path + "=" + s.Value
}

// Each returns the ceiling of one resident in the shaper's direction, in bit/s.
func (s Shaper) Each(c Class) uint64 {
	if s.Direction == Download {
		return c.Download
	}
	return c.Upload
}

func rate(bps uint64) string {
	if bps == 0 {
		return "unlimited"
	}
	return fmt.Sprintf("%dbit", bps)
}

func (s Set) String() string {
	if !s.Bitmap() {
		return fmt.Sprintf("ipset create %s %s timeout %d", s.Name, s.Type, s.Timeout/time.Second)
	}
	o := ""
	if s.Counters {
		o = " counters"
	}
	return fmt.Sprintf("ipset create %s %s range %s timeout 0%s skbinfo", s.Name, s.Type, s.Network.Masked(), o)
}

// Bitmap tells whether the set is one of those that hold sessions and usage.
func (s Set) Bitmap() bool { return strings.HasPrefix(s.Type, "bitmap:") }

func (r Rule) String() string {
	m := ""
	if r.Mask != 0 {
		m = fmt.Sprintf(" fwmark %#x/%#x", r.Mark, r.Mask)
	}
	return fmt.Sprintf("ip rule add pref %d iif %s%s lookup %d", r.Priority, r.In, m, r.Table)
}

func (r Route) String() string {
	via := ""
	if r.Gateway.IsValid() {
		via = " via " + r.Gateway.String()
	}
	if r.Device != "" {
		via += " dev " + r.Device
	}
	return fmt.Sprintf("ip route add %s %s%s table %d", r.Kind, r.To, via, r.Table)
}

func (f NFTable) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "nft add table %s %s\n", f.Family, NFTableName)
	for _, s := range f.Sets {
		fmt.Fprintf(&b, "nft add set %s %s %s { %s }\n", f.Family, NFTableName, s.Name, s.Spec)
	}
	for _, c := range f.Chains {
		hook := ""
		if c.Hook != "" {
			hook = " { " + c.Hook + " }"
		}
		fmt.Fprintf(&b, "nft add chain %s %s %s%s\n", f.Family, NFTableName, c.Name, hook)
		for _, r := range c.Rules {
			fmt.Fprintf(&b, "nft add rule %s %s %s %s\n", f.Family, NFTableName, c.Name, r)
		}
	}
	return b.String()
}

func (t Table) String() string {
	var b strings.Builder
	cmd := "iptables"
	if t.IPv6 {
		cmd = "ip6tables"
	}
	for _, j := range t.Jumps {
		fmt.Fprintf(&b, "%s -t %s -I %s%s -j %s\n", cmd, t.Name, j.From, strings.TrimRight(" "+j.Match, " "), j.To)
	}
	for _, c := range t.Chains {
		for _, r := range c.Rules {
			fmt.Fprintf(&b, "%s -t %s -A %s %s\n", cmd, t.Name, c.Name, r)
		}
	}
	for _, k := range slices.Sorted(slices.Values(t.Keep)) {
		fmt.Fprintf(&b, "%s -t %s -N %s\n", cmd, t.Name, k)
	}
	return b.String()
}
