package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/gpio/gpiotest"

	"passerelle/hw"
)

func someHardware() (d *hw.Devices, contact *gpiotest.Pin) {
	contact = &gpiotest.Pin{L: gpio.High}
	return &hw.Devices{
		Board: hw.Board{
			Name: "Raspberry Pi 4 B", Model: "Raspberry Pi 4 Model B Rev 1.4",
			Radio: hw.Radio{Interface: "wlan0", Chip: "BCM43455", Firmware: "cyfmac43455-sdio.bin", Stations: 7},
		},
		Chips:   []string{"pinctrl-bcm2711, /dev/gpiochip0, 58 lines"},
		LEDs:    []string{"ACT", "PWR"},
		Lights:  []hw.Light{{Name: "LED ACT", Pin: &gpiotest.Pin{}, Colour: hw.White}},
		Contact: &hw.Contact{Name: "line 17 of pinctrl-bcm2711, active low", Pin: contact, ActiveLow: true},
		Errors:  []error{errors.New("light at line 27 of pinctrl-bcm2711: another uses it")},
	}, contact
}

func TestHardwareIsDescribed(t *testing.T) {
	t.Parallel()
	d, contact := someHardware()
	if err := contact.Out(gpio.Low); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`board   Raspberry Pi 4 B (Raspberry Pi 4 Model B Rev 1.4)
radio   wlan0 (BCM43455) supports 7 devices at a time with its firmware (cyfmac43455-sdio.bin, 7.45.1 (a fictional one))
health  82 °C, too hot; power fine
chip    pinctrl-bcm2711, /dev/gpiochip0, 58 lines
leds    ACT, PWR
light   LED ACT, white
button  line 17 of pinctrl-bcm2711, active low, pressed
problem light at line 27 of pinctrl-bcm2711: another uses it
problem the board is too hot (82 °C) and slows down: give it air, and no sun
`, describeHardware(d, "7.45.1 (a fictional one)", hw.Health{Known: true, Temperature: 82, PowerKnown: true})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestHardwareIsTried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, contact := someHardware()
		go func() {
			time.Sleep(time.Second)
			_ = contact.Out(gpio.Low)
			time.Sleep(16 * time.Second)
			_ = contact.Out(gpio.High)
		}()
		var out bytes.Buffer
		tryHardware(t.Context(), &out, d, 40*time.Second)
		want := "shows starting shows fault shows setup shows paused asks reset " +
			"shows closed shows exhausted shows offline shows sharing"
		if diff := cmp.Diff(want, strings.Join(strings.Fields(out.String()), " ")); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}
