package repository

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// PublicKey is an Ed25519 public key of a signer. Its file is PEM (RFC 8410).
type PublicKey struct{ key *metadata.Key }

// ID returns the key's ID in metadata, in hexadecimal.
func (p PublicKey) ID() string { return keyID(p.key) }

func keyID(k *metadata.Key) string {
	id, err := k.ID()
	if err != nil {
		panic(err) // its JSON has only strings
	}
	return id
}

// Short returns the part of a key ID that people compare.
func Short(id string) string { return id[:min(len(id), 8)] }

// Key is an Ed25519 private key with its public key. Its file is PEM (PKCS #8, RFC 8410), encrypted by age with a passphrase.
type Key struct {
	PublicKey
	private ed25519.PrivateKey
}

// NewKey returns a random key.
func NewKey() (Key, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return Key{}, fmt.Errorf("make a key: %w", err)
	}
	return newKey(private)
}

func newKey(private ed25519.PrivateKey) (Key, error) {
	public, err := metadata.KeyFromPublicKey(private.Public())
	if err != nil {
		return Key{}, fmt.Errorf("make a key: %w", err)
	}
	return Key{PublicKey{public}, private}, nil
}

func (k Key) signer() (signature.Signer, error) {
	s, err := signature.LoadSigner(k.private, crypto.Hash(0)) // Ed25519 does its own hashing
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return s, nil
}

// Types of PEM blocks (RFC 7468).
const (
	publicBlock  = "PUBLIC KEY"
	privateBlock = "PRIVATE KEY"
)

// maxKeyFile is the largest size of a key's file that is read, in bytes: an encrypted one has 700.
const maxKeyFile = 16 << 10

// Format returns the text of the key's file.
func (p PublicKey) Format() ([]byte, error) {
	public, err := p.key.ToPublicKey()
	if err != nil {
		return nil, fmt.Errorf("format a public key: %w", err)
	}
	return formatKey(publicBlock, public, x509.MarshalPKIXPublicKey)
}

func formatKey(block string, key any, marshal func(any) ([]byte, error)) ([]byte, error) {
	der, err := marshal(key)
	if err != nil {
		return nil, fmt.Errorf("format a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: block, Bytes: der}), nil
}

// ParsePublicKey reads the text of a public key's file.
func ParsePublicKey(text []byte) (PublicKey, error) {
	public, err := parseKey[ed25519.PublicKey](text, publicBlock, x509.ParsePKIXPublicKey)
	if err != nil {
		return PublicKey{}, err
	}
	key, err := metadata.KeyFromPublicKey(public)
	if err != nil {
		return PublicKey{}, fmt.Errorf("read a public key: %w", err)
	}
	return PublicKey{key}, nil
}

func parseKey[K any](text []byte, block string, parse func([]byte) (any, error)) (key K, err error) {
	b, rest := pem.Decode(text)
	if b == nil || b.Type != block || len(strings.TrimSpace(string(rest))) > 0 {
		return key, fmt.Errorf("it is no file of one %s (PEM)", strings.ToLower(block))
	}
	parsed, err := parse(b.Bytes)
	if err != nil {
		return key, fmt.Errorf("read a key: %w", err)
	}
	key, ok := parsed.(K)
	if !ok {
		return key, fmt.Errorf("it is a key of the type %T: only Ed25519 signs here", parsed)
	}
	return key, nil
}

// ReadPublicKey reads a public key's file.
func ReadPublicKey(file string) (PublicKey, error) {
	text, err := readKeyFile(file)
	if err != nil {
		return PublicKey{}, err
	}
	key, err := ParsePublicKey(text)
	if err != nil {
		return PublicKey{}, fmt.Errorf("%s: %w", file, err)
	}
	return key, nil
}

func readKeyFile(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	if len(text) > maxKeyFile {
		return nil, fmt.Errorf("%s is too long for a key", file)
	}
	return text, nil
}

// Work is the work factor of scrypt for a key's file. It is age's default: a second on a PC.
const Work = 18

// Seal returns the text of the key's file, encrypted with a passphrase. work is the base-2 logarithm of scrypt's N.
func (k Key) Seal(passphrase string, work int) ([]byte, error) {
	text, err := formatKey(privateBlock, k.private, x509.MarshalPKCS8PrivateKey)
	if err != nil {
		return nil, err
	}
	to, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, fmt.Errorf("seal the key: %w", err)
	}
	to.SetWorkFactor(work)
	var sealed strings.Builder
	armored := armor.NewWriter(&sealed)
	w, err := age.Encrypt(armored, to)
	if err == nil {
		_, err = w.Write(text)
	}
	if err == nil {
		err = errors.Join(w.Close(), armored.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("seal the key: %w", err)
	}
	return []byte(sealed.String()), nil
}

// ErrPassphrase says that a passphrase does not decrypt a key's file.
var ErrPassphrase = errors.New("the passphrase does not open this key")

// OpenKey reads and decrypts a key's file.
func OpenKey(file, passphrase string) (Key, error) {
	sealed, err := readKeyFile(file)
	if err != nil {
		return Key{}, err
	}
	with, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return Key{}, fmt.Errorf("%s: %w", file, err)
	}
	var none *age.NoIdentityMatchError
	opened, err := age.Decrypt(armor.NewReader(strings.NewReader(string(sealed))), with)
	switch {
	case errors.As(err, &none):
		return Key{}, fmt.Errorf("%s: %w", file, ErrPassphrase)
	case err != nil:
		return Key{}, fmt.Errorf("%s: it is no sealed key: %w", file, err)
	}
	text, err := io.ReadAll(io.LimitReader(opened, maxKeyFile))
	if err != nil {
		return Key{}, fmt.Errorf("%s: it is damaged: %w", file, err)
	}
	private, err := parseKey[ed25519.PrivateKey](text, privateBlock, x509.ParsePKCS8PrivateKey)
	if err != nil {
		return Key{}, fmt.Errorf("%s: %w", file, err)
	}
	return newKey(private)
}
