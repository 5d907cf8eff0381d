package appliance

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/decide"
	"passerelle/appliance/plan"
	"passerelle/appliance/state"
	"passerelle/appliance/supervise"
	"passerelle/netctl"
	"passerelle/netctl/wpa"
)

// reconcile is one pass of the loop: it observes, decides, and applies the plan. It returns the time until the next pass.
func (b *Box) reconcile(ctx context.Context) time.Duration {
	b.problems.reset()
	b.observe()
	b.decide()
	err := b.apply(ctx)
	if ctx.Err() != nil { // an interrupted apply is not an error
		b.applyErr = state.ErrStopped
		b.saveState()
		b.problems.add(state.DiskFails, b.savePause())
		return period
	}
	if b.decision.State != state.Fault {
		b.attempts.recordResult(err, b.parts.Now())
		// The first plan has been applied, or this one cannot be applied.
		b.decide()
		if b.decision.State == state.Fault {
			err = errors.Join(err, b.apply(ctx)) // closes as much as possible
		}
	}
	if err == nil {
		b.restore() // if the kernel could not be read at first
		b.accept()
	}
	b.applyErr = err
	if b.applied {
		b.lines.commitGrants(ctx, b.sample.Tranches)
	}
	b.share()
	b.pace()
	b.residents.saveUsage()
	b.saveState()
	b.problems.add(state.DiskFails, b.savePause())
	if ctx.Err() == nil {
		b.logChanges(err)
	}
	b.publish()
	next := period
	if d := b.lines.chosen; d != nil && d.Cap != 0 && b.decision.Internet != decide.NoInternet {
		// DNS alone uses little.
		if n := b.residents.online(); n > 0 || b.walledGarden() {
			next = min(next, d.drainTime(n, b.config))
		}
	}
	return b.attempts.next(b.parts.Now(), next)
}

func (b *Box) observe() {
	b.readClock()
	b.endPause()
	b.readConntrackMax()
	if b.residents.newDay() {
		b.resetUsage()
	}
	b.readCounters()
	b.lines.readNetworks()
	b.observeRadios()
	b.lines.endPauses()
	b.lines.probe(b.applied && b.state == state.Sharing && b.residents.online() > 0)
	b.lines.trackHealth()
	if b.applied {
		b.devices.bind(b.config.Hotspot.Address, b.residents.sessions, b.parts.Now())
	}
}

// readClock reads the time of day.
func (b *Box) readClock() {
	now, trust := b.parts.Clock.Now()
	b.now, b.trust = now.In(b.config.Box.Timezone), trust
	b.residents.setTime(b.now, trust.By != "")
	b.lines.setTime(b.now, trust.By != "")
}

// readConntrackMax reads the size of the conntrack table before the first plan.
func (b *Box) readConntrackMax() {
	if b.applied || b.sample.ConntrackMax != 0 {
		return
	}
	s, err := b.parts.Gate.ReadCounters()
	b.problems.add(state.KernelFails, err)
	b.sample.ConntrackMax = s.ConntrackMax
}

// readCounters reads the kernel's counters, then the lines', and updates the accounts if both succeeded. Bytes that pass
// between the two reads look as if they were used twice, so that a small cap could seem spent for a moment. It reads again
// if the two were too far apart.
func (b *Box) readCounters() {
	l, ok := b.lines, false
	for range 3 {
		start := b.parts.Now()
		kernel := b.readSample() && l.readBroadcasts(&l.broadcastsBefore)
		ok = l.read() && l.readBroadcasts(&l.broadcastsAfter) && kernel
		if b.parts.Now().Sub(start) < maxReadSkew {
			break
		}
	}
	if ok {
		l.observe(b.sample.Tranches)
	}
}

// readSample reads the kernel's counters, after the first plan. It returns whether it succeeded.
func (b *Box) readSample() bool {
	if !b.applied {
		return false
	}
	s, err := b.parts.Gate.ReadCounters()
	if err != nil {
		b.problems.add(state.KernelFails, err)
		return false
	}
	b.sample = s
	b.residents.observe(s.Sessions)
	return true
}

