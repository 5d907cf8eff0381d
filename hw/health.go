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

	"passerelle/appliance/state"
)

// Health is what the board's sensors measure.
type Health struct {
	Known       bool    // the board has a temperature sensor
	Temperature float64 // of the processor, in °C

	PowerKnown   bool      // the board detects under-voltage
	UnderVoltage bool      // within the last two seconds
	LastUnder    time.Time // when it was last seen, since NewSensors; zero: never
}

// Heat classifies a temperature.
type Heat int

// From 80 °C a Raspberry Pi's firmware throttles the processor, increasingly up to 85 °C, where it throttles everything
// (raspberrypi.com/documentation, "Frequency management and thermal control"). Other boards throttle at about the same
// temperature. A model 3 B+ takes a first step at 60 °C already, which does not matter for a box.
const (
	warmFrom = 70 // °C: not throttled yet, but it would be on a hot day or in a cupboard
	hotFrom  = 80
)

// The heats.
const (
	Fine Heat = iota
	Warm
	TooHot
)

func (h Heat) String() string { return [...]string{"fine", "warm", "too hot"}[h] }

// Heat classifies the temperature; an unknown one is Fine.
func (h Health) Heat() Heat {
	switch {
	case !h.Known || h.Temperature < warmFrom:
		return Fine
	case h.Temperature < hotFrom:
		return Warm
	}
	return TooHot
}

// Problems says what is wrong with the board.
func (h Health) Problems() (all []state.Problem) {
	celsius := strconv.FormatFloat(h.Temperature, 'f', 0, 64)
	switch h.Heat() {
	case Warm:
		all = append(all, state.NewProblem(state.BoardWarm, "celsius", celsius))
	case TooHot:
		all = append(all, state.NewProblem(state.BoardHot, "celsius", celsius))
	}
	switch {
	case h.UnderVoltage:
		all = append(all, state.NewProblem(state.PowerWeak))
	case !h.LastUnder.IsZero():
		all = append(all, state.NewProblem(state.PowerWasWeak))
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
	temperature, voltage string // the sensors' files; "" if not found yet
	lastUnder            time.Time
}

// NewSensors returns the sensors of the machine with this root file system.
func NewSensors(root fs.FS, now func() time.Time) *Sensors { return &Sensors{root: root, now: now} }

// cpuZones are the types of the processor's thermal zones, the most common first: in device trees (all boards of the table have
// cpu-thermal) and on PCs.
var cpuZones = []string{"cpu-thermal", "soc-thermal", "x86_pkg_temp"}

// Read reads the sensors. It costs two reads of small files, and a search for each sensor that is missing (its driver may be
// loaded later).
//
// Under-voltage is that of hwmon's rpi_volt (drivers/hwmon/raspberrypi-hwmon.c). Every two seconds its driver asks the firmware
// whether there was any since the last time.
func (s *Sensors) Read() Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	var h Health
	var milli int64
	if milli, h.Known = s.read(&s.temperature, "sys/class/thermal/thermal_zone*/type", "temp", cpuZones...); h.Known {
		h.Temperature = math.Round(float64(milli)/100) / 10
	}
	var alarm int64
	if alarm, h.PowerKnown = s.read(&s.voltage, "sys/class/hwmon/hwmon*/name", "in0_lcrit_alarm", "rpi_volt"); alarm != 0 {
		h.UnderVoltage, s.lastUnder = true, s.now()
	}
	h.LastUnder = s.lastUnder
	return h
}

// read returns the number in a sensor's file. If the file isn't known yet, it searches the label files that match the pattern
// labels for one of the names, and uses the file value in the same folder.
func (s *Sensors) read(file *string, labels, value string, names ...string) (number int64, ok bool) {
	if *file == "" {
		*file = s.find(labels, value, names)
	}
	if *file == "" {
		return 0, false
	}
	text, err := fs.ReadFile(s.root, *file)
	if err != nil {
		*file = "" // its driver was removed, or the read failed
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
