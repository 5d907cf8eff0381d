package admin

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"passerelle/captive/admin/journal"
)

// TestNewLink: a lender who lost the link gets a new one, which is shown once. The old link no longer works, and the new one is
// not stored.
func TestNewLink(t *testing.T) {
	t.Parallel()
	x := signedIn(t)
	if got := x.get("/admin/lenders?lang=en").Body.String(); !strings.Contains(got, "Fibre du centre") || strings.Contains(got, "/lender/") {
		t.Errorf("the page is:\n%s", got)
	}
	got := x.post("/admin/lenders?lang=en", url.Values{"name": {"Fibre du centre"}})
	path := regexp.MustCompile(`https://partage\.internal(/lender/[a-z2-7]{26})`).FindStringSubmatch(got.Body.String())
	if got.Code != http.StatusOK || path == nil || !strings.Contains(got.Body.String(), `<svg class="code"`) {
		t.Fatalf("%d:\n%s", got.Code, got.Body)
	}
	for asked, status := range map[string]int{page: http.StatusNotFound, path[1]: http.StatusOK} {
		if res := ask(t, x.server, "GET "+asked); res.StatusCode != status {
			t.Errorf("%s is answered %d, want %d", asked, res.StatusCode, status)
		}
	}
	if again := x.get("/admin/lenders?lang=en").Body.String(); strings.Contains(again, path[1]) {
		t.Error("the link is shown again")
	}
	entries, _ := x.box.journal.Entries()
	if len(entries) == 0 || entries[0].What != journal.LinkMade || len(entries[0].Keys) > 0 {
		t.Errorf("noted are %+v", entries)
	}
	before := len(x.box.tokens)
	if res := x.post("/admin/lenders", url.Values{"name": {"Mairie"}}); res.Code != http.StatusSeeOther || len(x.box.tokens) != before {
		t.Errorf("an unknown donation: %d", res.Code)
	}
}
