package captive

import (
	"net/netip"
	"sync"
	"time"
)

const (
	stayFor       = time.Hour
	maxDismissals = 4096 // four times the addresses of a /22, in less than 1 MB
)

// dismissals remembers who dismissed the portal with "stay here": in memory only, for an hour.
type dismissals struct {
	mu    sync.Mutex
	until map[netip.Addr]stay
}

type stay struct {
	end     time.Time
	sharing bool // pressed while the box was sharing: the resident's data was used up
}

// add remembers addr. If there is no room, the entry that expires first is dropped.
func (s *dismissals) add(addr netip.Addr, now time.Time, sharing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.until == nil {
		s.until = make(map[netip.Addr]stay)
	}
	if _, known := s.until[addr]; !known && len(s.until) >= maxDismissals {
		s.drop(now)
	}
	s.until[addr] = stay{end: now.Add(stayFor), sharing: sharing}
}

// drop removes all expired entries, or the one that expires first.
func (s *dismissals) drop(now time.Time) {
	var first netip.Addr
	for addr, st := range s.until {
		if !now.Before(st.end) {
			delete(s.until, addr)
		} else if f, ok := s.until[first]; !ok || st.end.Before(f.end) {
			first = addr
		}
	}
	if len(s.until) >= maxDismissals {
		delete(s.until, first)
	}
}

// has reports whether addr dismissed the portal. A dismissal made while the box was not sharing ends once the box shares: the
// phone's next probe then opens the sign-in window.
func (s *dismissals) has(addr netip.Addr, now time.Time, sharing bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, ok := s.until[addr]
	return ok && now.Before(st.end) && (st.sharing || !sharing)
}
