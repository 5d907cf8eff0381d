package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"passerelle/appliance/state"
)

// Backups makes and restores backups of the box. If the caller made a mistake, it returns an error made by Refuse.
type Backups interface {
	// WriteBackup writes a backup. With a passphrase it contains all secrets, and is sealed.
	WriteBackup(w io.Writer, passphrase string) error
	// KeepBackup keeps a backup on the box, and returns its path. It refuses if there is nothing to back up.
	KeepBackup() (path string, err error)
	// CheckBackup checks a backup, which then waits to be restored. CheckUndo does the same with the state before the last restore.
	CheckBackup(r io.Reader, passphrase string) (state.Restore, error)
	CheckUndo() (state.Restore, error)
	// RestoreBackup begins to restore a checked backup; LastRestore tells how that ends. used has the bytes that lines have carried
	// in the running period, by donation, for donations whose use is unknown.
	RestoreBackup(id string, used map[string]uint64) error
	LastRestore() state.RestoreResult
	// StateUse states what a donation's line has carried in the running period.
	StateUse(ctx context.Context, donation string, bytes uint64) error
	// ListSticks returns the USB sticks that are plugged in. MarkStick marks one for backups, which the passphrase opens, and writes
	// the first one. WriteStick writes a backup to the sticks that are marked.
	ListSticks(ctx context.Context) ([]state.Stick, error)
	MarkStick(ctx context.Context, device, passphrase string) error
	WriteStick(ctx context.Context) error
}

// Paths of the requests.
const (
	pathBackup  = "/backup" // answers with the backup's file
	pathKeep    = "/backup/keep"
	pathCheck   = "/restore/check" // with the backup's file
	pathUndo    = "/restore/undo"
	pathRestore = "/restore" // with the id, and as parameters what donations have used
	pathUse     = "/use"     // with the donation's name and bytes as parameters
	pathSticks  = "/sticks"
	pathMark    = "/sticks/mark" // with the device as a parameter
	pathStick   = "/sticks/write"
	restoreID   = "id"
	deviceName  = "device"
	usedBytes   = "bytes"
	usedPrefix  = "used." // followed by the donation's name

	// passphraseHead is the header that carries a passphrase, escaped as in a URL's query.
	passphraseHead = "Passerelle-Passphrase"

	backupTime = 10 * time.Minute // a large file on a slow card
)

