package admin

import (
	"bytes"
	"fmt"
	"html"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"

	"passerelle/appliance/config"
	"passerelle/captive/web/webtest"
)

// Secrets of the configuration in these tests.
const (
	hotspotSecret = "sous-les-tilleuls"
	lenderSecret  = "chez-Amina-2031"
)

// settingsText is a configuration with two donations, and secrets.
var settingsText = strings.NewReplacer(
	`password = ""`, `password = "`+hotspotSecret+`" # was passphrase = "`+lenderSecret+`" once`,
).Replace(string(config.Example())) + `
# Amina's phone.
[[donation]]
name = "Téléphone d’Amina"
interface = "wlan1"
wifi = { ssid = "Amina", passphrase = "` + lenderSecret + `" } # hers
cap = "10GB"
autorate = true
priority = 2
`

// settler returns a technician who is signed in to a box with the configuration settingsText.
func settler(t *testing.T) *technician {
	x := signedIn(t)
	x.box.text = []byte(settingsText)
	return x
}

// fieldsOf returns the values of a form's fields in a page, as a browser sends them.
func fieldsOf(t *testing.T, page, action string) url.Values {
	t.Helper()
	_, rest, ok := strings.Cut(page, `action="`+action)
	if !ok {
		t.Fatalf("no form to %s in:\n%s", action, page)
	}
	rest, _, _ = strings.Cut(rest, "</form>")
	form := url.Values{}
	attr := func(tag, name string) string {
		m := regexp.MustCompile(` ` + name + `="([^"]*)"`).FindStringSubmatch(tag)
		if m == nil {
			return ""
		}
		return html.UnescapeString(m[1])
	}
	for _, tag := range regexp.MustCompile(`<input[^>]*>`).FindAllString(rest, -1) {
		kind, name := attr(tag, "type"), attr(tag, "name")
		if (kind == "radio" || kind == "checkbox") && !strings.Contains(tag, " checked") {
			continue
		}
		form.Add(name, attr(tag, "value"))
	}
	for _, m := range regexp.MustCompile(`(?s)<select name="([^"]*)".*?<option value="([^"]*)" selected`).FindAllStringSubmatch(rest, -1) {
		form.Set(m[1], m[2])
	}
	for _, m := range regexp.MustCompile(`(?s)<textarea[^>]* name="([^"]*)"[^>]*>\n(.*?)</textarea>`).FindAllStringSubmatch(rest, -1) {
		form.Set(m[1], strings.NewReplacer("\r\n", "\r\n", "\n", "\r\n").Replace(html.UnescapeString(m[2])))
	}
	return form
}

// form opens a page, and returns its form.
func (x *technician) form(path, action string) url.Values {
	x.t.Helper()
	res := x.get(path)
	if res.Code != http.StatusOK {
		x.t.Fatalf("%s is answered %d: %s", path, res.Code, res.Body)
	}
	return fieldsOf(x.t, res.Body.String(), action)
}

// save presses "save" on a preview.
func (x *technician) save(preview *httptest.ResponseRecorder) *httptest.ResponseRecorder {
	x.t.Helper()
	if preview.Code != http.StatusOK && preview.Code != http.StatusConflict {
		x.t.Fatalf("no preview: %d: %s", preview.Code, words(preview.Body.String()))
	}
	return x.post("/admin/settings/save", fieldsOf(x.t, preview.Body.String(), "/admin/settings/save"))
}

// words returns the text of a page's content.
func words(page string) string {
	_, page, _ = strings.Cut(page, "<main")
	text := regexp.MustCompile(`<[^>]*>`).ReplaceAllString(page, " ")
	return strings.Join(strings.Fields(html.UnescapeString(text)), " ")
}

// parsed returns the box's configuration.
func (x *technician) parsed() *config.Config {
	x.t.Helper()
	c, err := config.Parse("passerelle.toml", x.box.text)
	if err != nil {
		x.t.Fatal(err)
	}
	return c
}

// TestEveryKeyHasAPlace: each key of the example is on a page, once, with words.
func TestEveryKeyHasAPlace(t *testing.T) {
	t.Parallel()
	var values map[string]any
	file, err := toml.Decode(string(config.Example()), &values)
	if err != nil {
		t.Fatal(err)
	}
	places := map[string]int{}
	for _, g := range append(slices.Clone(groups), donationGroup) {
		for _, f := range g.fields {
			places[f.key]++
			for _, code := range []string{"fr", "en"} {
				w := catalog.Language(code)
				for _, key := range []string{"field." + f.key, "help." + f.key} {
					if _, err := w.Message(key); err != nil {
						t.Error(err)
					}
				}
			}
			if len(f.labels) > 0 && len(f.labels) != len(f.choices) {
				t.Errorf("%s has %d choices and words for %d", f.key, len(f.choices), len(f.labels))
			}
		}
	}
	for _, key := range file.Keys() {
		if name := key.String(); file.Type(key...) != "Hash" && file.Type(key...) != "ArrayHash" || name == "donation.wifi" {
			if places[name] != 1 {
				t.Errorf("%s is on %d pages", name, places[name])
			}
			delete(places, name)
		}
	}
	for name := range places {
		t.Errorf("%s is on a page, and not in the example", name)
	}
}

