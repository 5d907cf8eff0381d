package daemon

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"passerelle/appliance/config"
	"passerelle/hw"
)

func TestConfiguredPins(t *testing.T) {
	t.Parallel()
	b := hw.Board{
		LED: "ACT", Light: &hw.GPIOLine{Chip: "pinctrl-rp1", Offset: 27},
		Button: &hw.GPIOLine{Chip: "pinctrl-rp1", Offset: 17, ActiveLow: true},
	}
	for _, c := range []struct {
		what           string
		led, button    config.Pin
		name           string
		light, pressed *hw.GPIOLine
	}{
		{"nothing", config.Pin{}, config.Pin{}, b.LED, b.Light, b.Button},
		{"none", config.Pin{None: true}, config.Pin{None: true}, "", nil, nil},
		{"another LED", config.Pin{LED: "PWR"}, config.Pin{}, "PWR", nil, b.Button},
		{
			"lines", config.Pin{Chip: "sim", Line: 3, Low: true}, config.Pin{Chip: "sim", Line: 4}, "",
			&hw.GPIOLine{Chip: "sim", Offset: 3, ActiveLow: true}, &hw.GPIOLine{Chip: "sim", Offset: 4},
		},
	} {
		got := Wired(b, config.Hardware{LED: c.led, Button: c.button})
		if diff := cmp.Diff([]any{c.name, c.light, c.pressed}, []any{got.LED, got.Light, got.Button}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.what, diff)
		}
	}
}
