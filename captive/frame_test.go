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

	"passerelle/captive/tutorials"
	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// tricks are how a pack's page may try to lead the window to EVIL, by itself or when it is pressed on.
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

// hostile is a page with a trick, which shows that it is there by asking for a picture of its own.
func hostile(trick, evil string) string {
	return `<!doctype html><title>A game</title><style>a,button{position:fixed;inset:0;width:100%;background:#fff}</style>` +
		`<img src="shown.gif">` + strings.ReplaceAll(trick, "EVIL", evil)
}

// paths notes what is asked for.
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

// A pack's page that wants to lead its reader to another site stays in its frame, and our page around it, whatever the
// reader presses on. Without frame and policy each trick works: the browser is shown the same pages so afterwards.
func TestHostilePack(t *testing.T) {
	labtest.Root(t, "chromium")
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
	importer := tutorials.Importer{Dir: dir, Most: tutorials.MostBytes, Now: time.Now, Progress: func(int64, int64) {}}
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
	var problems []error
	if b.lessons, problems = tutorials.Load(dir); problems != nil {
		t.Fatal(errors.Join(problems...))
	}
	s := newServer(b)
	ours := site(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown.note(r)
		s.ServeHTTP(w, r)
	}))

	browser, _ := webtest.Browser(t)
	open := func(url string) (tab context.Context) {
		t.Helper()
		tab, _ = webtest.Tab(t, browser)
		if err := chromedp.Run(tab, chromedp.EmulateViewport(800, 800), chromedp.Navigate(url)); err != nil {
			t.Fatalf("open %s: %v", url, err)
		}
		return tab
	}
	// A browser never says that a press was taken by a page that went away meanwhile, as those here do: it is made again.
	press := func(tab context.Context) (err error) {
		for range 5 {
			once, cancel := context.WithTimeout(tab, 5*time.Second)
			err = chromedp.Run(once, chromedp.MouseClickXY(400, 600))
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) {
				break
			}
		}
		return err
	}
	tabs := map[string]context.Context{}
	for name := range tricks {
		tabs[name] = open(ours + "/packs/" + name + "/") // not the address of the frame's page, but of the pack
		shown.wait(t, "/packs/"+name+"/")
		shown.wait(t, fmt.Sprintf("%sshown.gif", filesPath(pack(t, b, name))))
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
		if err := chromedp.Run(tab, chromedp.Location(&at), chromedp.Text("h1", &title, chromedp.ByQuery)); err != nil {
			t.Fatal(err)
		}
		if at != ours+"/packs/"+name || title != "A game" || lured.has("/framed/"+name) {
			t.Errorf("%s: the window is at %s, with %q; evil was asked: %v", name, at, title, lured.has("/framed/"+name))
		}
	}
}

// pack returns a pack of pages.
func pack(t testing.TB, b *fakeBox, name string) tutorials.Pack {
	t.Helper()
	p, ok := b.Lessons().Pages(name)
	if !ok {
		t.Fatalf("there is no pack %s", name)
	}
	return p
}
