package admin

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"passerelle/appliance/state"
	"passerelle/captive/admin/months"
	"passerelle/captive/poster"
	"passerelle/captive/web"
)

const (
	sheetPath = lendersPath + "/sheet"
	yearPath  = lendersPath + "/year"

	monthLayout = "2006-01"
)

// pageBytes is roughly the size of a web page: in October 2024 the median was 2.3 MB for pages on phones, and 2.7 MB on desktop
// computers (HTTP Archive, Web Almanac 2024, page weight).
const pageBytes = 2_500_000

// sheet is a sheet to print, and the same data as rows for a spreadsheet.
type sheet struct {
	poster.Report
	rows [][]string // the first row has the names of the columns
}

// sheetPage shows a sheet as it is printed, and links to its PDF and its CSV.
type sheetPage struct {
	techFrame
	Up       web.Link
	Sheet    poster.Report
	Lang     string
	PDF, CSV string       // links; PDF is "" for a language whose letters the PDF's fonts lack
	More     []choiceLink // links to all months, or years
}

func (sheetPage) Template() string { return "admin/sheet" }

// lentDays returns the days of all known donations by name, including closed ones.
func (s *Server) lentDays(r *request) map[string][]state.Day {
	all := map[string][]state.Day{}
	for _, d := range s.Box.Status().Donations {
		all[d.Name] = d.Days
	}
	for _, m := range s.monthSums() {
		for name := range m.Loans {
			if _, known := all[name]; known {
				continue
			}
			if days, ok := s.Loans.Lent(r.Context(), name); ok {
				all[name] = days
			}
		}
	}
	return all
}

func (s *Server) monthSums() []months.Month {
	if s.Months == nil {
		return nil
	}
	return s.Months()
}

// monthsOf returns the months in which a donation carried data or was shared, newest first.
func monthsOf(days []state.Day, name string, sums []months.Month) (all []time.Time) {
	known := map[string]bool{}
	for _, d := range days {
		if d.Bytes > 0 {
			known[d.Date.Format(monthLayout)] = true
		}
	}
	for _, m := range sums {
		if m.Loans[name] != (months.Loan{}) {
			known[m.Month] = true
		}
	}
	for _, month := range slices.Backward(slices.Sorted(maps.Keys(known))) {
		if t, err := time.Parse(monthLayout, month); err == nil {
			all = append(all, t)
		}
	}
	return all
}

// bytesIn returns the sum of the days of a month.
func bytesIn(days []state.Day, month string) (sum uint64) {
	for _, d := range days {
		if d.Date.Format(monthLayout) == month {
			sum += d.Bytes
		}
	}
	return sum
}

// published returns what sheets show of a donation's counts in a month: sessions are rounded to fives.
func published(x months.Loan) months.Loan {
	return months.Loan{Seconds: x.Seconds, Sessions: state.InFives(x.Sessions)}
}

// loanIn returns what sheets show of a donation's counts in a month.
func loanIn(sums []months.Month, month, name string) months.Loan {
	for _, m := range sums {
		if m.Month == month {
			return published(m.Loans[name])
		}
	}
	return months.Loan{}
}

// few formats a count in fives, for people and for a spreadsheet. 0 is written as fewer than five.
func few(w *web.Words, n uint64) (said, cell string) {
	if n == 0 {
		return w.T("sheets.below", "number", strconv.Itoa(state.Fewest)), "<" + strconv.Itoa(state.Fewest)
	}
	return strconv.FormatUint(n, 10), strconv.FormatUint(n, 10)
}

// long formats how long something was shared, in whole hours from two hours on.
func long(w *web.Words, seconds uint64) string {
	d := time.Duration(seconds) * time.Second
	if d >= 2*time.Hour {
		d = d.Truncate(time.Hour)
	}
	return w.Duration(d)
}

// means says what an amount of data is enough for.
func means(w *web.Words, bytes uint64) string {
	pages := bytes / pageBytes
	for step := uint64(1); pages >= 10*step; step *= 10 {
		pages = pages / step * step // two significant digits are enough
	}
	video := w.Video(bytes)
	switch {
	case pages == 0:
		return w.T("sheets.means-little")
	case video == "":
		return w.T("sheets.means-pages", "pages", w.Count("page", int(pages)))
	}
	return w.T("sheets.means", "time", video, "pages", w.Count("page", int(pages)))
}

