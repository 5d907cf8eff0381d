package config

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// France stands for the names in france, in a list of essential services. Updates of the box extend that list.
const France = "@france"

// Service is an essential service. All essential services together are the walled garden.
type Service struct {
	Name  string // its host name; all names below it are open, too
	Site  string // the host that residents go to: Name or a name below it; "" if residents get there only from other services
	Topic string // the topic below which residents find it, as a key of the pages' words; "" for a technician's own service
}

// france has the public services that a resident of France cannot do without, in the order in which pages show them.
//
// A name is listed if it was found on 2026-11-22 to be the service's own, and in use. The sources:
//
//	(a) numerique-gouv/ami-app-ios, the State's own app: where FranceConnect leads in 2026. Of its providers, yris.eu
//	    left on 2026-07-01, and oidc.a3bc.io is private and wants an app of its own: they are not here.
//	(b) banquedesterritoires.fr, 2025-10-01: the successor of service-public.fr
//	(c) the service's own public code in 2026: MTES-MCT/histologe, solinumasso/soliguide, refugies-info/karfur,
//	    demarche-numerique/demarche.numerique.gouv.fr, betagouv/aides-jeunes
//	(d) public collections of links to official steps, most of them checked between May and October 2026
//	(e) public collections of emergency numbers in 2026, after service-public.gouv.fr/particuliers/vosdroits/F33954
//	(f) public programs that sign in there, or ask there for an appointment, in 2026
//	(g) our own lessons, which send readers there; two were found in use in public collections in November 2026
//
// Earlier names of a service that still redirect to it are open, too, but are not shown.
//
// Site is written as the sources write it, since some services answer only with www.
var france = []Service{
	{"service-public.gouv.fr", "www.service-public.gouv.fr", "rights"},     // b, d
	{"mesdroitssociaux.gouv.fr", "www.mesdroitssociaux.gouv.fr", "rights"}, // d
	{"caf.fr", "www.caf.fr", "rights"},                                     // d
	{"msa.fr", "www.msa.fr", "rights"},                                     // a, d
	{"chequeenergie.gouv.fr", "chequeenergie.gouv.fr", "rights"},           // d
	{"impots.gouv.fr", "www.impots.gouv.fr", "rights"},                     // a, d
	{"info-retraite.fr", "www.info-retraite.fr", "rights"},                 // d
	{"justice.fr", "www.justice.fr", "rights"},                             // d
	{"demarche.numerique.gouv.fr", "demarche.numerique.gouv.fr", "rights"}, // c
	{"signal.conso.gouv.fr", "signal.conso.gouv.fr", "rights"},             // g
	{"france-services.gouv.fr", "www.france-services.gouv.fr", "rights"},   // g

	{"urgence114.fr", "www.info.urgence114.fr", "help"},                          // e
	{"allo119.gouv.fr", "www.allo119.gouv.fr", "help"},                           // e
	{"arretonslesviolences.gouv.fr", "arretonslesviolences.gouv.fr", "help"},     // d, e
	{"3114.fr", "3114.fr", "help"},                                               // e
	{"masecurite.interieur.gouv.fr", "www.masecurite.interieur.gouv.fr", "help"}, // d
	{"17cyber.gouv.fr", "17cyber.gouv.fr", "help"},                               // g
	{"cybermalveillance.gouv.fr", "www.cybermalveillance.gouv.fr", "help"},       // g
	{"soliguide.fr", "soliguide.fr", "help"},                                     // c

	{"ameli.fr", "www.ameli.fr", "health"},                                       // a, d
	{"monespacesante.fr", "www.monespacesante.fr", "health"},                     // d
	{"monparcourshandicap.gouv.fr", "www.monparcourshandicap.gouv.fr", "health"}, // d
	{"mdphenligne.cnsa.fr", "mdphenligne.cnsa.fr", "health"},                     // d

	{"demande-logement-social.gouv.fr", "www.demande-logement-social.gouv.fr", "housing"}, // d
	{"signal-logement.beta.gouv.fr", "signal-logement.beta.gouv.fr", "housing"},           // c
	{"anil.org", "www.anil.org", "housing"},                                               // d

	{"francetravail.fr", "www.francetravail.fr", "work"},                         // d
	{"1jeune1solution.gouv.fr", "www.1jeune1solution.gouv.fr", "work"},           // c, d
	{"messervices.etudiant.gouv.fr", "www.messervices.etudiant.gouv.fr", "work"}, // d
	{"moncompteformation.gouv.fr", "www.moncompteformation.gouv.fr", "work"},     // g
	{"mon-cep.org", "mon-cep.org", "work"},                                       // g
	{"pix.fr", "pix.fr", "work"},                                                 // g

	{"ants.gouv.fr", "ants.gouv.fr", "papers"}, // d
	{
		"administration-etrangers-en-france.interieur.gouv.fr", // d
		"administration-etrangers-en-france.interieur.gouv.fr", "papers",
	},
	{"refugies.info", "refugies.info", "papers"},                   // c
	{"filigrane.beta.gouv.fr", "filigrane.beta.gouv.fr", "papers"}, // g

	{"franceconnect.gouv.fr", "franceconnect.gouv.fr", "accounts"},                 // a, d
	{"lidentitenumerique.laposte.fr", "lidentitenumerique.laposte.fr", "accounts"}, // a, d
	{"france-identite.gouv.fr", "france-identite.gouv.fr", "accounts"},             // a, d
	{"aidantsconnect.beta.gouv.fr", "aidantsconnect.beta.gouv.fr", "accounts"},     // g
	{"laposte.net", "www.laposte.net", "accounts"},                                 // g

	{"sso.anef.dgef.interieur.gouv.fr", "", ""}, // f: administration-etrangers-en-france signs in there
	{"service-public.fr", "", ""},               // now service-public.gouv.fr
	{"pole-emploi.fr", "", ""},                  // now francetravail.fr
	{"demarches-simplifiees.fr", "", ""},        // now demarche.numerique.gouv.fr
	{"captcha.liveidentity.com", "", ""},        // f: the captcha of rendezvouspasseport.ants.gouv.fr
}

