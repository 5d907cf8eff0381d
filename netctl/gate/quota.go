package gate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/coreos/go-iptables/iptables"
	"golang.org/x/sys/unix"

	"passerelle/netctl"
)

// tableQuota is the table of the quota chains.
const tableQuota = "filter"

func isQuota(chain string) bool { return strings.HasPrefix(chain, netctl.Prefix+"CAP-") }

// recordTranches records the tranches in the kernel and what was charged to them. A tranche is used up once something was charged to a
// later one in its chain: a quota that has refused one packet refuses all later ones (quota_mt in net/netfilter/xt_quota.c).
func (g *Gate) recordTranches(rules []kernelRule) {
	last := map[string]int{} // by chain: the index of the last rule that was charged
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
		s.Exhausted = i < last[f.chain] && s.Bytes != netctl.Unlimited
		n := slices.IndexFunc(g.tranches, func(t netctl.TrancheUsage) bool { return t.Tranche == s.Tranche })
		if n < 0 {
			g.tranches = append(g.tranches, s)
			continue
		}
		g.tranches[n] = s
	}
}

// quotaChains returns the chains that have tranches. Before the first plan they are unknown; an empty result means all.
func (g *Gate) quotaChains() (chains []string) {
	for _, t := range g.plan.Tables {
		chains = append(chains, t.Keep...)
	}
	for _, s := range g.tranches {
		if len(chains) > 0 && !slices.Contains(chains, s.Chain) {
			chains = append(chains, s.Chain) // of a donation that is no longer in use
		}
	}
	return chains
}

// oldQuota tells whether the rule is a tranche of an earlier release, whose chains had other names.
func (f kernelRule) oldQuota() bool { return isQuota(f.chain) && f.jump != netctl.ChainCharged }

// missingTranches returns the table's tranches that are no longer in the kernel, or only in the form of an earlier release. They are
// restored with what was left when they were last read. Only the uplink's own counter has what passed since then, which is less than
// one reconcile interval.
func (g *Gate) missingTranches(t netctl.Table, rules []kernelRule) (all []netctl.TrancheUsage) {
	for _, s := range g.tranches {
		if !s.Exhausted && slices.Contains(t.Keep, s.Chain) && !slices.ContainsFunc(rules, func(f kernelRule) bool {
			there, ok := f.tranche()
			return ok && there.Tranche == s.Tranche && !f.oldQuota()
		}) {
			all = append(all, s)
		}
	}
	return all
}

// Grant implements netctl.Gate. It then removes used-up tranches from the chain, since their rules are still evaluated for every
// packet.
func (g *Gate) Grant(ctx context.Context, t netctl.Tranche) error {
	rules, err := g.rules(unix.AF_INET, tableQuota)
	if err != nil {
		return err
	}
	g.recordTranches(rules)
	if slices.ContainsFunc(g.tranches, func(s netctl.TrancheUsage) bool { return s.Tranche == t }) {
		return nil // if its rule is missing, Apply puts it back
	}
	if err := g.appendTranche(ctx, netctl.TrancheUsage{Tranche: t}); err != nil {
		return fmt.Errorf("grant %d bytes: %w", t.Bytes, err)
	}
	g.tranches = append(g.tranches, netctl.TrancheUsage{Tranche: t})
	for _, f := range slices.Backward(rules) { // from the last one, so that the indexes of those before it do not change
		s, ok := f.tranche()
		spent := func(k netctl.TrancheUsage) bool { return k.Tranche == s.Tranche && k.Exhausted }
		if !ok || f.chain != t.Chain || !slices.ContainsFunc(g.tranches, spent) {
			continue
		}
		if err := g.iptables.DeleteById(tableQuota, t.Chain, f.index); err != nil {
			return fmt.Errorf("remove a tranche that is used up: %w", err)
		}
		g.tranches = slices.DeleteFunc(g.tranches, spent)
	}
	return nil
}

// appendTranche appends a tranche's rule to its chain, which it creates if it does not exist.
func (g *Gate) appendTranche(ctx context.Context, s netctl.TrancheUsage) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := g.iptables.Append(tableQuota, s.Chain, trancheRule(s)...)
	if e := (*iptables.Error)(nil); errors.As(err, &e) && e.IsNotExist() {
		if err := g.iptables.NewChain(tableQuota, s.Chain); err != nil {
			return err
		}
		err = g.iptables.Append(tableQuota, s.Chain, trancheRule(s)...)
	}
	return err
}

// trancheRule returns the rule that spends what is left of a tranche.
func trancheRule(s netctl.TrancheUsage) (words []string) {
	if s.Bytes != netctl.Unlimited {
		left := max(1, s.Bytes-s.Used) // 0 is refused; no packet has 1 byte
		words = append(words, "-m", "quota", "--quota", strconv.FormatUint(left, 10))
	}
	comment := fmt.Sprintf("%s%s%d:%d:%d", commentPrefix, trancheComment, s.ID, s.Bytes, s.Used)
	return append(words, "-m", "comment", "--comment", comment, "-g", netctl.ChainCharged)
}

// tranche parses a tranche's rule.
func (f kernelRule) tranche() (s netctl.TrancheUsage, ok bool) {
	text, ok := strings.CutPrefix(f.comment, trancheComment)
	if !ok {
		return s, false
	}
	var before uint64
	if n, err := fmt.Sscanf(text, "%d:%d:%d", &s.ID, &s.Bytes, &before); n != 3 || err != nil {
		return s, false
	}
	s.Chain, s.Used = f.chain, min(before+f.bytes, s.Bytes)
	return s, true
}

// Revoke implements netctl.Gate.
func (g *Gate) Revoke(ctx context.Context, chain string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	rules, err := g.rules(unix.AF_INET, tableQuota)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(rules, func(f kernelRule) bool { return f.chain == chain }) {
		if err := g.iptables.ClearChain(tableQuota, chain); err != nil {
			return fmt.Errorf("revoke the tranches of %s: %w", chain, err)
		}
	}
	g.tranches = slices.DeleteFunc(g.tranches, func(s netctl.TrancheUsage) bool { return s.Chain == chain })
	return nil
}
