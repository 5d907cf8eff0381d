// Package netctl is the vocabulary between those who decide and those who drive the kernel: the Plan, which is the whole
// desired box, and the sessions and tranches that live beside it. It owns words, not deeds: its sub-packages compile
// plans (plan), carry them out (gate) and watch lines (uplink). It imports the standard library only.
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
	// Apply drives the kernel to the plan and returns what it changed, in shell-like words, one entry a change. An
	// unchanged plan on an unchanged kernel changes nothing, runs no program and takes well under 2 ms.
	Apply(ctx context.Context, p Plan) (changes []string, err error)
	// Admit lets a session through, or gives a running one new limits. Its classes exist before its first packet can pass.
	Admit(s Session) error
	// End closes a session; its connections are reset by the rules from then on. Ending none is no error.
	End(addr netip.Addr) error
	// Sessions returns the sessions in the kernel's sets, which after a crash are the authority, by address.
	Sessions() ([]Session, error)
	// Remember has the kernel remember what devices used today, in bytes, until the day is over in so long, and forget
	// all others. A running session counts on from there. It is kept until Close, also when the daemon is dead. There is
	// room for as many devices as the hotspot's network has addresses.
	Remember(used map[MAC]uint64, left time.Duration) error
	// Remembered returns what the kernel remembers, with what running sessions used since. After a crash that is the
	// authority, but for a session that ended since: its last bytes, at most [Forgotten], may be missing.
	Remembered() (map[MAC]uint64, error)
	// Grant appends a tranche to its donation's quota chain. A tranche that is there already is left as it is.
	Grant(ctx context.Context, t Tranche) error
	// Revoke takes all tranches out of a chain: nothing more is paid from it. That there are none is no error.
	Revoke(ctx context.Context, chain string) error
	// Read samples the kernel's counters.
	Read() (Sample, error)
	// Broadcasts returns how many bytes of broadcasts came in by each line from its own network, by the line's interface and
	// since some moment. A count goes back when it was lost. It is a call of its own because who holds it against the line's
	// counter needs it from before and after that.
	Broadcasts() (map[string]uint64, error)
	// Neighbor returns the hardware address that the kernel last saw using the address, on the hotspot.
	Neighbor(addr netip.Addr) (MAC, error)
	// Bind makes these the devices that may speak from their addresses, besides sessions', and besides those that the kernel
	// bound itself when they got a lease, until they are not listed for the second time. An address that is listed is nobody
	// else's; one that was listed in the last call and no longer is, nobody's. It returns how many entries of the kernel it
	// changed.
	Bind(all []Binding) (changed int, err error)
	// Strangers returns those that spoke from an address that is not bound to them, or was only until now, since it was last
	// called. It is a sample: there is room for few of each port.
	Strangers() ([]Stranger, error)
	// Close takes everything of ours out of the kernel: the box forwards nothing afterwards.
	Close(ctx context.Context) error
}

// Plan is the whole desired kernel, but for the sessions. Plans are compared by their text (String), so everything that
// matters is in it.
type Plan struct {
	Hotspot Interface
	Sysctls []Sysctl
	Sets    []Set
	Rules   []Rule
	Routes  []Route
	Tables  []Table
	Filters []Filter
	Shapers []Shaper
	Cap     string // the quota chain that forwarded packets pay from, "" when nothing is forwarded
	Reserve string // the quota chain that pays for essential services when Cap has nothing left; "" for none
	// Way names the line that admitted residents' packets leave by, "" for none. When it changes, their connections are
	// ended: they were masqueraded for another.
	Way string

	// Class is what each session gets; it changes without ending sessions.
	Class Class
}

// Interface is the hotspot's network interface.
type Interface struct {
	Name    string
	Address netip.Prefix // the box's address with the network's length
	MAC     MAC          // of a bridge of ours, which is made if it is not there; zero: it is somebody else's interface
}

