package netlab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Addresses of the internet, all from the documentation blocks of RFC 5737. Each serves pages on port 80, and UDP echo
// and discard on ports 7 and 9.
var (
	DNSAddr     = netip.MustParseAddr("192.0.2.53")    // the name server
	WebAddr     = netip.MustParseAddr("192.0.2.80")    // www.example
	NewsAddr    = netip.MustParseAddr("198.51.100.80") // news.example
	ServiceAddr = netip.MustParseAddr("203.0.113.80")  // service.example, a public service
)

// WildcardZones resolve every label below them to an address, like the real zones with these names.
var WildcardZones = map[string]netip.Addr{
	"9-9-9-9.sslip.io": netip.MustParseAddr("9.9.9.9"),
	"github.io":        netip.MustParseAddr("185.199.108.153"),
	"wordpress.com":    netip.MustParseAddr("192.0.78.12"),
}

// ConnectivityChecks are well-known pages, by host. Their content is the same for everybody, so another page in their place
// reveals a captive portal. They are served for these hosts at every address of the internet.
var ConnectivityChecks = map[string]ConnectivityCheck{
	"detectportal.firefox.com": {WebAddr, "/success.txt", "success\n"},
	"nmcheck.gnome.org":        {NewsAddr, "/check_network_status.txt", "NetworkManager is online\n"},
}

// ConnectivityCheck is one of the ConnectivityChecks.
type ConnectivityCheck struct {
	Addr       netip.Addr // of its host
	Path, Text string
}

// The root pages of the internet's web servers and of lenders' own servers.
const (
	InternetPage = "This is the internet.\n"
	LenderPage   = "These are the lender's own files.\n"
)

const (
	echoPort    = 7
	discardPort = 9
)

// Internet is the host that stands for the internet behind all lenders.
type Internet struct {
	*Host
	Names *Names         // the name server's records
	Pages *http.ServeMux // the web servers' pages on port 80: see Web
}

// AddInternet adds the internet: web servers, a name server, UDP echo and discard.
func (w *World) AddInternet() (*Internet, error) {
	host, err := w.AddHost("internet")
	if err != nil {
		return nil, err
	}
	in := &Internet{Host: host, Names: NewNames(), Pages: Web()}
	for name, addr := range map[string]netip.Addr{
		"www.example": WebAddr, "news.example": NewsAddr, "service.example": ServiceAddr,
	} {
		in.Names.Set(name, addr)
	}
	for zone, addr := range WildcardZones {
		in.Names.Set("*."+zone, addr)
	}
	for host, page := range ConnectivityChecks {
		in.Names.Set(host, page.Addr)
	}
	// Datagram servers listen on each address separately: a reply from a wildcard socket could have another source address.
	for _, addr := range []netip.Addr{DNSAddr, WebAddr, NewsAddr, ServiceAddr} {
		err := errors.Join(
			host.AddAddress("lo", netip.PrefixFrom(addr, addr.BitLen())),
			host.ServePackets(netip.AddrPortFrom(addr, echoPort), func(b []byte) []byte { return b }),
			host.ServePackets(netip.AddrPortFrom(addr, discardPort), func([]byte) []byte { return nil }),
		)
		if err != nil {
			return nil, err
		}
	}
	if err := host.serveDNS(DNSAddr, in.Names); err != nil {
		return nil, err
	}
	return in, host.ServeHTTP(":80", in.Pages)
}

