package tutorials

import (
	"html/template"
	"log/slog"
	"net/http/httptest"
	"testing"

	"passerelle/captive/tutorials/lessons"
	"passerelle/captive/web"
	"passerelle/captive/web/webtest"
)

// pages returns one page of each kind.
func pages(w *web.Words) []web.Page {
	f := web.Frame{Words: w, Title: "T", Centre: `L’<b>"atelier"</b> & co`, Hostname: "partage.internal", Path: "/"}
	tile := web.Tile{
		Href: "/a", At: "b", Title: "<b>", Text: "<i>", Meta: []web.Fact{{Pictogram: "clock", Text: "<b>"}}, Lang: w.Lang("fa"),
	}
	content := content{Slug: "a", Name: "<i>", Summary: "<b>", Meta: tile.Meta, PathTitle: "<i>", Next: &tile, Lang: tile.Lang}
	doors := []web.Door{{Href: "/a", Pictogram: "book", Title: "<b>"}, helpersDoor(w)}
	return []web.Page{
		overviewPage{Frame: f, Asked: `"><i>`, Doors: doors, Found: []web.Found{
			{Title: "<b>", Pictogram: "book", Tiles: []web.Tile{tile}, Sure: 1}, {Title: "<i>", Pictogram: "pin", Tiles: []web.Tile{tile}},
		}},
		overviewPage{Frame: f, Asked: `"><i>`, Paths: []web.Tile{tile}},
		pathPage{Frame: f, Need: "<i>", Lessons: []web.Tile{tile}},
		lessonPage{Frame: f, content: content, Intro: []template.HTML{"<p>"}, Questions: []lessons.Question{{Ask: "<i>", Answer: "<b>"}},
			Help: "<i>", Steps: []step{
				{Heading: "<i>", Picture: picture{Drawing: "<svg></svg>"}},
				{Picture: picture{Src: "/a.mp4", Type: "video/mp4", Alt: `"<i>`, Size: "<b>", Captions: []captions{{"/a.vtt", "fr", "<i>"}}}},
				{Picture: picture{Src: "/a.png", Alt: `"<i>`}},
			}},
		storyPage{Frame: f, content: content, Number: 1, Count: 2, Step: step{Heading: "<i>"}},
		storyPage{Frame: f, content: content, Number: 3, Count: 2, Questions: true},
		helpersPage{Frame: f, Lead: "<i>", Sections: []part{{Section: lessons.Section{Heading: "<b>"}}}, Doors: doors, Lang: w.Lang("uk")},
		packPage{Frame: f, Src: `"><i>`},
	}
}

// Every page is complete, and escaped, in every language.
func TestRender(t *testing.T) {
	t.Parallel()
	catalog := web.NewCatalog(New("", slog.New(slog.DiscardHandler)).Share())
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
				t.Error(flaw)
			}
		}
	}
}
