package admin

import (
	"bytes"
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"passerelle/appliance/config"
	"passerelle/captive/web"
)

// Paths of the pages of the configuration. A group's page is settingsPath/NAME.
const (
	settingsPath  = "/admin/settings"
	donationsPath = settingsPath + "/donations"
	donationPath  = settingsPath + "/donation"
	textPath      = settingsPath + "/text"
	versionsPath  = settingsPath + "/versions"
)

// Names of form fields that are not keys of the configuration.
const (
	revisionName = "revision" // the revision of the text that the form shows
	draftName    = "draft"    // the id of a draft
	nameName     = "of"       // a donation's name
)

// settingsPage is the overview of the configuration.
type settingsPage struct {
	techFrame
	Doors []web.Door
	Wrong []lineProblem // problems of a file that somebody edited by hand
}

func (settingsPage) Template() string { return "admin/settings" }

// lineProblem is a problem in a line of a text.
type lineProblem struct {
	Line   int
	Name   string // the label of the key, "" for none
	Detail string // in English
}

func (s *Server) settings(w http.ResponseWriter, r *request) {
	p := settingsPage{techFrame: s.tech(r, "settings", settingsPath, r.Words.T("settings.title"))}
	text, _, ok := s.readConfiguration(w, r)
	if !ok {
		return
	}
	c, err := config.Parse(fileName, text)
	if err != nil {
		p.Wrong = problemsOf(r.Words, err)
	}
	door := func(name, pictogram, now string) {
		p.Doors = append(p.Doors, web.Door{
			Href: settingsPath + "/" + name, Pictogram: pictogram, Title: r.Words.T("settings.group." + name), Text: now,
		})
	}
	for _, g := range groups {
		if c == nil {
			break // the fields of an invalid file cannot be shown; its text can
		}
		if g.name == "limits" {
			var names []string
			for _, d := range byPriority(c) {
				names = append(names, d.Name)
			}
			door("donations", "share", strings.Join(names, ", "))
		}
		values := c.Values()
		now := g.fields[0].say(r.Words, values[g.fields[0].key])
		switch g.name {
		case "limits":
			now += ", " + g.fields[1].say(r.Words, values[g.fields[1].key])
		case "places", "lights", "advanced":
			now = r.Words.T("settings.about." + g.name)
		}
		door(g.name, g.pictogram, now)
	}
	door("versions", "history", r.Words.T("settings.about.versions"))
	p.Doors = append(p.Doors, web.Door{
		Href: journalPath, Pictogram: "days", Title: r.Words.T("journal.title"), Text: r.Words.T("journal.about"),
	})
	p.Doors = append(p.Doors, web.Door{
		Href: deskCodePath, Pictogram: "people", Title: r.Words.T("desk-code.title"), Text: r.Words.T("desk-code.about"),
	})
	p.Doors = append(p.Doors, web.Door{
		Href: backupPath, Pictogram: "data", Title: r.Words.T("backup.title"), Text: r.Words.T("backup.about"),
	})
	p.Doors = append(p.Doors, web.Door{
		Href: updatePath, Pictogram: "moved", Title: r.Words.T("update.title"), Text: r.Words.T("update.about"),
	})
	p.Doors = append(p.Doors, web.Door{
		Href: fleetPath, Pictogram: "people", Title: r.Words.T("fleet.title"), Text: r.Words.T("fleet.about"),
	})
	door("text", "page", r.Words.T("settings.about.text"))
	s.serve(w, r, p, http.StatusOK)
}

// fileName is the configuration's name in problems. The pages do not show it, except as the name of the download.
const fileName = "passerelle.toml"

// readConfiguration returns the configuration's text and revision. If there is no configuration, it answers the request and returns
// false.
func (s *Server) readConfiguration(w http.ResponseWriter, r *request) (text []byte, revision config.Revision, ok bool) {
	text, revision, err := s.Configuration.Read()
	switch {
	case err != nil:
		s.failed(w, r, "read the configuration", err)
	case text == nil:
		r.Lead(w, http.StatusSeeOther, adminPath)
	default:
		s.drafts.remember(text)
		return text, revision, true
	}
	return nil, "", false
}

// parsed is readConfiguration for pages that need a valid configuration.
func (s *Server) parsed(w http.ResponseWriter, r *request) (c *config.Config, revision config.Revision, ok bool) {
	text, revision, ok := s.readConfiguration(w, r)
	if !ok {
		return nil, "", false
	}
	c, err := config.Parse(fileName, text)
	if err != nil {
		r.Lead(w, http.StatusSeeOther, settingsPath)
		return nil, "", false
	}
	return c, revision, true
}

