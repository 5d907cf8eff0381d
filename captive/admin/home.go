package admin

import (
	"cmp"
	"errors"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"time"

	"passerelle/appliance/state"
	"passerelle/captive/admin/journal"
	"passerelle/captive/web"
)

// homePage shows what the box does, and what needs a technician's attention.
type homePage struct {
	techFrame
	Pictogram string // of the State
	Good      bool   // residents have internet
	Lines     []string
	Why       string   // in English, from the box
	Press     string   // path of the button to pause or resume; "" for no button
	Go        web.Link // to the setting that is the cause; zero for none
	Findings  []finding
	Remarks   []finding // findings that can wait
	Online    []web.Amount
	Day       usage
	People    drawing // the most sessions at once, over the hours of Day
	MostAt    string  // the highest number of them, and when it was
	Since     string  // when counting began, if that is less than a day ago
	Loans     []loanBar
	Month     usage
	Saved     string // when a backup was last written to a USB stick; "" without a stick
}

func (homePage) Template() string { return "admin/home" }

// loanBar shows a donation, its uplink, and what is left of its cap.
type loanBar struct {
	Name      string
	Pictogram string
	Good      bool
	Doing     []string
	Line      string // the kind of uplink, and whether it works
	Why       string // in English: why it does not work
	Left      []string
	Parts     []web.Part // parts of the cap; none without a cap
	Paused    bool       // the button resumes
	Held      bool       // there is no button: only its lender can resume it
	Pace      *paceBar   // nil if its rates are fixed
}

// statePictograms has the pictogram of each State.
var statePictograms = map[state.State]string{
	state.Starting: "wait", state.Fault: "fault", state.Setup: "wait", state.Paused: "paused", state.Closed: "closed",
	state.Exhausted: "empty", state.Offline: "offline", state.Sharing: "share",
}

func (s *Server) home(w http.ResponseWriter, r *request) {
	if s.unconfigured() {
		r.Lead(w, http.StatusSeeOther, setupPath)
		return
	}
	words, box := r.Words, s.Box.Status()
	p := homePage{
		techFrame: s.tech(r, "home", adminPath, words.T("admin.title")),
		Pictogram: statePictograms[box.State], Good: box.State == state.Sharing, Why: box.Why,
		Online: []web.Amount{words.CountParts("resident", box.Residents.Sessions)},
	}
	p.Lines, p.Press, p.Go = does(words, box, r.Now)
	f := facts{now: r.Now, box: box}
	var age time.Duration
	if s.Day != nil {
		f.hours, age = s.Day.last(s.Now())
	}
	if s.Refusals != nil {
		f.refusals = s.Refusals()
	}
	if s.Disk != nil {
		f.disk = s.Disk()
	}
	if s.Lists != nil {
		f.lists = s.Lists()
	}
	for _, code := range r.site.Offered() {
		if l := web.Language(code); l != nil && !l.Reviewed {
			f.unknowns = append(f.unknowns, l.Name)
		}
	}
	for _, x := range f.findings(words) {
		if x.Severity == remark {
			p.Remarks = append(p.Remarks, x)
		} else {
			p.Findings = append(p.Findings, x)
		}
	}
	for _, d := range box.Donations {
		bar := f.loanBar(words, d)
		bar.Pace = f.paceBar(words, d, age)
		p.Loans = append(p.Loans, bar)
	}
	p.day(f, age)
	p.Month = f.month(words)
	if last := s.Backups.LastStick(); last != nil {
		p.Saved = stickSays(words, state.StickBackup{Done: last.Done}, r.Now)[0]
	}
	s.serve(w, r, p, http.StatusOK)
}

