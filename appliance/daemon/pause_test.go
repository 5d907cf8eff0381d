package daemon

import (
	"log/slog"
	"os"
	"testing"
	"time"

	"passerelle/appliance"
)

// TestPauseFile: a pause is read as it was stored. A missing or damaged file is no pause, and the next pause is stored.
func TestPauseFile(t *testing.T) {
	t.Parallel()
	d := &Daemon{log: slog.New(slog.DiscardHandler), paths: paths{state: t.TempDir()}}
	if got := d.loadPause(); got != (appliance.Pause{}) {
		t.Errorf("without a file: %+v", got)
	}
	want := appliance.Pause{By: "staff", Ends: true, Until: time.Date(2026, 11, 28, 8, 30, 0, 0, time.UTC)}
	for _, damage := range []string{"", "{", `{"version":9,"content":{}}`} {
		if damage != "" {
			if err := os.WriteFile(d.pauseFile().Path, []byte(damage), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := d.loadPause(); got != (appliance.Pause{}) {
				t.Errorf("with %q: %+v", damage, got)
			}
		}
		if err := d.savePause(want); err != nil {
			t.Fatal(err)
		}
		if got := d.loadPause(); got.By != want.By || !got.Ends || !got.Until.Equal(want.Until) {
			t.Errorf("after %q: %+v, want %+v", damage, got, want)
		}
	}
	if err := d.savePause(appliance.Pause{}); err != nil || d.loadPause() != (appliance.Pause{}) {
		t.Errorf("removed: %+v, %v", d.loadPause(), err)
	}
}
