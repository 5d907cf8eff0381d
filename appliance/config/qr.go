package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// ParseWiFiQR reads the text of the QR code by which a phone gives its Wi-Fi away, "WIFI:T:WPA;S:name;P:passphrase;;":
// as phones write it and the ZXing project describes it ("Barcode Contents", Wi-Fi network config). Errors do not show
// the passphrase.
//
// A name that could be read as hexadecimal is a name: phones write no others. It is taken for bytes only where it is
// too long for a name.
func ParseWiFiQR(text string) (WiFi, error) {
	const scheme = "WIFI:"
	text = strings.TrimLeft(text, " \t\r\n")
	if len(text) < len(scheme) || !strings.EqualFold(text[:len(scheme)], scheme) {
		return WiFi{}, errors.New(`no text of a Wi-Fi QR code, which begins with "WIFI:"`)
	}
	fields := qrFields(text[len(scheme):])
	ssid, passphrase := fields["S"], fields["P"]
	if len(ssid) > 32 {
		if name, err := hex.DecodeString(ssid); err == nil {
			ssid = string(name)
		}
	}
	switch {
	case ssid == "":
		return WiFi{}, errors.New("the network's name is missing from the QR code's text; copy all of it, from WIFI: to ;;")
	case len(ssid) > 32:
		return WiFi{}, fmt.Errorf("the network's name is %d bytes long; Wi-Fi allows 32", len(ssid))
	}
	switch kind := strings.ToUpper(fields["T"]); {
	case kind == "WEP":
		return WiFi{}, errors.New("the network is protected by WEP, which anybody breaks; choose WPA2 or WPA3 on the phone")
	case strings.HasSuffix(kind, "EAP") || fields["E"] != "":
		return WiFi{}, errors.New("the network asks for a user's name, as in a company; lend one with a password alone")
	case kind == "NOPASS" || kind == "OWE", kind == "" && passphrase == "":
		return WiFi{SSID: SSID(ssid)}, nil
	case kind != "" && kind != "SAE" && !strings.HasPrefix(kind, "WPA"):
		return WiFi{}, errors.New("the kind of protection (T:) is not known; known are WPA, SAE and nopass")
	case passphrase == "":
		return WiFi{}, errors.New("the password is missing from the QR code's text; copy all of it, from WIFI: to ;;")
	}
	passphrase, err := parsePassphrase(passphrase)
	if err != nil {
		return WiFi{}, fmt.Errorf("the password: %w", err)
	}
	return WiFi{SSID: SSID(ssid), Passphrase: passphrase}, nil
}

// qrFields reads "KEY:value;" one after the other; of a key that comes twice the first counts. In a value a backslash
// takes the meaning from the character behind it, and quotation marks around the whole are not part of it.
func qrFields(text string) map[string]string {
	fields := make(map[string]string)
	for {
		key, rest, ok := strings.Cut(text, ":")
		if !ok {
			return fields
		}
		var value []byte
		end, quoted := 0, false // quoted: the last character is a quotation mark that has its meaning
		for ; end < len(rest) && rest[end] != ';'; end++ {
			quoted = rest[end] == '"'
			if rest[end] == '\\' && end+1 < len(rest) {
				end++
			}
			value = append(value, rest[end])
		}
		if quoted && len(value) >= 2 && rest[0] == '"' {
			value = value[1 : len(value)-1]
		}
		if key = strings.ToUpper(strings.TrimSpace(key)); fields[key] == "" {
			fields[key] = string(value)
		}
		text = strings.TrimLeft(rest[end:], ";")
	}
}
