package captive

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/state"
	"passerelle/captive/lend"
	"passerelle/captive/places"
	"passerelle/captive/tutorials"
	"passerelle/captive/voice"
	"passerelle/captive/web"
	"passerelle/captive/web/webtest"
)

// paris is the zone of the fictional centre.
var paris = time.FixedZone("CET", 3600)

// noon is the current time of the tests: Saturday 21 November 2026, 15:10.
var noon = time.Date(2026, 11, 21, 15, 10, 0, 0, paris)

// resident is the client's address in most tests.
const resident = "10.80.0.23"

// fakeBox is a box without a network.
type fakeBox struct {
	tutorials *tutorials.Tutorials
	places    *places.Places
	voice     *voice.Voice

	mu       sync.Mutex
	site     state.Site
	sessions map[netip.Addr]state.Session
	admit    error // returned by Authorize
	endErr   error
	admits   int
}

// aSite returns the facts of a box that shares.
func aSite() state.Site {
	return state.Site{
		State: state.Sharing, Centre: "Centre social des Lilas",
		Address: netip.MustParseAddr("10.80.0.1"), Network: netip.MustParsePrefix("10.80.0.0/22"),
		Hostname: "partage.internal", Language: "fr", Languages: "fr en", Location: paris,
		SessionLength: 2 * time.Hour, Download: 4_000_000, Upload: 1_000_000, Data: 500_000_000,
		DataResets: time.Date(2026, 11, 22, 0, 0, 0, 0, paris),
		Essential:  true, Services: france,
	}
}

var france = services(config.France)

// services are the essential services that a configuration names.
func services(names ...string) *[]state.Service {
	var all []state.Service
	for _, s := range (config.Essential{Names: names}).Services() {
		all = append(all, state.Service(s))
	}
	return &all
}

func newFakeBox() *fakeBox {
	return &fakeBox{
		site: aSite(), tutorials: tutorials.New("", quiet), places: places.New("", quiet), voice: aVoice(""),
		sessions: make(map[netip.Addr]state.Session),
	}
}

func (b *fakeBox) Site() state.Site {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.site
}

// shares are the shares that the daemon mounts.
func (b *fakeBox) shares() []web.Share {
	lends := lend.New(lend.Options{
		Room: &lend.Room{}, Now: func() time.Time { return noon }, Name: func() string { return "Partage de Co" },
	})
	return []web.Share{b.tutorials.Share(), b.places.Share(), b.voice.Share(), lends.Share()}
}

// aVoice returns the share of a box whose board is open.
func aVoice(dir string) *voice.Voice {
	return voice.New(voice.Options{
		Dir: dir, Log: quiet, Now: func() time.Time { return noon }, Services: *france, Board: func() bool { return true },
	})
}

// change changes the Site.
func (b *fakeBox) change(f func(*state.Site)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(&b.site)
}

func (b *fakeBox) Session(addr netip.Addr) (state.Session, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.sessions[addr]
	return s, ok
}

func (b *fakeBox) Authorize(_ context.Context, addr netip.Addr) (state.Session, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.admits++
	if b.admit != nil {
		return state.Session{}, b.admit
	}
	s := state.Session{
		Left: b.site.SessionLength, Length: b.site.SessionLength,
		DataLeft: b.site.Data, DataGiven: b.site.Data, Limited: b.site.Data > 0,
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
func (b *fakeBox) has(f func(*state.Session)) {
	s := state.Session{Left: 105 * time.Minute, Length: 2 * time.Hour, DataLeft: 320_000_000, DataGiven: 500_000_000, Limited: true}
	if f != nil {
		f(&s)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sessions[netip.MustParseAddr(resident)] = s
}

// pass changes every session.
func (b *fakeBox) pass(f func(*state.Session)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for addr, s := range b.sessions {
		f(&s)
		b.sessions[addr] = s
	}
}

// quiet is a logger that discards.
var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// aBrowser is the header by which a browser that opens a page is recognised.
const aBrowser = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

// sharingBox is a box with shares to mount.
type sharingBox interface {
	Box
	shares() []web.Share
}

// newServer returns a server for b at noon.
func newServer(b sharingBox) *Server { return newServerAt(b, quiet, func() time.Time { return noon }) }

func newServerAt(b sharingBox, log *slog.Logger, now func() time.Time) *Server {
	return New(b, log, now, b.shares()...)
}

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

// serve serves s on loopback as the box does, until the test ends.
func serve(t testing.TB, s *Server) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, served := s.HTTPServer(), make(chan error, 1)
	go func() { served <- server.Serve(web.Limit(l, web.NewSlots(2))) }()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	return l.Addr().String()
}
