package hours

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestDay(t *testing.T) {
	t.Parallel()
	monday := time.Date(2026, 9, 7, 15, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		text string
		days string // Monday to Sunday
	}{
		{"", "[{0 1440}] [{0 1440}] [{0 1440}] [{0 1440}] [{0 1440}] [{0 1440}] [{0 1440}]"},
		{"24/7", "[{0 1440}] [{0 1440}] [{0 1440}] [{0 1440}] [{0 1440}] [{0 1440}] [{0 1440}]"},
		{"Mo 09:00-12:00,11:00-17:00; Sa 22:00-02:00", "[{540 1020}] [] [] [] [] [{1320 1440}] [{0 120}]"},
	} {
		s, err := Parse(c.text)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for i := range 7 {
			got += fmt.Sprintf(" %v", []Span(s.Day(monday.AddDate(0, 0, i))))
		}
		if got[1:] != c.days {
			t.Errorf("%q:%s, want %s", c.text, got, c.days)
		}
	}
	if Holiday(monday) || !Holiday(time.Date(2026, 7, 14, 0, 0, 0, 0, time.UTC)) {
		t.Error("the 14th of July is a public holiday, the 7th of September is none")
	}
}

func TestWeekly(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][2]bool{
		"":                                   {true, false},
		"Mo-Fr 09:00-12:00; Sa 10:00-12:00":  {true, false},
		"Mo-Fr 09:00-12:00; PH off":          {true, true},
		"Mo-Fr 09:00-12:00; PH,Su off":       {true, true},
		"Mo 09:00-12:00; Sa[1] 09:00-12:00":  {false, false},
		"week 1-53/2 Mo 09:00-12:00":         {false, false},
		"Mo 09:00-12:00; Jul 01-Aug 31 off":  {false, false},
		"2026 Mo 09:00-12:00; PH off":        {false, true},
		"Mo-Su 00:00-00:00":                  {true, false},
		"Mo-Fr 09:00-12:00, Mo 14:00-17:00 ": {true, false},
	} {
		s, err := Parse(text)
		if err != nil {
			t.Error(err)
			continue
		}
		if weekly, holidays := s.Weekly(); !slices.Equal([]bool{weekly, holidays}, want[:]) {
			t.Errorf("%q: weekly %t, holidays %t", text, weekly, holidays)
		}
	}
}