// settingsPages are all pages of the configuration.
var settingsPages = []string{
	"/admin/settings", "/admin/settings/centre", "/admin/settings/hotspot", "/admin/settings/limits", "/admin/settings/donations",
	"/admin/settings/essential", "/admin/settings/languages", "/admin/settings/places", "/admin/settings/metrics", "/admin/settings/fleet", "/admin/settings/lights",
	"/admin/settings/advanced", "/admin/settings/donation/1", "/admin/settings/donation/2", "/admin/settings/donation/new",
	"/admin/settings/text", "/admin/settings/text/download", "/admin/settings/versions",
}

// TestSettingsPages: each page is complete, small and without secrets, in both languages.
func TestSettingsPages(t *testing.T) {
	t.Parallel()
	x := settler(t)
	for _, path := range settingsPages {
		for _, code := range []string{"fr", "en"} {
			res := x.get(path + "?lang=" + code)
			page := res.Body.String()
			if res.Code != http.StatusOK || len(page) > 60_000 {
				t.Errorf("%s is answered %d, with %d bytes", path, res.Code, len(page))
			}
			for _, secret := range []string{hotspotSecret, lenderSecret} {
				if strings.Contains(page, secret) {
					t.Errorf("%s has a secret", path)
				}
			}
			if strings.HasSuffix(path, "download") {
				continue
			}
			for _, flaw := range webtest.Flaws(code, page, res.Header().Get("Content-Security-Policy")) {
				t.Errorf("%s: %s", path, flaw)
			}
			if unsaid := regexp.MustCompile(`\b(settings|field|help|choice|measure)\.[a-z]+[.a-z_-]*`).FindAllString(strings.ReplaceAll(words(page), "home.arpa", ""), -1); path != "/admin/settings/text" && len(unsaid) > 0 {
				t.Errorf("%s in %s: no words for %q", path, code, unsaid)
			}
		}
	}
	for _, path := range []string{"/admin/settings/nothing", "/admin/settings/donation/3", "/admin/settings/donation/0", "/admin/settings/donation/x"} {
		if res := x.get(path); res.Code != http.StatusNotFound {
			t.Errorf("%s is answered %d", path, res.Code)
		}
	}
}

// TestFieldsRoundTrip: a form that is sent back unchanged changes nothing, whatever its values are.
func TestFieldsRoundTrip(t *testing.T) {
	t.Parallel()
	x := settler(t)
	text := strings.NewReplacer(
		`session = "2h"`, `session = "1h30m"`, `download = "4mbit"`, `download = "1500kbit"`, `lease = "30m"`, `lease = "150s"`,
		`cap = "200GB"`, `cap = "1.5TB"`, `names = ["@france"]`, `names = ["wikipedia.org", "@france", "caf.fr"]`,
		`languages = ["fr", "en"]`, `languages = ["uk", "fr"]`, `desk = []`, `desk = ["print", "papers"]`, "Sa 09:00-12:00", "Sa off; week 1-53/2 Su 10:00-11:00",
		`enabled = false`, `enabled = true`, `allow = []`, `allow = ["192.168.1.20", "10.9.0.0/24"]`, `coordinates = ""`, `coordinates = "48.85, 2.35"`,
	).Replace(settingsText)
	for _, text := range []string{settingsText, text, strings.ReplaceAll(text, "\n", "\r\n")} {
		x.box.text = []byte(text)
		x.parsed()
		for _, path := range settingsPages {
			action, isForm := path, groupOf(strings.TrimPrefix(path, "/admin/settings/")) != nil
			if strings.Contains(path, "donation/") && !strings.HasSuffix(path, "new") {
				action, isForm = "/admin/settings/donation", true
			}
			if path == textPath {
				isForm = true
			}
			if !isForm {
				continue
			}
			res := x.post(action, x.form(path, action))
			if res.Code != http.StatusOK || !strings.Contains(words(res.Body.String()), "Vous n’avez rien changé") {
				t.Errorf("%s changes something: %d %s", path, res.Code, words(res.Body.String()))
			}
		}
	}
}

