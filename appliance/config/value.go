package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // the box's image has no time zone files
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/language"

	"passerelle/appliance/hours"
)

// languages are the languages of the pages.
var languages = []string{"fr", "en", "ar", "es", "pt", "uk"}

// Bounds of rates and sizes other than 0. The minimums keep a page usable, and the maximums catch typing errors.
const (
	minRate Rate = 64e3
	maxRate Rate = 100e9

	minSlowRate Rate = 16e3 // enough for a message
	maxSlowRate Rate = 1e6  // more would be data without a limit, not a slow lane

	minSize Size = 1e6
	maxSize Size = 1000e12
)

func parseName(s string) (string, error) {
	if strings.TrimSpace(s) == "" {
		return "", errors.New("empty; write a name")
	}
	return parseLine(maxName)(s)
}

// parseLine returns a parser that accepts one line of visible text of at most most characters; "" is none.
func parseLine(most int) func(string) (string, error) {
	return func(s string) (string, error) {
		switch {
		case utf8.RuneCountInString(s) > most:
			return "", fmt.Errorf("%d characters long; at most %d are allowed", utf8.RuneCountInString(s), most)
		case strings.TrimSpace(s) != s:
			return "", errors.New("white space before or after the text; remove it")
		case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) && r != '\u00a0' && r != '\u202f' }):
			return "", errors.New("a line end or another invisible character in the text; remove it")
		}
		return s, nil
	}
}

// parsePostcode accepts France's postcodes; "" is none.
func parsePostcode(s string) (string, error) {
	if s != "" && (len(s) != 5 || strings.Trim(s, "0123456789") != "") {
		return "", fmt.Errorf("%q is not a postcode; write five digits, as in 69003", s)
	}
	return s, nil
}

// parsePhone accepts a phone number as people write and dial it; "" is none. The emergency numbers 15, 17 and 18 have two digits, and
// E.164 allows 15.
func parsePhone(s string) (string, error) {
	digits := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, s)
	rest := strings.Trim(strings.TrimPrefix(s, "+"), "0123456789 .")
	if s != "" && (rest != "" || strings.TrimSpace(s) != s || len(digits) < 2 || len(digits) > 15) {
		return "", fmt.Errorf("%q is not a phone number; write one as 01 23 45 67 89 or +262 262 12 34 56", s)
	}
	return s, nil
}

func parseDeskService(s string) (string, error) { return parseChoice(s, DeskServices...) }

// parsePoint parses what Point.String returns; "" is nil.
func parsePoint(s string) (*Point, error) {
	if s == "" {
		return nil, nil
	}
	const advice = `write latitude and longitude in degrees, as in "48.8566, 2.3522"`
	latitude, longitude, ok := strings.Cut(s, ",")
	p := &Point{}
	for _, part := range []struct {
		text  string
		into  *float64
		bound float64
	}{{latitude, &p.Latitude, 90}, {longitude, &p.Longitude, 180}} {
		f, err := strconv.ParseFloat(strings.TrimSpace(part.text), 64)
		if !ok || err != nil || !(f >= -part.bound && f <= part.bound) {
			return nil, fmt.Errorf("%q are not coordinates; %s", s, advice)
		}
		*part.into = f
	}
	if *p == (Point{}) {
		return nil, fmt.Errorf("%q is in the Atlantic, where unknown coordinates are; %s", s, advice)
	}
	return p, nil
}

// parseURL accepts the URL of a file to download; "" is none.
func parseURL(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Hostname() == "" || u.Opaque != "" || u.Scheme != "http" && u.Scheme != "https":
		return "", fmt.Errorf("%q is not a web address; write one as https://example.fr/places.csv", s)
	case u.User != nil || u.Fragment != "":
		return "", fmt.Errorf("%q has a user or a fragment (#); remove it", s)
	case len(s) > 1000:
		return "", fmt.Errorf("%d bytes long; at most 1000 are allowed", len(s))
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || !unicode.IsPrint(r) }):
		return "", fmt.Errorf("%q has an invalid character; percent-encode it, as in %%20", s)
	}
	return s, nil
}

