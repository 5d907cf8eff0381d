package captive

import (
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"passerelle/captive/tutorials/lessons"
	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// maxFile bounds a lesson's file, in bytes.
const maxFile = 300_000

// TestLessonFile: each lesson can be saved as one small file, whose only links are to web sites.
func TestLessonFile(t *testing.T) {
	t.Parallel()
	s := newServer(newFakeBox())
	loads := regexp.MustCompile(`(?i)<(script|iframe|object|embed|video|audio|source|form)|\son\w+=|@import|url\(|src="[^d]|href="/`)
	most := 0
	for _, path := range lessons.Own().Paths() {
		for _, slug := range path.Lessons {
			for _, code := range []string{"fr", "en"} {
				res := ask(t, s, "GET /tutorials/"+slug+"/file?lang="+code)
				page := body(t, res)
				most = max(most, len(page))
				if res.StatusCode != http.StatusOK || len(page) > maxFile || !strings.Contains(page, `<html lang="`+code+`"`) {
					t.Errorf("%s in %s: status %d, %d bytes", slug, code, res.StatusCode, len(page))
				}
				if found := loads.FindString(page); found != "" {
					t.Errorf("%s in %s: %q", slug, code, found)
				}
			}
		}
	}
	t.Logf("the heaviest: %d bytes", most)

	res := ask(t, s, "GET /tutorials/wifi/file")
	const name = `attachment; filename="wifi-fr.html"; filename*=UTF-8''Se%20connecter%20au%20Wi%E2%80%91Fi%20du%20centre.html`
	if got := res.Header.Get("Content-Disposition"); got != name {
		t.Errorf("the file is called %q", got)
	}
	// Without the box a link to a lesson leads nowhere, so the text says where the lesson is.
	page := body(t, ask(t, s, "GET /tutorials/arnaques/file"))
	for _, part := range []string{"(leçon au centre)", "partage.internal/tutorials/si-ca-arrive", "Cette leçon vient du centre", "vérifié en"} {
		if !strings.Contains(page, part) {
			t.Errorf("the file lacks %q:\n%s", part, page)
		}
	}
	// An answer about something else is not a file.
	for _, path := range []string{"/tutorials/nope/file", "/tutorials/wifi/files", "/tutorials/premiers-pas/file", "/tutorials/file"} {
		if res := ask(t, s, "GET "+path); res.StatusCode != http.StatusNotFound || res.Header.Get("Content-Disposition") != "" {
			t.Errorf("%s: status %d, %q", path, res.StatusCode, res.Header.Get("Content-Disposition"))
		}
	}
	if page := body(t, ask(t, s, "GET /tutorials/arnaques")); !strings.Contains(page, `href="/tutorials/si-ca-arrive"`) {
		t.Error("the lesson's own page lost its links")
	}
}

// withPictures gives the box a pack with a lesson in Arabic: a picture that fits in a file, one that does not, and a film.
func withPictures(t testing.TB, b *fakeBox) {
	t.Helper()
	dir, from := t.TempDir(), t.TempDir()
	const png = "\x89PNG\r\n\x1a\n"
	for name, text := range map[string]string{
		"ar.md": "+++\ntitle = \"السقي\"\nsummary = \"كيف تسقون.\"\nlevel = 1\n+++\nللجميع.\n\n" +
			"## انظروا.\n![زهرة.](small.png)\nانظروا إلى [Caf](https://caf.fr/) و[الدرس](lesson:wifi).\n\n## انتظروا.\n![شجرة.](large.png)\n\n## شاهدوا.\n![فيلم.](film.mp4)\n",
		"small.png": png + strings.Repeat("s", 90_000), "large.png": png + strings.Repeat("l", 200_000), "film.mp4": "\x00\x00\x00\x18ftypisom",
	} {
		path := filepath.Join(from, "saqi", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	i := lessons.Importer{Dir: dir, MaxSize: lessons.DefaultMaxSize, Now: time.Now, Progress: func(int64, int64) {}}
	if _, err := i.Import(t.Context(), from, "jardin"); err != nil {
		t.Fatal(err)
	}
	library, problems := lessons.Load(dir)
	if problems != nil {
		t.Fatal(errors.Join(problems...))
	}
	b.tutorials.Show(library)
}

// TestPackLessonFile: a file contains a pack's pictures as far as they fit, and says what it leaves out.
func TestPackLessonFile(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	withPictures(t, b)
	page := body(t, ask(t, newServer(b), "GET /tutorials/jardin-saqi/file"))
	if n := strings.Count(page, `src="data:image/png;base64,`); n != 1 || len(page) > maxFile || !strings.Contains(page, `<html lang="ar" dir="rtl">`) {
		t.Errorf("%d pictures, %d bytes", n, len(page))
	}
	for _, part := range []string{"هذه الصورة ليست في هذا الملف", "هذا الفيلم ليس في هذا الملف", "(درس في المركز)", "الروابط إلى المواقع"} {
		if !strings.Contains(page, part) {
			t.Errorf("the file lacks %q", part)
		}
	}
}

// TestLessonFileWithoutNetwork: a browser shows a lesson's file from the disk without a network, and the page has no flaw.
func TestLessonFileWithoutNetwork(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	b := newFakeBox()
	withPictures(t, b)
	s := newServer(b)
	ctx, asked := webtest.Browser(t)
	if err := webtest.Run(ctx, network.Enable(), network.EmulateNetworkConditions(true, 0, -1, -1)); err != nil {
		t.Fatal(err)
	}
	j := webtest.NewJudge(t, ctx)
	for slug, want := range map[string][3]string{
		"arnaques": {"fr", "ltr", "Reconnaître une arnaque"}, "jardin-saqi": {"ar", "rtl", "السقي"},
	} {
		file := filepath.Join(t.TempDir(), slug+".html")
		if err := os.WriteFile(file, []byte(body(t, ask(t, s, "GET /tutorials/"+slug+"/file"))), 0o600); err != nil {
			t.Fatal(err)
		}
		flaws, err := j.Page("file://"+file, want[0], want[1], true)
		if err != nil {
			t.Fatal(err)
		}
		for _, flaw := range flaws {
			t.Error(flaw)
		}
		var title string
		if err := webtest.Run(ctx, chromedp.Text("h1", &title, chromedp.ByQuery)); err != nil || title != want[2] {
			t.Errorf("%s: the title is %q, %v", slug, title, err)
		}
	}
	for _, url := range asked() {
		if !strings.HasPrefix(url, "file://") && !strings.HasPrefix(url, "data:") {
			t.Errorf("the file made the browser ask for %s", url)
		}
	}
}

// TestStoryFits: on a wide, a low and a small screen, the picture, its sentence and its buttons are visible without scrolling. The
// rest of the page comes after them.
func TestStoryFits(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	b := newFakeBox()
	b.site.Languages = strings.Join(everyLanguage, " ")
	_, port, err := net.SplitHostPort(serve(t, newServer(b)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, _ := webtest.Browser(t)
	for _, code := range []string{"fr", "ar"} {
		for _, path := range []string{"wifi/1", longestHeading(code)} {
			err := webtest.Run(ctx, chromedp.Navigate("http://partage.internal:"+port+"/tutorials/"+path+"?lang="+code))
			if err != nil {
				t.Fatal(err)
			}
			for _, size := range [][2]int64{{1280, 720}, {740, 360}, {320, 568}} {
				var at struct {
					Drawing, Scrolled                       float64
					Picture, Heading, Turn, Languages, Foot [2]float64 // top and bottom
					Height                                  float64
				}
				err := webtest.Run(ctx, chromedp.EmulateViewport(size[0], size[1]), chromedp.Evaluate(`(() => {
					const at = s => { const r = document.querySelector(s).getBoundingClientRect(); return [r.top, r.bottom]; };
					return {Drawing: document.querySelector(".story .drawing").getBoundingClientRect().height, Scrolled: scrollY,
						Picture: at(".story .drawing"), Heading: at(".story h1"), Turn: at(".turn"), Languages: at(".languages"), Foot: at("footer"),
						Height: innerHeight};
				})()`, &at))
				if err != nil {
					t.Fatal(err)
				}
				if at.Drawing > .4*at.Height+1 || at.Drawing < 100 {
					t.Errorf("%s %s, %v: the drawing is %v px high of %v", path, code, size, at.Drawing, at.Height)
				}
				if at.Scrolled != 0 || at.Picture[0] < 0 || at.Turn[1] > at.Height || at.Heading[1] > at.Turn[0]+1 || at.Picture[1] > at.Turn[0]+1 ||
					at.Languages[0] < at.Turn[1] || at.Foot[0] < at.Languages[1] {
					t.Errorf("%s %s, %v: %+v", path, code, size, at)
				}
			}
		}
	}
}

// longestHeading returns the path of the picture with the longest sentence in a language.
func longestHeading(code string) (path string) {
	most := 0
	for _, l := range lessons.Own().Lessons() {
		headings := l.Titles[code].Steps
		if l.Language == code {
			for _, s := range l.Steps {
				headings = append(headings, s.Heading)
			}
		} else if l.Language != "fr" {
			continue
		}
		for i, h := range headings {
			if n := len([]rune(h)); n > most {
				most, path = n, l.Slug+"/"+string(rune('1'+i))
			}
		}
	}
	return path
}
