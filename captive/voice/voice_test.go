package voice

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"passerelle/captive/voice/board"
	"passerelle/captive/voice/opinion"
	"passerelle/captive/web"
)

// site serves a share's pages to devices, as the residents' server does.
type site struct {
	t     testing.TB
	voice *Voice
	share web.Share
	head  web.Head
	open  atomic.Bool
	now   time.Time
	log   *lines
	kept  sync.Map // pages
}

// lines are the logged lines.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, string(line))
	return len(line), nil
}

func newSite(t testing.TB, dir string) *site {
	s := &site{t: t, now: saturday, log: &lines{}}
	s.open.Store(true)
	o := options(dir, func() time.Time { return s.now })
	o.Board, o.Log = s.open.Load, slog.New(slog.NewTextHandler(s.log, nil))
	s.voice = New(o)
	s.share = s.voice.Share()
	s.share.Refresh()
	s.head = web.Head{Centre: "Centre social des Lilas", Hostname: "partage.internal", Languages: web.NewCatalog(s.share).Offer("fr", "en")}
	return s
}

// mount caches pages as the server does.
type mount struct {
	*site
	r *web.Request
}

type kept struct {
	*web.Document
	status int
}

func (m mount) key(name string) string {
	return fmt.Sprint(name, m.r.Words.Code, m.r.Chosen, m.share.Version())
}

func (m mount) Kept(w http.ResponseWriter, name string) bool {
	k, ok := m.kept.Load(m.key(name))
	if ok {
		k := k.(kept)
		k.Document.Serve(w, m.r.Request, k.status)
	}
	return ok
}

func (m mount) Keep(w http.ResponseWriter, name string, p web.Page, status int) {
	d := m.render(p)
	m.kept.Store(m.key(name), kept{d, status})
	d.Serve(w, m.r.Request, status)
}

func (m mount) Serve(w http.ResponseWriter, p web.Page, status int) {
	m.render(p).Serve(w, m.r.Request, status)
}

func (m mount) render(p web.Page) *web.Document {
	d, err := web.NewDocument(p)
	if err != nil {
		panic(err)
	}
	return d
}

func (mount) Search(string, int) []web.Found { return nil }

// device returns the address of the n-th device.
func device(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
}

// do sends a device's request: a POST if there is a form, else a GET.
func (s *site) do(from netip.Addr, path string, form url.Values) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	if form != nil {
		r = httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return s.send(from, r)
}

func (s *site) send(from netip.Addr, hr *http.Request) *httptest.ResponseRecorder {
	route, ok := s.share.Routes[hr.URL.Path]
	if !ok {
		first, _, _ := strings.Cut(strings.TrimPrefix(hr.URL.Path, "/"), "/")
		if route, ok = s.share.Routes["/"+first+"/"]; !ok {
			s.t.Fatalf("no route for %s", hr.URL.Path)
		}
	}
	r := &web.Request{Request: hr, Head: &s.head, Now: s.now, Client: from}
	r.Mount = mount{s, r}
	r.Negotiate()
	w := httptest.NewRecorder()
	if hr.Method == http.MethodPost {
		route.Post(w, r)
	} else {
		route.Get(w, r)
	}
	if w.Header().Get("Set-Cookie") != "" || w.Header().Get("Cache-Control") != "no-store" {
		s.t.Errorf("%s %s: headers %v", hr.Method, hr.URL, w.Header())
	}
	return w
}

// want sends a request and checks the status, and that the page, or the address of a redirect, has these parts.
func (s *site) want(from netip.Addr, path string, form url.Values, status int, parts ...string) string {
	s.t.Helper()
	w := s.do(from, path, form)
	page := strings.NewReplacer("\u00a0", " ", "\u202f", " ").Replace(w.Body.String()) // French typography
	if w.Code == http.StatusSeeOther {
		page = w.Header().Get("Location")
	}
	if w.Code != status {
		s.t.Errorf("%s %v: status %d, want %d:\n%.2000s", path, form, w.Code, status, page[max(strings.Index(page, "<main"), 0):])
	}
	for _, part := range parts {
		if !strings.Contains(page, part) {
			_, main, _ := strings.Cut(page, "<main")
			s.t.Errorf("%s %v: no %q in:\n%s", path, form, part, main)
		}
	}
	return page
}

