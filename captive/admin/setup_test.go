package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"passerelle/appliance/config"
	"passerelle/appliance/state"
)

// newBoxes has the lines and the radio of a new box on a fibre uplink.
var newBoxes = fakeMachine{
	lines: []Line{
		{Interface: "eth0", Kind: Cable, State: Works, Address: "192.168.1.34/24"},
		{Interface: "eth1", Kind: Cable, State: Unplugged},
		{Interface: config.USB, Kind: Phone, State: NoInternet, Address: "192.168.42.20/24"},
	},
	radios: []Radio{{Interface: "wlan0", Stations: 32, Fast: true, Encrypts: true, Client: true}},
}

// fresh removes a box's configuration.
func (b *fakeBox) fresh(t *testing.T) {
	b.text, b.answers, b.machine = nil, filepath.Join(t.TempDir(), "setup"), newBoxes
	b.status = state.Status{State: state.Setup, Why: "no technician has configured this box yet", Clock: state.Clock{Trusted: true}}
}

// walker is a technician of a new box whose presses are counted. Filling in a field counts as one press.
type walker struct {
	*technician
	presses int
}

func newWalker(t *testing.T) *walker {
	x := newTechnician(t)
	x.box.fresh(t)
	x.server.SetupDir = x.box.answers
	return &walker{technician: x}
}

// signIn chooses the password.
func (x *walker) signIn() {
	x.t.Helper()
	res := x.post("/admin/login", url.Values{"code": {x.box.logins.Code()}, "password": {password}})
	if res.Code != http.StatusSeeOther {
		x.t.Fatalf("the setup code is answered %d", res.Code)
	}
	x.presses += 3
}

// TestWeakAtFirst: a technician whose first password is too short does not have to type the code again.
func TestWeakAtFirst(t *testing.T) {
	t.Parallel()
	x := newWalker(t)
	code := x.box.logins.Code()
	for typed, want := range map[string]string{code: `value="` + code + `"`, `"><b>`: `value="&#34;&gt;&lt;b&gt;"`} {
		res := x.post("/admin/login", url.Values{"code": {typed}, "password": {"court"}})
		if page := res.Body.String(); res.Code != http.StatusForbidden || !strings.Contains(page, want) || !strings.Contains(page, "trop court") {
			t.Errorf("a short password with the code %s is answered %d:\n%s", typed, res.Code, words(page))
		}
	}
	res := x.post("/admin/login", url.Values{"code": {"AAAAAAAA"}, "password": {password}})
	if page := res.Body.String(); res.Code != http.StatusForbidden || strings.Contains(page, "AAAAAAAA") || strings.Contains(page, "oublié") {
		t.Errorf("a wrong code is answered %d:\n%s", res.Code, words(page))
	}
}

// open opens a page and follows redirects. It returns the final page and its path.
func (x *walker) open(path string) (page, at string) {
	x.t.Helper()
	for range 4 {
		res := x.get(path)
		if res.Code == http.StatusOK {
			return res.Body.String(), path
		}
		if path = res.Header().Get("Location"); res.Code != http.StatusSeeOther {
			x.t.Fatalf("%s is answered %d:\n%s", path, res.Code, res.Body)
		}
	}
	x.t.Fatalf("%s leads on for ever", path)
	return "", ""
}

// answer fills in a page's form as a person does, and presses its button. It returns the response.
func (x *walker) answer(path string, fields map[string]string) *httptest.ResponseRecorder {
	x.t.Helper()
	page, at := x.open(path)
	if at != path {
		x.t.Fatalf("%s leads to %s", path, at)
	}
	form := fieldsOf(x.t, page, path)
	for name, value := range fields {
		if name != "back" && name != "again" && !form.Has(name) && !strings.Contains(page, `name="`+name+`"`) {
			x.t.Fatalf("%s has no field %s", path, name)
		}
		form.Set(name, value)
	}
	x.presses += len(fields) + 1
	return x.post(path, form)
}

// on answers a page, and checks that it leads to the next one.
func (x *walker) on(path string, fields map[string]string, next string) {
	x.t.Helper()
	res := x.answer(path, fields)
	if to := res.Header().Get("Location"); res.Code != http.StatusSeeOther || to != next {
		x.t.Fatalf("%s is answered %d to %q:\n%s", path, res.Code, to, words(res.Body.String()))
	}
}