// Sysctl is a kernel parameter below /proc/sys, in dotted-free path form ("net/ipv4/ip_forward").
type Sysctl struct {
	Path  string
	Value string
	// AtLeast says that Value is a number, that more is good too, and that the box does without where it may not be
	// changed, as in a network namespace other than the machine's first.
	AtLeast bool
}

// Names of the kernel's objects of ours. They are constants because whoever repairs a box looks for them.
const (
	SetWho   = "pas-who"   // bitmap:ip,mac: who may send
	SetClass = "pas-class" // bitmap:ip: counts bytes, holds the HTB class
	SetDay   = "pas-day"   // bitmap:ip,mac: remembers what devices used today, one in each place; no rule asks it

	// SetEssential is a hash:ip with the addresses of essential services, which dnsmasq puts there when it is asked for
	// them.
	SetEssential = "pas-essential"

	// Bridge is the hotspot where the box makes the Wi-Fi network itself: its access points are the bridge's ports, so that
	// addresses, names and sessions outlive a radio that is unplugged and a hostapd that died.
	Bridge = "pas-hotspot"

	Prefix    = "PAS-"     // every chain of ours begins with it
	ChainPaid = "PAS-PAID" // where a tranche's rule leads

	// ChainBroadcasts counts broadcasts that come from a line's own network. Each of its rules says by a comment, this and
	// an interface, whose they are.
	ChainBroadcasts   = "PAS-BROADCASTS"
	CommentBroadcasts = "pas:broadcasts:"

	// MarkAdmitted is on a packet to or from an admitted resident, MarkEssential on one to or from an essential service,
	// under MarkMask, until it has been paid for. What still has MarkUnpaid, which is in both, when it leaves is dropped.
	MarkAdmitted  uint32 = 0x10000000
	MarkEssential uint32 = 0x30000000
	MarkUnpaid    uint32 = 0x10000000
	MarkMask      uint32 = 0xf0000000

	// MarkNames is on what the box's name servers exchange with a line's: it pays as a resident's packets do. Their
	// connections have it too.
	MarkNames uint32 = 0x50000000

	// A resident's question for a name is marked with who answers it, under MarkResolverMask. MarkCaptive comes first from the bound
	// on a device's questions.
	MarkCaptive      uint32 = 0x04000000
	MarkGuest        uint32 = 0x08000000
	MarkTruthful     uint32 = 0x0c000000
	MarkResolverMask uint32 = 0x0c000000

	// MarkBound is on a packet whose sender may use its source address, and on ARP that the kernel may take. MarkPlain is
	// beside it on what is neither a question for a name nor about a lease: nothing decides about that before its connection
	// is tracked.
	MarkBound uint32 = 0x02000000
	MarkPlain uint32 = 0x01000000

	// FilterName is the name of our tables of nf_tables; SetBindings and SetSettled are sets in the one of family netdev that
	// Gate.Bind fills, SetExtra in the one of family ip.
	FilterName  = "passerelle"
	SetBindings = "bindings" // hardware address and address: who may speak from where
	SetSettled  = "settled"  // hardware address: stays, so that its lease counts no more among its port's newcomers
	SetExtra    = "extra"    // address: a second one of a device that has another

	// MarkProbe is on a packet that would not come far anyway, of somebody who is held.
	MarkProbe uint32 = 0x80000000

	// TableOnline routes what is marked to the chosen uplink, TableHeld everybody else into the box itself. TableRefused has
	// the kernel answer that the way is closed.
	TableRefused = 8009
	TableOnline  = 8010
	TableHeld    = 8011

	// Protocol marks our routes (rtm_protocol, include/uapi/linux/rtnetlink.h: 128 to 255 are free to use).
	Protocol = 180

	// HTBMajor is the handle of our root qdiscs.
	HTBMajor = 0x7a5
	// MinorTotal is the inner class that holds a line's total. In a /16, the widest network allowed, it is the offset of
	// the broadcast address: never a resident's.
	MinorTotal = 0xffff
	// MinorOwn is the leaf of the box's own packets. In a /16 it is the last host's offset, which is kept out of the
	// address pool.
	MinorOwn = 0xfffe
	// MinorEssential is the leaf of essential services, likewise.
	MinorEssential = 0xfffd
	// MinorNames is the leaf of the questions for names that residents ask, likewise.
	MinorNames = 0xfffc
	// MinorFirst is the first that is not a resident's.
	MinorFirst = MinorNames

	// CountLimit is the constant that a session's byte counter must stay below; a session starts at CountLimit minus
	// the bytes it may use.
	CountLimit = uint64(1) << 50
)

