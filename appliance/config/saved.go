package config

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A backup without a passphrase has the configuration's text with placeholders for its secrets, in the form of Masks.

// namedSecret is a secret in a text: the position of its value, and a name for what it opens. The same network has the same name in
// other texts.
type namedSecret struct {
	span
	name string
}

// namedSecrets returns the secrets of a valid text, in order.
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

// WithoutSecrets replaces the secrets in a valid text by placeholders. names has the names of the secrets, such as
// `hotspot "Les Lilas" password`.
func WithoutSecrets(text []byte) (plain []byte, names []string) {
	for _, s := range namedSecrets(text) {
		if value := string(text[s.start:s.end]); value != `""` && value != `''` {
			names = append(names, s.name)
		}
	}
	var m Masks
	return m.Mask(text), names
}

// WithSecrets replaces the placeholders in a text of WithoutSecrets by secrets. It takes them from the present text if that has one for
// the same network. Otherwise it makes new random ones, so that a network with a password never becomes an open one, and leaves a SIM's
// PIN empty. new has the names of the secrets that present did not have. The error is of type Problems if the result is not valid.
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
				value = `""` // a new PIN would not be the SIM's
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

// newPassword returns a password of 70 random bits that is easy to type.
func newPassword() string {
	text := strings.ToLower(rand.Text()) // letters, and only digits that do not look like letters
	return text[:5] + "-" + text[5:10] + "-" + text[10:14]
}
