package captive

import (
	_ "embed"
	"fmt"
	"html/template"
	"slices"

	"github.com/BurntSushi/toml"

	"passerelle/appliance/state"
	"passerelle/captive/search"
	"passerelle/captive/web"
)

// Search searches the essential services and all shares: see [web.Mount].
func (r *request) Search(query string, most int) []web.Found {
	var all []web.Found
	for i, share := range r.server.shares {
		if share.Search != nil {
			all = append(all, share.Search(r.Words, query, most)...)
		}
		if i == 0 { // the first share is the lessons: services come after them
			all = append(all, r.searchServices(query, most))
		}
	}
	all = slices.DeleteFunc(all, func(f web.Found) bool { return len(f.Tiles) == 0 })
	best := 0.0
	for _, f := range all {
		best = max(best, f.Sure)
	}
	// Weak kinds are dropped, as weak results are within a kind: they would hide the good ones.
	all = slices.DeleteFunc(all, func(f web.Found) bool { return f.Sure < best*leastSure })
	sure := func(f web.Found) int {
		if f.Sure >= best*nearlySure {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(all, func(a, b web.Found) int { return sure(a) - sure(b) })
	return all
}

// A kind of results is left out if its Sure is less than leastSure of the best kind's. Kinds with at least nearlySure of the best
// are shown first, in their usual order: lessons, then services, then the other shares.
const leastSure, nearlySure = 0.6, 0.75

// The weights of a service's words, and the greatest number of services shown.
const (
	inKeyword, inTitle, inPurpose, inKeywordApart = 12, 8, 3, 2

	maxServices = 4
)

//go:embed services.toml
var servicesFile string

// serviceKeywords returns the words that people use for what an essential service does, by service name and language. The file is
// decoded for each index, and the result is not kept in memory.
func serviceKeywords() (all map[string]map[string][]string) {
	if _, err := toml.Decode(servicesFile, &all); err != nil {
		panic(fmt.Errorf("services.toml: %w", err)) // it is embedded: the program was built wrong
	}
	return all
}

// serviceIndex is a search index of the essential services that are shown, in one language.
type serviceIndex struct {
	services []state.Service
	words    *search.Index
}

func newServiceIndex(w *web.Words, services []state.Service) *serviceIndex {
	x := new(serviceIndex)
	var b search.Builder
	keywords := serviceKeywords()
	for _, s := range services {
		if s.Site == "" {
			continue
		}
		shown := service(w, s)
		b.Document()
		b.AddPhrase(s.Name, inKeyword, inKeywordApart)
		for _, words := range keywords[s.Name] {
			for _, keyword := range words {
				b.AddPhrase(keyword, inKeyword, inKeywordApart)
			}
		}
		b.Add(shown.Title, search.Whole, inTitle)
		b.Add(shown.Purpose, search.Whole, inPurpose)
		x.services = append(x.services, s)
	}
	x.words = b.Index()
	return x
}

// serviceIndex returns the snapshot's index in the request's language.
func (r *request) serviceIndex() *serviceIndex {
	if x, ok := r.found.Load(r.Words.Code); ok {
		return x.(*serviceIndex)
	}
	x, _ := r.found.LoadOrStore(r.Words.Code, newServiceIndex(r.Words, *r.site.Services))
	return x.(*serviceIndex)
}

// searchServices finds essential services, while they are open.
func (r *request) searchServices(query string, most int) (found web.Found) {
	if !r.site.Essential || r.site.Services == nil {
		return found
	}
	x := r.serviceIndex()
	results, _ := search.Search(query, nil, x.words) // in memory: no error
	found = web.Found{Title: r.Words.T("essential.title"), Pictogram: "bridge"}
	for i, hit := range results.Best(min(most, maxServices)) {
		if i == 0 {
			found.Sure = hit.Sure
		}
		s := x.services[hit.Doc]
		shown := service(r.Words, s)
		topic := s.Topic
		if topic == "" {
			topic = "own"
		}
		tile := web.Tile{
			Href: "/essential", At: s.Name, Title: shown.Title, Text: shown.Purpose,
			Picture: template.HTML(`<span class="pictogram">` + string(web.Pictogram(web.TopicPictograms[topic])) + `</span>`),
			Meta:    []web.Fact{{Text: shown.Host}},
		}
		found.Tiles = append(found.Tiles, tile)
	}
	return found
}