// does returns the lines that say what the box does, and what helps: the path of a button, or the link to a page.
func does(w *web.Words, box state.Status, now time.Time) (lines []string, press string, to web.Link) {
	lines = w.Lines("home." + string(box.State))
	switch box.State {
	case state.Sharing:
		press = "/admin/pause"
	case state.Paused:
		if press = "/admin/resume"; box.PausedBy == "" {
			lines, press = w.Lines("home.paused-by-lenders"), ""
		} else if !box.PausedUntil.IsZero() {
			lines = w.Lines("home.paused-until", "when", w.When(box.PausedUntil.In(now.Location()), now))
		}
	case state.Closed:
		if box.Opens.After(now) {
			lines = w.Lines("home.closed-until", "when", w.When(box.Opens.In(now.Location()), now))
		}
		to = web.Link{Href: donationsPath, Text: w.T("home.to-hours")}
	case state.Exhausted:
		if box.Resets.After(now) && box.Clock.Trusted {
			lines = w.Lines("home.exhausted-until", "when", w.When(box.Resets.In(now.Location()), now))
		}
		to = web.Link{Href: donationsPath, Text: w.T("home.to-caps")}
	case state.Offline:
		to = web.Link{Href: donationsPath, Text: w.T("home.to-loans")}
	case state.Fault:
		to = web.Link{Href: versionsPath, Text: w.T("home.to-versions")}
	case state.Setup:
		to = web.Link{Href: settingsPath, Text: w.T("home.to-settings")}
	}
	return lines, press, to
}

// heldByLender reports whether a donation was paused by its lender. Then nobody else can resume it here, since the lender pays for
// the connection.
func heldByLender(d state.Donation) bool { return d.PausedBy != "" && d.PausedBy != aTechnician }

// loanBar composes a donation's part of the page.
func (f facts) loanBar(w *web.Words, d state.Donation) loanBar {
	l := newLoan(d, f.box)
	b := loanBar{
		Name: d.Name, Pictogram: pictograms[l.doing], Good: l.doing == Shared || l.doing == Ready,
		Doing: l.says(w, f.now), Line: lineText(w, d), Paused: l.doing == Paused, Held: heldByLender(d),
	}
	if l.doing == Broken {
		b.Why = d.Why
	}
	today := usedOn(d, state.DateOf(f.now).Time)
	if d.Cap == 0 {
		b.Left = w.Lines("loan.no-cap", "size", w.Size(today))
		return b
	}
	if d.Lost {
		b.Left = w.Lines("loan.lost")
		return b
	}
	b.Left = w.Lines("loan.left", "left", w.Size(d.Left), "cap", w.Size(d.Cap))
	if d.Resets.After(f.now) && f.box.Clock.Trusted {
		b.Left = append(b.Left, w.T("lender.resets", "when", w.When(d.Resets.In(f.now.Location()), f.now)))
	}
	now, later, label := d.Left, uint64(0), w.T("lender.part-left")
	if d.Daily > 0 && d.Period != "day" {
		now = min(d.Left, d.Daily-min(d.Daily, today))
		later, label = d.Left-now, w.T("loan.part-today")
	}
	used := min(d.Used, d.Cap-min(d.Left, d.Cap))
	kept := d.Cap - min(d.Left+used, d.Cap) // the reserve, the margin, and the box's own traffic
	for _, part := range []struct {
		kind, label string
		bytes       uint64
	}{
		{"left", label, now}, {"later", w.T("loan.part-later"), later},
		{"kept", w.T("loan.part-kept"), kept}, {"used", w.T("lender.part-used"), used},
	} {
		if web.Shown(part.bytes) > 0 || part.kind == "left" || part.kind == "used" {
			b.Parts = append(b.Parts, web.Part{Kind: part.kind, Label: part.label, Bytes: part.bytes, Size: w.Size(part.bytes)})
		}
	}
	web.Place(d.Cap, b.Parts)
	return b
}

