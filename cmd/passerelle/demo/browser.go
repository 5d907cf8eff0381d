package demo

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"passerelle/appliance/config"
	"passerelle/netctl/netlab"
)

// stayOpen serves this machine's browsers as one more resident, who may also be the technician, until ctx ends. Meanwhile the other
// residents browse.
func (s *environment) stayOpen(ctx context.Context, d doors) error {
	s.download.Stop() // the steps are over, so its error is irrelevant
	guest, err := s.AddResident()
	if err != nil {
		return err
	}
	if _, err := guest.Join(ctx); err != nil {
		return err
	}
	link, err := url.Parse(s.link)
	if err != nil {
		return err
	}
	certificate, err := s.daemon.Certificate()
	if err != nil {
		return err
	}
	status, err := s.daemon.Status(ctx)
	if err != nil {
		return err
	}
	transport := guest.HTTPClient().Transport.(*http.Transport)
	transport.DisableKeepAlives = true // a change in the gate applies from the next request on
	transport.TLSClientConfig = s.trust
	w := newWindow(transport, s.conf, d)
	s.screen.say(`The residents' page is open to your browser, which is one more resident.
It also reaches the demo's internet, which has an endless file to show the rate limit:

    %s
    %s
    %s

The technician's page asks for the password %s:

    %s

This is the page of Élise, who lends the fibre:

    %s

These two are on https with the box's own certificate, which your browser warns of. Its fingerprint is

    %s

From another terminal, for example:

    %s pause --socket %s
    ip netns exec %s iptables-save

Ctrl-C ends it.`,
		s.screen.bold(d.url("")+"/"), s.screen.bold(d.url(internetName)+"/"),
		s.screen.bold(d.url(internetName)+"/big"), s.screen.bold(s.password), s.screen.bold(d.secureURL()+technicians),
		s.screen.bold(d.secureURL()+link.Path), status.Admin.Fingerprint,
		os.Args[0], s.daemon.Socket, s.Box.Namespace())

	ctx, stop := context.WithCancel(ctx)
	var living sync.WaitGroup
	defer living.Wait()
	defer stop()
	server := &http.Server{
		Handler: w, ReadHeaderTimeout: briefly,
		ErrorLog: log.New(io.Discard, "", 0), // a browser that does not trust the certificate yet closes its connection
	}
	served := make(chan error, 2)
	secure := tls.NewListener(d.secure, &tls.Config{Certificates: []tls.Certificate{certificate}})
	for _, l := range []net.Listener{d.plain, secure} {
		living.Go(func() { served <- server.Serve(l) })
	}
	defer server.Close()
	for _, p := range []person{s.amina, s.bruno, s.chloe} {
		living.Go(func() { s.browse(ctx, p) })
	}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	var line lineRates
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-served:
			return err
		case <-tick.C:
			s.showTraffic(ctx, &line)
		}
	}
}

// browse reads pages of 100 kB to 2 MB as a person does, with pauses, and presses the button when that is needed.
func (s *environment) browse(ctx context.Context, p person) {
	for ctx.Err() == nil {
		page := fmt.Sprintf("%s?bytes=%d", bigFile, 100_000+rand.IntN(1_900_000))
		if t, err := p.StartDownload(ctx, page); err == nil {
			t.Run(ctx, s.Limit) // an aborted page is loaded again, as people do
		} else if ctx.Err() == nil {
			s.admit(ctx, p) // this fails while sharing is paused
		}
		select {
		case <-ctx.Done():
		case <-time.After(500*time.Millisecond + rand.N(3*time.Second)):
		}
	}
}

// lineRates are the rates of the uplink's counters.
type lineRates struct {
	at       time.Time
	rx, tx   uint64
	down, up float64 // bit/s
}

// read updates the rates from the counters.
func (r *lineRates) read(h *netlab.Host, name string) {
	now := time.Now()
	past := now.Sub(r.at)
	rx, tx, err := h.Counters(name)
	if err != nil {
		return // the uplink is missing
	}
	if !r.at.IsZero() && rx >= r.rx && tx >= r.tx {
		r.down, r.up = float64(rx-r.rx)*8/past.Seconds(), float64(tx-r.tx)*8/past.Seconds()
	}
	r.at, r.rx, r.tx = now, rx, tx
}

// showTraffic draws the box's state and the uplink's rates.
func (s *environment) showTraffic(ctx context.Context, line *lineRates) {
	const nowAndThen = 5 * time.Second
	donation := s.conf.Donations[fibre]
	line.read(s.Box, donation.Interface)
	head := "the box does not answer"
	if status, err := s.daemon.Status(ctx); err == nil {
		head = fmt.Sprintf("%s, %s", status.State, s.Online(status))
	}
	s.screen.draw(head, nowAndThen,
		rateBar("down", line.down, float64(donation.Download)), rateBar("up", line.up, float64(donation.Upload)))
}

// technicians is the path of the technician's page.
const technicians = "/admin/"

// internetName is the demo's internet for browsers, which resolve this name to their own machine (RFC 6761, section 6.3).
const internetName = "internet.localhost"

