package daemon

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/state"
	"passerelle/captive/admin/journal"
)

// fakeBox returns a given outcome for each configuration.
type fakeBox struct {
	outcome config.Outcome
	err     error
	got     []string // centres' names
}

func (t *fakeBox) Reconfigure(ctx context.Context, c *config.Config) (config.Outcome, error) {
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	t.got = append(t.got, c.Box.Name)
	return t.outcome, t.err
}

// testUpdater is an updater with fakes for what it uses.
type testUpdater struct {
	*configUpdater
	t        *testing.T
	box      *fakeBox
	log      *bytes.Buffer
	hangups  chan os.Signal
	restarts []string // names of centres
	notes    []journal.Entry
}

const lucie = `
[[donation]]
name = "Chez Lucie"
interface = "wlan1"
cap = "5GB"
wifi = { ssid = "Lucie", passphrase = "trois petits chats" }
`

func named(name string) []byte {
	text := strings.Replace(oneLine, "[limits]", "country = \"FR\"\n[limits]", 1) + lucie
	return []byte(strings.Replace(text, "Centre social des Lilas", name, 1))
}

// newTestUpdater returns the updater of a box that uses the configuration of centre A.
func newTestUpdater(t *testing.T) *testUpdater {
	d := testDaemon(t)
	mustWrite(t, d.paths.config, string(named("A")))
	o := &testUpdater{t: t, box: &fakeBox{outcome: config.Applied}, log: &bytes.Buffer{}, hangups: make(chan os.Signal, 1)}
	o.configUpdater = &configUpdater{
		file: d.file(), history: config.History{Dir: filepath.Join(d.state, versionsFolder)}, pending: newPending(d.state),
		applied: named("A"), box: o.box, note: func(e journal.Entry) { o.notes = append(o.notes, e) }, now: time.Now, hangups: o.hangups,
		log:     slog.New(slog.NewTextHandler(o.log, nil)),
		restart: func(c *config.Config, _ string) { o.restarts = append(o.restarts, c.Box.Name) },
	}
	return o
}

// check compares the file and what the box was given, and that no log or answer contains the password.
func (o *testUpdater) check(r config.Result, file string, given ...string) {
	o.t.Helper()
	text, revision, err := o.file.Read()
	if err != nil || !bytes.Equal(text, named(file)) {
		o.t.Errorf("the file is not that of %s: %v\n%s", file, err, text)
	}
	if r.Outcome != "" && r.Revision != revision {
		o.t.Errorf("the answer names the revision %q, the file has %q", r.Revision, revision)
	}
	if got, want := strings.Join(o.box.got, " "), strings.Join(given, " "); got != want {
		o.t.Errorf("the box was given %q, want %q", got, want)
	}
	if said := o.log.String() + r.Why + r.Problems.Error(); strings.Contains(said, "petits") {
		o.t.Errorf("the password is shown: %s", said)
	}
}

// TestUpdate: a change is written to the file and applied to the box. Of two writers the second gets a conflict, and nothing is lost.
func TestUpdate(t *testing.T) {
	t.Parallel()
	o := newTestUpdater(t)
	first := config.RevisionOf(named("A"))
	gone, leave := context.WithCancel(t.Context())
	leave() // the caller does not wait for the answer
	r, err := o.Apply(gone, named("B"), first, config.RoleTechnician)
	if err != nil || r.Outcome != config.Applied || r.Why != "" {
		t.Errorf("%+v, %v", r, err)
	}
	o.check(r, "B", "B")
	if len(o.notes) != 1 || o.notes[0].By != config.RoleTechnician || o.notes[0].What != journal.Settings {
		t.Errorf("the journal has %+v", o.notes)
	}
	if said := o.log.String(); !strings.Contains(said, `msg="configuration applied" by="a technician"`) {
		t.Errorf("the log is %s", said)
	}
	r, err = o.Apply(t.Context(), named("C"), first, config.RoleCommandLine)
	if err != nil || r.Outcome != config.Conflict || r.Why != config.ErrChanged.Error() || r.Problems != nil {
		t.Errorf("the second writer gets %+v, %v", r, err)
	}
	o.check(r, "B", "B")
	if r, err = o.Apply(t.Context(), named("C"), r.Revision, config.RoleCommandLine); err != nil || r.Outcome != config.Applied {
		t.Errorf("with the current revision: %+v, %v", r, err)
	}
	o.check(r, "C", "B", "C")
	if r, err = o.Apply(t.Context(), named("D"), r.Revision, "staff"); err != nil || r.Outcome != config.Refused || r.Why != "staff may not change the configuration" {
		t.Errorf("staff gets %+v, %v", r, err)
	}
	r.Outcome = ""
	o.check(r, "C", "B", "C")
}

