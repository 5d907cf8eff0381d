package metrics

import (
	"bytes"
	"encoding/json"
	"flag"
	"log/slog"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"passerelle/appliance/state"
)

var update = flag.Bool("update", false, "write the golden file")

// full returns a status in which everything occurs.
func full() state.Status {
	degrees, weak := 51.5, false
	at := time.Date(2026, 11, 21, 15, 10, 0, 0, time.UTC)
	return state.Status{
		State: state.Sharing, Started: at.Add(-time.Hour), Clock: state.Clock{Now: at, Trusted: true},
		Hotspot:   state.Hotspot{WiFi: &state.WiFi{On: true, Stations: 13}},
		Residents: state.Residents{Sessions: 12, Refused: state.Refused{Data: 4, NotSharing: 17, Busy: 5}},
		Donations: []state.Donation{
			{
				Name: "Fibre du centre", Open: true, Works: true, Chosen: true, Cap: 200e9, Used: 83_700_000_000, Left: 112_640_000_000,
				Reserve: 2e9, Stated: 1e9, Lowered: 2e9, Resets: at.AddDate(0, 0, 9),
			},
			{Name: `Chez "Lucie"`, PausedBy: "its lender", Used: 12, Signal: -61},
		},
		Board: state.Board{Temperature: &degrees, PowerWeak: &weak}, Slots: &state.Slots{Running: "a", Good: "a"},
		Children:  []state.Child{{Name: "dnsmasq", Running: true, Restarts: 1}},
		Downloads: []state.Download{{Name: "places", Done: at}},
		Problems:  []state.Problem{state.NewProblem(state.BoardWarm, "celsius", "70")},
	}
}

func source(s state.Status) Source {
	return Source{
		Release: "1.2.3", Status: func() state.Status { return s }, Disk: func() Disk { return Disk{5e9, 16e9} },
		Log: slog.New(slog.DiscardHandler),
	}
}

func scrape(t *testing.T, s state.Status) string {
	t.Helper()
	w := httptest.NewRecorder()
	Handler(source(s)).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// TestExposition compares the metrics with their golden file.
func TestExposition(t *testing.T) {
	t.Parallel()
	const golden = "testdata/full.txt"
	got := scrape(t, full())
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("-want +got; -update writes it:\n%s", diff)
	}
}

// TestConventions: names and types pass Prometheus's linter.
func TestConventions(t *testing.T) {
	t.Parallel()
	r := prometheus.NewRegistry()
	r.MustRegister(collector{source(full())})
	flaws, err := testutil.GatherAndLint(r)
	if err != nil || len(flaws) > 0 {
		t.Errorf("%+v, %v", flaws, err)
	}
}

// TestFewPeople: below five, the metrics tell nothing of residents, not even that there are any. Above, one more or less does not show.
func TestFewPeople(t *testing.T) {
	t.Parallel()
	with := func(n int) string {
		s := full()
		s.Residents.Sessions, s.Hotspot.WiFi.Stations = n, n
		s.Residents.Refused = state.Refused{Data: uint64(n), NotSharing: uint64(n), Busy: uint64(n)}
		return scrape(t, s)
	}
	nobody := with(0)
	if regexp.MustCompile(`(sessions|devices|refused)`).MatchString(nobody) {
		t.Errorf("of nobody there is\n%s", nobody)
	}
	for n := range 40 {
		if diff := cmp.Diff(with(n/5*5), with(n)); diff != "" {
			t.Errorf("%d people are told from %d:\n%s", n, n/5*5, diff)
		}
	}
	if with(4) == with(5) || with(9) == with(10) {
		t.Error("counts do not follow")
	}
}

// TestUnknown: unknown values are left out, and a box that has nothing yet has metrics.
func TestUnknown(t *testing.T) {
	t.Parallel()
	got := scrape(t, state.Status{State: state.Starting, Donations: []state.Donation{{Name: "Fibre"}}})
	for _, absent := range []string{"_cap_", "_left_", "reset_time", "temperature", "signal", "hotspot", "slot", "start_time"} {
		if strings.Contains(got, absent) {
			t.Errorf("%s is said:\n%s", absent, got)
		}
	}
	if !strings.Contains(got, `passerelle_state{state="starting"} 1`) || !strings.Contains(got, `passerelle_donation_used_bytes_total{donation="Fibre"} 0`) {
		t.Errorf("it says:\n%s", got)
	}
}

// TestDashboard: the metrics and labels that the Grafana dashboard queries exist.
func TestDashboard(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../image/grafana/passerelle.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Title  string
		Panels []struct {
			Title   string
			Targets []struct{ Expr, LegendFormat string }
		}
		Templating struct{ List []struct{ Query any } }
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	r := prometheus.NewRegistry()
	r.MustRegister(collector{source(full())})
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	n := 0
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			n++
			names := regexp.MustCompile(`passerelle_\w+`).FindAllString(target.Expr, -1)
			if len(names) == 0 {
				t.Errorf("%s asks for %q", p.Title, target.Expr)
			}
			for _, name := range names {
				shown[name] = true
				f := slices.IndexFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == name })
				if f < 0 {
					t.Errorf("%s asks for %s, which is not there", p.Title, name)
					continue
				}
				labels := []string{"instance", "job"} // Prometheus's own
				for _, l := range families[f].Metric[0].Label {
					labels = append(labels, l.GetName())
				}
				asked := regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`).FindAllStringSubmatch(target.LegendFormat, -1)
				for _, by := range regexp.MustCompile(regexp.QuoteMeta(name)+`\{([^}]*)\}`).FindAllStringSubmatch(target.Expr, -1) {
					asked = append(asked, regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)`).FindAllStringSubmatch(by[1], -1)...)
				}
				for _, label := range asked {
					if !slices.Contains(labels, label[1]) {
						t.Errorf("%s asks %s for the label %s; it has %q", p.Title, name, label[1], labels)
					}
				}
				rated := strings.Contains(target.Expr, "rate("+name) || strings.Contains(target.Expr, "increase("+name)
				if rated && families[f].GetType() != dto.MetricType_COUNTER {
					t.Errorf("%s: %q is not how a %v is asked", p.Title, target.Expr, families[f].GetType())
				}
			}
		}
	}
	if n < 10 {
		t.Errorf("it asks %d times", n)
	}
	for _, needed := range []string{"passerelle_state", "passerelle_donation_left_bytes", "passerelle_problems", "passerelle_sessions"} {
		if !shown[needed] {
			t.Errorf("%s is not shown", needed)
		}
	}
	if bytes.Contains(text, []byte("\"uid\": \"P")) {
		t.Error("it names a data source of one installation")
	}
}
