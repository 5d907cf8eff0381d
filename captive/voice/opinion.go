package voice

import (
	"cmp"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"passerelle/appliance/state"
	"passerelle/captive/records"
	"passerelle/captive/voice/opinion"
	"passerelle/captive/voice/week"
	"passerelle/captive/web"
)

// Bounds on a device's presses. They are kept in memory for a day, so after a restart a device may count again. A device is identified
// by its address. The hotspot's network bounds the number of addresses (1,022 in a /22): somebody who makes up addresses can count
// that often, but no other device's press is lost by that.
const (
	pressesADay = 40   // per device: 20 services, each with a hurdle
	maxPressers = 8192 // devices; four times the addresses of a /21

	maxPressForm = 1 << 10 // bytes
)

// resultWeeks is the number of weeks that residents see results of: three months.
const resultWeeks = 13

// OpinionFile is the file of the opinions in the share's folder.
func OpinionFile(dir string) records.File[opinion.Opinions] {
	return records.File[opinion.Opinions]{Path: filepath.Join(dir, "opinion.json"), Version: 1}
}

// opinionRoom counts residents' opinions, a feature of the share.
type opinionRoom struct {
	file     records.File[opinion.Opinions]
	log      *slog.Logger
	now      func() time.Time
	services []state.Service
	changed  func()

	saving  sync.Mutex // held while the file is read or written
	failing bool       // the last write failed

	mu      sync.Mutex // guards all fields below; never held while the disk is written
	all     opinion.Opinions
	unsaved map[opinion.Press]int // counted in all, but not on disk
	day     string                // the day of pressed
	pressed map[netip.Addr][]key
}

// key is what a device can press once a day.
type key struct {
	part    opinion.Part
	subject string
}

func newOpinions(o Options, changed func()) *opinionRoom {
	room := &opinionRoom{
		file: OpinionFile(o.Dir), log: o.Log, now: o.Now, changed: changed,
		unsaved: make(map[opinion.Press]int), pressed: make(map[netip.Addr][]key),
	}
	for _, s := range o.Services {
		if s.Site != "" && s.Topic != "" {
			room.services = append(room.services, s)
		}
	}
	return room
}

func (o *opinionRoom) routes() map[string]web.Route {
	return map[string]web.Route{
		"/opinion":          {Get: o.start},
		"/opinion/":         {Get: o.below, Post: o.press},
		"/opinion/question": {Post: o.answer},
		"/opinion/results":  {Get: o.results},
	}
}

func (o *opinionRoom) doors(w *web.Words) []web.Door {
	return []web.Door{{Href: "/opinion", Pictogram: "speech", Title: w.T("opinion.title"), Text: w.T("opinion.text")}}
}

func (o *opinionRoom) search(*web.Words, string, int) web.Found { return web.Found{} }

// Errors of a press that does not count.
var (
	errAgain   = errors.New("the device has answered this today")
	errPressed = errors.New("the device, or all devices, have pressed enough today")
)

// count counts a device's press. The error is errAgain or errPressed.
func (o *opinionRoom) count(from netip.Addr, now time.Time, p opinion.Press, of key) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if day := now.Format(time.DateOnly); day != o.day {
		o.day = day
		clear(o.pressed)
	}
	before := o.pressed[from]
	switch {
	case slices.Contains(before, of):
		return errAgain
	case len(before) >= pressesADay, before == nil && len(o.pressed) >= maxPressers:
		return errPressed
	}
	o.pressed[from] = append(before, of)
	p.Week = week.Of(now)
	o.all.Add(p, 1)
	o.unsaved[p]++
	return nil
}

// has says whether a device has pressed that key today.
func (o *opinionRoom) has(from netip.Addr, now time.Time, of key) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return now.Format(time.DateOnly) == o.day && slices.Contains(o.pressed[from], of)
}

// save adds the presses since the last write to the file. If it cannot be written, they stay in memory.
func (o *opinionRoom) save() {
	o.saving.Lock()
	defer o.saving.Unlock()
	now := week.Of(o.now())
	o.mu.Lock()
	added := o.unsaved
	idle := len(added) == 0 && (o.all.Open == "" || now <= o.all.Open)
	if !idle {
		o.unsaved = make(map[opinion.Press]int)
	}
	o.mu.Unlock()
	if idle {
		return
	}
	all, err := o.file.Update(func(all *opinion.Opinions) error {
		add(all, added)
		all.Close(now)
		return nil
	})
	if _, aside := errors.AsType[*records.UnreadableError](err); aside {
		o.log.Error("the opinions of the weeks before are lost", "err", err)
		err = nil
	}
	if err != nil && !o.failing {
		o.log.Error("write the opinions; until that works, they are in memory only", "err", err)
	}
	o.failing = err != nil
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		for p, n := range added {
			o.unsaved[p] += n
		}
		return
	}
	add(&all, o.unsaved)
	o.all = all
}

