package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"passerelle/appliance/private"
	"passerelle/cmd/hub/alerts"
	"passerelle/cmd/hub/authority"
	"passerelle/cmd/hub/node"
)

// Files of a hub's folder.
const (
	fileConfig  = "hub.toml"
	fileKeys    = "keys.json"
	fileCA      = "ca.pem"
	fileTLS     = "tls.pem"      // the certificate and its key, in one file, so that both are replaced at once
	fileMembers = "members.json" // in the store: the members when this hub last heard of them
)

// Files of a fleet's folder, beside those of its hubs.
const (
	fileBundle  = "fleet.json"
	dirOffline  = "offline"
	fileSeeds   = "seeds.json"
	fileOffline = "ca.key" // beside it: ca.pem
)

const (
	portBoxes = "443"
	portHubs  = "6222"
	portPages = "8443"
)

// config is hub.toml.
type config struct {
	Name    string   `toml:"name"`
	Listen  string   `toml:"listen"`
	Store   string   `toml:"store"`
	Disk    int64    `toml:"disk"`
	Cluster string   `toml:"cluster"`
	Hubs    []string `toml:"hubs"`

	Pages            string `toml:"pages"` // "" for none
	PagesCertificate string `toml:"pages_certificate"`
	PagesKey         string `toml:"pages_key"`
	Federation       string `toml:"federation"`

	Backups string `toml:"backups"` // a folder, "" for no backups
	Metrics string `toml:"metrics"` // HOST:PORT, "" for none

	Alerts alertsConfig `toml:"alerts"`
}

// alertsConfig is where alerts go.
type alertsConfig struct {
	Webhook string      `toml:"webhook"`
	Mail    *mailConfig `toml:"mail"`
}

type mailConfig struct {
	Server   string   `toml:"server"`
	User     string   `toml:"user"`
	Password string   `toml:"password"`
	From     string   `toml:"from"`
	To       []string `toml:"to"`
}

// channels returns the channels that are configured, none if alerts are off.
func (c alertsConfig) channels(now func() time.Time) (all []alerts.Channel, err error) {
	if c.Webhook != "" {
		if err := alerts.CheckWebhook(c.Webhook); err != nil {
			return nil, fmt.Errorf("alerts: %w", err)
		}
		all = append(all, alerts.Webhook{URL: c.Webhook})
	}
	if m := c.Mail; m != nil {
		mail := alerts.Mail{Server: m.Server, User: m.User, Password: m.Password, From: m.From, To: m.To, Now: now}
		if err := mail.Check(); err != nil {
			return nil, fmt.Errorf("alerts.mail: %w", err)
		}
		all = append(all, mail)
	}
	return all, nil
}

// folder is a hub's folder: its configuration, keys and certificates.
type folder struct {
	config
	dir    string
	keys   authority.Keys
	ca     []byte
	server authority.Pair
}

// text returns the text of a new hub.toml.
func (c config) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# A hub of the fleet. passerelle-hub run --dir FOLDER\nname = %q\n\n", c.Name)
	fmt.Fprintf(&b, "# Where boxes connect.\nlisten = %q\n\n", c.Listen)
	fmt.Fprintf(&b, "# Where the hub keeps what boxes report, and how many bytes of it.\nstore = %q\ndisk = %d\n", c.Store, c.Disk)
	if c.Cluster != "" {
		fmt.Fprintf(&b, "\n# Where the other hubs connect, and all hubs. Nobody else needs this port.\ncluster = %q\nhubs = [", c.Cluster)
		for i, h := range c.Hubs {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "%q", h)
		}
		b.WriteString("]\n")
	}
	if c.Pages != "" {
		fmt.Fprintf(&b, "\n# The pages for people, over https. Without pages_certificate and pages_key (PEM files, read again when they change)\n")
		fmt.Fprintf(&b, "# they have the hub's own certificate, and each browser asks its user once.\npages = %q\n", c.Pages)
		fmt.Fprintf(&b, "# federation = \"what it is called on the pages\"\n")
	}
	if c.Backups != "" {
		fmt.Fprintf(&b, "\n# Where each night's backup is written, the last %d are kept: copy them to another machine.\nbackups = %q\n", keepBackups, c.Backups)
	}
	b.WriteString("\n# Metrics for Prometheus, without a password: on an address that only your own network reaches.\n# metrics = \"127.0.0.1:9464\"\n")
	b.WriteString(alertsText)
	return b.String()
}