// Set is an ipset of ours.
type Set struct {
	Name     string
	Type     string       // "bitmap:ip" or "bitmap:ip,mac", which hold the sessions and the day; "hash:ip", which others fill
	Network  netip.Prefix // of a bitmap
	Counters bool
	Timeout  time.Duration // how long an entry lasts that comes without one; 0: for ever
}

// Rule is a routing policy rule for packets that come in by an interface.
type Rule struct {
	Priority int
	In       string
	Mark     uint32 // 0: any
	Mask     uint32
	Table    int
}

// Route is a route in a table of ours.
type Route struct {
	Table   int
	Kind    string // "unicast", "local": into the box itself, or "prohibit": an ICMP error of the box's answers
	To      netip.Prefix
	Device  string     // "" for prohibit
	Gateway netip.Addr // unicast; invalid for a point-to-point line
}

// Table is the part of an iptables table that is ours.
type Table struct {
	IPv6   bool
	Name   string // "mangle", "nat", "filter"
	Chains []Chain
	Jumps  []Jump
	Keep   []string // append-only chains: created when missing, never flushed or compared
}

// Chain is a chain of ours with its rules, each as iptables-restore reads it after "-A CHAIN ".
type Chain struct {
	Name  string
	Rules []string
}

// Filter is a table of nf_tables that is ours as a whole, named FilterName: for what iptables cannot say, because it is about
// frames or because its state is kept by hardware address. What its sets hold outlives a change of its rules, as long as no
// set changes its shape.
type Filter struct {
	Family string // as in nft(8): "arp", "netdev", "ip"
	Sets   []FilterSet
	Chains []FilterChain
}

// FilterSet is a set in the words of nft(8). Of one for each port the name and text have PortName and PortNumber in the
// port's place.
type FilterSet struct {
	Name, Spec string
	EachPort   bool
}

// FilterChain is a chain in the words of nft(8), likewise.
type FilterChain struct {
	Name     string
	Hook     string // "" for a chain that others lead to
	Rules    []string
	EachPort bool
	Bridged  bool // it is there only where the hotspot is a bridge, beside those for its ports
}

// What stands for a port of the hotspot in a Filter's text: the ports of its bridge, or the interface itself if it is none.
const (
	PortName   = "$port" // its interface
	PortNumber = "$n"    // the kernel's number of it
)

// Jump is a rule at the head of a built-in chain that leads to a chain of ours.
type Jump struct {
	From  string // built-in chain
	Match string // e.g. "-i wlan0"; may be empty
	To    string
}

// Shaper is an HTB tree on a device's egress.
type Shaper struct {
	Device    string
	Direction Direction
	Total     uint64 // bit/s of everything in classes together; 0: no total
	Own       uint64 // bit/s that the box's own packets may use of it; 0: they pass unshaped
	Essential uint64 // bit/s that essential services may use of it, all together; 0: they have no class
	Names     uint64 // bit/s that residents' questions for names may use of it; 0: they have no class
}

// Child is a program that shall run beside the kernel's part of the plan.
type Child struct {
	Name  string
	Argv  []string
	Files []File
}

// File is a file that a child reads. Nobody but its owner and root may.
type File struct {
	Path   string
	Text   string
	Owner  string // the user whose the file and its folder are, which others' files are not in; "" for root
	Reload bool   // the child reads it again on SIGHUP
	Later  bool   // a change waits until the child starts again for another reason; of any other file it restarts it
	Keep   bool   // the child writes it: it is made empty if it is missing, and outlives the child
}

// Direction is seen from the resident.
type Direction string

// The directions.
const (
	Download Direction = "download"
	Upload   Direction = "upload"
)

