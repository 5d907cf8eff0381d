package gate

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"passerelle/netctl"
)

// The rules are written by iptables-restore: one program run a change, each table in one transaction, which
// coreos/go-iptables, with a run for each rule, cannot do. They are read back over netlink, without running anything:
// that they still are what was written is seen from a fingerprint of the kernel's own form of them.

// Messages and attributes of nf_tables (include/uapi/linux/netfilter/nf_tables.h).
const (
	nftGetRule = 7
	nftGetGen  = 16

	nftaGenID = 1

	nftaRuleTable       = 1
	nftaRuleChain       = 2
	nftaRuleExpressions = 4
	nftaRuleUserdata    = 7

	nftaListElem = 1
	nftaExprName = 1
	nftaExprData = 2

	nftaCounterBytes = 1

	nftaImmediateData = 2
	nftaDataVerdict   = 2
	nftaVerdictChain  = 2

	nftaMatchName = 1
	nftaMatchInfo = 3
)

func nftType(cmd int) netlink.HeaderType {
	return netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | cmd)
}

// firewallState remembers what was written last.
type firewallState struct {
	generation  uint32 // of the ruleset when it was last looked at
	text        string // what was written
	fingerprint uint64 // of our rules as read back right after
}

// generation returns the ruleset's number, which every change by anybody moves on.
func (g *Gate) generation() (uint32, error) {
	bodies, err := g.netfilter.get(nftType(nftGetGen), 0, netfilterHeader(unix.AF_UNSPEC))
	if err != nil {
		return 0, fmt.Errorf("read the ruleset's generation: %w", err)
	}
	var id uint32
	for _, b := range bodies {
		if err := decode(b[min(4, len(b)):], func(d *netlink.AttributeDecoder) {
			if d.Type() == nftaGenID {
				d.ByteOrder = binary.BigEndian
				id = d.Uint32()
			}
		}); err != nil {
			return 0, err
		}
	}
	return id, nil
}

// found is a rule in the kernel.
type found struct {
	family byte
	table  string
	chain  string
	index  int    // in its chain, from 1
	jump   string // the chain it leads to, "" for none
	bytes  uint64 // counted
	id     string // our comment on it, "" for none
	shape  []byte // what it says, without what it counted
}

// ours tells whether the rule is ours: in a chain of ours, or leading to one.
func (f found) ours() bool {
	return strings.HasPrefix(f.chain, netctl.Prefix) || strings.HasPrefix(f.jump, netctl.Prefix)
}

// rules reads every rule of a table in the kernel; family is unix.AF_INET or AF_INET6.
func (g *Gate) rules(family byte, table string) ([]found, error) {
	request, err := attributes(netfilterHeader(family), func(e *netlink.AttributeEncoder) { e.String(nftaRuleTable, table) })
	if err != nil {
		return nil, err
	}
	bodies, err := g.netfilter.get(nftType(nftGetRule), netlink.Dump, request)
	if isErrno(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list rules of table %s: %w", table, err)
	}
	var all []found
	index := map[string]int{}
	for _, b := range bodies {
		f := found{family: family}
		if err := decode(b[min(4, len(b)):], f.read); err != nil {
			return nil, fmt.Errorf("list rules of table %s: %w", table, err)
		}
		index[f.chain]++
		f.index = index[f.chain]
		all = append(all, f)
	}
	return all, nil
}

func (f *found) read(d *netlink.AttributeDecoder) {
	switch d.Type() {
	case nftaRuleTable:
		f.table = d.String()
	case nftaRuleChain:
		f.chain = d.String()
	case nftaRuleUserdata:
		f.id = comment(d.Bytes())
	case nftaRuleExpressions:
		d.Nested(func(list *netlink.AttributeDecoder) error {
			for list.Next() {
				list.Nested(f.expression)
			}
			return nil
		})
	}
}

