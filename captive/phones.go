package captive

import "time"

// phone is a service's telephone number, which needs no internet.
type phone struct {
	number  string     // as it is written in France
	checked time.Month // of 2026, when it was compared with its sources
}

// phones holds the telephone numbers of essential services, by service name. The numbers are valid in the whole of mainland France,
// and at least two public sources of 2021 to 2026 agree on each. Opening hours are left out, since they differ by department.
// Emergency numbers and helplines have a page of their own (places/numbers.toml).
//
//   - caf.fr: aide-sociale.fr (fin des appels surtaxés), lepointdujour.fr of 24 August 2025
//   - ameli.fr: goodassur.com (contacter la Sécurité sociale), aide-sociale.fr
//   - service-public.gouv.fr: dila.premier-ministre.gouv.fr (Allô Service Public 3939), service-public.fr, F33683
//   - impots.gouv.fr: public collections of administrations' numbers of 2025 and 2026
//   - chequeenergie.gouv.fr: two public guides to the chèque énergie of 2026
var phones = map[string]phone{
	"caf.fr":                 {"32 30", time.November},
	"ameli.fr":               {"36 46", time.November},
	"service-public.gouv.fr": {"39 39", time.November},
	"impots.gouv.fr":         {"0 809 401 401", time.November},
	"chequeenergie.gouv.fr":  {"0 805 204 805", time.November},
}