// TestFirstStart: it takes at most 25 presses on six pages from the setup code to a box that shares, with a cap.
func TestFirstStart(t *testing.T) {
	t.Parallel()
	x := newWalker(t)
	x.signIn()
	if _, at := x.open("/admin/"); at != "/admin/setup/centre" {
		t.Fatalf("a new box leads to %s", at)
	}
	x.on("/admin/setup/centre", map[string]string{
		"box.name": "Maison des Écluses", "centre.address": "3, quai du Lavoir", "centre.postcode": "71300", "centre.town": "Montceau",
		"centre.phone": "03 85 00 00 00",
	}, "/admin/setup/line")
	page, _ := x.open("/admin/setup/line")
	for _, want := range []string{"Internet marche ici, maintenant", "Rien n’est branché", "Internet ne répond pas", "192.168.1.34/24", "Étape 2 sur 6"} {
		if !strings.Contains(words(page), want) {
			t.Errorf("the lines do not say %q:\n%s", want, words(page))
		}
	}
	x.on("/admin/setup/line", map[string]string{"donation.name": "Fibre des Écluses"}, "/admin/setup/hotspot")
	x.on("/admin/setup/hotspot", nil, "/admin/setup/limits")
	x.on("/admin/setup/limits", map[string]string{"preset": "messages"}, "/admin/setup/summary")
	page, _ = x.open("/admin/setup/summary")
	for _, want := range []string{"Maison des Écluses", "200 Go", "Chaque mois", "200 Mo", "ouvert"} {
		if !strings.Contains(strings.ToLower(words(page)), strings.ToLower(want)) {
			t.Errorf("the summary does not say %q:\n%s", want, words(page))
		}
	}
	res := x.answer("/admin/setup/summary", nil)
	if res.Code != http.StatusOK || !strings.Contains(res.Body.String(), "Rejoignez le Wi\u2011Fi") {
		t.Fatalf("the end is answered %d:\n%s", res.Code, words(res.Body.String()))
	}
	if x.presses > 25 {
		t.Errorf("it took %d presses", x.presses)
	}
	t.Logf("%d presses", x.presses)

	c, err := config.Parse("", x.box.text)
	if err != nil {
		t.Fatal(err)
	}
	d := c.Donations[0]
	if c.Box.Name != "Maison des Écluses" || c.Centre.Postcode != "71300" || c.Hotspot.SSID != "Maison des Écluses" ||
		c.Hotspot.Interface != "wlan0" || c.Limits.Data != 200e6 || len(c.Donations) != 1 || d.Name != "Fibre des Écluses" ||
		d.Interface != "eth0" || d.Cap != 200e9 || d.Reserve != 2e9 || d.Period != "month" || d.Hours != nil {
		t.Errorf("the configuration is:\n%s", x.box.text)
	}
	if !bytes.Equal(x.box.text, config.Format(c)) {
		t.Error("the file is not the canonical one with comments")
	}
	if _, err := os.Stat(x.box.answers); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the answers remain: %v", err)
	}
	// The box now runs with the configuration.
	x.box.status = newFakeBox().status
	for path, want := range map[string]string{"/admin/setup": "/admin/", "/admin/setup/line": "/admin/setup/done", "/admin/setup/done": "/admin/setup/done"} {
		if page, at := x.open(path); at != want || path == "/admin/setup/done" && !strings.Contains(page, `href="/admin/poster"`) {
			t.Errorf("then %s leads to %s:\n%s", path, at, words(page))
		}
	}
}

