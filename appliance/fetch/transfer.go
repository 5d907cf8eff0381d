package fetch

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"passerelle/netctl"
	"passerelle/netctl/names"
)

const (
	maxFile      = 200 << 20 // bytes of a file, unpacked; and on a line without a cap
	maxRedirects = 5
	maxTime      = 15 * time.Minute // of a download
	maxRun       = 2 * time.Hour    // of a job's Run, which then continues later: meanwhile no other download begins
	fileTime     = 2 * time.Minute  // of each of Run's files: 256 kB at 128 kbit/s take 16 s
	answerWait   = 90 * time.Second // for an answer: an export may be generated on request
	dialWait     = 30 * time.Second // for a connection
	nameWait     = 5 * time.Second  // for a name server's answer
	slowWindow   = 30 * time.Second // at least slowBytes must arrive in each such window
	slowBytes    = 30 << 10
	watchEvery   = 100 * time.Millisecond // interval of checks that the line may still be used
	maxRate      = 8e6                    // bit/s
	ratePart     = 4                      // of the rate that is lent
	receiveBytes = 128 << 10              // of a socket's buffer: what may cross the line before it is counted

	// Opening and closing a connection takes seven segments of 60 bytes.
	connBytes = 7 * 60
	// Headers of IP, TCP and the link, and acknowledgements, as a part of the data.
	headerPart = 16
)

// userAgent is also that of the box's probes. It is the same for every box.
const userAgent = "passerelle"

// outcome is how an attempt ended.
type outcome struct {
	result     string // the importer's text
	unchanged  bool   // the server has the version that was imported last
	validators validators
	bytes      uint64 // on the line
	err        error
	refused    bool // err is about the file, which would be no better soon
	more       bool // it was stopped, and continues from there
}

// transfer is one download.
type transfer struct {
	job        Job
	line       Line
	budget     uint64 // bytes on the line
	validators validators
	dial       func(ctx context.Context, network, device string, to netip.AddrPort) (net.Conn, error)
	roots      *x509.CertPool
	situation  func() Situation
	book       func(bytes uint64) error // stores what the download has used or may need

	used   atomic.Uint64 // bytes on the line so far
	booked uint64        // of Run
	size   atomic.Uint64 // of the file on the line, if the server says so
	coming atomic.Bool   // the file's bytes are being received
	cancel context.CancelCauseFunc
}

var (
	errAllowance = errors.New("the file is larger than what downloads may use of the cap in this period")
	errTooLarge  = fmt.Errorf("the file is larger than %d MB", maxFile>>20)
	errWebPage   = errors.New("the server sent a web page instead of the file")
	errSlow      = errors.New("the server is too slow")
	errTime      = fmt.Errorf("it was not complete after %v", maxTime)
)

// run downloads the file, and stops as soon as the line may no longer be used.
func (t *transfer) run(ctx context.Context) outcome {
	limit, get := maxTime, t.get
	if t.job.Run != nil {
		limit, get = maxRun, t.runJob
	}
	ctx, stop := context.WithTimeoutCause(ctx, limit, errTime)
	defer stop()
	ctx, t.cancel = context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() { defer close(watched); t.watch(ctx) }()
	o := get(ctx)
	if o.err != nil && ctx.Err() != nil {
		o.err = context.Cause(ctx)
		o.more = t.job.Run != nil
		o.refused = !o.more && errors.Is(o.err, errAllowance)
	}
	t.cancel(nil)
	<-watched
	return o
}

