package config

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// secrets are keys whose values are never shown, not even in a problem.
var secrets = []string{"password", "passphrase"}

// HasSecret reports whether the configuration has a lender's Wi-Fi password or PIN, so that others must not read its file. The hotspot's
// password does not count, since every resident knows it.
func (c *Config) HasSecret() bool {
	return slices.ContainsFunc(c.Donations, func(d Donation) bool { return d.PIN != "" || d.WiFi != nil && d.WiFi.Passphrase != "" })
}

// pinKey is the key of another secret. Unlike the others it is recognized only if it is spelt exactly, since many words are similar.
const pinKey = "pin"

// isSecret reports whether a word is the key of a secret, or a misspelling of one.
func isSecret(word string) bool {
	word = strings.Trim(word, `"`)
	return word == pinKey || nearest(word, secrets) != ""
}

// secretsIn returns the secrets in a decoded value that have at least 8 characters. Shorter ones cannot be Wi-Fi passwords.
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

// redact removes secrets from a problem's text. Somebody may have written a password as the value of another key by mistake.
func (r *reader) redact(what string) string {
	for _, s := range r.secrets {
		quote := strconv.Quote(s)
		what = strings.NewReplacer(s, "…", quote[1:len(quote)-1], "…").Replace(what)
	}
	return what
}

// quotedText matches the parts of a parser's error that quote the text.
var quotedText = regexp.MustCompile(`"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|U\+[0-9A-F]+`)

// redactQuoted removes quoted text from a parser's error, if the line that the error is about names a secret.
func (t *tree) redactQuoted(line int, what string) string {
	if !namesSecret(t.lineText(line)) {
		return what
	}
	return quotedText.ReplaceAllString(what, "…")
}

// namesSecret reports whether a line of text contains the key of a secret, or a misspelling of one.
func namesSecret(line string) bool {
	words := strings.FieldsFunc(line, func(r rune) bool { return !unicode.IsLetter(r) })
	return slices.ContainsFunc(words, isSecret)
}
