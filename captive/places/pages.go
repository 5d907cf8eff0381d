package places

import (
	"html/template"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"passerelle/captive/places/directory"
	"passerelle/captive/web"
)

// listPage lists places: the nearest ones, or those that match the reader's wish.
type listPage struct {
	web.Frame
	Asked    string
	Hidden   []field  // of the search's form: the filters that are set
	Wanted   []choice // the filters that are set, as links that remove them
	Clear    string   // address without any filter
	Services choices
	Filters  []choices
	Found    string // how many there are; "" if there is no list
	Places   []placeTile
	Plan     template.HTML
	Previous string // address of the page before, "" for none
	Next     string
	Progress string // which page this is, "" for the only one
	Numbers  []numberGroup
	Doors    []web.Door
}

// field is a hidden field of a form.
type field struct{ Name, Value string }

// placeTile is a place in a list.
type placeTile struct {
	Number   string // on the plan
	Href     string
	Name     string
	Lang     *web.Lang // of the list's texts, nil if it is the page's
	Where    string    // "à 800 mètres"; "" if it is not known
	Town     string
	Open     bool
	Hours    string
	Phone    web.Phone // the first one; zero for none
	Services []web.Fact
}

// placePage is a place's page.
type placePage struct {
	web.Frame
	Back     string // address of the list that led here
	Name     string
	Types    []string
	Lang     *web.Lang // of the list's texts, nil if it is the page's
	Receives bool

	Open    bool
	Hours   string // whether it is open
	Week    []web.OpenDays
	Unusual []web.OpenDays
	Partly  bool   // the hours of some days are not known
	Written string // its hours as the list has them, if they cannot be read
	Note    string

	Phones  []web.Phone
	Emails  []link
	Sites   []link
	Booking *link
	Sheet   *link
	Card    string // address of its vCard

	Services   []web.Fact
	Modes      []string
	About      []string // paragraphs
	Address    []string
	Itinerant  bool
	Where      string // "à 800 mètres du centre, vers le nord"
	Plan       template.HTML
	Access     []string
	Audiences  []web.Fact
	Care       []web.Fact
	Fees       []web.Fact
	Programmes []string
	Parent     string
	Source     string
	Checked    string // when it was last updated, "" if it is not known
}

// link is an address on the internet, or of a mailbox.
type link struct {
	Href template.URL
	Text string
}

// numbersPage lists the national numbers.
type numbersPage struct {
	web.Frame
	Groups []numberGroup
	Doors  []web.Door
}

func (listPage) Template() string    { return "places/places" }
func (placePage) Template() string   { return "places/place" }
func (numbersPage) Template() string { return "places/numbers" }

// newListPage returns the page of the places that match a wish.
func (p *Places) newListPage(r *web.Request, wanted wish) (listPage, error) {
	hits, total, centre, lists, err := p.find(r, &wanted)
	if err != nil {
		return listPage{}, err
	}
	w := r.Words
	page := listPage{Frame: r.Frame("/places", w.T("places.title"))}
	page.Query = wanted.values().Encode()
	page.Asked = wanted.Words
	page.Services, page.Filters = wanted.filters(w, page.Language)
	page.Wanted = wanted.active(w, page.Language)
	page.Clear = wish{}.link("/places", page.Language)
	for name, values := range (wish{Service: wanted.Service, Audience: wanted.Audience, Care: wanted.Care,
		Free: wanted.Free, Open: wanted.Open, Bus: wanted.Bus, Languages: wanted.Languages}).values() {
		page.Hidden = append(page.Hidden, field{name, values[0]})
	}
	page.Doors = []web.Door{numbersDoor(w)}
	if !lists {
		page.Numbers, page.Doors = newNumberGroups(w, p.nationalNumbers(), r.Now), nil
		return page, nil
	}
	page.Found = w.T("places.found", "places", strconv.Itoa(total))
	var spots []spot
	for i, hit := range hits {
		number := (wanted.Page-1)*perPage + i + 1
		page.Places = append(page.Places, newPlaceTile(w, hit, number, wanted, page.Language, r.Now))
		if centre != nil && hit.Located {
			spots = append(spots, spot{number, hit.At})
		}
	}
	if centre != nil {
		page.Plan = plan(w, *centre, spots)
	}
	turn := func(by int) string {
		to := wanted
		to.Page += by
		return to.link("/places", page.Language)
	}
	if pages := pagesOf(total); pages > 1 {
		page.Progress = w.T("places.page", "number", strconv.Itoa(wanted.Page), "count", strconv.Itoa(pages))
		if wanted.Page > 1 {
			page.Previous = turn(-1)
		}
		if wanted.Page < pages {
			page.Next = turn(1)
		}
	}
	return page, nil
}

