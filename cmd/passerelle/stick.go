package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"

	"passerelle/appliance/backup"
	"passerelle/appliance/config"
	"passerelle/appliance/control"
	"passerelle/appliance/state"
	"passerelle/image/stick"
)

func stickCommand(ctx context.Context, c *cli, args []string) error {
	return subcommand(ctx, c, "stick", []command{
		{"list", "[--socket FILE]", "list the USB sticks that are plugged in, and their backups", listSticks},
		{"mark", "--passphrase-file FILE [--socket FILE] DEVICE", "mark a stick for this box, and write a backup to it; the passphrase opens that, and those of each night", markStick},
		{"write", "[--socket FILE]", "write a backup to the marked stick now", writeStick},
		{"serve", "", "", serveSticks}, // for its unit
	}, args)
}

func listSticks(ctx context.Context, c *cli, args []string) error {
	var box control.Client
	if _, err := c.flags("stick list", args, 0, func(f *flag.FlagSet) { socketFlag(f, &box) }); err != nil {
		return err
	}
	all, err := box.ListSticks(ctx)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		fmt.Fprintln(c.out, "No USB stick is plugged in.")
		return nil
	}
	var b bytes.Buffer
	for _, s := range all {
		describeStick(&b, s)
	}
	_, err = c.out.Write(b.Bytes())
	return err
}

// stickWhys are the reasons why a stick cannot be read or written, as text.
var stickWhys = map[string]string{
	string(stick.Absent): "it was pulled out", string(stick.Busy): "something else is done with it", string(stick.Damaged): "it is damaged",
	string(stick.FileSystem): "it has neither a FAT nor an exFAT file system: format it on a computer", string(stick.Slow): "it does not answer",
}

func describeStick(b *bytes.Buffer, s state.Stick) {
	fmt.Fprintf(b, "%s: ", s.Device)
	if s.Wrong != "" {
		why := stickWhys[s.Wrong]
		if why == "" {
			why = "it cannot be read"
		}
		fmt.Fprintln(b, why)
		return
	}
	fmt.Fprintf(b, "%v, %v free; ", config.Size(s.Size), config.Size(s.Free))
	switch {
	case s.Ours:
		fmt.Fprintln(b, "marked for this box")
	case s.Centre != "":
		fmt.Fprintf(b, "marked for the box %q\n", s.Centre)
	default:
		fmt.Fprintln(b, "not marked")
	}
	for _, f := range s.Backups {
		fmt.Fprintf(b, "  %s, %v\n", f.Name, config.Size(f.Size))
	}
}

func markStick(ctx context.Context, c *cli, args []string) error {
	var b backupFlags
	words, err := c.flags("stick mark", args, 1, func(f *flag.FlagSet) {
		socketFlag(f, &b.box)
		f.StringVar(&b.passphrase, "passphrase-file", "", "a `FILE` whose first line is the passphrase")
	})
	if err != nil {
		return err
	}
	if len(words) == 0 {
		return usageError{errors.New("passerelle stick mark: name the device, as passerelle stick list does")}
	}
	passphrase, err := b.readPassphrase()
	if err != nil {
		return err
	}
	if err := backup.CheckPassphrase(passphrase); err != nil {
		return usageError{fmt.Errorf("passerelle stick mark: --passphrase-file: %w", err)}
	}
	if err := b.box.MarkStick(ctx, words[0], passphrase); err != nil {
		return err
	}
	fmt.Fprintln(c.out, "The stick is marked, and has a backup. The box writes one to it each night, as long as it is plugged in.\n"+
		"Nobody can open them without the passphrase, which the box does not keep.")
	return nil
}

func writeStick(ctx context.Context, c *cli, args []string) error {
	var box control.Client
	if _, err := c.flags("stick write", args, 0, func(f *flag.FlagSet) { socketFlag(f, &box) }); err != nil {
		return err
	}
	if err := box.WriteStick(ctx); err != nil {
		return err
	}
	fmt.Fprintln(c.out, "A backup is written to the USB stick.")
	return nil
}

// openedSocket returns the socket that systemd opened, and for which it starts this program when the daemon connects
// (sd_listen_fds(3)). If it is started in another way, the error names what starts it.
func openedSocket(starts string) (net.Listener, error) {
	if os.Getenv("LISTEN_FDS") != "1" || os.Getenv("LISTEN_PID") != fmt.Sprint(os.Getpid()) {
		return nil, usageError{errors.New(starts)}
	}
	const listenFD = 3 // SD_LISTEN_FDS_START
	f := os.NewFile(listenFD, "socket")
	l, err := net.FileListener(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // it is systemd's
	}
	return l, nil
}

// serveSticks mounts sticks for the daemon.
func serveSticks(ctx context.Context, c *cli, args []string) error {
	dir := ""
	if _, err := c.flags("stick serve", args, 0, func(f *flag.FlagSet) {
		f.StringVar(&dir, "mount", "/run/passerelle-stick", "mount sticks below this `DIR`")
	}); err != nil {
		return err
	}
	l, err := openedSocket("passerelle stick serve: passerelle-stick.socket starts it")
	if err != nil {
		return err
	}
	s := &stick.Server{Machine: os.DirFS("/"), Mount: stick.MountIn(dir), Log: slog.New(slog.NewTextHandler(c.err, nil))}
	return s.Serve(ctx, l)
}
