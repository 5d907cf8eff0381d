// Package login decides who may use the pages of technicians and of staff: it owns the setup code, the technicians' password,
// the desk's code, the delays after wrong ones, and the logins of browsers. Logins are in memory only, and end with the daemon.
// The package knows neither pages nor cookies, nor what a role may do.
//
// A box without a password has a setup code, which only its console and its command line show. The first technician types
// it to choose the password, which removes it. A factory reset removes the password, so that there is a new code.
//
// Staff sign in with the desk's code, which a technician makes. Like the password, only its hash is stored. It has 40 random
// bits, of which a device that guesses tries one in a quarter of an hour. Wrong codes and wrong passwords are counted apart,
// so that somebody who knows the code cannot guess the password without delays.
package login

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"passerelle/appliance/config"
	"passerelle/captive/records"
	"passerelle/captive/web"
)

// Errors of Start, SignIn and SignInStaff.
var (
	ErrWrong = errors.New("wrong password or code")
	ErrBusy  = errors.New("too many sign-ins at once")
	ErrDone  = errors.New("the setup code has been used") // there is a password
)

// WaitError says how long a device must wait after wrong passwords.
type WaitError struct{ For time.Duration }

func (e *WaitError) Error() string { return fmt.Sprintf("wait %v", e.For.Round(time.Second)) }

// WeakError says why a password cannot be used.
type WeakError string

// The reasons.
const (
	Short  WeakError = "short"  // fewer than MinPassword characters
	Long   WeakError = "long"   // more than maxPassword bytes
	Common WeakError = "common" // one that guessers try first
)

func (e WeakError) Error() string { return "the password is too " + string(e) }

// Bounds on passwords. NIST SP 800-63B asks for eight characters at least and sets no rules for them.
const (
	MinPassword = 10
	maxPassword = 256
)

// Bounds on sign-ins and logins.
const (
	atOnce    = 2 // hashes, of 9 MiB each
	waiting   = 64
	maxLogins = 16 // of each role: staff cannot sign technicians out

	idle     = 2 * time.Hour  // of a technician's
	lifetime = 12 * time.Hour // staff sign in once a day, also if nobody uses the desk's phone for hours

	firstDelay = time.Second // after a second wrong one; it doubles
	maxDelay   = 15 * time.Minute
	forgetful  = time.Hour // without a wrong one, all are forgotten
	maxSources = 4096
)

// The cost of a hash: one of OWASP's parameters for Argon2id of equal strength, with the least time for a board that has few
// megabytes to spare. They are stored with each hash.
var full = cost{Passes: 4, MemoryKiB: 9 << 10}

// cost is what a hash takes: time in passes over memory.
type cost struct {
	Passes    uint32 `json:"passes"`
	MemoryKiB uint32 `json:"memory_kib"`
}

// Keeper knows who is signed in. Create one with Open; its methods are safe for concurrent use.
type Keeper struct {
	file  records.File[secrets]
	now   func() time.Time
	turns *web.Turns
	cost  cost

	mu      sync.Mutex
	secrets secrets
	failed  map[source]failures
	logins  map[[sha256.Size]byte]*login
}

// secrets are what the file has: a setup code, or the hash of a password and perhaps of the desk's code.
type secrets struct {
	Code     string `json:"code,omitempty"`
	Password hash   `json:"password,omitzero"`
	Desk     hash   `json:"desk,omitzero"`
}

// hash is an Argon2id hash (RFC 9106) with its parameters.
type hash struct {
	cost
	Salt []byte `json:"salt"`
	Key  []byte `json:"key"`
}

// source is a device that signs in, in a role.
type source struct {
	netip.Addr
	role config.Role
}

// failures are a source's wrong secrets in a row.
type failures struct {
	count int
	next  time.Time // when it may try again
}

// login is a browser that is signed in.
type login struct {
	role        config.Role
	began, used time.Time
}

