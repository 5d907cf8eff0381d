package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestUntil: a last day is a valid date, and is over at the next midnight in the box's zone.
func TestUntil(t *testing.T) {
	t.Parallel()
	for text, good := range map[string]bool{
		"": true, "2026-12-31": true, "2028-02-29": true, "2027-02-29": false, "2026-2-1": false, "31/12/2026": false,
		"2025-12-31": false, "2100-01-01": false, "2026-12-31T00:00:00Z": false, "demain": false,
	} {
		d, err := parseDay(text)
		if (err == nil) != good || good && d != Day(text) {
			t.Errorf("%q: %q, %v", text, d, err)
		}
	}
	const last = Day("2026-12-31")
	for at, over := range map[string]bool{
		"2026-12-31T22:59:59Z": false, "2026-12-31T23:00:00Z": true, "2027-06-01T00:00:00Z": true, "2026-01-01T00:00:00Z": false,
	} {
		now, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := last.Over(now.In(paris)); got != over {
			t.Errorf("at %s it is over: %v", at, got)
		}
	}
	if Day("").Over(time.Now()) {
		t.Error("no last day is over")
	}
}

// neverOver is for configurations in which no donation is over.
func neverOver(Donation) bool { return false }

const lentTo = minimal + `
[[donation]]
name = "Lucie"
interface = "lend0"
wifi = { ssid = "Chez Lucie", passphrase = "trois petits chats" }
cap = "2GB"
period = "once"
`

