package admin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"passerelle/appliance/config"
	"passerelle/appliance/state"
	"passerelle/captive/web"
)

// Loans lets a lender lend less. None of its methods lends more. They are safe for concurrent use. The error is
// state.ErrNoDonation for a donation that is not configured.
type Loans interface {
	// PauseDonationUntilTomorrow pauses a donation until the next day's opening, and records who did it.
	PauseDonationUntilTomorrow(ctx context.Context, name, by string) error
	// CountAtLeast records how many bytes were used in this period according to the lender's provider.
	CountAtLeast(ctx context.Context, name string, bytes uint64) error
	// LowerThisPeriod lowers a cap to a number of bytes until the period ends.
	LowerThisPeriod(ctx context.Context, name string, bytes uint64) error
	// LowerCap lowers a cap in the configuration. The error is ErrNotLower for a cap that is not lower, and config.ErrByHand
	// if the file is written in a way that cannot be edited automatically.
	LowerCap(ctx context.Context, name string, bytes uint64, from config.Side) error
	// Close removes a donation from the configuration, and its Wi-Fi password from everything that the box stores. The error is
	// ErrKept if the donation is removed, but copies of the password are not yet.
	Close(ctx context.Context, name string, from config.Side) error
	// Lent returns what a donation carried on each known day, oldest first. It works after the donation is closed, too. ok is
	// false if there never was a donation of that name.
	Lent(ctx context.Context, name string) (days []state.Day, ok bool)
}

// Errors of Loans.
var (
	ErrNotLower = errors.New("a lender may only lower a cap")
	ErrKept     = errors.New("the loan is closed, but copies of its Wi-Fi password are still to be removed")
)

// limit returns the cap that applies to this period.
func (l loan) limit() uint64 { return l.Cap - min(l.Lowered, l.Cap) }

// mostlyUsedFrom is the share of a cap, in percent, from which its lender is warned.
const mostlyUsedFrom = 80

// usedShare returns how much of this period's cap is used, in percent. It is 0 without a cap, or if the usage is unknown.
func usedShare(d state.Donation) int {
	limit := loan{Donation: d}.limit()
	if limit == 0 || d.Lost {
		return 0
	}
	return int(min(float64(d.Used+d.Stated)/float64(limit)*100, 100))
}

// mostlyUsed reports whether lender and staff are warned that most of this period's cap is used. There is no warning for a donation
// that is spent or over: its State says so already.
func mostlyUsed(d state.Donation) bool {
	return usedShare(d) >= mostlyUsedFrom && !d.Spent && !d.Ended
}

// thanks fills in what the lender has given, with which the page begins, and the warning that most of the cap is used.
func (r *request) thanks(p *web.Lender, d loan) {
	w := r.Words
	if d.Used > 0 {
		p.Given = []web.Amount{w.SizeParts(d.Used)}
		p.Thanks = w.Lines("lender.given." + d.Period)
		if video := w.Video(d.Used); video != "" {
			p.Thanks = append(p.Thanks, w.T("lender.given-video", "time", video))
		}
	}
	if since, all := sumOf(d.Days); all > d.Used {
		p.Thanks = append(p.Thanks, w.T("lender.given-since", "day", w.Day(since), "size", w.Size(all)))
	}
	if p.Thanks == nil && !d.Lost {
		p.Thanks = w.Lines("lender.given-none")
	}
	if mostlyUsed(d.Donation) {
		left, _ := d.Split()
		p.Warning = w.Lines("lender.warning", "percent", strconv.Itoa(usedShare(d.Donation)), "size", w.Size(left))
	}
}

// sumOf returns the first day on which a donation carried something, and the sum of all days.
func sumOf(days []state.Day) (since time.Time, bytes uint64) {
	for _, day := range days {
		if bytes == 0 {
			since = day.Date.Time
		}
		bytes += day.Bytes
	}
	return since, bytes
}

