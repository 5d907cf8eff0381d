// Package wpa is a client of the control sockets of wpa_supplicant and hostapd (wpa_ctrl.h). It sends commands, receives
// events, and reports the association with a lender's network. It must not know donations, configurations or plans.
//
// Messages contain untrusted data from the air: SSIDs are arbitrary bytes, and most messages carry hardware addresses. No
// address leaves this package: an Event has no field for one.
package wpa

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// requestTimeout is how long to wait for an answer. A program that does not answer at once hangs.
const requestTimeout = 2 * time.Second

// maxMessage is larger than any message of either program (CTRL_IFACE_MAX_LEN in ctrl_iface_common.h and 4096 for answers), in
// bytes.
const maxMessage = 16 << 10

// eventBacklog is how many events are queued while a request waits for its answer.
const eventBacklog = 64

// ErrRefused says that the program rejected the command. The connection is still usable.
var ErrRefused = errors.New("command rejected")

// Conn is a connection to a control socket. One goroutine at a time may use it.
type Conn struct {
	conn    *net.UnixConn
	own     string
	replies chan string
	events  chan Event
	done    chan struct{} // closed when the reader has ended
}

// dialed counts connections, for the names of their local sockets.
var dialed atomic.Uint32

// Dial connects to the control socket at path. It receives answers on a local socket in dir, a folder that only root may write,
// and replaces a socket that a killed program left there. The caller closes the connection.
func Dial(path, dir string) (*Conn, error) {
	own := filepath.Join(dir, fmt.Sprintf("wpa-%d.sock", dialed.Add(1)))
	if err := os.Remove(own); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove a stale socket: %w", err)
	}
	const kind = "unixgram"
	conn, err := net.DialUnix(kind, &net.UnixAddr{Name: own, Net: kind}, &net.UnixAddr{Name: path, Net: kind})
	if err != nil {
		os.Remove(own) // it exists if only the connect failed
		return nil, fmt.Errorf("connect to %s: %w", path, err)
	}
	c := &Conn{
		conn: conn, own: own, replies: make(chan string, 1), events: make(chan Event, eventBacklog), done: make(chan struct{}),
	}
	go c.read()
	return c, nil
}

// Close closes the connection and removes its socket.
func (c *Conn) Close() error {
	err := c.conn.Close()
	<-c.done
	if rmErr := os.Remove(c.own); !errors.Is(rmErr, os.ErrNotExist) {
		err = errors.Join(err, rmErr)
	}
	if err != nil {
		return fmt.Errorf("close a control connection: %w", err)
	}
	return nil
}

// Events returns the channel of events, which are sent after Attach. While it is full, new events are dropped.
func (c *Conn) Events() <-chan Event { return c.events }

// read dispatches messages until the connection is closed.
func (c *Conn) read() {
	defer close(c.done)
	buffer := make([]byte, maxMessage)
	for {
		n, err := c.conn.Read(buffer)
		if err != nil {
			return
		}
		message := string(buffer[:n])
		if !unasked(message) {
			select {
			case c.replies <- message:
			default: // no request is waiting
			}
			continue
		}
		if e, ok := parseEvent(message); ok {
			select {
			case c.events <- e:
			default:
			}
		}
	}
}

// Attach subscribes to events.
func (c *Conn) Attach(ctx context.Context) error {
	_, err := c.Request(ctx, "ATTACH")
	return err
}

// Request sends a command and returns the answer. After an error other than ErrRefused an answer may still arrive, so the
// connection must be closed.
func (c *Conn) Request(ctx context.Context, command string) (string, error) {
	verb, _, _ := strings.Cut(command, " ") // the arguments may be secret
	fail := func(err error) (string, error) { return "", fmt.Errorf("ask for %s: %w", verb, err) }
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	if err := c.conn.SetWriteDeadline(deadline); err != nil {
		return fail(err)
	}
	if _, err := c.conn.Write([]byte(command)); err != nil {
		return fail(err)
	}
	select {
	case <-ctx.Done():
		return fail(ctx.Err())
	case <-c.done:
		return fail(net.ErrClosed)
	case reply := <-c.replies:
		if strings.HasPrefix(reply, "FAIL") || strings.HasPrefix(reply, "UNKNOWN COMMAND") {
			return fail(ErrRefused)
		}
		return reply, nil
	}
}
