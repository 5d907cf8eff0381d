package lessons

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"html/template"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Drawings are embedded in pages, so that they share the kit's symbols and the page's colours. A drawing is parsed by the grammar below
// and written again from the result, so it cannot contain the scripts, styles and links that an SVG file may have.

const (
	svgNamespace = "http://www.w3.org/2000/svg"
	maxDrawing   = 16 << 10 // bytes of an embedded drawing
	maxNesting   = 8        // nested elements

	classNames = "line|thin|ink|paper|screen|mute|touch|skin|skin2|skin3|skin4|dark|good|bad|calm" // see KIT.md for their meaning
)

// The allowed attributes of a shape, and their syntax.
var (
	identifier = regexp.MustCompile(`^[a-z-]+$`)
	number     = regexp.MustCompile(`^-?[0-9.]{1,12}$`)
	numbers    = regexp.MustCompile(`^[-0-9., ]*$`)
	box        = regexp.MustCompile(`^0 0 [0-9]{1,4} [0-9]{1,4}$`)
	pathData   = regexp.MustCompile(`^[MmLlHhVvCcSsQqTtAaZz0-9,. \n-]*$`)
	transform  = regexp.MustCompile(`^((translate|scale|rotate)\([-0-9., ]*\) ?)*$`)
	reference  = regexp.MustCompile(`^#[a-z-]+$`)
	classes    = regexp.MustCompile(`^(line )?(` + classNames + `)$`)
)

var shapes = map[string]map[string]*regexp.Regexp{
	"g":        {},
	"path":     {"d": pathData, "stroke-dasharray": numbers},
	"rect":     {"x": number, "y": number, "width": number, "height": number, "rx": number, "ry": number},
	"circle":   {"cx": number, "cy": number, "r": number},
	"ellipse":  {"cx": number, "cy": number, "rx": number, "ry": number},
	"line":     {"x1": number, "y1": number, "x2": number, "y2": number},
	"polyline": {"points": numbers},
	"polygon":  {"points": numbers},
	"use":      {"href": reference, "x": number, "y": number, "width": number, "height": number},
}

// symbol is a drawing without its svg element: one of the kit's, or the content of a whole drawing.
type symbol struct {
	viewBox string // always "0 0 WIDTH HEIGHT"
	body    string
	uses    []string // the symbols that it uses, in order, each once
}

// kit is a set of symbols to draw with.
type kit struct {
	symbols map[string]symbol
	order   []string
}

var ownKit = sync.OnceValue(func() kit {
	b, err := ownFiles.ReadFile("kit.svg")
	var k kit
	if err == nil {
		k, err = readKit(b)
	}
	if err != nil {
		panic(fmt.Errorf("read the drawing kit: %w", err)) // it is embedded in the program
	}
	return k
})

// readKit reads an SVG file of symbols.
func readKit(b []byte) (kit, error) {
	k := kit{symbols: make(map[string]symbol)}
	d := xml.NewDecoder(bytes.NewReader(b))
	if _, err := startOf(d, "svg", nil); err != nil {
		return kit{}, err
	}
	for {
		attrs, err := startOf(d, "symbol", map[string]*regexp.Regexp{"id": identifier, "viewBox": box})
		if errors.Is(err, errEnd) {
			break
		}
		if err != nil {
			return kit{}, err
		}
		s := symbol{viewBox: attrs["viewBox"]}
		if err := s.read(d); err != nil {
			return kit{}, fmt.Errorf("symbol %q: %w", attrs["id"], err)
		}
		k.symbols[attrs["id"]] = s
		k.order = append(k.order, attrs["id"])
	}
	for id, s := range k.symbols {
		if err := k.check(s); err != nil {
			return kit{}, fmt.Errorf("symbol %q: %w", id, err)
		}
	}
	return k, nil
}

// check returns an error if a symbol uses one that does not exist.
func (k kit) check(s symbol) error {
	for _, id := range s.uses {
		if _, ok := k.symbols[id]; !ok {
			return fmt.Errorf("there is no symbol %q in the kit", id)
		}
	}
	return nil
}

// draw parses a drawing, which may use the kit.
func (k kit) draw(b []byte) (symbol, error) {
	if len(b) > maxDrawing {
		return symbol{}, fmt.Errorf("%d bytes are more than the %d of a drawing", len(b), maxDrawing)
	}
	d := xml.NewDecoder(bytes.NewReader(bytes.TrimSpace(b)))
	attrs, err := startOf(d, "svg", map[string]*regexp.Regexp{"viewBox": box})
	if err != nil {
		return symbol{}, err
	}
	s := symbol{viewBox: attrs["viewBox"]}
	if s.viewBox == "" {
		return symbol{}, errors.New("a drawing needs a viewBox")
	}
	if err := s.read(d); err != nil {
		return symbol{}, err
	}
	if _, err := d.Token(); err != io.EOF {
		return symbol{}, errors.New("unexpected content after the drawing")
	}
	return s, k.check(s)
}

// errEnd says that the end of the parent was found in place of an element.
var errEnd = errors.New("unexpected end of an element")

