package web

import "strconv"

// Lender is a lender's page: thanks with the amount given, the donation's state, its usage, and a form to lend less.
type Lender struct {
	Frame
	Given     []Amount // in this period or in total; empty if nothing was given
	Thanks    []string // what the amount is
	Note      []string // the result of the lender's last action; empty if there is none
	Warning   []string // says that most of the cap is used; empty if it is not
	Donation  string
	Doing     string // the title of the state
	Pictogram string // of the state
	Good      bool   // there is no problem
	Lines     []string
	Why       string   // in English, for the person who repairs the line; "" for none
	Paused    bool     // the button resumes
	Minor     bool     // the button is not the page's primary one
	Tomorrow  []string // when a pause until tomorrow would end; empty if there is no button for it

	Account string   // what Big is
	Big     []Amount // what is left of the cap, or the usage if there is no cap
	Parts   []Part   // of the cap; empty if there is none
	Terms   []string // what is lent, and when it resets

	Days   []LentDay // up to today, the oldest first; empty without usage
	Unused []string  // shown instead of Days
	Chart  Chart
	Pace   string // the daily budget, "" for none
	Most   string // the day of most use
	Begins string // below the chart: its first day
	Ends   string // below the chart: its last day

	Less   LessForm
	Figure *FigureForm // nil without a cap
}

// LessForm is the form by which a lender lowers the cap.
type LessForm struct {
	Size  string // as typed
	Wrong []string
	Now   string // words for this period alone; "" if it cannot be chosen
	Ever  bool   // the change is permanent
}

// FigureForm is the form by which a lender enters what the provider counted.
type FigureForm struct {
	Size  string // as typed
	Wrong []string
	Lines []string // what the box counted, and the difference so far
}

// Ending asks a lender to confirm that the loan ends for good.
type Ending struct {
	Frame
	Donation string
	Back     string // path of the lender's page
}

// Part is a part of a cap, in the bar and in the legend below it.
type Part struct {
	Kind     string // "left", "reserve", "granted", "kept", "withheld" or "used": its colour
	Label    string
	Bytes    uint64
	Size     string  // Bytes as text
	X, Width Percent // set by Place
}

// LentDay is a row of the chart's table.
type LentDay struct {
	Day   string
	Bytes uint64
}

// Chart is a bar chart with a reference line across it.
type Chart struct {
	Bars []Bar
	Line Percent // from the top; meaningless without a reference line
}

// Bar is a bar of a Chart.
type Bar struct{ X, Width, Y, Height Percent }

// Percent is a length in a drawing, relative to the drawing's size: the drawing scales with the page without distorting round shapes.
type Percent float64

// String formats it for SVG.
func (p Percent) String() string { return strconv.FormatFloat(float64(p), 'f', 2, 64) + "%" }

// visible is the least length of a part or a bar that is not empty.
const visible = Percent(1.5)

// Place lays out parts side by side, each as long as its share of the whole. Small parts are lengthened to be visible, and the
// longest is shortened by the excess.
func Place(whole uint64, parts []Part) []Part {
	var all Percent
	longest := 0
	for i := range parts {
		p := &parts[i]
		p.Width = extent(p.Bytes, whole)
		all += p.Width
		if p.Width > parts[longest].Width {
			longest = i
		}
	}
	var x Percent
	for i := range parts {
		p := &parts[i]
		if i == longest {
			p.Width -= min(max(all-100, 0), p.Width)
		}
		p.X = x
		x += p.Width
	}
	return parts
}

// NewChart returns a chart of values from the left, with space for room bars, and with its reference line at the value line; 0 means
// no line.
func NewChart(values []uint64, room int, line uint64) Chart {
	highest := line
	for _, v := range values {
		highest = max(highest, v)
	}
	step := 100 / Percent(max(room, 1))
	c := Chart{Line: 100 - extent(line, highest)}
	for i, v := range values {
		if height := extent(v, highest); height > 0 {
			c.Bars = append(c.Bars, Bar{X: step * (Percent(i) + 0.15), Width: step * 0.7, Y: 100 - height, Height: height})
		}
	}
	return c
}

// extent returns a part's drawn length.
func extent(part, whole uint64) Percent {
	if part == 0 || whole == 0 {
		return 0
	}
	return min(max(Percent(100*(float64(part)/float64(whole))), visible), 100)
}