// add adds presses to the counts, those of earlier weeks first.
func add(all *opinion.Opinions, presses map[opinion.Press]int) {
	for _, p := range slices.SortedFunc(maps.Keys(presses), func(a, b opinion.Press) int { return cmp.Compare(a.Week, b.Week) }) {
		all.Add(p, presses[p])
	}
}

func (o *opinionRoom) refresh() {
	o.save()
	o.saving.Lock()
	defer o.saving.Unlock()
	all, err := o.file.Read()
	if err != nil {
		o.log.Error("read the opinions", "err", err)
		return
	}
	o.mu.Lock()
	add(&all, o.unsaved)
	o.all = all
	o.mu.Unlock()
	o.changed()
}

// startPage has the centre's question, and the ways to say more.
type startPage struct {
	web.Frame
	Question string // "" for none
	Number   int
	Choices  []opinion.ChoiceText
	Doors    []web.Door
}

// servicesPage lists the services that can be rated.
type servicesPage struct {
	web.Frame
	Topics []web.Topic
}

// askPage asks about a service: how it was, or which hurdle there was.
type askPage struct {
	web.Frame
	Service string
	Ask     string
	Part    opinion.Part
	Options []option
	Skip    string // path of the page to continue without an answer, "" for none
}

// thanksPage says that a press counted.
type thanksPage struct {
	web.Frame
}

// resultsPage shows counts as bars.
type resultsPage struct {
	web.Frame
	Tables []resultTable
	Links  []web.Link // to the results of services
}

// resultTable holds the counts of a question, or of a part of a service.
type resultTable struct {
	ID    string
	Title string
	Bars  []bar
	Own   bool // the texts are the centre's own, not the page's words
}

// bar is a count, with its share of the largest count in percent.
type bar struct {
	Text, Pictogram string
	Number          string // "" for a count that is not shown
	Share           int
}

func (startPage) Template() string    { return "voice/opinion" }
func (servicesPage) Template() string { return "voice/services" }
func (askPage) Template() string      { return "voice/ask" }
func (thanksPage) Template() string   { return "voice/thanks" }
func (resultsPage) Template() string  { return "voice/results" }

func (o *opinionRoom) start(w http.ResponseWriter, r *web.Request) {
	const name = "/opinion"
	if r.Kept(w, name) {
		return
	}
	words := r.Words
	p := startPage{Frame: r.Frame(name, words.T("opinion.title")), Doors: []web.Door{
		{Href: "/opinion/services", Pictogram: "star", Title: words.T("opinion.services"), Text: words.T("opinion.services-text")},
		{Href: "/opinion/results", Pictogram: "days", Title: words.T("opinion.results"), Text: words.T("opinion.results-text")},
	}}
	o.mu.Lock()
	if q := o.all.Question(o.all.Current); q != nil {
		p.Question, p.Number, p.Choices = q.Text, q.Number, q.Choices
	}
	o.mu.Unlock()
	r.Keep(w, name, p, http.StatusOK)
}

// below serves the paths below /opinion/: the services, a service, its hurdles, its results, and thanks.
func (o *opinionRoom) below(w http.ResponseWriter, r *web.Request) {
	path := r.URL.Path
	what, rest, _ := strings.Cut(strings.TrimPrefix(path, "/opinion/"), "/")
	name, part, _ := strings.Cut(rest, "/")
	known := o.known(name)
	if what == "results" && known && part == "" {
		o.serviceResults(w, r, name)
		return
	}
	if r.Kept(w, path) {
		return
	}
	switch {
	case what == "services" && rest == "":
		r.Keep(w, path, o.list(r), http.StatusOK)
	case what == "services" && known && part == "":
		r.Keep(w, path, newAsk(r, name, opinion.Face), http.StatusOK)
	case what == "services" && known && part == string(opinion.Hurdle):
		r.Keep(w, path, newAsk(r, name, opinion.Hurdle), http.StatusOK)
	case what == "thanks" && rest == "":
		r.Keep(w, path, thanksPage{r.Frame(path, r.Words.T("opinion.thanks.title"))}, http.StatusOK)
	default:
		noService(w, r)
	}
}

// noService says that there is no such service.
func noService(w http.ResponseWriter, r *web.Request) {
	keep(w, r, "opinion.missing", "search", more(r), http.StatusNotFound)
}

