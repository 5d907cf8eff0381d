// Package poster makes what a centre puts on its walls and windows: posters and stickers by which people join the box's Wi-Fi
// and open its page. It owns their words, what stands on them, and their PDF; it draws QR codes and pictograms as lines and
// squares. It is pure: its callers say what a box is called, and show or write the result. It must not know
// configurations, servers or files.
package poster

import (
	"cmp"
	"embed"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"rsc.io/qr"

	"passerelle/appliance/hours"
	"passerelle/captive/web"
)

//go:embed words/*.toml
var files embed.FS

var catalog = web.NewCatalog(web.Share{Name: "poster", Files: files})

// Size is what is printed.
type Size string

// The sizes.
const (
	A4       Size = "a4"       // a poster
	A6       Size = "a6"       // a card for a table
	Stickers Size = "stickers" // a sheet of eight, on A4
)

// Sizes are all sizes, the usual one first.
var Sizes = []Size{A4, A6, Stickers}

// Box is what a poster says of a box.
type Box struct {
	Centre   string          // its name, one line
	SSID     string          // "" if the box does not know the network's name: nothing is said of it
	Password string          // of the network; "": none is needed
	Join     string          // text of the QR code by which phones join the network
	Hostname string          // of the page
	Hours    *hours.Schedule // of the desk; nil: unknown
	Now      time.Time       // in the box's zone: hours are those of its week

	Fingerprint string // SHA-256 of its certificate, in groups with spaces between; "": unknown
}

// Sheet is a poster in one language.
type Sheet struct {
	Words         *web.Words
	Centre        string
	Title         string
	Steps         []Step // to be online: they are numbered from 1
	Facts         []web.Fact
	Desk          string // title of its hours
	Hours         []Days // of the desk in a usual week; none if they are unknown
	Gesture, Here string

	// For technicians, in small letters at the foot of posters and cards: by it who signs in, or lends, can tell this box from
	// another. Both are "" if the certificate is unknown.
	Certificate, Fingerprint string
}

// Days are days with the same hours, in words: "Du lundi au vendredi" and "de 9 h à 12 h, de 14 h à 18 h".
type Days struct{ Days, Times string }

// Step is something to do, by a QR code or by hand.
type Step struct {
	Text  string
	Code  Code
	Alt   string // what the code is for
	Typed []Typed
}

// Typed is what somebody types who does not scan the code.
type Typed struct{ Label, Value string }

// New returns the sheets of a poster in these languages. Those without words are left out.
func New(b Box, languages ...string) ([]Sheet, error) {
	open, err := NewCode("http://" + b.Hostname + "/")
	if err != nil {
		return nil, err
	}
	var join Code
	if b.SSID != "" {
		if join, err = NewCode(b.Join); err != nil {
			return nil, err
		}
	}
	var sheets []Sheet
	for _, code := range languages {
		w := catalog.Language(code)
		if w == nil {
			continue
		}
		s := Sheet{
			Words: w, Centre: b.Centre, Title: w.T("poster.title"), Desk: w.T("desk.title"),
			Gesture: w.T("poster.gesture"), Here: w.T("poster.here"),
			Facts: []web.Fact{
				{Pictogram: "globe", Text: w.T("poster.free")}, {Pictogram: "book", Text: w.T("poster.learn")},
				{Pictogram: "people", Text: w.T("poster.help")}, {Pictogram: "private", Text: w.T("poster.private")},
			},
		}
		if b.Fingerprint != "" {
			s.Certificate, s.Fingerprint = w.T("poster.certificate", "host", b.Hostname), b.Fingerprint
		}
		if b.SSID != "" {
			typed := []Typed{{w.T("poster.name"), b.SSID}}
			if b.Password != "" {
				typed = append(typed, Typed{w.T("poster.password"), b.Password})
			}
			s.Steps = append(s.Steps, Step{w.T("poster.join"), join, w.T("poster.scan-join"), typed})
		}
		s.Steps = append(s.Steps, Step{
			w.T("poster.open"), open, w.T("poster.scan-open"), []Typed{{w.T("poster.address"), b.Hostname}},
		})
		if b.Hours != nil {
			week, _ := w.OpenWeek(b.Hours, true, b.Now)
			for _, d := range week {
				s.Hours = append(s.Hours, Days{d.Days, cmp.Or(strings.Join(d.Hours, w.T("poster.comma")+" "), w.T("hours.closed-day"))})
			}
		}
		sheets = append(sheets, s)
	}
	return sheets, nil
}

// Length says how long the value is: see [Length].
func (t Typed) Length() string { return Length(t.Value) }

// Length says how long a text is for the space that a page has for it: "", "long", "longer" or "longest", from 14, 22 and 36
// characters.
func Length(text string) string {
	switch n := utf8.RuneCountInString(text); {
	case n <= 14:
		return ""
	case n <= 22:
		return "long"
	case n <= 36:
		return "longer"
	}
	return "longest"
}

// quiet is the quiet zone around a QR code (ISO/IEC 18004, 5.3.8), in modules.
const quiet = 4

// Code is a QR code. It is drawn black on white, with its quiet zone.
type Code struct{ code *qr.Code }

// NewCode returns the code of a text, which is still read with 15 % of it hidden (level M).
func NewCode(text string) (Code, error) {
	c, err := qr.Encode(text, qr.M)
	if err != nil {
		return Code{}, fmt.Errorf("draw a QR code of %d bytes: %w", len(text), err)
	}
	return Code{c}, nil
}

// Side is the code's width and height in modules, with the quiet zone.
func (c Code) Side() int { return c.code.Size + 2*quiet }

// rows calls f for each run of black modules.
func (c Code) rows(f func(x, y, n int)) {
	for y := range c.code.Size {
		for x := 0; x < c.code.Size; x++ {
			n := 0
			for c.code.Black(x+n, y) { // false outside the code
				n++
			}
			if n > 0 {
				f(x+quiet, y+quiet, n)
				x += n
			}
		}
	}
}

// Path is the code's black as the data of an SVG path.
func (c Code) Path() string {
	var b strings.Builder
	c.rows(func(x, y, n int) { fmt.Fprintf(&b, "M%d %dh%dv1h-%[3]dz", x, y, n) })
	return b.String()
}
