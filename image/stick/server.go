package stick

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Timeouts. A broken stick may take minutes for a sector, and a system call that waits for it cannot be interrupted.
const (
	readLimit  = 20 * time.Second // to read what is on one stick
	writeLimit = 10 * time.Minute // to write a backup, or to read one
	busyLimit  = time.Second      // to wait for another request's end
	idleLimit  = 30 * time.Second // without a request, until the server ends
)

// Requests.
const (
	listPath  = "/sticks"
	markPath  = "/mark"  // with the device as a parameter, and the mark
	writePath = "/write" // with the device, the box and the date as parameters, and the backup
	readPath  = "/read"  // with the device and the name as parameters

	deviceName, boxName, dateName, nameName = "device", "box", "date", "name"
)

func newSum() hash.Hash { return sha256.New() }

// Server executes requests, one at a time, for the only program that may connect to its socket: the daemon. It is a separate
// process, which runs as root, may mount, and has its own mount namespace (image/passerelle-stick.service). All its fields are
// required.
type Server struct {
	Machine fs.FS // with /sys and /proc
	Mount   Mounter
	Log     *slog.Logger

	once sync.Once
	free chan struct{} // holds one element while no stick is in use
}

// Serve serves until ctx ends, or until there was no request for idleLimit.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	idle := time.NewTimer(idleLimit)
	defer idle.Stop()
	var running atomic.Int32
	handler := s.handler()
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		running.Add(1)
		defer func() { running.Add(-1); idle.Reset(idleLimit) }()
		handler.ServeHTTP(w, r)
	})}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	for waits := true; waits; {
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			waits = false
		case <-idle.C:
			waits = running.Load() > 0
		}
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	return errors.Join(server.Shutdown(end), ignoreClosed(<-done))
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+listPath, func(w http.ResponseWriter, _ *http.Request) {
		all := []Stick{}
		for _, name := range Devices(s.Machine) {
			one := Stick{Device: name, Backups: []File{}}
			read := one // a copy, because the read of a slow stick may still write to it
			if err := s.with(name, false, readLimit, func(d drive) error { return d.read(&read) }); err != nil {
				one.Wrong = err
			} else {
				one = read
			}
			all = append(all, one)
		}
		answer(w, all, nil)
	})
	mux.HandleFunc("POST "+markPath, func(w http.ResponseWriter, r *http.Request) {
		var m Mark
		if err := json.NewDecoder(io.LimitReader(r.Body, maxMark)).Decode(&m); err != nil {
			answer(w, nil, asError(err))
			return
		}
		answer(w, nil, s.with(r.FormValue(deviceName), true, readLimit, func(d drive) error { return d.setMark(m) }))
	})
	mux.HandleFunc("POST "+writePath, func(w http.ResponseWriter, r *http.Request) {
		q, name := r.URL.Query(), make(chan string, 1)
		err := s.with(q.Get(deviceName), true, writeLimit, func(d drive) error {
			n, err := d.write(q.Get(boxName), q.Get(dateName), r.Body)
			name <- n
			return err
		})
		if err != nil {
			if err.Code != Slow { // read the rest of the backup, because an earlier answer could get lost
				io.Copy(io.Discard, io.LimitReader(r.Body, MaxFile))
			}
			answer(w, nil, err)
			return
		}
		answer(w, File{Name: <-name}, nil)
	})
	mux.HandleFunc("GET "+readPath, func(w http.ResponseWriter, r *http.Request) {
		q, out := r.URL.Query(), &begun{ResponseWriter: w}
		err := s.with(q.Get(deviceName), false, writeLimit, func(d drive) error {
			name := q.Get(nameName)
			if !fileName.MatchString(name) {
				return &Error{Failed, "it is no backup"}
			}
			f, err := d.open(name)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = io.Copy(out, io.LimitReader(f, MaxFile))
			return err
		})
		switch {
		case err == nil:
		case out.yes:
			panic(http.ErrAbortHandler) // the client sees that the answer is truncated
		default:
			answer(w, nil, err)
		}
	})
	return mux
}

// begun is a ResponseWriter that records whether something was written.
type begun struct {
	http.ResponseWriter
	yes bool
}

func (b *begun) Write(text []byte) (int, error) {
	b.yes = true
	return b.ResponseWriter.Write(text)
}

// answer sends a value, or an error.
func answer(w http.ResponseWriter, v any, err *Error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusUnprocessableEntity)
		v = err
	}
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
}

