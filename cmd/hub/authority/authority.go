// Package authority decides who may do what on the hubs. It makes the keys of a fleet, and the tokens that carry the permissions (NATS
// JWTs, docs.nats.io, "JWT authentication"). It owns keys, accounts, permissions and certificates. It must not know servers, connections
// or files, and is pure except for randomness.
//
// # Keys
//
// The identity keys of the operator and the accounts stay offline. Hubs have only signing keys, and all of these are derived from one
// secret (HKDF, RFC 5869). So a hub that has lost its disk has the same keys as before once it has the secret and the names of the
// associations, and the boxes' tokens stay valid.
//
// # Accounts
//
// NATS isolates accounts: nothing in one can be reached from another, whatever the permissions say.
//
//	SYSTEM  the server's own
//	FLEET   boxes: reports, commands, regions and signed files
//	HUB     stickers, boxes, associations, audit; no box is ever in it
//	ENROL   boxes that ask for a membership: it imports one service of HUB, and has nothing else
//
// Each association has a signing key of its own. The account, not the token, has the permissions of what that key signs (scoped signing
// keys), with the association's name written literally. So the key of one association cannot sign for another. The same holds for the key
// that signs the tokens for asking.
//
// # A secret that was stolen
//
// All signing keys are derived from the secret, so [Keys.Replace] replaces all of them at once. The identities stay, and so does the old
// key for asking, since its tokens are in the bundles on boxes' cards. A thief of that key gains nothing, since each card permits as much.
package authority

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"passerelle/appliance/fleet/protocol"
	"passerelle/appliance/fleet/rollout"
)

// Account is a NATS account of a fleet.
type Account string

// The accounts.
const (
	System Account = "SYSTEM"
	Fleet  Account = "FLEET"
	Hub    Account = "HUB"
	Enrol  Account = "ENROL"
)

// Accounts lists all of them.
var Accounts = []Account{System, Fleet, Hub, Enrol}

// Keys are the keys that each hub of a fleet has, as JSON.
type Keys struct {
	Operator string             `json:"operator"` // the operator's token, signed offline
	Accounts map[Account]string `json:"accounts"` // the accounts' public identities
	Secret   []byte             `json:"secret"`   // 32 bytes
	// Askers are the public keys that signed bundles before the secret was replaced. Those bundles may still ask.
	Askers []string  `json:"askers,omitempty"`
	Made   time.Time `json:"made,omitzero"` // when this secret replaced another one; zero if it is the first
	By     string    `json:"by,omitempty"`  // who replaced it
}

// Offline has the seeds of the identities by name: operatorSeed, or an account. No hub needs them. They are for replacing a stolen secret.
type Offline map[string]string

// New makes the keys of a fleet.
func New(random io.Reader) (Keys, Offline, error) {
	k := Keys{Accounts: map[Account]string{}, Secret: make([]byte, 32)}
	offline := Offline{}
	fail := func(err error) (Keys, Offline, error) {
		return Keys{}, nil, fmt.Errorf("make a fleet's keys: %w", err)
	}
	if _, err := io.ReadFull(random, k.Secret); err != nil {
		return fail(err)
	}
	identity := func(name string, prefix nkeys.PrefixByte) (nkeys.KeyPair, string, error) {
		pair, err := nkeys.CreatePairWithRand(prefix, random)
		if err != nil {
			return nil, "", err
		}
		seed, err := pair.Seed()
		if err != nil {
			return nil, "", err
		}
		offline[name] = string(seed)
		public, err := pair.PublicKey()
		return pair, public, err
	}
	for _, a := range Accounts {
		_, public, err := identity(string(a), nkeys.PrefixByteAccount)
		if err != nil {
			return fail(err)
		}
		k.Accounts[a] = public
	}
	operator, _, err := identity(operatorSeed, nkeys.PrefixByteOperator)
	if err != nil {
		return fail(err)
	}
	if err := k.sign(operator); err != nil {
		return fail(err)
	}
	return k, offline, nil
}

// operatorSeed is the name of the operator's seed. The other seeds have the names of accounts.
const operatorSeed = "OPERATOR"

// sign makes the operator's token, which names the signing key that is derived from the secret.
func (k *Keys) sign(operator nkeys.KeyPair) error {
	public, err := operator.PublicKey()
	if err != nil {
		return err
	}
	claims := jwt.NewOperatorClaims(public)
	claims.Name = "passerelle"
	claims.SystemAccount = k.Accounts[System]
	signing, err := k.Signing()
	if err != nil {
		return err
	}
	claims.SigningKeys.Add(signing)
	k.Operator, err = claims.Encode(operator)
	return err
}

