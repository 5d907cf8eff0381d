package hours

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"
)

const stamp = "2006-01-02 15:04"

func mustParse(t testing.TB, text string) *Schedule {
	t.Helper()
	s, err := Parse(text)
	if err != nil {
		t.Fatalf("Parse(%q): %v", text, err)
	}
	return s
}

func location(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// TestOpen tests each schedule at wall-clock times of Paris. 2026-03-02 is a Monday in ISO week 10.
func TestOpen(t *testing.T) {
	t.Parallel()
	paris := location(t, "Europe/Paris")
	for _, test := range []struct {
		hours        string
		open, closed []string
	}{
		{"", []string{"2026-03-02 00:00", "2026-12-25 12:00"}, nil},
		{"24/7", []string{"2026-03-02 00:00", "2026-12-25 12:00"}, nil},
		{"open", []string{"2026-03-02 00:00"}, nil},
		{"off", nil, []string{"2026-03-02 00:00"}},
		{"24/7 closed", nil, []string{"2026-03-02 00:00"}},
		{"24/7; Dec 25 off",
			[]string{"2026-12-24 23:59", "2026-12-26 00:00"},
			[]string{"2026-12-25 00:00", "2026-12-25 23:59"}},

		// Days and lists of days and hours.
		{"Mo-Fr 08:30-19:00; Sa 09:00-12:00",
			[]string{"2026-03-02 08:30", "2026-03-06 18:59", "2026-03-07 09:00"},
			[]string{"2026-03-02 08:29", "2026-03-02 19:00", "2026-03-07 12:00", "2026-03-08 10:00"}},
		{"Mo,We-Th 09:00-12:00,14:00-18:00",
			[]string{"2026-03-02 11:59", "2026-03-04 14:00", "2026-03-05 17:59"},
			[]string{"2026-03-02 12:00", "2026-03-03 10:00", "2026-03-06 10:00"}},
		{"Fr-Mo 10:00-11:00",
			[]string{"2026-03-06 10:00", "2026-03-08 10:30", "2026-03-02 10:00"},
			[]string{"2026-03-03 10:00"}},
		{"10:00-11:00", []string{"2026-03-08 10:30"}, []string{"2026-03-08 11:00"}},
		{"Tu", []string{"2026-03-03 00:00", "2026-03-03 23:59"}, []string{"2026-03-02 23:59", "2026-03-04 00:00"}},

		// As people write them.
		{"mo-fr 9:00-12:00 ; SA off;", []string{"2026-03-02 09:00"}, []string{"2026-03-07 10:00"}},
		{"Mo–Fr 09:00 – 12:00, 14:00–18:00",
			[]string{"2026-03-02 09:00", "2026-03-02 14:00"},
			[]string{"2026-03-02 13:00"}},
		{"Mo-Sun 00:00-00:00", []string{"2026-03-02 00:00", "2026-03-08 23:59"}, nil},
		{"Mo: 09:00-12:00", []string{"2026-03-02 09:00"}, []string{"2026-03-03 09:00"}},
		{"Mo, We 09:00-12:00", []string{"2026-03-02 09:00", "2026-03-04 09:00"}, []string{"2026-03-03 09:00"}},
		{`Mo 09:00-12:00 open "sur rendez-vous; ou pas"`, []string{"2026-03-02 09:00"}, []string{"2026-03-03 09:00"}},
		{`Mo off ＂jour de repos＂; Tu 10:00-11:00`, []string{"2026-03-03 10:00"}, []string{"2026-03-02 10:00"}},
		{`"été": Jul-Aug 10:00-12:00 open "l'après-midi: non"`, []string{"2026-07-01 10:00"}, []string{"2026-06-30 10:00"}},

		{"lundi-vendredi 9h-12h, 14h-18h30",
			[]string{"2026-03-02 09:00", "2026-03-06 18:29"},
			[]string{"2026-03-02 12:00", "2026-03-07 10:00"}},
		{"Du lundi au vendredi de 9 h à 12 h et de 14 h à 18 h 30",
			[]string{"2026-03-02 09:00", "2026-03-06 18:29"},
			[]string{"2026-03-02 12:00", "2026-03-07 10:00"}},
		{"Lu-Ve 9h00-12h00", []string{"2026-03-02 09:00"}, []string{"2026-03-07 10:00"}},
		{"Lun., mer. et ven. 9h-12h; dim. fermé",
			[]string{"2026-03-02 09:00", "2026-03-04 09:00"},
			[]string{"2026-03-03 09:00", "2026-03-08 09:00"}},
		{"Ma,Je 09:00-12:00; Di ferme\u0301", []string{"2026-03-03 09:00", "2026-03-05 09:00"}, []string{"2026-03-02 09:00"}},
		{"Mo-Fr 09:00-12:00\nSa 10:00-12:00\r\nSu fermé\n",
			[]string{"2026-03-02 09:00", "2026-03-07 10:00"},
			[]string{"2026-03-07 09:00", "2026-03-08 10:00"}},
		{"Mo-Fr\n09:00-12:00\n14:00-18:00", []string{"2026-03-02 09:00"}, []string{"2026-03-02 13:00"}},
		{"Mo‐Fr 09:00‑12:00, 14:00−18:00", []string{"2026-03-02 09:00", "2026-03-02 14:00"}, []string{"2026-03-02 13:00"}},
		{"\ufeffMo-Fr\u00a009:00\u2009-\u200212:00\u200b", []string{"2026-03-02 09:00"}, []string{"2026-03-02 13:00"}},
		{"Mo-Fr 9-12,14-18", []string{"2026-03-02 09:00", "2026-03-02 14:00"}, []string{"2026-03-02 13:00"}},
		{"Mo-Fr 9.30-12.00 14.00-18.00", []string{"2026-03-02 09:30", "2026-03-02 14:00"}, []string{"2026-03-02 09:29"}},
		{"Mo 9am-12pm,1:30pm-6 p.m.", []string{"2026-03-02 09:00", "2026-03-02 17:59"}, []string{"2026-03-02 12:00"}},
		{"7j/7 9h-midi", []string{"2026-03-08 11:59"}, []string{"2026-03-08 12:00"}},
		{"24h/24, 7j/7", []string{"2026-03-08 00:00"}, nil},
		{"Mo-Fr 24h/24", []string{"2026-03-06 23:59"}, []string{"2026-03-07 00:00"}},
		{"week-end 10h-12h", []string{"2026-03-07 10:00", "2026-03-08 10:00"}, []string{"2026-03-06 10:00"}},
		{"tous les jours 10h-12h; jours fériés fermé", []string{"2026-07-13 10:00"}, []string{"2026-07-14 10:00"}},
		{"10:00-12:00 We", []string{"2026-03-04 10:00"}, []string{"2026-03-03 10:00"}},
		{"fermé du 24 décembre au 2 janvier; 1er mai off, 10:00-12:00", []string{"2026-12-24 10:00"}, nil},
		{"10:00-12:00; 24 déc-2 janv fermé; 1er mai fermé",
			[]string{"2026-12-23 10:00", "2027-01-03 10:00"},
			[]string{"2026-12-24 10:00", "2027-01-02 10:00", "2026-05-01 10:00"}},
		{"mars: 10:00-12:00", []string{"2026-03-01 10:00"}, []string{"2026-04-01 10:00"}},
		{"Jan-Mar 10:00-12:00", []string{"2026-03-31 10:00"}, []string{"2026-04-01 10:00"}},
		{"Mar Mo 10:00-12:00", []string{"2026-03-02 10:00"}, []string{"2026-04-06 10:00"}},

		// Neither open nor closed.
		{"Mo-Fr 09:00-18:00; We 10:00-12:00 unknown", []string{"2026-03-03 09:00"}, []string{"2026-03-04 10:00", "2026-03-04 14:00"}},
		{"Mo-Fr 09:00-18:00; 12:00-13:00 unknown", []string{"2026-03-04 11:59"}, []string{"2026-03-04 12:00"}},
		{"Mo unknown", nil, []string{"2026-03-02 10:00"}},
		{"Mo 18:00-22:00+", []string{"2026-03-02 21:59"}, []string{"2026-03-02 22:00"}},

		// Over midnight.
		{"Fr 22:00-02:00",
			[]string{"2026-03-06 22:00", "2026-03-07 01:59"},
			[]string{"2026-03-06 01:00", "2026-03-07 02:00", "2026-03-07 22:00"}},
		{"Fr 22:00-26:00",
			[]string{"2026-03-06 22:00", "2026-03-07 01:59"},
			[]string{"2026-03-06 01:00", "2026-03-07 02:00"}},
		{"Mo 20:00-24:00", []string{"2026-03-02 23:59"}, []string{"2026-03-03 00:00"}},
		{"Mo 10:00-10:00",
			[]string{"2026-03-02 10:00", "2026-03-03 09:59"},
			[]string{"2026-03-02 09:59", "2026-03-03 10:00"}},
		{"Mo 10:00-48:00", []string{"2026-03-03 23:59"}, []string{"2026-03-04 00:00"}},

		// Later rules.
		{"Mo-Fr 09:00-18:00; We 14:00-16:00",
			[]string{"2026-03-03 09:00", "2026-03-04 14:00"},
			[]string{"2026-03-04 09:00"}},
		{"Mo-Fr 09:00-18:00, We 19:00-20:00",
			[]string{"2026-03-04 09:00", "2026-03-04 19:00"},
			[]string{"2026-03-03 19:00"}},
		{"Mo-Fr 09:00-18:00; 12:00-14:00 off",
			[]string{"2026-03-02 11:59", "2026-03-02 14:00"},
			[]string{"2026-03-02 12:00", "2026-03-02 13:59"}},
		{"Mo-Fr 09:00-18:00, We off", []string{"2026-03-03 09:00"}, []string{"2026-03-04 09:00"}},
		{"We off; Mo-Fr 09:00-18:00", []string{"2026-03-04 09:00"}, nil},
		{"Mo-Th 18:00-02:00; Fr 18:00-03:00",
			[]string{"2026-03-05 01:59", "2026-03-05 23:59", "2026-03-07 02:59"},
			[]string{"2026-03-06 00:00"}},
		{"Mo-Th 18:00-02:00, Fr 18:00-03:00",
			[]string{"2026-03-06 01:59", "2026-03-07 02:59"},
			[]string{"2026-03-06 02:00"}},
		{"Mo-Su 18:00-02:00; We off",
			[]string{"2026-03-03 23:59", "2026-03-05 01:59", "2026-03-05 18:00"},
			[]string{"2026-03-04 00:00", "2026-03-04 20:00", "2026-03-05 02:00"}},
		{"Mo-Su 18:00-02:00; We 22:00-01:00 off",
			[]string{"2026-03-04 01:59", "2026-03-04 21:59", "2026-03-05 01:00"},
			[]string{"2026-03-04 22:00", "2026-03-05 00:59"}},

		// Public holidays: Easter Monday is 2026-04-06, 14 July a Tuesday.
		{"Mo-Fr 09:00-18:00; PH off",
			[]string{"2026-04-07 10:00", "2026-04-03 10:00"},
			[]string{"2026-04-06 10:00", "2026-07-14 10:00"}},
		{"Su,PH 10:00-12:00", []string{"2026-03-08 10:00", "2026-07-14 10:00"}, []string{"2026-07-13 10:00"}},
		{"PH,Su 10:00-12:00", []string{"2026-03-08 10:00", "2026-07-14 10:00"}, []string{"2026-07-13 10:00"}},
		{"24/7; PH Mo-Fr off", []string{"2026-08-15 10:00", "2026-07-13 10:00"}, []string{"2026-07-14 10:00"}},

		{"PH -1 day 10:00-12:00", []string{"2026-07-13 10:00"}, []string{"2026-07-14 10:00"}},
		{"PH +1 day 10:00-12:00", []string{"2026-07-15 10:00"}, []string{"2026-07-14 10:00"}},
		{"Mo-Fr PH -1 day 10:00-12:00", []string{"2026-07-13 10:00"}, []string{"2026-08-14 11:59", "2026-08-15 10:00"}[1:]},
		{"Mo[2] +1 day 10:00-12:00", []string{"2026-03-10 10:00"}, []string{"2026-03-03 10:00", "2026-03-17 10:00"}},
		{"Su[-1] -1 day 10:00-12:00", []string{"2026-03-28 10:00"}, []string{"2026-03-29 10:00"}},
		{"Sa[1] -5 days", []string{"2026-03-02 10:00", "2026-03-30 10:00"}, []string{"2026-04-06 10:00"}},

		// Easter: 5 April 2026, 28 March 2027.
		{"24/7; easter off", []string{"2026-04-04 10:00", "2026-04-06 10:00"}, []string{"2026-04-05 10:00", "2027-03-28 10:00"}},
		{"easter +1 day 10:00-12:00", []string{"2026-04-06 10:00", "2027-03-29 10:00"}, []string{"2026-04-05 10:00"}},
		{"easter -2 days-Nov 01", []string{"2026-04-03 00:00", "2027-03-26 00:00"}, []string{"2026-04-02 23:59", "2027-03-25 00:00"}},
		{"2026 easter", []string{"2026-04-05 10:00"}, []string{"2027-03-28 10:00"}},

		// Weeks: 2026 has 53.
		{"week 1-53/2 Mo 09:00-12:00",
			[]string{"2026-03-09 09:00", "2026-12-28 09:00"},
			[]string{"2026-03-02 09:00"}},
		{"week 2-53/2: Mo 09:00-12:00", []string{"2026-03-02 09:00"}, []string{"2026-03-09 09:00"}},
		{"week 10,12 09:00-12:00", []string{"2026-03-02 09:00", "2026-03-16 09:00"}, []string{"2026-03-09 09:00"}},
		{"week 53", []string{"2027-01-03 09:00"}, []string{"2027-01-04 09:00"}}, // the week belongs to another year

		{"week 10,week 12 09:00-12:00", []string{"2026-03-02 09:00", "2026-03-16 09:00"}, []string{"2026-03-09 09:00"}},
		{"semaine 10: lundi 9h-12h", []string{"2026-03-02 09:00"}, []string{"2026-03-09 09:00"}},

		// Dates.
		{"2026+", []string{"2026-01-01 00:00", "2031-01-01 00:00"}, []string{"2025-12-31 23:59"}},
		{"2026,2028-2032/2 Mar 01-31", []string{"2026-03-01 00:00", "2030-03-01 00:00"}, []string{"2027-03-01 00:00", "2031-03-01 00:00"}},
		{"2026/2 Jul 14", []string{"2028-07-14 00:00"}, []string{"2027-07-14 00:00"}},
		{"Jan 01-31/8", []string{"2026-01-01 00:00", "2026-01-25 00:00"}, []string{"2026-01-02 00:00", "2026-02-02 00:00"}},
		{"Mar Su[-1]-Oct Su[-1] -1 day",
			[]string{"2026-03-29 00:00", "2026-10-24 23:59", "2027-10-30 00:00"},
			[]string{"2026-03-28 23:59", "2026-10-25 00:00"}},
		{"Jan 20-Jan Su[-1]", []string{"2026-01-25 10:00"}, []string{"2026-01-26 10:00"}},
		{"Feb 28-29", []string{"2027-02-28 10:00", "2028-02-29 10:00"}, []string{"2027-03-01 10:00"}},
		{"Feb 29", []string{"2028-02-29 10:00"}, []string{"2027-02-28 10:00", "2027-03-01 10:00"}},
		{"Mo-Su 09:00-18:00; Jul 01-Aug 31 off",
			[]string{"2026-06-30 09:00", "2026-09-01 09:00"},
			[]string{"2026-07-01 09:00", "2026-08-31 09:00"}},
		{"Dec 24-Jan 02 off, 10:00-11:00", []string{"2026-12-24 10:00"}, nil},
		{"10:00-11:00; Dec 24-Jan 02 off",
			[]string{"2026-12-23 10:00", "2027-01-03 10:00"},
			[]string{"2026-12-24 10:00", "2027-01-02 10:00"}},
		{"Nov-Feb 10:00-11:00", []string{"2026-11-01 10:00", "2028-02-29 10:00"}, []string{"2026-03-01 10:00"}},
		{"Jan,Mar Mo 10:00-11:00", []string{"2026-03-02 10:00"}, []string{"2026-03-03 10:00", "2026-04-06 10:00"}},
		{"Mar 02-04 10:00-11:00", []string{"2026-03-02 10:00", "2026-03-04 10:00"}, []string{"2026-03-05 10:00"}},
		{"24/7; Dec 25,26, Jan 01 off",
			[]string{"2026-12-24 10:00"},
			[]string{"2026-12-25 10:00", "2026-12-26 10:00", "2026-01-01 10:00"}},
		{"24/7; Feb 29 off", []string{"2027-02-28 10:00"}, []string{"2028-02-29 10:00"}},
		{"Jul: 10:00-11:00", []string{"2026-07-31 10:00"}, []string{"2026-08-01 10:00"}},

		// Years.
		{"2026", []string{"2026-12-31 23:59"}, []string{"2027-01-01 00:00"}},
		{"2026-2027 Mar 10:00-11:00", []string{"2027-03-01 10:00"}, []string{"2028-03-01 10:00", "2026-04-01 10:00"}},
		{"24/7; 2026 Dec 24-2027 Jan 02 off",
			[]string{"2026-01-01 10:00", "2027-12-24 10:00"},
			[]string{"2026-12-24 10:00", "2027-01-02 10:00"}},
		{"24/7; 2026 Dec 24-Jan 02 off",
			[]string{"2026-01-01 10:00", "2027-12-24 10:00"},
			[]string{"2026-12-24 10:00", "2027-01-02 10:00"}},
		{"24/7; 2026 Jul 14,16 off",
			[]string{"2027-07-16 10:00", "2026-07-15 10:00"},
			[]string{"2026-07-14 10:00", "2026-07-16 10:00"}},
		{"2027 Nov-Feb", []string{"2028-02-29 10:00"}, []string{"2028-03-01 10:00", "2028-11-01 10:00"}},

		// Weekdays of a month: Saturdays of March 2026 are 7, 14, 21, 28; Mondays 2, 9, 16, 23, 30.
		{"Sa[1,-1] 10:00-12:00",
			[]string{"2026-03-07 10:00", "2026-03-28 10:00"},
			[]string{"2026-03-14 10:00", "2026-03-21 10:00"}},
		{"Mo[2-3],Tu 10:00-12:00",
			[]string{"2026-03-09 10:00", "2026-03-16 10:00", "2026-03-31 10:00"},
			[]string{"2026-03-02 10:00", "2026-03-23 10:00"}},
		{"Mo[5] 10:00-12:00", []string{"2026-03-30 10:00"}, []string{"2026-03-23 10:00"}},
	} {
		t.Run(test.hours, func(t *testing.T) {
			t.Parallel()
			s := mustParse(t, test.hours)
			check := func(stamps []string, want bool) {
				for _, text := range stamps {
					at, err := time.ParseInLocation(stamp, text, paris)
					if err != nil {
						t.Fatal(err)
					}
					if got := s.Open(at); got != want {
						t.Errorf("Open(%s) = %v", text, got)
					}
				}
			}
			check(test.open, true)
			check(test.closed, false)
			if s.String() != test.hours {
				t.Errorf("String() = %q", s)
			}
		})
	}
}

// TestParseErrors marks the position with ^.
func TestParseErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, at, want string }{
		{`Mo-Ve 09:00-12:00`, `   ^`, "French and English"},
		{`Mo,Di 09:00-12:00`, `   ^`, "French and English"}, // dimanche, or Dienstag
		{`Mar 09:00-12:00`, `^`, "mardi (Tu) or March (Mar)?"},
		{`Lun-Mar 09:00-12:00`, `    ^`, "mardi (Tu) or March (Mar)?"},
		{`Mar-Sam 9h-12h`, `^`, "mardi (Tu) or March (Mar)?"},
		{`mar., jeu. 9h-12h`, `^`, "mardi (Tu) or March (Mar)?"},
		{`Mo, Mar 09:00-12:00`, `    ^`, "mardi (Tu) or March (Mar)?"},
		{`Mar off`, `^`, "mardi (Tu) or March (Mar)?"},
		{`Mar 9-12`, `^`, "mardi (Tu) or March (Mar)?"},
		{`Mar`, `^`, "mardi (Tu) or March (Mar)?"},
		{`Mo-Fr 8-8`, `      ^`, "until the evening, or over midnight?"},
		{`Mo-Fr 11-6`, `      ^`, "until the evening, or over midnight?"},
		{`10-12 Jan`, `^`, "hours, or days of a month?"},
		{`Mo 9h-12h sauf jours fériés`, `          ^`, "a rule of its own"},
		{`Mo-Fr 10:00-16:00/90`, `                 ^`, "moments in steps"},
		{`(sunrise+01:00)-18:00`, `^`, "the sun's hours"},
		{`09:00-(sunset-01:00)`, `      ^`, "the sun's hours"},
		{`Dec 24-easter off`, `       ^`, "whether its last day counts"},
		{`Jan Su[1] -5 days-Jan 10 off`, `                  ^`, "lead to another year"},
		{`2026 Jan 10-15,Jan 20 off`, `               ^`, "every year, or in 2026?"},
		{`Dec 24-Jan 02/2 off`, `             ^`, "ends in the same year"},
		{`Fr 16:00-18:00 Dec 24 off`, `               ^`, "cannot follow here"},
		{`Mo 09:00-12:00 "le matin"`, `               ^`, "is it open then?"},
		{`"été": Jul-Aug 10:00-12:00`, `^`, "is it open then?"},
		{`Mo 09:00-12:00 "le matin" open`, `               ^`, "behind \"open\""},
		{`Mo-Fr PH off`, `      ^`, "cannot follow"},
		{`Mo-Fr 09:00`, `           ^`, "a closing time"},
		{`Mo-Fr 09:00-`, `            ^`, "the text ends"},
		{`Mo-Fr 09:00+`, `           ^`, "an open end"},
		{`Mo-Fr 09:70-10:00`, `      ^`, "not a time"},
		{`Mo-Fr 09:00-49:00`, `            ^`, "not a time"},
		{`Mo-Fr 24:00-25:00`, `      ^`, "before 24:00"},
		{`Mo-Fr 09:00-12:00 || Sa off`, `                  ^`, "fallback"},
		{`sunrise-sunset`, `^`, "write a time"},
		{`Mo-Fr PH off`, `      ^`, "in this order"},
		{`Mo,PH Tu off`, `      ^`, `"," between`},
		{`Feb 30 off`, `    ^`, "not a day of February (1 to 29)"},
		{`2027 Feb 29 off`, `         ^`, "not a day of February (1 to 28)"},
		{`Jul 20-10 off`, `       ^`, "10 is before 20"},
		{`Jul 20-Aug off`, `       ^`, "write both"},
		{`Dec 24-2027 Jan 02 off`, `       ^`, "none at its beginning"},
		{`2027 Jul 01-2026 Aug 01 off`, `            ^`, "ends before it begins"},
		{`2028-2026 off`, `     ^`, "2026 is before 2028"},
		{`1999 off`, `^`, "not a year"},
		{`week 54 off`, `     ^`, "not a week (1 to 53)"},
		{`week 50-2 off`, `        ^`, "write 50-53,1-2"},
		{`week off`, `     ^`, "a week (1 to 53)"},
		{`Mo[6] off`, `   ^`, "which of the month's days"},
		{`Mo[0] off`, `   ^`, "which of the month's days"},
		{`Mo[1 off`, `     ^`, `"," or "]"`},
		{`"sur rendez-vous"`, `^`, "a comment alone"},
		{`Mo "sur`, `   ^`, "no closing quote"},
		{`;`, ` ^`, "a day, a date or hours"},
		{`: 10:00-11:00`, `^`, "a day, a date or hours"},
		{`Mo 10:00-11:00 # Tu`, `               ^`, "no meaning"},
		{`Mo 123456`, `   ^`, "too long"},
		{"Mo \xff", `   ^`, "no meaning"},
		{`toujours`, `^`, "unknown word"},
		{strings.Repeat("Mo off;", 300), strings.Repeat(" ", maxText) + "^", "longer than"},

		// A rule without hours that a comma joins to another would be open day and night.
		{`Mo-Fr, 09:00-17:00`, `^`, `"Mo-Fr" has no hours of its own`},
		{`Mo-Fr , 09:00-12:00,13:30-17:00; Sa 09:00-12:00`, `^`, "without a comma"},
		{`Mo-Fr 09:00-17:00, Sa`, `                   ^`, `"Sa" has no hours of its own`},
		{`Tu off; Mo,We, 09:00-17:00`, `        ^`, `"Mo,We" has no hours`},
		{`09:00-17:00, Mo-Fr`, `             ^`, "no hours of its own"},
		{`Jul-Aug, 09:00-12:00`, `^`, `"Jul-Aug" has no hours`},
		{`week 1-53/2, We 14:00-17:00`, `^`, "no hours of its own"},
		{`2026 Jul 14, Mo-Fr 09:00-17:00`, `^`, "no hours of its own"},
		{`PH, 10:00-12:00`, `^`, "no hours of its own"},
		{`Mo-Fr open, 09:00-17:00`, `^`, `"Mo-Fr open" has no hours`},
		{`Mo[1], 09:00-17:00`, `^`, `"Mo[1]" has no hours`},
		{`Mo-Fr:, 09:00-17:00`, `^`, "no hours of its own"},
		{`Mo-Fr 09:00-17:00; PH, Dec 24 off`, `                   ^`, `"PH" has no hours`}, // both were meant to be off
		{`Mo-Fr, Jul-Aug`, `^`, `"Mo-Fr" has no hours`},

		// Hours alone would replace everything before them, on every day.
		{`Mo-Fr 09:00-12:00; 14:00-18:00`, `                   ^`, `write "," instead of ";"`},
		{`Mo-Fr; 09:00-17:00`, `       ^`, "is for every day"},
		{`Aug off; 09:00-18:00 open`, `         ^`, "or put it first"},
		{`Mo-Fr 09:00-12:00; 14:00-18:00 open "après-midi"; Sa off`, `                   ^`, "is for every day"},

		// A day with nothing but a comment would be open day and night, too.
		{`Sa "sur rendez-vous"`, `   ^`, `"sur rendez-vous" is no hours`},
		{`Mo-Fr 09:00-17:00; Sa ＂sur rendez-vous＂`, `                      ^`, "is no hours"},
		{`"sur rendez-vous": Sa`, `^`, "is no hours"},
		{`PH "fermé"`, `   ^`, `"fermé" is no hours`},
		{`Mo-Fr 09:00-17:00; Jul-Aug: "fermé"`, `                            ^`, "00:00 to 24:00"},
		{`2026 Dec 24-Jan 02 "congés"`, `                   ^`, `"off"`},
		{`week 10 "travaux"`, `        ^`, "is no hours"},
		{`Sa "sur rendez-vous", Su 10:00-12:00`, `   ^`, "is no hours"},
	} {
		t.Run(test.text[:min(len(test.text), 30)], func(t *testing.T) {
			t.Parallel()
			s, err := Parse(test.text)
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("Parse = %v, %v; want an *Error", s, err)
			}
			if e.Pos != strings.Index(test.at, "^") || !strings.Contains(e.Msg, test.want) {
				t.Errorf("got %d %q\nwant %d with %q", e.Pos, e.Msg, strings.Index(test.at, "^"), test.want)
			}
			if !strings.HasPrefix(err.Error(), "at byte ") {
				t.Errorf("Error() = %q", err)
			}
		})
	}
}

