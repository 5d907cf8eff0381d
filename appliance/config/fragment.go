package config

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"passerelle/appliance/hours"
)

// Fragment is what a fleet may say about the configuration of its boxes. It is a type of its own, and not a Config with most of
// it left out: a donation, an access, a secret, an address of the hotspot cannot be written in it at all.
//
// It is TOML, as the file is: who signs one writes the same words as a technician, with the same bounds, a problem has its
// line, and TOML has no second value for a key, of which readers of JSON take one or the other. What is nil is not said.
type Fragment struct {
	Languages []string // offered on pages, in order; unique

	Session  *time.Duration // limits of each resident, as in Limits
	Download *Rate
	Upload   *Rate
	Data     *Size
	After    *Rate

	Add    []string // essential services that are proposed: host names, without France
	Remove []string // essential services that are closed, of France too
	Rate   *Rate    // of essential services

	Places *string // https URL of a list on a public host; "": none
	Agenda *string // likewise, of a calendar

	Hours  *hours.Schedule   // of the fleet's own traffic
	Portal map[string]string // a line of text on the first page, by language
}

// MaxFragment bounds a fragment's text, in bytes, and maxProposed its lists of essential services.
const (
	MaxFragment = 16 << 10
	maxProposed = 50
	maxPortal   = 240 // characters
)

// FragmentKeys are the keys that a fragment may have, dotted, in the order of its text.
var FragmentKeys = func() []string {
	keys := []string{
		"box.languages", "limits.session", "limits.download", "limits.upload", "limits.data", "limits.after",
		"essential.add", "essential.remove", "essential.rate", "places.url", "agenda.url", "fleet.hours",
	}
	for _, language := range languages {
		keys = append(keys, portalKey(language))
	}
	return keys
}()

func portalKey(language string) string { return "portal." + language }

// ParseFragment parses a fragment; file is its name in problems. Its error is of type Problems and has all problems, or only the
// first one if the text is not TOML or too large.
func ParseFragment(file string, text []byte) (*Fragment, error) {
	if len(text) > MaxFragment {
		return nil, Problems{{File: file, Msg: fmt.Sprintf("%d bytes long; a fragment has at most %d", len(text), MaxFragment)}}
	}
	values, r, err := decode(file, text)
	if err != nil {
		return nil, err
	}
	f := r.fragment(values)
	if err := r.err(); err != nil {
		return nil, err
	}
	return f, nil
}

// fragment reads the whole text.
func (r *reader) fragment(values map[string]any) *Fragment {
	root := &table{r: r, values: values}
	f := &Fragment{}
	box := root.table("box", false)
	f.Languages = unique(box, "languages", parseLanguage)
	if box.has("languages") && len(f.Languages) == 0 && !box.failed("languages") {
		box.problem("languages", "empty list; write at least one language, or leave the key out")
	}
	box.rejectUnknown()

	limits := root.table("limits", false)
	f.Session = said(limits, "session", parseDuration(time.Minute, 24*time.Hour))
	f.Download = said(limits, "download", parseLimitedRate)
	f.Upload = said(limits, "upload", parseLimitedRate)
	f.Data = said(limits, "data", parseLimitedSize)
	f.After = said(limits, "after", parseSlowRate)
	limits.rejectUnknown()

	essential := root.table("essential", false)
	f.Add = unique(essential, "add", parseProposal)
	f.Remove = unique(essential, "remove", parseService)
	f.Rate = said(essential, "rate", parseRequiredRate)
	for key, list := range map[string][]string{"add": f.Add, "remove": f.Remove} {
		if len(list) > maxProposed {
			essential.problem(key, "%d names; at most %d are allowed", len(list), maxProposed)
		}
	}
	essential.rejectUnknown()

	f.Places = r.publicURL(root.table("places", false))
	f.Agenda = r.publicURL(root.table("agenda", false))

	fleet := root.table("fleet", false)
	f.Hours = optional(fleet, "hours", nil, parseHours)
	if f.Hours.School() {
		fleet.problem("hours", "SH means other days in each zone of school holidays, and a fragment is for boxes in all of them; "+
			"write months or dates")
	}
	fleet.rejectUnknown()

	portal := root.table("portal", false)
	for _, language := range languages {
		if text := said(portal, language, parsePortalText); text != nil {
			if f.Portal == nil {
				f.Portal = map[string]string{}
			}
			f.Portal[language] = *text
		}
	}
	portal.rejectUnknown()
	root.rejectUnknown()
	return f
}