// Services returns all services: first those of france in its order, then the technician's own in the order of Names.
func (e Essential) Services() []Service {
	all := slices.DeleteFunc(slices.Clone(france), func(s Service) bool {
		return !slices.Contains(e.Names, France) && !slices.Contains(e.Names, s.Name)
	})
	for _, name := range e.Names {
		if name != France && !slices.ContainsFunc(all, func(s Service) bool { return s.Name == name }) {
			all = append(all, Service{Name: name, Site: name})
		}
	}
	return all
}

// All returns the names of all services, sorted and unique. France is expanded.
func (e Essential) All() []string {
	var all []string
	for _, s := range e.Services() {
		all = append(all, s.Name)
	}
	slices.Sort(all)
	return all
}

// parseService accepts a host name that one organisation controls, or France. It refuses public suffixes (publicsuffix.org) such as
// "fr" or "gouv.fr", since different organisations have names below them.
func parseService(s string) (string, error) {
	switch {
	case s == France:
		return s, nil
	case strings.HasPrefix(s, "@"):
		return "", fmt.Errorf("unknown list %q; write %q or a host name", s, France)
	case strings.HasSuffix(s, ".") && len(s) > 1:
		return "", fmt.Errorf("%q has a point at its end; use %q", s, strings.TrimRight(s, "."))
	case strings.Contains(s, "/") || strings.Contains(s, ":"):
		if u, err := url.Parse(s); err == nil && u.Hostname() != "" {
			return "", fmt.Errorf("%q is a web address; use %q", s, strings.TrimPrefix(strings.ToLower(u.Hostname()), "www."))
		}
		return "", fmt.Errorf("%q is a web address; write its host name alone, as in caf.fr", s)
	}
	if _, err := parseHostname(s); err != nil {
		return "", err
	}
	if suffix, _ := publicsuffix.PublicSuffix(s); suffix == s {
		return "", errors.New("all names below " + s + " would be open, regardless of their owner; " +
			"write one organisation's name, as in caf.fr")
	}
	return s, nil
}
