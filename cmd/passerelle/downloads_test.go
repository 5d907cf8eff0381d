package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"passerelle/appliance/control"
	"passerelle/appliance/state"
)

// downloading is a box whose download of places runs for a few requests and then ends.
type downloading struct {
	control.Box
	refuses error
	runs    int
	end     state.Download
}

func (d *downloading) Fetch(string) error { return d.refuses }

func (d *downloading) Status() state.Status {
	if d.runs--; d.runs >= 0 {
		return state.Status{Downloads: []state.Download{{Name: "places", Running: true, Bytes: 5, Size: 10}}}
	}
	d.end.Name, d.end.From, d.end.Bytes = "places", "example.com", 1_200_000
	return state.Status{Downloads: []state.Download{{Name: "agenda"}, d.end}}
}

// TestFetchNow: the command waits for the end of the download, and says what it fetched or why it failed, and how much data it used.
func TestFetchNow(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		box       downloading
		out, says string
	}{
		{downloading{runs: 2, end: state.Download{Result: "312 places"}}, "312 places, from example.com; 1.2MB of the line were used\n", ""},
		{downloading{end: state.Download{Result: "312 places", Unchanged: true}}, "312 places, unchanged, from example.com; 1.2MB of the line were used\n", ""},
		{downloading{runs: 1, end: state.Download{Result: "312 places", Error: "the server is too slow"}}, "", "nothing is changed: the server is too slow (1.2MB of the line were used)"},
		{downloading{refuses: errors.New("nothing is shared now")}, "", "the daemon says: nothing is shared now"},
	} {
		path := filepath.Join(t.TempDir(), "sock")
		l, err := control.Listen(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		s, served := control.NewServer(&test.box, slog.New(slog.DiscardHandler)), make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		var out, progress bytes.Buffer
		c := &cli{out: &out, err: &progress}
		err = fetchNow("places")(context.WithoutCancel(t.Context()), c, []string{"--socket", path})
		if out.String() != test.out || (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) || progress.Len() != 0 {
			t.Errorf("it says %q and %q, with %v", out.String(), progress.String(), err)
		}
		s.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}
}
