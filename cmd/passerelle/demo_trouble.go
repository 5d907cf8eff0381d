package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"passerelle/appliance"
	"passerelle/appliance/decide"
	"passerelle/netctl/netlab"
)

func (s *stage) pry(ctx context.Context) (string, error) {
	if err := s.admit(ctx, s.chloe); err != nil {
		return "", err
	}
	if err := s.online(ctx, s.chloe); err != nil {
		return "", err
	}
	amina := s.amina.Lease().Address.Addr()
	// As a cunning device would: what the air does not carry from phone to phone, the box might.
	if err := s.chloe.AddRoute(single(amina), s.conf.Hotspot.Address.Addr()); err != nil {
		return "", err
	}
	lender := s.Lenders[fibre]
	// There is something to reach: it answers whom it should.
	closed := func(what string, addr netip.Addr, neighbour *netlab.Host) func(context.Context) (string, error) {
		return func(ctx context.Context) (string, error) {
			if _, err := s.get(ctx, neighbour, "http://"+addr.String()+"/"); err != nil {
				return "", fmt.Errorf("%s answers nobody: %w", what, err)
			}
			how, err := knock(ctx, s.chloe, "tcp", addr.String()+":80", true)
			return fmt.Sprintf("%s, %s: %s", what, addr, how), err
		}
	}
	seen, err := together(ctx,
		closed("the lender's NAS", lender.Own, s.Box),
		closed("the lender's router", lender.Gateway, s.Box),
		closed("Amina's photos", amina, s.amina.Host))
	return lines("Chloé is online", seen), err
}

func (s *stage) pretend(ctx context.Context) (string, error) {
	if err := s.chloe.Leave(); err != nil {
		return "", err
	}
	stolen := s.bruno.Lease()
	if err := errors.Join(
		s.chloe.SetUp(netlab.HotspotInterface, true),
		s.chloe.AddAddress(netlab.HotspotInterface, stolen.Address),
		s.chloe.AddRoute(everywhere, stolen.Router),
	); err != nil {
		return "", err
	}
	reply, err := s.get(ctx, s.chloe.Host, "http://"+netlab.WebAddr.String()+"/")
	if err == nil && reply.Status != http.StatusFound {
		return "", fmt.Errorf("with Bruno's address Chloé's phone gets %d: %.40q", reply.Status, reply.Body)
	}
	how := "no answer at all"
	if err == nil {
		how = "the first page, as for a stranger"
	}
	seen := fmt.Sprintf("with Bruno's %s and a hardware address of her own: %s", stolen.Address.Addr(), how)

	// Both come back as themselves: their devices say on the air who they are.
	if _, err := together(ctx, s.rejoin(s.chloe), s.rejoin(s.bruno)); err != nil {
		return seen, err
	}
	return lines(seen, "both join again as themselves: still admitted"), nil
}

func (s *stage) rejoin(p person) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, s.limit)
		defer cancel()
		if _, err := p.Join(ctx); err != nil {
			return "", err
		}
		return "", s.online(ctx, p)
	}
}

func (s *stage) pause(ctx context.Context) (string, error) {
	before, err := s.status(ctx)
	if err != nil {
		return "", err
	}
	if _, err := s.command("pause"); err != nil {
		return "", err
	}
	stopped, err := s.silence(ctx)
	if err != nil {
		return "", err
	}
	seen := "passerelle pause: " + stopped
	page, err := weigh(ctx, s.amina, s.conf.Hotspot.Address.Addr())
	if err != nil {
		return seen, err
	}
	seen = lines(seen, fmt.Sprintf("the residents' page says “%s”", page.title))
	if _, err := s.command("resume"); err != nil {
		return seen, err
	}
	flows, err := s.goOn(ctx)
	if err != nil {
		return seen, err
	}
	after, err := s.sameSessions(ctx, before)
	if err != nil {
		return seen, err
	}
	return lines(seen, "passerelle resume: "+after, flows), nil
}

// silence waits until nothing comes of Amina's download, and says when the last byte came. It must be at once.
func (s *stage) silence(ctx context.Context) (string, error) {
	const quiet, atOnce = 700 * time.Millisecond, time.Second
	start := time.Now()
	total, last := s.download.Total(), start
	err := s.until(ctx, func() error {
		s.show(s.aminas())
		if now := s.download.Total(); now != total {
			total, last = now, time.Now()
		}
		if time.Since(last) < quiet {
			return errors.New("traffic goes on")
		}
		return nil
	})
	after := last.Sub(start)
	switch {
	case err != nil:
		return "", err
	case after > atOnce:
		return "", fmt.Errorf("traffic went on for %s", took(after))
	case after == 0:
		return "not a byte comes after it", nil
	}
	return fmt.Sprintf("the last byte comes %s after it", took(after)), nil
}

// sameSessions says that there are as many sessions as before.
func (s *stage) sameSessions(ctx context.Context, before appliance.Status) (string, error) {
	status, err := s.status(ctx)
	if err != nil {
		return "", err
	}
	if was, is := before.Residents.Sessions, status.Residents.Sessions; is != was {
		return "", fmt.Errorf("there were %d sessions, and now there are %d", was, is)
	}
	return fmt.Sprintf("all %d sessions are still there", status.Residents.Sessions), nil
}

func (s *stage) crash(ctx context.Context) (string, error) {
	before, err := s.status(ctx)
	if err != nil {
		return "", err
	}
	if err := s.kill(); err != nil {
		return "", err
	}
	killed := s.download.Elapsed()
	var rate string
	err = s.watch(ctx, func() (err error) {
		rate, err = s.atLimit(s.download.Elapsed() - killed)
		return err
	}, s.aminas())
	if err != nil {
		return "", err
	}
	seen := "without it, the kernel lets traffic through as before: " + rate
	start := time.Now()
	if err := s.start(); err != nil {
		return seen, err
	}
	if _, err := s.reach(ctx, decide.Sharing); err != nil {
		return seen, err
	}
	up := time.Since(start)
	after, err := s.sameSessions(ctx, before)
	if err != nil {
		return seen, err
	}
	total := s.download.Total()
	err = s.watch(ctx, func() error {
		if s.download.Total() == total {
			return errors.New("the download stands still")
		}
		return nil
	}, s.aminas())
	if err != nil {
		return seen, err
	}
	return lines(seen,
		fmt.Sprintf("started again, it has taken up its work after %s: %s", took(up), after),
		"all the while it is the same download, on the same connection"), nil
}

func (s *stage) unplug(ctx context.Context) (string, error) {
	start := time.Now()
	if err := s.Lenders[fibre].LAN.Cut(); err != nil {
		return "", err
	}
	status, err := s.reach(ctx, decide.Offline)
	if err != nil {
		return "", err
	}
	seen := fmt.Sprintf("%s: %s (after %s)", status.State, status.Why, took(time.Since(start)))
	if line := s.Lenders[fibre].Interface; !strings.Contains(status.Why, line+" has no link") {
		return "", fmt.Errorf("%s, which does not say that it is %s", seen, line)
	}
	return seen, nil
}
