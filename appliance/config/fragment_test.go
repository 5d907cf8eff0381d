package config

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const fragmentText = `[box]
languages = ["en", "fr"]
[limits]
session = "1h"
download = "2mbit"
upload = "500kbit"
data = "200MB"
after = "32kbit"
[essential]
add = ["mairie-lilas.fr"]
remove = ["pix.fr"]
rate = "1mbit"
[places]
url = "https://lieux.exemple-asso.fr/liste.csv"
[agenda]
url = "https://agenda.exemple-asso.fr/a.ics?salle=2"
[fleet]
hours = "Mo-Su 01:00-05:00"
[portal]
fr = "Le centre est fermé le 24 décembre."
en = "The centre is closed on 24 December."
`

func TestFragment(t *testing.T) {
	f, err := ParseFragment("f.toml", []byte(fragmentText))
	if err != nil {
		t.Fatal(err)
	}
	night, err := parseHours("Mo-Su 01:00-05:00")
	if err != nil {
		t.Fatal(err)
	}
	want := &Fragment{
		Languages: []string{"en", "fr"},
		Session:   new(time.Hour), Download: new(Rate(2e6)), Upload: new(Rate(500e3)), Data: new(Size(200e6)), After: new(Rate(32e3)),
		Add: []string{"mairie-lilas.fr"}, Remove: []string{"pix.fr"}, Rate: new(Rate(1e6)),
		Places: new("https://lieux.exemple-asso.fr/liste.csv"), Agenda: new("https://agenda.exemple-asso.fr/a.ics?salle=2"),
		Hours:  night,
		Portal: map[string]string{"fr": "Le centre est fermé le 24 décembre.", "en": "The centre is closed on 24 December."},
	}
	if diff := cmp.Diff(want, f, sameConfig); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(fragmentText, string(f.Format())); diff != "" {
		t.Error(diff)
	}
	if said := len(f.Values()); said != 14 {
		t.Errorf("%d keys are said, want 14", said)
	}
	for key := range f.Values() {
		if !strings.Contains(strings.Join(FragmentKeys, " "), key) {
			t.Errorf("%s is no key of fragments", key)
		}
	}
}

// A fragment that sets nothing is valid.
func TestEmptyFragment(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "[limits]\n"} {
		f, err := ParseFragment("f.toml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if len(f.Values()) != 0 || len(f.Format()) != 0 {
			t.Errorf("%q says %v", text, f.Values())
		}
	}
}

