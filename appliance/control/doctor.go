package control

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"passerelle/appliance/state"
)

// Doctor finds what is wrong.
type Doctor interface {
	// Search begins a search, unless one is running.
	Search()
	// Diagnosis returns the running search as far as it is, otherwise the last one. ok is false if there is none.
	Diagnosis() (d state.Diagnosis, ok bool)
	// RecentLog returns the log of the last hour.
	RecentLog() []state.LogEntry
	// Support returns a support file: a zip without anything personal or secret.
	Support(ctx context.Context) ([]byte, error)
}

// Paths of the Doctor's requests.
const (
	pathDoctor  = "/doctor" // POST begins a search, GET returns its progress
	pathLog     = "/log"
	pathSupport = "/support"
)

// errNoSearch is the answer before the first search.
var errNoSearch = errors.New("no search was begun")

// handleDoctor registers the requests.
func handleDoctor(mux *http.ServeMux, d Doctor, log *slog.Logger) {
	answer := func(w http.ResponseWriter, kind string, body []byte, err error) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", kind)
		if _, err := w.Write(body); err != nil {
			log.Debug("answer not delivered", "error", err)
		}
	}
	asJSON := func(w http.ResponseWriter, v any) {
		body, err := json.MarshalIndent(v, "", "  ")
		answer(w, "application/json", append(body, '\n'), err)
	}
	mux.HandleFunc("POST "+pathDoctor, func(http.ResponseWriter, *http.Request) { d.Search() })
	mux.HandleFunc("GET "+pathDoctor, func(w http.ResponseWriter, _ *http.Request) {
		found, ok := d.Diagnosis()
		if !ok {
			http.Error(w, errNoSearch.Error(), http.StatusConflict) // 404 means that a daemon is older than its client
			return
		}
		asJSON(w, found)
	})
	mux.HandleFunc("GET "+pathLog, func(w http.ResponseWriter, _ *http.Request) { asJSON(w, d.RecentLog()) })
	mux.HandleFunc("GET "+pathSupport, func(w http.ResponseWriter, r *http.Request) {
		body, err := d.Support(r.Context())
		answer(w, "application/zip", body, err)
	})
}

// searchEvery is the interval at which a running search is polled.
const searchEvery = 200 * time.Millisecond

// Diagnose begins a search, or joins the running one, and waits for its end. It also returns the answer unparsed: a later release's
// may have more fields.
func (c Client) Diagnose(ctx context.Context) (d state.Diagnosis, text []byte, err error) {
	if _, err := c.act(ctx, pathDoctor); err != nil {
		return d, nil, err
	}
	look := time.NewTicker(searchEvery)
	defer look.Stop()
	for {
		d = state.Diagnosis{}
		text, err = c.ask(ctx, http.MethodGet, pathDoctor, nil)
		if err = read(text, err, &d); err != nil || !d.Running {
			return d, text, err
		}
		select {
		case <-ctx.Done():
			return d, text, ctx.Err()
		case <-look.C:
		}
	}
}

// RecentLog returns the log of the last hour, without addresses and without names of residents' devices.
func (c Client) RecentLog(ctx context.Context) (all []state.LogEntry, err error) {
	body, err := c.ask(ctx, http.MethodGet, pathLog, nil)
	err = read(body, err, &all)
	return all, err
}

// Support returns a support file, as a zip.
func (c Client) Support(ctx context.Context) ([]byte, error) {
	return c.ask(ctx, http.MethodGet, pathSupport, nil)
}
