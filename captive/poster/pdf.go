package poster

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"codeberg.org/go-pdf/fpdf"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/unicode/norm"

	"passerelle/captive/web"
)

// printable has the languages whose letters are in the fonts that every PDF reader has.
var printable = []string{"fr", "en", "es", "pt"}

// InPDF reports whether a PDF can be in a language. The page to print supports every language.
func InPDF(language string) bool { return slices.Contains(printable, language) }

// colour is red, green and blue.
type colour [3]int

// The colours of the pages' light theme, some of them darker for print: see captive/web/pages/style.css.
var (
	ink   = colour{27, 38, 36}
	soft  = colour{67, 80, 77}
	green = colour{11, 81, 73}
	tint  = colour{231, 241, 236}
	rule  = colour{200, 206, 203}
	white = colour{255, 255, 255}
)

// pt is a typographic point, 1/72 inch, in mm.
const pt = 25.4 / 72

// PDF writes sheets in a size, one page each. The error says that there are no sheets, that the size is unknown, or that [InPDF] does
// not allow a sheet's language; otherwise it is one of w or of the drawing.
func PDF(w io.Writer, size Size, sheets []Sheet) error {
	if len(sheets) == 0 {
		return errors.New("a poster needs a language")
	}
	paper := "A4"
	if size == A6 {
		paper = "A6"
	}
	p := &page{Fpdf: fpdf.New("P", "mm", paper, "")}
	p.SetAutoPageBreak(false, 0)
	p.SetMargins(0, 0, 0)
	p.SetLineCapStyle("round")
	p.SetLineJoinStyle("round")
	p.SetTitle(sheets[0].Title+" – "+sheets[0].Centre, true)
	p.SetLang(sheets[0].Words.Code)
	for _, s := range sheets {
		if !InPDF(s.Words.Code) {
			return fmt.Errorf("a PDF in %q: its letters are not in the fonts; print the page of the box instead", s.Words.Code)
		}
		p.AddPage()
		switch size {
		case A4:
			p.poster(s, layout{210, 297, 15, 7, 20, 58, 19, 11.5, 26, 16, 13, 22, 6.5})
		case A6:
			p.poster(s, layout{105, 148, 7, 3.5, 11, 28, 9.5, 6.5, 13, 8, 7, 11.5, 5})
		case Stickers:
			p.stickers(s)
		default:
			return fmt.Errorf("unknown size %q", size)
		}
	}
	return p.Output(w)
}

// page draws on a PDF's page. Coordinates are in mm from the upper left corner.
type page struct {
	*fpdf.Fpdf
	measuring bool // only measure, draw nothing
}

// style says how a text is set. Sizes are in points.
type style struct {
	size, min float64 // the text shrinks from size until it fits, but not below min
	lines     int     // maximum number of lines
	bold      bool
	colour    colour
	align     byte // 'C' or 'R'; anything else is left
}

// leading is the distance between baselines, as a multiple of the text's size.
const leading = 1.2

// set breaks a text into lines of a width, and returns the lines and the size at which they fit.
func (p *page) set(text string, width float64, st style) (lines []string, size float64) {
	text, size = latin(text), st.size
	for ; ; size -= .25 {
		p.font(st.bold, size)
		last := size <= st.min
		lines = p.wrap(text, width, last)
		if last || len(lines) <= st.lines && !slices.ContainsFunc(lines, func(l string) bool { return p.GetStringWidth(l) > width }) {
			return lines, size
		}
	}
}

// height returns a text's height if it is set in a width.
func (p *page) height(text string, width float64, st style) float64 {
	lines, size := p.set(text, width, st)
	return float64(len(lines)) * size * pt * leading
}

// text draws a text from y on, and returns the y at which it ends.
func (p *page) text(text string, x, y, width float64, st style) float64 {
	if p.measuring {
		return y + p.height(text, width, st)
	}
	lines, size := p.set(text, width, st)
	p.SetTextColor(st.colour[0], st.colour[1], st.colour[2])
	for _, l := range lines {
		at := x
		switch rest := width - p.GetStringWidth(l); st.align {
		case 'C':
			at += rest / 2
		case 'R':
			at += rest
		}
		p.Text(at, y+size*pt*.93, l) // the baseline
		y += size * pt * leading
	}
	return y
}

