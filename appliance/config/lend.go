package config

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Loan is a phone's connection that somebody lends. [AddLoan] adds it as a donation. An empty field keeps an existing donation's value.
type Loan struct {
	// Name is the donation's name. If it is "", a Wi-Fi loan gets its network's name, which must not be the name of a donation with
	// another network.
	Name      string
	Interface string // "" for a new Wi-Fi loan: the free name of an interface that the box creates on the hotspot's radio
	WiFi      *WiFi  // nil for a phone on USB
	Cap       string // as written in the file; required for a new donation
	Period    string // as written in the file; "" for a new donation is the file's default
	Until     Day    // the last day
}

// Errors of AddLoan. With each of them nothing is changed.
var (
	ErrLent     = errors.New("this network is lent already, with another password")
	ErrNotWiFi  = errors.New("the donation of this name is no Wi-Fi network")
	ErrNoCap    = errors.New("a new donation needs a cap, so that its lender gets no bill")
	ErrNoRadio  = errors.New("no interface is named, and the box makes none on a radio that is not its own")
	ErrUSBTaken = errors.New("a donation uses phones on USB already")
)

// ParseLentWiFi parses the name and the password of a lender's network, as people type them. It refuses open networks, since anybody
// could imitate or use one.
func ParseLentWiFi(name, password string) (WiFi, error) {
	ssid, err := ParseSSID(name)
	if err != nil {
		return WiFi{}, fmt.Errorf("the network's name: %w", err)
	}
	if password == "" {
		return WiFi{}, errors.New("the password: empty")
	}
	if password, err = parseLentPassphrase(password); err != nil {
		return WiFi{}, fmt.Errorf("the password: %w", err)
	}
	return WiFi{SSID: ssid, Passphrase: password}, nil
}

// AddLoan adds a loan to the text of a configuration as a donation, and returns the new text and that donation. c is the parsed text.
// An existing donation of that name is changed. over reports whether a donation is over; one that is gives up its interface. The error
// is one of the above, [ErrByHand], or Problems of the resulting text.
func AddLoan(c *Config, text []byte, l Loan, over func(Donation) bool) (edited []byte, d Donation, err error) {
	byNetwork := l.Name == ""
	if byNetwork && l.WiFi != nil {
		l.Name = l.WiFi.SSID.String()
	}
	named := func(d Donation) bool { return d.Name == l.Name }
	old := slices.IndexFunc(c.Donations, named)
	if old >= 0 && byNetwork {
		switch was := c.Donations[old].WiFi; {
		case was == nil:
			return nil, d, ErrNotWiFi
		case *was != *l.WiFi:
			return nil, d, ErrLent
		}
	}
	if old < 0 {
		switch {
		case l.Cap == "":
			return nil, d, ErrNoCap
		case l.Interface != "":
		case l.WiFi == nil:
			l.Interface = USB
		case c.Hotspot.Radio != "hostapd":
			return nil, d, ErrNoRadio
		default:
			l.Interface = c.freeInterface("")
		}
	}
	var changes []Change
	set := func(donation, key string, value any) {
		changes = append(changes, Change{Path: []string{donationKey, donation, key}, Value: value})
	}
	for _, other := range c.Donations {
		if l.Interface == "" || other.Interface != l.Interface || other.Name == l.Name {
			continue
		}
		if !over(other) {
			if l.Interface == USB {
				return nil, d, ErrUSBTaken
			}
			break // parsing the resulting text will report it
		}
		set(other.Name, "interface", c.freeInterface(l.Interface))
	}
	if l.Interface != "" {
		set(l.Name, "interface", l.Interface)
	}
	if l.WiFi != nil {
		set(l.Name, "wifi", Table{{"ssid", l.WiFi.SSID.String()}, {"passphrase", l.WiFi.Passphrase}})
	}
	for key, value := range map[string]string{"cap": l.Cap, "period": l.Period, "until": string(l.Until)} {
		if value != "" {
			set(l.Name, key, value)
		}
	}
	slices.SortStableFunc(changes, func(a, b Change) int { return keyOrder[" "+a.Path[2]] - keyOrder[" "+b.Path[2]] })
	if edited, err = Edit(text, changes); err != nil {
		return nil, d, err
	}
	got, err := Parse("the configuration", edited)
	if err != nil {
		return nil, d, err
	}
	return edited, got.Donations[slices.IndexFunc(got.Donations, named)], nil
}

// freeInterface returns a name that no donation uses and that is not taken, for an interface that the box creates on the hotspot's
// radio.
func (c *Config) freeInterface(taken string) string {
	for n := 0; ; n++ {
		name := fmt.Sprint("lend", n)
		if name != taken && !slices.ContainsFunc(c.Donations, func(d Donation) bool { return d.Interface == name }) {
			return name
		}
	}
}

// FreeName returns a name for a new donation. It is the wanted one, but with a number if a donation has that name or one that looks like
// it. It also gets a number if known reports that such a donation existed before, since the new one would continue its account. known may
// be nil.
func (c *Config) FreeName(wanted string, known func(name string) bool) string {
	wanted = strings.Join(strings.Fields(wanted), " ")
	if all := []rune(wanted); len(all) > maxName {
		wanted = strings.TrimSpace(string(all[:maxName]))
	}
	name := wanted
	taken := func() bool {
		return known != nil && known(name) ||
			slices.ContainsFunc(c.Donations, func(d Donation) bool { return sameLooks(d.Name) == sameLooks(name) })
	}
	for n := 2; taken(); n++ {
		suffix := fmt.Sprint(" ", n)
		for utf8.RuneCountInString(wanted+suffix) > maxName {
			_, size := utf8.DecodeLastRuneInString(wanted)
			wanted = strings.TrimSpace(wanted[:len(wanted)-size])
		}
		name = wanted + suffix
	}
	return name
}

// LentAs returns the donation that joins a network of this name and is not over, or nil if there is none.
func (c *Config) LentAs(ssid SSID, over func(Donation) bool) *Donation {
	for i := range c.Donations {
		if d := &c.Donations[i]; d.WiFi != nil && d.WiFi.SSID == ssid && !over(*d) {
			return d
		}
	}
	return nil
}

// maxName is the maximum length of a name, in characters.
const maxName = 80

// ForgetNetwork removes the lender's network, Wi-Fi or mobile, of a donation from a text, so that the box no longer joins it. A text
// without that donation is returned unchanged. The errors are those of [Edit].
func ForgetNetwork(text []byte, donation string) ([]byte, error) {
	values, _, err := decode("the configuration", text)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(tables(values[donationKey]), func(d any) bool { return keysOf(d)["name"] == donation }) {
		return text, nil
	}
	return Edit(text, []Change{
		{Path: []string{donationKey, donation, "wifi"}}, {Path: []string{donationKey, donation, "apn"}}, {Path: []string{donationKey, donation, pinKey}},
	})
}

// errKept says that a text has a secret in another place than the donation that it belongs to.
var errKept = errors.New("the text has the password in another place, too")

// Forget removes the lenders' networks of donations from a text. The errors are those of [Edit], or one that says that the text still
// contains one of the secrets.
func Forget(text []byte, donations, secrets []string) ([]byte, error) {
	for _, name := range donations {
		var err error
		if text, err = ForgetNetwork(text, name); err != nil {
			return nil, err
		}
	}
	if slices.ContainsFunc(secrets, func(s string) bool { return bytes.Contains(text, []byte(s)) }) {
		return nil, errKept
	}
	return text, nil
}