// ServeHTTP serves HTTP on an address and port of the host until the world is closed.
func (h *Host) ServeHTTP(address string, handler http.Handler) error {
	listener, err := h.Listen("tcp4", address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	return h.serve(server, func() { server.Serve(listener) })
}

// ServePackets answers each datagram with reply's result, unless that is nil, until the world is closed. reply is
// called by one goroutine and must not keep its argument's memory, except in the result.
func (h *Host) ServePackets(address netip.AddrPort, reply func([]byte) []byte) error {
	conn, err := h.ListenPacket("udp4", address.String())
	if err != nil {
		return err
	}
	return h.serve(conn, func() {
		buf := make([]byte, 64<<10)
		for {
			n, from, err := conn.ReadFrom(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue // an ICMP error of an earlier reply
			}
			if b := reply(buf[:n]); b != nil {
				conn.WriteTo(b, from) // an error is ignored: any datagram may be lost
			}
		}
	})
}

// serveDNS answers DNS queries at an address, over UDP and TCP, until the world is closed.
func (h *Host) serveDNS(addr netip.Addr, names *Names) error {
	at := netip.AddrPortFrom(addr, 53)
	if err := h.ServePackets(at, names.Reply); err != nil {
		return err
	}
	listener, err := h.Listen("tcp4", at.String())
	if err != nil {
		return err
	}
	return h.serve(listener, func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if h.closeWithWorld(conn) != nil {
				return
			}
			go serveDNSConn(conn, names.Reply)
		}
	})
}

// serveDNSConn answers the DNS queries of a connection in order (RFC 7766), until one gets no answer or the connection
// ends.
func serveDNSConn(conn net.Conn, reply func([]byte) []byte) {
	defer conn.Close()
	var length [2]byte
	for {
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		answer := reply(query)
		if answer == nil {
			return
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

// serve runs a server until the world is closed, and makes Close wait for its end.
func (h *Host) serve(server io.Closer, run func()) error {
	done := make(chan struct{})
	go func() { defer close(done); run() }()
	return h.world.addCleanup(func() error {
		server.Close() // it may be closed already, so the error means nothing
		<-done
		return nil
	})
}

// Web is the internet's web server:
//
//	GET  /               InternetPage
//	GET  /big?bytes=N    N bytes; without N, until the client closes the connection
//	POST /upload         takes a body of any length and answers with its length
//	GET  /slow?after=D   InternetPage, after a Go duration
//
// and the ConnectivityChecks, for their hosts.
func Web() *http.ServeMux {
	mux := http.NewServeMux()
	page := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, InternetPage)
	}
	for host, known := range ConnectivityChecks {
		mux.HandleFunc("GET "+host+known.Path, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, known.Text) })
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { page(w) })
	mux.HandleFunc("GET /big", func(w http.ResponseWriter, r *http.Request) {
		left := int64(1<<63 - 1)
		if text := r.FormValue("bytes"); text != "" {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil || n < 0 {
				http.Error(w, "bytes: want a number", http.StatusBadRequest)
				return
			}
			left = n
			w.Header().Set("Content-Length", text)
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		io.Copy(w, io.LimitReader(zeros{}, left)) // fails when the client closes the connection
	})
	mux.HandleFunc("POST /upload", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintln(w, n)
	})
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) {
		after, err := time.ParseDuration(r.FormValue("after"))
		if err != nil {
			http.Error(w, "after: want a duration", http.StatusBadRequest)
			return
		}
		select {
		case <-time.After(after):
			page(w)
		case <-r.Context().Done():
		}
	})
	return mux
}

// zeros is an endless reader of zeros.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// Names are a name server's records. Other names do not exist. It is safe for concurrent use.
type Names struct {
	mu      sync.Mutex
	addrs   map[string][]netip.Addr // lower case, without the last dot
	zones   map[string]func(dnsmessage.Question) []dnsmessage.ResourceBody
	queries map[string]int
}

// answerTTL is the TTL of records, in seconds. It is short so that a changed record takes effect soon.
const answerTTL = 5

// NewNames returns an empty set of records.
func NewNames() *Names {
	return &Names{
		addrs:   make(map[string][]netip.Addr),
		zones:   make(map[string]func(dnsmessage.Question) []dnsmessage.ResourceBody),
		queries: make(map[string]int),
	}
}

// Set sets a name's addresses; "*.example" stands for every name below example without records of its own. Without
// addresses the name is removed.
func (n *Names) Set(name string, addrs ...netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(addrs) == 0 {
		delete(n.addrs, strings.ToLower(name))
		return
	}
	n.addrs[strings.ToLower(name)] = addrs
}

// Handle answers every query for the zone, or a name below it, with the records that answer returns. If they are nil, the query
// gets no answer. Handle takes precedence over Set.
func (n *Names) Handle(zone string, answer func(dnsmessage.Question) []dnsmessage.ResourceBody) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.zones[strings.ToLower(zone)] = answer
}

