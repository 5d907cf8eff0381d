package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Change sets one key or one table, or removes it.
type Change struct {
	// Path is the path from the root of the file: {"hotspot", "ssid"}. After "donation" comes the donation's current name:
	// {"donation", "Fibre du centre", "wifi", "ssid"}. A missing donation is added.
	Path []string
	// Value is a string, a bool, an int, a []string or a Table; nil removes the key or the table. A Table replaces all keys of the
	// table, except that a donation keeps its name if Value has none.
	Value any
}

// Table has the keys of a table. New keys are written in its order.
type Table []Pair

// Pair is a key and its value, as in Change.
type Pair struct {
	Key   string
	Value any
}

// ErrByHand says that the text is written in a way in which Edit cannot make the change without changing something else.
var ErrByHand = errors.New("this part of the file cannot be edited automatically: change it by hand")

// Edit makes changes to a text, one after the other, and returns the new text. It keeps the rest as people wrote it: order, spelling,
// white space and comments. A comment inside a removed or replaced part is moved to a line of its own above that part. The text does
// not need to be a valid configuration, before or after. If it is not TOML, the error is of type Problems. The error is ErrByHand if
// the way the text is written does not allow the change.
func Edit(text []byte, changes []Change) ([]byte, error) {
	if len(changes) == 0 {
		return text, nil
	}
	values, _, err := decode(editedFile, text)
	for _, c := range changes {
		if err != nil {
			return nil, err
		}
		text, values, err = edit(text, values, c)
	}
	return text, err
}

// editedFile is the file's name in errors of Edit.
const editedFile = "the configuration"

// edit makes one change to a text that decodes to values. It returns the new text and what that decodes to, but only if the two
// decoded forms differ in nothing but the change.
func edit(text []byte, values map[string]any, c Change) (edited []byte, means map[string]any, err error) {
	e := newEditor(text, values)
	steps, err := e.resolve(c.Path)
	if err != nil {
		return nil, nil, err
	}
	last := steps[len(steps)-1]
	if c.Value == nil && !e.has(last.path) {
		return text, values, nil
	}
	if _, ok := c.Value.(Table); last.index >= 0 && c.Value != nil && !ok {
		return nil, nil, fmt.Errorf("%q is a table", c.Path)
	}
	var value any
	if c.Value == nil {
		edited = e.remove(last.path)
	} else {
		written, err := render(last.named(c.Value))
		if err == nil {
			edited, err = e.set(steps, c.Value)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%q: %w", c.Path, err)
		}
		decoded, _, err := decode(editedFile, []byte("value = "+written))
		if err != nil {
			return nil, nil, err
		}
		value = decoded["value"]
	}
	means, _, err = decode(editedFile, edited)
	if err != nil || !reflect.DeepEqual(prune(means), prune(changed(values, steps, value))) {
		return nil, nil, ErrByHand
	}
	return edited, means, nil
}

// editor makes one change to a text.
type editor struct {
	*tree
	raw    []byte // the text; the tree has spaces instead of the byte order mark
	bom    int    // length of the byte order mark
	eol    string
	values map[string]any
}

func newEditor(text []byte, values map[string]any) editor {
	e := editor{tree: parseTree(text), raw: text, eol: "\n", values: values}
	if bytes.HasPrefix(text, []byte(byteOrderMark)) {
		e.bom = len(byteOrderMark)
	}
	if n := bytes.IndexByte(text, '\n'); n > 0 && text[n-1] == '\r' {
		e.eol = "\r\n"
	}
	return e
}

// step is one element on the path of a change: a key, or one of the donations.
type step struct {
	path  string
	key   string // the key, or the donation's name
	index int    // the donation's index; -1 for a key
}

// named adds the donation's name to its value, if it has none.
func (s step) named(value any) any {
	if table, ok := value.(Table); ok && s.index >= 0 && !table.has("name") {
		return append(Table{{"name", s.key}}, table...)
	}
	return value
}

// resolve turns a path into steps. Donations are found by name; a missing one gets the next free index.
func (e editor) resolve(path []string) (steps []step, err error) {
	if len(path) == 0 || len(path) == 1 && path[0] == donationKey {
		return nil, fmt.Errorf("%q is not the path of a key or table", path)
	}
	at := ""
	for i, key := range path {
		if i != 1 || path[0] != donationKey {
			at = pathOf(at, key)
			steps = append(steps, step{at, key, -1})
			continue
		}
		list := tables(e.values[donationKey])
		named := func(d any) bool { return keysOf(d)["name"] == key }
		index := slices.IndexFunc(list, named)
		if index < 0 {
			index = len(list)
		} else if slices.ContainsFunc(list[index+1:], named) {
			return nil, fmt.Errorf("%w: several donations are named %q", ErrByHand, key)
		}
		at = elementOf(at, index)
		steps = append(steps, step{at, key, index})
	}
	return steps, nil
}

