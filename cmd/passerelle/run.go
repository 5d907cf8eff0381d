package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"time"

	"passerelle/appliance/daemon"
)

// run runs the daemon.
func run(ctx context.Context, c *cli, args []string) error {
	o := daemon.Options{Release: release(), Built: built(), Hangups: c.hangups}
	var verbose bool
	if _, err := c.flags("run", args, 0, func(f *flag.FlagSet) {
		f.StringVar(&o.Config, "config", defaultConfig, "the configuration `FILE`")
		f.StringVar(&o.State, "state", defaultState, "the `DIR` for persistent state")
		f.StringVar(&o.Socket, "socket", defaultSocket, "the control socket, a `FILE`; its folder must be in memory")
		f.StringVar(&o.Root, "root", rootFile, "the root of trust that this system was built with, a `FILE`")
		f.BoolVar(&o.Setup, "setup", false, "without a configuration, wait for one in State setup instead of failing")
		f.BoolVar(&verbose, "verbose", false, "log kernel changes")
	}); err != nil {
		return err
	}
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	bounded := daemon.NewLog(c.err, level)
	defer bounded.Close()
	o.Log, o.Book = slog.New(bounded), bounded.Book
	d, err := daemon.New(o)
	if err != nil {
		return err
	}
	if err := d.Refused(); err != nil {
		fmt.Fprintln(c.err, err) // each problem
	}
	if conf, configured := d.Config(); configured {
		c.warnOfReaders(o.Config, conf)
		c.warnOfUser()
		c.warnOfMisfits(o.Log, conf)
	}
	return d.Run(ctx)
}

// forget is the process that a stopping daemon leaves behind: it deletes the saved sessions unless another daemon restores them.
func forget(ctx context.Context, c *cli, args []string) error {
	var socket string
	var after time.Duration
	if _, err := c.flags("forget", args, 0, func(f *flag.FlagSet) {
		f.StringVar(&socket, "socket", defaultSocket, "the daemon's control socket, a `FILE`")
		f.DurationVar(&after, "after", daemon.HandoverTTL, "how long after the daemon's end")
	}); err != nil {
		return err
	}
	return daemon.ForgetAfter(ctx, socket, after)
}
