package directory

// shown is the greatest number of warnings of one kind in a report.
const shown = 3

// Warning is something in the file that was repaired, left out or not understood.
type Warning struct {
	Line   int    `json:"line"`             // from 1; 0: the whole file
	Column string `json:"column,omitempty"` // the column's name in the file; "" for the whole line
	Text   string `json:"text"`             // what is wrong, and what was done
	More   int    `json:"more,omitempty"`   // how many others of this kind are not in the report
}

// warnings collects the first warnings of each kind.
type warnings struct {
	kinds  map[warningKind]*[]Warning
	groups []*[]Warning // in the order of their first warnings
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

// list returns the warnings, grouped by kind.
func (w *warnings) list() (all []Warning) {
	for _, g := range w.groups {
		all = append(all, *g...)
	}
	return all
}
