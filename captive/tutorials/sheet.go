package tutorials

import (
	"html/template"
	"regexp"
	"strings"
	"unicode/utf8"
)

// A lesson of three to eight steps is printed on two pages of A4: up to four steps on the first page, and the other steps, the
// questions and lines for notes on the second. The drawings and the lines fill the space that the text leaves, by these estimates in
// millimetres. A style sheet cannot know how much space is left, and a page must not have styles of its own.
const (
	sheetHeight  = 268. // the printable height, less a margin for errors of the estimates
	sheetTop     = 20.  // the centre's name, and the facts below the summary
	sheetCode    = 42.  // the least height of the top, which has the QR code beside it
	sheetContact = 52.  // the centre's card and the address
	stepExtra    = 12.  // around a step's heading, drawing and text
	ruleHeight   = 8.2
	lineHeight   = 4.9
	headHeight   = 5.4
	stepLine     = 42 // characters per line in a step, in a wide font
	headLine     = 28
	sheetLine    = 92

	fewRules, mostRules = 2, 15
	cautious            = 30. // the estimates of a long text are too high by at least this much, so that fewRules still fit
)

// drawingWidths are the widths of the styles w0 to w5, in millimetres. Drawings are 320 wide to 200 high.
var drawingWidths = [...]float64{30, 38, 46, 54, 62, 70}

// sheet is how a lesson is printed: a style for each step, and the number of lines for notes.
type sheet struct {
	styles []string
	rules  int
	whole  bool // all steps are on the first page, so what follows them begins the second page
}

// newSheet plans the pages of a lesson.
func newSheet(p *lessonPage) sheet {
	s := sheet{styles: make([]string, len(p.Steps)), rules: 5}
	width := func(from, to, index int) {
		for i := from; i < to; i++ {
			s.styles[i] = "w" + string(rune('0'+index))
		}
	}
	n := len(p.Steps)
	if n < 3 || n > 8 { // flows from page to page
		width(0, n, 2)
		return s
	}
	first := min(n, 4)
	s.whole = n == first
	top := sheetTop + headHeight*2*lines(p.Name, headLine) + lineHeight*1.3*lines(p.Summary, 60)
	for _, h := range p.Intro {
		top += textHeight(h, sheetLine)
	}
	width(0, first, widest(p.Steps[:first], sheetHeight-max(top, sheetCode)))

	room := sheetHeight - sheetContact - 12 // 12: the heading of the notes
	if len(p.Questions) > 0 {
		room -= 14
	}
	for _, q := range p.Questions {
		room -= 2.5 + lineHeight*1.1*lines(q.Ask, sheetLine)
	}
	if p.Help != "" {
		room -= 12 + lineHeight*1.1*lines(p.Help, sheetLine)
	}
	rest := p.Steps[first:]
	index := min(widest(rest, room-fewRules*ruleHeight), 3)
	width(first, n, index)
	left := room - height(rest, index)
	few := min(max(int((left+cautious)/ruleHeight), 0), fewRules)
	s.rules = min(max(int(left/ruleHeight), few), mostRules)
	if n > first {
		s.styles[first] += " turn-over"
	}
	return s
}

// widest returns the index of the widest drawings with which the steps fit into a height.
func widest(steps []step, room float64) int {
	for i := len(drawingWidths) - 1; i > 0; i-- {
		if height(steps, i) <= room {
			return i
		}
	}
	return 0
}

// height returns the height of steps, two in a row, with drawings of the width with that index.
func height(steps []step, index int) (all float64) {
	for i := 0; i < len(steps); i += 2 {
		row := 0.
		for _, s := range steps[i:min(i+2, len(steps))] {
			row = max(row, headHeight*lines(s.Heading, headLine)+textHeight(s.Text, stepLine))
		}
		all += row + stepExtra + drawingWidths[index]*200/320
	}
	return all
}

// Tags that end a line, and any tags.
var (
	lineEnd = regexp.MustCompile(`<br[^>]*>|</p>|</li>|</tr>`)
	anyTag  = regexp.MustCompile(`<[^>]*>`)
)

// textHeight returns the height of a text with that many characters per line.
func textHeight(h template.HTML, line int) (all float64) {
	for _, text := range lineEnd.Split(string(h), -1) {
		if text = strings.TrimSpace(anyTag.ReplaceAllString(text, "")); text != "" {
			all += lineHeight * lines(text, line)
		}
	}
	return all + 1 + 2*float64(strings.Count(string(h), "<li>"))
}

// lines returns how many lines a text takes, with that many characters per line.
func lines(text string, line int) float64 {
	return float64((utf8.RuneCountInString(text) + line - 1) / line)
}
