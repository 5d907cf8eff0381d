package web

import (
	"compress/gzip"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"passerelle/captive/web/webtest"
)

var french, english = Language("fr"), Language("en")

// pages has one page of each kind.
func pages(w *Words) []Page {
	f := Frame{Words: w, Title: "T", Centre: `L’<b>"atelier"</b> & co`, Hostname: "partage.internal", Path: "/"}
	doors := []Door{{Href: "/a", Pictogram: "book", Title: "<b>", Text: "<i>"}}
	return []Page{
		First{Frame: f, Lead: []string{"a", "<i>"}, Doors: doors},
		Session{Frame: f, TimeLeft: w.DurationParts(time.Hour), DataLeft: w.VideoParts(1_000_000_000), Video: true, DataOf: "<i>", Doors: doors},
		Notice{Frame: f, Pictogram: "closed", OffersStay: true, Doors: doors},
		Notice{Frame: f, Pictogram: "closed", To: &Link{"/a", "<i>"}},
		Essential{Frame: f, Topics: []Topic{{Key: "<i>", Title: "<i>", Pictogram: "pin",
			Services: []Service{{Title: "<b>", Purpose: "<i>", Host: "caf.fr"}}}}, OffersStay: true},
		Lender{Frame: f, Pictogram: "share", Lines: []string{"<i>"}, Why: "<b>", Days: []LentDay{{"<i>", 1}}, Pace: "<b>",
			Parts: Place(3, []Part{{Kind: "left", Label: "<i>", Bytes: 1}}), Chart: NewChart([]uint64{1, 2}, 7, 1)},
		Accessibility{Frame: f},
	}
}

func TestRender(t *testing.T) {
	t.Parallel()
	for code := range languages {
		w := Language(code)
		for _, p := range pages(w) {
			html, _, err := render(p)
			if err != nil {
				t.Error(err)
				continue
			}
			for _, flaw := range webtest.Flaws(code, string(html), ownRoom.policy[0]) {
				t.Error(flaw)
			}
		}
	}
	if _, _, err := render(Notice{Frame: Frame{Words: french}, Pictogram: "no such"}); err == nil {
		t.Error("a pictogram that is not there gives no error")
	}
}

func TestServe(t *testing.T) {
	t.Parallel()
	page := pages(french)[0]
	d, err := NewDocument(page)
	if err != nil {
		t.Fatal(err)
	}
	want, _, err := render(page)
	if err != nil {
		t.Fatal(err)
	}
	for accept, compressed := range map[string]bool{
		"": false, "gzip": true, "gzip, deflate, br": true, "br;q=1.0, GZIP;q=0.8": true, "deflate , gzip": true,
		"gzip;q=0": false, "gzip; q=0.000": false, "gzip;q=0.001": true, "identity": false, "xgzip, gzipx": false, "*": false,
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Accept-Encoding", accept)
		w := httptest.NewRecorder()
		d.Serve(w, r, 203)
		if w.Code != 203 || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("status %d, header %v", w.Code, w.Header())
		}
		var got io.Reader = w.Body
		if (w.Header().Get("Content-Encoding") == "gzip") != compressed {
			t.Errorf("Accept-Encoding %q: Content-Encoding %q", accept, w.Header().Get("Content-Encoding"))
			continue
		}
		if compressed {
			if got, err = gzip.NewReader(w.Body); err != nil {
				t.Fatal(err)
			}
		}
		b, err := io.ReadAll(got)
		if err != nil || string(b) != string(want) {
			t.Errorf("Accept-Encoding %q: %d bytes instead of %d, %v", accept, len(b), len(want), err)
		}
	}
}

// palette returns a style's colours by name, in light and in dark mode.
func palette(t *testing.T, style string) (day, night map[string]string) {
	t.Helper()
	roots := regexp.MustCompile(`:root\{([^}]*)\}`).FindAllStringSubmatch(ownRoom.styles[style], -1)
	if len(roots) < 2 {
		t.Fatalf("%s has no colours by day and by night", style)
	}
	read := func(root string) map[string]string {
		all := make(map[string]string)
		for _, m := range regexp.MustCompile(`--([a-z-]+):(#[0-9a-f]+)`).FindAllStringSubmatch(root, -1) {
			if all[m[1]] = m[2]; len(m[2]) == 4 {
				all[m[1]] = string([]byte{'#', m[2][1], m[2][1], m[2][2], m[2][2], m[2][3], m[2][3]})
			}
		}
		return all
	}
	return read(roots[0][1]), read(roots[1][1])
}

