package gate

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"passerelle/netctl"
	"passerelle/netctl/nlmsg"
)

// Rules are read back over netlink, without running a program. A fingerprint of their form in the kernel shows whether another program
// has changed them.

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

// firewallState is what was last written.
type firewallState struct {
	generation uint32 // of the ruleset when it was last read
	tables     []writtenTable
}

// writtenTable is a table as it was last written.
type writtenTable struct {
	netctl.Table
	fingerprint uint64 // of our rules as read back right after that
}

// last returns the table as it was last written.
func (s firewallState) last(t netctl.Table) writtenTable {
	for _, w := range s.tables {
		if w.Name == t.Name && w.IPv6 == t.IPv6 {
			return w
		}
	}
	return writtenTable{}
}

// generation returns the ruleset's generation number, which every change by any program increases.
func (g *Gate) generation() (uint32, error) {
	bodies, err := g.netfilter.get(nftType(nftGetGen), 0, netfilterHeader(unix.AF_UNSPEC))
	if err != nil {
		return 0, fmt.Errorf("read the ruleset's generation: %w", err)
	}
	for _, b := range bodies {
		for kind, value := range nlmsg.Attributes(skipHeader(netfilterHeaderSize, b)) {
			if kind == nftaGenID {
				return big32Of(value), nil
			}
		}
	}
	return 0, errors.New("read the ruleset's generation: the kernel returned none")
}

// kernelRule is a rule in the kernel.
type kernelRule struct {
	family  byte
	table   string
	chain   string
	index   int    // in its chain, from 1
	jump    string // the chain that it jumps to; "" if there is none
	bytes   uint64 // its counter
	comment string // ours, without its prefix; "" if there is none
	exprs   []byte // its expressions without its counter
}

// ours tells whether the rule is ours: in a chain of ours, or a jump to one.
func (f kernelRule) ours() bool {
	return strings.HasPrefix(f.chain, netctl.Prefix) || strings.HasPrefix(f.jump, netctl.Prefix)
}

// rules reads all rules of a table in the kernel, or only those of some chains. family is unix.AF_INET or AF_INET6.
func (g *Gate) rules(family byte, table string, chains ...string) (all []kernelRule, err error) {
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

func (g *Gate) dumpRules(family byte, table string, of ...[]byte) ([]kernelRule, error) {
	question := append([][]byte{netfilterHeader(family), attr(nftaRuleTable, text(table))}, of...)
	bodies, err := g.netfilter.get(nftType(nftGetRule), unix.NLM_F_DUMP, question...)
	if isErrno(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list rules of table %s: %w", table, err)
	}
	var all []kernelRule
	index := map[string]int{}
	for _, b := range bodies {
		f := kernelRule{family: family}
		f.read(skipHeader(netfilterHeaderSize, b))
		index[f.chain]++
		f.index = index[f.chain]
		all = append(all, f)
	}
	return all, nil
}

func (f *kernelRule) read(b []byte) {
	for kind, value := range nlmsg.Attributes(b) {
		switch kind {
		case nftaRuleTable:
			f.table = textOf(value)
		case nftaRuleChain:
			f.chain = textOf(value)
		case nftaRuleUserdata:
			f.comment = comment(value)
		case nftaRuleExpressions:
			for kind, value := range nlmsg.Attributes(value) {
				if kind == nftaListElem {
					f.readExpression(value)
				}
			}
		}
	}
}

func (f *kernelRule) readExpression(b []byte) {
	var name string
	for kind, value := range nlmsg.Attributes(b) {
		switch {
		case kind == nftaExprName:
			name = textOf(value)
			f.exprs = append(f.exprs, value...)
		case kind == nftaExprData && name == "counter":
			for kind, value := range nlmsg.Attributes(value) {
				if kind == nftaCounterBytes {
					f.bytes = big64Of(value)
				}
			}
		case kind == nftaExprData:
			f.exprs = append(f.exprs, value...)
			switch name {
			case "immediate":
				f.jump = jumpOf(value)
			case "match":
				f.comment = cmp.Or(f.comment, comment(value))
			}
		}
	}
}

// jumpOf returns the chain that an immediate expression jumps to, "" if there is none.
func jumpOf(b []byte) string {
	for kind, value := range nlmsg.Attributes(b) {
		if kind != nftaImmediateData {
			continue
		}
		for kind, value := range nlmsg.Attributes(value) {
			if kind != nftaDataVerdict {
				continue
			}
			for kind, value := range nlmsg.Attributes(value) {
				if kind == nftaVerdictChain {
					return textOf(value)
				}
			}
		}
	}
	return ""
}

// Comments on our rules. A tranche's comment has its number, its bytes, and how many of them were used before the rule was created. A
// comment of saved state has a setting's name and its value before the gate changed it.
const (
	commentPrefix  = "pas:"
	trancheComment = "tranche:"
	savedComment   = "before:"
)

// comment finds our comment in a rule's userdata or in its comment match. A zero byte ends it in both.
func comment(raw []byte) string {
	_, after, ok := bytes.Cut(raw, []byte(commentPrefix))
	if !ok {
		return ""
	}
	text, _, _ := bytes.Cut(after, []byte{0})
	return string(text)
}

func familyOf(t netctl.Table) byte {
	if t.IPv6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

func (f kernelRule) in(t netctl.Table) bool { return f.family == familyOf(t) && f.table == t.Name }

// readTables reads the tables' rules.
func (g *Gate) readTables(tables []netctl.Table) ([]kernelRule, error) {
	var all []kernelRule
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

// fingerprint returns a hash of our rules in the table and of the positions of the jumps to them. It leaves out the quota chains.
func fingerprint(t netctl.Table, rules []kernelRule) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	for _, f := range rules {
		if !f.in(t) || !f.ours() || isQuota(f.chain) {
			continue
		}
		// A jump's position in its built-in chain matters: a rule before it could accept packets.
		fmt.Fprintf(&h, "%s %d %s %d ", f.chain, f.index, f.jump, len(f.exprs))
		h.Write(f.exprs)
	}
	return h.Sum64()
}

// verifyTable returns an error unless the kernel has all our rules of the table, with the jumps first.
func verifyTable(t netctl.Table, rules []kernelRule) error {
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
