package plan_test

import (
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"golang.org/x/sys/unix"

	"passerelle/appliance/config"
	"passerelle/appliance/decide"
	"passerelle/appliance/plan"
	"passerelle/appliance/state"
	"passerelle/appliance/supervise"
	"passerelle/netctl"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden compiles the input of each file, decision (the decision and the observation) and passerelle.toml, and compares the
// result to the file's plan and children.
func TestGolden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("golden files: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			section := func(name string) *txtar.File {
				for i := range archive.Files {
					if archive.Files[i].Name == name {
						return &archive.Files[i]
					}
				}
				archive.Files = append(archive.Files, txtar.File{Name: name})
				return &archive.Files[len(archive.Files)-1]
			}
			c, err := config.Parse("passerelle.toml", section("passerelle.toml").Data)
			if err != nil {
				t.Fatal(err)
			}
			in, out := parseDecision(t, c, string(section("decision").Data))
			for name, got := range map[string]string{
				"plan":     plan.Compile(in).String(),
				"children": childrenText(plan.Children(c, out, "/run/passerelle")),
			} {
				want := section(name)
				if *update {
					want.Data = []byte(got)
				} else if d := cmp.Diff(strings.Split(string(want.Data), "\n"), strings.Split(got, "\n")); d != "" {
					t.Errorf("%s (-want +got; `go test -update` takes it over):\n%s", name, d)
				}
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// parseDecision reads lines of a word and its values.
func parseDecision(t *testing.T, c *config.Config, text string) (in plan.Input, out plan.Environment) {
	t.Helper()
	out = plan.Environment{HotspotIndex: 3, UplinkIndex: 2}
	in = plan.Input{Config: c, NamesUser: "104", Decision: decide.Decision{Internet: decide.NoInternet, Donation: -1}}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		in.ClampMSS = in.ClampMSS || len(words) == 1 && words[0] == "narrow"
		out.Metered = out.Metered || len(words) == 1 && words[0] == "metered"
		for _, value := range words[1:] {
			var err error
			switch words[0] {
			case "state":
				in.Decision.State = state.State(value)
			case "donation":
				in.Decision.Internet, in.Decision.Names = decide.AllInternet, true
				in.Decision.Donation, err = strconv.Atoi(value)
			case "essential":
				in.Decision.Internet = decide.EssentialOnly
				in.Decision.Donation, err = strconv.Atoi(value)
			case "names":
				in.Decision.Names = true
				in.Decision.Donation, err = strconv.Atoi(value)
			case "gateway":
				in.Gateway, err = netip.ParseAddr(value)
			case "network":
				var n netip.Prefix
				n, err = netip.ParsePrefix(value)
				in.Networks = append(in.Networks, n)
			case "lan": // INTERFACE=NETWORK,NETWORK
				name, networks, _ := strings.Cut(value, "=")
				lan := plan.LAN{Interface: name}
				for network := range strings.FieldsFuncSeq(networks, func(r rune) bool { return r == ',' }) {
					var n netip.Prefix
					n, err = netip.ParsePrefix(network)
					lan.Networks = append(lan.Networks, n)
				}
				in.LANs = append(in.LANs, lan)
			case "resolver":
				addr, device, _ := strings.Cut(value, "@")
				var a netip.Addr
				a, err = netip.ParseAddr(addr)
				out.Resolvers = append(out.Resolvers, plan.Resolver{Addr: a, Interface: device})
			case "line":
				in.IfName = value
			case "radio":
				out.Radios = append(out.Radios, value)
			default:
				t.Fatalf("decision: the word %q is not known", words[0])
			}
			if err != nil {
				t.Fatalf("decision: %v", err)
			}
		}
	}
	return in, out
}

// capabilityNames are as in capabilities(7).
var capabilityNames = map[uintptr]string{
	unix.CAP_NET_ADMIN: "CAP_NET_ADMIN", unix.CAP_NET_BIND_SERVICE: "CAP_NET_BIND_SERVICE", unix.CAP_NET_RAW: "CAP_NET_RAW",
}

func childrenText(children []supervise.Child) string {
	var b bytes.Buffer
	for _, c := range children {
		fmt.Fprintf(&b, "%s: %s\n", c.Name, strings.Join(c.Argv, " "))
		user := "the daemon's user"
		if c.User != "" {
			user = c.User
		}
		var may []string
		for _, n := range c.Capabilities {
			may = append(may, capabilityNames[n])
		}
		fmt.Fprintf(&b, "as %s, with %s\n", user, strings.Join(may, " "))
		for _, f := range c.Files {
			again := "restart"
			if f.OnNextStart {
				again = "nothing yet"
			}
			if f.Reload {
				again = "reload"
			}
			if f.Keep {
				again = "nothing, it is the child's"
			}
			fmt.Fprintf(&b, "%s (on change: %s)\n", f.Path, again)
			for line := range strings.Lines(f.Text) {
				b.WriteString("    " + line)
			}
		}
	}
	return b.String()
}

// TestStates: every State except sharing compiles to the same plan, independent of the rest of the decision. If DNS works during a
// pause, nothing is forwarded either.
func TestStates(t *testing.T) {
	t.Parallel()
	c := example(t)
	compile := func(s state.State, i decide.Internet, donation int) string {
		return plan.Compile(plan.Input{
			Config:   c,
			Decision: decide.Decision{State: s, Internet: i, Donation: donation, Names: s == state.Sharing},
			Gateway:  netip.MustParseAddr("192.168.1.1"),
		}).String()
	}
	held := compile(state.Paused, decide.NoInternet, -1)
	for _, s := range []state.State{
		state.Starting, state.Fault, state.Setup, state.Closed, state.Exhausted, state.Offline,
	} {
		if d := cmp.Diff(held, compile(s, decide.NoInternet, -1)); d != "" {
			t.Errorf("%s (-paused +%s):\n%s", s, s, d)
		}
	}
	forwarding := []string{"MASQUERADE", "--map-mark", "dev eth0", "0x30000000", "-I FORWARD -m mark", "shape download", "sessions leave"}
	for _, forbidden := range append(forwarding, "shape", "pay from", "PAS-DNS-QUERY") {
		if strings.Contains(held, forbidden) {
			t.Errorf("the plan that shares nothing says %q", forbidden)
		}
	}
	named := plan.Compile(plan.Input{
		Config: c, Decision: decide.Decision{State: state.Paused, Internet: decide.NoInternet, Names: true}, NamesUser: "104",
	}).String()
	for _, forbidden := range forwarding {
		if strings.Contains(named, forbidden) {
			t.Errorf("the plan by which names alone are asked for says %q", forbidden)
		}
	}
	for _, asking := range []string{"PAS-DNS-QUERY", "-g PAS-DNS-LIMITED", "pay from"} {
		if !strings.Contains(named, asking) {
			t.Errorf("the plan by which names are asked for has no %q", asking)
		}
	}
	if strings.Contains(named, "-g PAS-DNS-OPEN") {
		t.Error("an admitted resident is answered beyond the guests' rate in a pause")
	}
	if compile(state.Sharing, decide.AllInternet, 0) == held {
		t.Error("the plan that shares is the one that does not")
	}
}

// TestClosedByNoName: a rule that blocks does not name a line, so that it also applies to a line with another name than configured,
// or one that appears later. A rule that names a line is for charging, NAT or DNS, and a plan that shares nothing has none.
func TestClosedByNoName(t *testing.T) {
	t.Parallel()
	c := example(t)
	compile := func(configured, line string, d decide.Decision) string {
		x := *c
		x.Hotspot.Radio = "none"
		x.Donations = slices.Clone(c.Donations)
		x.Donations[0].Interface = configured
		return plan.Compile(plan.Input{Config: &x, Decision: d, IfName: line}).String()
	}
	shared := decide.Decision{State: state.Sharing, Internet: decide.AllInternet, Names: true}
	names := func(text, line string) string {
		return regexp.MustCompile(`\b`+line+`\b`).ReplaceAllString(text, "LINE")
	}
	want := names(compile("line0", "", shared), "line0")
	for _, name := range []string{"usb", "usb0", "enx020000000001", "wlan1"} {
		for configured, line := range map[string]string{name: "", "usb": name} {
			if d := cmp.Diff(want, names(compile(configured, line, shared), name)); d != "" {
				t.Errorf("configured as %q, called %q:\n%s", configured, line, d)
			}
		}
	}
	opens := []string{"-j MASQUERADE", "-j PAS-CAP-", "-j PAS-MASQ", "-j PAS-DNS-QUERY", "-j PAS-DNS-RESTORE", "-j PAS-RESERVE",
		"-j PAS-UNCHARGED"} // for the answers to the box's own DNS queries
	for line := range strings.Lines(want) {
		rule := strings.HasPrefix(line, "iptables") || strings.HasPrefix(line, "ip6tables") || strings.HasPrefix(line, "nft")
		if rule && strings.Contains(line, "LINE") && !slices.ContainsFunc(opens, func(o string) bool { return strings.Contains(line, o) }) {
			t.Errorf("a rule that names the line: %s", line)
		}
	}
	held := compile("line0", "line0", decide.Decision{State: state.Offline, Donation: -1})
	if strings.Contains(held, "line0") {
		t.Error("a plan that shares nothing names a line")
	}
	for _, closing := range []string{
		"ip6tables -t mangle -I PREROUTING ! -i lo -j PAS-DROP6\n", "ip6tables -t mangle -I OUTPUT ! -o lo -j PAS-DROP6\n",
		"ip6tables -t mangle -A PAS-DROP6 -j DROP\n",
		"iptables -t filter -I FORWARD -i wlan0 -j PAS-REJECT\n", "iptables -t filter -I FORWARD -o wlan0 -j PAS-REJECT\n",
		"iptables -t filter -I FORWARD ! -i wlan0 ! -o wlan0 -j PAS-ISOLATE\n", "iptables -t filter -A PAS-ISOLATE -j DROP\n",
	} {
		for name, p := range map[string]string{"shares": want, "shares nothing": held} {
			if !strings.Contains(p, closing) {
				t.Errorf("the plan that %s has no %q", name, closing)
			}
		}
	}
}

// TestRulesAreConstant counts the rules for different limits and choices: only the number of donations may change the count.
func TestRulesAreConstant(t *testing.T) {
	t.Parallel()
	count := func(p netctl.Plan) string {
		rules, jumps := 0, 0
		for _, table := range p.Tables {
			jumps += len(table.Jumps)
			for _, c := range table.Chains {
				rules += len(c.Rules)
			}
		}
		return fmt.Sprintf("%d rules, %d jumps, %d routing rules", rules, jumps, len(p.Rules))
	}
	c := example(t)
	c.Donations = append(c.Donations, c.Donations[0])
	c.Donations[1].Name, c.Donations[1].Interface = "another", "usb0"
	var want string
	for _, rate := range []config.Rate{64e3, 4e6, 1e9} {
		for _, size := range []config.Size{1e3, 500e6, 1e15} {
			for donation := range c.Donations {
				x := *c
				x.Limits.Download, x.Limits.Data = rate, size
				got := count(plan.Compile(plan.Input{
					Config:   &x,
					Decision: decide.Decision{State: state.Sharing, Internet: decide.AllInternet, Donation: donation},
				}))
				if want == "" {
					want = got
				}
				if got != want {
					t.Errorf("with %d bit/s, %d bytes and donation %d: %s, want %s", rate, size, donation, got, want)
				}
			}
		}
	}
}

func example(t *testing.T) *config.Config {
	t.Helper()
	c, err := config.Parse("passerelle.toml", config.Example())
	if err != nil {
		t.Fatal(err)
	}
	return c
}
