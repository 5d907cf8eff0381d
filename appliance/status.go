package appliance

import (
	"context"
	"slices"
	"strings"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/decide"
	"passerelle/appliance/hours"
	"passerelle/appliance/plan"
	"passerelle/appliance/state"
	"passerelle/appliance/supervise"
	"passerelle/netctl/uplink"
)

// Status returns what the box does and why.
func (b *Box) Status() state.Status {
	b.mu.RLock()
	defer b.mu.RUnlock()
	s := b.status
	s.Residents.Sessions, s.Residents.Slow = b.residents.online(), b.residents.inSlowLane()
	s.Children = childStatus(b.parts.Children.Status())
	return s
}

func childStatus(all []supervise.ChildStatus) []state.Child {
	out := []state.Child{}
	for _, c := range all {
		out = append(out, state.Child{Name: c.Name, Running: c.PID != 0, Restarts: c.Failures, LastExit: c.LastExit})
	}
	return out
}

// publish updates what other goroutines read.
func (b *Box) publish() {
	c := b.config
	d := b.decision
	now, zone := b.state, c.Box.Timezone
	s := state.Status{
		State: now, Why: d.Why, Since: b.since, Started: b.started,
		PausedBy: b.pause.By, PauseEnds: b.pause.Ends, PausedUntil: b.pause.Until.In(zone), Tomorrow: b.tomorrow().In(zone),
		Opens: d.Opens.In(zone), Resets: d.Resets.In(zone),
		Clock:     state.Clock{Now: b.now, Trusted: b.trust.By != "", By: b.trust.By},
		Centre:    c.Box.Name,
		Hotspot:   state.Hotspot{Interface: c.Hotspot.Interface, Address: c.Hotspot.Address.String(), WiFi: wifiStatus(c.Hotspot, b.radios)},
		Board:     *b.board.last.Load(),
		Residents: state.Residents{Download: uint64(c.Limits.Download), Upload: uint64(c.Limits.Upload), Data: uint64(c.Limits.Data), After: uint64(c.Limits.After), Started: b.residents.started},
		Problems:  state.Causes(slices.Concat(b.lastingProblems(), b.problems.all, b.faults(), b.board.last.Load().Problems)),
		Donations: []state.Donation{}, Downloads: []state.Download{},
		Layers: b.layers.status,
	}
	s.Hotspot.Metered, s.Hotspot.MeteredWhy = d.Metered != "", d.Metered
	if s.Hotspot.Tracked = b.sample.ConntrackMax; s.Hotspot.Tracked != 0 {
		if want := plan.ConntrackMax(b.parts.Memory); want > s.Hotspot.Tracked {
			s.Hotspot.TrackedWanted = want
		}
	}
	s.Hotspot.Queue = b.parts.Gate.Queue()
	if b.inSetup() {
		s.Setup = b.now.Add(b.setupEnd.Sub(b.parts.Now()))
	}
	for i, x := range b.lines.observations() {
		chosen := i == d.Donation && now != state.Starting
		status := b.lines.all[i].status(x, d.Internet, chosen, zone)
		status.Tomorrow = b.lines.tomorrow(b.lines.all[i]).In(zone)
		setProofs(&status, b.parts.Prober.Health(b.lines.all[i].uplink.Interface), b.now, b.parts.Now())
		if chosen {
			status.Rate = b.pacer.status(b.lines.all[i])
		}
		if b.lines.all[i].WiFi != nil {
			status.Signal = b.parts.Joiner.State(status.Interface).Signal
		}
		s.Donations = append(s.Donations, status)
	}
	site := state.Site{
		State: now, Centre: c.Box.Name,
		Address: c.Hotspot.Address.Addr(), Network: c.Hotspot.Address.Masked(), Hostname: c.Box.Hostname,
		Language: c.Box.Language, Languages: strings.Join(c.Box.Languages, " "), PortalURL: c.Box.PortalURL, Location: zone,
		SessionLength: c.Limits.Session,
		Download:      uint64(c.Limits.Download), Upload: uint64(c.Limits.Upload), Data: uint64(c.Limits.Data),
		Opens: d.Opens, Resets: d.Resets, DataResets: b.residents.day.ends(), Card: b.card,
		Essential: b.applied && b.walledGarden(), Services: b.services, Notice: b.layers.notice,
	}
	if now == state.Paused && b.pause.Ends && !b.pause.Until.IsZero() {
		site.Resumes = b.pause.Until.In(zone)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if now != b.site.State {
		close(b.changed)
		b.changed = make(chan struct{})
	}
	b.used, b.written, b.site, b.status, b.plan, b.lastReconcile = c, b.file, site, s, b.compiled.plan, b.parts.Now()
}

// PlanText returns the last plan as text, without any sessions.
func (b *Box) PlanText() string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.plan.String()
}