// more returns a link to the page of opinions.
func more(r *web.Request) *web.Link {
	return &web.Link{Href: "/opinion", Text: r.Words.T("opinion.more")}
}

// known says whether a service can be rated.
func (o *opinionRoom) known(name string) bool {
	return name == opinion.Other || slices.ContainsFunc(o.services, func(s state.Service) bool { return s.Name == name })
}

// title returns a service's name in the page's words, and what it is for.
func title(w *web.Words, service string) (name, purpose string) {
	label := w.T("opinion.another")
	if service != opinion.Other {
		label = w.T("essential.service." + service)
	}
	name, purpose, _ = strings.Cut(label, "\n")
	return name, purpose
}

func (o *opinionRoom) list(r *web.Request) servicesPage {
	words := r.Words
	p := servicesPage{Frame: r.Frame("/opinion/services", words.T("opinion.services"))}
	add := func(topic, heading, pictogram, service string) {
		if last := len(p.Topics) - 1; last < 0 || p.Topics[last].Key != topic {
			p.Topics = append(p.Topics, web.Topic{Key: topic, Title: heading, Pictogram: pictogram})
		}
		t := &p.Topics[len(p.Topics)-1]
		name, purpose := title(words, service)
		t.Services = append(t.Services, web.Service{Title: name, Purpose: purpose, Host: service})
	}
	for _, s := range o.services {
		add(s.Topic, words.T("essential.topic."+s.Topic), web.TopicPictograms[s.Topic], s.Name)
	}
	add(opinion.Other, words.T("opinion.others"), "search", opinion.Other)
	return p
}

// hurdlePictograms are the pictograms of hurdles.
var hurdlePictograms = map[string]string{
	"account": "key", "words": "letters", "documents": "papers", "bug": "fault", "no-answer": "wait", "language": "globe",
	"handicap": "wheelchair", "none": "done",
}

func newAsk(r *web.Request, service string, part opinion.Part) askPage {
	words := r.Words
	name, _ := title(words, service)
	p := askPage{Service: name, Part: part}
	path := "/opinion/services/" + service
	if part == opinion.Hurdle {
		path += "/" + string(part)
		p.Ask, p.Skip = words.T("opinion.hurdle-ask"), "/opinion/thanks"
		p.Options = hurdles(words)
	} else {
		p.Ask = words.T("opinion.face-ask")
		p.Options = faces(words)
	}
	p.Frame = r.Frame(path, name+" – "+p.Ask)
	return p
}

func faces(w *web.Words) (all []option) {
	for _, f := range opinion.Faces {
		all = append(all, option{Value: f, Text: w.T("opinion.face." + f), Pictogram: "face-" + f})
	}
	return all
}

func hurdles(w *web.Words) (all []option) {
	for _, h := range opinion.Hurdles {
		all = append(all, option{Value: h, Text: w.T("opinion.hurdle." + h), Pictogram: hurdlePictograms[h]})
	}
	return all
}

// press counts a face of a service, or a hurdle after a face.
func (o *opinionRoom) press(w http.ResponseWriter, r *web.Request) {
	sent, err := r.ReadForm(w, maxPressForm)
	if err != nil {
		refuse(w, r, err)
		return
	}
	path, below := strings.CutPrefix(r.URL.Path, "/opinion/services/")
	name, part, _ := strings.Cut(path, "/")
	face := key{opinion.Face, name}
	p, of, next := opinion.Press{Part: opinion.Face, Service: name}, face, "/opinion/services/"+name+"/"+string(opinion.Hurdle)
	values := opinion.Faces
	if part == string(opinion.Hurdle) {
		p.Part, of.part, next = opinion.Hurdle, opinion.Hurdle, "/opinion/thanks"
		values = opinion.Hurdles
	} else if part != "" {
		below = false
	}
	p.Which = slices.Index(values, sent.Get(string(p.Part)))
	switch {
	case !below || !o.known(name):
		noService(w, r)
		return
	case p.Which < 0:
		refuse(w, r, web.ErrForm)
		return
	case p.Part == opinion.Hurdle && !o.has(r.Client, r.Now, face):
		r.Lead(w, http.StatusSeeOther, "/opinion/services/"+name)
		return
	}
	err = o.count(r.Client, r.Now, p, of)
	if errors.Is(err, errAgain) && p.Part == opinion.Face && !o.has(r.Client, r.Now, key{opinion.Hurdle, name}) {
		err = nil // the hurdle is not answered yet: the page for it is shown again
	}
	o.done(w, r, err, next)
}

