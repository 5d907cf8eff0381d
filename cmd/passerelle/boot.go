package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"

	"passerelle/appliance/config"
	"passerelle/appliance/daemon"
	"passerelle/image/intake"
)

// bootCommand is what the image's units do on the card's FAT partition.
func bootCommand(ctx context.Context, c *cli, args []string) error {
	return subcommand(ctx, c, "boot", []command{
		{"take", "[--fat DIR] [--config FILE] [--state DIR]", "take the configuration that was dropped on the card, before the daemon starts", takeDropped},
		{"code", "[--fat DIR] [--config FILE] [--state DIR]", "keep the setup code on the card until it is used", showCode},
	}, args)
}

// bootParts are what the commands of bootCommand work on.
type bootParts struct {
	fat     string
	options daemon.Options
}

func (p *bootParts) declare(f *flag.FlagSet) {
	f.StringVar(&p.fat, "fat", "/boot/firmware", "where the card's FAT partition is mounted, a `DIR`")
	f.StringVar(&p.options.Config, "config", defaultConfig, "the configuration `FILE`")
	f.StringVar(&p.options.State, "state", defaultState, "the `DIR` for persistent state")
}

// intake returns the parts for the package that does the work.
func (p *bootParts) intake(c *cli) intake.Intake {
	p.options.Log = slog.New(slog.NewTextHandler(c.err, nil))
	return intake.Intake{
		FAT: p.fat, Note: daemon.DroppedFile(p.options.State), Log: p.options.Log,
		Writable: func() (func() error, error) { return intake.Remount(p.fat) },
		Put:      func(text []byte) error { return daemon.ReplaceConfig(p.options, text, config.RoleCard) },
		Misfits: func(conf *config.Config) []string {
			m, err := c.machine()
			if err != nil {
				return []string{err.Error()}
			}
			return misfits(m, conf)
		},
	}
}

// takeDropped takes the dropped configuration, and shows the setup code. Whatever is wrong with the card, both are tried: its
// unit fails, and the box starts all the same.
func takeDropped(_ context.Context, c *cli, args []string) error {
	var p bootParts
	if _, err := c.flags("boot take", args, 0, p.declare); err != nil {
		return err
	}
	err := p.intake(c).Take()
	if err != nil {
		p.options.Log.Error("the dropped configuration", "error", err)
	}
	if codeErr := p.showCode(c); codeErr != nil {
		return codeErr
	}
	return err
}

func showCode(_ context.Context, c *cli, args []string) error {
	var p bootParts
	if _, err := c.flags("boot code", args, 0, p.declare); err != nil {
		return err
	}
	return p.showCode(c)
}

// showCode shows the setup code on the console and in a file on the card, while there is no password.
func (p *bootParts) showCode(c *cli) error {
	i := p.intake(c)
	conf, err := config.File{Path: p.options.Config}.Load()
	if err != nil {
		conf = config.Factory() // as the daemon, which then waits for a configuration
	}
	page := "https://" + conf.Box.Hostname + "/admin/"
	code := daemon.SetupCode(p.options.State, p.options.Log)
	if code != "" {
		fmt.Fprintf(c.out, "Passerelle: nobody has chosen the technicians' password yet. The code for %s is %s\n", page, code)
	}
	if _, err := os.Stat(p.fat); err != nil {
		return fmt.Errorf("the setup code on the card: %w", err)
	}
	return i.SetCode(code, page)
}
