package hw

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/gpio/gpiotest"
)

func machine(model string) fstest.MapFS {
	if model == "" {
		return fstest.MapFS{}
	}
	return fstest.MapFS{"proc/device-tree/model": {Data: []byte(model + "\x00")}}
}

func TestIdentify(t *testing.T) {
	t.Parallel()
	for model, want := range map[string]string{
		"":                                    "generic",
		"Raspberry Pi Zero 2 W":               "Raspberry Pi Zero 2 W",
		"Raspberry Pi Zero 2 W Rev 1.0":       "Raspberry Pi Zero 2 W",
		"Raspberry Pi Zero W Rev 1.1":         "generic",
		"Raspberry Pi 3 Model B Rev 1.2":      "Raspberry Pi 3 B",
		"Raspberry Pi 3 Model B+":             "Raspberry Pi 3 B+",
		"Raspberry Pi 3 Model B Plus Rev 1.3": "Raspberry Pi 3 B+",
		"Raspberry Pi 3 Model A Plus Rev 1.0": "generic",
		"Raspberry Pi 4 Model B Rev 1.5":      "Raspberry Pi 4 B",
		"Raspberry Pi 400 Rev 1.0":            "generic",
		"Raspberry Pi 5":                      "Raspberry Pi 5",
		"Raspberry Pi 5 Model B Rev 1.0":      "Raspberry Pi 5",
		"Raspberry Pi 500 Rev 1.0":            "generic",
		"Radxa ROCK 3A":                       "generic",
	} {
		b, err := Identify(machine(model))
		if err != nil || b.Name != want || b.Model != model {
			t.Errorf("%q: %s, %q, %v; not %s", model, b.Name, b.Model, err, want)
		}
	}
}

func TestBuiltInRadios(t *testing.T) {
	t.Parallel()
	for model, want := range map[string]Radio{
		"Raspberry Pi Zero 2 W Rev 1.0":       {Interface: "wlan0", Chip: "BCM43436", Stations: 7},
		"Raspberry Pi 3 Model B Rev 1.2":      {Interface: "wlan0", Chip: "BCM43430", Stations: 10},
		"Raspberry Pi 3 Model B Plus Rev 1.3": {Interface: "wlan0", Chip: "BCM43455", Stations: 7},
		"Raspberry Pi 4 Model B Rev 1.5":      {Interface: "wlan0", Chip: "BCM43455", Stations: 7},
		"Raspberry Pi 5 Model B Rev 1.0":      {Interface: "wlan0", Chip: "BCM43455", Stations: 7},
		"Some Router":                         {},
	} {
		b, err := Identify(machine(model))
		if err != nil || b.Radio != want {
			t.Errorf("%q: %+v, %v; not %+v", model, b.Radio, err, want)
		}
	}
}

// TestFirmwareForManyPhones checks that the firmware that the driver's name links to decides how many stations the radio serves.
func TestFirmwareForManyPhones(t *testing.T) {
	t.Parallel()
	link := func(to string) *fstest.MapFile { return &fstest.MapFile{Mode: fs.ModeSymlink, Data: []byte(to)} }
	file := &fstest.MapFile{Data: []byte("firmware")}
	const at = "usr/lib/firmware/"
	for name, c := range map[string]struct {
		files    fstest.MapFS
		firmware string
		stations int
	}{
		"none": {nil, "", 7},
		"Debian's": {fstest.MapFS{driversFirmware: link("../cypress/cyfmac43455-sdio.bin"), at + "cypress/cyfmac43455-sdio.bin": file},
			"cyfmac43455-sdio.bin", 7},
		"the image's for many": {fstest.MapFS{driversFirmware: link("../cypress/" + manyFirmware), at + "cypress/" + manyFirmware: file},
			manyFirmware, 19},
		"Raspberry Pi OS's": {fstest.MapFS{
			driversFirmware:                         link("../cypress/cyfmac43455-sdio.bin"),
			at + "cypress/cyfmac43455-sdio.bin":     link("/etc/alternatives/cyfmac43455-sdio.bin"),
			"etc/alternatives/cyfmac43455-sdio.bin": link("/usr/lib/firmware/cypress/" + manyFirmware),
			at + "cypress/" + manyFirmware:          file,
		}, manyFirmware, 19},
		"a file":     {fstest.MapFS{driversFirmware: file}, "brcmfmac43455-sdio.bin", 7},
		"a dead end": {fstest.MapFS{driversFirmware: link("../cypress/" + manyFirmware)}, "", 7},
		"a loop":     {fstest.MapFS{driversFirmware: link("brcmfmac43455-sdio.bin")}, "", 7},
		"outside":    {fstest.MapFS{driversFirmware: link("../../../../../../" + manyFirmware)}, "", 7},
	} {
		root := machine("Raspberry Pi 4 Model B Rev 1.5")
		maps.Copy(root, c.files)
		b, err := Identify(root)
		if err != nil || b.Radio.Firmware != c.firmware || b.Radio.Stations != c.stations {
			t.Errorf("%s: %+v, %v", name, b.Radio, err)
		}
	}
}

// TestStations checks that the limit depends on the radio, whatever its interface is called.
func TestStations(t *testing.T) {
	t.Parallel()
	b, err := Identify(machine("Raspberry Pi 3 Model B Rev 1.2"))
	if err != nil {
		t.Fatal(err)
	}
	for driver, want := range map[string]int{"brcmfmac": 10, "ath9k_htc": 7, "mt7921u": 15, "mt76x2u": 0, "": 0} {
		if got := b.Stations(driver); got != want {
			t.Errorf("%q: %d stations, want %d", driver, got, want)
		}
	}
	if got := generic.Stations("brcmfmac"); got != 0 {
		t.Errorf("an unknown board's: %d", got)
	}
}

