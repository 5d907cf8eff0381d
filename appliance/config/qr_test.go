package config

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestParseWiFiQR(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		want WiFi
	}{
		{`WIFI:T:WPA;S:Chez Lucie;P:trois petits chats;;`, WiFi{"Chez Lucie", "trois petits chats"}},
		{`wifi:S:Chez Lucie;T:SAE;P:trois petits chats;H:true;;` + "\n", WiFi{"Chez Lucie", "trois petits chats"}},
		{`WIFI:T:WPA2;R:1;S:Chez Lucie;P:trois petits chats;K:MDkw;;`, WiFi{"Chez Lucie", "trois petits chats"}},
		{`WIFI:S:Chez Lucie;P:trois petits chats;;`, WiFi{"Chez Lucie", "trois petits chats"}},
		{`WIFI:T:WPA;S:a\;b\,c\:d\\e\"f;P:\"12\;34\:56\";;`, WiFi{`a;b,c:d\e"f`, `"12;34:56"`}},
		{`WIFI:T:WPA;S:"CAFE";P:"12345678";;`, WiFi{"CAFE", "12345678"}},
		{`WIFI:T:WPA;S:"CAFE\";P:12345678;;`, WiFi{`"CAFE"`, "12345678"}},
		{`WIFI:T:WPA;S:CAFE;P:12345678;;`, WiFi{"CAFE", "12345678"}},
		{`WIFI:T:WPA;S:636166e9636166e9636166e9636166e9636166e9;P:12345678;;`,
			WiFi{"caf\xe9caf\xe9caf\xe9caf\xe9caf\xe9", "12345678"}},
		{`WIFI:T:WPA;S:Chez Lucie;P: 1234567 ;;`, WiFi{"Chez Lucie", " 1234567 "}},
		{`WIFI:T:nopass;S:Café;P:;;`, WiFi{SSID: "Café"}},
		{`WIFI:S:Café;;`, WiFi{SSID: "Café"}},
		{`WIFI:T:WPA;S:Chez Lucie;P:trois petits chats`, WiFi{"Chez Lucie", "trois petits chats"}},

		// With characters that were copied together with it.
		{`"WIFI:S:Box;T:WPA;P:12345678;;"`, WiFi{"Box", "12345678"}},
		{`'"WIFI:S:Box;T:WPA;P:12345678;;"'`, WiFi{"Box", "12345678"}},
		{"\ufeff« WIFI:S:Box;T:WPA;P:12345678;; »\r\n", WiFi{"Box", "12345678"}},
		{"\u00a0\u200b“wifi:S:Box;T:WPA;P:12345678;;”", WiFi{"Box", "12345678"}},
		{`WIFI:S:Box;T:WPA;P:"12345678"`, WiFi{"Box", "12345678"}},
		{`WIFI:S:Box;T:WPA;P:1234567"`, WiFi{"Box", `1234567"`}},

		// Other names of security types.
		{`WIFI:T:NONE;S:Café;;`, WiFi{SSID: "Café"}},
		{`WIFI:T:open;S:Café;P:;;`, WiFi{SSID: "Café"}},
		{`WIFI:T:PSK;S:Box;P:12345678;;`, WiFi{"Box", "12345678"}},
		{`WIFI:T:RSN;S:Box;P:12345678;;`, WiFi{"Box", "12345678"}},
		{`WIFI:T:WPA2-PSK;S:Box;P:12345678;;`, WiFi{"Box", "12345678"}},
		{`WIFI:T:WPA;S:Box;P:` + strings.Repeat("0aF9", 16) + `;;`, WiFi{"Box", strings.Repeat("0aF9", 16)}},
	} {
		if got, err := ParseWiFiQR(c.text); err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", c.text, got, err, c.want)
		}
	}
}

