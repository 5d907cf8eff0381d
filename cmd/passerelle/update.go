package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"time"

	"passerelle/appliance/clock"
	"passerelle/appliance/control"
	"passerelle/appliance/fleet/mirror"
	"passerelle/appliance/fleet/trust"
	"passerelle/image/slot"
	"passerelle/image/stick"
	"passerelle/image/update"
	"passerelle/image/update/agent"
	"passerelle/image/update/plan"
)

// rootFile is the root of trust that is built into the image. Without it the box accepts no releases.
const rootFile = "/usr/share/passerelle/root.json"

// mirrorTimeout is the timeout for one file of a mirror: 256 kB at 128 kbit/s take 16 s.
const mirrorTimeout = 2 * time.Minute

// updateFlags say where a release comes from, and where it goes.
type updateFlags struct {
	from, root, state   string
	check, expired, yes bool
	box                 control.Client
}

func (u *updateFlags) define(f *flag.FlagSet) {
	u.defineSource(f)
	f.BoolVar(&u.check, "check", false, "say what there is, and install nothing")
	f.BoolVar(&u.yes, "yes", false, "do not ask")
}

// defineSource declares the flags for the source of signed files, and for who is asked to use them.
func (u *updateFlags) defineSource(f *flag.FlagSet) {
	f.StringVar(&u.from, "from", "", "a `FOLDER` (a stick) or the https address of a mirror")
	f.StringVar(&u.root, "root", rootFile, "the root of trust that this system was built with, a `FILE`")
	f.StringVar(&u.state, "state", defaultState, "the daemon's state `DIR`")
	f.BoolVar(&u.expired, "expired", false, "pass over the expiry of signatures: for somebody who stands at the box and knows where the files come from")
	socketFlag(f, &u.box)
}

// updateCommand puts the newest release of a stick or a mirror into the slot that is not running. It needs root, for the card.
func updateCommand(ctx context.Context, c *cli, args []string) error {
	if len(args) > 0 && args[0] == "serve" { // for its unit
		return serveUpdates(ctx, c, args[1:])
	}
	var u updateFlags
	if _, err := c.flags("update", args, 0, u.define); err != nil {
		return err
	}
	from, err := u.source()
	if err != nil {
		return err
	}
	card, err := c.card()
	if err != nil {
		return err
	}
	fmt.Fprintln(c.out, "Reading the running system ...")
	offer, err := u.look(ctx, card, from)
	if err != nil {
		return err
	}
	defer offer.Close()
	if v := offer.Current.Version; v != "" {
		fmt.Fprintf(c.out, "Slot %s runs release %s.\n", card.Running, v)
	} else {
		fmt.Fprintf(c.out, "Slot %s runs a system that %s does not have.\n", card.Running, u.from)
	}
	p, err := offer.Plan(ctx)
	switch {
	case errors.Is(err, update.ErrNewest):
		fmt.Fprintln(c.out, "That is the newest one.")
		return nil
	case errors.Is(err, plan.ErrNotFor):
		return usageError{err}
	case err != nil:
		return u.advise(err)
	}
	version, to := offer.Newest.Version, offer.To
	fmt.Fprintf(c.out, "Release %s goes into slot %s: %s of %s must be fetched, in %s.\n", version, to, megabytes(p.Bytes),
		megabytes(offer.Size()), plural(p.Files, "file"))
	if u.check {
		return nil
	}
	if err := offer.Blocked(); err != nil {
		return usageError{fmt.Errorf("%w: see passerelle slot status", err)}
	}
	if !u.yes && !c.confirm("Install it?") {
		return usageError{errors.New("nothing was changed; --yes does not ask")}
	}
	offer.Asked = true
	if err := offer.Install(ctx, c.progress("Installing")); err != nil {
		return u.advise(fmt.Errorf("%w\nslot %s goes on running; the next `passerelle update` goes on from here", err, card.Running))
	}
	fmt.Fprintf(c.out, "Release %s lies in slot %s, and was read back.\n", version, to)
	return c.boot(ctx, u.box, card, to)
}

