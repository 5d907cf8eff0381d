package captive

import (
	"regexp"
	"strings"
	"testing"

	"passerelle/appliance/state"
	"passerelle/captive/lend"
)

var (
	aLink   = regexp.MustCompile(`<a [^>]*href="([^"]*)"[^>]*>`)
	aForm   = regexp.MustCompile(`(?s)<form ([^>]*)>(.*?)</form>`)
	anAttr  = regexp.MustCompile(`(method|action)="([^"]*)"`)
	ownLink = regexp.MustCompile(`^/($|[^/])`)
)

// A chosen language is kept: on every page that can be reached, every link and form within the box carries it, except those that
// change it.
func TestChoiceIsOnEveryLink(t *testing.T) {
	t.Parallel()
	const choice = "lang=ar"
	for name, change := range map[string]func(b *fakeBox){
		"a session":   func(b *fakeBox) { b.has(nil) },
		"spent":       func(b *fakeBox) { b.has(func(s *state.Session) { s.DataLeft = 0 }) },
		"paused":      func(b *fakeBox) { b.site.State = state.Paused },
		"closed":      func(b *fakeBox) { b.site.State = state.Closed },
		"exhausted":   func(b *fakeBox) { b.site.State = state.Exhausted },
		"no sessions": func(*fakeBox) {},
	} {
		b := newFakeBox()
		withPack(t, b)
		b.site.Languages = "fr en ar"
		change(b)
		s := newServer(b)
		asked := []string{
			"/?" + choice, "/session?hold=1&" + choice, "/tutorials?q=wifi&" + choice, "/tutorials?q=qqq&" + choice,
			"/nowhere?" + choice,
		}
		seen := map[string]bool{}
		for len(asked) > 0 {
			link := asked[0]
			asked = asked[1:]
			if seen[link] || name != "no sessions" && strings.HasPrefix(link, "/tutorials/") {
				continue // lessons are the same in every state
			}
			seen[link] = true
			page := body(t, ask(t, s, "GET "+link))
			if strings.Contains(link, "/file?") {
				continue // it is in the lesson's language
			}
			if !strings.Contains(page, `<html lang="ar" dir="rtl">`) {
				t.Errorf("%s: %s is in another language", name, link)
			}
			for _, a := range aLink.FindAllStringSubmatch(page, -1) {
				href := strings.ReplaceAll(a[1], "&amp;", "&")
				if !ownLink.MatchString(href) || strings.Contains(a[0], "hreflang=") {
					continue
				}
				if !strings.Contains(href, choice) {
					t.Errorf("%s: %s leads to %s", name, link, href)
					continue
				}
				if strings.HasPrefix(href, lend.FormPath) {
					continue // it is served over https
				}
				href, _, _ = strings.Cut(href, "#")
				asked = append(asked, href)
			}
			for _, form := range aForm.FindAllStringSubmatch(page, -1) {
				attrs := map[string]string{}
				for _, a := range anAttr.FindAllStringSubmatch(form[1], -1) {
					attrs[a[1]] = a[2]
				}
				// A browser takes the query from the fields of a GET form, and from the address of a POST form.
				if attrs["method"] != "post" && !strings.Contains(form[2], `name="lang" value="ar"`) ||
					attrs["method"] == "post" && !strings.Contains(attrs["action"], choice) {
					t.Errorf("%s: %s has the form %s", name, link, form[0])
				}
			}
		}
		if len(seen) < 5 || name == "no sessions" && len(seen) < 100 {
			t.Errorf("%s: only %d pages were found", name, len(seen))
		}
	}
}

// A lesson in another language than the reader's says so, and every part of the page declares its language.
func TestLessonInAnotherLanguage(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	b.site.Languages = "fr ar"
	page := body(t, ask(t, newServer(b), "GET /tutorials/wifi?lang=ar"))
	for _, want := range []string{`<html lang="ar" dir="rtl">`, `<article lang="fr" dir="ltr">`, `<h2 lang="ar" dir="rtl">`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %s", want)
		}
	}
	if page := body(t, ask(t, newServer(b), "GET /tutorials/wifi?lang=fr")); strings.Contains(page, "<article lang") {
		t.Error("a lesson in the reader's own language names it")
	}
}

// The page for helpers is in all six languages, no part of it is in another language, and it is as light as a page of lessons.
func TestHelpersInEveryLanguage(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	b.site.Languages = "fr en es pt ar uk"
	s := newServer(b)
	for _, language := range strings.Fields(b.site.Languages) {
		page := body(t, ask(t, s, "GET /helpers?lang="+language))
		if !strings.Contains(page, `<article class="prose">`) || language != "fr" && strings.Contains(page, "Aider sans faire à la place") {
			t.Errorf("%s: the page is in another language", language)
		}
		if weight := len(body(t, ask(t, s, "GET /helpers?lang="+language, "Accept-Encoding: gzip"))); weight > 15_000 {
			t.Errorf("%s: %d bytes", language, weight)
		} else {
			t.Logf("%s: %d bytes", language, weight)
		}
	}
}
