package report

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func keep(t *testing.T, d Days, day Day, sessions uint64) []byte {
	t.Helper()
	r := Of(day, "v0.4.2", shown(), Sums{Sessions: sessions})
	if err := d.Keep(r); err != nil {
		t.Fatal(err)
	}
	text, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A day stays until the hub shows its last text: sending it is not enough.
func TestShown(t *testing.T) {
	d := Days{filepath.Join(t.TempDir(), "reports")}
	if days, err := d.List(); err != nil || days != nil {
		t.Errorf("before the first: %v, %v", days, err)
	}
	first := keep(t, d, "2026-12-01", 10)
	second := keep(t, d, "2026-12-01", 20)
	other := keep(t, d, "2026-11-30", 30)
	for _, test := range []struct {
		day   Day
		text  []byte
		shown bool
		left  int
	}{
		{"2026-12-01", first, false, 2}, {"2026-12-01", other, false, 2}, {"2026-12-02", second, false, 2}, {"../x", second, false, 2},
		{"2026-12-01", nil, false, 2}, {"2026-12-01", second, true, 1}, {"2026-12-01", second, false, 1}, {"2026-11-30", other, true, 0},
	} {
		shown, err := d.Shown(test.day, test.text)
		if shown != test.shown || (err != nil) == test.day.Valid() {
			t.Errorf("%s: %v, %v", test.day, shown, err)
		}
		if days, err := d.List(); err != nil || len(days) != test.left {
			t.Errorf("%s: left %v, %v", test.day, days, err)
		}
	}
}

// A box that is offline for long keeps its last days, and a damaged file does not block the others.
func TestDaysBounded(t *testing.T) {
	d := Days{filepath.Join(t.TempDir(), "reports")}
	start := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	for n := range KeepDays + 5 {
		keep(t, d, Day(start.AddDate(0, 0, n).Format(time.DateOnly)), uint64(n))
	}
	days, err := d.List()
	if err != nil || len(days) != KeepDays || days[0] != "2026-10-06" {
		t.Errorf("%d days from %v, %v", len(days), days[:1], err)
	}
	for i, text := range []string{"", "{", `{"form":9}`, fmt.Sprintf("%070000d", 0)} {
		if err := os.WriteFile(d.path(days[i]), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Text(days[i]); err == nil {
			t.Errorf("%.20q is read", text)
		}
	}
	if left, err := d.List(); err != nil || len(left) != KeepDays-4 {
		t.Errorf("%d days are left, %v", len(left), err)
	}
	for _, name := range []string{"x.json", "2026-10-40.json", ".2026-10-06.json1"} {
		if err := os.WriteFile(filepath.Join(d.Dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := d.List(); err != nil || len(left) != KeepDays-4 {
		t.Errorf("%d days, %v", len(left), err)
	}
}

// If two days a year apart have the same name at the hub, only the newer one is kept: it would replace the other there.
func TestSameDayOfAnotherYear(t *testing.T) {
	d := Days{filepath.Join(t.TempDir(), "reports")}
	keep(t, d, "2025-12-01", 1)
	keep(t, d, "2025-12-02", 2)
	keep(t, d, "2026-12-01", 3)
	if days, err := d.List(); err != nil || len(days) != 2 || days[0] != "2025-12-02" || days[1] != "2026-12-01" {
		t.Errorf("%v, %v", days, err)
	}
}