// doors are the listeners for this machine's browsers: one for the pages on http, one for those on https.
type doors struct{ plain, secure net.Listener }

// The ports, if none is named: the first free one from these on.
const (
	plainPort  = 8080
	securePort = 8443
	ports      = 20
)

// openDoors opens the doors before the steps, so that a port in use is reported at once. address is that of the first door; without
// one, the doors are on loopback. The other door is on the same host.
func openDoors(address string) (d doors, err error) {
	host := "127.0.0.1"
	if address == "" {
		d.plain, err = firstFree(host, plainPort)
	} else if d.plain, err = net.Listen("tcp", address); err != nil {
		err = fmt.Errorf("listen for browsers: %w; choose another address with --listen", err)
	} else {
		host, _, err = net.SplitHostPort(d.plain.Addr().String())
	}
	if err == nil {
		d.secure, err = firstFree(host, securePort)
	}
	if err != nil {
		d.close()
	}
	return d, err
}

// firstFree listens on the first free port of a host.
func firstFree(host string, first int) (net.Listener, error) {
	for port := first; port < first+ports; port++ {
		if l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port))); err == nil {
			return l, nil
		}
	}
	return nil, fmt.Errorf("listen for browsers: no port from %d to %d of %s is free", first, first+ports-1, host)
}

func (d doors) close() {
	for _, l := range []net.Listener{d.plain, d.secure} {
		if l != nil {
			l.Close()
		}
	}
}

// url returns the address at which browsers find the pages on http. With a name it is that of the demo's internet.
func (d doors) url(name string) string { return "http://" + at(d.plain, name) }

// secureURL returns the address at which browsers find the pages on https.
func (d doors) secureURL() string { return "https://" + at(d.secure, "") }

// at returns a listener's host and port for browsers on this machine. A name replaces its address.
func at(l net.Listener, name string) string {
	a := l.Addr().(*net.TCPAddr).AddrPort()
	if host := a.Addr(); name == "" && host.IsUnspecified() {
		name = "127.0.0.1"
	} else if name == "" {
		name = host.String()
	}
	return net.JoinHostPort(name, strconv.Itoa(int(a.Port())))
}

// window is a proxy that shows this machine's browsers what a resident sees: the box's pages on http and https at the doors, and the
// internet under its name.
//
// The box answers only for its own names, accepts forms only from its own pages, and redirects from http to https. So the window sends
// the address that the resident would use, and rewrites redirects to the box. It does not answer for a name that a foreign name server
// could resolve to this machine. Its https uses the box's own certificate, so that the fingerprint in a browser is the one on the box's
// pages.
type window struct {
	doors                   doors
	portal, pages, internet *url.URL // the box on http and https, and the internet, as the resident sees them
	named                   string   // the box on https, by its name
	forward                 http.RoundTripper
}

func newWindow(resident http.RoundTripper, c *config.Config, d doors) *window {
	address := c.Hotspot.Address.Addr().String()
	return &window{
		doors: d, forward: resident, named: "https://" + c.Box.Hostname,
		portal: &url.URL{Scheme: "http", Host: address}, pages: &url.URL{Scheme: "https", Host: address},
		internet: &url.URL{Scheme: "http", Host: "www.example"},
	}
}

// ours tells whether a request names this machine: by an address, or by a name that only this machine has.
func ours(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil || host == "localhost" || host == internetName
}

func (w *window) ServeHTTP(out http.ResponseWriter, in *http.Request) {
	asked := url.URL{Host: in.Host}
	host := asked.Hostname()
	if !ours(host) {
		http.Error(out, http.StatusText(http.StatusMisdirectedRequest), http.StatusMisdirectedRequest)
		return
	}
	// The browser keeps its host when it is redirected between http and https, and its port if it stays.
	here, target := "http://"+in.Host, w.portal
	plain, secure := here, "https://"+at(w.doors.secure, host)
	switch {
	case in.TLS != nil:
		here, target = "https://"+in.Host, w.pages
		plain, secure = "http://"+at(w.doors.plain, host), here
	case host == internetName:
		target = w.internet
		plain, secure = w.doors.url(""), w.doors.secureURL()
	}
	proxy := httputil.ReverseProxy{
		Transport: w.forward,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			for _, name := range []string{"Origin", "Referer"} {
				if rest, ok := strings.CutPrefix(r.In.Header.Get(name), here); ok {
					r.Out.Header.Set(name, target.String()+rest)
				}
			}
		},
		ModifyResponse: func(r *http.Response) error {
			to := r.Header.Get("Location")
			for box, here := range map[string]string{w.portal.String(): plain, w.pages.String(): secure, w.named: secure} {
				if path, ok := strings.CutPrefix(to, box+"/"); ok {
					r.Header.Set("Location", here+"/"+path)
				}
			}
			return nil
		},
		ErrorHandler: func(out http.ResponseWriter, _ *http.Request, err error) {
			http.Error(out, "No answer from the box or the site: "+err.Error(), http.StatusBadGateway)
		},
	}
	proxy.ServeHTTP(out, in)
}
