package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"passerelle/appliance"
	"passerelle/appliance/admin"
	"passerelle/appliance/decide"
)

// lenders is the box as lenders' pages see it.
type lenders struct{ box *appliance.Box }

var _ admin.Lenders = lenders{}

func (l lenders) Donation(name string) (admin.Donation, bool) {
	s := l.box.Status()
	i := slices.IndexFunc(s.Donations, func(d appliance.DonationStatus) bool { return d.Name == name })
	if i < 0 {
		return admin.Donation{}, false
	}
	d := s.Donations[i]
	left, granted := apart(d)
	a := admin.Donation{
		Name: d.Name, State: stateOf(d, s.State), Why: d.Why,
		Cap: d.Cap, Left: left, Reserve: d.Reserve, Granted: granted, Used: d.Used,
		Broadcasts: d.Broadcasts, BroadcastsCount: d.BroadcastsCount,
		PerDay: d.Daily, Period: d.Period, Began: moment(d.Began), Resets: moment(d.Refills),
		ClockUnsure: !s.Clock.Trusted, Lost: d.Lost,
	}
	if a.State != admin.Shared {
		a.Left, a.Granted = d.Left, 0 // what the kernel holds is not in use
	}
	switch a.State {
	case admin.Closed:
		a.Until = moment(d.Opens)
	case admin.Spent:
		a.Until = moment(d.Refills)
	}
	zone := l.box.View().Config.Box.Timezone
	for _, day := range d.Days {
		if t, err := time.ParseInLocation(time.DateOnly, day.Date, zone); err == nil {
			a.Days = append(a.Days, admin.Day{Date: t.Add(12 * time.Hour), Bytes: day.Bytes})
		}
	}
	return a, true
}

// apart splits what a status counts twice: what is granted is left, too, of the cap or of the reserve. What it returns
// overlaps neither each other nor what is used, nor the reserve.
func apart(d appliance.DonationStatus) (left, granted uint64) {
	granted = min(d.Granted, d.Left)
	return d.Left - granted, granted
}

// stateOf returns the first of admin's States that applies.
func stateOf(d appliance.DonationStatus, box decide.State) admin.State {
	switch {
	case d.PausedBy != "":
		return admin.Paused
	case !d.Open:
		return admin.Closed
	case d.Spent:
		return admin.Spent
	case !d.Works:
		return admin.Broken
	case d.Chosen:
		return admin.Shared
	case box == decide.Sharing:
		return admin.Ready
	}
	return admin.Held
}

func moment(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

func (l lenders) SetDonationPaused(ctx context.Context, name, by string, paused bool) error {
	known, err := l.box.SetDonationPaused(ctx, name, by, paused)
	if err == nil && !known {
		err = fmt.Errorf("the configuration has no donation %q any more", name)
	}
	return err
}

// site is the box as its https pages are headed.
func (d *daemon) site() admin.Site {
	c := d.box.View().Config
	return admin.Site{
		Centre: c.Box.Name, Address: c.Hotspot.Address.Addr(), Hostname: c.Box.Hostname,
		Language: c.Box.Language, Languages: c.Box.Languages, Location: c.Box.Timezone,
	}
}

// names are what the box's certificate is for.
func (d *daemon) names() (hostname string, address netip.Addr) {
	s := d.site()
	return s.Hostname, s.Address
}