// with mounts a device, calls do, and unmounts the device. If that takes longer than limit, with returns an error while do continues
// in the background. Until do ends, other requests are answered with Busy.
func (s *Server) with(device string, writable bool, limit time.Duration, do func(drive) error) *Error {
	if !slices.Contains(Devices(s.Machine), device) {
		return &Error{Absent, "it is not plugged in"}
	}
	s.once.Do(func() { s.free = make(chan struct{}, 1); s.free <- struct{}{} })
	select {
	case <-s.free:
	case <-time.After(busyLimit): // an earlier request whose client has given up may be about to end
		return &Error{Busy, "another stick is being read or written, or does not answer"}
	}
	done := make(chan error, 1)
	go func() {
		defer func() { s.free <- struct{}{} }()
		done <- s.mounted(device, writable, do)
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-done:
		if err == nil {
			return nil
		}
		s.Log.Warn("a stick", "device", device, "error", err)
		if !slices.Contains(Devices(s.Machine), device) {
			return &Error{Absent, "it was pulled out: " + err.Error()}
		}
		return asError(err)
	case <-timer.C:
		s.Log.Warn("a stick does not answer", "device", device)
		return &Error{Slow, "it does not answer"}
	}
}

func (s *Server) mounted(device string, writable bool, do func(drive) error) (err error) {
	at, unmount, err := s.Mount(device, writable)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, unmount()) }()
	root, err := os.OpenRoot(at)
	if err != nil {
		return err
	}
	defer root.Close()
	return do(drive{root})
}

// Client sends requests to a Server.
type Client struct{ Socket string }

// ErrNone says that this machine has no server.
var ErrNone = errors.New("this machine writes no sticks: passerelle-stick.socket is not there")

// ask sends a request. The caller closes the answer's body.
func (c Client) ask(ctx context.Context, method, path string, query url.Values, body io.Reader) (*http.Response, error) {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", c.Socket)
		},
	}}
	r, err := http.NewRequestWithContext(ctx, method, "http://stick"+path+"?"+query.Encode(), body)
	if err != nil {
		return nil, err
	}
	reply, err := client.Do(r)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, ErrNone
	case errors.Is(err, context.DeadlineExceeded):
		return nil, &Error{Slow, "it does not answer"}
	case err != nil:
		return nil, err
	case reply.StatusCode == http.StatusOK:
		return reply, nil
	}
	defer reply.Body.Close()
	var why Error
	if err := json.NewDecoder(io.LimitReader(reply.Body, 64<<10)).Decode(&why); err != nil || why.Code == "" {
		return nil, fmt.Errorf("the server of sticks answers %s", reply.Status)
	}
	return nil, &why
}

// List returns the sticks that are plugged in.
func (c Client) List(ctx context.Context) (all []Stick, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*readLimit)
	defer cancel()
	reply, err := c.ask(ctx, http.MethodGet, listPath, nil, nil)
	if err != nil {
		return nil, err
	}
	defer reply.Body.Close()
	err = json.NewDecoder(io.LimitReader(reply.Body, 1<<20)).Decode(&all)
	return all, err
}

// SetMark writes a stick's mark.
func (c Client) SetMark(ctx context.Context, device string, m Mark) error {
	ctx, cancel := context.WithTimeout(ctx, 2*readLimit)
	defer cancel()
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	reply, err := c.ask(ctx, http.MethodPost, markPath, url.Values{deviceName: {device}}, bytes.NewReader(text))
	if err != nil {
		return err
	}
	return reply.Body.Close()
}

// Write writes a backup to a stick that is marked for the box, and returns the backup's name there. write writes the backup's
// content. If the stick was full and older backups were removed, write is called a second time.
func (c Client) Write(ctx context.Context, device, box string, date time.Time, write func(io.Writer) error) (string, error) {
	name, err := c.write(ctx, device, box, date, write)
	if why, ok := errors.AsType[*Error](err); ok && why.Code == again {
		name, err = c.write(ctx, device, box, date, write)
	}
	return name, err
}

func (c Client) write(ctx context.Context, device, box string, date time.Time, write func(io.Writer) error) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, writeLimit+readLimit)
	defer cancel()
	from, to := io.Pipe()
	made := make(chan error, 1)
	go func() {
		err := write(to)
		to.CloseWithError(err) // the request fails, and the server removes what it has received
		made <- err
	}()
	query := url.Values{deviceName: {device}, boxName: {box}, dateName: {date.Format(time.DateOnly)}}
	reply, err := c.ask(ctx, http.MethodPost, writePath, query, from)
	from.Close() // the server may not have read everything
	if cause := <-made; err == nil && cause == nil {
		defer reply.Body.Close()
		var f File
		err = json.NewDecoder(io.LimitReader(reply.Body, 64<<10)).Decode(&f)
		return f.Name, err
	} else if err == nil || cause != nil && !errors.Is(cause, io.ErrClosedPipe) {
		err = cmp.Or(cause, err)
	}
	if reply != nil {
		reply.Body.Close()
	}
	return "", err
}

// Read reads a backup from a stick. The caller closes it. If the backup is truncated, reading ends with an error.
func (c Client) Read(ctx context.Context, device, name string) (io.ReadCloser, error) {
	reply, err := c.ask(ctx, http.MethodGet, readPath, url.Values{deviceName: {device}, nameName: {name}}, nil)
	if err != nil {
		return nil, err
	}
	return reply.Body, nil
}
