// Package rollout decides whether a box takes a release now, or only after others have shown that it works. It owns the rule that is
// signed with a release, the stage that a fleet's hubs sign, and a box's place. It is pure: it must not know how a release or a stage
// reaches a box, nor who judges how the boxes do.
//
// # Trust
//
//	rule   in the release, signed by two keys of the release role   that it goes out in stages, whose stages count, and for how long
//	stage  a record, signed by the key that the rule names          how many of 1000 boxes may take it; or none, for now
//	place  of the box, which computes it                            from its name, which is a hash of its key, and the release's hash
//
// A stage can only narrow what the release role has signed. A holder of the hubs' key can make boxes take a release earlier within the
// rule, or wait. They cannot choose another release, nor an older one: a stage names one release by its hash, and the box installs
// only the newest signed one. So this key is in no root, no other signature depends on it, and the next release may name another key.
// A stage is one signature over one line of text, which the box's daemon checks. The programs with rights on the card know nothing of
// stages, and trust only the release role.
//
// # Without hubs
//
// A stage is valid for a month at most. A box without a valid stage (it has no fleet, or its hubs are gone) takes the release once the
// rule's days are over. Somebody at the box may always take it.
package rollout

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"time"
)

// All is the stage of all boxes. Every place is below it.
const All = 1000

// Hash is the SHA-256 of a release's manifest.
type Hash [sha256.Size]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText implements encoding.TextMarshaler.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hash) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != len(h) {
		return fmt.Errorf("%q is no SHA-256", text)
	}
	copy(h[:], b)
	return nil
}

// Place returns the place of a box for a release, from 0 to 999. The order of the boxes differs from release to release.
func Place(box string, release Hash) int {
	h := sha256.New()
	h.Write([]byte("passerelle place\n" + box + "\n"))
	h.Write(release[:])
	place, _ := bits.Mul64(binary.BigEndian.Uint64(h.Sum(nil)), All) // the probabilities of two places differ by a factor of at most 1 + 2^-54
	return int(place)
}

// Rule is signed with a release that goes out in stages. The zero Rule means that all boxes take the release at once.
type Rule struct {
	Day  string `json:"day"`  // when it was signed, YYYY-MM-DD
	Days int    `json:"days"` // after these, a box without a stage takes it
	Key  string `json:"key"`  // that signs the stages, as FormatKey writes it; "" if there are no stages
}

// MaxDays is the largest number of days in a rule.
const MaxDays = 90

// Check returns an error if a rule is invalid. The zero Rule is valid.
func (r Rule) Check() error {
	if r == (Rule{}) {
		return nil
	}
	if _, err := time.Parse(time.DateOnly, r.Day); err != nil {
		return fmt.Errorf("the roll-out's day: %w", err)
	}
	if r.Days < 1 || r.Days > MaxDays {
		return fmt.Errorf("a roll-out takes 1 to %d days, not %d", MaxDays, r.Days)
	}
	if r.Key != "" {
		if _, err := parseKey(r.Key); err != nil {
			return err
		}
	}
	return nil
}

// over tells whether the rule's days are over.
func (r Rule) over(now time.Time) bool {
	day, err := time.Parse(time.DateOnly, r.Day)
	return err == nil && !now.Before(day.AddDate(0, 0, r.Days))
}

// FormatKey returns a public key as text.
func FormatKey(key ed25519.PublicKey) string { return base64.RawURLEncoding.EncodeToString(key) }

func parseKey(text string) (ed25519.PublicKey, error) {
	key, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("%q is no key of stages", text)
	}
	return key, nil
}

// Stage says how many boxes may take a release.
type Stage struct {
	Release  Hash      `json:"release"`
	Permille int       `json:"permille"` // boxes with a place below it may take it
	Halted   bool      `json:"halted,omitempty"`
	Number   int64     `json:"number"` // increases with each stage that a key signs, for any release
	Until    time.Time `json:"until"`  // its expiry: at most Longest after it was signed
}

// Longest is the longest validity of a stage.
const Longest = 30 * 24 * time.Hour

// slack is how far a box's clock may be behind the hubs' clocks.
const slack = 48 * time.Hour

// File is the name of the stage among a fleet's files, and Limit the largest size of its text in bytes.
const (
	File  = "rollout/stage"
	Limit = 1 << 10
)

