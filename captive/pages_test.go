package captive

import (
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"passerelle/appliance/config"
	"passerelle/appliance/state"
	"passerelle/captive/web"
	"passerelle/captive/web/webtest"
)

// pageCase is a page that residents may see.
type pageCase struct {
	name, line string
	set        func(*fakeBox)
	stay       bool
}

// server returns a server that shows the page.
func (c pageCase) server(t testing.TB, b *fakeBox) *Server {
	t.Helper()
	if c.set != nil {
		c.set(b)
	}
	s := newServer(b)
	if c.stay {
		ask(t, s, "POST /stay")
	}
	return s
}

// slowly changes a session to one that has used its data and continues slowly.
func slowly(s *state.Session) { s.DataLeft, s.Slow = 0, true }

// pageCases returns all pages except those of lessons: each State's, and each answer to a press.
func pageCases() []pageCase {
	monday := time.Date(2026, 11, 23, 8, 30, 0, 0, paris)
	inState := func(state state.State) func(*fakeBox) {
		return func(b *fakeBox) { b.site.State, b.site.Essential = state, false }
	}
	serves := func(names ...string) func(*fakeBox) {
		return func(b *fakeBox) { b.site.Services, b.site.Essential = services(names...), len(names) > 0 }
	}
	return []pageCase{
		{name: "first", line: "GET /"},
		{name: "first-no-limits", line: "GET /", set: func(b *fakeBox) { b.site.Download, b.site.Data = 0, 0 }},
		{name: "first-no-essential", line: "GET /", set: serves()},
		{name: "first-online", line: "GET /", set: func(b *fakeBox) { b.has(nil) }},
		{name: "first-ending", line: "GET /", set: func(b *fakeBox) { b.has(func(s *state.Session) { s.Extends = true }) }},
		{name: "first-stay", line: "GET /", stay: true},
		{name: "session", line: "GET /session", set: func(b *fakeBox) { b.has(nil) }},
		{name: "session-hold", line: "GET /session?hold=1", set: func(b *fakeBox) { b.has(nil) }},
		{name: "session-ending", line: "GET /session", set: func(b *fakeBox) {
			b.has(func(s *state.Session) { s.Left, s.DataLeft, s.Extends = 20*time.Second, 900_000, true })
		}},
		{name: "session-no-limit", line: "GET /session", set: func(b *fakeBox) { b.has(func(s *state.Session) { s.Limited = false }) }},
		{name: "session-slow", line: "GET /session", set: func(b *fakeBox) { b.has(slowly) }},
		{name: "session-slow-ending", line: "GET /session", set: func(b *fakeBox) {
			b.has(func(s *state.Session) { slowly(s); s.Left, s.Extends = 8*time.Minute, true })
		}},
		{name: "session-none", line: "GET /session"},
		{name: "session-ended", line: "GET /session/end"},
		{name: "session-ended-paused", line: "GET /session/end", set: inState(state.Paused)},
		{name: "state-starting", line: "GET /", set: inState(state.Starting)},
		{name: "state-fault", line: "GET /", set: inState(state.Fault)},
		{name: "state-setup", line: "GET /", set: inState(state.Setup)},
		{name: "state-paused", line: "GET /", set: inState(state.Paused)},
		{name: "state-paused-until", line: "GET /", set: func(b *fakeBox) {
			inState(state.Paused)(b)
			b.site.Resumes = monday
		}},
		{name: "state-closed", line: "GET /", set: func(b *fakeBox) {
			inState(state.Closed)(b)
			b.site.Opens = monday
		}},
		{name: "state-closed-unknown", line: "GET /", set: inState(state.Closed)},
		{name: "state-exhausted", line: "GET /", set: func(b *fakeBox) {
			b.site.State, b.site.Resets = state.Exhausted, time.Date(2026, 12, 1, 0, 0, 0, 0, paris)
		}},
		{name: "state-exhausted-unknown", line: "GET /session", set: inState(state.Exhausted)},
		{name: "state-offline", line: "GET /", set: inState(state.Offline)},
		{name: "state-offline-stay", line: "GET /", set: inState(state.Offline), stay: true},
		{name: "essential", line: "GET /essential"},
		{name: "essential-online", line: "GET /essential", set: func(b *fakeBox) { b.has(nil); serves("caf.fr")(b) }},
		{name: "essential-stay", line: "GET /essential", set: serves("caf.fr"), stay: true},
		{name: "essential-own", line: "GET /essential", set: serves("mairie-des-lilas.example", "caf.fr")},
		{name: "essential-none", line: "GET /essential", set: serves()},
		{name: "essential-paused", line: "GET /essential", set: inState(state.Paused)},
		{name: "essential-exhausted", line: "GET /essential", set: inState(state.Exhausted)},
		{name: "spent", line: "GET /session", set: func(b *fakeBox) { b.has(func(s *state.Session) { s.DataLeft = 0 }) }},
		{name: "admit-unknown", line: "POST /session", set: func(b *fakeBox) { b.admit = state.ErrUnknown }},
		{name: "admit-busy", line: "POST /session", set: func(b *fakeBox) { b.admit = state.ErrStopped }},
		{name: "admit-failed", line: "POST /session", set: func(b *fakeBox) { b.admit = io.ErrUnexpectedEOF }},
		{name: "refused", line: "PUT /session"},
		{name: "missing", line: "GET /nope"},
	}
}

