package config

import (
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// keyLines returns the line on which each key, table and array element of valid TOML begins, by its path as pathOf and
// elementOf write it: "box.name", "donation[1].dns[0]". The toml package knows these lines but does not tell them.
//
// It goes before the toml package, whose memory grows with the square of the depth: where the text is nested deeper than
// maxDepth it stops and returns that line as tooDeep, else 0. It does not tell invalid text from valid, and ends on any.
func keyLines(text string) (lines map[string]int, tooDeep int) {
	s := &lineScanner{text: text, line: 1, lines: map[string]int{}, elements: map[string]int{}}
	table := ""
	for s.skipBlank(); s.pos < len(s.text) && s.tooDeep == 0; s.skipBlank() {
		switch {
		case s.accept("[["):
			line := s.line
			path := s.header()
			n := s.elements[path]
			s.elements[path]++
			table = elementOf(path, n)
			s.note(path, line)
			s.note(table, line)
		case s.accept("["):
			line := s.line
			table = s.header()
			s.note(table, line)
		default:
			s.keyValue(table)
		}
	}
	return s.lines, s.tooDeep
}

// maxDepth bounds the parts of a key, and the values within values.
const maxDepth = 16

// maxPath bounds paths, in bytes: what lies deeper has the path of what is around it. No key of ours comes near, and many
// keys in a table with a huge name would need as many times its size.
const maxPath = 500

// pathOf returns the path of a key in a table; a table of "" is the whole file.
func pathOf(table, key string) string {
	if len(table) > maxPath {
		return table
	}
	key = toml.Key{key}.String() // quoted where it must be
	if table == "" {
		return key
	}
	return table + "." + key
}

// elementOf returns the path of an array's element, counted from 0.
func elementOf(path string, i int) string {
	if len(path) > maxPath {
		return path
	}
	return path + "[" + strconv.Itoa(i) + "]"
}

type lineScanner struct {
	text     string
	pos      int
	line     int // of pos, from 1
	lines    map[string]int
	elements map[string]int // how many tables each array of tables has so far
	depth    int            // of the value being read
	tooDeep  int            // the line where maxDepth was exceeded, 0 for none
}

// deeper tells whether depth is allowed.
func (s *lineScanner) deeper(depth int) bool {
	if depth > maxDepth && s.tooDeep == 0 {
		s.tooDeep = s.line
	}
	return s.tooDeep == 0
}

// note keeps the first line of each path.
func (s *lineScanner) note(path string, line int) {
	if _, ok := s.lines[path]; !ok {
		s.lines[path] = line
	}
}

// advance goes n bytes on and counts the lines in them.
func (s *lineScanner) advance(n int) {
	n = min(n, len(s.text)-s.pos)
	s.line += strings.Count(s.text[s.pos:s.pos+n], "\n")
	s.pos += n
}

func (s *lineScanner) accept(prefix string) bool {
	if !strings.HasPrefix(s.text[s.pos:], prefix) {
		return false
	}
	s.advance(len(prefix))
	return true
}

// skipTo goes to the first of chars, or the end.
func (s *lineScanner) skipTo(chars string) {
	n := strings.IndexAny(s.text[s.pos:], chars)
	if n < 0 {
		n = len(s.text)
	}
	s.advance(n)
}

// skipBlank skips white space, line ends and comments.
func (s *lineScanner) skipBlank() {
	for s.pos < len(s.text) {
		switch s.text[s.pos] {
		case ' ', '\t', '\r', '\n':
			s.advance(1)
		case '#':
			s.skipTo("\n")
		default:
			return
		}
	}
}

// header reads the keys of a table's header and its brackets. In "[donation.wifi]", donation is the latest of its array.
func (s *lineScanner) header() string {
	path := ""
	for parts := 1; s.deeper(parts); parts++ {
		path = pathOf(path, s.key())
		if !s.dot() {
			break
		}
		if n := s.elements[path]; n > 0 {
			path = elementOf(path, n-1)
		}
	}
	s.skipTo("\n")
	return path
}

// dot tells whether the key goes on, and skips what lies between its parts.
func (s *lineScanner) dot() bool {
	s.skipBlank()
	if !s.accept(".") {
		return false
	}
	s.skipBlank()
	return true
}

// key reads one part of a key, bare or quoted.
func (s *lineScanner) key() string {
	s.skipBlank()
	start := s.pos
	switch {
	case s.accept("'"):
		s.skipTo("'\n")
		key := s.text[start+1 : s.pos]
		s.accept("'")
		return key
	case s.accept(`"`):
		s.skipBasic()
		quoted := s.text[start:s.pos]
		if key, err := strconv.Unquote(quoted); err == nil { // Go's escapes are TOML's, but for \e
			return key
		}
		return quoted
	}
	s.skipTo(" \t\r\n.=[]{},#\"'")
	return s.text[start:s.pos]
}

// keyValue reads "key = value" of a table. It always goes on by a byte at least.
func (s *lineScanner) keyValue(table string) {
	start, line := s.pos, s.line
	path := table
	for parts := 1; s.deeper(parts); parts++ {
		path = pathOf(path, s.key())
		s.note(path, line)
		if !s.dot() {
			break
		}
	}
	s.skipBlank()
	if s.accept("=") {
		s.value(path)
	}
	if s.pos == start {
		s.advance(1)
	}
}

// value reads a value and notes the lines of what is in it.
func (s *lineScanner) value(path string) {
	s.depth++
	defer func() { s.depth-- }()
	if !s.deeper(s.depth) {
		return
	}
	s.skipBlank()
	switch {
	case s.accept(`"""`):
		s.skipLong(`"""`, true)
	case s.accept(`'''`):
		s.skipLong(`'''`, false)
	case s.accept(`"`):
		s.skipBasic()
	case s.accept("'"):
		s.skipTo("'\n")
		s.accept("'")
	case s.accept("["):
		for i, last := 0, -1; s.more("]") && s.pos > last; i++ {
			last = s.pos
			s.note(elementOf(path, i), s.line)
			s.value(elementOf(path, i))
		}
	case s.accept("{"):
		for s.more("}") {
			s.keyValue(path)
		}
	default:
		s.skipTo(",]}#\r\n")
	}
}

// more tells whether an array or inline table has another element, and skips the comma before it or the bracket after.
func (s *lineScanner) more(closing string) bool {
	s.skipBlank()
	if s.accept(",") {
		s.skipBlank()
	}
	return s.pos < len(s.text) && s.tooDeep == 0 && !s.accept(closing)
}

// skipBasic skips the rest of a "string", its closing quote included.
func (s *lineScanner) skipBasic() {
	for s.pos < len(s.text) && s.text[s.pos] != '\n' {
		switch s.text[s.pos] {
		case '\\':
			s.advance(2)
		case '"':
			s.advance(1)
			return
		default:
			s.advance(1)
		}
	}
}

// skipLong skips the rest of a multi-line string. Up to two quotes may stand before the closing three.
func (s *lineScanner) skipLong(closing string, escapes bool) {
	for s.pos < len(s.text) {
		switch {
		case escapes && s.text[s.pos] == '\\':
			s.advance(2)
		case s.accept(closing):
			for s.accept(closing[:1]) {
			}
			return
		default:
			s.advance(1)
		}
	}
}
