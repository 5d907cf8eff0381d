package appliance

import (
	"net/netip"
	"slices"
	"time"

	"passerelle/appliance/bindings"
	"passerelle/appliance/plan"
	"passerelle/appliance/state"
	"passerelle/netctl"
)

const (
	// bindInterval is the minimum time between two updates of the bindings, unless ARP replies have arrived: while a tranche is
	// in use the loop runs many times a second.
	bindInterval = time.Second
	// hostsInterval is the minimum time between two changes of dnsmasq's hosts file for bound devices: each makes it reload all.
	hostsInterval = 20 * time.Second
)

// Asker is what the loop needs of arp.Asker.
type Asker interface {
	Ask(addrs []netip.Addr)
	Answers() []netctl.Claim
}

// devices are the bindings of addresses to devices on the hotspot.
type devices struct {
	gate    deviceGate
	asker   Asker
	leases  func() ([]bindings.Lease, error)
	problem report // records errors that stop nothing

	table      *bindings.Table
	network    netip.Prefix // of the table
	hosts      []plan.Host  // dnsmasq's
	hostsSince time.Time    // when they last changed
	lastBind   time.Time    // when the bindings were last updated
}

// deviceGate is what devices need of netctl.Gate.
type deviceGate interface {
	Bind(all []netctl.Binding) (changed int, err error)
	UnknownSources() ([]netctl.UnknownSource, error)
}

// bind binds each address of the hotspot's network to its device, and probes unknown devices for their addresses.
func (d *devices) bind(network netip.Prefix, sessions map[netip.Addr]session, now time.Time) {
	if d.table == nil || d.network != network {
		d.table, d.network = bindings.New(network), network
	}
	answers := d.asker.Answers()
	if now.Sub(d.lastBind) < bindInterval && len(answers) == 0 {
		return
	}
	d.lastBind = now
	leases, err := d.leases()
	if err != nil {
		d.problem(state.Failed, err)
		return // without the leases, no binding may be removed
	}
	strangers, err := d.gate.UnknownSources()
	d.problem(state.KernelFails, err)
	o := bindings.Observation{Now: now, Leases: leases, UnknownSources: strangers, Answers: answers}
	for _, s := range sessions {
		s.Left = s.Ends.Sub(now)
		o.Sessions = append(o.Sessions, s.Session)
	}
	r := d.table.Update(o)
	if _, err := d.gate.Bind(r.Bindings); err != nil {
		d.problem(state.KernelFails, err)
	}
	d.asker.Ask(r.Probe)
	if !slices.Equal(r.Hosts, d.hosts) && (now.Sub(d.hostsSince) >= hostsInterval || !slices.Equal(boundHosts(r.Hosts), boundHosts(d.hosts))) {
		d.hosts, d.hostsSince = r.Hosts, now
	}
}

// boundHosts returns the addresses that dnsmasq must not lease to others, with their devices.
func boundHosts(hosts []plan.Host) (all []plan.Host) {
	for _, h := range hosts {
		if h.Addr.IsValid() {
			all = append(all, plan.Host{MAC: h.MAC, Addr: h.Addr})
		}
	}
	return all
}