func TestAlways(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"":                            true,
		"  ":                          true,
		"24/7":                        true,
		"open":                        true,
		"Mo-Su 00:00-00:00":           true,
		"00:00-24:00; PH 00:00-24:00": true,
		"Mo-Fr 00:00-24:00; Sa-Su":    true,
		"Mo off; 24/7":                true,
		"24/7, Mo 10:00-12:00":        true,
		"Mo-Fr 00:00-24:00":           false,
		"24/7; Mo 10:00-12:00":        false,
		"24/7; PH 10:00-12:00":        false,
		"24/7; PH off":                false,
		"24/7; Mo[1] off":             false,
		"24/7; 2026 off":              false,
		"Jul-Jun":                     false, // it is, but only dates say so
		"Mo[1-5]; Tu-Su":              false,
		"PH; Mo-Sa":                   false,
		"10:00-10:00":                 false,
		"off":                         false,
	} {
		if got := mustParse(t, text).Always(); got != want {
			t.Errorf("Parse(%q).Always() = %v", text, got)
		}
	}
	var none *Schedule
	if !none.Always() || !none.Open(time.Now()) || none.String() != "" {
		t.Error("a nil schedule is not always open")
	}
	if _, _, ok := none.Next(time.Now()); ok {
		t.Error("a nil schedule changes")
	}
}

