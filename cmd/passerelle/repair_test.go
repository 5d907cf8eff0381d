package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
)

// TestBroken: every external change in the kernel is repaired, and ends no session. What must fail closed until then is checked while the
// daemon is stopped by a signal.
func TestBroken(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{Residents: 2})
	r, stranger := b.scene.Residents[0], b.scene.Residents[1]
	b.newcomer(r)
	b.join(stranger)
	began := b.sessionOf(r)

	for _, c := range []struct {
		what   string
		script string
		open   bool // authorized residents may pass in the meantime
	}{
		{"mangle flushed", "iptables -t mangle -F; iptables -t mangle -X", false},
		{"nat flushed", "iptables -t nat -F; iptables -t nat -X", false},
		{"filter flushed", "iptables -F; iptables -X", false},
		{"all flushed", "for t in mangle nat filter; do iptables -t $t -F; iptables -t $t -X; done", false},
		{"IPv6 flushed", "ip6tables -t mangle -F; ip6tables -t mangle -X", true},
		{"tables of frames flushed", "nft flush table netdev passerelle; nft flush table ip passerelle", true},
		{"tables of frames deleted", "nft delete table netdev passerelle; nft delete table ip passerelle", true},
		{"bindings flushed", "nft flush set netdev passerelle bindings", false},
		{"set of members flushed", "ipset flush pas-clients", false},
		{"set of classes flushed", "ipset flush pas-accounting", false},
		{"set of the day flushed", "ipset flush pas-usage", true},
		{"sets destroyed", "iptables -t raw -F; iptables -t mangle -F; iptables -F; for s in pas-clients pas-accounting pas-usage; do ipset destroy $s; done", false},
		{"hotspot's queue deleted", "tc qdisc del dev wlan0 root", true},
		{"uplink's queue deleted", "tc qdisc del dev eth0 root", true},
		{"a class deleted", "for c in $(tc class show dev wlan0 | grep leaf | cut -d' ' -f3); do tc class del dev wlan0 classid $c; done", true},
		{"another's queue", "tc qdisc replace dev wlan0 root handle 1: pfifo", true},
		{"address removed", "ip address flush dev wlan0", false},
		{"rule for members removed", "ip rule del pref 8010", false},
		{"rule for others removed", "ip rule del pref 8011", true},
		{"both rules removed", "ip rule del pref 8010; ip rule del pref 8011", true},
		{"routes for members removed", "ip route flush table 8010", false},
		{"routes for others removed", "ip route flush table 8011", true},
		{"forwarding switched off", "echo 0 > /proc/sys/net/ipv4/ip_forward", false},
		{"interface switched off", "ip link set wlan0 down", false},
	} {
		b.frozen(func() {
			b.run("sh", "-ec", c.script)
			if err := b.echo(r, brief/4); !c.open && err == nil {
				t.Errorf("%s: who is admitted passes", c.what)
			}
			if err := b.echo(stranger, brief/4); err == nil {
				t.Errorf("%s: who is not admitted passes", c.what)
			}
		})
		wait(t, "repair: "+c.what, func() error { return b.sound(r) })
		if t.Failed() {
			t.Fatal("stopped at the first of these: ", c.what)
		}
	}
	b.blocked(stranger)
	b.sessions(1)
	if now := b.sessionOf(r); *now.BytesLeft > *began.BytesLeft || *now.BytesGiven != *began.BytesGiven ||
		now.SecondsLeft > began.SecondsLeft {
		t.Errorf("the session began with %d bytes and %d s and has %d and %d",
			*began.BytesLeft, began.SecondsLeft, *now.BytesLeft, now.SecondsLeft)
	}
	limited(t, b, r, 8e6)
}