// TestChangeEachField: a change of each kind of field changes that key in the file, and nothing else.
func TestChangeEachField(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		path   string
		change url.Values
		key    string
		want   any
		said   string // what the preview says
	}{
		{"/admin/settings/centre", url.Values{"box.name": {"Centre « Les Tilleuls »"}}, "box.name", "Centre « Les Tilleuls »", "Nom du centre Centre social des Lilas → Centre « Les Tilleuls »"},
		{"/admin/settings/centre", url.Values{"centre.desk": {"print", "papers"}}, "centre.desk", []string{"print", "papers"}, "rien → Imprimer, Démarches"},
		{"/admin/settings/centre", url.Values{"centre.hours.mode": {"week"}, "centre.hours.day0.from0": {"09:00"}, "centre.hours.day0.to0": {"12:00"}, "centre.hours.off": {"on"}},
			"centre.hours", "Mo 09:00-12:00; PH off", "rien → lundi 09:00-12:00; Fermé les jours fériés"},
		{"/admin/settings/hotspot", url.Values{"hotspot.password": {"sous les lilas"}}, "hotspot.password", "sous les lilas", "Mot de passe du Wi‑Fi un mot de passe → un autre"},
		{"/admin/settings/hotspot", url.Values{"hotspot.password.remove": {"yes"}}, "hotspot.password", "", "un mot de passe → rien"},
		{"/admin/settings/hotspot", url.Values{"hotspot.band": {"5GHz"}}, "hotspot.band", "5GHz", "Aller vite"},
		{"/admin/settings/hotspot", url.Values{"hotspot.channel": {" 6 "}}, "hotspot.channel", 6, "0 → 6"},
		{"/admin/settings/limits", url.Values{"limits.data": {"1,5"}, "limits.data.unit": {"GB"}}, "limits.data", "1500MB", "500 Mo → 1500 Mo"},
		{"/admin/settings/limits", url.Values{"limits.data": {"0"}}, "limits.data", "0", "sans limite"},
		{"/admin/settings/limits", url.Values{"limits.session": {"90"}, "limits.session.unit": {"m"}}, "limits.session", "1h30m", "2 heures → 90 minutes"},
		{"/admin/settings/limits", url.Values{"limits.after": {"0"}}, "limits.after", "0", "64 kbit/s → la connexion s’arrête"},
		{"/admin/settings/limits", url.Values{"limits.upload": {"512"}, "limits.upload.unit": {"kbit"}}, "limits.upload", "512kbit", "1 Mbit/s → 512 kbit/s"},
		{"/admin/settings/essential", url.Values{"essential.names.lines": {"caf.fr\r\n\r\n wikipedia.org \r\n"}}, "essential.names", []string{"@france", "caf.fr", "wikipedia.org"}, "caf.fr, wikipedia.org"},
		{"/admin/settings/essential", url.Values{"essential.names": nil}, "essential.names", []string{}, "→ rien"},
		{"/admin/settings/languages", url.Values{"box.languages": {"ar", "en", "fr"}}, "box.languages", []string{"fr", "en", "ar"}, "Français, English → Français, English, العربية"},
		{"/admin/settings/places", url.Values{"board.enabled": {"true"}}, "board.enabled", true, "Non → Oui"},
		{"/admin/settings/lights", url.Values{"hw.led": {"none"}}, "hw.led", "none", "La box redémarre"},
		{"/admin/settings/advanced", url.Values{"box.coordinates": {"45.75, 4.85"}}, "box.coordinates", "45.75, 4.85", "Position"},
		{"/admin/settings/donation/1", url.Values{"donation.cap": {"50"}}, "donation.cap", "50GB", "Fibre du centre Limite de données 200 Go → 50 Go"},
		{"/admin/settings/donation/1", url.Values{"donation.hours.mode": {"always"}}, "donation.hours", "", "→ toujours"},
		{"/admin/settings/donation/1", url.Values{"donation.hours.mode": {"text"}, "donation.hours": {"24/7"}}, "donation.hours", "24/7", "Heures du prêt"},
		{"/admin/settings/donation/1", url.Values{"donation.wifi.ssid": {"Livebox"}, "donation.wifi": {"motdepasse8"}}, "donation.wifi",
			config.Table{{Key: "ssid", Value: "Livebox"}, {Key: "passphrase", Value: "motdepasse8"}}, "rien → Livebox"},
		{"/admin/settings/donation/2", url.Values{"donation.wifi.ssid": {"Chez Amina"}}, "donation.wifi",
			config.Table{{Key: "ssid", Value: "Chez Amina"}, {Key: "passphrase", Value: lenderSecret}}, "Amina → Chez Amina"},
		{"/admin/settings/donation/2", url.Values{"donation.wifi.ssid": {""}}, "donation.wifi", config.Table(nil), "Amina → rien"},
		{"/admin/settings/donation/1", url.Values{"donation.dns.lines": {"9.9.9.9\n149.112.112.112"}}, "donation.dns", []string{"9.9.9.9", "149.112.112.112"}, "9.9.9.9, 149"},
	} {
		x := settler(t)
		action := test.path
		if strings.Contains(action, "donation/") {
			action = "/admin/settings/donation"
		}
		form := x.form(test.path, action)
		maps.Copy(form, test.change)
		before := x.parsed()
		preview := x.post(action, form)
		if !bytes.Equal(x.box.text, []byte(settingsText)) {
			t.Fatalf("%s: saved without a preview", test.key)
		}
		if got := words(preview.Body.String()); !strings.Contains(got, test.said) {
			t.Errorf("%s: the preview does not say %q: %s", test.key, test.said, got)
		}
		for _, secret := range []string{hotspotSecret, lenderSecret, "sous les lilas", "motdepasse8"} {
			if strings.Contains(html.UnescapeString(preview.Body.String()), secret) {
				t.Errorf("%s: the preview has a secret: %s", test.key, words(preview.Body.String()))
			}
		}
		if res := x.save(preview); res.Code != http.StatusOK || !strings.Contains(res.Body.String(), "C’est enregistré") {
			t.Errorf("%s: saving is answered %d: %s", test.key, res.Code, words(res.Body.String()))
		}
		after := x.parsed()
		values := after.Values()
		for i := range after.Donations {
			if strings.HasPrefix(test.path, "/admin/settings/donation/"+fmt.Sprint(i+1)) {
				values = after.Donations[i].Values()
			}
		}
		if !same(values[test.key], test.want) {
			t.Errorf("%s is %q, want %q", test.key, values[test.key], test.want)
		}
		if all := config.Differences(before, after); len(all) != 1 || all[0].Key != test.key {
			t.Errorf("%s: the differences are %+v", test.key, all)
		}
		if lines := strings.Count(string(x.box.text), "#"); lines < strings.Count(settingsText, "#") {
			t.Errorf("%s: comments are lost:\n%s", test.key, x.box.text)
		}
	}
}