// parseMirror accepts the https URL of a folder; "" is none. Releases are signed, so they could be sent in the clear, but nobody on the
// way should see who asks for them.
func parseMirror(s string) (string, error) {
	s, err := parseURL(s)
	if err == nil && s != "" && !strings.HasPrefix(s, "https://") {
		return "", fmt.Errorf("%q does not start with https://", s)
	}
	if err == nil && strings.Contains(s, "?") {
		return "", fmt.Errorf("%q has a query (?); write the address of the folder", s)
	}
	return s, err
}

func parseLanguage(s string) (string, error) {
	if !slices.Contains(languages, s) {
		return "", fmt.Errorf("there are no pages in %q; write %s", s, quoteChoice(languages))
	}
	return s, nil
}

func parseFlag(v bool) (bool, error) { return v, nil }

// parseHostname accepts a host name (RFC 1123, section 2.1) of at least two labels, except below .local: phones try other ways to resolve
// single labels first, and resolve .local by multicast (RFC 6762).
func parseHostname(s string) (string, error) {
	if s != strings.ToLower(s) {
		return "", fmt.Errorf("%q has capital letters; write %q", s, strings.ToLower(s))
	}
	labels := strings.Split(s, ".")
	switch {
	case len(s) > 253:
		return "", fmt.Errorf("%d characters long; write 253 at most", len(s))
	case len(labels) < 2:
		return "", fmt.Errorf("%q is a single word; write a name with a dot, as in partage.internal", s)
	case labels[len(labels)-1] == "local":
		return "", fmt.Errorf("%q ends in .local, which phones resolve by multicast; write it as partage.internal", s)
	case strings.Trim(labels[len(labels)-1], "0123456789") == "":
		return "", fmt.Errorf("%q ends in a number, as an address does; write a name, as in partage.internal", s)
	}
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.ContainsFunc(label, notHostnameChar) {
			return "", fmt.Errorf("invalid label %[2]q in host name %[1]q; labels have 1 to 63 letters a-z, digits and inner hyphens",
				s, label)
		}
	}
	return s, nil
}

// parseHub accepts the address of a hub: a host name or an IPv4 address, perhaps with a port.
func parseHub(s string) (string, error) {
	host, port, found := strings.Cut(s, ":")
	if n, err := strconv.ParseUint(port, 10, 16); found && (err != nil || n == 0 || strconv.FormatUint(n, 10) != port) {
		return "", fmt.Errorf("%q has no port after its colon; write flotte.exemple.fr, or with a port flotte.exemple.fr:8443", s)
	}
	if a, err := netip.ParseAddr(host); err == nil && a.Is4() {
		return s, nil
	}
	if _, err := parseHostname(host); err != nil {
		return "", err
	}
	return s, nil
}

// zones are the default zones. Each has an address for every label and is not signed, so no cache has a fresh name or can prove its
// absence (RFC 8198). sslip.io answers with the address in the name, to which nothing is sent. GitHub Pages and WordPress.com answer with
// the addresses of their own servers. (nip.io has the same operator as sslip.io.)
var zones = []Zone{
	{"9-9-9-9.sslip.io", netip.MustParsePrefix("9.9.9.9/32")},
	{"github.io", netip.MustParsePrefix("185.199.108.0/22")},
	{"wordpress.com", netip.MustParsePrefix("192.0.64.0/18")},
}

