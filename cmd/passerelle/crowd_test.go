package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
)

// crowd is devices that send as many requests as they can, from two addresses each.
type crowd struct {
	box   *box
	from  []place
	asked atomic.Int64
}

// place is one address of a device.
type place struct {
	device *netlab.Resident
	addr   netip.Addr
}

func (b *box) crowd(devices []*netlab.Resident) *crowd {
	b.t.Helper()
	c := &crowd{box: b}
	for n, r := range devices {
		second := netip.AddrFrom4([4]byte{10, 80, 3, byte(100 + n)})
		c.from = append(c.from, place{r, b.join(r).Address.Addr()}, place{r, second})
		b.must(r.AddAddress("wlan0", netip.PrefixFrom(second, 22)))
	}
	return c
}

func (p place) dial(ctx context.Context) (conn net.Conn, err error) {
	err = p.device.Do(func() (err error) {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(p.addr, 0)), Timeout: patience}
		conn, err = d.DialContext(ctx, "tcp", "10.80.0.1:80")
		return err
	})
	return conn, err
}

// during runs f while all addresses send requests over several connections each. request returns the request for a connection and a
// number. Answers are read, unless rude is set: then the connection is reset shortly after the request.
func (c *crowd) during(f func(), rude bool, request func(conn, n int) string) {
	c.box.t.Helper()
	const connections = 15
	ctx, stop := context.WithCancel(c.box.t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	for i, p := range c.from {
		for k := range connections {
			all.Go(func() {
				for n := 0; ctx.Err() == nil; {
					conn, err := p.dial(ctx)
					if err != nil {
						continue // the box refuses further connections
					}
					free := context.AfterFunc(ctx, func() { conn.Close() })
					n = c.converse(conn, rude, n, func(n int) string { return request(i*connections+k, n) })
					free()
					conn.Close()
				}
			})
		}
	}
	c.asked.Store(0)
	f()
}

// converse sends requests until the connection ends, and returns the next number.
func (c *crowd) converse(conn net.Conn, rude bool, n int, request func(n int) string) (next int) {
	answers := bufio.NewReader(conn)
	for ; ; n++ {
		if _, err := io.WriteString(conn, request(n)); err != nil {
			return n
		}
		if rude {
			c.asked.Add(1)
			time.Sleep(time.Duration(n%8) * time.Millisecond) // at various points of the box's work
			conn.(*net.TCPConn).SetLinger(0)
			return n + 1
		}
		reply, err := http.ReadResponse(answers, nil)
		if err != nil {
			return n
		}
		_, err = io.Copy(io.Discard, reply.Body)
		reply.Body.Close()
		if err != nil {
			return n
		}
		c.asked.Add(1)
	}
}

// TestCrowd: sixteen devices search for unknown words, press and end, or press and disconnect, as fast as they can. They keep nobody from
// the pages or from a session, do not delay the box's watchdog, and do not fill its log.
func TestCrowd(t *testing.T) {
	s := listenAsSystemd(t, 8*time.Second)
	b := newBox(t, settings{}, netlab.Options{Residents: 17})
	other := b.scene.Residents[0]
	b.join(other)
	c := b.crowd(b.scene.Residents[1:])
	const post = " HTTP/1.1\r\nHost: 10.80.0.1\r\nContent-Length: 0\r\n\r\n"
	for _, attack := range []struct {
		what    string
		rude    bool
		request func(conn, n int) string
	}{
		{"searches", false, func(conn, n int) string {
			var words []string
			for k := range 12 {
				words = append(words, fmt.Sprintf("zq%dxk%dwj%d", conn, k, n))
			}
			return "GET /tutorials?q=" + strings.Join(words, "+") + " HTTP/1.1\r\nHost: 10.80.0.1\r\n\r\n"
		}},
		{"presses and ends", false, func(conn, n int) string {
			if (conn+n)%2 == 0 {
				return "POST /session/end" + post
			}
			return "POST /session" + post
		}},
		{"presses of who goes away", true, func(conn, n int) string {
			if n%4 == 0 {
				return "POST /session/end" + post
			}
			return "POST /session" + post
		}},
	} {
		before, began := len(b.Log()), time.Now()
		c.during(func() {
			for range 3 {
				asked := c.asked.Load()
				wait(t, attack.what, func() error {
					if n := c.asked.Load() - asked; n < 500 {
						return fmt.Errorf("%d of them", n)
					}
					return nil
				})
				b.shows(other, "first.title")
				b.admit(other)
				if reply := b.press(other, "/session/end"); reply.Status != http.StatusSeeOther {
					t.Errorf("%s: another's end was answered with %d", attack.what, reply.Status)
				}
			}
			s.lives(t)
		}, attack.rude, attack.request)
		said := b.Log()[before:]
		if most := 10_000 * int(1+time.Since(began)/time.Minute); len(said) > most {
			t.Errorf("%s: the log has %d bytes more", attack.what, len(said))
		}
		for _, never := range []string{"stopping", "not healthy", "level=ERROR"} {
			if strings.Contains(said, never) {
				t.Errorf("%s: the log says %q:\n%s", attack.what, never, said)
			}
		}
	}
	b.waitState(state.Sharing)
	wait(t, "the end of the crowd's sessions", func() error {
		for _, p := range c.from {
			conn, err := p.dial(t.Context())
			if err != nil {
				return err
			}
			io.WriteString(conn, "POST /session/end HTTP/1.0\r\nHost: 10.80.0.1\r\n\r\n")
			io.Copy(io.Discard, conn)
			conn.Close()
		}
		if s, err := b.Status(b.t.Context()); err != nil || s.Residents.Sessions > 0 {
			return errors.Join(err, fmt.Errorf("%d go on", s.Residents.Sessions))
		}
		return nil
	})
	b.waitSound()
}
