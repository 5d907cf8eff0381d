package admin

import (
	"bytes"
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/diff"

	"passerelle/appliance/config"
	"passerelle/captive/web"
)

// draft is a change of the configuration that is not saved yet. It may contain secrets, so pages have only its id.
type draft struct {
	owner   string // the login of the technician who made it
	made    time.Time
	base    []byte          // the text that it was made from
	changes []config.Change // changes that can be made to base or to a newer text; nil if the draft is a whole text
	text    []byte          // the resulting text
	masks   config.Masks    // the masked secrets of a whole text
	from    string          // the path of the page that made it
}

// Limits on memory and on the preview.
const (
	draftLife  = 15 * time.Minute
	maxDrafts  = 4 // per login
	maxTexts   = 8
	maxPreview = 400 // lines of a diff
)

// drafts holds the drafts of all technicians, and the texts that their pages were made from. Its methods are safe for concurrent
// use. The zero value is empty.
type drafts struct {
	mu    sync.Mutex
	all   map[string]draft // by id
	texts [][]byte         // oldest first
}

// put stores a draft for draftLife, and returns its id. A login's oldest drafts are dropped to make room.
func (d *drafts) put(now time.Time, new draft) (id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all == nil {
		d.all = make(map[string]draft)
	}
	var own []string
	for id, other := range d.all {
		if now.Sub(other.made) > draftLife {
			delete(d.all, id)
		} else if other.owner == new.owner {
			own = append(own, id)
		}
	}
	slices.SortFunc(own, func(a, b string) int { return d.all[a].made.Compare(d.all[b].made) })
	for len(own) >= maxDrafts {
		delete(d.all, own[0])
		own = own[1:]
	}
	id, new.made = rand.Text(), now
	d.all[id] = new
	return id
}

// get returns a login's draft.
func (d *drafts) get(now time.Time, id, owner string) (draft, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	found, ok := d.all[id]
	return found, ok && found.owner == owner && now.Sub(found.made) <= draftLife
}

func (d *drafts) remove(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.all, id)
}

// remember keeps a text that a page shows, so that the page's form can be compared with it later.
func (d *drafts) remember(text []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.texts = slices.DeleteFunc(d.texts, func(other []byte) bool { return bytes.Equal(other, text) })
	d.texts = append(d.texts, text)
	d.texts = d.texts[max(0, len(d.texts)-maxTexts):]
}

// text returns the text of a revision, or nil if it is not kept.
func (d *drafts) text(r config.Revision) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := slices.IndexFunc(d.texts, func(text []byte) bool { return config.RevisionOf(text) == r }); i >= 0 {
		return d.texts[i]
	}
	return nil
}

// attempt is the result of applying a draft to the current configuration without saving it.
type attempt struct {
	current       []byte
	text          []byte
	before, after *config.Config      // before is nil if the file is not valid
	others        []config.Difference // what others have changed since the draft's base
	moved         bool                // the file is no longer the draft's base
}

// try applies a draft's change without saving it. The error is config.ErrByHand if the file cannot be edited automatically, or of
// type config.Problems if the new text is not valid.
func (s *Server) try(d draft) (a attempt, err error) {
	if a.current, _, err = s.Configuration.Read(); err != nil {
		return a, err
	}
	a.text = d.text
	if d.changes != nil {
		if a.text, err = config.Edit(a.current, d.changes); err != nil {
			return a, err
		}
	}
	if a.after, err = config.Parse(fileName, a.text); err != nil {
		return a, err
	}
	a.before, _ = config.Parse(fileName, a.current)
	if a.moved = !bytes.Equal(a.current, d.base); a.moved && a.before != nil {
		if base, err := config.Parse(fileName, d.base); err == nil {
			a.others = config.Differences(base, a.before)
		}
	}
	return a, nil
}

// previewPage shows what a draft would change.
type previewPage struct {
	techFrame
	ID       string
	Revision config.Revision
	Theirs   []changeRow // what somebody else has changed in the meantime
	Moved    bool        // the file has changed in the meantime
	Whole    bool        // the draft is a whole text, and would undo that change
	Changes  []changeRow
	Diff     []diffLine
	More     bool     // the diff is longer than shown
	Effect   []string // what saving does to the people on the hotspot
	From     string
}

func (previewPage) Template() string { return "admin/settings-preview" }

// changeRow is a change in words.
type changeRow struct {
	Of, Label     string // the donation's name, "" for none; the key's label
	Before, After string
	Added         bool // the whole donation is added
	Removed       bool // the whole donation is removed
}

// diffLine is a line of the diff of two texts.
type diffLine struct {
	Sign string // "+", "-", " ", or "@" for a part that is left out
	Text string
}

