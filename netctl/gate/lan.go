package gate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"passerelle/netctl"
)

// lanCounter is what counts one line's broadcasts in one family's table.
type lanCounter struct {
	family byte
	line   string // its interface
}

// noticeBroadcasts remembers what was counted. A rule that is gone does not change it: it comes back with that.
func (g *Gate) noticeBroadcasts(rules []found) {
	now := map[lanCounter]uint64{}
	for _, f := range rules {
		if f.chain != netctl.ChainBroadcasts {
			continue
		}
		if line, ok := strings.CutPrefix(commentPrefix+f.comment, netctl.CommentBroadcasts); ok {
			now[lanCounter{f.family, line}] += f.bytes
		}
	}
	maps.Copy(g.broadcasts, now)
}

// forgetBroadcasts forgets lines that are not counted any more: another interface may have the name next time.
func (g *Gate) forgetBroadcasts(tables []netctl.Table) {
	maps.DeleteFunc(g.broadcasts, func(c lanCounter, _ uint64) bool {
		return !slices.ContainsFunc(tables, func(t netctl.Table) bool {
			return familyOf(t) == c.family && slices.ContainsFunc(t.Chains, func(x netctl.Chain) bool {
				return slices.ContainsFunc(x.Rules, func(r string) bool { line, ok := countsBroadcasts(r); return ok && line == c.line })
			})
		})
	})
}

// countsBroadcasts reads a rule as iptables-restore does, and returns the line whose broadcasts it counts.
func countsBroadcasts(rule string) (line string, ok bool) {
	_, after, ok := strings.Cut(rule, " --comment "+netctl.CommentBroadcasts)
	line, _, _ = strings.Cut(after, " ")
	return line, ok
}

// counters returns a function that says what stands before each of a table's rules, in their order, so that it goes on
// counting from where it was.
func (g *Gate) counters(t netctl.Table) func(rule string) string {
	left := maps.Clone(g.broadcasts)
	return func(rule string) string {
		line, ok := countsBroadcasts(rule)
		if !ok {
			return ""
		}
		c := lanCounter{familyOf(t), line}
		bytes := left[c]
		delete(left, c) // a line with several networks has several rules
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
		g.noticeBroadcasts(rules)
	}
	all := map[string]uint64{}
	for c, bytes := range g.broadcasts {
		all[c.line] += bytes
	}
	return all, nil
}
