package agenda

import (
	"strings"
	"testing"
	"time"
)

// TestOwn: staff add, cancel and move events, and get an error that says what is wrong with what they typed.
func TestOwn(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 30, 9, 0, 0, 0, paris(t))
	var own Own
	add := func(e Entry, wrong string) {
		t.Helper()
		_, err := own.Add(e, "uid-"+e.Title, now)
		if err == nil && wrong != "" || err != nil && (wrong == "" || !strings.Contains(err.Error(), wrong)) {
			t.Errorf("add %v: %v, want %q", e, err, wrong)
		}
	}
	add(Entry{Title: "Café  numérique\n", Where: "Salle bleue", On: "2/12/2026", From: "14h", To: "16h30", Every: "week", Until: "2026-12-30", Text: "Venez\nnombreux"}, "")
	add(Entry{Title: "Tablettes", On: "2026-12-01", From: "9:30", To: "11:00", Every: "2weeks"}, "")
	add(Entry{Title: "Réparation", On: "2026-12-30", From: "14", Every: "month"}, "")
	add(Entry{Title: "Fête", On: "2026-12-12"}, "")
	add(Entry{Title: "", On: "2026-12-02"}, "needs a title")
	add(Entry{Title: "\u202e\u061c\x00\xff ", On: "2026-12-02"}, "needs a title")
	add(Entry{Title: "x"}, "is not a day: write it as 2026-12-02")
	add(Entry{Title: "x", On: "2026-02-30"}, "is not a day")
	add(Entry{Title: "x", On: "2025-12-02"}, "is over")
	add(Entry{Title: "x", On: "2026-12-02", From: "25:00"}, "is not a time: write it as 14:00")
	add(Entry{Title: "x", On: "2026-12-02", To: "15:00"}, "--from")
	add(Entry{Title: "x", On: "2026-12-02", From: "16:00", To: "15:00"}, "not after the beginning")
	add(Entry{Title: "x", On: "2026-12-02", Every: "day"}, "write week, 2weeks or month")
	add(Entry{Title: "x", On: "2026-12-02", Until: "2026-12-09"}, "--every")
	add(Entry{Title: "x", On: "2026-12-02", Every: "week", Until: "2026-12-01"}, "before the first")
	if len(own.Events) != 4 {
		t.Fatalf("%d events", len(own.Events))
	}

	does := func(what string, wrong string, f func() (Entry, error)) {
		t.Helper()
		_, err := f()
		if err == nil && wrong != "" || err != nil && (wrong == "" || !strings.Contains(err.Error(), wrong)) {
			t.Errorf("%s: %v, want %q", what, err, wrong)
		}
	}
	cancel := func(n int, on, wrong string) {
		t.Helper()
		does("cancel", wrong, func() (Entry, error) { return own.Cancel(n, on, now) })
	}
	move := func(n int, d Day, wrong string) {
		t.Helper()
		does("move", wrong, func() (Entry, error) { return own.Move(n, d, now) })
	}
	cancel(1, "2026-12-16", "")
	cancel(1, "2026-12-17", "does not take place on 2026-12-17")
	cancel(9, "", "no such event")
	move(1, Day{On: "2026-12-09", ToDate: "10/12/2026"}, "")
	move(1, Day{On: "2026-12-23", From: "10:00"}, "")
	move(1, Day{ToDate: "2026-12-11"}, "--on")
	move(2, Day{On: "2026-12-15", ToDate: "2026-12-15", From: "14:00", To: "13:00"}, "not after the beginning")
	move(2, Day{On: "2026-12-15", To: "13:00"}, "--from")
	cancel(4, "", "")
	move(4, Day{ToDate: "2026-12-13", From: "15:00"}, "")

	events, problems := own.events()
	if len(problems) > 0 {
		t.Error(problems)
	}
	from := time.Date(2026, 12, 1, 0, 0, 0, 0, paris(t))
	got := describe(Occurrences(events, from, from.AddDate(0, 2, 0)))
	want := `Tue 2026-12-01 09:30 +01 to Tue 2026-12-01 11:00 +01 | Tablettes
Wed 2026-12-02 14:00 +01 to Wed 2026-12-02 16:30 +01 | Café numérique | Salle bleue | "Venez\nnombreux"
Wed 2026-12-09 14:00 +01 to Wed 2026-12-09 16:30 +01 | Café numérique | Salle bleue | "Venez\nnombreux" | moved to 2026-12-10
Thu 2026-12-10 14:00 +01 to Thu 2026-12-10 16:30 +01 | Café numérique | Salle bleue | "Venez\nnombreux" | was Wed 2026-12-09 14:00 +01
Sat 2026-12-12 to Sun 2026-12-13 | Fête | moved to 2026-12-13
Sun 2026-12-13 15:00 +01 | Fête | was Sat 2026-12-12 00:00 +01
Tue 2026-12-15 09:30 +01 to Tue 2026-12-15 11:00 +01 | Tablettes
Wed 2026-12-16 14:00 +01 to Wed 2026-12-16 16:30 +01 | Café numérique | Salle bleue | "Venez\nnombreux" | cancelled
Wed 2026-12-23 10:00 +01 to Wed 2026-12-23 12:30 +01 | Café numérique | Salle bleue | "Venez\nnombreux" | was Wed 2026-12-23 14:00 +01
Tue 2026-12-29 09:30 +01 to Tue 2026-12-29 11:00 +01 | Tablettes
Wed 2026-12-30 14:00 +01 to Wed 2026-12-30 16:30 +01 | Café numérique | Salle bleue | "Venez\nnombreux"
Wed 2026-12-30 14:00 +01 | Réparation
Tue 2027-01-12 09:30 +01 to Tue 2027-01-12 11:00 +01 | Tablettes
Tue 2027-01-26 09:30 +01 to Tue 2027-01-26 11:00 +01 | Tablettes
Wed 2027-01-27 14:00 +01 | Réparation
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}

	// The file for phones means the same when it is read, and every date in it has a zone.
	var file strings.Builder
	if err := (ForPhones{paris(t), now}).Write(&file, events...); err != nil {
		t.Fatal(err)
	}
	read, warnings, err := Read(strings.NewReader(file.String()))
	if err != nil || len(warnings) > 0 {
		t.Error(err, warnings)
	}
	if again := describe(Occurrences(read, from.In(time.UTC), from.AddDate(0, 2, 0))); strings.Count(again, "\n") != strings.Count(want, "\n") {
		t.Errorf("elsewhere it reads\n%s", again)
	}
	for _, part := range []string{
		"\r\nDTSTART;TZID=Europe/Paris:20261202T140000\r\n", "RRULE:FREQ=WEEKLY;UNTIL=20261230T225959Z\r\n", "\r\nSEQUENCE:3\r\n",
		"BEGIN:VTIMEZONE\r\nTZID:Europe/Paris\r\nBEGIN:DAYLIGHT\r\nDTSTART:20000326T020000\r\nTZOFFSETFROM:+0100\r\nTZOFFSETTO:+0200\r\n" +
			"RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU\r\nEND:DAYLIGHT\r\nBEGIN:STANDARD\r\nDTSTART:20001029T030000\r\n",
		"RECURRENCE-ID;VALUE=DATE:20261212\r\n", "DTSTART;TZID=Europe/Paris:20261213T150000\r\n", "UID:uid-Tablettes\r\n", "DTSTAMP:20261130T080000Z\r\n",
		"DESCRIPTION:Venez\\nnombreux\r\n",
	} {
		if !strings.Contains(file.String(), part) {
			t.Errorf("no %q in\n%s", part, file.String())
		}
	}
	if err := own.Remove(1); err != nil || len(own.Events) != 3 {
		t.Error(err)
	}
	if err := own.Remove(1); err == nil {
		t.Error("it is removed twice")
	}
	for n := len(own.Events); n < maxOwn; n++ {
		add(Entry{Title: "x", On: "2026-12-02"}, "")
	}
	add(Entry{Title: "x", On: "2026-12-02"}, "remove old ones")
}

// TestEnded: an event is kept until its last occurrence is over.
func TestEnded(t *testing.T) {
	t.Parallel()
	for lines, last := range map[string]string{
		"DTSTART:20261202T100000":                                      "2026-12-02",
		"DTSTART:20261202T100000\nDURATION:P10D":                       "2026-12-12",
		"DTSTART:20261202T100000\nRRULE:FREQ=WEEKLY;COUNT=3":           "2026-12-16",
		"DTSTART:20261202T100000\nRRULE:FREQ=WEEKLY;UNTIL=20261220":    "2026-12-20",
		"DTSTART:20261202T100000\nRDATE:20270101T100000":               "2027-01-01",
		"DTSTART;VALUE=DATE:20261202\nRRULE:FREQ=YEARLY;COUNT=3":       "2028-12-02",
		"DTSTART:20261202T100000\nRRULE:FREQ=DAILY;UNTIL=19990101":     "2026-12-02",
		"DTSTART:20261202T100000\nRRULE:FREQ=MONTHLY;BYMONTHDAY=-1":    "2099-01-31",
		"DTSTART:20261202T100000\nRRULE:FREQ=DAILY;COUNT=2;BYDAY=WE\n": "2026-12-09",
	} {
		events, _, err := Read(strings.NewReader(calendar(anEvent("UID:x", lines))))
		if err != nil {
			t.Fatal(err)
		}
		day, err := time.ParseInLocation(time.DateOnly, last, paris(t))
		if err != nil {
			t.Fatal(err)
		}
		if events[0].Ended(day) || day.Year() < 2099 && !events[0].Ended(day.AddDate(0, 0, 5)) {
			t.Errorf("%s: ended on %s: %v, 5 days later: %v", lines, last, events[0].Ended(day), events[0].Ended(day.AddDate(0, 0, 5)))
		}
	}
}

// TestRestore: a cancelled date or event takes place again as if it had not been cancelled. Restoring a date that is not cancelled is
// refused.
func TestRestore(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 30, 9, 0, 0, 0, paris(t))
	var own Own
	for _, e := range []Entry{{Title: "Café", On: "2026-12-02", From: "14:00", Every: "week"}, {Title: "Fête", On: "2026-12-12"}} {
		if _, err := own.Add(e, "uid-"+e.Title, now); err != nil {
			t.Fatal(err)
		}
	}
	cancelled := func() (all []string) {
		for _, e := range own.Events {
			v, err := e.Event()
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range Occurrences([]*Event{v}, now, now.AddDate(0, 0, 21)) {
				if o.Cancelled {
					all = append(all, o.Title+" "+o.Start.Format(time.DateOnly))
				}
			}
		}
		return all
	}
	for _, c := range []struct {
		number int
		on     string
		want   string
	}{{1, "2026-12-09", "Café 2026-12-09"}, {2, "", "Fête 2026-12-12"}} {
		if _, err := own.Cancel(c.number, c.on, now); err != nil || strings.Join(cancelled(), ", ") != c.want {
			t.Errorf("cancelled %q: %v", cancelled(), err)
		}
		if _, err := own.Restore(c.number, c.on, now); err != nil || len(cancelled()) > 0 || own.Events[c.number-1].Edition != 2 {
			t.Errorf("restored, and cancelled are %q: %v", cancelled(), err)
		}
	}
	for _, on := range []string{"2026-12-09", "2026-12-10", "x"} {
		if _, err := own.Restore(1, on, now); err == nil {
			t.Errorf("%s is restored, and was not cancelled", on)
		}
	}
	if _, err := own.Restore(9, "", now); err == nil {
		t.Error("an unknown event is restored")
	}
}
