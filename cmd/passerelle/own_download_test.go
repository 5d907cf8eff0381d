package main

import (
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"passerelle/appliance/fetch"
	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
)

// aList is a list of fictional places in the national standard's format.
const aList = `"id","nom","commune","code_postal","adresse","latitude","longitude","date_maj"
"a1","Maison du numérique des Tilleuls","Villebrume","99100","1 rue des Tilleuls","48.10","2.10","2026-11-02"
"a2","Atelier "La Bobine"","Villebrume","99100","2 rue des Tilleuls","48.11","2.11","2026-11-03"
`

// publisher is a web server on the internet that publishes lists over https.
type publisher struct {
	asked atomic.Int32 // requests so far
	held  chan string  // outcomes of requests for a list that never ends: "" when the answer has begun, "gone" when the client has disconnected
}

// publish serves at https://example.com, with a certificate that the box's programs trust.
func (b *box) publish() *publisher {
	b.t.Helper()
	p := &publisher{held: make(chan string, 10)}
	mux := http.NewServeMux()
	mux.HandleFunc("/list", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/csv")
		io.WriteString(w, aList)
	})
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "300000")
		io.WriteString(w, strings.Repeat("x", 300_000))
	})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, aList)
		for began := false; ; began = true {
			if _, err := io.WriteString(w, strings.Repeat("x", 2_000)); err != nil || r.Context().Err() != nil {
				p.held <- "gone"
				return
			}
			w.(http.Flusher).Flush()
			if !began {
				p.held <- ""
			}
			select {
			case <-r.Context().Done():
			case <-time.After(5 * netlab.Tick):
			}
		}
	})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked.Add(1)
		mux.ServeHTTP(w, r)
	}))
	s.Listener.Close()
	var err error
	s.Listener, err = b.scene.Internet.Listen("tcp4", netlab.WebAddr.String()+":443")
	b.must(err)
	s.StartTLS()
	b.t.Cleanup(s.Close)
	b.scene.Internet.Names.Set("example.com", netlab.WebAddr)
	authorities := filepath.Join(b.t.TempDir(), "authorities.pem")
	b.must(os.WriteFile(authorities, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600))
	b.env = append(b.env, "SSL_CERT_FILE="+authorities, "SSL_CERT_DIR="+filepath.Dir(authorities))
	return p
}

// outcome waits for the next outcome of a list that never ends.
func (p *publisher) outcome(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-p.held:
		if got != want {
			t.Errorf("the endless list: %q, want %q", got, want)
		}
	case <-time.After(patience):
		t.Fatalf("the endless list: no %q", want)
	}
}

// waitDownload waits until ok accepts the state of the only download.
func (b *box) waitDownload(what string, ok func(state.Download) bool) state.Download {
	b.t.Helper()
	s := b.waitStatus(what, func(s state.Status) error {
		if len(s.Downloads) != 1 || !ok(s.Downloads[0]) {
			return fmt.Errorf("%s: %+v", s.State, s.Downloads)
		}
		return nil
	})
	return s.Downloads[0]
}

// TestOwnDownload: the list at [places] url is downloaded over the line in use, once that is allowed. It is not requested again after a
// restart. A pause and a spent cap stop it.
func TestOwnDownload(t *testing.T) {
	t.Parallel()
	const twoLines = `
[[donation]]
name = "Box de la mairie"
interface = "eth1"
cap = "20GB"
hours = "off"
[places]
url = "https://example.com/%s"
`
	with := func(list, limit string) settings { return settings{cap: limit, more: fmt.Sprintf(twoLines, list)} }
	b := newScene(t, with("list", "2GB"), netlab.Options{Uplinks: 2})
	p := b.publish()
	b.start()
	b.waitState(state.Sharing)
	b.waitDownload("a clock that is not trusted", func(d state.Download) bool { return d.Waits == "the clock is not trusted" })
	if n := p.asked.Load(); n != 0 {
		t.Fatalf("it was asked for %d times before", n)
	}
	closed := b.counted(b.scene.Lenders[1])
	used := b.counted(b.scene.Lenders[0])
	b.mustDo("clock", "--confirm")
	d := b.waitDownload("the list", func(d state.Download) bool { return !d.Done.IsZero() })
	if p.asked.Load() != 1 || d.Error != "" || d.From != "example.com" || d.Result != "2 places" || d.Next.Sub(d.Tried) != fetch.Week {
		t.Errorf("asked for %d times: %+v", p.asked.Load(), d)
	}
	if carried := b.counted(b.scene.Lenders[0]) - used; carried < d.Bytes/2 {
		t.Errorf("the line carried %d bytes, the download says %d", carried, d.Bytes)
	}
	if out, err := program("places", "list", "--state", b.State).CombinedOutput(); err != nil || !strings.Contains(string(out), "example.com") {
		t.Errorf("the list is not listed: %v\n%s", err, out)
	}
	if out := b.mustDo("status"); !strings.Contains(out, "download of places, from example.com: "+d.Result) {
		t.Errorf("status does not show it:\n%s", out)
	}

	b.stop()
	b.restart()
	b.mustDo("clock", "--confirm")
	again := b.waitDownload("what was remembered", func(d state.Download) bool { return d.Waits == "" })
	if _, err := b.Do(t.Context(), "places", "fetch"); err == nil || !strings.Contains(err.Error(), "asked a short time ago") {
		t.Errorf("a press just after: %v", err)
	}
	if !again.Tried.Equal(d.Tried) || again.Result != d.Result || !again.Next.Equal(d.Next) || p.asked.Load() != 1 {
		t.Errorf("after a restart %+v, before it %+v; asked for %d times", again, d, p.asked.Load())
	}

	b.reload(with("endless", "2GB"))
	p.outcome(t, "")
	b.mustDo("pause")
	p.outcome(t, "gone")
	d = b.waitDownload("its end", func(d state.Download) bool { return !d.Running })
	if !strings.Contains(d.Error, "it was stopped: nothing is shared now (paused") || d.Result != "" {
		t.Errorf("after a pause: %+v", d)
	}
	b.mustDo("resume")
	b.waitState(state.Sharing)

	b.reload(with("large", "30MB"))
	d = b.waitDownload("a list that is too large", func(d state.Download) bool { return d.Error != "" })
	if !strings.Contains(d.Error, "larger than what downloads may use of the cap in this period") || d.Bytes > 30e6/128 {
		t.Errorf("a list that is too large: %+v", d)
	}
	asked := p.asked.Load()
	reply, err := b.scene.Box.Get(t.Context(), "http://"+netlab.WebAddr.String()+"/big?bytes=1000000")
	b.must(err)
	if len(reply.Body) != 1e6 {
		t.Fatalf("the box got %d bytes", len(reply.Body))
	}
	b.reload(with("list", "1MB"))
	b.waitState(state.Exhausted)
	b.waitDownload("a spent cap", func(d state.Download) bool { return strings.HasPrefix(d.Waits, "nothing is shared now (exhausted") })
	if _, err := b.Do(t.Context(), "places", "fetch"); err == nil || !strings.Contains(err.Error(), "nothing is shared now") {
		t.Errorf("a press when the cap is spent: %v", err)
	}
	if p.asked.Load() != asked {
		t.Error("a list was asked for when the cap was spent")
	}
	// At the far end of the line, the box sends only ARP with the routers. A refused connection would be larger.
	if n := b.counted(b.scene.Lenders[1]) - closed; n > 300 {
		t.Errorf("%d bytes crossed the closed line", n)
	}
}
