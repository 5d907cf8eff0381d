package gate

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strconv"
	"strings"

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
)

func nftType(cmd int) int { return unix.NFNL_SUBSYS_NFTABLES<<8 | cmd }

// firewallState remembers what was written last.
type firewallState struct {
	generation uint32 // of the ruleset when it was last looked at
	tables     []written
}

// written is a table as it was written last.
type written struct {
	netctl.Table
	fingerprint uint64 // of our rules as read back right after
}

// last returns the table as it was written last.
func (s firewallState) last(t netctl.Table) written {
	for _, w := range s.tables {
		if w.Name == t.Name && w.IPv6 == t.IPv6 {
			return w
		}
	}
	return written{}
}

// generation returns the ruleset's number, which every change by anybody moves on.
func (g *Gate) generation() (uint32, error) {
	bodies, err := g.netfilter.get(nftType(nftGetGen), 0, netfilterHeader(unix.AF_UNSPEC))
	if err != nil {
		return 0, fmt.Errorf("read the ruleset's generation: %w", err)
	}
	for _, b := range bodies {
		for kind, value := range attrs(after(netfilterHeaderSize, b)) {
			if kind == nftaGenID {
				return big32Of(value), nil
			}
		}
	}
	return 0, errors.New("read the ruleset's generation: the kernel did not tell")
}

// found is a rule in the kernel.
type found struct {
	family  byte
	table   string
	chain   string
	index   int    // in its chain, from 1
	jump    string // the chain it leads to, "" for none
	bytes   uint64 // counted
	comment string // ours, without its prefix; "" for none
	shape   []byte // what it says, without what it counted
}

// ours tells whether the rule is ours: in a chain of ours, or leading to one.
func (f found) ours() bool {
	return strings.HasPrefix(f.chain, netctl.Prefix) || strings.HasPrefix(f.jump, netctl.Prefix)
}

// rules reads every rule of a table in the kernel, or those of some chains alone; family is unix.AF_INET or AF_INET6.
func (g *Gate) rules(family byte, table string, chains ...string) (all []found, err error) {
	if len(chains) == 0 {
		return g.dumpRules(family, table)
	}
	for _, chain := range chains {
		more, err := g.dumpRules(family, table, attr(nftaRuleChain, text(chain)))
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	return all, nil
}

func (g *Gate) dumpRules(family byte, table string, of ...[]byte) ([]found, error) {
	question := append([][]byte{netfilterHeader(family), attr(nftaRuleTable, text(table))}, of...)
	bodies, err := g.netfilter.get(nftType(nftGetRule), unix.NLM_F_DUMP, question...)
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
		f.read(after(netfilterHeaderSize, b))
		index[f.chain]++
		f.index = index[f.chain]
		all = append(all, f)
	}
	return all, nil
}

func (f *found) read(b []byte) {
	for kind, value := range attrs(b) {
		switch kind {
		case nftaRuleTable:
			f.table = textOf(value)
		case nftaRuleChain:
			f.chain = textOf(value)
		case nftaRuleUserdata:
			f.comment = comment(value)
		case nftaRuleExpressions:
			for kind, value := range attrs(value) {
				if kind == nftaListElem {
					f.readExpression(value)
				}
			}
		}
	}
}

func (f *found) readExpression(b []byte) {
	var name string
	for kind, value := range attrs(b) {
		switch {
		case kind == nftaExprName:
			name = textOf(value)
			f.shape = append(f.shape, value...)
		case kind == nftaExprData && name == "counter":
			for kind, value := range attrs(value) {
				if kind == nftaCounterBytes {
					f.bytes = big64Of(value)
				}
			}
		case kind == nftaExprData:
			f.shape = append(f.shape, value...)
			switch name {
			case "immediate":
				f.jump = jumpOf(value)
			case "match":
				f.comment = cmp.Or(f.comment, comment(value))
			}
		}
	}
}

// jumpOf returns the chain that an immediate expression leads to, "" for none.
func jumpOf(b []byte) string {
	for kind, value := range attrs(b) {
		if kind != nftaImmediateData {
			continue
		}
		for kind, value := range attrs(value) {
			if kind != nftaDataVerdict {
				continue
			}
			for kind, value := range attrs(value) {
				if kind == nftaVerdictChain {
					return textOf(value)
				}
			}
		}
	}
	return ""
}

// Comments on our rules. A tranche's says its number, its bytes, and how many of them were paid before the rule was made;
// a memory's says a thing's name and what it was before us.
const (
	commentPrefix  = "pas:"
	trancheComment = "tranche:"
	memoryComment  = "before:"
)

