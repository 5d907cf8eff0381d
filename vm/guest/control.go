package guest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
)

// control is the control socket of hostapd or wpa_supplicant: commands with an answer each, and events (wpa_ctrl.h).
type control struct {
	conn    *net.UnixConn
	name    string // our own end's file
	answers chan string
	events  chan string
	done    chan struct{}
}

// dialControl connects to a program that is about to open its socket, until the context or the program ends. The name
// is our own end's: the program answers there, so it must see that file too.
func dialControl(ctx context.Context, socket, name string, ended <-chan struct{}) (*control, error) {
	for {
		conn, err := net.DialUnix("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"}, &net.UnixAddr{Name: socket, Net: "unixgram"})
		if err == nil {
			c := &control{conn, name, make(chan string, 1), make(chan string, 1000), make(chan struct{})}
			go c.read()
			return c, c.must(ctx, "ATTACH")
		}
		os.Remove(name) // a socket that failed to connect leaves its file
		select {
		case <-ended:
			return nil, fmt.Errorf("connect to %s: the program ended", socket)
		default:
		}
		if pause(ctx, glance) != nil {
			return nil, fmt.Errorf("connect to %s: %w", socket, err)
		}
	}
}

// read sorts what comes until the socket is closed. Events that nobody waits for are kept, a thousand at most.
func (c *control) read() {
	defer close(c.done)
	buf := make([]byte, 64<<10)
	for {
		n, err := c.conn.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // the program is gone: whoever waits has a context
		}
		text := string(buf[:n])
		to := c.answers
		if _, event, ok := strings.Cut(text, ">"); ok && text[0] == '<' { // <level>EVENT …
			text, to = event, c.events
		}
		select {
		case to <- text:
		default:
		}
	}
}

// ask sends a command and returns its answer.
func (c *control) ask(ctx context.Context, command string) (string, error) {
	if _, err := c.conn.Write([]byte(command)); err != nil {
		return "", err
	}
	select {
	case answer := <-c.answers:
		return strings.TrimSpace(answer), nil
	case <-ctx.Done():
		return "", fmt.Errorf("ask %q: %w", command, ctx.Err())
	}
}

// must asks what is answered with OK, one command after the other.
func (c *control) must(ctx context.Context, commands ...string) error {
	for _, command := range commands {
		answer, err := c.ask(ctx, command)
		if err != nil {
			return err
		}
		if answer != "OK" {
			return fmt.Errorf("ask %q: answered %q", command, answer)
		}
	}
	return nil
}

// wait returns the first event from now on that begins with one of the words.
func (c *control) wait(ctx context.Context, words ...string) (string, error) {
	var seen []string
	for {
		select {
		case event := <-c.events:
			if slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(event, w) }) {
				return event, nil
			}
			seen = append(seen, event)
		case <-ctx.Done():
			return "", fmt.Errorf("wait for %s: %w; seen: %q", strings.Join(words, " or "), ctx.Err(), seen)
		}
	}
}

func (c *control) close() {
	c.conn.Close()
	<-c.done
	os.Remove(c.name)
}
