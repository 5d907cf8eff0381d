package web

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"time"
)

// Bounds of an upload.
const (
	uploadPause  = 20 * time.Second // the longest time without a byte of the upload
	uploadFields = 64               // fields before the file
	uploadField  = 4 << 10          // bytes of a field
	uploadRest   = 64 << 20         // bytes of a refused upload that are still read, so that the browser shows the answer
)

// ErrNoFile says that a form has no file: its user has chosen none.
var ErrNoFile = errors.New("the form has no file")

// Upload is a form with a file, which is read as it arrives.
type Upload struct {
	Form url.Values // the fields before the file
	Name string     // the file's name according to the browser: without folders, but with any characters
	File io.Reader  // its error is *http.MaxBytesError if the form exceeds the bound

	body io.Reader
}

// ReadUpload reads a form (multipart/form-data, RFC 7578) of at most that many bytes up to its file. The client must send some bytes
// every uploadPause, and may take as long as it needs for the whole form. The error is [ErrForm], [ErrNoFile], or
// *http.MaxBytesError for a form that is larger.
func (r *Request) ReadUpload(w http.ResponseWriter, most int64) (*Upload, error) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" || params["boundary"] == "" {
		return nil, ErrForm
	}
	Yield(r.Request) // it waits for the client
	paced := pacedReader{r.Body, http.NewResponseController(w)}
	u := &Upload{Form: url.Values{}, body: paced}
	if r.ContentLength > most {
		u.Discard()
		return nil, &http.MaxBytesError{Limit: most}
	}
	parts := multipart.NewReader(http.MaxBytesReader(w, paced, most), params["boundary"])
	for range uploadFields {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return nil, ErrNoFile
		}
		if err != nil {
			return nil, formError(err)
		}
		if u.Name = part.FileName(); u.Name != "" {
			u.File = part
			return u, nil
		}
		text, err := io.ReadAll(io.LimitReader(part, uploadField+1))
		if err != nil {
			return nil, formError(err)
		}
		if len(text) > uploadField {
			return nil, ErrForm
		}
		u.Form.Add(part.FormName(), string(text))
	}
	return nil, ErrForm
}

// Discard reads the rest of a refused upload, up to uploadRest: a browser shows no answer while it is still sending.
func (u *Upload) Discard() {
	io.CopyN(io.Discard, u.body, uploadRest) // an error means that the client is gone
}

// formError returns *http.MaxBytesError as it is, and joins any other error of reading a form with [ErrForm].
func formError(err error) error {
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return err
	}
	return errors.Join(ErrForm, err)
}

// pacedReader gives a client uploadPause for each read of the body.
type pacedReader struct {
	io.ReadCloser
	control *http.ResponseController
}

func (p pacedReader) Read(b []byte) (int, error) {
	if err := p.control.SetReadDeadline(time.Now().Add(uploadPause)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return p.ReadCloser.Read(b)
}

// AllowTime lets the handler of a request whose body has been read work for d before it answers. Without it the request's context
// ends, and its answer is lost, after the server's timeouts for a page.
func AllowTime(w http.ResponseWriter, d time.Duration) error {
	control := http.NewResponseController(w)
	err := errors.Join(control.SetReadDeadline(time.Now().Add(d)), control.SetWriteDeadline(time.Now().Add(d+writeTimeout)))
	if errors.Is(err, http.ErrNotSupported) { // a test's ResponseWriter
		return nil
	}
	return err
}