// TestRateThatFollows: the form decides whether autorate is on, for every kind of uplink. The default is on if the interface, new or
// changed, is a phone's.
func TestRateThatFollows(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		iface, choice string // of the form
		want          bool
		then          string // the interface that it is changed to
		after         bool
	}{
		{"usb", "auto", true, "eth1", false},
		{"eth1", "auto", false, "usb", true},
		{"usb", "false", false, "eth1", false},
		{"eth1", "true", true, "usb", true},
	} {
		x := settler(t)
		form := x.form("/admin/settings/donation/new", "/admin/settings/donation")
		if got := form.Get("donation.autorate"); got != byDefault {
			t.Errorf("a new one's choice is %q", got)
		}
		form.Set("donation.name", "Neuve")
		form.Set("donation.interface", test.iface)
		form.Set("donation.cap", "10")
		form.Set("donation.autorate", test.choice)
		x.save(x.post("/admin/settings/donation", form))
		i := slices.IndexFunc(x.parsed().Donations, func(d config.Donation) bool { return d.Name == "Neuve" })
		if d := x.parsed().Donations[i]; d.Autorate != test.want {
			t.Errorf("%s, %s: it follows the line: %t", test.iface, test.choice, d.Autorate)
		}
		path := fmt.Sprintf("/admin/settings/donation/%d", i+1)
		form = x.form(path, "/admin/settings/donation")
		if got := form.Get("donation.autorate"); got != test.choice {
			t.Errorf("%s, %s: the form says %q", test.iface, test.choice, got)
		}
		form.Set("donation.interface", test.then)
		res := x.post("/admin/settings/donation", form)
		if says := strings.Contains(words(res.Body.String()), "La vitesse suit la ligne"); says != (test.after != test.want) {
			t.Errorf("%s, %s, then %s: the preview says that it changes: %t", test.iface, test.choice, test.then, says)
		}
		x.save(res)
		if d := x.parsed().Donations[i]; d.Autorate != test.after {
			t.Errorf("%s, %s, then %s: it follows the line: %t", test.iface, test.choice, test.then, d.Autorate)
		}
		form = x.form(path, "/admin/settings/donation")
		form.Set("donation.autorate", byDefault)
		if res := x.post("/admin/settings/donation", form); test.choice != byDefault {
			x.save(res)
		}
		if d := x.parsed().Donations[i]; d.Autorate != (test.then == "usb") {
			t.Errorf("%s, %s, then %s and the box's choice: it follows the line: %t", test.iface, test.choice, test.then, d.Autorate)
		}
	}
}

