package voice

import (
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/state"
	"passerelle/captive/voice/board"
	"passerelle/captive/voice/opinion"
	"passerelle/captive/web"
	"passerelle/captive/web/webtest"
)

// saturday is the current time of the tests.
var saturday = time.Date(2026, 11, 21, 15, 10, 0, 0, time.FixedZone("CET", 3600))

// services are some services that residents rate.
var services = []state.Service{
	{Name: "caf.fr", Site: "caf.fr", Topic: "rights"}, {Name: "ameli.fr", Site: "ameli.fr", Topic: "health"},
	{Name: "cdn.example", Topic: "health"}, {Name: "technician.example", Site: "technician.example"},
}

// options returns the options of a share with an open board.
func options(dir string, now func() time.Time) Options {
	return Options{
		Dir: dir, Log: slog.New(slog.DiscardHandler), Now: now, Services: services, Board: func() bool { return true },
	}
}

// pages returns one page of each kind, with texts that a resident may have written.
func pages(w *web.Words) []web.Page {
	f := web.Frame{Words: w, Title: "T", Centre: `L’<b>"atelier"</b> & co`, Hostname: "partage.internal", Path: "/"}
	var kinds, sides []option
	for _, k := range board.Kinds {
		kinds = append(kinds, option{k, w.T("board.kind." + k), k, k == "lend"})
	}
	for _, s := range board.Sides {
		sides = append(sides, option{s, w.T("board.side." + s), s, false})
	}
	post := shownPost{Pictogram: "lend", Side: "<b>", Kind: "<i>", Text: `"><script>x</script>`, Number: "24"}
	bars := []bar{newBar("<i>", "", 12), newBar("<b>", "face-good", 0)}
	return []web.Page{
		boardPage{Frame: f, Kinds: []web.Link{{Href: "lend", Text: "<b>"}}, Posts: []shownPost{post}, More: "/board/all/2"},
		boardPage{Frame: f, Kind: "lend", Back: "/board/lend"},
		postPage{Frame: f, Sides: sides, Kinds: kinds, Most: 280},
		postPage{Frame: f, Sides: sides, Kinds: kinds, Most: 280, Text: `</textarea><script>`, Problems: []string{"<i>", "<b>"}},
		sentPage{Frame: f, Number: "24"},
		startPage{Frame: f, Question: "<i>", Number: 1, Choices: []opinion.ChoiceText{{Text: "<b>"}, {Text: `"><i>`, Picture: "yes"}}},
		startPage{Frame: f, Doors: []web.Door{{Href: "/a", Pictogram: "star", Title: "<b>"}}},
		servicesPage{Frame: f, Topics: []web.Topic{{Key: "a", Title: "<b>", Pictogram: "key", Services: []web.Service{{Title: "<i>", Purpose: "<b>", Host: "a.fr"}}}}},
		askPage{Frame: f, Service: "<i>", Ask: "<b>", Part: opinion.Face, Options: faces(w)},
		askPage{Frame: f, Service: "<i>", Ask: "<b>", Part: opinion.Hurdle, Options: hurdles(w), Skip: "/a"},
		thanksPage{f},
		resultsPage{Frame: f, Links: []web.Link{{Href: "/a", Text: "<i>"}}, Tables: []resultTable{{ID: "a", Title: "<b>", Bars: bars, Own: true}}},
		resultsPage{Frame: f},
	}
}

// Every page is complete, and escaped, in every language.
func TestRender(t *testing.T) {
	t.Parallel()
	catalog := web.NewCatalog(New(options("", time.Now)).Share())
	for _, code := range []string{"fr", "en", "ar", "es", "pt", "uk"} {
		for _, p := range pages(catalog.Language(code)) {
			d, err := web.NewDocument(p)
			if err != nil {
				t.Error(err)
				continue
			}
			w := httptest.NewRecorder()
			d.Serve(w, httptest.NewRequest("GET", "/", nil), 200)
			for _, flaw := range webtest.Flaws(code, w.Body.String(), w.Header().Get("Content-Security-Policy")) {
				t.Errorf("%T: %s", p, flaw)
			}
			if page := w.Body.String(); strings.Contains(page, "<script") {
				t.Errorf("%T: it has a script", p)
			}
		}
	}
}

// Each picture that staff can choose exists.
func TestPictures(t *testing.T) {
	t.Parallel()
	words := web.NewCatalog(New(options("", time.Now)).Share()).Language("fr")
	for _, name := range opinion.Pictures {
		p := startPage{Frame: web.Frame{Words: words}, Question: "?", Choices: []opinion.ChoiceText{{Text: "a", Picture: name}}}
		if _, err := web.NewDocument(p); err != nil {
			t.Error(err)
		}
	}
}
