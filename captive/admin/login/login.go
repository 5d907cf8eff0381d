// Package login authenticates technicians and staff. It owns the setup code, the technicians' password, the desk's code, the delays
// after wrong attempts, and the logins of browsers. Logins are in memory only, so they end with the daemon. The package knows
// neither pages nor cookies, nor what a role may do.
//
// A box without a password has a setup code, which only its console and its command line show. The first technician types it to
// choose the password. After that the setup code no longer exists. A factory reset removes the password, so that there is a new
// setup code.
//
// Staff sign in with the desk's code, which a technician makes. Only hashes of the code and of the password are stored. The code
// has 40 random bits, and a device that guesses is soon limited to one guess in a quarter of an hour. Wrong codes and wrong
// passwords are counted separately, so that somebody who knows the code cannot use it to reset the delays after wrong passwords.
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
	ErrDone  = errors.New("the setup code has been used") // there is a password already
)

// WaitError says how long a device must wait after wrong passwords or codes.
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

// Limits on the length of passwords. NIST SP 800-63B requires at least eight characters, and no rules about which ones.
const (
	MinPassword = 10
	maxPassword = 256
)

// Limits on sign-ins and logins.
const (
	atOnce    = 2  // hashes computed at the same time, of 9 MiB each
	waiting   = 64 // sign-ins that wait for their turn
	maxLogins = 16 // per role, so that staff cannot push out technicians' logins

	idle     = 2 * time.Hour  // a technician's login ends after this time without use; staff's does not
	lifetime = 12 * time.Hour // staff sign in once a day, even if nobody uses the desk's phone for hours

	firstDelay = time.Second // after the second wrong attempt; it doubles with each further one
	maxDelay   = 15 * time.Minute
	forgetful  = time.Hour // after this time without a wrong attempt, a device's count is reset
	maxSources = 4096
)

// full is the cost of a hash. OWASP lists several sets of parameters of equal strength for Argon2id; this one suits a board that has
// few megabytes to spare. The parameters are stored with each hash.
var full = cost{Passes: 4, MemoryKiB: 9 << 10}

// cost has the parameters of a hash: the memory that it uses, and the number of passes over it.
type cost struct {
	Passes    uint32 `json:"passes"`
	MemoryKiB uint32 `json:"memory_kib"`
}

// Keeper knows the secrets, and who is signed in. Create one with Open; its methods are safe for concurrent use.
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

// secrets is the content of the file: a setup code, or else the hash of the password and perhaps that of the desk's code.
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

// source is a device that signs in, with the role that it signs in for.
type source struct {
	netip.Addr
	role config.Role
}

// failures counts a source's consecutive wrong attempts.
type failures struct {
	count int
	next  time.Time // when it may try again
}

// login is a browser that is signed in.
type login struct {
	role        config.Role
	began, used time.Time
}

// accessFile is the name of the file with the secrets.
const accessFile = "access.json"

