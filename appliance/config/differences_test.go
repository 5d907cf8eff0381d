package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDifferences: differences are named by key and donation, are in the file's order, and show no secret.
func TestDifferences(t *testing.T) {
	t.Parallel()
	parse := func(text string) *Config {
		t.Helper()
		c, err := Parse("passerelle.toml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	before := `
[box]
name = "A"
[hotspot]
interface = "wlan0"
radio = "hostapd"
ssid = "Lilas"
country = "FR"
password = "douze lilas"
[[donation]]
name = "Fibre"
interface = "eth0"
cap = "200GB"
[[donation]]
name = "Lucie"
interface = "wlan1"
cap = "5GB"
wifi = { ssid = "Lucie", passphrase = "trois petits chats" }
[[donation]]
name = "Vieux prêt"
interface = "eth9"
cap = "0"
`
	after := strings.NewReplacer(
		`name = "A"`, "name = \"B\"\nlanguage = \"fr\"", `"douze lilas"`, `"treize lilas"`, `"200GB"`, "\"100GB\"\nresets = 5",
		"trois petits", "quatre petits", "Vieux prêt", "Nouveau",
	).Replace(before)
	want := []Difference{
		{"", "box.name", `"A"`, `"B"`},
		{"", "hotspot.password", hidden, hidden},
		{"Vieux prêt", "donation", `"Vieux prêt"`, ""},
		{"Fibre", "donation.cap", `"200GB"`, `"100GB"`},
		{"Fibre", "donation.resets", "1", "5"},
		{"Lucie", "donation.wifi", `{ ssid = "Lucie", passphrase = ` + hidden + " }", `{ ssid = "Lucie", passphrase = ` + hidden + " }"},
		{"Nouveau", "donation", "", `"Nouveau"`},
	}
	if diff := cmp.Diff(want, Differences(parse(before), parse(after))); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if all := Differences(parse(before), parse(string(Format(parse(before))))); len(all) > 0 {
		t.Errorf("the canonical text differs: %v", all)
	}
	all := Differences(parse(before), parse(strings.Replace(before, `password = "douze lilas"`, "", 1)))
	if want := []Difference{{"", "hotspot.password", hidden, `""`}}; !cmp.Equal(want, all) {
		t.Errorf("a removed password: %v", all)
	}
}

// TestKeyOrder: keyOrder has every key of the canonical file.
func TestKeyOrder(t *testing.T) {
	t.Parallel()
	c, err := Parse("example.toml", Example())
	if err != nil {
		t.Fatal(err)
	}
	for _, values := range []map[string]string{c.values(), c.Donations[0].values()} {
		for key := range values {
			if _, ok := keyOrder[key]; !ok {
				t.Errorf("%q has no place", key)
			}
		}
	}
}
