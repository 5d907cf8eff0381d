package plan_test

import (
	"crypto/pbkdf2"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"passerelle/appliance/config"
	"passerelle/appliance/plan"
	"passerelle/appliance/supervise"
	"passerelle/netctl/netlab/labtest"
)

// TestSupplicantGolden compiles the donations of a configuration to the programs that join their networks.
func TestSupplicantGolden(t *testing.T) {
	t.Parallel()
	const file = "testdata/supplicant/children.txtar"
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse("passerelle.toml", archive.Files[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	var children []supervise.Child
	for _, d := range c.Donations {
		children = append(children, plan.SupplicantChild(d, c.Hotspot.Country, "/run/passerelle"))
	}
	got := childrenText(children)
	if *update {
		archive.Files[1].Data = []byte(got)
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := string(archive.Files[1].Data)
	if d := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); d != "" {
		t.Errorf("-want +got (`go test -update` takes it over):\n%s", d)
	}
}

// TestSupplicantsAreApart: interfaces with similar names have programs of their own.
func TestSupplicantsAreApart(t *testing.T) {
	t.Parallel()
	names := map[string]string{}
	for _, device := range []string{"a.b", "a_b", "a-b", "a_-b", "a__b", "a..b", "a_.b", "a._b"} {
		d := config.Donation{Interface: device, WiFi: &config.WiFi{SSID: "Chez Lucie"}}
		name := plan.SupplicantChild(d, "FR", "/run/passerelle").Name
		if other := names[name]; other != "" || strings.Contains(name, ".") {
			t.Errorf("%s is called %s, as %q", device, name, other)
		}
		names[name] = device
	}
}

// TestSupplicantReads parses names and passphrases of all kinds with the real wpa_supplicant, and compares its values.
func TestSupplicantReads(t *testing.T) {
	t.Parallel()
	labtest.Root(t, "wpa_supplicant")
	networks := []config.WiFi{
		{SSID: "Chez Lucie", Passphrase: "trois petits chats"},
		{SSID: "\x00\xff\"\n#", Passphrase: `a"b#c"d #`},
		{SSID: "}", Passphrase: ` " # \ `},
		{SSID: "#", Passphrase: `""""""""`},
		{SSID: `"`, Passphrase: `########`},
		{SSID: "network={", Passphrase: strings.Repeat(`"#\ `, 15) + "psk"},
		{SSID: "ouvert"},
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		name, secret := make([]byte, 1+random.IntN(32)), make([]byte, 8+random.IntN(56))
		for i := range name {
			name[i] = byte(random.Uint32())
		}
		for i := range secret {
			secret[i] = ` "#\abc`[random.IntN(7)]
		}
		networks = append(networks, config.WiFi{SSID: config.SSID(name), Passphrase: string(secret)})
	}
	for i, w := range networks {
		run := filepath.Join(t.TempDir(), fmt.Sprint(i))
		if err := os.Mkdir(run, 0o700); err != nil {
			t.Fatal(err)
		}
		child := plan.SupplicantChild(config.Donation{Interface: "none", WiFi: &w}, "FR", run)
		if err := os.WriteFile(child.Files[0].Path, []byte(child.Files[0].Text), 0o600); err != nil {
			t.Fatal(err)
		}
		// It prints what it parsed before it finds that there is no such interface, with any driver.
		said, _ := exec.Command(child.Argv[0], append(child.Argv[1:], "-D", "wired", "-dd", "-K")...).CombinedOutput()
		read := dumps(string(said))
		if strings.Contains(string(said), "Failed to read or parse") || string(read["ssid"]) != string(w.SSID) {
			t.Fatalf("%q is read as %q:\n%s", w.SSID, read["ssid"], said)
		}
		key, err := pbkdf2.Key(sha1.New, w.Passphrase, []byte(w.SSID), 4096, 32)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case w.Passphrase == "":
			if strings.Count(string(said), "start of a new network block") != 2 {
				t.Errorf("an open network:\n%s", said)
			}
		case string(read["PSK (ASCII passphrase)"]) == w.Passphrase:
		case string(read["PSK"]) != string(key) || string(read["sae_password"]) != w.Passphrase:
			t.Errorf("%q is read as %q", w.Passphrase, read)
		}
	}
}

var (
	dump    = regexp.MustCompile(`(?m)^([\w ()]+) - hexdump(?:_ascii)?\(len=\d+\):((?: [0-9a-f]{2})*)\n((?:     .*\n)*)`)
	bytes16 = regexp.MustCompile(`(?m)^     ((?:[0-9a-f]{2} ){1,16})`)
)

// dumps returns the values that wpa_supplicant prints in hexadecimal, by name.
func dumps(said string) map[string][]byte {
	values := map[string][]byte{}
	for _, m := range dump.FindAllStringSubmatch(said, -1) {
		digits := m[2]
		for _, line := range bytes16.FindAllStringSubmatch(m[3], -1) {
			digits += line[1]
		}
		values[m[1]], _ = hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
	}
	return values
}