// Open reads the secrets in a folder, and creates a setup code if there are none. With an error it also returns a Keeper. That one
// works, but has only secrets that are stored on the disk: if none could be stored, nobody can sign in.
func Open(dir string, now func() time.Time) (*Keeper, error) {
	k := &Keeper{
		file: records.File[secrets]{Path: filepath.Join(dir, accessFile), Version: 1}, now: now,
		turns: web.NewTurns(atOnce, waiting), cost: full,
		failed: make(map[source]failures), logins: make(map[[sha256.Size]byte]*login),
	}
	var err error
	if k.secrets, err = k.file.Read(); err == nil && (k.secrets.Code != "" || k.secrets.Password.Key != nil) {
		return k, nil // without writing, so that a read-only disk is enough
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

// Chosen reports whether a technician has chosen the password: whether the folder has one.
func Chosen(dir string) bool {
	s, err := records.File[secrets]{Path: filepath.Join(dir, accessFile), Version: 1}.Read()
	return err == nil && s.Password.Key != nil
}

// newCode returns a code of 40 random bits, in letters and digits that are hard to confuse (Crockford's base 32).
func newCode() string {
	const digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	var b [8]byte
	rand.Read(b[:])
	for i := range b {
		b[i] = digits[b[i]%32]
	}
	return string(b[:4]) + "-" + string(b[4:])
}

// canonical returns a typed code in the form in which newCode writes it.
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

// Start sets the first password with the setup code, signs in, and returns the token. The errors are ErrWrong, ErrBusy, ErrDone, a
// *WaitError, a WeakError, ctx's, or one of the disk. After an error nothing has changed.
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

// SignIn checks the password, and returns a token for a technician's login. The errors are ErrWrong, ErrBusy, a *WaitError, or ctx's.
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

// SignInStaff checks the desk's code, as people type it, and returns a token for staff's login. The errors are those of SignIn. If
// there is no code, the error is ErrWrong for every code.
func (k *Keeper) SignInStaff(ctx context.Context, from netip.Addr, code string) (token string, err error) {
	var desk hash
	if err := k.try(ctx, source{from, config.RoleStaff}, func() (bool, error) {
		desk = k.known().Desk
		return len(code) <= maxPassword && desk.matches(canonical(code)), nil
	}); err != nil {
		return "", err
	}
	token = k.signIn(config.RoleStaff)
	if !bytes.Equal(k.known().Desk.Key, desk.Key) { // the code was renewed in the meantime, which ends all logins of the old code
		k.SignOut(token)
		return "", ErrWrong
	}
	return token, nil
}

// HasDesk reports whether the desk has a code, so that staff can sign in.
func (k *Keeper) HasDesk() bool { return k.known().Desk.Key != nil }

// RenewDesk makes a new code for the desk, and ends staff's logins. It returns the code, which cannot be read again later. The
// errors are ErrNoPassword, or one of the disk. After an error nothing has changed.
func (k *Keeper) RenewDesk() (code string, err error) {
	code = newCode()
	return code, k.setDesk(newHash(k.cost, code))
}

// CloseDesk removes the desk's code, and ends staff's logins. The errors are those of RenewDesk. After an error nothing has changed.
func (k *Keeper) CloseDesk() error { return k.setDesk(hash{}) }

// ErrNoPassword says that a box without a password cannot have a code for the desk.
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

// Change replaces the password, and ends all technicians' logins except the token's. The errors are those of SignIn with the old
// password, and those of Start.
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

// check returns a WeakError if a password cannot be used.
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

// common reports whether a password is one that guessers try first: one repeated character, a run of keys, or one of a few obvious
// words, with or without digits and punctuation around it.
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

// set stores the hash of a password, if the stored setup code is still the given one. "" stands for none.
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

// try checks a device's secret when it is the device's turn. Devices with the fewest wrong attempts come first, so that a technician
// does not have to wait for devices that guess.
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
	if _, err := k.wait(from); err != nil { // another request of the same device was wrong in the meantime
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

// wait returns how many wrong attempts a device has made, or a *WaitError if it must wait.
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

// fail records a wrong attempt. The caller holds the lock.
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
	delay := time.Duration(0) // no delay after the first one, which may be a typing mistake
	if f.count > 0 {
		delay = min(firstDelay<<min(f.count-1, 20), maxDelay)
	}
	k.failed[from] = failures{f.count + 1, now.Add(delay)}
}

// signIn adds a login, and returns its token. If the role has maxLogins already, the one that was unused for longest ends.
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

// Role returns the role of a token's login, and marks the login as used now. ok is false if there is no such login, or if it has
// expired.
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

// newHash returns the hash of a password, with a new salt.
func newHash(c cost, password string) hash {
	h := hash{cost: c, Salt: make([]byte, 16)}
	rand.Read(h.Salt)
	h.Key = h.of(password)
	return h
}

func (h hash) of(password string) []byte {
	return argon2.IDKey([]byte(password), h.Salt, h.Passes, h.MemoryKiB, 1, 32)
}

// matches reports whether a password has this hash. It returns false for the zero hash, and for parameters out of range.
func (h hash) matches(password string) bool {
	if len(h.Key) == 0 || h.Passes < 1 || h.Passes > 64 || h.MemoryKiB > 64<<10 {
		return false
	}
	return subtle.ConstantTimeCompare(h.of(password), h.Key) == 1
}
