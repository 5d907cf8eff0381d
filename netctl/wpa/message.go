package wpa

import (
	"strconv"
	"strings"
)

// Kind is an event's name in wpa_ctrl.h.
type Kind string

// The kinds of events that are forwarded. All others are dropped, above all those about individual stations.
const (
	Connected     Kind = "CTRL-EVENT-CONNECTED"
	Disconnected  Kind = "CTRL-EVENT-DISCONNECTED"
	AssocReject   Kind = "CTRL-EVENT-ASSOC-REJECT"
	AuthReject    Kind = "CTRL-EVENT-AUTH-REJECT"
	TempDisabled  Kind = "CTRL-EVENT-SSID-TEMP-DISABLED"
	ScanResults   Kind = "CTRL-EVENT-SCAN-RESULTS"
	ScanFailed    Kind = "CTRL-EVENT-SCAN-FAILED"
	ChannelSwitch Kind = "CTRL-EVENT-CHANNEL-SWITCH"
	Terminating   Kind = "CTRL-EVENT-TERMINATING"

	APEnabled    Kind = "AP-ENABLED"
	APDisabled   Kind = "AP-DISABLED"
	APSwitched   Kind = "AP-CSA-FINISHED"
	APFull       Kind = "AP-REJECTED-MAX-STA" // an association was rejected: max_num_sta reached
	RadarSeen    Kind = "DFS-RADAR-DETECTED"
	RadarCheck   Kind = "DFS-CAC-START"
	RadarChecked Kind = "DFS-CAC-COMPLETED"
	RadarChannel Kind = "DFS-NEW-CHANNEL"
)

var kinds = map[Kind]bool{
	Connected: true, Disconnected: true, AssocReject: true, AuthReject: true, TempDisabled: true, ScanResults: true,
	ScanFailed: true, ChannelSwitch: true, Terminating: true, APEnabled: true, APDisabled: true, APSwitched: true,
	APFull: true, RadarSeen: true, RadarCheck: true, RadarChecked: true, RadarChannel: true,
}

// Event is an event of one of the programs. Fields that its kind does not have are 0.
type Event struct {
	Kind     Kind
	WrongKey bool // TempDisabled: the passphrase is probably wrong
	Status   int  // AssocReject, AuthReject: the status code (IEEE 802.11-2020, table 9-50)
	AuthType int  // AuthReject: the algorithm (9.4.1.1); 3 is SAE
	Errno    int  // ScanFailed: negative
	MHz      int  // ChannelSwitch, APSwitched, Radar...
	Success  bool // RadarChecked: no radar was seen
}

// unasked tells whether a message is an event rather than an answer.
func unasked(message string) bool {
	return strings.HasPrefix(message, "<") || strings.HasPrefix(message, "IFNAME=")
}

// parseEvent reads "<3>KIND word key=value key="text" ...". It returns false for kinds that are not forwarded.
func parseEvent(message string) (Event, bool) {
	if strings.HasPrefix(message, "IFNAME=") {
		_, message, _ = strings.Cut(message, " ")
	}
	_, message, ok := strings.Cut(message, ">") // after the level
	kind, rest, _ := strings.Cut(message, " ")
	e := Event{Kind: Kind(kind)}
	if !ok || !kinds[e.Kind] {
		return Event{}, false
	}
	for rest != "" {
		var key, value string
		key, value, rest = field(rest)
		switch key {
		case "reason": // a word in TempDisabled, else a number
			e.WrongKey = value == "WRONG_KEY"
		case "status_code":
			e.Status = number(value)
		case "auth_type":
			e.AuthType = number(value)
		case "ret":
			e.Errno = number(value)
		case "freq":
			e.MHz = number(value)
		case "success":
			e.Success = value == "1"
		}
	}
	return e, true
}

// field splits the next field off a text: "key=value", "key="quoted text"" or, without a key, any other word. The quoted text
// may be an SSID, in which quotation marks are escaped (printf_encode in wpa_supplicant's common.c).
func field(text string) (key, value, rest string) {
	text = strings.TrimLeft(text, " ")
	end := strings.IndexAny(text, " =")
	if end < 0 || text[end] == ' ' {
		_, rest, _ = strings.Cut(text, " ")
		return "", "", rest
	}
	key, text = text[:end], text[end+1:]
	if !strings.HasPrefix(text, `"`) {
		value, rest, _ = strings.Cut(text, " ")
		return key, value, rest
	}
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return key, text[1:i], text[i+1:]
		}
	}
	return key, text[1:], ""
}

// number parses a decimal number. It returns 0 if the number is invalid.
func number(s string) int {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		return 0
	}
	return int(n)
}

// parseLines parses the "key=value" lines of an answer. The last of several equal keys counts.
func parseLines(reply string) map[string]string {
	values := make(map[string]string)
	for line := range strings.Lines(reply) {
		if key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
			values[key] = value
		}
	}
	return values
}

// bss is a scan result of wpa_supplicant.
type bss struct {
	id     int
	ssid   string
	mhz    int
	signal int // dBm
	age    int // seconds
}

// bssMask selects the fields of bss: WPA_BSS_MASK_ID, _FREQ, _LEVEL, _AGE and _SSID of wpa_ctrl.h.
const bssMask = 1<<0 | 1<<2 | 1<<7 | 1<<9 | 1<<12

// parseBSS parses the answer to "BSS RANGE=... MASK=...", in which each BSS begins with its id.
func parseBSS(reply string) (list []bss) {
	for entry := range strings.SplitSeq("\n"+reply, "\nid=") {
		values := parseLines("id=" + entry)
		if _, ok := values["freq"]; !ok {
			continue // before the first one, or truncated
		}
		list = append(list, bss{
			id: number(values["id"]), ssid: unescape(values["ssid"]),
			mhz: number(values["freq"]), signal: number(values["level"]), age: number(values["age"]),
		})
	}
	return list
}

// unescape decodes an SSID that printf_encode in wpa_supplicant's common.c encoded.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case 'e':
			b.WriteByte(0x1b)
		case 'x':
			n, err := strconv.ParseUint(s[min(i+1, len(s)):min(i+3, len(s))], 16, 8)
			if err == nil {
				b.WriteByte(byte(n))
			}
			i += 2
		default: // a backslash or a quotation mark
			b.WriteByte(s[i])
		}
	}
	return b.String()
}
