package gate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"passerelle/netctl"
)

// broadcastCounter identifies the counter of an uplink's broadcasts in a family's table.
type broadcastCounter struct {
	family byte
	ifname string // the uplink
}

// recordBroadcasts records the counters. If a rule is missing its counter stays, and is restored with the rule.
func (g *Gate) recordBroadcasts(rules []kernelRule) {
	now := map[broadcastCounter]uint64{}
	for _, f := range rules {
		if f.chain != netctl.ChainBroadcasts {
			continue
		}
		if ifname, ok := strings.CutPrefix(commentPrefix+f.comment, netctl.CommentBroadcasts); ok {
			now[broadcastCounter{f.family, ifname}] += f.bytes
		}
	}
	maps.Copy(g.broadcasts, now)
}

// forgetBroadcasts deletes the counters of uplinks that are no longer counted: another interface may get the name.
func (g *Gate) forgetBroadcasts(tables []netctl.Table) {
	maps.DeleteFunc(g.broadcasts, func(c broadcastCounter, _ uint64) bool {
		return !slices.ContainsFunc(tables, func(t netctl.Table) bool {
			return familyOf(t) == c.family && slices.ContainsFunc(t.Chains, func(x netctl.Chain) bool {
				return slices.ContainsFunc(x.Rules, func(r string) bool { name, ok := countsBroadcasts(r); return ok && name == c.ifname })
			})
		})
	})
}

// countsBroadcasts parses a rule in the syntax of iptables-restore, and returns the uplink whose broadcasts it counts.
func countsBroadcasts(rule string) (ifname string, ok bool) {
	_, after, ok := strings.Cut(rule, " --comment "+netctl.CommentBroadcasts)
	ifname, _, _ = strings.Cut(after, " ")
	return ifname, ok
}

// counters returns a function that, called for each of a table's rules in order, returns the counters to write before the
// rule, so that it continues to count from its last value.
func (g *Gate) counters(t netctl.Table) func(rule string) string {
	left := maps.Clone(g.broadcasts)
	return func(rule string) string {
		ifname, ok := countsBroadcasts(rule)
		if !ok {
			return ""
		}
		c := broadcastCounter{familyOf(t), ifname}
		bytes := left[c]
		delete(left, c) // an uplink with several networks has several rules
		return fmt.Sprintf("[0:%d] ", bytes)
	}
}

// Broadcasts implements netctl.Gate.
func (g *Gate) Broadcasts() (map[string]uint64, error) {
	families := []byte{unix.AF_INET}
	if haveIPv6() {
		families = append(families, unix.AF_INET6)
	}
	for _, family := range families {
		rules, err := g.rules(family, "mangle", netctl.ChainBroadcasts)
		if err != nil {
			return nil, err
		}
		g.recordBroadcasts(rules)
	}
	all := map[string]uint64{}
	for c, bytes := range g.broadcasts {
		all[c.ifname] += bytes
	}
	return all, nil
}
