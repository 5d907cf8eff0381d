package config

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // the box's image has no zone files
	"unicode"
	"unicode/utf8"

	"passerelle/appliance/hours"
)

// languages are those that pages are written in.
var languages = []string{"fr", "en", "ar", "es", "pt", "uk"}

// Bounds of rates and sizes that are not 0. The lowest keep a page usable, the highest tell a slip of the finger.
const (
	minRate Rate = 64e3
	maxRate Rate = 100e9
	minSize Size = 1e6
	maxSize Size = 1000e12
)

func parseName(s string) (string, error) {
	switch {
	case strings.TrimSpace(s) == "":
		return "", errors.New("empty; write a name")
	case utf8.RuneCountInString(s) > 80:
		return "", fmt.Errorf("%d characters long; write 80 at most", utf8.RuneCountInString(s))
	case strings.TrimSpace(s) != s:
		return "", errors.New("white space stands before or after the name; take it away")
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) && r != '\u00a0' && r != '\u202f' }):
		return "", errors.New("a line end or another invisible character is in the name; take it away")
	}
	return s, nil
}

func parseLanguage(s string) (string, error) {
	if !slices.Contains(languages, s) {
		return "", fmt.Errorf("there are no pages in %q; write %s", s, quoteChoice(languages))
	}
	return s, nil
}

func parseFlag(v bool) (bool, error) { return v, nil }

// parseHostname reads a name by RFC 1123, section 2.1, with two labels at least: a phone looks single words up elsewhere
// first, and .local by multicast (RFC 6762).
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
		return "", fmt.Errorf("%q ends in .local, which phones look up otherwise; write it as partage.internal", s)
	case strings.Trim(labels[len(labels)-1], "0123456789") == "":
		return "", fmt.Errorf("%q ends in a number, as an address does; write a name, as in partage.internal", s)
	}
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.ContainsFunc(label, notHostnameChar) {
			return "", fmt.Errorf("%q is no host name at %q; between dots stand 1 to 63 letters a-z, digits and inner hyphens",
				s, label)
		}
	}
	return s, nil
}

// zones are the default ones. Each answers every label and is not signed, so that no cache knows a fresh name or can prove
// that there is none (RFC 8198): sslip.io answers with the address in the name, of which nobody asks anything, GitHub Pages and
// WordPress.com with their own servers. (nip.io has the operator of sslip.io.)
var zones = []Zone{
	{"9-9-9-9.sslip.io", netip.MustParsePrefix("9.9.9.9/32")},
	{"github.io", netip.MustParsePrefix("185.199.108.0/22")},
	{"wordpress.com", netip.MustParsePrefix("192.0.64.0/18")},
}

// parseZone reads what Zone.String writes. An address that is none of the internet's would be filtered as rebinding.
func parseZone(s string) (Zone, error) {
	name, network, ok := strings.Cut(s, " ")
	name, star := strings.CutPrefix(name, "*.")
	if !ok || !star {
		return Zone{}, fmt.Errorf(`%q is no zone; write its name and the network of its addresses, as in %q`, s, zones[0])
	}
	if _, err := parseHostname(name); err != nil {
		return Zone{}, err
	}
	if len(name) > 200 {
		return Zone{}, fmt.Errorf("%d characters long; write 200 at most", len(name))
	}
	p, err := netip.ParsePrefix(strings.TrimSpace(network))
	switch {
	case err != nil || !p.Addr().Is4() || p != p.Masked() || p.Bits() < 8:
		return Zone{}, fmt.Errorf(`%q is no IPv4 network of addresses; write one as in %q`, network, zones[0])
	case p.Addr().IsPrivate() || p.Addr().IsLoopback() || p.Addr().IsMulticast() || p.Addr().IsUnspecified() ||
		p.Addr().IsLinkLocalUnicast():
		return Zone{}, fmt.Errorf("%v is none of the internet's, and its answers would be filtered; write a zone with others", p)
	}
	return Zone{name, p}, nil
}

// domain returns the last two labels of a name.
func domain(name string) string {
	labels := strings.Split(name, ".")
	return strings.Join(labels[max(0, len(labels)-2):], ".")
}

