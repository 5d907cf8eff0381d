package login

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const right = "les lilas en mai"

var desk = netip.MustParseAddr("10.80.0.23")

func open(t *testing.T, dir string) *Keeper {
	t.Helper()
	k, err := Open(dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	k.cost = cost{Passes: 1, MemoryKiB: 64} // these tests make many hashes
	return k
}

// signedIn reports whether a token's login is valid.
func signedIn(k *Keeper, token string) bool {
	_, ok := k.Role(token)
	return ok
}

func started(t *testing.T, dir string) *Keeper {
	t.Helper()
	k := open(t, dir)
	if _, err := k.Start(t.Context(), desk, k.Code(), right); err != nil {
		t.Fatal(err)
	}
	return k
}

// TestStart: the setup code works once, as people type it. Then there is a password, also after a restart.
func TestStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k := open(t, dir)
	code := k.Code()
	if again := open(t, dir).Code(); again != code || len(code) != 9 {
		t.Fatalf("code %q, after a restart %q", code, again)
	}
	if _, err := k.SignIn(t.Context(), desk, ""); !errors.Is(err, ErrWrong) {
		t.Errorf("without a password, the empty one: %v", err)
	}
	for password, want := range map[string]error{
		"": Short, "123456789": Short, "trois pommes": nil, "12345678901": Common, "0123456789": Common, "aaaaaaaaaaaaa": Common, "passerelle2026": Common,
		"Mot de passe 1!": Common, strings.Repeat("ab", 200): Long,
	} {
		if err := check(password); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", password, err, want)
		}
	}
	other := netip.MustParseAddr("10.80.0.24")
	if _, err := k.Start(t.Context(), other, "0000-0000", right); !errors.Is(err, ErrWrong) {
		t.Errorf("a wrong code: %v", err)
	}
	typed := strings.ToLower(strings.ReplaceAll(strings.ReplaceAll(code, "-", " "), "0", "O"))
	token, err := k.Start(t.Context(), desk, typed, right)
	if err != nil || !signedIn(k, token) || k.Code() != "" {
		t.Fatalf("the code %q: %v", typed, err)
	}
	if _, err := k.Start(t.Context(), desk, code, right); !errors.Is(err, ErrDone) {
		t.Errorf("the code again: %v", err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "access.json"))
	if err != nil || strings.Contains(string(text), code) || strings.Contains(string(text), right) {
		t.Errorf("the file has a secret: %s, %v", text, err)
	}
	after := open(t, dir)
	if signedIn(after, token) || after.Code() != "" {
		t.Error("a login outlives the daemon, or there is a code again")
	}
	if _, err := after.SignIn(t.Context(), desk, right); err != nil {
		t.Error(err)
	}
}

// TestFirstWins: if several people type the setup code at once, exactly one chooses the password.
func TestFirstWins(t *testing.T) {
	t.Parallel()
	k := open(t, t.TempDir())
	code := k.Code()
	var won atomic.Int32
	var all sync.WaitGroup
	for n := range byte(8) {
		all.Go(func() {
			if _, err := k.Start(t.Context(), netip.AddrFrom4([4]byte{10, 80, 0, n + 2}), code, right); err == nil {
				won.Add(1)
			} else if !errors.Is(err, ErrDone) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Errorf("%d chose the password", won.Load())
	}
}

// TestDelays: each wrong password makes a device wait longer, and no other device waits.
func TestDelays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := started(t, t.TempDir())
		other := netip.MustParseAddr("10.80.0.24")
		wrong := func(want time.Duration) {
			t.Helper()
			if _, err := k.SignIn(t.Context(), desk, "wrong"); !errors.Is(err, ErrWrong) {
				t.Fatalf("a wrong password: %v", err)
			}
			_, err := k.SignIn(t.Context(), desk, right)
			var wait *WaitError
			if !errors.As(err, &wait) || wait.For != want {
				t.Fatalf("the next one: %v, want a wait of %v", err, want)
			}
			if _, err := k.SignIn(t.Context(), other, right); err != nil {
				t.Fatalf("another device: %v", err)
			}
			time.Sleep(want)
		}
		if _, err := k.SignIn(t.Context(), desk, "wrong"); !errors.Is(err, ErrWrong) {
			t.Fatal(err)
		}
		for d := time.Second; d < maxDelay; d *= 2 {
			wrong(d)
		}
		wrong(maxDelay)
		wrong(maxDelay)
		time.Sleep(forgetful + 1)
		if _, err := k.SignIn(t.Context(), desk, "wrong"); !errors.Is(err, ErrWrong) {
			t.Fatal(err)
		}
		if _, err := k.SignIn(t.Context(), desk, right); err != nil {
			t.Errorf("an hour later: %v", err)
		}
	})
}

