package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"passerelle/appliance/hours"

	"github.com/BurntSushi/toml"
)

// reader collects the problems of one file.
type reader struct {
	file     string
	lines    map[string]int // by path
	problems Problems
	basics   bool     // ignore unknown keys
	secrets  []string // secrets that no problem may quote

	schoolZone hours.SchoolZone // the box's
	zoneFailed bool             // school_zone itself has a problem
}

// line returns the line of a path, or of its nearest parent that has one, or 1.
func (r *reader) line(path string) int {
	for path != "" {
		if line, ok := r.lines[path]; ok {
			return line
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return 1
}

// table is one table of the file. Each key that is read becomes known; rejectUnknown reports all others.
type table struct {
	r      *reader
	path   string // path for the line of a problem: "donation[1]"
	name   string // name in problems: "donation"
	values map[string]any
	absent bool // the file has no such table, and that has been reported
	known  []string
	bad    []string // keys with a problem
}

// problem adds a problem with a key of the table.
func (t *table) problem(key, format string, args ...any) { t.addProblem(key, key, format, args...) }

// elementProblem adds a problem with the ith element of a list.
func (t *table) elementProblem(key string, i int, format string, args ...any) {
	t.addProblem(key, elementOf(key, i), format, args...)
}

// addProblem adds a problem of key, on the line of path. Both are relative to the table.
func (t *table) addProblem(key, path, format string, args ...any) {
	t.bad = append(t.bad, key)
	t.r.problems = append(t.r.problems, Problem{
		File: t.r.file,
		Line: t.r.line(joinPath(t.path, path)),
		Key:  joinPath(t.name, key),
		Msg:  t.r.redact(fmt.Sprintf(format, args...)),
	})
}

// failed reports whether the key has a problem.
func (t *table) failed(key string) bool { return slices.Contains(t.bad, key) }

// has reports whether the table has the key, and makes the key known.
func (t *table) has(key string) bool {
	if !slices.Contains(t.known, key) {
		t.known = append(t.known, key)
	}
	_, ok := t.values[key]
	return ok
}

// table returns a table in this one. A missing or invalid table counts as empty; if that has been reported, its keys are not reported as
// missing, too.
func (t *table) table(key string, isRequired bool) *table {
	inner := &table{r: t.r, path: key, name: key}
	has := t.has(key)
	if !has && !isRequired {
		return inner
	}
	values, ok := t.values[key].(map[string]any)
	switch {
	case !has:
		t.problem(key, "missing; write [%s] and its keys (passerelle init shows them)", key)
	case !ok:
		t.problem(key, "expected a table, got %s; write [%s] on a line of its own and its keys below",
			describe(t.values[key]), key)
	}
	inner.values = values
	inner.absent = !ok
	return inner
}

// inline returns an inline table in this one. A missing or invalid table counts as empty.
func (t *table) inline(key string) *table {
	inner := &table{r: t.r, path: joinPath(t.path, key), name: joinPath(t.name, key)}
	if !t.has(key) {
		return inner
	}
	values, ok := t.values[key].(map[string]any)
	if !ok {
		t.problem(key, "expected a table, got %s; write %s = { ... }", describe(t.values[key]), key)
	}
	inner.values = values
	return inner
}

// tables returns the array of tables under key, which must have at least one element.
func (t *table) tables(key string) []*table {
	if !t.has(key) {
		t.problem(key, "missing; write [[%s]] and its keys for at least one connection (passerelle init shows them)", key)
		return nil
	}
	var elements []map[string]any
	switch values := t.values[key].(type) {
	case []map[string]any: // [[key]]
		elements = values
	case []any: // key = [{...}, {...}]
		for i := range values {
			element, ok := values[i].(map[string]any)
			if !ok {
				t.elementProblem(key, i, "expected a table, got %s; write [[%s]]", describe(values[i]), key)
				return nil
			}
			elements = append(elements, element)
		}
	case map[string]any:
		t.problem(key, "expected an array of tables, got a table; write [[%s]], with two brackets", key)
		return nil
	default:
		t.problem(key, "expected an array of tables, got %s; write [[%s]] and its keys below", describe(values), key)
		return nil
	}
	if len(elements) == 0 {
		t.problem(key, "empty; write [[%s]] and its keys for at least one connection", key)
	}
	inner := make([]*table, len(elements))
	for i := range elements {
		inner[i] = &table{r: t.r, path: elementOf(key, i), name: key, values: elements[i]}
	}
	return inner
}

// rejectUnknown reports each key that was never read.
func (t *table) rejectUnknown() {
	if t.r.basics {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(t.values)) {
		if slices.Contains(t.known, key) {
			continue
		}
		name := toml.Key{key}.String()
		advice := "known keys: " + strings.Join(t.known, ", ")
		if near := nearest(key, t.known); near != "" {
			advice = fmt.Sprintf("did you mean %s?", near)
		}
		t.problem(name, "unknown key; %s", advice)
	}
}

// optional returns the parsed value of key, or fallback if the key is missing or invalid.
func optional[V, T any](t *table, key string, fallback T, parse func(V) (T, error)) T {
	if !t.has(key) {
		return fallback
	}
	value, err := convert(t.values[key], parse)
	if err != nil {
		t.problem(key, "%v", err)
		return fallback
	}
	return value
}

// required is optional for a key that must exist. what is an example value for the problem.
func required[V, T any](t *table, key, what string, parse func(V) (T, error)) T {
	var zero T
	if !t.has(key) && !t.absent {
		t.problem(key, "missing; write %s = %s", key, what)
		return zero
	}
	return optional(t, key, zero, parse)
}

// list returns the parsed elements of key, without invalid ones.
func list[T any](t *table, key string, fallback []T, parse func(string) (T, error)) []T {
	if !t.has(key) {
		return fallback
	}
	values, ok := t.values[key].([]any)
	if !ok {
		t.problem(key, "expected a list, got %s; write %s = [\"...\"]", describe(t.values[key]), key)
		return nil
	}
	var out []T
	for i := range values {
		value, err := convert(values[i], parse)
		if err != nil {
			t.elementProblem(key, i, "%v", err)
			continue
		}
		out = append(out, value)
	}
	return out
}

// convert checks a value's type, and parses it.
func convert[V, T any](value any, parse func(V) (T, error)) (T, error) {
	typed, ok := value.(V)
	if !ok {
		var zero T
		wanted := describe(typed)
		if _, ok := any(typed).(bool); ok {
			wanted = "true or false"
		}
		if written := unquoted(value); written != "" {
			if text, ok := any(written).(V); ok { // say what is wrong with the text, or that it needs quotes
				if _, err := parse(text); err != nil {
					return zero, fmt.Errorf("expected %s, got %s: %w", wanted, describe(value), err)
				}
				return zero, fmt.Errorf("expected %s, got %s; put it in quotes", wanted, describe(value))
			}
		}
		return zero, fmt.Errorf("expected %s, got %s", wanted, describe(value))
	}
	return parse(typed)
}

// unquoted returns the text of a number that was written without quotes, "" for other values.
func unquoted(value any) string {
	switch v := value.(type) {
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return ""
}

// describe names the type of a decoded TOML value.
func describe(value any) string {
	switch v := value.(type) {
	case string:
		return "a quoted string"
	case int64:
		return "a number"
	case float64:
		return "a number with a fraction"
	case bool:
		return fmt.Sprint(v)
	case []any, []map[string]any:
		return "a list"
	case map[string]any:
		return "a table"
	}
	return "a date or time"
}

// joinPath joins a table's path and the result of pathOf or elementOf.
func joinPath(table, key string) string {
	if table == "" {
		return key
	}
	return table + "." + key
}

// nearest returns the known key with the smallest edit distance to key. It returns "" if all differ in more than a third of key's length.
func nearest(key string, known []string) string {
	best, bestDistance := "", max(1, len(key)/3)+1
	for _, k := range known {
		if d := distance(strings.ToLower(key), k); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

// distance returns the Levenshtein distance of a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
