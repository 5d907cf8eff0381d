package config

import (
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
	} {
		if got, err := ParseWiFiQR(c.text); err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", c.text, got, err, c.want)
		}
	}
}

func TestParseWiFiQRRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		``:                                   "no text of a Wi-Fi QR code",
		`https://example.org/`:               "no text of a Wi-Fi QR code",
		`WIFI:`:                              "name is missing",
		`WIFI:;;`:                            "name is missing",
		`WIFI:T:WPA;P:12345678;;`:            "name is missing",
		`WIFI:T:WPA;S:Chez Lucie;;`:          "password is missing",
		`WIFI:T:WPA;S:Chez Lucie;P:secret;;`: "6 characters long",
		`WIFI:T:WEP;S:Chez Lucie;P:secret;;`: "WEP, which anybody breaks",
		`WIFI:T:WPA2-EAP;S:x;P:12345678;;`:   "a user's name",
		`WIFI:T:WPA;E:PEAP;S:x;P:12345678;;`: "a user's name",
		`WIFI:T:secret78;S:x;P:secret78;;`:   "not known",
		`WIFI:T:nopass;S:` + strings.Repeat("x", 33) + `;;`: "33 bytes long",
	} {
		got, err := ParseWiFiQR(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
}

// FuzzWiFiQR holds what is read against what a file may say, and against what a phone would write of it.
func FuzzWiFiQR(f *testing.F) {
	f.Add(`WIFI:T:WPA;S:a\;b\,c\:d\\e\"f;P:\"12\;34\:56\";;`)
	f.Add(`WIFI:T:WPA;S:"CAFE";P:"12345678";H:true;;`)
	f.Add("WIFI:S:\"\xe9;;")
	escape := strings.NewReplacer(`\`, `\\`, `;`, `\;`, `,`, `\,`, `:`, `\:`, `"`, `\"`)
	f.Fuzz(func(t *testing.T, text string) {
		w, err := ParseWiFiQR(text)
		if err != nil {
			return
		}
		if name, err := ParseSSID(w.SSID.String()); err != nil || name != w.SSID {
			t.Errorf("%q gives the name %q: %v", text, w.SSID, err)
		}
		if _, err := parsePassphrase(w.Passphrase); err != nil {
			t.Errorf("%q gives a passphrase that no file may have: %v", text, err)
		}
		kind := "WPA"
		if w.Passphrase == "" {
			kind = "nopass"
		}
		again := "WIFI:T:" + kind + ";S:" + escape.Replace(string(w.SSID)) + ";P:" + escape.Replace(w.Passphrase) + ";;"
		if got, err := ParseWiFiQR(again); err != nil || got != w {
			t.Errorf("%q is read as %q, and that back from %q as %q, %v", text, w, again, got, err)
		}
	})
}