// backupRequests registers the requests.
func backupRequests(mux *http.ServeMux, act func(string, func(*http.Request) (string, error)), b Backups, log *slog.Logger) {
	passphrase := func(r *http.Request) (string, error) { return url.QueryUnescape(r.Header.Get(passphraseHead)) }
	mux.HandleFunc("POST "+pathBackup, func(w http.ResponseWriter, r *http.Request) {
		p, err := passphrase(r)
		out := &started{Writer: w}
		if err == nil {
			err = b.WriteBackup(out, p)
		}
		switch {
		case err == nil:
		case out.yes:
			log.Warn("a backup is not delivered as a whole", "error", err)
			panic(http.ErrAbortHandler) // the client sees that the file is cut off
		case errors.Is(err, ErrRefused):
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		default:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	said := func(v any, err error) (string, error) {
		if err != nil {
			return "", err
		}
		text, err := json.Marshal(v)
		return string(text), err
	}
	act(pathCheck, func(r *http.Request) (string, error) {
		p, err := passphrase(r)
		if err != nil {
			return "", Refuse(err)
		}
		return said(b.CheckBackup(r.Body, p))
	})
	act(pathKeep, func(*http.Request) (string, error) { return b.KeepBackup() })
	act(pathUndo, func(*http.Request) (string, error) { return said(b.CheckUndo()) })
	act(pathRestore, func(r *http.Request) (string, error) {
		used := map[string]uint64{}
		for name, values := range r.URL.Query() {
			if donation := name[min(len(usedPrefix), len(name)):]; name == usedPrefix+donation {
				bytes, err := strconv.ParseUint(values[0], 10, 64)
				if err != nil {
					return "", Refuse(err)
				}
				used[donation] = bytes
			}
		}
		return "", b.RestoreBackup(r.URL.Query().Get(restoreID), used)
	})
	act(pathUse, func(r *http.Request) (string, error) {
		bytes, err := strconv.ParseUint(r.FormValue(usedBytes), 10, 64)
		if err != nil {
			return "", Refuse(err)
		}
		return "", b.StateUse(r.Context(), r.FormValue(donation), bytes)
	})
	act(pathSticks, func(r *http.Request) (string, error) { return said(b.ListSticks(r.Context())) })
	act(pathMark, func(r *http.Request) (string, error) {
		p, err := passphrase(r)
		if err != nil {
			return "", Refuse(err)
		}
		return "", b.MarkStick(r.Context(), r.URL.Query().Get(deviceName), p)
	})
	act(pathStick, func(r *http.Request) (string, error) { return "", b.WriteStick(r.Context()) })
	mux.HandleFunc("GET "+pathRestore, func(w http.ResponseWriter, _ *http.Request) {
		text, err := said(b.LastRestore(), nil)
		if err == nil {
			_, err = io.WriteString(w, text)
		}
		if err != nil {
			log.Debug("answer not delivered", "request", pathRestore, "error", err)
		}
	})
}

// started records whether something was written.
type started struct {
	io.Writer
	yes bool
}

func (s *started) Write(b []byte) (int, error) {
	s.yes = true
	return s.Writer.Write(b)
}

func withPassphrase(p string) http.Header { return http.Header{passphraseHead: {url.QueryEscape(p)}} }

// WriteBackup writes a backup of the box.
func (c Client) WriteBackup(ctx context.Context, w io.Writer, passphrase string) error {
	ctx, cancel := context.WithTimeout(ctx, backupTime)
	defer cancel()
	return c.send(ctx, http.MethodPost, pathBackup, withPassphrase(passphrase), nil, func(answer io.Reader) error {
		_, err := io.Copy(w, answer)
		return err
	})
}

// KeepBackup keeps a backup on the box, and returns its path.
func (c Client) KeepBackup(ctx context.Context) (path string, err error) {
	ctx, cancel := context.WithTimeout(ctx, backupTime)
	defer cancel()
	err = c.send(ctx, http.MethodPost, pathKeep, nil, nil, func(answer io.Reader) error {
		text, err := io.ReadAll(io.LimitReader(answer, answerLimit))
		path = string(text)
		return err
	})
	return path, err
}

// CheckBackup checks a backup, and returns what restoring it would change.
func (c Client) CheckBackup(ctx context.Context, r io.Reader, passphrase string) (says state.Restore, err error) {
	ctx, cancel := context.WithTimeout(ctx, backupTime)
	defer cancel()
	err = c.send(ctx, http.MethodPost, pathCheck, withPassphrase(passphrase), r, decodeInto(&says))
	return says, err
}

// CheckUndo returns what undoing the last restored backup would change.
func (c Client) CheckUndo(ctx context.Context) (says state.Restore, err error) {
	err = c.send(ctx, http.MethodPost, pathUndo, nil, nil, decodeInto(&says))
	return says, err
}

func decodeInto(v any) func(io.Reader) error {
	return func(answer io.Reader) error { return json.NewDecoder(io.LimitReader(answer, answerLimit)).Decode(v) }
}

// RestoreBackup restores a checked backup, and waits for the result. The box restarts for it.
func (c Client) RestoreBackup(ctx context.Context, id string, used map[string]uint64) (state.RestoreResult, error) {
	ctx, cancel := context.WithTimeout(ctx, backupTime)
	defer cancel()
	words := url.Values{restoreID: {id}}
	for name, bytes := range used {
		words.Set(usedPrefix+name, strconv.FormatUint(bytes, 10))
	}
	if _, err := c.act(ctx, pathRestore+"?"+words.Encode()); err != nil {
		return state.RestoreResult{}, err
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		var r state.RestoreResult
		body, err := c.ask(ctx, http.MethodGet, pathRestore, nil)
		if err = read(body, err, &r); err == nil && r.ID == id && !r.Running {
			return r, nil
		} else if err == nil && r.ID != id {
			return r, fmt.Errorf("the box does not know how it ended: see passerelle status")
		}
		select {
		case <-ctx.Done():
			return state.RestoreResult{}, errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// StateUse states what a donation's line has carried in the running period.
func (c Client) StateUse(ctx context.Context, name string, bytes uint64) error {
	_, err := c.act(ctx, pathUse+"?"+url.Values{donation: {name}, usedBytes: {strconv.FormatUint(bytes, 10)}}.Encode())
	return err
}

// ListSticks returns the USB sticks that are plugged in.
func (c Client) ListSticks(ctx context.Context) (all []state.Stick, err error) {
	ctx, cancel := context.WithTimeout(ctx, backupTime)
	defer cancel()
	err = c.send(ctx, http.MethodPost, pathSticks, nil, nil, decodeInto(&all))
	return all, err
}

// MarkStick marks a USB stick for backups, which the passphrase opens, and writes the first one to it.
func (c Client) MarkStick(ctx context.Context, device, passphrase string) error {
	ctx, cancel := context.WithTimeout(ctx, backupTime)
	defer cancel()
	path := pathMark + "?" + url.Values{deviceName: {device}}.Encode()
	return c.send(ctx, http.MethodPost, path, withPassphrase(passphrase), nil, func(io.Reader) error { return nil })
}

// WriteStick writes a backup to the USB sticks that are marked for the box.
func (c Client) WriteStick(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, backupTime)
	defer cancel()
	return c.send(ctx, http.MethodPost, pathStick, nil, nil, func(io.Reader) error { return nil })
}
