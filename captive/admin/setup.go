package admin

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"passerelle/appliance/config"
	"passerelle/captive/records"
	"passerelle/captive/web"
)

// The first start is a wizard: it asks for what a box without a configuration needs, one page after the other. The answers are
// kept on disk until the last page makes a configuration from them. A technician who leaves half-way finds them again, in any
// browser that signs in.

// setupPath is the path of the first start. A page's path is setupPath/NAME.
const setupPath = "/admin/setup"

// step is a page of the first start with a form.
type step struct {
	name   string
	keys   []string                                           // the keys of the configuration, and other fields of the form, that the page asks for
	start  func(a answers, m seen) url.Values                 // returns the initial form
	change func(form url.Values) []config.Change              // returns the changes that a form makes
	lacks  func(form url.Values, a answers) map[string]string // returns a word for each problem that package config does not explain, by field
	parts  func(setupForm, *web.Words) []setupPart            // returns the parts of the page
}

// The pages that are not forms.
const (
	setupSummary = "summary"
	setupDone    = "done"
)

// setupSteps are the pages with a form, in their order.
var setupSteps = []step{centreStep, lineStep, hotspotStep, limitsStep}

func setupStep(name string) int {
	return slices.IndexFunc(setupSteps, func(s step) bool { return s.name == name })
}

// answers are the forms of the pages, by page, as a browser sends them. They may contain secrets.
type answers map[string]url.Values

// kept is the content of the file of answers.
type kept struct {
	Pages answers `json:"pages"`
}

// answersFile returns the file of answers.
func (s *Server) answersFile() records.File[kept] {
	return records.File[kept]{Path: filepath.Join(s.SetupDir, "answers.json"), Version: 1}
}

// answers returns the answers so far. A file that cannot be read counts as empty: the technician answers again.
func (s *Server) answers() answers {
	k, err := s.answersFile().Read()
	if err != nil {
		s.Log.Warn("the answers of the first start", "err", err)
	}
	return k.Pages
}

// keep stores the form of a page, and returns all answers so far.
func (s *Server) keep(name string, form url.Values) (answers, error) {
	k, err := s.answersFile().Update(func(k *kept) error {
		if k.Pages == nil {
			k.Pages = answers{}
		}
		k.Pages[name] = form
		return nil
	})
	var unreadable *records.UnreadableError
	if errors.As(err, &unreadable) {
		s.Log.Warn("the answers of the first start", "err", err)
		err = nil
	}
	return k.Pages, err
}

// forget removes the answers. It is called when there is a configuration.
func (s *Server) forget() {
	if err := os.RemoveAll(s.SetupDir); err != nil {
		s.Log.Error("remove the answers of the first start", "err", err)
	}
}

// seen is the hardware that was found.
type seen struct {
	lines  []Line
	radios []Radio
	failed bool // it could not be read
}

// see looks for the machine's lines and radios. It takes a few seconds.
func (s *Server) see(r *request) (m seen) {
	web.Yield(r.Request.Request)
	var linesErr, radiosErr error
	m.lines, linesErr = s.Machine.FindLines(r.Context())
	m.radios, radiosErr = s.Machine.FindRadios()
	if err := errors.Join(linesErr, radiosErr); err != nil {
		s.Log.Error("read the machine for the first start", "err", err)
		m.failed = true
	}
	return m
}

// made is the configuration that answers result in. On a small board making it is slow, so a page makes it only once.
type made struct {
	text []byte
	conf *config.Config
	err  error // of type config.Problems if the answers are not complete
}

// make returns the configuration that the answers result in.
func (a answers) make() (m made) {
	m.text, m.conf, m.err = a.text()
	return m
}

func (a answers) text() ([]byte, *config.Config, error) {
	var changes []config.Change
	for _, s := range setupSteps {
		form := a[s.name]
		if form == nil {
			form = s.start(a, seen{})
		}
		changes = append(changes, s.change(form)...)
	}
	text, err := config.Edit(config.Example(), changes)
	if err != nil {
		return nil, nil, err
	}
	c, err := config.Parse(fileName, text)
	if err != nil {
		return nil, nil, err
	}
	return config.Format(c), c, nil
}