// comment finds our comment in a rule's userdata or in its comment match; both end it with a zero byte.
func comment(raw []byte) string {
	_, after, ok := bytes.Cut(raw, []byte(commentPrefix))
	if !ok {
		return ""
	}
	text, _, _ := bytes.Cut(after, []byte{0})
	return string(text)
}

// tranche reads a rule as a tranche's.
func (f found) tranche() (s netctl.Spent, ok bool) {
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

func familyOf(t netctl.Table) byte {
	if t.IPv6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

func (f found) in(t netctl.Table) bool { return f.family == familyOf(t) && f.table == t.Name }

// readTables reads the tables' rules.
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

// fingerprint sums up what our rules in the table say and where the jumps to them stand, but for the quota chains.
func fingerprint(t netctl.Table, rules []found) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	for _, f := range rules {
		if !f.in(t) || !f.ours() || isQuota(f.chain) {
			continue
		}
		// A jump's place in its built-in chain matters: what stands before it would pass.
		fmt.Fprintf(&h, "%s %d %s %d ", f.chain, f.index, f.jump, len(f.shape))
		h.Write(f.shape)
	}
	return h.Sum64()
}

// complete tells whether the kernel has as many rules of ours as the table says, each in its place.
func complete(t netctl.Table, rules []found) error {
	count := map[string]int{}
	heads := map[string][]string{}
	for _, f := range rules {
		if !f.in(t) {
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
			return fmt.Errorf("chain %s of table %s has %d rules instead of %d: another program changed it",
				c.Name, t.Name, count[c.Name], len(c.Rules))
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
	return nil
}

// applyTables writes those tables that are not what was written last, or where somebody changed ours since.
func (g *Gate) applyTables(ctx context.Context, tables []netctl.Table) (changes []string, err error) {
	if !haveIPv6() {
		tables = slices.DeleteFunc(slices.Clone(tables), func(t netctl.Table) bool { return t.IPv6 })
	}
	same := true
	for _, t := range tables {
		same = same && reflect.DeepEqual(g.firewall.last(t).Table, t)
	}
	now, err := g.generation()
	if err != nil {
		return nil, err
	}
	if same && now == g.firewall.generation {
		return nil, nil
	}
	rules, err := g.readTables(tables)
	if err != nil {
		return nil, err
	}
	g.notice(rules)
	g.noticeBroadcasts(rules)
	var stale []netctl.Table
	for _, t := range tables {
		w := g.firewall.last(t)
		if !reflect.DeepEqual(w.Table, t) || w.fingerprint != fingerprint(t, rules) || len(g.lost(t, rules)) > 0 {
			stale = append(stale, t)
		}
	}
	if len(stale) == 0 {
		g.firewall.generation = now
		return nil, nil
	}
	for _, v6 := range []bool{false, true} {
		script, err := g.restoreScript(ctx, v6, stale, rules)
		if err != nil {
			return changes, err
		}
		if script == "" {
			continue
		}
		if err := restore(ctx, v6, script); err != nil {
			return changes, err
		}
		for _, t := range stale {
			if t.IPv6 == v6 {
				changes = append(changes, restoreProgram(v6)+" --table "+t.Name)
			}
		}
	}
	if now, err = g.generation(); err != nil {
		return changes, err
	}
	if rules, err = g.readTables(tables); err != nil {
		return changes, err
	}
	g.notice(rules)
	g.noticeBroadcasts(rules)
	g.forgetBroadcasts(tables)
	g.firewall = firewallState{generation: now}
	for _, t := range tables {
		if err := complete(t, rules); err != nil {
			return changes, err
		}
		g.firewall.tables = append(g.firewall.tables, written{t, fingerprint(t, rules)})
	}
	return changes, nil
}

// restoreScript returns what brings one family's tables from what they are to what they shall be, "" for nothing.
func (g *Gate) restoreScript(ctx context.Context, v6 bool, tables []netctl.Table, rules []found) (string, error) {
	tables = slices.DeleteFunc(slices.Clone(tables), func(t netctl.Table) bool { return t.IPv6 != v6 })
	if len(tables) == 0 {
		return "", nil
	}
	have, err := save(ctx, v6)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, t := range tables {
		old := have[t.Name]
		fmt.Fprintf(&b, "*%s\n", t.Name)
		keep := map[string]bool{}
		for _, c := range t.Chains {
			keep[c.Name] = true
			fmt.Fprintf(&b, ":%s - [0:0]\n", c.Name) // makes it, or empties it
		}
		for _, k := range t.Keep {
			if !slices.Contains(old.chains, k) {
				fmt.Fprintf(&b, ":%s - [0:0]\n", k)
			}
		}
		old.removeJumps(&b)
		at := map[string]int{}
		for _, j := range t.Jumps {
			at[j.From]++
			fmt.Fprintf(&b, "-I %s %d %s -j %s\n", j.From, at[j.From], j.Match, j.To)
		}
		counter := g.counters(t)
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				fmt.Fprintf(&b, "%s-A %s %s\n", counter(r), c.Name, r)
			}
		}
		for _, s := range g.lost(t, rules) {
			b.WriteString(trancheRule(s))
		}
		old.removeChains(&b, func(chain string) bool { return keep[chain] || isQuota(chain) })
		b.WriteString("COMMIT\n")
	}
	return b.String(), nil
}

// saved is what iptables-save says of ours in a table.
type saved struct {
	chains []string
	jumps  []string // rules outside our chains that lead to them, as "-A CHAIN …"
}

// save asks iptables for our chains, of which those that are empty show no rule in the kernel's list, and for the words
// of the jumps to them: deleted by their words, no rule of others can be hit, whatever they insert meanwhile.
func save(ctx context.Context, v6 bool) (map[string]saved, error) {
	program := "iptables-save"
	if v6 {
		program = "ip6tables-save"
	}
	out, err := exec.CommandContext(ctx, program).Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	tables := map[string]saved{}
	var table string
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "*"); ok {
			table = name
			continue
		}
		s := tables[table]
		words := strings.Fields(line)
		if name, ok := strings.CutPrefix(line, ":"+netctl.Prefix); ok {
			name, _, _ = strings.Cut(name, " ")
			s.chains = append(s.chains, netctl.Prefix+name)
		} else if n := len(words); n >= 4 && words[0] == "-A" && !strings.HasPrefix(words[1], netctl.Prefix) &&
			(words[n-2] == "-j" || words[n-2] == "-g") && strings.HasPrefix(words[n-1], netctl.Prefix) {
			s.jumps = append(s.jumps, line)
		}
		tables[table] = s
	}
	return tables, nil
}