// lineKind returns a word for the kind of a donation's uplink.
func lineKind(d state.Donation) string {
	switch {
	case d.Kind == "Wi-Fi":
		return "wifi"
	case d.Kind == "network cable":
		return "cable"
	case strings.HasPrefix(d.Kind, "phone on USB"), strings.HasPrefix(d.Kind, "iPhone"):
		return "phone"
	case strings.HasPrefix(d.Kind, "phone or network adapter"):
		return "adapter"
	case strings.HasPrefix(d.Kind, "mobile modem"):
		return "modem"
	}
	return "socket"
}

// lineText says what kind of uplink a donation has, and whether it works.
func lineText(w *web.Words, d state.Donation) string {
	parts := []string{w.T("line."+lineKind(d), "interface", cmp.Or(d.Ifname, d.Interface))}
	switch {
	case d.Ifname == "":
		parts = append(parts, w.T("line.absent"))
	case d.Works && d.Slow:
		parts = append(parts, w.T("line.slow"))
	case d.Works:
		parts = append(parts, w.T("line.works"))
	case d.Open && d.PausedBy == "":
		parts = append(parts, w.T("line.silent"))
	}
	switch {
	case d.Signal == 0:
	case d.Signal >= -60:
		parts = append(parts, w.T("line.strong"))
	case d.Signal >= -72:
		parts = append(parts, w.T("line.fair"))
	default:
		parts = append(parts, w.T("line.weak"))
	}
	return strings.Join(parts, ", ")
}

// names returns the names of the donations, in the order of the Status.
func (f facts) names() (all []string) {
	for _, d := range f.box.Donations {
		all = append(all, d.Name)
	}
	return all
}

// day draws the last 24 hours. age is how long ago counting began.
func (p *homePage) day(f facts, age time.Duration) {
	w := p.Words
	if len(f.hours) == 0 {
		return
	}
	begins := func(i int) time.Time { return f.now.Add(f.hours[i].from - age).Round(time.Minute) }
	var spans []span
	people := layer{Class: "people"}
	most := 0
	for i, h := range f.hours {
		x := spanOf(h, age)
		x.factor = 0
		if length := h.to - h.from; length >= time.Hour/4 { // a shorter part is too little to extrapolate to an hour
			x.factor = float64(time.Hour) / float64(length)
		}
		spans = append(spans, x)
		people.Values = append(people.Values, uint64(h.sessions))
		if h.sessions > f.hours[most].sessions {
			most = i
		}
	}
	layers := layersOf(f.names(), len(f.hours), func(i int) map[string]uint64 { return f.hours[i].bytes })
	u, at, bytes := newUsage(w, spans, layers, func(i int) string { return w.Clock(begins(i)) })
	if bytes > 0 {
		u.Most = w.T("home.most-hour", "size", w.Size(bytes), "at", w.At(begins(at)))
	}
	counted := slices.Clone(spans) // for numbers that are not rates, and so are not scaled to an hour
	refused := make([]state.Refused, len(spans))
	for i := range u.Rows {
		u.Rows[i].People, _ = few(w, uint64(f.hours[i].sessions))
		counted[i].factor = min(counted[i].factor, 1)
		refused[i] = f.hours[i].refused
	}
	u.refuse(w, counted, refused)
	slices.Reverse(u.Rows)
	u.Begins, u.Ends = w.T("home.day-ago"), w.T("home.now")
	p.Day = u
	if n := f.hours[most].sessions; n > 0 {
		p.People = draw(counted, []layer{people})
		p.MostAt = w.T("home.most-people", "people", w.Count("resident", n), "at", w.At(begins(most)))
	}
	if age < dayLength {
		p.Since = w.T("home.since", "when", w.When(begins(0), f.now))
	}
}

