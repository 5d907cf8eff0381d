package main

import (
	"fmt"
	"testing"
	"time"

	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
)

// TestLineThatCarriesLess: if a line carries a seventh of what was lent, the box uses only what it carries, and the queue beyond the box
// becomes short while residents fill the line. When the line carries more again, so do the residents. Probes go to the line's first name
// server, either beyond the line, or on the lender's own router, whose answers tell nothing about the line.
func TestLineThatCarriesLess(t *testing.T) {
	t.Parallel()
	for name, dns := range map[string]string{"probes": `dns = ["` + netlab.DNSAddr.String() + `"]`, "connections": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			shape := netlab.Shape{Down: 6e6, Up: 6e6, Queue: time.Second}
			b := newBox(t, settings{down: "40mbit", up: "20mbit", data: "0", more: "\nautorate = true\n" + dns},
				netlab.Options{Residents: 2, NoOffload: true, Shape: shape})
			var transfers []*netlab.Transfer
			for k, r := range b.scene.Residents {
				b.newcomer(r)
				x, err := netlab.Bulk{
					From: r.Host, To: b.scene.Internet.Host, Addr: netlab.WebAddr, Streams: 8 - 7*k, Reverse: true,
				}.Start(t.Context())
				b.must(err)
				transfers = append(transfers, x)
			}
			rate := func(what string, least, most uint64) {
				t.Helper()
				b.waitStatus(what, func(s state.Status) error {
					_, _ = b.get(b.scene.Residents[1], somePage) // a new connection
					if r := s.Donations[0].Rate; r == nil || r.Down > most || r.Down < least {
						return fmt.Errorf("the rate is %+v", r)
					}
					return nil
				})
			}
			rate("a rate that the line carries", 2e6, 6.1e6) // it starts at a quarter of what was lent
			wait(t, "a short queue beyond the box", func() error {
				_, _ = b.get(b.scene.Residents[1], somePage)
				trips, err := b.scene.Box.Echo(t.Context(), netlab.WebAddr, 10, 20*time.Millisecond)
				if err != nil {
					return err
				}
				for _, trip := range trips {
					if trip > 300*time.Millisecond {
						return fmt.Errorf("an echo took %v", trip)
					}
				}
				return nil
			})
			if dns != "" { // without probes the rate recovers slowly
				b.must(b.scene.Lenders[0].SlowLink.SetShape(netlab.Shape{Down: 60e6, Up: 60e6, Queue: time.Second}))
				rate("the lent rate", 35e6, 40e6)
			}
			for _, x := range transfers {
				b.must(x.Stop())
			}
		})
	}
}
