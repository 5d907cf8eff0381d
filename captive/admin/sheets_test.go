package admin

import (
	"bytes"
	"encoding/csv"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"passerelle/appliance/state"
	"passerelle/captive/admin/months"
	"passerelle/captive/poster"
)

// withSheets is a technician of a box that has lent for two months, with a loan that is closed.
func withSheets(t *testing.T) *technician {
	x := signedIn(t)
	x.box.lent = map[string][]state.Day{"=4G d’Élise": {{Date: state.DateOf(time.Date(2026, 10, 30, 0, 0, 0, 0, time.UTC)), Bytes: 3_000_000_000}}}
	x.server.Months = func() []months.Month {
		return []months.Month{
			{Month: "2026-10", Loans: map[string]months.Loan{"=4G d’Élise": {Seconds: 7 * 3600, Sessions: 4}}, Lessons: 4},
			{Month: "2026-11", Loans: map[string]months.Loan{"Fibre du centre": {Seconds: 100*3600 + 1800, Sessions: 212}}, Lessons: 31},
		}
	}
	return x
}

func sheetQuery(name, month string) string {
	return "?" + url.Values{"lang": {"en"}, "name": {name}, "month": {month}}.Encode()
}

// text is what a page says.
func text(page string) string {
	return strings.NewReplacer("\u00a0", " ", "\u202f", " ").Replace(words(page))
}

// TestMonthSheet: the month of a loan in people's words, as a page, a PDF and a CSV; a small number of sessions is not said.
func TestMonthSheet(t *testing.T) {
	t.Parallel()
	x := withSheets(t)
	for _, test := range []struct {
		name, month string
		says        []string
		csv         string
	}{
		{"Fibre du centre", "2026-11", []string{"The loan in November 2026", "83.7 gigabytes", "167 hours of video, or 33,000 pages", "100 hours", "212"},
			"2026-11,Fibre du centre,83700000000,361800,212"},
		{"=4G d’Élise", "2026-10", []string{"The loan in October 2026", "3 gigabytes", "6 hours of video", "7 hours", "fewer than 5"},
			"2026-10,'=4G d’Élise,3000000000,25200,<5"},
	} {
		query := sheetQuery(test.name, test.month)
		res := x.get("/admin/lenders/sheet" + query)
		for _, want := range test.says {
			if got := text(res.Body.String()); res.Code != http.StatusOK || !strings.Contains(got, want) {
				t.Errorf("%s: %d, no %q in:\n%s", test.name, res.Code, want, got)
			}
		}
		file := x.get("/admin/lenders/sheet/month.csv" + query)
		want := "month,donation,bytes,seconds_shared,sessions\n" + test.csv + "\n"
		if got := file.Body.String(); got != want || !strings.Contains(file.Header().Get("Content-Disposition"), "passerelle-"+test.month+".csv") {
			t.Errorf("%s: the CSV is %q, want %q", test.name, got, want)
		}
		pdf := x.get("/admin/lenders/sheet/month.pdf" + query)
		if pdf.Header().Get("Content-Type") != "application/pdf" || !bytes.HasPrefix(pdf.Body.Bytes(), []byte("%PDF-")) {
			t.Errorf("%s: the PDF is %q", test.name, pdf.Body)
		}
	}
	for _, path := range []string{
		"/admin/lenders/sheet" + sheetQuery("Fibre du centre", "2026-10"), "/admin/lenders/sheet" + sheetQuery("Mairie", "2026-11"),
		"/admin/lenders/sheet" + sheetQuery("Fibre du centre", "../etc"), "/admin/lenders/sheet/year.pdf" + sheetQuery("Fibre du centre", "2026-11"),
		"/admin/lenders/sheet/month.pdf", "/admin/lenders/year?year=2025", "/admin/lenders/year/year.csv?year=x",
	} {
		if res := x.get(path); res.Code != http.StatusNotFound {
			t.Errorf("%s is answered %d", path, res.Code)
		}
	}
}

// TestYearSheet: the centre's year has all loans, also closed ones.
func TestYearSheet(t *testing.T) {
	t.Parallel()
	x := withSheets(t)
	got := text(x.get("/admin/lenders/year?year=2026&lang=en").Body.String())
	for _, want := range []string{"The centre’s year 2026", "86.7 gigabytes", "107 hours", "216", "35", "October 2026 3 gigabytes 7 hours fewer than 5 fewer than 5"} {
		if !strings.Contains(strings.Join(strings.Fields(got), " "), want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	rows, err := csv.NewReader(x.get("/admin/lenders/year/year.csv?year=2026").Body).ReadAll()
	want := [][]string{
		{"month", "bytes", "seconds_shared", "sessions", "lessons_opened"},
		{"2026-10", "3000000000", "25200", "<5", "<5"},
		{"2026-11", "83700000000", "361800", "212", "31"},
	}
	if diff := cmp.Diff(want, rows); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	page := text(x.get("/admin/lenders?lang=en").Body.String())
	for _, want := range []string{"The loan in November 2026", "The centre’s year 2026"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q on the lenders’ page:\n%s", want, page)
		}
	}
}

// TestWholeYearFits: twelve months, long names and large figures fit on one page of A4.
func TestWholeYearFits(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"fr", "en"} {
		var sums []months.Month
		lent := map[string][]state.Day{}
		for m := range 12 {
			month := time.Date(2026, time.Month(m+1), 3, 0, 0, 0, 0, time.UTC)
			sums = append(sums, months.Month{
				Month: month.Format(monthLayout), Lessons: 123_456,
				Loans: map[string]months.Loan{"Fibre": {Seconds: 744 * 3600, Sessions: 98_765}},
			})
			lent["Fibre"] = append(lent["Fibre"], state.Day{Date: state.DateOf(month), Bytes: 99_900_000_000_000})
		}
		x := newYearSheet(catalog.Language(code), strings.Repeat("Centre social et culturel ", 3), 2026, lent, sums)
		var b bytes.Buffer
		if err := poster.ReportPDF(&b, x.Report); err != nil || len(x.Rows) != 12 || bytes.Count(b.Bytes(), []byte("/Type /Page\n")) != 1 {
			t.Errorf("%s: %v, %d rows, %d bytes", code, err, len(x.Rows), b.Len())
		}
	}
}
