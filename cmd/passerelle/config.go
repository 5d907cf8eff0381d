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
	"slices"
	"time"

	"passerelle/appliance/config"
	"passerelle/captive/web"
	"passerelle/netctl/plan"
)

// load reads a configuration; what is wrong with it is the user's.
func load(path string) (*config.Config, error) {
	c, err := config.Load(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, wrong{fmt.Errorf("%s: %w: passerelle init %s writes one to start from", path, fs.ErrNotExist, path)}
	}
	if err != nil {
		return nil, wrong{err}
	}
	return c, nil
}

// warnOfReaders says so if others than root may read lenders' passwords.
func (c *cli) warnOfReaders(path string, conf *config.Config) {
	info, err := os.Stat(path)
	secret := func(d config.Donation) bool { return d.WiFi != nil && d.WiFi.Passphrase != "" }
	if err == nil && info.Mode()&0o077 != 0 && slices.ContainsFunc(conf.Donations, secret) {
		fmt.Fprintf(c.err, "%s: others may read the lender's password in it: chmod 600 %s\n", path, path)
	}
}

// warnOfUser says so if dnsmasq has no user to become.
func (c *cli) warnOfUser() {
	var unknown user.UnknownUserError
	if _, err := user.Lookup(plan.DNSUser); errors.As(err, &unknown) {
		fmt.Fprintf(c.err, "there is no user %s, whom dnsmasq is to run as: nobody gets an address before dnsmasq-base is installed, "+
			"or adduser --system --no-create-home %[1]s\n", plan.DNSUser)
	}
}

// warnOfLanguages names the languages offered whose pages nobody who speaks them has read.
func (c *cli) warnOfLanguages(path string, conf *config.Config) {
	for _, code := range conf.Box.Languages {
		if w := web.Language(code); !w.Reviewed {
			fmt.Fprintf(c.err, "%s: box.languages: %q (%s) is not yet reviewed by a speaker\n", path, code, w.Name)
		}
	}
}

// warnOfMisfits logs what of a configuration does not fit the machine; it may come to fit later, when something is plugged
// in.
func (c *cli) warnOfMisfits(log *slog.Logger, conf *config.Config) {
	m, err := c.look()
	if err != nil {
		log.Warn("whether the configuration fits this machine is not known", "error", err)
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
	conf, err := load(path)
	if err != nil {
		return err
	}
	c.warnOfReaders(path, conf)
	c.warnOfLanguages(path, conf)
	for _, d := range conf.Donations {
		c.out.Write(describeHours(d, time.Now().In(conf.Box.Timezone)))
	}
	m, err := c.look()
	if err != nil {
		fmt.Fprintf(c.out, "%s: fine; whether it fits this machine is not known: %v\n", path, err)
		return nil
	}
	list := misfits(m, conf)
	for _, misfit := range list {
		fmt.Fprintf(c.out, "%s: %s\n", path, misfit)
	}
	verdict := "fine"
	if len(list) > 0 {
		verdict = "fine in itself, but it does not fit this machine"
	}
	fmt.Fprintf(c.out, "%s: %s\n", path, verdict)
	return nil
}

// otherDays is how many days of unusual hours are listed.
const otherDays = 12

// describeHours says when a donation is lent, as it was understood, so that a slip of the pen is seen.
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
	for i, o := range week.Others {
		if i == otherDays {
			fmt.Fprintf(&b, "  and on %d more days or weeks of the year to come\n", len(week.Others)-i)
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
	for _, doubt := range d.Hours.Doubts() {
		fmt.Fprintf(&b, "  is that meant? %s\n", doubt)
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
		return fmt.Errorf("make the configuration's folder: %w", err)
	}
	example := config.Example()
	m, lookErr := c.look()
	chosen := []string{fmt.Sprintf("this machine's interfaces cannot be read (%v): those of the example are in it", lookErr)}
	if lookErr == nil {
		var fitting *config.Config
		fitting, chosen = fit(m)
		example = config.Format(fitting)
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already and stays as it is: name another file", path)
	}
	if err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	_, err = file.Write(example)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	fmt.Fprintf(c.out, "%s: written\n", path)
	for _, line := range chosen {
		fmt.Fprintf(c.out, "  %s\n", line)
	}
	fmt.Fprintf(c.out, "Write the centre's name and what is lent into it, then: passerelle check --config %s\n", path)
	return nil
}

func version(_ context.Context, c *cli, args []string) error {
	if _, err := c.flags("version", args, 0, func(*flag.FlagSet) {}); err != nil {
		return err
	}
	fmt.Fprintln(c.out, "passerelle", release())
	return nil
}

// release is the version of this program.
func release() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}
