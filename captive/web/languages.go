package web

import (
	"net/http"
	"slices"
	"strings"
	"sync"

	"golang.org/x/text/language"
)

// Bounds on the cost of negotiating a reader's language.
const (
	maxLanguage = 256 // bytes of Accept-Language that are read, up to the last whole language
	maxAccepts  = 256 // cached values: each phone model has a handful
)

// Languages holds the languages that a box offers. Its methods are safe for concurrent use.
type Languages struct {
	offered []*Words // the default first, never empty
	matcher language.Matcher

	mu      sync.RWMutex
	accepts map[string]*Words // by Accept-Language
}

// Offer is [Catalog.Offer] for pages that belong to no share.
func Offer(codes ...string) *Languages { return own.Offer(codes...) }

// Offer returns the languages of these codes; the first is the default. Codes without words are ignored; if none is left, French is
// offered.
func (c *Catalog) Offer(codes ...string) *Languages {
	l := &Languages{accepts: make(map[string]*Words)}
	for _, code := range codes {
		if w := c.Language(code); w != nil && !slices.Contains(l.offered, w) {
			l.offered = append(l.offered, w)
		}
	}
	if len(l.offered) == 0 {
		l.offered = []*Words{c.Language("fr")}
	}
	tags := make([]language.Tag, len(l.offered))
	for i, w := range l.offered {
		tags[i] = w.Tag
	}
	l.matcher = language.NewMatcher(tags)
	return l
}

// For returns the language for a request, and whether a link chose it. Without a choice it is the phone's language if the box offers
// it, else the default.
func (l *Languages) For(r *http.Request) (w *Words, chosen bool) {
	if r.URL.RawQuery != "" {
		code := r.URL.Query().Get("lang")
		for _, w := range l.offered {
			if w.Code == code {
				return w, true
			}
		}
	}
	header := r.Header.Get("Accept-Language")
	if len(header) > maxLanguage {
		header = header[:max(strings.LastIndexByte(header[:maxLanguage+1], ','), 0)]
	}
	if header == "" {
		return l.offered[0], false
	}
	l.mu.RLock()
	w = l.accepts[header]
	l.mu.RUnlock()
	if w != nil {
		return w, false
	}
	w = l.offered[0]
	if tags, _, err := language.ParseAcceptLanguage(header); err == nil {
		if _, i, confidence := l.matcher.Match(tags...); confidence != language.No {
			w = l.offered[i]
		}
	}
	l.mu.Lock()
	if len(l.accepts) < maxAccepts {
		l.accepts[strings.Clone(header)] = w // a copy: the substring would keep the request's whole header in memory
	}
	l.mu.Unlock()
	return w, false
}

// Others returns the offered languages except w.
func (l *Languages) Others(w *Words) []*Words {
	return slices.DeleteFunc(slices.Clone(l.offered), func(other *Words) bool { return other == w })
}

// Lang is the language of a part of a page.
type Lang struct{ Code, Direction, Name string }

// Lang returns the language of a part of a page in these words, or nil if it is the page's own.
func (w *Words) Lang(code string) *Lang {
	if code == w.Code {
		return nil
	}
	l := &Lang{Code: code, Direction: "ltr", Name: LangName(code)}
	if other := Language(code); other != nil {
		l.Direction = other.Direction
	}
	return l
}

// LangName returns a language's own name for itself, or its code if there are no words for it.
func LangName(code string) string {
	if w := Language(code); w != nil {
		return w.Name
	}
	return code
}

// Known says whether there are words for a language. It does not read them.
func Known(code string) bool { return languages[code] != nil }
