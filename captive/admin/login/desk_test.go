package login

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"passerelle/appliance/config"
)

// renewed makes a new code for the desk, and returns it.
func renewed(t *testing.T, k *Keeper) string {
	t.Helper()
	code, err := k.RenewDesk()
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// TestDesk: a code lets staff in as people type it, also after a restart, until it is renewed or removed. Only its hash is stored.
func TestDesk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k := open(t, dir)
	if _, err := k.RenewDesk(); !errors.Is(err, ErrNoPassword) || k.HasDesk() {
		t.Fatalf("before anybody chose the password: %v", err)
	}
	k = started(t, dir)
	for _, code := range []string{"", "0000-0000", right} {
		if _, err := k.SignInStaff(t.Context(), netip.AddrFrom4([4]byte{10, 80, 0, byte(len(code))}), code); !errors.Is(err, ErrWrong) {
			t.Errorf("without a code, %q: %v", code, err)
		}
	}
	code := renewed(t, k)
	text, err := os.ReadFile(filepath.Join(dir, "access.json"))
	for _, part := range append(strings.Split(code, "-"), strings.ReplaceAll(code, "-", "")) {
		if err != nil || strings.Contains(string(text), part) {
			t.Errorf("the file has %q of the code %q: %s, %v", part, code, text, err)
		}
	}
	k = open(t, dir)
	var tokens []string
	for _, typed := range []string{
		code, strings.ToLower(code), strings.ReplaceAll(code, "-", ""), " " + strings.ReplaceAll(code, "-", " ") + " ",
		strings.NewReplacer("0", "o", "1", "l").Replace(code),
	} {
		token, err := k.SignInStaff(t.Context(), desk, typed)
		if err != nil {
			t.Fatalf("%q: %v", typed, err)
		}
		if role, ok := k.Role(token); !ok || role != config.RoleStaff {
			t.Errorf("its role is %q", role)
		}
		tokens = append(tokens, token)
	}
	technician, err := k.SignIn(t.Context(), desk, right)
	if err != nil {
		t.Fatal(err)
	}
	before := code
	code = renewed(t, k)
	if signedIn(k, tokens[0]) {
		t.Error("a new code does not end the logins of the one before")
	}
	if _, err := k.SignInStaff(t.Context(), netip.MustParseAddr("10.80.0.98"), before); !errors.Is(err, ErrWrong) {
		t.Errorf("the code before: %v", err)
	}
	token, err := k.SignInStaff(t.Context(), desk, code)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.CloseDesk(); err != nil || k.HasDesk() || signedIn(k, token) {
		t.Errorf("without a code staff are signed in: %v", err)
	}
	if _, err := k.SignInStaff(t.Context(), netip.MustParseAddr("10.80.0.99"), code); !errors.Is(err, ErrWrong) {
		t.Errorf("the removed code: %v", err)
	}
	code = renewed(t, k)
	if role, ok := k.Role(technician); !ok || role != config.RoleTechnician {
		t.Error("the technician is signed out")
	}
	if err := k.Change(t.Context(), desk, technician, right, "another of ten"); err != nil || !k.HasDesk() {
		t.Errorf("a change of the password removes the desk's code: %v", err)
	}
	if _, err := open(t, dir).SignInStaff(t.Context(), desk, code); err != nil {
		t.Errorf("the code, after a change of the password and a restart: %v", err)
	}
}

// TestDeskCodes: codes are all different, and have no letters that look like others or like digits.
func TestDeskCodes(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		code := newCode()
		if seen[code] || len(code) != 9 || code[4] != '-' || strings.ContainsAny(code, "OILU") || canonical(code) != code {
			t.Fatalf("the code %q", code)
		}
		seen[code] = true
	}
}

// TestDeskDelays: each wrong code makes a device wait longer, and no other device waits. Signing in with the right code does not
// reset the count of wrong passwords.
func TestDeskDelays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := started(t, t.TempDir())
		code := renewed(t, k)
		waits := func(err error) time.Duration {
			w, ok := errors.AsType[*WaitError](err)
			if !ok {
				return 0
			}
			return w.For
		}
		for _, want := range []time.Duration{0, time.Second, 2 * time.Second, 4 * time.Second} {
			if _, err := k.SignInStaff(t.Context(), desk, "0000-0000"); !errors.Is(err, ErrWrong) {
				t.Fatal(err)
			}
			if want > 0 {
				if _, err := k.SignInStaff(t.Context(), desk, code); waits(err) != want {
					t.Errorf("the right code then: %v, want a wait of %v", err, want)
				}
			}
			if _, err := k.SignInStaff(t.Context(), netip.MustParseAddr("10.80.0.24"), code); err != nil {
				t.Errorf("another device: %v", err)
			}
			time.Sleep(want)
		}
		guesser := netip.MustParseAddr("10.80.0.25")
		for n := range 7 {
			if _, err := k.SignIn(t.Context(), guesser, "a guess"); !errors.Is(err, ErrWrong) {
				t.Fatal(err)
			}
			if _, err := k.SignInStaff(t.Context(), guesser, code); err != nil {
				t.Errorf("the code between: %v", err)
			}
			if n == 0 {
				continue // there is no delay after the first wrong one
			}
			want := time.Second << (n - 1)
			if _, err := k.SignIn(t.Context(), guesser, "a guess"); waits(err) != want {
				t.Errorf("after %d wrong passwords: %v, want a wait of %v", n+1, err, want)
			}
			time.Sleep(want)
		}
	})
}

// TestDeskLogins: staff's login lasts a working day, even if unused, and no longer. Many logins of staff do not end a technician's.
func TestDeskLogins(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := started(t, t.TempDir())
		code := renewed(t, k)
		token, err := k.SignInStaff(t.Context(), desk, code)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(lifetime)
		if !signedIn(k, token) {
			t.Error("a login ends while the desk is open")
		}
		time.Sleep(time.Second)
		if signedIn(k, token) {
			t.Error("a login does not end")
		}
		technician, err := k.SignIn(t.Context(), desk, right)
		if err != nil {
			t.Fatal(err)
		}
		var first string
		for n := range maxLogins + 1 {
			time.Sleep(time.Second)
			token, err := k.SignInStaff(t.Context(), desk, code)
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				first = token
			}
		}
		if !signedIn(k, technician) || signedIn(k, first) {
			t.Error("staff sign the technician out, or as many as they like are signed in")
		}
	})
}

// TestRenewRace: no login of the old code outlives a new code.
func TestRenewRace(t *testing.T) {
	t.Parallel()
	k := started(t, t.TempDir())
	code := renewed(t, k)
	var all sync.WaitGroup
	var mu sync.Mutex
	var tokens []string
	for n := range byte(20) {
		all.Go(func() {
			token, err := k.SignInStaff(t.Context(), netip.AddrFrom4([4]byte{10, 80, 2, n}), code)
			if err == nil {
				mu.Lock()
				tokens = append(tokens, token)
				mu.Unlock()
			} else if !errors.Is(err, ErrWrong) {
				t.Error(err)
			}
		})
	}
	renewed(t, k)
	all.Wait()
	for _, token := range tokens {
		if signedIn(k, token) {
			t.Error("a login of the code before runs")
		}
	}
}
