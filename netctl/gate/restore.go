package gate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"passerelle/netctl"
)

// applyTables writes the tables that differ from what was last written, or whose rules another program has changed since.
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
	g.recordTranches(rules)
	g.recordBroadcasts(rules)
	var stale []netctl.Table
	for _, t := range tables {
		w := g.firewall.last(t)
		if !reflect.DeepEqual(w.Table, t) || w.fingerprint != fingerprint(t, rules) || len(g.missingTranches(t, rules)) > 0 {
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
	g.recordTranches(rules)
	g.recordBroadcasts(rules)
	g.forgetBroadcasts(tables)
	g.firewall = firewallState{generation: now}
	for _, t := range tables {
		if err := verifyTable(t, rules); err != nil {
			return changes, err
		}
		g.firewall.tables = append(g.firewall.tables, writtenTable{t, fingerprint(t, rules)})
	}
	return changes, nil
}

// restoreScript returns the script that brings one family's tables to the plan, "" if there is nothing to do.
func (g *Gate) restoreScript(ctx context.Context, v6 bool, tables []netctl.Table, rules []kernelRule) (string, error) {
	tables = slices.DeleteFunc(slices.Clone(tables), func(t netctl.Table) bool { return t.IPv6 != v6 })
	if len(tables) == 0 {
		return "", nil
	}
	have, err := dumpTables(ctx, v6)
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
			fmt.Fprintf(&b, ":%s - [0:0]\n", c.Name) // creates the chain, or flushes it
		}
		for _, k := range t.Keep {
			if !slices.Contains(old.chains, k) {
				fmt.Fprintf(&b, ":%s - [0:0]\n", k)
			}
		}
		for _, f := range rules {
			if f.in(t) && f.oldQuota() && f.index == 1 {
				fmt.Fprintf(&b, "-F %s\n", f.chain)
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
		for _, s := range g.missingTranches(t, rules) {
			fmt.Fprintf(&b, "-A %s %s\n", s.Chain, strings.Join(trancheRule(s), " "))
		}
		old.removeChains(&b, func(chain string) bool { return keep[chain] || isQuota(chain) })
		b.WriteString("COMMIT\n")
	}
	return b.String(), nil
}

// tableDump is our part of a table as iptables-save prints it.
type tableDump struct {
	chains []string
	jumps  []string // rules outside our chains that jump to them, as "-A CHAIN …"
}

// dumpTables lists our chains with iptables-save, since the kernel's list of rules does not show an empty chain, and the text of the
// jumps to our chains. A jump is deleted by its text and not by its index, which another program could shift in the meantime.
func dumpTables(ctx context.Context, v6 bool) (map[string]tableDump, error) {
	program := "iptables-save"
	if v6 {
		program = "ip6tables-save"
	}
	out, err := exec.CommandContext(ctx, program).Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	tables := map[string]tableDump{}
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

func (s tableDump) removeJumps(b *strings.Builder) {
	for _, j := range s.jumps {
		fmt.Fprintf(b, "-D%s\n", strings.TrimPrefix(j, "-A"))
	}
}

func (s tableDump) removeChains(b *strings.Builder, keep func(string) bool) {
	stale := slices.DeleteFunc(slices.Clone(s.chains), keep)
	for _, c := range stale {
		fmt.Fprintf(b, "-F %s\n", c)
	}
	for _, c := range stale {
		fmt.Fprintf(b, "-X %s\n", c)
	}
}

func restoreProgram(v6 bool) string {
	if v6 {
		return "ip6tables-restore"
	}
	return "iptables-restore"
}

// lockWait is how many seconds iptables waits for its lock.
const lockWait = 5

// restore runs iptables-restore. If it fails, the table at fault is unchanged.
func restore(ctx context.Context, v6 bool, script string) error {
	program := restoreProgram(v6)
	cmd := exec.CommandContext(ctx, program, "--noflush", "--counters", "--wait", strconv.Itoa(lockWait))
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, explain(string(out), script))
	}
	return nil
}

// removeTables removes our rules and chains from the tables, except the chains to keep.
func (g *Gate) removeTables(ctx context.Context, keep func(chain string) bool) error {
	g.firewall = firewallState{}
	var errs []error
	for _, v6 := range []bool{false, true} {
		if v6 && !haveIPv6() {
			continue
		}
		have, err := dumpTables(ctx, v6)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		// The rules that mark packets are removed first: without the mark nothing is forwarded.
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

// explain adds the line of the script to a message with a line number.
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

// haveIPv6 tells whether this kernel has IPv6. Without it there is nothing to close, and there are no tables.
func haveIPv6() bool {
	_, err := os.Stat("/proc/thread-self/net/if_inet6")
	return err == nil
}

// checkBackend refuses iptables with the legacy backend, where any change of a table resets all quotas.
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
