package captive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"passerelle/captive/tutorials/lessons"
	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// tricks are ways in which a pack's page may try to navigate the window to EVIL, when it is loaded or clicked.
var tricks = map[string]string{
	"location":     `<script>location = "EVIL"</script>`,
	"top":          `<script>top.location = "EVIL"</script>`,
	"replace":      `<script>parent.location.replace("EVIL")</script>`,
	"refresh":      `<meta http-equiv="refresh" content="0;url=EVIL">`,
	"link":         `<a href="EVIL"></a>`,
	"link-top":     `<a href="EVIL" target="_top"></a>`,
	"link-parent":  `<a href="EVIL" target="_parent"></a>`,
	"link-new":     `<a href="EVIL" target="_blank"></a>`,
	"base":         `<base href="EVIL/" target="_top"><a href="x"></a>`,
	"form":         `<form action="EVIL"><button></button></form>`,
	"form-top":     `<form action="EVIL" method="post" target="_top"><button></button></form>`,
	"open":         `<button onclick="window.open('EVIL')"></button>`,
	"open-top":     `<button onclick="window.open('EVIL', '_top')"></button>`,
	"pressed-top":  `<button onclick="top.location = 'EVIL'"></button>`,
	"pressed-link": `<a id="a" href="EVIL" target="_top"></a><script>a.click()</script>`,
	"inner-frame":  `<iframe src="EVIL"></iframe>`,
	"loaded":       `<script src="EVIL"></script><img src="EVIL">`,
}

// hostile returns a page with a trick. The page loads a picture of its own to show that it was rendered.
func hostile(trick, evil string) string {
	return `<!doctype html><title>A game</title><style>a,button{position:fixed;inset:0;width:100%;background:#fff}</style>` +
		`<img src="shown.gif">` + strings.ReplaceAll(trick, "EVIL", evil)
}

// paths records the requested paths.
type paths struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (p *paths) note(r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[r.URL.Path] = true
}

func (p *paths) has(part string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for path := range p.seen {
		if strings.Contains(path, part) {
			return true
		}
	}
	return false
}

func (p *paths) wait(t testing.TB, part string) {
	t.Helper()
	for limit := time.Now().Add(20 * time.Second); !p.has(part); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("nothing with %s was asked for", part)
		}
	}
}

