package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"passerelle/appliance/fleet/protocol"
	"passerelle/cmd/hub/authority"
	"passerelle/cmd/hub/registry"
	"passerelle/netctl/netlab"
)

const hubCount = 3

// hubAddrs are the hubs' addresses on the internet, of a block for documentation (RFC 5737).
var hubAddrs = [hubCount]netip.Addr{
	netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("198.51.100.3"),
}

func hubName(i int) string { return fmt.Sprintf("hub%d.example.com", i+1) }

// hubs are a cluster on the internet, run by the hub's program, as volunteers do.
type hubs struct {
	internet *netlab.Internet
	program  string
	dir      string // of the fleet
	bundle   protocol.Bundle
	procs    [hubCount]*netlab.Proc
	used     time.Duration // of the processor, by hubs that were killed
	keys     authority.Keys
	desk     *registry.Registry
	closers  []func()
}

// newHubs makes a fleet. start starts its hubs.
func newHubs(ctx context.Context, internet *netlab.Internet, program, dir string) (*hubs, error) {
	h := &hubs{internet: internet, program: program, dir: dir}
	argv := []string{program, "init", dir}
	for i, addr := range hubAddrs {
		argv = append(argv, hubName(i))
		internet.Names.Set(hubName(i), addr)
		if err := internet.AddAddress("lo", netip.PrefixFrom(addr, addr.BitLen())); err != nil {
			return nil, err
		}
	}
	if err := internet.SetResolvers(netlab.DNSAddr); err != nil {
		return nil, err
	}
	if _, err := internet.Run(ctx, argv...); err != nil {
		return nil, err
	}
	for i, addr := range hubAddrs {
		file := filepath.Join(h.folder(i), "hub.toml")
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		// One machine has all three: each listens on its own address only, and has its own state. A NATS server takes a route to an
		// address of its own machine and its own port for itself, so the ports for other hubs differ.
		change := []string{`":6222"`, fmt.Sprintf(`"%s:%d"`, addr, 6222+i), `":`, `"` + addr.String() + `:`, "/var/lib/passerelle-hub", h.folder(i)}
		for k := range hubCount {
			change = append(change, hubName(k)+":6222", fmt.Sprintf("%s:%d", hubName(k), 6222+k))
		}
		text = []byte(strings.NewReplacer(change...).Replace(string(text)))
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return nil, err
		}
	}
	text, err := os.ReadFile(h.boxesPart())
	if err == nil {
		h.bundle, err = protocol.ParseBundle(text)
	}
	return h, err
}

// boxesPart is the file that every box has.
func (h *hubs) boxesPart() string { return filepath.Join(h.dir, "fleet.json") }

func (h *hubs) folder(i int) string { return filepath.Join(h.dir, fmt.Sprintf("hub-%d", i+1)) }

func (h *hubs) start(which ...int) (err error) {
	for _, i := range which {
		if h.procs[i], err = h.internet.Start(h.program, "run", "--dir", h.folder(i)); err != nil {
			return err
		}
	}
	return nil
}

// kill kills hubs (SIGKILL), at once.
func (h *hubs) kill(which ...int) error {
	cpu, _, err := h.usage(which...)
	h.used += cpu
	for _, i := range which {
		err = errors.Join(err, h.procs[i].Signal(syscall.SIGKILL))
	}
	for _, i := range which {
		<-h.procs[i].Exited()
	}
	return err
}

// run runs a command of hub i, such as "box revoke".
func (h *hubs) run(ctx context.Context, i int, command string, args ...string) (string, error) {
	argv := append([]string{h.program}, strings.Fields(command)...)
	return h.internet.Run(ctx, append(append(argv, "--dir", h.folder(i), "--as", "Ana"), args...)...)
}

// dial connects to a hub by its name, which only the fleet has.
func (h *hubs) dial(ctx context.Context, network, address string) (net.Conn, error) {
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	for i, addr := range hubAddrs {
		if name == hubName(i) {
			name = addr.String()
		}
	}
	return h.internet.Dial(ctx, network, net.JoinHostPort(name, port))
}

func hubList() (all []string) {
	for i := range hubCount {
		all = append(all, net.JoinHostPort(hubName(i), "443"))
	}
	return all
}

