package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"passerelle/appliance/config"
	"passerelle/appliance/state"
)

// fake is a box that records its requests.
type fake struct {
	asked []string
	looks int // how often its search was read
	err   error
	asks  int  // how often it was asked for the result of a restore
	cuts  bool // a backup fails halfway
}

func (f *fake) does(what string) error {
	f.asked = append(f.asked, what)
	return f.err
}

func (f *fake) Status() state.Status {
	f.does("status")
	return state.Status{State: state.Sharing, Why: "all is well"}
}
func (f *fake) Pause(_ context.Context, by string) error { return f.does("pause by " + by) }
func (f *fake) PauseUntilTomorrow(_ context.Context, by string) error {
	return f.does("pause until tomorrow by " + by)
}
func (f *fake) RenewDesk() (string, error)                     { return "ABCD-1234", f.does("renew the desk's code") }
func (f *fake) CloseDesk() error                               { return f.does("close the desk") }
func (f *fake) Resume(context.Context) error                   { return f.does("resume") }
func (f *fake) ConfirmTime(_ context.Context, by string) error { return f.does("time by " + by) }
func (f *fake) Reload(context.Context) (config.Result, error) {
	return config.Result{Outcome: config.Applied, Revision: "r2"}, f.does("reload")
}
func (f *fake) Apply(_ context.Context, file string, text []byte, r config.Revision) (config.Result, error) {
	problems := config.Problems{{File: file, Line: 3, Key: "box.name", Msg: "is wrong"}}
	return config.Result{Outcome: config.Refused, Revision: r, Problems: problems}, f.does(fmt.Sprintf("apply %d bytes", len(text)))
}
func (f *fake) SetupCode() string                                  { f.does("code"); return "ABCD-EFGH" }
func (f *fake) Refresh(share string) error                         { return f.does("refresh " + share) }
func (f *fake) Fetch(name string) error                            { return f.does("fetch " + name) }
func (f *fake) AcceptService(_ context.Context, name string) error { return f.does("accept " + name) }
func (f *fake) WithdrawService(_ context.Context, name string) error {
	return f.does("withdraw " + name)
}
func (f *fake) TakeLayer(_ context.Context, level, name string, text []byte) error {
	return f.does(fmt.Sprintf("take %d bytes of %s %q", len(text), level, name))
}
func (f *fake) JoinFleet(bundle []byte, code string) error {
	return f.does(fmt.Sprintf("join with %d bytes and %q", len(bundle), code))
}
func (f *fake) LeaveFleet() error { return f.does("leave") }
func (f *fake) LenderLink(donation string) (string, error) {
	return "https://box.internal/lender/abc", f.does("link " + donation)
}

// serve serves the box until the test ends.
func serve(t *testing.T, b Box) Client {
	t.Helper()
	return serveBy(t, NewServer(b, slog.New(slog.DiscardHandler)))
}

// serveBy runs the server until the test ends.
func serveBy(t *testing.T, s *http.Server) Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sock")
	if err := os.WriteFile(path, []byte("stale"), 0o666); err != nil {
		t.Fatal(err)
	}
	l, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("the socket: %v, %v", info.Mode(), err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return Client{path}
}

