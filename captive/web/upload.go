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
	uploadPause  = 20 * time.Second // the longest time without a byte of it
	uploadFields = 64               // fields before the file
	uploadField  = 4 << 10          // bytes of a field
	uploadRest   = 64 << 20         // bytes of a refused upload that are read, so that the browser shows the answer
)

// ErrNoFile says that a form has no file: nobody has chosen one.
var ErrNoFile = errors.New("the form has no file")

// Upload is a form with a file, which is read as it arrives.
type Upload struct {
	Form url.Values // the fields before the file
	Name string     // of the file, as the browser says: without folders, but with any signs
	File io.Reader  // its error is *http.MaxBytesError beyond the bound

	body io.Reader
}

// ReadUpload reads a form of at most so many bytes (multipart/form-data, RFC 7578) up to its file. The client must send some of
// it all the time, and may take as long as it needs for all. The error is [ErrForm], [ErrNoFile], or *http.MaxBytesError for a
// form that says that it is larger.
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

// Discard reads what is left of an upload that is refused, within bounds: a browser that is still sending shows no answer.
func (u *Upload) Discard() {
	io.CopyN(io.Discard, u.body, uploadRest) // an error means that the client is gone
}

// formError returns an error of reading a form.
func formError(err error) error {
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return err
	}
	return errors.Join(ErrForm, err)
}

// pacedReader gives a client time for each part of a body.
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

// AllowTime lets the handler of a request that was read work for so long before it answers. Without it the request's context
// ends, and its answer is lost, after a page's time limit.
func AllowTime(w http.ResponseWriter, d time.Duration) error {
	control := http.NewResponseController(w)
	err := errors.Join(control.SetReadDeadline(time.Now().Add(d)), control.SetWriteDeadline(time.Now().Add(d+writeTimeout)))
	if errors.Is(err, http.ErrNotSupported) { // of a test
		return nil
	}
	return err
}