// TestDonations: donations are added, renamed, reordered and removed; each is confirmed on the preview.
func TestDonations(t *testing.T) {
	t.Parallel()
	x := settler(t)
	names := func() (all []string) {
		for _, d := range byPriority(x.parsed()) {
			all = append(all, d.Name)
		}
		return all
	}
	form := x.form("/admin/settings/donation/new", "/admin/settings/donation")
	if res := x.post("/admin/settings/donation", form); res.Code != http.StatusUnprocessableEntity || !strings.Contains(res.Body.String(), "Donnez un nom") {
		t.Errorf("an empty donation is answered %d", res.Code)
	}
	form.Set("donation.name", "Fibre du centre")
	if res := x.post("/admin/settings/donation", form); !strings.Contains(res.Body.String(), "a déjà ce nom") {
		t.Errorf("a name in use is answered %d", res.Code)
	}
	form.Set("donation.name", `Clé 4G "bleue"`)
	res := x.post("/admin/settings/donation", form)
	if got := words(res.Body.String()); res.Code != http.StatusUnprocessableEntity || strings.Count(got, "ne peut pas accepter cette valeur") != 2 {
		t.Errorf("a donation without interface and cap is answered %d: %s", res.Code, got)
	}
	form.Set("donation.interface", "usb")
	form.Set("donation.cap", "10")
	form.Set("donation.cap.unit", "GB")
	if form.Get("donation.priority") != "3" {
		t.Errorf("a new one's place is %s", form.Get("donation.priority"))
	}
	x.save(x.post("/admin/settings/donation", form))
	if got := names(); !slices.Equal(got, []string{"Fibre du centre", "Téléphone d’Amina", `Clé 4G "bleue"`}) {
		t.Fatalf("after one is added: %q", got)
	}
	if d := x.parsed().Donations[2]; d.Interface != "usb" || d.Cap != 10e9 || d.Priority != 3 || d.Resets != 1 {
		t.Errorf("it is %+v", d)
	}

	form = fieldsOf(t, x.get("/admin/settings/donations").Body.String(), "/admin/settings/donations/move")
	form.Set("up", `Clé 4G "bleue"`)
	x.save(x.post("/admin/settings/donations/move", form))
	if got := names(); !slices.Equal(got, []string{"Fibre du centre", `Clé 4G "bleue"`, "Téléphone d’Amina"}) {
		t.Errorf("after it is moved: %q", got)
	}

	form = x.form("/admin/settings/donation/3", "/admin/settings/donation")
	form.Set("donation.name", "Clé 4G")
	form.Set("donation.period", "day") // which has no first day
	preview := x.post("/admin/settings/donation", form)
	if got := words(preview.Body.String()); !strings.Contains(got, "recommence son compte à zéro") {
		t.Errorf("a rename: %s", got)
	}
	x.save(preview)
	if d := x.parsed().Donations[2]; d.Name != "Clé 4G" || d.Period != "day" {
		t.Errorf("after it is renamed: %+v", d)
	}

	form = fieldsOf(t, x.get("/admin/settings/donations").Body.String(), "/admin/settings/donations/remove")
	form.Set("of", "Clé 4G")
	preview = x.post("/admin/settings/donations/remove", form)
	if got := words(preview.Body.String()); !strings.Contains(got, "Clé 4G Connexion enlevée") || !strings.Contains(got, "ne sert plus") {
		t.Errorf("a removal: %s", got)
	}
	x.save(preview)
	form.Set("of", "Téléphone d’Amina")
	form.Set("revision", string(config.RevisionOf(x.box.text)))
	x.save(x.post("/admin/settings/donations/remove", form))
	if got := names(); !slices.Equal(got, []string{"Fibre du centre"}) {
		t.Errorf("after two are removed: %q", got)
	}
	form.Set("of", "Fibre du centre")
	form.Set("revision", string(config.RevisionOf(x.box.text)))
	x.get("/admin/settings")
	if res := x.post("/admin/settings/donations/remove", form); res.Code != http.StatusUnprocessableEntity {
		t.Errorf("removing the last one is answered %d", res.Code)
	}
	if strings.Contains(x.get("/admin/settings/donations").Body.String(), "donations/remove") {
		t.Error("the last one can be removed")
	}
}

// TestTwoTechnicians: the technician who saves second sees what the first one changed, and saves on top of it.
func TestTwoTechnicians(t *testing.T) {
	t.Parallel()
	x := settler(t)
	y := &technician{t: t, box: x.box, server: x.server}
	y.post("/admin/login", url.Values{"password": {password}})
	if y.cookie == "" || y.cookie == x.cookie {
		t.Fatal("the second technician is not signed in")
	}
	mine := y.form("/admin/settings/limits", "/admin/settings/limits")
	mine.Set("limits.data", "700")

	form := x.form("/admin/settings/limits", "/admin/settings/limits")
	form.Set("limits.upload", "2")
	first := x.post("/admin/settings/limits", form)
	early := y.post("/admin/settings/limits", mine) // a preview from before the first one saves
	x.save(first)

	// After the first one has saved, the second one continues from the form, and from the preview.
	for what, res := range map[string]*httptest.ResponseRecorder{
		"the form": y.post("/admin/settings/limits", mine), "the preview": y.save(early),
	} {
		got := words(res.Body.String())
		if !strings.Contains(got, "Ce que l’autre personne a changé Vitesse pour envoyer 1 Mbit/s → 2 Mbit/s") || !strings.Contains(got, "500 Mo → 700 Mo") {
			t.Errorf("%s: the second one sees %d: %s", what, res.Code, got)
		}
		early = res
	}
	if res := x.save(early); res.Code != http.StatusConflict {
		t.Errorf("one saves the other's draft: %d", res.Code)
	}
	if l := x.parsed().Limits; l.Upload != 2e6 || l.Data != 500e6 {
		t.Errorf("the limits are %+v before the second one agreed", l)
	}
	if res := y.save(early); res.Code != http.StatusOK {
		t.Errorf("saving is answered %d: %s", res.Code, words(res.Body.String()))
	}
	if l := x.parsed().Limits; l.Upload != 2e6 || l.Data != 700e6 {
		t.Errorf("the limits are %+v", l)
	}
	if res := y.save(early); res.Code != http.StatusConflict || !strings.Contains(res.Body.String(), "n’est plus là") {
		t.Errorf("saving again is answered %d", res.Code)
	}
	// A whole text cannot be merged: its preview says so.
	text := y.form("/admin/settings/text", "/admin/settings/text")
	text.Set("text", strings.Replace(text.Get("text"), `session = "2h"`, `session = "3h"`, 1))
	x.box.text = bytes.Replace(x.box.text, []byte(`town = ""`), []byte(`town = "Lyon"`), 1) // by hand
	res := y.post("/admin/settings/text", text)
	if got := words(res.Body.String()); !strings.Contains(got, "ses changements sont perdus") || !strings.Contains(got, "Ville rien → Lyon") || !strings.Contains(got, "Ville Lyon → rien") {
		t.Errorf("a whole text: %s", got)
	}
}

