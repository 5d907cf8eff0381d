package config

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"passerelle/appliance/hours"
)

var update = flag.Bool("update", false, "rewrite the golden files of testdata")

// sameConfig compares types without exported fields by their text.
var sameConfig = cmp.Options{
	cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() }),
	cmp.Comparer(func(a, b *hours.Schedule) bool { return a.String() == b.String() }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
}

// TestProblems parses the passerelle.toml of each archive, and compares the problems with those in the archive.
func TestProblems(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c, err := Parse(archive.Files[0].Name, archive.Files[0].Data)
			var problems Problems
			if !errors.As(err, &problems) {
				t.Fatalf("Parse = %v, %v; want Problems", c, err)
			}
			got := []byte(err.Error() + "\n")
			if *update {
				archive.Files = append(archive.Files[:1], txtar.File{Name: "problems", Data: got})
				writeArchive(t, file, archive)
			}
			if len(archive.Files) != 2 {
				t.Fatalf("no problems in %s", file)
			}
			if diff := cmp.Diff(string(archive.Files[1].Data), string(got)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func writeArchive(t *testing.T, path string, archive *txtar.Archive) {
	if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestExample parses the file that passerelle init writes.
func TestExample(t *testing.T) {
	t.Parallel()
	got, err := Parse("example.toml", Example())
	if err != nil {
		t.Fatal(err)
	}
	schedule, err := hours.Parse("Mo-Fr 08:30-19:00; Sa 09:00-12:00")
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Box: Box{
			Name: "Centre social des Lilas", Language: "fr", Languages: []string{"fr", "en"},
			Hostname: "partage.internal", Timezone: paris,
		},
		Hotspot: Hotspot{
			Interface: "wlan0", Radio: "hostapd", SSID: "Partage de Co - Les Lilas", Country: "FR", Band: "2.4GHz",
			Address: netip.MustParsePrefix("10.80.0.1/22"), Lease: 30 * time.Minute,
		},
		Limits: Limits{Session: 2 * time.Hour, Download: 4e6, Upload: 1e6, Data: 500e6, After: 64e3},

		Essential: Essential{Names: []string{"@france"}, Rate: 2e6},
		Admin:     Admin{Access: Anywhere},
		Fleet:     Fleet{Updates: true, Budget: 100e6},
		Lend:      Lend{Name: "Partage de Co"},
		Health:    Health{Zones: zones},
		Donations: []Donation{{
			Name: "Fibre du centre", Interface: "eth0", Download: 20e6, Upload: 5e6, Cap: 200e9, Reserve: 2e9,
			Fleet: true, Metered: Auto, Period: "month", Resets: 1, Hours: schedule, Priority: 1,
		}},
	}
	if diff := cmp.Diff(want, got, sameConfig); diff != "" {
		t.Errorf("Parse(Example()) (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(string(Example()), string(Format(got))); diff != "" {
		t.Errorf("Format(Parse(Example())) (-want +got):\n%s", diff)
	}
}

// TestExampleCommentsEveryKey: each key has a comment above it.
func TestExampleCommentsEveryKey(t *testing.T) {
	t.Parallel()
	previous := ""
	for line := range strings.Lines(string(Example())) {
		if strings.Contains(line, " = ") && !strings.HasPrefix(line, "#") && !strings.HasPrefix(previous, "#") {
			t.Errorf("no comment above %s", line)
		}
		previous = line
	}
}

const minimal = `
[box]
name = "Centre social des Lilas"
[hotspot]
interface = "wlan0"
radio = "none"
[essential]
[admin]
[health]
[hw]
[[donation]]
name = "Fibre du centre"
interface = "eth0"
cap = "0"
`

func TestDefaults(t *testing.T) {
	t.Parallel()
	got, err := Parse("minimal.toml", []byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Box: Box{
			Name: "Centre social des Lilas", Language: "fr", Languages: []string{"fr", "en"},
			Hostname: "partage.internal", Timezone: paris,
		},
		Hotspot: Hotspot{Interface: "wlan0", Radio: "none", Band: "2.4GHz", Address: netip.MustParsePrefix("10.80.0.1/22"), Lease: 30 * time.Minute},
		Limits:  Limits{Session: 2 * time.Hour, After: 64e3},

		Essential: Essential{Names: []string{"@france"}, Rate: 2e6},
		Admin:     Admin{Access: Anywhere},
		Fleet:     Fleet{Updates: true, Budget: 100e6},
		Lend:      Lend{Name: "Partage de Co"},
		Health:    Health{Zones: zones},
		Donations: []Donation{{
			Name: "Fibre du centre", Interface: "eth0", Fleet: true, Metered: Auto, Period: "month", Resets: 1, Priority: 1,
		}},
	}
	if diff := cmp.Diff(want, got, sameConfig); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
}

// TestEssential: the box's own list is expanded, and its names pass the checks for a technician's names.
func TestEssential(t *testing.T) {
	t.Parallel()
	if got := (Essential{Names: []string{"b.example", "a.example"}}).All(); !slices.Equal(got, []string{"a.example", "b.example"}) {
		t.Errorf("two names are %v", got)
	}
	all := Essential{Names: []string{"caf.fr", France}}.All()
	if !slices.Contains(all, "impots.gouv.fr") || slices.Contains(all, France) || len(all) != len(france) {
		t.Errorf("with caf.fr, which it names too, France is %d names: %v", len(all), all)
	}
	seen := map[string]bool{}
	for _, s := range france {
		if _, err := parseService(s.Name); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
		if s.Site != s.Name && !strings.HasSuffix(s.Site, "."+s.Name) && s.Site != "" {
			t.Errorf("%s: its site %s is not open with it", s.Name, s.Site)
		}
		if (s.Site == "") != (s.Topic == "") {
			t.Errorf("%s has a site %q and a topic %q", s.Name, s.Site, s.Topic)
		}
		if seen[s.Name] {
			t.Errorf("%s is listed twice", s.Name)
		}
		seen[s.Name] = true
	}
}

// TestServiceNames: for a text that is not a host name, the problem says what to write.
func TestServiceNames(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"caf.fr.": `use "caf.fr"`, "https://www.CAF.fr/mon-compte": `use "caf.fr"`, "caf.fr/aide": "write its host name alone",
		"Caf.fr": `write "caf.fr"`,
	} {
		if _, err := parseService(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	all := Essential{Names: []string{France}}.All()
	for _, old := range []string{"service-public.fr", "pole-emploi.fr", "demarches-simplifiees.fr"} {
		if !slices.Contains(all, old) {
			t.Errorf("%s, which leads to its service, is closed", old)
		}
	}
}

// TestServices: services of the box's own list come first and have its data, even if only their name is configured.
func TestServices(t *testing.T) {
	t.Parallel()
	caf := Service{"caf.fr", "www.caf.fr", "rights"}
	town := Service{"lilas.example", "lilas.example", ""}
	for _, test := range []struct {
		names []string
		want  []Service
	}{
		{nil, nil},
		{[]string{"lilas.example", "caf.fr"}, []Service{caf, town}},
		{[]string{"lilas.example", France, "caf.fr"}, append(slices.Clone(france), town)},
	} {
		if got := (Essential{Names: test.names}).Services(); !slices.Equal(got, test.want) {
			t.Errorf("%q are %v, want %v", test.names, got, test.want)
		}
	}
}

// TestValues tries values one by one, each in the minimal configuration.
func TestValues(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		table, key string
		good, bad  []string
	}{
		{"box", "name",
			[]string{`"A"`, `"É"`, `"` + strings.Repeat("é", 80) + `"`},
			[]string{`""`, `" "`, `"` + strings.Repeat("é", 81) + `"`, `"a\u200e"`}},
		{"box", "hostname",
			[]string{`"a.b"`, `"partage.centre-lilas.fr"`, `"1.internal"`, `"xn--caf-dma.internal"`},
			[]string{`""`, `"partage"`, `"partage."`, `".internal"`, `"a..b"`, `"-a.b"`, `"a-.b"`, `"box.local"`, `"a_b.c"`,
				`"é.internal"`, `"10.80.0.1"`, `"a.` + strings.Repeat("b", 64) + `"`, `"` + strings.Repeat("a.", 130) + `b"`}},
		{"box", "timezone",
			[]string{`"America/Martinique"`, `"Indian/Reunion"`, `"Pacific/Noumea"`, `"UTC"`},
			[]string{`""`, `"Local"`, `"../Paris"`, `"CEST"`}},
		{"box", "languages", []string{`["en"]`, `["uk", "ar", "fr", "en", "pt", "es"]`}, []string{`["de"]`, `["FR"]`, `["pt-PT"]`, `["fr", "fr"]`, `[]`}},
		{"box", "portal_url",
			[]string{`""`, `"https://portail.example.fr/api"`, `"https://portail.example.fr:8443/api?x=1"`},
			[]string{`"https://"`, `"https:portail"`, `"https://:443/"`, `"ftp://a.fr/"`, `"https://u@a.fr/"`,
				`"https://a.fr/#x"`, `"https://a.fr/a,b"`, `"https://a.fr/é"`, `"https://a.fr/` + strings.Repeat("a", 255) + `"`}},
		{"admin", "access", []string{`"anywhere"`, `"wired"`, `"button"`}, []string{`""`, `"Wired"`, `"hotspot"`, `true`}},
		{"hotspot", "interface", []string{`"br0"`, `"enx001122334455"`, `"wlan0.2"`},
			[]string{`""`, `"lo"`, `"."`, `".."`, `"-a"`, `"eth+"`, `"eth*"`, `"eth0:1"`, `"a b"`, `"a/b"`, `"sixteen-letters-"`}},
		{"hotspot", "ssid",
			[]string{`""`, `"` + strings.Repeat("é", 16) + `"`},
			[]string{`"` + strings.Repeat("é", 17) + `"`, `"a\nb"`}},
		{"hotspot", "password",
			[]string{`""`, `"12345678"`, `"` + strings.Repeat("a", 63) + `"`},
			[]string{`"1234567"`, `"` + strings.Repeat("a", 64) + `"`, `"éééééééé"`, `"1234567\n"`}},
		{"hotspot", "band", []string{`"2.4GHz"`, `"5GHz"`}, []string{`""`, `"6GHz"`}},
		{"hotspot", "channel", []string{`0`, `1`, `13`}, []string{`14`, `15`, `36`, `-1`, `"1"`}},
		{"hotspot", "country", []string{`"FR"`, `"RE"`, `""`}, []string{`"fr"`, `"FRA"`, `"F1"`}},
		{"hotspot", "address",
			[]string{`"10.0.0.1/16"`, `"172.16.0.1/16"`, `"172.31.255.254/24"`, `"192.168.1.6/29"`, `"10.80.1.0/22"`, `"10.80.0.255/22"`},
			[]string{`"10.80.0.1"`, `"10.80.0.1/15"`, `"192.168.1.1/30"`, `"10.80.0.0/22"`, `"10.80.3.255/22"`,
				`"172.32.0.1/24"`, `"8.8.8.8/24"`, `"100.64.0.1/22"`, `"fd00::1/64"`, `"::ffff:10.80.0.1/120"`, `"10.80.0.01/22"`}},
		{"hotspot", "lease",
			[]string{`"2m"`, `"24h"`, `"90m"`},
			[]string{`"1m59s"`, `"24h1s"`, `"-1h"`, `"30"`, `"2m0.5s"`, `""`}},
		{"essential", "names",
			[]string{`[]`, `["caf.fr"]`, `["@france", "mairie-des-lilas.example"]`, `["droits.lilas.gouv.fr"]`},
			[]string{`["fr"]`, `["gouv.fr"]`, `["co.uk"]`, `["@france", "@france"]`, `["@spain"]`, `["https://caf.fr"]`,
				`["caf.fr/aide"]`, `["*.caf.fr"]`, `["192.0.2.1"]`, `["Caf.fr"]`, `"caf.fr"`}},
		{"health", "zones",
			[]string{`["*.a.example 192.0.2.1/32", "*.b.example 192.0.2.0/24", "*.x.c.example 8.0.0.0/8"]`},
			[]string{`[]`, `["*.a.example 192.0.2.1/32", "*.b.example 192.0.2.0/24"]`,
				`["*.a.example 192.0.2.1/32", "*.b.example 192.0.2.0/24", "*.x.b.example 192.0.2.0/24"]`,
				`["*.a.example 192.0.2.1/32", "*.b.example 192.0.2.0/24", "c.example 192.0.2.0/24"]`,
				`["*.a.example 192.0.2.1/32", "*.b.example 192.0.2.0/24", "*.c.example"]`,
				`["*.a.example 192.0.2.1/32", "*.b.example 192.0.2.0/24", "*.c.example 10.0.0.0/8"]`,
				`["*.a.example 192.0.2.1/32", "*.b.example 192.0.2.0/24", "*.c.example 127.0.0.1/32"]`,
				`["*.a.example 192.0.2.1/32", "*.b.example 192.0.2.0/24", "*.c.example 192.0.2.1/24"]`,
				`["*.a.example 192.0.2.1/32", "*.b.example 192.0.2.0/24", "*.c.example 2001:db8::/32"]`,
				`["*.a.example 192.0.2.1/32", "*.b.example 192.0.2.0/24", "*.C.example 192.0.2.0/24"]`, `"*.a.example 192.0.2.1/32"`}},
		{"hw", "led",
			[]string{`"board"`, `"none"`, `"ACT"`, `"tpacpi::power"`, `"pinctrl-rp1 27 high"`, `" pinctrl-rp1  0 low"`},
			[]string{`""`, `" "`, `"../ACT"`, `".."`, `"pinctrl-rp1 27"`, `"pinctrl-rp1 -1 low"`, `"pinctrl-rp1 1024 low"`,
				`"pinctrl-rp1 x low"`, `"pinctrl-rp1 27 up"`, `"é"`, `27`, `"` + strings.Repeat("a", 64) + `"`}},
		{"hw", "button", []string{`"board"`, `"none"`, `"pinctrl-rp1 17 low"`}, []string{`"ACT"`, `""`}},
		{"hw", "watchdog",
			[]string{`"none"`, `"/dev/watchdog"`, `"/dev/watchdog0"`, `"/dev/watchdog12"`},
			[]string{`""`, `"watchdog0"`, `"/dev/watchdogs"`, `"/dev/watchdog0/.."`, `"/dev/sda"`, `0`, `true`}},
		{"essential", "rate", []string{`"64kbit"`, `"100gbit"`}, []string{`"0"`, `"63kbit"`, `2`}},
		{"donation", "cap",
			[]string{`"0"`, `"1MB"`, `"1000TB"`, `"1.5GB"`},
			[]string{`"999kB"`, `"1001TB"`, `"GB"`, `"-1GB"`, `"1GiB"`, `""`}},
		{"donation", "download",
			[]string{`"0"`, `"64kbit"`, `"100gbit"`},
			[]string{`"63kbit"`, `"101gbit"`, `"64"`, `"1MB"`, `"1Mbit"`}},
		{"donation", "period", []string{`"day"`, `"week"`, `"month"`, `"once"`}, []string{`"Month"`, `""`}},
		{"donation", "autorate", []string{`true`, `false`}, []string{`"true"`, `1`, `"auto"`}},
		{"donation", "metered", []string{`"auto"`, `"yes"`, `"no"`}, []string{`true`, `""`, `"Yes"`, `"maybe"`}},
		{"donation", "hours", []string{`""`, `"24/7"`, `"Mo-Fr 08:30-19:00; PH off"`}, []string{`"Mar 8h-19h"`}},
		{"donation", "priority", []string{`1`, `99`}, []string{`0`, `100`, `-1`, `9223372036854775807`}},
		{"donation", "resets", []string{`1`, `31`}, []string{`0`, `32`, `4294967297`}},
		{"donation", "dns",
			[]string{`[]`, `["9.9.9.9", "192.168.1.1"]`},
			[]string{`["0.0.0.0"]`, `["224.0.0.1"]`, `["255.255.255.255"]`, `["dns.fr"]`, `["10.80.3.1"]`}},
		{"donation", "reserve", []string{`"0"`}, []string{`"1GB"`, `"1"`}},
		{"donation", "interface", []string{`"eth1"`, `"usb"`}, []string{`"wlan0"`}},
		{"donation", "wifi", []string{`{}`}, []string{`"Chez Lucie"`, `{ ssid = "Chez Lucie" }`}},
	} {
		t.Run(test.table+"."+test.key, func(t *testing.T) {
			t.Parallel()
			for _, value := range slices.Concat(test.good, test.bad) {
				text := withKey(test.table, test.key, value)
				_, err := Parse("test.toml", []byte(text))
				isGood := slices.Contains(test.good, value)
				var problems Problems
				switch {
				case isGood && err != nil:
					t.Errorf("%s = %s: %v", test.key, value, err)
				case !isGood && err == nil:
					t.Errorf("%s = %s was accepted", test.key, value)
				case !isGood && errors.As(err, &problems):
					for _, p := range problems {
						if p.Key != test.table+"."+test.key || !strings.Contains(strings.Split(text, "\n")[p.Line-1], test.key) {
							t.Errorf("%s = %s: problem in the wrong place: %v", test.key, value, p)
						}
					}
				}
			}
		})
	}
}

// withKey returns the minimal configuration with a key added or replaced.
func withKey(table, key, value string) string {
	var out strings.Builder
	inside := false
	for line := range strings.Lines(minimal) {
		if strings.HasPrefix(line, "[") {
			inside = strings.Trim(line, "[]\n") == table
			out.WriteString(line)
			if inside {
				out.WriteString(key + " = " + value + "\n")
			}
			continue
		}
		if !inside || !strings.HasPrefix(line, key+" =") {
			out.WriteString(line)
		}
	}
	return out.String()
}

func TestTooMuch(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ text, want string }{
		"file":      {strings.Repeat("#", MaxFile+1), "test.toml: the file is larger"},
		"donations": {strings.Repeat("[[donation]]\n", maxDonations+1), "donation: 65 donations"},
		"array":     {"\na = " + strings.Repeat("[", 1<<19), "test.toml:2: nested"},
		"table":     {"\na = " + strings.Repeat("{a=", 1<<17), "test.toml:2: nested"},
		"key":       {"\na" + strings.Repeat(".a", 1<<18) + " = 1", "test.toml:2: nested"},
		"header":    {"\n[a" + strings.Repeat(".a", 1<<18) + "]", "test.toml:2: nested"},
	} {
		if _, err := Parse("test.toml", []byte(test.text)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v; want %q", name, err, test.want)
		}
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "passerelle.toml")
	if _, err := (File{path}).Load(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("Load of a missing file: %v", err)
	}
	if err := os.WriteFile(path, Example(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (File{path}).Load(); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path, bytes.Repeat([]byte("#\n"), MaxFile), 0o600); err != nil {
		t.Fatal(err)
	}
	var problems Problems
	if _, err := (File{path}).Load(); !errors.As(err, &problems) || !strings.HasPrefix(err.Error(), path+": the file is larger") {
		t.Errorf("Load of a large file: %v", err)
	}
}

func TestUnits(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Rate{
		"0": 0, "0bit": 0, "1bit": 1, "64kbit": 64e3, "4mbit": 4e6, "1gbit": 1e9,
		"1.5mbit": 1500e3, "0.25kbit": 250, "1.50mbit": 1500e3,
		"18446744073709551615bit": 1<<64 - 1,
	} {
		if got, err := ParseRate(text); err != nil || got != want {
			t.Errorf("ParseRate(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                        "has no unit",
		"4":                       "has no unit",
		"4 mbit":                  `invalid rate "4 mbit"; use "4mbit"`,
		"4Mbit":                   `use "4mbit"`,
		"4MB":                     "invalid rate",
		"mbit":                    "invalid rate",
		"-4mbit":                  "invalid rate",
		"+4mbit":                  "invalid rate",
		".5mbit":                  "invalid rate",
		"5.mbit":                  "invalid rate",
		"1.2.3mbit":               "is not a number",
		"1.5bit":                  "is not a whole number",
		"1.0001kbit":              "is not a whole number",
		"18446744073709551616bit": "is too large",
		"18446744073709551kbit":   "",
		"18446744073709552kbit":   "is too large",
		"18446744073.999999gbit":  "is too large",
	} {
		_, err := ParseRate(text)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("ParseRate(%q): %v; want %q", text, err, want)
		}
	}
	for size, want := range map[Size]string{0: "0", 1: "1B", 1500: "1500B", 500e6: "500MB", 1500e6: "1500MB", 200e9: "200GB", 1e15: "1000TB"} {
		if got := size.String(); got != want {
			t.Errorf("Size(%d) = %q, want %q", uint64(size), got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		time.Second: "1s", time.Minute: "1m", 90 * time.Minute: "1h30m", 24 * time.Hour: "24h", 10 * time.Hour: "10h",
		time.Hour + time.Second: "1h0m1s", 2*time.Minute + 20*time.Second: "2m20s", 10 * time.Minute: "10m",
	} {
		if got := formatDuration(d); got != want {
			t.Errorf("formatDuration(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestUnitsRoundTrip(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 10000 {
		n := rnd.Uint64() >> rnd.IntN(64)
		for range rnd.IntN(4) {
			n = n / 1000 * 1000
		}
		if got, err := ParseRate(Rate(n).String()); err != nil || got != Rate(n) {
			t.Fatalf("rate %d came back as %d: %v", n, got, err)
		}
		if got, err := ParseSize(Size(n).String()); err != nil || got != Size(n) {
			t.Fatalf("size %d came back as %d: %v", n, got, err)
		}
		d := time.Duration(n%86400+1) * time.Second
		if got, err := parseDuration(0, 25*time.Hour)(formatDuration(d)); err != nil || got != d {
			t.Fatalf("duration %v came back as %v: %v", d, got, err)
		}
	}
}

// randomConfig fills every field with a valid value that is rarely the default.
func randomConfig(t *testing.T, rnd *rand.Rand) *Config {
	pick := func(from ...string) string { return from[rnd.IntN(len(from))] }
	seconds := func(least, most time.Duration) time.Duration {
		return least + time.Duration(rnd.Int64N(int64((most-least)/time.Second)+1))*time.Second
	}
	rate := func() Rate { return Rate(rnd.IntN(2)) * (minRate + Rate(rnd.Uint64N(uint64(maxRate-minRate)))) }
	size := func() Size { return Size(rnd.IntN(2)) * (minSize + Size(rnd.Uint64N(uint64(maxSize-minSize)))) }
	zone, err := time.LoadLocation(pick("Europe/Paris", "America/Cayenne", "UTC"))
	if err != nil {
		t.Fatal(err)
	}
	nightly, err := parseHours(pick("", "22:00-06:00", "Su 02:00-05:00"))
	if err != nil {
		t.Fatal(err)
	}
	c := &Config{
		Box: Box{
			Name:     pick("A", `Le "Lilas" \ n°1`, "Maison des habitants – 日本", "é ="),
			Hostname: pick("a.b", "partage.internal"), Timezone: zone, PortalURL: pick("", "https://portail.example.fr/api?a=b"),
		},
		Hotspot: Hotspot{
			Interface: pick("wlan0", "br-residents"), Radio: pick("hostapd", "none"), SSID: pick("Partage", `a"b\c # d`), Country: pick("FR", "RE"),
			Password: pick("", `a"\ 12345678`), Band: "5GHz", Channel: rnd.IntN(2) * 36,
			Address: netip.MustParsePrefix(pick("10.0.0.1/16", "192.168.7.9/29")), Lease: seconds(2*time.Minute, 24*time.Hour),
		},
		Limits: Limits{Session: seconds(time.Minute, 24*time.Hour), Download: rate(), Upload: rate(), Data: size()},

		Essential: Essential{
			Names: [][]string{nil, {France}, {"aide.example"}, {France, "b.example", "a.example"}}[rnd.IntN(4)],
			Rate:  max(minRate, rate()),
		},
		Admin: Admin{Access: Access(pick(Accesses...))},
		Fleet: Fleet{
			Mirror: pick("", "https://releases.example.org/passerelle/"), Updates: rnd.IntN(2) == 0,
			Budget: minSize + Size(rnd.Uint64N(uint64(maxBudget-minSize))), Hours: nightly,
		},
		Lend: Lend{Name: SSID(pick("", "Partage de Co", "\xe9\\ \"x\""))},
		Health: Health{Zones: [][]Zone{zones, {
			{"a.example", netip.MustParsePrefix("192.0.2.0/24")}, {"x.b.example", netip.MustParsePrefix("8.0.0.0/8")},
			{"c.example", netip.MustParsePrefix("9.9.9.9/32")},
		}}[rnd.IntN(2)]},
		Hardware: Hardware{
			LED:    []Pin{{}, {None: true}, {LED: "green:status"}, {Chip: "gpio0", Line: 7}}[rnd.IntN(4)],
			Button: []Pin{{}, {None: true}, {Chip: "gpio-brcmstb@107d508500", Line: maxLine, Low: true}}[rnd.IntN(3)],

			Watchdog: pick("", "/dev/watchdog1"),
		},
	}
	if c.Hotspot.Address.Bits() >= SlowNetworkBits {
		c.Limits.After = Rate(rnd.IntN(2)) * 48e3
	}
	c.Box.Languages = [][]string{{"fr"}, {"en"}, {"fr", "en"}, {"uk", "fr", "ar"}}[rnd.IntN(4)]
	c.Box.Language = c.Box.Languages[rnd.IntN(len(c.Box.Languages))]
	for i := range 1 + rnd.IntN(4) {
		schedule, err := parseHours(pick("", "24/7", "Mo-Fr 08:30-19:00; PH off", `Sa open "ouvert"`))
		if err != nil {
			t.Fatal(err)
		}
		d := Donation{
			Name: "ligne " + string(rune('A'+i)), Interface: "eth" + string(rune('0'+i)), Download: rate(), Upload: rate(), Cap: size(),
			Period: pick("day", "week", "month", "once"), Hours: schedule, Priority: 1 + rnd.IntN(99),
			Fleet: rnd.IntN(2) == 0, Broadcast: rnd.IntN(2) == 0, Metered: pick(Auto, "yes", "no"), Until: Day(pick("", "2026-12-31", "2099-01-01")),
		}
		if rnd.IntN(2) == 0 {
			d.WiFi = &WiFi{SSID: SSID(pick("Chez Lucie", "\xe9\\ \"x\" ☺", "\x00\n")), Passphrase: pick("", `8 "letters\`)}
		}
		if d.Cap >= 2*minSize {
			d.Reserve = Size(rnd.IntN(2)) * (minSize + Size(rnd.Uint64N(uint64(d.Cap/2-minSize)+1)))
		}
		if last := lastReset(d.Period); last > 0 {
			d.Resets = 1 + rnd.IntN(last)
		}
		for range rnd.IntN(3) {
			d.DNS = append(d.DNS, netip.MustParseAddr(pick("9.9.9.9", "80.67.169.12")))
		}
		c.Donations = append(c.Donations, d)
	}
	return c
}

// TestFleetBudget: each donation has its own budget, which is at most a small part of its cap. A donation with fleet = false has none.
func TestFleetBudget(t *testing.T) {
	t.Parallel()
	c := &Config{Fleet: Fleet{Budget: 100e6}}
	for _, x := range []struct {
		donation Donation
		want     Size
	}{
		{Donation{Fleet: true}, 100e6},
		{Donation{Fleet: true, Cap: 200e9}, 100e6},
		{Donation{Fleet: true, Cap: 1e9}, 50e6},
		{Donation{Cap: 200e9}, 0},
		{Donation{}, 0},
	} {
		if got := c.FleetBudget(&x.donation); got != x.want {
			t.Errorf("of a cap of %v (fleet = %v) the budget is %v, want %v", x.donation.Cap, x.donation.Fleet, got, x.want)
		}
	}
}

// FuzzSSID: any scanned name can be formatted, is then safe on a terminal, and parses to the same name.
func FuzzSSID(f *testing.F) {
	f.Add([]byte("Chez Lucie"))
	f.Add([]byte("\xe9\\x00\x1b[31m\u202e"))
	f.Fuzz(func(t *testing.T, name []byte) {
		want := SSID(name)
		text := want.String()
		if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q is written as %q", name, text)
		}
		got, err := ParseSSID(text)
		if allowed := len(name) > 0 && len(name) <= 32; allowed != (err == nil) {
			t.Errorf("%q: %v", text, err)
		} else if allowed && got != want {
			t.Errorf("%q is read back as %q", name, got)
		}
	})
}

// TestFormatRoundTrip: Format writes every field. A forgotten one would be parsed as its default.
func TestFormatRoundTrip(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(5, 8))
	for range 300 {
		want := randomConfig(t, rnd)
		text := Format(want)
		got, err := Parse("test.toml", text)
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if diff := cmp.Diff(want, got, sameConfig); diff != "" {
			t.Fatalf("(-want +got)\n%s of\n%s", diff, text)
		}
		if again := Format(got); !bytes.Equal(again, text) {
			t.Fatalf("Format is no fixed point:\n%s", cmp.Diff(string(text), string(again)))
		}
	}
}

func TestKeyLines(t *testing.T) {
	t.Parallel()
	text := strings.Join([]string{
		`a.b = 1 # c = 2`,         // 1
		`"d.e" = [ 1, [`,          // 2
		`  2 ], { f = 3, g.h = [`, // 3
		`"]" ] } ]`,               // 4
		`[x.y]`,                   // 5
		`k = '''`,                 // 6
		`l = 1'''`,                // 7
		`m = 1979-05-27`,          // 8
		`[[n]]`,                   // 9
		`[n.o]`,                   // 10
		`p = """\"""" # q`,        // 11
		`[[n]]`,                   // 12
		`[[n.r]]`,                 // 13
		`s = "\\"`,                // 14
		`"t\"" = 'u\'`,            // 15
	}, "\n")
	want := map[string]int{
		"a": 1, "a.b": 1, `"d.e"`: 2, `"d.e"[0]`: 2, `"d.e"[1]`: 2, `"d.e"[1][0]`: 3, `"d.e"[2]`: 3, `"d.e"[2].f`: 3, `"d.e"[2].g`: 3,
		`"d.e"[2].g.h`: 3, `"d.e"[2].g.h[0]`: 4, "x.y": 5, "x.y.k": 6, "x.y.m": 8, "n": 9, "n[0]": 9, "n[0].o": 10, "n[0].o.p": 11, "n[1]": 12, "n[1].r": 13,
		"n[1].r[0]": 13, "n[1].r[0].s": 14, `n[1].r[0]."t\""`: 15,
	}
	got := parseTree([]byte(text))
	if diff := cmp.Diff(want, got.lines); diff != "" || got.tooDeep != 0 {
		t.Errorf("parseTree: too deep at %d (-want +got)\n%s", got.tooDeep, diff)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Example())
	f.Add([]byte(minimal))
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(archive.Files[0].Data)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse("fuzz.toml", text)
		if err != nil {
			var problems Problems
			if !errors.As(err, &problems) || len(problems) == 0 {
				t.Fatalf("the error is %#v", err)
			}
			lines := bytes.Count(text, []byte("\n")) + 1
			for _, p := range problems {
				if p.Line < 0 || p.Line > lines || p.Msg == "" {
					t.Fatalf("problem %#v of a text of %d lines", p, lines)
				}
			}
			return
		}
		formatted := Format(c)
		again, err := Parse("formatted.toml", formatted)
		if err != nil {
			t.Fatalf("Format wrote what Parse refuses: %v\n%s", err, formatted)
		}
		if diff := cmp.Diff(c, again, sameConfig); diff != "" {
			t.Fatalf("Format changed the configuration (-want +got)\n%s", diff)
		}
		if !bytes.Equal(Format(again), formatted) {
			t.Fatal("Format is no fixed point")
		}
	})
}

// TestBasics: from a file with keys of a newer release, the parts for hotspot and pages are read, but no donations, so that nobody gets
// internet access.
func TestBasics(t *testing.T) {
	t.Parallel()
	newer := strings.NewReplacer(`access = "anywhere"`, `access = "wired"`, "[hotspot]\n", "[hotspot]\nnew = 1\n", "[[donation]]\n", "[new]\nx = 1\n[[donation]]\nnew = true\n").
		Replace(string(Example()))
	want, err := Parse("passerelle.toml", Example())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse("passerelle.toml", []byte(newer)); err == nil {
		t.Error("unknown keys are not refused")
	}
	got, err := Basics("passerelle.toml", []byte(newer))
	if err != nil || got.Box.Name != want.Box.Name || got.Hotspot != want.Hotspot || got.Hardware != want.Hardware || got.Admin.Access != Wired || len(got.Donations) > 0 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, wrong := range []string{"[box", strings.Replace(newer, "[hotspot]\n", "[hotspot]\nradio = 7\n", 1), "[box]\nname = \"A\"\n"} {
		if c, err := Basics("passerelle.toml", []byte(wrong)); err == nil {
			t.Errorf("%+v is read from %q", c, wrong)
		}
	}
}

// TestEncodings: the problem of a file in another encoding names the encoding, and has the line.
func TestEncodings(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"[box]\nname = \"Centre des Lilas\"\nlanguage = \"fran\xe7ais\"\n": "box.toml:3: the byte E7 is not UTF-8: an editor has saved the file as Latin-1",
		"\xff\xfe[\x00b\x00": `box.toml:1: the file is UTF-16, which Windows calls "Unicode"; save it as UTF-8`,
		"\xfe\xff\x00[":      "box.toml:1: the file is UTF-16",
	} {
		if _, err := Parse("box.toml", []byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestAsWritten: amounts and durations as people write them, and texts whose meaning is not certain.
func TestAsWritten(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"200 Go": "200GB", "200go": "200GB", "200\u202fGo": "200GB", "1,5 To": "1.5TB", "500 Mo": "500MB", "500 mégaoctets": "500MB",
		"illimité": "0", "Sans limite": "0", "200GB": "200GB", "1 000 Mo": "1000MB",
		"200": "", "1.5.2 Go": "", "Go": "", "200 GiB": "", "1, Go": "", "200 francs": "", "20 Mo/s": "",
	} {
		if got := asWritten(text, sizeUnits); got != want {
			t.Errorf("size %q: %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"20 Mbit/s": "20mbit", "20Mbps": "20mbit", "4 méga": "4mbit", "512 kbit/s": "512kbit", "1 Gb/s": "1gbit",
		"1 Mo/s": "8mbit", "1.5 MB/s": "12mbit", "illimité": "0", "20": "", "20 Go": "",
	} {
		if got := asWritten(text, rateUnits); got != want {
			t.Errorf("rate %q: %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"2 h": "2h", "2 heures": "2h", "1h30": "1h30m", "1 h 30 min": "1h30m", "90 minutes": "1h30m", "1,5 h": "1h30m", "1 jour": "24h",
		"une heure": "", "illimité": "", "2": "", "0.0001s": "",
	} {
		if got := durationAsWritten(text); got != want {
			t.Errorf("duration %q: %q, want %q", text, got, want)
		}
	}
}

func TestSchoolZone(t *testing.T) {
	t.Parallel()
	text := withKey("donation", "hours", `"SH Mo-Fr 10:00-12:00"`)
	_, err := Parse("box.toml", []byte(text))
	if err == nil || !strings.Contains(err.Error(), `donation.hours: SH means school holidays`) {
		t.Errorf("without a zone: %v", err)
	}
	c, err := Parse("box.toml", []byte(strings.Replace(text, "[box]", "[box]\nschool_zone = \"c\"", 1)))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2027, 2, 8, 10, 0, 0, 0, c.Box.Timezone) // a holiday only in zone C
	if d := c.Donations[len(c.Donations)-1]; c.Box.SchoolZone != "C" || !d.Hours.Open(at) || !slices.ContainsFunc(c.Donations, func(d Donation) bool { return d.Hours.School() }) {
		t.Errorf("zone %q, open %t", c.Box.SchoolZone, d.Hours.Open(at))
	}
}

// TestReleases: the files that passerelle init wrote in earlier releases can be read, even after keys were added.
func TestReleases(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/releases/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no file of any release: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		c, err := Parse(file, text)
		if err != nil {
			t.Error(err)
			continue
		}
		if c.Box.Name != "Centre social des Lilas" || len(c.Donations) != 1 || c.Donations[0].Cap != 200e9 {
			t.Errorf("%s is read as %+v", file, c)
		}
	}
}
