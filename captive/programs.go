package captive

import (
	"net/http"
	"strings"
)

// showsPage says whether who sends a request for another site would show the answer to a person: only then it is led to
// the first page. A program gets 511 instead. It would take the page for the file or the data it asked for, at a status that
// says that all went well, and write it into the file whose beginning it has.
//
// Browsers send no Sec-Fetch-* to sites of plain http (Fetch Metadata, section 2), so it goes by Accept: every browser names
// a page's type when it opens one, since the first WAP phones, and Internet Explorer since its version 9. What it loads for a
// page (pictures, films, fetch) it asks for without. Nobody who is mistaken for a program is stuck: see web.Signpost.
func showsPage(h http.Header) bool {
	if h["Range"] != nil || h["If-Range"] != nil { // the rest of a file, or a film
		return false
	}
	if mode := h["Sec-Fetch-Mode"]; mode != nil {
		return mode[0] == "navigate"
	}
	if h.Get("X-Requested-With") == "XMLHttpRequest" { // Android's WebView names its app here
		return false
	}
	page := false
	for _, accept := range h["Accept"] {
		if strings.HasPrefix(accept, acceptedByJava) {
			return false
		}
		for _, kind := range feeds {
			if strings.Contains(accept, kind) {
				return false
			}
		}
		for _, kind := range pageTypes {
			page = page || strings.Contains(accept, kind)
		}
	}
	return page
}

// refuse tells a program that what it asked for is not to be had yet, as RFC 6585 has it (section 6).
func (s *Server) refuse(w http.ResponseWriter, r *request) {
	r.letGo(w.Header())
	if strings.HasPrefix(r.UserAgent(), "curl/") {
		// Unless it is told to fail, it writes the body of whatever answer into the file, ends well, and goes on behind that with
		// the rest of the file another time. So none comes, of the one byte that is announced: that is a failed transfer.
		w.Header()["Cache-Control"] = noStore
		w.Header()["Content-Length"] = one
		w.WriteHeader(http.StatusNetworkAuthenticationRequired)
		return
	}
	s.page(w, r, signpost, http.StatusNetworkAuthenticationRequired)
}

var (
	// pageTypes are what browsers show: HTML, its XML form, also for phones (OMA XHTML Mobile Profile), and WML.
	pageTypes = []string{"text/html", "application/xhtml+xml", "application/vnd.wap.xhtml+xml", "text/vnd.wap.wml"}

	// feeds are what programs read. Those that name them take a page as well: pip names HTML after JSON, readers of feeds and
	// podcasts name it to find a feed's address in it.
	feeds = []string{"json", "application/rss+xml", "application/atom+xml", "application/rdf+xml"}
)

// acceptedByJava is how Accept begins that Java's own client sends for whatever program it fetches (HttpURLConnection's
// ACCEPT_STRING; versions differ in what follows).
const acceptedByJava = "text/html, image/gif, image/jpeg, *"
