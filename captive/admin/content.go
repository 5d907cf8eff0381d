package admin

import (
	"errors"
	"io/fs"
	"net/http"
	"slices"
	"syscall"

	"passerelle/appliance/config"
	"passerelle/appliance/private"
	"passerelle/appliance/state"
	"passerelle/captive/admin/journal"
	"passerelle/captive/voice/board"
	"passerelle/captive/web"
)

// Content is what residents find on the box besides the internet, as far as technicians' and staff's pages manage it.
type Content struct {
	Places, Packs, Calendars Shelf
	Needs                    Rules
	Finder                   Finder
	Desk                     Desk
	Downloads                Downloads
	Uploads                  string // the folder of uploaded files that wait to be imported; New empties it
}

// Downloads are the files that the box keeps up to date. Its methods are safe for concurrent use.
type Downloads interface {
	// Start begins the download of that name now. The error says why it cannot begin.
	Start(name string) error
	Status() []state.Download
}

// duty is a group of pages that a role may or may not use.
type duty string

// The duties.
const (
	configures duty = "configures" // the box: its settings, its password, the desk's code
	provides   duty = "provides"   // what residents read: places, packs, calendars, rules
	welcomes   duty = "welcomes"   // the desk's work: pause, loans, lenders' links and sheets, agenda, board, opinion, poster, diagnosis
)

// duties lists the duties of each role that can sign in.
var duties = map[config.Role][]duty{
	config.RoleTechnician: {configures, provides, welcomes},
	config.RoleStaff:      {welcomes},
}

// may reports whether a role has a duty.
func may(role config.Role, d duty) bool { return slices.Contains(duties[role], d) }

// dutyRoute is a page for those who have a duty.
type dutyRoute struct {
	duty    duty
	handler techHandler
}

const contentPath = "/admin/content"

// contentRoutes are the pages of the content. GET shows, POST changes; both need a login whose role has the duty.
var contentRoutes = func() map[string]dutyRoute {
	all := map[string]dutyRoute{
		"GET " + contentPath: {provides, (*Server).content},

		"GET " + needsPath + "/file": {provides, (*Server).needsFile},

		"GET " + lendersPath:  {welcomes, (*Server).lenders},
		"POST " + lendersPath: {welcomes, (*Server).makeLink},

		"GET " + sheetPath:             {welcomes, (*Server).showMonth},
		"GET " + sheetPath + "/{file}": {welcomes, (*Server).monthFile},
		"GET " + yearPath:              {welcomes, (*Server).showYear},
		"GET " + yearPath + "/{file}":  {welcomes, (*Server).yearFile},

		"GET " + agendaPath:                      {welcomes, (*Server).agenda},
		"POST " + agendaPath:                     {welcomes, (*Server).addEvent},
		"GET " + agendaPath + "/{number}":        {welcomes, (*Server).event},
		"POST " + agendaPath + "/{number}":       {welcomes, (*Server).changeEvent},
		"GET " + boardPath:                       {welcomes, (*Server).board},
		"POST " + boardPath:                      {welcomes, (*Server).changeBoard},
		"GET " + opinionPath:                     {welcomes, (*Server).opinion},
		"POST " + opinionPath:                    {welcomes, (*Server).ask},
		"POST " + opinionPath + "/close":         {welcomes, (*Server).closeQuestion},
		"GET " + opinionPath + "/results/{file}": {welcomes, (*Server).results},
	}
	for i := range shelfKinds {
		k := &shelfKinds[i]
		on := func(h func(*Server, http.ResponseWriter, *request, *shelfKind)) dutyRoute {
			return dutyRoute{k.duty, func(s *Server, w http.ResponseWriter, r *request) { h(s, w, r, k) }}
		}
		all["GET "+k.path()] = on((*Server).shelf)
		all["POST "+k.path()+"/upload"] = on((*Server).upload)
		all["POST "+k.path()+"/import"] = on((*Server).importUpload)
		all["POST "+k.path()+"/drop"] = on((*Server).dropUpload)
		all["POST "+k.path()+"/remove"] = on((*Server).removeItem)
		if k.undo {
			all["POST "+k.path()+"/undo"] = on((*Server).undoItem)
		}
		if k.download != "" {
			all["POST "+k.path()+"/fetch"] = on((*Server).fetch)
		}
	}
	return all
}()