// accessFile has the secrets.
const accessFile = "access.json"

// Open reads the secrets in a folder, and creates a setup code if there are none. Next to an error it returns a Keeper that
// works, but lets nobody in that the disk does not know.
func Open(dir string, now func() time.Time) (*Keeper, error) {
	k := &Keeper{
		file: records.File[secrets]{Path: filepath.Join(dir, accessFile), Version: 1}, now: now,
		turns: web.NewTurns(atOnce, waiting), cost: full,
		failed: make(map[source]failures), logins: make(map[[sha256.Size]byte]*login),
	}
	var err error
	if k.secrets, err = k.file.Read(); err == nil && (k.secrets.Code != "" || k.secrets.Password.Key != nil) {
		return k, nil // also from a read-only disk
	}
	k.secrets, err = k.file.Update(func(s *secrets) error {
		if s.Code == "" && s.Password.Key == nil {
			s.Code = newCode()
		}
		return nil
	})
	var unreadable *records.UnreadableError
	if err != nil && !errors.As(err, &unreadable) {
		k.secrets = secrets{}
	}
	return k, err
}

// Chosen tells whether the folder has a password that a technician has chosen.
func Chosen(dir string) bool {
	s, err := records.File[secrets]{Path: filepath.Join(dir, accessFile), Version: 1}.Read()
	return err == nil && s.Password.Key != nil
}

// newCode returns a code of 40 random bits, in letters and digits that people do not confuse (Crockford's base 32).
func newCode() string {
	const digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	var b [8]byte
	rand.Read(b[:])
	for i := range b {
		b[i] = digits[b[i]%32]
	}
	return string(b[:4]) + "-" + string(b[4:])
}

// canonical returns a code as newCode writes it.
func canonical(code string) string {
	code = strings.NewReplacer("O", "0", "I", "1", "L", "1", "-", "", " ", "", "\u00a0", "").Replace(strings.ToUpper(code))
	if len(code) != 8 {
		return code
	}
	return code[:4] + "-" + code[4:]
}

// Code returns the setup code, "" once there is a password.
func (k *Keeper) Code() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.secrets.Code
}

// Start sets the first password with the setup code, and signs in. The errors are ErrWrong, ErrBusy, ErrDone, a *WaitError, a
// WeakError, or that of the disk; then nothing has changed.
func (k *Keeper) Start(ctx context.Context, from netip.Addr, code, password string) (token string, err error) {
	if err := check(password); err != nil {
		return "", err
	}
	var known string
	if err := k.try(ctx, source{from, config.RoleTechnician}, func() (bool, error) {
		known = k.Code()
		if known == "" {
			return false, ErrDone
		}
		return subtle.ConstantTimeCompare([]byte(canonical(code)), []byte(known)) == 1, nil
	}); err != nil {
		return "", err
	}
	if err := k.set(newHash(k.cost, password), known); err != nil {
		return "", err
	}
	return k.signIn(config.RoleTechnician), nil
}

// SignIn returns a technician's token for the password. The errors are ErrWrong, ErrBusy, a *WaitError, or ctx's.
func (k *Keeper) SignIn(ctx context.Context, from netip.Addr, password string) (token string, err error) {
	if err := k.try(ctx, source{from, config.RoleTechnician}, func() (bool, error) {
		return len(password) <= maxPassword && k.known().Password.matches(password), nil
	}); err != nil {
		return "", err
	}
	return k.signIn(config.RoleTechnician), nil
}

// known returns the secrets.
func (k *Keeper) known() secrets {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.secrets
}

