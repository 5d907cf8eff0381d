package web

import (
	"html/template"
	"regexp"
	"strings"
)

// Phone is a number to call, or to send a text message to.
type Phone struct {
	Href template.URL // "tel:+33180059880"
	Text string       // "01 80 05 98 80"
}

// dialled matches what a phone dials (RFC 3966): an international, national or short number.
var dialled = regexp.MustCompile(`^\+?[0-9]{2,15}$`)

// notDialled removes the signs that people write between digits.
var notDialled = strings.NewReplacer(" ", "", noBreak, "", narrowNoBreak, "", ".", "", "-", "", "(0)", "", "/", "")

// NewPhone returns a number to call. A text that no phone can dial, such as two numbers in one, gets no link.
func NewPhone(number string) Phone { return newPhone("tel:", number) }

// NewSMS is NewPhone for a number to send a text message to.
func NewSMS(number string) Phone { return newPhone("sms:", number) }

func newPhone(scheme, number string) Phone {
	p := Phone{Text: strings.ReplaceAll(number, " ", noBreak)}
	if dial := notDialled.Replace(number); dialled.MatchString(dial) {
		p.Href = template.URL(scheme + dial)
	}
	return p
}
