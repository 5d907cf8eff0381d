package captive

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/decide"
	"passerelle/captive/tutorials"
	"passerelle/captive/web/webtest"
)

// paris is the zone of the fictional centre.
var paris = time.FixedZone("CET", 3600)

// noon is the tests' now: Saturday 21 November 2026, 15:10.
var noon = time.Date(2026, 11, 21, 15, 10, 0, 0, paris)

// resident is who asks in most tests.
const resident = "10.80.0.23"

// fakeBox is a box whose residents' packets go nowhere.
type fakeBox struct {
	mu       sync.Mutex
	view     View
	lessons  *tutorials.Library
	sessions map[netip.Addr]Session
	admit    error // what Admit says
	endErr   error
	admits   int
}

// aView is a box that shares.
func aView() View {
	return View{
		State: decide.Sharing, Centre: "Centre social des Lilas",
		Address: netip.MustParseAddr("10.80.0.1"), Network: netip.MustParsePrefix("10.80.0.0/22"),
		Hostname: "partage.internal", Language: "fr", Languages: []string{"fr", "en"}, Location: paris,
		SessionLength: 2 * time.Hour, Download: 4_000_000, Upload: 1_000_000, Data: 500_000_000,
		DataResets: time.Date(2026, 11, 22, 0, 0, 0, 0, paris),
		Essential:  true, Services: []string{config.France},
	}
}

func newFakeBox() *fakeBox {
	return &fakeBox{view: aView(), lessons: tutorials.Own(), sessions: make(map[netip.Addr]Session)}
}

func (b *fakeBox) View() View {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.view
}

func (b *fakeBox) Lessons() *tutorials.Library {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lessons
}

// change changes the View.
func (b *fakeBox) change(f func(*View)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(&b.view)
}

func (b *fakeBox) Session(addr netip.Addr) (Session, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.sessions[addr]
	return s, ok
}

func (b *fakeBox) Admit(_ context.Context, addr netip.Addr) (Session, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.admits++
	if b.admit != nil {
		return Session{}, b.admit
	}
	s := Session{
		Left: b.view.SessionLength, Length: b.view.SessionLength,
		DataLeft: b.view.Data, DataGiven: b.view.Data, Limited: b.view.Data > 0,
	}
	b.sessions[addr] = s
	return s, nil
}

func (b *fakeBox) End(_ context.Context, addr netip.Addr) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.sessions, addr)
	return b.endErr
}

// has gives the resident a session that is partly used.
func (b *fakeBox) has(f func(*Session)) {
	s := Session{Left: 105 * time.Minute, Length: 2 * time.Hour, DataLeft: 320_000_000, DataGiven: 500_000_000, Limited: true}
	if f != nil {
		f(&s)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sessions[netip.MustParseAddr(resident)] = s
}

// pass changes every session.
func (b *fakeBox) pass(f func(*Session)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for addr, s := range b.sessions {
		f(&s)
		b.sessions[addr] = s
	}
}

// quiet is a log that nobody reads.
var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// aBrowser is the header by which a browser that opens a page is known.
const aBrowser = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

// newServer returns a server for b at noon.
func newServer(b Box) *Server { return New(b, quiet, func() time.Time { return noon }) }

// ask sends one request to the box from the resident, by a browser if no headers are given: see [webtest.Ask].
func ask(t testing.TB, s http.Handler, line string, headers ...string) *http.Response {
	t.Helper()
	if len(headers) == 0 {
		headers = []string{aBrowser}
	}
	return webtest.Ask(t, s, "http://10.80.0.1", resident+":40000", line, headers...)
}

// body reads a response's body.
func body(t testing.TB, res *http.Response) string {
	t.Helper()
	return webtest.Body(t, res)
}