func (f *found) expression(d *netlink.AttributeDecoder) error {
	var name string
	for d.Next() {
		switch d.Type() {
		case nftaExprName:
			name = d.String()
			f.shape = append(append(f.shape, name...), 0)
		case nftaExprData:
			switch name {
			case "counter":
				d.Nested(func(c *netlink.AttributeDecoder) error {
					c.ByteOrder = binary.BigEndian
					for c.Next() {
						if c.Type() == nftaCounterBytes {
							f.bytes = c.Uint64()
						}
					}
					return nil
				})
			case "immediate":
				d.Nested(f.verdict)
			case "match":
				raw := d.Bytes()
				f.shape = append(f.shape, raw...)
				f.id = cmp.Or(f.id, comment(raw))
			default:
				f.shape = append(f.shape, d.Bytes()...)
			}
		}
	}
	return nil
}

func (f *found) verdict(d *netlink.AttributeDecoder) error {
	for d.Next() {
		if d.Type() != nftaImmediateData {
			continue
		}
		d.Nested(func(v *netlink.AttributeDecoder) error {
			for v.Next() {
				raw := v.Bytes()
				f.shape = append(f.shape, raw...)
				if v.Type() != nftaDataVerdict {
					continue
				}
				if err := decode(raw, func(c *netlink.AttributeDecoder) {
					if c.Type() == nftaVerdictChain {
						f.jump = c.String()
					}
				}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return nil
}

// trancheComment marks a tranche's rule: the tranche's number and its bytes.
const trancheComment = "pas:tranche:"

// comment finds a tranche's comment in a rule's userdata or in its comment match.
func comment(raw []byte) string {
	_, after, ok := bytes.Cut(raw, []byte(trancheComment))
	if !ok {
		return ""
	}
	end := bytes.IndexFunc(after, func(r rune) bool { return r != ':' && (r < '0' || r > '9') })
	if end < 0 {
		end = len(after)
	}
	return string(after[:end])
}

// tranche reads a rule as a tranche's.
func (f found) tranche() (s netctl.Spent, ok bool) {
	id, size, ok := strings.Cut(f.id, ":")
	if !ok {
		return s, false
	}
	n, err := strconv.ParseUint(id, 10, 64)
	b, err2 := strconv.ParseUint(size, 10, 64)
	if errors.Join(err, err2) != nil {
		return s, false
	}
	return netctl.Spent{Tranche: netctl.Tranche{Chain: f.chain, ID: n, Bytes: b}, Used: min(f.bytes, b)}, true
}

func familyOf(t netctl.Table) byte {
	if t.IPv6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// readTables reads our tables' rules.
func (g *Gate) readTables(tables []netctl.Table) ([]found, error) {
	var all []found
	for _, t := range tables {
		f, err := g.rules(familyOf(t), t.Name)
		if err != nil {
			return nil, err
		}
		all = append(all, f...)
	}
	return all, nil
}

var seed = maphash.MakeSeed()

// fingerprint sums up what our rules say and where the jumps to them stand, but for the quota chains.
func fingerprint(rules []found) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	for _, f := range rules {
		if !f.ours() || strings.HasPrefix(f.chain, netctl.Prefix+"CAP-") {
			continue
		}
		// A jump's place in its built-in chain matters: what stands before it would pass.
		fmt.Fprintf(&h, "%d %s %s %d %s %d ", f.family, f.table, f.chain, f.index, f.jump, len(f.shape))
		h.Write(f.shape)
	}
	return h.Sum64()
}

// complete tells whether the kernel has as many rules of ours as the tables say, each in its place.
func complete(tables []netctl.Table, rules []found) error {
	for _, t := range tables {
		if t.IPv6 && !haveIPv6() {
			continue
		}
		count := map[string]int{}
		heads := map[string][]string{}
		for _, f := range rules {
			if f.family != familyOf(t) || f.table != t.Name {
				continue
			}
			if strings.HasPrefix(f.chain, netctl.Prefix) {
				count[f.chain]++
			} else if strings.HasPrefix(f.jump, netctl.Prefix) && f.index == len(heads[f.chain])+1 {
				heads[f.chain] = append(heads[f.chain], f.jump)
			}
		}
		for _, c := range t.Chains {
			if count[c.Name] != len(c.Rules) {
				return fmt.Errorf("chain %s of table %s has %d rules instead of %d: another program changed it", c.Name, t.Name, count[c.Name], len(c.Rules))
			}
		}
		want := map[string][]string{}
		for _, j := range t.Jumps {
			want[j.From] = append(want[j.From], j.To)
		}
		for from, to := range want {
			if !slices.Equal(heads[from], to) {
				return fmt.Errorf("chain %s of table %s does not begin with our rules: another program changed it", from, t.Name)
			}
		}
	}
	return nil
}

// applyTables writes the tables if they are not what was written last, or if somebody changed ours since.
func (g *Gate) applyTables(ctx context.Context, tables []netctl.Table) (changes []string, err error) {
	var text strings.Builder
	for _, t := range tables {
		text.WriteString(t.String())
	}
	now, err := g.generation()
	if err != nil {
		return nil, err
	}
	same := g.firewall.text == text.String()
	if same && now == g.firewall.generation {
		return nil, nil
	}
	rules, err := g.readTables(tables)
	if err != nil {
		return nil, err
	}
	lost := g.lost(rules)
	if same && fingerprint(rules) == g.firewall.fingerprint && len(lost) == 0 {
		g.firewall.generation = now
		return nil, nil
	}
	for _, v6 := range []bool{false, true} {
		script := restoreScript(v6, tables, rules, lost)
		if script == "" {
			continue
		}
		if err := restore(ctx, v6, script); err != nil {
			return changes, err
		}
		changes = append(changes, fmt.Sprintf("%s --noflush: %d lines", restoreProgram(v6), strings.Count(script, "\n")))
	}
	if now, err = g.generation(); err != nil {
		return changes, err
	}
	if rules, err = g.readTables(tables); err != nil {
		return changes, err
	}
	if err := complete(tables, rules); err != nil {
		return changes, err
	}
	g.putBack(lost)
	g.notice(rules)
	g.firewall = firewallState{generation: now, text: text.String(), fingerprint: fingerprint(rules)}
	return changes, nil
}

// restoreScript returns what brings one family's tables from what they are to what they shall be.
func restoreScript(v6 bool, tables []netctl.Table, rules []found, lost []held) string {
	var b strings.Builder
	for _, t := range tables {
		if t.IPv6 != v6 || v6 && !haveIPv6() {
			continue
		}
		fmt.Fprintf(&b, "*%s\n", t.Name)
		wanted := map[string]bool{}
		for _, c := range t.Chains {
			wanted[c.Name] = true
			fmt.Fprintf(&b, ":%s - [0:0]\n", c.Name) // makes it, or empties it
		}
		var stale []string
		var jumps []found
		quotas := map[string]bool{}
		for _, f := range rules {
			switch {
			case f.family != familyOf(t) || f.table != t.Name:
			case !strings.HasPrefix(f.chain, netctl.Prefix):
				if strings.HasPrefix(f.jump, netctl.Prefix) {
					jumps = append(jumps, f)
				}
			case isQuota(f.chain):
				quotas[f.chain] = true
			case !wanted[f.chain] && !slices.Contains(stale, f.chain):
				stale = append(stale, f.chain)
			}
		}
		for _, k := range t.Keep {
			if !quotas[k] {
				fmt.Fprintf(&b, ":%s - [0:0]\n", k)
			}
		}
		slices.SortFunc(jumps, func(x, y found) int {
			return cmp.Or(cmp.Compare(x.chain, y.chain), cmp.Compare(y.index, x.index))
		})
		for _, f := range jumps {
			fmt.Fprintf(&b, "-D %s %d\n", f.chain, f.index)
		}
		at := map[string]int{}
		for _, j := range t.Jumps {
			at[j.From]++
			fmt.Fprintf(&b, "-I %s %d %s -j %s\n", j.From, at[j.From], j.Match, j.To)
		}
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				fmt.Fprintf(&b, "-A %s %s\n", c.Name, r)
			}
		}
		// What the kernel lost of the tranches comes back with what was left when they were last read.
		for _, s := range lost {
			if slices.Contains(t.Keep, s.Chain) {
				b.WriteString(trancheRule(s.Tranche, s.Used))
			}
		}
		for _, c := range stale {
			fmt.Fprintf(&b, "-F %s\n", c)
		}
		for _, c := range stale {
			fmt.Fprintf(&b, "-X %s\n", c)
		}
		b.WriteString("COMMIT\n")
	}
	return b.String()
}

func isQuota(chain string) bool { return strings.HasPrefix(chain, netctl.Prefix+"CAP-") }

// trancheRule returns the rule that spends what is left of a tranche.
func trancheRule(t netctl.Tranche, used uint64) string {
	quota := ""
	if t.Bytes != netctl.Unlimited {
		quota = fmt.Sprintf(" -m quota --quota %d", t.Bytes-used)
	}
	return fmt.Sprintf("-A %s%s -m comment --comment %s%d:%d -g %s\n", t.Chain, quota, trancheComment, t.ID, t.Bytes, netctl.ChainPaid)
}

func restoreProgram(v6 bool) string {
	if v6 {
		return "ip6tables-restore"
	}
	return "iptables-restore"
}

// restore runs iptables-restore. A failed run has changed nothing of the table that failed.
func restore(ctx context.Context, v6 bool, script string) error {
	cmd := exec.CommandContext(ctx, restoreProgram(v6), "--noflush", "--wait", "5")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", restoreProgram(v6), err, explain(string(out), script))
	}
	return nil
}

// removeTables takes every rule and chain of ours out of the tables.
func (g *Gate) removeTables(ctx context.Context) error {
	var errs []error
	for _, v6 := range []bool{false, true} {
		if v6 && !haveIPv6() {
			continue
		}
		var empty []netctl.Table
		for _, name := range []string{"mangle", "nat", "filter"} {
			empty = append(empty, netctl.Table{IPv6: v6, Name: name})
		}
		rules, err := g.readTables(empty)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		// The chains' names are asked of iptables: an empty chain shows no rule.
		for _, t := range empty {
			script, err := removalScript(ctx, t, rules)
			if err == nil && script != "" {
				err = restore(ctx, v6, script)
			}
			errs = append(errs, err)
		}
	}
	g.firewall = firewallState{}
	g.tranches = nil
	return errors.Join(errs...)
}

func removalScript(ctx context.Context, t netctl.Table, rules []found) (string, error) {
	var b strings.Builder
	for i := len(rules) - 1; i >= 0; i-- { // the last first: numbers before it stay
		f := rules[i]
		if f.family == familyOf(t) && f.table == t.Name && !strings.HasPrefix(f.chain, netctl.Prefix) && f.ours() {
			fmt.Fprintf(&b, "-D %s %d\n", f.chain, f.index)
		}
	}
	program := "iptables-save"
	if t.IPv6 {
		program = "ip6tables-save"
	}
	out, err := exec.CommandContext(ctx, program, "--table", t.Name).Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", program, err)
	}
	var chains []string
	for line := range strings.Lines(string(out)) {
		if name, ok := strings.CutPrefix(line, ":"+netctl.Prefix); ok {
			name, _, _ = strings.Cut(name, " ")
			chains = append(chains, netctl.Prefix+name)
		}
	}
	for _, c := range chains {
		fmt.Fprintf(&b, "-F %s\n", c)
	}
	for _, c := range chains {
		fmt.Fprintf(&b, "-X %s\n", c)
	}
	if b.Len() == 0 {
		return "", nil
	}
	return "*" + t.Name + "\n" + b.String() + "COMMIT\n", nil
}

// explain puts the line of the script beside the message that names its number.
func explain(out, script string) string {
	out = strings.TrimSpace(out)
	lines := strings.Split(script, "\n")
	for _, w := range strings.FieldsFunc(out, func(r rune) bool { return r < '0' || r > '9' }) {
		if n, err := strconv.Atoi(w); err == nil && strings.Contains(out, "line "+w) && n >= 1 && n <= len(lines) {
			return fmt.Sprintf("%s (%s)", out, lines[n-1])
		}
	}
	return out
}

// haveIPv6 tells whether this kernel has IPv6 at all: without it nothing needs closing, and its tables cannot be made.
func haveIPv6() bool {
	_, err := os.Stat("/proc/self/net/if_inet6")
	return err == nil
}

// checkBackend refuses iptables on the legacy backend, where any change of a table fills every quota anew.
func checkBackend(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "iptables", "--version").CombinedOutput()
	if err != nil {
		return fmt.Errorf("run iptables: %w: install the iptables package", err)
	}
	if !strings.Contains(string(out), "nf_tables") {
		return fmt.Errorf("%s: only the nf_tables backend keeps quotas when rules change: choose it with "+
			"update-alternatives --set iptables /usr/sbin/iptables-nft", strings.TrimSpace(string(out)))
	}
	return nil
}
