package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"passerelle/appliance/fleet/mirror"
	"passerelle/appliance/fleet/trust"
	"passerelle/image/slot"
	"passerelle/image/stick"
	"passerelle/image/update"
	"passerelle/image/update/plan"
)

// Server carries out requests, one at a time, for the only program that may connect to its socket: the daemon. All its public fields
// are required.
type Server struct {
	Box     func() (*update.Box, error) // this machine; the error is fs.ErrNotExist if it takes no releases
	Machine fs.FS                       // with /sys and /proc
	Mount   stick.Mounter
	Restart func() error // restarts the box
	Log     *slog.Logger

	// The cache of the running slot, and which slot that was. Only the current request uses them.
	sums    update.Sums
	running slot.Name
}

// StickFolder is the folder of releases on a USB stick.
const StickFolder = "passerelle-releases"

const (
	idleLimit = 30 * time.Second // the server ends after this time without a request

	// busyLimit is how long a request waits for the one before it. A client that gives up closes its connection, and may ask again
	// before the server notices.
	busyLimit = 5 * time.Second
)

// Serve serves until ctx ends, or until there was no request for idleLimit.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	one := make(chan struct{}, 1) // full while a request is carried out
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running atomic.Int32
	idle := time.AfterFunc(idleLimit, func() {
		if running.Load() == 0 {
			cancel()
		}
	})
	defer idle.Stop()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var all sync.WaitGroup
	defer all.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		running.Add(1)
		all.Go(func() {
			defer func() { running.Add(-1); idle.Reset(idleLimit) }()
			defer conn.Close()
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			defer stop()
			s.serve(ctx, conn, one)
		})
	}
}

// serve carries out the request of a connection when it is its turn.
func (s *Server) serve(ctx context.Context, conn net.Conn, one chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	out := json.NewEncoder(conn)
	from := source{&mu, out, lines{bufio.NewReaderSize(conn, maxLine)}, cancel}
	tell := func(m message) {
		mu.Lock()
		defer mu.Unlock()
		if out.Encode(m) != nil { // the client is gone
			cancel()
		}
	}
	var q Request
	if conn.SetReadDeadline(time.Now().Add(lineLimit)) != nil || from.in.next(&q) != nil || conn.SetReadDeadline(time.Time{}) != nil {
		return
	}
	select {
	case one <- struct{}{}:
	case <-time.After(busyLimit):
		tell(message{Error: &Error{Busy, "another update is under way"}})
		return
	case <-ctx.Done():
		return
	}
	r, err := s.do(ctx, q, from, tell)
	<-one // before the answer: the client may ask again at once
	switch {
	case ctx.Err() != nil:
	case err != nil:
		s.Log.Warn("a request", "do", q.Do, "error", err)
		tell(message{Error: asError(err)})
	default:
		tell(message{Result: &r})
	}
}

// asError returns an error with its code.
func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if r, ok := errors.AsType[*trust.Refusal](err); ok {
		return &Error{Code(r.Reason), err.Error()}
	}
	if errors.Is(err, update.ErrBusy) {
		return &Error{Busy, err.Error()}
	}
	if errors.Is(err, plan.ErrNotFor) {
		return &Error{Unfit, err.Error()}
	}
	return &Error{Failed, err.Error()}
}

func (s *Server) do(ctx context.Context, q Request, from trust.Source, tell func(message)) (r Result, err error) {
	box, err := s.Box()
	if errors.Is(err, fs.ErrNotExist) {
		return r, &Error{NoRoot, "this system was built without a root of trust, so it takes no releases"}
	}
	if err != nil {
		return r, err
	}
	if s.sums == nil || s.running != box.Card.Running {
		s.sums, s.running = update.Sums{}, box.Card.Running
	}
	box.Sums = s.sums
	switch q.Do {
	case Slots:
	case Look, Install:
		if q.Expired && !q.Stick { // the daemon may be under somebody's remote control; a stick is in the hands of somebody at the box
			return r, errors.New("expired metadata is passed over on a stick only")
		}
		if q.Stick {
			end, err := s.stick(&from)
			if err != nil {
				return r, err
			}
			defer end()
		}
		if r, err = bring(ctx, box, q, from, tell); err != nil {
			return r, err
		}
	case Other:
		if err := box.Choose(ctx, box.Card.Running.Other()); err != nil {
			return r, err
		}
		s.Log.Info("the box restarts", "slot", box.Card.Running.Other())
		if err := s.Restart(); err != nil {
			return r, fmt.Errorf("restart the box: %w", err)
		}
		return r, nil
	default:
		return r, fmt.Errorf("nobody knows how to %q", q.Do)
	}
	r.Slots, err = box.Slots(ctx)
	return r, err
}

// bring looks at a source, and installs what it offers if the request asks for that.
func bring(ctx context.Context, box *update.Box, q Request, from trust.Source, tell func(message)) (r Result, err error) {
	offer, err := box.Look(ctx, from, q.Expired)
	if err != nil {
		return r, err
	}
	defer offer.Close()
	r = Result{Newest: offer.Newest.Version, Running: offer.Running(), Staged: offer.Staged()}
	switch {
	case r.Running, q.Do == Look:
		return r, nil
	case !q.Again && q.Only != r.Staged:
		return r, fmt.Errorf("release %s was published a moment ago: it is not the one that was asked for", r.Newest)
	}
	p, err := offer.Plan(ctx)
	if err != nil {
		return r, err
	}
	r.Size, r.Fetch = offer.Size(), p.Bytes
	tell(message{Progress: &Progress{Done: offer.There(), Total: r.Size, Of: r.Newest}})
	if offer.Ran() && !q.Again {
		return r, &Error{Ran, fmt.Sprintf("release %s ran here before, and somebody had the box go back", r.Newest)}
	}
	if err := offer.Blocked(); err != nil {
		return r, &Error{Blocked, err.Error()}
	}
	offer.Asked = q.Again
	err = offer.Install(ctx, func(done, total int64) { tell(message{Progress: &Progress{done, total, r.Newest}}) })
	return r, err
}

// stick makes the first stick with releases the source, until end is called.
func (s *Server) stick(from *trust.Source) (end func(), err error) {
	for _, device := range stick.Devices(s.Machine) {
		at, unmount, err := s.Mount(device, false)
		if err != nil {
			s.Log.Warn("a stick", "device", device, "error", err)
			continue
		}
		root, err := os.OpenRoot(at)
		if err == nil {
			folder := root.FS()
			if sub, err := fs.Sub(folder, StickFolder); err == nil {
				if info, err := fs.Stat(sub, trust.MetadataFolder); err == nil && info.IsDir() {
					*from = mirror.Folder{FS: sub}
					return func() {
						if err := errors.Join(root.Close(), unmount()); err != nil {
							s.Log.Warn("a stick", "device", device, "error", err)
						}
					}, nil
				}
			}
			err = root.Close()
		}
		if err := errors.Join(err, unmount()); err != nil {
			s.Log.Warn("a stick", "device", device, "error", err)
		}
	}
	return nil, &Error{NoStick, "no USB stick with a folder " + filepath.Join(StickFolder, trust.MetadataFolder) + " is plugged in"}
}