// textOf returns the text of the revision that a form was made from, or nil if it is no longer known.
func (s *Server) textOf(revision config.Revision) []byte {
	if text := s.drafts.text(revision); text != nil {
		return text
	}
	if text, now, err := s.Configuration.Read(); err == nil && now == revision {
		return text
	}
	if text, err := s.Configuration.Version(revision); err == nil {
		return text
	}
	return nil
}

// settingsForm is a page of fields.
type settingsForm struct {
	techFrame
	Name     string // of the group, or "donation"
	Lead     []string
	Action   string
	Up       web.Link // to the page above
	Revision config.Revision
	Of       string // the donation's name, "" for a new one
	Inputs   []input
	Rare     []input
	Open     bool          // the rare fields are shown
	Note     string        // a word for why the form is shown again, "" if it is shown for the first time
	Besides  []lineProblem // problems of keys that are not on this page
	Finder   *finder       // search for the centre; nil if no list of places is loaded
}

func (settingsForm) Template() string { return "admin/settings-form" }

// formOf returns the page of a group with the values of a form. was has the values of the configuration that the form started from.
func (s *Server) formOf(r *request, g *group, form url.Values, was map[string]any, problems map[string]*problem) settingsForm {
	p := settingsForm{
		techFrame: s.tech(r, "settings", settingsPath+"/"+g.name, r.Words.T("settings.group."+g.name)),
		Name:      g.name, Lead: r.Words.Lines("settings.lead." + g.name), Action: settingsPath + "/" + g.name,
		Up:       web.Link{Href: settingsPath, Text: r.Words.T("settings.title")},
		Revision: config.Revision(form.Get(revisionName)),
	}
	if g.name == centreStep.name {
		p.Finder = s.finderOf(form)
	}
	for _, f := range g.fields {
		in := f.input(r.Words, form, was[f.key])
		in.Problem = problems[f.key]
		if f.rare {
			p.Rare = append(p.Rare, in)
			p.Open = p.Open || in.Problem != nil
		} else {
			p.Inputs = append(p.Inputs, in)
		}
	}
	return p
}

// newForm returns a form with the values of a configuration.
func newForm(g *group, values map[string]any, revision config.Revision) url.Values {
	form := url.Values{revisionName: {string(revision)}}
	for _, f := range g.fields {
		f.write(form, values[f.key])
	}
	return form
}

func groupOf(name string) *group {
	if i := slices.IndexFunc(groups, func(g group) bool { return g.name == name }); i >= 0 {
		return &groups[i]
	}
	return nil
}

func (s *Server) settingsGroup(w http.ResponseWriter, r *request) {
	g := groupOf(r.PathValue("group"))
	if g == nil {
		s.missing(w, r)
		return
	}
	c, revision, ok := s.parsed(w, r)
	if !ok {
		return
	}
	values := c.Values()
	s.serve(w, r, s.formOf(r, g, newForm(g, values, revision), values, nil), http.StatusOK)
}

// changesIn returns what a form changes, and the problems that the fields found. path returns the path of a key in the file.
func changesIn(g *group, form url.Values, was map[string]any, path func(key string) []string) (changes []config.Change, problems map[string]*problem) {
	problems = make(map[string]*problem)
	for _, f := range g.fields {
		if f.only != nil && !f.only(form) {
			if was[f.key] != nil {
				changes = append(changes, config.Change{Path: path(f.key)})
			}
			continue
		}
		value, wrong := f.read(form, was[f.key])
		if wrong != "" {
			problems[f.key] = &problem{Text: wrong}
			continue
		}
		if same(value, was[f.key]) {
			continue
		}
		if table, ok := value.(config.Table); ok && len(table) == 0 {
			value = nil
		}
		changes = append(changes, config.Change{Path: path(f.key), Value: value})
	}
	return changes, problems
}

// prepareGroup reads a group's form, and shows what it would change.
func (s *Server) prepareGroup(w http.ResponseWriter, r *request) {
	g := groupOf(r.PathValue("group"))
	if g == nil {
		s.missing(w, r)
		return
	}
	form, base, c, ok := s.readSettings(w, r)
	if !ok {
		return
	}
	was := c.Values()
	if s.foundCentre(w, r, g, form, was) {
		return
	}
	changes, problems := changesIn(g, form, was, func(key string) []string { return strings.Split(key, ".") })
	d := draft{base: base, changes: changes, from: settingsPath + "/" + g.name}
	s.prepare(w, r, d, problems, func(problems map[string]*problem) settingsForm { return s.formOf(r, g, form, was, problems) })
}

