package daemon

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"passerelle/appliance/hours"
	"passerelle/captive/admin"
	"passerelle/captive/places"
	"passerelle/captive/places/directory"
	"passerelle/captive/places/needs"
	"passerelle/captive/tutorials/lessons"
	"passerelle/captive/voice"
	"passerelle/captive/voice/agenda"
)

// uploadsFolder is the folder, in the state folder, of the files that wait to be imported. They are as large as what is imported.
const uploadsFolder = "uploads"

// content returns the shares' content as technicians' pages see it.
func (d *Daemon) content() admin.Content {
	c := ContentOf(d.state, d.portal.Refresh, func() time.Time { return time.Now().In(d.box.Config().Box.Timezone) })
	c.Downloads = d.fetcher
	return c
}

// ContentOf returns the content of the shares in a state folder, without downloads. refresh makes a share reload its files, and
// now returns the time in the box's zone.
func ContentOf(state string, refresh func(share string) error, now func() time.Time) admin.Content {
	reads := func(share string) func() error { return func() error { return refresh(share) } }
	lists := placesShelf{Content(state, "places"), reads("places"), now}
	return admin.Content{
		Places: lists, Finder: lists,
		Packs:     packsShelf{Content(state, "tutorials"), reads("tutorials"), now},
		Calendars: calendarsShelf{agenda.Store{Dir: Content(state, "voice")}, reads("voice")},
		Needs:     rulesShelf{Content(state, "places"), reads("places")},
		Desk:      voice.Desk{Dir: Content(state, "voice"), Now: now, Refresh: reads("voice")},
		Uploads:   filepath.Join(state, uploadsFolder),
	}
}

// then returns err, or if it is nil the error of next.
func then(err error, next func() error) error {
	if err != nil {
		return err
	}
	return next()
}

// shown returns an error as a page shows it: without the folder of the uploaded file.
func shown(err error, path string) error {
	if err == nil {
		return nil
	}
	return pathless{err, filepath.Dir(path) + string(filepath.Separator)}
}

// pathless is an error without a folder's path in its text.
type pathless struct {
	error
	folder string
}

func (e pathless) Error() string { return strings.ReplaceAll(e.error.Error(), e.folder, "") }
func (e pathless) Unwrap() error { return e.error }

// placesShelf has the lists of places.
type placesShelf struct {
	dir     string
	refresh func() error
	now     func() time.Time
}

func (placesShelf) MaxFile() int64 { return directory.MaxFile }

func (s placesShelf) Items() (all []admin.Item, problems []error) {
	d, problems := directory.Open(s.dir)
	defer d.Close()
	for _, l := range d.Lists() {
		edition, err := directory.Edition(s.dir, l.Name)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		item := placesItem(l)
		item.Edition = edition
		all = append(all, item)
	}
	return withRemoved(all, problems, func() ([]string, error) { return directory.Removed(s.dir) })
}

// withRemoved adds the items that were removed and can be restored.
func withRemoved(all []admin.Item, problems []error, removed func() ([]string, error)) ([]admin.Item, []error) {
	names, err := removed()
	if err != nil {
		problems = append(problems, err)
	}
	for _, name := range names {
		all = append(all, admin.Item{Name: name, Edition: "none", Undo: true, Removed: true})
	}
	return all, problems
}

func placesItem(l directory.List) admin.Item {
	item := admin.Item{
		Name: l.Name, File: l.File, Count: l.Places, Open: l.Listed, Imported: l.Imported, Updated: l.Updated, Undo: l.Undo,
	}
	for _, w := range l.Warnings {
		item.Warnings = append(item.Warnings, admin.Warning(w))
	}
	return item
}

func (s placesShelf) Check(ctx context.Context, path, name string) (admin.Plan, error) {
	r, err := directory.Importer{Dir: s.dir, Now: s.now}.Check(ctx, path, name)
	p := admin.Plan{
		Item: placesItem(r.List), Replaces: r.Replaced >= 0, Fewer: r.Fewer,
		New: r.Changes.New, Gone: r.Changes.Gone, Changed: r.Changes.Changed,
	}
	p.Edition, p.Imported = r.Edition, time.Time{}
	return p, shown(err, path)
}

func (s placesShelf) Import(ctx context.Context, path string, p admin.Plan) error {
	i := directory.Importer{Dir: s.dir, Now: s.now, Yes: p.Fewer, Edition: p.Edition}
	if _, err := i.Import(ctx, path, p.Name); err != nil {
		return shown(err, path)
	}
	return s.refresh()
}

func (s placesShelf) Remove(name, edition string) error {
	return then(directory.Remove(s.dir, name, edition), s.refresh)
}

func (s placesShelf) Undo(name, edition string) error {
	return then(directory.Undo(s.dir, name, edition), s.refresh)
}

// Loaded tells whether there is a list of places.
func (s placesShelf) Loaded() bool { return directory.HasLists(s.dir) }

