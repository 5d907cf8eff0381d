package dashboard

import (
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"
)

const (
	idle      = 2 * time.Hour
	lifetime  = 12 * time.Hour
	maxLogins = 256
)

// logins are the browsers that are signed in at this hub. The zero value with now set is ready for use, and empty.
type logins struct {
	now func() time.Time

	mu  sync.Mutex
	all map[[sha256.Size]byte]*login // by the SHA-256 of the token
}

// login keeps the person's code, so that each request can check whether it is still valid.
type login struct {
	code        string
	began, used time.Time
}

func (l *login) ended(now time.Time) bool {
	return now.Sub(l.used) > idle || now.Sub(l.began) > lifetime
}

// add returns the token of a new login. If there are maxLogins already, the least recently used one ends.
func (l *logins) add(code string) (token string) {
	token = rand.Text()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = map[[sha256.Size]byte]*login{}
	}
	now := l.now()
	var oldest [sha256.Size]byte
	for t, other := range l.all {
		if other.ended(now) {
			delete(l.all, t)
		} else if first := l.all[oldest]; first == nil || other.used.Before(first.used) {
			oldest = t
		}
	}
	if len(l.all) >= maxLogins {
		delete(l.all, oldest)
	}
	l.all[sha256.Sum256([]byte(token))] = &login{code, now, now}
	return token
}

// code returns the code of a token's login, and restarts its idle time. ok is false if there is no such login, or if it has ended.
func (l *logins) code(token string) (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.all[sha256.Sum256([]byte(token))]
	now := l.now()
	if x == nil || x.ended(now) {
		return "", false
	}
	x.used = now
	return x.code, true
}

func (l *logins) remove(token string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.all, sha256.Sum256([]byte(token)))
}