func (p *page) font(bold bool, size float64) {
	name := ""
	if bold {
		name = "B"
	}
	p.SetFont("Helvetica", name, size)
}

// wrap breaks a text, in the fonts' encoding, between words. With anywhere it also breaks words that are too wide.
func (p *page) wrap(text string, width float64, anywhere bool) (lines []string) {
	line := ""
	for _, word := range strings.Split(text, " ") {
		if line != "" && p.GetStringWidth(line+" "+word) <= width {
			line += " " + word
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		line = word
		for anywhere && p.GetStringWidth(line) > width {
			n := len(line) - 1
			for n > 1 && p.GetStringWidth(line[:n]) > width {
				n--
			}
			if i := strings.LastIndexAny(line[:n], ".-"); i > n/3 {
				n = i + 1
			}
			lines, line = append(lines, line[:n]), line[n:]
		}
	}
	return append(lines, line)
}

// latin encodes a text in the fonts' encoding, Windows-1252. A letter that it lacks loses its accent, or becomes a question mark.
func latin(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch r {
		case '\u202f': // narrow no-break space
			r = '\u00a0'
		case '\u2011': // non-breaking hyphen
			r = '-'
		}
		c, ok := charmap.Windows1252.EncodeRune(r)
		if !ok {
			c, ok = charmap.Windows1252.EncodeRune([]rune(norm.NFD.String(string(r)))[0])
		}
		if !ok {
			c = '?'
		}
		b.WriteByte(c)
	}
	return b.String()
}

func (p *page) fill(c colour) { p.SetFillColor(c[0], c[1], c[2]) }
func (p *page) pen(c colour)  { p.SetDrawColor(c[0], c[1], c[2]) }

// card fills a rectangle with round corners.
func (p *page) card(x, y, w, h, r float64, c colour) {
	if !p.measuring {
		p.fill(c)
		p.RoundedRect(x, y, w, h, r, "1234", "F")
	}
}

// disc fills the circle that is inscribed in a square.
func (p *page) disc(x, y, side float64, c colour) { p.card(x, y, side, side, side/2, c) }

// code draws a QR code on a white ground.
func (p *page) code(c Code, x, y, side float64) {
	if p.measuring {
		return
	}
	p.card(x, y, side, side, side/30, white)
	m := side / float64(c.Side())
	p.SetFillColor(0, 0, 0)
	c.rows(func(cx, cy, n int) {
		// The height is slightly more than a module, so that no viewer shows gaps between rows.
		p.Rect(x+float64(cx)*m, y+float64(cy)*m, float64(n)*m, m*1.02, "F")
	})
}

// pictogram draws a pictogram in a square.
func (p *page) pictogram(name string, x, y, side float64, c colour) {
	if p.measuring {
		return
	}
	lines, err := parseDrawing(string(web.Pictogram(name)))
	if err != nil {
		p.SetError(fmt.Errorf("draw pictogram %s: %w", name, err))
		return
	}
	k := side / 24
	p.pen(c)
	for _, l := range lines {
		width := l.width
		if width == 0 {
			width = 1.8 // as on the web pages
		}
		p.SetLineWidth(width * k)
		for _, s := range l.steps {
			var to [3]point
			for i, q := range s.to {
				to[i] = point{x + q.x*k, y + q.y*k}
			}
			switch s.kind {
			case 'M':
				p.MoveTo(to[0].x, to[0].y)
			case 'L':
				p.LineTo(to[0].x, to[0].y)
			case 'C':
				p.CurveBezierCubicTo(to[0].x, to[0].y, to[1].x, to[1].y, to[2].x, to[2].y)
			case 'Z':
				p.ClosePath()
			}
		}
		p.DrawPath("D")
	}
}

