package gate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"passerelle/netctl"
)

// notice remembers the tranches in the kernel and what was paid from them. One is over when the next one in its chain has
// paid: a quota that once refused a packet refuses all (quota_mt in net/netfilter/xt_quota.c).
func (g *Gate) notice(rules []found) {
	last := map[string]int{} // by chain: the last rule that has paid
	for i, f := range rules {
		if f.bytes > 0 {
			last[f.chain] = i
		}
	}
	for i, f := range rules {
		s, ok := f.tranche()
		if !ok {
			continue
		}
		s.Over = i < last[f.chain] && s.Bytes != netctl.Unlimited
		n := slices.IndexFunc(g.tranches, func(t netctl.Spent) bool { return t.Tranche == s.Tranche })
		if n < 0 {
			g.tranches = append(g.tranches, s)
			continue
		}
		g.tranches[n] = s
	}
}

// quotaChains are the chains that have tranches. Before a plan was applied they are not known: none stands for all.
func (g *Gate) quotaChains() (chains []string) {
	for _, t := range g.plan.Tables {
		chains = append(chains, t.Keep...)
	}
	for _, s := range g.tranches {
		if len(chains) > 0 && !slices.Contains(chains, s.Chain) {
			chains = append(chains, s.Chain) // of a donation that was in use before
		}
	}
	return chains
}

// lost returns the table's tranches that are no longer in the kernel. They come back with what was left when they were
// last read: what passed since then, at most in the time between two rounds, is paid from the line's own count alone.
func (g *Gate) lost(t netctl.Table, rules []found) (all []netctl.Spent) {
	for _, s := range g.tranches {
		if !s.Over && slices.Contains(t.Keep, s.Chain) && !slices.ContainsFunc(rules, func(f found) bool {
			there, ok := f.tranche()
			return ok && there.Tranche == s.Tranche
		}) {
			all = append(all, s)
		}
	}
	return all
}

// Grant implements netctl.Gate. Tranches before it that are used up leave the chain in the same transaction: a spent
// rule still costs every packet a look.
func (g *Gate) Grant(ctx context.Context, t netctl.Tranche) error {
	rules, err := g.rules(unix.AF_INET, "filter")
	if err != nil {
		return err
	}
	g.notice(rules)
	if slices.ContainsFunc(g.tranches, func(s netctl.Spent) bool { return s.Tranche == t }) {
		return nil // should its rule have got lost, Apply puts it back
	}
	var b strings.Builder
	b.WriteString("*filter\n")
	var chain []found
	for _, f := range rules {
		if f.chain == t.Chain {
			chain = append(chain, f)
		}
	}
	if len(chain) == 0 {
		fmt.Fprintf(&b, ":%s - [0:0]\n", t.Chain)
	}
	var spent []netctl.Tranche
	for _, f := range slices.Backward(chain) { // the last number first
		s, ok := f.tranche()
		over := func(k netctl.Spent) bool { return k.Tranche == s.Tranche && k.Over }
		if ok && slices.ContainsFunc(g.tranches, over) {
			fmt.Fprintf(&b, "-D %s %d\n", t.Chain, f.index)
			spent = append(spent, s.Tranche)
		}
	}
	b.WriteString(trancheRule(netctl.Spent{Tranche: t}))
	b.WriteString("COMMIT\n")
	if err := restore(ctx, false, b.String()); err != nil {
		return fmt.Errorf("grant %d bytes: %w", t.Bytes, err)
	}
	g.tranches = slices.DeleteFunc(g.tranches, func(s netctl.Spent) bool { return slices.Contains(spent, s.Tranche) })
	g.tranches = append(g.tranches, netctl.Spent{Tranche: t})
	return nil
}

// Revoke implements netctl.Gate.
func (g *Gate) Revoke(ctx context.Context, chain string) error {
	rules, err := g.rules(unix.AF_INET, "filter")
	if err != nil {
		return err
	}
	if slices.ContainsFunc(rules, func(f found) bool { return f.chain == chain }) {
		if err := restore(ctx, false, fmt.Sprintf("*filter\n-F %s\nCOMMIT\n", chain)); err != nil {
			return fmt.Errorf("revoke the tranches of %s: %w", chain, err)
		}
	}
	g.tranches = slices.DeleteFunc(g.tranches, func(s netctl.Spent) bool { return s.Chain == chain })
	return nil
}
