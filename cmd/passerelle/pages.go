package main

import (
	"context"
	"errors"
	"net/netip"

	"passerelle/appliance"
	"passerelle/captive"
	"passerelle/captive/tutorials"
	"passerelle/netctl"
)

// pages is the box as residents' pages see it.
type pages struct {
	box     *appliance.Box
	lessons func() *tutorials.Library
}

var _ captive.Box = pages{}

func (p pages) View() captive.View {
	v := p.box.View()
	c := v.Config
	return captive.View{
		State:  v.State,
		Centre: c.Box.Name, Address: c.Hotspot.Address.Addr(), Network: c.Hotspot.Address.Masked(), Hostname: c.Box.Hostname,
		Language: c.Box.Language, Languages: c.Box.Languages, PortalURL: c.Box.PortalURL, Location: c.Box.Timezone,
		SessionLength: c.Limits.Session, Download: uint64(c.Limits.Download), Upload: uint64(c.Limits.Upload), Data: uint64(c.Limits.Data),
		Opens: v.Opens, Refills: v.Refills, DataResets: v.DataResets,
		Essential: v.Essential, Services: c.Essential.Names,
	}
}

func (p pages) Lessons() *tutorials.Library { return p.lessons() }

func (p pages) Session(addr netip.Addr) (captive.Session, bool) {
	s, ok := p.box.Session(addr)
	return p.page(s), ok
}

func (p pages) Admit(ctx context.Context, addr netip.Addr) (captive.Session, error) {
	s, err := p.box.Admit(ctx, addr)
	return p.page(s), asPage(err)
}

func (p pages) End(ctx context.Context, addr netip.Addr) error { return asPage(p.box.End(ctx, addr)) }

// asPage returns an error of the box's as the pages know it.
func asPage(err error) error {
	for ours, theirs := range map[error]error{
		appliance.ErrNotSharing: captive.ErrNotSharing,
		appliance.ErrDataSpent:  captive.ErrDataSpent,
		appliance.ErrUnknown:    captive.ErrUnknown,
		appliance.ErrStopped:    captive.ErrBusy, // the next daemon, which begins soon, is asked again
	} {
		if errors.Is(err, ours) {
			return theirs
		}
	}
	return err
}

func (p pages) page(s appliance.Session) captive.Session {
	return captive.Session{
		Left: s.Left, Length: s.Length, Extends: s.Extends(),
		Limited: s.Data < netctl.Unlimited, DataLeft: s.Data,
		DataGiven: uint64(p.box.View().Config.Limits.Data),
	}
}
