package admin

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/png"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rsc.io/qr"

	"passerelle/appliance/config"
	"passerelle/appliance/state"
	"passerelle/captive/admin/journal"
	"passerelle/captive/lend"
)

// secret is the password of the phones in these tests. No page or log may contain it.
const secret = "trois petits chats"

// lending is a desk, and the people who lend. Its log is kept, so that it can be searched for secrets.
type lending struct {
	*technician
	log   *bytes.Buffer
	pages bytes.Buffer // all that was answered
}

func newLending(t *testing.T) *lending {
	t.Helper()
	x := signedIn(t)
	l := &lending{technician: x, log: &bytes.Buffer{}}
	x.box.status.Hotspot.WiFi = &state.WiFi{SSID: "Partage de Co - Les Lilas"}
	x.box.content = RealContent(t.TempDir(), func(string) error { return nil }, func() time.Time { return noon })
	x.server = newServer(x.box, l.log)
	t.Cleanup(func() {
		if said := l.log.String() + l.pages.String(); strings.Contains(said, "petits") {
			t.Error("a page or the log has the password")
		}
	})
	return l
}

func (l *lending) keep(w *httptest.ResponseRecorder) *httptest.ResponseRecorder {
	l.pages.Write(w.Body.Bytes())
	return w
}

// offers sends a form from a lender's phone, without a login, and returns the path of the offer's page.
func (l *lending) offers(form url.Values, from string) (path string, page *httptest.ResponseRecorder) {
	l.t.Helper()
	r := httptest.NewRequest(http.MethodPost, "https://partage.internal"+lend.FormPath, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.RemoteAddr = from
	w := httptest.NewRecorder()
	l.server.ServeHTTP(w, r)
	l.keep(w)
	return w.Header().Get("Location"), w
}

var elises = url.Values{
	"network": {"iPhone d’Élise"}, "password": {secret}, "size": {"12000000000"}, "until": {"30"}, "lender": {"Élise"},
}

const elisesPhone = "10.80.0.42:40000"

// with returns a copy of a form with some values changed.
func with(form url.Values, pairs ...string) url.Values {
	other := url.Values{}
	for name, values := range form {
		other[name] = values
	}
	for i := 0; i < len(pairs); i += 2 {
		other.Set(pairs[i], pairs[i+1])
	}
	return other
}

// donated returns a donation of the box's configuration, or nil if there is none of that name.
func (l *lending) donated(name string) *config.Donation {
	c := l.parsed()
	if i := slices.IndexFunc(c.Donations, func(d config.Donation) bool { return d.Name == name }); i >= 0 {
		return &c.Donations[i]
	}
	return nil
}

// TestLendByForm: a lender's phone sends the form, the desk accepts with one press, and the lender gets the page of the loan.
func TestLendByForm(t *testing.T) {
	t.Parallel()
	l := newLending(t)
	path, _ := l.offers(elises, elisesPhone)
	waits := l.keep(l.get(path)).Body.String()
	offer := l.server.Offers.Waiting(noon)
	if len(offer) != 1 || !strings.Contains(waits, fmt.Sprintf(`<p class="ticket">%d</p>`, offer[0].Number)) || !strings.Contains(waits, `http-equiv="refresh"`) ||
		!strings.Contains(words(waits), "environ 24 heures de vidéo pour le centre") {
		t.Fatalf("%+v waits, and the phone shows %s", offer, words(waits))
	}
	if home := l.get("/admin/content").Body.String(); !strings.Contains(home, "prêt attend") {
		t.Error("the desk's pages do not say that a loan waits")
	}
	list := l.keep(l.get(loansPath)).Body.String()
	for _, want := range []string{"Élise", "iPhone d’Élise", fmt.Sprintf("Prêt n° %d", offer[0].Number), "quels sites s’ouvrent"} {
		if !strings.Contains(words(list), want) {
			t.Errorf("the desk does not read %q: %s", want, words(list))
		}
	}
	done := l.keep(l.post(loansPath+"/"+offer[0].ID, url.Values{"do": {"accept"}}))
	if done.Code != http.StatusOK || !strings.Contains(done.Body.String(), `<svg class="code`) {
		t.Fatalf("%d: %s", done.Code, words(done.Body.String()))
	}
	d := l.donated("Élise")
	if d == nil || d.WiFi.SSID != "iPhone d’Élise" || d.WiFi.Passphrase != secret || d.Cap != 12e9 || d.Period != "once" || d.Until != "2026-12-21" || d.Interface != "lend0" {
		t.Fatalf("the donation is %+v", d)
	}
	after := l.keep(l.get(path)).Body.String()
	_, rest, found := strings.Cut(after, `href="/lender/`)
	page, _, _ := strings.Cut(rest, `"`)
	if !found {
		t.Fatalf("the lender's phone shows %s", words(after))
	}
	if name, ok := l.box.Donation(hash(page)); !ok || name != "Élise" {
		t.Errorf("the link is of %q", name)
	}
	if n := len(l.server.Offers.Waiting(noon)); n != 0 {
		t.Errorf("%d offers wait", n)
	}
	if last := l.box.journal.all[len(l.box.journal.all)-1]; last.What != journal.LoanAccepted || last.By != config.RoleTechnician {
		t.Errorf("noted is %+v", last)
	}
}

// TestOfferedTwice: a loan is accepted only once, even if two desks accept it at the same time or its lender sends it repeatedly.
func TestOfferedTwice(t *testing.T) {
	t.Parallel()
	l := newLending(t)
	l.offers(elises, elisesPhone)
	id := l.server.Offers.Waiting(noon)[0].ID
	var wg sync.WaitGroup
	codes := make(chan int, 8)
	for range cap(codes) {
		wg.Go(func() {
			r := httptest.NewRequest(http.MethodPost, "https://partage.internal"+loansPath+"/"+id, strings.NewReader("do=accept"))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Sec-Fetch-Site", "same-origin")
			r.Header.Set("Cookie", cookie+"="+l.cookie)
			r.RemoteAddr = "10.80.0.23:40000"
			w := httptest.NewRecorder()
			l.server.ServeHTTP(w, r)
			codes <- w.Code
		})
	}
	wg.Wait()
	close(codes)
	accepted := 0
	for code := range codes {
		if code == http.StatusOK {
			accepted++
		} else if code != http.StatusConflict {
			t.Errorf("a desk is answered %d", code)
		}
	}
	if accepted != 1 || len(l.parsed().Donations) != 2 {
		t.Errorf("%d accepted, %d donations", accepted, len(l.parsed().Donations))
	}
	l.offers(with(elises, "lender", "Quelqu’un", "size", "50000000000"), "10.80.0.77:1")
	again := l.keep(l.post(loansPath+"/"+l.server.Offers.Waiting(noon)[0].ID, url.Values{"do": {"accept"}}))
	if again.Code != http.StatusOK || len(l.parsed().Donations) != 2 || l.donated("Élise").Cap != 12e9 {
		t.Errorf("the same phone a second time: %d, %+v", again.Code, l.parsed().Donations)
	}
}

// TestSameName: if a donation already lends a network of that name with another password, the desk is asked, and nothing is replaced
// before it answers.
func TestSameName(t *testing.T) {
	t.Parallel()
	l := newLending(t)
	accept := func(form url.Values, press ...string) *httptest.ResponseRecorder {
		t.Helper()
		l.offers(form, elisesPhone)
		id := l.server.Offers.Waiting(noon)[0].ID
		return l.keep(l.post(loansPath+"/"+id, with(url.Values{"do": {"accept"}}, press...)))
	}
	accept(elises)
	const other = "quatre petits chats"
	asked := accept(with(elises, "password", other))
	if asked.Code != http.StatusConflict || !strings.Contains(words(asked.Body.String()), "Demandez si c’est le même téléphone") || l.donated("Élise").WiFi.Passphrase != secret {
		t.Fatalf("%d: %s", asked.Code, words(asked.Body.String()))
	}
	id := l.server.Offers.Waiting(noon)[0].ID
	if res := l.keep(l.post(loansPath+"/"+id, url.Values{"do": {"same"}})); res.Code != http.StatusOK {
		t.Fatalf("%d: %s", res.Code, words(res.Body.String()))
	}
	if d := l.donated("Élise"); d.WiFi.Passphrase != other || d.Cap != 12e9 || len(l.parsed().Donations) != 2 {
		t.Errorf("as the same phone it is %+v", d)
	}
	form := with(elises, "password", "cinq petits chats", "lender", "Élise")
	accept(form)
	id = l.server.Offers.Waiting(noon)[0].ID
	if res := l.keep(l.post(loansPath+"/"+id, with(form, "do", "accept", "another", "yes", "password", ""))); res.Code != http.StatusOK {
		t.Fatalf("%d: %s", res.Code, words(res.Body.String()))
	}
	if d := l.donated("Élise 2"); d == nil || d.WiFi.Passphrase != "cinq petits chats" || d.Interface != "lend1" || l.donated("Élise").WiFi.Passphrase != other {
		t.Errorf("as another phone it is %+v", d)
	}
}

// TestHostileOffers: a device can have one offer, and its tries are rate-limited. Devices that make up addresses can fill only the
// places of phones' offers; the desk's own places stay free.
func TestHostileOffers(t *testing.T) {
	t.Parallel()
	l := newLending(t)
	for range 40 {
		l.offers(elises, "10.80.0.66:1")
	}
	if n := len(l.server.Offers.Waiting(noon)); n != 1 {
		t.Errorf("%d offers of one device wait", n)
	}
	if _, res := l.offers(elises, "10.80.0.66:1"); res.Code != http.StatusTooManyRequests {
		t.Errorf("its next is answered %d", res.Code)
	}
	for i := range 200 {
		l.offers(elises, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 80, 1, byte(i)}), 1).String())
	}
	_, full := l.offers(elises, elisesPhone)
	if full.Code != http.StatusUnprocessableEntity || !strings.Contains(words(full.Body.String()), "Allez à l’accueil") {
		t.Errorf("when all places are taken: %d", full.Code)
	}
	res := l.post(loansPath+"/text", url.Values{"network": {"Chez Karim"}, "password": {secret}})
	if res.Code != http.StatusSeeOther {
		t.Errorf("the desk is answered %d", res.Code)
	}
	for _, bad := range []url.Values{
		with(elises, "network", ""), with(elises, "network", strings.Repeat("é", 17)), with(elises, "password", "court"),
		with(elises, "password", "mot de passé"), with(elises, "password", ""), with(elises, "size", "1"), with(elises, "until", "999"),
		with(elises, "network", "Partage de Co - Les Lilas"), {},
	} {
		if _, res := l.offers(bad, "10.80.2.1:1"); res.Code != http.StatusUnprocessableEntity && res.Code != http.StatusTooManyRequests {
			t.Errorf("%v is answered %d", bad, res.Code)
		}
	}
	r := httptest.NewRequest(http.MethodPost, "https://partage.internal"+lend.FormPath, strings.NewReader(elises.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	w := httptest.NewRecorder()
	if l.server.ServeHTTP(w, r); w.Code != http.StatusForbidden {
		t.Errorf("a form of another site is answered %d", w.Code)
	}
	for _, path := range []string{loansPath, loansPath + "/x", loansPath + "/cable"} {
		if res := ask(t, l.server, "GET "+path); res.StatusCode != http.StatusSeeOther {
			t.Errorf("without a login %s is answered %d", path, res.StatusCode)
		}
	}
}

// sendsPhoto sends a photo as the desk's browser does.
func (l *lending) sendsPhoto(photo []byte) *httptest.ResponseRecorder {
	l.t.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	w, err := m.CreateFormFile("file", "photo.png")
	if err == nil {
		_, err = w.Write(photo)
	}
	if err = errors.Join(err, m.Close()); err != nil {
		l.t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "https://partage.internal"+loansPath+"/photo", &b)
	r.Header.Set("Content-Type", m.FormDataContentType())
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return l.keep(l.send(r))
}

// codeOf returns a picture of a QR code.
func codeOf(t *testing.T, text string) []byte {
	t.Helper()
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		t.Fatal(err)
	}
	code.Scale = 6
	return code.PNG()
}

