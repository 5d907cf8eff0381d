package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"passerelle/appliance"
	"passerelle/appliance/config"
	"passerelle/appliance/control"
	"passerelle/appliance/fetch"
	"passerelle/appliance/fleet/layer"
	"passerelle/appliance/state"
	"passerelle/captive/admin"
	"passerelle/captive/admin/journal"
	"passerelle/captive/admin/login"
)

// controlled is the daemon as its control socket sees it.
type controlled struct {
	*appliance.Box
	*Daemon
	tokens admin.Tokens
}

var _ control.Box = controlled{}

// Reload applies the configuration file.
func (c controlled) Reload(ctx context.Context) (config.Result, error) {
	r, err := c.updater.Reload(ctx, config.RoleCommandLine)
	var input InputError
	if errors.As(err, &input) {
		err = control.Refuse(err)
	}
	return r, err
}

// Apply replaces the configuration, if file is the path of the box's configuration.
func (c controlled) Apply(ctx context.Context, file string, text []byte, r config.Revision) (config.Result, error) {
	theirs, err := os.Stat(file)
	if ours, ourErr := os.Stat(c.paths.config); err != nil || ourErr != nil || !os.SameFile(theirs, ours) {
		return config.Result{}, control.Refuse(fmt.Errorf("the running box uses another configuration, %s; nothing was written", c.paths.config))
	}
	return c.updater.Apply(ctx, text, r, config.RoleCommandLine)
}

// Refresh makes a share reload its content from the disk.
func (c controlled) Refresh(share string) error {
	if err := c.portal.Refresh(share); err != nil {
		return control.Refuse(err)
	}
	return nil
}

// Status returns the box's status, with the parts that the loop does not know.
func (c controlled) Status() state.Status { return c.fullStatus() }

// fullStatus adds the downloads and technicians' access to the box's status.
func (d *Daemon) fullStatus() state.Status {
	s := d.status()
	s.Downloads, s.Slots, s.System = d.fetcher.Status(), d.card.status(), readSystem(os.DirFS("/"))
	s.Stick, s.Updates = d.sticks.Last(), d.releases.describe(s, d.box.Config())
	if i := slices.IndexFunc(s.Downloads, func(one state.Download) bool { return one.Name == releasesName }); s.Updates != nil && i >= 0 {
		s.Updates.Checked = s.Downloads[i].Done
	}
	d.member.addTo(&s)
	d.layers.addTo(&s)
	d.commands.addTo(&s, d.box.Config().Box.Timezone)
	s.Admin = state.Admin{Access: string(d.access()), Fingerprint: d.fingerprint(), Pages: []string{}}
	if wifi := s.Hotspot.WiFi; wifi == nil || wifi.On || !d.untouched() { // a new box may have no radio
		s.Admin.Pages = append(s.Admin.Pages, "https://"+d.box.Site().Hostname+"/admin/")
	}
	if wired := d.pages.Load(); wired != nil {
		s.Admin.Pages = append(s.Admin.Pages, *wired...)
	}
	return s
}

// Pause stops sharing until Resume.
func (c controlled) Pause(ctx context.Context, by string) error {
	return c.noted(journal.Paused, c.Box.Pause(ctx, by))
}

// PauseUntilTomorrow stops sharing until the next day, or Resume.
func (c controlled) PauseUntilTomorrow(ctx context.Context, by string) error {
	return c.noted(journal.PausedTo, c.Box.PauseUntilTomorrow(ctx, by))
}

// Resume ends a pause.
func (c controlled) Resume(ctx context.Context) error {
	return c.noted(journal.Resumed, c.Box.Resume(ctx))
}

// ConfirmTime confirms that the machine's time of day is right.
func (c controlled) ConfirmTime(ctx context.Context, by string) error {
	return c.noted(journal.Clock, c.Box.ConfirmTime(ctx, by))
}

// noted adds root's change to the journal, unless it failed.
func (c controlled) noted(what journal.What, err error) error {
	if err == nil {
		c.journal.Note(journal.Entry{What: what, By: config.RoleCommandLine})
	}
	return err
}

// Fetch starts a download.
func (c controlled) Fetch(name string) error {
	err := c.fetcher.Start(name)
	if errors.Is(err, fetch.ErrNotConfigured) {
		err = control.Refuse(err)
	}
	return err
}

// SetupCode returns the code with which the first technician chooses a password, "" once there is one.
func (c controlled) SetupCode() string { return c.logins.Code() }

// RenewDesk makes a code for the desk, and ends staff's logins.
func (c controlled) RenewDesk() (code string, err error) {
	code, err = c.logins.RenewDesk()
	return code, c.noted(journal.DeskCode, refuseUnconfigured(err))
}

// CloseDesk removes the desk's code, and ends staff's logins.
func (c controlled) CloseDesk() error {
	return c.noted(journal.DeskShut, refuseUnconfigured(c.logins.CloseDesk()))
}

// refuseUnconfigured turns the error of a box that nobody has set up into a refusal: it is the caller's mistake.
func refuseUnconfigured(err error) error {
	if errors.Is(err, login.ErrNoPassword) {
		return control.Refuse(err)
	}
	return err
}

// AcceptService opens an essential service that the box's fleet proposes.
func (c controlled) AcceptService(ctx context.Context, name string) error {
	return c.noted(journal.ServiceAccepted, c.layers.acceptService(ctx, c.Box, name))
}

// WithdrawService closes an essential service that a technician has accepted.
func (c controlled) WithdrawService(ctx context.Context, name string) error {
	return c.noted(journal.ServiceWithdrawn, c.layers.withdrawService(ctx, c.Box, name))
}

// TakeLayer makes the box use a fragment of a level of its fleet; an empty text removes that level's fragment.
func (c controlled) TakeLayer(ctx context.Context, level, name string, text []byte) error {
	return c.layers.take(ctx, c.Box, layer.Level(level), name, text)
}

// JoinFleet asks for the box's membership.
func (c controlled) JoinFleet(bundle []byte, code string) error { return c.member.join(bundle, code) }

// LeaveFleet forgets it.
func (c controlled) LeaveFleet() error { return c.member.leave() }

// LenderLink creates a lender link for a donation.
func (c controlled) LenderLink(donation string) (string, error) {
	return issueLink(c.tokens, c.Box.Config(), donation)
}

// issueLink creates a lender link for a donation of a configuration.
func issueLink(tokens admin.Tokens, c *config.Config, donation string) (string, error) {
	var names []string
	known := false
	for _, d := range c.Donations {
		names = append(names, strconv.Quote(d.Name))
		known = known || d.Name == donation
	}
	if !known {
		return "", control.Refuse(fmt.Errorf("unknown donation %q; the configuration has %s", donation, strings.Join(names, ", ")))
	}
	path, err := admin.IssueLink(tokens, donation)
	if err != nil {
		return "", err
	}
	return "https://" + c.Box.Hostname + path, nil
}
