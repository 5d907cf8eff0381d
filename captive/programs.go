package captive

import (
	"net/http"
	"strings"
)

// showsPage reports whether the sender of a request for another site would show the answer to a person. Only such a request is
// redirected to the first page. A program gets status 511 instead: it would take a page with a success status for the file or data
// that it requested, and might append it to a partly downloaded file.
//
// Browsers send no Sec-Fetch-* headers to plain http sites (Fetch Metadata, section 2), so Accept decides. Every browser since the
// first WAP phones, and Internet Explorer since version 9, lists a page type in Accept when it opens a page. Requests for a page's
// parts (pictures, videos, fetch) do not. A person mistaken for a program is not stuck: see [web.Signpost].
func showsPage(h http.Header) bool {
	if h["Range"] != nil || h["If-Range"] != nil { // the rest of a file, or a video
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

// refuse tells a program that its request needs a session (RFC 6585, section 6).
func (s *Server) refuse(w http.ResponseWriter, r *request) {
	r.closeConn(w.Header())
	if strings.HasPrefix(r.UserAgent(), "curl/") {
		// Unless it is told to fail on HTTP errors, curl writes the body of any answer into its file, exits with success, and
		// later resumes the download after that body. So the answer announces one byte and sends none: the transfer fails.
		w.Header()["Cache-Control"] = noStore
		w.Header()["Content-Length"] = one
		w.WriteHeader(http.StatusNetworkAuthenticationRequired)
		return
	}
	s.page(w, r, signpost, http.StatusNetworkAuthenticationRequired)
}

var (
	// pageTypes are the types that browsers show as pages: HTML, XHTML, XHTML for phones (OMA XHTML Mobile Profile) and WML.
	pageTypes = []string{"text/html", "application/xhtml+xml", "application/vnd.wap.xhtml+xml", "text/vnd.wap.wml"}

	// feeds are formats for programs. Programs that accept them often accept HTML as well: pip lists it after JSON, and feed
	// and podcast readers list it to find a feed's address in a page.
	feeds = []string{"json", "application/rss+xml", "application/atom+xml", "application/rdf+xml"}
)

// acceptedByJava is the prefix of the Accept header that Java's own client sends for every program (HttpURLConnection's
// ACCEPT_STRING; the rest depends on the Java version).
const acceptedByJava = "text/html, image/gif, image/jpeg, *"