// TestFirstUpdate: on a box without a configuration, a technician's pages create the file, and the box restarts with it. The
// second technician gets a conflict.
func TestFirstUpdate(t *testing.T) {
	t.Parallel()
	o := newTestUpdater(t)
	if err := os.Remove(o.file.Path); err != nil {
		t.Fatal(err)
	}
	o.applied, o.box.outcome = nil, config.Restart
	pages := configuration{o.configUpdater}
	if text, r, err := pages.Read(); text != nil || r != "" || err != nil {
		t.Errorf("read: %q, %q, %v", text, r, err)
	}
	if r, err := pages.Apply(t.Context(), named("B"), config.RevisionOf(named("A")), config.SideHotspot); err != nil || r.Outcome != config.Conflict {
		t.Errorf("with a revision: %+v, %v", r, err)
	}
	r, err := pages.Apply(t.Context(), named("B"), "", config.SideHotspot)
	if err != nil || r.Outcome != config.Restart {
		t.Errorf("%+v, %v", r, err)
	}
	o.check(r, "B", "B")
	if strings.Join(o.restarts, " ") != "B" {
		t.Errorf("restarts for %q", o.restarts)
	}
	o.closed = false
	if r, err = pages.Apply(t.Context(), named("C"), "", config.SideHotspot); err != nil || r.Outcome != config.Conflict {
		t.Errorf("the second technician gets %+v, %v", r, err)
	}
	o.check(r, "B", "B")
	if _, err := o.pending.read(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a first configuration waits for a confirmation: %v", err)
	}
}

