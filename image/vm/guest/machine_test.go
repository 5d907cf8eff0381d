package guest_test

import (
	"os"
	"testing"

	"passerelle/image/vm/guest"
)

// TestMachine checks that the machine is as the tests expect.
func TestMachine(t *testing.T) {
	needMachine(t)
	radios, err := os.ReadDir("/sys/class/ieee80211")
	must(t, err)
	if len(radios) != 8 {
		t.Errorf("%d radios, want 8", len(radios))
	}
	for _, name := range []string{"passerelle", "bench"} {
		path, err := guest.Program(name)
		must(t, err)
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}