// pauseLines says who paused a donation, and when that ends.
func (r *request) pauseLines(d loan, when string) (lines []string) {
	w, key := r.Words, "lender.paused.text"
	if d.PausedBy != itsLender {
		key = "lender.paused.by-centre"
	}
	lines = w.Lines(key)
	switch {
	case d.PausedDay:
		lines = append(lines, w.Lines("lender.paused.tomorrow")...)
	case !d.until.IsZero():
		lines = append(lines, w.T("lender.paused.until", "when", when))
	}
	return lines
}

// changes fills in the forms with which a lender lends less.
func (r *request) changes(p *web.Lender, d loan) {
	w := r.Words
	p.Less.Ever = d.Cap == 0
	if d.Cap == 0 || d.Lost {
		return
	}
	if d.Period != "once" {
		p.Less.Now = w.T("lender.less-now." + d.Period)
	}
	p.Figure = &web.FigureForm{Lines: []string{w.T("lender.figure-ours", "size", w.Size(d.Used))}}
	if d.Stated > 0 {
		p.Figure.Lines = append(p.Figure.Lines, w.Lines("lender.figure-stated", "size", w.Size(d.Stated))...)
	}
}

// doing is a word for what a lender has just done.
type doing string

const (
	capLowered    doing = "cap"
	periodLowered doing = "period"
	figureTaken   doing = "figure"
	figureSmaller doing = "smaller"
)

var dones = []doing{capLowered, periodLowered, figureTaken, figureSmaller}

// pressed returns the donation whose page a button was pressed on. If it returns false, it has answered the request.
func (s *Server) pressed(w http.ResponseWriter, r *request) (d loan, path string, ok bool) {
	if d, path, ok = s.loan(r); !ok {
		s.notFound(w, r)
		return d, path, false
	}
	if status := web.CheckPOST(w, r.Request.Request); status != http.StatusOK {
		s.refuseLender(w, r, path, status)
		return d, path, false
	}
	web.Yield(r.Request.Request)
	return d, path, true
}

// sent is pressed for a request with a form.
func (s *Server) sent(w http.ResponseWriter, r *request) (d loan, path string, form url.Values, ok bool) {
	if d, path, ok = s.loan(r); !ok {
		s.notFound(w, r)
		return d, path, nil, false
	}
	status, err := http.StatusForbidden, error(nil)
	if web.FromOurPages(r.Request.Request) {
		if form, err = r.ReadForm(w, maxLenderForm); err == nil {
			web.Yield(r.Request.Request)
			return d, path, form, true
		}
		status = http.StatusBadRequest
	}
	w.Header().Set("Connection", "close")
	s.refuseLender(w, r, path, status)
	return d, path, nil, false
}

// maxLenderForm bounds a lender's form, in bytes.
const maxLenderForm = 1 << 10

// refuseLender says that a press did not come from the lender's page.
func (s *Server) refuseLender(w http.ResponseWriter, r *request, path string, status int) {
	s.serve(w, r, web.Notice{
		Frame:     r.Frame(path, r.Words.T("refused.title")),
		Pictogram: "fault", Retry: true, Lines: r.Words.Lines("lender.refused"),
	}, status)
}

// lenderFailed says that a lender's press failed, and logs why.
func (s *Server) lenderFailed(w http.ResponseWriter, r *request, path, what string, d loan, err error) {
	if r.Context().Err() != nil {
		return // the client is gone
	}
	s.Log.Error(what, "donation", d.Name, "err", err)
	s.serve(w, r, web.Notice{
		Frame:     r.Frame(path, r.Words.T("error.title")),
		Pictogram: "fault", Retry: true, Lines: r.Words.Lines("error.text"),
	}, http.StatusInternalServerError)
}

func (s *Server) pause(w http.ResponseWriter, r *request)  { s.setPaused(w, r, true) }
func (s *Server) resume(w http.ResponseWriter, r *request) { s.setPaused(w, r, false) }

