package config

import (
	"encoding/hex"
	"strconv"
	"strings"
	"unicode"
)

const scheme = "WIFI:"

// quotationMarks are marks that may have been copied together with a text.
const quotationMarks = "\"'`\u00ab\u00bb\u2018\u2019\u201a\u201c\u201d\u201e"

// IsWiFiQR reports whether a text is meant as the text of a Wi-Fi QR code, and not as the name of a network. It skips white space,
// zero-width characters such as a byte order mark, and quotation marks, and looks for the scheme.
func IsWiFiQR(text string) bool {
	text = strings.TrimLeftFunc(text, besideQR)
	return len(text) >= len(scheme) && strings.EqualFold(text[:len(scheme)], scheme)
}

// besideQR reports whether a character may surround the text of a QR code without being part of it.
func besideQR(r rune) bool {
	return unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) || strings.ContainsRune(quotationMarks, r)
}

// QRFault says what is wrong with the text of a QR code. Pages have words for each fault.
type QRFault string

// The faults.
const (
	QRNotWiFi    QRFault = "not-wifi"
	QRCut        QRFault = "qr-cut"      // it has no name, or no password
	QRLong       QRFault = "qr-long"     // its name is longer than an SSID can be
	QRWEP        QRFault = "qr-wep"      // the network uses WEP, which is insecure
	QRLogin      QRFault = "qr-login"    // the network asks for a user name (802.1X)
	QRBoth       QRFault = "qr-both"     // the text says that the network is open, but has a password
	QRKind       QRFault = "qr-kind"     // the security type is unknown
	QRPassphrase QRFault = "qr-password" // the password is not valid for Wi-Fi
)

// QRFaults has all faults.
var QRFaults = []QRFault{QRNotWiFi, QRCut, QRLong, QRWEP, QRLogin, QRBoth, QRKind, QRPassphrase}

// qrFaultText is the command line's text for each fault. {} stands for the error's argument.
var qrFaultText = map[QRFault]string{
	QRNotWiFi: `not the text of a Wi-Fi QR code, which starts with "WIFI:"`,
	QRCut:     "the {} is missing from the QR code's text; copy all of it, from WIFI: to ;;",
	QRLong:    "the network's name is {} bytes long; Wi-Fi allows 32",
	QRWEP:     "the network uses WEP, which is insecure; choose WPA2 or WPA3 on the phone",
	QRLogin:   "the network uses 802.1X (a user name); lend one with only a password",
	QRBoth: "the QR code's text says that the network is open (T:), and has a password (P:); " +
		"write T:WPA if it needs the password, or leave P: out",
	QRKind:       "unknown security type (T:); supported are WPA, SAE and nopass",
	QRPassphrase: "the password: {}",
}

// QRError is the error of ParseWiFiQR.
type QRError struct {
	Fault QRFault
	of    string // what is missing or wrong, in English; never the passphrase
}

func (e *QRError) Error() string { return strings.Replace(qrFaultText[e.Fault], "{}", e.of, 1) }

// ParseWiFiQR parses the text of the QR code with which a phone shares its Wi-Fi, "WIFI:T:WPA;S:name;P:passphrase;;", as phones write it
// and the ZXing project describes it ("Barcode Contents", Wi-Fi network config). The error is a *QRError, which does not show the
// passphrase.
//
// A name that could be hexadecimal is taken literally, since phones do not write hexadecimal names. It is decoded only if it is too long
// for an SSID.
func ParseWiFiQR(text string) (WiFi, error) {
	if !IsWiFiQR(text) {
		return WiFi{}, &QRError{Fault: QRNotWiFi}
	}
	text = strings.TrimLeftFunc(text, besideQR)[len(scheme):]
	if end := strings.TrimRightFunc(text, besideQR); strings.HasSuffix(end, ";") { // drop quotation marks after the whole text
		text = end
	}
	fields := qrFields(text)
	ssid, passphrase := fields["S"], fields["P"]
	if len(ssid) > 32 {
		if name, err := hex.DecodeString(ssid); err == nil {
			ssid = string(name)
		}
	}
	switch {
	case ssid == "":
		return WiFi{}, &QRError{QRCut, "network's name"}
	case len(ssid) > 32:
		return WiFi{}, &QRError{QRLong, strconv.Itoa(len(ssid))}
	}
	switch kind := strings.ToUpper(fields["T"]); {
	case kind == "WEP":
		return WiFi{}, &QRError{Fault: QRWEP}
	case strings.HasSuffix(kind, "EAP") || fields["E"] != "":
		return WiFi{}, &QRError{Fault: QRLogin}
	case isOpen(kind) && passphrase != "":
		return WiFi{}, &QRError{Fault: QRBoth}
	case isOpen(kind), kind == "" && passphrase == "":
		return WiFi{SSID: SSID(ssid)}, nil
	case kind != "" && kind != "SAE" && kind != "PSK" && !strings.HasPrefix(kind, "WPA") && !strings.HasPrefix(kind, "RSN"):
		return WiFi{}, &QRError{Fault: QRKind}
	case passphrase == "":
		return WiFi{}, &QRError{QRCut, "password"}
	}
	passphrase, err := parseLentPassphrase(passphrase)
	if err != nil {
		return WiFi{}, &QRError{QRPassphrase, err.Error()}
	}
	return WiFi{SSID: SSID(ssid), Passphrase: passphrase}, nil
}

// isOpen reports whether a security type is that of a network without a password.
func isOpen(kind string) bool {
	return kind == "NOPASS" || kind == "NONE" || kind == "OPEN" || kind == "OWE"
}

// FormatWiFiQR returns the text of the QR code with which phones join a network. [ParseWiFiQR] parses it.
func FormatWiFiQR(w WiFi) string {
	name := escapeQR.Replace(string(w.SSID))
	if w.Passphrase == "" {
		return "WIFI:T:nopass;S:" + name + ";;"
	}
	return "WIFI:T:WPA;S:" + name + ";P:" + escapeQR.Replace(w.Passphrase) + ";;"
}

// escapeQR escapes a value in the text of a QR code.
var escapeQR = strings.NewReplacer(`\`, `\\`, `;`, `\;`, `,`, `\,`, `:`, `\:`, `"`, `\"`)

// qrFields parses a sequence of "KEY:value;". Of duplicate keys the first one with a value counts. In a value a backslash escapes the next
// character, and quotation marks around the whole value are not part of it.
func qrFields(text string) map[string]string {
	fields := make(map[string]string)
	for {
		key, rest, ok := strings.Cut(text, ":")
		if !ok {
			return fields
		}
		var value []byte
		end, quoted := 0, false // quoted says that the last character is an unescaped quotation mark
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
