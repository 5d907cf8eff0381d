// Package health tells whether the box works, and reports that to what restarts it otherwise: systemd, and the board's
// hardware watchdog. It judges by the loop's last reconciliation and by a request to the box's own pages; it knows
// neither the loop nor the pages.
package health

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"passerelle/appliance/state"
)

// A healthy loop reconciles every two seconds, unless the kernel is slow; a page takes milliseconds.
const (
	loopTimeout = 20 * time.Second
	pageTimeout = 2 * time.Second
)

// localClient requests the box's own pages directly, ignoring a proxy in the environment.
var localClient = http.Client{Transport: &http.Transport{}}

// Check returns nil if the box works: its loop runs, and its pages answer as a resident would request them. The loop
// last reconciled, and a page was last served, so long ago; the box is in a state and serves its pages at an address.
// Problems that the loop knows of, a missing radio for instance, do not count: a restart would not fix them. If
// residents were served just now, that proves more than a request of the box's own, which would queue among theirs:
// with any number of them, the result is known at once.
func Check(reconciled, served time.Duration, box state.State, pages netip.AddrPort) error {
	if reconciled > loopTimeout {
		return fmt.Errorf("the loop has not run for %v", reconciled.Round(time.Second))
	}
	if box == state.Starting || box == state.Fault || served < pageTimeout {
		return nil
	}
	return Pages(pages)
}

// Pages returns nil if the box's own pages answer at an address.
func Pages(pages netip.AddrPort) error {
	ctx, stop := context.WithTimeout(context.Background(), pageTimeout)
	defer stop()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+pages.String()+"/healthz", nil)
	if err != nil {
		return fmt.Errorf("request the box's own pages: %w", err)
	}
	q.Close = true
	r, err := localClient.Do(q)
	if err != nil {
		return fmt.Errorf("request the box's own pages: %w", err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("request the box's own pages: the answer is %s", r.Status)
	}
	return nil
}
