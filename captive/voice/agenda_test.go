package voice_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/rogpeppe/go-internal/txtar"

	"passerelle/appliance/state"
	"passerelle/captive"
	"passerelle/captive/voice"
	"passerelle/captive/voice/agenda"
	"passerelle/captive/web"
	"passerelle/captive/web/webtest"
)

var sixLanguages = []string{"fr", "en", "ar", "es", "pt", "uk"}

// agendaBox is a box with an agenda, and a clock of its own.
type agendaBox struct {
	zone   *time.Location
	now    time.Time
	store  agenda.Store
	share  web.Share
	server *captive.Server
}

func (b *agendaBox) Site() state.Site {
	return state.Site{
		State: state.Sharing, Centre: "Centre social des Lilas", Address: netip.MustParseAddr("10.80.0.1"),
		Network: netip.MustParsePrefix("10.80.0.0/22"), Hostname: "partage.internal", Language: "fr",
		Languages: strings.Join(sixLanguages, " "), Location: b.zone, SessionLength: 2 * time.Hour,
	}
}
func (*agendaBox) Session(netip.Addr) (state.Session, bool) { return state.Session{}, false }
func (*agendaBox) Authorize(context.Context, netip.Addr) (state.Session, error) {
	return state.Session{}, state.ErrUnknown
}
func (*agendaBox) End(context.Context, netip.Addr) error { return nil }

// newAgendaBox returns a box on Tuesday, 1 December 2026, at 15:10.
func newAgendaBox(t testing.TB) *agendaBox {
	t.Helper()
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	b := &agendaBox{zone: paris, now: time.Date(2026, 12, 1, 15, 10, 0, 0, paris), store: agenda.Store{Dir: t.TempDir()}}
	clock := func() time.Time { return b.now }
	quiet := slog.New(slog.DiscardHandler)
	v := voice.New(voice.Options{Dir: b.store.Dir, Log: quiet, Now: clock, Board: func() bool { return false }})
	b.share = v.Share()
	b.server = captive.New(b, quiet, clock, b.share)
	return b
}

// has imports a calendar with these events. A calendar of that name is replaced.
func (b *agendaBox) has(t testing.TB, name string, events ...string) {
	t.Helper()
	file := "BEGIN:VCALENDAR\n" + strings.Join(events, "\n") + "\nEND:VCALENDAR\n"
	if r, err := b.store.Import(strings.NewReader(file), name, ""); err != nil || len(r.Warnings) > 0 {
		t.Fatal(r.Warnings, err)
	}
	b.share.Refresh()
}

func (b *agendaBox) ask(t testing.TB, line string, headers ...string) (*http.Response, string) {
	t.Helper()
	res := webtest.Ask(t, b.server, "http://10.80.0.1", "10.80.0.23:40000", line, append(headers, "Accept: text/html")...)
	return res, webtest.Body(t, res)
}

func oneEvent(uid string, lines ...string) string {
	return "BEGIN:VEVENT\nUID:" + uid + "\n" + strings.Join(lines, "\n") + "\nEND:VEVENT"
}

// aFortnight has every kind of event that an agenda can have.
var aFortnight = []string{
	oneEvent("a", "SUMMARY:Café <b>numérique</b>", "LOCATION:Salle <i>bleue</i>", "DTSTART:20261125T140000", "DTEND:20261125T163000",
		"RRULE:FREQ=WEEKLY;COUNT=8", `DESCRIPTION:Venez avec votre téléphone.\n<script>alert(1)</script> javascript:alert(1)\nhttps://exemple.example`),
	oneEvent("a", "SUMMARY:Café <b>numérique</b>", "RECURRENCE-ID:20261209T140000", "DTSTART:20261210T100000", "DTEND:20261210T110000"),
	oneEvent("b", "SUMMARY:Mes papiers", "DTSTART:20261201T143000", "DTEND:20261201T170000"),
	oneEvent("c", "SUMMARY:Un atelier qui est fini", "DTSTART:20261201T090000", "DTEND:20261201T120000"),
	oneEvent("d", "SUMMARY:Sortie au musée", "DTSTART:20261203T133000", "STATUS:CANCELLED"),
	oneEvent("e", "SUMMARY:Le centre est fermé", "DTSTART;VALUE=DATE:20261130", "DTEND;VALUE=DATE:20261206"),
	oneEvent("f", "DTSTART;VALUE=DATE:20261202"),
	oneEvent("g", "SUMMARY:Permanence", "DTSTART:20261204T093000", "RRULE:FREQ=WEEKLY"),
	oneEvent("g", "SUMMARY:Permanence", "RECURRENCE-ID:20261211T093000", "DTSTART:20261211T140000"),
	oneEvent("h", "SUMMARY:Nuit de la lecture", "DTSTART:20261205T180000", "DTEND:20261206T200000"),
	oneEvent("i", "SUMMARY:Plus tard", "DTSTART:20270115T100000"),
}