// TestLendByPhoto: the desk photographs the code, chooses how much and until when, and accepts. A photo without a phone's code is
// refused with an explanation.
func TestLendByPhoto(t *testing.T) {
	t.Parallel()
	l := newLending(t)
	res := l.sendsPhoto(codeOf(t, "WIFI:T:WPA;S:iPhone d’Élise;P:"+secret+";;"))
	path := res.Header().Get("Location")
	if res.Code != http.StatusSeeOther {
		t.Fatalf("%d: %s", res.Code, words(res.Body.String()))
	}
	page := l.keep(l.get(path)).Body.String()
	form := fieldsOf(t, page, path)
	if res := l.keep(l.post(path, with(form, "do", "accept"))); res.Code != http.StatusOK {
		t.Fatalf("%d: %s", res.Code, words(res.Body.String()))
	}
	if d := l.donated("iPhone d’Élise"); d == nil || d.Cap != lend.UsualSize || d.Until != "2026-12-21" {
		t.Errorf("the donation is %+v", d)
	}
	var large bytes.Buffer
	var wall bytes.Buffer
	if err := errors.Join(png.Encode(&large, image.NewGray(image.Rect(0, 0, 8160, 6144))), png.Encode(&wall, image.NewGray(image.Rect(0, 0, 640, 480)))); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		photo []byte
		want  string
	}{
		"another kind":     {codeOf(t, "https://www.example.fr/menu"), "n’est pas celui d’un partage"},
		"the box's own":    {codeOf(t, "WIFI:T:WPA;S:Partage de Co - Les Lilas;P:"+secret+";;"), "C’est le Wi‑Fi de la box"},
		"an open network":  {codeOf(t, "WIFI:T:nopass;S:Café;;"), "n’a pas de mot de passe"},
		"a company's":      {codeOf(t, "WIFI:T:WPA2-EAP;S:Mairie;P:"+secret+";E:PEAP;;"), "demande un nom d’utilisateur"},
		"without its end":  {codeOf(t, "WIFI:T:WPA;S:iPhone"), "n’est pas entier"},
		"50 MP":            {large.Bytes(), "trop grande"},
		"a wall, no code":  {wall.Bytes(), "ne voit pas de code QR"},
		"10 MB and a byte": {make([]byte, lend.MaxPhoto+1), "trop grande"},
		"nothing":          {nil, "ne peut pas être lue"},
		"a text":           {[]byte("trois"), "ne peut pas être lue"},
	} {
		res := l.sendsPhoto(c.photo)
		if !strings.Contains(words(res.Body.String()), c.want) || res.Code == http.StatusOK {
			t.Errorf("%s: %d, %s", name, res.Code, words(res.Body.String()))
		}
	}
	if n := len(l.parsed().Donations); n != 2 {
		t.Errorf("%d donations", n)
	}
	text := l.keep(l.post(loansPath+"/text", url.Values{"network": {" « WIFI:T:WPA;S:Chez Karim;P:" + secret + ";; »"}}))
	if text.Code != http.StatusSeeOther {
		t.Errorf("the code's text is answered %d", text.Code)
	}
	if wrong := l.keep(l.post(loansPath+"/text", url.Values{"network": {"Chez Karim"}})); wrong.Code != http.StatusUnprocessableEntity {
		t.Errorf("no password is answered %d", wrong.Code)
	}
}

