package config

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// TestMask: a masked text contains no secret, wherever the secret was written, and unmasking returns the original text.
func TestMask(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		string(Example()),
		`[hotspot]` + "\n" + `password = "lilas-2024"  # lilas-2024` + "\n",
		`hotspot.password = 'lilas-2024' # and again: lilas-2024`,
		`hotspot = { ssid = "lilas-2024", password = "lilas-2024" }`,
		"[[donation]]\nwifi = { ssid = \"x\", passphrase = \"lilas-2024\" }\n[[donation]]\nwifi.passphrase = \"lilas-2024\"\n",
		"[[donation]]\n[donation.wifi]\npasphrase = \"lilas-2024\"\n",
		"# password = \"lilas-2024\"\n[hotspot]\n# passphrase='lilas-2024'\n",
		"[hotspot]\npassword = \"lilas-2024\nssid = \"x\"\n",
		"[hotspot\npassword = lilas-2024\nwifi = { passphrase = \"lilas-2024\" \n",
		"\ufeff[hotspot]\r\npassword = \"lilas-2024\"\r\n",
		"[hotspot]\npassword = [\"lilas-2024\", \"lilas-2024\"]\n",
		"[hotspot]\npassword = \"\"\"lilas-2024\"\"\"\n",
		"# ********1 \"********2\"\n[hotspot]\npassword = \"lilas-2024\"\n",
		"[hotspot]\npassword = \"lilas-2024\"\nssid = \"lilas-2024-hall\"\n[[donation]]\nwifi.passphrase = \"lilas-2024-hall\"",
	} {
		var m Masks
		masked := m.Mask([]byte(text))
		if strings.Contains(string(masked), "lilas-2024") {
			t.Errorf("masked:\n%s", masked)
		}
		if back, err := m.Unmask("", masked); string(back) != text && !strings.Contains(text, "\"********2") {
			t.Errorf("unmasked:\n%q\nwant:\n%q\n(%v)", back, text, err)
		}
	}
	var m Masks
	if masked := m.Mask(Example()); string(masked) != string(Example()) {
		t.Error("the example is masked, and has no secret")
	}
	if _, err := m.Unmask("f", []byte("[hotspot]\npassword = \"********1\"")); err == nil || !strings.HasPrefix(err.Error(), "f:2: ") {
		t.Errorf("a placeholder of nothing: %v", err)
	}
}

// TestMaskRandom: masking and unmasking returns the original, whatever the text is.
func TestMaskRandom(t *testing.T) {
	t.Parallel()
	parts := []string{"password", "passphrase", " = ", "=", `"`, "'", "secret-word", "other-word", "\n", "#", "[a]", "{", "}", ",", "wifi", ".", "x", "\\", "********1", `"""`, "\r\n"}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		var b strings.Builder
		for range r.IntN(14) {
			b.WriteString(parts[r.IntN(len(parts))])
		}
		text := b.String()
		if strings.Contains(text, `"********1"`) {
			continue // such a text is refused
		}
		var m Masks
		masked := m.Mask([]byte(text))
		if back, err := m.Unmask("", masked); err != nil || string(back) != text {
			t.Fatalf("%q is masked %q and unmasked %q: %v", text, masked, back, err)
		}
	}
}

// TestTypedValues: writing the values of a configuration as changes changes nothing.
func TestTypedValues(t *testing.T) {
	t.Parallel()
	c, err := Parse("example.toml", Example())
	if err != nil {
		t.Fatal(err)
	}
	c.Donations[0].WiFi = &WiFi{"Box", "lilas-2024"}
	text := Format(c)
	var changes []Change
	for key, value := range c.Values() {
		changes = append(changes, Change{strings.Split(key, "."), value})
	}
	for key, value := range c.Donations[0].Values() {
		changes = append(changes, Change{[]string{"donation", c.Donations[0].Name, strings.TrimPrefix(key, "donation.")}, value})
	}
	got, err := Edit(text, changes)
	if err != nil || string(got) != string(text) {
		t.Errorf("%v:\n%s", err, got)
	}
}
