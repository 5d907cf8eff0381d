// Package metrics exports what a hub knows to Prometheus: boxes by association, what needs attention, and the state of the streams. It
// owns the names of the metrics. It must not know the pages, and exports nothing about residents and no box's name: a label is an
// association, a release, a stream, or a word of a closed set.
package metrics

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"passerelle/cmd/hub/registry"
	"passerelle/cmd/hub/survey"
)

// Source is where the metrics come from.
type Source struct {
	Boxes       func() []survey.Box
	Streams     func(context.Context) ([]registry.Stream, error)
	Connections func() int
	Now         func() time.Time
	Log         *slog.Logger
}

const (
	scrapes  = 2 // answered at once
	patience = 5 * time.Second
)

// Handler returns the handler of the metrics. It does not authenticate clients.
func Handler(s Source) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(collector{s})
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{
		ErrorLog: errorLog{s.Log}, ErrorHandling: promhttp.HTTPErrorOnError, MaxRequestsInFlight: scrapes,
	})
}

// errorLog writes the handler's errors into the log.
type errorLog struct{ log *slog.Logger }

func (l errorLog) Println(v ...any) { l.log.Warn("metrics", "error", v) }

type collector struct{ Source }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("passerelle_hub_"+name, help, labels, nil)
}

// The metrics.
var (
	boxes       = desc("boxes", "Boxes by association and stage.", "association", "stage")
	attention   = desc("boxes_needing_attention", "Boxes by association and by why they need attention; one may count for several.", "association", "kind")
	releases    = desc("boxes_release", "Members by the release that they run.", "release")
	connections = desc("connections", "Connections to this hub, its own among them.")
	messages    = desc("stream_messages", "Messages of a stream.", "stream")
	size        = desc("stream_bytes", "Bytes of a stream.", "stream")
	inStep      = desc("stream_hubs_in_step", "Hubs that have all of a stream.", "stream")
	replicas    = desc("stream_hubs", "Hubs that should have a stream.", "stream")
	up          = desc("streams_up", "1 if the hub knows how the streams are; else their metrics are absent.")
)

// Describe sends nothing: the metrics depend on the boxes, so this is an unchecked collector.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect sends the current metrics.
func (c collector) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	type pair struct{ association, word string }
	staged, needed, running := map[pair]int{}, map[pair]int{}, map[string]int{}
	all, now := c.Boxes(), c.Now()
	current := survey.Current(all, now)
	for _, b := range all {
		staged[pair{b.Association, string(b.Stage)}]++
		if v := b.Release(); b.Stage == registry.Member && v != "" {
			running[string(v)]++
		}
		had := map[survey.Kind]bool{}
		for _, n := range b.Needs(current, now) {
			if !had[n.Kind] {
				had[n.Kind] = true
				needed[pair{b.Association, string(n.Kind)}]++
			}
		}
	}
	for p, n := range staged {
		gauge(boxes, float64(n), p.association, p.word)
	}
	for p, n := range needed {
		gauge(attention, float64(n), p.association, p.word)
	}
	for v, n := range running {
		gauge(releases, float64(n), v)
	}
	gauge(connections, float64(c.Connections()))
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	streams, err := c.Streams(ctx)
	if err != nil {
		c.Log.Warn("metrics of the streams", "err", err)
		gauge(up, 0)
		return
	}
	gauge(up, 1)
	for _, s := range streams {
		gauge(messages, float64(s.Messages), s.Name)
		gauge(size, float64(s.Bytes), s.Name)
		gauge(inStep, float64(s.Current), s.Name)
		gauge(replicas, float64(s.Replicas), s.Name)
	}
}
