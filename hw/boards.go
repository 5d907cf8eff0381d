package hw

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// GPIOLine is a line of a GPIO chip. The chip is identified by its label, because its number changes between kernels (on a Pi 5
// the header was gpiochip4 and became gpiochip0: github.com/raspberrypi/linux/pull/6144).
type GPIOLine struct {
	Chip      string
	Offset    int
	ActiveLow bool
}

func (l GPIOLine) String() string {
	s := fmt.Sprintf("line %d of %s", l.Offset, l.Chip)
	if l.ActiveLow {
		s += ", active low"
	}
	return s
}

// Board describes a board.
type Board struct {
	Name   string    // of the model family
	Model  string    // from the device tree; "" without a device tree (a PC)
	LED    string    // name in /sys/class/leds of the LED that shows the State, or StatusLEDs; "": none
	Light  *GPIOLine // where a light may be connected
	Button *GPIOLine // where a button may be connected
	Radio  Radio     // built in; the zero value: none is known
	models []string  // prefixes of Model; the firmware appends a revision
}

// Radio is a board's built-in Wi-Fi chip.
type Radio struct {
	Interface string // the kernel's name, if no other radio was detected first
	Chip      string
	Firmware  string // file name of its firmware; "" if this machine has none, or it is not looked up
	Stations  int    // the maximum of stations that it serves as an access point, with that firmware
}

// The limits are the firmware's and depend on the chip's memory. Above its limit, the firmware rejects stations, or crashes. The
// limits are undocumented and differ between versions. These are the lowest that users have reported since 2020:
//   - BCM43455: 7 or 8 (github.com/raspberrypi/linux/issues/3010, github.com/raspberrypi/firmware/issues/1403)
//   - BCM43430: 10 (github.com/iiab/iiab/issues/823)
//   - BCM43436: not measured; the lower end of the "between 7 and 10" that the documentation's issue gives for all chips
var (
	bcm43430 = Radio{Interface: "wlan0", Chip: "BCM43430", Stations: 10}
	bcm43436 = Radio{Interface: "wlan0", Chip: "BCM43436", Stations: 7}
	bcm43455 = Radio{Interface: "wlan0", Chip: "BCM43455", Stations: 7}
)

// For the BCM43455 there is a firmware that serves more stations, and can still be a station itself. Its limit is in
// debian/config/brcm80211/cypress/README.txt of github.com/RPi-Distro/firmware-nonfree. The driver loads driversFirmware, which
// is a symbolic link to the actual file.
const (
	driversFirmware = "usr/lib/firmware/brcm/brcmfmac43455-sdio.bin"
	manyFirmware    = "cyfmac43455-sdio-minimal.bin"
	manyStations    = 19
	mostLinks       = 8 // links that are followed, because they may form a loop
)

// withFirmware returns the radio with the firmware that the machine has for it. Raspberry Pi OS chooses the firmware by a link in
// /etc/alternatives; in the image the build chooses it.
func withFirmware(r Radio, root fs.FS) Radio {
	name := driversFirmware
	for range mostLinks {
		to, err := fs.ReadLink(root, name)
		if err != nil {
			if _, err := fs.Stat(root, name); err == nil {
				r.Firmware = path.Base(name)
			}
			break
		}
		if path.IsAbs(to) {
			name = strings.TrimPrefix(path.Clean(to), "/")
		} else {
			name = path.Join(path.Dir(name), to)
		}
	}
	if r.Firmware == manyFirmware {
		r.Stations = manyStations
	}
	return r
}

// driverStations are the maxima of stations of radios on USB, by driver, where the driver does not tell the kernel:
//   - ath9k_htc (AR9271, AR7010): ATH9K_HTC_MAX_STA in drivers/net/wireless/ath/ath9k/htc.h, minus one for the access point; users
//     report 7 (github.com/qca/open-ath9k-htc-firmware/issues/43)
//   - mt7921u: MT792x_WTBL_STA in drivers/net/wireless/mediatek/mt76/mt792x.h; users report 16
//     (github.com/morrownr/USB-WiFi/issues/369)
var driverStations = map[string]int{"ath9k_htc": 7, "mt7921u": 15}