// TestConcurrentUpdates: of several at once, one is applied and the others get a conflict.
func TestConcurrentUpdates(t *testing.T) {
	t.Parallel()
	o := newTestUpdater(t)
	var all sync.WaitGroup
	results := make([]config.Result, 8)
	for i := range results {
		all.Go(func() {
			var err error
			results[i], err = o.Apply(t.Context(), named(string(rune('F'+i))), config.RevisionOf(named("A")), config.RoleCommandLine)
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	applied := 0
	for _, r := range results {
		if r.Outcome == config.Applied {
			applied++
		} else if r.Outcome != config.Conflict {
			t.Errorf("got %+v", r)
		}
	}
	if applied != 1 || len(o.box.got) != 1 {
		t.Errorf("%d are applied, the box was given %q", applied, o.box.got)
	}
}

// TestRefusedUpdate: the result has the problems with their lines, and never a password.
func TestRefusedUpdate(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(string) string{
		"a key that is unknown":    func(s string) string { return strings.Replace(s, "cap =", "kap =", 1) },
		"a password without marks": func(s string) string { return strings.Replace(s, `"trois petits chats"`, "trois petits chats", 1) },
		"one that is not closed":   func(s string) string { return strings.Replace(s, `chats"`, `chats`, 1) },
		"one that is too long":     func(s string) string { return strings.Replace(s, `chats"`, strings.Repeat("chats", 20)+`"`, 1) },
		"one that is a number":     func(s string) string { return strings.Replace(s, `"trois petits chats"`, "12 # petits", 1) },
		"one on the next line":     func(s string) string { return strings.Replace(s, `passphrase = "`, "passphrase =\n\"", 1) },
		"one as a key": func(s string) string {
			return strings.Replace(s, `passphrase = "trois petits chats"`, `"trois petits chats" = passphrase`, 1)
		},
		"one as a line":            func(s string) string { return s + "trois petits chats\n" },
		"one as a line with marks": func(s string) string { return s + "\"trois petits chats\"\n" },
		"one behind the table":     func(s string) string { return strings.Replace(s, `, passphrase =`, " }\npassphrase =", 1) },
		"one behind its line":      func(s string) string { return strings.Replace(s, `cap = "5GB"`, `cap = "5GB" "trois petits chats"`, 1) },
		"one as a key of its own": func(s string) string {
			return strings.Replace(s, `cap = "5GB"`, "cap = \"5GB\"\npassphrase = \"trois petits chats\"", 1)
		},
		"one in another's place": func(s string) string { return strings.Replace(s, `cap = "5GB"`, `cap = "trois petits chats"`, 1) },
		"one as the interface":   func(s string) string { return strings.Replace(s, `"wlan1"`, `"trois petits chats"`, 1) },
		"the name in its place": func(s string) string {
			return strings.Replace(s, `ssid = "Lucie", passphrase = "trois petits chats"`, `ssid = "trois petits chats trois petits chats", passphrase = "Lucie"`, 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newTestUpdater(t)
			r, err := o.Apply(t.Context(), []byte(change(string(named("A")))), config.RevisionOf(named("A")), config.RoleTechnician)
			if err != nil || r.Outcome != config.Refused || len(r.Problems) == 0 || r.Problems[0].Line == 0 || r.Why != r.Problems[0].String() {
				t.Errorf("%+v, %v", r, err)
			}
			o.check(r, "A")
			t.Log(r.Problems)
		})
	}
}

// TestUpdateBeforeKernelFollows: the result says that the kernel has not followed yet, and the file has the configuration.
func TestUpdateBeforeKernelFollows(t *testing.T) {
	t.Parallel()
	o := newTestUpdater(t)
	o.box.err = errors.New("the kernel does not follow yet")
	r, err := o.Apply(t.Context(), named("B"), config.RevisionOf(named("A")), config.RoleTechnician)
	if err != nil || r.Outcome != config.Applied || r.Why != "the kernel does not follow yet" {
		t.Errorf("%+v, %v", r, err)
	}
	o.check(r, "B", "B")
}

// TestUpdateDuringRestart: a change while the daemon restarts gets ErrStopped, and the next run handles a signal.
func TestUpdateDuringRestart(t *testing.T) {
	t.Parallel()
	o := newTestUpdater(t)
	o.box.outcome = config.Restart
	r, err := o.Apply(t.Context(), named("B"), config.RevisionOf(named("A")), config.RoleCommandLine)
	if err != nil || r.Outcome != config.Restart || r.Why == "" || len(o.restarts) != 1 || o.restarts[0] != "B" {
		t.Errorf("%+v, %v; restarts with %q", r, err, o.restarts)
	}
	o.check(r, "B", "B")
	if r, err = o.Apply(t.Context(), named("C"), r.Revision, config.RoleCommandLine); !errors.Is(err, state.ErrStopped) {
		t.Errorf("after it %+v, %v", r, err)
	}
	o.check(r, "B", "B")
	if err := o.followHangups(t.Context(), o.hangups); err != nil || len(o.hangups) != 1 || <-o.hangups != syscall.SIGHUP {
		t.Errorf("the signal is not pending for the next run: %v", err)
	}

	o = newTestUpdater(t)
	o.box.outcome, o.box.err = "", state.ErrStopped
	if r, err = o.Apply(t.Context(), named("B"), config.RevisionOf(named("A")), config.RoleCommandLine); !errors.Is(err, state.ErrStopped) ||
		!strings.Contains(err.Error(), "is in the file") || len(o.hangups) != 1 {
		t.Errorf("with a box that stops: %+v, %v", r, err)
	}
	o.check(r, "B", "B")
}
