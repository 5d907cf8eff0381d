// Package plantest compiles the plans that the conformance suite of gates applies, for the suite's own scene.
package plantest

import (
	"net/netip"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/decide"
	"passerelle/appliance/plan"
	"passerelle/appliance/state"
	"passerelle/netctl"
	"passerelle/netctl/gate/gatetest"
)

// Plans returns the suite's plans.
func Plans() gatetest.Plans {
	all := config.Config{
		Hotspot: config.Hotspot{Interface: "wlan0", Address: gatetest.Hotspot},
		Limits:  config.Limits{Session: time.Hour, Download: 8e6, Upload: 4e6, Data: 500e6},
		Donations: []config.Donation{
			{Name: "first", Interface: "eth0", Download: 40e6, Upload: 20e6, Cap: 1e9},
			{Name: "second", Interface: "eth1", Download: 20e6},
		},
	}
	limited, unlimited, withoutFirst := all, all, all
	limited.Limits.Download, limited.Limits.Upload = 2e6, 1e6
	unlimited.Limits = config.Limits{Session: time.Hour}
	unlimited.Donations = []config.Donation{{Name: "first", Interface: "eth0"}}
	withoutFirst.Donations = all.Donations[1:]

	captive := decide.Decision{State: state.Paused, Internet: decide.NoInternet, Donation: -1}
	return gatetest.Plans{
		Sharing:      [2]netctl.Plan{sharing(&all, 0), sharing(&all, 1)},
		Captive:      plan.Compile(plan.Input{NamesUser: "65533", Config: &all, Decision: captive, LANs: lans(&all)}),
		Limited:      sharing(&limited, 0),
		Unlimited:    sharing(&unlimited, 0),
		WithoutFirst: sharing(&withoutFirst, 0),
	}
}

// sharing is the plan that shares a donation's connection.
func sharing(c *config.Config, donation int) netctl.Plan {
	own := lans(c)[donation].Networks
	return plan.Compile(plan.Input{
		NamesUser: "65533",
		Config:    c,
		Decision:  decide.Decision{State: state.Sharing, Internet: decide.AllInternet, Names: true, Donation: donation},
		Gateway:   own[0].Addr().Next(),
		Networks:  own,
		LANs:      lans(c),
	})
}

// lans are the donations' lines, all of which are up.
func lans(c *config.Config) (all []plan.LAN) {
	for k, d := range c.Donations {
		network := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(k + 1), 0}), 24)
		all = append(all, plan.LAN{Interface: d.Interface, Networks: []netip.Prefix{network}})
	}
	return all
}
