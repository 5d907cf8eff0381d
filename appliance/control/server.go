// Package control is the daemon's control socket: its server, with one request for each command, and the Client that all our programs
// use. It owns the requests and their answers, and makes sure that only root may send them. It does not know how the box carries
// them out.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"passerelle/appliance/config"
	"passerelle/appliance/state"
)

// Box carries out the requests. If the caller made a mistake, it returns an error made by Refuse.
type Box interface {
	Status() state.Status
	Pause(ctx context.Context, by string) error
	PauseUntilTomorrow(ctx context.Context, by string) error
	Resume(ctx context.Context) error
	ConfirmTime(ctx context.Context, by string) error
	// Reload applies the configuration file.
	Reload(ctx context.Context) (config.Result, error)
	// Apply replaces the configuration file, if it still has the revision, and applies its text.
	Apply(ctx context.Context, file string, text []byte, r config.Revision) (config.Result, error)
	// Refresh makes a share of the pages read its content from the disk again.
	Refresh(share string) error
	// Fetch starts one of the box's own downloads, by its name in the status. The status tells its progress.
	Fetch(name string) error
	// SetupCode returns the code with which the first technician sets a password, "" once there is a password.
	SetupCode() string
	// RenewDesk makes a code with which staff sign in at the desk, and ends the logins of the previous code. CloseDesk removes it.
	RenewDesk() (code string, err error)
	CloseDesk() error
	// LenderLink returns a new link to the page of a donation's lender.
	LenderLink(donation string) (link string, err error)
	Fleet
	Doctor
	Backups
}

// Paths of the requests.
const (
	pathStatus  = "/status"
	pathPause   = "/pause"
	pathDay     = "/pause-until-tomorrow"
	pathResume  = "/resume"
	pathClock   = "/clock"
	pathReload  = "/reload"
	pathApply   = "/configuration" // with its text, and the file and the revision as parameters
	pathRefresh = "/refresh"       // with the share's name as a parameter
	share       = "share"
	pathFetch   = "/fetch" // with the download's name as a parameter
	download    = "download"
	pathCode    = "/setup-code"
	pathRenew   = "/desk/renew"
	pathClose   = "/desk/close"
	pathLender  = "/lender" // with the donation's name as a parameter
	donation    = "donation"
	file        = "file"
	revision    = "revision"
)

// Listen opens the socket at path, which only root may use.
func Listen(ctx context.Context, path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove a stale control socket: %w", err)
	}
	// The socket's file gets the mode that the socket has when it is bound (unix_bind_bsd in net/unix/af_unix.c).
	private := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		ctlErr := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) })
		return errors.Join(ctlErr, err)
	}}
	l, err := private.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("open the control socket: %w", err)
	}
	return l, nil
}

// NewServer returns a server for a box.
func NewServer(b Box, log *slog.Logger) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathStatus, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		if err := e.Encode(b.Status()); err != nil {
			log.Debug("status not delivered", "error", err)
		}
	})
	// act registers a request that answers with the text or the error that f returns.
	act := func(path string, f func(*http.Request) (text string, err error)) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			text, err := f(r)
			switch {
			case errors.Is(err, ErrRefused):
				http.Error(w, err.Error(), http.StatusUnprocessableEntity)
			case errors.Is(err, state.ErrStopped):
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
			case err != nil:
				http.Error(w, err.Error(), http.StatusInternalServerError)
			default:
				if _, err := io.WriteString(w, text); err != nil {
					log.Debug("answer not delivered", "request", path, "error", err)
				}
			}
		})
	}
	act(pathPause, func(r *http.Request) (string, error) { return "", b.Pause(r.Context(), "the command line") })
	act(pathDay, func(r *http.Request) (string, error) {
		return "", b.PauseUntilTomorrow(r.Context(), "the command line")
	})
	act(pathResume, func(r *http.Request) (string, error) { return "", b.Resume(r.Context()) })
	act(pathClock, func(r *http.Request) (string, error) { return "", b.ConfirmTime(r.Context(), "a technician") })
	result := func(r config.Result, err error) (string, error) {
		if err != nil {
			return "", err
		}
		text, err := json.Marshal(r)
		return string(text), err
	}
	act(pathReload, func(r *http.Request) (string, error) { return result(b.Reload(r.Context())) })
	act(pathApply, func(r *http.Request) (string, error) {
		text, err := io.ReadAll(io.LimitReader(r.Body, config.MaxFile+1)) // a larger text is refused
		if err != nil {
			return "", err
		}
		asked := r.URL.Query()
		return result(b.Apply(r.Context(), asked.Get(file), text, config.Revision(asked.Get(revision))))
	})
	act(pathRefresh, func(r *http.Request) (string, error) { return "", b.Refresh(r.FormValue(share)) })
	act(pathFetch, func(r *http.Request) (string, error) { return "", b.Fetch(r.FormValue(download)) })
	act(pathCode, func(*http.Request) (string, error) { return b.SetupCode(), nil })
	act(pathRenew, func(*http.Request) (string, error) { return b.RenewDesk() })
	act(pathClose, func(*http.Request) (string, error) { return "", b.CloseDesk() })
	act(pathLender, func(r *http.Request) (string, error) { return b.LenderLink(r.FormValue(donation)) })
	fleetRequests(act, b)
	handleDoctor(mux, b, log)
	backupRequests(mux, act, b, log)
	return &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
}
