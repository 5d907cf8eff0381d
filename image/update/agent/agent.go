// Package agent lets the daemon, which has no rights on the card, ask for updates to be carried out there. It owns the requests, and
// the server that carries them out in a process of its own, as root and without a network (image/passerelle-update.service). It must
// not know when an update is due, nor how files cross a line.
//
// # A request
//
// Each connection is one request: the client writes a [Request] as a line of JSON. The server answers with lines of JSON. It asks for
// files, and the client delivers them; the server trusts none of them unverified. It reports progress, and ends with a result or an
// error. If either side closes the connection the request ends; what is in the slot by then stays.
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

// The kinds of requests.
const (
	Slots   Do = "slots"   // report what is in both slots
	Look    Do = "look"    // look at what a source offers
	Install Do = "install" // look, and install it in the other slot
	Other   Do = "other"   // boot the other slot: restarts the box
)

// Request is a request by the daemon.
type Request struct {
	Do      Do   `json:"do"`
	Stick   bool `json:"stick,omitempty"`   // the releases are on a USB stick, not with the client
	Expired bool `json:"expired,omitempty"` // ignore the expiry of metadata: somebody stands at the box, with a stick
	Again   bool `json:"again,omitempty"`   // somebody asked for it: install it even if it ran here before, and whatever its stage
	// Only is what Look returned as Staged: the zero value for a release that all boxes take at once. If a release that goes out in another
	// way was published in the meantime, the request fails, unless Again is set.
	Only update.Staged `json:"only,omitzero"`
}

// Result is the result of a request.
type Result struct {
	Slots   update.Slots  `json:"slots"`             // after the request
	Newest  string        `json:"newest,omitempty"`  // the version that the source offers
	Running bool          `json:"running,omitempty"` // that version is the one that is running
	Staged  update.Staged `json:"staged,omitzero"`   // how that version is rolled out
	Size    int64         `json:"size,omitempty"`    // of that version in the slot, in bytes; not with Look
	Fetch   int64         `json:"fetch,omitempty"`   // bytes of it that had to be fetched; not with Look
}

// Code is the kind of an error.
type Code string

// The codes. For a refused file, the code is the reason of package trust.
const (
	Busy    Code = "busy"    // another request is being carried out
	NoStick Code = "stick"   // no stick with releases is plugged in
	Unfit   Code = "unfit"   // the newest release may not be installed here
	Blocked Code = "blocked" // the running slot has not proved itself yet
	Ran     Code = "ran"     // it ran here before, and somebody rolled the box back
	NoRoot  Code = "root"    // this system takes no releases
	Failed  Code = "failed"
)

// Error is why a request failed.
type Error struct {
	Code Code   `json:"code"`
	Text string `json:"text"`
}

func (e *Error) Error() string { return e.Text }

// Progress is the progress of an installation, in bytes of the slot that are in place.
type Progress struct {
	Done  int64  `json:"done"`
	Total int64  `json:"total"`
	Of    string `json:"of"` // the version
}

// message is one line from the server.
type message struct {
	Read     *read     `json:"read,omitempty"`
	Progress *Progress `json:"progress,omitempty"`
	Result   *Result   `json:"result,omitempty"`
	Error    *Error    `json:"error,omitempty"`
}

// read is the server's request for a file.
type read struct {
	Name  string `json:"name"`
	Limit int64  `json:"limit"`
}

// delivery is the client's answer to a read. The bytes of the file follow it.
type delivery struct {
	Size    int64  `json:"size"`
	Missing bool   `json:"missing,omitempty"` // the source has no such file
	Error   string `json:"error,omitempty"`
}

const (
	maxLine   = 64 << 10
	maxFile   = 8 << 20 // of a delivery, in bytes: larger than any file of a release
	lineLimit = 30 * time.Second
)

// Client sends requests to a server.
type Client struct{ Socket string }

// ErrNone says that this machine has no server.
var ErrNone = errors.New("this machine takes no updates from here: passerelle-update.socket is not there")

// Ask sends a request and returns its result. from delivers the files; it may be nil if the request needs none. progress may be nil.
// An error of from is returned unchanged; one of the server is an *Error.
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

// cause returns the reason why ctx ended, if it did, and err otherwise.
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

// source reads files from the client of a connection.
type source struct {
	mu   *sync.Mutex // protects out
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
		s.stop() // the connection is out of step: nothing more can be read
		return nil, err
	case d.Missing:
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	case d.Error != "":
		return nil, errors.New(d.Error)
	}
	return text, nil
}
