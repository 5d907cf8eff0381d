package logbook

import (
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Placeholders for what is scrubbed.
const (
	anAddress = "[address]"
	aDevice   = "[device]"
	aName     = "[name]"
)

// Scrubber removes from a text what may identify a person's device: IPv4, IPv6 and MAC addresses in every notation, mail addresses, and
// host names with a dot, except those that are kept. A host name without a dot can only be recognized by its place: dnsmasq writes it
// after the device's MAC address, and it is removed with that. Scrubbing twice changes nothing more.
type Scrubber struct {
	// Keep tells whether a name, in lower case and without a final dot, is the box's or a public one. If it is nil, none is kept.
	Keep func(name string) bool
}

var (
	// Runs of characters that may be an address. No word boundary is required: an address within a word is one, too.
	macLike = regexp.MustCompile(`(?i)[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5,}|[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4}|[0-9a-f]{12,}`)
	// What follows a MAC address: spaces, and a word that is not a placeholder.
	following = regexp.MustCompile(`^[ \t,=]+[^\s\[]\S*`)
	colons    = regexp.MustCompile(`(?i)[0-9a-f]*:[0-9a-f]*:[0-9a-f:.]*(?:%[a-z0-9._-]+)?`)
	clockTime = regexp.MustCompile(`^[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?$`)
	dotted    = regexp.MustCompile(`[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+(?:\.in-addr\.arpa)?(?:/[0-9]+)?(?::[0-9]+)?`)
	mailLike  = regexp.MustCompile(`[^\s@<>()\[\]"',;:]+@[^\s@<>()\[\]"',;:]+`)
	nameLike  = regexp.MustCompile(`[\p{L}\p{M}\p{N}_-]+(?:\.[\p{L}\p{M}\p{N}_-]+)+\.?`)
)

// files are the suffixes of our files' names, which are not host names.
var files = []string{"conf", "csv", "db", "ics", "json", "pem", "pid", "sock", "toml", "tmp", "txt", "service"}

// Scrub returns the text without addresses and names.
func (s Scrubber) Scrub(text string) string {
	text = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) && r != '\n' || unicode.Is(unicode.Cf, r) { // invisible characters could split an address
			return -1
		}
		return r
	}, text)
	for { // removing one address may reveal another
		next := s.once(text)
		if next == text {
			return text
		}
		text = next
	}
}

func (s Scrubber) once(text string) string {
	text = devices(text)
	text = colons.ReplaceAllStringFunc(text, func(found string) string {
		if clockTime.MatchString(found) || strings.Trim(found, ":.") == "" {
			return found
		}
		return anAddress
	})
	text = dotted.ReplaceAllString(text, anAddress)
	text = mailLike.ReplaceAllString(text, aName)
	return nameLike.ReplaceAllStringFunc(text, func(found string) string {
		name := strings.ToLower(strings.TrimSuffix(found, "."))
		switch {
		case !isHost(name), s.Keep != nil && s.Keep(name):
			return found
		case strings.HasSuffix(found, "."):
			return aName + "."
		}
		return aName
	})
}

// isHost tells whether a word with dots may be a host name. A number, a version, an interface with a VLAN and one of our files are not.
func isHost(name string) bool {
	labels := strings.Split(name, ".")
	last := labels[len(labels)-1]
	first, _ := utf8.DecodeRuneInString(last)
	if unicode.IsLetter(first) && utf8.RuneCountInString(last) > 1 {
		return !slices.Contains(files, last)
	}
	if len(labels) == 3 && strings.Trim(labels[0]+labels[1], "0123456789") == "" { // a kernel: 6.12.0-rpi
		return false
	}
	return len(labels) > 2 && slices.ContainsFunc(labels, func(l string) bool {
		letters := 0
		for _, r := range l {
			if unicode.IsLetter(r) {
				letters++
			}
		}
		return letters > 2
	})
}

// devices replaces MAC addresses, each together with the word after it.
func devices(text string) string {
	var b strings.Builder
	for {
		at := macLike.FindStringIndex(text)
		if at == nil {
			b.WriteString(text)
			return b.String()
		}
		b.WriteString(text[:at[0]])
		b.WriteString(aDevice)
		text = text[at[1]:]
		if word := following.FindStringIndex(text); word != nil {
			text = text[word[1]:]
		}
	}
}

// HasAddress tells whether a text contains a device's address as a word. It is for tests of what leaves the box.
func HasAddress(text string) bool {
	return slices.ContainsFunc(strings.FieldsFunc(text, func(r rune) bool {
		return !strings.ContainsRune("0123456789abcdefABCDEF.:-", r)
	}), func(word string) bool {
		word = strings.Trim(word, ".-")
		_, notIP := netip.ParseAddr(word)
		_, notMAC := net.ParseMAC(word)
		return notIP == nil && strings.Trim(word, ":") != "" || notMAC == nil
	})
}