// donationKey is the key of the only array of tables that Edit supports.
const donationKey = "donation"

// set sets the value at the steps' end.
func (e editor) set(steps []step, value any) ([]byte, error) {
	parents, last := steps[:len(steps)-1], steps[len(steps)-1]
	value = last.named(value)
	table, isTable := value.(Table)
	written, err := render(value)
	if err != nil {
		return nil, err
	}
	if i := e.assignment(last.path); i >= 0 {
		return e.splice(span{e.places[i].value, e.places[i].end}, written), nil
	}
	if e.has(last.path) { // it is written as headers and dotted keys
		return e.fill(steps, table)
	}
	switch i := e.assignment(donationKey); {
	case last.index >= 0 && i >= 0:
		return e.insert(i, written)
	case last.index >= 0:
		return e.add("[["+donationKey+"]]", table), nil
	case isTable && len(parents) == 0:
		return e.add("["+last.path+"]", table), nil
	}
	key := pathOf("", last.key) // as it is written in the table that contains it
	for _, in := range slices.Backward(parents) {
		if i := e.assignment(in.path); i >= 0 {
			return e.insert(i, key+" = "+written)
		}
		if slices.ContainsFunc(e.places, func(p place) bool { return p.path == in.path }) { // it has a header
			return e.insertLine(in.path, key+" = "+written), nil
		}
		if !e.has(in.path) {
			return e.set(parents, Table{{last.key, value}})
		}
		key = pathOf("", in.key) + "." + key // it is written as dotted keys
	}
	dotted := func(p place) bool { return p.table == "" && within(p.path, steps[0].path) }
	if len(parents) > 0 && !slices.ContainsFunc(e.places, dotted) {
		return nil, ErrByHand
	}
	return e.insertLine("", key+" = "+written), nil
}

// fill sets the keys of an existing table, and removes all others.
func (e editor) fill(steps []step, table Table) (text []byte, err error) {
	var old any = e.values
	for _, s := range steps {
		if s.index >= 0 {
			old = tables(old)[s.index]
		} else {
			old = keysOf(old)[s.key]
		}
	}
	at := steps[len(steps)-1].path
	for _, p := range table {
		inner := append(slices.Clone(steps), step{pathOf(at, p.Key), p.Key, -1})
		if text, err = e.set(inner, p.Value); err != nil {
			return nil, err
		}
		e = newEditor(text, e.values)
	}
	for _, key := range slices.Sorted(maps.Keys(keysOf(old))) {
		if path := pathOf(at, key); !table.has(key) && e.has(path) {
			e = newEditor(e.remove(path), e.values)
		}
	}
	return e.raw, nil
}

func (t Table) has(key string) bool {
	return slices.ContainsFunc(t, func(p Pair) bool { return p.Key == key })
}