// readSettings reads a form of fields, and the configuration that the form was made from. If it cannot, it answers the request and
// returns false.
func (s *Server) readSettings(w http.ResponseWriter, r *request) (form url.Values, base []byte, c *config.Config, ok bool) {
	form, err := r.ReadForm(w, maxForm)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest)
		return nil, nil, nil, false
	}
	base = s.textOf(config.Revision(form.Get(revisionName)))
	if c, err = config.Parse(fileName, base); base == nil || err != nil {
		s.notice(w, r, "outdated", http.StatusConflict)
		return nil, nil, nil, false
	}
	return form, base, c, true
}

// prepare shows what a draft of fields would change. If something is wrong, it shows the form again: with the known problems, or
// else with those of the resulting text.
func (s *Server) prepare(w http.ResponseWriter, r *request, d draft, known map[string]*problem, form func(map[string]*problem) settingsForm) {
	again := func(note string, others []lineProblem, status int) {
		for _, p := range known {
			p.Text = r.Words.T("settings.wrong." + p.Text)
		}
		page := form(known)
		page.Note, page.Besides = note, others
		s.serve(w, r, page, status)
	}
	switch {
	case len(known) > 0:
		again("wrong", nil, http.StatusUnprocessableEntity)
		return
	case len(d.changes) == 0:
		again("unchanged", nil, http.StatusOK)
		return
	}
	result, err := s.try(d)
	var problems config.Problems
	switch {
	case errors.As(err, &problems):
		page, others := form(nil), []lineProblem(nil)
		for _, p := range problems {
			here := func(in input) bool { return within(p.Key, in.Name) }
			inputs := append(page.Inputs, page.Rare...)
			if i := slices.IndexFunc(inputs, here); i < 0 {
				others = append(others, newLineProblem(r.Words, p))
			} else if name := inputs[i].Name; known[name] == nil {
				known[name] = &problem{Text: "refused", Detail: p.Msg}
			}
		}
		again("wrong", others, http.StatusUnprocessableEntity)
	case errors.Is(err, config.ErrByHand):
		again("by-hand", nil, http.StatusUnprocessableEntity)
	case err != nil:
		again("wrong", []lineProblem{{Detail: err.Error()}}, http.StatusUnprocessableEntity)
	default:
		s.showPreview(w, r, d, result, http.StatusOK)
	}
}

// within reports whether a key is the given table or a key in it.
func within(key, table string) bool {
	rest, ok := strings.CutPrefix(key, table)
	return ok && (rest == "" || rest[0] == '.')
}

// problemsOf returns the problems of a text.
func problemsOf(w *web.Words, err error) (lines []lineProblem) {
	var problems config.Problems
	if !errors.As(err, &problems) {
		return []lineProblem{{Detail: err.Error()}}
	}
	for _, p := range problems {
		lines = append(lines, newLineProblem(w, p))
	}
	return lines
}

func newLineProblem(w *web.Words, p config.Problem) lineProblem {
	l := lineProblem{Line: p.Line, Name: p.Key, Detail: p.Msg}
	if fieldOf(p.Key) != nil {
		l.Name = w.T("field." + p.Key)
	}
	return l
}

// settingsNotice says that something is done, or cannot be done, and has a link back.
type settingsNotice struct {
	techFrame
	Pictogram string
	Good      bool
	Lines     []string
	Why       string // in English
	To        web.Link
}

func (settingsNotice) Template() string { return "admin/settings-notice" }

// notice says that something cannot be done.
func (s *Server) notice(w http.ResponseWriter, r *request, what string, status int) {
	lines := r.Words.Lines("settings.cannot." + what)
	s.serve(w, r, settingsNotice{
		techFrame: s.tech(r, "settings", settingsPath, lines[0]), Pictogram: "fault", Lines: lines,
		To: web.Link{Href: settingsPath, Text: r.Words.T("settings.back")},
	}, status)
}

// donationsPage lists the donations.
type donationsPage struct {
	techFrame
	Revision  config.Revision
	Donations []donationRow
}

func (donationsPage) Template() string { return "admin/settings-donations" }

// donationRow is a donation in the list.
type donationRow struct {
	Name, Href string
	Facts      []string
	First      bool // it is used first, so it cannot move up
	Last       bool // it cannot move down
	Only       bool // it is the only one, so it cannot be removed
}

// byPriority returns the donations in the order in which they are used.
func byPriority(c *config.Config) []config.Donation {
	all := slices.Clone(c.Donations)
	slices.SortStableFunc(all, func(a, b config.Donation) int { return cmp.Compare(a.Priority, b.Priority) })
	return all
}