// problems returns what is wrong with a page's answers. beside has the problems of its fields, and others those that have no field.
// Each problem of the configuration is one of exactly one page.
func (a answers) problems(w *web.Words, s step, m made) (beside map[string]*problem, others []lineProblem) {
	beside = say(w, s.lacks(a[s.name], a))
	var all config.Problems
	if m.err != nil && !errors.As(m.err, &all) {
		others = append(others, lineProblem{Detail: m.err.Error()})
	}
	for _, p := range all {
		page, field := a.where(p.Key)
		switch {
		case page != s.name:
		case field == "":
			others = append(others, lineProblem{Detail: p.String()})
		case beside[field] == nil:
			beside[field] = &problem{Text: w.T("setup.wrong.refused"), Detail: p.Msg}
		}
	}
	return beside, others
}

// say returns problems by field in words.
func say(w *web.Words, problems map[string]string) map[string]*problem {
	said := map[string]*problem{}
	for field, word := range problems {
		said[field] = &problem{Text: w.T("setup.wrong." + word)}
	}
	return said
}

// where returns the page on which a problem with a key of the configuration is solved, and the field. The last page has the problems of
// keys that no page asks for. They have no field.
func (a answers) where(key string) (page, field string) {
	gives := clashes(a[hotspotStep.name], a)
	switch {
	case key == "donation.interface" && gives[placeName] != "", key == "hotspot.interface":
		return hotspotStep.name, placeName
	case key == "donation.interface":
		return lineStep.name, lineName
	case key == "donation.wifi" && gives["hotspot.country"] != "":
		return hotspotStep.name, "hotspot.country"
	}
	for _, s := range setupSteps {
		if i := slices.IndexFunc(s.keys, func(k string) bool { return within(key, k) }); i >= 0 {
			return s.name, s.keys[i]
		}
	}
	return setupSteps[len(setupSteps)-1].name, ""
}

// next returns the page to continue with: the first one that is not answered, or has a problem. m is what the answers result in. It has no
// error if all pages are well answered.
func (a answers) next(w *web.Words, m made) string {
	for _, s := range setupSteps {
		if a[s.name] == nil {
			return s.name
		}
		if beside, others := a.problems(w, s, m); len(beside)+len(others) > 0 {
			return s.name
		}
	}
	return setupSummary
}

// setupForm is a page of the first start that has a form.
type setupForm struct {
	techFrame
	Step     string
	Lead     []string
	Progress setupProgress
	Wrong    bool // the form is shown again with what is wrong
	Besides  []lineProblem
	Parts    []setupPart
	Stick    bool   // a USB stick with a backup is plugged in
	Centre   string // the centre of the box that made the backup; "" if unknown

	words   *web.Words
	finder  *finder // search for the centre
	form    url.Values
	secrets url.Values // the stored form, which says which secrets there are
	seen    seen
	taken   string // the interface that the page of the uplink gave away, or on that page the one that the hotspot has so far
	beside  map[string]*problem
}

func (setupForm) Template() string { return "admin/setup-form" }

// setupProgress shows the place of a page among all pages.
type setupProgress struct {
	Number, Of int
	Steps      []setupMark
}

// setupMark is a page in the progress.
type setupMark struct {
	Title      string
	Here, Done bool
}

// setupPart is a part of a form: a choice, or fields.
type setupPart struct {
	Choice *bigChoice
	Inputs []input
	Title  string // title that unfolds the fields; "" if they are always shown
	Open   bool
	Finder *finder
	When   string // the option that the fields belong to, "" for all. Without that option the fields can be hidden
}

// bigChoice is a choice between a few large options.
type bigChoice struct {
	Name, Label string
	Help        []string
	Options     []bigOption
	Note        []string // says what is missing
	None        []string // shown if there are no options
	Again       bool     // there is a button to look again
	Problem     *problem
}

type bigOption struct {
	Value, Title string
	Lines        []string
	Detail       string // technical detail, such as an interface's name
	Good         bool   // it works
	Bad          bool   // it does not work
	Chosen       bool
}

// progressOf returns the progress that a page shows.
func progressOf(w *web.Words, name string) (p setupProgress) {
	p.Of = len(setupTitles)
	p.Number = slices.Index(setupTitles, name) + 1
	for i, title := range setupTitles {
		p.Steps = append(p.Steps, setupMark{w.T("setup.title." + title), title == name, i < p.Number})
	}
	return p
}

// setupTitles are the names of all pages.
var setupTitles = []string{"centre", "line", "hotspot", "limits", setupSummary, setupDone}

// unconfigured reports whether the box waits for its first configuration.
func (s *Server) unconfigured() bool {
	text, _, err := s.Configuration.Read()
	return text == nil && err == nil && len(s.Box.Status().Donations) == 0
}

