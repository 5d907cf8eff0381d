package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
)

func (s *environment) pry(ctx context.Context) (string, error) {
	if err := s.admit(ctx, s.chloe); err != nil {
		return "", err
	}
	if err := s.online(ctx, s.chloe); err != nil {
		return "", err
	}
	amina := s.amina.Lease().Address.Addr()
	// An attacker would try this: even with client isolation on the air, the box might route between phones.
	if err := s.chloe.AddRoute(single(amina), s.conf.Hotspot.Address.Addr()); err != nil {
		return "", err
	}
	lender := s.Lenders[fibre]
	// The server answers its own neighbours, so a failure means that the box refused.
	closed := func(what string, addr netip.Addr, neighbour *netlab.Host) func(context.Context) (string, error) {
		return func(ctx context.Context) (string, error) {
			if _, err := s.get(ctx, neighbour, "http://"+addr.String()+"/"); err != nil {
				return "", fmt.Errorf("%s does not answer: %w", what, err)
			}
			how, err := knock(ctx, s.chloe, "tcp", addr.String()+":80", true)
			return fmt.Sprintf("%s, %s: %s", what, addr, how), err
		}
	}
	seen, err := parallel(ctx,
		closed("the lender's NAS", lender.NASAddr, s.Box),
		closed("the lender's router", lender.Gateway, s.Box),
		closed("Amina's photos", amina, s.amina.Host))
	return lines("Chloé is online", seen), err
}

func (s *environment) spoof(ctx context.Context) (string, error) {
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
	how := "no answer"
	if err == nil {
		how = "the first page, without a session"
	}
	seen := fmt.Sprintf("with Bruno's %s and her own MAC address: %s", stolen.Address.Addr(), how)

	// Both rejoin with their own addresses, so that the network learns their MAC addresses again.
	if _, err := parallel(ctx, s.rejoin(s.chloe), s.rejoin(s.bruno)); err != nil {
		return seen, err
	}
	return lines(seen, "both rejoin with their own addresses: still authorized"), nil
}

func (s *environment) rejoin(p person) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, s.Limit)
		defer cancel()
		if _, err := p.Join(ctx); err != nil {
			return "", err
		}
		return "", s.online(ctx, p)
	}
}

func (s *environment) pause(ctx context.Context) (string, error) {
	before, err := s.daemon.Status(ctx)
	if err != nil {
		return "", err
	}
	if _, err := s.daemon.Do(ctx, "pause"); err != nil {
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
	if _, err := s.daemon.Do(ctx, "resume"); err != nil {
		return seen, err
	}
	flows, err := s.waitForTraffic(ctx)
	if err != nil {
		return seen, err
	}
	after, err := s.sameSessions(ctx, before)
	if err != nil {
		return seen, err
	}
	return lines(seen, "passerelle resume: "+after, flows), nil
}

// silence waits until Amina's download stops. It returns when the last byte arrived, which must be at once.
func (s *environment) silence(ctx context.Context) (string, error) {
	const quiet, atOnce = 700 * time.Millisecond, time.Second
	start := time.Now()
	total, last := s.download.Total(), start
	err := s.until(ctx, func() error {
		s.show(s.aminas())
		if now := s.download.Total(); now != total {
			total, last = now, time.Now()
		}
		if time.Since(last) < quiet {
			return errors.New("traffic continues")
		}
		return nil
	})
	after := last.Sub(start)
	switch {
	case err != nil:
		return "", err
	case after > atOnce:
		return "", fmt.Errorf("traffic continued for %s", formatDuration(after))
	case after == 0:
		return "no byte after it", nil
	}
	return fmt.Sprintf("the last byte %s after it", formatDuration(after)), nil
}

// sameSessions checks that there are as many sessions as before.
func (s *environment) sameSessions(ctx context.Context, before state.Status) (string, error) {
	status, err := s.daemon.Status(ctx)
	if err != nil {
		return "", err
	}
	if was, is := before.Residents.Sessions, status.Residents.Sessions; is != was {
		return "", fmt.Errorf("there were %d sessions, now there are %d", was, is)
	}
	return fmt.Sprintf("all %d sessions are still there", status.Residents.Sessions), nil
}

func (s *environment) crash(ctx context.Context) (string, error) {
	before, err := s.daemon.Status(ctx)
	if err != nil {
		return "", err
	}
	if err := s.daemon.Crash(); err != nil {
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
	seen := "without the daemon, the kernel forwards as before:  " + rate
	start := time.Now()
	if err := s.daemon.Start(); err != nil {
		return seen, err
	}
	if _, err := s.reach(ctx, state.Sharing); err != nil {
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
			return errors.New("the download stalls")
		}
		return nil
	}, s.aminas())
	if err != nil {
		return seen, err
	}
	return lines(seen,
		fmt.Sprintf("restarted, it shares again after %s: %s", formatDuration(up), after),
		"the same download continues, on the same connection"), nil
}

func (s *environment) unplug(ctx context.Context) (string, error) {
	start := time.Now()
	if err := s.Lenders[fibre].LAN.Cut(); err != nil {
		return "", err
	}
	status, err := s.reach(ctx, state.Offline)
	if err != nil {
		return "", err
	}
	seen := fmt.Sprintf("%s: %s (after %s)", status.State, status.Why, formatDuration(time.Since(start)))
	if line := s.Lenders[fibre].Interface; !strings.Contains(status.Why, line+" has no link") {
		return "", fmt.Errorf("%s does not name %s", seen, line)
	}
	return seen, nil
}
