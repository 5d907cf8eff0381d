package admin

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/state"
	"passerelle/captive/admin/journal"
	"passerelle/captive/lend"
	"passerelle/captive/poster"
	"passerelle/captive/web"
)

// Nearby finds connections that could be lent. Its methods are safe for concurrent use.
type Nearby interface {
	// Phones returns the phones on USB cables that can be an uplink.
	Phones() ([]lend.Plugged, error)
	// Networks returns the Wi-Fi networks whose SSID matches named and which the radios have heard in the last seconds, strongest
	// first. With listen, radios that serve nobody scan first, for some seconds.
	Networks(ctx context.Context, named func(ssid string) bool, listen bool) ([]lend.Heard, error)
}

// lenderCatalog has the words of lenders' pages in all languages. The desk's pages of loans use it, too.
var lenderCatalog = web.NewCatalog(lend.Words())

const loansPath = "/admin/loans"

// Rate limit on the offers of a device, and the size limit of the form.
const (
	offerBurst = 5
	offerEvery = time.Minute
	maxOffer   = 8 << 10 // bytes
)

// lendRoutes are the pages to offer a loan from the lender's own phone. They need no login.
var lendRoutes = map[string]func(*Server, http.ResponseWriter, *request){
	"GET " + lend.Path:               (*Server).residents,
	"GET " + lend.FormPath:           (*Server).offerForm,
	"POST " + lend.FormPath:          (*Server).offer,
	"GET " + lend.FormPath + "/{id}": (*Server).offered,
}

// loanRoutes are the desk's pages of loans.
var loanRoutes = map[string]techHandler{
	"GET " + loansPath:              (*Server).loans,
	"POST " + loansPath + "/photo":  (*Server).loanPhoto,
	"POST " + loansPath + "/text":   (*Server).loanText,
	"POST " + loansPath + "/listen": (*Server).loansListen,
	"GET " + loansPath + "/cable":   (*Server).cableLoan,
	"POST " + loansPath + "/cable":  (*Server).acceptCable,
	"GET " + loansPath + "/{id}":    (*Server).waitingLoan,
	"POST " + loansPath + "/{id}":   (*Server).answerLoan,
}

// now returns the time in the box's zone, and whether the clock is trusted.
func (s *Server) now(r *request) (t time.Time, known bool) {
	return r.Now, s.Box.Status().Clock.Trusted
}

// offerForm shows the form on the lender's own phone.
func (s *Server) offerForm(w http.ResponseWriter, r *request) {
	s.showOfferForm(w, r, url.Values{}, nil, http.StatusOK)
}

func (s *Server) showOfferForm(w http.ResponseWriter, r *request, form url.Values, problems []string, status int) {
	now, known := s.now(r)
	s.serve(w, r, lend.FormPage{
		Frame: r.Frame(lend.FormPath, r.Words.T("lend.form-title")), Terms: lend.NewTerms(r.Words, form, now, known),
		Network: form.Get(lend.NetworkField), Problems: problems,
	}, status)
}

// offer queues what a lender's phone sends, for the desk to accept or refuse.
func (s *Server) offer(w http.ResponseWriter, r *request) {
	if !web.FromOurPages(r.Request.Request) {
		s.refuseLoan(w, r, http.StatusForbidden)
		return
	}
	form, err := r.ReadForm(w, maxOffer)
	if err != nil {
		s.refuseLoan(w, r, http.StatusBadRequest)
		return
	}
	if _, ok := s.offering.Take(r.Client, s.Now()); !ok {
		w.Header().Set("Retry-After", "60")
		s.showOfferForm(w, r, form, []string{"often"}, http.StatusTooManyRequests)
		return
	}
	now, known := s.now(r)
	o := lend.Offer{Way: lend.ByForm}
	problems := lend.ReadTerms(form, &o, now, known)
	network, wrong := s.typedNetwork(form.Get(lend.NetworkField), form.Get(lend.SecretField))
	if wrong != "" {
		problems = append([]string{wrong}, problems...)
	}
	if problems == nil {
		if o, err = s.Offers.Add(o, network, r.Client, s.Now()); err == nil {
			r.Lead(w, http.StatusSeeOther, lend.FormPath+"/"+o.ID)
			return
		}
		problems = []string{"full"}
	}
	s.showOfferForm(w, r, form, problems, http.StatusUnprocessableEntity)
}

