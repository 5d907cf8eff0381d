package config

import (
	"bytes"
	"errors"
	"strconv"

	"github.com/BurntSushi/toml"
	"github.com/pelletier/go-toml/v2/unstable"
)

// tree has the positions of everything in a TOML text.
type tree struct {
	text     []byte
	lines    map[string]int // the first line of each key, table and element, by path
	places   []place        // in the order of the text
	comments []span         // in the order of the text
	tooDeep  int            // the line where maxDepth was exceeded; 0 for none
	failedAt int            // end of the line where the parser failed; -1 if it did not
	problem  Problem        // the parser's failure

	pos       int // current position
	countedTo int // lineAt has counted lines up to this offset
	line      int
	elements  map[string]int // how many tables each array of tables has so far
	depth     int            // depth of the value that is being read
}

// span is a part of the text.
type span struct{ start, end int }

// place is the position of a "key = value", a header or an element of an array.
type place struct {
	span
	path   string // as pathOf and elementOf return it: "box.name", "donation[1].dns[0]"
	value  int    // start of the value; 0 for a header
	parent int    // index of the place whose value contains it; -1 for none
	table  string // path of the table of the nearest header above
}

// maxDepth limits the number of parts of a key, and the nesting of values. Package toml needs memory that grows with the square of the
// depth.
const maxDepth = 16

// maxOpen limits the brackets and dots in the part that the parser cannot read. Its reason is the same, since the depth of that part is
// unknown.
const maxOpen = 1000

// maxPath limits paths, in bytes: anything deeper gets its parent's path. Our keys are much shorter. Without this limit, many keys in a
// table with a huge name would multiply the size of that name.
const maxPath = 500

// byteOrderMark is written by some editors at the start of a text.
const byteOrderMark = "\ufeff"

// parseTree parses the text up to the first syntax error, and not deeper than maxDepth. It does not check for duplicate keys and tables,
// since package toml does.
func parseTree(text []byte) *tree {
	t := &tree{text: text, lines: map[string]int{}, failedAt: -1, line: 1, elements: map[string]int{}}
	if bytes.HasPrefix(text, []byte(byteOrderMark)) {
		t.text = append([]byte("   "), text[len(byteOrderMark):]...)
	}
	var p unstable.Parser
	p.Reset(t.text)
	table := ""
	for t.tooDeep == 0 && p.NextExpression() {
		t.skip()
		if n := p.Expression(); n.Kind == unstable.KeyValue {
			t.keyValue(n, table, -1, table)
		} else {
			table = t.header(n)
		}
	}
	var syntax *unstable.ParserError
	if errors.As(p.Error(), &syntax) {
		t.fail(int(p.Range(syntax.Highlight).Offset), syntax.Message)
		return t
	}
	t.skip()
	return t
}

// fail records where the parser failed.
func (t *tree) fail(at int, message string) {
	t.failedAt = t.lineEnd(at)
	broken := t.text[t.pos:t.failedAt]
	if bytes.Count(broken, []byte("["))+bytes.Count(broken, []byte("{"))+bytes.Count(broken, []byte(".")) > maxOpen {
		t.skip()
		t.tooDeep = t.lineAt(t.pos)
	}
	t.problem = Problem{Line: t.lineAt(at), Msg: message}
}

// pathOf returns the path of a key in a table. The table "" is the root.
func pathOf(table, key string) string {
	if len(table) > maxPath {
		return table
	}
	key = toml.Key{key}.String() // quoted if necessary
	if table == "" {
		return key
	}
	return table + "." + key
}

// elementOf returns the path of an array's element. i counts from 0.
func elementOf(path string, i int) string {
	if len(path) > maxPath {
		return path
	}
	return path + "[" + strconv.Itoa(i) + "]"
}

// checkDepth reports whether depth is allowed. If not, it records the line.
func (t *tree) checkDepth(depth int) bool {
	if depth > maxDepth && t.tooDeep == 0 {
		t.tooDeep = t.lineAt(t.pos)
	}
	return t.tooDeep == 0
}

// recordLine records the line of a path, unless it has one already.
func (t *tree) recordLine(path string, at int) {
	if _, ok := t.lines[path]; !ok {
		t.lines[path] = t.lineAt(at)
	}
}

