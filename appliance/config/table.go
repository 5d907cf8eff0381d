package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// reader gathers the problems of one file.
type reader struct {
	file     string
	lines    map[string]int // by path
	problems Problems
	basics   bool // unknown keys are passed over
}

// line returns the line of a path, or of the nearest thing around it that has one; 1 at last.
func (r *reader) line(path string) int {
	for path != "" {
		if line, ok := r.lines[path]; ok {
			return line
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return 1
}

// table is one table of the file. Each key asked for becomes a known one; refuseUnknown complains about the rest.
type table struct {
	r      *reader
	path   string // for lines: "donation[1]"
	name   string // for people: "donation"
	values map[string]any
	absent bool // the file has no such table, and that is complained of
	known  []string
	bad    []string // keys with a problem
}

// problem notes what is wrong with a key of the table.
func (t *table) problem(key, format string, args ...any) { t.note(key, key, format, args...) }

// elementProblem notes what is wrong with the ith element of a list.
func (t *table) elementProblem(key string, i int, format string, args ...any) {
	t.note(key, elementOf(key, i), format, args...)
}

// note files a problem of key under the line of path, which is in the table too.
func (t *table) note(key, path, format string, args ...any) {
	t.bad = append(t.bad, key)
	t.r.problems = append(t.r.problems, Problem{
		File: t.r.file,
		Line: t.r.line(joinPath(t.path, path)),
		Key:  joinPath(t.name, key),
		Msg:  fmt.Sprintf(format, args...),
	})
}

// failed tells whether a problem of the key was noted.
func (t *table) failed(key string) bool { return slices.Contains(t.bad, key) }

// has tells whether the file gives the key, and makes it a known one.
func (t *table) has(key string) bool {
	if !slices.Contains(t.known, key) {
		t.known = append(t.known, key)
	}
	_, ok := t.values[key]
	return ok
}

// table returns a table in this one. One that is missing (which a needed one may not be) or wrong is as if empty, and
// only that is complained of.
func (t *table) table(key string, needed bool) *table {
	inner := &table{r: t.r, path: key, name: key}
	has := t.has(key)
	if !has && !needed {
		return inner
	}
	values, ok := t.values[key].(map[string]any)
	switch {
	case !has:
		t.problem(key, "missing; write [%s] and its keys (passerelle init shows them)", key)
	case !ok:
		t.problem(key, "%s stands where a table should; write [%s] on a line of its own and its keys below",
			describe(t.values[key]), key)
	}
	inner.values = values
	inner.absent = !ok
	return inner
}

// inline returns a table that stands in one line of this one. One that is missing or wrong is as if empty.
func (t *table) inline(key string) *table {
	inner := &table{r: t.r, path: joinPath(t.path, key), name: joinPath(t.name, key)}
	if !t.has(key) {
		return inner
	}
	values, ok := t.values[key].(map[string]any)
	if !ok {
		t.problem(key, "%s stands where a table should; write %s = { ... }", describe(t.values[key]), key)
	}
	inner.values = values
	return inner
}

// tables returns the array of tables under key, of which there must be at least one.
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
				t.elementProblem(key, i, "%s stands where a table should; write [[%s]]", describe(values[i]), key)
				return nil
			}
			elements = append(elements, element)
		}
	case map[string]any:
		t.problem(key, "write [[%s]], with two brackets: there may be several", key)
		return nil
	default:
		t.problem(key, "%s stands where tables should; write [[%s]] and its keys below", describe(values), key)
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

// refuseUnknown complains about each key that was never asked for.
func (t *table) refuseUnknown() {
	if t.r.basics {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(t.values)) {
		if slices.Contains(t.known, key) {
			continue
		}
		name := toml.Key{key}.String()
		advice := "known here: " + strings.Join(t.known, ", ")
		if near := nearest(key, t.known); near != "" {
			advice = fmt.Sprintf("did you mean %s?", near)
		}
		t.problem(name, "unknown key; %s", advice)
	}
}

// optional returns the value of key as parse reads it, or fallback when the key is missing or wrong.
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

// required is optional without a fallback; what says what to write.
func required[V, T any](t *table, key, what string, parse func(V) (T, error)) T {
	var zero T
	if !t.has(key) && !t.absent {
		t.problem(key, "missing; write %s = %s", key, what)
		return zero
	}
	return optional(t, key, zero, parse)
}

// list returns the elements of key as parse reads them, without those that are wrong.
func list[T any](t *table, key string, fallback []T, parse func(string) (T, error)) []T {
	if !t.has(key) {
		return fallback
	}
	values, ok := t.values[key].([]any)
	if !ok {
		t.problem(key, "%s stands where a list should; write %s = [\"...\"]", describe(t.values[key]), key)
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

// convert checks the value's type and parses it.
func convert[V, T any](value any, parse func(V) (T, error)) (T, error) {
	typed, ok := value.(V)
	if !ok {
		var zero T
		wanted := describe(typed)
		if _, ok := any(typed).(bool); ok {
			wanted = "true or false"
		}
		return zero, fmt.Errorf("%s stands where %s should", describe(value), wanted)
	}
	return parse(typed)
}

// describe names the type of a decoded TOML value.
func describe(value any) string {
	switch v := value.(type) {
	case string:
		return "text in quotes"
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

// joinPath joins a table's path and what pathOf or elementOf wrote.
func joinPath(table, key string) string {
	if table == "" {
		return key
	}
	return table + "." + key
}

// nearest returns the known key that differs from key in the fewest letters, "" if all differ in more than a third.
func nearest(key string, known []string) string {
	best, bestDistance := "", max(1, len(key)/3)+1
	for _, k := range known {
		if d := distance(strings.ToLower(key), k); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

// distance is how many letters must be put in, taken out or changed to make b of a (Levenshtein).
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