func drill(text string) url.Values {
	return url.Values{"side": {"offer"}, "kind": {"lend"}, "text": {text}}
}

// A resident lends a drill: the post gets a number, staff accept it, the board shows it, and it is gone after 30 days.
func TestBoard(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, one := newSite(t, dir), device(1)
	s.want(one, "/board", nil, 200, "Il n’y a pas encore d’annonce.", `href="/board/new"`)
	s.want(one, "/board/new", nil, 200, `name="side" value="request"`, `name="kind" value="drive"`, `maxlength="280"`)
	s.want(one, "/board/new", drill("Je prête une perceuse 18 V."), 303, "/board/sent/1")
	s.want(one, "/board/new?lang=en", drill("Autre chose"), 303, "/board/sent/2?lang=en")
	s.want(one, "/board/sent/1", nil, 200, "n° 1", "Dites ce numéro à l’accueil, et laissez votre nom sur papier.")
	if page := s.want(one, "/board", nil, 200); strings.Contains(page, "perceuse") {
		t.Error("it is shown before staff accept it")
	}
	file := BoardFile(dir)
	kept, err := os.ReadFile(file.Path)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"number":1,"side":"offer","kind":"lend","text":"Je prête une perceuse 18 V.","week":"2026-W47"}`
	if !strings.Contains(string(kept), want) || strings.Contains(string(kept), "10.0") {
		t.Errorf("kept: %s", kept)
	}
	if _, err := file.Update(func(b *board.Board) error { return b.Accept(1, saturday) }); err != nil {
		t.Fatal(err)
	}
	s.share.Refresh()
	s.want(device(2), "/board", nil, 200, "Je prête une perceuse 18 V.", "n° 1", "Je propose", "Un objet à prêter")
	s.want(device(2), "/board/lend", nil, 200, "perceuse")
	s.want(device(2), "/board/drive", nil, 200, "Il n’y a pas encore d’annonce.")
	s.want(one, "/board/sent/1", nil, 404)
	for _, path := range []string{"/board/x", "/board/sent/0", "/board/sent/99", "/board/lend/0", "/board/lend/01", "/board/lend/x", "/board/sent/-1", "/board/all/99999999999999999999"} {
		s.want(one, path, nil, 404, "Cette annonce n’est pas ici")
	}
	s.now = s.now.AddDate(0, 0, 31)
	s.want(one, "/board", nil, 200, "Il n’y a pas encore d’annonce.")
	s.voice.save()
	if b, err := file.Read(); err != nil || len(b.Posts) != 0 || b.Last != 2 {
		t.Errorf("after 31 days: %+v, %v", b, err)
	}
}

// A board with 200 posts is split into pages, each of them small.
func TestBoardPages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := BoardFile(dir).Update(func(b *board.Board) error {
		for range board.MaxShown {
			p := b.Add(board.Post{Side: board.Request, Kind: "accompany", Text: strings.Repeat("é<", board.MaxText/2)})
			if err := b.Accept(p.Number, saturday); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	s, seen := newSite(t, dir), 0
	for path := "/board"; path != ""; {
		page := s.want(device(1), path, nil, 200)
		if len(page) > 39_000 {
			t.Errorf("%s has %d bytes", path, len(page))
		}
		seen += strings.Count(page, `class="said"`)
		_, more, _ := strings.Cut(page, `rel="prev"`)
		if path == "/board" {
			more = page
		}
		path = ""
		if head, _, ok := strings.Cut(more, `" rel="next"`); ok {
			path = head[strings.LastIndex(head, `"`)+1:]
		}
	}
	if seen != board.MaxShown {
		t.Errorf("%d posts are on the pages", seen)
	}
	for _, path := range []string{"/board/all/15", "/board/all/9999", "/board/all/1152921504606846977", "/board/accompany/15", "/board/lend/2"} { // after the last page
		s.want(device(1), path, nil, 404, `href="/board"`)
	}
	s.want(device(1), "/board/lend", nil, 200, "Il n’y a pas encore d’annonce.")
}

