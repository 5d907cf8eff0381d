package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"runtime/debug"
	"slices"

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
	fmt.Fprintf(c.out, "%s: fine\n", path)
	return nil
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
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already and stays as it is: name another file", path)
	}
	if err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	_, err = file.Write(config.Example())
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	fmt.Fprintf(c.out, "%s: written. Put the names of your interfaces in, then: passerelle check --config %s\n", path, path)
	return nil
}

func version(_ context.Context, c *cli, args []string) error {
	if _, err := c.flags("version", args, 0, func(*flag.FlagSet) {}); err != nil {
		return err
	}
	v := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		v = info.Main.Version
	}
	fmt.Fprintln(c.out, "passerelle", v)
	return nil
}
