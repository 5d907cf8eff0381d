package admin

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"passerelle/appliance/state"
	"passerelle/captive/web"
)

// Doctor finds what is wrong. Its methods are safe for concurrent use.
type Doctor interface {
	// Search begins a search, unless one is running.
	Search()
	// Diagnosis returns the running search as far as it is, else the last one; ok is false if there is none.
	Diagnosis() (d state.Diagnosis, ok bool)
	// RecentLog returns the log of the last hour, the oldest line first.
	RecentLog() []state.LogEntry
	// Support returns a zip for those who help.
	Support(ctx context.Context) ([]byte, error)
}

// The duties of those who may search for what is wrong, and of those who may see what the box says of it in English, the log, and
// the file for those who help.
const (
	diagnoses = welcomes
	supports  = configures
)

const (
	doctorPath  = "/admin/doctor"
	supportPath = doctorPath + "/support.zip"

	// refreshAfter is how often the page loads itself while a search runs, in seconds.
	refreshAfter = 2
	// maxLog is how many lines of the log a page has.
	maxLog = 60
)

// doctorRoutes are the pages about what is wrong.
var doctorRoutes = map[string]dutyRoute{
	"GET " + doctorPath:  {diagnoses, (*Server).doctorPage},
	"POST " + doctorPath: {diagnoses, (*Server).search},
	"GET " + supportPath: {supports, (*Server).support},
}

// doctorPage shows a search for what is wrong, and its result.
type doctorPage struct {
	techFrame
	Up      web.Link
	Running bool
	Done    int // steps
	All     int
	Cause   *foundStep // nil if all is well, or nothing is known
	Well    bool
	When    string // of the last search, and what it took
	Cost    string // what it used of the lines
	Groups  []stepGroup
	Log     []logLine
	Support bool // the reader may see the details and the log, and take the file
}

func (doctorPage) Template() string { return "admin/doctor" }

// stepGroup is the steps about one thing: the box, or a line.
type stepGroup struct {
	Name  string // of the donation; "" for the box
	Steps []foundStep
}

// foundStep is one step of the chain.
type foundStep struct {
	Title, Of string
	Verdict   state.Verdict
	Word      string // the verdict, in words
	Pictogram string
	Saw       []string
	Do        []string
	Detail    string // in English, from the box; "" for none
}

// stepPictograms are those of verdicts.
var stepPictograms = map[state.Verdict]string{
	state.OK: "done", state.Warn: "question", state.Bad: "fault", state.Skipped: "paused", "": "wait",
}

// logLine is a line of the log.
type logLine struct {
	At    string
	Level string // "warning", "error", or "" for what is neither
	Word  string // in words
	Text  string
	Lang  string // "en" if the box says it
}

