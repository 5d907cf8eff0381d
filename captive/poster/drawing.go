package poster

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// point is a position in a drawing, in its units: x to the right, y down.
type point struct{ x, y float64 }

func (p point) plus(q point) point { return point{p.x + q.x, p.y + q.y} }

// step is a command of a path. 'M' and 'L' have one point, 'C' has the three points of a cubic Bézier curve, and 'Z', which closes
// the path, has none.
type step struct {
	kind byte
	to   []point
}

// line is a path that is stroked, not filled.
type line struct {
	steps []step
	width float64 // stroke width; 0 for the drawing's default
}

// parseDrawing parses a pictogram's SVG into lines on its grid of 24 by 24. It supports what pictograms consist of: the elements
// path, circle, rect and line, the attributes stroke-width and transform="translate(X Y)", and every command of paths
// (SVG 1.1, 8.3). Anything else is an error, so that no pictogram is drawn only in part.
func parseDrawing(svg string) ([]line, error) {
	var lines []line
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		if err != nil {
			return nil, err
		}
		e, ok := token.(xml.StartElement)
		if !ok || e.Name.Local == "svg" {
			continue
		}
		l, err := parseElement(e)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name.Local, err)
		}
		lines = append(lines, l)
	}
}

func parseElement(e xml.StartElement) (l line, err error) {
	n := make(map[string]float64)
	var path string
	var shift point
	for _, a := range e.Attr {
		switch name := a.Name.Local; name {
		case "d":
			path = a.Value
		case "transform":
			inner, ok := strings.CutPrefix(a.Value, "translate(")
			s := numbers{strings.TrimSuffix(inner, ")")}
			shift = point{s.next(), s.next()}
			if !ok || s.rest != "" {
				return line{}, fmt.Errorf("unknown transform %q", a.Value)
			}
		case "cx", "cy", "r", "x", "y", "width", "height", "rx", "x1", "y1", "x2", "y2", "stroke-width":
			if n[name], err = strconv.ParseFloat(a.Value, 64); err != nil {
				return line{}, err
			}
		default:
			return line{}, fmt.Errorf("unknown attribute %s", name)
		}
	}
	// Shapes are converted to the paths that define them in SVG 1.1 (9.2 to 9.5).
	switch e.Name.Local {
	case "path":
	case "circle":
		path = fmt.Sprintf("M%g %ga%g %[3]g 0 0 1 %[4]g 0a%[3]g %[3]g 0 0 1 %[5]g 0z", n["cx"]-n["r"], n["cy"], n["r"], 2*n["r"], -2*n["r"])
	case "rect":
		w, h, r := n["width"]-2*n["rx"], n["height"]-2*n["rx"], n["rx"]
		path = fmt.Sprintf("M%g %gh%ga%[4]g %[4]g 0 0 1 %[4]g %[4]gv%[5]ga%[4]g %[4]g 0 0 1 %[6]g %[4]gh%[7]ga%[4]g %[4]g 0 0 1 %[6]g %[6]gv%[8]ga%[4]g %[4]g 0 0 1 %[4]g %[6]gz",
			n["x"]+r, n["y"], w, r, h, -r, -w, -h)
	case "line":
		path = fmt.Sprintf("M%g %gL%g %g", n["x1"], n["y1"], n["x2"], n["y2"])
	default:
		return line{}, errors.New("unknown element")
	}
	l.width = n["stroke-width"]
	if l.steps, err = parsePath(path); err != nil {
		return line{}, fmt.Errorf("%q: %w", path, err)
	}
	for _, s := range l.steps {
		for i := range s.to {
			s.to[i] = s.to[i].plus(shift)
		}
	}
	return l, nil
}

// numbers reads numbers as paths write them: "4.5.2-7" is 4.5, 0.2 and -7. If no number comes next, it returns NaN.
type numbers struct{ rest string }

// ahead skips separators, and reports whether a number comes next.
func (n *numbers) ahead() bool {
	n.rest = strings.TrimLeft(n.rest, " ,\t\r\n")
	return n.rest != "" && strings.IndexByte("+-.0123456789", n.rest[0]) >= 0
}

func (n *numbers) next() float64 {
	if !n.ahead() {
		return math.NaN()
	}
	end, dot, exponent := 0, false, false
	for ; end < len(n.rest); end++ {
		switch c := n.rest[end]; {
		case c >= '0' && c <= '9':
			continue
		case c == '.' && !dot && !exponent:
			dot = true
			continue
		case c == 'e' && !exponent:
			exponent = true
			continue
		case (c == '+' || c == '-') && (end == 0 || n.rest[end-1] == 'e'):
			continue
		}
		break
	}
	f, err := strconv.ParseFloat(n.rest[:end], 64)
	n.rest = n.rest[end:]
	if err != nil {
		return math.NaN()
	}
	return f
}

// flag reads a flag of an arc. It is one digit, and the next number may follow without a separator.
func (n *numbers) flag() bool {
	if !n.ahead() {
		return false
	}
	set := n.rest[0] == '1'
	n.rest = n.rest[1:]
	return set
}