// TestDraftsEnd: a draft belongs to its login, expires after a quarter of an hour, and the number of drafts is limited.
func TestDraftsEnd(t *testing.T) {
	t.Parallel()
	var d drafts
	first := d.put(noon, draft{owner: "x"})
	other := d.put(noon, draft{owner: "y"})
	if _, ok := d.get(noon.Add(draftLife), first, "x"); !ok {
		t.Error("a draft ends early")
	}
	if _, ok := d.get(noon, first, "y"); ok {
		t.Error("a draft is anybody's")
	}
	if _, ok := d.get(noon.Add(draftLife+1), first, "x"); ok {
		t.Error("a draft does not end")
	}
	for i := range maxDrafts {
		d.put(noon.Add(time.Duration(i+1)), draft{owner: "x"})
	}
	_, old := d.get(noon, first, "x")
	if _, ok := d.get(noon, other, "y"); old || !ok || len(d.all) != maxDrafts+1 {
		t.Errorf("%d drafts wait, the oldest one: %v", len(d.all), old)
	}
	d.put(noon.Add(2*draftLife), draft{owner: "z"})
	if len(d.all) != 1 {
		t.Errorf("%d drafts wait after their time", len(d.all))
	}
	for i := range 2 * maxTexts {
		d.remember([]byte{byte(i)})
	}
	if len(d.texts) != maxTexts || d.text(config.RevisionOf([]byte{2*maxTexts - 1})) == nil || d.text(config.RevisionOf([]byte{0})) != nil {
		t.Errorf("%d texts are kept", len(d.texts))
	}
}

// TestProblemsBesideFields: a refused value is shown beside its field, with what was typed; nothing is saved.
func TestProblemsBesideFields(t *testing.T) {
	t.Parallel()
	x := settler(t)
	for _, test := range []struct{ path, name, value, want string }{
		{"/admin/settings/hotspot", "hotspot.address", "8.8.8.8/22", "not private"},
		{"/admin/settings/hotspot", "hotspot.channel", "six", "nombre entier"},
		{"/admin/settings/hotspot", "hotspot.channel", "99", "has no channel"},
		{"/admin/settings/hotspot", "hotspot.password", "court", "Wi-Fi requires 8 to 63"},
		{"/admin/settings/hotspot", "hotspot.interface", "eth0", "donation needs another one"},
		{"/admin/settings/limits", "limits.data", "-3", "invalid size"},
		{"/admin/settings/limits", "limits.data.unit", "EB", "invalid size"},
		{"/admin/settings/centre", "centre.postcode", "<b>690</b>", "not a postcode"},
		{"/admin/settings/advanced", "health.zones.lines", "*.github.io 185.199.108.0/22", "1 zones"},
		{"/admin/settings/languages", "box.language", "uk", "not in languages"},
		{"/admin/settings/donation/1", "donation.hours", "Mo-Fr 9h", "cannot be read"},
		{"/admin/settings/donation/1", "donation.reserve", "150", "more than half"},
		{"/admin/settings/donation/2", "donation.interface", "eth0", "interfaces must be unique"},
	} {
		action := test.path
		if strings.Contains(action, "donation/") {
			action = "/admin/settings/donation"
		}
		form := x.form(test.path, action)
		form.Set(test.name, test.value)
		if test.name == "donation.hours" {
			form.Set("donation.hours.mode", "text")
		}
		res := x.post(action, form)
		page := res.Body.String()
		if res.Code != http.StatusUnprocessableEntity || !strings.Contains(html.UnescapeString(page), test.want) {
			t.Errorf("%s = %q is answered %d: %s", test.name, test.value, res.Code, words(page))
		}
		if test.name != "hotspot.interface" && !strings.Contains(page, "problem\">") {
			t.Errorf("%s = %q: no problem beside a field", test.name, test.value)
		}
		if again := fieldsOf(t, page, action); test.name != "hotspot.password" && again.Get(test.name) != test.value && !strings.HasSuffix(test.name, ".unit") && !strings.HasSuffix(test.name, ".lines") {
			t.Errorf("%s = %q is shown again as %q", test.name, test.value, again.Get(test.name))
		}
		if strings.Contains(page, `value="court"`) {
			t.Error("a password is in the page")
		}
	}
	if string(x.box.text) != settingsText {
		t.Error("the file changed")
	}
}