// The page names what a text must not have, and keeps the text in the form. Nothing is stored.
func TestRefusedPosts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, one := newSite(t, dir), device(1)
	s.want(one, "/board/new", drill("Perceuse <b>. Merci, Ahmed, 06 12 34 56 78"), 422, `role="alert"`,
		"Enlevez le numéro de téléphone : 06 12 34 56 78", "Perceuse &lt;b&gt;. Merci, Ahmed, 06 12 34 56 78</textarea>",
		`value="lend" required checked`)
	s.want(one, "/board/new", drill("marie@exemple.test"), 422, "Enlevez l’adresse mail ou le pseudo : marie@exemple.test")
	s.want(one, "/board/new", drill("Perceuse\u202e.\nCordialement, Marie"), 422, "Enlevez le nom : Cordialement, Marie")
	s.want(one, "/board/new", drill(strings.Repeat("perceuse ", 40)), 422, "trop long", "280 lettres au plus", "perceuse perceuse")
	s.want(one, "/board/new", drill(" \x00\u200b "), 422, "Écrivez quelques mots.")
	s.want(one, "/board/new", url.Values{}, 422, "Choisissez : je propose, ou je cherche.", "Choisissez une sorte d’aide.", "Écrivez quelques mots.")
	s.want(one, "/board/new", url.Values{"side": {"x"}, "kind": {"<b>"}, "text": {"Perceuse"}}, 422, "Choisissez une sorte d’aide.")
	s.want(one, "/board/new", drill(strings.Repeat("a", 1<<20)), 400, "Cette action n’a pas été faite")
	s.want(one, "/opinion/services/caf.fr", url.Values{"face": {strings.Repeat("a", 1<<20)}}, 400)
	for kind, content := range map[string]string{
		"multipart/form-data; boundary=x": "--x\r\n", "application/octet-stream": "\x00\x01\xff", "text/plain": "side=offer&kind=lend&text=Perceuse",
		"": "side=offer&kind=lend&text=Perceuse", "application/x-www-form-urlencoded": "%zz=%",
	} {
		for _, path := range []string{"/board/new", "/opinion/question", "/opinion/services/caf.fr"} {
			r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(content))
			r.Header.Set("Content-Type", kind)
			if w := s.send(one, r); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "<h1>") {
				t.Errorf("%s of %q: status %d", path, kind, w.Code)
			}
		}
	}
	s.voice.save()
	if left, err := filepath.Glob(filepath.Join(dir, "*.json")); err != nil || left != nil {
		t.Errorf("kept: %v, %v", left, err)
	}
	// Refused posts do not count towards the three of a day.
	s.want(one, "/board/new", drill("Perceuse"), 303)
}

// One device can neither fill the board nor keep others from posting, and neither can two.
func TestFlood(t *testing.T) {
	t.Parallel()
	s, honest := newSite(t, t.TempDir()), device(1)
	s.want(honest, "/board/new", drill("Perceuse"), 303)
	for n := range 10_000 {
		s.now = s.now.Add(time.Second) // nearly three hours
		w := s.do(device(2+n%2), "/board/new", drill("Des choses"))
		if n >= 2*postsBurst && w.Code != http.StatusTooManyRequests {
			t.Fatalf("post %d: status %d", n, w.Code)
		}
	}
	waiting := func() int { return len(s.boardRoom().shown.Load().Waiting()) }
	if n := waiting(); n != 1+2*postsBurst {
		t.Errorf("%d posts wait", n)
	}
	// On later days it can post no more while its posts wait.
	s.now = s.now.AddDate(0, 0, 2)
	s.want(device(2), "/board/new", drill("Des choses"), http.StatusTooManyRequests, "C’est assez pour le moment")
	// Devices with three posts each fill the space: the newest of their posts give way to those of devices without any.
	for n := 4; waiting() < board.MaxWaiting; n++ {
		for range postsBurst {
			s.do(device(n), "/board/new", drill("Des choses"))
		}
	}
	s.want(device(100), "/board/new", drill("Une échelle"), 303)
	if n := waiting(); n != board.MaxWaiting {
		t.Errorf("%d posts wait", n)
	}
	if _, ok := s.boardRoom().shown.Load().Find(1); !ok {
		t.Error("the only post of a device gave way")
	}
	// When each device has one post, a new device is told to ask at the desk.
	for n := range 40 {
		s.do(device(101+n), "/board/new", drill("Une échelle"))
	}
	for range postsBurst + 1 {
		s.want(device(200), "/board/new", drill("Une table"), http.StatusServiceUnavailable, "Trop d’annonces attendent")
	}
	if n := len(s.boardRoom().owners); n > board.MaxWaiting {
		t.Errorf("%d devices are remembered", n)
	}
	// Posts that the full board did not take do not count towards the three of a day.
	if _, err := s.boardRoom().file.Update(func(b *board.Board) error { b.Posts = nil; return nil }); err != nil {
		t.Fatal(err)
	}
	s.share.Refresh()
	for range postsBurst {
		s.want(device(200), "/board/new", drill("Une table"), 303)
	}
	s.want(device(200), "/board/new", drill("Une table"), http.StatusTooManyRequests)
}

