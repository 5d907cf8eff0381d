package fleet

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"passerelle/appliance/fleet/protocol"
)

// link is a connection to a hub.
type link interface {
	// get returns the newest message of a subject. The body is empty if the subject has no message.
	get(ctx context.Context, stream, subject string) (message, error)
	// publish returns once the hubs have stored the message.
	publish(ctx context.Context, subject string, body []byte) error
	request(ctx context.Context, subject string, body []byte) (message, error)
	woken() <-chan wake
	done() <-chan struct{}
	err() error // why the connection ended; valid after done
	close()
}

type message struct {
	body     []byte
	chunks   string // protocol.HeaderChunks
	sequence uint64 // protocol.HeaderSequence; 0 if the answer has none
}

// wake is a wake message from a hub.
type wake struct {
	many bool // it was sent to more than this box
	must protocol.Wake
}

var (
	// errSilent says that a connection died without an error: pings were no longer answered.
	errSilent = errors.New("the hub does not answer any more")
	// errRefused says that the hub does not accept this box's token.
	errRefused = errors.New("the hub does not let this box in")
)

// identity is what a connection authenticates as. Without an association it is a box that asks for a membership.
type identity struct{ name, association, token, seed string }

// connection is a link over NATS.
type connection struct {
	c       *nats.Conn
	timeout time.Duration
	wake    chan wake
	closed  chan struct{}
	heard   atomic.Int64 // when bytes last arrived, as time.Time.UnixNano

	mu  sync.Mutex
	why error
}

// connect connects to one of the hubs. A member also subscribes to its wakes.
func (c *Client) connect(ctx context.Context, as identity) (link, error) {
	pool, err := c.o.Bundle.Pool()
	if err != nil {
		return nil, err
	}
	pair, err := nkeys.FromSeed([]byte(as.seed))
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	n := &connection{timeout: c.o.Pace.Timeout, wake: make(chan wake, 16), closed: make(chan struct{})}
	d := &dialer{ctx: ctx, dial: c.o.Dial, timeout: c.o.Pace.Timeout, heard: &n.heard}
	defer d.release()
	options := nats.GetDefaultOptions()
	for _, hub := range c.o.Hubs {
		options.Servers = append(options.Servers, "tls://"+hub)
	}
	for _, set := range []nats.Option{
		nats.Name(as.name), nats.CustomInboxPrefix(protocol.Inbox(as.name)),
		nats.UserJWT(func() (string, error) { return as.token, nil }, pair.Sign),
		nats.Secure(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13, Time: c.o.Now}), nats.TLSHandshakeFirst(),
		// The dialer resolves names, since it knows the uplink. The servers are those that the technician configured, whatever a hub
		// announces.
		nats.SetCustomDialer(d), nats.SkipHostLookup(), nats.IgnoreDiscoveredServers(),
		// This package reconnects on its own: it has to see each disconnect, and must not buffer unsent messages (8 MB by default).
		nats.NoReconnect(), nats.ReconnectBufSize(-1), nats.Timeout(c.o.Pace.Timeout),
		nats.PingInterval(c.o.Pace.Ping), nats.MaxPingsOutstanding(1),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			c.o.Log.Warn("fleet: the hub refuses", "err", err)
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { n.ended(err) }),
		nats.ClosedHandler(func(*nats.Conn) { close(n.closed) }),
	} {
		if err := set(&options); err != nil {
			return nil, err
		}
	}
	if n.c, err = options.Connect(); err != nil {
		if errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthRevoked) {
			return nil, fmt.Errorf("%w: %w", errRefused, err)
		}
		return nil, err
	}
	if as.association == "" {
		return n, nil
	}
	for _, subject := range []string{protocol.SubjectWakeAll, protocol.SubjectWakeAssociation(as.association), protocol.SubjectWakeBox(as.name)} {
		many := subject != protocol.SubjectWakeBox(as.name)
		if _, err := n.c.Subscribe(subject, func(m *nats.Msg) {
			select {
			case n.wake <- wake{many, protocol.ParseWake(m.Data)}:
			default: // enough wakes are waiting already
			}
		}); err != nil {
			n.c.Close()
			return nil, err
		}
	}
	return n, nil
}

func (n *connection) ended(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.why == nil {
		n.why = err
	}
}

func (n *connection) err() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case errors.Is(n.why, nats.ErrStaleConnection):
		return errSilent
	case n.why == nil:
		return net.ErrClosed
	}
	return n.why
}

func (n *connection) woken() <-chan wake    { return n.wake }
func (n *connection) done() <-chan struct{} { return n.closed }
func (n *connection) close()                { n.c.Close() }

// chunkTime is how long a chunk of a signed file may take. A box reads at a quarter of the donated rate. The lowest donated rate is 64
// kbit/s, at which a chunk takes 35 s.
const chunkTime = 2 * time.Minute

// errQuiet says that nothing at all arrived over a connection for so long that the request is sent again. A hub forwards some requests
// to another hub, and nothing reports that the other hub died.
var errQuiet = errors.New("nothing came from the hub")

func (n *connection) request(ctx context.Context, subject string, body []byte) (message, error) {
	ctx, stop := context.WithTimeout(ctx, n.timeout)
	defer stop()
	return n.answer(ctx, subject, body)
}

// answer sends a request and returns the answer.
func (n *connection) answer(ctx context.Context, subject string, body []byte) (message, error) {
	m, err := n.c.RequestWithContext(ctx, subject, body)
	if err != nil {
		return message{}, cmp.Or(context.Cause(ctx), err)
	}
	switch status := m.Header.Get("Status"); status {
	case "":
		sequence, err := strconv.ParseUint(m.Header.Get(protocol.HeaderSequence), 10, 64)
		if err != nil { // the answer does not come from a stream
			sequence = 0
		}
		return message{m.Data, m.Header.Get(protocol.HeaderChunks), sequence}, nil
	case "404": // there is no such message (NATS ADR-31)
		return message{}, nil
	default:
		return message{}, fmt.Errorf("the hub answers %s %s", status, m.Header.Get("Description"))
	}
}

