package config

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A backup without a passphrase has the configuration's text with a placeholder for each secret, as Masks writes them.

// namedSecret is a secret of a text: a value with its place, and the name of what it opens, which other texts have, too.
type namedSecret struct {
	span
	name string
}

// namedSecrets returns the secrets of a text that is valid, in its order.
func namedSecrets(text []byte) (all []namedSecret) {
	values, _, err := decode("", text)
	if err != nil {
		return nil
	}
	donations := tables(values["donation"])
	for _, p := range parseTree(text).places {
		path, key, found := strings.Cut(p.path, ".")
		if i := strings.LastIndexByte(p.path, '.'); !found || p.value == 0 || !isSecret(p.path[i+1:]) {
			continue
		}
		s := namedSecret{span{p.value, p.end}, p.path}
		switch number, isDonation := strings.CutPrefix(path, "donation["); {
		case isDonation:
			i, err := strconv.Atoi(strings.TrimSuffix(number, "]"))
			if err != nil || i < 0 || i >= len(donations) {
				continue
			}
			d := keysOf(donations[i])
			s.name = fmt.Sprintf("donation %q", d["name"])
			if strings.HasPrefix(key, "wifi.") {
				s.name = fmt.Sprintf("%s wifi %q", s.name, keysOf(d["wifi"])["ssid"])
			}
			s.name += " " + key[strings.LastIndexByte(key, '.')+1:]
		case path == "hotspot":
			s.name = fmt.Sprintf("hotspot %q %s", keysOf(values["hotspot"])["ssid"], key)
		}
		all = append(all, s)
	}
	return all
}

// WithoutSecrets returns a valid text with placeholders for its secrets, and the names of these: `hotspot "Les Lilas" password`.
func WithoutSecrets(text []byte) (plain []byte, names []string) {
	for _, s := range namedSecrets(text) {
		if value := string(text[s.start:s.end]); value != `""` && value != `''` {
			names = append(names, s.name)
		}
	}
	var m Masks
	return m.Mask(text), names
}

// WithSecrets returns a text of WithoutSecrets with secrets in place of the placeholders: of the present text where that has one
// for the same network, else new random ones, so that a network with a password never becomes an open one; a SIM's PIN is left
// empty then. The names are those of the secrets that are new. The error is of type Problems if the result is not valid.
func WithSecrets(file string, text, present []byte) (whole []byte, new []string, err error) {
	known := map[string]string{}
	for _, s := range namedSecrets(present) {
		known[s.name] = string(present[s.start:s.end])
	}
	at := 0
	for _, s := range namedSecrets(text) {
		if s.start < at || !slices.ContainsFunc(placeholders.FindAllIndex(text[s.start:s.end], 1), func(found []int) bool {
			return found[0] == 0 && found[1] == s.end-s.start
		}) {
			continue
		}
		value, ok := known[s.name]
		if !ok || value == `""` || value == `''` {
			value = strconv.Quote(newPassword())
			if strings.HasSuffix(s.name, " "+pinKey) {
				value = `""` // a SIM has its own
			}
			new = append(new, s.name)
		}
		whole = append(append(whole, text[at:s.start]...), value...)
		at = s.end
	}
	whole = append(whole, text[at:]...)
	_, err = Parse(file, whole)
	return whole, new, err
}

// newPassword returns a password of 70 random bits that people can type.
func newPassword() string {
	text := strings.ToLower(rand.Text()) // letters, and the digits that no letter looks like
	return text[:5] + "-" + text[5:10] + "-" + text[10:14]
}