// zone returns the handler for the name, nil if there is none.
func (n *Names) zone(name string) func(dnsmessage.Question) []dnsmessage.ResourceBody {
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		if answer := n.zones[name]; answer != nil {
			return answer
		}
		_, parent, ok := strings.Cut(name, ".")
		if !ok {
			return nil
		}
		name = parent
	}
}

// Queries returns how often the name was queried.
func (n *Names) Queries(name string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.queries[strings.ToLower(name)]
}

// lookup counts a query for the name and returns its addresses.
func (n *Names) lookup(name string) (addrs []netip.Addr, exists bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.queries[name]++
	if addrs, ok := n.addrs[name]; ok {
		return addrs, true
	}
	for {
		_, parent, ok := strings.Cut(name, ".")
		if !ok {
			return nil, false
		}
		if addrs, ok := n.addrs["*."+parent]; ok {
			return addrs, true
		}
		name = parent
	}
}

// Reply returns the reply to a DNS query, or nil if the packet is not a query or gets no answer (see Handle).
func (n *Names) Reply(packet []byte) []byte {
	var query dnsmessage.Message
	if query.Unpack(packet) != nil || query.Response || len(query.Questions) != 1 {
		return nil
	}
	question := query.Questions[0]
	reply := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: query.ID, Response: true, Authoritative: true,
			RecursionDesired: query.RecursionDesired, RecursionAvailable: true,
		},
		Questions: query.Questions,
	}
	header := dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: answerTTL}
	name := strings.ToLower(strings.TrimSuffix(question.Name.String(), "."))
	addrs, exists := n.lookup(name)
	if answer := n.zone(name); answer != nil {
		bodies := answer(question)
		if bodies == nil {
			return nil
		}
		addrs, exists = nil, true
		for _, body := range bodies {
			reply.Answers = append(reply.Answers, dnsmessage.Resource{Header: header, Body: body})
		}
	}
	if !exists {
		reply.RCode = dnsmessage.RCodeNameError
	}
	for _, addr := range addrs {
		switch {
		case question.Type == dnsmessage.TypeA && addr.Is4():
			reply.Answers = append(reply.Answers, dnsmessage.Resource{
				Header: header, Body: &dnsmessage.AResource{A: addr.As4()},
			})
		case question.Type == dnsmessage.TypeAAAA && addr.Is6():
			reply.Answers = append(reply.Answers, dnsmessage.Resource{
				Header: header, Body: &dnsmessage.AAAAResource{AAAA: addr.As16()},
			})
		}
	}
	b, err := reply.Pack()
	if err != nil {
		return nil
	}
	return b
}

// Echo sends count small datagrams to an address's echo port, one per interval, and returns the round-trip times. Datagrams
// that are refused, or not answered within a second of the end, are missing.
func (h *Host) Echo(ctx context.Context, addr netip.Addr, count int, every time.Duration) ([]time.Duration, error) {
	conn, err := h.Dial(ctx, "udp", netip.AddrPortFrom(addr, echoPort).String())
	if err != nil {
		return nil, fmt.Errorf("echo from %s to %s: %w", h.name, addr, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()

	start := time.Now()
	conn.SetReadDeadline(start.Add(time.Duration(count)*every + time.Second))
	go func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for range count {
			// The datagram carries its send time, so that lost ones leave no state.
			stamp := strconv.AppendInt(nil, int64(time.Since(start)), 10)
			if _, err := conn.Write(stamp); errors.Is(err, net.ErrClosed) {
				return
			}
			<-tick.C
		}
	}()
	var trips []time.Duration
	buf := make([]byte, 64)
	for len(trips) < count {
		n, err := conn.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
			break
		}
		if err != nil {
			continue // an ICMP error of an earlier datagram
		}
		if stamp, err := strconv.ParseInt(string(buf[:n]), 10, 64); err == nil {
			trips = append(trips, time.Since(start)-time.Duration(stamp))
		}
	}
	return trips, ctx.Err()
}