// Find returns places whose name or town matches words.
func (s placesShelf) Find(words string, most int) (all []admin.FoundPlace, err error) {
	d, _ := directory.Open(s.dir) // the page of the lists says what is broken
	defer d.Close()
	found, _, err := d.Search(words, most)
	for _, p := range found {
		all = append(all, foundPlace(p))
	}
	return all, err
}

// Place returns a place by its ID.
func (s placesShelf) Place(id string) (admin.FoundPlace, error) {
	d, _ := directory.Open(s.dir)
	defer d.Close()
	p, err := d.Place(id)
	return foundPlace(p), err
}

// foundPlace returns what a centre's card has of a place.
func foundPlace(p directory.Place) admin.FoundPlace {
	f := admin.FoundPlace{ID: p.ID, Name: p.Name, Address: p.Address, Postcode: p.Postcode, Town: p.Town}
	for _, phone := range p.Phones {
		if phone.Dial != "" {
			f.Phone = phone.Shown
			break
		}
	}
	if _, err := hours.Parse(p.Hours); err == nil && p.Hours != "" {
		f.Hours = p.Hours
	}
	return f
}

// packsShelf has the packs of lessons and pages.
type packsShelf struct {
	dir     string
	refresh func() error
	now     func() time.Time
}

// maxPack is the largest zip that can be uploaded to the pages, in bytes. During the import the disk has both the zip and its
// content. A larger pack is imported from a stick, by the command.
const maxPack = 1_000_000_000

func (packsShelf) MaxFile() int64 { return maxPack }

func (s packsShelf) Items() (all []admin.Item, problems []error) {
	packs, problems := lessons.Packs(s.dir)
	for _, p := range packs {
		item, err := packItem(p), error(nil)
		if item.Edition, err = lessons.Edition(s.dir, p.Name); err != nil {
			problems = append(problems, err)
			continue
		}
		all = append(all, item)
	}
	return all, problems
}

func packItem(p lessons.Pack) admin.Item {
	return admin.Item{Name: p.Name, Title: p.Title, Kind: p.Kind, Count: p.Lessons, Size: uint64(p.Size), Imported: p.Imported}
}

func (s packsShelf) importer() lessons.Importer {
	return lessons.Importer{Dir: s.dir, MaxSize: lessons.DefaultMaxSize, Now: s.now, Progress: func(int64, int64) {}}
}

func (s packsShelf) Check(ctx context.Context, path, name string) (admin.Plan, error) {
	var warnings []admin.Warning
	i := s.importer()
	i.LeftOut = func(names []string) { warnings = packWarnings(names) }
	p, c, err := i.Check(ctx, path, name)
	plan := admin.Plan{Item: packItem(p), Replaces: c.Replaces, New: c.New, Gone: c.Gone, Changed: c.Changed}
	plan.Warnings = warnings
	plan.Edition, plan.Imported, plan.File = c.Edition, time.Time{}, filepath.Base(path)
	return plan, shown(err, path)
}

// maxLeftOut is how many of the files that an import left out a page names.
const maxLeftOut = 20

// packWarnings returns what a page says of the files that an import leaves out.
func packWarnings(names []string) (warnings []admin.Warning) {
	for _, name := range names[:min(len(names), maxLeftOut)] {
		warnings = append(warnings, admin.Warning{Column: name, Text: "is left out: no page or lesson needs it"})
	}
	if more := len(names) - maxLeftOut; more > 0 {
		warnings[maxLeftOut-1].More = more
	}
	return warnings
}

func (s packsShelf) Import(ctx context.Context, path string, p admin.Plan) error {
	i := s.importer()
	i.Edition = p.Edition
	if _, err := i.Import(ctx, path, p.Name); err != nil {
		return shown(err, path)
	}
	return s.refresh()
}

func (s packsShelf) Remove(name, edition string) error {
	return then(lessons.Remove(s.dir, name, edition), s.refresh)
}

// Undo is for shelves that keep the replaced version. Packs are too large for that.
func (packsShelf) Undo(string, string) error { return fs.ErrNotExist }

// calendarsShelf has the imported calendars.
type calendarsShelf struct {
	store   agenda.Store
	refresh func() error
}

func (calendarsShelf) MaxFile() int64 { return agenda.MaxFile }

func (s calendarsShelf) Items() (all []admin.Item, problems []error) {
	calendars, problems := s.store.Calendars()
	for _, c := range calendars {
		edition, err := s.store.Edition(c.Name)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		all = append(all, admin.Item{Name: c.Name, Edition: edition, Count: c.Events, Imported: c.Imported, Undo: c.Undo})
	}
	return withRemoved(all, problems, s.store.Removed)
}