// TestGuessers: fifty devices that guess without end do not keep a technician from signing in.
func TestGuessers(t *testing.T) {
	t.Parallel()
	k := started(t, t.TempDir())
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var all sync.WaitGroup
	var guesses atomic.Int32
	for n := range byte(50) {
		all.Go(func() {
			from := netip.AddrFrom4([4]byte{10, 80, 1, n})
			for i := 0; ctx.Err() == nil; i++ {
				_, err := k.SignIn(ctx, from, fmt.Sprint("guess ", i))
				var wait *WaitError
				switch {
				case err == nil:
					t.Error("a guess is right")
				case errors.Is(err, ErrWrong):
					guesses.Add(1)
				case errors.As(err, &wait):
					select {
					case <-ctx.Done():
					case <-time.After(10 * time.Millisecond):
					}
				}
			}
		})
	}
	for guesses.Load() < 50 {
		time.Sleep(time.Millisecond)
		if t.Context().Err() != nil {
			t.Fatal("nobody guesses")
		}
	}
	if _, err := k.SignIn(ctx, desk, right); err != nil {
		t.Errorf("the technician: %v", err)
	}
	stop()
	all.Wait()
}

// TestLogins: a login ends when it is not used, after half a day, by signing out, and when the password changes.
func TestLogins(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := started(t, t.TempDir())
		signIn := func() string {
			t.Helper()
			token, err := k.SignIn(t.Context(), desk, right)
			if err != nil {
				t.Fatal(err)
			}
			return token
		}
		token := signIn()
		if signedIn(k, "") || signedIn(k, token+"x") || !signedIn(k, token) {
			t.Error("a token is not compared")
		}
		for range 6 {
			time.Sleep(idle)
			if !signedIn(k, token) {
				t.Error("a used login ends")
			}
		}
		time.Sleep(time.Minute)
		if signedIn(k, token) {
			t.Error("a login does not end after half a day")
		}
		token = signIn()
		time.Sleep(idle + 1)
		if signedIn(k, token) {
			t.Error("a forgotten login does not end")
		}
		one, two := signIn(), signIn()
		if err := k.Change(t.Context(), desk, one, "wrong", "another of ten"); !errors.Is(err, ErrWrong) {
			t.Errorf("a change with a wrong password: %v", err)
		}
		if err := k.Change(t.Context(), desk, one, right, "another of ten"); err != nil {
			t.Fatal(err)
		}
		if !signedIn(k, one) || signedIn(k, two) {
			t.Error("after a change of the password, the others are signed in")
		}
		k.SignOut(one)
		if signedIn(k, one) {
			t.Error("a login outlives signing out")
		}
		first, err := k.SignIn(t.Context(), desk, "another of ten")
		if err != nil {
			t.Fatal(err)
		}
		for range maxLogins {
			time.Sleep(time.Second)
			if _, err := k.SignIn(t.Context(), desk, "another of ten"); err != nil {
				t.Fatal(err)
			}
		}
		if signedIn(k, first) || len(k.logins) != maxLogins {
			t.Errorf("%d logins at once", len(k.logins))
		}
	})
}

// TestDiskFails: if the disk fails, nobody gets in. If the file is damaged, there is a new setup code.
func TestDiskFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	k, err := Open(filepath.Join(dir, "file"), time.Now)
	if err == nil || k.Code() != "" {
		t.Errorf("without a folder: code %q, %v", k.Code(), err)
	}
	if _, err := k.Start(t.Context(), desk, "", right); !errors.Is(err, ErrDone) {
		t.Errorf("without a code: %v", err)
	}
	if _, err := k.SignIn(t.Context(), desk, ""); !errors.Is(err, ErrWrong) {
		t.Errorf("without a password: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "access.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if k, err = Open(dir, time.Now); err == nil || k.Code() == "" {
		t.Errorf("with a damaged file: code %q, %v", k.Code(), err)
	}
	if again := open(t, dir).Code(); again != k.Code() {
		t.Errorf("the code %q is another one after a restart: %q", k.Code(), again)
	}
}