func (s *Server) donations(w http.ResponseWriter, r *request) {
	c, revision, ok := s.parsed(w, r)
	if !ok {
		return
	}
	p := donationsPage{
		techFrame: s.tech(r, "settings", donationsPath, r.Words.T("settings.group.donations")), Revision: revision,
	}
	all := byPriority(c)
	for i, d := range all {
		number := slices.IndexFunc(c.Donations, func(other config.Donation) bool { return other.Name == d.Name }) + 1
		values := d.Values()
		row := donationRow{
			Name: d.Name, Href: donationPath + "/" + strconv.Itoa(number),
			First: i == 0, Last: i == len(all)-1, Only: len(all) == 1,
		}
		for _, key := range []string{"donation.interface", "donation.cap", "donation.hours"} {
			f := fieldOf(key)
			row.Facts = append(row.Facts, r.Words.T("settings.fact", "label", f.title(r.Words), "value", f.say(r.Words, values[key])))
		}
		p.Donations = append(p.Donations, row)
	}
	s.serve(w, r, p, http.StatusOK)
}

func (f *field) title(w *web.Words) string { return w.T("field." + f.key) }

// newDonation stands in the path for the number of a donation that is to be added.
const newDonation = "new"

// donation shows a donation's page, by its number in the file.
func (s *Server) donation(w http.ResponseWriter, r *request) {
	c, revision, ok := s.parsed(w, r)
	if !ok {
		return
	}
	number := r.PathValue("number")
	values, name := blank(), ""
	values["donation.priority"] = lastPriority(c)
	if number != newDonation {
		i, err := strconv.Atoi(number)
		if err != nil || i < 1 || i > len(c.Donations) {
			s.missing(w, r)
			return
		}
		values, name = valuesOf(&c.Donations[i-1], s.textOf(revision)), c.Donations[i-1].Name
	}
	form := newForm(&donationGroup, values, revision)
	form.Set(nameName, name)
	s.serve(w, r, s.donationForm(r, donationPath+"/"+number, form, values, nil), http.StatusOK)
}

var donationGroup = group{"donation", "share", donationFields}

// blank returns the values of a new donation: the defaults, and nothing for what is required.
func blank() map[string]any {
	d := config.Donation{Period: "month", Resets: 1, Priority: 1, Metered: config.Auto}
	values := valuesOf(&d, nil)
	values["donation.cap"] = ""
	return values
}

// valuesOf returns the values of a donation's keys as its form has them. The value of autorate is nil if the text does not set it,
// because its default depends on the kind of uplink.
func valuesOf(d *config.Donation, text []byte) map[string]any {
	values := d.Values()
	without, err := config.Edit(text, []config.Change{{Path: []string{"donation", d.Name, "autorate"}}})
	if text == nil || err == nil && bytes.Equal(without, text) {
		values["donation.autorate"] = nil
	}
	return values
}

// lastPriority returns a priority for a donation that is to be used after all others.
func lastPriority(c *config.Config) int {
	last := 0
	for _, d := range c.Donations {
		last = max(last, d.Priority)
	}
	return min(last+1, maxPriority)
}

const maxPriority = 99

func (s *Server) donationForm(r *request, path string, form url.Values, was map[string]any, problems map[string]*problem) settingsForm {
	p := s.formOf(r, &donationGroup, form, was, problems)
	p.Path, p.Of = path, form.Get(nameName)
	p.Action = donationPath
	p.Title = p.Of
	if p.Of == "" {
		p.Title = r.Words.T("settings.new-donation")
	}
	p.Up = web.Link{Href: donationsPath, Text: r.Words.T("settings.group.donations")}
	return p
}

// prepareDonation reads a donation's form, and shows what it would change.
func (s *Server) prepareDonation(w http.ResponseWriter, r *request) {
	form, base, c, ok := s.readSettings(w, r)
	if !ok {
		return
	}
	name, was, path := form.Get(nameName), blank(), donationPath+"/"+newDonation
	if name != "" {
		i := slices.IndexFunc(c.Donations, func(d config.Donation) bool { return d.Name == name })
		if i < 0 {
			s.notice(w, r, "outdated", http.StatusConflict)
			return
		}
		was, path = valuesOf(&c.Donations[i], base), donationPath+"/"+strconv.Itoa(i+1)
	}
	changes, problems := changesIn(&donationGroup, form, was, func(key string) []string {
		return []string{"donation", name, strings.TrimPrefix(key, "donation.")}
	})
	isName := func(c config.Change) bool { return c.Path[2] == "name" }
	if name == "" {
		changes, problems = addition(c, form, changes, problems)
	} else if i := slices.IndexFunc(changes, isName); i >= 0 {
		rename := changes[i]
		if slices.ContainsFunc(c.Donations, func(d config.Donation) bool { return d.Name == rename.Value }) {
			problems["donation.name"] = &problem{Text: "taken"}
		}
		changes = append(slices.Delete(changes, i, i+1), rename) // last, because the other changes find the donation by its old name
	}
	d := draft{base: base, changes: changes, from: donationsPath}
	s.prepare(w, r, d, problems, func(problems map[string]*problem) settingsForm { return s.donationForm(r, path, form, was, problems) })
}