func (s *site) boardRoom() *boardRoom     { return s.voice.features[1].(*boardRoom) }
func (s *site) opinionRoom() *opinionRoom { return s.voice.features[0].(*opinionRoom) }

// A closed board has no door, and its pages say so.
func TestClosedBoard(t *testing.T) {
	t.Parallel()
	s := newSite(t, t.TempDir())
	words := s.head.Languages.Others(nil)[0]
	version := s.share.Version()
	if len(s.share.Doors(words)) != 2 {
		t.Errorf("doors: %v", s.share.Doors(words))
	}
	s.open.Store(false)
	if doors := s.share.Doors(words); len(doors) != 1 || doors[0].Href != "/opinion" || s.share.Version() == version {
		t.Errorf("doors: %v", doors)
	}
	for _, path := range []string{"/board", "/board/new", "/board/lend"} {
		s.want(device(1), path, nil, 404, "parlez à l’accueil")
	}
	s.want(device(1), "/board/new", drill("Perceuse"), 404)
}

// rate chooses a face.
func rate(face string) url.Values { return url.Values{"face": {face}} }

// A resident rates a service, names a hurdle, and answers the centre's question. In the next week others see the results.
func TestOpinion(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := OpinionFile(dir).Update(func(o *opinion.Opinions) error {
		return o.Ask("Ouvrir le soir ?", []opinion.ChoiceText{{Text: "Oui", Picture: "yes"}, {Text: "Non"}})
	}); err != nil {
		t.Fatal(err)
	}
	s, one := newSite(t, dir), device(1)
	s.want(one, "/opinion", nil, 200, "Ouvrir le soir ?", `name="choice" value="0"`, `name="question" value="1"`)
	page := s.want(one, "/opinion/services", nil, 200, `href="/opinion/services/caf.fr"`, `href="/opinion/services/other"`, "Allocations")
	if strings.Contains(page, "technician") || strings.Contains(page, "cdn") {
		t.Error("other services than public ones are listed")
	}
	s.want(one, "/opinion/services/caf.fr", nil, 200, "Très mal", `name="face" value="very-good"`)
	s.want(one, "/opinion/services/caf.fr/hurdle", url.Values{"hurdle": {"bug"}}, 303, "/opinion/services/caf.fr")
	for n := range 7 {
		s.want(device(n), "/opinion/services/caf.fr?lang=en", rate("bad"), 303, "/opinion/services/caf.fr/hurdle?lang=en")
		if n < 6 {
			s.want(device(n), "/opinion/services/caf.fr/hurdle", url.Values{"hurdle": {"bug"}}, 303, "/opinion/thanks")
		}
		s.want(device(n), "/opinion/question", url.Values{"question": {"1"}, "choice": {fmt.Sprint(n % 2)}}, 303, "/opinion/thanks")
	}
	s.want(device(6), "/opinion/services/caf.fr", rate("bad"), 303, "/hurdle") // the hurdle is not answered yet
	s.want(one, "/opinion/services/caf.fr", rate("bad"), 429, "Vous avez déjà répondu")
	s.want(one, "/opinion/services/caf.fr/hurdle", url.Values{"hurdle": {"bug"}}, 429)
	s.want(one, "/opinion/question", url.Values{"question": {"1"}, "choice": {"0"}}, 429)
	s.want(one, "/opinion/question", url.Values{"question": {"01"}, "choice": {"0"}}, 429)
	s.want(one, "/opinion/question", url.Values{"question": {"2"}, "choice": {"0"}}, 303, "/opinion")
	for _, form := range []url.Values{
		{"question": {"1"}, "choice": {"2"}}, {"question": {"1"}, "choice": {"-1"}}, {"question": {"1"}, "choice": {"x"}}, {"question": {"1"}},
	} {
		s.want(device(9), "/opinion/question", form, 400)
	}
	s.want(device(9), "/opinion/services/caf.fr", rate("best"), 400)
	s.want(device(9), "/opinion/services/nope.fr", rate("bad"), 404, "Nous n’avons pas ce site")
	s.want(device(9), "/opinion/services/caf.fr/x", rate("bad"), 404)
	s.want(device(9), "/opinion/x", rate("bad"), 404)
	s.want(device(9), "/opinion/services/nope.fr", nil, 404)
	s.want(device(9), "/opinion/services/cdn.example", nil, 404)
	s.want(one, "/opinion/thanks", nil, 200, "Les résultats changent chaque lundi.")

	if page := s.want(one, "/opinion/results", nil, 200); strings.Count(page, "trop peu") != 2 || strings.Contains(page, "results/caf.fr") {
		t.Errorf("before the week's end:\n%s", page)
	}
	s.now = s.now.AddDate(0, 0, 2) // Monday
	s.want(one, "/opinion/results", nil, 200, `href="/opinion/results/caf.fr"`)
	page = s.want(one, "/opinion/results/caf.fr", nil, 200, "<strong>7</strong>", "<strong>6</strong>")
	if n := strings.Count(page, "<strong>"); n != 2 {
		t.Errorf("%d numbers are shown", n)
	}
	if page := s.want(one, "/opinion/results", nil, 200); strings.Contains(page, "<strong>") {
		t.Errorf("4 and 3 answers are shown:\n%s", page)
	}
	s.want(device(1), "/opinion/services/caf.fr", rate("good"), 303) // another day
	s.voice.save()
	kept, err := os.ReadFile(OpinionFile(dir).Path)
	if err != nil || !strings.Contains(string(kept), `"weeks":{"2026-W47":7}`) || strings.Contains(string(kept), "10.0.") {
		t.Errorf("kept: %s, %v", kept, err)
	}
	after := newSite(t, dir)
	after.now = s.now
	after.want(one, "/opinion/results/caf.fr", nil, 200, "<strong>7</strong>")
}

