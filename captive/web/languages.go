package web

import (
	"net/http"
	"slices"
	"strings"
	"sync"

	"golang.org/x/text/language"
)

// Bounds on what a reader's languages may cost.
const (
	maxLanguage = 256 // bytes of Accept-Language that are looked at
	maxAccepts  = 256 // such values that are remembered: a phone model has a handful
)

// Languages are those that a box offers. Its methods are safe for concurrent use.
type Languages struct {
	offered []*Words // the default first, never empty
	matcher language.Matcher

	mu      sync.RWMutex
	accepts map[string]*Words // by Accept-Language
}

// Offer returns the languages of these codes, the default first. Codes without words are passed over; if none is left,
// French is offered.
func Offer(codes ...string) *Languages {
	l := &Languages{accepts: make(map[string]*Words)}
	for _, code := range codes {
		if w := Language(code); w != nil && !slices.Contains(l.offered, w) {
			l.offered = append(l.offered, w)
		}
	}
	if len(l.offered) == 0 {
		l.offered = []*Words{Language("fr")}
	}
	tags := make([]language.Tag, len(l.offered))
	for i, w := range l.offered {
		tags[i] = w.Tag
	}
	l.matcher = language.NewMatcher(tags)
	return l
}

// For returns the language for a request, and whether it was chosen by a link: else the phone's, else the default.
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
	if header == "" || len(header) > maxLanguage {
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
		l.accepts[strings.Clone(header)] = w // the request's own string holds on to its whole header
	}
	l.mu.Unlock()
	return w, false
}

// Others returns the languages offered beside w.
func (l *Languages) Others(w *Words) []*Words {
	return slices.DeleteFunc(slices.Clone(l.offered), func(other *Words) bool { return other == w })
}