// badge draws a pictogram in a filled circle.
func (p *page) badge(name string, x, y, side float64, ground, c colour) {
	p.disc(x, y, side, ground)
	p.pictogram(name, x+side*.22, y+side*.22, side*.56, c)
}

// number draws a step's number in a filled circle.
func (p *page) number(n int, x, y, side float64) {
	p.disc(x, y, side, green)
	size := side * .62 / pt
	p.text(fmt.Sprint(n), x, y+side/2-size*pt*.58, side, style{size: size, min: size, lines: 1, bold: true, colour: white, align: 'C'})
}

// layout has the measures of a poster: in mm for the paper, in points for texts.
type layout struct {
	width, height, margin, gap                                   float64
	centre, title, step, label, value, fact, desk, gesture, note float64
}

// codeSide is the minimum side of a QR code, as a fraction of the paper's width.
const codeSide = .3

// poster draws a sheet as a poster. If the codes would be too small, everything else is made smaller, in up to 8 rounds.
func (p *page) poster(s Sheet, l layout) {
	p.measuring = true
	for k := 0; k < 8 && p.compose(s, l) < codeSide*l.width; k++ {
		for _, size := range []*float64{&l.gap, &l.centre, &l.title, &l.label, &l.value, &l.fact, &l.desk, &l.gesture} {
			*size *= .95
		}
	}
	p.measuring = false
	p.compose(s, l)
}

// compose draws a poster, and returns the side of its codes. Head and foot take the height that they need, and the steps get the
// rest.
func (p *page) compose(s Sheet, l layout) (side float64) {
	x, y, width := l.margin, l.margin, l.width-2*l.margin

	icon := l.centre * pt * 1.7
	centre := style{size: l.centre, min: l.centre * .6, lines: 2, bold: true, colour: ink}
	nameWidth := width - icon - l.gap*.6
	name := p.height(s.Centre, nameWidth, centre)
	head := max(icon, name)
	p.pictogram("bridge", x, y+(head-icon)/2, icon, green)
	p.text(s.Centre, x+icon+l.gap*.6, y+(head-name)/2, nameWidth, centre)
	y += head + l.gap*.7
	y = p.text(s.Title, x, y, width, style{size: l.title, min: l.title / 2, lines: 1, bold: true, colour: green}) + l.gap*.7

	foot := l.height - l.margin
	if s.Fingerprint != "" {
		note := style{size: l.note, min: l.note, colour: soft}
		foot -= p.height(s.Certificate, width, note) + p.height(s.Fingerprint, width, note)
		p.text(s.Fingerprint, x, p.text(s.Certificate, x, foot, width, note), width, note)
		foot -= l.gap * .4
	}
	band := l.gesture * pt * 2.3
	foot -= band
	p.card(x, foot, width, band, band*.28, green)
	p.pictogram("hand", x+l.gap, foot+band*.2, band*.6, white)
	gesture := style{size: l.gesture, min: l.gesture / 2, lines: 1, bold: true, colour: white}
	left := l.gap*1.7 + band*.6
	p.text(s.Gesture, x+left, foot+(band-p.height(s.Gesture, width-left-l.gap, gesture))/2, width-left-l.gap, gesture)
	foot -= l.gap

	if len(s.Hours) > 0 {
		foot = p.hours(s, x, foot, width, l) - l.gap
	}
	foot = p.facts(s.Facts, x, foot, width, l) - l.gap
	return p.steps(s.Steps, x, y, width, foot-y, l)
}

