package main

import (
	"context"
	"flag"
	"fmt"

	"passerelle/appliance/control"
)

var deskWords = []command{
	{"code", "[--socket FILE]", "make a new code for staff to sign in at the desk; the one before no longer works, and staff are signed out", deskCode},
	{"close", "[--socket FILE]", "remove the code: staff are signed out, and cannot sign in", deskClose},
}

func deskCommand(ctx context.Context, c *cli, args []string) error {
	return subcommand(ctx, c, "desk", deskWords, args)
}

func deskCode(ctx context.Context, c *cli, args []string) error {
	var box control.Client
	if _, err := c.flags("desk code", args, 0, func(f *flag.FlagSet) { socketFlag(f, &box) }); err != nil {
		return err
	}
	code, err := box.RenewDesk(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "%s\n\nThis is the desk's new code. It is shown only now. Staff type it on the page /desk of the box.\n", code)
	return nil
}

func deskClose(ctx context.Context, c *cli, args []string) error {
	return c.act(ctx, "desk close", args, control.Client.CloseDesk, "The desk has no code any more: staff cannot sign in.")
}