// find queries the lists. A page after the last one becomes the last one. The centre is the point that distances are measured from; nil if
// it is not known. If the wish's words are a postcode, it finds the places near that postcode, and the centre is there.
func (p *Places) find(r *web.Request, wanted *wish) (
	hits []directory.Hit, total int, centre *directory.Point, lists bool, err error,
) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if len(p.lists.Lists()) == 0 {
		return nil, 0, nil, false, nil
	}
	q := wanted.query()
	q.Now = r.Now
	centre = p.centre(r.Head.Card)
	if postcode.MatchString(wanted.Words) {
		if at, _, ok := p.lists.Postcode(wanted.Words); ok {
			q.Words, centre = "", &at
		}
	}
	q.From = centre
	hits, total, err = p.lists.Find(q, (wanted.Page-1)*perPage, perPage)
	if last := pagesOf(total); err == nil && wanted.Page > last {
		wanted.Page = last
		hits, total, err = p.lists.Find(q, (last-1)*perPage, perPage)
	}
	return hits, total, centre, true, err
}

// pagesOf returns how many pages that many places take, an empty one if there are none.
func pagesOf(places int) int { return max(1, (places+perPage-1)/perPage) }

// centre returns the centre's position by its coordinates or else its postcode; nil if neither is known. The caller holds the lock.
func (p *Places) centre(card web.Card) *directory.Point {
	if card.At != nil {
		return &directory.Point{Lat: card.At.Latitude, Lon: card.At.Longitude}
	}
	if at, _, ok := p.lists.Postcode(card.Postcode); ok {
		return &at
	}
	return nil
}

// newPlaceTile returns a place as it is shown in a list.
func newPlaceTile(w *web.Words, hit directory.Hit, number int, wanted wish, language string, now time.Time) placeTile {
	t := placeTile{
		Number: strconv.Itoa(number), Href: wanted.link("/places/"+hit.ID, language),
		Name: hit.Name, Lang: w.Lang("fr"), Town: hit.Town,
		Services: facts(directory.Services, hit.Services, servicePictograms, in(w, "service")),
	}
	if hit.Distance >= 0 {
		t.Where = w.T("places.away", "distance", w.Distance(hit.Distance))
	}
	t.Open, t.Hours = openNow(w, hit.Place, now)
	for _, phone := range phones(hit.Place) {
		t.Phone = phone
		break
	}
	return t
}

// newSearchTile returns a place as it is shown among the results of the search in all shares.
func newSearchTile(w *web.Words, place directory.Place) web.Tile {
	t := web.Tile{
		Href: "/places/" + place.ID, Title: place.Name, Text: place.Town, Lang: w.Lang("fr"),
		Picture: `<span class="pictogram">` + web.Pictogram("pin") + `</span>`,
	}
	for _, phone := range phones(place) {
		t.Meta = append(t.Meta, web.Fact{Pictogram: "phone", Text: phone.Text})
		break
	}
	return t
}

// openNow says whether a place is open, as far as its list can be trusted: see [directory.Place.Opening].
func openNow(w *web.Words, place directory.Place, now time.Time) (open bool, text string) {
	switch o := place.Opening(now); {
	case o.State == directory.OpenNow:
		return true, w.OpenUntil(o.Until, now)
	case o.State == directory.ClosedNow:
		return false, w.ClosedUntil(o.Until, now)
	case place.Schedule == nil && place.Hours == "":
		return false, w.T("place.unknown")
	case place.Schedule != nil && len(place.Schedule.Day(now)) == 0:
		if next, opens, ok := place.Schedule.Next(now); ok && opens {
			return false, w.T("place.unsaid", "when", w.When(next, now))
		}
	}
	return false, w.T("place.doubtful")
}

// phones returns a place's numbers.
func phones(place directory.Place) (all []web.Phone) {
	for _, p := range place.Phones {
		phone := web.NewPhone(p.Dial)
		phone.Text = strings.ReplaceAll(p.Shown, " ", "\u00a0")
		all = append(all, phone)
	}
	return all
}