// contentPage is the overview of the content.
type contentPage struct {
	techFrame
	Doors []web.Door
}

func (contentPage) Template() string { return "admin/content" }

func (s *Server) content(w http.ResponseWriter, r *request) {
	p := contentPage{techFrame: s.tech(r, "content", contentPath, r.Words.T("content.title"))}
	door := func(name, pictogram, text string) {
		p.Doors = append(p.Doors, web.Door{
			Href: adminPath + name, Pictogram: pictogram, Title: r.Words.T("content.door." + name), Text: text,
		})
	}
	door("places", "pin", r.Words.T("content.about.places"))
	door("packs", "book", r.Words.T("content.about.packs"))
	door("agenda", "calendar", r.Words.T("content.about.agenda"))
	waits := r.Words.T("content.about.board")
	if b, err := s.Content.Desk.Board(); err != nil {
		s.Log.Error("read the board", "err", err)
	} else if n := len(b.Waiting()); n > 0 {
		waits = r.Words.Count("notice-waits", n)
	}
	door("board", "accompany", waits)
	asked := r.Words.T("content.about.opinion")
	if q, err := s.Content.Desk.Question(); err != nil {
		s.Log.Error("read the question", "err", err)
	} else if q != nil {
		asked = q.Text
	}
	door("opinion", "speech", asked)
	offers := r.Words.T("content.about.loans")
	if n := len(s.Offers.Waiting(s.Now())); n > 0 {
		offers = r.Words.Count("offer-waits", n)
	}
	door("loans", "lend", offers)
	door("lenders", "lend", r.Words.T("content.about.lenders"))
	door("needs", "lifebuoy", r.Words.T("content.about.needs"))
	s.serve(w, r, p, http.StatusOK)
}

// contentUp returns the link to the overview of the content, or to the desk's page for a role without that overview.
func (s *Server) contentUp(r *request) web.Link {
	if !may(r.role, provides) {
		return web.Link{Href: deskPath, Text: r.Words.T("staff.title")}
	}
	return web.Link{Href: contentPath, Text: r.Words.T("content.title")}
}

// trouble returns a word for what the error of a change means, and the HTTP status to answer with. The word is "refused" for any
// other error: then only the error's own text explains it.
func trouble(err error) (word string, status int) {
	switch {
	case errors.Is(err, private.ErrReplaced):
		return "outdated", http.StatusConflict
	case errors.Is(err, private.ErrLocked):
		return "busy", http.StatusConflict
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "full", http.StatusInsufficientStorage
	case errors.Is(err, syscall.EROFS):
		return "read-only", http.StatusInsufficientStorage
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, board.ErrNoNotice), errors.Is(err, board.ErrUnknown):
		return "gone", http.StatusConflict
	case errors.Is(err, board.ErrFull):
		return "board-full", http.StatusConflict
	}
	return "refused", http.StatusUnprocessableEntity
}

// contentTrouble serves a page that says why a change of the content was not made, with a link back.
func (s *Server) contentTrouble(w http.ResponseWriter, r *request, back string, err error) {
	if r.Context().Err() != nil {
		return // the client is gone
	}
	word, status := trouble(err)
	lines := r.Words.Lines("content.cannot." + word)
	p := s.contentNotice(r, back, lines)
	p.Pictogram, p.Good = "fault", false
	if word == "refused" {
		s.Log.Warn("a change of the content", "err", err)
		p.Why = err.Error()
	}
	s.serve(w, r, p, status)
}

// contentNotice returns a page that says that something is done, with a link back.
func (s *Server) contentNotice(r *request, back string, lines []string) settingsNotice {
	return settingsNotice{
		techFrame: s.tech(r, "content", contentPath, lines[0]), Pictogram: "done", Good: true, Lines: lines,
		To: web.Link{Href: back, Text: r.Words.T("content.back")},
	}
}

// contentDone records a change of the content in the journal, and serves a page that says that it is made.
func (s *Server) contentDone(w http.ResponseWriter, r *request, back string, what journal.What) {
	s.note(r, what)
	s.serve(w, r, s.contentNotice(r, back, r.Words.Lines("content.done."+string(what))), http.StatusOK)
}
