package web

import (
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// Bounds on what one request may cost.
const (
	maxHeader = 16 << 10 // bytes of request line and header; more is answered 431
	maxBody   = 4 << 10  // bytes; our forms send none

	writeTimeout = 15 * time.Second
)

// NewServer returns a server for h whose bounds hold against slow, large and broken clients: a phone on a bad radio
// needs seconds, never minutes. Connections that take part in Slots, as captive.Limit's do, are worked on in one. What net/http complains of is logged without anybody's address.
func NewServer(h http.Handler, l *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           working(h),
		ConnContext:       withWork,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          log.New(anonymous{l}, "", 0),
	}
}

// anonymous logs what net/http complains of without the client's address in it, and not at length.
type anonymous struct{ log *slog.Logger }

var anAddress = regexp.MustCompile(`\[[0-9a-fA-F:.]+(%\w+)?\](:\d+)?|\b\d+\.\d+\.\d+\.\d+(:\d+)?`)

const maxComplaint = 2000 // bytes: of a panic, where it was

func (a anonymous) Write(line []byte) (int, error) {
	text := strings.TrimSpace(anAddress.ReplaceAllString(string(line), "a client"))
	if len(text) > maxComplaint {
		text = strings.ToValidUTF8(text[:maxComplaint], "") + " …"
	}
	switch {
	case strings.HasPrefix(text, "http: panic serving"):
		a.log.Error("a page could not be served", "err", text)
	case strings.HasPrefix(text, "http: TLS handshake error"), // each browser that asks its user before it trusts the box ends one
		strings.HasPrefix(text, "http: URL query contains semicolon"): // a client's fault
		a.log.Debug("serve pages", "err", text)
	default:
		a.log.Warn("serve pages", "err", text)
	}
	return len(line), nil
}

// cross knows our own forms from those of other sites. Old phones send neither Origin nor Sec-Fetch-Site: for them the
// Host header, which is one of ours when a handler asks, must do.
var cross = http.NewCrossOriginProtection()

// CheckChange says whether a request may change something: it comes from our own pages, and its body, which says nothing,
// is small. It returns 200, or the status to refuse it with.
func CheckChange(w http.ResponseWriter, r *http.Request) (status int) {
	if err := cross.Check(r); err != nil {
		return http.StatusForbidden
	}
	if status = drain(w, r); status != http.StatusOK {
		w.Header()["Connection"] = closing
	}
	return status
}

// drain reads a body to its end.
func drain(w http.ResponseWriter, r *http.Request) (status int) {
	if r.ContentLength != 0 {
		Yield(r)
	}
	if r.ContentLength > maxBody {
		return http.StatusRequestEntityTooLarge
	}
	_, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return http.StatusRequestEntityTooLarge
	}
	if err != nil {
		return http.StatusBadRequest
	}
	return http.StatusOK
}

// Patient returns w for an answer that is larger than can be sent in the time that a page has: the client must take some
// of it within that time, again and again.
func Patient(w http.ResponseWriter) http.ResponseWriter {
	return patient{w, http.NewResponseController(w)}
}

type patient struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (p patient) Write(b []byte) (int, error) {
	if err := p.control.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return p.ResponseWriter.Write(b)
}

// Own says whether a request names the box itself, by its address (without brackets) or by one of its names, at the
// scheme's port or the one it came in by. Empty ones match nothing.
func Own(r *http.Request, schemePort, address string, names ...string) bool {
	host, port, ok := splitHost(r.Host)
	if !ok || host == "" || port != "" && port != schemePort && port != localPort(r) {
		return false
	}
	if host == address {
		return true
	}
	for _, name := range names {
		if name != "" && strings.EqualFold(strings.TrimSuffix(host, "."), name) {
			return true
		}
	}
	return false
}

// splitHost splits a Host header (RFC 9110, section 7.2) without allocating; net.SplitHostPort makes an error of a
// missing port.
func splitHost(s string) (host, port string, ok bool) {
	if rest, bracketed := strings.CutPrefix(s, "["); bracketed {
		if host, rest, ok = strings.Cut(rest, "]"); !ok {
			return "", "", false
		}
		if rest == "" {
			return host, "", true
		}
		port, ok = strings.CutPrefix(rest, ":")
		return host, port, ok
	}
	host, port, _ = strings.Cut(s, ":")
	return host, port, !strings.Contains(port, ":")
}

// localPort returns the port at which a request came in, or "".
func localPort(r *http.Request) string {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return ""
	}
	_, port, err := net.SplitHostPort(local.String())
	if err != nil {
		return ""
	}
	return port
}
