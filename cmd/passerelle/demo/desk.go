package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"passerelle/appliance/state"
)

// Élise's phone as a network to lend, which she has lent before with another password. A namespace has no radio, so the box accepts the
// loan, but never hears the phone.
const (
	phoneName   = "Téléphone d’Élise"
	phoneSecret = "douze cerises"
	oldSecret   = "sept prunes"
	formerLoan  = `
[[donation]]
name = "` + phoneName + `"
interface = "wlan1"
wifi = { ssid = "` + phoneName + `", passphrase = "` + oldSecret + `" }
cap = "2GB"
period = "once"
priority = 3
`
)

// openDesk makes the technician choose a password, and the desk sign in with a code.
func (s *environment) openDesk(ctx context.Context) (string, error) {
	joining, cancel := context.WithTimeout(ctx, s.Limit)
	defer cancel()
	if _, err := s.desk.Join(joining); err != nil {
		return "", err
	}
	setup, err := s.daemon.SetupCode(ctx)
	if err != nil {
		return "", err
	}
	s.password = strings.ToLower(rand.Text()[:16])
	technician := s.browser(s.desk)
	if _, err := technician.post(ctx, "/admin/login", url.Values{"code": {setup}, "password": {s.password}}, http.StatusSeeOther); err != nil {
		return "", err
	}
	seen := "the setup code chose the technician's password:  " + s.screen.bold(s.password)
	said, err := s.daemon.Do(ctx, "desk", "code")
	code := regexp.MustCompile(`\b[0-9A-Z]{4}-[0-9A-Z]{4}\b`).FindString(said)
	if err == nil && code == "" {
		err = fmt.Errorf("passerelle desk code prints no code: %s", said)
	}
	if err != nil {
		return seen, err
	}
	s.staff = s.browser(s.desk)
	if _, err := s.staff.post(ctx, "/desk/login", url.Values{"code": {code}}, http.StatusSeeOther); err != nil {
		return seen, err
	}
	page, err := s.staff.get(ctx, "/desk", http.StatusOK)
	if err != nil {
		return seen, err
	}
	if _, err := s.staff.get(ctx, "/admin/settings", http.StatusForbidden); err != nil {
		return seen, err
	}
	return lines(seen, "passerelle desk code prints the desk's:  "+s.screen.bold(code),
		fmt.Sprintf("the desk's phone signs in: “%s”; the settings are not for it", title(page.body))), nil
}

// configuration returns the text of the box's configuration.
func (s *environment) configuration() (string, error) {
	text, err := os.ReadFile(s.daemon.Config)
	return string(text), err
}

// offerPhone sends the name and password of Élise's phone with the form, from that phone.
func (s *environment) offerPhone(ctx context.Context) (string, error) {
	err := s.daemon.Configure(boxConfig + formerLoan)
	if err == nil {
		_, err = s.daemon.Do(ctx, "reload")
	}
	if err != nil {
		return "", err
	}
	guide, err := s.get(ctx, s.elise.Host, s.portal()+"/lend?lang=en")
	if err == nil && guide.Status != http.StatusOK {
		err = fmt.Errorf("/lend answers %d", guide.Status)
	}
	if err != nil {
		return "", err
	}
	seen := fmt.Sprintf("/lend says how, in three steps: “%s”", title(guide.Body))
	her := s.browser(s.elise)
	if _, err := her.get(ctx, "/lend/phone", http.StatusOK); err != nil {
		return seen, err
	}
	sent, err := her.post(ctx, "/lend/phone", url.Values{
		"network": {phoneName}, "password": {phoneSecret}, "lender": {"Élise"}, "size": {"2000000000"}, "until": {"7"},
	}, http.StatusSeeOther)
	if err != nil {
		return seen, err
	}
	s.offer = sent.location
	wait, err := her.get(ctx, s.offer, http.StatusOK)
	if err != nil {
		return seen, err
	}
	text, err := s.configuration()
	if err == nil && (strings.Contains(text, phoneSecret) || strings.Contains(s.daemon.Log(), phoneSecret)) {
		err = errors.New("the password is on the disk, though nobody has accepted the loan")
	}
	return lines(seen, "she sends her phone's name and password, 2 GB, for a week; her page says:  “"+title(wait.body)+"”",
		"it waits in memory, for an hour at most; nothing is written"), err
}