func notHostnameChar(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' }

// paris is the default zone. The embedded zone data has it.
var paris = func() *time.Location {
	loc, err := parseTimezone("Europe/Paris")
	if err != nil {
		panic("config: " + err.Error())
	}
	return loc
}()

func parseTimezone(s string) (*time.Location, error) {
	if s == "" || s == "Local" { // LoadLocation takes them for UTC and for the system's
		return nil, fmt.Errorf("%q names no zone; write one as Europe/Paris or America/Martinique", s)
	}
	loc, err := time.LoadLocation(s)
	if err != nil {
		return nil, fmt.Errorf("%q is not a known zone; write one as Europe/Paris or America/Martinique", s)
	}
	return loc, nil
}

// parsePortalURL reads an URL that fits into a DHCP option (255 bytes) and into dnsmasq's file as it stands.
func parsePortalURL(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "":
		return "", fmt.Errorf("%q is not a web address; write one as https://portail.example.fr/captive-portal/api", s)
	case u.Scheme != "https":
		return "", fmt.Errorf("%q does not begin with https://, and phones take no other; write \"\" to send none", s)
	case u.User != nil || u.Fragment != "":
		return "", fmt.Errorf("%q has a user or a # part; take it away", s)
	case len(s) > 255:
		return "", fmt.Errorf("%d bytes long; 255 at most fit into the DHCP answer", len(s))
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"',\`, r) }):
		return "", fmt.Errorf("%q has a character that is not allowed in it; write that one in percent form, as in %%20", s)
	}
	return s, nil
}

// parseInterface is narrower than the kernel (net/core/dev.c, dev_valid_name): names go into the files of other programs,
// to which '+' and '*' mean more than one interface.
func parseInterface(s string) (string, error) {
	const allowed = "letters, digits, '.', '_' and '-'"
	switch {
	case s == "":
		return "", errors.New("empty; write an interface's name (ip link shows them)")
	case len(s) > 15:
		return "", fmt.Errorf("%q is %d bytes long; Linux allows 15", s, len(s))
	case s == "lo" || s == "." || s == ".." || s[0] == '-':
		return "", fmt.Errorf("%q cannot be used; write another interface's name (ip link shows them)", s)
	case strings.ContainsFunc(s, notInterfaceChar):
		return "", fmt.Errorf("%q has other characters than %s; write an interface's name (ip link shows them)", s, allowed)
	}
	return s, nil
}

func notInterfaceChar(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
}

func parseRadio(s string) (string, error) { return parseChoice(s, "hostapd", "none") }

func parseMetered(s string) (string, error) { return parseChoice(s, Auto, "yes", "no") }

func parsePeriod(s string) (string, error) { return parseChoice(s, "day", "week", "month", "once") }

func parseChoice(s string, choice ...string) (string, error) {
	if !slices.Contains(choice, s) {
		return "", fmt.Errorf("%q is not a choice; write %s", s, quoteChoice(choice))
	}
	return s, nil
}

// quoteChoice writes `"a", "b" or "c"`.
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
		return "", errors.New("a line end or another control character is in the name; take it away")
	}
	return s, nil
}

// ParseSSID reads the name of a network as String writes it: "\xE9" is a byte that is no text, "\\" a backslash.
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

// String writes the name as text that ParseSSID reads: what cannot be printed is written as bytes. It is what a radio
// heard, and safe on a terminal.
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

// parsePassphrase reads what IEEE 802.11-2020, J.4.1, allows; "" is none.
func parsePassphrase(s string) (string, error) {
	switch {
	case s == "":
	case len(s) < 8 || len(s) > 63:
		return "", fmt.Errorf("%d characters long; Wi-Fi asks for 8 to 63", len(s))
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }):
		return "", errors.New("a letter with an accent or another unusual character is in it; Wi-Fi allows those of an English keyboard")
	}
	return s, nil
}

func parseBand(s string) (string, error) { return parseChoice(s, "2.4GHz", "5GHz") }