// TestLendByCable: a phone on a cable that belongs to no donation is listed, and one press accepts it. A phone that is lent is not
// listed. When that loan is over, the next phone is listed.
func TestLendByCable(t *testing.T) {
	t.Parallel()
	l := newLending(t)
	l.box.nearby.phones = []lend.Plugged{{Interface: "usb0", Works: true}}
	if page := words(l.keep(l.get(loansPath)).Body.String()); !strings.Contains(page, "Un téléphone est branché") {
		t.Errorf("the desk reads %s", page)
	}
	form := fieldsOf(t, l.keep(l.get(loansPath+"/cable")).Body.String(), loansPath+"/cable")
	if res := l.keep(l.post(loansPath+"/cable", with(form, "lender", "Élise"))); res.Code != http.StatusOK {
		t.Fatalf("%d: %s", res.Code, words(res.Body.String()))
	}
	if d := l.donated("Élise"); d == nil || d.Interface != config.USB || d.WiFi != nil || d.Until != "2026-12-21" {
		t.Fatalf("the donation is %+v", d)
	}
	if page := words(l.get(loansPath).Body.String()); strings.Contains(page, "Un téléphone est branché") {
		t.Error("a phone that is lent waits")
	}
	if res := l.post(loansPath+"/cable", form); res.Code != http.StatusConflict {
		t.Errorf("a second press is answered %d", res.Code)
	}
	l.box.change(func(s *state.Status, _ *state.Donation) {
		s.Donations = append(s.Donations, state.Donation{Name: "Élise", Ended: true, Until: state.DateOf(noon)})
	})
	if res := l.keep(l.post(loansPath+"/cable", with(form, "lender", "Karim"))); res.Code != http.StatusOK {
		t.Fatalf("%d: %s", res.Code, words(res.Body.String()))
	}
	if d, before := l.donated("Karim"), l.donated("Élise"); d == nil || d.Interface != config.USB || before.Interface != "lend0" {
		t.Errorf("the donations are %+v and %+v", d, before)
	}
}

