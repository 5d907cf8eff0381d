// Package authority is who may do what on the hubs: the keys of a fleet, and the tokens (NATS JWTs, docs.nats.io, "JWT
// authentication") that say so. It owns keys, accounts, permissions and certificates. It must not know servers, connections
// or files, and is pure but for randomness.
//
// # Keys
//
// The identities of operator and accounts stay offline: hubs have the operator's signing key. All that hubs sign with is
// derived from one secret (HKDF, RFC 5869), so that a hub with an empty disk, its secret and the names of its associations
// has the same keys as before, and the boxes' tokens hold.
//
// # Accounts
//
// What is in one account cannot be reached from another, whatever permissions say:
//
//	SYSTEM  the server's own
//	FLEET   boxes: what goes up and down
//	HUB     stickers, boxes, associations, audit; no box is ever in it
//	ENROL   who asks for a membership: one service of HUB, and nothing else
//
// Each association has a signing key of its own. The permissions of what that key signs are in the account, with the
// association's name written literally: who has the key of one association cannot sign for another. So are those of who asks for
// a membership.
//
// # A secret that was stolen
//
// All signing keys come from the secret, so [Keys.Replace] replaces all of them at once. What stays are the identities, and the
// right to ask of the bundles that are on boxes' cards: a key that signs askers signs nothing more than each card has.
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

// Account is one of a fleet's.
type Account string

// The accounts.
const (
	System Account = "SYSTEM"
	Fleet  Account = "FLEET"
	Hub    Account = "HUB"
	Enrol  Account = "ENROL"
)

// Accounts are all of them.
var Accounts = []Account{System, Fleet, Hub, Enrol}

// Keys are what each hub of a fleet has, as JSON.
type Keys struct {
	Operator string             `json:"operator"` // the operator's token, signed offline
	Accounts map[Account]string `json:"accounts"` // their public identities
	Secret   []byte             `json:"secret"`   // 32 bytes
	// Askers are the public keys that signed bundles before the secret was replaced, and may go on asking.
	Askers []string  `json:"askers,omitempty"`
	Made   time.Time `json:"made,omitzero"` // when the secret replaced another one; zero if it never did
	By     string    `json:"by,omitempty"`  // who replaced it
}

// Offline are the seeds of identities, which no hub needs: they replace a secret that was stolen.
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

// operatorSeed is the operator's among the offline seeds. The others have the names of accounts.
const operatorSeed = "OPERATOR"

// sign makes the operator's token, which names the key that the secret makes.
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

// Signing returns the public key that signs the accounts. It identifies a secret, and is none.
func (k Keys) Signing() (string, error) {
	_, public, err := k.derive("operator", nkeys.PrefixByteOperator)
	return public, err
}

// Replace returns keys with a new secret, for all hubs of the fleet. Nothing that the old secret signed is let in any more, but for
// those who may only ask. by is who does it, for the audit. The error says if the seeds are another fleet's.
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

// Check says whether keys that were read are whole.
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

// bytes are 32 that belong to a purpose.
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

// RoutePassword is what hubs show each other, beside their certificates: a hub's certificate that was stolen with its secret opens
// nothing once the secret is replaced.
func (k Keys) RoutePassword() (string, error) {
	b, err := k.bytes("routes")
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

// CodeHash is what is stored of a code, a sticker's or a person's, as [protocol.ParseCode] returns it. It is keyed: 50 bits could
// be searched.
func (k Keys) CodeHash(code string) (string, error) {
	key, err := k.bytes("stickers")
	if err != nil {
		return "", err
	}
	h := hmac.New(sha256.New, key)
	h.Write([]byte(code))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)), nil
}

// stageKey signs how far a release may go. A release names its public half, so that boxes need no other trust for it.
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

// Stage returns the text of a stage, signed.
func (k Keys) Stage(s rollout.Stage) ([]byte, error) {
	key, err := k.stageKey()
	if err != nil {
		return nil, err
	}
	return s.Sign(key)
}

// Members are who belongs to a fleet: the part of its accounts that changes. It is stored as JSON.
type Members struct {
	Associations map[string]Association `json:"associations"`
	Revoked      map[string]time.Time   `json:"revoked"` // public keys of boxes, and since when
}

// Association is one of a fleet's.
type Association struct {
	Region string `json:"region,omitempty"`
}

// never is later than any token's time, by whatever hub's clock: a revoked key does not come back.
var never = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// Limits of connections. A box has an inbox and three subjects that wake it; at the limit itself the server cuts it off whenever
// the account changes.
const (
	boxSubscriptions = 8
	askSubscriptions = 2
	asking           = 3000 // connections that ask for enrolment, to all hubs: a whole federation of 1,300 centres may on one morning
)

// Tokens returns the accounts' tokens by public identity, for a server.
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
			// Shared, so that the registrar knows the address that asks.
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

// askers is what somebody may whose token that key signed: ask for a membership, and nothing else.
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

// store is without limits of an account: streams have theirs.
var store = jwt.JetStreamLimits{MemoryStorage: jwt.NoLimit, DiskStorage: jwt.NoLimit, Streams: jwt.NoLimit, Consumer: jwt.NoLimit}

// boxes adds what boxes may, by association, and who no longer may.
func (k Keys) boxes(claims *jwt.AccountClaims, m Members) error {
	const box = "{{name()}}" // the token's, which the hub signed
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

// Box returns a box's token: that key is a box of that association, by that name. It does not expire: boxes are away for
// weeks, and are revoked.
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

// User returns a token and the key that it is for. In ENROL it may ask only; elsewhere it is the hub itself, and may do all
// within the account.
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

// Bundle returns what boxes need, for hubs with certificates of ca.
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

// IsBoxKey says whether a text is a public key that a box may have.
func IsBoxKey(public string) bool { return nkeys.IsValidPublicUserKey(public) }
