package support

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"passerelle/appliance/config"
	"passerelle/appliance/state"
)

const text = `[box]
name = "Centre social des Lilas"
portal_url = "https://portail.exemple.fr/captive-portal/api"
[centre]
address = "17 rue des Marronniers"
postcode = "93170"
town = "Bagnolet"
phone = "01 98 76 54 32"
[hotspot]
interface = "wlan0"
radio = "hostapd"
ssid = "Partage de Co - Les Lilas"
password = "bienvenue-ici"
country = "FR"
[agenda]
url = "https://nuage.exemple.fr/prive-7f3a9c.ics?jeton=abcd"
[fleet]
mirror = "https://miroir.exemple.fr/cle-91af"
[[donation]]
name = "Ana" # Ana Muller, 3e gauche
interface = "eth0"
cap = "200GB"
dns = ["192.168.7.9"]
[[donation]]
name = "Le téléphone \"rouge\" d'Élise"
interface = "wlan1"
cap = "2GB"
wifi = { ssid = "iPhone d'Élise \\xE9", passphrase = "trois petits chats" }
`

func parse(t *testing.T) *config.Config {
	t.Helper()
	c, err := config.Parse("passerelle.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// forbidden is what a file must not contain.
var forbidden = []string{
	"Lilas", "captive-portal/api", "Marronniers", "Bagnolet", "98 76", "bienvenue-ici", "prive", "jeton", "Ana ", "Muller", "93170", "cle-91af",
	"192.168.7.9", "rouge", "Élise", "trois petits chats", `\xE9`,
}

// unpack returns a file's members.
func unpack(t *testing.T, packed []byte) map[string]string {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, m := range z.File {
		f, err := m.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(f)
		if err != nil {
			t.Fatal(err)
		}
		all[m.Name] = string(b)
	}
	return all
}

// TestRedact: the configuration is valid, has the original's settings of the box, and nothing personal or secret.
func TestRedact(t *testing.T) {
	t.Parallel()
	redacted := Redact(parse(t))
	c, err := config.Parse("passerelle.toml", redacted)
	if err != nil {
		t.Fatalf("%v:\n%s", err, redacted)
	}
	if c.Donations[0].Cap != 200e9 || c.Donations[1].WiFi == nil || c.Donations[1].Name != "loan 2" || c.Hotspot.Password != hidden || c.Hotspot.Country != "FR" {
		t.Errorf("it has become\n%s", redacted)
	}
	for line := range strings.Lines(string(redacted)) {
		if strings.HasPrefix(line, "#") { // a comment of the example
			continue
		}
		for _, s := range forbidden {
			if strings.Contains(line, s) {
				t.Errorf("%q is in %s", s, line)
			}
		}
	}
	if Redact(nil) == nil {
		t.Error("without a configuration nothing is said")
	}
}

// TestZip: names of lenders and networks are replaced by numbers wherever they occur, also in quotes; a short one only as a word.
func TestZip(t *testing.T) {
	t.Parallel()
	status := state.Status{
		State: state.Sharing, Why: `"Ana" is available, and "Le téléphone \"rouge\" d'Élise" is out of range: iPhone d'Élise \xE9 (trois petits chats)`,
		Centre:    "Centre social des Lilas",
		Donations: []state.Donation{{Name: "Ana", Servers: []string{"192.168.7.9"}, Cap: 200e9}, {Name: "Le téléphone \"rouge\" d'Élise"}},
		Since:     time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC),
	}
	packed, err := Zip(Content{
		Made: status.Since, Config: parse(t), Status: status, Text: "ok link of Ana: Banana 10.80.0.23", Plan: "chain PAS-X from 02:00:00:00:00:01",
		Versions: map[string]string{"go": "go1.26.5", "kernel": "6.12.0-rpi arm"},
		Log:      []state.LogEntry{{At: status.Since, Level: "WARN", Text: "the line of Ana: Bagnolet\nhas no link"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	all := unpack(t, packed)
	for name, member := range all {
		for _, s := range forbidden {
			if name != "passerelle.toml" && strings.Contains(member, s) {
				t.Errorf("%q is in %s:\n%s", s, name, member)
			}
		}
	}
	for name, want := range map[string]string{
		"doctor.txt": "ok link of loan 1: Banana [address]", "plan.txt": "chain PAS-X from [device]",
		"log.txt":      "2026-11-21T12:00:00Z WARN  the line of loan 1: [town] has no link\n",
		"versions.txt": "go: go1.26.5\nkernel: 6.12.0-rpi arm\n",
		"status.json":  `"since": "2026-11-21T12:00:00Z"`, "doctor.json": "null\n", "board.txt": "",
	} {
		if !strings.Contains(all[name], want) {
			t.Errorf("%s: no %q in\n%s", name, want, all[name])
		}
	}
	if !strings.Contains(all["status.json"], `"cap": 200000000000`) {
		t.Errorf("figures have changed:\n%s", all["status.json"])
	}
}

// TestFewPeople: the file is the same for all counts of residents that round to the same five.
func TestFewPeople(t *testing.T) {
	t.Parallel()
	status := func(n int) string {
		wifi := state.WiFi{On: true, Stations: n}
		s := state.Status{Hotspot: state.Hotspot{WiFi: &wifi}, Residents: state.Residents{
			Sessions: n, Started: uint64(n), Slow: n, Refused: state.Refused{Data: uint64(n), NotSharing: uint64(n), Busy: uint64(n)}}}
		packed, err := Zip(Content{Config: parse(t), Status: s})
		if err != nil || wifi.Stations != n {
			t.Fatal(err, wifi)
		}
		return unpack(t, packed)["status.json"]
	}
	for n := range 12 {
		if diff := cmp.Diff(status(n/5*5), status(n)); diff != "" {
			t.Errorf("%d people are told from %d:\n%s", n, n/5*5, diff)
		}
	}
	if status(4) == status(5) {
		t.Error("counts do not follow")
	}
}

// TestSize: even for a box with a lot to report, little of which can be compressed, the file stays within its limit.
func TestSize(t *testing.T) {
	t.Parallel()
	source := rand.New(rand.NewPCG(1, 2))
	noise := func(n int) string {
		var b strings.Builder
		for b.Len() < n {
			fmt.Fprintf(&b, "%c", rune(0x4e00+source.IntN(20000)))
		}
		return b.String()
	}
	c := Content{Plan: noise(maxMember + 1), Text: noise(1 << 12), Versions: map[string]string{"x": noise(1 << 12)}}
	c.Status.Why = noise(1 << 12)
	c.Diagnosis = &state.Diagnosis{Steps: []state.Finding{{Saw: noise(1 << 12)}}}
	for range 110 { // more than are kept
		c.Log = append(c.Log, state.LogEntry{Text: noise(1000)})
	}
	packed, err := Zip(c)
	if err != nil || len(packed) > MaxBytes || len(packed) < maxMember {
		t.Errorf("%d bytes, %v", len(packed), err)
	}
	for name, member := range unpack(t, packed) {
		if len(member) > maxMember+100 {
			t.Errorf("%s has %d bytes", name, len(member))
		}
	}
}