// TestFirstStartOtherWays: a lender's Wi-Fi or phone, a wired hotspot, and own values.
func TestFirstStartOtherWays(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		machine               func(*fakeMachine)
		line, hotspot, limits map[string]string
		want                  func(*config.Config) bool
	}{
		"a lender's Wi-Fi": {
			line: map[string]string{
				"line": "wifi:wlan1", "donation.wifi.ssid": "Amina", "donation.wifi": lenderSecret, "donation.name": "Chez Amina", "plan": "prepaid",
			},
			hotspot: map[string]string{"door": "closed", "hotspot.password": hotspotSecret},
			want: func(c *config.Config) bool {
				d := c.Donations[0]
				return d.WiFi != nil && d.WiFi.SSID == "Amina" && d.WiFi.Passphrase == lenderSecret && d.Interface == "wlan1" &&
					d.Cap == 10e9 && d.Period == "once" && c.Hotspot.Password == hotspotSecret
			},
		},
		"a phone, and own limits": {
			line: map[string]string{
				"line": "phone:usb", "donation.name": "Téléphone", "plan": "own", "donation.cap": "1,5", "donation.period": "week", "donation.resets": "3",
			},
			limits: map[string]string{"preset": "own", "limits.data": "50"},
			want: func(c *config.Config) bool {
				d := c.Donations[0]
				return d.Interface == config.USB && d.Cap == 1.5e9 && d.Period == "week" && d.Resets == 3 && c.Limits.Data == 50e6
			},
		},
		"no radio": {
			machine: func(m *fakeMachine) { m.radios = nil },
			line:    map[string]string{"donation.name": "Fibre", "plan": "unlimited"},
			hotspot: map[string]string{"place": "wired:eth1"},
			want: func(c *config.Config) bool {
				return c.Hotspot.Radio == "none" && c.Hotspot.Interface == "eth1" && c.Donations[0].Cap == 0
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newWalker(t)
			if c.machine != nil {
				c.machine(&x.box.machine)
			}
			x.signIn()
			x.on("/admin/setup/centre", map[string]string{"box.name": "Le Lavoir"}, "/admin/setup/line")
			x.on("/admin/setup/line", c.line, "/admin/setup/hotspot")
			x.on("/admin/setup/hotspot", c.hotspot, "/admin/setup/limits")
			x.on("/admin/setup/limits", c.limits, "/admin/setup/summary")
			for _, s := range setupTitles[:5] { // no page shows secrets, and answering a page again keeps them
				page, _ := x.open("/admin/setup/" + s)
				for _, secret := range []string{lenderSecret, hotspotSecret} {
					if strings.Contains(page, secret) {
						t.Errorf("%s shows a secret", s)
					}
				}
				if i := slices.Index(setupTitles, s); i < 4 {
					x.on("/admin/setup/"+s, nil, "/admin/setup/"+setupTitles[i+1])
				}
			}
			if info, err := os.Stat(filepath.Join(x.box.answers, "answers.json")); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the answers' file: %v, %v", info.Mode(), err)
			}
			if x.answer("/admin/setup/summary", nil); x.presses > 50 || x.box.text == nil {
				t.Fatal("no configuration")
			}
			conf, err := config.Parse("", x.box.text)
			if err != nil || !c.want(conf) {
				t.Errorf("%v, the configuration is:\n%s", err, x.box.text)
			}
		})
	}
}

// TestRadioPluggedIn: without a radio the page says so, and a cable is used only if somebody chooses it. A radio that is plugged in
// and found on a second look is preselected, as it would have been at first.
func TestRadioPluggedIn(t *testing.T) {
	t.Parallel()
	x := newWalker(t)
	x.box.machine.radios, x.box.machine.lines = nil, newBoxes.lines[1:2] // a cable that is not plugged in
	x.signIn()
	x.on("/admin/setup/centre", map[string]string{"box.name": "Le Lavoir"}, "/admin/setup/line")
	x.on("/admin/setup/line", map[string]string{"donation.name": "Fibre", "again": "yes"}, "/admin/setup/line")
	x.box.machine.lines = newBoxes.lines
	x.on("/admin/setup/line", nil, "/admin/setup/hotspot")

	page, _ := x.open("/admin/setup/hotspot")
	if !strings.Contains(words(page), "ne trouve pas de puce Wi\u2011Fi") || !strings.Contains(page, `value="wired:eth1"`) {
		t.Errorf("without a radio it says:\n%s", words(page))
	}
	if res := x.answer("/admin/setup/hotspot", nil); res.Code != http.StatusUnprocessableEntity {
		t.Errorf("without a radio and without a choice: %d", res.Code)
	}
	x.on("/admin/setup/hotspot", map[string]string{"again": "yes"}, "/admin/setup/hotspot")
	x.box.machine.radios = []Radio{{Interface: "wlx0002fe012345"}}
	x.on("/admin/setup/hotspot", nil, "/admin/setup/limits")
	if _, c, err := x.server.answers().text(); err != nil || c.Hotspot.Interface != "wlx0002fe012345" || c.Hotspot.Radio != "hostapd" ||
		c.Donations[0].Interface != "eth0" {
		t.Errorf("the answers make %v, %+v", err, c)
	}
}

