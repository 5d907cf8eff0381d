package directory

// shown is how many warnings of one kind are in a report.
const shown = 3

// Warning is something in the file that was repaired, left out or not understood.
type Warning struct {
	Line   int    `json:"line"`             // from 1; 0: the whole file
	Column string `json:"column,omitempty"` // its name in the file, "" for the whole line
	Text   string `json:"text"`             // what is wrong, and what was done
	More   int    `json:"more,omitempty"`   // how many others of this kind are not in the report
}

// warnings collects warnings by kind, the first of each.
type warnings struct {
	kinds  map[warningKind]*[]Warning
	groups []*[]Warning // in the order of the first
}

type warningKind struct{ column, kind string }

func (w *warnings) add(line int, column, kind, text string) {
	key := warningKind{column, kind}
	group := w.kinds[key]
	if group == nil {
		if w.kinds == nil {
			w.kinds = make(map[warningKind]*[]Warning)
		}
		group = new([]Warning)
		w.kinds[key] = group
		w.groups = append(w.groups, group)
	}
	if n := len(*group); n >= shown {
		(*group)[n-1].More++
		return
	}
	*group = append(*group, Warning{Line: line, Column: column, Text: text})
}

// list returns the warnings, those of one kind together.
func (w *warnings) list() (all []Warning) {
	for _, g := range w.groups {
		all = append(all, *g...)
	}
	return all
}