// Channels returns the numbers of a band's channels that any country allows (IEEE 802.11-2020, annex E), in order.
func Channels(band string) (numbers []int) {
	if band == "2.4GHz" {
		for n := 1; n <= 14; n++ {
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
	isCode := len(s) == 2 && !strings.ContainsFunc(s, func(r rune) bool { return r < 'A' || r > 'Z' })
	if s != "" && !isCode {
		return "", fmt.Errorf("%q is not a country's two capital letters, as in FR, RE or GP", s)
	}
	return s, nil
}

// Bounds of names in the kernel: of an LED (LED_MAX_NAME_SIZE in linux/uleds.h) and a GPIO chip's label
// (GPIO_MAX_NAME_SIZE in linux/gpio.h), each with the zero that ends it. No chip has as many lines.
const (
	maxLED   = 63
	maxLabel = 31
	maxLine  = 1023
)

// String writes a pin as the file has it.
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
			return Pin{}, fmt.Errorf("%q names no LED and no GPIO chip; passerelle hw shows which there are", w)
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
	const advice = `"board", "none", or a GPIO chip's label, a line of it, and its level, as in "pinctrl-bcm2711 27 high"`
	return Pin{}, fmt.Errorf("%q is no place for it; write %s", s, advice)
}

func parseButton(s string) (Pin, error) {
	p, err := parsePin(s)
	if err == nil && p.LED != "" {
		return Pin{}, fmt.Errorf(`%q is no place for a button; write "board", "none", or as "pinctrl-bcm2711 17 low"`, s)
	}
	return p, err
}

// parseWatchdog takes watchdogs as the kernel names them (drivers/watchdog/watchdog_dev.c).
func parseWatchdog(s string) (string, error) {
	number, ok := strings.CutPrefix(s, "/dev/watchdog")
	switch {
	case s == "none":
		return "", nil
	case ok && len(number) <= 2 && strings.Trim(number, "0123456789") == "":
		return s, nil
	}
	return "", fmt.Errorf(`%q is no watchdog; write "none", or one that is there, such as "/dev/watchdog0"`, s)
}

// private is the address space of RFC 1918.
var private = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
}

func parseAddress(s string) (netip.Prefix, error) {
	const advice = `write the box's address and the network's length, as in "10.80.0.1/22"`
	var zero netip.Prefix
	p, err := netip.ParsePrefix(s)
	if err != nil || !p.Addr().Is4() {
		return zero, fmt.Errorf("%q is not an IPv4 address with a length; %s", s, advice)
	}
	addr, network := p.Addr(), p.Masked()
	isPrivate := slices.ContainsFunc(private, func(space netip.Prefix) bool { return space.Contains(addr) })
	switch {
	case !isPrivate:
		return zero, fmt.Errorf("%v is not private; take one of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16", addr)
	case p.Bits() < 16 || p.Bits() > 29:
		return zero, fmt.Errorf("the length /%d is not between /16 and /29; /22 has room for 1021 residents", p.Bits())
	case addr == network.Addr():
		return zero, fmt.Errorf("%v is the network's own address; the box may have %v", addr, addr.Next())
	case addr == broadcast(network):
		return zero, fmt.Errorf("%v is the network's broadcast address; the box may have %v", addr, network.Addr().Next())
	}
	return p, nil
}

// broadcast returns the last address of an IPv4 network.
func broadcast(network netip.Prefix) netip.Addr {
	addr := network.Addr().As4()
	last := binary.BigEndian.Uint32(addr[:]) | (1<<(32-network.Bits()) - 1)
	binary.BigEndian.PutUint32(addr[:], last)
	return netip.AddrFrom4(addr)
}

func parseResolver(s string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(s)
	isBroadcast := addr == netip.AddrFrom4([4]byte{255, 255, 255, 255})
	switch {
	case err != nil || !addr.Is4():
		return netip.Addr{}, fmt.Errorf(`%q is not an IPv4 address; write one as "9.9.9.9"`, s)
	case addr.IsUnspecified() || addr.IsLoopback() || addr.IsMulticast() || isBroadcast:
		return netip.Addr{}, fmt.Errorf("%v is no server on this line; write one's address", addr)
	}
	return addr, nil
}

func parseLimitedRate(s string) (Rate, error) {
	r, err := ParseRate(s)
	if err == nil && r != 0 && (r < minRate || r > maxRate) {
		return 0, fmt.Errorf(`%q is out of bounds; write %q to %q, or "0" for no limit`, s, minRate, maxRate)
	}
	return r, err
}

func parseNeededRate(s string) (Rate, error) {
	r, err := ParseRate(s)
	if err == nil && (r < minRate || r > maxRate) {
		return 0, fmt.Errorf("%q is out of bounds; write %q to %q", s, minRate, maxRate)
	}
	return r, err
}

func parseLimitedSize(s string) (Size, error) {
	size, err := ParseSize(s)
	if err == nil && size != 0 && (size < minSize || size > maxSize) {
		return 0, fmt.Errorf(`%q is out of bounds; write %q to %q, or "0" for no limit`, s, minSize, maxSize)
	}
	return size, err
}

// parseHours reads opening hours; none are nil, which is always open.
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
			return 0, fmt.Errorf("%d is out of bounds; write %d to %d", n, least, most)
		}
		return int(n), nil
	}
}