// hours draws the desk's hours above bottom, and returns the y at which they begin. More than three lines are set in two columns, if
// they are narrow enough.
func (p *page) hours(s Sheet, x, bottom, width float64, l layout) float64 {
	icon := l.fact * pt * 2.3
	left := icon + l.gap*.7
	title := style{size: l.fact, min: l.fact, lines: 1, bold: true, colour: ink}
	p.font(false, l.desk)
	daysWidth, timesWidth := 0., 0.
	for _, d := range s.Hours {
		daysWidth = max(daysWidth, p.GetStringWidth(latin(d.Days))+l.gap)
		timesWidth = max(timesWidth, p.GetStringWidth(latin(d.Times))+l.gap*.7)
	}
	const smallest = .78
	columns, column := 1, width-left
	if len(s.Hours) > 3 && (daysWidth+timesWidth)*smallest <= column/2 {
		columns, column = 2, column/2
	}
	shrink := max(smallest, min(1, column/(daysWidth+timesWidth)))
	daysWidth = min(daysWidth*shrink, column/2)
	size := l.desk * shrink
	text := style{size: size, min: size * .8, lines: 1, colour: ink}
	days := text
	days.colour = soft
	rows := (len(s.Hours) + columns - 1) / columns
	row := size * pt * 1.35
	head := l.fact * pt * 1.35
	y := bottom - max(icon, head+float64(rows)*row)
	p.badge("clock", x, y, icon, tint, green)
	p.text(s.Desk, x+left, y, width-left, title)
	for i, d := range s.Hours {
		cx, cy := x+left+float64(i/rows)*column, y+head+float64(i%rows)*row
		p.text(d.Days, cx, cy, daysWidth-l.gap*.5, days)
		p.text(d.Times, cx+daysWidth, cy, column-daysWidth, text)
	}
	return y
}

// facts draws the facts about the box in two columns above bottom, and returns the y at which they begin.
func (p *page) facts(facts []web.Fact, x, bottom, width float64, l layout) float64 {
	icon := l.fact * pt * 2.9
	column := (width - l.gap) / 2
	st := style{size: l.fact, min: l.fact * .8, lines: 2, colour: ink}
	row := icon + l.gap*.55
	rows := (len(facts) + 1) / 2
	top := bottom - float64(rows)*row + l.gap*.55
	for i, f := range facts {
		fx, fy := x+float64(i%2)*(column+l.gap), top+float64(i/2)*row
		p.badge(f.Pictogram, fx, fy, icon, tint, green)
		textWidth := column - icon - l.gap*.6
		p.text(f.Text, fx+icon+l.gap*.6, fy+(icon-p.height(f.Text, textWidth, st))/2, textWidth, st)
	}
	return top
}

// steps draws the steps as cards side by side within a height. A card has the step's text, its code as large as space allows, and
// what to type. It returns the side of the codes.
func (p *page) steps(steps []Step, x, y, width, height float64, l layout) (side float64) {
	w := (width - l.gap) / 2
	if len(steps) == 1 {
		w = width * .6
	}
	x += (width - float64(len(steps))*w - float64(len(steps)-1)*l.gap) / 2 // a single card is centred
	pad := l.gap * .8
	inner := w - 2*pad
	number := l.step * pt * 1.9
	label := style{size: l.label, min: l.label * .8, lines: 1, colour: soft, align: 'C'}
	value := style{size: l.value, min: l.value * .46, lines: 1, bold: true, colour: ink, align: 'C'}
	text := style{size: l.step, min: l.step * .6, lines: 2, bold: true, colour: ink}

	typed := 0. // height of what to type, for the step that needs most
	for _, s := range steps {
		h := 0.
		for _, t := range s.Typed {
			h += p.height(t.Label, inner, label) + p.height(t.Value, inner, value) + pad*.4
		}
		typed = max(typed, h)
	}
	side = min(inner, height-2*pad-number-pad*.6-pad*.4-typed)
	used := 2*pad + number + pad + side + typed
	y += max(0, height-used) / 2
	for i, s := range steps {
		p.card(x, y, w, used, l.gap*.8, tint)
		p.number(i+1, x+pad, y+pad, number)
		textWidth := inner - number - pad*.6
		p.text(s.Text, x+pad+number+pad*.6, y+pad+(number-p.height(s.Text, textWidth, text))/2, textWidth, text)
		cy := y + pad + number + pad*.6
		p.code(s.Code, x+(w-side)/2, cy, side)
		cy += side + pad*.4
		for _, t := range s.Typed {
			cy = p.text(t.Label, x+pad, cy, inner, label)
			cy = p.text(t.Value, x+pad, cy, inner, value) + pad*.4
		}
		x += w + l.gap
	}
	return side
}

