package hw

import (
	"fmt"
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Health is what the board feels itself.
type Health struct {
	Known       bool    // the board tells its temperature
	Temperature float64 // of the processor, in °C

	PowerKnown   bool      // the board tells whether its power supply is too weak
	UnderVoltage bool      // it was within the last two seconds
	LastUnder    time.Time // when it was last seen to be, since the sensors were made; zero: never
}

// Heat is what a temperature means.
type Heat int

// From 80 °C on a Raspberry Pi's firmware slows the processor down, more and more up to 85 °C, where it slows everything
// (raspberrypi.com/documentation, "Frequency management and thermal control"). Other boards do so at about the same. A
// model 3 B+ takes a first step at 60 °C already, which a box doesn't feel.
const (
	warmFrom = 70 // °C: still fast, but a summer day or a cupboard away from slow
	hotFrom  = 80
)

// The heats.
const (
	Fine Heat = iota
	Warm
	TooHot
)

func (h Heat) String() string { return [...]string{"fine", "warm", "too hot"}[h] }

// Heat says what the temperature means; one that is not known is Fine.
func (h Health) Heat() Heat {
	switch {
	case !h.Known || h.Temperature < warmFrom:
		return Fine
	case h.Temperature < hotFrom:
		return Warm
	}
	return TooHot
}

// Complaints says what is wrong with the board and what to do about it, in plain English.
func (h Health) Complaints() []string {
	var all []string
	switch h.Heat() {
	case Warm:
		all = append(all, fmt.Sprintf("the board is warm (%.0f °C): give it air, and no sun", h.Temperature))
	case TooHot:
		all = append(all, fmt.Sprintf("the board is too hot (%.0f °C) and slows down: give it air, and no sun", h.Temperature))
	}
	const remedy = "use the power supply made for this board, and a short cable"
	switch {
	case h.UnderVoltage:
		all = append(all, "the board gets too little power now: "+remedy)
	case !h.LastUnder.IsZero():
		all = append(all, "the board got too little power for a moment, and may again: "+remedy)
	}
	return all
}

// String is e.g. "54 °C, fine; power fine".
func (h Health) String() string {
	temperature, power := "temperature not known", "power not known"
	if h.Known {
		temperature = fmt.Sprintf("%.0f °C, %v", h.Temperature, h.Heat())
	}
	if h.PowerKnown {
		power = "power fine"
		if h.UnderVoltage {
			power = "power too weak"
		}
	}
	return temperature + "; " + power
}

// Sensors read the board's health. They are safe for concurrent use.
type Sensors struct {
	root fs.FS
	now  func() time.Time

	mu                   sync.Mutex
	temperature, voltage string // files; "" while there is none
	lastUnder            time.Time
}

// NewSensors returns the sensors of the machine whose files are below root.
func NewSensors(root fs.FS, now func() time.Time) *Sensors { return &Sensors{root: root, now: now} }

// processors are the types of the thermal zones that lie in the processor, the better known first: of device trees (all
// boards of the table have cpu-thermal) and of PCs.
var processors = []string{"cpu-thermal", "soc-thermal", "x86_pkg_temp"}

// Read asks the sensors. It costs two reads of small files; as long as a sensor is missing (its driver may come later),
// also a look into its folder.
//
// The under-voltage is that of hwmon's rpi_volt (drivers/hwmon/raspberrypi-hwmon.c): its driver asks the firmware every
// two seconds whether there was any since it last asked.
func (s *Sensors) Read() Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	var h Health
	var milli int64
	if milli, h.Known = s.read(&s.temperature, "sys/class/thermal/thermal_zone*/type", "temp", processors...); h.Known {
		h.Temperature = math.Round(float64(milli)/100) / 10
	}
	var alarm int64
	if alarm, h.PowerKnown = s.read(&s.voltage, "sys/class/hwmon/hwmon*/name", "in0_lcrit_alarm", "rpi_volt"); alarm != 0 {
		h.UnderVoltage, s.lastUnder = true, s.now()
	}
	h.LastUnder = s.lastUnder
	return h
}

// read returns the number in a sensor's file. Where that isn't known, it looks for a folder whose label, among those
// that the pattern matches, is one of the names.
func (s *Sensors) read(file *string, labels, value string, names ...string) (number int64, ok bool) {
	if *file == "" {
		*file = s.find(labels, value, names)
	}
	if *file == "" {
		return 0, false
	}
	text, err := fs.ReadFile(s.root, *file)
	if err != nil {
		*file = "" // its driver is gone, or it has no answer now
		return 0, false
	}
	number, err = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return number, err == nil
}

func (s *Sensors) find(labels, value string, names []string) string {
	files, err := fs.Glob(s.root, labels)
	if err != nil {
		return ""
	}
	for _, name := range names {
		for _, file := range files {
			label, err := fs.ReadFile(s.root, file)
			if err == nil && strings.TrimSpace(string(label)) == name {
				return path.Join(path.Dir(file), value)
			}
		}
	}
	return ""
}
