// Package node is one hub's server: NATS with JetStream inside this program. It owns the server's options, its accounts as
// the members change, and in-process connections to it. It must not know what messages mean.
//
// Its unusual options are:
//   - Writes are synced to the disk before they are acknowledged (SyncAlways). Otherwise a power cut loses two minutes of acknowledged
//     writes.
//   - The TLS handshake comes first, as on any web server's port, and not after NATS's INFO.
//   - Boxes are not told the other hubs' addresses: they have them in their configuration.
//   - Timeouts suit lines of 128 kbit/s.
//   - TLS records are not sized dynamically. Small records let a client use the start of a connection's first megabyte earlier, at a system
//     call each, but no client uses a part of an answer.
package node

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"passerelle/appliance/fleet/protocol"
	"passerelle/cmd/hub/authority"
)

// Options of a server.
type Options struct {
	Name    string   // among the hubs
	Listen  string   // HOST:PORT for boxes; port 0 is any free one
	Cluster string   // HOST:PORT for the other hubs; "" for a hub alone
	Routes  []string // HOST:PORT of all hubs of the cluster; this one may be among them
	Store   string   // a folder
	Disk    int64    // bytes that the streams may take
	TLS     authority.Pair
	Roots   []byte // certificates that sign the hubs', PEM
	Keys    authority.Keys
	Members authority.Members
	Now     func() time.Time // the clock for certificates; nil for the machine's
	Log     *slog.Logger
}

// Copies is the most hubs that store a message.
const Copies = 3

const (
	memory    = 64 << 20 // bytes of JetStream's memory storage, for its own use: all streams are on disk
	pending   = 4 << 20  // bytes that may wait for one client; a chunk of a pack is an answer of 64 kB
	handshake = 20       // seconds for the TLS handshake, and for authentication, on a slow line
	slowWrite = 20 * time.Second
	// Boxes ping the hub every 8 minutes. The hub itself pings rarely, since a lender pays for each ping.
	ping  = 30 * time.Minute
	start = 20 * time.Second
)

// Node is a running server.
type Node struct {
	server   *server.Server
	accounts *accounts
	keys     authority.Keys
	log      *slog.Logger
	pair     *atomic.Pointer[tls.Certificate]

	changing sync.Mutex // held while the server is told who may connect
	mu       sync.Mutex
	members  authority.Members
	out      map[string]time.Time // boxes that flooded, by public key, and when their ban ends
}

// Start starts a server, and returns when it listens. Streams may need the other hubs, and are ready later.
func Start(o Options) (*Node, error) {
	fail := func(err error) (*Node, error) { return nil, fmt.Errorf("start the server: %w", err) }
	operator, err := jwt.DecodeOperatorClaims(o.Keys.Operator)
	if err != nil {
		return fail(err)
	}
	tokens, err := o.Keys.Tokens(o.Members)
	if err != nil {
		return fail(err)
	}
	host, port, err := split(o.Listen)
	if err != nil {
		return fail(err)
	}
	n := &Node{accounts: &accounts{tokens: tokens}, keys: o.Keys, log: o.Log, pair: &atomic.Pointer[tls.Certificate]{},
		members: o.Members, out: map[string]time.Time{}}
	if err := n.SetCertificate(o.TLS); err != nil {
		return fail(err)
	}
	options := &server.Options{
		ServerName: o.Name, Host: host, Port: port, NoSigs: true,
		TLS: true, TLSConfig: &tls.Config{GetCertificate: n.shown, MinVersion: tls.VersionTLS13, Time: o.Now, DynamicRecordSizingDisabled: true},
		TLSHandshakeFirst: true, TLSTimeout: handshake, AuthTimeout: handshake,
		PingInterval: ping, MaxPingsOut: 1, WriteDeadline: slowWrite, MaxPending: pending,
		StreamMaxBufferedMsgs: buffered, StreamMaxBufferedSize: bufferedBytes,
		JetStream: true, StoreDir: o.Store, SyncAlways: true, JetStreamMaxMemory: memory, JetStreamMaxStore: o.Disk,
		TrustedOperators: []*jwt.OperatorClaims{operator}, SystemAccount: o.Keys.Accounts[authority.System],
		AccountResolver: n.accounts,
		Cluster:         server.ClusterOpts{NoAdvertise: true},
	}
	if o.Cluster != "" {
		if err := n.cluster(&options.Cluster, o); err != nil {
			return fail(err)
		}
		as := url.UserPassword(options.Cluster.Username, options.Cluster.Password)
		for _, r := range o.Routes {
			options.Routes = append(options.Routes, &url.URL{Scheme: "nats", Host: r, User: as})
		}
	}
	if n.server, err = server.NewServer(options); err != nil {
		return fail(err)
	}
	n.server.SetLoggerV2(logger{o.Log}, o.Log.Enabled(context.Background(), slog.LevelDebug), false, false)
	n.server.Start()
	if !n.server.ReadyForConnections(start) {
		n.Stop()
		return fail(fmt.Errorf("nobody can connect to %s after %s", o.Listen, start))
	}
	return n, nil
}

