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

// Doctor diagnoses the box. Its methods are safe for concurrent use.
type Doctor interface {
	// Search starts a diagnosis, unless one is running.
	Search()
	// Diagnosis returns the results so far of the running diagnosis, or else the last one. ok is false if there is none.
	Diagnosis() (d state.Diagnosis, ok bool)
	// RecentLog returns the log of the last hour, oldest line first.
	RecentLog() []state.LogEntry
	// Support returns the support file, a zip.
	Support(ctx context.Context) ([]byte, error)
}

// diagnoses is the duty that is needed to run a diagnosis. supports is the duty that is needed to see its details in English, the
// log, and the support file.
const (
	diagnoses = welcomes
	supports  = configures
)

const (
	doctorPath  = "/admin/doctor"
	supportPath = doctorPath + "/support.zip"

	// refreshAfter is how often the page reloads while a diagnosis runs, in seconds.
	refreshAfter = 2
	// maxLog is how many lines of the log the page shows.
	maxLog = 60
)

// doctorRoutes are the pages of the diagnosis.
var doctorRoutes = map[string]dutyRoute{
	"GET " + doctorPath:  {diagnoses, (*Server).doctorPage},
	"POST " + doctorPath: {diagnoses, (*Server).search},
	"GET " + supportPath: {supports, (*Server).support},
}

// doctorPage shows a running diagnosis, or the result of the last one.
type doctorPage struct {
	techFrame
	Up      web.Link
	Running bool
	Done    int        // steps that have a result
	All     int        // steps in all
	Cause   *foundStep // nil if all is well, or nothing is known
	Well    bool
	When    string // when the last diagnosis ran, and how long it took
	Cost    string // how much data it used
	Groups  []stepGroup
	Log     []logLine
	Support bool // the reader may see the details, the log and the support file
}

func (doctorPage) Template() string { return "admin/doctor" }

// stepGroup holds consecutive steps about one thing: the box, or a donation.
type stepGroup struct {
	Name  string // the donation's name; "" for the box
	Steps []foundStep
}

// foundStep is one step of the diagnosis, as the page shows it.
type foundStep struct {
	Title, Of string
	Verdict   state.Verdict
	Word      string // the verdict, in words
	Pictogram string
	Saw       []string
	Do        []string
	Detail    string // in English, from the box; "" for none
}

// stepPictograms has the pictogram of each verdict.
var stepPictograms = map[state.Verdict]string{
	state.OK: "done", state.Warn: "question", state.Bad: "fault", state.Skipped: "paused", "": "wait",
}

// logLine is a line of the log.
type logLine struct {
	At    string
	Level string // "warning", "error", or "" for lower levels
	Word  string // the level in words
	Text  string
	Lang  string // "en" if the text is the log's own, "" if it is in the page's language
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

// doctorTile is the desk's link to the diagnosis. It comes first while residents have no internet because of a failure.
func (s *Server) doctorTile(r *request) (t deskTile, shown bool) {
	box := s.Box.Status().State
	t.Door = web.Door{Href: doctorPath, Pictogram: "search", Title: r.Words.T("doctor.title"), Text: r.Words.T("staff.doctor")}
	t.Waits = box == state.Offline || box == state.Fault
	return t, true
}

// show fills in the page from a diagnosis.
func (p *doctorPage) show(d state.Diagnosis, r *request) {
	words := r.Words
	for _, f := range d.Steps {
		x := newFound(words, f, p.Support)
		if f.Verdict != "" {
			p.Done++
		}
		p.All++
		// The steps of one donation are consecutive. Steps of the box come before and after them, so the box can have two groups.
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

// newFound describes what a step found, in the reader's language if it has words for the code. With details it adds the box's own
// English text.
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
	if err != nil { // a code of another release
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

// milliseconds formats a duration of n milliseconds.
func milliseconds(w *web.Words, n int64) string {
	switch {
	case n < 1:
		return w.T("doctor.instant")
	case n < 1000:
		return w.T("doctor.ms", "number", strconv.FormatInt(n, 10))
	}
	return w.T("doctor.seconds", "number", strconv.FormatInt((n+500)/1000, 10))
}

// logMessages are the codes of log messages that the pages have words for. Other messages are shown in English.
var logMessages = []string{
	"state", "uplink-probed", "uplink-fails", "child-started", "child-failed", "problem", "sessions-restored", "configuration-applied",
	"restarting",
}

// newLogLine returns a line of the log, in the reader's language if there are words for its code.
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
	if text := w.T("log."+code, pairs...); !strings.Contains(text, "{") { // else another release logged it, with other arguments
		l.Text, l.Lang = text, ""
	}
	return l
}

// search starts a diagnosis.
func (s *Server) search(w http.ResponseWriter, r *request) {
	s.Doctor.Search()
	r.Lead(w, http.StatusSeeOther, doctorPath)
}

// support sends the support file.
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