// Signing returns the public key that signs the accounts. It identifies the secret, but need not be kept secret.
func (k Keys) Signing() (string, error) {
	_, public, err := k.derive("operator", nkeys.PrefixByteOperator)
	return public, err
}

// Replace returns keys with a new secret, for all hubs of the fleet. Nothing that the old secret signed is let in any more, except tokens
// for asking. by is who does it, for the audit. It is an error if by is empty, or if the seeds are another fleet's.
func (k Keys) Replace(o Offline, by string, now time.Time, random io.Reader) (Keys, error) {
	fail := func(err error) (Keys, error) { return Keys{}, fmt.Errorf("replace a fleet's keys: %w", err) }
	if by == "" {
		return fail(errors.New("nobody is named"))
	}
	operator, err := nkeys.FromSeed([]byte(o[operatorSeed]))
	if err != nil {
		return fail(fmt.Errorf("read the operator's seed: %w", err))
	}
	public, err := operator.PublicKey()
	if err != nil {
		return fail(err)
	}
	before, err := jwt.DecodeOperatorClaims(k.Operator)
	if err != nil {
		return fail(fmt.Errorf("read the operator's token: %w", err))
	}
	if before.Subject != public {
		return fail(errors.New("the seeds are those of another fleet"))
	}
	_, asker, err := k.accountKey(Enrol)
	if err != nil {
		return fail(err)
	}
	next := Keys{Accounts: maps.Clone(k.Accounts), Secret: make([]byte, 32), Askers: append(slices.Clone(k.Askers), asker), Made: now.UTC(), By: by}
	if _, err := io.ReadFull(random, next.Secret); err != nil {
		return fail(err)
	}
	if err := next.sign(operator); err != nil {
		return fail(err)
	}
	return next, nil
}

// Check returns an error if the keys, as read from a file, are incomplete or do not belong together.
func (k Keys) Check() error {
	if len(k.Secret) != 32 {
		return errors.New("the secret has not 32 bytes")
	}
	for _, a := range Accounts {
		if !nkeys.IsValidPublicAccountKey(k.Accounts[a]) {
			return fmt.Errorf("the account %s has no public key", a)
		}
	}
	for _, a := range k.Askers {
		if !nkeys.IsValidPublicAccountKey(a) {
			return fmt.Errorf("%q is no public key of askers", a)
		}
	}
	claims, err := jwt.DecodeOperatorClaims(k.Operator)
	if err != nil {
		return fmt.Errorf("read the operator's token: %w", err)
	}
	signing, err := k.Signing()
	if err != nil {
		return err
	}
	if !claims.SigningKeys.Contains(signing) {
		return errors.New("the operator's token does not name the key that the secret makes")
	}
	return nil
}

// bytes derives 32 bytes for a purpose from the secret.
func (k Keys) bytes(purpose string) ([]byte, error) {
	b, err := hkdf.Key(sha256.New, k.Secret, nil, "passerelle "+purpose, 32)
	if err != nil {
		return nil, fmt.Errorf("derive a key: %w", err)
	}
	return b, nil
}

func (k Keys) derive(purpose string, prefix nkeys.PrefixByte) (nkeys.KeyPair, string, error) {
	raw, err := k.bytes(purpose)
	if err != nil {
		return nil, "", err
	}
	seed, err := nkeys.EncodeSeed(prefix, raw)
	if err != nil {
		return nil, "", fmt.Errorf("derive a key: %w", err)
	}
	pair, err := nkeys.FromSeed(seed)
	if err != nil {
		return nil, "", fmt.Errorf("derive a key: %w", err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		return nil, "", fmt.Errorf("derive a key: %w", err)
	}
	return pair, public, nil
}

func (k Keys) accountKey(a Account) (nkeys.KeyPair, string, error) {
	return k.derive("account "+string(a), nkeys.PrefixByteAccount)
}

func (k Keys) associationKey(name string) (nkeys.KeyPair, string, error) {
	return k.derive("association "+name, nkeys.PrefixByteAccount)
}

// RoutePassword returns the password with which hubs connect to each other, in addition to their certificates. So a certificate that was
// stolen together with the secret is useless once the secret is replaced.
func (k Keys) RoutePassword() (string, error) {
	b, err := k.bytes("routes")
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

// CodeHash returns the hash under which a sticker's or a person's code is stored. code is as [protocol.ParseCode] returns it. The hash is
// keyed (HMAC-SHA-256), since the 50 bits of a code could be searched.
func (k Keys) CodeHash(code string) (string, error) {
	key, err := k.bytes("stickers")
	if err != nil {
		return "", err
	}
	h := hmac.New(sha256.New, key)
	h.Write([]byte(code))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)), nil
}