// open connects the desk: what people do at a hub's command line, without a program for each box. It goes on with another hub
// if its own is away.
func (h *hubs) open(ctx context.Context) (err error) {
	o := registry.Options{Now: time.Now}
	text, err := os.ReadFile(filepath.Join(h.folder(0), "keys.json"))
	if err == nil {
		err = json.Unmarshal(text, &o.Keys)
	}
	if err != nil {
		return err
	}
	h.keys = o.Keys
	for account, c := range map[authority.Account]**nats.Conn{authority.Hub: &o.Hub, authority.Fleet: &o.Fleet} {
		if *c, err = h.connect(o.Keys, account); err != nil {
			return err
		}
		h.closers = append(h.closers, (*c).Close)
	}
	_, err = until(ctx, "the hubs have made their streams", func() (err error) {
		h.desk, err = registry.Open(ctx, o)
		return err
	})
	return err
}

func (h *hubs) connect(keys authority.Keys, a authority.Account) (*nats.Conn, error) {
	token, pair, err := keys.User(a, "desk", rand.Reader)
	if err != nil {
		return nil, err
	}
	pool, err := h.bundle.Pool()
	if err != nil {
		return nil, err
	}
	return nats.Connect("tls://"+strings.Join(hubList(), ",tls://"), nats.DontRandomize(), nats.TLSHandshakeFirst(), nats.IgnoreDiscoveredServers(),
		nats.Secure(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}), nats.SkipHostLookup(), nats.SetCustomDialer(deskDialer{h}),
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(200*time.Millisecond),
		nats.UserJWT(func() (string, error) { return token, nil }, pair.Sign))
}

type deskDialer struct{ *hubs }

// Dial implements nats.CustomDialer.
func (d deskDialer) Dial(network, address string) (net.Conn, error) {
	ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
	defer stop()
	return d.dial(ctx, network, address)
}

// streams returns how the streams are. A question that a hub which dies took along is not waited for long: it is asked again.
func (h *hubs) streams(ctx context.Context) ([]registry.Stream, error) {
	ctx, stop := context.WithTimeout(ctx, 3*time.Second)
	defer stop()
	return h.desk.Streams(ctx)
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

// elected waits until another hub than this one writes first, in every stream.
func (h *hubs) elected(ctx context.Context, but int) error {
	_, err := until(ctx, "the hubs have chosen who writes", func() error {
		streams, err := h.streams(ctx)
		for _, s := range streams {
			if s.Leader == "" || s.Leader == filepath.Base(h.folder(but)) {
				return fmt.Errorf("%q writes %s", s.Leader, s.Name)
			}
		}
		return err
	})
	return err
}

// association adds an association or changes its region, and tries again while hubs choose who writes.
func (h *hubs) association(ctx context.Context, name, region string) error {
	_, err := until(ctx, "the association "+name+" is in "+region, func() error { return h.desk.AddAssociation(ctx, "Ana", name, region) })
	return err
}

// usage returns what hubs have used of the processor since they started, and how many bytes of memory each has.
func (h *hubs) usage(which ...int) (cpu time.Duration, memory []int, err error) {
	for _, i := range which {
		dir := fmt.Sprintf("/proc/%d/", h.procs[i].Pid())
		stat, err := os.ReadFile(dir + "stat")
		if err != nil {
			return 0, nil, err
		}
		statm, err := os.ReadFile(dir + "statm")
		if err != nil {
			return 0, nil, err
		}
		// proc(5): the name, in parentheses, may have spaces; fields 14 and 15 are in ticks, of which there are 100 a second.
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

// processor returns what all hubs have used, also before they were killed. All of them run.
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

// shown reads what the hubs show of many boxes, and returns how many reports are not there or differ.
func (h *hubs) shown(ctx context.Context, c *crowd, name, body string) (lost int, err error) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(32)
	missing := make([]bool, len(c.boxes))
	for i, b := range c.boxes {
		s := b.Status()
		g.Go(func() error {
			text, err := h.desk.Report(ctx, s.Association, s.Box, name)
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

func (h *hubs) close() {
	for _, f := range h.closers {
		f()
	}
}