// showPreview shows what a draft would change, and offers to save it.
func (s *Server) showPreview(w http.ResponseWriter, r *request, d draft, a attempt, status int) {
	d.owner, d.text = loginOf(r.Request.Request), a.text
	p := previewPage{
		techFrame: s.tech(r, "settings", settingsPath, r.Words.T("settings.preview")),
		Revision:  config.RevisionOf(a.current), Moved: a.moved, Whole: d.changes == nil,
		Theirs: changeRows(r.Words, a.others), From: d.from,
	}
	if a.before != nil {
		all := config.Differences(a.before, a.after)
		p.Changes = changeRows(r.Words, all)
		p.Effect = append(r.Words.Lines("settings.does."+string(s.Configuration.Effect(a.before, a.after))), notesOf(r.Words, all)...)
	}
	p.Diff, p.More = diffOf(a.current, a.text)
	d.base = a.current
	p.ID = s.drafts.put(s.Now(), d)
	s.serve(w, r, p, status)
}

// notesOf returns lines about the consequences of removing or renaming a donation.
func notesOf(w *web.Words, all []config.Difference) []string {
	added, removed := 0, 0
	for _, d := range all {
		if d.Key == donationKey && d.Before == "" {
			added++
		} else if d.Key == donationKey {
			removed++
		}
	}
	switch {
	case removed == 0:
		return nil
	case added > 0:
		return w.Lines("settings.also.renamed")
	}
	return w.Lines("settings.also.removed")
}

const donationKey = "donation"

// changeRows returns differences in words.
func changeRows(w *web.Words, all []config.Difference) (rows []changeRow) {
	for _, d := range all {
		row := changeRow{Of: d.Donation}
		f := fieldOf(d.Key)
		switch {
		case d.Key == donationKey:
			row.Added, row.Removed = d.Before == "", d.After == ""
		case f == nil:
			row.Label, row.Before, row.After = d.Key, d.Before, d.After
		default:
			row.Label = f.title(w)
			row.Before, row.After = f.say(w, config.ParseValue(d.Before)), f.say(w, config.ParseValue(d.After))
			if row.Before == row.After && d.After != "" { // a secret, or the same value in another spelling
				row.After = w.T("settings.another")
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// diffOf returns the diff of two texts, without secrets. more is true if it has more than maxPreview lines.
func diffOf(before, after []byte) (lines []diffLine, more bool) {
	var m config.Masks
	m.Mask(before)
	m.Mask(after)
	old, new := m.Mask(before), m.Mask(after) // mask again: a secret of one text may be in a comment of the other
	for i, line := range strings.Split(strings.TrimSuffix(string(diff.Diff("", old, "", new)), "\n"), "\n") {
		switch {
		case i < 3 || line == "": // the names of the texts
		case len(lines) == maxPreview:
			return lines, true
		case line[0] == '@':
			if len(lines) > 0 {
				lines = append(lines, diffLine{Sign: "@"})
			}
		case line[0] == '+' || line[0] == '-' || line[0] == ' ':
			lines = append(lines, diffLine{line[:1], strings.TrimSuffix(line[1:], "\r")})
		}
	}
	return lines, false
}

// saveSettings saves a draft, if the file is still the one that the preview was made from.
func (s *Server) saveSettings(w http.ResponseWriter, r *request) {
	form, err := r.ReadForm(w, maxForm)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest)
		return
	}
	id := form.Get(draftName)
	d, ok := s.drafts.get(s.Now(), id, loginOf(r.Request.Request))
	if !ok || form.Get(revisionName) != string(config.RevisionOf(d.base)) {
		s.notice(w, r, "expired", http.StatusConflict)
		return
	}
	web.Yield(r.Request.Request)
	result, err := s.Configuration.Apply(r.Context(), d.text, config.RevisionOf(d.base), r.side)
	switch {
	case err != nil:
		s.failed(w, r, "save the configuration", err)
		return
	case result.Outcome == config.Conflict:
		a, err := s.try(d)
		if err != nil {
			s.cannot(w, r, err)
			return
		}
		s.showPreview(w, r, d, a, http.StatusConflict)
		return
	case result.Outcome == config.Refused:
		s.cannot(w, r, errors.Join(errors.New(result.Why), problemsError(result.Problems)))
		return
	}
	s.drafts.remove(id)
	what := Undisturbed
	if before, err := config.Parse(fileName, d.base); err == nil {
		if after, err := config.Parse(fileName, d.text); err == nil {
			what = s.Configuration.Effect(before, after)
		}
	}
	lines := r.Words.Lines("settings.saved." + string(what))
	p := settingsNotice{
		techFrame: s.tech(r, "settings", settingsPath, lines[0]), Pictogram: "done", Good: true, Lines: lines,
		To: web.Link{Href: d.from, Text: r.Words.T("settings.back")},
	}
	if result.Outcome == config.Applied {
		p.Why = result.Why
	}
	s.serve(w, r, p, http.StatusOK)
}

// problemsError returns problems as an error, or nil if there are none.
func problemsError(p config.Problems) error {
	if len(p) == 0 {
		return nil
	}
	return p
}
