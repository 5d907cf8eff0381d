package gate_test

import (
	"context"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/plan/plantest"
	"passerelle/netctl"
	"passerelle/netctl/gate"
	"passerelle/netctl/gate/gatetest"
	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/labtest"
)

func TestConforms(t *testing.T) {
	t.Parallel()
	labtest.Root(t, "iptables", "ip6tables", "ipset", "tc", "ip", "nft")
	gatetest.Conformance(t, plantest.Plans(), func(t *testing.T) gatetest.Kernel {
		return &realKernel{lab: newLab(t, netlab.Options{Residents: 2, Uplinks: 2}), t: t}
	})
}

// realKernel is the machine's kernel in a lab.
type realKernel struct {
	*lab
	t    *testing.T
	last *gate.Gate
}

func (k *realKernel) Gate(t *testing.T) netctl.Gate {
	t.Helper()
	g, err := gatetest.Inside(k.Box, func() (_ netctl.Gate, err error) {
		k.last, err = gate.New(t.Context(), time.Now)
		return k.last, err
	})
	must(t, err)
	return watched{g, k.last}
}

// watched is a gate that reads queues and classes at every Apply.
type watched struct {
	netctl.Gate
	inner *gate.Gate
}

func (w watched) Apply(ctx context.Context, p netctl.Plan) ([]string, error) {
	w.inner.MarkDirty()
	return w.Gate.Apply(ctx, p)
}

func (k *realKernel) Wait(d time.Duration) { time.Sleep(d) }

// stateScript prints everything that a gate may change.
const stateScript = `
ip -o -4 address show dev wlan0
ip -o link show dev wlan0 up
ip rule
ip route show table 8009 2>/dev/null
ip route show table 8010 2>/dev/null
ip route show table 8011 2>/dev/null
cd /proc/sys/net/ipv4
grep . ip_forward ip_early_demux conf/*/rp_filter conf/*/accept_local conf/*/accept_redirects conf/*/arp_ignore conf/*/arp_announce conf/*/proxy_arp
iptables-save
ip6tables-save | sed 's/^/6 /'
ipset save
nft -st list table netdev passerelle 2>/dev/null
nft -st list table ip passerelle 2>/dev/null
tc qdisc show
for i in wlan0 eth0 eth1; do tc class show dev $i; done
`

// changing matches what changes in the kernel's output with time and traffic, and numbers that the kernel assigns.
var changing = []struct {
	*regexp.Regexp
	by string
}{
	{regexp.MustCompile(`(?m)^(6 )?[#*:].*\n|^(6 )?COMMIT\n`), ""}, // chains show in their rules; the tables are iptables' own
	{regexp.MustCompile(`--quota \d+`), "--quota N"},
	{regexp.MustCompile(`pas:tranche:(\d+:\d+):\d+`), "pas:tranche:$1"},
	{regexp.MustCompile(` timeout [1-9]\d*| packets \d+| bytes \d+`), ""},
	{regexp.MustCompile(`(initval|bucketsize) \S+ ?`), ""},
	{regexp.MustCompile(` leaf \w+:`), " leaf"},
	{regexp.MustCompile(`qdisc (bfifo|fq_codel) \w+:`), "qdisc $1"},
	{regexp.MustCompile(` direct_packets_stat \d+`), ""},
}

func (k *realKernel) String() string {
	out, err := k.Box.Run(k.t.Context(), "sh", "-c", stateScript)
	if err != nil {
		k.t.Fatal(err)
	}
	for _, c := range changing {
		out = c.ReplaceAllString(out, c.by)
	}
	lines := strings.Split(out, "\n")
	slices.SortStableFunc(lines, func(a, b string) int { return strings.Compare(sortKey(a), sortKey(b)) })
	return strings.Join(lines, "\n")
}

func (k *realKernel) Pass(t *testing.T, resident int, bytes uint64) {
	t.Helper()
	const packet = 1000
	conn := ok(k.Residents[resident].Dial(t.Context(), "udp", netip.AddrPortFrom(netlab.WebAddr, 9).String()))(t)
	defer conn.Close()
	for range (bytes + packet - 1) / packet {
		conn.Write(make([]byte, packet-28)) // with its headers; an ICMP error for an earlier one does not matter
	}
}

func (k *realKernel) Broadcast(t *testing.T, lender int, bytes uint64, all bool) {
	t.Helper()
	const packet = 1000
	l := k.Lenders[lender]
	to := l.Box.Addr()
	if all {
		to = netip.AddrFrom4([4]byte{255, 255, 255, 255})
	}
	conn := ok(l.NAS.Dial(t.Context(), "udp", netip.AddrPortFrom(to, 9).String()))(t)
	defer conn.Close()
	for range (bytes + packet - 1) / packet {
		conn.Write(make([]byte, packet-28)) // with its headers; an ICMP error for an earlier one does not matter
	}
}

// flushAll removes every table. Their rules use the sets, which the kernel frees a little later.
const flushAll = "nft flush ruleset; "

func (k *realKernel) Break(t *testing.T, what gatetest.Object) {
	t.Helper()
	script, known := map[gatetest.Object]string{
		gatetest.Address:     "ip address del 10.80.0.1/22 dev wlan0",
		gatetest.Link:        "ip link set wlan0 down",
		gatetest.Sets:        flushAll + "for s in pas-clients pas-accounting pas-usage; do until ipset destroy $s; do sleep 0.01; done; done",
		gatetest.Entries:     "ipset flush pas-clients && ipset flush pas-accounting && ipset flush pas-usage",
		gatetest.ClientEntry: "ipset del pas-clients " + address(0).String(),
		gatetest.Rules:       "ip rule del pref 8009 && ip rule del pref 8010 && ip rule del pref 8011",
		gatetest.Routes:      "ip route flush table 8009 && ip route flush table 8010 && ip route flush table 8011",
		gatetest.Mangle:      "iptables -t mangle -F",
		gatetest.NAT:         "iptables -t nat -F",
		gatetest.Filter:      "iptables -F",
		gatetest.AllTables:   flushAll,
		gatetest.Queue:       "tc qdisc del dev wlan0 root && tc qdisc del dev eth0 root",
		gatetest.Class:       "tc class del dev wlan0 classid 7a5:101 && tc class del dev eth0 classid 7a5:102",
		gatetest.Parameters:  "echo 0 >/proc/sys/net/ipv4/ip_forward && echo 0 >/proc/sys/net/ipv4/conf/wlan0/accept_local",
	}[what]
	if !known {
		t.Fatalf("how to break the %s is not known", what)
	}
	ok(k.Box.Run(t.Context(), "sh", "-c", script))(t)
}

// sortKey orders lines, but keeps the order of rules within a chain.
func sortKey(line string) string {
	if rule := strings.TrimPrefix(line, "6 "); strings.HasPrefix(rule, "-A ") {
		return line[:len(line)-len(rule)] + strings.Join(strings.Fields(rule)[:2], " ")
	}
	return line
}