// Stations returns how many stations a radio serves as an access point, 0 if that is not known. The radio is the board's own, or
// one on USB, and is identified by its driver's name as `ethtool -i` prints it.
func (b Board) Stations(driver string) int {
	if driver == ownDriver {
		return b.Radio.Stations
	}
	return driverStations[driver]
}

// ownDriver is the driver of all boards' own radios.
const ownDriver = "brcmfmac"

// StatusLEDs are all LEDs with the function "status" in the device tree.
const StatusLEDs = "*:status"

// header returns the lines for a light and a button on the header. On every Raspberry Pi since the B+ it has GPIO17 on pin 11,
// next to ground on pin 9, and GPIO27 on pin 13, next to ground on pin 14 (documentation of periph.io/x/host/v3/rpi). A box does
// not use them otherwise. A button connects pin 11 to ground, so it is active low; the chip's pull-up is enough. A light with its
// resistor connects pin 13 to ground.
func header(chip string) (light, button *GPIOLine) {
	return &GPIOLine{Chip: chip, Offset: 27}, &GPIOLine{Chip: chip, Offset: 17, ActiveLow: true}
}

// boards is the table. Sources, in the kernel:
//   - models: bcm2837-rpi-zero-2-w.dts, bcm2837-rpi-3-b.dts, bcm2837-rpi-3-b-plus.dts and bcm2711-rpi-4-b.dts in
//     arch/arm/boot/dts/broadcom, and the file included by bcm2712-rpi-5-b.dts in arch/arm64/boot/dts/broadcom
//   - labels: bcm2835_gpio_chip and bcm2711_gpio_chip in drivers/pinctrl/bcm/pinctrl-bcm2835.c, and rp1_gpio_chip in
//     drivers/pinctrl/pinctrl-rp1.c
//   - LED: bcm283x-rpi-led-deprecated.dtsi, and for the Pi 5 the Raspberry Pi kernel's own bcm2712-rpi-5-b.dts. The kernel knows
//     its pin and polarity. The red LED continues to show that there is power.
var boards = []Board{
	raspberry("Raspberry Pi Zero 2 W", "pinctrl-bcm2835", bcm43436, "Raspberry Pi Zero 2 W"),
	raspberry("Raspberry Pi 3 B", "pinctrl-bcm2835", bcm43430, "Raspberry Pi 3 Model B"),
	// The Raspberry Pi's own firmware spells it "Plus".
	raspberry("Raspberry Pi 3 B+", "pinctrl-bcm2835", bcm43455, "Raspberry Pi 3 Model B+", "Raspberry Pi 3 Model B Plus"),
	raspberry("Raspberry Pi 4 B", "pinctrl-bcm2711", bcm43455, "Raspberry Pi 4 Model B"),
	raspberry("Raspberry Pi 5", "pinctrl-rp1", bcm43455, "Raspberry Pi 5"),
}

func raspberry(name, chip string, radio Radio, models ...string) Board {
	light, button := header(chip)
	return Board{Name: name, models: models, LED: "ACT", Light: light, Button: button, Radio: radio}
}

// generic is a board that is not in the table: its pins and radios are unknown.
var generic = Board{Name: "generic", LED: StatusLEDs}

// Identify returns the machine's board. root is the machine's file system. Even with an error it returns a usable Board.
func Identify(root fs.FS) (Board, error) {
	text, err := fs.ReadFile(root, "proc/device-tree/model")
	if errors.Is(err, fs.ErrNotExist) {
		return generic, nil
	}
	if err != nil {
		return generic, fmt.Errorf("read the board's model: %w", err)
	}
	model := strings.TrimRight(string(text), "\x00\n")
	b, longest := generic, 0
	for _, x := range boards {
		for _, m := range x.models {
			rest, ok := strings.CutPrefix(model, m)
			if ok && (rest == "" || rest[0] == ' ') && len(m) > longest {
				b, longest = x, len(m)
			}
		}
	}
	b.Model = model
	if b.Radio == bcm43455 {
		b.Radio = withFirmware(b.Radio, root)
	}
	return b, nil
}
