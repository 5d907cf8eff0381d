package main

import (
	"context"
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
	w := newWindow(guest.Host, s.conf.Hotspot.Address.Addr(), l.Addr())
	s.screen.say(`The residents' page is open to your browser, which is a fourth resident.
There is an internet for it, too, and in that a file without end, to see the limit:

    %s
    %s
    %s

From another terminal, for instance:

    %s pause --socket %s
    ip netns exec %s iptables-save

Ctrl-C ends it.`, s.screen.bold(w.portalURL()), s.screen.bold(w.internetURL()),
		s.screen.bold(w.internetURL()+"big"), os.Args[0], s.socket(), s.Box.Namespace())

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
	donation := s.conf.Donations[0]
	line.read(s.Box, donation.Interface)
	head := "the box does not answer"
	if status, err := s.status(ctx); err == nil {
		head = fmt.Sprintf("%s, %s online", status.State, plural(status.Residents.Sessions, "resident"))
	}
	s.screen.draw(head, nowAndThen,
		bar{"down", line.down, float64(donation.Download)}, bar{"up", line.up, float64(donation.Upload)})
}

// window shows this machine's browsers what a resident sees: the residents' page under the address that it listens on,
// and the internet under a name that browsers look for on their own machine (RFC 6761, section 6.3).
//
// The box takes only its own names for itself, and forms only from its own pages. So requests get the names that they
// would have from the resident, and what redirects to the residents' page leads back here.
type window struct {
	portal, internet *url.URL // as the resident sees them
	address          string   // host and port, as browsers see it
	transport        *http.Transport
}

func newWindow(resident *netlab.Host, box netip.Addr, listening net.Addr) *window {
	transport := resident.HTTPClient().Transport.(*http.Transport)
	transport.DisableKeepAlives = true // what the gate decides holds from the next request on
	w := &window{
		portal:    &url.URL{Scheme: "http", Host: box.String()},
		internet:  &url.URL{Scheme: "http", Host: "www.example"},
		address:   listening.String(),
		transport: transport,
	}
	if a, err := netip.ParseAddrPort(w.address); err == nil && a.Addr().IsUnspecified() {
		w.address = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), a.Port()).String()
	}
	return w
}

const internetName = "internet.localhost"

func (w *window) portalURL() string { return "http://" + w.address + "/" }

func (w *window) internetURL() string {
	_, port, _ := net.SplitHostPort(w.address) // an address of ours
	return "http://" + net.JoinHostPort(internetName, port) + "/"
}

func (w *window) ServeHTTP(out http.ResponseWriter, in *http.Request) {
	target, here := w.portal, "http://"+in.Host
	home := here + "/"
	if strings.HasPrefix(in.Host, internetName) {
		target, home = w.internet, w.portalURL()
	}
	proxy := httputil.ReverseProxy{
		Transport: w.transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			for _, name := range []string{"Origin", "Referer"} {
				if rest, ok := strings.CutPrefix(r.In.Header.Get(name), here); ok {
					r.Out.Header.Set(name, target.String()+rest)
				}
			}
		},
		ModifyResponse: func(r *http.Response) error {
			if path, ok := strings.CutPrefix(r.Header.Get("Location"), w.portal.String()+"/"); ok {
				r.Header.Set("Location", home+path)
			}
			return nil
		},
		ErrorHandler: func(out http.ResponseWriter, _ *http.Request, err error) {
			http.Error(out, "The resident's device gets no answer: "+err.Error(), http.StatusBadGateway)
		},
	}
	proxy.ServeHTTP(out, in)
}
