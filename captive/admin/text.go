package admin

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"

	"passerelle/appliance/config"
)

// textPage shows the whole configuration as text. Placeholders stand for secrets; a secret whose placeholder stays is not changed.
type textPage struct {
	techFrame
	Revision config.Revision
	ID       string // id of the draft that has the secrets of a text that is shown again; "" for none
	Text     string
	Note     string // as in settingsForm
	Problems []lineProblem
	Large    bool // the text is too large for a form
}

func (textPage) Template() string { return "admin/settings-text" }

// maxText is the size in bytes up to which a text can be edited in a form. URL encoding makes the text that is sent larger.
const maxText = maxForm / 2

func (s *Server) settingsText(w http.ResponseWriter, r *request) {
	text, revision, ok := s.readConfiguration(w, r)
	if !ok {
		return
	}
	var m config.Masks
	p := s.newTextPage(r, revision, string(m.Mask(text)))
	if _, err := config.Parse(fileName, text); err != nil {
		p.Note, p.Problems = "broken", problemsOf(r.Words, err)
	}
	s.serve(w, r, p, http.StatusOK)
}

func (s *Server) newTextPage(r *request, revision config.Revision, text string) textPage {
	return textPage{
		techFrame: s.tech(r, "settings", textPath, r.Words.T("settings.group.text")),
		Revision:  revision, Text: text, Large: len(text) > maxText,
	}
}

// prepareText reads the whole text, and shows what it would change.
func (s *Server) prepareText(w http.ResponseWriter, r *request) {
	form, err := r.ReadForm(w, maxForm)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest)
		return
	}
	revision := config.Revision(form.Get(revisionName))
	base := s.textOf(revision)
	if base == nil {
		s.notice(w, r, "outdated", http.StatusConflict)
		return
	}
	var m config.Masks
	m.Mask(base)
	if d, ok := s.drafts.get(s.Now(), form.Get(draftName), loginOf(r.Request.Request)); ok {
		m = d.masks
	} else if form.Get(draftName) != "" {
		s.notice(w, r, "expired", http.StatusConflict) // the secrets behind its placeholders are lost
		return
	}
	text, err := m.Unmask(fileName, lineEnds(form, base))
	d := draft{base: base, text: text, from: textPath}
	if err == nil && bytes.Equal(text, base) {
		p := s.newTextPage(r, revision, string(m.Mask(text)))
		p.Note = "unchanged"
		s.serve(w, r, p, http.StatusOK)
		return
	}
	var a attempt
	if err == nil {
		a, err = s.try(d)
	}
	if err == nil {
		s.showPreview(w, r, d, a, http.StatusOK)
		return
	}
	if text == nil {
		text = lineEnds(form, base)
	}
	p := s.newTextPage(r, revision, string(m.Mask(text)))
	p.Note, p.Problems = "wrong", problemsOf(r.Words, err)
	d.owner, d.masks = loginOf(r.Request.Request), m
	p.ID = s.drafts.put(s.Now(), d)
	s.serve(w, r, p, http.StatusUnprocessableEntity)
}

// lineEnds returns the text of a form with the line endings of base. Browsers always send CR LF (HTML, section 4.10.22.4).
func lineEnds(form url.Values, base []byte) []byte {
	text := strings.ReplaceAll(form.Get("text"), "\r\n", "\n")
	if bytes.Contains(base, []byte("\r\n")) {
		text = strings.ReplaceAll(text, "\n", "\r\n")
	}
	return []byte(text)
}

// downloadText sends the text without secrets.
func (s *Server) downloadText(w http.ResponseWriter, r *request) {
	text, _, ok := s.readConfiguration(w, r)
	if !ok {
		return
	}
	var m config.Masks
	sendFile(w, fileName, "text/plain; charset=utf-8", m.Mask(text))
}