// TestHeardOffers: the desk sees networks that carry the configured name, but not the box's own, those of donations, or others.
func TestHeardOffers(t *testing.T) {
	t.Parallel()
	l := newLending(t)
	l.box.nearby.networks = []lend.Heard{
		{Name: "Partage de Co", Strong: true}, {Name: "partage de co Élise"}, {Name: "Partage de Co - Les Lilas"}, {Name: "Partage de Compagnons"}, {Name: "Freebox"},
	}
	page := words(l.get(loansPath).Body.String())
	if strings.Count(page, "Quelqu’un propose de prêter") != 2 || strings.Contains(page, "Compagnons") || l.box.nearby.listened != 0 {
		t.Errorf("the desk reads %s; it listened %d times", page, l.box.nearby.listened)
	}
	l.box.nearby.networks = nil
	if page := words(l.post(loansPath+"/listen", nil).Body.String()); l.box.nearby.listened != 1 || !strings.Contains(page, "n’en voit aucun") {
		t.Errorf("after a press: %d, %s", l.box.nearby.listened, page)
	}
	l.box.nearby.err = errors.New("the radio is gone")
	if res := l.post(loansPath+"/listen", nil); res.Code != http.StatusOK || !strings.Contains(words(res.Body.String()), "n’a pas pu chercher") {
		t.Errorf("without a radio: %d", res.Code)
	}
}

