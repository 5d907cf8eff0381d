package main

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"passerelle/appliance/decide"
	"passerelle/netctl/plan"
)

// A healthy loop looks every two seconds, unless the kernel takes its time; a page takes milliseconds.
const (
	roundLimit = 20 * time.Second
	pageLimit  = 2 * time.Second
)

// ownPages asks the box's own pages: there, whatever proxy its environment names.
var ownPages = http.Client{Transport: &http.Transport{}}

// healthy tells whether the box works: its loop goes round and its pages answer, as a resident would ask for them. What
// its loop knows to be wrong, a missing radio for instance, does not count: a restart mends none of that.
func (d *daemon) healthy() error {
	pages := netip.AddrPortFrom(d.config.Hotspot.Address.Addr(), plan.PortPortal)
	return healthy(time.Since(d.box.Looked()), d.portal.Served(), d.box.View().State, pages)
}

// healthy is about a box that looked and served a page so long ago, is in a state and has its pages there. Where residents
// were served just now, that proves more than a question of the box's own, which would wait among theirs: however many
// there are, the answer is there at once.
func healthy(looked, served time.Duration, state decide.State, pages netip.AddrPort) error {
	if looked > roundLimit {
		return fmt.Errorf("the loop has not gone round for %v", looked.Round(time.Second))
	}
	if state == decide.Starting || state == decide.Fault || served < pageLimit {
		return nil
	}
	ctx, stop := context.WithTimeout(context.Background(), pageLimit)
	defer stop()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+pages.String()+"/healthz", nil)
	if err != nil {
		return fmt.Errorf("ask the box's own pages: %w", err)
	}
	q.Close = true
	r, err := ownPages.Do(q)
	if err != nil {
		return fmt.Errorf("ask the box's own pages: %w", err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("ask the box's own pages: the answer is %s", r.Status)
	}
	return nil
}

// tellManager tells systemd that the box is ready, as soon as its first plan has been applied or cannot be, then each
// new state.
func (d *daemon) tellManager(ctx context.Context) error {
	told := decide.Starting
	every(ctx, panelPace, func() {
		now := d.box.View().State
		if now == told {
			return
		}
		tell := d.manager.status
		if told == decide.Starting {
			tell = d.manager.ready
		}
		tell(string(now) + ": " + d.box.Status().Why)
		told = now
	})
	return nil
}
