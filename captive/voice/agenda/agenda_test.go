package agenda

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/rogpeppe/go-internal/txtar"

	"passerelle/captive/web/webtest"
)

func paris(t testing.TB) *time.Location {
	t.Helper()
	l, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// describe returns occurrences as text, as in golden files.
func describe(all []Occurrence) string {
	var b strings.Builder
	for _, o := range all {
		layout := "Mon 2006-01-02 15:04 -07"
		if o.AllDay {
			layout = "Mon 2006-01-02"
		}
		fmt.Fprint(&b, o.Start.Format(layout))
		if !o.End.Equal(o.Start) {
			fmt.Fprint(&b, " to ", o.End.Format(layout))
		}
		fmt.Fprintf(&b, " | %s", o.Title)
		if o.Place != "" {
			fmt.Fprintf(&b, " | %s", o.Place)
		}
		if o.Text != "" {
			fmt.Fprintf(&b, " | %q", o.Text)
		}
		if o.Cancelled {
			fmt.Fprint(&b, " | cancelled")
		}
		if !o.Was.IsZero() {
			fmt.Fprint(&b, " | was ", o.Was.Format(layout))
		}
		if !o.MovedTo.IsZero() {
			fmt.Fprint(&b, " | moved to ", o.MovedTo.Format(time.DateOnly))
		}
		fmt.Fprintln(&b)
	}
	return b.String()
}

// TestCalendars compares the occurrences of calendars with testdata/*.txtar, also after the calendars were written and read again.
func TestCalendars(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no goldens", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			a := txtar.Parse(text)
			var from, to string
			_, dates, _ := strings.Cut(string(a.Comment), "\n")
			if _, err := fmt.Sscanf(dates, "from %s to %s", &from, &to); err != nil {
				t.Fatal(err)
			}
			day := func(s string) time.Time {
				d, err := time.ParseInLocation(time.DateOnly, s, paris(t))
				if err != nil {
					t.Fatal(err)
				}
				return d
			}
			calendar := string(a.Files[0].Data)
			events, warnings, err := Read(strings.NewReader(calendar))
			if err != nil {
				t.Fatal(err)
			}
			shown := describe(Occurrences(events, day(from), day(to)))
			var warned strings.Builder
			for _, w := range warnings {
				fmt.Fprintln(&warned, w)
			}
			webtest.Golden(t, name, &txtar.Archive{Comment: a.Comment, Files: []txtar.File{
				a.Files[0], {Name: "occurrences", Data: []byte(shown)}, {Name: "warnings", Data: []byte(warned.String())},
			}})

			for what, box := range map[string]*time.Location{"as it is stored": nil, "for phones": paris(t)} {
				var again strings.Builder
				if err := write(&again, events, box, unknownTime); err != nil {
					t.Fatal(err)
				}
				read, warnings, err := Read(strings.NewReader(again.String()))
				if err != nil || len(warnings) > 0 {
					t.Errorf("%s: %v, %v:\n%s", what, err, warnings, again.String())
				}
				if got := describe(Occurrences(read, day(from), day(to))); got != shown {
					t.Errorf("%s: it reads\n%swant\n%sof\n%s", what, got, shown, again.String())
				}
			}
		})
	}
}
