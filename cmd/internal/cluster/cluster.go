// Package cluster runs a fleet's hubs by their real program on the internet of a netlab world, for the benchmarks and the fleet's
// demo. It owns how a fleet is made, and how its hubs are started, killed, reached and asked; what is done with them is theirs.
package cluster

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
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"passerelle/appliance/fleet/protocol"
	"passerelle/cmd/hub/authority"
	"passerelle/cmd/hub/registry"
	"passerelle/cmd/internal/box"
	"passerelle/netctl/netlab"
)

// Host is where a hub is.
type Host struct {
	Name string
	Addr netip.Addr
}

// Site is host number i, from 0 to 253, of a block for documentation (RFC 5737): hub1.example.com at 198.51.100.1.
func Site(i int) Host {
	return Host{fmt.Sprintf("hub%d.example.com", i+1), netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)})}
}

// Section is what the configuration of a box says of a fleet with these hubs.
func Section(hosts ...Host) string {
	var names []string
	for _, h := range hosts {
		names = append(names, strconv.Quote(h.Name))
	}
	return "\n[fleet]\nhubs = [" + strings.Join(names, ", ") + "]\n"
}

// Cluster are the hubs of a fleet.
type Cluster struct {
	Internet *netlab.Internet
	Hosts    []Host
	Bundle   protocol.Bundle
	Procs    []*netlab.Proc     // of the hubs; nil before a hub was started
	Keys     authority.Keys     // since Open
	Desk     *registry.Registry // what people do at a hub's command line, without a program for each; nil unless Open has opened it

	program, dir string
	connections  []*nats.Conn // of the desk
}

// New makes a fleet in a new folder, with a hub at each host: 1, 3 or 5. Start starts them. program is the hub's.
func New(ctx context.Context, internet *netlab.Internet, program, dir string, hosts ...Host) (*Cluster, error) {
	c := &Cluster{Internet: internet, Hosts: hosts, Procs: make([]*netlab.Proc, len(hosts)), program: program, dir: dir}
	argv := []string{program, "init", dir}
	for _, h := range hosts {
		argv = append(argv, h.Name)
		internet.Names.Set(h.Name, h.Addr)
		if err := internet.AddAddress("lo", netip.PrefixFrom(h.Addr, h.Addr.BitLen())); err != nil {
			return nil, err
		}
	}
	if err := internet.SetResolvers(netlab.DNSAddr); err != nil {
		return nil, err
	}
	if _, err := internet.Run(ctx, argv...); err != nil {
		return nil, err
	}
	for i, h := range hosts {
		file := filepath.Join(c.Folder(i), "hub.toml")
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		// One machine has all hubs: each listens on its own address only, and has its own state. A NATS server takes a route to an
		// address of its own machine and its own port for itself, so the ports for other hubs differ.
		change := []string{
			`":6222"`, fmt.Sprintf(`"%s:%d"`, h.Addr, 6222+i), `":`, `"` + h.Addr.String() + `:`, "/var/lib/passerelle-hub", c.Folder(i),
		}
		for k, other := range hosts {
			change = append(change, other.Name+":6222", fmt.Sprintf("%s:%d", other.Name, 6222+k))
		}
		text = []byte(strings.NewReplacer(change...).Replace(string(text)))
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return nil, err
		}
	}
	text, err := os.ReadFile(c.BoxesPart())
	if err == nil {
		c.Bundle, err = protocol.ParseBundle(text)
	}
	return c, err
}

// BoxesPart is the file that every box has.
func (c *Cluster) BoxesPart() string { return filepath.Join(c.dir, "fleet.json") }

// Folder is that of hub i.
func (c *Cluster) Folder(i int) string { return filepath.Join(c.dir, fmt.Sprintf("hub-%d", i+1)) }

// Start starts hubs, each as on a machine with one processor: several on one machine would keep each other's processors awake. It does not
// wait until they listen.
func (c *Cluster) Start(which ...int) (err error) {
	for _, i := range which {
		run := exec.Command(c.program, "run", "--dir", c.Folder(i))
		run.Env = append(os.Environ(), "GOMAXPROCS=1")
		if c.Procs[i], err = c.Internet.StartCmd(run); err != nil {
			return err
		}
	}
	return nil
}

