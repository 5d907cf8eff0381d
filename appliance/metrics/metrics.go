// Package metrics shows the box's Status to Prometheus. It owns the names of the metrics, and what they tell of residents: counts in
// steps of five, and nothing below five. It gets a Status and the sizes of a disk from its caller. It must not know the loop, the
// kernel, files or pages.
//
// Names follow Prometheus's conventions: base units, _total for counters, labels from bounded sets (States, donations in the
// configuration, child processes, downloads). Names are stable: metrics are added, never changed.
//
// A donation's counter of bytes restarts with each of its periods. rate() and increase() treat that as a counter reset.
package metrics

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"passerelle/appliance/state"
)

// Disk is the disk with the box's state, in bytes. Free is what the box may still write. Zero means unknown.
type Disk struct{ Free, Size uint64 }

// Source is what the metrics are made from.
type Source struct {
	Release string
	Status  func() state.Status
	Disk    func() Disk
	Log     *slog.Logger
}

// scrapes is how many scrapes are answered concurrently.
const scrapes = 2

// Handler answers with the metrics. It does not authenticate clients.
func Handler(s Source) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(collector{s})
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{
		ErrorLog: errorLog{s.Log}, ErrorHandling: promhttp.HTTPErrorOnError, MaxRequestsInFlight: scrapes,
		DisableCompression: true, // it takes memory, and the network is local
	})
}

// errorLog writes the handler's errors into the log.
type errorLog struct{ log *slog.Logger }

func (l errorLog) Println(v ...any) { l.log.Warn("metrics", "error", v) }

// collector makes metrics of a Status, once per scrape.
type collector struct{ Source }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("passerelle_"+name, help, labels, nil)
}

// The metrics.
var (
	info         = desc("build_info", "The release that runs.", "release")
	boxState     = desc("state", "1 for the State that the box is in.", "state")
	started      = desc("start_time_seconds", "When the daemon started.")
	clockTrusted = desc("clock_trusted", "1 if the time of day is trusted: caps reset, and opening hours close.")
	paused       = desc("paused", "1 if somebody paused sharing.")
	problems     = desc("problems", "Problems that somebody must fix.", "severity")

	sessions = desc("sessions", "Running sessions of residents, rounded down to a multiple of 5; absent below 5.")
	stations = desc("hotspot_devices", "Devices on the hotspot's radio, rounded down to a multiple of 5; absent below 5.")
	refused  = desc("refused_devices_total",
		"Devices that asked for the internet and did not get it, rounded down to a multiple of 5; absent below 5.", "reason")
	radioOn = desc("hotspot_on", "1 if the hotspot's radio is on the air.")

	used     = desc("donation_used_bytes_total", "Bytes on the line in this period, both directions. Each period begins at 0.", "donation")
	capacity = desc("donation_cap_bytes", "The cap of a period. Absent without a cap.", "donation")
	left     = desc("donation_left_bytes", "What is left of the cap for residents. Absent without a cap.", "donation")
	reserve  = desc("donation_reserve_bytes", "What is left of the cap for essential services. Absent without a cap.", "donation")
	withheld = desc("donation_withheld_bytes", "What the lender took off the cap in this period. Absent without a cap.", "donation")
	resets   = desc("donation_reset_time_seconds", "When the next period begins. Absent if it is not known.", "donation")
	isOpen   = desc("donation_open", "1 within the donation's opening hours.", "donation")
	isPaused = desc("donation_paused", "1 if its lender or a technician paused it.", "donation")
	works    = desc("donation_working", "1 if the line leads to the internet.", "donation")
	slow     = desc("donation_slow", "1 if the line works, but resolves names slowly.", "donation")
	chosen   = desc("donation_in_use", "1 if residents use it.", "donation")
	spent    = desc("donation_spent", "1 if nothing is left for residents.", "donation")
	signal   = desc("donation_signal_dbm", "Signal of the lender's Wi-Fi network. Absent for others.", "donation")

	childUp       = desc("child_up", "1 if the child process runs.", "child")
	childRestarts = desc("child_restarts", "Unexpected exits of the child process in a row.", "child")
	downloaded    = desc("download_last_success_time_seconds", "When the file was last imported, or had not changed.", "download")

	temperature = desc("board_temperature_celsius", "Temperature of the processor.")
	powerWeak   = desc("board_power_weak", "1 if the board gets too little power now.")
	diskFree    = desc("disk_free_bytes", "What the box may still write to the disk of its state.")
	diskSize    = desc("disk_size_bytes", "Size of the disk of the box's state.")
	slotProven  = desc("slot_proven", "1 if the running system of the card has proved itself.")
)

