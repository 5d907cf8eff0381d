package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"passerelle/cmd/hub/registry"
	"passerelle/cmd/internal/cluster"
	"passerelle/netctl/netlab"
)

const hubCount = 3

// hubHosts are the hubs' names and addresses.
var hubHosts = [hubCount]cluster.Host{cluster.Site(0), cluster.Site(1), cluster.Site(2)}

// hubs is a cluster of hubs on the internet, as volunteers run it.
type hubs struct {
	*cluster.Cluster
	used time.Duration // CPU time of the hubs that were killed
}

// newHubs makes a fleet. Its hubs do not run before Start.
func newHubs(ctx context.Context, internet *netlab.Internet, program, dir string) (*hubs, error) {
	c, err := cluster.New(ctx, internet, program, dir, hubHosts[:]...)
	if err != nil {
		return nil, err
	}
	return &hubs{Cluster: c}, nil
}

// kill kills hubs, and adds up the CPU time that they have used.
func (h *hubs) kill(which ...int) error {
	cpu, _, err := h.usage(which...)
	h.used += cpu
	return errors.Join(err, h.Kill(which...))
}

// open opens the desk, once the hubs have made their streams.
func (h *hubs) open(ctx context.Context) error {
	_, err := until(ctx, "the hubs have made their streams", func() error { return h.Open(ctx) })
	return err
}

// streams returns the state of the streams. Its timeout is short, since a request is lost if the hub that has it is killed. Callers ask again.
func (h *hubs) streams(ctx context.Context) ([]registry.Stream, error) {
	ctx, stop := context.WithTimeout(ctx, 3*time.Second)
	defer stop()
	return h.Desk.Streams(ctx)
}

// inStep waits until every hub has all of every stream.
func (h *hubs) inStep(ctx context.Context) (time.Duration, error) {
	return until(ctx, "the hubs are in step", func() error {
		streams, err := h.streams(ctx)
		for _, s := range streams {
			if s.Current != hubCount || s.Replicas != hubCount {
				return fmt.Errorf("%d of %d hubs have all of %s", s.Current, s.Replicas, s.Name)
			}
		}
		return err
	})
}

// elected waits until every stream has a leader other than hub but.
func (h *hubs) elected(ctx context.Context, but int) error {
	_, err := until(ctx, "the hubs have chosen who writes", func() error {
		streams, err := h.streams(ctx)
		for _, s := range streams {
			if s.Leader == "" || s.Leader == filepath.Base(h.Folder(but)) {
				return fmt.Errorf("%q writes %s", s.Leader, s.Name)
			}
		}
		return err
	})
	return err
}

// association adds an association or changes its region. It tries again during a leader election.
func (h *hubs) association(ctx context.Context, name, region string) error {
	_, err := until(ctx, "the association "+name+" is in "+region, func() error { return h.Desk.AddAssociation(ctx, "Ana", name, region) })
	return err
}

// usage returns the CPU time of some hubs since they started, together, and the resident memory of each, in bytes.
func (h *hubs) usage(which ...int) (cpu time.Duration, memory []int, err error) {
	for _, i := range which {
		dir := fmt.Sprintf("/proc/%d/", h.Procs[i].Pid())
		stat, err := os.ReadFile(dir + "stat")
		if err != nil {
			return 0, nil, err
		}
		statm, err := os.ReadFile(dir + "statm")
		if err != nil {
			return 0, nil, err
		}
		// proc(5): the name, in parentheses, may have spaces; fields 14 and 15, utime and stime, are in ticks of 10 ms.
		_, after, _ := strings.Cut(string(stat), ") ")
		fields, pages := strings.Fields(after), strings.Fields(string(statm))
		if len(fields) < 13 || len(pages) < 2 {
			return 0, nil, fmt.Errorf("read %sstat: %q", dir, stat)
		}
		for _, text := range fields[11:13] {
			ticks, err := strconv.Atoi(text)
			if err != nil {
				return 0, nil, fmt.Errorf("read %sstat: %w", dir, err)
			}
			cpu += time.Duration(ticks) * 10 * time.Millisecond
		}
		resident, err := strconv.Atoi(pages[1])
		if err != nil {
			return 0, nil, fmt.Errorf("read %sstatm: %w", dir, err)
		}
		memory = append(memory, resident*os.Getpagesize())
	}
	return cpu, memory, nil
}

// processor returns the CPU time of all hubs, including what they used before they were killed. All hubs must be running.
func (h *hubs) processor() (time.Duration, error) {
	cpu, _, err := h.usage(0, 1, 2)
	return cpu + h.used, err
}

func megabytes(sizes []int) string {
	var all []string
	for _, s := range sizes {
		all = append(all, strconv.Itoa(s/1_000_000))
	}
	return strings.Join(all, ", ") + " MB"
}

// shown reads a report of each simulated box from the hubs, and returns how many of them are missing or differ from body.
func (h *hubs) shown(ctx context.Context, c *crowd, name, body string) (lost int, err error) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(32)
	missing := make([]bool, len(c.boxes))
	for i, b := range c.boxes {
		s := b.Status()
		g.Go(func() error {
			text, err := h.Desk.Report(ctx, s.Association, s.Box, name)
			missing[i] = string(text) != body
			return err
		})
	}
	err = g.Wait()
	for _, m := range missing {
		if m {
			lost++
		}
	}
	return lost, err
}