// parsePath parses a path's data, and converts every command to lines and cubic curves in absolute coordinates.
func parsePath(data string) (steps []step, err error) {
	in := numbers{data}
	var at, start, control point // control is the last control point of the previous curve, for smooth curves
	var command, before byte
	for {
		if !in.ahead() {
			if in.rest == "" {
				return steps, nil
			}
			command, in.rest = in.rest[0], in.rest[1:]
		} else if command == 'M' || command == 'm' {
			command-- // further points after a move are lines: 'L' and 'l' precede 'M' and 'm' in ASCII
		} else if command == 0 || command == 'Z' || command == 'z' {
			return nil, errors.New("a number without a command")
		}
		upper, origin := command&^0x20, point{}
		if command != upper {
			origin = at
		}
		next := func() point {
			x := in.next()
			return point{x, in.next()}.plus(origin)
		}
		mirrored := func(after string) point { // the mirror image of control, if the previous command is one of after
			if strings.IndexByte(after, before) < 0 {
				return at
			}
			return point{2*at.x - control.x, 2*at.y - control.y}
		}
		var to []point
		kind := byte('C')
		switch upper {
		case 'M', 'L':
			kind, to = upper, []point{next()}
		case 'H':
			kind, to = 'L', []point{{in.next() + origin.x, at.y}}
		case 'V':
			kind, to = 'L', []point{{at.x, in.next() + origin.y}}
		case 'C':
			to = []point{next(), next(), next()}
			control = to[1]
		case 'S':
			to = []point{mirrored("CS"), next(), next()}
			control = to[1]
		case 'Q':
			control = next()
			to = quadratic(at, control, next())
		case 'T':
			control = mirrored("QT")
			to = quadratic(at, control, next())
		case 'A':
			rx, ry, angle := in.next(), in.next(), in.next()
			large, sweep := in.flag(), in.flag()
			to = arc(at, next(), math.Abs(rx), math.Abs(ry), angle*math.Pi/180, large, sweep)
		case 'Z':
			kind, at = 'Z', start
		default:
			return nil, fmt.Errorf("unknown command %q", command)
		}
		for _, p := range to {
			if math.IsNaN(p.x-p.x) || math.IsNaN(p.y-p.y) { // true for NaN and for infinity
				return nil, fmt.Errorf("command %q lacks numbers", command)
			}
		}
		if kind == 'C' {
			for ; len(to) > 3; to = to[3:] {
				steps = append(steps, step{'C', to[:3:3]})
			}
		}
		steps = append(steps, step{kind, to})
		if len(to) > 0 {
			at = to[len(to)-1]
		}
		if kind == 'M' {
			start = at
		}
		before = upper
	}
}

// quadratic returns a quadratic Bézier curve as a cubic one.
func quadratic(from, control, to point) []point {
	third := func(p point) point { return point{p.x + (control.x-p.x)*2/3, p.y + (control.y-p.y)*2/3} }
	return []point{third(from), third(to), to}
}

// arc approximates an elliptical arc by cubic Bézier curves, each of at most a quarter turn (SVG 1.1, F.6.5 and F.6.6).
func arc(from, to point, rx, ry, turn float64, large, sweep bool) (curves []point) {
	if from == to || rx == 0 || ry == 0 {
		return []point{from, to, to}
	}
	sin, cos := math.Sincos(turn)
	half := point{(from.x - to.x) / 2, (from.y - to.y) / 2}
	p := point{(cos*half.x + sin*half.y) / rx, (cos*half.y - sin*half.x) / ry} // mapped to the unit circle
	if d := math.Hypot(p.x, p.y); d > 1 {                                      // the radii are too small: scale them up as needed
		rx, ry, p = rx*d, ry*d, point{p.x / d, p.y / d}
	}
	d := p.x*p.x + p.y*p.y
	k := math.Sqrt(max(0, 1-d) / d)
	if large == sweep {
		k = -k
	}
	centre := point{k * p.y, -k * p.x}
	start := math.Atan2(p.y-centre.y, p.x-centre.x)
	angle := math.Atan2(-p.y-centre.y, -p.x-centre.x) - start
	switch {
	case sweep && angle < 0:
		angle += 2 * math.Pi
	case !sweep && angle > 0:
		angle -= 2 * math.Pi
	}
	if math.IsNaN(angle) {
		return []point{from, to, to} // the numbers are too large to compute with
	}
	place := func(q point) point { // maps from the unit circle to the ellipse
		x, y := rx*(q.x+centre.x), ry*(q.y+centre.y)
		return point{cos*x - sin*y + (from.x+to.x)/2, sin*x + cos*y + (from.y+to.y)/2}
	}
	n := max(1, math.Ceil(math.Abs(angle)/(math.Pi/2)-1e-9)) // at least one, even if the angle rounds to 0 with a huge radius
	part := angle / n
	reach := 4. / 3 * math.Tan(part/4)
	for i := range int(n) {
		s0, c0 := math.Sincos(start + float64(i)*part)
		s1, c1 := math.Sincos(start + float64(i+1)*part)
		curves = append(curves, place(point{c0 - reach*s0, s0 + reach*c0}), place(point{c1 + reach*s1, s1 - reach*c1}), place(point{c1, s1}))
	}
	curves[len(curves)-1] = to
	return curves
}
