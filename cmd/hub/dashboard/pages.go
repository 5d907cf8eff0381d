package dashboard

import (
	"crypto/rand"
	"encoding/csv"
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"passerelle/appliance/fleet/command"
	"passerelle/appliance/fleet/report"
	"passerelle/appliance/state"
	"passerelle/captive/web"
	"passerelle/cmd/hub/registry"
	"passerelle/cmd/hub/stages"
	"passerelle/cmd/hub/survey"
)

// row is a box in a list.
type row struct {
	Href  string
	Name  string // its centre's, or its own
	Where string // its association, and its département if it is known
	Kind  string // as in dot
	State string
	Seen  string
	Needs []need
	Waits bool
}

// need is why a box needs attention, in words.
type need struct {
	Text, Pictogram string
	Since           string // "" if unknown
}

var needPictograms = map[survey.Kind]string{
	survey.Fault: "fault", survey.Silent: "offline", survey.Fell: "back", survey.Spent: "data", survey.Behind: "history", survey.Waiting: "wait",
}

// needsOf returns why a box needs attention, in words.
func needsOf(w *web.Words, b survey.Box, needs []survey.Need, now time.Time) (all []need) {
	for _, n := range needs {
		text := w.T("hub.need."+string(n.Kind), "version", string(n.Version), "number", strconv.Itoa(n.Donation), "days", strconv.Itoa(n.Days))
		switch {
		case n.Kind == survey.Fault:
			text = w.T("hub.need.fault", "code", string(n.Code))
		case n.Kind == survey.Fell && n.Version == "":
			text = w.T("hub.need.fell-unknown")
		}
		if n.Kind == survey.Fell && n.Code != "" && n.Code != report.Unknown {
			text += " " + w.T("hub.fell."+string(n.Code))
		}
		one := need{Text: text, Pictogram: needPictograms[n.Kind]}
		if !n.Since.IsZero() {
			one.Since = w.T("hub.since", "day", w.Day(n.Since))
		}
		all = append(all, one)
	}
	return all
}

// kindOf returns how a box is drawn, as in dot, "" for not at all.
func kindOf(b survey.Box, needs []survey.Need) string {
	switch {
	case b.Stage == registry.Revoked:
		return ""
	case b.Stage == registry.Waiting:
		return "waits"
	case len(needs) > 0:
		return "needs"
	}
	return "well"
}

// seen has the boxes that a person sees, with what each needs.
type seen struct {
	boxes []survey.Box
	needs [][]survey.Need
}

func (s *Server) seen(r *request, of func(survey.Box) bool) (x seen) {
	// The current version is the whole fleet's, even for a person who sees only a part of it.
	current := survey.Current(s.Survey.Boxes(), r.Now)
	for _, b := range s.boxes(r) {
		if of(b) {
			x.boxes = append(x.boxes, b)
			x.needs = append(x.needs, b.Needs(current, r.Now))
		}
	}
	return x
}

func everyBox(survey.Box) bool { return true }

func (x seen) rows(r *request) (rows []row) {
	for i, b := range x.boxes {
		rows = append(rows, rowOf(r, b, x.needs[i]))
	}
	return rows
}

func rowOf(r *request, b survey.Box, needs []survey.Need) row {
	w := r.Words
	where := b.Association
	if d, ok := byNumber[b.Department]; ok {
		where += ", " + d.Name
	}
	return row{
		Href: "/box/" + b.Name, Name: b.Called(), Where: where, Kind: kindOf(b, needs), Seen: seenAt(r, b),
		Needs: needsOf(w, b, needs, r.Now), Waits: b.Stage == registry.Waiting, State: stateOf(w, b),
	}
}

func seenAt(r *request, b survey.Box) string {
	if b.Seen.IsZero() {
		return r.Words.T("hub.never")
	}
	return r.Words.When(b.Seen.In(r.Now.Location()), r.Now)
}

func stateOf(w *web.Words, b survey.Box) string {
	switch {
	case b.Stage != registry.Member:
		return w.T("hub.stage." + string(b.Stage))
	case b.Newest() == nil:
		return w.T("hub.state.unknown")
	}
	return reported(w, b.Newest().State)
}