func (s calendarsShelf) Check(_ context.Context, path, name string) (admin.Plan, error) {
	f, err := os.Open(path)
	if err != nil {
		return admin.Plan{}, shown(err, path)
	}
	defer f.Close()
	r, c, err := s.store.Check(f, cmp.Or(name, agenda.NameOf(path)))
	p := admin.Plan{
		Item:     admin.Item{Name: r.Name, Edition: c.Edition, Count: r.Events, File: filepath.Base(path)},
		Replaces: c.Replaces, Same: r.Same, New: c.New, Gone: c.Gone, Changed: c.Changed,
	}
	for _, w := range r.Warnings {
		p.Warnings = append(p.Warnings, admin.Warning{Line: w.Line, Text: w.What})
	}
	return p, shown(err, path)
}

func (s calendarsShelf) Import(_ context.Context, path string, p admin.Plan) error {
	f, err := os.Open(path)
	if err != nil {
		return shown(err, path)
	}
	defer f.Close()
	if _, err := s.store.Import(f, p.Name, p.Edition); err != nil {
		return shown(err, path)
	}
	return s.refresh()
}

func (s calendarsShelf) Remove(name, edition string) error {
	return then(s.store.Remove(name, edition), s.refresh)
}

func (s calendarsShelf) Undo(name, edition string) error {
	_, err := s.store.Undo(name, edition)
	if errors.Is(err, agenda.ErrNothingToUndo) {
		err = errors.Join(err, fs.ErrNotExist)
	}
	return then(err, s.refresh)
}

// rulesShelf has the centre's own rules of "Where do I go?", if there are any.
type rulesShelf struct {
	dir     string
	refresh func() error
}

func (rulesShelf) MaxFile() int64 { return needs.MaxSize }

// ownRules is the name of the centre's own rules on the page.
const ownRules = needs.File

func (s rulesShelf) Items() (all []admin.Item, problems []error) {
	edition, err := needs.Edition(s.dir)
	if err != nil || edition == "none" {
		return nil, problemsOf(err)
	}
	item := admin.Item{Name: ownRules, Edition: edition}
	if info, err := os.Stat(filepath.Join(s.dir, needs.File)); err == nil {
		item.Imported = info.ModTime()
	}
	g, err := needs.Load(s.dir, places.NeedsKnown())
	if err == nil {
		item.Count = len(g.Rules)
	}
	return []admin.Item{item}, problemsOf(err)
}

func problemsOf(err error) []error {
	if err == nil {
		return nil
	}
	return []error{err}
}

func (s rulesShelf) Check(_ context.Context, path, _ string) (admin.Plan, error) {
	g, err := needs.Read(path, places.NeedsKnown())
	if err != nil {
		return admin.Plan{}, shown(err, path)
	}
	p := admin.Plan{Item: admin.Item{Name: ownRules, Count: len(g.Rules), File: filepath.Base(path)}, Replaces: true}
	if p.Edition, err = needs.Edition(s.dir); err != nil {
		return p, err
	}
	old, _ := needs.Load(s.dir, places.NeedsKnown()) // broken ones are not in use
	p.Same = p.Edition != "none" && string(old.File()) == string(g.File())
	was, is := waysOf(old), waysOf(g)
	for path, to := range is {
		if before, found := was[path]; !found {
			p.New++
		} else if before != to {
			p.Changed++
		}
		delete(was, path)
	}
	p.Gone = len(was)
	return p, nil
}

// waysOf returns the result of each combination of answers.
func waysOf(g *needs.Guide) map[string]string {
	all := make(map[string]string)
	for a := range g.All() {
		var to []string
		for _, d := range g.Rule(a).To {
			to = append(to, d.String())
		}
		all[a.Path()] = strings.Join(to, ", ")
	}
	return all
}

func (s rulesShelf) Import(_ context.Context, path string, p admin.Plan) error {
	if _, err := needs.Install(s.dir, path, places.NeedsKnown(), p.Edition); err != nil {
		return shown(err, path)
	}
	return s.refresh()
}

func (s rulesShelf) Remove(_, edition string) error {
	return then(needs.Remove(s.dir, edition), s.refresh)
}

// Undo is for shelves that keep the replaced version.
func (rulesShelf) Undo(string, string) error { return fs.ErrNotExist }

// File returns the text of the rules in use.
func (s rulesShelf) File() ([]byte, error) {
	g, _ := needs.Load(s.dir, places.NeedsKnown()) // broken ones are not in use
	return g.File(), nil
}

// Ways returns the result of each combination of answers.
func (s rulesShelf) Ways(language string) (all []admin.Way, err error) {
	g, err := needs.Load(s.dir, places.NeedsKnown())
	for a := range g.All() {
		var w admin.Way
		for _, answer := range a {
			title, _ := answer.Title.In(language)
			w.Answers = append(w.Answers, title)
		}
		for _, d := range g.Rule(a).To {
			w.To = append(w.To, admin.Destination{Kind: string(d.Kind), Key: d.Key})
		}
		all = append(all, w)
	}
	return all, err
}