// watch cancels the download when its line may no longer be used, or when it is too slow.
func (t *transfer) watch(ctx context.Context) {
	check := time.NewTicker(watchEvery)
	defer check.Stop()
	slow := time.NewTicker(slowWindow)
	defer slow.Stop()
	var before uint64
	var began bool // bytes were being received for the whole window
	for {
		select {
		case <-ctx.Done():
			return
		case <-check.C:
			switch s := t.situation(); {
			case s.Line == nil:
				t.cancel(fmt.Errorf("it was stopped: %s", s.Why))
			case s.Line.Donation != t.line.Donation || s.Line.Interface != t.line.Interface:
				t.cancel(errors.New("it was stopped: the box uses another line"))
			case s.Line.Allowance == 0:
				t.cancel(fmt.Errorf("it was stopped: the cap of %q is almost spent", t.line.Donation))
			}
		case <-slow.C:
			now, coming := t.used.Load(), t.coming.Load()
			if began && coming && now-before < slowBytes {
				t.cancel(errSlow)
			}
			before, began = now, coming
		}
	}
}

// client returns a client whose connections use the line and are counted.
func (t *transfer) client() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            t.connect,
			TLSClientConfig:        &tls.Config{RootCAs: t.roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    answerWait,
			ResponseHeaderTimeout:  answerWait,
			MaxResponseHeaderBytes: 64 << 10,
			DisableKeepAlives:      t.job.Run == nil,
			MaxConnsPerHost:        1,
			DisableCompression:     true, // done here, to know the size on the line
		},
		CheckRedirect: t.redirect,
	}
}

// runJob runs a job that makes its download itself.
func (t *transfer) runJob(ctx context.Context) outcome {
	client := t.client()
	defer client.CloseIdleConnections()
	client.Transport, client.Timeout = &ahead{client.Transport, ctx, t}, fileTime
	result, err := t.job.Run(ctx, client)
	return outcome{result: result, err: t.explain(err)}
}

// A download of many files books this much ahead of what has crossed the line, in steps. After a power cut it counts as used.
const (
	aheadBytes = 1 << 20
	aheadStep  = 4 << 20
)

// ahead is a RoundTripper that books before each request, and paces each answer.
type ahead struct {
	http.RoundTripper
	ctx context.Context
	t   *transfer
}

func (a *ahead) RoundTrip(r *http.Request) (*http.Response, error) {
	t := a.t
	switch used := t.used.Load(); {
	case used+least > t.budget:
		t.cancel(errAllowance)
		return nil, errAllowance
	case used+min(aheadBytes, t.budget-used) > t.booked:
		t.booked = min(t.budget, used+aheadStep)
		if err := t.book(t.booked); err != nil {
			return nil, err
		}
	}
	r.Header.Set("User-Agent", userAgent)
	began, before := time.Now(), t.used.Load()
	reply, err := a.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	reply.Body = struct {
		io.Reader
		io.Closer
	}{&paced{a.ctx, t, reply.Body, began, before}, reply.Body}
	return reply, nil
}

// CloseIdleConnections closes the connections between two files.
func (a *ahead) CloseIdleConnections() {
	if c, ok := a.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// get requests the file and passes it to the importer.
func (t *transfer) get(ctx context.Context) (o outcome) {
	client := t.client()
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, t.job.URL, nil)
	if err != nil {
		return outcome{err: withoutURL(err), refused: true}
	}
	r.Header.Set("User-Agent", userAgent)
	r.Header.Set("Accept-Encoding", "gzip")
	if v := t.validators; v.ETag != "" {
		r.Header.Set("If-None-Match", v.ETag)
	} else if v.LastModified != "" {
		r.Header.Set("If-Modified-Since", v.LastModified)
	}
	reply, err := client.Do(r)
	if err != nil {
		return outcome{err: t.explain(err)}
	}
	defer reply.Body.Close()
	if reply.StatusCode == http.StatusNotModified && t.validators != (validators{}) {
		return outcome{unchanged: true}
	}
	if err := acceptable(reply); err != nil {
		return outcome{err: err}
	}
	return t.receive(ctx, reply)
}