// addition turns the changes of a new donation's keys into one change that adds the whole table. The table has all required keys.
func addition(c *config.Config, form url.Values, changes []config.Change, problems map[string]*problem) ([]config.Change, map[string]*problem) {
	name := strings.TrimSpace(form.Get("donation.name"))
	switch {
	case name == "":
		problems["donation.name"] = &problem{Text: "name"}
	case slices.ContainsFunc(c.Donations, func(d config.Donation) bool { return d.Name == name }):
		problems["donation.name"] = &problem{Text: "taken"}
	}
	table := config.Table{{Key: "name", Value: name}}
	for _, change := range changes {
		if key := change.Path[2]; key != "name" && change.Value != nil {
			table = append(table, config.Pair{Key: key, Value: change.Value})
		}
	}
	for _, key := range []string{"interface", "cap"} {
		if !slices.ContainsFunc(table, func(p config.Pair) bool { return p.Key == key }) {
			table = append(table, config.Pair{Key: key, Value: ""})
		}
	}
	return []config.Change{{Path: []string{"donation", name}, Value: table}}, problems
}

// moveDonation moves a donation up or down in the order of use. Afterwards the priorities are 1, 2, 3 …
func (s *Server) moveDonation(w http.ResponseWriter, r *request) {
	form, base, c, ok := s.readSettings(w, r)
	if !ok {
		return
	}
	all, to := byPriority(c), -1
	name := cmp.Or(form.Get("up"), form.Get("down"))
	i := slices.IndexFunc(all, func(d config.Donation) bool { return d.Name == name })
	if to = i - 1; form.Get("down") != "" {
		to = i + 1
	}
	if i < 0 || to < 0 || to >= len(all) {
		s.notice(w, r, "outdated", http.StatusConflict)
		return
	}
	all[i], all[to] = all[to], all[i]
	var changes []config.Change
	for i, d := range all {
		if d.Priority != i+1 {
			changes = append(changes, config.Change{Path: []string{"donation", d.Name, "priority"}, Value: i + 1})
		}
	}
	s.prepareOther(w, r, draft{base: base, changes: changes, from: donationsPath})
}

// removeDonation asks whether a donation is to be removed.
func (s *Server) removeDonation(w http.ResponseWriter, r *request) {
	form, base, _, ok := s.readSettings(w, r)
	if !ok {
		return
	}
	s.prepareOther(w, r, draft{
		base: base, changes: []config.Change{{Path: []string{"donation", form.Get(nameName)}}}, from: donationsPath,
	})
}

// prepareOther shows what a draft would change that was not made by a form of fields.
func (s *Server) prepareOther(w http.ResponseWriter, r *request, d draft) {
	result, err := s.try(d)
	if err != nil {
		s.cannot(w, r, err)
		return
	}
	s.showPreview(w, r, d, result, http.StatusOK)
}

// cannot serves a page that says why a draft cannot be saved.
func (s *Server) cannot(w http.ResponseWriter, r *request, err error) {
	what := "refused"
	if errors.Is(err, config.ErrByHand) {
		what = "by-hand"
	}
	lines := r.Words.Lines("settings.cannot." + what)
	p := settingsNotice{
		techFrame: s.tech(r, "settings", settingsPath, lines[0]), Pictogram: "fault", Lines: lines,
		To: web.Link{Href: textPath, Text: r.Words.T("settings.to-text")},
	}
	if what == "refused" {
		p.Why, p.To = strings.Join(details(err), " "), web.Link{Href: settingsPath, Text: r.Words.T("settings.back")}
	}
	s.serve(w, r, p, http.StatusUnprocessableEntity)
}

func details(err error) (all []string) {
	var problems config.Problems
	if !errors.As(err, &problems) {
		return []string{err.Error()}
	}
	for _, p := range problems {
		all = append(all, p.Msg+".")
	}
	return all
}
