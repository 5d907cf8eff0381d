// Package attempts is a rate limit for wrong codes, of stickers and of people. It must not know what a code opens.
package attempts

import (
	"net/netip"
	"sync"
	"time"
)

// Limits of wrong codes. With 1,300 unused stickers, somebody who tried ten codes a second without a pause would find one after some
// 1,300 years: 2^50 / 1,300 / 10 / 2 seconds.
const (
	window    = time.Minute
	wrongFrom = 5   // from one address in a window
	wrongAll  = 600 // from all addresses in a window
	addresses = 4096
)

// Limit counts wrong codes. Each hub has its own. Its methods are safe for concurrent use.
type Limit struct {
	Now func() time.Time

	mu    sync.Mutex
	start time.Time // of the window
	all   int
	from  map[netip.Prefix]int
}

// where returns the prefix that stands for one subscriber: an IPv4 address, or an IPv6 /64 (RFC 6177). All invalid addresses count as one.
func where(address string) netip.Prefix {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return netip.Prefix{}
	}
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(a, bits).Masked()
}

// Allowed tells whether an address may try a code now.
func (l *Limit) Allowed(address string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := l.Now(); now.Sub(l.start) >= window || now.Before(l.start) {
		l.start, l.all, l.from = now, 0, map[netip.Prefix]int{}
	}
	return l.all < wrongAll && l.from[where(address)] < wrongFrom
}

// Wrong counts a wrong code of an address. When the table is full, a new address counts only towards the limit for all, which is smaller
// than the table.
func (l *Limit) Wrong(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all++
	p := where(address)
	if _, ok := l.from[p]; ok || len(l.from) < addresses {
		l.from[p]++
	}
}