// Measures of the sheet of stickers, in mm. They are those of common label sheets, with two by four labels of 99.1 by 67.7 mm on A4.
// For plain paper, thin lines show where to cut.
const (
	stickerWidth, stickerHeight = 99.1, 67.7
	stickersLeft, stickersTop   = 4.65, 13.1
	stickersApart               = 101.6 // distance between left edges
)

// stickers draws six stickers with the codes, and two for a window.
func (p *page) stickers(s Sheet) {
	for i := range 8 {
		x, y := stickersLeft+float64(i%2)*stickersApart, stickersTop+float64(i/2)*stickerHeight
		if i < 6 {
			p.sticker(s, x, y)
		} else {
			p.window(s, x, y)
		}
		p.pen(rule)
		p.SetLineWidth(.15)
		p.RoundedRect(x, y, stickerWidth, stickerHeight, 3, "1234", "D")
	}
}

// sticker draws the steps on a label.
func (p *page) sticker(s Sheet, x, y float64) {
	const pad, gap, number = 5, 4, 6.2
	width := stickerWidth - 2*pad
	p.text(s.Title, x+pad, y+pad-.6, width*.62, style{size: 15, min: 8, lines: 1, bold: true, colour: green})
	centre := style{size: 8, min: 5.5, lines: 2, colour: soft, align: 'R'}
	p.text(s.Centre, x+pad+width*.66, y+pad-.2, width*.34, centre)
	w := (width - gap) / 2
	cx := x + pad + (width-float64(len(s.Steps))*w-float64(len(s.Steps)-1)*gap)/2
	label := style{size: 6.5, min: 5, lines: 1, colour: soft, align: 'C'}
	value := style{size: 11, min: 6, lines: 1, bold: true, colour: ink, align: 'C'}
	text := style{size: 8.5, min: 6, lines: 2, bold: true, colour: ink}
	typed := 0.
	for _, step := range s.Steps {
		h := 0.
		for _, t := range step.Typed {
			h += p.height(t.Label, w, label) + p.height(t.Value, w, value)
		}
		typed = max(typed, h)
	}
	top := y + pad + 7.6
	side := min(w-4, y+stickerHeight-pad+1-top-number-1-typed)
	for i, step := range s.Steps {
		p.number(i+1, cx, top, number)
		p.text(step.Text, cx+number+1.8, top+(number-p.height(step.Text, w-number-1.8, text))/2, w-number-1.8, text)
		cy := top + number + .5
		p.code(step.Code, cx+(w-side)/2, cy, side)
		cy += side
		for _, t := range step.Typed {
			cy = p.text(t.Label, cx, cy, w, label)
			cy = p.text(t.Value, cx, cy, w, value)
		}
		cx += w + gap
	}
}

// window draws a label with the poster's gesture for a window, to be seen from the street.
func (p *page) window(s Sheet, x, y float64) {
	const pad, hand, gap = 6, 32, 5
	p.card(x, y, stickerWidth, stickerHeight, 3, green)
	x += pad
	p.badge("hand", x, y+pad, hand, white, green)
	width := stickerWidth - 2*pad
	beside := width - hand - gap
	gesture := style{size: 25, min: 12, lines: 3, bold: true, colour: white}
	p.text(s.Gesture, x+hand+gap, y+pad+(hand-p.height(s.Gesture, beside, gesture))/2, beside, gesture)
	here := style{size: 11, min: 8, lines: 1, colour: white}
	centre := style{size: 11, min: 7, lines: 1, bold: true, colour: white}
	y += stickerHeight - pad - p.height(s.Here, width, here) - p.height(s.Centre, width, centre) - 1
	p.text(s.Centre, x, p.text(s.Here, x, y, width, here)+1, width, centre)
}
