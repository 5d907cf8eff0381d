package state

import (
	"encoding/json"
	"testing"
	"time"
)

// TestDate: a date is that of the time's zone, and survives JSON.
func TestDate(t *testing.T) {
	t.Parallel()
	tahiti := time.FixedZone("TAHT", -10*3600)
	for _, c := range []struct {
		at   time.Time
		want string
	}{
		{time.Date(2026, 11, 21, 0, 0, 0, 0, tahiti), `"2026-11-21"`},
		{time.Date(2026, 11, 21, 23, 59, 59, 0, tahiti), `"2026-11-21"`},
		{time.Date(2026, 11, 21, 23, 0, 0, 0, tahiti).UTC(), `"2026-11-22"`},
	} {
		text, err := json.Marshal(Day{Date: DateOf(c.at), Bytes: 5})
		if want := `{"date":` + c.want + `,"bytes":5}`; err != nil || string(text) != want {
			t.Errorf("%v: %s, %v, want %s", c.at, text, err, want)
		}
		var d Day
		if err := json.Unmarshal(text, &d); err != nil || d.Date != DateOf(c.at) {
			t.Errorf("%s: %v, %v", text, d, err)
		}
	}
	if err := json.Unmarshal([]byte(`{"date":"tomorrow"}`), new(Day)); err == nil {
		t.Error(`"tomorrow" is accepted`)
	}
}

// TestSplit: granted bytes are part of what is left; they are zero for a donation that is not in use.
func TestSplit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		d             Donation
		left, granted uint64
	}{
		{Donation{Left: 10, Granted: 4}, 10, 0},
		{Donation{Chosen: true, Left: 10, Granted: 4}, 6, 4},
		{Donation{Chosen: true, Left: 3, Granted: 4}, 0, 3}, // the rest belongs to the reserve
	} {
		if left, granted := c.d.Split(); left != c.left || granted != c.granted {
			t.Errorf("%+v: %d and %d, want %d and %d", c.d, left, granted, c.left, c.granted)
		}
	}
}