// TestAgendaPages compares the pages with their golden files, testdata/agenda*.txtar.
func TestAgendaPages(t *testing.T) {
	t.Parallel()
	b := newAgendaBox(t)
	for _, test := range []struct {
		name, path string
		set        func()
	}{
		{"agenda-none", "/agenda", func() {}},
		{"agenda", "/agenda", func() { b.has(t, "a", aFortnight...) }},
		{"agenda-event", "/agenda/ca978112ca", func() {}},
		{"agenda-cancelled", "/agenda/18ac3e7343", func() {}},
		{"agenda-missing", "/agenda/nope", func() {}},
	} {
		test.set()
		got := &txtar.Archive{Comment: []byte(test.path + "\n")}
		for _, code := range sixLanguages {
			res, page := b.ask(t, "GET "+test.path+"?lang="+code)
			for _, flaw := range webtest.Flaws(code, page, res.Header.Get("Content-Security-Policy")) {
				t.Error(flaw)
			}
			if len(page) > 40_000 {
				t.Errorf("%s: %d bytes", test.path, len(page))
			}
			if code == "fr" || code == "ar" {
				got.Files = append(got.Files, txtar.File{Name: code, Data: webtest.Gist(res.StatusCode, page)})
			}
		}
		webtest.Golden(t, test.name, got)
	}
}

var href = regexp.MustCompile(`href="([^"]*)"`)

// TestAgendaLinks: every link of the agenda leads to a page or a file of the box, and none comes from a calendar's text.
func TestAgendaLinks(t *testing.T) {
	t.Parallel()
	b := newAgendaBox(t)
	b.has(t, "a", aFortnight...)
	seen := map[string]bool{}
	var visit func(string)
	visit = func(path string) {
		if seen[path] {
			return
		}
		seen[path] = true
		res, page := b.ask(t, "GET "+path)
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d", path, res.StatusCode)
		}
		for _, m := range href.FindAllStringSubmatch(page, -1) {
			link, _, _ := strings.Cut(m[1], "#")
			switch {
			case strings.HasPrefix(link, "/agenda"):
				visit(link)
			case link != "" && link != "/" && !strings.HasPrefix(link, "/?") && !strings.HasPrefix(link, "/accessibility") && !strings.HasPrefix(link, "data:image/svg"):
				t.Errorf("%s: a link to %q", path, link)
			}
		}
	}
	visit("/agenda")
	if len(seen) < 8 {
		t.Errorf("only %d pages: %v", len(seen), seen)
	}
	if _, page := b.ask(t, "GET /"); !strings.Contains(page, `href="/agenda"`) {
		t.Error("no door on the first page")
	}
}

// TestTimePasses: cached pages change when something begins or ends, and at midnight.
func TestTimePasses(t *testing.T) {
	t.Parallel()
	b := newAgendaBox(t)
	b.has(t, "a",
		oneEvent("a", "SUMMARY:Matin", "DTSTART:20261202T100000", "DTEND:20261202T120000"),
		oneEvent("b", "SUMMARY:Soir", "DTSTART:20261202T180000"),
		oneEvent("c", "SUMMARY:Quinzaine", "DTSTART:20261216T080000"),
	)
	shows := func(path string, at time.Time, has, hasNot []string) {
		t.Helper()
		b.now = at
		for range 2 { // rendered, and cached
			_, page := b.ask(t, "GET "+path)
			page = strings.NewReplacer("\u00a0", " ", "\u202f", " ").Replace(page)
			for _, part := range has {
				if !strings.Contains(page, part) {
					t.Errorf("%s on %s: no %q in\n%s", path, at, part, webtest.Gist(200, page))
				}
			}
			for _, part := range hasNot {
				if strings.Contains(page, part) {
					t.Errorf("%s on %s: %q in\n%s", path, at, part, webtest.Gist(200, page))
				}
			}
		}
	}
	at := func(day, hour, minute int) time.Time { return time.Date(2026, 12, day, hour, minute, 0, 0, b.zone) }
	list := func(parts ...string) []string { return parts }
	shows("/agenda", at(1, 15, 10), list("Demain,</span> mercredi 2 décembre", "Matin", "Soir"), list("Quinzaine", "En ce moment"))
	shows("/", at(1, 15, 10), list("Demain à 10 h : Matin"), nil)
	shows("/agenda", at(2, 0, 0), list("Aujourd’hui,</span> mercredi 2 décembre", "Matin"), list("Quinzaine", "Demain"))
	shows("/agenda", at(2, 9, 59), nil, list("En ce moment"))
	shows("/agenda", at(2, 10, 0), list("En ce moment", "Matin"), nil)
	shows("/", at(2, 10, 0), list("En ce moment : Matin"), nil)
	shows("/agenda", at(2, 11, 59), list("Matin"), nil)
	shows("/agenda", at(2, 12, 0), list("Soir"), list("Matin"))
	shows("/", at(2, 12, 0), list("Aujourd’hui à 18 h : Soir"), nil)
	shows("/agenda", at(2, 18, 59), list("Soir"), nil)
	shows("/agenda", at(2, 19, 0), list("Rien n’est prévu"), list("Soir"))
	shows("/", at(2, 19, 0), nil, list("/agenda"))
	shows("/agenda", at(3, 0, 0), list("Quinzaine"), nil)
	shows("/agenda", at(1, 15, 10), list("Matin"), nil) // the clock was set back
}

