// Package health tells whether the box works, and reports it to what would restart the box otherwise: systemd, and the board's hardware
// watchdog. It judges by the loop's last reconciliation and by a request to the box's own pages. It knows neither the loop nor the
// pages.
package health

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"passerelle/appliance/state"
)

// A healthy loop reconciles every two seconds, unless the kernel is slow. A page takes milliseconds.
const (
	loopTimeout = 20 * time.Second
	pageTimeout = 2 * time.Second
)

// localClient requests the box's own pages directly, ignoring a proxy in the environment.
var localClient = http.Client{Transport: &http.Transport{}}

// Check returns nil if the box works: its loop runs, and its pages answer requests like a resident's. reconciled and served are the
// times since the loop's last reconciliation and since a page was last served. box is the box's State, and pages the address of its
// pages. Problems that the loop knows about, such as a missing radio, do not count: a restart would not fix them. If residents were
// served just now, that proves more than a request of the box's own, which would have to queue behind theirs. So the result is known
// at once, however many residents there are.
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
