package admin

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"math/rand/v2"
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

// withSheets returns a technician of a box with two months of loans, one of which is closed.
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

// text returns the text of a page, with plain spaces.
func text(page string) string {
	return strings.NewReplacer("\u00a0", " ", "\u202f", " ").Replace(words(page))
}

// TestMonthSheet: a loan's month in words, as a page, a PDF and a CSV. A small number of sessions is not shown.
func TestMonthSheet(t *testing.T) {
	t.Parallel()
	x := withSheets(t)
	for _, test := range []struct {
		name, month string
		says        []string
		csv         string
	}{
		{"Fibre du centre", "2026-11", []string{"The loan in November 2026", "83.7 gigabytes", "167 hours of video, or 33,000 pages", "100 hours", "210"},
			"2026-11,Fibre du centre,83700000000,361800,210"},
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

// TestYearSheet: the centre's year includes all loans, closed ones, too.
func TestYearSheet(t *testing.T) {
	t.Parallel()
	x := withSheets(t)
	got := text(x.get("/admin/lenders/year?year=2026&lang=en").Body.String())
	for _, want := range []string{"The centre’s year 2026", "86.7 gigabytes", "107 hours", "210", "30", "October 2026 3 gigabytes 7 hours fewer than 5 fewer than 5"} {
		if !strings.Contains(strings.Join(strings.Fields(got), " "), want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	rows, err := csv.NewReader(x.get("/admin/lenders/year/year.csv?year=2026").Body).ReadAll()
	want := [][]string{
		{"month", "bytes", "seconds_shared", "sessions", "lessons_opened"},
		{"2026-10", "3000000000", "25200", "<5", "<5"},
		{"2026-11", "83700000000", "361800", "210", "30"},
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

// publishedSheets returns everything that the sheets of a year show, on pages, in PDFs and in CSV files.
func publishedSheets(sums []months.Month, lent map[string][]state.Day, names []string) (all []string) {
	w := catalog.Language("en")
	add := func(x sheet) { all = append(all, fmt.Sprintf("%+v\n%q", x.Report, x.rows)) }
	add(newYearSheet(w, "Centre", 2026, lent, sums))
	for _, name := range names {
		all = append(all, fmt.Sprint(monthsOf(lent[name], name, sums)))
		for m := range 12 {
			month := time.Date(2026, time.Month(m+1), 1, 0, 0, 0, 0, time.UTC)
			text := month.Format(monthLayout)
			add(newMonthSheet(w, "Centre", name, month, bytesIn(lent[name], text), loanIn(sums, text, name)))
		}
	}
	return all
}

// TestNobodyIsCounted: all sheets of a year together are consistent with five values of each count that they are made from. So
// subtracting sheets from each other cannot reveal a count of 1 to 4, not even for a month that changes while somebody watches.
func TestNobodyIsCounted(t *testing.T) {
	t.Parallel()
	names := []string{"Fibre", "4G d’Élise", "Mairie"}
	for seed := range uint64(30) {
		random := rand.New(rand.NewPCG(seed, 1))
		sums := make([]months.Month, 12)
		lent := map[string][]state.Day{}
		for m := range sums {
			sums[m] = months.Month{Month: fmt.Sprintf("2026-%02d", m+1), Loans: map[string]months.Loan{}, Lessons: random.Uint64N(12)}
			for _, name := range names[:1+random.IntN(len(names))] {
				sums[m].Loans[name] = months.Loan{Seconds: 3600, Sessions: random.Uint64N(12)}
			}
		}
		want := publishedSheets(sums, lent, names)
		for m := range sums {
			lessons := sums[m].Lessons
			for n := state.InFives(lessons); n < state.InFives(lessons)+state.Fewest; n++ {
				sums[m].Lessons = n
				if diff := cmp.Diff(want, publishedSheets(sums, lent, names)); diff != "" {
					t.Fatalf("seed %d: %d lessons in month %d are told from %d:\n%s", seed, n, m+1, lessons, diff)
				}
			}
			sums[m].Lessons = lessons
			for name, loan := range sums[m].Loans {
				for n := state.InFives(loan.Sessions); n < state.InFives(loan.Sessions)+state.Fewest; n++ {
					sums[m].Loans[name] = months.Loan{Seconds: loan.Seconds, Sessions: n}
					if diff := cmp.Diff(want, publishedSheets(sums, lent, names)); diff != "" {
						t.Fatalf("seed %d: %d sessions of %s in month %d are told from %d:\n%s", seed, n, name, m+1, loan.Sessions, diff)
					}
				}
				sums[m].Loans[name] = loan
			}
		}
	}
}

// TestWholeYearFits: twelve months, long names and large numbers fit on one page of A4.
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