// sound returns nil if the whole plan is in the kernel and the resident is online.
func (b *box) sound(r *netlab.Resident) error {
	if err := b.reaches(r); err != nil {
		return err
	}
	for command, want := range map[string][]string{
		"iptables-save": {
			":PAS-PREROUTING ", ":PAS-NAT-NEW ", ":PAS-INPUT ", "-A PREROUTING -i wlan0 -m conntrack ! --ctstate INVALID -j PAS-PREROUTING",
			"-A FORWARD -i wlan0 -j PAS-REJECT",
			"-j PAS-DOWNLOAD", "-A POSTROUTING -s 10.80.0.0/22 -o eth0 -j PAS-MASQ", "pas:tranche:",
		},
		"ip6tables-save":            {"-A PREROUTING ! -i lo -j PAS-DROP6", "-A OUTPUT ! -o lo -j PAS-DROP6"},
		"ipset list pas-clients":    {b.scene.Residents[0].Lease().Address.Addr().String() + ","},
		"ipset list pas-accounting": {b.scene.Residents[0].Lease().Address.Addr().String() + " "},
		"nft list table netdev passerelle": {
			`hook ingress device "wlan0"`, `hook egress device "wlan0"`, "add @strangers-", "update @guest-rate", "update @bindings",
		},
		"nft list table ip passerelle": {"type nat hook prerouting", "add @others { ether saddr ct count over"},
		"ipset list pas-usage":         {strings.ToUpper(b.scene.Residents[0].MAC.String()) + " "},
		"tc qdisc show dev wlan0":      {"htb 7a5: root"},
		"tc qdisc show dev eth0":       {"htb 7a5: root"},
		"tc class show dev wlan0":      {"parent 7a5:ffff leaf", "ceil 8Mbit"},
		"tc class show dev eth0":       {"parent 7a5:ffff leaf", "ceil 4Mbit"},
		"ip rule":                      {"8009:", "8010:", "8011:"},
		"ip route show table 8010":     {"default via 192.168.1.1 dev eth0", "local 192.168.0.0/16"},
		"ip route show table 8011":     {"local default dev lo"},
		"ip -4 address show dev wlan0": {boxPrefix},
	} {
		out, err := b.scene.Box.Run(b.t.Context(), strings.Fields(command)...)
		if err != nil {
			return err
		}
		for _, w := range want {
			if !strings.Contains(out, w) {
				return fmt.Errorf("%s does not say %q:\n%s", command, w, out)
			}
		}
	}
	return nil
}

// limited fails the test unless the resident downloads at the rate, in bit/s.
func limited(t *testing.T, b *box, r *netlab.Resident, rate float64) {
	t.Helper()
	d := b.download(r)
	defer d.Stop()
	b.atRate(d, rate)
}

// atRate waits until the download has had the rate for a second.
func (b *box) atRate(d *netlab.Transfer, rate float64) {
	b.t.Helper()
	wait(b.t, fmt.Sprintf("%.1f Mbit/s", rate/1e6), func() error {
		got := d.Recent(10 * netlab.Tick)
		if d.Elapsed() < 10*netlab.Tick || got < 0.85*rate || got > 1.05*rate {
			return fmt.Errorf("%.2f Mbit/s", got/1e6)
		}
		return nil
	})
}

// TestChildrenKilled: DNS and DHCP recover soon after their processes are killed.
func TestChildrenKilled(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{Residents: 2})
	r, late := b.scene.Residents[0], b.scene.Residents[1]
	b.newcomer(r)
	b.waitSound()
	pids := b.children()
	if len(pids) != 3 {
		t.Fatalf("the children are %v", pids)
	}
	for _, pid := range pids {
		b.must(syscall.Kill(pid, syscall.SIGKILL))
	}
	wait(t, "other children", func() error {
		now := b.children()
		for name, pid := range pids {
			if now[name] == 0 || now[name] == pid {
				return fmt.Errorf("they are %v", now)
			}
		}
		return nil
	})
	b.waitSound()
	b.newcomer(late)
	b.online(r)

	b.mustDo("pause")
	wait(t, "every name to be the box's", func() error {
		a, err := r.Query(t.Context(), r.Lease().Router, "www.example", dnsmessage.TypeA)
		if err == nil && (len(a.Addrs) != 1 || a.Addrs[0] != r.Lease().Router) {
			err = fmt.Errorf("www.example is %v", a.Addrs)
		}
		return err
	})
}

// children returns the ids of the daemon's children.
func (b *box) children() map[string]int {
	b.t.Helper()
	files, err := filepath.Glob(b.path("pids/*.pid"))
	b.must(err)
	pids := map[string]int{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		b.must(err)
		first, rest, _ := strings.Cut(string(text), "\n")
		if rest == "" {
			continue // it is being written
		}
		pid, err := strconv.Atoi(first)
		b.must(err)
		pids[filepath.Base(file)] = pid
	}
	return pids
}

// TestHotspotVanishes: the box reports the missing interface, and works once it is back.
func TestHotspotVanishes(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{Residents: 2})
	r, late := b.scene.Residents[0], b.scene.Residents[1]
	b.newcomer(r)
	b.must(b.scene.Hotspot.Unplug())
	b.waitStatus("a fault", func(s state.Status) error {
		if s.State != state.Fault || !strings.Contains(s.Why, "wlan0") {
			return fmt.Errorf("%s: %s", s.State, s.Why)
		}
		return nil
	})
	b.must(b.scene.Hotspot.Plug())
	b.waitState(state.Sharing)
	b.waitOnline(r)
	b.sessions(1)
	b.newcomer(late)
	b.waitSound()
	limited(t, b, r, 8e6)
}
