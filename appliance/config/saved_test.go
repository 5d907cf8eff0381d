package config

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const savedText = `[box]
name = "Les Lilas"
[hotspot]
interface = "wlan0"
radio = "hostapd"
ssid = "Lilas"
country = "FR"
address = "10.80.0.1/22"
password = "coquelicot rouge"
[[donation]]
name = "Fibre"
interface = "eth0"
cap = "0"
[[donation]]
name = "Élise"
interface = "wlan1"
cap = "2GB"
period = "month"
wifi = { ssid = "iPhone", passphrase = "un secret d'Elise" } # passphrase = "l'ancien secret"
`

// TestSavedSecrets: WithoutSecrets removes all secrets of a text. WithSecrets restores those of the same networks, and makes new ones for
// the others.
func TestSavedSecrets(t *testing.T) {
	t.Parallel()
	plain, names := WithoutSecrets([]byte(savedText))
	want := []string{`hotspot "Lilas" password`, `donation "Élise" wifi "iPhone" passphrase`}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("secrets (-want +got):\n%s", diff)
	}
	for _, secret := range []string{"coquelicot", "un secret", "l'ancien"} {
		if strings.Contains(string(plain), secret) {
			t.Errorf("the text has %q:\n%s", secret, plain)
		}
	}
	whole, made, err := WithSecrets("x", plain, []byte(savedText))
	if again := strings.Replace(string(whole), `"********3"`, `"l'ancien secret"`, 1); err != nil || made != nil || again != savedText {
		t.Errorf("on the same box: new are %q, %v:\n%s", made, err, whole)
	}
	other := strings.Replace(savedText, "Lilas\"\ncountry", "Roses\"\ncountry", 1)
	_, made, err = WithSecrets("x", plain, []byte(other))
	if diff := cmp.Diff(want[:1], made); err != nil || diff != "" {
		t.Errorf("beside another hotspot: %v, %s", err, diff)
	}
	for _, present := range []string{"", "not = TOML = at all", other} {
		whole, made, err = WithSecrets("x", plain, []byte(present))
		c, parseErr := Parse("x", whole)
		if err != nil || parseErr != nil || len(made) == 0 {
			t.Fatalf("new are %q, %v, %v", made, err, parseErr)
		}
		if p := c.Hotspot.Password; len(p) < 16 || strings.Contains(p, "*") || strings.Contains(string(whole), "coquelicot") {
			t.Errorf("the hotspot's password is %q", p)
		}
		if w := c.Donations[1].WiFi; w == nil || w.Passphrase == "" || strings.Contains(w.Passphrase, "*") {
			t.Errorf("the line's Wi-Fi is %+v", w)
		}
	}
}

func FuzzWithSecrets(f *testing.F) {
	plain, _ := WithoutSecrets([]byte(savedText))
	f.Add(plain, []byte(savedText))
	f.Add([]byte("[hotspot]\npassword = \"********1\""), []byte(""))
	f.Fuzz(func(t *testing.T, text, present []byte) {
		if whole, _, err := WithSecrets("x", text, present); err == nil {
			if _, err := Parse("x", whole); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestSavedPIN: a backup without a passphrase has no SIM's PIN, and restoring it does not invent one.
func TestSavedPIN(t *testing.T) {
	t.Parallel()
	const text = "[box]\nname = \"Lilas\"\n[hotspot]\ninterface = \"eth1\"\nradio = \"none\"\n" +
		"[[donation]]\nname = \"Clé\"\ninterface = \"usb\"\ncap = \"0\"\napn = \"orange.fr\"\npin = \"4321\"\n"
	plain, names := WithoutSecrets([]byte(text))
	if strings.Contains(string(plain), "4321") || !slices.Equal(names, []string{`donation "Clé" pin`}) {
		t.Errorf("of the secrets %q it has\n%s", names, plain)
	}
	for present, want := range map[string]string{text: "4321", "": ""} {
		whole, new, err := WithSecrets("passerelle.toml", plain, []byte(present))
		if err != nil {
			t.Fatal(err)
		}
		c, err := Parse("passerelle.toml", whole)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Donations[0].PIN; got != want || (len(new) == 0) != (want != "") {
			t.Errorf("beside %q the PIN is %q, and new are %q", present, got, new)
		}
	}
	if got, err := ForgetNetwork([]byte(text), "Clé"); err != nil || strings.Contains(string(got), "4321") || strings.Contains(string(got), "orange") {
		t.Errorf("after the loan it has\n%s%v", got, err)
	}
}