// Describe sends nothing: the metrics depend on the Status, so this is an unchecked collector.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect sends the metrics of this moment.
func (c collector) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	flag := func(d *prometheus.Desc, v bool, labels ...string) {
		if v {
			gauge(d, 1, labels...)
		} else {
			gauge(d, 0, labels...)
		}
	}
	at := func(d *prometheus.Desc, t time.Time, labels ...string) {
		if !t.IsZero() {
			gauge(d, float64(t.Unix()), labels...)
		}
	}

	s := c.Status()
	gauge(info, 1, c.Release)
	for _, x := range state.States {
		flag(boxState, s.State == x, string(x))
	}
	at(started, s.Started)
	flag(clockTrusted, s.Clock.Trusted)
	flag(paused, s.PausedBy != "")
	for _, severity := range []state.Severity{state.Warning, state.Error} {
		n := 0
		for _, p := range s.Problems {
			if p.Severity() == severity {
				n++
			}
		}
		gauge(problems, float64(n), string(severity))
	}

	if n := people(uint64(s.Residents.Sessions)); n > 0 {
		gauge(sessions, n)
	}
	for reason, n := range map[string]uint64{
		"data": s.Residents.Refused.Data, "not-sharing": s.Residents.Refused.NotSharing, "busy": s.Residents.Refused.Busy,
	} {
		if n := people(n); n > 0 {
			counter(refused, n, reason)
		}
	}
	if wifi := s.Hotspot.WiFi; wifi != nil {
		flag(radioOn, wifi.On)
		if n := people(uint64(wifi.Stations)); n > 0 {
			gauge(stations, n)
		}
	}

	for _, d := range s.Donations {
		counter(used, float64(d.Used), d.Name)
		if d.Cap != 0 {
			gauge(capacity, float64(d.Cap), d.Name)
			gauge(left, float64(d.Left), d.Name)
			gauge(reserve, float64(d.Reserve), d.Name)
			gauge(withheld, float64(d.Stated+d.Lowered), d.Name)
		}
		at(resets, d.Resets, d.Name)
		flag(isOpen, d.Open, d.Name)
		flag(isPaused, d.PausedBy != "", d.Name)
		flag(works, d.Works, d.Name)
		flag(slow, d.Slow, d.Name)
		flag(chosen, d.Chosen, d.Name)
		flag(spent, d.Spent, d.Name)
		if d.Signal != 0 {
			gauge(signal, float64(d.Signal), d.Name)
		}
	}

	for _, x := range s.Children {
		flag(childUp, x.Running, x.Name)
		gauge(childRestarts, float64(x.Restarts), x.Name)
	}
	for _, x := range s.Downloads {
		at(downloaded, x.Done, x.Name)
	}
	if t := s.Board.Temperature; t != nil {
		gauge(temperature, *t)
	}
	if weak := s.Board.PowerWeak; weak != nil {
		flag(powerWeak, *weak)
	}
	if disk := c.Disk(); disk.Size > 0 {
		gauge(diskFree, float64(disk.Free))
		gauge(diskSize, float64(disk.Size))
	}
	if slots := s.Slots; slots != nil {
		flag(slotProven, slots.Proven())
	}
}

// people returns a count of residents as it is shown, see state.InFives.
func people(n uint64) float64 { return float64(state.InFives(n)) }