func (n *connection) get(ctx context.Context, stream, subject string) (message, error) {
	within := n.timeout
	if stream == protocol.StreamPack {
		within = max(within, chunkTime)
	}
	ctx, stop := context.WithTimeout(ctx, within)
	defer stop()
	patience := n.timeout / 8
	for began := time.Now(); ; {
		asked, ended := n.whileHeard(ctx, patience)
		m, err := n.answer(asked, protocol.DirectGet(stream, subject), nil)
		ended()
		switch {
		case errors.Is(err, errQuiet) && ctx.Err() == nil:
			patience *= 2
		case errors.Is(err, nats.ErrNoResponders) && time.Since(began) < within: // a leader election is under way, or the hub has just come back
			select {
			case <-ctx.Done():
			case <-time.After(n.timeout / 20):
			}
		default:
			return m, err
		}
	}
}

// whileHeard returns a context that ends with errQuiet once nothing has arrived over the connection for the duration of patience.
func (n *connection) whileHeard(ctx context.Context, patience time.Duration) (context.Context, func()) {
	ctx, end := context.WithCancelCause(ctx)
	go func() {
		for last := time.Now(); ctx.Err() == nil; {
			select {
			case <-ctx.Done():
			case <-time.After(time.Until(last.Add(patience))):
				if heard := time.Unix(0, n.heard.Load()); heard.After(last) {
					last = heard
				} else {
					end(errQuiet)
				}
			}
		}
	}()
	return ctx, func() { end(nil) }
}

func (n *connection) publish(ctx context.Context, subject string, body []byte) error {
	m, err := n.request(ctx, subject, body)
	if err != nil {
		return err
	}
	// JetStream's acknowledgement of a message that it stored (NATS ADR-1: io.nats.jetstream.api.v1.pub_ack_response).
	var ack struct {
		Stream string `json:"stream"`
		Error  *struct {
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(m.body, &ack); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if ack.Error != nil {
		return fmt.Errorf("the hub answers: %s", ack.Error.Description)
	}
	if ack.Stream != protocol.StreamUp {
		return fmt.Errorf("it was stored in %q", ack.Stream)
	}
	return nil
}

// dialer connects over the box's uplink, and closes a connection that is not ready when ctx ends.
type dialer struct {
	ctx     context.Context
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	timeout time.Duration
	heard   *atomic.Int64
	stop    []func() bool
}

// Dial implements nats.CustomDialer.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	ctx, stop := context.WithTimeout(d.ctx, d.timeout)
	defer stop()
	conn, err := d.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	d.stop = append(d.stop, context.AfterFunc(d.ctx, func() { conn.Close() }))
	return hearing{conn, d.heard}, nil
}

// hearing notes when bytes arrive.
type hearing struct {
	net.Conn
	at *atomic.Int64
}

func (h hearing) Read(b []byte) (int, error) {
	n, err := h.Conn.Read(b)
	if n > 0 {
		h.at.Store(time.Now().UnixNano())
	}
	return n, err
}

// release stops watching ctx: a connection that is ready belongs to its user.
func (d *dialer) release() {
	for _, stop := range d.stop {
		stop()
	}
}

// source reads signed files through a link.
type source struct {
	l      link
	asking func() (saw func(subject string, sequence uint64)) // called before each message is read
	part   **part                                             // the file whose reading was cut off; nil for none
}

// part is what was read of a file before its connection ended. A file's name contains its version or its hash, and the file is
// verified once it is read. At worst a part mixes two versions; the file is then read again from its beginning.
type part struct {
	name   string
	chunks int // of the whole file
	next   int // the next chunk to read
	text   []byte
}

// maxPart is the largest part that is kept, in bytes of memory: a single file of a release is smaller.
const maxPart = 2 << 20

var (
	// errTooLong says that a file has more bytes than its reader allows.
	errTooLong = errors.New("the file is longer than its signed size")
	errChanged = errors.New("the file changed while it was read")
)

// Read returns the file of that name in the fleet's repository, which may have at most limit bytes. The error is fs.ErrNotExist if the
// hubs do not have it. Read verifies nothing.
func (s source) Read(ctx context.Context, name string, limit int64) ([]byte, error) {
	p := &part{name: name, chunks: 1}
	if kept := *s.part; kept != nil && kept.name == name {
		p, *s.part = kept, nil
	}
	most := int(limit/protocol.ChunkSize) + 1
	for ; p.next < p.chunks; p.next++ {
		subject := protocol.SubjectPack(name, p.next)
		saw := s.asking()
		m, err := s.l.get(ctx, protocol.StreamPack, subject)
		if err != nil {
			if p.next > 0 && len(p.text) <= maxPart {
				*s.part = p
			}
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		saw(subject, m.sequence)
		if m.chunks == "" {
			return nil, fmt.Errorf("read %s: chunk %d: %w", name, p.next, fs.ErrNotExist)
		}
		chunks, err := strconv.Atoi(m.chunks)
		if err == nil && p.next > 0 && chunks != p.chunks {
			err = errChanged
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		p.chunks = chunks
		if p.text = append(p.text, m.body...); int64(len(p.text)) > limit || chunks > most {
			return nil, fmt.Errorf("read %s: %w", name, errTooLong)
		}
	}
	return p.text, nil
}