// In light and in dark mode text has a contrast of at least 7 to 1 with its background (WCAG 2.2, 1.4.6), and other visible parts
// of 3 to 1 (1.4.11).
func TestContrast(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		style, of string
		least     float64
		on        []string
	}{
		{"style", "ink", 7, []string{"ground", "card", "tint"}},
		{"style", "soft", 7, []string{"ground", "card"}},
		{"style", "go", 7, []string{"ground", "card", "tint"}},
		{"style", "on-go", 7, []string{"go", "go-over"}},
		{"style", "on-warn", 7, []string{"warn"}},
		{"style", "look", 3, []string{"ground", "card", "tint"}}, // the focus
		{"style", "go", 3, []string{"rule"}},                     // a bar on its track
		{"drawing", "line", 7, []string{"sand", "paper", "screen"}},
		{"drawing", "line", 3, []string{"mute", "touch", "skin", "right", "bad", "calm"}},
		{"drawing", "touch", 3, []string{"sand", "paper", "screen"}},
	} {
		day, night := palette(t, test.style)
		for when, colours := range map[string]map[string]string{"day": day, "night": night} {
			for _, behind := range test.on {
				if c := contrast(t, colours[test.of], colours[behind]); c < test.least {
					t.Errorf("by %s %s on %s: %.2f to 1, less than %v", when, test.of, behind, c, test.least)
				}
			}
		}
	}
}

// contrast returns the contrast ratio of WCAG 2.2.
func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	luminance := func(colour string) float64 {
		n, err := strconv.ParseUint(colour[1:], 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		channel := func(shift int) float64 {
			c := float64(n>>shift&0xff) / 255
			if c <= 0.04045 {
				return c / 12.92
			}
			return math.Pow((c+0.055)/1.055, 2.4)
		}
		return 0.2126*channel(16) + 0.7152*channel(8) + 0.0722*channel(0)
	}
	x, y := luminance(a), luminance(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

func TestPlace(t *testing.T) {
	t.Parallel()
	parts := Place(1000, []Part{{Bytes: 500}, {Bytes: 0}, {Bytes: 1}, {Bytes: 300}})
	want := []string{"0.00% 50.00%", "50.00% 0.00%", "50.00% 1.50%", "51.50% 30.00%"} // non-empty parts are visible
	for i, p := range parts {
		if got := p.X.String() + " " + p.Width.String(); got != want[i] {
			t.Errorf("part %d: %s, want %s", i, got, want[i])
		}
	}
	full := Place(1000, []Part{{Bytes: 2}, {Bytes: 990}, {Bytes: 8}})
	if last := full[2]; full[1].X != visible || full[1].Width != 97 || last.X+last.Width != 100 {
		t.Errorf("small parts leave the whole: %+v", full)
	}
	if p := Place(0, []Part{{Bytes: 1}})[0]; p.Width != 0 {
		t.Errorf("a part of nothing: %v", p)
	}
}

// Nothing in a chart exceeds its bounds, and the highest bar or the reference line reaches its top.
func TestChart(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		values []uint64
		room   int
		line   uint64
		bars   int
		paint  Percent // the reference line, from the top
	}{
		{[]uint64{0, 5, 10}, 30, 5, 2, 50},
		{[]uint64{1, 0, 0}, 30, 100, 1, 0},
		{[]uint64{1 << 63, 1<<64 - 1}, 2, 0, 2, 100},
		{nil, 0, 0, 0, 100},
		{[]uint64{0}, 1, 0, 0, 100},
	} {
		c := NewChart(test.values, test.room, test.line)
		if len(c.Bars) != test.bars || c.Line != test.paint {
			t.Errorf("%v: %d bars and the line at %v, want %d at %v", test.values, len(c.Bars), c.Line, test.bars, test.paint)
		}
		top := c.Line
		for _, b := range c.Bars {
			if b.X < 0 || b.X+b.Width > 100 || b.Y < 0 || b.Y+b.Height > 100.001 || b.Height < visible {
				t.Errorf("%v: a bar at %+v", test.values, b)
			}
			top = min(top, b.Y)
		}
		if (test.bars > 0 || test.line > 0) && top != 0 {
			t.Errorf("%v: nothing reaches the top, only %v", test.values, top)
		}
	}
}

// TestLongAcceptLanguage: only the first languages of a long header count.
func TestLongAcceptLanguage(t *testing.T) {
	t.Parallel()
	l := Offer("fr", "en")
	for header, want := range map[string]string{
		"en-GB,en;q=0.9," + strings.Repeat("de;q=0.1,", 60): "en",
		strings.Repeat("x", 300):                            "fr",
		strings.Repeat("de;q=0.1,", 60) + "en":              "fr",
		"en" + strings.Repeat(" ", 254) + ",fr":             "en",
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Accept-Language", header)
		if w, _ := l.For(r); w.Code != want {
			t.Errorf("%.30q… of %d bytes: %s, want %s", header, len(header), w.Code, want)
		}
	}
}