// setup redirects to the page to continue with.
func (s *Server) setup(w http.ResponseWriter, r *request) {
	if !s.unconfigured() {
		r.Lead(w, http.StatusSeeOther, adminPath)
		return
	}
	a := s.answers()
	r.Lead(w, http.StatusSeeOther, setupPath+"/"+a.next(r.Words, a.make()))
}

// setupPage shows a page of the first start.
func (s *Server) setupPage(w http.ResponseWriter, r *request) {
	name := r.PathValue("step")
	i := setupStep(name)
	if name == setupDone && !s.unconfigured() {
		s.setupEnd(w, r, false)
		return
	}
	if i < 0 && name != setupSummary && name != setupDone {
		s.missing(w, r)
		return
	}
	if !s.unconfigured() {
		r.Lead(w, http.StatusSeeOther, setupPath+"/"+setupDone)
		return
	}
	a := s.answers()
	m := a.make()
	// A page needs the answers of all pages before it.
	if next := a.next(r.Words, m); name == setupDone || slices.Index(setupTitles, name) > slices.Index(setupTitles, next) {
		r.Lead(w, http.StatusSeeOther, setupPath+"/"+next)
		return
	}
	if name == setupSummary {
		s.showSummary(w, r, m, "", http.StatusOK)
		return
	}
	var beside map[string]*problem
	if name == hotspotStep.name { // somebody may have gone back to the uplink
		beside = say(r.Words, clashes(a[name], a))
	}
	s.showStep(w, r, setupSteps[i], a, a[name], beside, nil, http.StatusOK)
}

// showStep shows a page with a form. A nil form stands for the initial one.
func (s *Server) showStep(w http.ResponseWriter, r *request, st step, a answers, form url.Values, beside map[string]*problem,
	others []lineProblem, status int) {
	var m seen
	if st.name == lineStep.name || st.name == hotspotStep.name {
		m = s.see(r)
	}
	start := st.start(a, m)
	if form == nil {
		form = start
	}
	if st.name == hotspotStep.name && clashes(form, a)[placeName] != "" { // choose another one
		form = maps.Clone(form)
		form.Del(placeName)
	}
	for _, name := range []string{lineName, placeName} { // choose what was plugged in since the last look
		if form.Get(name) == "" && start.Has(name) {
			form = maps.Clone(form)
			form.Set(name, start.Get(name))
		}
	}
	f := setupForm{
		techFrame: s.setupFrame(r, st.name), Step: st.name, Lead: r.Words.Lines("setup.lead." + st.name),
		Progress: progressOf(r.Words, st.name), Wrong: len(beside)+len(others) > 0, Besides: others,
		words: r.Words, form: form, secrets: a[st.name], seen: m, beside: beside,
	}
	switch st.name {
	case lineStep.name:
		_, f.taken, _ = strings.Cut(a[hotspotStep.name].Get(placeName), ":")
	case hotspotStep.name:
		_, f.taken = a.uplink()
	}
	if st.name == centreStep.name {
		f.finder = s.finderOf(form)
	}
	if st.name == setupSteps[0].name {
		web.Yield(r.Request.Request) // reading a stick can take seconds
		f.Centre, f.Stick = s.savedCentre(r)
	}
	f.Parts = st.parts(f, r.Words)
	s.serve(w, r, f, status)
}

// setupFrame returns the frame of a page of the first start. It has no menu, since the other pages need a configuration.
func (s *Server) setupFrame(r *request, name string) techFrame {
	return techFrame{Frame: r.Frame(setupPath+"/"+name, r.Words.T("setup.title."+name))}
}