// decide updates the decision from the observation.
func (b *Box) decide() {
	b.decision = decide.Decide(b.observation())
	b.choose(b.decision.Donation)
}

func (b *Box) observation() decide.Observation {
	o := decide.Observation{
		Now: b.now, Applied: b.applied, Configured: b.parts.Configured, SetupAsked: b.inSetup(), Paused: b.pause.By != "",
		PausedBy: b.pause.String(), Chosen: b.decision.Donation, LastChosen: b.lines.index(b.lines.lastChosen),
		Donations: b.lines.observations(),
	}
	if b.refused != nil {
		o.Refused = b.refused.Error()
	}
	for _, p := range b.faults() {
		if p.Code == state.HotspotRadio && b.untouched() {
			o.NoWiFi = b.noWiFi()
			continue
		}
		o.Fault = p.String()
		break
	}
	return o
}

// choose selects the donation with that index, -1 for none.
func (b *Box) choose(donation int) {
	b.decision.Donation = donation
	b.lines.choose(donation)
}

// configure applies the configuration to the loop's state.
func (b *Box) configure() {
	b.residents.configure(b.config.Limits, b.config.Hotspot.Address)
	b.services = nil
	if all := b.config.Essential.Services(); len(all) > 0 {
		b.services = new([]state.Service)
		for _, s := range all {
			*b.services = append(*b.services, state.Service(s))
		}
	}
	b.card = newCard(b.config)
	b.lines.configure(b.config)
	b.decision.Donation = b.lines.index(b.lines.chosen)
}

// newCard returns the centre's card from a configuration.
func newCard(c *config.Config) *state.Card {
	card := &state.Card{
		Address: c.Centre.Address, Postcode: c.Centre.Postcode, Town: c.Centre.Town, Phone: c.Centre.Phone,
		Hours: c.Centre.Hours.String(), SchoolZone: string(c.Box.SchoolZone), Desk: c.Centre.Desk,
	}
	if p := c.Box.Coordinates; p != nil {
		card.Located, card.Latitude, card.Longitude = true, p.Latitude, p.Longitude
	}
	return card
}

// apply applies the decision's plan to kernel and children.
func (b *Box) apply(ctx context.Context) error {
	in := plan.Input{
		Config: b.config, Decision: b.decision, Networks: b.lines.networks, Memory: b.parts.Memory, ConntrackMax: b.sample.ConntrackMax,
		NamesUser: b.parts.DNSUser(),
		LANs:      b.lines.lans(),
	}
	out := plan.Environment{
		HotspotIndex: b.lines.hotspot.Index, AccessPoint: b.radios.AccessPoint, Radios: b.lines.radios(),
		Essential: b.decision.Internet == decide.EssentialOnly,
		Metered:   b.decision.Metered != "",
	}
	if d := b.lines.chosen; d != nil {
		in.IfName = d.uplink.Interface
		in.Gateway = d.uplink.Gateway
		in.ClampMSS = d.uplink.MTU < b.lines.hotspot.MTU
		for _, a := range d.servers() {
			out.Resolvers = append(out.Resolvers, plan.Resolver{Addr: a, Interface: d.uplink.Interface})
		}
		in.NameServers = len(out.Resolvers)
		b.dnsUplink = d.uplink.Index
		b.lines.lastChosen = d
	}
	out.UplinkIndex = b.dnsUplink
	if !reflect.DeepEqual(b.compiled.from, in) { // it rarely changes
		b.compiled.from, b.compiled.plan = in, plan.Compile(in)
	}
	changes, err := b.parts.Gate.Apply(ctx, b.compiled.plan)
	if len(changes) > 0 {
		b.parts.Log.Debug("applied", "changes", len(changes), "first", changes[0])
	}
	if err != nil {
		return err
	}
	if !b.applied {
		b.applied = true
		// Sessions that a crashed daemon left in the kernel continue.
		b.readCounters()
		b.restore()
		b.devices.bind(b.config.Hotspot.Address, b.residents.sessions, b.parts.Now())
	}
	out.Hosts = b.devices.hosts // bound before dnsmasq leases any address
	children := plan.Children(b.config, out, b.parts.RunDir)
	if err := b.parts.Children.Set(children); !errors.Is(err, supervise.ErrStopped) {
		b.problems.add(state.Failed, err)
	}
	if a := out.AccessPoint; a != nil { // after hostapd's configuration is written
		b.parts.Beacons.SetBeacon(wpa.Beacon{Sockets: plan.HostapdSockets(*a, b.parts.RunDir), Elements: plan.NetworkCost(out.Metered)})
	}
	return nil
}