// TestByHand: the page says so if the way the file is written does not allow a change. A file that somebody broke by hand is shown
// with the lines of its problems.
func TestByHand(t *testing.T) {
	t.Parallel()
	x := settler(t)
	x.box.text = []byte("limits = { session = \"2h\" }\n" + strings.Replace(settingsText, "[limits]\n", "[old]\n", 1))
	if res := x.get("/admin/settings"); !strings.Contains(res.Body.String(), "à la main") || !strings.Contains(res.Body.String(), "Ligne") {
		t.Errorf("a broken file: %s", words(res.Body.String()))
	}
	if res := x.get("/admin/settings/limits"); res.Code != http.StatusSeeOther {
		t.Errorf("a page of fields is answered %d", res.Code)
	}
	if got := words(x.get("/admin/settings/text").Body.String()); !strings.Contains(got, "Corrigez le fichier") || strings.Contains(got, hotspotSecret) {
		t.Errorf("its text: %s", got)
	}
	// Inline lists and tables are changed in place.
	x.box.text = []byte(`donation = [{ name = "A", interface = "eth0", cap = "0" }] # hers
box.name = "Centre"
hotspot = { interface = "wlan0", radio = "none" }
`)
	form := x.form("/admin/settings/donation/1", "/admin/settings/donation")
	form.Set("donation.cap", "3")
	x.save(x.post("/admin/settings/donation", form))
	if want := `donation = [{ name = "A", interface = "eth0", cap = "3GB" }] # hers`; !strings.HasPrefix(string(x.box.text), want) {
		t.Errorf("the file becomes:\n%s", x.box.text)
	}
	// Somebody breaks the file by hand while a form is open: the file then has the donation twice.
	form = x.form("/admin/settings/donation/1", "/admin/settings/donation")
	form.Set("donation.cap", "4")
	x.box.text = bytes.Replace(x.box.text, []byte("}] #"), []byte(`}, { name = "A" }] #`), 1)
	res := x.post("/admin/settings/donation", form)
	if got := words(res.Body.String()); res.Code != http.StatusUnprocessableEntity || !strings.Contains(got, "ne peut pas être modifié ici") || !strings.Contains(res.Body.String(), `href="/admin/settings/text"`) {
		t.Errorf("by hand: %d: %s", res.Code, got)
	}
}

// TestText: the whole text is shown without secrets. Saving it keeps them. Problems have line numbers.
func TestText(t *testing.T) {
	t.Parallel()
	x := settler(t)
	form := x.form("/admin/settings/text", "/admin/settings/text")
	text := form.Get("text")
	form.Set("text", strings.Replace(text, `ssid = "Partage de Co - Les Lilas"`, `ssid = "Lilas <b>"`, 1))
	preview := x.post("/admin/settings/text", form)
	if got := words(preview.Body.String()); !strings.Contains(got, "Nom du Wi‑Fi Partage de Co - Les Lilas → Lilas <b>") || !strings.Contains(got, "confirmez dans les deux minutes") {
		t.Errorf("the preview: %s", got)
	}
	x.save(preview)
	if want := strings.Replace(settingsText, `ssid = "Partage de Co - Les Lilas"`, `ssid = "Lilas <b>"`, 1); string(x.box.text) != want {
		t.Errorf("the file is:\n%s", x.box.text)
	}

	// A refused text is shown again. A new password in it is hidden, but not lost.
	form = x.form("/admin/settings/text", "/admin/settings/text")
	form.Set("text", strings.Replace(strings.Replace(form.Get("text"), `password = "********1"`, `password = "un-nouveau-mot"`, 1), `country = "FR"`, `country = "France"`, 1))
	res := x.post("/admin/settings/text", form)
	page := res.Body.String()
	if got := words(page); res.Code != http.StatusUnprocessableEntity || !strings.Contains(got, "Ligne 52 Pays") || strings.Contains(page, "un-nouveau-mot") {
		t.Errorf("a refused text is answered %d: %s", res.Code, got)
	}
	form = fieldsOf(t, page, "/admin/settings/text")
	form.Set("text", strings.Replace(form.Get("text"), `country = "France"`, `country = "BE"`, 1))
	x.save(x.post("/admin/settings/text", form))
	if h := x.parsed().Hotspot; h.Country != "BE" || h.Password != "un-nouveau-mot" {
		t.Errorf("the hotspot is %+v", h)
	}
	form = x.form("/admin/settings/text", "/admin/settings/text")
	for text, want := range map[string]string{
		"[hotspot\npassword = \"" + "zzzzzzzz-zz" + "\"": "not valid TOML", "password = \"********77\"": "stands for no password", "": "missing",
	} {
		form.Set("text", text)
		res := x.post("/admin/settings/text", form)
		if page := html.UnescapeString(res.Body.String()); res.Code != http.StatusUnprocessableEntity || !strings.Contains(page, want) || strings.Contains(page, "zzzzzzzz") {
			t.Errorf("%q is answered %d: %s", text, res.Code, words(page))
		}
	}
	if res := x.get("/admin/settings/text/download"); !strings.Contains(res.Body.String(), `password = "********`) || res.Header().Get("Content-Type") != "text/plain; charset=utf-8" || !strings.HasPrefix(res.Header().Get("Content-Disposition"), "attachment") {
		t.Errorf("the download: %v", res.Header())
	}
}

