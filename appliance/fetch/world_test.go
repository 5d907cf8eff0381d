package fetch

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"passerelle/appliance/state"
)

var (
	resolver = netip.MustParseAddr("192.0.2.53")
	webAddr  = netip.MustParseAddr("192.0.2.80")
)

// world is an internet of pipes, without sockets, so that it works in a synctest bubble.
type world struct {
	t     *testing.T
	path  string // of the memory
	log   bytes.Buffer
	roots *x509.CertPool
	mux   *http.ServeMux // of every server
	names map[string]netip.Addr

	mu        sync.Mutex
	servers   map[uint16]*listener // by port
	dialed    []string
	situation Situation
	jobs      []Job
	imported  []string // by the job "places"
	refuse    error    // returned by its importer
	missing   bool     // what was imported has been removed
}

// newWorld returns a world with a server for example.com, on ports 80 and 443, and a job whose URL is the address.
func newWorld(t *testing.T, address string) *world {
	w := &world{
		t: t, path: filepath.Join(t.TempDir(), "fetch.json"), mux: http.NewServeMux(),
		names:   map[string]netip.Addr{"example.com": webAddr, "www.example.com": webAddr, "example.org": webAddr, "inside.example.com": netip.MustParseAddr("192.168.1.1")},
		servers: map[uint16]*listener{},
		situation: Situation{
			Now: time.Now(), Trusted: true,
			Line: &Line{Donation: "Fibre", Interface: "eth1", Servers: []netip.Addr{resolver}, Allowance: Unlimited},
		},
	}
	w.setURL(address)
	for port, start := range map[uint16]func(*httptest.Server){80: (*httptest.Server).Start, 443: (*httptest.Server).StartTLS} {
		s := httptest.NewUnstartedServer(w.mux)
		s.Listener.Close()
		l := &listener{conns: make(chan net.Conn), closed: make(chan struct{})}
		s.Listener, w.servers[port] = l, l
		s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
		start(s)
		t.Cleanup(s.Close)
		if port == 443 {
			w.roots = x509.NewCertPool()
			w.roots.AddCert(s.Certificate())
		}
	}
	return w
}

func (w *world) setURL(address string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.jobs = []Job{{Name: "places", URL: address, Every: Week, Accept: w.accept, Have: func() bool { return !w.missing }}}
}

// accept is the importer of a file of lines.
func (w *world) accept(_ context.Context, file io.Reader) (string, error) {
	text, err := io.ReadAll(file)
	if err != nil {
		return "", fmt.Errorf("half a file: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse != nil {
		return "", w.refuse
	}
	w.imported = append(w.imported, string(text))
	return fmt.Sprintf("%d lines", bytes.Count(text, []byte("\n"))), nil
}

// set changes the situation.
func (w *world) set(change func(*Situation)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.situation
	if s.Line != nil {
		line := *s.Line
		s.Line = &line
	}
	change(&s)
	w.situation = s
}

// fetcher returns a new fetcher, like that of a daemon that starts.
func (w *world) fetcher() *Fetcher {
	return New(Options{
		Log: slog.New(slog.NewTextHandler(&w.log, nil)), Path: w.path, Dial: w.dial, Roots: w.roots,
		Jobs: func() []Job {
			w.mu.Lock()
			defer w.mu.Unlock()
			return slices.Clone(w.jobs)
		},
		Situation: func() Situation {
			w.mu.Lock()
			defer w.mu.Unlock()
			s := w.situation
			s.Now = time.Now()
			return s
		},
	})
}

// fetch starts a download, waits for its end and returns its state.
func (w *world) fetch() state.Download {
	w.t.Helper()
	f := w.fetcher()
	ctx, cancel := context.WithCancel(w.t.Context())
	var running sync.WaitGroup
	running.Go(func() { f.Run(ctx) })
	defer running.Wait()
	defer cancel()
	if err := f.Start("places"); err != nil {
		w.t.Fatal(err)
	}
	return w.wait(f)
}

// wait waits for the end of the running download.
func (w *world) wait(f *Fetcher) state.Download {
	w.t.Helper()
	for {
		if d := f.Status()[0]; !d.Running {
			return d
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (w *world) dial(ctx context.Context, network, device string, to netip.AddrPort) (net.Conn, error) {
	w.mu.Lock()
	w.dialed = append(w.dialed, fmt.Sprintf("%s %s %s", network, device, to))
	server := w.servers[to.Port()]
	w.mu.Unlock()
	switch {
	case network == "udp4" && to == netip.AddrPortFrom(resolver, 53):
		ours, theirs := net.Pipe()
		go w.answerName(theirs)
		return ours, nil
	case network == "tcp4" && to.Addr() == webAddr && server != nil:
		ours, theirs := net.Pipe()
		select {
		case server.conns <- theirs:
			return ours, nil
		case <-server.closed:
		case <-ctx.Done():
		}
	}
	return nil, fmt.Errorf("nobody is at %s", to)
}

// answerName answers one DNS query.
func (w *world) answerName(conn net.Conn) {
	defer conn.Close()
	b := make([]byte, 512)
	n, err := conn.Read(b)
	var m dnsmessage.Message
	if err != nil || m.Unpack(b[:n]) != nil {
		return
	}
	m.Response = true
	name := m.Questions[0].Name
	addr, ok := w.names[strings.TrimSuffix(name.String(), ".")]
	if ok {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET},
			Body:   &dnsmessage.AResource{A: addr.As4()},
		}}
	} else {
		m.RCode = dnsmessage.RCodeNameError
	}
	if answer, err := m.Pack(); err == nil {
		conn.Write(answer)
	}
}

// listener accepts the servers' ends of the pipes.
type listener struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(netip.AddrPortFrom(webAddr, 80)) }

var errFewer = errors.New("the file has far fewer rows")
