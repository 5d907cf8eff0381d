package gate_test

import (
	"context"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/decide"
	"passerelle/netctl"
	"passerelle/netctl/gate"
	"passerelle/netctl/gate/gatetest"
	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/labtest"
	"passerelle/netctl/plan"
)

var boxAddress = netip.MustParsePrefix("10.80.0.1/22")

const (
	boxPage = "This is the box.\n"
)

// lab is the standard scene with a gate on its box and residents who have their addresses without DHCP.
type lab struct {
	*netlab.Scene
	gate   netctl.Gate
	config config.Config
}

func newLab(t *testing.T, o netlab.Options) *lab {
	t.Helper()
	labtest.Root(t, "iptables", "iptables-restore", "ip6tables-restore")
	l := &lab{Scene: ok(netlab.Standard(t.Context(), o))(t)}
	labtest.Close(t, l.World)
	l.config = config.Config{
		Hotspot: config.Hotspot{Interface: netlab.HotspotInterface, Address: boxAddress},
	}
	for _, lender := range l.Lenders {
		l.config.Donations = append(l.config.Donations, config.Donation{Name: lender.Interface, Interface: lender.Interface})
	}
	for k, r := range l.Residents {
		must(t, r.SetUp("wlan0", true))
		must(t, r.AddAddress("wlan0", netip.PrefixFrom(address(k), boxAddress.Bits())))
		must(t, r.AddRoute(netip.MustParsePrefix("0.0.0.0/0"), boxAddress.Addr()))
	}
	must(t, l.Box.ServeHTTP(":80", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(boxPage)) })))
	l.gate = l.newGate(t)
	return l
}

// newGate makes another gate on the same kernel, as a daemon does that starts after a crash.
func (l *lab) newGate(t *testing.T) netctl.Gate {
	t.Helper()
	return ok(gatetest.Inside(l.Box, func() (netctl.Gate, error) { return gate.New(t.Context(), time.Now) }))(t)
}

// address returns the k-th resident's address.
func address(k int) netip.Addr { return gatetest.ResidentAddr(k) }

// sharing compiles the plan that shares the k-th lender's connection.
func (l *lab) sharing(k int) netctl.Plan {
	return plan.Compile(plan.Input{
		Config:   &l.config,
		Decision: decide.Decision{State: decide.Sharing, Internet: decide.AllInternet, Names: true, Donation: k},
		Gateway:  l.Lenders[k].Gateway,
		Networks: []netip.Prefix{l.Lenders[k].Box.Masked()},
	})
}

// paused compiles the plan that shares nothing.
func (l *lab) paused() netctl.Plan {
	return plan.Compile(plan.Input{
		Config:   &l.config,
		Decision: decide.Decision{State: decide.Paused, Internet: decide.NoInternet, Donation: -1},
	})
}

// apply applies the plan and returns the changes.
func (l *lab) apply(t *testing.T, p netctl.Plan) []string {
	t.Helper()
	return ok(l.gate.Apply(t.Context(), p))(t)
}

// share applies the plan for the first lender's connection and grants it all that anybody may use.
func (l *lab) share(t *testing.T) {
	t.Helper()
	p := l.sharing(0)
	l.apply(t, p)
	must(t, l.gate.Grant(t.Context(), netctl.Tranche{Chain: p.Cap, Bytes: netctl.Unlimited}))
}

// session returns a session for the k-th resident.
func (l *lab) session(k int) netctl.Session {
	return netctl.Session{Addr: address(k), MAC: netctl.MAC(l.Residents[k].MAC), Left: time.Hour, Data: netctl.Unlimited}
}

func (l *lab) admit(t *testing.T, k int) {
	t.Helper()
	must(t, l.gate.Admit(l.session(k)))
}

// get fetches a page and returns its body, or how it failed.
func (l *lab) get(t *testing.T, h *netlab.Host, url string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	page, err := h.Get(ctx, url)
	return page.Body, err
}

func ok[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