// parseZone parses what Zone.String returns. Private addresses are refused, since answers with them are filtered as DNS rebinding.
func parseZone(s string) (Zone, error) {
	name, network, ok := strings.Cut(s, " ")
	name, star := strings.CutPrefix(name, "*.")
	if !ok || !star {
		return Zone{}, fmt.Errorf(`invalid zone %q; write its name and the network of its addresses, as in %q`, s, zones[0])
	}
	if _, err := parseHostname(name); err != nil {
		return Zone{}, err
	}
	if len(name) > 200 {
		return Zone{}, fmt.Errorf("%d characters long; at most 200 are allowed", len(name))
	}
	p, err := netip.ParsePrefix(strings.TrimSpace(network))
	switch {
	case err != nil || !p.Addr().Is4() || p != p.Masked() || p.Bits() < 8:
		return Zone{}, fmt.Errorf(`%q is not an IPv4 network; write one as in %q`, network, zones[0])
	case p.Addr().IsPrivate() || p.Addr().IsLoopback() || p.Addr().IsMulticast() || p.Addr().IsUnspecified() ||
		p.Addr().IsLinkLocalUnicast():
		return Zone{}, fmt.Errorf("%v is not public, and its answers would be filtered; write a zone with public addresses", p)
	}
	return Zone{name, p}, nil
}

// domain returns the last two labels of a name.
func domain(name string) string {
	labels := strings.Split(name, ".")
	return strings.Join(labels[max(0, len(labels)-2):], ".")
}

func notHostnameChar(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' }

// paris is the default time zone. It is in the embedded time zone data.
var paris = func() *time.Location {
	loc, err := parseTimezone("Europe/Paris")
	if err != nil {
		panic("config: " + err.Error())
	}
	return loc
}()

func parseTimezone(s string) (*time.Location, error) {
	if s == "" || s == "Local" { // LoadLocation takes these for UTC and for the system's zone
		return nil, fmt.Errorf("%q is not a time zone; write one as Europe/Paris or America/Martinique", s)
	}
	loc, err := time.LoadLocation(s)
	if err != nil {
		return nil, fmt.Errorf("unknown time zone %q; write one as Europe/Paris or America/Martinique", s)
	}
	return loc, nil
}

// parsePortalURL accepts an https URL that fits into a DHCP option (255 bytes) and needs no escapes in dnsmasq's file; "" is none.
func parsePortalURL(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "":
		return "", fmt.Errorf("%q is not a web address; write one as https://portail.example.fr/captive-portal/api", s)
	case u.Scheme != "https":
		return "", fmt.Errorf("%q does not start with https://, as phones require; write \"\" to send none", s)
	case u.User != nil || u.Fragment != "":
		return "", fmt.Errorf("%q has a user or a fragment (#); remove it", s)
	case len(s) > 255:
		return "", fmt.Errorf("%d bytes long; a DHCP option has at most 255", len(s))
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"',\`, r) }):
		return "", fmt.Errorf("%q has an invalid character; percent-encode it, as in %%20", s)
	}
	return s, nil
}

// parseInterface is stricter than the kernel (net/core/dev.c, dev_valid_name), because names are written to the files of other programs,
// where '+' and '*' are wildcards.
func parseInterface(s string) (string, error) {
	const allowed = "letters, digits, '.', '_' and '-'"
	switch {
	case s == "":
		return "", errors.New("empty; write an interface's name (ip link shows them)")
	case len(s) > 15:
		return "", fmt.Errorf("%q is %d bytes long; Linux allows 15", s, len(s))
	case strings.EqualFold(s, USB) && s != USB:
		return "", fmt.Errorf("%q is not an interface; for a phone on USB use %q", s, USB)
	case s == "lo" || s == "." || s == ".." || s[0] == '-':
		return "", fmt.Errorf("%q cannot be used; write another interface's name (ip link shows them)", s)
	case strings.ContainsFunc(s, notInterfaceChar):
		return "", fmt.Errorf("%q has characters other than %s; write an interface's name (ip link shows them)", s, allowed)
	}
	return s, nil
}

func notInterfaceChar(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
}

func parseRadio(s string) (string, error) { return parseChoice(s, "hostapd", "none") }