func TestParseWiFiQRRefuses(t *testing.T) {
	t.Parallel()
	seen := map[QRFault]bool{}
	for text, want := range map[string]string{
		``:                                   "not the text of a Wi-Fi QR code",
		`https://example.org/`:               "not the text of a Wi-Fi QR code",
		`WIFI:`:                              "name is missing",
		`WIFI:;;`:                            "name is missing",
		`WIFI:T:WPA;P:12345678;;`:            "name is missing",
		`WIFI:T:WPA;S:Chez Lucie;;`:          "password is missing",
		`WIFI:T:WPA;S:Chez Lucie;P:secret;;`: "6 characters long",
		`WIFI:T:WEP;S:Chez Lucie;P:secret;;`: "WEP, which is insecure",
		`WIFI:T:WPA2-EAP;S:x;P:12345678;;`:   "a user name",
		`WIFI:T:WPA;E:PEAP;S:x;P:12345678;;`: "a user name",
		`WIFI:T:secret78;S:x;P:secret78;;`:   "unknown security type",
		`WIFI:T:NONE;S:Box;P:secret78;;`:     "says that the network is open",
		`"WIFI:"`:                            "name is missing",
		`WIFI:T:WPA;S:Box;P:` + strings.Repeat("x", 64) + `;;`: "64 characters long",
		`WIFI:T:nopass;S:` + strings.Repeat("x", 33) + `;;`:    "33 bytes long",
	} {
		got, err := ParseWiFiQR(text)
		var wrong *QRError
		if errors.As(err, &wrong) {
			seen[wrong.Fault] = true
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
	for _, fault := range QRFaults {
		if !seen[fault] || qrFaultText[fault] == "" {
			t.Errorf("%s: no text has it, or the command line has no words for it", fault)
		}
	}
	if len(seen) != len(QRFaults) || len(qrFaultText) != len(QRFaults) {
		t.Errorf("there are the faults %v, and words for %d", seen, len(qrFaultText))
	}
}

// FuzzWiFiQR checks parsed values against the rules of the file, and against the text that a phone would write for them.
func FuzzWiFiQR(f *testing.F) {
	f.Add(`WIFI:T:WPA;S:a\;b\,c\:d\\e\"f;P:\"12\;34\:56\";;`)
	f.Add(`WIFI:T:WPA;S:"CAFE";P:"12345678";H:true;;`)
	f.Add("WIFI:S:\"\xe9;;")
	f.Fuzz(func(t *testing.T, text string) {
		w, err := ParseWiFiQR(text)
		if err != nil {
			return
		}
		if name, err := ParseSSID(w.SSID.String()); err != nil || name != w.SSID {
			t.Errorf("%q gives the name %q: %v", text, w.SSID, err)
		}
		if _, err := parseLentPassphrase(w.Passphrase); err != nil {
			t.Errorf("%q gives a passphrase that is invalid in the file: %v", text, err)
		}
		again := FormatWiFiQR(w)
		if got, err := ParseWiFiQR(again); err != nil || got != w {
			t.Errorf("%q is parsed as %q, but its text %q as %q, %v", text, w, again, got, err)
		}
	})
}

// TestFormatWiFiQR: the text of a network's QR code is parsed to the same name and passphrase, whatever they are.
func TestFormatWiFiQR(t *testing.T) {
	t.Parallel()
	for want, w := range map[string]WiFi{
		`WIFI:T:WPA;S:Chez Lucie;P:trois petits chats;;`:   {"Chez Lucie", "trois petits chats"},
		`WIFI:T:nopass;S:Café des Lilas;;`:                 {SSID: "Café des Lilas"},
		`WIFI:T:WPA;S:a\;b\,c\:d\\e\"f;P:\"12\;34\:56\";;`: {`a;b,c:d\e"f`, `"12;34:56"`},
	} {
		if got := FormatWiFiQR(w); got != want {
			t.Errorf("%q: %s, want %s", w, got, want)
		}
	}
	random := rand.New(rand.NewPCG(14, 4))
	pick := func(from []string, most int) string {
		var b strings.Builder
		for n := random.IntN(most); n >= 0; n-- {
			if s := from[random.IntN(len(from))]; b.Len()+len(s) <= most {
				b.WriteString(s)
			}
		}
		return b.String()
	}
	special := []string{`\`, `;`, `,`, `:`, `"`, ` `, `a`, `F`, `0`}
	for range 10000 {
		w := WiFi{SSID: SSID(pick(append(special, "é", "\U0001f309", "\xff"), 32))}
		if random.IntN(3) > 0 {
			w.Passphrase = "12345678"[:7] + pick(special, 56)
		}
		if w.SSID == "" {
			continue
		}
		text := FormatWiFiQR(w)
		if got, err := ParseWiFiQR(text); err != nil || got != w {
			t.Errorf("%q is written as %q, which is read as %q, %v", w, text, got, err)
		}
	}
}