// facts returns terms in words, each with its pictogram. Terms that are not in the schema are shown as they are.
func facts(terms []directory.Term, set directory.Set, pictograms map[string]string, text func(directory.Term) string) (all []web.Fact) {
	for i, t := range terms {
		if set.Terms.Has(1 << i) {
			all = append(all, web.Fact{Pictogram: pictograms[t.Key], Text: text(t)})
		}
	}
	for _, other := range set.Other {
		all = append(all, web.Fact{Pictogram: "star", Text: other})
	}
	return all
}

// plain is facts without pictograms.
func plain(terms []directory.Term, set directory.Set, text func(directory.Term) string) (all []string) {
	for _, f := range facts(terms, set, nil, text) {
		all = append(all, f.Text)
	}
	return all
}

// label returns a term's label, for terms whose label is a name.
func label(t directory.Term) string { return t.Label }

// in returns a function that returns the words of a term of a kind.
func in(w *web.Words, kind string) func(directory.Term) string {
	return func(t directory.Term) string { return w.T("term." + kind + "." + t.Key) }
}

// feePictograms are the pictograms of the fees, by key.
var feePictograms = map[string]string{"free": "free", "free-for-some": "free", "paid": "euro"}

// newPlacePage returns a place's page.
func (p *Places) newPlacePage(r *web.Request, place directory.Place, wanted wish) placePage {
	w := r.Words
	page := placePage{
		Frame: r.Frame("/places/"+place.ID, place.Name), Name: place.Name, Types: place.Types, Lang: w.Lang("fr"),
		Receives: place.Receives, Note: place.Note, Phones: phones(place), Itinerant: place.Itinerant,
		Card:       "/places/" + place.ID + ".vcf",
		Services:   facts(directory.Services, place.Services, servicePictograms, in(w, "service")),
		Audiences:  facts(directory.Audiences, place.Audiences, audiencePictograms, in(w, "audience")),
		Care:       facts(directory.Care, place.Care, carePictograms, in(w, "care")),
		Fees:       facts(directory.Fees, place.Fees, feePictograms, in(w, "fee")),
		Modes:      plain(directory.Modes, place.Modes, in(w, "mode")),
		Access:     plain(directory.Access, place.Access, in(w, "access")),
		Programmes: append(plain(directory.Programmes, place.Programmes, label), plain(directory.Labels, place.Labels, label)...),
		Parent:     place.Parent, Source: place.Source,
	}
	page.Back = wanted.link("/places", page.Language)
	page.Query = wanted.values().Encode()
	page.Open, page.Hours = openNow(w, place, r.Now)
	if place.Schedule != nil {
		page.Week, page.Unusual = w.OpenWeek(place.Schedule, false, r.Now)
		page.Partly = !place.Schedule.Always()
	} else {
		page.Written = place.Hours
	}
	for _, text := range []string{place.Summary, place.Detail} {
		for line := range strings.SplitSeq(text, "\n") {
			if line != "" {
				page.About = append(page.About, line)
			}
		}
	}
	for _, line := range []string{place.Complement, place.Address, strings.TrimSpace(place.Postcode + " " + place.Town)} {
		if line != "" {
			page.Address = append(page.Address, line)
		}
	}
	for _, address := range place.Emails {
		page.Emails = append(page.Emails, link{Href: template.URL("mailto:" + url.PathEscape(address)), Text: address})
	}
	for _, address := range place.Sites {
		if l, ok := webLink(address); ok {
			page.Sites = append(page.Sites, l)
		}
	}
	if l, ok := webLink(place.Booking); ok {
		page.Booking = &l
	}
	if l, ok := webLink(place.AccessSheet); ok {
		page.Sheet = &l
	}
	if !place.Updated.IsZero() {
		page.Checked = w.T("place.checked", "month", w.Month(place.Updated))
	}
	p.mu.RLock()
	centre := p.centre(r.Head.Card)
	p.mu.RUnlock()
	if centre != nil && place.Located {
		metres, bearing := from(*centre, place.At)
		page.Where = w.T("place.from-centre", "distance", w.Distance(metres), "direction", direction(w, bearing))
		page.Plan = plan(w, *centre, []spot{{1, place.At}})
	}
	return page
}

// webLink returns a link to an http or https address, which is shown by its host name.
func webLink(address string) (link, bool) {
	u, err := url.Parse(address)
	if err != nil || !utf8.ValidString(address) || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return link{}, false
	}
	return link{Href: template.URL(u.String()), Text: strings.TrimPrefix(u.Hostname(), "www.")}, true
}
