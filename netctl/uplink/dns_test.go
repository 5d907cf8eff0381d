package uplink

import (
	"context"
	"io/fs"
	"net/netip"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"
)

// etc is a machine's files, with a count of accesses.
type etc struct {
	mu    sync.Mutex
	text  string // of resolv.conf
	opens int
}

func (e *etc) Open(name string) (fs.File, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.opens++
	return fstest.MapFS{"etc/resolv.conf": {Data: []byte(e.text)}}.Open(name)
}

func (e *etc) write(server string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.text = "nameserver " + server + "\n"
}

// opened returns how often files were opened since the last call.
func (e *etc) opened() (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n, e.opens = e.opens, 0
	return n
}

// TestDNSIsCached checks that a Read waits for no file while Watch runs, and that Watch reports changes.
func TestDNSIsCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c dnsCache
		files := &etc{}
		asks := func(want string) {
			t.Helper()
			if list, _ := c.of(files, 5); len(list) != 1 || list[0] != netip.MustParseAddr(want) {
				t.Errorf("its resolvers are %v, want %s", list, want)
			}
		}
		files.write("192.168.1.1")
		asks("192.168.1.1")
		files.write("192.168.1.2")
		asks("192.168.1.2") // without Watch

		c.begin()
		ctx, stop := context.WithCancel(t.Context())
		var following sync.WaitGroup
		defer following.Wait()
		defer stop()
		told := 0
		following.Go(func() { c.follow(ctx, files, func() { told++ }) })
		asks("192.168.1.2")
		files.opened()
		for range 100 {
			asks("192.168.1.2")
		}
		if n := files.opened(); n > 0 {
			t.Errorf("%d files are opened by who asks", n)
		}
		files.write("192.168.1.3")
		time.Sleep(dnsEvery)
		synctest.Wait()
		asks("192.168.1.3")
		files.write("192.168.1.4")
		c.refreshSoon()
		synctest.Wait()
		asks("192.168.1.4")
		time.Sleep(3 * dnsEvery)
		synctest.Wait()
		if told != 2 {
			t.Errorf("two changes are told %d times", told)
		}
		time.Sleep(20 * dnsEvery)
		synctest.Wait()
		if len(c.known) > 0 {
			t.Error("an interface that nobody asks for is still read")
		}
	})
}
