package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"passerelle/netctl"
	"passerelle/netctl/netlab"
)

// baseline is a hand-made gate of the usual programs, with a thousand sessions.
type baseline struct {
	name    string
	classes bool   // each session has an HTB class
	rules   string // for iptables-restore
}

// baselines are the gates that ours is compared with. The prototype follows the same ideas, and is what our gate has to beat. The
// other one is the minimum of any such gate: a route by sender, a look-up each way, and the cap, but no protection and no limits. Its
// cost is that of the kernel's hooks, and bounds what tuning can reach.
var baselines = []baseline{
	{"prototype, 1,000 classes", true, `*mangle
-A PREROUTING -i wlan0 -m set --match-set who src,src -j MARK --set-mark 1
-A PREROUTING -i wlan0 -m mark --mark 0 -j MARK --set-mark 2
-A FORWARD -i wlan0 -j SET --map-set class src --map-prio
-A FORWARD -o wlan0 -j SET --map-set class dst --map-prio
-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
COMMIT
*nat
-A POSTROUTING -o eth0 -j MASQUERADE
COMMIT
*filter
:CAP - [0:0]
-A FORWARD -i wlan0 -m set --match-set class src ! --update-counters --bytes-lt LIMIT -j CAP
-A FORWARD -o wlan0 -m set --match-set class dst ! --update-counters --bytes-lt LIMIT -j CAP
-A FORWARD -j REJECT
-A CAP -m quota --quota QUOTA -j ACCEPT
COMMIT
`},
	{"the least that can gate, 1,000 sessions", false, `*mangle
-A PREROUTING -i wlan0 -j SET --map-set who src,src --map-mark
-A FORWARD -o wlan0 -j SET --map-set class dst --map-mark
COMMIT
*nat
-A POSTROUTING -o eth0 -j MASQUERADE
COMMIT
*filter
-A FORWARD -m mark --mark 1 -m quota --quota QUOTA -j ACCEPT
-A FORWARD -j REJECT
COMMIT
`},
}

// scene creates a scene with the gate on its box.
func (h baseline) scene(ctx context.Context, scene sceneFunc) (*netlab.Scene, error) {
	s, err := scene(ctx)
	if err != nil {
		return nil, err
	}
	if err := h.build(ctx, s); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// build builds the gate. The scene's resident is the last one that it admits.
func (h baseline) build(ctx context.Context, s *netlab.Scene) error {
	r, last := s.Residents[0], addressOf(manySessions-1)
	err := errors.Join(
		r.RemoveAddresses(netlab.HotspotInterface), setStaticAddress(r, last),
		s.Box.AddAddress(netlab.HotspotInterface, boxAddress),
		s.Box.Sysctl("net/ipv4/ip_forward", "1"),
	)
	if err != nil {
		return err
	}
	var sets, classes strings.Builder
	fmt.Fprintf(&sets, "create who bitmap:ip,mac range %s timeout 0 counters skbinfo\n", boxAddress.Masked())
	fmt.Fprintf(&sets, "create class bitmap:ip range %s timeout 0 counters skbinfo\n", boxAddress.Masked())
	devices := []string{netlab.HotspotInterface, "eth0"}
	for _, device := range devices {
		fmt.Fprintf(&classes, "qdisc add dev %s root handle 1: htb\n", device)
		fmt.Fprintf(&classes, "class add dev %s parent 1: classid 1:ffff htb rate 40gbit quantum 60000\n", device)
	}
	for k := range manySessions {
		addr, mac := addressOf(k), strangersMAC(k)
		if addr == last {
			mac = r.MAC
		}
		minor := k + 2
		fmt.Fprintf(&sets, "add who %s,%s timeout 36000 skbmark 0x1/0xf\n", addr, mac)
		fmt.Fprintf(&sets, "add class %s timeout 36000 skbmark 0x1/0xf skbprio 1:%x\n", addr, minor)
		for _, device := range devices {
			fmt.Fprintf(&classes, "class add dev %s parent 1:ffff classid 1:%x htb rate 20mbit ceil 40gbit quantum 60000\n", device, minor)
		}
	}
	routes := fmt.Sprintf(`route add default via %s dev eth0 table 100
rule add pref 100 iif wlan0 fwmark 1 lookup 100
rule add pref 101 iif wlan0 prohibit
`, s.Lenders[0].Gateway)
	steps := []struct {
		file, text string
		argv       []string
	}{
		{"sets", sets.String(), []string{"ipset", "restore", "-file"}},
		{"rules", strings.NewReplacer("LIMIT", fmt.Sprint(netctl.CountLimit), "QUOTA", fmt.Sprint(uint64(100e12))).Replace(h.rules),
			[]string{"iptables-restore"}},
		{"routes", routes, []string{"ip", "-batch"}},
		{"classes", classes.String(), []string{"tc", "-batch"}},
	}
	if !h.classes {
		steps = steps[:3]
	}
	for _, step := range steps {
		path := filepath.Join(s.Dir(), step.file)
		if err := os.WriteFile(path, []byte(step.text), 0o644); err != nil {
			return err
		}
		if _, err := s.Box.Run(ctx, append(step.argv, path)...); err != nil {
			return err
		}
	}
	return nil
}