// SignInStaff returns a token of staff for the desk's code, as people type it. The errors are those of SignIn: without a code
// every one is wrong.
func (k *Keeper) SignInStaff(ctx context.Context, from netip.Addr, code string) (token string, err error) {
	var desk hash
	if err := k.try(ctx, source{from, config.RoleStaff}, func() (bool, error) {
		desk = k.known().Desk
		return len(code) <= maxPassword && desk.matches(canonical(code)), nil
	}); err != nil {
		return "", err
	}
	token = k.signIn(config.RoleStaff)
	if !bytes.Equal(k.known().Desk.Key, desk.Key) { // it was renewed meanwhile, which ended the logins until then
		k.SignOut(token)
		return "", ErrWrong
	}
	return token, nil
}

// HasDesk tells whether staff can sign in.
func (k *Keeper) HasDesk() bool { return k.known().Desk.Key != nil }

// RenewDesk makes a code for the desk, which nobody can read again, and ends staff's logins. The errors are ErrNoPassword, or
// that of the disk; then nothing has changed.
func (k *Keeper) RenewDesk() (code string, err error) {
	code = newCode()
	return code, k.setDesk(newHash(k.cost, code))
}

// CloseDesk ends staff's logins, and removes their code. The error is that of the disk; then nothing has changed.
func (k *Keeper) CloseDesk() error { return k.setDesk(hash{}) }

// ErrNoPassword says that a box which nobody has set up has no desk.
var ErrNoPassword = errors.New("a technician must choose the password first")

// setDesk stores the hash of the desk's code, and ends staff's logins.
func (k *Keeper) setDesk(h hash) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, err := k.file.Update(func(s *secrets) error {
		if s.Password.Key == nil {
			return ErrNoPassword
		}
		s.Desk = h
		return nil
	})
	if err != nil {
		return err
	}
	k.secrets = s
	maps.DeleteFunc(k.logins, func(_ [sha256.Size]byte, l *login) bool { return l.role == config.RoleStaff })
	return nil
}

// Change replaces the password, and ends technicians' logins but the token's. The errors are those of SignIn with the old
// password, and of Start.
func (k *Keeper) Change(ctx context.Context, from netip.Addr, token, old, password string) error {
	if err := check(password); err != nil {
		return err
	}
	fresh, err := k.SignIn(ctx, from, old)
	if err != nil {
		return err
	}
	k.SignOut(fresh)
	if err := k.set(newHash(k.cost, password), ""); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	maps.DeleteFunc(k.logins, func(t [sha256.Size]byte, l *login) bool {
		return l.role == config.RoleTechnician && t != sha256.Sum256([]byte(token))
	})
	return nil
}

// check returns why a password cannot be used.
func check(password string) error {
	switch {
	case utf8.RuneCountInString(password) < MinPassword:
		return Short
	case len(password) > maxPassword:
		return Long
	case common(password):
		return Common
	}
	return nil
}

// common tells whether a password is one of those that guessers try first: one character again and again, a run on the
// keyboard, or the box's own words with digits.
func common(password string) bool {
	p := strings.ToLower(password)
	first, _ := utf8.DecodeRuneInString(p)
	if strings.Trim(p, string(first)) == "" {
		return true
	}
	for _, run := range []string{"01234567890123456789", "98765432109876543210", "abcdefghijklmnopqrstuvwxyz", "azertyuiopqsdfghjklm", "qwertyuiopasdfghjkl"} {
		if strings.Contains(run, p) {
			return true
		}
	}
	word := strings.Trim(p, "0123456789 !.-_?")
	for _, w := range []string{"passerelle", "motdepasse", "mot de passe", "password", "partagedeco", "partage de co", "administrateur", "administrator"} {
		if word == w {
			return true
		}
	}
	return false
}

// set stores the hash of a password, if the setup code is still this one.
func (k *Keeper) set(h hash, code string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, err := k.file.Update(func(s *secrets) error {
		if s.Code != code {
			return ErrDone
		}
		s.Code, s.Password = "", h
		return nil
	})
	if err == nil {
		k.secrets = s
	}
	return err
}

