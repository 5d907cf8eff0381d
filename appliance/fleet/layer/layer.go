// Package layer merges what a fleet says with a box's own configuration. It owns the levels, their order, and what a fragment may
// change. config.Fragment decides which keys a fragment can have at all. The package is pure, and must not know who delivers a
// fragment, who signed it, or where it is kept.
//
// # From a signature to a limit
//
//	a folder that people signed ──▶ trust verifies ──▶ config.ParseFragment ──▶ kept on the box's disk
//	                                                                                │
//	                        the technician's file ──▶ Merge ◀───────────────────────┘
//	                                                    │
//	                             the configuration in use, and which layer set what
//
// A fragment is a target of The Update Framework with the path that [Path] returns. The path decides who may sign it: the release role
// signs for all, and delegates the folder of one region or association to its technician's key. A fragment does not say for whom it
// is, since its text could name anybody.
//
// Nothing of this is written into the technician's file. Without [fleet] in that file, no layer has any effect.
//
// # What a fragment may do
//
// The order is all, region, association, then the file, which wins. A value in the file counts as somebody's choice if it is neither
// the default nor what passerelle init writes, or if its key is in [fleet] keep. A fragment may change the other values in these ways:
//
//   - limits, rate of essential services: lower them, whatever the order of the layers
//   - languages: offer fewer of them, or in another order; the one for phones that accept none of them stays
//   - essential services: remove some; what it adds is a proposal, which a technician accepts on the box
//   - addresses of places and agenda, hours of the fleet's traffic, the line on the first page: the last layer that has one wins
package layer

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"passerelle/appliance/config"
)

// Level is the part of the fleet that a fragment is for.
type Level string

// The levels.
const (
	All         Level = "all"
	Region      Level = "region"
	Association Level = "association"
)

// Levels holds the levels in their order: a later one overrides an earlier one.
var Levels = []Level{All, Region, Association}

// Layer is a fragment with its origin.
type Layer struct {
	Level    Level
	Name     string // of the region or association; "" for All
	Fragment *config.Fragment
}

// String returns the owner of the layer: "the fleet", "region idf".
func (l Layer) String() string { return Whose(l.Level, l.Name) }

// Whose returns the owner of a level's layer, as people read it.
func Whose(level Level, name string) string {
	if level == All {
		return "the fleet"
	}
	return string(level) + " " + name
}

// Folder returns the folder of a level's signed files in a repository. A delegation of the folder covers them.
func Folder(level Level, name string) string {
	if level == All {
		return path.Join("layers", string(All))
	}
	return path.Join("layers", string(level), name)
}

// Path returns the path of a level's fragment in a repository. The name must pass trust.CheckRole.
func Path(level Level, name string) string { return path.Join(Folder(level, name), "fragment.toml") }

// Setting is a key of the configuration in use that a layer has set.
type Setting struct {
	Key   string // dotted, as in the file; portal.fr for a line of text
	Value string // as TOML
	By    string // as Layer.String
}

// Refused is something in a layer that has no effect.
type Refused struct {
	Key   string
	Value string // what has no effect, as TOML
	By    string
	Why   string // as text
}

// Proposal is an essential service that a layer adds if a technician accepts it.
type Proposal struct {
	Service  string // its host name
	By       string
	Accepted bool
}

// Result is a configuration with the effect of the layers.
type Result struct {
	Config   *config.Config    // the file's own, by the same pointer, if the box has no fleet
	Portal   map[string]string // the line on the first page, by language; nil if there is none
	Set      []Setting         // in the order of config.FragmentKeys
	Refused  []Refused         // by key like Set, then in the order of the layers
	Proposed []Proposal        // in the order of the proposals
}

