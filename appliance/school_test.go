package appliance

import (
	"testing"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/hours"
)

// TestSchoolDatesEnd: the warning comes two months before the last known date, and only where hours need it.
func TestSchoolDatesEnd(t *testing.T) {
	t.Parallel()
	with := func(text string) *config.Config {
		s, err := hours.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return &config.Config{
			Box: config.Box{SchoolZone: "B"}, Donations: []config.Donation{{}, {Hours: s.InZone("B")}},
		}
	}
	end := hours.SchoolKnown("B")
	for _, test := range []struct {
		hours string
		at    time.Time
		want  bool
	}{
		{"Mo-Fr 09:00-12:00; SH off", end.AddDate(0, -2, -1), false},
		{"Mo-Fr 09:00-12:00; SH off", end.AddDate(0, -2, 1), true},
		{"Mo-Fr 09:00-12:00; SH off", end.AddDate(1, 0, 0), true},
		{"Mo-Fr 09:00-12:00; PH off", end.AddDate(1, 0, 0), false},
	} {
		if until, got := schoolDatesEnd(with(test.hours), test.at); got != test.want || !until.Equal(end) {
			t.Errorf("%q at %v: until %v, warns %t", test.hours, test.at, until, got)
		}
	}
	centre := with("Mo 09:00-12:00")
	centre.Centre.Hours = with("SH 09:00-12:00").Donations[1].Hours
	if _, got := schoolDatesEnd(centre, end); !got {
		t.Error("the centre's own hours are forgotten")
	}
}
