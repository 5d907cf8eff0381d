package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"passerelle/appliance/config"
	"passerelle/netctl/netlab"
)

// stayOpen lets this machine's browsers be one more resident, beside the others' everyday life, until ctx ends.
func (s *stage) stayOpen(ctx context.Context, l net.Listener) error {
	s.download.Stop() // its story is over, however it ended
	guest, err := s.AddResident()
	if err != nil {
		return err
	}
	if _, err := guest.Join(ctx); err != nil {
		return err
	}
	w, err := newWindow(guest.Host, s.conf, s.trust, l.Addr())
	if err != nil {
		return err
	}
	link, err := url.Parse(s.link)
	if err != nil {
		return err
	}
	s.screen.say(`The residents' page is open to your browser, which is one more resident.
There is an internet for it, too, and in that a file without end, to see the limit:

    %s
    %s
    %s

This is the page of Élise, who lends the fibre:

    %s

From another terminal, for instance:

    %s pause --socket %s
    ip netns exec %s iptables-save

Ctrl-C ends it.`,
		s.screen.bold(w.url("")+"/"), s.screen.bold(w.url(internetName)+"/"),
		s.screen.bold(w.url(internetName)+"/big"), s.screen.bold(w.url(lenderName)+link.Path),
		os.Args[0], s.socket(), s.Box.Namespace())

	ctx, stop := context.WithCancel(ctx)
	var living sync.WaitGroup
	defer living.Wait()
	defer stop()
	served := make(chan error, 1)
	living.Go(func() { served <- serve(ctx, &http.Server{Handler: w, ReadHeaderTimeout: 5 * time.Second}, l) })
	for _, p := range []person{s.amina, s.bruno, s.chloe} {
		living.Go(func() { s.live(ctx, p) })
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

// live has a person read pages of some 100 kB to 2 MB, with pauses, and press the button whenever it takes that.
func (s *stage) live(ctx context.Context, p person) {
	for ctx.Err() == nil {
		page := fmt.Sprintf("%s?bytes=%d", bigFile, 100_000+rand.IntN(1_900_000))
		if t, err := p.StartDownload(ctx, page); err == nil {
			t.Run(ctx, s.limit) // a page that breaks off is read again, as people do
		} else if ctx.Err() == nil {
			s.admit(ctx, p) // it does not work while the sharing is paused
		}
		select {
		case <-ctx.Done():
		case <-time.After(500*time.Millisecond + rand.N(3*time.Second)):
		}
	}
}

// lineRates is how fast the uplink's counters grow.
type lineRates struct {
	at       time.Time
	rx, tx   uint64
	down, up float64 // bit/s
}

// read takes the counters.
func (r *lineRates) read(h *netlab.Host, name string) {
	now := time.Now()
	past := now.Sub(r.at)
	rx, tx, err := h.Counters(name)
	if err != nil {
		return // the uplink is away
	}
	if !r.at.IsZero() && rx >= r.rx && tx >= r.tx {
		r.down, r.up = float64(rx-r.rx)*8/past.Seconds(), float64(tx-r.tx)*8/past.Seconds()
	}
	r.at, r.rx, r.tx = now, rx, tx
}

// showTraffic draws what the box does.
func (s *stage) showTraffic(ctx context.Context, line *lineRates) {
	const nowAndThen = 5 * time.Second
	donation := s.conf.Donations[fibre]
	line.read(s.Box, donation.Interface)
	head := "the box does not answer"
	if status, err := s.status(ctx); err == nil {
		head = fmt.Sprintf("%s, %s", status.State, residents(status))
	}
	s.screen.draw(head, nowAndThen,
		rateBar("down", line.down, float64(donation.Download)), rateBar("up", line.up, float64(donation.Upload)))
}

// window shows this machine's browsers what a resident sees: the residents' page under the address that it listens on,
// and the internet and lenders' pages under names that browsers look for on their own machine (RFC 6761, section 6.3).
//
// The box takes only its own names for itself, and forms only from its own pages. So requests get the names that they
// would have from the resident, and what redirects to the residents' page leads back here.
type window struct {
	sites   map[string]*url.URL // as the resident sees them, by the name that browsers have for them
	host    string              // as browsers see it
	port    string
	portal  string // its address, as the resident sees it
	forward *http.Transport
}

// Names of sites beside the residents' page, which has none.
const internetName, lenderName = "internet.localhost", "lender.localhost"

func newWindow(resident *netlab.Host, c *config.Config, trust *tls.Config, listening net.Addr) (*window, error) {
	transport := resident.HTTPClient().Transport.(*http.Transport)
	transport.DisableKeepAlives = true // what the gate decides holds from the next request on
	transport.TLSClientConfig = trust
	host, port, err := net.SplitHostPort(listening.String())
	if err != nil {
		return nil, err
	}
	if a, err := netip.ParseAddr(host); err == nil && a.IsUnspecified() {
		host = "127.0.0.1"
	}
	portal := &url.URL{Scheme: "http", Host: c.Hotspot.Address.Addr().String()}
	return &window{
		sites: map[string]*url.URL{
			"":           portal,
			internetName: {Scheme: "http", Host: "www.example"},
			lenderName:   {Scheme: "https", Host: c.Box.Hostname},
		},
		host: host, port: port, portal: portal.String(), forward: transport,
	}, nil
}

// url is where browsers find the site of a name.
func (w *window) url(name string) string {
	return "http://" + net.JoinHostPort(cmp.Or(name, w.host), w.port)
}

func (w *window) ServeHTTP(out http.ResponseWriter, in *http.Request) {
	here := "http://" + in.Host
	name, _, _ := strings.Cut(in.Host, ":")
	home := w.url("")
	target, ok := w.sites[name]
	if !ok {
		target, home = w.sites[""], here
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
			if path, ok := strings.CutPrefix(r.Header.Get("Location"), w.portal+"/"); ok {
				r.Header.Set("Location", home+"/"+path)
			}
			return nil
		},
		ErrorHandler: func(out http.ResponseWriter, _ *http.Request, err error) {
			http.Error(out, "The resident's device gets no answer: "+err.Error(), http.StatusBadGateway)
		},
	}
	proxy.ServeHTTP(out, in)
}
