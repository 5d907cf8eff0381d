package opinion

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"passerelle/captive/voice/week"
)

// Row is a result: the count of an answer that was shown when a week ended.
type Row struct {
	Week    week.Week
	Part    Part
	Subject string // a service, or a question's text
	Answer  string // a face, a hurdle or a choice
	Count   int    // 0: not shown
}

// The texts for a count that is not shown. A hurdle's count may be larger than 4: see the package comment.
const (
	few      = "fewer than 5"
	notShown = "not shown"
)

// Number returns the row's count as text.
func (r Row) Number() string {
	switch {
	case r.Count > 0:
		return strconv.Itoa(r.Count)
	case r.Part == Hurdle:
		return notShown
	}
	return few
}

// table holds the counts of one subject.
type table struct {
	part    Part
	subject string
	answers []string
	counts  []Count
}

// tables returns all counts, in the order of results.
func (o *Opinions) tables() (all []table) {
	for _, name := range slices.Sorted(maps.Keys(o.Services)) {
		s := o.service(name)
		all = append(all, table{Face, name, Faces, s.Faces}, table{Hurdle, name, Hurdles, s.Hurdles})
	}
	for _, q := range o.Questions {
		t := table{part: Choice, subject: q.Text, counts: q.Answers}
		for _, c := range q.Choices {
			t.answers = append(t.answers, c.Text)
		}
		all = append(all, t)
	}
	return all
}

// Results returns the rows of the weeks that ended, since a week. For each service and question with a shown count in one of these weeks
// there is a row for every answer in every week, so whether a row exists reveals nothing about counts that are not shown.
func (o *Opinions) Results(from week.Week) (rows []Row) {
	first := o.Open
	tables := slices.DeleteFunc(o.tables(), func(t table) bool {
		shown := false
		for _, c := range t.counts {
			for w := range c.Weeks {
				if w >= from {
					first, shown = min(first, w), true
				}
			}
		}
		return !shown
	})
	for w := first; w < o.Open; w = w.Add(1) {
		for _, t := range tables {
			for i, answer := range t.answers {
				rows = append(rows, Row{w, t.part, t.subject, answer, t.counts[i].Weeks[w]})
			}
		}
	}
	return rows
}

// Sums adds up the weeks of results, in the order of the rows. Only shown counts are added up.
func Sums(rows []Row) (sums []Row) {
	at := make(map[Row]int)
	for _, r := range rows {
		key := Row{Part: r.Part, Subject: r.Subject, Answer: r.Answer}
		i, known := at[key]
		if !known {
			i, sums = len(sums), append(sums, key)
			at[key] = i
		}
		sums[i].Count += r.Count
	}
	return sums
}

// columns are the columns of the CSV, with their descriptions.
var columns = []struct{ name, kind, about string }{
	{"week", "string", "ISO 8601 week at whose end the count became public, as in 2026-W47"},
	{"part", "string", "face: how an online public service was; hurdle: what was in the way; choice: an answer to a question of the centre"},
	{"subject", "string", "host name of the service (" + Other + ": one that is not listed), or the question's text"},
	{"answer", "string", "faces: " + strings.Join(Faces, ", ") + "; hurdles: " + strings.Join(Hurdles, ", ") + "; or the choice's text"},
	{"count", "integer", "answers that became public at the end of this week: those of the week, and those of earlier weeks that were too few"},
}

// WriteCSV writes results as CSV (RFC 4180). A cell that a spreadsheet would take for a formula begins with an apostrophe.
func WriteCSV(w io.Writer, rows []Row) error {
	c := csv.NewWriter(w)
	c.UseCRLF = true
	var head []string
	for _, column := range columns {
		head = append(head, column.name)
	}
	c.Write(head) // c.Error returns its error
	for _, r := range rows {
		c.Write([]string{string(r.Week), string(r.Part), defuse(r.Subject), defuse(r.Answer), r.Number()})
	}
	c.Flush()
	return c.Error()
}

// defuse returns a cell that a spreadsheet does not take for a formula.
func defuse(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}

// WriteSchema writes the description of the CSV as a Table Schema (specs.frictionlessdata.io/table-schema).
func WriteSchema(w io.Writer) error {
	type field struct {
		Name        string         `json:"name"`
		Type        string         `json:"type"`
		Description string         `json:"description"`
		Constraints map[string]any `json:"constraints"`
	}
	schema := struct {
		Title         string   `json:"title"`
		Description   string   `json:"description"`
		Fields        []field  `json:"fields"`
		MissingValues []string `json:"missingValues"`
	}{
		Title: "What residents of a centre say of online public services, and their answers to its questions",
		Description: fmt.Sprintf("Answers are counted by week, never by person. %q: at most %d people gave this answer since it was last "+
			"shown; they are shown in a later week, with others, once they are %d. %q, of a hurdle: likewise, or it waits until at "+
			"least as many faces are shown. So counts are lower bounds, and no total has what is not shown. A device counts once a "+
			"day for each service and question; this is kept in memory only, so it may count again after a restart. Somebody who "+
			"changes a device's address, or brings several, counts several times: the numbers are no survey. A cell that begins "+
			"with =, +, -, @, a tab or a carriage return has an apostrophe before it. Counts are kept for %d months.",
			few, Least-1, Least, notShown, months),
		MissingValues: []string{"", few, notShown},
	}
	for _, c := range columns {
		f := field{Name: c.name, Type: c.kind, Description: c.about, Constraints: map[string]any{"required": true}}
		if c.kind == "integer" {
			f.Constraints = map[string]any{"minimum": Least}
		}
		schema.Fields = append(schema.Fields, f)
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(schema)
}
