package hours

import (
	"strings"
	"testing"
	"time"
)

// TestWeek: weeks from Saturday 21 November 2026 on.
func TestWeek(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 11, 21, 23, 30, 0, 0, location(t, "Europe/Paris"))
	for _, test := range []struct{ hours, week, others string }{
		{"Mo-Fr 08:30-19:00; Sa 09:00-12:00",
			"08:30-19:00|08:30-19:00|08:30-19:00|08:30-19:00|08:30-19:00|09:00-12:00|closed", ""},
		{"Mo-Fr 08:30-12:00,13:30-19:00; Th 12:00-24:00",
			"08:30-12:00, 13:30-19:00|08:30-12:00, 13:30-19:00|08:30-12:00, 13:30-19:00|12:00-24:00|08:30-12:00, 13:30-19:00|closed|closed",
			""},
		{"", "day and night|day and night|day and night|day and night|day and night|day and night|day and night", ""},
		{"off", "closed|closed|closed|closed|closed|closed|closed", ""},
		{"Tu 10:00-10:00", // a night, and the morning after it
			"closed|10:00-24:00|00:00-10:00|closed|closed|closed|closed", ""},
		{"Mo-Fr 09:00-12:00; PH off; Aug off", // 14 July is a Wednesday; 25 December, 1 January and 15 August are not all
			"09:00-12:00|09:00-12:00|09:00-12:00|09:00-12:00|09:00-12:00|closed|closed",
			"2026-12-25 closed|2027-01-01 closed|2027-03-29 closed|2027-05-06 closed|2027-05-17 closed|2027-07-14 closed|" +
				"2027-08-02 to 2027-08-31 closed|2027-11-01 closed|2027-11-11 closed"},
		{"We 14:00-17:00; 2026 Dec 24-Jan 02 10:00-11:00",
			"closed|closed|14:00-17:00|closed|closed|closed|closed", "2026-12-24 to 2027-01-02 10:00-11:00"},
		{"week 1-53/2 We 14:00-17:00; Nov-Jul off; Sep 15-Oct 31 off",
			"closed|closed|closed|closed|closed|closed|closed",
			"2027-08-04 14:00-17:00|2027-08-18 14:00-17:00|2027-09-01 14:00-17:00"},
	} {
		s, err := Parse(test.hours)
		if err != nil {
			t.Errorf("%q: %v", test.hours, err)
			continue
		}
		w := s.Week(from)
		var days []string
		for _, day := range w.Days {
			days = append(days, day.String())
		}
		if got := strings.Join(days, "|"); got != test.week {
			t.Errorf("%q:\ngot  %s\nwant %s", test.hours, got, test.week)
		}
		var others []string
		for _, o := range w.Exceptions {
			text := o.From.Format(time.DateOnly)
			if !o.To.Equal(o.From) {
				text += o.To.Format(" to " + time.DateOnly)
			}
			others = append(others, text+" "+o.Hours.String())
		}
		if got := strings.Join(others, "|"); got != test.others {
			t.Errorf("%q:\ngot  %s\nwant %s", test.hours, got, test.others)
		}
	}
}

func TestDoubts(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                               "",
		"24/7":                           "",
		"open":                           "",
		"off; Mo-Fr 09:00-12:00; Sa off": "",
		"Mo-Fr 08:30-19:00; Sa 09:00-12:00; PH off":            "",
		"Mo-Fr 08:30-19:00; Sa-Su off":                         "",
		"Mo-Fr 08:30-19:00; We 14:00-17:00":                    "",
		"Mo-Fr 08:30-19:00; PH off; 2026 Jul 14 10:00-12:00":   "",
		"Mo-Fr 08:30-19:00; 12:00-14:00 off":                   "",
		"Mo-Fr 08:30-19:00; Jul-Aug 09:00-12:00; Aug off":      "",
		"Mo-Th 18:00-02:00, Fr 18:00-03:00":                    "",
		"19:00-08:00":                                          "",
		"10:00-12:00,14:00-02:00":                              "",
		"Sep-Jun Mo-Fr 09:00-18:00; Jul-Aug Mo-Fr 09:00-12:00": "",

		"Mo-Fr 09:00-05:00":                     "over midnight",
		"Mo-Fr 08:00-12:00,02:00-06:00":         "goes back",
		"Mo-Fr 17:00-09:00":                     "over midnight",
		"10:00-48:00":                           "over midnight",
		"Mo-Su 18:00-02:00; We off":             `"Mo-Su 18:00-02:00" opens after midnight also when "We off" holds on the day before`,
		"Mo-Th 18:00-02:00; PH off":             "opens after midnight",
		"Mo-Th 18:00-02:00; Fr 18:00-03:00":     "",
		"Mo-Fr 10:00-12:00; We unknown":         `"We unknown" counts as closed`,
		"Mo-Fr 10:00-12:00+":                    "is not certain",
		"Mo-Fr 08:30-19:00; SH off; easter off": "",
		"Mo-Fr 08:30-19:00; Sa":                 `"Sa" has no hours`,
		"Mo-Fr 08:30-19:00; PH":                 `"PH" has no hours`,
		`Sa open "sur rendez-vous"`:             `"Sa open \"sur rendez-vous\"" has no hours`,
		"Mo-Fr 09:00-12:00; Mo-Su 14:00-18:00":  `"Mo-Fr 09:00-12:00" has no effect: "Mo-Su 14:00-18:00" comes after it`,
		"PH off; Mo-Fr 09:00-18:00; Dec 25 off": `"PH off" does not hold on some of its days, because "Mo-Fr 09:00-18:00"`,
		"We off; Mo-Fr 09:00-18:00":             `"We off" has no effect`,
		"Aug off; Mo-Su 09:00-18:00":            `"Aug off" has no effect`,
		"Jul-Aug 09:00-12:00; Mo-Fr 09:00-18:00": `"Jul-Aug 09:00-12:00" does not hold on some of its days, ` +
			`because "Mo-Fr 09:00-18:00"`,
		"Dec 24-Jan 02 off, 10:00-11:00":                  `"Dec 24-Jan 02 off" has no effect`,
		"Sa-Su off, 10:00-11:00":                          `"Sa-Su off" has no effect`,
		"12:00-14:00 off; Mo-Su 09:00-18:00":              `"12:00-14:00 off" has no effect`,
		"2026 Aug off; Mo-Fr 09:00-12:00; Sa 10:00-11:00": `"2026 Aug off" does not hold on some`,
	} {
		got := strings.Join(mustParse(t, text).Warnings(), "\n")
		if want == "" && got != "" || !strings.Contains(got, want) || strings.Contains(got, "\n") {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	var none *Schedule
	if got := none.Warnings(); got != nil {
		t.Errorf("no schedule: %q", got)
	}
}