// Ten thousand presses of one device count once. The device can use up neither other devices' presses nor the box's memory.
func TestManyOpinions(t *testing.T) {
	t.Parallel()
	s := newSite(t, t.TempDir())
	for range 10_000 {
		s.do(device(1), "/opinion/services/caf.fr", rate("very-bad"))
	}
	faces := func() int { return s.opinionRoom().all.Services["caf.fr"].Faces[0].Waiting }
	if n := faces(); n != 1 {
		t.Errorf("it counts %d times", n)
	}
	for n := range 10_000 {
		s.do(device(2+n), "/opinion/services/caf.fr", rate("very-bad"))
	}
	if n, known := faces(), len(s.opinionRoom().pressed); n != maxPressers || known != maxPressers {
		t.Errorf("%d presses of %d devices", n, known)
	}
	// Devices that have pressed before can still press; on the next day every device can.
	s.want(device(1), "/opinion/services/ameli.fr", rate("good"), 303)
	s.want(device(20_000), "/opinion/services/caf.fr", rate("good"), 429, "Revenez demain.")
	s.now = s.now.AddDate(0, 0, 1)
	s.want(device(20_000), "/opinion/services/caf.fr", rate("good"), 303)
	if n := len(s.opinionRoom().pressed); n != 1 {
		t.Errorf("%d devices of yesterday are remembered", n)
	}
}

// A disk that cannot be written stops nothing: posts and presses stay in memory and are written later, and the error is logged once.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	dir := filepath.Join(top, "voice")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // a file in place of the folder
		t.Fatal(err)
	}
	s := newSite(t, dir)
	s.log.all = nil
	for n := range 3 {
		s.want(device(n), "/board/new", drill("Perceuse"), 303, fmt.Sprintf("/board/sent/%d", n+1))
		s.want(device(n), "/board/sent/1", nil, 200)
		s.want(device(n), "/opinion/services/caf.fr", rate("bad"), 303)
		s.voice.save()
	}
	if n := len(s.log.all); n != 2 {
		t.Errorf("%d lines are logged: %q", n, s.log.all)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	s.share.Refresh()
	b, err := BoardFile(dir).Read()
	if err != nil || len(b.Posts) != 3 || b.Last != 3 {
		t.Errorf("then: %+v, %v", b, err)
	}
	o, err := OpinionFile(dir).Read()
	if err != nil || o.Services["caf.fr"].Faces[1].Waiting != 3 {
		t.Errorf("then: %+v, %v", o, err)
	}
	s.want(device(4), "/board/new", drill("Perceuse"), 303, "/board/sent/4")
}