// NextState waits until the State differs from the known one, and returns it. The error is ctx's, if that ends first.
func (b *Box) NextState(ctx context.Context, known state.State) (state.State, error) {
	for {
		b.mu.RLock()
		now, changed := b.site.State, b.changed
		b.mu.RUnlock()
		if now != known {
			return now, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return known, ctx.Err()
		}
	}
}

// lastingProblems returns the problems that last until somebody fixes them or a period ends.
func (b *Box) lastingProblems() (all []state.Problem) {
	if b.refused != nil {
		all = append(all, state.NewProblem(state.ConfigRefused, "error", b.refused.Error()))
	}
	if b.parts.Lost != nil && slices.ContainsFunc(b.lines.all, func(d *donation) bool { return d.Cap != 0 && d.balance.Lost }) {
		all = append(all, state.NewProblem(state.AccountsLost, "error", b.parts.Lost.Error()))
	}
	if until, end := schoolDatesEnd(b.config, b.lines.clock); end && b.lines.trusted {
		all = append(all, state.NewProblem(state.SchoolDatesEnd, "until", until.Format(time.DateOnly)))
	}
	return all
}

// schoolDatesEnd returns the last day whose school holidays are known, and whether opening hours need later ones within two months.
func schoolDatesEnd(c *config.Config, now time.Time) (until time.Time, end bool) {
	needed := c.Centre.Hours.School() || slices.ContainsFunc(c.Donations, func(d config.Donation) bool { return d.Hours.School() })
	until = hours.SchoolKnown(c.Box.SchoolZone)
	return until, needed && now.After(until.AddDate(0, -2, 0))
}

// LastReconcile returns when the loop's last pass ended, by the clock of Parts.Now: normally at most a few seconds ago.
func (b *Box) LastReconcile() time.Time {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.lastReconcile
}

func (d *donation) status(
	x decide.Donation, internet decide.Internet, chosen bool, zone *time.Location,
) state.Donation {
	l := d.balance
	s := state.Donation{
		Name: d.Name, Interface: d.Interface,
		Chosen: chosen && internet == decide.AllInternet, Essential: chosen && internet == decide.EssentialOnly,
		Kind: d.uplink.Kind, Open: x.Open, Opens: x.Opens.In(zone),
		PausedBy: d.pause.By, PausedUntil: d.pause.Until.In(zone), PausedDay: d.pause.Tomorrow, Up: d.uplink.Works, Works: x.Works, Why: x.Why, Slow: x.Slow, Servers: []string{}, Spent: x.Spent,
		Cap: uint64(d.Cap), Used: l.Used, Overage: l.Overrun, Granted: l.Granted, Left: l.Left, Reserve: l.Reserve, Margin: l.Margin,
		Daily: l.DailyBudget, OwnUse: l.OwnUse, Lost: d.Cap != 0 && l.Lost, Stated: l.Stated, Lowered: l.Lowered, Broadcasts: l.Broadcasts, BroadcastsCount: d.Broadcast,
		Autorate: d.Autorate, Period: d.Period, PeriodStart: l.Start.In(zone), Resets: l.Resets.In(zone),
		Days: daysOf(d.account),
	}
	s.Until, s.Ended, s.Undated = state.Date{Time: d.Until.Time()}, x.Ended, x.Undated
	if d.uplink.Present {
		s.Ifname = d.uplink.Interface
	}
	for _, a := range d.servers() {
		s.Servers = append(s.Servers, a.String())
	}
	return s
}

// setProofs sets what last proved that a line works. now is the time of day, mono the same by the monotonic clock of proofs.
func setProofs(s *state.Donation, h uplink.Health, now, mono time.Time) {
	for to, p := range map[*state.Proof]uplink.Proof{
		&s.ProvedNames: h.Names, &s.ProvedPage: h.Page, &s.ProvedTraffic: h.Traffic,
	} {
		if !p.At.IsZero() {
			// The time of day may have been set since then.
			*to = state.Proof{At: now.Add(p.At.Sub(mono)).Round(time.Millisecond), What: p.What}
		}
	}
}