// month draws the last 31 days. Without a trusted clock, the last known day stands for today.
func (f facts) month(w *web.Words) (u usage) {
	used := map[time.Time]map[string]uint64{}
	today, first := state.DateOf(f.now).Time, time.Time{}
	var last time.Time
	for _, d := range f.box.Donations {
		for _, x := range d.Days {
			if used[x.Date.Time] == nil {
				used[x.Date.Time] = map[string]uint64{}
			}
			used[x.Date.Time][d.Name] += x.Bytes
			if x.Date.After(last) {
				last = x.Date.Time
			}
		}
	}
	refusals := map[time.Time]state.Refused{}
	for _, d := range f.refusals {
		refusals[d.Date.Time] = d.Refused
		if d.Date.After(last) {
			last = d.Date.Time
		}
	}
	if !f.box.Clock.Trusted {
		today = last
	}
	first = today.AddDate(0, 0, 1-chartDays)
	date := func(i int) time.Time { return first.AddDate(0, 0, i) }
	var spans []span
	for i := range chartDays {
		spans = append(spans, span{from: float64(i) / chartDays, to: float64(i+1) / chartDays, factor: 1})
	}
	layers := layersOf(f.names(), chartDays, func(i int) map[string]uint64 { return used[date(i)] })
	u, most, bytes := newUsage(w, spans, layers, func(i int) string { return w.Day(date(i)) })
	refused := make([]state.Refused, chartDays)
	for i := range refused {
		refused[i] = refusals[date(i)]
	}
	u.refuse(w, spans, refused)
	if bytes == 0 && u.Refused == nil {
		return usage{}
	}
	if bytes > 0 {
		u.Most = w.T("lender.most", "day", w.Day(date(most)), "size", w.Size(bytes))
	}
	u.Begins, u.Ends = w.Day(first), w.Day(today)
	begin := 0 // leave out rows before the first known day
	for begin < chartDays-1 && used[date(begin)] == nil && refused[begin].Sum() == 0 {
		begin++
	}
	u.Rows = u.Rows[begin:]
	slices.Reverse(u.Rows)
	return u
}

func (s *Server) pauseSharing(w http.ResponseWriter, r *request) {
	if err := s.Box.Pause(r.Context(), aTechnician); err != nil {
		s.failed(w, r, "pause sharing", err)
		return
	}
	s.note(r, journal.Paused)
	s.done(w, r, adminPath)
}

func (s *Server) resumeSharing(w http.ResponseWriter, r *request) {
	if err := s.Box.Resume(r.Context()); err != nil {
		s.failed(w, r, "resume sharing", err)
		return
	}
	s.note(r, journal.Resumed)
	s.done(w, r, adminPath)
}

// pauseDonation pauses or resumes one donation.
func (s *Server) pauseDonation(w http.ResponseWriter, r *request) {
	form, err := r.ReadForm(w, maxForm)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest)
		return
	}
	name, pause := form.Get("name"), form.Get("do") == "pause"
	held := func(d state.Donation) bool { return d.Name == name && heldByLender(d) }
	if !pause && slices.ContainsFunc(s.Box.Status().Donations, held) {
		s.done(w, r, adminPath)
		return
	}
	err = s.Box.SetDonationPaused(r.Context(), name, aTechnician, pause)
	if err != nil && !errors.Is(err, state.ErrNoDonation) { // if it is gone, the page shows the donations that there are
		s.failed(w, r, "pause or resume a donation", err)
		return
	}
	s.done(w, r, adminPath)
}

func (s *Server) confirmClock(w http.ResponseWriter, r *request) {
	if err := s.Box.ConfirmTime(r.Context(), aTechnician); err != nil {
		s.failed(w, r, "confirm the clock", err)
		return
	}
	s.note(r, journal.Clock)
	s.done(w, r, adminPath)
}

// confirmChange confirms the last change of the configuration, so that it is not undone.
func (s *Server) confirmChange(w http.ResponseWriter, r *request) {
	if err := s.Configuration.Confirm(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.failed(w, r, "confirm a change", err)
		return
	}
	s.done(w, r, adminPath)
}

// aTechnician names who pauses or confirms something, in the status and the log.
const aTechnician = "a technician"