func (s saved) removeJumps(b *strings.Builder) {
	for _, j := range s.jumps {
		fmt.Fprintf(b, "-D%s\n", strings.TrimPrefix(j, "-A"))
	}
}

func (s saved) removeChains(b *strings.Builder, keep func(string) bool) {
	stale := slices.DeleteFunc(slices.Clone(s.chains), keep)
	for _, c := range stale {
		fmt.Fprintf(b, "-F %s\n", c)
	}
	for _, c := range stale {
		fmt.Fprintf(b, "-X %s\n", c)
	}
}

func isQuota(chain string) bool { return strings.HasPrefix(chain, netctl.Prefix+"CAP-") }

// trancheRule returns the rule that spends what is left of a tranche.
func trancheRule(s netctl.Spent) string {
	quota := ""
	if s.Bytes != netctl.Unlimited {
		quota = fmt.Sprintf(" -m quota --quota %d", max(1, s.Bytes-s.Used)) // 0 is refused; no packet has 1 byte
	}
	return fmt.Sprintf("-A %s%s -m comment --comment %s%s%d:%d:%d -g %s\n",
		s.Chain, quota, commentPrefix, trancheComment, s.ID, s.Bytes, s.Used, netctl.ChainPaid)
}

func restoreProgram(v6 bool) string {
	if v6 {
		return "ip6tables-restore"
	}
	return "iptables-restore"
}

// restore runs iptables-restore. A failed run has changed nothing of the table that failed.
func restore(ctx context.Context, v6 bool, script string) error {
	program := restoreProgram(v6)
	cmd := exec.CommandContext(ctx, program, "--noflush", "--counters", "--wait", "5")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, explain(string(out), script))
	}
	return nil
}

// removeTables takes every rule and chain of ours out of the tables, but for the chains to keep.
func (g *Gate) removeTables(ctx context.Context, keep func(chain string) bool) error {
	g.firewall = firewallState{}
	var errs []error
	for _, v6 := range []bool{false, true} {
		if v6 && !haveIPv6() {
			continue
		}
		have, err := save(ctx, v6)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		// What marks packets goes first: without the mark nothing is forwarded.
		for _, name := range []string{"mangle", "raw", "nat", "filter"} {
			var b strings.Builder
			have[name].removeJumps(&b)
			have[name].removeChains(&b, keep)
			if b.Len() > 0 {
				errs = append(errs, restore(ctx, v6, "*"+name+"\n"+b.String()+"COMMIT\n"))
			}
		}
	}
	return errors.Join(errs...)
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
	_, err := os.Stat("/proc/thread-self/net/if_inet6")
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
