package uplink

import (
	"context"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// dnsEvery is the interval between two reads of the resolvers' files, whose changes are not notified. A change of links or
// routes triggers a read at once.
const dnsEvery = 2 * time.Second

// dnsEvictAfter is the number of unused reads after which an interface's entry is evicted: the interface is gone, or nobody
// asks for its resolvers.
const dnsEvictAfter = 10

// dnsCache caches the resolvers of interfaces while Watch refreshes them. So a Read waits for no file: callers compare its time
// with the kernel's counters. Without Watch the cache reads the files.
type dnsCache struct {
	mu         sync.Mutex
	followed   bool
	known      map[int]*dnsAnswer // by interface index
	refreshNow chan struct{}
}

// dnsAnswer is what resolvers returns for an interface.
type dnsAnswer struct {
	list   []netip.Addr
	others []string
	unused int // reads since it was last asked for
}

// of returns the resolvers of an interface.
func (c *dnsCache) of(root fs.FS, index int) ([]netip.Addr, []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.known[index]
	if a == nil {
		a = &dnsAnswer{}
		a.list, a.others = resolvers(root, index)
		if c.followed {
			c.known[index] = a
		}
	}
	a.unused = 0
	return slices.Clone(a.list), slices.Clone(a.others)
}

// begin starts caching.
func (c *dnsCache) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.followed, c.known, c.refreshNow = true, map[int]*dnsAnswer{}, make(chan struct{}, 1)
}

func (c *dnsCache) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.followed, c.known = false, nil
}

// refreshSoon triggers a read of the files.
func (c *dnsCache) refreshSoon() {
	select {
	case c.refreshNow <- struct{}{}:
	default:
	}
}

// follow reads the files periodically until ctx ends, and calls changed when the resolvers change.
func (c *dnsCache) follow(ctx context.Context, root fs.FS, changed func()) {
	t := time.NewTicker(dnsEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-c.refreshNow:
		}
		if c.refresh(root) {
			changed()
		}
	}
}

// refresh reads the files of the interfaces in use, evicts the others, and tells whether the resolvers changed.
func (c *dnsCache) refresh(root fs.FS) (changed bool) {
	c.mu.Lock()
	maps.DeleteFunc(c.known, func(_ int, a *dnsAnswer) bool { return a.unused > dnsEvictAfter })
	asked := slices.Collect(maps.Keys(c.known))
	c.mu.Unlock()
	for _, index := range asked {
		list, others := resolvers(root, index)
		c.mu.Lock()
		if a := c.known[index]; a != nil {
			changed = changed || !slices.Equal(a.list, list) || !slices.Equal(a.others, others)
			a.list, a.others, a.unused = list, others, a.unused+1
		}
		c.mu.Unlock()
	}
	return changed
}
