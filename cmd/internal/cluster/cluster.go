// Package cluster runs a fleet's hubs with their real program on the internet of a netlab world, for the benchmarks and the fleet's demo.
// It owns how a fleet is created, and how its hubs are started, killed, reached and queried. What is done with them is up to its callers.
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

// Host is a hub's name and address.
type Host struct {
	Name string
	Addr netip.Addr
}

// Site returns host number i, from 0 to 253, in a block for documentation (RFC 5737): hub1.example.com at 198.51.100.1.
func Site(i int) Host {
	return Host{fmt.Sprintf("hub%d.example.com", i+1), netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)})}
}

// Section returns the section of a box's configuration for a fleet with these hubs.
func Section(hosts ...Host) string {
	var names []string
	for _, h := range hosts {
		names = append(names, strconv.Quote(h.Name))
	}
	return "\n[fleet]\nhubs = [" + strings.Join(names, ", ") + "]\n"
}

// Cluster is the hubs of a fleet.
type Cluster struct {
	Internet *netlab.Internet
	Hosts    []Host
	Bundle   protocol.Bundle
	Procs    []*netlab.Proc     // of the hubs; nil before a hub is started
	Keys     authority.Keys     // since Open
	Desk     *registry.Registry // does what people do at a hub's command line, without a program for each; nil unless Open has opened it

	program, dir string
	connections  []*nats.Conn // of the desk
}

// New creates a fleet in a new folder, with a hub at each host: 1, 3 or 5. Start starts them. program is the hub's program.
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
		// All hubs are on one machine, so each listens only on its own address and has its own state. If a route leads to an address of
		// its own machine and to its own port, a NATS server takes it for a route to itself, so each hub has its own port for routes.
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

// BoxesPart returns the path of the file that every box has.
func (c *Cluster) BoxesPart() string { return filepath.Join(c.dir, "fleet.json") }

// Folder returns the folder of hub i.
func (c *Cluster) Folder(i int) string { return filepath.Join(c.dir, fmt.Sprintf("hub-%d", i+1)) }

// Start starts hubs, each as if its machine had one processor: several on one machine would otherwise keep each other's processors awake.
// It does not wait until they listen.
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

// Kill kills running hubs at the same time (SIGKILL), and waits for their end.
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

// Join makes a box request its membership with a new sticker's code. It returns the box's name, and the words for a person to compare.
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

// Dial connects to a hub by its name, which is known only within the fleet.
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

// Addresses returns where boxes connect, as HOST:PORT.
func (c *Cluster) Addresses() (all []string) {
	for _, h := range c.Hosts {
		all = append(all, net.JoinHostPort(h.Name, "443"))
	}
	return all
}

// Open connects the desk. If the desk's hub becomes unreachable, it continues with another one. Open fails until the hubs have created
// their streams, and can be called again.
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

// connect makes the desk's connections, to the account of the hubs and to that of the fleet.
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

// Close closes the desk, if it is open. The hubs belong to the world: they end with it.
func (c *Cluster) Close() {
	for _, conn := range c.connections {
		conn.Close()
	}
	c.connections, c.Desk = nil, nil
}