// TestLoanNotLost: on a full disk nothing is changed, and the offer still waits. A refused offer is gone, and so is its password.
func TestLoanNotLost(t *testing.T) {
	t.Parallel()
	l := newLending(t)
	path, _ := l.offers(elises, elisesPhone)
	id := l.server.Offers.Waiting(noon)[0].ID
	l.box.full = fmt.Errorf("write configuration: %w", syscall.ENOSPC)
	if res := l.keep(l.post(loansPath+"/"+id, url.Values{"do": {"accept"}})); res.Code == http.StatusOK || len(l.parsed().Donations) != 1 {
		t.Errorf("on a full disk it is answered %d", res.Code)
	}
	l.box.full = nil
	l.box.err = syscall.ENOSPC // storing the link fails
	if res := l.keep(l.post(loansPath+"/"+id, url.Values{"do": {"accept"}})); res.Code != http.StatusOK || l.donated("Élise") == nil {
		t.Errorf("without a link: %d: %s", res.Code, words(res.Body.String()))
	}
	l.box.err = nil
	if page := l.get(path); page.Code != http.StatusOK {
		t.Errorf("the lender's phone: %d", page.Code)
	}
	_, _ = l.offers(with(elises, "network", "Chez Karim", "lender", ""), "10.80.0.50:1")
	id = l.server.Offers.Waiting(noon)[0].ID
	if res := l.keep(l.post(loansPath+"/"+id, url.Values{"do": {"refuse"}})); res.Code != http.StatusOK || len(l.parsed().Donations) != 2 {
		t.Errorf("refused: %d", res.Code)
	}
	if res := l.post(loansPath+"/"+id, url.Values{"do": {"accept"}}); res.Code != http.StatusConflict {
		t.Errorf("accepted after that: %d", res.Code)
	}
	for _, form := range []url.Values{{}, {"do": {"x"}}} {
		if res := l.post(loansPath+"/"+id, form); res.Code != http.StatusBadRequest {
			t.Errorf("%v is answered %d", form, res.Code)
		}
	}
}

