package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"passerelle/appliance/private"
	"passerelle/cmd/hub/authority"
	"passerelle/cmd/hub/registry"
	"passerelle/cmd/internal/cli"
)

// makeCertificate makes a new certificate for a hub. No hub can do that on its own, since the authority's key is on none.
func makeCertificate(t *tool, args []string) error {
	words, err := cli.Parse(args, 3, func(*flag.FlagSet) {})
	if err != nil {
		return err
	}
	var ca authority.Pair
	if ca.Certificate, err = os.ReadFile(filepath.Join(words[0], fileCA)); err == nil {
		ca.Key, err = os.ReadFile(filepath.Join(words[0], fileOffline))
	}
	if err != nil {
		return cli.Wrong(err)
	}
	if _, err := ca.TLS(); err != nil {
		return cli.Wrong(fmt.Errorf("%s: %w", words[0], err))
	}
	server, err := ca.Host(words[1], t.now())
	if err != nil {
		return err
	}
	if err := writeNew(words[2], server.One()); err != nil {
		return err
	}
	end, err := server.End()
	if err != nil {
		return err
	}
	fmt.Fprintf(t.out, "The certificate of %s holds until %s. Put %s at that hub, as /etc/passerelle-hub/%s.\n", words[1], day(end), words[2], fileTLS)
	return nil
}

// replaceKeys makes new keys for a fleet whose secret was stolen.
func replaceKeys(t *tool, args []string) error {
	var author string
	words, err := cli.Parse(args, 3, func(f *flag.FlagSet) { asFlag(f, &author) })
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(words[0], fileSeeds))
	if err != nil {
		return cli.Wrong(err)
	}
	var offline authority.Offline
	if err := json.Unmarshal(text, &offline); err != nil {
		return cli.Wrong(fmt.Errorf("read %s: %w", filepath.Join(words[0], fileSeeds), err))
	}
	keys, err := readKeys(words[1])
	if err != nil {
		return cli.Wrong(err)
	}
	if keys, err = keys.Replace(offline, author, t.now(), rand.Reader); err != nil {
		return err
	}
	if text, err = json.MarshalIndent(keys, "", "  "); err != nil {
		return err
	}
	if err := writeNew(words[2], append(text, '\n')); err != nil {
		return err
	}
	fmt.Fprintf(t.out, "Stop all hubs, put %s at each as /etc/passerelle-hub/%s, and start them.\n", words[2], fileKeys)
	return nil
}

// writeNew writes a secret to a new file, with mode 0600. It is an error if the file exists.
func writeNew(name string, text []byte) error {
	if _, err := os.Lstat(name); err == nil {
		return fmt.Errorf("%s exists already", name)
	}
	return private.WriteFile(name, text, 0o600)
}

// every is how often a hub checks its certificate's file for a new certificate.
const every = 5 * time.Second

// renew starts to serve a new certificate when somebody puts one into the hub's folder, and tells the other hubs when it ends. It runs
// until ctx ends.
func (h *hub) renew(ctx context.Context, r *registry.Registry) {
	for told, failed := (time.Time{}), ""; ; {
		end, err := h.renewOnce(ctx, r, told)
		if err == nil {
			told, failed = end, ""
		} else if ctx.Err() == nil && err.Error() != failed {
			failed = err.Error()
			h.log.Warn("the hub's certificate", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(every):
		}
	}
}

// renewOnce serves the certificate in the hub's folder and writes its end into the registry, unless that end is told, the one that was
// written last. It returns the end that is in the registry now.
func (h *hub) renewOnce(ctx context.Context, r *registry.Registry, told time.Time) (time.Time, error) {
	p, err := readServer(h.dir)
	if err != nil {
		return told, err // somebody may be writing it: the previous one is served
	}
	end, err := p.End()
	if err != nil {
		return told, err
	}
	if end.Equal(told) {
		return told, nil
	}
	if !told.IsZero() && h.now().After(end) {
		return told, errors.New("the new file's certificate has ended")
	}
	if err := p.Belongs(h.ca); err != nil {
		return told, err
	}
	if err := h.node.SetCertificate(p); err != nil {
		return told, err
	}
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	if err := r.PutHub(ctx, h.Name, end); err != nil {
		return told, err
	}
	h.log.Info("the hub's certificate", "until", day(end))
	return end, nil
}