// stageKey returns the key that signs the stages of roll-outs. A release names its public half, so boxes need no other trust for it.
func (k Keys) stageKey() (ed25519.PrivateKey, error) {
	seed, err := k.bytes("stages")
	if err != nil {
		return nil, err
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// StageKey returns the public key of stages, as a release names it.
func (k Keys) StageKey() (string, error) {
	key, err := k.stageKey()
	if err != nil {
		return "", err
	}
	return rollout.FormatKey(key.Public().(ed25519.PublicKey)), nil
}

// Stage returns the text of a stage, signed with the key of stages.
func (k Keys) Stage(s rollout.Stage) ([]byte, error) {
	key, err := k.stageKey()
	if err != nil {
		return nil, err
	}
	return s.Sign(key)
}

// Members are the associations and the revoked boxes of a fleet: the part of its accounts that changes. It is stored as JSON.
type Members struct {
	Associations map[string]Association `json:"associations"`
	Revoked      map[string]time.Time   `json:"revoked"` // public keys of boxes, and when each was revoked
}

// Association is what is known of an association.
type Association struct {
	Region string `json:"region,omitempty"`
}

// never is the time until which tokens of a revoked key are refused. It is later than the issue time of any token, whatever a hub's clock
// says, so a revoked key does not come back.
var never = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// Limits of connections. A box has four subscriptions, its inbox and three wake subjects. The limit is above that: a box at its limit would
// be disconnected whenever the account changes.
const (
	boxSubscriptions = 8
	askSubscriptions = 2
	asking           = 3000 // connections of boxes that ask, at all hubs: a federation's 1,300 centres may all enrol on one morning
)

// Tokens returns the tokens (JWTs) of the accounts by public identity, for a server.
func (k Keys) Tokens(m Members) (map[string]string, error) {
	signer, _, err := k.derive("operator", nkeys.PrefixByteOperator)
	if err != nil {
		return nil, err
	}
	tokens := map[string]string{}
	for _, a := range Accounts {
		claims := jwt.NewAccountClaims(k.Accounts[a])
		claims.Name = string(a)
		_, own, err := k.accountKey(a)
		if err != nil {
			return nil, err
		}
		if a == Enrol {
			for _, key := range append([]string{own}, k.Askers...) {
				claims.SigningKeys.AddScopedSigner(askers(key))
			}
		} else {
			claims.SigningKeys.Add(own)
		}
		switch a {
		case Fleet:
			claims.Limits.JetStreamLimits = store
			if err := k.boxes(claims, m); err != nil {
				return nil, err
			}
		case Hub:
			claims.Limits.JetStreamLimits = store
			claims.Exports.Add(&jwt.Export{Name: "enrol", Subject: protocol.SubjectAsk, Type: jwt.Service})
		case Enrol:
			claims.Limits.Conn = asking
			// The import is shared, so that the registrar sees the client's address.
			claims.Imports.Add(&jwt.Import{Name: "enrol", Subject: protocol.SubjectAsk, Account: k.Accounts[Hub], Type: jwt.Service, Share: true})
		}
		token, err := claims.Encode(signer)
		if err != nil {
			return nil, fmt.Errorf("sign the account %s: %w", a, err)
		}
		tokens[k.Accounts[a]] = token
	}
	return tokens, nil
}

// askers returns the permissions of tokens that a key for asking signed: to ask for a membership, and nothing else.
func askers(key string) *jwt.UserScope {
	scope := jwt.NewUserScope()
	scope.Key = key
	scope.Role = protocol.Asker
	scope.Template.Permissions.Pub.Allow.Add(protocol.SubjectAsk)
	scope.Template.Permissions.Sub.Allow.Add(protocol.Inbox(protocol.Asker) + ".>")
	scope.Template.Subs = askSubscriptions
	scope.Template.Payload = protocol.MaxAsk
	scope.Template.AllowedConnectionTypes.Add(jwt.ConnectionTypeStandard)
	return scope
}

// store has no limits per account, since streams have their own.
var store = jwt.JetStreamLimits{MemoryStorage: jwt.NoLimit, DiskStorage: jwt.NoLimit, Streams: jwt.NoLimit, Consumer: jwt.NoLimit}

// boxes adds the permissions of boxes, by association, and the revoked keys.
func (k Keys) boxes(claims *jwt.AccountClaims, m Members) error {
	const box = "{{name()}}" // NATS puts the name in here that is in the box's signed token
	for _, name := range slices.Sorted(maps.Keys(m.Associations)) {
		_, key, err := k.associationKey(name)
		if err != nil {
			return err
		}
		scope := jwt.NewUserScope()
		scope.Key = key
		scope.Role = name
		up := protocol.SubjectUp(name, box, ">")
		p := &scope.Template.Permissions
		p.Pub.Allow.Add(up,
			protocol.DirectGet(protocol.StreamUp, up),
			protocol.DirectGet(protocol.StreamCommand, protocol.SubjectCommand(name, box)),
			protocol.DirectGet(protocol.StreamPack, "pack.>"),
			protocol.DirectGet(protocol.StreamRegion, protocol.SubjectRegion(name)))
		p.Sub.Allow.Add(protocol.Inbox(box)+".>", protocol.SubjectWakeAll, protocol.SubjectWakeAssociation(name), protocol.SubjectWakeBox(box))
		scope.Template.Subs = boxSubscriptions
		scope.Template.Payload = protocol.MaxReport
		scope.Template.AllowedConnectionTypes.Add(jwt.ConnectionTypeStandard)
		claims.SigningKeys.AddScopedSigner(scope)
	}
	for public := range m.Revoked {
		claims.RevokeAt(public, never)
	}
	return nil
}

// Box returns the token that makes a public key a box of an association. Its name is [protocol.BoxName]. The token does not expire, since
// boxes may be away for weeks; a box that must go is revoked.
func (k Keys) Box(association, public string) (string, error) {
	signer, _, err := k.associationKey(association)
	if err != nil {
		return "", err
	}
	if !nkeys.IsValidPublicUserKey(public) {
		return "", fmt.Errorf("%q is no public key of a box", public)
	}
	claims := jwt.NewUserClaims(public)
	claims.Name = protocol.BoxName(public)
	claims.IssuerAccount = k.Accounts[Fleet]
	claims.SetScoped(true)
	token, err := claims.Encode(signer)
	if err != nil {
		return "", fmt.Errorf("sign a box's token: %w", err)
	}
	return token, nil
}

// User returns a new key pair and its token. In ENROL it may only ask for a membership. In the other accounts it is for the hub itself, and
// may do anything within the account.
func (k Keys) User(a Account, name string, random io.Reader) (token string, pair nkeys.KeyPair, err error) {
	fail := func(err error) (string, nkeys.KeyPair, error) {
		return "", nil, fmt.Errorf("make a user of %s: %w", a, err)
	}
	if pair, err = nkeys.CreatePairWithRand(nkeys.PrefixByteUser, random); err != nil {
		return fail(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		return fail(err)
	}
	signer, _, err := k.accountKey(a)
	if err != nil {
		return fail(err)
	}
	claims := jwt.NewUserClaims(public)
	claims.Name = name
	claims.IssuerAccount = k.Accounts[a]
	if a == Enrol {
		claims.SetScoped(true)
	}
	if token, err = claims.Encode(signer); err != nil {
		return fail(err)
	}
	return token, pair, nil
}

// Bundle returns what boxes need to ask for a membership. ca is the certificate, PEM, of the authority that signs the hubs' certificates.
func (k Keys) Bundle(ca []byte, random io.Reader) (protocol.Bundle, error) {
	b := protocol.Bundle{Roots: string(ca)}
	token, pair, err := k.User(Enrol, protocol.Asker, random)
	if err != nil {
		return b, err
	}
	seed, err := pair.Seed()
	if err != nil {
		return b, fmt.Errorf("make a bundle: %w", err)
	}
	b.Token, b.Seed = token, string(seed)
	return b, nil
}

// IsBoxKey tells whether a text has the form of a box's public key.
func IsBoxKey(public string) bool { return nkeys.IsValidPublicUserKey(public) }