// TestAgendaFiles: the calendar files for phones have the same events as the pages.
func TestAgendaFiles(t *testing.T) {
	t.Parallel()
	b := newAgendaBox(t)
	b.has(t, "a", aFortnight...)
	for path, events := range map[string]int{"/agenda.ics": 9, "/agenda/ca978112ca.ics": 1} {
		res, file := b.ask(t, "GET "+path)
		if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/calendar; charset=utf-8" ||
			!strings.HasPrefix(res.Header.Get("Content-Disposition"), "attachment; filename=") {
			t.Errorf("%s: %d, %v", path, res.StatusCode, res.Header)
		}
		read, warnings, err := agenda.Read(strings.NewReader(file))
		if err != nil || len(warnings) > 0 || len(read) != events {
			t.Errorf("%s: %d events, %v, %v:\n%s", path, len(read), warnings, err, file)
		}
		if strings.Contains(strings.ReplaceAll(file, "\r\n", ""), "\n") {
			t.Errorf("%s has a line end that is not CRLF", path)
		}
	}
	for _, path := range []string{"/agenda/nope.ics", "/agenda/nope", "/agenda/ca978112ca/x", "/agenda/.ics", "/agenda?page=2", "/agenda/../agenda/nope"} {
		if res, _ := b.ask(t, "GET "+path); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: status %d", path, res.StatusCode)
		}
	}
}

// TestFullAgenda: the fullest agenda with the longest texts has small pages, which together show all occurrences.
func TestFullAgenda(t *testing.T) {
	t.Parallel()
	b := newAgendaBox(t)
	var events []string
	for n := range 1000 {
		var text strings.Builder
		for i := range 400 {
			fmt.Fprintf(&text, "%c", 'а'+(n*7919+i*i*31+i*n)%32)
		}
		events = append(events, oneEvent(fmt.Sprint(n), fmt.Sprintf("SUMMARY:%d %s", n, text.String()), "LOCATION:"+text.String(),
			fmt.Sprintf("DTSTART:202612%02dT190000", 2+n%10), "DESCRIPTION:"+strings.Repeat(text.String(), 2)))
	}
	b.has(t, "a", events...)
	path, shown, most, plain := "/agenda", 0, 0, 0
	for pages := 0; path != "" && pages < 20; pages++ {
		res, page := b.ask(t, "GET "+path, "Accept-Encoding: gzip")
		if res.StatusCode != 200 {
			t.Fatal(path, res.StatusCode)
		}
		most = max(most, len(page))
		_, page = b.ask(t, "GET "+path)
		plain = max(plain, len(page))
		shown += strings.Count(page, `<li><a class="event`)
		path = ""
		for _, m := range href.FindAllStringSubmatch(page, -1) {
			if strings.HasPrefix(m[1], fmt.Sprintf("/agenda?page=%d", pages+2)) {
				path = m[1]
			}
		}
	}
	if shown != agenda.MaxShown || max(most, plain) > 40_000 {
		t.Errorf("%d occurrences; the heaviest page has %d bytes, %d without compression", shown, most, plain)
	}
	t.Logf("the heaviest page: %d bytes, %d without compression", most, plain)
}

// TestAgendaSearch: events are found by their words, also with a typo.
func TestAgendaSearch(t *testing.T) {
	t.Parallel()
	b := newAgendaBox(t)
	b.has(t, "a", aFortnight...)
	words := web.NewCatalog(b.share).Language("fr")
	for query, want := range map[string]string{
		"papiers": "Mes papiers: En ce moment", "numerique": "Café <b>numérique</b>: Demain à 14 h", "musee": "Sortie au musée: Annulé",
		"telefone": "Café <b>numérique</b>: Demain à 14 h", "fini": "", "xyz": "", "": "", "fermé": "Le centre est fermé: Aujourd’hui",
	} {
		var got []string
		for _, found := range b.share.Search(words, query, 5) {
			for _, tile := range found.Tiles {
				got = append(got, tile.Title+": "+strings.ReplaceAll(tile.Text, "\u202f", " "))
			}
		}
		if strings.Join(got, "; ") != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}