func TestNext(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ zone, hours, from, want string }{
		{"Europe/Paris", "Mo-Fr 08:30-19:00", "2026-03-02T07:00:00+01:00", "2026-03-02T08:30:00+01:00 opens"},
		{"Europe/Paris", "Mo-Fr 08:30-19:00", "2026-03-02T08:30:00+01:00", "2026-03-02T19:00:00+01:00 closes"},
		{"Europe/Paris", "Mo-Fr 08:30-19:00", "2026-03-06T19:00:00+01:00", "2026-03-09T08:30:00+01:00 opens"},
		{"Europe/Paris", "Mo-Fr 08:30-19:00", "2026-03-06T18:59:59.999+01:00", "2026-03-06T19:00:00+01:00 closes"},
		{"Europe/Paris", "Mo-Th 22:00-24:00, Tu 00:00-02:00", "2026-03-02T22:00:00+01:00", "2026-03-03T02:00:00+01:00 closes"},
		{"Europe/Paris", "24/7; Dec 25 off", "2026-12-26T00:00:00+01:00", "2027-12-25T00:00:00+01:00 closes"},
		{"Europe/Paris", "24/7; 2026 Jan 01 off", "2026-01-02T00:00:00+01:00", "none"},
		{"Europe/Paris", "off", "2026-01-02T00:00:00+01:00", "none"},
		{"Europe/Paris", "Jul-Jun", "2026-01-02T00:00:00+01:00", "none"},
		// 2026-03-29 has no 02:00 to 03:00, 2026-10-25 has it twice.
		{"Europe/Paris", "Su 02:30-05:00", "2026-03-29T01:00:00+01:00", "2026-03-29T03:00:00+02:00 opens"},
		{"Europe/Paris", "Su 01:00-02:30", "2026-03-29T01:00:00+01:00", "2026-03-29T03:00:00+02:00 closes"},
		{"Europe/Paris", "Su 02:10-02:50", "2026-03-29T00:00:00+01:00", "2026-04-05T02:10:00+02:00 opens"},
		{"Europe/Paris", "Su 08:00-12:00", "2026-03-28T12:00:00+01:00", "2026-03-29T08:00:00+02:00 opens"},
		{"Europe/Paris", "Su 01:00-02:30", "2026-10-25T01:00:00+02:00", "2026-10-25T02:30:00+02:00 closes"},
		{"Europe/Paris", "Su 01:00-02:30", "2026-10-25T02:30:00+02:00", "2026-10-25T02:00:00+01:00 opens"},
		{"Europe/Paris", "Su 01:00-02:30", "2026-10-25T02:00:00+01:00", "2026-10-25T02:30:00+01:00 closes"},
		{"Europe/Paris", "Su 08:00-12:00", "2026-10-24T12:00:00+02:00", "2026-10-25T08:00:00+01:00 opens"},
		{"America/Martinique", "Mo-Fr 08:00-12:00", "2026-03-02T07:00:00-04:00", "2026-03-02T08:00:00-04:00 opens"},
		{"Pacific/Noumea", "Mo-Fr 08:00-12:00", "2026-03-02T08:00:00+11:00", "2026-03-02T12:00:00+11:00 closes"},
	} {
		t.Run(test.hours+" "+test.from, func(t *testing.T) {
			t.Parallel()
			from, err := time.Parse(time.RFC3339, test.from)
			if err != nil {
				t.Fatal(err)
			}
			got := "none"
			if at, opens, ok := mustParse(t, test.hours).Next(from.In(location(t, test.zone))); ok {
				got = at.Format(time.RFC3339) + map[bool]string{true: " opens", false: " closes"}[opens]
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// TestHolidays compares with the dates of the ministry's published calendars.
func TestHolidays(t *testing.T) {
	t.Parallel()
	for year, want := range map[int]string{
		2000: "01-01 04-24 05-01 05-08 06-01 06-12 07-14 08-15 11-01 11-11 12-25",
		2008: "01-01 03-24 05-01 05-08 05-12 07-14 08-15 11-01 11-11 12-25", // Ascension Day on 1 May
		2024: "01-01 04-01 05-01 05-08 05-09 05-20 07-14 08-15 11-01 11-11 12-25",
		2026: "01-01 04-06 05-01 05-08 05-14 05-25 07-14 08-15 11-01 11-11 12-25",
		2038: "01-01 04-26 05-01 05-08 06-03 06-14 07-14 08-15 11-01 11-11 12-25", // the latest Easter
	} {
		var got []string
		for day := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC); day.Year() == year; day = day.AddDate(0, 0, 1) {
			if holiday(day.Date()) {
				got = append(got, day.Format("01-02"))
			}
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%d:\ngot  %s\nwant %s", year, text, want)
		}
	}
}

var zones = []string{"Europe/Paris", "America/Martinique", "Pacific/Noumea", "America/Miquelon",
	"Australia/Lord_Howe", "UTC"}

// randomHours returns hours made of parts that are close together, so that rules interact.
func randomHours(rnd *rand.Rand) string {
	pick := func(from ...string) string { return from[rnd.IntN(len(from))] }
	var text strings.Builder
	bare := false // a rule without hours, which must not be joined by a comma
	for i := range 1 + rnd.IntN(4) {
		dates := pick("", "", "", "Mar 01-31 ", "Mar 20-Apr 05 ", "Oct 25 ", "2026 Oct 20-28 ",
			"Dec 24-Jan 02 ", "week 1-53/2 ", "week 13,43-44 ")
		days := pick("", "Mo-Fr ", "Sa-Su ", "Fr-Mo ", "PH ", "Su,PH ", "Su[-1] ", "PH Mo-Fr ", "We ")
		hours := pick("", "09:00-12:00,14:00-18:00 ", "22:00-02:30 ", "02:15-02:45 ", "00:00-00:00 ",
			"10:00-10:00 ", "23:00-30:00 ", "01:00-03:00,03:00-05:00 ", "18:00-24:00 ")
		state := pick("", "", "off", "open")
		if i > 0 && dates+days == "" && hours != "" { // hours alone would replace everything
			state = "off"
		}
		rule, wasBare := dates+days+hours+state, bare
		if rule == "" {
			rule = "24/7"
		}
		bare = hours == "" && state != "off" && rule != "24/7"
		separator := pick("; ", ", ")
		switch {
		case i == 0:
			separator = ""
		case bare, wasBare, days == "PH Mo-Fr ": // the last case would be refused: after a comma it could continue a list of days
			separator = "; "
		}
		text.WriteString(separator + rule)
	}
	return text.String()
}

// TestNextIsFirstChange walks minute by minute to the change that Next returns, and beyond it.
func TestNextIsFirstChange(t *testing.T) {
	t.Parallel()
	const days = 5
	rnd := rand.New(rand.NewPCG(7, 2026))
	changes := 0
	for range 400 {
		text := randomHours(rnd)
		s := mustParse(t, text)
		loc := location(t, zones[rnd.IntN(len(zones))])
		// Half of them begin shortly before a clock change in Europe.
		from := time.Date(2026, time.January, rnd.IntN(800), rnd.IntN(24), rnd.IntN(60), rnd.IntN(60), rnd.IntN(1e9), loc)
		if rnd.IntN(2) == 0 {
			month := []time.Month{time.March, time.October}[rnd.IntN(2)]
			from = time.Date(2026, month, 24+rnd.IntN(5), rnd.IntN(24), rnd.IntN(60), 0, 0, loc)
		}
		var want time.Time
		limit := from.Add(days * 24 * time.Hour)
		was := s.Open(from)
		for at := from.Truncate(time.Minute).Add(time.Minute); !at.After(limit); at = at.Add(time.Minute) {
			if s.Open(at) != was {
				want = at
				break
			}
		}
		at, opens, ok := s.Next(from)
		switch {
		case !want.IsZero() && (!ok || !at.Equal(want) || opens == was):
			t.Errorf("%q from %v (%v): Next = %v %v %v, want %v", text, from, was, at, opens, ok, want)
		case want.IsZero() && ok && !at.After(limit):
			t.Errorf("%q from %v (%v): Next = %v, and nothing changes there", text, from, was, at)
		case !want.IsZero():
			changes++
		}
	}
	if changes < 100 {
		t.Errorf("only %d of the schedules changed: the test proves little", changes)
	}
}

// TestAlwaysIsNeverWrong checks what Always promises on every day of a year.
func TestAlwaysIsNeverWrong(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(3, 14))
	found := 0
	for range 3000 {
		text := randomHours(rnd)
		s := mustParse(t, text)
		if !s.Always() {
			continue
		}
		found++
		for day := range 366 {
			if open := s.day(2026, time.January, day); len(open) != 1 || open[0] != wholeDay {
				t.Fatalf("%q is not always open: %v on day %d", text, open, day)
			}
		}
	}
	if found == 0 {
		t.Error("no schedule was always open: the test proves nothing")
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"", "24/7", "Mo-Fr 08:30-19:00; Sa 09:00-12:00; PH off", "week 1-53/2 We 14:00-17:00", `2026 Dec 24-Jan 02 off "fermé"`,
		"Sa[1,-1] 22:00-26:00, Jul 01-14,16 off", "Lu-Ve 9h-12h", `"été": Jul: Mo–Fr 09:00-12:00`, "PH Mo-Fr 10:00-10:00",
	} {
		f.Add(text, int64(1774746000), uint8(0))
	}
	f.Fuzz(func(t *testing.T, text string, unix int64, zone uint8) {
		s, err := Parse(text)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Pos < 0 || e.Pos > len(text) || e.Msg == "" {
				t.Fatalf("Parse(%q) = %#v", text, err)
			}
			return
		}
		again, err := Parse(s.String())
		if err != nil {
			t.Fatalf("%q was read once and not again: %v", text, err)
		}
		const years = 100 * 365 * 24 * 3600
		from := time.Unix(unix%years, 0).In(location(t, zones[int(zone)%len(zones)]))
		was := s.Open(from)
		if again.Open(from) != was {
			t.Fatalf("%q differs when read again", text)
		}
		at, opens, ok := s.Next(from)
		switch {
		case ok && (!at.After(from) || at.After(from.Add(horizon)) || opens == was):
			t.Fatalf("%q: Next(%v) = %v %v while open is %v", text, from, at, opens, was)
		case ok && (s.Open(at) == was || s.Open(at.Add(-time.Second)) != was):
			t.Fatalf("%q: nothing changes at %v", text, at)
		case ok && s.Always():
			t.Fatalf("%q is always open and closes at %v", text, at)
		}
	})
}

func BenchmarkNextNever(b *testing.B) {
	s := mustParse(b, "Mo-Fr 08:30-19:00; Sa 09:00-12:00; PH off; 24/7 off")
	from := time.Date(2026, 3, 2, 0, 0, 0, 0, location(b, "Europe/Paris"))
	for b.Loop() {
		if _, _, ok := s.Next(from); ok {
			b.Fatal("it opens")
		}
	}
}