// restore restores what the last daemon left, once the kernel can be read.
func (b *Box) restore() {
	if b.residents.ready() {
		return
	}
	remembered, err := b.parts.Gate.SavedUsage()
	if err != nil {
		b.problems.add(state.KernelFails, err)
		return
	}
	if b.residents.restore(remembered) {
		b.resetUsage()
	}
	if n := b.residents.online(); n > 0 {
		b.parts.Log.Info("sessions restored", "count", n)
	}
	b.problems.add(state.RunFolderFails, b.parts.Restored())
}

// handOver returns the handover for the next daemon.
func (b *Box) handOver() (Handover, error) {
	sessions, err := b.parts.Gate.Sessions()
	var remembered map[netctl.MAC]uint64
	if !b.residents.ready() {
		var failed error
		remembered, failed = b.parts.Gate.SavedUsage()
		err = errors.Join(err, failed)
	}
	return b.residents.handOver(sessions, remembered), err
}

// resetUsage resets the usage of all devices.
func (b *Box) resetUsage() {
	b.readSample()
	b.residents.resetUsage()
}

// share updates the shares of running sessions. During a pause it does nothing.
func (b *Box) share() {
	d := b.lines.chosen
	if d == nil || b.decision.Internet == decide.NoInternet || !b.residents.ready() {
		return
	}
	r := b.residents
	today := r.count(b.lines.sharing(b.config.Limits.Data), r.running())
	d.account.SetResidents(today.Residents())
	if r.needsRegrant(today) {
		b.readSample()
		r.regrant(today)
	}
}

// pace makes the rates follow the capacity of the line in use, while somebody is online.
func (b *Box) pace() {
	d := b.lines.chosen
	if !b.applied || d == nil || !d.Autorate || !d.uplink.Present || b.decision.Internet == decide.NoInternet ||
		b.residents.online() == 0 {
		d = nil
	}
	b.pacer.follow(d, plan.Hotspot(b.config))
	b.problems.add(state.KernelFails, b.pacer.err)
}

// walledGarden tells whether essential services are reachable now.
func (b *Box) walledGarden() bool {
	return b.decision.Internet != decide.NoInternet && len(b.config.Essential.Names) > 0
}

// accept reports the configuration as accepted if it has been applied and is not a fault.
func (b *Box) accept() {
	if b.parts.Configured && b.decision.State != state.Fault {
		b.problems.add(state.ConfigUnkept, b.accepted.offer(b.file, b.parts.Now()))
	}
}

// logChanges logs what changed since the last pass: the State, and new problems.
func (b *Box) logChanges(err error) {
	if b.decision.State != b.state {
		b.state, b.since = b.decision.State, b.parts.Now()
		b.parts.Log.Info("state", "state", b.state, "why", b.decision.Why)
	}
	b.problems.add(state.PlanRefused, err)
	if fresh := b.problems.unlogged(); len(fresh) > 0 {
		b.parts.Log.Warn("problem", "error", strings.Join(fresh, "; "))
	}
}

// saveState stores the runtime state when it has changed.
func (b *Box) saveState() {
	k := RuntimeState{Trust: b.trust, Day: b.residents.day.current}
	if !b.pause.Ends {
		k.PausedBy, k.Fleet = b.pause.By, b.pause.Fleet
	}
	if d := b.lines.chosen; d != nil {
		k.Donation = d.Name
	}
	same := b.savedState
	if (k.Trust.Offset - same.Trust.Offset).Abs() < time.Second {
		same.Trust.Offset = k.Trust.Offset
	}
	if k == same {
		return
	}
	if err := b.parts.SaveState(k); err != nil {
		b.problems.add(state.RunFolderFails, err)
		return
	}
	b.savedState = k
}