// lineText returns the text of a line, or "" if there is no such line. line counts from 1.
func (t *tree) lineText(line int) string {
	lines := bytes.SplitN(t.text, []byte("\n"), line+1)
	if line < 1 || line > len(lines) {
		return ""
	}
	return string(lines[line-1])
}

// lineAt returns the line of an offset. Offsets must not decrease from call to call.
func (t *tree) lineAt(at int) int {
	t.line += bytes.Count(t.text[t.countedTo:max(at, t.countedTo)], []byte("\n"))
	t.countedTo = max(at, t.countedTo)
	return t.line
}

// lineStart and lineEnd return the bounds of the line at an offset, including its line ending.
func (t *tree) lineStart(at int) int { return bytes.LastIndexByte(t.text[:at], '\n') + 1 }

func (t *tree) lineEnd(at int) int {
	if n := bytes.IndexByte(t.text[at:], '\n'); n >= 0 {
		return at + n + 1
	}
	return len(t.text)
}

// skip skips white space, line endings, commas and comments, and records the comments. The parser reports neither the positions of arrays
// nor the ends of inline tables and headers, but they follow from the positions that it reports.
func (t *tree) skip() {
	for t.pos < len(t.text) {
		switch t.text[t.pos] {
		case ' ', '\t', '\r', '\n', ',':
			t.pos++
		case '#':
			end := t.pos + len(bytes.TrimRight(t.text[t.pos:t.lineEnd(t.pos)], "\r\n"))
			t.comments = append(t.comments, span{t.pos, end})
			t.pos = end
		default:
			return
		}
	}
}

// header reads a table's header, and returns the table's path. In "[donation.wifi]", donation means the last element of its array.
func (t *tree) header(n *unstable.Node) string {
	start, path, parts := t.pos, "", 0
	for it := n.Key(); it.Next() && t.checkDepth(parts+1); parts++ {
		if n := t.elements[path]; n > 0 {
			path = elementOf(path, n-1)
		}
		path = pathOf(path, string(it.Node().Data))
		t.pos = end(it.Node())
	}
	t.pos += bytes.IndexByte(t.text[t.pos:], ']') + 1
	t.recordLine(path, start)
	if n.Kind == unstable.ArrayTable {
		t.pos++
		t.elements[path]++
		path = elementOf(path, t.elements[path]-1)
		t.recordLine(path, start)
	}
	t.places = append(t.places, place{span: span{start, t.pos}, path: path, parent: -1, table: path})
	return path
}

// keyValue reads "key = value". within is the path of the table or inline table that contains it.
func (t *tree) keyValue(n *unstable.Node, within string, parent int, table string) {
	path, parts := within, 0
	t.pos = int(n.Raw.Offset)
	for it := n.Key(); it.Next() && t.checkDepth(parts+1); parts++ {
		path = pathOf(path, string(it.Node().Data))
		t.recordLine(path, int(n.Raw.Offset))
		t.pos = end(it.Node())
	}
	t.pos += bytes.IndexByte(t.text[t.pos:], '=') + 1
	t.value(n.Value(), place{span: span{int(n.Raw.Offset), 0}, path: path, parent: parent, table: table})
}

// value reads the value of a place, and everything in it.
func (t *tree) value(n *unstable.Node, p place) {
	t.depth++
	defer func() { t.depth-- }()
	if !t.checkDepth(t.depth) {
		return
	}
	t.skip()
	p.value = t.pos
	index := len(t.places)
	t.places = append(t.places, p)
	switch it, i := n.Children(), 0; n.Kind {
	case unstable.Array:
		t.pos++
		for ; it.Next() && t.tooDeep == 0; i++ {
			t.skip()
			element := place{span: span{t.pos, 0}, path: elementOf(p.path, i), parent: index, table: p.table}
			t.recordLine(element.path, t.pos)
			t.value(it.Node(), element)
		}
		t.skip()
		t.pos++
	case unstable.InlineTable:
		t.pos++
		for it.Next() && t.tooDeep == 0 {
			t.skip()
			t.keyValue(it.Node(), p.path, index, p.table)
		}
		t.skip()
		t.pos++
	default:
		t.pos = end(n)
	}
	t.places[index].end = t.pos
}

// end returns the end of a key or a scalar value.
func end(n *unstable.Node) int { return int(n.Raw.Offset + n.Raw.Length) }
