package metrics

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"passerelle/appliance/fleet/report"
	"passerelle/cmd/hub/registry"
	"passerelle/cmd/hub/survey"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	now := time.Date(2027, 3, 29, 9, 0, 0, 0, time.UTC)
	said := func(v report.Version, faults ...report.Fault) []survey.Day {
		r := report.Report{Form: report.Form, Day: "2027-03-28", Release: v, State: "sharing", Faults: faults}
		return []survey.Day{{Report: r, At: now.Add(-time.Hour)}}
	}
	member := func(name, association string, days []survey.Day) survey.Box {
		return survey.Box{Box: registry.Box{Name: name, Association: association, Stage: registry.Member, Centre: "Centre secret", Seen: now.Add(-time.Hour)}, Days: days}
	}
	source := Source{
		Boxes: func() []survey.Box {
			return []survey.Box{
				member("aaaaaaaaaa", "lilas", said("1.2.0")),
				member("bbbbbbbbbb", "lilas", said("1.2.0", report.Fault{Code: "kernel-fails", Error: true}, report.Fault{Code: "disk-fails", Error: true})),
				{Box: registry.Box{Name: "cccccccccc", Association: "roses", Stage: registry.Waiting, Asked: now}},
			}
		},
		Streams: func(context.Context) ([]registry.Stream, error) {
			return []registry.Stream{{Name: "UP", Messages: 12, Bytes: 3400, Current: 2, Replicas: 3}}, nil
		},
		Connections: func() int { return 7 }, Now: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler),
	}
	want := `# HELP passerelle_hub_boxes Boxes by association and stage.
# TYPE passerelle_hub_boxes gauge
passerelle_hub_boxes{association="lilas",stage="member"} 2
passerelle_hub_boxes{association="roses",stage="waiting"} 1
# HELP passerelle_hub_boxes_needing_attention Boxes by association and by why they need attention; one may count for several.
# TYPE passerelle_hub_boxes_needing_attention gauge
passerelle_hub_boxes_needing_attention{association="lilas",kind="fault"} 1
passerelle_hub_boxes_needing_attention{association="roses",kind="waiting"} 1
# HELP passerelle_hub_boxes_release Members by the release that they run.
# TYPE passerelle_hub_boxes_release gauge
passerelle_hub_boxes_release{release="1.2.0"} 2
# HELP passerelle_hub_connections Connections to this hub, its own among them.
# TYPE passerelle_hub_connections gauge
passerelle_hub_connections 7
# HELP passerelle_hub_stream_bytes Bytes of a stream.
# TYPE passerelle_hub_stream_bytes gauge
passerelle_hub_stream_bytes{stream="UP"} 3400
# HELP passerelle_hub_stream_hubs Hubs that should have a stream.
# TYPE passerelle_hub_stream_hubs gauge
passerelle_hub_stream_hubs{stream="UP"} 3
# HELP passerelle_hub_stream_hubs_in_step Hubs that have all of a stream.
# TYPE passerelle_hub_stream_hubs_in_step gauge
passerelle_hub_stream_hubs_in_step{stream="UP"} 2
# HELP passerelle_hub_stream_messages Messages of a stream.
# TYPE passerelle_hub_stream_messages gauge
passerelle_hub_stream_messages{stream="UP"} 12
# HELP passerelle_hub_streams_up 1 if the hub knows how the streams are; else their metrics are absent.
# TYPE passerelle_hub_streams_up gauge
passerelle_hub_streams_up 1
`
	if err := testutil.CollectAndCompare(collector{source}, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	scrape := func() string {
		w := httptest.NewRecorder()
		Handler(source).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		if w.Code != 200 {
			t.Fatalf("%d: %s", w.Code, w.Body)
		}
		return w.Body.String()
	}
	for _, name := range []string{"aaaaaaaaaa", "cccccccccc", "Centre secret"} {
		if strings.Contains(scrape(), name) {
			t.Errorf("the metrics name %q", name)
		}
	}
	source.Streams = func(context.Context) ([]registry.Stream, error) { return nil, errors.New("no hub leads") }
	if text := scrape(); !strings.Contains(text, "passerelle_hub_streams_up 0") || strings.Contains(text, "stream_bytes") {
		t.Errorf("without streams:\n%s", text)
	}
}
