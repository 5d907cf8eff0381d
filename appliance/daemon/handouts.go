package daemon

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"passerelle/appliance/fleet/content"
	"passerelle/appliance/fleet/handouts"
	"passerelle/captive/admin"
	"passerelle/captive/places/directory"
	"passerelle/captive/records"
	"passerelle/captive/tutorials/lessons"
)

// handoutShelf imports the files of a kind with the code that imports a technician's upload.
type handoutShelf struct {
	admin.Shelf
	edition func(name string) (string, error)
	ending  string
}

func (s handoutShelf) Ending() string { return s.ending }

func (s handoutShelf) Edition(name string) (string, error) { return s.edition(name) }

func (s handoutShelf) Check(ctx context.Context, path, name string) (replaces string, err error) {
	p, err := s.Shelf.Check(ctx, path, name)
	if err == nil && p.Fewer {
		err = fmt.Errorf("%w; if that is right, it must be withdrawn first", directory.ErrFewer)
	}
	return p.Edition, err
}

func (s handoutShelf) Import(ctx context.Context, path, name, replaces string) error {
	return s.Shelf.Import(ctx, path, admin.Plan{Item: admin.Item{Name: name, Edition: replaces}})
}

// HandoutsOf returns the handouts of the fleet for the box with that state folder. shelves are those of the same folder. o says
// when files may be fetched, and has the log.
func HandoutsOf(state string, shelves admin.Content, o handouts.Options) *handouts.Handouts {
	folder := filepath.Join(state, fleetFolder)
	packs, places := Content(state, "tutorials"), Content(state, "places")
	o.Dir = filepath.Join(folder, "coming")
	o.Records = records.File[[]handouts.Record]{Path: filepath.Join(folder, "handouts.json"), Version: 1}
	o.Shelves = map[content.Kind]handouts.Shelf{
		content.Packs:  handoutShelf{shelves.Packs, func(name string) (string, error) { return lessons.Edition(packs, name) }, ".zip"},
		content.Places: handoutShelf{shelves.Places, func(name string) (string, error) { return directory.Edition(places, name) }, ".csv"},
	}
	return handouts.New(o)
}

// newShelves returns the shelves that the fleet's files are imported into.
func (d *Daemon) newShelves(box memberBox) admin.Content {
	refresh := func(share string) error { return d.portal.Refresh(share) }
	return ContentOf(d.state, refresh, func() time.Time { return time.Now().In(box.Config().Box.Timezone) })
}
