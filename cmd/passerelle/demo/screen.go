package demo

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// screen is the demo's output: a terminal, whose bars are redrawn in place, or a file, to which a line is written from time to time.
type screen struct {
	out     io.Writer
	broken  func() // called when a write fails
	fd      int    // of the terminal, -1 for a file
	colours bool

	drawn int       // lines at the end of the terminal that the next drawing replaces
	last  time.Time // of the last drawing
}

// redrawEvery is the interval of drawings on a terminal.
const redrawEvery = 200 * time.Millisecond

func newScreen(out io.Writer, broken func()) *screen {
	s := &screen{out: out, broken: broken, fd: -1}
	if f, ok := out.(*os.File); ok && isTerminal(f) && os.Getenv("TERM") != "dumb" {
		s.fd = int(f.Fd())
	}
	s.colours = s.fd >= 0 && os.Getenv("NO_COLOR") == "" // https://no-color.org
	return s
}

// isTerminal tells whether a file is a terminal; nil is not.
func isTerminal(f *os.File) bool {
	if f == nil {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

func (s *screen) bold(text string) string  { return s.paint("1", text) }
func (s *screen) green(text string) string { return s.paint("32", text) }
func (s *screen) red(text string) string   { return s.paint("31", text) }

func (s *screen) paint(code, text string) string {
	if !s.colours {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *screen) write(text string) {
	if _, err := io.WriteString(s.out, text); err != nil {
		s.broken()
	}
}

// say writes a paragraph.
func (s *screen) say(format string, args ...any) {
	s.drawn = 0
	s.write(strings.TrimRight(fmt.Sprintf(format, args...), "\n") + "\n\n")
}

func (s *screen) title(number int, text string) {
	s.write(s.bold(fmt.Sprintf("%2d  %s", number, text)) + "\n")
}

// outcome writes what a step checked, one item on each line, and its error.
func (s *screen) outcome(seen string, err error) {
	s.drawn, s.last = 0, time.Time{}
	for line := range strings.Lines(seen) {
		s.write("  " + s.green("✓") + " " + strings.TrimSuffix(line, "\n") + "\n")
	}
	if err != nil {
		s.write("  " + s.red("✗") + " " + strings.ReplaceAll(err.Error(), "\n", "\n    ") + "\n")
	}
	s.write("\n")
}

// bar is a whole with its parts from the left.
type bar struct {
	label string
	parts []part
	says  string // text to its right
}

// part is a part of a bar, drawn with a character in a colour.
type part struct {
	of     float64 // the whole
	glyph  string
	colour string
}

const (
	solid = "█" // its last character is drawn in eighths
	blank = "░" // the rest of the whole
	dim   = "2" // its colour
)

// rateBar shows a rate as a part of its maximum, both in bit/s.
func rateBar(label string, rate, full float64) bar {
	return bar{label, []part{{rate / full, solid, "36"}}, megabits(rate)}
}

// draw replaces the last drawn bars by these, below a line of text if there is one. They stay when something else is written. To a file
// it writes one line, if the last one is old enough.
func (s *screen) draw(head string, every time.Duration, bars ...bar) {
	if s.fd >= 0 {
		every = redrawEvery
	}
	if time.Since(s.last) < every {
		return
	}
	s.last = time.Now()
	if s.fd < 0 {
		parts := make([]string, 0, len(bars)+1)
		if head != "" {
			parts = append(parts, head)
		}
		for _, b := range bars {
			parts = append(parts, b.label+" "+b.says)
		}
		s.write("    " + strings.Join(parts, ", ") + "\n")
		return
	}
	var text strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&text, "\x1b[%dA", s.drawn) // cursor up
	}
	rows := 0
	line := func(t string) {
		text.WriteString("\r\x1b[2K    " + t + "\n")
		rows++
	}
	if head != "" {
		line(head)
	}
	label := 0
	for _, b := range bars {
		label = max(label, len([]rune(b.label)))
	}
	for _, b := range bars {
		pad := strings.Repeat(" ", label-len([]rune(b.label)))
		line(b.label + pad + "  " + s.strip(b.parts, s.barWidth(label)) + "  " + b.says)
	}
	s.drawn = rows
	s.write(text.String())
}

// barWidth returns how many characters are left for a bar next to its label, so that no line wraps.
func (s *screen) barWidth(label int) int {
	const most, least, beside = 50, 4, 24
	columns := 80
	if size, err := unix.IoctlGetWinsize(s.fd, unix.TIOCGWINSZ); err == nil && size.Col > 0 {
		columns = int(size.Col)
	}
	return min(max(columns-label-beside, least), most)
}

// strip draws the parts of a whole. A solid last part ends at an eighth of a character.
func (s *screen) strip(parts []part, width int) string {
	var b strings.Builder
	end, drawn := 0.0, 0
	for i, p := range parts {
		end = min(end+max(p.of, 0), 1)
		eighths := int(end*float64(width)*8 + 0.5)
		to, rest := (eighths+4)/8, 0
		if p.glyph == solid && i == len(parts)-1 {
			to, rest = eighths/8, eighths%8
		}
		text := strings.Repeat(p.glyph, to-drawn)
		if drawn = to; rest > 0 {
			text += string([]rune(" ▏▎▍▌▋▊▉")[rest])
			drawn++
		}
		b.WriteString(s.paint(p.colour, text))
	}
	return b.String() + s.paint(dim, strings.Repeat(blank, width-drawn))
}

// megabits formats a rate in bit/s.
func megabits(rate float64) string { return fmt.Sprintf("%.1f Mbit/s", rate/1e6) }

// megabytes formats a size in bytes.
func megabytes(n uint64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// formatDuration formats a duration.
func formatDuration(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimRight("    "+line, " \n") + "\n")
	}
	return b.String()
}

func lastLines(text string, n int) string {
	all := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	return strings.Join(all[max(len(all)-n, 0):], "") + "\n"
}