// parseSchoolZone accepts a zone of school holidays; "" is none.
func parseSchoolZone(s string) (hours.SchoolZone, error) {
	zone := strings.ToUpper(strings.TrimSpace(s))
	if zone != "" && !slices.Contains(hours.SchoolZones, zone) {
		return "", fmt.Errorf("invalid value %q; must be %s", s, quoteChoice(hours.SchoolZones))
	}
	return hours.SchoolZone(zone), nil
}

func parseAccess(s string) (string, error) { return parseChoice(s, Accesses...) }

func parseMetered(s string) (string, error) { return parseChoice(s, Auto, "yes", "no") }

func parsePeriod(s string) (string, error) { return parseChoice(s, "day", "week", "month", "once") }

func parseChoice(s string, choice ...string) (string, error) {
	if !slices.Contains(choice, s) {
		for _, c := range choice {
			if word := strings.ToLower(plain(s)); word == strings.ToLower(c) || inEnglish[word] == c {
				return "", fmt.Errorf("invalid value %q; use %q", s, c)
			}
		}
		return "", fmt.Errorf("invalid value %q; must be %s", s, quoteChoice(choice))
	}
	return s, nil
}

// inEnglish translates French words for choices.
var inEnglish = map[string]string{
	"jour": "day", "semaine": "week", "mois": "month", "unefois": "once", "oui": "yes", "non": "no", "aucun": "none", "aucune": "none",
	"partout": string(Anywhere), "bouton": string(AfterPress),
}

// quoteChoice returns `"a", "b" or "c"`.
func quoteChoice(choice []string) string {
	quoted := make([]string, len(choice))
	for i, s := range choice {
		quoted[i] = quote(s)
	}
	last := len(quoted) - 1
	return strings.Join(quoted[:last], ", ") + " or " + quoted[last]
}

func parseSSID(s string) (string, error) {
	switch {
	case len(s) > 32:
		return "", fmt.Errorf("%d bytes long (an accented letter is two); Wi-Fi allows 32", len(s))
	case strings.ContainsFunc(s, unicode.IsControl):
		return "", errors.New("a line end or another control character in the name; remove it")
	}
	return s, nil
}

