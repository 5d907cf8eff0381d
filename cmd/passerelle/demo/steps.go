package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
)

// story returns the steps.
func (s *environment) story() story {
	d, c, l := s.conf.Donations[fibre], s.conf.Donations[card], s.conf.Limits
	return story{
		{"The box is plugged in", s.plugIn},
		{"The technician confirms the clock", s.confirmTime},
		{"Three residents join its network", s.join},
		{"Amina's phone probes for a captive portal", s.probe},
		{"Amina tries to reach the internet before she presses the button", s.refuse},
		{"Amina presses the button", s.press},
		{fmt.Sprintf("Amina downloads; her limit is %s", megabits(float64(l.Download))), s.downloadAlone},
		{fmt.Sprintf("Bruno downloads too, with 8 connections at once; %s are shared",
			megabits(float64(d.Download))), s.share},
		{"Chloé tries the lender's network, and Amina's phone", s.pry},
		{"Chloé spoofs Bruno's address", s.spoof},
		{"The centre pauses sharing, and resumes it", s.pause},
		{"The daemon is killed (kill -9) while Amina downloads", s.crash},
		{"The fibre's cable is pulled out", s.unplug},
		{"Meanwhile Chloé needs help with her papers: a place, and its bus", s.findHelp},
		{fmt.Sprintf("Nadia plugs in her phone: a prepaid card of %s, with %s reserved for essential services",
			c.Cap, c.Reserve), s.plugPhone},
		{"The residents use up the card; failover to the fibre", s.spend},
		{"Élise, who lends the fibre, opens her page and pauses her donation", s.pauseLoan},
		{"The card's reserve: David, who has no session, needs a public service", s.needService},
		{"Élise resumes her donation", s.resumeLoan},
		{"The technician gives the centre's desk a code", s.openDesk},
		{"Élise lends her phone again, by /lend: its password is new", s.offerPhone},
		{"The desk accepts", s.acceptPhone},
		{"Élise changes her mind, and stops that loan for good", s.stopPhone},
	}
}

// bigFile has any length: ?bytes=N.
const bigFile, internetPage = "http://www.example/big", "http://www.example/"

func (s *environment) plugIn(ctx context.Context) (string, error) {
	start := time.Now()
	if err := s.daemon.Start(); err != nil {
		return "", err
	}
	status, err := s.reach(ctx, state.Sharing)
	if err != nil {
		return "", err
	}
	seen := fmt.Sprintf("%s after %s: %s", status.State, formatDuration(time.Since(start)), status.Why)
	code, err := s.daemon.SetupCode(ctx)
	if err != nil {
		return seen, err
	}
	return lines(seen, "its setup code, with which the technician will choose a password:  "+s.screen.bold(code)), nil
}

// confirmTime confirms the clock, unless it is synchronized with a time server, which the box detects.
func (s *environment) confirmTime(ctx context.Context) (string, error) {
	before, err := s.daemon.Status(ctx)
	if err != nil {
		return "", err
	}
	why := "the machine's clock is synchronised with a time server: the box trusts it"
	if !before.Clock.Trusted {
		why = lines("no time server was reached, and a board has no clock battery",
			"until the clock is confirmed, caps don't reset and hours aren't enforced")
	}
	said, err := s.daemon.Do(ctx, "clock", "--confirm")
	if err == nil && !strings.Contains(said, ", trusted, by ") {
		err = fmt.Errorf("after passerelle clock --confirm the clock is %s", said)
	}
	return lines(why, "passerelle clock --confirm: "+said), err
}

func (s *environment) join(ctx context.Context) (string, error) {
	one := func(p person) func(context.Context) (string, error) {
		return func(ctx context.Context) (string, error) {
			ctx, cancel := context.WithTimeout(ctx, s.Limit)
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
				p.name, lease.Address, lease.Time.Minutes(), formatDuration(time.Since(start))), nil
		}
	}
	return parallel(ctx, one(s.amina), one(s.bruno), one(s.chloe))
}

func (s *environment) probe(ctx context.Context) (string, error) {
	reply, err := s.get(ctx, s.amina.Host, "http://www.example/generate_204")
	if err != nil {
		return "", err
	}
	where := reply.Header.Get("Location")
	if reply.Status != http.StatusFound || where != s.portal()+"/" {
		return "", fmt.Errorf("the probe's answer is %d %s, not a redirect to %s/", reply.Status, where, s.portal())
	}
	seen := fmt.Sprintf("%d to %s: the phone opens its sign-in window", reply.Status, where)
	page, err := weigh(ctx, s.amina, s.conf.Hotspot.Address.Addr())
	if err != nil {
		return seen, err
	}
	const bound = 14_000 // the initial congestion window: ten segments (RFC 6928)
	if page.weight > bound {
		return seen, fmt.Errorf("the first page weighs %d bytes on the wire, more than %d", page.weight, bound)
	}
	return lines(seen, fmt.Sprintf("it shows “%s”: %.1f kB on the wire, icons included, after %s",
		page.title, float64(page.weight)/1e3, formatDuration(page.took))), nil
}

func (s *environment) refuse(ctx context.Context) (string, error) {
	return parallel(ctx,
		func(ctx context.Context) (string, error) {
			how, err := knock(ctx, s.amina, "tcp", netlab.WebAddr.String()+":443", false)
			return "https is " + how + ", without a certificate warning", err
		},
		func(ctx context.Context) (string, error) {
			how, err := knock(ctx, s.amina, "udp", netlab.WebAddr.String()+":7", false)
			return "UDP, except DNS, is " + how, err
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

func (s *environment) press(ctx context.Context) (string, error) {
	start := time.Now()
	if err := s.admit(ctx, s.amina); err != nil {
		return "", err
	}
	admitted := time.Since(start)
	if err := s.online(ctx, s.amina); err != nil {
		return "", err
	}
	seen := fmt.Sprintf("authorized after %s; %s arrives %s after the press",
		formatDuration(admitted), internetPage, formatDuration(time.Since(start)))
	ctx, cancel := context.WithTimeout(ctx, briefly)
	defer cancel()
	conn, err := s.amina.Dial(ctx, "tcp", netlab.WebAddr.String()+":443")
	if err != nil {
		return seen, fmt.Errorf("https is still refused: %w", err)
	}
	conn.Close()
	trips, err := s.amina.Echo(ctx, netlab.WebAddr, 5, 10*time.Millisecond)
	if err == nil && len(trips) == 0 {
		err = errors.New("no UDP comes back")
	}
	if err != nil {
		return seen, err
	}
	return lines(seen, "https and UDP, refused before, now pass"), nil
}
