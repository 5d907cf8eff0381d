package daemon

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/fleet"
	"passerelle/appliance/fleet/report"
	"passerelle/appliance/state"
	"passerelle/captive/web"
)

// Times of reports. A power cut loses what was counted in an hour.
const (
	reportLook     = 2 * time.Second // until the box knows its day and what it went back from: after a restart the hubs wait for both
	reportSampling = time.Minute
	reportSaving   = time.Hour
)

// reporter keeps a report of each day, for the box's fleet, until the hub shows it.
type reporter struct {
	mu      sync.Mutex // held by each method but run
	days    report.Days
	release string
	member  func() bool // the box is in a fleet: otherwise nothing is kept
	status  func() state.Status
	shows   func() []report.Language // languages that residents may choose
	failed  func(error)
	news    func() // there is something that the hubs should not wait for

	day          report.Day // that sums are of; "" before the clock was trusted
	showed       []byte     // what the hub has shown of that day, which is not over
	sums         report.Sums
	sessions     uint64        // as counted by the status
	refused      state.Refused // likewise
	unsaved      time.Duration
	countedSince bool
	outside      bool        // the box was in no fleet when it last looked
	fell         report.Fell // that was kept last
}

func newReporter(folder, release string) *reporter {
	return &reporter{
		days: report.Days{Dir: filepath.Join(folder, fleetFolder, "days")}, release: release, news: func() {},
		shows: func() []report.Language { return nil },
	}
}

// run keeps reports until ctx ends.
func (r *reporter) run(ctx context.Context) error {
	for every := reportLook; ; {
		tick := time.NewTimer(every)
		select {
		case <-ctx.Done():
			tick.Stop()
			r.end()
			return nil
		case <-tick.C:
		}
		if r.observe(every) {
			every = reportSampling
		}
	}
}

// observe counts what happened since the last call, which was so long ago, and keeps what is to be kept. It tells whether
// the box knows all that the hubs wait for after a start.
func (r *reporter) observe(passed time.Duration) bool {
	if !r.inside() {
		return false
	}
	s, news := r.status(), false
	defer func() { // without the lock: who hears of it may be waiting for a report
		if news {
			r.news()
		}
	}()
	r.mu.Lock()
	defer r.mu.Unlock()
	sessions := s.Residents.Started - r.sessions
	if s.Residents.Started < r.sessions { // the daemon's loop has started again, with zero
		sessions = s.Residents.Started
	}
	refused := s.Residents.Refused.Since(r.refused).Sum()
	r.sessions, r.refused = s.Residents.Started, s.Residents.Refused
	if !r.countedSince {
		r.countedSince, sessions, refused = true, s.Residents.Started, s.Residents.Refused.Sum()
	}
	if r.outside { // what was before it joined is of no day
		r.outside, sessions, refused = false, 0, 0
	}
	if !s.Clock.Trusted || r.day == "" && s.State == state.Starting {
		return r.day != ""
	}
	today := report.Day(s.Clock.Now.Format(time.DateOnly))
	switch {
	case r.day == "":
		r.begin(today)
		news = true
	case today > r.day:
		r.keep(s) // the status still has the bytes of the day that is over
		r.begin(today)
		news = true
	}
	r.sums.Sessions, r.sums.Refused = r.sums.Sessions+sessions, r.sums.Refused+refused
	changed := fellOf(report.Of(r.day, r.release, s, r.sums)) != r.fell
	if r.unsaved += passed; r.unsaved >= reportSaving || changed {
		r.keep(s)
		news = news || changed
	}
	return s.Updates == nil || s.Updates.Read || s.Updates.FellBack == ""
}

// inside tells whether the box is in a fleet. Most are in none, and look only for that.
func (r *reporter) inside() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	in := r.member()
	r.outside = r.outside || !in
	return in
}

// end keeps the day's report before the daemon ends.
func (r *reporter) end() {
	s := r.status()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keep(s)
}

// pending returns the days that the hub has not shown yet.
func (r *reporter) pending() (all []fleet.Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.day == "" {
		return nil
	}
	days, err := r.days.List()
	for _, day := range days {
		text, failed := r.days.Text(day)
		if err = errors.Join(err, failed); failed == nil && !(day == r.day && bytes.Equal(text, r.showed)) {
			all = append(all, fleet.Report{Name: day.Report(), Body: text})
		}
	}
	if err != nil {
		r.failed(err)
	}
	return all
}

// shown removes a day that the hub shows, but the one that is not over: after a restart its sums go on.
func (r *reporter) shown(x fleet.Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	days, err := r.days.List()
	for _, day := range days {
		switch {
		case day.Report() != x.Name:
		case day == r.day:
			r.showed = x.Body
		default:
			_, failed := r.days.Shown(day, x.Body)
			err = errors.Join(err, failed)
		}
	}
	if err != nil {
		r.failed(err)
	}
}

// leave forgets what a hub has shown: the hubs of the next membership have not seen it.
func (r *reporter) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.showed = nil
}

// begin begins a day with what an earlier daemon has kept of it. Counts below five are lost.
func (r *reporter) begin(day report.Day) {
	r.day, r.showed, r.sums, r.unsaved = day, nil, report.Sums{}, reportSaving // it is kept at once: the hub sees that the box is there
	text, err := r.days.Text(day)
	if err != nil {
		return // none, or a damaged one that is removed
	}
	if before, err := report.Parse(text); err == nil {
		r.sums = report.Sums{Sessions: uint64(before.Sessions), Refused: uint64(before.Refused)}
	}
}

// keep keeps the day's report.
func (r *reporter) keep(s state.Status) {
	if r.day == "" || !r.member() {
		return
	}
	r.unsaved = 0
	r.sums.Languages = r.shows()
	now := report.Of(r.day, r.release, s, r.sums)
	r.fell = fellOf(now)
	if err := r.days.Keep(now); err != nil {
		r.failed(err)
	}
}

// fellOf returns what a report says that the box went back from; the zero value for nothing.
func fellOf(r report.Report) report.Fell {
	if r.Fell == nil {
		return report.Fell{}
	}
	return *r.Fell
}

// offered returns the languages of the residents' pages, as the configuration offers them.
func offered(c *config.Config) (all []report.Language) {
	for _, code := range append([]string{c.Box.Language}, c.Box.Languages...) {
		if w := web.Language(code); w != nil {
			all = append(all, report.Language{Code: report.Word(code), Reviewed: w.Reviewed})
		}
	}
	return all
}
