package hw

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sysFiles writes the files of a board as in sysfs: a class is a folder of links to devices.
func sysFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		class, rest, _ := strings.Cut(name, "/")
		device, file, _ := strings.Cut(rest, "/")
		folder := filepath.Join(root, "sys", "devices", device)
		link := filepath.Join(root, "sys", "class", class, device)
		for _, dir := range []string{folder, filepath.Dir(link)} {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(filepath.Join("../../devices", device), link); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestSensors(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	for what, c := range map[string]struct {
		files map[string]string
		want  Health
	}{
		"nothing": {map[string]string{}, Health{}},
		"a Pi": {
			map[string]string{
				"thermal/thermal_zone0/type": "cpu-thermal\n", "thermal/thermal_zone0/temp": "48686\n",
				"thermal/cooling_device0/type": "pwm-fan\n",
				"hwmon/hwmon0/name":            "cpu_thermal\n", "hwmon/hwmon0/in0_lcrit_alarm": "1\n",
				"hwmon/hwmon1/name": "rpi_volt\n", "hwmon/hwmon1/in0_lcrit_alarm": "0\n",
			},
			Health{Known: true, Temperature: 48.7, PowerKnown: true},
		},
		"a weak supply in the cold": {
			map[string]string{
				"thermal/thermal_zone0/type": "cpu-thermal\n", "thermal/thermal_zone0/temp": "-2500\n",
				"hwmon/hwmon0/name": "rpi_volt\n", "hwmon/hwmon0/in0_lcrit_alarm": "1\n",
			},
			Health{Known: true, Temperature: -2.5, PowerKnown: true, UnderVoltage: true, LastUnder: noon},
		},
		"a PC": {
			map[string]string{
				"thermal/thermal_zone0/type": "acpitz\n", "thermal/thermal_zone0/temp": "27800\n",
				"thermal/thermal_zone1/type": "x86_pkg_temp\n", "thermal/thermal_zone1/temp": "61000\n",
			},
			Health{Known: true, Temperature: 61},
		},
		"one that says nonsense": {
			map[string]string{
				"thermal/thermal_zone0/type": "cpu-thermal\n", "thermal/thermal_zone0/temp": "hot\n",
				"hwmon/hwmon0/name": "rpi_volt\n",
			},
			Health{},
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := NewSensors(os.DirFS(sysFiles(t, c.files)), func() time.Time { return noon })
			if diff := cmp.Diff(c.want, s.Read()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestSensorsComeAndGo checks that a driver that is loaded later is found, that a removed one is not an error, and that a moment
// of under-voltage is remembered.
func TestSensorsComeAndGo(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	root := sysFiles(t, map[string]string{"hwmon/hwmon0/name": "other\n"})
	s := NewSensors(os.DirFS(root), func() time.Time { return now })
	if h := s.Read(); h != (Health{}) {
		t.Errorf("before: %+v", h)
	}
	alarm := filepath.Join(root, "sys/devices/hwmon0/in0_lcrit_alarm")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(root, "sys/devices/hwmon0/name"), "rpi_volt\n")
	write(alarm, "1\n")
	if h := s.Read(); !h.PowerKnown || !h.UnderVoltage || h.LastUnder != now {
		t.Errorf("too little power: %+v", h)
	}
	began := now
	now = now.Add(3 * time.Hour)
	write(alarm, "0\n")
	if h := s.Read(); !h.PowerKnown || h.UnderVoltage || h.LastUnder != began {
		t.Errorf("3 hours later: %+v", h)
	}
	if err := os.Remove(alarm); err != nil {
		t.Fatal(err)
	}
	if h := s.Read(); h.PowerKnown || h.UnderVoltage || h.LastUnder != began {
		t.Errorf("without the driver: %+v", h)
	}
}

func TestHealthInWords(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		h        Health
		words    string
		problems []string
	}{
		{Health{}, "temperature not known; power not known", nil},
		{Health{Known: true, Temperature: 69.9, PowerKnown: true}, "70 °C, fine; power fine", nil},
		{
			Health{Known: true, Temperature: 70}, "70 °C, warm; power not known",
			[]string{"the board is warm (70 °C): give it air, and no sun"},
		},
		{
			Health{Known: true, Temperature: 80, PowerKnown: true, UnderVoltage: true, LastUnder: noon},
			"80 °C, too hot; power too weak",
			[]string{
				"the board is too hot (80 °C) and slows down: give it air, and no sun",
				"the board gets too little power now: use the power supply made for this board, and a short cable",
			},
		},
		{
			Health{PowerKnown: true, LastUnder: noon}, "temperature not known; power fine",
			[]string{
				"the board got too little power for a moment, and may again: " +
					"use the power supply made for this board, and a short cable",
			},
		},
	} {
		if got := c.h.String(); got != c.words {
			t.Errorf("got %q, want %q", got, c.words)
		}
		var problems []string
		for _, p := range c.h.Problems() {
			problems = append(problems, p.String())
		}
		if diff := cmp.Diff(c.problems, problems); diff != "" {
			t.Errorf("%v (-want +got):\n%s", c.h, diff)
		}
	}
}