// TestByCable: a technician whose device is on the box's wired side does not have to join the new Wi-Fi.
func TestByCable(t *testing.T) {
	t.Parallel()
	x := walked(t)
	for _, starts := range []bool{false, true} {
		for _, cable := range []bool{false, true} {
			path := "/admin/setup/summary"
			if starts {
				x.box.text, x.box.status.State, path = config.Example(), state.Starting, "/admin/setup/done"
			}
			x.local = "10.80.0.1"
			if cable {
				x.local = "192.168.1.34"
			}
			page, _ := x.open(path)
			if again := strings.Contains(words(page), "Puis ouvrez à nouveau cette page"); again != starts {
				t.Errorf("%s, by cable %v, with a Wi-Fi to join otherwise:\n%s", path, cable, words(page))
			}
			if told := strings.Contains(words(page), "Vous êtes relié par un câble"); told != cable {
				t.Errorf("%s, by cable %v:\n%s", path, cable, words(page))
			}
		}
	}
}

// TestHalfWay: a technician who leaves finds the answers again, in another browser and after a restart of the box. Going back and
// looking for hardware again do not lose answers.
func TestHalfWay(t *testing.T) {
	t.Parallel()
	x := newWalker(t)
	x.signIn()
	x.on("/admin/setup/centre", map[string]string{"box.name": "Le Lavoir"}, "/admin/setup/line")
	if _, at := x.open("/admin/setup/limits"); at != "/admin/setup/line" {
		t.Errorf("a page too far leads to %s", at)
	}
	x.on("/admin/setup/line", map[string]string{"donation.name": "Fib", "again": "yes"}, "/admin/setup/line")
	x.on("/admin/setup/line", map[string]string{"donation.cap": "31", "plan": "own", "back": "yes"}, "/admin/setup/centre")

	other := &walker{technician: &technician{t: t, box: x.box, server: newServer(x.box, &bytes.Buffer{})}}
	if res := other.post("/admin/login", url.Values{"password": {password}}); res.Code != http.StatusSeeOther {
		t.Fatalf("another browser is answered %d", res.Code)
	}
	if _, at := other.open("/admin/"); at != "/admin/setup/line" && at != "/admin/setup/hotspot" {
		t.Errorf("it continues at %s", at)
	}
	page, _ := other.open("/admin/setup/line")
	if form := fieldsOf(t, page, "/admin/setup/line"); form.Get("donation.name") != "Fib" || form.Get("donation.cap") != "31" || form.Get("plan") != own {
		t.Errorf("it shows %v", form)
	}
	if page, _ = other.open("/admin/setup/centre"); !strings.Contains(page, "Le Lavoir") {
		t.Error("the centre's name is lost")
	}
	// With a damaged file the answers are lost, but the pages still work.
	if err := os.WriteFile(filepath.Join(x.box.answers, "answers.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	x.on("/admin/setup/centre", map[string]string{"box.name": "Le Lavoir"}, "/admin/setup/line")
}

// walked returns a walker who has reached the summary.
func walked(t *testing.T) *walker {
	x := newWalker(t)
	x.signIn()
	x.on("/admin/setup/centre", map[string]string{"box.name": "Le Lavoir"}, "/admin/setup/line")
	x.on("/admin/setup/line", map[string]string{"donation.name": "Fibre"}, "/admin/setup/hotspot")
	x.on("/admin/setup/hotspot", nil, "/admin/setup/limits")
	x.on("/admin/setup/limits", nil, "/admin/setup/summary")
	return x
}

// TestTwoAtFirstStart: if somebody else changes an answer after the summary was shown, the new summary is shown before it is used. A
// file that appears in the meantime is not overwritten.
func TestTwoAtFirstStart(t *testing.T) {
	t.Parallel()
	x := walked(t)
	page, _ := x.open("/admin/setup/summary")
	form := fieldsOf(t, page, "/admin/setup/summary")
	x.on("/admin/setup/limits", map[string]string{"preset": "video"}, "/admin/setup/summary")
	res := x.post("/admin/setup/summary", form)
	if res.Code != http.StatusConflict || !strings.Contains(res.Body.String(), "Une autre personne") || x.box.text != nil {
		t.Errorf("answers of somebody else are answered %d", res.Code)
	}
	form = fieldsOf(t, res.Body.String(), "/admin/setup/summary")
	x.box.configuration.text = nil
	x.box.full = nil
	byHand := config.Example()
	x.server.Configuration = &lateFile{configuration: &x.box.configuration, text: byHand}
	if res := x.post("/admin/setup/summary", form); res.Code != http.StatusSeeOther || res.Header().Get("Location") != adminPath {
		t.Errorf("with a file that appeared: %d", res.Code)
	}
	if !bytes.Equal(x.box.text, byHand) {
		t.Errorf("the file that appeared is now:\n%s", x.box.text)
	}
	if res := x.post("/admin/setup/centre", url.Values{"box.name": {"Autre"}}); res.Header().Get("Location") != "/admin/setup/done" {
		t.Errorf("then a page is answered %d to %s", res.Code, res.Header().Get("Location"))
	}
}

// lateFile is a configuration whose file appears just before it is written.
type lateFile struct {
	*configuration
	text []byte
}

func (l *lateFile) Apply(ctx context.Context, text []byte, r config.Revision, from config.Side) (config.Result, error) {
	l.configuration.text = l.text
	return l.configuration.Apply(ctx, text, r, from)
}

// TestFullDiskAtFirstStart: on a full disk nothing is lost, and a later try works.
func TestFullDiskAtFirstStart(t *testing.T) {
	t.Parallel()
	x := walked(t)
	x.box.full = fmt.Errorf("write configuration: %w", syscall.ENOSPC)
	if res := x.answer("/admin/setup/summary", nil); res.Code != http.StatusInternalServerError || !strings.Contains(res.Body.String(), "Rien n’a changé") {
		t.Errorf("a full disk is answered %d", res.Code)
	}
	x.box.full = nil
	if res := x.answer("/admin/setup/summary", nil); res.Code != http.StatusOK || x.box.text == nil {
		t.Errorf("the later try is answered %d", res.Code)
	}
	y := newWalker(t)
	y.signIn()
	if err := os.WriteFile(y.box.answers, nil, 0o600); err != nil { // no folder can be made there
		t.Fatal(err)
	}
	if res := y.answer("/admin/setup/centre", map[string]string{"box.name": "Le Lavoir"}); res.Code != http.StatusInternalServerError {
		t.Errorf("answers that cannot be kept are answered %d", res.Code)
	}
}

// TestHostileAnswers: whatever is sent, the page comes back with what is wrong. No input becomes markup or another key, and none
// causes a crash.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	for step, fields := range map[string][]string{
		"centre":  {"box.name", "centre.postcode", "centre.phone", "centre.hours", "centre.hours.mode", "centre.desk"},
		"line":    {"line", "plan", "donation.name", "donation.cap", "donation.cap.unit", "donation.period", "donation.download", "donation.hours.mode"},
		"hotspot": {"place", "door", "hotspot.ssid", "hotspot.password", "hotspot.country"},
		"limits":  {"preset", "limits.session", "limits.data", "limits.data.unit"},
	} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			x := walked(t)
			path := "/admin/setup/" + step
			page, _ := x.open(path)
			good := fieldsOf(t, page, path)
			for _, name := range fields {
				for _, value := range []string{
					"", "<script>alert(1)</script>", `"]` + "\n[hw]\nled=\"x", strings.Repeat("é", 5000), "own", "cable:", "radio:../x",
					"wired:eth0\"\nradio = \"x", "closed", "\x00", "a\xff", "week", "99999999999999999999", "-1", "NaN",
				} {
					form := url.Values{}
					for key, v := range good {
						form[key] = v
					}
					form.Set(name, value)
					form.Set("hw.led", value)
					res := x.post(path, form)
					switch res.Code {
					case http.StatusSeeOther, http.StatusUnprocessableEntity, http.StatusBadRequest:
					default:
						t.Errorf("%s = %.40q is answered %d", name, value, res.Code)
					}
					if strings.Contains(res.Body.String(), "<script") {
						t.Errorf("%s = %.40q is markup", name, value)
					}
					if text, c, err := x.server.answers().text(); err == nil && (c.Hardware != config.Hardware{} || len(c.Donations) != 1) {
						t.Errorf("%s = %.40q makes\n%s", name, value, text)
					}
				}
			}
			if res := x.post(path, good); res.Code != http.StatusSeeOther {
				t.Errorf("the good form is answered %d", res.Code)
			}
		})
	}
}

