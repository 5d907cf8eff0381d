package protocol

import (
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Ask is a box's request for a membership, as JSON.
type Ask struct {
	Code string `json:"code"` // of the sticker, as [ParseCode] returns it; "" from a member that asks for a new token
	Key  string `json:"key"`  // the box's public key, a user nkey
	// Hold is how many milliseconds the hub may hold an answer that says Waiting, in case another one comes up (long polling). So a
	// box asks rarely, and hears at once.
	Hold int `json:"hold,omitempty"`
}

// MaxHold is the longest time that a hub holds an answer.
const MaxHold = 15 * time.Second

// Enrolment is the state of a box's request for membership.
type Enrolment string

const (
	// Waiting means that somebody of the association has yet to compare the words.
	Waiting Enrolment = "waiting"
	// Member means that the answer contains the membership.
	Member Enrolment = "member"
	// Unknown means that no sticker has the code, or that the code is too old.
	Unknown Enrolment = "unknown"
	// Used means that another box has used the sticker's code.
	Used Enrolment = "used"
	// Refused means that a person refused the box, now or after it was a member.
	Refused Enrolment = "refused"
	// Busy means that the hub got too many wrong codes, from this address or from all.
	Busy Enrolment = "busy"
)

// Answer is the hub's answer to an Ask, as JSON. An Ask is idempotent.
type Answer struct {
	State       Enrolment `json:"state"`
	Association string    `json:"association,omitempty"` // if Waiting or Member
	Token       string    `json:"token,omitempty"`       // if Member: a JWT for the box's own key, useless to anybody else
}

// CodeBits is the entropy of a sticker's code, in bits.
const CodeBits = 50

// Crockford's base 32 (crockford.com/base32.html): none of its letters can be mistaken for a digit.
const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

const codeLength = CodeBits / 5

// NewCode returns a sticker's code from a source of randomness, in the form that people read: ABCDE-FGHJK.
func NewCode(random io.Reader) (string, error) {
	var b [codeLength]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("make a code: %w", err)
	}
	for i := range b {
		b[i] = alphabet[b[i]%32]
	}
	return FormatCode(string(b[:])), nil
}

// FormatCode returns a code in the form that people read.
func FormatCode(code string) string { return code[:codeLength/2] + "-" + code[codeLength/2:] }

// ErrCode says that a text is not a code.
var ErrCode = errors.New("a code has 10 letters and digits, for example 7K2QX-0M4TW")

// ParseCode returns the 10 letters and digits of a code as somebody typed it: in upper or lower case, with spaces and hyphens
// anywhere, O for 0, I and L for 1.
func ParseCode(typed string) (string, error) {
	var code strings.Builder
	for _, r := range strings.ToUpper(typed) {
		switch r {
		case ' ', '-', '\t', '\u00a0':
			continue
		case 'O':
			r = '0'
		case 'I', 'L':
			r = '1'
		}
		if !strings.ContainsRune(alphabet, r) || code.Len() == codeLength {
			return "", ErrCode
		}
		code.WriteRune(r)
	}
	if code.Len() != codeLength {
		return "", ErrCode
	}
	return code.String(), nil
}

//go:embed words.txt
var wordsText string

var wordList = strings.Fields(wordsText)

// WordCount is how many words people compare.
const WordCount = 4

// Words returns the words that the box and the hub show, and that a person compares: 32 bits of a hash of the code and the key that
// each side has. Somebody who reads a sticker's code and enrols another box with it cannot produce the words of the waiting box.
func Words(a Ask) [WordCount]string {
	sum := sha256.Sum256([]byte("passerelle words\n" + a.Code + "\n" + a.Key))
	var words [WordCount]string
	for i := range words {
		words[i] = wordList[sum[i]]
	}
	return words
}

// Asker is the name of a box that asks for enrolment: it has no name of its own yet.
const Asker = "enrol"
