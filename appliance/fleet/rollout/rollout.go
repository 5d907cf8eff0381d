// Package rollout decides whether a box takes a release now, or after others have shown that it works. It owns the rule that is
// signed with a release, the stage that a fleet's hubs sign, and a box's place. It is pure: it must not know how a release or a
// stage reaches a box, nor who judges how the boxes do.
//
// # Who is believed
//
//	rule   in the release, signed by two of the release role   it goes out in stages, whose stages count, and for how long
//	stage  a record, signed by the key that the rule names     so many of 1000 boxes may take it; or nobody, for now
//	place  of the box, computed by itself                      from its name, which is a hash of its key, and the release's hash
//
// A stage only narrows what the release role has signed. Who has the hubs' key can have boxes take a release earlier within that,
// or wait; they cannot choose another release, nor an older one, since a stage names one release by its hash and the box installs
// only the newest one that is signed. So this key is in no root, no other signature depends on it, and the next release may name
// another. All of it is one signature over a line of text, which the box's daemon checks. What has rights on the card learns
// nothing of stages, and believes the release role only.
//
// # Without hubs
//
// A stage is good for a month at most. A box that knows none that is good (it has no fleet, or its hubs are gone) takes the release
// once the rule's days are over. Somebody at the box may always take it.
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

// All is the stage of all boxes. Places are below it.
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

// Place returns the place of a box for a release, from 0 to 999: each release has other boxes first.
func Place(box string, release Hash) int {
	h := sha256.New()
	h.Write([]byte("passerelle place\n" + box + "\n"))
	h.Write(release[:])
	place, _ := bits.Mul64(binary.BigEndian.Uint64(h.Sum(nil)), All) // no place is likelier than another by more than 2^-54
	return int(place)
}

// Rule is signed with a release that goes out in stages. The zero Rule is that of a release that all boxes take at once.
type Rule struct {
	Day  string `json:"day"`  // when it was signed, YYYY-MM-DD
	Days int    `json:"days"` // after which a box without a stage takes it
	Key  string `json:"key"`  // whose stages count, as FormatKey writes it; "" for nobody's
}

// MaxDays is the limit of a rule's days.
const MaxDays = 90

// Check returns why a rule cannot be followed. The zero Rule can.
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

// FormatKey returns the text of a public key.
func FormatKey(key ed25519.PublicKey) string { return base64.RawURLEncoding.EncodeToString(key) }

func parseKey(text string) (ed25519.PublicKey, error) {
	key, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("%q is no key of stages", text)
	}
	return key, nil
}

// Stage is how far a release may go.
type Stage struct {
	Release  Hash      `json:"release"`
	Permille int       `json:"permille"` // boxes with a place below it may take it
	Halted   bool      `json:"halted,omitempty"`
	Number   int64     `json:"number"` // grows with each stage that a key signs, of whatever release
	Until    time.Time `json:"until"`  // when it ends: at most Longest after it was signed
}

// Longest is how long a stage is good for at most.
const Longest = 30 * 24 * time.Hour

// slack is how far a box's clock may be behind the hubs'.
const slack = 48 * time.Hour

// File is the name of the stage's text among a fleet's files, and Limit the most bytes that it may have.
const (
	File  = "rollout/stage"
	Limit = 1 << 10
)

// purpose begins what is signed, so that a signature of something else is never one of a stage.
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

// ErrSignature says that a stage is not signed by the key whose stages count.
var ErrSignature = errors.New("the stage is not signed by the key that the release names")

// Open reads the text of a stage that a key signed.
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
	// A signature has several spellings in base64, and only one is a stage's.
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

// Memory is the newest stage that a box has verified. Its JSON is kept.
type Memory struct {
	Key  string `json:"key"`
	Text []byte `json:"text"`
}

// ErrOlder says that the box has seen a later stage.
var ErrOlder = errors.New("the box has seen a later stage than this one")

// Stage returns the stage, nil if there is none of that key.
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

// Hear returns the memory after a text was heard, for a release that names that key. Its error says why the text is not taken; the
// memory is then as before.
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
	Box     string // its name in its fleet; "" without one
	Stage   *Stage // the newest one that was verified, of whatever release; nil for none
	Now     time.Time
	Trusted bool // the time is known to be right
}

// Wait is why a box does not take a release now; "" if it may.
type Wait string

// The reasons.
const (
	Later  Wait = "later"  // others take it first
	Halted Wait = "halted" // it went wrong on others, and a person decides
)

// Decide returns why the box waits.
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

// good tells whether a stage counts now. One that would count for longer than any may was not signed as one.
func (s Stage) good(now time.Time) bool {
	return now.Before(s.Until) && s.Until.Sub(now) <= Longest+slack
}