func parsed(t *testing.T, text []byte) *Config {
	t.Helper()
	c, err := Parse("passerelle.toml", text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestAddLoan: a loan becomes a donation, and the rest of the text stays as it is.
func TestAddLoan(t *testing.T) {
	t.Parallel()
	text := []byte(strings.NewReplacer(`radio = "none"`, "radio = \"hostapd\"\nssid = \"Partage\"\ncountry = \"FR\"").Replace(lentTo))
	paul := &WiFi{SSID: "Chez Lucie", Passphrase: "quatre petits chats"}
	edited, d, err := AddLoan(parsed(t, text), text, Loan{Name: "Paul", WiFi: paul, Cap: "12GB", Period: "once", Until: "2026-12-31"}, neverOver)
	if err != nil {
		t.Fatal(err)
	}
	if d.Name != "Paul" || *d.WiFi != *paul || d.Interface != "lend1" || d.Cap != 12e9 || d.Period != "once" || d.Until != "2026-12-31" {
		t.Errorf("the donation is %+v", d)
	}
	if !bytes.HasPrefix(edited, text) {
		t.Errorf("more is changed:\n%s", edited)
	}
	for want, l := range map[error]Loan{
		ErrLent: {WiFi: &WiFi{SSID: "Lucie", Passphrase: "trois petits chats"}, Cap: "1GB"}, ErrNotWiFi: {WiFi: &WiFi{SSID: "Fibre du centre", Passphrase: "trois petits chats"}, Cap: "1GB"},
		ErrNoCap: {Name: "Paul", WiFi: paul},
	} {
		if _, _, err := AddLoan(parsed(t, text), text, l, neverOver); !errors.Is(err, want) {
			t.Errorf("%+v: %v, want %v", l, err, want)
		}
	}
	none := []byte(strings.Replace(lentTo, `radio = "none"`, "radio = \"none\"\ncountry = \"FR\"", 1))
	if _, _, err := AddLoan(parsed(t, none), none, Loan{Name: "Paul", WiFi: paul, Cap: "1GB"}, neverOver); !errors.Is(err, ErrNoRadio) {
		t.Errorf("without a radio: %v", err)
	}
}

// TestAddLoanTakesInterface: a donation that is over gives its interface to the next loan, and one that is not over keeps it.
func TestAddLoanTakesInterface(t *testing.T) {
	t.Parallel()
	text := []byte(strings.Replace(minimal, "eth0", USB, 1))
	loan := Loan{Name: "Paul", Interface: USB, Cap: "1GB", Period: "once"}
	if _, _, err := AddLoan(parsed(t, text), text, loan, neverOver); !errors.Is(err, ErrUSBTaken) {
		t.Errorf("while it goes on: %v", err)
	}
	edited, d, err := AddLoan(parsed(t, text), text, loan, func(Donation) bool { return true })
	if err != nil || d.Interface != USB || d.WiFi != nil {
		t.Fatalf("%+v, %v", d, err)
	}
	if old := parsed(t, edited).Donations[0]; old.Name != "Fibre du centre" || old.Interface != "lend0" {
		t.Errorf("the one before is %+v", old)
	}
}

// TestFreeName: a new donation gets a name that no other donation has, and that looks like no other name.
func TestFreeName(t *testing.T) {
	t.Parallel()
	c := &Config{Donations: []Donation{{Name: "Élise"}, {Name: "Élise 2"}, {Name: strings.Repeat("a", 80)}}}
	long := strings.Repeat("a", 78) + " 2"
	for wanted, want := range map[string]string{
		"Karim": "Karim", "Paul": "Paul 3", "Élise": "Élise 3", "E\u0301lise": "E\u0301lise 3", " Élise ": "Élise 3", strings.Repeat("a", 80): long,
		strings.Repeat("b", 99): strings.Repeat("b", 80),
	} {
		if got := c.FreeName(wanted, func(name string) bool { return name == "Paul" || name == "Paul 2" }); got != want {
			t.Errorf("%q: %q, want %q", wanted, got, want)
		}
	}
}

// TestForget: after the end of a loan no version contains its password, and the other versions are unchanged.
func TestForget(t *testing.T) {
	t.Parallel()
	const secret = "trois petits chats"
	h := History{filepath.Join(t.TempDir(), "versions")}
	keep := minimal + "# as it was\n"
	for _, text := range []string{
		keep, lentTo, lentTo + "# it was " + secret + "\n",
		strings.Replace(lentTo, `"Lucie"`, `"Another"`, 1), // another donation of the same phone
		"not TOML: " + secret,
	} {
		if err := h.Add(Version{Revision: RevisionOf([]byte(text))}, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Rewrite(func(text []byte) ([]byte, error) { return Forget(text, []string{"Lucie"}, []string{secret}) }); err != nil {
		t.Fatal(err)
	}
	var left []string
	all, err := h.Versions()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range all {
		text, err := h.Text(v.Revision)
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, string(text))
	}
	slices.Reverse(left)
	if len(left) != 2 || left[0] != keep || !strings.Contains(left[1], `name = "Lucie"`) || strings.Contains(left[1], "wifi") {
		t.Errorf("left are %q", left)
	}
	err = filepath.WalkDir(h.Dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, []byte(secret)) {
			t.Errorf("%s has the password", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// FuzzLoan: whatever a phone's network is called, its loan becomes a donation with that network, or is refused.
func FuzzLoan(f *testing.F) {
	f.Add("Chez Lucie", "trois petits chats", "Élise")
	f.Add(`\xE9\\`, "12345678", "a\"b = [")
	f.Add("[[donation]]", "'''#\"\"\"{}", "Fibre du centre")
	f.Fuzz(func(t *testing.T, network, password, lender string) {
		w, err := ParseLentWiFi(network, password)
		if err != nil {
			public := "the network's name: the password: empty" + network + strconv.Quote(network) // these may be in an error
			if len(password) > 7 && strings.Contains(err.Error(), password) && !strings.Contains(public, password) {
				t.Errorf("the error tells the password: %v", err)
			}
			return
		}
		text := []byte(strings.Replace(minimal, `radio = "none"`, "radio = \"hostapd\"\nssid = \"Partage\"\ncountry = \"FR\"", 1))
		c := parsed(t, text)
		name := c.FreeName(lender, nil)
		edited, d, err := AddLoan(c, text, Loan{Name: name, WiFi: &w, Cap: "1GB", Period: "once", Until: "2026-12-31"}, neverOver)
		if err != nil {
			if strings.Contains(err.Error(), password) && !strings.Contains(name+strconv.Quote(name), password) {
				t.Errorf("the error tells the password: %v", err)
			}
			return
		}
		if *d.WiFi != w || d.Cap != 1e9 || len(parsed(t, edited).Donations) != 2 {
			t.Errorf("%q, %q, %q became %+v", network, password, lender, d)
		}
	})
}