// ParseSSID parses what SSID.String returns: "\xE9" is a byte that is not text, and "\\" is a backslash.
func ParseSSID(s string) (SSID, error) {
	var b []byte
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b = append(b, s[i])
			continue
		}
		switch rest := s[i+1:]; {
		case strings.HasPrefix(rest, `\`):
			b = append(b, '\\')
			i++
		default:
			if !strings.HasPrefix(rest, "x") || len(rest) < 3 {
				return "", fmt.Errorf(`%q has a backslash that means nothing; write \\ for one, or a byte as \xE9`, s)
			}
			n, err := strconv.ParseUint(rest[1:3], 16, 8)
			if err != nil {
				return "", fmt.Errorf(`%q has a backslash that means nothing; write \\ for one, or a byte as \xE9`, s)
			}
			b = append(b, byte(n))
			i += 3
		}
	}
	switch {
	case len(b) == 0:
		return "", errors.New("empty; write the Wi-Fi network's name (passerelle wifi scan shows them)")
	case len(b) > 32:
		return "", fmt.Errorf("%d bytes long (an accented letter is two); Wi-Fi allows 32", len(b))
	}
	return SSID(b), nil
}

// String returns the name as text for ParseSSID, with unprintable characters as escaped bytes. A scanned name may be hostile, but the
// result is safe on a terminal.
func (s SSID) String() string {
	var b strings.Builder
	for rest := string(s); rest != ""; {
		r, n := utf8.DecodeRuneInString(rest)
		switch {
		case r == '\\':
			b.WriteString(`\\`)
		case r == utf8.RuneError && n == 1 || !unicode.IsPrint(r):
			for i := range n {
				fmt.Fprintf(&b, `\x%02X`, rest[i])
			}
		default:
			b.WriteRune(r)
		}
		rest = rest[n:]
	}
	return b.String()
}

// parseOfferName parses what SSID.String returns; "" is none.
func parseOfferName(s string) (SSID, error) {
	if s == "" {
		return "", nil
	}
	return ParseSSID(s)
}

// The first and the last year that a day may have. There was no box before the first, and after the last a typing error is more likely.
const (
	minYear = 2026
	maxYear = 2099
)

// parseDay accepts a day as YYYY-MM-DD; "" is none.
func parseDay(s string) (Day, error) {
	if s == "" {
		return "", nil
	}
	const advice = `write the year, the month and the day, as in "2026-12-31"`
	t, err := time.Parse(time.DateOnly, s)
	switch {
	case err != nil:
		return "", fmt.Errorf("%q is not a date; %s", s, advice)
	case t.Year() < minYear || t.Year() > maxYear:
		return "", fmt.Errorf("the year of %q is not between %d and %d; %s", s, minYear, maxYear, advice)
	}
	return Day(s), nil
}

// parsePassphrase accepts a passphrase according to IEEE 802.11-2020, J.4.1; "" is none.
func parsePassphrase(s string) (string, error) {
	switch {
	case s == "":
	case len(s) < 8 || len(s) > 63:
		return "", fmt.Errorf("%d characters long; Wi-Fi requires 8 to 63", len(s))
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }):
		return "", errors.New("it has a letter with an accent or another character that is not ASCII; Wi-Fi allows printable ASCII only")
	}
	return s, nil
}

// parseLentPassphrase accepts the passphrase of a lender's network, or its key of 64 hexadecimal digits (PSK). With such a key the box
// can join a network with WPA2, but not one with only WPA3.
func parseLentPassphrase(s string) (string, error) {
	if IsKey(s) {
		return s, nil
	}
	return parsePassphrase(s)
}

// IsKey reports whether a lender's passphrase is a key of 64 hexadecimal digits (IEEE 802.11-2020, J.4.1).
func IsKey(s string) bool {
	_, err := hex.DecodeString(s)
	return len(s) == 64 && err == nil
}

// parseAPN accepts an access point name of a mobile network (3GPP TS 23.003, 9.1), whose labels are like those of host names; "" is
// none.
func parseAPN(s string) (string, error) {
	switch {
	case len(s) > maxAPN:
		return "", fmt.Errorf("%d characters long; an APN has at most %d", len(s), maxAPN)
	case strings.ContainsFunc(s, func(r rune) bool { return r == '_' || notInterfaceChar(r) }):
		return "", fmt.Errorf("%q is no APN; it has letters, digits, '-' and '.', as in \"orange.fr\"", s)
	}
	return s, nil
}

const maxAPN = 63

// parsePIN accepts a SIM's PIN of 4 to 8 digits (3GPP TS 31.101, 9.5.1); "" is none.
func parsePIN(s string) (string, error) {
	if s != "" && (len(s) < 4 || len(s) > 8 || strings.Trim(s, "0123456789") != "") {
		return "", errors.New("a SIM's PIN has 4 to 8 digits")
	}
	return s, nil
}

func parseBand(s string) (string, error) { return parseChoice(s, "2.4GHz", "5GHz") }

// Channels returns the channels of a band that some country allows (IEEE 802.11-2020, annex E), in order. Channel 14 is not among them:
// only Japan allows it, and only for 802.11b, which the box does not use.
func Channels(band string) (numbers []int) {
	if band == "2.4GHz" {
		for n := 1; n <= 13; n++ {
			numbers = append(numbers, n)
		}
		return numbers
	}
	for _, of := range [][2]int{{36, 64}, {100, 144}, {149, 177}} {
		for n := of[0]; n <= of[1]; n += 4 {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

func parseCountry(s string) (string, error) {
	const example = "as in FR, RE or GP"
	isCode := len(s) == 2 && !strings.ContainsFunc(s, func(r rune) bool { return r < 'A' || r > 'Z' })
	region, err := language.ParseRegion(s)
	switch {
	case s == "":
	case !isCode && err == nil && region.IsCountry() && len(s) == 2:
		return "", fmt.Errorf("%q is not in capitals; use %q", s, region)
	case !isCode:
		return "", fmt.Errorf("%q is not a two-letter country code in capitals, %s", s, example)
	case err != nil || !region.IsCountry():
		return "", fmt.Errorf("there is no country %q; write its code of ISO 3166, %s", s, example)
	case region.String() != s || region.Canonicalize() != region:
		return "", fmt.Errorf("%q is no country code today; use %q", s, region.Canonicalize())
	}
	return s, nil
}

// The kernel's limits for the names of LEDs (LED_MAX_NAME_SIZE in linux/uleds.h) and the labels of GPIO chips (GPIO_MAX_NAME_SIZE in
// linux/gpio.h), without the terminating zero. No chip has as many GPIO lines as maxLine.
const (
	maxLED   = 63
	maxLabel = 31
	maxLine  = 1023
)

// String returns the pin as the file has it.
func (p Pin) String() string {
	switch {
	case p.None:
		return "none"
	case p.LED != "":
		return p.LED
	case p.Chip == "":
		return "board"
	}
	level := "high"
	if p.Low {
		level = "low"
	}
	return fmt.Sprintf("%s %d %s", p.Chip, p.Line, level)
}

func parsePin(s string) (Pin, error) {
	words := strings.Fields(s)
	for _, w := range words {
		if w == "." || w == ".." || strings.ContainsFunc(w, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' }) {
			return Pin{}, fmt.Errorf("%q is not an LED or GPIO chip; passerelle hw lists them", w)
		}
	}
	switch {
	case s == "board":
		return Pin{}, nil
	case s == "none":
		return Pin{None: true}, nil
	case len(words) == 1 && len(words[0]) <= maxLED:
		return Pin{LED: words[0]}, nil
	case len(words) == 3 && len(words[0]) <= maxLabel && (words[2] == "high" || words[2] == "low"):
		line, err := strconv.Atoi(words[1])
		if err == nil && line >= 0 && line <= maxLine {
			return Pin{Chip: words[0], Line: line, Low: words[2] == "low"}, nil
		}
	}
	const advice = `"board", "none", or a GPIO chip's label, a GPIO line and its level, as in "pinctrl-bcm2711 27 high"`
	return Pin{}, fmt.Errorf("invalid pin %q; write %s", s, advice)
}

func parseButton(s string) (Pin, error) {
	p, err := parsePin(s)
	if err == nil && p.LED != "" {
		return Pin{}, fmt.Errorf(`invalid pin %q for a button; write "board", "none", or as in "pinctrl-bcm2711 17 low"`, s)
	}
	return p, err
}

// parseWatchdog accepts the kernel's names of watchdog devices (drivers/watchdog/watchdog_dev.c), or "none".
func parseWatchdog(s string) (string, error) {
	number, ok := strings.CutPrefix(s, "/dev/watchdog")
	switch {
	case s == "none":
		return "", nil
	case ok && len(number) <= 2 && strings.Trim(number, "0123456789") == "":
		return s, nil
	}
	return "", fmt.Errorf(`%q is not a watchdog device; write "none", or a device such as "/dev/watchdog0"`, s)
}

// private is the address space of RFC 1918.
var private = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
}

