// Package mirror reads the files of a repository from a folder (on a USB stick) or from a web server. It owns how these are reached
// and the limits on size. It does not trust what it reads, and must not know what the files mean.
package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
)

// ErrTooLong says that a file has more bytes than its reader allows.
var ErrTooLong = errors.New("the file is longer than its signed size")

// Folder is a repository in a file system, for example on a USB stick.
type Folder struct{ FS fs.FS }

// Read implements trust.Source.
func (f Folder) Read(ctx context.Context, name string, limit int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// A stick may have a pipe or a device under any name, and opening one may block for ever.
	info, err := fs.Stat(f.FS, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", name)
	}
	file, err := f.FS.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return read(file, limit)
}

func read(r io.Reader, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = ErrTooLong
	}
	if err != nil {
		return nil, err
	}
	return text, nil
}

// Site is a repository on a web server.
type Site struct {
	Client *http.Client // its timeout bounds the time of a file
	URL    *url.URL     // of the repository's folder
}

// Read implements trust.Source.
func (s Site) Read(ctx context.Context, name string, limit int64) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL.JoinPath(name).String(), nil)
	if err != nil {
		return nil, err
	}
	answer, err := s.Client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusOK:
		return read(answer.Body, limit)
	case http.StatusNotFound, http.StatusGone:
		return nil, fmt.Errorf("%s: %w", request.URL.Redacted(), fs.ErrNotExist)
	}
	return nil, fmt.Errorf("%s: the server answers %s", request.URL.Redacted(), answer.Status)
}
