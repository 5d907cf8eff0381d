// Package voice is a share: how residents are heard, and what happens at the centre. It owns the pages, words and addresses of the board,
// the opinions and the agenda. Packages board, opinion and agenda own their rules and data. Package voice depends neither on the box,
// except for the types of package state, nor on other shares.
package voice

import (
	"context"
	"embed"
	"log/slog"
	"maps"
	"sync/atomic"
	"time"

	"passerelle/appliance/state"
	"passerelle/captive/web"
)

//go:embed pages/*.html pages/*.css words/*.toml
var files embed.FS

// Options are a Voice's dependencies. All are required.
type Options struct {
	Dir string // the share's data, STATE/voice
	Log *slog.Logger
	Now func() time.Time // in the box's zone

	// Services are the online public services that residents may rate, in the order of the page.
	Services []state.Service

	// Board says whether the board is open. A closed board has no door, and its pages say that it is closed.
	Board func() bool
}

// Voice is the share. Create one with New; its methods are safe for concurrent use.
type Voice struct {
	features []feature
	calendar *calendar
	version  atomic.Uint64
	board    func() bool
}

// feature is a part of the share, with its own pages and data.
type feature interface {
	routes() map[string]web.Route
	doors(*web.Words) []web.Door
	search(w *web.Words, query string, most int) web.Found
	// refresh saves, and reads the data from disk again.
	refresh()
	// save writes the data that is not on disk yet.
	save()
}

// New returns the share, without data. Refresh reads its data.
func New(o Options) *Voice {
	v := &Voice{board: o.Board, calendar: newCalendar(o)}
	v.features = []feature{newOpinions(o, v.changed), newBoard(o), v.calendar}
	return v
}

// changed discards cached pages. A feature calls it after its pages' content changed.
func (v *Voice) changed() { v.version.Add(1) }

// Share returns what the residents' server mounts.
func (v *Voice) Share() web.Share {
	routes := make(map[string]web.Route)
	for _, f := range v.features {
		maps.Copy(routes, f.routes())
	}
	return web.Share{
		Name: "voice", Files: files, Routes: routes, Refresh: v.Refresh, Run: v.Run, Version: v.current,
		Doors: v.doors, Search: v.search,
	}
}

// current returns the version of the pages. It also changes when the board opens or closes, and as time passes, since the agenda's
// pages do.
func (v *Voice) current() uint64 {
	n := (v.version.Load() + v.calendar.version()) << 1
	if v.board() {
		n++
	}
	return n
}

// Refresh writes the data that is not on disk yet, and reads all data from disk again.
func (v *Voice) Refresh() {
	for _, f := range v.features {
		f.refresh()
	}
	v.changed()
}

// saveEvery is how often residents' presses are written to disk. It is rare, since flash wears out. A power cut loses the presses since
// the last write.
const saveEvery = 10 * time.Minute

// Run writes the data that is not on disk yet every saveEvery, and once more when ctx ends.
func (v *Voice) Run(ctx context.Context) error {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			v.save()
			return nil
		}
		v.save()
	}
}

func (v *Voice) save() {
	for _, f := range v.features {
		f.save()
	}
}

func (v *Voice) doors(w *web.Words) (all []web.Door) {
	for _, f := range v.features {
		all = append(all, f.doors(w)...)
	}
	return all
}

func (v *Voice) search(w *web.Words, query string, most int) (all []web.Found) {
	for _, f := range v.features {
		all = append(all, f.search(w, query, most))
	}
	return all
}
