package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"passerelle/appliance/private"
	"passerelle/cmd/hub/authority"
	"passerelle/cmd/internal/cli"
)

const (
	defaultDisk = 8 << 30 // bytes: a year of reports from 1,300 boxes takes 1 GB
	dirState    = "/var/lib/passerelle-hub"
)

// initFleet makes a fleet: a folder for each hub, what boxes need, and what stays offline.
func initFleet(t *tool, args []string) error {
	words, err := cli.Parse(args, -1, func(*flag.FlagSet) {})
	if err != nil {
		return err
	}
	if len(words) < 2 {
		return cli.Wrong(errors.New("name a new folder and the hubs' hosts"))
	}
	dir, hosts := words[0], words[1:]
	if len(hosts) != 1 && len(hosts) != 3 && len(hosts) != 5 {
		return cli.Wrong(fmt.Errorf("a fleet has 1, 3 or 5 hubs, not %d", len(hosts)))
	}
	keys, seeds, err := authority.New(rand.Reader)
	if err != nil {
		return err
	}
	ca, err := authority.NewCA(t.now())
	if err != nil {
		return err
	}
	var hubs, quoted []string
	for _, h := range hosts {
		hubs = append(hubs, net.JoinHostPort(h, portHubs))
		quoted = append(quoted, strconv.Quote(strings.ToLower(h)))
	}
	bundle, err := keys.Bundle(ca.Certificate, rand.Reader)
	if err != nil {
		return err
	}
	// This fails if the folder exists: it may hold a fleet's keys, which must not be overwritten.
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	write := func(content any, name ...string) error {
		text, ok := content.([]byte)
		if !ok {
			var err error
			if text, err = json.MarshalIndent(content, "", "  "); err != nil {
				return err
			}
			text = append(text, '\n')
		}
		file := filepath.Join(append([]string{dir}, name...)...)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
		return private.WriteFile(file, text, 0o600)
	}
	for i, h := range hosts {
		server, err := ca.Host(h, t.now())
		if err != nil {
			return err
		}
		c := config{Name: fmt.Sprintf("hub-%d", i+1), Listen: net.JoinHostPort("", portBoxes), Store: filepath.Join(dirState, "store"), Disk: defaultDisk,
			Pages: net.JoinHostPort("", portPages), Backups: filepath.Join(dirState, "backups")}
		if len(hosts) > 1 {
			c.Cluster, c.Hubs = net.JoinHostPort("", portHubs), hubs
		}
		if err := errors.Join(
			write([]byte(c.text()), c.Name, fileConfig), write(keys, c.Name, fileKeys), write(ca.Certificate, c.Name, fileCA),
			write(server.One(), c.Name, fileTLS)); err != nil {
			return err
		}
	}
	if err := errors.Join(write(bundle, fileBundle), write(seeds, dirOffline, fileSeeds),
		write(ca.Key, dirOffline, fileOffline), write(ca.Certificate, dirOffline, fileCA), private.SyncFolder(dir)); err != nil {
		return err
	}
	fmt.Fprintf(t.out, "The fleet is made in %s:\n", dir)
	for i, h := range hosts {
		fmt.Fprintf(t.out, "  hub-%d       copy it to %s as /etc/passerelle-hub\n", i+1, h)
	}
	fmt.Fprintf(t.out, "  %s  the boxes' part, which is no secret; their configuration says where the hubs are:\n", fileBundle)
	fmt.Fprintf(t.out, "              [fleet]\n              hubs = [%s]\n", strings.Join(quoted, ", "))
	fmt.Fprintf(t.out, "  %s     two copies in two places, on no machine: it replaces keys that were stolen, and makes certificates\n", dirOffline)
	return nil
}