// startOf reads the start of an element, which may have only these attributes.
func startOf(d *xml.Decoder, name string, allowed map[string]*regexp.Regexp) (attrs map[string]string, err error) {
	for {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		switch token := token.(type) {
		case xml.CharData:
			if len(bytes.TrimSpace(token)) == 0 {
				continue
			}
		case xml.StartElement:
			if token.Name.Local != name || token.Name.Space != svgNamespace {
				return nil, fmt.Errorf("<%s> instead of <%s>", token.Name.Local, name)
			}
			return attributes(token, allowed)
		case xml.EndElement:
			return nil, errEnd
		}
		return nil, fmt.Errorf("unexpected content before <%s>", name)
	}
}

// attributes checks an element's attributes, and returns them without the declaration of the namespace.
func attributes(e xml.StartElement, allowed map[string]*regexp.Regexp) (map[string]string, error) {
	attrs := make(map[string]string, len(e.Attr))
	for _, a := range e.Attr {
		if a.Name.Space == "" && a.Name.Local == "xmlns" && a.Value == svgNamespace {
			continue
		}
		form := allowed[a.Name.Local]
		if a.Name.Space != "" || form == nil {
			return nil, fmt.Errorf("<%s> must not have %s", e.Name.Local, a.Name.Local)
		}
		if !form.MatchString(a.Value) {
			return nil, fmt.Errorf("<%s>: %s=%q is not allowed", e.Name.Local, a.Name.Local, a.Value)
		}
		attrs[a.Name.Local] = a.Value
	}
	return attrs, nil
}

// read parses shapes up to the end of their parent, and sets the symbol's body and uses from the result.
func (s *symbol) read(d *xml.Decoder) error {
	var b strings.Builder
	var inside []string
	for {
		token, err := d.Token()
		if err != nil {
			return err
		}
		switch token := token.(type) {
		case xml.CharData:
			if len(bytes.TrimSpace(token)) > 0 {
				return errors.New("a drawing must not have text")
			}
		case xml.StartElement:
			own, ok := shapes[token.Name.Local]
			if !ok || token.Name.Space != svgNamespace {
				return fmt.Errorf("<%s> is not allowed in a drawing", token.Name.Local)
			}
			allowed := map[string]*regexp.Regexp{"class": classes, "transform": transform}
			maps.Copy(allowed, own)
			attrs, err := attributes(token, allowed)
			if err != nil {
				return err
			}
			if len(inside) == maxNesting || len(inside) > 0 && inside[len(inside)-1] != "g" {
				return fmt.Errorf("<%s> is nested too deep, or in another element than <g>", token.Name.Local)
			}
			inside = append(inside, token.Name.Local)
			b.WriteString("<" + token.Name.Local)
			for _, name := range slices.Sorted(maps.Keys(attrs)) {
				fmt.Fprintf(&b, ` %s="%s"`, name, attrs[name])
			}
			if token.Name.Local != "g" {
				b.WriteString("/")
			}
			b.WriteString(">")
			if id := strings.TrimPrefix(attrs["href"], "#"); id != "" && !slices.Contains(s.uses, id) {
				s.uses = append(s.uses, id)
			}
		case xml.EndElement:
			if len(inside) == 0 {
				s.body = strings.ReplaceAll(b.String(), "\n", " ")
				return nil
			}
			if token.Name.Local == "g" {
				b.WriteString("</g>")
			}
			inside = inside[:len(inside)-1]
		default:
			return errors.New("comments, instructions and entities are not allowed in a drawing")
		}
	}
}

// drawing returns a symbol as a complete element, with alt as its accessible name.
func (s symbol) drawing(alt string) Drawing {
	return Drawing{
		SVG: template.HTML(`<svg class="drawing" viewBox="` + s.viewBox + `" role="img" aria-label="` +
			template.HTMLEscapeString(alt) + `">` + s.body + `</svg>`),
		Alt:  alt,
		uses: s.uses,
	}
}

// Pictogram returns one symbol of the kit as a decorative drawing to put next to a word. It is empty if there is no such symbol.
func Pictogram(name string) Drawing {
	s, ok := ownKit().symbols[name]
	if !ok {
		return Drawing{}
	}
	return Drawing{
		SVG: template.HTML(`<svg class="pictogram" viewBox="` + s.viewBox + `" aria-hidden="true">` +
			`<use href="#` + name + `"/></svg>`),
		uses: []string{name},
	}
}

// Sprite returns the symbols that drawings use, directly or through other symbols, in one hidden <svg> to put in the page before them.
// It is "" if they use none.
func Sprite(drawings ...Drawing) template.HTML {
	k := ownKit()
	used := make(map[string]bool)
	var add func(ids []string)
	add = func(ids []string) {
		for _, id := range ids {
			if !used[id] {
				used[id] = true
				add(k.symbols[id].uses)
			}
		}
	}
	for _, d := range drawings {
		add(d.uses)
	}
	if len(used) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString(`<svg class="sprite" aria-hidden="true">`)
	for _, id := range k.order {
		if used[id] {
			s := k.symbols[id]
			b.WriteString(`<symbol id="` + id + `" viewBox="` + s.viewBox + `">` + s.body + `</symbol>`)
		}
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}
