package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"syscall"
	"time"

	"passerelle/appliance/private"
	"passerelle/appliance/state"
	"passerelle/captive/admin/journal"
	"passerelle/captive/web"
)

// Shelf stores the imported files of one kind. Its methods are safe for concurrent use. Errors are in English, as the command line
// shows them. A change of an item whose edition is no longer the given one is refused with private.ErrReplaced.
type Shelf interface {
	// MaxFile returns the size of the largest file that can be imported, in bytes.
	MaxFile() int64
	// Items returns the items by name. problems has the errors of items that cannot be read.
	Items() (all []Item, problems []error)
	// Check says what importing a file would do, without changing anything. An empty name stands for the file's own.
	Check(ctx context.Context, path, name string) (Plan, error)
	// Import imports a file by the plan that Check returned.
	Import(ctx context.Context, path string, p Plan) error
	// Remove removes an item. The error is fs.ErrNotExist if it is not there.
	Remove(name, edition string) error
	// Undo restores what an item replaced, or a removed item. The error is fs.ErrNotExist if there is nothing to restore.
	Undo(name, edition string) error
}

// Item is something that was imported.
type Item struct {
	Name, Edition string
	Title         string // its own title; "" if it has none
	File          string // name of the imported file; "" if unknown
	Kind          string // a word for its content: "lessons" or "pages"; "" if all items of the shelf are alike
	Count         int    // how many things it has; the shelf defines what is counted
	Open          int    // for places: how many of them people may go to
	Size          uint64 // bytes; 0 if unknown
	Imported      time.Time
	Updated       time.Time // when its content was made; zero if unknown
	Undo          bool      // what it replaced can be restored
	Removed       bool      // it is removed, but can be restored
	Warnings      []Warning // warnings of its import
}

// Warning is something in a file that was repaired, left out or not understood.
type Warning struct {
	Line   int    // 0 for the whole file
	Column string // "" for the whole line
	Text   string // in English
	More   int    // number of further warnings of this kind
}

// Plan is what an import would do.
type Plan struct {
	Item               // the item as it would be; its edition is that of the item that it replaces
	Replaces           bool
	New, Gone, Changed int  // compared with the item that it replaces
	Same               bool // the import would change nothing
	Fewer              bool // it has far fewer entries than the item that it replaces
}

// shelfKind describes a shelf for the pages.
type shelfKind struct {
	name      string // in its path and in message keys
	pictogram string
	ending    string // extension of its files
	counts    string // the unit of Count; "" if it depends on the kind of item
	differs   string // the unit of Plan's New, Gone and Changed
	named     bool   // the technician may choose a name
	undo      bool
	download  string // the name of its download; "" if it has none
	duty      duty
	shelf     func(Content) Shelf

	imported, removed, restored, fetched journal.What
}

const needsPath = "/admin/needs"

// shelfKinds has all kinds of shelves.
var shelfKinds = []shelfKind{
	{
		name: "places", pictogram: "pin", ending: ".csv", counts: "place", differs: "place", named: true, undo: true,
		download: "places", duty: provides, shelf: func(c Content) Shelf { return c.Places },
		imported: journal.PlacesImported, removed: journal.PlacesRemoved, restored: journal.PlacesRestored, fetched: journal.PlacesFetched,
	},
	{
		name: "packs", pictogram: "book", ending: ".zip", differs: "file", named: true,
		duty: provides, shelf: func(c Content) Shelf { return c.Packs },
		imported: journal.PackImported, removed: journal.PackRemoved,
	},
	{
		name: "calendars", pictogram: "calendar", ending: ".ics", counts: "event", differs: "event", named: true, undo: true,
		download: "agenda", duty: provides, shelf: func(c Content) Shelf { return c.Calendars },
		imported: journal.CalendarImported, removed: journal.CalendarRemoved, restored: journal.CalendarRestored, fetched: journal.CalendarFetched,
	},
	{
		name: "needs", pictogram: "lifebuoy", ending: ".toml", counts: "rule", differs: "way",
		duty: provides, shelf: func(c Content) Shelf { return c.Needs },
		imported: journal.RulesImported, removed: journal.RulesRemoved,
	},
}

func (k *shelfKind) path() string { return adminPath + k.name }

// up returns the link to the page above.
func (k *shelfKind) up(s *Server, r *request) web.Link {
	if k.name == "calendars" {
		return web.Link{Href: agendaPath, Text: r.Words.T("dates.title")}
	}
	return s.contentUp(r)
}

// Names of the forms' fields.
const (
	editionName = "edition" // the edition of the item that the page showed
	itemName    = "name"    // an item's name
	uploadName  = "upload"  // the id of an upload
	fewerName   = "fewer"   // confirms that far fewer entries are intended
)

