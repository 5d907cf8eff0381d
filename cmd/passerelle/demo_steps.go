package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"passerelle/appliance/decide"
	"passerelle/netctl/netlab"
)

// story is what happens on the stage.
func (s *stage) story() story {
	d, c, l := s.conf.Donations[fibre], s.conf.Donations[card], s.conf.Limits
	return story{
		{"The box is plugged in", s.plugIn},
		{"The technician says that the box's time is right", s.confirmTime},
		{"Three residents join its network", s.join},
		{"Amina's phone asks whether this is the internet", s.probe},
		{"Before she presses the button, Amina tries to go past it", s.refuse},
		{"Amina presses the button", s.press},
		{fmt.Sprintf("Amina downloads; her limit is %s", megabits(float64(l.Download))), s.downloadAlone},
		{fmt.Sprintf("Bruno downloads too, with 8 connections at once; %s are lent",
			megabits(float64(d.Download))), s.share},
		{"Chloé tries the lender's network, and Amina's phone", s.pry},
		{"Chloé pretends to be Bruno", s.pretend},
		{"The centre pauses the sharing, and resumes it", s.pause},
		{"The daemon is killed (kill -9) while Amina downloads", s.crash},
		{"The fibre's cable is pulled out", s.unplug},
		{fmt.Sprintf("Nadia plugs in her phone: %s of a prepaid card, %s of them kept for essential services",
			c.Cap, c.Reserve), s.plugPhone},
		{"The residents use the card up; the fibre takes over", s.spend},
		{"Élise, who lends the fibre, looks at her page, and pauses her loan", s.pauseLoan},
		{"The card's reserve: David, who has pressed no button, needs a public service", s.needService},
		{"Élise resumes her loan", s.resumeLoan},
	}
}

// bigFile is as large as one wants.
const bigFile, internetPage = "http://www.example/big", "http://www.example/"

func (s *stage) plugIn(ctx context.Context) (string, error) {
	start := time.Now()
	if err := s.start(); err != nil {
		return "", err
	}
	status, err := s.reach(ctx, decide.Sharing)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s after %s: %s", status.State, took(time.Since(start)), status.Why), nil
}

// confirmTime wins trust in the time of day, unless the machine's clock follows a time server, of which the box knows.
func (s *stage) confirmTime(ctx context.Context) (string, error) {
	before, err := s.status(ctx)
	if err != nil {
		return "", err
	}
	why := "the machine's clock follows a time server: the box knows by itself"
	if !before.Clock.Trusted {
		why = lines("a board has no clock battery, and no time server was reached",
			"until somebody says that the time is right, no cap begins anew and no opening hour closes")
	}
	said, err := s.command("clock", "--confirm")
	if err == nil && !strings.Contains(said, ", trusted, by ") {
		err = fmt.Errorf("after passerelle clock --confirm the clock is %s", said)
	}
	return lines(why, "passerelle clock --confirm: "+said), err
}

func (s *stage) join(ctx context.Context) (string, error) {
	one := func(p person) func(context.Context) (string, error) {
		return func(ctx context.Context) (string, error) {
			ctx, cancel := context.WithTimeout(ctx, s.limit)
			defer cancel()
			start := time.Now()
			lease, err := p.Join(ctx)
			if err != nil {
				return "", err
			}
			if !s.conf.Hotspot.Address.Contains(lease.Address.Addr()) {
				return "", fmt.Errorf("%s got %s, which is not in %s", p.name, lease.Address, s.conf.Hotspot.Address.Masked())
			}
			return fmt.Sprintf("%s has %s by DHCP, for %.0f min, after %s",
				p.name, lease.Address, lease.Time.Minutes(), took(time.Since(start))), nil
		}
	}
	return together(ctx, one(s.amina), one(s.bruno), one(s.chloe))
}

func (s *stage) probe(ctx context.Context) (string, error) {
	reply, err := s.get(ctx, s.amina.Host, "http://www.example/generate_204")
	if err != nil {
		return "", err
	}
	where := reply.Header.Get("Location")
	if reply.Status != http.StatusFound || where != s.portal()+"/" {
		return "", fmt.Errorf("the probe was answered with %d %s, not with the way to %s/", reply.Status, where, s.portal())
	}
	seen := fmt.Sprintf("no: %d to %s, so the phone opens its sign-in window", reply.Status, where)
	page, err := weigh(ctx, s.amina, s.conf.Hotspot.Address.Addr())
	if err != nil {
		return seen, err
	}
	const bound = 14_000 // what a server may send before it hears from the phone again: ten segments (RFC 6928)
	if page.weight > bound {
		return seen, fmt.Errorf("the first page weighs %d bytes on the wire, more than %d", page.weight, bound)
	}
	return lines(seen, fmt.Sprintf("there: “%s”, %.1f kB on the wire, icons included, after %s",
		page.title, float64(page.weight)/1e3, took(page.took))), nil
}

func (s *stage) refuse(ctx context.Context) (string, error) {
	return together(ctx,
		func(ctx context.Context) (string, error) {
			how, err := knock(ctx, s.amina, "tcp", netlab.WebAddr.String()+":443", false)
			return "https is " + how + ", without a warning of wrong certificates", err
		},
		func(ctx context.Context) (string, error) {
			how, err := knock(ctx, s.amina, "udp", netlab.WebAddr.String()+":7", false)
			return "UDP, but for names, is " + how, err
		},
		func(ctx context.Context) (string, error) {
			addrs, err := s.amina.LookupHost(ctx, "www.example")
			if err == nil && addrs[0] != netlab.WebAddr {
				err = fmt.Errorf("www.example is %s, not %s", addrs[0], netlab.WebAddr)
			}
			return "names resolve: www.example is " + netlab.WebAddr.String(), err
		},
	)
}

func (s *stage) press(ctx context.Context) (string, error) {
	start := time.Now()
	if err := s.admit(ctx, s.amina); err != nil {
		return "", err
	}
	admitted := time.Since(start)
	if err := s.online(ctx, s.amina); err != nil {
		return "", err
	}
	seen := fmt.Sprintf("admitted after %s; %s has come %s after the press",
		took(admitted), internetPage, took(time.Since(start)))
	ctx, cancel := context.WithTimeout(ctx, briefly)
	defer cancel()
	conn, err := s.amina.Dial(ctx, "tcp", netlab.WebAddr.String()+":443")
	if err != nil {
		return seen, fmt.Errorf("https is refused still: %w", err)
	}
	conn.Close()
	trips, err := s.amina.Echo(ctx, netlab.WebAddr, 5, 10*time.Millisecond)
	if err == nil && len(trips) == 0 {
		err = errors.New("no UDP comes back")
	}
	if err != nil {
		return seen, err
	}
	return lines(seen, "https and UDP, refused before, get through"), nil
}
