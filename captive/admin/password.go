package admin

import (
	"net/http"

	"passerelle/captive/admin/journal"
	"passerelle/captive/web"
)

// passwordForm is the page to change the password.
type passwordForm struct {
	techFrame
	Wrong, Wait string // as in signInForm
}

func (passwordForm) Template() string { return "admin/password" }

const passwordPath = "/admin/password"

func (s *Server) passwordPage(w http.ResponseWriter, r *request) {
	s.serve(w, r, s.newPasswordForm(r), http.StatusOK)
}

func (s *Server) newPasswordForm(r *request) passwordForm {
	return passwordForm{techFrame: s.tech(r, "access", passwordPath, r.Words.T("password.title"))}
}

func (s *Server) changePassword(w http.ResponseWriter, r *request) {
	form, err := r.ReadForm(w, maxForm)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest)
		return
	}
	web.Yield(r.Request.Request)
	err = s.Logins.Change(r.Context(), r.Client, loginOf(r.Request.Request), form.Get("password"), form.Get("new"))
	if err == nil {
		s.note(r, journal.Password)
		s.done(w, r, adminPath)
		return
	}
	p := s.newPasswordForm(r)
	if p.Wrong, p.Wait = signInProblem(r.Words, err); p.Wrong == "" {
		s.failed(w, r, "change the password", err)
		return
	}
	s.serve(w, r, p, http.StatusForbidden)
}
