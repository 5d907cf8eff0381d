package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"passerelle/appliance/private"
	"passerelle/captive/web"
	"passerelle/cmd/hub/dashboard"
	"passerelle/cmd/hub/metrics"
	"passerelle/cmd/hub/registry"
	"passerelle/cmd/hub/survey"
)

const (
	atOnce   = 8 // requests that are served at once
	goodbye  = 5 * time.Second
	federate = "Passerelle" // the federation's name if hub.toml has none
)

// servePages serves the dashboard, if hub.toml has an address for it, until ctx ends.
func (h *hub) servePages(ctx context.Context, r *registry.Registry, known *survey.Fleet) error {
	if h.Pages == "" {
		return nil
	}
	own := filepath.Join(h.dir, fileTLS)
	c := &certificate{file: cmp.Or(h.PagesCertificate, own), key: cmp.Or(h.PagesKey, own)}
	pair, err := c.get()
	if err != nil {
		return err
	}
	federation := h.Federation
	if federation == "" {
		federation = federate
	}
	pages := dashboard.New(dashboard.Options{
		Registry: r, Survey: known, Federation: federation, Hosts: dashboard.Hosts(pair.Leaf.DNSNames, pair.Leaf.IPAddresses),
		Now: h.now, Log: h.log,
	})
	l, err := net.Listen("tcp", h.Pages)
	if err != nil {
		return fmt.Errorf("serve the pages: %w", err)
	}
	h.log.Info("the pages are served", "at", l.Addr().String())
	secure := tls.NewListener(web.Limit(l, web.NewSlots(atOnce)), &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.get() },
	})
	return serveUntil(ctx, web.NewServer(pages, h.log), secure)
}

// serveMetrics serves the metrics, if hub.toml has an address for them, until ctx ends.
func (h *hub) serveMetrics(ctx context.Context, r *registry.Registry, known *survey.Fleet) error {
	if h.Metrics == "" {
		return nil
	}
	l, err := net.Listen("tcp", h.Metrics)
	if err != nil {
		return fmt.Errorf("serve the metrics: %w", err)
	}
	h.log.Info("the metrics are served", "at", l.Addr().String())
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics.Handler(metrics.Source{
		Boxes: known.Boxes, Streams: r.Streams, Connections: h.node.Connections, Now: h.now, Log: h.log,
	}))
	return serveUntil(ctx, web.NewServer(mux, h.log), web.Limit(l, web.NewSlots(atOnce)))
}

// serveUntil serves until ctx ends, and then waits for in-flight requests, for at most goodbye.
func serveUntil(ctx context.Context, s *http.Server, l net.Listener) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		bye, stop := context.WithTimeout(context.Background(), goodbye)
		defer stop()
		if err := s.Shutdown(bye); err != nil {
			return s.Close()
		}
		return nil
	})
	return g.Wait()
}

// certificate is a certificate from files that somebody else renews. The files are read again when they change. While they are
// incomplete or do not match, the previous certificate is served.
type certificate struct {
	file, key string // may be one file

	mu   sync.Mutex
	at   string // the edition of the files that pair was read from
	pair *tls.Certificate
}

func (c *certificate) get() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, err := edition(c.file, c.key)
	if err == nil && c.pair != nil && at == c.at {
		return c.pair, nil
	}
	var pair tls.Certificate
	if err == nil {
		pair, err = tls.LoadX509KeyPair(c.file, c.key)
	}
	if err != nil && c.pair != nil {
		return c.pair, nil // somebody may be writing it: the next handshake reads it again
	}
	if err != nil {
		return nil, fmt.Errorf("read a certificate: %w", err)
	}
	c.pair, c.at = &pair, at
	return c.pair, nil
}

// edition returns a text that changes when either file does.
func edition(file, key string) (string, error) {
	a, err := private.Edition(file)
	b, err2 := private.Edition(key)
	return a + " " + b, errors.Join(err, err2)
}
