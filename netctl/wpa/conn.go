// Package wpa speaks with wpa_supplicant and hostapd through their control sockets (wpa_ctrl.h): it asks, listens, and
// says in plain words how it stands with a lender's network. It knows nothing of donations, configurations and plans.
//
// What comes in was partly said by strangers, through the air: names of networks are bytes, and most messages carry
// hardware addresses. Nothing of that leaves this package: an Event has no place for an address.
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

// requestLimit is how long an answer may take. Both programs answer at once, or hang.
const requestLimit = 2 * time.Second

// maxMessage is more than either program sends in a message (CTRL_IFACE_MAX_LEN in ctrl_iface_common.h and 4096 for
// answers), in bytes.
const maxMessage = 16 << 10

// keptEvents is how many events wait for who is asking for something meanwhile.
const keptEvents = 64

// ErrRefused says that the program has understood nothing or does not want to. The connection is as good as before.
var ErrRefused = errors.New("it refuses")

// Conn is a connection to a control socket. One goroutine at a time may use it.
type Conn struct {
	conn    *net.UnixConn
	own     string
	replies chan string
	events  chan Event
	done    chan struct{} // closed when the reader has ended
}

// dialed counts connections, for the names of their own sockets.
var dialed atomic.Uint32

// Dial connects to the control socket at path. The answers come to a socket of its own in dir, a folder that only root
// may write; what a killed program has left there under that name goes. The caller closes the connection.
func Dial(path, dir string) (*Conn, error) {
	own := filepath.Join(dir, fmt.Sprintf("wpa-%d.sock", dialed.Add(1)))
	if err := os.Remove(own); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove a stale socket: %w", err)
	}
	const kind = "unixgram"
	conn, err := net.DialUnix(kind, &net.UnixAddr{Name: own, Net: kind}, &net.UnixAddr{Name: path, Net: kind})
	if err != nil {
		os.Remove(own) // it is there if only the connecting has failed
		return nil, fmt.Errorf("connect to %s: %w", path, err)
	}
	c := &Conn{
		conn: conn, own: own, replies: make(chan string, 1), events: make(chan Event, keptEvents), done: make(chan struct{}),
	}
	go c.read()
	return c, nil
}

// Close ends the connection and takes its socket away.
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

// Events returns where events come, once Attach has asked for them. When too many wait, new ones are lost.
func (c *Conn) Events() <-chan Event { return c.events }

// read sorts what comes in until the connection is closed.
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
			default: // nobody has asked
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

// Attach asks for events.
func (c *Conn) Attach(ctx context.Context) error {
	_, err := c.Request(ctx, "ATTACH")
	return err
}

// Request sends a command and returns what is answered. After an error other than ErrRefused an answer may still be on
// its way, so that the connection must be closed.
func (c *Conn) Request(ctx context.Context, command string) (string, error) {
	verb, _, _ := strings.Cut(command, " ") // the rest may be secret
	fail := func(err error) (string, error) { return "", fmt.Errorf("ask for %s: %w", verb, err) }
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
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