// What a hostile fragment may try, and the problem that it gets. Each text is refused as a whole, and the problem has the line.
func TestHostileFragments(t *testing.T) {
	for text, want := range map[string]string{
		// Keys that no fragment may set.
		"[[donation]]\nname = \"x\"":                       `f.toml:1: donation: unknown key`,
		"[hotspot]\naddress = \"10.0.0.1/16\"":             `f.toml:1: hotspot: unknown key`,
		"[hotspot]\npassword = \"motdepasse1\"":            `f.toml:1: hotspot: unknown key`,
		"[admin]\naccess = \"anywhere\"":                   `f.toml:1: admin: unknown key`,
		"[metrics]\nallow = [\"1.2.3.4\"]":                 `f.toml:1: metrics: unknown key`,
		"[health]\nzones = []":                             `f.toml:1: health: unknown key`,
		"[hw]\nled = \"none\"":                             `f.toml:1: hw: unknown key`,
		"[box]\nname = \"x\"":                              `f.toml:2: box.name: unknown key`,
		"[box]\nportal_url = \"https://a.fr/\"":            `f.toml:2: box.portal_url: unknown key`,
		"[fleet]\nbudget = \"10GB\"":                       `f.toml:2: fleet.budget: unknown key`,
		"[fleet]\nmirror = \"https://a.fr/\"":              `f.toml:2: fleet.mirror: unknown key`,
		"[fleet]\nkeep = []":                               `f.toml:2: fleet.keep: unknown key`,
		"[essential]\nnames = [\"caf.fr\"]":                `f.toml:2: essential.names: unknown key`,
		"[limits]\nsession = \"1h\"\ndownlaod = \"1mbit\"": `f.toml:3: limits.downlaod: unknown key`,
		"[limits]\nsession.length = \"1h\"":                `f.toml:2: limits.session: expected a quoted string, got a table`,
		// Values out of bounds, and of other types.
		"[limits]\nsession = \"10000h\"":     `f.toml:2: limits.session: "10000h" is out of range`,
		"[limits]\ndownload = \"1bit\"":      `f.toml:2: limits.download: "1bit" is out of range`,
		"[limits]\ndata = 5":                 `f.toml:2: limits.data: expected a quoted string, got a number`,
		"[limits]\nafter = \"900gbit\"":      `f.toml:2: limits.after: "900gbit" is out of range`,
		"[essential]\nrate = \"0\"":          `f.toml:2: essential.rate: "0" is out of range`,
		"limits = 3":                         `f.toml:1: limits: expected a table, got a number`,
		"[[limits]]\nsession = \"1h\"":       `f.toml:1: limits: expected a table, got a list`,
		"[box]\nlanguages = []":              `f.toml:2: box.languages: empty list`,
		"[box]\nlanguages = [\"fr\",\"fr\"]": `f.toml:2: box.languages: duplicate "fr"`,
		"[fleet]\nhours = \"SH off\"":        `f.toml:2: fleet.hours: SH means other days`,
		// The same key twice: it would be unclear which one counts.
		"[limits]\nsession = \"1h\"\nsession = \"24h\"":           `f.toml:3: not valid TOML`,
		"[limits]\nsession = \"1h\"\n[limits]\nsession = \"24h\"": `f.toml:3: not valid TOML`,
		"limits.session = \"1h\"\n[limits]\nsession = \"24h\"":    `f.toml:3: not valid TOML`,
		"limits = {session = \"1h\", \"session\" = \"24h\"}":      `f.toml:1: not valid TOML`,
		// Services that would open more than one organisation.
		"[essential]\nadd = [\"fr\"]":                                          `f.toml:2: essential.add: "fr" is a single word`,
		"[essential]\nadd = [\"gouv.fr\"]":                                     `f.toml:2: essential.add: all names below gouv.fr would be open`,
		"[essential]\nadd = [\"@france\"]":                                     `f.toml:2: essential.add: "@france" is the box's own list`,
		"[essential]\nadd = [\"10.0.0.1\"]":                                    `f.toml:2: essential.add: "10.0.0.1" ends in a number`,
		"[essential]\nadd = [\"саf.fr\"]":                                      `f.toml:2: essential.add: invalid label`, // Cyrillic
		"[essential]\nadd = [\"caf.fr\\u202e\"]":                               `f.toml:2: essential.add: invalid label`,
		"[essential]\nadd = [\"a.fr\",\"a.fr\"]":                               `f.toml:2: essential.add: duplicate "a.fr"`,
		"[essential]\nadd = [\"" + strings.Repeat("a.fr\",\"", 60) + "b.fr\"]": `essential.add: `,
		// URLs of hosts that are not on the internet, or without encryption.
		"[places]\nurl = \"http://exemple-asso.fr/\"":       `f.toml:2: places.url: "http://exemple-asso.fr/" does not start with https://`,
		"[places]\nurl = \"https://192.168.1.1/\"":          `f.toml:2: places.url: no public host`,
		"[places]\nurl = \"https://127.1/\"":                `f.toml:2: places.url: no public host`,
		"[places]\nurl = \"https://0x7f000001/\"":           `f.toml:2: places.url: no public host`,
		"[places]\nurl = \"https://[::1]/\"":                `f.toml:2: places.url: no public host`,
		"[places]\nurl = \"https://localhost/\"":            `f.toml:2: places.url: no public host`,
		"[places]\nurl = \"https://partage.internal/\"":     `f.toml:2: places.url: "https://partage.internal/": names below .internal`,
		"[places]\nurl = \"https://box.home.arpa/\"":        `names below .arpa`,
		"[agenda]\nurl = \"https://a.exemple-asso.fr:22/\"": `f.toml:2: agenda.url: "https://a.exemple-asso.fr:22/" names a port`,
		"[agenda]\nurl = \"https://u:p@exemple-asso.fr/\"":  `has a user or a fragment`,
		"[agenda]\nurl = \"file:///etc/shadow\"":            `is not a web address`,
		"[agenda]\nurl = \"https://exemple-аsso.fr/\"":      `has letters that are not ASCII`,
		// Texts that would break the page, or look like something else.
		"[portal]\nfr = \"a\\nb\"":                                `f.toml:2: portal.fr: a line end or another invisible character`,
		"[portal]\nfr = \"a\\u202eb\"":                            `f.toml:2: portal.fr: a line end or another invisible character`,
		"[portal]\nfr = \"a\\u200bb\"":                            `f.toml:2: portal.fr: a line end or another invisible character`,
		"[portal]\nfr = \"e" + strings.Repeat("\u0301", 9) + "\"": `f.toml:2: portal.fr: more than 3 accents on one letter`,
		"[portal]\nfr = \"" + strings.Repeat("a", 241) + "\"":     `f.toml:2: portal.fr: 241 characters long`,
		"[portal]\nde = \"Hallo\"":                                `f.toml:2: portal.de: unknown key`,
		// Sizes and depths.
		"a = " + strings.Repeat("[", 9000):                                        `nested more than 16 deep`,
		strings.Repeat("a.", 500) + "b = 1":                                       `nested more than 16 deep`,
		"# " + strings.Repeat("x", MaxFragment):                                   `16386 bytes long; a fragment has at most 16384`,
		"[box]\nlanguages = " + strings.Repeat("[", 15) + strings.Repeat("]", 15): `expected a quoted string, got a list`,
		"\xff":            `is not UTF-8`,
		"{\"limits\": 1}": `not valid TOML`,
	} {
		f, err := ParseFragment("f.toml", []byte(text))
		var problems Problems
		if !errors.As(err, &problems) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: %v, want %s", text, err, want)
		}
		if f != nil {
			t.Errorf("%.80q is read although it is refused", text)
		}
	}
}