// TestUntimedLoan: a box that does not know the date asks for a last day as a date, and offers no duration from today.
func TestUntimedLoan(t *testing.T) {
	t.Parallel()
	l := newLending(t)
	l.box.status.Clock.Trusted = false
	page := l.get(lend.FormPath).Body.String()
	if strings.Contains(page, `name="until"`) || !strings.Contains(page, `type="date" name="date"`) {
		t.Error("the form offers spans")
	}
	if _, res := l.offers(elises, elisesPhone); res.Code != http.StatusUnprocessableEntity {
		t.Errorf("a span is answered %d", res.Code)
	}
	path, _ := l.offers(with(elises, "until", "", "date", "2026-12-31"), elisesPhone)
	if o := l.server.Offers.Waiting(noon); path == "" || len(o) != 1 || o[0].Until != "2026-12-31" {
		t.Errorf("waiting is %+v", o)
	}
}

// TestThanks: after the last day the lender's page says thank you, and what the loan gave. While the date is unknown it says so.
func TestThanks(t *testing.T) {
	t.Parallel()
	l := newLending(t)
	l.box.change(func(_ *state.Status, d *state.Donation) {
		d.Ended, d.Open, d.Until = true, false, state.DateOf(noon.AddDate(0, 0, -1))
		d.Period, d.Used, d.Days = "once", 12e9, nil
	})
	page := words(l.get(lenderPath + token).Body.String())
	for _, want := range []string{"Merci pour votre prêt", "12 gigaoctets", "environ 24 heures", "20 novembre", "a oublié le mot de passe"} {
		if !strings.Contains(strings.ReplaceAll(page, "\u00a0", " "), want) {
			t.Errorf("no %q in %s", want, page)
		}
	}
	l.box.change(func(s *state.Status, d *state.Donation) { d.Ended, d.Undated, s.Clock.Trusted = false, true, false })
	if page := words(l.get(lenderPath + token).Body.String()); !strings.Contains(page, "ne connaît pas encore la date") {
		t.Errorf("before the date is known: %s", page)
	}
}

// TestCodesHaveWords: the desk's page has words for each fault of a QR code, in each of its languages.
func TestCodesHaveWords(t *testing.T) {
	t.Parallel()
	said := map[string]string{}
	for _, lang := range strings.Fields("fr en ar es pt uk") {
		for _, fault := range config.QRFaults {
			text, err := lenderCatalog.Language(lang).Message("lend.cannot." + string(fault))
			if err != nil || strings.Contains(text, "{") {
				t.Errorf("%s: %s: %q, %v", lang, fault, text, err)
			}
			if other, again := said[text]; again {
				t.Errorf("%s: %s says what %s says", lang, fault, other)
			}
			said[text] = string(fault)
		}
	}
}

// TestLoansInAllLanguages: every page for lenders and the desk is complete in each language.
func TestLoansInAllLanguages(t *testing.T) {
	t.Parallel()
	l := newLending(t)
	l.box.offers = "fr en ar es pt uk"
	l.offers(elises, elisesPhone)
	for _, code := range strings.Fields(l.box.offers) {
		for _, path := range []string{lend.FormPath, loansPath, loansPath + "/" + l.server.Offers.Waiting(noon)[0].ID} {
			if page := l.get(path + "?lang=" + code).Body.String(); !strings.Contains(page, `<html lang="`+code+`"`) {
				t.Errorf("%s is not in %s", path, code)
			}
		}
	}
}