// TestWrongAnswers: a problem is beside its field, in words.
func TestWrongAnswers(t *testing.T) {
	t.Parallel()
	x := walked(t)
	file := filepath.Join(x.box.answers, "answers.json")
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		step   string
		fields map[string]string
		want   string
	}{
		{"centre", map[string]string{"box.name": " "}, "Donnez un nom"},
		{"centre", map[string]string{"centre.postcode": "abc"}, "ne peut pas accepter"},
		{"centre", map[string]string{"centre.hours.mode": "week"}, "le début et la fin"},
		{"line", map[string]string{"donation.name": ""}, "Donnez un nom"},
		{"line", map[string]string{"line": ""}, "par où arrive Internet"},
		{"line", map[string]string{"line": "wifi:wlan1"}, "le nom de ce Wi\u2011Fi"},
		{"line", map[string]string{"plan": "own", "donation.cap": "beaucoup"}, "ne peut pas accepter"},
		{"line", map[string]string{"plan": "own", "donation.period": "month", "donation.resets": "x"}, "un nombre entier"},
		{"hotspot", map[string]string{"door": "closed"}, "Donnez le mot de passe"},
		{"hotspot", map[string]string{"door": "closed", "hotspot.password": "court"}, "ne peut pas accepter"},
		{"hotspot", map[string]string{"hotspot.ssid": ""}, "ne peut pas accepter"},
		{"hotspot", map[string]string{"place": ""}, "Choisissez une réponse"},
		{"limits", map[string]string{"preset": "all"}, "Choisissez une réponse"},
		{"limits", map[string]string{"preset": "own", "limits.session": "9000"}, "ne peut pas accepter"},
	} {
		if err := os.WriteFile(file, good, 0o600); err != nil {
			t.Fatal(err)
		}
		res := x.answer("/admin/setup/"+c.step, c.fields)
		if text := words(res.Body.String()); res.Code != http.StatusUnprocessableEntity || !strings.Contains(text, c.want) || !strings.Contains(res.Body.String(), `class="problem"`) {
			t.Errorf("%s with %v is answered %d:\n%s", c.step, c.fields, res.Code, text)
		}
		if strings.Contains(res.Body.String(), `value="court"`) {
			t.Error("a wrong password is shown")
		}
		if _, at := x.open("/admin/setup"); at != "/admin/setup/"+c.step {
			t.Errorf("after a wrong answer on %s the first start continues at %s", c.step, at)
		}
	}
}

