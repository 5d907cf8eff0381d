package captive

import (
	"net/netip"
	"sync"
	"time"
)

const (
	stayFor  = time.Hour
	maxStays = 4096 // four times the residents of a /22, and less than 1 MB
)

// stays remembers who pressed "stay here": in memory only, for an hour.
type stays struct {
	mu    sync.Mutex
	until map[netip.Addr]stay
}

type stay struct {
	end     time.Time
	sharing bool // pressed while the box was sharing: the resident's data was spent
}

// add remembers addr. When there is no room, whoever would leave first is forgotten.
func (s *stays) add(addr netip.Addr, now time.Time, sharing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.until == nil {
		s.until = make(map[netip.Addr]stay)
	}
	if _, known := s.until[addr]; !known && len(s.until) >= maxStays {
		s.drop(now)
	}
	s.until[addr] = stay{end: now.Add(stayFor), sharing: sharing}
}

// drop forgets all that is over, or the one that is over soonest.
func (s *stays) drop(now time.Time) {
	var first netip.Addr
	for addr, st := range s.until {
		if !now.Before(st.end) {
			delete(s.until, addr)
		} else if f, ok := s.until[first]; !ok || st.end.Before(f.end) {
			first = addr
		}
	}
	if len(s.until) >= maxStays {
		delete(s.until, first)
	}
}

// has says whether addr stays. Somebody who stayed because there was no internet stays no longer once there is: the
// phone's next probe then opens the sign-in window.
func (s *stays) has(addr netip.Addr, now time.Time, sharing bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, ok := s.until[addr]
	return ok && now.Before(st.end) && (st.sharing || !sharing)
}