const alertsText = `
# Who is told of a box that is silent or has a fault, of a cap that was spent early, an update that fell back, a hub that is away.
# [alerts]
# webhook = "https://chat.example.org/hooks/…"
# [alerts.mail]
# server = "mail.example.org:465"
# user = "hub"
# password = "…"
# from = "hub@example.org"
# to = ["somebody@example.org"]
`

func (c config) check() error {
	addresses := append([]string{c.Listen}, c.Hubs...)
	for _, at := range []string{c.Pages, c.Metrics} {
		if at != "" {
			addresses = append(addresses, at)
		}
	}
	for _, at := range addresses {
		if _, _, err := net.SplitHostPort(at); err != nil {
			return fmt.Errorf("%q is not HOST:PORT", at)
		}
	}
	if _, err := c.Alerts.channels(time.Now); err != nil {
		return err
	}
	switch {
	case (c.PagesCertificate == "") != (c.PagesKey == ""):
		return errors.New("pages_certificate and pages_key belong together")
	case c.Name == "":
		return errors.New("name is missing")
	case c.Store == "":
		return errors.New("store is missing")
	case c.Disk <= 0:
		return errors.New("disk is missing: how many bytes may be stored")
	case (c.Cluster == "") != (len(c.Hubs) == 0):
		return errors.New("cluster and hubs belong together")
	case len(c.Hubs) != 0 && len(c.Hubs) != 3 && len(c.Hubs) != 5:
		return fmt.Errorf("%d hubs: with 3 one may fail, with 5 two; other numbers gain nothing", len(c.Hubs))
	}
	if c.Cluster != "" {
		if _, _, err := net.SplitHostPort(c.Cluster); err != nil {
			return fmt.Errorf("%q is not HOST:PORT", c.Cluster)
		}
	}
	return nil
}

// replicas returns how many hubs store each message.
func (c config) replicas() int { return max(1, min(node.Copies, len(c.Hubs))) }

func openFolder(dir string) (f folder, err error) {
	f.dir = dir
	name := filepath.Join(dir, fileConfig)
	meta, err := toml.DecodeFile(name, &f.config)
	if err != nil {
		return f, fmt.Errorf("read %s: %w", name, err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return f, fmt.Errorf("%s: there is no key %q", name, unknown[0].String())
	}
	if err := f.check(); err != nil {
		return f, fmt.Errorf("%s: %w", name, err)
	}
	for _, name := range []*string{&f.Store, &f.PagesCertificate, &f.PagesKey, &f.Backups} {
		if *name != "" && !filepath.IsAbs(*name) {
			*name = filepath.Join(dir, *name)
		}
	}
	if f.keys, err = readKeys(filepath.Join(dir, fileKeys)); err != nil {
		return f, err
	}
	if f.ca, err = os.ReadFile(filepath.Join(dir, fileCA)); err != nil {
		return f, err
	}
	f.server, err = readServer(dir)
	return f, err
}

// readKeys reads a hub's keys.
func readKeys(name string) (keys authority.Keys, err error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return keys, err
	}
	if err := json.Unmarshal(text, &keys); err != nil {
		return keys, fmt.Errorf("read %s: %w", name, err)
	}
	if err := keys.Check(); err != nil {
		return keys, fmt.Errorf("read %s: %w", name, err)
	}
	return keys, nil
}

// readServer reads a hub's certificate and its key.
func readServer(dir string) (authority.Pair, error) {
	name := filepath.Join(dir, fileTLS)
	text, err := os.ReadFile(name)
	if err != nil {
		return authority.Pair{}, err
	}
	p := authority.Pair{Certificate: text, Key: text}
	if _, err := p.TLS(); err != nil {
		return authority.Pair{}, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

// savedMembers reads the members from the hub's own file. ok is false if there is no such file.
func (f folder) savedMembers() (m authority.Members, ok bool, err error) {
	name := filepath.Join(f.Store, fileMembers)
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return m, false, nil
	}
	if err != nil {
		return m, false, err
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, false, fmt.Errorf("read %s: %w", name, err)
	}
	return m, true, nil
}

func (f folder) saveMembers(m authority.Members) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return private.WriteFile(filepath.Join(f.Store, fileMembers), append(text, '\n'), 0o600)
}