// within reports whether path is the path of the table, or of something in it.
func within(path, table string) bool {
	rest, ok := strings.CutPrefix(path, table)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// has reports whether the text has any part of a key or table.
func (e editor) has(table string) bool {
	return slices.ContainsFunc(e.places, func(p place) bool { return within(p.path, table) })
}

// assignment returns the index of the place of "path = value", or of an array's element. It returns -1 if there is none.
func (e editor) assignment(path string) int {
	return slices.IndexFunc(e.places, func(p place) bool { return p.path == path && p.value > 0 })
}

// splice replaces a part of the text, and moves the comments in that part above it.
func (e editor) splice(s span, with string) []byte {
	at := e.bom
	var indent []byte
	for _, p := range e.places {
		if start := max(e.bom, e.lineStart(p.start)); p.parent < 0 && start <= s.start {
			at, indent = start, e.text[start:p.start]
		}
	}
	var comments []byte
	for _, c := range e.comments {
		if c.start >= s.start && c.end <= s.end {
			comments = slices.Concat(comments, indent, e.text[c.start:c.end], []byte(e.eol))
		}
	}
	return slices.Concat(e.raw[:at], comments, e.raw[at:s.start], []byte(with), e.raw[s.end:])
}

// add appends a table to the text.
func (e editor) add(header string, table Table) []byte {
	text := slices.Clone(e.raw)
	if n := len(text); n > e.bom {
		if text[n-1] != '\n' {
			text = append(text, e.eol...)
		}
		text = append(text, e.eol...)
	}
	text = append(text, header+e.eol...)
	for _, p := range table {
		written, _ := render(p.Value) // no error: set has rendered it before
		text = append(text, pathOf("", p.Key)+" = "+written+e.eol...)
	}
	return text
}

// insertLine inserts a line of text below the last key of a table, or below its header if it has no keys. For a table that has
// neither, the line is inserted at the start of the text.
func (e editor) insertLine(table, line string) []byte {
	at, indent := e.bom, ""
	for _, p := range e.places {
		if p.parent < 0 && p.table == table {
			at = e.lineEnd(p.end)
			indent = string(e.text[max(e.bom, e.lineStart(p.start)):p.start])
		}
	}
	if at > e.bom && e.raw[at-1] != '\n' {
		indent = e.eol + indent
	}
	return slices.Concat(e.raw[:at], []byte(indent+line+e.eol), e.raw[at:])
}

// insert appends an element to an inline array, or a key to an inline table.
func (e editor) insert(parent int, written string) ([]byte, error) {
	at, end := e.places[parent].value, -1
	for _, p := range e.places {
		if p.parent == parent {
			end = p.end
		}
	}
	switch bracket := e.raw[at]; {
	case bracket != '{' && bracket != '[':
		return nil, ErrByHand
	case end >= 0:
		return e.splice(span{end, end}, ", "+written), nil
	case bracket == '{':
		written = " " + written + " "
	}
	return e.splice(span{at + 1, at + 1}, written), nil
}

// remove removes an existing key, element or table.
func (e editor) remove(path string) []byte {
	whole := e.raw
	for _, p := range slices.Backward(e.places) {
		if p.parent >= 0 || !within(p.path, path) {
			continue
		}
		s := p.span
		rest := bytes.TrimLeft(e.text[s.end:e.lineEnd(s.end)], " \t\r\n")
		if s.end = e.lineEnd(s.end) - len(rest); len(rest) == 0 {
			s.start = max(e.bom, e.lineStart(s.start))
			if p.value == 0 { // remove the blank lines above a header, too
				above := bytes.TrimRight(e.text[:s.start], " \t\r\n")
				s.start = max(e.bom, min(e.lineEnd(len(above)), s.start))
			}
		}
		e.raw = e.splice(s, "")
	}
	if len(e.raw) != len(whole) {
		return e.raw
	}
	at := slices.IndexFunc(e.places, func(p place) bool { return within(p.path, path) })
	p := e.places[at]
	s := span{e.places[p.parent].value + 1, e.places[p.parent].end - 1} // right if it is the only element
	for i, sibling := range e.places {
		if sibling.parent == p.parent && i < at {
			s = span{sibling.end, p.end}
		} else if sibling.parent == p.parent && i > at {
			s = span{p.start, sibling.start}
			break
		}
	}
	edited := e.splice(s, "")
	if again := newEditor(edited, nil); p.path != path && again.has(path) { // path had several dotted keys, and this was one
		return again.remove(path)
	}
	return edited
}

// render formats a value as TOML, in one line.
func render(value any) (string, error) {
	switch v := value.(type) {
	case string:
		if !utf8.ValidString(v) {
			return "", errors.New("not UTF-8")
		}
		return quote(v), nil
	case bool:
		return strconv.FormatBool(v), nil
	case int:
		return strconv.Itoa(v), nil
	case []string:
		return quoteAll(v), nil
	case Table:
		var list []string
		for _, p := range v {
			written, err := render(p.Value)
			if err != nil {
				return "", err
			}
			list = append(list, pathOf("", p.Key)+" = "+written)
		}
		if len(list) == 0 {
			return "{}", nil
		}
		return "{ " + strings.Join(list, ", ") + " }", nil
	}
	return "", fmt.Errorf("a value cannot be a %T", value)
}

// keysOf returns a decoded table, or nil if value is not a table.
func keysOf(value any) map[string]any {
	table, _ := value.(map[string]any)
	return table
}

// tables returns the elements of an array of tables, as either syntax is decoded.
func tables(value any) (list []any) {
	switch v := value.(type) {
	case []map[string]any:
		for _, table := range v {
			list = append(list, table)
		}
	case []any:
		list = slices.Clone(v)
	}
	return list
}

// changed returns a copy of values with another value at the end of the steps.
func changed(values any, steps []step, to any) any {
	if len(steps) == 0 {
		return to
	}
	s := steps[0]
	if s.index >= 0 {
		list := tables(values)
		if s.index == len(list) {
			list = append(list, map[string]any{"name": s.key})
		}
		list[s.index] = changed(list[s.index], steps[1:], to)
		return list
	}
	table := map[string]any{}
	maps.Copy(table, keysOf(values))
	table[s.key] = changed(table[s.key], steps[1:], to)
	return table
}

// prune returns a value without empty tables and arrays, or nil if nothing is left. An empty table means the same as a missing one.
func prune(value any) any {
	table := map[string]any{}
	for key, inner := range keysOf(value) {
		if inner = prune(inner); inner != nil {
			table[key] = inner
		}
	}
	var list []any
	for _, inner := range tables(value) {
		if inner = prune(inner); inner != nil {
			list = append(list, inner)
		}
	}
	switch value.(type) {
	case map[string]any, []any, []map[string]any:
		if value = nil; len(table) > 0 {
			value = table
		} else if len(list) > 0 {
			value = list
		}
	}
	return value
}
