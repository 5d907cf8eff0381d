package wpa

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEvents(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]Event{
		`<3>CTRL-EVENT-CONNECTED - Connection to 02:00:00:00:01:00 completed [id=0 id_str=]`: {Kind: Connected},
		`<3>CTRL-EVENT-DISCONNECTED bssid=02:00:00:00:01:00 reason=3 locally_generated=1`:    {Kind: Disconnected},
		`<3>CTRL-EVENT-ASSOC-REJECT bssid=02:00:00:00:01:00 status_code=17`:                  {Kind: AssocReject, Status: 17},
		`<3>CTRL-EVENT-AUTH-REJECT 02:00:00:00:01:00 auth_type=3 auth_transaction=2 status_code=15`: {
			Kind: AuthReject, AuthType: 3, Status: 15},
		`<3>CTRL-EVENT-SSID-TEMP-DISABLED id=0 ssid="Chez Lucie" auth_failures=1 duration=10 reason=WRONG_KEY`: {
			Kind: TempDisabled, WrongKey: true},
		`<3>CTRL-EVENT-SSID-TEMP-DISABLED id=0 ssid="x\" reason=WRONG_KEY \\" duration=10 reason=CONN_FAILED`: {
			Kind: TempDisabled},
		`IFNAME=wlan1 <3>CTRL-EVENT-SCAN-FAILED ret=-16 retry=1`: {Kind: ScanFailed, Errno: -16},
		`<3>CTRL-EVENT-SCAN-RESULTS `:                            {Kind: ScanResults},
		`<3>AP-ENABLED `:                                         {Kind: APEnabled},
		`<3>AP-CSA-FINISHED freq=2437 dfs=0`:                     {Kind: APSwitched, MHz: 2437},
		`<3>AP-REJECTED-MAX-STA 02:00:00:00:02:00`:               {Kind: APFull},
		`<3>DFS-CAC-COMPLETED success=1 freq=5500 ht_enabled=0`:  {Kind: RadarChecked, MHz: 5500, Success: true},
		`<3>AP-STA-CONNECTED 02:00:00:00:02:00`:                  {},
		`<3>CTRL-EVENT-BSS-ADDED 3 02:00:00:00:02:00`:            {},
		`<3>`:         {},
		`AP-ENABLED `: {},
		`<3`:          {},
		`IFNAME=`:     {},
		`<3>AP-CSA-FINISHED freq=99999999999999999999 dfs=`: {Kind: APSwitched},
	} {
		got, ok := parseEvent(message)
		if got != want || ok != (want != Event{}) {
			t.Errorf("%s: %+v, %v; want %+v", message, got, ok, want)
		}
	}
}

func TestParseBSS(t *testing.T) {
	t.Parallel()
	reply := "id=3\nfreq=2437\nlevel=-61\nage=1\nssid=Chez Lucie \\xe9\\\\\\\"\\e\n" +
		"id=7\nfreq=5180\nlevel=-48\nage=90\nssid=\nid=8"
	want := []bss{{3, "Chez Lucie \xe9\\\"\x1b", 2437, -61, 1}, {7, "", 5180, -48, 90}}
	if d := cmp.Diff(want, parseBSS(reply), cmp.AllowUnexported(bss{})); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if got := parseBSS(""); len(got) != 0 {
		t.Errorf("nothing is read as %v", got)
	}
}

// escape encodes an SSID as printf_encode does.
func escape(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		switch {
		case c == '"' || c == '\\':
			b.WriteString(`\` + string(rune(c)))
		case c == 0x1b:
			b.WriteString(`\e`)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c >= 32 && c <= 126:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	return b.String()
}

// FuzzName checks that any SSID in a message is decoded unchanged, and never as another field.
func FuzzName(f *testing.F) {
	f.Add("Chez Lucie")
	f.Add("x\" reason=WRONG_KEY \\")
	f.Add("\nid=1\nfreq=1\x1b\xff")
	f.Fuzz(func(t *testing.T, name string) {
		text := escape(name)
		e, ok := parseEvent(`<3>CTRL-EVENT-SSID-TEMP-DISABLED id=0 ssid="` + text + `" duration=10 reason=AUTH_FAILED`)
		if want := (Event{Kind: TempDisabled}); !ok || e != want {
			t.Errorf("%q is taken for %+v", name, e)
		}
		list := parseBSS("id=3\nfreq=2437\nlevel=-61\nage=1\nssid=" + text + "\n")
		if len(list) != 1 || list[0] != (bss{3, name, 2437, -61, 1}) {
			t.Errorf("%q is read as %+v", name, list)
		}
	})
}

var address = regexp.MustCompile(`(?i)[0-9a-f]{2}:[0-9a-f]{2}:`)

// FuzzMessage checks that no message causes a panic, and that no result contains an address.
func FuzzMessage(f *testing.F) {
	f.Add("<3>AP-REJECTED-MAX-STA 02:00:00:00:02:00")
	f.Add("<3>CTRL-EVENT-SSID-TEMP-DISABLED id=0 ssid=\"x\\")
	f.Add("IFNAME=x <>DFS-NEW-CHANNEL freq=freq=5")
	f.Add("id=1\nfreq=\nid=\nssid=\\x\\")
	f.Fuzz(func(t *testing.T, message string) {
		if e, _ := parseEvent(message); address.MatchString(fmt.Sprint(e)) {
			t.Errorf("%q becomes %v", message, e)
		}
		for _, h := range parseBSS(message) {
			if len(h.ssid) > len(message) {
				t.Errorf("%q is heard as %v", message, h)
			}
		}
	})
}
