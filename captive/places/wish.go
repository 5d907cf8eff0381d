package places

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"passerelle/captive/places/directory"
	"passerelle/captive/web"
)

// Bounds on a query.
const (
	maxQuery = 200 // characters
	perPage  = 10
	maxPage  = 10_000
)

// wish says which places a reader wants. It is what a page's query says, without the language.
type wish struct {
	Words     string
	Page      int    // from 1
	Service   string // key of a service; "" for any
	Audience  string // key of an audience; "" for any
	Care      string // key of a kind of care; "" for any
	Free      bool
	Open      bool
	Bus       bool
	Languages bool
}

// parseWish parses a query. Unknown keys and values are ignored.
func parseWish(q url.Values) wish {
	words := strings.Join(strings.Fields(strings.ToValidUTF8(q.Get("q"), "")), " ")
	if cut := []rune(words); len(cut) > maxQuery {
		words = string(cut[:maxQuery])
	}
	page, err := strconv.Atoi(q.Get("page"))
	if err != nil {
		page = 1
	}
	return wish{
		Words: words, Page: min(max(page, 1), maxPage),
		Service:   known(directory.Services, q.Get("service")),
		Audience:  known(directory.Audiences, q.Get("for")),
		Care:      known(directory.Care, q.Get("care")),
		Free:      q.Get("free") != "",
		Open:      q.Get("open") != "",
		Bus:       q.Get("bus") != "",
		Languages: q.Get("languages") != "",
	}
}

// known returns a term's key, or "" for an unknown one.
func known(terms []directory.Term, key string) string {
	if termBit(terms, key) == 0 {
		return ""
	}
	return key
}

// termBit returns the bit of the term with a key, or 0 if there is none.
func termBit(terms []directory.Term, key string) directory.Terms {
	i := slices.IndexFunc(terms, func(t directory.Term) bool { return t.Key == key })
	if i < 0 {
		return 0
	}
	return 1 << i
}

// values returns the wish as a query, without the language.
func (w wish) values() url.Values {
	v := url.Values{}
	for name, value := range map[string]string{"q": w.Words, "service": w.Service, "for": w.Audience, "care": w.Care} {
		if value != "" {
			v.Set(name, value)
		}
	}
	for name, on := range map[string]bool{"free": w.Free, "open": w.Open, "bus": w.Bus, "languages": w.Languages} {
		if on {
			v.Set(name, "1")
		}
	}
	if w.Page > 1 {
		v.Set("page", strconv.Itoa(w.Page))
	}
	return v
}

// link returns a path with the wish as its query, and with a chosen language.
func (w wish) link(path, language string) string {
	v := w.values()
	if language != "" {
		v.Set("lang", language)
	}
	if len(v) == 0 {
		return path
	}
	return path + "?" + v.Encode()
}

// postcode matches words that are a postcode.
var postcode = regexp.MustCompile(`^[0-9]{5}$`)

// query returns the wish as a query for the directory, without From and Now.
func (w wish) query() directory.Query {
	return directory.Query{
		Services:  termBit(directory.Services, w.Service),
		Audiences: termBit(directory.Audiences, w.Audience),
		Care:      termBit(directory.Care, w.Care),
		Languages: w.Languages, Free: w.Free, OpenNow: w.Open, Itinerant: w.Bus, Words: w.Words,
	}
}

// choice is a filter, with a link that switches it on or off. Of some kinds only one filter is on at a time.
type choice struct {
	Href, Pictogram, Text string
	On                    bool
}

// choices are filters of a kind.
type choices struct {
	Key, Title string
	All        []choice
}

// The pictograms of the schema's terms, by key. The message of a term is term.KIND.KEY.
var (
	servicePictograms = map[string]string{
		"procedures": "papers", "everyday": "computer", "work": "briefcase", "safety": "lock", "parenting": "family",
		"leisure": "palette", "culture": "bulb", "equipment": "wifi", "purchase": "tag",
	}
	audiencePictograms = map[string]string{
		"youth": "young", "students": "cap", "families": "family", "seniors": "senior", "women": "woman",
	}
	carePictograms = map[string]string{
		"hearing": "ear", "moving": "wheelchair", "mental": "mind", "reading": "letters", "english": "speech",
		"languages": "speech", "sight": "eye",
	}
)

// filters returns all filters as links: the services, then the others.
func (w wish) filters(words *web.Words, language string) (services choices, others []choices) {
	link := func(change func(*wish)) string {
		to := w
		to.Page = 1
		change(&to)
		return to.link("/places", language)
	}
	// one returns the filters of a kind of which at most one is set.
	one := func(terms []directory.Term, pictograms map[string]string, text func(directory.Term) string, field func(*wish) *string) (all []choice) {
		for _, t := range terms {
			key, on := t.Key, *field(&w) == t.Key
			if on {
				key = ""
			}
			all = append(all, choice{link(func(to *wish) { *field(to) = key }), pictograms[t.Key], text(t), on})
		}
		return all
	}
	toggle := func(pictogram, text string, field func(*wish) *bool) choice {
		return choice{link(func(to *wish) { *field(to) = !*field(to) }), pictogram, text, *field(&w)}
	}
	services = choices{"services", words.T("places.choose"), one(directory.Services, servicePictograms,
		in(words, "service"), func(w *wish) *string { return &w.Service })}
	care := slices.DeleteFunc(slices.Clone(directory.Care), func(t directory.Term) bool {
		return t.Key == "english" || t.Key == "languages" // the filter Languages covers both
	})
	others = []choices{
		{"how", words.T("places.how"), []choice{
			toggle("clock", words.T("filter.open"), func(w *wish) *bool { return &w.Open }),
			toggle("free", words.T("filter.free"), func(w *wish) *bool { return &w.Free }),
			toggle("bus", words.T("filter.bus"), func(w *wish) *bool { return &w.Bus }),
			toggle("speech", words.T("filter.languages"), func(w *wish) *bool { return &w.Languages }),
		}},
		{"who", words.T("places.who"), one(directory.Audiences, audiencePictograms,
			in(words, "audience"), func(w *wish) *string { return &w.Audience })},
		{"care", words.T("places.care"), one(care, carePictograms,
			in(words, "care"), func(w *wish) *string { return &w.Care })},
	}
	return services, others
}

// active returns the filters that are set, and the words. The link of each removes it.
func (w wish) active(words *web.Words, language string) (all []choice) {
	services, others := w.filters(words, language)
	for _, kind := range append([]choices{services}, others...) {
		for _, c := range kind.All {
			if c.On {
				all = append(all, c)
			}
		}
	}
	if w.Words != "" {
		to := w
		to.Words, to.Page = "", 1
		all = append(all, choice{to.link("/places", language), "search", words.Isolate(w.Words), true})
	}
	return all
}
