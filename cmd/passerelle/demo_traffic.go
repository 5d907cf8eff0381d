package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"passerelle/appliance/config"
	"passerelle/netctl/netlab"
)

// What a measured rate may be of the wanted one. Headers are a twentieth of it, and what is measured is without them.
const (
	least, most = 0.85, 1.02
	fairest     = 0.9             // the smaller of two shares, of the larger
	settling    = time.Second     // TCP's start
	span        = 3 * time.Second // that a rate is measured over
)

func (s *stage) downloadAlone(ctx context.Context) (seen string, err error) {
	if s.download, err = s.startDownload(ctx); err != nil {
		return "", err
	}
	err = s.watch(ctx, func() (err error) {
		seen, err = s.atLimit(s.download.Elapsed() - settling)
		return err
	}, s.aminas())
	return seen, err
}

// atLimit judges the last part of Amina's download, if it has been going on for long enough.
func (s *stage) atLimit(measured time.Duration) (string, error) {
	rate, err := judged(s.download.Recent(span), s.conf.Limits.Download, measured)
	if err != nil {
		return "", err
	}
	return rate + " of her limit", nil
}

// judged says a rate and what part of the wanted one it is, which is an error unless it is about all of it.
func judged(rate float64, want config.Rate, measured time.Duration) (string, error) {
	if measured < span {
		return "", errors.New("the traffic was too short to be measured")
	}
	part := rate / float64(want)
	text := fmt.Sprintf("%s of goodput, %.0f %%", megabits(rate), 100*part)
	if part < least || part > most {
		return "", fmt.Errorf("%s of what it should be, not %.0f to %.0f %%", text, 100*least, 100*most)
	}
	return text, nil
}

func (s *stage) share(ctx context.Context) (seen string, err error) {
	if err := s.admit(ctx, s.bruno); err != nil {
		return "", err
	}
	bulk := netlab.Bulk{From: s.bruno.Host, To: s.Internet.Host, Addr: netlab.WebAddr, Streams: 8, Reverse: true}
	brunos, err := bulk.Start(ctx)
	if err != nil {
		return "", err
	}
	defer brunos.Stop()
	lent := s.conf.Donations[fibre].Download
	err = s.watch(ctx, func() error {
		a, b := s.download.Recent(span), brunos.Recent(span)
		sum, err := judged(a+b, lent, brunos.Elapsed()-settling)
		if err != nil {
			return err
		}
		ratio := min(a, b) / max(a, b)
		if ratio < fairest {
			return fmt.Errorf("of what is lent, Amina has %s and Bruno %s: %.2f to 1, and %.1f is the least that is fair",
				megabits(a), megabits(b), ratio, fairest)
		}
		jain := (a + b) * (a + b) / 2 / (a*a + b*b)
		seen = lines(
			fmt.Sprintf("Amina %s with 1 connection, Bruno %s with 8", megabits(a), megabits(b)),
			fmt.Sprintf("that is %.2f to 1, Jain's index %.4f", ratio, jain),
			sum+" of what is lent, together")
		return nil
	}, s.aminas(), flow{"Bruno", brunos})
	return seen, err
}

// goOn waits until Amina's download flows. If the connection was cut or stalls, her phone starts it again: for that no
// button need be pressed.
func (s *stage) goOn(ctx context.Context) (string, error) {
	const stalled = time.Second
	start, old := time.Now(), s.download
	how, before := "the same download goes on", old.Total()
	err := s.until(ctx, func() error {
		s.show(s.aminas())
		if s.download.Total() > before {
			return nil
		}
		if s.download == old && (ended(old) || time.Since(start) > stalled) {
			old.Stop() // why it broke is no matter
			start = time.Now()
			again, err := s.startDownload(ctx)
			if err != nil {
				return err
			}
			s.download, how, before = again, "her phone downloads anew, without a press,", 0
		}
		return errors.New("the download does not go on")
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s after %s", how, took(time.Since(start))), nil
}

// startDownload gives Amina a download that lives as long as ctx.
func (s *stage) startDownload(ctx context.Context) (*netlab.Transfer, error) {
	ctx, cancel := context.WithCancel(ctx)
	late := time.AfterFunc(briefly, cancel)
	defer late.Stop()
	t, err := s.amina.StartDownload(ctx, bigFile)
	if err != nil {
		cancel()
	}
	return t, err
}

// flow is somebody's traffic.
type flow struct {
	name string
	*netlab.Transfer
}

func (s *stage) aminas() flow { return flow{"Amina", s.download} }

// watch shows flows until check is content, as until does. A flow that ends is an error.
func (s *stage) watch(ctx context.Context, check func() error, flows ...flow) error {
	return s.until(ctx, func() error {
		for _, f := range flows {
			if ended(f.Transfer) {
				return final{fmt.Errorf("%s's download broke off: %w", f.name, f.Stop())}
			}
		}
		s.show(flows...)
		return check()
	})
}

func ended(t *netlab.Transfer) bool {
	select {
	case <-t.Done():
		return true
	default:
		return false
	}
}

// show draws flows beside each other, each as a part of a resident's limit.
func (s *stage) show(flows ...flow) {
	bars := make([]bar, len(flows))
	for i, f := range flows {
		bars[i] = s.rate(f)
	}
	s.screen.draw("", time.Second, bars...)
}

func (s *stage) rate(f flow) bar {
	return rateBar(f.name, f.Recent(5*netlab.Tick), float64(s.conf.Limits.Download))
}