// TestNoLoop: whatever is answered, in whatever order, each page leads to a page. One that is not the summary says in words what to
// change there, and never offers to the hotspot what the uplink has.
func TestNoLoop(t *testing.T) {
	t.Parallel()
	eth, radio := newBoxes.lines[:2], newBoxes.radios[0]
	for name, m := range map[string]fakeMachine{
		"two radios, one cable": {lines: eth[:1], radios: []Radio{radio, {Interface: "wlan1"}}}, "no radio, two cables": {lines: eth},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newWalker(t)
			x.box.machine = m
			x.signIn()
			x.on("/admin/setup/centre", map[string]string{"box.name": "Le Lavoir"}, "/admin/setup/line")
			line, hotspot := startLine(x.server.answers(), seen{}), startHotspot(x.server.answers(), seen{})
			line.Set("donation.wifi.ssid", "Amina")
			if _, err := x.server.keep("limits", startLimits(nil, seen{})); err != nil {
				t.Fatal(err)
			}
			for _, uplink := range []string{
				"", "cable:eth0", "cable:eth1", "phone:usb", "wifi:wlan1", "wifi:usb", "cable:../x",
			} {
				for _, place := range []string{
					"", "radio:wlan0", "radio:wlan1", "wired:eth0", "wired:usb", "wired:../x",
				} {
					for _, country := range []string{"FR", ""} {
						line.Set("line", uplink)
						hotspot.Set("place", place)
						hotspot.Set("hotspot.country", country)
						_, err := x.server.keep("line", line)
						a, hotspotErr := x.server.keep("hotspot", hotspot)
						if err = errors.Join(err, hotspotErr); err != nil {
							t.Fatal(err)
						}
						what := fmt.Sprintf("%q, %q, %q", uplink, place, country)
						x.arrives(what, a)
					}
				}
			}
		})
	}
}

