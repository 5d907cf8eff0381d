package lessons

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"
)

// Bounds on what a lesson says about its facts.
const (
	maxSources = 30
	maxSource  = 500 // bytes
)

// CheckFor is how long a check of a lesson's facts is valid: benefits, numbers and sites change within about two years.
const CheckFor = 2 // years

// setFacts sets Checked and Sources from the front matter: checked is a TOML date, sources are URLs. Both are optional.
func (l *Lesson) setFacts(checked any, sources []string) error {
	if checked != nil {
		day, ok := checked.(time.Time)
		if !ok || day.Year() < 2000 || day.Year() > 2100 {
			return errors.New("checked: write a day, without quotation marks, as in 2026-11-30")
		}
		l.Checked = day
	}
	if len(sources) > maxSources {
		return fmt.Errorf("sources: %d are more than %d", len(sources), maxSources)
	}
	for i, s := range sources {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || len(s) > maxSource {
			return fmt.Errorf("sources: %q is not the address of a page; write it as in https://www.caf.fr/", s)
		}
		if slices.Contains(sources[:i], s) {
			return fmt.Errorf("sources: %q is there twice", s)
		}
	}
	l.Sources = sources
	return nil
}

// Stale reports whether the lesson's facts should be looked up again. A lesson without a date was never checked, and is stale.
func (l *Lesson) Stale(now time.Time) bool {
	return l.Checked.AddDate(CheckFor, 0, 0).Before(now)
}

// Lessons returns every lesson in each of its languages, in the order of the paths. Of one lesson French comes first, then the others
// by language code.
func (l *Library) Lessons() []*Lesson {
	var all []*Lesson
	for _, p := range l.paths {
		for _, slug := range p.Lessons {
			languages := l.lessons[slug]
			first := len(all)
			for _, lesson := range languages {
				all = append(all, lesson)
			}
			slices.SortFunc(all[first:], byLanguage)
		}
	}
	return all
}

func byLanguage(a, b *Lesson) int {
	switch {
	case a.Language == b.Language:
		return 0
	case a.Language == mainLanguage, b.Language != mainLanguage && a.Language < b.Language:
		return -1
	}
	return 1
}