// TestVersionsAndBack: changes are listed, and a button restores the version from before a change.
func TestVersionsAndBack(t *testing.T) {
	t.Parallel()
	x := settler(t)
	form := x.form("/admin/settings/limits", "/admin/settings/limits")
	form.Set("limits.data", "700")
	x.save(x.post("/admin/settings/limits", form))
	page := x.get("/admin/settings/versions").Body.String()
	if got := words(page); !strings.Contains(got, "aujourd’hui à 15 h 10 Depuis ces pages, par le Wi‑Fi partagé Données par jour 500 Mo → 700 Mo") {
		t.Errorf("the versions: %s", got)
	}
	preview := x.post("/admin/settings/versions", fieldsOf(t, page, "/admin/settings/versions"))
	if got := words(preview.Body.String()); !strings.Contains(got, "700 Mo → 500 Mo") {
		t.Errorf("back: %s", got)
	}
	x.save(preview)
	if string(x.box.text) != settingsText {
		t.Errorf("the file is:\n%s", x.box.text)
	}
	if res := x.post("/admin/settings/versions", url.Values{"version": {"nothing"}}); res.Code != http.StatusConflict {
		t.Errorf("an unknown version is answered %d", res.Code)
	}
}

// TestHostileValues: whatever is typed into a field is either refused, or changes exactly that key in the file.
func TestHostileValues(t *testing.T) {
	t.Parallel()
	x := settler(t)
	parts := []string{
		`"`, "\n", "\r\n", "]", "[[donation]]", `name = "x"`, "#", "<script>alert(1)</script>", "<b>", "'", `"""`, "\\", "\x00", "é", " ", "=", "{", "}",
		",", "0", "12", "10.0.0.1", "a.fr", "\u202e", "\xff", "off", "Mo", ";", "********1", "usb", "../..", "\\u0022",
	}
	r := rand.New(rand.NewPCG(5, 6))
	saved := 0
	forms := map[string]url.Values{}
	for range 600 {
		path, g, action := "/admin/settings/donation/1", &donationGroup, "/admin/settings/donation"
		if i := r.IntN(len(groups) + 1); i < len(groups) {
			g = &groups[i]
			path = "/admin/settings/" + g.name
			action = path
		}
		f := g.fields[r.IntN(len(g.fields))]
		if forms[path] == nil {
			forms[path] = x.form(path, action)
		}
		form := maps.Clone(forms[path])
		var names []string
		for name := range form {
			if strings.HasPrefix(name, f.key) {
				names = append(names, name)
			}
		}
		if slices.Sort(names); len(names) == 0 {
			names = []string{f.key}
		}
		var value strings.Builder
		for range 1 + r.IntN(4) {
			value.WriteString(parts[r.IntN(len(parts))])
		}
		form.Set(names[r.IntN(len(names))], value.String())
		before := x.parsed()
		res := x.post(action, form)
		page := res.Body.String()
		if strings.Contains(page, "<script>") || strings.Contains(page, "<b>") {
			t.Fatalf("%s = %q is not escaped", f.key, value.String())
		}
		if res.Code == http.StatusUnprocessableEntity || !strings.Contains(page, "settings/save") {
			continue
		}
		saved++
		x.save(res)
		all := config.Differences(before, x.parsed())
		for _, d := range all {
			if d.Key != f.key && !(f.key == "donation.name" && d.Key == "donation") && !(f.key == "donation.period" && d.Key == "donation.resets") {
				t.Errorf("%s = %q changes %+v", f.key, value.String(), d)
			}
		}
		x.box.text = []byte(settingsText)
	}
	if saved < 40 {
		t.Errorf("only %d values were saved", saved)
	}
	t.Logf("%d values were saved", saved)
}