// An accented letter is accepted, whether it is one character or two.
func TestPortalText(t *testing.T) {
	for _, text := range []string{"Fermé le 1ᵉʳ mai", "مُغْلَق", "Зачинено", "Đóng cửa từ thứ Bảy", "é l'été : « oui »"} {
		if _, err := parsePortalText(text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// Values that nobody has chosen, which a fleet may change, are the defaults and what passerelle init writes.
func TestChosen(t *testing.T) {
	for _, text := range []string{example, leastText} {
		c, err := Parse("", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"limits.session", "limits.download", "limits.data", "essential.names", "places.url", "box.languages"} {
			if slices.Contains(c.Chosen(), key) {
				t.Errorf("%s counts as chosen", key)
			}
		}
		c.Limits.Session, c.Limits.Download, c.Essential.Names = time.Hour, 3e6, []string{"caf.fr"}
		for _, key := range []string{"limits.session", "limits.download", "essential.names"} {
			if !slices.Contains(c.Chosen(), key) {
				t.Errorf("%s does not count as chosen", key)
			}
		}
	}
}

// Every key of a configuration that a fragment cannot have is in this list, so a new key needs a decision.
func TestAllowList(t *testing.T) {
	allowed := map[string]bool{"essential.names": true} // by add and remove
	for _, key := range FragmentKeys {
		allowed[key] = true
	}
	kept := map[string]bool{}
	for key := range Factory().Values() {
		if !allowed[key] {
			kept[strings.SplitN(key, ".", 2)[0]] = true
		}
	}
	want := map[string]bool{
		"admin": true, "board": true, "box": true, "centre": true, "fleet": true, "health": true, "hotspot": true, "hw": true,
		"lend": true, "metrics": true,
	}
	if diff := cmp.Diff(want, kept); diff != "" {
		t.Error(diff)
	}
	if n := reflect.TypeFor[Fragment]().NumField(); n != 13 {
		t.Errorf("a fragment has %d fields: is a new one one that only tightens?", n)
	}
}

func FuzzFragment(f *testing.F) {
	f.Add([]byte(fragmentText))
	f.Add([]byte("[limits]\nsession = \"1h\"\n[essential]\nadd = [\"a.fr\"]\n"))
	f.Add([]byte("limits.session = '2h'\nportal = { fr = \"\"\"x\"\"\" }"))
	f.Fuzz(func(t *testing.T, text []byte) {
		fragment, err := ParseFragment("f.toml", text)
		var problems Problems
		switch {
		case err != nil && (!errors.As(err, &problems) || len(problems) == 0):
			t.Fatalf("%T is no list of problems: %v", err, err)
		case err != nil:
			return
		}
		again, err := ParseFragment("f.toml", fragment.Format())
		if err != nil {
			t.Fatalf("%v\n%s", err, fragment.Format())
		}
		if diff := cmp.Diff(fragment.Values(), again.Values()); diff != "" {
			t.Fatal(diff)
		}
	})
}
