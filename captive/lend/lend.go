// Package lend is a share: how people offer the connection of their phone. It owns the page /lend, the words and templates of all pages
// about offers, the Room where offers wait for the desk, and the reading of QR codes on photos. Pages with a password, and those of the
// desk, are served by package admin, over https. Package lend depends neither on the box or its configuration nor on other shares.
//
// A lender's password is only in the Room, in memory, until the desk has answered or an hour has passed. No page, log or answer
// contains it.
package lend

import (
	"context"
	"embed"
	"hash/fnv"
	"net/http"
	"time"

	"passerelle/captive/web"
)

//go:embed pages/*.html pages/*.css words/*.toml
var files embed.FS

// Path is the path of the residents' page. The paths below it are served over https.
const Path = "/lend"

// FormPath is the path of the form for the lender's own phone, over https.
const FormPath = Path + "/phone"

// Options are a Lend's dependencies. All are required.
type Options struct {
	Room *Room
	Now  func() time.Time
	// Name returns the name of the networks by which phones offer to lend, "" for none.
	Name func() string
}

// Lend is the share. Create one with New.
type Lend struct{ Options }

// New returns the share.
func New(o Options) *Lend { return &Lend{o} }

// Words returns a share with only the words and templates, for pages that are served elsewhere.
func Words() web.Share { return web.Share{Name: "lend", Files: files} }

// Share returns what the residents' server mounts.
func (l *Lend) Share() web.Share {
	s := Words()
	s.Routes = map[string]web.Route{Path: {Get: l.start}}
	s.Run, s.Version, s.Doors = l.run, l.version, doors
	return s
}

// version changes with the name that the page shows.
func (l *Lend) version() uint64 {
	h := fnv.New64a()
	h.Write([]byte(l.Name()))
	return h.Sum64()
}

// run removes expired offers from the Room every minute, until ctx ends.
func (l *Lend) run(ctx context.Context) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			l.Room.Expire(l.Now())
		}
	}
}

func doors(w *web.Words) []web.Door {
	return []web.Door{{Href: Path, Pictogram: "lend", Title: w.T("lend.title"), Text: w.T("lend.text")}}
}

// lessonDoor returns a door to the lesson about lending, which every box has.
func lessonDoor(w *web.Words) web.Door {
	return web.Door{Href: "/tutorials/preter", Pictogram: "book", Title: w.T("lend.lesson"), Text: w.T("lend.lesson-text")}
}

// startPage says how to lend, in three steps.
type startPage struct {
	web.Frame
	Sizes []string // what can be lent, in words
	Name  string   // of networks that offer to lend, "" for none
	Form  string   // path of the form
	Doors []web.Door
}

func (startPage) Template() string { return "lend/start" }

func (l *Lend) start(w http.ResponseWriter, r *web.Request) {
	if r.Kept(w, Path) {
		return
	}
	p := startPage{Frame: r.Frame(Path, r.Words.T("lend.title")), Name: l.Name(), Form: FormPath, Doors: []web.Door{lessonDoor(r.Words)}}
	for _, size := range Sizes {
		p.Sizes = append(p.Sizes, Means(r.Words, size))
	}
	r.Keep(w, Path, p, http.StatusOK)
}

// Sizes are the caps of a loan that pages offer, in bytes.
var Sizes = []uint64{1e9, 2e9, 5e9, 12e9, 20e9, 50e9}

// UsualSize is the one of Sizes that forms start with.
const UsualSize = 5e9

// Means says how much a number of bytes is, in words: "12 gigabytes, about 24 hours of video for the centre".
func Means(w *web.Words, bytes uint64) string {
	video := w.Video(bytes)
	if video == "" {
		return w.Size(bytes)
	}
	return w.T("lend.means", "size", w.Size(bytes), "time", video)
}
