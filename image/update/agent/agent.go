// Package agent lets the daemon, which has no rights on the card, ask for what updates do there. It owns the requests and the
// server that carries them out apart from the daemon, as root and without a network (image/passerelle-update.service). It
// must not know when an update is due, nor how files cross a line.
//
// # A request
//
// A connection is a request: the client writes a [Request] as a line of JSON. The server answers with lines of JSON: it asks
// for files (the client is the source, and delivers what it asks for: nothing that it delivers is believed), tells progress,
// and ends with a result or an error. Who closes the connection ends the request; the slot is then as far as it came.
package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"sync"
	"time"

	"passerelle/appliance/fleet/trust"
	"passerelle/image/update"
)

// Do is what a request is for.
type Do string

// The requests.
const (
	Slots   Do = "slots"   // what lies in both slots
	Look    Do = "look"    // what a source offers
	Install Do = "install" // also bring it into the other slot
	Other   Do = "other"   // boot the other slot: restarts the box
)

// Request is what the daemon asks for.
type Request struct {
	Do      Do   `json:"do"`
	Stick   bool `json:"stick,omitempty"`   // the releases are on a USB stick, not with the client
	Expired bool `json:"expired,omitempty"` // pass over the expiry of metadata: somebody stands at the box, with a stick
	Again   bool `json:"again,omitempty"`   // somebody asks for it: also a release that ran here before, and whatever its stage
	// Only is what Look told of the release that is to be installed: another one is not, that was published meanwhile.
	Only update.Staged `json:"only,omitzero"`
}

// Result is what came of it.
type Result struct {
	Slots   update.Slots  `json:"slots"`             // after it
	Newest  string        `json:"newest,omitempty"`  // the version that the source offers
	Running bool          `json:"running,omitempty"` // it is the one that is running
	Staged  update.Staged `json:"staged,omitzero"`   // how it goes out
	Size    int64         `json:"size,omitempty"`    // of the newest in the slot, in bytes; not of Look
	Fetch   int64         `json:"fetch,omitempty"`   // bytes of it that were to be fetched; not of Look
}

// Code is the kind of an error.
type Code string

// The codes. Those of a refused file are the reasons of package trust.
const (
	Busy    Code = "busy"    // another request is carried out
	NoStick Code = "stick"   // no stick with releases is plugged in
	Unfit   Code = "unfit"   // the newest release may not be installed here
	Blocked Code = "blocked" // the running slot has not proved itself yet
	Ran     Code = "ran"     // it ran here before, and somebody had the box go back
	NoRoot  Code = "root"    // this system takes no releases
	Failed  Code = "failed"
)

// Error is why a request failed.
type Error struct {
	Code Code   `json:"code"`
	Text string `json:"text"`
}

func (e *Error) Error() string { return e.Text }

// Progress is how far an installation is: bytes of the slot that are in their place.
type Progress struct {
	Done  int64  `json:"done"`
	Total int64  `json:"total"`
	Of    string `json:"of"` // the version
}

// message is a line from the server.
type message struct {
	Read     *read     `json:"read,omitempty"`
	Progress *Progress `json:"progress,omitempty"`
	Result   *Result   `json:"result,omitempty"`
	Error    *Error    `json:"error,omitempty"`
}

// read asks for a file.
type read struct {
	Name  string `json:"name"`
	Limit int64  `json:"limit"`
}

// delivery is the client's answer to a read, before so many bytes of the file.
type delivery struct {
	Size    int64  `json:"size"`
	Missing bool   `json:"missing,omitempty"` // the source has no such file
	Error   string `json:"error,omitempty"`
}

const (
	maxLine   = 64 << 10
	maxFile   = 8 << 20 // of a delivery, in bytes: more than any file of a release
	lineLimit = 30 * time.Second
)

// Client asks a server.
type Client struct{ Socket string }

// ErrNone says that this machine has no server.
var ErrNone = errors.New("this machine takes no updates from here: passerelle-update.socket is not there")

// Ask carries a request out. from delivers the files; it may be nil if the request needs none. progress may be nil. An error of
// from is returned as it is; one of the server is a *Error.
func (c Client) Ask(ctx context.Context, q Request, from trust.Source, progress func(Progress)) (Result, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.Socket)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = ErrNone
		}
		return Result{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	out := json.NewEncoder(conn)
	in := lines{bufio.NewReaderSize(conn, maxLine)}
	if err := out.Encode(q); err != nil {
		return Result{}, cause(ctx, err)
	}
	var failed error // of the source
	for {
		var m message
		if err := in.next(&m); err != nil {
			return Result{}, cause(ctx, errors.Join(failed, err))
		}
		switch {
		case m.Read != nil:
			if from == nil {
				return Result{}, fmt.Errorf("the server asks for %s, and this request delivers nothing", m.Read.Name)
			}
			text, err := from.Read(ctx, m.Read.Name, m.Read.Limit)
			a := delivery{Size: int64(len(text))}
			switch {
			case errors.Is(err, fs.ErrNotExist):
				a = delivery{Missing: true}
			case err != nil:
				failed = err
				a = delivery{Error: err.Error()}
			}
			err = out.Encode(a)
			if err == nil && a.Size > 0 {
				_, err = conn.Write(text)
			}
			if err != nil {
				return Result{}, cause(ctx, errors.Join(failed, err))
			}
		case m.Progress != nil:
			if progress != nil {
				progress(*m.Progress)
			}
		case m.Error != nil && failed != nil:
			return Result{}, failed
		case m.Error != nil:
			return Result{}, m.Error
		case m.Result != nil:
			return *m.Result, nil
		default:
			return Result{}, errors.New("the server of updates answers something else")
		}
	}
}

// cause prefers the reason why a request was ended.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// lines reads lines of JSON.
type lines struct{ *bufio.Reader }

func (l lines) next(v any) error {
	line, err := l.ReadSlice('\n')
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("the server of updates: %w", err)
	}
	return json.Unmarshal(line, v)
}

// source asks the client of a connection for files.
type source struct {
	mu   *sync.Mutex // of the connection's writer
	out  *json.Encoder
	in   lines
	stop func()
}

// Read implements trust.Source.
func (s source) Read(ctx context.Context, name string, limit int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	err := s.out.Encode(message{Read: &read{name, limit}})
	s.mu.Unlock()
	var d delivery
	if err == nil {
		err = s.in.next(&d)
	}
	var text []byte
	if err == nil && (d.Size < 0 || d.Size > min(limit, maxFile)) {
		err = fmt.Errorf("the client delivers %d bytes of %s", d.Size, name)
	}
	if err == nil {
		text = make([]byte, d.Size)
		_, err = io.ReadFull(s.in, text)
	}
	switch {
	case err != nil:
		s.stop() // nothing more can come
		return nil, err
	case d.Missing:
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	case d.Error != "":
		return nil, errors.New(d.Error)
	}
	return text, nil
}