// publicURL reads a table whose only key is the URL of what it is about.
func (r *reader) publicURL(t *table) *string {
	defer t.rejectUnknown()
	return said(t, "url", parsePublicURL)
}

// said returns the parsed value of key, nil if the key is missing or invalid.
func said[V, T any](t *table, key string, parse func(V) (T, error)) *T {
	var zero T
	value := optional(t, key, zero, parse)
	if !t.has(key) || t.failed(key) {
		return nil
	}
	return &value
}

// unique returns the parsed elements of key, nil if the key is missing.
func unique(t *table, key string, parse func(string) (string, error)) []string {
	all := list(t, key, nil, parse)
	if i := firstRepeated(all); i >= 0 {
		t.problem(key, "duplicate %q; remove one", all[i])
	}
	return all
}

// parseKept parses a key that fragments may have.
func parseKept(s string) (string, error) {
	if !slices.Contains(FragmentKeys, s) {
		advice := "known keys: " + strings.Join(FragmentKeys, ", ")
		if near := nearest(s, FragmentKeys); near != "" {
			advice = fmt.Sprintf("did you mean %s?", near)
		}
		return "", fmt.Errorf("%q is no key that a fleet may change; %s", s, advice)
	}
	return s, nil
}

// parseProposal parses the host name of one essential service.
func parseProposal(s string) (string, error) {
	if s == France {
		return "", fmt.Errorf("%q is the box's own list; write host names", s)
	}
	return parseService(s)
}

// parsePublicURL accepts the https URL of a file on a host with a public name; "" is none. The host's addresses are checked when
// it is asked: a name may lead anywhere.
func parsePublicURL(s string) (string, error) {
	if _, err := parseURL(s); err != nil || s == "" {
		return "", err
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "https":
		return "", fmt.Errorf("%q does not start with https://", s)
	case u.Port() != "":
		return "", fmt.Errorf("%q names a port; write the address without one", s)
	case strings.ContainsFunc(s, func(r rune) bool { return r > '~' }):
		return "", fmt.Errorf("%q has letters that are not ASCII; percent-encode them, and write a host in its xn-- form", s)
	}
	if _, err := parseService(u.Hostname()); err != nil {
		return "", fmt.Errorf("no public host: %w", err)
	}
	if last := u.Hostname()[strings.LastIndexByte(u.Hostname(), '.')+1:]; slices.Contains(privateDomains, last) {
		return "", fmt.Errorf("%q: names below .%s are nobody's on the internet", s, last)
	}
	return s, nil
}

// privateDomains are the last labels of names that the internet does not have: RFC 6761, 6762, 7686, 8375 and 9476, and ICANN's
// resolution of 2024-07-29 for internal.
var privateDomains = []string{"alt", "arpa", "corp", "example", "home", "internal", "invalid", "lan", "local", "localhost", "mail", "onion", "test"}

// maxMarks is how many marks may be on one letter: Vietnamese needs two, Arabic with its vowels three.
const maxMarks = 3

// parsePortalText accepts a line for the first page; "" is none.
func parsePortalText(s string) (string, error) {
	if _, err := parseLine(maxPortal)(s); err != nil {
		return "", err
	}
	marks := 0
	for _, r := range norm.NFD.String(s) {
		if marks++; !unicode.Is(unicode.M, r) {
			marks = 0
		}
		if marks > maxMarks {
			return "", fmt.Errorf("more than %d accents on one letter; remove them", maxMarks)
		}
		if unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Co, r) {
			return "", errors.New("an invisible character in the text; remove it")
		}
	}
	return s, nil
}

