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

// Fragment is the part of the configuration that a fleet may set for its boxes. It is a type of its own instead of a Config with most
// fields empty, so that it cannot contain a donation, access, a secret or the hotspot's address at all.
//
// It is written in TOML, like the file. So the fleet's administrators use the same keys as a technician, with the same bounds, and
// problems have line numbers. A duplicate key is an error in TOML, while JSON parsers disagree on which value counts. nil means that the
// fragment does not set the key.
type Fragment struct {
	Languages []string // languages offered on pages, in order; unique

	Session  *time.Duration // limits of each resident, as in Limits
	Download *Rate
	Upload   *Rate
	Data     *Size
	After    *Rate

	Add    []string // proposed essential services: host names, without France
	Remove []string // essential services to close; they can be among those of France
	Rate   *Rate    // rate of essential services

	Places *string // https URL of a list on a public host; "" for none
	Agenda *string // https URL of a calendar on a public host; "" for none

	Hours  *hours.Schedule   // when the fleet's own traffic is allowed
	Portal map[string]string // a line of text for the first page, by language
}

// MaxFragment limits a fragment's text, in bytes. maxProposed limits its lists of essential services.
const (
	MaxFragment = 16 << 10
	maxProposed = 50
	maxPortal   = 240 // characters
)

// FragmentKeys are the dotted keys that a fragment may have, in the order of Format.
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

// ParseFragment parses a fragment. file is its name in problems. The error is of type Problems. It has all problems, or only one if the
// text is not TOML or too large.
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

// fragment reads a whole fragment.
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

// publicURL reads a table whose only key is url, a public https URL.
func (r *reader) publicURL(t *table) *string {
	defer t.rejectUnknown()
	return said(t, "url", parsePublicURL)
}

// said returns the parsed value of key, or nil if the key is missing or invalid.
func said[V, T any](t *table, key string, parse func(V) (T, error)) *T {
	var zero T
	value := optional(t, key, zero, parse)
	if !t.has(key) || t.failed(key) {
		return nil
	}
	return &value
}

// unique returns the parsed elements of key, which must be unique, or nil if the key is missing.
func unique(t *table, key string, parse func(string) (string, error)) []string {
	all := list(t, key, nil, parse)
	if i := firstRepeated(all); i >= 0 {
		t.problem(key, "duplicate %q; remove one", all[i])
	}
	return all
}

// parseKept accepts one of FragmentKeys.
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

// parseProposal accepts the host name of one essential service.
func parseProposal(s string) (string, error) {
	if s == France {
		return "", fmt.Errorf("%q is the box's own list; write host names", s)
	}
	return parseService(s)
}

// parsePublicURL accepts the https URL of a file on a host with a public name; "" is none. Such a name can still resolve to any
// address, so the addresses are checked when the file is downloaded.
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

// privateDomains are top-level labels that do not exist in the public DNS: RFC 6761, 6762, 7686, 8375 and 9476, and ICANN's resolution
// of 2024-07-29 for internal.
var privateDomains = []string{"alt", "arpa", "corp", "example", "home", "internal", "invalid", "lan", "local", "localhost", "mail", "onion", "test"}

// maxMarks is how many combining marks a letter may have: Vietnamese needs two, and Arabic with vowel signs three.
const maxMarks = 3

// parsePortalText accepts a line of text for the first page; "" is none.
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

// Values returns the values that the fragment sets, as TOML, by their keys in [FragmentKeys].
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

// Format returns the fragment's text, which ParseFragment parses. It is empty if the fragment sets nothing.
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

// leastText is a configuration with only the required keys.
const leastText = `box = { name = "x" }
hotspot = { interface = "x", radio = "none" }
donation = [{ name = "x", interface = "y", cap = "0" }]`

// unchanged has the values that nobody has chosen: those of a file with only the required keys, and those of the file that passerelle
// init writes.
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

// texts returns the TOML of each value outside donations, by the key's dotted path.
func (c *Config) texts() map[string]string {
	texts := map[string]string{}
	for key, text := range c.values() {
		texts[nameOf(key)] = text
	}
	return texts
}

// Chosen returns the dotted keys whose values somebody has chosen: values that are neither the default nor what passerelle init writes.
func (c *Config) Chosen() (keys []string) {
	for key, text := range c.texts() {
		if !slices.ContainsFunc(unchanged(), func(values map[string]string) bool { return values[key] == text }) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// Expand returns the names of all essential services, with France expanded, in the order in which pages show them.
func (e Essential) Expand() (names []string) {
	for _, s := range e.Services() {
		names = append(names, s.Name)
	}
	return names
}

// Opens reports whether a host name is open: whether it is an essential service, or below one.
func (e Essential) Opens(name string) bool {
	return slices.ContainsFunc(e.Services(), func(s Service) bool {
		return name == s.Name || strings.HasSuffix(name, "."+s.Name)
	})
}
