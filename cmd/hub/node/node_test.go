package node

import (
	"bytes"
	"crypto/rand"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"passerelle/appliance/fleet/protocol"
	"passerelle/cmd/hub/authority"
)

// lines is a log that is safe for concurrent use.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Contains(l.text.Bytes(), []byte(text))
}

// TestRoutes: the hubs of one fleet find each other, and hear of each other's subscriptions, except those that answer requests for signed
// files. A hub that has a certificate of the fleet, but a secret that was replaced, is refused.
func TestRoutes(t *testing.T) {
	t.Parallel()
	keys, offline, err := authority.New(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	next, err := keys.Replace(offline, "ana", now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Check(); err != nil {
		t.Fatal(err)
	}
	ca, err := authority.NewCA(now)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Host("127.0.0.1", now)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	meet := l.Addr().String()
	l.Close()
	start := func(name, cluster string, k authority.Keys, log *lines) *Node {
		t.Helper()
		n, err := Start(Options{
			Name: name, Listen: "127.0.0.1:0", Cluster: cluster, Routes: []string{meet}, Store: t.TempDir(), Disk: 1 << 20,
			TLS: pair, Roots: ca.Certificate, Keys: k, Log: slog.New(slog.NewTextHandler(log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(n.Stop)
		return n
	}
	eventually := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("in vain: %s", what)
			}
		}
	}
	var first, other, stolen lines
	a := start("hub-1", meet, next, &first)
	thief := start("hub-3", "127.0.0.1:0", keys, &stolen)
	eventually("the stolen hub is refused", func() bool { return first.has("authentication error") })
	b := start("hub-2", "127.0.0.1:0", next, &other)
	eventually("the hubs have found each other", func() bool { return a.Routes() > 0 && b.Routes() > 0 })
	if thief.Routes() != 0 {
		t.Errorf("the stolen hub has %d routes", thief.Routes())
	}

	c, err := b.Connect(authority.Fleet)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	files := protocol.DirectGet(protocol.StreamPack, ">")
	for _, subject := range []string{files, protocol.DirectGet(protocol.StreamUp, ">")} {
		if _, err := c.QueueSubscribeSync(subject, "hubs"); err != nil {
			t.Fatal(err)
		}
	}
	var heard []string
	eventually("the other hub hears what this one listens to", func() bool {
		heard = nil
		routes, err := a.server.Routez(&server.RoutezOptions{Subscriptions: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range routes.Routes {
			heard = append(heard, r.Subs...)
		}
		return slices.Contains(heard, protocol.DirectGet(protocol.StreamUp, ">"))
	})
	if slices.Contains(heard, files) {
		t.Error("it would ask the other one for signed files")
	}
}

// TestSent: 60 days of reports at once, and the requests for a big file on a fast line, are not a flood. A box that sends more for long is.
func TestSent(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		messages, bytes int64 // in each glance
		glances, at     int   // how many there are; the one that finds a flood, 0 for none
	}{
		"60 days":      {130, 60 * 16 << 10, 1, 0},
		"a big file":   {2 * 480, 2 * 480 * 150, 1000, 0},
		"many reports": {4000, 4000 * 100, 10, 2},
		"a bit more":   {2000, 2000 * 100, 10, 4},
		"long reports": {200, 200 * 16 << 10, 10, 2},
	} {
		s, at := sent{}, 0
		for i := 1; i <= c.glances && at == 0; i++ {
			if s.add(c.messages*int64(i), c.bytes*int64(i), glance) {
				at = i
			}
		}
		if at != c.at {
			t.Errorf("%s: a flood at glance %d, want %d", what, at, c.at)
		}
	}
}

// TestReadmit: a box that was banned for a while may connect again when that is over, also while nobody sends anything.
func TestReadmit(t *testing.T) {
	t.Parallel()
	keys, _, err := authority.New(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := authority.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Host("127.0.0.1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	n, err := Start(Options{
		Name: "hub-1", Listen: "127.0.0.1:0", Store: t.TempDir(), Disk: 1 << 20, TLS: pair, Roots: ca.Certificate, Keys: keys,
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Stop)
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	box, err := user.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	refused := func(want bool) {
		t.Helper()
		token, err := n.accounts.Fetch(keys.Accounts[authority.Fleet])
		if err != nil {
			t.Fatal(err)
		}
		claims, err := jwt.DecodeAccountClaims(token)
		if err != nil {
			t.Fatal(err)
		}
		if _, got := claims.Revocations[box]; got != want {
			t.Errorf("the box is refused: %t, want %t", got, want)
		}
	}
	now := time.Now()
	n.out[box] = now.Add(banned)
	if err := n.apply(); err != nil {
		t.Fatal(err)
	}
	refused(true)
	for _, c := range []struct {
		at   time.Time
		want bool
	}{{now, true}, {now.Add(banned - 1), true}, {now.Add(banned), false}} {
		if err := n.readmit(c.at); err != nil {
			t.Fatal(err)
		}
		refused(c.want)
	}
}