// reported returns the state that a box reports, in words.
func reported(w *web.Words, state report.Word) string {
	if state == report.Unknown {
		return w.T("hub.state.unknown")
	}
	return w.T("hub.state." + string(state))
}

// homePage is the overview of the federation, or of the person's association.
type homePage struct {
	frame
	Members, Well, Need, Wait int
	Outlines                  template.HTML
	Dots                      []dot
	Unplaced                  int // boxes that are not on the map
	Groups                    []group
	Attention                 []row // the first boxes that need attention
	More                      int   // how many others do
}

func (homePage) Template() string { return "dashboard/home" }

// group is an association in the table.
type group struct {
	Href, Name, Region        string
	Members, Well, Need, Wait int
}

// fewRows is how many boxes that need attention are on the home page.
const fewRows = 10

func (s *Server) home(w http.ResponseWriter, r *request) {
	p := homePage{frame: s.frame(r, "home", pathHome, r.Words.T("hub.home.title")), Outlines: outlines}
	x := s.seen(r, everyBox)
	of := map[string]*group{}
	for name, region := range s.Survey.Associations() {
		if r.sees(name) {
			of[name] = &group{Href: "/association/" + name, Name: name, Region: region}
		}
	}
	kinds := map[string]string{}
	for i, b := range x.boxes {
		g := of[b.Association]
		if g == nil {
			g = &group{Href: "/association/" + b.Association, Name: b.Association}
			of[b.Association] = g
		}
		kinds[b.Name] = kindOf(b, x.needs[i])
		switch kinds[b.Name] {
		case "waits":
			g.Wait++
		case "needs":
			g.Members, g.Need = g.Members+1, g.Need+1
		case "well":
			g.Members, g.Well = g.Members+1, g.Well+1
		}
		if _, ok := byNumber[b.Department]; !ok && kinds[b.Name] != "" {
			p.Unplaced++
		}
	}
	for _, g := range of {
		p.Members, p.Well, p.Need, p.Wait = p.Members+g.Members, p.Well+g.Well, p.Need+g.Need, p.Wait+g.Wait
		p.Groups = append(p.Groups, *g)
	}
	slices.SortFunc(p.Groups, func(a, b group) int {
		if c := strings.Compare(a.Region, b.Region); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	p.Dots = dots(x.boxes, func(b survey.Box) string { return kinds[b.Name] })
	p.Attention = urgent(x, r)
	p.More = max(0, len(p.Attention)-fewRows)
	p.Attention = p.Attention[:len(p.Attention)-p.More]
	s.serve(w, r, p, http.StatusOK)
}

// urgent returns the boxes that need attention, the most urgent first.
func urgent(x seen, r *request) (rows []row) {
	var order []int
	for i, needs := range x.needs {
		if len(needs) > 0 {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		rank := func(i int) int { return slices.Index(survey.Kinds, x.needs[i][0].Kind) }
		return rank(a) - rank(b)
	})
	for _, i := range order {
		rows = append(rows, rowOf(r, x.boxes[i], x.needs[i]))
	}
	return rows
}

// listPage is a list of boxes: of an association, or of those that need attention.
type listPage struct {
	frame
	Lead      []string
	Rows      []row
	Languages []string // the unreviewed languages, with how many boxes show each
}

func (listPage) Template() string { return "dashboard/list" }

func (s *Server) attention(w http.ResponseWriter, r *request) {
	p := listPage{frame: s.frame(r, "attention", "/attention", r.Words.T("hub.attention.title")), Rows: urgent(s.seen(r, everyBox), r)}
	p.Lead = r.Words.Lines("hub.attention.text")
	if len(p.Rows) == 0 {
		p.Lead = r.Words.Lines("hub.attention.none")
	}
	for _, t := range survey.Unreviewed(s.boxes(r)) {
		p.Languages = append(p.Languages, r.Words.T("hub.languages.on", "language", r.Words.T("hub.language."+string(t.Code)), "number", strconv.Itoa(t.Boxes)))
	}
	p.Up = web.Link{Href: pathHome, Text: r.Words.T("hub.home.title")}
	s.serve(w, r, p, http.StatusOK)
}

func (s *Server) association(w http.ResponseWriter, r *request) {
	name := r.PathValue("name")
	x := s.seen(r, func(b survey.Box) bool { return b.Association == name })
	if _, known := s.Survey.Associations()[name]; !r.sees(name) || !known && len(x.boxes) == 0 {
		s.missing(w, r)
		return
	}
	p := listPage{frame: s.frame(r, "home", "/association/"+name, name), Rows: x.rows(r)}
	p.Lead = r.Words.Lines("hub.association.text")
	if len(p.Rows) == 0 {
		p.Lead = r.Words.Lines("hub.association.none")
	}
	p.Up = web.Link{Href: pathHome, Text: r.Words.T("hub.home.title")}
	s.serve(w, r, p, http.StatusOK)
}

// boxPage is the page of a box.
type boxPage struct {
	frame
	row
	Box          string   // its name in the fleet
	Compare      []string // the words of a waiting box
	Member       bool
	Release      string
	Unreviewed   string // the unreviewed languages, "" for none
	Confirmed    string
	Days         []dayRow
	Done         string // what became of the last command, "" if there was none
	Found        *found // the last diagnosis; nil if there was none
	Place        string // its centre
	Number       string // of its département
	Departements []departement
	Saved        bool
}

func (boxPage) Template() string { return "dashboard/box" }

// found is a box's diagnosis, in words.
type found struct {
	When  string
	Steps []foundStep // those with a fault or a warning
	Well  []string    // the titles of the others
}

// foundStep is a step with a fault or a warning.
type foundStep struct {
	Title     string
	Pictogram string
	Verdict   string // in words
	Saw       string
	Do        []string
}

// foundPictograms has the pictograms of verdicts. Steps whose verdict is not here are well.
var foundPictograms = map[report.Word]string{report.Word(state.Warn): "question", report.Word(state.Bad): "fault"}

// figure matches the placeholders for figures in a text. A box does not report the figures.
var figure = regexp.MustCompile(`\{[a-z]+\}`)

// foundOf returns a box's diagnosis in the reader's language, nil if there is none.
func foundOf(w *web.Words, b survey.Box, now time.Time) *found {
	if b.Found == nil {
		return nil
	}
	f := &found{When: w.T("hub.found.when", "time", w.When(b.FoundAt.In(now.Location()), now))}
	for _, s := range b.Found.Steps {
		x := foundStep{Title: w.T("step." + string(s.Step)), Pictogram: foundPictograms[s.Verdict]}
		if s.Step == report.Unknown {
			x.Title = w.T("hub.found.else")
		}
		if s.Donation > 0 {
			x.Title = w.T("hub.found.loan", "step", x.Title, "number", strconv.Itoa(s.Donation))
		}
		if x.Pictogram == "" {
			f.Well = append(f.Well, x.Title)
			continue
		}
		x.Verdict = w.T("verdict." + string(s.Verdict))
		text, err := w.Message("found." + string(s.Code))
		if err != nil { // a code of another release
			text = w.T("hub.found.unknown")
		}
		lines := strings.Split(figure.ReplaceAllLiteralString(text, "…"), "\n")
		x.Saw, x.Do = lines[0], lines[1:]
		f.Steps = append(f.Steps, x)
	}
	return f
}

// dayRow is a day that a box reported.
type dayRow struct{ Day, State, Sessions, Bytes string }

// fewDays is how many days are on a box's page.
const fewDays = 14

// find returns the box that the request names, if the person sees it. Otherwise it answers that there is none.
func (s *Server) find(w http.ResponseWriter, r *request) (survey.Box, bool) {
	for _, b := range s.boxes(r) {
		if b.Name == r.PathValue("name") {
			return b, true
		}
	}
	s.missing(w, r)
	return survey.Box{}, false
}

func (s *Server) box(w http.ResponseWriter, r *request) {
	b, ok := s.find(w, r)
	if !ok {
		return
	}
	needs := b.Needs(survey.Current(s.Survey.Boxes(), r.Now), r.Now)
	p := boxPage{
		frame: s.frame(r, "home", "/box/"+b.Name, b.Called()), row: rowOf(r, b, needs), Box: b.Name, Member: b.Stage == registry.Member,
		Release: string(b.Release()), Place: b.Centre, Number: b.Department, Departements: departements,
		Saved: r.URL.Query().Has("saved"), Found: foundOf(r.Words, b, r.Now),
	}
	if p.Waits {
		p.Compare = b.Words[:]
	}
	var languages []string
	for _, code := range b.Unreviewed() {
		languages = append(languages, r.Words.T("hub.language."+string(code)))
	}
	p.Unreviewed = strings.Join(languages, ", ")
	if !b.Confirmed.IsZero() {
		p.Confirmed = r.Words.T("hub.box.confirmed", "name", b.By, "day", r.Words.Day(b.Confirmed))
	}
	if b.Done != nil {
		p.Done = r.Words.T("hub.verdict."+string(b.Done.Verdict), "action", r.Words.T("hub.action."+string(b.Done.Action)), "time", r.Words.When(b.Done.At.In(r.Now.Location()), r.Now))
	}
	for _, d := range slices.Backward(b.Days[max(0, len(b.Days)-fewDays):]) {
		var bytes uint64
		for _, t := range b.Totals {
			if t.Day == d.Report.Day {
				bytes = t.Bytes
			}
		}
		at, err := time.Parse(time.DateOnly, string(d.Report.Day))
		if err != nil {
			continue
		}
		p.Days = append(p.Days, dayRow{r.Words.Day(at), reported(r.Words, d.Report.State), count(r.Words, uint64(d.Sessions)), r.Words.Size(bytes)})
	}
	p.Up = web.Link{Href: "/association/" + b.Association, Text: b.Association}
	s.serve(w, r, p, http.StatusOK)
}

// count formats a count of what people did. 0 means fewer than five, since a box reports no more than that then.
func count(w *web.Words, n uint64) string {
	if n == 0 {
		return w.T("hub.below-five")
	}
	return strconv.FormatUint(n, 10)
}

// did answers a change of a box: it redirects back to the box's page, or says why the change was not made.
func (s *Server) did(w http.ResponseWriter, r *request, b survey.Box, err error) {
	back := "/box/" + b.Name
	switch {
	case err == nil:
		s.lead(w, r, back, url.Values{"saved": {"yes"}})
	case errors.Is(err, registry.ErrWords):
		s.explain(w, r, http.StatusConflict, "hub.words-changed", back)
	default:
		s.Log.Warn("change a box", "box", b.Name, "err", err)
		s.explain(w, r, http.StatusServiceUnavailable, "hub.not-done", back)
	}
}

func (s *Server) confirm(w http.ResponseWriter, r *request) {
	if b, form, ok := s.boxForm(w, r); ok {
		s.did(w, r, b, s.Registry.Confirm(r.Context(), r.person.Name, b.Name, strings.Fields(form.Get("words"))))
	}
}

// boxForm returns the box and the form of a request. If something is wrong with either, it answers, and ok is false.
func (s *Server) boxForm(w http.ResponseWriter, r *request) (b survey.Box, form url.Values, ok bool) {
	if b, ok = s.find(w, r); ok {
		form, ok = s.form(w, r)
	}
	return b, form, ok
}

func (s *Server) place(w http.ResponseWriter, r *request) {
	b, form, ok := s.boxForm(w, r)
	if !ok {
		return
	}
	number := form.Get("department")
	if _, known := byNumber[number]; number != "" && !known {
		s.explain(w, r, http.StatusBadRequest, "hub.refused", "/box/"+b.Name)
		return
	}
	s.did(w, r, b, s.Registry.Place(r.Context(), r.person.Name, b.Name, strings.TrimSpace(form.Get("centre")), number))
}

// commandFor is how long a command waits for a box, which visits its hubs a few times a day.
const commandFor = 24 * time.Hour

func (s *Server) command(w http.ResponseWriter, r *request) {
	b, form, ok := s.boxForm(w, r)
	if !ok {
		return
	}
	action := command.Action(form.Get("do"))
	if b.Stage != registry.Member || !slices.Contains(command.Actions, action) {
		s.explain(w, r, http.StatusBadRequest, "hub.refused", "/box/"+b.Name)
		return
	}
	c := command.Command{ID: rand.Text(), Action: action, Expires: r.Now.Add(commandFor).UTC().Truncate(time.Second), By: r.person.Name}
	body, err := json.Marshal(c)
	if err == nil {
		err = s.Registry.PutCommand(r.Context(), r.person.Name, b.Association, b.Name, body)
	}
	s.did(w, r, b, err)
}

// revokePage asks for a confirmation before a box is revoked.
type revokePage struct {
	frame
	Box string
}

func (revokePage) Template() string { return "dashboard/revoke" }

func (s *Server) askRevoke(w http.ResponseWriter, r *request) {
	b, ok := s.find(w, r)
	if !ok {
		return
	}
	p := revokePage{s.frame(r, "home", "/box/"+b.Name+"/revoke", r.Words.T("hub.revoke.title", "name", b.Called())), b.Name}
	p.Up = web.Link{Href: "/box/" + b.Name, Text: b.Called()}
	s.serve(w, r, p, http.StatusOK)
}

func (s *Server) revoke(w http.ResponseWriter, r *request) {
	if b, ok := s.find(w, r); ok {
		if status := web.CheckPOST(w, r.Request.Request); status != http.StatusOK {
			s.explain(w, r, status, "hub.refused", "/box/"+b.Name)
			return
		}
		s.did(w, r, b, s.Registry.Revoke(r.Context(), r.person.Name, b.Name))
	}
}

// releasesPage shows how versions do.
type releasesPage struct {
	frame
	Rollout string // the path of the roll-out's page, "" if there never was a roll-out
	Rows    []releaseRow
}

func (releasesPage) Template() string { return "dashboard/releases" }

type releaseRow struct {
	Number             int // of the row, from 1
	Version            string
	Run, Trouble, Fell int
	Halt               bool
}

// releases shows how versions do with the boxes that the person sees. Whether a version should be halted is judged by the whole fleet.
func (s *Server) releases(w http.ResponseWriter, r *request) {
	p := releasesPage{frame: s.frame(r, "releases", "/releases", r.Words.T("hub.releases.title"))}
	_, ok, err := s.Registry.Rollout(r.Context())
	if err != nil {
		s.failed(w, r, "read the roll-out", err)
		return
	}
	if ok {
		p.Rollout = pathRollout
	}
	halted := map[report.Version]bool{}
	for _, x := range survey.Releases(s.Survey.Boxes(), r.Now) {
		halted[x.Version] = x.Halt()
	}
	for i, x := range survey.Releases(s.boxes(r), r.Now) {
		p.Rows = append(p.Rows, releaseRow{i + 1, string(x.Version), x.Run, x.Trouble, x.Fell, halted[x.Version]})
	}
	s.serve(w, r, p, http.StatusOK)
}

// rolloutPage shows how far a release may go, and how many boxes of its stage do well, in the whole fleet.
type rolloutPage struct {
	frame
	Number int64 // of the stage that is shown
	Halted bool
	Stands []string // its state, and why
	By     string
	Steps  []stepRow
	Counts []string
	May    []action // what the person may do
	Saved  bool
}

func (rolloutPage) Template() string { return "dashboard/rollout" }

// stepRow is a stage, action a button.
type (
	stepRow struct {
		Text string
		Here bool
	}
	action struct{ Do, Text, Pictogram string }
)

var actionPictograms = map[stages.Action]string{stages.Raise: "yes", stages.Halt: "paused", stages.Resume: "play", stages.Abandon: "remove"}

func (s *Server) rollout(w http.ResponseWriter, r *request) {
	x, ok, err := s.Registry.Rollout(r.Context())
	if err != nil {
		s.failed(w, r, "read the roll-out", err)
		return
	}
	if !ok {
		s.missing(w, r)
		return
	}
	words, c := r.Words, stages.Count(s.Survey.Boxes(), x, r.Now)
	p := rolloutPage{
		frame: s.frame(r, "releases", pathRollout, words.T("hub.rollout.title", "version", x.Version)), Number: x.Number,
		Halted: x.Phase != registry.Going, Stands: words.Lines("hub.rollout.phase." + string(x.Phase)),
		By: words.T("hub.rollout.by", "name", x.By, "day", words.Day(x.Began)), Saved: r.URL.Query().Has("saved"),
	}
	if x.Why != "" {
		p.Stands = append(p.Stands, words.T("hub.rollout.why."+x.Why))
	}
	for _, step := range stages.Steps {
		p.Steps = append(p.Steps, stepRow{words.T("hub.rollout.step." + strconv.Itoa(step)), step == x.Permille})
	}
	for _, n := range []struct {
		key    string
		number int
	}{{"chosen", c.Chosen}, {"well", c.Well}, {"waiting", c.Waiting()}, {"fell", c.Fell}, {"ill", c.Ill}, {"lost", c.Lost}} {
		p.Counts = append(p.Counts, words.T("hub.rollout.count."+n.key, "number", strconv.Itoa(n.number)))
	}
	if r.person.Association == "" {
		for _, a := range stages.May(x) {
			p.May = append(p.May, action{string(a), words.T("hub.rollout.do." + string(a)), actionPictograms[a]})
		}
	}
	p.Up = web.Link{Href: "/releases", Text: words.T("hub.releases.title")}
	s.serve(w, r, p, http.StatusOK)
}

// changeRollout is for people of the federation only, since a release is for all associations.
func (s *Server) changeRollout(w http.ResponseWriter, r *request) {
	form, ok := s.form(w, r)
	if !ok {
		return
	}
	number, err := strconv.ParseInt(form.Get("number"), 10, 64)
	a := stages.Action(form.Get("do"))
	if err != nil || r.person.Association != "" || actionPictograms[a] == "" {
		s.explain(w, r, http.StatusForbidden, "hub.refused", pathRollout)
		return
	}
	switch err := s.Registry.ChangeRollout(r.Context(), r.person.Name, string(a)+" roll-out", func(x *registry.Rollout) (err error) {
		*x, err = stages.Act(*x, a, number, stages.Count(s.Survey.Boxes(), *x, r.Now), r.Now)
		return err
	}); {
	case err == nil:
		s.lead(w, r, pathRollout, url.Values{"saved": {"yes"}})
	case errors.Is(err, stages.ErrNot):
		s.explain(w, r, http.StatusConflict, "hub.rollout.changed", pathRollout)
	default:
		s.Log.Warn("change the roll-out", "err", err)
		s.explain(w, r, http.StatusServiceUnavailable, "hub.not-done", pathRollout)
	}
}

// sumsPage shows the sums for funders.
type sumsPage struct {
	frame
	Rows []sumRow
}

func (sumsPage) Template() string { return "dashboard/sums" }

type sumRow struct{ Month, Boxes, Sessions, Bytes string }

func (s *Server) sums(w http.ResponseWriter, r *request) {
	p := sumsPage{frame: s.frame(r, "sums", "/sums", r.Words.T("hub.sums.title"))}
	for _, m := range survey.Months(s.boxes(r)) {
		month, err := time.Parse("2006-01", m.Month)
		if err != nil {
			continue
		}
		p.Rows = append(p.Rows, sumRow{r.Words.Month(month), strconv.Itoa(m.Boxes), strconv.FormatUint(m.Sessions, 10), r.Words.Size(m.Bytes)})
	}
	s.serve(w, r, p, http.StatusOK)
}

// sumsCSV serves the sums by association, for a spreadsheet.
func (s *Server) sumsCSV(w http.ResponseWriter, r *request) {
	of := map[string][]survey.Box{}
	var names []string
	for _, b := range s.boxes(r) {
		if of[b.Association] == nil {
			names = append(names, b.Association)
		}
		of[b.Association] = append(of[b.Association], b)
	}
	slices.Sort(names)
	h := w.Header()
	h.Set("Content-Type", "text/csv; charset=utf-8")
	h.Set("Content-Disposition", `attachment; filename="passerelle.csv"`)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	out := csv.NewWriter(w)
	// Errors are ignored: they mean that the client is gone.
	out.Write([]string{"month", "region", "association", "boxes", "days", "sessions_at_least", "bytes"})
	for _, name := range names {
		for _, m := range survey.Months(of[name]) {
			out.Write([]string{m.Month, of[name][0].Region, name, strconv.Itoa(m.Boxes), strconv.Itoa(m.Days),
				strconv.FormatUint(m.Sessions, 10), strconv.FormatUint(m.Bytes, 10)})
		}
	}
	out.Flush()
}
