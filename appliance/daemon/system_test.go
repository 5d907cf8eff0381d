package daemon

import (
	"testing"
	"testing/fstest"

	"passerelle/appliance/state"
)

func TestReadSystem(t *testing.T) {
	t.Parallel()
	kernel := &fstest.MapFile{Data: []byte("6.12.57+deb13-arm64\n")}
	for _, c := range []struct {
		name string
		root fstest.MapFS
		want state.System
	}{
		{"no image", fstest.MapFS{"proc/sys/kernel/osrelease": kernel}, state.System{Kernel: "6.12.57+deb13-arm64"}},
		{"the image", fstest.MapFS{"proc/sys/kernel/osrelease": kernel, firmwareFile: {Data: []byte("raspi-firmware 1, u-boot-rpi 2\n")}},
			state.System{Kernel: "6.12.57+deb13-arm64", Firmware: "raspi-firmware 1, u-boot-rpi 2"}},
		{"nothing", fstest.MapFS{}, state.System{}},
	} {
		if got := readSystem(c.root); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}
