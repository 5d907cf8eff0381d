package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"passerelle/cmd/hub/alerts"
	"passerelle/cmd/hub/authority"
	"passerelle/cmd/hub/node"
	"passerelle/cmd/hub/registrar"
	"passerelle/cmd/hub/registry"
	"passerelle/cmd/hub/stages"
	"passerelle/cmd/hub/survey"
	"passerelle/cmd/internal/cli"
)

func run(t *tool, args []string) error {
	var dir string
	var verbose bool
	if _, err := cli.Parse(args, 0, func(f *flag.FlagSet) {
		dirFlag(f, &dir)
		f.BoolVar(&verbose, "verbose", false, "log what the server does")
	}); err != nil {
		return err
	}
	f, err := openFolder(dir)
	if err != nil {
		return cli.Wrong(err)
	}
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(t.err, &slog.HandlerOptions{Level: level}))
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	h, err := startHub(f, t.now, log)
	if err != nil {
		return err
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		go h.boundMemory(ctx)
	}
	fmt.Fprintf(t.out, "listening on %s\n", h.node.Addr())
	return h.serve(ctx)
}

// hub is a running server, with its configuration and its own connections to it.
type hub struct {
	folder
	now     func() time.Time
	log     *slog.Logger
	node    *node.Node
	options registry.Options
}

// startHub starts a server, which listens when this returns. The caller must then call serve, which also stops it.
func startHub(f folder, now func() time.Time, log *slog.Logger) (*hub, error) {
	if err := os.MkdirAll(f.Store, 0o700); err != nil {
		return nil, err
	}
	// Until this hub hears from the others, it goes by the members that it last heard of: after a power cut the others may be away for
	// hours.
	members, _, err := f.savedMembers()
	if err != nil {
		return nil, err
	}
	h := &hub{folder: f, now: now, log: log}
	if h.node, err = node.Start(node.Options{
		Name: f.Name, Listen: f.Listen, Cluster: f.Cluster, Routes: f.Hubs, Store: f.Store, Disk: f.Disk,
		TLS: f.server, Roots: f.ca, Keys: f.keys, Members: members, Now: now, Log: log,
	}); err != nil {
		return nil, err
	}
	h.options = registry.Options{Keys: f.keys, Now: now}
	h.options.Hub, err = h.node.Connect(authority.Hub)
	if err == nil {
		h.options.Fleet, err = h.node.Connect(authority.Fleet)
	}
	if err != nil {
		h.stop()
		return nil, err
	}
	return h, nil
}

func (h *hub) stop() {
	if h.options.Hub != nil {
		h.options.Hub.Close()
	}
	if h.options.Fleet != nil {
		h.options.Fleet.Close()
	}
	h.node.Stop()
}

// again is the delay before a hub retries something that needs the other hubs.
const again = time.Second

// serve creates the streams once enough hubs have joined. Then it answers boxes that ask for a membership, follows the members, and does
// all else that hub.toml asks for, until ctx ends. It stops the server when it returns. Boxes that are members already need none of this:
// the server itself serves them.
func (h *hub) serve(ctx context.Context) error {
	defer h.stop()
	r, err := h.open(ctx)
	if err != nil || r == nil {
		return err
	}
	tell, err := h.Alerts.channels(h.now)
	if err != nil {
		return err
	}
	h.log.Info("the hub is ready", "boxes", h.node.Addr())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return registrar.Serve(ctx, h.options.Hub, r, h.now, h.log) })
	g.Go(func() error {
		return h.retry(ctx, "follow the members", func(ctx context.Context) error {
			return r.WatchMembers(ctx, func(m authority.Members) error {
				return errors.Join(h.saveMembers(m), h.node.SetMembers(m))
			})
		})
	})
	g.Go(func() error {
		h.renew(ctx, r)
		return nil
	})
	g.Go(func() error {
		h.node.Guard(ctx)
		return nil
	})
	if h.Backups != "" {
		g.Go(func() error {
			h.backUp(ctx, r)
			return nil
		})
	}
	known := &survey.Fleet{Now: h.now}
	g.Go(func() error {
		return h.retry(ctx, "follow the boxes", func(ctx context.Context) error { return r.Follow(ctx, known) })
	})
	g.Go(func() error {
		stages.Run(ctx, stages.Options{Registry: r, Boxes: known.Boxes, News: known.FellBack(), Whole: known.IsWhole, Leads: h.node.Leads, Now: h.now, Log: h.log})
		return nil
	})
	// A failure of the pages must not end the hub, since boxes need it.
	g.Go(func() error {
		return h.retry(ctx, "serve the pages", func(ctx context.Context) error { return h.servePages(ctx, r, known) })
	})
	g.Go(func() error {
		return h.retry(ctx, "serve the metrics", func(ctx context.Context) error { return h.serveMetrics(ctx, r, known) })
	})
	if len(tell) > 0 {
		g.Go(func() error {
			alerts.Run(ctx, alerts.Options{Memory: r, Channels: tell, Now: h.now, Log: h.log,
				Events: func(ctx context.Context) ([]alerts.Event, error) {
					away, err := r.Away(ctx)
					x, _, err2 := r.Rollout(ctx)
					hubs, err3 := r.Hubs(ctx)
					events := append(alerts.Of(known.Boxes(), away, h.now()), alerts.OfRollout(x)...)
					return append(events, alerts.OfCertificates(hubs, h.now())...), errors.Join(err, err2, err3)
				}})
			return nil
		})
	}
	return g.Wait()
}

// open creates the streams if this hub leads, and opens the registry, as soon as enough hubs have joined. It returns nil if ctx ends
// first.
func (h *hub) open(ctx context.Context) (r *registry.Registry, err error) {
	saved, ok, err := h.savedMembers()
	if err != nil {
		return nil, err
	}
	err = h.retry(ctx, "open the registry", func(ctx context.Context) error {
		if !h.node.Joined() {
			return errors.New("too few hubs have found each other")
		}
		// Only the leader creates the streams: when several hubs create the same one, answers are lost, and each costs a timeout.
		if h.node.Leads() {
			if err := registry.Create(ctx, h.options, h.replicas()); err != nil {
				return err
			}
		}
		opened, err := registry.Open(ctx, h.options)
		if err != nil {
			return err
		}
		if h.node.Leads() {
			if err := opened.NoteKeys(ctx); err != nil {
				return err
			}
		}
		if ok {
			_, revision, err := opened.Members(ctx)
			if err == nil && revision == 0 {
				err = opened.Restore(ctx, saved)
			}
			if err != nil {
				return err
			}
		}
		r = opened
		return nil
	})
	return r, err
}

// retry calls do until it succeeds or ctx ends. It logs a failure only if it differs from the one before.
func (h *hub) retry(ctx context.Context, what string, do func(context.Context) error) error {
	for last := ""; ; {
		err := do(ctx)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		if err.Error() != last {
			last = err.Error()
			h.log.Warn(what+": trying again", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(again):
		}
	}
}