// parseAllow accepts a network, or an address, that may read the metrics.
func parseAllow(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		addr, addrErr := netip.ParseAddr(s)
		if err = addrErr; err == nil {
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
	}
	switch {
	case err != nil || !p.Addr().Is4():
		return netip.Prefix{}, fmt.Errorf(`invalid network %q; write an IPv4 address or network, as in "192.168.1.20" or "192.168.1.0/24"`, s)
	case p.Bits() < 8:
		return netip.Prefix{}, fmt.Errorf(`%q is too large; write a network from /8 to /32`, s)
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf(`%q is an address within a network; write "%v" or "%v"`, s, p.Masked(), p.Addr())
	}
	return p, nil
}

func parseAddress(s string) (netip.Prefix, error) {
	const advice = `write the box's address and the prefix length, as in "10.80.0.1/22"`
	var zero netip.Prefix
	p, err := netip.ParsePrefix(s)
	if err != nil || !p.Addr().Is4() {
		return zero, fmt.Errorf("%q is not an IPv4 address with a prefix length; %s", s, advice)
	}
	addr, network := p.Addr(), p.Masked()
	isPrivate := slices.ContainsFunc(private, func(space netip.Prefix) bool { return space.Contains(addr) })
	switch {
	case !isPrivate:
		return zero, fmt.Errorf("%v is not private; use one of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16", addr)
	case p.Bits() < 16 || p.Bits() > 29:
		return zero, fmt.Errorf("the prefix length /%d is not between /16 and /29; /22 has room for 1021 residents", p.Bits())
	case addr == network.Addr():
		return zero, fmt.Errorf("%v is the network address; the box can have %v", addr, addr.Next())
	case !network.Contains(addr.Next()):
		return zero, fmt.Errorf("%v is the broadcast address; the box can have %v", addr, network.Addr().Next())
	}
	return p, nil
}

