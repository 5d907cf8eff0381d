package guide

import (
	"encoding/xml"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/state"
	"passerelle/captive/web"
	"passerelle/hw"
)

var update = flag.Bool("update", false, "write the golden files of what is drawn now")

// languages are the languages of the guide's words.
var languages = []string{"fr", "en", "ar", "es", "pt", "uk"}

// catalog has the guide's words.
var catalog = web.NewCatalog(Share())

// patterns returns all patterns that a box shows to people, by name.
func patterns() map[string]hw.Pattern {
	all := map[string]hw.Pattern{}
	for _, s := range state.States {
		all["state "+string(s)] = hw.States[s]
	}
	for g, p := range hw.Holds {
		all["held "+string(g)] = p
	}
	return all
}

var bar = regexp.MustCompile(`<path class="([a-z]+)" d="M([0-9.]+) 0h([0-9.]+)v`)

// TestLamp: at each drawn moment the drawing has a bar of the right colour if the light is on, and none if it is off.
func TestLamp(t *testing.T) {
	t.Parallel()
	for name, p := range patterns() {
		svg := string(Lamp(p))
		if err := xml.NewDecoder(strings.NewReader(svg)).Decode(new(struct{})); err != nil && err != io.EOF {
			t.Errorf("%s: %v in %s", name, err, svg)
		}
		drawn := make([]string, int(Drawn/unit))
		for i := range drawn {
			drawn[i] = hw.Dark.String()
		}
		for _, m := range bar.FindAllStringSubmatch(svg, -1) {
			x, err := strconv.ParseFloat(m[2], 64)
			if err != nil {
				t.Fatal(err)
			}
			width, err := strconv.ParseFloat(m[3], 64)
			if err != nil {
				t.Fatal(err)
			}
			for i := range drawn {
				if at := float64(i) + 0.5; at > x && at < x+width {
					drawn[i] = m[1]
				}
			}
		}
		for i, got := range drawn {
			at := time.Duration(i)*unit + unit/2
			if want, _ := p.At(at); got != want.String() {
				t.Errorf("%s: %s is drawn at %v, and the light is %s", name, got, at, want)
				break
			}
		}
	}
}

