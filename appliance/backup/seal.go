package backup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
)

// Seal encrypts a backup, so that only the passphrase opens it. It is a [Passphrase], or a [Key] that was made from one.
type Seal interface {
	// seal writes what comes before the encrypted bytes, and returns a writer that encrypts what is written to it.
	seal(w io.Writer) (io.WriteCloser, error)
}

// Passphrase seals a backup directly.
type Passphrase string

func (p Passphrase) seal(w io.Writer) (io.WriteCloser, error) {
	if err := CheckPassphrase(string(p)); err != nil {
		return nil, err
	}
	to, err := age.NewScryptRecipient(string(p))
	if err != nil {
		return nil, err
	}
	to.SetWorkFactor(workFactor)
	return age.Encrypt(w, to)
}

// Key seals backups that are made while nobody is there to type the passphrase. It does not contain the passphrase. Each backup begins
// with the private half of the key, which the passphrase opens.
type Key struct {
	Recipient string `json:"recipient"` // age's X25519 recipient
	Sealed    string `json:"sealed"`    // the identity, as an armored age file
}

// maxSealed limits the sealed half of a key, in bytes: it has about 500.
const maxSealed = 2000

// NewKey makes a key from a passphrase. The error may be a WeakError.
func NewKey(passphrase string) (k Key, err error) {
	if err := CheckPassphrase(passphrase); err != nil {
		return k, err
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return k, err
	}
	var text strings.Builder
	lines := armor.NewWriter(&text)
	inner, err := Passphrase(passphrase).seal(lines)
	if err == nil {
		_, err = io.WriteString(inner, id.String()+"\n")
	}
	if err == nil {
		err = errors.Join(inner.Close(), lines.Close())
	}
	return Key{id.Recipient().String(), text.String()}, err
}

func (k Key) seal(w io.Writer) (io.WriteCloser, error) {
	to, err := age.ParseX25519Recipient(k.Recipient)
	if err != nil {
		return nil, fmt.Errorf("the key for backups: %w", err)
	}
	if !strings.HasPrefix(k.Sealed, armor.Header+"\n") || !strings.HasSuffix(k.Sealed, "\n"+armor.Footer+"\n") || len(k.Sealed) > maxSealed {
		return nil, errors.New("the key for backups is damaged")
	}
	if _, err := io.WriteString(w, k.Sealed); err != nil {
		return nil, err
	}
	return age.Encrypt(w, to)
}

// The first bytes of a sealed backup (C2SP, age.md): one sealed by a passphrase, and one sealed by a key.
var (
	ageHeader   = []byte("age-encryption.org/v1\n")
	armorHeader = []byte(armor.Header + "\n")
)

// Sealed tells whether a file that begins with head needs a passphrase.
func Sealed(head []byte) bool {
	return bytes.HasPrefix(head, ageHeader) || bytes.HasPrefix(head, armorHeader)
}

// open returns a reader of the decrypted backup.
func open(in *bufio.Reader, passphrase string) (io.Reader, error) {
	if len(passphrase) > MaxPassphrase {
		return nil, ErrWrong
	}
	id, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, err
	}
	id.SetMaxWorkFactor(maxWorkFactor)
	if head, _ := in.Peek(len(armorHeader)); !bytes.Equal(head, armorHeader) {
		return decrypt(in, id)
	}
	sealed, err := readSealed(in)
	if err != nil {
		return nil, at("its key", err)
	}
	text, err := decrypt(armor.NewReader(strings.NewReader(sealed)), id)
	if err != nil {
		return nil, err
	}
	key, err := io.ReadAll(io.LimitReader(text, maxSealed))
	if err != nil {
		return nil, at("its key", err)
	}
	own, err := age.ParseX25519Identity(strings.TrimSpace(string(key)))
	if err != nil {
		return nil, fmt.Errorf("%w at %q: it is none", ErrDamaged, "its key")
	}
	opened, err := decrypt(in, own)
	if errors.Is(err, ErrWrong) { // the passphrase was correct
		err = fmt.Errorf("%w at %q: it is of another backup", ErrDamaged, "its key")
	}
	return opened, err
}

// readSealed reads the sealed half of a key, up to its last line.
func readSealed(in *bufio.Reader) (string, error) {
	var text strings.Builder
	for text.Len() < maxSealed {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return "", err
		}
		text.Write(line)
		if string(line) == armor.Footer+"\n" {
			return text.String(), nil
		}
	}
	return "", errors.New("it has no end")
}

func decrypt(in io.Reader, id age.Identity) (io.Reader, error) {
	opened, err := age.Decrypt(in, id)
	var none *age.NoIdentityMatchError
	switch {
	case errors.As(err, &none):
		return nil, ErrWrong
	case err != nil:
		return nil, at("its seal", err)
	}
	return opened, nil
}