// answer counts an answer to the centre's question.
func (o *opinionRoom) answer(w http.ResponseWriter, r *web.Request) {
	sent, err := r.ReadForm(w, maxPressForm)
	if err != nil {
		refuse(w, r, err)
		return
	}
	number, _ := strconv.Atoi(sent.Get("question")) // 0 is no question
	choice, err := strconv.Atoi(sent.Get("choice"))
	o.mu.Lock()
	q := o.all.Question(o.all.Current)
	asked := q != nil && q.Number == number
	valid := asked && err == nil && choice >= 0 && choice < len(q.Choices)
	o.mu.Unlock()
	switch {
	case !asked: // there is another question by now
		r.Lead(w, http.StatusSeeOther, "/opinion")
	case !valid:
		refuse(w, r, web.ErrForm)
	default:
		p := opinion.Press{Part: opinion.Choice, Question: number, Which: choice}
		o.done(w, r, o.count(r.Client, r.Now, p, key{opinion.Choice, strconv.Itoa(number)}), "/opinion/thanks")
	}
}

// done answers a press by its error, or with a redirect to the next page.
func (o *opinionRoom) done(w http.ResponseWriter, r *web.Request, err error, next string) {
	switch {
	case errors.Is(err, errAgain):
		keep(w, r, "opinion.again", "done", more(r), http.StatusTooManyRequests)
	case err != nil:
		keep(w, r, "opinion.enough", "wait", nil, http.StatusTooManyRequests)
	default:
		r.Lead(w, http.StatusSeeOther, next)
	}
}

// results shows the counts of the centre's question, and links to the services with results.
func (o *opinionRoom) results(w http.ResponseWriter, r *web.Request) {
	words, now := r.Words, week.Of(r.Now)
	from := now.Add(-resultWeeks)
	p := resultsPage{Frame: r.Frame("/opinion/results", words.T("opinion.results"))}
	o.mu.Lock()
	o.all.Close(now)
	if q := o.all.Question(o.all.Current); q != nil {
		t := resultTable{ID: "question", Title: q.Text, Own: true}
		for i, c := range q.Choices {
			t.Bars = append(t.Bars, newBar(c.Text, c.Picture, q.Answers[i].Shown(from)))
		}
		p.Tables = append(p.Tables, t.scaled())
	}
	for _, name := range append(o.names(), opinion.Other) {
		if s := o.all.Services[name]; s != nil && shows(s.Faces, from) {
			label, _ := title(words, name)
			p.Links = append(p.Links, web.Link{Href: "/opinion/results/" + name, Text: label})
		}
	}
	o.mu.Unlock()
	r.Serve(w, p, http.StatusOK)
}

func (o *opinionRoom) names() (all []string) {
	for _, s := range o.services {
		all = append(all, s.Name)
	}
	return all
}

func shows(counts []opinion.Count, from week.Week) bool {
	return slices.ContainsFunc(counts, func(c opinion.Count) bool { return c.Shown(from) > 0 })
}

// serviceResults shows the counts of a service.
func (o *opinionRoom) serviceResults(w http.ResponseWriter, r *web.Request, service string) {
	words, now := r.Words, week.Of(r.Now)
	from := now.Add(-resultWeeks)
	name, _ := title(words, service)
	p := resultsPage{Frame: r.Frame("/opinion/results/"+service, name)}
	o.mu.Lock()
	o.all.Close(now)
	var counts opinion.Service
	if s := o.all.Services[service]; s != nil {
		counts = *s
	}
	p.Tables = []resultTable{
		newTable(string(opinion.Face), words.T("opinion.face-ask"), faces(words), counts.Faces, from),
		newTable(string(opinion.Hurdle), words.T("opinion.hurdle-ask"), hurdles(words), counts.Hurdles, from),
	}
	o.mu.Unlock()
	r.Serve(w, p, http.StatusOK)
}

func newTable(id, heading string, options []option, counts []opinion.Count, from week.Week) resultTable {
	t := resultTable{ID: id, Title: heading}
	for i, option := range options {
		n := 0
		if i < len(counts) {
			n = counts[i].Shown(from)
		}
		t.Bars = append(t.Bars, newBar(option.Text, option.Pictogram, n))
	}
	return t.scaled()
}

func newBar(text, pictogram string, n int) bar {
	b := bar{Text: text, Pictogram: pictogram, Share: n}
	if n > 0 {
		b.Number = strconv.Itoa(n)
	}
	return b
}

// scaled converts the bars' shares from counts to percent of the largest.
func (t resultTable) scaled() resultTable {
	most := 1
	for _, b := range t.Bars {
		most = max(most, b.Share)
	}
	for i := range t.Bars {
		t.Bars[i].Share = 100 * t.Bars[i].Share / most
	}
	return t
}