func (s *Server) doctorPage(w http.ResponseWriter, r *request) {
	words := r.Words
	p := doctorPage{
		techFrame: s.tech(r, "home", doctorPath, words.T("doctor.title")), Support: may(r.role, supports),
		Up: web.Link{Href: deskPath, Text: words.T("staff.title")},
	}
	if p.Support {
		p.Up = web.Link{Href: adminPath, Text: words.T("admin.part.home")}
	}
	if d, ok := s.Doctor.Diagnosis(); ok {
		p.Running = d.Running
		if d.Running && !r.URL.Query().Has("hold") {
			p.Refresh = refreshAfter
		}
		p.show(d, r)
	}
	if p.Support {
		all := s.Doctor.RecentLog()
		for _, e := range all[max(0, len(all)-maxLog):] {
			p.Log = append(p.Log, newLogLine(words, e, r))
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	s.serve(w, r, p, http.StatusOK)
}

// doctorTile is the desk's door to the search. It stands first while nobody has internet and nobody chose that.
func (s *Server) doctorTile(r *request) (t deskTile, shown bool) {
	box := s.Box.Status().State
	t.Door = web.Door{Href: doctorPath, Pictogram: "search", Title: r.Words.T("doctor.title"), Text: r.Words.T("staff.doctor")}
	t.Waits = box == state.Offline || box == state.Fault
	return t, true
}

// show shows a search.
func (p *doctorPage) show(d state.Diagnosis, r *request) {
	words := r.Words
	for _, f := range d.Steps {
		x := newFound(words, f, p.Support)
		if f.Verdict != "" {
			p.Done++
		}
		p.All++
		// The steps of a donation stand together, those of the box before and after them.
		if n := len(p.Groups); n == 0 || p.Groups[n-1].Name != f.Of {
			p.Groups = append(p.Groups, stepGroup{Name: f.Of})
		}
		g := &p.Groups[len(p.Groups)-1]
		g.Steps = append(g.Steps, x)
	}
	if d.Running {
		return
	}
	if f, ok := d.FindCause(); ok {
		cause := newFound(words, f, p.Support)
		p.Cause = &cause
	} else {
		p.Well = true
	}
	p.When = words.T("doctor.when", "when", words.When(d.Began.In(r.Now.Location()), r.Now), "time", milliseconds(words, d.Took))
	if d.Bytes > 0 {
		p.Cost = words.T("doctor.cost", "number", strconv.FormatUint((d.Bytes+999)/1000, 10))
	}
}

// newFound says what a step saw, in the reader's language where it knows the code; with details also what the box says in English.
func newFound(w *web.Words, f state.Finding, details bool) foundStep {
	x := foundStep{
		Title: w.T("step." + string(f.Step)), Of: f.Of, Verdict: f.Verdict, Pictogram: stepPictograms[f.Verdict],
		Word: w.T("verdict.waiting"),
	}
	if f.Verdict == "" {
		return x
	}
	x.Word = w.T("verdict." + string(f.Verdict))
	var pairs []string
	for name, value := range f.Args {
		switch {
		case name == "step":
			value = w.T("step." + value)
		case slices.Contains(state.ArgsInBytes, name):
			if n, err := strconv.ParseUint(value, 10, 64); err == nil {
				value = w.Size(n)
			}
		case slices.Contains(state.ArgsInMS, name):
			if n, err := strconv.ParseInt(value, 10, 64); err == nil {
				value = milliseconds(w, n)
			}
		}
		pairs = append(pairs, name, value)
		if details && (name == "error" || name == "why") {
			x.Detail = value
		}
	}
	text, err := w.Message("found."+string(f.Code), pairs...)
	if err != nil { // of another release
		text = strings.TrimSpace(f.Saw + "\n" + f.Do)
	}
	lines := strings.Split(text, "\n")
	if f.Do == "" {
		x.Saw = lines
	} else {
		x.Saw, x.Do = lines[:1], lines[1:]
	}
	return x
}

// milliseconds formats a duration.
func milliseconds(w *web.Words, n int64) string {
	switch {
	case n < 1:
		return w.T("doctor.instant")
	case n < 1000:
		return w.T("doctor.ms", "number", strconv.FormatInt(n, 10))
	}
	return w.T("doctor.seconds", "number", strconv.FormatInt((n+500)/1000, 10))
}

// logMessages are the messages of the log that the pages have words for. The others are in English.
var logMessages = []string{
	"state", "uplink-probed", "uplink-fails", "child-started", "child-failed", "problem", "sessions-restored", "configuration-applied",
	"restarting",
}

// newLogLine says a line of the log in the reader's words where it knows the code.
func newLogLine(w *web.Words, e state.LogEntry, r *request) logLine {
	l := logLine{At: w.Clock(e.At.In(r.Now.Location())), Text: e.Text, Lang: "en"}
	switch e.Level {
	case "WARN":
		l.Level, l.Word = "warning", w.T("verdict.warning")
	case "ERROR":
		l.Level, l.Word = "error", w.T("verdict.fault")
	}
	code := string(e.Code)
	if code == "uplink-probed" && e.Args["works"] == "false" {
		code = "uplink-fails"
	}
	var pairs []string
	for name, value := range e.Args {
		if name == "state" {
			if lines, err := w.Message("home." + value); err == nil {
				value, _, _ = strings.Cut(lines, "\n")
			}
		}
		pairs = append(pairs, name, value)
	}
	if !slices.Contains(logMessages, code) {
		return l
	}
	if text := w.T("log."+code, pairs...); !strings.Contains(text, "{") { // else it is another release's
		l.Text, l.Lang = text, ""
	}
	return l
}

// search begins a search.
func (s *Server) search(w http.ResponseWriter, r *request) {
	s.Doctor.Search()
	r.Lead(w, http.StatusSeeOther, doctorPath)
}

// support sends the file for those who help.
func (s *Server) support(w http.ResponseWriter, r *request) {
	zip, err := s.Doctor.Support(r.Context())
	if err != nil {
		s.failed(w, r, "make the file for those who help", err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/zip")
	h.Set("Content-Disposition", `attachment; filename="passerelle-`+r.Now.Format("2006-01-02")+`.zip"`)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.Write(zip) // an error means that the client is gone
}
