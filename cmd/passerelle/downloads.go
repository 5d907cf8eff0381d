package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"time"

	"passerelle/appliance/control"
	"passerelle/appliance/state"
)

// followEvery is the interval of requests for the status of a running download.
const followEvery = 200 * time.Millisecond

// fetchNow returns the subcommand "fetch" of a command. It immediately downloads the file whose address is in that section of the
// configuration.
func fetchNow(name string) func(ctx context.Context, c *cli, args []string) error {
	return func(ctx context.Context, c *cli, args []string) error {
		var box control.Client
		if _, err := c.flags(name+" fetch", args, 0, func(f *flag.FlagSet) { socketFlag(f, &box) }); err != nil {
			return err
		}
		if err := box.Fetch(ctx, name); err != nil {
			return err
		}
		d, err := followDownload(ctx, box, name, showProgress(c.err))
		switch {
		case ctx.Err() != nil:
			return errors.New("the download goes on; passerelle status shows how it ends")
		case err != nil:
			return err
		case d.Error != "":
			return fmt.Errorf("nothing is changed: %s (%s of the line were used)", d.Error, round(d.Bytes))
		}
		fmt.Fprintf(c.out, "%s, from %s; %s of the line were used\n", downloaded(d), d.From, round(d.Bytes))
		return nil
	}
}

// followDownload waits for the end of a download, and returns its final state.
func followDownload(ctx context.Context, box control.Client, name string, progress func(done, all int64)) (state.Download, error) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		s, err := box.Status(ctx)
		if err != nil {
			return state.Download{}, err
		}
		i := slices.IndexFunc(s.Downloads, func(d state.Download) bool { return d.Name == name })
		if i < 0 {
			return state.Download{}, fmt.Errorf("[%s] url has been removed from the configuration", name)
		}
		d := s.Downloads[i]
		if !d.Running {
			return d, nil
		}
		if d.Size != 0 {
			progress(int64(min(d.Bytes, d.Size)), int64(d.Size))
		}
		select {
		case <-ctx.Done():
			return d, ctx.Err()
		case <-tick.C:
		}
	}
}

// downloaded says what the last successful download resulted in.
func downloaded(d state.Download) string {
	if d.Unchanged {
		return d.Result + ", unchanged"
	}
	return d.Result
}

// describeDownloads lists the files that the box keeps up to date.
func describeDownloads(b *bytes.Buffer, s state.Status) {
	const day = "Mon 2 Jan 15:04"
	for _, d := range s.Downloads {
		what := d.Name
		if what == "fleet" {
			what = "releases"
		}
		fmt.Fprintf(b, "\ndownload of %s, from %s: ", what, d.From)
		switch {
		case d.Running && d.Size != 0:
			fmt.Fprintf(b, "running, %s of about %s\n", round(d.Bytes), round(d.Size))
		case d.Running:
			fmt.Fprintf(b, "running, %s\n", round(d.Bytes))
		case d.Done.IsZero():
			b.WriteString("none yet\n")
		default:
			fmt.Fprintf(b, "%s, on %s\n", downloaded(d), d.Done.Format(day))
		}
		if d.Error != "" {
			fmt.Fprintf(b, "  the last one failed, on %s: %s\n", d.Tried.Format(day), d.Error)
		}
		if d.Waits != "" {
			fmt.Fprintf(b, "  none begins now: %s\n", waits(d.Waits))
		} else if !d.Next.IsZero() && !d.Running {
			fmt.Fprintf(b, "  the next one is due on %s\n", d.Next.Format(day))
		}
	}
}
