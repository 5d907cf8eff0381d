// Package poster makes the posters and stickers that a centre puts up so that people can join the box's Wi-Fi and open its page. It
// owns their words, their content and their PDF, in which QR codes and pictograms are vector graphics. It has no side effects: its
// callers describe the box, and show or write the result. It must not know about configurations, servers or files.
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

// Size is a format to print.
type Size string

// The sizes.
const (
	A4       Size = "a4"       // a poster
	A6       Size = "a6"       // a card for a table
	Stickers Size = "stickers" // a sheet of eight stickers, on A4
)

// Sizes has all sizes, the default first.
var Sizes = []Size{A4, A6, Stickers}

// Box is what a poster says about a box.
type Box struct {
	Centre   string          // the centre's name, one line
	SSID     string          // "" if the box does not know it; the poster then has no step to join the network
	Password string          // the network's password; "" if none is needed
	Join     string          // text of the QR code with which phones join the network
	Hostname string          // host of the page
	Hours    *hours.Schedule // the desk's hours; nil if unknown
	Now      time.Time       // in the box's zone; the poster shows the hours of this week

	Fingerprint string // SHA-256 fingerprint of the certificate, in groups separated by spaces; "" if unknown
}

// Sheet is a poster in one language.
type Sheet struct {
	Words         *web.Words
	Centre        string
	Title         string
	Steps         []Step // steps to get online, numbered from 1
	Facts         []web.Fact
	Desk          string // title of Hours
	Hours         []Days // the desk's hours in a usual week; none if unknown
	Gesture, Here string

	// The certificate's host and fingerprint, in small letters at the foot of posters and cards. With them people who sign in, or
	// lend, can tell this box from another one. Both are "" if the certificate is unknown.
	Certificate, Fingerprint string
}

// Days is a group of days with the same hours, in words: "Du lundi au vendredi" and "de 9 h à 12 h, de 14 h à 18 h".
type Days struct{ Days, Times string }

// Step is something to do, with a QR code or by hand.
type Step struct {
	Text  string
	Code  Code
	Alt   string // what the code is for
	Typed []Typed
}

// Typed is what people type who do not scan the code.
type Typed struct{ Label, Value string }

// New returns the sheets of a poster in the given languages. Languages without words are left out. The error is that of a text which
// does not fit a QR code.
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

// Length returns a class for the length of the value: see [Length].
func (t Typed) Length() string { return Length(t.Value) }

// Length returns a style class for the length of a text: "" for up to 14 characters, "long" for up to 22, "longer" for up to 36, and
// "longest" for more.
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

// quiet is the width of the quiet zone around a QR code, in modules (ISO/IEC 18004, 5.3.8).
const quiet = 4

// Code is a QR code. It is drawn black on white, with its quiet zone.
type Code struct{ code *qr.Code }

// NewCode returns the code of a text. Its error correction level is M: it can be read with 15 % of it damaged. The error says that
// the text is too long.
func NewCode(text string) (Code, error) {
	c, err := qr.Encode(text, qr.M)
	if err != nil {
		return Code{}, fmt.Errorf("draw a QR code of %d bytes: %w", len(text), err)
	}
	return Code{c}, nil
}

// Side returns the code's width and height in modules, including the quiet zone.
func (c Code) Side() int { return c.code.Size + 2*quiet }

// rows calls f for each horizontal run of n black modules, which begins at x, y.
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

// Path returns the black modules as the data of an SVG path.
func (c Code) Path() string {
	var b strings.Builder
	c.rows(func(x, y, n int) { fmt.Fprintf(&b, "M%d %dh%dv1h-%[3]dz", x, y, n) })
	return b.String()
}