// Values returns the value of each key of [FragmentKeys] that the fragment has, as TOML.
func (f *Fragment) Values() map[string]string {
	values := map[string]string{}
	set := func(key string, said bool, value func() string) {
		if said {
			values[key] = value()
		}
	}
	set("box.languages", f.Languages != nil, func() string { return quoteAll(f.Languages) })
	set("limits.session", f.Session != nil, func() string { return quote(formatDuration(*f.Session)) })
	set("limits.download", f.Download != nil, func() string { return quote(f.Download.String()) })
	set("limits.upload", f.Upload != nil, func() string { return quote(f.Upload.String()) })
	set("limits.data", f.Data != nil, func() string { return quote(f.Data.String()) })
	set("limits.after", f.After != nil, func() string { return quote(f.After.String()) })
	set("essential.add", f.Add != nil, func() string { return quoteAll(f.Add) })
	set("essential.remove", f.Remove != nil, func() string { return quoteAll(f.Remove) })
	set("essential.rate", f.Rate != nil, func() string { return quote(f.Rate.String()) })
	set("places.url", f.Places != nil, func() string { return quote(*f.Places) })
	set("agenda.url", f.Agenda != nil, func() string { return quote(*f.Agenda) })
	set("fleet.hours", f.Hours != nil, func() string { return quote(f.Hours.String()) })
	for language, line := range f.Portal {
		values[portalKey(language)] = quote(line)
	}
	return values
}

// Format returns the fragment's text, which ParseFragment reads. It is empty if the fragment says nothing.
func (f *Fragment) Format() []byte {
	var b strings.Builder
	table, values := "", f.Values()
	for _, key := range FragmentKeys {
		value, ok := values[key]
		if !ok {
			continue
		}
		section, name, _ := strings.Cut(key, ".")
		if section != table {
			table = section
			fmt.Fprintf(&b, "[%s]\n", table)
		}
		fmt.Fprintf(&b, "%s = %s\n", name, value)
	}
	return []byte(b.String())
}

// leastText has the required keys alone.
const leastText = `box = { name = "x" }
hotspot = { interface = "x", radio = "none" }
donation = [{ name = "x", interface = "y", cap = "0" }]`

// unchanged has the values of configurations that nobody has chosen: of a file with the required keys alone, and of the one that
// passerelle init writes.
var unchanged = sync.OnceValue(func() (all []map[string]string) {
	for _, text := range []string{leastText, example} {
		c, err := Parse("", []byte(text))
		if err != nil {
			panic("config: " + err.Error())
		}
		all = append(all, c.texts())
	}
	return all
})

// texts returns the value of each key, as TOML, by its dotted path.
func (c *Config) texts() map[string]string {
	texts := map[string]string{}
	for key, text := range c.values() {
		texts[nameOf(key)] = text
	}
	return texts
}

// Chosen returns the dotted keys whose values somebody has chosen: they are neither the default nor what passerelle init writes.
func (c *Config) Chosen() (keys []string) {
	for key, text := range c.texts() {
		if !slices.ContainsFunc(unchanged(), func(values map[string]string) bool { return values[key] == text }) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// Expand returns the names of essential services with the names of France in place of France, in the order of pages.
func (e Essential) Expand() (names []string) {
	for _, s := range e.Services() {
		names = append(names, s.Name)
	}
	return names
}

// Opens tells whether a host name is open: it is one of the essential services, or below one.
func (e Essential) Opens(name string) bool {
	return slices.ContainsFunc(e.Services(), func(s Service) bool {
		return name == s.Name || strings.HasSuffix(name, "."+s.Name)
	})
}