func split(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	number, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("%q has no port: %w", address, err)
	}
	if number == 0 {
		return host, server.RANDOM_PORT, nil
	}
	return host, int(number), nil
}

// cluster sets the options of routes. It lets in only servers that have a certificate signed by the fleet's authority, and the password
// that is derived from the fleet's secret.
func (n *Node) cluster(c *server.ClusterOpts, o Options) (err error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(o.Roots) {
		return errors.New("there is no certificate of the hubs' authority")
	}
	c.Name, c.Username = "passerelle", "hub"
	if c.Password, err = o.Keys.RoutePassword(); err != nil {
		return err
	}
	c.TLSTimeout = handshake
	c.TLSConfig = &tls.Config{
		GetCertificate:       n.shown,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return n.shown(nil) },
		RootCAs:              pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13, Time: o.Now,
		DynamicRecordSizingDisabled: true,
	}
	// With at most Copies hubs, each has all signed files, and should answer its own boxes. So no hub hears of the others' subscriptions for
	// direct gets of signed files. Otherwise two of three chunks would cross a route.
	if len(o.Routes) <= Copies {
		c.Permissions = &server.RoutePermissions{Import: &server.SubjectPermission{Deny: []string{protocol.DirectGet(protocol.StreamPack, ">")}}}
	}
	c.Host, c.Port, err = split(o.Cluster)
	return err
}

// SetCertificate changes the certificate for new connections of boxes and of other hubs. Existing connections stay.
func (n *Node) SetCertificate(p authority.Pair) error {
	c, err := p.TLS()
	if err != nil {
		return err
	}
	n.pair.Store(&c)
	return nil
}

func (n *Node) shown(*tls.ClientHelloInfo) (*tls.Certificate, error) { return n.pair.Load(), nil }

// Routes returns the number of connections to other hubs. There are several to each hub.
func (n *Node) Routes() int { return n.server.NumRoutes() }

// Addr returns the address where boxes connect, HOST:PORT.
func (n *Node) Addr() string { return n.server.Addr().String() }

// Connections returns how many clients are connected, this program's own among them.
func (n *Node) Connections() int { return n.server.NumClients() }

// Joined tells whether the hubs have elected a leader, and this hub is up to date with it. For a single hub it is always true.
func (n *Node) Joined() bool { return n.server.JetStreamIsCurrent() }

// Leads tells whether this hub is the leader, which decides on streams for all hubs. A single hub always is.
func (n *Node) Leads() bool {
	return !n.server.JetStreamIsClustered() || n.server.JetStreamIsLeader()
}

// SetMembers changes who may connect. Boxes that no longer may are disconnected before this returns.
func (n *Node) SetMembers(m authority.Members) error {
	n.mu.Lock()
	n.members = m
	n.mu.Unlock()
	return n.apply()
}

func (n *Node) setMembers(m authority.Members) error {
	tokens, err := n.keys.Tokens(m)
	if err != nil {
		return err
	}
	n.accounts.set(tokens)
	fleet := n.keys.Accounts[authority.Fleet]
	claims, err := jwt.DecodeAccountClaims(tokens[fleet])
	if err != nil {
		return fmt.Errorf("change the members: %w", err)
	}
	account, err := n.server.LookupAccount(fleet)
	if err != nil {
		return fmt.Errorf("change the members: %w", err)
	}
	n.server.UpdateAccountClaims(account, claims)
	return nil
}

// Connect connects this program to its own server, in process, as the hub's user in an account.
func (n *Node) Connect(a authority.Account) (*nats.Conn, error) {
	token, pair, err := n.keys.User(a, "hub", rand.Reader)
	if err != nil {
		return nil, err
	}
	c, err := nats.Connect("", nats.InProcessServer(n.server), nats.MaxReconnects(-1), nats.Timeout(start),
		nats.UserJWT(func() (string, error) { return token, nil }, pair.Sign))
	if err != nil {
		return nil, fmt.Errorf("connect to the own server: %w", err)
	}
	return c, nil
}

// Stop shuts the server down, and returns when all is on the disk.
func (n *Node) Stop() {
	n.server.Shutdown()
	n.server.WaitForShutdown()
}

// accounts is where the server looks accounts up. It implements server.AccountResolver.
type accounts struct {
	mu     sync.Mutex
	tokens map[string]string // by public identity
}

func (a *accounts) set(tokens map[string]string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tokens = maps.Clone(tokens)
}

func (a *accounts) Fetch(public string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if token, ok := a.tokens[public]; ok {
		return token, nil
	}
	return "", server.ErrMissingAccount
}

func (a *accounts) Store(string, string) error {
	return errors.New("accounts are made from the members only")
}
func (a *accounts) IsReadOnly() bool           { return true }
func (a *accounts) Start(*server.Server) error { return nil }
func (a *accounts) IsTrackingUpdate() bool     { return false }
func (a *accounts) Reload() error              { return nil }
func (a *accounts) Close()                     {}

// logger passes the server's log lines on. The server's notices are logged at debug level.
type logger struct{ log *slog.Logger }

func (l logger) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l logger) Debugf(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l logger) Tracef(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l logger) Warnf(format string, v ...any)   { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l logger) Errorf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
func (l logger) Fatalf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