// newMonthSheet makes the sheet of a donation for a month.
func newMonthSheet(w *web.Words, centre, name string, month time.Time, bytes uint64, loan months.Loan) sheet {
	sessions, cell := few(w, loan.Sessions)
	return sheet{
		Report: poster.Report{
			Language: w.Code, Centre: centre, Title: w.T("sheets.month", "month", w.Month(month)), Subject: name,
			Figures: []poster.Figure{
				{Pictogram: "data", Number: w.Size(bytes), Text: means(w, bytes)},
				{Pictogram: "clock", Number: long(w, loan.Seconds), Text: w.T("sheets.hours")},
				{Pictogram: "people", Number: sessions, Text: w.T("sheets.sessions")},
			},
			Notes: w.Lines("sheets.notes"), Thanks: w.T("sheets.thanks"),
		},
		rows: [][]string{
			{"month", "donation", "bytes", "seconds_shared", "sessions"},
			{month.Format(monthLayout), name, strconv.FormatUint(bytes, 10), strconv.FormatUint(loan.Seconds, 10), cell},
		},
	}
}

// newYearSheet makes the sheet of the centre for a year. Months without any data are left out.
//
// A month's numbers are the sums of what the monthly sheets of its donations show, and the year's numbers are the sums of its
// months. No exact count goes into them, so nobody can compute one by subtracting sheets from each other.
func newYearSheet(w *web.Words, centre string, year int, lent map[string][]state.Day, sums []months.Month) sheet {
	s := sheet{rows: [][]string{{"month", "bytes", "seconds_shared", "sessions", "lessons_opened"}}}
	var bytes, sessions, lessons uint64
	var shared uint64
	columns := []string{w.T("sheets.column.month"), w.T("sheets.column.lent"), w.T("sheets.column.shared"), w.T("sheets.column.sessions"), w.T("sheets.column.lessons")}
	var rows [][]string
	for m := range 12 {
		month := time.Date(year, time.Month(m+1), 1, 0, 0, 0, 0, time.UTC)
		name := month.Format(monthLayout)
		var sum months.Loan
		var opened, data uint64
		for _, days := range lent {
			data += bytesIn(days, name)
		}
		for _, x := range sums {
			if x.Month != name {
				continue
			}
			opened = state.InFives(x.Lessons)
			for _, loan := range x.Loans {
				loan = published(loan)
				sum.Seconds += loan.Seconds
				sum.Sessions += loan.Sessions
			}
		}
		if data == 0 && sum == (months.Loan{}) && opened == 0 {
			continue
		}
		bytes, shared, sessions, lessons = bytes+data, shared+sum.Seconds, sessions+sum.Sessions, lessons+opened
		said, cell := few(w, sum.Sessions)
		read, readCell := few(w, opened)
		rows = append(rows, []string{w.Month(month), w.Size(data), long(w, sum.Seconds), said, read})
		s.rows = append(s.rows, []string{name, strconv.FormatUint(data, 10), strconv.FormatUint(sum.Seconds, 10), cell, readCell})
	}
	inAll, _ := few(w, sessions)
	read, _ := few(w, lessons)
	s.Report = poster.Report{
		Language: w.Code, Centre: centre, Title: w.T("sheets.year", "year", strconv.Itoa(year)),
		Figures: []poster.Figure{
			{Pictogram: "data", Number: w.Size(bytes), Text: w.T("sheets.lent") + " " + means(w, bytes)},
			{Pictogram: "clock", Number: long(w, shared), Text: w.T("sheets.hours-year")},
			{Pictogram: "people", Number: inAll, Text: w.T("sheets.sessions-year")},
			{Pictogram: "book", Number: read, Text: w.T("sheets.lessons-year")},
		},
		Columns: columns, Rows: rows, Notes: w.Lines("sheets.notes"), Thanks: w.T("sheets.thanks-year"),
	}
	return s
}

// monthSheet returns the sheet that a request asks for, with its query and all months of the donation. ok is false if there is no
// such sheet.
func (s *Server) monthSheet(r *request) (x sheet, query url.Values, all []time.Time, ok bool) {
	name := r.URL.Query().Get("name")
	days, known := s.lentDays(r)[name]
	if !known {
		return x, nil, nil, false
	}
	all = monthsOf(days, name, s.monthSums())
	month, err := time.Parse(monthLayout, r.URL.Query().Get("month"))
	if err != nil || !slices.ContainsFunc(all, month.Equal) {
		return x, nil, nil, false
	}
	text := month.Format(monthLayout)
	x = newMonthSheet(r.Words, r.site.Centre, name, month, bytesIn(days, text), loanIn(s.monthSums(), text, name))
	return x, url.Values{"name": {name}, "month": {text}}, all, true
}

func (s *Server) showMonth(w http.ResponseWriter, r *request) {
	x, query, all, ok := s.monthSheet(r)
	if !ok {
		s.missing(w, r)
		return
	}
	p := s.newSheetPage(r, sheetPath, "month", x, query)
	for _, t := range all {
		other := url.Values{"name": query["name"], "month": {t.Format(monthLayout)}}
		p.add(sheetPath, other, r.Words.Month(t), other.Get("month") == query.Get("month"))
	}
	s.serve(w, r, p, http.StatusOK)
}

