package directory

import (
	"errors"
	"slices"
	"testing"
	"time"

	"passerelle/appliance/hours"
)

func TestReadHours(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text, read, note string // read: the text that the schedule is parsed from
		err              error
	}{
		{"", "", "", nil},
		{"Mo-Fr 09:00-12:00,14:00-18:30; Sa 08:30-12:00", "Mo-Fr 09:00-12:00,14:00-18:30; Sa 08:30-12:00", "", nil},
		{"24/7", "24/7", "", nil},
		{"Mo-Sun 00:00-00:00", "Mo-Sun 00:00-00:00", "", nil},
		{"Mo-Fr 09:00-12:00 sur rendez-vous", "Mo-Fr 09:00-12:00", "sur rendez-vous", nil},
		{"Mo-Fr 09:00-12:00 (sur réservation)", "Mo-Fr 09:00-12:00", "sur réservation", nil},
		{"Mo-Fr 09:00-12:00 uniquement, sur rendez-vous", "Mo-Fr 09:00-12:00", "uniquement, sur rendez-vous", nil},
		{`Mo-Fr 09:00-12:00 "sur rendez-vous"; Sa 09:00-12:00 ＂atelier＂`, "Mo-Fr 09:00-12:00 ; Sa 09:00-12:00 ", "sur rendez-vous, atelier", nil},
		{"Mo-Fr 09:00-12:00 sauf mercredi", "", "", errUnread},
		{"Mo-Fr 09:00-12:00; Sa sur rendez-vous", "", "", errUnread},
		{"Mo-Fr 09:00-12:00 fermé en août", "", "", errUnread},
		{"Mo-Fr 09:00-12:00 sur rendez-vous; Sa 09:00-12:00", "", "", errUnread},
		{"Mo-Fr sur rendez-vous", "", "", errUnread},
		{"Mo-Fr", "", "", errNoTime},
		{"Mo 09:00-12:00; Tu", "", "", errNoTime},
		{"Mo-Fr 14:00-12:00", "", "", errLong},
		{"Mo-Fr 06:00-23:00", "", "", errLong},
		{"Mo-Fr 09h00-12h00", "Mo-Fr 09h00-12h00", "", nil},
		{"Mar 09:00-12:00", "", "", errUnread},
		{"Mo-Fr 09:00-12:00; SH off", "", "", errUnread},
		{"Mo-Fr 09:00-12:00; Sa unknown", "", "", errUnread},
		{"Mo-Fr 09:00-12:00+", "", "", errUnread},
		{"Mo-Fr 09:00-17 :00", "", "", errUnread},
		{"Mo-Fr 09:00-12:00,", "Mo-Fr 09:00-12:00,", "", nil},
		{"Du lundi au vendredi de 9h à 12h", "Du lundi au vendredi de 9h à 12h", "", nil},
		{"<script>alert(1)</script>", "", "", errUnread},
	} {
		r, err := readHours(c.text)
		if r.schedule.String() != c.read || r.note != c.note || !errors.Is(err, c.err) {
			t.Errorf("%q: reads %q, note %q, %v", c.text, r.schedule, r.note, err)
		}
		if err != nil && r != (reading{}) {
			t.Errorf("%q: something is relied on, in spite of %v", c.text, err)
		}
	}
}

func TestOpening(t *testing.T) {
	t.Parallel()
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		hours, at string
		state     State
		until     string
	}{
		{"", "2026-09-07 10:00", UnknownHours, ""},
		{"Mo-Fr 14:00-12:00", "2026-09-07 15:00", UnknownHours, ""},
		{"24/7", "2026-09-07 10:00", OpenNow, ""},
		{"Mo-Fr 09:00-12:00", "2026-09-07 10:00", OpenNow, "2026-09-07 12:00"},
		{"Mo-Fr 09:00-12:00", "2026-09-07 08:00", ClosedNow, "2026-09-07 09:00"},
		{"Mo-Fr 09:00-12:00", "2026-09-10 13:00", ClosedNow, "2026-09-11 09:00"},
		// "Every day" is exported as Mo-Fr.
		{"Mo-Fr 09:00-12:00", "2026-09-11 13:00", ClosedNow, ""},
		{"Mo-Fr 09:00-12:00", "2026-09-12 10:00", UnknownHours, ""},
		{"Mo-Fr 09:00-12:00", "2026-09-13 10:00", UnknownHours, ""},
		{"lundi-vendredi 9h-12h", "2026-09-13 10:00", UnknownHours, ""},
		{"Mo-Fr 09:00-12:00; Sa 09:00-10:00", "2026-09-11 13:00", ClosedNow, "2026-09-12 09:00"},
		{"Mo-Fr 09:00-12:00; Sa off", "2026-09-13 10:00", ClosedNow, "2026-09-14 09:00"},
		{"Mo,Tu,We 09:00-12:00", "2026-09-12 10:00", ClosedNow, "2026-09-14 09:00"},
		// Public holidays: the 14th of July is a Tuesday.
		{"Mo-Fr 09:00-12:00", "2026-07-14 10:00", UnknownHours, ""},
		{"Mo-Fr 09:00-12:00; PH off", "2026-07-14 10:00", ClosedNow, "2026-07-15 09:00"},
		{"Mo-Fr 09:00-12:00", "2026-07-13 13:00", ClosedNow, ""},
		{"24/7", "2026-07-14 10:00", OpenNow, ""},
	} {
		r, _ := readHours(c.hours)
		p := Place{Hours: c.hours, Schedule: r.schedule, WeekendUnknown: r.weekend}
		at, err := time.ParseInLocation("2006-01-02 15:04", c.at, paris)
		if err != nil {
			t.Fatal(err)
		}
		o := p.Opening(at)
		until := ""
		if !o.Until.IsZero() {
			until = o.Until.Format("2006-01-02 15:04")
		}
		if o.State != c.state || until != c.until {
			t.Errorf("%q at %s: %d until %q, want %d until %q", c.hours, c.at, o.State, until, c.state, c.until)
		}
	}
}

// TestWeek: a week's edges agree with the schedule at every minute.
func TestWeek(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"24/7", "Mo-Fr 09:00-12:00,14:00-18:30; Sa 08:30-12:00", "Sa-Su 22:00-04:00", "Mo 20:00-24:00, Tu 00:00-03:00",
		"Mo-Su 00:00-00:00; We off", "off", "PH off; Mo 09:00-10:00",
	} {
		s, err := hours.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		edges := week(s)
		if !slices.IsSorted(edges) {
			t.Fatalf("%q: %v", text, edges)
		}
		monday := time.Date(2026, 9, 14, 0, 0, 0, 0, time.UTC)
		for minute := range 7 * 24 * 60 {
			if got, want := openAt(edges, minute), s.Open(monday.Add(time.Duration(minute)*time.Minute)); got != want {
				t.Fatalf("%q at minute %d of the week: open is %t by %v, want %t", text, minute, got, edges, want)
			}
		}
	}
}