func (s *Server) setPaused(w http.ResponseWriter, r *request, paused bool) {
	d, path, ok := s.pressed(w, r)
	if !ok {
		return
	}
	if err := s.Box.SetDonationPaused(r.Context(), d.Name, itsLender, paused); err != nil {
		s.lenderFailed(w, r, path, "pause or resume a donation", d, err)
		return
	}
	r.Lead(w, http.StatusSeeOther, path)
}

func (s *Server) pauseUntilTomorrow(w http.ResponseWriter, r *request) {
	d, path, ok := s.pressed(w, r)
	if !ok {
		return
	}
	if err := s.Loans.PauseDonationUntilTomorrow(r.Context(), d.Name, itsLender); err != nil {
		s.lenderFailed(w, r, path, "pause a donation until tomorrow", d, err)
		return
	}
	r.Lead(w, http.StatusSeeOther, path)
}

// leastCap is the smallest cap that a lender can choose, in bytes. A lender who wants to lend nothing stops the loan instead, since
// a cap of 0 means no limit.
const leastCap = 100_000_000

// lendLess lowers the cap, permanently or for this period.
func (s *Server) lendLess(w http.ResponseWriter, r *request) {
	d, path, form, ok := s.sent(w, r)
	if !ok {
		return
	}
	ever := d.Cap == 0 || d.Period == "once" || form.Get("until") == "ever"
	wrong := func(what string, status int) {
		p := r.lenderPage(path, d, s.Now())
		p.Less.Size, p.Less.Ever, p.Less.Wrong = form.Get("size"), ever, r.Words.Lines("lender.less-wrong."+what)
		s.serve(w, r, p, status)
	}
	size, ok := parseGigabytes(form.Get("size"))
	limit := d.limit()
	if ever {
		limit = d.Cap
	}
	switch {
	case !ok:
		wrong("number", http.StatusUnprocessableEntity)
		return
	case size < leastCap:
		wrong("small", http.StatusUnprocessableEntity)
		return
	case d.Cap != 0 && size >= limit:
		wrong("not-lower", http.StatusUnprocessableEntity)
		return
	}
	var err error
	done := periodLowered
	if ever {
		done, err = capLowered, s.Loans.LowerCap(r.Context(), d.Name, size, r.side)
	} else {
		err = s.Loans.LowerThisPeriod(r.Context(), d.Name, size)
	}
	switch {
	case err == nil:
		s.noted(w, r, path, done)
	case errors.Is(err, ErrNotLower): // somebody else lowered it in the meantime
		wrong("not-lower", http.StatusConflict)
	case r.Context().Err() == nil:
		s.Log.Error("lower a cap", "donation", d.Name, "err", err)
		wrong("failed", http.StatusInternalServerError)
	}
}

// stateFigure records what the lender's provider counted.
func (s *Server) stateFigure(w http.ResponseWriter, r *request) {
	d, path, form, ok := s.sent(w, r)
	if !ok {
		return
	}
	figure, ok := parseGigabytes(form.Get("size"))
	if p := r.lenderPage(path, d, s.Now()); !ok && p.Figure != nil {
		p.Figure.Size, p.Figure.Wrong = form.Get("size"), r.Words.Lines("lender.less-wrong.number")
		s.serve(w, r, p, http.StatusUnprocessableEntity)
		return
	}
	if figure <= d.Used+d.Stated || d.Cap == 0 {
		s.noted(w, r, path, figureSmaller)
		return
	}
	if err := s.Loans.CountAtLeast(r.Context(), d.Name, figure); err != nil {
		s.lenderFailed(w, r, path, "note a provider's figure", d, err)
		return
	}
	s.noted(w, r, path, figureTaken)
}

// noted redirects to the page, which says what was done.
func (s *Server) noted(w http.ResponseWriter, r *request, path string, done doing) {
	query := url.Values{"done": {string(done)}}
	if r.Chosen {
		query.Set("lang", r.Words.Code)
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r.Request.Request, path+"?"+query.Encode(), http.StatusSeeOther)
}

