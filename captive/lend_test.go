package captive

import (
	"net/http"
	"strings"
	"testing"

	"passerelle/captive/lend"
	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// The page about lending has at most 40 kB in every language, shows both kinds of phone, and leads to the form over https in the
// chosen language.
func TestLend(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	b.site.Languages = strings.Join(everyLanguage, " ")
	s := newServer(b)
	for _, code := range everyLanguage {
		page := body(t, ask(t, s, "GET /lend?lang="+code))
		if len(page) > 40_000 {
			t.Errorf("in %s it has %d bytes", code, len(page))
		}
		for _, want := range []string{"Android", "iPhone", "Partage de Co", `href="/lend/phone?lang=` + code + `"`} {
			if !strings.Contains(page, want) {
				t.Errorf("in %s it has no %s", code, want)
			}
		}
	}
	res := ask(t, s, "GET "+lend.FormPath+"?lang=uk")
	if to := res.Header.Get("Location"); res.StatusCode != http.StatusFound || to != "https://10.80.0.1/lend/phone?lang=uk" {
		t.Errorf("the form is answered %d to %s", res.StatusCode, to)
	}
	if res := ask(t, s, "POST "+lend.FormPath); res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("a password in the clear is answered %d", res.StatusCode)
	}
}

// TestLendNoFlaw is TestNoFlaw for the page about lending.
func TestLendNoFlaw(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	ctx, _ := webtest.Browser(t)
	j := webtest.NewJudge(t, ctx)
	b := newFakeBox()
	b.site.Languages = strings.Join(everyLanguage, " ")
	site := strings.Replace("http://"+serve(t, newServer(b)), "127.0.0.1", "partage.internal", 1)
	for _, code := range everyLanguage {
		judge(t, j, site+"/lend?lang="+code, code)
	}
}