// arrives checks where the pages lead with the given answers, which are kept, and presses the button of that page.
func (x *walker) arrives(what string, a answers) {
	x.t.Helper()
	page, at := x.open("/admin/setup/summary")
	_, _, err := a.text()
	if at == "/admin/setup/summary" {
		if err != nil {
			x.t.Errorf("%s: the summary of what is refused: %v", what, err)
		}
		return
	}
	if _, uplink := a.uplink(); at == "/admin/setup/hotspot" && uplink != "" {
		for _, kind := range []string{"radio:", "wired:"} {
			if strings.Contains(page, `value="`+kind+uplink+`"`) {
				x.t.Errorf("%s: the hotspot is offered what the uplink has", what)
			}
		}
	}
	res := x.post(at, fieldsOf(x.t, page, at))
	to := res.Header().Get("Location")
	step := func(path string) int { return slices.Index(setupTitles, strings.TrimPrefix(path, "/admin/setup/")) }
	switch {
	case res.Code == http.StatusSeeOther && step(to) > step(at):
		x.open(to)
	case res.Code == http.StatusUnprocessableEntity && strings.Contains(res.Body.String(), `class="problem"`):
	default:
		x.t.Errorf("%s: %s is answered %d to %q:\n%s", what, at, res.Code, to, words(res.Body.String()))
	}
}

// TestTaken: if somebody goes back and gives the uplink what the hotspot has, the page of the hotspot says so at once, and chooses
// another radio. Both may be exchanged.
func TestTaken(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"fr", "en"} {
		x := walked(t)
		x.box.machine.radios = []Radio{newBoxes.radios[0], {Interface: "wlan1"}}
		said := map[string][]string{
			"fr": {"sert maintenant à la connexion prêtée", "à partager s’en sert", "Donnez le pays"},
			"en": {"is now used for the lent connection", "to share uses this", "Give the country"},
		}[code]
		see := func(step, want string) string {
			t.Helper()
			page := x.get("/admin/setup/" + step + "?lang=" + code).Body.String()
			if !strings.Contains(words(page), want) {
				t.Errorf("%s does not say %q:\n%s", step, want, words(page))
			}
			return page
		}
		x.on("/admin/setup/hotspot", map[string]string{"place": "radio:wlan1"}, "/admin/setup/limits")
		see("line", said[1])
		x.on("/admin/setup/line", map[string]string{"line": "wifi:wlan1", "donation.wifi.ssid": "Amina"}, "/admin/setup/hotspot")
		page := see("hotspot", said[0])
		if form := fieldsOf(t, page, "/admin/setup/hotspot"); form.Get("place") != "radio:wlan0" {
			t.Errorf("it chooses %q", form.Get("place"))
		}
		x.on("/admin/setup/hotspot", map[string]string{"place": "wired:eth0"}, "/admin/setup/limits")
		if res := x.answer("/admin/setup/hotspot", map[string]string{"hotspot.country": ""}); res.Code != http.StatusUnprocessableEntity {
			t.Errorf("without a country: %d", res.Code)
		}
		see("hotspot", said[2])
		x.on("/admin/setup/line", map[string]string{"line": "cable:eth0"}, "/admin/setup/hotspot")
		x.on("/admin/setup/hotspot", map[string]string{"place": "radio:wlan1", "hotspot.country": "FR"}, "/admin/setup/limits")
		if _, at := x.open("/admin/setup"); at != "/admin/setup/summary" {
			t.Errorf("it continues at %s", at)
		}
	}
}

// TestSetupPages: each page is complete and small in both languages, even without lines, radios and answers.
func TestSetupPages(t *testing.T) {
	t.Parallel()
	x := walked(t)
	for _, m := range []fakeMachine{newBoxes, {}, {err: errors.New("no netlink")}} {
		x.box.machine = m
		for _, s := range setupTitles[:5] {
			for _, code := range []string{"fr", "en"} {
				res := x.get("/admin/setup/" + s + "?lang=" + code)
				page := res.Body.String()
				if res.Code != http.StatusOK || len(page) > 60<<10 || !strings.Contains(page, "</html>") {
					t.Errorf("%s in %s is answered %d, %d bytes", s, code, res.Code, len(page))
				}
			}
		}
	}
	x.box.text = config.Example()
	for _, st := range []state.State{state.Starting, state.Fault, state.Paused, state.Closed, state.Exhausted, state.Offline, state.Sharing} {
		x.box.status = newFakeBox().status
		x.box.status.State, x.box.status.Why = st, "the cable of Fibre is unplugged"
		if page := x.get("/admin/setup/done").Body.String(); !strings.Contains(page, "</html>") {
			t.Errorf("the end in State %s:\n%s", st, page)
		}
	}
}