// checkTime is the timeout of a check or an import. It is enough for a pack of 1 GB on a slow card.
const checkTime = 10 * time.Minute

// shelfPage lists what was imported, and has a form to upload a file.
type shelfPage struct {
	techFrame
	Kind     string
	Lead     []string
	Up       web.Link
	Items    []itemCard
	Broken   []string // what cannot be read, in English
	Input    input    // field for the item's name; zero if the shelf has no names
	Accept   string
	Limit    string   // size of the largest file; "" if nobody reaches it
	Problem  *problem // what was wrong with the last file
	Warnings []Warning
	Download *downloadCard
	Ways     []way // for the rules: where they lead
	Own      bool  // for the rules: they are the centre's own
}

func (shelfPage) Template() string { return "admin/shelf" }

// itemCard is an item in the list.
type itemCard struct {
	Name, Edition, Title string
	Facts                []string
	Old                  bool // older than six months
	Undo, Removed        bool
	Warnings             []Warning
}

// downloadCard is the state of a shelf's download.
type downloadCard struct {
	Settings string   // the page where its URL is set; "" for a role that may not change it
	Known    bool     // a URL is configured
	Lines    []string // its state in words
	Problem  string   // in English
	Running  bool
}

// shelf shows a shelf.
func (s *Server) shelf(w http.ResponseWriter, r *request, k *shelfKind) {
	s.showShelf(w, r, k, nil, http.StatusOK)
}

func (s *Server) showShelf(w http.ResponseWriter, r *request, k *shelfKind, wrong *problem, status int, warnings ...Warning) {
	s.uploads.forget(s.Now())
	shelf := k.shelf(s.Content)
	items, problems := shelf.Items()
	p := shelfPage{
		techFrame: s.tech(r, "content", k.path(), r.Words.T("shelf.title."+k.name)), Kind: k.name,
		Lead: r.Words.Lines("shelf.lead." + k.name), Up: k.up(s, r), Accept: k.ending,
		Problem: wrong, Warnings: warnings,
	}
	if most := uint64(shelf.MaxFile()); most >= 1_000_000 { // smaller limits are for files that people write, and nobody reaches them
		p.Limit = r.Words.Size(most)
	}
	for _, err := range problems {
		p.Broken = append(p.Broken, err.Error())
	}
	if k.named {
		p.Input = input{
			Kind: aLine, Name: itemName, Most: 40, Label: r.Words.T("shelf.name"), Help: r.Words.Lines("shelf.name-help"),
		}
		for _, i := range items {
			p.Input.Suggests = append(p.Input.Suggests, i.Name)
		}
	}
	for _, i := range items {
		p.Items = append(p.Items, s.cardOf(r, k, i))
	}
	if k.download != "" {
		p.Download = s.downloadOf(r, k)
		if p.Download.Running {
			p.Refresh = 3
		}
	}
	if k.name == "needs" {
		p.Own = len(items) > 0
		p.Ways = s.waysOf(r.Words)
	}
	s.serve(w, r, p, status)
}

// cardOf returns an item as a page shows it.
func (s *Server) cardOf(r *request, k *shelfKind, i Item) itemCard {
	c := itemCard{Name: i.Name, Edition: i.Edition, Title: cmp.Or(i.Title, i.Name), Undo: i.Undo, Removed: i.Removed, Warnings: i.Warnings}
	if i.Removed {
		return c
	}
	c.Facts = factsOf(r, k, i)
	made := i.Updated
	if made.IsZero() {
		made = i.Imported
	}
	if k.name == "places" && made.AddDate(0, listMonths, 0).Before(r.Now) && s.Box.Status().Clock.Trusted {
		c.Old = true
	}
	return c
}

// factsOf returns what is known about an item, in words.
func factsOf(r *request, k *shelfKind, i Item) (facts []string) {
	w := r.Words
	if unit := k.unitOf(i); unit != "" {
		facts = append(facts, w.Count(unit, i.Count))
	} else {
		facts = append(facts, w.T("shelf.pages"))
	}
	if k.name == "places" {
		facts = append(facts, w.T("shelf.open", "number", w.Count("place", i.Open)))
	}
	if i.Size > 0 {
		facts = append(facts, w.Size(i.Size))
	}
	if !i.Updated.IsZero() {
		facts = append(facts, w.T("shelf.updated", "month", w.Month(i.Updated.In(r.Now.Location()))))
	}
	if i.File != "" {
		facts = append(facts, w.T("shelf.from", "file", i.File))
	}
	if !i.Imported.IsZero() {
		facts = append(facts, w.T("shelf.imported", "when", w.When(i.Imported.In(r.Now.Location()), r.Now)))
	}
	return facts
}