// Kill kills hubs that were started (SIGKILL), at once, and waits for their end.
func (c *Cluster) Kill(which ...int) (err error) {
	for _, i := range which {
		err = errors.Join(err, c.Procs[i].Signal(syscall.SIGKILL))
	}
	for _, i := range which {
		<-c.Procs[i].Exited()
	}
	return err
}

// Run runs a command of hub i, such as "box revoke", and returns its output.
func (c *Cluster) Run(ctx context.Context, i int, command string, args ...string) (string, error) {
	argv := append([]string{c.program}, strings.Fields(command)...)
	return c.Internet.Run(ctx, append(append(argv, "--dir", c.Folder(i), "--as", "Ana"), args...)...)
}

var askedWords = regexp.MustCompile(`This box is ([a-z2-7]{10})\. It shows these words:\n\n    (\w+ \w+ \w+ \w+)\n`)

// Join has a box ask for its membership with a new sticker's code. It returns the box's name, and the words that somebody compares.
func (c *Cluster) Join(ctx context.Context, b *box.Daemon, association string) (name string, words []string, err error) {
	code, err := c.Run(ctx, 0, "sticker make", association)
	if err != nil {
		return "", nil, err
	}
	said, err := b.Do(ctx, "fleet", "join", "--bundle", c.BoxesPart(), strings.ToLower(strings.TrimSpace(code)))
	if err != nil {
		return "", nil, err
	}
	m := askedWords.FindStringSubmatch(said)
	if m == nil {
		return "", nil, fmt.Errorf("passerelle fleet join says %q", said)
	}
	return m[1], strings.Fields(m[2]), nil
}

// Dial connects to a hub by its name, which only the fleet has.
func (c *Cluster) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	for _, h := range c.Hosts {
		if name == h.Name {
			name = h.Addr.String()
		}
	}
	return c.Internet.Dial(ctx, network, net.JoinHostPort(name, port))
}

// Addresses are where boxes connect: HOST:PORT.
func (c *Cluster) Addresses() (all []string) {
	for _, h := range c.Hosts {
		all = append(all, net.JoinHostPort(h.Name, "443"))
	}
	return all
}

// Open connects the desk. It goes on with another hub if its own is away. Until the hubs have made their streams it fails, and can
// be called again.
func (c *Cluster) Open(ctx context.Context) error {
	if c.connections == nil {
		if err := c.connect(); err != nil {
			c.Close()
			return err
		}
	}
	desk, err := registry.Open(ctx, registry.Options{Keys: c.Keys, Now: time.Now, Hub: c.connections[0], Fleet: c.connections[1]})
	if err == nil {
		c.Desk = desk
	}
	return err
}

// connect makes the desk's connections: to the account of the hubs, and to that of the fleet.
func (c *Cluster) connect() error {
	text, err := os.ReadFile(filepath.Join(c.Folder(0), "keys.json"))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &c.Keys); err != nil {
		return err
	}
	pool, err := c.Bundle.Pool()
	if err != nil {
		return err
	}
	for _, account := range []authority.Account{authority.Hub, authority.Fleet} {
		token, pair, err := c.Keys.User(account, "desk", rand.Reader)
		if err != nil {
			return err
		}
		conn, err := nats.Connect("tls://"+strings.Join(c.Addresses(), ",tls://"),
			nats.DontRandomize(), nats.TLSHandshakeFirst(), nats.IgnoreDiscoveredServers(),
			nats.Secure(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}), nats.SkipHostLookup(), nats.SetCustomDialer(dialer{c}),
			nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(200*time.Millisecond),
			nats.UserJWT(func() (string, error) { return token, nil }, pair.Sign))
		if err != nil {
			return err
		}
		c.connections = append(c.connections, conn)
	}
	return nil
}

type dialer struct{ *Cluster }

// Dial implements nats.CustomDialer.
func (d dialer) Dial(network, address string) (net.Conn, error) {
	ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
	defer stop()
	return d.Cluster.Dial(ctx, network, address)
}

// Close closes the desk, if it is open. The hubs are the world's: they end with it.
func (c *Cluster) Close() {
	for _, conn := range c.connections {
		conn.Close()
	}
	c.connections, c.Desk = nil, nil
}
