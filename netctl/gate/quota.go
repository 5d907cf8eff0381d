package gate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"passerelle/netctl"
)

// notice remembers the tranches in the kernel and what was paid from them. A rule that was put back after it got lost
// counts from 0 again, for what was left of its tranche: what it counts comes on top of what was known then.
func (g *Gate) notice(rules []found) {
	for _, f := range rules {
		s, ok := f.tranche()
		if !ok {
			continue
		}
		n := slices.IndexFunc(g.tranches, func(t held) bool { return t.Chain == s.Chain && t.ID == s.ID })
		if n < 0 {
			g.tranches = append(g.tranches, held{Spent: s})
			continue
		}
		t := &g.tranches[n]
		t.Used = min(t.Bytes, t.before+s.Used)
	}
}

// held is a tranche as the gate knows it.
type held struct {
	netctl.Spent
	before uint64 // paid when its rule was put back
}

// lost returns the tranches that are no longer in the kernel.
func (g *Gate) lost(rules []found) []held {
	there := map[netctl.Tranche]bool{}
	for _, f := range rules {
		if s, ok := f.tranche(); ok {
			there[s.Tranche] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(g.tranches), func(t held) bool { return there[t.Tranche] })
}

// putBack notes that the rules of lost tranches are in the kernel again, for what was left of them.
func (g *Gate) putBack(lost []held) {
	for _, l := range lost {
		for i := range g.tranches {
			if g.tranches[i].Tranche == l.Tranche {
				g.tranches[i].before = l.Used
			}
		}
	}
}

// Grant implements netctl.Gate. Tranches before it that are used up leave the chain in the same transaction: a spent
// rule still costs every packet a look.
func (g *Gate) Grant(ctx context.Context, t netctl.Tranche) error {
	rules, err := g.rules(unix.AF_INET, "filter")
	if err != nil {
		return err
	}
	g.notice(rules)
	var b strings.Builder
	b.WriteString("*filter\n")
	var chain []found
	for _, f := range rules {
		if f.chain != t.Chain {
			continue
		}
		chain = append(chain, f)
		if s, ok := f.tranche(); ok && s.Tranche == t {
			return nil
		}
	}
	if len(chain) == 0 {
		fmt.Fprintf(&b, ":%s - [0:0]\n", t.Chain)
	}
	var spent []netctl.Tranche
	for i := len(chain) - 2; i >= 0; i-- { // the last number first
		s, ok := chain[i].tranche()
		next, ok2 := chain[i+1].tranche()
		// The next one pays only once this one has refused a packet.
		if ok && ok2 && next.Used > 0 && s.Bytes != netctl.Unlimited {
			fmt.Fprintf(&b, "-D %s %d\n", t.Chain, chain[i].index)
			spent = append(spent, s.Tranche)
		}
	}
	b.WriteString(trancheRule(t, 0))
	b.WriteString("COMMIT\n")
	if err := restore(ctx, false, b.String()); err != nil {
		return fmt.Errorf("grant %d bytes: %w", t.Bytes, err)
	}
	g.tranches = slices.DeleteFunc(g.tranches, func(h held) bool { return slices.Contains(spent, h.Tranche) })
	g.tranches = append(g.tranches, held{Spent: netctl.Spent{Tranche: t}})
	return nil
}