// source returns the source of the files.
func (u *updateFlags) source() (trust.Source, error) {
	switch {
	case u.from == "":
		return nil, usageError{errors.New("--from is missing: the folder of a stick, or the https address of a mirror")}
	case !strings.Contains(u.from, "://"):
		if info, err := os.Stat(u.from); err != nil {
			return nil, usageError{err}
		} else if !info.IsDir() {
			return nil, usageError{fmt.Errorf("%s is no folder", u.from)}
		}
		return mirror.Folder{FS: os.DirFS(u.from)}, nil
	}
	site, err := url.Parse(u.from)
	if err != nil {
		return nil, usageError{err}
	}
	if site.Scheme != "https" || site.Host == "" || site.User != nil {
		return nil, usageError{fmt.Errorf("%s is no https address without a name in it", u.from)}
	}
	client := &http.Client{Timeout: mirrorTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: 1, ForceAttemptHTTP2: true}}
	return mirror.Site{Client: client, URL: site}, nil
}

// look returns what a source offers.
func (u *updateFlags) look(ctx context.Context, card slot.Card, from trust.Source) (*update.Offer, error) {
	box, err := newUpdateBox(card, u.state, u.root)
	if err != nil {
		return nil, err
	}
	offer, err := box.Look(ctx, from, u.expired)
	if err != nil {
		return nil, u.advise(fmt.Errorf("%s: %w", u.from, err))
	}
	return offer, nil
}

// newUpdateBox returns this machine in the form that package update needs.
func newUpdateBox(card slot.Card, state, rootFile string) (*update.Box, error) {
	root, err := os.ReadFile(rootFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil, usageError{fmt.Errorf("%w: this system was built without a root of trust, so it takes no releases", err)}
	}
	if err != nil {
		return nil, err
	}
	return &update.Box{Card: card, State: state, Root: root, Clock: trust.Clock{
		Built: built(), Now: func() (time.Time, bool) {
			now, trusted := clock.New(clock.System(), clock.Trust{}).Now()
			return now, trusted.By != ""
		},
	}}, nil
}

// built returns when this program's source was committed, the zero time if that is unknown.
func built() time.Time {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.time" {
				t, _ := time.Parse(time.RFC3339, s.Value) // of a build from git; other builds have no such setting
				return t
			}
		}
	}
	return time.Time{}
}

// advise says what somebody at the box can do about a refusal.
func (u *updateFlags) advise(err error) error {
	var r *trust.Refusal
	if !errors.As(err, &r) {
		return err
	}
	switch r.Reason {
	case trust.Expired:
		return fmt.Errorf("%w\nThe files are too old to be believed by themselves. Get newer ones. If you know that these are the newest, and where they come from: --expired", err)
	case trust.Older:
		return fmt.Errorf("%w\nThis box has seen newer files than these: get those", err)
	case trust.Unsigned:
		return fmt.Errorf("%w\nDo not use these files: somebody may have changed them", err)
	}
	return fmt.Errorf("%w\nCopy the files once more, or use another stick", err)
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// progress returns a function that shows the progress of an operation, one line for each tenth.
func (c *cli) progress(what string) func(done, total int64) {
	shown := int64(-1)
	return func(done, total int64) {
		if tenth := done * 10 / max(total, 1); tenth > shown {
			shown = tenth
			fmt.Fprintf(c.out, "%s: %d %%\n", what, tenth*10)
		}
	}
}

// serveUpdates carries out the daemon's requests.
func serveUpdates(ctx context.Context, c *cli, args []string) error {
	var dir, state, root string
	if _, err := c.flags("update serve", args, 0, func(f *flag.FlagSet) {
		f.StringVar(&dir, "mount", "/run/passerelle-update", "mount sticks below this `DIR`")
		f.StringVar(&state, "state", defaultState, "the daemon's state `DIR`")
		f.StringVar(&root, "root", rootFile, "the root of trust that this system was built with, a `FILE`")
	}); err != nil {
		return err
	}
	l, err := openedSocket("passerelle update serve: passerelle-update.socket starts it")
	if err != nil {
		return err
	}
	s := &agent.Server{
		Box: func() (*update.Box, error) {
			card, err := c.card()
			if err != nil {
				return nil, err
			}
			return newUpdateBox(card, state, root)
		},
		Machine: os.DirFS("/"), Mount: stick.MountIn(dir), Log: slog.New(slog.NewTextHandler(c.err, nil)),
		Restart: func() error { return exec.Command("systemctl", "--no-block", "reboot").Run() },
	}
	return s.Serve(ctx, l)
}