func (s *Server) monthFile(w http.ResponseWriter, r *request) {
	x, query, _, ok := s.monthSheet(r)
	s.sendSheet(w, r, x, "month", query.Get("month"), ok)
}

// yearsOf returns the years for which there is data, newest first.
func yearsOf(lent map[string][]state.Day, sums []months.Month) (all []int) {
	for _, days := range lent {
		for _, d := range days {
			all = append(all, d.Date.Year())
		}
	}
	for _, m := range sums {
		if t, err := time.Parse(monthLayout, m.Month); err == nil {
			all = append(all, t.Year())
		}
	}
	slices.SortFunc(all, func(a, b int) int { return cmp.Compare(b, a) })
	return slices.Compact(all)
}

// yearSheet is monthSheet for a year of the centre.
func (s *Server) yearSheet(r *request) (x sheet, year int, all []int, ok bool) {
	lent, sums := s.lentDays(r), s.monthSums()
	all = yearsOf(lent, sums)
	year, err := strconv.Atoi(r.URL.Query().Get("year"))
	if err != nil || !slices.Contains(all, year) {
		return x, 0, nil, false
	}
	return newYearSheet(r.Words, r.site.Centre, year, lent, sums), year, all, true
}

func (s *Server) showYear(w http.ResponseWriter, r *request) {
	x, year, all, ok := s.yearSheet(r)
	if !ok {
		s.missing(w, r)
		return
	}
	p := s.newSheetPage(r, yearPath, "year", x, url.Values{"year": {strconv.Itoa(year)}})
	for _, other := range all {
		p.add(yearPath, url.Values{"year": {strconv.Itoa(other)}}, strconv.Itoa(other), other == year)
	}
	s.serve(w, r, p, http.StatusOK)
}

func (s *Server) yearFile(w http.ResponseWriter, r *request) {
	x, year, _, ok := s.yearSheet(r)
	s.sendSheet(w, r, x, "year", strconv.Itoa(year), ok)
}

// newSheetPage makes the page of a sheet, whose files are PATH/WHAT.pdf and PATH/WHAT.csv.
func (s *Server) newSheetPage(r *request, path, what string, x sheet, query url.Values) sheetPage {
	p := sheetPage{
		techFrame: s.tech(r, "content", path, x.Title), Sheet: x.Report,
		Up: web.Link{Href: lendersPath, Text: r.Words.T("lenders.title")},
	}
	p.Query = query.Encode()
	file := maps.Clone(query)
	file.Set("lang", r.Words.Code)
	p.CSV = path + "/" + what + ".csv?" + file.Encode()
	if poster.InPDF(r.Words.Code) {
		p.PDF = path + "/" + what + ".pdf?" + file.Encode()
	}
	return p
}

// add adds a link to another sheet.
func (p *sheetPage) add(path string, query url.Values, text string, chosen bool) {
	if p.Language != "" {
		query.Set("lang", p.Language)
	}
	p.More = append(p.More, choiceLink{Link: web.Link{Href: path + "?" + query.Encode(), Text: text}, Chosen: chosen})
}

// sendSheet sends WHAT.pdf or WHAT.csv.
func (s *Server) sendSheet(w http.ResponseWriter, r *request, x sheet, what, when string, ok bool) {
	var b bytes.Buffer
	var err error
	name, media := "passerelle-"+when, ""
	switch file := r.PathValue("file"); {
	case ok && file == what+".pdf" && poster.InPDF(r.Words.Code):
		name, media = name+".pdf", "application/pdf"
		err = poster.ReportPDF(&b, x.Report)
	case ok && file == what+".csv":
		name, media = name+".csv", "text/csv; charset=utf-8"
		c := csv.NewWriter(&b)
		err = c.WriteAll(spreadsheet(x.rows))
	default:
		s.missing(w, r)
		return
	}
	if err != nil {
		s.failed(w, r, "make a sheet", err)
		return
	}
	sendFile(w, name, media, b.Bytes())
}

// spreadsheet escapes cells that a spreadsheet would take for a formula, such as the name of a donation (OWASP, CSV injection).
func spreadsheet(rows [][]string) (safe [][]string) {
	for _, row := range rows {
		row = slices.Clone(row)
		for i, cell := range row {
			if cell != "" && bytes.ContainsAny([]byte(cell[:1]), "=+-@\t\r") {
				row[i] = "'" + cell
			}
		}
		safe = append(safe, row)
	}
	return safe
}
