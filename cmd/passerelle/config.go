package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"runtime/debug"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/plan"
	"passerelle/captive/web"
)

// warnOfReaders warns if other users than root can read lenders' passwords.
func (c *cli) warnOfReaders(path string, conf *config.Config) {
	info, err := os.Stat(path)
	if err == nil && info.Mode()&0o077 != 0 && conf.HasSecret() {
		fmt.Fprintf(c.err, "%s: other users can read the lender's password in it: chmod 600 %s\n", path, path)
	}
}

// warnOfUser warns if the user that dnsmasq runs as does not exist.
func (c *cli) warnOfUser() {
	var unknown user.UnknownUserError
	if _, err := user.Lookup(plan.DNSUser); errors.As(err, &unknown) {
		fmt.Fprintf(c.err, "there is no user %s for dnsmasq, so no device gets an address: install dnsmasq-base, "+
			"or run adduser --system --no-create-home %[1]s\n", plan.DNSUser)
	}
}

// warnOfLanguages names the offered languages that have not been reviewed by a speaker.
func (c *cli) warnOfLanguages(path string, conf *config.Config) {
	for _, code := range conf.Box.Languages {
		if w := web.Language(code); !w.Reviewed {
			fmt.Fprintf(c.err, "%s: box.languages: %q (%s) is not yet reviewed by a speaker\n", path, code, w.Name)
		}
	}
}

// warnOfMisfits logs what in a configuration does not fit the machine. It may fit later, when a device is plugged in.
func (c *cli) warnOfMisfits(log *slog.Logger, conf *config.Config) {
	m, err := c.machine()
	if err != nil {
		log.Warn("cannot check the configuration against this machine", "error", err)
		return
	}
	for _, misfit := range misfits(m, conf) {
		log.Warn("the configuration does not fit this machine", "misfit", misfit)
	}
}

func check(_ context.Context, c *cli, args []string) error {
	var path string
	if _, err := c.flags("check", args, 0, func(f *flag.FlagSet) {
		f.StringVar(&path, "config", defaultConfig, "the configuration `FILE`")
	}); err != nil {
		return err
	}
	conf, err := config.File{Path: path}.Load()
	if err != nil {
		return usageError{err}
	}
	c.warnOfReaders(path, conf)
	c.warnOfLanguages(path, conf)
	for _, d := range conf.Donations {
		c.out.Write(describeHours(d, time.Now().In(conf.Box.Timezone)))
	}
	m, err := c.machine()
	if err != nil {
		fmt.Fprintf(c.out, "%s: OK; cannot check it against this machine: %v\n", path, err)
		return nil
	}
	list := misfits(m, conf)
	for _, misfit := range list {
		fmt.Fprintf(c.out, "%s: %s\n", path, misfit)
	}
	verdict := "OK"
	if len(list) > 0 {
		verdict = "valid, but it does not fit this machine"
	}
	fmt.Fprintf(c.out, "%s: %s\n", path, verdict)
	return nil
}

// maxOtherDays is the most days of unusual hours that are listed.
const maxOtherDays = 12

// describeHours prints a donation's opening hours as they were parsed, so that typing errors are noticed.
func describeHours(d config.Donation, now time.Time) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%q is lent", d.Name)
	if d.Hours.Always() {
		b.WriteString(" day and night\n")
		return b.Bytes()
	}
	fmt.Fprintf(&b, " (%s):\n", now.Location())
	week := d.Hours.Week(now)
	for i, day := range []string{"Mo", "Tu", "We", "Th", "Fr", "Sa", "Su"} {
		fmt.Fprintf(&b, "  %s  %s\n", day, week.Days[i])
	}
	const date = "Mon 2 Jan 2006"
	for i, o := range week.Exceptions {
		if i == maxOtherDays {
			fmt.Fprintf(&b, "  and on %d more days or weeks of the year to come\n", len(week.Exceptions)-i)
			break
		}
		days := o.From.Format(date)
		if !o.To.Equal(o.From) {
			days += " to " + o.To.Format(date)
		}
		fmt.Fprintf(&b, "  %s: %s\n", days, o.Hours)
	}
	state := map[bool]string{true: "open", false: "closed"}[d.Hours.Open(now)]
	if at, _, changes := d.Hours.Next(now); changes {
		fmt.Fprintf(&b, "  %s now until %s\n", state, at.Format("Mon 2 Jan 2006 15:04"))
	} else {
		fmt.Fprintf(&b, "  %s now and for the year to come\n", state)
	}
	for _, doubt := range d.Hours.Warnings() {
		fmt.Fprintf(&b, "  is this intended? %s\n", doubt)
	}
	return b.Bytes()
}

func initialise(_ context.Context, c *cli, args []string) error {
	words, err := c.flags("init", args, 1, func(*flag.FlagSet) {})
	if err != nil {
		return err
	}
	path := defaultConfig
	if len(words) == 1 {
		path = words[0]
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("create the configuration's folder: %w", err)
	}
	example := config.Example()
	m, machineErr := c.machine()
	chosen := []string{fmt.Sprintf("cannot read this machine's interfaces (%v); the example's are used", machineErr)}
	if machineErr == nil {
		var fitting *config.Config
		fitting, chosen = fit(m)
		example = config.Format(fitting)
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s already exists, not overwritten; choose another file", path)
	}
	if err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	_, err = file.Write(example)
	if err := errors.Join(err, giveToFolder(file), file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("write the configuration: %w", errors.Join(err, os.Remove(path))) // a part of it would be in the way
	}
	fmt.Fprintf(c.out, "%s: written\n", path)
	for _, line := range chosen {
		fmt.Fprintf(c.out, "  %s\n", line)
	}
	fmt.Fprintf(c.out, "Enter the centre's name and the donations, then run: passerelle check --config %s\n", path)
	return nil
}

func version(_ context.Context, c *cli, args []string) error {
	if _, err := c.flags("version", args, 0, func(*flag.FlagSet) {}); err != nil {
		return err
	}
	fmt.Fprintln(c.out, "passerelle", release())
	return nil
}

// released is the release of a program that is built without version control: -ldflags "-X main.released=v1.2.3".
var released string

// release is the version of this program.
func release() string {
	if released != "" {
		return released
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}