// fakeKernel has chips and LEDs. One with "broken" in its name or label cannot be opened.
type fakeKernel struct {
	labels, names []string
	pins          map[string]*gpiotest.Pin
	held          []string
}

func (k *fakeKernel) chips() []string { return k.labels }
func (k *fakeKernel) leds() []string  { return k.names }

func (k *fakeKernel) take(name string) (*gpiotest.Pin, func() error, error) {
	if strings.Contains(name, "broken") {
		return nil, nil, errors.New("it is broken")
	}
	p := &gpiotest.Pin{N: name}
	k.pins[name] = p
	k.held = append(k.held, name)
	return p, func() error {
		k.held = slices.DeleteFunc(k.held, func(s string) bool { return s == name })
		return nil
	}, nil
}

func (k *fakeKernel) led(name string) (gpio.PinOut, func() error, error) { return k.take(name) }

func (k *fakeKernel) line(l GPIOLine) (gpio.PinIO, func() error, error) {
	if !slices.Contains(k.labels, l.Chip) {
		return nil, nil, errors.New("there is no such chip")
	}
	return k.take(fmt.Sprintf("%s %d", l.Chip, l.Offset))
}

func TestOpen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what, model           string
		labels, leds          []string
		lights, button, amiss string
	}{
		{what: "a PC", leds: []string{"input3::capslock", "platform::micmute"}},
		{
			what: "a Pi 4", model: "Raspberry Pi 4 Model B Rev 1.4",
			labels: []string{"raspberrypi-exp-gpio", "pinctrl-bcm2711"}, leds: []string{"ACT", "PWR", "mmc0::"},
			lights: "LED ACT white, line 27 of pinctrl-bcm2711 white", button: "line 17 of pinctrl-bcm2711, active low",
		},
		{
			what: "a Pi 5 whose header is not there", model: "Raspberry Pi 5 Model B Rev 1.0",
			labels: []string{"gpio-brcmstb@107d508500"}, leds: []string{"ACT", "PWR"},
			lights: "LED ACT white",
			amiss: "light at line 27 of pinctrl-rp1: there is no such chip, " +
				"button at line 17 of pinctrl-rp1, active low: there is no such chip",
		},
		{
			what: "a router with three", model: "Some Router", labels: []string{"gpio0"},
			leds:   []string{"red:status", "router:green:status", "blue:status", "green:lan", "status"},
			lights: "LED red:status red, LED router:green:status green, LED blue:status blue",
		},
		{
			what: "a Pi 4 whose kernel has no name for its LED", model: "Raspberry Pi 4 Model B",
			labels: []string{"pinctrl-bcm2711"},
			lights: "line 27 of pinctrl-bcm2711 white", button: "line 17 of pinctrl-bcm2711, active low",
			amiss: "light ACT: no such LED",
		},
		{
			what: "one of two is broken", model: "Some Router", leds: []string{"broken:red:status", "green:status"},
			lights: "LED green:status green", amiss: "light broken:red:status: it is broken",
		},
	} {
		k := &fakeKernel{labels: c.labels, names: c.leds, pins: map[string]*gpiotest.Pin{}}
		b, err := Identify(machine(c.model))
		if err != nil {
			t.Fatal(err)
		}
		d := open(b, k)
		var lights, amiss []string
		for _, l := range d.Lights {
			lights = append(lights, l.Name+" "+l.Colour.String())
		}
		for _, err := range d.Errors {
			amiss = append(amiss, err.Error())
		}
		button := ""
		if d.Contact != nil {
			button = d.Contact.Name
			if pin := d.Contact.Pin.(*gpiotest.Pin); pin.P != gpio.PullUp || d.Contact.Pressed() {
				t.Errorf("%s: the button is pulled %s, pressed %t", c.what, pin.P, d.Contact.Pressed())
			}
		}
		if got := strings.Join(lights, ", "); got != c.lights {
			t.Errorf("%s: lights %s, not %s", c.what, got, c.lights)
		}
		if button != c.button {
			t.Errorf("%s: button %s, not %s", c.what, button, c.button)
		}
		if got := strings.Join(amiss, ", "); got != c.amiss {
			t.Errorf("%s: error %s, not %s", c.what, got, c.amiss)
		}
		if d.Empty() != (c.lights == "" && c.button == "") {
			t.Errorf("%s: empty %t", c.what, d.Empty())
		}
		if err := d.Close(); err != nil || len(k.held) > 0 {
			t.Errorf("%s: %v, and %s is held after the end", c.what, err, k.held)
		}
	}
}

// TestThisMachine checks that on any machine opening succeeds, and that the devices found can be released.
func TestThisMachine(t *testing.T) {
	b, err := Identify(machine("Raspberry Pi 9 of tomorrow"))
	if err != nil || b.Name != "generic" {
		t.Errorf("it is a %s: %v", b.Name, err)
	}
	d := Open(b)
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

func TestTriggerComesBack(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "trigger")
	for text, want := range map[string]string{
		"none timer [mmc0] heartbeat\n": "mmc0",
		"[none] timer mmc0\n":           "none",
		"none timer\n":                  "",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := readTrigger(path)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	if err := writeTrigger(path, "mmc0"); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "mmc0" {
		t.Errorf("written: %q, %v", text, err)
	}
	if err := writeTrigger(filepath.Join(path, "x"), "mmc0"); err == nil {
		t.Error("nothing was written, without an error")
	}
}
