package appliance

import (
	"net/netip"
	"slices"
	"time"

	"passerelle/appliance/bindings"
	"passerelle/netctl"
	"passerelle/netctl/plan"
)

const (
	// bindEvery is the least time between two looks at who has which address, but for answers that have come: while a tranche is
	// being spent there are many rounds a second.
	bindEvery = time.Second
	// settleEvery is the least time between two changes of what dnsmasq knows of devices that stay: each has it read all again.
	settleEvery = 20 * time.Second
)

// Asker is what the loop needs of arp.Asker.
type Asker interface {
	Ask(addrs []netip.Addr)
	Answers() []netctl.Claim
}

// devices are who has which address on the hotspot, as the loop knows it.
type devices struct {
	book  *bindings.Book
	of    netip.Prefix // the network that the book is about
	hosts []plan.Host  // what dnsmasq is told
	told  time.Time    // since when
	bound time.Time    // when it was last seen to that addresses are bound
}

// bind has each address on the hotspot bound to its device, and strangers asked whether theirs is.
func (b *Box) bind() {
	if !b.applied {
		return
	}
	d := &b.devices
	if network := b.Config.Hotspot.Address; d.book == nil || d.of != network {
		d.book, d.of = bindings.New(network), network
	}
	now := b.Now()
	answers := b.Asker.Answers()
	if now.Sub(d.bound) < bindEvery && len(answers) == 0 {
		return
	}
	d.bound = now
	leases, err := b.Leases()
	if err != nil {
		b.problem(err)
		return // an address whose lease is not known is not taken away for that
	}
	strangers, err := b.Gate.Strangers()
	b.problem(err)
	o := bindings.Observation{Now: now, Leases: leases, Strangers: strangers, Answers: answers}
	for _, s := range b.sessions {
		s.Left = s.Ends.Sub(now)
		o.Sessions = append(o.Sessions, s.Session)
	}
	r := d.book.Update(o)
	if _, err := b.Gate.Bind(r.Bindings); err != nil {
		b.problem(err)
	}
	b.Asker.Ask(r.Ask)
	if !slices.Equal(r.Hosts, d.hosts) && (now.Sub(d.told) >= settleEvery || !slices.Equal(taken(r.Hosts), taken(d.hosts))) {
		d.hosts, d.told = r.Hosts, now
	}
}

// taken returns the addresses that dnsmasq must not lease, with their devices.
func taken(hosts []plan.Host) (all []plan.Host) {
	for _, h := range hosts {
		if h.Addr.IsValid() {
			all = append(all, plan.Host{MAC: h.MAC, Addr: h.Addr})
		}
	}
	return all
}
