package admin

import (
	"cmp"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"passerelle/appliance/config"
	"passerelle/captive/admin/journal"
	"passerelle/captive/web"
)

// localOf returns the address of the box that a request's connection reached. It is not valid if that is unknown.
func localOf(r *http.Request) netip.Addr {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return netip.Addr{}
	}
	at, err := netip.ParseAddrPort(local.String())
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap()
}

// sideOf returns the side that a request comes from. It decides by the box's address that the connection reached, never by a
// header, which a client could forge. Devices on the hotspot reach only the hotspot's address. The box itself counts as the hotspot.
func sideOf(local, hotspot netip.Addr) config.Side {
	if local.IsValid() && local != hotspot && !local.IsLoopback() {
		return config.SideWired
	}
	return config.SideHotspot
}

// barred returns why technicians' pages are closed to a request now, or "" if they are open.
func (s *Server) barred(r *request) (why string) {
	switch s.Access() {
	case config.Wired:
		if r.side == config.SideHotspot {
			return "wired"
		}
	case config.AfterPress:
		if !s.Box.Status().Setup.After(s.Now()) {
			return "button"
		}
	}
	return ""
}

// barredPage says why technicians' pages are closed, and what to do.
type barredPage struct {
	web.Frame
	Lines []string
}

func (barredPage) Template() string { return "admin/barred" }

func (s *Server) bar(w http.ResponseWriter, r *request, why string) {
	lines := r.Words.Lines("barred." + why)
	w.Header().Set("Connection", "close")
	s.serve(w, r, barredPage{r.Frame(adminPath, lines[0]), lines[1:]}, http.StatusForbidden)
}

// Journal records the changes that people make. Its methods are safe for concurrent use.
type Journal interface {
	// Note adds a change that was made just now.
	Note(journal.Entry)
	// Entries returns the last changes, newest first.
	Entries() ([]journal.Entry, error)
}

// note records a change in the journal. The role is that of the login; a request without one is a technician's who is signing in.
func (s *Server) note(r *request, what journal.What) {
	s.Journal.Note(journal.Entry{What: what, By: cmp.Or(r.role, config.RoleTechnician), Side: r.side})
}

// journalPage lists the last changes of the box.
type journalPage struct {
	techFrame
	Entries []journalRow
}

func (journalPage) Template() string { return "admin/journal" }

// journalRow is a change, and who made it.
type journalRow struct {
	What, When, By string
	Keys           []string // labels of the keys that changed
}

const journalPath = "/admin/journal"

func (s *Server) journal(w http.ResponseWriter, r *request) {
	all, err := s.Journal.Entries()
	if err != nil {
		s.failed(w, r, "read the journal of changes", err)
		return
	}
	p := journalPage{techFrame: s.tech(r, "settings", journalPath, r.Words.T("journal.title"))}
	for _, e := range all {
		row := journalRow{
			What: r.Words.T("journal." + string(e.What)), When: r.Words.When(e.At.In(r.Now.Location()), r.Now),
			By: byWhom(r.Words, e.By, e.Side),
		}
		for _, key := range e.Keys {
			if fieldOf(key) != nil {
				row.Keys = append(row.Keys, r.Words.T("field."+key))
			}
		}
		p.Entries = append(p.Entries, row)
	}
	s.serve(w, r, p, http.StatusOK)
}

// fingerprint returns the certificate's fingerprint in groups, or nothing if it is unknown.
func (s *Server) fingerprint() []string { return strings.Fields(s.Fingerprint()) }