func parseResolver(s string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(s)
	isBroadcast := addr == netip.AddrFrom4([4]byte{255, 255, 255, 255})
	switch {
	case err != nil || !addr.Is4():
		return netip.Addr{}, fmt.Errorf(`%q is not an IPv4 address; write one as "9.9.9.9"`, s)
	case addr.IsUnspecified() || addr.IsLoopback() || addr.IsMulticast() || isBroadcast:
		return netip.Addr{}, fmt.Errorf("%v is not the address of a DNS server", addr)
	}
	return addr, nil
}

func parseLimitedRate(s string) (Rate, error) {
	r, err := ParseRate(s)
	if err == nil && r != 0 && (r < minRate || r > maxRate) {
		return 0, fmt.Errorf(`%q is out of range; write %q to %q, or "0" for no limit`, s, minRate, maxRate)
	}
	return r, err
}

func parseSlowRate(s string) (Rate, error) {
	r, err := ParseRate(s)
	if err == nil && r != 0 && (r < minSlowRate || r > maxSlowRate) {
		return 0, fmt.Errorf(`%q is out of range; write %q to %q, or "0" to end the session`, s, minSlowRate, maxSlowRate)
	}
	return r, err
}

func parseRequiredRate(s string) (Rate, error) {
	r, err := ParseRate(s)
	if err == nil && (r < minRate || r > maxRate) {
		return 0, fmt.Errorf("%q is out of range; write %q to %q", s, minRate, maxRate)
	}
	return r, err
}

func parseLimitedSize(s string) (Size, error) {
	size, err := ParseSize(s)
	if err == nil && size != 0 && (size < minSize || size > maxSize) {
		return 0, fmt.Errorf(`%q is out of range; write %q to %q, or "0" for no limit`, s, minSize, maxSize)
	}
	return size, err
}

// Default and maximum of the fleet's budget. A whole system is about 70 MB, and a monthly update is mostly less than 10 MB.
const (
	fleetBudget Size = 100e6
	maxBudget   Size = 10e9
)

func parseBudget(s string) (Size, error) {
	size, err := ParseSize(s)
	if err == nil && (size < minSize || size > maxBudget) {
		return 0, fmt.Errorf("%q is out of range; write %q to %q, or updates = false to fetch nothing", s, minSize, maxBudget)
	}
	return size, err
}

// parseHours parses opening hours; "" is nil, which a Schedule's methods treat as always open.
func parseHours(s string) (*hours.Schedule, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	schedule, err := hours.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("%q cannot be read %w", s, err)
	}
	return schedule, nil
}

func parseBetween(least, most int) func(int64) (int, error) {
	return func(n int64) (int, error) {
		if n < int64(least) || n > int64(most) {
			return 0, fmt.Errorf("%d is out of range; write %d to %d", n, least, most)
		}
		return int(n), nil
	}
}
