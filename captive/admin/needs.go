package admin

import (
	"net/http"

	"passerelle/captive/web"
)

// Rules is the shelf for the rules of "Where do I go?". It has the centre's own rules, or nothing.
type Rules interface {
	Shelf
	// File returns the text of the rules in use.
	File() ([]byte, error)
	// Ways returns where each combination of answers leads, in a language.
	Ways(language string) ([]Way, error)
}

// Way says where a combination of answers leads.
type Way struct {
	Answers []string      // in words
	To      []Destination // best first
}

// Destination is where a rule leads. Kind is a word for the kind of destination, and Key names one of that kind.
type Destination struct{ Kind, Key string }

// way is a Way as the page shows it.
type way struct {
	Answers []string
	To      []string
}

// waysOf returns where the rules in use lead.
func (s *Server) waysOf(w *web.Words) (all []way) {
	ways, err := s.Content.Needs.Ways(w.Code)
	if err != nil {
		s.Log.Error("read the rules of needs", "err", err) // Items reports it on the page
	}
	for _, x := range ways {
		row := way{Answers: x.Answers}
		for _, d := range x.To {
			row.To = append(row.To, w.T("rules.to."+d.Kind, "key", d.Key))
		}
		all = append(all, row)
	}
	return all
}

// needsFile sends the rules in use as a file, to be edited.
func (s *Server) needsFile(w http.ResponseWriter, r *request) {
	text, err := s.Content.Needs.File()
	if err != nil {
		s.failed(w, r, "read the rules of needs", err)
		return
	}
	sendFile(w, "needs.toml", "text/plain; charset=utf-8", text)
}

// sendFile sends a file as a download, which no browser runs or shows.
func sendFile(w http.ResponseWriter, name, media string, text []byte) {
	h := w.Header()
	h.Set("Content-Type", media)
	h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	h.Set("Content-Security-Policy", "sandbox")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.Write(text) // an error means that the client is gone
}
