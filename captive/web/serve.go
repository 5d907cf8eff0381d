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

// Bounds on the cost of a request.
const (
	maxHeader = 16 << 10 // bytes of request line and header; more is answered 431
	maxBody   = 4 << 10  // bytes of a request without a form

	writeTimeout = 15 * time.Second
)

// NewServer returns a server for h with bounds against slow, large and broken requests: a phone with a bad radio link needs seconds,
// never minutes. Requests on connections with a part in Slots, such as those of [Limit], are served in a slot. Errors of net/http
// are logged without client addresses.
func NewServer(h http.Handler, l *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           inSlot(h),
		ConnContext:       withWork,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          log.New(anonymous{l}, "", 0),
	}
}

// anonymous logs net/http's errors without the client's address, and truncated.
type anonymous struct{ log *slog.Logger }

var anAddress = regexp.MustCompile(`\[[0-9a-fA-F:.]+(%\w+)?\](:\d+)?|\b\d+\.\d+\.\d+\.\d+(:\d+)?`)

const maxComplaint = 2000 // bytes of a panic's stack

func (a anonymous) Write(line []byte) (int, error) {
	text := strings.TrimSpace(anAddress.ReplaceAllString(string(line), "a client"))
	if len(text) > maxComplaint {
		text = strings.ToValidUTF8(text[:maxComplaint], "") + " …"
	}
	switch {
	case strings.HasPrefix(text, "http: panic serving"):
		a.log.Error("a page could not be served", "err", text)
	case strings.HasPrefix(text, "http: TLS handshake error"), // from each browser that asks its user whether to trust the box
		strings.HasPrefix(text, "http: URL query contains semicolon"): // a client's fault
		a.log.Debug("serve pages", "err", text)
	default:
		a.log.Warn("serve pages", "err", text)
	}
	return len(line), nil
}

// crossOrigin tells the box's own forms from those of other sites. Old phones send neither Origin nor Sec-Fetch-Site. For them the
// Host header decides, which is one of the box's names by the time a handler checks.
var crossOrigin = http.NewCrossOriginProtection()

// FromOurPages reports whether a request that changes something comes from one of the box's own pages.
func FromOurPages(r *http.Request) bool { return crossOrigin.Check(r) == nil }

// CheckPOST checks whether a request without a form may change something: it must come from one of the box's own pages, and its body,
// which is ignored, must be small. It returns 200, or the status to refuse the request with.
func CheckPOST(w http.ResponseWriter, r *http.Request) (status int) {
	if !FromOurPages(r) {
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

// ExtendDeadline returns w for an answer that is too large for a page's write timeout: each write gets a timeout of its own, so the
// client only has to keep reading.
func ExtendDeadline(w http.ResponseWriter) http.ResponseWriter {
	return deadlineExtender{w, http.NewResponseController(w)}
}

type deadlineExtender struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (p deadlineExtender) Write(b []byte) (int, error) {
	if err := p.control.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return p.ResponseWriter.Write(b)
}

// IsOwnHost reports whether a request names the box itself, by its address (without brackets) or by one of its names, with no port,
// the scheme's, or the port that it arrived at. An empty address or name matches nothing.
func IsOwnHost(r *http.Request, schemePort, address string, names ...string) bool {
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

// splitHost splits a Host header (RFC 9110, section 7.2) without allocating. net.SplitHostPort would return an error for a missing
// port.
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

// localPort returns the local port of a request's connection, or "".
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