// Merge returns the configuration in use: the file's, with what the layers may change. accepted holds the proposed services that a
// technician has accepted; one that no layer proposes any more has no effect. Merge changes none of its arguments.
func Merge(file *config.Config, layers []Layer, accepted []string) Result {
	if !file.Fleet.Member() {
		return Result{Config: file}
	}
	ordered := slices.Clone(layers)
	slices.SortStableFunc(ordered, func(a, b Layer) int { return slices.Index(Levels, a.Level) - slices.Index(Levels, b.Level) })
	used := *file
	m := &merger{file: file, used: &used, accepted: accepted, chosen: file.Chosen()}
	for _, l := range ordered {
		m.layer, m.values = l.String(), l.Fragment.Values()
		m.apply(l.Fragment)
	}
	m.accept()
	place := func(key string) int { return slices.Index(config.FragmentKeys, key) }
	slices.SortStableFunc(m.set, func(a, b Setting) int { return place(a.Key) - place(b.Key) })
	slices.SortStableFunc(m.refused, func(a, b Refused) int { return place(a.Key) - place(b.Key) })
	return Result{m.used, m.portal, m.set, m.refused, m.proposed}
}

// merger is the state of one merge.
type merger struct {
	file, used *config.Config
	accepted   []string
	chosen     []string          // keys that somebody chose in the file
	layer      string            // the layer that is being merged
	values     map[string]string // of that layer
	set        []Setting
	refused    []Refused
	proposed   []Proposal
	portal     map[string]string
}

func (m *merger) apply(f *config.Fragment) {
	m.languages(f.Languages)
	lower(m, "limits.session", f.Session, &m.used.Limits.Session, false)
	lower(m, "limits.download", f.Download, &m.used.Limits.Download, true)
	lower(m, "limits.upload", f.Upload, &m.used.Limits.Upload, true)
	lower(m, "limits.data", f.Data, &m.used.Limits.Data, true)
	lower(m, "limits.after", f.After, &m.used.Limits.After, false)
	lower(m, "essential.rate", f.Rate, &m.used.Essential.Rate, false)
	m.remove(f.Remove)
	m.propose(f.Add)
	replace(m, "places.url", f.Places, &m.used.Places.URL)
	replace(m, "agenda.url", f.Agenda, &m.used.Agenda.URL)
	if f.Hours != nil {
		replace(m, "fleet.hours", &f.Hours, &m.used.Fleet.Hours)
	}
	for _, language := range slices.Sorted(maps.Keys(f.Portal)) {
		m.line(language, f.Portal[language])
	}
}

// stays returns why the file's value of a key stays, "" if a layer may change it. of is the file's key for it.
func (m *merger) stays(key, of string) string {
	switch {
	case slices.Contains(m.file.Fleet.Keep, key):
		return "the box keeps its own ([fleet] keep)"
	case slices.Contains(m.chosen, of):
		return "the box's file says otherwise"
	}
	return ""
}

// open tells whether a layer may change a key. If not, it notes the layer's value as refused.
func (m *merger) open(key, of string) bool {
	why := m.stays(key, of)
	if why != "" {
		m.refuse(key, m.values[key], why)
	}
	return why == ""
}

// refuse notes something that has no effect.
func (m *merger) refuse(key, value, why string) {
	m.refused = append(m.refused, Refused{key, value, m.layer, why})
}

// sets notes that the layer has set a key. What an earlier layer set for it has no effect any more.
func (m *merger) sets(key string) {
	if i := slices.IndexFunc(m.set, func(s Setting) bool { return s.Key == key }); i >= 0 {
		before := m.set[i]
		m.refused = append(m.refused, Refused{key, before.Value, before.By, m.layer + " says otherwise"})
		m.set = slices.Delete(m.set, i, i+1)
	}
	m.set = append(m.set, Setting{key, m.values[key], m.layer})
}

