package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// France stands, in a list of essential services, for the names in france: a box that is updated learns of new ones.
const France = "@france"

// france are the public services that a resident of France cannot do without, each with all names below it.
var france = []string{
	"1jeune1solution.gouv.fr",
	"ameli.fr",
	"ants.gouv.fr",
	"caf.fr",
	"franceconnect.gouv.fr",
	"francetravail.fr",
	"impots.gouv.fr",
	"info-retraite.fr",
	"msa.fr",
	"service-public.gouv.fr",
}

// All returns the names of all services, sorted, each once: France is written out.
func (e Essential) All() []string {
	var all []string
	for _, n := range e.Names {
		if n == France {
			all = append(all, france...)
			continue
		}
		all = append(all, n)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// parseService reads a host name that one organisation answers for, or France. Below a public suffix (publicsuffix.org)
// such as "fr" or "gouv.fr" anybody may have a name.
func parseService(s string) (string, error) {
	switch {
	case s == France:
		return s, nil
	case strings.HasPrefix(s, "@"):
		return "", fmt.Errorf("%q is no list that the box knows; write %q or a host name", s, France)
	case strings.Contains(s, "/") || strings.Contains(s, ":"):
		return "", fmt.Errorf("%q is a web address; write its host name alone, as in caf.fr", s)
	}
	if _, err := parseHostname(s); err != nil {
		return "", err
	}
	if suffix, _ := publicsuffix.PublicSuffix(s); suffix == s {
		return "", errors.New("all names below " + s + " would be open, whosever they are; write one organisation's name, as in caf.fr")
	}
	return s, nil
}