// refuseLoan says that a request did not come from our pages, or has no readable form.
func (s *Server) refuseLoan(w http.ResponseWriter, r *request, status int) {
	w.Header().Set("Connection", "close")
	s.serve(w, r, web.Notice{
		Frame: r.Frame(lend.FormPath, r.Words.T("refused.title")), Pictogram: "fault", Lines: r.Words.Lines("lender.refused"), Retry: true,
	}, status)
}

// typedNetwork parses a network that somebody typed. wrong is a word for what is wrong with it, "" for nothing.
func (s *Server) typedNetwork(name, password string) (n lend.Network, wrong string) {
	name = strings.TrimSpace(name)
	if _, err := config.ParseSSID(name); err != nil {
		name = strings.ReplaceAll(name, `\`, `\\`) // people type a backslash unescaped
	}
	ssid, err := config.ParseSSID(name)
	if err != nil {
		return n, "network"
	}
	if s.ownNetwork(ssid) {
		return n, "own"
	}
	wifi, err := config.ParseLentWiFi(name, password)
	if err != nil {
		return n, "password"
	}
	return lend.Network{SSID: wifi.SSID.String(), Passphrase: wifi.Passphrase}, ""
}

// ownNetwork reports whether a network is the box's own.
func (s *Server) ownNetwork(ssid config.SSID) bool {
	own := s.Box.Status().Hotspot.WiFi
	return own != nil && own.SSID == string(ssid)
}

// offered shows the state of an offer to the phone that sent it.
func (s *Server) offered(w http.ResponseWriter, r *request) {
	o, ok := s.Offers.Find(r.PathValue("id"), s.Now())
	path := lend.FormPath + "/" + r.PathValue("id")
	if !ok {
		s.serve(w, r, web.Notice{
			Frame: r.Frame(lend.FormPath, r.Words.T("lend.gone-title")), Pictogram: "clock", Lines: r.Words.Lines("lend.gone"),
			To: &web.Link{Href: lend.FormPath, Text: r.Words.T("lend.again")},
		}, http.StatusNotFound)
		return
	}
	title := "lend.wait-title"
	if o.Answer != "" {
		title = "lend." + string(o.Answer) + "-title"
	}
	p := lend.WaitPage{Frame: r.Frame(path, r.Words.T(title)), Offer: o}
	if o.Answer == "" {
		if !r.URL.Query().Has("hold") {
			p.Refresh = 5
		}
		p.Means, p.Day = lend.Means(r.Words, o.Cap), dayIn(r.Words, o.Until)
	}
	s.serve(w, r, p, http.StatusOK)
}

// dayIn formats a day; "" for none.
func dayIn(w *web.Words, day string) string {
	t := config.Day(day).Time()
	if t.IsZero() {
		return ""
	}
	return w.Day(t)
}

// deskRequest switches a request to the languages of lenders' pages, which are all languages that the box offers.
func (s *Server) deskRequest(r *request) {
	r.Head = &s.current().lenders
	r.Negotiate()
}

// deskUp returns a link back to a page.
func deskUp(w *web.Words, path string) web.Link { return web.Link{Href: path, Text: w.T("lend.up")} }

// loansTile is the desk's link to the loans. It uses the words of lenders' pages, which are in all languages.
func (s *Server) loansTile(r *request) (t deskTile, shown bool) {
	words := lenderCatalog.Language(r.Words.Code)
	t.Door = web.Door{Href: loansPath, Pictogram: "lend", Title: words.T("lend.desk-title"), Text: words.T("lend.none")}
	if waiting := s.Offers.Waiting(s.Now()); len(waiting) > 0 {
		t.Text, t.Waits = words.T("lend.number", "number", strconv.Itoa(waiting[0].Number)), true
	}
	return t, true
}

// loans lists the offers that wait for an answer.
func (s *Server) loans(w http.ResponseWriter, r *request) {
	s.deskRequest(r)
	s.showLoans(w, r, lend.DeskPage{}, http.StatusOK)
}

// showLoans completes and serves the list.
func (s *Server) showLoans(w http.ResponseWriter, r *request, p lend.DeskPage, status int) {
	web.Yield(r.Request.Request)
	words := r.Words
	p.Frame, p.Up = r.Frame(loansPath, words.T("lend.desk-title")), deskUp(words, s.contentUp(r).Href)
	for _, o := range s.Offers.Waiting(s.Now()) {
		c := lend.OfferCard{Offer: o, Since: words.T("lend.since", "when", words.When(o.At.In(r.Now.Location()), r.Now)), Day: dayIn(words, o.Until)}
		if o.Cap > 0 {
			c.Means = lend.Means(words, o.Cap)
		}
		p.Waiting = append(p.Waiting, c)
	}
	c := s.lendable()
	if c == nil {
		s.serve(w, r, p, status)
		return
	}
	p.Plugged = s.plugged(c)
	if p.Offers = c.Lend.Name.String(); p.Offers != "" {
		var err error
		if p.Heard, err = s.heard(r.Context(), c, p.Listened); err != nil {
			s.Log.Warn("look for networks that offer to lend", "err", err)
			if p.Listened && p.Problem == "" {
				p.Problem = "listen"
			}
		}
	}
	s.serve(w, r, p, status)
}

// lendable returns the configuration, or nil if there is no valid one to add loans to.
func (s *Server) lendable() *config.Config {
	text, _, err := s.Configuration.Read()
	if err != nil || text == nil {
		return nil
	}
	c, err := config.Parse(fileName, text)
	if err != nil {
		return nil
	}
	return c
}

// over returns a function that reports whether a donation is over: its last day has passed, or its cap never resets and is spent.
func (s *Server) over() func(config.Donation) bool {
	box := s.Box.Status()
	return func(d config.Donation) bool {
		i := slices.IndexFunc(box.Donations, func(x state.Donation) bool { return x.Name == d.Name })
		return i >= 0 && (box.Donations[i].Ended || d.Period == "once" && d.Cap > 0 && box.Donations[i].Spent && !box.Donations[i].Lost)
	}
}

// plugged returns the phones on cables that belong to no donation.
func (s *Server) plugged(c *config.Config) []lend.Plugged {
	all, err := s.Nearby.Phones()
	if err != nil {
		s.Log.Warn("look for phones on cables", "err", err)
		return nil
	}
	over := s.over()
	return slices.DeleteFunc(all, func(p lend.Plugged) bool {
		return slices.ContainsFunc(c.Donations, func(d config.Donation) bool {
			return (d.Interface == config.USB || d.Interface == p.Interface) && !over(d)
		})
	})
}

// heard returns the networks in range that offer to lend. Their SSID is the configured name, or begins with it and a space. The
// box's own network and those of donations are left out.
func (s *Server) heard(ctx context.Context, c *config.Config, listen bool) ([]lend.Heard, error) {
	over := s.over()
	return s.Nearby.Networks(ctx, func(ssid string) bool {
		name := string(c.Lend.Name)
		begins := len(ssid) >= len(name) && strings.EqualFold(ssid[:len(name)], name) && (len(ssid) == len(name) || ssid[len(name)] == ' ')
		return begins && ssid != c.Hotspot.SSID && c.LentAs(config.SSID(ssid), over) == nil
	}, listen)
}

// loansListen makes the radios scan for networks that offer to lend, and shows the list.
func (s *Server) loansListen(w http.ResponseWriter, r *request) {
	s.deskRequest(r)
	if status := web.CheckPOST(w, r.Request.Request); status != http.StatusOK {
		s.refuseLoan(w, r, status)
		return
	}
	s.showLoans(w, r, lend.DeskPage{Listened: true}, http.StatusOK)
}

// loanPhoto reads the QR code on a photo, and adds its network as an offer whose terms the desk then chooses.
func (s *Server) loanPhoto(w http.ResponseWriter, r *request) {
	s.deskRequest(r)
	up, err := r.ReadUpload(w, lend.MaxPhoto+maxForm)
	var photo []byte
	if err == nil {
		photo, err = io.ReadAll(io.LimitReader(up.File, lend.MaxPhoto+1))
		if err == nil && len(photo) > lend.MaxPhoto {
			err = &http.MaxBytesError{Limit: lend.MaxPhoto}
		}
		if err != nil {
			up.Discard()
		}
	}
	var large *http.MaxBytesError
	switch {
	case r.Context().Err() != nil:
		return
	case errors.As(err, &large):
		w.Header().Set("Connection", "close")
		s.showLoans(w, r, lend.DeskPage{Problem: "large"}, http.StatusRequestEntityTooLarge)
		return
	case errors.Is(err, web.ErrNoFile):
		s.showLoans(w, r, lend.DeskPage{Problem: "no-file"}, http.StatusUnprocessableEntity)
		return
	case err != nil:
		s.refuseLoan(w, r, http.StatusBadRequest)
		return
	}
	web.Yield(r.Request.Request)
	text, err := lend.ReadCode(photo)
	switch {
	case errors.Is(err, lend.ErrReading):
		s.showLoans(w, r, lend.DeskPage{Problem: "reading"}, http.StatusServiceUnavailable)
	case errors.Is(err, lend.ErrLarge):
		s.showLoans(w, r, lend.DeskPage{Problem: "large"}, http.StatusUnprocessableEntity)
	case errors.Is(err, lend.ErrNoCode):
		s.showLoans(w, r, lend.DeskPage{Problem: "no-code"}, http.StatusUnprocessableEntity)
	case err != nil:
		s.showLoans(w, r, lend.DeskPage{Problem: "picture"}, http.StatusUnprocessableEntity)
	default:
		s.addCode(w, r, text)
	}
}

// loanText adds a network as an offer whose terms the desk then chooses. Staff type its name and password, or the text of its QR
// code.
func (s *Server) loanText(w http.ResponseWriter, r *request) {
	s.deskRequest(r)
	form, err := r.ReadForm(w, maxOffer)
	if err != nil {
		s.refuseLoan(w, r, http.StatusBadRequest)
		return
	}
	name := form.Get(lend.NetworkField)
	if config.IsWiFiQR(name) {
		s.addCode(w, r, name)
		return
	}
	network, wrong := s.typedNetwork(name, form.Get(lend.SecretField))
	if wrong != "" {
		s.showLoans(w, r, lend.DeskPage{Problem: wrong, Network: name}, http.StatusUnprocessableEntity)
		return
	}
	s.addAtDesk(w, r, network)
}

// addCode adds the network in the text of a QR code as an offer.
func (s *Server) addCode(w http.ResponseWriter, r *request, text string) {
	p := lend.DeskPage{}
	wifi, err := config.ParseWiFiQR(text)
	switch wrong, is := errors.AsType[*config.QRError](err); {
	case is:
		p.Problem = string(wrong.Fault)
	case s.ownNetwork(wifi.SSID):
		p.Problem = "own"
	case wifi.Passphrase == "":
		p.Problem = "open"
	default:
		s.addAtDesk(w, r, lend.Network{SSID: wifi.SSID.String(), Passphrase: wifi.Passphrase})
		return
	}
	s.showLoans(w, r, p, http.StatusUnprocessableEntity)
}

func (s *Server) addAtDesk(w http.ResponseWriter, r *request, n lend.Network) {
	o, err := s.Offers.Add(lend.Offer{Way: lend.ByDesk}, n, netip.Addr{}, s.Now())
	if err != nil {
		s.showLoans(w, r, lend.DeskPage{Problem: "busy"}, http.StatusConflict)
		return
	}
	r.Lead(w, http.StatusSeeOther, loansPath+"/"+o.ID)
}

// waitingLoan shows an offer that waits, with a form for its terms.
func (s *Server) waitingLoan(w http.ResponseWriter, r *request) {
	s.deskRequest(r)
	o, ok := s.Offers.Find(r.PathValue("id"), s.Now())
	if !ok || o.Answer != "" {
		s.showLoans(w, r, lend.DeskPage{Problem: "gone"}, http.StatusNotFound)
		return
	}
	s.showLoan(w, r, o, "", url.Values{lend.LenderField: {o.Lender}}, nil, "", http.StatusOK)
}

// showLoan shows an offer. same is the name of the donation that already lends a network of the same SSID, "" for none.
func (s *Server) showLoan(w http.ResponseWriter, r *request, o lend.Offer, same string, form url.Values, problems []string, detail string, status int) {
	now, known := s.now(r)
	s.serve(w, r, lend.LoanPage{
		Frame: r.Frame(loansPath+"/"+o.ID, r.Words.T("lend.loan-title")), Up: deskUp(r.Words, loansPath),
		Terms: lend.NewTerms(r.Words, form, now, known), Offer: o, Same: same, Problems: problems, Detail: detail,
	}, status)
}

// answerLoan accepts or refuses an offer.
func (s *Server) answerLoan(w http.ResponseWriter, r *request) {
	s.deskRequest(r)
	form, err := r.ReadForm(w, maxOffer)
	do := form.Get("do")
	if err != nil || !slices.Contains([]string{"accept", "refuse", "same"}, do) {
		s.refuseLoan(w, r, http.StatusBadRequest)
		return
	}
	web.Yield(r.Request.Request)
	o, network, err := s.Offers.Claim(r.PathValue("id"), s.Now())
	if err != nil {
		word := map[error]string{lend.ErrNone: "gone", lend.ErrBusy: "busy", lend.ErrSettled: "settled"}[err]
		s.showLoans(w, r, lend.DeskPage{Problem: word}, http.StatusConflict)
		return
	}
	if do == "refuse" {
		s.Offers.Settle(o.ID, lend.Refused, "", "", s.Now())
		s.note(r, journal.LoanRefused)
		s.loanDone(w, r, "refused", "", "", nil, http.StatusOK)
		return
	}
	defer s.Offers.Release(o.ID) // has no effect on a settled offer
	if o.Cap == 0 && do == "accept" || form.Has(lend.SizeField) {
		now, known := s.now(r)
		if problems := lend.ReadTerms(form, &o, now, known); problems != nil {
			s.showLoan(w, r, o, "", form, problems, "", http.StatusUnprocessableEntity)
			return
		}
	}
	ssid, err := config.ParseSSID(network.SSID)
	if err != nil {
		s.showLoan(w, r, o, "", form, []string{"network"}, "", http.StatusUnprocessableEntity)
		return
	}
	a := admission{offer: o, wifi: &config.WiFi{SSID: ssid, Passphrase: network.Passphrase}, same: do == "same", another: form.Get("another") != ""}
	s.admit(w, r, a, form)
}

// cableLoan shows a phone on a cable, with a form for the terms.
func (s *Server) cableLoan(w http.ResponseWriter, r *request) {
	s.deskRequest(r)
	s.showCable(w, r, url.Values{}, nil, "", http.StatusOK)
}

func (s *Server) showCable(w http.ResponseWriter, r *request, form url.Values, problems []string, detail string, status int) {
	c := s.lendable()
	if c == nil || len(s.plugged(c)) == 0 {
		s.showLoans(w, r, lend.DeskPage{Problem: "unplugged"}, http.StatusConflict)
		return
	}
	now, known := s.now(r)
	s.serve(w, r, lend.LoanPage{
		Frame: r.Frame(loansPath+"/cable", r.Words.T("lend.loan-title")), Up: deskUp(r.Words, loansPath), Cable: config.USB,
		Terms: lend.NewTerms(r.Words, form, now, known), Problems: problems, Detail: detail,
	}, status)
}

// acceptCable accepts a phone on a cable.
func (s *Server) acceptCable(w http.ResponseWriter, r *request) {
	s.deskRequest(r)
	form, err := r.ReadForm(w, maxOffer)
	if err != nil {
		s.refuseLoan(w, r, http.StatusBadRequest)
		return
	}
	now, known := s.now(r)
	o := lend.Offer{}
	if problems := lend.ReadTerms(form, &o, now, known); problems != nil {
		s.showCable(w, r, form, problems, "", http.StatusUnprocessableEntity)
		return
	}
	if c := s.lendable(); c == nil || len(s.plugged(c)) == 0 {
		s.showLoans(w, r, lend.DeskPage{Problem: "unplugged"}, http.StatusConflict)
		return
	}
	s.admit(w, r, admission{offer: o}, form)
}

// admission is an offer that the desk accepts. same and another are staff's answer if a donation already lends a network of the
// same SSID.
type admission struct {
	offer   lend.Offer
	wifi    *config.WiFi // nil for a phone on a cable
	same    bool         // it is that donation's phone, and its password has changed
	another bool         // it is another phone
}

// Errors of donate that are not failures.
var (
	errKnown = errors.New("the phone lends already")
	errSame  = errors.New("a network of this name is lent already, with another password")
)

// admitTries is how often an admission is tried if somebody else changes the configuration in the meantime.
const admitTries = 5

// admit turns an offer into a donation, and answers the request.
func (s *Server) admit(w http.ResponseWriter, r *request, a admission, form url.Values) {
	s.admitting.Lock()
	defer s.admitting.Unlock()
	d, err := s.donate(r, a)
	known := errors.Is(err, errKnown)
	switch {
	case errors.Is(err, errSame):
		s.showLoan(w, r, a.offer, d.Name, form, nil, "", http.StatusConflict)
		return
	case errors.Is(err, config.ErrUSBTaken):
		s.showLoans(w, r, lend.DeskPage{Problem: "unplugged"}, http.StatusConflict)
		return
	case err != nil && r.Context().Err() != nil:
		return
	case err != nil && !known:
		s.Log.Error("accept a loan", "err", strings.Join(details(err), " "))
		s.loanDone(w, r, "failed", "", "", errors.New(strings.Join(details(err), " ")), http.StatusUnprocessableEntity)
		return
	}
	path, err := IssueLink(s.Tokens, d.Name)
	if err != nil {
		s.Log.Error("make a lender's link", "err", err)
	}
	if a.offer.ID != "" {
		s.Offers.Settle(a.offer.ID, lend.Accepted, path, d.Name, s.Now())
	}
	word := "accepted"
	if known {
		word = "known"
	} else if a.same {
		word = "same"
	}
	if !known {
		s.note(r, journal.LoanAccepted)
	}
	s.loanDone(w, r, word, d.Name, path, err, http.StatusOK)
}

// donate adds an offer to the configuration, through Configuration.Apply as all changes do. With errKnown and errSame it returns
// the donation that already lends a network of the same SSID.
func (s *Server) donate(r *request, a admission) (d config.Donation, err error) {
	for range admitTries {
		text, revision, err := s.Configuration.Read()
		if err != nil {
			return d, err
		}
		c, err := config.Parse(fileName, text)
		if err != nil {
			return d, err
		}
		over := s.over()
		loan := config.Loan{
			Name: c.FreeName(cmp.Or(a.offer.Lender, phoneName(a.wifi)), s.Known), WiFi: a.wifi, Until: config.Day(a.offer.Until),
			Cap: config.Size(a.offer.Cap).String(), Period: "once",
		}
		if a.wifi == nil {
			loan.Interface = config.USB
		} else if has := c.LentAs(a.wifi.SSID, over); has != nil && !a.another {
			switch {
			case has.WiFi.Passphrase == a.wifi.Passphrase:
				return *has, errKnown
			case !a.same:
				return *has, errSame
			}
			loan = config.Loan{Name: has.Name, WiFi: a.wifi}
		} else {
			loan.Interface = s.freeRadio(c, over)
		}
		edited, d, err := config.AddLoan(c, text, loan, over)
		if err != nil {
			return d, err
		}
		result, err := s.Configuration.Apply(r.Context(), edited, revision, r.side)
		switch {
		case err != nil:
			return d, err
		case result.Outcome == config.Conflict:
			continue
		case result.Outcome == config.Refused:
			return d, errors.New(result.Why)
		}
		return d, nil
	}
	return d, config.ErrChanged
}

// phoneName returns the name of a donation whose lender gave no name.
func phoneName(wifi *config.WiFi) string {
	if wifi == nil {
		return "USB"
	}
	return wifi.SSID.String()
}

// freeRadio returns the interface of a radio that neither the hotspot nor a donation uses. It returns "" if there is none: then the
// box creates an interface on the hotspot's radio.
func (s *Server) freeRadio(c *config.Config, over func(config.Donation) bool) string {
	all, err := s.Machine.FindRadios()
	if err != nil {
		s.Log.Warn("look for a radio for a loan", "err", err)
		return ""
	}
	for _, radio := range all {
		uses := func(d config.Donation) bool { return d.Interface == radio.Interface && !over(d) }
		if radio.Interface != c.Hotspot.Interface && !slices.ContainsFunc(c.Donations, uses) && !strings.HasPrefix(radio.Interface, "lend") {
			return radio.Interface
		}
	}
	return ""
}

// loanDone says what was done with an offer. path is the path of the lender's page, "" for none.
func (s *Server) loanDone(w http.ResponseWriter, r *request, word, donation, path string, err error, status int) {
	p := lend.DonePage{
		Frame: r.Frame(loansPath, r.Words.T("lend.done-title."+word)), Up: deskUp(r.Words, loansPath), Word: word, Donation: donation,
	}
	if err != nil {
		p.Detail = err.Error()
	}
	if path != "" {
		p.Link = "https://" + r.site.Hostname + path
		if code, err := poster.NewCode(p.Link); err == nil {
			p.Size, p.Modules = code.Side(), code.Path()
		}
	}
	s.serve(w, r, p, status)
}