// parseGigabytes reads a number of gigabytes as people write it: "12", "2,5", "0.75 Go". It rounds down to megabytes.
func parseGigabytes(text string) (bytes uint64, ok bool) {
	text = strings.TrimRightFunc(strings.TrimSpace(text), func(c rune) bool { return unicode.IsLetter(c) || unicode.IsSpace(c) })
	var digits strings.Builder
	decimals := -1
	for _, c := range text {
		switch {
		case c == ',' || c == '.' || c == '٫':
			if decimals >= 0 {
				return 0, false
			}
			decimals = 0
			continue
		case c >= '٠' && c <= '٩':
			c += '0' - '٠'
		case c < '0' || c > '9':
			return 0, false
		}
		if decimals >= 3 {
			continue // digits below a megabyte
		}
		digits.WriteRune(c)
		if decimals >= 0 {
			decimals++
		}
	}
	if digits.Len() == 0 || digits.Len() > 9 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits.String(), 10, 64)
	for range 3 - max(decimals, 0) {
		n *= 10
	}
	return n * 1_000_000, err == nil
}

// askToStop asks whether the loan should really be stopped for good.
func (s *Server) askToStop(w http.ResponseWriter, r *request) {
	d, path, ok := s.loan(r)
	if !ok {
		s.notFound(w, r)
		return
	}
	s.serve(w, r, web.Ending{Frame: r.Frame(path+"/stop", r.Words.T("ending.title")), Donation: d.Name, Back: path}, http.StatusOK)
}

// stop closes the loan. If that fails, the loan is paused instead.
func (s *Server) stop(w http.ResponseWriter, r *request) {
	d, path, ok := s.pressed(w, r)
	if !ok {
		return
	}
	err := s.Loans.Close(r.Context(), d.Name, r.side)
	switch {
	case err == nil || errors.Is(err, ErrKept) || errors.Is(err, state.ErrNoDonation):
		p, known := s.ended(r, d.Name)
		if !known {
			p = r.endedNotice(d.Days)
		}
		if errors.Is(err, ErrKept) {
			s.Log.Error("close a loan", "donation", d.Name, "err", err)
			p.Lines = append(p.Lines, r.Words.Lines("ending.kept")...)
		} else {
			p.Lines = append(p.Lines, r.Words.Lines("ending.forgotten")...)
		}
		s.serve(w, r, p, http.StatusOK)
		return
	case r.Context().Err() != nil:
		return // the client is gone
	}
	if paused := s.Box.SetDonationPaused(r.Context(), d.Name, itsLender, true); paused != nil {
		s.lenderFailed(w, r, path, "close a loan", d, errors.Join(err, paused))
		return
	}
	s.Log.Error("close a loan: it is paused instead", "donation", d.Name, "err", err)
	s.serve(w, r, web.Notice{
		Frame:     r.Frame(path, r.Words.T("ending.failed.title")),
		Pictogram: "paused", Lines: r.Words.Lines("ending.failed.paused"), Retry: true,
	}, http.StatusInternalServerError)
}

// ended returns the page of a loan that has ended: thanks, and what it gave. ok is false if there never was such a loan.
func (s *Server) ended(r *request, name string) (p web.Notice, ok bool) {
	days, ok := s.Loans.Lent(r.Context(), name)
	if !ok {
		return p, false
	}
	return r.endedNotice(days), true
}

func (r *request) endedNotice(days []state.Day) web.Notice {
	w := r.Words
	p := web.Notice{Frame: r.Frame(r.URL.Path, w.T("ending.done")), Pictogram: "lend", Lines: w.Lines("ending.thanks")}
	if since, all := sumOf(days); all > 0 {
		p.Lines = append(p.Lines, w.T("ending.given", "day", w.Day(since), "size", w.Size(all)))
	}
	return p
}

// knowsItsDonations reports whether the box runs with a technician's configuration. If not, a missing donation does not mean that
// the loan has ended.
func (s *Server) knowsItsDonations() bool {
	switch s.Box.Status().State {
	case state.Starting, state.Fault, state.Setup:
		return false
	}
	return true
}
