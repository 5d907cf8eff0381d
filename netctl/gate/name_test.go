package gate_test

import (
	"net/netip"
	"testing"
	"time"

	"passerelle/appliance/decide"
	"passerelle/appliance/plan"
	"passerelle/appliance/state"
	"passerelle/netctl"
	"passerelle/netctl/netlab"
)

// TestClosedForAnyName checks that IPv6 and the lenders' networks are closed even if the uplink's interface has another name than in
// the configuration, or appears after the plan.
func TestClosedForAnyName(t *testing.T) {
	t.Parallel()
	shared := decide.Decision{State: state.Sharing, Internet: decide.AllInternet, Names: true}
	for name, c := range map[string]struct {
		configured string // the donation's interface
		in         plan.Input
		later      bool // the uplink is plugged in after the plan has been applied
		fails      bool // the plan cannot be applied completely
	}{
		"another name":       {configured: "usb", in: plan.Input{Decision: shared}, fails: true},
		"a name of none":     {configured: "eth0", in: plan.Input{Decision: shared, IfName: "eth9"}, fails: true},
		"its real name":      {configured: "usb", in: plan.Input{Decision: shared, IfName: "eth0"}},
		"later":              {configured: "eth0", in: plan.Input{Decision: shared}, later: true, fails: true},
		"later, by any name": {configured: "usb", in: plan.Input{Decision: decide.Decision{State: state.Offline, Donation: -1}}, later: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, netlab.Options{Residents: 2, Uplinks: 2, IPv6: true})
			must(t, l.Box.Sysctl("net/ipv4/ip_forward", "1")) // by another program
			ways := l.ipv6Paths(t)
			for name, way := range ways {
				if !way(10 * time.Second) {
					t.Fatalf("%s: closed before there was a gate", name)
				}
			}
			l.config.Donations[0].Interface = c.configured
			c.in.Config = &l.config
			if c.later {
				must(t, l.Lenders[0].Unplug())
			} else {
				c.in.Gateway = l.Lenders[0].Gateway
			}
			l.apply(t, l.paused()) // as before there is an uplink, and as when a plan cannot be applied
			p := plan.Compile(c.in)
			if _, err := l.gate.Apply(t.Context(), p); (err != nil) != c.fails {
				t.Errorf("the plan is applied with %v", err)
			}
			if p.Cap != "" && !c.fails {
				must(t, l.gate.Grant(t.Context(), netctl.Tranche{Chain: p.Cap, Bytes: netctl.Unlimited}))
			}
			for k := range l.Residents {
				l.authorize(t, k)
			}
			if c.later {
				must(t, l.Lenders[0].Plug())
			}

			for name, way := range ways {
				if way(never) {
					t.Errorf("%s: IPv6 passes", name)
				}
			}
			resident := l.Residents[0].Host
			for _, to := range []string{"192.168.1.10", "192.168.1.1", "192.168.2.10"} {
				must(t, resident.AddRoute(netip.PrefixFrom(netip.MustParseAddr(to), 32), boxAddress.Addr()))
				if body, err := get(t, resident, "http://"+to+"/", never); err == nil && body != boxPage {
					t.Errorf("a resident reached %s: %s", to, body)
				}
			}
			toResident := newMailbox(t, resident, address(0))
			toLender := newMailbox(t, l.Lenders[1].NAS, netip.MustParseAddr("192.168.2.10"))
			nas := l.Lenders[0].NAS
			for _, to := range []netip.Prefix{boxAddress.Masked(), netip.MustParsePrefix("192.168.2.0/24")} {
				must(t, nas.AddRoute(to, netip.MustParseAddr("192.168.1.2")))
			}
			toResident.post(t, nas, "hello")
			toLender.post(t, nas, "hello")
			if toResident.got("hello", never) || toLender.got("hello", never) {
				t.Error("the lender's server reached beyond the box")
			}
		})
	}
}
