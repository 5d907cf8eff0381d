package web

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// Document is a rendered page, compressed once and written many times. Only the compressed bytes are kept; they are
// decompressed for the rare client that does not accept gzip.
type Document struct {
	gzip                   []byte
	htmlLength, gzipLength []string
	policy, referrer       []string
}

// Size is the document's size in memory, in bytes.
func (d *Document) Size() int { return len(d.gzip) }

// Header values that never change, shared by all responses. Nothing may modify them.
var (
	htmlType   = []string{"text/html; charset=utf-8"}
	gzipCoding = []string{"gzip"}
	noStore    = []string{"no-store"}
	noSniff    = []string{"nosniff"}
	nothing    = []string{"0"}
	closing    = []string{"close"}
	// No other site learns the address of a page that links to it, which matters for a lender's page. With "no-referrer" browsers
	// would send "Origin: null" with the box's own forms, which would then look like another site's.
	sameOrigin = []string{"same-origin"}
	noReferrer = []string{"no-referrer"} // of pages without forms
)

// compressors are pooled, not created for each page: one takes more than half a megabyte.
var compressors = sync.Pool{New: func() any {
	z, err := gzip.NewWriterLevel(nil, gzip.BestCompression)
	if err != nil {
		panic(err) // the level is a constant
	}
	return z
}}

// NewDocument renders and compresses a page.
func NewDocument(p Page) (*Document, error) {
	html, from, err := render(p)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	z := compressors.Get().(*gzip.Writer)
	defer compressors.Put(z)
	z.Reset(&b)
	if _, err := z.Write(html); err != nil {
		return nil, fmt.Errorf("compress a page: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("compress a page: %w", err)
	}
	policy := from.policy
	if _, frames := p.(Framer); frames {
		policy = from.framing
	}
	referrer := sameOrigin
	if d, ok := p.(Discreet); ok && d.HidesAddress() {
		referrer = noReferrer
	}
	return &Document{
		policy: policy, referrer: referrer, gzip: bytes.Clone(b.Bytes()),
		htmlLength: []string{strconv.Itoa(len(html))}, gzipLength: []string{strconv.Itoa(b.Len())},
	}, nil
}

// Serve writes the document, compressed if the client accepts gzip. Clients are told not to store pages, since they show the current
// state.
func (d *Document) Serve(w http.ResponseWriter, r *http.Request, status int) {
	h := w.Header()
	h["Content-Type"] = htmlType
	h["Cache-Control"] = noStore
	h["Content-Security-Policy"] = d.policy
	h["Referrer-Policy"] = d.referrer
	h["X-Content-Type-Options"] = noSniff
	if acceptsGzip(r.Header) {
		h["Content-Encoding"] = gzipCoding
		h["Content-Length"] = d.gzipLength
		w.WriteHeader(status)
		w.Write(d.gzip) // an error means that the client is gone
		return
	}
	h["Content-Length"] = d.htmlLength
	w.WriteHeader(status)
	if z, err := gzip.NewReader(bytes.NewReader(d.gzip)); err == nil { // it was compressed here, so it is valid
		io.Copy(w, z) // an error means that the client is gone
	}
}

// acceptsGzip reports whether Accept-Encoding (RFC 9110, section 12.5.3) lists gzip with a weight above 0.
func acceptsGzip(h http.Header) bool {
	for _, line := range h["Accept-Encoding"] {
		for line != "" {
			var item string
			item, line, _ = strings.Cut(line, ",")
			coding, weight, _ := strings.Cut(item, ";")
			if strings.EqualFold(strings.TrimSpace(coding), "gzip") {
				q, _ := strings.CutPrefix(strings.TrimSpace(weight), "q=")
				return strings.Trim(q, "0.") != "" || q == ""
			}
		}
	}
	return false
}