// picture returns a standalone SVG file of the lights of all States, with their English descriptions.
func picture() string {
	const row, left, wide = 46, 150, 700
	en := catalog.Language("en")
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="14">`+"\n", left+wide+20, row*len(state.States)+10)
	b.WriteString("<style>.red{fill:#c62828}.green{fill:#2e7d32}.blue{fill:#1565c0}.amber{fill:#b86e00}.white{fill:#5f6b68}.dark{fill:#c9c5b9}text{fill:#1b2624}</style>\n")
	fmt.Fprintf(&b, `<path fill="#fff" d="M0 0h%dv%dH0z"/>`+"\n", left+wide+20, row*len(state.States)+10)
	lamp := regexp.MustCompile(`^<svg[^>]*>|</svg>$`)
	for i, s := range state.States {
		y := i*row + 8
		fmt.Fprintf(&b, `<text x="10" y="%d" font-weight="700">%s</text><text x="%d" y="%d">%s</text>`+"\n", y+12, s, left, y+12, Rhythm(en, hw.States[s]))
		fmt.Fprintf(&b, `<g transform="translate(%d %d) scale(1 .5)">%s</g>`+"\n", left, y+18, lamp.ReplaceAllString(string(Lamp(hw.States[s])), ""))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// TestPicture: the picture of the lights in the README is up to date; -update writes it.
func TestPicture(t *testing.T) {
	t.Parallel()
	golden := filepath.Join("..", "..", "..", "cmd", "passerelle", "pictures", "lights.svg")
	if *update {
		if err := os.WriteFile(golden, []byte(picture()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != picture() {
		t.Errorf("%s is not what the lights show: make pictures draws it again", golden)
	}
}

// TestDrawnWhole: each pattern is drawn at full length.
func TestDrawnWhole(t *testing.T) {
	t.Parallel()
	for name, p := range patterns() {
		if p.Length() > Drawn {
			t.Errorf("%s takes %v, and %v are drawn", name, p.Length(), Drawn)
		}
	}
}

// TestRhythms: in each language the descriptions of the rhythms differ for all States, and for all that holding the button does.
func TestRhythms(t *testing.T) {
	t.Parallel()
	for _, code := range languages {
		w := catalog.Language(code)
		said := map[string]string{}
		for name, p := range patterns() {
			rhythm := Rhythm(w, p)
			if strings.Contains(rhythm, "guide.") || strings.ContainsAny(rhythm, "{}") || strings.Contains(Colours(w, p), "guide.") {
				t.Errorf("%s: %s is %q, %q", code, name, rhythm, Colours(w, p))
			}
			if same := said[rhythm]; same != "" && !(strings.HasSuffix(same, " setup") && strings.HasSuffix(name, " setup")) {
				t.Errorf("%s: %s and %s are both %q", code, same, name, rhythm)
			}
			said[rhythm] = name
		}
	}
	fr := catalog.Language("fr")
	for s, want := range map[state.State]string{
		state.Starting:  "4 éclairs par seconde",
		state.Fault:     "3 éclairs courts, 3 éclairs longs, 3 éclairs courts, puis cela recommence",
		state.Setup:     "1 éclair long, 1 éclair court, puis cela recommence",
		state.Paused:    "1 seconde allumée, 1 seconde éteinte",
		state.Closed:    "1 éclair puis une pause, et cela revient toutes les 3 secondes",
		state.Exhausted: "2 éclairs puis une pause, et cela revient toutes les 2 secondes",
		state.Offline:   "3 éclairs puis une pause, et cela revient toutes les 2 secondes",
		state.Sharing:   "allumée sans arrêt",
	} {
		if got := strings.ReplaceAll(Rhythm(fr, hw.States[s]), "\u00a0", " "); got != want {
			t.Errorf("%s is %q, want %q", s, got, want)
		}
	}
}

// TestSeconds: the times that the descriptions give in whole seconds are whole seconds.
func TestSeconds(t *testing.T) {
	t.Parallel()
	whole := func(what string, d time.Duration) {
		if d%time.Second != 0 {
			t.Errorf("%s: %v", what, d)
		}
	}
	for name, p := range patterns() {
		switch all := p.Length(); {
		case all == 0:
		case all < time.Second: // described as a number of flashes per second
			if time.Second%all != 0 {
				t.Errorf("%s: %v is no part of a second", name, all)
			}
		case sameLit(flashesOf(p)):
			whole(name, all)
		}
	}
	for i, h := range hw.AllHolds() {
		whole("from", h.From)
		whole("to", h.To)
		if i > 0 && hw.AllHolds()[i-1].To != h.From {
			t.Errorf("nothing is said of %v to %v", hw.AllHolds()[i-1].To, h.From)
		}
	}
}

// TestHeld: how long the button is held, in words.
func TestHeld(t *testing.T) {
	t.Parallel()
	var got []string
	for _, h := range hw.AllHolds() {
		got = append(got, Held(catalog.Language("en"), h)+": "+string(h.Does))
	}
	want := "Less than 2 seconds: press; 2 to 5 seconds: nothing; 5 to 10 seconds: setup; 10 to 15 seconds: nothing; " +
		"15 to 20 seconds: reset; More than 20 seconds: nothing"
	if got := strings.ReplaceAll(strings.Join(got, "; "), "\u00a0", " "); got != want {
		t.Errorf("got %s", got)
	}
}

// dated matches the date in the name of a legal text.
var dated = map[string]*regexp.Regexp{
	"fr": regexp.MustCompile(`\d{1,2}(er)? (janvier|février|mars|avril|mai|juin|juillet|août|septembre|octobre|novembre|décembre) (19|20)\d\d`),
	"en": regexp.MustCompile(`\d{1,2} (January|February|March|April|May|June|July|August|September|October|November|December) (19|20)\d\d`),
}

// TestLaw: each legal text has a name with its date, the day when it was looked up, and its sources. Our own paragraphs have none of
// these. Both languages have the same number of paragraphs.
func TestLaw(t *testing.T) {
	t.Parallel()
	f, err := readFile()
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Part) < 3 {
		t.Fatalf("%d parts: they are elsewhere", len(f.Part))
	}
	own := 0
	for _, p := range f.Part {
		if p.FR == "" || p.EN == "" {
			t.Errorf("%q, %q: a title is missing", p.FR, p.EN)
		}
		for _, x := range p.Text {
			if len(x.lines("fr")) != len(x.lines("en")) || x.FR == "" {
				t.Errorf("%s: %d paragraphs in French, %d in English", x.Name.FR, len(x.lines("fr")), len(x.lines("en")))
			}
			if x.Name.FR == "" {
				own++
				if x.Name.EN != "" || len(x.Sources) > 0 || !x.Checked.IsZero() {
					t.Errorf("our own text %.40q has a name, a day or sources", x.FR)
				}
				continue
			}
			for code, name := range map[string]string{"fr": x.Name.FR, "en": x.Name.EN} {
				if !dated[code].MatchString(name) {
					t.Errorf("%q has no date", name)
				}
			}
			if x.Checked.Year() < 2026 || len(x.Sources) == 0 {
				t.Errorf("%s: checked on %v, in %d pages", x.Name.FR, x.Checked, len(x.Sources))
			}
			for _, s := range x.Sources {
				if u, err := url.Parse(s); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
					t.Errorf("%s: %q is no address", x.Name.FR, s)
				}
			}
		}
	}
	if own == 0 {
		t.Error("nothing says what the box does")
	}
	for _, code := range LawLanguages {
		law := LawIn(code)
		if law.Title == "" || len(law.Note) != 3 {
			t.Errorf("in %s it is called %q, and says: %q", code, law.Title, law.Note)
		}
		for _, part := range law.Parts {
			for _, x := range part.Texts {
				if strings.Contains(x.Checked, "{") || (x.Name == "") != (x.Checked == "") {
					t.Errorf("%s: %q", x.Name, x.Checked)
				}
			}
		}
	}
	if fr := LawIn("ar"); fr.Title != LawIn("fr").Title {
		t.Errorf("for readers of Arabic it is %q", fr.Title)
	}
}
