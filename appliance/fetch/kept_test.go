package fetch

import (
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
)

// TestKept: a kept connection uses the line, its bytes are booked with those of others of its purse, and it ends when nothing is left.
func TestKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "https://example.com/list")
		w.set(func(s *Situation) { s.Line.Allowance, s.Line.Purse = 300_000, "fleet" })
		f := w.fetcher()
		s := f.opt.Situation()
		booked := func() uint64 {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.memory.usage(*s.Line)
		}
		if _, err := f.Dial(t.Context(), s, "inside.example.com:443"); err == nil || !strings.Contains(err.Error(), "not on the internet") {
			t.Errorf("a private address: %v", err)
		}
		before := booked()
		if before == 0 || before > 10_000 {
			t.Errorf("%d bytes are booked for a name and nothing more", before)
		}

		// A server that accepts everything and sends nothing.
		sink := &listener{conns: make(chan net.Conn), closed: make(chan struct{})}
		w.servers[8443] = sink
		go func() {
			for {
				c, err := sink.Accept()
				if err != nil {
					return
				}
				go io.Copy(io.Discard, c)
			}
		}()
		defer sink.Close()
		one, err := f.Dial(t.Context(), s, "example.com:8443")
		if err != nil {
			t.Fatal(err)
		}
		if n := booked(); n < before+keptStep/2 {
			t.Errorf("%d bytes are booked while it is open: a power cut would lose what it uses", n)
		}
		other, err := f.Dial(t.Context(), s, "example.com:8443")
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []net.Conn{one, other} {
			if _, err := c.Write(make([]byte, 50_000)); err != nil {
				t.Fatal(err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		if n := booked() - before; n < 2*onLine(50_000) || n > 2*onLine(50_000)+5_000 {
			t.Errorf("%d bytes are booked of two connections of 50 kB", n)
		}
		if again := load(w.path, f.opt.Log); again.usage(*s.Line) != booked() {
			t.Error("the disk says something else")
		}

		last, err := f.Dial(t.Context(), s, "example.com:8443")
		if err != nil {
			t.Fatal(err)
		}
		sent := 0
		for ; sent < 100 && err == nil; sent++ {
			_, err = last.Write(make([]byte, 10_000))
		}
		if err == nil || sent > 25 {
			t.Errorf("after %d times 10 kB over the allowance: %v", sent, err)
		}
		if _, err := f.Dial(t.Context(), s, "example.com:8443"); err == nil || !strings.Contains(err.Error(), "used up") {
			t.Errorf("with nothing left: %v", err)
		}
	})
}
