package admin

import (
	"bytes"
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"

	"passerelle/appliance/config"
	"passerelle/captive/poster"
	"passerelle/captive/web"
)

const posterPath = "/admin/poster"

// PosterBox returns what a poster says about the configured box. fingerprint is that of its certificate, "" if unknown. now decides
// for which week the poster shows the opening hours.
func PosterBox(c *config.Config, fingerprint string, now time.Time) poster.Box {
	return poster.Box{
		Centre: c.Box.Name, Hostname: c.Box.Hostname,
		SSID: c.Hotspot.SSID, Password: c.Hotspot.Password,
		Join:  config.FormatWiFiQR(config.WiFi{SSID: config.SSID(c.Hotspot.SSID), Passphrase: c.Hotspot.Password}),
		Hours: c.Centre.Hours, Now: now.In(c.Box.Timezone), Fingerprint: fingerprint,
	}
}

// sheetsPage shows posters as they are printed, and links to their PDF.
type sheetsPage struct {
	techFrame
	Up        web.Link // to the desk; zero for technicians, who have the poster in their menu
	Style     string   // the style sheet with the paper's size
	Size      poster.Size
	Sizes     []choiceLink
	Languages []choiceLink
	Paper     string // what the size is for
	Password  bool   // the sheets show the Wi-Fi password
	PDF       string // path of the PDF; "" if it supports none of the chosen languages
	Letters   bool   // the PDF does not support some of the chosen languages
	Codes     []poster.Code
	Sheets    []poster.Sheet
}

func (sheetsPage) Template() string { return "admin/poster" }

// choiceLink is a link that changes a choice.
type choiceLink struct {
	web.Link
	Chosen bool
	Lang   *web.Lang
}

// Length returns a class for the length of a text on a sheet: see [poster.Length].
func (sheetsPage) Length(text string) string { return poster.Length(text) }

// Labels returns the stickers of a sheet: false for each of six with the codes, true for each of two for a window.
func (sheetsPage) Labels() []bool {
	return []bool{false, false, false, false, false, false, true, true}
}

// posterChoice is what a request chooses to print.
type posterChoice struct {
	size  poster.Size
	langs []string
}

// chosenPoster reads the choice from the URL. The default is an A4 poster in the languages that the box offers.
func chosenPoster(r *request, c *config.Config) posterChoice {
	q := r.URL.Query()
	p := posterChoice{size: poster.Size(q.Get("size"))}
	if !slices.Contains(poster.Sizes, p.size) {
		p.size = poster.A4
	}
	for _, code := range strings.Split(q.Get("langs"), ",") {
		if slices.Contains(languages, code) && !slices.Contains(p.langs, code) {
			p.langs = append(p.langs, code)
		}
	}
	if len(p.langs) == 0 {
		p.langs = c.Box.Languages
	}
	return p
}

// query returns the choice as a URL query.
func (p posterChoice) query() string {
	return "size=" + string(p.size) + "&langs=" + strings.Join(p.langs, ",")
}

// toggled returns the choice with a language added or removed. The last language is not removed.
func (p posterChoice) toggled(code string) posterChoice {
	if !slices.Contains(p.langs, code) {
		p.langs = append(slices.Clone(p.langs), code)
	} else if len(p.langs) > 1 {
		p.langs = slices.DeleteFunc(slices.Clone(p.langs), func(c string) bool { return c == code })
	}
	return p
}

func (s *Server) posterPage(w http.ResponseWriter, r *request) {
	c, _, ok := s.parsed(w, r)
	if !ok {
		return
	}
	choice := chosenPoster(r, c)
	sheets, err := poster.New(PosterBox(c, s.Fingerprint(), r.Now), choice.langs...)
	if err != nil {
		s.failed(w, r, "make a poster", err)
		return
	}
	p := sheetsPage{
		techFrame: s.tech(r, "poster", posterPath, r.Words.T("print.title")),
		Style:     "poster-" + string(choice.size), Size: choice.size, Sheets: sheets,
		Paper: r.Words.T("print.paper-" + string(choice.size)), Password: c.Hotspot.SSID != "" && c.Hotspot.Password != "",
	}
	if !may(r.role, configures) {
		p.Up = s.contentUp(r)
	}
	p.Query = choice.query()
	for _, step := range sheets[0].Steps {
		p.Codes = append(p.Codes, step.Code)
	}
	link := func(to posterChoice, text string, chosen bool) choiceLink {
		href := posterPath + cmp.Or(p.Chosen(), "?")
		if p.Language != "" {
			href += "&"
		}
		return choiceLink{Link: web.Link{Href: href + to.query(), Text: text}, Chosen: chosen}
	}
	for _, size := range poster.Sizes {
		to := posterChoice{size, choice.langs}
		p.Sizes = append(p.Sizes, link(to, r.Words.T("print.size-"+string(size)), size == choice.size))
	}
	for _, code := range languages {
		l := link(choice.toggled(code), web.LangName(code), slices.Contains(choice.langs, code))
		l.Lang = r.Words.Lang(code)
		p.Languages = append(p.Languages, l)
	}
	if in := slices.DeleteFunc(slices.Clone(choice.langs), func(code string) bool { return !poster.InPDF(code) }); len(in) > 0 {
		p.PDF = posterPath + "/" + string(choice.size) + ".pdf?langs=" + strings.Join(in, ",")
		p.Letters = len(in) < len(choice.langs)
	} else {
		p.Letters = true
	}
	s.serve(w, r, p, http.StatusOK)
}

// posterPDF sends SIZE.pdf.
func (s *Server) posterPDF(w http.ResponseWriter, r *request) {
	c, _, ok := s.parsed(w, r)
	if !ok {
		return
	}
	size, isPDF := strings.CutSuffix(r.PathValue("file"), ".pdf")
	choice := chosenPoster(r, c)
	in := slices.DeleteFunc(slices.Clone(choice.langs), func(code string) bool { return !poster.InPDF(code) })
	if !isPDF || !slices.Contains(poster.Sizes, poster.Size(size)) || len(in) == 0 {
		s.missing(w, r)
		return
	}
	var b bytes.Buffer
	sheets, err := poster.New(PosterBox(c, s.Fingerprint(), r.Now), in...)
	if err == nil {
		err = poster.PDF(&b, poster.Size(size), sheets)
	}
	if err != nil {
		s.failed(w, r, "make a poster", err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/pdf")
	h.Set("Content-Disposition", `attachment; filename="passerelle-`+size+`.pdf"`)
	h.Set("Content-Security-Policy", "sandbox")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.Write(b.Bytes()) // an error means that the client is gone
}
