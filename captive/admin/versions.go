package admin

import (
	"errors"
	"io/fs"
	"net/http"

	"passerelle/appliance/config"
	"passerelle/captive/admin/journal"
	"passerelle/captive/web"
)

// versionsPage lists the last versions of the configuration.
type versionsPage struct {
	techFrame
	Revision config.Revision // of the current file
	Versions []versionRow
}

func (versionsPage) Template() string { return "admin/settings-versions" }

// versionRow is a version, and what replaced it.
type versionRow struct {
	Revision config.Revision
	When, By string
	Changes  []changeRow
}

// roles has the words for who changed the configuration or the box.
var roles = map[config.Role]string{
	config.RoleTechnician: "technician", config.RoleCommandLine: "command", config.RoleSignal: "by-hand",
	config.RoleCard: "card", config.RoleLender: "lender", journal.Button: "button", config.RoleStaff: "staff",
}

// byWhom says who changed the configuration or the box, and from which side.
func byWhom(w *web.Words, by config.Role, from config.Side) string {
	role, ok := roles[by]
	switch {
	case !ok:
		return w.T("settings.by.box") // the box itself, when it undid a change
	case by == config.RoleTechnician && from != "":
		return w.T("settings.by." + string(from))
	}
	return w.T("settings.by." + role)
}

func (s *Server) versions(w http.ResponseWriter, r *request) {
	_, revision, ok := s.readConfiguration(w, r)
	if !ok {
		return
	}
	all, err := s.Configuration.Versions()
	if err != nil {
		s.failed(w, r, "read the versions of the configuration", err)
		return
	}
	p := versionsPage{techFrame: s.tech(r, "settings", versionsPath, r.Words.T("settings.group.versions")), Revision: revision}
	for _, v := range all {
		p.Versions = append(p.Versions, versionRow{
			Revision: v.Revision, When: r.Words.When(v.Replaced.In(r.Now.Location()), r.Now),
			By: byWhom(r.Words, v.By, v.Side), Changes: changeRows(r.Words, v.Changes),
		})
	}
	s.serve(w, r, p, http.StatusOK)
}

// prepareVersion shows what returning to a version would change.
func (s *Server) prepareVersion(w http.ResponseWriter, r *request) {
	form, err := r.ReadForm(w, maxForm)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest)
		return
	}
	current, _, ok := s.readConfiguration(w, r)
	if !ok {
		return
	}
	text, err := s.Configuration.Version(config.Revision(form.Get("version")))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.notice(w, r, "outdated", http.StatusConflict)
	case err != nil:
		s.failed(w, r, "read a version of the configuration", err)
	default:
		s.prepareOther(w, r, draft{base: current, text: text, from: versionsPath})
	}
}
