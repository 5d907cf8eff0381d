package config

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// secrets are the keys whose values are never shown: no problem contains one.
var secrets = []string{"password", "passphrase"}

// HasSecret tells whether it has a lender's password or PIN, which only root may read. The hotspot's is known to every resident.
func (c *Config) HasSecret() bool {
	return slices.ContainsFunc(c.Donations, func(d Donation) bool { return d.PIN != "" || d.WiFi != nil && d.WiFi.Passphrase != "" })
}

// pinKey is a secret too. It is known as it is written only: many words are close to it.
const pinKey = "pin"

// isSecret tells whether a word is such a key, or close to one.
func isSecret(word string) bool {
	word = strings.Trim(word, `"`)
	return word == pinKey || nearest(word, secrets) != ""
}

// secretsIn returns the passwords in a value, without those that are too short for any network.
func secretsIn(value any) (list []string) {
	for key, inner := range keysOf(value) {
		if s, ok := inner.(string); ok && len(s) >= 8 && isSecret(key) {
			list = append(list, s)
		}
		list = append(list, secretsIn(inner)...)
	}
	for _, inner := range tables(value) {
		list = append(list, secretsIn(inner)...)
	}
	return list
}

// redact removes passwords from a problem's text. A password may be the value of another key by mistake.
func (r *reader) redact(what string) string {
	for _, s := range r.secrets {
		quote := strconv.Quote(s)
		what = strings.NewReplacer(s, "…", quote[1:len(quote)-1], "…").Replace(what)
	}
	return what
}

// quotedText matches what parsers quote of a text.
var quotedText = regexp.MustCompile(`"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|U\+[0-9A-F]+`)

// redactQuoted removes quotes of a line of text with a secret from a parser's error.
func (t *tree) redactQuoted(line int, what string) string {
	if !namesSecret(t.lineText(line)) {
		return what
	}
	return quotedText.ReplaceAllString(what, "…")
}

// namesSecret tells whether a line of text names a secret, or nearly.
func namesSecret(line string) bool {
	words := strings.FieldsFunc(line, func(r rune) bool { return !unicode.IsLetter(r) })
	return slices.ContainsFunc(words, isSecret)
}