// acceptPhone accepts Élise's phone at the desk.
func (s *environment) acceptPhone(ctx context.Context) (string, error) {
	id := s.offer[strings.LastIndex(s.offer, "/")+1:]
	start := time.Now()
	waits, err := s.staff.get(ctx, "/admin/loans", http.StatusOK)
	if err == nil && (!strings.Contains(waits.body, phoneName) || strings.Contains(waits.body, phoneSecret)) {
		err = errors.New("the desk does not see her phone, or sees its password")
	}
	if err != nil {
		return "", err
	}
	asked, err := s.staff.post(ctx, "/admin/loans/"+id, url.Values{"do": {"accept"}}, http.StatusConflict)
	if err != nil {
		return "", err
	}
	text, err := s.configuration()
	if err == nil && (!strings.Contains(asked.body, `value="same"`) || !strings.Contains(text, oldSecret)) {
		err = errors.New("a phone of a known name is not asked for, or the old password is gone")
	}
	if err != nil {
		return "", err
	}
	seen := "a phone of this name has lent before, with another password: the desk is asked whether it is the same one"
	accepted, err := s.staff.post(ctx, "/admin/loans/"+id, url.Values{"do": {"same"}}, http.StatusOK)
	if err != nil {
		return seen, err
	}
	seen = lines(seen, fmt.Sprintf("it is: “%s”, after %s", title(accepted.body), formatDuration(time.Since(start))))
	if text, err = s.configuration(); err == nil && (!strings.Contains(text, phoneSecret) || strings.Contains(text, oldSecret)) {
		err = errors.New("the new password is not written, or the old one stays")
	}
	if err != nil {
		return seen, err
	}
	loan, err := s.donation(ctx, phoneName)
	if err != nil {
		return seen, err
	}
	seen = lines(seen, "its line, in a namespace without a radio: "+loan.Why+" (make test-vm shows the rest)")
	again, err := s.staff.post(ctx, "/admin/loans/"+id, url.Values{"do": {"accept"}}, http.StatusConflict)
	if err != nil {
		return seen, err
	}
	return lines(seen, fmt.Sprintf("a second press changes nothing: “%s”", title(again.body))), nil
}

// stopPhone ends the loan of Élise's phone on her page, which she reaches from the form's page.
func (s *environment) stopPhone(ctx context.Context) (string, error) {
	her := s.browser(s.elise)
	page, err := her.get(ctx, s.offer, http.StatusOK)
	if err != nil {
		return "", err
	}
	mine := regexp.MustCompile(`href="(/lender/[a-z2-7]+)`).FindStringSubmatch(page.body)
	if mine == nil {
		return "", fmt.Errorf("her page does not lead to the loan's: “%s”", title(page.body))
	}
	seen := fmt.Sprintf("her phone says “%s”, and leads to her page", title(page.body))
	stopped, err := her.post(ctx, mine[1]+"/stop", nil, http.StatusOK)
	if err != nil {
		return seen, err
	}
	err = s.until(ctx, func() error {
		if _, err := s.donation(ctx, phoneName); err == nil {
			return errors.New("the loan is still there")
		}
		text, err := s.configuration()
		if err == nil && strings.Contains(text, phoneSecret) {
			err = errors.New("the configuration still has the phone's password")
		}
		return err
	})
	return lines(seen, fmt.Sprintf("she stops: “%s”; the box has forgotten the password", title(stopped.body))), err
}

// donation returns the donation of this name.
func (s *environment) donation(ctx context.Context, name string) (state.Donation, error) {
	status, err := s.daemon.Status(ctx)
	if err != nil {
		return state.Donation{}, err
	}
	for _, d := range status.Donations {
		if d.Name == name {
			return d, nil
		}
	}
	return state.Donation{}, fmt.Errorf("there is no loan %q", name)
}

// browser is a person's browser on the box's pages over https. It trusts the box's certificate, and keeps its cookie.
type browser struct {
	s      *environment
	who    person
	cookie *http.Cookie
}

func (s *environment) browser(who person) *browser { return &browser{s: s, who: who} }

// answer is what a page answers.
type answer struct{ body, location string }

func (b *browser) get(ctx context.Context, path string, want int) (answer, error) {
	return b.do(ctx, http.MethodGet, path, nil, want)
}

func (b *browser) post(ctx context.Context, path string, form url.Values, want int) (answer, error) {
	return b.do(ctx, http.MethodPost, path, form, want)
}

func (b *browser) do(ctx context.Context, method, path string, form url.Values, want int) (a answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, b.s.Limit)
	defer cancel()
	client := b.who.HTTPClient()
	defer client.CloseIdleConnections()
	client.Transport.(*http.Transport).TLSClientConfig = b.s.trust
	site := "https://" + b.s.conf.Box.Hostname
	q, err := http.NewRequestWithContext(ctx, method, site+path, strings.NewReader(form.Encode()))
	if err != nil {
		return a, err
	}
	q.Header.Set("Accept-Language", "en")
	if method == http.MethodPost {
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		q.Header.Set("Origin", site)
	}
	if b.cookie != nil {
		q.AddCookie(b.cookie)
	}
	reply, err := client.Do(q)
	if err != nil {
		return a, fmt.Errorf("%s: %w", path, err)
	}
	defer reply.Body.Close()
	for _, c := range reply.Cookies() {
		b.cookie = c
	}
	text, err := io.ReadAll(reply.Body)
	if a = (answer{string(text), reply.Header.Get("Location")}); err == nil && reply.StatusCode != want {
		err = fmt.Errorf("%s answers %d, not %d: “%s”", path, reply.StatusCode, want, title(a.body))
	}
	return a, err
}