// answerSetup stores a page's form, and redirects to the next page if nothing is wrong with it.
func (s *Server) answerSetup(w http.ResponseWriter, r *request) {
	name := r.PathValue("step")
	i := setupStep(name)
	if i < 0 && name != setupSummary {
		s.missing(w, r)
		return
	}
	sent, err := r.ReadForm(w, maxForm)
	if err != nil || !readable(sent) {
		s.refuse(w, r, http.StatusBadRequest)
		return
	}
	switch {
	case !s.unconfigured():
		r.Lead(w, http.StatusSeeOther, setupPath+"/"+setupDone) // somebody else was faster
		return
	case name == setupSummary:
		s.share(w, r, sent)
		return
	}
	st, before := setupSteps[i], s.answers()[name]
	found := name == centreStep.name && s.find(r, sent)
	form := st.keepNames(sent, before)
	a, err := s.keep(name, form)
	if err != nil {
		s.failed(w, r, "keep the answers of the first start", err)
		return
	}
	switch {
	case sent.Get("again") != "" || found:
		r.Lead(w, http.StatusSeeOther, setupPath+"/"+name)
		return
	case sent.Get("back") != "" && i > 0:
		r.Lead(w, http.StatusSeeOther, setupPath+"/"+setupSteps[i-1].name)
		return
	}
	beside, others := a.problems(r.Words, st, a.make())
	if len(beside)+len(others) == 0 {
		r.Lead(w, http.StatusSeeOther, setupPath+"/"+setupTitles[i+1])
		return
	}
	for _, key := range []string{"hotspot.password", "donation.wifi"} { // drop a wrong secret: nobody could correct it, since it is not shown
		if beside[key] != nil && form.Has(key) {
			form.Del(key)
			if a, err = s.keep(name, form); err != nil {
				s.failed(w, r, "keep the answers of the first start", err)
				return
			}
		}
	}
	s.showStep(w, r, st, a, form, beside, others, http.StatusUnprocessableEntity)
}

// readable reports whether a form has only text that a configuration may contain: valid UTF-8 without NUL.
func readable(form url.Values) bool {
	for name, values := range form {
		for _, v := range append([]string{name}, values...) {
			if !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
				return false
			}
		}
	}
	return true
}

// keepNames returns the fields of a form that the page asked for. A secret that was left empty keeps its previous value, unless it
// is to be removed.
func (st step) keepNames(sent, before url.Values) url.Values {
	form := url.Values{}
	for name, values := range sent {
		if slices.ContainsFunc(st.keys, func(key string) bool { return within(name, key) }) {
			form[name] = values
		}
	}
	for _, key := range st.keys {
		f := fieldOf(key)
		if f == nil || f.kind != aSecret && f.kind != aWiFi {
			continue
		}
		switch {
		case form.Get(key+removeName) != "":
			form.Del(key)
		case form.Get(key) == "" && before.Get(key) != "":
			form.Set(key, before.Get(key))
		case form.Get(key) == "":
			form.Del(key)
		}
		form.Del(key + removeName)
	}
	return form
}

// fields returns the inputs of keys, with the values of the page's form. Secrets are never shown.
func (f setupForm) fields(keys ...string) (all []input) {
	for _, key := range keys {
		field := *fieldOf(key)
		form := maps.Clone(f.form)
		var was any
		switch secret := f.secrets.Get(key); field.kind {
		case aSecret:
			form.Del(key)
			was = secret
		case aWiFi:
			form.Del(key)
			was = config.Table{{Key: "passphrase", Value: secret}}
		}
		in := field.input(f.words, form, was)
		in.Problem, in.Rare = f.beside[key], false
		all = append(all, in)
	}
	return all
}

// choice returns a choice with options. The form's value is the chosen one.
func (f setupForm) choice(name string, options ...bigOption) *bigChoice {
	c := &bigChoice{
		Name: name, Label: f.words.T("setup.ask." + name), Help: f.words.Lines("setup.about." + name), Problem: f.beside[name],
	}
	for _, o := range options {
		o.Chosen = o.Value == f.form.Get(name)
		c.Options = append(c.Options, o)
	}
	return c
}

// wrongIn reports whether something is wrong with one of the keys.
func (f setupForm) wrongIn(keys ...string) bool {
	return slices.ContainsFunc(keys, func(key string) bool { return f.beside[key] != nil })
}

// changesOf returns the changes that a form makes to fields outside the donation.
func changesOf(form url.Values, keys ...string) (changes []config.Change) {
	for _, key := range keys {
		value, _ := fieldOf(key).read(form, nil) // the step's lacks reports what is wrong
		changes = append(changes, config.Change{Path: strings.Split(key, "."), Value: value})
	}
	return changes
}

// startOf returns a form with the given values.
func startOf(values map[string]any) url.Values {
	form := url.Values{}
	for key, value := range values {
		fieldOf(key).write(form, value)
	}
	return form
}

// lacksOf returns the problems that the fields of keys find, by key.
func lacksOf(form url.Values, keys ...string) map[string]string {
	problems := map[string]string{}
	for _, key := range keys {
		if _, wrong := fieldOf(key).read(form, nil); wrong != "" {
			problems[key] = wrong
		}
	}
	return problems
}
