package backup

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/google/go-cmp/cmp"
)

func newKey(t testing.TB) Key {
	t.Helper()
	k, err := NewKey(passphrase)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestKey: what a key seals is opened by the passphrase that it was made from, and by nothing else. The key, also as stored on disk,
// contains neither the passphrase nor the half that opens.
func TestKey(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	kept, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	b := sealedBy(t, k)
	for _, text := range [][]byte{kept, b} {
		for _, secret := range []string{passphrase, "AGE-SECRET-KEY", "Les Lilas", k.Recipient} {
			if bytes.Contains(text, []byte(secret)) && !(secret == k.Recipient && bytes.Equal(text, kept)) {
				t.Errorf("%.40q has %q", text, secret)
			}
		}
	}
	if !Sealed(b) {
		t.Error("it does not count as sealed")
	}
	for p, want := range map[string]error{"": ErrPassphrase, "another passphrase": ErrWrong, passphrase: nil} {
		m, err := Unpack(bytes.NewReader(b), p, t.TempDir())
		if !errors.Is(err, want) {
			t.Errorf("%q: %v", p, err)
		}
		whole, _ := some()
		if whole.Version, whole.Files = Version, m.Files; err == nil && cmp.Diff(whole, m) != "" {
			t.Errorf("the manifest is another one: %v", m)
		}
	}
	if _, err := NewKey("short"); !errors.As(err, &WeakError{}) {
		t.Errorf("a key of a short passphrase: %v", err)
	}
	for what, broken := range map[string]Key{
		"none": {}, "another recipient": {"age1", k.Sealed}, "no end": {k.Recipient, strings.TrimSpace(k.Sealed)},
		"long": {k.Recipient, armor.Header + "\n" + strings.Repeat("A", maxSealed) + "\n" + armor.Footer + "\n"},
	} {
		m, files := some()
		if err := Write(io.Discard, m, files, broken); err == nil {
			t.Errorf("a key with %s seals", what)
		}
	}
}

// TestKeyByHand: with the two commands of the package comment, age alone opens what a key has sealed.
func TestKeyByHand(t *testing.T) {
	t.Parallel()
	b := sealedBy(t, newKey(t))
	end := bytes.Index(b, []byte(armor.Footer+"\n")) + len(armor.Footer) + 1
	id, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		t.Fatal(err)
	}
	key, err := age.Decrypt(armor.NewReader(bytes.NewReader(b[:end])), id)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := age.ParseIdentities(key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := age.Decrypt(bytes.NewReader(b[end:]), ids...); err != nil {
		t.Error(err)
	}
}

// TestKeyDamage: a backup sealed by a key is refused if it is cut off, or if a byte of its key is changed.
func TestKeyDamage(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	b, other := sealedBy(t, k), newKey(t)
	known := func(err error) bool {
		for _, e := range []error{ErrCut, ErrDamaged, ErrNotBackup, ErrWrong, ErrPassphrase} {
			if errors.Is(err, e) {
				return true
			}
		}
		return false
	}
	for n := 0; n < len(b); n += 1 + n/4 { // scrypt is slow
		if _, err := Unpack(bytes.NewReader(b[:n]), passphrase, ""); !known(err) {
			t.Errorf("the first %d of %d bytes: %v", n, len(b), err)
		}
	}
	for n := 0; n < len(b); n += 211 {
		changed := bytes.Clone(b)
		changed[n] ^= 1
		if _, err := Unpack(bytes.NewReader(changed), passphrase, ""); !known(err) {
			t.Errorf("byte %d: %v", n, err)
		}
	}
	swapped := append([]byte(other.Sealed), b[len(k.Sealed):]...)
	if _, err := Unpack(bytes.NewReader(swapped), passphrase, ""); !errors.Is(err, ErrDamaged) {
		t.Errorf("the key of another backup: %v", err)
	}
}