// purpose is the prefix of the signed text, so that no other signature can pass for one of a stage.
const purpose = "passerelle stage 1\n"

// Sign returns a stage's text: a line of JSON, and a line with the signature.
func (s Stage) Sign(key ed25519.PrivateKey) ([]byte, error) {
	line, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("sign a stage: %w", err)
	}
	signature := ed25519.Sign(key, append([]byte(purpose), line...))
	return format(line, signature), nil
}

func format(line, signature []byte) []byte {
	return fmt.Appendf(nil, "%s\n%s\n", line, base64.RawURLEncoding.EncodeToString(signature))
}

// ErrSignature says that a stage is not signed by the key that the rule names.
var ErrSignature = errors.New("the stage is not signed by the key that the release names")

// Open verifies and parses the text of a stage that a key signed.
func Open(text []byte, key string) (s Stage, err error) {
	if len(text) > Limit {
		return s, fmt.Errorf("a stage of %d bytes; it has at most %d", len(text), Limit)
	}
	public, err := parseKey(key)
	if err != nil {
		return s, err
	}
	line, rest, _ := bytes.Cut(text, []byte("\n"))
	signature, err := base64.RawURLEncoding.DecodeString(string(bytes.TrimSuffix(rest, []byte("\n"))))
	// Base64 can spell the same signature in several ways. Only one of them is accepted.
	if err != nil || !ed25519.Verify(public, append([]byte(purpose), line...), signature) || !bytes.Equal(text, format(line, signature)) {
		return s, ErrSignature
	}
	if err := json.Unmarshal(line, &s); err != nil {
		return Stage{}, fmt.Errorf("read a stage: %w", err)
	}
	if s.Permille < 0 || s.Permille > All || s.Number < 1 || s.Until.IsZero() {
		return Stage{}, fmt.Errorf("read a stage: %d of %d, number %d", s.Permille, All, s.Number)
	}
	return s, nil
}

// Memory is the newest stage that a box has verified. The box saves its JSON.
type Memory struct {
	Key  string `json:"key"`
	Text []byte `json:"text"`
}

// ErrOlder says that the box has seen a later stage.
var ErrOlder = errors.New("the box has seen a later stage than this one")

// Stage returns the stage, nil if the memory has none by that key.
func (m Memory) Stage(key string) *Stage {
	if m.Key != key || key == "" {
		return nil
	}
	s, err := Open(m.Text, key)
	if err != nil {
		return nil
	}
	return &s
}

// Hear returns the memory after a new text, for a release whose rule names that key. If the text is not accepted, the error says why,
// and the memory is unchanged.
func (m Memory) Hear(text []byte, key string) (Memory, error) {
	s, err := Open(text, key)
	if err != nil {
		return m, err
	}
	if last := m.Stage(key); last != nil && (s.Number < last.Number || s.Number == last.Number && !bytes.Equal(text, m.Text)) {
		return m, ErrOlder
	}
	return Memory{key, bytes.Clone(text)}, nil
}

// Facts are what the decision depends on.
type Facts struct {
	Rule    Rule
	Release Hash
	Box     string // its name in its fleet; "" if it has none
	Stage   *Stage // the newest verified one, for any release; nil if there is none
	Now     time.Time
	Trusted bool // the clock is right
}

// Wait is why a box does not take a release now; "" if it may take it.
type Wait string

// The reasons.
const (
	Later  Wait = "later"  // other boxes take it first
	Halted Wait = "halted" // it failed on other boxes, and a person has to decide
)

// Decide returns why the box waits, "" if it need not.
func Decide(f Facts) Wait {
	switch s := f.Stage; {
	case f.Rule == Rule{}:
		return ""
	case s == nil || f.Box == "" || s.Release != f.Release, f.Trusted && !s.good(f.Now):
	case s.Halted:
		return Halted
	case Place(f.Box, f.Release) < s.Permille:
		return ""
	default:
		return Later
	}
	if f.Trusted && f.Rule.over(f.Now) {
		return ""
	}
	return Later
}

// good tells whether a stage is valid now. A stage that would be valid for longer than Longest is not.
func (s Stage) good(now time.Time) bool {
	return now.Before(s.Until) && s.Until.Sub(now) <= Longest+slack
}
