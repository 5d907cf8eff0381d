package gatetest_test

import (
	"testing"
	"time"

	"passerelle/appliance/plan/plantest"
	"passerelle/netctl"
	"passerelle/netctl/gate/gatetest"
)

// fakeKernel is a Fake whose clock the suite advances.
type fakeKernel struct {
	*gatetest.Fake
	clock *time.Time
}

func (k fakeKernel) Gate(*testing.T) netctl.Gate { return k.Fake.Gate() }
func (k fakeKernel) Wait(d time.Duration)        { *k.clock = k.clock.Add(d) }

func (k fakeKernel) Pass(_ *testing.T, resident int, bytes uint64) {
	k.Fake.Pass(gatetest.ResidentAddr(resident), bytes)
}

func (k fakeKernel) Broadcast(_ *testing.T, lender int, bytes uint64, all bool) {
	k.Fake.Broadcast([]string{"eth0", "eth1"}[lender], bytes, all)
}

func (k fakeKernel) Break(t *testing.T, what gatetest.Object) {
	part := map[gatetest.Object]string{
		gatetest.Address:    "ip address",
		gatetest.Link:       "ip link",
		gatetest.Sets:       "ipset create",
		gatetest.Rules:      "ip rule",
		gatetest.Routes:     "ip route",
		gatetest.Mangle:     "iptables -t mangle",
		gatetest.NAT:        "iptables -t nat",
		gatetest.Filter:     "iptables -t filter",
		gatetest.AllTables:  "tables -t",
		gatetest.Queue:      "shape",
		gatetest.Class:      "tc class",
		gatetest.Parameters: "sysctl",
	}[what]
	switch {
	case what == gatetest.Entries || what == gatetest.ClientEntry:
		k.Flush()
	case k.Remove(part) == 0:
		t.Fatalf("the fake kernel has no %s", what)
	}
}

func TestFakeConforms(t *testing.T) {
	t.Parallel()
	gatetest.Conformance(t, plantest.Plans(), func(t *testing.T) gatetest.Kernel {
		clock := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
		k := gatetest.NewFake(func() time.Time { return clock })
		for r := range 2 {
			k.SetNeighbor(gatetest.ResidentAddr(r), gatetest.ResidentMAC(r))
		}
		return fakeKernel{Fake: k, clock: &clock}
	})
}
