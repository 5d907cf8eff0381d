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

// Ask is a box's question for its membership, as JSON.
type Ask struct {
	Code string `json:"code"` // of the sticker, as [ParseCode] returns it; "" of a member that asks for a token in place of its own
	Key  string `json:"key"`  // the box's public key, an nkey of a user
	// Hold is how many milliseconds the hub may keep an answer that is Waiting back, until there is another one. So a box asks
	// seldom, and hears at once.
	Hold int `json:"hold,omitempty"`
}

// MaxHold is how long a hub keeps an answer back at most.
const MaxHold = 15 * time.Second

// Enrolment is how far a box has come.
type Enrolment string

const (
	// Waiting is for a person of the association, who compares the words.
	Waiting Enrolment = "waiting"
	// Member has the membership in the answer.
	Member Enrolment = "member"
	// Unknown is a code that no sticker has, or one that is too old.
	Unknown Enrolment = "unknown"
	// Used is the code of a sticker that another box has.
	Used Enrolment = "used"
	// Refused was the box by a person, now or after it was a member.
	Refused Enrolment = "refused"
	// Busy is the hub: too many wrong codes came from there, or from everywhere.
	Busy Enrolment = "busy"
)

// Answer is what the hub says to an Ask, as JSON. The same Ask may be repeated.
type Answer struct {
	State       Enrolment `json:"state"`
	Association string    `json:"association,omitempty"` // Waiting and Member
	Token       string    `json:"token,omitempty"`       // Member: a JWT for the box's own key, which is of use to nobody else
}

// CodeBits is how much chance is in a sticker's code.
const CodeBits = 50

// Crockford's base 32 (crockford.com/base32.html): no letter of it can be mistaken for a digit.
const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

const codeLength = CodeBits / 5

// NewCode returns a sticker's code from a source of randomness, as people read it: ABCDE-FGHJK.
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

// FormatCode returns a code as people read it.
func FormatCode(code string) string { return code[:codeLength/2] + "-" + code[codeLength/2:] }

// ErrCode says that a text is no code.
var ErrCode = errors.New("a code has 10 letters and digits, for example 7K2QX-0M4TW")

// ParseCode returns the 10 letters and digits of a code as somebody typed it: in capitals or not, with spaces and hyphens
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

// WordCount is how many words are compared.
const WordCount = 4

// Words are shown by the box and by the hub, and a person compares them: 32 bits of the code and the key that each of them
// has. Somebody who reads the code of a sticker, and enrols another box with it, cannot know the words of the box that waits.
func Words(a Ask) [WordCount]string {
	sum := sha256.Sum256([]byte("passerelle words\n" + a.Code + "\n" + a.Key))
	var words [WordCount]string
	for i := range words {
		words[i] = wordList[sum[i]]
	}
	return words
}

// Asker is what a box that asks for enrolment is called: it has no name of its own yet.
const Asker = "enrol"