// Class is what each resident gets.
type Class struct {
	Download uint64 // bit/s, 0: no limit
	Upload   uint64
}

// MAC is a hardware address (EUI-48).
type MAC [6]byte

func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// Binding says that an address on the hotspot is a device's. Packets and ARP from the address by another device are
// dropped where they come in (what switches call IP source guard and dynamic ARP inspection).
type Binding struct {
	Addr    netip.Addr
	MAC     MAC
	Left    time.Duration // until the kernel ends it
	Settled bool          // the device stays: its lease is no newcomer's
	Extra   bool          // the device has another address: from this one it has no essential services
}

// Stranger is a device that spoke from an address that is not bound to it.
type Stranger struct {
	Port int // of the hotspot, by the kernel's number; 0: not known
	Addr netip.Addr
	MAC  MAC
}

// Claim says which devices said that an address is theirs, when all were asked: none, one, or several that disagree.
type Claim struct {
	Addr netip.Addr
	MACs []MAC
}

// Session is a resident's admission.
type Session struct {
	Addr  netip.Addr
	MAC   MAC
	Left  time.Duration // until the kernel ends it
	Data  uint64        // bytes it may still use, both directions; Unlimited for no bound
	Spent bool          // set by Sessions: its data is used up
	// Used is how many bytes the device has used today: until now for Admit, and set by Sessions, which adds what was
	// counted since; where nothing is limited, that is what it received. Where the day was over while no daemon lived to
	// say so, it is what was used since one lives again.
	Used uint64
}

// Forgotten is how many bytes of a running session the kernel's memory of the day may lag behind its counter.
const Forgotten = 1 << 20

// Unlimited is the Data of a session without a bound.
const Unlimited = CountLimit

// Tranche is a part of a donation's cap that the kernel may spend.
type Tranche struct {
	Chain string // the donation's quota chain
	ID    uint64 // unique within the chain
	Bytes uint64
}

// Sample is what the kernel counted.
type Sample struct {
	Sessions []Session
	Tranches []Spent
	Tracked  uint64 // how many connections the kernel has room for; 0: not known
}

// Spent is a tranche in the kernel and how many bytes were paid from it.
type Spent struct {
	Tranche
	Used uint64 // bytes
	Over bool   // it has refused a packet for which too little was left, and pays for nothing more
}

// ChainOf returns the name of a donation's quota chain: stable over restarts, distinct by donation's name.
func ChainOf(donation string) string {
	// FNV-1a, 32 bits (RFC 9923): a name needs spreading, not secrecy.
	h := uint32(2166136261)
	for i := range len(donation) {
		h = (h ^ uint32(donation[i])) * 16777619
	}
	return fmt.Sprintf("%sCAP-%08x", Prefix, h)
}

// String renders the plan as shell-like text, one object a line.
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
	for _, f := range p.Filters {
		b.WriteString(f.String())
	}
	for _, s := range p.Shapers {
		line("shape %s of %s: total %s, own %s, essential %s, names %s, each %s", s.Direction, s.Device,
			rate(s.Total), rate(s.Own), rate(s.Essential), rate(s.Names), rate(s.Each(p.Class)))
	}
	if p.Way != "" {
		line("sessions leave by %s", p.Way)
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

// Bitmap tells whether the set is one of those that hold the sessions and the day.
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

func (f Filter) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "nft add table %s %s\n", f.Family, FilterName)
	for _, s := range f.Sets {
		fmt.Fprintf(&b, "nft add set %s %s %s { %s }\n", f.Family, FilterName, s.Name, s.Spec)
	}
	for _, c := range f.Chains {
		hook := ""
		if c.Hook != "" {
			hook = " { " + c.Hook + " }"
		}
		fmt.Fprintf(&b, "nft add chain %s %s %s%s\n", f.Family, FilterName, c.Name, hook)
		for _, r := range c.Rules {
			fmt.Fprintf(&b, "nft add rule %s %s %s %s\n", f.Family, FilterName, c.Name, r)
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