// A damaged file is set aside, and the share begins without data.
func TestDamagedFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, path := range []string{BoardFile(dir).Path, OpinionFile(dir).Path} {
		if err := os.WriteFile(path, []byte(`{"version":1,"content":{"posts"`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := newSite(t, dir)
	s.want(device(1), "/board", nil, 200)
	s.want(device(1), "/board/new", drill("Perceuse"), 303, "/board/sent/1")
	s.want(device(1), "/opinion/services/caf.fr", rate("bad"), 303)
	s.voice.save()
	if aside, err := filepath.Glob(filepath.Join(dir, "*.unreadable-1")); err != nil || len(aside) != 2 {
		t.Errorf("kept aside: %v, %v", aside, err)
	}
	if b, err := BoardFile(dir).Read(); err != nil || len(b.Posts) != 1 {
		t.Errorf("%+v, %v", b, err)
	}
}

// Presses are written after ten minutes, and when the box stops.
func TestRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, dir)
		ran := make(chan error)
		ctx, stop := context.WithCancel(t.Context())
		go func() { ran <- s.share.Run(ctx) }()
		kept := func() int {
			o, err := OpinionFile(dir).Read()
			if err != nil {
				t.Fatal(err)
			}
			if o.Services["caf.fr"] == nil {
				return 0
			}
			return o.Services["caf.fr"].Faces[0].Waiting
		}
		s.do(device(1), "/opinion/services/caf.fr", rate("very-bad"))
		for range 2 {
			time.Sleep(saveEvery / 3)
		}
		synctest.Wait()
		if n := kept(); n != 0 {
			t.Errorf("%d presses are written at once", n)
		}
		time.Sleep(saveEvery)
		synctest.Wait()
		if n := kept(); n != 1 {
			t.Errorf("%d presses are written after a while", n)
		}
		s.do(device(2), "/opinion/services/caf.fr", rate("very-bad"))
		stop()
		if err := <-ran; err != nil || kept() != 2 {
			t.Errorf("%v, %d presses at the end", err, kept())
		}
	})
}

// All features are safe for concurrent use.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	s := newSite(t, t.TempDir())
	var all sync.WaitGroup
	for n := range 20 {
		all.Go(func() {
			s.do(device(n), "/opinion/services/caf.fr", rate("good"))
			s.do(device(n), "/opinion/results", nil)
			if n%4 == 0 {
				s.do(device(n), "/board/new", drill("Perceuse"))
				s.share.Refresh()
			}
			s.do(device(n), "/board", nil)
		})
	}
	all.Wait()
	if n := s.opinionRoom().all.Services["caf.fr"].Faces[3].Waiting; n != 20 {
		t.Errorf("%d presses count", n)
	}
	if n := len(s.boardRoom().shown.Load().Waiting()); n != 5 {
		t.Errorf("%d posts wait", n)
	}
}

func FuzzForms(f *testing.F) {
	f.Add("/board/new", "side=offer&kind=lend&text=a")
	f.Add("/opinion/question", "question=1&choice=0")
	f.Add("/opinion/services/caf.fr", "face=bad")
	f.Add("/opinion/services/caf.fr/hurdle", "hurdle=bug")
	s := newSite(f, f.TempDir())
	f.Fuzz(func(t *testing.T, path, content string) {
		u, err := url.Parse(path)
		if err != nil || u.Path != path || u.Host != "" || u.RawQuery != "" || !strings.HasPrefix(path, "/board/new") && !strings.HasPrefix(path, "/opinion/") {
			return
		}
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(content))
		if r.URL.Path = path; s.share.Routes[path].Post == nil && !strings.HasPrefix(path, "/opinion/") {
			return
		} else if path == "/opinion/results" {
			return
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if w := s.send(device(1), r); w.Code >= 500 {
			t.Errorf("%q %q: status %d", path, content, w.Code)
		}
	})
}
