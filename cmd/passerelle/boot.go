package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"passerelle/appliance/config"
	"passerelle/appliance/daemon"
	"passerelle/image/intake"
	"passerelle/image/modem"
	"passerelle/netctl/uplink"
)

// bootCommand has the commands that the image's units run beside the daemon, which has no access to the card or to systemd-networkd.
func bootCommand(ctx context.Context, c *cli, args []string) error {
	return subcommand(ctx, c, "boot", []command{
		{"take", "[--fat DIR] [--config FILE] [--state DIR]", "take the configuration that was dropped on the card, before the daemon starts", takeDropped},
		{"code", "[--fat DIR] [--config FILE] [--state DIR]", "keep the setup code on the card until it is used", showCode},
		{"network", "[--config FILE] [--networkd DIR]", "have systemd-networkd leave the hotspot's interface alone", leaveHotspot},
		{"modem", "[--config FILE] [--networkd DIR] [--notes DIR] DEVICE", "keep a mobile modem on USB connected, by its donation's apn and pin", connectModem},
	}, args)
}

// bootParts are the files and folders that the commands of bootCommand work on.
type bootParts struct {
	fat     string
	options daemon.Options
}

func (p *bootParts) declare(f *flag.FlagSet) {
	f.StringVar(&p.fat, "fat", "/boot/firmware", "where the card's FAT partition is mounted, a `DIR`")
	f.StringVar(&p.options.Config, "config", defaultConfig, "the configuration `FILE`")
	f.StringVar(&p.options.State, "state", defaultState, "the `DIR` for persistent state")
}

// intake returns these parts for package intake, which does the work.
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

// takeDropped takes the configuration that was dropped on the card, and shows the setup code. Both are tried, whatever is wrong with the
// card: its unit fails, but the box starts anyway.
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

// conf returns the configuration. Without one it returns the daemon's default for a box that waits for its configuration.
func (p *bootParts) conf() *config.Config {
	conf, err := config.File{Path: p.options.Config}.Load()
	if err != nil {
		return config.Factory()
	}
	return conf
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
	conf := p.conf()
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

// networkdFile replaces the package's file of the same name (image/deb/networkd), which knows only the usual radio.
const networkdFile = "10-passerelle.network"

// declareNetworkd declares the flags of the commands about systemd-networkd.
func (p *bootParts) declareNetworkd(f *flag.FlagSet, dir *string) {
	f.StringVar(&p.options.Config, "config", defaultConfig, "the configuration `FILE`")
	f.StringVar(dir, "networkd", "/run/systemd/network", "the `DIR` of systemd-networkd's files")
}

// leaveHotspot makes systemd-networkd ignore the hotspot's interface, once it reads its files again. On a wired hotspot it would
// request an address, and a resident could answer.
func leaveHotspot(_ context.Context, c *cli, args []string) error {
	var p bootParts
	var dir string
	if _, err := c.flags("boot network", args, 0, func(f *flag.FlagSet) { p.declareNetworkd(f, &dir) }); err != nil {
		return err
	}
	text := fmt.Sprintf("# Written by passerelle boot network.\n[Match]\nName=%s pas-*\n\n[Link]\nUnmanaged=yes\n", p.conf().Hotspot.Interface)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return renameio.WriteFile(filepath.Join(dir, networkdFile), []byte(text), 0o644)
}

// connectModem keeps a modem connected until it is unplugged.
func connectModem(ctx context.Context, c *cli, args []string) error {
	var p bootParts
	m := &modem.Modem{
		Machine: os.DirFS("/"), Run: runTool, Log: slog.New(slog.NewTextHandler(c.err, nil)),
		Settings: func(link string) modem.Settings { return modemSettings(p.conf(), link) },
		Tick:     func() (<-chan time.Time, func()) { t := time.NewTicker(modem.Every); return t.C, t.Stop },
	}
	words, err := c.flags("boot modem", args, 1, func(f *flag.FlagSet) {
		p.declareNetworkd(f, &m.Networkd)
		f.StringVar(&m.Notes, "notes", "/"+uplink.ModemNotes, "the `DIR` that says why there is no connection")
	})
	if err != nil {
		return err
	}
	if len(words) != 1 {
		return usageError{errors.New("the modem's device is missing, as in cdc-wdm0")}
	}
	m.Name = words[0]
	return m.Serve(ctx)
}

// modemSettings returns what a donation says about the modem with this network interface.
func modemSettings(c *config.Config, link string) modem.Settings {
	for _, name := range []string{link, config.USB} { // as lines are matched: by the exact name first
		for _, d := range c.Donations {
			if d.Interface == name {
				return modem.Settings{APN: d.APN, PIN: d.PIN}
			}
		}
	}
	return modem.Settings{}
}

// runTool runs a program. Its error has the last line that the program wrote to standard error.
func runTool(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	var out, said strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	if text := strings.TrimSpace(said.String()); err != nil && text != "" {
		err = fmt.Errorf("%s: %w: %s", program, err, text[strings.LastIndexByte(text, '\n')+1:])
	}
	return out.String(), err
}