// receive passes the body to the importer.
func (t *transfer) receive(ctx context.Context, reply *http.Response) outcome {
	need := t.budget
	if n := reply.ContentLength; n >= 0 {
		t.size.Store(uint64(n))
		if need = t.used.Load() + onLine(uint64(n)); need > t.budget {
			return outcome{err: fmt.Errorf("%w: %d kB of %d kB", errAllowance, t.budget/1000, n/1000), refused: true}
		}
	}
	if err := t.book(need); err != nil {
		return outcome{err: err}
	}
	t.coming.Store(true)
	var from io.Reader = &paced{ctx, t, reply.Body, time.Now(), t.used.Load()}
	if reply.Header.Get("Content-Encoding") == "gzip" {
		unpacked, err := gzip.NewReader(from)
		if err != nil {
			return outcome{err: fmt.Errorf("unpack the file: %w", err)}
		}
		from = unpacked
	}
	content := &content{from: from, left: maxFile, over: func() { t.coming.Store(false) }}
	file := bufio.NewReader(content)
	head, _ := file.Peek(512) // all that DetectContentType reads
	switch {
	case content.err != nil:
		return outcome{err: fmt.Errorf("receive the file: %w", content.err)}
	case len(head) == 0:
		return outcome{err: errors.New("the server sent an empty file")}
	case strings.HasPrefix(http.DetectContentType(head), "text/html"):
		return outcome{err: errWebPage}
	}
	result, err := t.job.Accept(ctx, file)
	switch {
	case err == nil:
		return outcome{result: result, validators: validators{reply.Header.Get("ETag"), reply.Header.Get("Last-Modified")}}
	case content.err != nil:
		return outcome{err: fmt.Errorf("receive the file: %w", content.err), refused: errors.Is(content.err, errTooLarge)}
	}
	return outcome{err: err, refused: true}
}

// acceptable returns an error if an answer cannot be the file.
func acceptable(reply *http.Response) error {
	if reply.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answered %q", reply.Status)
	}
	if e := reply.Header.Get("Content-Encoding"); e != "" && e != "gzip" && e != "identity" {
		return fmt.Errorf("the server sent the file in an encoding that was not asked for: %q", e)
	}
	kind, _, _ := mime.ParseMediaType(reply.Header.Get("Content-Type"))
	switch {
	case kind == "text/html", kind == "application/xhtml+xml":
		return errWebPage
	case kind == "application/json", strings.HasSuffix(kind, "+json"):
		return errors.New("the server sent a message in JSON instead of the file")
	}
	return nil
}

// redirect follows a redirect, or returns why not.
func (t *transfer) redirect(r *http.Request, via []*http.Request) error {
	r.Header.Del("Referer")
	switch from := via[len(via)-1].URL; {
	case len(via) > maxRedirects:
		return errors.New("the server redirects too often")
	case r.URL.Scheme != "http" && r.URL.Scheme != "https":
		return fmt.Errorf("the server redirects to %q, which is not the web", r.URL.Scheme)
	case from.Scheme == "https" && r.URL.Scheme != "https":
		return errors.New("the server redirects from https to http")
	case r.URL.User != nil:
		return errors.New("the server redirects to an address with a user's name")
	}
	return nil
}

// connect opens a connection over the line to the host of the address, which must be public.
func (t *transfer) connect(ctx context.Context, _, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	at, err := t.resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	if !at.Is4() || slices.ContainsFunc(netctl.SpecialPurpose, func(p netip.Prefix) bool { return p.Contains(at) }) {
		return nil, fmt.Errorf("%s leads to %s, which is not on the internet", host, at)
	}
	t.count(connBytes)
	ctx, stop := context.WithTimeout(ctx, dialWait)
	defer stop()
	conn, err := t.dial(ctx, "tcp4", t.line.Interface, netip.AddrPortFrom(at, uint16(number)))
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		if err := tcp.SetReadBuffer(receiveBytes); err != nil {
			conn.Close()
			return nil, fmt.Errorf("bound the receive buffer: %w", err)
		}
	}
	return &counted{conn, t}, nil
}

