package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/state"
)

// Reasons of an Error.
var (
	ErrNotRunning = errors.New("passerelle is not running")
	ErrNotRoot    = errors.New("permission denied")
	ErrRefused    = errors.New("invalid request") // the caller's mistake
	ErrFailed     = errors.New("the daemon failed")
	ErrOlder      = errors.New("the running daemon is older than this program")
)

// Error is why the daemon did not do what was requested, and what to do about it. errors.Is matches one of the reasons above.
type Error struct {
	reason, cause error
}

func (e *Error) Error() string   { return e.cause.Error() }
func (e *Error) Unwrap() []error { return []error{e.reason, e.cause} }

// Refuse returns an error that says that the caller made a mistake.
func Refuse(cause error) error { return &Error{ErrRefused, cause} }

// Client sends requests to the daemon at a socket.
type Client struct{ Socket string }

// answerLimit is the largest answer that is read, in bytes.
const answerLimit = 1 << 20

// ask sends one request and returns the body of the answer.
func (c Client) ask(ctx context.Context, method, path string, text []byte) (body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err = c.send(ctx, method, path, nil, bytes.NewReader(text), func(answer io.Reader) (err error) {
		body, err = io.ReadAll(io.LimitReader(answer, answerLimit))
		return err
	})
	return body, err
}

// send sends one request, and passes the body of the answer to read.
func (c Client) send(ctx context.Context, method, path string, head http.Header, from io.Reader, read func(io.Reader) error) error {
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", c.Socket)
		},
	}}
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, method, "http://passerelle"+path, from)
	if err != nil {
		return err
	}
	for name, values := range head {
		r.Header[name] = values
	}
	reply, err := client.Do(r)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return &Error{ErrNotRunning, fmt.Errorf("%w (cannot connect to %s); start it with passerelle run", ErrNotRunning, c.Socket)}
	case errors.Is(err, fs.ErrPermission):
		return &Error{ErrNotRoot, fmt.Errorf("%w: %s; use sudo", ErrNotRoot, c.Socket)}
	case err != nil:
		return err
	}
	defer reply.Body.Close()
	if reply.StatusCode/100 == 2 {
		if err := read(reply.Body); err != nil {
			return fmt.Errorf("read the daemon's answer: %w", err)
		}
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(reply.Body, answerLimit))
	if err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	reason := ErrFailed
	switch {
	case reply.StatusCode == http.StatusNotFound, reply.StatusCode == http.StatusMethodNotAllowed:
		// Only the server's ServeMux answers so, to a request that no handler is registered for.
		return &Error{ErrOlder, fmt.Errorf("%w and does not know the request %s; restart it: systemctl restart passerelle", ErrOlder, r.URL.Path)}
	case reply.StatusCode/100 == 4:
		reason = ErrRefused
	}
	return &Error{reason, fmt.Errorf("the daemon says: %s", strings.TrimSpace(string(body)))}
}

func (c Client) act(ctx context.Context, path string) (text string, err error) {
	body, err := c.ask(ctx, http.MethodPost, path, nil)
	return string(body), err
}

// StatusJSON returns the daemon's status unparsed: a later release's status may have more fields than Status.
func (c Client) StatusJSON(ctx context.Context) ([]byte, error) {
	return c.ask(ctx, http.MethodGet, pathStatus, nil)
}

// Status returns the daemon's status.
func (c Client) Status(ctx context.Context) (s state.Status, err error) {
	body, err := c.StatusJSON(ctx)
	err = read(body, err, &s)
	return s, err
}

// Pause stops sharing until Resume.
func (c Client) Pause(ctx context.Context) error {
	_, err := c.act(ctx, pathPause)
	return err
}

// PauseUntilTomorrow stops sharing until the next day, or until Resume.
func (c Client) PauseUntilTomorrow(ctx context.Context) error {
	_, err := c.act(ctx, pathDay)
	return err
}

// Resume ends a pause.
func (c Client) Resume(ctx context.Context) error {
	_, err := c.act(ctx, pathResume)
	return err
}

// ConfirmTime confirms that the machine's time of day is correct.
func (c Client) ConfirmTime(ctx context.Context) error {
	_, err := c.act(ctx, pathClock)
	return err
}

// Reload reloads the configuration file.
func (c Client) Reload(ctx context.Context) (config.Result, error) {
	return c.change(ctx, pathReload, nil)
}

// Apply replaces the configuration file, if it is the daemon's and still has the revision, and applies its text.
func (c Client) Apply(ctx context.Context, path string, text []byte, r config.Revision) (config.Result, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return config.Result{}, err
	}
	return c.change(ctx, pathApply+"?"+url.Values{file: {path}, revision: {string(r)}}.Encode(), text)
}

func (c Client) change(ctx context.Context, path string, text []byte) (r config.Result, err error) {
	body, err := c.ask(ctx, http.MethodPost, path, text)
	err = read(body, err, &r)
	return r, err
}

// read decodes an answer of ask into v.
func read(body []byte, err error, v any) error {
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	return nil
}

// Refresh makes a share of the pages read its content from the disk again.
func (c Client) Refresh(ctx context.Context, name string) error {
	_, err := c.act(ctx, pathRefresh+"?"+url.Values{share: {name}}.Encode())
	return err
}

// Fetch starts one of the box's own downloads; Status tells its progress.
func (c Client) Fetch(ctx context.Context, name string) error {
	_, err := c.act(ctx, pathFetch+"?"+url.Values{download: {name}}.Encode())
	return err
}

// SetupCode returns the code with which the first technician sets a password, "" once there is a password.
func (c Client) SetupCode(ctx context.Context) (string, error) { return c.act(ctx, pathCode) }

// RenewDesk returns a new code with which staff sign in at the desk. The previous code becomes invalid.
func (c Client) RenewDesk(ctx context.Context) (string, error) { return c.act(ctx, pathRenew) }

// CloseDesk removes the desk's code.
func (c Client) CloseDesk(ctx context.Context) error {
	_, err := c.act(ctx, pathClose)
	return err
}

// LenderLink returns a new link to the page of a donation's lender, and revokes the previous one.
func (c Client) LenderLink(ctx context.Context, name string) (string, error) {
	return c.act(ctx, pathLender+"?"+url.Values{donation: {name}}.Encode())
}
