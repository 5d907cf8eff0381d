package config

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Loan is a phone's connection that somebody lends: what [AddLoan] makes a donation of.
type Loan struct {
	// Name is the donation's. If it is "", a Wi-Fi loan has its network's name, and must not be another donation's.
	Name      string
	Interface string // "": the donation's, else a free name of an interface that the box makes on the hotspot's radio
	WiFi      *WiFi  // nil: a phone on USB
	Cap       string // as the file has it; "": the donation's
	Period    string // likewise; a new one's default is the file's
	Until     Day    // the last day; "": the donation's
}

// Errors of AddLoan. Nothing is changed.
var (
	ErrLent     = errors.New("this network is lent already, with another password")
	ErrNotWiFi  = errors.New("the donation of this name is no Wi-Fi network")
	ErrNoCap    = errors.New("a new donation needs a cap, so that its lender gets no bill")
	ErrNoRadio  = errors.New("no interface is named, and the box makes none on a radio that is not its own")
	ErrUSBTaken = errors.New("a donation uses phones on USB already")
)

// ParseLentWiFi returns a lender's network from its name and password, as people type them. An open network is none that a
// lender can mean: anybody could be it, and anybody could use it.
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

// AddLoan returns the configuration's text with a loan as a donation, and that donation. c is what the text means. A donation of
// that name is changed; a new one is added. over tells which donations are over: they give up their interface. The error is
// one of the above, [ErrByHand], or Problems of the text that it would be.
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
			break // the text's problem says it
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

// freeInterface returns the name of an interface that no donation uses, and that is not taken. The box makes it on the
// hotspot's radio.
func (c *Config) freeInterface(taken string) string {
	for n := 0; ; n++ {
		name := fmt.Sprint("lend", n)
		if name != taken && !slices.ContainsFunc(c.Donations, func(d Donation) bool { return d.Interface == name }) {
			return name
		}
	}
}

// FreeName returns the name for a new donation: the wanted one, with a number if a donation has it or one that looks like it. So
// it is if known tells that there was one: its account would go on. known may be nil.
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

// LentAs returns the donation that joins a network of this name, and is not over; nil for none.
func (c *Config) LentAs(ssid SSID, over func(Donation) bool) *Donation {
	for i := range c.Donations {
		if d := &c.Donations[i]; d.WiFi != nil && d.WiFi.SSID == ssid && !over(*d) {
			return d
		}
	}
	return nil
}

// maxName is the length of a name, in characters.
const maxName = 80

// ForgetNetwork returns the text without the lender's network of a donation, Wi-Fi or mobile: nothing joins it any more. A text
// without it is returned as it is. The error is as of [Edit].
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

// errKept says that a text has a secret elsewhere than in the donation that it belongs to.
var errKept = errors.New("the text has the password in another place, too")

// Forget returns a text without the lenders' networks of these donations. The error is as of [Edit], or that the text still has
// one of these secrets.
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