// TestPages compares each page in each language with its golden file, testdata/CASE.txtar.
func TestPages(t *testing.T) {
	t.Parallel()
	for _, test := range pageCases() {
		t.Run(test.name, func(t *testing.T) {
			s := test.server(t, newFakeBox())
			got := &txtar.Archive{Comment: []byte(test.line + "\n")}
			for _, lang := range []string{"fr", "en"} {
				res := ask(t, s, test.line, "Accept-Language: "+lang)
				got.Files = append(got.Files, txtar.File{Name: lang, Data: webtest.Gist(res.StatusCode, body(t, res))})
			}
			webtest.Golden(t, test.name, got)
		})
	}
}

// The first page with its icon and headers takes at most 14 kB on the wire in each language, with all languages offered and all
// facts about the centre shown.
func TestFirstPageWeight(t *testing.T) {
	t.Parallel()
	const most = 14_000
	b := newFakeBox()
	b.site.Languages = strings.Join(everyLanguage, " ")
	withCard(b)
	addr := serve(t, newServer(b))
	for _, code := range everyLanguage {
		raw := "GET /?lang=" + code + " HTTP/1.1\r\nHost: 10.80.0.1\r\nAccept-Encoding: gzip, deflate, br\r\nConnection: close\r\n\r\n"
		got, err := webtest.Exchange(t, "127.0.0.2", addr, raw)
		if err != nil || !strings.HasPrefix(got, "HTTP/1.1 200") || !strings.Contains(got, "Content-Encoding: gzip") {
			t.Fatalf("got %.60q, %v", got, err)
		}
		if len(got) > most {
			t.Errorf("%s: %d bytes, more than %d", code, len(got), most)
		}
		t.Logf("%s: %d bytes on the wire, %d without compression", code, len(got), len(body(t, ask(t, newServer(b), "GET /?lang="+code))))
	}
}

// No page loads anything: no address in it leads elsewhere, except to essential services, and it has no scripts.
func TestPagesLoadNothing(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	b.has(nil)
	s := newServer(b)
	loads := regexp.MustCompile(`(?i)<(script|img|iframe|object|embed|video|audio|source)|\son\w+=|@import|url\(|src=|javascript:`)
	links := regexp.MustCompile(`(?:href|action)="([^"]*)"`)
	services := make(map[string]bool)
	for _, s := range *b.site.Services {
		services["https://"+s.Site+"/"] = s.Site != ""
	}
	for _, line := range []string{"GET /", "GET /session", "GET /essential", "GET /nope"} {
		page := body(t, ask(t, s, line))
		if found := loads.FindString(page); found != "" {
			t.Errorf("%s: %q", line, found)
		}
		for _, m := range links.FindAllStringSubmatch(page, -1) {
			if !strings.HasPrefix(m[1], "/") && !strings.HasPrefix(m[1], "#") &&
				!strings.HasPrefix(m[1], "data:image/svg") && !strings.HasPrefix(m[1], "tel:") && !services[m[1]] {
				t.Errorf("%s: a link to %q", line, m[1])
			}
		}
	}
}

// Every telephone number belongs to a service of the list, and is shown with the month in which it was checked.
func TestServicesHavePhones(t *testing.T) {
	t.Parallel()
	page := body(t, ask(t, newServer(newFakeBox()), "GET /essential"))
	all := config.Essential{Names: []string{config.France}}.All()
	for name, p := range phones {
		if !slices.Contains(all, name) {
			t.Errorf("%s is no essential service", name)
		}
		want := `<a href="tel:` + strings.ReplaceAll(p.number, " ", "") + `">Par téléphone`
		if i := strings.Index(page, want); i < 0 || !strings.Contains(page[i:i+200], "Numéro vérifié en novembre 2026") {
			t.Errorf("%s: no %s with its month", name, want)
		}
	}
}

// Every service that the box knows is on the page of each language exactly once, in that language's words, and so is its topic.
func TestServicesHaveWords(t *testing.T) {
	t.Parallel()
	s := newServer(newFakeBox())
	for _, code := range []string{"fr", "en"} {
		page, words := body(t, ask(t, s, "GET /essential?lang="+code)), web.Language(code)
		for _, s := range (config.Essential{Names: []string{config.France}}).Services() {
			wanted := 1
			if s.Site == "" {
				wanted = 0
			} else if _, err := words.Message("essential.service." + s.Name); err != nil {
				t.Error(err)
			} else if _, err := words.Message("essential.topic." + s.Topic); err != nil {
				t.Error(err)
			}
			if got := strings.Count(page, `"https://`+s.Site+`/"`); got != wanted {
				t.Errorf("%s: %s is linked to %d times, want %d", code, s.Name, got, wanted)
			}
		}
		for topic := range web.TopicPictograms {
			if topic != "own" && strings.Count(page, `id="`+topic+`"`) != 1 {
				t.Errorf("%s: %s is not one topic", code, topic)
			}
		}
	}
}

// TestNotice: the federation's line is on the first page in its own language only, as text.
func TestNotice(t *testing.T) {
	t.Parallel()
	box := newFakeBox()
	box.change(func(s *state.Site) {
		s.Notice = &map[string]string{"fr": `Fermé le 24 <b onclick="x()">décembre</b>`}
	})
	for code, want := range map[string]int{"fr": 1, "en": 0} {
		res := body(t, ask(t, newServer(box), "GET /?lang="+code))
		if n := strings.Count(res, `<p class="card">Fermé le 24 &lt;b onclick=&#34;x()&#34;&gt;décembre&lt;/b&gt;</p>`); n != want {
			t.Errorf("%s: it is there %d times, want %d", code, n, want)
		}
		if strings.Contains(res, "<b onclick") {
			t.Errorf("%s: it is not text", code)
		}
	}
}
