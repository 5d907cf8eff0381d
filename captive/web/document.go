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

// Document is a finished page, compressed once and written as often as it is asked for. Only the compressed bytes are
// kept: for the rare client that doesn't take them they are unpacked each time.
type Document struct {
	gzip                   []byte
	htmlLength, gzipLength []string
	policy                 []string
}

// Size is what the document takes of memory, in bytes.
func (d *Document) Size() int { return len(d.gzip) }

// Header values that never change, shared by all responses: nothing may write into them.
var (
	htmlType   = []string{"text/html; charset=utf-8"}
	gzipCoding = []string{"gzip"}
	noStore    = []string{"no-store"}
	noSniff    = []string{"nosniff"}
	closing    = []string{"close"}
	policy     = []string{Policy}
	framing    = []string{packPolicy}
	// No other site learns where a link to it stood, which matters for a lender's. With "no-referrer" browsers would send
	// "Origin: null" with our own forms, which then look like another site's.
	referrer = []string{"same-origin"}
)

// A compressor takes more than half a megabyte, so they are kept and not made for each page.
var compressors = sync.Pool{New: func() any {
	z, err := gzip.NewWriterLevel(nil, gzip.BestCompression)
	if err != nil {
		panic(err) // the level is a constant
	}
	return z
}}

// NewDocument renders and compresses a page.
func NewDocument(p Page) (*Document, error) {
	html, err := Render(p)
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
	its := policy
	if _, frames := p.(Pack); frames {
		its = framing
	}
	return &Document{
		policy: its, gzip: bytes.Clone(b.Bytes()),
		htmlLength: []string{strconv.Itoa(len(html))}, gzipLength: []string{strconv.Itoa(b.Len())},
	}, nil
}

// Serve writes the document, compressed if the client takes that. Pages are never stored: they show what is so now.
func (d *Document) Serve(w http.ResponseWriter, r *http.Request, status int) {
	h := w.Header()
	h["Content-Type"] = htmlType
	h["Cache-Control"] = noStore
	h["Content-Security-Policy"] = d.policy
	h["Referrer-Policy"] = referrer
	h["X-Content-Type-Options"] = noSniff
	if acceptsGzip(r.Header) {
		h["Content-Encoding"] = gzipCoding
		h["Content-Length"] = d.gzipLength
		w.WriteHeader(status)
		w.Write(d.gzip) // a client that went away is no concern of ours
		return
	}
	h["Content-Length"] = d.htmlLength
	w.WriteHeader(status)
	if z, err := gzip.NewReader(bytes.NewReader(d.gzip)); err == nil { // we made it: it can be read
		io.Copy(w, z) // likewise
	}
}

// acceptsGzip reads Accept-Encoding (RFC 9110, section 12.5.3) as far as one coding needs it.
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