// try checks a secret of a device when its turn comes: those with the fewest wrong ones come first, so that a technician
// does not wait for those who guess.
func (k *Keeper) try(ctx context.Context, from source, right func() (bool, error)) error {
	count, err := k.wait(from)
	if err != nil {
		return err
	}
	done, ok := k.turns.Take(ctx, from.Addr, count)
	if !ok {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return ErrBusy
	}
	defer done()
	if _, err := k.wait(from); err != nil { // another request of the device was wrong meanwhile
		return err
	}
	matches, err := right()
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if matches {
		delete(k.failed, from)
		return nil
	}
	k.fail(from)
	return ErrWrong
}

// wait returns how many wrong ones a device had, or an error if it must wait.
func (k *Keeper) wait(from source) (count int, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f, now := k.failed[from], k.now()
	if left := f.next.Sub(now); left > 0 {
		return f.count, &WaitError{left}
	}
	if now.Sub(f.next) > forgetful {
		delete(k.failed, from)
		return 0, nil
	}
	return f.count, nil
}

// fail notes a wrong one. The caller holds the lock.
func (k *Keeper) fail(from source) {
	now := k.now()
	if _, known := k.failed[from]; !known && len(k.failed) >= maxSources {
		var oldest source
		for a, f := range k.failed {
			if now.Sub(f.next) > forgetful {
				delete(k.failed, a)
			} else if first, ok := k.failed[oldest]; !ok || f.next.Before(first.next) {
				oldest = a
			}
		}
		if len(k.failed) >= maxSources {
			delete(k.failed, oldest)
		}
	}
	f := k.failed[from]
	delay := time.Duration(0) // a first one is a typing mistake
	if f.count > 0 {
		delay = min(firstDelay<<min(f.count-1, 20), maxDelay)
	}
	k.failed[from] = failures{f.count + 1, now.Add(delay)}
}

// signIn adds a login, and returns its token.
func (k *Keeper) signIn(role config.Role) (token string) {
	var b [32]byte
	rand.Read(b[:])
	token = base64.RawURLEncoding.EncodeToString(b[:])
	k.mu.Lock()
	defer k.mu.Unlock()
	now, others := k.now(), 0
	var oldest [sha256.Size]byte
	for t, l := range k.logins {
		if l.ended(now) {
			delete(k.logins, t)
		} else if l.role == role {
			others++
			if first, ok := k.logins[oldest]; !ok || l.used.Before(first.used) {
				oldest = t
			}
		}
	}
	if others >= maxLogins {
		delete(k.logins, oldest)
	}
	k.logins[sha256.Sum256([]byte(token))] = &login{role, now, now}
	return token
}

func (l *login) ended(now time.Time) bool {
	return l.role != config.RoleStaff && now.Sub(l.used) > idle || now.Sub(l.began) > lifetime
}

// Role returns the role of a token's login, and keeps it from expiring while it is used. ok is false if no such login runs.
func (k *Keeper) Role(token string) (role config.Role, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l, ok := k.logins[sha256.Sum256([]byte(token))]
	now := k.now()
	if !ok || l.ended(now) {
		return "", false
	}
	l.used = now
	return l.role, true
}

// SignOut ends a token's login.
func (k *Keeper) SignOut(token string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.logins, sha256.Sum256([]byte(token)))
}

// newHash returns the hash of a password at a cost.
func newHash(c cost, password string) hash {
	h := hash{cost: c, Salt: make([]byte, 16)}
	rand.Read(h.Salt)
	h.Key = h.of(password)
	return h
}

func (h hash) of(password string) []byte {
	return argon2.IDKey([]byte(password), h.Salt, h.Passes, h.MemoryKiB, 1, 32)
}

// matches tells whether a password has this hash. Without one, none has.
func (h hash) matches(password string) bool {
	if len(h.Key) == 0 || h.Passes < 1 || h.Passes > 64 || h.MemoryKiB > 64<<10 {
		return false
	}
	return subtle.ConstantTimeCompare(h.of(password), h.Key) == 1
}