// A pack's page that tries to lead its reader to another site stays in its frame, and the box's page stays around it, whatever the
// reader clicks. Without the frame and its policy each trick works, as the browser shows for the same pages.
func TestHostilePack(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	site := func(h http.Handler) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		_, port, err := net.SplitHostPort(s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return "http://partage.internal:" + port
	}
	lured, shown := &paths{seen: map[string]bool{}}, &paths{seen: map[string]bool{}}
	evil := site(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { lured.note(r) }))
	bare := site(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.Trim(r.URL.Path, "/")
		io.WriteString(w, hostile(tricks[name], evil+"/bare/"+name))
	}))
	b, dir, from := newFakeBox(), t.TempDir(), t.TempDir()
	importer := lessons.Importer{Dir: dir, MaxSize: lessons.DefaultMaxSize, Now: time.Now, Progress: func(int64, int64) {}}
	for name, trick := range tricks {
		err := os.Mkdir(filepath.Join(from, name), 0o755)
		if err == nil {
			err = os.WriteFile(filepath.Join(from, name, "index.html"), []byte(hostile(trick, evil+"/framed/"+name)), 0o644)
		}
		if err == nil {
			_, err = importer.Import(t.Context(), filepath.Join(from, name), name)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	library, problems := lessons.Load(dir)
	if problems != nil {
		t.Fatal(errors.Join(problems...))
	}
	b.tutorials.Show(library)
	s := newServer(b)
	ours := site(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown.note(r)
		s.ServeHTTP(w, r)
	}))

	browser, _ := webtest.Browser(t)
	open := func(url string) (tab context.Context) {
		t.Helper()
		tab, _ = webtest.Tab(t, browser)
		if err := webtest.Run(tab, chromedp.EmulateViewport(800, 800), chromedp.Navigate(url)); err != nil {
			t.Fatalf("open %s: %v", url, err)
		}
		return tab
	}
	// The browser does not report a click on a page that has been left in the meantime, as happens here, so the click is repeated.
	press := func(tab context.Context) (err error) {
		for range 5 {
			once, cancel := context.WithTimeout(tab, 5*time.Second)
			err = webtest.Run(once, chromedp.MouseClickXY(400, 600))
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) {
				break
			}
		}
		return err
	}
	tabs := map[string]context.Context{}
	for name := range tricks {
		tabs[name] = open(ours + "/packs/" + name + "/") // the address of the pack, not of the frame's page
		shown.wait(t, "/packs/"+name+"/")
		shown.wait(t, fmt.Sprintf("%sshown.gif", framed(t, s, name)))
		if err := press(tabs[name]); err != nil {
			t.Fatalf("press on %s: %v", name, err)
		}
	}
	for name := range tricks {
		tab := open(bare + "/" + name)
		if !lured.has("/bare/" + name) {
			if err := press(tab); err != nil {
				t.Fatalf("press on %s: %v", name, err)
			}
		}
		lured.wait(t, "/bare/"+name)
	}
	for name, tab := range tabs {
		var at, title string
		if err := webtest.Run(tab, chromedp.Location(&at), chromedp.Text("h1", &title, chromedp.ByQuery)); err != nil {
			t.Fatal(err)
		}
		if at != ours+"/packs/"+name || title != "A game" || lured.has("/framed/"+name) {
			t.Errorf("%s: the window is at %s, with %q; evil was asked: %v", name, at, title, lured.has("/framed/"+name))
		}
	}
}

// framed returns the path of a pack's pages in its frame.
func framed(t testing.TB, s *Server, name string) (path string) {
	t.Helper()
	_, frame, _ := strings.Cut(body(t, ask(t, s, "GET /packs/"+name)), `<iframe class="pack" src="`)
	path, _, ok := strings.Cut(frame, `"`)
	if !ok {
		t.Fatalf("there is no pack %s", name)
	}
	return path
}

// TestPackLoadsItsParts: in its frame, a pack's page gets its own module scripts, data and folders, and requests nothing else.
func TestPackLoadsItsParts(t *testing.T) {
	labtest.Root(t)
	dir, from := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{
		"index.html":       `<!doctype html><title>Jeu</title><script type="module" src="main.mjs"></script>`,
		"main.mjs":         `import {part} from './part.js'; const data = await (await fetch('data.json')).json(); new Image().src = part + data.n + '.png'`,
		"part.js":          `export const part = 'loaded-'`,
		"data.json":        `{"n": 7}`,
		"guide/index.html": `<!doctype html><title>Guide</title>`,
	} {
		path := filepath.Join(from, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	i := lessons.Importer{Dir: dir, MaxSize: lessons.DefaultMaxSize, Now: time.Now, Progress: func(int64, int64) {}}
	if _, err := i.Import(t.Context(), from, "jeu"); err != nil {
		t.Fatal(err)
	}
	library, problems := lessons.Load(dir)
	if problems != nil {
		t.Fatal(errors.Join(problems...))
	}
	b := newFakeBox()
	b.tutorials.Show(library)
	s := newServer(b)
	loaded := make(chan struct{}, 1)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/loaded-7.png") {
			select {
			case loaded <- struct{}{}:
			default:
			}
		}
		s.ServeHTTP(w, r)
	}))
	defer web.Close()
	_, port, err := net.SplitHostPort(web.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	browser, _ := webtest.Browser(t)
	tab, _ := webtest.Tab(t, browser)
	if err := webtest.Run(tab, chromedp.Navigate("http://partage.internal:"+port+"/packs/jeu")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-loaded:
	case <-time.After(time.Minute):
		t.Error("the page did not get its own parts")
	}
}
