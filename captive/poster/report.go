package poster

import (
	"fmt"
	"io"

	"codeberg.org/go-pdf/fpdf"
)

// Report is a sheet with figures to put up or to send: what a loan gave in a month, or a centre in a year.
type Report struct {
	Language string // one that [InPDF] allows
	Centre   string
	Title    string
	Subject  string // the donation that it is about; "" for the centre
	Figures  []Figure
	Columns  []string // columns of the table; none for no table
	Rows     [][]string
	Notes    []string // what the figures mean
	Thanks   string
}

// Figure is a number in large type, with a text that says what it is.
type Figure struct {
	Pictogram string
	Number    string
	Text      string
}

// ReportPDF writes a report as one page of A4. If the table does not fit, or [InPDF] does not allow the language, it returns an error
// and writes nothing.
func ReportPDF(w io.Writer, r Report) error {
	if !InPDF(r.Language) {
		return fmt.Errorf("a PDF in %q: its letters are not in the fonts; print the page of the box instead", r.Language)
	}
	p := &page{Fpdf: fpdf.New("P", "mm", "A4", "")}
	p.SetAutoPageBreak(false, 0)
	p.SetMargins(0, 0, 0)
	p.SetLineCapStyle("round")
	p.SetLineJoinStyle("round")
	p.SetTitle(r.Title+" – "+r.Centre, true)
	p.SetLang(r.Language)
	p.AddPage()
	if err := p.report(r); err != nil {
		return err
	}
	return p.Output(w)
}

// report draws a report from the top of the page down, and its thanks at the foot.
func (p *page) report(r Report) error {
	const (
		left, width = 18., 174.
		foot        = 279.
		icon        = 15.
		gap         = 6.
	)
	y := 18.
	p.pictogram("bridge", left, y, 10, green)
	p.text(r.Centre, left+14, y+1, width-14, style{size: 20, min: 11, lines: 1, bold: true, colour: ink})
	y = p.text(r.Title, left, y+16, width, style{size: 34, min: 20, lines: 2, bold: true, colour: green}) + 2
	if r.Subject != "" {
		y = p.text(r.Subject, left, y, width, style{size: 19, min: 11, lines: 2, colour: soft}) + 2
	}
	y += gap
	for _, f := range r.Figures {
		number := style{size: 27, min: 16, lines: 1, bold: true, colour: ink}
		text := style{size: 14, min: 11, lines: 3, colour: soft}
		inner := width - icon - 3*gap
		height := max(icon, p.height(f.Number, inner, number)+p.height(f.Text, inner, text)) + gap
		p.card(left, y, width, height, 4, tint)
		p.badge(f.Pictogram, left+gap, y+(height-icon)/2, icon, white, green)
		at := p.text(f.Number, left+icon+2*gap, y+gap/2, inner, number)
		p.text(f.Text, left+icon+2*gap, at, inner, text)
		y += height + gap*.6
	}
	band := 18.
	end := foot - band - gap
	note := style{size: 10.5, min: 8, lines: 3, colour: soft}
	for _, n := range r.Notes {
		end -= p.height(n, width, note) + 1
	}
	if len(r.Columns) > 0 {
		y = p.table(r, left, y+gap*.6, width, end)
		if y > end {
			return fmt.Errorf("a table of %d rows does not fit on a page", len(r.Rows))
		}
	}
	at := end
	for _, n := range r.Notes {
		at = p.text(n, left, at, width, note) + 1
	}
	p.card(left, foot-band, width, band, 5, green)
	p.pictogram("hand", left+gap, foot-band+4, 10, white)
	thanks := style{size: 19, min: 11, lines: 1, bold: true, colour: white}
	p.text(r.Thanks, left+22, foot-band+(band-p.height(r.Thanks, width-28, thanks))/2, width-28, thanks)
	return nil
}

// table draws a table of equal columns, except that the first one is twice as wide, and returns the y at which it ends. Rows get
// smaller to fit. If that would make them too small, nothing is drawn, and the result is beyond end.
func (p *page) table(r Report, x, y, width, end float64) float64 {
	row := min(8, (end-y)/float64(len(r.Rows)+1))
	if row < 4.2 {
		return y + 4.2*float64(len(r.Rows)+1)
	}
	column := width / float64(len(r.Columns)+1)
	size := row * .62 / pt
	draw := func(cells []string, bold bool, c colour) {
		at := x
		for i, cell := range cells {
			w, align := column, byte('R')
			if i == 0 {
				w, align = 2*column, 0
			}
			p.text(cell, at, y+row*.12, w-2, style{size: min(size, 11.5), min: 6, lines: 1, bold: bold, colour: c, align: align})
			at += w
		}
		y += row
		p.pen(rule)
		p.SetLineWidth(.2)
		p.Line(x, y, x+width, y)
	}
	draw(r.Columns, true, ink)
	for _, cells := range r.Rows {
		draw(cells, false, ink)
	}
	return y
}