// unitOf returns the unit of an item's count, "" if it has no count.
func (k *shelfKind) unitOf(i Item) string {
	switch {
	case k.counts != "":
		return k.counts
	case i.Kind == "lessons":
		return "pack-lesson"
	}
	return ""
}

// downloadOf returns the state of a shelf's download.
func (s *Server) downloadOf(r *request, k *shelfKind) *downloadCard {
	c := &downloadCard{}
	if may(r.role, configures) {
		c.Settings = settingsPath + "/places"
	}
	all := s.Content.Downloads.Status()
	i := slices.IndexFunc(all, func(d state.Download) bool { return d.Name == k.download })
	if i < 0 {
		return c
	}
	d, w := all[i], r.Words
	c.Known, c.Running = true, d.Running
	c.Lines = append(c.Lines, w.T("shelf.fetch-from", "host", d.From))
	switch {
	case d.Running:
		c.Lines = append(c.Lines, w.T("shelf.fetch-running", "size", w.Size(d.Bytes)))
	case d.Done.IsZero():
		c.Lines = append(c.Lines, w.T("shelf.fetch-never"))
	default:
		c.Lines = append(c.Lines, w.T("shelf.fetch-done", "when", w.When(d.Done, r.Now)))
	}
	if !d.Running && d.Error != "" {
		c.Lines, c.Problem = append(c.Lines, w.T("shelf.fetch-failed", "when", w.When(d.Tried, r.Now))), d.Error
	}
	return c
}

// planPage shows what an import would do, and offers to do it.
type planPage struct {
	techFrame
	Kind     string
	ID       string
	Plan     Plan
	Facts    []string
	Changes  []string
	Busy     bool // the import failed because another one was running
	Unasked  bool // the file has far fewer entries, and that is not confirmed yet
	Back     string
	Warnings []Warning
}

func (planPage) Template() string { return "admin/plan" }

// upload receives a file, checks it, and shows what importing it would do.
func (s *Server) upload(w http.ResponseWriter, r *request, k *shelfKind) {
	shelf := k.shelf(s.Content)
	up, err := r.ReadUpload(w, shelf.MaxFile()+maxForm)
	var path string
	if err == nil {
		if path, err = s.receive(r, up, k, shelf.MaxFile()); err != nil {
			up.Discard()
		}
	}
	var large *http.MaxBytesError
	switch {
	case r.Context().Err() != nil:
		return
	case errors.As(err, &large):
		w.Header().Set("Connection", "close")
		s.showShelf(w, r, k, &problem{Text: r.Words.T("shelf.wrong.large")}, http.StatusRequestEntityTooLarge)
		return
	case errors.Is(err, web.ErrNoFile):
		s.showShelf(w, r, k, &problem{Text: r.Words.T("shelf.wrong.none")}, http.StatusUnprocessableEntity)
		return
	case errors.Is(err, web.ErrForm):
		s.refuse(w, r, http.StatusBadRequest)
		return
	case err != nil:
		s.wrongFile(w, r, k, err)
		return
	}
	x := &upload{owner: loginOf(r.Request.Request), kind: k, path: path}
	ctx, cancel, err := allowCheck(w, r)
	if err == nil {
		defer cancel()
		x.plan, err = shelf.Check(ctx, path, up.Form.Get(itemName))
	}
	if err != nil {
		s.uploads.discard(path)
		s.wrongFile(w, r, k, err, x.plan.Warnings...)
		return
	}
	if x.plan.Same {
		s.uploads.discard(path)
		s.serve(w, r, s.contentNotice(r, k.path(), r.Words.Lines("shelf.same")), http.StatusOK)
		return
	}
	s.showPlan(w, r, x, http.StatusOK, false, false)
}

// receive writes an upload to the disk, unless less than spareRoom would be left free.
func (s *Server) receive(r *request, up *web.Upload, k *shelfKind, most int64) (path string, err error) {
	if s.full(r) {
		return "", fmt.Errorf("receive a file: %w", syscall.ENOSPC)
	}
	if r.ContentLength < 0 { // it is unknown whether the file fits; browsers always send the length
		return "", web.ErrForm
	}
	return s.uploads.receive(up.File, fileNameOf(up.Name, k.ending), most)
}

// allowCheck extends a request's timeout to that of a check or an import, and returns a context with it.
func allowCheck(w http.ResponseWriter, r *request) (context.Context, context.CancelFunc, error) {
	web.Yield(r.Request.Request)
	if err := web.AllowTime(w, checkTime); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), checkTime)
	return ctx, cancel, nil
}