// lower sets a limit if the new one is lower. none tells whether 0 means unlimited; otherwise 0 is the lowest limit.
func lower[T cmp.Ordered](m *merger, key string, to, limit *T, none bool) {
	var zero T
	switch {
	case to == nil || !m.open(key, key):
	case *to == *limit:
		m.refuse(key, m.values[key], "it is so already")
	case none && *to == zero, *to > *limit && !(none && *limit == zero):
		m.refuse(key, m.values[key], "it is more than the box gives without it, and a fragment only lowers")
	default:
		*limit = *to
		m.sets(key)
	}
}

// replace sets a value without comparing it.
func replace[T any](m *merger, key string, to, value *T) {
	if to != nil && m.open(key, key) {
		*value = *to
		m.sets(key)
	}
}

// languages offers fewer languages, or the same in another order.
func (m *merger) languages(want []string) {
	const key = "box.languages"
	if want == nil || !m.open(key, key) {
		return
	}
	box := &m.used.Box
	var next []string
	for _, language := range want {
		if slices.Contains(box.Languages, language) {
			next = append(next, language)
		} else {
			m.refuse(key, quoted(language), "the box does not offer it, and a fragment adds none")
		}
	}
	if !slices.Contains(next, box.Language) {
		next = append(next, box.Language)
	}
	if slices.Equal(next, box.Languages) {
		m.refuse(key, m.values[key], "it is so already")
		return
	}
	box.Languages = next
	m.sets(key)
}

// remove closes essential services, and withdraws proposals for them.
func (m *merger) remove(names []string) {
	const key = "essential.remove"
	var done []string
	for _, name := range names {
		gone := config.Essential{Names: []string{name}}.Expand()
		isGone := func(n string) bool { return slices.Contains(gone, n) }
		m.proposed = slices.DeleteFunc(m.proposed, func(p Proposal) bool { return isGone(p.Service) })
		if why := m.stays(key, "essential.names"); why != "" {
			m.refuse(key, quoted(name), why)
			continue
		}
		open := m.used.Essential.Expand()
		left := slices.DeleteFunc(slices.Clone(open), isGone)
		if len(left) == len(open) {
			m.refuse(key, quoted(name), "it is not open")
			continue
		}
		m.used.Essential.Names = left
		done = append(done, name)
	}
	if done != nil { // several layers may each remove some
		m.set = append(m.set, Setting{key, quoted(done...), m.layer})
	}
}

// propose notes services that a technician may accept.
func (m *merger) propose(names []string) {
	const key = "essential.add"
	for _, name := range names {
		why := m.stays(key, "")
		switch {
		case why != "":
		case m.used.Essential.Opens(name):
			why = "it is open already"
		case slices.ContainsFunc(m.proposed, func(p Proposal) bool { return p.Service == name }):
			why = "it is proposed already"
		}
		if why != "" {
			m.refuse(key, quoted(name), why)
			continue
		}
		m.proposed = append(m.proposed, Proposal{name, m.layer, slices.Contains(m.accepted, name)})
	}
}

// accept opens the proposed services that a technician has accepted.
func (m *merger) accept() {
	for i, p := range m.proposed {
		if !p.Accepted {
			continue
		}
		if len(m.used.Essential.Names) >= config.MaxEssential {
			m.proposed[i].Accepted = false
			continue
		}
		m.used.Essential.Names = append(slices.Clip(m.used.Essential.Names), p.Service)
		m.set = append(m.set, Setting{"essential.add", quoted(p.Service), p.By})
	}
}

// line sets the line of text on the first page for a language.
func (m *merger) line(language, text string) {
	key := "portal." + language
	switch {
	case !m.open(key, ""):
	case !slices.Contains(m.used.Box.Languages, language):
		m.refuse(key, m.values[key], "the box does not offer this language")
	default:
		if m.portal == nil {
			m.portal = map[string]string{}
		}
		m.portal[language] = text
		m.sets(key)
	}
}

// quoted returns host names or languages as a TOML list.
func quoted(names ...string) string {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = strconv.Quote(name)
	}
	return "[" + strings.Join(list, ", ") + "]"
}