// resolve returns a host's IPv4 address, from the line's name servers.
func (t *transfer) resolve(ctx context.Context, host string) (netip.Addr, error) {
	if at, err := netip.ParseAddr(host); err == nil {
		return at, nil
	}
	err := fmt.Errorf("no name server of the line answered for %s", host)
	for range 2 { // a datagram may be lost
		for _, server := range t.line.Servers {
			answer, failed := t.ask(ctx, server, host)
			switch {
			case failed != nil:
			case answer.Addr.IsValid():
				return answer.Addr, nil
			default:
				err = fmt.Errorf("%s has no IPv4 address (%s)", host, strings.TrimPrefix(answer.Code.String(), "RCode"))
			}
			if ctx.Err() != nil {
				return netip.Addr{}, context.Cause(ctx)
			}
		}
	}
	return netip.Addr{}, err
}

// ask queries one name server.
func (t *transfer) ask(ctx context.Context, server netip.Addr, host string) (names.Answer, error) {
	ctx, stop := context.WithTimeout(ctx, nameWait)
	defer stop()
	conn, err := t.dial(ctx, "udp4", t.line.Interface, netip.AddrPortFrom(server, 53))
	if err != nil {
		return names.Answer{}, err
	}
	defer conn.Close()
	answer, used, err := names.Ask(ctx, conn, strings.TrimSuffix(host, "."))
	t.add(used.Sent + used.Received)
	return answer, err
}

// explain returns the reason in an error of the HTTP client, without the requested address.
func (t *transfer) explain(err error) error {
	if err == nil {
		return nil
	}
	err = withoutURL(err)
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) && t.roots == nil {
		if machine, failed := x509.SystemCertPool(); failed != nil || machine.Equal(x509.NewCertPool()) {
			return fmt.Errorf("%w: this machine knows no authorities (its package ca-certificates is missing)", err)
		}
	}
	return err
}

// withoutURL removes the address from an error: its path may be a password.
func withoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// onLine returns what the line carries for bytes of a connection.
func onLine(bytes uint64) uint64 { return bytes + bytes/headerPart }

// count adds a connection's bytes.
func (t *transfer) count(bytes int) { t.add(onLine(uint64(bytes))) }

// add adds bytes on the line, and cancels the download when it has used more than its budget.
func (t *transfer) add(bytes uint64) {
	if t.used.Add(bytes) > t.budget {
		t.cancel(errAllowance)
	}
}

// counted is a connection whose bytes are counted.
type counted struct {
	net.Conn
	t *transfer
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.t.count(n)
	return n, err
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.t.count(n)
	return n, err
}

// paced is a reader that limits the download's rate.
type paced struct {
	ctx    context.Context
	t      *transfer
	from   io.Reader
	began  time.Time
	before uint64 // bytes used until then
}

func (p *paced) Read(b []byte) (int, error) {
	n, err := p.from.Read(b[:min(len(b), 16<<10)])
	if wait := time.Until(p.began.Add(p.t.takes(p.t.used.Load() - p.before))); wait > 0 && err == nil {
		select {
		case <-p.ctx.Done():
		case <-time.After(wait):
		}
	}
	if p.ctx.Err() != nil {
		return n, context.Cause(p.ctx)
	}
	return n, err
}

// takes returns how long the transfer of these bytes takes at the download's rate.
func (t *transfer) takes(bytes uint64) time.Duration {
	rate := maxRate
	if t.line.Rate != 0 {
		rate = min(rate, float64(t.line.Rate)/ratePart)
	}
	return time.Duration(float64(bytes) * 8 / rate * float64(time.Second))
}

// content is the unpacked file, of limited size. It keeps an error of the transfer, to distinguish it from an error of the importer.
type content struct {
	from io.Reader
	left int64  // bytes that may still follow
	over func() // called at the end
	err  error
}

func (c *content) Read(b []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.from.Read(b)
	if c.left -= int64(n); c.left < 0 {
		n, err = 0, errTooLarge
	}
	if err != nil {
		c.over()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}
