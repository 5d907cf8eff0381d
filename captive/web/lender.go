package web

import "strconv"

// Lender is a lender's page: thanks and the figure, what the donation does, its usage, and how to lend less of it.
type Lender struct {
	Frame
	Given     []Amount // in this period, or in all; none if nothing was
	Thanks    []string // what that is
	Note      []string // what was just done; none for nothing
	Warning   []string // most of the cap is used; none if it is not
	Donation  string
	Doing     string // the title of the state
	Pictogram string // of the state
	Good      bool   // there is no problem
	Lines     []string
	Why       string   // in English, for the person who repairs the line; "" for none
	Paused    bool     // the button resumes
	Minor     bool     // the button is not the page's primary one
	Tomorrow  []string // when a pause until tomorrow would end; none if there is no button for it

	Account string   // what Big is
	Big     []Amount // what is left of the cap, or the usage without one
	Parts   []Part   // of the cap; none without one
	Terms   []string // what is lent, and when it resets

	Days   []LentDay // up to today, the oldest first; none without usage
	Unused []string  // shown instead of Days
	Chart  Chart
	Pace   string // the daily budget, "" for none
	Most   string // the day of most use
	Begins string // below the chart: its first day
	Ends   string // its last

	Less   LessForm
	Figure *FigureForm // nil without a cap
}

// LessForm is the form by which a lender lowers the cap.
type LessForm struct {
	Size  string // as typed
	Wrong []string
	Now   string // words for this period alone; "" if it cannot be chosen
	Ever  bool   // the choice is for good
}

// FigureForm is the form by which a lender tells what the provider counted.
type FigureForm struct {
	Size  string // as typed
	Wrong []string
	Lines []string // what the box counted, and the difference so far
}

// Ending asks whether a lender's loan is to be stopped for good.
type Ending struct {
	Frame
	Donation string
	Back     string // path of the lender's page
}

// Part is a part of a cap: of the bar, and of the legend below it.
type Part struct {
	Kind     string // "left", "reserve", "granted", "kept", "withheld" or "used": its colour
	Label    string
	Bytes    uint64
	Size     string  // as it is written
	X, Width Percent // see Place
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

// Percent is a length in a drawing, so that it scales with the page without distorting round shapes.
type Percent float64

// String formats it for SVG.
func (p Percent) String() string { return strconv.FormatFloat(float64(p), 'f', 2, 64) + "%" }

// visible is the least length of a part or a bar that is not empty.
const visible = Percent(1.5)

// Place draws parts side by side, each as long as its share of the whole. Small parts are drawn longer to be visible, and
// the longest is drawn shorter by that.
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

// NewChart draws values from the left, with room for so many, and the reference line at one value; 0 for no line.
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

// extent is a part's drawn length.
func extent(part, whole uint64) Percent {
	if part == 0 || whole == 0 {
		return 0
	}
	return min(max(Percent(100*(float64(part)/float64(whole))), visible), 100)
}