// wrongFile shows the shelf again, with what is wrong with an uploaded file. Nothing is changed.
func (s *Server) wrongFile(w http.ResponseWriter, r *request, k *shelfKind, err error, warnings ...Warning) {
	if r.Context().Err() != nil {
		return // the client is gone
	}
	word, status := trouble(err)
	p := &problem{Text: r.Words.T("shelf.wrong.refused")}
	if word == "refused" {
		p.Detail = err.Error()
	} else {
		p.Text = r.Words.Lines("content.cannot." + word)[0] + "."
	}
	s.showShelf(w, r, k, p, status, warnings...)
}

// showPlan shows what an import would do, and keeps the upload until the technician decides.
func (s *Server) showPlan(w http.ResponseWriter, r *request, x *upload, status int, busy, unasked bool) {
	k, words := x.kind, r.Words
	p := planPage{
		techFrame: s.tech(r, "content", k.path(), words.T("shelf.plan")), Kind: k.name, Plan: x.plan, Back: k.path(),
		Facts: factsOf(r, k, x.plan.Item), Busy: busy, Unasked: unasked, Warnings: x.plan.Warnings,
	}
	if x.plan.Replaces {
		for _, c := range []struct {
			word string
			n    int
		}{{"new", x.plan.New}, {"gone", x.plan.Gone}, {"changed", x.plan.Changed}} {
			p.Changes = append(p.Changes, words.T("shelf.plan-"+c.word, "number", words.Count(k.differs, c.n)))
		}
	}
	p.ID = s.uploads.keep(x, s.Now())
	s.serve(w, r, p, status)
}

// importUpload imports an upload whose plan was shown.
func (s *Server) importUpload(w http.ResponseWriter, r *request, k *shelfKind) {
	form, err := r.ReadForm(w, maxForm)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest)
		return
	}
	x, ok := s.uploads.take(s.Now(), form.Get(uploadName), loginOf(r.Request.Request), k)
	if !ok {
		p := s.contentNotice(r, k.path(), r.Words.Lines("content.cannot.expired"))
		p.Pictogram, p.Good = "fault", false
		s.serve(w, r, p, http.StatusConflict)
		return
	}
	if x.plan.Fewer && form.Get(fewerName) == "" {
		s.showPlan(w, r, x, http.StatusUnprocessableEntity, false, true)
		return
	}
	ctx, cancel, err := allowCheck(w, r)
	if err == nil {
		defer cancel()
		err = k.shelf(s.Content).Import(ctx, x.path, x.plan)
	}
	if errors.Is(err, private.ErrLocked) {
		s.showPlan(w, r, x, http.StatusConflict, true, false)
		return
	}
	s.uploads.discard(x.path)
	if err != nil {
		s.contentTrouble(w, r, k.path(), err)
		return
	}
	s.contentDone(w, r, k.path(), k.imported)
}

// dropUpload discards an upload whose plan was shown.
func (s *Server) dropUpload(w http.ResponseWriter, r *request, k *shelfKind) {
	form, err := r.ReadForm(w, maxForm)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest)
		return
	}
	if x, ok := s.uploads.take(s.Now(), form.Get(uploadName), loginOf(r.Request.Request), k); ok {
		s.uploads.discard(x.path)
	}
	r.Lead(w, http.StatusSeeOther, k.path())
}

func (s *Server) removeItem(w http.ResponseWriter, r *request, k *shelfKind) {
	s.changeItem(w, r, k, k.shelf(s.Content).Remove, k.removed)
}

func (s *Server) undoItem(w http.ResponseWriter, r *request, k *shelfKind) {
	s.changeItem(w, r, k, k.shelf(s.Content).Undo, k.restored)
}

// changeItem removes or restores an item, if it still has the edition that the form names.
func (s *Server) changeItem(w http.ResponseWriter, r *request, k *shelfKind, change func(name, edition string) error, what journal.What) {
	form, err := r.ReadForm(w, maxForm)
	if err != nil || form.Get(editionName) == "" {
		s.refuse(w, r, http.StatusBadRequest)
		return
	}
	web.Yield(r.Request.Request)
	if err := change(form.Get(itemName), form.Get(editionName)); err != nil {
		s.contentTrouble(w, r, k.path(), err)
		return
	}
	s.contentDone(w, r, k.path(), what)
}

// fetch starts a shelf's download.
func (s *Server) fetch(w http.ResponseWriter, r *request, k *shelfKind) {
	if status := web.CheckPOST(w, r.Request.Request); status != http.StatusOK {
		s.refuse(w, r, status)
		return
	}
	if err := s.Content.Downloads.Start(k.download); err != nil {
		p := s.contentNotice(r, k.path(), r.Words.Lines("content.cannot.fetch"))
		p.Pictogram, p.Good, p.Why = "fault", false, err.Error()
		s.serve(w, r, p, http.StatusConflict)
		return
	}
	s.note(r, k.fetched)
	r.Lead(w, http.StatusSeeOther, k.path())
}