func TestRequests(t *testing.T) {
	t.Parallel()
	f := &fake{}
	c := serve(t, f)
	ctx := t.Context()
	if s, err := c.Status(ctx); err != nil || s.State != state.Sharing || s.Why != "all is well" {
		t.Errorf("status %+v, %v", s, err)
	}
	if r, err := c.Reload(ctx); err != nil || r.Outcome != config.Applied || r.Revision != "r2" {
		t.Errorf("reload: %+v, %v", r, err)
	}
	r, err := c.Apply(ctx, "/etc/a box.toml", bytes.Repeat([]byte("#"), 3<<20), "r1")
	if want := "/etc/a box.toml:3: box.name: is wrong"; err != nil || r.Outcome != config.Refused || r.Revision != "r1" || r.Problems.Error() != want {
		t.Errorf("apply: %+v, %v", r, err)
	}
	if link, err := c.LenderLink(ctx, `Téléphone & "clé"`); err != nil || link != "https://box.internal/lender/abc" {
		t.Errorf("link: %q, %v", link, err)
	}
	if code, err := c.SetupCode(ctx); err != nil || code != "ABCD-EFGH" {
		t.Errorf("code: %q, %v", code, err)
	}
	if code, err := c.RenewDesk(ctx); err != nil || code != "ABCD-1234" {
		t.Errorf("the desk's code: %q, %v", code, err)
	}
	if err := errors.Join(c.CloseDesk(ctx), c.PauseUntilTomorrow(ctx), c.Pause(ctx), c.Resume(ctx), c.ConfirmTime(ctx), c.Refresh(ctx, "tutorials"), c.Fetch(ctx, "places"),
		c.AcceptService(ctx, "a.fr"), c.WithdrawService(ctx, "b.fr"), c.TakeLayer(ctx, "region", "idf", bytes.Repeat([]byte("#"), 20000))); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{
		"status", "reload", "apply 1048577 bytes", `link Téléphone & "clé"`, "code", "renew the desk's code", "close the desk", "pause until tomorrow by the command line", "pause by the command line", "resume", "time by a technician", "refresh tutorials", "fetch places",
		"accept a.fr", "withdraw b.fr", `take 16385 bytes of region "idf"`,
	}, f.asked); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
}

// TestErrors: an error says who made the mistake, and carries the daemon's text.
func TestErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err, is error
		says    string
	}{
		{Refuse(errors.New("line 3: no such key")), ErrRefused, "the daemon says: line 3: no such key"},
		{errors.New("no space left"), ErrFailed, "the daemon says: no space left"},
		{state.ErrStopped, ErrFailed, "the daemon says: " + state.ErrStopped.Error()},
	} {
		_, err := serve(t, &fake{err: test.err}).Reload(t.Context())
		var e *Error
		if !errors.As(err, &e) || !errors.Is(err, test.is) || err.Error() != test.says {
			t.Errorf("%v: %v", test.err, err)
		}
		if errors.Is(err, ErrRefused) != errors.Is(test.err, ErrRefused) {
			t.Errorf("%v: who is to blame is not the same for both", test.err)
		}
	}
}

// TestOlderDaemon: a request that a daemon of an earlier release does not have, or has with another method, is not the caller's mistake.
func TestOlderDaemon(t *testing.T) {
	t.Parallel()
	older := http.NewServeMux()
	older.HandleFunc("POST "+pathRestore, func(http.ResponseWriter, *http.Request) {})
	c := serveBy(t, &http.Server{Handler: older})
	for _, path := range []string{pathStatus, pathRestore} {
		_, err := c.ask(t.Context(), http.MethodGet, path, nil)
		if !errors.Is(err, ErrOlder) || errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", path, err)
		}
	}
	c = serve(t, &fake{err: errors.New("there was no search")})
	if _, err := c.ask(t.Context(), http.MethodGet, pathDoctor, nil); !errors.Is(err, ErrRefused) || errors.Is(err, ErrOlder) {
		t.Errorf("without a search: %v", err)
	}
}

// TestNotRunning: nothing answers if there is no socket, or at a socket that a killed daemon left.
func TestNotRunning(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sock")
	for _, what := range []string{"no socket", "a stale one"} {
		_, err := Client{path}.Status(t.Context())
		if want := "passerelle is not running (cannot connect to " + path + "); start it with passerelle run"; !errors.Is(err, ErrNotRunning) ||
			err.Error() != want {
			t.Errorf("%s: %v", what, err)
		}
		l, err := Listen(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		l.(interface{ SetUnlinkOnClose(bool) }).SetUnlinkOnClose(false)
		l.Close()
	}
}
