package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"passerelle/appliance/config"
	"passerelle/netctl/netlab"
)

// Bounds of a measured rate, as a fraction of the wanted one. Goodput lacks the headers, about a twentieth.
const (
	least, most = 0.85, 1.02
	fairest     = 0.9             // the smallest accepted ratio of two shares
	settling    = time.Second     // TCP slow start
	span        = 3 * time.Second // over which a rate is measured
)

func (s *environment) downloadAlone(ctx context.Context) (seen string, err error) {
	if s.download, err = s.startDownload(ctx); err != nil {
		return "", err
	}
	err = s.watch(ctx, func() (err error) {
		seen, err = s.atLimit(s.download.Elapsed() - settling)
		return err
	}, s.aminas())
	return seen, err
}

// atLimit checks the recent rate of Amina's download against her limit, once it has been measured for long enough.
func (s *environment) atLimit(measured time.Duration) (string, error) {
	rate, err := checkRate(s.download.Recent(span), s.conf.Limits.Download, measured)
	if err != nil {
		return "", err
	}
	return rate + " of her limit", nil
}

// checkRate formats a rate and its fraction of the wanted one. It returns an error if that is out of bounds.
func checkRate(rate float64, want config.Rate, measured time.Duration) (string, error) {
	if measured < span {
		return "", errors.New("the traffic was too short to be measured")
	}
	part := rate / float64(want)
	text := fmt.Sprintf("%s of goodput, %.0f %%", megabits(rate), 100*part)
	if part < least || part > most {
		return "", fmt.Errorf("%s of the limit, not %.0f to %.0f %%", text, 100*least, 100*most)
	}
	return text, nil
}

func (s *environment) share(ctx context.Context) (seen string, err error) {
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
		sum, err := checkRate(a+b, lent, brunos.Elapsed()-settling)
		if err != nil {
			return err
		}
		ratio := min(a, b) / max(a, b)
		if ratio < fairest {
			return fmt.Errorf("unfair: Amina has %s and Bruno %s, a ratio of %.2f, less than %.1f",
				megabits(a), megabits(b), ratio, fairest)
		}
		jain := (a + b) * (a + b) / 2 / (a*a + b*b)
		seen = lines(
			fmt.Sprintf("Amina %s with 1 connection, Bruno %s with 8", megabits(a), megabits(b)),
			fmt.Sprintf("a ratio of %.2f, Jain's fairness index %.4f", ratio, jain),
			"together "+sum+" of the donation's rate")
		return nil
	}, s.aminas(), flow{"Bruno", brunos})
	return seen, err
}

// waitForTraffic waits until Amina's download flows. If its connection breaks or stalls, her phone starts it again, without another press
// of the button.
func (s *environment) waitForTraffic(ctx context.Context) (string, error) {
	const stalled = time.Second
	start, old := time.Now(), s.download
	how, before := "the same download continues", old.Total()
	err := s.until(ctx, func() error {
		s.show(s.aminas())
		if s.download.Total() > before {
			return nil
		}
		if s.download == old && (ended(old) || time.Since(start) > stalled) {
			old.Stop() // its error is irrelevant
			start = time.Now()
			again, err := s.startDownload(ctx)
			if err != nil {
				return err
			}
			s.download, how, before = again, "her phone restarts the download, without a press,", 0
		}
		return errors.New("the download does not continue")
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s after %s", how, formatDuration(time.Since(start))), nil
}

// startDownload starts a download of Amina's that ends with ctx.
func (s *environment) startDownload(ctx context.Context) (*netlab.Transfer, error) {
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

func (s *environment) aminas() flow { return flow{"Amina", s.download} }

// watch repeats check as until does, and shows flows meanwhile. A flow that ends is an error.
func (s *environment) watch(ctx context.Context, check func() error, flows ...flow) error {
	return s.until(ctx, func() error {
		for _, f := range flows {
			if ended(f.Transfer) {
				return permanent{fmt.Errorf("%s's download was aborted: %w", f.name, f.Stop())}
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

// show draws flows, each as a part of a resident's limit.
func (s *environment) show(flows ...flow) {
	bars := make([]bar, len(flows))
	for i, f := range flows {
		bars[i] = s.rate(f)
	}
	s.screen.draw("", time.Second, bars...)
}

func (s *environment) rate(f flow) bar {
	return rateBar(f.name, f.Recent(5*netlab.Tick), float64(s.conf.Limits.Download))
}
